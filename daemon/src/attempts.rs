//! Attempts of a session that fail as the one before: told once, not each time.
//!
//! A router that is away is tried every few seconds for as long as it stays away. Told one by one, its attempts would push all
//! else out of the journal and warn for ever. So after a failure the steps of the next attempt wait for how it ends:
//!
//! | it ends                     | told                              |
//! |-----------------------------|-----------------------------------|
//! | as the one before           | nothing                           |
//! | otherwise, or in a session  | its steps and its end             |
//!
//! The end of a session is always told. Members of ranges are not waited for: they act only when somebody has connected.

use std::{collections::BTreeMap, time::Instant};

use proxima_api::{SessionReason, SessionState};
use proxima_types::PeerName;

/// A change of a session's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: SessionState,
    pub(crate) to: SessionState,
    pub(crate) reason: Option<SessionReason>,
    pub(crate) at: Instant,
}

impl Step {
    /// Why an attempt has come to nothing, if this is its end.
    fn failure(&self) -> Option<&SessionReason> {
        let ended = matches!(self.to, SessionState::Idle | SessionState::Active);
        self.reason.as_ref().filter(|reason| ended && !reason.is_ordered())
    }

    /// Whether what comes next has nothing to do with what was before.
    fn begins_anew(&self) -> bool {
        let ordered = self.reason.as_ref().is_some_and(SessionReason::is_ordered);
        ordered || [self.from, self.to].contains(&SessionState::Established)
    }
}

/// The attempts of all peers that have failed at least once.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: BTreeMap<PeerName, Failed>,
}

#[derive(Debug)]
struct Failed {
    /// Of this, as was told.
    reason: SessionReason,
    /// The attempt under way.
    steps: Vec<Step>,
}

impl Attempts {
    /// What is to be told now: the step and those that have waited for it, or nothing yet.
    pub(crate) fn tell(&mut self, peer: &PeerName, step: Step) -> Vec<Step> {
        if peer.as_member().is_some() {
            return vec![step];
        }
        if step.begins_anew() {
            let waiting = self.failed.remove(peer).map(|failed| failed.steps).unwrap_or_default();
            return waiting.into_iter().chain([step]).collect();
        }
        let failure = step.failure().cloned();
        match (self.failed.get_mut(peer), failure) {
            (None, None) => vec![step],
            (None, Some(reason)) => {
                self.failed.insert(peer.clone(), Failed { reason, steps: Vec::new() });
                vec![step]
            }
            (Some(failed), None) => {
                failed.steps.push(step);
                Vec::new()
            }
            (Some(failed), Some(reason)) => {
                let mut steps = std::mem::take(&mut failed.steps);
                if failed.reason == reason {
                    return Vec::new();
                }
                failed.reason = reason;
                steps.push(step);
                steps
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use SessionState::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};

    use super::*;

    fn refused() -> SessionReason {
        SessionReason::ConnectFailed { error: "connection refused".into() }
    }

    /// What is told of the steps, each as its two states.
    fn told(
        steps: &[(SessionState, SessionState, Option<SessionReason>)],
    ) -> Vec<(SessionState, SessionState)> {
        told_of("tor1", steps)
    }

    fn told_of(
        peer: &str,
        steps: &[(SessionState, SessionState, Option<SessionReason>)],
    ) -> Vec<(SessionState, SessionState)> {
        let (mut attempts, at) = (Attempts::default(), Instant::now());
        let steps = steps.iter().cloned().map(|(from, to, reason)| Step { from, to, reason, at });
        let told = steps.flat_map(|step| attempts.tell(&peer.parse().unwrap(), step));
        told.map(|step| (step.from, step.to)).collect()
    }

    #[test]
    fn a_failure_is_told_once_however_often_it_comes() {
        let attempt = [(Active, Connect, None), (Connect, Active, Some(refused()))];
        let attempts = |count| vec![attempt.clone(); count].concat();
        assert_eq!(told(&attempts(100)), [(Active, Connect), (Connect, Active)]);
        assert_eq!(told_of("range/10.0.0.1", &attempts(3)).len(), 6, "members are told as they are");
    }

    #[test]
    fn another_failure_is_told_with_the_steps_that_led_to_it() {
        let lost = SessionReason::ConnectionLost { error: None };
        let steps = [
            (Connect, Active, Some(refused())),
            (Active, Connect, None),
            (Connect, Active, Some(refused())),
            (Active, Connect, None),
            (Connect, OpenSent, None),
            (OpenSent, Active, Some(lost)),
        ];
        let other = [(Active, Connect), (Connect, OpenSent), (OpenSent, Active)];
        assert_eq!(told(&steps), [&[(Connect, Active)], &other[..]].concat());
    }

    #[test]
    fn a_session_is_told_with_its_steps_and_so_is_its_end_and_the_next_failure() {
        let up = [
            (Active, Connect, None),
            (Connect, OpenSent, None),
            (OpenSent, OpenConfirm, None),
            (OpenConfirm, Established, None),
            (Established, Idle, Some(SessionReason::ConnectionLost { error: None })),
            (Idle, Connect, None),
            (Connect, Active, Some(refused())),
        ];
        let steps = [&[(Connect, Active, Some(refused()))], &up[..]].concat();
        assert_eq!(told(&steps).len(), steps.len());
    }

    #[test]
    fn an_order_is_told_and_begins_anew() {
        let steps = [
            (Connect, Active, Some(refused())),
            (Active, Connect, None),
            (Connect, Idle, Some(SessionReason::Stopped)),
            (Idle, Connect, None),
            (Connect, Active, Some(refused())),
        ];
        assert_eq!(told(&steps).len(), steps.len());
    }
}
