//! Our codec against two others, both ways: what we write they read with the same meaning, and what they write we read
//! with the same meaning.
//!
//! ```text
//!  message ──ours──▶ octets ──theirs──▶ their types ──▶ said ═══ message said
//!  message ──▶ their types ──theirs──▶ octets ──ours──▶ said ═══ message said
//! ```
//!
//! The others are netgauze-bgp-pkt, of a flow collector, and bgpkit-parser, of an archive of routing tables. Where they and
//! we differ there is a case in [`divergences`] with the section of the RFC that decides.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bgpkit;
mod divergences;
mod messages;
mod netgauze;
mod two_octets;

use bytes::BytesMut;
use proptest::prelude::*;
use proxima_bgp_wire::{
    AsPath, Attributes, Families, Message, Negotiated, NextHop, Nlri, PeerKind, RawAttribute, Segment,
    SegmentKind, Update, frame,
};
use proxima_types::{Asn, Family};

/// Another codec. Both functions panic where it fails.
struct Codec {
    name: &'static str,
    /// One message.
    read: fn(&[u8], Negotiated) -> Message,
    /// One message, whatever it takes.
    write: fn(&Message, Negotiated) -> Vec<u8>,
}

const CODECS: [Codec; 2] = [
    Codec { name: "netgauze", read: netgauze::read, write: netgauze::write },
    Codec { name: "bgpkit", read: bgpkit::read, write: bgpkit::write },
];

/// A session with everything, of which the bits that matter to the test are chosen.
fn session(four_octet_as: bool, add_path: bool, internal: bool) -> Negotiated {
    let paths = if add_path { Families::ALL } else { Families::NONE };
    Negotiated {
        four_octet_as,
        families: Families::ALL,
        enhanced_refresh: true,
        extended_messages_receive: true,
        extended_messages_send: true,
        extended_next_hop_receive: true,
        extended_next_hop_send: true,
        add_path_receive: paths,
        add_path_send: paths,
        peer: if internal { PeerKind::Internal } else { PeerKind::External },
        ..Negotiated::default()
    }
}

fn ours(message: &Message, negotiated: Negotiated) -> Vec<u8> {
    let mut octets = BytesMut::new();
    message.encode(negotiated, &mut octets).unwrap();
    octets.to_vec()
}

fn read_ours(octets: &[u8], negotiated: Negotiated) -> Message {
    Message::decode(octets, negotiated).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"))
}

/// Cuts a stream into its messages.
fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = frame(stream, usize::from(u16::MAX)).unwrap() {
        let (message, rest) = stream.split_at(length);
        messages.push(message);
        stream = rest;
    }
    assert!(stream.is_empty());
    messages
}

/// What UPDATEs say together, however it is cut into messages and fields.
#[derive(Debug, Default, PartialEq)]
struct Said {
    withdrawn: Vec<Nlri>,
    reach: Vec<(NextHop, Nlri)>,
    attributes: Option<Attributes>,
    end_of_rib: Vec<Family>,
}

impl Said {
    fn by(messages: impl IntoIterator<Item = Message>) -> Self {
        let mut said = Self::default();
        for message in messages {
            let Message::Update(update) = message else { panic!("not an UPDATE: {message:?}") };
            said.add(update);
        }
        said.withdrawn.sort();
        said.reach.sort_by_key(|(next_hop, nlri)| (next_hop.address, *nlri));
        said
    }

    fn add(&mut self, update: Update) {
        assert!(update.problems.is_empty(), "{:?}", update.problems);
        self.withdrawn.extend(update.withdrawn);
        self.end_of_rib.extend(update.end_of_rib);
        if !update.reach.is_empty() {
            let attributes = canonical(update.attributes);
            assert_eq!(*self.attributes.get_or_insert(attributes.clone()), attributes);
        }
        for reach in update.reach {
            self.reach.extend(reach.nlri.into_iter().map(|nlri| (reach.next_hop, nlri)));
        }
    }
}

/// Attributes in one form: adjacent sequences of AS numbers are one, and the partial bit, which not every codec keeps, is set.
fn canonical(mut attributes: Attributes) -> Attributes {
    let mut joined: Vec<(SegmentKind, Vec<Asn>)> = Vec::new();
    for segment in attributes.as_path.segments() {
        match joined.last_mut() {
            Some((SegmentKind::Sequence, asns)) if segment.kind == SegmentKind::Sequence => {
                asns.extend(segment.asns);
            }
            _ => joined.push((segment.kind, segment.asns.to_vec())),
        }
    }
    attributes.as_path =
        AsPath::from_segments(joined.iter().map(|(kind, asns)| Segment { kind: *kind, asns }));
    let partial = |raw: &RawAttribute| RawAttribute { flags: 0xe0, ..raw.clone() };
    let unknown: Box<[RawAttribute]> = attributes.rare.unknown.iter().map(partial).collect();
    if !unknown.is_empty() {
        attributes.rare.unknown = unknown;
    }
    attributes
}

/// What of `update` may go to such a peer.
fn towards(mut update: Update, negotiated: Negotiated) -> Update {
    if negotiated.peer == PeerKind::External {
        update.attributes.local_pref = None;
        let mut rare = (*update.attributes.rare).clone();
        rare.originator_id = None;
        rare.cluster_list = Box::default();
        update.attributes.rare = rare.into();
    }
    for family in Family::ALL {
        if !negotiated.add_path_send.contains(family) {
            let announced = update.reach.iter_mut().flat_map(|reach| &mut reach.nlri);
            for nlri in update.withdrawn.iter_mut().chain(announced) {
                nlri.path_id = 0;
            }
        }
    }
    update
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn updates_mean_the_same_to_all(
        update in messages::update(),
        four_octet_as: bool,
        add_path: bool,
        internal: bool,
    ) {
        let negotiated = session(four_octet_as, add_path, internal);
        let message = Message::Update(towards(update, negotiated));
        for codec in &CODECS {
            let octets = ours(&message, negotiated);
            let read = frames(&octets).into_iter().map(|message| (codec.read)(message, negotiated));
            prop_assert_eq!(Said::by(read), Said::by([message.clone()]), "{} reads", codec.name);

            let octets = (codec.write)(&message, negotiated);
            let read = frames(&octets).into_iter().map(|message| read_ours(message, negotiated));
            prop_assert_eq!(Said::by(read), Said::by([message.clone()]), "{} writes", codec.name);
        }
    }

    #[test]
    fn opens_mean_the_same_to_all(open in messages::open()) {
        let message = Message::Open(open);
        let negotiated = Negotiated::default();
        for codec in &CODECS {
            let read = (codec.read)(&ours(&message, negotiated), negotiated);
            prop_assert_eq!(&read, &message, "{} reads", codec.name);
            let read = read_ours(&(codec.write)(&message, negotiated), negotiated);
            prop_assert_eq!(&read, &message, "{} writes", codec.name);
        }
    }

    #[test]
    fn other_messages_mean_the_same_to_all(message in messages::other()) {
        let negotiated = session(true, false, false);
        for codec in &CODECS {
            let read = (codec.read)(&ours(&message, negotiated), negotiated);
            prop_assert_eq!(&read, &message, "{} reads", codec.name);
            let octets = (codec.write)(&message, negotiated);
            prop_assert_eq!(&octets, &ours(&message, negotiated), "{} writes", codec.name);
        }
    }
}

#[test]
fn end_of_rib_means_the_same_to_all() {
    let negotiated = session(true, false, false);
    for family in Family::ALL {
        let message = Message::Update(Update { end_of_rib: Some(family), ..Update::default() });
        for codec in &CODECS {
            assert_eq!(
                (codec.read)(&ours(&message, negotiated), negotiated),
                message,
                "{} reads",
                codec.name
            );
            let octets = (codec.write)(&message, negotiated);
            assert_eq!(read_ours(&octets, negotiated), message, "{} writes", codec.name);
        }
    }
}
