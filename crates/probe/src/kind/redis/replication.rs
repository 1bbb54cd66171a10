//! What `INFO replication` and `ROLE` say.

use std::time::Duration;

use super::{Failure, resp::Value, wrong};
use crate::said::said;

/// A server's place in the replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replication {
    Master,
    Replica(Link),
    /// A sentinel has no data.
    Sentinel,
}

/// A replica's link to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Up; when the master last said something, if that is told. It says something every ten seconds even when nothing
    /// changes (`repl-ping-replica-period`).
    Up { heard: Option<Duration> },
    /// Down, and since when, if it ever was up and that is told.
    Down { since: Option<Duration> },
}

impl Replication {
    /// From the text of `INFO replication`.
    pub(super) fn from_info(text: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(text);
        let field =
            |name: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
        let seconds = |name| field(name).and_then(|value| value.parse().ok()).map(Duration::from_secs);
        match field("role") {
            Some("master") => Ok(Self::Master),
            Some("slave" | "replica") => match field("master_link_status") {
                Some("up") => Ok(Self::Replica(Link::Up { heard: seconds("master_last_io_seconds_ago") })),
                // -1 seconds: it never was up.
                Some(_) => Ok(Self::Replica(Link::Down { since: seconds("master_link_down_since_seconds") })),
                None => Err(wrong("a replica that says nothing of its link".to_owned())),
            },
            Some("sentinel") => Ok(Self::Sentinel),
            Some(other) => Err(wrong(format!("the role `{}`", said(other)))),
            None => Err(wrong("INFO replication without a role".to_owned())),
        }
    }

    /// From the answer to `ROLE`, which tells no times.
    pub(super) fn from_role(value: &Value) -> Result<Self, Failure> {
        let Value::Array(values) = value else { return Err(wrong("ROLE is not an array".to_owned())) };
        let text = |n: usize| match values.get(n) {
            Some(Value::Text(text)) => Some(text.as_slice()),
            _ => None,
        };
        match text(0) {
            Some(b"master") => Ok(Self::Master),
            Some(b"slave") if text(3) == Some(b"connected") => Ok(Self::Replica(Link::Up { heard: None })),
            Some(b"slave") => Ok(Self::Replica(Link::Down { since: None })),
            Some(b"sentinel") => Ok(Self::Sentinel),
            other => Err(wrong(format!("the role `{}`", said(other.unwrap_or_default())))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(seconds: u64) -> Replication {
        Replication::Replica(Link::Up { heard: Some(Duration::from_secs(seconds)) })
    }

    #[test]
    fn info_tells_role_link_and_silence() {
        for (text, expected) in [
            ("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n", Replication::Master),
            (
                "# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_link_status:up\r\n\
                 master_last_io_seconds_ago:3\r\n",
                up(3),
            ),
            ("role:replica\nmaster_link_status:up\nmaster_last_io_seconds_ago:0", up(0)),
            (
                "role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n\
                 master_link_down_since_seconds:17\r\n",
                Replication::Replica(Link::Down { since: Some(Duration::from_secs(17)) }),
            ),
            (
                "role:slave\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:-1\r\n",
                Replication::Replica(Link::Down { since: None }),
            ),
            ("role:slave\r\nmaster_link_status:up\r\n", Replication::Replica(Link::Up { heard: None })),
            ("role:sentinel\r\n", Replication::Sentinel),
        ] {
            assert_eq!(Replication::from_info(text.as_bytes()), Ok(expected), "{text:?}");
        }
        for text in ["", "role:", "role:king\r\n", "xrole:master\r\n", "role:slave\r\n", "\u{0}\u{1}"] {
            let found = Replication::from_info(text.as_bytes());
            assert!(matches!(found, Err(Failure::Protocol { .. })), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn role_tells_role_and_link() {
        let text = |text: &str| Value::Text(text.into());
        let slave = |state| {
            let values =
                [text("slave"), text("10.0.0.1"), Value::Integer(6379), text(state), Value::Integer(14)];
            Value::Array(values.into())
        };
        for (value, expected) in [
            (
                Value::Array(vec![text("master"), Value::Integer(3), Value::Array(vec![])]),
                Replication::Master,
            ),
            (slave("connected"), Replication::Replica(Link::Up { heard: None })),
            (slave("connect"), Replication::Replica(Link::Down { since: None })),
            (slave("sync"), Replication::Replica(Link::Down { since: None })),
            (Value::Array(vec![text("sentinel"), Value::Array(vec![])]), Replication::Sentinel),
        ] {
            assert_eq!(Replication::from_role(&value), Ok(expected), "{value:?}");
        }
        for value in
            [Value::Null, Value::Array(vec![]), Value::Array(vec![Value::Integer(1)]), text("master")]
        {
            assert!(matches!(Replication::from_role(&value), Err(Failure::Protocol { .. })), "{value:?}");
        }
    }
}
