//! The end of a connection whose client may still be sending (RFC 9112 §9.6).

use std::{future::poll_fn, io, mem::MaybeUninit, pin::Pin, task::Poll, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncWrite, Interest},
    net::TcpStream,
};

use crate::{stream::Stream, timer::Timer};

/// How long a refused client may still send before its connection is closed for good.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How much it may still send: more than a client on a fast line has under way before it has read its answer.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// How much of that is thrown away at once.
const AT_ONCE: usize = 16 * 1024;

/// Ends our side, and throws away for a while what comes, so that the close does not reset the connection before the client has read
/// what it was told. Others have their turn in between: what refuses a flood has much to throw away.
pub(super) async fn linger(timer: &Timer, stream: &mut Stream) {
    timer.arm_after(LINGER);
    let shut = poll_fn(|cx| match Pin::new(&mut *stream).poll_shutdown(cx) {
        Poll::Pending if !timer.has_expired() => Poll::Pending,
        shut => Poll::Ready(matches!(shut, Poll::Ready(Ok(())))),
    });
    if !shut.await {
        return;
    }
    let tcp = stream.tcp();
    let mut left = LINGER_BYTES;
    while left > 0 && !timer.has_expired() {
        let ready = poll_fn(|cx| match tcp.poll_read_ready(cx) {
            Poll::Pending if timer.has_expired() => Poll::Ready(false),
            polled => polled.map(|ready| ready.is_ok()),
        });
        if !ready.await {
            return;
        }
        match throw_away(tcp) {
            Ok(0) => return,
            Ok(count) => left = left.saturating_sub(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        tokio::task::yield_now().await;
    }
}

/// Has the kernel drop what has come, which copies nothing (`MSG_TRUNC`, tcp(7)), nor, over TLS, deciphers it.
fn throw_away(tcp: &TcpStream) -> io::Result<usize> {
    let mut untouched = [MaybeUninit::uninit(); AT_ONCE];
    tcp.try_io(Interest::READABLE, || {
        SockRef::from(tcp).recv_with_flags(&mut untouched, nix::libc::MSG_TRUNC)
    })
}
