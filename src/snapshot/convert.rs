//! `wdiff snapshot convert`: what an interpreter has, as a snapshot.
//!
//! Interpreters keep a program's frames as cells without types; each in its own
//! way, but every one of them as locals, then operands:
//!
//! | runtime | a cell | 64 bits, 128 bits | a null reference | other references |
//! |---|---|---|---|---|
//! | `wamr`, the classic interpreter | 4 bytes | 2, 4 cells, low one first | all bits 1 | index of a function |
//! | `wasmedge` | 16 bytes | 1 cell, low bytes first | type, then 0 | a pointer: refused |
//! | `wasm3` | 4 bytes | 2 cells, any numbers, low one first | 0 | a pointer: refused |
//!
//! What the cells mean, validation says: the map has the types of the locals and of
//! the operands at each boundary. So nothing is needed of a runtime but its cells,
//! where each frame stands, and its memories and globals. wasm3 gives operands slots as
//! a register allocator would, so that a frame of it says in which slot each value is.
//!
//! The input is JSON, since none of them has a format of its own for this:
//!
//! ```json
//! {"frames": [{"func": 1, "offset": 80, "cells": "0a000000"}],
//!  "memories": [{"bytes": 65536, "runs": [[1024, "00ff"]]}],
//!  "globals": ["0100000000000000"]}
//! ```
//! `cells` and values are bytes in hexadecimal, as they lie in memory; frames come outermost
//! first, `offset` is that in the module file: of an outer frame its call, whose
//! arguments are popped. A frame of wasm3 has `slots`, too. Tables are those of a
//! fresh instance. What comes of it is checked as any snapshot is.

use super::fit;
use crate::cli::{ConvertArgs, Opt, Runtime};
use crate::error::CommandError;
use crate::lockstep::handover::clear_dead;
use crate::migrate::compile;
use crate::migrate::relay::dead_slots;
use crate::program::{self, Program};
use crate::refuse;
use crate::session::limits;
use aot_backend::{Isa, Restorable, StablePoints};
use dwarf_map::{FunctionMap, ImageMap, erased};
use oracle_interp::{Extern, InstantiateError, Liveness, Oracle};
use serde::Deserialize;
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{Boundary, Frame, FuncAddr, FuncIdx, InstanceId, ValType, Value, WasmOffset};

/// What was recorded of a runtime.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Frames, outermost first.
    pub frames: Vec<Cells>,
    /// Linear memories, by index.
    #[serde(default)]
    pub memories: Vec<RecordedMemory>,
    /// Globals, by index: 4, 8 or 16 bytes in hexadecimal.
    #[serde(default)]
    pub globals: Vec<String>,
}

/// A frame as the runtime has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cells {
    /// The function's index.
    pub func: u32,
    /// The instruction, in the module file.
    pub offset: u32,
    /// The cells' bytes in hexadecimal.
    pub cells: String,
    /// Of wasm3: the number of the cell that each value begins in.
    #[serde(default)]
    pub slots: Option<Vec<usize>>,
}

/// A memory: what is not in a run is zero.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedMemory {
    /// Its size.
    pub bytes: usize,
    /// Addresses and contents in hexadecimal.
    pub runs: Vec<(usize, String)>,
}

/// Runs the subcommand.
///
/// # Errors
/// What was not recorded of this program.
pub fn main(args: &ConvertArgs) -> Result<u8, CommandError> {
    refuse::sides(&args.backend)?;
    let text = std::fs::read(&args.file).map_err(|e| CommandError::file("read", &args.file, e))?;
    let bad = |what: String| CommandError::input(format_args!("{}: {what}", args.file.display()));
    let recorded: Recorded =
        serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    let program = program::load(&args.module)?;
    let side = (Isa::X86_64, Opt::None);
    let image = compile(&program, side, StablePoints::Calls, &args.backend, Restorable::All)?;
    let snapshot = convert(&program, &image.map, args.from, &recorded).map_err(bad)?;
    fit(&program, &snapshot).map_err(bad)?;
    let bytes = snapshot::write(&snapshot);
    std::fs::write(&args.output, bytes)
        .map_err(|e| CommandError::file("write", &args.output, e))?;
    Ok(0)
}

/// A snapshot of what was recorded.
///
/// # Errors
/// What does not fit the program, by name.
pub fn convert(
    program: &Program,
    map: &ImageMap,
    runtime: Runtime,
    recorded: &Recorded,
) -> Result<Snapshot, String> {
    let mut oracle = Oracle::new(limits());
    let imports = vec![Extern::HostFunc; program.module.imports().len()];
    match oracle.instantiate(program.module.clone(), &imports) {
        Ok(_) | Err(InstantiateError::Trap { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut store = oracle.view();
    if recorded.memories.len() != store.memories.len() {
        return Err(format!(
            "{} memories; the program has {}",
            recorded.memories.len(),
            store.memories.len()
        ));
    }
    for (memory, recorded) in store.memories.iter_mut().zip(&recorded.memories) {
        if recorded.bytes as u64 > super::MOST_MEMORY {
            return Err("a memory of more than 4 GiB".to_owned());
        }
        memory.bytes = vec![0; recorded.bytes];
        for (address, run) in &recorded.runs {
            let run = unhex(run)?;
            let end = address.checked_add(run.len());
            let place = end.and_then(|end| memory.bytes.get_mut(*address..end));
            place.ok_or("a run beyond its memory")?.copy_from_slice(&run);
        }
    }
    if recorded.globals.len() != store.globals.len() {
        return Err(format!(
            "{} globals; the program has {}",
            recorded.globals.len(),
            store.globals.len()
        ));
    }
    for ((ty, value), recorded) in store.globals.iter_mut().zip(&recorded.globals) {
        let bytes = unhex(recorded)?;
        let size = Layout::of(runtime).size(ty.content);
        if bytes.len() < size {
            return Err("a global of too few bytes".to_owned());
        }
        *value = Layout::of(runtime).value(ty.content, &bytes[..size])?;
    }
    let mut dead = Vec::new();
    for (depth, cells) in recorded.frames.iter().enumerate() {
        let mut frame =
            typed(map, runtime, cells).map_err(|what| format!("frame {depth}: {what}"))?;
        // An interpreter keeps what is dead; nobody who restores it does.
        let known = Liveness::compute(&program.module, frame.boundary.func);
        let flags = dead_slots(known.as_ref(), &frame);
        clear_dead(&mut frame, &flags);
        dead.push(flags);
        store.frames.push(frame);
    }
    Ok(Snapshot {
        taken_by: runtime.name().to_owned(),
        modules: vec![program.sha256],
        store,
        dead,
        ..Snapshot::default()
    })
}

/// A frame with the types that the map has where it stands.
fn typed(map: &ImageMap, runtime: Runtime, cells: &Cells) -> Result<Frame, String> {
    let (func, offset) = (FuncIdx::new(cells.func), WasmOffset::new(cells.offset));
    let function: &FunctionMap = map
        .functions
        .iter()
        .find(|function| function.func == func)
        .ok_or("no such function of the program's own")?;
    let boundary = function.boundaries.iter().find(|each| each.offset == offset);
    let boundary = boundary.ok_or("no reachable instruction begins there")?;
    let layout = Layout::of(runtime);
    let bytes = unhex(&cells.cells)?;
    let mut next = 0;
    let mut slots = cells.slots.iter().flatten();
    // Of an outer frame there are fewer operands: those of its call are popped.
    let mut take = |ty: ValType| -> Result<Option<Value>, String> {
        let size = layout.size(ty);
        let at = match &cells.slots {
            None => next,
            Some(_) => match slots.next() {
                Some(slot) => slot.saturating_mul(layout.cell),
                None => return Ok(None),
            },
        };
        let Some(place) = at.checked_add(size).and_then(|end| bytes.get(at..end)) else {
            return match cells.slots {
                None if at == bytes.len() => Ok(None),
                _ => Err("a cell beyond its cells".to_owned()),
            };
        };
        next = at + size;
        layout.value(ty, place).map(Some)
    };
    let mut locals = Vec::new();
    for &ty in &function.locals {
        let value = take(ty)?.ok_or("fewer cells than its locals take")?;
        locals.push((ty, value));
    }
    let mut operands = Vec::new();
    for &ty in &boundary.operands {
        let Some(value) = take(ty)? else { break };
        operands.push((ty, value));
    }
    if cells.slots.is_none() && next != bytes.len() || slots.next().is_some() {
        return Err("more cells than its locals and operands take".to_owned());
    }
    let boundary = Boundary { instance: InstanceId::new(0), func, offset };
    Ok(Frame { boundary, locals, operands })
}

/// How a runtime lays out values.
struct Layout {
    runtime: Runtime,
    /// Bytes of a cell.
    cell: usize,
}

impl Layout {
    fn of(runtime: Runtime) -> Layout {
        let cell = match runtime {
            Runtime::Wamr | Runtime::Wasm3 => 4,
            Runtime::Wasmedge => 16,
        };
        Layout { runtime, cell }
    }

    /// Bytes of the cells of a value.
    fn size(&self, ty: ValType) -> usize {
        let bytes = match (ty, self.runtime) {
            // An index; elsewhere a pointer.
            (ValType::Ref(_), Runtime::Wamr) => 4,
            (ValType::Ref(_), _) => 8,
            _ => ty.bytes(),
        };
        bytes.next_multiple_of(self.cell)
    }

    fn value(&self, ty: ValType, bytes: &[u8]) -> Result<Value, String> {
        let mut whole = [0; 16];
        whole[..bytes.len().min(16)].copy_from_slice(&bytes[..bytes.len().min(16)]);
        let bits = u128::from_le_bytes(whole);
        let ty = match ty {
            ValType::I32 => return Ok(Value::I32(bits as u32)),
            ValType::I64 => return Ok(Value::I64(bits as u64)),
            ValType::F32 => return Ok(Value::F32(bits as u32)),
            ValType::F64 => return Ok(Value::F64(bits as u64)),
            ValType::V128 => return Ok(Value::V128(bits)),
            ValType::Ref(_) => erased(ty),
        };
        let null = match self.runtime {
            Runtime::Wamr => bits as u32 == u32::MAX,
            // The type comes before the pointer.
            Runtime::Wasmedge => bits >> 64 == 0,
            Runtime::Wasm3 => bits as u64 == 0,
        };
        match (null, ty, self.runtime) {
            (true, ..) => Ok(Value::default_of(ty)),
            (false, ValType::FUNCREF, Runtime::Wamr) => Ok(Value::FuncRef(Some(FuncAddr {
                instance: InstanceId::new(0),
                func: FuncIdx::new(bits as u32),
            }))),
            _ => Err(format!("a reference that only {} understands", self.runtime.name())),
        }
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| "bytes that are not hexadecimal".to_owned())
}
