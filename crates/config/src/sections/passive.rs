//! `passive` of `[pools.NAME]`: what real traffic has to say about a backend.

use std::{num::NonZeroU32, time::Duration};

use super::Place;
use crate::{
    Passive,
    field::Field,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const OBSERVE: bool = true;
const MARKS_DOWN: bool = false;
const ON_ERROR: [(&str, bool); 2] = [("fail-check", false), ("mark-down", true)];
const HOLD_DOWN: Duration = Duration::from_secs(30);

pub(super) struct RawPassive {
    observe: Field<bool>,
    error_limit: Field<NonZeroU32>,
    first_byte: Field<Duration>,
    /// Whether it marks down.
    on_error: Field<bool>,
    hold_down: Field<Duration>,
    place: Place,
}

impl RawPassive {
    pub(super) fn read(pool: &mut Section<'_>) -> Field<Self> {
        let doc =
            "What real traffic says of a backend; the probe stays the judge. See [traffic](traffic.md).";
        pool.section("passive", Absent::means("its defaults"), doc).map(Self::keys)
    }

    fn keys(mut passive: Section<'_>) -> Self {
        let raw = Self {
            observe: passive.optional(
                "observe",
                value::boolean(),
                Absent::is(OBSERVE),
                "Whether real traffic says anything. With `false` the other keys have no place.",
            ),
            error_limit: passive
                .optional(
                    "error-limit",
                    value::integer(1..=1_000_000),
                    Absent::is(proxima_health::Passive::RUN),
                    "So many bad answers without a good one count as one failed probe, and bring the next \
                    probe on.",
                )
                .map(|limit: u32| NonZeroU32::new(limit).expect("read within a range from 1")),
            first_byte: passive.optional(
                "first-byte",
                value::duration(Duration::from_millis(1)..=Duration::from_mins(10)),
                Absent::means("`timeouts.first-byte` of the route"),
                "An answer whose first byte takes longer is bad; HTTP only.",
            ),
            on_error: passive.optional(
                "on-error",
                value::word(&ON_ERROR),
                Absent::word(&ON_ERROR, &MARKS_DOWN),
                "What a run of `error-limit` does. `fail-check`: as there. `mark-down`: takes the backend \
                down for `hold-down`, whatever its probes say; never more than half of a pool's backends \
                in one region, and never a single one.",
            ),
            hold_down: passive.optional(
                "hold-down",
                value::duration(Duration::from_secs(1)..=Duration::from_hours(1)),
                Absent::is(HOLD_DOWN),
                "With `on-error = \"mark-down\"`: the least time down.",
            ),
            place: Place::of(&passive),
        };
        passive.close();
        raw
    }

    /// What is not observed can't be limited, and what marks nothing down holds nothing down.
    pub(super) fn check(&self, report: &Report) {
        if self.observe.value() == Some(&false) {
            let spans = [
                ("error-limit", self.error_limit.given().map(|at| &at.span)),
                ("first-byte", self.first_byte.given().map(|at| &at.span)),
                ("on-error", self.on_error.given().map(|at| &at.span)),
                ("hold-down", self.hold_down.given().map(|at| &at.span)),
            ];
            for (key, span) in spans.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                let wrong = Wrong::new(format!("`{key}` means nothing where traffic is not observed"))
                    .hint(format!("remove `{key}`, or `observe = false`"));
                report.here(span.clone(), &self.place.key(key), wrong);
            }
        } else if let Some(hold_down) = self.hold_down.given()
            && self.on_error.or(MARKS_DOWN) == Some(false)
        {
            let wrong = Wrong::new("nothing is marked down, so `hold-down` means nothing")
                .hint("add `on-error = \"mark-down\"`, or remove `hold-down`");
            report.here(hold_down.span.clone(), &self.place.key("hold-down"), wrong);
        }
    }

    /// Nothing at all when it is wrong; `None` inside when traffic is not observed.
    pub(super) fn resolve(&self) -> Option<Option<Passive>> {
        let (marks_down, hold_down) = (self.on_error.or(MARKS_DOWN)?, self.hold_down.or(HOLD_DOWN)?);
        let passive = Passive {
            error_limit: self.error_limit.or(proxima_health::Passive::RUN)?,
            first_byte: self.first_byte.maybe()?,
            mark_down: marks_down.then_some(hold_down),
        };
        Some(self.observe.or(OBSERVE)?.then_some(passive))
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self { error_limit: proxima_health::Passive::RUN, first_byte: None, mark_down: None }
    }
}
