//! What a person gets to read of a message.

use proptest::{collection::vec, prelude::*};
use proxima_bgp_wire::{
    DecodeError, Disposition, ErrorCode, HeaderError, Message, MessageType, Negotiated, Notification,
    explain::{self, AttributeContent, Content, Explanation, explain, flag_names},
};
use proxima_types::Asn;

use super::{after_marker, hex, internal, message, modern, update};

fn attributes(explanation: &Explanation) -> &[AttributeContent] {
    match &explanation.content {
        Content::Update(update) => &update.attributes,
        other => panic!("not an UPDATE: {other:?}"),
    }
}

/// Name and value of each attribute of an UPDATE of these attributes and one route.
fn told(text: &str, negotiated: Negotiated) -> Vec<(&'static str, String)> {
    let explanation = explain(&update(&[], &hex(text), &hex("18 cb0071")), negotiated);
    attributes(&explanation).iter().map(|a| (a.name.unwrap_or("?"), a.value.clone())).collect()
}

#[test]
fn every_attribute_is_told_by_name_and_value() {
    let cases = [
        ("400101 00", "ORIGIN", "igp"),
        ("400101 02", "ORIGIN", "incomplete"),
        ("400101 07", "ORIGIN", "7, which is no origin"),
        ("400210 0202 0000fde8 fa56ea00 0101 00000007", "AS_PATH", "65000 4200000000 {7}"),
        ("400206 0301 0000fde8", "AS_PATH", "(65000)"),
        ("40020a 0402 0000fde8 0000fde9", "AS_PATH", "[65000,65001]"),
        ("400200", "AS_PATH", ""),
        ("400304 c0000209", "NEXT_HOP", "192.0.2.9"),
        ("800404 00000032", "MULTI_EXIT_DISC", "50"),
        ("400504 00000064", "LOCAL_PREF", "100"),
        ("400600", "ATOMIC_AGGREGATE", ""),
        ("c00708 0000fde8 c0000201", "AGGREGATOR", "AS 65000 192.0.2.1"),
        (
            "c0080c fc000064 ffff0000 ffff029a",
            "COMMUNITIES",
            "64512:100 65535:0 (graceful-shutdown) 65535:666 (blackhole)",
        ),
        ("800904 c0000201", "ORIGINATOR_ID", "192.0.2.1"),
        ("800a08 c0000201 c0000202", "CLUSTER_LIST", "192.0.2.1 192.0.2.2"),
        (
            "800e1c 0002 01 10 20010db8000000000000000000000009 00 30 20010db800ac",
            "MP_REACH_NLRI",
            "ipv6 via 2001:db8::9: 2001:db8:ac::/48",
        ),
        ("800f0a 0002 01 30 20010db800ad", "MP_UNREACH_NLRI", "ipv6: 2001:db8:ad::/48"),
        ("800f03 0002 01", "MP_UNREACH_NLRI", "ipv6: no prefixes"),
        ("800f05 0001 80 0102", "MP_UNREACH_NLRI", "AFI 1 SAFI 128: 01 02"),
        (
            "c01018 0002fc0000000007 0102c000020100e7 0203fa56ea000001",
            "EXTENDED_COMMUNITIES",
            "rt:64512:7 rt:192.0.2.1:231 ro:4200000000:1",
        ),
        ("c01008 030c000000000008", "EXTENDED_COMMUNITIES", "03 0c 00 00 00 00 00 08"),
        ("c01106 0201 00011170", "AS4_PATH", "70000"),
        ("c01208 00011170 c0000208", "AS4_AGGREGATOR", "AS 70000 192.0.2.8"),
        ("c0200c 0000fc00 00000001 00000002", "LARGE_COMMUNITY", "64512:1:2"),
        ("c02304 0000fde8", "ONLY_TO_CUSTOMER", "AS 65000"),
        ("801a03 010203", "AIGP", "01 02 03"),
        ("c0c802 abcd", "?", "ab cd"),
    ];
    for (bytes, name, value) in cases {
        assert_eq!(told(bytes, internal()), [(name, value.to_owned())], "{bytes}");
    }
}

#[test]
fn a_problem_stands_beside_its_attribute_with_its_disposition_and_rule() {
    let bytes = update(
        &[],
        &hex("400101 00 400101 01 400206 0201 0000fde8 400304 c0000209 c00803 fc0000 400601 00"),
        &hex("18 cb0071"),
    );
    let explanation = explain(&bytes, modern());
    assert_eq!(explanation.refusal, None);
    let problems: Vec<_> = attributes(&explanation)
        .iter()
        .map(|a| a.problem.as_ref().map(|p| (p.disposition.name(), p.rule())))
        .collect();
    assert_eq!(
        problems,
        [
            None,
            Some(("attribute discard", "RFC 7606 §3 g")),
            None,
            None,
            Some(("treat-as-withdraw", "RFC 7606 §7.8")),
            Some(("attribute discard", "RFC 7606 §7.6")),
        ]
    );
    let Content::Update(content) = &explanation.content else { panic!("an UPDATE") };
    let outcome = content.outcome.as_ref().expect("the session survives it");
    assert_eq!(outcome.disposition(), Some(Disposition::TreatAsWithdraw));
    assert_eq!(outcome.withdrawn.len(), 1);
}

#[test]
fn an_update_that_ends_the_session_is_shown_with_its_notification() {
    let explanation = explain(&update(&[], &hex("400101 00 406301 07 400304 c0"), &[]), modern());
    let refusal = explanation.refusal.as_ref().expect("a reset");
    assert_eq!(refusal.notification, Notification::new(ErrorCode(3, 2), hex("406301 07")));
    assert_eq!(refusal.rule, "RFC 4271 §6.3");
    assert_eq!(refusal.error.to_string(), "attribute 99 is marked well-known but is unknown");
    let shown: Vec<_> = attributes(&explanation).iter().map(|a| (a.code, a.value.as_str())).collect();
    assert_eq!(shown, [(1, "igp"), (99, "07"), (3, "c0")], "up to the one that is cut short");
}

#[test]
fn an_open_that_is_refused_is_still_shown() {
    let bytes = message(1, &hex("04 5ba0 0001 c0000201 10 020e 4104 fa56ea00 0104 00010001 4600"));
    let explanation = explain(&bytes, Negotiated::default());
    assert_eq!(explanation.name(), Some("OPEN"));
    let refusal = explanation.refusal.expect("a hold time of 1 s");
    assert_eq!((refusal.notification.error(), refusal.rule), (ErrorCode(2, 6), "RFC 4271 §6.2"));
    let Content::Open(open) = explanation.content else { panic!("an OPEN") };
    assert_eq!((open.open.asn, open.two_octet_as), (Asn(4_200_000_000), Asn::TRANS));
    assert_eq!(open.open.hold_time, 1);
    assert!(!open.extended_parameters);
    let capabilities: Vec<_> =
        open.capabilities.iter().map(|c| (c.code, c.name.unwrap_or("?"), c.details.as_str())).collect();
    assert_eq!(
        capabilities,
        [
            (65, "four-octet AS number", "4200000000"),
            (1, "multiprotocol", "ipv4"),
            (70, "enhanced route refresh", "")
        ]
    );
}

#[test]
fn other_messages_are_told_by_type() {
    let notification = Notification::hard_reset(Notification::shutdown("bye"));
    let bytes = after_marker("001b 03 06 09 06 02 03 627965");
    let mut bytes = bytes;
    bytes[17] = bytes.len() as u8;
    assert_eq!(explain(&bytes, modern()).content, Content::Notification(notification));
    let keepalive = explain(&after_marker("0013 04"), modern());
    assert_eq!((keepalive.name(), keepalive.content), (Some("KEEPALIVE"), Content::Keepalive));
    let refresh = explain(&after_marker("0017 05 0002 00 01"), modern());
    assert!(matches!(refresh.content, Content::RouteRefresh(_)));
}

#[test]
fn a_stream_is_told_message_by_message_and_its_rest_as_truncated() {
    let mut bytes = [after_marker("0013 04"), after_marker("0017 02 0000 0000")].concat();
    bytes.extend_from_slice(&after_marker("0017 02 0000")[..]);
    let told = explain::stream(&bytes, modern());
    let truncated = |e: &explain::Explanation| e.truncated().map(|t| t.to_string());
    let names: Vec<_> = told.iter().map(|e| (e.name(), e.octets.len(), truncated(e))).collect();
    let rest = Some("21 of 23 octets".to_owned());
    assert_eq!(
        names,
        [(Some("KEEPALIVE"), 19, None), (Some("UPDATE"), 23, None), (Some("UPDATE"), 21, rest)]
    );
    let header = explain::stream(&bytes[..7], modern());
    assert_eq!(truncated(&header[0]).as_deref(), Some("7 of the 19 octets of a header"));
    let garbage = explain::stream(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", modern());
    assert_eq!(garbage.len(), 1);
    let refusal = garbage[0].refusal.as_ref().expect("no BGP");
    assert_eq!(refusal.error, DecodeError::Header(HeaderError::NotSynchronized));
    assert_eq!(explain::stream(&[], modern()), []);
}

#[test]
fn a_message_of_a_wrong_length_is_as_long_as_it_says_and_what_follows_is_told() {
    let keepalive = after_marker("0013 04");
    let bytes =
        [after_marker("0014 04 00"), keepalive.clone(), after_marker("0013 09"), keepalive.clone()].concat();
    let told = explain::stream(&bytes, modern());
    let lengths: Vec<_> = told.iter().map(|e| (e.name(), e.octets.len(), e.endless())).collect();
    let sound = (Some("KEEPALIVE"), 19, None);
    assert_eq!(lengths, [(Some("KEEPALIVE"), 20, None), sound, (None, 19, None), sound]);
    let wrong = |at: usize| told[at].refusal.as_ref().map(|refusal| refusal.error.clone());
    assert_eq!(wrong(0), Some(DecodeError::Header(HeaderError::BadLength(20))));
    assert_eq!(wrong(2), Some(DecodeError::Header(HeaderError::BadType(9))));
    assert_eq!((wrong(1), wrong(3)), (None, None));
    let short = explain::stream(&[after_marker("000a 04"), keepalive].concat(), modern());
    let lengths: Vec<_> = short.iter().map(|e| (e.name(), e.octets.len(), e.endless())).collect();
    assert_eq!(lengths, [(Some("KEEPALIVE"), 38, Some(10))], "nobody knows where it ends");
}

#[test]
fn flags_are_told_in_words() {
    assert_eq!(flag_names(0x40), ["well-known", "transitive"]);
    assert_eq!(flag_names(0xf0), ["optional", "transitive", "partial", "extended length"]);
    assert_eq!(flag_names(0x80), ["optional", "non-transitive"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_explained_and_as_the_decoder_takes_it(kind in 0..7u8, body in vec(any::<u8>(), 0..300)) {
        let bytes = message(kind, &body);
        let explanation = explain(&bytes, modern());
        let decoded = Message::decode(&bytes, modern());
        prop_assert_eq!(explanation.refusal.as_ref().map(|refusal| &refusal.error), decoded.as_ref().err());
        if let (Content::Update(content), Ok(Message::Update(update))) = (&explanation.content, &decoded) {
            prop_assert_eq!(content.outcome.as_ref(), Some(update));
        }
        prop_assert_eq!(&explanation.octets[..], &bytes[..]);
    }

    #[test]
    fn any_attribute_value_is_explained(code in 0..36u8, value in vec(any::<u8>(), 0..60)) {
        let attribute = [&[0xc0, code, value.len() as u8][..], &value].concat();
        let explanation = explain(&update(&[], &attribute, &[24, 203, 0, 113]), internal());
        prop_assert_eq!(explanation.kind, Some(MessageType::Update));
        prop_assert_eq!(attributes(&explanation).len(), 1);
        prop_assert_eq!(attributes(&explanation)[0].length, value.len());
    }

    #[test]
    fn any_stream_is_explained_to_its_last_octet(bytes in vec(any::<u8>(), 0..300), at in 0..4usize) {
        let stream = [after_marker("0013 04").repeat(at), bytes].concat();
        let told: usize = explain::stream(&stream, modern()).iter().map(|e| e.octets.len()).sum();
        prop_assert_eq!(told, stream.len());
    }
}
