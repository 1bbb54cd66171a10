//! MRT records (RFC 6396; with path identifiers, RFC 8050): each function appends one record, unless it says otherwise.
//!
//! ```text
//!  │ seconds (4) │ type (2) │ subtype (2) │ length (4) │ [microseconds (4)] │ …
//!
//!  16, 17  BGP4MP, BGP4MP_ET   message, state_change   what a session sent, received and came to
//!  13      TABLE_DUMP_V2       TableDump               the table: an index of peers, then prefix by prefix
//! ```
//!
//! A file is nothing but records one after the other.

mod attributes;
mod table;

use std::{net::IpAddr, time::SystemTime};

use bytes::{BufMut, BytesMut};
use proxima_types::Asn;

pub use table::{IndexedPeer, RibEntry, TableDump, TableDumpError};

use crate::time::since_epoch;

/// Record types (§4).
mod kind {
    pub(super) const TABLE_DUMP_V2: u16 = 13;
    pub(super) const BGP4MP_ET: u16 = 17;
}

/// The two ends of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The peer's AS.
    pub peer_as: Asn,
    /// Our AS.
    pub local_as: Asn,
    /// The peer's address.
    pub peer: IpAddr,
    /// Our address, of the same family.
    pub local: IpAddr,
    /// The kernel's number of the interface; 0 if it is of no interest.
    pub interface: u16,
}

/// How a message is written and where it was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageForm {
    /// AS numbers have four octets in AS_PATH and AGGREGATOR (RFC 6793).
    pub four_octet_as: bool,
    /// The prefixes in it have path identifiers (RFC 7911).
    pub add_path: bool,
    /// We sent it; else we received it.
    pub sent: bool,
}

/// States of a session (RFC 4271 §8.2.2), by number as in MRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum State {
    /// Refuses all connections.
    Idle = 1,
    /// Waits for its TCP connection.
    Connect = 2,
    /// Waits to try again, or for the peer to connect.
    Active = 3,
    /// Has sent OPEN.
    OpenSent = 4,
    /// Has received OPEN too.
    OpenConfirm = 5,
    /// Exchanges routes.
    Established = 6,
}

/// A BGP message, whole (§4.4.2, §4.4.3; RFC 8050 §3): BGP4MP_ET, with microseconds.
pub fn message(time: SystemTime, ends: &Ends, form: MessageForm, message: &[u8], buf: &mut BytesMut) {
    let subtype = match (form.four_octet_as, form.sent, form.add_path) {
        (false, false, false) => 1,
        (true, false, false) => 4,
        (false, true, false) => 6,
        (true, true, false) => 7,
        (false, false, true) => 8,
        (true, false, true) => 9,
        (false, true, true) => 10,
        (true, true, true) => 11,
    };
    record_with_micros(time, subtype, buf, |buf| {
        put_ends(ends, form.four_octet_as, buf);
        buf.put_slice(message);
    });
}

/// A session has come from one state to another (BGP4MP_STATE_CHANGE_AS4, §4.4.4): BGP4MP_ET, with microseconds.
pub fn state_change(time: SystemTime, ends: &Ends, from: State, to: State, buf: &mut BytesMut) {
    const STATE_CHANGE_AS4: u16 = 5;
    record_with_micros(time, STATE_CHANGE_AS4, buf, |buf| {
        put_ends(ends, true, buf);
        buf.put_u16(from as u16);
        buf.put_u16(to as u16);
    });
}

fn record_with_micros(time: SystemTime, subtype: u16, buf: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let (_, micros) = since_epoch(time);
    record(time, (kind::BGP4MP_ET, subtype), buf, |buf| {
        buf.put_u32(micros);
        body(buf);
    });
}

/// The common header (§2) and what `body` writes.
fn record(
    time: SystemTime,
    (kind, subtype): (u16, u16),
    buf: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut),
) {
    let (seconds, _) = since_epoch(time);
    buf.put_u32(seconds);
    buf.put_u16(kind);
    buf.put_u16(subtype);
    let length_at = buf.len();
    buf.put_u32(0);
    body(buf);
    let length = (buf.len() - length_at - 4) as u32;
    buf[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_ends(ends: &Ends, four_octet_as: bool, buf: &mut BytesMut) {
    for asn in [ends.peer_as, ends.local_as] {
        if four_octet_as {
            buf.put_u32(asn.0);
        } else {
            buf.put_u16(asn.two_octets());
        }
    }
    buf.put_u16(ends.interface);
    buf.put_u16(if ends.peer.is_ipv4() { 1 } else { 2 });
    // The format has one family for both; a local address of the other, which no TCP connection has, is left zero.
    put_address(ends.peer, buf);
    match (ends.peer, ends.local) {
        (IpAddr::V4(_), IpAddr::V6(_)) => buf.put_slice(&[0; 4]),
        (IpAddr::V6(_), IpAddr::V4(_)) => buf.put_slice(&[0; 16]),
        (_, local) => put_address(local, buf),
    }
}

fn put_address(address: IpAddr, buf: &mut BytesMut) {
    match address {
        IpAddr::V4(address) => buf.put_slice(&address.octets()),
        IpAddr::V6(address) => buf.put_slice(&address.octets()),
    }
}
