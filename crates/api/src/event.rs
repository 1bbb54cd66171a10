//! What happened: numbered, timed, with its reason.

use std::{fmt, net::SocketAddr};

use proxima_types::{
    BackendId, Family, GroupName, Health, IssuerName, PeerName, PopName, Prefix, ReachState, RegionName,
    RouteAttributes, ServiceName,
};
use serde::{Deserialize, Serialize};

use crate::{
    AlarmKind, BfdState, By, GroupReason, Milliseconds, Order, Reloaded, SessionReason, SessionState,
    Timestamp, VerdictReason,
};

/// Which events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Only events after this number; 0 for all that are kept. A number beyond the newest event was another process's
    /// and counts as 0.
    #[serde(default)]
    pub since: u64,
    /// Stay and stream what happens.
    #[serde(default)]
    pub follow: bool,
}

/// The events that are kept, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// How many after the asked-for number are no longer kept.
    pub lost: u64,
    /// The events.
    pub events: Vec<Event>,
}

/// One line of a followed stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// An event.
    Event(Event),
    /// The reader was too slow, or asked for what is no longer kept.
    Lost {
        /// How many events it misses here.
        lost: u64,
    },
}

/// One event. Its JSON is flat: `seq`, `at`, `mono_ns`, `kind`, and the kind's own keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 in each process, without gaps.
    pub seq: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// When, by the machine's CLOCK_MONOTONIC in nanoseconds: comparable between processes of one boot.
    pub mono_ns: u64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.kind)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// The process runs and its configuration is accepted.
    DaemonStarted {
        /// The PoP.
        pop: PopName,
        /// The daemon's version.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// Every gating service has its first verdict; announcements follow health from here.
    DaemonReady {
        /// Time since the start, in milliseconds.
        after_ms: u64,
    },
    /// The process begins to stop.
    DaemonStopping {
        /// What made it, such as `SIGTERM`.
        cause: String,
    },
    /// A backend has a new verdict.
    BackendVerdict {
        /// The backend.
        backend: BackendId,
        /// Its region.
        region: RegionName,
        /// The verdict before.
        from: Health,
        /// The verdict now.
        to: Health,
        /// Why.
        reason: VerdictReason,
        /// Round trip to it, in microseconds, where the probe measured one.
        rtt_us: Option<u64>,
        /// From the first of the evidence that decided to the verdict, in microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detected_in_us: Option<u64>,
    },
    /// Checks of backends can't be made, for the same reason: what is known of them is as old as that.
    ChecksFailing {
        /// The backends, not all of them where they are many.
        backends: Vec<BackendId>,
        /// How many more there are.
        #[serde(default, skip_serializing_if = "is_zero")]
        more: u32,
        /// Why; absent where probes don't even fail.
        why: Option<String>,
    },
    /// Checks of backends could not be made, and can again.
    ChecksResumed {
        /// The backends, not all of them where they are many.
        backends: Vec<BackendId>,
        /// How many more there are.
        #[serde(default, skip_serializing_if = "is_zero")]
        more: u32,
    },
    /// An announcement group has a new state.
    GroupTransition {
        /// The group.
        group: GroupName,
        /// The state before.
        from: ReachState,
        /// The state now.
        to: ReachState,
        /// Why.
        reason: GroupReason,
    },
    /// A BGP session has a new state.
    PeerState {
        /// The peer.
        peer: PeerName,
        /// The state before.
        from: SessionState,
        /// The state now.
        to: SessionState,
        /// Why, where it is not the plain course of things.
        reason: Option<SessionReason>,
    },
    /// An UPDATE was handed to the peer's socket.
    UpdateSent {
        /// The peer.
        peer: PeerName,
        /// Prefixes announced.
        announced: Vec<Prefix>,
        /// Prefixes withdrawn.
        withdrawn: Vec<Prefix>,
        /// The attributes of the announced ones.
        attributes: Option<RouteAttributes>,
    },
    /// End-of-RIB was handed to the peer's socket (RFC 4724 §2).
    EndOfRibSent {
        /// The peer.
        peer: PeerName,
        /// The family.
        family: Family,
    },
    /// The peer sent something wrong that did not end the session (RFC 7606).
    PeerFault {
        /// The peer.
        peer: PeerName,
        /// What, and what was done about it.
        fault: String,
    },
    /// A BFD session has a new state.
    BfdState {
        /// The peer it is for.
        peer: PeerName,
        /// The state before.
        from: BfdState,
        /// The state now.
        to: BfdState,
        /// Why, in the words of RFC 5880 §4.1, where there is a reason.
        diagnostic: Option<String>,
    },
    /// An operator took a session down.
    PeerShutdown {
        /// The peer.
        peer: PeerName,
        /// Why.
        reason: String,
    },
    /// An operator lets a session come up again.
    PeerUp {
        /// The peer.
        peer: PeerName,
    },
    /// An operator had a session begin anew.
    PeerReset {
        /// The peer.
        peer: PeerName,
    },
    /// An operator had a peer asked for its routes again.
    PeerRefresh {
        /// The peer.
        peer: PeerName,
    },
    /// The configuration was read again and is in force.
    Reloaded {
        /// What it changed.
        #[serde(flatten)]
        changes: Box<Reloaded>,
    },
    /// The configuration was read again and is refused as a whole; the one before stays in force.
    ReloadRefused {
        /// Why.
        error: String,
    },
    /// The process leaves its peers without a word and begins anew.
    Restarting {
        /// Peers that keep our routes meanwhile.
        helped_by: Vec<PeerName>,
        /// Peers that drop them.
        dropped_by: Vec<PeerName>,
    },
    /// A process is started that is to take over.
    UpgradeBegun,
    /// It could not, or none was started: all goes on as before.
    UpgradeFailed {
        /// Why.
        error: String,
    },
    /// Another process has taken everything over but for connections of clients.
    HandedOver {
        /// Which.
        pid: u32,
        /// Its version.
        version: String,
        /// How long sessions and decisions stood still, in microseconds.
        still_us: u64,
    },
    /// This process has taken over from another.
    TookOver {
        /// From which.
        pid: u32,
        /// The peers whose sessions go on.
        peers: Vec<PeerName>,
    },
    /// Something needs a person's attention.
    AlarmRaised {
        /// The group.
        group: GroupName,
        /// What.
        #[serde(flatten)]
        alarm: AlarmKind,
    },
    /// That is over.
    AlarmOver {
        /// The group.
        group: GroupName,
        /// What it was, as it was raised.
        #[serde(flatten)]
        alarm: AlarmKind,
        /// How long it lasted, in milliseconds.
        lasted_ms: u64,
    },
    /// An operator ordered something for groups.
    OrderGiven {
        /// The groups.
        groups: Vec<GroupName>,
        /// The order.
        order: Order,
    },
    /// An order has expired: health decides again.
    OrderExpired {
        /// The groups it was still in force for.
        groups: Vec<GroupName>,
        /// The order.
        order: Order,
    },
    /// An operator drained the PoP.
    Drain {
        /// Why.
        reason: Option<String>,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By>,
        /// Until when; absent: until it is put back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An operator put it back.
    Undrain,
    /// A listener accepts connections.
    ListenerBound {
        /// The service.
        service: ServiceName,
        /// Where.
        address: SocketAddr,
    },
    /// A listener takes no new connections.
    ListenerClosed {
        /// The service.
        service: ServiceName,
        /// Where.
        address: SocketAddr,
    },
    /// A certificate was ordered, and is shown to new clients from now on.
    CertificateObtained {
        /// The service.
        service: ServiceName,
        /// From whom.
        issuer: IssuerName,
        /// Its names.
        names: Vec<String>,
        /// When it ends.
        ends: Timestamp,
    },
    /// A certificate could not be had, or not be kept. One that is there stays in use.
    CertificateFailed {
        /// The service.
        service: ServiceName,
        /// From whom.
        issuer: IssuerName,
        /// Why, with the remedy.
        error: String,
        /// When it is tried again; absent: with the next renewal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        /// When the one that is there ends; absent: there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ends: Option<Timestamp>,
    },
    /// A service has no certificate yet: it refuses every client until its order is done.
    CertificateMissing {
        /// The service.
        service: ServiceName,
    },
    /// This host takes packets for the prefix.
    VipAdded {
        /// The prefix.
        prefix: Prefix,
    },
    /// This host no longer does.
    VipRemoved {
        /// The prefix.
        prefix: Prefix,
    },
    /// A prefix could not be made local, or that could not be taken back.
    VipFailed {
        /// Why, with the prefix and the remedy.
        error: String,
    },
    /// Nothing of the process ran for a while: what it knew is that much older.
    Thawed {
        /// From the last turn of the control task to the next, in milliseconds.
        gap_ms: u64,
        /// The host itself was suspended for most of it.
        suspended: bool,
    },
    /// A data-plane worker missed its beats.
    WorkerStalled {
        /// The worker, from 0.
        worker: u32,
        /// How long it was silent, in milliseconds.
        silent_ms: u64,
    },
    /// It beats again.
    WorkerRecovered {
        /// The worker, from 0.
        worker: u32,
    },
}

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The plain course of things.
    Info,
    /// Someone may want to look.
    Warning,
    /// Something does not serve that should.
    Error,
}

impl EventKind {
    /// The kind's name as in JSON, such as `backend-verdict`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DaemonStarted { .. } => "daemon-started",
            Self::DaemonReady { .. } => "daemon-ready",
            Self::DaemonStopping { .. } => "daemon-stopping",
            Self::BackendVerdict { .. } => "backend-verdict",
            Self::ChecksFailing { .. } => "checks-failing",
            Self::ChecksResumed { .. } => "checks-resumed",
            Self::GroupTransition { .. } => "group-transition",
            Self::PeerState { .. } => "peer-state",
            Self::UpdateSent { .. } => "update-sent",
            Self::EndOfRibSent { .. } => "end-of-rib-sent",
            Self::PeerFault { .. } => "peer-fault",
            Self::BfdState { .. } => "bfd-state",
            Self::PeerShutdown { .. } => "peer-shutdown",
            Self::PeerUp { .. } => "peer-up",
            Self::PeerReset { .. } => "peer-reset",
            Self::PeerRefresh { .. } => "peer-refresh",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRefused { .. } => "reload-refused",
            Self::Restarting { .. } => "restarting",
            Self::UpgradeBegun => "upgrade-begun",
            Self::UpgradeFailed { .. } => "upgrade-failed",
            Self::HandedOver { .. } => "handed-over",
            Self::TookOver { .. } => "took-over",
            Self::AlarmRaised { .. } => "alarm-raised",
            Self::AlarmOver { .. } => "alarm-over",
            Self::OrderGiven { .. } => "order-given",
            Self::OrderExpired { .. } => "order-expired",
            Self::Drain { .. } => "drain",
            Self::Undrain => "undrain",
            Self::ListenerBound { .. } => "listener-bound",
            Self::ListenerClosed { .. } => "listener-closed",
            Self::CertificateObtained { .. } => "certificate-obtained",
            Self::CertificateFailed { .. } => "certificate-failed",
            Self::CertificateMissing { .. } => "certificate-missing",
            Self::VipAdded { .. } => "vip-added",
            Self::VipRemoved { .. } => "vip-removed",
            Self::VipFailed { .. } => "vip-failed",
            Self::Thawed { .. } => "thawed",
            Self::WorkerStalled { .. } => "worker-stalled",
            Self::WorkerRecovered { .. } => "worker-recovered",
        }
    }

    /// How loud it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::BackendVerdict { to: Health::Down, .. }
            | Self::GroupTransition { to: ReachState::DePreferred, .. }
            | Self::ChecksFailing { .. }
            | Self::PeerFault { .. }
            | Self::PeerShutdown { .. }
            | Self::PeerReset { .. }
            | Self::Restarting { .. }
            | Self::OrderGiven { .. }
            | Self::Thawed { .. }
            | Self::CertificateFailed { ends: Some(_), .. }
            | Self::OrderExpired { .. }
            | Self::Drain { .. } => Severity::Warning,
            Self::ReloadRefused { .. }
            | Self::UpgradeFailed { .. }
            | Self::AlarmRaised { .. }
            | Self::WorkerStalled { .. }
            | Self::CertificateFailed { ends: None, .. }
            | Self::CertificateMissing { .. }
            | Self::BfdState { from: BfdState::Up, to: BfdState::Down, .. } => Severity::Error,
            Self::GroupTransition { to: ReachState::Withdrawn, reason, .. } => match reason {
                GroupReason::AwaitingVerdicts { .. } => Severity::Info,
                reason if reason.is_wanted() => Severity::Warning,
                _ => Severity::Error,
            },
            Self::PeerState { from: SessionState::Established, reason, .. } => match reason {
                Some(reason) if reason.is_ordered() => Severity::Info,
                _ => Severity::Error,
            },
            Self::PeerState { reason: Some(reason), .. } if !reason.is_ordered() => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaemonStarted { pop, version, pid } => {
                write!(f, "proximad {version} of {pop} started, pid {pid}")
            }
            Self::DaemonReady { after_ms } => write!(f, "ready: first verdicts after {after_ms} ms"),
            Self::DaemonStopping { cause } => write!(f, "stopping: {cause}"),
            Self::BackendVerdict { backend, region, from, to, reason, .. } => {
                write!(f, "backend {backend} in {region}: {from} -> {to}: {reason}")
            }
            Self::ChecksFailing { backends, more, why } => {
                write!(f, "can't check {}{}: ", Words(backends), More(*more))?;
                f.write_str(why.as_deref().unwrap_or("no probe of theirs has ended for too long"))
            }
            Self::ChecksResumed { backends, more } => {
                write!(f, "can check {}{} again", Words(backends), More(*more))
            }
            Self::GroupTransition { group, from, to, reason } => {
                write!(f, "group {group}: {from} -> {to}: {reason}")
            }
            Self::PeerState { peer, from, to, reason } => {
                write!(f, "peer {peer}: {from} -> {to}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::UpdateSent { peer, announced, withdrawn, attributes } => {
                write!(f, "peer {peer}: update sent")?;
                if !announced.is_empty() {
                    write!(f, ", announced {}", Words(announced))?;
                }
                if let Some(attributes) = attributes {
                    write_attributes(f, attributes)?;
                }
                if !withdrawn.is_empty() {
                    write!(f, ", withdrawn {}", Words(withdrawn))?;
                }
                Ok(())
            }
            Self::EndOfRibSent { peer, family } => write!(f, "peer {peer}: end of rib sent for {family}"),
            Self::PeerFault { peer, fault } => write!(f, "peer {peer}: {fault}"),
            Self::BfdState { peer, from, to, diagnostic } => {
                write!(f, "bfd {peer}: {from} -> {to}")?;
                diagnostic.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::PeerShutdown { peer, reason } if reason.is_empty() => write!(f, "peer {peer}: shut down"),
            Self::PeerShutdown { peer, reason } => write!(f, "peer {peer}: shut down: {reason}"),
            Self::PeerUp { peer } => write!(f, "peer {peer}: may come up"),
            Self::PeerReset { peer } => write!(f, "peer {peer}: reset"),
            Self::PeerRefresh { peer } => write!(f, "peer {peer}: asked for its routes again"),
            Self::Reloaded { changes } => {
                write!(f, "configuration reloaded: {}", changes.to_string().replace('\n', "; "))
            }
            Self::ReloadRefused { error } => write!(f, "configuration refused, nothing changed: {error}"),
            Self::Restarting { helped_by, dropped_by } => {
                f.write_str("restarting")?;
                if !helped_by.is_empty() {
                    write!(f, ", routes kept by {}", Words(helped_by))?;
                }
                if !dropped_by.is_empty() {
                    write!(f, ", dropped by {}", Words(dropped_by))?;
                }
                Ok(())
            }
            Self::UpgradeBegun => f.write_str("upgrade: a process is started that is to take over"),
            Self::UpgradeFailed { error } => write!(f, "upgrade failed, all goes on as before: {error}"),
            Self::HandedOver { pid, version, still_us } => {
                let still = std::time::Duration::from_micros(*still_us);
                write!(
                    f,
                    "handed over to process {pid}, version {version}, sessions stood still for {still:.1?}"
                )
            }
            Self::TookOver { pid, peers } if peers.is_empty() => write!(f, "took over from process {pid}"),
            Self::TookOver { pid, peers } => {
                write!(f, "took over from process {pid}, with the sessions of {}", Words(peers))
            }
            Self::AlarmRaised { group, alarm } => write!(f, "alarm: group {group}: {alarm}"),
            Self::AlarmOver { group, alarm, lasted_ms } => {
                write!(f, "alarm over: group {group}: {} after {}", alarm.name(), Milliseconds(*lasted_ms))
            }
            Self::OrderGiven { groups, order } => write!(f, "order for {}: {order}", Words(groups)),
            Self::OrderExpired { groups, order } => {
                write!(f, "the order for {} has expired: {order}", Words(groups))
            }
            Self::Drain { reason, by, until } => {
                f.write_str("drained")?;
                if let Some(by) = by {
                    write!(f, " by {by}")?;
                }
                if let Some(until) = until {
                    write!(f, ", until {until:.0}")?;
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Undrain => f.write_str("undrained"),
            Self::ListenerBound { service, address } => write!(f, "service {service}: listens on {address}"),
            Self::ListenerClosed { service, address } => write!(f, "service {service}: closed {address}"),
            Self::CertificateObtained { service, issuer, names, ends } => {
                let names = Words(names);
                write!(f, "service {service}: certificate for {names} from {issuer}, ends {ends:.0}")
            }
            Self::CertificateFailed { service, issuer, error, retry_at, ends } => {
                write!(f, "service {service}: no certificate from {issuer}: {error}")?;
                if let Some(retry_at) = retry_at {
                    write!(f, "; tried again {retry_at:.0}")?;
                }
                match ends {
                    Some(ends) => write!(f, "; the one in use ends {ends:.0}"),
                    None => f.write_str("; there is none in use yet"),
                }
            }
            Self::CertificateMissing { service } => {
                write!(f, "service {service}: no certificate yet, clients are refused until there is one")
            }
            Self::VipAdded { prefix } => write!(f, "vip {prefix} added"),
            Self::VipRemoved { prefix } => write!(f, "vip {prefix} removed"),
            Self::VipFailed { error } => write!(f, "vip failed: {error}"),
            Self::Thawed { gap_ms, suspended } => {
                let what = if *suspended { "the host was suspended" } else { "the process stood still" };
                write!(f, "{what} for {}", Milliseconds(*gap_ms))
            }
            Self::WorkerStalled { worker, silent_ms } => {
                write!(f, "worker {worker} stalled: silent for {silent_ms} ms")
            }
            Self::WorkerRecovered { worker } => write!(f, "worker {worker} beats again"),
        }
    }
}

fn write_attributes(f: &mut fmt::Formatter<'_>, attributes: &RouteAttributes) -> fmt::Result {
    let RouteAttributes { prepend, med, local_pref, communities, large_communities } = attributes;
    if *prepend > 0 {
        write!(f, " prepend {prepend}")?;
    }
    if let Some(med) = med {
        write!(f, " med {med}")?;
    }
    if let Some(local_pref) = local_pref {
        write!(f, " local-pref {local_pref}")?;
    }
    if !communities.is_empty() {
        write!(f, " communities {}", Words(communities))?;
    }
    if !large_communities.is_empty() {
        write!(f, " large-communities {}", Words(large_communities))?;
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How many more there are, if any.
struct More(u32);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, " and {} more", self.0) } else { Ok(()) }
    }
}

struct Words<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Words<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            word.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
