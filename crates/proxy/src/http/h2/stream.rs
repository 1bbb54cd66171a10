//! One request of an HTTP/2 client: a stream (RFC 9113 §8.1), driven by a task of its own.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, request};
use proxima_http1::{ConnectionOption, Fault, Hop, ResponseHead, write_response};

use super::Link;
use crate::{
    entry::{Entry, Open},
    http::{
        Scratch,
        attempts::Stop,
        on_stream::{self, Conclusion, OnStream},
        relay::{Client, Piece},
        streams::Streams,
        translate::{self, MAX_TEXT},
        websocket::Handshake,
    },
    stats::ServiceCounters,
    timer::Timer,
    worker::Worker,
};

/// Serves one request.
pub(super) async fn serve(link: Rc<Link>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let timer = poll_fn(|cx| Poll::Ready(link.worker.timers.timer(cx))).await;
    let to_head = parts.method == http::Method::HEAD;
    let websocket = asks_websocket(&parts).then(Handshake::new);
    let (sending, held) = (None, Bytes::new());
    let mut stream = Stream { link, timer, body, respond, websocket, sending, held, last: false, hop: None };
    let mut scratch = stream.link.worker.scratch.take().unwrap_or_else(Scratch::new);
    stream.exchange(&mut scratch, &parts, to_head).await;
    scratch.give_back(&stream.link.worker);
}

/// Whether this is extended CONNECT for a WebSocket (RFC 8441).
fn asks_websocket(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    parts.method == http::Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// A client's stream.
struct Stream {
    link: Rc<Link>,
    timer: Timer,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// What is asked for is a WebSocket.
    websocket: Option<Handshake>,
    /// Since the final head was sent, unless nothing follows it.
    sending: Option<SendStream<Bytes>>,
    /// Waits for the client's window.
    held: Bytes,
    /// What is held is the end of the response.
    last: bool,
    /// What is said of this hop in responses, where that is not what is said in those of HTTP/1.1 backends.
    hop: Option<Hop>,
}

impl Stream {
    async fn exchange(&mut self, scratch: &mut Scratch, parts: &request::Parts, to_head: bool) {
        let Link { worker, entry, peer, tls, .. } = &*self.link;
        scratch.access = worker.access(entry, *peer, "HTTP/2", *tls);
        match self.read_head(scratch, parts) {
            Ok(()) => on_stream::serve(self, scratch, to_head).await,
            Err(fault) => on_stream::refuse(self, scratch, fault, to_head).await,
        }
    }

    /// Writes the head down as HTTP/1.1 has it, and parses it.
    fn read_head(&self, scratch: &mut Scratch, parts: &request::Parts) -> Result<(), Fault> {
        scratch.response.clear();
        let key = self.websocket.as_ref().map(Handshake::key);
        translate::request_text(&mut scratch.response, parts, !self.body.is_end_stream(), key)?;
        let length = scratch.request_head.parse_within(&scratch.response, MAX_TEXT)?;
        // The text ends with its empty line, so nothing but a line end within it would end the head before.
        if length != Some(scratch.response.len()) {
            return Err(Fault::FieldLine);
        }
        if key.is_some() && !scratch.request_head.is_websocket() {
            return Err(Fault::Connect);
        }
        Ok(())
    }

    fn send_head(&mut self, response: http::Response<()>, last: bool) -> Result<(), Stop> {
        let sending = self.respond.send_response(response, last).map_err(|_| Stop::ClientGone)?;
        self.sending = (!last).then_some(sending);
        Ok(())
    }

    fn reset(&mut self, reason: Reason) {
        self.link.tally.expect_own_reset(self.respond.stream_id().as_u32());
        match &mut self.sending {
            Some(sending) => sending.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
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
        let Ok(response) = translate::response(text) else {
            self.reset(Reason::INTERNAL_ERROR);
            return false;
        };
        self.send_head(response, last).is_ok()
    }

    /// What brings nothing forward is counted by the tap.
    fn conclude(&mut self, how: Conclusion) {
        match how {
            Conclusion::Whole | Conclusion::Gone => {}
            Conclusion::Malformed => self.reset(Reason::PROTOCOL_ERROR),
            Conclusion::Cancelled => self.reset(Reason::CANCEL),
            Conclusion::BrokenOff => self.reset(Reason::INTERNAL_ERROR),
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
        loop {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let last = self.body.is_end_stream();
                    if last || !bytes.is_empty() {
                        return Poll::Ready(Ok(Piece::Data { bytes, last }));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                None => break,
            }
        }
        let piece = match ready!(self.body.poll_trailers(cx)) {
            Ok(Some(trailers)) => {
                let section = translate::trailer_text(&trailers).map_err(Stop::ClientFault)?;
                Piece::Trailers(section.into())
            }
            Ok(None) => Piece::End,
            Err(_) => return Poll::Ready(Err(Stop::ClientGone)),
        };
        Poll::Ready(Ok(piece))
    }

    fn passed_on(&mut self, count: usize) {
        // It fails only for more than was received.
        let _ = self.body.flow_control().release_capacity(count);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<Result<(), Stop>> {
        let Stream { sending, held, last, .. } = self;
        let Some(sending) = sending else { return Poll::Ready(Ok(())) };
        while !held.is_empty() {
            sending.reserve_capacity(held.len());
            let mut room = sending.capacity();
            if room == 0 {
                match ready!(sending.poll_capacity(cx)) {
                    Some(Ok(more)) => room = more,
                    Some(Err(_)) | None => return Poll::Ready(Err(Stop::ClientGone)),
                }
            }
            let piece = held.split_to(room.min(held.len()));
            let ends = held.is_empty() && *last;
            if !piece.is_empty() && sending.send_data(piece, ends).is_err() {
                return Poll::Ready(Err(Stop::ClientGone));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, head: &ResponseHead, text: &[u8], out: &mut Vec<u8>, last: bool) -> Result<(), Stop> {
        out.clear();
        let hop = self.hop.as_ref().unwrap_or(&self.link.hop);
        write_response(out, head, text, hop, ConnectionOption::Omit, false);
        let upstream_fault = |_| Stop::Upstream(crate::stats::Reason::Malformed);
        let mut response = translate::response(out).map_err(upstream_fault)?;
        out.clear();
        if head.switches() {
            response = translate::connected(response);
        }
        if head.is_interim() {
            return self.respond.send_informational(response).map_err(|_| Stop::ClientGone);
        }
        self.send_head(response, last)
    }

    fn data(&mut self, _out: &mut Vec<u8>, bytes: Bytes, last: bool) {
        if let Some(sending) = &mut self.sending
            && bytes.is_empty()
            && last
        {
            // It fails only on a stream that is reset, which is seen elsewhere.
            let _ = sending.send_data(bytes, true);
            return;
        }
        self.held = bytes;
        self.last = last;
    }

    fn end(&mut self, _out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), Stop> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let sent = if trailers.is_empty() {
            sending.send_data(Bytes::new(), true)
        } else {
            let malformed = |_| Stop::Upstream(crate::stats::Reason::Malformed);
            sending.send_trailers(translate::fields(trailers).map_err(malformed)?)
        };
        sent.map_err(|_| Stop::ClientGone)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, _scratch: &mut Scratch) -> Poll<()> {
        match &mut self.sending {
            Some(sending) => sending.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }
}
