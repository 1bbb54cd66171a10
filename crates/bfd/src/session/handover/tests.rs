//! A session that is handed over next to its twin that is not: the same happens to both, and they do the same.

use std::num::NonZeroU8;

use proptest::prelude::*;

use super::*;
use crate::{Authentication, Command, Interval, Key, Output, Packet, Received, packet::Datagram};

const OURS: u32 = 0xaaaa_0001;
const THEIRS: u32 = 0xbbbb_0002;

/// Through what carries it to the other process.
fn carried(snapshot: &Snapshot) -> Snapshot {
    serde_json::from_str(&serde_json::to_string(snapshot).unwrap()).unwrap()
}

fn settings(tx_ms: u64, rx_ms: u64, multiplier: u8, kind: Option<AuthenticationKind>) -> Settings {
    Settings {
        desired_min_tx: Duration::from_millis(tx_ms),
        required_min_rx: Duration::from_millis(rx_ms),
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: kind.map(|kind| Authentication {
            kind,
            key_id: 1,
            key: Key::new(b"secret").unwrap(),
        }),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    /// The neighbour sends.
    Packet(Packet),
    AdminDown(bool),
    Reconfigure(u64, u64, u8),
    /// To another process, or to one that comes to nothing.
    HandOver {
        back: bool,
    },
}

fn packet() -> impl Strategy<Value = Packet> {
    // Mostly of a neighbour that comes up and stays so.
    let state = prop_oneof![1 => Just(State::AdminDown), 2 => Just(State::Down), 4 => Just(State::Init), 8 => Just(State::Up)];
    (state, 0u8..32, any::<[bool; 4]>(), 1u8..6, 0u32..200_000, 0u32..200_000, 0u8..10).prop_map(
        |(state, diagnostic, [poll, finished, independent, demand], multiplier, tx, rx, choice)| Packet {
            diagnostic: Diagnostic::from_code(diagnostic),
            state,
            poll: poll && !finished,
            finished,
            control_plane_independent: independent,
            demand: demand && choice == 0,
            multiplier: NonZeroU8::new(multiplier).unwrap(),
            my_discriminator: Discriminator::new(THEIRS).unwrap(),
            your_discriminator: Discriminator::new(OURS),
            desired_min_tx: Interval(tx),
            required_min_rx: Interval(if choice == 1 { 0 } else { rx }),
            required_min_echo_rx: Interval(0),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..300).prop_map(Step::Wait),
        1 => (300u64..3000).prop_map(Step::Wait),
        8 => packet().prop_map(Step::Packet),
        1 => any::<bool>().prop_map(Step::AdminDown),
        2 => (10u64..200, 10u64..200, 1u8..6).prop_map(|(tx, rx, multiplier)| Step::Reconfigure(tx, rx, multiplier)),
        5 => any::<bool>().prop_map(|back| Step::HandOver { back }),
    ]
}

struct Twins {
    now: Instant,
    whole: Session,
    handed: Session,
    kind: Option<AuthenticationKind>,
    sequence: u32,
}

impl Twins {
    fn each(&mut self, mut act: impl FnMut(Instant, &mut Session)) {
        act(self.now, &mut self.whole);
        act(self.now, &mut self.handed);
        self.compare();
    }

    /// What one of them does the other one does.
    fn compare(&mut self) {
        loop {
            let outputs = [self.whole.poll_output(), self.handed.poll_output()];
            assert_eq!(outputs[0], outputs[1]);
            if outputs[0].is_none() {
                break;
            }
        }
        let path = crate::Path {
            remote: "192.0.2.1".parse().unwrap(),
            local: None,
            interface: None,
            hops: crate::Hops::Single,
        };
        assert_eq!(self.whole.status(path), self.handed.status(path));
        assert_eq!(self.whole.poll_timeout(), self.handed.poll_timeout());
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.whole.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.each(|now, session| session.handle_timeout(now));
        }
        self.now = end;
    }

    fn receive(&mut self, packet: &Packet) {
        let mut datagram = Datagram::encode(packet);
        if let Some(auth) = &settings(10, 10, 1, self.kind).authentication {
            self.sequence += 1;
            auth.sign(&mut datagram, self.sequence);
        }
        let received = Received::decode(datagram.as_bytes()).unwrap();
        let results = [self.whole.handle(self.now, &received), self.handed.handle(self.now, &received)];
        assert_eq!(results[0], results[1]);
        self.compare();
    }

    fn hand_over(&mut self, back: bool) {
        // What is overdue is done first, as a driver does.
        self.wait(Duration::ZERO);
        let former = &mut self.handed;
        let snapshot = former.hand_over(self.now);
        if back {
            former.take_back(self.now);
            if former.state != State::Up {
                // It was silent, and makes up for it at once.
                former.next_send = self.whole.next_send;
            }
            return self.compare();
        }
        let mut successor = Session::resume(self.now, &carried(&snapshot), former.settings.clone(), 0);
        successor.random = former.random.clone();
        if successor.state == State::Up && successor.next_send.is_some() {
            assert_eq!(successor.next_send, Some(self.now), "it is heard at once");
            successor.next_send = self.whole.next_send;
        }
        let told = match successor.state {
            State::Down => None,
            to => Some((State::Down, to, Cause::HandedOver)),
        };
        let change = (told.is_some()).then(|| successor.poll_output()).flatten().map(|output| match output {
            Output::StateChanged(change) => (change.from, change.to, change.cause),
            Output::Send(_) => panic!("told before anything is sent"),
        });
        assert_eq!(change, told);
        self.handed = successor;
        self.compare();
    }
}

proptest! {
    #[test]
    fn a_session_that_is_handed_over_does_what_it_would_have_done(
        steps in proptest::collection::vec(step(), 1..80), signed: bool, seed: u64,
    ) {
        let kind = signed.then_some(AuthenticationKind::KeyedSha1);
        let now = Instant::now();
        let new = || Session::new(now, Discriminator::new(OURS).unwrap(), settings(50, 50, 3, kind), seed);
        let mut twins = Twins { now, whole: new(), handed: new(), kind, sequence: 0 };
        twins.wait(Duration::ZERO);
        for step in steps {
            match step {
                Step::Wait(ms) => twins.wait(Duration::from_millis(ms)),
                Step::Packet(packet) => twins.receive(&packet),
                Step::AdminDown(down) => twins.each(|now, session| {
                    session.command(now, if down { Command::AdminDown } else { Command::AdminUp });
                }),
                Step::Reconfigure(tx, rx, multiplier) => twins.each(|now, session| {
                    session.command(now, Command::Reconfigure(settings(tx, rx, multiplier, kind)));
                }),
                Step::HandOver { back } => twins.hand_over(back),
            }
        }
    }
}

/// Up with a neighbour, in quiet, with multiplier 3 on both ends.
fn up(now: Instant, kind: Option<AuthenticationKind>) -> Session {
    let mut session = Session::new(now, Discriminator::new(OURS).unwrap(), settings(50, 50, 3, kind), 7);
    for (sequence, state) in [State::Down, State::Init, State::Up, State::Up].into_iter().enumerate() {
        let mut datagram = Datagram::encode(&Packet {
            diagnostic: Diagnostic::None,
            state,
            poll: false,
            // Ends the poll for the fast interval.
            finished: sequence == 3,
            control_plane_independent: false,
            demand: false,
            multiplier: NonZeroU8::new(3).unwrap(),
            my_discriminator: Discriminator::new(THEIRS).unwrap(),
            your_discriminator: Discriminator::new(OURS),
            desired_min_tx: Interval(50_000),
            required_min_rx: Interval(50_000),
            required_min_echo_rx: Interval(0),
        });
        if let Some(auth) = &session.settings.authentication {
            auth.sign(&mut datagram, sequence as u32);
        }
        session.handle(now, &Received::decode(datagram.as_bytes()).unwrap()).unwrap();
        while session.poll_output().is_some() {}
    }
    assert_eq!((session.state, session.own.polling()), (State::Up, false));
    session
}

/// What it sends within a time: when, the packet, and its sequence number.
fn sent(session: &mut Session, now: Instant, time: Duration) -> Vec<(Duration, Packet, Option<u32>)> {
    let mut packets = Vec::new();
    let mut at = now;
    loop {
        while let Some(output) = session.poll_output() {
            if let Output::Send(datagram) = output {
                let octets = datagram.as_bytes();
                let sequence =
                    octets.get(28..32).map(|octets| u32::from_be_bytes(octets.try_into().unwrap()));
                packets.push((at - now, Received::decode(octets).unwrap().packet, sequence));
            }
        }
        let Some(next) = session.poll_timeout().filter(|at| *at <= now + time) else { return packets };
        at = at.max(next);
        session.handle_timeout(at);
    }
}

#[test]
fn a_lame_duck_goes_on_sending_without_a_question_and_judges_nothing() {
    let now = Instant::now();
    let mut session = up(now, None);
    session.command(now, Command::Reconfigure(settings(100, 50, 3, None)));
    assert!(sent(&mut session, now, Duration::ZERO).iter().any(|(_, packet, _)| packet.poll));
    let snapshot = session.hand_over(now);
    let packets = sent(&mut session, now, Duration::from_secs(10));
    // The neighbour is silent for 10 s, and the interval is still the former one, for no Final has come.
    assert!((200..=270).contains(&packets.len()), "{}", packets.len());
    assert!(
        packets.iter().all(|(_, packet, _)| packet.state == State::Up && !packet.poll && !packet.finished)
    );
    assert_eq!(session.state, State::Up);
    // The successor asks on.
    let mut successor = Session::resume(now, &carried(&snapshot), settings(100, 50, 3, None), 1);
    let packets = sent(&mut successor, now, Duration::from_millis(50));
    assert!(!packets.is_empty() && packets.iter().all(|(_, packet, _)| packet.poll));
}

#[test]
fn what_was_left_until_the_neighbours_silence_counts_is_left_after_the_pause() {
    let start = Instant::now();
    for pause in [Duration::ZERO, Duration::from_millis(40), Duration::from_secs(5)] {
        let mut session = up(start, None);
        let now = start + Duration::from_millis(100);
        sent(&mut session, start, Duration::from_millis(100));
        let snapshot = session.hand_over(now);
        let later = now + pause;
        sent(&mut session, now, pause);
        session.take_back(later);
        let mut successor = Session::resume(later, &carried(&snapshot), settings(50, 50, 3, None), 1);
        for session in [&mut session, &mut successor] {
            sent(session, later, Duration::from_millis(49));
            assert_eq!(session.state, State::Up, "{pause:?}");
            sent(session, later, Duration::from_millis(50));
            assert_eq!(session.state, State::Down, "{pause:?}");
        }
    }
}

#[test]
fn a_session_that_is_not_up_is_silent_until_it_is_resumed_or_taken_back() {
    let now = Instant::now();
    let mut session = Session::new(now, Discriminator::new(OURS).unwrap(), settings(50, 50, 3, None), 7);
    sent(&mut session, now, Duration::ZERO);
    session.command(now, Command::AdminDown);
    sent(&mut session, now, Duration::ZERO);
    let snapshot = session.hand_over(now);
    let second = Duration::from_secs(1);
    assert!(sent(&mut session, now, 10 * second).is_empty());
    let mut successor = Session::resume(now, &carried(&snapshot), settings(50, 50, 3, None), 1);
    assert_eq!(successor.state, State::AdminDown);
    session.take_back(now + 10 * second);
    for session in [&mut session, &mut successor] {
        let packets = sent(session, now + 10 * second, second);
        assert!(!packets.is_empty() && packets.iter().all(|(_, packet, _)| packet.state == State::AdminDown));
    }
}

/// The numbers of packets.
fn numbers(packets: &[(Duration, Packet, Option<u32>)]) -> Vec<u32> {
    packets.iter().map(|(_, _, sequence)| sequence.unwrap()).collect()
}

#[test]
fn meticulous_numbers_are_never_used_twice_and_never_too_far_ahead() {
    let kind = Some(AuthenticationKind::MeticulousKeyedSha1);
    let now = Instant::now();
    let second = Duration::from_secs(1);
    // By how many packets the lame duck was heard.
    for packets in 0..=5 {
        let mut session = up(now, kind);
        let next = session.sequences.numbers(now, 0);
        let next: u32 = serde_json::to_value(next).unwrap()["next"].as_u64().unwrap() as u32;
        let after =
            |count: std::ops::Range<u32>| count.map(|count| next.wrapping_add(count)).collect::<Vec<_>>();
        let snapshot = session.hand_over(now);
        let (mut heard, mut at) = (Vec::new(), now);
        while heard.len() < packets {
            at = session.poll_timeout().unwrap();
            heard.extend(numbers(&sent(&mut session, at, Duration::ZERO)));
        }
        assert_eq!(heard, after(0..packets as u32));
        let mut successor = Session::resume(now, &carried(&snapshot), settings(50, 50, 3, kind), 1);
        let first = numbers(&sent(&mut successor, now, Duration::ZERO));
        assert_eq!(first, after(5..6), "at once, behind those of the lame duck");
        session.take_back(at);
        let packets = sent(&mut session, at, second / 20);
        assert_eq!(numbers(&packets)[0], next.wrapping_add(8), "behind those the successor may have used");
    }
    let mut session = up(now, kind);
    session.hand_over(now);
    assert_eq!(sent(&mut session, now, 10 * second).len(), 5, "it has no more numbers");
    session.take_back(now + 10 * second);
    assert_eq!(sent(&mut session, now + 10 * second, Duration::ZERO).len(), 1, "it is heard again at once");
}

#[test]
fn plain_numbers_are_repeated_by_a_lame_duck() {
    let kind = Some(AuthenticationKind::KeyedSha1);
    let now = Instant::now();
    let mut session = up(now, kind);
    let snapshot = session.hand_over(now);
    let repeated = numbers(&sent(&mut session, now, Duration::from_secs(1)));
    assert!(repeated.len() > 10 && repeated.iter().all(|number| *number == repeated[0]));
    let mut successor = Session::resume(now, &carried(&snapshot), settings(50, 50, 3, kind), 1);
    assert_eq!(numbers(&sent(&mut successor, now, Duration::from_millis(50)))[0], repeated[0]);
}

#[test]
fn no_time_that_is_written_in_a_snapshot_is_too_long() {
    let now = Instant::now();
    let kind = Some(AuthenticationKind::MeticulousKeyedSha1);
    let mut text = serde_json::to_value(up(now, kind).hand_over(now)).unwrap();
    let forever = serde_json::to_value(Duration::MAX).unwrap();
    for field in ["in_state_for", "sent_ago", "next_send", "sending_at", "received_ago", "detect"] {
        text[field] = forever.clone();
    }
    text["sequences"]["received"][1] = forever;
    let snapshot: Snapshot = serde_json::from_value(text).unwrap();
    let mut session = Session::resume(now, &snapshot, settings(50, 50, 3, kind), 1);
    assert_eq!(session.state, State::Up);
    session.command(now, Command::Reconfigure(settings(60, 60, 3, kind)));
    sent(&mut session, now, Duration::from_secs(10));
    assert_eq!(session.state, State::Down);
}
