//! The side table, computed a second time.
//!
//! A branch with a wrong entry leads to the wrong instruction or leaves the
//! wrong operands, and everything that depends on this interpreter would take
//! the result for the truth. So a checker reads the module's bytes once more
//! and knows nothing of how the decoder works: which construct a label is comes
//! from matching each opening with its `end`, how high the stack is and whether
//! code is reachable from the validator's own frames (core spec, "Appendix,
//! Validation Algorithm"). Compared are target, kept cells and height of every
//! branch, those of `br_table`, of casts and of `catch` clauses among them, and
//! the boundaries and operand stacks along the way. An entry that nothing uses
//! is reported too, so that none goes unchecked.

use super::Inconsistency;
use crate::module::{Module, OpIdx};
use crate::op::{Branch, Op};
use crate::rare::{CatchClause, Rare};
use wasm_view::{ValType, WasmOffset};
use wasmparser::{
    BlockType, Catch, FrameKind, FuncValidator, FunctionBody, Operator, Parser, TryTable,
    ValidPayload, Validator, ValidatorResources, WasmModuleResources,
};

/// Where a branch leads and what it leaves on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchEffect {
    /// The instruction that follows; `None` returns from the function.
    pub target: Option<WasmOffset>,
    /// Cells carried along from the top of the stack.
    pub keep: u32,
    /// Cells of operands that stay below those.
    pub height: u32,
}

/// Compares every branch of a module with what its bytes say.
///
/// # Errors
///
/// The first difference.
pub fn check_branches(module: &Module) -> Result<(), Inconsistency> {
    let invalid = |error: wasmparser::Error| Inconsistency::Unreadable(error.to_string());
    let mut validator = Validator::new_with_features(Module::FEATURES);
    let mut parser = Parser::new(0);
    parser.set_features(Module::FEATURES);
    let mut used = vec![false; module.code.branches.len()];
    let mut next = Counters::default();
    for payload in parser.parse_all(module.bytes()) {
        let payload = payload.map_err(invalid)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            let validator = function.into_validator(Default::default());
            let mut walk = Walk {
                module,
                validator,
                used: &mut used,
                next: &mut next,
                open: Vec::new(),
                constructs: Vec::new(),
                expected: Vec::new(),
            };
            walk.function(&body).map_err(invalid)??;
        }
    }
    if next.op as usize != module.code.ops.len() {
        return Err(Inconsistency::Boundary { position: next.op, offset: None });
    }
    match used.iter().position(|used| !used) {
        Some(entry) => Err(Inconsistency::UnusedBranch { entry }),
        None => Ok(()),
    }
}

/// How far the walk has come in what the decoder lists for a whole module.
#[derive(Debug, Default)]
struct Counters {
    op: u32,
    handler: u32,
}

/// A construct, by number.
#[derive(Clone, Copy, Debug)]
struct ConstructId(usize);

#[derive(Clone, Copy, Debug)]
struct Construct {
    /// Its first instruction.
    first: usize,
    /// The instruction behind its `end`, once that was met.
    behind: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    id: ConstructId,
    /// Whether its beginning is reachable.
    entered: bool,
    /// The op of an `if`, until it is known where that goes.
    condition: Option<OpIdx>,
    /// Of a `try` of either kind that is reachable: its handler, and its clauses so far.
    handler: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Return,
    First(ConstructId),
    Behind(ConstructId),
    At(usize),
}

/// What a branch should do.
#[derive(Clone, Copy, Debug)]
struct Label {
    target: Target,
    keep: u32,
    height: u32,
}

/// What the decoder has made of a branch.
#[derive(Clone, Copy, Debug)]
enum Made {
    Entry(u32),
    /// A jump that leaves a stack of so many cells as it is.
    Plain(OpIdx, u32),
    /// A jump whose stack is none of its business: of `if` and `else`.
    Jump(OpIdx),
}

struct Walk<'m> {
    module: &'m Module,
    validator: FuncValidator<ValidatorResources>,
    used: &'m mut [bool],
    next: &'m mut Counters,
    open: Vec<Open>,
    constructs: Vec<Construct>,
    /// The function's branches: compared when all targets are known.
    expected: Vec<(usize, Label, Made)>,
}

type Checked<T> = wasmparser::Result<Result<T, Inconsistency>>;

impl Walk<'_> {
    fn function(&mut self, body: &FunctionBody<'_>) -> Checked<()> {
        self.validator.read_locals(&mut body.get_binary_reader())?;
        let mut operators = body.get_operators_reader()?;
        self.enter(operators.original_position(), true);
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            let live = self.is_live();
            let position = OpIdx(self.next.op);
            let end = matches!(operator, Operator::End | Operator::Delegate { .. });
            // A false condition without `else` continues at the `end`, which is
            // reachable then even if what stands before it is not.
            let skipped = end && self.open.last().is_some_and(|open| open.condition.is_some());
            let made = if live || skipped {
                let op = match self.boundary(at, live) {
                    Ok(op) => op,
                    Err(difference) => return Ok(Err(difference)),
                };
                self.next.op += 1;
                Some(op)
            } else {
                None
            };
            if let (Some(op), true) = (made, live)
                && let Err(difference) = self.branches(at, &operator, op)
            {
                return Ok(Err(difference));
            }
            if let Err(difference) = self.structure(at, &operator, live, position, made) {
                return Ok(Err(difference));
            }
            self.validator.op(at, &operator)?;
            let behind = operators.original_position();
            self.constructs_around(&operator, behind, live, position);
            if let Some(tag) = clause(&operator)
                && let Err(difference) = self.legacy_clause(at, behind, tag)
            {
                return Ok(Err(difference));
            }
        }
        operators.finish()?;
        Ok(self.compare())
    }

    fn is_live(&self) -> bool {
        self.open.last().is_some_and(|open| open.entered)
            && self.validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable)
    }

    /// The op that must be there, with the stack that must be before it.
    fn boundary(&self, at: usize, live: bool) -> Result<Op, Inconsistency> {
        let Counters { op: position, .. } = *self.next;
        let code = &self.module.code;
        let offset = WasmOffset::new(at as u32);
        if code.offsets.get(position as usize) != Some(&offset) {
            return Err(Inconsistency::Boundary { position, offset: Some(offset) });
        }
        if live {
            let types = self.module.operand_types_at(OpIdx(position));
            let height = self.validator.operand_stack_height() as usize;
            let same = types.len() == height
                && types.iter().enumerate().all(|(index, ty)| {
                    let valid = self.validator.get_operand_type(height - 1 - index);
                    matches!(valid, Some(Some(valid)) if is_alike(*ty, valid))
                });
            if !same {
                return Err(Inconsistency::Operands { offset, types });
            }
        }
        Ok(code.ops[position as usize])
    }

    /// Branches of a reachable instruction to labels around it.
    fn branches(
        &mut self,
        at: usize,
        operator: &Operator<'_>,
        op: Op,
    ) -> Result<(), Inconsistency> {
        let other = || Inconsistency::Op { offset: WasmOffset::new(at as u32) };
        let code = &self.module.code;
        let stack = self.cells(self.validator.operand_stack_height() as usize);
        match (operator, op) {
            (Operator::Br { relative_depth }, Op::BrPlain(target)) => {
                self.expect(at, *relative_depth, Made::Plain(target, stack));
            }
            (Operator::BrIf { relative_depth }, Op::BrIfPlain(target)) => {
                self.expect(at, *relative_depth, Made::Plain(target, stack - 1));
            }
            (Operator::Br { relative_depth }, Op::Br(entry))
            | (Operator::BrIf { relative_depth }, Op::BrIf(entry)) => {
                self.expect(at, *relative_depth, Made::Entry(entry));
            }
            (Operator::BrTable { targets }, Op::BrTable(table)) => {
                let entries = code.branch_tables.get(table as usize).cloned().ok_or_else(other)?;
                if entries.len() != targets.len() as usize + 1 {
                    return Err(other());
                }
                let depths = targets.targets().map_while(Result::ok).chain([targets.default()]);
                for (entry, depth) in entries.zip(depths) {
                    self.expect(at, depth, Made::Entry(entry));
                }
            }
            (Operator::TryTable { try_table }, Op::Block) => self.clauses(at, try_table)?,
            (
                Operator::BrOnNull { relative_depth }
                | Operator::BrOnNonNull { relative_depth }
                | Operator::BrOnCast { relative_depth, .. }
                | Operator::BrOnCastFail { relative_depth, .. },
                Op::Rare(index),
            ) => match code.rare.get(index as usize).map(|pooled| pooled.rare) {
                Some(
                    Rare::BrOnNull(branch)
                    | Rare::BrOnNonNull(branch)
                    | Rare::BrOnCast { branch, .. }
                    | Rare::BrOnCastFail { branch, .. },
                ) => self.expect(at, *relative_depth, Made::Entry(branch)),
                _ => return Err(other()),
            },
            (
                Operator::Br { .. }
                | Operator::BrIf { .. }
                | Operator::BrTable { .. }
                | Operator::TryTable { .. }
                | Operator::BrOnNull { .. }
                | Operator::BrOnNonNull { .. }
                | Operator::BrOnCast { .. }
                | Operator::BrOnCastFail { .. },
                _,
            ) => return Err(other()),
            _ => {}
        }
        Ok(())
    }

    /// The clauses of `try_table`, whose labels are around it.
    fn clauses(&mut self, at: usize, table: &TryTable) -> Result<(), Inconsistency> {
        let other = || Inconsistency::Op { offset: WasmOffset::new(at as u32) };
        let code = &self.module.code;
        let handler = code.handlers.get(self.next.handler as usize).ok_or_else(other)?;
        let clauses = handler.first_catch as usize..handler.last_catch as usize;
        let clauses = code.catches.get(clauses).ok_or_else(other)?;
        if clauses.len() != table.catches.len() {
            return Err(other());
        }
        for (clause, catch) in clauses.iter().zip(&table.catches) {
            let (tag, label, with_ref) = match *catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            let CatchClause { legacy, branch, .. } = *clause;
            if legacy || clause.with_ref != with_ref || clause.tag.map(|tag| tag.get()) != tag {
                return Err(other());
            }
            self.expect(at, label, Made::Entry(branch));
        }
        Ok(())
    }

    /// The jumps of `if` and `else`, and of what precedes a legacy `catch`.
    fn structure(
        &mut self,
        at: usize,
        operator: &Operator<'_>,
        live: bool,
        position: OpIdx,
        made: Option<Op>,
    ) -> Result<(), Inconsistency> {
        let other = || Inconsistency::Op { offset: WasmOffset::new(at as u32) };
        let Some(open) = self.open.last().copied() else { return Ok(()) };
        let jump = |target| Label { target, keep: 0, height: 0 };
        match operator {
            Operator::If { .. } if live && !matches!(made, Some(Op::If(_))) => Err(other()),
            Operator::Else | Operator::Catch { .. } | Operator::CatchAll if live => match made {
                Some(Op::Else(to)) => {
                    self.expected.push((at, jump(Target::Behind(open.id)), Made::Jump(to)));
                    Ok(())
                }
                _ => Err(other()),
            },
            Operator::End => match (open.condition, self.open.len()) {
                (Some(condition), _) => {
                    let Some(Op::If(to)) = self.module.code.ops.get(condition.index()) else {
                        return Err(other());
                    };
                    debug_assert!(position.index() > condition.index());
                    self.expected.push((at, jump(Target::At(at)), Made::Jump(*to)));
                    Ok(())
                }
                (None, 1) if live && made != Some(Op::FuncEnd) => Err(other()),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Keeps the list of open constructs behind an instruction.
    fn constructs_around(
        &mut self,
        operator: &Operator<'_>,
        behind: usize,
        live: bool,
        position: OpIdx,
    ) {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } => self.enter(behind, live),
            Operator::If { .. } => {
                self.enter(behind, live);
                if let Some(open) = self.open.last_mut() {
                    open.condition = live.then_some(position);
                }
            }
            Operator::Try { .. } | Operator::TryTable { .. } => {
                self.enter(behind, live);
                if let (Some(open), true) = (self.open.last_mut(), live) {
                    open.handler = Some((self.next.handler, 0));
                    self.next.handler += 1;
                }
            }
            Operator::Else => {
                let Some(open) = self.open.last_mut() else { return };
                if let Some(condition) = open.condition.take()
                    && let Some(Op::If(to)) = self.module.code.ops.get(condition.index())
                {
                    let label = Label { target: Target::At(behind), keep: 0, height: 0 };
                    self.expected.push((behind, label, Made::Jump(*to)));
                }
            }
            Operator::End | Operator::Delegate { .. } => {
                if let Some(open) = self.open.pop() {
                    self.constructs[open.id.0].behind = behind;
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, first: usize, entered: bool) {
        let id = ConstructId(self.constructs.len());
        self.constructs.push(Construct { first, behind: 0 });
        self.open.push(Open { id, entered, condition: None, handler: None });
    }

    /// A legacy `catch`, which has been validated: where an exception arrives.
    fn legacy_clause(
        &mut self,
        at: usize,
        behind: usize,
        tag: Option<u32>,
    ) -> Result<(), Inconsistency> {
        let other = || Inconsistency::Op { offset: WasmOffset::new(at as u32) };
        let Some(Open { entered: true, handler: Some((handler, clauses)), .. }) =
            self.open.last_mut()
        else {
            return Ok(());
        };
        let code = &self.module.code;
        let listed = code.handlers.get(*handler as usize).ok_or_else(other)?;
        let clause = listed.first_catch + *clauses;
        *clauses += 1;
        if clause >= listed.last_catch {
            return Err(other());
        }
        let clause = code.catches.get(clause as usize).ok_or_else(other)?;
        if !clause.legacy || clause.tag.map(|tag| tag.get()) != tag {
            return Err(other());
        }
        let tag = tag.and_then(|tag| self.validator.resources().tag_at(tag));
        let keep = tag.map_or(0, |ty| cells_of(ty.params()));
        let height = self.validator.get_control_frame(0).map_or(0, |frame| frame.height);
        let label = Label { target: Target::At(behind), keep, height: self.cells(height) };
        self.expected.push((at, label, Made::Entry(clause.branch)));
        Ok(())
    }

    /// Notes a branch to the label at `depth`.
    fn expect(&mut self, at: usize, depth: u32, made: Made) {
        let depth = depth as usize;
        let open = self.open.len().checked_sub(1 + depth).and_then(|index| self.open.get(index));
        let (Some(open), Some(frame)) = (open, self.validator.get_control_frame(depth)) else {
            // The validator, which is asked next, refuses it.
            return;
        };
        let (target, keep) = match frame.kind {
            FrameKind::Loop => (Target::First(open.id), self.carried(frame.block_type, true)),
            _ if depth + 1 == self.open.len() => {
                (Target::Return, self.carried(frame.block_type, false))
            }
            _ => (Target::Behind(open.id), self.carried(frame.block_type, false)),
        };
        let label = Label { target, keep, height: self.cells(frame.height) };
        self.expected.push((at, label, made));
    }

    /// Cells of a block type's parameters or results.
    fn carried(&self, ty: BlockType, params: bool) -> u32 {
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) if params => 0,
            BlockType::Type(ty) => cells_of(&[ty]),
            BlockType::FuncType(index) => {
                let ty = self.validator.resources().sub_type_at(index);
                ty.map_or(0, |ty| {
                    let ty = ty.unwrap_func();
                    cells_of(if params { ty.params() } else { ty.results() })
                })
            }
        }
    }

    /// Cells of the lowest `count` operands.
    fn cells(&self, count: usize) -> u32 {
        let height = self.validator.operand_stack_height() as usize;
        let ty = |index| self.validator.get_operand_type(height - 1 - index).flatten();
        (0..count).map(|index| ty(index).map_or(1, |ty| cells_of(&[ty]))).sum()
    }

    /// Compares the function's branches, all of whose targets are known now.
    fn compare(&mut self) -> Result<(), Inconsistency> {
        let offsets = &self.module.code.offsets;
        for &(at, label, made) in &self.expected {
            let target = match label.target {
                Target::Return => None,
                Target::First(id) => Some(self.constructs[id.0].first),
                Target::Behind(id) => Some(self.constructs[id.0].behind),
                Target::At(offset) => Some(offset),
            };
            let target = target.map(|offset| WasmOffset::new(offset as u32));
            let expected = BranchEffect { target, keep: label.keep, height: label.height };
            let to = |target: OpIdx| match target {
                Branch::RETURN => None,
                // A position that is not there is no offset of the module.
                target => {
                    let offset = offsets.get(target.index()).copied();
                    Some(offset.unwrap_or(WasmOffset::new(u32::MAX)))
                }
            };
            let actual = match made {
                Made::Entry(entry) => match self.module.code.branches.get(entry as usize) {
                    Some(&Branch { target, keep, height }) => {
                        self.used[entry as usize] = true;
                        BranchEffect { target: to(target), keep, height }
                    }
                    None => BranchEffect { target: None, keep: u32::MAX, height: u32::MAX },
                },
                Made::Plain(target, cells) => BranchEffect {
                    target: to(target),
                    keep: label.keep,
                    height: cells.wrapping_sub(label.keep),
                },
                Made::Jump(target) => BranchEffect { target: to(target), ..expected },
            };
            if actual != expected {
                let offset = WasmOffset::new(at as u32);
                return Err(Inconsistency::Branch { offset, expected, actual });
            }
        }
        Ok(())
    }
}

/// The tag of a legacy `catch`; `Some(None)` for `catch_all`.
fn clause(operator: &Operator<'_>) -> Option<Option<u32>> {
    match operator {
        Operator::Catch { tag_index } => Some(Some(*tag_index)),
        Operator::CatchAll => Some(None),
        _ => None,
    }
}

fn cells_of(types: &[wasmparser::ValType]) -> u32 {
    types.iter().map(|ty| if *ty == wasmparser::ValType::V128 { 2 } else { 1 }).sum()
}

/// Whether a type is the validator's, whose references have other indices.
fn is_alike(ours: ValType, valid: wasmparser::ValType) -> bool {
    matches!(
        (ours, valid),
        (ValType::I32, wasmparser::ValType::I32)
            | (ValType::I64, wasmparser::ValType::I64)
            | (ValType::F32, wasmparser::ValType::F32)
            | (ValType::F64, wasmparser::ValType::F64)
            | (ValType::V128, wasmparser::ValType::V128)
            | (ValType::Ref(_), wasmparser::ValType::Ref(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of branch, with operands to keep and to drop.
    const ALL_KINDS: &str = r#"(module
        (tag $t (param i32 v128)) (table 1 funcref)
        (func (export "f") (param i32 funcref) (result i32)
            i64.const 1
            (block $b (result i32)
                v128.const i64x2 1 2
                i32.const 7
                (br_if $b (local.get 0))
                (br_table $b $b (local.get 0)))
            (loop $l (param i32) (result i32)
                i64.const 0
                (br_if 1 (i32.const 3) (local.get 0)) drop drop
                (br $l (i32.const 4)))
            (if (param i32) (result i32) (local.get 0)
                (then i32.const 1 i32.add) (else i32.const 2 i32.add))
            (if (local.get 0) (then nop))
            (loop $p (br_if $p (local.get 0)))
            (block $q (br $q))
            (block $n (br_on_null $n (local.get 1)) drop)
            (block $h (result i32 v128)
                (try_table (catch $t $h) (throw $t (i32.const 1) (v128.const i64x2 0 0)))
                i32.const 0 v128.const i64x2 0 0)
            drop drop
            local.set 0 drop local.get 0))"#;

    const LEGACY: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x08\x02\x60\0\0\x60\x01\x7f\0\x03\x02\x01\0\x0d\x03\x01\0\x01\
        \x0a\x0f\x01\x0d\0\x06\x40\x41\x05\x08\0\x07\0\x1a\x19\x0b\x0b";

    fn decode(wat: &str) -> Module {
        Module::decode(&wat::parse_str(wat).unwrap()).unwrap()
    }

    #[test]
    fn what_is_decoded_passes() {
        let module = decode(ALL_KINDS);
        assert!(module.code.branches.len() > 5);
        check_branches(&module).unwrap();
        let module = Module::decode(LEGACY).unwrap();
        assert_eq!(module.code.catches.len(), 2);
        check_branches(&module).unwrap();
    }

    /// Every entry of the side table, each of its parts in turn, made wrong.
    #[test]
    fn a_wrong_entry_is_reported() {
        for bytes in [wat::parse_str(ALL_KINDS).unwrap(), LEGACY.to_vec()] {
            let mut module = Module::decode(&bytes).unwrap();
            for index in 0..module.code.branches.len() {
                let right = module.code.branches[index];
                let target = OpIdx(right.target.0.wrapping_add(1));
                for wrong in [
                    Branch { target, ..right },
                    Branch { keep: right.keep + 1, ..right },
                    Branch { height: right.height + 1, ..right },
                ] {
                    module.code.branches[index] = wrong;
                    let found = check_branches(&module);
                    assert!(
                        matches!(found, Err(Inconsistency::Branch { .. })),
                        "{wrong:?}: {found:?}"
                    );
                }
                module.code.branches[index] = right;
            }
            check_branches(&module).unwrap();
        }
    }

    /// Every jump without an entry, made wrong.
    #[test]
    fn a_wrong_jump_is_reported() {
        let mut module = decode(ALL_KINDS);
        let mut jumps = 0;
        for position in 0..module.code.ops.len() {
            let right = module.code.ops[position];
            let wrong = match right {
                Op::If(to) => Op::If(OpIdx(to.0 + 1)),
                Op::Else(to) => Op::Else(OpIdx(to.0 - 1)),
                Op::BrPlain(to) => Op::BrPlain(OpIdx(to.0 + 1)),
                Op::BrIfPlain(to) => Op::BrIfPlain(OpIdx(to.0 + 1)),
                _ => continue,
            };
            jumps += 1;
            module.code.ops[position] = wrong;
            let found = check_branches(&module);
            assert!(matches!(found, Err(Inconsistency::Branch { .. })), "{wrong:?}: {found:?}");
            module.code.ops[position] = right;
        }
        assert!(jumps >= 5, "{jumps}");
    }

    #[test]
    fn entries_of_nothing_and_lost_boundaries_are_reported() {
        let mut module = decode(ALL_KINDS);
        let extra = module.code.branches[0];
        module.code.branches.push(extra);
        assert!(matches!(check_branches(&module), Err(Inconsistency::UnusedBranch { .. })));
        let mut module = decode(ALL_KINDS);
        module.code.offsets[3] = WasmOffset::new(0);
        assert!(matches!(
            check_branches(&module),
            Err(Inconsistency::Boundary { position: 3, .. })
        ));
    }
}
