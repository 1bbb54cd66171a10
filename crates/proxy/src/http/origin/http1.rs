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
    buffer::Buffer,
    close::Closing,
    http::{Scratch, relay::Piece},
    stream::Stream,
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
    /// The backend knows.
    Told,
}

/// Dropped before both ways of a tunnel have ended, it makes the connection's close a reset.
pub(in crate::http) struct Http1<'a> {
    stream: &'a mut Stream,
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

impl<'a> Http1<'a> {
    /// `request` is the head, written for this hop, and `framing` that of its body. `asks`: it asks for a WebSocket.
    pub(in crate::http) fn new(stream: &'a mut Stream, request: &[u8], framing: Framing, asks: bool) -> Self {
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

    /// Whether the connection is as good as new.
    pub(in crate::http) fn leaves_clean(&self, scratch: &Scratch) -> bool {
        !self.is_broken && scratch.reply.is_empty() && scratch.response_head.keeps_alive()
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
            match reply.poll_fill(self.stream, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Wrong::Gone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Origin for Http1<'_> {
    fn has_room(&self) -> bool {
        !self.is_broken && self.out.len() - self.written < ROOM
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
            match Pin::new(&mut *self.stream).poll_write(cx, &self.out[self.written..]) {
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
            match Pin::new(&mut *self.stream).poll_shutdown(cx) {
                // A backend that is gone is seen by reading.
                Poll::Ready(_) => self.switch = Switch::Told,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.written = 0;
        match Pin::new(&mut *self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                self.is_broken = true;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_broken(&self) -> bool {
        self.is_broken
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
            match reply.poll_fill(self.stream, cx) {
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

impl Drop for Http1<'_> {
    fn drop(&mut self) {
        let has_ended = self.switch == Switch::Told && self.body.as_ref().is_some_and(Body::is_complete);
        let is_tunnel = matches!(self.switch, Switch::Agreed | Switch::Ended | Switch::Told);
        if is_tunnel && !has_ended {
            self.stream.reset();
        }
    }
}
