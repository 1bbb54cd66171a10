//! Another way to a backend than straight to its address.

use std::{fmt, io, net::SocketAddr, pin::Pin};

use proxima_types::BackendId;
use tokio::net::TcpStream;

/// What a connection is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carries {
    /// Whatever the two ends say to each other, as it is.
    Bytes,
    /// Requests of HTTP/1.1, without TLS.
    Requests,
}

/// A connection under way.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>>;

/// A way to backends that leads through something, which is probed with them.
pub trait Via: fmt::Debug + Send + Sync {
    /// Connects to `backend` at `address`. With [`Carries::Bytes`] an error is the one that the last stretch, to the backend itself, met. Dropped before
    /// it is done, it leaves nothing behind.
    fn connect(&self, backend: &BackendId, address: SocketAddr, carries: Carries) -> Connecting<'_>;
}
