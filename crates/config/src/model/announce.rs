//! What is announced, when health changes that, and what holds it back.

use std::{
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use proxima_types::{GroupName, PeerName, Prefix, RouteAttributes, Score, ServiceName};

/// `[announce.NAME]`: prefixes that share a fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The group's name.
    pub name: GroupName,
    /// The prefixes, sorted, without duplicates; not empty. Each family is carried by at least one peer.
    pub prefixes: Vec<Prefix>,
    /// The services whose health gates the group, as written; not empty.
    pub services: Vec<ServiceName>,
    /// The attributes of the healthy state.
    pub attributes: RouteAttributes,
    /// How the prefixes' addresses are made local. Default [`Vip::AnyIp`].
    pub vip: Vip,
    /// Whether running connections to these prefixes may be handed over between PoPs ([`Catchment`](crate::Catchment)):
    /// their packets then cross to the PoP they began at, and with them whatever they carry. Default: true, and false
    /// where health never withdraws the group, as its data may be bound to its place.
    pub hand_over: bool,
    /// De-preference; absent: never, but for [`Group::guard`].
    pub degraded: Option<Degraded>,
    /// What health does to the group when its region no longer serves. Default: withdraws it.
    pub when_down: WhenDown,
    /// A penalty for flaps, by its defaults where nothing is written; absent: `damping = "none"`.
    pub damping: Option<Damping>,
    /// Never the last one to leave by health; absent: health needs nobody's word. Only where health withdraws at all.
    pub guard: Option<Guard>,
    /// With no probe of a gating backend of the own region ended for so long, nothing is known and the group is withdrawn;
    /// 1 s to 24 h, longer than the quickest of those probes may take. `"0s"` in the file is never. Default: 30 s, or three
    /// times the quickest of those probes with its timeout, where that is more.
    pub dead_man: Option<Duration>,
}

/// How a group's addresses become local to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vip {
    /// `anyip`: a local route for the whole prefix on the loopback device.
    AnyIp,
    /// `none`: the operator has seen to it.
    None,
}

/// `[announce.NAME.degraded]`: when a group is made less attractive, and how.
///
/// `below` ≤ `above`, and neither is under the threshold of the same name of [`Withdrawn`].
#[derive(Debug, Clone, PartialEq)]
pub struct Degraded {
    /// Entered when the score falls below this.
    pub below: Score,
    /// Left when the score is at least this.
    pub above: Score,
    /// All the attributes of this state: the group's own, with the prepend and MED given here in their place and the
    /// communities given here added. They differ from the group's own and are never more attractive.
    pub attributes: RouteAttributes,
    /// What real traffic has to be like; a breach de-prefers. Absent: traffic decides nothing.
    pub slo: Option<Slo>,
}

/// `slo` of [`Degraded`]: what the gating services' traffic has to be like. At least one limit is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// The most that the 95th percentile of the time to the first byte may be, 1 ms to 10 min.
    pub p95: Option<Duration>,
    /// The most that may fail, as a share above 0 and below 1.
    pub error_rate: Option<Score>,
    /// The time looked back on, 5 s to 1 h. Default 30 s.
    pub window: Duration,
    /// With fewer requests than this in the window nothing is concluded. Default 100.
    pub min_requests: NonZeroU32,
}

/// What health does to a group when its region no longer serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WhenDown {
    /// `withdraw`.
    Withdraw(Withdrawn),
    /// `stay`: health never withdraws the group; the PoP itself answers (with 503 where nothing else is left).
    Stay,
}

/// `[announce.NAME.withdrawn]`: when a group is withdrawn. `below` ≤ `above`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Withdrawn {
    /// Entered when the score falls below this. Default 0.01.
    pub below: Score,
    /// Left when the score is at least this. Default 0.02.
    pub above: Score,
    /// The least time withdrawn, zero to 24 h. Default 10 s.
    pub hold_down: Duration,
    /// The least time announced before health withdraws it, zero to 24 h; a fault of the PoP itself does not wait. Default
    /// zero.
    pub min_up: Duration,
}

/// `[announce.NAME.damping]`: each flap adds 1 to a penalty that halves with time (after RFC 2439). `reuse` < `suppress`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Damping {
    /// The penalty halves within this time, 1 s to 24 h. Default 60 s.
    pub half_life: Duration,
    /// From this penalty on the group is held back, up to 1000. Default 3.
    pub suppress: f64,
    /// Until it has fallen to this, above 0. Default 1.
    pub reuse: f64,
    /// The longest time held back, `half_life` to 24 h. Default four half-lives.
    pub max_suppress: Duration,
}

/// `[announce.NAME.guard]`: before health withdraws a group, others are seen to announce it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// How many others there have to be, 1 to 255. Default 1.
    pub min_announcers: NonZeroU16,
    /// The peers whose routes tell who announces the group, as written; not empty, without duplicates. Each family of the
    /// group's prefixes is carried by at least one of them.
    pub observe: Vec<PeerName>,
    /// How long the group has to have been marked as leaving, 100 ms to 10 min: longer than the propagation between
    /// PoPs times the number of PoPs. Default 10 s.
    pub quiet: Duration,
}

/// `withdrawals` of [`Limits`]: those beyond are de-preferred until there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawals {
    /// So many, 1 to 1000.
    pub most: NonZeroU32,
    /// Within any such time, 1 s to 24 h.
    pub within: Duration,
}
