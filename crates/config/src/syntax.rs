//! Errors of TOML itself, in the words of this crate.

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::report::{Report, Source, Span, Wrong};

/// Parses as much as can be parsed, and reports the rest.
pub(crate) fn parse<'t>(source: &Source<'t>, report: &Report) -> Spanned<DeTable<'t>> {
    let (document, mut errors) = DeTable::parse_recoverable(source.text());
    errors.sort_by_key(|error| place(error).start);
    let mut lists = Vec::new();
    outermost_lists(document.get_ref(), &mut lists);
    let mut broken: Option<Span> = None;
    for error in errors {
        let span = place(&error);
        // A list that is not closed swallows what follows: its first error stands for the others.
        if broken.as_ref().is_some_and(|list| list.contains(&span.start) || list.end == span.start) {
            continue;
        }
        let mut covered = span.clone();
        if error.message().contains("array")
            && let Some(list) = lists.iter().find(|list| list.contains(&span.start) || list.end == span.start)
        {
            covered = list.clone();
            broken = Some(list.clone());
        }
        let wrong = explain(error.message(), source.slice(&span));
        report.syntax(span, covered, wrong);
    }
    document
}

fn place(error: &Error) -> Span {
    error.span().unwrap_or(0..0)
}

fn outermost_lists(table: &DeTable<'_>, lists: &mut Vec<Span>) {
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(table) => outermost_lists(table, lists),
            // `[[…]]` headers give a list of tables, which contains no list by itself.
            DeValue::Array(elements) if elements.iter().all(|element| element.get_ref().is_table()) => {
                for element in elements {
                    element.get_ref().as_table().into_iter().for_each(|table| outermost_lists(table, lists));
                }
                lists.push(value.span());
            }
            DeValue::Array(_) => lists.push(value.span()),
            _ => {}
        }
    }
}

fn explain(message: &str, found: &str) -> Wrong {
    if message.starts_with("duplicate key") {
        return Wrong::new(format!("`{found}` is given twice")).hint("remove one of the two, or join them");
    }
    let bare = !found.is_empty() && found.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if bare && (message.starts_with("string values must be quoted") || message.starts_with("invalid boolean"))
    {
        return Wrong::new(format!("`{found}` is not a value"))
            .hint(format!("write strings in quotes: `\"{found}\"`"));
    }
    Wrong::new(message)
}
