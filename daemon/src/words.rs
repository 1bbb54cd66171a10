//! From the cores' words to the admin interface's.

mod groups;

use proxima_api::{
    AsPath, AsPathElement, BfdState, Inside, Origin, ProbeFailure, ServerRole, SessionReason, SessionState,
    Timestamp, VerdictReason,
};
use proxima_bgp_speaker::{Cause, State};
use proxima_bgp_wire::{Notification, SegmentKind};
use proxima_health::{Failure, Loss};
use proxima_probe::Role;
use proxima_types::Score;

pub(crate) use self::groups::{GroupWords, alarm_kind, evidence};

/// Why a backend's verdict changed.
pub(crate) fn verdict_reason(reason: &proxima_health::Reason) -> VerdictReason {
    match reason {
        proxima_health::Reason::Rose { successes } => VerdictReason::Rise { passes: u32::from(*successes) },
        proxima_health::Reason::Fell { failures, last } => {
            VerdictReason::Fall { failures: u32::from(*failures), last: probe_failure(last) }
        }
        proxima_health::Reason::Refused { probe, .. } => {
            VerdictReason::Hard { evidence: probe_failure(probe) }
        }
        proxima_health::Reason::Traffic { confirm, .. } => {
            VerdictReason::Hard { evidence: probe_failure(confirm) }
        }
        proxima_health::Reason::Leaving { within } => {
            VerdictReason::Leaving { within_s: within.as_secs_f64().ceil() as u64 }
        }
        proxima_health::Reason::Lost { loss, .. } => VerdictReason::Hard {
            evidence: match loss {
                Loss::Closed => ProbeFailure::Closed,
                Loss::Reset => ProbeFailure::Reset,
                Loss::TimedOut => ProbeFailure::Io { error: loss.to_string() },
            },
        },
    }
}

fn probe_failure(failure: &Failure) -> ProbeFailure {
    match failure {
        Failure::Refused => ProbeFailure::Refused,
        Failure::Reset => ProbeFailure::Reset,
        Failure::Closed => ProbeFailure::Closed,
        Failure::Timeout { after, .. } => {
            ProbeFailure::Timeout { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
        }
        Failure::Status { expected, received } => {
            ProbeFailure::Status { status: *received, expected: *expected }
        }
        Failure::Malformed { detail } => ProbeFailure::Malformed { detail: detail.clone() },
        Failure::Unreachable { error } | Failure::Local { error } => {
            ProbeFailure::Io { error: error.clone() }
        }
        other => ProbeFailure::Unfit { detail: other.to_string() },
    }
}

/// What a server of a replicated database is.
pub(crate) fn server_role(role: Role) -> ServerRole {
    match role {
        Role::Primary => ServerRole::Primary,
        Role::Replica => ServerRole::Replica,
    }
}

/// A time of day given in seconds since the Unix epoch.
pub(crate) fn calendar_time(unix_seconds: u64) -> Timestamp {
    let micros = i64::try_from(unix_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Timestamp::from_unix_micros(micros)
}

/// The score to show; none before the first verdicts.
pub(crate) fn shown_score(group: &proxima_announce::Group) -> Option<Score> {
    group.score().filter(|_| group.is_settled()).map(|score| score.score)
}

/// A state of RFC 4271.
pub(crate) fn session_state(state: State) -> SessionState {
    match state {
        State::Idle => SessionState::Idle,
        State::Connect => SessionState::Connect,
        State::Active => SessionState::Active,
        State::OpenSent => SessionState::OpenSent,
        State::OpenConfirm => SessionState::OpenConfirm,
        State::Established => SessionState::Established,
    }
}

/// Why a session left a state; none for the ordinary steps forward.
pub(crate) fn session_reason(cause: &Cause) -> Option<SessionReason> {
    match cause {
        Cause::Started
        | Cause::RetryTimerExpired
        | Cause::TcpConnected
        | Cause::TcpAccepted
        | Cause::OpenAccepted
        | Cause::OpenConfirmed => None,
        Cause::ConnectFailed(error) => Some(SessionReason::ConnectFailed { error: error.clone() }),
        Cause::TcpLost(error) => Some(SessionReason::ConnectionLost { error: Some(error.clone()) }),
        Cause::NotificationSent { notification: sent, detail } => {
            let meaning = match detail {
                Some(detail) => format!("{}: {detail}", meaning(sent)),
                None => meaning(sent),
            };
            let inside = sent.hard_reset_reason();
            let inside = inside.map(|reason| Inside { code: reason.code, subcode: reason.subcode });
            let Notification { code, subcode, .. } = *sent;
            Some(SessionReason::NotificationSent { code, subcode, meaning, inside })
        }
        Cause::NotificationReceived(received) => Some(notification_received(received)),
        Cause::Stopped => Some(SessionReason::Stopped),
        Cause::Left(why) => Some(SessionReason::Left { why: (*why).to_owned() }),
        Cause::Ended(why) => Some(SessionReason::ConnectionLost { error: Some(why.clone()) }),
        Cause::UnexpectedEvent(event) => {
            Some(SessionReason::ConnectionLost { error: Some(format!("unexpected {event}")) })
        }
    }
}

/// The peer's last word.
pub(crate) fn notification_received(n: &Notification) -> SessionReason {
    SessionReason::NotificationReceived { code: n.code, subcode: n.subcode, meaning: meaning(n) }
}

/// What a NOTIFICATION says, without its numbers: they stand beside it.
fn meaning(n: &Notification) -> String {
    n.to_string().replacen(&format!(" ({}/{})", n.code, n.subcode), "", 1)
}

/// A state of RFC 5880.
pub(crate) fn bfd_state(state: proxima_bfd_io::State) -> BfdState {
    match state {
        proxima_bfd_io::State::AdminDown => BfdState::AdminDown,
        proxima_bfd_io::State::Down => BfdState::Down,
        proxima_bfd_io::State::Init => BfdState::Init,
        proxima_bfd_io::State::Up => BfdState::Up,
    }
}

/// Where a route came into BGP.
pub(crate) fn origin(origin: proxima_bgp_wire::Origin) -> Origin {
    match origin {
        proxima_bgp_wire::Origin::Igp => Origin::Igp,
        proxima_bgp_wire::Origin::Egp => Origin::Egp,
        proxima_bgp_wire::Origin::Incomplete => Origin::Incomplete,
    }
}

/// An AS path, its sets as sets.
pub(crate) fn as_path(path: &proxima_bgp_wire::AsPath) -> AsPath {
    AsPath(
        path.segments()
            .flat_map(|segment| match segment.kind {
                SegmentKind::Sequence => segment.asns.iter().copied().map(AsPathElement::As).collect(),
                SegmentKind::Set => vec![AsPathElement::Set(segment.asns.to_vec())],
            })
            .collect(),
    )
}
