//! What drives the core that checks this PoP itself ([`SelfCheck`]): the gates by the configuration, the kernel's clock, and what is
//! told of backends that nothing checks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use proxima_announce::SelfCheck;
use proxima_config::{Backend, Config, Pool};
use proxima_health::{Gates, Watched};
use proxima_probe::Checks;
use proxima_types::BackendId;

use crate::groups::{behind_scores, dead_man};

/// After so long without a probe that could be made it is told, though the verdict is still believed.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// Time since the host was started, suspended or not.
pub(crate) fn boottime() -> Duration {
    // The clock is there since Linux 2.6.39; without it a suspended host would go unnoticed, as one that can't suspend.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// What gates each group.
pub(crate) fn gates(config: &Config) -> Vec<Gates> {
    let gates = |group: &proxima_config::Group| {
        let dead_man = dead_man(config, group);
        let watched = |(pool, backend): (&Pool, &Backend)| Watched {
            backend: backend.id.clone(),
            is_own: backend.region == config.pop.region,
            limit: Watched::limit_of(dead_man.unwrap_or_default(), pool.probe.pace()),
        };
        let watched = behind_scores(config, &group.services).map(watched).collect();
        Gates { group: group.name.clone(), dead_man, watched }
    };
    config.groups.values().map(gates).collect()
}

/// That a backend can't be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unchecked {
    pub(crate) since: Instant,
    /// Why its latest probe could not be made; `None` where none has even failed.
    pub(crate) why: Option<Arc<str>>,
    /// Whether its verdict counts all the same, as that is not so for long.
    pub(crate) believed: bool,
}

/// Whether and why a backend can't be checked: not for a while, or for so long that it is doubted.
pub(crate) fn unchecked(
    now: Instant,
    check: &SelfCheck,
    probes: &Checks,
    backend: &BackendId,
) -> Option<Unchecked> {
    let (blind, doubted) = (probes.blind(backend), check.unchecked_since(backend));
    let long = blind.as_ref().filter(|blind| now.saturating_duration_since(blind.since) >= TOLD_AFTER);
    let since = doubted.or(long.map(|blind| blind.since))?;
    Some(Unchecked { since, why: blind.map(|blind| blind.error), believed: doubted.is_none() })
}

#[cfg(test)]
mod tests {
    use proxima_health::Thaw;
    use proxima_types::Health;

    use super::*;

    const CONFIG: &str = include_str!("../tests/two-jurisdictions.toml");
    const LIMIT: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> Config {
        let more = r#"
[[bgp.peers]]
name = "router"
address = "10.0.0.1"
remote-as = 65001
[announce.held]
prefixes = ["198.51.100.0/24"]
services = ["web"]
vip = "none"
dead-man = "5s"
"#;
        Config::parse(&[CONFIG, more].concat(), "two-jurisdictions.toml").unwrap()
    }

    #[test]
    fn a_group_is_gated_by_the_backends_of_its_own_region_and_by_no_other_regions() {
        let gates = gates(&config());
        let [Gates { group, dead_man, watched }] = &gates[..] else { panic!("{gates:?}") };
        assert_eq!((group.as_str(), *dead_man), ("held", Some(LIMIT)));
        let watched: Vec<_> = watched.iter().map(|it| (it.backend.to_string(), it.is_own)).collect();
        assert_eq!(watched, [("app/eu-1".to_owned(), true), ("app/eu-2".to_owned(), true)]);
    }

    #[test]
    fn a_backend_that_can_not_be_probed_is_told_of_before_its_verdict_is_doubted() {
        let (config, begun) = (config(), Instant::now());
        let [one, other] = ["app/eu-1", "app/eu-2"].map(|id| id.parse::<BackendId>().unwrap());
        let checks = Checks::new(begun, [&one, &other]);
        let mut check = SelfCheck::new(begun, &gates(&config), &checks, 0);
        let pass = |id: &BackendId, at: Duration| checks.note(id, begun + at, begun + at, true);
        pass(&one, SECOND);
        pass(&other, SECOND);
        checks.blinded(&other, begun + SECOND, "no such program");
        let mut told = Vec::new();
        for second in 1..=7 {
            pass(&one, second * SECOND);
            check.look(begun + second * SECOND, [], &checks, |_| Health::Up).unwrap();
            assert_eq!(unchecked(begun + second * SECOND, &check, &checks, &one), None);
            let found = unchecked(begun + second * SECOND, &check, &checks, &other);
            told.push(found.map(|it| (it.why.as_deref() == Some("no such program"), it.believed)));
        }
        let (believed, doubted) = (Some((true, true)), Some((true, false)));
        assert_eq!(told, [None, None, None, None, None, believed, doubted]);
        assert_eq!(check.believed(&other, Health::Up), Health::Unknown);
    }

    #[test]
    fn a_wall_clock_that_jumps_is_no_gap_because_nobody_looks_at_it() {
        let mut thaw = Thaw::default();
        let now = Instant::now();
        assert_eq!(thaw.look(now, boottime()), None);
        assert_eq!(thaw.look(now, boottime()), None, "the kernel's clock goes on from where it was");
    }
}
