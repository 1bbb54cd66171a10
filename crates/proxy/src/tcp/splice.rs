//! `splice(2)`: bytes go from socket to socket through a pipe without being copied to user space.
//!
//! SPLICE_F_MORE is left out: it delays the last bytes of a burst by 200 ms.

use std::{
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use nix::{
    fcntl::{OFlag, SpliceFFlags, splice},
    unistd::pipe2,
};
use tokio::{io::Interest, net::TcpStream};

use crate::descriptors::Lease;

/// How much is asked for at once: what a pipe holds.
const CAPACITY: usize = 64 * 1024;

/// The pipe between two sockets. It is pooled only when empty.
#[derive(Debug)]
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    _place: Lease,
}

impl Pipe {
    pub(crate) fn new(place: Lease) -> io::Result<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { out, into, _place: place })
    }

    /// Fills the empty pipe from `stream`; 0 at its end.
    pub(super) fn poll_fill(&self, stream: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_io(Interest::READABLE, || moved(stream, &self.into, CAPACITY)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Empties the pipe, which holds `filled` bytes, into `stream` as far as it takes them.
    pub(super) fn poll_empty(
        &self,
        stream: &TcpStream,
        filled: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || moved(&self.out, stream, filled)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

fn moved(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, count: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, count, flags)?)
}
