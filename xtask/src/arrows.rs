//! The dependency arrows: who in the workspace may depend on whom.
//!
//! ```text
//! pure ◀── driver ◀── daemon          cli, testnet ──▶ pure only
//!             └──▶ system ◀──┘
//! ```
//!
//! - a pure crate depends, by whatever way, on no driver and on no library that does I/O, runs tasks or draws random numbers;
//! - drivers never depend on each other;
//! - only the daemon composes; `cli` and `testnet` meet it at its process boundary;
//! - every member has its class here, so that a new crate is placed before it is used.

use std::collections::{HashMap, HashSet};

use crate::cargo::Metadata;

/// What a member of the workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Pure,
    Driver,
    /// System calls behind safe functions, and sockets that several drivers use.
    System,
    /// Composes everything.
    Daemon,
    /// Meets the daemon at its process boundary.
    Outside,
}

const MEMBERS: &[(&str, Class)] = &[
    ("proxima-acme", Class::Pure),
    ("proxima-announce", Class::Pure),
    ("proxima-api", Class::Pure),
    ("proxima-balance", Class::Pure),
    ("proxima-bfd", Class::Pure),
    ("proxima-bgp-monitor", Class::Pure),
    ("proxima-bgp-rib", Class::Pure),
    ("proxima-bgp-session", Class::Pure),
    ("proxima-bgp-wire", Class::Pure),
    ("proxima-catchment", Class::Pure),
    ("proxima-config", Class::Pure),
    ("proxima-health", Class::Pure),
    ("proxima-http1", Class::Pure),
    ("proxima-http3", Class::Pure),
    ("proxima-probe-kind", Class::Pure),
    ("proxima-quic-lb", Class::Pure),
    ("proxima-residency", Class::Pure),
    ("proxima-types", Class::Pure),
    ("proxima-x509", Class::Pure),
    ("proxima-acme-io", Class::Driver),
    ("proxima-bfd-io", Class::Driver),
    ("proxima-bgp-speaker", Class::Driver),
    ("proxima-catchment-io", Class::Driver),
    ("proxima-netlink", Class::Driver),
    ("proxima-probe", Class::Driver),
    ("proxima-proxy", Class::Driver),
    ("proxima-telemetry", Class::Driver),
    ("proxima-quic-socket", Class::System),
    ("proxima-sys", Class::System),
    ("proximad", Class::Daemon),
    ("proxima-cli", Class::Outside),
    ("proxima-sim", Class::Outside),
    ("proxima-testnet", Class::Outside),
    ("xtask", Class::Outside),
];

/// Libraries that do I/O, run tasks, read clocks or draw random numbers.
const DRIVING_LIBRARIES: &[&str] = &[
    "async-std",
    "axum",
    "getrandom",
    "hyper",
    "hyper-util",
    "mio",
    "netlink-sys",
    "nix",
    "rand",
    "rtnetlink",
    "rustix",
    "smol",
    "socket2",
    "tokio",
    "tokio-util",
    "tun-rs",
];

/// Every arrow that points the wrong way, one line each.
pub(crate) fn violations(metadata: &Metadata) -> Vec<String> {
    let names: HashMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let arrows: HashMap<&str, Vec<&str>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dependency| dependency.is_normal());
            (names[node.id.as_str()], normal.map(|dependency| names[dependency.pkg.as_str()]).collect())
        })
        .collect();
    let members: HashSet<&str> = metadata.workspace_members.iter().map(|id| names[id.as_str()]).collect();
    let mut found = Vec::new();
    for member in &members {
        let Some(class) = class_of(member) else {
            found.push(format!("{member} has no class: add it to MEMBERS in xtask/src/arrows.rs"));
            continue;
        };
        for target in arrows.get(member).into_iter().flatten().filter(|target| members.contains(*target)) {
            if let Some(complaint) = class_of(target).and_then(|to| complaint(class, to)) {
                found.push(format!("{member} depends on {target}: {complaint}"));
            }
        }
        if class == Class::Pure {
            found.extend(way_to_a_driving_library(member, &arrows).map(|way| {
                format!(
                    "{}: a pure crate does no I/O, runs no tasks and draws no random numbers",
                    way.join(" -> ")
                )
            }));
        }
    }
    found.sort();
    found
}

fn class_of(name: &str) -> Option<Class> {
    MEMBERS.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
}

fn complaint(from: Class, to: Class) -> Option<&'static str> {
    match (from, to) {
        (_, Class::Pure)
        | (Class::Daemon, Class::Driver)
        | (Class::Driver | Class::Daemon | Class::Outside, Class::System) => None,
        (Class::Pure, _) => Some("a pure crate depends on pure crates only"),
        (Class::System, _) => Some("system calls depend on nothing of the product's"),
        (Class::Driver, Class::Driver) => {
            Some("drivers never depend on each other; the daemon composes them")
        }
        (Class::Outside, Class::Driver | Class::Daemon) => {
            Some("it meets the daemon at its process boundary")
        }
        (_, Class::Daemon | Class::Outside) => Some("nothing depends on a program"),
    }
}

/// The shortest way from a member to a driving library, if there is one.
fn way_to_a_driving_library<'a>(
    member: &'a str,
    arrows: &HashMap<&'a str, Vec<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut seen = HashSet::from([member]);
    let mut ways = vec![vec![member]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let end = way[way.len() - 1];
            for target in arrows.get(end).into_iter().flatten() {
                let extended = [way.as_slice(), &[*target]].concat();
                if DRIVING_LIBRARIES.contains(target) {
                    return Some(extended);
                }
                if seen.insert(target) {
                    longer.push(extended);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cargo::{Dependency, DependencyKind, Node, Package, Resolve};

    /// A member or library, what it depends on, and by which kind of dependency.
    type Arrows<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    /// A workspace with these arrows; names without a class in `MEMBERS` are outside libraries unless listed in `new`.
    fn workspace(arrows: &[Arrows<'_>], new: &[&str]) -> Metadata {
        let mut names: Vec<&str> = Vec::new();
        for (from, targets) in arrows {
            names.push(from);
            names.extend(targets.iter().map(|(to, _)| *to));
        }
        names.sort_unstable();
        names.dedup();
        let package = |name: &&str| Package {
            id: format!("id:{name}"),
            name: (*name).to_owned(),
            version: "1.0.0".to_owned(),
            license: None,
            source: None,
        };
        let node = |name: &&str| Node {
            id: format!("id:{name}"),
            deps: arrows
                .iter()
                .filter(|(from, _)| from == name)
                .flat_map(|(_, targets)| *targets)
                .map(|(to, kind)| Dependency {
                    pkg: format!("id:{to}"),
                    dep_kinds: vec![DependencyKind { kind: kind.map(str::to_owned) }],
                })
                .collect(),
        };
        let member = |name: &&&str| class_of(name).is_some() || new.contains(name);
        Metadata {
            packages: names.iter().map(package).collect(),
            workspace_members: names.iter().filter(member).map(|name| format!("id:{name}")).collect(),
            resolve: Resolve { nodes: names.iter().map(node).collect() },
            target_directory: PathBuf::new(),
            workspace_root: PathBuf::new(),
        }
    }

    #[test]
    fn arrows_that_point_the_right_way_are_let_be() {
        let metadata = workspace(
            &[
                ("proximad", &[("proxima-probe", None), ("proxima-health", None), ("tokio", None)]),
                ("proxima-probe", &[("proxima-health", None), ("tokio", None)]),
                ("proxima-health", &[("proxima-types", None), ("tokio", Some("dev"))]),
                ("proxima-cli", &[("proxima-api", None), ("hyper", None)]),
            ],
            &[],
        );
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_arrow_is_named() {
        let cases: &[(&str, &str)] = &[
            ("proxima-health", "proxima-probe"),
            ("proxima-health", "tokio"),
            ("proxima-probe", "proxima-netlink"),
            ("proxima-testnet", "proximad"),
            ("proxima-testnet", "proxima-proxy"),
            ("proxima-cli", "proxima-telemetry"),
            ("proximad", "proxima-testnet"),
        ];
        for (from, to) in cases {
            let found = violations(&workspace(&[(from, &[(to, None)])], &[]));
            assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
            assert!(found[0].contains(from) && found[0].contains(to), "{}", found[0]);
        }
    }

    #[test]
    fn a_pure_crate_does_not_get_at_io_by_way_of_a_library_either() {
        let metadata =
            workspace(&[("proxima-types", &[("handy", None)]), ("handy", &[("socket2", None)])], &[]);
        let found = violations(&metadata);
        assert!(found[0].starts_with("proxima-types -> handy -> socket2"), "{found:?}");
    }

    #[test]
    fn a_new_crate_must_be_classified() {
        let found = violations(&workspace(&[("proxima-new", &[])], &["proxima-new"]));
        assert!(found[0].contains("proxima-new has no class"), "{found:?}");
    }
}
