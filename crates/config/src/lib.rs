//! The configuration: parsing, checking with every error at once, resolving, comparing.
//!
//! ```text
//! text ─ toml ─▶ tables with positions ─ read ─▶ raw sections ─ check ─▶ resolve ─▶ Config
//!                                          │                      │
//!                                          └──── ConfigErrors ◀───┘    all of them, sorted by position
//! ```
//!
//! What is read is described where it is read: [`mod@reference`].

#![allow(clippy::option_option, reason = "the outer one: could it be read; the inner one: is it there")]

mod diff;
mod error;
mod field;
mod http;
mod model;
mod reader;
pub mod reference;
mod report;
mod section;
mod sections;
mod suggest;
mod survey;
mod syntax;
mod value;

pub use diff::{Changes, Diff, Part};
pub use error::{ConfigError, ConfigErrors};

pub use model::{
    AccessLog, AccessLogTarget, Admin, Backend, Balance, BestPath, Bfd, BfdAuth, Bgp, Bmp, BodyRate,
    Catchment, Challenge, ClientAuth, ClientTls, Config, ConnectionsPerIp, Damping, DataPlane, Degraded,
    Distance, Drain, ExternalAccount, ForwardedCertificate, GracefulRestart, Group, Guard, HttpService,
    HttpTimeouts, Import, Issuer, KeyPair, KeyType, Limits, Log, LogFormat, LogLevel, Managed, Match,
    MaxPrefixes, Metrics, Mrt, Passive, Peer, Pool, PoolProtocol, Pop, PrefixAction, Probe, Protocol, QuicLb,
    Region, Remote, Role, Route, ServerTls, Service, Slo, TcpService, TcpTimeouts, TlsVersion, Via, Vip,
    WhenDown, Withdrawals, Withdrawn,
};

pub use proxima_probe_kind::ProbeKind;

use crate::{
    report::{Report, Source},
    section::Section,
    sections::Raw,
};

impl Config {
    /// The configuration that `text` describes. `file_name` is only how the file is called in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigErrors> {
        let source = Source::new(file_name, text);
        let report = Report::default();
        let document = syntax::parse(&source, &report);
        let raw = Raw::read(Section::root(&report, document.get_ref()));
        raw.check(&report);
        let config = raw.resolve();
        match report.close(&source) {
            Some(errors) => Err(errors),
            None => Ok(config.expect("what can't be resolved has been reported")),
        }
    }
}
