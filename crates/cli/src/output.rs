//! Text on standard output: facts, aligned tables, and colours where they are wanted.

mod table;

use std::{
    fmt::Display,
    io::{self, BufWriter, IsTerminal, Write},
};

use proxima_api::{BfdState, SessionState, Severity};
use proxima_types::{Health, ReachState};

pub(crate) use self::table::{Align, Cell, Table, Widths};

/// Whether to colour: on a terminal, unless `NO_COLOR` is set and not empty (no-color.org).
pub(crate) fn colours_wanted(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How a word looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    Heading,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Doubtful => Some("33"),
            Self::Bad => Some("31"),
            Self::Heading => Some("1"),
        }
    }
}

impl From<ReachState> for Tone {
    fn from(state: ReachState) -> Self {
        match state {
            ReachState::Announced => Self::Good,
            ReachState::DePreferred => Self::Doubtful,
            ReachState::Withdrawn => Self::Bad,
        }
    }
}

impl From<Health> for Tone {
    fn from(health: Health) -> Self {
        match health {
            Health::Up => Self::Good,
            Health::Unknown => Self::Doubtful,
            Health::Down => Self::Bad,
        }
    }
}

impl From<SessionState> for Tone {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Established => Self::Good,
            _ => Self::Bad,
        }
    }
}

impl From<BfdState> for Tone {
    fn from(state: BfdState) -> Self {
        match state {
            BfdState::Up => Self::Good,
            BfdState::AdminDown | BfdState::Init => Self::Doubtful,
            BfdState::Down => Self::Bad,
        }
    }
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Plain,
            Severity::Warning => Self::Doubtful,
            Severity::Error => Self::Bad,
        }
    }
}

/// Standard output, and how to write to it.
pub(crate) struct Output {
    sink: Box<dyn Write>,
    json: bool,
    colours: bool,
    /// Columns of the terminal, if it is one.
    width: Option<usize>,
}

impl Output {
    pub(crate) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let colours = !json && colours_wanted(stdout.is_terminal());
        let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        Self { sink: Box::new(BufWriter::new(stdout.lock())), json, colours, width }
    }

    /// Whether JSON is wanted instead of text.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Writes a body as it came, on a line.
    pub(crate) fn raw(&mut self, body: &[u8]) -> io::Result<()> {
        self.sink.write_all(body)?;
        if !body.ends_with(b"\n") {
            self.sink.write_all(b"\n")?;
        }
        self.sink.flush()
    }

    /// Writes text as it is, and not before there is more of it.
    pub(crate) fn text(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.sink, "{text}")
    }

    /// Writes a line at once.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.sink, "{text}")?;
        self.sink.flush()
    }

    /// The text in its tone.
    pub(crate) fn toned(&self, tone: Tone, text: impl Display) -> String {
        match tone.code().filter(|_| self.colours) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_string(),
        }
    }

    /// Writes a table, its columns aligned. On a terminal long notes are broken.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.page(table, &mut Widths::default())
    }

    /// Writes a part of a table that comes in parts: the heading first, the columns never narrower than before.
    pub(crate) fn page(&mut self, table: &Table, widths: &mut Widths) -> io::Result<()> {
        let first = widths.grow(table);
        let mut text = String::new();
        for (line, note) in table.lines(widths).skip(usize::from(!first)) {
            for (tone, piece) in line {
                text.push_str(&self.toned(tone, piece));
            }
            text.push('\n');
            for line in wrap(note, self.width.map(|width| width.saturating_sub(2))) {
                if !line.is_empty() {
                    text.push_str("  ");
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        self.sink.write_all(text.as_bytes())?;
        self.sink.flush()
    }

    /// Writes a name and its value. On a terminal a long value goes on below itself.
    pub(crate) fn fact(&mut self, indent: usize, name: &str, value: impl Display) -> io::Result<()> {
        self.fact_within(indent, FACT, name, value)
    }

    /// The same with so many columns for the names.
    pub(crate) fn fact_within(
        &mut self,
        indent: usize,
        names: usize,
        name: &str,
        value: impl Display,
    ) -> io::Result<()> {
        let (value, column) = (value.to_string(), indent + names + 2);
        let mut lines =
            wrap(&value, self.width.map(|width| width.saturating_sub(column).max(20))).into_iter();
        let first = lines.next().unwrap_or_default();
        writeln!(self.sink, "{}", format!("{:indent$}{name:<names$}  {first}", "").trim_end())?;
        for line in lines {
            writeln!(self.sink, "{:column$}{line}", "")?;
        }
        self.sink.flush()
    }
}

/// How wide the names of facts are.
const FACT: usize = 18;

/// The text in lines of at most `width` characters, where it has spaces to break at.
fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| text.chars().count() > *width) else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("begins with one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

/// Words with spaces between.
pub(crate) fn words(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// A span of time in its two largest units: `3d 4h`, `4h 5m`, `5m 6s`, `6.7s`.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A round trip in milliseconds.
pub(crate) fn rtt(microseconds: u64) -> String {
    format!("{:.2} ms", microseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_broken_at_spaces_only() {
        assert_eq!(wrap("a bb ccc", None), ["a bb ccc"]);
        assert_eq!(wrap("a bb ccc", Some(8)), ["a bb ccc"]);
        assert_eq!(wrap("a bb ccc", Some(4)), ["a bb", "ccc"]);
        assert_eq!(wrap("a bb ccc", Some(1)), ["a", "bb", "ccc"]);
        assert_eq!(wrap("", Some(1)), [""]);
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (milliseconds, text) in [
            (0, "0.0s"),
            (6789, "6.7s"),
            (59_999, "59.9s"),
            (60_000, "1m 0s"),
            (3_599_999, "59m 59s"),
            (3_600_000, "1h 0m"),
            (86_400_000, "1d 0h"),
            (10 * 86_400_000 + 5 * 3_600_000, "10d 5h"),
        ] {
            assert_eq!(span(milliseconds), text);
        }
    }
}
