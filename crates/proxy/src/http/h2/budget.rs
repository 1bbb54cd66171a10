//! How much a client may ask for that brings nothing forward.
//!
//! | costs | what | gives back |
//! |---|---|---|
//! | resets | a stream the client resets (CVE-2023-44487), or makes us reset (CVE-2025-8671) | a response that was sent whole; time |
//! | control | PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, what nobody knows | HEADERS and DATA, either way; time |
//!
//! A client without credit gets GOAWAY with ENHANCE_YOUR_CALM. So does one that cancels many requests along with asking for them: nobody
//! has looked at them yet, and nobody shall.

use super::frames::{Frame, kind};
use crate::{http::cancels::Cancels, stats::Misuse};

const CONTROL: u32 = 1000;
const CONTROL_PER_SECOND: u32 = 100;
/// Requests cancelled before they were accepted, of those that come at once. `h2` takes 20, and each of them costs it a stream.
const UNSEEN: u32 = 16;
/// Each frame that brings something forward may be answered by updates of two windows, and a PING.
const CONTROL_PER_FRAME: u32 = 4;

/// Error codes (RFC 9113 §7) of resets that are the client's doing.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;

/// The credit of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    resets: Cancels,
    control: u32,
    /// The last stream whose request was accepted.
    accepted: u32,
    /// Streams behind it that were reset since then.
    unseen: u32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { resets: Cancels::new(), control: CONTROL, accepted: 0, unseen: 0 }
    }

    /// To be called once a second at most.
    pub(super) fn next_second(&mut self) {
        self.resets.next_second();
        self.control = (self.control + CONTROL_PER_SECOND).min(CONTROL);
    }

    /// The request of `stream` has come to us; those of a client come in the order of their streams (RFC 9113 §5.1.1).
    pub(super) fn accepted(&mut self, stream: u32) {
        (self.accepted, self.unseen) = (stream, 0);
    }

    /// Whether the request of `stream` is still to come to us, if it is a request.
    pub(super) fn is_unseen(&self, stream: u32) -> bool {
        stream > self.accepted
    }

    /// A frame of the client.
    pub(super) fn received(&mut self, frame: &Frame) -> Result<(), Misuse> {
        match frame.kind {
            kind::RST_STREAM if self.is_unseen(frame.stream) && self.unseen == UNSEEN => {
                Err(Misuse::RapidReset)
            }
            kind::RST_STREAM => {
                self.unseen += u32::from(frame.stream > self.accepted);
                self.spend_reset()
            }
            kind::DATA if frame.length == 0 && !frame.ends_stream() => self.spend_control(),
            kind::DATA | kind::HEADERS | kind::CONTINUATION => {
                self.earn_control();
                Ok(())
            }
            _ => self.spend_control(),
        }
    }

    /// A frame of ours.
    pub(super) fn sent(&mut self, frame: &Frame) -> Result<(), Misuse> {
        if frame.ends_stream() {
            self.resets.earn();
        }
        match (frame.kind, frame.code) {
            (
                kind::RST_STREAM,
                Some(PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR | REFUSED_STREAM),
            ) => self.spend_reset(),
            (kind::DATA | kind::HEADERS, _) => {
                self.earn_control();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn earn_control(&mut self) {
        self.control = (self.control + CONTROL_PER_FRAME).min(CONTROL);
    }

    fn spend_reset(&mut self) -> Result<(), Misuse> {
        if self.resets.spend() { Ok(()) } else { Err(Misuse::RapidReset) }
    }

    fn spend_control(&mut self) -> Result<(), Misuse> {
        self.control = self.control.checked_sub(1).ok_or(Misuse::ControlFlood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::frames::END_STREAM, *};

    fn frame(kind: u8) -> Frame {
        Frame { kind, flags: 0, stream: 1, length: 8, code: None }
    }

    /// Of a client whose requests are under way.
    fn under_way() -> Budget {
        let mut budget = Budget::new();
        budget.accepted(1);
        budget
    }

    const PING: u8 = 6;

    /// What it has of resets at first.
    fn resets() -> usize {
        let mut cancels = Cancels::new();
        (0..10_000).take_while(|_| cancels.spend()).count()
    }

    #[test]
    fn resets_are_paid_for_by_time_and_by_whole_responses() {
        let mut budget = under_way();
        for _ in 0..resets() {
            budget.received(&frame(kind::RST_STREAM)).unwrap();
        }
        assert_eq!(budget.received(&frame(kind::RST_STREAM)), Err(Misuse::RapidReset));
        budget.next_second();
        budget.received(&frame(kind::RST_STREAM)).unwrap();
        for _ in 0..10_000 {
            budget.sent(&Frame { flags: END_STREAM, ..frame(kind::DATA) }).unwrap();
            budget.received(&frame(kind::RST_STREAM)).unwrap();
        }
    }

    #[test]
    fn requests_may_be_cancelled_unseen_only_a_few_at_a_time() {
        let mut budget = Budget::new();
        let reset = |stream| Frame { stream, ..frame(kind::RST_STREAM) };
        for stream in (1..).step_by(2).take(UNSEEN as usize) {
            budget.received(&reset(stream)).unwrap();
        }
        budget.accepted(2 * UNSEEN + 1);
        for stream in (2 * UNSEEN + 3..).step_by(2).take(UNSEEN as usize) {
            budget.received(&reset(stream)).unwrap();
            budget.received(&reset(1)).unwrap();
        }
        assert_eq!(budget.received(&reset(99)), Err(Misuse::RapidReset));
        assert_eq!(budget.received(&reset(1)), Ok(()), "one that was under way");
    }

    #[test]
    fn resets_that_the_client_provokes_cost_as_its_own_and_ours_cost_it_nothing() {
        let mut budget = Budget::new();
        let reset = |code| Frame { code: Some(code), ..frame(kind::RST_STREAM) };
        for _ in 0..10_000 {
            budget.sent(&reset(2)).unwrap();
        }
        let provoked = (0..10_000).take_while(|_| budget.sent(&reset(PROTOCOL_ERROR)).is_ok()).count();
        assert_eq!(provoked, resets());
    }

    #[test]
    fn control_frames_are_paid_for_by_those_that_bring_something() {
        for control in
            [frame(PING), frame(4), frame(2), frame(8), frame(200), Frame { length: 0, ..frame(kind::DATA) }]
        {
            let mut budget = Budget::new();
            let count = (0..10_000).take_while(|_| budget.received(&control).is_ok()).count();
            assert_eq!(count, CONTROL as usize, "{control:?}");
            for _ in 0..10_000 {
                budget.sent(&frame(kind::DATA)).unwrap();
                for _ in 0..CONTROL_PER_FRAME {
                    budget.received(&control).unwrap();
                }
            }
        }
    }
}
