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
    let mut rest = errors.as_slice();
    while let Some((error, after)) = rest.split_first() {
        let span = place(error);
        let inside = |list: &&Span| (list.start..=list.end).contains(&span.start);
        let list = lists.iter().find(inside).filter(|_| error.message().contains("array"));
        rest = if let Some(list) = list {
            let (same, other) = rest.split_at(rest.partition_point(|error| place(error).start <= list.end));
            report_list(report, source, list, same);
            other
        } else {
            report.syntax(span.clone(), span.clone(), explain(error.message(), source.slice(&span)));
            after
        };
    }
    document
}

/// A list that is not closed swallows what follows, with an error for each thing that has no place in a list.
/// One error stands for all of them.
fn report_list(report: &Report, source: &Source<'_>, list: &Span, errors: &[Error]) {
    let swallowed = |error: &Error| {
        error.message().starts_with("unclosed array")
            || error.message().starts_with("unexpected `=` in array")
    };
    if errors.iter().any(swallowed) {
        let wrong = Wrong::new("this list is not closed").hint("close it with `]`");
        report.syntax(list.clone(), list.clone(), wrong);
    } else if let Some(first) = errors.first() {
        let span = place(first);
        report.syntax(span.clone(), list.clone(), explain(first.message(), source.slice(&span)));
    }
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
    let wrong = Wrong::new(message);
    if message.starts_with("unclosed table") {
        return wrong.hint("close the header, as in `[pop]`");
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return wrong.hint("close the string on the line it begins on; write `\\\\` for a backslash");
    }
    if message.starts_with("missing comma") {
        return wrong.hint("add a comma before this element");
    }
    wrong
}
