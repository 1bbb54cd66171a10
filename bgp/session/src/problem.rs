//! What is wrong without ending the session, in words for the operator.

use std::net::{IpAddr, Ipv6Addr};

use proxima_bgp_wire::{AttributeProblem, EncodeError};
use proxima_types::{Asn, Family, Prefix};

/// Something wrong that does not end the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A malformed UPDATE that the session survives.
    #[error("malformed UPDATE from the peer: {0} (RFC 7606)")]
    MalformedUpdate(AttributeProblem),
    /// Routes whose path does not begin with the peer's AS.
    #[error(
        "{routes} route(s) from AS {expected} with a path that begins with {}: taken as withdrawn (RFC 4271 §6.3); if \
         the peer is a route server set `enforce-first-as = false`",
        found.map_or_else(|| "no AS".to_owned(), |found| format!("AS {found}"))
    )]
    FirstAs {
        /// The peer's AS.
        expected: Asn,
        /// What the path begins with, if with a number.
        found: Option<Asn>,
        /// How many routes it concerns.
        routes: usize,
    },
    /// Routes that must not have come from this peer.
    #[error(
        "{routes} leaked route(s) from AS {from}: ONLY_TO_CUSTOMER says {otc}, so they may go to customers only \
         (RFC 9234); kept to be seen, not used"
    )]
    RouteLeak {
        /// The peer's AS.
        from: Asn,
        /// The AS in the attribute.
        otc: Asn,
        /// How many routes it concerns.
        routes: usize,
    },
    /// A prefix that is no destination of unicast routes.
    #[error(
        "the peer announced {0}, which is no destination for unicast routes (RFC 4271 §6.3): ignored; filter it on the peer"
    )]
    Martian(Prefix),
    /// Routes that lead back to us.
    #[error(
        "{routes} route(s) with our own address {next_hop} as the next hop: taken as withdrawn (RFC 4271 §6.3); correct the \
         next hop on the peer"
    )]
    OwnNextHop {
        /// The next hop.
        next_hop: IpAddr,
        /// How many routes it concerns.
        routes: usize,
    },
    /// Routes that lead off the subnet the peer shares with us.
    #[error(
        "{routes} route(s) with the next hop {next_hop}, which is not on the shared subnet {subnet} (RFC 4271 §6.3): kept to \
         be seen, not used; let the peer be the next hop itself, or set `multihop` if it is no neighbour"
    )]
    DistantNextHop {
        /// The next hop.
        next_hop: IpAddr,
        /// The subnet.
        subnet: Prefix,
        /// How many routes it concerns.
        routes: usize,
    },
    /// A route can't be written as it was asked for.
    #[error("cannot announce {routes} route(s): {error}")]
    Unsendable {
        /// How many routes it concerns; they are withdrawn until their attributes change.
        routes: usize,
        /// Why.
        error: EncodeError,
    },
    /// The peer does not offer a configured family.
    #[error(
        "the peer did not offer {0}: no {0} route is exchanged with it; enable the family on the peer or take \
         it out of `families`"
    )]
    FamilyNotOffered(Family),
    /// An attempt to connect was given up.
    #[error(
        "no answer to the attempt to connect, trying again; check that the peer is up, its `address`, and firewalls \
         between here and there"
    )]
    NoAnswer,
    /// Another router than the one the session is established with advertises itself on its link.
    #[error(
        "{other} advertises itself as a router on the link too: the session stays with {known}, and while it is up nobody \
         takes its place; if {other} has no business there take it off the link, and protect the session with a password"
    )]
    AnotherRouter {
        /// The neighbour.
        known: Ipv6Addr,
        /// The other one.
        other: Ipv6Addr,
    },
    /// There is no next hop for a family.
    #[error("no {0} next hop on this session: no {0} route is announced; set `next-hop-{0}` for the peer")]
    NoNextHop(Family),
    /// The number of paths comes near the limit on prefixes.
    #[error("{count} {family} paths received, max-prefixes is {limit}: near the limit")]
    NearPrefixLimit {
        /// The family.
        family: Family,
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
    },
    /// The number of paths is beyond a limit on prefixes that only warns.
    #[error(
        "{count} {family} paths received, max-prefixes is {limit}: beyond the limit, going on as configured"
    )]
    BeyondPrefixLimit {
        /// The family.
        family: Family,
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
    },
    /// Paths beyond a limit on prefixes are left out.
    #[error(
        "more {family} paths received than max-prefixes = {limit}: those beyond it are not taken in, the session goes \
         on; filter on the peer, or raise the limit"
    )]
    PrefixesDiscarded {
        /// The family.
        family: Family,
        /// How many are taken.
        limit: u32,
    },
    /// Paths to one prefix beyond the most are left out.
    #[error(
        "the peer sends more than {limit} {family} paths to one prefix (RFC 7911): those beyond are not taken in; have it \
         select fewer, or set `add-path = false`"
    )]
    PathsDiscarded {
        /// The family.
        family: Family,
        /// How many are taken.
        limit: usize,
    },
    /// Routes can't be asked for again.
    #[error("cannot ask the peer for its {family} routes again: {why}")]
    CannotRefresh {
        /// The family.
        family: Family,
        /// Why not.
        why: &'static str,
    },
    /// A mark of RFC 7313 with nothing to mark.
    #[error("the peer marked a route refresh that makes no sense here: {0}; ignored")]
    StrayRefreshMark(&'static str),
    /// The peer did not say that its answer to a route refresh is complete.
    #[error("the peer never ended its {0} route refresh: routes it did not confirm are dropped (RFC 7313)")]
    RefreshUnfinished(Family),
    /// The peer is kept stale routes for no longer.
    #[error("the peer's stale {family} routes are dropped: {why}")]
    StaleRoutesDropped {
        /// The family.
        family: Family,
        /// Why.
        why: &'static str,
    },
    /// The peer says no role, or a wrong one would not be noticed.
    #[error(
        "the peer does not say its role (RFC 9234): leaks are looked for all the same, but a mistake in `role` is not \
         noticed; configure the role on the peer too"
    )]
    RoleNotOffered,
}
