//! Tables and sheets as text. Columns are as wide as what they hold; numbers stand to the right.
//! A crate for it was left out: aligned columns are these few lines, and boxes get in grep's way.

use super::style::{Style, Tone};

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text as it is.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    /// Text in a tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Which side a column's text stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

const GAP: &str = "  ";

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(title, align)| (title.to_owned(), align));
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; what is missing stays empty.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As lines, each ended.
    pub(crate) fn render(&self, style: Style) -> String {
        let widths = self.widths();
        let head = self
            .columns
            .iter()
            .map(|(title, _)| Cell::toned(title, Tone::Bold))
            .collect();
        let mut out = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            out.push_str(&self.line(row, &widths, style));
            out.push('\n');
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |row: &Vec<Cell>, index| row.get(index).map_or(0, Cell::width);
        (self.columns.iter().enumerate())
            .map(|(index, (title, _))| {
                let widest = self
                    .rows
                    .iter()
                    .map(|row| cell(row, index))
                    .max()
                    .unwrap_or(0);
                widest.max(title.chars().count())
            })
            .collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], style: Style) -> String {
        let mut out = String::new();
        let columns = self.columns.iter().zip(widths).zip(row);
        for (index, (((_, align), width), cell)) in columns.enumerate() {
            if index > 0 {
                out.push_str(GAP);
            }
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            let text = style.paint(cell.tone, &cell.text);
            match align {
                Align::Left => out.extend([text, padding]),
                Align::Right => out.extend([padding, text]),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// Names and values below each other, for one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    lines: Vec<(String, Cell)>,
}

impl Sheet {
    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, value: Cell) {
        self.lines.push((name.to_owned(), value));
    }

    /// As lines, each ended; a value of several lines is indented below its name.
    pub(crate) fn render(&self, style: Style) -> String {
        let width = self
            .lines
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        for (name, value) in &self.lines {
            let padding = " ".repeat(width - name.chars().count());
            out.push_str(&style.paint(Tone::Dim, name));
            if value.text.contains('\n') {
                out.push('\n');
                for line in value.text.lines() {
                    out.push_str(format!("  {line}").trim_end());
                    out.push('\n');
                }
            } else {
                let text = style.paint(value.tone, &value.text);
                out.push_str(format!("{padding}{GAP}{text}").trim_end());
                out.push('\n');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("TOKENS", Align::Right),
            ("", Align::Left),
        ]);
        table.row(vec![
            Cell::plain("größer"),
            Cell::plain("1,200"),
            Cell::plain(""),
        ]);
        table.row(vec![Cell::plain("a"), Cell::plain("7"), Cell::plain("x")]);
        let expected = "\
NAME    TOKENS
größer   1,200
a            7  x
";
        assert_eq!(table.render(Style::PLAIN), expected);
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new([("A", Align::Left), ("B", Align::Left)]);
        table.row(vec![Cell::toned("ok", Tone::Good), Cell::plain("1")]);
        let expected = "\x1b[1mA\x1b[0m   \x1b[1mB\x1b[0m\n\x1b[32mok\x1b[0m  1\n";
        assert_eq!(table.render(Style::COLOUR), expected);
    }

    #[test]
    fn a_sheet_shows_long_values_below_their_name() {
        let mut sheet = Sheet::default();
        sheet.line("status", Cell::plain("active"));
        sheet.line("id", Cell::plain("1"));
        sheet.line("text", Cell::plain("a\n\nb"));
        assert_eq!(
            sheet.render(Style::PLAIN),
            "status  active\nid      1\ntext\n  a\n\n  b\n"
        );
    }
}
