//! The tables that name tests: each named test has to exist.
//!
//! What stands in backquotes in a row of a table and looks like a test's name (small letters, digits and at least three
//! underscores) is taken for one. A module may stand before it, and `*` or `…` for any part of it. A function is a test by
//! its attribute only, and none that is ignored.
//!
//! A table may have columns for routers of other makes: a row that says something in such a column names a test of that make.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

const TABLES: [&str; 10] = [
    "docs/acme.md",
    "docs/bgp.md",
    "docs/faults.md",
    "docs/guard.md",
    "docs/interop.md",
    "docs/quic.md",
    "docs/reload.md",
    "docs/simulation.md",
    "docs/upgrade.md",
    "docs/websockets.md",
];
/// Where tests live.
const SOURCES: [&str; 4] = ["bgp", "crates", "daemon", "testnet"];
const LEAST_UNDERSCORES: usize = 3;
/// Routers by the heads of their columns; a test of one has that as a word of its name, in small letters.
const MAKES: [&str; 5] = ["BIRD", "FRR", "GoBGP", "OpenBGPD", "ExaBGP"];
/// What a row says in the column of a make that can't do it.
const NOT: &str = "–";

/// A test, by the file it stands in and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    module: String,
    name: String,
}

/// Every test that a table names and no source has, and every make that a row claims without a test.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut known = BTreeSet::new();
    for folder in SOURCES {
        tests(&root.join(folder), &mut known)?;
    }
    let mut found = Vec::new();
    for table in TABLES {
        let path = root.join(table);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let missing: BTreeSet<String> = rows(&text).flat_map(|row| row.lacks(&known)).collect();
        found.extend(missing.into_iter().map(|lack| format!("{table} {lack}")));
    }
    Ok(found)
}

/// A row of a table, with the row at the table's head.
struct Row<'t> {
    head: &'t str,
    row: &'t str,
}

/// The rows of all tables, heads and the lines below them left out.
fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    let mut head = "";
    let mut before = "";
    text.lines().filter_map(move |row| {
        let last = std::mem::replace(&mut before, row);
        if !row.starts_with('|') {
            return None;
        }
        if row.starts_with("|-") {
            head = last;
            return None;
        }
        Some(Row { head, row })
    })
}

fn cells(row: &str) -> impl Iterator<Item = &str> {
    row.trim_matches('|').split('|').map(str::trim)
}

impl Row<'_> {
    fn lacks(&self, known: &BTreeSet<Test>) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut of_row = BTreeSet::new();
        let quoted = self.row.split('`').skip(1).step_by(2);
        for pattern in quoted.filter(|word| looks_like_a_test(word)) {
            let mut named = known.iter().filter(|test| is_named_by(test, pattern)).peekable();
            if named.peek().is_none() {
                lacks.push(format!("names the test `{pattern}`, which does not exist"));
            }
            of_row.extend(named.map(|test| &test.name));
        }
        for (make, claim) in cells(self.head).zip(cells(self.row)) {
            let word = make.to_ascii_lowercase();
            let shown = || of_row.iter().any(|name| name.split('_').any(|part| part == word));
            if MAKES.contains(&make) && claim != NOT && !shown() {
                let case = cells(self.row).next().unwrap_or_default();
                lacks.push(format!(
                    "says \"{claim}\" of {make} in the row \"{case}\", which names no test of it"
                ));
            }
        }
        lacks
    }
}

fn looks_like_a_test(word: &str) -> bool {
    let (_, name) = parts(word);
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || is_any(c);
    let joints = name.chars().filter(|c| *c == '_' || is_any(*c)).count();
    name.chars().all(of_a_name) && name.contains('_') && joints >= LEAST_UNDERSCORES
}

/// The module that stands before a name, and the name.
fn parts(word: &str) -> (Option<&str>, &str) {
    word.rsplit_once("::").map_or((None, word), |(module, name)| (Some(module), name))
}

fn is_any(c: char) -> bool {
    matches!(c, '*' | '…')
}

fn is_named_by(test: &Test, word: &str) -> bool {
    let (module, pattern) = parts(word);
    module.is_none_or(|module| module == test.module) && matches(pattern, &test.name)
}

/// Whether `test` is named by `pattern`, each of whose parts follows the one before.
fn matches(pattern: &str, test: &str) -> bool {
    let mut parts = pattern.split(is_any);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = test.strip_prefix(first) else { return false };
    let mut last = first;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || last.is_empty() || (pattern.contains(is_any) && test.ends_with(last))
}

/// All tests in the sources below `folder`.
fn tests(folder: &Path, into: &mut BTreeSet<Test>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            tests(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let module = path.file_stem().unwrap_or_default().to_string_lossy();
            into.extend(
                declared(&text)
                    .map(|name| Test { module: module.clone().into_owned(), name: name.to_owned() }),
            );
        }
    }
    Ok(())
}

/// Names of functions that have the attribute `#[test]`, or one of a runtime such as `#[tokio::test]`: also where a macro
/// such as `proptest!` takes it.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_test, mut is_ignored) = (false, false);
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(attribute) = line.strip_prefix("#[") {
            let name = attribute.split(['(', ']', ' ']).next().unwrap_or_default();
            is_test |= name.rsplit("::").next() == Some("test");
            is_ignored |= name == "ignore";
        }
        let (_, rest) = line.split_once("fn ").filter(|_| !line.starts_with("//"))?;
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let runs = std::mem::take(&mut is_test) && !std::mem::take(&mut is_ignored);
        (runs && end > 0).then_some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &str, bgp: &str, interop: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for folder in SOURCES.iter().chain(&["docs"]) {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for table in TABLES {
            let text = match table {
                "docs/bgp.md" => bgp,
                "docs/interop.md" => interop,
                _ => "",
            };
            fs::write(root.path().join(table), text).unwrap();
        }
        fs::write(root.path().join("bgp/module.rs"), sources).unwrap();
        violations(root.path()).unwrap()
    }

    #[test]
    fn a_named_test_that_does_not_exist_is_found() {
        let sources = "#[test]\nfn a_test_that_is_there() {}\n";
        let first =
            "| claim | `a_test_that_is_there`, `a_test_that_is_gone` |\nno row: `a_word_of_the_text`\n";
        let second = "| claim | `module::*_that_is_…`, `other::*_that_is_…`, `*_that_is_not` |\n";
        assert_eq!(
            found(sources, first, second),
            [
                "docs/bgp.md names the test `a_test_that_is_gone`, which does not exist",
                "docs/interop.md names the test `*_that_is_not`, which does not exist",
                "docs/interop.md names the test `other::*_that_is_…`, which does not exist",
            ]
        );
    }

    #[test]
    fn only_what_is_marked_as_a_test_and_runs_is_one() {
        let sources = "\
            #[test]\n#[should_panic(expected = \"x\")]\nfn a_plain_test_is_one() {\n    a_call_of_something();\n}\n\
            #[tokio::test(start_paused = true)]\nasync fn one_of_a_runtime_too() {}\n\
            proptest! {\n    #[test]\n    fn a_property_is_one_too(x in 0..9) {}\n}\n\
            fn a_helper_is_not_one() {}\n\
            #[test]\n#[ignore = \"slow\"]\nfn an_ignored_one_is_not() {}\n\
            // #[test]\n// fn a_comment_is_not_one() {}\n\
            #[test_only]\nfn a_likeness_is_not_one() {}\n";
        let tests: Vec<&str> = declared(sources).collect();
        assert_eq!(tests, ["a_plain_test_is_one", "one_of_a_runtime_too", "a_property_is_one_too"]);
    }

    #[test]
    fn a_row_names_a_test_of_each_make_that_it_claims() {
        let sources = "#[test]\nfn bird_does_as_it_is_told() {}\n#[test]\nfn frr_does_as_it_is_told() {}\n";
        let table = "| case | tests | BIRD | FRR | GoBGP | ExaBGP |\n|---|---|---|---|---|---|\n\
            | obeys | `*_does_as_it_is_told` | RIB | ✓ | – | heard |\n\
            | listens | `bird_does_…` | ✓ | ✓ | – | – |\n";
        assert_eq!(
            found(sources, "", table),
            [
                "docs/interop.md says \"heard\" of ExaBGP in the row \"obeys\", which names no test of it",
                "docs/interop.md says \"✓\" of FRR in the row \"listens\", which names no test of it",
            ]
        );
    }
}
