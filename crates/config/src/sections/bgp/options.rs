//! The tables of a peer: `max-prefixes`, `graceful-restart`, `bfd`.

use std::{
    num::{NonZeroU8, NonZeroU32},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use toml::de::DeValue;

use crate::{
    Bfd, BfdAuth, GracefulRestart, MaxPrefixes, PrefixAction,
    report::{Report, Wrong},
    section::{Field, Read, Section},
    sections::Place,
    value,
};

const MAX_PREFIXES: NonZeroU32 = NonZeroU32::new(10_000).expect("not 0");
const WARN_AT: u8 = 80;
const ACTION: PrefixAction = PrefixAction::Discard;
const ACTIONS: [(&str, PrefixAction); 3] =
    [("discard", PrefixAction::Discard), ("close", PrefixAction::Close), ("warn", PrefixAction::Warn)];

const RESTART_TIME: Duration = Duration::from_mins(2);
/// Twelve bits of seconds (RFC 4724 §3).
const RESTART_TIME_MAX: u64 = 4095;
const STALE_TIME: Duration = Duration::from_mins(6);

const BFD_INTERVAL: Duration = Duration::from_millis(300);
const BFD_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const BFD_MULTIPLIER: NonZeroU8 = NonZeroU8::new(3).expect("not 0");
/// Implementations send multihop packets with a TTL of 255 or of 64, and some routers are on the way: without more knowledge how
/// many are left says nothing about who sent them.
const BFD_LEAST_TTL: NonZeroU8 = NonZeroU8::MIN;
const BFD_KEY_ID: u8 = 1;

/// `max-prefixes`: a number or a table.
pub(super) enum RawMaxPrefixes {
    Number(Field<NonZeroU32>),
    Table {
        limit: Field<NonZeroU32>,
        warn_at: Field<u8>,
        action: Field<PrefixAction>,
        restart: Field<Duration>,
        place: Place,
    },
    Bad,
}

impl RawMaxPrefixes {
    pub(super) fn read(peer: &mut Section<'_>) -> Self {
        const KEY: &str = "max-prefixes";
        if !peer.has_table(KEY) {
            return Self::Number(peer.optional(KEY, limit));
        }
        let Field::Given(at) = peer.section(KEY) else { return Self::Bad };
        let mut table = at.value;
        let raw = Self::Table {
            limit: table.required("limit", "10000", limit),
            warn_at: table.optional("warn-at", value::integer(1..=100)),
            action: table.optional("action", value::word(&ACTIONS)),
            restart: table
                .optional("restart", value::duration(Duration::from_secs(1)..=Duration::from_hours(24))),
            place: Place::of(&table),
        };
        table.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<MaxPrefixes> {
        match self {
            Self::Number(limit) => {
                let limit = limit.or(MAX_PREFIXES)?;
                Some(MaxPrefixes { limit, warn_at: WARN_AT, action: ACTION, restart: None })
            }
            Self::Table { limit, warn_at, action, restart, place: _ } => Some(MaxPrefixes {
                limit: *limit.value()?,
                warn_at: warn_at.or(WARN_AT)?,
                action: action.or(ACTION)?,
                restart: restart.maybe()?,
            }),
            Self::Bad => None,
        }
    }

    pub(super) fn check(&self, report: &Report) {
        if let Self::Table { action, restart: Field::Given(restart), place, .. } = self
            && let Some(action) = action.or(ACTION).filter(|action| *action != PrefixAction::Close)
            && let Some((word, _)) = ACTIONS.into_iter().find(|(_, known)| *known == action)
        {
            let wrong = Wrong::new(format!("`restart` has no place beside `action = \"{word}\"`"))
                .hint("the session is not closed, so there is nothing to restart: remove it, or write `action = \"close\"`");
            report.here(restart.span.clone(), &place.key("restart"), wrong);
        }
    }
}

fn limit(found: &DeValue<'_>) -> Read<NonZeroU32> {
    let limit = value::integer::<u32>(1..=u32::MAX)(found)?;
    Ok(NonZeroU32::new(limit).expect("read within a range that begins at 1"))
}

/// `graceful-restart`.
pub(super) struct RawGracefulRestart {
    restart_time: Field<Duration>,
    stale_time: Field<Duration>,
    forwarding: Field<bool>,
}

impl RawGracefulRestart {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let raw = Self {
            restart_time: table.optional("restart-time", value::seconds(1..=RESTART_TIME_MAX)),
            stale_time: table.optional("stale-time", value::seconds(1..=3600)),
            forwarding: table.optional("forwarding", value::boolean),
        };
        table.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<GracefulRestart> {
        Some(GracefulRestart {
            restart_time: self.restart_time.or(RESTART_TIME)?,
            stale_time: self.stale_time.or(STALE_TIME)?,
            forwarding: self.forwarding.or(false)?,
        })
    }
}

/// `bfd`.
pub(super) struct RawBfd {
    interval: Field<Duration>,
    multiplier: Field<NonZeroU8>,
    pub(super) multihop: Field<bool>,
    least_ttl: Field<NonZeroU8>,
    auth_key_file: Field<PathBuf>,
    auth_key_id: Field<u8>,
    place: Place,
}

impl RawBfd {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let raw = Self {
            interval: table.optional("interval", value::duration(BFD_INTERVALS)),
            multiplier: table.optional("multiplier", |found| {
                let multiplier = value::integer::<u8>(2..=255)(found)?;
                Ok(NonZeroU8::new(multiplier).expect("read within a range that begins at 2"))
            }),
            multihop: table.optional("multihop", value::boolean),
            least_ttl: table.optional("least-ttl", |found| {
                let ttl = value::integer::<u8>(1..=255)(found)?;
                Ok(NonZeroU8::new(ttl).expect("read within a range that begins at 1"))
            }),
            auth_key_file: table.optional("auth-key-file", value::absolute_path),
            auth_key_id: table.optional("auth-key-id", value::integer(0..=255)),
            place: Place::of(&table),
        };
        table.close();
        raw
    }

    /// `multihop` is what the session says, for when the table says nothing.
    pub(super) fn resolve(&self, multihop: bool) -> Option<Bfd> {
        let key_id = self.auth_key_id.or(BFD_KEY_ID)?;
        Some(Bfd {
            interval: self.interval.or(BFD_INTERVAL)?,
            multiplier: self.multiplier.or(BFD_MULTIPLIER)?,
            multihop: self.multihop.or(multihop)?,
            least_ttl: self.least_ttl.or(BFD_LEAST_TTL)?,
            auth: self.auth_key_file.maybe()?.map(|key_file| BfdAuth { key_file, key_id }),
        })
    }

    /// `multihop` is what the session says, as for [`Self::resolve`].
    pub(super) fn check(&self, report: &Report, multihop: bool) {
        if let (Field::Given(ttl), Some(false)) = (&self.least_ttl, self.multihop.or(multihop)) {
            let wrong = Wrong::new(
                "`least-ttl` has no place beside single-hop BFD, which takes packets with TTL 255 only",
            )
            .hint("remove it, or set `multihop` for the peer");
            report.elsewhere(ttl.span.clone(), &self.place.key("least-ttl"), wrong);
        }
        if let (Field::Absent, Field::Given(id)) = (&self.auth_key_file, &self.auth_key_id) {
            let wrong = Wrong::new("`auth-key-id` is given without `auth-key-file`")
                .hint("add `auth-key-file = \"/etc/proxima/bfd.key\"`, or remove the number");
            report.elsewhere(id.span.clone(), &self.place.key("auth-key-id"), wrong);
        }
    }

    pub(super) fn multihop_path(&self) -> String {
        self.place.key("multihop")
    }
}
