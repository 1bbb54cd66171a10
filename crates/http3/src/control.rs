//! The control stream (RFC 9114 §6.2.1, §7.2), and what else comes on streams of one direction.

use bytes::{Buf, Bytes};

use crate::{
    Code, MAX_SECTION, Wrong,
    frames::{FrameHeader, kind},
    put_varint, take_varint,
};

/// The stream of requests that none can be beyond: says that a GOAWAY with a smaller one will follow (RFC 9114 §5.2).
pub const GOAWAY_MAX: u64 = (1 << 62) - 4;

/// The longest SETTINGS frame: all that are known take a tenth.
const MAX_SETTINGS: u64 = 1024;
/// Frames of which nothing comes, and which the other side may send so many of beyond those it earns.
const CREDIT: u32 = 1000;
/// Settings that must not come: those that HTTP/2 alone has (RFC 9114 §7.2.4.1, §11.2.2).
const RESERVED_SETTINGS: [u64; 5] = [0, 2, 3, 4, 5];

/// `SETTINGS_MAX_FIELD_SECTION_SIZE`.
const MAX_FIELD_SECTION_SIZE: u64 = 6;
/// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 §3, RFC 9220 §3).
const ENABLE_CONNECT_PROTOCOL: u64 = 8;

/// What a stream of one direction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// RFC 9114 §6.2.1.
    Control,
    /// RFC 9204 §4.2: what the other side puts into our dynamic table.
    QpackEncoder,
    /// RFC 9204 §4.2: what became of sections that used ours.
    QpackDecoder,
    /// A server's only, and only for clients that have allowed it (RFC 9114 §4.6).
    Push,
    /// To be read no further.
    Unknown,
}

impl StreamKind {
    /// By the integer that begins the stream.
    pub fn of(kind: u64) -> Self {
        match kind {
            0 => Self::Control,
            1 => Self::Push,
            2 => Self::QpackEncoder,
            3 => Self::QpackDecoder,
            _ => Self::Unknown,
        }
    }
}

/// The beginning of our own control stream as a client, up to our settings.
pub fn control_stream() -> Vec<u8> {
    stream(&[(MAX_FIELD_SECTION_SIZE, MAX_SECTION as u64)])
}

/// The same as a server, which takes WebSockets.
pub fn server_control_stream() -> Vec<u8> {
    stream(&[(MAX_FIELD_SECTION_SIZE, MAX_SECTION as u64), (ENABLE_CONNECT_PROTOCOL, 1)])
}

fn stream(pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut settings = Vec::new();
    for (id, value) in pairs {
        put_varint(&mut settings, *id);
        put_varint(&mut settings, *value);
    }
    let mut out = vec![0];
    put_varint(&mut out, kind::SETTINGS);
    put_varint(&mut out, settings.len() as u64);
    out.extend_from_slice(&settings);
    out
}

/// A GOAWAY frame: requests on `stream` and beyond are not served.
pub fn goaway(stream: u64) -> Vec<u8> {
    let mut id = Vec::new();
    put_varint(&mut id, stream);
    let mut out = Vec::new();
    put_varint(&mut out, kind::GOAWAY);
    put_varint(&mut out, id.len() as u64);
    out.extend_from_slice(&id);
    out
}

/// Whose a control stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// Reads a control stream behind its first integer.
#[derive(Debug)]
pub struct Control {
    role: Role,
    header: FrameHeader,
    within: Option<Frame>,
    has_settings: bool,
    takes_websockets: Option<bool>,
    max_push_id: u64,
    goaway: u64,
    credit: u32,
}

/// A frame that has begun. What is kept of it is small; of others nothing is.
#[derive(Debug)]
struct Frame {
    kind: u64,
    left: u64,
    kept: Vec<u8>,
}

impl Default for Control {
    /// That of a client.
    fn default() -> Self {
        let (header, within) = Default::default();
        Self {
            role: Role::Client,
            header,
            within,
            has_settings: false,
            takes_websockets: None,
            max_push_id: 0,
            goaway: u64::MAX,
            credit: CREDIT,
        }
    }
}

impl Control {
    /// That of a server.
    pub fn of_server() -> Self {
        Self { role: Role::Server, ..Self::default() }
    }

    /// What the last GOAWAY said: the first stream that is not served, of a server; the first push that is not taken, of a
    /// client (RFC 9114 §5.2).
    pub fn goaway(&self) -> Option<u64> {
        (self.goaway != u64::MAX).then_some(self.goaway)
    }

    /// Whether the other side takes extended CONNECT, by which WebSockets come (RFC 9220 §3); `None` until its settings are there.
    pub fn takes_websockets(&self) -> Option<bool> {
        self.takes_websockets
    }

    /// The other side may send so many more frames that bring nothing forward. What earns them, its requests and time, is for the
    /// caller to say. They don't pile up beyond what there is at first.
    pub fn earn(&mut self, frames: u32) {
        self.credit = self.credit.saturating_add(frames).min(CREDIT);
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// When the connection has to end.
    pub fn take(&mut self, mut chunk: Bytes) -> Result<(), Wrong> {
        loop {
            let Some(frame) = &mut self.within else {
                let Some((kind, length)) = self.header.take(&mut chunk) else { return Ok(()) };
                self.within = Some(self.begin(kind, length)?);
                continue;
            };
            let count = usize::try_from(frame.left).map_or(chunk.len(), |left| left.min(chunk.len()));
            if keeps(frame.kind) {
                frame.kept.extend_from_slice(&chunk[..count]);
            }
            chunk.advance(count);
            frame.left -= count as u64;
            if frame.left > 0 {
                return Ok(());
            }
            if let Some(frame) = self.within.take() {
                self.end(&frame)?;
            }
        }
    }

    fn begin(&mut self, kind: u64, left: u64) -> Result<Frame, Wrong> {
        let ends = |code| Err(Wrong::Connection(code));
        if !self.has_settings && kind != kind::SETTINGS {
            return ends(Code::MissingSettings);
        }
        match kind {
            kind::SETTINGS if self.has_settings => return ends(Code::FrameUnexpected),
            kind::SETTINGS if left > MAX_SETTINGS => return ends(Code::ExcessiveLoad),
            kind::SETTINGS => self.has_settings = true,
            kind::GOAWAY | kind::MAX_PUSH_ID | kind::CANCEL_PUSH if left > 8 => {
                return ends(Code::FrameError);
            }
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => return ends(Code::FrameUnexpected),
            // RFC 9114 §7.2.7.
            kind::MAX_PUSH_ID if self.role == Role::Server => return ends(Code::FrameUnexpected),
            kind if kind::is_reserved(kind) => return ends(Code::FrameUnexpected),
            _ => {}
        }
        self.credit = self.credit.checked_sub(1).ok_or(Wrong::Connection(Code::ExcessiveLoad))?;
        Ok(Frame { kind, left, kept: Vec::new() })
    }

    fn end(&mut self, frame: &Frame) -> Result<(), Wrong> {
        let ends = |code| Err(Wrong::Connection(code));
        if frame.kind == kind::SETTINGS {
            self.takes_websockets = Some(read_settings(&frame.kept)?);
            return Ok(());
        }
        if !keeps(frame.kind) {
            return Ok(());
        }
        let Some((id, [])) = take_varint(&frame.kept) else { return ends(Code::FrameError) };
        match frame.kind {
            // Nothing was ever pushed.
            kind::CANCEL_PUSH => ends(Code::IdError),
            kind::MAX_PUSH_ID if id < self.max_push_id => ends(Code::IdError),
            kind::MAX_PUSH_ID => {
                self.max_push_id = id;
                Ok(())
            }
            // RFC 9114 §7.2.6: a server names a stream of requests.
            _ if id > self.goaway || (self.role == Role::Server && id % 4 != 0) => ends(Code::IdError),
            _ => {
                self.goaway = id;
                Ok(())
            }
        }
    }
}

fn keeps(kind: u64) -> bool {
    matches!(kind, kind::SETTINGS | kind::GOAWAY | kind::MAX_PUSH_ID | kind::CANCEL_PUSH)
}

/// Whether extended CONNECT is taken. None of the other settings changes what is sent: no dynamic table is used.
fn read_settings(mut payload: &[u8]) -> Result<bool, Wrong> {
    let (mut seen, mut takes_connect) = (Vec::new(), false);
    while !payload.is_empty() {
        let pair = take_varint(payload)
            .and_then(|(id, rest)| take_varint(rest).map(|(value, rest)| (id, value, rest)));
        let Some((id, value, rest)) = pair else { return Err(Wrong::Connection(Code::FrameError)) };
        if RESERVED_SETTINGS.contains(&id) || seen.contains(&id) {
            return Err(Wrong::Connection(Code::SettingsError));
        }
        match (id, value) {
            (ENABLE_CONNECT_PROTOCOL, 0 | 1) => takes_connect = value == 1,
            (ENABLE_CONNECT_PROTOCOL, _) => return Err(Wrong::Connection(Code::SettingsError)),
            _ => {}
        }
        seen.push(id);
        payload = rest;
    }
    Ok(takes_connect)
}
