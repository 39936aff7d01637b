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

use super::take::Taker;
use super::types::val_type;
use super::{Decoder, Problem, Result, wasm_offset};
use crate::module::{FunctionDef, Module, OpIdx};
use crate::op::{Branch, Op, simple_op};
use crate::rare::{CatchClause, Pooled, Rare};
use crate::shapes::{Shape, ShapeBuilder};
use crate::types::DefinedType;
use wasm_view::{Cell, TypeIdx, ValType, WasmOffset};
use wasmparser::{
    BlockType, FuncToValidate, FuncValidator, FunctionBody, Operator, ValidatorResources,
};

pub(super) type Validator = FuncValidator<ValidatorResources>;

/// What opened a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Block,
    Loop(OpIdx),
    /// With the position of its `If` op, if that was emitted.
    If(Option<OpIdx>),
    Else,
    /// The body of `try_table`, or of the legacy `try`, with its handler.
    Try(Option<u32>),
    /// Behind a legacy `catch`, with the handler that came here.
    Catch(Option<u32>),
}

/// A construct's type, small.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signature {
    Empty,
    One(ValType),
    Type(u32),
}

impl Signature {
    fn params(self, types: &[DefinedType]) -> &[ValType] {
        let Signature::Type(index) = self else { return &[] };
        types.get(index as usize).and_then(DefinedType::as_func).map_or(&[], |ty| &ty.params)
    }

    fn results<'a>(&'a self, types: &'a [DefinedType]) -> &'a [ValType] {
        match self {
            Signature::Empty => &[],
            Signature::One(ty) => std::slice::from_ref(ty),
            Signature::Type(index) => types
                .get(*index as usize)
                .and_then(DefinedType::as_func)
                .map_or(&[], |ty| &ty.results),
        }
    }
}

/// A branch target waiting to be filled in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patch {
    Op(OpIdx),
    Branch(u32),
}

#[derive(Debug)]
pub(super) struct Label {
    pub(super) kind: Kind,
    pub(super) signature: Signature,
    /// The operand stack below the construct's parameters.
    pub(super) below: Shape,
    /// Whether the construct's first instruction is reachable.
    pub(super) entered: bool,
    /// The last of its branches that wait for a target.
    pub(super) patches: Option<u32>,
    /// Clauses of a legacy `try` so far.
    pub(super) clauses: Vec<CatchClause>,
}

impl Label {
    pub(super) fn wait(&mut self, patches: &mut Vec<(Patch, Option<u32>)>, patch: Patch) {
        patches.push((patch, self.patches));
        self.patches = Some(patches.len() as u32 - 1);
    }
}

/// Room for what is needed while one body is decoded, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// First cell of each local.
    pub(super) local_cells: Vec<u32>,
    pub(super) labels: Vec<Label>,
    /// Branches of all open labels that wait for a target, each with the number
    /// of the one before it of the same label.
    pub(super) patches: Vec<(Patch, Option<u32>)>,
}

impl Scratch {
    /// For a body of this type with these locals; counts the locals' cells.
    fn begin(&mut self, locals: &[ValType], ty: u32) -> u32 {
        self.patches.clear();
        self.labels.clear();
        self.labels.push(Label {
            kind: Kind::Function,
            signature: Signature::Type(ty),
            below: Shape::EMPTY,
            entered: true,
            patches: None,
            clauses: Vec::new(),
        });
        self.local_cells.clear();
        let mut cells = 0;
        for ty in locals {
            self.local_cells.push(cells);
            cells += ty.cells() as u32;
        }
        cells
    }
}

/// A function body in the making.
pub(super) struct Body<'a> {
    pub(super) module: &'a mut Module,
    pub(super) shapes: &'a mut ShapeBuilder,
    pub(super) locals: Vec<ValType>,
    pub(super) scratch: Scratch,
    pub(super) shape: Shape,
    highest: u32,
    pub(super) live: bool,
    pub(super) offset: WasmOffset,
}

fn too_many_stacks() -> Problem {
    Problem::Limit(0, "2^32 different operand stacks")
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

    /// Types of all locals, parameters first. The validator has read them.
    fn local_types(&self, ty: u32, body: &FunctionBody<'_>) -> Result<Vec<ValType>> {
        let params = self.module.func_type_of(TypeIdx::new(ty)).map(|ty| ty.params.clone());
        let mut locals = params.unwrap_or_default();
        let mut reader = body.get_locals_reader()?;
        for _ in 0..reader.get_count() {
            let at = reader.original_position();
            let (count, ty) = reader.read()?;
            let ty = val_type(at, ty)?;
            locals.extend(std::iter::repeat_n(ty, count as usize));
        }
        Ok(locals)
    }

    fn function_body(
        &mut self,
        validator: &mut Validator,
        ty: u32,
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        if self.unsupported.is_some() {
            return Ok(validator.validate(body)?);
        }
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let locals = self.local_types(ty, body);
        let locals = self.note(locals)?;
        let first = self.module.code.ops.len() as u32;
        let first_handler = self.module.code.handlers.len() as u32;
        let mut scratch = std::mem::take(&mut self.scratch);
        let cells = scratch.begin(&locals, ty);
        let body_in_the_making = Body {
            module: &mut self.module,
            shapes: &mut self.shapes,
            locals,
            scratch,
            shape: Shape::EMPTY,
            highest: 0,
            live: true,
            offset: WasmOffset::new(0),
        };
        let mut taker = Taker::new(validator, body_in_the_making);
        taker.read(body.get_binary_reader_for_operators()?)?;
        let (Body { locals, highest, scratch, .. }, problem) = taker.finish();
        self.scratch = scratch;
        self.note(problem.map_or(Ok(()), Err))?;
        if self.unsupported.is_some() {
            return Ok(());
        }
        let ty = self.module.func_type_of(TypeIdx::new(ty));
        let count = |types: &[ValType]| ValType::cells_of(types) as u32;
        let (param_cells, result_cells) =
            ty.map_or((0, 0), |ty| (count(&ty.params), count(&ty.results)));
        let range = body.range();
        self.module.functions.push(FunctionDef {
            body: wasm_offset(range.start)..wasm_offset(range.end),
            locals,
            param_cells,
            result_cells,
            local_cells: cells,
            cells: cells.saturating_add(highest),
            handlers: first_handler..self.module.code.handlers.len() as u32,
            ops: first..self.module.code.ops.len() as u32,
        });
        Ok(())
    }
}

impl Body<'_> {
    pub(super) fn next(&self) -> OpIdx {
        OpIdx(self.module.code.ops.len() as u32)
    }

    pub(super) fn emit(&mut self, op: Op) -> OpIdx {
        let position = self.next();
        self.module.code.ops.push(op);
        self.module.code.offsets.push(self.offset);
        self.module.code.shapes_at.push(self.shape);
        position
    }

    pub(super) fn pop(&mut self, count: usize) {
        self.shape = self.shapes.pop(self.shape, count as u32);
    }

    pub(super) fn push_all(&mut self, types: &[ValType]) -> Result<()> {
        self.shape = self.shapes.push_all(self.shape, types).ok_or_else(too_many_stacks)?;
        self.highest = self.highest.max(self.shapes.cells(self.shape));
        Ok(())
    }

    /// Emits an instruction that takes `pops` operands and has these results.
    /// Does nothing in unreachable code, which is only looked at to refuse
    /// what is unsupported.
    pub(super) fn plain(&mut self, op: Op, pops: usize, results: &[ValType]) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        self.emit(op);
        self.pop(pops);
        self.push_all(results)
    }

    /// [`Body::plain`] of reachable code with one result at most: nearly every
    /// instruction.
    #[inline]
    pub(super) fn step(&mut self, op: Op, pops: u32, result: Option<ValType>) -> Result<()> {
        self.emit(op);
        let left = self.shapes.pop(self.shape, pops);
        self.shape = left;
        match result {
            Some(ty) => self.push(ty),
            None => Ok(()),
        }
    }

    #[inline]
    fn push(&mut self, ty: ValType) -> Result<()> {
        self.shape = self.shapes.push(self.shape, ty).ok_or_else(too_many_stacks)?;
        self.highest = self.highest.max(self.shapes.cells(self.shape));
        Ok(())
    }

    pub(super) fn signature(&self, at: usize, ty: BlockType) -> Result<Signature> {
        Ok(match ty {
            BlockType::Empty => Signature::Empty,
            BlockType::Type(ty) => Signature::One(val_type(at, ty)?),
            BlockType::FuncType(index) => Signature::Type(index),
        })
    }

    /// Opens a construct, its parameters on the stack.
    pub(super) fn open(&mut self, kind: Kind, signature: Signature) {
        let params = signature.params(&self.module.types).len();
        let below = if self.live { self.shapes.pop(self.shape, params as u32) } else { self.shape };
        self.scratch.labels.push(Label {
            kind,
            signature,
            below,
            entered: self.live,
            patches: None,
            clauses: Vec::new(),
        });
    }

    /// Makes the stack that of `label`'s construct at its start or past its end.
    fn restack(&mut self, label: &Label, at_start: bool) -> Result<()> {
        self.shape = label.below;
        match label.signature {
            Signature::Empty => Ok(()),
            Signature::One(_) if at_start => Ok(()),
            Signature::One(ty) => self.push(ty),
            Signature::Type(_) => {
                let types = if at_start {
                    label.signature.params(&self.module.types)
                } else {
                    label.signature.results(&self.module.types)
                };
                let types = types.to_vec();
                self.push_all(&types)
            }
        }
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

    /// Gives all branches that wait for a label their target.
    fn patch_all(&mut self, label: &Label, target: OpIdx) {
        let mut next = label.patches;
        while let Some((patch, before)) =
            next.and_then(|index| self.scratch.patches.get(index as usize).copied())
        {
            self.patch(patch, target);
            next = before;
        }
    }

    /// Remembers a branch to the label at `depth`, if that is a forward one.
    pub(super) fn wait(&mut self, depth: u32, patch: Patch) {
        let Scratch { labels, patches, .. } = &mut self.scratch;
        let index = labels.len().checked_sub(1 + depth as usize);
        if let Some(label) = index.and_then(|index| labels.get_mut(index))
            && !matches!(label.kind, Kind::Function | Kind::Loop(_))
        {
            label.wait(patches, patch);
        }
    }

    /// What a branch to the label at `depth` does. The target of a forward
    /// branch is not known yet.
    fn branch(&mut self, depth: u32) -> Branch {
        let none = Branch { target: Branch::RETURN, keep: 0, height: 0 };
        let Some(index) = self.scratch.labels.len().checked_sub(1 + depth as usize) else {
            return none;
        };
        let Some(label) = self.scratch.labels.get(index) else {
            return none;
        };
        let types = &self.module.types;
        let (target, keep) = match label.kind {
            Kind::Function => (Branch::RETURN, label.signature.results(types)),
            Kind::Loop(start) => (start, label.signature.params(types)),
            _ => (OpIdx(0), label.signature.results(types)),
        };
        let keep = ValType::cells_of(keep) as u32;
        Branch { target, keep, height: self.shapes.cells(label.below) }
    }

    /// Adds a side table entry for a branch.
    pub(super) fn side_table_entry(&mut self, depth: u32) -> u32 {
        let branch = self.branch(depth);
        let index = self.module.code.branches.len() as u32;
        self.module.code.branches.push(branch);
        self.wait(depth, Patch::Branch(index));
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
        let unwinds = self.shapes.cells(self.shape) != branch.height + branch.keep;
        let after = std::mem::replace(&mut self.shape, before);
        if unwinds || branch.target == Branch::RETURN {
            let entry = self.side_table_entry(depth);
            self.emit(full(entry));
        } else {
            let position = self.emit(plain(branch.target));
            self.wait(depth, Patch::Op(position));
        }
        self.shape = after;
    }

    /// Types that a branch to the label at `depth` carries along.
    pub(super) fn label_types(&self, depth: u32) -> Vec<ValType> {
        let index = self.scratch.labels.len().checked_sub(1 + depth as usize);
        let Some(label) = index.and_then(|index| self.scratch.labels.get(index)) else {
            return Vec::new();
        };
        let types = &self.module.types;
        match label.kind {
            Kind::Loop(_) => label.signature.params(types).to_vec(),
            _ => label.signature.results(types).to_vec(),
        }
    }

    /// [`Body::retype`] with the types of the label at `depth`. Most labels
    /// have none, or a number.
    fn retype_as_label(&mut self, depth: u32) -> Result<()> {
        let index = self.scratch.labels.len().checked_sub(1 + depth as usize);
        match index.and_then(|index| self.scratch.labels.get(index)).map(|label| label.signature) {
            None | Some(Signature::Empty) => Ok(()),
            Some(Signature::One(ty)) if !matches!(ty, ValType::Ref(_)) => Ok(()),
            Some(_) => self.retype(&self.label_types(depth)),
        }
    }

    /// Gives the topmost operands the types that a conditional branch carries
    /// along: validation forgets what else it knew of them.
    pub(super) fn retype(&mut self, types: &[ValType]) -> Result<()> {
        if types.iter().any(|ty| matches!(ty, ValType::Ref(_))) {
            self.pop(types.len());
            self.push_all(types)?;
        }
        Ok(())
    }

    /// Emits a call of a function of type `ty`, with `extra` operands on top of
    /// its arguments.
    pub(super) fn call(&mut self, op: Op, ty: TypeIdx, extra: usize) -> Result<()> {
        // Calls are many: the type is not copied but put aside.
        let types = std::mem::take(&mut self.module.types);
        let emitted = match types.get(ty.index()).and_then(|ty| ty.as_func()) {
            Some(ty) => self.plain(op, ty.params.len() + extra, &ty.results),
            None => Ok(()),
        };
        self.module.types = types;
        emitted
    }

    pub(super) fn func_type(&self, ty: TypeIdx) -> (Vec<ValType>, Vec<ValType>) {
        self.module
            .func_type_of(ty)
            .map(|ty| (ty.params.clone(), ty.results.clone()))
            .unwrap_or_default()
    }

    /// A constant of 64 bits, inline where it is the sign extension of 32.
    pub(super) fn constant(&mut self, bits: u64, ty: ValType) -> Result<()> {
        let op = match i32::try_from(bits as i64) {
            Ok(small) => Op::ConstI64(small),
            Err(_) => {
                self.module.code.constants.push(Cell(bits));
                Op::ConstPool(self.module.code.constants.len() as u32 - 1)
            }
        };
        self.plain(op, 0, &[ty])
    }

    /// Adds an instruction to the pool of rare ones. `pops` is in operands.
    pub(super) fn pooled(&mut self, rare: Rare, pops: usize, results: &[ValType]) -> Op {
        let left = self.shapes.pop(self.shape, pops as u32);
        let pops = self.shapes.cells(self.shape) - self.shapes.cells(left);
        let pushes = ValType::cells_of(results) as u32;
        self.module.code.rare.push(Pooled { rare, pops, pushes });
        Op::Rare(self.module.code.rare.len() as u32 - 1)
    }

    /// [`Body::plain`] of a rare instruction.
    pub(super) fn rare(&mut self, rare: Rare, pops: usize, results: &[ValType]) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        let op = self.pooled(rare, pops, results);
        self.plain(op, pops, results)
    }

    /// A rare instruction that does not continue behind itself.
    pub(super) fn rare_end(&mut self, rare: Rare, pops: usize) {
        if self.live {
            let op = self.pooled(rare, pops, &[]);
            self.emit(op);
            self.live = false;
        }
    }

    /// Takes over one validated instruction; `top` asks for the type that
    /// validation gives the topmost operand behind it.
    ///
    /// Inlined where it is known which instruction it is, so that little of the
    /// `match` is left.
    #[inline(always)]
    pub(super) fn instruction(
        &mut self,
        operator: &Operator<'_>,
        at: usize,
        top: impl FnOnce() -> Option<wasmparser::ValType>,
    ) -> Result<()> {
        if let Some(op) = simple_op(operator) {
            return match top() {
                Some(ty) if self.live => {
                    let pops = op.simple().map_or(0, |(pops, _)| pops);
                    self.step(op, pops, Some(val_type(at, ty)?))
                }
                _ => Ok(()),
            };
        }
        match operator {
            Operator::End => self.end(),
            Operator::Block { blockty } => self.enter_block(at, *blockty),
            Operator::Call { function_index } => self.call_function(*function_index),
            _ => match self.common(operator) {
                Some((op, pops, result)) if self.live => self.step(op, pops, result),
                Some(_) => Ok(()),
                None => self.rest(operator, at),
            },
        }
    }

    #[inline(never)]
    fn rest(&mut self, operator: &Operator<'_>, at: usize) -> Result<()> {
        if self.control(operator, at)? { Ok(()) } else { self.other(operator, at) }
    }

    fn enter_block(&mut self, at: usize, ty: BlockType) -> Result<()> {
        let signature = self.signature(at, ty)?;
        if self.live {
            self.emit(Op::Block);
        }
        self.open(Kind::Block, signature);
        Ok(())
    }

    /// Structured control and branches; whether `operator` was one.
    fn control(&mut self, operator: &Operator<'_>, at: usize) -> Result<bool> {
        match operator {
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
            Operator::Try { blockty } => {
                let signature = self.signature(at, *blockty)?;
                let handler = self.live.then(|| {
                    self.emit(Op::Block);
                    self.new_handler()
                });
                self.open(Kind::Try(handler), signature);
            }
            Operator::TryTable { try_table } => self.enter_try_table(at, try_table)?,
            Operator::Catch { tag_index } => self.enter_catch(Some(*tag_index))?,
            Operator::CatchAll => self.enter_catch(None)?,
            Operator::Delegate { relative_depth } => self.delegate(*relative_depth)?,
            Operator::Rethrow { relative_depth } => {
                let index = self.scratch.labels.len().checked_sub(1 + *relative_depth as usize);
                let label = index.and_then(|index| self.scratch.labels.get(index));
                // In reachable code the construct was entered.
                if let Some(Label { kind: Kind::Catch(Some(handler)), .. }) = label {
                    self.rare_end(Rare::Rethrow(*handler), 0);
                }
                self.live = false;
            }
            Operator::Else => self.enter_else()?,
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
                return self.retype_as_label(*relative_depth);
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
        let Some(mut label) = self.scratch.labels.pop() else {
            return Ok(());
        };
        if self.live {
            let position = self.emit(Op::Else(OpIdx(0)));
            label.wait(&mut self.scratch.patches, Patch::Op(position));
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
        self.scratch.labels.push(label);
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<()> {
        let Some(mut label) = self.scratch.labels.pop() else {
            return Ok(());
        };
        if let Kind::Try(Some(handler)) = label.kind {
            self.end_handler(handler);
        }
        if let Kind::Catch(Some(handler)) = label.kind {
            self.set_catches(handler, std::mem::take(&mut label.clauses));
        }
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
        self.patch_all(&label, next);
        self.live = label.entered;
        if self.live {
            self.restack(&label, false)?;
        }
        Ok(())
    }
}
