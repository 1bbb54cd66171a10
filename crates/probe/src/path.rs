//! The way to a backend: connecting to it, and what a failure to do so says.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nix::errno::Errno;
use proxima_health::{Failure, Phase};
use proxima_probe_kind::Tls;
use proxima_types::BackendId;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    shared::Shared,
    via::{Carries, Via},
    wire::{Wire, end_of},
};

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

/// Where a backend is, and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) backend: BackendId,
    pub(crate) address: SocketAddr,
    /// The own address to use; `None`: the system's choice.
    pub(crate) source: Option<IpAddr>,
    /// The way there; `None`: straight.
    pub(crate) via: Option<Arc<dyn Via>>,
    /// How many more probes than the first one a connection carries.
    pub(crate) uses: u32,
    pub(crate) shared: Arc<Shared>,
}

impl Path {
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let (backend, address) = ("app/one".parse().unwrap(), ([127, 0, 0, 1], 8080).into());
        let (uses, shared) = (crate::standing::Standing::USES, Arc::default());
        Self { backend, address, source: None, via: None, uses, shared }
    }

    /// The same without a detour.
    pub(crate) fn straight(&self) -> Self {
        Self { via: None, ..self.clone() }
    }

    /// The same host at another port.
    pub(crate) fn at_port(&self, port: u16) -> Self {
        Self { address: SocketAddr::new(self.address.ip(), port), ..self.clone() }
    }

    /// Where an own socket is bound to, when it has to be: the source address and any port.
    pub(crate) fn bind_to(&self) -> Option<SocketAddr> {
        self.source.map(|source| SocketAddr::new(source, 0))
    }

    /// A connection, and how long it took.
    pub(crate) async fn connect(&self, deadline: Deadline) -> Result<(TcpStream, Duration), Failure> {
        self.connect_for(Carries::Bytes, deadline).await
    }

    /// The same for requests of HTTP/1.1: a way that [leads through something](Self::via) may be another one for them, and its
    /// length says nothing of the backend.
    pub(crate) async fn connect_for(
        &self,
        carries: Carries,
        deadline: Deadline,
    ) -> Result<(TcpStream, Duration), Failure> {
        deadline
            .run(Phase::Connect, async {
                let start = Instant::now();
                let stream = self.stream(carries).await.map_err(|error| failure(&error))?;
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

    async fn stream(&self, carries: Carries) -> io::Result<TcpStream> {
        if let Some(via) = &self.via {
            return via.connect(&self.backend, self.address, carries).await;
        }
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(bind_to) = self.bind_to() {
            // The port is chosen at the connect, so that it only has to differ for this one destination.
            let _ =
                nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true);
            socket.bind(bind_to)?;
        }
        socket.connect(self.address).await
    }

    /// A TLS session over `stream`, with its certificate judged; `alpn` is what is offered, the first preferred.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        tls: &Tls,
        alpn: &[String],
        deadline: Deadline,
    ) -> Result<Wire, Failure> {
        self.shared.tls.handshake(stream, self.address.ip(), tls, alpn, deadline).await
    }

    /// A connection over TCP, with TLS where `tls` asks for it, and how long the TCP connect took.
    pub(crate) async fn wire(
        &self,
        tls: Option<&Tls>,
        alpn: &[String],
        deadline: Deadline,
    ) -> (Result<Wire, Failure>, Option<Duration>) {
        match self.connect(deadline).await {
            Ok((stream, took)) => match tls {
                Some(tls) => (self.secure(stream, tls, alpn, deadline).await, Some(took)),
                None => (Ok(Wire::Plain(stream)), Some(took)),
            },
            Err(failure) => (Err(failure), None),
        }
    }

    /// Whether somebody listens, asked after hard evidence: fails as soon as nobody does, and succeeds when a connection
    /// lasts, or when connection after connection is taken and closed.
    pub(crate) async fn confirm(&self, deadline: Deadline) -> Result<(), Failure> {
        let watched_until = Instant::now() + CONFIRM_WATCH;
        for attempt in 1..=CONFIRM_ATTEMPTS {
            let (stream, _) = self.connect(deadline).await?;
            if timeout_at(watched_until, end_of(&stream)).await.is_err() {
                break;
            }
            if attempt >= UNPAUSED_ATTEMPTS {
                sleep(CONFIRM_PAUSE).await;
            }
        }
        Ok(())
    }
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
    use Errno::{EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    let shortages = [EMFILE, ENFILE, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM, ENOSPC];
    error.raw_os_error().is_some_and(|code| shortages.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shortage_of_this_host_says_nothing_about_the_backend() {
        let local = |error: Errno| failure(&error.into()).is_local();
        for error in [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::EADDRINUSE,
            Errno::EADDRNOTAVAIL,
            Errno::ENOBUFS,
            Errno::ENOMEM,
        ] {
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
