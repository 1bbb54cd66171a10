//! Frames that pass by (RFC 9113 §4.1): their headers, the error code of those that carry one, and what blocks of header fields are made of.
//! Nothing else of payloads is looked at.

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
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const HEADER: usize = 9;
/// The most of a block of header fields that is seen at once.
pub(super) const FRAGMENT: usize = 256;
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

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    Frame(Frame),
    /// Of a block of header fields, which the last frame begins or continues: at most [`FRAGMENT`] octets.
    Fragment(&'a [u8]),
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
    /// How much of that, before padding, is of a block of header fields.
    fragment_left: usize,
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

    /// Whether a frame has begun and not ended.
    pub(super) fn is_within_frame(&self) -> bool {
        self.have > 0 || self.payload_left > 0
    }

    /// The next of what `bytes` hold, which are then those behind it; `None` when they hold nothing more that is told.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Seen<'a>> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                pass(bytes, &mut self.skip);
            } else if self.fragment_left > 0 {
                let mut most = self.fragment_left.min(FRAGMENT);
                let fragment = pass(bytes, &mut most);
                self.fragment_left -= fragment.len();
                self.payload_left -= fragment.len();
                return Some(Seen::Fragment(fragment));
            } else if self.payload_left > 0 {
                pass(bytes, &mut self.payload_left);
            } else {
                let taken = pass(bytes, &mut (self.wanted() - self.have));
                self.head[self.have..self.have + taken.len()].copy_from_slice(taken);
                self.have += taken.len();
                if self.have == self.wanted() {
                    return Some(Seen::Frame(self.finish()));
                }
            }
        }
        None
    }

    /// How many bytes of header and payload the present frame is told by.
    fn wanted(&self) -> usize {
        if self.have < HEADER {
            return HEADER;
        }
        let payload = match self.head[3] {
            kind::HEADERS => self.before_block(),
            kind::RST_STREAM => 4,
            kind::GOAWAY => 8,
            _ => 0,
        };
        HEADER + self.length().min(payload)
    }

    /// How many bytes come before the block of header fields in HEADERS (§6.2).
    fn before_block(&self) -> usize {
        let has = |flag| self.head[4] & flag != 0;
        usize::from(has(PADDED)) + if has(PRIORITY) { 5 } else { 0 }
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
        self.fragment_left = match kind {
            kind::HEADERS if flags & PADDED != 0 => {
                self.payload_left.saturating_sub(self.head[HEADER].into())
            }
            kind::HEADERS | kind::CONTINUATION => self.payload_left,
            _ => 0,
        };
        self.have = 0;
        self.last_kind = kind;
        if matches!(kind, kind::HEADERS | kind::CONTINUATION) {
            self.block_open = flags & END_HEADERS == 0;
        }
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Frame { kind, flags, stream, length: length as u32, code }
    }
}

/// Takes what is `left`, or as much of it as there is.
fn pass<'a>(bytes: &mut &'a [u8], left: &mut usize) -> &'a [u8] {
    let (passed, rest) = bytes.split_at(bytes.len().min(*left));
    *left -= passed.len();
    *bytes = rest;
    passed
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

    /// The frames in `bytes`, and the blocks of header fields.
    fn seen(frames: &mut Frames, mut bytes: &[u8]) -> (Vec<Frame>, Vec<u8>) {
        let (mut all, mut block) = (Vec::new(), Vec::new());
        while let Some(seen) = frames.next(&mut bytes) {
            match seen {
                Seen::Frame(frame) => all.push(frame),
                Seen::Fragment(fragment) => block.extend(fragment),
            }
        }
        (all, block)
    }

    #[test]
    fn codes_are_those_of_rst_stream_and_goaway() {
        let mut frames = Frames::of_client();
        let mut bytes = PREFACE.to_vec();
        bytes.extend(bytes_of(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]));
        bytes.extend(bytes_of(kind::GOAWAY, 0, 0, b"\0\0\0\x07\0\0\0\x0bdebug"));
        bytes.extend(bytes_of(kind::RST_STREAM, 0, 7, &[1]));
        let seen: Vec<_> =
            seen(&mut frames, &bytes).0.iter().map(|frame| (frame.kind, frame.stream, frame.code)).collect();
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
            seen(&mut frames, &[*byte]);
            assert_eq!(frames.is_within_head(), at + 1 < bytes.len(), "{at}");
        }
        seen(&mut frames, &bytes_of(kind::DATA, 0, 1, b"data")[..11]);
        assert!(!frames.is_within_head(), "data has deadlines of its own");
    }

    #[test]
    fn a_block_is_what_frames_hold_without_padding_and_priority() {
        let bytes = [
            bytes_of(kind::HEADERS, PADDED | PRIORITY, 1, b"\x02\0\0\0\0\x10ab--"),
            bytes_of(kind::CONTINUATION, PADDED | PRIORITY, 1, b"cd"),
            bytes_of(kind::CONTINUATION, END_HEADERS, 1, b"e"),
            bytes_of(kind::DATA, PADDED, 1, b"\x01data-"),
            bytes_of(kind::HEADERS, PADDED, 3, b"\0f"),
            bytes_of(kind::HEADERS, PRIORITY, 5, b"\0\0\0\0\x10g"),
            // Padding beyond the frame, and frames too short for what they say: errors to those who decode.
            bytes_of(kind::HEADERS, PADDED, 7, b"\xffx"),
            bytes_of(kind::HEADERS, PADDED, 7, b""),
            bytes_of(kind::HEADERS, PADDED | PRIORITY, 7, b"\x01\0\0"),
            bytes_of(kind::HEADERS, 0, 9, b"h"),
        ]
        .concat();
        let (frames, block) = seen(&mut Frames::default(), &bytes);
        assert_eq!((frames.len(), block), (10, b"abcdefgh".to_vec()));
        let (mut frames, mut block) = (Frames::default(), Vec::new());
        for byte in &bytes {
            block.extend(seen(&mut frames, &[*byte]).1);
        }
        assert_eq!(block, b"abcdefgh");
    }

    #[test]
    fn of_a_block_no_more_than_a_fragment_is_seen_at_once() {
        let bytes = bytes_of(kind::HEADERS, 0, 1, &[b'x'; FRAGMENT + 1]);
        let (mut frames, mut bytes) = (Frames::default(), &bytes[..]);
        assert!(matches!(frames.next(&mut bytes), Some(Seen::Frame(_))));
        assert_eq!(frames.next(&mut bytes), Some(Seen::Fragment(&[b'x'; FRAGMENT])));
        assert_eq!(bytes, b"x", "it can be left for later");
        assert_eq!(frames.next(&mut bytes), Some(Seen::Fragment(b"x")));
        assert_eq!(frames.next(&mut bytes), None);
    }

    proptest! {
        #[test]
        fn frames_are_seen_alike_however_the_bytes_come(
            sent in proptest::collection::vec((0..12u8, any::<u8>(), 0..100u32, proptest::collection::vec(any::<u8>(), 0..30)), 0..20),
            cuts in proptest::collection::vec(1..20usize, 1..40),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(kind, flags, stream, payload)| bytes_of(*kind, *flags, *stream, payload)).collect();
            let mut frames = Frames::default();
            let (mut all, mut block) = (Vec::new(), Vec::new());
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                let (frames, fragments) = seen(&mut frames, piece);
                all.extend(frames.iter().map(|frame| (frame.kind, frame.flags, frame.stream, frame.length as usize)));
                block.extend(fragments);
                rest = after;
            }
            let expected: Vec<_> = sent.iter().map(|(kind, flags, stream, payload)| (*kind, *flags, *stream, payload.len())).collect();
            prop_assert_eq!(all, expected);
            prop_assert_eq!(block, seen(&mut Frames::default(), &bytes).1);
        }
    }
}
