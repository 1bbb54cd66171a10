//! Whatever is in the file, the answer is a configuration or errors that make sense.

use proptest::prelude::*;
use proxima_config::Config;

mod common;

use common::{SOUND, fits};

/// No panic; what is accepted fits the schema; and errors, if any, point into the file, in order, and can be printed.
fn answers(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = Config::parse(text, "f.toml") else {
        let fits = fits(text);
        prop_assert!(fits.is_ok(), "accepted, and not by the schema: {fits:?}");
        return Ok(());
    };
    prop_assert!(!errors.errors().is_empty());
    prop_assert!(!errors.to_string().is_empty());
    prop_assert!(errors.errors().is_sorted_by_key(|error| (error.line, error.column)));
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    for error in errors.errors() {
        prop_assert!((1..=lines.len()).contains(&error.line), "{error:?}");
        prop_assert_eq!(lines[error.line - 1], &error.source_line);
        prop_assert!((1..=error.source_line.chars().count() + 1).contains(&error.column), "{error:?}");
    }
    Ok(())
}

/// What stands in a file like ours, so that mutations get past the first checks.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ",",
            "\"",
            "'''",
            "\"\"\"",
            "#",
            "\n",
            "\r",
            ".",
            "\t",
            "\\",
            "true",
            "0",
            "-1",
            "1e9",
            "nan",
            "inf",
            "0x10",
            "1979-05-27",
            "\"\"",
            "[]",
            "{}",
            "\"1s\"",
            "\"9999999999999999999h\"",
            "\"eu\"",
            "\"EU\"",
            "\"api\"",
            "\"::/128\"",
            "\"255.255.255.255:65535\"",
            "when-down = \"stay\"\n",
            "vip = \"none\"\n",
            "passive = true\n",
            "range = \"10.0.0.0/24\"\n",
            "interface = \"eth0\"\n",
            "max-prefixes = { limit = 1 }\n",
            "bfd = { interval = \"50ms\" }\n",
            "multihop = 2\n",
            "[[bgp.bmp]]\n",
            "[bgp.mrt]\n",
            "[pools]\n",
            "[regions]\n",
            "[services.x]\n",
            "[announce.x]\n",
            "[announce.web.damping]\n",
            "[announce.web.guard]\n",
            "observe = [\"tor1\"]\n",
            "suppress = 0.5\n",
            "slo = { p95 = \"1s\" }\n",
            "dead-man = \"1s\"\n",
            "[limits]\n",
            "[[bgp.peers]]\n",
            "tcp = true",
            "é",
            "\u{feff}",
            "\0",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

/// The sound file with some stretches replaced.
fn mutated() -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), 0usize..40, fragment());
    prop::collection::vec(cut, 1..6).prop_map(|cuts| {
        let mut text: Vec<char> = SOUND.chars().collect();
        for (at, length, with) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, with.chars());
        }
        text.into_iter().collect()
    })
}

/// The sound file with whole lines dropped, doubled or exchanged: mostly sound TOML, wrong in meaning.
fn shuffled() -> impl Strategy<Value = String> {
    let index = any::<prop::sample::Index>;
    prop::collection::vec((index(), index(), 0..3), 1..8).prop_map(|moves| {
        let mut lines: Vec<&str> = SOUND.lines().collect();
        for (a, b, what) in moves {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            match what {
                0 => drop(lines.remove(a)),
                1 => lines.insert(b, lines[a]),
                _ => lines.swap(a, b),
            }
        }
        lines.join("\n")
    })
}

/// The sound file with the values of two settings exchanged.
fn exchanged() -> impl Strategy<Value = String> {
    let index = any::<prop::sample::Index>;
    prop::collection::vec((index(), index()), 1..5).prop_map(|moves| {
        let mut lines: Vec<(String, Option<String>)> = SOUND
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (line.to_owned(), None),
            })
            .collect();
        let settings: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].1.is_some()).collect();
        for (a, b) in moves {
            let (a, b) = (settings[a.index(settings.len())], settings[b.index(settings.len())]);
            let value = lines[a].1.clone();
            lines[a].1 = std::mem::replace(&mut lines[b].1, value);
        }
        let line = |(key, value): (String, Option<String>)| match value {
            Some(value) => format!("{key} = {value}\n"),
            None => format!("{key}\n"),
        };
        lines.into_iter().map(line).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_answered(text: String) {
        answers(&text)?;
    }

    #[test]
    fn any_mutation_is_answered(text in mutated()) {
        answers(&text)?;
    }

    #[test]
    fn any_shuffling_is_answered(text in shuffled()) {
        answers(&text)?;
    }

    #[test]
    fn any_exchange_of_values_is_answered(text in exchanged()) {
        answers(&text)?;
    }
}
