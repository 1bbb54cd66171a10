//! What all probes share, so that ten thousand of a kind need it once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use proxima_probe_kind::MAX_PATTERN;
use regex::bytes::{Regex, RegexBuilder};

use crate::tls::TlsConfigs;

/// What all probes share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) tls: TlsConfigs,
    pub(crate) patterns: Patterns,
}

/// Regular expressions by their text.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Mutex<HashMap<String, Result<Arc<Regex>, String>>>);

impl Patterns {
    /// The expression written as `pattern`, or why it is none.
    pub(crate) fn regex(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let compile = || match RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build() {
            Ok(regex) => Ok(Arc::new(regex)),
            Err(error) => Err(format!("`{pattern}` can't be matched: {error}")),
        };
        compiled.entry(pattern.to_owned()).or_insert_with(compile).clone()
    }
}
