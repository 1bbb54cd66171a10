//! A host that speaks BFD, and waiting for what it tells.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use proxima_bfd_io::{
    Bfd, BfdEvent, BfdHandle, BfdOptions, BfdStatus, HandedOver, Meaning, PreparedBfd, Priority,
    SessionConfig, Settings, State,
};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

pub(crate) const MS: Duration = Duration::from_millis(1);
/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The multiplier that others give up by, long enough for a machine whose cores are taken away now and then.
pub(crate) const PATIENT: u8 = 20;
/// How much later than due something may be noticed, for the same reason.
pub(crate) const SLACK: Duration = Duration::from_millis(400);
/// The same where a router has to be asked by a program, again and again, on a machine that may be busy.
pub(crate) const ASKING: Duration = Duration::from_secs(10);

pub(crate) fn settings(interval: Duration, multiplier: u8) -> Settings {
    Settings {
        desired_min_tx: interval,
        required_min_rx: interval,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    }
}

pub(crate) fn session(name: &str, local: IpAddr, remote: IpAddr) -> SessionConfig {
    SessionConfig {
        name: name.to_owned(),
        local: Some(local),
        remote,
        interface: None,
        multihop: None,
        settings: settings(50 * MS, PATIENT),
    }
}

/// A running driver.
pub(crate) struct Host {
    pub(crate) handle: BfdHandle,
    pub(crate) options: BfdOptions,
    events: Receiver<BfdEvent>,
}

impl Host {
    pub(crate) fn start(options: BfdOptions) -> Self {
        let (handle, events) = Bfd::start(options).unwrap();
        Self { handle, options, events }
    }

    /// One that goes on with what this one hands over, through what carries it to another process.
    pub(crate) fn successor(&self, handed: HandedOver) -> Self {
        self.prepared_successor(Bfd::prepare(self.options).unwrap(), handed)
    }

    /// Whose thread runs already.
    pub(crate) fn prepared_successor(&self, prepared: PreparedBfd, handed: HandedOver) -> Self {
        let text = serde_json::to_string(&handed.sessions).unwrap();
        let handed = HandedOver { sessions: serde_json::from_str(&text).unwrap(), ..handed };
        let (handle, events) = prepared.start_with(handed).unwrap();
        Self { handle, options: self.options, events }
    }

    /// On one loopback address, so that many can run beside each other.
    pub(crate) fn at(address: Ipv4Addr) -> Self {
        Self::start(BfdOptions { ipv4: Some(address), ipv6: None, ..BfdOptions::default() })
    }

    pub(crate) fn try_event(&mut self) -> Option<BfdEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the thread has ended"),
        }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> BfdEvent {
        let mut found = None;
        until("an event", || {
            found = self.try_event();
            found.is_some()
        });
        found.unwrap()
    }

    /// The next event with that meaning.
    pub(crate) fn meaning(&mut self, meaning: Meaning) -> BfdEvent {
        loop {
            let event = self.event();
            if event.meaning() == meaning {
                return event;
            }
        }
    }

    pub(crate) fn status(&self, name: &str) -> BfdStatus {
        self.handle.sessions().unwrap().into_iter().find(|status| &*status.name == name).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.status(name).session.state
    }

    /// Waits for some packets of every session, both ways.
    pub(crate) fn flows(&self) {
        let before = self.handle.sessions().unwrap();
        until("packets of every session", || {
            let now = self.handle.sessions().unwrap();
            before.iter().zip(&now).all(|(before, now)| {
                let [before, now] = [before, now].map(|status| status.session.counters);
                now.received > before.received + 2 && now.sent > before.sent + 2
            })
        });
    }

    /// Waits until the session is up and its poll sequence is over.
    pub(crate) fn settled(&mut self, name: &str) {
        until("the session to settle", || {
            let status = self.status(name).session;
            status.state == State::Up && status.remote_state == State::Up && !status.polling
        });
        while self.try_event().is_some() {}
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited for {what}");
        pause(MS);
    }
}

/// Between two looks at something that tells nothing by itself.
#[allow(clippy::disallowed_methods, reason = "polling; not a wait in place of an event")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A wait of a watch for longer than this makes a round worthless.
pub(crate) const STALL: Duration = Duration::from_millis(5);
/// How many rounds may be worthless.
const ROUNDS: u8 = 10;

/// Runs rounds of what needs a thread to be awake every few milliseconds, until one shows it. Each tells how often it did not
/// hold.
///
/// A machine that takes a core away altogether, as a hypervisor may, or a kernel that cannot be interrupted for long, defeats
/// every real-time thread. So a watch of higher priority runs on each core: a round in which it was kept waiting itself
/// shows nothing, and another one is run.
pub(crate) fn in_real_time(mut round: impl FnMut(u8) -> usize) {
    for number in 0..ROUNDS {
        let (failures, stall) = watched(|| round(number));
        if failures == 0 {
            return;
        }
        assert!(stall > STALL, "{failures} failures although every core was to be had within {stall:?}");
    }
    panic!(
        "not shown in {ROUNDS} rounds: this machine stalls real-time threads for more than {STALL:?} all the time; run it \
         where cores are not taken away"
    );
}

/// Nothing holds otherwise.
pub(crate) fn assert_real_time(host: &Host) {
    let priority = host.handle.host().unwrap().priority;
    assert!(
        matches!(priority, Priority::RealTime(_)),
        "real-time priority is not allowed here, and nothing holds without: run the tests as root or with CAP_SYS_NICE, or \
         allow it by `ulimit -r 60`, in a container by `--cap-add SYS_NICE` or `--ulimit rtprio=60`; the thread is {priority}"
    );
}

/// The cores this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap()).collect()
}

/// What `f` returns, and how long a thread of high priority was kept waiting meanwhile, at the most.
fn watched<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let watching = &AtomicBool::new(true);
    thread::scope(|scope| {
        let watches: Vec<_> =
            cores().into_iter().map(|core| scope.spawn(move || watch(core, watching))).collect();
        let end = EndOfWatch(watching);
        let result = f();
        drop(end);
        (result, watches.into_iter().map(|watch| watch.join().unwrap()).max().unwrap())
    })
}

/// Ends a watch when dropped, in a panic as well: whoever has spawned it waits for it.
struct EndOfWatch<'a>(&'a AtomicBool);

impl Drop for EndOfWatch<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How much longer than a millisecond a thread of high priority sleeps on `core`, at the most.
fn watch(core: usize, watching: &AtomicBool) -> Duration {
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    proxima_sys::set_fifo(60).unwrap();
    let mut worst = Duration::ZERO;
    while watching.load(Ordering::Relaxed) {
        let before = Instant::now();
        pause(MS);
        worst = worst.max(before.elapsed().saturating_sub(MS));
    }
    worst
}
