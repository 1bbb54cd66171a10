//! The app server of a world: an AI product's backend, as far as a proxy can tell.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200, unless switched otherwise |
//! | `POST /v1/chat/completions` | OpenAI's chat completion, whole or as a stream of events ([`completions`]) |
//! | `GET /work`, and anything below `/fenced` | a small JSON that names the app and its region |
//! | `POST /echo` | the body, as it comes |
//! | `GET /slow?ms=N` | as `/work`, after N milliseconds |
//! | `GET /large` | 1 MiB at once |
//! | `GET /switch`, `POST /switch` | shows or changes how it misbehaves ([`switches`]) |
//! | `GET /stats` | what it has served |
//!
//! Every answer names its app in `x-app` and its region in `x-region`. On another port it echoes TCP.

pub mod completions;
mod http;
pub mod switches;

use std::{
    fs::File,
    io::{self, Write},
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use self::switches::Switches;
use crate::error::{Error, Result};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How an app server is started.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The region it is in.
    #[arg(long)]
    pub region: String,
    /// Its own name.
    #[arg(long)]
    pub name: String,
    /// Where it listens for HTTP; `[::]:PORT` takes IPv4 too. With port 0 the system chooses one.
    #[arg(long, default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// The port it echoes TCP on; 0 lets the system choose one.
    #[arg(long, default_value_t = 9000)]
    pub tcp_echo: u16,
    /// Append the method and `x-request-id` of each request to this file, before it is answered.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Serves until the process is ended. Once it listens, it writes one line to standard output: the port of HTTP, and that of
/// the echo.
pub async fn serve(options: Options) -> Result<()> {
    let http = listen(options.listen)?;
    let echo = listen((Ipv6Addr::UNSPECIFIED, options.tcp_echo).into())?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports = port(&http).and_then(|http| Ok((http, port(&echo)?)));
    let (http_port, echo_port) = ports.map_err(Error::io("asking where it listens"))?;
    // Whoever started it need not read what it says.
    let _ = writeln!(io::stdout(), "{http_port} {echo_port}");
    tracing::info!(app = options.name, region = options.region, http_port, echo_port, "serving");
    let record = options.record.as_deref().map(open_record).transpose()?;
    let app = Arc::new(App {
        record,
        name: options.name,
        region: options.region,
        switches: watch::Sender::new(Switches::default()),
        counters: Counters::default(),
    });
    tokio::spawn(accept(echo, |stream| async move { echo_back(stream).await }));
    accept(http, move |stream| serve_connection(app.clone(), stream)).await;
    Ok(())
}

/// One app server: what its connections share.
#[derive(Debug)]
struct App {
    name: String,
    region: String,
    switches: watch::Sender<Switches>,
    counters: Counters,
    /// Written in whole lines, by which it stays legible however the app ends.
    record: Option<File>,
}

/// What it has served so far.
#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    streams_started: AtomicU64,
    streams_finished: AtomicU64,
}

/// The answer of `/stats`.
#[derive(Debug, Serialize)]
struct Stats {
    /// Requests but those to `/healthz`, `/switch` and `/stats`.
    requests: u64,
    /// Streams of tokens begun.
    streams_started: u64,
    /// Streams of tokens sent to their end; the others run still, or their client has left.
    streams_finished: u64,
}

impl Counters {
    fn snapshot(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            streams_started: self.streams_started.load(Ordering::Relaxed),
            streams_finished: self.streams_finished.load(Ordering::Relaxed),
        }
    }
}

fn open_record(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io(format!("opening {}", path.display())))
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let open = || {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(Error::io(format!("listening on {address}")))
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            // The client has gone again, or there are no descriptors left: others may do better.
            Err(error) => {
                tracing::warn!(%error, "accepting");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn echo_back(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::debug!(%error, "echo connection");
    }
}

async fn serve_connection(app: Arc<App>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "setting TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { app.answer(request).await }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection");
    }
}

/// The error of an answer that is broken off on purpose.
fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "switched to close the connection")
}
