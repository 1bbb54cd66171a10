//! What databases, name servers, programs and agents are asked.

use std::{fmt, net::IpAddr, num::NonZeroU16, path::PathBuf, time::Duration};

use crate::Tls;

/// What a server of a replicated database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

/// A login to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Who logs in.
    pub user: String,
    /// To which database; `None`: the one named like the user.
    pub database: Option<String>,
    /// A file with the password; `None`: none is needed.
    pub password_file: Option<PathBuf>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    /// The role it has to have; `None`: any.
    pub role: Option<Role>,
    /// How far a replica may be behind; `None`: any far.
    pub max_lag: Option<Duration>,
}

/// PING, and ROLE where a role or a lag is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Who logs in; `None`: the default user.
    pub user: Option<String>,
    /// A file with the password; `None`: none is needed.
    pub password_file: Option<PathBuf>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    /// The role it has to have; `None`: any.
    pub role: Option<Role>,
    /// How long ago a replica may last have heard of its primary; `None`: any long.
    pub max_lag: Option<Duration>,
}

/// A question to a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// The name asked for, without the dot at its end; empty: the root.
    pub name: String,
    /// Which records.
    pub record: DnsRecord,
    /// How it is asked.
    pub transport: DnsTransport,
    /// The addresses of which the answer has to have one; empty: any answer without an error will do.
    pub expect: Vec<IpAddr>,
}

/// A type of DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DnsRecord {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Name servers.
    Ns,
    /// The start of a zone.
    Soa,
    /// Text.
    Txt,
    /// Mail exchangers.
    Mx,
    /// Another name.
    Cname,
}

/// As zone files have it.
impl fmt::Display for DnsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ns => "NS",
            Self::Soa => "SOA",
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::Cname => "CNAME",
        })
    }
}

/// How a name server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DnsTransport {
    /// Over UDP.
    Udp,
    /// Over TCP.
    Tcp,
}

/// A program, started without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Its absolute path, then its arguments; not empty. It finds the backend in `PROXIMA_BACKEND`, `PROXIMA_ADDRESS` and
    /// `PROXIMA_PORT`.
    pub command: Vec<String>,
}

/// An agent beside the app: it is connected to, and says a line such as `75%`, `up`, `drain` or `down # why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The TCP port it listens on, at the backend's address; `None`: the backend's own.
    pub port: Option<NonZeroU16>,
    /// What is sent to it first; `None`: nothing.
    pub send: Option<String>,
}
