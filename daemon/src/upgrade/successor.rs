//! The process that is to come, as the one that goes sees it.

use std::{
    env,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_bfd_io::HandedOver;
use proxima_bgp_speaker::Detached;
use proxima_proxy::Inheritance;
use proxima_types::{Prefix, moment};

use super::{
    BgpSession, BgpState, ControlState, DETACH, FORMAT, Offer, Prepared, START, State, TAKE_OVER,
    ToPredecessor, ToSuccessor, VARIABLE,
    channel::{Channel, ChannelError},
    epoch,
};
use crate::doors::Doors;

/// How long a process that has failed may take to say why, and one that was killed to be gone.
pub(super) const LAST_MOMENTS: Duration = Duration::from_millis(200);
/// From one look at it to the next.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// No process.
    #[error("can't start {program}: {error}")]
    Spawn {
        /// What was started.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// No thread that could start it, or none any more.
    #[error("the thread that starts the new process: {0}")]
    Thread(String),
    /// It says why.
    #[error("the new process could not start: {0}")]
    Failed(String),
    /// It does not say why.
    #[error("{error}{}", status.as_ref().map(|status| format!(" ({status})")).unwrap_or_default())]
    Lost {
        /// What became of it.
        error: ChannelError,
        /// How it ended, if it did.
        status: Option<ExitStatus>,
    },
    /// Someone wants an end instead.
    #[error("this daemon was told to stop")]
    Stopping,
    /// It says something else than it should.
    #[error("the new process does not keep to the order of an upgrade")]
    Confused,
    /// Something of this process.
    #[error("{what} can't be handed over: {error}")]
    Own {
        /// What.
        what: &'static str,
        /// Why.
        error: String,
    },
}

impl UpgradeError {
    /// That something of this process can't be handed over.
    pub(super) fn own(what: &'static str, error: &impl std::fmt::Display) -> Self {
        Self::Own { what, error: error.to_string() }
    }
}

/// A process that was started to succeed this one. Dropped before it [is ready](Ready), it is ended.
#[derive(Debug)]
pub(crate) struct Successor {
    /// Until it is on its own.
    pid: Option<Pid>,
    channel: Channel,
}

/// One that has everything that can fail.
#[derive(Debug)]
pub(crate) struct Ready {
    successor: Successor,
    pub(crate) prepared: Prepared,
}

/// One that has taken everything in, and waits for the word.
#[derive(Debug)]
pub(crate) struct Taken(Successor);

impl Successor {
    /// Starts the program anew, as it is on disk now, and waits until it has what it needs. To be called where waiting is
    /// allowed.
    ///
    /// # Errors
    /// When it does not get so far; it has ended then.
    pub(crate) fn start(
        doors: Doors,
        data_plane: Inheritance,
        vips: Vec<Prefix>,
    ) -> Result<Ready, UpgradeError> {
        let until = Instant::now() + START;
        let mut successor = Self::spawn(until)?;
        let (meta, sockets) = data_plane.into_parts();
        let Doors { admin, metrics } = doors;
        let offer = ToSuccessor::Offer(Offer {
            pid: std::process::id(),
            metrics: metrics.as_ref().map(|(address, _)| *address),
            data_plane: meta,
            vips,
        });
        let metrics = metrics.iter().map(|(_, socket)| socket.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(admin.as_fd()).chain(metrics).chain(sockets.iter().map(AsFd::as_fd)).collect();
        successor.send(&offer, &descriptors, left(until))?;
        match successor.receive(left(until))? {
            ToPredecessor::Prepared(prepared) => Ok(Ready { successor, prepared }),
            ToPredecessor::Begun { .. } | ToPredecessor::Accepted | ToPredecessor::Failed(_) => {
                Err(UpgradeError::Confused)
            }
        }
    }

    fn spawn(until: Instant) -> Result<Self, UpgradeError> {
        let mut arguments = env::args_os();
        let program = arguments.next().unwrap_or_else(|| "proximad".into());
        let failed = |error| UpgradeError::Spawn { program: program.display().to_string(), error };
        let (here, there) = UnixStream::pair().map_err(failed)?;
        let parent = Command::new(&program)
            .args(arguments)
            .env(VARIABLE, FORMAT.to_string())
            .env(DETACH, "1")
            // Of this process; the service manager watches the other from the commit on.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(there)))
            .spawn()
            .map_err(failed)?;
        let status = end_of(parent, until).map_err(failed)?;
        if !status.success() {
            return Err(UpgradeError::Lost { error: ChannelError::Ended, status: Some(status) });
        }
        let mut successor = Self { pid: None, channel: Channel::new(here) };
        match successor.receive(left(until))? {
            ToPredecessor::Begun { pid } => successor.pid = Some(Pid::from_raw(pid.cast_signed())),
            ToPredecessor::Prepared(_) | ToPredecessor::Accepted | ToPredecessor::Failed(_) => {
                return Err(UpgradeError::Confused);
            }
        }
        Ok(successor)
    }

    fn send(
        &mut self,
        message: &ToSuccessor,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<(), UpgradeError> {
        // One that has failed says so before it ends, and reads nothing any more.
        self.channel.send(message, descriptors, patience).map_err(|error| match self.receive(LAST_MOMENTS) {
            Err(why @ UpgradeError::Failed(_)) => why,
            _ => UpgradeError::Lost { error, status: None },
        })
    }

    fn receive(&mut self, patience: Duration) -> Result<ToPredecessor, UpgradeError> {
        match self.channel.receive(patience) {
            Ok((ToPredecessor::Failed(error), _)) => Err(UpgradeError::Failed(error)),
            Ok((said, _)) => Ok(said),
            Err(error) => Err(UpgradeError::Lost { error, status: None }),
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Waits for the end of a child, and ends it when it takes too long.
fn end_of(mut child: Child, until: Instant) -> std::io::Result<ExitStatus> {
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()
}

impl Drop for Successor {
    fn drop(&mut self) {
        let Some(pid) = self.pid else { return };
        if self.channel.is_ended() {
            return; // its number may be another's by now
        }
        kill(pid, Signal::SIGKILL).ok(); // it may have ended by itself
        // It has when its end of the socket is closed: nothing is read by two processes from then on.
        while self.channel.receive::<ToPredecessor>(LAST_MOMENTS).is_ok() {}
    }
}

impl Ready {
    /// Whose process it is.
    pub(crate) fn pid(&self) -> u32 {
        self.successor.pid.map_or(0, |pid| pid.as_raw().cast_unsigned())
    }

    /// Hands it what is known, and waits until it has taken that in, no longer than `until`; sessions stand still meanwhile. To be
    /// called where waiting is allowed.
    ///
    /// # Errors
    /// When it does not get so far; it has ended then.
    pub(crate) fn hand_over(
        self,
        bgp: &Detached,
        bfd: &HandedOver,
        control: ControlState,
        (config, force): (String, bool),
        until: Instant,
    ) -> Result<Taken, UpgradeError> {
        let mut successor = self.successor;
        let session = |peer: &proxima_bgp_speaker::DetachedPeer| BgpSession {
            peer: peer.name.clone(),
            unwritten: peer.unwritten.to_vec(),
            session: peer.session.clone(),
            configured: peer.configured.clone(),
        };
        let state = ToSuccessor::State(Box::new(State {
            config,
            force,
            bgp: BgpState {
                sessions: bgp.peers.iter().map(session).collect(),
                down: bgp.down.clone(),
                listeners: bgp.listeners.len(),
                started: bgp.started,
            },
            bfd: bfd.sessions.clone(),
            control,
        }));
        let sessions = bgp.peers.iter().map(|peer| peer.stream.as_fd());
        let listeners = bgp.listeners.iter().map(AsFd::as_fd);
        let descriptors: Vec<BorrowedFd<'_>> =
            sessions.chain(listeners).chain(bfd.sockets.iter().map(AsFd::as_fd)).collect();
        moment::relative_to(epoch(), || successor.send(&state, &descriptors, left(until)))?;
        match successor.receive(left(until))? {
            ToPredecessor::Accepted => Ok(Taken(successor)),
            ToPredecessor::Begun { .. } | ToPredecessor::Prepared(_) | ToPredecessor::Failed(_) => {
                Err(UpgradeError::Confused)
            }
        }
    }
}

impl Taken {
    /// From here on everything is the successor's.
    ///
    /// # Errors
    /// When it is no longer there; then nothing is.
    pub(crate) fn commit(&mut self, until: Instant) -> Result<(), UpgradeError> {
        self.0.send(&ToSuccessor::Commit, &[], left(until))?;
        self.0.pid = None; // it is on its own
        Ok(())
    }

    /// What only one process may have is free.
    pub(crate) fn release(&self) {
        if let Err(error) = self.0.channel.send(&ToSuccessor::Released, &[], TAKE_OVER) {
            tracing::warn!(%error, "the process that has taken over was not told that all is free");
        }
    }
}
