//! Looks for a marker in every byte that passes an interface.
//!
//! Fenced requests carry a random token in their path and body. The fence holds when no link to another region shows
//! it; that the detector works at all is shown by the same token on a link where it must appear.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    capture::{Capture, Summary, Wanted},
    packet::{Flow, tcp_segment},
};
use crate::{error::Result, netns::NetNs};

/// Counts a marker's occurrences on one interface.
#[derive(Debug)]
pub struct MarkerWatch {
    hits: Arc<AtomicU64>,
    octets: Arc<AtomicU64>,
    capture: Capture,
}

/// What one interface showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sightings {
    /// Occurrences of the marker.
    pub hits: u64,
    /// Octets searched.
    pub octets: u64,
    /// The capture's own account.
    pub capture: Summary,
}

impl MarkerWatch {
    /// Searches everything that passes `interface` of `host`.
    pub fn start(host: &NetNs, interface: &str, marker: &str) -> Result<Self> {
        let (hits, octets) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut search = Search::new(marker.as_bytes());
        let (found, searched) = (Arc::clone(&hits), Arc::clone(&octets));
        let capture = Capture::start(host, interface, Wanted::Everything, move |frame, _| {
            found.fetch_add(search.push(frame), Ordering::Relaxed);
            searched.fetch_add(frame.len() as u64, Ordering::Relaxed);
        })?;
        Ok(Self { hits, octets, capture })
    }

    /// Occurrences until now.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Ends the capture and counts the whole of it.
    pub fn finish(self) -> Result<Sightings> {
        let capture = self.capture.finish()?;
        Ok(Sightings {
            hits: self.hits.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
            capture,
        })
    }
}

/// Finds the marker within frames and across two successive segments of a flow.
#[derive(Debug)]
struct Search {
    marker: Vec<u8>,
    /// The end of each flow's latest segment, one octet shorter than the marker.
    tails: HashMap<Flow, Vec<u8>>,
}

impl Search {
    fn new(marker: &[u8]) -> Self {
        Self { marker: marker.to_vec(), tails: HashMap::new() }
    }

    fn push(&mut self, frame: &[u8]) -> u64 {
        let within = self.count(frame);
        let Some(segment) = tcp_segment(frame) else { return within };
        if segment.syn || segment.reset {
            self.tails.remove(&segment.flow);
        }
        if segment.payload.is_empty() {
            return within;
        }
        let keep = self.marker.len() - 1;
        let mut seam = self.tails.remove(&segment.flow).unwrap_or_default();
        seam.extend_from_slice(&segment.payload[..segment.payload.len().min(keep)]);
        let across = self.count(&seam);
        if segment.payload.len() >= keep {
            seam = segment.payload[segment.payload.len() - keep..].to_vec();
        } else {
            seam.drain(..seam.len().saturating_sub(keep));
        }
        self.tails.insert(segment.flow, seam);
        within + across
    }

    fn count(&self, data: &[u8]) -> u64 {
        let first = self.marker[0];
        let starts = data.iter().enumerate().filter(|(_, octet)| **octet == first);
        starts.filter(|(start, _)| data[*start..].starts_with(&self.marker)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::tests::frame, *};

    fn push(search: &mut Search, sequence: u32, payload: &[u8]) -> u64 {
        let frame =
            frame("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), sequence, 0x18, payload);
        search.push(&frame)
    }

    #[test]
    fn the_marker_is_found_in_a_segment_and_across_segments_but_counted_once() {
        let text = b"GET /fenced/TOKEN-7f3a HTTP/1.1\r\n\r\nTOKEN-7f3a";
        for size in 1..text.len() {
            let mut search = Search::new(b"TOKEN-7f3a");
            let mut sequence = 1;
            let hits: u64 = text
                .chunks(size)
                .map(|chunk| {
                    sequence += chunk.len() as u32;
                    push(&mut search, sequence, chunk)
                })
                .sum();
            assert_eq!(hits, 2, "in segments of {size}");
        }
    }

    #[test]
    fn something_like_the_marker_is_not_the_marker() {
        let mut search = Search::new(b"TOKEN-7f3a");
        assert_eq!(push(&mut search, 1, b"TOKEN-7f3"), 0);
        assert_eq!(push(&mut search, 10, b"b TTOKEN-7f3b"), 0);
    }
}
