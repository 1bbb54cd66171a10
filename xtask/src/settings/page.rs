//! The reference page: a section for each table, its keys in a table of Markdown.

use proxima_config::reference::{Condition, How, Key, Reference, Rule, Table};

use super::words::{shown_absent, shown_shape};

const HEAD: &str = "\
# Every setting

<!-- Written by `cargo xtask docs` from the code that reads the settings (crates/config). Don't edit: edit the text beside the reader. -->

One file in TOML, `/etc/proxima/proxima.toml`. `proxima check FILE` tells every mistake at once, with its place and remedy; `proxima reload`
puts a new file into force ([what a reload does](reload.md)). [configs/](../configs) has commented examples.

Editors that know JSON Schema ([Even Better TOML](https://taplo.tamasfe.dev), taplo) complete and check the file where its first line says
`#:schema proxima.schema.json`, with the path of [proxima.schema.json](../configs/proxima.schema.json).

- A **duration** is a whole number and a unit, `ms`, `s`, `m` or `h`, in a string: `\"500ms\"`.
- A **name** has 1 to 63 letters, digits, `-`, `_` and `.`, and begins with a letter or a digit. `NAME` stands for one below.
- A **list** is never empty; `[\"a\", \"b\"]`. A list of tables is written `[[so]]`, once for each.
- Unknown keys are errors. What stands in the column *default* holds where the key is left out.
";

/// A table, by all the headers that it may have.
struct Section<'r> {
    level: usize,
    headers: Vec<String>,
    docs: Vec<&'r str>,
    table: &'r Table,
}

/// The page.
pub(super) fn write(reference: &Reference) -> String {
    let mut sections = Vec::new();
    collect(&reference.file, "", 2, &mut sections);
    let mut lines = vec![HEAD.to_owned(), "| table | without it | |\n|---|---|---|".to_owned()];
    for key in &reference.file.keys {
        let Some(tables) = &key.tables else { continue };
        let header = header(&tables.how.path(key.name), &tables.how);
        lines.push(row(&[link(&header, &sections), fallback(key, &reference.file), meaning(key)]));
    }
    for section in &sections {
        write_section(&mut lines, section, &sections);
    }
    lines.join("\n") + "\n"
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// The tables below `table`, parents first. Those that are the same share a section.
fn collect<'r>(table: &'r Table, path: &str, level: usize, sections: &mut Vec<Section<'r>>) {
    for key in &table.keys {
        let Some(tables) = &key.tables else { continue };
        let path = tables.how.path(&join(path, key.name));
        let header = header(&path, &tables.how);
        if let Some(same) = sections.iter_mut().find(|section| *section.table == tables.table) {
            same.headers.push(header);
            if !same.docs.contains(&key.doc) {
                same.docs.push(key.doc);
            }
            continue;
        }
        sections.push(Section { level, headers: vec![header], docs: vec![key.doc], table: &tables.table });
        collect(&tables.table, &path, level + 1, sections);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// How a table begins in the file.
fn header(path: &str, how: &How) -> String {
    let path = path.replace("[]", "");
    match how {
        How::List => format!("[[{path}]]"),
        How::One | How::Named(_) => format!("[{path}]"),
    }
}

/// A link to the section that has this header.
fn link(header: &str, sections: &[Section<'_>]) -> String {
    let section = sections.iter().find(|section| section.headers.iter().any(|known| known == header));
    let anchor: String = section
        .map_or(String::new(), |section| title(section))
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
        .map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect();
    format!("[`{header}`](#{anchor})")
}

fn title(section: &Section<'_>) -> String {
    section.headers.iter().map(|header| format!("`{header}`")).collect::<Vec<_>>().join(", ")
}

fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ").map_or(doc.trim_end_matches('.'), |(first, _)| first)
}

fn write_section(lines: &mut Vec<String>, section: &Section<'_>, sections: &[Section<'_>]) {
    let table = section.table;
    lines.push(format!("\n{} {}\n", "#".repeat(section.level), title(section)));
    lines.extend(section.docs.iter().map(|doc| format!("{doc}\n")));
    lines.extend(example(section));
    lines.push("| key | value | default | |\n|---|---|---|---|".to_owned());
    lines.extend(table.keys.iter().map(|key| {
        let name = format!("`{}`", key.name);
        row(&[name, held(key, section, sections), fallback(key, table), meaning(key)])
    }));
    let choices = table.any_of.iter().map(|keys| format!("- One of {} is needed.", list(keys, "or")));
    let demands: Vec<String> =
        choices.chain(table.rules.iter().map(|rule| format!("- {}", told(rule)))).collect();
    if !demands.is_empty() {
        lines.push(String::new());
        lines.extend(demands);
    }
}

/// The table as short as it can be, where that depends on nothing.
fn example(section: &Section<'_>) -> Option<String> {
    let table = section.table;
    let required: Vec<&Key> = table.keys.iter().filter(|key| key.required && key.example.is_some()).collect();
    let depends = !table.any_of.is_empty() || table.rules.iter().any(|rule| !rule.required.is_empty());
    if required.is_empty() || section.headers.len() > 1 || depends {
        return None;
    }
    let keys = required.iter().map(|key| format!("{} = {}", key.name, key.example.unwrap_or_default()));
    let keys: Vec<String> = keys.collect();
    Some(format!("```toml\n{}\n{}\n```\n", section.headers[0], keys.join("\n")))
}

/// What a key may hold.
fn held(key: &Key, section: &Section<'_>, sections: &[Section<'_>]) -> String {
    let table = key.tables.as_ref().map(|tables| {
        let path = section.headers[0].trim_matches(['[', ']']);
        let header = header(&tables.how.path(&join(path, key.name)), &tables.how);
        link(&header, sections)
    });
    let value = key.value.as_ref().map(shown_shape);
    value.into_iter().chain(table).collect::<Vec<_>>().join(", or ")
}

/// What holds without a key.
fn fallback(key: &Key, table: &Table) -> String {
    if key.required {
        return "**required**".to_owned();
    }
    let needed = table.rules.iter().filter(|rule| rule.required.contains(&key.name));
    let needed: Vec<String> = needed.map(|rule| conditions(&rule.when)).collect();
    match &key.absent {
        _ if !needed.is_empty() => format!("**required** with {}", needed.join(", with ")),
        Some(absent) => shown_absent(absent),
        None => "see below".to_owned(),
    }
}

/// What a key means; of a table the beginning, as it has a section of its own.
fn meaning(key: &Key) -> String {
    match &key.tables {
        None => key.doc.to_owned(),
        Some(_) => format!("{}.", first_sentence(key.doc)),
    }
}

fn told(rule: &Rule) -> String {
    let required = (!rule.required.is_empty()).then(|| format!("{} required", is(&rule.required)));
    let refused = (!rule.refused.is_empty()).then(|| format!("no {}", list(&rule.refused, "or")));
    let told: Vec<String> = required.into_iter().chain(refused).collect();
    format!("With {}: {}.", conditions(&rule.when), told.join("; "))
}

fn is(keys: &[&str]) -> String {
    let verb = if keys.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", list(keys, "and"))
}

fn conditions(when: &[Condition]) -> String {
    let shown: Vec<String> = when
        .iter()
        .map(|condition| match condition.word {
            Some(word) => format!("`{} = \"{word}\"`", condition.key),
            None => format!("`{}`", condition.key),
        })
        .collect();
    shown.join(" and ")
}

fn list(keys: &[&str], joint: &str) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {joint} {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
