//! The frames of a request stream (RFC 9114 §4.1, §7), one way.
//!
//! ```text
//! HEADERS ─▶ DATA … ─▶ HEADERS (trailers)        anything unknown may come in between, and is skipped
//! HEADERS (1xx) … ─▶ HEADERS ─▶ …                of a response
//! ```

use bytes::{Buf, Bytes};

use crate::{Code, MAX_SECTION, Wrong, put_varint, take_varint};

pub(crate) mod kind {
    pub(crate) const DATA: u64 = 0;
    pub(crate) const HEADERS: u64 = 1;
    pub(crate) const CANCEL_PUSH: u64 = 3;
    pub(crate) const SETTINGS: u64 = 4;
    pub(crate) const PUSH_PROMISE: u64 = 5;
    pub(crate) const GOAWAY: u64 = 7;
    pub(crate) const MAX_PUSH_ID: u64 = 13;

    /// Frames of HTTP/2 that must not come (RFC 9114 §7.2.8).
    pub(crate) fn is_reserved(kind: u64) -> bool {
        matches!(kind, 2 | 6 | 8 | 9)
    }
}

/// Frames that bring nothing forward, of which a stream may have so many beyond those it earns: a frame with content earns one.
const IDLE_FRAMES: u32 = 64;
/// And octets in them; each of content earns one.
const IDLE_OCTETS: u64 = 64 * 1024;

/// What a request stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A field section: the head at first, the trailers later.
    Section(Vec<u8>),
    /// Content, never empty.
    Data(Bytes),
}

/// Takes a request stream apart, one way of it.
#[derive(Debug)]
pub struct Frames {
    of_response: bool,
    place: Place,
    within: Within,
    /// An incomplete frame header.
    header: FrameHeader,
    idle_count: u32,
    idle_octets: u64,
}

/// Which frames may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeHead,
    InContent,
    InTunnel,
    AfterTrailers,
}

#[derive(Debug)]
enum Within {
    /// Between frames, or within a frame's header.
    Header,
    Section {
        section: Vec<u8>,
        left: usize,
    },
    Data(u64),
    Skipped(u64),
}

impl Default for Frames {
    /// Those of a request.
    fn default() -> Self {
        Self {
            of_response: false,
            place: Place::BeforeHead,
            within: Within::Header,
            header: FrameHeader::default(),
            idle_count: IDLE_FRAMES,
            idle_octets: IDLE_OCTETS,
        }
    }
}

impl Frames {
    /// Those of a response.
    pub fn of_response() -> Self {
        Self { of_response: true, ..Self::default() }
    }

    /// The section that came last was the head of an interim response (RFC 9114 §4.1): another head has to follow.
    pub fn expect_head(&mut self) {
        self.place = Place::BeforeHead;
    }

    /// The request was CONNECT, and is agreed to: from now on, no frame but DATA is allowed among those of RFC 9114 (§4.4).
    pub fn begin_tunnel(&mut self) {
        self.place = Place::InTunnel;
    }

    /// Takes from `chunk` as far as the next event; `None` when all of `chunk` is taken.
    ///
    /// # Errors
    /// For frames that must not come, and for a head longer than [`MAX_SECTION`], with which the message is refused.
    pub fn take(&mut self, chunk: &mut Bytes) -> Result<Option<Event>, Wrong> {
        loop {
            match &mut self.within {
                Within::Header => {
                    let Some((kind, length)) = self.header.take(chunk) else { return Ok(None) };
                    self.within = self.begin(kind, length)?;
                }
                Within::Section { section, left } => {
                    let count = chunk.len().min(*left);
                    section.extend_from_slice(&chunk.split_to(count));
                    *left -= count;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let section = std::mem::take(section);
                    self.within = Within::Header;
                    return Ok(Some(Event::Section(section)));
                }
                Within::Data(0) | Within::Skipped(0) => self.within = Within::Header,
                Within::Data(_) | Within::Skipped(_) if chunk.is_empty() => return Ok(None),
                Within::Data(left) => {
                    let data = split_off(chunk, left);
                    return Ok(Some(Event::Data(data)));
                }
                Within::Skipped(left) => {
                    split_off(chunk, left);
                }
            }
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<Within, Wrong> {
        let unexpected = Err(Wrong::Connection(Code::FrameUnexpected));
        match (kind, self.place) {
            (kind::HEADERS, Place::BeforeHead | Place::InContent) => {
                self.place = match self.place {
                    Place::BeforeHead => Place::InContent,
                    _ => Place::AfterTrailers,
                };
                let left = usize::try_from(length).ok().filter(|length| *length <= MAX_SECTION);
                let left = left.ok_or(Wrong::Message(proxima_http1::Fault::HeadTooLong))?;
                Ok(Within::Section { section: Vec::with_capacity(left.min(4096)), left })
            }
            (kind::DATA, Place::InContent | Place::InTunnel) => {
                if length == 0 {
                    self.note_idle(0)?;
                } else {
                    self.earn(length);
                }
                Ok(Within::Data(length))
            }
            // RFC 9114 §7.2.5: none was allowed by MAX_PUSH_ID.
            (kind::PUSH_PROMISE, _) if self.of_response => Err(Wrong::Connection(Code::IdError)),
            (
                kind::DATA
                | kind::HEADERS
                | kind::CANCEL_PUSH
                | kind::SETTINGS
                | kind::PUSH_PROMISE
                | kind::GOAWAY
                | kind::MAX_PUSH_ID,
                _,
            ) => unexpected,
            (kind, _) if kind::is_reserved(kind) => unexpected,
            _ => {
                self.note_idle(length)?;
                Ok(Within::Skipped(length))
            }
        }
    }

    /// Nothing else comes before all `octets` of content have come.
    fn earn(&mut self, octets: u64) {
        self.idle_count = IDLE_FRAMES.min(self.idle_count + 1);
        self.idle_octets = IDLE_OCTETS.min(self.idle_octets.saturating_add(octets));
    }

    fn note_idle(&mut self, octets: u64) -> Result<(), Wrong> {
        let frames = self.idle_count.checked_sub(1);
        let octets = self.idle_octets.checked_sub(octets);
        let (Some(frames), Some(octets)) = (frames, octets) else {
            let code = Code::ExcessiveLoad;
            // A backend's connection has the exchanges of other clients too.
            return Err(if self.of_response { Wrong::Stream(code) } else { Wrong::Connection(code) });
        };
        (self.idle_count, self.idle_octets) = (frames, octets);
        Ok(())
    }

    /// Whether the stream may end here (RFC 9114 §4.1, §7.1).
    ///
    /// # Errors
    /// Within a frame, and before the head.
    pub fn end(&self) -> Result<(), Wrong> {
        match self.within {
            Within::Header if self.header.is_empty() => {}
            Within::Data(0) | Within::Skipped(0) => {}
            _ => return Err(Wrong::Connection(Code::FrameError)),
        }
        match self.place {
            Place::BeforeHead => Err(Wrong::Stream(Code::RequestIncomplete)),
            Place::InContent | Place::InTunnel | Place::AfterTrailers => Ok(()),
        }
    }
}

fn split_off(chunk: &mut Bytes, left: &mut u64) -> Bytes {
    let count = usize::try_from(*left).map_or(chunk.len(), |left| left.min(chunk.len()));
    *left -= count as u64;
    chunk.split_to(count)
}

/// The type and length of a frame, as far as they have come.
#[derive(Debug, Default)]
pub(crate) struct FrameHeader {
    octets: [u8; 16],
    length: usize,
}

impl FrameHeader {
    /// The next header, once it is whole.
    pub(crate) fn take(&mut self, chunk: &mut Bytes) -> Option<(u64, u64)> {
        while !chunk.is_empty() {
            self.octets[self.length] = chunk.get_u8();
            self.length += 1;
            let whole = take_varint(&self.octets[..self.length])
                .and_then(|(kind, rest)| take_varint(rest).map(|(length, _)| (kind, length)));
            if whole.is_some() {
                self.length = 0;
                return whole;
            }
        }
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Appends the header of a DATA frame of `length` octets.
pub fn data_header(out: &mut Vec<u8>, length: usize) {
    put_varint(out, kind::DATA);
    put_varint(out, length as u64);
}
