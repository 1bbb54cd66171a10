//! `[announce.NAME.withdrawn]` and `[announce.NAME.damping]`: when a group is withdrawn, and what keeps it from flapping.

use std::time::Duration;

use proxima_types::Score;
use toml::de::DeValue;

use super::{super::Place, check_order, threshold};
use crate::{
    Damping, Withdrawn,
    report::{Report, Wrong},
    section::{At, Field, Read, Section, kind},
    value,
};

const BELOW: f64 = 0.01;
const ABOVE: f64 = 0.02;
const HOLD_DOWN: Duration = Duration::from_secs(10);
const HALF_LIFE: Duration = Duration::from_mins(1);
const SUPPRESS: f64 = 3.0;
const REUSE: f64 = 1.0;
const MOST_PENALTY: f64 = 1000.0;
/// How many half-lives the longest suppression has, where nothing is configured.
const LONGEST: u32 = 4;
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
    Withdrawn {
        below: Score::new(BELOW),
        above: Score::new(ABOVE),
        hold_down: HOLD_DOWN,
        min_up: Duration::ZERO,
    }
}

impl RawWithdrawn {
    pub(super) fn read(mut withdrawn: Section<'_>) -> Self {
        let raw = Self {
            below: withdrawn.optional("below", threshold),
            above: withdrawn.optional("above", threshold),
            hold_down: withdrawn.optional("hold-down", value::duration(Duration::ZERO..=DAY)),
            min_up: withdrawn.optional("min-up", value::duration(Duration::ZERO..=DAY)),
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
        if group.has_table("damping") || !group.has("damping") {
            return Field::Given(At {
                span: group.span(),
                value: Self::By(RawPenalty::read(group.defaulted("damping"))),
            });
        }
        group.optional("damping", none).map(|()| Self::None)
    }

    pub(super) fn resolve(&self) -> Option<Option<Damping>> {
        match self {
            Self::None => Some(None),
            Self::By(penalty) => penalty.resolve().map(Some),
        }
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
            half_life: damping.optional("half-life", value::duration(Duration::from_secs(1)..=DAY)),
            suppress: damping.optional("suppress", penalty),
            reuse: damping.optional("reuse", penalty),
            max_suppress: damping.optional("max-suppress", value::duration(Duration::from_secs(1)..=DAY)),
            place: Place::of(&damping),
        };
        damping.close();
        raw
    }

    fn resolve(&self) -> Option<Damping> {
        let half_life = self.half_life.or(HALF_LIFE)?;
        Some(Damping {
            half_life,
            suppress: self.suppress.or(SUPPRESS)?,
            reuse: self.reuse.or(REUSE)?,
            max_suppress: self.max_suppress.or(DAY.min(half_life.saturating_mul(LONGEST)))?,
        })
    }

    fn check(&self, report: &Report) {
        if let (Some(suppress), Some(reuse)) = (self.suppress.or(SUPPRESS), self.reuse.or(REUSE))
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
        if let (Some(longest), Some(half_life)) = (self.max_suppress.given(), self.half_life.or(HALF_LIFE))
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
fn none(found: &DeValue<'_>) -> Read<()> {
    match found {
        DeValue::String(text) if text == "none" => Ok(()),
        _ => Err(Wrong::new("this is neither damping nor none")
            .hint("write `damping = \"none\"`, or its settings, as in `damping = { suppress = 3.0 }`")),
    }
}

/// A penalty: one flap is 1.
fn penalty(found: &DeValue<'_>) -> Read<f64> {
    let hint = format!("each flap adds 1: write a number above 0, up to {MOST_PENALTY}, as in `3.0`");
    let number = match found {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => number.as_str().parse::<f64>().ok().filter(|_| number.radix() == 10),
        _ => return Err(Wrong::new(format!("expected a number, found {}", kind(found))).hint(hint)),
    };
    let sound = number.filter(|penalty| *penalty > 0.0 && *penalty <= MOST_PENALTY);
    sound.ok_or_else(|| Wrong::new("the penalty is out of range").hint(hint))
}
