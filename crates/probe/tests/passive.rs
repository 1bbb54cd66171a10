//! Real traffic's word reaches the verdict.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, num::NonZeroU16, time::Duration};

use proxima_health::{Passive, PassiveRule, Reason};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober};
use proxima_types::{BackendId, Health};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// Probed so seldom that no second probe comes.
fn target(address: SocketAddr) -> ProbeTarget {
    ProbeTarget {
        fall: NonZeroU16::new(3).unwrap(),
        ..ProbeTarget::new(id(), address, ProbeKind::Tcp, Duration::from_hours(1))
    }
}

fn id() -> BackendId {
    "app/one".parse().unwrap()
}

async fn verdict(events: &mut mpsc::Receiver<ProbeEvent>) -> (Health, Reason) {
    let next = async {
        loop {
            if let ProbeEvent::Verdict { to, reason, .. } = events.recv().await.expect("the prober runs") {
                return (to, reason);
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a verdict comes")
}

#[tokio::test]
async fn a_refusal_in_real_traffic_is_confirmed_at_once_however_far_the_next_probe_is() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (prober, mut events) = Prober::start(vec![target(app.local_addr().unwrap())], 1);
    let traffic = prober.passive();
    let _standing = app.accept().await.unwrap();
    assert_eq!(verdict(&mut events).await.0, Health::Up);

    // The connection that stands goes on: nothing else tells.
    drop(app);
    traffic.report(&id(), Passive::CONNECT_ERROR, PassiveRule::default());
    let (to, reason) = verdict(&mut events).await;
    assert_eq!(to, Health::Down);
    assert!(matches!(&reason, Reason::Traffic { seen: Passive::CONNECT_ERROR, .. }), "{reason}");
}

#[tokio::test]
async fn a_run_of_bad_answers_brings_the_next_probe_on() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (prober, mut events) = Prober::start(vec![target(app.local_addr().unwrap())], 1);
    let traffic = prober.passive();
    let _first = app.accept().await.unwrap();
    assert_eq!(verdict(&mut events).await.0, Health::Up);

    let errors = Passive { server_errors: 5, ..Passive::default() };
    for _ in 0..2 {
        traffic.report(&id(), errors, PassiveRule::default());
    }
    timeout(PATIENCE, app.accept()).await.expect("a probe comes").unwrap();
    drop(prober);
    while let Some(event) = timeout(PATIENCE, events.recv()).await.expect("the prober has ended") {
        assert!(!matches!(event, ProbeEvent::Verdict { .. }), "{event:?}");
    }
}
