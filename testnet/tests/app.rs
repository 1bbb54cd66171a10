//! The app server answers like an AI product's backend and misbehaves when told to.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, helpers and all")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct App {
    process: Child,
    http: SocketAddr,
    echo: SocketAddr,
}

impl App {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_proxima-testnet"))
            .args(["app", "--region", "eu", "--name", "eu-1", "--listen", "[::]:0", "--tcp-echo", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ports = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ports).unwrap();
        let mut ports = ports.split_whitespace().map(|port| port.parse().expect("a port"));
        let mut address = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports.next().expect("a port")));
        Self { process, http: address(), echo: address() }
    }

    /// Sends one request on a connection of its own; all that comes back until it is closed.
    fn request(&self, method: &str, target: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        // A connection closed on purpose may end with a reset.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn switch(&self, change: &str) {
        let answer = self.request("POST", "/switch", change);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn answers_name_the_app_and_its_region() {
    let app = App::start();
    for target in ["/work", "/fenced/data", "/slow?ms=1"] {
        let answer = app.request("GET", target, "");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {answer}");
        assert!(answer.contains("x-app: eu-1\r\n") && answer.contains("x-region: eu\r\n"), "{answer}");
        assert!(answer.ends_with(r#"{"app":"eu-1","region":"eu"}"#), "{answer}");
    }
    assert!(app.request("POST", "/echo", "a body").contains("a body"));
    assert!(app.request("GET", "/nothing", "").starts_with("HTTP/1.1 404 "));
    assert!(app.request("GET", "/slow", "").starts_with("HTTP/1.1 400 "));
}

#[test]
fn completions_come_as_a_stream_of_events_that_ends_with_done() {
    let app = App::start();
    let body = r#"{"model": "m", "stream": true, "max_tokens": 3, "token_delay_ms": 30, "messages": []}"#;
    let start = Instant::now();
    let answer = app.request("POST", "/v1/chat/completions", body);
    assert!(start.elapsed() >= Duration::from_millis(60), "two pauses of 30 ms");
    assert!(answer.contains("content-type: text/event-stream\r\n"), "{answer}");
    assert_eq!(answer.matches("chat.completion.chunk").count(), 3, "{answer}");
    assert_eq!(answer.matches("data: [DONE]\n\n").count(), 1, "{answer}");
    let whole = app.request("POST", "/v1/chat/completions", r#"{"max_tokens": 3}"#);
    assert!(whole.contains("\"eu-1 says: 1 2\""), "{whole}");
    assert!(app.request("POST", "/v1/chat/completions", "{").starts_with("HTTP/1.1 400 "));
    let stats = app.request("GET", "/stats", "");
    assert!(stats.ends_with(r#"{"requests":3,"streams_started":1,"streams_finished":1}"#), "{stats}");
}

#[test]
fn switches_make_it_misbehave_until_they_are_put_back() {
    let app = App::start();
    assert!(app.request("GET", "/healthz", "").starts_with("HTTP/1.1 200 "));
    app.switch(r#"{"health": "fail"}"#);
    assert!(app.request("GET", "/healthz", "").starts_with("HTTP/1.1 500 "));
    assert!(app.request("GET", "/work", "").starts_with("HTTP/1.1 200 "), "only health was switched");
    app.switch(r#"{"health": "slow", "slow-ms": 50}"#);
    let start = Instant::now();
    assert!(app.request("GET", "/healthz", "").starts_with("HTTP/1.1 200 "));
    assert!(start.elapsed() >= Duration::from_millis(50));
    app.switch(r#"{"health": "ok", "close": "before-response"}"#);
    assert_eq!(app.request("GET", "/work", ""), "");
    app.switch(r#"{"close": "mid-response"}"#);
    let cut = app.request("POST", "/v1/chat/completions", r#"{"stream": true, "max_tokens": 9}"#);
    assert!(cut.starts_with("HTTP/1.1 200 ") && !cut.contains("[DONE]"), "{cut}");
    app.switch(r#"{"close": "never", "requests": "fail"}"#);
    assert!(app.request("GET", "/work", "").starts_with("HTTP/1.1 500 "));
    assert!(app.request("POST", "/switch", r#"{"helth": "ok"}"#).starts_with("HTTP/1.1 400 "));
}

#[test]
fn tcp_is_echoed_and_closed_by_the_client() {
    let app = App::start();
    let mut stream = TcpStream::connect(app.echo).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
}
