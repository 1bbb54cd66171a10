//! Clients of HTTP that do harm, beside others that are asked how they fare: those wait no longer than twice as long, the daemon's memory
//! is bounded, and its BGP session notices nothing.
//!
//! ```text
//!  BIRD ──── proximad, app ──┬── clients      200 requests a second over TLS, one of ten over a connection of its own
//!            nginx, HAProxy  └── attacker     a process of its own, that gives way to all others: here it has no machine of its own
//! ```
//!
//! Other proxies, if asked for, are attacked in turn with the daemon, so that all have the same machine. They are not judged.

mod clients;
mod http2;
mod initials;
mod overlong;
mod scene;
mod slow;
mod strike;
mod victim;

use std::{fs, path::PathBuf};

pub use self::strike::{Attack, Strike, strike};
use self::{
    scene::{Outcome, Scene},
    victim::Victim,
};
use crate::{
    error::{Error, Result},
    figures,
    sandbox::Sandbox,
};

/// How to attack.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Which attacks; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<Attack>,
    /// Times that clients are asked how they fare, without the attack and under it; what counts is the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that they are asked for each time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections of slow clients at once.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    slow: u32,
    /// How many times as long clients may wait, in the 99th percentile.
    #[arg(long, default_value_t = 2.0)]
    limit: f64,
    /// Milliseconds that they may wait in any case: what a machine is late by that does other things too.
    #[arg(long, default_value_t = 0.0)]
    grace: f64,
    /// Other proxies to attack in turn with the daemon.
    #[arg(long, value_delimiter = ',')]
    beside: Vec<Victim>,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

impl Options {
    /// The daemon first.
    fn victims(&self) -> impl Iterator<Item = Victim> {
        let others = self.beside.iter().copied().filter(|victim| *victim != Victim::Proximad);
        std::iter::once(Victim::Proximad).chain(others)
    }
}

/// Attacks in turn, each on a daemon of its own.
///
/// # Errors
/// With the attacks that did harm, and what it was.
#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<()> {
    let proximad = figures::proximad(options.proximad.as_deref())?;
    let attacks = if options.attacks.is_empty() { Attack::ALL.to_vec() } else { options.attacks.clone() };
    let mut harms = Vec::new();
    for attack in attacks {
        let dir = sandbox.dir().join(format!("{attack:?}"));
        fs::create_dir_all(&dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let scene = Scene::start(&options, &proximad, &dir).await?;
        let mut victims: Vec<_> = options
            .victims()
            .filter(|victim| attack != Attack::Initials || victim.speaks_quic())
            .map(|victim| (victim, Vec::new()))
            .collect();
        for round in 0..options.rounds {
            for (victim, outcomes) in &mut victims {
                match scene.round((attack, *victim), round, &options, &dir).await {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(harm) if *victim != Victim::Proximad => {
                        println!("{attack:?}, {}: {harm}", victim.name());
                    }
                    Err(harm) => return Err(harm),
                }
            }
        }
        for (victim, outcomes) in &victims {
            let median = Median::of(outcomes);
            println!("{}", median.line(attack, *victim));
            if *victim == Victim::Proximad && median.is_beyond(&options) {
                let Median { before, under, .. } = median;
                harms.push(format!("{attack:?}: clients wait {under:.2} ms instead of {before:.2} ms"));
            }
        }
    }
    if harms.is_empty() { Ok(()) } else { Err(Error::Claim(harms.join("\n"))) }
}

/// Of several rounds, each figure by itself; of the memory the most.
struct Median {
    before: f64,
    under: f64,
    rate: f64,
    grown: u64,
}

impl Median {
    fn of(outcomes: &[Outcome]) -> Self {
        let median = |of: fn(&Outcome) -> f64| figures::median(outcomes.iter().map(of)).unwrap_or(f64::NAN);
        Self {
            before: median(|outcome| outcome.before),
            under: median(|outcome| outcome.under),
            rate: median(|outcome| outcome.rate),
            grown: outcomes.iter().map(|outcome| outcome.grown).max().unwrap_or(0),
        }
    }

    fn line(&self, attack: Attack, victim: Victim) -> String {
        let Self { before, under, rate, grown } = self;
        let grown = match victim {
            Victim::Proximad => format!("  grown by {:>5.1} MiB", *grown as f64 / 1024.0),
            Victim::Nginx | Victim::Haproxy => String::new(),
        };
        format!(
            "{:<12} {:<9} {rate:>9.0} {:<20} p99 {before:>7.2} ms before, {under:>7.2} ms under attack ({:.2} times){grown}",
            format!("{attack:?}"),
            victim.name(),
            format!("{}/s", attack.unit()),
            under / before,
        )
    }

    fn is_beyond(&self, options: &Options) -> bool {
        self.under > (options.limit * self.before).max(options.grace)
    }
}
