//! Making foreign text safe to print.
//!
//! Function names, paths and source names come from modules that nobody vouches
//! for, and a terminal obeys what it is sent. Control characters (also the C1
//! ones, which some terminals take for escape sequences) and characters that
//! reorder or hide text are shown as `\u{..}` instead.

use std::borrow::Cow;

/// Whether a character acts on the terminal or on its neighbours.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero-width and direction marks, line separators, embeddings.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, deprecated formatting.
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags.
            | '\u{e0000}'..='\u{e007f}')
}

/// Whether the text can be printed as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(acts)
}

/// The text with every acting character shown as `\u{..}`, tabs as spaces.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("    "),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// JSON with every acting character outside ASCII as `\uXXXX`. In JSON such a
/// character occurs only inside strings, where that escape means the same.
pub(crate) fn escape_json(json: String) -> String {
    let foreign = |c: char| c == '\u{7f}' || (!c.is_ascii() && acts(c));
    if !json.contains(foreign) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if foreign(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The text as one word of a POSIX shell; `None` if it cannot be shown as such.
pub(crate) fn shell_word(text: &str) -> Option<Cow<'_, str>> {
    if !is_plain(text) {
        return None;
    }
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        return Some(Cow::Borrowed(text));
    }
    Some(Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(clean("f\u{1b}[2Jg"), "f\\u{1b}[2Jg");
        assert_eq!(clean("a\nb\u{9b}c\u{202e}d"), "a\\u{a}b\\u{9b}c\\u{202e}d");
        assert!(matches!(clean("größe λ"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_escapes_mean_the_same() {
        let text = "\u{9b}\u{7f}\u{e0041}é\n";
        let json = escape_json(serde_json::to_string(text).unwrap());
        assert_eq!(json, "\"\\u009b\\u007f\\udb40\\udc41é\\n\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn shell_words() {
        assert_eq!(shell_word("a/b.wasm").as_deref(), Some("a/b.wasm"));
        assert_eq!(shell_word("it's; rm").as_deref(), Some(r"'it'\''s; rm'"));
        assert_eq!(shell_word("#3").as_deref(), Some("'#3'"));
        assert_eq!(shell_word("").as_deref(), Some("''"));
        assert_eq!(shell_word("a\nb"), None);
    }
}
