//! Clients and servers that others have written: `websockets`, and hypercorn over HTTP/2 and HTTP/3.

use std::{path::Path, process::Stdio};

use proxima_proxy::UpstreamProtocol;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    client::Client,
    common::{Setup, World, soon},
    http3_backend::setup,
    patient,
    pki::{Authority, Issued},
    wire::End,
};

fn python(script: &str) -> Command {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python/bin/python3");
    assert!(python.exists(), "{} is missing: `cargo xtask test --only packages` makes it", python.display());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/websockets").join(script));
    command.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    command
}

/// Hypercorn over HTTP/2 in plain text, or over HTTP/3, and a world before it.
async fn hypercorn(version: UpstreamProtocol) -> (Child, Setup) {
    let authority = Authority::new();
    let Issued { files, .. } = authority.issue(&["127.0.0.1"]);
    let kind = if version == UpstreamProtocol::Http3 { "h3" } else { "h2" };
    let mut server =
        python("server.py").arg(kind).args([files.0, files.1]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let port: u16 = soon("a port", said.next_line()).await.unwrap().unwrap().parse().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    let mut setup = match version {
        UpstreamProtocol::Http3 => setup(&authority, &[address]),
        _ => Setup { upstream: version, ..Setup::http(&[address]) },
    };
    setup.timeouts = patient();
    (server, setup)
}

/// The client by `websockets` finds all as it should be.
async fn holds(world: &World) {
    let output = soon("the client's end", python("client.py").arg(world.address.port().to_string()).output());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said == "done\n", "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Two agreements, a refusal, and how it ends is hypercorn's affair.
    let responses = world.stats().responses;
    assert_eq!((responses[0], responses[3]), (2, 1));
}

#[tokio::test]
async fn websockets_talks_to_hypercorn_over_http2() {
    let (_server, setup) = hypercorn(UpstreamProtocol::Http2).await;
    holds(&setup.start()).await;
}

#[tokio::test]
async fn websockets_talks_to_hypercorn_over_http3() {
    let (_server, setup) = hypercorn(UpstreamProtocol::Http3).await;
    holds(&setup.start()).await;
}

/// A text message of a client, masked by nothing (RFC 6455 §5.2).
fn text(message: &str) -> Vec<u8> {
    [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0], message.as_bytes()].concat()
}

#[tokio::test]
async fn clients_of_http2_and_http3_talk_to_hypercorn() {
    for behind in [UpstreamProtocol::Http2, UpstreamProtocol::Http3] {
        for before in [UpstreamProtocol::Http2, UpstreamProtocol::Http3] {
            // Over HTTP/3 it survives no word that comes after it has closed a WebSocket.
            let (_server, setup) = hypercorn(behind).await;
            let client = Client::start(before, setup.clone());
            let mut answer = client.ask("/plain", "").await;
            assert_eq!(answer.status, 200, "{before:?} to {behind:?}");
            answer.wire.say(&text("hello")).await;
            let echo = answer.wire.next().await.unwrap();
            assert_eq!(&echo[..], b"\x81\x05hello", "{before:?} to {behind:?}");
            answer.wire.say(&text("close 1001")).await;
            let (close, end) = answer.wire.rest().await;
            assert_eq!((&close[..], end), (&[0x88, 2, 3, 0xe9][..], End::Clean), "{before:?} to {behind:?}");
        }
    }
}
