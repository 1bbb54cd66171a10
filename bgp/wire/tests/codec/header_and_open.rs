//! Every fault of a header and of an OPEN leads to exactly one NOTIFICATION (RFC 4271 §6.1, §6.2).

use std::net::Ipv4Addr;

use bytes::BytesMut;
use proxima_bgp_wire::{
    Capability, EXTENDED_MAX_LEN, EncodeError, ErrorCode, MAX_LEN, Message, Negotiated, Notification, Open,
    RouteRefresh, frame,
};
use proxima_types::{Asn, Family};

use super::{after_marker, encode, hex, message, modern};

fn extended() -> Negotiated {
    Negotiated { extended_messages_receive: true, extended_messages_send: true, ..modern() }
}

/// Claim, bytes, longest message allowed; code, subcode and data of the answer.
type FramingCase = (&'static str, Vec<u8>, usize, (u8, u8, &'static str));

/// What the framing of these bytes is answered with.
fn framing_fault(bytes: &[u8], max_len: usize) -> (u8, u8, Vec<u8>) {
    let Notification { code, subcode, data } = frame(bytes, max_len).expect_err("a fault").to_notification();
    (code, subcode, data)
}

#[test]
fn every_header_fault_has_its_notification() {
    let cases: [FramingCase; 17] = [
        ("marker", [vec![0xff; 15], hex("fe 0013 04")].concat(), MAX_LEN, (1, 1, "")),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), MAX_LEN, (1, 1, "")),
        ("TLS, only the first octets", hex("1603 01"), MAX_LEN, (1, 1, "")),
        ("length 0", after_marker("0000 04"), MAX_LEN, (1, 2, "0000")),
        ("length 18", after_marker("0012 04"), MAX_LEN, (1, 2, "0012")),
        ("length 4097", after_marker("1001 02"), MAX_LEN, (1, 2, "1001")),
        ("length 65535", after_marker("ffff 02"), MAX_LEN, (1, 2, "ffff")),
        ("OPEN of 28", after_marker("001c 01"), MAX_LEN, (1, 2, "001c")),
        ("UPDATE of 22", after_marker("0016 02"), MAX_LEN, (1, 2, "0016")),
        ("NOTIFICATION of 20", after_marker("0014 03"), MAX_LEN, (1, 2, "0014")),
        ("KEEPALIVE of 20", after_marker("0014 04"), MAX_LEN, (1, 2, "0014")),
        ("ROUTE-REFRESH of 22", after_marker("0016 05"), MAX_LEN, (1, 2, "0016")),
        ("OPEN of 4097, extended", after_marker("1001 01"), EXTENDED_MAX_LEN, (1, 2, "1001")),
        ("KEEPALIVE of 4097, extended", after_marker("1001 04"), EXTENDED_MAX_LEN, (1, 2, "1001")),
        ("type 0", after_marker("0013 00"), MAX_LEN, (1, 3, "00")),
        ("type 6", after_marker("0017 06"), MAX_LEN, (1, 3, "06")),
        ("type 255", after_marker("0013 ff"), EXTENDED_MAX_LEN, (1, 3, "ff")),
    ];
    for (claim, bytes, max_len, (code, subcode, data)) in cases {
        assert_eq!(framing_fault(&bytes, max_len), (code, subcode, hex(data)), "{claim}");
    }
}

#[test]
fn a_message_is_awaited_until_its_last_octet() {
    let bytes = message(2, &hex("0000 0000"));
    for end in 0..bytes.len() {
        assert_eq!(frame(&bytes[..end], MAX_LEN), Ok(None), "{end} octets");
    }
    assert_eq!(frame(&bytes, MAX_LEN), Ok(Some(bytes.len())));
    let followed = [bytes.clone(), bytes.clone()].concat();
    assert_eq!(frame(&followed, MAX_LEN), Ok(Some(bytes.len())));
}

#[test]
fn a_long_update_passes_only_with_extended_messages() {
    let long = message(2, &[&hex("0000 0000")[..], &vec![0; 5000]].concat());
    assert_eq!(frame(&long, EXTENDED_MAX_LEN), Ok(Some(long.len())));
    assert!(Message::decode(&long, extended()).is_ok());
    let refused = Message::decode(&long, modern()).unwrap_err().to_notification();
    assert_eq!(refused.error(), ErrorCode::BAD_MESSAGE_LENGTH);
}

#[test]
fn bytes_that_are_not_one_whole_message_are_refused() {
    let keepalive = after_marker("0013 04");
    for bytes in [&keepalive[..18], &[keepalive.clone(), vec![0xff]].concat(), &[]] {
        let refused = Message::decode(bytes, modern()).unwrap_err().to_notification();
        assert_eq!(refused.error(), ErrorCode::BAD_MESSAGE_LENGTH);
    }
}

#[test]
fn every_open_fault_has_its_notification() {
    let cases: &[(&str, &str, (u8, u8, &str))] = &[
        ("version 3", "03 fc00 0009 c0000201 00", (2, 1, "0004")),
        ("version 5", "05 fc00 0009 c0000201 00", (2, 1, "0004")),
        ("version before all else", "03 0000 0001 00000000 05 0102", (2, 1, "0004")),
        ("AS 0", "04 0000 0009 c0000201 00", (2, 2, "")),
        ("AS 0 in four octets", "04 5ba0 0009 c0000201 08 0206 4104 00000000", (2, 2, "")),
        ("AS 0 in two octets only", "04 0000 0009 c0000201 08 0206 4104 0000fc00", (2, 2, "")),
        ("identifier 0.0.0.0", "04 fc00 0009 00000000 00", (2, 3, "")),
        ("hold time 1", "04 fc00 0001 c0000201 00", (2, 6, "")),
        ("hold time 2", "04 fc00 0002 c0000201 00", (2, 6, "")),
        ("authentication parameter", "04 fc00 0009 c0000201 03 0101 00", (2, 4, "")),
        ("unknown parameter", "04 fc00 0009 c0000201 02 6300", (2, 4, "")),
        ("parameters cut short", "04 fc00 0009 c0000201 08 0206 4104 0000", (2, 0, "")),
        ("parameters too long", "04 fc00 0009 c0000201 02 0200 0200", (2, 0, "")),
        ("parameter beyond the list", "04 fc00 0009 c0000201 03 0202 41", (2, 0, "")),
        ("half a parameter header", "04 fc00 0009 c0000201 01 02", (2, 0, "")),
        ("capability beyond its parameter", "04 fc00 0009 c0000201 04 0202 4104", (2, 0, "")),
        ("half a capability header", "04 fc00 0009 c0000201 03 0201 41", (2, 0, "")),
        ("four-octet AS of 2 octets", "04 fc00 0009 c0000201 06 0204 4102 fc00", (2, 0, "")),
        ("four-octet AS of 5 octets", "04 fc00 0009 c0000201 09 0207 4105 0000fc0000", (2, 0, "")),
        ("multiprotocol of 3 octets", "04 fc00 0009 c0000201 07 0205 0103 000101", (2, 0, "")),
        ("extended length cut short", "04 fc00 0009 c0000201 ff ff 00", (2, 0, "")),
        ("extended length too small", "04 fc00 0009 c0000201 ff ff 0001 02 0000", (2, 0, "")),
        ("extended parameter too long", "04 fc00 0009 c0000201 ff ff 0003 02 0001", (2, 0, "")),
        ("extended unknown parameter", "04 fc00 0009 c0000201 ff ff 0003 03 0000", (2, 4, "")),
    ];
    for (claim, body, (code, subcode, data)) in cases {
        let fault = Message::decode(&message(1, &hex(body)), Negotiated::default()).expect_err(claim);
        assert_eq!(
            fault.to_notification(),
            Notification::new(ErrorCode(*code, *subcode), hex(data)),
            "{claim}"
        );
        assert!(!fault.to_string().is_empty());
    }
}

#[test]
fn odd_but_lawful_opens_are_accepted() {
    let cases: &[(&str, &str)] = &[
        ("no hold time", "04 fc00 0000 c0000201 00"),
        ("the least hold time", "04 fc00 0003 c0000201 00"),
        ("the longest hold time", "04 fc00 ffff c0000201 00"),
        ("an empty capabilities parameter", "04 fc00 0009 c0000201 02 0200"),
        ("a capability twice", "04 fc00 0009 c0000201 0e 020c 0104 00010001 0104 00010001"),
        ("a capability twice in two parameters", "04 fc00 0009 c0000201 08 0202 0200 0202 0200"),
        ("an unknown capability", "04 fc00 0009 c0000201 07 0205 f003 010203"),
        ("an unknown family", "04 fc00 0009 c0000201 08 0206 0104 40040047"),
        ("an add-path mode of 0", "04 fc00 0009 c0000201 08 0206 4504 00010100"),
        ("a role of 5", "04 fc00 0009 c0000201 05 0203 0901 05"),
        ("graceful restart cut short", "04 fc00 0009 c0000201 05 0203 4001 00"),
        ("extended parameters, none", "04 fc00 0009 c0000201 ff ff 0000"),
        ("AS_TRANS and the true AS", "04 5ba0 0009 c0000201 08 0206 4104 fa56ea00"),
    ];
    for (claim, body) in cases {
        let read = Message::decode(&message(1, &hex(body)), Negotiated::default());
        assert!(matches!(read, Ok(Message::Open(_))), "{claim}: {read:?}");
    }
}

#[test]
fn an_as_beyond_two_octets_is_sent_as_trans() {
    let open = Open::new(
        Asn(4_200_000_000),
        90,
        Ipv4Addr::new(192, 0, 2, 11),
        vec![Capability::FourOctetAs(Asn(4_200_000_000))],
    );
    let bytes = encode(&Message::Open(open), Negotiated::default()).unwrap();
    assert_eq!(bytes, message(1, &hex("04 5ba0 005a c000020b 08 0206 4104 fa56ea00")));
}

#[test]
fn an_open_that_can_not_be_written_says_why_and_leaves_no_trace() {
    let open = |capabilities| Message::Open(Open::new(Asn(1), 9, Ipv4Addr::new(192, 0, 2, 11), capabilities));
    let mut buf = BytesMut::from(&b"before"[..]);
    let long = open(vec![Capability::Unknown { code: 200, value: vec![0; 256] }]);
    assert_eq!(
        long.encode(Negotiated::default(), &mut buf),
        Err(EncodeError::CapabilityTooLong { code: 200, len: 256 })
    );
    let many = open(vec![Capability::Unknown { code: 200, value: vec![0; 255] }; 16]);
    assert_eq!(many.encode(extended(), &mut buf), Err(EncodeError::OpenTooLong { len: 29 + 6 + 16 * 257 }));
    assert_eq!(buf, "before");
}

#[test]
fn a_route_refresh_mark_of_the_wrong_length_is_answered_with_itself() {
    let mark = message(5, &hex("0001 01 01 00"));
    let fault = Message::decode(&mark, modern()).unwrap_err();
    assert_eq!(fault.to_notification(), Notification::new(ErrorCode(7, 1), mark));
    let with_filter = message(5, &hex("0001 00 01 01 80 0000"));
    assert!(matches!(Message::decode(&with_filter, modern()), Ok(Message::RouteRefresh(_))));
    let unknown_mark = message(5, &hex("0001 09 01 00"));
    assert!(matches!(Message::decode(&unknown_mark, modern()), Ok(Message::RouteRefresh(_))));
    // Where marks were not agreed on the octet is reserved (RFC 2918 §3).
    let plain = Negotiated { enhanced_refresh: false, ..modern() };
    for octet in ["00", "01", "02", "09"] {
        let request = message(5, &hex(&format!("0001 {octet} 01 00")));
        let read = Message::decode(&request, plain);
        assert_eq!(read, Ok(Message::RouteRefresh(RouteRefresh::request(Family::Ipv4))), "{octet}");
    }
}
