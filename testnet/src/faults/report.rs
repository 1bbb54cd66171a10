//! The closing table and the JSON file.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    case::{Claim, Incident},
    scene::Scene,
    traffic::{Deliveries, Seen},
};
use crate::error::Result;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    /// What the limits of time were multiplied by.
    slack: u32,
    faults: Vec<Entry>,
}

/// A fault with what its clients saw.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    incident: Incident,
    clients: Seen,
}

impl Report {
    pub(super) fn new(seed: u64, slack: u32) -> Self {
        Self { seed, slack, faults: Vec::new() }
    }

    /// Joins what was measured of each fault with what the clients saw, once they are silent.
    pub(super) fn add(&mut self, scene: &Scene, incidents: Vec<Incident>) -> Result<()> {
        let deliveries = Deliveries::read(scene)?;
        let entry = |incident| {
            let clients = scene.outcomes.read(0, |all| Seen::new(&incident, all, &deliveries));
            Entry::new(incident, clients)
        };
        self.faults.extend(incidents.into_iter().map(entry));
        self.faults.sort_by_key(|entry| entry.incident.fault.number());
        Ok(())
    }

    /// How many claims do not hold.
    pub(super) fn failures(&self) -> usize {
        self.faults.iter().flat_map(|entry| &entry.incident.claims).filter(|claim| !claim.holds).count()
    }

    #[expect(clippy::print_stdout, reason = "for a person at a terminal")]
    pub(super) fn print(&self) {
        println!("seed {}, limits of time times {}", self.seed, self.slack);
        for entry in &self.faults {
            print!("{}", entry.text());
        }
    }
}

impl Entry {
    fn new(mut incident: Incident, clients: Seen) -> Self {
        let mut claim = |holds, what: &str| incident.claims.push(Claim { what: what.to_owned(), holds });
        claim(clients.requests > 0 && clients.streams > 0, "the region's clients are busy meanwhile");
        claim(clients.duplicated == 0, "no request that is not idempotent is given to an app twice");
        if !incident.fault.may_fail_requests() {
            claim(clients.failed == 0, "no idempotent request fails");
            claim(clients.cut == 0, "no stream is cut whose app lives");
        }
        Self { incident, clients }
    }

    fn text(&self) -> String {
        let Incident { fault, region, figures, because, claims, .. } = &self.incident;
        let broken: Vec<&Claim> = claims.iter().filter(|claim| !claim.holds).collect();
        let verdict = if broken.is_empty() { "holds" } else { "DOES NOT HOLD" };
        let mut text = format!("{:<56} {region:<8} {verdict} ({} claims)\n", fault.to_string(), claims.len());
        for figure in figures {
            let time = figure.ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms:.1} ms"));
            let _ = writeln!(text, "     {:<44} {time:>12}", figure.what);
        }
        for reason in because {
            let _ = writeln!(text, "     because: {reason}");
        }
        let Seen { requests, failed, repeated, streams, cut_with_app, cut, duplicated, .. } = &self.clients;
        let (failures, cut_of) = (listed(&self.clients.failures), listed(&self.clients.cut_of));
        let _ = writeln!(
            text,
            "     {requests} idempotent requests: {failed} failed{failures}, {repeated} repeated; {streams} streams: \
             {cut} cut{cut_of}, {cut_with_app} cut with their app, {duplicated} duplicated"
        );
        for claim in broken {
            let _ = writeln!(text, "     NOT SO: {}", claim.what);
        }
        text
    }
}

/// Of what kinds they are, in parentheses; nothing when there are none.
fn listed(kinds: &BTreeMap<String, u64>) -> String {
    let list: Vec<String> = kinds.iter().map(|(what, n)| format!("{n} x {what}")).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}
