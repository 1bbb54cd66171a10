//! Tells that this host can't probe: once when it begins, once when it is over, and not again and again when it
//! comes and goes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use proxima_health::Failure;
use proxima_types::BackendId;

/// From telling of one shortage to telling of the next.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// The probers that lack something, together: they share one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shortage(Arc<Mutex<State>>);

/// What one backend's prober knows of its own state.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    blind: bool,
}

#[derive(Debug, Default)]
struct State {
    blind: usize,
    told_at: Option<Instant>,
    /// The shortage that is on has been told of, so its end is too.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    Begun,
    Over,
}

impl Shortage {
    /// Takes note of how an attempt failed, if it did.
    pub(crate) fn note(
        &self,
        now: Instant,
        sight: &mut Sight,
        backend: &BackendId,
        failure: Option<&Failure>,
    ) {
        let blind = failure.is_some_and(Failure::is_local);
        if std::mem::replace(&mut sight.blind, blind) == blind {
            return;
        }
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner).change(now, blind);
        match (tell, failure) {
            (Some(Tell::Begun), Some(failure)) => tracing::warn!(
                %backend, %failure,
                "this host can't probe; verdicts stay as they are; for `too many open files` raise LimitNOFILE. Trying on"
            ),
            (Some(Tell::Over), _) => tracing::info!("this host can probe again"),
            _ => {}
        }
    }
}

impl State {
    /// One more prober is blind, or one fewer.
    fn change(&mut self, now: Instant, blind: bool) -> Option<Tell> {
        if !blind {
            self.blind = self.blind.saturating_sub(1);
            return (self.blind == 0 && std::mem::take(&mut self.told)).then_some(Tell::Over);
        }
        self.blind += 1;
        let is_new = !self.told && self.told_at.is_none_or(|at| now >= at + TOLD_EVERY);
        if is_new {
            self.told = true;
            self.told_at = Some(now);
        }
        is_new.then_some(Tell::Begun)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_once_and_so_is_its_end() {
        let (mut state, now) = (State::default(), Instant::now());
        let tellings: Vec<_> =
            [true, true, true, false, false, false].map(|blind| state.change(now, blind)).into();
        let expected = [Some(Tell::Begun), None, None, None, None, Some(Tell::Over)];
        assert_eq!(tellings, expected);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_at_a_bounded_pace() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut told = 0;
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            told += usize::from(state.change(now, true).is_some());
            told += usize::from(state.change(now, false).is_some());
        }
        assert_eq!(told, 20, "every 30 s its beginning and its end");
    }
}
