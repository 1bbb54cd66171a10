//! Connecting to a backend, and what a failure to do so says.

use std::{io, net::SocketAddr, time::Duration};

use nix::errno::Errno;
use proxima_health::{Failure, Phase};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use crate::standing::end_of;

/// How long a confirming connection is watched. The kernel closes a killed process's sockets one after the other, often
/// the listener last; on a busy host that takes a while. A connection it still took is reset with it.
const CONFIRM_WATCH: Duration = Duration::from_millis(100);
/// A process may have many listeners on one port (SO_REUSEPORT), each of which may take one more connection.
const CONFIRM_ATTEMPTS: u32 = 32;
/// From then on the attempts are [`CONFIRM_PAUSE`] apart.
const UNPAUSED_ATTEMPTS: u32 = 4;
const CONFIRM_PAUSE: Duration = Duration::from_millis(1);

/// A deadline with the time it was derived from, for the words of a timeout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    pub(crate) fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// Runs `work` until the deadline.
    pub(crate) async fn run<T>(
        self,
        phase: Phase,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout_at(self.at, work).await.unwrap_or(Err(Failure::Timeout { phase, after: self.after }))
    }
}

/// A connection, and how long it took.
pub(crate) async fn connect(
    address: SocketAddr,
    deadline: Deadline,
) -> Result<(TcpStream, Duration), Failure> {
    deadline
        .run(Phase::Connect, async {
            let start = Instant::now();
            let stream = TcpStream::connect(address).await.map_err(|error| failure(&error))?;
            let took = start.elapsed();
            let options = SockRef::from(&stream);
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(5))
                .with_interval(Duration::from_secs(2))
                .with_retries(3);
            // Both only sharpen the watch; a connection without them is as good a probe.
            let _ = options.set_tcp_nodelay(true);
            let _ = options.set_tcp_keepalive(&keepalive);
            Ok((stream, took))
        })
        .await
}

/// Whether somebody listens, asked after hard evidence: fails as soon as nobody does, and succeeds when a connection
/// lasts, or when connection after connection is taken and closed.
pub(crate) async fn confirm(address: SocketAddr, deadline: Deadline) -> Result<(), Failure> {
    let watched_until = Instant::now() + CONFIRM_WATCH;
    for attempt in 1..=CONFIRM_ATTEMPTS {
        let (stream, _) = connect(address, deadline).await?;
        if timeout_at(watched_until, end_of(&stream)).await.is_err() {
            break;
        }
        if attempt >= UNPAUSED_ATTEMPTS {
            sleep(CONFIRM_PAUSE).await;
        }
    }
    Ok(())
}

/// What an I/O error says about the backend.
pub(crate) fn failure(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Failure::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Failure::Reset,
        Kind::UnexpectedEof => Failure::Closed,
        _ if is_shortage(error) => Failure::Local { error: error.to_string() },
        _ => Failure::Unreachable { error: error.to_string() },
    }
}

/// Whether this host lacks what an attempt takes. What else keeps it from reaching the backend (no route, an interface
/// down, a packet filter) stands in the way of requests as well.
fn is_shortage(error: &io::Error) -> bool {
    use Errno::{EADDRNOTAVAIL, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    let shortages = [EMFILE, ENFILE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM, ENOSPC];
    error.raw_os_error().is_some_and(|code| shortages.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shortage_of_this_host_says_nothing_about_the_backend() {
        let local = |error: Errno| failure(&error.into()).is_local();
        for error in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(local(error), "{error}");
        }
        for error in [
            Errno::ECONNREFUSED,
            Errno::ECONNRESET,
            Errno::EHOSTUNREACH,
            Errno::ENETUNREACH,
            Errno::ENETDOWN,
            Errno::ETIMEDOUT,
            Errno::EPERM,
            Errno::EACCES,
        ] {
            assert!(!local(error), "{error}");
        }
    }
}
