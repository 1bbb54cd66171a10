//! Routers of other makers, to be asked what became of the routes they were sent.
//!
//! | make | asked by | puts routes into the kernel |
//! |---|---|---|
//! | BIRD 2 | its control socket | yes |
//! | FRR: zebra, bgpd, bfdd | its daemons' sockets, in JSON | yes, by zebra |
//! | GoBGP | `gobgp -j` | no: that needs a zebra whose protocol it speaks, and FRR's of the same Debian release is too new (it panics) |
//! | OpenBGPD, portable | `bgpctl -j` | no: outside OpenBSD it has no access to the kernel's table |
//! | ExaBGP | the JSON it writes to its process | no: it has no routing table at all |
//!
//! A test says what the session shall be like ([`Peering`]) and each router writes that down in its own words. All but
//! BIRD and ExaBGP drop a neighbour's routes without a policy (RFC 8212): every configuration accepts them, and sets
//! LOCAL_PREF to 0 (GoBGP: 1) where GRACEFUL_SHUTDOWN is on a route (RFC 8326 §4.2).
//!
//! Routers run inside a [`crate::sandbox`] only: they find accounts and directories of their own there ([`private`]).

mod bird;
mod exabgp;
pub mod fib;
pub(crate) mod frr;
mod gobgp;
mod openbgpd;
mod path;
mod peering;
pub(crate) mod private;
mod program;
pub(crate) mod vty;

use std::{fmt, path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};

pub use self::{
    path::{Announcement, Path, RawAttribute},
    peering::{Bfd, Neighbour, Peering, Role},
};
use crate::{error::Result, netns::NetNs};

/// A daemon that does not answer by then never will, however busy the machine is.
const START: Duration = Duration::from_mins(1);

/// Whose router it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
    /// GoBGP.
    GoBgp,
    /// OpenBGPD, the portable version.
    OpenBgpd,
    /// ExaBGP.
    ExaBgp,
}

impl Make {
    /// Whether its routes end up in the kernel.
    pub fn has_fib(self) -> bool {
        matches!(self, Self::Bird | Self::Frr)
    }

    /// Whether it chooses among routes, and so has a LOCAL_PREF for them.
    pub fn has_rib(self) -> bool {
        self != Self::ExaBgp
    }

    /// A router of this make, not started yet.
    pub fn at(self, site: Site) -> Result<Box<dyn Router>> {
        private::prepare(&site.dir)?;
        Ok(match self {
            Self::Bird => Box::new(bird::Bird::new(site)),
            Self::Frr => Box::new(frr::Frr::new(site)),
            Self::GoBgp => Box::new(gobgp::GoBgp::new(site)),
            Self::OpenBgpd => Box::new(openbgpd::OpenBgpd::new(site)),
            Self::ExaBgp => Box::new(exabgp::ExaBgp::new(site)),
        })
    }
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::GoBgp => "GoBGP",
            Self::OpenBgpd => "OpenBGPD",
            Self::ExaBgp => "ExaBGP",
        })
    }
}

/// Where a router runs.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its host.
    pub ns: NetNs,
    /// Its own directory: configuration, sockets, logs. A short path, since socket names are limited.
    pub dir: PathBuf,
}

/// A router with one BGP session.
pub trait Router: fmt::Debug {
    /// Whose it is.
    fn make(&self) -> Make;

    /// Writes the configuration and starts the programs; returns when they can be asked. Called again after
    /// [`Router::kill`], it is a restart: the router says so to its peer if graceful restart is on.
    ///
    /// # Errors
    /// [`crate::Error::Spec`] with the reason if this make cannot do what `peering` asks for.
    fn start(&mut self, peering: &Peering) -> Result<()>;

    /// The session as the router sees it.
    fn session(&self) -> Result<Session>;

    /// The paths to exactly this prefix that the PoP sent and that it may use, the best one first.
    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>>;

    /// Sends this route to the PoP, beside those announced already.
    fn announce(&mut self, route: &Announcement) -> Result<()>;

    /// Takes back every route to this prefix.
    fn withdraw(&mut self, prefix: Prefix) -> Result<()>;

    /// Leaves out every route to this prefix at the next start.
    fn forget(&mut self, prefix: Prefix);

    /// Asks the PoP to send all its routes of one family again (RFC 2918).
    fn refresh(&mut self, family: Family) -> Result<()>;

    /// Ends the session for good with a shutdown communication (RFC 9003).
    fn shut_down(&mut self, reason: &str) -> Result<()>;

    /// Sends its BGP daemon a signal, and the one that speaks BFD where that is another.
    fn signal(&self, signal: Signal) -> Result<()>;

    /// Takes BFD with the PoP down as an operator does, who leaves BGP up (RFC 5880 §6.8.16).
    fn bfd_admin_down(&mut self) -> Result<()> {
        Err(peering::cannot(self.make(), "tell its peer that its BFD is taken down"))
    }

    /// Kills its BGP daemon with SIGKILL and waits for its end; what installs its routes goes on, where that is
    /// another program.
    fn kill(&mut self) -> Result<()>;

    /// An error if one of its programs has ended on its own.
    fn check(&self) -> Result<()>;

    /// What its programs have written so far.
    fn log(&self) -> String;
}

/// A BGP session as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// Whether it is established.
    pub established: bool,
    /// The negotiated hold time in seconds, where the router tells and the session stands.
    pub hold_time: Option<u64>,
    /// Everything the router says about the session, in its own words.
    pub told: String,
}
