//! Compares the readings: which keys there are, what is always required, and what depends on what else is written.
//!
//! A *case* is what a table says of the keys that reading branches at, with what was found in it then. All combinations are
//! there, so that what holds in every case that says some things, whatever else it says, follows from these things.

use std::collections::BTreeSet;

use super::{Finding, Survey, join};
use crate::reference::{Condition, Key, Rule, Shape, Table, Tables};

/// What was found in one case: by what the table says, each key asked for.
struct Case {
    when: Vec<Condition>,
    found: Vec<(&'static str, Finding)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    Required,
    Refused,
    None,
}

impl Case {
    fn demand(&self, key: &str) -> Demand {
        let of_key = self.found.iter().filter(|(name, _)| *name == key);
        let mut demands = of_key.filter_map(|(_, finding)| match finding {
            Finding::Known(key) if key.required => Some(Demand::Required),
            Finding::Known(_) => Some(Demand::None),
            Finding::Refused => Some(Demand::Refused),
            Finding::AnyOf(_) => None,
        });
        demands.next_back().unwrap_or(Demand::None)
    }

    fn holds(&self, when: &[Condition]) -> bool {
        when.iter().all(|condition| self.when.contains(condition))
    }

    fn says(&self, key: &str) -> bool {
        self.when.iter().any(|condition| condition.key == key)
    }

    /// The one key that it says is there, and nothing else.
    fn only_key(&self) -> Option<&'static str> {
        match self.when.as_slice() {
            [Condition { key, word: None }] => Some(key),
            _ => None,
        }
    }

    /// Whether it lacks a word without which no file is right.
    fn is_broken(&self) -> bool {
        self.found.iter().any(|(name, finding)| {
            let Finding::Known(key) = finding else { return false };
            let is_word = matches!(key.value, Some(Shape::Words(_)));
            key.required && is_word && !self.says(name)
        })
    }
}

/// What all readings have found.
pub(super) struct Findings<'s> {
    surveys: &'s [Survey],
}

impl<'s> Findings<'s> {
    pub(super) fn of(surveys: &'s [Survey]) -> Self {
        Self { surveys }
    }

    /// The table at `path`, and all below it.
    pub(super) fn table(&self, path: &str) -> Table {
        let cases = self.cases(path);
        let whole: Vec<&Case> = cases.iter().filter(|case| !case.is_broken()).collect();
        let mut table = Table::default();
        for (_, finding) in cases.iter().flat_map(|case| &case.found) {
            match finding {
                Finding::Known(key) if table.keys.iter().all(|known| known.name != key.name) => {
                    table.keys.push(self.key(path, key, &whole));
                }
                Finding::Known(_) | Finding::Refused | Finding::AnyOf(_) => {}
            }
        }
        let names: Vec<&'static str> = table.keys.iter().map(|key| key.name).collect();
        let always = |key: &str| table.keys.iter().any(|known| known.name == key && known.required);
        table.any_of = [always_any_of(&whole), unless(&whole, &names)].concat();
        table.rules = rules(&whole, &names, always);
        table
    }

    /// A case for each thing that is said of the table; what is said elsewhere makes no difference.
    fn cases(&self, path: &str) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for survey in self.surveys {
            let when = survey.said_of(path);
            if cases.iter().any(|case| case.when == when) {
                continue;
            }
            let found = survey.found_in(path);
            if !found.is_empty() {
                cases.push(Case { when, found });
            }
        }
        cases.sort_by_key(|case| case.when.len());
        cases
    }

    fn key(&self, path: &str, key: &Key, cases: &[&Case]) -> Key {
        let required = cases.iter().all(|case| case.demand(key.name) == Demand::Required);
        let all = || cases.iter().flat_map(|case| &case.found);
        let example = all().find_map(|(name, finding)| match finding {
            Finding::Known(known) if *name == key.name => known.example,
            _ => None,
        });
        let tables = key.tables.as_ref().map(|tables| {
            let below = tables.how.path(&join(path, key.name));
            Tables { table: self.table(&below), ..tables.clone() }
        });
        Key { required, example, tables, ..key.clone() }
    }
}

/// The choices of which one is needed in every case.
fn always_any_of(cases: &[&Case]) -> Vec<Vec<&'static str>> {
    let Some((first, others)) = cases.split_first() else { return Vec::new() };
    let of_first = first.found.iter().filter(|found| others.iter().all(|case| case.found.contains(found)));
    let choices = of_first.filter_map(|(_, finding)| match finding {
        Finding::AnyOf(keys) => Some(keys.clone()),
        Finding::Known(_) | Finding::Refused => None,
    });
    choices.collect()
}

/// What is required or refused in some cases, each under the least that makes it so.
fn rules(cases: &[&Case], names: &[&'static str], always: impl Fn(&str) -> bool) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for case in cases.iter().filter(|case| !case.when.is_empty()) {
        let mut rule = Rule { when: case.when.clone(), required: Vec::new(), refused: Vec::new() };
        for &name in names {
            let demand = case.demand(name);
            let told = |list: fn(&Rule) -> &Vec<&'static str>| {
                rules.iter().any(|rule| case.holds(&rule.when) && list(rule).contains(&name))
            };
            let so = cases.iter().all(|other| !other.holds(&case.when) || other.demand(name) == demand);
            match demand {
                Demand::Required if so && !always(name) && !told(|rule| &rule.required) => {
                    rule.required.push(name);
                }
                Demand::Refused if so && !told(|rule| &rule.refused) => rule.refused.push(name),
                Demand::Required | Demand::Refused | Demand::None => {}
            }
        }
        if !(rule.required.is_empty() && rule.refused.is_empty()) {
            rules.push(rule);
        }
    }
    rules.extend(names.iter().filter_map(|name| needs(cases, name)));
    for rule in &mut rules {
        rule.required.retain(|key| rule.when.iter().all(|condition| condition.key != *key));
    }
    rules.retain(|rule| !(rule.required.is_empty() && rule.refused.is_empty()));
    rules
}

/// Each key that is required unless certain others are there, with these.
fn unless(cases: &[&Case], names: &[&'static str]) -> Vec<Vec<&'static str>> {
    let choice = |name: &'static str| {
        let required = |case: &&Case| case.demand(name) == Demand::Required;
        let instead: BTreeSet<&'static str> =
            cases.iter().filter(|case| !required(case)).filter_map(|case| case.only_key()).collect();
        let (with, without): (Vec<&Case>, Vec<&Case>) =
            cases.iter().partition(|case| instead.iter().any(|key| case.says(key)));
        let so = !with.is_empty() && !without.is_empty() && without.iter().all(required);
        so.then(|| std::iter::once(name).chain(instead).collect())
    };
    names.iter().filter_map(|name| choice(name)).collect()
}

/// What a key has no place without.
fn needs(cases: &[&Case], name: &'static str) -> Option<Rule> {
    let refused = |case: &&&Case| case.demand(name) == Demand::Refused;
    let keys =
        cases.iter().flat_map(|case| &case.when).filter(|said| said.word.is_none() && said.key != name);
    let needed: BTreeSet<&'static str> = keys
        .map(|said| said.key)
        .filter(|needed| {
            let (with, without): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.says(needed));
            without.iter().all(refused) && !with.iter().any(refused)
        })
        .collect();
    let when = vec![Condition { key: name, word: None }];
    let required: Vec<_> = needed.into_iter().collect();
    (!required.is_empty()).then_some(Rule { when, required, refused: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::{super::explore, *};
    use crate::{
        reference::{Absent, How},
        report::Report,
        section::Section,
        value,
    };

    /// What is known of a file that is read so.
    fn described(read: impl Fn(Section<'_>)) -> Table {
        let surveys = explore(|survey| read(Section::described(&Report::default(), survey)));
        Findings::of(&surveys).table("")
    }

    fn needs(section: &mut Section<'_>, key: &'static str) {
        section.required(key, "true", value::boolean(), "Needed.");
    }

    fn may_have(section: &mut Section<'_>, key: &'static str) {
        section.optional(key, value::boolean(), Absent::means("false"), "Not needed.");
    }

    fn there(key: &'static str) -> Condition {
        Condition { key, word: None }
    }

    fn rule(when: &[Condition], required: &[&'static str], refused: &[&'static str]) -> Rule {
        Rule { when: when.to_vec(), required: required.to_vec(), refused: refused.to_vec() }
    }

    #[test]
    fn what_is_always_required_is_no_rule_and_tables_are_entered() {
        let table = described(|mut file| {
            needs(&mut file, "a");
            for mut inside in file.sections("list", "Tables.").into_given().unwrap() {
                may_have(&mut inside, "b");
            }
        });
        let [a, list] = table.keys.as_slice() else { panic!("{table:?}") };
        assert_eq!((a.required, list.required, &table.rules), (true, false, &Vec::new()));
        let inside = list.tables.as_ref().unwrap();
        assert_eq!((&inside.how, inside.table.keys[0].name), (&How::List, "b"));
    }

    #[test]
    fn what_follows_from_a_word_is_a_rule_for_that_word() {
        const WORDS: [(&str, bool); 3] = [("plain", false), ("sealed", true), ("closed", true)];
        let table = described(|mut file| {
            let sealed = file.required("how", "\"plain\"", value::word(&WORDS), "A word.");
            match sealed.value() {
                Some(true) => needs(&mut file, "key"),
                Some(false) => file.refuse("key", "in the open", "remove it"),
                None => {}
            }
        });
        let word = |word| [Condition { key: "how", word: Some(word) }];
        let rules = [
            rule(&word("closed"), &["key"], &[]),
            rule(&word("plain"), &[], &["key"]),
            rule(&word("sealed"), &["key"], &[]),
        ];
        assert!(rules.iter().all(|rule| table.rules.contains(rule)), "{:?}", table.rules);
        assert_eq!(table.rules.len(), rules.len());
    }

    #[test]
    fn what_a_key_has_no_place_without_and_what_stands_for_it_are_found() {
        let table = described(|mut file| {
            if file.has("ordered") {
                needs(&mut file, "names");
                may_have(&mut file, "file");
            } else {
                file.refuse("names", "without `ordered`", "remove it");
                needs(&mut file, "file");
            }
            may_have(&mut file, "ordered");
        });
        let with_each_other =
            [rule(&[there("ordered")], &["names"], &[]), rule(&[there("names")], &["ordered"], &[])];
        assert_eq!(table.rules, with_each_other);
        assert_eq!(table.any_of, [["file", "ordered"]]);
        assert!(table.keys.iter().all(|key| !key.required), "{:?}", table.keys);
    }

    #[test]
    fn what_two_keys_have_to_say_together_is_a_rule_of_both() {
        let table = described(|mut file| {
            let (a, b) = (file.has("a"), file.has("b"));
            may_have(&mut file, "a");
            may_have(&mut file, "b");
            if a && b { needs(&mut file, "c") } else { may_have(&mut file, "c") }
        });
        assert_eq!(table.rules, [rule(&[there("a"), there("b")], &["c"], &[])]);
    }

    #[test]
    fn a_rule_that_another_key_undoes_is_none() {
        let table = described(|mut file| {
            let (a, b) = (file.has("a"), file.has("b"));
            may_have(&mut file, "a");
            may_have(&mut file, "b");
            if a && !b { needs(&mut file, "c") } else { may_have(&mut file, "c") }
        });
        assert_eq!(table.rules, []);
    }
}
