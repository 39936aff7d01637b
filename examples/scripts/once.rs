//! Each test once.
//!
//! A version of the suite takes over nearly all of the one before, and a script
//! that gained one assertion repeats millions of instructions for it. So a module
//! is left out together with what is executed in it where an earlier script has
//! the same, token for token. Only one that stands apart is: it imports nothing,
//! has no name and is not registered, so that nothing else can tell whether it
//! was there. Assertions that execute nothing (validation, the text format)
//! always stay.

use std::collections::HashSet;
use std::ops::Range;
use wast::lexer::{Lexer, TokenKind};

/// What has been seen, over all scripts.
#[derive(Default)]
pub struct Once {
    seen: HashSet<String>,
    /// Modules left out.
    pub left_out: usize,
    /// Modules in all.
    pub modules: usize,
}

/// A form at the top level of a script.
struct Form {
    range: Range<usize>,
    /// Its tokens, without blanks and comments.
    tokens: Vec<String>,
}

impl Form {
    fn keyword(&self) -> &str {
        self.tokens.get(1).map(String::as_str).unwrap_or_default()
    }

    fn has(&self, keyword: &str) -> bool {
        self.tokens.windows(2).any(|pair| pair[0] == "(" && pair[1] == keyword)
    }

    /// Whether an action in it is about a module that has a name.
    fn names_a_module(&self) -> bool {
        self.tokens.windows(3).any(|three| {
            three[0] == "("
                && matches!(three[1].as_str(), "invoke" | "get")
                && three[2].starts_with('$')
        })
    }

    /// Whether it executes code of the last module.
    fn executes(&self) -> bool {
        self.has("invoke") || self.has("get")
    }
}

impl Once {
    /// The script without what has been seen before; `None` where nothing is left.
    ///
    /// # Errors
    /// A script that is none.
    pub fn add(&mut self, text: &str) -> Result<Option<String>, wast::Error> {
        let forms = forms(text)?;
        let starts = forms.iter().enumerate().filter(|(_, form)| form.keyword() == "module");
        let mut starts: Vec<usize> = starts.map(|(at, _)| at).collect();
        self.modules += starts.len();
        starts.push(forms.len());
        let mut left_out: Vec<Range<usize>> = Vec::new();
        for pair in starts.windows(2) {
            let section = &forms[pair[0]..pair[1]];
            let [module, rest @ ..] = section else { continue };
            let executing: Vec<&Form> = rest.iter().filter(|form| form.executes()).collect();
            if executing.is_empty() || !stands_apart(module, rest) {
                continue;
            }
            let dropped: Vec<&Form> = std::iter::once(module).chain(executing).collect();
            let key: Vec<String> = dropped.iter().map(|form| form.tokens.join(" ")).collect();
            if !self.seen.insert(key.join("\n")) {
                self.left_out += 1;
                left_out.extend(dropped.iter().map(|form| form.range.clone()));
            }
        }
        if left_out.len() == forms.len() {
            return Ok(None);
        }
        let mut kept = String::new();
        let mut at = 0;
        for range in left_out {
            kept.push_str(&text[at..range.start]);
            at = range.end;
        }
        kept.push_str(&text[at..]);
        Ok(Some(kept))
    }
}

/// Whether nothing outside of a module and its assertions can tell that it was there.
fn stands_apart(module: &Form, rest: &[Form]) -> bool {
    let has_name = module.tokens.get(2).is_some_and(|token| token.starts_with('$'));
    let is_usual =
        rest.iter().all(|form| form.keyword() == "invoke" || form.keyword().starts_with("assert_"));
    !has_name
        && !module.has("import")
        && !matches!(module.tokens.get(2).map(String::as_str), Some("definition" | "instance"))
        && is_usual
        && !rest.iter().any(Form::names_a_module)
}

/// The forms of a script.
fn forms(text: &str) -> Result<Vec<Form>, wast::Error> {
    let mut forms: Vec<Form> = Vec::new();
    let mut depth = 0_usize;
    let mut lexer = Lexer::new(text);
    // One script is about names made of these.
    lexer.allow_confusing_unicode(true);
    for token in lexer.iter(0) {
        let token = token?;
        if matches!(
            token.kind,
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment
        ) {
            continue;
        }
        let end = token.offset + token.len as usize;
        if depth == 0 {
            forms.push(Form { range: token.offset..end, tokens: Vec::new() });
        }
        match token.kind {
            TokenKind::LParen => depth += 1,
            TokenKind::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(form) = forms.last_mut() {
            form.range.end = end;
            form.tokens.push(text[token.offset..end].to_owned());
        }
    }
    Ok(forms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APART: &str =
        "(module (func (export \"f\"))) ;; a comment\n(assert_return (invoke \"f\"))\n";

    #[test]
    fn what_stands_apart_is_there_once() {
        let mut once = Once::default();
        assert_eq!(once.add(APART).unwrap().as_deref(), Some(APART));
        assert_eq!(once.add(APART).unwrap(), None);
        let more = format!("(module)\n{APART}(assert_invalid (module (func (drop))) \"type\")");
        let kept = once.add(&more).unwrap().expect("something is new");
        assert!(kept.contains("assert_invalid") && !kept.contains("invoke"), "{kept}");
        assert_eq!((once.left_out, once.modules), (2, 4));
    }

    #[test]
    fn what_others_can_see_stays() {
        for text in [
            "(module $m (func (export \"f\")))(assert_return (invoke \"f\"))",
            "(module (import \"spectest\" \"memory\" (memory 1)) (func (export \"f\")))(invoke \"f\")",
            "(module (func (export \"f\")))(invoke \"f\")(register \"m\")",
            "(module (func (export \"f\")))(invoke $other \"f\")",
        ] {
            let mut once = Once::default();
            assert_eq!(once.add(text).unwrap().as_deref(), Some(text));
            assert_eq!(once.add(text).unwrap().as_deref(), Some(text));
        }
    }
}
