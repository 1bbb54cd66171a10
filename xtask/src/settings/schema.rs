//! The JSON Schema of the configuration: draft 7, which editors know that check TOML.

use std::{ops::Bound, time::Duration};

use proxima_config::reference::{Absent, Condition, How, Key, Reference, Rule, Shape, Table, Tables};
use serde_json::{Map, Value, json};

use super::words::{shown_absent, shown_shape};

/// The schema as a file.
pub(super) fn write(reference: &Reference) -> String {
    let mut schema = table(&reference.file);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("Proxima"));
    schema.insert(
        "description".to_owned(),
        json!(
            "The configuration of proximad. Generated from the settings that it reads: see docs/config.md."
        ),
    );
    format!("{:#}\n", Value::Object(schema))
}

fn table(table: &Table) -> Map<String, Value> {
    let properties: Map<_, _> = table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = object(json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    }));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let choices = table.any_of.iter().map(|keys| {
        let each: Vec<_> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "anyOf": each })
    });
    let conditions: Vec<_> = table.rules.iter().map(rule).chain(choices).collect();
    if !conditions.is_empty() {
        schema.insert("allOf".to_owned(), json!(conditions));
    }
    schema
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn rule(rule: &Rule) -> Value {
    let keys: Vec<_> = rule.when.iter().map(|condition| condition.key).collect();
    let words: Map<_, _> = rule.when.iter().filter_map(word).collect();
    let mut when = object(json!({ "required": keys }));
    if !words.is_empty() {
        when.insert("properties".to_owned(), json!(words));
    }
    let mut then = Map::new();
    if !rule.required.is_empty() {
        then.insert("required".to_owned(), json!(rule.required));
    }
    if !rule.refused.is_empty() {
        let refused: Map<_, _> = rule.refused.iter().map(|key| ((*key).to_owned(), json!(false))).collect();
        then.insert("properties".to_owned(), json!(refused));
    }
    json!({ "if": when, "then": then })
}

fn word(condition: &Condition) -> Option<(String, Value)> {
    condition.word.map(|word| (condition.key.to_owned(), json!({ "const": word })))
}

fn property(key: &Key) -> Value {
    let mut schema = match (&key.value, &key.tables) {
        (Some(value), None) => shape(value),
        (None, Some(held)) => tables(held),
        (Some(value), Some(held)) => json!({ "anyOf": [shape(value), tables(held)] }),
        (None, None) => json!({}),
    };
    let mut description = vec![without_links(key.doc)];
    if let Some(value) = &key.value {
        let table = if key.tables.is_some() { ", or a table" } else { "" };
        description.push(format!("Value: {}{table}.", shown_shape(value)));
    }
    if let Some(absent) = &key.absent {
        description.push(format!("Default: {}.", shown_absent(absent)));
    }
    schema["description"] = json!(description.join("\n\n"));
    if let Some(default) = key.absent.as_ref().and_then(default) {
        schema["default"] = default;
    }
    schema
}

/// The text with each link's file in parentheses, as an editor knows no relative links.
fn without_links(text: &str) -> String {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(Link { before, words, file, behind }) = Link::first_in(rest) {
        let file = file.strip_prefix("../").map_or_else(|| format!("docs/{file}"), str::to_owned);
        pieces.push(format!("{before}{words} ({file})"));
        rest = behind;
    }
    pieces.concat() + rest
}

/// A link of Markdown in a text.
struct Link<'t> {
    before: &'t str,
    words: &'t str,
    file: &'t str,
    behind: &'t str,
}

impl<'t> Link<'t> {
    fn first_in(text: &'t str) -> Option<Self> {
        let (before, rest) = text.split_once("](")?;
        let (before, words) = before.rsplit_once('[')?;
        let (file, behind) = rest.split_once(')')?;
        Some(Self { before, words, file, behind })
    }
}

fn default(absent: &Absent) -> Option<Value> {
    let Absent::Is { literal, or: _ } = absent else { return None };
    let written: toml::Table = format!("value = {literal}").parse().ok()?;
    serde_json::to_value(written.get("value")?).ok()
}

fn tables(tables: &Tables) -> Value {
    let inside = Value::Object(table(&tables.table));
    match &tables.how {
        How::One => inside,
        How::List => json!({ "type": "array", "items": inside, "minItems": 1 }),
        How::Named(name) => json!({
            "type": "object",
            "propertyNames": shape(name),
            "additionalProperties": inside,
            "minProperties": 1,
        }),
    }
}

fn shape(written: &Shape) -> Value {
    match written {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::True => json!({ "const": true }),
        Shape::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Number { from, to } => number(*from, *to),
        Shape::Duration { least, most, or_zero, whole_seconds: _ } => {
            let zero = *or_zero || least.is_zero();
            json!({ "type": "string", "pattern": duration(zero, *most) })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Text { what: _, pattern: "" } => json!({ "type": "string" }),
        Shape::Text { what: _, pattern } => json!({ "type": "string", "pattern": pattern }),
        Shape::List { of } => json!({ "type": "array", "items": shape(of), "minItems": 1 }),
        Shape::AnyOf(shapes) => json!({ "anyOf": shapes.iter().map(shape).collect::<Vec<_>>() }),
    }
}

fn number(from: Bound<f64>, to: Bound<f64>) -> Value {
    let mut schema = object(json!({ "type": "number" }));
    let bounds = [(from, "minimum", "exclusiveMinimum"), (to, "maximum", "exclusiveMaximum")];
    for (bound, included, excluded) in bounds {
        match bound {
            Bound::Included(limit) => schema.insert(included.to_owned(), json!(limit)),
            Bound::Excluded(limit) => schema.insert(excluded.to_owned(), json!(limit)),
            Bound::Unbounded => None,
        };
    }
    Value::Object(schema)
}

/// A whole number and a unit. The range is not in it, but for what no regular expression is needed for.
fn duration(zero: bool, most: Duration) -> String {
    let units = if most < Duration::from_mins(1) { "ms|s" } else { "ms|s|m|h" };
    let number = if zero { "[0-9]+" } else { "0*[1-9][0-9]*" };
    format!("^{number}({units})$")
}
