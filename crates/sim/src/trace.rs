//! What happened, line by line, for those who replay a seed.

use std::fmt;

use crate::clock::{Nanos, SECOND};

/// A timeline. Nothing is written where nobody reads it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// One that is kept.
    pub(crate) fn kept() -> Self {
        Self { lines: Some(Vec::new()) }
    }

    /// Whether it is kept.
    pub(crate) fn on(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn say(&mut self, now: Nanos, who: &str, what: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.4} s  {who:<18} {what}", now as f64 / SECOND as f64));
        }
    }

    /// The lines, in order.
    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
