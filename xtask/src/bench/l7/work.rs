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
    /// The latency of small requests at half of nginx's peak rate.
    Latency,
    /// What is added to the time to the first token of a stream.
    FirstToken,
    /// What is added to each token of two thousand streams at once.
    Streams,
    /// The memory of connections at rest.
    Idle,
}

/// What is measured of a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// CPU of the proxy per request.
    Cpu,
    /// What its clients see, or another figure of the proxy.
    Figure,
}

impl Work {
    pub(crate) const ALL: [Self; 9] = [
        Self::Http1,
        Self::Http2,
        Self::Handshakes,
        Self::Large,
        Self::Http3,
        Self::Latency,
        Self::FirstToken,
        Self::Streams,
        Self::Idle,
    ];

    pub(super) fn measure(self) -> Measure {
        match self {
            Self::Http1 | Self::Http2 | Self::Http3 | Self::Handshakes | Self::Large => Measure::Cpu,
            Self::Latency | Self::FirstToken | Self::Streams | Self::Idle => Measure::Figure,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
            Self::Handshakes => "handshakes",
            Self::Large => "large",
            Self::Latency => "latency",
            Self::FirstToken => "first-token",
            Self::Streams => "streams",
            Self::Idle => "idle",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Http1 => "small requests over HTTP/1.1, 64 connections",
            Self::Http2 => "small requests over HTTP/2 and TLS, 32 connections of 10 streams",
            Self::Http3 => "small requests over HTTP/3, 16 connections of 8 streams",
            Self::Handshakes => "a TLS 1.3 handshake for each request, 16 connections at once",
            Self::Large => "responses of 1 MiB over HTTP/1.1, 16 connections",
            Self::Latency => {
                "small requests over HTTP/1.1 at half of nginx's peak rate, 64 connections: 99th percentile, in ms"
            }
            Self::FirstToken => {
                "500 token streams a second over HTTP/1.1 and TLS: what is added to the 99th percentile of the time to the first token, in ms"
            }
            Self::Streams => {
                "2000 token streams at once over HTTP/1.1 and TLS, 20 tokens a second each, the proxy alone on its processor: what is added to the 99th percentile of the delay between two tokens, in ms"
            }
            Self::Idle => "TLS connections at rest: resident memory for each, in KiB",
        }
    }

    /// Who takes part beside ours.
    pub(super) fn others(self) -> &'static [&'static str] {
        match self {
            Self::Http1 | Self::Http2 => &["nginx", "haproxy", "envoy", "traefik"],
            Self::Http3 => &["envoy", "traefik"],
            Self::Handshakes | Self::Large | Self::Latency => &["nginx", "haproxy"],
            Self::FirstToken | Self::Streams | Self::Idle => &["haproxy"],
        }
    }

    /// The most of another's CPU per request, or of its figure, that ours may be.
    pub(super) fn bars(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Http1 => &[("nginx", 0.8), ("haproxy", 0.7)],
            Self::Http2 => &[("nginx", 1.0), ("haproxy", 1.25)],
            Self::Http3 => &[("envoy", 0.5), ("traefik", 0.5)],
            Self::Handshakes | Self::Large | Self::FirstToken | Self::Idle => &[("haproxy", 1.0)],
            Self::Latency => &[("nginx", 1.0)],
            Self::Streams => &[],
        }
    }

    /// The most that our figure may be, whatever others come to.
    pub(super) fn most(self) -> Option<f64> {
        (self == Self::Streams).then_some(2.0)
    }

    /// Loads `server` for `seconds`, where it is CPU that is measured.
    pub(super) fn load(self, server: &Server, seconds: u32, tools: &Tools) -> Result<Load> {
        let (plain, tls) =
            (format!("http://127.0.0.1:{}", server.plain), format!("https://localhost:{}", server.tls));
        match self {
            Self::Http1 => load::wrk(64, seconds, &format!("{plain}/"), &[]),
            Self::Http2 => load::h2load(32, 10, seconds, &format!("{tls}/")),
            Self::Http3 => load::oha(&tools.oha, (16, 8), seconds, &format!("{tls}/")),
            Self::Handshakes => load::wrk(16, seconds, &format!("{tls}/"), &["-H", "Connection: close"]),
            Self::Large => load::wrk(16, seconds, &format!("{plain}/large"), &[]),
            Self::Latency | Self::FirstToken | Self::Streams | Self::Idle => {
                anyhow::bail!("{} is no load of which CPU is measured", self.name())
            }
        }
    }
}
