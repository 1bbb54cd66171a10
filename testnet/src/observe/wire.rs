//! BGP as it passes the link between a PoP and its router, by a capture on the router's side.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Instant};

use proxima_types::Prefix;

use super::{
    Journal,
    bgp::{Message, Scanner, Update},
    capture::{Capture, Summary, Wanted},
    packet::{Flow, tcp_segment},
    reassembly::Streams,
};
use crate::{error::Result, netns::NetNs};

const BGP_PORT: u16 = 179;

/// A message seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When the segment that completed it was captured.
    pub at: Instant,
    /// The connection it was on, and which way it went.
    pub flow: Flow,
    /// What it is.
    pub message: Message,
}

impl Seen {
    /// Who sent it.
    pub fn from(&self) -> IpAddr {
        self.flow.source.ip()
    }
}

/// Follows one BGP session on the wire.
#[derive(Debug)]
pub struct WireWatch {
    pop: Vec<IpAddr>,
    seen: Arc<Journal<Seen>>,
    capture: Capture,
}

impl WireWatch {
    /// Captures TCP port 179 on `interface` of `router`; messages from one of the `pop` addresses are the PoP's.
    pub fn start(router: &NetNs, interface: &str, pop: Vec<IpAddr>) -> Result<Self> {
        let seen = Arc::new(Journal::default());
        let mut dissector = Dissector::default();
        let sink = Arc::clone(&seen);
        let capture = Capture::start(router, interface, Wanted::TcpPort(BGP_PORT), move |frame, at| {
            for message in dissector.push(frame, at) {
                sink.push(message);
            }
        })?;
        Ok(Self { pop, seen, capture })
    }

    /// Everything seen, both directions.
    pub fn seen(&self) -> &Journal<Seen> {
        &self.seen
    }

    /// When the PoP first withdrew `prefix` at or after `since`; waits for it until `deadline`.
    pub async fn withdrawn(&self, prefix: Prefix, since: Instant, deadline: Instant) -> Option<Instant> {
        self.first_update(since, deadline, |update| update.withdrawn.contains(&prefix)).await
    }

    /// When the PoP first announced `prefix` at or after `since`; waits for it until `deadline`.
    pub async fn announced(&self, prefix: Prefix, since: Instant, deadline: Instant) -> Option<Instant> {
        self.first_update(since, deadline, |update| update.announced.contains(&prefix)).await
    }

    /// When the PoP first sent an UPDATE like `wanted` at or after `since`; waits for it until `deadline`.
    pub async fn first_update(
        &self,
        since: Instant,
        deadline: Instant,
        wanted: impl Fn(&Update) -> bool,
    ) -> Option<Instant> {
        self.seen
            .wait(0, deadline, |seen| {
                seen.iter().find(|seen| self.is_update(seen, since, &wanted)).map(|seen| seen.at)
            })
            .await
    }

    /// The UPDATEs the PoP sent from `since` until `until`.
    pub fn updates(&self, since: Instant, until: Instant) -> Vec<Seen> {
        self.seen.read(0, |seen| {
            let wanted = |seen: &&Seen| seen.at < until && self.is_update(seen, since, &|_| true);
            seen.iter().filter(wanted).cloned().collect()
        })
    }

    /// How many messages like `wanted` the PoP sent from `since` until `until`.
    pub fn sent(&self, since: Instant, until: Instant, wanted: impl Fn(&Message) -> bool) -> usize {
        let counts = |seen: &&Seen| {
            seen.at >= since && seen.at < until && self.pop.contains(&seen.from()) && wanted(&seen.message)
        };
        self.seen.read(0, |seen| seen.iter().filter(counts).count())
    }

    /// Ends the capture; everything captured until now is in [`WireWatch::seen`] afterwards.
    pub fn finish(self) -> Result<(Arc<Journal<Seen>>, Summary)> {
        let summary = self.capture.finish()?;
        Ok((self.seen, summary))
    }

    fn is_update(&self, seen: &Seen, since: Instant, wanted: &impl Fn(&Update) -> bool) -> bool {
        let of_pop = seen.at >= since && self.pop.contains(&seen.from());
        of_pop && matches!(&seen.message, Message::Update(update) if wanted(update))
    }
}

/// Frames in, messages out.
#[derive(Debug, Default)]
struct Dissector {
    streams: Streams,
    scanners: HashMap<Flow, Scanner>,
}

impl Dissector {
    fn push(&mut self, frame: &[u8], at: Instant) -> Vec<Seen> {
        let Some(segment) = tcp_segment(frame) else { return Vec::new() };
        let progress = self.streams.push(&segment);
        let scanner = self.scanners.entry(segment.flow).or_default();
        if progress.restarted {
            scanner.restart();
        }
        let flow = segment.flow;
        scanner.push(&progress.data).into_iter().map(|message| Seen { at, flow, message }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::packet::tests::frame, *};

    #[test]
    fn a_withdrawal_split_over_two_segments_is_timed_by_the_second() {
        let (pop, router) = ("10.2.1.2:40000".parse().unwrap(), "10.2.1.1:179".parse().unwrap());
        let mut update = vec![0xff; 16];
        update.extend([0, 27, 2, 0, 4, 24, 203, 0, 113, 0, 0]);
        let start = Instant::now();
        let mut dissector = Dissector::default();
        let mut seen = Vec::new();
        for (sequence, part, millis) in [(1, &update[..20], 3), (21, &update[20..], 8)] {
            let frame = frame(pop, router, sequence, 0x18, part);
            seen.extend(dissector.push(&frame, start + Duration::from_millis(millis)));
        }
        let withdrawn = vec!["203.0.113.0/24".parse().unwrap()];
        assert_eq!(
            seen,
            [Seen {
                at: start + Duration::from_millis(8),
                flow: Flow { source: pop, destination: router },
                message: Message::Update(Update { withdrawn, ..Update::default() }),
            }]
        );
    }
}
