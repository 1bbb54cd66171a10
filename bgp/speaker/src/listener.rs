//! Listening sockets: what guards them, and the task that hands each connection to the peer it comes from.
//!
//! Who is not configured, or comes another way than configured, is told so (Cease 6/5, RFC 4486 §4) and closed. That costs a source little and us less: at
//! most [`MAX_REJECTING`] such connections live at once, the rest are dropped without a word, and the log says it
//! once per [`LOG_INTERVAL`].
//!
//! Guards are set per peer, so that a change of one touches no other: a TCP MD5 key for its address or range, and a
//! rule of the TTL filter ([`gtsm`]).

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use proxima_bgp_wire::{ErrorCode, Message, Negotiated, Notification};
use proxima_sys::Md5Scope;
use proxima_types::{Family, PeerName, Prefix};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::{
    Distance, GuardError, Password, PeerConfig, Remote,
    connection::linger,
    gtsm,
    roster::{Refused, Roster},
};

/// Rejected connections that may be open at once.
const MAX_REJECTING: usize = 16;
/// The least time between two log lines about rejected connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after the kernel could not give us a connection, for want of file descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a peer asks of the listening sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    /// Where its connections come from.
    scope: Prefix,
    password: Option<Password>,
    /// 0 for any.
    least_ttl: u8,
}

impl Guard {
    /// That of a peer; none for one at the end of a link that is not known yet.
    pub(crate) fn of(peer: &PeerConfig) -> Option<Self> {
        match peer.remote {
            Remote::Address { address, .. } => Some(Self::at(peer, Prefix::host(address.to_canonical()))),
            Remote::Range { prefix, .. } => Some(Self::at(peer, prefix)),
            Remote::Interface { .. } => None,
        }
    }

    /// That of a peer whose connections come from `scope`.
    pub(crate) fn at(peer: &PeerConfig, scope: Prefix) -> Self {
        let least_ttl = match peer.distance {
            Distance::Security(hops) => gtsm::least_ttl(hops.get()),
            Distance::Usual | Distance::Multihop(_) => 0,
        };
        Self { scope, password: peer.password.clone(), least_ttl }
    }
}

/// All listening sockets, with the guards that are set on them.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<Arc<TcpListener>>,
    guards: BTreeMap<PeerName, Guard>,
}

impl Listeners {
    pub(crate) fn new(sockets: Vec<TcpListener>) -> Self {
        Self { sockets: sockets.into_iter().map(Arc::new).collect(), guards: BTreeMap::new() }
    }

    pub(crate) fn sockets(&self) -> &[Arc<TcpListener>] {
        &self.sockets
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Sets, changes or takes away (None) what guards the connections of a peer; others are not touched.
    ///
    /// # Errors
    /// When the kernel refuses; the guard is as before then, as far as the kernel let it be.
    pub(crate) fn guard(&mut self, peer: &PeerName, guard: Option<Guard>) -> Result<(), GuardError> {
        let before = self.guards.get(peer).cloned();
        if before == guard {
            return Ok(());
        }
        match &guard {
            Some(guard) => self.guards.insert(peer.clone(), guard.clone()),
            None => self.guards.remove(peer),
        };
        let set = self.set_keys(before.as_ref(), guard.as_ref()).and_then(|()| self.set_filters());
        if set.is_err() {
            match &before {
                Some(before) => self.guards.insert(peer.clone(), before.clone()),
                None => self.guards.remove(peer),
            };
            self.set_keys(guard.as_ref(), before.as_ref()).ok(); // the first error is the one to tell
            self.set_filters().ok();
        }
        set
    }

    /// Whether connections of `peer` from `address` have to be signed with its password, where it has one. At the end of a
    /// link that is so only once its address is known and the key set for it; for all others it is so from the start.
    pub(crate) fn signs(&self, peer: &PeerConfig, address: IpAddr) -> bool {
        let guarded = |guard: &Guard| guard.scope.contains(address) && guard.password == peer.password;
        !matches!(peer.remote, Remote::Interface { .. })
            || peer.password.is_none()
            || self.guards.get(&peer.name).is_some_and(guarded)
    }

    fn set_keys(&self, before: Option<&Guard>, now: Option<&Guard>) -> Result<(), GuardError> {
        let scope = |guard: &Guard| guard.password.is_some().then_some(guard.scope);
        if let Some(old) = before.and_then(scope)
            && now.and_then(scope) != Some(old)
        {
            self.clear_key(old)?;
        }
        if let Some(Guard { scope, password: Some(key), .. }) = now
            && before.is_none_or(|before| (before.scope, before.password.as_ref()) != (*scope, Some(key)))
        {
            self.set_key(*scope, key.as_bytes())?;
        }
        Ok(())
    }

    /// Sets all guards once more, after another process had the sockets too.
    pub(crate) fn guard_again(&self) -> Result<(), GuardError> {
        for Guard { scope, password, .. } in self.guards.values() {
            match password {
                Some(key) => self.set_key(*scope, key.as_bytes())?,
                // A kernel without signatures has no key either.
                None => self.clear_key(*scope).unwrap_or_default(),
            }
        }
        self.set_filters()
    }

    fn clear_key(&self, scope: Prefix) -> Result<(), GuardError> {
        match self.set_key(scope, b"") {
            // There is none: a guard that failed half-way, or that another process did not set.
            Err(GuardError::Md5 { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn set_key(&self, scope: Prefix, key: &[u8]) -> Result<(), GuardError> {
        let md5 = Md5Scope { address: scope.address(), prefix_length: scope.length(), interface: None };
        for socket in self.of_family(scope.family()) {
            proxima_sys::set_tcp_md5(&**socket, md5, key)
                .map_err(|error| GuardError::Md5 { scope, error })?;
        }
        Ok(())
    }

    fn set_filters(&self) -> Result<(), GuardError> {
        let rules: Vec<gtsm::Rule> =
            self.guards.values().map(|guard| (guard.scope, guard.least_ttl)).collect();
        for family in Family::ALL {
            for socket in self.of_family(family) {
                gtsm::filter(&**socket, family, &rules).map_err(GuardError::Ttl)?;
            }
        }
        Ok(())
    }

    fn of_family(&self, family: Family) -> impl Iterator<Item = &Arc<TcpListener>> {
        self.sockets.iter().filter(move |socket| {
            socket.local_addr().is_ok_and(|address| address.is_ipv4() == (family == Family::Ipv4))
        })
    }
}

/// Takes connections until the speaker is gone; none while `accepting` says no.
pub(crate) async fn run(
    listener: Arc<TcpListener>,
    roster: Weak<Roster>,
    mut accepting: watch::Receiver<bool>,
) {
    let rejecting = Arc::new(Semaphore::new(MAX_REJECTING));
    let mut log = RateLimited::default();
    while becomes(&mut accepting, true).await {
        let accepted = tokio::select! {
            biased;
            _ = becomes(&mut accepting, false) => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => match hand_in(stream, from, &roster, &mut accepting).await {
                Ok(()) => {}
                Err((refused, stream)) => {
                    log.warn(Instant::now(), &refused.to_string());
                    if refused.is_rejection() {
                        reject(stream, &rejecting);
                    }
                }
            },
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                log.warn(Instant::now(), &format!("cannot accept connections: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hands a connection to its peer. One that was accepted just before the speaker stood still waits here for what comes of it.
async fn hand_in(
    mut stream: TcpStream,
    from: SocketAddr,
    roster: &Weak<Roster>,
    accepting: &mut watch::Receiver<bool>,
) -> Result<(), (Refused, TcpStream)> {
    loop {
        let Some(roster) = roster.upgrade() else { return Ok(()) };
        match roster.dispatch(stream, from) {
            Err((Refused::StandsStill, again)) => stream = again,
            done => return done,
        }
        drop(roster);
        becomes(accepting, true).await;
    }
}

/// Waits until it says so; false when nobody is left who would.
async fn becomes(accepting: &mut watch::Receiver<bool>, what: bool) -> bool {
    accepting.wait_for(|now| *now == what).await.is_ok()
}

fn reject(stream: TcpStream, rejecting: &Arc<Semaphore>) {
    let Ok(permit) = rejecting.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        linger(stream, &connection_rejected()).await;
        drop(permit);
    });
}

fn connection_rejected() -> BytesMut {
    let mut bytes = BytesMut::new();
    Message::Notification(Notification::new(ErrorCode::CONNECTION_REJECTED, []))
        .encode(Negotiated::default(), &mut bytes)
        .expect("a NOTIFICATION without data always fits");
    bytes
}

/// The connection was gone before we took it; the next may be well.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A log line at most every so often, with how many were left out.
#[derive(Debug, Default)]
struct RateLimited {
    last: Option<Instant>,
    left_out: u64,
}

impl RateLimited {
    fn warn(&mut self, now: Instant, line: &str) {
        if self.last.is_some_and(|last| now < last + LOG_INTERVAL) {
            self.left_out += 1;
            return;
        }
        self.last = Some(now);
        match std::mem::take(&mut self.left_out) {
            0 => tracing::warn!("BGP: {line}"),
            left_out => tracing::warn!("BGP: {line} ({left_out} more like it)"),
        }
    }
}
