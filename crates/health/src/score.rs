//! A region's score: its healthy share of capacity.

use std::{collections::HashSet, fmt};

use proxima_types::{BackendId, Health, Score, ServiceName, Weight};

/// A backend of the own region behind a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name. A backend listed twice for a service is counted once.
    pub backend: &'a BackendId,
    /// Its share of capacity.
    pub weight: Weight,
    /// The verdict on it.
    pub health: Health,
}

/// The healthy share of capacity behind one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceScore {
    /// The service.
    pub service: ServiceName,
    /// Σ weight of those up / Σ weight. Unknown counts as not up. Full where the region has no backend for the service:
    /// its loss can't be seen here, so it gates nothing.
    pub score: Score,
    /// The same with Unknown counted as up: what the score may yet turn out to be.
    pub at_best: Score,
    /// How many backends are up.
    pub up: usize,
    /// How many have no verdict yet.
    pub unknown: usize,
    /// How many there are.
    pub backends: usize,
}

/// The score of a region for an announcement group: the least of its services'.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionScore {
    /// With Unknown counted as not up.
    pub score: Score,
    /// With Unknown counted as up. Equal to `score` once all first verdicts are known.
    pub at_best: Score,
    /// Whether a first verdict is still missing.
    pub unknown: bool,
    /// Service by service, in the order given.
    pub services: Vec<ServiceScore>,
}

/// The score of a region over the services that gate a group. Without services it is full.
pub fn region_score<'a, Members>(
    services: impl IntoIterator<Item = (&'a ServiceName, Members)>,
) -> RegionScore
where
    Members: IntoIterator<Item = Member<'a>>,
{
    let services: Vec<ServiceScore> =
        services.into_iter().map(|(service, members)| service_score(service, members)).collect();
    let least = |of: fn(&ServiceScore) -> Score| {
        services.iter().map(of).fold(Score::FULL, |least, score| if score < least { score } else { least })
    };
    RegionScore {
        score: least(|service| service.score),
        at_best: least(|service| service.at_best),
        unknown: services.iter().any(|service| service.unknown > 0),
        services,
    }
}

fn service_score<'a>(service: &ServiceName, members: impl IntoIterator<Item = Member<'a>>) -> ServiceScore {
    let (mut total, mut up_weight, mut maybe_weight) = (0u64, 0u64, 0u64);
    let (mut up, mut unknown, mut seen) = (0, 0, HashSet::new());
    for member in members {
        if !seen.insert(member.backend) {
            continue;
        }
        let weight = u64::from(member.weight.0);
        total += weight;
        match member.health {
            Health::Up => {
                up += 1;
                up_weight += weight;
                maybe_weight += weight;
            }
            Health::Unknown => {
                unknown += 1;
                maybe_weight += weight;
            }
            Health::Down => {}
        }
    }
    let share = |of: u64| match (seen.len(), total) {
        (0, _) => Score::FULL,
        (_, 0) => Score::ZERO,
        _ => Score::new(of as f64 / total as f64),
    };
    ServiceScore {
        service: service.clone(),
        score: share(up_weight),
        at_best: share(maybe_weight),
        up,
        unknown,
        backends: seen.len(),
    }
}

/// `web: 1 of 2 backends up`.
impl fmt::Display for ServiceScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, up, unknown, backends, .. } = self;
        match (backends, unknown) {
            (0, _) => write!(f, "{service}: no backends in this region"),
            (_, 0) => write!(f, "{service}: {up} of {backends} backends up"),
            _ => write!(f, "{service}: {up} of {backends} backends up, {unknown} unknown"),
        }
    }
}

/// `0.50 (web: 1 of 2 backends up)`.
impl fmt::Display for RegionScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.score.fmt(f)?;
        for (n, service) in self.services.iter().enumerate() {
            write!(f, "{}{service}", if n == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.services.is_empty() { "" } else { ")" })
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
        list.iter().map(|(backend, weight, health)| Member { backend, weight: *weight, health: *health })
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
        assert_eq!(
            region.to_string(),
            "0.75 (s0: 2 of 2 backends up; s1: 1 of 2 backends up; s2: 1 of 1 backends up)"
        );
    }

    #[test]
    fn unknown_counts_as_not_up_and_is_told() {
        let region = score(&[&[(100, Up), (100, Unknown)]]);
        assert_eq!((region.score, region.at_best, region.unknown), (Score::new(0.5), Score::FULL, true));
        assert_eq!(region.to_string(), "0.50 (s0: 1 of 2 backends up, 1 unknown)");
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

    proptest! {
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
