//! `proxima bgp decode`: what messages say, and what is wrong with them.

use std::process::ExitCode;

use proxima_bgp_wire::{
    Families, Negotiated, PeerKind, RefreshKind, RouteRefresh,
    explain::{self, Content, Explanation, OpenContent, Refusal, UpdateContent, flag_names},
};

use super::{input, json};
use crate::{
    args::DecodeArgs,
    failure::Failure,
    output::{Output, Tone, words},
};

pub(super) fn run(args: &DecodeArgs, output: &mut Output) -> Result<ExitCode, Failure> {
    let octets = input::read(&args.input)?;
    let messages = explain::stream(&octets, negotiated(args));
    let malformed = messages.iter().filter(|message| is_malformed(message)).count();
    if output.json() {
        output.raw(json::document(&messages).to_string().as_bytes())?;
    } else {
        let mut offset = 0;
        for (index, message) in messages.iter().enumerate() {
            show(index, offset, message, output)?;
            offset += message.octets.len();
        }
        output.line(summary(messages.len(), malformed))?;
    }
    Ok(if malformed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As most sessions agree today; what was not agreed has its option.
fn negotiated(args: &DecodeArgs) -> Negotiated {
    Negotiated {
        four_octet_as: !args.two_octet_as,
        families: Families::ALL,
        extended_messages_receive: !args.no_extended_messages,
        extended_next_hop_receive: !args.no_extended_next_hop,
        add_path_receive: if args.add_path { Families::ALL } else { Families::NONE },
        route_refresh: true,
        enhanced_refresh: true,
        // As our sessions have it (RFC 7606 §2, RFC 9774).
        disable_families: true,
        refuse_as_sets: true,
        peer: if args.ibgp { PeerKind::Internal } else { PeerKind::External },
        ..Negotiated::default()
    }
}

/// Whether a session would have something to complain of.
pub(super) fn is_malformed(message: &Explanation) -> bool {
    let problems = match &message.content {
        Content::Update(update) => {
            update.outcome.as_ref().is_some_and(|outcome| !outcome.problems.is_empty())
        }
        _ => false,
    };
    problems || message.refusal.is_some()
}

fn summary(count: usize, malformed: usize) -> String {
    let messages = if count == 1 { "message" } else { "messages" };
    match malformed {
        0 => format!("{count} {messages}, nothing wrong"),
        malformed => format!("{count} {messages}, {malformed} malformed"),
    }
}

fn show(index: usize, offset: usize, message: &Explanation, output: &mut Output) -> Result<(), Failure> {
    let name = output.toned(Tone::Heading, message.name().unwrap_or("unknown"));
    let there = message.octets.len();
    let octets = if there == 1 { "octet" } else { "octets" };
    let place = if offset == 0 { String::new() } else { format!(", at octet {offset}") };
    let length = match message.endless() {
        Some(said) => format!("said to have {said} octets, {there} {octets} from here to the end"),
        None => format!("{there} {octets}"),
    };
    output.line(format_args!("{}. {name}, {length}{place}", index + 1))?;
    match &message.content {
        Content::Open(open) => show_open(open, output)?,
        Content::Update(update) => show_update(update, output)?,
        Content::Notification(notification) => output.fact(2, "says", notification)?,
        Content::RouteRefresh(refresh) => output.fact(2, "says", refresh_words(*refresh))?,
        Content::Keepalive | Content::Unreadable => {}
    }
    if let Some(truncated) = message.truncated() {
        let wrong = output.toned(Tone::Bad, "truncated");
        output.line(format_args!("  {wrong}: {truncated}"))?;
    } else if let Some(refusal) = &message.refusal {
        show_refusal(refusal, output)?;
    }
    Ok(output.line("")?)
}

/// What a ROUTE-REFRESH says (RFC 2918, RFC 7313 §3.2).
pub(super) fn refresh_words(refresh: RouteRefresh) -> String {
    let family = refresh.family;
    match refresh.kind {
        RefreshKind::Request => format!("send the {family} routes again"),
        RefreshKind::Begin => format!("the {family} routes follow (BoRR)"),
        RefreshKind::End => format!("those were all {family} routes (EoRR)"),
        RefreshKind::Unknown(subtype) => {
            format!("subtype {subtype} for {family}, which means nothing: ignored")
        }
    }
}

fn show_open(content: &OpenContent, output: &mut Output) -> Result<(), Failure> {
    let open = &content.open;
    output.fact(2, "version", open.version)?;
    let field = if content.two_octet_as == open.asn {
        String::new()
    } else {
        format!(" ({} in two octets)", content.two_octet_as)
    };
    output.fact(2, "AS", format_args!("{}{field}", open.asn))?;
    let hold = match open.hold_time {
        0 => "0: none".to_owned(),
        seconds => format!("{seconds} s"),
    };
    output.fact(2, "hold time", hold)?;
    output.fact(2, "router ID", open.router_id)?;
    if content.extended_parameters {
        output.fact(2, "parameters", "with lengths of two octets (RFC 9072)")?;
    }
    for capability in &content.capabilities {
        let name = capability.name.map_or_else(|| format!("capability {}", capability.code), str::to_owned);
        let details =
            if capability.details.is_empty() { String::new() } else { format!(": {}", capability.details) };
        let ignored = if capability.understood { "" } else { " (ignored)" };
        output.fact(2, "capability", format_args!("{name}{details}{ignored}"))?;
    }
    Ok(())
}

fn show_update(content: &UpdateContent, output: &mut Output) -> Result<(), Failure> {
    for attribute in &content.attributes {
        let name = attribute.name.map_or_else(|| format!("attribute {}", attribute.code), str::to_owned);
        output.fact(
            2,
            &name,
            format_args!("{} [{}]", attribute.value, flag_names(attribute.flags).join(", ")),
        )?;
    }
    let Some(outcome) = &content.outcome else { return Ok(()) };
    for reach in &outcome.reach {
        let announced = output.toned(Tone::Good, words(&reach.nlri));
        output.fact(2, "announced", format_args!("{announced} via {}", reach.next_hop))?;
    }
    if !outcome.withdrawn.is_empty() {
        output.fact(2, "withdrawn", words(&outcome.withdrawn))?;
    }
    if let Some(family) = outcome.end_of_rib {
        output.fact(2, "end of RIB", family)?;
    }
    for problem in &outcome.problems {
        let wrong = output.toned(Tone::Bad, "problem");
        output.line(format_args!("  {wrong}: {problem}"))?;
        output.fact(4, "by", format_args!("{}: {}", problem.rule(), problem.disposition.name()))?;
    }
    Ok(())
}

fn show_refusal(refusal: &Refusal, output: &mut Output) -> Result<(), Failure> {
    let wrong = output.toned(Tone::Bad, "ends the session");
    output.line(format_args!("  {wrong}: {}", refusal.error))?;
    output.fact(4, "by", refusal.rule)?;
    output.fact(4, "answered with", format_args!("NOTIFICATION {}", refusal.notification))?;
    Ok(())
}
