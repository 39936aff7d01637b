//! Each test once.
//!
//! A version of the suite takes over nearly all of the one before, and a script
//! that gained one assertion repeats millions of instructions for it. So a module
//! is left out together with what is executed in it where an earlier script has
//! the same, token for token, or another of its name has all of it and more: every field
//! of the module and every action, in their order. Only a module that stands apart is left
//! out: it imports nothing that has a state, has no name and is not registered, so that nothing else can
//! tell whether it was there. Assertions that execute nothing (validation, the text
//! format) always stay.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use wast::lexer::{Lexer, TokenKind};

/// What of some scripts is to be written.
pub struct Once {
    /// Each script without what others have; `None` where nothing is left.
    pub kept: Vec<Option<String>>,
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

    /// Whether it imports what others can see changed. The functions of `spectest` print.
    fn imports_state(&self) -> bool {
        let mut imports = self.tokens.windows(6).filter(|six| six[0] == "(" && six[1] == "import");
        !imports.all(|six| six[2] == "\"spectest\"" && six[4] == "(" && six[5] == "func")
    }

    /// The fields of a module.
    fn fields(&self) -> Vec<&[String]> {
        let mut fields = Vec::new();
        let (mut depth, mut start) = (0, 0);
        for (at, token) in self.tokens.iter().enumerate() {
            match token.as_str() {
                "(" => {
                    depth += 1;
                    if depth == 2 {
                        start = at;
                    }
                }
                ")" => {
                    depth -= 1;
                    if depth == 1 {
                        fields.push(&self.tokens[start..=at]);
                    }
                }
                _ => {}
            }
        }
        fields
    }

    /// Whether it executes code of the last module.
    fn executes(&self) -> bool {
        self.has("invoke") || self.has("get")
    }
}

/// A module, and what is executed in it, each by its place among the forms of its script.
struct Section<'f> {
    script: usize,
    module: &'f Form,
    actions: Vec<&'f Form>,
    apart: bool,
}

impl Section<'_> {
    fn key(&self) -> String {
        let all = std::iter::once(self.module).chain(self.actions.iter().copied());
        all.map(|form| form.tokens.join(" ")).collect::<Vec<_>>().join("\n")
    }

    fn length(&self) -> usize {
        self.module.tokens.len() + self.actions.iter().map(|form| form.tokens.len()).sum::<usize>()
    }

    /// Whether it has all of another one, and more.
    fn extends(&self, other: &Section<'_>) -> bool {
        let actions = |section: &Section<'_>| -> Vec<Vec<String>> {
            section.actions.iter().map(|form| form.tokens.clone()).collect()
        };
        self.length() > other.length()
            && has_in_order(&actions(self), &actions(other))
            && has_in_order(&self.module.fields(), &other.module.fields())
    }
}

/// Whether all of `part` are among `all`, in their order.
fn has_in_order<T: PartialEq>(all: &[T], part: &[T]) -> bool {
    let mut rest = all.iter();
    part.iter().all(|wanted| rest.any(|one| one == wanted))
}

impl Once {
    /// Of these scripts, name and text.
    ///
    /// # Errors
    /// A script that is none.
    pub fn over(scripts: &[(&str, &str)]) -> Result<Once, wast::Error> {
        let parsed = scripts.iter().map(|(_, text)| forms(text)).collect::<Result<Vec<_>, _>>()?;
        let sections: Vec<Section<'_>> = parsed.iter().enumerate().flat_map(sections).collect();
        let mut of_name: HashMap<&str, Vec<&Section<'_>>> = HashMap::new();
        for section in &sections {
            of_name.entry(scripts[section.script].0).or_default().push(section);
        }
        let mut seen = HashSet::new();
        let mut drop: Vec<Vec<Range<usize>>> = vec![Vec::new(); scripts.len()];
        let mut left_out = 0;
        for section in &sections {
            if section.actions.is_empty() || !section.apart {
                continue;
            }
            let others = &of_name[scripts[section.script].0];
            if !seen.insert(section.key()) || others.iter().any(|other| other.extends(section)) {
                left_out += 1;
                let forms = std::iter::once(section.module).chain(section.actions.iter().copied());
                drop[section.script].extend(forms.map(|form| form.range.clone()));
            }
        }
        let cut = scripts.iter().zip(&parsed).zip(drop);
        let kept = cut.map(|(((_, text), forms), drop)| without(text, forms.len(), drop));
        Ok(Once { kept: kept.collect(), left_out, modules: sections.len() })
    }
}

/// A text of so many forms without some of them.
fn without(text: &str, forms: usize, drop: Vec<Range<usize>>) -> Option<String> {
    if drop.len() == forms {
        return None;
    }
    let mut kept = String::new();
    let mut at = 0;
    for range in drop {
        kept.push_str(&text[at..range.start]);
        at = range.end;
    }
    kept.push_str(&text[at..]);
    Some(kept)
}

/// The modules of a script.
fn sections((script, forms): (usize, &Vec<Form>)) -> Vec<Section<'_>> {
    let starts = forms.iter().enumerate().filter(|(_, form)| form.keyword() == "module");
    let mut starts: Vec<usize> = starts.map(|(at, _)| at).collect();
    starts.push(forms.len());
    let section = |pair: &[usize]| {
        let [module, rest @ ..] = forms.get(pair[0]..pair[1])? else { return None };
        let actions = rest.iter().filter(|form| form.executes()).collect();
        Some(Section { script, module, actions, apart: stands_apart(module, rest) })
    };
    starts.windows(2).filter_map(section).collect()
}

/// Whether nothing outside of a module and its assertions can tell that it was there.
fn stands_apart(module: &Form, rest: &[Form]) -> bool {
    let has_name = module.tokens.get(2).is_some_and(|token| token.starts_with('$'));
    let is_usual =
        rest.iter().all(|form| form.keyword() == "invoke" || form.keyword().starts_with("assert_"));
    !has_name
        && !module.imports_state()
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

    fn kept(scripts: &[(&str, &str)]) -> Vec<Option<String>> {
        Once::over(scripts).expect("scripts").kept
    }

    #[test]
    fn what_stands_apart_is_there_once() {
        let more = format!("(module)\n{APART}(assert_invalid (module (func (drop))) \"type\")");
        let once = Once::over(&[("a", APART), ("b", APART), ("c", &more)]).expect("scripts");
        assert_eq!(once.kept[0].as_deref(), Some(APART));
        assert_eq!(once.kept[1], None);
        let last = once.kept[2].as_deref().expect("something is new");
        assert!(last.contains("assert_invalid") && !last.contains("invoke"), "{last}");
        assert_eq!((once.left_out, once.modules), (2, 4));
    }

    #[test]
    fn what_another_of_the_name_has_all_of_is_left_out() {
        let more = "(module (func (export \"g\")) (func (export \"f\")))
            (assert_return (invoke \"g\")) (assert_return (invoke \"f\"))";
        assert_eq!(kept(&[("a", APART), ("a", more)]), [None, Some(more.to_owned())]);
        assert_eq!(kept(&[("a", more), ("a", APART)]), [Some(more.to_owned()), None]);
        // Another name, a call that is missing, a call of another order.
        assert_eq!(kept(&[("a", APART), ("b", more)])[0].as_deref(), Some(APART));
        let fewer = "(module (func (export \"g\")) (func (export \"f\")))(invoke \"g\")";
        assert_eq!(kept(&[("a", APART), ("a", fewer)])[0].as_deref(), Some(APART));
        let turned = "(module (func (export \"f\")) (func (export \"g\")))
            (assert_return (invoke \"f\")) (assert_return (invoke \"g\"))(invoke \"f\")";
        assert_eq!(kept(&[("a", turned), ("a", more)]).iter().flatten().count(), 2);
    }

    #[test]
    fn a_function_that_prints_tells_nobody() {
        let text =
            "(module (import \"spectest\" \"print\" (func)) (func (export \"f\")))(invoke \"f\")";
        assert_eq!(kept(&[("a", text), ("b", text)]), [Some(text.to_owned()), None]);
    }

    #[test]
    fn what_others_can_see_stays() {
        for text in [
            "(module $m (func (export \"f\")))(assert_return (invoke \"f\"))",
            "(module (import \"spectest\" \"memory\" (memory 1)) (func (export \"f\")))(invoke \"f\")",
            "(module (func (export \"f\")))(invoke \"f\")(register \"m\")",
            "(module (func (export \"f\")))(invoke $other \"f\")",
        ] {
            let both = kept(&[("a", text), ("a", text)]);
            assert_eq!(both, [Some(text.to_owned()), Some(text.to_owned())]);
        }
    }
}
