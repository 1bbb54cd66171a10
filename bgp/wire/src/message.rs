//! The five messages of BGP-4.

use bytes::BytesMut;

use crate::{
    DecodeError, EncodeError, KEEPALIVE, MessageType, Negotiated, Notification, Open, RouteRefresh, Update,
    header,
};

/// A BGP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who the peer is and what it offers.
    Open(Open),
    /// Routes gone and routes come.
    Update(Update),
    /// Why the session ends.
    Notification(Notification),
    /// Still here.
    Keepalive,
    /// Send routes again.
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// Reads one message, exactly as [`frame`](crate::frame) cut it from the stream.
    ///
    /// # Errors
    /// What is wrong with it; [`DecodeError::to_notification`] is what the peer is to be told. A faulty attribute of
    /// an UPDATE that RFC 7606 lets the session survive is no error but one of [`Update::problems`].
    pub fn decode(message: &[u8], negotiated: Negotiated) -> Result<Self, DecodeError> {
        let (kind, body) = header::split(message, negotiated.max_len_receive())?;
        Ok(match kind {
            MessageType::Open => Self::Open(Open::decode(body)?),
            MessageType::Update => Self::Update(Update::decode(body, negotiated)?),
            MessageType::Notification => Self::Notification(Notification::decode(body)),
            MessageType::Keepalive => Self::Keepalive,
            MessageType::RouteRefresh => Self::RouteRefresh(RouteRefresh::decode(message, negotiated)?),
        })
    }

    /// Appends the message to `buf`. An [`Update`] becomes as many messages as its size and RFC 7606 §5.1 (never
    /// withdrawals and announcements, or both families, in one message) ask for.
    ///
    /// # Errors
    /// When it does not fit the format; nothing has been appended then.
    pub fn encode(&self, negotiated: Negotiated, buf: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Open(open) => open.encode(buf)?,
            Self::Update(update) => update.encode(negotiated, buf)?,
            Self::Notification(notification) => notification.encode(negotiated, buf),
            Self::Keepalive => buf.extend_from_slice(&KEEPALIVE),
            Self::RouteRefresh(refresh) => refresh.encode(buf),
        }
        Ok(())
    }
}
