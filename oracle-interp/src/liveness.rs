//! Which slots matter at a boundary.
//!
//! A slot is *live* if its value may reach an observable use through data flow
//! before it is set; otherwise it is *dead*, and nothing that the program does
//! depends on it. This is strong liveness: a value that is only copied or
//! computed with, towards a slot that is itself dead, is dead too.
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

use crate::module::{FunctionDef, Module, OpIdx};
use crate::op::{Branch, Nature, Op};
use wasm_view::{FuncIdx, SlotIdx, WasmOffset};

/// The live slots at every boundary of one function.
#[derive(Clone, Debug)]
pub struct Liveness {
    offsets: Vec<WasmOffset>,
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
            locals: def.locals.len(),
            words,
            rows: vec![0; size],
            current: vec![0; words],
            work: 0,
        };
        while analysis.pass()? {}
        let counts = (def.ops.clone())
            .map(|op| def.locals.len() as u32 + module.operand_height_at(OpIdx(op)))
            .collect();
        Some(Liveness {
            offsets: function.boundaries().collect(),
            counts,
            rows: analysis.rows,
            words,
        })
    }

    /// Whether a slot is live at the boundary at `offset`. Slots and
    /// boundaries that do not exist are not.
    pub fn is_live(&self, offset: WasmOffset, slot: SlotIdx) -> bool {
        self.row(offset).is_some_and(|(row, count)| slot.get() < count && get(row, slot.index()))
    }

    /// Liveness of every slot at the boundary at `offset`, locals first; empty
    /// if there is no such boundary.
    pub fn slots(&self, offset: WasmOffset) -> impl Iterator<Item = bool> + '_ {
        let (row, count) = self.row(offset).unwrap_or((&[], 0));
        (0..count as usize).map(move |slot| get(row, slot))
    }

    fn row(&self, offset: WasmOffset) -> Option<(&Row, u32)> {
        let index = self.offsets.binary_search(&offset).ok()?;
        let start = index * self.words;
        Some((&self.rows[start..start + self.words], self.counts[index]))
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
    Pure { pops: usize },
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
        let height = self.module.operand_height_at(position) as usize;
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
                self.mark(sp - self.def.results as usize..sp);
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
            Op::Drop => {
                self.load(next);
                set(&mut self.current, sp - 1, false);
            }
            op => {
                self.load(next);
                match self.effect(op) {
                    Effect::Pure { pops } => {
                        let live = get(&self.current, sp - pops);
                        for slot in sp - pops..sp.max(sp - pops + 1) {
                            set(&mut self.current, slot, live && slot < sp);
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
            }
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
        self.work = self.work.saturating_add(to / 64 + keep + 1);
        let start = self.start(target);
        for (index, word) in self.current[..to.div_ceil(64)].iter_mut().enumerate() {
            // The last word may hold slots above `to` as well.
            let below = to - index * 64;
            let mask = if below < 64 { (1 << below) - 1 } else { u64::MAX };
            *word |= self.rows[start + index] & mask;
        }
        for index in 0..keep {
            let live = get(self.row(target), to + index);
            self.merge_into(sp - keep + index, live);
        }
    }

    fn effect(&self, op: Op) -> Effect {
        let uses = |pops, pushes| Effect::Uses { pops, pushes };
        let call = |ty: u32, extra: usize| {
            let ty = &self.module.types[ty as usize];
            uses(ty.params.len() + extra, ty.results.len())
        };
        if let Some((pops, nature)) = op.simple() {
            let pops = pops as usize;
            return match nature {
                Nature::Traps => uses(pops, 1),
                _ => Effect::Pure { pops },
            };
        }
        match op {
            Op::Select => Effect::Pure { pops: 3 },
            Op::RefIsNull => Effect::Pure { pops: 1 },
            Op::ConstI32(_)
            | Op::ConstI64(_)
            | Op::ConstPool(_)
            | Op::RefNull
            | Op::RefFunc(_)
            | Op::GlobalGet(_)
            | Op::MemorySize
            | Op::TableSize(_) => Effect::Pure { pops: 0 },
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
            | Op::MemoryGrow => uses(1, 1),
            Op::Store8(_) | Op::Store16(_) | Op::Store32(_) | Op::Store64(_) | Op::TableSet(_) => {
                uses(2, 0)
            }
            Op::GlobalSet(_) => uses(1, 0),
            Op::TableGrow(_) => uses(2, 1),
            Op::MemoryCopy
            | Op::MemoryFill
            | Op::MemoryInit(_)
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
