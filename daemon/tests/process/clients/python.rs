//! The OpenAI SDK, `websockets` and `grpcio`; and Chromium before `websockets` and hypercorn.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use super::{Edge, installed};

/// Runs one check of a script, whose backend speaks `protocol`.
fn holds(script: &str, check: &str, protocol: &str) {
    // The backend has a port when it says so, and the client is told of the proxy's when that is up.
    let edge = |line: &str| {
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{script} has not started"));
        Edge::before_server((Ipv4Addr::LOCALHOST, port).into(), protocol)
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/clients");
    let trusted = tempfile::tempdir().unwrap();
    let trusted = trusted.path().join("web.pem");
    let mut client = Command::new(installed("python/bin/python3"))
        .args([scripts.join(script), trusted.clone()])
        .arg(check)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let edge = (!line.is_empty()).then(|| edge(&line));
    if let (Some(edge), Some(mut stdin)) = (&edge, client.stdin.take()) {
        std::fs::copy(edge.certificate(), &trusted).unwrap();
        writeln!(stdin, "{}", edge.port()).unwrap();
    }
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {check}: {}\n{said}", output.status);
}

#[test]
fn the_openai_sdk_gets_each_token_before_the_next_one_is_made() {
    holds("openai_client.py", "one-by-one", "http/1.1");
}

#[test]
fn a_stream_that_breaks_is_an_exception_of_the_openai_sdk() {
    holds("openai_client.py", "breaks", "http/1.1");
}

#[test]
fn when_the_openai_sdk_closes_a_stream_the_app_is_told() {
    holds("openai_client.py", "leaves", "http/1.1");
}

#[test]
fn websockets_sends_messages_both_ways() {
    holds("websockets_client.py", "both-ways", "http/1.1");
}

#[test]
fn websockets_hears_how_a_connection_was_closed() {
    holds("websockets_client.py", "closes", "http/1.1");
}

#[test]
fn websockets_gets_what_comes_after_the_end_of_its_own_side() {
    holds("websockets_client.py", "half-closes", "http/1.1");
}

#[test]
fn chromium_opens_a_websocket_over_its_http2_connection() {
    holds("chromium_client.py", "websocket", "http/1.1");
}

#[test]
fn chromium_opens_a_websocket_to_a_server_of_http2() {
    holds("chromium_client.py", "websocket-over-http2", "h2");
}

#[test]
fn grpcio_gets_answers_statuses_and_trailers() {
    holds("grpc_client.py", "unary", "h2");
}

#[test]
fn grpcio_streams_either_way_and_both_ways_message_by_message() {
    holds("grpc_client.py", "streams", "h2");
}

#[test]
fn what_grpcio_cancels_or_gives_up_ends_at_the_server() {
    holds("grpc_client.py", "ends-early", "h2");
}
