//! ROUTE-REFRESH: asking for a family's routes again (RFC 2918), with marks around the answer (RFC 7313).

use bytes::{BufMut, BytesMut};

use crate::{
    AfiSafi, DecodeError, ErrorCode, HEADER_LEN, HeaderError, MessageType, Negotiated, Notification,
    header::write_message,
};

/// A ROUTE-REFRESH message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family it is about.
    pub family: AfiSafi,
    /// What it says about it.
    pub kind: RefreshKind,
}

/// The message subtype (RFC 7313 §3.2), where both sides know of it; otherwise each message is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshKind {
    /// Send the family's routes again.
    Request,
    /// What follows is the answer (BoRR).
    Begin,
    /// The answer is complete (EoRR): routes not seen since [`RefreshKind::Begin`] are gone.
    End,
    /// To be ignored.
    Unknown(u8),
}

impl RefreshKind {
    fn octet(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(octet) => octet,
        }
    }
}

/// A ROUTE-REFRESH that ends the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteRefreshError {
    /// A mark of RFC 7313 with a body other than 4 octets.
    #[error("a ROUTE-REFRESH mark of {} octets; RFC 7313 allows 23 only", .message.len())]
    InvalidLength {
        /// The message, header included.
        message: Vec<u8>,
    },
}

impl RouteRefreshError {
    /// The NOTIFICATION for it.
    pub fn to_notification(&self) -> Notification {
        match self {
            Self::InvalidLength { message } => {
                Notification::new(ErrorCode::ROUTE_REFRESH_INVALID_LENGTH, message.as_slice())
            }
        }
    }
}

impl RouteRefresh {
    /// Asks for the routes of `family`.
    pub fn request(family: impl Into<AfiSafi>) -> Self {
        Self { family: family.into(), kind: RefreshKind::Request }
    }

    /// Reads a whole message; what follows the family in a request is an outbound filter (RFC 5291), which we never
    /// offer and so skip. Without [`Negotiated::enhanced_refresh`] the subtype is a reserved octet, whose value means
    /// nothing (RFC 2918 §3): all are requests, and no length is wrong.
    pub(crate) fn decode(message: &[u8], negotiated: Negotiated) -> Result<Self, DecodeError> {
        let body = &message[HEADER_LEN..];
        let Some(&[afi_high, afi_low, subtype, safi]) = body.first_chunk() else {
            return Err(HeaderError::BadLength(message.len() as u16).into());
        };
        let kind = match subtype {
            _ if !negotiated.enhanced_refresh => RefreshKind::Request,
            0 => RefreshKind::Request,
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            other => RefreshKind::Unknown(other),
        };
        if matches!(kind, RefreshKind::Begin | RefreshKind::End) && body.len() != 4 {
            return Err(RouteRefreshError::InvalidLength { message: message.to_vec() }.into());
        }
        Ok(Self { family: AfiSafi { afi: u16::from_be_bytes([afi_high, afi_low]), safi }, kind })
    }

    pub(crate) fn encode(self, buf: &mut BytesMut) {
        write_message(buf, MessageType::RouteRefresh, |buf| {
            buf.put_u16(self.family.afi);
            buf.put_u8(self.kind.octet());
            buf.put_u8(self.family.safi);
        });
    }
}
