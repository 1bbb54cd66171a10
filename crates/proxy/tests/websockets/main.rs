//! WebSockets of clients of every version (RFC 6455, RFC 8441, RFC 9220), to backends of every version.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests over real sockets")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../h3_upstream/backend.rs"]
mod http3_backend;
#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../common/pki.rs"]
mod pki;
#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../h3/support.rs"]
mod support;

mod backend;
mod client;
mod ends;
mod handshakes;
mod programs;
mod refused;
mod wire;

use std::{collections::BTreeMap, future::Future};

use backend::{Asking, Backend};
use client::Client;
use proxima_proxy::{Timeouts, UpstreamProtocol};

/// A head: what stands in its first line or its pseudo-header fields, and its fields, with names in lower case.
type Head = BTreeMap<String, String>;

const VERSIONS: [UpstreamProtocol; 3] =
    [UpstreamProtocol::Http1, UpstreamProtocol::Http2, UpstreamProtocol::Http3];

/// The usual deadlines, but for connecting: a busy machine may take long for that.
fn patient() -> Timeouts {
    Timeouts { connect: common::PATIENCE, ..Timeouts::default() }
}

/// A client of one version and a backend of another, or the same.
struct Pair {
    client: Client,
    _backend: Backend,
    /// Of both, for messages.
    versions: String,
}

/// One of each, before backends that do what `script` says.
async fn pairs<F, T>(change: impl Fn(&mut common::Setup), script: F) -> Vec<Pair>
where
    F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let mut pairs = Vec::new();
    for behind in VERSIONS {
        for before in VERSIONS {
            let backend = Backend::start(behind, script.clone()).await;
            let mut setup = backend.setup.clone();
            change(&mut setup);
            let versions = format!("{before:?} to {behind:?}");
            pairs.push(Pair { client: Client::start(before, setup), _backend: backend, versions });
        }
    }
    pairs
}

/// The fields of a head of HTTP/1.1, without its first line.
fn fields(text: &str) -> Head {
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}
