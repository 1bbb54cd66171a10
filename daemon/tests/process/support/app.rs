//! An app server played by the test.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::Socket;

use super::{Port, record::Record};

/// How many events a stream has.
pub(crate) const STREAM_EVENTS: usize = 4;

/// What an app was sent: the head of a request.
pub(crate) type RequestHead = String;

/// An app at a port of 127.0.0.1, or of an address of its own.
///
/// | path | answer |
/// |---|---|
/// | `/healthz` | 200, once probes are answered |
/// | `/stream` | server-sent events in chunks, each when it is released; then the connection closes |
/// | a scripted one | the bytes of the script, then the connection closes |
/// | any other | 200 with the app's name and the path; or what its [`Mood`] makes of it |
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: &'static str,
    port: Port,
    state: Arc<State>,
    running: Option<Running>,
}

/// How an app answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mood {
    /// It takes so long for each, probes excepted.
    pub(crate) takes: Duration,
    /// What it answers with 500.
    pub(crate) fails: Fails,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fails {
    #[default]
    Nothing,
    /// Everything but probes.
    Requests,
    Everything,
}

#[derive(Debug, Default)]
struct State {
    name: &'static str,
    /// Whether probes are answered.
    verdict: Mutex<bool>,
    verdict_given: Condvar,
    mood: Mutex<Mood>,
    requests: Record<RequestHead>,
    released: Record<()>,
    /// Connections of streams that have ended.
    stream_ends: Record<()>,
    scripts: HashMap<&'static str, &'static [u8]>,
    /// Every byte received.
    bytes: Mutex<Vec<u8>>,
    connections: Mutex<Vec<TcpStream>>,
}

#[derive(Debug)]
struct Running {
    listener: Socket,
    thread: JoinHandle<()>,
}

impl App {
    /// An app that serves.
    pub(crate) fn healthy(name: &'static str) -> Self {
        Self::start(name, true, &[])
    }

    /// An app that serves at this address of the host, so that routes may tell it from others.
    pub(crate) fn at(address: IpAddr, name: &'static str) -> Self {
        Self::start_at(Port::reserve_at(address).unwrap(), name, true, &[])
    }

    /// An app that leaves probes without an answer until [`App::answer_probes`].
    pub(crate) fn undecided(name: &'static str) -> Self {
        Self::start(name, false, &[])
    }

    /// An app that serves, and answers some paths with these bytes.
    pub(crate) fn scripted(name: &'static str, scripts: &[(&'static str, &'static [u8])]) -> Self {
        Self::start(name, true, scripts)
    }

    fn start(name: &'static str, healthy: bool, scripts: &[(&'static str, &'static [u8])]) -> Self {
        Self::start_at(Port::reserve(), name, healthy, scripts)
    }

    fn start_at(
        port: Port,
        name: &'static str,
        healthy: bool,
        scripts: &[(&'static str, &'static [u8])],
    ) -> Self {
        let scripts = scripts.iter().copied().collect();
        let state = State { name, verdict: Mutex::new(healthy), scripts, ..State::default() };
        let mut app = Self { name, port, state: Arc::new(state), running: None };
        app.restore();
        app
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub(crate) fn answer_probes(&self) {
        *self.state.verdict.lock().unwrap() = true;
        self.state.verdict_given.notify_all();
    }

    /// From the next request on.
    pub(crate) fn turn(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// As when its process dies: nobody listens, and every connection is closed.
    pub(crate) fn kill(&mut self) {
        let Some(Running { listener, thread }) = self.running.take() else { return };
        listener.shutdown(Shutdown::Both).unwrap();
        for connection in self.state.connections.lock().unwrap().drain(..) {
            // The client may have closed it.
            connection.shutdown(Shutdown::Both).ok();
        }
        thread.join().unwrap();
    }

    /// Serves again, at the same port.
    pub(crate) fn restore(&mut self) {
        let listener = self.port.listen();
        let socket = Socket::from(listener.try_clone().unwrap());
        let state = Arc::clone(&self.state);
        let thread = thread::spawn(move || accept(&listener, &state));
        self.running = Some(Running { listener: socket, thread });
    }

    /// The paths of all requests but probes.
    pub(crate) fn paths(&self) -> Vec<String> {
        let requests = self.state.requests.snapshot();
        requests.iter().map(|head| path(head).to_owned()).filter(|path| path != "/healthz").collect()
    }

    /// Waits for a request of this path and returns its head.
    pub(crate) fn wait_request(&self, wanted: &str) -> RequestHead {
        self.state.requests.wait(wanted, |heads| heads.iter().find(|head| path(head) == wanted).cloned())
    }

    /// Waits until `count` more probes have come.
    pub(crate) fn wait_probes(&self, count: usize) {
        let probes = |heads: &[RequestHead]| heads.iter().filter(|head| path(head) == "/healthz").count();
        let before = probes(&self.state.requests.snapshot());
        self.state.requests.wait("probes", |heads| (probes(heads) >= before + count).then_some(()));
    }

    /// Lets streams send one more event.
    pub(crate) fn release(&self) {
        self.state.released.push(());
    }

    /// Waits until the connection of a stream has ended.
    pub(crate) fn wait_stream_end(&self) {
        self.state.stream_ends.wait("the end of a stream", |ends| ends.first().copied());
    }

    /// Whether these bytes came in, in whatever form.
    pub(crate) fn received(&self, bytes: &str) -> bool {
        let received = self.state.bytes.lock().unwrap();
        received.windows(bytes.len()).any(|window| window == bytes.as_bytes())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.answer_probes();
        self.state.released.close();
        self.kill();
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nodelay(true).unwrap();
        state.connections.lock().unwrap().push(stream.try_clone().unwrap());
        let state = Arc::clone(state);
        thread::spawn(move || serve(stream, &state));
    }
}

fn serve(mut stream: TcpStream, state: &Arc<State>) {
    let mut inbox = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut inbox, state) {
        state.requests.push(head.clone());
        let path = path(&head);
        if let Some(script) = state.scripts.get(path) {
            stream.write_all(script).ok();
            stream.shutdown(Shutdown::Write).ok();
            return;
        }
        let Mood { takes, fails } = *state.mood.lock().unwrap();
        if path != "/healthz" {
            thread::sleep(takes);
        }
        let written = match path {
            path if fails == Fails::Everything || (fails == Fails::Requests && path != "/healthz") => {
                stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
            }
            "/healthz" => {
                let unanswered = |given: &mut bool| !*given;
                drop(state.verdict_given.wait_while(state.verdict.lock().unwrap(), unanswered).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            }
            "/stream" => return stream_events(&mut stream, state),
            path => {
                let body = format!("{} {path}", state.name);
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes())
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn stream_events(stream: &mut TcpStream, state: &Arc<State>) {
    let (mut watched, watching) = (stream.try_clone().unwrap(), Arc::clone(state));
    thread::spawn(move || {
        // Nothing more is asked here: whatever comes of it is the end.
        watched.read_exact(&mut [0]).ok();
        watching.stream_ends.push(());
    });
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut written = stream.write_all(head);
    for event in 1..=STREAM_EVENTS {
        if written.is_err() || !state.released.reaches(event) {
            return;
        }
        let data = format!("data: {event}\n\n");
        written = stream.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes());
    }
    // The proxy may be gone already.
    stream.write_all(b"0\r\n\r\n").ok();
}

/// The next head, without a body behind it; `None` at the end of the connection.
fn read_head(stream: &mut TcpStream, inbox: &mut Vec<u8>, state: &State) -> Option<RequestHead> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = inbox.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = inbox.drain(..end + 4).collect();
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        inbox.extend_from_slice(&chunk[..count]);
        state.bytes.lock().unwrap().extend_from_slice(&chunk[..count]);
    }
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}
