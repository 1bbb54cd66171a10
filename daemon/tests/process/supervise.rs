//! What the service manager is told, and what becomes of threads that stand still.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, waitpid},
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use proxima_api::{EventKind, GroupReason, ProbeFailure, VerdictReason};
use proxima_types::{Health, ReachState};

use crate::support::{App, Daemon, Pop, Record, Router, get};

/// A service manager: what it was told, and when.
struct Manager {
    told: Arc<Record<(Instant, String)>>,
}

impl Manager {
    /// Starts the daemon under a manager that wants a sign of life every two seconds.
    fn start(pop: &Pop) -> (Self, Daemon) {
        let path = pop.directory().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let told = Arc::<Record<(Instant, String)>>::default();
        let record = Arc::clone(&told);
        thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8(message[..length].to_vec()).unwrap();
                record.push((Instant::now(), text));
            }
        });
        let mut command = Daemon::command(&pop.write());
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
        (Self { told }, Daemon::launch(command, &pop.socket()))
    }

    /// Waits for the first message after the first `skip` that begins so; its number and text.
    fn wait(&self, skip: usize, beginning: &str) -> (usize, String) {
        self.told.wait(beginning, |told| {
            let mut later = told.iter().enumerate().skip(skip);
            later
                .find(|(_, (_, text))| text.starts_with(beginning))
                .map(|(at, (_, text))| (at + 1, text.clone()))
        })
    }

    fn pings(&self) -> Vec<Instant> {
        let told = self.told.snapshot();
        told.into_iter().filter(|(_, text)| text == "WATCHDOG=1\n").map(|(at, _)| at).collect()
    }
}

/// A thread of the daemon that stands still until this is dropped.
struct Held(Pid);

impl Held {
    fn new(thread: Pid) -> Self {
        ptrace::seize(thread, Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).ok(); // it may be gone
    }
}

/// The daemon's thread of this name.
fn thread_of(daemon: &Daemon, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let found = tasks.find(|task| fs::read_to_string(task.join("comm")).unwrap().trim_end() == name);
    Pid::from_raw(found.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap())
}

#[test]
fn a_life_as_the_service_manager_sees_it() {
    let router = Router::polite();
    let app = App::undecided("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (manager, mut daemon) = Manager::start(&pop);
    let (starting, text) = manager.wait(0, "STATUS=");
    assert!(text.contains("waiting for first verdicts"), "{text}");
    app.answer_probes();
    let (ready, text) = manager.wait(starting, "READY=1");
    assert_eq!(text, "READY=1\nSTATUS=announced: web\n");
    router.wait_complete(0);
    manager.wait(ready, "WATCHDOG=1");

    let (begun, now) = (manager.told.snapshot().len(), || clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    let before = Duration::from(now());
    daemon.signal(Signal::SIGHUP);
    let (reloading, text) = manager.wait(begun, "RELOADING=1");
    let usec = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    let told = Duration::from_micros(usec.parse().unwrap());
    assert!(before <= told && told <= Duration::from(now()), "{text}");
    let (reloaded, _) = manager.wait(reloading, "READY=1");

    fs::write(pop.directory().join("proxima.toml"), "nonsense").unwrap();
    daemon.signal(Signal::SIGHUP);
    let (reloading, _) = manager.wait(reloaded, "RELOADING=1");
    let (_, text) = manager.wait(reloading, "READY=1");
    assert!(text.contains("announced: web; configuration refused: "), "{text}");

    daemon.signal(Signal::SIGTERM);
    let (_, text) = manager.wait(reloading, "STOPPING=1");
    assert!(text.contains("STATUS=stopping"), "{text}");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let pings = manager.pings();
    assert!(pings.windows(2).all(|two| two[1] - two[0] < Duration::from_secs(2)), "{pings:?}");
}

#[test]
fn the_service_manager_is_told_whose_process_it_is_now() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (manager, mut daemon) = Manager::start(&pop);
    router.wait_complete(0);
    let before = manager.told.snapshot().len();
    let upgraded = daemon.upgrade();
    let (named, text) = manager.wait(before, "MAINPID=");
    assert_eq!(text, format!("MAINPID={}\n", upgraded.pid));
    let (ready, text) = manager.wait(named, "READY=1");
    assert_eq!(text, "READY=1\nSTATUS=announced: web\n");
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
    // Signs of life come from the new process now: the other's number is not in its environment.
    manager.wait(ready, "WATCHDOG=1");
    let told = manager.told.snapshot();
    assert!(told[before..].iter().all(|(_, text)| !text.starts_with("STOPPING")), "{told:?}");
}

#[test]
fn a_worker_that_stands_still_withdraws_and_is_left_to_the_daemon_to_judge() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (manager, daemon) = Manager::start(&pop);
    router.wait_complete(0);
    let (announced, _) = daemon.wait_transition("web", ReachState::Announced, 0);
    let held = Held::new(thread_of(&daemon, "worker-1"));
    let (withdrawn, why) = daemon.wait_transition("web", ReachState::Withdrawn, announced.seq);
    assert_eq!(why, GroupReason::Fault { fault: "1 of 2 workers stalled".to_owned() });
    router.wait_for("withdraw 203.0.113.0/24");
    daemon.wait_event("the worker", |event| {
        matches!(event.kind, EventKind::WorkerStalled { worker: 1, silent_ms } if silent_ms >= 1000)
            .then_some(())
    });
    // The manager is not to end what may yet recover: that is the daemon's to judge.
    manager.wait(manager.told.snapshot().len(), "WATCHDOG=1");

    drop(held);
    let (_, why) = daemon.wait_transition("web", ReachState::Announced, withdrawn.seq);
    assert!(matches!(why, GroupReason::ScoreAbove { .. }), "{why:?}");
}

#[test]
fn what_kept_a_process_from_serving_keeps_the_next_from_nothing() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let held = Held::new(thread_of(&daemon, "worker-1"));
    daemon.wait_transition("web", ReachState::Withdrawn, 0);
    router.wait_for("withdraw 203.0.113.0/24");
    let before = router.heard().len();
    daemon.upgrade();
    router.wait_after(before, "announce 203.0.113.0/24");
    assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    drop(held);
    daemon.wait_first_exit();
}

#[test]
fn probes_via_the_service_see_workers_that_stand_still_and_straight_ones_do_not() {
    for via in ["service", "direct"] {
        let app = App::healthy("eu-1");
        let mut pop = Pop::new().backend("eu", &app);
        pop.group = String::new();
        pop.probe = format!(
            r#"{{ http = "/healthz", via = "{via}", interval = "200ms", timeout = "200ms", fall = 10 }}"#
        );
        let daemon = pop.start();
        daemon.wait_verdict("app/eu-1", Health::Up);
        let held = ["worker-0", "worker-1"].map(|name| Held::new(thread_of(&daemon, name)));
        if via == "direct" {
            app.wait_probes(5);
            continue;
        }
        let down = daemon.wait_verdict("app/eu-1", Health::Down).kind;
        let by_timeout = |last: &ProbeFailure| matches!(last, ProbeFailure::Timeout { .. });
        assert!(
            matches!(&down, EventKind::BackendVerdict { reason: VerdictReason::Fall { last, .. }, .. } if by_timeout(last)),
            "{down}"
        );
        drop(held);
        daemon.wait_verdict("app/eu-1", Health::Up);
    }
}

#[test]
fn a_control_thread_that_stands_still_ends_the_process_and_its_routes_with_it() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (manager, mut daemon) = Manager::start(&pop);
    router.wait_complete(0);
    manager.wait(0, "WATCHDOG=1");
    let control = Pid::from_raw(daemon.pid().cast_signed());
    let held_at = Instant::now();
    let held = Held::new(control);
    router.wait_on(0, "closed");
    let took = held_at.elapsed();
    eprintln!("control thread stopped -> the router sees the session end: {took:?}");
    assert!(took > Duration::from_secs(9), "{took:?}");
    let last_ping = manager.pings().last().copied().unwrap();
    assert!(
        last_ping < held_at + Duration::from_secs(1),
        "no sign of life from a control thread that is stuck"
    );
    drop(held);
    assert!(!daemon.wait_exit().success());
    assert!(daemon.log().contains("the control thread has stood still for 10"), "{}", daemon.log());
}
