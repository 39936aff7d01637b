//! Which slots matter at a boundary.
//!
//! A slot is *live* if its value may reach an observable use through data flow
//! before it is set; otherwise it is *dead*, and nothing that the program does
//! depends on it. This is strong liveness: a value that is only copied or
//! computed with, towards a slot that is itself dead, is dead too.
//!
//! A vector is two cells, both live or both dead; what follows speaks of cells.
//!
//! Observable uses:
//! - what is stored: to memory, to a global, to a table;
//! - addresses and indices, also of loads, which may trap;
//! - operands of divisions, remainders and trapping conversions;
//! - arguments of calls, results of the function, the index of `call_indirect`;
//! - conditions and indices of branches;
//! - operands of `memory.grow`, `table.grow` and bulk operations.
//!
//! Not uses: `drop`; operands that a branch unwinds or a return leaves behind;
//! anything before `unreachable`, as no frame outlives a trap.
//!
//! The rules are backward transfer functions over the decoded instructions,
//! iterated to the least fixpoint; only branches to loops go backward, so one
//! pass per nesting of loops is typical. Written as "live before := live
//! after", with operands named by position:
//!
//! | instruction | rule |
//! |---|---|
//! | `local.get x` | x := x or the new operand |
//! | `local.set x` | operand := x; x := dead |
//! | `local.tee x` | operand := operand or x; x := dead |
//! | total numeric, `select`, `ref.is_null` | every operand := the result |
//! | trapping numeric, loads, `table.get` | every operand := live |
//! | `drop` | operand := dead |
//! | branches | what is carried along := its place at the target |
//! | calls, throws | also what is live where a handler of this function continues |

use crate::module::{FunctionDef, Module, OpIdx};
use crate::op::{Branch, Nature, Op};
use crate::rare::Rare;
use wasm_view::{FuncIdx, SlotIdx, TypeIdx, ValType, WasmOffset};

/// The live slots at every boundary of one function.
#[derive(Clone, Debug)]
pub struct Liveness {
    offsets: Vec<WasmOffset>,
    /// First cell of each slot, per boundary where that is not its number.
    cells: Option<Vec<Vec<u32>>>,
    /// Slots at each boundary.
    counts: Vec<u32>,
    /// `words` words per boundary, a bit per slot.
    rows: Vec<u64>,
    words: usize,
}

/// Bits of one boundary.
type Row = [u64];

fn get(row: &Row, slot: usize) -> bool {
    row[slot / 64] >> (slot % 64) & 1 != 0
}

fn set(row: &mut Row, slot: usize, live: bool) {
    let bit = 1 << (slot % 64);
    if live {
        row[slot / 64] |= bit;
    } else {
        row[slot / 64] &= !bit;
    }
}

impl Liveness {
    /// Words of the largest result that is computed: half a gigabyte.
    const MAX_WORDS: usize = 1 << 26;
    /// Word operations after which the computation is given up.
    const MAX_WORK: usize = 1 << 32;

    /// Analyses a function. `None` if the module does not define it, or if it
    /// is so large that the result would not be worth its cost.
    pub fn compute(module: &Module, func: FuncIdx) -> Option<Liveness> {
        let function = module.function(func)?;
        let def = function.def();
        let words = (def.cells as usize).div_ceil(64).max(1);
        let size = words.checked_mul(def.ops.len())?;
        if size > Self::MAX_WORDS {
            return None;
        }
        let mut analysis = Analysis {
            module,
            def,
            locals: def.local_cells as usize,
            words,
            rows: vec![0; size],
            current: vec![0; words],
            work: 0,
        };
        while analysis.pass()? {}
        let types = |op: u32| {
            let operands = module.operand_types_at(OpIdx(op));
            def.locals.iter().copied().chain(operands)
        };
        let counts = def.ops.clone().map(|op| types(op).count() as u32).collect();
        let wide = def.ops.clone().any(|op| types(op).any(|ty| ty.cells() > 1));
        let first_cells = |op: u32| {
            types(op).scan(0, |next, ty| {
                let first = *next;
                *next += ty.cells() as u32;
                Some(first)
            })
        };
        let cells = wide.then(|| def.ops.clone().map(|op| first_cells(op).collect()).collect());
        Some(Liveness {
            offsets: function.boundaries().collect(),
            cells,
            counts,
            rows: analysis.rows,
            words,
        })
    }

    /// Whether a slot is live at the boundary at `offset`. Slots and
    /// boundaries that do not exist are not.
    pub fn is_live(&self, offset: WasmOffset, slot: SlotIdx) -> bool {
        self.offsets
            .binary_search(&offset)
            .is_ok_and(|index| slot.get() < self.counts[index] && self.at(index, slot.index()))
    }

    /// Liveness of every slot at the boundary at `offset`, locals first; empty
    /// if there is no such boundary.
    pub fn slots(&self, offset: WasmOffset) -> impl Iterator<Item = bool> + '_ {
        let index = self.offsets.binary_search(&offset).ok();
        index.into_iter().flat_map(move |index| {
            (0..self.counts[index] as usize).map(move |slot| self.at(index, slot))
        })
    }

    fn at(&self, index: usize, slot: usize) -> bool {
        let row = &self.rows[index * self.words..(index + 1) * self.words];
        match &self.cells {
            Some(cells) => get(row, cells[index][slot] as usize),
            None => get(row, slot),
        }
    }
}

struct Analysis<'m> {
    module: &'m Module,
    def: &'m FunctionDef,
    locals: usize,
    words: usize,
    rows: Vec<u64>,
    /// The row being transformed.
    current: Vec<u64>,
    /// Words looked at so far.
    work: usize,
}

/// What an instruction does to the slots.
enum Effect {
    /// Operands are as live as the result.
    Pure { pops: usize, pushes: usize },
    /// All operands are used.
    Uses { pops: usize, pushes: usize },
    /// Special; see the module's table.
    Other,
}

impl Analysis<'_> {
    /// One backward pass. Whether anything changed that a branch to a loop may
    /// have read before; `None` if this takes too long.
    fn pass(&mut self) -> Option<bool> {
        let mut changed = false;
        for op in self.def.ops.clone().rev() {
            let position = OpIdx(op);
            self.transfer(position);
            self.work = self.work.saturating_add(self.words);
            if self.work > Liveness::MAX_WORK {
                return None;
            }
            let start = self.start(position);
            let row = &mut self.rows[start..start + self.words];
            if row != &self.current[..] {
                row.copy_from_slice(&self.current);
                changed = true;
            }
        }
        Some(changed)
    }

    fn start(&self, position: OpIdx) -> usize {
        (position.0 - self.def.ops.start) as usize * self.words
    }

    fn row(&self, position: OpIdx) -> &Row {
        let start = self.start(position);
        &self.rows[start..start + self.words]
    }

    /// Sets `current` to what is live before the instruction.
    fn transfer(&mut self, position: OpIdx) {
        let op = self.module.code.ops[position.index()];
        let height = self.module.operand_cells_at(position) as usize;
        let sp = self.locals + height;
        let next = OpIdx(position.0 + 1);
        match op {
            Op::Unreachable => self.current.fill(0),
            Op::Else(target) | Op::BrPlain(target) => self.load(target),
            Op::If(target) | Op::BrIfPlain(target) => {
                self.load(next);
                self.merge(target);
                set(&mut self.current, sp - 1, true);
            }
            Op::Br(entry) => {
                self.current.fill(0);
                self.merge_branch(entry, sp);
            }
            Op::BrIf(entry) => {
                self.load(next);
                self.merge_branch(entry, sp - 1);
                set(&mut self.current, sp - 1, true);
            }
            Op::BrTable(table) => {
                self.current.fill(0);
                for entry in self.module.code.branch_tables[table as usize].clone() {
                    self.merge_branch(entry, sp - 1);
                }
                set(&mut self.current, sp - 1, true);
            }
            Op::Return | Op::FuncEnd => {
                self.current.fill(0);
                self.mark(sp - self.def.result_cells as usize..sp);
            }
            Op::LocalGet(local) => {
                self.load(next);
                let live = get(&self.current, sp);
                self.merge_into(local as usize, live);
                set(&mut self.current, sp, false);
            }
            Op::LocalSet(local) => {
                self.load(next);
                let live = get(&self.current, local as usize);
                set(&mut self.current, local as usize, false);
                set(&mut self.current, sp - 1, live);
            }
            Op::LocalTee(local) => {
                self.load(next);
                let live = get(&self.current, local as usize);
                set(&mut self.current, local as usize, false);
                self.merge_into(sp - 1, live);
            }
            Op::LocalGet2(local) => {
                self.load(next);
                for cell in 0..2 {
                    let live = get(&self.current, sp + cell);
                    self.merge_into(local as usize + cell, live);
                    set(&mut self.current, sp + cell, false);
                }
            }
            Op::LocalSet2(local) | Op::LocalTee2(local) => {
                self.load(next);
                for cell in 0..2 {
                    let (local, operand) = (local as usize + cell, sp - 2 + cell);
                    let tee = matches!(op, Op::LocalTee2(_)) && get(&self.current, operand);
                    let live = get(&self.current, local) || tee;
                    set(&mut self.current, local, false);
                    set(&mut self.current, operand, live);
                }
            }
            Op::Drop => {
                self.load(next);
                set(&mut self.current, sp - 1, false);
            }
            Op::Drop2 => {
                self.load(next);
                set(&mut self.current, sp - 1, false);
                set(&mut self.current, sp - 2, false);
            }
            Op::Rare(index) => self.rare(position, index, sp),
            op => {
                self.load(next);
                match self.effect(op) {
                    Effect::Pure { pops, pushes } => {
                        let results = sp - pops..sp - pops + pushes;
                        let live = results.clone().any(|cell| get(&self.current, cell));
                        for cell in sp - pops..sp.max(results.end) {
                            set(&mut self.current, cell, live && cell < sp);
                        }
                    }
                    Effect::Uses { pops, pushes } => {
                        for slot in sp - pops..sp - pops + pushes {
                            set(&mut self.current, slot, false);
                        }
                        self.mark(sp - pops..sp);
                    }
                    Effect::Other => {}
                }
                if matches!(op, Op::Call(_) | Op::CallImport(_) | Op::CallIndirect { .. }) {
                    self.merge_handlers(position);
                }
            }
        }
    }

    /// [`Analysis::transfer`] of an instruction of the rare pool.
    fn rare(&mut self, position: OpIdx, index: u32, sp: usize) {
        let pooled = self.module.code.rare[index as usize];
        let (pops, pushes) = (pooled.pops as usize, pooled.pushes as usize);
        let next = OpIdx(position.0 + 1);
        match pooled.rare {
            Rare::BrOnNull(branch) => {
                self.load(next);
                self.merge_branch(branch, sp - 1);
                self.mark(sp - 1..sp);
            }
            Rare::BrOnNonNull(branch)
            | Rare::BrOnCast { branch, .. }
            | Rare::BrOnCastFail { branch, .. } => {
                self.load(next);
                self.merge_branch(branch, sp);
                self.mark(sp - 1..sp);
            }
            Rare::ReturnCall(_)
            | Rare::ReturnCallImport(_)
            | Rare::ReturnCallIndirect { .. }
            | Rare::ReturnCallRef(_) => {
                self.current.fill(0);
                self.mark(sp - pops..sp);
            }
            Rare::Throw(_) | Rare::ThrowRef | Rare::Rethrow(_) => {
                self.current.fill(0);
                self.mark(sp - pops..sp);
                self.merge_handlers(position);
            }
            rare => {
                self.load(next);
                for cell in sp - pops..sp - pops + pushes {
                    set(&mut self.current, cell, false);
                }
                self.mark(sp - pops..sp);
                if matches!(rare, Rare::CallRef(_)) {
                    self.merge_handlers(position);
                }
            }
        }
    }

    /// Adds what is live where an exception from `position` may continue in
    /// this function. Its arguments are not the frame's.
    fn merge_handlers(&mut self, position: OpIdx) {
        let code = &self.module.code;
        let inside = |&handler: &u32| {
            let handler = &code.handlers[handler as usize];
            (handler.start..handler.end).contains(&position.0)
        };
        let mut next = self.def.handlers.clone().rev().find(inside);
        while let Some(number) = next {
            let handler = code.handlers[number as usize];
            for clause in handler.first_catch..handler.last_catch {
                let branch = code.catches[clause as usize].branch;
                let Branch { target, height, .. } = code.branches[branch as usize];
                if target != Branch::RETURN {
                    self.merge_below(target, self.locals + height as usize);
                }
            }
            next = handler.parent;
        }
    }

    /// Adds the cells below `to` that are live at `target`.
    fn merge_below(&mut self, target: OpIdx, to: usize) {
        self.work = self.work.saturating_add(to / 64 + 1);
        let start = self.start(target);
        for (index, word) in self.current[..to.div_ceil(64)].iter_mut().enumerate() {
            // The last word may hold slots above `to` as well.
            let below = to - index * 64;
            let mask = if below < 64 { (1 << below) - 1 } else { u64::MAX };
            *word |= self.rows[start + index] & mask;
        }
    }

    fn load(&mut self, position: OpIdx) {
        let start = self.start(position);
        self.current.copy_from_slice(&self.rows[start..start + self.words]);
    }

    fn merge(&mut self, position: OpIdx) {
        let start = self.start(position);
        for (word, other) in self.current.iter_mut().zip(&self.rows[start..]) {
            *word |= other;
        }
    }

    fn merge_into(&mut self, slot: usize, live: bool) {
        if live {
            set(&mut self.current, slot, true);
        }
    }

    fn mark(&mut self, slots: std::ops::Range<usize>) {
        for slot in slots {
            set(&mut self.current, slot, true);
        }
    }

    /// Adds what a branch with `sp` slots needs: the slots below its target's
    /// height stay where they are, the topmost `keep` move down to there.
    fn merge_branch(&mut self, entry: u32, sp: usize) {
        let Branch { target, keep, height } = self.module.code.branches[entry as usize];
        let keep = keep as usize;
        if target == Branch::RETURN {
            self.mark(sp - keep..sp);
            return;
        }
        let to = self.locals + height as usize;
        self.work = self.work.saturating_add(keep);
        self.merge_below(target, to);
        for index in 0..keep {
            let live = get(self.row(target), to + index);
            self.merge_into(sp - keep + index, live);
        }
    }

    fn effect(&self, op: Op) -> Effect {
        let uses = |pops, pushes| Effect::Uses { pops, pushes };
        let call = |ty: u32, extra: usize| {
            let ty = self.module.func_type_of(TypeIdx::new(ty));
            ty.map_or(Effect::Other, |ty| {
                uses(ValType::cells_of(&ty.params) + extra, ValType::cells_of(&ty.results))
            })
        };
        let pure = |pops, pushes| Effect::Pure { pops, pushes };
        if let Some((pops, nature)) = op.simple() {
            let pops = pops as usize;
            return match nature {
                Nature::Traps => uses(pops, 1),
                _ => pure(pops, 1),
            };
        }
        match op {
            Op::Select => pure(3, 1),
            Op::Select2 => pure(5, 2),
            Op::RefIsNull => pure(1, 1),
            Op::ConstI32(_)
            | Op::ConstI64(_)
            | Op::ConstPool(_)
            | Op::RefNull
            | Op::RefFunc(_)
            | Op::GlobalGet(_)
            | Op::MemorySize
            | Op::TableSize(_) => pure(0, 1),
            Op::ConstVector(_) | Op::GlobalGet2(_) => pure(0, 2),
            Op::Simd { op, .. } => {
                let (params, result) = op.signature();
                pure(params.iter().map(|ty| ty.cells()).sum(), result.cells())
            }
            Op::SimdMemory { op, .. } => {
                let pops = if op.has_vector_operand() { 3 } else { 1 };
                uses(pops, if op.is_store() { 0 } else { 2 })
            }
            Op::I32Load(_)
            | Op::I64Load(_)
            | Op::I32Load8S(_)
            | Op::I32Load8U(_)
            | Op::I32Load16S(_)
            | Op::I32Load16U(_)
            | Op::I64Load8S(_)
            | Op::I64Load16S(_)
            | Op::I64Load32S(_)
            | Op::TableGet(_)
            | Op::MemoryGrow(_) => uses(1, 1),
            Op::Store8(_) | Op::Store16(_) | Op::Store32(_) | Op::Store64(_) | Op::TableSet(_) => {
                uses(2, 0)
            }
            Op::GlobalSet(_) => uses(1, 0),
            Op::GlobalSet2(_) => uses(2, 0),
            Op::TableGrow(_) => uses(2, 1),
            Op::MemoryCopy { .. }
            | Op::MemoryFill(_)
            | Op::MemoryInit { .. }
            | Op::TableFill(_)
            | Op::TableCopy { .. }
            | Op::TableInit { .. } => uses(3, 0),
            Op::Call(defined) => {
                let func = (self.module.num_imported_funcs + defined) as usize;
                call(self.module.func_types[func].get(), 0)
            }
            Op::CallImport(func) => call(self.module.func_types[func as usize].get(), 0),
            Op::CallIndirect { ty, .. } => call(ty, 1),
            // Nop, block, loop, end, drops of segments: nothing; the rest is
            // not asked for.
            _ => Effect::Other,
        }
    }
}
