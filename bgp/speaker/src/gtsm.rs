//! GTSM on listening sockets (RFC 5082 §3), for each peer by itself.
//!
//! `IP_MINTTL` holds for all connections of a socket. A listening socket serves peers with and without GTSM, so what
//! comes from farther than a peer may be is dropped by a packet filter, by source: from the first SYN on. Connections
//! inherit the filter; once `IP_MINTTL` is set on one, it is taken off.
//!
//! ```text
//!  source address in a peer's prefix? ──no──▶ the next peer … ──▶ accept
//!        │ yes
//!        └─▶ TTL ≥ 256 − hops ? accept : drop              most specific prefix first
//! ```

use std::{io, net::IpAddr, os::fd::AsFd};

use proxima_types::{Family, Prefix};
use socket2::{SockFilter, SockRef};

/// Sources, and the least TTL of their packets; 0 for any.
pub(crate) type Rule = (Prefix, u8);

/// Where the network header begins, for loads (`SKF_NET_OFF`).
const NETWORK_HEADER: u32 = 0xfff0_0000;

/// The least TTL for a peer that is at most so many hops away: 255 is what it sends on the shared subnet.
pub(crate) fn least_ttl(hops: u8) -> u8 {
    u8::try_from(256 - u16::from(hops.max(1))).unwrap_or(u8::MAX)
}

/// Makes a listening socket drop what breaks the rules of its family.
///
/// # Errors
/// What the kernel says: `EINVAL` or `ENOMEM` when there are more rules than it takes, several hundred peers.
pub(crate) fn filter(listener: impl AsFd, family: Family, rules: &[Rule]) -> io::Result<()> {
    let socket = SockRef::from(&listener);
    let program = program(family, rules);
    if program.is_empty() {
        // ENOENT: there was no filter, as there should be.
        return socket
            .detach_filter()
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
    }
    socket.attach_filter(&program)
}

/// Takes an inherited filter off a connection.
pub(crate) fn unfilter(connection: impl AsFd) {
    SockRef::from(&connection).detach_filter().ok(); // there was none
}

/// Empty when no rule asks for anything.
fn program(family: Family, rules: &[Rule]) -> Vec<SockFilter> {
    let mut rules: Vec<_> = rules.iter().filter(|(prefix, _)| prefix.family() == family).collect();
    if rules.iter().all(|(_, least)| *least == 0) {
        return Vec::new();
    }
    rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.length()));
    let mut program = Vec::new();
    for (prefix, least) in rules {
        let (matching, verdict) = (source_matches(*prefix), verdict(family, *least));
        let skip = (matching.len() + verdict.len()) as u8;
        for (at, step) in matching.into_iter().enumerate() {
            program.push(match step {
                Step::Load(offset) => load_word(offset),
                Step::And(mask) => SockFilter::new(BPF_AND, 0, 0, mask),
                // Not equal: to the rule after this one.
                Step::Equal(value) => SockFilter::new(BPF_JEQ, 0, skip - at as u8 - 1, value),
            });
        }
        program.extend(verdict);
    }
    program.push(ACCEPT);
    program
}

enum Step {
    Load(u32),
    And(u32),
    Equal(u32),
}

fn source_matches(prefix: Prefix) -> Vec<Step> {
    let (octets, offset) = match prefix.address() {
        IpAddr::V4(address) => (address.octets().to_vec(), 12),
        IpAddr::V6(address) => (address.octets().to_vec(), 8),
    };
    let mut steps = Vec::new();
    let words = octets.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    for (index, word) in words.enumerate() {
        let bits = u32::from(prefix.length()).saturating_sub(32 * index as u32).min(32);
        if bits == 0 {
            break;
        }
        steps.push(Step::Load(offset + 4 * index as u32));
        if bits < 32 {
            steps.push(Step::And(u32::MAX << (32 - bits)));
        }
        steps.push(Step::Equal(word));
    }
    steps
}

fn verdict(family: Family, least: u8) -> Vec<SockFilter> {
    if least == 0 {
        return vec![ACCEPT];
    }
    let ttl = match family {
        Family::Ipv4 => 8,
        Family::Ipv6 => 7,
    };
    vec![
        SockFilter::new(BPF_LDB, 0, 0, NETWORK_HEADER + ttl),
        SockFilter::new(BPF_JGE, 1, 0, least.into()),
        SockFilter::new(BPF_RET, 0, 0, 0),
        ACCEPT,
    ]
}

fn load_word(offset: u32) -> SockFilter {
    SockFilter::new(BPF_LDW, 0, 0, NETWORK_HEADER + offset)
}

// linux/filter.h, linux/bpf_common.h
const BPF_LDW: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const BPF_LDB: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const BPF_AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const BPF_JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const BPF_JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const BPF_RET: u16 = 0x06; // BPF_RET | BPF_K
const ACCEPT: SockFilter = SockFilter::new(BPF_RET, 0, 0, u32::MAX);
