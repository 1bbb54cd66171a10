//! NOTIFICATIONs: shutdown messages, hard resets, and what a person gets to read.

use proxima_bgp_wire::{Capability, ErrorCode, HEADER_LEN, MAX_LEN, Message, Notification};
use proxima_types::{Asn, Family};

use super::{encode, hex, message, modern};

#[test]
fn a_shutdown_message_is_cut_to_255_octets_between_characters() {
    let long = "ä".repeat(200);
    let shutdown = Notification::shutdown(&long);
    assert_eq!(shutdown.data[0], 254);
    assert_eq!(shutdown.shutdown_message(), Some("ä".repeat(127)));
    assert_eq!(Notification::reset("").data, [0]);
    assert_eq!(Notification::reset("").shutdown_message(), None);
}

#[test]
fn a_shutdown_message_with_a_wrong_length_is_no_message() {
    for data in ["", "00", "05 6162", "01 6162"] {
        let notification = Notification::new(ErrorCode::ADMINISTRATIVE_SHUTDOWN, hex(data));
        assert_eq!(notification.shutdown_message(), None, "{data}");
    }
}

#[test]
fn what_a_peer_writes_can_not_steer_a_terminal() {
    let shutdown = Notification::shutdown("\u{1b}[2J\"bye\"\n");
    assert_eq!(shutdown.to_string(), r#"administrative shutdown (6/2): "\u{1b}[2J\"bye\"\n""#);
}

#[test]
fn a_hard_reset_carries_its_reason() {
    let reset = Notification::new(ErrorCode::HARD_RESET, hex("06 02 03 627965"));
    assert_eq!(reset.hard_reset_reason(), Some(Notification::shutdown("bye")));
    assert_eq!(reset.to_string(), r#"hard reset (6/9): administrative shutdown (6/2): "bye""#);
    assert_eq!(Notification::new(ErrorCode::HARD_RESET, hex("06")).hard_reset_reason(), None);
}

#[test]
fn hard_resets_within_hard_resets_are_shown_one_deep() {
    let nested = Notification::new(ErrorCode::HARD_RESET, [6, 9].repeat(2000));
    let shown = nested.to_string();
    assert!(shown.starts_with("hard reset (6/9): hard reset (6/9), data 06 09"), "{shown}");
    assert!(shown.len() < 250, "{shown}");
}

#[test]
fn missing_capabilities_are_listed_as_they_would_be_offered() {
    let missing = [Capability::multiprotocol(Family::Ipv6), Capability::FourOctetAs(Asn(64512))];
    let notification = Notification::unsupported_capabilities(&missing);
    assert_eq!(notification, Notification::new(ErrorCode(2, 7), hex("0104 00020001 4104 0000fc00")));
}

#[test]
fn codes_are_named_for_people() {
    let cases = [
        (ErrorCode(4, 0), "hold timer expired (4/0)"),
        (ErrorCode(6, 10), "BFD down (6/10)"),
        (ErrorCode(6, 77), "cease (6/77)"),
        (ErrorCode(2, 99), "OPEN message error (2/99)"),
        (ErrorCode(99, 1), "unknown error (99/1)"),
    ];
    for (error, text) in cases {
        assert_eq!(Notification::new(error, []).to_string(), text);
    }
    let with_data = Notification::new(ErrorCode::BAD_MESSAGE_LENGTH, [0x10, 0x01]);
    assert_eq!(with_data.to_string(), "bad message length (1/2), data 10 01");
}

#[test]
fn data_is_cut_to_the_longest_message() {
    let long = Notification::new(ErrorCode::OPTIONAL_ATTRIBUTE_ERROR, vec![7; 5000]);
    let bytes = encode(&Message::Notification(long), modern()).unwrap();
    assert_eq!(bytes.len(), MAX_LEN);
    assert_eq!(bytes, message(3, &[&[3, 9][..], &vec![7; MAX_LEN - HEADER_LEN - 2]].concat()));
}

#[test]
fn every_registered_code_and_subcode_has_a_name() {
    // IANA, "BGP Error (Notification) Codes" and the subcode registries beneath it.
    let registered: [(u8, &[u8]); 9] = [
        (1, &[0, 1, 2, 3]),
        (2, &[0, 1, 2, 3, 4, 5, 6, 7, 11]),
        (3, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (4, &[0]),
        (5, &[0, 1, 2, 3]),
        (6, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (7, &[0, 1]),
        (8, &[0]),
        (9, &[0]),
    ];
    for code in 0..=255 {
        let subcodes = registered.iter().find(|(known, _)| *known == code).map_or(&[][..], |(_, all)| all);
        assert_eq!(ErrorCode(code, 0).code_name().is_some(), !subcodes.is_empty(), "{code}");
        for subcode in 0..=255 {
            let named = ErrorCode(code, subcode).name().is_some();
            assert_eq!(named, subcodes.contains(&subcode), "{code}/{subcode}");
        }
    }
}

#[test]
fn a_hard_reset_wraps_its_reason_whole_and_once() {
    // RFC 8538 §3.1: code, subcode and data of the reason are the data.
    let reset = Notification::hard_reset(Notification::shutdown("bye"));
    let bytes = message(3, &hex("06 09 06 02 03 627965"));
    assert_eq!(encode(&Message::Notification(reset.clone()), modern()), Ok(bytes.clone()));
    assert_eq!(Message::decode(&bytes, modern()), Ok(Message::Notification(reset.clone())));
    assert_eq!(reset.hard_reset_reason(), Some(Notification::shutdown("bye")));
    assert_eq!(Notification::hard_reset(reset.clone()), reset);
}

#[test]
fn what_the_data_says_is_told() {
    let cases = [
        (ErrorCode(6, 1), "0001 01 00000064", "maximum number of prefixes reached (6/1): ipv4, at most 100"),
        (
            ErrorCode(2, 7),
            "0104 00020001 0600",
            "unsupported capability (2/7): multiprotocol: ipv6; extended message",
        ),
        (ErrorCode(2, 7), "0104 0002", "unsupported capability (2/7), data 01 04 00 02"),
        (ErrorCode(2, 1), "0004", "unsupported version number (2/1): the highest supported is 4"),
        (ErrorCode(6, 1), "", "maximum number of prefixes reached (6/1)"),
        (ErrorCode(6, 1), "00", "maximum number of prefixes reached (6/1), data 00"),
    ];
    for (error, data, text) in cases {
        assert_eq!(Notification::new(error, hex(data)).to_string(), text);
    }
    let missing = [Capability::multiprotocol(Family::Ipv6), Capability::ExtendedMessage];
    let notification = Notification::unsupported_capabilities(&missing);
    assert_eq!(notification.offending_capabilities(), Some(missing.to_vec()));
    assert_eq!(Notification::new(ErrorCode(2, 7), []).offending_capabilities(), None);
    assert_eq!(Notification::max_prefixes(Family::Ipv4, 100).data, hex("0001 01 00000064"));
}
