//! The tables of a peer: `max-prefixes`, `graceful-restart`, `bfd`.

use std::{
    num::{NonZeroU8, NonZeroU32},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use crate::{
    Bfd, BfdAuth, GracefulRestart, MaxPrefixes, PrefixAction,
    field::Field,
    reader::Reader,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    sections::{Place, resolved},
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
const FORWARDING: bool = false;

const BFD_INTERVAL: Duration = Duration::from_millis(300);
const BFD_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const BFD_MULTIPLIER: NonZeroU8 = NonZeroU8::new(3).expect("not 0");
/// Implementations send multihop packets with a TTL of 255 or of 64, and some routers are on the way: without more knowledge how
/// many are left says nothing about who sent them.
const BFD_LEAST_TTL: NonZeroU8 = NonZeroU8::MIN;
const BFD_KEY_ID: u8 = 1;

/// `max-prefixes`: a number or a table.
pub(super) enum RawMaxPrefixes {
    Number(NonZeroU32),
    Table {
        limit: Field<NonZeroU32>,
        warn_at: Field<u8>,
        action: Field<PrefixAction>,
        restart: Field<Duration>,
        place: Place,
    },
}

impl RawMaxPrefixes {
    pub(super) fn read(peer: &mut Section<'_>) -> Field<Self> {
        peer.either(
            "max-prefixes",
            limit().map(Self::Number),
            Absent::is(MAX_PREFIXES),
            "The most prefixes that are taken from the peer, counted per family; a number is the `limit` \
            of the table.",
            Self::keys,
        )
    }

    fn keys(mut table: Section<'_>) -> Self {
        let raw = Self::Table {
            limit: table.required(
                "limit",
                "10000",
                limit(),
                "The most prefixes of one family; with `add-path` each path to a prefix counts. Those that wait \
                to be announced again after a restart or a refresh don't.",
            ),
            warn_at: table.optional(
                "warn-at",
                value::integer(1..=100),
                Absent::is(WARN_AT),
                "From so many percent of the limit on the operator is warned.",
            ),
            action: table.optional(
                "action",
                value::word(&ACTIONS),
                Absent::word(&ACTIONS, &ACTION),
                "What is done beyond the limit. `discard`: what is beyond is left out, the session stays. \
                `close`: the session ends with Cease 6/1 (RFC 4486). `warn`: the operator is told. The \
                operator is told in any case.",
            ),
            restart: table.optional(
                "restart",
                value::duration(Duration::from_secs(1)..=Duration::from_hours(24)),
                Absent::means("not before an operator says so"),
                "With `action = \"close\"`: when the session is tried again.",
            ),
            place: Place::of(&table),
        };
        table.close();
        raw
    }

    pub(super) fn resolve(max: &Field<Self>) -> Option<MaxPrefixes> {
        let number = |limit| MaxPrefixes { limit, warn_at: WARN_AT, action: ACTION, restart: None };
        let given = resolved(max, |max| match max {
            Self::Number(limit) => Some(number(*limit)),
            Self::Table { limit, warn_at, action, restart, place: _ } => Some(MaxPrefixes {
                limit: *limit.value()?,
                warn_at: warn_at.or(WARN_AT)?,
                action: action.or(ACTION)?,
                restart: restart.maybe()?,
            }),
        })?;
        Some(given.unwrap_or(number(MAX_PREFIXES)))
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

fn limit() -> Reader<NonZeroU32> {
    value::integer(1..=u32::MAX)
        .map(|limit| NonZeroU32::new(limit).expect("read within a range that begins at 1"))
}

fn non_zero(number: u8) -> NonZeroU8 {
    NonZeroU8::new(number).expect("read within a range that begins above 0")
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
            restart_time: table.optional(
                "restart-time",
                value::seconds(1..=RESTART_TIME_MAX),
                Absent::is(RESTART_TIME),
                "How long the peer is asked to keep our routes while we restart.",
            ),
            stale_time: table.optional(
                "stale-time",
                value::seconds(1..=3600),
                Absent::is(STALE_TIME),
                "How long we keep the peer's routes at most once it is back.",
            ),
            forwarding: table.optional(
                "forwarding",
                value::boolean(),
                Absent::is(FORWARDING),
                "Whether the peer is told that forwarding is kept while we restart. Without, the data \
                plane restarts with us.",
            ),
        };
        table.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<GracefulRestart> {
        Some(GracefulRestart {
            restart_time: self.restart_time.or(RESTART_TIME)?,
            stale_time: self.stale_time.or(STALE_TIME)?,
            forwarding: self.forwarding.or(FORWARDING)?,
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
            interval: table.optional(
                "interval",
                value::duration(BFD_INTERVALS),
                Absent::is(BFD_INTERVAL),
                "From one packet to the next, sent and asked for.",
            ),
            multiplier: table.optional(
                "multiplier",
                value::integer(2..=255).map(non_zero),
                Absent::is(BFD_MULTIPLIER),
                "So many packets missed in a row mean that the peer is gone.",
            ),
            multihop: table.optional(
                "multihop",
                value::boolean(),
                Absent::means("as the session: true where the peer has `multihop`"),
                "Whether routers are between (RFC 5883).",
            ),
            least_ttl: table.optional(
                "least-ttl",
                value::integer(1..=255).map(non_zero),
                Absent::is(BFD_LEAST_TTL),
                "Across routers: packets that arrive with a TTL below this are not taken.",
            ),
            auth_key_file: table.optional(
                "auth-key-file",
                value::absolute_path(),
                Absent::means("packets are not authenticated"),
                "A file with the key of meticulous keyed SHA1 (RFC 5880 §6.7.4), 1 to 20 octets.",
            ),
            auth_key_id: table.optional(
                "auth-key-id",
                value::integer(0..=255),
                Absent::is(BFD_KEY_ID),
                "The key's number on both sides.",
            ),
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
