//! A user agent: a pool of keep-alive connections and the retry rule of real clients.
//!
//! An idempotent request whose connection dies before any byte of an answer is sent again on a *new* connection
//! (RFC 9110 §9.2.2, RFC 9112 §9.3.1; browsers and Go's `net/http` do so). Each repeat is counted, never hidden. Nothing
//! else is repeated: not a failed connect, not an answer cut short, not a POST.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::{
    http::{Connection, ExchangeError, Head},
    outcome::Failure,
};

/// Repeats of one request at most.
const MAX_RECONNECTS: u32 = 3;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections kept; a client host stands for many users.
const MAX_IDLE: usize = 64;
/// A connection is given up after this many requests, as users come and go: new ones are opened all the time.
const MAX_REQUESTS: u32 = 16;

/// Connections to one address.
#[derive(Debug)]
pub struct Client {
    target: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

/// How a request was sent and answered.
#[derive(Debug)]
pub struct Exchange {
    /// The answer's head, also when its body failed.
    pub head: Option<Head>,
    /// Whether the answer is whole.
    pub result: Result<(), Failure>,
    /// Connections it was sent on or that were tried for it.
    pub attempts: u32,
    /// Repeats on a new connection.
    pub reconnects: u32,
    /// Whether the last connection was opened for this request.
    pub fresh: bool,
    /// The last connection's local port.
    pub local_port: u16,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            head: None,
            result: Err(Failure::TimedOut),
            attempts: 0,
            reconnects: 0,
            fresh: false,
            local_port: 0,
        }
    }
}

/// What to send, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The message, head and body.
    pub octets: &'a [u8],
    /// May be repeated.
    pub idempotent: bool,
    /// On a connection of its own, as an event stream is.
    pub own_connection: bool,
}

impl Client {
    /// A client of one address, without connections yet.
    pub fn new(target: SocketAddr) -> Self {
        Self { target, idle: Mutex::default() }
    }

    /// Sends a request; `body` gets the answer's body as it comes, `exchange` tells how it went.
    ///
    /// Dropped midway (at a deadline), `exchange` holds what is known until then, with `TimedOut` as its result.
    pub async fn send(&self, request: Request<'_>, exchange: &mut Exchange, mut body: impl FnMut(&[u8])) {
        loop {
            exchange.attempts += 1;
            let fresh = request.own_connection || exchange.reconnects > 0;
            let mut connection = match self.connection(fresh).await {
                Ok(connection) => connection,
                Err(failure) => {
                    exchange.result = Err(failure);
                    return;
                }
            };
            exchange.fresh = connection.requests == 0;
            exchange.local_port = connection.local_port();
            match connection.exchange(request.octets, &mut exchange.head, &mut body).await {
                Ok(reusable) => {
                    exchange.result = Ok(());
                    if reusable && !request.own_connection {
                        self.keep(connection);
                    }
                    return;
                }
                Err(ExchangeError::BeforeAnswer(_))
                    if request.idempotent && exchange.reconnects < MAX_RECONNECTS =>
                {
                    exchange.reconnects += 1;
                }
                Err(error) => {
                    exchange.result = Err(match error {
                        ExchangeError::BeforeAnswer(error) => Failure::Closed(error.kind()),
                        ExchangeError::WithinAnswer(error) => Failure::Truncated(error.kind()),
                        ExchangeError::Malformed(what) => Failure::Malformed(what),
                    });
                    return;
                }
            }
        }
    }

    /// An idle connection that still looks usable, or a new one.
    async fn connection(&self, fresh: bool) -> Result<Connection, Failure> {
        while let Some(connection) = (!fresh).then(|| self.lock().pop()).flatten() {
            if connection.is_idle() {
                return Ok(connection);
            }
        }
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(self.target))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Failure::Connect(error.kind()))?;
        stream.set_nodelay(true).map_err(|error| Failure::Connect(error.kind()))?;
        Ok(Connection::new(stream))
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE && connection.requests < MAX_REQUESTS {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const GET: Request<'_> =
        Request { octets: b"GET /work HTTP/1.1\r\nhost: a\r\n\r\n", idempotent: true, own_connection: false };
    const POST: Request<'_> = Request {
        octets: b"POST /v1 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        idempotent: false,
        own_connection: false,
    };

    /// What the scripted server does on a connection, in order; then it closes.
    #[derive(Clone, Copy)]
    enum Step {
        /// Read a request, answer with these octets.
        Answer(&'static str),
        /// Read a request.
        Read,
        /// Close with a reset instead of FIN.
        Reset,
    }

    /// Each connection gets the next script.
    async fn server(scripts: &'static [&'static [Step]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                for step in *script {
                    match step {
                        Step::Answer(answer) => {
                            let _ = stream.read(&mut [0; 1024]).await.unwrap();
                            stream.write_all(answer.as_bytes()).await.unwrap();
                        }
                        Step::Read => {
                            let _ = stream.read(&mut [0; 1024]).await.unwrap();
                        }
                        Step::Reset => {
                            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                    }
                }
            }
        });
        address
    }

    const OK: Step = Step::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-app: one\r\n\r\nhi");

    async fn send(client: &Client, request: Request<'_>) -> (Exchange, String) {
        let (mut body, mut exchange) = (Vec::new(), Exchange::default());
        client.send(request, &mut exchange, |part| body.extend_from_slice(part)).await;
        (exchange, String::from_utf8(body).unwrap())
    }

    #[tokio::test]
    async fn connections_are_kept_and_used_again() {
        let client = Client::new(server(&[&[OK, OK, OK]]).await);
        let mut ports = Vec::new();
        for _ in 0..3 {
            let (exchange, body) = send(&client, GET).await;
            assert_eq!((exchange.result, body.as_str()), (Ok(()), "hi"));
            assert_eq!(exchange.head.unwrap().header("x-app"), Some("one"));
            ports.push(exchange.local_port);
        }
        assert_eq!(ports[0], ports[2]);
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_is_noticed_before_it_is_used() {
        let client = Client::new(server(&[&[OK], &[OK]]).await);
        send(&client, GET).await;
        loop {
            let closed = client.lock().first().is_none_or(|connection| !connection.is_idle());
            if closed {
                break;
            }
            tokio::task::yield_now().await;
        }
        let (exchange, _) = send(&client, POST).await;
        assert_eq!((exchange.result, exchange.reconnects), (Ok(()), 0));
    }

    #[tokio::test]
    async fn an_idempotent_request_on_a_dying_connection_is_sent_again_on_a_new_one_and_counted() {
        for deaths in [&[&[OK, Step::Read, Step::Reset][..], &[OK]], &[&[OK, Step::Read][..], &[OK]]] {
            let deaths: &'static [&'static [Step]] = Vec::leak(deaths.to_vec());
            let client = Client::new(server(deaths).await);
            send(&client, GET).await;
            let (exchange, body) = send(&client, GET).await;
            assert_eq!((exchange.result, body.as_str()), (Ok(()), "hi"));
            assert_eq!((exchange.attempts, exchange.reconnects), (2, 1));
        }
    }

    #[tokio::test]
    async fn a_post_on_a_dying_connection_is_never_sent_twice() {
        let client = Client::new(server(&[&[OK, Step::Read, Step::Reset], &[OK]]).await);
        send(&client, GET).await;
        let (exchange, _) = send(&client, POST).await;
        assert_eq!(exchange.result, Err(Failure::Closed(io::ErrorKind::ConnectionReset)));
        assert_eq!(exchange.reconnects, 0);
    }

    #[tokio::test]
    async fn repeats_have_an_end() {
        const DYING: &[Step] = &[Step::Read, Step::Reset];
        let client = Client::new(server(&[DYING, DYING, DYING, DYING, &[OK]]).await);
        let (exchange, _) = send(&client, GET).await;
        assert_eq!(exchange.result, Err(Failure::Closed(io::ErrorKind::ConnectionReset)));
        assert_eq!(exchange.attempts, 1 + MAX_RECONNECTS);
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_not_asked_for_again() {
        let script: &[&[Step]] = &[&[Step::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")], &[OK]];
        let script: &'static [&'static [Step]] = Vec::leak(script.to_vec());
        let client = Client::new(server(script).await);
        let (exchange, body) = send(&client, GET).await;
        assert_eq!(exchange.result, Err(Failure::Truncated(io::ErrorKind::UnexpectedEof)));
        assert_eq!((exchange.head.unwrap().status, body.as_str()), (200, "hal"));
    }

    #[tokio::test]
    async fn a_refused_connect_is_a_failure_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (exchange, _) = send(&Client::new(address), GET).await;
        assert_eq!(exchange.result, Err(Failure::Connect(io::ErrorKind::ConnectionRefused)));
    }

    #[tokio::test]
    async fn chunked_bodies_trailers_and_interim_answers_are_read() {
        let client = Client::new(
            server(&[&[
                Step::Answer(
                    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
                     transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: v\r\n\r\n",
                ),
                OK,
            ]])
            .await,
        );
        assert_eq!(send(&client, GET).await.1, "abc0123456789");
        let (exchange, body) = send(&client, GET).await;
        assert_eq!((exchange.attempts, body.as_str()), (1, "hi"));
    }
}
