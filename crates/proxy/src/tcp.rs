//! Relayed TCP connections.
//!
//! One task per connection drives both directions. A direction ends by itself: its end of stream goes on as one
//! (half-close), and the connection closes when both have ended. A reset, on either side, goes on as a reset; so does the
//! end of the data plane.

use std::{future::poll_fn, io, net::SocketAddr, pin::pin, rc::Rc, task::Poll, time::Duration};

use proxima_balance::Tried;
use tokio::net::TcpStream;

use crate::{
    access::Access,
    backend::{Backend, Pending},
    close::Guarded,
    direction::{Both, Direction},
    entry::{Entry, Open},
    stats::{Reason, ServiceCounters, Unserved},
    stream::Stream,
    timer::Timer,
    view::{ServiceView, UpstreamView},
    worker::Worker,
};

/// Relays one connection until it ends.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    _open: Open,
    entry: Rc<Entry>,
    client: TcpStream,
    peer: SocketAddr,
) {
    let mut client = Guarded::under_way(Stream::Plain(client));
    let counters = entry.counters.clone();
    let mut access = worker.access(&entry, peer, "tcp", None);
    let service = worker.service(&entry);
    let Some(ServiceView::Tcp(upstream)) = service.as_deref() else {
        counters.unserved(Unserved::NoBackends);
        return access.end("unserved", Some(Unserved::NoBackends.name()));
    };
    if upstream.levels.is_empty() {
        let (kind, why) = upstream.unserved();
        counters.unserved(kind);
        access.end("unserved", Some(kind.name()));
        tracing::debug!(%peer, %why, "connection refused");
        return;
    }
    let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
    let upstream = upstream.clone();
    let (backend, stream, pending) = match connect(&worker, &entry, &upstream, &timer, &mut access).await {
        Ok(connected) => connected,
        Err(reason) => {
            counters.failure(reason);
            return access.end("upstream", Some(reason.name()));
        }
    };
    let mut stream = Guarded::under_way(Stream::Plain(stream));
    let idle = upstream.timeouts.idle;
    let relayed = {
        let mut relaying =
            pin!(relay(&worker, &counters, &mut client, &mut stream, timer, idle, &mut access));
        poll_fn(|cx| match relaying.as_mut().poll(cx) {
            Poll::Pending if pending.is_cut() => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            polled => polled,
        })
        .await
    };
    match relayed {
        Ok(()) => access.done(),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            backend.counters.failure(Reason::Idle);
            counters.failure(Reason::Idle);
            access.end("silent", Some(Reason::Idle.name()));
        }
        Err(_) => access.end("broken", None),
    }
}

/// Relays between two connections until both directions have ended, one is broken, or nothing moves for `idle`.
pub(crate) async fn relay(
    worker: &Worker,
    counters: &ServiceCounters,
    client: &mut Guarded<Stream>,
    stream: &mut Guarded<Stream>,
    timer: Timer,
    idle: Duration,
    access: &mut Access,
) -> io::Result<()> {
    client.tcp().set_nodelay(true)?;
    let (up, down) = (Direction::new(&counters.bytes_in), Direction::new(&counters.bytes_out));
    let mut both = Both::new(worker, access, up, down);
    timer.arm_after(idle);
    poll_fn(|cx| {
        let before = both.moved();
        if let Poll::Ready(ended) = both.poll(client, stream, cx) {
            return Poll::Ready(ended);
        }
        if both.moved() > before {
            timer.arm_after(idle);
        } else if timer.has_expired() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    })
    .await?;
    client.end();
    stream.end();
    Ok(())
}

/// A connection to the first candidate that takes one.
async fn connect(
    worker: &Worker,
    entry: &Entry,
    upstream: &UpstreamView,
    timer: &Timer,
    access: &mut Access,
) -> Result<(Rc<Backend>, TcpStream, Pending), Reason> {
    let mut tried = Tried::new();
    let mut failed = None;
    while let Some(index) = upstream.pick(&tried) {
        if let Some(reason) = failed {
            entry.counters.failover(reason);
        }
        access.attempt(upstream.candidate(index));
        let backend = upstream.backends[index].clone();
        let pending = backend.begin();
        timer.arm_after(upstream.timeouts.connect);
        worker.make_room();
        let mut connecting = pin!(backend.connect_tcp());
        let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_| Reason::Connect)),
            Poll::Pending if timer.has_expired() => Poll::Ready(Err(Reason::ConnectTimeout)),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match connected {
            Ok(stream) => {
                backend.counters.answers.add(1);
                return Ok((backend.clone(), stream, pending));
            }
            Err(reason) => {
                backend.failed(reason);
                failed = Some(reason);
                tried.add(index);
            }
        }
    }
    Err(failed.unwrap_or(Reason::Connect))
}
