//! Keeping operands alive, so that the map finds them.
//!
//! Instruction selection computes a comparison or a shift within the instruction
//! that consumes it, and then the operand is nowhere at the consumer's boundary.
//! At opt none, such operands are stored to a scratch stack slot right after the
//! consumer's trap. Nothing reads the slot; the store alone forces the value into
//! a register until then.

use super::Translator;
use crate::abi;
use crate::error::CompileError;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    self, Block, Function, InstBuilder, Opcode, StackSlot, StackSlotData, StackSlotKind, Value,
    ValueDef,
};
use cranelift_frontend::FunctionBuilder;

/// What defines a value, as far as keeping it alive is concerned.
enum Definition {
    Foldable,
    Param(Block),
    Other,
}

fn definition(function: &Function, value: Value) -> Definition {
    let dfg = &function.dfg;
    let value = dfg.resolve_aliases(value);
    match dfg.value_def(value) {
        // The same lanes seen otherwise: no code, so what counts is behind it.
        ValueDef::Result(inst, _)
            if is_vector(function, value) && dfg.insts[inst].opcode() == Opcode::Bitcast =>
        {
            definition(function, dfg.inst_args(inst)[0])
        }
        ValueDef::Result(inst, _) if is_vector(function, value) => {
            match dfg.insts[inst].opcode() {
                opcode if opcode.is_call() || opcode.can_load() => Definition::Other,
                // Few vector instructions are never part of a longer pattern.
                _ => Definition::Foldable,
            }
        }
        ValueDef::Result(inst, _) if may_be_folded(dfg.insts[inst].opcode()) => {
            Definition::Foldable
        }
        ValueDef::Param(block, _) => Definition::Param(block),
        _ => Definition::Other,
    }
}

fn is_vector(function: &Function, value: Value) -> bool {
    function.dfg.value_type(value).is_vector()
}

/// Stack slots that are written and never read.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    number: StackSlot,
    /// Made for the first vector.
    vector: Option<StackSlot>,
}

impl Scratch {
    pub(super) fn new(builder: &mut FunctionBuilder<'_>) -> Self {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        Scratch { number: builder.create_sized_stack_slot(data), vector: None }
    }

    fn of(&mut self, function: &mut Function, value: Value) -> StackSlot {
        if !is_vector(function, value) {
            return self.number;
        }
        *self.vector.get_or_insert_with(|| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4);
            function.create_sized_stack_slot(data)
        })
    }
}

/// Keeps alive what turned out to need it: each value right behind the
/// instruction that was the last one when it was consumed.
pub(super) fn keep_undecided(
    function: &mut Function,
    mut scratch: Scratch,
    undecided: Vec<(ir::Inst, Value)>,
) {
    for (after, value) in undecided {
        if matches!(definition(function, value), Definition::Foldable) {
            let slot = scratch.of(function, value);
            let location = function.srcloc(after);
            let mut cursor = FuncCursor::new(function).after_inst(after).with_srcloc(location);
            cursor.ins().stack_store(abi::POINTER, value, slot, 0);
        }
    }
}

/// Whether instruction selection for x86-64 may compute the result of such an
/// instruction within one that uses it (fused comparisons and bit tests,
/// addressing modes and LEA, ANDN and the BMI1 idioms, masked shift counts,
/// free extensions), so that it never has a register of its own.
fn may_be_folded(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Icmp
            | Opcode::Fcmp
            | Opcode::Uextend
            | Opcode::Sextend
            | Opcode::Ireduce
            | Opcode::Iadd
            | Opcode::Isub
            | Opcode::Ineg
            | Opcode::Band
            | Opcode::Bor
            | Opcode::Bxor
            | Opcode::Bnot
            | Opcode::Ishl
            | Opcode::Ushr
            | Opcode::Sshr
            | Opcode::Rotl
            | Opcode::Rotr
            | Opcode::Imul
            | Opcode::Bitcast
            | Opcode::Extractlane
    )
}

impl Translator<'_, '_> {
    /// Pops an operand to compute with, kept alive if need be.
    pub(super) fn operand(&mut self) -> Result<Value, CompileError> {
        let value = self.pop()?;
        let Some(scratch) = &mut self.scratch else {
            return Ok(value);
        };
        match definition(self.builder.func, value) {
            Definition::Foldable => {
                let slot = scratch.of(self.builder.func, value);
                self.builder.ins().stack_store(abi::POINTER, value, slot, 0);
            }
            // Perhaps only the name that it has in a loop whose end has not
            // been seen: what it stands for shows when the loop is complete.
            Definition::Param(block) if self.open_loops.contains(&block) => {
                let here = self.builder.current_block();
                let last = here.and_then(|here| self.builder.func.layout.last_inst(here));
                self.undecided.extend(last.map(|last| (last, value)));
            }
            _ => {}
        }
        Ok(value)
    }

    /// Pops an operand that the instruction may turn out not to need.
    pub(super) fn kept_operand(&mut self) -> Result<Value, CompileError> {
        let value = self.pop()?;
        if let Some(scratch) = &mut self.scratch {
            let slot = scratch.of(self.builder.func, value);
            self.builder.ins().stack_store(abi::POINTER, value, slot, 0);
        }
        Ok(value)
    }
}
