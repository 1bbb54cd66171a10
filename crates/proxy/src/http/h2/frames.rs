//! Frames that pass by (RFC 9113 §4.1): their headers, and the error code of those that carry one. Payloads are not
//! looked at.

/// The kinds of frames that are told apart (RFC 9113 §6).
pub(super) mod kind {
    pub(in crate::http) const DATA: u8 = 0;
    pub(in crate::http) const HEADERS: u8 = 1;
    pub(in crate::http) const RST_STREAM: u8 = 3;
    pub(in crate::http) const GOAWAY: u8 = 7;
    pub(in crate::http) const CONTINUATION: u8 = 9;
}

pub(super) const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const HEADER: usize = 9;
/// What a client's side begins with (RFC 9113 §3.4).
pub(in crate::http) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame, seen as soon as what is told of it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Of the payload, in bytes.
    pub(super) length: u32,
    /// RST_STREAM and GOAWAY only.
    pub(super) code: Option<u32>,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes that are no frame.
    skip: usize,
    /// The header, and as much of the payload as is told.
    head: [u8; HEADER + 8],
    have: usize,
    payload_left: usize,
    last_kind: u8,
    /// A block of header fields has begun and not ended.
    block_open: bool,
}

impl Frames {
    /// What a client sends: its preface comes first.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE.len(), ..Self::default() }
    }

    /// Whether a frame other than DATA, or a block of header fields, has begun and not ended.
    pub(super) fn is_within_head(&self) -> bool {
        self.have > 0 || self.block_open || (self.payload_left > 0 && self.last_kind != kind::DATA)
    }

    pub(super) fn see(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                bytes = pass(bytes, &mut self.skip);
            } else if self.payload_left > 0 {
                bytes = pass(bytes, &mut self.payload_left);
            } else {
                let count = (self.wanted() - self.have).min(bytes.len());
                let (taken, rest) = bytes.split_at(count);
                self.head[self.have..self.have + count].copy_from_slice(taken);
                self.have += count;
                bytes = rest;
                if self.have == self.wanted() {
                    each(self.finish());
                }
            }
        }
    }

    /// How many bytes of header and payload the present frame is told by.
    fn wanted(&self) -> usize {
        if self.have < HEADER {
            return HEADER;
        }
        match self.head[3] {
            kind::RST_STREAM => HEADER + self.length().min(4),
            kind::GOAWAY => HEADER + self.length().min(8),
            _ => HEADER,
        }
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize
    }

    fn finish(&mut self) -> Frame {
        let [.., kind, flags, s0, s1, s2, s3] = self.head[..HEADER] else { unreachable!("nine bytes") };
        let four = |at: usize| {
            let bytes = self.head[HEADER + at..self.have].first_chunk::<4>();
            bytes.map(|bytes| u32::from_be_bytes(*bytes))
        };
        let code = match kind {
            kind::RST_STREAM => four(0),
            kind::GOAWAY if self.have >= HEADER + 4 => four(4),
            _ => None,
        };
        let length = self.length();
        self.payload_left = length - (self.have - HEADER);
        self.have = 0;
        self.last_kind = kind;
        if matches!(kind, kind::HEADERS | kind::CONTINUATION) {
            self.block_open = flags & END_HEADERS == 0;
        }
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Frame { kind, flags, stream, length: length as u32, code }
    }
}

fn pass<'a>(bytes: &'a [u8], left: &mut usize) -> &'a [u8] {
    let count = bytes.len().min(*left);
    *left -= count;
    &bytes[count..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn codes_are_those_of_rst_stream_and_goaway() {
        let mut frames = Frames::of_client();
        let mut bytes = PREFACE.to_vec();
        bytes.extend(bytes_of(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]));
        bytes.extend(bytes_of(kind::GOAWAY, 0, 0, b"\0\0\0\x07\0\0\0\x0bdebug"));
        bytes.extend(bytes_of(kind::RST_STREAM, 0, 7, &[1]));
        let mut seen = Vec::new();
        frames.see(&bytes, |frame| seen.push((frame.kind, frame.stream, frame.code)));
        assert_eq!(
            seen,
            [(kind::RST_STREAM, 5, Some(8)), (kind::GOAWAY, 0, Some(11)), (kind::RST_STREAM, 7, None)]
        );
    }

    #[test]
    fn a_head_ends_with_its_last_byte() {
        let mut frames = Frames::default();
        let mut bytes = bytes_of(kind::HEADERS, END_STREAM, 1, b"abc");
        bytes.extend(bytes_of(kind::CONTINUATION, 0, 1, b"d"));
        bytes.extend(bytes_of(kind::CONTINUATION, END_HEADERS, 1, b"ef"));
        assert!(!frames.is_within_head());
        for (at, byte) in bytes.iter().enumerate() {
            frames.see(&[*byte], |_| {});
            assert_eq!(frames.is_within_head(), at + 1 < bytes.len(), "{at}");
        }
        frames.see(&bytes_of(kind::DATA, 0, 1, b"data")[..11], |_| {});
        assert!(!frames.is_within_head(), "data has deadlines of its own");
    }

    proptest! {
        #[test]
        fn frames_are_seen_alike_however_the_bytes_come(
            sent in proptest::collection::vec((0..12u8, any::<u8>(), 0..100u32, proptest::collection::vec(any::<u8>(), 0..30)), 0..20),
            cuts in proptest::collection::vec(1..20usize, 1..40),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(kind, flags, stream, payload)| bytes_of(*kind, *flags, *stream, payload)).collect();
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                frames.see(piece, |frame| seen.push((frame.kind, frame.flags, frame.stream, frame.length as usize)));
                rest = after;
            }
            let expected: Vec<_> = sent.iter().map(|(kind, flags, stream, payload)| (*kind, *flags, *stream, payload.len())).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
