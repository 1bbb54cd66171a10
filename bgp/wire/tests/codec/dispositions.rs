//! One row per attribute, one column per fault: what RFC 7606 makes of every pair.
//!
//! Each attribute stands last in an otherwise faultless UPDATE that announces a route. The faults are made from its
//! faultless form, written by hand after its RFC.

use proxima_bgp_wire::{AttributeProblem, DecodeError, Disposition, Fault, Negotiated, Update};

use super::{decode_update, hex, internal, modern, two_octet};

/// A faultless attribute, and what becomes of the message for each fault:
/// `ok`, `D` attribute discard, `W` treat-as-withdraw, or the NOTIFICATION of a session reset.
struct Row {
    attribute: u8,
    rule: &'static str,
    /// Flags and type, then the value.
    good: (&'static str, &'static str),
    session: Negotiated,
    outcomes: [&'static str; 7],
}

/// No value, an octet less, an octet more, the optional bit flipped, the transitive bit flipped, the attribute
/// twice, its length beyond the list.
const FAULTS: [&str; 7] = ["empty", "short", "long", "optional", "transitive", "twice", "overrun"];

fn row(
    attribute: u8,
    rule: &'static str,
    good: (&'static str, &'static str),
    session: Negotiated,
    outcomes: &'static str,
) -> Row {
    let outcomes: Vec<_> = outcomes.split_whitespace().collect();
    Row { attribute, rule, good, session, outcomes: outcomes.try_into().expect("one outcome per fault") }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let external = modern();
    let reach = "0002 01 10 20010db8000000000000000000000009 00 30 20010db800ac";
    vec![
        //  attribute, rule for its value, flags and type, value, session         empty short long opt. tran. twice over
        row(1,  "RFC 7606 §7.1",  ("4001", "00"), external,                         "W    W     W    W    W     D     W"),
        row(2,  "RFC 7606 §7.2",  ("4002", "0201 0000fde8"), external,              "ok   W     W    W    W     D     W"),
        row(3,  "RFC 7606 §7.3",  ("4003", "c0000209"), external,                   "W    W     W    W    W     D     W"),
        row(4,  "RFC 7606 §7.4",  ("8004", "00000001"), external,                   "W    W     W    W    W     D     W"),
        row(5,  "RFC 7606 §7.5",  ("4005", "00000064"), external,                   "D    D     D    D    D     D     W"),
        row(5,  "RFC 7606 §7.5",  ("4005", "00000064"), internal(),                 "W    W     W    W    W     D     W"),
        row(6,  "RFC 7606 §7.6",  ("4006", ""), external,                           "ok   ok    D    W    W     D     W"),
        row(7,  "RFC 7606 §7.7",  ("c007", "0000fde8 c0000201"), external,          "D    D     D    W    W     D     W"),
        row(7,  "RFC 7606 §7.7",  ("c007", "fde8 c0000201"), two_octet(),           "D    D     D    W    W     D     W"),
        row(8,  "RFC 7606 §7.8",  ("c008", "fc000064 fc000065"), external,          "W    W     W    W    W     D     W"),
        row(9,  "RFC 7606 §7.9",  ("8009", "c0000201"), external,                   "D    D     D    D    D     D     W"),
        row(9,  "RFC 7606 §7.9",  ("8009", "c0000201"), internal(),                 "W    W     W    W    W     D     W"),
        row(10, "RFC 7606 §7.10", ("800a", "c0000201 c0000202"), external,          "D    D     D    D    D     D     W"),
        row(10, "RFC 7606 §7.10", ("800a", "c0000201 c0000202"), internal(),        "W    W     W    W    W     D     W"),
        row(14, "RFC 7606 §7.11", ("800e", reach), external,                        "3/9  3/9   3/9  W    W     3/1   3/9"),
        row(15, "RFC 7606 §7.12", ("800f", "0002 01 30 20010db800ad"), external,    "3/9  3/9   3/9  W    W     3/1   3/9"),
        row(16, "RFC 7606 §7.14", ("c010", "0002fc0000000007"), external,           "W    W     W    W    W     D     W"),
        row(17, "RFC 6793 §6",    ("c011", "0201 00011170"), two_octet(),           "D    D     D    W    W     D     W"),
        row(17, "RFC 6793 §4.1",  ("c011", "0201 00011170"), external,              "D    D     D    D    D     D     W"),
        row(18, "RFC 6793 §6",    ("c012", "00011170 c0000208"), two_octet(),       "D    D     D    W    W     D     W"),
        row(18, "RFC 6793 §4.1",  ("c012", "00011170 c0000208"), external,          "D    D     D    D    D     D     W"),
        row(25, "RFC 7606 §7.15", ("c019", "0002 20010db8000000000000000000000001 0007"), external, "W W W W W   D     W"),
        row(32, "RFC 8092 §6",    ("c020", "0000fc00 00000001 00000002"), external, "W    W     W    W    W     D     W"),
        row(35, "RFC 9234 §5",    ("c023", "0000fde8"), external,                   "W    W     W    W    W     D     W"),
        row(99, "RFC 7606 §8",    ("c063", "abcd"), external,                       "ok   ok    ok   3/2  ok    D     W"),
    ]
}

/// The attribute with flags, type, and a length that may lie.
fn attribute(flags: u8, code: u8, length: usize, value: &[u8]) -> Vec<u8> {
    [&[flags, code, length as u8], value].concat()
}

/// The attribute with the fault.
fn spoilt(row: &Row, fault: &str) -> Vec<u8> {
    let (head, value) = (hex(row.good.0), hex(row.good.1));
    let (flags, code) = (head[0], head[1]);
    let good = attribute(flags, code, value.len(), &value);
    match fault {
        "empty" => attribute(flags, code, 0, &[]),
        "short" => {
            let value = &value[..value.len().saturating_sub(1)];
            attribute(flags, code, value.len(), value)
        }
        "long" => {
            let value = [&value[..], &[0xff]].concat();
            attribute(flags, code, value.len(), &value)
        }
        "optional" => attribute(flags ^ 0x80, code, value.len(), &value),
        "transitive" => attribute(flags ^ 0x40, code, value.len(), &value),
        "twice" => [good.clone(), good].concat(),
        "overrun" => attribute(flags, code, value.len() + 1, &value),
        other => panic!("{other} is no fault"),
    }
}

/// An UPDATE with one IPv4 route whose last attribute is `last`.
fn message(row: &Row, last: &[u8]) -> Vec<u8> {
    let as_path = if row.session.four_octet_as { "400206 0201 0000fde8" } else { "400204 0201 fde8" };
    let mandatory = [(1, "400101 00"), (2, as_path), (3, "400304 c0000209")];
    let mut attributes: Vec<u8> =
        mandatory.iter().filter(|(code, _)| *code != row.attribute).flat_map(|(_, text)| hex(text)).collect();
    attributes.extend_from_slice(last);
    super::update(&[], &attributes, &hex("18 cb0071"))
}

fn outcome(read: &Result<Update, DecodeError>) -> String {
    match read {
        Ok(update) => match update.disposition() {
            None => "ok".to_owned(),
            Some(Disposition::AttributeDiscard) => "D".to_owned(),
            Some(Disposition::TreatAsWithdraw) => "W".to_owned(),
            Some(Disposition::DisableFamily(family)) => format!("-{family}"),
        },
        Err(error) => {
            let notification = error.to_notification();
            format!("{}/{}", notification.code, notification.subcode)
        }
    }
}

#[test]
fn every_fault_of_every_attribute_has_its_disposition() {
    for row in rows() {
        for (fault, expected) in FAULTS.into_iter().zip(row.outcomes) {
            let claim = format!("attribute {} {fault} ({:?})", row.attribute, row.session.peer);
            let read = decode_update(&message(&row, &spoilt(&row, fault)), row.session);
            assert_eq!(outcome(&read), expected, "{claim}: {read:?}");
            let Ok(update) = read else { continue };
            let route = "203.0.113.0/24".parse::<proxima_types::Prefix>().unwrap().into();
            if expected == "W" {
                assert!(update.withdrawn.contains(&route), "{claim}");
                assert!(update.reach.is_empty(), "{claim}");
            } else {
                assert!(update.withdrawn.iter().all(|gone| *gone != route), "{claim}");
                assert_eq!(update.reach[0].nlri, [route], "{claim}");
            }
            for problem in &update.problems {
                assert_eq!(problem.attribute, row.attribute, "{claim}");
                assert!(!problem.to_string().is_empty(), "{claim}");
            }
        }
    }
}

#[test]
fn every_faultless_attribute_is_taken_as_it_is() {
    for row in rows() {
        let good = hex(&format!("{}{:02x}{}", row.good.0, hex(row.good.1).len(), row.good.1));
        let read = decode_update(&message(&row, &good), row.session).unwrap();
        let foreign = matches!(
            (row.attribute, row.session.four_octet_as, row.session.peer),
            (17 | 18, true, _) | (5 | 9 | 10, _, proxima_bgp_wire::PeerKind::External)
        );
        assert_eq!(read.problems.is_empty(), !foreign, "attribute {}: {:?}", row.attribute, read.problems);
    }
}

#[test]
fn every_problem_names_its_rule() {
    let rule_of = |row: &Row, fault: &str| {
        let update = decode_update(&message(row, &spoilt(row, fault)), row.session).unwrap();
        update.problems.first().map(AttributeProblem::rule)
    };
    for row in rows().iter().filter(|row| !matches!(row.attribute, 14 | 15 | 99)) {
        assert_eq!(rule_of(row, "long"), Some(row.rule), "attribute {}", row.attribute);
        let overrun = rule_of(row, "overrun");
        assert_eq!(overrun, Some("RFC 7606 §4"), "attribute {}", row.attribute);
    }
    let origin = &rows()[0];
    assert_eq!(rule_of(origin, "optional"), Some("RFC 7606 §3 c"));
    assert_eq!(rule_of(origin, "twice"), Some("RFC 7606 §3 g"));
}

#[test]
fn a_missing_mandatory_attribute_withdraws() {
    for row in rows().iter().filter(|row| row.attribute <= 3) {
        let update = decode_update(&message(row, &[]), row.session).unwrap();
        let problem = &update.problems[0];
        assert_eq!((problem.attribute, problem.fault), (row.attribute, Fault::Missing));
        assert_eq!(problem.disposition, Disposition::TreatAsWithdraw);
        assert_eq!(problem.rule(), "RFC 7606 §3 d");
    }
}
