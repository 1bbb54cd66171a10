//! An app that dies and comes back again and again.

use std::time::{Duration, Instant};

use super::case::Case;
use crate::{
    error::{Error, Result},
    observe::bgp::Update,
};

/// How often it dies, once a second.
const FLAPS: u32 = 12;
/// For half of each: down, and up again.
const HALF: Duration = Duration::from_millis(500);

/// 5: at most one UPDATE for each hold-down, and with damping fewer.
pub(super) async fn app(case: &mut Case<'_>) -> Result<()> {
    let region = case.region;
    let spec = case.scene.world.spec().regions.iter().find(|spec| spec.name == region.name);
    let ([app], Some(hold_down)) = (&region.apps[..], spec.map(|spec| spec.hold_down)) else {
        return Err(Error::Spec(format!("region {} has more than one app to flap", region.name)));
    };
    case.kills(&region.apps);
    let begun = Instant::now();
    let mut halves = tokio::time::interval(HALF);
    for _ in 0..FLAPS {
        halves.tick().await;
        app.kill()?;
        halves.tick().await;
        app.start().await?;
    }
    let lasted = begun.elapsed();
    let most = lasted.as_millis().div_ceil(hold_down.as_millis());
    // Each family has an UPDATE of its own; one of the two is counted.
    let [v4, _] = case.scene.prefixes;
    let of_v4 = |update: &Update| update.announced.contains(&v4) || update.withdrawn.contains(&v4);
    let updates = case.updates(begun, of_v4);
    case.because(format!("{FLAPS} flaps in {:.1} s: {updates} UPDATEs", lasted.as_secs_f64()));
    case.claim((1..=most).contains(&(updates as u128)), format!("1 to {most} UPDATEs ({updates})"));
    case.back(Instant::now()).await
}
