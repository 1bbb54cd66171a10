//! What real traffic says about backends and services.
//!
//! ```text
//! workers: a connection is lost ─▶ distress ──────────────┐
//!          counters ─▶ what each backend has met since ───┴▶ prober: the backend's task ─▶ verdict
//!                   └▶ what each service has done ─▶ a window for each group with an SLO ─▶ breach ─▶ the group's score
//! probes that ask as clients do, by backend ──────┘
//! ```
//!
//! The control task looks twice a second; only a lost connection is told at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_config::{Config, Pool, Slo};
use proxima_health::{Counted, Degradation, Figures, Objectives, Passive, PassiveRule, SloWindow};
use proxima_probe::{Checks, Found, PassiveSender, Tally};
use proxima_proxy::{DataPlane, Distress, Served, Stats, TrafficReader};
use proxima_types::{BackendId, GroupName, PoolName, Score, ServiceName, moment};
use serde::{Deserialize, Serialize};

use crate::groups::gating;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);

/// Reads the data plane's counters, and judges by them.
#[derive(Debug)]
pub(crate) struct Traffic {
    reader: TrafficReader,
    prober: PassiveSender,
    checks: Checks,
    /// What comes of bad answers, of pools whose traffic is evidence.
    rules: BTreeMap<PoolName, PassiveRule>,
    /// By group with an SLO, and gating service.
    windows: BTreeMap<GroupName, BTreeMap<ServiceName, SloWindow>>,
    looked_at: Option<Instant>,
    carried: Option<Carried>,
}

/// What one process has found, for the next, until that can have found the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Carried {
    degradations: BTreeMap<GroupName, Vec<Degradation>>,
    #[serde(with = "moment")]
    until: Instant,
}

/// What the data plane has counted, and how it is judged.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stats: Stats,
    pub(crate) served: BTreeMap<ServiceName, Served>,
    pub(crate) judged: Vec<Judged>,
    pub(crate) probes: BTreeMap<PoolName, Probed>,
}

/// What the probes of a pool came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probed {
    pub(crate) tally: Tally,
    /// Since a probe ended of the backend for which that is longest ago.
    pub(crate) age: Duration,
}

/// A group's objectives for a service, and what the window holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) group: GroupName,
    pub(crate) service: ServiceName,
    pub(crate) objectives: Objectives,
    /// `None` before the second look.
    pub(crate) figures: Option<Figures>,
    pub(crate) breaches: Vec<proxima_health::Breach>,
}

impl Traffic {
    pub(crate) fn new(
        config: &Config,
        data_plane: &DataPlane,
        prober: PassiveSender,
        checks: Checks,
    ) -> Self {
        let reader = data_plane.traffic();
        let (rules, windows) = (rules(config), windows(config, BTreeMap::new()));
        Self { reader, prober, checks, rules, windows, looked_at: None, carried: None }
    }

    /// What is missed of these groups' objectives, until a process that begins `now` has windows of its own; what this one was
    /// handed itself no longer than it was to hold.
    pub(crate) fn carried<'a>(
        &self,
        now: Instant,
        groups: impl Iterator<Item = &'a GroupName>,
    ) -> Option<Carried> {
        let missed = groups.map(|group| (group.clone(), self.degradations(group)));
        let degradations: BTreeMap<_, _> = missed.filter(|(_, missed)| !missed.is_empty()).collect();
        let windows = self.windows.values().flat_map(BTreeMap::values);
        let longest = windows.map(|window| window.objectives().window).max()?;
        let until = self.carried.as_ref().map_or(now + longest, |carried| carried.until);
        (!degradations.is_empty()).then_some(Carried { degradations, until })
    }

    /// Another process has found this.
    pub(crate) fn carry(&mut self, carried: Option<Carried>) {
        self.carried = carried;
    }

    /// Takes another configuration. Windows whose objectives stay the same go on.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        self.rules = rules(config);
        self.windows = windows(config, std::mem::take(&mut self.windows));
    }

    /// Workers have just lost connections to backends.
    pub(crate) fn lost(&self, distress: impl Iterator<Item = Distress>) {
        for Distress { backend, seen } in distress {
            self.report(&backend, seen, false);
        }
    }

    /// To be called from time to time. Returns whether other objectives are missed than before: the scores are others.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        config: &Config,
        is_up: impl Fn(&BackendId) -> bool,
        data_plane: &DataPlane,
    ) -> bool {
        if self.looked_at.is_some_and(|at| now < at + LOOK) {
            return false;
        }
        self.looked_at = Some(now);
        let met = self.reader.read();
        let dispensable = dispensable(config, is_up, &met);
        for (backend, seen) in &met {
            self.report(backend, *seen, dispensable.contains(&backend));
        }
        let checks = &self.checks;
        let probed = |service: &ServiceName| checks.answers(gating(config, std::slice::from_ref(service)));
        let forgotten = self.carried.take_if(|carried| carried.until <= now).is_some();
        (!self.windows.is_empty() && judge(&mut self.windows, now, &data_plane.served(), probed)) || forgotten
    }

    /// The objectives that the group's services don't meet.
    pub(crate) fn degradations(&self, group: &GroupName) -> Vec<Degradation> {
        let missed = |(service, window): (&ServiceName, &SloWindow)| {
            let service = service.clone();
            let slo = move |breach| Degradation::Slo { service: service.clone(), breach };
            window.breaches().map(slo).collect::<Vec<_>>()
        };
        let windows = self.windows.get(group);
        let mut found: Vec<_> = windows.into_iter().flatten().flat_map(missed).collect();
        // Of a service that is no longer one of the group's nothing is left.
        let of = |degradation: &Degradation| match degradation {
            Degradation::Slo { service, .. } => Some(service.clone()),
            Degradation::Shared { .. } => None,
        };
        let carried = self.carried.as_ref().and_then(|carried| carried.degradations.get(group));
        for degradation in carried.into_iter().flatten() {
            let Some(service) = of(degradation) else { continue };
            let is_judged = windows.is_some_and(|windows| windows.contains_key(&service));
            if is_judged && !found.iter().any(|it| of(it).as_ref() == Some(&service)) {
                found.push(degradation.clone());
            }
        }
        found
    }

    /// What probes have found out about a backend beside its health.
    pub(crate) fn found(&self, backend: &BackendId) -> Found {
        self.checks.findings(backend)
    }

    /// Everything there is to tell of traffic.
    pub(crate) fn counts(&self, now: Instant, config: &Config, data_plane: &DataPlane) -> Counts {
        let probes = self.probes(now, config);
        Counts { stats: data_plane.stats(), served: data_plane.served(), judged: self.judged(), probes }
    }

    fn probes(&self, now: Instant, config: &Config) -> BTreeMap<PoolName, Probed> {
        let mut tallies = self.checks.tallies();
        let probed = |(name, pool): (&PoolName, &Pool)| {
            let ages = pool.backends.iter().map(|backend| self.checks.age(now, &backend.id));
            let age = ages.max().unwrap_or_default();
            (name.clone(), Probed { tally: tallies.remove(name).unwrap_or_default(), age })
        };
        config.pools.iter().map(probed).collect()
    }

    /// All objectives, by group and service.
    fn judged(&self) -> Vec<Judged> {
        let judged = |group: &GroupName, (service, window): (&ServiceName, &SloWindow)| Judged {
            group: group.clone(),
            service: service.clone(),
            objectives: *window.objectives(),
            figures: window.figures(),
            breaches: window.breaches().collect(),
        };
        let windows = self.windows.iter();
        windows.flat_map(|(group, services)| services.iter().map(move |each| judged(group, each))).collect()
    }

    fn report(&self, backend: &BackendId, seen: Passive, may_go: bool) {
        if let Some(rule) = self.rules.get(backend.pool()) {
            let mark_down = rule.mark_down.filter(|_| may_go);
            self.prober.report(backend, seen, PassiveRule { mark_down, ..*rule });
        }
    }
}

fn rules(config: &Config) -> BTreeMap<PoolName, PassiveRule> {
    let rule = |(name, pool): (&PoolName, &Pool)| {
        let proxima_config::Passive { error_limit, mark_down, first_byte: _ } = pool.passive?;
        Some((name.clone(), PassiveRule { limit: error_limit, mark_down }))
    };
    config.pools.iter().filter_map(rule).collect()
}

/// The backends that traffic may mark down now: of each pool and region the one that fares worst, if no more than half are
/// down with it. Clients that provoke errors everywhere get no further.
fn dispensable<'a>(
    config: &Config,
    is_up: impl Fn(&BackendId) -> bool,
    met: &'a BTreeMap<BackendId, Passive>,
) -> Vec<&'a BackendId> {
    let pools = config.pools.values().filter(|pool| pool.passive.is_some_and(|it| it.mark_down.is_some()));
    let mut worst = Vec::new();
    for pool in pools {
        let mut regions: BTreeMap<_, Vec<&BackendId>> = BTreeMap::new();
        for backend in &pool.backends {
            regions.entry(&backend.region).or_default().push(&backend.id);
        }
        for backends in regions.into_values() {
            let down = backends.iter().filter(|id| !is_up(id)).count();
            let seen = backends.iter().filter(|id| is_up(id)).filter_map(|id| met.get_key_value(*id));
            let bad = seen.filter(|(_, seen)| seen.good == 0 && seen.bad() > 0);
            worst.extend(
                bad.max_by_key(|(_, seen)| seen.bad())
                    .filter(|_| 2 * (down + 1) <= backends.len())
                    .map(|(id, _)| id),
            );
        }
    }
    worst
}

type Windows = BTreeMap<GroupName, BTreeMap<ServiceName, SloWindow>>;

fn windows(config: &Config, mut before: Windows) -> Windows {
    let mut windows = Windows::new();
    for (name, group) in &config.groups {
        let Some(slo) = group.degraded.as_ref().and_then(|degraded| degraded.slo) else { continue };
        let objectives = objectives(slo);
        let mut before = before.remove(name).unwrap_or_default();
        let window = |service: &ServiceName| {
            let kept = before.remove(service).filter(|window| *window.objectives() == objectives);
            (service.clone(), kept.unwrap_or_else(|| SloWindow::new(objectives)))
        };
        windows.insert(name.clone(), group.services.iter().map(window).collect());
    }
    windows
}

fn objectives(slo: Slo) -> Objectives {
    let Slo { p95, error_rate, window, min_requests } = slo;
    Objectives {
        p95,
        error_rate: error_rate.map(Score::share),
        window,
        least: u64::from(min_requests.get()),
        ..Objectives::default()
    }
}

/// Hands every window what its service has done, and how `probed` says that the backends which gate it have answered. Returns
/// whether other objectives are missed than before.
fn judge(
    windows: &mut Windows,
    now: Instant,
    served: &BTreeMap<ServiceName, Served>,
    probed: impl Fn(&ServiceName) -> Counted,
) -> bool {
    let mut changed = false;
    for (service, window) in windows.values_mut().flatten() {
        let Some(served) = served.get(service) else { continue };
        let missed = |window: &SloWindow| {
            window.breaches().map(|breach| std::mem::discriminant(&breach)).collect::<Vec<_>>()
        };
        let before = missed(window);
        window.handle(now, counted(served), probed(service));
        changed |= missed(window) != before;
    }
    changed
}

fn counted(served: &Served) -> Counted {
    let Served { requests, errors, silent, first_byte } = served;
    Counted {
        requests: *requests,
        errors: *errors,
        silent: *silent,
        first_byte: first_byte.cumulative().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = concat!(
        include_str!("../tests/two-jurisdictions.toml"),
        "[[bgp.peers]]\nname = \"tor1\"\naddress = \"10.0.0.1\"\nremote-as = 65000\n",
        "[announce.web]\nprefixes = [\"203.0.113.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n",
    );
    const SECOND: Duration = Duration::from_secs(1);

    fn parse(text: &str) -> Config {
        Config::parse(text, "two-jurisdictions.toml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn slo(limits: &str) -> Config {
        parse(&format!(
            "{CONFIG}[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\n\
             slo = {{ {limits}, window = \"5s\", min-requests = 10 }}\n"
        ))
    }

    fn served(requests: u64, errors: u64) -> BTreeMap<ServiceName, Served> {
        let served = Served { requests, errors, ..Served::default() };
        [("web".parse().unwrap(), served)].into()
    }

    #[test]
    fn an_error_rate_beyond_its_limit_is_a_change_when_it_begins_and_when_it_ends() {
        let (mut windows, start) = (windows(&slo("error-rate = 0.1"), Windows::new()), Instant::now());
        let changes: Vec<_> = (0..20u32)
            .filter(|second| {
                // From the third second to the sixth all requests fail.
                let errors = 10 * u64::from(second.saturating_sub(3).min(3));
                let served = served(10 * u64::from(*second), errors);
                judge(&mut windows, start + SECOND * *second, &served, |_| Counted::default())
            })
            .collect();
        assert_eq!(changes, [4, 11], "with the first failures, and when the last have left the window");
    }

    #[test]
    fn a_service_without_traffic_is_judged_by_its_probes() {
        let (mut windows, start) = (windows(&slo("error-rate = 0.1"), Windows::new()), Instant::now());
        let probed = |second: u32| {
            move |service: &ServiceName| {
                assert_eq!(service.as_str(), "web");
                let requests = 4 * u64::from(second);
                Counted { requests, errors: requests / 2, ..Counted::default() }
            }
        };
        let changes: Vec<_> = (0..4)
            .map(|second| judge(&mut windows, start + SECOND * second, &served(0, 0), probed(second)))
            .collect();
        assert_eq!(changes, [false, false, false, true], "with the tenth probe");
        let breach = windows.values().flatten().flat_map(|(_, window)| window.breaches()).next();
        assert_eq!(breach.unwrap().to_string(), "50.0 % of 10 probes failed, 10.0 % allowed");
    }

    #[test]
    fn groups_without_an_slo_have_no_window_and_others_one_for_each_service() {
        assert!(windows(&parse(CONFIG), Windows::new()).is_empty());
        let windows = windows(&slo("p95 = \"100ms\""), Windows::new());
        let (group, services) = windows.first_key_value().unwrap();
        assert_eq!((group.as_str(), services.len()), ("web", 1));
    }

    #[test]
    fn a_reload_keeps_the_windows_whose_objectives_stay() {
        let (old, start) = (slo("error-rate = 0.1"), Instant::now());
        let mut windows = windows(&old, Windows::new());
        for second in 0..3u32 {
            let requests = 10 * u64::from(second);
            judge(&mut windows, start + SECOND * second, &served(requests, requests), |_| Counted::default());
        }
        let breaches =
            |windows: &Windows| windows.values().flatten().flat_map(|(_, it)| it.breaches()).count();
        assert_eq!(breaches(&windows), 1);
        let kept = super::windows(&old, windows);
        assert_eq!(breaches(&kept), 1);
        let other = super::windows(&slo("error-rate = 0.2"), kept);
        assert_eq!(breaches(&other), 0, "other objectives, another window");
    }

    #[test]
    fn pools_that_are_not_observed_have_no_rule() {
        let of = |text: &str| {
            let text = CONFIG.replacen("[pools.app]", &format!("[pools.app]\n{text}"), 1);
            rules(&parse(&text)).into_values().next()
        };
        let usual = PassiveRule::default();
        assert_eq!(of(""), Some(usual));
        let limit = 3.try_into().unwrap();
        assert_eq!(of("passive = { error-limit = 3 }"), Some(PassiveRule { limit, ..usual }));
        assert_eq!(of("passive = { observe = false }"), None);
        let mark_down = Some(Duration::from_secs(5));
        let marking = "passive = { on-error = \"mark-down\", hold-down = \"5s\" }";
        assert_eq!(of(marking), Some(PassiveRule { mark_down, ..usual }));
    }

    #[test]
    fn traffic_marks_down_one_backend_at_a_time_and_no_more_than_half_of_a_region() {
        let text = CONFIG.replacen("[pools.app]", "[pools.app]\npassive = { on-error = \"mark-down\" }", 1);
        let (marking, plain) = (parse(&text), parse(CONFIG));
        let errors = |server_errors, good| Passive { server_errors, good, ..Passive::default() };
        let [first, second, far] =
            ["app/eu-1", "app/eu-2", "app/us-1"].map(|id| id.parse::<BackendId>().unwrap());
        for (config, down, seen, expected) in [
            (&marking, None, [errors(3, 0), errors(9, 0), errors(50, 0)], vec![&second]),
            (&marking, None, [errors(3, 0), errors(9, 1), errors(50, 0)], vec![&first]),
            (&marking, None, [errors(0, 1), errors(9, 1), errors(50, 0)], vec![]),
            (&marking, Some(&second), [errors(3, 0), errors(9, 0), errors(50, 0)], vec![]),
            (&plain, None, [errors(3, 0), errors(9, 0), errors(50, 0)], vec![]),
        ] {
            let met = [&first, &second, &far].map(Clone::clone).into_iter().zip(seen).collect();
            let found = dispensable(config, |id| Some(id) != down, &met);
            assert_eq!(found, expected, "{down:?} {seen:?}: us-1 is the only one of its region");
        }
    }
}
