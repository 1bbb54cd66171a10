//! The reference tells the truth about what is read, and the schema agrees with it.

use std::collections::BTreeSet;

use proxima_config::{
    Config,
    reference::{Absent, How, Key, Table, reference},
};
use toml::Value;

#[path = "../common/mod.rs"]
mod common;
mod schema;

/// Every table there is.
const WHOLE: &str = include_str!("whole.toml");

fn whole() -> Value {
    Value::Table(WHOLE.parse().expect("it is TOML"))
}

fn parse(file: &Value) -> Result<Config, String> {
    let text = toml::to_string(file).expect("it has been TOML before");
    Config::parse(&text, "whole.toml").map_err(|errors| errors.to_string())
}

/// How to get to a table in a file: names of keys, and places in lists.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Place(usize),
}

fn at<'f>(file: &'f mut Value, way: &[Step]) -> &'f mut Value {
    way.iter().fold(file, |held, step| match step {
        Step::Key(key) => &mut held[key.as_str()],
        Step::Place(place) => &mut held[*place],
    })
}

/// A table of the reference, with the ways to it in a file.
struct Found {
    path: String,
    table: Table,
    ways: Vec<Vec<Step>>,
}

/// All tables of the reference as they are found in `file`.
fn tables(file: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    below(&reference().file, "", &[Vec::new()], file, &mut found);
    found
}

fn below(table: &Table, path: &str, ways: &[Vec<Step>], file: &Value, found: &mut Vec<Found>) {
    found.push(Found { path: path.to_owned(), table: table.clone(), ways: ways.to_vec() });
    for key in &table.keys {
        let Some(tables) = &key.tables else { continue };
        let path = tables.how.path(&format!("{path}/{}", key.name));
        let ways: Vec<_> = ways.iter().flat_map(|way| inside(way, key.name, &tables.how, file)).collect();
        below(&tables.table, &path, &ways, file, found);
    }
}

fn inside(way: &[Step], key: &str, how: &How, file: &Value) -> Vec<Vec<Step>> {
    let mut file = file.clone();
    let held = at(&mut file, way).get(key);
    let step = |more: &[Step]| [way, &[Step::Key(key.to_owned())], more].concat();
    match (how, held) {
        (How::One, Some(Value::Table(_))) => vec![step(&[])],
        (How::List, Some(Value::Array(list))) => (0..list.len()).map(|at| step(&[Step::Place(at)])).collect(),
        (How::Named(_), Some(Value::Table(named))) => {
            named.keys().map(|name| step(&[Step::Key(name.clone())])).collect()
        }
        _ => Vec::new(),
    }
}

/// The file with more keys in one of its tables; those that are there already stay.
fn with_more<'k>(file: &Value, way: &[Step], more: impl IntoIterator<Item = (&'k str, &'k str)>) -> Value {
    let mut file = file.clone();
    let table = at(&mut file, way).as_table_mut().expect("the way leads to a table");
    for (key, literal) in more {
        let written: toml::Table = format!("value = {literal}").parse().expect("it is TOML");
        table.entry(key).or_insert_with(|| written["value"].clone());
    }
    file
}

#[test]
fn the_whole_file_has_every_table_of_the_reference() {
    let file = whole();
    parse(&file).unwrap_or_else(|errors| panic!("{errors}"));
    for Found { path, ways, .. } in tables(&file) {
        assert!(!ways.is_empty(), "add `{path}` to whole.toml, so that it is tested");
    }
}

#[test]
fn every_key_says_in_sentences_what_it_means_and_what_holds_without_it() {
    for Found { path, table, .. } in tables(&whole()) {
        for Key { name, doc, required, absent, value, tables, example: _ } in &table.keys {
            let key = format!("{path}/{name}");
            assert!(doc.ends_with('.') && doc.len() > 10 && !doc.contains("  "), "{key}: {doc}");
            assert!(!doc.contains('|') && !doc.contains('\n'), "{key} stands in a table of Markdown: {doc}");
            assert!(value.is_some() || tables.is_some(), "{key}");
            let demands = table.rules.iter().map(|rule| &rule.required).chain(&table.any_of);
            let depends = demands.flatten().any(|demanded| demanded == name);
            assert!(*required || depends || absent.is_some(), "{key} may be absent, and then?");
        }
    }
}

/// In some table at least: `protocol = "http"` goes with `routes` only.
#[test]
fn the_examples_of_required_keys_can_be_written() {
    let file = whole();
    for Found { path, table, ways } in tables(&file) {
        for (name, example) in table.keys.iter().filter_map(|key| Some((key.name, key.example?))) {
            let written = ways.iter().filter_map(|way| {
                let mut other = file.clone();
                at(&mut other, way).as_table_mut()?.remove(name)?;
                Some(toml::to_string(&with_more(&other, way, [(name, example)])).expect("it is TOML"))
            });
            let outcomes: Vec<_> = written.map(|text| common::fits(&text)).collect();
            assert!(outcomes.iter().any(Result::is_ok), "{path}/{name} = {example}: {outcomes:?}");
        }
    }
}

/// A default in the reference is what writing it means. Some keys come in pairs, so that all defaults of a table are tried where one
/// alone is refused.
#[test]
fn a_default_written_out_changes_nothing() {
    let file = whole();
    let meant = parse(&file).unwrap_or_else(|errors| panic!("{errors}"));
    let mut wrong = Vec::new();
    for Found { path, table, ways } in tables(&file) {
        let defaults: Vec<(&str, &str, bool)> = table.keys.iter().filter_map(literal).collect();
        for (key, literal, varies) in &defaults {
            let absent = ways.iter().filter(|way| at(&mut file.clone(), way).get(*key).is_none());
            let alone: Vec<_> = absent
                .clone()
                .filter_map(|way| parse(&with_more(&file, way, [(*key, *literal)])).ok())
                .collect();
            let all = || defaults.iter().map(|(key, literal, _)| (*key, *literal));
            let together: Vec<_> =
                absent.filter_map(|way| parse(&with_more(&file, way, all())).ok()).collect();
            let meanings = if alone.is_empty() { together } else { alone };
            let same = meanings.iter().filter(|config| **config == meant).count();
            if same == 0 || (same < meanings.len() && !varies) {
                wrong.push(format!(
                    "{path}/{key} = {literal}: {same} of {} files mean the same",
                    meanings.len()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A default that can be written, and whether there are others.
fn literal(key: &Key) -> Option<(&str, &str, bool)> {
    match key.absent.as_ref()? {
        Absent::Is { literal, or } => Some((key.name, literal, or.is_some())),
        Absent::Means(_) => None,
    }
}

/// What the reader says itself of the keys it knows, when it is given one that it does not know.
fn known(file: &Value, way: &[Step]) -> BTreeSet<String> {
    let errors = parse(&with_more(file, way, [("zzzzzzzzzzzz", "1")])).expect_err("there is no such key");
    let (_, keys) = errors.split_once("keys here are ").expect("the keys are listed");
    let line = keys.lines().next().unwrap_or_default();
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_keys_of_the_reference_are_those_that_the_reader_knows() {
    let file = whole();
    for Found { path, table, ways } in tables(&file) {
        let described: BTreeSet<String> = table.keys.iter().map(|key| key.name.to_owned()).collect();
        let read: BTreeSet<String> = ways.iter().flat_map(|way| known(&file, way)).collect();
        let lacking: Vec<_> = described.difference(&read).collect();
        assert!(lacking.is_empty(), "{path}: nobody asks for {lacking:?}");
        for key in read.difference(&described) {
            let refused = |way: &Vec<Step>| {
                let errors = parse(&with_more(&file, way, [(key.as_str(), "1")])).expect_err("it is no key");
                errors.contains(&format!("`{key}` has no place"))
            };
            assert!(ways.iter().all(refused), "{path}: `{key}` is read, and not described");
        }
    }
}
