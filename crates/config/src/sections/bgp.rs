//! `[bgp]` and what is below it: the speaker, its sessions, and what watches them.
//!
//! | module | part |
//! |---|---|
//! | `peer` | `[[bgp.peers]]`: read and resolved |
//! | `peer_check` | what a peer's settings say about each other and about the other peers |
//! | `options` | the tables of a peer: `max-prefixes`, `graceful-restart`, `bfd` |
//! | `monitor` | `[[bgp.bmp]]` and `[bgp.mrt]` |

mod monitor;
mod options;
mod peer;
mod peer_check;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use proxima_types::{Asn, Family, PeerName};

use self::{
    monitor::{RawBmp, RawMrt},
    peer::{Defaults, RawPeer},
};
use super::{Place, Raw, element, resolved};
use crate::{
    BestPath, Bgp, Peer, Remote,
    field::{At, Field, List},
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const BGP_PORT: u16 = 179;
const HOLD_TIME: Duration = Duration::from_secs(90);
const CONNECT_RETRY: Duration = Duration::from_secs(5);
/// Each switch of `best-path`.
const BEST_PATH: bool = false;

pub(super) struct RawBgp {
    pub(super) path: String,
    local_as: Field<Asn>,
    hold_time: Field<Duration>,
    connect_retry: Field<Duration>,
    listen: Field<List<SocketAddr>>,
    best_path: Option<BestPath>,
    peers: Field<Vec<RawPeer>>,
    bmp: Field<Vec<RawBmp>>,
    mrt: Field<RawMrt>,
    place: Place,
}

impl RawBgp {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        let bgp = file.required_section(
            "bgp",
            "add `[bgp]` with `local-as`, and `[[bgp.peers]]` for each router",
            "The BGP speaker. Another `local-as`, `listen` or `best-path` needs a restart.",
        );
        bgp.map(Self::keys)
    }

    fn keys(mut bgp: Section<'_>) -> Self {
        let raw = Self {
            path: bgp.path().to_owned(),
            local_as: bgp.required("local-as", "64512", value::asn(), "The own AS."),
            hold_time: bgp.optional(
                "hold-time",
                value::hold_time(),
                Absent::is(HOLD_TIME),
                "The hold time that is offered to peers without one of their own, in whole seconds: a dead \
                host is noticed after this long. `\"0s\"`: no keepalives.",
            ),
            connect_retry: bgp.optional(
                "connect-retry",
                value::duration(peer::RETRY),
                Absent::is(CONNECT_RETRY),
                "The first interval of the backoff between attempts to connect, of peers without one of \
                their own.",
            ),
            listen: bgp.optional_list(
                "listen",
                value::listen(),
                Absent::means(
                    "nowhere, or port 179 of both families where a peer is passive, a range or an \
                    interface",
                ),
                "Where incoming sessions are taken.",
            ),
            best_path: read_best_path(&mut bgp),
            peers: bgp
                .sections(
                    "peers",
                    "A session with a router, or the sessions of a range. Needed where there is something \
                    to announce. [peers.toml](../configs/peers.toml) has one of each kind. A reload \
                    begins only sessions anew whose settings can't change while they are up.",
                )
                .map(|peers| peers.into_iter().map(RawPeer::read).collect()),
            bmp: bgp
                .sections(
                    "bmp",
                    "A monitoring station (RFC 7854) that is told of the sessions and of what they bring.",
                )
                .map(|bmp| bmp.into_iter().map(RawBmp::read).collect()),
            mrt: bgp
                .section(
                    "mrt",
                    Absent::means("none"),
                    "Table dumps (RFC 6396), as `proxima bgp dump` reads them.",
                )
                .map(RawMrt::read),
            place: Place::of(&bgp),
        };
        bgp.close();
        raw
    }

    pub(super) fn listens(&self) -> impl Iterator<Item = &At<SocketAddr>> {
        self.listen.value().into_iter().flat_map(|list| &list.elements)
    }

    fn peers(&self) -> &[RawPeer] {
        self.peers.value().map_or(&[], Vec::as_slice)
    }

    pub(super) fn resolve(&self) -> Option<Bgp> {
        let local_as = *self.local_as.value()?;
        let defaults = Defaults {
            local_as,
            hold_time: self.hold_time.or(HOLD_TIME)?,
            connect_retry: self.connect_retry.or(CONNECT_RETRY)?,
        };
        let peers = all(&self.peers, |peer| peer.resolve(&defaults))?;
        Some(Bgp {
            local_as,
            hold_time: defaults.hold_time,
            connect_retry: defaults.connect_retry,
            listen: resolved(&self.listen, List::values)?.unwrap_or_else(|| default_listen(&peers)),
            best_path: self.best_path?,
            peers,
            bmp: all(&self.bmp, RawBmp::resolve)?,
            mrt: resolved(&self.mrt, RawMrt::resolve)?,
        })
    }
}

/// The resolved tables of a list that may be left out; nothing when one is wrong.
fn all<R, T>(sections: &Field<Vec<R>>, resolve: impl Fn(&R) -> Option<T>) -> Option<Vec<T>> {
    Some(resolved(sections, |sections| sections.iter().map(resolve).collect())?.unwrap_or_default())
}

/// The standard port where someone may connect to us, and no port else.
fn default_listen(peers: &[Peer]) -> Vec<SocketAddr> {
    let waits = |peer: &Peer| peer.passive || matches!(peer.remote, Remote::Interface(_));
    if !peers.iter().any(waits) {
        return Vec::new();
    }
    vec![
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), BGP_PORT),
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), BGP_PORT),
    ]
}

fn read_best_path(bgp: &mut Section<'_>) -> Option<BestPath> {
    let mut section = bgp.defaulted(
        "best-path",
        "How the best of several paths is found where RFC 4271 §9.1.2.2 leaves a choice.",
    );
    let mut switch =
        |key, doc| section.optional(key, value::boolean(), Absent::is(BEST_PATH), doc).or(BEST_PATH);
    let always_compare_med = switch(
        "always-compare-med",
        "Whether MEDs are compared whatever AS the paths came by, and not only between paths by the same \
        neighbour.",
    );
    let missing_med_worst = switch(
        "missing-med-worst",
        "Whether a path without MED is the least preferred; otherwise it counts as 0, the most preferred.",
    );
    let ignore_as_path_length =
        switch("ignore-as-path-length", "Whether the length of AS_PATH is not looked at.");
    let prefer_oldest = switch(
        "prefer-oldest",
        "Whether of external paths the one that came first stays the best (RFC 5004); otherwise the lower \
        router ID decides.",
    );
    section.close();
    Some(BestPath {
        always_compare_med: always_compare_med?,
        missing_med_worst: missing_med_worst?,
        ignore_as_path_length: ignore_as_path_length?,
        prefer_oldest: prefer_oldest?,
    })
}

/// The own AS number; nothing when it is not known.
pub(super) fn local_as(raw: &Raw) -> Option<Asn> {
    raw.bgp.value()?.local_as.value().copied()
}

/// A peer's name and the families it carries, each as far as it is known.
pub(super) type NameAndFamilies<'r> = (Option<&'r PeerName>, Option<Vec<Family>>);

/// Who the peers are; nothing when that is not known.
pub(super) fn peer_families(raw: &Raw) -> Option<Vec<NameAndFamilies<'_>>> {
    let peers = &raw.bgp.value()?.peers.given()?.value;
    Some(peers.iter().map(|peer| (peer.name.value(), peer.offered())).collect())
}

/// The addresses of peers, each with the name of its setting.
pub(super) fn peer_addresses(raw: &Raw) -> impl Iterator<Item = (&At<IpAddr>, String)> {
    let peers = raw.bgp.value().map_or(&[][..], RawBgp::peers);
    peers.iter().filter_map(|peer| Some((peer.address.given()?, peer.place.key("address"))))
}

/// Whether some peer carries `family`; nothing when that is not known.
pub(super) fn carried(raw: &Raw, family: Family) -> Option<bool> {
    let bgp = raw.bgp.value()?;
    let mut known = true;
    for peer in &bgp.peers.given()?.value {
        match peer.offered() {
            Some(families) if families.contains(&family) => return Some(true),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

pub(super) fn check(raw: &Raw, report: &Report) {
    let Some(bgp) = raw.bgp.value() else { return };
    if matches!(bgp.peers, Field::Absent) && !raw.groups.is_empty() {
        let wrong = Wrong::new("there is something to announce, but no peer to announce it to")
            .hint("add `[[bgp.peers]]` with `name`, `address` and `remote-as`");
        report.section(bgp.place.span.clone(), &bgp.place.key("peers"), wrong);
    }
    let listens = !matches!(bgp.listen, Field::Absent);
    for (index, peer) in bgp.peers().iter().enumerate() {
        peer.check(report, bgp.local_as.value().copied());
        peer.check_beside(report, &bgp.peers()[..index], &element("bgp", "peers", index), listens);
    }
    monitor::check(report, bgp.bmp.value().map_or(&[], Vec::as_slice));
}
