//! A full table: how long a million prefixes take to come in, and how much memory they take.
//!
//! `cargo bench -p proxima-bgp-rib`; `-- PREFIXES SETS` for other figures than 1000000 and 150000. Times are those of the
//! processor, so that other work on the machine counts less.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures and says what it measured")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use proxima_bgp_rib::{BestPathRules, PathSource, PeerId, Rib};
use proxima_bgp_wire::{AsPath, Attributes, NextHop, Nlri, Origin, PeerKind, Reach, Update};
use proxima_types::{Asn, Community, Family, Prefix};

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let prefixes = numbers.next().unwrap_or(1_000_000);
    let sets = numbers.next().unwrap_or(150_000);
    for (name, order) in [("in random order", Order::Random), ("in order of prefix", Order::Sorted)] {
        println!("{prefixes} IPv4 prefixes, {sets} sets of attributes, {name}:");
        measure(&destinations(prefixes, order), sets);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Random,
    Sorted,
}

fn measure(destinations: &[Prefix], sets: usize) {
    let one = PeerId(1);
    let mut rib = Rib::new(BestPathRules::default());
    rib.peer_up(one, source(1));
    let now = Instant::now();
    let before = resident();
    let mut spent = feed(&mut rib, one, destinations, sets, now);
    let memory = rib.memory();
    println!(
        "  in:        {:>7.1} ms, {:.0} ns a prefix; resident +{:.1} MB, counted {:.1} MB ({} sets)",
        spent.as_secs_f64() * 1e3,
        nanos(spent, destinations),
        (resident() - before) as f64 / 1e6,
        memory.octets as f64 / 1e6,
        memory.attribute_sets
    );

    spent = feed(&mut rib, one, destinations, sets, now);
    println!(
        "  refresh:   {:>7.1} ms, {:.0} ns a prefix",
        spent.as_secs_f64() * 1e3,
        nanos(spent, destinations)
    );

    spent = timed(|| destinations.iter().filter(|prefix| rib.best(**prefix).is_some()).count());
    println!("  best:      {:>7.0} ns a prefix with one path", nanos(spent, destinations));
    spent = timed(|| destinations.iter().filter(|prefix| rib.lookup(prefix.address()).is_some()).count());
    println!("  lookup:    {:>7.0} ns an address", nanos(spent, destinations));

    let two = PeerId(2);
    rib.peer_up(two, source(2));
    let before = resident();
    spent = feed(&mut rib, two, destinations, sets, now);
    println!(
        "  2nd peer:  {:>7.1} ms, {:.0} ns a prefix; resident +{:.1} MB",
        spent.as_secs_f64() * 1e3,
        nanos(spent, destinations),
        (resident() - before) as f64 / 1e6
    );
    spent = timed(|| destinations.iter().filter(|prefix| rib.best(**prefix).is_some()).count());
    println!("  best:      {:>7.0} ns a prefix with two paths", nanos(spent, destinations));

    spent = timed(|| pages(&rib));
    println!("  all pages: {:>7.1} ms", spent.as_secs_f64() * 1e3);

    let start = Instant::now();
    rib.drop_peer(two);
    spent = start.elapsed();
    let mut longest = Duration::ZERO;
    let mut all = Duration::ZERO;
    loop {
        let mut more = false;
        let start = Instant::now();
        all += timed(|| {
            more = rib.collect(1000);
            0
        });
        longest = longest.max(start.elapsed());
        if !more {
            break;
        }
    }
    println!(
        "  drop peer: {:>7.1} us, then {:.1} ms in slices of {:.0} us at most",
        spent.as_secs_f64() * 1e6,
        all.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e6
    );
    let update =
        Update { withdrawn: destinations.iter().copied().map(Nlri::from).collect(), ..Update::default() };
    spent = timed(|| rib.apply(now, one, update, None).map_or(0, |applied| applied.withdrawn));
    println!("  withdraw:  {:>7.1} ms; counted {} octets", spent.as_secs_f64() * 1e3, rib.memory().octets);
}

/// Feeds UPDATEs as a sender packs them: each set once, with its prefixes. Only the table's part is timed.
fn feed(rib: &mut Rib, peer: PeerId, destinations: &[Prefix], sets: usize, now: Instant) -> Duration {
    let mut spent = Duration::ZERO;
    for batch in 0..sets.div_ceil(1000) {
        let updates: Vec<Update> = (batch * 1000..((batch + 1) * 1000).min(sets))
            .map(|set| {
                let range = set * destinations.len() / sets..(set + 1) * destinations.len() / sets;
                let nlri = destinations[range].iter().copied().map(Nlri::from).collect();
                let next_hop = NextHop::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
                let attributes = attributes(set as u32);
                Update { reach: vec![Reach { next_hop, nlri }], attributes, ..Update::default() }
            })
            .collect();
        spent += timed(|| {
            updates.into_iter().filter_map(|update| rib.apply(now, peer, update, None).ok()).count()
        });
    }
    assert_eq!(rib.counts(peer, Family::Ipv4).paths, destinations.len());
    spent
}

/// Lengths and places spread as in the global table: most are /24 and shorter ones near each other.
fn destinations(count: usize, order: Order) -> Vec<Prefix> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut prefixes = Vec::with_capacity(count * 11 / 10);
    while prefixes.len() < count {
        while prefixes.len() < count + count / 20 {
            let bits = next();
            let length = match bits >> 32 & 15 {
                0 => 16 + (bits >> 40 & 3) as u8,
                1..=2 => 20 + (bits >> 40 & 1) as u8,
                3..=4 => 22,
                5 => 23,
                _ => 24,
            };
            // 1.0.0.0 to 223.255.255.255
            let address = (1 << 24) + (bits as u32) % (223 << 24);
            prefixes.push(Prefix::truncating(Ipv4Addr::from(address).into(), length));
        }
        prefixes.sort();
        prefixes.dedup();
    }
    let step = prefixes.len() as f64 / count as f64;
    let mut prefixes: Vec<Prefix> = (0..count).map(|n| prefixes[(n as f64 * step) as usize]).collect();
    if order == Order::Random {
        for at in (1..prefixes.len()).rev() {
            prefixes.swap(at, next() as usize % (at + 1));
        }
    }
    prefixes
}

/// Four or five ASes and a few communities, as in the global table.
fn attributes(set: u32) -> Attributes {
    let path = [65001, 3356, 1299 + set % 7, 6000 + set % 1000, 200_000 + set];
    Attributes {
        origin: Origin::Igp,
        as_path: AsPath::sequence(path[..4 + set as usize % 2].iter().map(|asn| Asn(*asn))),
        med: Some(set),
        communities: (0..set % 8).map(|n| Community(3356 << 16 | n)).collect(),
        ..Attributes::default()
    }
}

fn source(last: u8) -> PathSource {
    PathSource {
        kind: PeerKind::External,
        asn: Asn(65001),
        router_id: Ipv4Addr::new(192, 0, 2, last),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        subnet: None,
        import: true,
    }
}

fn pages(rib: &Rib) -> usize {
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = rib.table(after, 1000);
        seen += page.routes.len();
        after = page.next;
        if after.is_none() {
            return seen;
        }
    }
}

fn timed(work: impl FnOnce() -> usize) -> Duration {
    let start = processor();
    std::hint::black_box(work());
    processor().saturating_sub(start)
}

/// Time this process has spent on a processor.
fn processor() -> Duration {
    let statistics = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = statistics.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn nanos(spent: Duration, destinations: &[Prefix]) -> f64 {
    spent.as_nanos() as f64 / destinations.len() as f64
}

/// Octets of this process that are in memory.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
