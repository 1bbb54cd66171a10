//! A frozen PoP: how long its route stays in the router's kernel.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Freeze, Peer, STOOD_STILL,
    scene::{Scene, put_first},
};
use crate::{
    error::{Error, Result},
    figures::median,
    router::Make,
    sandbox::Sandbox,
    witness::{Witness, longest_within},
};

/// What we claim of a frozen PoP, the worst of the runs.
const LIMIT: Duration = Duration::from_millis(300);
const INTERVAL_MS: u32 = 50;
/// What happened so long before the freeze may be why the route went.
const BEFORE: Duration = Duration::from_millis(200);
/// At most so many attempts for each run: a machine that stands still more often than that is none to measure on.
const ATTEMPTS: u32 = 4;

/// The freezes of one router, in milliseconds from the signal until the route was gone.
#[derive(Debug, Serialize)]
struct Freezes {
    router: Peer,
    gone_ms: Vec<f64>,
    /// Freezes during which a core stood still; not among the others.
    disturbed_ms: Vec<f64>,
    median_ms: f64,
    worst_ms: f64,
    limit_ms: f64,
    holds: bool,
}

#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub(super) async fn run(options: Freeze, sandbox: &Sandbox) -> Result<()> {
    let witness = Witness::start()?;
    let mut outcomes = Vec::new();
    for (number, router) in options.routers.iter().enumerate() {
        let dir = sandbox.dir().join(format!("f{number}"));
        let scene = Scene::start(*router, INTERVAL_MS, &options.common, &dir).await?;
        put_first(&["bird", "bfdd", "bgpd", "zebra"])?;
        let outcome = freezes(*router, &scene, &witness, options.runs).await?;
        println!(
            "{:<6} {} freezes: gone from the FIB after {:.0} ms (median), {:.0} ms (worst); limit {:.0}: {}; {} more in which the \
             machine stood still",
            Make::from(*router),
            outcome.gone_ms.len(),
            outcome.median_ms,
            outcome.worst_ms,
            outcome.limit_ms,
            if outcome.holds { "holds" } else { "DOES NOT HOLD" },
            outcome.disturbed_ms.len(),
        );
        outcomes.push(outcome);
    }
    options.common.write(&outcomes)?;
    match outcomes.iter().find(|outcome| !outcome.holds) {
        None => Ok(()),
        Some(late) => Err(Error::Late {
            within: LIMIT,
            missing: format!(
                "{} to forget a frozen PoP {} times: {:.0} ms at worst in {} runs",
                Make::from(late.router),
                options.runs,
                late.worst_ms,
                late.gone_ms.len()
            ),
        }),
    }
}

async fn freezes(router: Peer, scene: &Scene, witness: &Witness, runs: u32) -> Result<Freezes> {
    let (mut gone_ms, mut disturbed_ms) = (Vec::new(), Vec::new());
    for _ in 0..runs * ATTEMPTS {
        let (frozen, gone) = scene.freeze_once().await?;
        let still = longest_within(&witness.stalls(), frozen.checked_sub(BEFORE).unwrap_or(frozen), gone);
        let figures = if still < STOOD_STILL { &mut gone_ms } else { &mut disturbed_ms };
        figures.push(millis(frozen, gone));
        if gone_ms.len() >= runs as usize {
            break;
        }
    }
    let median_ms = median(gone_ms.iter().copied()).unwrap_or_default();
    let worst_ms = gone_ms.iter().copied().fold(0.0, f64::max);
    let limit_ms = LIMIT.as_secs_f64() * 1e3;
    let holds = gone_ms.len() >= runs as usize && worst_ms <= limit_ms;
    Ok(Freezes { router, gone_ms, disturbed_ms, median_ms, worst_ms, limit_ms, holds })
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}
