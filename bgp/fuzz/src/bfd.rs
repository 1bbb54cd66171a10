//! What holds for whatever comes to the ports of BFD.
//!
//! - No octets make the decoder panic; what is read can be written and is read as the same.
//! - Sessions stay consistent, whatever comes in whatever order: a session sends no faster than once a second while it is
//!   not up, waits for a later time after each timeout, and its changes follow from one another.
//! - Who does not know the key does not move a session that asks for authentication.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    time::{Duration, Instant},
};

use proxima_bfd::{
    Arrival, Authentication, AuthenticationKind, Command, Datagram, Discriminator, Hops, Key, Output, Path,
    Received, SLOW, Sessions, Settings, State,
};

/// The key of the sessions with authentication, and of the packets among the seeds that are signed.
const KEY: &[u8] = b"secret";
/// Octets of a packet without authentication.
const PLAIN: usize = 24;

/// The target `bfd`: what happens, one after the other. Each is an octet that says to whom and when, one with the length of
/// a datagram, and the datagram.
///
/// | bits of the first octet | |
/// |---|---|
/// | 0, 1 | the session: single hop, single hop signed meticulously, multihop signed, none |
/// | 2, 3 | the time since the last: 0, 10 ms, 300 ms, 5 s |
/// | 4 | whether it came from too far |
/// | 5 | whether an operator takes the session down or lets it come up first |
/// | 6 | whether we were away for that time |
/// | 7 | whether Your Discriminator is made to name the session |
pub fn packets(input: &[u8]) {
    let mut host = Host::new();
    let mut rest = input;
    while let Some(([control, length], after)) = rest.split_first_chunk() {
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        decoder(payload);
        host.event(*control, payload);
        rest = after;
    }
}

fn decoder(payload: &[u8]) {
    let Ok(received) = Received::decode(payload) else { return };
    assert!(usize::from(payload[3]) <= payload.len());
    let written = Datagram::encode(&received.packet);
    let read = Received::decode(written.as_bytes()).expect("what we write is right");
    assert_eq!(read.packet, received.packet, "read, written, read");
    assert_eq!(read.auth, None);
}

struct Host {
    sessions: Sessions,
    now: Instant,
    states: HashMap<Discriminator, State>,
}

impl Host {
    fn new() -> Self {
        let now = Instant::now();
        let mut host = Self { sessions: Sessions::new(), now, states: HashMap::new() };
        for choice in 0..3 {
            let authentication = match choice {
                0 => None,
                1 => Some(AuthenticationKind::MeticulousKeyedSha1),
                _ => Some(AuthenticationKind::KeyedSha1),
            };
            let settings = Settings {
                desired_min_tx: Duration::from_millis(50),
                required_min_rx: Duration::from_millis(50),
                multiplier: NonZeroU8::MIN.saturating_add(2),
                authentication: authentication.map(|kind| Authentication {
                    kind,
                    key_id: 1,
                    key: Key::new(KEY).expect("it is short enough"),
                }),
            };
            let hops = if choice == 2 { Hops::Multi { least_ttl: 254 } } else { Hops::Single };
            let path = Path { remote: remote(choice), local: None, interface: None, hops };
            host.sessions
                .add(now, name(choice), path, settings, 1)
                .expect("each has its own name and neighbour");
            host.states.insert(name(choice), State::Down);
        }
        host.settle();
        host
    }

    fn event(&mut self, control: u8, payload: &[u8]) {
        let choice = control & 3;
        let passed = [0, 10, 300, 5000].map(Duration::from_millis)[usize::from(control >> 2 & 3)];
        self.now += passed;
        if control & 0x20 != 0 {
            let down = self.sessions.state(name(choice)) == Some(State::AdminDown);
            let command = if down { Command::AdminUp } else { Command::AdminDown };
            self.sessions.command(self.now, name(choice), command).expect("these have no settings");
            self.settle();
        }
        let mut payload = payload.to_vec();
        if let Some(your) = payload.get_mut(8..12).filter(|_| control & 0x80 != 0) {
            your.copy_from_slice(&name(choice).0.get().to_be_bytes());
        }
        let arrival = Arrival {
            source: remote(choice),
            destination: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
            interface: 1,
            ttl: if control & 0x10 == 0 { 255 } else { 253 },
            multihop: choice == 2,
        };
        let taken = self.sessions.handle(self.now, &arrival, &payload);
        if let Ok(session) = taken {
            assert_eq!(arrival.ttl, 255, "a packet from too far");
            let signed = payload[1] & 4 != 0;
            assert_eq!(signed, session != name(0), "a packet that is not signed as agreed");
        }
        self.settle();
        if control & 0x40 != 0 {
            self.sessions.excuse(self.now, passed);
        }
        self.sessions.handle_timeout(self.now);
        self.settle();
        assert!(self.sessions.poll_timeout().is_none_or(|at| at > self.now), "what was due is still due");
    }

    /// Takes what comes out, and looks at what is in.
    fn settle(&mut self) {
        let mut sent = 0;
        while let Some((session, _, output)) = self.sessions.poll_output() {
            match output {
                Output::Send(datagram) => {
                    sent += 1;
                    assert!(sent <= 12, "an answer to one packet is a packet or two");
                    let received = Received::decode(datagram.as_bytes()).expect("what we send is right");
                    assert_eq!(received.packet.my_discriminator, session);
                    assert_eq!(received.auth.is_some(), session != name(0));
                    assert_eq!(datagram.as_bytes().len() > PLAIN, session != name(0));
                    if received.packet.state != State::Up {
                        assert!(received.packet.desired_min_tx.duration() >= SLOW);
                    }
                }
                Output::StateChanged(change) => {
                    let before = self.states.insert(session, change.to);
                    assert_eq!(before, Some(change.from), "changes follow from one another");
                    assert_ne!(change.from, change.to);
                }
            }
        }
        for choice in 0..3 {
            let status = self.sessions.status(name(choice)).expect("none is removed");
            assert_eq!(self.states[&name(choice)], status.state);
            if status.state != State::Up {
                assert!(status.transmit_interval.is_none_or(|interval| interval >= SLOW), "{status:?}");
            }
        }
    }
}

fn name(choice: u8) -> Discriminator {
    Discriminator::new(u32::from(choice) + 1).expect("not zero")
}

fn remote(choice: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, choice))
}
