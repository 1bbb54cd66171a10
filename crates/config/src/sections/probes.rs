//! `probe` of a pool: how often, how patiently, from where, which way; what is asked is in [`kinds`](super::probe_kinds).

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    ops::Bound,
    time::Duration,
};

use proxima_health::Settings;
use proxima_probe_kind::ProbeKind;

use super::{Place, probe_kinds::RawKind};
use crate::{
    Probe, Via,
    field::{At, Field},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    value,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Where each probe costs a process, here or there.
const FAST_INTERVAL_OF_PROCESSES: Duration = Duration::from_secs(1);
const MOST_JITTER: f64 = 0.5;
const TIMEOUT: Duration = Duration::from_millis(500);
const RISE: NonZeroU16 = NonZeroU16::new(2).expect("2 is not 0");
const FALL: NonZeroU16 = NonZeroU16::new(3).expect("3 is not 0");
const VIA: Via = Via::Direct;
const VIAS: [(&str, Via); 2] = [("direct", Via::Direct), ("service", Via::Service)];

pub(super) struct RawProbe {
    kind: Field<RawKind>,
    interval: Field<Duration>,
    fast_interval: Field<Duration>,
    down_interval: Field<Duration>,
    jitter: Field<u8>,
    timeout: Field<Duration>,
    rise: Field<NonZeroU16>,
    fall: Field<NonZeroU16>,
    source: Field<IpAddr>,
    via: Field<Via>,
    place: Place,
}

impl RawProbe {
    pub(super) fn read(pool: &mut Section<'_>) -> Field<Self> {
        let probe = pool.required_section(
            "probe",
            "add `probe = { http = \"/healthz\" }` or `probe = { tcp = true }`",
            "How each backend is probed. Exactly one of `tcp`, `tls`, `http`, `https`, `quic`, `grpc`, \
            `postgres`, `redis`, `dns`, `exec` and `agent` says what is asked (beside `https`, `tls` says \
            how); [probes.toml](../configs/probes.toml) has each kind, and [health](health.md) tells what \
            follows. A reload begins probes anew that differ, and the verdict stays until they decide \
            otherwise.",
        );
        probe.map(Self::keys)
    }

    fn keys(mut probe: Section<'_>) -> Self {
        let limits = Duration::from_millis(10)..=Duration::from_hours(1);
        let raw = Self {
            kind: RawKind::read(&mut probe),
            interval: probe.optional(
                "interval",
                value::duration(limits.clone()),
                Absent::is(INTERVAL),
                "From one probe to the next while all is settled.",
            ),
            fast_interval: probe.optional(
                "fast-interval",
                value::duration(limits.clone()),
                Absent::is(Settings::FAST_INTERVAL)
                    .or("`\"1s\"` for `exec` and `postgres`; never more than `interval`"),
                "The same while undecided: before the first verdict, and while the last outcome speaks \
                against it. At most `interval`.",
            ),
            down_interval: probe.optional(
                "down-interval",
                value::duration(limits),
                Absent::is(Settings::DOWN_INTERVAL)
                    .or("`fast-interval` where that is longer; never more than `interval`"),
                "The same while down, and while this host can't probe. At most `interval`.",
            ),
            jitter: probe.optional(
                "jitter",
                jitter(),
                Absent::is(f64::from(Settings::JITTER.as_u8()) / 100.0),
                "By which share a pause between probes is longer or shorter at most.",
            ),
            timeout: probe.optional(
                "timeout",
                value::duration(Duration::from_millis(1)..=Duration::from_hours(1)),
                Absent::is(TIMEOUT).or("`interval` where that is shorter"),
                "For the whole probe: connecting, asking, the answer. At most `interval`.",
            ),
            rise: probe
                .optional(
                    "rise",
                    value::integer(1..=65535),
                    Absent::is(RISE),
                    "So many successes in a row make a backend up.",
                )
                .map(non_zero),
            fall: probe
                .optional(
                    "fall",
                    value::integer(1..=65535),
                    Absent::is(FALL),
                    "So many failures in a row make it down. A refused or reset connection does at once, \
                    when confirmed.",
                )
                .map(non_zero),
            source: probe.optional(
                "source",
                value::address(),
                Absent::means("the system's choice"),
                "The own address to probe from, of the family of every backend. Not with `via = \
                \"service\"`.",
            ),
            via: probe.optional(
                "via",
                value::word(&VIAS),
                Absent::word(&VIAS, &VIA),
                "The way to the backends: straight, or through this PoP's own workers, as requests go. \
                `service` is only for probes over TCP.",
            ),
            place: Place::of(&probe),
        };
        probe.close();
        raw
    }

    /// `addresses` are those of the pool's backends.
    pub(super) fn check<'a>(&self, addresses: impl Iterator<Item = &'a SocketAddr>, report: &Report) {
        if let Some(kind) = self.kind.value() {
            kind.check(report);
        }
        let Some(interval) = self.interval.or(INTERVAL) else { return };
        let interval_text = value::show(interval);
        if let Some(timeout) = longer(&self.timeout, interval) {
            let timeout_text = value::show(timeout.value);
            let wrong = Wrong::new(format!(
                "the timeout of {timeout_text} is longer than the interval of {interval_text}"
            ))
            .hint("a probe ends before the next one begins: shorten `timeout` or lengthen `interval`");
            report.here(timeout.span.clone(), &self.place.key("timeout"), wrong);
        }
        if let Some(fast) = longer(&self.fast_interval, interval) {
            let fast_text = value::show(fast.value);
            let wrong = Wrong::new(format!(
                "the fast interval of {fast_text} is longer than the interval of {interval_text}"
            ))
            .hint("it is the pace while undecided: shorten `fast-interval` or lengthen `interval`");
            report.here(fast.span.clone(), &self.place.key("fast-interval"), wrong);
        }
        if let Some(down) = longer(&self.down_interval, interval) {
            let down_text = value::show(down.value);
            let wrong = Wrong::new(format!(
                "the down interval of {down_text} is longer than the interval of {interval_text}"
            ))
            .hint("it is the pace while down, so that a restart is seen soon: shorten `down-interval` or lengthen `interval`");
            report.here(down.span.clone(), &self.place.key("down-interval"), wrong);
        }
        if let Some(source) = self.source.given() {
            self.check_source(source, addresses, report);
        }
        self.check_via(report);
    }

    /// The data plane carries TCP, and connects by itself.
    fn check_via(&self, report: &Report) {
        let Some(via) = self.via.given().filter(|via| via.value == Via::Service) else { return };
        let kind = self.kind.value().and_then(RawKind::resolve);
        if let Some(kind) = kind.filter(|kind| !kind.is_over_tcp()) {
            let version = if matches!(kind, ProbeKind::Http(_)) { " of version \"3\"" } else { "" };
            let wrong = Wrong::new(format!(
                "`via = \"service\"` means nothing to a probe by `{kind}`{version}: the data plane does not carry it"
            ))
            .hint(
                "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`",
            );
            report.here(via.span.clone(), &self.place.key("via"), wrong);
        }
        if let Some(source) = self.source.given() {
            let wrong = Wrong::new(format!(
                "{} can't be the source of a probe that goes `via = \"service\"`",
                source.value
            ))
            .hint("the data plane connects as it does for clients: remove `source`, or `via`");
            report.here(source.span.clone(), &self.place.key("source"), wrong);
        }
    }

    /// A probe of backends that are spoken to over QUIC.
    pub(super) fn check_over_quic(&self, report: &Report) {
        let Some(via) = self.via.given().filter(|via| via.value == Via::Service) else { return };
        let wrong =
            Wrong::new("`via = \"service\"` is a way over TCP, and the pool has `protocol = \"h3\"`").hint(
                "remove `via`, and probe with `https` of version \"3\", which goes the same way as requests do",
            );
        report.here(via.span.clone(), &self.place.key("via"), wrong);
    }

    fn check_source<'a>(
        &self,
        source: &At<IpAddr>,
        mut addresses: impl Iterator<Item = &'a SocketAddr>,
        report: &Report,
    ) {
        if let Some(other) = addresses.find(|address| address.is_ipv4() != source.value.is_ipv4()) {
            let family = if other.is_ipv4() { "an IPv4" } else { "an IPv6" };
            let wrong = Wrong::new(format!("{} can't be the source of a probe of {other}", source.value))
                .hint(format!(
                    "write {family} address of this host, or put backends of the other family into a pool of their own"
                ));
            report.elsewhere(source.span.clone(), &self.place.key("source"), wrong);
        }
    }

    pub(super) fn resolve(&self) -> Option<Probe> {
        let interval = self.interval.or(INTERVAL)?;
        let kind = self.kind.value()?.resolve()?;
        let fast_interval = match kind {
            ProbeKind::Exec(_) | ProbeKind::Postgres(_) => FAST_INTERVAL_OF_PROCESSES,
            _ => Settings::FAST_INTERVAL,
        };
        let fast_interval = self.fast_interval.or(fast_interval.min(interval))?;
        let down_interval = Settings::DOWN_INTERVAL.min(interval).max(fast_interval);
        Some(Probe {
            kind,
            interval,
            fast_interval,
            down_interval: self.down_interval.or(down_interval)?,
            jitter: self.jitter.or(Settings::JITTER.as_u8())?,
            timeout: self.timeout.or(TIMEOUT.min(interval))?,
            rise: self.rise.or(RISE)?,
            fall: self.fall.or(FALL)?,
            source: self.source.maybe()?,
            via: self.via.or(VIA)?,
        })
    }
}

/// What is given and longer than `interval`.
fn longer(given: &Field<Duration>, interval: Duration) -> Option<&At<Duration>> {
    given.given().filter(|given| given.value > interval)
}

/// A share from 0 to 0.5, in whole percent.
fn jitter() -> Reader<u8> {
    let share = value::share();
    Reader::new(
        Shape::Number { from: Bound::Included(0.0), to: Bound::Included(MOST_JITTER) },
        move |found| {
            let hint = "write a share of the interval from 0 to 0.5, as in `0.1`";
            let jitter = share.read(found).map_err(|wrong| Wrong::new(wrong.message).hint(hint))?.share();
            if jitter > MOST_JITTER {
                return Err(Wrong::new(format!("a jitter of {jitter} is out of range")).hint(hint));
            }
            Ok((jitter * 100.0).round() as u8)
        },
    )
}

fn non_zero(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("read within a range that begins at 1")
}
