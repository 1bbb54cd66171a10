//! The reference: every setting that is read, what it may be, what holds without it, and what it means.
//!
//! Nothing is described apart from where it is read. A reader says what it takes ([`Shape`]); whoever asks a section for a key
//! says what the key means and what holds without it, or does not compile. To have it all, the sections read files that
//! do not exist:
//!
//! ```text
//! a file that says nothing ─▶ Raw::read ─▶ Survey: the keys asked for, and where reading branched
//!            ▲                                          │
//!            └──── one that says one thing more ◀───────┘    until no branch is new
//! ```
//!
//! Reading branches where it looks whether a key is there, and at words, such as the `protocol` of a service. All combinations of
//! these within one table are read (`survey`). What is then asked for in every case is always required; what is
//! required or refused in some is a [`Rule`]. So the JSON Schema and the reference page, which are written from a [`Reference`],
//! know the same keys as the daemon.
//!
//! What is compared with the rest of the file (`check` of each section) is not described here but told in words: the schema refuses
//! nothing that is accepted, and not everything that is wrong.

use std::{ops::Bound, time::Duration};

pub use crate::survey::reference;

/// The file.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The file as a table.
    pub file: Table,
}

/// The keys of a table; it has no others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The keys, in the order in which they are read.
    pub keys: Vec<Key>,
    /// What depends on what else is written.
    pub rules: Vec<Rule>,
    /// Of each of these at least one key has to be there.
    pub any_of: Vec<Vec<&'static str>>,
}

/// A key. It holds a value, a table, or either of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it means: Markdown, one paragraph.
    pub doc: &'static str,
    /// Whether it always has to be there. What is required in some cases is in [`Table::rules`].
    pub required: bool,
    /// How it may look, in TOML, where it is required at all.
    pub example: Option<&'static str>,
    /// What holds without it; of a key that is always required nothing.
    pub absent: Option<Absent>,
    /// The value it may hold.
    pub value: Option<Shape>,
    /// The tables it may hold.
    pub tables: Option<Tables>,
}

/// What tables a key holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// How many.
    pub how: How,
    /// What is in each.
    pub table: Table,
}

/// How many tables a key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// `[key]`.
    One,
    /// `[[key]]`, not empty.
    List,
    /// `[key.NAME]`, not empty; with what a name may be.
    Named(Shape),
}

impl How {
    /// The path of what `path`, a key, holds: as it is, or with `[]` or `.NAME` behind it.
    pub fn path(&self, path: &str) -> String {
        match self {
            Self::One => path.to_owned(),
            Self::List => format!("{path}[]"),
            Self::Named(_) => format!("{path}.NAME"),
        }
    }
}

/// What holds without a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Absent {
    /// The same as if this were written.
    Is {
        /// The value in TOML.
        literal: String,
        /// What holds in its place, and where.
        or: Option<&'static str>,
    },
    /// What can't be written.
    Means(&'static str),
}

/// Given that `when` holds, all of it, these are required and those are refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Not empty.
    pub when: Vec<Condition>,
    /// Keys that have to be there.
    pub required: Vec<&'static str>,
    /// Keys that must not be there.
    pub refused: Vec<&'static str>,
}

/// What a [`Rule`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// A key that is there.
    pub key: &'static str,
    /// The word it holds; absent: whatever it holds.
    pub word: Option<&'static str>,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Boolean,
    /// `true`, and never `false`.
    True,
    /// A whole number.
    Integer {
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A number, with a fraction or without.
    Number {
        /// The lower bound.
        from: Bound<f64>,
        /// The upper bound.
        to: Bound<f64>,
    },
    /// A whole number and a unit, in a string.
    Duration {
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
        /// Whether zero is one, too, for "never" or "none".
        or_zero: bool,
        /// Whether it comes in whole seconds.
        whole_seconds: bool,
    },
    /// One of a few words.
    Words(Vec<&'static str>),
    /// A string.
    Text {
        /// What it stands for, with its article.
        what: &'static str,
        /// A regular expression that all of them match, and some others, too. Empty: none.
        pattern: &'static str,
    },
    /// A list of these.
    List {
        /// What it holds.
        of: Box<Shape>,
    },
    /// One of these.
    AnyOf(Vec<Shape>),
}
