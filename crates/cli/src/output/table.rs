//! Rows of cells under a heading, in columns.

use std::fmt::Display;

use super::Tone;

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

    /// A cell in a tone of its own.
    pub(crate) fn of(tone: Tone, text: impl Display) -> Self {
        Self { text: text.to_string(), tone }
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

/// Rows of cells under a heading, each with a note below it where there is something to say.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Row>,
}

struct Row {
    cells: Vec<Cell>,
    note: String,
}

/// How wide the columns of a table are that comes in parts.
#[derive(Debug, Default)]
pub(crate) struct Widths(Vec<usize>);

impl Widths {
    /// Takes a part's columns into account; true for the first part.
    pub(super) fn grow(&mut self, table: &Table) -> bool {
        let first = self.0.is_empty();
        self.0.resize(table.columns.len(), 0);
        for row in &table.rows {
            for (width, cell) in self.0.iter_mut().zip(&row.cells) {
                *width = cell.width().max(*width);
            }
        }
        first
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let (cells, columns) = columns
            .into_iter()
            .map(|(name, align)| (Cell { text: name.to_owned(), tone: Tone::Heading }, align))
            .unzip();
        Self { columns, rows: vec![Row { cells, note: String::new() }] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.noted_row(cells, String::new());
    }

    /// A row with a note below it, if that is not empty.
    pub(crate) fn noted_row<const N: usize>(&mut self, cells: [Cell; N], note: String) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(Row { cells: cells.into(), note });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The rows: the line of each as pieces in their tones, and its note.
    pub(super) fn lines<'t>(
        &'t self,
        widths: &'t Widths,
    ) -> impl Iterator<Item = (Vec<(Tone, String)>, &'t str)> + 't {
        self.rows.iter().map(move |row| {
            let mut line = Vec::new();
            for (cell, (align, width)) in row.cells.iter().zip(self.columns.iter().zip(&widths.0)) {
                let (gap, text) = (" ".repeat(width - cell.width()), (cell.tone, cell.text.clone()));
                match align {
                    Align::Left => line.extend([text, (Tone::Plain, gap + "  ")]),
                    Align::Right => line.extend([(Tone::Plain, gap), text, (Tone::Plain, "  ".to_owned())]),
                }
            }
            while line.last().is_some_and(|(_, piece)| piece.trim().is_empty()) {
                line.pop();
            }
            (line, row.note.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table) -> Vec<String> {
        let mut widths = Widths::default();
        widths.grow(table);
        table.lines(&widths).map(|(line, _)| line.into_iter().map(|(_, piece)| piece).collect()).collect()
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let mut table = Table::new([("A", Align::Right), ("LONG", Align::Left), ("", Align::Left)]);
        table.row([1.into(), "x".into(), "last".into()]);
        table.row([22.into(), "y".into(), "".into()]);
        assert_eq!(shown(&table), [" A  LONG", " 1  x     last", "22  y"]);
    }

    #[test]
    fn later_parts_are_at_least_as_wide() {
        let part = |text: &str| {
            let mut table = Table::new([("A", Align::Left), ("B", Align::Left)]);
            table.row([text.into(), "b".into()]);
            table
        };
        let mut widths = Widths::default();
        let (wide, narrow) = (part("wide"), part("n"));
        assert!(widths.grow(&wide));
        assert!(!widths.grow(&narrow));
        let line: String =
            narrow.lines(&widths).nth(1).unwrap().0.into_iter().map(|(_, piece)| piece).collect();
        assert_eq!(line, "n     b");
    }
}
