//! The rules about the function that instantiates the module.
//!
//! It is no function of the module's, so the map does not have it: the image
//! names its code by a symbol. It is called through the entry of its type, and
//! what it cannot do itself it asks for by thunks, of which the module says
//! which those are and in which order. That it asks with the right arguments,
//! stores the right values and does nothing else shows when it is executed.

use super::{Findings, Rule, Violation};
use crate::unwind::Unwinder;
use crate::{CodeOffset, ImageMap, Isa, ThunkKind};
use iced_x86::{Decoder, DecoderOptions};
use std::fmt;
use std::ops::Range;
use wasm_view::{DataIdx, ElemIdx, FuncIdx, FuncType, MemoryIdx, TableIdx};
use wasmparser::{BinaryReaderError, DataKind, ElementKind, Parser, Payload, TableInit, TypeRef};

/// Checks the code that instantiates a module: `code` is what the image names
/// as such, `text` the content of `.text`.
///
/// The answer is empty for an image that breaks no rule, and cut at
/// [`MOST_VIOLATIONS`](super::MOST_VIOLATIONS).
pub fn check_instantiation(
    code: Option<&Range<CodeOffset>>,
    map: &ImageMap,
    text: &[u8],
    unwinder: &Unwinder,
    wasm: &[u8],
) -> Vec<Violation> {
    let mut findings = Findings::default();
    let name = "the function `instantiate`";
    let mut bytes = None;
    match code {
        None => findings.image(Rule::Instantiation, format!("there is not {name}")),
        Some(code) => {
            let whose = map.functions.iter().map(|function| &function.code);
            let whose = whose.chain(map.thunks.iter().map(|thunk| &thunk.code));
            let mut whose = whose.chain(map.entries.iter().map(|entry| &entry.code));
            let (start, end) = (code.start, code.end);
            bytes = text.get(start.get() as usize..end.get() as usize);
            if code.is_empty() || bytes.is_none() {
                let size = text.len();
                let message = format!("{name} has code {start}..{end}, text {size:#x} bytes");
                findings.image(Rule::Instantiation, message);
            } else if let Some(other) = whose.find(|other| other.start < end && start < other.end) {
                let message = format!("{name} at {start}..{end} shares code with {}", other.start);
                findings.image(Rule::Instantiation, message);
            } else if let Some(gap) = unwinder.first_gap(code.clone()) {
                findings.image(Rule::CfiCoverage, format!("{name} has none at {gap}"));
            }
        }
    }
    if !map.entries.iter().any(|entry| entry.ty == FuncType::default()) {
        findings.image(Rule::Instantiation, format!("there is no entry to call {name} by"));
    }
    let needed = match needed(wasm) {
        Ok(needed) => needed,
        Err(error) => {
            findings.image(Rule::ModuleReadable, error.to_string());
            return findings.list;
        }
    };
    let Some((bytes, code)) = bytes.zip(code) else { return findings.list };
    let mut calls = direct_calls(map.isa(), bytes, code.start).into_iter();
    for called in needed {
        let start = match called {
            Called::Thunk(kind) => {
                map.thunks.iter().find(|thunk| thunk.kind == kind).map(|thunk| thunk.code.start)
            }
            // An imported one is called through the instance data.
            Called::Start(func) => {
                let function = map.functions.iter().find(|function| function.func == func);
                let Some(function) = function else { continue };
                Some(function.code.start)
            }
        };
        // Behind the code may be constants, in which anything looks like a call.
        if !calls.any(|target| Some(target) == start) {
            let message = format!("{name} does not call {called} where that is due");
            findings.image(Rule::InstantiationCalls, message);
            break;
        }
    }
    findings.list
}

/// Places in the text that code at `start` calls, in the order of the calls.
fn direct_calls(isa: Isa, code: &[u8], start: CodeOffset) -> Vec<CodeOffset> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut calls = Vec::new();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let call = u32::try_from(at).ok().zip(isa.direct_call(rest));
        let target = call
            .and_then(|(at, distance)| start.get().checked_add(at)?.checked_add_signed(distance));
        calls.extend(target.map(CodeOffset::new));
        at += match isa {
            Isa::X86_64 => decoder.decode().len().max(1),
            isa => isa.instruction_length(rest).unwrap_or(rest.len()),
        };
    }
    calls
}

/// What instantiation calls.
#[derive(Clone, Copy)]
enum Called {
    Thunk(ThunkKind),
    Start(FuncIdx),
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Called::Thunk(kind) => write!(f, "the thunk of {kind}"),
            Called::Start(func) => write!(f, "the start function {func}"),
        }
    }
}

/// What instantiating a module calls, in the order of the core specification:
/// what fills tables, element segments, data segments, the start function.
fn needed(wasm: &[u8]) -> Result<Vec<Called>, BinaryReaderError> {
    let mut needed = Vec::new();
    let (mut tables, mut start) = (0, None);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    tables += u32::from(matches!(import?.ty, TypeRef::Table(_)));
                }
            }
            Payload::TableSection(section) => {
                for (index, table) in (tables..).zip(section) {
                    if matches!(table?.init, TableInit::Expr(_)) {
                        needed.push(Called::Thunk(ThunkKind::TableFill(TableIdx::new(index))));
                    }
                }
            }
            Payload::StartSection { func, .. } => start = Some(Called::Start(FuncIdx::new(func))),
            Payload::ElementSection(section) => {
                for (index, element) in (0..).zip(section) {
                    let elem = ElemIdx::new(index);
                    match element?.kind {
                        ElementKind::Passive => continue,
                        ElementKind::Declared => {}
                        ElementKind::Active { table_index, .. } => {
                            let table = TableIdx::new(table_index.unwrap_or(0));
                            needed.push(Called::Thunk(ThunkKind::TableInit { table, elem }));
                        }
                    }
                    needed.push(Called::Thunk(ThunkKind::ElemDrop(elem)));
                }
            }
            Payload::DataSection(section) => {
                for (index, segment) in (0..).zip(section) {
                    let data = DataIdx::new(index);
                    if let DataKind::Active { memory_index, .. } = segment?.kind {
                        let memory = MemoryIdx::new(memory_index);
                        needed.push(Called::Thunk(ThunkKind::MemoryInit { memory, data }));
                        needed.push(Called::Thunk(ThunkKind::DataDrop(data)));
                    }
                }
            }
            _ => {}
        }
    }
    needed.extend(start);
    Ok(needed)
}
