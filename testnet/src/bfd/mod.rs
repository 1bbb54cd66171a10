//! BFD between the daemon and a router: how fast a frozen PoP leaves the FIB, and that a busy one stays.
//!
//! ```text
//!  freeze     router ──── pop        SIGSTOP of all that runs on the PoP; until the route is gone from the router's kernel
//!  saturate   router ──── pop ──── clients and app       both cores busy with the proxy; neither end may see a failure
//! ```
//!
//! A [witness](crate::witness) on each core tells when the machine itself stood still: that is counted and told, and not held
//! against the daemon.

mod freeze;
mod saturate;
mod scene;

use std::{path::PathBuf, time::Duration};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

pub(crate) use self::scene::put_first;
use crate::{error::Result, figures::write_json, router::Make, sandbox::Sandbox};

/// From so long on, a machine that stands still may itself be why BFD failed.
const STOOD_STILL: Duration = Duration::from_millis(15);

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Measurement {
    /// Freeze the PoP again and again: time until its route is gone from the router's kernel, with BFD at 50 ms × 3.
    Freeze(Freeze),
    /// Keep both cores busy with the proxy: BFD at 10 ms × 3 must not fail.
    Saturate(Saturate),
}

/// Options of [`Measurement::Freeze`].
#[derive(Debug, Clone, clap::Args)]
pub struct Freeze {
    /// Freezes per router.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The routers.
    #[arg(long, value_delimiter = ',', default_value = "bird,frr")]
    routers: Vec<Peer>,
    #[command(flatten)]
    common: Common,
}

/// Options of [`Measurement::Saturate`].
#[derive(Debug, Clone, clap::Args)]
pub struct Saturate {
    /// How long.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The router.
    #[arg(long, default_value = "bird")]
    router: Peer,
    /// Keep-alive connections that ask as fast as they are answered.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A router with BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
}

impl From<Peer> for Make {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Bird => Self::Bird,
            Peer::Frr => Self::Frr,
        }
    }
}

/// Measures; an error when the claim does not hold.
pub async fn run(measurement: Measurement, sandbox: &Sandbox) -> Result<()> {
    match measurement {
        Measurement::Freeze(options) => freeze::run(options, sandbox).await,
        Measurement::Saturate(options) => saturate::run(options, sandbox).await,
    }
}

impl Common {
    fn write(&self, figures: &impl Serialize) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| write_json(figures, path))
    }
}
