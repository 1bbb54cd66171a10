//! TCP payload in order, from captured segments: retransmissions dropped, early segments held until their turn.

use std::collections::HashMap;

use super::packet::{Flow, Segment};

/// Beyond this much held-back data a missing segment counts as lost to the capture and is skipped.
const MAX_HELD: usize = 1 << 20;

/// All flows of one capture.
#[derive(Debug, Default)]
pub struct Streams {
    flows: HashMap<Flow, Stream>,
}

/// What a segment meant for its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The stream started anew with this segment (SYN), or octets before this were lost.
    pub restarted: bool,
    /// What became readable with this segment, in order.
    pub data: Vec<u8>,
}

impl Streams {
    /// Takes the next segment captured.
    pub fn push(&mut self, segment: &Segment<'_>) -> Progress {
        let stream = self.flows.entry(segment.flow).or_default();
        let mut progress = Progress::default();
        if segment.syn {
            *stream = Stream { next: Some(segment.sequence.wrapping_add(1)), held: Vec::new() };
            progress.restarted = true;
            return progress;
        }
        if !segment.payload.is_empty() {
            stream.held.push(Held { sequence: segment.sequence, data: segment.payload.to_vec() });
            stream.release(&mut progress);
        }
        progress
    }
}

#[derive(Debug, Default)]
struct Stream {
    /// Sequence number of the next octet to read; unknown until the first segment of a stream joined midway.
    next: Option<u32>,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    sequence: u32,
    data: Vec<u8>,
}

impl Stream {
    fn release(&mut self, progress: &mut Progress) {
        let mut next = *self.next.get_or_insert(self.held[0].sequence);
        loop {
            self.held.retain(|held| distance(next, held.end()) > 0);
            let Some(ready) = self.held.iter().position(|held| distance(next, held.sequence) <= 0) else {
                break;
            };
            let held = self.held.swap_remove(ready);
            let known = next.wrapping_sub(held.sequence) as usize;
            next = held.end();
            progress.data.extend_from_slice(&held.data[known..]);
        }
        self.next = Some(next);
        if self.held.iter().map(|held| held.data.len()).sum::<usize>() > MAX_HELD {
            let nearest = self.held.iter().map(|held| held.sequence).min_by_key(|s| distance(next, *s));
            self.next = nearest;
            progress.restarted = true;
            self.release(progress);
        }
    }
}

impl Held {
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.data.len() as u32)
    }
}

/// How far `to` lies after `from` in sequence space; negative when before (RFC 9293 §3.4).
#[allow(clippy::cast_possible_wrap, reason = "sequence arithmetic is modulo 2^32")]
fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(streams: &mut Streams, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let flow = Flow { source: "1.1.1.1:1".parse().unwrap(), destination: "2.2.2.2:2".parse().unwrap() };
        let segment = Segment { flow, sequence, syn: false, reset: false, payload };
        streams.push(&segment).data
    }

    #[test]
    fn reordered_duplicated_and_overlapping_segments_read_as_sent() {
        let mut streams = Streams::default();
        let mut read = feed(&mut streams, u32::MAX - 1, b"ab"); // wraps to 0
        read.extend(feed(&mut streams, 3, b"fgh"));
        read.extend(feed(&mut streams, u32::MAX - 1, b"ab"));
        read.extend(feed(&mut streams, u32::MAX, b"bcd")); // overlaps what is known
        assert_eq!(read, b"abcd");
        read.extend(feed(&mut streams, 2, b"ef"));
        assert_eq!(read, b"abcdefgh");
    }

    #[test]
    fn a_syn_starts_the_stream_anew() {
        let mut streams = Streams::default();
        feed(&mut streams, 100, b"old");
        let flow = Flow { source: "1.1.1.1:1".parse().unwrap(), destination: "2.2.2.2:2".parse().unwrap() };
        let syn = Segment { flow, sequence: 5, syn: true, reset: false, payload: b"" };
        assert!(streams.push(&syn).restarted);
        assert_eq!(feed(&mut streams, 6, b"new"), b"new");
    }

    #[test]
    fn a_segment_the_capture_missed_is_skipped_once_too_much_waits_for_it() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, b"x");
        let block = vec![b'y'; 1 << 19];
        assert!(feed(&mut streams, 2, &block).is_empty());
        assert!(feed(&mut streams, 2 + (1 << 19), &block).is_empty());
        let all = feed(&mut streams, 2 + (1 << 20), b"z");
        assert_eq!(all.len(), (1 << 20) + 1);
    }
}
