//! Text in XML and HTML.
//!
//! XML 1.0 has no way at all to write most control characters, and a report
//! quotes names from anybody's module: what cannot be written is shown as
//! `\u{..}`.

use crate::printable::clean;

/// The text between tags or in a quoted attribute; lines stay lines.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        escape_line(&clean(line), &mut out);
    }
    out
}

/// The same for one line: a line feed is shown too.
pub(crate) fn escaped_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    escape_line(&clean(text), &mut out);
    out
}

fn escape_line(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not characters, by XML 1.0, section 2.2.
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(escaped("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(escaped("a\n\u{1b}[2J\u{0}\u{fffe}"), "a\n\\u{1b}[2J\\u{0}\\u{fffe}");
        assert_eq!(escaped_line("a\nb"), "a\\u{a}b");
    }
}
