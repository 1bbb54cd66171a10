//! One direction of a line: when each frame arrives at the far end, if it does. Pure: time is handed in.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// Frames that may be under way at once; more are dropped from the tail, as a router's queue does.
const CAPACITY: usize = 65_536;

/// How a line treats what it carries in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Every frame takes at least this long.
    pub delay: Duration,
    /// and up to this much longer, evenly spread.
    pub jitter: Duration,
    /// The share of frames that never arrive: 0 to 1.
    pub loss: f64,
    /// Whether jitter may let a frame overtake another. Long-distance lines rarely do.
    pub reorder: bool,
}

impl Shape {
    /// A line with this delay and nothing else.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss: 0.0, reorder: false }
    }

    /// The same line with another loss.
    #[must_use]
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same line with another jitter.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }
}

/// What a direction has done so far, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed to the far end.
    pub delivered: u64,
    /// Lost as the shape says.
    pub lost: u64,
    /// Lost because the line was down, full, or its far end would not take them.
    pub dropped: u64,
}

/// One direction's frames under way.
#[derive(Debug)]
pub(super) struct Path {
    shape: Shape,
    seed: u64,
    random: Random,
    up: bool,
    under_way: BinaryHeap<Reverse<Frame>>,
    sent: u64,
    last_due: Option<Instant>,
    pub(super) counters: Counters,
}

impl Path {
    pub(super) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            seed,
            random: Random(seed),
            up: true,
            under_way: BinaryHeap::new(),
            sent: 0,
            last_due: None,
            counters: Counters::default(),
        }
    }

    pub(super) fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
        self.random = Random(self.seed);
    }

    pub(super) fn set_up(&mut self, up: bool) {
        self.up = up;
        if !up {
            self.counters.dropped += self.under_way.len() as u64;
            self.under_way.clear();
        }
    }

    /// A frame enters at `now`.
    pub(super) fn send(&mut self, now: Instant, bytes: &[u8]) {
        if !self.up || self.under_way.len() >= CAPACITY {
            self.counters.dropped += 1;
            return;
        }
        // Both are drawn for every frame, so that losses do not depend on whether there is jitter.
        let (chance, spread) = (self.random.unit(), self.random.unit());
        if chance < self.shape.loss {
            self.counters.lost += 1;
            return;
        }
        let mut due = now + self.shape.delay + self.shape.jitter.mul_f64(spread);
        if !self.shape.reorder {
            due = self.last_due.map_or(due, |last| due.max(last));
            self.last_due = Some(due);
        }
        self.under_way.push(Reverse(Frame { due, number: self.sent, bytes: bytes.into() }));
        self.sent += 1;
    }

    /// When the next frame arrives.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|frame| frame.0.due)
    }

    /// The next frame that has arrived by `now`.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Box<[u8]>> {
        if self.next_due()? > now {
            return None;
        }
        self.under_way.pop().map(|frame| frame.0.bytes)
    }
}

#[derive(Debug)]
struct Frame {
    due: Instant,
    number: u64,
    bytes: Box<[u8]>,
}

impl Ord for Frame {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Frame {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Frame {}

/// SplitMix64: small, seeded, even.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn arrivals(path: &mut Path, until: Instant) -> Vec<u8> {
        std::iter::from_fn(|| path.arrived(until)).map(|bytes| bytes[0]).collect()
    }

    #[test]
    fn a_frame_arrives_after_the_delay_and_not_before() {
        let start = Instant::now();
        let mut path = Path::new(Shape::delay(40 * MS), 1);
        path.send(start, &[7]);
        assert_eq!(path.next_due(), Some(start + 40 * MS));
        assert!(arrivals(&mut path, start + 39 * MS).is_empty());
        assert_eq!(arrivals(&mut path, start + 40 * MS), [7]);
    }

    #[test]
    fn frames_keep_their_order_unless_the_shape_lets_them_overtake() {
        let start = Instant::now();
        for (jitter, reorder, ordered) in [(0, false, true), (20, false, true), (20, true, false)] {
            let shape = Shape { jitter: jitter * MS, reorder, ..Shape::delay(10 * MS) };
            let mut path = Path::new(shape, 42);
            for n in 0..100 {
                path.send(start, &[n]);
            }
            let got = arrivals(&mut path, start + 40 * MS);
            assert_eq!(got.len(), 100);
            assert_eq!(got.is_sorted(), ordered, "jitter {jitter} ms, reorder {reorder}");
        }
    }

    #[test]
    fn a_line_made_shorter_does_not_let_later_frames_overtake() {
        let start = Instant::now();
        let mut path = Path::new(Shape::delay(40 * MS), 1);
        path.send(start, &[1]);
        path.set_shape(Shape::delay(MS));
        path.send(start, &[2]);
        assert!(arrivals(&mut path, start + 2 * MS).is_empty());
        assert_eq!(arrivals(&mut path, start + 40 * MS), [1, 2]);
    }

    #[test]
    fn the_same_seed_loses_the_same_frames_with_or_without_jitter() {
        let start = Instant::now();
        let survivors = |seed, jitter: Duration| {
            let mut path = Path::new(Shape::delay(MS).with_loss(0.2).with_jitter(jitter), seed);
            for n in 0..=255 {
                path.send(start, &[n]);
            }
            (arrivals(&mut path, start + 50 * MS), path.counters.lost)
        };
        let (first, lost) = survivors(1, Duration::ZERO);
        assert_eq!(survivors(1, Duration::ZERO).0, first);
        assert_eq!(survivors(1, 5 * MS).0, first);
        assert_ne!(survivors(2, Duration::ZERO).0, first);
        assert!((30..70).contains(&lost), "{lost} of 256 lost at 20 %");
    }

    #[test]
    fn a_pulled_line_loses_what_was_under_way_and_carries_again_once_plugged_in() {
        let start = Instant::now();
        let mut path = Path::new(Shape::delay(10 * MS), 1);
        path.send(start, &[1]);
        path.set_up(false);
        path.send(start, &[2]);
        path.set_up(true);
        path.send(start, &[3]);
        assert_eq!(arrivals(&mut path, start + 10 * MS), [3]);
        assert_eq!(path.counters.dropped, 2);
    }
}
