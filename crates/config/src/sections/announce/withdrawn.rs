//! `[announce.NAME.withdrawn]` and `[announce.NAME.damping]`: when a group is withdrawn, and what keeps it from flapping.

use std::{ops::Bound, time::Duration};

use proxima_types::Score;
use toml::de::DeValue;

use super::{
    super::{Place, resolved},
    check_order, threshold,
};
use crate::{
    Damping, Withdrawn,
    field::{At, Field},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::{Section, kind},
    value,
};

const BELOW: f64 = 0.01;
const ABOVE: f64 = 0.02;
const HOLD_DOWN: Duration = Duration::from_secs(10);
const MIN_UP: Duration = Duration::ZERO;
const MOST_PENALTY: f64 = 1000.0;
/// How many half-lives the longest suppression has, where nothing is configured.
const LONGEST: u32 = 4;
const DAMPING: Damping = Damping {
    half_life: Duration::from_mins(1),
    suppress: 3.0,
    reuse: 1.0,
    max_suppress: Duration::from_mins(4),
};
const DAY: Duration = Duration::from_hours(24);

pub(super) struct RawWithdrawn {
    below: Field<Score>,
    above: Field<Score>,
    hold_down: Field<Duration>,
    min_up: Field<Duration>,
    place: Place,
}

/// `damping` of a group: a table, each key of which may be left out, as may the table; or `"none"`.
pub(super) enum RawDamping {
    None,
    By(RawPenalty),
}

pub(super) struct RawPenalty {
    half_life: Field<Duration>,
    suppress: Field<f64>,
    reuse: Field<f64>,
    max_suppress: Field<Duration>,
    place: Place,
}

/// What holds where nothing is written.
pub(super) fn default() -> Withdrawn {
    Withdrawn { below: Score::new(BELOW), above: Score::new(ABOVE), hold_down: HOLD_DOWN, min_up: MIN_UP }
}

impl RawWithdrawn {
    pub(super) fn read(mut withdrawn: Section<'_>) -> Self {
        let raw = Self {
            below: withdrawn.optional(
                "below",
                threshold(),
                Absent::is(BELOW),
                "The group is withdrawn when its score falls below this. `below` and `above` are given \
                both or not at all.",
            ),
            above: withdrawn.optional(
                "above",
                threshold(),
                Absent::is(ABOVE),
                "It comes back when its score is at least this; not under `below`.",
            ),
            hold_down: withdrawn.optional(
                "hold-down",
                value::duration(Duration::ZERO..=DAY),
                Absent::is(HOLD_DOWN),
                "The least time withdrawn, however soon the backends are up again.",
            ),
            min_up: withdrawn.optional(
                "min-up",
                value::duration(Duration::ZERO..=DAY),
                Absent::is(MIN_UP),
                "The least time announced before health withdraws the group; a fault of the PoP itself \
                does not wait.",
            ),
            place: Place::of(&withdrawn),
        };
        withdrawn.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Withdrawn> {
        let default = default();
        Some(Withdrawn {
            below: self.below.or(default.below)?,
            above: self.above.or(default.above)?,
            hold_down: self.hold_down.or(default.hold_down)?,
            min_up: self.min_up.or(default.min_up)?,
        })
    }

    pub(super) fn check(&self, report: &Report) {
        match (&self.below, &self.above) {
            (Field::Given(below), Field::Absent) => self.check_alone(report, below, "below", "above"),
            (Field::Absent, Field::Given(above)) => self.check_alone(report, above, "above", "below"),
            (below, above) => check_order(report, &self.place, below, above),
        }
    }

    fn check_alone(&self, report: &Report, given: &At<Score>, key: &str, other: &str) {
        let wrong = Wrong::new(format!("`{key}` is given without `{other}`"))
            .hint(format!("hysteresis needs both thresholds: add `{other}`"));
        report.elsewhere(given.span.clone(), &self.place.key(key), wrong);
    }
}

impl RawDamping {
    pub(super) fn read(group: &mut Section<'_>) -> Field<Self> {
        group.either(
            "damping",
            none().map(|()| Self::None),
            Absent::means("as an empty table: by its defaults"),
            "A penalty for flaps, after RFC 2439: each turn for the worse adds 1, and half of it is gone \
            after each half-life. `\"none\"`: no damping, so that a route changes as often as its \
            backends do.",
            |damping| Self::By(RawPenalty::read(damping)),
        )
    }

    /// What is written, or the defaults; nothing at all when it is wrong.
    pub(super) fn resolve(damping: &Field<Self>) -> Option<Option<Damping>> {
        let given = resolved(damping, |damping| match damping {
            Self::None => Some(None),
            Self::By(penalty) => penalty.resolve().map(Some),
        })?;
        Some(given.unwrap_or(Some(DAMPING)))
    }

    pub(super) fn check(&self, report: &Report) {
        if let Self::By(penalty) = self {
            penalty.check(report);
        }
    }
}

impl RawPenalty {
    fn read(mut damping: Section<'_>) -> Self {
        let raw = Self {
            half_life: damping.optional(
                "half-life",
                value::duration(Duration::from_secs(1)..=DAY),
                Absent::is(DAMPING.half_life),
                "The penalty halves within this time.",
            ),
            suppress: damping.optional(
                "suppress",
                penalty(),
                Absent::is(DAMPING.suppress),
                "From this penalty on the group is held back: nothing improves.",
            ),
            reuse: damping.optional(
                "reuse",
                penalty(),
                Absent::is(DAMPING.reuse),
                "Until the penalty has fallen to this; less than `suppress`.",
            ),
            max_suppress: damping.optional(
                "max-suppress",
                value::duration(Duration::from_secs(1)..=DAY),
                Absent::is(DAMPING.max_suppress).or("four times another `half-life`, a day at most"),
                "The longest time held back; not less than `half-life`.",
            ),
            place: Place::of(&damping),
        };
        damping.close();
        raw
    }

    fn resolve(&self) -> Option<Damping> {
        let half_life = self.half_life.or(DAMPING.half_life)?;
        Some(Damping {
            half_life,
            suppress: self.suppress.or(DAMPING.suppress)?,
            reuse: self.reuse.or(DAMPING.reuse)?,
            max_suppress: self.max_suppress.or(DAY.min(half_life.saturating_mul(LONGEST)))?,
        })
    }

    fn check(&self, report: &Report) {
        if let (Some(suppress), Some(reuse)) =
            (self.suppress.or(DAMPING.suppress), self.reuse.or(DAMPING.reuse))
            && reuse >= suppress
        {
            let (key, at) = match (self.suppress.given(), self.reuse.given()) {
                (_, Some(at)) => ("reuse", at),
                (Some(at), None) => ("suppress", at),
                (None, None) => return,
            };
            let wrong = Wrong::new(format!("`reuse = {reuse}` is not less than `suppress = {suppress}`"))
                .hint("a group is held back from `suppress` on until its penalty has fallen to `reuse`");
            report.here(at.span.clone(), &self.place.key(key), wrong);
        }
        if let (Some(longest), Some(half_life)) =
            (self.max_suppress.given(), self.half_life.or(DAMPING.half_life))
            && longest.value < half_life
        {
            let wrong = Wrong::new(format!(
                "{} is less than the half-life of {}: the penalty would hardly matter",
                value::show(longest.value),
                value::show(half_life)
            ))
            .hint(format!("write at least {}, or shorten `half-life`", value::show(half_life)));
            report.elsewhere(longest.span.clone(), &self.place.key("max-suppress"), wrong);
        }
    }
}

/// The word that turns damping off.
fn none() -> Reader<()> {
    Reader::new(Shape::Words(vec!["none"]), |found| match found {
        DeValue::String(text) if text == "none" => Ok(()),
        _ => Err(Wrong::new("this is neither damping nor none")
            .hint("write `damping = \"none\"`, or its settings, as in `damping = { suppress = 3.0 }`")),
    })
}

/// A penalty: one flap is 1.
fn penalty() -> Reader<f64> {
    Reader::new(Shape::Number { from: Bound::Excluded(0.0), to: Bound::Included(MOST_PENALTY) }, |found| {
        let hint = format!("each flap adds 1: write a number above 0, up to {MOST_PENALTY}, as in `3.0`");
        if !value::is_number(found) {
            return Err(Wrong::new(format!("expected a number, found {}", kind(found))).hint(hint));
        }
        let sound = value::number(found).filter(|penalty| *penalty > 0.0 && *penalty <= MOST_PENALTY);
        sound.ok_or_else(|| Wrong::new("the penalty is out of range").hint(hint))
    })
}
