//! `splice(2)`: bytes go from socket to socket through a pipe without being copied to user space.
//!
//! ```text
//!            much at once, and much to come               little at once, the end, or not possible
//!  copying ────────────────────────────────▶ splicing ────────────────────────────────────────────▶ copying
//! ```
//!
//! Every direction begins by copying, which is cheaper for what is short and what trickles. SPLICE_F_MORE is left out: it delays
//! the last bytes of a burst by 200 ms.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    task::{Context, Poll, ready},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use crate::{
    buffer::Pool,
    descriptors::{Descriptors, Lease},
};

/// What a pipe holds, and so how much is asked for at once.
const CAPACITY: usize = 64 * 1024;
/// A pipe that no more than this comes into at once costs more than it saves.
const SMALL: usize = 4 * 1024;

/// The pipes of a worker. How many there may be is a matter of its account of descriptors.
pub(crate) struct Pipes {
    free: Pool<Pipe>,
    descriptors: Rc<Descriptors>,
}

impl Pipes {
    /// Keeps `limit` of them at most for the next one who needs one.
    pub(crate) fn new(limit: usize, descriptors: Rc<Descriptors>) -> Self {
        Self { free: Pool::new(limit), descriptors }
    }

    /// A pipe, if there are descriptors for it.
    fn take(&self) -> io::Result<Option<Pipe>> {
        match self.free.take() {
            Some(pipe) => Ok(Some(pipe)),
            None => self.descriptors.pipe().map(Pipe::new).transpose(),
        }
    }

    /// Closes one that nobody uses. Whether there was one.
    pub(crate) fn close_one(&self) -> bool {
        self.free.take().is_some()
    }
}

/// The pipe between two sockets. It is pooled only when empty.
#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    _place: Lease,
}

impl Pipe {
    fn new(place: Lease) -> io::Result<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A user who has many pipes gets smaller ones (pipe(7), `pipe-user-pages-soft`): copying is better then.
        let size = fcntl(&into, FcntlArg::F_GETPIPE_SZ)?;
        if usize::try_from(size).is_ok_and(|size| size < CAPACITY) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the user has too many pipes for a whole one",
            ));
        }
        Ok(Self { out, into, _place: place })
    }

    /// Fills the empty pipe from `stream` with `most` bytes at most; 0 at its end.
    fn poll_fill(&self, stream: &TcpStream, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_io(Interest::READABLE, || moved(stream, &self.into, most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Empties the pipe, which holds `held` bytes, into `stream` as far as it takes them.
    fn poll_empty(&self, stream: &TcpStream, held: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || moved(&self.out, stream, held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

fn moved(from: impl AsFd, to: impl AsFd, count: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, count, flags)?)
}

/// How one direction between two TCP connections goes on: by copying, which is its owner's business, or through a pipe.
#[derive(Debug, Default)]
pub(crate) struct Gear {
    splicing: Option<Splicing>,
    /// Copying has found much at once since the last pipe.
    is_due: bool,
    /// No pipe is tried any more.
    is_stuck: bool,
}

#[derive(Debug)]
struct Splicing {
    pipe: Pipe,
    /// So many bytes are in the pipe.
    held: usize,
    /// Little came at once: it is the last time.
    is_slow: bool,
}

impl Gear {
    /// Whether the next bytes go through a pipe.
    pub(crate) fn is_splicing(&self) -> bool {
        self.splicing.is_some()
    }

    /// How many bytes have left their source and not yet reached their destination.
    pub(crate) fn held(&self) -> usize {
        self.splicing.as_ref().map_or(0, |splicing| splicing.held)
    }

    /// Something was copied, and it was `much` at once.
    pub(crate) fn copied(&mut self, much: bool) {
        self.is_due = much;
    }

    /// From copying to a pipe, if that is due and one is to be had. Nothing that was copied may wait for its destination.
    pub(crate) fn shift_up(&mut self, pipes: &Pipes) {
        if !std::mem::take(&mut self.is_due) || self.is_stuck || self.is_splicing() {
            return;
        }
        match pipes.take() {
            Ok(pipe) => self.splicing = pipe.map(|pipe| Splicing { pipe, held: 0, is_slow: false }),
            Err(error) => {
                tracing::debug!(%error, "no pipe to splice through; copying on");
                self.is_stuck = true;
            }
        }
    }

    /// Back to copying. A pipe with bytes in it, which only a broken connection leaves, is closed.
    pub(crate) fn shift_down(&mut self, pipes: &Pipes) {
        if let Some(Splicing { pipe, held: 0, .. }) = self.splicing.take() {
            pipes.free.put(pipe);
        }
    }

    /// Takes `most` bytes at most of `from`; nothing may be held. 0: the next bytes have to be copied, so it has shifted down. That
    /// is so at the end of the stream, which copying finds again, and where `splice(2)` does not work. It waits at urgent data
    /// (tcp(7)), which RFC 6093 has left to telnet, until more comes or the idle deadline.
    pub(crate) fn poll_fill(
        &mut self,
        pipes: &Pipes,
        from: &TcpStream,
        most: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(splicing) = &mut self.splicing else { return Poll::Ready(Ok(0)) };
        debug_assert_eq!(splicing.held, 0);
        let most = usize::try_from(most).map_or(CAPACITY, |most| most.min(CAPACITY));
        let count = match ready!(splicing.pipe.poll_fill(from, most, cx)) {
            Err(error) if is_unsupported(&error) => {
                tracing::debug!(%error, "no splicing between these connections; copying on");
                self.is_stuck = true;
                0
            }
            filled => filled?,
        };
        splicing.held = count;
        splicing.is_slow = count <= SMALL && count < most;
        if count == 0 {
            self.shift_down(pipes);
        }
        Poll::Ready(Ok(count))
    }

    /// Lets `to` have what is held, as far as it takes it.
    pub(crate) fn poll_empty(
        &mut self,
        pipes: &Pipes,
        to: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(splicing) = &mut self.splicing else { return Poll::Ready(Ok(0)) };
        let count = ready!(splicing.pipe.poll_empty(to, splicing.held, cx))?;
        splicing.held -= count;
        if splicing.held == 0 && splicing.is_slow {
            self.shift_down(pipes);
        }
        Poll::Ready(Ok(count))
    }

    /// All that was to be moved has been. Whether a pipe was in use, of which the source has to be [settled](settle).
    pub(crate) fn finish(&mut self, pipes: &Pipes) -> bool {
        let was_splicing = self.is_splicing();
        self.shift_down(pipes);
        was_splicing
    }
}

/// Lets the event loop know whether anything is left to read. It learns that from a read that brings less than it could, and so
/// not from `splice(2)`, nor from a read that just so fills its room.
pub(crate) fn settle(stream: &TcpStream) {
    let look = || SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    // What there is, if anything, is for whoever reads next.
    let _ = stream.try_io(Interest::READABLE, look);
}

/// Whether `splice(2)` is not to be had: not between such sockets, not in this kernel, or not under this filter of system calls.
fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    fn pipes() -> Pipes {
        Pipes::new(8, Descriptors::new(1000))
    }

    fn up(pipes: &Pipes) -> Gear {
        let mut gear = Gear::default();
        gear.copied(true);
        gear.shift_up(pipes);
        assert!(gear.is_splicing());
        gear
    }

    async fn fill(gear: &mut Gear, pipes: &Pipes, from: &TcpStream, most: u64) -> io::Result<usize> {
        poll_fn(|cx| gear.poll_fill(pipes, from, most, cx)).await
    }

    #[tokio::test]
    async fn what_is_beyond_the_limit_stays_in_the_socket() {
        let pipes = pipes();
        let (mut source, from) = pair().await;
        let (to, mut sink) = pair().await;
        source.write_all(b"body and the next request").await.unwrap();
        let mut gear = up(&pipes);
        assert_eq!(fill(&mut gear, &pipes, &from, 4).await.unwrap(), 4);
        assert_eq!(poll_fn(|cx| gear.poll_empty(&pipes, &to, cx)).await.unwrap(), 4);
        assert!(gear.is_splicing(), "all that was asked for came");
        assert!(gear.finish(&pipes));
        drop(to);
        let mut body = Vec::new();
        sink.read_to_end(&mut body).await.unwrap();
        assert_eq!(body, b"body");
        let mut next = [0; 21];
        let mut from = from;
        from.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b" and the next request");
    }

    #[tokio::test]
    async fn after_the_last_byte_the_event_loop_knows_whether_there_is_more() {
        let pipes = pipes();
        let (mut source, from) = pair().await;
        let (to, _sink) = pair().await;
        let is_readable = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            from.poll_read_ready(&mut cx).is_ready()
        };
        for more in [false, true] {
            source.write_all(&[b'x'; 10]).await.unwrap();
            let mut gear = up(&pipes);
            let most = if more { 9 } else { 10 };
            // One segment: it comes whole.
            assert_eq!(fill(&mut gear, &pipes, &from, most).await.unwrap() as u64, most);
            poll_fn(|cx| gear.poll_empty(&pipes, &to, cx)).await.unwrap();
            assert!(is_readable());
            settle(&from);
            assert_eq!(is_readable(), more);
        }
    }

    #[tokio::test]
    async fn little_at_once_is_copied_on_and_the_pipe_goes_back() {
        let pipes = pipes();
        let (mut source, from) = pair().await;
        let (to, _sink) = pair().await;
        source.write_all(b"a token").await.unwrap();
        let mut gear = up(&pipes);
        fill(&mut gear, &pipes, &from, u64::MAX).await.unwrap();
        poll_fn(|cx| gear.poll_empty(&pipes, &to, cx)).await.unwrap();
        assert!(!gear.is_splicing());
        gear.shift_up(&pipes);
        assert!(!gear.is_splicing(), "not before copying has found much");
        assert!(pipes.close_one() && !pipes.close_one());
    }

    #[tokio::test]
    async fn an_end_is_left_to_copying() {
        let pipes = pipes();
        let (mut source, mut from) = pair().await;
        source.shutdown().await.unwrap();
        let mut gear = up(&pipes);
        assert_eq!(fill(&mut gear, &pipes, &from, u64::MAX).await.unwrap(), 0);
        assert!(!gear.is_splicing() && pipes.close_one());
        assert_eq!(from.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn where_it_does_not_work_nothing_is_lost_and_it_is_not_tried_again() {
        let pipes = pipes();
        let (mut source, mut from) = pair().await;
        source.write_all(b"bytes").await.unwrap();
        let mut gear = up(&pipes);
        // Neither end is a pipe: EINVAL, as of a kernel or a socket that can't.
        let (_other, no_pipe) = pair().await;
        gear.splicing.as_mut().unwrap().pipe.into = no_pipe.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(fill(&mut gear, &pipes, &from, u64::MAX).await.unwrap(), 0);
        gear.copied(true);
        gear.shift_up(&pipes);
        assert!(!gear.is_splicing());
        let mut bytes = [0; 5];
        from.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"bytes");
    }

    #[tokio::test]
    async fn without_descriptors_there_is_no_pipe_and_a_broken_pipe_is_not_pooled() {
        let none = Pipes::new(8, Descriptors::new(0));
        let mut gear = Gear::default();
        gear.copied(true);
        gear.shift_up(&none);
        assert!(!gear.is_splicing());

        let pipes = pipes();
        let (mut source, from) = pair().await;
        source.write_all(b"stays in the pipe").await.unwrap();
        let mut gear = up(&pipes);
        fill(&mut gear, &pipes, &from, u64::MAX).await.unwrap();
        gear.shift_down(&pipes);
        assert!(!pipes.close_one());
    }
}
