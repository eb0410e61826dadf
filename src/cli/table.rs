//! The one table that every list is written with: columns aligned by what they take on a screen, the same ones on a
//! terminal and in a pipe. Only a terminal gets colour, and only there is a text shortened, to the terminal's width.

use super::terminal::{Style, harmless, shortened, width};
use crate::task::Status;

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this.
const LEAST: usize = 10;
/// A dash stands for what is not there, so that columns can be counted in a pipe.
const NOTHING: &str = "-";
const TITLE: &str = "1";

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Text(&'static str),
    /// Aligned to the right.
    Number(&'static str),
    /// May be shortened where a terminal is narrow.
    Long(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) | Self::Long(title) => title,
        }
    }
}

/// What a text is about, as its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Busy,
    Waiting,
    Bad,
    Faint,
}

impl Tone {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Busy => "36",
            Self::Waiting => "33",
            Self::Bad => "31",
            Self::Faint => "2",
        }
    }

    /// Of a task's status, as its word.
    pub(super) fn of_status(word: &str) -> Self {
        match Status::parse(word) {
            Some(Status::Completed) => Self::Good,
            Some(Status::Running) => Self::Busy,
            Some(Status::Queued | Status::Scheduled) => Self::Waiting,
            Some(Status::Failed) => Self::Bad,
            Some(Status::Cancelled) => Self::Faint,
            None => Self::Plain,
        }
    }
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), tone: Tone::Plain }
    }

    pub(super) fn toned(text: impl ToString, tone: Tone) -> Self {
        Self { text: text.to_string(), tone }
    }

    /// What may not be there.
    pub(super) fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::new(""), Self::new)
    }

    /// A status in its colour.
    pub(super) fn status(word: &str) -> Self {
        Self::toned(word, Tone::of_status(word))
    }

    /// Several in one field.
    pub(super) fn list<T: AsRef<str>>(items: &[T]) -> Self {
        Self::new(items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(","))
    }
}

/// Columns, and as many fields a row.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has a field for each column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a field for each column");
        let shown = |Cell { text, tone }: Cell| Cell {
            text: if text.trim().is_empty() { NOTHING.to_owned() } else { harmless(&text) },
            tone,
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table with its titles, without a line's end at its end.
    pub(super) fn render(&self, style: Style) -> String {
        let widths = self.widths(style.width);
        let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::new(column.title())).collect();
        let mut lines =
            vec![style.paint(TITLE, &line(&self.columns, &widths, &titles, Style { colour: false, ..style }))];
        lines.extend(self.rows.iter().map(|cells| line(&self.columns, &widths, cells, style)));
        lines.join("\n")
    }

    /// Of each column. On a terminal that is too narrow the widest of those that may be shortened give way.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| width(column.title())).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(&cell.text));
            }
        }
        let Some(room) = room else { return widths };
        let gaps = GAP * self.columns.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
        while over > 0 {
            let may_shrink = self.columns.iter().zip(widths.iter_mut()).filter(|(c, _)| matches!(c, Column::Long(_)));
            match may_shrink.map(|(_, width)| width).max() {
                Some(width) if *width > LEAST => *width -= 1,
                _ => break,
            }
            over -= 1;
        }
        widths
    }
}

/// One row. Nothing but the last column's colour stands behind its text.
fn line(columns: &[Column], widths: &[usize], cells: &[Cell], style: Style) -> String {
    let mut line = String::new();
    let mut pending = 0;
    for ((column, room), Cell { text, tone }) in columns.iter().zip(widths).zip(cells) {
        let text = if style.width.is_some() { shortened(text, *room) } else { text.clone() };
        let padding = room.saturating_sub(width(&text));
        let before = if matches!(column, Column::Number(_)) { padding } else { 0 };
        line.push_str(&" ".repeat(pending + before));
        line.push_str(&style.paint(tone.code(), &text));
        pending = padding - before + GAP;
    }
    line
}

/// What one thing is: a name and its value a line. What is not there is left out.
pub(super) fn details(fields: Vec<(&str, Cell)>, style: Style) -> String {
    let fields: Vec<_> = fields.into_iter().filter(|(_, cell)| !cell.text.trim().is_empty()).collect();
    let names = fields.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, Cell { text, tone })| {
        let padding = " ".repeat(names - width(name) + GAP);
        format!("{name}{padding}{}", style.paint(tone.code(), &harmless(text)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::Text("NAME"), Column::Number("TASKS"), Column::Long("NOTE")]);
        table.row(vec![Cell::new("タスク"), Cell::new(7), Cell::new("all is well, as far as anybody can tell of it")]);
        table.row(vec![Cell::status("failed"), Cell::new(12345), Cell::maybe(None::<String>)]);
        table
    }

    #[test]
    fn a_pipe_gets_whole_texts_in_aligned_columns_without_colour() {
        let expected = "NAME    TASKS  NOTE\n\
                        タスク      7  all is well, as far as anybody can tell of it\n\
                        failed  12345  -";
        assert_eq!(table().render(Style::PLAIN), expected);
    }

    #[test]
    fn a_terminal_gets_the_same_columns_within_its_width() {
        let expected = "NAME    TASKS  NOTE\n\
                        タスク      7  all is well, as far…\n\
                        failed  12345  -";
        let text = table().render(Style { colour: false, width: Some(35) });
        assert_eq!(text, expected);
        assert_eq!(text.lines().map(width).max(), Some(35));
        let coloured = table().render(Style { colour: true, width: Some(35) });
        assert!(coloured.starts_with("\u{1b}[1mNAME    TASKS  NOTE\u{1b}[0m\n"), "{coloured:?}");
        assert!(coloured.contains("\n\u{1b}[31mfailed\u{1b}[0m  12345  -"), "{coloured:?}");
    }

    #[test]
    fn what_may_not_be_shortened_is_not() {
        let mut table = Table::new(&[Column::Text("ID"), Column::Long("NOTE")]);
        table.row(vec![Cell::new("x".repeat(70)), Cell::new("y".repeat(70))]);
        let text = table.render(Style { colour: false, width: Some(60) });
        assert_eq!(text.lines().nth(1).unwrap(), format!("{}  {}…", "x".repeat(70), "y".repeat(9)));
    }

    #[test]
    fn a_field_is_one_line_and_no_command_to_the_terminal() {
        let mut table = Table::new(&[Column::Text("A"), Column::Text("B")]);
        table.row(vec![Cell::new("one\ntwo"), Cell::list(&["\u{1b}[2J", "x"])]);
        assert_eq!(table.render(Style::PLAIN), "A        B\none two   [2J,x");
    }

    #[test]
    fn details_leave_out_what_is_not_there() {
        let fields = vec![("id", Cell::new(7)), ("reason", Cell::new("")), ("status", Cell::status("completed"))];
        assert_eq!(details(fields.clone(), Style::PLAIN), "id      7\nstatus  completed");
        let coloured = details(fields, Style { colour: true, width: None });
        assert!(coloured.ends_with("status  \u{1b}[32mcompleted\u{1b}[0m"), "{coloured:?}");
    }
}
