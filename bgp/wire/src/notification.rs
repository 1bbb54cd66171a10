//! NOTIFICATION: why a session ends (RFC 4271 §4.5).
//!
//! Codes and subcodes are all of IANA's registry, those of RFC 4486, 5492, 6608, 7313, 8538, 9234, 9384 and 9687 included,
//! and the retired ones too, as old speakers still send them. Shutdown messages are those of RFC 9003, hard resets those
//! of RFC 8538.

use std::fmt;

use bytes::{BufMut, BytesMut};

use proxima_types::Family;

use crate::{
    AfiSafi, Capability, HEADER_LEN, MessageType, Negotiated, header::write_message, reader::Reader,
};

/// An error code and its subcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u8, pub u8);

macro_rules! error_codes {
    ($($name:ident = $code:literal / $subcode:literal, $text:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $text] pub const $name: Self = Self($code, $subcode);)*

            /// What the IANA registry calls code and subcode together, if they are registered.
            pub fn name(self) -> Option<&'static str> {
                match (self.0, self.1) {
                    $(($code, $subcode) => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    HEADER_UNSPECIFIC = 1 / 0, "message header error";
    CONNECTION_NOT_SYNCHRONIZED = 1 / 1, "connection not synchronized";
    BAD_MESSAGE_LENGTH = 1 / 2, "bad message length";
    BAD_MESSAGE_TYPE = 1 / 3, "bad message type";
    OPEN_UNSPECIFIC = 2 / 0, "malformed OPEN";
    UNSUPPORTED_VERSION_NUMBER = 2 / 1, "unsupported version number";
    BAD_PEER_AS = 2 / 2, "bad peer AS";
    BAD_BGP_IDENTIFIER = 2 / 3, "bad BGP identifier";
    UNSUPPORTED_OPTIONAL_PARAMETER = 2 / 4, "unsupported optional parameter";
    AUTHENTICATION_FAILURE = 2 / 5, "authentication failure";
    UNACCEPTABLE_HOLD_TIME = 2 / 6, "unacceptable hold time";
    UNSUPPORTED_CAPABILITY = 2 / 7, "unsupported capability";
    ROLE_MISMATCH = 2 / 11, "role mismatch";
    UPDATE_UNSPECIFIC = 3 / 0, "malformed UPDATE";
    MALFORMED_ATTRIBUTE_LIST = 3 / 1, "malformed attribute list";
    UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE = 3 / 2, "unrecognized well-known attribute";
    MISSING_WELL_KNOWN_ATTRIBUTE = 3 / 3, "missing well-known attribute";
    ATTRIBUTE_FLAGS_ERROR = 3 / 4, "attribute flags error";
    ATTRIBUTE_LENGTH_ERROR = 3 / 5, "attribute length error";
    INVALID_ORIGIN = 3 / 6, "invalid ORIGIN attribute";
    AS_ROUTING_LOOP = 3 / 7, "AS routing loop";
    INVALID_NEXT_HOP = 3 / 8, "invalid NEXT_HOP attribute";
    OPTIONAL_ATTRIBUTE_ERROR = 3 / 9, "optional attribute error";
    INVALID_NETWORK_FIELD = 3 / 10, "invalid network field";
    MALFORMED_AS_PATH = 3 / 11, "malformed AS_PATH";
    HOLD_TIMER_EXPIRED = 4 / 0, "hold timer expired";
    FSM_UNSPECIFIC = 5 / 0, "finite state machine error";
    FSM_UNEXPECTED_IN_OPEN_SENT = 5 / 1, "unexpected message in OpenSent";
    FSM_UNEXPECTED_IN_OPEN_CONFIRM = 5 / 2, "unexpected message in OpenConfirm";
    FSM_UNEXPECTED_IN_ESTABLISHED = 5 / 3, "unexpected message in Established";
    CEASE_UNSPECIFIC = 6 / 0, "cease";
    MAXIMUM_PREFIXES = 6 / 1, "maximum number of prefixes reached";
    ADMINISTRATIVE_SHUTDOWN = 6 / 2, "administrative shutdown";
    PEER_DECONFIGURED = 6 / 3, "peer de-configured";
    ADMINISTRATIVE_RESET = 6 / 4, "administrative reset";
    CONNECTION_REJECTED = 6 / 5, "connection rejected";
    OTHER_CONFIGURATION_CHANGE = 6 / 6, "other configuration change";
    CONNECTION_COLLISION = 6 / 7, "connection collision resolution";
    OUT_OF_RESOURCES = 6 / 8, "out of resources";
    HARD_RESET = 6 / 9, "hard reset";
    BFD_DOWN = 6 / 10, "BFD down";
    ROUTE_REFRESH_UNSPECIFIC = 7 / 0, "ROUTE-REFRESH message error";
    ROUTE_REFRESH_INVALID_LENGTH = 7 / 1, "invalid ROUTE-REFRESH length";
    SEND_HOLD_TIMER_EXPIRED = 8 / 0, "send hold timer expired";
    LSDB_SYNCHRONIZATION_LOST = 9 / 0, "loss of LSDB synchronization";
}

impl ErrorCode {
    /// What the IANA registry calls the code, whatever the subcode.
    pub fn code_name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "message header error",
            2 => "OPEN message error",
            3 => "UPDATE message error",
            4 => "hold timer expired",
            5 => "finite state machine error",
            6 => "cease",
            7 => "ROUTE-REFRESH message error",
            8 => "send hold timer expired",
            9 => "loss of LSDB synchronization",
            _ => return None,
        })
    }
}

/// `administrative shutdown (6/2)`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.name().or(self.code_name()).unwrap_or("unknown error");
        write!(f, "{text} ({}/{})", self.0, self.1)
    }
}

/// A NOTIFICATION message; the connection closes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the code says it is; often empty. Cut when it would make the message too long.
    pub data: Vec<u8>,
}

/// The most octets of a shutdown message (RFC 9003 §2).
const MAX_SHUTDOWN_MESSAGE: usize = 255;
/// The most octets of data shown to a person.
const SHOWN_DATA: usize = 32;

impl Notification {
    /// A NOTIFICATION of this code with this data.
    pub fn new(error: ErrorCode, data: impl Into<Vec<u8>>) -> Self {
        Self { code: error.0, subcode: error.1, data: data.into() }
    }

    /// Cease, administrative shutdown, with a message to the peer's operator: cut to 255 octets of UTF-8.
    pub fn shutdown(message: &str) -> Self {
        Self::new(ErrorCode::ADMINISTRATIVE_SHUTDOWN, communication(message))
    }

    /// Cease, administrative reset, with a message as in [`Notification::shutdown`].
    pub fn reset(message: &str) -> Self {
        Self::new(ErrorCode::ADMINISTRATIVE_RESET, communication(message))
    }

    /// Cease, hard reset: `reason`, whole, to a peer that would otherwise keep our routes through a graceful restart
    /// (RFC 8538 §3.1). A reason that is a hard reset already stays as it is.
    pub fn hard_reset(reason: Self) -> Self {
        if reason.error() == ErrorCode::HARD_RESET {
            return reason;
        }
        let mut data = vec![reason.code, reason.subcode];
        data.extend_from_slice(&reason.data);
        Self::new(ErrorCode::HARD_RESET, data)
    }

    /// The session can't do without these capabilities (RFC 5492 §5): they are listed in the data.
    pub fn unsupported_capabilities(missing: &[Capability]) -> Self {
        let mut data = BytesMut::new();
        for capability in missing {
            capability.encode(&mut data);
        }
        Self::new(ErrorCode::UNSUPPORTED_CAPABILITY, data)
    }

    /// Cease, more prefixes of `family` than `limit` (RFC 4486 §4).
    pub fn max_prefixes(family: Family, limit: u32) -> Self {
        let AfiSafi { afi, safi } = family.into();
        let mut data = afi.to_be_bytes().to_vec();
        data.push(safi);
        data.extend_from_slice(&limit.to_be_bytes());
        Self::new(ErrorCode::MAXIMUM_PREFIXES, data)
    }

    /// Code and subcode as one.
    pub fn error(&self) -> ErrorCode {
        ErrorCode(self.code, self.subcode)
    }

    /// The reason inside a hard reset (RFC 8538 §3.1).
    pub fn hard_reset_reason(&self) -> Option<Self> {
        match (self.error(), self.data.as_slice()) {
            (ErrorCode::HARD_RESET, &[code, subcode, ref data @ ..]) => {
                Some(Self { code, subcode, data: data.to_vec() })
            }
            _ => None,
        }
    }

    /// The peer's operator's words in a shutdown or reset; octets that are not UTF-8 are replaced, none if the
    /// length octet is wrong.
    pub fn shutdown_message(&self) -> Option<String> {
        if !matches!(self.error(), ErrorCode::ADMINISTRATIVE_SHUTDOWN | ErrorCode::ADMINISTRATIVE_RESET) {
            return None;
        }
        match self.data.split_first() {
            Some((length, text)) if *length > 0 && usize::from(*length) == text.len() => {
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        }
    }

    /// The capabilities that [`ErrorCode::UNSUPPORTED_CAPABILITY`] is about, as the other side lists them (RFC 5492
    /// §5); none if the data is no such list.
    pub fn offending_capabilities(&self) -> Option<Vec<Capability>> {
        if self.error() != ErrorCode::UNSUPPORTED_CAPABILITY || self.data.is_empty() {
            return None;
        }
        let mut reader = Reader::new(&self.data);
        let mut capabilities = Vec::new();
        while let Some(code) = reader.u8() {
            let length = reader.u8()?;
            capabilities.push(Capability::decode(code, reader.take(length.into())?).ok()?);
        }
        Some(capabilities)
    }

    /// What the data of some errors means, in words.
    fn data_in_words(&self) -> Option<String> {
        match (self.error(), self.data.as_slice()) {
            (ErrorCode::MAXIMUM_PREFIXES, &[afi_high, afi_low, safi, a, b, c, d]) => {
                let family = AfiSafi { afi: u16::from_be_bytes([afi_high, afi_low]), safi };
                Some(format!("{family}, at most {}", u32::from_be_bytes([a, b, c, d])))
            }
            (ErrorCode::UNSUPPORTED_VERSION_NUMBER, &[high, low]) => {
                Some(format!("the highest supported is {}", u16::from_be_bytes([high, low])))
            }
            _ => {
                let capabilities = self.offending_capabilities()?;
                Some(capabilities.iter().map(Capability::to_string).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// The data, for a person.
    fn fmt_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = self.shutdown_message() {
            // The peer chose these characters; control characters must not reach a terminal.
            return write!(f, ": \"{}\"", message.escape_debug());
        }
        if let Some(words) = self.data_in_words() {
            return write!(f, ": {words}");
        }
        if self.data.is_empty() {
            return Ok(());
        }
        f.write_str(", data")?;
        for octet in self.data.iter().take(SHOWN_DATA) {
            write!(f, " {octet:02x}")?;
        }
        if self.data.len() > SHOWN_DATA {
            write!(f, " … ({} octets)", self.data.len())?;
        }
        Ok(())
    }

    /// Reads a body; framing has seen to it that code and subcode are there.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let (code, rest) = body.split_first().unwrap_or((&0, &[]));
        let (subcode, data) = rest.split_first().unwrap_or((&0, &[]));
        Self { code: *code, subcode: *subcode, data: data.to_vec() }
    }

    pub(crate) fn encode(&self, negotiated: Negotiated, buf: &mut BytesMut) {
        let room = negotiated.max_len_send() - HEADER_LEN - 2;
        write_message(buf, MessageType::Notification, |buf| {
            buf.put_u8(self.code);
            buf.put_u8(self.subcode);
            buf.put_slice(&self.data[..self.data.len().min(room)]);
        });
    }
}

/// A shutdown communication: its length in one octet, then its text.
fn communication(message: &str) -> Vec<u8> {
    let end = message.floor_char_boundary(MAX_SHUTDOWN_MESSAGE);
    let mut data = vec![end as u8];
    data.extend_from_slice(&message.as_bytes()[..end]);
    data
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)?;
        match self.hard_reset_reason() {
            // A reason that is again a hard reset shows its data as it is: the peer chooses how deep they nest.
            Some(reason) => {
                write!(f, ": {}", reason.error())?;
                reason.fmt_details(f)
            }
            None => self.fmt_details(f),
        }
    }
}
