//! What a key was found to hold, with its place.

use crate::report::{Span, Wrong};

/// What reading one value gives.
pub(crate) type Read<T> = Result<T, Wrong>;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What a key was found to hold.
#[derive(Debug, Clone)]
pub(crate) enum Field<T> {
    /// Nothing, and it need not.
    Absent,
    /// Something wrong, or nothing where something is needed. It has been reported: nothing may be concluded from it.
    Bad,
    /// A value.
    Given(At<T>),
}

impl<T> Field<T> {
    /// The value and its place, when there is one.
    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The value, when there is one.
    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    /// The value itself, when there is one.
    pub(crate) fn into_given(self) -> Option<T> {
        match self {
            Self::Absent | Self::Bad => None,
            Self::Given(at) => Some(at.value),
        }
    }

    /// The same with another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Bad => Field::Bad,
            Self::Given(At { value, span }) => Field::Given(At { value: f(value), span }),
        }
    }

    /// The value or its default; nothing when what was written is wrong.
    pub(crate) fn or(&self, default: T) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(default),
            Self::Bad => None,
            Self::Given(at) => Some(at.value.clone()),
        }
    }

    /// The value if any; nothing at all when what was written is wrong.
    pub(crate) fn maybe(&self) -> Option<Option<T>>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Given(at) => Some(Some(at.value.clone())),
        }
    }
}

/// A list as written: its own place, and each sound element with its place. An unsound element makes it incomplete.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) elements: Vec<At<T>>,
    pub(crate) complete: bool,
}

impl<T: Clone> List<T> {
    pub(crate) fn values(&self) -> Option<Vec<T>> {
        self.complete.then(|| self.elements.iter().map(|at| at.value.clone()).collect())
    }
}
