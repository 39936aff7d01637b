//! Where the fast loop goes: branches, calls and returns.

use super::{Exit, Machine, Next, Observer, State};
use crate::module::OpIdx;
use crate::op::Branch;
use crate::oracle::FrameRecord;
use wasm_view::{Cell, FuncAddr, FuncIdx, Trap};

/// Locals that are zeroed all at once. More of them are left to a function,
/// the call of which would cost those calls too that have few.
const FEW_LOCALS: usize = 12;

impl<O: Observer, K: Next> State<'_, '_, O, K> {
    /// Takes the branch of the side table.
    #[inline(always)]
    pub(super) fn branch(self, entry: u32) -> Exit {
        self.branch_with::<false>(entry)
    }

    /// The common branch keeps one operand at most.
    #[inline(always)]
    pub(super) fn branch_with<const MANY: bool>(mut self, entry: u32) -> Exit {
        let Some(&Branch { target, keep, height }) = self.m.code.branches.get(entry as usize)
        else {
            return self.exit(Exit::Broken);
        };
        if target == Branch::RETURN {
            return self.leave::<MANY>();
        }
        if !MANY && keep > 1 {
            let State { m, cells, sp, pc, .. } = self;
            return branch_with_many(m, cells, sp, pc, entry);
        }
        let to = self.m.floor + height as usize;
        move_down::<MANY>(self.cells, self.sp - keep as usize, to, keep as usize);
        self.sp = to + keep as usize;
        self.jump(target)
    }

    /// Returns the topmost operands to the caller.
    #[inline(always)]
    pub(super) fn leave<const MANY: bool>(mut self) -> Exit {
        let m = &mut *self.m;
        let &[.., caller, FrameRecord { results, .. }] = &m.frames[..] else {
            return self.exit(Exit::Finished);
        };
        if !MANY && results > 1 {
            let State { m, cells, sp, pc, .. } = self;
            return leave_with_many(m, cells, sp, pc);
        }
        let results = results as usize;
        m.frames.pop();
        *m.lowest = m.frames.len().min(*m.lowest);
        move_down::<MANY>(self.cells, self.sp - results, m.base, results);
        self.sp = m.base + results;
        m.base = caller.base;
        m.floor = caller.base + caller.locals as usize;
        let elsewhere = caller.instance != m.instance.id;
        self.set_position(caller.pc.index() + 1);
        if elsewhere { self.exit(Exit::OtherInstance) } else { self.dispatch() }
    }

    /// Calls a function of the module, which has dropped `index` operands.
    #[inline(always)]
    pub(super) fn call<const ZERO: bool>(mut self, defined: u32, index: usize) -> Exit {
        let m = &mut *self.m;
        let Some(def) = m.module.functions.get(defined as usize) else {
            return self.exit(Exit::Broken);
        };
        let top = self.sp - index;
        let base = top - def.param_cells as usize;
        let floor = base + def.local_cells as usize;
        let full = m.frames.is_full() || m.frames.len() >= m.max_frames;
        if full || base + def.cells as usize > self.cells.len() {
            return self.exit(Exit::Slow);
        }
        if floor - top <= FEW_LOCALS
            && let Some(cells) = self.cells.get_mut(top..).and_then(|cells| cells.first_chunk_mut())
        {
            // All of them, needed or not: what is above the locals means nothing.
            let cells: &mut [Cell; FEW_LOCALS] = cells;
            *cells = [Cell(0); FEW_LOCALS];
        } else if top < floor {
            if !ZERO {
                let State { m, cells, sp, pc, .. } = self;
                let place =
                    if index == 0 { call_with_locals::<0, O> } else { call_with_locals::<1, O> };
                return place(m, cells, sp, pc, defined);
            }
            self.cells[top..floor].fill(Cell(0));
        }
        if let Some(frame) = m.frames.last_mut() {
            frame.pc = OpIdx(self.pc as u32);
        }
        let first = OpIdx(def.ops.start);
        let instance = m.instance.id;
        let func = FuncIdx::new(m.module.num_imported_funcs + defined);
        let placed = m.frames.push_in_place(FrameRecord {
            instance,
            func,
            base,
            pc: first,
            locals: (floor - base) as u32,
            results: def.result_cells,
        });
        debug_assert!(placed, "there was room");
        m.observer.call(FuncAddr { instance, func });
        m.base = base;
        m.floor = floor;
        self.sp = floor;
        self.jump(first)
    }

    pub(super) fn call_indirect(self, table: u16, ty: u32) -> Exit {
        let m = &*self.m;
        let (Some(table), Some(index)) = (m.table(u32::from(table)), self.top()) else {
            return self.exit(Exit::Broken);
        };
        let Some(&element) = table.elements.get(index as usize) else {
            return self.trap(Trap::UndefinedElement);
        };
        let Some(FuncAddr { instance: callee, func }) = FuncAddr::from_cell(element) else {
            return self.trap(Trap::UninitializedElement);
        };
        let module = m.module;
        let defined = func.get().wrapping_sub(module.num_imported_funcs);
        if callee != m.instance.id || (defined as usize) >= module.functions.len() {
            return self.exit(Exit::Slow);
        }
        let actual = module.func_types[func.index()];
        if m.instance.type_ids[actual.index()] != m.instance.type_ids[ty as usize] {
            // A subtype, or a trap.
            return self.exit(Exit::Slow);
        }
        self.call::<false>(defined, 1)
    }
}

// The rarer half of some ops. Not inlined, since what calls anything but the
// next op sets up a stack frame each time, needed or not.

#[inline(never)]
fn branch_with_many<O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
    entry: u32,
) -> Exit {
    State::<O>::at(m, cells, sp, pc).branch_with::<true>(entry)
}

#[inline(never)]
fn leave_with_many<O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
) -> Exit {
    State::<O>::at(m, cells, sp, pc).leave::<true>()
}

#[inline(never)]
fn call_with_locals<const INDEX: usize, O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
    defined: u32,
) -> Exit {
    State::<O>::at(m, cells, sp, pc).call::<true>(defined, INDEX)
}

/// Moves `count` cells at `from` down to `to`; one at most unless `MANY`.
#[inline(always)]
fn move_down<const MANY: bool>(stack: &mut [Cell], from: usize, to: usize, count: usize) {
    if MANY {
        stack.copy_within(from..from + count, to);
    } else if count == 1
        && let Some(&cell) = stack.get(from)
        && let Some(place) = stack.get_mut(to)
    {
        *place = cell;
    }
}
