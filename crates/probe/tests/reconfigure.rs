//! Targets that come, go and change while the prober runs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it fails by panic and measures by the clock"
)]

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxima_health::{LatestProbes, Passive, PassiveRule};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};
use proxima_types::{BackendId, Health};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};

const PATIENCE: Duration = Duration::from_secs(20);

fn target(name: &str, address: SocketAddr) -> ProbeTarget {
    let backend = format!("app/{name}").parse().unwrap();
    ProbeTarget {
        rise: NonZeroU16::MIN,
        fall: NonZeroU16::MIN,
        ..ProbeTarget::new(backend, address, ProbeKind::Tcp, Duration::from_millis(20))
    }
}

/// An app that takes connections, and tells of each and of its end.
struct App {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Self { address, taken: Arc::default(), open: Arc::default() };
        let (taken, open) = (app.taken.clone(), app.open.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let open = open.clone();
                tokio::spawn(async move {
                    // Whatever comes, it is not answered.
                    stream.read_exact(&mut [0]).await.ok();
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        app
    }

    /// Waits until so many more connections have been taken.
    async fn probed(&self, more: usize) {
        let before = self.taken.load(Ordering::SeqCst);
        until(|| self.taken.load(Ordering::SeqCst) >= before + more).await;
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let reached = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

async fn verdict(events: &mut mpsc::Receiver<ProbeEvent>) -> (BackendId, Health, Health) {
    let next = async {
        loop {
            if let ProbeEvent::Verdict { backend, from, to, .. } = events.recv().await.unwrap() {
                return (backend, from, to);
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a verdict comes")
}

fn verdicts(events: &mut mpsc::Receiver<ProbeEvent>) -> usize {
    let told = std::iter::from_fn(|| events.try_recv().ok());
    told.filter(|event| matches!(event, ProbeEvent::Verdict { .. })).count()
}

#[tokio::test]
async fn what_stays_the_same_is_not_touched_and_what_goes_is_left_alone() {
    let (stays, goes, comes) = (App::start().await, App::start().await, App::start().await);
    let slow = |app: &App| ProbeTarget { interval: Duration::from_mins(1), ..target("stays", app.address) };
    let targets = vec![slow(&stays), target("goes", goes.address)];
    let (mut prober, mut events) = Prober::start(targets, 1);
    for _ in 0..2 {
        assert_eq!(verdict(&mut events).await.2, Health::Up);
    }
    let (checks, passive) = (prober.checks(), prober.passive());
    let known = |name: &str| checks.ended(&format!("app/{name}").parse().unwrap()).is_some();
    until(|| known("goes")).await;
    until(|| stays.open.load(Ordering::SeqCst) == 1).await;

    prober.reconfigure(vec![slow(&stays), target("comes", comes.address)], |_| Health::Unknown.into());
    let (backend, from, to) = verdict(&mut events).await;
    assert_eq!((backend.to_string().as_str(), from, to), ("app/comes", Health::Unknown, Health::Up));
    comes.probed(3).await;
    until(|| goes.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(
        (stays.taken.load(Ordering::SeqCst), stays.open.load(Ordering::SeqCst)),
        (1, 1),
        "the same one"
    );
    let before = goes.taken.load(Ordering::SeqCst);
    comes.probed(3).await;
    assert_eq!(goes.taken.load(Ordering::SeqCst), before);
    assert!(known("stays") && known("comes") && !known("goes"));
    passive.report(&"app/goes".parse().unwrap(), Passive::RESET, PassiveRule::default());
    assert_eq!(verdicts(&mut events), 0);
}

#[tokio::test]
async fn one_that_is_probed_otherwise_keeps_its_verdict_until_that_decides() {
    let app = App::start().await;
    let usual = target("one", app.address);
    let (mut prober, mut events) = Prober::start(vec![usual.clone()], 1);
    assert_eq!(verdict(&mut events).await.2, Health::Up);
    let often = ProbeTarget { interval: Duration::from_millis(10), ..usual.clone() };
    prober.reconfigure(vec![often], |_| Health::Down.into());
    app.probed(5).await;
    assert_eq!(verdicts(&mut events), 0, "it was up, and is");
    // Nobody answers requests there: the first probe decides.
    let kind = ProbeKind::Http(Http {
        path: "/healthz".to_owned(),
        host: None,
        version: HttpVersion::Http1,
        tls: None,
        expect: Expect { status: Statuses::ok(), body: None, header: None },
    });
    prober.reconfigure(vec![ProbeTarget { kind, ..usual }], |_| Health::Unknown.into());
    let (_, from, to) = verdict(&mut events).await;
    assert_eq!((from, to), (Health::Up, Health::Down));
}

#[tokio::test]
async fn one_at_another_address_begins_with_what_is_known_of_it() {
    let (app, other) = (App::start().await, App::start().await);
    let (mut prober, mut events) = Prober::start(vec![target("one", app.address)], 1);
    assert_eq!(verdict(&mut events).await.2, Health::Up);
    prober.reconfigure(vec![target("one", other.address)], |_| Health::Unknown.into());
    let (_, from, to) = verdict(&mut events).await;
    assert_eq!((from, to), (Health::Unknown, Health::Up), "nothing was");
    until(|| app.open.load(Ordering::SeqCst) == 0).await;
    prober.reconfigure(vec![target("one", app.address)], |_| Health::Up.into());
    app.probed(3).await;
    assert_eq!(verdicts(&mut events), 0, "it is as was known");
    prober.stop().await;
    until(|| app.open.load(Ordering::SeqCst) + other.open.load(Ordering::SeqCst) == 0).await;
}
