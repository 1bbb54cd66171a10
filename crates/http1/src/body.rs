//! Message bodies (RFC 9112 §6): which bytes of a slice belong to the body and are passed on.

use crate::{
    Fault,
    chunked::{ChunkDecoder, PartKind},
};

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes. Responses only.
    UntilClose,
}

/// What to do with the next bytes of an input: leave out `skip` of them, pass on `forward` of them as they are,
/// and leave out `drop` of them. Bytes beyond are looked at by the next call, or lie behind the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Bytes of the framing in front, not passed on.
    pub skip: usize,
    /// Bytes that are passed on.
    pub forward: usize,
    /// Bytes of the framing behind, not passed on.
    pub drop: usize,
}

impl Stretch {
    /// How many bytes of the input are dealt with.
    pub fn length(&self) -> usize {
        self.skip + self.forward + self.drop
    }

    /// The bytes of `input` to pass on.
    pub fn forwarded<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.skip..self.skip + self.forward]
    }
}

/// A body on its way through: an incremental decoder that works on the slices as they arrive.
///
/// ```
/// use proxima_http1::{Body, Framing};
///
/// let mut body = Body::new(Framing::Chunked, true);
/// let input = b"5\r\nhello\r\n0\r\n\r\nGET /next";
/// let stretch = body.stretch(input).unwrap();
/// assert_eq!(stretch.forwarded(input), b"5\r\nhello\r\n0\r\n\r\n");
/// assert!(body.is_complete());
/// ```
#[derive(Debug)]
pub struct Body {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Length(u64),
    Chunked { decoder: ChunkDecoder, keeps_chunks: bool },
    UntilClose,
    Closed,
}

impl Body {
    /// A body that begins with the next byte. With `keeps_chunks` a chunked body is passed on chunked, without
    /// it as bare data: for a client that speaks HTTP/1.0.
    pub fn new(framing: Framing, keeps_chunks: bool) -> Self {
        let kind = match framing {
            Framing::None => Kind::Length(0),
            Framing::Length(length) => Kind::Length(length),
            Framing::Chunked => Kind::Chunked { decoder: ChunkDecoder::default(), keeps_chunks },
            Framing::UntilClose => Kind::UntilClose,
        };
        Self { kind }
    }

    /// Whether the last byte of the body has been seen.
    pub fn is_complete(&self) -> bool {
        match &self.kind {
            Kind::Length(left) => *left == 0,
            Kind::Chunked { decoder, .. } => decoder.is_done(),
            Kind::UntilClose => false,
            Kind::Closed => true,
        }
    }

    /// The next stretch of `input`. It covers at least one byte unless `input` is empty or the body complete;
    /// call again with the rest until one of both holds.
    ///
    /// # Errors
    /// When the framing is broken. Nothing after that can be told apart: both connections must be closed.
    pub fn stretch(&mut self, input: &[u8]) -> Result<Stretch, Fault> {
        match &mut self.kind {
            Kind::Length(left) => {
                let forward = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= forward as u64;
                Ok(Stretch { forward, ..Stretch::default() })
            }
            Kind::Chunked { decoder, keeps_chunks } => chunked_stretch(decoder, *keeps_chunks, input),
            Kind::UntilClose => Ok(Stretch { forward: input.len(), ..Stretch::default() }),
            Kind::Closed => Ok(Stretch::default()),
        }
    }

    /// How many of the next bytes are passed on whatever they are, so that nobody has to look at them; `u64::MAX` for a body
    /// without a known end. 0 where framing may come.
    pub fn opaque(&self) -> u64 {
        match &self.kind {
            Kind::Length(left) => *left,
            Kind::UntilClose => u64::MAX,
            Kind::Chunked { .. } | Kind::Closed => 0,
        }
    }

    /// Notes that so many bytes were passed on without a look at them, no more than are [opaque](Self::opaque).
    pub fn pass(&mut self, count: u64) {
        debug_assert!(count <= self.opaque());
        if let Kind::Length(left) = &mut self.kind {
            *left = left.saturating_sub(count);
        }
    }

    /// What is to be passed on after the last stretch of a complete body: the trailer section with its final
    /// empty line, if there were trailers. They can be judged only as a whole, so they are held until then.
    pub fn trailers(&self) -> &[u8] {
        match &self.kind {
            Kind::Chunked { decoder, keeps_chunks: true } if decoder.is_done() => decoder.trailers(),
            _ => &[],
        }
    }

    /// The trailer section of a complete body, with its final empty line, however the body is passed on; empty without
    /// trailers.
    pub fn trailer_section(&self) -> &[u8] {
        match &self.kind {
            Kind::Chunked { decoder, .. } if decoder.is_done() => decoder.trailers(),
            _ => &[],
        }
    }

    /// Notes that the sender closed its connection. Whether the body is whole.
    pub fn close(&mut self) -> bool {
        if matches!(self.kind, Kind::UntilClose) {
            self.kind = Kind::Closed;
        }
        self.is_complete()
    }
}

fn chunked_stretch(decoder: &mut ChunkDecoder, keeps_chunks: bool, input: &[u8]) -> Result<Stretch, Fault> {
    let mut stretch = Stretch::default();
    while !decoder.is_done() && stretch.drop == 0 && stretch.length() < input.len() {
        let part = decoder.part(&input[stretch.length()..])?;
        let passes = match part.kind {
            PartKind::Data => true,
            PartKind::Framing => keeps_chunks,
            PartKind::Held => false,
        };
        match (passes, stretch.forward) {
            (true, _) => stretch.forward += part.length,
            (false, 0) => stretch.skip += part.length,
            (false, _) => stretch.drop += part.length,
        }
    }
    Ok(stretch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_nobody_looks_at_count_towards_the_length() {
        let mut body = Body::new(Framing::Length(10), true);
        assert_eq!(body.stretch(b"abc").unwrap().forward, 3);
        assert_eq!(body.opaque(), 7);
        body.pass(5);
        assert!(!body.is_complete());
        assert_eq!(body.stretch(b"89GET /next").unwrap(), Stretch { forward: 2, ..Stretch::default() });
        assert!(body.is_complete());
        assert_eq!(body.opaque(), 0);
    }

    #[test]
    fn a_body_until_the_close_is_opaque_until_then_and_chunks_never_are() {
        let mut body = Body::new(Framing::UntilClose, true);
        body.pass(1 << 40);
        assert_eq!(body.opaque(), u64::MAX);
        assert!(body.close());
        assert_eq!(body.opaque(), 0);
        let mut chunked = Body::new(Framing::Chunked, true);
        chunked.stretch(b"ffffff\r\n").unwrap();
        assert_eq!((chunked.opaque(), Body::new(Framing::None, true).opaque()), (0, 0));
    }
}
