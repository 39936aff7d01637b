//! A small module that executes again what led to a divergence.
//!
//! ```text
//!   executed:  .. a  if  b  c  call f  d  e [wrong]          one activation
//!   cut:          (func (param ..) (result ..)               from any step on
//!                   b  c  call $stub  d  e  <the value>)
//! ```
//! The state before the first instruction is known, so whatever is read of it
//! becomes a parameter (locals, operands), an initial value (globals) or data
//! (memory). The path is known, so branches that were taken or not are made
//! straight: each that could have gone the other way still tests its condition,
//! and going there is a trap. Calls become calls of stubs that return and write
//! what the callee did. The last instruction is the one at fault; behind it, the
//! wrong value is returned, or, if it is a branch, where it went.
//!
//! Nothing here decides whether the cut still shows the fault: that is tried.

mod assemble;

use super::body::{Body, Op};
use super::compiler::Moved;
use super::encode::{self, bytes_of, constant, is_number, load_width, memarg_offset, sub_opcode};
use super::replay::Step;
use crate::program::Program;
use oracle_interp::Module;
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{BlockType, Encode, Instruction, MemArg};
use wasm_view::{AddressType, FuncIdx, TypeIdx, ValType, Value, WasmOffset};
use wasmparser::Operator;

/// Name under which the function is exported.
pub const EXPORT: &str = "f";
/// Most bytes that `memory.copy` may read in a cut.
const COPIED: u64 = 1024;

/// What a cut returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// The operand with so many others above it.
    Top(u32),
    /// A local of the program's function.
    Local(u32),
    /// A global of the program.
    Global(u32),
    /// What is in memory 0 from an address on.
    Memory(u64),
    /// Where the last instruction, a branch, goes.
    Branch,
    /// What the last instruction, a call, passes as this argument.
    Argument(u32),
    /// Nothing: whether it traps is the question.
    Nothing,
}

/// Which cut to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first step.
    pub first: usize,
    /// Steps to leave out.
    pub skip: BTreeSet<usize>,
    /// Operands of the first step, from the bottom, that are not needed.
    pub drop: usize,
    /// What to return.
    pub observe: Observe,
    /// Whether the value goes round a loop, once: a compiler keeps it where the
    /// operand was then, and takes other instructions for that.
    pub looped: bool,
}

/// A cut.
pub struct Cut {
    /// The module.
    pub program: Program,
    /// Where the program's instructions are in it.
    pub moved: Moved,
    /// What to call its only export with.
    pub args: Vec<Value>,
    /// Instructions of its function.
    pub instructions: u64,
}

/// Why there is no such cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCut {
    /// This step cannot be in one.
    Step(usize),
    /// The module would not be valid.
    Invalid,
}

/// What cuts are made of.
pub struct Cutter<'a> {
    /// The program.
    pub program: &'a Program,
    /// The function.
    pub body: &'a Body<'a>,
    /// Its number.
    pub func: FuncIdx,
    /// What was executed, the last one at fault.
    pub steps: &'a [Step],
    /// Bytes of memory 0.
    pub memory_len: u64,
}

/// A value's parameter or local in the cut, by the program's local.
#[derive(Default)]
struct Locals {
    params: Vec<(ValType, Value)>,
    locals: Vec<ValType>,
    names: BTreeMap<u32, Place>,
}

#[derive(Clone, Copy)]
enum Place {
    Param(u32),
    Local(u32),
}

/// A function that answers as a callee did.
struct Stub {
    params: Vec<ValType>,
    results: Vec<ValType>,
    code: Vec<u8>,
}

/// What is around the code of a cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Plain,
    /// A `return`: operands may be left below the result.
    Returning,
    /// A loop.
    Looped,
}

/// A cut being made.
struct Draft<'a> {
    cutter: &'a Cutter<'a>,
    memory: &'a [u8],
    first: &'a Step,
    locals: Locals,
    /// Encoded instructions and where they come from.
    code: Vec<(Vec<u8>, Option<WasmOffset>)>,
    globals: Vec<(u32, ValType, Value)>,
    stubs: Vec<Stub>,
    reads: BTreeMap<u64, u8>,
    uses_memory: bool,
    /// Whether some branch could go elsewhere.
    exits: bool,
    /// Labels between the code and that exit.
    depth: u32,
}

impl Cutter<'_> {
    /// Makes a cut; `memory` is memory 0 before its first step.
    ///
    /// # Errors
    /// A step that cannot be in a cut; a module that is not valid.
    pub fn cut(&self, plan: &Plan, memory: &[u8]) -> Result<Cut, NoCut> {
        let first = &self.steps[plan.first];
        let mut draft = Draft {
            cutter: self,
            memory,
            first,
            locals: Locals::default(),
            code: Vec::new(),
            globals: Vec::new(),
            stubs: Vec::new(),
            reads: BTreeMap::new(),
            uses_memory: false,
            exits: false,
            depth: 0,
        };
        let no = NoCut::Step(plan.first);
        draft.operands(plan.drop).ok_or(no)?;
        let last = self.steps.len() - 1;
        draft.depth = match (plan.observe, self.op(last).map(|op| &op.operator)) {
            (Observe::Branch, Some(Operator::BrIf { .. })) => 1,
            (Observe::Branch, Some(Operator::BrTable { targets })) => targets.len() + 1,
            _ => 0,
        };
        for at in (plan.first..last).filter(|at| !plan.skip.contains(at)) {
            draft.step(at).ok_or(NoCut::Step(at))?;
        }
        draft.last(last, plan.observe).ok_or(NoCut::Step(last))?;
        // Operands below the result are dropped by a `return` only.
        let made = match plan.looped {
            true => draft.finish(Form::Looped),
            false => draft.finish(Form::Plain).or_else(|| draft.finish(Form::Returning)),
        };
        made.ok_or(NoCut::Invalid)
    }

    fn op(&self, step: usize) -> Option<&Op<'_>> {
        self.body.at(self.steps[step].at.offset)
    }

    fn module(&self) -> &Module {
        &self.program.module
    }
}

impl Draft<'_> {
    fn emit(&mut self, instruction: &Instruction<'_>, origin: Option<WasmOffset>) {
        self.code.push((bytes_of(instruction), origin));
    }

    /// The operands that are there before the first step.
    fn operands(&mut self, drop: usize) -> Option<()> {
        let module = self.cutter.module();
        let function = module.function(self.cutter.func)?;
        let types = function.operand_types(self.first.at.offset)?;
        let cells = self.first.cells.get(ValType::cells_of(function.locals())..)?;
        if cells.len() != ValType::cells_of(&types) {
            return None;
        }
        let values = Value::list_from_cells(&types, cells);
        for (ty, value) in types.into_iter().zip(values).skip(drop) {
            if !is_number(ty) {
                return None;
            }
            let index = self.locals.params.len() as u32;
            self.locals.params.push((ty, value));
            self.emit(&Instruction::LocalGet(index), None);
        }
        Some(())
    }

    /// The place of a local of the program's. One that is read before it is set
    /// is a parameter. Parameters come first, so what a place is as an index
    /// follows in the end.
    fn local(&mut self, index: u32, read: bool) -> Option<Place> {
        if let Some(place) = self.locals.names.get(&index) {
            return Some(*place);
        }
        let types = self.cutter.module().function(self.cutter.func)?.locals();
        let ty = *types.get(index as usize)?;
        if !is_number(ty) {
            return None;
        }
        let place = if read {
            let at = ValType::cells_of(&types[..index as usize]);
            let value = Value::from_cells(ty, self.first.cells.get(at..at + ty.cells())?);
            self.locals.params.push((ty, value));
            Place::Param(self.locals.params.len() as u32 - 1)
        } else {
            self.locals.locals.push(ty);
            Place::Local(self.locals.locals.len() as u32 - 1)
        };
        self.locals.names.insert(index, place);
        Some(place)
    }

    /// An access to a local, its index left open.
    fn access(&mut self, opcode: u8, index: u32, origin: Option<WasmOffset>) -> Option<()> {
        const GET: u8 = 0x20;
        let bytes = match self.local(index, opcode == GET)? {
            // Marked by bytes that no instruction has; see `Draft::finish`.
            Place::Local(local) => [&[OPEN, opcode], &local.to_le_bytes()[..]].concat(),
            Place::Param(param) => {
                let mut bytes = vec![opcode];
                param.encode(&mut bytes);
                bytes
            }
        };
        self.code.push((bytes, origin));
        Some(())
    }

    fn global(&mut self, index: u32) -> Option<u32> {
        if let Some(at) = self.globals.iter().position(|global| global.0 == index) {
            return Some(at as u32);
        }
        let ty = self.cutter.module().globals().get(index as usize)?.content;
        let value = *self.first.globals.get(index as usize)?;
        if !is_number(ty) {
            return None;
        }
        self.globals.push((index, ty, value));
        Some(self.globals.len() as u32 - 1)
    }

    /// Bytes that are read are those from before the first step.
    fn reads(&mut self, address: u64, length: u64) {
        self.uses_memory = true;
        for at in address..address.saturating_add(length) {
            if let Some(byte) = self.memory.get(at as usize) {
                self.reads.insert(at, *byte);
            }
        }
    }

    /// Emits a step that is not the last.
    fn step(&mut self, at: usize) -> Option<()> {
        let step = &self.cutter.steps[at];
        let next = step.next.as_ref()?;
        let op = self.cutter.op(at)?;
        let height = |offset| {
            let function = self.cutter.module().function(self.cutter.func)?;
            Some(function.operand_types(offset)?.len())
        };
        let change = height(next.at.offset)? as i64 - height(step.at.offset)? as i64;
        let origin = Some(op.offset);
        match &op.operator {
            Operator::Nop | Operator::Loop { .. } | Operator::Block { .. } => {
                (change == 0).then_some(())
            }
            // Branches that drop operands would need them dropped here.
            Operator::End | Operator::Else | Operator::Br { .. } => (change == 0).then_some(()),
            Operator::If { .. } | Operator::BrIf { .. } => {
                if change != -1 {
                    return None;
                }
                if step.cells.last()?.0 as u32 != 0 {
                    self.emit(&Instruction::I32Eqz, None);
                }
                self.exits = true;
                self.emit(&Instruction::BrIf(self.depth), origin);
                Some(())
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } => self.call(at, None),
            _ => self.plain(at),
        }
    }

    /// Emits an instruction that goes on to the next one.
    fn plain(&mut self, at: usize) -> Option<()> {
        let step = &self.cutter.steps[at];
        let op = self.cutter.op(at)?;
        let origin = Some(op.offset);
        let opcode = *op.bytes.first()?;
        match op.operator {
            Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } => {
                return self.access(opcode, local_index, origin);
            }
            Operator::GlobalGet { global_index } => {
                let index = self.global(global_index)?;
                self.emit(&Instruction::GlobalGet(index), origin);
                return Some(());
            }
            Operator::GlobalSet { global_index } => {
                let index = self.global(global_index)?;
                self.emit(&Instruction::GlobalSet(index), origin);
                return Some(());
            }
            _ => {}
        }
        let single = self.cutter.module().memories().len() <= 1;
        match opcode {
            // Numeric, parametric but for references.
            0x1a | 0x1b | 0x41..=0x44 | 0x45..=0xc4 => {}
            0x1c => return None,
            0x28..=0x40 if single => {
                self.uses_memory = true;
                if let Some(width) = load_width(opcode) {
                    let address = self.address(step, op, 0)?;
                    self.reads(address, width);
                }
            }
            0xfc => match op.operator {
                Operator::MemoryFill { .. } if single => self.uses_memory = true,
                Operator::MemoryCopy { .. } if single => {
                    let cells = &step.cells;
                    let from = cells.get(cells.len().checked_sub(2)?)?.0;
                    let length = cells.last()?.0;
                    if length > COPIED {
                        return None;
                    }
                    self.reads(from, length);
                }
                // Saturating truncation and wide arithmetic.
                _ if matches!(op.bytes.get(1), Some(0..=7 | 19..=22)) => {}
                _ => return None,
            },
            0xfd => {
                let sub = sub_opcode(op.bytes)?;
                match sub {
                    // Loads; loads and stores of lanes have the vector on top.
                    0..=10 | 92 | 93 if single => {
                        let address = self.address(step, op, 0)?;
                        self.reads(address, 16);
                    }
                    11 if single => self.uses_memory = true,
                    84..=87 if single => {
                        let address = self.address(step, op, 2)?;
                        self.reads(address, 8);
                    }
                    88..=91 if single => self.uses_memory = true,
                    0..=11 | 84..=93 => return None,
                    _ => {}
                }
            }
            _ => return None,
        }
        self.code.push((op.bytes.to_vec(), origin));
        Some(())
    }

    /// The address that a load reads from, with `above` cells above it.
    fn address(&self, step: &Step, op: &Op<'_>, above: usize) -> Option<u64> {
        let cell = step.cells.get(step.cells.len().checked_sub(above + 1)?)?.0;
        let base = match self.memory_type()?.address {
            AddressType::I32 => u64::from(cell as u32),
            AddressType::I64 => cell,
        };
        base.checked_add(memarg_offset(op.bytes)?)
    }

    fn memory_type(&self) -> Option<wasm_view::MemoryType> {
        self.cutter.module().memories().first().copied()
    }

    /// Emits a call of a stub that answers as the callee did, or that returns
    /// this one of its arguments.
    fn call(&mut self, at: usize, argument: Option<u32>) -> Option<()> {
        let step = &self.cutter.steps[at];
        let op = self.cutter.op(at)?;
        let module = self.cutter.module();
        let (ty, indirect) = match op.operator {
            Operator::Call { function_index } => {
                (module.func_type(FuncIdx::new(function_index))?, false)
            }
            Operator::CallIndirect { type_index, .. } => {
                (module.func_type_of(TypeIdx::new(type_index))?, true)
            }
            _ => return None,
        };
        let mut params = ty.params.clone();
        if indirect {
            // The index is passed on: whoever computed it did so for this call.
            params.push(*module.function(self.cutter.func)?.operand_types(op.offset)?.last()?);
        }
        let results = ty.results.clone();
        if params.iter().chain(&results).any(|ty| !is_number(*ty)) {
            return None;
        }
        let stub = match argument {
            Some(argument) => {
                let result = *params.get(argument as usize)?;
                let code = bytes_of(&Instruction::LocalGet(argument));
                Stub { params, results: vec![result], code }
            }
            None => {
                let code = self.answer(step, &results)?;
                Stub { params, results, code }
            }
        };
        self.stubs.push(stub);
        self.emit(&Instruction::Call(self.stubs.len() as u32), Some(op.offset));
        Some(())
    }

    /// What a callee did: its writes, its globals, its results.
    fn answer(&mut self, step: &Step, results: &[ValType]) -> Option<Vec<u8>> {
        let next = step.next.as_ref()?;
        let mut code = Vec::new();
        let mut put = |instruction: &Instruction<'_>| instruction.encode(&mut code);
        let wrote = step.wrote.as_ref()?;
        if !wrote.is_empty() {
            let ty = self.memory_type()?;
            self.uses_memory = true;
            encode::writes(ty.address, wrote).iter().for_each(&mut put);
        }
        let changed: Vec<(u32, Value)> = (0..)
            .zip(step.globals.iter().zip(&next.globals))
            .filter(|(_, (before, after))| before != after)
            .map(|(index, (_, after))| (index, *after))
            .collect();
        for (index, value) in changed {
            let index = self.global(index)?;
            put(&constant(value)?);
            put(&Instruction::GlobalSet(index));
        }
        let cells = next.cells.len().checked_sub(ValType::cells_of(results))?;
        for value in Value::list_from_cells(results, &next.cells[cells..]) {
            put(&constant(value)?);
        }
        Some(code)
    }

    /// Emits the last step, and what returns the value.
    fn last(&mut self, at: usize, observe: Observe) -> Option<()> {
        let op = self.cutter.op(at)?;
        let origin = Some(op.offset);
        match (&op.operator, observe) {
            (Operator::If { .. }, Observe::Branch) => {
                self.emit(&Instruction::If(BlockType::Empty), origin);
                self.emit(&Instruction::I32Const(1), None);
                self.emit(&Instruction::Return, None);
                self.emit(&Instruction::End, None);
                self.emit(&Instruction::I32Const(0), None);
            }
            (Operator::BrIf { .. }, Observe::Branch) => {
                self.emit(&Instruction::BrIf(0), origin);
                self.emit(&Instruction::I32Const(0), None);
                self.emit(&Instruction::Return, None);
                self.emit(&Instruction::End, None);
                self.emit(&Instruction::I32Const(1), None);
            }
            (Operator::BrTable { targets }, Observe::Branch) => {
                let count = targets.len();
                if count > 64 {
                    return None;
                }
                let labels: Vec<u32> = (0..count).collect();
                self.emit(&Instruction::BrTable(labels.into(), count), origin);
                for label in 0..=count {
                    self.emit(&Instruction::End, None);
                    self.emit(&Instruction::I32Const(label as i32), None);
                    if label < count {
                        self.emit(&Instruction::Return, None);
                    }
                }
            }
            (_, Observe::Branch) => return None,
            (_, Observe::Argument(argument)) => self.call(at, Some(argument))?,
            // Labels, and what only goes on: it left the values as they were.
            (
                Operator::Nop
                | Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::End
                | Operator::Else
                | Operator::Br { .. }
                | Operator::Return,
                _,
            ) => {}
            (Operator::Call { .. } | Operator::CallIndirect { .. }, _) => self.call(at, None)?,
            (Operator::Unreachable, Observe::Nothing) => {
                self.emit(&Instruction::Unreachable, origin);
            }
            _ => self.plain(at)?,
        }
        match observe {
            Observe::Top(above) => {
                for _ in 0..above {
                    self.emit(&Instruction::Drop, None);
                }
            }
            Observe::Local(index) => self.access(0x20, index, None)?,
            Observe::Global(index) => {
                let index = self.global(index)?;
                self.emit(&Instruction::GlobalGet(index), None);
            }
            Observe::Memory(address) => {
                let ty = self.memory_type()?;
                self.emit(&encode::address(ty.address, address), None);
                let memarg = MemArg { offset: 0, align: 0, memory_index: 0 };
                let whole = address.checked_add(8).is_some_and(|end| end <= self.cutter.memory_len);
                let load = match whole {
                    true => Instruction::I64Load(memarg),
                    false => Instruction::I32Load8U(memarg),
                };
                self.reads(address, if whole { 8 } else { 1 });
                self.emit(&load, None);
            }
            Observe::Nothing => {
                self.emit(&Instruction::Return, None);
            }
            Observe::Branch | Observe::Argument(_) => {}
        }
        Some(())
    }
}

/// No instruction begins with this byte: an access to a local that is no
/// parameter, its opcode, and its number among those.
const OPEN: u8 = 0xff;
