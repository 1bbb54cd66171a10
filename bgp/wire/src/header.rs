//! The 19 octets before every message, and framing by them (RFC 4271 §4.1, §6.1; RFC 8654).

use bytes::{BufMut, BytesMut};

use crate::{DecodeError, ErrorCode, Notification};

/// Octets of marker, length and type.
pub const HEADER_LEN: usize = 19;
/// The most octets of a message without the extended message capability.
pub const MAX_LEN: usize = 4096;
/// The most octets of a message with it (RFC 8654).
pub const EXTENDED_MAX_LEN: usize = 65535;

const MARKER: [u8; 16] = [0xff; 16];

/// A KEEPALIVE, ready to send.
pub const KEEPALIVE: [u8; HEADER_LEN] = {
    let mut message = [0xff; HEADER_LEN];
    message[16] = 0;
    message[17] = HEADER_LEN as u8;
    message[18] = MessageType::Keepalive as u8;
    message
};

/// The type octet of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// RFC 4271 §4.2.
    Open = 1,
    /// RFC 4271 §4.3.
    Update = 2,
    /// RFC 4271 §4.5.
    Notification = 3,
    /// RFC 4271 §4.4.
    Keepalive = 4,
    /// RFC 2918.
    RouteRefresh = 5,
}

impl MessageType {
    fn from_octet(octet: u8) -> Option<Self> {
        [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh]
            .into_iter()
            .find(|kind| *kind as u8 == octet)
    }

    /// Its name as the RFCs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        }
    }

    /// The lengths such a message may have.
    fn lengths(self, max_len: usize) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => 29..=MAX_LEN,
            Self::Update | Self::RouteRefresh => 23..=max_len,
            Self::Notification => 21..=max_len,
            Self::Keepalive => HEADER_LEN..=HEADER_LEN,
        }
    }
}

/// A header that ends the session (RFC 4271 §6.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The marker is not all ones.
    #[error("the marker is not all ones: the peer does not speak BGP, or the stream is out of step")]
    NotSynchronized,
    /// A length that no message, or not this type of message, may have.
    #[error("a message of {0} octets is too short or too long for its type")]
    BadLength(u16),
    /// The octets end before the message does. In a stream they are awaited; see [`frame`].
    #[error("the message ends after {0} octets, before its length says so")]
    CutShort(usize),
    /// A type we do not know.
    #[error("message type {0} is unknown")]
    BadType(u8),
}

impl HeaderError {
    /// The NOTIFICATION for it.
    pub fn to_notification(&self) -> Notification {
        match self {
            Self::NotSynchronized => Notification::new(ErrorCode::CONNECTION_NOT_SYNCHRONIZED, []),
            Self::BadLength(length) => Notification::new(ErrorCode::BAD_MESSAGE_LENGTH, length.to_be_bytes()),
            Self::CutShort(length) => {
                Notification::new(ErrorCode::BAD_MESSAGE_LENGTH, (*length as u16).to_be_bytes())
            }
            Self::BadType(octet) => Notification::new(ErrorCode::BAD_MESSAGE_TYPE, [*octet]),
        }
    }
}

/// The length of the message at the front of `buf`, `None` while it is not yet there in full.
///
/// `max_len` is [`Negotiated::max_len_receive`](crate::Negotiated::max_len_receive). A bad header is reported as soon as its octets
/// are there, without waiting for the rest of the message.
pub fn frame(buf: &[u8], max_len: usize) -> Result<Option<usize>, DecodeError> {
    Ok(parse(buf, max_len)?.filter(|(_, length)| *length <= buf.len()).map(|(_, length)| length))
}

/// The type of the message at the front of `bytes`, whatever else is wrong with it.
pub(crate) fn type_of(bytes: &[u8]) -> Option<MessageType> {
    bytes.get(HEADER_LEN - 1).and_then(|octet| MessageType::from_octet(*octet))
}

/// How long the message at the front of `bytes` says it is, once its header is there.
pub(crate) fn announced_length(bytes: &[u8]) -> Option<usize> {
    let [.., high, low, _] = bytes.first_chunk::<HEADER_LEN>()?;
    Some(usize::from(u16::from_be_bytes([*high, *low])))
}

/// Where the message at the front of `bytes` ends by its own word, if it is there in full, whether or not its type or the session
/// allows that length. A length shorter than a header says nothing.
pub(crate) fn own_end(bytes: &[u8]) -> Option<usize> {
    let length = announced_length(bytes).filter(|_| bytes.starts_with(&MARKER))?;
    (HEADER_LEN..=bytes.len()).contains(&length).then_some(length)
}

/// Type and body of a message that is there in full and has nothing behind it.
pub(crate) fn split(message: &[u8], max_len: usize) -> Result<(MessageType, &[u8]), DecodeError> {
    match parse(message, max_len)? {
        Some((kind, length)) if length == message.len() => Ok((kind, &message[HEADER_LEN..])),
        Some((_, length)) if length < message.len() => Err(HeaderError::BadLength(length as u16).into()),
        Some(_) | None => Err(HeaderError::CutShort(message.len()).into()),
    }
}

fn parse(buf: &[u8], max_len: usize) -> Result<Option<(MessageType, usize)>, HeaderError> {
    let Some(&[marker @ .., high, low, octet]) = buf.first_chunk::<HEADER_LEN>() else {
        let all_ones = buf.iter().take(MARKER.len()).all(|octet| *octet == 0xff);
        return if all_ones { Ok(None) } else { Err(HeaderError::NotSynchronized) };
    };
    if marker != MARKER {
        return Err(HeaderError::NotSynchronized);
    }
    let length = u16::from_be_bytes([high, low]);
    if !(HEADER_LEN..=max_len).contains(&usize::from(length)) {
        return Err(HeaderError::BadLength(length));
    }
    let kind = MessageType::from_octet(octet).ok_or(HeaderError::BadType(octet))?;
    if !kind.lengths(max_len).contains(&usize::from(length)) {
        return Err(HeaderError::BadLength(length));
    }
    Ok(Some((kind, usize::from(length))))
}

/// Appends a message of `kind` whose body `write` appends. The caller keeps it within 65535 octets.
pub(crate) fn write_message(buf: &mut BytesMut, kind: MessageType, write: impl FnOnce(&mut BytesMut)) {
    let start = begin_message(buf, kind);
    write(buf);
    end_message(buf, start);
}

/// Appends the header of a message, its length still open, and returns where it begins.
pub(crate) fn begin_message(buf: &mut BytesMut, kind: MessageType) -> usize {
    let start = buf.len();
    let mut header = KEEPALIVE;
    header[HEADER_LEN - 1] = kind as u8;
    buf.put_slice(&header);
    start
}

/// Fills in the length of the message that begins at `start` and ends with `buf`.
pub(crate) fn end_message(buf: &mut BytesMut, start: usize) {
    let length = buf.len() - start;
    debug_assert!(length <= EXTENDED_MAX_LEN, "a message of {length} octets");
    buf[start + 16..start + 18].copy_from_slice(&(length as u16).to_be_bytes());
}
