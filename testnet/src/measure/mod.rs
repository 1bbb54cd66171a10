//! Clients and a source of tokens that measure what passes between them: what `cargo xtask bench l7` runs beside the load generators
//! that others have written.
//!
//! | module | measures |
//! |---|---|
//! | `source` | nothing: tokens, each with the time it is sent at |
//! | `tokens` | how late each token of many streams at once is |
//! | `first` | the time to the first token |
//! | `pace` | the latency of small requests that come at a given rate |
//! | `rest` | nothing: holds connections that are at rest |
//!
//! Each prints one line of JSON. All of them, and what lies between, run on one machine: times are of its monotonic clock.

pub(crate) mod connect;
mod first;
mod pace;
mod rest;
mod source;
mod tokens;

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Subcommand;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::error::{Error, Result};

/// What to run.
#[derive(Debug, Clone, Subcommand)]
pub enum Measurement {
    /// Send tokens with their times, to whoever asks.
    Source(source::Options),
    /// Read many streams of tokens at once.
    Tokens(tokens::Options),
    /// Ask for short streams at a given rate.
    First(first::Options),
    /// Ask for something small at a given rate.
    Pace(pace::Options),
    /// Hold connections at rest until the standard input ends.
    Rest(rest::Options),
}

/// Runs it to its end.
///
/// # Errors
/// When the other side can't be reached or breaks off: nothing was measured then.
pub async fn run(measurement: Measurement) -> Result<()> {
    match measurement {
        Measurement::Source(options) => source::serve(options).await,
        Measurement::Tokens(options) => print(&tokens::run(options).await?),
        Measurement::First(options) => print(&first::run(options).await?),
        Measurement::Pace(options) => print(&pace::run(&options)?),
        Measurement::Rest(options) => rest::run(options).await,
    }
}

fn print(figures: &impl Serialize) -> Result<()> {
    let written = serde_json::to_string(figures)
        .map_err(io::Error::from)
        .and_then(|line| writeln!(io::stdout(), "{line}"));
    written.map_err(Error::io("printing figures"))
}

/// The machine's monotonic clock, which all its processes share.
fn now() -> Duration {
    // It fails only for clocks that do not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
