//! Text on standard output: aligned tables, and colours where they are wanted.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use proxima_types::{Health, ReachState};

use proxima_api::{SessionState, Severity};

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
}

impl Output {
    pub(crate) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let colours = !json && colours_wanted(stdout.is_terminal());
        Self { sink: Box::new(stdout.lock()), json, colours }
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

    /// Writes a table, its columns aligned.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        let widths = table.widths();
        for (index, row) in table.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, (column, width)) in row.iter().zip(table.columns.iter().zip(&widths)) {
                let gap = " ".repeat(width - cell.width());
                let text = self.toned(if index == 0 { Tone::Heading } else { cell.tone }, &cell.text);
                let (first, second) = match column {
                    Align::Left => (text, gap),
                    Align::Right => (gap, text),
                };
                line.extend([&first, &second, "  "]);
            }
            writeln!(self.sink, "{}", line.trim_end())?;
        }
        self.sink.flush()
    }
}

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Align {
    Left,
    Right,
}

/// One cell.
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in the tone that goes with its value.
    pub(crate) fn toned<T: Display + Copy + Into<Tone>>(value: T) -> Self {
        Self { text: value.to_string(), tone: value.into() }
    }

    /// The value, or a dash.
    pub(crate) fn or_dash(value: Option<impl Display>) -> Self {
        value.map_or_else(|| Self::from("-"), Self::from)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Display> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), tone: Tone::Plain }
    }
}

/// Rows of cells under a heading.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let (heading, columns) = columns.into_iter().map(|(name, align)| (Cell::from(name), align)).unzip();
        Self { columns, rows: vec![heading] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.columns.len())
            .map(|column| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0))
            .collect()
    }
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
