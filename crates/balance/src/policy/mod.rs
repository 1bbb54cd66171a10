//! Balancing policies, one per file, and what they share.
//!
//! A policy holds the state of one worker for one route or pool. It chooses among the untried candidates of one level;
//! which level is not its business. To add one: a file here, a variant in [`PolicyKind`] and [`Policy`], and its
//! kind in the shared tests' list.

mod least_request;
mod round_robin;
#[cfg(test)]
pub(crate) mod tests;

use self::{least_request::LeastRequest, round_robin::RoundRobin};
use crate::{Levels, Tried};

/// Which policy a pool uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PolicyKind {
    /// Smooth weighted round-robin.
    RoundRobin,
    /// The less loaded of two drawn by weight.
    #[default]
    LeastRequest,
}

/// A policy with the state of one worker.
#[derive(Debug, Clone)]
pub struct Policy(State);

#[derive(Debug, Clone)]
enum State {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
}

impl Policy {
    /// A fresh policy. Workers must not share a `seed`, or they would choose in step.
    pub fn new(kind: PolicyKind, seed: u64) -> Self {
        Self(match kind {
            PolicyKind::RoundRobin => State::RoundRobin(RoundRobin::new(seed)),
            PolicyKind::LeastRequest => State::LeastRequest(LeastRequest::new(seed)),
        })
    }

    /// An untried candidate of `level`, `None` when all of them were tried.
    pub(crate) fn choose(
        &mut self,
        levels: &Levels,
        level: usize,
        tried: &Tried,
        load: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        match &mut self.0 {
            State::RoundRobin(policy) => policy.choose(levels, level, tried),
            State::LeastRequest(policy) => policy.choose(levels, level, tried, load),
        }
    }
}
