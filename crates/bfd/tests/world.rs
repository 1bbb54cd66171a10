//! Two sessions on one virtual clock, with a network between them that loses, delays and reorders.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    collections::BTreeMap,
    num::NonZeroU8,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use proxima_bfd::{
    Authentication, AuthenticationKind, Change, Command, Datagram, Discriminator, Key, Meaning, Output,
    Received, Session, Settings, Snapshot, State,
};

const MS: Duration = Duration::from_millis(1);

/// What becomes of the `n`th packet from an end: its delay, or none when it is lost.
type Fate<'a> = Box<dyn FnMut(usize, u64) -> Option<Duration> + 'a>;

struct World<'a> {
    start: Instant,
    now: Instant,
    ends: [Session; 2],
    sent: [u64; 2],
    fate: Fate<'a>,
    flying: BTreeMap<(Instant, u64), (usize, Datagram)>,
    number: u64,
    changes: [Vec<(Duration, Change)>; 2],
    last_delivered: [Instant; 2],
    /// What arrives at end 0 while nobody reads there.
    unread: Option<Vec<Datagram>>,
    /// The process that had the session of end 0 before, while it still sends.
    predecessor: Option<Session>,
}

impl<'a> World<'a> {
    fn new(settings: [Settings; 2], seed: u64, fate: Fate<'a>) -> Self {
        let now = Instant::now();
        let mut name = 0;
        let ends = settings.map(|settings| {
            name += 1;
            Session::new(now, Discriminator::new(name).unwrap(), settings, seed ^ u64::from(name))
        });
        Self {
            start: now,
            now,
            ends,
            sent: [0; 2],
            fate,
            flying: BTreeMap::new(),
            number: 0,
            changes: [Vec::new(), Vec::new()],
            last_delivered: [now; 2],
            unread: None,
            predecessor: None,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timers = self.ends.iter().chain(&self.predecessor).filter_map(Session::poll_timeout).min();
            let Some(next) = arrival.into_iter().chain(timers).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            // What arrives is read before timeouts are judged.
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                match &mut self.unread {
                    Some(unread) if to == 0 => unread.push(datagram),
                    _ => self.deliver(to, &datagram),
                }
            }
            if let Some(predecessor) = &mut self.predecessor {
                predecessor.handle_timeout(self.now);
                self.drain_predecessor();
            }
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                self.drain(end);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, to: usize, datagram: &Datagram) {
        let received = Received::decode(datagram.as_bytes()).unwrap();
        if self.ends[to].handle(self.now, &received).is_ok() {
            self.last_delivered[to] = self.now;
        }
        self.drain(to);
    }

    fn drain(&mut self, from: usize) {
        while let Some(output) = self.ends[from].poll_output() {
            match output {
                Output::StateChanged(change) => self.changes[from].push((self.now - self.start, change)),
                Output::Send(datagram) => self.send(from, datagram),
            }
        }
    }

    fn drain_predecessor(&mut self) {
        while let Some(output) = self.predecessor.as_mut().and_then(Session::poll_output) {
            match output {
                Output::StateChanged(change) => panic!("it is not its session any more: {change:?}"),
                Output::Send(datagram) => self.send(0, datagram),
            }
        }
    }

    fn send(&mut self, from: usize, datagram: Datagram) {
        self.sent[from] += 1;
        if let Some(delay) = (self.fate)(from, self.sent[from]) {
            self.number += 1;
            self.flying.insert((self.now + delay, self.number), (1 - from, datagram));
        }
    }

    /// Hands the session of end 0 over: nobody reads for `pause`, both processes send for `overlap`, and the predecessor takes
    /// it back if the other one came to nothing.
    fn hand_over(&mut self, settings: &Settings, pause: Duration, overlap: Duration, back: bool) {
        let snapshot = serde_json::to_string(&self.ends[0].hand_over(self.now)).unwrap();
        self.unread = Some(Vec::new());
        self.run(pause);
        if back {
            self.ends[0].take_back(self.now);
        } else {
            let snapshot: Snapshot = serde_json::from_str(&snapshot).unwrap();
            let session = Session::resume(self.now, &snapshot, settings.clone(), self.number);
            self.predecessor = Some(std::mem::replace(&mut self.ends[0], session));
        }
        for datagram in self.unread.take().unwrap_or_default() {
            self.deliver(0, &datagram);
        }
        self.run(overlap);
        self.predecessor = None;
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }

    fn command(&mut self, end: usize, command: Command) {
        self.ends[end].command(self.now, command);
        self.drain(end);
    }

    fn failures(&self) -> usize {
        self.changes.iter().flatten().filter(|(_, change)| change.meaning() == Meaning::Failed).count()
    }
}

const BOTH_UP: [State; 2] = [State::Up, State::Up];

fn interval() -> impl Strategy<Value = Duration> {
    (10u64..400).prop_map(Duration::from_millis)
}

fn settings() -> impl Strategy<Value = Settings> {
    (interval(), interval(), 1u8..6).prop_map(|(desired_min_tx, required_min_rx, multiplier)| Settings {
        desired_min_tx,
        required_min_rx,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    })
}

fn signed(settings: Settings, signed: bool) -> Settings {
    let auth = Authentication {
        kind: AuthenticationKind::MeticulousKeyedSha1,
        key_id: 1,
        key: Key::new(b"secret").unwrap(),
    };
    Settings { authentication: signed.then_some(auth), ..settings }
}

/// A number in `0..1000` that depends on all three.
fn dice(seed: u64, from: usize, n: u64) -> u64 {
    let mut z = seed ^ (n << 1 | from as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 1000
}

/// Loses packets by chance, yet never so many in a row that the other end may give up.
fn bounded_loss<'a>(seed: u64, delay: Duration, most: [u32; 2]) -> Fate<'a> {
    let mut row = [0; 2];
    Box::new(move |from, n| {
        let lost = row[from] < most[from] && dice(seed, from, n) < 600;
        row[from] = if lost { row[from] + 1 } else { 0 };
        (!lost).then_some(delay)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn both_ends_come_up_however_much_was_lost_delayed_and_reordered_before(
        a in settings(), b in settings(), seed: u64, loss in 0u64..900, authenticated: bool,
    ) {
        let bad = std::cell::Cell::new(true);
        let fate: Fate<'_> = Box::new(|from, n| {
            let lost = bad.get() && dice(seed, from, n) < loss;
            let delay = if bad.get() { dice(!seed, from, n) } else { 1 };
            (!lost).then(|| Duration::from_millis(delay))
        });
        let mut world = World::new([signed(a, authenticated), signed(b, authenticated)], seed, fate);
        world.run(Duration::from_secs(30));
        bad.set(false);
        // The last of the disorder arrives, sequence numbers are forgotten, three slow packets.
        world.run(Duration::from_secs(12));
        prop_assert_eq!(world.states(), BOTH_UP);
        prop_assert!(world.ends.iter().all(|end| !end.status(path()).polling));
    }

    #[test]
    fn without_loss_both_ends_are_up_within_two_seconds_and_stay(
        a in settings(), b in settings(), seed: u64, delay in 0u64..100,
    ) {
        let mut world = World::new([a, b], seed, Box::new(|_, _| Some(Duration::from_millis(delay))));
        world.run(Duration::from_secs(2));
        prop_assert_eq!(world.states(), BOTH_UP);
        world.run(Duration::from_secs(30));
        prop_assert_eq!(world.states(), BOTH_UP);
        prop_assert_eq!(world.failures(), 0);
    }

    #[test]
    fn a_dead_path_is_detected_after_exactly_the_detection_time(
        a in settings(), b in settings(), seed: u64, delay in 0u64..20, alive_ms in 3000u64..6000,
    ) {
        let cut = std::cell::Cell::new(false);
        let fate: Fate<'_> = Box::new(|from, _| (!(cut.get() && from == 1)).then(|| Duration::from_millis(delay)));
        let mut world = World::new([a, b], seed, fate);
        world.run(Duration::from_millis(alive_ms));
        prop_assert_eq!(world.states(), BOTH_UP);
        cut.set(true);
        // What is on its way still arrives.
        world.run(Duration::from_millis(delay));
        let detection = world.ends[0].detection_time().unwrap();
        let expected = world.last_delivered[0] + detection - world.start;
        world.run(detection);
        let (at, change) = world.changes[0].iter().rev().find(|(_, change)| change.from == State::Up).unwrap();
        prop_assert_eq!((*at, change.meaning()), (expected, Meaning::Failed));
        // The other end is told by the first packet.
        world.run(Duration::from_millis(delay));
        prop_assert_eq!(world.ends[1].state(), State::Down);
    }

    #[test]
    fn losing_one_packet_less_than_the_multiplier_in_a_row_never_takes_a_session_down(
        a in settings(), b in settings(), seed: u64, delay in 0u64..50, authenticated: bool,
        changes in proptest::collection::vec((0usize..2, interval(), interval()), 0..6),
    ) {
        let most = [&a, &b].map(|settings| u32::from(settings.multiplier.get()) - 1);
        let settings = [signed(a, authenticated), signed(b, authenticated)];
        let mut world = World::new(settings.clone(), seed, bounded_loss(seed, Duration::from_millis(delay), most));
        world.run(Duration::from_secs(30));
        prop_assert_eq!(world.states(), BOTH_UP);
        // Other intervals are negotiated without a flap, too.
        for (end, desired_min_tx, required_min_rx) in changes {
            let settings = Settings { desired_min_tx, required_min_rx, ..settings[end].clone() };
            world.command(end, Command::Reconfigure(settings));
            world.run(Duration::from_millis(dice(seed, end, 0) * 5));
        }
        world.run(Duration::from_secs(20));
        prop_assert_eq!(world.states(), BOTH_UP);
        prop_assert_eq!(world.failures(), 0, "{:?}", world.changes);
    }

    #[test]
    fn a_session_that_is_handed_over_again_and_again_fails_on_neither_end(
        a in settings(), b in settings(), seed: u64, delay in 0u64..50,
        times in proptest::collection::vec((0u64..5000, 0u64..500, any::<bool>(), 10u64..4000), 1..12),
    ) {
        let fate: Fate<'_> = Box::new(|_, _| Some(Duration::from_millis(delay)));
        let mut world = World::new([a.clone(), b], seed, fate);
        world.run(Duration::from_secs(5));
        prop_assert_eq!(world.states(), BOTH_UP);
        for (pause, overlap, back, after) in times {
            let [pause, overlap, after] = [pause, overlap, after].map(Duration::from_millis);
            world.hand_over(&a, pause, overlap, back);
            world.run(after);
            prop_assert_eq!(world.states(), BOTH_UP);
        }
        prop_assert_eq!(world.failures(), 0, "{:?}", world.changes);
    }

    #[test]
    fn a_signed_session_is_handed_over_in_less_than_a_detection_time_whatever_is_lost_before(
        a in settings(), b in settings(), seed: u64, delay in 0u64..50,
        times in proptest::collection::vec((0u32..75, any::<bool>()), 1..12),
    ) {
        // Those lost in a row and those in reserve together must not be three multipliers.
        let [a, b] = [signed(a, true), signed(b, true)];
        let lossy = std::cell::Cell::new(true);
        let most = [&a, &b].map(|settings| u32::from(settings.multiplier.get()) - 1);
        let mut loss = bounded_loss(seed, Duration::from_millis(delay), most);
        let fate: Fate<'_> = Box::new(|from, n| {
            loss(from, n).or_else(|| (!lossy.get()).then(|| Duration::from_millis(delay)))
        });
        let mut world = World::new([a.clone(), b], seed, fate);
        world.run(Duration::from_secs(20));
        for (percent, back) in times {
            prop_assert_eq!(world.states(), BOTH_UP);
            // Nothing is lost from the last packet before on.
            lossy.set(false);
            world.run(Duration::from_millis(400));
            let pause = world.ends[1].detection_time().unwrap() * percent / 100;
            world.hand_over(&a, pause, Duration::ZERO, back);
            world.run(Duration::from_millis(400));
            lossy.set(true);
            world.run(Duration::from_secs(2));
        }
        prop_assert_eq!(world.failures(), 0, "{:?}", world.changes);
    }

    #[test]
    fn admin_down_ends_a_session_without_a_failure_on_either_end(
        a in settings(), b in settings(), seed: u64, delay in 0u64..20,
    ) {
        let mut world = World::new([a, b], seed, Box::new(|_, _| Some(Duration::from_millis(delay))));
        world.run(Duration::from_secs(5));
        world.command(0, Command::AdminDown);
        world.run(Duration::from_secs(20));
        prop_assert_eq!(world.states(), [State::AdminDown, State::Down]);
        prop_assert_eq!(world.failures(), 0);
        world.command(0, Command::AdminUp);
        world.run(Duration::from_secs(3));
        prop_assert_eq!(world.states(), BOTH_UP);
    }
}

#[test]
fn intervals_in_force_are_the_same_on_both_ends() {
    let settings = |tx: u32, rx: u32, multiplier| Settings {
        desired_min_tx: tx * MS,
        required_min_rx: rx * MS,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    };
    let mut world = World::new([settings(10, 40, 3), settings(20, 30, 5)], 1, Box::new(|_, _| Some(MS)));
    world.run(Duration::from_secs(5));
    let [a, b] = &world.ends;
    assert_eq!((a.transmit_interval(), b.detection_time()), (Some(30 * MS), Some(90 * MS)));
    assert_eq!((b.transmit_interval(), a.detection_time()), (Some(40 * MS), Some(200 * MS)));
}

fn path() -> proxima_bfd::Path {
    proxima_bfd::Path {
        remote: "192.0.2.1".parse().unwrap(),
        local: None,
        interface: None,
        hops: proxima_bfd::Hops::Single,
    }
}

#[test]
fn ends_that_poll_while_their_states_change_do_not_keep_each_other_from_settling() {
    let settings = |tx: u32, rx: u32, multiplier| Settings {
        desired_min_tx: tx * MS,
        required_min_rx: rx * MS,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    };
    let (seed, loss) = (15_743_300_830_010_763_796, 8);
    let bad = std::cell::Cell::new(true);
    let fate: Fate<'_> = Box::new(|from, n| {
        let lost = bad.get() && dice(seed, from, n) < loss;
        let delay = if bad.get() { dice(!seed, from, n) } else { 1 };
        (!lost).then(|| Duration::from_millis(delay))
    });
    let mut world = World::new([settings(10, 10, 3), settings(396, 342, 2)], seed, fate);
    world.run(Duration::from_secs(30));
    bad.set(false);
    world.run(Duration::from_secs(12));
    let changes = world.changes.each_ref().map(Vec::len);
    world.run(Duration::from_secs(10));
    assert_eq!(world.states(), BOTH_UP);
    assert_eq!(world.changes.each_ref().map(Vec::len), changes);
}
