//! Explained messages as JSON.

use proxima_bgp_wire::{
    AttributeProblem, Notification, Reach, RefreshKind, RouteRefresh,
    explain::{Content, Explanation, OpenContent, Refusal, UpdateContent, flag_names},
};
use serde_json::{Value, json};

use super::decode::is_malformed;

/// All messages, and how many of them are malformed.
pub(super) fn document(messages: &[Explanation]) -> Value {
    let malformed = messages.iter().filter(|message| is_malformed(message)).count();
    let mut offset = 0;
    let explained: Vec<Value> = messages
        .iter()
        .map(|message| {
            let value = explained(message, offset);
            offset += message.octets.len();
            value
        })
        .collect();
    json!({ "messages": explained, "malformed": malformed })
}

pub(super) fn explained(message: &Explanation, offset: usize) -> Value {
    let mut value = json!({
        "type": message.name(),
        "offset": offset,
        "octets": message.octets.len(),
        "malformed": is_malformed(message),
    });
    let (key, content) = match &message.content {
        Content::Open(open) => ("open", open_value(open)),
        Content::Update(update) => ("update", update_value(update)),
        Content::Notification(notification) => ("notification", notification_value(notification)),
        Content::RouteRefresh(refresh) => ("route_refresh", refresh_value(*refresh)),
        Content::Keepalive | Content::Unreadable => ("", Value::Null),
    };
    if !key.is_empty() {
        value[key] = content;
    }
    if let Some(length) = message.endless() {
        value["said_length"] = json!(length);
    }
    if let Some(truncated) = message.truncated() {
        value["truncated"] = json!({ "octets": truncated.octets, "of": truncated.of });
    } else if let Some(refusal) = &message.refusal {
        value["refusal"] = refusal_value(refusal);
    }
    value
}

fn refresh_value(refresh: RouteRefresh) -> Value {
    let kind = match refresh.kind {
        RefreshKind::Request => "request",
        RefreshKind::Begin => "begin",
        RefreshKind::End => "end",
        RefreshKind::Unknown(_) => "unknown",
    };
    json!({ "kind": kind, "afi": refresh.family.afi, "safi": refresh.family.safi })
}

fn open_value(content: &OpenContent) -> Value {
    let capabilities: Vec<Value> = content
        .capabilities
        .iter()
        .map(|capability| {
            json!({
                "code": capability.code,
                "name": capability.name,
                "details": capability.details,
                "understood": capability.understood,
            })
        })
        .collect();
    json!({
        "version": content.open.version,
        "as": content.open.asn,
        "two_octet_as": content.two_octet_as,
        "hold_time_s": content.open.hold_time,
        "router_id": content.open.router_id,
        "extended_parameters": content.extended_parameters,
        "capabilities": capabilities,
    })
}

fn update_value(content: &UpdateContent) -> Value {
    let attributes: Vec<Value> = content
        .attributes
        .iter()
        .map(|attribute| {
            json!({
                "code": attribute.code,
                "name": attribute.name,
                "flags": flag_names(attribute.flags),
                "octets": attribute.length,
                "value": attribute.value,
                "problem": attribute.problem.as_ref().map(problem_value),
            })
        })
        .collect();
    let Some(outcome) = &content.outcome else { return json!({ "attributes": attributes }) };
    json!({
        "attributes": attributes,
        "announced": outcome.reach.iter().map(reach_value).collect::<Vec<_>>(),
        "withdrawn": outcome.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "end_of_rib": outcome.end_of_rib,
        "problems": outcome.problems.iter().map(problem_value).collect::<Vec<_>>(),
    })
}

fn reach_value(reach: &Reach) -> Value {
    json!({
        "next_hop": reach.next_hop.address,
        "link_local": reach.next_hop.link_local,
        "prefixes": reach.nlri.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn problem_value(problem: &AttributeProblem) -> Value {
    json!({
        "attribute": problem.attribute,
        "problem": problem.to_string(),
        "disposition": problem.disposition.name(),
        "rule": problem.rule(),
        "octets": hexadecimal(&problem.octets),
    })
}

fn notification_value(notification: &Notification) -> Value {
    json!({
        "code": notification.code,
        "subcode": notification.subcode,
        "meaning": notification.to_string(),
        "data": hexadecimal(&notification.data),
        "shutdown_message": notification.shutdown_message(),
    })
}

fn refusal_value(refusal: &Refusal) -> Value {
    json!({
        "error": refusal.error.to_string(),
        "rule": refusal.rule,
        "notification": notification_value(&refusal.notification),
    })
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
}
