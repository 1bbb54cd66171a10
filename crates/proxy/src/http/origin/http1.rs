//! One request on an HTTP/1.1 connection.

use std::{
    io::Write,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use proxima_http1::{Body, Framing, Method};
use tokio::io::AsyncWrite;

use super::{Incoming, Origin, Wrong};
use crate::{
    backend::Backend,
    buffer::Buffer,
    http::{Scratch, relay::Piece},
    stream::Stream,
    timer::Timers,
};

/// What may wait to be sent before another piece is taken.
const ROOM: usize = 16 * 1024;

/// Whether another protocol is spoken after the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    None,
    /// The backend has not answered.
    Asked,
    Agreed,
    /// The client says nothing more.
    Ended,
}

pub(in crate::http) struct Http1 {
    stream: Stream,
    /// The head, then the body as the framing has it.
    out: Vec<u8>,
    written: usize,
    has_sent: bool,
    is_broken: bool,
    is_chunked: bool,
    switch: Switch,
    /// The head's length while it lies in front of the reply.
    head: usize,
    /// The body; `None` until the final head has come.
    body: Option<Body>,
}

impl Http1 {
    /// `request` is the head, written for this hop, and `framing` that of its body. `asks`: it asks for a WebSocket, and
    /// what the client sends is for that.
    pub(in crate::http) fn new(stream: Stream, request: &[u8], framing: Framing, asks: bool) -> Self {
        Self {
            stream,
            out: request.to_vec(),
            written: 0,
            has_sent: false,
            is_broken: false,
            is_chunked: framing == Framing::Chunked,
            switch: if asks { Switch::Asked } else { Switch::None },
            head: 0,
            body: None,
        }
    }

    /// Lets the connection rest if it is as good as new.
    pub(in crate::http) fn rest(self, scratch: &Scratch, backend: &Backend, timers: &Timers) {
        if !self.is_broken && scratch.reply.is_empty() && scratch.response_head.keeps_alive() {
            backend.rest(self.stream, timers);
        }
    }

    fn write_chunk(&mut self, bytes: &[u8], last: bool) {
        // An empty chunk would be the last one.
        if !bytes.is_empty() {
            write!(self.out, "{:x}\r\n", bytes.len()).expect("a Vec takes everything");
            self.out.extend_from_slice(bytes);
            self.out.extend_from_slice(b"\r\n");
        }
        if last {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn poll_next_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>> {
        let Scratch { reply, response_head, .. } = scratch;
        loop {
            let parsed = match reply.bytes() {
                [] => Ok(None),
                bytes if self.switch == Switch::Asked => response_head.parse_switching(bytes),
                bytes => response_head.parse(bytes, method),
            };
            if let Some(length) = parsed.map_err(Wrong::Malformed)? {
                self.head = length;
                let mut framing = response_head.framing();
                if response_head.switches() {
                    self.switch = Switch::Agreed;
                    framing = Framing::UntilClose;
                }
                if !response_head.is_interim() {
                    self.body = Some(Body::new(framing, false));
                }
                let last = framing == Framing::None && self.body.is_some();
                return Poll::Ready(Ok(Incoming::Head { last }));
            }
            match reply.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Wrong::Gone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Origin for Http1 {
    fn has_room(&self) -> bool {
        // What is for a WebSocket would be a request to a backend that has not agreed.
        !self.is_broken && self.switch != Switch::Asked && self.out.len() - self.written < ROOM
    }

    fn send(&mut self, piece: Piece) {
        if self.switch == Switch::Agreed && piece.is_last() {
            self.switch = Switch::Ended;
        }
        match piece {
            Piece::Data { bytes, last } if self.is_chunked => self.write_chunk(&bytes, last),
            Piece::Data { bytes, .. } => self.out.extend_from_slice(&bytes),
            Piece::Trailers(section) if self.is_chunked => {
                self.out.extend_from_slice(b"0\r\n");
                self.out.extend_from_slice(&section);
            }
            Piece::End if self.is_chunked => self.write_chunk(&[], true),
            // RFC 9110 §6.5: trailers that can't be passed on are dropped.
            Piece::Trailers(_) | Piece::End => {}
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < self.out.len() && !self.is_broken {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.has_sent = true;
                }
                // It may have answered all the same.
                Poll::Ready(Err(_)) => self.is_broken = true,
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.is_broken {
            return Poll::Pending;
        }
        if self.switch == Switch::Ended {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                // A backend that is gone is seen by reading.
                Poll::Ready(_) => self.switch = Switch::Agreed,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.written = 0;
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                self.is_broken = true;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn has_sent(&self) -> bool {
        self.has_sent
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>> {
        let Some(body) = &mut self.body else { return self.poll_next_head(cx, scratch, method) };
        let reply = &mut scratch.reply;
        loop {
            if body.is_complete() {
                let trailers = Bytes::copy_from_slice(body.trailer_section());
                return Poll::Ready(Ok(Incoming::End { trailers }));
            }
            if !reply.is_empty() {
                let stretch = body.stretch(reply.bytes()).map_err(Wrong::Malformed)?;
                let bytes = Bytes::copy_from_slice(stretch.forwarded(reply.bytes()));
                reply.consume(stretch.length());
                if bytes.is_empty() {
                    continue;
                }
                let last = body.is_complete() && body.trailer_section().is_empty();
                return Poll::Ready(Ok(Incoming::Data { bytes, last }));
            }
            match reply.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(0)) if body.close() => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Wrong::Gone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn head<'a>(&'a self, reply: &'a Buffer) -> &'a [u8] {
        &reply.bytes()[..self.head]
    }

    fn consume_head(&mut self, reply: &mut Buffer) {
        reply.consume(self.head);
        self.head = 0;
    }

    fn passed_on(&mut self, _count: usize) {}
}
