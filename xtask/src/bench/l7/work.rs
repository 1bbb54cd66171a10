//! What is measured: the load, who takes part, and the bars.

use anyhow::Result;
use clap::ValueEnum;

use super::{
    load::{self, Load},
    server::Server,
    tools::Tools,
};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Small requests over HTTP/1.1.
    Http1,
    /// Small requests over HTTP/2 and TLS.
    Http2,
    /// Small requests over HTTP/3.
    Http3,
    /// A connection with a full TLS 1.3 handshake for each request.
    Handshakes,
    /// Responses of 1 MiB over HTTP/1.1.
    Large,
}

impl Work {
    pub(crate) const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Handshakes, Self::Large, Self::Http3];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
            Self::Handshakes => "handshakes",
            Self::Large => "large",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Http1 => "small requests over HTTP/1.1, 64 connections",
            Self::Http2 => "small requests over HTTP/2 and TLS, 32 connections of 10 streams",
            Self::Http3 => "small requests over HTTP/3, 16 connections of 8 streams",
            Self::Handshakes => "a TLS 1.3 handshake for each request, 16 connections at once",
            Self::Large => "responses of 1 MiB over HTTP/1.1, 16 connections",
        }
    }

    /// Who takes part beside ours.
    pub(super) fn others(self) -> &'static [&'static str] {
        match self {
            Self::Http1 | Self::Http2 => &["nginx", "haproxy", "envoy", "traefik"],
            Self::Http3 => &["envoy", "traefik"],
            Self::Handshakes | Self::Large => &["nginx", "haproxy"],
        }
    }

    /// The most of another's CPU per request that ours may use.
    pub(super) fn bars(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Http1 => &[("nginx", 0.8), ("haproxy", 0.7)],
            Self::Http2 => &[("nginx", 1.0), ("haproxy", 1.25)],
            Self::Http3 => &[("envoy", 0.5), ("traefik", 0.5)],
            Self::Handshakes | Self::Large => &[("haproxy", 1.0)],
        }
    }

    /// Loads `server` for `seconds`.
    pub(super) fn load(self, server: &Server, seconds: u32, tools: &Tools) -> Result<Load> {
        let (plain, tls) =
            (format!("http://127.0.0.1:{}", server.plain), format!("https://localhost:{}", server.tls));
        match self {
            Self::Http1 => load::wrk(64, seconds, &format!("{plain}/"), &[]),
            Self::Http2 => load::h2load(32, 10, seconds, &format!("{tls}/")),
            Self::Http3 => load::oha(&tools.oha, (16, 8), seconds, &format!("{tls}/")),
            Self::Handshakes => load::wrk(16, seconds, &format!("{tls}/"), &["-H", "Connection: close"]),
            Self::Large => load::wrk(16, seconds, &format!("{plain}/large"), &[]),
        }
    }
}
