//! One request of an HTTP/3 client: a stream (RFC 9114 §4.1), driven by a task of its own.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use proxima_http1::{
    ConnectionOption, Fault, Method, ResponseHead, check_trailers, write_request, write_response,
};
use proxima_http3::{
    Code, Content, Event, Frames, MAX_TEXT, RequestText, Wrong, data_header, trailer_text, write_trailers,
};
use quinn::{RecvStream, SendStream};

use super::{IntoVarInt, Link};
use crate::{
    access::Tls,
    http::{
        Answer, LINGER, Scratch,
        attempts::{self, Refusal, Stop, Verdict, conclude},
        relay::{Client, Piece, Relay},
    },
    stats::{Reason, Slow},
    timer::Timer,
};

/// What is read at once, and passed on as one piece.
const PIECE: usize = 16 * 1024;

/// Serves one request.
pub(super) async fn serve(link: Rc<Link>, send: SendStream, receive: RecvStream) {
    let timer = poll_fn(|cx| Poll::Ready(link.worker.timers.timer(cx))).await;
    let worker = link.worker.clone();
    let mut stream = Stream {
        link,
        timer,
        body: Body { receive, frames: Frames::default(), chunk: Bytes::new(), ahead: None, left: None },
        send: Sending { send, pieces: Vec::new(), ends: false, is_done: false, stopped: None },
    };
    let mut scratch = worker.scratch.take().unwrap_or_else(Scratch::new);
    stream.exchange(&mut scratch).await;
    scratch.give_back(&worker);
}

/// A client's stream.
struct Stream {
    link: Rc<Link>,
    timer: Timer,
    body: Body,
    send: Sending,
}

/// From the client.
struct Body {
    receive: RecvStream,
    frames: Frames,
    /// Read, and not yet taken apart.
    chunk: Bytes,
    /// Taken apart, and not yet asked for.
    ahead: Option<Next>,
    /// What has to come of the content, if the head said how long it is.
    left: Option<u64>,
}

/// What a stream goes on with.
enum Next {
    Event(Event),
    End,
}

/// Why it does not.
enum Broken {
    Wrong(Wrong),
    /// The client has reset it, or the connection is gone.
    Gone,
}

impl From<Wrong> for Broken {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// To the client. Dropped before its end, it is reset: never a clean end for a response that is not whole.
struct Sending {
    send: SendStream,
    /// Wait for the client's window.
    pieces: Vec<Bytes>,
    /// Nothing follows them.
    ends: bool,
    /// It is ended, or reset.
    is_done: bool,
    /// Ready when the client wants no more; made when first asked for.
    stopped: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Body {
    fn poll_next(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Result<Next, Broken>> {
        if let Some(next) = self.ahead.take() {
            return Poll::Ready(Ok(next));
        }
        loop {
            if let Some(event) = self.frames.take(&mut self.chunk)? {
                return Poll::Ready(Ok(Next::Event(event)));
            }
            match ready!(pin!(self.receive.read_chunk(PIECE, true)).poll(cx)) {
                Ok(Some(chunk)) => {
                    link.counters.bytes_in.add(chunk.bytes.len() as u64);
                    self.chunk = chunk.bytes;
                }
                Ok(None) => {
                    self.frames.end()?;
                    return Poll::Ready(Ok(Next::End));
                }
                Err(_) => return Poll::Ready(Err(Broken::Gone)),
            }
        }
    }

    /// Looks at what comes next without taking it. Pending if nothing is there yet.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Result<&Next, Broken>> {
        let next = ready!(self.poll_next(cx, link))?;
        Poll::Ready(Ok(self.ahead.insert(next)))
    }

    /// RFC 9114 §4.1.2: content is as long as the head said.
    fn note_content(&mut self, count: usize) -> Result<(), Fault> {
        match &mut self.left {
            None => Ok(()),
            Some(left) => {
                *left = left.checked_sub(count as u64).ok_or(Fault::LengthMismatch)?;
                Ok(())
            }
        }
    }

    fn check_end(&self) -> Result<(), Fault> {
        if self.left.is_some_and(|left| left > 0) { Err(Fault::LengthMismatch) } else { Ok(()) }
    }
}

impl Sending {
    fn poll_flush(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Result<(), Stop>> {
        while !self.pieces.is_empty() {
            let written = ready!(pin!(self.send.write_chunks(&mut self.pieces)).poll(cx));
            match written {
                Ok(written) => {
                    link.counters.bytes_out.add(written.bytes as u64);
                    self.pieces.drain(..written.chunks);
                }
                Err(_) => return Poll::Ready(Err(Stop::ClientGone)),
            }
        }
        if self.ends && !self.is_done {
            self.is_done = true;
            if self.send.finish().is_err() {
                return Poll::Ready(Err(Stop::ClientGone));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let send = &self.send;
        let stopped = self.stopped.get_or_insert_with(|| {
            let stopped = send.stopped();
            Box::pin(async move { drop(stopped.await) })
        });
        stopped.as_mut().poll(cx)
    }

    fn reset(&mut self, code: Code) {
        if !std::mem::replace(&mut self.is_done, true) {
            // It fails only on a stream that is closed.
            let _ = self.send.reset(code.into_varint());
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.reset(Code::InternalError);
    }
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
            Begun::Request { to_head } => self.request(scratch, to_head).await,
            Begun::Refused(fault) => self.refuse(scratch, fault, false).await,
            Begun::Slow => {
                self.link.counters.slow_client(Slow::Head);
                scratch.access.end("client-slow", Some(Slow::Head.name()));
                self.answer(scratch, &Answer::slow_client(), false).await;
            }
            Begun::Broken(broken) => {
                scratch.access.end("client-gone", None);
                self.stop(broken);
            }
        }
        // RFC 9114 §4.1: what is left of the request is not wanted. It fails where nothing is left.
        let _ = self.body.receive.stop(Code::NoError.into_varint());
    }

    /// Reads the head, writes it down as HTTP/1.1 has it, and parses it.
    async fn read_head(&mut self, scratch: &mut Scratch) -> Begun {
        let section = match self.in_time(Body::poll_next).await {
            Ok(Next::Event(Event::Section(section))) => section,
            // The frames are in order, and begin with a head.
            Ok(_) => return Begun::Broken(Wrong::Stream(Code::RequestIncomplete).into()),
            Err(begun) => return begun,
        };
        scratch.response.clear();
        let head = match RequestText::read(&mut scratch.response, &section) {
            Ok(head) => head,
            Err(Wrong::Request(fault)) => return Begun::Refused(fault),
            Err(wrong) => return Begun::Broken(wrong.into()),
        };
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

    /// Whether anything follows the head.
    async fn content(&mut self, head: &RequestText) -> Result<Content, Begun> {
        let waits = head.is_better_known_whole();
        let is_end = self
            .in_time(|body, cx, link| match body.poll_ahead(cx, link) {
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
        mut poll: impl FnMut(&mut Body, &mut Context<'_>, &Link) -> Poll<Result<T, Broken>>,
    ) -> Result<T, Begun> {
        let Self { link, timer, body, .. } = self;
        poll_fn(|cx| match poll(body, cx, link) {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(Broken::Wrong(Wrong::Request(fault)))) => Poll::Ready(Err(Begun::Refused(fault))),
            Poll::Ready(Err(broken)) => Poll::Ready(Err(Begun::Broken(broken))),
            Poll::Pending if timer.has_expired() => Poll::Ready(Err(Begun::Slow)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    async fn request(&mut self, scratch: &mut Scratch, to_head: bool) {
        let worker = self.link.worker.clone();
        let counters = self.link.counters.clone();
        // A place for the connection to the backend.
        let Some(_place) = worker.admit_stream() else {
            counters.shed.add(1);
            scratch.access.end("shed", None);
            return self.answer(scratch, &Answer::overloaded(), to_head).await;
        };
        counters.requests.add(1);
        worker.retries.earn();
        let text = &scratch.response;
        let admitted =
            attempts::admit(&worker, &self.link.entry, &scratch.request_head, text, &mut scratch.access);
        let upstream = match admitted {
            Ok(upstream) => upstream,
            Err(Refusal::Fault(fault)) => return self.refuse(scratch, fault, to_head).await,
            Err(Refusal::Answer(answer)) => return self.answer(scratch, &answer, to_head).await,
        };
        scratch.request.clear();
        write_request(&mut scratch.request, &scratch.request_head, text, &self.link.hop);
        scratch.response.clear();
        let mut relay = Relay::new(self, scratch, worker, &counters, upstream);
        let Err(stop) = relay.run().await else {
            scratch.access.done();
            return self.link.note_whole();
        };
        let committed = relay.committed;
        match conclude(stop, committed, &counters, &mut scratch.access) {
            Verdict::Answer(answer) => self.answer(scratch, &answer, to_head).await,
            Verdict::Reset if matches!(stop, Stop::ClientFault(_)) => self.send.reset(Code::MessageError),
            Verdict::Reset => self.send.reset(Code::InternalError),
            Verdict::Gone => {
                self.link.note_cancel();
                self.send.reset(Code::RequestCancelled);
            }
        }
    }

    /// Ends the stream, or the connection, for what was wrong. What the exchange stops for.
    fn stop(&mut self, broken: Broken) -> Stop {
        match broken {
            Broken::Wrong(Wrong::Request(fault)) => return Stop::ClientFault(fault),
            Broken::Wrong(Wrong::Connection(code)) => self.link.fail(code),
            Broken::Wrong(Wrong::Stream(code)) => self.send.reset(code),
            Broken::Gone => self.link.note_cancel(),
        }
        Stop::ClientGone
    }

    async fn refuse(&mut self, scratch: &mut Scratch, fault: Fault, to_head: bool) {
        self.link.counters.refused(fault);
        scratch.access.end("refused", Some(fault.name()));
        tracing::debug!(listener = %self.link.entry, fault = fault.name(), "request refused");
        self.answer(scratch, &Answer::refusal(fault), to_head).await;
    }

    /// Sends an answer of our own.
    async fn answer(&mut self, scratch: &mut Scratch, answer: &Answer, to_head: bool) {
        self.link.counters.response(answer.status);
        scratch.access.status(answer.status);
        let mut text = Vec::new();
        answer.write(&mut text, self.link.worker.config.pop.as_str(), true, to_head);
        let method = if to_head { Method::Head } else { Method::Get };
        let Ok(Some(length)) = scratch.response_head.parse(&text, method) else {
            return self.send.reset(Code::InternalError);
        };
        let text = Bytes::from(text);
        let mut frame = Vec::new();
        proxima_http3::write_response(&mut frame, &text[..length]);
        self.send.pieces.push(frame.into());
        self.send.ends = to_head;
        if !to_head {
            scratch.access.sent(text.len() - length);
            self.data(&mut Vec::new(), text.slice(length..), true);
        }
        self.timer.arm_after(LINGER);
        let Self { link, timer, send, .. } = self;
        let sent = poll_fn(|cx| match send.poll_flush(cx, link) {
            Poll::Pending if timer.has_expired() => Poll::Ready(false),
            polled => polled.map(|sent| sent.is_ok()),
        })
        .await;
        if !sent {
            self.send.reset(Code::RequestCancelled);
        }
    }
}

impl Client for Stream {
    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<Result<Piece, Stop>> {
        let next = match ready!(self.body.poll_next(cx, &self.link)) {
            Ok(next) => next,
            Err(broken) => return Poll::Ready(Err(self.stop(broken))),
        };
        let piece = match next {
            Next::Event(Event::Data(bytes)) => {
                self.body.note_content(bytes.len()).map_err(Stop::ClientFault)?;
                let last = match self.body.poll_ahead(cx, &self.link) {
                    Poll::Ready(Ok(Next::End)) => true,
                    Poll::Ready(Ok(Next::Event(_))) | Poll::Pending => false,
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(self.stop(broken))),
                };
                if last {
                    self.body.check_end().map_err(Stop::ClientFault)?;
                }
                Piece::Data { bytes, last }
            }
            Next::Event(Event::Section(section)) => {
                self.body.check_end().map_err(Stop::ClientFault)?;
                let mut text = Vec::new();
                if let Err(wrong) = trailer_text(&mut text, &section) {
                    return Poll::Ready(Err(self.stop(wrong.into())));
                }
                check_trailers(&text).map_err(Stop::ClientFault)?;
                Piece::Trailers(text.into())
            }
            Next::End => {
                self.body.check_end().map_err(Stop::ClientFault)?;
                Piece::End
            }
        };
        Poll::Ready(Ok(piece))
    }

    /// What was read is what opens the client's window.
    fn passed_on(&mut self, _count: usize) {}

    fn poll_ready(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<Result<(), Stop>> {
        self.send.poll_flush(cx, &self.link)
    }

    fn begin(&mut self, head: &ResponseHead, text: &[u8], out: &mut Vec<u8>, last: bool) -> Result<(), Stop> {
        out.clear();
        write_response(out, head, text, &self.link.hop, ConnectionOption::Omit, false);
        let mut frame = Vec::with_capacity(out.len());
        if !proxima_http3::write_response(&mut frame, out) {
            return Err(Stop::Upstream(Reason::Malformed));
        }
        self.send.pieces.push(frame.into());
        self.send.ends = last;
        out.clear();
        Ok(())
    }

    fn data(&mut self, _out: &mut Vec<u8>, bytes: Bytes, last: bool) {
        if !bytes.is_empty() {
            let mut header = Vec::with_capacity(9);
            data_header(&mut header, bytes.len());
            self.send.pieces.extend([header.into(), bytes]);
        }
        self.send.ends = last;
    }

    fn end(&mut self, _out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), Stop> {
        if !trailers.is_empty() {
            let mut frame = Vec::new();
            write_trailers(&mut frame, trailers);
            self.send.pieces.push(frame.into());
        }
        self.send.ends = true;
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<()> {
        if self.send.is_done { Poll::Pending } else { self.send.poll_stopped(cx) }
    }
}
