//! The control task's part: when an upgrade may begin, and the moment in which everything changes hands.

use std::{thread, time::Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_api::{EventKind, UpgradeRequest, Upgraded};
use proxima_bgp_speaker::{Detached, HandOver};
use proxima_types::PeerName;
use tokio::{
    sync::oneshot,
    task::{spawn_blocking, yield_now},
};

use super::{Asked, Prepared, Ready, STILL, Successor, Taken, successor::UpgradeError};
use crate::{
    admin::CommandRefusal,
    control::{Control, End, Inputs},
    reload::Progress,
    signals,
};

/// An upgrade under way.
#[derive(Debug, Default)]
pub(crate) struct Upgrading {
    /// A signal asked for a reload since: whoever goes on does it.
    pub(crate) then_reload: bool,
}

/// What a successor has come to so far, and who waits for that.
pub(crate) struct Outcome {
    ready: Result<Ready, UpgradeError>,
    request: UpgradeRequest,
    asked: Asked,
}

/// What is no longer this process's, and is to be let go of.
#[derive(Debug)]
pub(crate) struct HandedOn {
    pub(crate) successor: Taken,
    pub(crate) bgp: HandOver,
    pub(crate) pid: Pid,
    /// Whether the admin socket's file is still this process's.
    pub(crate) keeps_admin_file: bool,
    /// To be answered when nothing new comes here any more.
    pub(crate) asked: Asked,
    pub(crate) upgraded: Upgraded,
}

impl Control {
    /// Starts a successor; the answer goes to who asked and into the journal.
    pub(crate) fn upgrade(&mut self, request: UpgradeRequest, asked: Asked) {
        if let Err(refusal) = self.may_upgrade() {
            tracing::warn!("no upgrade: {refusal}");
            return answer(asked, Err(refusal));
        }
        let sockets = || Ok((self.doors.duplicate()?, self.data_plane.bequeath()?));
        let begun: std::io::Result<_> = sockets();
        let (doors, data_plane) = match begun {
            Ok((doors, data_plane)) => (doors, data_plane.with_tickets(self.tls.own_tickets())),
            Err(error) => return self.upgrade_failed(&UpgradeError::own("sockets", &error), asked),
        };
        self.upgrading = Some(Upgrading::default());
        self.journal.publish(EventKind::UpgradeBegun);
        let (upgrades, vips) = (self.upgrades.clone(), self.vips.clone());
        tokio::spawn(async move {
            let vips = vips.held().await;
            let ready = on_a_thread(move || Successor::start(doors, data_plane, vips)).await;
            // Gone only when the daemon is.
            upgrades.send(Outcome { ready, request, asked }).await.ok();
        });
    }

    fn may_upgrade(&self) -> Result<(), CommandRefusal> {
        if self.is_stopping() {
            return Err(CommandRefusal::Stopping);
        }
        if !self.is_ready() {
            let hint = "wait until `proxima status` says running, or restart";
            return Err(CommandRefusal::conflict("first verdicts are awaited still", hint));
        }
        if self.upgrading.is_some() {
            return Err(CommandRefusal::conflict(UNDER_WAY, "wait for it, then see `proxima status`"));
        }
        if self.reloading != Progress::Idle {
            return Err(CommandRefusal::conflict("a reload is under way", "wait for it, then try again"));
        }
        Ok(())
    }

    /// Hands everything over to a successor that is ready. `Some`: it has it all.
    pub(crate) async fn hand_over(&mut self, outcome: Outcome, inputs: &mut Inputs) -> Option<End> {
        let Outcome { ready, request, asked } = outcome;
        let upgrading = self.upgrading.take().unwrap_or_default();
        let mut meanwhile = Vec::new();
        let done = match ready {
            Ok(_) if self.is_stopping() => {
                answer(asked, Err(CommandRefusal::Stopping));
                return None;
            }
            Ok(ready) => self.hand_over_to(ready, request, inputs, &mut meanwhile).await,
            Err(error) => Err(error),
        };
        match done {
            Ok((handed_on, prepared)) => {
                let Upgraded { pid, still_us, .. } = handed_on.upgraded;
                self.journal.publish(EventKind::HandedOver { pid, version: prepared.version, still_us });
                if upgrading.then_reload || meanwhile.contains(&signals::Signal::Reload) {
                    signal(handed_on.pid, Signal::SIGHUP);
                }
                self.handed_on = Some(HandedOn { asked, ..handed_on });
                Some(End::Upgraded)
            }
            Err(error) => {
                self.upgrade_failed(&error, asked);
                let reload = upgrading.then_reload.then_some(signals::Signal::Reload);
                let is_over = reload.into_iter().chain(meanwhile).any(|signal| self.handle_signal(signal));
                is_over.then_some(End::Stop)
            }
        }
    }

    /// Everything at one stroke: what stands still here goes on there. BFD first: what it has seen fail is told to sessions before
    /// they stand still. Signals that were seen `meanwhile` are nobody's yet.
    async fn hand_over_to(
        &mut self,
        ready: Ready,
        UpgradeRequest { force }: UpgradeRequest,
        inputs: &mut Inputs,
        meanwhile: &mut Vec<signals::Signal>,
    ) -> Result<(HandedOn, Prepared), UpgradeError> {
        let (begun, pid, prepared) = (Instant::now(), ready.pid(), ready.prepared.clone());
        let until = begun + STILL;
        let bfd = self.bfd.hand_over().map_err(|error| UpgradeError::own("BFD sessions", &error))?;
        while let Ok(event) = inputs.bfd.try_recv() {
            self.handle_bfd(event);
        }
        yield_now().await; // what tells the sessions goes first
        let mut bgp = match self.speaker.hand_over().await {
            Ok(bgp) => bgp,
            Err(error) => {
                self.bfd.take_back();
                return Err(UpgradeError::own("BGP sessions", &error));
            }
        };
        let Detached { peers, .. } = &bgp.detached;
        let peers: Vec<PeerName> = peers.iter().map(|peer| peer.name.clone()).collect();
        let (detached, state, text) = (std::mem::take(&mut bgp.detached), self.state(), self.text.clone());
        let taken =
            spawn_blocking(move || ready.hand_over(&detached, &bfd, state, (text, force), until)).await;
        let committed = taken.unwrap_or(Err(UpgradeError::Confused)).and_then(|mut taken| {
            *meanwhile = inputs.signals.pending();
            if meanwhile.iter().any(|signal| matches!(signal, signals::Signal::Stop(_))) {
                return Err(UpgradeError::Stopping);
            }
            // Before it speaks for itself: what it says is heard only from the main process.
            self.supervisor.hand_over(pid);
            // Before the other reads datagrams: of those that both read some would be lost. If it ends, this process reads on.
            self.data_plane.succeeded();
            taken.commit(until).inspect_err(|_| self.supervisor.hand_over(std::process::id()))?;
            Ok(taken)
        });
        match committed {
            Ok(successor) => {
                let still_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                let upgraded = self.upgraded(pid, &prepared, peers, still_us);
                let keeps_admin_file = !prepared.adopts_admin_socket;
                let pid = Pid::from_raw(pid.cast_signed());
                Ok((HandedOn { successor, bgp, pid, keeps_admin_file, asked: None, upgraded }, prepared))
            }
            Err(error) => {
                bgp.called_off();
                self.bfd.take_back();
                Err(error)
            }
        }
    }

    fn upgraded(&self, pid: u32, prepared: &Prepared, peers: Vec<PeerName>, still_us: u64) -> Upgraded {
        Upgraded {
            pid,
            version: prepared.version.clone(),
            from_pid: std::process::id(),
            from_version: env!("CARGO_PKG_VERSION").to_owned(),
            peers,
            still_us,
            drain_ms: u64::try_from(self.config.drain.streams.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn upgrade_failed(&mut self, error: &UpgradeError, asked: Asked) {
        // What it has made local is nobody's.
        self.vips.keep(crate::vips::wanted(&self.config), std::time::Duration::ZERO);
        let hint = "this process goes on as before; what the new one had to say is in the log";
        self.journal.publish(EventKind::UpgradeFailed { error: error.to_string() });
        answer(asked, Err(CommandRefusal::conflict(error.to_string(), hint)));
    }
}

/// Does it on a thread of its own, for which a daemon that ends meanwhile does not wait. Whatever becomes of the thread, there is
/// an answer: nothing else may be ordered before.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpgradeError> + Send + 'static,
) -> Result<T, UpgradeError> {
    let (done, result) = oneshot::channel();
    let started = thread::Builder::new().name("upgrade".to_owned()).spawn(move || done.send(work()).ok());
    started.map_err(|error| UpgradeError::Thread(error.to_string()))?;
    result.await.unwrap_or_else(|_| Err(UpgradeError::Thread("it has panicked".to_owned())))
}

/// Why something else has to wait.
pub(crate) const UNDER_WAY: &str = "an upgrade is under way";

/// Tells who asked, if someone waits for it.
pub(crate) fn answer(asked: Asked, what: Result<Upgraded, CommandRefusal>) {
    if let Some(asked) = asked {
        asked.send(what).ok(); // nobody waits any more
    }
}

/// Passes a signal on to the process that has taken over.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill(pid, signal) {
        tracing::warn!(%pid, %signal, %error, "the process that has taken over was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_is_an_answer_too() {
        let done = on_a_thread(|| Ok(7)).await;
        assert!(matches!(done, Ok(7)), "{done:?}");
        let failed = on_a_thread::<()>(|| panic!("the system is out of something")).await;
        assert!(matches!(&failed, Err(UpgradeError::Thread(why)) if why.contains("panicked")), "{failed:?}");
    }
}
