//! The other side's streams in one direction (RFC 9114 §6.2): each read by a task, what little may come.

use std::{cell::RefCell, collections::HashSet};

use bytes::Bytes;
use proxima_http3::{Code, Control, DecoderStream, EncoderStream, StreamKind, Wrong, take_varint};
use quinn::RecvStream;

use super::IntoVarInt;

/// What is read at once.
const PIECE: usize = 4096;

/// What came on the streams of one connection.
#[derive(Debug)]
pub(crate) struct OneWay {
    control: RefCell<Control>,
    /// Streams that there may be one of.
    seen: RefCell<HashSet<StreamKind>>,
    /// What a push stream is wrong for: a client must not open one, a server only those that were allowed (RFC 9114 §6.2.2).
    push: Code,
}

impl OneWay {
    /// Those of a client.
    pub(super) fn of_client() -> Self {
        let (control, seen) = Default::default();
        Self { control, seen, push: Code::StreamCreationError }
    }

    /// Those of a server.
    pub(crate) fn of_server() -> Self {
        Self { control: Control::of_server().into(), seen: RefCell::default(), push: Code::IdError }
    }

    /// What the last GOAWAY said.
    pub(crate) fn goaway(&self) -> Option<u64> {
        self.control.borrow().goaway()
    }

    /// Whether WebSockets are taken; `None` until the settings are there.
    pub(crate) fn takes_websockets(&self) -> Option<bool> {
        self.control.borrow().takes_websockets()
    }

    /// The other side may send so many more control frames.
    pub(crate) fn earn(&self, frames: u32) {
        self.control.borrow_mut().earn(frames);
    }

    /// Reads a stream until it ends, which is the end of the connection for those that matter. Calls `moved` when the control
    /// stream has said something.
    pub(crate) async fn read(&self, stream: &mut RecvStream, moved: impl Fn()) -> Result<(), Code> {
        match self.try_read(stream, moved).await {
            Err(Wrong::Connection(code)) => Err(code),
            // These streams carry no message, and none of them is reset.
            Ok(()) | Err(Wrong::Stream(_) | Wrong::Message(_)) => Ok(()),
        }
    }

    async fn try_read(&self, stream: &mut RecvStream, moved: impl Fn()) -> Result<(), Wrong> {
        let Some((kind, first)) = kind(stream).await else { return Ok(()) };
        match kind {
            StreamKind::Push => return Err(Wrong::Connection(self.push)),
            StreamKind::Unknown => {
                // It fails only on a stream that is closed.
                let _ = stream.stop(Code::StreamCreationError.into_varint());
                return Ok(());
            }
            StreamKind::Control | StreamKind::QpackEncoder | StreamKind::QpackDecoder => {}
        }
        if !self.seen.borrow_mut().insert(kind) {
            return Err(Wrong::Connection(Code::StreamCreationError));
        }
        let (mut encoder, mut decoder) = (EncoderStream::default(), DecoderStream::default());
        let mut piece = first;
        loop {
            match kind {
                StreamKind::QpackEncoder => encoder.take(&piece)?,
                StreamKind::QpackDecoder => decoder.take(&piece)?,
                _ => {
                    self.control.borrow_mut().take(piece)?;
                    moved();
                }
            }
            // Also where the connection has ended, which nothing is told to any more.
            let Ok(Some(chunk)) = stream.read_chunk(PIECE, true).await else {
                return Err(Wrong::Connection(Code::ClosedCriticalStream));
            };
            piece = chunk.bytes;
        }
    }
}

/// What the stream is for, and what came behind that; `None` if it ends before that is known.
async fn kind(stream: &mut RecvStream) -> Option<(StreamKind, Bytes)> {
    let mut begun = Vec::new();
    loop {
        let chunk = stream.read_chunk(PIECE, true).await.ok()??;
        begun.extend_from_slice(&chunk.bytes);
        if let Some((kind, rest)) = take_varint(&begun) {
            return Some((StreamKind::of(kind), Bytes::copy_from_slice(rest)));
        }
    }
}
