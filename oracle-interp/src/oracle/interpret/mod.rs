//! The fast loop.
//!
//! One function per op, each of which ends with a call of the next op's: the
//! compiler makes a jump of such a call, so that every op has a dispatch of its
//! own, the processor sees one taken branch per instruction, and registers are
//! allocated for a few lines at a time. (In one large `match` arms share code,
//! and four taken branches per instruction were what it cost.) That it becomes
//! a jump is an optimisation and nothing relies on it: a chain ends after
//! [`CHUNK`] instructions at most.
//!
//! What the ops touch is borrowed once, in [`Machine`]. They execute what stays
//! inside that set, including calls within the instance. What does not (growing,
//! bulk operations, calls elsewhere, a stack that must be extended) is left to
//! [`slow`](super::slow) by [`Exit::Slow`], with the position still at the
//! instruction. An op without a function here is slow.
//!
//! Fuel is not counted down by each instruction. It is the end of the window of
//! instructions that may still be executed if nothing jumps, so that the bounds
//! check of the fetch is the check for fuel too; a jump moves that end.
//!
//! An instruction changes nothing before it is certain not to trap. Observers
//! are a type parameter: for `()` nothing is left of the hooks.
//!
//! Instructions that often follow each other are executed by one function (see
//! [`routes`](crate::routes)), which is the bodies of theirs one behind the
//! other: what a body does at its end, [`Next`], is a type parameter too. So
//! each of them still is an instruction, at which fuel may end, an observer is
//! told, and a trap leaves the position.
//!
//! `bodies` is what ops do, `operands` and `control` what they do it with.

mod bodies;
mod control;
mod operands;

use super::Oracle;
use super::frames::Frames;
use super::observer::{At, Observer};
use crate::module::{Code, Module, OpIdx};
use crate::op::{Op, Tag};
use crate::routes::{Route, Slot};
use crate::stops::StopSet;
use crate::store::{Global, Instance, Store, Table};
use crate::writes::Writes;
use bodies::Handlers;
use std::marker::PhantomData;
use wasm_view::{Cell, MemoryId, Trap};

/// Instructions that are executed in one chain of calls. Small enough for a
/// thread's stack if none of them became a jump.
const CHUNK: u64 = 512;

/// Why the fast loop returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// No fuel is left.
    Fuel,
    /// At a boundary of the stop set.
    Stop,
    /// The instruction at the position is for the slow path.
    Slow,
    /// Returned to a frame of another instance.
    OtherInstance,
    /// The outermost frame is about to return.
    Finished,
    /// The instruction at the position traps.
    Trap(Trap),
    /// An invariant of decoded code does not hold. Here this is a value, for a
    /// panic would have every op set up a stack frame.
    Broken,
}

/// What the ops work on, except for what they hand on to each other: the stack,
/// its height and the position.
struct Machine<'a, O> {
    observer: &'a mut O,
    /// The instance's instructions.
    ops: &'a [Op],
    /// The same as they are executed.
    slots: &'a [Slot],
    /// Its beginning: what may be executed if nothing jumps.
    window: &'a [Slot],
    /// Where fuel is used up if nothing jumps; may lie beyond the last op.
    end: usize,
    code: &'a Code,
    module: &'a Module,
    instance: &'a Instance,
    memory: &'a mut [u8],
    memory_id: MemoryId,
    log_writes: bool,
    writes: &'a mut Writes,
    tables: &'a [Table],
    globals: &'a mut [Global],
    frames: &'a mut Frames,
    max_frames: usize,
    lowest: &'a mut usize,
    /// Position of local 0 on the stack.
    base: usize,
    /// Position of the lowest operand on the stack.
    floor: usize,
    /// Address of the write to be logged.
    written: usize,
    /// Where the chain ended.
    pc: usize,
    sp: usize,
}

impl Oracle {
    /// Executes from the present position. `fuel` counts down.
    pub(super) fn interpret<O: Observer>(
        &mut self,
        stops: Option<&StopSet>,
        fuel: &mut u64,
        observer: &mut O,
    ) -> Exit {
        let Oracle { store, stack, frames, limits, lowest, .. } = self;
        let Some(&frame) = frames.last() else {
            return Exit::Finished;
        };
        let Store { instances, memories, tables, globals, writes, .. } = store;
        let instance = &instances[frame.instance.index()];
        let module = &*instance.module;
        let code = &module.code;
        let memory_id = instance.memories.first().copied().unwrap_or(MemoryId::new(0));
        let memory: &mut [u8] = match instance.memories.first() {
            Some(id) => &mut memories[id.index()].data,
            None => &mut [],
        };
        let mut machine = Machine {
            observer,
            ops: &code.ops,
            slots: stops.map_or(code.slots(), |stops| stops.slots_for(module)),
            window: &[],
            end: 0,
            code,
            module,
            instance,
            memory,
            memory_id,
            log_writes: writes.is_on(),
            writes,
            tables,
            globals,
            frames,
            max_frames: limits.max_frames,
            lowest,
            base: frame.base,
            floor: frame.base + frame.locals as usize,
            written: 0,
            pc: self.pc.index(),
            sp: self.sp,
        };
        let exit = loop {
            let chunk = (*fuel).min(CHUNK);
            let m = &mut machine;
            m.end = m.pc + chunk as usize;
            m.window = &m.slots[..m.slots.len().min(m.end)];
            let (sp, pc) = (m.sp, m.pc);
            let exit = State::<O>::at(m, &mut stack[..], sp, pc).dispatch();
            // What stopped it, other than these, was executed.
            let executed =
                !matches!(exit, Exit::Fuel | Exit::OtherInstance | Exit::Stop | Exit::Slow);
            let left = machine.end - machine.pc - usize::from(executed);
            *fuel -= chunk - left as u64;
            if exit != Exit::Fuel || *fuel == 0 {
                break exit;
            }
        };
        self.pc = OpIdx(machine.pc as u32);
        self.sp = machine.sp;
        exit
    }
}

/// What ops hand on to each other. It is passed as single arguments, which lie
/// in registers. `K` is what happens at the end of the op.
struct State<'m, 'a, O, K = Dispatch> {
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
    /// Of the op.
    immediate: u32,
    next: PhantomData<K>,
}

/// Executes one op and all that follow.
type Handler<'m, 'a, O> =
    fn(&'m mut Machine<'a, O>, &'m mut [Cell], sp: usize, pc: usize, immediate: u32) -> Exit;

/// What an op does.
trait Body {
    const TAG: Tag;

    /// Executes it, and `K` behind it unless it jumps.
    fn run<O: Observer, K: Next>(state: State<'_, '_, O, K>) -> Exit;
}

/// What is executed behind an op.
trait Next {
    fn go<O: Observer>(state: State<'_, '_, O, Self>) -> Exit
    where
        Self: Sized;
}

/// Whatever is there.
struct Dispatch;

impl Next for Dispatch {
    #[inline(always)]
    fn go<O: Observer>(state: State<'_, '_, O, Self>) -> Exit {
        state.dispatch()
    }
}

/// The op `B`, which is known to be there, and then `K`.
struct Then<B, K>(PhantomData<(B, K)>);

impl<B: Body, K: Next> Next for Then<B, K> {
    #[inline(always)]
    fn go<O: Observer>(mut state: State<'_, '_, O, Self>) -> Exit {
        let Some(slot) = state.m.window.get(state.pc) else {
            return state.exit(Exit::Fuel);
        };
        state.immediate = slot.immediate;
        if O::EACH_OP {
            state.m.announce(OpIdx(state.pc as u32), &state.cells[state.m.base..state.sp]);
        }
        B::run(state.then::<K>())
    }
}

impl<'m, 'a, O: Observer, K: Next> State<'m, 'a, O, K> {
    #[inline(always)]
    fn at(m: &'m mut Machine<'a, O>, cells: &'m mut [Cell], sp: usize, pc: usize) -> Self {
        State { m, cells, sp, pc, immediate: 0, next: PhantomData }
    }

    /// The same with something else to be executed behind it.
    #[inline(always)]
    fn then<L>(self) -> State<'m, 'a, O, L> {
        let State { m, cells, sp, pc, immediate, .. } = self;
        State { m, cells, sp, pc, immediate, next: PhantomData }
    }

    /// Executes what is at the position.
    #[inline(always)]
    fn dispatch(self) -> Exit {
        let State { m, cells, sp, pc, .. } = self;
        let Some(&Slot { route, immediate }) = m.window.get(pc) else {
            debug_assert_eq!(pc, m.end, "a function ends with a jump");
            return State::<O>::at(m, cells, sp, pc).exit(Exit::Fuel);
        };
        if O::EACH_OP && route != Route::STOP {
            m.announce(OpIdx(pc as u32), &cells[m.base..sp]);
        }
        <Handlers<'m, 'a, O>>::TABLE[route.index()](m, cells, sp, pc, immediate)
    }

    /// Ends the chain at the op at the position.
    #[inline(always)]
    fn exit(self, exit: Exit) -> Exit {
        self.m.pc = self.pc;
        self.m.sp = self.sp;
        exit
    }

    #[inline(always)]
    fn trap(self, trap: Trap) -> Exit {
        self.exit(Exit::Trap(trap))
    }

    /// The op at the position, for one with several immediates.
    #[inline(always)]
    fn op(&self) -> Option<Op> {
        self.m.ops.get(self.pc).copied()
    }

    /// Continues behind the op.
    #[inline(always)]
    fn next(mut self) -> Exit {
        self.pc += 1;
        K::go(self)
    }

    /// Continues at `target`.
    #[inline(always)]
    fn go_to(mut self, target: usize) -> Exit {
        self.set_position(target);
        self.dispatch()
    }

    #[inline(always)]
    fn set_position(&mut self, target: usize) {
        let m = &mut *self.m;
        // What is left stays the same: the end moves with the position.
        m.end = m.end + target - (self.pc + 1);
        m.window = &m.slots[..m.slots.len().min(m.end)];
        self.pc = target;
    }

    #[inline(always)]
    fn jump(self, target: OpIdx) -> Exit {
        self.go_to(target.index())
    }
}

impl<O: Observer> Machine<'_, O> {
    #[inline(always)]
    fn table(&self, table: u32) -> Option<&Table> {
        self.tables.get(self.instance.tables.get(table as usize)?.index())
    }

    fn announce(&mut self, position: OpIdx, slots: &[Cell]) {
        if let Some(frame) = self.frames.last() {
            let instance = frame.instance;
            let at = At { module: self.module, instance, func: frame.func, position };
            self.observer.before(&at, slots);
        }
    }
}
