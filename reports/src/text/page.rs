//! A page of text being written: titles, labelled rows, tables.
//!
//! Widths are counted in characters before colours are put around them, so
//! that a coloured page has the columns of a plain one.

use crate::style::{Role, Style};

/// Columns of the labels at the left of a page.
const LABEL: usize = 14;

/// Text being written.
pub(super) struct Page {
    style: Style,
    text: String,
}

/// One cell of a table and how it is shown.
pub(super) struct TableCell {
    /// The text, cleaned.
    pub(super) text: String,
    /// Its colour, if any.
    pub(super) role: Option<Role>,
    /// Whether it is pushed to the right of its column.
    pub(super) right: bool,
}

impl TableCell {
    /// A cell at the left of its column.
    pub(super) fn left(text: impl Into<String>) -> TableCell {
        TableCell { text: text.into(), role: None, right: false }
    }

    /// A cell at the right of its column.
    pub(super) fn right(text: impl Into<String>) -> TableCell {
        TableCell { text: text.into(), role: None, right: true }
    }

    /// The same cell in the colours of a role.
    pub(super) fn role(mut self, role: Role) -> TableCell {
        self.role = Some(role);
        self
    }
}

impl Page {
    /// An empty page.
    pub(super) fn new(style: Style) -> Page {
        Page { style, text: String::new() }
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Text in the colours of a role.
    pub(super) fn paint(&self, role: Role, text: &str) -> String {
        self.style.paint(role, text)
    }

    /// One line, as it is.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// An empty line and a title.
    pub(super) fn title(&mut self, title: &str) {
        let title = self.paint(Role::Label, title);
        self.text.push('\n');
        self.line(&title);
    }

    /// A label and prose beside it, wrapped. No text, no row.
    pub(super) fn row(&mut self, label: &str, prose: &str) {
        if prose.is_empty() {
            return;
        }
        let room = self.style.width().saturating_sub(LABEL + 2);
        for (number, line) in wrap(prose, room).into_iter().enumerate() {
            self.labelled(if number == 0 { label } else { "" }, &line);
        }
    }

    /// A label and one line beside it, as it is.
    pub(super) fn labelled(&mut self, label: &str, line: &str) {
        let gap = if label.chars().count() >= LABEL { "  " } else { "" };
        let label = self.paint(Role::Label, &format!("{label:<LABEL$}{gap}"));
        self.line(&format!("  {label}{line}"));
    }

    /// Rows of cells in columns as wide as their widest cell, two blanks
    /// between them, each line after `indent`.
    pub(super) fn table(&mut self, indent: usize, rows: &[Vec<TableCell>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let mut line = " ".repeat(indent);
            for (cell, width) in row.iter().zip(&widths) {
                let blanks = " ".repeat(width - cell.text.chars().count());
                let text = match cell.role {
                    Some(role) => self.paint(role, &cell.text),
                    None => cell.text.clone(),
                };
                match cell.right {
                    true => line.extend([blanks.as_str(), &text, "  "]),
                    false => line.extend([text.as_str(), &blanks, "  "]),
                }
            }
            self.line(&line);
        }
    }
}

/// The text in lines of at most `room` characters, broken at blanks. A word
/// longer than that gets a line of its own and is not broken: it is a path or a
/// name that somebody wants to copy.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    if used > 0 {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a toolongword b", 5), ["a", "toolongword", "b"]);
        assert!(wrap("  ", 5).is_empty());
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = || {
            vec![
                vec![TableCell::left("a").role(Role::Bad), TableCell::right("1")],
                vec![TableCell::left("long"), TableCell::right("1000")],
            ]
        };
        let mut plain = Page::new(Style::plain());
        plain.table(2, &rows());
        assert_eq!(plain.finish(), "  a        1\n  long  1000\n");
        let mut colored = Page::new(Style::colored());
        colored.table(2, &rows());
        assert!(colored.finish().contains("a\u{1b}[0m        1\n"));
    }
}
