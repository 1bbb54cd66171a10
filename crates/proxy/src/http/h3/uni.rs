//! A client's streams in one direction (RFC 9114 §6.2): each a task, which reads what little may come.

use std::rc::Rc;

use bytes::Bytes;
use proxima_http3::{Code, DecoderStream, EncoderStream, StreamKind, Wrong, take_varint};
use quinn::RecvStream;

use super::{IntoVarInt, Link};

/// What is read at once.
const PIECE: usize = 4096;

/// Reads the stream until it ends, which is the end of the connection for those that matter.
pub(super) async fn serve(link: Rc<Link>, mut stream: RecvStream) {
    if let Err(Wrong::Connection(code)) = read(&link, &mut stream).await {
        link.fail(code);
    }
}

async fn read(link: &Link, stream: &mut RecvStream) -> Result<(), Wrong> {
    let Some((kind, first)) = kind(stream).await else { return Ok(()) };
    match kind {
        StreamKind::Push => return Err(Wrong::Connection(Code::StreamCreationError)),
        StreamKind::Unknown => {
            // It fails only on a stream that is closed.
            let _ = stream.stop(Code::StreamCreationError.into_varint());
            return Ok(());
        }
        StreamKind::Control | StreamKind::QpackEncoder | StreamKind::QpackDecoder => {}
    }
    if !link.seen.borrow_mut().insert(kind) {
        return Err(Wrong::Connection(Code::StreamCreationError));
    }
    let (mut encoder, mut decoder) = (EncoderStream::default(), DecoderStream::default());
    let mut piece = first;
    loop {
        match kind {
            StreamKind::QpackEncoder => encoder.take(&piece)?,
            StreamKind::QpackDecoder => decoder.take(&piece)?,
            _ => {
                link.control.borrow_mut().take(piece)?;
                if link.control.borrow().is_leaving() {
                    link.streams.wake();
                }
            }
        }
        // Also where the connection has ended, which nothing is told to any more.
        let Ok(Some(chunk)) = stream.read_chunk(PIECE, true).await else {
            return Err(Wrong::Connection(Code::ClosedCriticalStream));
        };
        piece = chunk.bytes;
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
