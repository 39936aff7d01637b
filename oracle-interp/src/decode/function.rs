//! One function body to ops.
//!
//! The interesting part is control flow. A *label* is what a branch can name;
//! while its construct is open, branches to it are emitted with their target
//! missing and patched at its `end` (or, for a loop, filled in at once: the
//! first instruction of its body). Instructions in statically unreachable code
//! are validated but not emitted, so they have no boundary. Whether code is
//! reachable is tracked as the validator does it: unreachable from an
//! unconditional branch up to the end of the construct. One `end` is reachable
//! although the code before it may not be: that of an `if` without `else`,
//! where the false condition continues.

use super::sections::{heap_type, val_type};
use super::{Decoder, Problem, Result, unsupported, wasm_offset};
use crate::module::{FunctionDef, Module, OpIdx};
use crate::op::{Branch, Op, simple_op};
use crate::shapes::{Shape, ShapeBuilder};
use wasm_view::{Cell, FuncIdx, FuncType, ValType, WasmOffset};
use wasmparser::{
    BlockType, FuncToValidate, FuncValidator, FunctionBody, Operator, ValidatorResources,
};

type Validator = FuncValidator<ValidatorResources>;

/// What opened a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    Block,
    Loop(OpIdx),
    /// With the position of its `If` op, if that was emitted.
    If(Option<OpIdx>),
    Else,
}

/// A construct's type, small.
#[derive(Clone, Copy, Debug)]
enum Signature {
    Empty,
    One(ValType),
    Type(u32),
}

impl Signature {
    fn params(self, types: &[FuncType]) -> &[ValType] {
        match self {
            Signature::Type(index) => types.get(index as usize).map_or(&[], |ty| &ty.params),
            _ => &[],
        }
    }

    fn results<'a>(&'a self, types: &'a [FuncType]) -> &'a [ValType] {
        match self {
            Signature::Empty => &[],
            Signature::One(ty) => std::slice::from_ref(ty),
            Signature::Type(index) => types.get(*index as usize).map_or(&[], |ty| &ty.results),
        }
    }
}

/// A branch target waiting to be filled in.
#[derive(Clone, Copy, Debug)]
enum Patch {
    Op(OpIdx),
    Branch(u32),
}

#[derive(Debug)]
struct Label {
    kind: Kind,
    signature: Signature,
    /// The operand stack below the construct's parameters.
    below: Shape,
    /// Whether the construct's first instruction is reachable.
    entered: bool,
    patches: Vec<Patch>,
}

/// A function body in the making.
struct Body<'a> {
    module: &'a mut Module,
    shapes: &'a mut ShapeBuilder,
    locals: Vec<ValType>,
    labels: Vec<Label>,
    shape: Shape,
    highest: u32,
    live: bool,
    offset: WasmOffset,
}

impl Decoder {
    /// Validates a body, and decodes it unless the module is refused anyway.
    pub(super) fn function(
        &mut self,
        to_validate: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        let ty = to_validate.ty;
        let mut validator = to_validate.into_validator(std::mem::take(&mut self.allocations));
        let decoded = self.function_body(&mut validator, ty, body);
        self.allocations = validator.into_allocations();
        decoded
    }

    fn function_body(
        &mut self,
        validator: &mut Validator,
        ty: u32,
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let locals = local_types(validator, reader.original_position());
        let locals = self.note(locals)?;
        let mut operators = body.get_operators_reader()?;
        let first = self.module.code.ops.len() as u32;
        let mut decoding = Body {
            module: &mut self.module,
            shapes: &mut self.shapes,
            locals,
            labels: vec![Label {
                kind: Kind::Function,
                signature: Signature::Type(ty),
                below: Shape::EMPTY,
                entered: true,
                patches: Vec::new(),
            }],
            shape: Shape::EMPTY,
            highest: 0,
            live: true,
            offset: WasmOffset::new(0),
        };
        let mut refused = self.unsupported.take();
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            validator.op(at, &operator)?;
            if refused.is_none() {
                decoding.offset = wasm_offset(at);
                match decoding.instruction(&operator, at, validator) {
                    Err(problem @ Problem::Unsupported(..)) => refused = Some(problem),
                    other => other?,
                }
            }
        }
        operators.finish()?;
        let Body { locals, highest, .. } = decoding;
        self.unsupported = refused;
        if self.unsupported.is_some() {
            return Ok(());
        }
        let (params, results) = self
            .module
            .types
            .get(ty as usize)
            .map_or((0, 0), |ty| (ty.params.len() as u32, ty.results.len() as u32));
        let range = body.range();
        self.module.functions.push(FunctionDef {
            body: wasm_offset(range.start)..wasm_offset(range.end),
            cells: (locals.len() as u32).saturating_add(highest),
            locals,
            params,
            results,
            ops: first..self.module.code.ops.len() as u32,
        });
        Ok(())
    }
}

fn local_types(validator: &Validator, at: usize) -> Result<Vec<ValType>> {
    (0..validator.len_locals())
        .filter_map(|index| validator.get_local_type(index))
        .map(|ty| val_type(at, ty))
        .collect()
}

impl Body<'_> {
    fn next(&self) -> OpIdx {
        OpIdx(self.module.code.ops.len() as u32)
    }

    fn emit(&mut self, op: Op) -> OpIdx {
        let position = self.next();
        self.module.code.ops.push(op);
        self.module.code.offsets.push(self.offset);
        self.module.code.shapes_at.push(self.shape);
        position
    }

    fn pop(&mut self, count: usize) {
        self.shape = self.shapes.pop(self.shape, count as u32);
    }

    fn push_all(&mut self, types: &[ValType]) -> Result<()> {
        self.shape = self
            .shapes
            .push_all(self.shape, types)
            .ok_or(Problem::Limit(0, "2^32 different operand stacks"))?;
        self.highest = self.highest.max(self.shapes.height(self.shape));
        Ok(())
    }

    /// Emits an instruction that takes `pops` operands and has these results.
    /// Does nothing in unreachable code, which is only looked at to refuse
    /// what is unsupported.
    fn plain(&mut self, op: Op, pops: usize, results: &[ValType]) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        self.emit(op);
        self.pop(pops);
        self.push_all(results)
    }

    fn signature(&self, at: usize, ty: BlockType) -> Result<Signature> {
        Ok(match ty {
            BlockType::Empty => Signature::Empty,
            BlockType::Type(ty) => Signature::One(val_type(at, ty)?),
            BlockType::FuncType(index) => Signature::Type(index),
        })
    }

    /// Opens a construct, its parameters on the stack.
    fn open(&mut self, kind: Kind, signature: Signature) {
        let params = signature.params(&self.module.types).len();
        let below = if self.live { self.shapes.pop(self.shape, params as u32) } else { self.shape };
        self.labels.push(Label { kind, signature, below, entered: self.live, patches: Vec::new() });
    }

    /// Makes the stack that of `label`'s construct at its start or past its end.
    fn restack(&mut self, label: &Label, at_start: bool) -> Result<()> {
        self.shape = label.below;
        let types = if at_start {
            label.signature.params(&self.module.types)
        } else {
            label.signature.results(&self.module.types)
        };
        let types = types.to_vec();
        self.push_all(&types)
    }

    fn patch(&mut self, patch: Patch, target: OpIdx) {
        match patch {
            Patch::Branch(index) => self.module.code.branches[index as usize].target = target,
            Patch::Op(position) => match &mut self.module.code.ops[position.index()] {
                Op::If(to) | Op::Else(to) | Op::BrPlain(to) | Op::BrIfPlain(to) => *to = target,
                other => debug_assert!(false, "{other:?} has no target"),
            },
        }
    }

    fn patch_all(&mut self, patches: Vec<Patch>, target: OpIdx) {
        for patch in patches {
            self.patch(patch, target);
        }
    }

    fn label_at(&mut self, depth: u32) -> Option<&mut Label> {
        let index = self.labels.len().checked_sub(1 + depth as usize)?;
        self.labels.get_mut(index)
    }

    /// What a branch to the label at `depth` does. The target of a forward
    /// branch is not known yet.
    fn branch(&mut self, depth: u32) -> Branch {
        let none = Branch { target: Branch::RETURN, keep: 0, height: 0 };
        let Some(index) = self.labels.len().checked_sub(1 + depth as usize) else {
            return none;
        };
        let Some(label) = self.labels.get(index) else {
            return none;
        };
        let types = &self.module.types;
        let (target, keep) = match label.kind {
            Kind::Function => (Branch::RETURN, label.signature.results(types).len()),
            Kind::Loop(start) => (start, label.signature.params(types).len()),
            _ => (OpIdx(0), label.signature.results(types).len()),
        };
        Branch { target, keep: keep as u32, height: self.shapes.height(label.below) }
    }

    fn is_forward(&mut self, depth: u32) -> bool {
        self.label_at(depth)
            .is_some_and(|label| !matches!(label.kind, Kind::Function | Kind::Loop(_)))
    }

    /// Adds a side table entry for a branch.
    fn side_table_entry(&mut self, depth: u32) -> u32 {
        let branch = self.branch(depth);
        let index = self.module.code.branches.len() as u32;
        self.module.code.branches.push(branch);
        if self.is_forward(depth)
            && let Some(label) = self.label_at(depth)
        {
            label.patches.push(Patch::Branch(index));
        }
        index
    }

    /// Emits `br` or `br_if`; the condition has been popped.
    fn emit_branch(
        &mut self,
        depth: u32,
        before: Shape,
        plain: fn(OpIdx) -> Op,
        full: fn(u32) -> Op,
    ) {
        let branch = self.branch(depth);
        let unwinds = self.shapes.height(self.shape) != branch.height + branch.keep;
        let after = std::mem::replace(&mut self.shape, before);
        if unwinds || branch.target == Branch::RETURN {
            let entry = self.side_table_entry(depth);
            self.emit(full(entry));
        } else {
            let position = self.emit(plain(branch.target));
            if self.is_forward(depth)
                && let Some(label) = self.label_at(depth)
            {
                label.patches.push(Patch::Op(position));
            }
        }
        self.shape = after;
    }

    /// Emits a call of a function of type `ty`, with `extra` operands on top of
    /// its arguments.
    fn call(&mut self, op: Op, ty: u32, extra: usize) -> Result<()> {
        // Calls are many: the type is not copied but put aside.
        let types = std::mem::take(&mut self.module.types);
        let emitted = match types.get(ty as usize) {
            Some(ty) => self.plain(op, ty.params.len() + extra, &ty.results),
            None => Ok(()),
        };
        self.module.types = types;
        emitted
    }

    /// A constant of 64 bits, inline where it is the sign extension of 32.
    fn constant(&mut self, bits: u64, ty: ValType) -> Result<()> {
        let op = match i32::try_from(bits as i64) {
            Ok(small) => Op::ConstI64(small),
            Err(_) => {
                self.module.code.constants.push(Cell(bits));
                Op::ConstPool(self.module.code.constants.len() as u32 - 1)
            }
        };
        self.plain(op, 0, &[ty])
    }

    fn memory_op(
        &mut self,
        memarg: &wasmparser::MemArg,
        op: fn(u32) -> Op,
        result: Option<ValType>,
    ) -> Result<()> {
        // The validator holds offsets of 32-bit memories to 32 bits.
        let op = op(memarg.offset as u32);
        match result {
            Some(ty) => self.plain(op, 1, &[ty]),
            None => self.plain(op, 2, &[]),
        }
    }

    fn table(&self, at: usize, table: u32) -> Result<(u8, ValType)> {
        let small = u8::try_from(table).map_err(|_| Problem::Limit(at, "more than 256 tables"))?;
        let ty = self.module.tables.get(table as usize);
        Ok((small, ty.map_or(ValType::FUNCREF, |ty| ValType::Ref(ty.element))))
    }

    /// Takes over one validated instruction.
    fn instruction(
        &mut self,
        operator: &Operator<'_>,
        at: usize,
        validator: &Validator,
    ) -> Result<()> {
        if self.control(operator, at)? {
            return Ok(());
        }
        if let Some(op) = simple_op(operator) {
            if !self.live {
                return Ok(());
            }
            let pops = op.simple().map_or(0, |(pops, _)| pops);
            let Some(Some(ty)) = validator.get_operand_type(0) else {
                return Ok(());
            };
            return self.plain(op, pops as usize, &[val_type(at, ty)?]);
        }
        self.other(operator, at)
    }

    /// Structured control and branches; whether `operator` was one.
    fn control(&mut self, operator: &Operator<'_>, at: usize) -> Result<bool> {
        match operator {
            Operator::Block { blockty } => {
                let signature = self.signature(at, *blockty)?;
                if self.live {
                    self.emit(Op::Block);
                }
                self.open(Kind::Block, signature);
            }
            Operator::Loop { blockty } => {
                let signature = self.signature(at, *blockty)?;
                if self.live {
                    self.emit(Op::Loop);
                }
                let start = self.next();
                self.open(Kind::Loop(start), signature);
            }
            Operator::If { blockty } => {
                let signature = self.signature(at, *blockty)?;
                let position = self.live.then(|| {
                    let position = self.emit(Op::If(OpIdx(0)));
                    self.pop(1);
                    position
                });
                self.open(Kind::If(position), signature);
            }
            Operator::Else => self.enter_else()?,
            Operator::End => self.end()?,
            Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable => {
                if self.live {
                    self.branching(operator)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A reachable instruction that leaves the straight line.
    fn branching(&mut self, operator: &Operator<'_>) -> Result<()> {
        match operator {
            Operator::BrIf { relative_depth } => {
                let before = self.shape;
                self.pop(1);
                self.emit_branch(*relative_depth, before, Op::BrIfPlain, Op::BrIf);
                return Ok(());
            }
            Operator::Br { relative_depth } => {
                self.emit_branch(*relative_depth, self.shape, Op::BrPlain, Op::Br);
            }
            Operator::BrTable { targets } => {
                let table = self.module.code.branch_tables.len() as u32;
                self.emit(Op::BrTable(table));
                self.pop(1);
                let first = self.module.code.branches.len() as u32;
                for depth in targets.targets() {
                    self.side_table_entry(depth?);
                }
                let last = self.side_table_entry(targets.default());
                self.module.code.branch_tables.push(first..last + 1);
            }
            Operator::Return => {
                self.emit(Op::Return);
            }
            _ => {
                self.emit(Op::Unreachable);
            }
        }
        self.live = false;
        Ok(())
    }

    fn enter_else(&mut self) -> Result<()> {
        let Some(mut label) = self.labels.pop() else {
            return Ok(());
        };
        if self.live {
            let position = self.emit(Op::Else(OpIdx(0)));
            label.patches.push(Patch::Op(position));
        }
        if let Kind::If(Some(position)) = label.kind {
            let first = self.next();
            self.patch(Patch::Op(position), first);
        }
        label.kind = Kind::Else;
        self.live = label.entered;
        if self.live {
            self.restack(&label, true)?;
        }
        self.labels.push(label);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut label) = self.labels.pop() else {
            return Ok(());
        };
        match label.kind {
            Kind::Function => {
                if self.live {
                    self.emit(Op::FuncEnd);
                }
                self.live = false;
                return Ok(());
            }
            Kind::If(Some(position)) => {
                // No else arm: a false condition continues at this `end`, with
                // the parameters, which are also the results.
                self.restack(&label, true)?;
                let end = self.emit(Op::End);
                self.patch(Patch::Op(position), end);
            }
            _ if self.live => {
                self.emit(Op::End);
            }
            _ => {}
        }
        let next = self.next();
        let patches = std::mem::take(&mut label.patches);
        self.patch_all(patches, next);
        self.live = label.entered;
        if self.live {
            self.restack(&label, false)?;
        }
        Ok(())
    }

    /// Everything with an immediate that is not control.
    fn other(&mut self, operator: &Operator<'_>, at: usize) -> Result<()> {
        use ValType::{F32, F64, I32, I64};
        match operator {
            Operator::Nop => self.plain(Op::Nop, 0, &[]),
            Operator::Drop => self.plain(Op::Drop, 1, &[]),
            Operator::Select => self.plain(Op::Select, 2, &[]),
            Operator::TypedSelect { ty } => {
                let ty = val_type(at, *ty)?;
                self.plain(Op::Select, 3, &[ty])
            }
            Operator::Call { function_index } => {
                let func = FuncIdx::new(*function_index);
                let ty = self.module.func_type_index(func).map_or(0, |ty| ty.get());
                let op = match function_index.checked_sub(self.module.num_imported_funcs) {
                    Some(defined) => Op::Call(defined),
                    None => Op::CallImport(*function_index),
                };
                self.call(op, ty, 0)
            }
            Operator::CallIndirect { type_index, table_index } => {
                let (table, _) = self.table(at, *table_index)?;
                let op = Op::CallIndirect { table, ty: *type_index };
                self.call(op, *type_index, 1)
            }
            Operator::LocalGet { local_index } => {
                let ty = self.locals.get(*local_index as usize).copied().unwrap_or(I32);
                self.plain(Op::LocalGet(*local_index), 0, &[ty])
            }
            Operator::LocalSet { local_index } => self.plain(Op::LocalSet(*local_index), 1, &[]),
            Operator::LocalTee { local_index } => self.plain(Op::LocalTee(*local_index), 0, &[]),
            Operator::GlobalGet { global_index } => {
                let ty = self.module.globals.get(*global_index as usize);
                let ty = ty.map_or(I32, |ty| ty.content);
                self.plain(Op::GlobalGet(*global_index), 0, &[ty])
            }
            Operator::GlobalSet { global_index } => {
                self.plain(Op::GlobalSet(*global_index), 1, &[])
            }
            Operator::I32Const { value } => self.plain(Op::ConstI32(*value as u32), 0, &[I32]),
            Operator::I64Const { value } => self.constant(*value as u64, I64),
            Operator::F32Const { value } => self.plain(Op::ConstI32(value.bits()), 0, &[F32]),
            Operator::F64Const { value } => self.constant(value.bits(), F64),
            Operator::RefNull { hty } => {
                let ty = ValType::Ref(heap_type(at, *hty)?);
                self.plain(Op::RefNull, 0, &[ty])
            }
            Operator::RefIsNull => self.plain(Op::RefIsNull, 1, &[I32]),
            Operator::RefFunc { function_index } => {
                self.plain(Op::RefFunc(*function_index), 0, &[ValType::FUNCREF])
            }
            Operator::I32Load { memarg } => self.memory_op(memarg, Op::I32Load, Some(I32)),
            Operator::I64Load { memarg } => self.memory_op(memarg, Op::I64Load, Some(I64)),
            Operator::F32Load { memarg } => self.memory_op(memarg, Op::I32Load, Some(F32)),
            Operator::F64Load { memarg } => self.memory_op(memarg, Op::I64Load, Some(F64)),
            Operator::I32Load8S { memarg } => self.memory_op(memarg, Op::I32Load8S, Some(I32)),
            Operator::I32Load8U { memarg } => self.memory_op(memarg, Op::I32Load8U, Some(I32)),
            Operator::I32Load16S { memarg } => self.memory_op(memarg, Op::I32Load16S, Some(I32)),
            Operator::I32Load16U { memarg } => self.memory_op(memarg, Op::I32Load16U, Some(I32)),
            Operator::I64Load8S { memarg } => self.memory_op(memarg, Op::I64Load8S, Some(I64)),
            // Zero-extending loads are the same cell for either type.
            Operator::I64Load8U { memarg } => self.memory_op(memarg, Op::I32Load8U, Some(I64)),
            Operator::I64Load16S { memarg } => self.memory_op(memarg, Op::I64Load16S, Some(I64)),
            Operator::I64Load16U { memarg } => self.memory_op(memarg, Op::I32Load16U, Some(I64)),
            Operator::I64Load32S { memarg } => self.memory_op(memarg, Op::I64Load32S, Some(I64)),
            Operator::I64Load32U { memarg } => self.memory_op(memarg, Op::I32Load, Some(I64)),
            Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => {
                self.memory_op(memarg, Op::Store8, None)
            }
            Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => {
                self.memory_op(memarg, Op::Store16, None)
            }
            Operator::I32Store { memarg }
            | Operator::F32Store { memarg }
            | Operator::I64Store32 { memarg } => self.memory_op(memarg, Op::Store32, None),
            Operator::I64Store { memarg } | Operator::F64Store { memarg } => {
                self.memory_op(memarg, Op::Store64, None)
            }
            Operator::MemorySize { .. } => self.plain(Op::MemorySize, 0, &[I32]),
            Operator::MemoryGrow { .. } => self.plain(Op::MemoryGrow, 1, &[I32]),
            Operator::MemoryCopy { .. } => self.plain(Op::MemoryCopy, 3, &[]),
            Operator::MemoryFill { .. } => self.plain(Op::MemoryFill, 3, &[]),
            Operator::MemoryInit { data_index, .. } => {
                self.plain(Op::MemoryInit(*data_index), 3, &[])
            }
            Operator::DataDrop { data_index } => self.plain(Op::DataDrop(*data_index), 0, &[]),
            Operator::TableGet { table } => {
                let (table, ty) = self.table(at, *table)?;
                self.plain(Op::TableGet(table), 1, &[ty])
            }
            Operator::TableSet { table } => {
                self.plain(Op::TableSet(self.table(at, *table)?.0), 2, &[])
            }
            Operator::TableSize { table } => {
                self.plain(Op::TableSize(self.table(at, *table)?.0), 0, &[I32])
            }
            Operator::TableGrow { table } => {
                self.plain(Op::TableGrow(self.table(at, *table)?.0), 2, &[I32])
            }
            Operator::TableFill { table } => {
                self.plain(Op::TableFill(self.table(at, *table)?.0), 3, &[])
            }
            Operator::TableCopy { dst_table, src_table } => {
                let destination = self.table(at, *dst_table)?.0;
                let source = self.table(at, *src_table)?.0;
                self.plain(Op::TableCopy { destination, source }, 3, &[])
            }
            Operator::TableInit { elem_index, table } => {
                let table = self.table(at, *table)?.0;
                self.plain(Op::TableInit { table, elem: *elem_index }, 3, &[])
            }
            Operator::ElemDrop { elem_index } => self.plain(Op::ElemDrop(*elem_index), 0, &[]),
            other => Err(Problem::Unsupported(at, unsupported::instruction(other))),
        }
    }
}
