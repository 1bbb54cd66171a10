//! `[announce.NAME.degraded]`: when a group is made less attractive, and how.

use std::{num::NonZeroU32, ops::Bound, time::Duration};

use proxima_health::Objectives;
use proxima_types::{Asn, RouteAttributes, Score};

use super::{
    super::{Place, resolved},
    attributes::RawAttributes,
    check_order, threshold,
};
use crate::{
    Degraded, Slo,
    field::Field,
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    value,
};

const MOST_REQUESTS: u32 = 1_000_000_000;
/// What internal peers get where nothing is configured.
const LOCAL_PREF: u32 = 100;

pub(super) struct RawDegraded {
    pub(super) below: Field<Score>,
    pub(super) above: Field<Score>,
    attributes: RawAttributes,
    slo: Field<RawSlo>,
    pub(super) place: Place,
}

struct RawSlo {
    p95: Field<Duration>,
    error_rate: Field<Score>,
    window: Field<Duration>,
    min_requests: Field<NonZeroU32>,
    place: Place,
}

impl RawDegraded {
    pub(super) fn read(mut degraded: Section<'_>) -> Self {
        let raw = Self {
            below: degraded.required(
                "below",
                "0.8",
                threshold(),
                "The group is de-preferred when its score falls below this; not under `below` of \
                `withdrawn`.",
            ),
            above: degraded.required(
                "above",
                "0.9",
                threshold(),
                "It is announced as usual again when its score is at least this; not under `below`, nor \
                `above` of `withdrawn`.",
            ),
            attributes: RawAttributes::read_degraded(&mut degraded),
            slo: degraded
                .section(
                    "slo",
                    Absent::means("traffic decides nothing"),
                    "What real traffic of the services has to be like; a breach de-prefers the group. At \
                    least one of `p95` and `error-rate` is needed. See [traffic](traffic.md).",
                )
                .map(RawSlo::read),
            place: Place::of(&degraded),
        };
        degraded.close();
        raw
    }

    pub(super) fn resolve(&self, healthy: &RouteAttributes) -> Option<Degraded> {
        Some(Degraded {
            below: *self.below.value()?,
            above: *self.above.value()?,
            attributes: self.attributes.over(healthy)?,
            slo: resolved(&self.slo, RawSlo::resolve)?,
        })
    }

    /// De-preference has to change something, and never for the better.
    pub(super) fn check(&self, report: &Report, healthy: &RawAttributes, local_as: Option<Asn>) {
        self.attributes.check(report, &self.place, local_as);
        check_order(report, &self.place, &self.below, &self.above);
        if let Some(slo) = self.slo.value() {
            slo.check(report);
        }
        let Some(healthy) = healthy.over(&RouteAttributes::default()) else { return };
        let Some(degraded) = self.attributes.over(&healthy) else { return };
        if degraded == healthy {
            let wrong = Wrong::new("the degraded state is announced just like the healthy one")
                .hint("add `prepend`, `med`, `local-pref` or `communities` that make it less attractive");
            report.section(self.place.span.clone(), &self.place.path, wrong);
        }
        self.check_attraction(report, &healthy);
    }

    fn check_attraction(&self, report: &Report, healthy: &RouteAttributes) {
        if let Some(prepend) = self.attributes.prepend.given()
            && prepend.value < healthy.prepend
        {
            let wrong = Wrong::new(format!(
                "a shorter path attracts more traffic, and the healthy state has prepend {}",
                healthy.prepend
            ))
            .hint(format!("write at least {}", healthy.prepend));
            report.elsewhere(prepend.span.clone(), &self.place.key("prepend"), wrong);
        }
        if let (Some(med), Some(base)) = (self.attributes.med.given(), healthy.med)
            && med.value < base
        {
            let wrong =
                Wrong::new(format!("a lower MED attracts more traffic, and the healthy state has {base}"))
                    .hint(format!("write at least {base}"));
            report.elsewhere(med.span.clone(), &self.place.key("med"), wrong);
        }
        let usual = healthy.local_pref.unwrap_or(LOCAL_PREF);
        if let Some(preference) = self.attributes.local_pref.given()
            && preference.value > usual
        {
            let wrong = Wrong::new(format!(
                "a higher LOCAL_PREF attracts more traffic, and the healthy state has {usual}"
            ))
            .hint(format!("write at most {usual}"));
            report.elsewhere(preference.span.clone(), &self.place.key("local-pref"), wrong);
        }
    }
}

impl RawSlo {
    fn read(mut slo: Section<'_>) -> Self {
        let raw = Self {
            p95: slo.optional(
                "p95",
                value::duration(Duration::from_millis(1)..=Duration::from_mins(10)),
                Absent::means("any"),
                "The most that the 95th percentile of the time to the first byte may be.",
            ),
            error_rate: slo.optional(
                "error-rate",
                error_rate(),
                Absent::means("any"),
                "The most that may fail, as a share of the requests.",
            ),
            window: slo.optional(
                "window",
                value::duration(Duration::from_secs(5)..=Duration::from_hours(1)),
                Absent::is(Objectives::WINDOW),
                "The time looked back on.",
            ),
            min_requests: slo
                .optional(
                    "min-requests",
                    value::integer(1..=MOST_REQUESTS),
                    Absent::is(Objectives::LEAST),
                    "With fewer requests than this in the window nothing is concluded.",
                )
                .map(|requests: u32| NonZeroU32::new(requests).expect("read within a range from 1")),
            place: Place::of(&slo),
        };
        slo.close();
        raw
    }

    fn resolve(&self) -> Option<Slo> {
        Some(Slo {
            p95: self.p95.maybe()?,
            error_rate: self.error_rate.maybe()?,
            window: self.window.or(Objectives::WINDOW)?,
            min_requests: self.min_requests.or(Objectives::LEAST)?,
        })
    }

    fn check(&self, report: &Report) {
        if matches!((&self.p95, &self.error_rate), (Field::Absent, Field::Absent)) {
            let wrong = Wrong::new("the SLO has no limit, so nothing would breach it")
                .hint("add `p95 = \"100ms\"`, `error-rate = 0.02`, or both");
            report.section(self.place.span.clone(), &self.place.path, wrong);
        }
    }
}

/// A share of requests. At 0 one failed request would be a breach for ever, at 1 nothing ever would.
fn error_rate() -> Reader<Score> {
    let shape = Shape::Number { from: Bound::Excluded(0.0), to: Bound::Excluded(1.0) };
    let share = value::share();
    Reader::new(shape, move |found| {
        let rate = share.read(found).map_err(|wrong| match wrong.hint {
            Some(hint) => {
                Wrong::new("a share of requests goes from 0 to 1").hint(hint.replace("0.8", "0.02"))
            }
            None => wrong,
        })?;
        if rate == Score::ZERO || rate == Score::FULL {
            let why = if rate == Score::ZERO {
                "any single failure would be a breach"
            } else {
                "nothing would ever be a breach"
            };
            return Err(Wrong::new(format!("with an error rate of {}, {why}", rate.share()))
                .hint("write a share between 0 and 1, as in `0.02`"));
        }
        Ok(rate)
    })
}
