//! Where the others and we differ, one case each, with the section of the RFC that decides.
//!
//! A case fails when another codec changes its mind, too: then it can go, and what it kept out of [`super::messages`] can
//! come in.

use bgpkit_parser::models::{BgpMessage as Bgpkit, CapabilityValue, ParamValue};
use netgauze_bgp_pkt::BgpMessage as Netgauze;
use proxima_bgp_wire::{
    Capability, Disposition, ErrorCode, GracefulRestart, Message, Negotiated, Notification, Open,
    RefreshKind, Role, RouteRefresh, Update,
};
use proxima_types::{Asn, Family, Prefix};

use crate::{bgpkit, frames, netgauze, ours, read_ours, session};

fn modern() -> Negotiated {
    session(true, false, false)
}

/// Bytes from hexadecimal digits; blanks are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn update(attributes: &str, nlri: &str) -> Vec<u8> {
    let (attributes, nlri) = (hex(attributes), hex(nlri));
    let length = (attributes.len() as u16).to_be_bytes();
    message(2, &[&[0, 0][..], &length, &attributes, &nlri].concat())
}

fn open(capabilities: Vec<Capability>) -> Message {
    Message::Open(Open::new(Asn(64512), 90, [192, 0, 2, 1].into(), capabilities))
}

fn read_update(octets: &[u8]) -> Update {
    let Message::Update(update) = read_ours(octets, modern()) else { panic!("not an UPDATE") };
    update
}

const ORIGIN_AND_NEXT_HOP: &str = "400101 00 400304 c0000209";
const AS_PATH: &str = "400206 0201 0000fde8";

/// RFC 9072 §2: two-octet lengths above 255 octets of parameters. netgauze reads none, and writes the length modulo 256.
#[test]
fn netgauze_has_no_extended_parameters() {
    let many = (0..10).map(|code| Capability::Unknown { code: 100 + code, value: vec![code; 40] }).collect();
    let message = open(many);
    let octets = ours(&message, modern());
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert_eq!(bgpkit::read(&octets, modern()), message);
    assert!(Message::decode(&netgauze::write(&message, modern()), modern()).is_err());
    assert_eq!(read_ours(&bgpkit::write(&message, modern()), modern()), message);
}

/// RFC 9072 §2: the one-octet length "MUST be ignored on receipt" once the first parameter's type says that lengths are
/// extended. bgpkit does not take a zero.
#[test]
fn bgpkit_minds_the_short_length_of_extended_parameters() {
    let octets = |short: u8| {
        let extended = hex("ff 0009 02 0006 0104 0001 0001");
        message(1, &[&hex("04 fc00 005a c0000201")[..], &[short], &extended].concat())
    };
    for short in [0, 1, 255] {
        let read = Message::decode(&octets(short), modern());
        assert_eq!(read, Ok(open(vec![Capability::multiprotocol(Family::Ipv4)])), "{short}");
        assert_eq!(bgpkit::parse(&octets(short), modern()).is_ok(), short != 0, "{short}");
    }
}

/// RFC 9234 §4.1, table 1: 1 is the route server, 2 its client, 3 the customer. netgauze has the customer as 1 and the
/// others behind it.
#[test]
fn netgauze_numbers_roles_its_own_way() {
    use netgauze_bgp_pkt::{capabilities::BgpCapability, iana::BgpRoleValue};
    for (role, value, theirs) in [
        (Role::Provider, 0, BgpRoleValue::Provider),
        (Role::RouteServer, 1, BgpRoleValue::Customer),
        (Role::RouteServerClient, 2, BgpRoleValue::RS),
        (Role::Customer, 3, BgpRoleValue::RsClient),
        (Role::Peer, 4, BgpRoleValue::Peer),
    ] {
        let octets = ours(&open(vec![Capability::Role(role)]), modern());
        assert!(octets.ends_with(&[9, 1, value]), "{role}");
        let Ok(Netgauze::Open(read)) = netgauze::parse(&octets, modern()) else { panic!("not read") };
        let [BgpCapability::BgpRole(capability)] = read.capabilities()[..] else { panic!("{read:?}") };
        assert_eq!(capability.role(), theirs);
        assert_eq!(bgpkit::read(&octets, modern()), open(vec![Capability::Role(role)]));
    }
}

/// RFC 8538 §2: the N bit next to R. bgpkit drops it.
#[test]
fn bgpkit_has_no_notification_bit_in_graceful_restart() {
    let restart =
        GracefulRestart { restarted: false, notification: true, restart_time: 120, families: Vec::new() };
    let message = open(vec![Capability::GracefulRestart(restart.clone())]);
    let octets = ours(&message, modern());
    assert_eq!(netgauze::read(&octets, modern()), message);
    let lost = GracefulRestart { notification: false, ..restart };
    assert_eq!(bgpkit::read(&octets, modern()), open(vec![Capability::GracefulRestart(lost)]));
}

/// RFC 5492 §3 with RFC 4760 §8: an unknown family is no reason to end the session. netgauze refuses the OPEN unless told to
/// skip capabilities it can't read; bgpkit keeps it raw.
#[test]
fn families_of_others_are_no_fault() {
    let octets = message(1, &hex("04 fc00 005a c0000201 08 02 06 01 04 4006 00 63"));
    let Message::Open(read) = read_ours(&octets, modern()) else { panic!("not an OPEN") };
    assert!(
        matches!(read.capabilities[..], [Capability::Multiprotocol(family)] if family.family().is_none())
    );
    assert!(netgauze::parse(&octets, modern()).is_err());
    let Ok(Bgpkit::Open(read)) = bgpkit::parse(&octets, modern()) else { panic!("not read") };
    let ParamValue::Capacities(capabilities) = &read.opt_params[0].param_value else { panic!("{read:?}") };
    assert!(matches!(capabilities[0].value, CapabilityValue::Raw(_)));
}

/// RFC 6286 §2.1: any identifier but zero. netgauze wants a unicast address, as RFC 4271 §4.2 did.
#[test]
fn identifiers_need_be_no_addresses() {
    let octets = message(1, &hex("04 fc00 005a e0000001 00"));
    assert!(matches!(read_ours(&octets, modern()), Message::Open(_)));
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert!(bgpkit::parse(&octets, modern()).is_ok());
}

/// RFC 4271 §6.2 and RFC 7607 §2: 2/6 for a hold time of 1 or 2, 2/2 for AS 0, 2/3 for the identifier 0.0.0.0. bgpkit leaves
/// all three to its user, netgauze AS 0.
#[test]
fn what_an_open_may_not_say_is_refused() {
    for (body, error, seen_by_netgauze) in [
        ("04 fc00 0001 c0000201 00", ErrorCode::UNACCEPTABLE_HOLD_TIME, true),
        ("04 0000 005a c0000201 00", ErrorCode::BAD_PEER_AS, false),
        ("04 fc00 005a 00000000 00", ErrorCode::BAD_BGP_IDENTIFIER, true),
    ] {
        let octets = message(1, &hex(body));
        let notification = Message::decode(&octets, modern()).unwrap_err().to_notification();
        assert_eq!(notification.error(), error);
        assert_eq!(netgauze::parse(&octets, modern()).is_err(), seen_by_netgauze, "{body}");
        assert!(bgpkit::parse(&octets, modern()).is_ok(), "{body}");
    }
}

/// RFC 9687 §4: code 8, the send hold timer. netgauze can't read it.
#[test]
fn netgauze_does_not_know_the_send_hold_timer() {
    let message = Message::Notification(Notification::new(ErrorCode::SEND_HOLD_TIMER_EXPIRED, []));
    let octets = ours(&message, modern());
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert_eq!(bgpkit::read(&octets, modern()), message);
}

/// RFC 7313 §5: an unknown subtype "MUST" be ignored. netgauze fails.
#[test]
fn netgauze_fails_on_unknown_kinds_of_refresh() {
    let octets = message(5, &[0, 1, 7, 1]);
    let message =
        Message::RouteRefresh(RouteRefresh { family: Family::Ipv4.into(), kind: RefreshKind::Unknown(7) });
    assert_eq!(read_ours(&octets, modern()), message);
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert_eq!(bgpkit::read(&octets, modern()), message);
}

/// RFC 4271 §6.1: a marker other than all ones is 1/1. bgpkit logs it and reads on.
#[test]
fn bgpkit_reads_on_behind_a_bad_marker() {
    let mut octets = message(4, &[]);
    octets[3] = 0;
    let notification = Message::decode(&octets, modern()).unwrap_err().to_notification();
    assert_eq!(notification.error(), ErrorCode::CONNECTION_NOT_SYNCHRONIZED);
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert!(bgpkit::parse(&octets, modern()).is_ok());
}

/// RFC 4271 §4.3: a prefix of no bits is one octet, zero. bgpkit takes a first zero for a path identifier's when what
/// follows lets it (RFC 7911 is not negotiated here).
#[test]
fn bgpkit_guesses_path_identifiers_behind_a_default_route() {
    let octets = update(&format!("{ORIGIN_AND_NEXT_HOP} {AS_PATH}"), "00 18 0a0108 00");
    let prefixes: Vec<Prefix> = read_update(&octets).reach[0].nlri.iter().map(|nlri| nlri.prefix).collect();
    let expected = ["0.0.0.0/0", "10.1.8.0/24", "0.0.0.0/0"];
    assert_eq!(prefixes, expected.map(|text| text.parse().unwrap()));
    let Message::Update(read) = netgauze::read(&octets, modern()) else { panic!("not an UPDATE") };
    assert_eq!(read.reach[0].nlri.iter().map(|nlri| nlri.prefix).collect::<Vec<_>>(), prefixes);
    let Ok(Bgpkit::Update(read)) = bgpkit::parse(&octets, modern()) else { panic!("not read") };
    let [guessed] = read.announced_prefixes[..] else { panic!("{read:?}") };
    assert_eq!((guessed.prefix.to_string().as_str(), guessed.path_id), ("0.0.0.0/8", Some(0x0018_0a01)));
}

/// RFC 4271 §6.3: a prefix that is no unicast destination is no reason to end the session. netgauze fails; bgpkit and we
/// pass it on, and what becomes of it is for the one who uses routes to say.
#[test]
fn netgauze_fails_on_multicast_prefixes() {
    let octets = update(&format!("{ORIGIN_AND_NEXT_HOP} {AS_PATH}"), "08 e0 18 cb0071");
    assert_eq!(read_update(&octets).reach[0].nlri.len(), 2);
    assert!(netgauze::parse(&octets, modern()).is_err());
    assert!(bgpkit::parse(&octets, modern()).is_ok());
}

/// RFC 7606 §7: faulty values, each with what becomes of it. netgauze fails as a whole or sees nothing; bgpkit returns a
/// warning or sees nothing.
#[test]
fn faults_of_attributes_have_their_dispositions_with_us_alone() {
    use Disposition::{AttributeDiscard, TreatAsWithdraw};
    struct Case {
        fault: &'static str,
        attributes: String,
        disposition: Disposition,
        netgauze_reads: bool,
        bgpkit_warns: bool,
    }
    let with = |more: &str| format!("{ORIGIN_AND_NEXT_HOP} {AS_PATH} {more}");
    let case = |fault, attributes, disposition, netgauze_reads, bgpkit_warns| Case {
        fault,
        attributes,
        disposition,
        netgauze_reads,
        bgpkit_warns,
    };
    let cases = [
        case("ORIGIN 3, §7.1", format!("400101 03 400304 c0000209 {AS_PATH}"), TreatAsWithdraw, false, true),
        case(
            "an AS_PATH segment of no length, §7.2",
            format!("{ORIGIN_AND_NEXT_HOP} 400202 0200"),
            TreatAsWithdraw,
            false,
            false,
        ),
        case(
            "AS 0 in AS_PATH, RFC 7607 §2",
            format!("{ORIGIN_AND_NEXT_HOP} 400206 0201 00000000"),
            TreatAsWithdraw,
            true,
            false,
        ),
        case(
            "the next hop 0.0.0.0, RFC 4271 §6.3",
            format!("400101 00 400304 00000000 {AS_PATH}"),
            TreatAsWithdraw,
            true,
            false,
        ),
        case("MULTI_EXIT_DISC of 3 octets, §7.4", with("800403 000000"), TreatAsWithdraw, false, true),
        case("ATOMIC_AGGREGATE of 1 octet, §7.6", with("400601 00"), AttributeDiscard, false, true),
        case("AGGREGATOR of 6 octets, §7.7", with("c00706 fde8 c0000201"), AttributeDiscard, false, false),
        case("COMMUNITIES of 0 octets, §7.8", with("c00800"), TreatAsWithdraw, true, false),
        case("LOCAL_PREF from another AS, §7.5", with("400504 00000064"), AttributeDiscard, true, false),
        case("ORIGIN twice, §3 (g)", with("400101 01"), AttributeDiscard, true, true),
        case("no ORIGIN, §3 (d)", format!("400304 c0000209 {AS_PATH}"), TreatAsWithdraw, true, true),
        case(
            "ORIGIN as an optional attribute, §3 (c)",
            format!("c00101 00 400304 c0000209 {AS_PATH}"),
            TreatAsWithdraw,
            false,
            true,
        ),
    ];
    for Case { fault, attributes, disposition, netgauze_reads, bgpkit_warns } in cases {
        let octets = update(&attributes, "18 cb0071");
        let read = read_update(&octets);
        assert_eq!(read.problems.len(), 1, "{fault}: {:?}", read.problems);
        assert_eq!(read.problems[0].disposition, disposition, "{fault}");
        assert_eq!(read.reach.is_empty(), disposition == TreatAsWithdraw, "{fault}");
        assert_eq!(read.withdrawn.is_empty(), disposition != TreatAsWithdraw, "{fault}");
        assert_eq!(netgauze::parse(&octets, modern()).is_ok(), netgauze_reads, "{fault}: netgauze");
        let Ok(Bgpkit::Update(read)) = bgpkit::parse(&octets, modern()) else { panic!("{fault}: bgpkit") };
        assert_eq!(read.attributes.has_validation_warnings(), bgpkit_warns, "{fault}: bgpkit");
    }
}

/// RFC 7606 §7.11: a next hop of another length than the family's is malformed. netgauze reads 16 octets whatever the length
/// says, and what is left of the next hop as prefixes.
#[test]
fn netgauze_takes_any_length_of_an_ipv6_next_hop_for_16() {
    let mp_reach = "800e1d 0002 01 11 20010db8000000000000000000000009 00 00 30 20010db800ac";
    let octets = update(&format!("{mp_reach} 400101 00 {AS_PATH}"), "");
    let notification = Message::decode(&octets, modern()).unwrap_err().to_notification();
    assert_eq!(notification.error(), ErrorCode::OPTIONAL_ATTRIBUTE_ERROR);
    let Message::Update(read) = netgauze::read(&octets, modern()) else { panic!("not an UPDATE") };
    assert_eq!(read.reach[0].nlri.len(), 2, "a default route out of a next hop");
    let Ok(Bgpkit::Update(read)) = bgpkit::parse(&octets, modern()) else { panic!("not read") };
    assert!(read.attributes.has_validation_warnings());
}

/// RFC 2545 §3: the second address is the link-local one. When it is not, netgauze and bgpkit pass it on, and we leave it
/// out.
#[test]
fn a_second_next_hop_that_is_not_link_local_is_left_out() {
    let second = "20010db8000000000000000000000008";
    let mp_reach = format!("800e2c 0002 01 20 20010db8000000000000000000000009 {second} 00 30 20010db800ac");
    let octets = update(&format!("{mp_reach} 400101 00 {AS_PATH}"), "");
    assert_eq!(read_update(&octets).reach[0].next_hop.link_local, None);
    for read in [netgauze::read(&octets, modern()), bgpkit::read(&octets, modern())] {
        let Message::Update(read) = read else { panic!("not an UPDATE") };
        assert!(read.reach[0].next_hop.link_local.is_some());
    }
}

/// RFC 4271 §6.1 and RFC 8654 §4: 4096 octets unless more is negotiated, and never more for OPEN. The others know no session
/// and take 65535.
#[test]
fn long_messages_need_a_session_that_allows_them() {
    let nlri = "18 cb0071".repeat(1100);
    let octets = update(&format!("{ORIGIN_AND_NEXT_HOP} {AS_PATH}"), &nlri);
    let small = Negotiated { extended_messages_receive: false, extended_messages_send: false, ..modern() };
    let notification = Message::decode(&octets, small).unwrap_err().to_notification();
    assert_eq!(notification.error(), ErrorCode::BAD_MESSAGE_LENGTH);
    assert!(Message::decode(&octets, modern()).is_ok());
    assert!(netgauze::parse(&octets, small).is_ok());
    assert!(bgpkit::parse(&octets, small).is_ok());
    let parts = ours(&read_ours(&octets, modern()), small);
    assert!(frames(&parts).len() == 2 && frames(&parts).iter().all(|message| message.len() <= 4096));
}
