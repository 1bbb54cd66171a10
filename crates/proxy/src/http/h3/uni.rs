//! The other side's streams in one direction (RFC 9114 §6.2): each read by a task, what little may come.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_http3::{Code, Control, DecoderStream, EncoderStream, StreamKind, Wrong, take_varint};
use quinn::RecvStream;

use super::IntoVarInt;

/// What is read at once.
const PIECE: usize = 4096;
/// Control frames that bring nothing forward, which a second earns.
const FRAMES_PER_SECOND: u32 = 20;
/// Streams in one direction that the other side may open; three of them are of use.
const STREAMS: u32 = 100;
/// And which a second earns.
const STREAMS_PER_SECOND: u32 = 10;

/// What came on the streams of one connection.
#[derive(Debug)]
pub(crate) struct OneWay {
    control: RefCell<Control>,
    /// Streams that there may be one of.
    seen: RefCell<HashSet<StreamKind>>,
    /// What a push stream is wrong for: a client must not open one, a server only those that were allowed (RFC 9114 §6.2.2).
    push: Code,
    streams: Cell<Credit>,
    frames_earned: Cell<Seconds>,
}

/// How many streams may be opened.
#[derive(Debug, Clone, Copy)]
struct Credit {
    left: u32,
    earned: Seconds,
}

impl Credit {
    fn new(now: Instant) -> Self {
        Self { left: STREAMS, earned: Seconds(now) }
    }

    /// A stream was opened. `false`: that is one too many.
    fn spend(&mut self, now: Instant) -> bool {
        let earned = self.earned.take(now).saturating_mul(STREAMS_PER_SECOND);
        self.left = STREAMS.min(self.left.saturating_add(earned));
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Until when the seconds have been counted.
#[derive(Debug, Clone, Copy)]
struct Seconds(Instant);

impl Seconds {
    /// Those that have passed since.
    fn take(&mut self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.0).as_secs();
        self.0 += Duration::from_secs(passed);
        u32::try_from(passed).unwrap_or(u32::MAX)
    }
}

impl OneWay {
    /// Those of a client.
    pub(super) fn of_client() -> Self {
        Self::new(Control::default(), Code::StreamCreationError)
    }

    /// Those of a server.
    pub(crate) fn of_server() -> Self {
        Self::new(Control::of_server(), Code::IdError)
    }

    fn new(control: Control, push: Code) -> Self {
        let now = Instant::now();
        let (streams, frames_earned) = (Credit::new(now).into(), Seconds(now).into());
        Self { control: control.into(), seen: RefCell::default(), push, streams, frames_earned }
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

    /// Time has passed, in which it has earned some.
    fn earn_by_time(&self) {
        let mut earned = self.frames_earned.get();
        let seconds = earned.take(Instant::now());
        self.frames_earned.set(earned);
        self.earn(seconds.saturating_mul(FRAMES_PER_SECOND));
    }

    /// A stream was opened, whatever for: each is a task, and one of an unknown kind an answer too.
    fn note_opened(&self) -> Result<(), Wrong> {
        let mut streams = self.streams.get();
        let is_affordable = streams.spend(Instant::now());
        self.streams.set(streams);
        if is_affordable { Ok(()) } else { Err(Wrong::Connection(Code::ExcessiveLoad)) }
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
        self.note_opened()?;
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
                    self.earn_by_time();
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(credit: &mut Credit, now: Instant) -> usize {
        (0..10_000).take_while(|_| credit.spend(now)).count()
    }

    #[test]
    fn streams_are_earned_by_time_and_do_not_pile_up() {
        let now = Instant::now();
        let mut credit = Credit::new(now);
        assert_eq!(opened(&mut credit, now), 100);
        assert_eq!(opened(&mut credit, now + SECOND / 2), 0);
        assert_eq!(opened(&mut credit, now + SECOND), 10);
        assert_eq!(opened(&mut credit, now + 3 * SECOND + SECOND / 2), 20);
        assert_eq!(opened(&mut credit, now + 4 * SECOND), 10, "halves of seconds count");
        assert_eq!(opened(&mut credit, now + 1_000_000 * SECOND), 100);
    }

    #[test]
    fn either_side_earns_control_frames_by_time() {
        for one_way in [OneWay::of_client(), OneWay::of_server()] {
            let take = |octets: Vec<u8>| one_way.control.borrow_mut().take(octets.into());
            take([&[4, 0][..], &[0x21, 0].repeat(999)].concat()).unwrap();
            let Seconds(before) = one_way.frames_earned.get();
            one_way
                .frames_earned
                .set(Seconds(before.checked_sub(2 * SECOND).expect("the host is up for longer")));
            one_way.earn_by_time();
            // Two seconds, perhaps three if this test was held up.
            take([0x21, 0].repeat(40)).unwrap();
            assert_eq!(take([0x21, 0].repeat(1000)), Err(Wrong::Connection(Code::ExcessiveLoad)));
        }
    }
}
