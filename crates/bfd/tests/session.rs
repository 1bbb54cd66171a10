//! One session against a scripted neighbour, on a clock that stands until it is moved.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    num::NonZeroU8,
    time::{Duration, Instant},
};

use proxima_bfd::{
    Authentication, AuthenticationKind, Cause, Change, Command, Datagram, Diagnostic, Discard, Discriminator,
    Interval, Key, Meaning, Output, Packet, Received, Session, Settings, State,
};

const MS: Duration = Duration::from_millis(1);
const FAST: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);
const OURS: u32 = 0xaaaa_0001;
const THEIRS: u32 = 0xbbbb_0002;

fn settings(tx: Duration, rx: Duration, multiplier: u8) -> Settings {
    Settings {
        desired_min_tx: tx,
        required_min_rx: rx,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    }
}

fn fast() -> Settings {
    settings(FAST, FAST, 3)
}

/// A packet of the neighbour, which knows us.
fn packet(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        finished: false,
        control_plane_independent: false,
        demand: false,
        multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: Discriminator::new(THEIRS).unwrap(),
        your_discriminator: Discriminator::new(OURS),
        desired_min_tx: Interval::from_duration(if state == State::Up { FAST } else { SECOND }),
        required_min_rx: Interval::from_duration(FAST),
        required_min_echo_rx: Interval(0),
    }
}

struct Bench {
    start: Instant,
    now: Instant,
    session: Session,
    sent: Vec<(Duration, Packet)>,
    changes: Vec<Change>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let session = Session::new(now, Discriminator::new(OURS).unwrap(), settings, 7);
        let mut bench = Self { start: now, now, session, sent: Vec::new(), changes: Vec::new() };
        bench.run(Duration::ZERO);
        bench
    }

    fn up(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.receive(packet(State::Down));
        bench.receive(packet(State::Init));
        bench.receive(packet(State::Up));
        assert_eq!(bench.session.state(), State::Up);
        bench.clear();
        bench
    }

    /// In any state, with the neighbour heard.
    fn in_state(state: State) -> Self {
        let mut bench = match state {
            State::Down | State::AdminDown => Self::new(fast()),
            State::Init => {
                let mut bench = Self::new(fast());
                bench.receive(packet(State::Down));
                bench
            }
            State::Up => Self::up(fast()),
        };
        if state == State::AdminDown {
            bench.command(Command::AdminDown);
        }
        assert_eq!(bench.session.state(), state);
        bench.clear();
        bench
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.changes.clear();
    }

    fn receive(&mut self, packet: Packet) {
        self.try_receive(packet).unwrap();
    }

    fn try_receive(&mut self, packet: Packet) -> Result<(), Discard> {
        let datagram = Datagram::encode(&packet);
        let result = self.session.handle(self.now, &Received::decode(datagram.as_bytes()).unwrap());
        self.drain();
        result
    }

    fn command(&mut self, command: Command) {
        self.session.command(self.now, command);
        self.drain();
    }

    /// Moves the clock, and does on the way what is due.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// As `run`, while the neighbour says it is up.
    fn run_alive(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.run(FAST.min(end.duration_since(self.now)));
            self.receive(packet(State::Up));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(datagram) => {
                    let packet = Received::decode(datagram.as_bytes()).unwrap().packet;
                    // What holds for every packet we ever send.
                    assert!(!packet.control_plane_independent && !packet.demand);
                    assert!(!(packet.poll && packet.finished), "RFC 5880 §6.5");
                    assert_eq!(packet.required_min_echo_rx, Interval(0));
                    assert!(
                        packet.state == State::Up || packet.desired_min_tx.duration() >= SECOND,
                        "RFC 5880 §6.8.3"
                    );
                    self.sent.push((self.now - self.start, packet));
                }
                Output::StateChanged(change) => self.changes.push(change),
            }
        }
    }

    fn gaps(&self) -> Vec<Duration> {
        self.sent.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect()
    }

    fn last(&self) -> Packet {
        self.sent.last().unwrap().1
    }
}

#[test]
fn a_session_comes_up_by_the_three_way_handshake_and_tells_each_step_at_once() {
    let mut bench = Bench::new(fast());
    assert_eq!(bench.sent.len(), 1, "it begins to send at once");
    assert_eq!((bench.last().state, bench.last().your_discriminator), (State::Down, None));
    bench.receive(Packet { your_discriminator: None, ..packet(State::Down) });
    assert_eq!(
        (bench.last().state, bench.last().your_discriminator),
        (State::Init, Discriminator::new(THEIRS))
    );
    bench.receive(packet(State::Init));
    assert_eq!((bench.last().state, bench.last().diagnostic), (State::Up, Diagnostic::None));
    let states: Vec<_> =
        bench.changes.iter().map(|change| (change.from, change.to, change.meaning())).collect();
    assert_eq!(states, [(State::Down, State::Init, Meaning::Nothing), (State::Init, State::Up, Meaning::Up)]);
}

#[test]
fn every_state_does_with_every_received_state_what_rfc_5880_says() {
    use State::{AdminDown, Down, Init, Up};
    // State, received, state after, diagnostic told after.
    let keep = None;
    let signaled = Some(Diagnostic::NeighborSignaledSessionDown);
    let table = [
        (AdminDown, AdminDown, AdminDown, keep),
        (AdminDown, Down, AdminDown, keep),
        (AdminDown, Init, AdminDown, keep),
        (AdminDown, Up, AdminDown, keep),
        (Down, AdminDown, Down, keep),
        (Down, Down, Init, keep),
        (Down, Init, Up, keep),
        (Down, Up, Down, keep),
        (Init, AdminDown, Down, signaled),
        (Init, Down, Init, keep),
        (Init, Init, Up, keep),
        (Init, Up, Up, keep),
        (Up, AdminDown, Down, signaled),
        (Up, Down, Down, signaled),
        (Up, Init, Up, keep),
        (Up, Up, Up, keep),
    ];
    for (state, received, after, diagnostic) in table {
        let mut bench = Bench::in_state(state);
        let result = bench.try_receive(packet(received));
        let discarded = (state == AdminDown).then_some(Discard::AdminDown);
        assert_eq!(result.err(), discarded, "{state} receives {received}");
        assert_eq!(bench.session.state(), after, "{state} receives {received}");
        assert_eq!(bench.changes.len(), usize::from(state != after));
        assert_eq!(
            bench.sent.len(),
            usize::from(state != after),
            "a change is told at once, nothing else is"
        );
        if let Some(diagnostic) = diagnostic {
            assert_eq!(bench.last().diagnostic, diagnostic);
        }
    }
}

#[test]
fn while_not_up_it_sends_every_0_75_to_1_s_however_fast_it_is_configured() {
    let mut bench = Bench::new(settings(10 * MS, 10 * MS, 3));
    bench.run(20 * SECOND);
    assert!((20..=27).contains(&bench.sent.len()), "{}", bench.sent.len());
    assert!(bench.gaps().iter().all(|gap| (750 * MS..=SECOND).contains(gap)));
}

#[test]
fn while_up_it_sends_at_the_greater_of_its_interval_and_what_the_neighbour_takes() {
    for (ours, theirs, interval) in [(50, 50, 50), (50, 80, 80), (50, 10, 50)] {
        let mut bench = Bench::up(settings(ours * MS, FAST, 3));
        let theirs = Packet { required_min_rx: Interval::from_duration(theirs * MS), ..packet(State::Up) };
        bench.receive(theirs);
        bench.clear();
        for _ in 0..100 {
            bench.run(FAST);
            bench.receive(theirs);
        }
        let interval = interval * MS;
        assert!(bench.gaps().iter().all(|gap| (interval * 3 / 4..=interval).contains(gap)), "{interval:?}");
        assert_eq!(bench.session.transmit_interval(), Some(interval));
    }
}

#[test]
fn going_up_it_polls_for_its_fast_interval_until_the_final_comes() {
    let mut bench = Bench::new(fast());
    bench.receive(packet(State::Down));
    assert!(!bench.last().poll);
    bench.receive(packet(State::Init));
    bench.receive(packet(State::Up));
    bench.clear();
    bench.run(FAST);
    assert!(!bench.sent.is_empty() && bench.sent.iter().all(|(_, packet)| packet.poll));
    assert_eq!(bench.last().desired_min_tx.duration(), FAST);
    bench.receive(Packet { finished: true, ..packet(State::Up) });
    bench.clear();
    bench.run(FAST);
    assert!(!bench.sent.is_empty() && bench.sent.iter().all(|(_, packet)| !packet.poll));
}

/// Up, with the poll sequence of going up behind it.
fn settled(settings: Settings) -> Bench {
    let mut bench = Bench::up(settings);
    bench.run(FAST);
    bench.receive(Packet { finished: true, ..packet(State::Up) });
    bench.clear();
    bench
}

#[test]
fn a_slower_interval_is_told_at_once_and_kept_only_after_the_final() {
    let mut bench = settled(fast());
    bench.command(Command::Reconfigure(settings(200 * MS, FAST, 3)));
    assert_eq!((bench.last().poll, bench.last().desired_min_tx.duration()), (true, 200 * MS));
    bench.run_alive(500 * MS);
    assert!(bench.gaps().iter().all(|gap| *gap <= FAST), "{:?}", bench.gaps());
    bench.receive(Packet { finished: true, ..packet(State::Up) });
    bench.run_alive(200 * MS);
    bench.clear();
    bench.run_alive(2 * SECOND);
    assert!(bench.gaps().iter().all(|gap| (150 * MS..=200 * MS).contains(gap)), "{:?}", bench.gaps());
    assert!(bench.changes.is_empty(), "no flap");
}

#[test]
fn a_shorter_detection_time_holds_only_after_the_final() {
    let mut bench = settled(settings(FAST, 200 * MS, 3));
    let heard = bench.session.detection_time();
    assert_eq!(heard, Some(600 * MS));
    bench.command(Command::Reconfigure(fast()));
    assert_eq!(bench.session.detection_time(), heard);
    bench.run(FAST);
    bench.receive(Packet { finished: true, ..packet(State::Up) });
    assert_eq!(bench.session.detection_time(), Some(3 * FAST));
    assert!(bench.changes.is_empty(), "no flap");
}

#[test]
fn a_longer_detection_time_holds_at_once() {
    let mut bench = settled(fast());
    bench.run(149 * MS);
    bench.command(Command::Reconfigure(settings(FAST, 200 * MS, 3)));
    bench.run(3 * FAST);
    assert_eq!(bench.session.state(), State::Up);
    assert_eq!(bench.session.detection_time(), Some(600 * MS));
}

#[test]
fn another_multiplier_is_told_at_once_without_a_poll() {
    let mut bench = settled(fast());
    bench.command(Command::Reconfigure(settings(FAST, FAST, 7)));
    assert_eq!((bench.sent.len(), bench.last().multiplier.get(), bench.last().poll), (1, 7, false));
}

#[test]
fn the_same_settings_again_send_nothing() {
    let mut bench = settled(fast());
    bench.command(Command::Reconfigure(fast()));
    assert!(bench.sent.is_empty());
}

#[test]
fn a_poll_is_answered_at_once_with_the_final_bit_in_every_state_but_admin_down() {
    for state in [State::Down, State::Init, State::Up] {
        let mut bench = Bench::in_state(state);
        bench.receive(Packet { poll: true, ..packet(state) });
        let finals = bench.sent.iter().filter(|(_, packet)| packet.finished && !packet.poll).count();
        assert_eq!(finals, 1, "{state}");
    }
    let mut bench = Bench::in_state(State::AdminDown);
    assert_eq!(bench.try_receive(Packet { poll: true, ..packet(State::Up) }), Err(Discard::AdminDown));
    assert!(bench.sent.is_empty());
}

#[test]
fn the_detection_time_is_the_neighbours_multiplier_times_the_slower_of_both_intervals() {
    // Our required receive interval, the neighbour's desired transmit interval and multiplier.
    for (rx, tx, multiplier, detection) in
        [(50, 50, 3, 150), (50, 80, 3, 240), (80, 50, 3, 240), (50, 50, 1, 50), (10, 20, 255, 5100)]
    {
        let mut bench = Bench::up(settings(FAST, rx * MS, 5));
        bench.run(FAST);
        let theirs = Packet {
            desired_min_tx: Interval::from_duration(tx * MS),
            multiplier: NonZeroU8::new(multiplier).unwrap(),
            finished: true,
            ..packet(State::Up)
        };
        bench.receive(theirs);
        bench.clear();
        let detection = detection * MS;
        assert_eq!(bench.session.detection_time(), Some(detection));
        bench.run(detection.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(bench.session.state(), State::Up);
        bench.run(Duration::from_nanos(1));
        assert_eq!(bench.session.state(), State::Down);
    }
}

#[test]
fn silence_takes_it_down_with_diagnostic_1_and_the_neighbour_is_forgotten() {
    let mut bench = settled(fast());
    bench.run(3 * FAST);
    let last = bench.last();
    assert_eq!(
        (last.state, last.diagnostic, last.your_discriminator),
        (State::Down, Diagnostic::ControlDetectionTimeExpired, None)
    );
    assert_eq!(bench.changes.last().unwrap().cause, Cause::DetectionTimeExpired);
    assert_eq!(bench.changes.last().unwrap().meaning(), Meaning::Failed);
    assert_eq!(bench.session.detection_time(), None);
    bench.clear();
    bench.run(10 * SECOND);
    assert!(bench.changes.is_empty());
    assert!((10..=14).contains(&bench.sent.len()));
    assert!(
        bench.sent.iter().all(|(_, packet)| packet.diagnostic == Diagnostic::ControlDetectionTimeExpired)
    );
}

#[test]
fn a_neighbour_that_falls_silent_during_the_handshake_is_no_failure() {
    let mut bench = Bench::in_state(State::Init);
    bench.run(4 * SECOND);
    assert_eq!(bench.session.state(), State::Down);
    assert_eq!(bench.changes.last().unwrap().meaning(), Meaning::Nothing);
}

#[test]
fn a_neighbour_that_was_restarted_is_noticed_by_its_first_packet() {
    let mut bench = settled(fast());
    bench.receive(Packet { your_discriminator: None, ..packet(State::Down) });
    let change = bench.changes[0];
    assert_eq!(
        (change.to, change.cause, change.meaning()),
        (State::Down, Cause::NeighborDown, Meaning::Failed)
    );
}

#[test]
fn a_neighbour_that_wants_no_packets_gets_none_periodically_but_news_and_answers() {
    let mut bench = settled(fast());
    let theirs = Packet { required_min_rx: Interval(0), ..packet(State::Up) };
    bench.receive(theirs);
    for _ in 0..100 {
        bench.run(FAST);
        bench.receive(theirs);
    }
    assert!(bench.sent.is_empty());
    assert_eq!(bench.session.transmit_interval(), None);
    bench.receive(Packet { poll: true, ..theirs });
    assert_eq!((bench.sent.len(), bench.last().finished), (1, true));
    bench.command(Command::AdminDown);
    assert_eq!((bench.sent.len(), bench.last().state), (2, State::AdminDown));
    // When it wants them again, they begin again.
    bench.command(Command::AdminUp);
    bench.receive(packet(State::Init));
    bench.clear();
    bench.run(FAST);
    assert!(!bench.sent.is_empty());
}

#[test]
fn a_neighbour_in_demand_mode_is_sent_polls_and_answers_only() {
    let mut bench = settled(fast());
    let theirs = Packet { demand: true, ..packet(State::Up) };
    bench.receive(theirs);
    for _ in 0..100 {
        bench.run(FAST);
        bench.receive(theirs);
    }
    assert!(bench.sent.is_empty(), "RFC 5880 §6.8.7");
    bench.receive(Packet { poll: true, ..theirs });
    assert_eq!((bench.sent.len(), bench.last().finished), (1, true));
    bench.command(Command::Reconfigure(settings(100 * MS, FAST, 3)));
    bench.clear();
    for _ in 0..4 {
        bench.run(FAST);
        bench.receive(theirs);
    }
    assert!(!bench.sent.is_empty() && bench.sent.iter().all(|(_, packet)| packet.poll));
    bench.receive(Packet { finished: true, ..theirs });
    bench.clear();
    for _ in 0..20 {
        bench.run(FAST);
        bench.receive(theirs);
    }
    assert!(bench.sent.is_empty());
    bench.run(3 * FAST);
    assert_eq!(bench.session.state(), State::Down, "its own packets are still expected");
}

#[test]
fn admin_down_is_told_for_as_long_as_it_lasts_and_is_no_failure() {
    let mut bench = settled(fast());
    bench.command(Command::AdminDown);
    assert_eq!(
        (bench.last().state, bench.last().diagnostic),
        (State::AdminDown, Diagnostic::AdministrativelyDown)
    );
    assert_eq!(bench.changes.last().unwrap().meaning(), Meaning::AdminDown);
    bench.clear();
    bench.run(10 * SECOND);
    assert!((10..=14).contains(&bench.sent.len()));
    assert!(bench.sent.iter().all(|(_, packet)| packet.state == State::AdminDown));
    bench.command(Command::AdminUp);
    assert_eq!(bench.last().state, State::Down);
    bench.receive(packet(State::Down));
    bench.receive(packet(State::Init));
    assert_eq!((bench.session.state(), bench.last().diagnostic), (State::Up, Diagnostic::None));
}

#[test]
fn a_neighbours_admin_down_is_no_failure() {
    let mut bench = settled(fast());
    bench.receive(Packet { diagnostic: Diagnostic::AdministrativelyDown, ..packet(State::AdminDown) });
    let change = bench.changes[0];
    assert_eq!((change.to, change.cause), (State::Down, Cause::NeighborAdminDown));
    assert_eq!(change.meaning(), Meaning::AdminDown);
    assert_eq!(change.remote_diagnostic, Diagnostic::AdministrativelyDown);
}

#[test]
fn a_failure_tells_whether_the_neighbours_bfd_outlives_its_control_plane() {
    for independent in [false, true] {
        let mut bench = settled(fast());
        bench.receive(Packet { control_plane_independent: independent, ..packet(State::Up) });
        bench.run(SECOND);
        let change = bench.changes[0];
        assert_eq!((change.meaning(), change.remote_independent), (Meaning::Failed, independent));
    }
}

#[test]
fn our_own_absence_is_not_taken_for_the_neighbours_silence_but_only_once() {
    let mut bench = settled(fast());
    // The clock jumps; nothing is due in between, for we were not there.
    bench.now += 10 * SECOND;
    bench.session.excuse(bench.now, 10 * SECOND);
    bench.run(49 * MS);
    assert_eq!(bench.session.state(), State::Up);
    bench.receive(packet(State::Up));
    bench.now += 10 * SECOND;
    bench.session.excuse(bench.now, 10 * SECOND);
    bench.run(Duration::ZERO);
    assert_eq!(bench.session.state(), State::Up);
    bench.now += 10 * SECOND;
    bench.session.excuse(bench.now, 10 * SECOND);
    bench.run(Duration::ZERO);
    assert_eq!(bench.session.state(), State::Down);
}

#[test]
fn waking_a_little_late_is_no_excuse() {
    let mut bench = settled(fast());
    bench.now += 3 * FAST + 20 * MS;
    bench.session.excuse(bench.now, 20 * MS);
    bench.run(Duration::ZERO);
    assert_eq!(bench.session.state(), State::Down);
}

/// Two sessions with these keys; whether they come up.
fn comes_up(ours: &Authentication, theirs: &Authentication) -> bool {
    let now = Instant::now();
    let with = |auth: &Authentication| Settings { authentication: Some(auth.clone()), ..fast() };
    let mut pair = [(OURS, ours), (THEIRS, theirs)]
        .map(|(name, auth)| Session::new(now, Discriminator::new(name).unwrap(), with(auth), name.into()));
    for tick in 0..40 {
        let now = now + tick * 100 * MS;
        for from in 0..2 {
            pair[from].handle_timeout(now);
            while let Some(output) = pair[from].poll_output() {
                if let Output::Send(datagram) = output {
                    assert_eq!(datagram.as_bytes().len(), 52);
                    pair[1 - from].handle(now, &Received::decode(datagram.as_bytes()).unwrap()).ok();
                }
            }
        }
    }
    pair.iter().all(|session| session.state() == State::Up)
}

#[test]
fn sessions_come_up_only_with_the_same_authentication_on_both_ends() {
    let auth =
        |kind, key_id, key: &str| Authentication { kind, key_id, key: Key::new(key.as_bytes()).unwrap() };
    let meticulous = auth(AuthenticationKind::MeticulousKeyedSha1, 1, "secret");
    let keyed = auth(AuthenticationKind::KeyedSha1, 1, "secret");
    assert!(comes_up(&meticulous, &meticulous));
    assert!(comes_up(&keyed, &keyed));
    assert!(!comes_up(&meticulous, &keyed));
    assert!(!comes_up(&meticulous, &auth(AuthenticationKind::MeticulousKeyedSha1, 2, "secret")));
    assert!(!comes_up(&meticulous, &auth(AuthenticationKind::MeticulousKeyedSha1, 1, "Secret")));
}

#[test]
fn what_happened_is_told_in_the_status() {
    let mut bench = settled(fast());
    bench.receive(Packet { diagnostic: Diagnostic::PathDown, ..packet(State::Down) });
    let path = proxima_bfd::Path {
        remote: "192.0.2.1".parse().unwrap(),
        local: None,
        interface: None,
        hops: proxima_bfd::Hops::Single,
    };
    let status = bench.session.status(path);
    assert_eq!((status.state, status.remote_state), (State::Down, State::Down));
    assert_eq!(status.diagnostic, Diagnostic::NeighborSignaledSessionDown);
    let down = status.last_down.unwrap();
    assert_eq!((down.cause, down.remote_diagnostic), (Cause::NeighborDown, Diagnostic::PathDown));
    assert_eq!((status.counters.flaps, status.counters.received), (1, 5));
    assert_eq!(status.desired_min_tx, SECOND);
    assert_eq!(status.remote_discriminator, Discriminator::new(THEIRS));
}
