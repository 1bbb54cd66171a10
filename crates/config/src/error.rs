//! Everything that is wrong with a file, for people and for programs.

use std::fmt;

use serde::Serialize;

/// All the errors of one file, sorted by position; never empty.
///
/// Displayed like a compiler's output. Serialised as `{"errors": [{file, line, column, …}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        errors.dedup();
        Self { errors }
    }

    /// The errors, sorted by position.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

/// One error, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file, as it was named to [`Config::parse`](crate::Config::parse).
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The setting, such as `bgp.peers[0].address`; empty for the file as a whole and for errors of TOML itself.
    pub path: String,
    /// The offending value as written, absent when something is missing.
    pub value: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The text of the line.
    #[serde(skip)]
    pub source_line: String,
    /// How many characters the caret marks, at least 1.
    #[serde(skip)]
    pub marked: usize,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where the terminal puts the text above it.
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{}:{}:{}: error: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, " {gutter} |")?;
        writeln!(f, " {number} | {}", self.source_line)?;
        write!(f, " {gutter} | {indent}{}", "^".repeat(self.marked))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n {gutter} = help: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}\n")?;
        }
        let file = self.errors.first().map_or("", |error| error.file.as_str());
        match self.errors.len() {
            1 => write!(f, "1 error in {file}"),
            n => write!(f, "{n} errors in {file}"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
