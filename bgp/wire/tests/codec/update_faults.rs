//! Every fault of an UPDATE has the disposition that RFC 7606 gives it.

use bytes::BytesMut;
use proxima_bgp_wire::{
    AsPath, Attributes, Disposition, EncodeError, ErrorCode, Families, Fault, Negotiated, NextHop, Nlri,
    Origin, Update, update,
};
use proxima_types::{Asn, Family, Prefix};

use super::{decode_update, frames, hex, internal, modern, two_octet};

const ORIGIN: &str = "400101 00";
const AS_PATH: &str = "400206 0201 0000fde8";
const NEXT_HOP: &str = "400304 c0000209";
const NLRI: &str = "18 cb0071";
const MP_REACH: &str = "800e1c 0002 01 10 20010db8000000000000000000000009 00 30 20010db800ac";
const MP_UNREACH: &str = "800f0a 0002 01 30 20010db800ad";

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn nlri(text: &str) -> Nlri {
    prefix(text).into()
}

/// An UPDATE with the mandatory attributes, `extra`, and one IPv4 route.
fn with(extra: &str) -> Vec<u8> {
    super::update(&[], &hex(&[ORIGIN, AS_PATH, NEXT_HOP, extra].concat()), &hex(NLRI))
}

/// An UPDATE of exactly these attributes and one IPv4 route.
fn only(attributes: &str) -> Vec<u8> {
    super::update(&[], &hex(attributes), &hex(NLRI))
}

/// What became of the attributes found faulty.
fn problems(update: &Update) -> Vec<(u8, Fault, Disposition)> {
    update.problems.iter().map(|problem| (problem.attribute, problem.fault, problem.disposition)).collect()
}

#[track_caller]
fn assert_withdrawn(claim: &str, message: &[u8], negotiated: Negotiated, attribute: u8, fault: Fault) {
    let update = decode_update(message, negotiated).unwrap_or_else(|error| panic!("{claim}: {error}"));
    assert_eq!(problems(&update), [(attribute, fault, Disposition::TreatAsWithdraw)], "{claim}");
    assert_eq!(update.withdrawn, [nlri("203.0.113.0/24")], "{claim}");
    assert!(update.reach.is_empty(), "{claim}");
    assert_eq!(update.end_of_rib, None, "{claim}");
}

#[track_caller]
fn assert_discarded(claim: &str, message: &[u8], negotiated: Negotiated, attribute: u8, fault: Fault) {
    let update = decode_update(message, negotiated).unwrap_or_else(|error| panic!("{claim}: {error}"));
    assert_eq!(problems(&update), [(attribute, fault, Disposition::AttributeDiscard)], "{claim}");
    assert!(update.withdrawn.is_empty(), "{claim}");
    assert_eq!(update.reach.len(), 1, "{claim}");
    assert_eq!(update.reach[0].nlri, [nlri("203.0.113.0/24")], "{claim}");
    let plain =
        Attributes { origin: Origin::Igp, as_path: AsPath::sequence([Asn(65000)]), ..Attributes::default() };
    assert_eq!(update.attributes, plain, "{claim}: nothing of the attribute is left");
}

#[track_caller]
fn assert_reset(claim: &str, message: &[u8], negotiated: Negotiated, code: (u8, u8), data: &str) {
    let error = decode_update(message, negotiated).expect_err(claim);
    let notification = error.to_notification();
    assert_eq!((notification.code, notification.subcode), code, "{claim}: {error}");
    assert_eq!(notification.data, hex(data), "{claim}");
    assert!(!error.to_string().is_empty());
}

#[test]
fn faults_that_withdraw_the_routes() {
    let value = Fault::Value;
    let length = Fault::Length;
    let no_origin = |origin: &str| only(&[origin, AS_PATH, NEXT_HOP].concat());
    let no_path = |path: &str| only(&[ORIGIN, path, NEXT_HOP].concat());
    let no_hop = |hop: &str| only(&[ORIGIN, AS_PATH, hop].concat());
    let cases: Vec<(&str, Vec<u8>, Negotiated, u8, Fault)> = vec![
        ("§7.1 ORIGIN of 0 octets", no_origin("400100"), modern(), 1, length(0)),
        ("§7.1 ORIGIN of 2 octets", no_origin("400102 0000"), modern(), 1, length(2)),
        ("§7.1 ORIGIN 3", no_origin("400101 03"), modern(), 1, value),
        ("§7.2 unknown segment type", no_path("400206 0501 0000fde8"), modern(), 2, value),
        ("§7.2 segment type 0", no_path("400206 0001 0000fde8"), modern(), 2, value),
        ("§7.2 segment longer than the path", no_path("400206 0202 0000fde8"), modern(), 2, value),
        ("§7.2 one octet left over", no_path("400207 0201 0000fde8 02"), modern(), 2, value),
        ("§7.2 empty segment", no_path("400208 0200 0201 0000fde8"), modern(), 2, value),
        ("§7.2 two octets per AS from a four-octet peer", no_path("400204 0201 fde8"), modern(), 2, value),
        (
            "§7.2 four octets per AS from a two-octet peer",
            no_path("400206 0201 0000 fde8"),
            two_octet(),
            2,
            Fault::AsZero,
        ),
        ("RFC 5065 confederation", no_path("400206 0301 0000fde8"), modern(), 2, Fault::Confederation),
        ("RFC 7607 AS 0", no_path("40020a 0202 0000fde8 00000000"), modern(), 2, Fault::AsZero),
        ("§7.3 NEXT_HOP of 3 octets", no_hop("400303 c00002"), modern(), 3, length(3)),
        (
            "§7.3 NEXT_HOP of 16 octets",
            no_hop("400310 20010db8000000000000000000000009"),
            modern(),
            3,
            length(16),
        ),
        ("RFC 4271 §6.3 NEXT_HOP 0.0.0.0", no_hop("400304 00000000"), modern(), 3, value),
        ("RFC 4271 §6.3 NEXT_HOP multicast", no_hop("400304 e0000005"), modern(), 3, value),
        ("RFC 4271 §6.3 NEXT_HOP broadcast", no_hop("400304 ffffffff"), modern(), 3, value),
        ("§7.4 MED of 3 octets", with("800403 000000"), modern(), 4, length(3)),
        ("§7.5 LOCAL_PREF of 5 octets, iBGP", with("400505 0000000000"), internal(), 5, length(5)),
        ("§7.8 no COMMUNITIES", with("c00800"), modern(), 8, length(0)),
        ("§7.8 COMMUNITIES of 6 octets", with("c00806 fc000064 0000"), modern(), 8, length(6)),
        ("§7.9 ORIGINATOR_ID of 5 octets, iBGP", with("800905 0000000000"), internal(), 9, length(5)),
        ("§7.10 CLUSTER_LIST of 0 octets, iBGP", with("800a00"), internal(), 10, length(0)),
        ("§7.10 CLUSTER_LIST of 5 octets, iBGP", with("800a05 0000000000"), internal(), 10, length(5)),
        ("§7.14 EXTENDED_COMMUNITIES of 0 octets", with("c01000"), modern(), 16, length(0)),
        ("§7.14 EXTENDED_COMMUNITIES of 7 octets", with("c01007 00000000000000"), modern(), 16, length(7)),
        ("RFC 8092 LARGE_COMMUNITY of 0 octets", with("c02000"), modern(), 32, length(0)),
        ("RFC 8092 LARGE_COMMUNITY of 8 octets", with("c02008 0000000000000000"), modern(), 32, length(8)),
        ("§3 d no ORIGIN", only(&[AS_PATH, NEXT_HOP].concat()), modern(), 1, Fault::Missing),
        ("§3 d no AS_PATH", only(&[ORIGIN, NEXT_HOP].concat()), modern(), 2, Fault::Missing),
        ("§3 d no NEXT_HOP", only(&[ORIGIN, AS_PATH].concat()), modern(), 3, Fault::Missing),
        ("§3 c ORIGIN optional", no_origin("c00101 00"), modern(), 1, Fault::Flags(0xc0)),
        ("§3 c ORIGIN not transitive", no_origin("000101 00"), modern(), 1, Fault::Flags(0)),
        ("§3 c AS_PATH optional", no_path("c00206 0201 0000fde8"), modern(), 2, Fault::Flags(0xc0)),
        ("§3 c NEXT_HOP optional", no_hop("800304 c0000209"), modern(), 3, Fault::Flags(0x80)),
        ("§3 c MED transitive", with("c00404 00000000"), modern(), 4, Fault::Flags(0xc0)),
        ("§3 c MED well-known", with("400404 00000000"), modern(), 4, Fault::Flags(0x40)),
        ("§3 c ATOMIC_AGGREGATE optional", with("c00600"), modern(), 6, Fault::Flags(0xc0)),
        ("§3 c AGGREGATOR not transitive", with("800708 0000fde8 c0000201"), modern(), 7, Fault::Flags(0x80)),
        ("§3 c COMMUNITIES not transitive", with("800804 fc000064"), modern(), 8, Fault::Flags(0x80)),
        ("§4 attribute beyond the list", with("c00808 fc000064"), modern(), 8, Fault::Overrun),
        ("§4 extended length beyond the list", with("d0080104 fc000064"), modern(), 8, Fault::Overrun),
        ("§4 no room for the length", with("c008"), modern(), 8, Fault::Overrun),
        ("§4 half an extended length", with("d00800"), modern(), 8, Fault::Overrun),
        ("§4 flags only", with("c0"), modern(), 0, Fault::Overrun),
    ];
    for (claim, message, negotiated, attribute, fault) in cases {
        assert_withdrawn(claim, &message, negotiated, attribute, fault);
    }
}

#[test]
fn faults_that_cost_the_attribute_only() {
    let cases: Vec<(&str, &str, Negotiated, u8, Fault)> = vec![
        ("§7.5 LOCAL_PREF, eBGP", "400504 00000064", modern(), 5, Fault::FromExternalPeer),
        ("§7.5 bad LOCAL_PREF, eBGP", "c00501 00", modern(), 5, Fault::FromExternalPeer),
        ("§7.6 ATOMIC_AGGREGATE of 1 octet", "400601 00", modern(), 6, Fault::Length(1)),
        ("§7.7 AGGREGATOR of 6 octets", "c00706 fde8 c0000201", modern(), 7, Fault::Length(6)),
        ("RFC 7607 AGGREGATOR of AS 0", "c00708 00000000 c0000201", modern(), 7, Fault::AsZero),
        ("§7.9 ORIGINATOR_ID, eBGP", "800904 c0000201", modern(), 9, Fault::FromExternalPeer),
        ("§7.10 CLUSTER_LIST, eBGP", "800a04 c0000201", modern(), 10, Fault::FromExternalPeer),
        ("RFC 6793 AS4_PATH", "c01106 0201 00011170", modern(), 17, Fault::FromFourOctetPeer),
        ("RFC 6793 AS4_AGGREGATOR", "c01208 00011170 c0000208", modern(), 18, Fault::FromFourOctetPeer),
        ("§3 g second ORIGIN", "400101 02", modern(), 1, Fault::Duplicate),
        ("§3 g second, faulty AS_PATH", "400201 02", modern(), 2, Fault::Duplicate),
    ];
    for (claim, extra, negotiated, attribute, fault) in cases {
        assert_discarded(claim, &with(extra), negotiated, attribute, fault);
    }
    let old = |extra: &str| only(&[ORIGIN, "400204 0201 fde8", NEXT_HOP, extra].concat());
    let cases: Vec<(&str, &str, u8, Fault)> = vec![
        ("§7.7 AGGREGATOR of 8 octets", "c00708 0000fde8 c0000201", 7, Fault::Length(8)),
        ("RFC 6793 §6 AS4_PATH cut short", "c01105 0201 000111", 17, Fault::Value),
        ("RFC 6793 §6 AS4_PATH empty", "c01100", 17, Fault::Length(0)),
        ("RFC 6793 §6 AS4_PATH of an unknown segment", "c01106 0701 00011170", 17, Fault::Value),
        ("RFC 6793 §6 AS4_AGGREGATOR of 6 octets", "c01206 1170 c0000208", 18, Fault::Length(6)),
    ];
    for (claim, extra, attribute, fault) in cases {
        assert_discarded(claim, &old(extra), two_octet(), attribute, fault);
    }
}

/// Claim, message; code and data of the answer.
type ResetCase = (&'static str, Vec<u8>, (u8, u8), &'static str);

#[test]
fn faults_that_end_the_session() {
    let list = |text: &str| super::update(&[], &hex(text), &[]);
    let mandatory = [ORIGIN, AS_PATH].concat();
    let mp = |text: &str| list(&[text, &mandatory].concat());
    let cases: Vec<ResetCase> = vec![
        ("withdrawn routes beyond the message", super::message(2, &hex("0005 0000")), (3, 1), ""),
        ("attributes beyond the message", super::message(2, &hex("0000 0005 400101")), (3, 1), ""),
        ("no attribute length", super::message(2, &hex("0002 18cb 00")), (3, 1), ""),
        ("§3 g MP_REACH twice", mp(&[MP_REACH, MP_REACH].concat()), (3, 1), ""),
        ("§3 g MP_UNREACH twice", mp(&[MP_UNREACH, MP_UNREACH].concat()), (3, 1), ""),
        ("unknown well-known attribute", with("406301 07"), (3, 2), "406301 07"),
        ("§5.3 withdrawn /33", super::update(&hex("21 cb00710000"), &[], &[]), (3, 10), ""),
        ("§5.3 withdrawn cut short", super::update(&hex("18 cb00"), &[], &[]), (3, 10), ""),
        (
            "§5.3 NLRI /33",
            super::update(&[], &hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat()), &hex("21 cb00710000")),
            (3, 10),
            "",
        ),
        (
            "§5.3 NLRI cut short",
            super::update(&[], &hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat()), &hex("18 cb")),
            (3, 10),
            "",
        ),
        (
            "§5.3 NLRI /255",
            super::update(&[], &hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat()), &hex("ff cb0071")),
            (3, 10),
            "",
        ),
        ("§7.11 no family", mp("800e01 00"), (3, 9), "800e01 00"),
        ("§7.11 no next hop", mp("800e03 000201"), (3, 9), "800e03 000201"),
        ("§7.11 next hop beyond the attribute", mp("800e05 000201 10 20"), (3, 9), "800e05 000201 10 20"),
        (
            "§7.11 next hop of 4 octets for IPv6",
            mp("800e09 000201 04 c0000209 00"),
            (3, 9),
            "800e09 000201 04 c0000209 00",
        ),
        ("§7.11 next hop of 0 octets", mp("800e05 000201 00 00"), (3, 9), "800e05 000201 00 00"),
        ("§7.11 no reserved octet", mp("800e08 000101 04 c0000209"), (3, 9), "800e08 000101 04 c0000209"),
        (
            "§5.3 MP_REACH /129",
            mp(
                "800e28 000201 10 20010db8000000000000000000000009 00 81 20010db800ac00000000000000000000 00 00",
            ),
            (3, 9),
            "800e28 000201 10 20010db8000000000000000000000009 00 81 20010db800ac00000000000000000000 00 00",
        ),
        (
            "§5.3 MP_REACH cut short",
            mp("800e17 000201 10 20010db8000000000000000000000009 00 30 20"),
            (3, 9),
            "800e17 000201 10 20010db8000000000000000000000009 00 30 20",
        ),
        ("§7.12 MP_UNREACH without SAFI", list("800f02 0002"), (3, 9), "800f02 0002"),
        ("§5.3 MP_UNREACH cut short", list("800f05 000201 30 20"), (3, 9), "800f05 000201 30 20"),
        ("§4 MP_REACH beyond the list", list("800e40 000201"), (3, 9), "800e40 000201"),
        ("§4 MP_UNREACH without a length", list("800f"), (3, 9), "800f"),
        ("§5.2 bad ORIGIN without routes", list("400101 09"), (3, 6), "400101 09"),
        ("§5.2 ORIGIN of 2 octets without routes", list("400102 0000"), (3, 5), "400102 0000"),
        ("§5.2 bad flags without routes", list("800101 00"), (3, 4), "800101 00"),
        ("§5.2 bad AS_PATH without routes", list("400201 02"), (3, 11), ""),
        ("§5.2 bad NEXT_HOP without routes", list("400304 00000000"), (3, 8), "400304 00000000"),
        ("§5.2 overrun without routes", list("c00808 00"), (3, 1), ""),
    ];
    for (claim, message, code, data) in cases {
        assert_reset(claim, &message, modern(), code, data);
    }
}

#[test]
fn a_discarded_attribute_without_routes_does_not_end_the_session() {
    let update = decode_update(&super::update(&[], &hex("400601 00"), &[]), modern()).unwrap();
    assert_eq!(problems(&update), [(6, Fault::Length(1), Disposition::AttributeDiscard)]);
    assert_eq!(update.end_of_rib, None);
}

#[test]
fn the_strongest_disposition_wins() {
    let update = decode_update(&with("400601 00 400504 00000064 800400"), modern()).unwrap();
    assert_eq!(problems(&update).len(), 3);
    assert_eq!(update.withdrawn, [nlri("203.0.113.0/24")]);
    assert_reset("and reset above all", &with("800400 406301 07"), modern(), (3, 2), "406301 07");
}

#[test]
fn a_fault_withdraws_the_routes_of_every_field() {
    let attributes = hex(&[MP_REACH, MP_UNREACH, "400101 09", AS_PATH, NEXT_HOP].concat());
    let update = decode_update(&super::update(&hex("18 c63364"), &attributes, &hex(NLRI)), modern()).unwrap();
    assert_eq!(
        update.withdrawn,
        ["198.51.100.0/24", "2001:db8:ad::/48", "203.0.113.0/24", "2001:db8:ac::/48"].map(nlri)
    );
    assert!(update.reach.is_empty());
}

#[test]
fn wrong_flags_of_a_multiprotocol_attribute_withdraw_its_routes() {
    let attributes = hex(&["c0", &MP_REACH[2..], ORIGIN, AS_PATH].concat());
    let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
    assert_eq!(problems(&update), [(14, Fault::Flags(0xc0), Disposition::TreatAsWithdraw)]);
    assert_eq!(update.withdrawn, [nlri("2001:db8:ac::/48")]);
}

#[test]
fn an_ipv6_next_hop_no_host_can_have_withdraws_its_routes() {
    for next_hop in ["00000000000000000000000000000000", "ff020000000000000000000000000001"] {
        let attributes = hex(&format!("800e1c 0002 01 10 {next_hop} 00 30 20010db800ac {ORIGIN} {AS_PATH}"));
        let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
        assert_eq!(problems(&update), [(14, Fault::Value, Disposition::TreatAsWithdraw)]);
        assert_eq!(update.withdrawn, [nlri("2001:db8:ac::/48")]);
    }
}

#[test]
fn an_ipv4_next_hop_no_host_can_have_withdraws_its_routes_in_mp_reach_too() {
    for next_hop in ["00000000", "e0000001", "ffffffff"] {
        let attributes = hex(&format!("800e0d 0001 01 04 {next_hop} 00 18 cb0071 {ORIGIN} {AS_PATH}"));
        let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
        assert_eq!(problems(&update), [(14, Fault::Value, Disposition::TreatAsWithdraw)], "{next_hop}");
        assert_eq!(update.withdrawn, [nlri("203.0.113.0/24")], "{next_hop}");
    }
}

#[test]
fn multiprotocol_routes_need_no_next_hop_attribute() {
    let attributes = hex(&[MP_REACH, ORIGIN, AS_PATH].concat());
    let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
    assert!(update.problems.is_empty());
    assert_eq!(update.reach.len(), 1);
}

#[test]
fn routes_of_families_that_are_not_exchanged_are_left_out() {
    let ipv4_only = Negotiated { families: Families::IPV4, ..modern() };
    let attributes = hex(&[MP_REACH, MP_UNREACH, ORIGIN, AS_PATH, NEXT_HOP].concat());
    let message = super::update(&hex("18 c63364"), &attributes, &hex(NLRI));
    let update = decode_update(&message, ipv4_only).unwrap();
    let fault = Fault::FamilyNotNegotiated(Family::Ipv6.into());
    assert_eq!(
        problems(&update),
        [(14, fault, Disposition::AttributeDiscard), (15, fault, Disposition::AttributeDiscard)]
    );
    assert_eq!(update.withdrawn, [nlri("198.51.100.0/24")]);
    assert_eq!(update.reach.len(), 1);
    assert_eq!(update.reach[0].nlri, [nlri("203.0.113.0/24")]);

    let ipv6_only = Negotiated { families: [Family::Ipv6].into_iter().collect(), ..modern() };
    let update = decode_update(&message, ipv6_only).unwrap();
    assert_eq!(update.withdrawn, [nlri("2001:db8:ad::/48")]);
    assert_eq!(update.reach[0].nlri, [nlri("2001:db8:ac::/48")]);
    let fault = Fault::FamilyNotNegotiated(Family::Ipv4.into());
    assert_eq!(problems(&update), [(3, fault, Disposition::AttributeDiscard)]);

    let vpn = with("800e12 0001 80 0c 000000000000000000000000 00 ff");
    let update = decode_update(&vpn, modern()).unwrap();
    assert_eq!(update.reach.len(), 1, "an unknown family is not even read");
}

#[test]
fn unknown_optional_attributes_are_kept_only_if_transitive() {
    let update = decode_update(&with("d0630002 abcd 806401 07"), modern()).unwrap();
    assert!(update.problems.is_empty());
    let kept: Vec<_> =
        update.attributes.rare.unknown.iter().map(|raw| (raw.flags, raw.code, &raw.value[..])).collect();
    assert_eq!(kept, [(0xc0, 99, &[0xab, 0xcd][..])]);
}

#[test]
fn bits_beyond_the_mask_mean_nothing() {
    let attributes = hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat());
    let update =
        decode_update(&super::update(&hex("09 0aff"), &attributes, &hex("19 c63364ff")), modern()).unwrap();
    assert_eq!(update.withdrawn, [nlri("10.128.0.0/9")]);
    assert_eq!(update.reach[0].nlri, [nlri("198.51.100.128/25")]);
}

#[test]
fn problems_are_told_to_people() {
    let update = decode_update(&with("400601 00"), modern()).unwrap();
    assert_eq!(update.problems[0].to_string(), "ATOMIC_AGGREGATE has a bad length of 1 octets; ignored");
    let update = decode_update(&only(&[ORIGIN, AS_PATH].concat()), modern()).unwrap();
    assert_eq!(update.problems[0].to_string(), "NEXT_HOP is missing; its routes are taken as withdrawn");
}

#[test]
fn announcements_that_can_not_be_written_leave_no_trace() {
    let next_hop = |text: &str| NextHop::from(text.parse::<std::net::IpAddr>().unwrap());
    let plain = Attributes::default();
    let long = Attributes { as_path: AsPath::sequence(vec![Asn(64512); 1100]), ..Attributes::default() };
    let longest = Attributes { as_path: AsPath::sequence(vec![Asn(64512); 20000]), ..Attributes::default() };
    let (v4, v6) = (prefix("203.0.113.0/24"), prefix("2001:db8:ac::/48"));
    let mut buf = BytesMut::from(&b"before"[..]);
    let mut fails = |attributes: &Attributes, hop: &str, prefixes: &[Prefix]| {
        let prefixes = prefixes.iter().copied();
        let error = update::announce(attributes, next_hop(hop), prefixes, modern(), &mut buf).unwrap_err();
        assert_eq!(buf, "before");
        error
    };
    assert!(matches!(fails(&plain, "192.0.2.1", &[v6]), EncodeError::NextHopFamily { .. }));
    assert!(matches!(fails(&plain, "2001:db8::1", &[v4]), EncodeError::NextHopFamily { .. }));
    assert_eq!(
        fails(&plain, "192.0.2.1", &[v4, v6]),
        EncodeError::MixedFamilies { prefix: v6, family: Family::Ipv4 }
    );
    assert!(matches!(fails(&long, "192.0.2.1", &[v4]), EncodeError::AttributesTooLong { .. }));
    assert!(matches!(fails(&longest, "192.0.2.1", &[v4]), EncodeError::AttributesTooLong { .. }));
}

#[test]
fn prefixes_fill_messages_to_the_last_octet() {
    let hosts =
        |count: u32| (0..count).map(|n| Prefix::host(std::net::Ipv4Addr::from(0x0a00_0000 + n).into()));
    let next_hop = NextHop::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
    let attributes = Attributes { as_path: AsPath::sequence([Asn(64512)]), ..Attributes::default() };
    let mut buf = BytesMut::new();
    // 23 octets around 20 of attributes leave room for 810 host routes of 5 octets: 4093 of 4096.
    assert_eq!(update::announce(&attributes, next_hop, hosts(810), modern(), &mut buf), Ok(1));
    assert_eq!(buf.len(), 4093);
    buf.clear();
    assert_eq!(update::announce(&attributes, next_hop, hosts(811), modern(), &mut buf), Ok(2));
    assert_eq!(frames(&buf, 4096).iter().map(|message| message.len()).collect::<Vec<_>>(), [4093, 48]);
    buf.clear();
    assert_eq!(update::announce(&attributes, next_hop, hosts(0), modern(), &mut buf), Ok(0));
    assert_eq!(
        update::withdraw(hosts(0), modern(), &mut buf),
        0,
        "an empty withdrawal would be an End-of-RIB"
    );
    assert!(buf.is_empty());
    assert_eq!(update::withdraw(hosts(814), modern(), &mut buf), 1);
    assert_eq!(buf.len(), 4093);
    assert_eq!(update::withdraw(hosts(815), modern(), &mut buf), 2);
    let extended = Negotiated { extended_messages_receive: true, extended_messages_send: true, ..modern() };
    assert_eq!(update::withdraw(hosts(815), extended, &mut buf), 1);
}

#[test]
fn codes_of_rfc_4271_are_those_of_the_registry() {
    assert_eq!(ErrorCode::MALFORMED_AS_PATH, ErrorCode(3, 11));
    assert_eq!(ErrorCode::ATTRIBUTE_LENGTH_ERROR, ErrorCode(3, 5));
}

/// A session that can do without a family.
fn sparing() -> Negotiated {
    Negotiated { disable_families: true, ..modern() }
}

#[test]
fn a_misshapen_multiprotocol_attribute_costs_its_family_where_the_session_can_do_without() {
    let reach = "800e17 0002 01 10 20010db8000000000000000000000009 00 30 20";
    let unreach = "800f05 0002 01 30 20";
    for (code, spoilt) in [(14, reach), (15, unreach), (14, "800e05 0002 01 10 20"), (14, "800e03 0002 01")] {
        let update = decode_update(&with(spoilt), sparing()).unwrap();
        let disposition = Disposition::DisableFamily(Family::Ipv6);
        assert_eq!(problems(&update), [(code, Fault::Value, disposition)], "{spoilt}");
        assert_eq!(update.disposition(), Some(disposition));
        assert_eq!(update.disabled_family(), Some(Family::Ipv6));
        assert_eq!(update.reach.len(), 1, "{spoilt}: the other family goes on");
        assert_eq!(update.reach[0].nlri, [nlri("203.0.113.0/24")]);
        assert_eq!(update.attributes.as_path, AsPath::sequence([Asn(65000)]));
    }
    let update = decode_update(&with(&[MP_REACH, unreach].concat()), sparing()).unwrap();
    assert_eq!(update.reach.len(), 1, "no route of the family is taken any more");
    let text = decode_update(&with(reach), sparing()).unwrap().problems[0].to_string();
    assert_eq!(
        text,
        "MP_REACH_NLRI has a bad value; ipv6 routes of the peer are dropped and ignored from now on"
    );
}

#[test]
fn a_family_that_goes_takes_the_fields_of_rfc_4271_along() {
    let update = decode_update(&with("800e05 0001 01 10 20"), sparing()).unwrap();
    assert_eq!(update.disabled_family(), Some(Family::Ipv4));
    assert_eq!((update.reach.len(), update.withdrawn.len()), (0, 0));
}

#[test]
fn a_session_without_another_family_or_by_default_ends() {
    let spoilt = "800f05 0002 01 30 20";
    let ipv6_only = Negotiated { families: [Family::Ipv6].into_iter().collect(), ..sparing() };
    for negotiated in [modern(), ipv6_only] {
        assert_reset("MP_UNREACH cut short", &with(spoilt), negotiated, (3, 9), spoilt);
    }
    let both = ["800e05 0001 01 10 20", spoilt].concat();
    assert_reset("both families", &with(&both), sparing(), (3, 9), spoilt);
    assert_reset("beyond the list", &with("800e40 0002 01"), sparing(), (3, 9), "800e40 0002 01");
    assert_reset("no family to tell", &with("800e02 0002"), sparing(), (3, 9), "800e02 0002");
}

#[test]
fn a_fault_elsewhere_still_withdraws_what_the_other_family_has() {
    let update = decode_update(&with("800f05 0002 01 30 20 800403 000000"), sparing()).unwrap();
    assert_eq!(update.withdrawn, [nlri("203.0.113.0/24")]);
    assert_eq!(update.disposition(), Some(Disposition::DisableFamily(Family::Ipv6)));
}

#[test]
fn a_next_hop_that_no_route_needs_is_not_looked_at() {
    // RFC 4760 §3; some speakers send 0.0.0.0 along with MP_REACH_NLRI.
    for next_hop in ["400304 00000000", "400303 c00002", "800304 c0000209"] {
        let attributes = hex(&[MP_REACH, ORIGIN, AS_PATH, next_hop].concat());
        let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
        assert_eq!(update.disposition(), Some(Disposition::AttributeDiscard), "{next_hop}");
        assert_eq!(update.problems[0].rule(), "RFC 4760 §3");
        assert_eq!(update.reach[0].nlri, [nlri("2001:db8:ac::/48")], "{next_hop}");
    }
}

#[test]
fn families_we_do_not_know_are_left_unread_whatever_they_hold() {
    for foreign in ["800e03 0001 80", "800e05 0019 46 ff ff", "800f04 4004 47 ff", "800e03 0001 02"] {
        let update = decode_update(&with(foreign), modern()).unwrap();
        assert_eq!(update.disposition(), Some(Disposition::AttributeDiscard), "{foreign}");
        assert_eq!(update.reach.len(), 1, "{foreign}");
    }
    // With a fault that asks for a withdrawal there is something to withdraw, if only from a family we do not know.
    let attributes = hex(&["800e05 0001 80 00 00", "400101 09", AS_PATH].concat());
    let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
    assert_eq!(update.disposition(), Some(Disposition::TreatAsWithdraw));
}

#[test]
fn ipv6_address_specific_communities_are_checked_and_kept_as_they_came() {
    let value = "0002 20010db8000000000000000000000001 0007";
    let update = decode_update(&with(&format!("c01914 {value}")), modern()).unwrap();
    assert!(update.problems.is_empty());
    let [raw] = &*update.attributes.rare.unknown else { panic!("one attribute") };
    assert_eq!((raw.flags, raw.code, &raw.value[..]), (0xc0, 25, &hex(value)[..]));
    // Known to us, so not marked as passed on by one who did not know it.
    let mut written = BytesMut::new();
    proxima_bgp_wire::Message::Update(update).encode(modern(), &mut written).unwrap();
    let expected = hex(&format!("c01914 {value} {NLRI}"));
    assert!(written.ends_with(&expected), "{written:02x?}");
}

#[test]
fn a_session_takes_routes_with_an_as_set_as_withdrawn() {
    // RFC 9774; a reader of dumps shows them.
    let path = "40020c 0201 0000fde8 0101 00011170";
    let message = only(&[ORIGIN, path, NEXT_HOP].concat());
    let refusing = Negotiated { refuse_as_sets: true, ..modern() };
    assert_withdrawn("AS_PATH", &message, refusing, 2, Fault::AsSet);
    assert!(decode_update(&message, modern()).unwrap().problems.is_empty());
    let refusing = Negotiated { refuse_as_sets: true, ..two_octet() };
    let as4 = [ORIGIN, "400206 0202 fde8 5ba0", NEXT_HOP, "c01106 0101 00011170"].concat();
    assert_withdrawn("AS4_PATH", &only(&as4), refusing, 17, Fault::AsSet);
    let problem = &decode_update(&only(&as4), refusing).unwrap().problems[0];
    assert_eq!(problem.rule(), "RFC 9774");
    assert_eq!(
        problem.to_string(),
        "AS4_PATH has an AS_SET, which no route may have any more; its routes are taken as withdrawn"
    );
}

#[test]
fn an_as4_path_of_nothing_but_confederations_changes_nothing() {
    let attributes = [ORIGIN, "400204 0201 fde8", NEXT_HOP, "c01106 0301 00011170"].concat();
    let update = decode_update(&only(&attributes), two_octet()).unwrap();
    assert_eq!(update.attributes.as_path, AsPath::sequence([Asn(65000)]));
    assert!(update.problems.is_empty());
}
