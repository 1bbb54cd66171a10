//! What a successor's file means beside the one in force: a reload's guards hold for an upgrade too.

use std::{collections::BTreeSet, time::Instant};

use proxima_config::Config;
use proxima_types::{BackendId, GroupName};

use super::{ControlState, PredecessorError};
use crate::{
    groups::Groups,
    reload::{NEW, empties_nothing, falls_silent, newcomers},
    routing::Observed,
};

/// What the new file has that nothing is known of.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    pub(crate) groups: Vec<GroupName>,
    /// Backends that are new, or at another address.
    pub(crate) backends: BTreeSet<BackendId>,
}

/// Compares a file with the text of the one in force.
///
/// # Errors
/// When it empties what was not empty, or would have nothing announced, and that is not forced; or the text can't be read by
/// this version.
pub(crate) fn judge(
    in_force: &str,
    new: &Config,
    state: &ControlState,
    force: bool,
) -> Result<Newcomers, PredecessorError> {
    let old = match Config::parse(in_force, "the configuration in force") {
        Ok(old) => old,
        Err(_) if force => return Ok(Newcomers::default()),
        Err(errors) => return Err(PredecessorError::Unreadable(errors.to_string())),
    };
    let diff = Config::diff(&old, new);
    let newcomers = Newcomers { groups: diff.groups.added.clone(), backends: newcomers(&old, new) };
    if !force {
        let refused = |body: proxima_api::ErrorBody| PredecessorError::Refused(body.error);
        empties_nothing(&diff).map_err(refused)?;
        let believed = |backend: &BackendId| {
            let known = state.observed.get(backend).filter(|_| !newcomers.backends.contains(backend));
            known.copied().unwrap_or(NEW)
        };
        let believed: &dyn Fn(&BackendId) -> Observed = &believed;
        let groups = Groups::of(&old, state.announcer.clone());
        if groups.would_fall_silent(Instant::now(), new, &|backend| believed(backend)) {
            return Err(refused(falls_silent()));
        }
    }
    Ok(newcomers)
}
