//! Reads one table, key by key, and reports what is wrong instead of stopping at it.
//!
//! The keys asked for are the keys that are known: closing a section refuses the others. Each comes with what it means, so that
//! they are the [reference](crate::reference), too.

use std::sync::LazyLock;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{
    field::{At, Field, List},
    reader::Reader,
    reference::{Absent, How, Key, Shape, Table, Tables},
    report::{Report, Span, Wrong},
    suggest,
    survey::{Finding, Survey, join},
    value::Written,
};

/// A table being read.
pub(crate) struct Section<'d> {
    report: &'d Report,
    table: &'d DeTable<'d>,
    /// Dotted, empty for the file.
    path: String,
    span: Span,
    asked: Vec<&'static str>,
    /// Where the file does not exist, and what it might be is found out.
    survey: Option<&'d Survey>,
}

static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);

/// What a key says of itself.
struct About {
    doc: &'static str,
    required: bool,
    example: Option<&'static str>,
    absent: Option<Absent>,
}

impl About {
    fn optional(absent: Absent, doc: &'static str) -> Self {
        Self { doc, required: false, example: None, absent: Some(absent) }
    }

    fn required(doc: &'static str) -> Self {
        Self { doc, required: true, example: None, absent: None }
    }

    fn key(self, name: &'static str) -> Key {
        let Self { doc, required, example, absent } = self;
        Key { name, doc, required, example, absent, value: None, tables: None }
    }
}

impl<'d> Section<'d> {
    /// The file as a section.
    pub(crate) fn root(report: &'d Report, table: &'d DeTable<'d>) -> Self {
        Self { report, table, path: String::new(), span: 0..0, asked: Vec::new(), survey: None }
    }

    /// A file that does not exist, but for what `survey` says.
    pub(crate) fn described(report: &'d Report, survey: &'d Survey) -> Self {
        Self { survey: Some(survey), ..Self::root(report, &EMPTY) }
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
        join(&self.path, key)
    }

    /// Whether the key is there at all.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        match self.survey {
            Some(survey) => survey.has(&self.path, key),
            None => self.find(key).is_some(),
        }
    }

    /// A value that may be left out.
    pub(crate) fn optional<T: 'static>(
        &mut self,
        key: &'static str,
        reader: Reader<T>,
        absent: Absent,
        doc: &'static str,
    ) -> Field<T> {
        let about = About::optional(absent, doc);
        let Some(value) = self.ask(about.key(key).holding(&reader)) else { return self.said(key, &reader) };
        self.read(key, value, &reader)
    }

    /// A value that must be there. `example` is how it may look.
    pub(crate) fn required<T: 'static>(
        &mut self,
        key: &'static str,
        example: &'static str,
        reader: Reader<T>,
        doc: &'static str,
    ) -> Field<T> {
        let about = About { example: Some(example), ..About::required(doc) };
        match self.ask(about.key(key).holding(&reader)) {
            Some(value) => self.read(key, value, &reader),
            None if self.survey.is_some() => self.said(key, &reader),
            None => self.missing(key, &format!("add `{key} = {example}`")),
        }
    }

    /// A list that may be left out, but not be empty.
    pub(crate) fn optional_list<T: 'static>(
        &mut self,
        key: &'static str,
        reader: Reader<T>,
        absent: Absent,
        doc: &'static str,
    ) -> Field<List<T>> {
        let about = About::optional(absent, doc);
        let Some(value) = self.ask(about.key(key).listing(&reader)) else { return Field::Absent };
        self.read_list(key, value, &reader)
    }

    /// A list that must be there and not be empty.
    pub(crate) fn required_list<T: 'static>(
        &mut self,
        key: &'static str,
        example: &'static str,
        reader: Reader<T>,
        doc: &'static str,
    ) -> Field<List<T>> {
        let about = About { example: Some(example), ..About::required(doc) };
        match self.ask(about.key(key).listing(&reader)) {
            Some(value) => self.read_list(key, value, &reader),
            None => self.missing(key, &format!("add `{key} = {example}`")),
        }
    }

    /// A table that may be left out.
    pub(crate) fn section(
        &mut self,
        key: &'static str,
        absent: Absent,
        doc: &'static str,
    ) -> Field<Section<'d>> {
        let value = self.ask(About::optional(absent, doc).key(key).tables(How::One));
        self.table(key, value)
    }

    /// A table that must be there. `hint` is how it is added.
    pub(crate) fn required_section(
        &mut self,
        key: &'static str,
        hint: &str,
        doc: &'static str,
    ) -> Field<Section<'d>> {
        let value = self.ask(About::required(doc).key(key).tables(How::One));
        match self.table(key, value) {
            Field::Absent => self.missing(key, hint),
            found => found,
        }
    }

    /// A table whose keys may all be left out, and so may the table.
    pub(crate) fn defaulted(&mut self, key: &'static str, doc: &'static str) -> Section<'d> {
        match self.section(key, Absent::means("its defaults"), doc) {
            Field::Given(at) => at.value,
            // A wrong value has been reported: what matters is only that nothing follows from it.
            Field::Absent | Field::Bad => self.inner(&EMPTY, self.key_path(key), self.span()),
        }
    }

    /// A table, or a plain value in its place.
    pub(crate) fn either<T: 'static>(
        &mut self,
        key: &'static str,
        plain: Reader<T>,
        absent: Absent,
        doc: &'static str,
        table: impl FnOnce(Section<'d>) -> T,
    ) -> Field<T> {
        let about = About::optional(absent, doc);
        match self.ask(about.key(key).holding(&plain).tables(How::One)) {
            Some(value) if !value.get_ref().is_table() => self.read(key, value, &plain),
            value => self.table(key, value).map(table),
        }
    }

    /// The tables of `[[key]]`, none when it is left out.
    pub(crate) fn sections(&mut self, key: &'static str, doc: &'static str) -> Field<Vec<Section<'d>>> {
        let value = self.ask(About::optional(Absent::means("none"), doc).key(key).tables(How::List));
        self.tables(key, value)
    }

    /// The tables of `[[key]]`, one at least. `hint` is how one is added.
    pub(crate) fn required_sections(
        &mut self,
        key: &'static str,
        hint: &str,
        doc: &'static str,
    ) -> Field<Vec<Section<'d>>> {
        let value = self.ask(About::required(doc).key(key).tables(How::List));
        match self.tables(key, value) {
            Field::Absent => self.missing(key, hint),
            found => found,
        }
    }

    /// The tables of `[key.NAME]`, none when there are none. A name that can't be one is reported, its table still read.
    pub(crate) fn named<N: Written>(
        &mut self,
        key: &'static str,
        doc: &'static str,
    ) -> Vec<(Field<N>, Section<'d>)> {
        let value =
            self.ask(About::optional(Absent::means("none"), doc).key(key).tables(How::Named(N::shape())));
        self.names(key, value)
    }

    /// The tables of `[key.NAME]`, one at least. `hint` is how one is added.
    pub(crate) fn required_named<N: Written>(
        &mut self,
        key: &'static str,
        hint: &str,
        doc: &'static str,
    ) -> Vec<(Field<N>, Section<'d>)> {
        let value = self.ask(About::required(doc).key(key).tables(How::Named(N::shape())));
        if value.is_none() && self.survey.is_none() {
            let _: Field<()> = self.missing(key, hint);
        }
        self.names(key, value)
    }

    /// Reports when none of `keys` is there. `hint` is what is to be added.
    pub(crate) fn any_of(&self, keys: &[&'static str], hint: &str) {
        let first = *keys.first().expect("a choice is among some keys");
        if let Some(survey) = self.survey {
            survey.found(&self.path, first, Finding::AnyOf(keys.to_vec()));
        } else if keys.iter().all(|key| self.find(key).is_none()) {
            let _: Field<()> = self.missing(first, hint);
        }
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
        if let Some(survey) = self.survey {
            survey.found(&self.path, key, Finding::Refused);
        }
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

    fn read<T: 'static>(
        &self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        reader: &Reader<T>,
    ) -> Field<T> {
        match reader.read(value.get_ref()) {
            Ok(read) => Field::Given(At { value: read, span: value.span() }),
            Err(wrong) => self.bad(value.span(), &self.key_path(key), wrong),
        }
    }

    /// Nothing in a file; in one that does not exist, a word that how to read on may depend on.
    fn said<T: 'static>(&self, key: &'static str, reader: &Reader<T>) -> Field<T> {
        let (Some(survey), Shape::Words(words)) = (self.survey, reader.shape()) else { return Field::Absent };
        let word = survey.word(&self.path, key, words);
        let read = word.and_then(|word| reader.read(&DeValue::String(word.into())).ok());
        read.map_or(Field::Absent, |value| Field::Given(At { value, span: self.span() }))
    }

    fn read_list<T: 'static>(
        &self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        reader: &Reader<T>,
    ) -> Field<List<T>> {
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
            match reader.read(element.get_ref()) {
                Ok(read) => list.elements.push(At { value: read, span: element.span() }),
                Err(wrong) => {
                    list.complete = false;
                    self.report.here(element.span(), &format!("{path}[{index}]"), wrong);
                }
            }
        }
        Field::Given(At { value: list, span: value.span() })
    }

    fn table(&self, key: &'static str, value: Option<&'d Spanned<DeValue<'d>>>) -> Field<Section<'d>> {
        let path = self.key_path(key);
        let Some(value) = value else { return self.imagined(path, &How::One) };
        match self.enter(value, path) {
            Some(section) => Field::Given(At { value: section, span: value.span() }),
            None => Field::Bad,
        }
    }

    fn tables(&self, key: &'static str, value: Option<&'d Spanned<DeValue<'d>>>) -> Field<Vec<Section<'d>>> {
        let path = self.key_path(key);
        let Some(value) = value else {
            return self.imagined(path, &How::List).map(|section| vec![section]);
        };
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

    fn names<N: Written>(
        &self,
        key: &'static str,
        value: Option<&'d Spanned<DeValue<'d>>>,
    ) -> Vec<(Field<N>, Section<'d>)> {
        let path = self.key_path(key);
        let Some(value) = value else {
            let imagined = self.imagined(path, &How::Named(N::shape()));
            return imagined.into_given().map(|section| (Field::Absent, section)).into_iter().collect();
        };
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

    fn enter(&self, value: &'d Spanned<DeValue<'d>>, path: String) -> Option<Section<'d>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(self.inner(table, path, value.span()));
        }
        let wrong = Wrong::new(format!("expected a table, found {}", kind(value.get_ref())))
            .hint(format!("write `[{}]` and its settings on the lines below", unindexed(&path)));
        self.report.here(value.span(), &path, wrong);
        None
    }

    fn inner(&self, table: &'d DeTable<'d>, path: String, span: Span) -> Section<'d> {
        Section { report: self.report, table, path, span, asked: Vec::new(), survey: self.survey }
    }

    /// No table in a file; in one that does not exist, one that there may be.
    fn imagined(&self, key_path: String, how: &How) -> Field<Section<'d>> {
        if self.survey.is_none() {
            return Field::Absent;
        }
        let span = self.span();
        Field::Given(At { value: self.inner(&EMPTY, how.path(&key_path), span.clone()), span })
    }

    /// What the key holds. From here on it is known.
    fn ask(&mut self, key: Key) -> Option<&'d Spanned<DeValue<'d>>> {
        let name = key.name;
        self.asked.push(name);
        if let Some(survey) = self.survey {
            survey.found(&self.path, name, Finding::Known(Box::new(key)));
        }
        self.find(name)
    }

    fn find(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    fn bad<T>(&self, span: Span, path: &str, wrong: Wrong) -> Field<T> {
        self.report.here(span, path, wrong);
        Field::Bad
    }
}

impl Key {
    fn holding<T: 'static>(self, reader: &Reader<T>) -> Self {
        Self { value: Some(reader.shape().clone()), ..self }
    }

    fn listing<T: 'static>(self, reader: &Reader<T>) -> Self {
        Self { value: Some(Shape::List { of: Box::new(reader.shape().clone()) }), ..self }
    }

    fn tables(self, how: How) -> Self {
        Self { tables: Some(Tables { how, table: Table::default() }), ..self }
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
