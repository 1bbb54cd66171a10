//! Sets of attributes as a RIB holds them: compact, and equal when they mean the same.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use proxima_bgp_wire::{
    Aggregator, AsPath, Attributes, NextHop, Nlri, Rare, RareAttributes, Segment, SegmentKind,
};
use proxima_types::Asn;

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn path(segments: &[(SegmentKind, &[u32])]) -> AsPath {
    let owned: Vec<(SegmentKind, Vec<Asn>)> =
        segments.iter().map(|(kind, asns)| (*kind, asns.iter().copied().map(Asn).collect())).collect();
    AsPath::from_segments(owned.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
}

#[test]
fn a_set_of_attributes_takes_few_octets_beside_its_lists() {
    assert!(size_of::<Attributes>() <= 88, "{}", size_of::<Attributes>());
    assert!(size_of::<AsPath>() <= 16 && size_of::<Rare>() <= 8);
    assert!(size_of::<Nlri>() <= 24 && size_of::<NextHop>() <= 36);
}

#[test]
fn rare_attributes_are_equal_however_they_came_to_be_unset() {
    let aggregator = Some(Aggregator { asn: Asn(7), router_id: [192, 0, 2, 1].into() });
    let mut touched = Attributes::default();
    touched.rare.aggregator = aggregator;
    assert_ne!(touched, Attributes::default());
    let set = Attributes {
        rare: RareAttributes { aggregator, ..RareAttributes::default() }.into(),
        ..Attributes::default()
    };
    assert_eq!((&touched, hash(&touched)), (&set, hash(&set)));

    touched.rare.aggregator = None;
    assert_eq!(touched, Attributes::default());
    assert_eq!(hash(&touched), hash(&Attributes::default()));
    assert_eq!(Rare::from(RareAttributes::default()), Rare::default());
}

#[test]
fn a_path_is_as_long_as_route_selection_counts_it() {
    use SegmentKind::{Sequence, Set};
    let cases = [
        (AsPath::default(), 0, None, None, ""),
        (path(&[(Sequence, &[7, 8, 9])]), 3, Some(7), Some(9), "7 8 9"),
        (path(&[(Sequence, &[7, 8]), (Set, &[9, 10])]), 3, Some(7), None, "7 8 {9,10}"),
        (path(&[(Set, &[9, 10]), (Sequence, &[7])]), 2, None, Some(7), "{9,10} 7"),
        (path(&[(Sequence, &[]), (Set, &[]), (Sequence, &[1])]), 1, Some(1), Some(1), "1"),
    ];
    for (path, length, neighbour, origin, text) in cases {
        assert_eq!(path.to_string(), text);
        assert_eq!(path.length(), length, "{text}");
        assert_eq!(path.neighbour(), neighbour.map(Asn), "{text}");
        assert_eq!(path.origin(), origin.map(Asn), "{text}");
        assert_eq!(path.is_empty(), text.is_empty());
        assert!(path.asns().all(|asn| path.contains(asn)));
        assert!(!path.contains(Asn(4711)));
    }
    assert_eq!(AsPath::sequence([]), AsPath::default());
    assert_eq!(AsPath::sequence([Asn(7), Asn(8)]), path(&[(Sequence, &[7, 8])]));
    assert_ne!(path(&[(Set, &[7, 8])]), path(&[(Sequence, &[7, 8])]));
}
