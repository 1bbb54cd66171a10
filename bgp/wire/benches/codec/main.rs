//! Nanoseconds per UPDATE, decoded and encoded, by our codec and two others: `cargo xtask bench codec` runs this and judges.
//!
//! Prints one line per measurement: round, kind of messages, direction, codec, nanoseconds per UPDATE; separated by blanks.
//!
//! ```text
//! cargo bench -p proxima-bgp-wire --bench codec -- [ROUNDS]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, for a program"
)]

mod table;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bgpkit_parser::{
    models::{AsnLength, BgpMessage as Bgpkit},
    parser::bgp::parse_bgp_message,
};
use bytes::{Bytes, BytesMut};
use netgauze_bgp_pkt::{
    BgpMessage as Netgauze, path_attribute::PathAttributeValue, wire::deserializer::BgpParsingContext,
};
use netgauze_parse_utils::{WritablePdu, reader::SliceReader, traits::ParseFromWithOneInput};
use proxima_bgp_wire::{Families, Message, Negotiated, frame};

/// How long each measurement takes, about.
const SPAN: Duration = Duration::from_millis(25);

/// An eBGP session with four-octet AS numbers.
fn session() -> Negotiated {
    Negotiated { four_octet_as: true, families: Families::ALL, ..Negotiated::default() }
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let kinds: Vec<Kind> =
        table::KINDS.iter().map(|(name, messages)| Kind::new(name, &messages(session()))).collect();
    for round in 1..=rounds {
        for kind in &kinds {
            let mut measurements = kind.measurements();
            // Whoever comes first has a colder machine; so they take turns.
            let turn = round % measurements.len();
            measurements.rotate_left(turn);
            for Measurement { direction, codec, mut pass } in measurements {
                let ns = nanoseconds(&mut pass) / kind.ours.len() as f64;
                println!("{round} {} {direction} {codec} {ns:.1}", kind.name);
            }
        }
    }
}

/// The time of one pass.
fn nanoseconds(pass: &mut dyn FnMut()) -> f64 {
    pass();
    let start = Instant::now();
    let mut passes = 0u32;
    while start.elapsed() < SPAN {
        pass();
        passes += 1;
    }
    start.elapsed().as_nanos() as f64 / f64::from(passes)
}

/// Messages of one kind, as octets and as each codec's own types.
struct Kind {
    name: &'static str,
    octets: Vec<Bytes>,
    ours: Vec<Message>,
    netgauze: Vec<Netgauze>,
    bgpkit: Vec<Bgpkit>,
}

struct Measurement<'a> {
    direction: &'static str,
    codec: &'static str,
    /// Decodes or encodes every message once.
    pass: Box<dyn FnMut() + 'a>,
}

impl Kind {
    fn new(name: &'static str, octets: &[Vec<u8>]) -> Self {
        let kind = Self {
            name,
            octets: octets.iter().map(|octets| Bytes::copy_from_slice(octets)).collect(),
            ours: octets.iter().map(|octets| decode_ours(octets)).collect(),
            netgauze: octets.iter().map(|octets| decode_netgauze(octets)).collect(),
            bgpkit: octets.iter().map(|octets| decode_bgpkit(Bytes::copy_from_slice(octets))).collect(),
        };
        kind.all_read_the_same();
        kind
    }

    /// A codec that skips half of the work would look fast.
    fn all_read_the_same(&self) {
        let ours: usize = self.ours.iter().map(prefixes_of_ours).sum();
        assert!(ours >= self.octets.len(), "{}", self.name);
        assert_eq!(self.netgauze.iter().map(prefixes_of_netgauze).sum::<usize>(), ours, "{}", self.name);
        assert_eq!(self.bgpkit.iter().map(prefixes_of_bgpkit).sum::<usize>(), ours, "{}", self.name);
        let all: usize = self.octets.iter().map(Bytes::len).sum();
        let mut buf = BytesMut::new();
        self.ours.iter().for_each(|message| message.encode(session(), &mut buf).unwrap());
        assert_eq!(buf.len(), all, "{}", self.name);
        assert_eq!(self.netgauze.iter().map(WritablePdu::len).sum::<usize>(), all, "{}", self.name);
        let bgpkit = self.bgpkit.iter().map(|message| message.encode(AsnLength::Bits32).unwrap().len());
        assert_eq!(bgpkit.sum::<usize>(), all, "{}", self.name);
    }

    fn measurements(&self) -> Vec<Measurement<'_>> {
        let mut ours = BytesMut::with_capacity(1 << 16);
        let mut netgauze = Vec::with_capacity(1 << 16);
        vec![
            measurement("decode", "proxima", || {
                self.octets.iter().for_each(|octets| drop(black_box(decode_ours(black_box(octets)))));
            }),
            measurement("decode", "netgauze", || {
                self.octets.iter().for_each(|octets| drop(black_box(decode_netgauze(black_box(octets)))));
            }),
            measurement("decode", "bgpkit", || {
                self.octets
                    .iter()
                    .for_each(|octets| drop(black_box(decode_bgpkit(black_box(octets).clone()))));
            }),
            measurement("encode", "proxima", move || {
                for message in &self.ours {
                    ours.clear();
                    black_box(message).encode(session(), &mut ours).unwrap();
                    black_box(&ours);
                }
            }),
            measurement("encode", "netgauze", move || {
                for message in &self.netgauze {
                    netgauze.clear();
                    black_box(message).write(&mut netgauze).unwrap();
                    black_box(&netgauze);
                }
            }),
            measurement("encode", "bgpkit", || {
                for message in &self.bgpkit {
                    drop(black_box(black_box(message).encode(AsnLength::Bits32).unwrap()));
                }
            }),
        ]
    }
}

fn measurement<'a>(direction: &'static str, codec: &'static str, pass: impl FnMut() + 'a) -> Measurement<'a> {
    Measurement { direction, codec, pass: Box::new(pass) }
}

/// As the session does it: framing first.
fn decode_ours(octets: &[u8]) -> Message {
    let length = frame(octets, session().max_len_receive()).unwrap().unwrap();
    Message::decode(&octets[..length], session()).unwrap()
}

fn decode_netgauze(octets: &[u8]) -> Netgauze {
    Netgauze::parse(&mut SliceReader::new(octets), &mut BgpParsingContext::default()).unwrap()
}

fn decode_bgpkit(mut octets: Bytes) -> Bgpkit {
    parse_bgp_message(&mut octets, false, &AsnLength::Bits32).unwrap()
}

fn prefixes_of_ours(message: &Message) -> usize {
    let Message::Update(update) = message else { panic!("{message:?}") };
    assert!(update.problems.is_empty());
    update.withdrawn.len() + update.reach.iter().map(|reach| reach.nlri.len()).sum::<usize>()
}

fn prefixes_of_netgauze(message: &Netgauze) -> usize {
    use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach};
    let Netgauze::Update(update) = message else { panic!("{message:?}") };
    let in_attributes = update.path_attributes().iter().map(|attribute| match attribute.value() {
        PathAttributeValue::MpReach(MpReach::Ipv6Unicast { nlri, .. })
        | PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => nlri.len(),
        _ => 0,
    });
    update.withdraw_routes().len() + update.nlri().len() + in_attributes.sum::<usize>()
}

fn prefixes_of_bgpkit(message: &Bgpkit) -> usize {
    let Bgpkit::Update(update) = message else { panic!("{message:?}") };
    let attributes = &update.attributes;
    let in_attributes = [attributes.get_reachable_nlri(), attributes.get_unreachable_nlri()];
    let in_attributes = in_attributes.into_iter().flatten().map(|nlri| nlri.prefixes.len());
    update.withdrawn_prefixes.len() + update.announced_prefixes.len() + in_attributes.sum::<usize>()
}
