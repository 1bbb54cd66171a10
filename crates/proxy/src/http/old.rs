//! HTTP/1.1 clients of backends that speak another version: the client's side of a `relay`.

use std::{
    io::{self, Write},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use proxima_http1::{Body, ConnectionOption, Framing, Hop, Method, ResponseHead, Version, write_response};
use tokio::io::AsyncWrite;

use super::{
    Connection, End, Scratch, Turn,
    attempts::{Stop, Verdict, conclude},
    relay::{Client, Piece, Relay},
};
use crate::{buffer::Buffer, timer::Timer, view::UpstreamView};

/// Serves the request whose head is parsed in `scratch`, and written there for the backend. The body lies in its input.
pub(super) async fn run(
    connection: &mut Connection,
    scratch: &mut Scratch,
    upstream: Rc<UpstreamView>,
) -> Turn {
    let head = &scratch.request_head;
    let (to_head, wants_more) = (head.method() == Method::Head, head.keeps_alive());
    let (body, is_old) = (Body::new(head.framing(), false), head.version() == Version::Http10);
    let (worker, counters) = (connection.worker.clone(), connection.counters.clone());
    let hop = upstream.protocol.answers_on(&connection.hop).unwrap_or_else(|| connection.hop.clone());
    scratch.response.clear();
    let mut client = OldClient {
        connection,
        hop,
        body,
        framing: Framing::None,
        written: 0,
        keep: wants_more,
        is_old,
        tunnel: Tunnel::None,
        awaits_body: false,
    };
    let mut relay = Relay::new(&mut client, scratch, worker, &counters, upstream);
    let result = relay.run().await;
    let (committed, is_tunnel) = (relay.committed, relay.is_tunnel);
    let OldClient { connection, body, keep, .. } = client;
    let Err(stop) = result else {
        scratch.access.done();
        return match (keep, body.is_complete() && scratch.input.is_empty()) {
            (true, _) => Turn::Next,
            (false, true) => Turn::End(End::Close),
            (false, false) => Turn::End(End::Linger),
        };
    };
    let keep = matches!(stop, Stop::Upstream(_)) && wants_more && body.is_complete();
    match conclude(stop, committed, is_tunnel, &counters, &mut scratch.access) {
        Verdict::Answer(answer) => connection.answer(scratch, &answer, keep, to_head).await,
        Verdict::Reset => Turn::End(End::Reset),
        Verdict::Gone => Turn::End(End::Close),
    }
}

struct OldClient<'a> {
    connection: &'a mut Connection,
    hop: Hop,
    body: Body,
    /// How the response's body is framed for the client.
    framing: Framing,
    /// How much of the scratch's `response` is written.
    written: usize,
    /// The connection goes on after this response.
    keep: bool,
    /// The client speaks HTTP/1.0.
    is_old: bool,
    tunnel: Tunnel,
    /// The next bytes of the body are waited for.
    awaits_body: bool,
}

/// Whether the connection belongs to a WebSocket: it ends one way at a time then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    None,
    Open,
    /// Nothing follows for the client, once what there is has been sent.
    Ending,
    /// The client knows.
    Ended,
}

impl OldClient<'_> {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut Buffer) -> Poll<io::Result<usize>> {
        let polled = input.poll_fill(&mut self.connection.client, cx);
        if let Poll::Ready(Ok(count)) = polled {
            self.connection.counters.bytes_in.add(count as u64);
        }
        polled
    }

    fn note_last(&mut self, last: bool) {
        if last && self.tunnel == Tunnel::Open {
            self.tunnel = Tunnel::Ending;
        }
    }
}

impl Client for OldClient<'_> {
    fn timer(&self) -> &Timer {
        &self.connection.timer
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<Piece, Stop>> {
        let input = &mut scratch.input;
        self.awaits_body = false;
        loop {
            if self.body.is_complete() {
                let section = self.body.trailer_section();
                let piece = if section.is_empty() {
                    Piece::End
                } else {
                    Piece::Trailers(Bytes::copy_from_slice(section))
                };
                return Poll::Ready(Ok(piece));
            }
            if input.is_empty() {
                match self.poll_read(cx, input) {
                    // The end of a tunnel's one way.
                    Poll::Ready(Ok(0)) if self.body.close() => continue,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => {
                        self.awaits_body = true;
                        return Poll::Pending;
                    }
                }
            }
            let stretch = self.body.stretch(input.bytes()).map_err(Stop::ClientFault)?;
            let bytes = Bytes::copy_from_slice(stretch.forwarded(input.bytes()));
            input.consume(stretch.length());
            if !bytes.is_empty() {
                let last = self.body.is_complete() && self.body.trailer_section().is_empty();
                return Poll::Ready(Ok(Piece::Data { bytes, last }));
            }
        }
    }

    fn passed_on(&mut self, _count: usize) {}

    fn poll_ready(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), Stop>> {
        let response = &mut scratch.response;
        while self.written < response.len() {
            let bytes = &response[self.written..];
            match ready!(Pin::new(&mut *self.connection.client).poll_write(cx, bytes)) {
                Ok(count) => {
                    self.written += count;
                    self.connection.counters.bytes_out.add(count as u64);
                }
                Err(_) => return Poll::Ready(Err(Stop::ClientGone)),
            }
        }
        response.clear();
        self.written = 0;
        let sent = Pin::new(&mut *self.connection.client).poll_flush(cx);
        ready!(sent.map_err(|_| Stop::ClientGone))?;
        if self.tunnel == Tunnel::Ending {
            let ended = Pin::new(&mut *self.connection.client).poll_shutdown(cx);
            ready!(ended.map_err(|_| Stop::ClientGone))?;
            self.tunnel = Tunnel::Ended;
        }
        Poll::Ready(Ok(()))
    }

    fn takes_interim(&self) -> bool {
        !self.is_old
    }

    fn begin(&mut self, head: &ResponseHead, text: &[u8], out: &mut Vec<u8>, last: bool) -> Result<(), Stop> {
        if head.is_interim() {
            write_response(out, head, text, &self.hop, ConnectionOption::Omit, true);
            return Ok(());
        }
        self.framing = match head.framing() {
            Framing::Chunked if self.is_old => Framing::UntilClose,
            _ if head.switches() => Framing::UntilClose,
            framing => framing,
        };
        if head.switches() {
            self.tunnel = Tunnel::Open;
            self.body = Body::new(Framing::UntilClose, false);
        }
        let may_go_on = self.body.is_complete() && self.framing != Framing::UntilClose;
        self.keep &= may_go_on && !self.connection.has_to_end();
        let option = match (self.keep, self.is_old) {
            (true, false) => ConnectionOption::Omit,
            (true, true) => ConnectionOption::KeepAlive,
            (false, _) => ConnectionOption::Close,
        };
        write_response(out, head, text, &self.hop, option, !self.is_old);
        if last && self.framing == Framing::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }

    fn data(&mut self, out: &mut Vec<u8>, bytes: Bytes, last: bool) {
        self.note_last(last);
        if self.framing != Framing::Chunked {
            out.extend_from_slice(&bytes);
            return;
        }
        // An empty chunk would be the last one.
        if !bytes.is_empty() {
            write!(out, "{:x}\r\n", bytes.len()).expect("a Vec takes everything");
            out.extend_from_slice(&bytes);
            out.extend_from_slice(b"\r\n");
        }
        if last {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn end(&mut self, out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), Stop> {
        self.note_last(true);
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(if trailers.is_empty() { b"\r\n" } else { trailers });
        }
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        // Where the body is awaited, `poll_body` watches the client. The end of a tunnel's one way says nothing of the other.
        let watches = !self.awaits_body && self.tunnel == Tunnel::None;
        while watches && !scratch.input.is_full() {
            match self.poll_read(cx, &mut scratch.input) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}
