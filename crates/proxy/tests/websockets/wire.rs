//! One end of a WebSocket's tunnel, in any version.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use quinn::{ReadError, RecvStream, SendStream, VarInt};
use tokio::io::AsyncWriteExt;

use crate::{
    common::{Peer, soon},
    support::frame,
};

/// H3_REQUEST_CANCELLED.
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

pub(crate) enum Wire {
    Http1(Peer),
    Http2 {
        send: h2::SendStream<Bytes>,
        receive: h2::RecvStream,
    },
    Http3 {
        send: SendStream,
        receive: RecvStream,
        /// Received, and not yet taken apart.
        raw: Vec<u8>,
    },
}

/// How a tunnel ends, as one side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    /// A reset, where there is a code with the one of a client or server that cancels (RFC 8441 §5, RFC 9220 §3).
    Cancelled,
    /// With another one.
    Broken(u64),
}

impl Wire {
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(peer) => peer.write_bytes(bytes).await,
            // The other side may have left: tests look at what they read.
            Self::Http2 { send, .. } => {
                // It holds what the window has no room for.
                let _ = send.send_data(Bytes::copy_from_slice(bytes), false);
            }
            Self::Http3 { send, .. } => {
                let _ = soon("a write", send.write_all(&frame(0, bytes))).await;
            }
        }
    }

    /// Says that nothing follows, and goes on listening.
    pub(crate) async fn finish(&mut self) {
        match self {
            Self::Http1(peer) => peer.stream.shutdown().await.unwrap(),
            Self::Http2 { send, .. } => send.send_data(Bytes::new(), true).unwrap(),
            Self::Http3 { send, .. } => send.finish().unwrap(),
        }
    }

    /// As if the process died, or its socket was reset.
    pub(crate) fn abort(self) {
        match self {
            Self::Http1(peer) => {
                socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            Self::Http2 { mut send, .. } => send.send_reset(Reason::CANCEL),
            Self::Http3 { mut send, mut receive, .. } => {
                send.reset(CANCELLED).unwrap();
                // It fails where all has been received.
                let _ = receive.stop(CANCELLED);
            }
        }
    }

    /// What comes next; or how it has ended.
    pub(crate) async fn next(&mut self) -> Result<Bytes, End> {
        soon("something, or the end", self.read()).await
    }

    async fn read(&mut self) -> Result<Bytes, End> {
        match self {
            Self::Http1(peer) => {
                if peer.buffer.is_empty() {
                    match peer.fill().await {
                        Ok(0) => return Err(End::Clean),
                        Ok(_) => {}
                        Err(_) => return Err(End::Cancelled),
                    }
                }
                Ok(std::mem::take(&mut peer.buffer).into())
            }
            Self::Http2 { receive, .. } => loop {
                match receive.data().await {
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(bytes)) => {
                        receive.flow_control().release_capacity(bytes.len()).unwrap();
                        return Ok(bytes);
                    }
                    None => {
                        assert_eq!(receive.trailers().await.unwrap(), None);
                        return Err(End::Clean);
                    }
                    Some(Err(error)) => {
                        return Err(match error.reason() {
                            Some(Reason::CANCEL) => End::Cancelled,
                            reason => End::Broken(reason.map_or(0, |reason| u32::from(reason).into())),
                        });
                    }
                }
            },
            Self::Http3 { receive, raw, .. } => loop {
                if let Some((kind, payload)) = take_frame(raw) {
                    assert_eq!(kind, 0, "{payload:02x?}");
                    return Ok(payload.into());
                }
                match receive.read_chunk(usize::MAX, true).await {
                    Ok(Some(chunk)) => raw.extend_from_slice(&chunk.bytes),
                    Ok(None) => {
                        assert!(raw.is_empty(), "a part of a frame");
                        return Err(End::Clean);
                    }
                    Err(ReadError::Reset(CANCELLED)) => return Err(End::Cancelled),
                    Err(ReadError::Reset(code)) => return Err(End::Broken(code.into_inner())),
                    Err(error) => panic!("{error}"),
                }
            },
        }
    }

    /// So many octets, and nothing else.
    pub(crate) async fn hear(&mut self, count: usize) -> String {
        let mut got = Vec::new();
        while got.len() < count {
            got.extend(self.next().await.unwrap_or_else(|end| panic!("{end:?} after {} octets", got.len())));
        }
        assert_eq!(got.len(), count);
        String::from_utf8(got).unwrap()
    }

    /// All there is, and how it ends.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut got = Vec::new();
        loop {
            match self.next().await {
                Ok(bytes) => got.extend(bytes),
                Err(end) => return (got, end),
            }
        }
    }

    /// Sends back what comes, until the other side ends.
    pub(crate) async fn echo(&mut self) {
        while let Ok(bytes) = self.read().await {
            self.say(&bytes).await;
        }
    }
}

/// The first frame of `raw`, once it is whole.
pub(crate) fn take_frame(raw: &mut Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let (kind, rest) = proxima_http3::take_varint(raw)?;
    let (length, rest) = proxima_http3::take_varint(rest)?;
    let payload = rest.get(..usize::try_from(length).unwrap())?.to_vec();
    let used = raw.len() - rest.len() + payload.len();
    raw.drain(..used);
    Some((kind, payload))
}

/// The first frame of a stream, unless that ends before.
pub(crate) async fn first_frame(receive: &mut RecvStream, raw: &mut Vec<u8>) -> Option<(u64, Vec<u8>)> {
    loop {
        if let Some(frame) = take_frame(raw) {
            return Some(frame);
        }
        let chunk = soon("a frame", receive.read_chunk(usize::MAX, true)).await;
        raw.extend_from_slice(&chunk.ok()??.bytes);
    }
}
