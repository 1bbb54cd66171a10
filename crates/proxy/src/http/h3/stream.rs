//! One request of an HTTP/3 client: a stream (RFC 9114 §4.1), driven by a task of its own.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use proxima_http1::{ConnectionOption, Fault, Hop, ResponseHead, write_response};
use proxima_http3::{Code, Content, Event, MAX_TEXT, RequestText, Wrong, write_connected};
use quinn::{RecvStream, SendStream};

use super::{
    Link,
    message::{Broken, Next, Receiving, Sending},
};
use crate::{
    access::Tls,
    entry::{Entry, Open},
    http::{
        Answer, Scratch,
        attempts::Stop,
        on_stream::{self, Conclusion, OnStream},
        relay::{Client, Piece},
        streams::Streams,
        websocket::Handshake,
    },
    stats::{Reason, ServiceCounters, Slow},
    timer::Timer,
    worker::Worker,
};

/// Serves one request.
pub(super) async fn serve(link: Rc<Link>, send: SendStream, receive: RecvStream) {
    let timer = poll_fn(|cx| Poll::Ready(link.worker.timers.timer(cx))).await;
    let worker = link.worker.clone();
    let counters = link.counters.clone();
    let body = Receiving::request(receive, counters.clone());
    let send = Sending::response(send, counters);
    let mut stream = Stream { link, timer, body, send, hop: None, websocket: None };
    let mut scratch = worker.scratch.take().unwrap_or_else(Scratch::new);
    stream.exchange(&mut scratch).await;
    scratch.give_back(&worker);
    // Until the client has it the response is under way: a connection that ends with its last one must not take it along. A client
    // that does not say so is not waited for longer than one that asks for nothing.
    stream.timer.arm_after(worker.config.keep_alive);
    poll_fn(|cx| match stream.send.poll_delivered(cx) {
        Poll::Pending if stream.timer.has_expired() => Poll::Ready(()),
        polled => polled,
    })
    .await;
}

/// A client's stream.
struct Stream {
    link: Rc<Link>,
    timer: Timer,
    body: Receiving,
    send: Sending,
    /// What is said of this hop in responses, where that is not what is said in those of HTTP/1.1 backends.
    hop: Option<Hop>,
    /// What is asked for is a WebSocket (RFC 9220).
    websocket: Option<Handshake>,
}

/// What the head of a request leaves to do.
enum Begun {
    Request { to_head: bool },
    Refused(Fault),
    Slow,
    Broken(Broken),
}

impl Stream {
    async fn exchange(&mut self, scratch: &mut Scratch) {
        self.timer.arm_after(self.link.worker.config.header_timeout);
        let peer = self.link.connection.remote_address();
        scratch.access = self.link.worker.access(&self.link.entry, peer, "HTTP/3", Some(Tls::QUIC));
        match self.read_head(scratch).await {
            Begun::Request { to_head } => on_stream::serve(self, scratch, to_head).await,
            Begun::Refused(fault) => on_stream::refuse(self, scratch, fault, false).await,
            Begun::Slow => {
                self.link.counters.slow_client(Slow::Head);
                scratch.access.end("client-slow", Some(Slow::Head.name()));
                on_stream::answer(self, scratch, &Answer::slow_client(), false).await;
            }
            Begun::Broken(broken) => {
                scratch.access.end("client-gone", None);
                if matches!(broken, Broken::Reset(_) | Broken::Lost) {
                    self.link.note_cancel();
                }
                self.stop(broken);
            }
        }
        // RFC 9114 §4.1: a response is whole without the rest of its request.
        self.body.stop(Code::NoError);
    }

    /// Reads the head, writes it down as HTTP/1.1 has it, and parses it.
    async fn read_head(&mut self, scratch: &mut Scratch) -> Begun {
        let section = match self.in_time(Receiving::poll_next).await {
            Ok(Next::Event(Event::Section(section))) => section,
            // The frames are in order, and begin with a head.
            Ok(_) => return Begun::Broken(Wrong::Stream(Code::RequestIncomplete).into()),
            Err(begun) => return begun,
        };
        scratch.response.clear();
        let head = match RequestText::read(&mut scratch.response, &section) {
            Ok(head) => head,
            Err(Wrong::Message(fault)) => return Begun::Refused(fault),
            Err(wrong) => return Begun::Broken(wrong.into()),
        };
        if head.is_websocket() {
            return self.begin_websocket(scratch, &head);
        }
        let content = match self.content(&head).await {
            Ok(content) => content,
            Err(begun) => return begun,
        };
        self.body.left = head.content_length();
        if content == Content::None
            && let Err(fault) = self.body.check_end()
        {
            return Begun::Refused(fault);
        }
        head.end(&mut scratch.response, content);
        let parsed = scratch.request_head.parse_within(&scratch.response, MAX_TEXT);
        match parsed {
            // The text ends with its empty line, and nothing in it ends it before.
            Ok(Some(length)) if length == scratch.response.len() => {
                Begun::Request { to_head: head.is_head() }
            }
            Ok(_) => Begun::Refused(Fault::FieldLine),
            Err(fault) => Begun::Refused(fault),
        }
    }

    /// Ends the head of a request for a WebSocket, and parses it.
    fn begin_websocket(&mut self, scratch: &mut Scratch, head: &RequestText) -> Begun {
        let handshake = self.websocket.insert(Handshake::new());
        head.end_websocket(&mut scratch.response, handshake.key());
        match scratch.request_head.parse_within(&scratch.response, MAX_TEXT) {
            Ok(Some(length)) if length == scratch.response.len() && scratch.request_head.is_websocket() => {
                Begun::Request { to_head: false }
            }
            Ok(_) => Begun::Refused(Fault::Connect),
            Err(fault) => Begun::Refused(fault),
        }
    }

    /// Whether anything follows the head.
    async fn content(&mut self, head: &RequestText) -> Result<Content, Begun> {
        let waits = head.is_better_known_whole();
        let is_end = self
            .in_time(|body, cx| match body.poll_ahead(cx) {
                Poll::Ready(next) => Poll::Ready(next.map(|next| matches!(next, Next::End))),
                Poll::Pending if waits => Poll::Pending,
                Poll::Pending => Poll::Ready(Ok(false)),
            })
            .await?;
        Ok(if is_end { Content::None } else { Content::Some })
    }

    /// What `poll` gives, unless the client takes too long.
    async fn in_time<T>(
        &mut self,
        mut poll: impl FnMut(&mut Receiving, &mut Context<'_>) -> Poll<Result<T, Broken>>,
    ) -> Result<T, Begun> {
        let Self { timer, body, .. } = self;
        poll_fn(|cx| match poll(body, cx) {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(Broken::Wrong(Wrong::Message(fault)))) => Poll::Ready(Err(Begun::Refused(fault))),
            Poll::Ready(Err(broken)) => Poll::Ready(Err(Begun::Broken(broken))),
            Poll::Pending if timer.has_expired() => Poll::Ready(Err(Begun::Slow)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Ends the stream, or the connection, for what was wrong. What the exchange stops for.
    fn stop(&mut self, broken: Broken) -> Stop {
        match broken {
            Broken::Wrong(Wrong::Message(fault)) => return Stop::ClientFault(fault),
            Broken::Wrong(Wrong::Connection(code)) => self.link.fail(code),
            Broken::Wrong(Wrong::Stream(code)) => self.send.reset(code),
            // Who has left is counted at the end.
            Broken::Reset(_) | Broken::Lost => {}
        }
        Stop::ClientGone
    }
}

impl on_stream::Link for Link {
    fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    fn counters(&self) -> &Arc<ServiceCounters> {
        &self.counters
    }

    fn hop(&self) -> &Hop {
        &self.hop
    }

    fn streams(&self) -> &Streams {
        &self.streams
    }

    fn open(&self) -> &Open {
        &self.open
    }
}

impl OnStream for Stream {
    type Link = Link;

    fn link(&self) -> &Rc<Link> {
        &self.link
    }

    fn answers_on(&mut self, hop: Option<Hop>) {
        self.hop = hop;
    }

    fn send_own_head(&mut self, text: &[u8], last: bool) -> bool {
        let mut frame = Vec::new();
        let is_head = proxima_http3::write_response(&mut frame, text);
        if is_head {
            self.send.head(frame, last);
        } else {
            self.send.reset(Code::InternalError);
        }
        is_head
    }

    fn conclude(&mut self, how: Conclusion) {
        match how {
            Conclusion::Whole => self.link.note_whole(),
            Conclusion::Gone => {
                self.link.note_cancel();
                self.send.reset(Code::RequestCancelled);
            }
            Conclusion::Malformed => self.send.reset(Code::MessageError),
            Conclusion::Cancelled => {
                self.body.stop(Code::RequestCancelled);
                self.send.reset(Code::RequestCancelled);
            }
            Conclusion::BrokenOff => self.send.reset(Code::InternalError),
        }
    }
}

impl Client for Stream {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn handshake(&self) -> Option<&Handshake> {
        self.websocket.as_ref()
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<Result<Piece, Stop>> {
        self.body.poll_piece(cx).map_err(|broken| self.stop(broken))
    }

    /// What was read is what opens the client's window.
    fn passed_on(&mut self, _count: usize) {}

    fn poll_ready(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<Result<(), Stop>> {
        self.send.poll_flush(cx).map_err(|_| Stop::ClientGone)
    }

    fn begin(&mut self, head: &ResponseHead, text: &[u8], out: &mut Vec<u8>, last: bool) -> Result<(), Stop> {
        out.clear();
        let hop = self.hop.as_ref().unwrap_or(&self.link.hop);
        write_response(out, head, text, hop, ConnectionOption::Omit, false);
        let mut frame = Vec::with_capacity(out.len());
        if head.switches() {
            write_connected(&mut frame, out);
            self.body.begin_tunnel();
        } else if !proxima_http3::write_response(&mut frame, out) {
            return Err(Stop::Upstream(Reason::Malformed));
        }
        self.send.head(frame, last);
        out.clear();
        Ok(())
    }

    fn data(&mut self, _out: &mut Vec<u8>, bytes: Bytes, last: bool) {
        self.send.data(bytes, last);
    }

    fn end(&mut self, _out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), Stop> {
        self.send.end(trailers);
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<()> {
        if self.send.is_done() { Poll::Pending } else { self.send.poll_stopped(cx) }
    }
}
