//! Where errors are gathered, and how byte offsets become lines and columns.

use std::{cell::RefCell, collections::BTreeSet, ops::Range};

use crate::error::{ConfigError, ConfigErrors};

/// Bytes of the file.
pub(crate) type Span = Range<usize>;

/// What is wrong with one value, said by whoever reads it; its place is added by the section it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What an error was concluded from, and so whether it can be trusted when the TOML itself is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The TOML parser.
    Syntax,
    /// The place itself: a key that does not exist, a value that can't be.
    Here,
    /// The file as a whole: something missing, unknown elsewhere or given twice. A syntax error may have hidden it.
    Elsewhere,
}

#[derive(Debug)]
struct Fault {
    span: Span,
    path: String,
    evidence: Evidence,
    /// Whether the span is the offending value, rather than the section that lacks one.
    value: bool,
    wrong: Wrong,
}

/// Gathers errors. Shared by all readers and checks of one file.
#[derive(Debug, Default)]
pub(crate) struct Report {
    faults: RefCell<Vec<Fault>>,
    /// Where the TOML is broken.
    broken: RefCell<Vec<Span>>,
}

impl Report {
    /// An error of TOML itself. Nothing read from `covered` can be relied on.
    pub(crate) fn syntax(&self, span: Span, covered: Span, wrong: Wrong) {
        self.broken.borrow_mut().push(covered);
        self.push(span, "", Evidence::Syntax, true, wrong);
    }

    /// An error that the place alone shows.
    pub(crate) fn here(&self, span: Span, path: &str, wrong: Wrong) {
        self.push(span, path, Evidence::Here, true, wrong);
    }

    /// An error that shows when the place is compared with the rest of the file.
    pub(crate) fn elsewhere(&self, span: Span, path: &str, wrong: Wrong) {
        self.push(span, path, Evidence::Elsewhere, true, wrong);
    }

    /// An error of a section as a whole, such as what it lacks.
    pub(crate) fn section(&self, span: Span, path: &str, wrong: Wrong) {
        self.push(span, path, Evidence::Elsewhere, false, wrong);
    }

    fn push(&self, span: Span, path: &str, evidence: Evidence, value: bool, wrong: Wrong) {
        self.faults.borrow_mut().push(Fault { span, path: path.to_owned(), evidence, value, wrong });
    }

    /// The errors, if there are any.
    ///
    /// Broken TOML is read as far as it goes. What that reading shows is reported too, unless it may follow from
    /// the breakage: one error a broken line, and nothing concluded from what is absent.
    pub(crate) fn close(self, source: &Source<'_>) -> Option<ConfigErrors> {
        let mut faults = self.faults.into_inner();
        let broken: BTreeSet<usize> =
            self.broken.into_inner().iter().flat_map(|span| source.lines_of(span)).collect();
        let mut reported = BTreeSet::new();
        faults.retain(|fault| match fault.evidence {
            Evidence::Syntax => reported.insert(source.line_of(fault.span.start)),
            Evidence::Here => source.lines_of(&fault.span).all(|line| !broken.contains(&line)),
            Evidence::Elsewhere => broken.is_empty(),
        });
        if faults.is_empty() {
            return None;
        }
        Some(ConfigErrors::new(faults.into_iter().map(|fault| source.locate(fault)).collect()))
    }
}

/// The file as it was handed in.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// The text of a span; empty when the span is none of this file.
    pub(crate) fn slice(&self, span: &Span) -> &'t str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The line of a byte, from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset) - 1
    }

    fn lines_of(&self, span: &Span) -> impl Iterator<Item = usize> + use<> {
        self.line_of(span.start)..=self.line_of(span.end.max(span.start + 1) - 1)
    }

    fn locate(&self, fault: Fault) -> ConfigError {
        // The parser may point just behind a line's end, or behind the last line: mark the end of that line's text.
        let mut start = fault.span.start.min(self.text.len());
        if start == self.text.len() && start > 0 && self.text.ends_with('\n') {
            start -= 1;
        }
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.line_of(start);
        let begin = self.lines[line];
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let source_line = self.text[begin..end].trim_end_matches('\r');
        let column = self.text[begin..start].chars().count().min(source_line.chars().count());
        let value = self.slice(&fault.span).trim();
        let first = value.lines().next().unwrap_or_default();
        ConfigError {
            file: self.file.to_owned(),
            line: line + 1,
            column: column + 1,
            path: fault.path,
            value: (fault.value && !value.is_empty()).then(|| value.to_owned()),
            message: fault.wrong.message,
            hint: fault.wrong.hint,
            source_line: source_line.to_owned(),
            marked: first.chars().count().max(1),
        }
    }
}
