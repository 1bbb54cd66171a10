//! `proxima bgp decode` and `proxima bgp dump`, letter by letter. The octets are written by hand.

use std::{io::Write as _, process::Stdio};

use serde_json::Value;

use crate::support::{Outcome, Place, proxima, run};

/// A message with a correct header.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], length.to_be_bytes().as_slice(), &[kind], body].concat()
}

fn update(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u16::try_from(attributes.len()).unwrap();
    message(2, &[&[0, 0], length.to_be_bytes().as_slice(), &attributes, nlri].concat())
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 10, 2, 2, 0, 0, 0xfc, 0, 0, 3, 0x0d, 0x40];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 11];
const COMMUNITIES: &[u8] = &[0xc0, 8, 8, 0xfc, 0, 0, 100, 0xff, 0xff, 0, 0];
const NLRI: &[u8] = &[24, 203, 0, 113, 25, 198, 51, 100, 128];

/// What a session could begin with: everything sound.
fn sound() -> Vec<u8> {
    let capabilities: &[u8] = &[
        1, 4, 0, 1, 0, 1, // multiprotocol, IPv4
        1, 4, 0, 2, 0, 1, // multiprotocol, IPv6
        2, 0, // route refresh
        6, 0, // extended messages
        9, 1, 3, // role: customer
        64, 6, 0x80, 120, 0, 1, 1, 0x80, // graceful restart
        65, 4, 0, 3, 0x0d, 0x40, // AS 200000
        69, 4, 0, 1, 1, 1, // add-path
        73, 5, 4, b't', b'o', b'r', b'1', // not known to a session
    ];
    let length = u8::try_from(capabilities.len()).unwrap();
    // AS_TRANS, as 200000 does not fit into two octets.
    let open =
        message(1, &[&[4, 0x5b, 0xa0, 0, 9, 10, 0, 0, 11, length + 2, 2, length], capabilities].concat());
    let six: &[u8] = &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];
    let reach = [&[0x90, 14, 0, 28, 0, 2, 1, 16], six, &[0, 48, 0x20, 1, 0xd, 0xb8, 0, 0xac]].concat();
    [
        open,
        message(4, &[]),
        update(&[ORIGIN, PATH, NEXT_HOP, &[0x80, 4, 4, 0, 0, 0, 200], COMMUNITIES], NLRI),
        update(&[ORIGIN, PATH, &reach], &[]),
        message(2, &[0, 4, 24, 203, 0, 113, 0, 0]),
        message(2, &[0, 0, 0, 0]),
        message(5, &[0, 2, 0, 1]),
        message(3, &[6, 2, 13, b'n', b'e', b'w', b' ', b'l', b'i', b'n', b'e', b' ', b'c', b'a', b'r', b'd']),
    ]
    .concat()
}

/// One of each disposition of RFC 7606, the session reset last.
fn faulty() -> Vec<u8> {
    [
        update(&[&[0x40, 1, 1, 5], PATH, NEXT_HOP], NLRI),
        update(&[ORIGIN, PATH, NEXT_HOP, &[0x40, 6, 1, 0]], NLRI),
        update(&[ORIGIN, NEXT_HOP], NLRI),
        update(&[ORIGIN, PATH, &[0x90, 14, 0, 5, 0, 2, 1, 16, 0]], &[]),
        message(2, &[0, 200, 0, 0]),
    ]
    .concat()
}

fn shows(outcome: &Outcome, code: i32, golden: &str) {
    assert_eq!(outcome.stdout, golden, "{}", outcome.stderr);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (code, ""));
}

#[tokio::test]
async fn sound_messages_are_shown_field_by_field() {
    let outcome = run(proxima(&["bgp", "decode", &hexadecimal(&sound())])).await;
    shows(&outcome, 0, include_str!("golden/decode-sound.txt"));
}

#[tokio::test]
async fn malformed_messages_are_shown_with_what_rfc_7606_makes_of_them() {
    let outcome = run(proxima(&["bgp", "decode", &hexadecimal(&faulty())])).await;
    shows(&outcome, 1, include_str!("golden/decode-faulty.txt"));
}

#[tokio::test]
async fn the_same_is_there_as_json() {
    let outcome = run(proxima(&["bgp", "decode", "--json", &hexadecimal(&faulty())])).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["malformed"], 5);
    let messages = document["messages"].as_array().unwrap();
    let dispositions: Vec<Option<&str>> =
        messages.iter().map(|message| message["update"]["problems"][0]["disposition"].as_str()).collect();
    let [withdraw, discard, disable] =
        ["treat-as-withdraw", "attribute discard", "AFI/SAFI disable"].map(Some);
    assert_eq!(dispositions, [withdraw, discard, withdraw, disable, None]);
    assert_eq!(
        messages[0]["update"]["withdrawn"],
        serde_json::json!(["203.0.113.0/24", "198.51.100.128/25"])
    );
    assert_eq!(messages[1]["update"]["announced"][0]["prefixes"][0], "203.0.113.0/24");
    let notification = &messages[4]["refusal"]["notification"];
    assert_eq!((&notification["code"], &notification["subcode"]), (&3.into(), &1.into()));

    let outcome = run(proxima(&["--json", "bgp", "decode", &hexadecimal(&sound())])).await;
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &document["malformed"]), (0, &0.into()));
    let open = &document["messages"][0]["open"];
    assert_eq!((&open["as"], &open["two_octet_as"]), (&200_000.into(), &23456.into()));
    assert_eq!(document["messages"][7]["notification"]["shutdown_message"], "new line card");
}

#[tokio::test]
async fn messages_come_as_digits_in_any_dress_from_files_and_from_standard_input() {
    let place = Place::new();
    let keepalive = message(4, &[]);
    let digits = hexadecimal(&keepalive);
    let colons: Vec<String> = keepalive.iter().map(|octet| format!("{octet:02X}")).collect();
    let binary = place.directory().join("binary");
    std::fs::write(&binary, &keepalive).unwrap();
    let text = place.directory().join("text");
    std::fs::write(&text, format!("# a keepalive\n{}\n{}\n", &digits[..20], &digits[20..])).unwrap();
    let told = "1. KEEPALIVE, 19 octets\n\n1 message, nothing wrong\n";
    for args in [
        vec![digits.as_str()],
        vec![&digits[..8], &digits[8..]],
        vec![&colons.join(":")],
        vec![binary.to_str().unwrap()],
        vec![text.to_str().unwrap()],
    ] {
        let outcome = run(proxima(&[&["bgp", "decode"], args.as_slice()].concat())).await;
        shows(&outcome, 0, told);
    }
    for input in [keepalive, digits.into_bytes()] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_proxima"));
        let mut child = command
            .args(["bgp", "decode", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), told);
    }
}

#[tokio::test]
async fn what_was_agreed_changes_how_messages_are_read() {
    let narrow = update(&[ORIGIN, &[0x40, 2, 4, 2, 1, 0xfc, 0], NEXT_HOP], &[24, 203, 0, 113]);
    let paths = update(&[ORIGIN, PATH, NEXT_HOP], &[0, 0, 0, 7, 24, 203, 0, 113]);
    let inner = update(&[ORIGIN, PATH, NEXT_HOP, &[0x40, 5, 4, 0, 0, 0, 100]], &[24, 203, 0, 113]);
    for (octets, option, shown) in [
        (&narrow, "--two-octet-as", "AS_PATH             64512"),
        (&paths, "--add-path", "203.0.113.0/24 path 7"),
        (&inner, "--ibgp", "LOCAL_PREF          100"),
    ] {
        let digits = hexadecimal(octets);
        let outcome = run(proxima(&["bgp", "decode", option, &digits])).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.stdout.contains(shown), "{outcome:?}");
        assert_eq!(run(proxima(&["bgp", "decode", &digits])).await.code, 1, "without {option}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_told_apart_from_what_is_no_input() {
    for (input, told) in [
        ("/nonexist", "`/nonexist`: no such file, and not hexadecimal: `/` is no digit"),
        ("fff", "`fff`: no such file, and not hexadecimal: `fff` has an odd number of digits"),
        ("/tmp", "`/tmp`: a directory, and not hexadecimal: `/` is no digit"),
    ] {
        let outcome = run(proxima(&["bgp", "decode", input])).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
        assert!(outcome.stderr.contains(told) && outcome.stderr.contains("hint: "), "{outcome:?}");
    }
    let outcome = run(proxima(&["bgp", "decode", "0102030405"])).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    assert!(outcome.stdout.contains("the marker is not all ones"), "{outcome:?}");
}

#[tokio::test]
async fn a_truncated_message_is_told_by_its_octets_and_not_by_what_a_session_would_answer() {
    let keepalive = hexadecimal(&message(4, &[]));
    let cut = format!("{keepalive}{}", hexadecimal(&sound()[..60]));
    let outcome = run(proxima(&["bgp", "decode", &cut])).await;
    let told = "1. KEEPALIVE, 19 octets\n\n2. OPEN, 60 octets, at octet 19\n  truncated: 60 of 77 octets\n\n\
        2 messages, 1 malformed\n";
    shows(&outcome, 1, told);
    let outcome = run(proxima(&["bgp", "decode", &keepalive[..12]])).await;
    assert!(outcome.stdout.contains("truncated: 6 of the 19 octets of a header"), "{outcome:?}");

    let outcome = run(proxima(&["bgp", "decode", "--json", &cut])).await;
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &document["malformed"]), (1, &1.into()));
    let truncated = &document["messages"][1];
    assert_eq!(truncated["truncated"], serde_json::json!({ "octets": 60, "of": 77 }));
    assert_eq!(truncated["refusal"], Value::Null);
}

#[tokio::test]
async fn a_route_with_an_as_set_is_taken_as_a_session_takes_it() {
    let set: &[u8] = &[0x40, 2, 12, 2, 1, 0, 0, 0xfc, 0, 1, 1, 0, 3, 0x0d, 0x40];
    let octets = hexadecimal(&update(&[ORIGIN, set, NEXT_HOP], &[24, 203, 0, 113]));
    let outcome = run(proxima(&["bgp", "decode", &octets])).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    for told in ["withdrawn           203.0.113.0/24", "by                  RFC 9774: treat-as-withdraw"] {
        assert!(outcome.stdout.contains(told), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_help_of_what_needs_no_daemon_is_silent_about_it_and_names_its_own_options_first() {
    for command in [&["bgp", "decode"][..], &["bgp", "dump"], &["bgp"], &["check"]] {
        let outcome = run(proxima(&[command, &["--help"]].concat())).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        for word in ["socket", "admin"] {
            assert!(!outcome.stdout.contains(word), "{command:?} says {word}: {}", outcome.stdout);
        }
        assert!(outcome.stdout.contains("--json"), "{}", outcome.stdout);
    }
    for (command, expected) in [
        (
            &["bgp", "decode"][..],
            &[
                "--ibgp",
                "--two-octet-as",
                "--add-path",
                "--no-extended-messages",
                "--no-extended-next-hop",
                "--json",
                "--help",
            ][..],
        ),
        (&["events"], &["--follow", "--since", "--json", "--socket", "--help"]),
    ] {
        let outcome = run(proxima(&[command, &["--help"]].concat())).await;
        let lines = outcome.stdout.lines().filter_map(|line| line.trim_start().strip_prefix('-'));
        let options = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('-')));
        let named: Vec<String> = options.map(|word| format!("--{}", word.trim_matches('-'))).collect();
        assert_eq!(named, expected, "{}", outcome.stdout);
    }
    // Whoever names a socket all the same is not refused.
    let keepalive = hexadecimal(&message(4, &[]));
    for args in [["--socket", "/nowhere", "bgp", "decode"], ["bgp", "decode", "--socket", "/nowhere"]] {
        assert_eq!(run(proxima(&[&args[..], &[&keepalive]].concat())).await.code, 0, "{args:?}");
    }
}

/// A record of an MRT file.
fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [
        &1_772_366_400_u32.to_be_bytes(),
        kind.to_be_bytes().as_slice(),
        &subtype.to_be_bytes(),
        &length.to_be_bytes(),
        body,
    ]
    .concat()
}

fn dump() -> Vec<u8> {
    let peers: &[u8] = &[
        10, 0, 0, 11, 0, 0, 0, 2, // collector, no view, two peers
        2, 10, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0xfd, 0xe8, // 10.0.0.1 AS 65000
        2, 10, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0xfd, 0xe9, // 10.0.0.2 AS 65001
    ];
    let attributes = [ORIGIN, PATH, NEXT_HOP, &[0x40, 5, 4, 0, 0, 0, 100], COMMUNITIES].concat();
    let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
    let entry = |peer: u8| [&[0, peer, 0x69, 0xa4, 0x29, 0x40][..], &length, &attributes].concat();
    let rib = [&[0, 0, 0, 0, 24, 203, 0, 113, 0, 2][..], &entry(0), &entry(1)].concat();
    let ends: &[u8] = &[0, 0, 0xfd, 0xe8, 0, 0, 0xfc, 0, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 11];
    let timed = |message: &[u8]| [&[0, 0, 0x30, 0x39][..], ends, message].concat();
    [
        record(13, 1, peers),
        record(13, 2, &rib),
        record(16, 5, &[ends, &[0, 5, 0, 6]].concat()),
        record(17, 4, &timed(&update(&[ORIGIN, PATH, NEXT_HOP], NLRI))),
        record(17, 4, &timed(&update(&[&[0x40, 1, 1, 5], PATH, NEXT_HOP], NLRI))),
        record(48, 0, &[1, 2, 3]),
    ]
    .concat()
}

#[tokio::test]
async fn a_dump_is_shown_a_line_a_route_and_a_line_a_message() {
    let place = Place::new();
    let file = place.directory().join("rib.mrt");
    std::fs::write(&file, dump()).unwrap();
    let outcome = run(proxima(&["bgp", "dump", file.to_str().unwrap()])).await;
    shows(&outcome, 1, include_str!("golden/dump.txt"));
    let outcome = run(proxima(&["--json", "bgp", "dump", file.to_str().unwrap()])).await;
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let kinds: Vec<&str> = document["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["peers", "route", "route", "state", "message", "message", "other"]);
    assert_eq!(document["records"][2]["peer"]["as"], 65001);
}

#[tokio::test]
async fn a_file_that_is_no_dump_is_told() {
    let place = Place::new();
    let file = place.directory().join("cut.mrt");
    std::fs::write(&file, &dump()[..100]).unwrap();
    for (path, told) in [
        (file.to_str().unwrap(), "the file ends within record 2"),
        ("/nowhere/rib.mrt", "cannot read /nowhere/rib.mrt: No such file"),
    ] {
        let outcome = run(proxima(&["bgp", "dump", path])).await;
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.stderr.contains(told) && outcome.stderr.contains("hint: name an MRT file"),
            "{outcome:?}"
        );
    }
}
