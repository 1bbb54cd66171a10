//! The list itself: who is in it, and whose a connection is.

use std::net::{IpAddr, SocketAddr};

use proxima_types::PeerName;

use super::{Entry, Inner, Kind, PeerPort, Told};
use crate::{PeerConfig, Remote, socket};

impl Inner {
    /// Whose a connection from there is; see the table at the top.
    pub(super) fn owner(&self, from: SocketAddr) -> Option<usize> {
        let address = from.ip().to_canonical();
        let scope = match (from, address) {
            (SocketAddr::V6(from), IpAddr::V6(address)) if address.is_unicast_link_local() => from.scope_id(),
            _ => 0,
        };
        let on_link = |interface: &str| scope != 0 && socket::interface_index(interface) == Some(scope);
        let exact = |entry: &Entry| match &entry.config.remote {
            Remote::Address { address: configured, interface } => {
                configured.to_canonical() == address
                    && (scope == 0 || interface.as_deref().is_none_or(on_link))
            }
            Remote::Interface { interface } => {
                on_link(interface)
                    && entry
                        .port()
                        .and_then(|port| port.neighbour.as_ref()?.borrow().at)
                        .is_none_or(|known| known.ip() == address)
            }
            Remote::Range { .. } => false,
        };
        let length = |entry: &Entry| match entry.config.remote {
            Remote::Range { prefix, .. } if prefix.contains(address) => Some(prefix.length()),
            _ => None,
        };
        self.entries.iter().position(exact).or_else(|| {
            let ranges = self.entries.iter().enumerate().filter_map(|(at, entry)| Some((length(entry)?, at)));
            ranges.max_by_key(|(length, _)| *length).map(|(_, at)| at)
        })
    }

    pub(super) fn members(&self, range: &PeerName) -> Vec<PeerPort> {
        let members = self.entries.iter().filter(|entry| entry.is_member_of(range));
        members.filter_map(Entry::port).cloned().collect()
    }

    /// What becomes of a range's members: a new configuration, or none where they are no longer in the range.
    pub(super) fn change_members(&mut self, range: &PeerConfig) -> Told {
        let Remote::Range { prefix, .. } = range.remote else { return Vec::new() };
        let mut told = Vec::new();
        self.entries.retain_mut(|entry| {
            let Some((of, address)) = entry.config.name.as_member() else { return true };
            let Entry { config, kind: Kind::Session(port) } = entry else { return true };
            if of != range.name {
                return true;
            }
            let stays = prefix.contains(address);
            if stays {
                *config = range.member(address);
            }
            told.push((port.clone(), stays.then(|| config.clone())));
            stays
        });
        told
    }
}

impl Entry {
    pub(super) fn port(&self) -> Option<&PeerPort> {
        match &self.kind {
            Kind::Session(port) => Some(port),
            Kind::Range { .. } => None,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        self.config.name.as_member().is_some()
    }

    pub(super) fn is_member_of(&self, range: &PeerName) -> bool {
        self.config.name.as_member().is_some_and(|(of, _)| of == *range)
    }
}
