//! Rules broken on purpose, one at a time, in a copy of the sources: does the simulator find out?
//!
//! ```text
//!  sources ─▶ copy ─▶ one passage replaced ─▶ build ─▶ 10 000 seeds ─▶ the rule that was seen broken, and the first seed
//! ```

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::{
    cargo,
    sim::{build_in, tree::Copy},
};

/// A rule broken on purpose.
struct Mutation {
    name: &'static str,
    /// What is no longer so.
    about: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// Within so many seeds each has to be found.
const SEEDS: &str = "10000";
/// A mutant is built often and run briefly.
const QUICK_BUILD: [&str; 6] = [
    "--config",
    "profile.sim.lto='off'",
    "--config",
    "profile.sim.codegen-units=16",
    "--config",
    "profile.sim.incremental=true",
];

const WISH: &str = "crates/announce/src/wish.rs";
const GROUP: &str = "crates/announce/src/group.rs";
const GUARD: &str = "crates/announce/src/guard.rs";
const SCORE: &str = "crates/health/src/score.rs";
const DOUBT: &str = "crates/health/src/doubt.rs";

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "hysteresis",
        about: "what is withdrawn comes back at the lower bound already",
        file: WISH,
        from: "(score >= withdrawn.above && score > Score::ZERO)",
        to: "(score >= withdrawn.below && score > Score::ZERO)",
    },
    Mutation {
        name: "hold-down",
        about: "the hold-down holds nothing",
        file: WISH,
        from: "self.hold_down.clone().into_iter().chain(damping).max_by_key(Hold::until)",
        to: "damping",
    },
    Mutation {
        name: "damping",
        about: "flaps are held back at three times the penalty only",
        file: "crates/announce/src/damping.rs",
        from: "if self.penalty >= self.damping.suppress",
        to: "if self.penalty >= 3.0 * self.damping.suppress",
    },
    Mutation {
        name: "min-up",
        about: "the least time up is not kept",
        file: GROUP,
        from: "self.up_since.map(|since| since + min_up)",
        to: "self.up_since.map(|since| since + min_up / 2)",
    },
    Mutation {
        name: "first-verdicts",
        about: "groups are announced before all first verdicts",
        file: WISH,
        from: "if score.unknown || self.is_stale(now, config.dead_man) {",
        to: "if self.is_stale(now, config.dead_man) {",
    },
    Mutation {
        name: "dead-man",
        about: "the silence of a dead prober is not noticed",
        file: WISH,
        from: "let believed = self.known && self.silence.is_none();",
        to: "let believed = false;",
    },
    Mutation {
        name: "held-first-verdicts",
        about: "first verdicts that a hold-down holds back are not known yet",
        file: WISH,
        from: "        self.known = true;\n",
        to: "        self.known = self.settled;\n",
    },
    Mutation {
        name: "guard-rank",
        about: "two that leave at once rely on each other",
        file: GUARD,
        from: "!other.leaving || other.origin < self.config.origin",
        to: "!other.leaving || other.origin != self.config.origin",
    },
    Mutation {
        name: "guard-quiet",
        about: "a group leaves without its quiet period",
        file: GUARD,
        from: "let waits = if now < since + quiet {",
        to: "let waits = if now < since {",
    },
    Mutation {
        name: "guard-return",
        about: "nobody comes back when the others have gone",
        file: GUARD,
        from: "_ if self.view.observing => !self.evidence().suffices(),",
        to: "_ if self.view.observing => false,",
    },
    Mutation {
        name: "cap",
        about: "one withdrawal more than the cap allows",
        file: "crates/announce/src/announcer.rs",
        from: "let oldest_that_counts = self.withdrawals.len().checked_sub(most)?;",
        to: "let oldest_that_counts = self.withdrawals.len().checked_sub(most + 1)?;",
    },
    Mutation {
        name: "config-guard",
        about: "a file that silences the PoP when what holds its groups is over is taken",
        file: "crates/announce/src/announcer.rs",
        from: "!self.is_silent() && tried.groups().all(stays_silent)",
        to: "{ _ = stays_silent; !self.is_silent() && tried.is_silent() }",
    },
    Mutation {
        name: "stop-order",
        about: "the time of GRACEFUL_SHUTDOWN is not waited for",
        file: GROUP,
        from: "Some(Drain::Graceful(now + graceful_shutdown))",
        to: "Some(Drain::Graceful(now + graceful_shutdown / 2))",
    },
    Mutation {
        name: "redundant-update",
        about: "what a peer holds already is sent again",
        file: "bgp/session/src/adj_rib_out.rs",
        from: "is_some_and(|sent| sent.chosen == attributes)\n                && !self.refresh.contains(&prefix)",
        to: "is_some_and(|sent| sent.chosen == attributes)\n                && self.sent.len() == 1",
    },
    Mutation {
        name: "allow-list",
        about: "a prefix that is not on the list may be announced all the same",
        file: "bgp/session/src/allow_list.rs",
        from: "self.prefixes.contains(&prefix).then_some(Exportable { prefix })",
        to: "self.prefixes.first().map(|_| Exportable { prefix })",
    },
    Mutation {
        name: "removed-group",
        about: "a group that the file has no longer is announced on",
        file: "crates/announce/src/announcer.rs",
        from: "            self.outputs.extend(group.remove(now));",
        to: "            self.groups.push(group);",
    },
    Mutation {
        name: "leaving-mark",
        about: "the mark of those that leave is not read",
        file: GUARD,
        from: "leaving: leaving.contains(&origin)",
        to: "leaving: leaving.contains(&origin) && leaving.len() > 1",
    },
    Mutation {
        name: "min-announcers",
        about: "one other announcer is enough, however many are asked for",
        file: GUARD,
        from: "self.observing && self.counted >= self.least",
        to: "self.observing && self.counted >= self.least.min(1)",
    },
    Mutation {
        name: "weights",
        about: "every backend has the same share of capacity",
        file: SCORE,
        from: "let weight = u64::from(member.weight.0);",
        to: "let weight = u64::from(member.weight.0.min(1));",
    },
    Mutation {
        name: "agent-share",
        about: "what an agent says of its app's capacity is not heeded",
        file: SCORE,
        from: "let offered = weight * u64::from(member.share.as_u8());",
        to: "let offered = weight * u64::from(member.share.as_u8().max(100));",
    },
    Mutation {
        name: "thaw-views",
        about: "what was seen of others before a standstill is not forgotten",
        file: "crates/announce/src/self_check.rs",
        from: "self.duties.push_back(Duty::Tell(group.clone(), Input::View(View::default())));",
        to: "_ = (group, Input::View(View::default()));",
    },
    Mutation {
        name: "suspension",
        about: "time in which the host was suspended is not noticed",
        file: "crates/health/src/thaw.rs",
        from: "let length = monotonic.max(passed);",
        to: "let (length, passed) = (monotonic, passed.min(monotonic));",
    },
    Mutation {
        name: "old-probes",
        about: "a verdict is believed after a silence by a probe that had begun before",
        file: DOUBT,
        from: "began.is_none_or(|began| began <= *since)",
        to: "began.is_none_or(|began| began > *since && began < *since)",
    },
    Mutation {
        name: "unchecked",
        about: "a backend that nothing checks any more is taken for up",
        file: DOUBT,
        from: "silent.insert(watched.backend.clone(), since);",
        to: "_ = (&silent, since);",
    },
    Mutation {
        name: "stuck-worker",
        about: "a worker is stuck for ten seconds before anything is done about it",
        file: "crates/health/src/watchdog.rs",
        from: "now >= watched.since + SILENCE {",
        to: "now >= watched.since + 10 * SILENCE {",
    },
    Mutation {
        name: "end-of-rib",
        about: "End-of-RIB does not wait for first verdicts",
        file: "bgp/session/src/adj_rib_out.rs",
        from: "        if !self.end_of_rib_released {\n            return None;\n        }\n        let family",
        to: "        let family",
    },
];

/// Makes each mutant, or those named, and runs it. The exit code is 1 when one was not found.
pub(super) fn run(names: &[String]) -> Result<ExitCode> {
    for name in names {
        let known: Vec<_> = MUTATIONS.iter().map(|mutation| mutation.name).collect();
        ensure!(known.contains(&name.as_str()), "no mutation `{name}`; there are {}", known.join(", "));
    }
    let directory = cargo::metadata()?.target_directory.join("mutants");
    let copy = Copy::of(&cargo::root(), &directory.join("tree"))?;
    let target = directory.join("target");
    let simulate = || -> Result<Option<String>> {
        let program = build_in(copy.root(), &target, &QUICK_BUILD)?;
        let output = Command::new(&program)
            .args(["--seeds", SEEDS])
            .output()
            .with_context(|| format!("running {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok((!output.status.success()).then(|| said.lines().next().unwrap_or("it died").to_owned()))
    };
    if let Some(broken) = simulate()? {
        println!("the sources as they are break a rule: {broken}");
        return Ok(ExitCode::FAILURE);
    }
    println!("{:<20} no rule broken within {SEEDS} seeds", "(as it is)");
    let chosen = |mutation: &&Mutation| names.is_empty() || names.iter().any(|name| name == mutation.name);
    let mut survivors = 0;
    for mutation in MUTATIONS.iter().filter(chosen) {
        let before = copy.replace(mutation.file, mutation.from, mutation.to)?;
        let found = simulate();
        copy.write(mutation.file, before.as_bytes())?;
        let found = found?;
        survivors += usize::from(found.is_none());
        println!("{:<20} {}", mutation.name, mutation.about);
        println!("{:<20} {}", "", found.as_deref().unwrap_or("NOT FOUND"));
    }
    println!("{survivors} not found");
    Ok(if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sim::tree::replaced;

    #[test]
    fn each_mutation_is_of_a_passage_that_is_there_once() {
        for Mutation { name, file, from, to, .. } in MUTATIONS {
            let text = fs::read_to_string(cargo::root().join(file)).unwrap();
            assert!(replaced(&text, from, to).is_ok_and(|mutant| mutant != text), "{name}: {file}");
        }
    }
}
