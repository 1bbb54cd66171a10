//! Handing an established session to another process, which goes on with it: the peer sees nothing.
//!
//! ```text
//!  predecessor                                                    successor
//!  Stop(Leave::Upgrade) ─▶ drain what is unwritten ─▶ detach ──▶ Session::resume ─▶ SetDesired, ReleaseEndOfRib
//!                                     the socket ──────────────▶ under the id that resume returns
//! ```
//!
//! What is handed over: the settings, and both OPENs, from which the terms follow; the routes the peer holds; marks still
//! due to it; families that are disabled; the time left on the timers; a message that has come in part; counters; the
//! peer's routes, if whoever has the table adds them. Nothing is withdrawn before [`Input::ReleaseEndOfRib`] says that the desired state is complete, and what
//! is desired as it was sent is not sent again.
//!
//! The successor's settings take the place of the predecessor's as [`Input::Reconfigure`] has it: in place, or with
//! Cease 6/6 and a new session.
//!
//! BFD says nothing before it has been up in the new process. Where the peer's routes are not handed over, as they would be
//! too many, [`RibChange::PeerUp`] begins with none of them; [`Input::Refresh`] brings them, which a peer takes for any
//! operator's request.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use proxima_bgp_wire::{Message, Negotiated, Open};
use proxima_types::{Family, Prefix, RouteAttributes};
use serde::{Deserialize, Serialize};

use super::{Order, Session, Slot, connections::peer_up};
use crate::{
    ConnectionId, Leave, Local, Output, Settings, Terms,
    adj_rib_out::Inheritance,
    fsm::{Clocks, Fsm, Initiator, Link, Phase},
    interface::{Input, State},
    output::RibChange,
    shared::encoded,
    status::Counters,
    written::{octets, optional_octets},
};

/// The longest send hold time there is: twice the longest hold time.
const LONGEST: Duration = Duration::from_secs(2 * u16::MAX as u64);

/// An established session, for [`Session::resume`]. Times are what is left or has passed, as clocks are not shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The settings it was made and goes on under.
    pub settings: Settings,
    /// Our OPEN as it went out.
    #[serde(with = "octets")]
    pub sent_open: Vec<u8>,
    /// The peer's OPEN as it came.
    #[serde(with = "octets")]
    pub received_open: Vec<u8>,
    /// Our address on the connection.
    pub local: IpAddr,
    /// The link-local address that goes with it.
    pub link_local: Option<Ipv6Addr>,
    /// The subnet that an external peer shares with us, where it is known.
    #[serde(default)]
    pub subnet: Option<Prefix>,
    /// Whether we made the connection.
    pub initiated: bool,
    /// How long the session has been up.
    pub established_for: Duration,
    /// Until the peer has been silent for too long.
    pub hold: Option<Duration>,
    /// Until the next KEEPALIVE is due.
    pub keepalive: Option<Duration>,
    /// Until the peer has taken nothing for too long.
    pub send_hold: Option<Duration>,
    /// A message of the peer that has not come in full.
    #[serde(with = "octets")]
    pub partial_message: Vec<u8>,
    /// The peer's routes, as UPDATEs it might have sent, with End-of-RIB for each family that is complete. `None`: they are
    /// to be asked for.
    #[serde(with = "optional_octets")]
    pub received: Option<Vec<u8>>,
    /// The routes the peer holds.
    pub sent: Vec<(Prefix, RouteAttributes)>,
    /// Families whose End-of-RIB is still to be sent.
    pub end_of_rib_due: Vec<Family>,
    /// Families that have not been sent again in full, as the peer has asked or a next hop has changed.
    pub refresh_due: Vec<Family>,
    /// Families whose routes could not be read, and are not taken for the rest of the session (RFC 7606 §2).
    #[serde(default)]
    pub disabled: Vec<Family>,
    /// Counts.
    pub counters: Counters,
}

/// Why a session could not be resumed. The connection is to be closed without a word, so that a peer with graceful
/// restart keeps our routes until there is another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The snapshot does not hold two OPENs.
    #[error("the session that was handed over can't be read: its {0} is no OPEN; the session begins anew")]
    NotAnOpen(&'static str),
    /// The two OPENs don't agree by the settings that came with them.
    #[error("the session that was handed over contradicts itself: {0}; the session begins anew")]
    Refused(String),
}

impl Session {
    /// A session that is a successor's takes in what it needs should that come to nothing ([`Input::Up`]), and no more.
    pub(super) fn handle_handed_over(&mut self, now: Instant, input: Input) {
        match input {
            Input::Up => self.bring_up(now),
            Input::SetDesired(desired) => self.adj_rib_out.set_desired(desired),
            Input::ReleaseEndOfRib => self.adj_rib_out.release_end_of_rib(),
            Input::PrefixCount { family, count, stale } => self.counts.set(family, (count, stale)),
            Input::Connected { connection, .. } | Input::Accepted { connection, .. } => {
                self.shared.close(connection);
            }
            Input::PrefixesDiscarded { .. }
            | Input::PathsDiscarded { .. }
            | Input::PeerFound
            | Input::Shutdown { .. }
            | Input::Stop(_)
            | Input::Reset
            | Input::Reconfigure(_)
            | Input::ConnectFailed { .. }
            | Input::Received { .. }
            | Input::Written { .. }
            | Input::Closed { .. }
            | Input::Refresh(_)
            | Input::BfdUp
            | Input::BfdDown { .. }
            | Input::BfdAdminDown => {}
        }
    }

    /// What a successor needs to go on with the established session; none if there is none. To be asked for after
    /// [`Leave::Upgrade`](crate::Leave::Upgrade), when what was polled is written in full: the successor begins
    /// its first message where this process ended its last.
    pub fn detach(&self, now: Instant) -> Option<Snapshot> {
        let Phase::Established { link, terms, clocks, since } = self.primary.phase() else { return None };
        let left = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        let Inheritance { sent, end_of_rib_due, again } = self.adj_rib_out.bequeath();
        Some(Snapshot {
            settings: self.shared.settings.clone(),
            sent_open: encoded(&Message::Open(Open::clone(&terms.ours))).to_vec(),
            received_open: terms.peer_bytes.to_vec(),
            local: link.local.address,
            link_local: link.local.link_local,
            subnet: link.local.subnet,
            initiated: link.initiator == Initiator::Local,
            established_for: now.saturating_duration_since(*since),
            hold: left(clocks.hold),
            keepalive: left(clocks.keepalive),
            send_hold: left(clocks.send_hold),
            partial_message: self.primary.inbox.to_vec(),
            received: None,
            sent,
            end_of_rib_due,
            refresh_due: again,
            disabled: self.disabled.iter().collect(),
            counters: self.shared.counters,
        })
    }

    /// Goes on with a session of a predecessor. The connection is to be reported under the id that is returned.
    ///
    /// Where these settings are not those it was made under, that is as with [`Input::Reconfigure`]: what has to begin anew
    /// does, with Cease 6/6.
    ///
    /// # Errors
    /// When the snapshot can't be read, or contradicts itself.
    pub fn resume(
        settings: Settings,
        seed: u64,
        now: Instant,
        snapshot: Snapshot,
    ) -> Result<(Self, ConnectionId), ResumeError> {
        let (mut session, id) = Self::as_it_was(seed, now, snapshot)?;
        session.reconfigure(now, settings);
        Ok((session, id))
    }

    /// What is to be said on the connection of a session of a predecessor that nobody goes on with, before it is closed:
    /// withdrawals of what the peer holds, and the NOTIFICATION of `leave`.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn last_words(now: Instant, snapshot: Snapshot, leave: Leave) -> Result<Vec<u8>, ResumeError> {
        let (mut session, _) = Self::as_it_was(0, now, snapshot)?;
        session.handle(now, Input::Stop(leave));
        let mut words = Vec::new();
        while let Some(output) = session.poll_output() {
            if let Output::Send { bytes, .. } = output {
                words.extend_from_slice(&bytes);
            }
        }
        Ok(words)
    }

    /// The session of the predecessor, under its settings.
    fn as_it_was(seed: u64, now: Instant, snapshot: Snapshot) -> Result<(Self, ConnectionId), ResumeError> {
        let ours = Arc::new(open(&snapshot.sent_open, "sent_open")?);
        let theirs = open(&snapshot.received_open, "received_open")?;
        let terms = Terms::agree(&snapshot.settings, &ours, &theirs, Bytes::from(snapshot.received_open))
            .map_err(|refusal| ResumeError::Refused(refusal.detail))?;
        let mut session = Self::new(snapshot.settings, now, seed);
        let id = session.next_connection();
        let initiator = if snapshot.initiated { Initiator::Local } else { Initiator::Remote };
        let Snapshot { local: address, link_local, subnet, .. } = snapshot;
        let local = Local { address, link_local, subnet };
        let link = Link { id, initiator, local };
        // No timer runs longer, whatever is said of it.
        let ends = |left: Option<Duration>| left.map(|left| now + left.min(LONGEST));
        let clocks = Clocks {
            hold: ends(snapshot.hold),
            keepalive: ends(snapshot.keepalive),
            send_hold: ends(snapshot.send_hold),
        };
        let since = now.checked_sub(snapshot.established_for).unwrap_or(now);
        let terms = Arc::new(terms);
        session.primary = Fsm::resumed(
            Phase::Established { link, terms: terms.clone(), clocks, since },
            BytesMut::from(&snapshot.partial_message[..]),
        );
        session.order = Order::Up;
        session.shared.counters = snapshot.counters;
        session.shared.restart_window = Some(now); // nothing has restarted for the peer
        session.reported = State::Established;
        session.cause = session.primary.cause().clone();
        session.since = Some(since);
        session.rib(RibChange::PeerUp(Box::new(peer_up(link, &terms))));
        let inheritance = Inheritance {
            sent: snapshot.sent,
            end_of_rib_due: snapshot.end_of_rib_due,
            again: snapshot.refresh_due,
        };
        session.adj_rib_out.inherit(inheritance, &terms, local, &session.shared.settings);
        session.up = Some(terms);
        session.disabled = snapshot.disabled.into_iter().collect();
        session.take_handed(now, Bytes::from(snapshot.received.unwrap_or_default()));
        Ok((session, id))
    }
}

impl Session {
    /// Takes the peer's routes in that a predecessor had: nothing was received, so nothing is counted and no timer is set.
    fn take_handed(&mut self, now: Instant, mut stream: Bytes) {
        let counters = self.shared.counters;
        while let Ok(Some((bytes, message))) = self.next_message(Slot::Primary, &mut stream) {
            if let Message::Update(update) = message {
                self.take_update(now, bytes, update);
            }
        }
        self.shared.counters = counters;
    }
}

fn open(bytes: &[u8], which: &'static str) -> Result<Open, ResumeError> {
    match Message::decode(bytes, Negotiated::default()) {
        Ok(Message::Open(open)) => Ok(open),
        Ok(_) | Err(_) => Err(ResumeError::NotAnOpen(which)),
    }
}
