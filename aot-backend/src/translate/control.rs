//! Control flow: which block each boundary belongs to.
//!
//! ```text
//!   block .. end         if .. else .. end        if .. end         loop .. end
//!     :                   brif                     brif               jump
//!   [end]                 /     \                  /    \              |
//!     |   <- branches   ..      ..               ..      |           header <- branches
//!   after              [else]   [end]              \     |             :
//!                         \     /  <- branches     [end]-'           [end]
//!                          after                     |  <- branches    :
//!                                                  after
//! ```
//! `[x]` is the boundary of instruction `x`; *after* starts with the boundary
//! of the instruction that follows `end`. An `if` without `else` reaches its
//! `end` on the false path too: its implicit else arm ends there.

use super::exception::Legacy;
use super::{Outcome, Translator};
use crate::abi::{POINTER, trap_code};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockCall, InstBuilder, JumpTableData, Value};
use dwarf_map::StableKind;
use std::collections::HashMap;
use wasm_view::{FuncType, Trap, ValType, WasmOffset};
use wasmparser::{BlockType, Operator};

/// An open construct.
pub(super) struct Frame {
    kind: FrameKind,
    /// Where branches to its label go: past its `end`, or a loop's body.
    pub target: Block,
    /// Operands below its parameters.
    pub height: usize,
    params: Vec<ValType>,
    results: Vec<ValType>,
    /// Whether some branch in reachable code targets its label.
    branched: bool,
}

pub(super) enum FrameKind {
    /// The function, a `block`, or an `if` whose else arm is being translated.
    Forward,
    /// A `try_table`.
    Try,
    /// A legacy `try`.
    Legacy(Legacy),
    Loop,
    /// An `if` before its `else`: where a false condition goes.
    Then {
        otherwise: Block,
    },
}

impl Frame {
    /// The function's own frame; branches to it leave through `exit`.
    pub fn function(exit: Block, ty: &FuncType) -> Self {
        Frame {
            kind: FrameKind::Forward,
            target: exit,
            height: 0,
            params: Vec::new(),
            results: ty.results.clone(),
            branched: false,
        }
    }

    /// What is particular to a legacy `try`.
    pub fn legacy(&self) -> Option<&Legacy> {
        match &self.kind {
            FrameKind::Legacy(legacy) => Some(legacy),
            _ => None,
        }
    }

    /// Likewise.
    pub fn legacy_mut(&mut self) -> Option<&mut Legacy> {
        match &mut self.kind {
            FrameKind::Legacy(legacy) => Some(legacy),
            _ => None,
        }
    }

    /// Types of the operands that a branch to its label takes along.
    fn label_types(&self) -> &[ValType] {
        match self.kind {
            FrameKind::Loop => &self.params,
            _ => &self.results,
        }
    }
}

impl Translator<'_, '_> {
    /// Statically unreachable code: no boundaries, only nesting is tracked.
    pub(super) fn unreachable_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Outcome {
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. }
            | Operator::Try { .. } => {
                self.dead_depth += 1;
                Ok(())
            }
            Operator::End | Operator::Delegate { .. } if self.dead_depth > 0 => {
                self.dead_depth -= 1;
                Ok(())
            }
            Operator::Else | Operator::Catch { .. } | Operator::CatchAll if self.dead_depth > 0 => {
                Ok(())
            }
            _ => self.closing_operator(offset, operator).unwrap_or(Ok(())),
        }
    }

    /// What closes a construct or an arm of one; `None` for anything else.
    pub(super) fn closing_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Option<Outcome> {
        Some(match operator {
            Operator::Else => self.else_(offset),
            Operator::End | Operator::Delegate { .. } => self.end(offset),
            Operator::Catch { tag_index } => self.legacy_catch(offset, Some(*tag_index)),
            Operator::CatchAll => self.legacy_catch(offset, None),
            _ => return None,
        })
    }

    pub(super) fn control_operator(
        &mut self,
        _offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        match operator {
            Operator::Unreachable => {
                // In a block of its own: Cranelift takes a block that ends in a
                // trap for cold, and reports no locations within cold blocks.
                let trap = self.builder.create_block();
                self.builder.ins().jump(trap, &[]);
                self.enter(trap);
                self.builder.ins().trap(trap_code(Trap::Unreachable));
                self.reachable = false;
            }
            Operator::Block { blockty } => {
                let after = self.builder.create_block();
                self.open(FrameKind::Forward, after, blockty)?;
            }
            Operator::Loop { blockty } => {
                let header = self.builder.create_block();
                self.builder.ins().jump(header, &[]);
                self.builder.switch_to_block(header);
                self.open_loops.insert(header);
                self.open(FrameKind::Loop, header, blockty)?;
                self.next_stable = Some(StableKind::LoopHeader);
            }
            Operator::If { blockty } => {
                let condition = self.operand()?;
                let [then, otherwise, after] = [(); 3].map(|()| self.builder.create_block());
                self.builder.ins().brif(condition, then, &[], otherwise, &[]);
                self.builder.seal_block(then);
                self.builder.switch_to_block(then);
                self.open(FrameKind::Then { otherwise }, after, blockty)?;
            }
            Operator::Br { relative_depth } => {
                let target = self.branch_arguments(*relative_depth)?;
                self.builder.ins().jump(target, &[]);
                self.reachable = false;
            }
            Operator::Return => {
                let outermost = self.frames.len().saturating_sub(1);
                let depth = u32::try_from(outermost).map_err(CompileError::bug)?;
                let target = self.branch_arguments(depth)?;
                self.builder.ins().jump(target, &[]);
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.operand()?;
                self.branch_if(condition, *relative_depth)?;
            }
            Operator::BrTable { targets } => self.br_table(targets)?,
            Operator::BrOnNull { relative_depth } => self.br_on_null(*relative_depth)?,
            Operator::BrOnNonNull { relative_depth } => self.br_on_non_null(*relative_depth)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Branches to a label unless the condition is 0, else goes on.
    fn branch_if(&mut self, condition: Value, depth: u32) -> Outcome {
        let next = self.builder.create_block();
        if self.is_direct(depth)? {
            let target = self.branch_arguments(depth)?;
            self.builder.ins().brif(condition, target, &[], next, &[]);
        } else {
            let taken = self.builder.create_block();
            self.builder.ins().brif(condition, taken, &[], next, &[]);
            self.builder.seal_block(taken);
            self.builder.switch_to_block(taken);
            let target = self.branch_arguments(depth)?;
            self.builder.ins().jump(target, &[]);
        }
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        Ok(())
    }

    fn br_on_null(&mut self, depth: u32) -> Outcome {
        let (ty, reference) = self.reference_operand()?;
        let null = self.builder.ins().iconst(POINTER, 0);
        let is_null = self.builder.ins().icmp(IntCC::Equal, reference, null);
        self.branch_if(is_null, depth)?;
        self.push(ty, reference);
        Ok(())
    }

    /// The label takes the reference along, what follows goes without it.
    fn br_on_non_null(&mut self, depth: u32) -> Outcome {
        let (ty, reference) = self.reference_operand()?;
        self.push(ty, reference);
        self.branch_if(reference, depth)?;
        self.pop()?;
        Ok(())
    }

    fn br_table(&mut self, targets: &wasmparser::BrTable<'_>) -> Outcome {
        let index = self.operand()?;
        // A label that needs its arguments moved gets one block to do it in,
        // however often it is listed.
        let mut moving: Vec<(u32, Block)> = Vec::new();
        let mut edges: HashMap<u32, Block> = HashMap::new();
        let mut edge = |this: &mut Self, depth: u32| -> Result<Block, CompileError> {
            if let Some(&known) = edges.get(&depth) {
                return Ok(known);
            }
            let block = if this.is_direct(depth)? {
                this.branch_arguments(depth)?
            } else {
                let block = this.builder.create_block();
                moving.push((depth, block));
                block
            };
            edges.insert(depth, block);
            Ok(block)
        };
        let mut arms = Vec::new();
        for depth in targets.targets() {
            // Validated already: cannot fail.
            let depth = depth.map_err(CompileError::bug)?;
            arms.push(edge(self, depth)?);
        }
        let default = edge(self, targets.default())?;
        let pool = &mut self.builder.func.dfg.value_lists;
        let default = BlockCall::new(default, [], pool);
        let arms: Vec<BlockCall> =
            arms.into_iter().map(|block| BlockCall::new(block, [], pool)).collect();
        let table = self.builder.create_jump_table(JumpTableData::new(default, &arms));
        self.builder.ins().br_table(index, table);
        for (depth, block) in moving {
            self.builder.seal_block(block);
            self.builder.switch_to_block(block);
            let target = self.branch_arguments(depth)?;
            self.builder.ins().jump(target, &[]);
        }
        self.reachable = false;
        Ok(())
    }

    /// Opens a construct whose parameters are on the stack.
    pub(super) fn open(&mut self, kind: FrameKind, target: Block, ty: &BlockType) -> Outcome {
        let (params, results) = match *ty {
            BlockType::Empty => (Vec::new(), Vec::new()),
            BlockType::Type(ty) => (Vec::new(), vec![crate::module::val_type(ty)]),
            BlockType::FuncType(index) => {
                let ty = self.wasm_type(index)?;
                (ty.params, ty.results)
            }
        };
        let height = self
            .state
            .height()
            .checked_sub(params.len())
            .ok_or_else(|| CompileError::bug("a block without its parameters"))?;
        self.frames.push(Frame { kind, target, height, params, results, branched: false });
        Ok(())
    }

    pub(super) fn frame_position(&self, depth: u32) -> Result<usize, CompileError> {
        self.frames
            .len()
            .checked_sub(1 + depth as usize)
            .ok_or_else(|| CompileError::bug("a branch out of the function"))
    }

    /// Whether a label finds its arguments where they already are.
    fn is_direct(&self, depth: u32) -> Result<bool, CompileError> {
        let frame = &self.frames[self.frame_position(depth)?];
        let arguments = frame.label_types().len();
        Ok(arguments == 0 || self.state.height() == frame.height + arguments)
    }

    /// A branch to a label of which there is no code.
    pub(super) fn mark_branched(&mut self, depth: u32) -> Outcome {
        let position = self.frame_position(depth)?;
        self.frames[position].branched = true;
        Ok(())
    }

    /// Puts a label's arguments in place and returns its block; the current
    /// block must end with a branch there.
    pub(super) fn branch_arguments(&mut self, depth: u32) -> Result<Block, CompileError> {
        let position = self.frame_position(depth)?;
        let frame = &mut self.frames[position];
        frame.branched = true;
        self.state.move_top(&mut self.builder, frame.height, frame.label_types());
        Ok(frame.target)
    }

    /// `else`, reached by falling out of the then arm or not at all.
    pub(super) fn else_(&mut self, offset: WasmOffset) -> Outcome {
        if self.reachable {
            self.boundary(offset, false)?;
        }
        let reachable = self.reachable;
        let frame = self.frames.last_mut().ok_or_else(|| CompileError::bug("else outside if"))?;
        let FrameKind::Then { otherwise } = frame.kind else {
            return Err(CompileError::bug("else without if"));
        };
        frame.kind = FrameKind::Forward;
        if reachable {
            self.builder.ins().jump(frame.target, &[]);
        }
        self.state.reset(frame.height, &frame.params);
        self.enter(otherwise);
        Ok(())
    }

    /// `end`, reached by falling into it or not at all.
    pub(super) fn end(&mut self, offset: WasmOffset) -> Outcome {
        let Some(frame) = self.frames.last() else {
            return Err(CompileError::bug("end outside everything"));
        };
        if let FrameKind::Then { otherwise } = frame.kind {
            // The implicit else arm: its parameters are its results, and both
            // arms meet at this `end`.
            let (height, params) = (frame.height, frame.params.clone());
            if self.reachable {
                self.builder.ins().jump(otherwise, &[]);
            }
            self.state.reset(height, &params);
            self.enter(otherwise);
        }
        if self.reachable {
            self.boundary(offset, false)?;
        }
        let Some(frame) = self.frames.pop() else {
            return Err(CompileError::bug("end outside everything"));
        };
        let is_loop = matches!(frame.kind, FrameKind::Loop);
        if is_loop {
            self.builder.seal_block(frame.target);
            self.open_loops.remove(&frame.target);
        }
        if self.frames.is_empty() {
            return self.finish(frame);
        }
        match frame.kind {
            FrameKind::Try => {
                if self.reachable {
                    self.builder.ins().jump(frame.target, &[]);
                }
                self.landings(frame.height)?;
            }
            // Without clauses, or with `delegate`.
            FrameKind::Legacy(Legacy::Body) => {
                self.close_scope();
            }
            _ => {}
        }
        if is_loop && self.reachable {
            // Goes on in the same block.
            return Ok(());
        }
        self.state.reset(frame.height, &frame.results);
        if is_loop {
            // What follows a loop that is never left: valid, but no path leads
            // there. Cranelift drops it, and the map says so.
            let nowhere = self.builder.create_block();
            self.enter(nowhere);
        } else {
            if self.reachable {
                self.builder.ins().jump(frame.target, &[]);
            }
            self.enter(frame.target);
            if frame.branched {
                self.next_stable = Some(StableKind::Label);
            }
        }
        Ok(())
    }

    /// The function's final `end`.
    fn finish(&mut self, frame: Frame) -> Outcome {
        if self.reachable {
            self.builder.ins().jump(frame.target, &[]);
        }
        self.state.reset(0, &frame.results);
        self.enter(frame.target);
        let results = self.pop_many(frame.results.len())?;
        self.builder.ins().return_(&results);
        self.reachable = false;
        Ok(())
    }

    /// Continues in a block to which every branch has been made.
    pub(super) fn enter(&mut self, block: Block) {
        self.builder.seal_block(block);
        self.builder.switch_to_block(block);
        self.reachable = true;
    }
}
