//! BMP version 3 (RFC 7854): each function appends one message, unless it says otherwise.
//!
//! ```text
//!  common header  │ 3 │ length (4) │ type │
//!  per-peer       │ kind │ V L A flags │ distinguisher (8) │ address (16) │ AS (4) │ BGP ID (4) │ seconds, µs (8) │
//! ```
//!
//! A collector is told, in this order: [`initiation`]; for each established session [`peer_up`], its routes
//! ([`announced`]) and their [`end_of_rib`]; from then on messages as they come ([`route_monitoring`]), now and then
//! [`statistics`]; [`peer_down`]; [`termination`].

mod statistics;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::SystemTime,
};

use bytes::{BufMut, BytesMut};
use proxima_bgp_wire::{Attributes, EXTENDED_MAX_LEN, EncodeError, Negotiated, NextHop, Nlri, frame, update};
use proxima_types::{Asn, Family};

pub use statistics::{Statistic, statistics};

use crate::time::since_epoch;

const VERSION: u8 = 3;

/// Message types (§4.1).
mod kind {
    pub(super) const ROUTE_MONITORING: u8 = 0;
    pub(super) const STATISTICS_REPORT: u8 = 1;
    pub(super) const PEER_DOWN: u8 = 2;
    pub(super) const PEER_UP: u8 = 3;
    pub(super) const INITIATION: u8 = 4;
    pub(super) const TERMINATION: u8 = 5;
}

/// Flags of the per-peer header (§4.2).
mod flag {
    /// V: the addresses are IPv6.
    pub(super) const IPV6: u8 = 0x80;
    /// L: after the inbound policy.
    pub(super) const POST_POLICY: u8 = 0x40;
    /// A: AS_PATH has two-octet numbers.
    pub(super) const TWO_OCTET_AS: u8 = 0x20;
}

/// The per-peer header (§4.2): a peer of the global instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerHeader {
    /// The peer's address.
    pub address: IpAddr,
    /// The peer's AS.
    pub asn: Asn,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The routes are those left by the inbound policy, not those received.
    pub post_policy: bool,
    /// UPDATEs of the session have two-octet AS numbers.
    pub two_octet_as: bool,
    /// When what is told happened.
    pub time: SystemTime,
}

/// What [`peer_up`] tells (§4.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerUp<'a> {
    /// Our address on the session.
    pub local_address: IpAddr,
    /// Our TCP port.
    pub local_port: u16,
    /// The peer's TCP port.
    pub remote_port: u16,
    /// The OPEN we sent, the whole message.
    pub sent_open: &'a [u8],
    /// The OPEN we received, the whole message.
    pub received_open: &'a [u8],
    /// The peer's name with us; none if empty.
    pub information: &'a str,
}

/// Why a session ended (§4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerDown<'a> {
    /// We sent this NOTIFICATION, the whole message.
    LocalNotification(&'a [u8]),
    /// We closed without one, after this event of the FSM (RFC 4271 §8.1); 0 if none fits.
    Local {
        /// The event's number.
        event: u16,
    },
    /// The peer sent this NOTIFICATION, the whole message.
    RemoteNotification(&'a [u8]),
    /// The peer closed without one.
    Remote,
    /// The session goes on, but is not told of any more.
    MonitoringEnds,
}

/// Why telling ends (§4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum TerminationReason {
    /// An operator wants it so.
    AdministrativelyClosed = 0,
    /// None of the others.
    Unspecified = 1,
    /// Out of memory or the like.
    OutOfResources = 2,
    /// The collector has this already.
    RedundantConnection = 3,
    /// An operator wants it so, for good.
    PermanentlyClosed = 4,
}

/// Who tells (§4.3): the first message. `information` may be empty.
pub fn initiation(system_name: &str, system_description: &str, information: &str, buf: &mut BytesMut) {
    message(kind::INITIATION, buf, |buf| {
        if !information.is_empty() {
            tlv(0, information.as_bytes(), buf);
        }
        tlv(1, system_description.as_bytes(), buf);
        tlv(2, system_name.as_bytes(), buf);
    });
}

/// Telling ends (§4.5): the last message.
pub fn termination(reason: TerminationReason, words: &str, buf: &mut BytesMut) {
    message(kind::TERMINATION, buf, |buf| {
        if !words.is_empty() {
            tlv(0, words.as_bytes(), buf);
        }
        tlv(1, &(reason as u16).to_be_bytes(), buf);
    });
}

/// A session is established (§4.10).
pub fn peer_up(header: &PeerHeader, up: &PeerUp<'_>, buf: &mut BytesMut) {
    message(kind::PEER_UP, buf, |buf| {
        put_header(header, buf);
        put_address(up.local_address, buf);
        buf.put_u16(up.local_port);
        buf.put_u16(up.remote_port);
        buf.put_slice(up.sent_open);
        buf.put_slice(up.received_open);
        if !up.information.is_empty() {
            tlv(0, up.information.as_bytes(), buf);
        }
    });
}

/// A session has ended (§4.9).
pub fn peer_down(header: &PeerHeader, why: PeerDown<'_>, buf: &mut BytesMut) {
    message(kind::PEER_DOWN, buf, |buf| {
        put_header(header, buf);
        match why {
            PeerDown::LocalNotification(notification) => {
                buf.put_u8(1);
                buf.put_slice(notification);
            }
            PeerDown::Local { event } => {
                buf.put_u8(2);
                buf.put_u16(event);
            }
            PeerDown::RemoteNotification(notification) => {
                buf.put_u8(3);
                buf.put_slice(notification);
            }
            PeerDown::Remote => buf.put_u8(4),
            PeerDown::MonitoringEnds => buf.put_u8(5),
        }
    });
}

/// An UPDATE, the whole message as it came (§4.6).
pub fn route_monitoring(header: &PeerHeader, update: &[u8], buf: &mut BytesMut) {
    message(kind::ROUTE_MONITORING, buf, |buf| {
        put_header(header, buf);
        buf.put_slice(update);
    });
}

/// Routes received before, all with the same attributes, as UPDATEs written anew (§5): as many messages as hold them;
/// returns how many. `session` is what the session has agreed on.
///
/// # Errors
/// When next hop and prefixes do not fit together, or the attributes leave no room; nothing has been appended then.
pub fn announced(
    header: &PeerHeader,
    session: Negotiated,
    attributes: &Attributes,
    next_hop: NextHop,
    nlri: impl IntoIterator<Item = Nlri>,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let mut updates = BytesMut::new();
    let messages = update::announce(attributes, next_hop, nlri, as_peer(header, session), &mut updates)?;
    route_monitoring_each(header, updates, buf);
    Ok(messages)
}

/// Routes that are gone without a word of the peer, as UPDATEs: as many messages as hold them; returns how many.
pub fn withdrawn(
    header: &PeerHeader,
    session: Negotiated,
    nlri: impl IntoIterator<Item = Nlri>,
    buf: &mut BytesMut,
) -> usize {
    let mut updates = BytesMut::new();
    let messages = update::withdraw(nlri, as_peer(header, session), &mut updates);
    route_monitoring_each(header, updates, buf);
    messages
}

/// How the peer would write an UPDATE.
fn as_peer(header: &PeerHeader, session: Negotiated) -> Negotiated {
    Negotiated { four_octet_as: !header.two_octet_as, ..session.as_the_peer_writes() }
}

fn route_monitoring_each(header: &PeerHeader, mut updates: BytesMut, buf: &mut BytesMut) {
    while let Ok(Some(len)) = frame(&updates, EXTENDED_MAX_LEN) {
        route_monitoring(header, &updates.split_to(len), buf);
    }
}

/// All routes of the family known so far have been told (§5).
pub fn end_of_rib(header: &PeerHeader, family: Family, buf: &mut BytesMut) {
    let mut mark = BytesMut::new();
    update::end_of_rib(family, &mut mark);
    route_monitoring(header, &mark, buf);
}

/// The common header (§4.1) and what `body` writes.
fn message(kind: u8, buf: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = buf.len();
    buf.put_u8(VERSION);
    buf.put_u32(0);
    buf.put_u8(kind);
    body(buf);
    let length = (buf.len() - start) as u32;
    buf[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

fn put_header(header: &PeerHeader, buf: &mut BytesMut) {
    const GLOBAL_INSTANCE: u8 = 0;
    let mut flags = 0;
    for (set, flag) in [
        (header.address.is_ipv6(), flag::IPV6),
        (header.post_policy, flag::POST_POLICY),
        (header.two_octet_as, flag::TWO_OCTET_AS),
    ] {
        flags |= if set { flag } else { 0 };
    }
    buf.put_u8(GLOBAL_INSTANCE);
    buf.put_u8(flags);
    buf.put_u64(0);
    put_address(header.address, buf);
    buf.put_u32(header.asn.0);
    buf.put_slice(&header.router_id.octets());
    let (seconds, micros) = since_epoch(header.time);
    buf.put_u32(seconds);
    buf.put_u32(micros);
}

/// In 16 octets; IPv4 in the last four.
fn put_address(address: IpAddr, buf: &mut BytesMut) {
    match address {
        IpAddr::V4(address) => {
            buf.put_slice(&[0; 12]);
            buf.put_slice(&address.octets());
        }
        IpAddr::V6(address) => buf.put_slice(&address.octets()),
    }
}

/// Information in a type, a length and a value (§4.4); beyond 65535 octets it is cut.
fn tlv(kind: u16, value: &[u8], buf: &mut BytesMut) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    buf.put_u16(kind);
    buf.put_u16(value.len() as u16);
    buf.put_slice(value);
}
