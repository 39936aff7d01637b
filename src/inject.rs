//! Faults put into an image on purpose, to see them caught.
//!
//! A *code* fault turns one native instruction that belongs to a Wasm
//! instruction into another valid one of the same length, the way a compiler
//! that selects, allocates or encodes wrongly would; `every` makes it at all places of
//! one Wasm instruction, which is a compiler with a bug. A *map* fault changes
//! where the map says that a slot is; a *label* fault takes that away, as when a
//! compiler forgets which value is in a register. A *stable* fault ([`stable`]) is about what
//! is compiled in at a stable point. Everything else stays as it was: the
//! fault is in the image before the subject starts, and nothing in the
//! comparison knows of it.

pub mod instantiate;
pub mod stable;

use crate::error::CommandError;
use crate::lockstep::stops::{parse_boundary, parse_offset};
use aot_backend::Image;
use dwarf_map::{
    Anchor, BoundaryMap, CodeOffset, DwarfReg, Expression, FunctionMap, Input, Location, Reason,
};
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, Mnemonic,
    OpKind, Register,
};
use oracle_interp::Module;
use stable::StableFault;
use std::collections::BTreeMap;
use std::fmt;
use wasm_view::{Cell, FuncIdx, SlotIdx, WasmOffset};

/// What a code fault does to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeFault {
    /// A source operand is read from another register.
    Operand,
    /// The result goes to another register.
    Destination,
    /// The instruction is not there.
    Drop,
    /// A sign extension becomes a zero extension or the other way round.
    Extension,
    /// The two operands change places.
    Swap,
    /// An immediate is one more.
    Constant,
    /// A memory operand lies eight bytes, or one, further on.
    Displacement,
    /// A condition is inverted.
    Condition,
    /// Another operation of the same form.
    Operation,
    /// The upper half of a 64-bit operation is lost.
    Width,
    /// An index is scaled otherwise.
    Scale,
}

impl CodeFault {
    /// Every kind.
    pub const ALL: [CodeFault; 11] = [
        CodeFault::Operand,
        CodeFault::Destination,
        CodeFault::Drop,
        CodeFault::Extension,
        CodeFault::Swap,
        CodeFault::Constant,
        CodeFault::Displacement,
        CodeFault::Condition,
        CodeFault::Operation,
        CodeFault::Width,
        CodeFault::Scale,
    ];

    /// The spelling on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            CodeFault::Operand => "operand",
            CodeFault::Destination => "destination",
            CodeFault::Drop => "drop",
            CodeFault::Extension => "extension",
            CodeFault::Swap => "swap",
            CodeFault::Constant => "constant",
            CodeFault::Displacement => "displacement",
            CodeFault::Condition => "condition",
            CodeFault::Operation => "operation",
            CodeFault::Width => "width",
            CodeFault::Scale => "scale",
        }
    }
}

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
                "--inject {text}: expected code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT, label:FUNC:OFFSET:SLOT, stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND"
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
            "stable" => {
                let kind = StableFault::ALL.into_iter().find(|kind| kind.name() == last);
                let kind = kind.ok_or_else(|| {
                    let names: Vec<&str> =
                        StableFault::ALL.iter().map(|kind| kind.name()).collect();
                    CommandError::input(format_args!(
                        "--inject {text}: no kind {last}; there are {}",
                        names.join(", ")
                    ))
                })?;
                Ok(Fault::Stable { func, offset, kind })
            }
            _ => Err(shape()),
        }
    }

    /// The function that it is in, if it is in one.
    pub fn func(&self) -> Option<FuncIdx> {
        match *self {
            Fault::Code { func, .. }
            | Fault::Map { func, .. }
            | Fault::Label { func, .. }
            | Fault::Stable { func, .. } => Some(func),
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
    CodeFault::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<&str> = CodeFault::ALL.iter().map(|kind| kind.name()).collect();
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

/// Another location for a slot, as a wrong map of a function with these
/// expressions would have it; `None` when it has none.
pub fn displaced(location: Location, expressions: &[Expression]) -> Option<Location> {
    Some(match location {
        // Not rsp and not rbp: their neighbours instead.
        Location::Register(DwarfReg(number)) if number < 16 => {
            let next = (number + 1) % 16;
            Location::Register(DwarfReg(if matches!(next, 6 | 7) { 8 } else { next }))
        }
        Location::Register(DwarfReg(number)) => {
            Location::Register(DwarfReg(17 + (number - 17 + 1) % 16))
        }
        Location::CfaOffset(offset) => Location::CfaOffset(offset - 8),
        Location::Constant(cell) => Location::Constant(Cell(cell.0 ^ 1)),
        // Where something is that it is computed from.
        Location::Derived(index) => match expressions.get(index.index())?.inputs().next()? {
            Input::Register(register) => Location::Register(register),
            Input::Frame(offset) => Location::CfaOffset(offset),
        },
        Location::Unavailable(_) => return None,
    })
}

/// The bytes of a changed instruction, as long as the old one; `None` when the
/// kind does not apply or the result would not fit.
pub fn mutate(old: &Instruction, kind: CodeFault) -> Option<Vec<u8>> {
    // Frames and stacks stay intact: those faults end in a crash, not in a
    // wrong value.
    if touches_stack(old) || old.mnemonic() == Mnemonic::Nop || old.mnemonic() == Mnemonic::Ud2 {
        return None;
    }
    if kind == CodeFault::Drop {
        return (old.flow_control() == FlowControl::Next).then(|| pad(Vec::new(), old.len()));
    }
    let mut new = *old;
    match kind {
        CodeFault::Operand => change_source(&mut new)?,
        CodeFault::Destination => {
            let plain = old.op_count() >= 1 && old.op0_kind() == OpKind::Register;
            let writes = !matches!(
                old.mnemonic(),
                Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Ucomisd | Mnemonic::Ucomiss
            );
            if !plain || !writes || old.flow_control() != FlowControl::Next {
                return None;
            }
            new.set_op0_register(neighbour(old.op0_register())?);
        }
        CodeFault::Extension => new.set_code(other_extension(old.code())?),
        CodeFault::Swap => {
            let registers = old.op_count() == 2
                && old.op0_kind() == OpKind::Register
                && old.op1_kind() == OpKind::Register;
            let commutes = matches!(old.mnemonic(), Mnemonic::Test | Mnemonic::Xchg);
            let same_class = old.op0_register().size() == old.op1_register().size();
            if !registers || commutes || !same_class || old.op0_register() == old.op1_register() {
                return None;
            }
            new.set_op0_register(old.op1_register());
            new.set_op1_register(old.op0_register());
        }
        CodeFault::Constant => {
            let at = (0..old.op_count()).find(|op| is_immediate(old.op_kind(*op)))?;
            if old.flow_control() != FlowControl::Next {
                return None;
            }
            let value = old.immediate(at).wrapping_add(1);
            new.try_set_immediate_u64(at, value).ok()?;
        }
        CodeFault::Displacement => {
            let memory = (0..old.op_count()).any(|op| old.op_kind(op) == OpKind::Memory);
            if !memory
                || old.memory_base() == Register::RIP
                || old.mnemonic() == Mnemonic::Lea && old.memory_displ_size() == 0
            {
                return None;
            }
            let by = if old.memory_displ_size() == 0 { 1 } else { 8 };
            new.set_memory_displacement64(old.memory_displacement64().wrapping_add(by));
            if old.memory_displ_size() == 0 {
                new.set_memory_displ_size(1);
            }
        }
        CodeFault::Condition => {
            if old.condition_code() == ConditionCode::None {
                return None;
            }
            new.negate_condition_code();
        }
        CodeFault::Operation => new.set_code(other_operation(old.code())?),
        CodeFault::Width => new = narrowed(old)?,
        CodeFault::Scale => {
            if old.memory_index() == Register::None {
                return None;
            }
            new.set_memory_index_scale(if old.memory_index_scale() == 1 { 2 } else { 1 });
        }
        CodeFault::Drop => return None,
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&new, old.ip()).ok()?;
    let bytes = encoder.take_buffer();
    let changed = bytes.len() <= old.len();
    let again = Decoder::with_ip(64, &bytes, old.ip(), DecoderOptions::NONE).decode();
    (changed && !again.is_invalid() && again != *old).then(|| pad(bytes, old.len()))
}

fn pad(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0x90);
    bytes
}

fn touches_stack(instruction: &Instruction) -> bool {
    let stack =
        |register: Register| matches!(register.full_register(), Register::RSP | Register::RBP);
    let writes_stack = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && stack(instruction.op0_register());
    writes_stack
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call | Mnemonic::Ret | Mnemonic::Leave
        )
}

fn stores_to_frame(instruction: &Instruction) -> bool {
    instruction.op_count() == 2
        && instruction.op0_kind() == OpKind::Memory
        && matches!(instruction.memory_base(), Register::RSP | Register::RBP)
        && instruction.memory_index() == Register::None
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// The last register that is only read becomes another.
fn change_source(new: &mut Instruction) -> Option<()> {
    let count = new.op_count();
    let at = (1..count).rev().find(|op| new.op_kind(*op) == OpKind::Register)?;
    new.set_op_register(at, neighbour(new.op_register(at))?);
    Some(())
}

/// Another register of the same class that needs no longer encoding; never one
/// that holds the frame.
fn neighbour(register: Register) -> Option<Register> {
    const GROUPS: [&[Register]; 6] = [
        &[Register::RAX, Register::RCX, Register::RDX, Register::RBX, Register::RSI, Register::RDI],
        &[Register::EAX, Register::ECX, Register::EDX, Register::EBX, Register::ESI, Register::EDI],
        &[
            Register::R8,
            Register::R9,
            Register::R10,
            Register::R11,
            Register::R12,
            Register::R13,
            Register::R14,
            Register::R15,
        ],
        &[
            Register::R8D,
            Register::R9D,
            Register::R10D,
            Register::R11D,
            Register::R12D,
            Register::R13D,
            Register::R14D,
            Register::R15D,
        ],
        &[
            Register::XMM0,
            Register::XMM1,
            Register::XMM2,
            Register::XMM3,
            Register::XMM4,
            Register::XMM5,
            Register::XMM6,
            Register::XMM7,
        ],
        &[
            Register::XMM8,
            Register::XMM9,
            Register::XMM10,
            Register::XMM11,
            Register::XMM12,
            Register::XMM13,
            Register::XMM14,
            Register::XMM15,
        ],
    ];
    GROUPS.iter().find_map(|group| {
        let at = group.iter().position(|other| *other == register)?;
        Some(group[(at + 1) % group.len()])
    })
}

fn pair(code: Code, pairs: &[(Code, Code)]) -> Option<Code> {
    pairs.iter().find_map(|(a, b)| match code {
        _ if code == *a => Some(*b),
        _ if code == *b => Some(*a),
        _ => None,
    })
}

fn other_extension(code: Code) -> Option<Code> {
    pair(
        code,
        &[
            (Code::Movzx_r32_rm8, Code::Movsx_r32_rm8),
            (Code::Movzx_r32_rm16, Code::Movsx_r32_rm16),
            (Code::Movzx_r64_rm8, Code::Movsx_r64_rm8),
            (Code::Movzx_r64_rm16, Code::Movsx_r64_rm16),
            (Code::Movsxd_r64_rm32, Code::Mov_r64_rm64),
        ],
    )
}

fn other_operation(code: Code) -> Option<Code> {
    pair(
        code,
        &[
            (Code::Add_rm32_r32, Code::Sub_rm32_r32),
            (Code::Add_rm64_r64, Code::Sub_rm64_r64),
            (Code::Add_r32_rm32, Code::Sub_r32_rm32),
            (Code::Add_r64_rm64, Code::Sub_r64_rm64),
            (Code::Add_rm32_imm8, Code::Sub_rm32_imm8),
            (Code::Add_rm64_imm8, Code::Sub_rm64_imm8),
            (Code::Add_rm32_imm32, Code::Sub_rm32_imm32),
            (Code::Add_rm64_imm32, Code::Sub_rm64_imm32),
            (Code::And_rm32_r32, Code::Or_rm32_r32),
            (Code::And_rm64_r64, Code::Or_rm64_r64),
            (Code::And_r32_rm32, Code::Or_r32_rm32),
            (Code::And_r64_rm64, Code::Or_r64_rm64),
            (Code::And_rm32_imm8, Code::Or_rm32_imm8),
            (Code::And_rm64_imm8, Code::Or_rm64_imm8),
            (Code::And_rm32_imm32, Code::Or_rm32_imm32),
            (Code::Xor_r32_rm32, Code::Add_r32_rm32),
            (Code::Shl_rm32_CL, Code::Shr_rm32_CL),
            (Code::Shl_rm64_CL, Code::Shr_rm64_CL),
            (Code::Shl_rm32_imm8, Code::Shr_rm32_imm8),
            (Code::Shl_rm64_imm8, Code::Shr_rm64_imm8),
            (Code::Sar_rm32_CL, Code::Shr_rm32_CL),
            (Code::Sar_rm32_imm8, Code::Shr_rm32_imm8),
            (Code::Rol_rm32_CL, Code::Ror_rm32_CL),
            (Code::Addsd_xmm_xmmm64, Code::Subsd_xmm_xmmm64),
            (Code::Mulsd_xmm_xmmm64, Code::Divsd_xmm_xmmm64),
            (Code::Addss_xmm_xmmm32, Code::Subss_xmm_xmmm32),
            (Code::Mulss_xmm_xmmm32, Code::Divss_xmm_xmmm32),
            (Code::VEX_Vaddsd_xmm_xmm_xmmm64, Code::VEX_Vsubsd_xmm_xmm_xmmm64),
            (Code::VEX_Vmulsd_xmm_xmm_xmmm64, Code::VEX_Vdivsd_xmm_xmm_xmmm64),
            (Code::VEX_Vaddss_xmm_xmm_xmmm32, Code::VEX_Vsubss_xmm_xmm_xmmm32),
            (Code::VEX_Vmulss_xmm_xmm_xmmm32, Code::VEX_Vdivss_xmm_xmm_xmmm32),
            (Code::VEX_Vpaddb_xmm_xmm_xmmm128, Code::VEX_Vpsubb_xmm_xmm_xmmm128),
            (Code::Paddb_xmm_xmmm128, Code::Psubb_xmm_xmmm128),
            (Code::VEX_Vpaddw_xmm_xmm_xmmm128, Code::VEX_Vpsubw_xmm_xmm_xmmm128),
            (Code::Paddw_xmm_xmmm128, Code::Psubw_xmm_xmmm128),
            (Code::VEX_Vpaddd_xmm_xmm_xmmm128, Code::VEX_Vpsubd_xmm_xmm_xmmm128),
            (Code::Paddd_xmm_xmmm128, Code::Psubd_xmm_xmmm128),
            (Code::VEX_Vpaddq_xmm_xmm_xmmm128, Code::VEX_Vpsubq_xmm_xmm_xmmm128),
            (Code::Paddq_xmm_xmmm128, Code::Psubq_xmm_xmmm128),
            (Code::VEX_Vpand_xmm_xmm_xmmm128, Code::VEX_Vpor_xmm_xmm_xmmm128),
            (Code::Pand_xmm_xmmm128, Code::Por_xmm_xmmm128),
            (Code::VEX_Vpcmpeqb_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtb_xmm_xmm_xmmm128),
            (Code::Pcmpeqb_xmm_xmmm128, Code::Pcmpgtb_xmm_xmmm128),
            (Code::VEX_Vpcmpeqd_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtd_xmm_xmm_xmmm128),
            (Code::Pcmpeqd_xmm_xmmm128, Code::Pcmpgtd_xmm_xmmm128),
            (Code::VEX_Vpminsw_xmm_xmm_xmmm128, Code::VEX_Vpmaxsw_xmm_xmm_xmmm128),
            (Code::Pminsw_xmm_xmmm128, Code::Pmaxsw_xmm_xmmm128),
            (Code::VEX_Vaddps_xmm_xmm_xmmm128, Code::VEX_Vsubps_xmm_xmm_xmmm128),
            (Code::Addps_xmm_xmmm128, Code::Subps_xmm_xmmm128),
            (Code::VEX_Vaddpd_xmm_xmm_xmmm128, Code::VEX_Vsubpd_xmm_xmm_xmmm128),
            (Code::Addpd_xmm_xmmm128, Code::Subpd_xmm_xmmm128),
            (Code::VEX_Vmulps_xmm_xmm_xmmm128, Code::VEX_Vdivps_xmm_xmm_xmmm128),
            (Code::Mulps_xmm_xmmm128, Code::Divps_xmm_xmmm128),
            (Code::VEX_Vminps_xmm_xmm_xmmm128, Code::VEX_Vmaxps_xmm_xmm_xmmm128),
            (Code::Minps_xmm_xmmm128, Code::Maxps_xmm_xmmm128),
            (Code::VEX_Vpunpcklbw_xmm_xmm_xmmm128, Code::VEX_Vpunpckhbw_xmm_xmm_xmmm128),
            (Code::Punpcklbw_xmm_xmmm128, Code::Punpckhbw_xmm_xmmm128),
            (Code::VEX_Vpacksswb_xmm_xmm_xmmm128, Code::VEX_Vpackuswb_xmm_xmm_xmmm128),
            (Code::Packsswb_xmm_xmmm128, Code::Packuswb_xmm_xmmm128),
            (Code::Lzcnt_r32_rm32, Code::Tzcnt_r32_rm32),
            (Code::Lzcnt_r64_rm64, Code::Tzcnt_r64_rm64),
        ],
    )
}

/// The 32-bit form of a 64-bit instruction on registers.
fn narrowed(old: &Instruction) -> Option<Instruction> {
    let code = match old.code() {
        Code::Mov_r64_rm64 => Code::Mov_r32_rm32,
        Code::Mov_rm64_r64 => Code::Mov_rm32_r32,
        Code::Add_r64_rm64 => Code::Add_r32_rm32,
        Code::Add_rm64_r64 => Code::Add_rm32_r32,
        Code::Sub_r64_rm64 => Code::Sub_r32_rm32,
        Code::Sub_rm64_r64 => Code::Sub_rm32_r32,
        Code::And_r64_rm64 => Code::And_r32_rm32,
        Code::Or_r64_rm64 => Code::Or_r32_rm32,
        Code::Xor_r64_rm64 => Code::Xor_r32_rm32,
        Code::Imul_r64_rm64 => Code::Imul_r32_rm32,
        Code::Shl_rm64_imm8 => Code::Shl_rm32_imm8,
        Code::Shr_rm64_imm8 => Code::Shr_rm32_imm8,
        Code::Cmp_r64_rm64 => Code::Cmp_r32_rm32,
        Code::Cmp_rm64_r64 => Code::Cmp_rm32_r32,
        _ => return None,
    };
    let mut new = *old;
    new.set_code(code);
    for op in 0..old.op_count() {
        if old.op_kind(op) == OpKind::Register {
            new.set_op_register(op, old.op_register(op).full_register32());
        }
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0x40_1000, DecoderOptions::NONE).decode()
    }

    fn text(bytes: &[u8]) -> String {
        one(bytes).to_string()
    }

    #[test]
    fn each_kind_makes_a_valid_instruction_of_the_same_length() {
        // add eax,ecx; mov rax,[rdi+rcx*4+8]; jl; movsxd rax,ecx; add eax,5
        let cases: [(&[u8], CodeFault, &str); 6] = [
            (&[0x01, 0xc8], CodeFault::Operation, "sub eax,ecx"),
            (&[0x01, 0xc8], CodeFault::Swap, "add ecx,eax"),
            (&[0x48, 0x8b, 0x44, 0x8f, 0x08], CodeFault::Displacement, "mov rax,[rdi+rcx*4+10h]"),
            (&[0x48, 0x8b, 0x44, 0x8f, 0x08], CodeFault::Scale, "mov rax,[rdi+rcx+8]"),
            (&[0x7c, 0x10], CodeFault::Condition, "jge short 0000000000401012h"),
            (&[0x83, 0xc0, 0x05], CodeFault::Constant, "add eax,6"),
        ];
        for (bytes, kind, expected) in cases {
            let new = mutate(&one(bytes), kind).unwrap_or_else(|| panic!("{kind:?}"));
            assert_eq!(new.len(), bytes.len());
            assert_eq!(text(&new), expected);
        }
    }

    #[test]
    fn the_stack_stays_intact() {
        // push rbp; sub rsp,16
        for bytes in [&[0x55][..], &[0x48, 0x83, 0xec, 0x10]] {
            for kind in CodeFault::ALL {
                assert_eq!(mutate(&one(bytes), kind), None, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_displaced_location_is_another_one() {
        for number in (0..16).chain(17..33).filter(|n| !matches!(n, 6 | 7)) {
            let old = Location::Register(DwarfReg(number));
            let new = displaced(old, &[]);
            assert!(new.is_some() && new != Some(old));
        }
    }
}
