//! What comes from outside: licences, banned crates and sources, by the rules in `deny.toml`.
//!
//! `cargo deny` reads the same file and is used where it is installed. This is the part of it that a clean machine checks
//! in no time: building cargo-deny takes longer than all tests.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo::{Metadata, Package};

/// Everything has to come from where this does, Cargo's own registry.
const FROM_THE_REGISTRY: &str = "serde";

/// The part of `deny.toml` used here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Clone, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Clone, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
    /// Packages that may depend on it all the same.
    #[serde(default)]
    wrappers: BTreeSet<String>,
}

/// Reads `deny.toml`.
pub(crate) fn rules(metadata: &Metadata) -> Result<Rules> {
    let path = metadata.workspace_root.join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// Every third-party package that breaks a rule, one line each.
pub(crate) fn violations(metadata: &Metadata, rules: &Rules) -> Vec<String> {
    let foreign =
        metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id));
    let registry = metadata.packages.iter().find(|package| package.name == FROM_THE_REGISTRY);
    let registry =
        registry.and_then(|package| package.source.as_deref()).filter(|from| from.starts_with("registry+"));
    foreign.flat_map(|package| judge(package, &dependents(metadata, package), rules, registry)).collect()
}

/// Who depends on a package directly, by whatever kind of dependency.
fn dependents<'a>(metadata: &'a Metadata, package: &Package) -> Vec<&'a str> {
    let nodes = metadata.resolve.nodes.iter();
    let dependents: BTreeSet<&str> = nodes
        .filter(|node| node.deps.iter().any(|dependency| dependency.pkg == package.id))
        .map(|node| node.id.as_str())
        .collect();
    let packages = metadata.packages.iter();
    packages.filter(|other| dependents.contains(other.id.as_str())).map(|other| other.name.as_str()).collect()
}

fn judge(package: &Package, dependents: &[&str], rules: &Rules, registry: Option<&str>) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut found = Vec::new();
    match package.license.as_deref() {
        None => found.push(format!("{name} states no licence")),
        Some(expression) if !allows(expression, &rules.licenses.allow) => {
            found.push(format!("{name} has licence `{expression}`, which deny.toml does not allow"));
        }
        Some(_) => {}
    }
    let ban = rules.bans.deny.iter().find(|ban| ban.name == package.name);
    if let Some(ban) = ban.filter(|ban| !ban.allows(dependents)) {
        found.push(format!("{name} is banned: {}", ban.reason));
    }
    if registry.is_none() || package.source.as_deref() != registry {
        let source = package.source.as_deref().unwrap_or("a path outside the workspace");
        found.push(format!("{name} comes from {source}; only Cargo's own registry is allowed"));
    }
    found
}

impl Ban {
    /// Whether none but its wrappers depend on the banned package.
    fn allows(&self, dependents: &[&str]) -> bool {
        !self.wrappers.is_empty() && dependents.iter().all(|name| self.wrappers.contains(*name))
    }
}

/// Whether the allowed licences satisfy an SPDX expression (also the old form with slashes). `WITH` is part of a licence's
/// name; `AND` binds stronger than `OR`.
fn allows(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Expression { words: &words, allowed };
    reader.any() == Some(true) && reader.words.is_empty()
}

/// Reads an expression word by word; `None` where it is not one.
struct Expression<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl<'a> Expression<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut satisfied = self.all()?;
        while self.take("OR") {
            satisfied |= self.all()?;
        }
        Some(satisfied)
    }

    fn all(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let satisfied = self.any()?;
            return self.take(")").then_some(satisfied);
        }
        let licence = self.word()?;
        if self.take("WITH") {
            let exception = self.word()?;
            return Some(self.allowed.contains(&format!("{licence} WITH {exception}")));
        }
        Some(self.allowed.contains(licence))
    }

    fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_judged_as_spdx_says() {
        let allowed: BTreeSet<String> =
            ["MIT", "Apache-2.0", "BSD-3-Clause"].into_iter().map(str::to_owned).collect();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("(MIT OR GPL-3.0-only) AND BSD-3-Clause", true),
            ("MIT OR Apache-2.0 AND GPL-3.0-only", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("MIT OR", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(allows(expression, &allowed), expected, "{expression}");
        }
    }

    const REGISTRY: &str = "registry+https://registry.example.net";

    #[test]
    fn licence_ban_and_source_are_each_reported() {
        let rules: Rules = toml::from_str(
            "licenses.allow = ['MIT']\n[[bans.deny]]\ncrate = 'openssl'\nreason = 'one TLS library'\n",
        )
        .unwrap();
        let package = Package {
            id: "openssl".to_owned(),
            name: "openssl".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("AGPL-3.0-only".to_owned()),
            source: Some("git+ssh://example.net/fork".to_owned()),
        };
        assert_eq!(judge(&package, &[], &rules, Some(REGISTRY)).len(), 3);
        let clean = Package {
            name: "bytes".to_owned(),
            license: Some("MIT".to_owned()),
            source: Some(REGISTRY.to_owned()),
            ..package
        };
        assert_eq!(judge(&clean, &[], &rules, Some(REGISTRY)), Vec::<String>::new());
    }

    #[test]
    fn a_banned_package_is_let_be_below_its_wrappers_only() {
        let ban: Ban =
            toml::from_str("crate = 'chrono'\nwrappers = ['bgpkit-parser']\nreason = 'jiff'\n").unwrap();
        for (dependents, allowed) in
            [(&["bgpkit-parser"][..], true), (&["bgpkit-parser", "proximad"], false), (&["proximad"], false)]
        {
            assert_eq!(ban.allows(dependents), allowed, "{dependents:?}");
        }
        let ban: Ban = toml::from_str("crate = 'openssl'\nreason = 'one TLS library'\n").unwrap();
        assert!(!ban.allows(&[]), "without wrappers a ban has no exception");
    }
}
