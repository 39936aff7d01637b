//! Lines of the original source, where a module carries DWARF.
//!
//! DWARF in a Wasm module lives in custom sections and counts addresses from
//! the start of the code section's content (DWARF for WebAssembly, "Code
//! section offsets").

use crate::program::Program;
use addr2line::gimli::{Dwarf, EndianRcSlice, LittleEndian};
use std::collections::HashMap;
use std::rc::Rc;
use wasm_view::WasmOffset;
use wasmparser::{Parser, Payload};

type Reader = EndianRcSlice<LittleEndian>;

/// The line table of a module.
pub struct Source {
    context: addr2line::Context<Reader>,
    code: WasmOffset,
}

impl Source {
    /// Reads the DWARF of a module; `None` when it has none or it is broken:
    /// source lines are a help, never a condition.
    pub fn of(program: &Program) -> Option<Source> {
        let code = program.module.code_section_start()?;
        let mut sections: HashMap<&str, Rc<[u8]>> = HashMap::new();
        for payload in Parser::new(0).parse_all(&program.wasm) {
            if let Ok(Payload::CustomSection(section)) = payload
                && section.name().starts_with(".debug_")
            {
                sections.insert(section.name(), section.data().into());
            }
        }
        if !sections.contains_key(".debug_info") {
            return None;
        }
        let dwarf = Dwarf::load(|id| -> Result<Reader, addr2line::gimli::Error> {
            let bytes = sections.get(id.name()).cloned().unwrap_or_else(|| Rc::from([]));
            Ok(Reader::new(bytes, LittleEndian))
        });
        let context = addr2line::Context::from_dwarf(dwarf.ok()?).ok()?;
        Some(Source { context, code })
    }

    /// `file:line` of an instruction.
    pub fn line(&self, offset: WasmOffset) -> Option<String> {
        let address = offset.get().checked_sub(self.code.get())?;
        let location = self.context.find_location(u64::from(address)).ok()??;
        let file = location.file?;
        Some(match location.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    }
}
