//! A set of candidates that a fence has admitted.

use std::{cmp::Ordering, ops::Deref};

use crate::{Fence, Unavailable};

/// What a fence decided about a set of candidates: the record that [`Unavailable`] is told from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The fence that decided.
    pub fence: Fence,
    /// How many candidates it let in.
    pub admitted: usize,
    /// How many it left out.
    pub left_out: usize,
}

/// Candidates inside a fence. It reads as a slice and can be narrowed and sorted.
///
/// Only [`Fence::admit`] makes one. It can't be built by hand:
///
/// ```compile_fail,E0451
/// # use proxima_residency::{Decision, Fence, Fenced};
/// # let decision = Decision { fence: Fence::open(), admitted: 1, left_out: 0 };
/// let fenced = Fenced { decision, candidates: vec!["a backend elsewhere"] };
/// ```
///
/// nor by the function `admit` uses:
///
/// ```compile_fail,E0624
/// # use proxima_residency::{Decision, Fence, Fenced};
/// # let decision = Decision { fence: Fence::open(), admitted: 1, left_out: 0 };
/// let fenced = Fenced::behind(decision, vec!["a backend elsewhere"]);
/// ```
///
/// nor can one be added to, or an element replaced:
///
/// ```compile_fail,E0596
/// # use proxima_residency::Fenced;
/// fn widen<T>(mut fenced: Fenced<T>, elsewhere: T) {
///     fenced[0] = elsewhere;
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use proxima_residency::Fenced;
/// fn widen<T>(mut fenced: Fenced<T>, elsewhere: T) {
///     fenced.push(elsewhere);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced<T> {
    decision: Decision,
    candidates: Vec<T>,
}

impl<T> Fenced<T> {
    pub(crate) fn behind(decision: Decision, candidates: Vec<T>) -> Self {
        Self { decision, candidates }
    }

    /// What the fence decided, before any narrowing.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Keeps only the candidates that `keep` accepts.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.candidates.retain(keep);
    }

    /// Sorts; equal candidates keep their order.
    pub fn sort_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering) {
        self.candidates.sort_by(compare);
    }

    /// Why nothing can be served, to be asked when no candidate is left or usable.
    pub fn unavailable(&self) -> Unavailable {
        let Decision { fence, admitted, left_out } = self.decision.clone();
        match (admitted, left_out) {
            (0, 0) => Unavailable::NoBackends,
            (0, left_out) => Unavailable::AllOutside { fence, left_out },
            (admitted, left_out) => Unavailable::NoneUsable { fence, admitted, left_out },
        }
    }
}

impl<T> Deref for Fenced<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.candidates
    }
}
