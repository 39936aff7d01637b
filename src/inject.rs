//! Faults put into an image on purpose, to see them caught.
//!
//! A *code* fault ([`code`](mod@code)) turns one native instruction that belongs to a Wasm
//! instruction into another valid one of the same length, the way a compiler
//! that selects, allocates or encodes wrongly would; `every` makes it at all places of
//! one Wasm instruction, which is a compiler with a bug. A *map* fault ([`map`](mod@map))
//! changes where the map says that a slot is; a *label* fault takes that away, as when a
//! compiler forgets which value is in a register; a *boundary* fault is about its anchor, a
//! *frame* fault about the frame address. A *stable* fault ([`stable`]) is about what
//! is compiled in at a stable point. Everything else stays as it was: the
//! fault is in the image before the subject starts, and nothing in the
//! comparison knows of it.

pub mod code;
pub mod instantiate;
pub mod map;
pub mod stable;

use self::code::{CodeFault, mutate};
use self::map::{BoundaryFault, displaced};
use crate::error::CommandError;
use crate::lockstep::stops::{parse_boundary, parse_offset};
use aot_backend::Image;
use dwarf_map::{Anchor, BoundaryMap, CodeOffset, FunctionMap, Location, Reason};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use oracle_interp::Module;
use stable::StableFault;
use std::collections::BTreeMap;
use std::fmt;
use wasm_view::{FuncIdx, SlotIdx, WasmOffset};

/// A fault, as `--inject` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `code:FUNC:OFFSET:KIND`
    Code {
        /// The function.
        func: FuncIdx,
        /// The Wasm instruction.
        offset: WasmOffset,
        /// What is done to its native code.
        kind: CodeFault,
    },
    /// `map:FUNC:OFFSET:SLOT`
    Map {
        /// The function.
        func: FuncIdx,
        /// The boundary.
        offset: WasmOffset,
        /// The slot.
        slot: SlotIdx,
    },
    /// `label:FUNC:OFFSET:SLOT`
    Label {
        /// The function.
        func: FuncIdx,
        /// The boundary.
        offset: WasmOffset,
        /// The slot.
        slot: SlotIdx,
    },
    /// `boundary:FUNC:OFFSET:KIND`
    Boundary {
        /// The function.
        func: FuncIdx,
        /// The boundary.
        offset: WasmOffset,
        /// What is wrong with it.
        kind: BoundaryFault,
    },
    /// `frame:FUNC:OFFSET:cfa`: the frame address is wrong, there and in all of the
    /// function.
    Frame {
        /// The function.
        func: FuncIdx,
        /// A boundary.
        offset: WasmOffset,
    },
    /// `stable:FUNC:OFFSET:KIND`
    Stable {
        /// The function.
        func: FuncIdx,
        /// The stable point.
        offset: WasmOffset,
        /// What is wrong with it.
        kind: StableFault,
    },
    /// `every:INSTRUCTION:KIND`: a compiler that gets one instruction wrong
    /// wherever it can be got wrong so.
    Every {
        /// The instruction, as the text format has it: `i32.mul`.
        instruction: String,
        /// What is done to its native code.
        kind: CodeFault,
    },
    /// `instantiate:NUMBER:KIND`, see [`instantiate`].
    Instantiate {
        /// Which of the native instructions.
        number: u32,
        /// What is done to it.
        kind: CodeFault,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Code { func, offset, kind } => write!(f, "code:{func}:{offset}:{}", kind.name()),
            Fault::Map { func, offset, slot } => write!(f, "map:{func}:{offset}:{}", slot.get()),
            Fault::Label { func, offset, slot } => {
                write!(f, "label:{func}:{offset}:{}", slot.get())
            }
            Fault::Boundary { func, offset, kind } => {
                write!(f, "boundary:{func}:{offset}:{}", kind.name())
            }
            Fault::Frame { func, offset } => write!(f, "frame:{func}:{offset}:cfa"),
            Fault::Stable { func, offset, kind } => {
                write!(f, "stable:{func}:{offset}:{}", kind.name())
            }
            Fault::Every { instruction, kind } => {
                write!(f, "every:{instruction}:{}", kind.name())
            }
            Fault::Instantiate { number, kind } => {
                write!(f, "instantiate:{number}:{}", kind.name())
            }
        }
    }
}

/// A fault that was put in.
#[derive(Clone, Debug)]
pub struct Injected {
    /// For a code fault, the native instruction: its code and its length.
    pub code: Option<(CodeOffset, usize)>,
    /// What was there and what is there now, for people.
    pub change: String,
}

impl Fault {
    /// Reads `--inject`.
    ///
    /// # Errors
    /// Anything that names no fault of this image, with what would.
    pub fn parse(text: &str, module: &Module, image: &Image) -> Result<Fault, CommandError> {
        let shape = || {
            CommandError::input(format_args!(
                "--inject {text}: expected code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT, label:FUNC:OFFSET:SLOT, boundary:FUNC:OFFSET:KIND, frame:FUNC:OFFSET:cfa, stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND"
            ))
        };
        let (sort, rest) = text.split_once(':').ok_or_else(shape)?;
        let (place, last) = rest.rsplit_once(':').ok_or_else(shape)?;
        if sort == "every" {
            let kind = code_kind(text, last)?;
            return Ok(Fault::Every { instruction: place.to_owned(), kind });
        }
        if sort == "instantiate" {
            let (number, kind) = (place.parse().map_err(|_| shape())?, code_kind(text, last)?);
            return Ok(Fault::Instantiate { number, kind });
        }
        let (func, offset) = parse_boundary(place, module, &image.map)?;
        match sort {
            "code" => {
                let kind = code_kind(text, last)?;
                Ok(Fault::Code { func, offset, kind })
            }
            "map" => {
                let slot = parse_slot(last, func, offset, image)?;
                Ok(Fault::Map { func, offset, slot })
            }
            "label" => {
                let slot = parse_slot(last, func, offset, image)?;
                Ok(Fault::Label { func, offset, slot })
            }
            "boundary" => {
                let kind = one_of(text, last, &BoundaryFault::ALL, |kind| kind.name())?;
                Ok(Fault::Boundary { func, offset, kind })
            }
            "frame" if last == "cfa" => Ok(Fault::Frame { func, offset }),
            "stable" => {
                let kind = one_of(text, last, &StableFault::ALL, |kind| kind.name())?;
                Ok(Fault::Stable { func, offset, kind })
            }
            _ => Err(shape()),
        }
    }

    /// The function that it is in, if it is in one.
    pub fn func(&self) -> Option<FuncIdx> {
        self.place().map(|(func, _)| func)
    }

    /// The function and the boundary that it is about, if it is about one.
    pub fn place(&self) -> Option<(FuncIdx, WasmOffset)> {
        match *self {
            Fault::Code { func, offset, .. }
            | Fault::Map { func, offset, .. }
            | Fault::Label { func, offset, .. }
            | Fault::Boundary { func, offset, .. }
            | Fault::Frame { func, offset }
            | Fault::Stable { func, offset, .. } => Some((func, offset)),
            Fault::Every { .. } | Fault::Instantiate { .. } => None,
        }
    }

    /// Puts the fault into an image.
    ///
    /// # Errors
    /// No native instruction there can be changed so; the slot has no location.
    pub fn inject(&self, image: &mut Image) -> Result<Injected, CommandError> {
        match *self {
            Fault::Code { func, offset, kind } => {
                let mut candidates = instructions_of(image, func, offset)?;
                // Stores to the native frame last: most only keep a value alive.
                candidates.sort_by_key(stores_to_frame);
                let found = candidates.iter().find_map(|at| Some((at, mutate(at, kind)?)));
                let Some((old, bytes)) = found else {
                    let fit: Vec<&str> = CodeFault::ALL
                        .into_iter()
                        .filter(|kind| candidates.iter().any(|at| mutate(at, *kind).is_some()))
                        .map(CodeFault::name)
                        .collect();
                    return Err(CommandError::input(format_args!(
                        "--inject {self}: none of its {} native instructions can be changed so; possible there: {}",
                        candidates.len(),
                        if fit.is_empty() { "nothing".into() } else { fit.join(", ") }
                    )));
                };
                change(image, old, &bytes)
            }
            Fault::Instantiate { number, kind } => instantiate::inject(image, number, kind),
            Fault::Map { func, offset, slot } => {
                let expressions = function(image, func)?.expressions.clone();
                let boundary = boundary_mut(image, func, offset)?;
                let location = boundary.locations.get_mut(slot.index());
                let moved =
                    location.as_ref().and_then(|location| displaced(**location, &expressions));
                let (Some(location), Some(moved)) = (location, moved) else {
                    return Err(CommandError::input(format_args!(
                        "--inject {self}: the map has no location for that slot"
                    )));
                };
                let change = format!("{location:?} -> {moved:?}");
                *location = moved;
                Ok(Injected { code: None, change })
            }
            Fault::Label { func, offset, slot } => {
                let boundary = boundary_mut(image, func, offset)?;
                let location = boundary.locations.get_mut(slot.index());
                let known =
                    |location: &&mut Location| !matches!(location, Location::Unavailable(_));
                let Some(location) = location.filter(known) else {
                    return Err(CommandError::input(format_args!(
                        "--inject {self}: the map has no location for that slot"
                    )));
                };
                let change = format!("{location:?} -> unavailable");
                *location = Location::Unavailable(Reason::NoLongerLive);
                Ok(Injected { code: None, change })
            }
            Fault::Boundary { func, offset, kind } => {
                let change = kind.inject(image, func, offset)?;
                Ok(Injected { code: None, change })
            }
            Fault::Frame { func, offset } => {
                let change = map::inject_frame(image, func, offset)?;
                Ok(Injected { code: None, change })
            }
            Fault::Stable { func, offset, kind } => {
                let change = kind.inject(image, func, offset)?;
                Ok(Injected { code: None, change })
            }
            Fault::Every { ref instruction, kind } => {
                let places = places_of(image, instruction);
                let mut changed = 0;
                for &(func, offset) in &places {
                    changed +=
                        usize::from(Fault::Code { func, offset, kind }.inject(image).is_ok());
                }
                let change = format!("{changed} of {} places", places.len());
                Ok(Injected { code: None, change })
            }
        }
    }
}

/// Puts bytes in the place of a native instruction.
fn change(image: &mut Image, old: &Instruction, bytes: &[u8]) -> Result<Injected, CommandError> {
    let at = CodeOffset::new((old.ip() - image.text_address.get()) as u32);
    patch(image, at, bytes)?;
    let new = decode(image, at, bytes.len());
    Ok(Injected {
        code: Some((at, bytes.len())),
        change: format!("{old} -> {}", new.map(|new| new.to_string()).join("; ")),
    })
}

/// Where an instruction is, by its name in the text format.
fn places_of(image: &Image, instruction: &str) -> Vec<(FuncIdx, WasmOffset)> {
    let is = |offset: WasmOffset| {
        let text = image.listing.text_at(offset).unwrap_or_default();
        text.split_whitespace().next() == Some(instruction)
    };
    let all = image.map.functions.iter().flat_map(|function| {
        function.boundaries.iter().map(|boundary| (function.func, boundary.offset))
    });
    all.filter(|(_, offset)| is(*offset)).collect()
}

fn code_kind(text: &str, name: &str) -> Result<CodeFault, CommandError> {
    one_of(text, name, &CodeFault::ALL, |kind| kind.name())
}

/// The kind of that name.
fn one_of<K: Copy>(
    text: &str,
    name: &str,
    all: &[K],
    name_of: impl Fn(K) -> &'static str,
) -> Result<K, CommandError> {
    all.iter().copied().find(|kind| name_of(*kind) == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|kind| name_of(*kind)).collect();
        CommandError::input(format_args!(
            "--inject {text}: no kind {name}; there are {}",
            names.join(", ")
        ))
    })
}

trait JoinText {
    fn join(self, separator: &str) -> String;
}

impl<I: Iterator<Item = String>> JoinText for I {
    fn join(self, separator: &str) -> String {
        self.collect::<Vec<_>>().join(separator)
    }
}

/// `localN`, `stackN` or a slot's number.
fn parse_slot(
    text: &str,
    func: FuncIdx,
    offset: WasmOffset,
    image: &Image,
) -> Result<SlotIdx, CommandError> {
    let function = function(image, func)?;
    let locals = function.locals.len() as u32;
    let slots = function
        .boundaries
        .iter()
        .find(|boundary| boundary.offset == offset)
        .map_or(0, |boundary| boundary.locations.len());
    let number = |digits: &str| parse_offset(digits).ok().map(WasmOffset::get);
    let slot = match (text.strip_prefix("local"), text.strip_prefix("stack")) {
        (Some(index), _) => number(index).filter(|index| *index < locals),
        (_, Some(depth)) => number(depth).and_then(|depth| depth.checked_add(locals)),
        _ => number(text),
    };
    slot.filter(|slot| (*slot as usize) < slots).map(SlotIdx::new).ok_or_else(|| {
        CommandError::input(format_args!(
            "--inject: {text} is no slot of that boundary; it has {locals} locals (local0..) and {} operands (stack0..)",
            slots.saturating_sub(locals as usize)
        ))
    })
}

fn function(image: &Image, func: FuncIdx) -> Result<&FunctionMap, CommandError> {
    let found = image.map.functions.iter().find(|function| function.func == func);
    found.ok_or_else(|| CommandError::input(format_args!("function {func} is imported")))
}

fn boundary_mut(
    image: &mut Image,
    func: FuncIdx,
    offset: WasmOffset,
) -> Result<&mut BoundaryMap, CommandError> {
    let function = image.map.functions.iter_mut().find(|function| function.func == func);
    function
        .and_then(|function| function.boundaries.iter_mut().find(|b| b.offset == offset))
        .ok_or_else(|| CommandError::input(format_args!("no boundary at {offset} of {func}")))
}

/// The native instructions of a Wasm instruction, by address: those that can be
/// executed between its anchor and the next one. Found along the control flow:
/// what merely lies behind may be another instruction's, a table or constants.
///
/// # Errors
/// A boundary that the compiler eliminated.
pub fn instructions_of(
    image: &Image,
    func: FuncIdx,
    offset: WasmOffset,
) -> Result<Vec<Instruction>, CommandError> {
    let function = function(image, func)?;
    let anchor = function.boundaries.iter().find(|b| b.offset == offset).map(|b| b.anchor);
    let others: Vec<u64> = function
        .boundaries
        .iter()
        .filter(|each| each.offset != offset)
        .filter_map(|each| Some(each.anchor.pc()?.at(image.text_address).get()))
        .collect();
    let first = match anchor {
        Some(Anchor::Trap(pc)) => pc.at(image.text_address).get() + 1,
        Some(Anchor::Instruction(pc)) => pc.at(image.text_address).get(),
        Some(Anchor::Merged | Anchor::Threaded) => {
            return Err(CommandError::input(format_args!(
                "{offset} of {func} has no place of its own in this code"
            )));
        }
        Some(Anchor::Eliminated) | None => {
            return Err(CommandError::input(format_args!(
                "the compiler eliminated {offset} of {func}"
            )));
        }
    };
    let code = function.code.start.at(image.text_address).get()
        ..function.code.end.at(image.text_address).get();
    let mut found = BTreeMap::new();
    let mut open = vec![first];
    while let Some(address) = open.pop() {
        if !code.contains(&address) || found.contains_key(&address) || others.contains(&address) {
            continue;
        }
        let at = CodeOffset::new((address - image.text_address.get()) as u32);
        let rest = (code.end - address) as usize;
        let Some(instruction) = decode(image, at, rest).next() else { continue };
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => open.push(next),
            FlowControl::UnconditionalBranch => open.push(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => {
                open.extend([next, instruction.near_branch_target()]);
            }
            // `int3`: another boundary begins.
            FlowControl::Interrupt => continue,
            _ => {}
        }
        found.insert(address, instruction);
    }
    Ok(found.into_values().collect())
}

fn decode(image: &Image, at: CodeOffset, length: usize) -> impl Iterator<Item = Instruction> + '_ {
    let from = at.get() as usize;
    let bytes = image.text.get(from..from + length).unwrap_or_default();
    let ip = at.at(image.text_address).get();
    let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

/// Replaces code in the image: in its text and in its file.
fn patch(image: &mut Image, at: CodeOffset, bytes: &[u8]) -> Result<(), CommandError> {
    let file = crate::lockstep::space::text_file_offset(image)? as usize;
    let from = at.get() as usize;
    let gone = || CommandError::bug("a fault outside of the code");
    image.text.get_mut(from..from + bytes.len()).ok_or_else(gone)?.copy_from_slice(bytes);
    let from = file + from;
    image.elf.get_mut(from..from + bytes.len()).ok_or_else(gone)?.copy_from_slice(bytes);
    Ok(())
}

fn pad(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0x90);
    bytes
}

fn stores_to_frame(instruction: &Instruction) -> bool {
    instruction.op_count() == 2
        && instruction.op0_kind() == OpKind::Memory
        && matches!(instruction.memory_base(), Register::RSP | Register::RBP)
        && instruction.memory_index() == Register::None
}
