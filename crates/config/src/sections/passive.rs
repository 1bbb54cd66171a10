//! `passive` of `[pools.NAME]`: what real traffic has to say about a backend.

use std::{num::NonZeroU32, time::Duration};

use super::Place;
use crate::{
    Passive,
    report::{Report, Wrong},
    section::{Field, Section},
    value,
};

const ERROR_LIMIT: NonZeroU32 = NonZeroU32::new(10).expect("10 is not 0");

pub(super) struct RawPassive {
    observe: Field<bool>,
    error_limit: Field<NonZeroU32>,
    first_byte: Field<Duration>,
    place: Place,
}

impl RawPassive {
    pub(super) fn read(pool: &mut Section<'_>) -> Field<Self> {
        pool.section("passive").map(|mut passive| {
            let raw = Self {
                observe: passive.optional("observe", value::boolean),
                error_limit: passive
                    .optional("error-limit", value::integer(1..=1_000_000))
                    .map(|limit: u32| NonZeroU32::new(limit).expect("read within a range from 1")),
                first_byte: passive.optional(
                    "first-byte",
                    value::duration(Duration::from_millis(1)..=Duration::from_mins(10)),
                ),
                place: Place::of(&passive),
            };
            passive.close();
            raw
        })
    }

    /// What is not observed can't be limited.
    pub(super) fn check(&self, report: &Report) {
        if self.observe.value() != Some(&false) {
            return;
        }
        let spans = [
            ("error-limit", self.error_limit.given().map(|at| &at.span)),
            ("first-byte", self.first_byte.given().map(|at| &at.span)),
        ];
        for (key, span) in spans {
            if let Some(span) = span {
                let wrong = Wrong::new(format!("`{key}` means nothing where traffic is not observed"))
                    .hint(format!("remove `{key}`, or `observe = false`"));
                report.here(span.clone(), &self.place.key(key), wrong);
            }
        }
    }

    /// Nothing at all when it is wrong; `None` inside when traffic is not observed.
    pub(super) fn resolve(&self) -> Option<Option<Passive>> {
        let passive =
            Passive { error_limit: self.error_limit.or(ERROR_LIMIT)?, first_byte: self.first_byte.maybe()? };
        Some(self.observe.or(true)?.then_some(passive))
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self { error_limit: ERROR_LIMIT, first_byte: None }
    }
}
