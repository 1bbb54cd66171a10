//! Servers that others have written, and our own.

use std::path::Path;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    backend::setup,
    common::{self, Setup, soon},
    pki::Authority,
    support,
};

#[tokio::test]
async fn aioquic_serves_behind_us() {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python/bin/python3");
    assert!(python.exists(), "{} is missing: `cargo xtask test --only packages` makes it", python.display());
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let mut server = Command::new(python);
    server.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/h3_upstream/server.py"));
    server.arg(&issued.files.0).arg(&issued.files.1).kill_on_drop(true).stdout(std::process::Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let port: u16 = soon("a port", said.next_line()).await.unwrap().unwrap().parse().unwrap();
    let world = setup(&authority, &[([127, 0, 0, 1], port).into()]).start();
    let mut client = world.client().await;
    for number in 0..20 {
        let body = format!("content {number} ").repeat(number * 100);
        assert_eq!(client.post("/", &body).await.text(), body);
    }
    let head = client.get("/").await;
    assert_eq!((common::field(&head.head, "server"), head.text()), (Some("aioquic"), ""));
    let stats = world.plane.stats();
    assert_eq!(stats.backends.values().next().unwrap().connects, 1);
}

#[tokio::test]
async fn one_of_us_serves_behind_another() {
    let app = common::Backend::echo().await;
    let inner = support::start(Setup::http(&[app.address]));
    let mut outer = setup(&inner.authority, &[inner.world.address]);
    let authorities = proxima_proxy::Authorities::Only(inner.authority.chain());
    let tls = proxima_proxy::TlsClient::new(&proxima_proxy::TlsClientOptions {
        authorities: &authorities,
        server_name: Some("localhost"),
        protocol: proxima_proxy::UpstreamProtocol::Http3,
        identity: None,
    });
    outer.backend_tls = Some(tls.unwrap());
    let outer = support::start(outer);
    let mut client = outer.client().await;
    for _ in 0..3 {
        let answer = client.ask(support::post("/"), "through two of us").await;
        assert_eq!((answer.status(), answer.text()), (200, "through two of us"));
        let via: Vec<_> = answer.head.headers().get_all("via").iter().collect();
        assert_eq!(via, ["1.1 fra1", "3 fra1"]);
    }
    assert_eq!((inner.world.stats().connections, app.seen()), (1, 1));
}
