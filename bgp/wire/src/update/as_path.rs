//! AS_PATH: the way a route has come (RFC 4271 §4.3, RFC 6793).

use std::fmt;

use proxima_types::Asn;

use super::Fault;
use crate::reader::Reader;

/// An AS path; the nearest AS is first. Empty for routes that begin in our own AS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// The segments, nearest first; none of them empty in a decoded path.
    pub segments: Vec<Segment>,
}

/// A segment of an AS path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Ordered or not.
    pub kind: SegmentKind,
    /// The numbers.
    pub asns: Vec<Asn>,
}

/// Whether the order of a segment means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// Unordered: the route is an aggregate.
    Set = 1,
    /// Ordered, nearest first.
    Sequence = 2,
}

impl AsPath {
    /// One ordered segment; an empty path if there are no numbers.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let asns: Vec<_> = asns.into_iter().collect();
        let segments =
            if asns.is_empty() { Vec::new() } else { vec![Segment { kind: SegmentKind::Sequence, asns }] };
        Self { segments }
    }

    /// Every number, nearest first, those of sets in the order they came.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.segments.iter().flat_map(|segment| segment.asns.iter().copied())
    }

    /// Whether `asn` is anywhere in the path: a loop if it is ours.
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|other| other == asn)
    }

    /// The length as route selection counts it: a set is one (RFC 4271 §9.1.2.2).
    pub fn length(&self) -> usize {
        self.segments.iter().map(Segment::length).sum()
    }

    /// The AS the route began in, if the path ends with an ordered segment.
    pub fn origin(&self) -> Option<Asn> {
        self.segments.last().filter(|segment| segment.kind == SegmentKind::Sequence)?.asns.last().copied()
    }

    /// Reads AS_PATH. Confederation segments are a fault, as we are in no confederation (RFC 5065 §5), and so is
    /// AS 0 (RFC 7607).
    pub(super) fn decode(value: &[u8], four_octet_as: bool) -> Result<Self, Fault> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while !reader.is_empty() {
            segments.push(segment(&mut reader, four_octet_as)?.ok_or(Fault::Value)?);
        }
        Ok(Self { segments })
    }

    /// Reads AS4_PATH, where confederation segments are skipped (RFC 6793 §6).
    pub(super) fn decode_as4(value: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while !reader.is_empty() {
            segments.extend(segment(&mut reader, true)?);
        }
        if segments.is_empty() { Err(Fault::Length(value.len())) } else { Ok(Self { segments }) }
    }

    /// This path of a two-octet speaker, its far end replaced by `as4_path` (RFC 6793 §4.2.3). A longer `as4_path`
    /// can't belong to it and is ignored.
    pub(super) fn merged_with(self, as4_path: Self) -> Self {
        let Some(mut nearer) = self.length().checked_sub(as4_path.length()) else { return self };
        let mut segments = Vec::new();
        for mut segment in self.segments {
            if nearer == 0 {
                break;
            }
            if segment.kind == SegmentKind::Sequence {
                segment.asns.truncate(nearer);
            }
            nearer -= segment.length();
            segments.push(segment);
        }
        for segment in as4_path.segments {
            match segments.last_mut() {
                Some(Segment { kind: SegmentKind::Sequence, asns })
                    if segment.kind == SegmentKind::Sequence =>
                {
                    asns.extend(segment.asns);
                }
                _ => segments.push(segment),
            }
        }
        Self { segments }
    }
}

/// One segment; `None` for one of a confederation.
fn segment(reader: &mut Reader<'_>, four_octet_as: bool) -> Result<Option<Segment>, Fault> {
    let (Some(kind), Some(count)) = (reader.u8(), reader.u8()) else { return Err(Fault::Value) };
    if count == 0 {
        return Err(Fault::Value);
    }
    let asns = (0..count)
        .map(|_| if four_octet_as { reader.u32() } else { reader.u16().map(u32::from) })
        .map(|asn| asn.filter(|asn| *asn != 0).map(Asn).ok_or(Fault::Value))
        .collect::<Result<Vec<_>, _>>()?;
    match kind {
        1 => Ok(Some(Segment { kind: SegmentKind::Set, asns })),
        2 => Ok(Some(Segment { kind: SegmentKind::Sequence, asns })),
        3 | 4 => Ok(None),
        _ => Err(Fault::Value),
    }
}

impl Segment {
    fn length(&self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.asns.len(),
        }
    }
}

/// As routers print it: `64512 64513 {64514,64515}`.
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
            };
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { between })?;
                asn.fmt(f)?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}
