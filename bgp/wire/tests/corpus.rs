//! The fuzzer's seeds, without the fuzzer: what its targets assert holds for each, and what routers sent is read as
//! they meant it.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use std::{fs, path::PathBuf};

use proxima_bgp_wire::{Families, Message, Negotiated, Update, frame};

#[path = "../../fuzz/src/bgp.rs"]
#[allow(unreachable_pub, dead_code, reason = "the fuzz targets have it in a library")]
mod targets;

/// The seeds of a target by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let mut seeds: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", directory.display());
    seeds
}

fn replay(target: &str, run: fn(&[u8])) {
    for (name, seed) in corpus(target) {
        // Shown when the target panics.
        println!("{target}/{name}");
        run(&seed);
    }
}

#[test]
fn every_seed_of_message_holds() {
    replay("message", targets::message);
}

#[test]
fn every_seed_of_update_holds() {
    replay("update", targets::update);
}

#[test]
fn every_seed_of_open_holds() {
    replay("open", targets::open);
}

#[test]
fn every_seed_of_capabilities_holds() {
    replay("capabilities", targets::capabilities);
}

#[test]
fn every_seed_of_notification_holds() {
    replay("notification", targets::notification);
}

/// Whether a seed is what somebody else wrote in good order.
fn is_in_order(name: &str) -> bool {
    ["bird-", "frr-", "gobgp-", "openbgpd-", "exabgp-", "golden-"]
        .iter()
        .any(|origin| name.starts_with(origin))
}

#[test]
fn streams_of_real_routers_are_read_without_a_fault() {
    let mut updates = 0;
    for (name, seed) in corpus("message").iter().filter(|(name, _)| is_in_order(name)) {
        let (choice, mut stream) = seed.split_first().unwrap();
        let negotiated = targets::session(*choice);
        while let Some(length) = frame(stream, negotiated.max_len_receive()).unwrap() {
            let (message, rest) = stream.split_at(length);
            let read = Message::decode(message, negotiated).unwrap_or_else(|error| panic!("{name}: {error}"));
            if let Message::Update(update) = read {
                says_something(name, &update);
                updates += 1;
            }
            stream = rest;
        }
        assert!(stream.is_empty(), "{name} ends within a message");
    }
    assert!(updates > 50, "only {updates} UPDATEs");
}

fn says_something(name: &str, update: &Update) {
    assert!(update.problems.is_empty(), "{name}: {:?}", update.problems);
    let says = !update.withdrawn.is_empty() || !update.reach.is_empty() || update.end_of_rib.is_some();
    assert!(says, "{name}: an UPDATE that says nothing");
}

#[test]
fn updates_in_order_are_read_without_a_fault_and_others_are_found_out() {
    for (name, seed) in corpus("update") {
        let (choice, body) = seed.split_first().unwrap();
        let length = (19 + body.len() as u16).to_be_bytes();
        let message = [&[0xff; 16][..], &length, &[2], body].concat();
        let read = Message::decode(&message, targets::session(*choice));
        match read {
            Ok(Message::Update(update)) if is_in_order(&name) => says_something(&name, &update),
            Ok(Message::Update(update)) if name.starts_with("bad-") => {
                assert!(!update.problems.is_empty(), "{name}: nothing wrong was seen");
            }
            Ok(_) => {}
            Err(error) => assert!(!is_in_order(&name), "{name}: {error}"),
        }
    }
}

#[test]
fn every_choice_of_a_session_differs() {
    let sessions: Vec<Negotiated> = (0..=255).map(targets::session).collect();
    for (index, session) in sessions.iter().enumerate() {
        assert!(!sessions[..index].contains(session), "{index}");
    }
    assert_eq!(sessions[0].families, Families::ALL);
}
