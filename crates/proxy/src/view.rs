//! A snapshot as one worker uses it: with its own balancing state, backends and counters beside each route.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use proxima_balance::{Candidate, Levels, Policy, Tried};
use proxima_http1::{Method, RequestHead};
use proxima_types::{BackendId, ServiceName};

use crate::{
    AccessLog, Challenges, ClientLimits, Match, Route, Service, Snapshot, Timeouts, TlsClient, TlsServer,
    Upstream, UpstreamProtocol,
    backend::Backend,
    descriptors::Descriptors,
    distress::Teller,
    stats::{RegionCounters, Unserved, WorkerCounters},
    timer::{Deadline, Timers},
};

/// The services of one snapshot.
#[derive(Debug)]
pub(crate) struct View {
    /// What it was made of, to see whether there is a newer one.
    source: Arc<Snapshot>,
    services: HashMap<ServiceName, Rc<ServiceView>>,
}

#[derive(Debug)]
pub(crate) enum ServiceView {
    Http {
        tls: Option<TlsServer>,
        routes: Vec<(Match, Rc<UpstreamView>)>,
        /// While any are pending.
        challenges: Option<Arc<Challenges>>,
    },
    Tcp(Rc<UpstreamView>),
}

/// An upstream with what this worker keeps for it.
#[derive(Debug)]
pub(crate) struct UpstreamView {
    /// The number of its route, counted from 1; 0 where there is none.
    pub(crate) route: u32,
    pub(crate) levels: Arc<Levels>,
    pub(crate) timeouts: Timeouts,
    pub(crate) protocol: UpstreamProtocol,
    /// As in [`Upstream::late`].
    late: Duration,
    policy: RefCell<Policy>,
    /// By candidate, as in `levels`.
    pub(crate) backends: Vec<Rc<Backend>>,
    regions: Vec<Arc<RegionCounters>>,
}

impl UpstreamView {
    /// The view of an upstream of one candidate that belongs to no service.
    pub(crate) fn alone(upstream: &Upstream, backend: Rc<Backend>, region: Arc<RegionCounters>) -> Self {
        Self {
            route: 0,
            levels: upstream.levels.clone(),
            timeouts: upstream.timeouts,
            protocol: upstream.protocol,
            late: Duration::MAX,
            policy: RefCell::new(Policy::new(upstream.policy, 0)),
            backends: vec![backend],
            regions: vec![region],
        }
    }

    /// The next candidate to try.
    pub(crate) fn pick(&self, tried: &Tried) -> Option<usize> {
        self.levels.pick(&mut self.policy.borrow_mut(), tried, |index| self.backends[index].pending())
    }

    /// Candidate `index` has begun a response of this status, so long after its request. A call of its own, so that the code
    /// around it stays small enough to be one function with its callers.
    #[inline(never)]
    pub(crate) fn answered(&self, index: usize, status: u16, first_byte: Duration) {
        self.regions[index].answered(status, first_byte);
        self.backends[index].counters.answered(status, first_byte > self.late);
    }

    /// The response of candidate `index` has ended as it should, so long after its request.
    #[inline(never)]
    pub(crate) fn ended(&self, index: usize, total: Duration) {
        self.regions[index].ended(total);
    }

    /// The candidate of this number.
    pub(crate) fn candidate(&self, index: usize) -> &Candidate {
        &self.levels.candidates()[index]
    }

    /// Why there is nothing to try at all.
    pub(crate) fn unserved(&self) -> (Unserved, String) {
        use proxima_residency::Unavailable;

        let why = self.levels.unavailable();
        let kind = match why {
            Unavailable::NoBackends => Unserved::NoBackends,
            Unavailable::AllOutside { .. } => Unserved::AllOutside,
            Unavailable::NoneUsable { .. } => Unserved::NoneUsable,
        };
        (kind, why.to_string())
    }
}

impl ServiceView {
    /// The upstream of the first route that takes the request; `path` as in [`Match::takes`].
    pub(crate) fn route(&self, head: &RequestHead, bytes: &[u8], path: &[u8]) -> Option<&Rc<UpstreamView>> {
        match self {
            Self::Http { routes, .. } => routes
                .iter()
                .find(|(matches, _)| matches.takes(head, bytes, path))
                .map(|(_, upstream)| upstream),
            Self::Tcp(_) => None,
        }
    }

    /// What an ACME server gets that asks for `path`, over plain HTTP only.
    pub(crate) fn key_authorization(&self, method: Method, path: &[u8]) -> Option<&str> {
        match self {
            Self::Http { tls: None, challenges: Some(challenges), .. } => {
                challenges.key_authorization(method, path)
            }
            Self::Http { .. } | Self::Tcp(_) => None,
        }
    }

    /// The challenges that a handshake may be about, while any are pending.
    pub(crate) fn tls_challenges(&self) -> Option<&Arc<Challenges>> {
        match self {
            Self::Http { challenges, .. } => challenges.as_ref().filter(|pending| pending.has_tls_alpn()),
            Self::Tcp(_) => None,
        }
    }

    /// How TLS is spoken, where it is.
    pub(crate) fn tls(&self) -> Option<&TlsServer> {
        match self {
            Self::Http { tls, .. } => tls.as_ref(),
            Self::Tcp(_) => None,
        }
    }
}

/// What a backend's connections have in common: where they go, and over which TLS.
type Key = (BackendId, SocketAddr, Option<usize>);

/// Makes views, and keeps what outlives them: the backends with their connections.
#[derive(Debug)]
pub(crate) struct Viewer {
    counters: Arc<WorkerCounters>,
    descriptors: Rc<Descriptors>,
    teller: Rc<Teller>,
    backends: RefCell<HashMap<Key, Rc<Backend>>>,
    /// Those that are gone while something still runs there, and until when it may.
    gone: RefCell<Vec<(Rc<Backend>, Deadline)>>,
    /// Differs from worker to worker and from policy to policy.
    seed: std::cell::Cell<u64>,
}

impl Viewer {
    pub(crate) fn new(
        counters: Arc<WorkerCounters>,
        descriptors: Rc<Descriptors>,
        teller: Rc<Teller>,
        seed: u64,
    ) -> Self {
        Self {
            counters,
            descriptors,
            teller,
            backends: RefCell::default(),
            gone: RefCell::default(),
            seed: seed.into(),
        }
    }

    /// The view of `snapshot`. Backends that were in the last one keep their connections; those that are in none any more lose
    /// theirs: at rest at once, under way with their exchanges.
    pub(crate) fn view(&self, snapshot: &Arc<Snapshot>) -> View {
        self.backends.borrow().values().for_each(|backend| backend.set_usable(false));
        let services = snapshot.services.iter();
        let challenges = (!snapshot.challenges.is_empty()).then(|| snapshot.challenges.clone());
        let view = |service: (&ServiceName, &Service)| {
            (service.0.clone(), self.service(service, challenges.as_ref()))
        };
        let services = services.map(view).collect();
        // Those that are gone for good are forgotten: one that comes back begins anew.
        self.backends.borrow_mut().retain(|_, backend| {
            if backend.is_usable() {
                return true;
            }
            backend.forget_idle();
            let is_gone = snapshot.backends.get(&backend.id) != Some(&backend.address);
            if is_gone {
                self.gone.borrow_mut().push((backend.clone(), Deadline::NEVER));
            }
            !is_gone
        });
        View { source: snapshot.clone(), services }
    }

    fn service(
        &self,
        (name, service): (&ServiceName, &Service),
        challenges: Option<&Arc<Challenges>>,
    ) -> Rc<ServiceView> {
        let (tls, routes) = match service {
            Service::Tcp(upstream) => return Rc::new(ServiceView::Tcp(self.upstream(name, upstream, 0))),
            Service::Http(routes) => (None, routes),
            Service::Https(tls, routes) => (Some(tls.clone()), routes),
        };
        Rc::new(ServiceView::Http { tls, routes: self.routes(name, routes), challenges: challenges.cloned() })
    }

    fn routes(&self, service: &ServiceName, routes: &[Route]) -> Vec<(Match, Rc<UpstreamView>)> {
        let numbered = (1..).zip(routes);
        numbered
            .map(|(number, route)| (route.matches.clone(), self.upstream(service, &route.upstream, number)))
            .collect()
    }

    fn upstream(&self, service: &ServiceName, upstream: &Upstream, route: u32) -> Rc<UpstreamView> {
        let candidates = upstream.levels.candidates();
        self.seed.set(self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        Rc::new(UpstreamView {
            route,
            levels: upstream.levels.clone(),
            timeouts: upstream.timeouts,
            protocol: upstream.protocol,
            late: upstream.late.unwrap_or(Duration::MAX),
            policy: RefCell::new(Policy::new(upstream.policy, self.seed.get())),
            backends: candidates.iter().map(|c| self.backend(c, upstream.tls.as_ref())).collect(),
            regions: candidates.iter().map(|c| self.counters.region(service, &c.region)).collect(),
        })
    }

    fn backend(&self, candidate: &Candidate, tls: Option<&TlsClient>) -> Rc<Backend> {
        let make = || {
            let counters = self.counters.backend(&candidate.backend);
            let tls = tls.map(|tls| tls.to(candidate.address));
            Rc::new(Backend::new(candidate, tls, counters, self.descriptors.clone(), self.teller.clone()))
        };
        let key = (candidate.backend.clone(), candidate.address, tls.map(TlsClient::id));
        let backend = self.backends.borrow_mut().entry(key).or_insert_with(make).clone();
        backend.set_usable(true);
        backend
    }

    /// Whether anything goes to a backend now.
    pub(crate) fn uses(&self, id: &BackendId) -> bool {
        self.backends.borrow().values().any(|backend| backend.id == *id && backend.is_usable())
    }

    /// What runs on backends that are gone by now may do so until then.
    pub(crate) fn limit(&self, deadline: Deadline) {
        for (_, until) in self.gone.borrow_mut().iter_mut().filter(|(_, until)| *until == Deadline::NEVER) {
            *until = deadline;
        }
    }

    /// Ends what has run there for too long; whether there was anything, which has to be woken.
    pub(crate) fn cut_short(&self, timers: &Timers) -> bool {
        let mut was_cut = false;
        self.gone.borrow_mut().retain(|(backend, until)| {
            let is_over = timers.is_past(*until);
            if is_over {
                backend.cut();
                was_cut = true;
            }
            !is_over && Rc::strong_count(backend) > 1
        });
        was_cut
    }

    /// Closes connections at rest, first of the backend with most of them, while others need their descriptors.
    pub(crate) fn make_room(&self) {
        while self.descriptors.is_crowded() {
            let backends = self.backends.borrow();
            let Some(backend) = backends.values().max_by_key(|backend| backend.resting()) else { return };
            if backend.resting() == 0 {
                return;
            }
            backend.forget_oldest();
        }
    }

    /// Calls `each` for every backend, and lets go of those that no view uses any more.
    pub(crate) fn sweep(&self, each: impl Fn(&Backend)) {
        self.backends.borrow_mut().retain(|_, backend| {
            each(backend);
            Rc::strong_count(backend) > 1
        });
    }
}

impl View {
    pub(crate) fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.source, snapshot)
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Rc<ServiceView>> {
        self.services.get(name)
    }

    /// Whether a backend is configured, usable or not.
    pub(crate) fn has_backend(&self, id: &BackendId) -> bool {
        self.source.backends.contains_key(id)
    }

    /// Where requests are logged.
    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.source.access_log.as_ref()
    }

    /// What clients are held to.
    pub(crate) fn limits(&self) -> &ClientLimits {
        &self.source.limits
    }
}
