//! What befalls several PoPs at once, or what they know of each other.
//!
//! All are guarded: a PoP that can't serve leaves only when it sees another one that stays.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxima_api::{AlarmKind, EventKind};
use proxima_types::{Prefix, ReachState};

use super::{
    case::{Case, GIVE_UP},
    scene::{Scene, Seat},
};
use crate::{
    error::{Error, Result},
    link::{Direction, Shape},
    observe::bgp::Message,
    wait::wait_until,
    world::{Region, Wan},
};

/// From the end of the quiet period to the alarm.
const TO_THE_ALARM: Duration = Duration::from_millis(500);
/// In which a mere partition must change nothing.
const STILL: Duration = Duration::from_secs(3);
/// How many quiet periods a PoP that must stay is watched for.
const WATCHED: u32 = 3;

/// 8: who has the highest rank stays and says so; the others may rely on it.
pub(super) async fn all_regions(case: &mut Case<'_>) -> Result<()> {
    let scene = case.scene;
    let all: Vec<&Region> = scene.world.regions().iter().collect();
    degrade(case, &all, &all).await?;
    all_back(case).await
}

/// 9: the same with two who degrade before they can know of each other, and nobody else.
pub(super) async fn two_regions(case: &mut Case<'_>) -> Result<()> {
    let scene = case.scene;
    let (gone, two): (Vec<&Region>, Vec<&Region>) =
        scene.world.regions().iter().partition(|region| region.number == 1);
    let [gone] = gone[..] else { return Err(Error::Spec("this world has no first region".to_owned())) };
    let killed = gone.pop.kill(Signal::SIGKILL)?;
    let fib = &scene.seat(&gone.name)?.fib;
    for prefix in scene.prefixes {
        fib.left_pop(prefix, killed, killed + GIVE_UP).await;
    }
    degrade(case, &two, &two).await?;
    gone.pop.wait_ended(GIVE_UP).await;
    gone.pop.start()?;
    all_back(case).await
}

/// 10: being alone changes nothing, and who is alone stays although its region can't serve.
pub(super) async fn partition(case: &mut Case<'_>) -> Result<()> {
    let lines = lines_of(case);
    lines.iter().try_for_each(|wan| wan.link.set_up(false))?;
    alone(case).await?;
    lines.iter().try_for_each(|wan| wan.link.set_up(true))?;
    all_back(case).await
}

/// 11: the same; the other PoPs' routes go with the hold time.
pub(super) async fn one_way_partition(case: &mut Case<'_>) -> Result<()> {
    let lines = lines_of(case);
    let here = &case.region.name;
    let towards = |wan: &Wan| if wan.between[0] == *here { Direction::Back } else { Direction::Forth };
    let before: Vec<Shape> = lines.iter().map(|wan| wan.link.shape(towards(wan))).collect();
    for (wan, shape) in lines.iter().zip(&before) {
        wan.link.set_shape(towards(wan), shape.with_loss(1.0))?;
    }
    alone(case).await?;
    for (wan, shape) in lines.iter().zip(&before) {
        wan.link.set_shape(towards(wan), *shape)?;
    }
    all_back(case).await
}

fn lines_of<'s>(case: &Case<'s>) -> Vec<&'s Wan> {
    let here = &case.region.name;
    case.scene.world.wans().iter().filter(|wan| wan.between.contains(here)).collect()
}

/// Once the router hears of nobody else: nothing changes; then the apps die, and the PoP stays.
async fn alone(case: &mut Case<'_>) -> Result<()> {
    let (cut, router) = (Instant::now(), &case.region.router);
    wait_until(GIVE_UP, || {
        let sessions = router.sessions()?;
        let others = sessions.iter().filter(|session| session.name != crate::world::bird::POP_SESSION);
        Ok(others.filter(|session| session.established).map(|session| session.name.clone()).collect())
    })
    .await?;
    case.figure("the router heard of nobody else", cut, Some(Instant::now()));
    // Nobody sends an UPDATE meanwhile; each look waits for one.
    let until = Instant::now() + STILL;
    let looks = case.scene.seats().iter().map(|seat| seat.wire.first_update(cut, until, |_| true));
    let updates = futures_util::future::join_all(looks).await.into_iter().flatten().count();
    case.claim(updates == 0, format!("a partition alone changes nothing that is announced ({updates} PoPs)"));
    degrade(case, &[case.region], &[case.region]).await
}

/// Kills the apps of `regions` as fast as that goes. Of the PoPs `announcing`, at least one stays and says so, and stays for
/// some time.
async fn degrade(case: &mut Case<'_>, regions: &[&Region], announcing: &[&Region]) -> Result<()> {
    let scene = case.scene;
    let quiet = scene.world.spec().daemon.guard.unwrap_or_default();
    case.kills(regions.iter().flat_map(|region| &region.apps));
    let since = Instant::now();
    for region in regions {
        region.kill_apps()?;
    }
    case.figure("all killed", since, Some(Instant::now()));
    let seats = announcing.iter().map(|region| scene.seat(&region.name)).collect::<Result<Vec<_>>>()?;
    let watched = since + quiet * WATCHED;
    let [v4, v6] = scene.prefixes;
    let withdrawn = seats.iter().map(|seat| seat.wire.withdrawn(v4, since, watched));
    let withdrawn = futures_util::future::join_all(withdrawn).await;
    let (mut staying, group) = (Vec::new(), scene.group());
    for (seat, left) in seats.iter().zip(withdrawn) {
        if left.is_some() {
            case.figure(format!("{} left", seat.region), since, left);
            let why = seat.events.transition(group, ReachState::Withdrawn, since, watched).await;
            case.because(format!(
                "{}: {}",
                seat.region,
                why.map_or_else(String::new, |(_, why)| why.to_string())
            ));
        } else {
            case.because(format!("{} stays", seat.region));
            staying.push(Box::pin(last_announcer(seat, since)));
        }
    }
    case.claim(!staying.is_empty(), "somebody stays");
    if !staying.is_empty() {
        let (alarm, ..) = futures_util::future::select_all(staying).await;
        case.within("alarm of who stays: the last announcer", since, alarm, quiet + TO_THE_ALARM);
    }
    for prefix in [v4, v6] {
        let least = least_announcers(scene, &seats, prefix, since);
        case.claim(least >= 1, format!("at least one announcer of {prefix} ({least})"));
    }
    Ok(())
}

/// When a PoP said that it is the last to announce, and stays.
async fn last_announcer(seat: &Seat, since: Instant) -> Option<Instant> {
    let alarm = |kind: &EventKind| {
        matches!(kind, EventKind::AlarmRaised { alarm: AlarmKind::LastAnnouncer { .. }, .. }).then_some(())
    };
    seat.events.first(since, since + GIVE_UP, alarm).await.map(|(at, ())| at)
}

/// The fewest of these PoPs that announced `prefix` at the same time since `since`, when all did, as seen on the wire.
fn least_announcers(scene: &Scene, seats: &[&Seat], prefix: Prefix, since: Instant) -> usize {
    let mut changes = Vec::new();
    for (place, seat) in seats.iter().enumerate() {
        let Ok(region) = scene.world.region(&seat.region) else { continue };
        let pop = region.pop.host.addresses.v4;
        seat.wire.seen().read(0, |seen| {
            for seen in seen.iter().filter(|seen| seen.at >= since && seen.from() == pop) {
                match &seen.message {
                    Message::Update(update) if update.withdrawn.contains(&prefix) => {
                        changes.push((seen.at, place, false));
                    }
                    Message::Update(update) if update.announced.contains(&prefix) => {
                        changes.push((seen.at, place, true));
                    }
                    // A session that begins anew has announced nothing yet, and one that ends announces nothing more.
                    Message::Open | Message::Notification(..) => changes.push((seen.at, place, false)),
                    _ => {}
                }
            }
        });
    }
    fewest(seats.len(), changes)
}

/// The fewest who are there, of `all` who are to begin with; each change says who comes or goes.
fn fewest(all: usize, mut changes: Vec<(Instant, usize, bool)>) -> usize {
    changes.sort_unstable();
    let mut there = vec![true; all];
    let mut least = all;
    for (_, place, comes) in changes {
        there[place] = comes;
        least = least.min(there.iter().filter(|there| **there).count());
    }
    least
}

/// How many alarms a PoP has raised since `since` that are not over.
fn alarms_on(seat: &Seat, since: Instant) -> usize {
    let now = Instant::now();
    let raised = seat.events.count(since, now, |kind| matches!(kind, EventKind::AlarmRaised { .. }));
    let over = seat.events.count(since, now, |kind| matches!(kind, EventKind::AlarmOver { .. }));
    raised.saturating_sub(over)
}

/// Starts what was killed and waits until every region is as before, and no alarm is on.
async fn all_back(case: &mut Case<'_>) -> Result<()> {
    let scene = case.scene;
    let mended = Instant::now();
    for region in scene.world.regions() {
        region.start_apps().await?;
    }
    scene.world.wait_converged(GIVE_UP).await?;
    case.figure("all regions back", mended, Some(Instant::now()));
    let begun = case.begun();
    wait_until(GIVE_UP, || {
        let on = scene.seats().iter().find(|seat| alarms_on(seat, begun) > 0);
        Ok(on.map_or_else(String::new, |seat| format!("the end of the alarm in {}", seat.region)))
    })
    .await?;
    case.back(mended).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_are_counted_over_time_and_not_at_the_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(fewest(2, Vec::new()), 2);
        let overlap = vec![(at(9), 0, true), (at(1), 0, false), (at(10), 1, false)];
        assert_eq!(fewest(2, overlap), 1);
        let gap = vec![(at(1), 0, false), (at(9), 1, false), (at(10), 0, true)];
        assert_eq!(fewest(2, gap), 0);
    }
}
