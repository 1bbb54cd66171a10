//! A client's handshake: one task from the connection to what is spoken over it.
//!
//! It ends within the deadline of a request's head. How many are under way at once follows from how many clients a worker takes
//! (`descriptors`): each is a client. Their cryptography is done in turns on the worker's thread, a message at a time.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{Connection, Error, ServerConnection, server::Acceptor};
use tokio::net::TcpStream;

use super::{
    ACME_TLS, TlsServer, TlsStream,
    hello::{go_on, poll_hello},
};
use crate::{
    Challenges,
    close::reset_on_close,
    entry::{Entry, Open},
    http,
    stats::{HandshakeFailure, Unserved},
    stream::Stream,
    timer::Timer,
    worker::Worker,
};

/// How long a handshake that a drain finds under way may still take, unless a successor gives all the time there is.
const WHILE_DRAINING: Duration = Duration::from_millis(500);

/// Serves one connection: handshake, then the version of HTTP that ALPN agreed on.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    open: Open,
    entry: Rc<Entry>,
    tcp: TcpStream,
    peer: SocketAddr,
) {
    let counters = entry.counters.clone();
    let service = worker.service(&entry);
    let server = service.as_ref().and_then(|service| service.tls().cloned());
    let Some(server) = server else {
        counters.unserved(Unserved::NoBackends);
        return reset_on_close(&tcp);
    };
    let challenges = service.and_then(|service| service.tls_challenges().cloned());
    // A handshake is small messages that wait for each other.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    match handshake(&worker, &entry, &server, challenges.as_deref(), tcp).await {
        Ok(mut stream) if stream.alpn() == Some(ACME_TLS) => {
            tracing::debug!(%peer, "TLS-ALPN-01 answered");
            stream.end();
        }
        Ok(stream) => {
            counters.handshake(stream.handshake());
            // A task of its own: what the handshake needed is not kept for the life of the connection.
            let stream = Stream::Tls(Box::new(stream));
            open.serve(move |open| http::serve(worker, open, entry, stream, peer));
        }
        Err(error) => {
            let reason = reason(&error, &server);
            counters.handshake_failure(reason);
            tracing::debug!(%peer, reason = reason.name(), %error, "TLS handshake failed");
        }
    }
}

async fn handshake(
    worker: &Worker,
    entry: &Entry,
    server: &TlsServer,
    challenges: Option<&Challenges>,
    tcp: TcpStream,
) -> io::Result<TlsStream> {
    let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
    let mut patience = Patience::new(worker, entry, &timer);
    let connection = match challenges {
        None => ServerConnection::new(server.tcp().map_err(io::Error::other)?).map_err(io::Error::other)?,
        Some(challenges) => {
            let mut acceptor = Acceptor::default();
            let accepted = patience.within(|cx| poll_hello(&mut acceptor, &tcp, cx)).await?;
            go_on(accepted, challenges, &server.tcp().map_err(io::Error::other)?, &tcp)?
        }
    };
    let mut stream = TlsStream::new(tcp, Connection::Server(connection));
    patience.within(|cx| stream.poll_handshake(cx)).await?;
    Ok(stream)
}

/// How long a handshake may take: as long as a request's head, and where a drain finds it under way no more than a moment.
pub(crate) struct Patience<'a> {
    worker: &'a Worker,
    entry: &'a Entry,
    timer: &'a Timer,
    is_hurried: bool,
}

impl<'a> Patience<'a> {
    /// From now on, with a timer of the task that asks.
    pub(crate) fn new(worker: &'a Worker, entry: &'a Entry, timer: &'a Timer) -> Self {
        timer.arm_after(worker.config.header_timeout);
        Self { worker, entry, timer, is_hurried: false }
    }

    /// Whether it is over.
    pub(crate) fn is_over(&mut self) -> bool {
        let Self { worker, entry, timer, is_hurried } = self;
        if worker.has_to_leave(entry) && !worker.is_succeeded() && !std::mem::replace(is_hurried, true) {
            timer.arm_after(WHILE_DRAINING);
        }
        timer.has_expired()
    }

    /// What `poll` comes to before.
    async fn within<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        poll_fn(|cx| match poll(cx) {
            Poll::Pending if self.is_over() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        })
        .await
    }
}

/// What became of a handshake, in a word.
fn reason(error: &io::Error, server: &TlsServer) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::TimedOut => HandshakeFailure::Slow,
            _ => HandshakeFailure::Gone,
        };
    };
    match error {
        Error::InvalidMessage(_) => HandshakeFailure::NotTls,
        Error::PeerIncompatible(_) => HandshakeFailure::Incompatible,
        Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => HandshakeFailure::ClientCertificate,
        Error::General(_) if !server.is_someone => HandshakeFailure::NoCertificate,
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        _ => HandshakeFailure::Protocol,
    }
}
