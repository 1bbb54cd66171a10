//! AS_PATH: the way a route has come (RFC 4271 §4.3, RFC 6793).
//!
//! A path is one run of numbers, as a RIB holds hundreds of thousands of them: before the numbers of a segment stands
//! its head, the kind in the upper eight bits and the count in the lower 24.
//!
//! ```text
//!  64512 64513 {64514,64515}    ─▶    │ 2·2 │ 64512 │ 64513 │ 1·2 │ 64514 │ 64515 │
//! ```

use std::fmt;

use proxima_types::Asn;

use super::Fault;
use crate::reader::Reader;

/// An AS path; the nearest AS is first. Empty for routes that begin in our own AS.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// Heads and numbers; no segment is empty.
    words: Box<[Asn]>,
}

/// A segment of an AS path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment<'a> {
    /// Ordered or not.
    pub kind: SegmentKind,
    /// The numbers, at least one.
    pub asns: &'a [Asn],
}

/// Whether the order of a segment means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// Unordered: the route is an aggregate. Deprecated by RFC 9774; see
    /// [`Negotiated::refuse_as_sets`](crate::Negotiated::refuse_as_sets).
    Set = 1,
    /// Ordered, nearest first.
    Sequence = 2,
}

/// The segments of a path, nearest first.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    words: &'a [Asn],
}

const KIND_SHIFT: u32 = 24;
const COUNT_MASK: u32 = 0x00ff_ffff;

fn head(kind: SegmentKind, count: usize) -> Asn {
    Asn((kind as u32) << KIND_SHIFT | count as u32 & COUNT_MASK)
}

impl AsPath {
    /// One ordered segment; an empty path if there are no numbers.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let mut words = vec![Asn(0)];
        words.extend(asns);
        match words.len() - 1 {
            0 => Self::default(),
            count => {
                words[0] = head(SegmentKind::Sequence, count);
                Self { words: words.into() }
            }
        }
    }

    /// A path of these segments, nearest first; empty ones are left out.
    pub fn from_segments<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> Self {
        let mut words = Vec::new();
        for segment in segments {
            if !segment.asns.is_empty() {
                words.push(head(segment.kind, segment.asns.len()));
                words.extend_from_slice(segment.asns);
            }
        }
        Self { words: words.into() }
    }

    /// The segments, nearest first.
    pub fn segments(&self) -> Segments<'_> {
        Segments { words: &self.words }
    }

    /// Every number, nearest first, those of sets in the order they came.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.segments().flat_map(|segment| segment.asns.iter().copied())
    }

    /// Whether there is no AS in the path.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether `asn` is anywhere in the path: a loop if it is ours.
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|other| other == asn)
    }

    /// The length as route selection counts it: a set is one (RFC 4271 §9.1.2.2).
    pub fn length(&self) -> usize {
        self.segments().map(Segment::length).sum()
    }

    /// Whether one of the segments is unordered.
    pub(super) fn has_set(&self) -> bool {
        self.segments().any(|segment| segment.kind == SegmentKind::Set)
    }

    /// The AS nearest to us, if the path begins with an ordered segment: an external peer's own.
    pub fn neighbour(&self) -> Option<Asn> {
        self.segments().next().filter(|segment| segment.kind == SegmentKind::Sequence)?.asns.first().copied()
    }

    /// The AS the route began in, if the path ends with an ordered segment.
    pub fn origin(&self) -> Option<Asn> {
        self.segments().last().filter(|segment| segment.kind == SegmentKind::Sequence)?.asns.last().copied()
    }

    /// Reads AS_PATH. Confederation segments are a fault, as we are in no confederation (RFC 5065 §5), and so is
    /// AS 0 (RFC 7607).
    pub(super) fn decode(value: &[u8], four_octet_as: bool) -> Result<Self, Fault> {
        // Exactly what one segment takes, or two.
        let room = if four_octet_as { value.len() / 4 + 1 } else { value.len() / 2 };
        let mut words = Vec::with_capacity(room);
        let mut reader = Reader::new(value);
        while !reader.is_empty() {
            if !segment(&mut reader, four_octet_as, &mut words)? {
                return Err(Fault::Confederation);
            }
        }
        Ok(Self { words: words.into() })
    }

    /// Reads AS4_PATH, where confederation segments are skipped (RFC 6793 §6).
    pub(super) fn decode_as4(value: &[u8]) -> Result<Self, Fault> {
        let mut words = Vec::new();
        let mut reader = Reader::new(value);
        while !reader.is_empty() {
            segment(&mut reader, true, &mut words)?;
        }
        if value.is_empty() { Err(Fault::Length(0)) } else { Ok(Self { words: words.into() }) }
    }

    /// This path of a two-octet speaker, its far end replaced by `as4_path` (RFC 6793 §4.2.3). A longer `as4_path`
    /// can't belong to it and is ignored.
    pub(super) fn merged_with(self, as4_path: &Self) -> Self {
        let Some(mut nearer) = self.length().checked_sub(as4_path.length()) else { return self };
        let mut segments = Vec::new();
        for mut segment in self.segments() {
            if nearer == 0 {
                break;
            }
            if segment.kind == SegmentKind::Sequence {
                segment.asns = &segment.asns[..segment.asns.len().min(nearer)];
            }
            nearer -= segment.length();
            segments.push(segment);
        }
        let mut rest = as4_path.segments();
        let joined: Vec<Asn>;
        if let (Some(last), Some(first)) = (segments.last_mut(), rest.clone().next())
            && last.kind == SegmentKind::Sequence
            && first.kind == SegmentKind::Sequence
        {
            joined = [last.asns, first.asns].concat();
            last.asns = &joined;
            rest.next();
        }
        segments.extend(rest);
        Self::from_segments(segments)
    }
}

/// Appends one segment to `words`; false, and nothing appended, for one of a confederation.
#[inline]
fn segment(reader: &mut Reader<'_>, four_octet_as: bool, words: &mut Vec<Asn>) -> Result<bool, Fault> {
    let (Some(kind), Some(count)) = (reader.u8(), reader.u8()) else { return Err(Fault::Value) };
    let octets = reader.take(usize::from(count) * if four_octet_as { 4 } else { 2 });
    let octets = octets.filter(|octets| !octets.is_empty()).ok_or(Fault::Value)?;
    let start = words.len();
    let kind = match kind {
        1 => Some(SegmentKind::Set),
        2 => Some(SegmentKind::Sequence),
        3 | 4 => None,
        _ => return Err(Fault::Value),
    };
    words.push(head(kind.unwrap_or(SegmentKind::Sequence), usize::from(count)));
    if four_octet_as {
        words.extend(octets.as_chunks().0.iter().map(|octets| Asn(u32::from_be_bytes(*octets))));
    } else {
        words.extend(octets.as_chunks().0.iter().map(|octets| Asn(u16::from_be_bytes(*octets).into())));
    }
    if words[start..].contains(&Asn(0)) {
        return Err(Fault::AsZero);
    }
    if kind.is_none() {
        words.truncate(start);
    }
    Ok(kind.is_some())
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let (head, rest) = self.words.split_first()?;
        let (asns, rest) = rest.split_at_checked((head.0 & COUNT_MASK) as usize)?;
        self.words = rest;
        let kind = if head.0 >> KIND_SHIFT == SegmentKind::Set as u32 {
            SegmentKind::Set
        } else {
            SegmentKind::Sequence
        };
        Some(Segment { kind, asns })
    }
}

impl Segment<'_> {
    /// The length as route selection counts it.
    fn length(self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.asns.len(),
        }
    }
}

/// As routers print it: `64512 64513 {64514,64515}`.
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
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

impl fmt::Debug for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsPath({self})")
    }
}
