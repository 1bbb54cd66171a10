//! What is looked at in a received UPDATE once it can be read: whether its routes may come from this peer, and whether
//! they may be used. The session survives all of it.
//!
//! What must not be a route at all, or leads to ourselves, is ignored (RFC 4271 §6.3). A next hop outside the subnet that an
//! external peer shares with us is told; the route stays to be seen, and the RIB does not use it.
//!
//! A family whose routes could not be read is gone for as long as the session lasts (RFC 7606 §2, "AFI/SAFI disable"): what
//! comes of it later is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proxima_bgp_wire::{Disposition, Families, Loops, Nlri, Reach, Update};
use proxima_types::Prefix;

use crate::{Local, Marks, Mended, Problem, ReceivedUpdate, Settings, roles, status::Counters};

/// Addresses that are no destination of unicast routes: this network, loopback, multicast, reserved, link-local.
const MARTIANS: [(IpAddr, u8); 7] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];

/// What there is to know of the session that an UPDATE came on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) local: Local,
    /// Families whose routes are not taken.
    pub(crate) disabled: Families,
}

/// Checks the routes of an UPDATE; what the operator should know goes to `problems`.
pub(crate) fn examine(
    session: Session<'_>,
    message: Bytes,
    mut update: Update,
    counters: &mut Counters,
    problems: &mut Vec<Problem>,
) -> ReceivedUpdate {
    let is_malformed = update.disposition() == Some(Disposition::TreatAsWithdraw);
    if is_malformed {
        counters.treated_as_withdrawn += update.withdrawn.len() as u64;
    }
    let before = counters.treated_as_withdrawn;
    let (faults, said) = (!update.problems.is_empty(), routes(&update));
    let marks = check(session, &mut update, counters, problems);
    let mended = if is_malformed || counters.treated_as_withdrawn > before {
        Some(Mended::TreatedAsWithdrawn)
    } else {
        (faults || routes(&update) != said).then_some(Mended::Otherwise)
    };
    ReceivedUpdate { message, update, mended, marks }
}

/// How many routes are withdrawn and announced.
fn routes(update: &Update) -> (usize, usize) {
    (update.withdrawn.len(), update.reach.iter().map(|reach| reach.nlri.len()).sum())
}

/// Leaves out and withdraws what must not be taken, and says what there is to be said of the rest.
fn check(
    session: Session<'_>,
    update: &mut Update,
    counters: &mut Counters,
    problems: &mut Vec<Problem>,
) -> Marks {
    let Session { settings, disabled, .. } = session;
    problems.extend(update.problems.drain(..).map(Problem::MalformedUpdate));
    if !disabled.is_empty() {
        let gone = |nlri: &Nlri| disabled.contains(nlri.prefix.family());
        update.withdrawn.retain(|nlri| !gone(nlri));
        update.reach.retain(|reach| !reach.nlri.first().is_some_and(gone));
    }
    leave_out_martians(update, counters, problems);
    if update.reach.is_empty() {
        return Marks::default();
    }
    let (_, routes) = routes(update);
    let first = update.attributes.as_path.neighbour();
    if settings.checks_first_as() && first != Some(settings.remote_as) {
        let found = update.attributes.as_path.asns().next();
        problems.push(Problem::FirstAs { expected: settings.remote_as, found, routes });
        counters.treated_as_withdrawn += routes as u64;
        let refused = std::mem::take(&mut update.reach).into_iter().flat_map(|reach| reach.nlri);
        update.withdrawn.extend(refused);
        return Marks::default();
    }
    let loops = Loops::of(&update.attributes, settings.local_as, settings.router_id);
    let mut marks = Marks { loops, leak: false };
    // Of no use already where it has been here: then it is our own route, with what was its next hop.
    if !loops.any() {
        check_next_hops(session, update, counters, problems);
    }
    if let Some(role) = settings.effective_role() {
        let otc = update.attributes.only_to_customer;
        marks.leak = roles::receive(role, settings.remote_as, &mut update.attributes);
        if let (true, Some(otc)) = (marks.leak, otc) {
            problems.push(Problem::RouteLeak { from: settings.remote_as, otc, routes });
        }
    }
    counters.loops += if loops.any() { routes as u64 } else { 0 };
    counters.leaks += if marks.leak { routes as u64 } else { 0 };
    marks
}

/// RFC 4271 §6.3: such a prefix is ignored, the others of the message are not.
fn leave_out_martians(update: &mut Update, counters: &mut Counters, problems: &mut Vec<Problem>) {
    let mut first = None;
    for reach in &mut update.reach {
        reach.nlri.retain(|nlri| {
            let is_martian = is_martian(nlri.prefix);
            if is_martian {
                counters.martians += 1;
                first.get_or_insert(nlri.prefix);
            }
            !is_martian
        });
    }
    if let Some(prefix) = first {
        update.reach.retain(|reach| !reach.nlri.is_empty());
        problems.push(Problem::Martian(prefix));
    }
}

fn is_martian(prefix: Prefix) -> bool {
    let within = |(address, length): (IpAddr, u8)| {
        prefix.length() >= length && Prefix::truncating(address, length).contains(prefix.address())
    };
    MARTIANS.into_iter().any(within)
}

/// RFC 4271 §6.3: what leads to ourselves is taken as withdrawn, what leads off the shared subnet is told.
fn check_next_hops(
    Session { local, .. }: Session<'_>,
    update: &mut Update,
    counters: &mut Counters,
    problems: &mut Vec<Problem>,
) {
    let own = [Some(local.address), local.link_local.map(IpAddr::V6)];
    // On the loopback both ends may have one address.
    let is_own = |address: IpAddr| !address.is_loopback() && own.contains(&Some(address));
    let mut withdrawn = Vec::new();
    update.reach.retain_mut(|Reach { next_hop, nlri }| {
        let (next_hop, routes) = (*next_hop, nlri.len());
        if is_own(next_hop.address) {
            counters.own_next_hops += routes as u64;
            problems.push(Problem::OwnNextHop { next_hop: next_hop.address, routes });
            withdrawn.append(nlri);
            return false;
        }
        if let Some(subnet) = local.subnet.filter(|subnet| !next_hop.is_on(*subnet)) {
            problems.push(Problem::DistantNextHop { next_hop: next_hop.address, subnet, routes });
        }
        true
    });
    update.withdrawn.append(&mut withdrawn);
}

#[cfg(test)]
mod tests {
    use proxima_bgp_wire::{AsPath, Attributes, NextHop};
    use proxima_types::Asn;

    use super::*;

    fn settings() -> Settings {
        Settings::new(Asn(64512), Ipv4Addr::new(192, 0, 2, 1), Asn(65000))
    }

    fn local() -> Local {
        Local {
            link_local: Some("fe80::1".parse().unwrap()),
            subnet: Some("10.0.0.0/24".parse().unwrap()),
            ..IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)).into()
        }
    }

    /// What is left of routes with a next hop each, of a path: withdrawn and announced; with counters and problems.
    fn received(path: &[u32], routes: &[(&str, &str)]) -> (Vec<String>, Vec<String>, Counters, Vec<Problem>) {
        let reach = |(next_hop, prefix): &(&str, &str)| Reach {
            next_hop: NextHop::from(next_hop.parse::<IpAddr>().unwrap()),
            nlri: vec![prefix.parse::<Prefix>().unwrap().into()],
        };
        let as_path = AsPath::sequence(path.iter().copied().map(Asn));
        let update = Update {
            reach: routes.iter().map(reach).collect(),
            attributes: Attributes { as_path, ..Attributes::default() },
            ..Update::default()
        };
        let (mut counters, mut problems) = (Counters::default(), Vec::new());
        let settings = settings();
        let session = Session { settings: &settings, local: local(), disabled: Families::NONE };
        let ReceivedUpdate { update, .. } =
            examine(session, Bytes::new(), update, &mut counters, &mut problems);
        let text = |nlri: &Nlri| nlri.prefix.to_string();
        let announced = update.reach.iter().flat_map(|reach| &reach.nlri).map(text).collect();
        (update.withdrawn.iter().map(text).collect(), announced, counters, problems)
    }

    #[test]
    fn prefixes_that_are_no_destination_are_ignored_and_the_others_taken() {
        let (martians, others) = (
            [
                "0.0.0.0/8",
                "0.1.0.0/16",
                "127.0.0.0/8",
                "127.0.0.1/32",
                "224.0.0.0/4",
                "239.1.1.1/32",
                "240.0.0.0/4",
                "255.255.255.255/32",
                "::1/128",
                "ff00::/8",
                "ff02::1/128",
                "fe80::/10",
                "fe80::1/128",
            ],
            [
                "0.0.0.0/0",
                "1.0.0.0/8",
                "126.0.0.0/8",
                "128.0.0.0/1",
                "223.255.255.0/24",
                "::/0",
                "::/127",
                "fe00::/9",
                "fec0::/10",
                "2001:db8::/32",
            ],
        );
        for (prefixes, taken) in [(&martians[..], false), (&others[..], true)] {
            for prefix in prefixes {
                let (withdrawn, announced, counters, problems) =
                    received(&[65000], &[("10.0.0.2", prefix), ("10.0.0.2", "203.0.113.0/24")]);
                assert_eq!(
                    (withdrawn, announced.contains(&(*prefix).to_owned())),
                    (vec![], taken),
                    "{prefix}"
                );
                assert!(announced.contains(&"203.0.113.0/24".to_owned()));
                assert_eq!(counters.martians, u64::from(!taken), "{prefix}");
                let told = (!taken).then(|| Problem::Martian(prefix.parse().unwrap()));
                assert_eq!(problems, Vec::from_iter(told), "{prefix}");
            }
        }
    }

    #[test]
    fn routes_that_lead_to_ourselves_are_taken_as_withdrawn_and_those_off_the_subnet_told() {
        for own in ["10.0.0.1", "fe80::1"] {
            let (withdrawn, announced, counters, problems) =
                received(&[65000], &[(own, "198.51.100.0/24"), ("10.0.0.2", "203.0.113.0/24")]);
            assert_eq!(
                (&withdrawn[..], &announced[..]),
                (&["198.51.100.0/24".to_owned()][..], &["203.0.113.0/24".to_owned()][..])
            );
            assert_eq!(counters.own_next_hops, 1);
            assert_eq!(problems, [Problem::OwnNextHop { next_hop: own.parse().unwrap(), routes: 1 }]);
        }
        let (withdrawn, announced, _, problems) = received(&[65000], &[("10.0.1.2", "198.51.100.0/24")]);
        assert_eq!((withdrawn.len(), announced.len()), (0, 1), "kept to be seen");
        let (next_hop, subnet) = ("10.0.1.2".parse().unwrap(), "10.0.0.0/24".parse().unwrap());
        assert_eq!(problems, [Problem::DistantNextHop { next_hop, subnet, routes: 1 }]);
        // Nothing is known of another family's, and a link-local one is on the link.
        for fine in ["10.0.0.77", "2001:db8::7", "fe80::7"] {
            assert_eq!(received(&[65000], &[(fine, "198.51.100.0/24")]).3, [], "{fine}");
        }
        // Our own route come back, with what was its next hop: a loop, which stays to be seen.
        let (withdrawn, announced, counters, problems) =
            received(&[65000, 64512], &[("10.0.0.1", "198.51.100.0/24")]);
        assert_eq!((withdrawn.len(), announced.len(), counters.loops, problems), (0, 1, 1, vec![]));
    }
}
