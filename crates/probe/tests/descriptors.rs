//! A host without file descriptors. In a process of its own: the limit is one of the process.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober};
use proxima_types::Health;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const INTERVAL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

async fn verdict(events: &mut mpsc::Receiver<ProbeEvent>) -> Health {
    loop {
        if let ProbeEvent::Verdict { to, .. } = events.recv().await.unwrap() {
            return to;
        }
    }
}

#[tokio::test]
async fn verdicts_stay_while_this_host_cannot_probe_and_the_truth_is_seen_when_it_can() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = ProbeTarget {
        timeout: PATIENCE,
        ..ProbeTarget::new("app/one".parse().unwrap(), app.local_addr().unwrap(), ProbeKind::Tcp, INTERVAL)
    };
    let (_prober, mut events) = Prober::start(vec![target], 1);
    assert_eq!(timeout(PATIENCE, verdict(&mut events)).await, Ok(Health::Up));

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    // Dozens of probes, each of which would decide if it counted; even the app's death proves nothing now.
    assert!(timeout(Duration::from_millis(300), verdict(&mut events)).await.is_err());
    drop(app);
    assert!(timeout(Duration::from_millis(300), verdict(&mut events)).await.is_err());

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(timeout(PATIENCE, verdict(&mut events)).await, Ok(Health::Down));
}
