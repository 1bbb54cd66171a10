//! The process that goes, as the one that comes sees it.

use std::{
    env,
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::{Command, ExitCode},
    time::Duration,
};

use proxima_bfd_io::HandedOver;
use proxima_bgp_speaker::{Detached, DetachedPeer};
use proxima_proxy::{Inheritance, InheritanceError};
use proxima_types::{Prefix, moment};

use super::{
    BgpSession, ControlState, DETACH, FORMAT, Offer, Prepared, START, State, TAKE_OVER, ToPredecessor,
    ToSuccessor, VARIABLE,
    channel::{Channel, ChannelError},
    epoch,
};

/// How long the decision to hand over may take, once everything is prepared: the predecessor may be busy.
const DECISION: Duration = Duration::from_mins(1);
/// How long the predecessor may take to let go of what only one may have.
const RELEASE: Duration = Duration::from_mins(1);

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredecessorError {
    /// The socket is none.
    #[error("{VARIABLE} is set, but the standard input is no socket of another proximad: {0}; unset it")]
    NoSocket(io::Error),
    /// It has ended, or gone on without us.
    #[error("the process to be succeeded goes on by itself: {0}")]
    Lost(#[from] ChannelError),
    /// Another version.
    #[error(
        "the running proximad hands over in format {theirs}, and this one takes over in format {FORMAT}; use `proxima restart`, or `systemctl restart`"
    )]
    Format {
        /// The predecessor's.
        theirs: String,
    },
    /// The new file is one that a reload would refuse.
    #[error("{0}; upgrade with --force if that is meant")]
    Refused(String),
    /// The text of the configuration in force means nothing to this version.
    #[error(
        "this version can't read the configuration in force, and so not tell what would change; upgrade with --force all the same: {0}"
    )]
    Unreadable(String),
    /// What came is not what was announced.
    #[error("the running proximad does not keep to the order of an upgrade; use `proxima restart`")]
    Confused,
    /// The data plane's sockets.
    #[error("the sockets of the running proximad: {0}")]
    DataPlane(#[from] InheritanceError),
}

/// In the parent of a successor: starts that, and returns how this process is to end. `None` anywhere else.
pub(crate) fn detach() -> Option<ExitCode> {
    env::var_os(DETACH)?;
    let mut arguments = env::args_os();
    let program = arguments.next().unwrap_or_else(|| "proximad".into());
    match Command::new(&program).args(arguments).env_remove(DETACH).spawn() {
        Ok(_) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("proximad: can't start {}: {error}", program.display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// The process before this one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
}

/// What it listens on.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) pid: u32,
    pub(crate) admin: UnixListener,
    pub(crate) metrics: Option<(SocketAddr, TcpListener)>,
    pub(crate) data_plane: Inheritance,
    /// The prefixes that are local by its doing.
    pub(crate) vips: Vec<Prefix>,
}

/// What it knows and holds.
#[derive(Debug)]
pub(crate) struct Estate {
    /// The text of the configuration in force there.
    pub(crate) config: String,
    pub(crate) force: bool,
    pub(crate) bgp: Detached,
    pub(crate) bfd: HandedOver,
    pub(crate) control: ControlState,
}

impl Predecessor {
    /// The one that has started this process to succeed it, if one has.
    ///
    /// # Errors
    /// When the environment says so and it is not true.
    pub(crate) fn from_env() -> Result<Option<Self>, PredecessorError> {
        let Some(format) = env::var_os(VARIABLE) else { return Ok(None) };
        let socket = || {
            let socket = io::stdin().as_fd().try_clone_to_owned()?;
            nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
            let stream = UnixStream::from(socket);
            stream.peer_addr()?;
            Ok(stream)
        };
        let predecessor = Self { channel: Channel::new(socket().map_err(PredecessorError::NoSocket)?) };
        let begun = ToPredecessor::Begun { pid: std::process::id() };
        predecessor.channel.send(&begun, &[], TAKE_OVER)?;
        if format.to_str() != Some(FORMAT.to_string().as_str()) {
            let error = PredecessorError::Format { theirs: format.display().to_string() };
            predecessor.tell_failure(&error.to_string());
            return Err(error);
        }
        Ok(Some(predecessor))
    }

    /// What there is to listen on.
    ///
    /// # Errors
    /// When the predecessor is gone, or of a version that this one does not understand.
    pub(crate) fn offer(&self) -> Result<Inherited, PredecessorError> {
        let (said, descriptors) = self.channel.receive(START)?;
        let ToSuccessor::Offer(Offer { pid, metrics, data_plane, vips }) = said else {
            return Err(PredecessorError::Confused);
        };
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(PredecessorError::Confused);
        let admin = next()?.into();
        let metrics =
            metrics.map(|address| Ok::<_, PredecessorError>((address, next()?.into()))).transpose()?;
        let data_plane = Inheritance::from_parts(data_plane, descriptors.collect())?;
        Ok(Inherited { pid, admin, metrics, data_plane, vips })
    }

    /// Everything that can fail is had: waits for what is known and held, which stands still from then on.
    ///
    /// # Errors
    /// When the predecessor goes on by itself.
    pub(crate) fn estate(&self, adopts_admin_socket: bool) -> Result<Estate, PredecessorError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let prepared = ToPredecessor::Prepared(Prepared { version, adopts_admin_socket });
        self.channel.send(&prepared, &[], TAKE_OVER)?;
        let (said, descriptors) = moment::relative_to(epoch(), || self.channel.receive(DECISION))?;
        let ToSuccessor::State(state) = said else { return Err(PredecessorError::Confused) };
        let State { config, force, bgp, bfd, control } = *state;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(PredecessorError::Confused);
        let session = |BgpSession { peer, unwritten, session, configured }| {
            let (stream, unwritten) = (next()?.into(), unwritten.into());
            Ok(DetachedPeer { name: peer, stream, unwritten, session, configured })
        };
        let peers = bgp.sessions.into_iter().map(session).collect::<Result<_, PredecessorError>>()?;
        let listeners = (0..bgp.listeners).map(|_| Ok(next()?.into()));
        let listeners = listeners.collect::<Result<_, PredecessorError>>()?;
        let sockets: Vec<OwnedFd> = descriptors.collect();
        let bfd = HandedOver { sessions: bfd, sockets };
        let bgp = Detached { peers, down: bgp.down, listeners, started: bgp.started };
        Ok(Estate { config, force, bgp, bfd, control })
    }

    /// It is taken in. Waits, without letting any task of this thread run, until it is this process's to act.
    ///
    /// # Errors
    /// When the predecessor goes on by itself: then nothing must have been said to anybody.
    pub(crate) fn wait_for_the_word(&self) -> Result<(), PredecessorError> {
        self.channel.send(&ToPredecessor::Accepted, &[], TAKE_OVER)?;
        // Without a clock of its own: it is the predecessor that decides, or ends.
        match self.channel.receive(DECISION)?.0 {
            ToSuccessor::Commit => Ok(()),
            ToSuccessor::Offer(_) | ToSuccessor::State(_) | ToSuccessor::Released => {
                Err(PredecessorError::Confused)
            }
        }
    }

    /// Tells it why there will be no successor, as far as it still listens.
    pub(crate) fn tell_failure(&self, error: &str) {
        self.channel.send(&ToPredecessor::Failed(error.to_owned()), &[], TAKE_OVER).ok();
    }

    /// Waits until it has let go of what only one process may have, or has ended. To be called where waiting is allowed.
    pub(crate) fn wait_for_release(&self) {
        if let Err(error) = self.channel.receive::<ToSuccessor>(RELEASE) {
            tracing::debug!(%error, "the process before this one has not said that all is free");
        }
    }
}
