//! The control task's part: when an upgrade may begin, and the moment in which everything changes hands.

use std::time::Instant;

use proxima_api::{EventKind, Upgraded};
use proxima_bgp_speaker::{Detached, HandOver};
use proxima_types::PeerName;
use tokio::task::spawn_blocking;

use super::{Asked, Prepared, Ready, Successor, Taken, successor::UpgradeError};
use crate::{
    admin::CommandRefusal,
    control::{Control, End},
    reload::Progress,
};

/// What a successor has come to so far, and who waits for that.
pub(crate) struct Outcome {
    ready: Result<Ready, UpgradeError>,
    asked: Asked,
}

/// What is no longer this process's, and is to be let go of.
#[derive(Debug)]
pub(crate) struct HandedOn {
    pub(crate) successor: Taken,
    pub(crate) bgp: HandOver,
    /// Whether the admin socket's file is still this process's.
    pub(crate) keeps_admin_file: bool,
    /// To be answered when nothing new comes here any more.
    pub(crate) asked: Asked,
    pub(crate) upgraded: Upgraded,
}

impl Control {
    /// Starts a successor; the answer goes to who asked and into the journal.
    pub(crate) fn upgrade(&mut self, asked: Asked) {
        if let Err(refusal) = self.may_upgrade() {
            return answer(asked, Err(refusal));
        }
        let begun = self
            .doors
            .duplicate()
            .and_then(|doors| Ok((doors, self.data_plane.bequeath()?.with_tickets(self.tls.own_tickets()))));
        let (doors, data_plane) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.upgrade_failed(&UpgradeError::own("sockets", &error), asked),
        };
        self.upgrading = true;
        self.journal.publish(EventKind::UpgradeBegun);
        let (upgrades, vips) = (self.upgrades.clone(), self.vips.clone());
        tokio::spawn(async move {
            let vips = vips.held().await;
            let ready = spawn_blocking(move || Successor::start(doors, data_plane, vips)).await;
            let ready = ready.unwrap_or(Err(UpgradeError::Confused));
            // Gone only when the daemon is.
            upgrades.send(Outcome { ready, asked }).await.ok();
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
        if self.upgrading {
            return Err(CommandRefusal::conflict(
                "an upgrade is under way",
                "wait for it, then see `proxima status`",
            ));
        }
        if self.reloading != Progress::Idle {
            return Err(CommandRefusal::conflict("a reload is under way", "wait for it, then try again"));
        }
        Ok(())
    }

    /// Hands everything over to a successor that is ready. `Some`: it has it all.
    pub(crate) async fn hand_over(&mut self, Outcome { ready, asked }: Outcome) -> Option<End> {
        self.upgrading = false;
        let ready = match ready {
            Ok(ready) if self.is_stopping() => {
                drop(ready);
                answer(asked, Err(CommandRefusal::Stopping));
                return None;
            }
            Ok(ready) => ready,
            Err(error) => {
                self.upgrade_failed(&error, asked);
                return None;
            }
        };
        let (pid, prepared) = (ready.pid(), ready.prepared.clone());
        let begun = Instant::now();
        let mut bgp = self.speaker.hand_over().await;
        let peers = bgp.detached.peers.iter().map(|peer| peer.name.clone()).collect();
        match self.commit(ready, std::mem::take(&mut bgp.detached)).await {
            Ok(successor) => {
                let still_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                let upgraded = self.upgraded(pid, &prepared, peers, still_us);
                self.journal.publish(EventKind::HandedOver { pid, version: prepared.version, still_us });
                let keeps_admin_file = !prepared.admin;
                self.handed_on = Some(HandedOn { successor, bgp, keeps_admin_file, asked, upgraded });
                Some(End::Upgraded)
            }
            Err(error) => {
                bgp.called_off();
                self.bfd.take_back();
                self.upgrade_failed(&error, asked);
                None
            }
        }
    }

    /// Everything at one stroke: what stands still here goes on there.
    async fn commit(&mut self, ready: Ready, bgp: Detached) -> Result<Taken, UpgradeError> {
        let state = self.state();
        let bfd = self.bfd.hand_over().map_err(|error| UpgradeError::own("BFD sessions", &error))?;
        let pid = ready.pid();
        let taken = spawn_blocking(move || ready.hand_over(&bgp, &bfd, state)).await;
        let mut taken = taken.unwrap_or(Err(UpgradeError::Confused))?;
        // Before it speaks for itself: what it says is heard only from the main process.
        self.supervisor.hand_over(pid);
        // Before the other reads datagrams: of those that both read some would be lost. If it ends, this process reads on.
        self.data_plane.succeeded();
        taken.commit().inspect_err(|_| self.supervisor.hand_over(std::process::id()))?;
        Ok(taken)
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
        let hint = "this process goes on as before; what the new one had to say is in the log";
        self.journal.publish(EventKind::UpgradeFailed { error: error.to_string() });
        answer(asked, Err(CommandRefusal::conflict(error.to_string(), hint)));
    }
}

/// Tells who asked, if someone waits for it.
pub(crate) fn answer(asked: Asked, what: Result<Upgraded, CommandRefusal>) {
    if let Some(asked) = asked {
        asked.send(what).ok(); // nobody waits any more
    }
}
