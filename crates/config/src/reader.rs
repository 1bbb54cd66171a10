//! How single values are read, described along with it; and what holds without them.

use std::{
    num::{NonZeroU8, NonZeroU16, NonZeroU32},
    time::Duration,
};

use proxima_types::Score;
use toml::de::DeValue;

use crate::{
    field::Read,
    reference::{Absent, Shape},
    value,
};

/// Reads one value, and says what it takes.
pub(crate) struct Reader<T> {
    shape: Shape,
    read: Box<ReadValue<T>>,
}

type ReadValue<T> = dyn Fn(&DeValue<'_>) -> Read<T>;

impl<T: 'static> Reader<T> {
    /// `shape` describes all that `read` takes, and may describe more.
    pub(crate) fn new(shape: Shape, read: impl Fn(&DeValue<'_>) -> Read<T> + 'static) -> Self {
        Self { shape, read: Box::new(read) }
    }

    /// A string.
    pub(crate) fn text(
        what: &'static str,
        pattern: &'static str,
        read: impl Fn(&DeValue<'_>) -> Read<T> + 'static,
    ) -> Self {
        Self::new(Shape::Text { what, pattern }, read)
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn read(&self, found: &DeValue<'_>) -> Read<T> {
        (self.read)(found)
    }

    /// The same, and what comes of it.
    pub(crate) fn map<U: 'static>(self, f: impl Fn(T) -> U + 'static) -> Reader<U> {
        self.then(move |value| Ok(f(value)))
    }

    /// The same, looked at more closely.
    pub(crate) fn then<U: 'static>(self, check: impl Fn(T) -> Read<U> + 'static) -> Reader<U> {
        let Self { shape, read } = self;
        Reader::new(shape, move |found| check(read(found)?))
    }

    /// The same, described more closely.
    pub(crate) fn described(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

impl Absent {
    /// As if `value` were written.
    pub(crate) fn is(value: impl Literal) -> Self {
        Self::Is { literal: value.literal(), or: None }
    }

    /// As if the word for `meaning` were written.
    pub(crate) fn word<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> Self {
        let word = words.iter().find(|(_, known)| known == meaning).map(|(word, _)| *word);
        Self::is(word.expect("a default is one of the choices"))
    }

    /// Something that can't be written.
    pub(crate) fn means(words: &'static str) -> Self {
        Self::Means(words)
    }

    /// In some places this holds instead.
    pub(crate) fn or(self, words: &'static str) -> Self {
        match self {
            Self::Is { literal, or: _ } => Self::Is { literal, or: Some(words) },
            Self::Means(_) => self,
        }
    }
}

/// What can be written in TOML.
pub(crate) trait Literal {
    fn literal(&self) -> String;
}

macro_rules! plain_literals {
    ($($type:ty),*) => {$(
        impl Literal for $type {
            fn literal(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain_literals!(bool, u8, u16, u32, NonZeroU8, NonZeroU16, NonZeroU32);

impl Literal for f64 {
    fn literal(&self) -> String {
        format!("{self:?}")
    }
}

impl Literal for Score {
    fn literal(&self) -> String {
        self.share().literal()
    }
}

impl Literal for &str {
    fn literal(&self) -> String {
        format!("{self:?}")
    }
}

impl Literal for Duration {
    fn literal(&self) -> String {
        value::show(*self).as_str().literal()
    }
}
