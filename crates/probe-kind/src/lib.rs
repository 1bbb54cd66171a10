//! What a probe asks: the settings of each kind, as the configuration gives them and the prober takes them.
//!
//! Plain data, without defaults: those are the configuration's. Files named here (certificates, passwords) are read by the
//! prober when it first needs them.

mod apps;
mod http;
mod notice;
mod tls;

use std::{fmt, path::Path};

pub use apps::{Agent, Dns, DnsRecord, DnsTransport, Exec, Postgres, Redis, Role};
pub use http::{Expect, ExpectHeader, Grpc, Http, HttpVersion, MAX_PATTERN, Statuses};
pub use notice::{Notice, NoticeSource};
pub use tls::{Quic, Tls, TlsHandshake, Trust};

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// That a connection is accepted.
    Tcp,
    /// That a TLS handshake succeeds.
    Tls(TlsHandshake),
    /// That a GET is answered: HTTP/1.1, /2 or /3, with or without TLS.
    Http(Http),
    /// That a QUIC handshake succeeds.
    Quic(Quic),
    /// `grpc.health.v1.Health/Check`.
    Grpc(Grpc),
    /// That PostgreSQL takes a login, and what it says of itself.
    Postgres(Postgres),
    /// That Redis, or what speaks its protocol, answers PING.
    Redis(Redis),
    /// That a name server answers a question.
    Dns(Dns),
    /// That a program ends well.
    Exec(Exec),
    /// What an agent beside the app says of it.
    Agent(Agent),
}

impl ProbeKind {
    /// Whether it asks as clients do, over HTTP, so that its answers tell what clients get.
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Grpc(_))
    }

    /// Whether it asks over TCP at the backend's own address, and nothing else.
    pub fn is_over_tcp(&self) -> bool {
        match self {
            Self::Http(http) => http.version != HttpVersion::Http3,
            Self::Tcp | Self::Tls(_) | Self::Grpc(_) | Self::Postgres(_) | Self::Redis(_) => true,
            Self::Quic(_) | Self::Dns(_) | Self::Exec(_) | Self::Agent(_) => false,
        }
    }

    /// How the other side has to prove who it is; `None` where there is no TLS.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(handshake) => Some(&handshake.tls),
            Self::Http(http) => http.tls.as_ref(),
            Self::Quic(quic) => Some(&quic.tls),
            Self::Grpc(grpc) => grpc.tls.as_ref(),
            Self::Postgres(postgres) => postgres.tls.as_ref(),
            Self::Redis(redis) => redis.tls.as_ref(),
            Self::Tcp | Self::Dns(_) | Self::Exec(_) | Self::Agent(_) => None,
        }
    }

    /// The file with the password of a login.
    pub fn password_file(&self) -> Option<&Path> {
        match self {
            Self::Postgres(postgres) => postgres.password_file.as_deref(),
            Self::Redis(redis) => redis.password_file.as_deref(),
            _ => None,
        }
    }

    /// The program that is run.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Exec(exec) => exec.command.first().map(String::as_str),
            _ => None,
        }
    }

    /// The key that chooses the kind in the file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(Http { tls: Some(_), .. }) => "https",
            Self::Quic(_) => "quic",
            Self::Grpc(_) => "grpc",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::Dns(_) => "dns",
            Self::Exec(_) => "exec",
            Self::Agent(_) => "agent",
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
