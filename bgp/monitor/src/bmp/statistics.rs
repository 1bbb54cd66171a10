//! The statistics report (RFC 7854 §4.8).

use bytes::{BufMut, BytesMut};
use proxima_bgp_wire::AfiSafi;
use proxima_types::Family;

use super::{PeerHeader, kind, message, put_header, tlv};

/// One figure about a session. Counters begin at zero with the session and may wrap; gauges are as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Counter: prefixes rejected by the inbound policy.
    RejectedPrefixes(u32),
    /// Counter: prefixes announced again as they were.
    DuplicateAnnouncements(u32),
    /// Counter: withdrawals of what was not here.
    DuplicateWithdrawals(u32),
    /// Counter: UPDATEs with our own cluster in CLUSTER_LIST.
    ClusterListLoops(u32),
    /// Counter: UPDATEs with our own AS in AS_PATH.
    AsPathLoops(u32),
    /// Counter: UPDATEs with our own identifier as ORIGINATOR_ID.
    OriginatorIdLoops(u32),
    /// Gauge: routes in the Adj-RIB-In, of all families.
    AdjRibIn(u64),
    /// Gauge: routes of the peer chosen as best, of all families.
    LocRib(u64),
    /// Gauge: routes in the Adj-RIB-In of a family.
    AdjRibInOf(Family, u64),
    /// Gauge: routes of the peer chosen as best, of a family.
    LocRibOf(Family, u64),
    /// Counter: UPDATEs treated as withdrawals (RFC 7606).
    TreatAsWithdrawUpdates(u32),
    /// Counter: prefixes withdrawn by such UPDATEs.
    TreatAsWithdrawPrefixes(u32),
    /// Counter: UPDATEs that changed nothing.
    DuplicateUpdates(u32),
}

impl Statistic {
    fn write(self, buf: &mut BytesMut) {
        match self {
            Self::RejectedPrefixes(count) => counter(0, count, buf),
            Self::DuplicateAnnouncements(count) => counter(1, count, buf),
            Self::DuplicateWithdrawals(count) => counter(2, count, buf),
            Self::ClusterListLoops(count) => counter(3, count, buf),
            Self::AsPathLoops(count) => counter(4, count, buf),
            Self::OriginatorIdLoops(count) => counter(5, count, buf),
            Self::AdjRibIn(routes) => tlv(7, &routes.to_be_bytes(), buf),
            Self::LocRib(routes) => tlv(8, &routes.to_be_bytes(), buf),
            Self::AdjRibInOf(family, routes) => gauge_of(9, family, routes, buf),
            Self::LocRibOf(family, routes) => gauge_of(10, family, routes, buf),
            Self::TreatAsWithdrawUpdates(count) => counter(11, count, buf),
            Self::TreatAsWithdrawPrefixes(count) => counter(12, count, buf),
            Self::DuplicateUpdates(count) => counter(13, count, buf),
        }
    }
}

/// Figures about a session.
pub fn statistics(header: &PeerHeader, figures: &[Statistic], buf: &mut BytesMut) {
    message(kind::STATISTICS_REPORT, buf, |buf| {
        put_header(header, buf);
        buf.put_u32(figures.len() as u32);
        for figure in figures {
            figure.write(buf);
        }
    });
}

fn counter(kind: u16, count: u32, buf: &mut BytesMut) {
    tlv(kind, &count.to_be_bytes(), buf);
}

fn gauge_of(kind: u16, family: Family, routes: u64, buf: &mut BytesMut) {
    let AfiSafi { afi, safi } = family.into();
    let mut value = [0; 11];
    value[..2].copy_from_slice(&afi.to_be_bytes());
    value[2] = safi;
    value[3..].copy_from_slice(&routes.to_be_bytes());
    tlv(kind, &value, buf);
}
