//! A region's score: its healthy share of capacity, and what makes it worse than that share says.
//!
//! ```text
//! own backends:     Σ weight · share · up / Σ weight ──► score, the least of the services' ──► may withdraw
//! shared backends:  down ──┐
//! real traffic:     SLO ───┴─────────────────────────► degraded ───────────────────────────► may de-prefer
//! ```
//!
//! What every region uses fails for every region at once: leaving would help nobody, and all would leave. The same holds for
//! slow or failing answers, which can have their cause anywhere. So neither ever lowers the score.
//!
//! A checker that is dead or stuck is evidence, other than one that has not spoken yet: a backend that nothing checks any more is
//! not up, not even at best, and no verdict on it is waited for. A shared one that nothing checks changes nothing.

use std::{collections::HashSet, fmt};

use proxima_types::{BackendId, Health, Score, ServiceName, UpCount, Weight};
use serde::{Deserialize, Serialize};

use crate::{Breach, Percent};

/// A backend behind a service: one of the own region, or a shared one of any region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name. A backend listed twice for a service is counted once.
    pub backend: &'a BackendId,
    /// Its share of capacity.
    pub weight: Weight,
    /// The verdict on it.
    pub health: Health,
    /// How much of that capacity it offers now, by its agent; full where it has none.
    pub share: Percent,
    /// Whether every region uses it: its loss can de-prefer, never withdraw.
    pub shared: bool,
    /// Whether no check of it has ended for longer than a verdict is believed.
    pub unchecked: bool,
}

/// The healthy share of capacity behind one service. Shared backends are no part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceScore {
    /// The service.
    pub service: ServiceName,
    /// Σ weight · share of those up / Σ weight. Unknown counts as not up. Full where the region has no backend for the
    /// service: its loss can't be seen here, so it gates nothing.
    pub score: Score,
    /// The same with Unknown counted as up, but for those that nothing checks: what the score may yet turn out to be.
    pub at_best: Score,
    /// How many backends are up.
    pub count: UpCount,
}

/// The score of a region for an announcement group: the least of its services'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionScore {
    /// With Unknown counted as not up.
    pub score: Score,
    /// With Unknown counted as up. Equal to `score` once all first verdicts are known.
    pub at_best: Score,
    /// Whether a first verdict is still missing, on shared backends too; on those that nothing checks none is waited for.
    pub unknown: bool,
    /// What can de-prefer the group whatever the score, and never withdraws it.
    pub degraded: Vec<Degradation>,
    /// Service by service, in the order given.
    pub services: Vec<ServiceScore>,
}

/// What makes a region worse than its share of capacity says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Degradation {
    /// Real traffic of a service does not meet an objective.
    Slo {
        /// The service.
        service: ServiceName,
        /// The objective, and what was measured.
        breach: Breach,
    },
    /// A backend that every region uses is down.
    Shared {
        /// It.
        backend: BackendId,
    },
}

impl RegionScore {
    /// The same score, with more that degrades the region.
    #[must_use]
    pub fn degraded_by(mut self, more: impl IntoIterator<Item = Degradation>) -> Self {
        self.degraded.extend(more);
        self
    }
}

/// The score of a region over the services that gate a group. Without services it is full.
pub fn region_score<'a, Members>(
    services: impl IntoIterator<Item = (&'a ServiceName, Members)>,
) -> RegionScore
where
    Members: IntoIterator<Item = Member<'a>>,
{
    let mut shared = Shared::default();
    let services: Vec<ServiceScore> =
        services.into_iter().map(|(service, members)| service_score(service, members, &mut shared)).collect();
    let least = |of: fn(&ServiceScore) -> Score| {
        services.iter().map(of).fold(Score::FULL, |least, score| if score < least { score } else { least })
    };
    RegionScore {
        score: least(|service| service.score),
        at_best: least(|service| service.at_best),
        unknown: shared.unknown || services.iter().any(|service| service.count.unknown > 0),
        degraded: shared.down.into_iter().map(|backend| Degradation::Shared { backend }).collect(),
        services,
    }
}

/// What was seen of shared backends, over all services.
#[derive(Default)]
struct Shared {
    unknown: bool,
    down: Vec<BackendId>,
}

impl Shared {
    fn note(&mut self, backend: &BackendId, health: Health) {
        match health {
            Health::Up => {}
            Health::Unknown => self.unknown = true,
            Health::Down if self.down.contains(backend) => {}
            Health::Down => self.down.push(backend.clone()),
        }
    }
}

fn service_score<'a>(
    service: &ServiceName,
    members: impl IntoIterator<Item = Member<'a>>,
    shared: &mut Shared,
) -> ServiceScore {
    // In hundredths of a weight.
    let (mut total, mut up_weight, mut maybe_weight) = (0u64, 0u64, 0u64);
    let (mut count, mut seen) = (UpCount::default(), HashSet::new());
    for member in members {
        if member.shared {
            if !member.unchecked {
                shared.note(member.backend, member.health);
            }
            continue;
        }
        if !seen.insert(member.backend) {
            continue;
        }
        count.backends += 1;
        let weight = u64::from(member.weight.0);
        let offered = weight * u64::from(member.share.as_u8());
        total += weight * 100;
        match member.health {
            _ if member.unchecked => count.unchecked += 1,
            Health::Up => {
                count.up += 1;
                count.reduced += u32::from(member.share < Percent::FULL);
                up_weight += offered;
                maybe_weight += offered;
            }
            Health::Unknown => {
                count.unknown += 1;
                maybe_weight += offered;
            }
            Health::Down => {}
        }
    }
    let share = |of: u64| match (count.backends, total) {
        (0, _) => Score::FULL,
        (_, 0) => Score::ZERO,
        _ => Score::new(of as f64 / total as f64),
    };
    ServiceScore { service: service.clone(), score: share(up_weight), at_best: share(maybe_weight), count }
}

/// `web: 1 of 2 up`.
impl fmt::Display for ServiceScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.count)
    }
}

/// `web: p95 to first byte 180ms, 100ms allowed (1200 requests)` or `shared backend db/primary is down`.
impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slo { service, breach } => write!(f, "{service}: {breach}"),
            Self::Shared { backend } => write!(f, "shared backend {backend} is down"),
        }
    }
}

/// `0.50 (web: 1 of 2 up; degraded: shared backend db/primary is down)`.
impl fmt::Display for RegionScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.score.fmt(f)?;
        let mut separator = " (";
        for service in &self.services {
            write!(f, "{separator}{service}")?;
            separator = "; ";
        }
        for degradation in &self.degraded {
            write!(f, "{separator}degraded: {degradation}")?;
            separator = "; ";
        }
        f.write_str(if separator == " (" { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backends(states: &[(u16, Health)]) -> Vec<(BackendId, Weight, Health)> {
        let state = |(n, &(weight, health)): (usize, &(u16, Health))| {
            (format!("p/b{n}").parse().unwrap(), Weight(weight), health)
        };
        states.iter().enumerate().map(state).collect()
    }

    fn members(list: &[(BackendId, Weight, Health)]) -> impl Iterator<Item = Member<'_>> {
        list.iter().map(|(backend, weight, health)| member(backend, *weight, *health))
    }

    fn member(backend: &BackendId, weight: Weight, health: Health) -> Member<'_> {
        Member { backend, weight, health, share: Percent::FULL, shared: false, unchecked: false }
    }

    fn score(services: &[&[(u16, Health)]]) -> RegionScore {
        let named: Vec<(ServiceName, Vec<_>)> = services
            .iter()
            .enumerate()
            .map(|(n, states)| (format!("s{n}").parse().unwrap(), backends(states)))
            .collect();
        region_score(named.iter().map(|(name, list)| (name, members(list))))
    }

    use Health::{Down, Unknown, Up};

    #[test]
    fn the_score_is_the_healthy_share_of_the_weakest_service() {
        let region = score(&[&[(100, Up), (100, Up)], &[(300, Up), (100, Down)], &[(1, Up)]]);
        assert_eq!(
            (region.score, region.at_best, region.unknown),
            (Score::new(0.75), Score::new(0.75), false)
        );
        assert_eq!(region.to_string(), "0.75 (s0: 2 of 2 up; s1: 1 of 2 up; s2: 1 of 1 up)");
    }

    #[test]
    fn unknown_counts_as_not_up_and_is_told() {
        let region = score(&[&[(100, Up), (100, Unknown)]]);
        assert_eq!((region.score, region.at_best, region.unknown), (Score::new(0.5), Score::FULL, true));
        assert_eq!(region.to_string(), "0.50 (s0: 1 of 2 up, 1 unknown)");
    }

    #[test]
    fn a_backend_that_nothing_checks_is_not_up_whatever_is_known_of_it_and_no_verdict_on_it_is_waited_for() {
        let (service, shared): (ServiceName, BackendId) = ("s".parse().unwrap(), "db/one".parse().unwrap());
        for health in [Up, Down, Unknown] {
            let list = backends(&[(100, Up), (100, health)]);
            let unchecked = Member { unchecked: true, ..member(&list[1].0, Weight(100), health) };
            let shared = Member { unchecked: true, shared: true, ..member(&shared, Weight(100), health) };
            let region = region_score([(&service, members(&list[..1]).chain([unchecked, shared]))]);
            assert_eq!((region.score, region.at_best), (Score::new(0.5), Score::new(0.5)), "{health}");
            assert!(!region.unknown && region.degraded.is_empty(), "{region}");
            assert_eq!(region.to_string(), "0.50 (s: 1 of 2 up, 1 unchecked)");
        }
    }

    #[test]
    fn no_backends_gate_nothing_but_backends_without_weight_are_no_capacity() {
        assert_eq!(score(&[&[]]).score, Score::FULL);
        assert_eq!(score(&[&[]]).to_string(), "1.00 (s0: no backends in this region)");
        assert_eq!(score(&[&[(0, Up)]]).score, Score::ZERO);
        assert_eq!(score(&[]).score, Score::FULL);
    }

    #[test]
    fn a_backend_behind_two_routes_of_a_service_is_counted_once() {
        let list = backends(&[(100, Up), (100, Down)]);
        let service: ServiceName = "s".parse().unwrap();
        let twice = members(&list).chain(members(&list[1..]));
        assert_eq!(region_score([(&service, twice)]).score, Score::new(0.5));
    }

    #[test]
    fn an_agents_share_is_part_of_the_capacity() {
        let list = backends(&[(300, Up), (100, Up), (100, Unknown), (100, Down)]);
        let service: ServiceName = "s".parse().unwrap();
        let shares = [50, 100, 10, 100].map(|percent| Percent::new(percent).unwrap());
        let members = || members(&list).zip(shares).map(|(member, share)| Member { share, ..member });
        let region = region_score([(&service, members())]);
        assert_eq!((region.score, region.at_best), (Score::new(250.0 / 600.0), Score::new(260.0 / 600.0)));
        assert_eq!(region.to_string(), "0.42 (s: 2 of 4 up, 1 reduced by the agent, 1 unknown)");
        let none = members().map(|member| Member { share: Percent::ZERO, health: Up, ..member });
        assert_eq!(region_score([(&service, none)]).score, Score::ZERO);
    }

    #[test]
    fn a_shared_backend_degrades_and_never_lowers_the_score() {
        let services: [ServiceName; 2] = ["s", "t"].map(|name| name.parse().unwrap());
        let own = backends(&[(100, Up)]);
        for (health, degraded) in [(Up, 0), (Unknown, 0), (Down, 1)] {
            let shared: BackendId = "db/primary".parse().unwrap();
            let of = || {
                let shared = Member { shared: true, ..member(&shared, Weight(900), health) };
                members(&own).chain([shared])
            };
            let region = region_score(services.iter().map(|service| (service, of())));
            assert_eq!((region.score, region.at_best), (Score::FULL, Score::FULL), "{health}");
            assert_eq!(region.unknown, health == Unknown);
            assert_eq!(region.degraded.len(), degraded, "told once, though both services use it");
            let only = Member { shared: true, ..member(&shared, Weight(0), health) };
            assert_eq!(region_score([(&services[0], [only])]).score, Score::FULL, "nothing else gates");
        }
        let dead = [Member { shared: true, ..member(&own[0].0, Weight(1), Down) }];
        let region = region_score([(&services[0], dead)]);
        assert_eq!(
            region.to_string(),
            "1.00 (s: no backends in this region; degraded: shared backend p/b0 is down)"
        );
    }

    #[test]
    fn a_missed_objective_is_told_with_its_figures() {
        let breach = Breach::Errors { rate: 0.05, limit: 0.02, requests: 400, probes: 0 };
        let slow = Degradation::Slo { service: "s0".parse().unwrap(), breach };
        let region = score(&[&[(100, Up)]]).degraded_by([slow]);
        assert_eq!(region.score, Score::FULL);
        assert_eq!(
            region.to_string(),
            "1.00 (s0: 1 of 1 up; degraded: s0: 5.0 % of 400 requests failed, 2.0 % allowed)"
        );
    }

    proptest! {
        #[test]
        fn a_shared_backend_in_any_state_leaves_the_score_as_it_is(
            states in proptest::collection::vec((0u16..500, proptest::sample::select(vec![Up, Down, Unknown])), 0..10),
            health in proptest::sample::select(vec![Up, Down, Unknown]),
            weight: u16,
            percent in 0u8..=100,
        ) {
            let (own, service) = (backends(&states), "s".parse().unwrap());
            let id: BackendId = "db/primary".parse().unwrap();
            let share = Percent::new(percent).unwrap();
            let weight = Weight(weight);
            let shared = Member { backend: &id, weight, health, share, shared: true, unchecked: false };
            let (without, with) = (
                region_score([(&service, members(&own))]),
                region_score([(&service, members(&own).chain([shared]))]),
            );
            prop_assert_eq!((without.score, without.at_best), (with.score, with.at_best));
            prop_assert_eq!(&without.services, &with.services);
            prop_assert_eq!(!with.degraded.is_empty(), health == Down);
        }

        #[test]
        fn a_backend_that_comes_up_never_lowers_the_score(
            states in proptest::collection::vec((0u16..500, proptest::sample::select(vec![Up, Down, Unknown])), 1..10),
            which: proptest::sample::Index,
        ) {
            let before = score(&[&states]);
            let mut better = states.clone();
            better[which.index(states.len())].1 = Up;
            let after = score(&[&better]);
            prop_assert!(after.score >= before.score);
            prop_assert!(before.score <= before.at_best);
            prop_assert!(!before.unknown || !states.iter().all(|s| s.1 != Unknown));
        }
    }
}
