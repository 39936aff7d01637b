//! Colour and width of the terminal form.
//!
//! Colour only repeats what the words say already: a report is read in CI logs
//! and mails as well. So the choice is one flag, made where the stream is
//! known, and the renderer names roles, not colours.

use anstyle::{AnsiColor, Style as Ansi};
use std::ffi::OsStr;
use std::io::IsTerminal;

/// How text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    color: bool,
    width: usize,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A verdict that is what one hopes for; the oracle's side.
    Good,
    /// A verdict that is not; the subject's side.
    Bad,
    /// No verdict.
    Unsure,
    /// A label or a title.
    Label,
    /// What may be skipped when reading.
    Faint,
}

impl Style {
    /// Columns that prose is wrapped to, unless said otherwise.
    pub const WIDTH: usize = 100;

    /// No colour.
    pub const fn plain() -> Style {
        Style { color: false, width: Style::WIDTH }
    }

    /// Colour by ANSI escape sequences.
    pub const fn colored() -> Style {
        Style { color: true, width: Style::WIDTH }
    }

    /// Colour if `stream` is a terminal and the environment does not say
    /// otherwise: `NO_COLOR` set to anything (<https://no-color.org>), or
    /// `TERM=dumb`.
    pub fn for_stream(stream: &impl IsTerminal) -> Style {
        let no_color = std::env::var_os("NO_COLOR");
        let term = std::env::var_os("TERM");
        Style::decide(stream.is_terminal(), no_color.as_deref(), term.as_deref())
    }

    fn decide(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Style {
        let refused = no_color.is_some_and(|value| !value.is_empty())
            || term.is_some_and(|value| value == "dumb");
        if terminal && !refused { Style::colored() } else { Style::plain() }
    }

    /// The same style with prose wrapped to `columns`, at least 40. Tables,
    /// listings and commands are never wrapped.
    #[must_use]
    pub const fn with_width(self, columns: usize) -> Style {
        Style { width: if columns < 40 { 40 } else { columns }, ..self }
    }

    /// Columns that prose is wrapped to.
    pub const fn width(self) -> usize {
        self.width
    }

    /// The text with the role's colours around it, where there are colours.
    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let ansi = match role {
            Role::Good => AnsiColor::Green.on_default(),
            Role::Bad => AnsiColor::Red.on_default().bold(),
            Role::Unsure => AnsiColor::Yellow.on_default().bold(),
            Role::Label => Ansi::new().bold(),
            Role::Faint => Ansi::new().dimmed(),
        };
        format!("{ansi}{text}{ansi:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_wanted() {
        let set = |text: &'static str| Some(OsStr::new(text));
        assert_eq!(Style::decide(true, None, set("xterm")), Style::colored());
        assert_eq!(Style::decide(true, set(""), None), Style::colored());
        assert_eq!(Style::decide(true, set("0"), None), Style::plain());
        assert_eq!(Style::decide(true, None, set("dumb")), Style::plain());
        assert_eq!(Style::decide(false, None, set("xterm")), Style::plain());
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(Style::plain().paint(Role::Bad, "x"), "x");
        assert_eq!(Style::colored().paint(Role::Label, "x"), "\u{1b}[1mx\u{1b}[0m");
    }
}
