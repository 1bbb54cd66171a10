//! `proxima events --follow`: at once, and quietly at the end.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{UnixListener, UnixStream},
    process::{Child, ChildStdout},
};

use crate::support::Place;

const DRAIN: &str =
    r#"{"seq":1,"at":"2026-03-01T12:00:00.000250Z","mono_ns":5,"kind":"drain","reason":"new kernel"}"#;
const UNDRAIN: &str = r#"{"seq":2,"at":"2026-03-01T12:00:01.000000Z","mono_ns":6,"kind":"undrain"}"#;

/// A stream of events, chunk by chunk.
struct Stream(UnixStream);

impl Stream {
    async fn accept(listener: &UnixListener) -> (Self, String) {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        let mut stream = stream.into_inner();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        (Self(stream), head)
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
    }

    async fn end(mut self) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }
}

struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(&[&["events", "--follow"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().unwrap()
    }

    /// Its exit code and what it complained of.
    async fn end(mut self) -> (i32, String) {
        let mut complaint = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaint).await.unwrap();
        (self.child.wait().await.unwrap().code().unwrap(), complaint)
    }
}

const QUIETLY: (i32, String) = (0, String::new());

#[tokio::test]
async fn each_event_is_shown_at_once_however_it_is_cut() {
    let place = Place::new();
    let listener = place.listen();
    let mut following = Following::start(&place, &["--since", "7"]);
    let (mut stream, head) = Stream::accept(&listener).await;
    assert!(head.starts_with("GET /v1/events?since=7&follow=true HTTP/1.1"), "{head}");
    stream.send(&format!("{DRAIN}\n")).await;
    assert_eq!(following.line().await, "2026-03-01T12:00:00.000250Z drained: new kernel");
    stream.send(&UNDRAIN[..20]).await;
    stream.send(&format!("{}\n{{\"lost\":3}}\n", &UNDRAIN[20..])).await;
    assert_eq!(following.line().await, "2026-03-01T12:00:01.000000Z undrained");
    assert_eq!(following.line().await, "(3 events are no longer kept)");
    stream.send("{\"seq\":9,\"kind\":\"of-a-newer-daemon\"}\n").await;
    assert_eq!(following.line().await, "{\"seq\":9,\"kind\":\"of-a-newer-daemon\"}");
    stream.end().await;
    assert_eq!(following.end().await, QUIETLY);
}

#[tokio::test]
async fn json_is_one_line_an_event() {
    let place = Place::new();
    let listener = place.listen();
    let mut following = Following::start(&place, &["--json"]);
    let (mut stream, _) = Stream::accept(&listener).await;
    stream.send(&format!("{DRAIN}\n{UNDRAIN}\n")).await;
    assert_eq!((following.line().await.as_str(), following.line().await.as_str()), (DRAIN, UNDRAIN));
}

#[tokio::test]
async fn ctrl_c_ends_it_quietly() {
    let place = Place::new();
    let listener = place.listen();
    let mut following = Following::start(&place, &[]);
    let (mut stream, _) = Stream::accept(&listener).await;
    stream.send(&format!("{DRAIN}\n")).await;
    following.line().await;
    let pid = Pid::from_raw(following.child.id().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(following.end().await, QUIETLY);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let place = Place::new();
    let listener = place.listen();
    let mut following = Following::start(&place, &[]);
    let (mut stream, _) = Stream::accept(&listener).await;
    stream.send(&format!("{DRAIN}\n")).await;
    following.line().await;
    let Following { child, lines } = following;
    drop(lines);
    stream.send(&format!("{UNDRAIN}\n")).await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[tokio::test]
async fn a_daemon_that_dies_is_not_taken_for_one_that_stops() {
    let place = Place::new();
    let listener = place.listen();
    let following = Following::start(&place, &[]);
    let (stream, _) = Stream::accept(&listener).await;
    drop(stream);
    let (code, complaint) = following.end().await;
    assert_eq!(code, 1);
    assert!(complaint.contains("broke off") && complaint.contains("crash"), "{complaint}");
}
