//! What a peer's settings say about each other, and about the peers before it.

use proxima_types::{Asn, Family};

use super::{
    BGP_PORT,
    peer::{RawPeer, RawRemote},
};
use crate::{
    field::Field,
    report::{Report, Span, Wrong},
    sections::distinct,
    value,
};

impl RawPeer {
    /// What the peer's own settings say about each other.
    pub(super) fn check(&self, report: &Report, local_as: Option<Asn>) {
        if let Some(families) = self.families.value() {
            distinct(report, &families.elements, &self.place.key("families"));
        }
        if let Some(max_prefixes) = self.max_prefixes.value() {
            max_prefixes.check(report);
        }
        self.check_remote(report);
        self.check_scope(report);
        self.check_source(report);
        self.check_hops(report);
        self.check_roles(report);
        if let (Some(local_as), Some(remote_as)) = (local_as, self.remote_as.value())
            && local_as == *remote_as
        {
            self.check_internal(report);
        }
        self.check_next_hops(report);
        self.check_bfd(report);
    }

    /// One way to say where the peer is.
    fn check_remote(&self, report: &Report) {
        if let (Field::Given(_), Field::Given(range)) = (&self.address, &self.range) {
            self.clash(
                report,
                &range.span,
                "range",
                "`address`",
                "an `address` is one host, a `range` takes whoever connects: keep one of the two",
            );
        }
        if let (Field::Given(_), Field::Given(interface)) = (&self.range, &self.interface) {
            self.clash(
                report,
                &interface.span,
                "interface",
                "`range`",
                "connections from a range are taken on every interface: remove one of the two",
            );
        }
        if let (Field::Given(max), Some(RawRemote::Address(_) | RawRemote::Interface(_))) =
            (&self.max_peers, self.remote())
        {
            self.clash(
                report,
                &max.span,
                "max-peers",
                "a single peer",
                "it limits how many peers a `range` makes: remove it",
            );
        }
        let Some(RawRemote::Range(_)) = self.remote() else { return };
        let never = "a range waits to be connected to, it never connects: remove the key";
        if let Field::Given(port) = &self.port {
            self.clash(report, &port.span, "port", "`range`", never);
        }
        if let Field::Given(source) = &self.source {
            self.clash(report, &source.span, "source", "`range`", never);
        }
        if let Field::Given(passive) = &self.passive
            && !passive.value
        {
            self.clash(report, &passive.span, "passive = false", "`range`", never);
        }
    }

    /// Link-local addresses and interfaces belong together.
    fn check_scope(&self, report: &Report) {
        let Field::Given(address) = &self.address else { return };
        if value::link_local(address.value) && matches!(self.interface, Field::Absent) {
            let wrong = Wrong::new(format!("{} is link-local and means nothing without an interface", address.value))
                .hint("add `interface = \"eth0\"` with the interface it is reached by, or write `interface` alone to find the router by its advertisements");
            report.elsewhere(address.span.clone(), &self.place.key("address"), wrong);
        }
    }

    fn check_source(&self, report: &Report) {
        let (Field::Given(source), Some(session)) = (&self.source, self.session_family()) else { return };
        let remote = match self.remote() {
            Some(RawRemote::Address(address)) => address.to_string(),
            Some(RawRemote::Interface(interface)) => format!("a link-local address on {interface}"),
            Some(RawRemote::Range(_)) | None => return,
        };
        let wrong = if source.value.is_ipv4() != (session == Family::Ipv4) {
            Wrong::new(format!("{} can't be the source of a session with {remote}", source.value))
                .hint(format!("write an {session} address of this host"))
        } else if value::link_local(source.value) && matches!(self.interface, Field::Absent) {
            Wrong::new(format!("{} is link-local and means nothing without an interface", source.value))
                .hint("write a global or unique local address of this host, or add `interface`")
        } else {
            return;
        };
        report.here(source.span.clone(), &self.place.key("source"), wrong);
    }

    /// How far away the peer is.
    fn check_hops(&self, report: &Report) {
        let Field::Given(multihop) = &self.multihop else { return };
        if matches!(self.ttl_security, Field::Given(_)) {
            self.clash(report, &multihop.span, "multihop", "`ttl-security`", "with GTSM packets leave with TTL 255 whatever the distance: give the distance as `ttl-security = HOPS` and remove `multihop`");
        }
        let on_link = match self.remote() {
            Some(RawRemote::Interface(_)) => true,
            Some(RawRemote::Address(address)) => value::link_local(address),
            Some(RawRemote::Range(_)) | None => false,
        };
        if on_link {
            self.clash(
                report,
                &multihop.span,
                "multihop",
                "a link-local session",
                "no router forwards link-local packets: remove `multihop`",
            );
        }
    }

    fn check_roles(&self, report: &Report) {
        if let (Field::Absent, Field::Given(strict)) = (&self.role, &self.role_strict)
            && strict.value
        {
            let wrong = Wrong::new("`role-strict` is given without `role`").hint(
                "add `role`, which is what this side is to the peer: `provider`, `customer`, `peer`, …",
            );
            report.elsewhere(strict.span.clone(), &self.place.key("role-strict"), wrong);
        }
    }

    /// What makes no sense inside one AS.
    fn check_internal(&self, report: &Report) {
        let internal = "an internal session (`remote-as` is the own AS)";
        if let Field::Given(hops) = &self.ttl_security {
            self.clash(report, &hops.span, "ttl-security", internal, "internal peers may be any number of hops away: remove it, and use `password-file` to keep others out");
        }
        if let Field::Given(role) = &self.role {
            self.clash(
                report,
                &role.span,
                "role",
                internal,
                "roles are between ASes (RFC 9234): remove it, or correct `remote-as`",
            );
        }
        if let Field::Given(enforced) = &self.enforce_first_as
            && enforced.value
        {
            self.clash(
                report,
                &enforced.span,
                "enforce-first-as",
                internal,
                "internal peers do not add their AS to a path: remove it",
            );
        }
    }

    fn check_next_hops(&self, report: &Report) {
        if let (Field::Given(extended), Some(offered)) = (&self.extended_next_hop, self.offered())
            && extended.value
            && !offered.contains(&Family::Ipv4)
        {
            let wrong =
                Wrong::new("`extended-next-hop` is for IPv4 routes, and the session does not carry ipv4")
                    .hint("add \"ipv4\" to `families`, or remove `extended-next-hop` (RFC 8950)");
            report.elsewhere(extended.span.clone(), &self.place.key("extended-next-hop"), wrong);
        }
        let (Some(session), Some(offered)) = (self.session_family(), self.offered()) else { return };
        self.check_next_hop(report, session, &offered, Family::Ipv4, &self.next_hop_ipv4);
        self.check_next_hop(report, session, &offered, Family::Ipv6, &self.next_hop_ipv6);
    }

    fn check_next_hop<A>(
        &self,
        report: &Report,
        session: Family,
        offered: &[Family],
        family: Family,
        next_hop: &Field<A>,
    ) {
        let key = format!("next-hop-{family}");
        let extended = family == Family::Ipv4 && !matches!(self.extended_next_hop.or(false), Some(false));
        match next_hop {
            Field::Given(at) if !offered.contains(&family) => {
                let wrong = Wrong::new(format!("`{key}` is given, but the session does not carry {family}"))
                    .hint(format!("add \"{family}\" to `families`, or remove `{key}`"));
                report.elsewhere(at.span.clone(), &self.place.key(&key), wrong);
            }
            Field::Absent if family != session && offered.contains(&family) && !extended => {
                let span = self.families.given().map_or(self.place.span.clone(), |at| at.span.clone());
                let or = match family {
                    Family::Ipv4 => ", or `extended-next-hop = true` where the peer knows RFC 8950",
                    Family::Ipv6 => "",
                };
                let wrong = Wrong::new(format!("{family} routes on an {session} session need a next hop"))
                    .hint(format!(
                        "add `{key} = \"…\"` with the {family} address of this host towards the peer{or}"
                    ));
                report.elsewhere(span, &self.place.key(&key), wrong);
            }
            Field::Given(_) | Field::Absent | Field::Bad => {}
        }
    }

    fn check_bfd(&self, report: &Report) {
        let Field::Given(bfd) = &self.bfd else { return };
        bfd.value.check(report, matches!(self.multihop, Field::Given(_)));
        let Field::Given(multihop) = &bfd.value.multihop else { return };
        let wrong = match (multihop.value, &self.multihop, &self.ttl_security, self.remote()) {
            (false, Field::Given(_), _, _) => {
                Wrong::new("single-hop BFD takes packets with TTL 255 only, and the peer is some hops away")
                    .hint("remove `multihop` here: it follows the `multihop` of the peer")
            }
            (true, _, Field::Given(hops), _) if hops.value.get() == 1 => {
                Wrong::new("the peer is the next hop by its `ttl-security = 1`")
                    .hint("remove `multihop`, or correct `ttl-security`")
            }
            (true, _, _, Some(RawRemote::Interface(_))) => {
                Wrong::new("no router forwards the packets of a link-local session").hint("remove `multihop`")
            }
            (true, _, _, Some(RawRemote::Address(address))) if value::link_local(address) => {
                Wrong::new("no router forwards the packets of a link-local session").hint("remove `multihop`")
            }
            _ => return,
        };
        report.elsewhere(multihop.span.clone(), &bfd.value.multihop_path(), wrong);
    }

    fn clash(&self, report: &Report, span: &Span, key: &str, company: &str, hint: &str) {
        let wrong = Wrong::new(format!("`{key}` has no place beside {company}")).hint(hint);
        let key = key.split(' ').next().unwrap_or(key);
        report.elsewhere(span.clone(), &self.place.key(key), wrong);
    }

    /// What makes it one with a peer before it. `path` is where it stands in the file.
    pub(super) fn check_beside(&self, report: &Report, earlier: &[Self], path: &str, listens: bool) {
        self.check_name(report, earlier, path);
        match self.remote() {
            Some(RawRemote::Address(_)) => self.check_address(report, earlier, listens),
            Some(RawRemote::Range(range)) => self.check_same(report, earlier, "range", &range.to_string()),
            Some(RawRemote::Interface(name)) => self.check_same(report, earlier, "interface", name),
            None => {}
        }
    }

    fn check_name(&self, report: &Report, earlier: &[Self], path: &str) {
        if let Some(name) = self.name.given()
            && earlier.iter().any(|other| other.name.value() == Some(&name.value))
        {
            let wrong = Wrong::new(format!("two peers are named `{}`", name.value))
                .hint("give each peer its own name");
            report.elsewhere(name.span.clone(), &format!("{path}.name"), wrong);
        }
    }

    /// Sessions are told apart by the peer's address; where we only connect, also by its port.
    fn check_address(&self, report: &Report, earlier: &[Self], listens: bool) {
        let (Some(address), Some(port)) = (self.address.given(), self.port.or(BGP_PORT)) else { return };
        let clash = earlier.iter().find(|other| {
            let waits =
                listens || self.passive.value() == Some(&true) || other.passive.value() == Some(&true);
            other.address.value() == Some(&address.value)
                && (!value::link_local(address.value) || other.interface.value() == self.interface.value())
                && (waits || other.port.or(BGP_PORT) == Some(port))
        });
        if let Some(other) = clash {
            let wrong = Wrong::new(format!("{} has the address {} already", other.called(), address.value))
                .hint(
                    "one session per address: put both families on it with `families = [\"ipv4\", \"ipv6\"]`",
                );
            report.elsewhere(address.span.clone(), &self.place.key("address"), wrong);
        }
    }

    fn check_same(&self, report: &Report, earlier: &[Self], key: &str, mine: &str) {
        let same = |other: &&Self| match other.remote() {
            Some(RawRemote::Range(range)) => key == "range" && range.to_string() == mine,
            Some(RawRemote::Interface(name)) => key == "interface" && name == mine,
            Some(RawRemote::Address(_)) | None => false,
        };
        let span = match key {
            "range" => self.range.given().map(|at| at.span.clone()),
            _ => self.interface.given().map(|at| at.span.clone()),
        };
        if let (Some(other), Some(span)) = (earlier.iter().find(same), span) {
            let wrong = Wrong::new(format!("{} has the {key} {mine} already", other.called()))
                .hint(format!("give each peer its own `{key}`"));
            report.elsewhere(span, &self.place.key(key), wrong);
        }
    }

    fn called(&self) -> String {
        self.name.value().map_or("another peer".to_owned(), |name| format!("peer `{name}`"))
    }
}
