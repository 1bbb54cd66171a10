//! The end of a connection whose client may still be sending (RFC 9112 §9.6).

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use super::Scratch;
use crate::{timer::Timer, worker::Worker};

/// How long a refused client may still send before its connection is closed for good.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How much it may still send.
const LINGER_BYTES: usize = 256 * 1024;

/// Ends our side, and reads on for a while so that the close does not reset the connection before the client has read
/// what it was told. Others have their turn between two reads: what refuses a flood has much to read.
pub(super) async fn linger<S>(worker: &Worker, timer: &Timer, stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timer.arm_after(LINGER);
    let shut = poll_fn(|cx| match Pin::new(&mut *stream).poll_shutdown(cx) {
        Poll::Pending if !timer.has_expired() => Poll::Pending,
        shut => Poll::Ready(matches!(shut, Poll::Ready(Ok(())))),
    });
    if !shut.await {
        return;
    }
    let mut scratch = worker.scratch.take().unwrap_or_else(Scratch::new);
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = poll_fn(|cx| match scratch.input.poll_fill(stream, cx) {
            Poll::Pending if !timer.has_expired() => Poll::Pending,
            Poll::Ready(Ok(count)) => Poll::Ready(count),
            _ => Poll::Ready(0),
        });
        let count = read.await;
        if count == 0 {
            break;
        }
        left = left.saturating_sub(count);
        scratch.input.clear();
        tokio::task::yield_now().await;
    }
    scratch.give_back(worker);
}
