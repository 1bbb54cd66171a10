//! Programs: the shell of this host is one, started as any other.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use proxima_health::Failure;
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::Exec;
use proxima_types::Health;
use tokio::time::timeout;

use crate::support::{PATIENCE, Probing, fails, server::address, target};

fn script(text: &str) -> ProbeKind {
    ProbeKind::Exec(Exec { command: ["/bin/sh", "-c", text].map(str::to_owned).to_vec() })
}

#[tokio::test]
async fn a_program_that_ends_well_is_a_success_and_knows_the_backend() {
    let address = address();
    let (host, port) = (address.ip(), address.port());
    let kind = script(&format!(
        "test \"$PROXIMA_BACKEND:$PROXIMA_ADDRESS:$PROXIMA_PORT\" = app/one:{host}:{port} && test \"$PWD\" = /"
    ));
    Probing::often(address, kind).up().await;
}

#[tokio::test]
async fn how_a_program_fails_is_told_with_the_last_it_said() {
    for (text, expected) in [
        ("echo queue: 10; echo 'queue too long' >&2; exit 3", "exit status 3: queue too long"),
        ("exit 1", "exit status 1"),
        ("kill -9 $$", "killed by SIGKILL"),
        // Nothing of the daemon's own environment gets through.
        ("test -z \"$HOME$CARGO_MANIFEST_DIR\" && exit 4", "exit status 4"),
    ] {
        assert_eq!(fails(address(), script(text)).await, expected, "{text}");
    }
}

#[tokio::test]
async fn there_is_no_shell_unless_it_is_the_program() {
    let command = ["/bin/echo", "$PROXIMA_PORT", ";", "exit 1"].map(str::to_owned).to_vec();
    Probing::often(address(), ProbeKind::Exec(Exec { command })).up().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_says_nothing_of_the_backend() {
    let kind = ProbeKind::Exec(Exec { command: vec!["/nonexistent/check".to_owned()] });
    assert!(Probing::often(address(), kind).is_silent_for(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn a_program_that_takes_too_long_or_talks_without_end_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let hangs = format!("sleep 1000 & echo $! >>{0}; echo $$ >>{0}; wait", pids.display());
    let chatters = format!("echo $$ >>{}; while :; do echo waiting; done", pids.display());
    for text in [hangs, chatters] {
        let failure = soft_failure(address(), script(&text)).await;
        assert!(matches!(failure, Failure::Timeout { .. }), "{failure}");
    }
    let started: Vec<u32> =
        fs::read_to_string(&pids).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(started.len() >= 3, "{started:?}");
    // Killed at once, reaped a little later.
    for pid in started {
        while is_running(pid) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn programs_that_take_long_delay_none_that_ends_soon() {
    let long = Duration::from_hours(1);
    let slow = |n: u32| {
        let backend = format!("slow/{n}").parse().unwrap();
        ProbeTarget::new(backend, address(), script("sleep 3600"), long)
    };
    let mut targets: Vec<_> = (0..40).map(slow).collect();
    let quick = target(address(), script("exit 0"), Duration::from_millis(50));
    targets.push(ProbeTarget { rise: 20.try_into().unwrap(), timeout: PATIENCE, ..quick });
    let (_prober, mut events) = Prober::start(targets, 1);
    let up = async {
        while let Some(event) = events.recv().await {
            if matches!(event, ProbeEvent::Verdict { to: Health::Up, .. }) {
                return event.backend().to_string();
            }
        }
        panic!("the prober has ended");
    };
    assert_eq!(timeout(PATIENCE, up).await.expect("twenty turns"), "app/one");
}

/// The failure of a probe that has a second.
async fn soft_failure(address: SocketAddr, kind: ProbeKind) -> Failure {
    Probing::of(target(address, kind, Duration::from_secs(1))).failure().await
}

/// Whether there is such a process, and it is not a zombie.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.is_ok_and(|stat| !stat.contains(") Z "))
}
