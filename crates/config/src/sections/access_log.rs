//! `[access-log]`: a line for each request.

use toml::de::DeValue;

use super::resolved;
use crate::{
    AccessLog, AccessLogTarget,
    report::Wrong,
    section::{Field, Read, Section, kind},
    value,
};

pub(super) struct RawAccessLog {
    to: Field<AccessLogTarget>,
    query: Field<bool>,
    sample: Field<f64>,
}

impl RawAccessLog {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        file.section("access-log").map(|mut log| {
            let raw = Self {
                to: log.required("to", "\"/var/log/proximad/access.log\"", target),
                query: log.optional("query", value::boolean),
                sample: log.optional("sample", sample),
            };
            log.close();
            raw
        })
    }

    pub(super) fn resolve(log: &Field<Self>) -> Option<Option<AccessLog>> {
        resolved(log, |log| {
            Some(AccessLog {
                to: log.to.value()?.clone(),
                query: log.query.or(false)?,
                sample: log.sample.or(1.0)?,
            })
        })
    }
}

fn target(found: &DeValue<'_>) -> Read<AccessLogTarget> {
    let text = value::text(found)?;
    if text == "stdout" {
        return Ok(AccessLogTarget::Stdout);
    }
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        let wrong = Wrong::new(format!("`{}` is not an absolute path of a file", text.escape_debug()));
        return Err(wrong.hint("write one such as \"/var/log/proximad/access.log\", or \"stdout\""));
    }
    Ok(AccessLogTarget::File(text.into()))
}

fn sample(found: &DeValue<'_>) -> Read<f64> {
    const HOW: &str = "write a share above 0, up to 1, as in `0.1` for every tenth";
    let number = match found {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => number.as_str().parse::<f64>().ok().filter(|_| number.radix() == 10),
        _ => return Err(Wrong::new(format!("expected a number, found {}", kind(found))).hint(HOW)),
    };
    let share = number.filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| Wrong::new("a sample is a share of all").hint(HOW))
}
