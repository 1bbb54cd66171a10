//! `[access-log]`: a line for each request.

use std::ops::Bound;

use super::resolved;
use crate::{
    AccessLog, AccessLogTarget,
    field::Field,
    reader::Reader,
    reference::{Absent, Shape},
    report::Wrong,
    section::{Section, kind},
    value,
};

const QUERY: bool = false;
const SAMPLE: f64 = 1.0;

pub(super) struct RawAccessLog {
    to: Field<AccessLogTarget>,
    query: Field<bool>,
    sample: Field<f64>,
}

impl RawAccessLog {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        file.section(
            "access-log",
            Absent::means("none is written"),
            "A line of JSON for each request and each relayed connection. See [the access \
            log](access-log.md). A reload turns it on and off, and opens the file anew.",
        )
        .map(Self::keys)
    }

    fn keys(mut log: Section<'_>) -> Self {
        let raw = Self {
            to: log.required(
                "to",
                "\"/var/log/proximad/access.log\"",
                target(),
                "Where the lines go: a file, or `stdout`, which is the journal under systemd.",
            ),
            query: log.optional(
                "query",
                value::boolean(),
                Absent::is(QUERY),
                "Whether queries are logged too, which may hold secrets.",
            ),
            sample: log.optional(
                "sample",
                sample(),
                Absent::is(SAMPLE),
                "The share that is logged of what ended well; all else is logged in any case.",
            ),
        };
        log.close();
        raw
    }

    pub(super) fn resolve(log: &Field<Self>) -> Option<Option<AccessLog>> {
        resolved(log, |log| {
            Some(AccessLog {
                to: log.to.value()?.clone(),
                query: log.query.or(QUERY)?,
                sample: log.sample.or(SAMPLE)?,
            })
        })
    }
}

fn target() -> Reader<AccessLogTarget> {
    Reader::text("an absolute path, or `stdout`", r"^(/(.|\n)*[^/]|stdout)$", |found| {
        let text = value::text(found)?;
        if text == "stdout" {
            return Ok(AccessLogTarget::Stdout);
        }
        if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
            let wrong = Wrong::new(format!("`{}` is not an absolute path of a file", text.escape_debug()));
            return Err(wrong.hint("write one such as \"/var/log/proximad/access.log\", or \"stdout\""));
        }
        Ok(AccessLogTarget::File(text.into()))
    })
}

fn sample() -> Reader<f64> {
    const HOW: &str = "write a share above 0, up to 1, as in `0.1` for every tenth";
    Reader::new(Shape::Number { from: Bound::Excluded(0.0), to: Bound::Included(1.0) }, |found| {
        if !value::is_number(found) {
            return Err(Wrong::new(format!("expected a number, found {}", kind(found))).hint(HOW));
        }
        let share = value::number(found).filter(|share| *share > 0.0 && *share <= 1.0);
        share.ok_or_else(|| Wrong::new("a sample is a share of all").hint(HOW))
    })
}
