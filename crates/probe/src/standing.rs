//! The standing connection: idle, and watched for its end.

use std::io;

use proxima_health::Loss;
use tokio::net::TcpStream;

/// An idle connection to a backend.
#[derive(Debug)]
pub(crate) struct Standing {
    stream: TcpStream,
    /// How many more probes it may carry.
    uses_left: u32,
}

impl Standing {
    /// HTTP probes change to a new connection after so many, so that the round-trip time is measured anew.
    const USES: u32 = 10;

    /// A connection that an HTTP probe has used and the app has kept alive.
    pub(crate) fn kept_alive(stream: TcpStream) -> Self {
        Self { stream, uses_left: Self::USES }
    }

    /// A connection that carries no requests.
    pub(crate) fn silent(stream: TcpStream) -> Self {
        Self { stream, uses_left: 0 }
    }

    /// Whether a probe may use it.
    pub(crate) fn is_usable(&self) -> bool {
        self.uses_left > 0
    }

    /// Its stream, for a probe.
    pub(crate) fn into_stream(self) -> (TcpStream, UsesLeft) {
        (self.stream, UsesLeft(self.uses_left - 1))
    }

    /// Again a standing connection, after a probe.
    pub(crate) fn again(stream: TcpStream, UsesLeft(uses_left): UsesLeft) -> Self {
        Self { stream, uses_left }
    }

    /// Waits for its end. An app that talks without being asked (a greeting, a 408) may, but such a connection carries
    /// no probe any more. Cancel-safe.
    pub(crate) async fn lost(&mut self) -> Loss {
        loop {
            match next(&self.stream).await {
                Ok(0) => return Loss::Closed,
                Ok(_) => self.uses_left = 0,
                Err(error) => return loss(&error),
            }
        }
    }
}

/// How many more probes a standing connection may carry, kept while a probe has its stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsesLeft(u32);

/// Waits for the end of a connection, whatever it says meanwhile. Cancel-safe.
pub(crate) async fn end_of(stream: &TcpStream) {
    while next(stream).await.is_ok_and(|received| received > 0) {}
}

/// Receives and throws away. 0 at the end. Cancel-safe.
async fn next(stream: &TcpStream) -> io::Result<usize> {
    let mut scratch = [0; 512];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut scratch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

fn loss(error: &io::Error) -> Loss {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Loss::Reset
        }
        _ => Loss::TimedOut,
    }
}
