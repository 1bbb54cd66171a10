//! How a handshake begins while an ACME server's challenges are pending: by reading whom the client asks for, and in which
//! protocol (RFC 8737 §3).
//!
//! At other times nothing is read ahead.

use std::{
    io::{self, Read},
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    ServerConfig, ServerConnection,
    server::{Accepted, Acceptor, ClientHello},
};
use tokio::net::TcpStream;

use super::{ACME_TLS, stream::Unwaiting};
use crate::Challenges;

/// Reads until the client has said hello. An error of TLS is a [`rustls::Error`] inside, and the client has been told, as far as
/// that went without waiting.
pub(super) fn poll_hello(
    acceptor: &mut Acceptor,
    tcp: &TcpStream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Accepted>> {
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
            Ok(None) => {}
            Err((error, mut alert)) => {
                alert.write_all(&mut Unwaiting(tcp)).ok(); // or it does not hear why
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        ready!(tcp.poll_read_ready(cx))?;
        match acceptor.read_tls(&mut Arrived(tcp)) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Goes on with the handshake: for a challenge that is pending, or for clients.
pub(super) fn go_on(
    accepted: Accepted,
    challenges: &Challenges,
    clients: &Arc<ServerConfig>,
    tcp: &TcpStream,
) -> io::Result<ServerConnection> {
    let config = challenged(&accepted.client_hello(), challenges).unwrap_or(clients).clone();
    accepted.into_connection(config).map_err(|(error, mut alert)| {
        alert.write_all(&mut Unwaiting(tcp)).ok(); // or it does not hear why
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

fn challenged<'c>(hello: &ClientHello<'_>, challenges: &'c Challenges) -> Option<&'c Arc<ServerConfig>> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(ACME_TLS) || offered.next().is_some() {
        return None;
    }
    challenges.tls_alpn(hello.server_name()?)
}

/// Reads what is there.
struct Arrived<'a>(&'a TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}
