//! Reads one table, key by key, and reports what is wrong instead of stopping at it.
//!
//! The keys asked for are the keys that are known: closing a section refuses the others.

use std::{fmt, str::FromStr, sync::LazyLock};

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{
    report::{Report, Span, Wrong},
    suggest,
};

/// What reading one value gives.
pub(crate) type Read<T> = Result<T, Wrong>;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What a key was found to hold.
#[derive(Debug, Clone)]
pub(crate) enum Field<T> {
    /// Nothing, and it need not.
    Absent,
    /// Something wrong, or nothing where something is needed. It has been reported: nothing may be concluded from it.
    Bad,
    /// A value.
    Given(At<T>),
}

impl<T> Field<T> {
    /// The value and its place, when there is one.
    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The value, when there is one.
    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    /// The same with another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Bad => Field::Bad,
            Self::Given(At { value, span }) => Field::Given(At { value: f(value), span }),
        }
    }

    /// The value or its default; nothing when what was written is wrong.
    pub(crate) fn or(&self, default: T) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(default),
            Self::Bad => None,
            Self::Given(at) => Some(at.value.clone()),
        }
    }

    /// The value if any; nothing at all when what was written is wrong.
    pub(crate) fn maybe(&self) -> Option<Option<T>>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Given(at) => Some(Some(at.value.clone())),
        }
    }
}

/// A list as written: its own place, and each sound element with its place. An unsound element makes it incomplete.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) elements: Vec<At<T>>,
    pub(crate) complete: bool,
}

impl<T: Clone> List<T> {
    pub(crate) fn values(&self) -> Option<Vec<T>> {
        self.complete.then(|| self.elements.iter().map(|at| at.value.clone()).collect())
    }
}

/// A table being read.
pub(crate) struct Section<'d> {
    report: &'d Report,
    table: &'d DeTable<'d>,
    /// Dotted, empty for the file.
    path: String,
    span: Span,
    asked: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The file as a section.
    pub(crate) fn root(report: &'d Report, table: &'d DeTable<'d>) -> Self {
        Self { report, table, path: String::new(), span: 0..0, asked: Vec::new() }
    }

    /// The place of the section: its header or its braces.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The name of the section, such as `bgp.peers[0]`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The name of a setting in it.
    pub(crate) fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the key holds a table, where it may hold a plain value instead.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// A value that may be left out.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Field<T> {
        match self.ask(key) {
            None => Field::Absent,
            Some(value) => match read(value.get_ref()) {
                Ok(read) => Field::Given(At { value: read, span: value.span() }),
                Err(wrong) => self.bad(value.span(), &self.key_path(key), wrong),
            },
        }
    }

    /// A value that must be there. `example` is how it may look.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Field<T> {
        if self.has(key) {
            return self.optional(key, read);
        }
        self.asked.push(key);
        self.missing(key, &format!("add `{key} = {example}`"))
    }

    /// A list that may be left out, but not be empty.
    pub(crate) fn optional_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Read<T>,
    ) -> Field<List<T>> {
        let Some(value) = self.ask(key) else { return Field::Absent };
        let path = self.key_path(key);
        let DeValue::Array(array) = value.get_ref() else {
            let wrong = Wrong::new(format!("expected a list, found {}", kind(value.get_ref())));
            return self.bad(value.span(), &path, wrong.hint("write it in brackets, as in `[\"…\"]`"));
        };
        if array.is_empty() {
            let wrong = Wrong::new(format!("`{key}` is empty"));
            return self.bad(
                value.span(),
                &path,
                wrong.hint("name at least one, or leave the key out if it has a default"),
            );
        }
        let mut list = List { elements: Vec::new(), complete: true };
        for (index, element) in array.iter().enumerate() {
            match read(element.get_ref()) {
                Ok(read) => list.elements.push(At { value: read, span: element.span() }),
                Err(wrong) => {
                    list.complete = false;
                    self.report.here(element.span(), &format!("{path}[{index}]"), wrong);
                }
            }
        }
        Field::Given(At { value: list, span: value.span() })
    }

    /// A list that must be there and not be empty.
    pub(crate) fn required_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&DeValue<'_>) -> Read<T>,
    ) -> Field<List<T>> {
        if self.has(key) {
            return self.optional_list(key, read);
        }
        self.asked.push(key);
        self.missing(key, &format!("add `{key} = {example}`"))
    }

    /// A table that may be left out.
    pub(crate) fn section(&mut self, key: &'static str) -> Field<Section<'d>> {
        let Some(value) = self.ask(key) else { return Field::Absent };
        let path = self.key_path(key);
        match self.enter(value, path) {
            Some(section) => Field::Given(At { value: section, span: value.span() }),
            None => Field::Bad,
        }
    }

    /// A table whose keys may all be left out, and so may the table.
    pub(crate) fn defaulted(&mut self, key: &'static str) -> Section<'d> {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        match self.section(key) {
            Field::Given(at) => at.value,
            // A wrong value has been reported: what matters is only that nothing follows from it.
            Field::Absent | Field::Bad => {
                let path = self.key_path(key);
                Section { report: self.report, table: &EMPTY, path, span: self.span(), asked: Vec::new() }
            }
        }
    }

    /// The tables of `[[key]]`, none when it is left out.
    pub(crate) fn sections(&mut self, key: &'static str) -> Field<Vec<Section<'d>>> {
        let Some(value) = self.ask(key) else { return Field::Absent };
        let path = self.key_path(key);
        let header = format!("write each as `[[{path}]]`", path = unindexed(&path));
        let DeValue::Array(array) = value.get_ref() else {
            let wrong = Wrong::new(format!("expected a list of tables, found {}", kind(value.get_ref())));
            return self.bad(value.span(), &path, wrong.hint(header));
        };
        if array.is_empty() {
            let wrong = Wrong::new(format!("`{key}` is empty"));
            return self.bad(value.span(), &path, wrong.hint(header));
        }
        let sections: Vec<_> = array
            .iter()
            .enumerate()
            .map_while(|(index, element)| self.enter(element, format!("{path}[{index}]")))
            .collect();
        if sections.len() < array.len() {
            return Field::Bad;
        }
        Field::Given(At { value: sections, span: value.span() })
    }

    /// The tables of `[key.NAME]`, none when there are none. A name that can't be one is reported, its table still read.
    pub(crate) fn named<N>(&mut self, key: &'static str) -> Vec<(Field<N>, Section<'d>)>
    where
        N: FromStr<Err: fmt::Display>,
    {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let path = self.key_path(key);
        let Some(section) = self.enter(value, path.clone()) else { return Vec::new() };
        if section.table.is_empty() {
            let wrong =
                Wrong::new(format!("`{path}` is empty")).hint(format!("add `[{path}.NAME]`, or remove it"));
            self.report.here(value.span(), &path, wrong);
        }
        let mut named = Vec::new();
        for (name, value) in section.table {
            let path = format!("{path}.{}", name.get_ref());
            let parsed = match name.get_ref().parse() {
                Ok(parsed) => Field::Given(At { value: parsed, span: name.span() }),
                Err(error) => self.bad(name.span(), &path, Wrong::new(format!("{error}"))),
            };
            if let Some(section) = self.enter(value, path) {
                named.push((parsed, section));
            }
        }
        named
    }

    /// Refuses the keys nobody asked for.
    pub(crate) fn close(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(&name) {
                let place =
                    if self.path.is_empty() { "the file".to_owned() } else { format!("`{}`", self.path) };
                let wrong = Wrong::new(format!("unknown key `{name}` in {place}")).hint(suggest::hint(
                    name,
                    "keys here",
                    &self.asked,
                ));
                self.report.here(key.span(), &self.key_path(name), wrong);
            }
        }
    }

    /// Refuses a key that exists, but not in this company.
    pub(crate) fn refuse(&mut self, key: &'static str, because: &str, hint: &str) {
        self.asked.push(key);
        if let Some(found) = self.table.keys().find(|found| found.get_ref() == key) {
            let wrong = Wrong::new(format!("`{key}` has no place {because}")).hint(hint);
            self.report.here(found.span(), &self.key_path(key), wrong);
        }
    }

    /// Reports that `key` is not there.
    pub(crate) fn missing<T>(&self, key: &str, hint: &str) -> Field<T> {
        let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
        let wrong = Wrong::new(format!("`{key}` is missing{place}")).hint(hint);
        self.report.section(self.span(), &self.key_path(key), wrong);
        Field::Bad
    }

    fn enter(&self, value: &'d Spanned<DeValue<'d>>, path: String) -> Option<Section<'d>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section { report: self.report, table, path, span: value.span(), asked: Vec::new() });
        }
        let wrong = Wrong::new(format!("expected a table, found {}", kind(value.get_ref())))
            .hint(format!("write `[{}]` and its settings on the lines below", unindexed(&path)));
        self.report.here(value.span(), &path, wrong);
        None
    }

    fn ask(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    fn bad<T>(&self, span: Span, path: &str, wrong: Wrong) -> Field<T> {
        self.report.here(span, path, wrong);
        Field::Bad
    }
}

/// `bgp.peers[0]` as it stands in a header.
fn unindexed(path: &str) -> String {
    let mut header = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => header.push(c),
            _ => {}
        }
    }
    header
}

/// The type of a value, with its article.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
