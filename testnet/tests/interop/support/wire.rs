//! What passes the cable, seen by a capture on the router's side.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use proxima_testnet::observe::{
    WireWatch,
    bgp::{Message, Refresh, Update},
    capture::{Capture, Wanted},
    wire::Seen,
};
use proxima_types::{Family, Prefix};

use super::{INTERFACE, Lab, POP, wait};

/// Everything that was said since the capture began.
pub(crate) struct Wire(WireWatch);

/// What one side says of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It asks for all routes again.
    Request,
    /// The answer to such a request begins.
    Begin,
    Announced(Prefix),
    Withdrawn(Prefix),
    /// The answer ends.
    End,
}

impl Wire {
    /// From now on; before the session, if nothing of it is to be missed.
    pub(crate) fn of(lab: &Lab) -> Self {
        Self(WireWatch::start(&lab.hosts[0], INTERFACE, vec![POP.into()]).unwrap())
    }

    /// How much was seen: where to go on later. The capture is behind what the sides have heard: wait for the last of that.
    pub(crate) fn mark(&self) -> usize {
        self.0.seen().len()
    }

    /// Waits until one side was seen to announce all these prefixes since a mark.
    pub(crate) fn wait_announced(&self, mark: usize, from: IpAddr, prefixes: &[&str]) {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        wait(&format!("{prefixes:?} on the wire"), || {
            let steps = Family::ALL.map(|family| self.steps(mark, from, family)).concat();
            let seen = |prefix: &Prefix| steps.contains(&Step::Announced(*prefix));
            if prefixes.iter().all(seen) { Ok(()) } else { Err(format!("{steps:?}")) }
        });
    }

    /// All that was said from a mark on.
    pub(crate) fn since(&self, mark: usize) -> Vec<Seen> {
        self.0.seen().read(mark, <[Seen]>::to_vec)
    }

    /// What one side said of a family from a mark on, End-of-RIB left out.
    pub(crate) fn steps(&self, mark: usize, from: IpAddr, family: Family) -> Vec<Step> {
        self.since(mark)
            .into_iter()
            .filter(|seen| seen.from() == from)
            .flat_map(|seen| match seen.message {
                Message::RouteRefresh(of, refresh) if of == Some(family) => vec![match refresh {
                    Refresh::Request => Step::Request,
                    Refresh::Begin => Step::Begin,
                    Refresh::End => Step::End,
                }],
                Message::Update(update) => of_family(&update, family),
                _ => Vec::new(),
            })
            .collect()
    }
}

fn of_family(update: &Update, family: Family) -> Vec<Step> {
    let withdrawn = update.withdrawn.iter().copied().map(Step::Withdrawn);
    let announced = update.announced.iter().copied().map(Step::Announced);
    let is_of = |step: &Step| match step {
        Step::Withdrawn(prefix) | Step::Announced(prefix) => prefix.family() == family,
        Step::Request | Step::Begin | Step::End => true,
    };
    withdrawn.chain(announced).filter(is_of).collect()
}

/// The beginning of a message as it passes over IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) from: Ipv4Addr,
    pub(crate) length: u16,
    pub(crate) kind: u8,
    /// What of the body is in the same frame.
    pub(crate) body: Vec<u8>,
}

/// The headers of all messages since the capture began.
pub(crate) struct Headers {
    seen: Arc<Mutex<Vec<Header>>>,
    _capture: Capture,
}

impl Headers {
    pub(crate) fn of(lab: &Lab) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let capture = Capture::start(&lab.hosts[0], INTERFACE, Wanted::TcpPort(179), move |frame, _| {
            sink.lock().unwrap().extend(headers(frame));
        });
        Self { seen, _capture: capture.unwrap() }
    }

    /// Whether a message like this has been seen.
    pub(crate) fn any(&self, wanted: impl Fn(&Header) -> bool) -> bool {
        self.seen.lock().unwrap().iter().any(wanted)
    }

    /// Waits for a message like this.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Header) -> bool) -> Header {
        wait(what, || {
            let seen = self.seen.lock().unwrap();
            let kinds = || seen.iter().map(|seen| (seen.from, seen.kind, seen.length)).collect::<Vec<_>>();
            seen.iter().find(|header| wanted(header)).cloned().ok_or_else(|| format!("{:?}", kinds()))
        })
    }
}

/// What begins in a frame: Ethernet, IPv4 without options, TCP; then wherever a marker is (RFC 4271 §4.1).
fn headers(frame: &[u8]) -> Vec<Header> {
    const MARKER: [u8; 16] = [0xff; 16];
    let Some(&[a, b, c, d]) = frame.get(26..30) else { return Vec::new() };
    let data = &frame[34..];
    let begins = data.windows(19).enumerate().filter(|(_, octets)| octets[..16] == MARKER);
    begins
        .map(|(at, octets)| Header {
            from: Ipv4Addr::new(a, b, c, d),
            length: u16::from_be_bytes([octets[16], octets[17]]),
            kind: octets[18],
            body: data[at + 19..].to_vec(),
        })
        .collect()
}
