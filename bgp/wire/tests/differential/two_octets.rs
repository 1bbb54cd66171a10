//! AS paths and aggregators between two-octet speakers, after RFC 6793 §4.2 and simple enough to be right: the other codecs
//! leave this to their users.

use proxima_bgp_wire::{Aggregator, AsPath, Segment};
use proxima_types::Asn;

/// What stands in AS_PATH.
pub(crate) fn narrow(path: &AsPath) -> AsPath {
    let segments: Vec<_> = path
        .segments()
        .map(|segment| (segment.kind, segment.asns.iter().map(|asn| narrow_asn(*asn)).collect::<Vec<_>>()))
        .collect();
    AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
}

/// What stands in AS_PATH or AGGREGATOR for a number.
pub(crate) fn narrow_asn(asn: Asn) -> Asn {
    if asn.0 > 65535 { Asn::TRANS } else { asn }
}

/// Whether AS4_PATH goes along.
pub(crate) fn needs_as4(path: &AsPath) -> bool {
    path.asns().any(|asn| asn.0 > 65535)
}

/// The path that was meant. Nobody has prepended to these, so both have the same shape.
pub(crate) fn widen(path: AsPath, as4: Option<AsPath>) -> AsPath {
    let Some(as4) = as4 else { return path };
    assert_eq!(narrow(&as4), path, "AS4_PATH is not the path it goes along with");
    as4
}

/// The aggregator that was meant.
pub(crate) fn widen_aggregator(by: Option<Aggregator>, as4: Option<Aggregator>) -> Option<Aggregator> {
    let Some(as4) = as4 else { return by };
    assert_eq!(by, Some(Aggregator { asn: Asn::TRANS, ..as4 }));
    Some(as4)
}
