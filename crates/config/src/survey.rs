//! Reads every file that could be, as far as reading branches, and notes what was asked for.
//!
//! | | |
//! |---|---|
//! | [`Survey`] | one reading: what the file says, what was found, where reading might have gone another way |
//! | [`explore`] | the readings until no branch is new |
//! | [`findings`] | what they have in common, and what depends on what: the reference |

mod findings;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use self::findings::Findings;
use crate::{
    reference::{Condition, Key, Reference},
    report::Report,
    section::Section,
    sections::Raw,
};

/// Every setting that is read.
pub fn reference() -> Reference {
    let surveys = explore(|survey| drop(Raw::read(Section::described(&Report::default(), survey))));
    Reference { file: Findings::of(&surveys).table("") }
}

/// A key, by its table and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Dotted; `[]` for each table of a list, `NAME` for each named one. Empty for the file.
    table: String,
    key: &'static str,
}

/// What a file says: keys that are there, with their words where these matter.
type Said = BTreeMap<Place, Option<&'static str>>;

/// What was found about a key in one reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Finding {
    /// Asked for.
    Known(Box<Key>),
    /// It exists, but not in this company.
    Refused,
    /// One of these has to be there.
    AnyOf(Vec<&'static str>),
}

/// One reading of a file that says nothing but what matters for how it is read.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    said: Said,
    branches: RefCell<Vec<(Place, Option<&'static str>)>>,
    found: RefCell<Vec<(Place, Finding)>>,
}

impl Survey {
    /// Whether the key is there. Reading goes on by the answer, so that the other one is to be tried.
    pub(crate) fn has(&self, table: &str, key: &'static str) -> bool {
        let place = Place { table: table.to_owned(), key };
        let there = self.said.contains_key(&place);
        if !there {
            self.branches.borrow_mut().push((place, None));
        }
        there
    }

    /// The word that the key holds, if it does. Reading may go on by it, so that the others are to be tried.
    pub(crate) fn word(
        &self,
        table: &str,
        key: &'static str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let place = Place { table: table.to_owned(), key };
        if let Some(said) = self.said.get(&place) {
            return *said;
        }
        let mut branches = self.branches.borrow_mut();
        branches.extend(words.iter().map(|word| (place.clone(), Some(*word))));
        None
    }

    pub(crate) fn found(&self, table: &str, key: &'static str, finding: Finding) {
        self.found.borrow_mut().push((Place { table: table.to_owned(), key }, finding));
    }

    /// What is said of one table.
    fn said_of(&self, table: &str) -> Vec<Condition> {
        let of_table = self.said.iter().filter(|(place, _)| place.table == table);
        of_table.map(|(place, word)| Condition { key: place.key, word: *word }).collect()
    }

    fn found_in(&self, table: &str) -> Vec<(&'static str, Finding)> {
        let found = self.found.borrow();
        let of_table = found.iter().filter(|(place, _)| place.table == table);
        of_table.map(|(place, finding)| (place.key, finding.clone())).collect()
    }
}

/// Reads until no branch is new. Those of one table are combined with each other, and with what led to the table.
fn explore(read: impl Fn(&Survey)) -> Vec<Survey> {
    let mut surveys = Vec::new();
    let mut tried = BTreeSet::new();
    let mut next = VecDeque::from([Said::new()]);
    while let Some(said) = next.pop_front() {
        let survey = Survey { said, ..Survey::default() };
        read(&survey);
        for (place, word) in survey.branches.take() {
            let mut said = survey.said.clone();
            said.retain(|other, _| place.table.starts_with(&other.table));
            said.insert(place.clone(), word);
            let mut of_table = said.clone();
            of_table.retain(|other, _| place.table == other.table);
            if tried.insert(of_table) {
                next.push_back(said);
            }
        }
        surveys.push(survey);
    }
    surveys
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Each table is described apart from the others.
    #[test]
    fn a_table_is_read_the_same_whatever_other_tables_say() {
        let surveys = explore(|survey| drop(Raw::read(Section::described(&Report::default(), survey))));
        let mut first = HashMap::new();
        for survey in &surveys {
            let tables: BTreeSet<String> =
                survey.found.borrow().iter().map(|(place, _)| place.table.clone()).collect();
            for table in tables {
                let (said, found) = (survey.said_of(&table), survey.found_in(&table));
                let before = first.entry((table.clone(), said)).or_insert_with(|| found.clone());
                assert_eq!(*before, found, "{table}");
            }
        }
    }
}
