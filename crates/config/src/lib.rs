//! The configuration: parsing, checking with every error at once, resolving, comparing.
//!
//! ```text
//! text ─ toml ─▶ tables with positions ─ read ─▶ raw sections ─ check ─▶ resolve ─▶ Config
//!                                          │                      │
//!                                          └──── ConfigErrors ◀───┘    all of them, sorted by position
//! ```

mod model;

pub use model::{
    Admin, Backend, Balance, Bgp, Config, DataPlane, Degraded, Drain, Group, HttpService, HttpTimeouts, Log,
    LogFormat, LogLevel, Match, Metrics, Peer, Pool, Pop, Probe, ProbeKind, Protocol, Region, Route, Service,
    TcpService, TcpTimeouts, Vip, WhenDown, Withdrawn,
};
