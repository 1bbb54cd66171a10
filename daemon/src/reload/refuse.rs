//! What a reload refuses: what can't change while the daemon runs, and what nobody would want by mistake.

use std::collections::BTreeSet;

use proxima_api::ErrorBody;
use proxima_config::{Config, Diff, Part};
use proxima_types::Prefix;

/// A refusal with its remedy.
pub(crate) fn refusal(error: impl Into<String>, hint: impl Into<String>) -> ErrorBody {
    ErrorBody { error: error.into(), details: Vec::new(), hint: Some(hint.into()) }
}

/// That nothing has changed which can't while the daemon runs.
///
/// # Errors
/// When something has.
pub(crate) fn needs_no_restart(old: &Config, new: &Config, diff: &Diff) -> Result<(), ErrorBody> {
    let others = diff.other.iter().filter_map(|part| match part {
        Part::Acme | Part::Mrt | Part::Distance | Part::Limits | Part::Drain | Part::LogLevel => None,
        Part::BgpListen => {
            Some("bgp.listen (left out, it follows from whether anyone may connect)".to_owned())
        }
        Part::PopName
        | Part::PopRegion
        | Part::RouterId
        | Part::LocalAs
        | Part::BestPath
        | Part::Catchment
        | Part::QuicLb
        | Part::Workers
        | Part::Admin
        | Part::Metrics
        | Part::LogFormat => Some(part.to_string()),
    });
    // Requests under way have been let into a region for what it was.
    let regions = diff.regions.changed.iter().map(|name| format!("regions.{name}.jurisdiction"));
    let parts: Vec<String> =
        handed_over_otherwise(old, new).into_iter().chain(regions).chain(others).collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(refusal(
        format!("a restart is needed for what changed in {}; nothing was applied", parts.join(", ")),
        "restart the daemon (`systemctl restart proximad` drains first), or take these changes out and reload",
    ))
}

/// That no list is empty now which was not.
///
/// # Errors
/// When one is; the error names all of them.
pub(crate) fn empties_nothing(diff: &Diff) -> Result<(), ErrorBody> {
    if diff.emptied.is_empty() {
        return Ok(());
    }
    let error = format!("the new file leaves empty what was not before: {}", diff.emptied.join(", "));
    Err(refusal(error, FORCE))
}

/// That nothing would be announced any more.
pub(crate) fn falls_silent() -> ErrorBody {
    let error = "with the new file nothing would be announced any more, by health as it is now";
    refusal(error, FORCE)
}

const FORCE: &str = "nothing was applied; reload with --force if that is meant";

/// The catchment knows from its start which prefixes are handed over.
fn handed_over_otherwise(old: &Config, new: &Config) -> Option<String> {
    let handed_over = |config: &Config| -> BTreeSet<Prefix> {
        let groups = config.groups.values().filter(|group| group.hand_over);
        groups.flat_map(|group| group.prefixes.iter().copied()).collect()
    };
    let differ = new.catchment.is_some() && handed_over(old) != handed_over(new);
    differ.then(|| "announce (which prefixes [catchment] hands over)".to_owned())
}
