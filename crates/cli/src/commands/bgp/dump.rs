//! `proxima bgp dump`: what is in an MRT file, a line each.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    process::ExitCode,
};

use proxima_api::Timestamp;
use proxima_bgp_wire::{
    Attributes, Update,
    explain::{self, Content, OpenContent},
};
use serde_json::{Value, json};

use super::{
    decode::{is_malformed, refresh_words},
    json,
};
use crate::{
    args::DumpArgs,
    failure::Failure,
    mrt::{self, Entry, Peer, Record, Records, Timed},
    output::{Output, Tone, words},
};

pub(super) fn run(args: &DumpArgs, output: &mut Output) -> Result<ExitCode, Failure> {
    let file = args.file.display().to_string();
    let refused = |error: &dyn std::fmt::Display| Failure::Input {
        message: format!("cannot read {file}: {error}"),
        hint: "name an MRT file (RFC 6396), unpacked; `[bgp.mrt]` writes such files".to_owned(),
    };
    let source: Box<dyn Read> = if file == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(|error| refused(&error))?)
    };
    let mut records = Records::new(BufReader::new(source));
    let mut dump = Dump { peers: Vec::new(), malformed: 0, shown: 0 };
    if output.json() {
        output.text("{\"records\":[")?;
    }
    loop {
        match records.next() {
            Ok(Some(record)) => dump.show(record, output)?,
            Ok(None) => break,
            Err(error) => return Err(refused(&error)),
        }
    }
    if output.json() {
        output.line("\n]}")?;
    }
    Ok(if dump.malformed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Dump {
    /// The peers that entries point to.
    peers: Vec<Peer>,
    malformed: u64,
    shown: u64,
}

impl Dump {
    fn show(&mut self, Timed { micros, record }: Timed, output: &mut Output) -> Result<(), Failure> {
        let at = Timestamp::from_unix_micros(micros);
        match record {
            Record::Peers { collector, view, peers } => {
                let json = json!({
                    "at": at, "kind": "peers", "collector": collector, "view": view,
                    "peers": peers.iter().map(peer_value).collect::<Vec<_>>(),
                });
                let view = if view.is_empty() { String::new() } else { format!(" view {view}") };
                let count = peers.len();
                self.write(json, format!("{at:.0} table of {collector}{view}, {count} peers"), output)?;
                self.peers = peers;
            }
            Record::Rib { prefix, entries } => {
                for entry in &entries {
                    let (json, line) = self.entry(at, &prefix, entry);
                    self.write(json, line, output)?;
                }
            }
            Record::Message { peer, message, four_octet_as, add_path } => {
                let explained = explain::explain(&message, mrt::collected(four_octet_as, add_path));
                self.malformed += u64::from(is_malformed(&explained));
                let mut value = json::explained(&explained, 0);
                value["at"] = json!(at);
                value["kind"] = json!("message");
                value["peer"] = peer_value(&peer);
                let text = format!("{at} {} {}", named(&peer), message_words(&explained, output));
                self.write(value, text, output)?;
            }
            Record::State { peer, from, to } => {
                let json = json!({ "at": at, "kind": "state", "peer": peer_value(&peer), "from": state(from), "to": state(to) });
                let line = format!("{at} {} {} -> {}", named(&peer), state(from), state(to));
                self.write(json, line, output)?;
            }
            Record::Other { kind, subtype, octets } => {
                let json =
                    json!({ "at": at, "kind": "other", "type": kind, "subtype": subtype, "octets": octets });
                self.write(
                    json,
                    format!("{at:.0} (type {kind} subtype {subtype}, {octets} octets)"),
                    output,
                )?;
            }
            Record::Malformed { kind, subtype, octets } => {
                self.malformed += 1;
                let json = json!({ "at": at, "kind": "malformed", "type": kind, "subtype": subtype, "octets": octets });
                let wrong = output.toned(Tone::Bad, "malformed");
                let line = format!("{at:.0} {wrong}: type {kind} subtype {subtype}, {octets} octets");
                self.write(json, line, output)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: Timestamp, prefix: &proxima_types::Prefix, entry: &Entry) -> (Value, String) {
        let peer = self.peers.get(entry.peer);
        let mut json = json!({
            "at": at,
            "kind": "route",
            "prefix": prefix,
            "peer": peer.map(peer_value),
            "since": Timestamp::from_unix_micros(entry.since),
        });
        if let Some(id) = entry.path_id {
            json["path_id"] = json!(id);
        }
        let id = entry.path_id.map(|id| format!(" path {id}")).unwrap_or_default();
        let from = peer.map_or_else(|| format!("peer {}, which is not in the index", entry.peer), named);
        let mut line = vec![format!("{prefix}{id} from {from}")];
        if let Some((attributes, next_hop)) = &entry.path {
            json["next_hop"] = json!(next_hop.address);
            describe(attributes, &mut json);
            line.push(format!("via {next_hop} path {} {}", attributes.as_path, attributes.origin));
            line.extend(attributes.local_pref.map(|number| format!("local-pref {number}")));
            line.extend(attributes.med.map(|number| format!("med {number}")));
            let communities = communities(attributes);
            if !communities.is_empty() {
                line.push(format!("communities {}", communities.join(" ")));
            }
        } else {
            self.malformed += 1;
            json["malformed"] = json!(true);
            line.push("malformed attributes".to_owned());
        }
        (json, line.join(" "))
    }

    fn write(&mut self, json: Value, line: String, output: &mut Output) -> Result<(), Failure> {
        if output.json() {
            let separator = if self.shown == 0 { "\n" } else { ",\n" };
            output.text(format_args!("{separator}{json}"))?;
        } else {
            output.text(format_args!("{line}\n"))?;
        }
        self.shown += 1;
        Ok(())
    }
}

fn describe(attributes: &Attributes, json: &mut Value) {
    json["as_path"] = json!(attributes.as_path.to_string());
    json["origin"] = json!(attributes.origin.to_string());
    for (key, number) in [("local_pref", attributes.local_pref), ("med", attributes.med)] {
        if let Some(number) = number {
            json[key] = json!(number);
        }
    }
    json["communities"] = json!(communities(attributes));
}

fn communities(attributes: &Attributes) -> Vec<String> {
    let communities = attributes.communities.iter().map(ToString::to_string);
    communities.chain(attributes.large_communities.iter().map(ToString::to_string)).collect()
}

fn message_words(message: &explain::Explanation, output: &Output) -> String {
    let mut line = vec![message.name().unwrap_or("unknown").to_owned()];
    match &message.content {
        Content::Update(update) => {
            line.extend(update.outcome.as_ref().map(|outcome| update_words(outcome, output)));
        }
        Content::Open(OpenContent { open, .. }) => {
            let (asn, hold, id) = (open.asn, open.hold_time, open.router_id);
            line.push(format!("AS {asn} hold time {hold} s router ID {id}"));
        }
        Content::Notification(notification) => line.push(notification.to_string()),
        Content::RouteRefresh(refresh) => line.push(refresh_words(*refresh)),
        Content::Keepalive | Content::Unreadable => {}
    }
    if let Some(truncated) = message.truncated() {
        line.push(format!("{}: {truncated}", output.toned(Tone::Bad, "truncated")));
    } else if let Some(refusal) = &message.refusal {
        line.push(format!("{}: {}", output.toned(Tone::Bad, "malformed"), refusal.error));
    }
    line.join(" ")
}

fn update_words(update: &Update, output: &Output) -> String {
    let mut line = Vec::new();
    for reach in &update.reach {
        let (prefixes, path) = (words(&reach.nlri), &update.attributes.as_path);
        line.push(format!("announced {prefixes} via {} path {path}", reach.next_hop));
    }
    if !update.withdrawn.is_empty() {
        line.push(format!("withdrawn {}", words(&update.withdrawn)));
    }
    line.extend(update.end_of_rib.map(|family| format!("end of rib {family}")));
    for problem in &update.problems {
        line.push(format!("{}: {problem}", output.toned(Tone::Bad, "problem")));
    }
    line.join(" ")
}

fn named(peer: &Peer) -> String {
    format!("{} AS {}", peer.address, peer.asn)
}

fn peer_value(peer: &Peer) -> Value {
    json!({ "address": peer.address, "as": peer.asn })
}

/// A state by its number (RFC 6396 §4.4.1).
fn state(number: u16) -> String {
    match number {
        1 => "idle",
        2 => "connect",
        3 => "active",
        4 => "open-sent",
        5 => "open-confirm",
        6 => "established",
        other => return format!("state {other}"),
    }
    .to_owned()
}
