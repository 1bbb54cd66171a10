//! What holds for whatever a BGP peer sends.
//!
//! - No octets make a decoder panic, and none take more memory than they have octets, times a constant.
//! - What is read can be written, and what is written is read as the same and written again to the same octets.
//! - An error has a NOTIFICATION that fits the session, and a text fit for a terminal.
//! - What an UPDATE says keeps to what the session has agreed on, and to RFC 7606: routes of a message that is to be
//!   treated as a withdrawal are withdrawn, those of a family that is given up are not seen again.
//! - All of it can be explained to a person.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use proxima_bgp_wire::{
    AsPath, Attributes, DecodeError, Disposition, EncodeError, Families, HEADER_LEN, Message, MessageType,
    Negotiated, NextHop, Nlri, Open, PeerKind, RawAttribute, Segment, SegmentKind, Update,
    explain::{self, Content},
    frame,
};
use proxima_types::{Asn, Family};

/// The target `message`: a stream, cut into messages as it would be on a connection.
pub fn message(input: &[u8]) {
    let Some((choice, mut stream)) = input.split_first() else { return };
    let negotiated = session(*choice);
    can_be_explained(stream, negotiated);
    // Nothing has cut this to a message.
    let _ = Message::decode(stream, negotiated);
    loop {
        let framed = frame(stream, negotiated.max_len_receive());
        framing_does_not_depend_on_what_has_arrived(stream, negotiated, &framed);
        match framed {
            Ok(Some(length)) => {
                let (message, rest) = stream.split_at(length);
                check(message, negotiated);
                stream = rest;
            }
            Ok(None) => return,
            Err(error) => return check_error(&error, negotiated),
        }
    }
}

/// The target `update`.
pub fn update(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let negotiated = session(*choice);
    check_body(MessageType::Update, body, negotiated);
}

/// The target `open`.
pub fn open(input: &[u8]) {
    check_body(MessageType::Open, input, Negotiated::default());
}

/// The target `capabilities`, in the one parameter of an OPEN that is otherwise right.
pub fn capabilities(input: &[u8]) {
    let length = |octets: usize| u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes();
    let body = [
        &[4, 0xfc, 0, 0, 90, 192, 0, 2, 1][..],
        &[255, 255],
        &length(input.len() + 3),
        &[2],
        &length(input.len()),
        input,
    ];
    check_body(MessageType::Open, &body.concat(), Negotiated::default());
}

/// The target `notification`.
pub fn notification(input: &[u8]) {
    check_body(
        MessageType::Notification,
        input,
        Negotiated { extended_messages_receive: true, extended_messages_send: true, ..Negotiated::default() },
    );
}

/// A session, chosen by one octet.
pub fn session(choice: u8) -> Negotiated {
    let bit = |number: u8| choice & 1 << number != 0;
    let families = [Families::ALL, Families::IPV4, [Family::Ipv6].into_iter().collect(), Families::NONE];
    let paths: Families = [(Family::Ipv4, bit(4)), (Family::Ipv6, bit(5))]
        .into_iter()
        .filter_map(|(f, on)| on.then_some(f))
        .collect();
    Negotiated {
        four_octet_as: bit(0),
        extended_messages_receive: bit(1),
        extended_messages_send: bit(1),
        enhanced_refresh: bit(1),
        extended_next_hop_receive: bit(2),
        extended_next_hop_send: bit(2),
        peer: if bit(3) { PeerKind::Internal } else { PeerKind::External },
        families: families[usize::from(choice >> 6)],
        add_path_receive: paths,
        add_path_send: paths,
        ..Negotiated::default()
    }
}

/// Puts the header that a connection would have checked before `body`.
fn check_body(kind: MessageType, body: &[u8], negotiated: Negotiated) {
    let length = HEADER_LEN + body.len();
    let Ok(octets) = u16::try_from(length) else { return };
    let message = [&[0xff; 16][..], &octets.to_be_bytes(), &[kind as u8], body].concat();
    match frame(&message, negotiated.max_len_receive()) {
        Ok(framed) => {
            assert_eq!(framed, Some(length));
            check(&message, negotiated);
        }
        Err(error) => check_error(&error, negotiated),
    }
}

fn check(message: &[u8], negotiated: Negotiated) {
    let read = Message::decode(message, negotiated);
    if message[HEADER_LEN - 1] == MessageType::Update as u8 {
        check_other_terms(message, &read, negotiated);
    }
    match read {
        Ok(Message::Update(update)) => check_update(&update, message.len(), negotiated),
        Ok(read) => {
            if let Message::Open(open) = &read {
                check_open(open);
            }
            if let Message::Notification(notification) = &read {
                fit_for_a_terminal(&notification.to_string());
            }
            let written = write(&read, negotiated).expect("what was read can be written");
            assert!(written.len() <= message.len().max(negotiated.max_len_send()));
            assert_eq!(Message::decode(&written, negotiated).as_ref(), Ok(&read), "read, written, read");
        }
        Err(error) => check_error(&error, negotiated),
    }
}

/// An UPDATE as a session reads it that gives up a family rather than itself, and as one that takes no AS_SET.
fn check_other_terms(message: &[u8], read: &Result<Message, DecodeError>, negotiated: Negotiated) {
    let sparing = Negotiated { disable_families: true, ..negotiated };
    let spared = Message::decode(message, sparing);
    if let Ok(Message::Update(update)) = &spared {
        let lost = update.disabled_family();
        assert!(lost.is_some() || spared == *read, "{spared:?}, and then {read:?}");
        if let Some(family) = lost {
            assert!(read.is_err(), "{family} is given up for nothing");
            let left: Families = negotiated.families.iter().filter(|other| *other != family).collect();
            assert!(!left.is_empty() && negotiated.families.contains(family));
            check_update(update, message.len(), Negotiated { families: left, ..sparing });
        }
    }
    let refusing = Negotiated { refuse_as_sets: true, ..negotiated };
    if let Ok(Message::Update(update)) = Message::decode(message, refusing) {
        let mut segments = update.attributes.as_path.segments();
        assert!(segments.all(|segment| segment.kind == SegmentKind::Sequence));
        check_update(&update, message.len(), refusing);
    }
}

fn can_be_explained(stream: &[u8], negotiated: Negotiated) {
    let explanations = explain::stream(stream, negotiated);
    let octets: usize = explanations.iter().map(|explanation| explanation.octets.len()).sum();
    assert_eq!(octets, stream.len());
    for explanation in explanations {
        let read = Message::decode(&explanation.octets, negotiated);
        assert_eq!(explanation.refusal.map(|refusal| refusal.error), read.err());
        match explanation.content {
            Content::Open(content) => {
                content.capabilities.iter().for_each(|capability| printable(&capability.details));
            }
            Content::Update(content) => {
                content.attributes.iter().for_each(|attribute| printable(&attribute.value));
            }
            _ => {}
        }
    }
}

fn check_error(error: &DecodeError, negotiated: Negotiated) {
    fit_for_a_terminal(&error.to_string());
    let notification = Message::Notification(error.to_notification());
    let written = write(&notification, negotiated).expect("a NOTIFICATION can always be written");
    assert_eq!(frame(&written, negotiated.max_len_send()), Ok(Some(written.len())));
}

fn write(message: &Message, negotiated: Negotiated) -> Result<BytesMut, EncodeError> {
    let mut written = BytesMut::new();
    message.encode(negotiated, &mut written).map(|()| written)
}

fn fit_for_a_terminal(text: &str) {
    assert!(!text.is_empty());
    printable(text);
}

fn printable(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// With fewer octets the answer is the same, or that more are needed.
fn framing_does_not_depend_on_what_has_arrived(
    stream: &[u8],
    negotiated: Negotiated,
    framed: &Result<Option<usize>, DecodeError>,
) {
    let length = framed.as_ref().ok().copied().flatten().unwrap_or(HEADER_LEN);
    for arrived in [0, 1, 15, 16, HEADER_LEN - 1, HEADER_LEN, length.saturating_sub(1), length] {
        let Some(start) = stream.get(..arrived) else { continue };
        let partly = frame(start, negotiated.max_len_receive());
        assert!(
            partly == Ok(None) || partly == *framed,
            "{partly:?} after {arrived} octets, then {framed:?}"
        );
    }
}

fn check_open(open: &Open) {
    assert!(open.version == 4 && open.asn != Asn(0) && !open.router_id.is_unspecified());
    assert!(!matches!(open.hold_time, 1 | 2));
    let negotiated = Negotiated::between(open, open);
    assert_eq!(negotiated.families, open.families());
    assert_eq!(negotiated.peer, PeerKind::Internal);
    for family in negotiated.add_path_receive.iter().chain(negotiated.add_path_send.iter()) {
        assert!(negotiated.families.contains(family));
    }
}

fn check_update(update: &Update, octets: usize, negotiated: Negotiated) {
    keeps_to_what_is_negotiated(update, negotiated);
    keeps_to_rfc_7606(update);
    takes_no_more_than_it_has_octets(update, octets);
    let written = match write(&Message::Update(update.clone()), negotiated) {
        Ok(written) => written,
        // AS4_PATH and a prefix that does not fit next to it.
        Err(EncodeError::AttributesTooLong { .. }) if octets > negotiated.max_len_send() / 2 => return,
        Err(error) => panic!("{error}: {update:?}"),
    };
    let mut again = BytesMut::new();
    let mut read = Said::default();
    for message in messages(&written, negotiated) {
        let Ok(Message::Update(part)) = Message::decode(message, negotiated) else {
            panic!("{message:02x?}")
        };
        assert!(part.problems.is_empty(), "what we write has {:?}", part.problems);
        let contents = [!part.withdrawn.is_empty(), !part.reach.is_empty(), part.end_of_rib.is_some()];
        assert_eq!(contents.iter().filter(|present| **present).count(), 1, "one kind of content per message");
        Message::Update(part.clone()).encode(negotiated, &mut again).expect("what was read can be written");
        read.add(part);
    }
    let mut expected = Said::default();
    expected.add(update.clone());
    assert_eq!(read, expected, "read, written, read");
    assert_eq!(again, written, "written, read, written");
}

fn messages(mut stream: &[u8], negotiated: Negotiated) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = frame(stream, negotiated.max_len_send()).expect("our own headers are right") {
        let (message, rest) = stream.split_at(length);
        messages.push(message);
        stream = rest;
    }
    assert!(stream.is_empty(), "whole messages");
    messages
}

/// What one or more UPDATEs say, however it is cut into messages.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// IPv4 first, as we write it.
    withdrawn: [Vec<Nlri>; 2],
    reach: Vec<(NextHop, Nlri)>,
    attributes: Option<Attributes>,
    end_of_rib: Option<Family>,
}

impl Said {
    fn add(&mut self, update: Update) {
        for nlri in update.withdrawn {
            self.withdrawn[usize::from(nlri.prefix.family() == Family::Ipv6)].push(nlri);
        }
        self.end_of_rib = self.end_of_rib.or(update.end_of_rib);
        if !update.reach.is_empty() {
            let attributes = canonical(update.attributes);
            assert_eq!(*self.attributes.get_or_insert(attributes.clone()), attributes);
        }
        for reach in update.reach {
            self.reach.extend(reach.nlri.into_iter().map(|nlri| (reach.next_hop, nlri)));
        }
    }
}

/// Attributes that differ only in what has no meaning become equal: where a sequence of AS numbers is cut into segments,
/// and the flags of attributes we do not know: the lower four bits are to be ignored (RFC 4271
/// §4.3).
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
    attributes.as_path = AsPath::from_segments(
        joined.iter().map(|(kind, asns)| Segment { kind: *kind, asns: asns.as_slice() }),
    );
    if !attributes.rare.unknown.is_empty() {
        let plain = |raw: &RawAttribute| RawAttribute { flags: raw.flags & 0xe0, ..raw.clone() };
        attributes.rare.unknown = attributes.rare.unknown.iter().map(plain).collect();
    }
    attributes
}

fn keeps_to_what_is_negotiated(update: &Update, negotiated: Negotiated) {
    let reached = || update.reach.iter().flat_map(|reach| &reach.nlri);
    for nlri in update.withdrawn.iter().chain(reached()) {
        let family = nlri.prefix.family();
        assert!(negotiated.families.contains(family), "{nlri:?}");
        assert!(nlri.path_id == 0 || negotiated.add_path_receive.contains(family), "{nlri:?}");
    }
    for reach in &update.reach {
        let ipv6 = reach.next_hop.address.is_ipv6();
        let family = reach.nlri[0].prefix.family();
        assert!(reach.nlri.iter().all(|nlri| nlri.prefix.family() == family), "{reach:?}");
        assert!(
            ipv6 == (family == Family::Ipv6) || ipv6 && negotiated.extended_next_hop_receive,
            "{reach:?}"
        );
        let next_hop = reach.next_hop.address;
        assert!(!next_hop.is_unspecified() && !next_hop.is_multicast(), "{reach:?}");
        assert_ne!(next_hop, IpAddr::V4(Ipv4Addr::BROADCAST));
    }
    if negotiated.peer == PeerKind::External {
        let Attributes { local_pref, rare, .. } = &update.attributes;
        assert!(local_pref.is_none() && rare.originator_id.is_none() && rare.cluster_list.is_empty());
    }
    assert!(!update.attributes.as_path.contains(Asn(0)));
}

fn keeps_to_rfc_7606(update: &Update) {
    let withdraw = |disposition| disposition == Disposition::TreatAsWithdraw;
    if update.problems.iter().any(|problem| withdraw(problem.disposition)) {
        assert!(
            update.reach.is_empty()
                && update.attributes == Attributes::default()
                && update.end_of_rib.is_none()
        );
    }
    if update.end_of_rib.is_some() {
        assert!(update.reach.is_empty() && update.withdrawn.is_empty());
    }
    for problem in &update.problems {
        fit_for_a_terminal(&problem.to_string());
    }
}

fn takes_no_more_than_it_has_octets(update: &Update, octets: usize) {
    let Attributes { as_path, communities, large_communities, rare, .. } = &update.attributes;
    assert!(update.reach.len() <= 2);
    assert!(
        update.withdrawn.len() + update.reach.iter().map(|reach| reach.nlri.len()).sum::<usize>() <= octets
    );
    assert!(as_path.asns().count() * 2 <= octets);
    assert!(
        communities.len() * 4 + large_communities.len() * 12 + rare.extended_communities.len() * 8 <= octets
    );
    assert!(rare.unknown.iter().map(|raw| raw.value.len()).sum::<usize>() <= octets);
    assert!(update.problems.len() <= octets);
    assert!(update.problems.iter().map(|problem| problem.octets.len()).sum::<usize>() <= 2 * octets);
}
