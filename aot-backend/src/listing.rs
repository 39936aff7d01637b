//! The program as text, one Wasm instruction a line.
//!
//! Debuggers show it as the source, reports quote from it. Making it takes
//! longer than compiling a small module, and a run needs it only when something
//! diverged: so it is made when first asked for.

use crate::module;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use wasm_view::WasmOffset;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// A module's listing. Cheap until it is looked at, and to clone.
#[derive(Clone)]
pub struct Listing {
    wasm: Arc<[u8]>,
    printed: Arc<OnceLock<Printed>>,
}

/// The listing once made.
#[derive(Default)]
struct Printed {
    text: String,
    /// Where in `text` each line starts.
    starts: Vec<usize>,
    lines: BTreeMap<WasmOffset, u32>,
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.printed.get().map(|printed| printed.starts.len());
        f.debug_struct("Listing").field("lines", &lines).finish_non_exhaustive()
    }
}

impl Listing {
    /// The listing of a module. Bytes that are no module have an empty one.
    pub fn new(wasm: Arc<[u8]>) -> Self {
        Listing { wasm, printed: Arc::default() }
    }

    fn printed(&self) -> &Printed {
        self.printed.get_or_init(|| Printed::of(&self.wasm).unwrap_or_default())
    }

    /// The whole text, each line ended by a line feed.
    pub fn text(&self) -> &str {
        &self.printed().text
    }

    /// Line of each instruction, counted from 1.
    pub fn lines(&self) -> &BTreeMap<WasmOffset, u32> {
        &self.printed().lines
    }

    /// The line of the instruction at an offset, counted from 1.
    pub fn line_of(&self, offset: WasmOffset) -> Option<u32> {
        self.lines().get(&offset).copied()
    }

    /// The instruction at an offset as text, without indentation and offset.
    pub fn text_at(&self, offset: WasmOffset) -> Option<&str> {
        Some(instruction(self.line(self.line_of(offset)?)?))
    }

    /// The lines around the instruction at an offset, up to `context` on
    /// either side, each with its number. Empty if there is no such line.
    pub fn around(&self, offset: WasmOffset, context: u32) -> Vec<(u32, &str)> {
        let Some(line) = self.line_of(offset) else {
            return Vec::new();
        };
        let first = line.saturating_sub(context).max(1);
        (first..=line.saturating_add(context))
            .map_while(|number| Some((number, self.line(number)?)))
            .collect()
    }

    /// A line by its number from 1, without its line feed.
    pub fn line(&self, number: u32) -> Option<&str> {
        let printed = self.printed();
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let start = *printed.starts.get(index)?;
        let end = printed.starts.get(index + 1).map_or(printed.text.len(), |next| *next);
        Some(printed.text.get(start..end)?.trim_end_matches('\n'))
    }
}

impl Printed {
    /// Prints a valid module; `None` for anything else, which the printer does
    /// not promise to survive.
    fn of(wasm: &[u8]) -> Option<Printed> {
        Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).ok()?;
        let mut storage = String::new();
        let printed = wasmprinter::Config::new().offsets_and_lines(wasm, &mut storage).ok()?;
        let mut result = Printed::default();
        for (offset, line) in printed {
            let offset = offset.and_then(|raw| u32::try_from(raw).ok()).map(WasmOffset::new);
            // One line of output must be one line of text, whatever it holds.
            for part in line.trim_end_matches('\n').split('\n') {
                result.starts.push(result.text.len());
                result.text.push_str(part);
                result.text.push('\n');
            }
            let number = u32::try_from(result.starts.len()).ok()?;
            if let Some(offset) = offset {
                result.lines.entry(offset).or_insert(number);
            }
        }
        result.add_empty_functions(wasm);
        Some(result)
    }

    /// A function without instructions is printed on one line, which then is
    /// the line of its final `end` too.
    fn add_empty_functions(&mut self, wasm: &[u8]) {
        for payload in Parser::new(0).parse_all(wasm) {
            let Ok(Payload::CodeSectionEntry(body)) = payload else {
                continue;
            };
            let range = body.range();
            let end = module::offset(range.end.saturating_sub(1));
            if let Some(&line) = self.lines.get(&module::offset(range.start)) {
                self.lines.entry(end).or_insert(line);
            }
        }
    }
}

/// The instruction in a printed line: without indentation and the comment
/// that numbers a label. A function's final `end` is printed as a parenthesis.
fn instruction(line: &str) -> &str {
    let line = line.split_once(" ;; label = ").map_or(line, |(before, _)| before);
    match line.trim() {
        text if text.starts_with(['(', ')']) => "end",
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_texts() {
        let wasm = wat::parse_str(
            "(module (func (export \"f\") (param i32) (result i32)
               local.get 0 i32.const 7 i32.add))",
        )
        .expect("valid text");
        let listing = Listing::new(wasm.clone().into());
        let opcode = wasm.iter().rposition(|&byte| byte == 0x6a).expect("i32.add");
        let add = WasmOffset::new(opcode as u32);
        assert_eq!(listing.text_at(add), Some("i32.add"), "{}", listing.text());
        let around = listing.around(add, 1);
        assert_eq!(around.len(), 3);
        assert_eq!(around[1], (listing.line_of(add).expect("listed"), "    i32.add"));
        assert_eq!(listing.text().lines().nth(around[0].0 as usize - 1), Some(around[0].1));
    }

    #[test]
    fn no_module_no_listing() {
        let listing = Listing::new(Arc::from(&b"\0asm nonsense"[..]));
        assert_eq!(listing.text(), "");
        assert_eq!(listing.line_of(WasmOffset::new(0)), None);
        assert!(listing.around(WasmOffset::new(0), 3).is_empty());
    }
}
