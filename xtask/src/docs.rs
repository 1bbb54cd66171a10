//! The tables that name tests: each named test has to exist.
//!
//! What stands in backquotes in a row of a table and looks like a test's name (small letters, digits and at least three
//! underscores) is taken for one. A module may stand before it, and `*` or `…` for any part of it.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

const TABLES: [&str; 2] = ["docs/bgp.md", "docs/interop.md"];
/// Where tests live.
const SOURCES: [&str; 4] = ["bgp", "crates", "daemon", "testnet"];
const LEAST_UNDERSCORES: usize = 3;

/// Every test that a table names and no source has.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut known = BTreeSet::new();
    for folder in SOURCES {
        functions(&root.join(folder), &mut known)?;
    }
    let mut found = Vec::new();
    for table in TABLES {
        let path = root.join(table);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let missing = named(&text).into_iter().filter(|name| !known.iter().any(|test| matches(name, test)));
        found.extend(missing.map(|name| format!("{table} names the test `{name}`, which does not exist")));
    }
    Ok(found)
}

fn named(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let without_module = quoted.map(|word| word.rsplit("::").next().unwrap_or(word));
    without_module.filter(|word| looks_like_a_test(word)).collect()
}

fn looks_like_a_test(word: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || is_any(c);
    word.chars().all(of_a_name) && word.matches('_').count() >= LEAST_UNDERSCORES
}

fn is_any(c: char) -> bool {
    matches!(c, '*' | '…')
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
    rest.is_empty() || last.is_empty() || test.ends_with(last)
}

/// The names of all functions in the sources below `folder`.
fn functions(folder: &Path, into: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            functions(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            into.extend(declared(&text).map(str::to_owned));
        }
    }
    Ok(())
}

/// Names behind `fn`, and names that a macro makes a test of: a line that begins with the name.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = line.split_once("fn ").map_or(line, |(_, rest)| rest);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        (end > 0).then_some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_test_that_does_not_exist_is_found() {
        let root = tempfile::tempdir().unwrap();
        for folder in SOURCES.iter().chain(&["docs"]) {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let first =
            "| claim | `a_test_that_is_there`, `a_test_that_is_gone` |\nno row: `a_word_of_the_text`\n";
        let second = "| claim | `module::*_that_is_…`, `*_that_is_not` |\n";
        for (table, text) in TABLES.iter().zip([first, second]) {
            fs::write(root.path().join(table), text).unwrap();
        }
        fs::write(root.path().join("bgp/a.rs"), "    async fn a_test_that_is_there() {}\n").unwrap();
        let found = violations(root.path()).unwrap();
        assert_eq!(
            found,
            [
                "docs/bgp.md names the test `a_test_that_is_gone`, which does not exist",
                "docs/interop.md names the test `*_that_is_not`, which does not exist"
            ]
        );
    }
}
