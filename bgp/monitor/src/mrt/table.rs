//! TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050 §4).

use std::{
    net::{IpAddr, Ipv4Addr},
    time::SystemTime,
};

use bytes::{BufMut, BytesMut};
use proxima_bgp_wire::{Attributes, EncodeError, NextHop};
use proxima_types::{Asn, Family, Prefix};

use super::{attributes, kind, put_address, record};
use crate::time::since_epoch;

const PEER_INDEX_TABLE: u16 = 1;

/// A dump in progress: begun with its peers, then prefix by prefix.
#[derive(Debug, Clone)]
pub struct TableDump {
    peers: u16,
    sequence: u32,
}

/// A peer in the index; entries name it by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedPeer {
    /// Its BGP identifier; 0.0.0.0 while it is not known.
    pub router_id: Ipv4Addr,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// A path to a prefix.
#[derive(Debug, Clone, Copy)]
pub struct RibEntry<'a> {
    /// Position of its peer in the index.
    pub peer: u16,
    /// When it was received.
    pub received: SystemTime,
    /// Its path identifier (RFC 7911); 0 without add-path.
    pub path_id: u32,
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// Where it leads.
    pub next_hop: NextHop,
}

/// A table that a dump can't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableDumpError {
    /// Positions have 16 bits.
    #[error("{0} peers are too many for one dump of the table; it has room for 65535, so make several")]
    TooManyPeers(usize),
    /// The view is told of in 65535 octets at most.
    #[error("a view's name of {0} octets is too long for a dump of the table; 65535 are the most")]
    ViewName(usize),
    /// An entry's peer is not in the index.
    #[error("the path to {prefix} is of peer {peer} in the index, which has {peers}")]
    NoSuchPeer {
        /// The prefix.
        prefix: Prefix,
        /// The position asked for.
        peer: u16,
        /// How many there are.
        peers: u16,
    },
    /// The attributes do not fit.
    #[error("a path to {prefix} can't be dumped: {error}")]
    Attributes {
        /// The prefix.
        prefix: Prefix,
        /// Why not.
        error: EncodeError,
    },
}

impl TableDump {
    /// Appends the PEER_INDEX_TABLE: who dumps, under which view (may be empty), and the peers by position.
    ///
    /// # Errors
    /// When there are too many peers, or the view's name is too long; nothing has been appended then.
    pub fn begin(
        time: SystemTime,
        collector: Ipv4Addr,
        view: &str,
        peers: &[IndexedPeer],
        buf: &mut BytesMut,
    ) -> Result<Self, TableDumpError> {
        let count = u16::try_from(peers.len()).map_err(|_| TableDumpError::TooManyPeers(peers.len()))?;
        let view_len = u16::try_from(view.len()).map_err(|_| TableDumpError::ViewName(view.len()))?;
        record(time, (kind::TABLE_DUMP_V2, PEER_INDEX_TABLE), buf, |buf| {
            buf.put_slice(&collector.octets());
            buf.put_u16(view_len);
            buf.put_slice(view.as_bytes());
            buf.put_u16(count);
            for peer in peers {
                put_peer(peer, buf);
            }
        });
        Ok(Self { peers: count, sequence: 0 })
    }

    /// Appends the paths to a prefix: one record, or several if there are more than 65535 of them, or none if there are
    /// none. With path identifiers (RFC 8050) if one of them is not zero.
    ///
    /// # Errors
    /// When an entry can't be written; nothing has been appended then.
    pub fn prefix(
        &mut self,
        time: SystemTime,
        prefix: Prefix,
        entries: &[RibEntry<'_>],
        buf: &mut BytesMut,
    ) -> Result<(), TableDumpError> {
        let start = buf.len();
        for entries in entries.chunks(usize::from(u16::MAX)) {
            self.record(time, prefix, entries, buf).inspect_err(|_| buf.truncate(start))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        time: SystemTime,
        prefix: Prefix,
        entries: &[RibEntry<'_>],
        buf: &mut BytesMut,
    ) -> Result<(), TableDumpError> {
        let add_path = entries.iter().any(|entry| entry.path_id != 0);
        let subtype = match (prefix.family(), add_path) {
            (Family::Ipv4, false) => 2,
            (Family::Ipv6, false) => 4,
            (Family::Ipv4, true) => 8,
            (Family::Ipv6, true) => 10,
        };
        let mut written = Ok(());
        record(time, (kind::TABLE_DUMP_V2, subtype), buf, |buf| {
            buf.put_u32(self.sequence);
            put_prefix(prefix, buf);
            buf.put_u16(entries.len() as u16);
            written = entries.iter().try_for_each(|entry| self.entry(prefix, entry, add_path, buf));
        });
        self.sequence = self.sequence.wrapping_add(1);
        written
    }

    fn entry(
        &self,
        prefix: Prefix,
        entry: &RibEntry<'_>,
        add_path: bool,
        buf: &mut BytesMut,
    ) -> Result<(), TableDumpError> {
        if entry.peer >= self.peers {
            return Err(TableDumpError::NoSuchPeer { prefix, peer: entry.peer, peers: self.peers });
        }
        buf.put_u16(entry.peer);
        buf.put_u32(since_epoch(entry.received).0);
        if add_path {
            buf.put_u32(entry.path_id);
        }
        let length_at = buf.len();
        buf.put_u16(0);
        attributes::write(entry.attributes, entry.next_hop, buf)
            .map_err(|error| TableDumpError::Attributes { prefix, error })?;
        let len = buf.len() - length_at - 2;
        let length = u16::try_from(len).map_err(|_| {
            let error = EncodeError::AttributesTooLong { len, prefix, max: usize::from(u16::MAX) };
            TableDumpError::Attributes { prefix, error }
        })?;
        buf[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// The AS is always written in four octets.
fn put_peer(peer: &IndexedPeer, buf: &mut BytesMut) {
    const IPV6: u8 = 0x01;
    const FOUR_OCTET_AS: u8 = 0x02;
    buf.put_u8(FOUR_OCTET_AS | if peer.address.is_ipv6() { IPV6 } else { 0 });
    buf.put_slice(&peer.router_id.octets());
    put_address(peer.address, buf);
    buf.put_u32(peer.asn.0);
}

fn put_prefix(prefix: Prefix, buf: &mut BytesMut) {
    let octets = usize::from(prefix.length()).div_ceil(8);
    buf.put_u8(prefix.length());
    match prefix.address() {
        IpAddr::V4(address) => buf.put_slice(&address.octets()[..octets]),
        IpAddr::V6(address) => buf.put_slice(&address.octets()[..octets]),
    }
}
