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

use super::observer::{At, Observer};
use super::{FrameRecord, Oracle};
use crate::module::{Code, Module, OpIdx};
use crate::numeric::*;
use crate::op::{Branch, Op, Tag};
use crate::simd;
use crate::stops::StopSet;
use crate::store::{Global, Instance, Store, Table};
use crate::writes::Writes;
use wasm_view::{Cell, FuncAddr, FuncIdx, MemoryId, Trap};

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
    /// The instance's instructions, or the stop set's copy of them.
    ops: &'a [Op],
    /// Its beginning: what may be executed if nothing jumps.
    window: &'a [Op],
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
    frames: &'a mut Vec<FrameRecord>,
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
            ops: stops.map_or(&code.ops[..], |stops| stops.ops_for(module)),
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
            m.window = &m.ops[..m.ops.len().min(m.end)];
            let exit = State { cells: &mut stack[..], sp: m.sp, pc: m.pc, m }.dispatch();
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
/// in registers.
struct State<'m, 'a, O> {
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
}

/// Executes one op and all that follow.
type Handler<'m, 'a, O> =
    fn(&'m mut Machine<'a, O>, &'m mut [Cell], sp: usize, pc: usize, op: Op) -> Exit;

impl<'m, 'a, O: Observer> State<'m, 'a, O> {
    /// Executes the op at the position.
    #[inline(always)]
    fn dispatch(self) -> Exit {
        let State { m, cells, sp, pc } = self;
        let Some(&op) = m.window.get(pc) else {
            debug_assert_eq!(pc, m.end, "a function ends with a jump");
            return State { m, cells, sp, pc }.exit(Exit::Fuel);
        };
        if O::EACH_OP && op != Op::Stop {
            m.announce(OpIdx(pc as u32), &cells[m.base..sp]);
        }
        <Handlers<'m, 'a, O>>::TABLE[op.tag() as usize](m, cells, sp, pc, op)
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

    /// Continues at the next op.
    #[inline(always)]
    fn next(mut self) -> Exit {
        self.pc += 1;
        self.dispatch()
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
        m.window = &m.ops[..m.ops.len().min(m.end)];
        self.pc = target;
    }

    #[inline(always)]
    fn jump(self, target: OpIdx) -> Exit {
        self.go_to(target.index())
    }

    /// Takes the branch of the side table.
    #[inline(always)]
    fn branch(self, entry: u32) -> Exit {
        self.branch_with::<false>(entry)
    }

    /// The common branch keeps one operand at most.
    #[inline(always)]
    fn branch_with<const MANY: bool>(mut self, entry: u32) -> Exit {
        let Some(&Branch { target, keep, height }) = self.m.code.branches.get(entry as usize)
        else {
            return self.exit(Exit::Broken);
        };
        if target == Branch::RETURN {
            return self.leave::<MANY>();
        }
        if !MANY && keep > 1 {
            let State { m, cells, sp, pc } = self;
            return branch_with_many(m, cells, sp, pc, entry);
        }
        let to = self.m.floor + height as usize;
        move_down::<MANY>(self.cells, self.sp - keep as usize, to, keep as usize);
        self.sp = to + keep as usize;
        self.jump(target)
    }

    /// Returns the topmost operands to the caller.
    #[inline(always)]
    fn leave<const MANY: bool>(mut self) -> Exit {
        let m = &mut *self.m;
        let &[.., caller, FrameRecord { results, .. }] = &m.frames[..] else {
            return self.exit(Exit::Finished);
        };
        if !MANY && results > 1 {
            let State { m, cells, sp, pc } = self;
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
    fn call<const ZERO: bool>(mut self, defined: u32, index: usize) -> Exit {
        let m = &mut *self.m;
        let Some(def) = m.module.functions.get(defined as usize) else {
            return self.exit(Exit::Broken);
        };
        let top = self.sp - index;
        let base = top - def.param_cells as usize;
        let floor = base + def.local_cells as usize;
        let room = m.frames.capacity().min(m.max_frames);
        if m.frames.len() >= room || base + def.cells as usize > self.cells.len() {
            return self.exit(Exit::Slow);
        }
        if top < floor {
            if !ZERO {
                let State { m, cells, sp, pc } = self;
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
        m.frames.push(FrameRecord {
            instance,
            func,
            base,
            pc: first,
            locals: (floor - base) as u32,
            results: def.result_cells,
        });
        m.observer.call(FuncAddr { instance, func });
        m.base = base;
        m.floor = floor;
        self.sp = floor;
        self.jump(first)
    }

    fn call_indirect(self, table: u16, ty: u32) -> Exit {
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

    /// The operand `below` the topmost one.
    #[inline(always)]
    fn operand(&mut self, below: usize) -> Option<&mut Cell> {
        self.cells.get_mut(self.sp.wrapping_sub(1 + below))
    }

    /// The topmost operand.
    #[inline(always)]
    fn top(&self) -> Option<u64> {
        self.cells.get(self.sp.wrapping_sub(1)).map(|cell| cell.0)
    }

    /// Hands the topmost operand, popped, to `then`.
    #[inline(always)]
    fn pop(mut self, then: impl FnOnce(Self, u64) -> Exit) -> Exit {
        match self.top() {
            Some(top) => {
                self.sp -= 1;
                then(self, top)
            }
            None => self.exit(Exit::Broken),
        }
    }

    #[inline(always)]
    fn push(mut self, value: Option<u64>) -> Exit {
        let Some(value) = value else {
            return self.exit(Exit::Broken);
        };
        let Some(cell) = self.cells.get_mut(self.sp) else {
            return self.exit(Exit::Broken);
        };
        *cell = Cell(value);
        self.sp += 1;
        self.next()
    }

    /// Writes to a local or global, and goes on.
    #[inline(always)]
    fn set(self, place: impl FnOnce(&mut Self) -> Option<&mut Cell>, value: u64) -> Exit {
        let mut this = self;
        match place(&mut this) {
            Some(cell) => {
                *cell = Cell(value);
                this.next()
            }
            None => this.exit(Exit::Broken),
        }
    }

    #[inline(always)]
    fn local(&mut self, local: u32) -> Option<&mut Cell> {
        self.cells.get_mut(self.m.base + local as usize)
    }

    #[inline(always)]
    fn global(&mut self, global: u32) -> Option<&mut Cell> {
        let global = self.m.instance.globals.get(global as usize)?;
        Some(&mut self.m.globals.get_mut(global.index())?.value)
    }

    #[inline(always)]
    fn unary<A: Bits, R: Bits>(self, result: impl FnOnce(A) -> R) -> Exit {
        self.try_unary(|a| Ok(result(a)))
    }

    #[inline(always)]
    fn binary<A: Bits, R: Bits>(self, result: impl FnOnce(A, A) -> R) -> Exit {
        self.try_binary(|a, b| Ok(result(a, b)))
    }

    #[inline(always)]
    fn try_unary<A: Bits, R: Bits>(mut self, result: impl FnOnce(A) -> Result<R, Trap>) -> Exit {
        let Some(cell) = self.operand(0) else {
            return self.exit(Exit::Broken);
        };
        match result(A::of(cell.0)) {
            Ok(result) => {
                *cell = Cell(result.bits());
                self.next()
            }
            Err(trap) => self.trap(trap),
        }
    }

    #[inline(always)]
    fn try_binary<A: Bits, R: Bits>(
        mut self,
        result: impl FnOnce(A, A) -> Result<R, Trap>,
    ) -> Exit {
        let (Some(b), Some(a)) = (self.top(), self.operand(1)) else {
            return self.exit(Exit::Broken);
        };
        match result(A::of(a.0), A::of(b)) {
            Ok(result) => {
                *a = Cell(result.bits());
                self.sp -= 1;
                self.next()
            }
            Err(trap) => self.trap(trap),
        }
    }

    #[inline(always)]
    fn load<const N: usize>(mut self, offset: u32, value: impl FnOnce([u8; N]) -> u64) -> Exit {
        let Some(operand) = self.top() else {
            return self.exit(Exit::Broken);
        };
        let address = effective_address(operand, offset);
        let Some(&bytes) = self.m.memory.get(address..).and_then(|memory| memory.first_chunk())
        else {
            return self.trap(Trap::MemoryOutOfBounds);
        };
        if let Some(cell) = self.operand(0) {
            *cell = Cell(value(bytes));
        }
        self.next()
    }

    #[inline(always)]
    fn store<const N: usize>(mut self, offset: u32, bytes: impl FnOnce(u64) -> [u8; N]) -> Exit {
        let (Some(value), Some(operand)) = (self.top(), self.operand(1)) else {
            return self.exit(Exit::Broken);
        };
        let address = effective_address(operand.0, offset);
        let m = &mut *self.m;
        match m.memory.get_mut(address..).and_then(|memory| memory.first_chunk_mut()) {
            Some(memory) => *memory = bytes(value),
            None => return self.trap(Trap::MemoryOutOfBounds),
        }
        m.observer.memory_write(m.memory_id, address as u64, N as u64);
        self.sp -= 2;
        if self.m.log_writes {
            self.m.written = address;
            let State { m, cells, sp, pc } = self;
            return log_and_go_on::<N, O>(m, cells, sp, pc);
        }
        self.next()
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
    State { m, cells, sp, pc }.branch_with::<true>(entry)
}

#[inline(never)]
fn leave_with_many<O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
) -> Exit {
    State { m, cells, sp, pc }.leave::<true>()
}

#[inline(never)]
fn call_with_locals<const INDEX: usize, O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
    defined: u32,
) -> Exit {
    State { m, cells, sp, pc }.call::<true>(defined, INDEX)
}

/// The part of a store behind the write.
#[inline(never)]
fn log_and_go_on<const N: usize, O: Observer>(
    m: &mut Machine<'_, O>,
    cells: &mut [Cell],
    sp: usize,
    pc: usize,
) -> Exit {
    m.writes.memory(m.memory_id, m.written as u64, N as u64);
    State { m, cells, sp, pc }.next()
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

/// Vectors: values of two cells.
impl<O: Observer> State<'_, '_, O> {
    #[inline(always)]
    fn push2(mut self, [low, high]: [Cell; 2]) -> Exit {
        self.cells[self.sp] = low;
        self.cells[self.sp + 1] = high;
        self.sp += 2;
        self.next()
    }

    #[inline(always)]
    fn vector_access(mut self, op: simd::MemOp, lane: u8, offset: u32) -> Exit {
        let State { m, cells, sp, .. } = &mut self;
        let (at, vector) = if op.has_vector_operand() {
            let [low, high] = [cells[*sp - 2].0, cells[*sp - 1].0];
            (*sp - 3, u128::from(high) << 64 | u128::from(low))
        } else {
            (*sp - 1, 0)
        };
        let address = effective_address(cells[at].0, offset);
        let bytes = m.memory.get_mut(address..).and_then(|m| m.get_mut(..op.bytes()));
        let Some(bytes) = bytes else {
            return self.trap(Trap::MemoryOutOfBounds);
        };
        if op.is_store() {
            let (data, length) = simd::store(op, lane, vector);
            bytes.copy_from_slice(&data[..length]);
            if m.log_writes {
                m.writes.memory(m.memory_id, address as u64, length as u64);
            }
            m.observer.memory_write(m.memory_id, address as u64, length as u64);
            *sp = at;
        } else {
            let value = simd::load(op, lane, bytes, vector);
            cells[at] = Cell(value as u64);
            cells[at + 1] = Cell((value >> 64) as u64);
            *sp = at + 2;
        }
        self.next()
    }
}

/// The functions of the ops, by [`Tag`].
struct Handlers<'m, 'a, O>(std::marker::PhantomData<&'m mut Machine<'a, O>>);

/// `op | op(immediate) => what it does with the state`, which is named first.
macro_rules! handlers {
    ($s:ident; $($($op:ident $(($of:ident))? $({ $($field:ident),* })?)|+ => $body:expr,)*) => {
        /// One function per op, of the op's name.
        #[allow(non_snake_case)]
        mod handler {
            use super::*;

            /// For ops without a function of their own.
            pub(super) fn slow<'m, 'a, O: Observer>(
                m: &'m mut Machine<'a, O>,
                cells: &'m mut [Cell],
                sp: usize,
                pc: usize,
                _: Op,
            ) -> Exit {
                State { m, cells, sp, pc }.exit(Exit::Slow)
            }

            $($(pub(super) fn $op<'m, 'a, O: Observer>(
                m: &'m mut Machine<'a, O>,
                cells: &'m mut [Cell],
                sp: usize,
                pc: usize,
                op: Op,
            ) -> Exit {
                #[allow(unused_mut)]
                let mut $s = State { m, cells, sp, pc };
                $(let Op::$op($of) = op else {
                    return $s.exit(Exit::Broken);
                };)?
                $(let Op::$op { $($field),* } = op else {
                    return $s.exit(Exit::Broken);
                };)?
                debug_assert_eq!(op.tag(), Tag::$op);
                $body
            })+)*
        }

        impl<'m, 'a, O: Observer + 'a> Handlers<'m, 'a, O>
        where
            'a: 'm,
        {
            const TABLE: &'m [Handler<'m, 'a, O>; 256] = &{
                let mut table: [Handler<'m, 'a, O>; 256] = [handler::slow::<O>; 256];
                $($(table[Tag::$op as usize] = handler::$op::<O>;)+)*
                table
            };
        }
    };
}

handlers! { s;
    Unreachable => s.trap(Trap::Unreachable),
    Nop | Block | Loop | End => s.next(),
    If(target) => s.pop(|s, a| if a == 0 { s.jump(target) } else { s.next() }),
    Else(target) | BrPlain(target) => s.jump(target),
    BrIfPlain(target) => s.pop(|s, a| if a != 0 { s.jump(target) } else { s.next() }),
    Br(entry) => s.branch(entry),
    BrIf(entry) => s.pop(|s, a| if a != 0 { s.branch(entry) } else { s.next() }),
    BrTable(table) => match s.m.code.branch_tables.get(table as usize) {
        Some(entries) => s.pop(|s, a| {
            let index = (a as u32).min(entries.end - entries.start - 1);
            s.branch(entries.start + index)
        }),
        None => s.exit(Exit::Broken),
    },
    Return | FuncEnd => s.leave::<false>(),
    Call(defined) => s.call::<false>(defined, 0),
    CallIndirect { table, ty } => s.call_indirect(table, ty),

    Drop => s.pop(|s, _| s.next()),
    Select => s.pop(|s, condition| s.binary(|a: u64, b: u64| if condition == 0 { b } else { a })),
    LocalGet(local) => match s.local(local) {
        Some(&mut Cell(value)) => s.push(Some(value)),
        None => s.exit(Exit::Broken),
    },
    LocalSet(local) => s.pop(|s, value| s.set(|s| s.local(local), value)),
    LocalTee(local) => match s.top() {
        Some(value) => s.set(|s| s.local(local), value),
        None => s.exit(Exit::Broken),
    },
    GlobalGet(global) => {
        let value = s.global(global).map(|cell| cell.0);
        s.push(value)
    },
    GlobalSet(global) => s.pop(|s, value| s.set(|s| s.global(global), value)),

    Drop2 => {
        s.sp -= 2;
        s.next()
    },
    Select2 => s.pop(|mut s, condition| {
        if condition == 0 {
            s.cells.copy_within(s.sp - 2..s.sp, s.sp - 4);
        }
        s.sp -= 2;
        s.next()
    }),
    LocalGet2(local) => {
        let local = s.m.base + local as usize;
        let value = [s.cells[local], s.cells[local + 1]];
        s.push2(value)
    },
    LocalSet2(local) => {
        s.sp -= 2;
        s.cells.copy_within(s.sp..s.sp + 2, s.m.base + local as usize);
        s.next()
    },
    LocalTee2(local) => {
        s.cells.copy_within(s.sp - 2..s.sp, s.m.base + local as usize);
        s.next()
    },
    GlobalGet2(global) => {
        let global = s.m.globals[s.m.instance.globals[global as usize].index()];
        s.push2([global.value, global.high])
    },
    GlobalSet2(global) => {
        s.sp -= 2;
        let global = &mut s.m.globals[s.m.instance.globals[global as usize].index()];
        (global.value, global.high) = (s.cells[s.sp], s.cells[s.sp + 1]);
        s.next()
    },
    ConstVector(index) => {
        let constants = &s.m.code.constants;
        s.push2([constants[index as usize], constants[index as usize + 1]])
    },
    Simd { op, immediate } => {
        let shuffle = s.m.code.shuffles.get(immediate as usize);
        s.sp = simd::execute(op, immediate as u8, shuffle, s.cells, s.sp);
        s.next()
    },
    SimdMemory { op, lane, offset } => s.vector_access(op, lane, offset),

    ConstI32(value) => s.push(Some(u64::from(value))),
    ConstI64(value) => s.push(Some(i64::from(value) as u64)),
    ConstPool(index) => {
        let value = s.m.code.constants.get(index as usize).map(|cell| cell.0);
        s.push(value)
    },
    RefNull => s.push(Some(0)),
    RefIsNull => s.unary(|a: u64| a == 0),
    RefFunc(func) => {
        let value = s.m.instance.resolve(FuncIdx::new(func)).to_cell().0;
        s.push(Some(value))
    },

    // `as u32` sign-extends a smaller signed number to 32 bits, the cell then
    // zero-extends it.
    I32Load(offset) => s.load(offset, |bytes| u64::from(u32::from_le_bytes(bytes))),
    I64Load(offset) => s.load(offset, u64::from_le_bytes),
    I32Load8S(offset) => s.load(offset, |bytes| u64::from(i8::from_le_bytes(bytes) as u32)),
    I32Load8U(offset) => s.load(offset, |bytes| u64::from(u8::from_le_bytes(bytes))),
    I32Load16S(offset) => s.load(offset, |bytes| u64::from(i16::from_le_bytes(bytes) as u32)),
    I32Load16U(offset) => s.load(offset, |bytes| u64::from(u16::from_le_bytes(bytes))),
    I64Load8S(offset) => s.load(offset, |bytes| i8::from_le_bytes(bytes) as u64),
    I64Load16S(offset) => s.load(offset, |bytes| i16::from_le_bytes(bytes) as u64),
    I64Load32S(offset) => s.load(offset, |bytes| i32::from_le_bytes(bytes) as u64),
    Store8(offset) => s.store(offset, |value| (value as u8).to_le_bytes()),
    Store16(offset) => s.store(offset, |value| (value as u16).to_le_bytes()),
    Store32(offset) => s.store(offset, |value| (value as u32).to_le_bytes()),
    Store64(offset) => s.store(offset, |value| value.to_le_bytes()),
    MemorySize => {
        let pages = s.m.memory.len() as u64 / wasm_view::MemoryType::PAGE;
        s.push(Some(pages))
    },
    TableGet(table) => {
        let elements = s.m.table(table).map(|table| &table.elements[..]).unwrap_or_default();
        match s.top().and_then(|index| elements.get(index as usize)) {
            Some(&Cell(element)) => s.unary(|_: u64| element),
            None => s.trap(Trap::TableOutOfBounds),
        }
    },
    TableSize(table) => {
        let size = s.m.table(table).map(|table| table.elements.len() as u64);
        s.push(size)
    },
    Stop => s.exit(Exit::Stop),

    I32Eqz => s.unary(|a: u32| a == 0),
    I32Eq => s.binary(|a: u32, b: u32| a == b),
    I32Ne => s.binary(|a: u32, b: u32| a != b),
    I32LtS => s.binary(|a: i32, b: i32| a < b),
    I32LtU => s.binary(|a: u32, b: u32| a < b),
    I32GtS => s.binary(|a: i32, b: i32| a > b),
    I32GtU => s.binary(|a: u32, b: u32| a > b),
    I32LeS => s.binary(|a: i32, b: i32| a <= b),
    I32LeU => s.binary(|a: u32, b: u32| a <= b),
    I32GeS => s.binary(|a: i32, b: i32| a >= b),
    I32GeU => s.binary(|a: u32, b: u32| a >= b),
    I64Eqz => s.unary(|a: u64| a == 0),
    I64Eq => s.binary(|a: u64, b: u64| a == b),
    I64Ne => s.binary(|a: u64, b: u64| a != b),
    I64LtS => s.binary(|a: i64, b: i64| a < b),
    I64LtU => s.binary(|a: u64, b: u64| a < b),
    I64GtS => s.binary(|a: i64, b: i64| a > b),
    I64GtU => s.binary(|a: u64, b: u64| a > b),
    I64LeS => s.binary(|a: i64, b: i64| a <= b),
    I64LeU => s.binary(|a: u64, b: u64| a <= b),
    I64GeS => s.binary(|a: i64, b: i64| a >= b),
    I64GeU => s.binary(|a: u64, b: u64| a >= b),
    F32Eq => s.binary(|a: f32, b: f32| a == b),
    F32Ne => s.binary(|a: f32, b: f32| a != b),
    F32Lt => s.binary(|a: f32, b: f32| a < b),
    F32Gt => s.binary(|a: f32, b: f32| a > b),
    F32Le => s.binary(|a: f32, b: f32| a <= b),
    F32Ge => s.binary(|a: f32, b: f32| a >= b),
    F64Eq => s.binary(|a: f64, b: f64| a == b),
    F64Ne => s.binary(|a: f64, b: f64| a != b),
    F64Lt => s.binary(|a: f64, b: f64| a < b),
    F64Gt => s.binary(|a: f64, b: f64| a > b),
    F64Le => s.binary(|a: f64, b: f64| a <= b),
    F64Ge => s.binary(|a: f64, b: f64| a >= b),

    I32Clz => s.unary(|a: u32| a.leading_zeros()),
    I32Ctz => s.unary(|a: u32| a.trailing_zeros()),
    I32Popcnt => s.unary(|a: u32| a.count_ones()),
    I32Add => s.binary(|a: u32, b: u32| a.wrapping_add(b)),
    I32Sub => s.binary(|a: u32, b: u32| a.wrapping_sub(b)),
    I32Mul => s.binary(|a: u32, b: u32| a.wrapping_mul(b)),
    I32DivS => s.try_binary(|a: i32, b: i32| i32_div_s(a, b)),
    I32DivU => s.try_binary(|a: u32, b: u32| a.checked_div(b).ok_or(Trap::IntegerDivideByZero)),
    I32RemS => s.try_binary(|a: i32, b: i32| {
        if b == 0 { Err(Trap::IntegerDivideByZero) } else { Ok(a.wrapping_rem(b)) }
    }),
    I32RemU => s.try_binary(|a: u32, b: u32| a.checked_rem(b).ok_or(Trap::IntegerDivideByZero)),
    I32And => s.binary(|a: u32, b: u32| a & b),
    I32Or => s.binary(|a: u32, b: u32| a | b),
    I32Xor => s.binary(|a: u32, b: u32| a ^ b),
    I32Shl => s.binary(|a: u32, b: u32| a.wrapping_shl(b)),
    I32ShrS => s.binary(|a: i32, b: i32| a.wrapping_shr(b as u32)),
    I32ShrU => s.binary(|a: u32, b: u32| a.wrapping_shr(b)),
    I32Rotl => s.binary(|a: u32, b: u32| a.rotate_left(b % 32)),
    I32Rotr => s.binary(|a: u32, b: u32| a.rotate_right(b % 32)),
    I64Clz => s.unary(|a: u64| u64::from(a.leading_zeros())),
    I64Ctz => s.unary(|a: u64| u64::from(a.trailing_zeros())),
    I64Popcnt => s.unary(|a: u64| u64::from(a.count_ones())),
    I64Add => s.binary(|a: u64, b: u64| a.wrapping_add(b)),
    I64Sub => s.binary(|a: u64, b: u64| a.wrapping_sub(b)),
    I64Mul => s.binary(|a: u64, b: u64| a.wrapping_mul(b)),
    I64DivS => s.try_binary(|a: i64, b: i64| i64_div_s(a, b)),
    I64DivU => s.try_binary(|a: u64, b: u64| a.checked_div(b).ok_or(Trap::IntegerDivideByZero)),
    I64RemS => s.try_binary(|a: i64, b: i64| {
        if b == 0 { Err(Trap::IntegerDivideByZero) } else { Ok(a.wrapping_rem(b)) }
    }),
    I64RemU => s.try_binary(|a: u64, b: u64| a.checked_rem(b).ok_or(Trap::IntegerDivideByZero)),
    I64And => s.binary(|a: u64, b: u64| a & b),
    I64Or => s.binary(|a: u64, b: u64| a | b),
    I64Xor => s.binary(|a: u64, b: u64| a ^ b),
    I64Shl => s.binary(|a: u64, b: u64| a.wrapping_shl(b as u32)),
    I64ShrS => s.binary(|a: i64, b: i64| a.wrapping_shr(b as u32)),
    I64ShrU => s.binary(|a: u64, b: u64| a.wrapping_shr(b as u32)),
    I64Rotl => s.binary(|a: u64, b: u64| a.rotate_left((b % 64) as u32)),
    I64Rotr => s.binary(|a: u64, b: u64| a.rotate_right((b % 64) as u32)),

    // Sign operations are on the bits: a NaN keeps its payload.
    F32Abs => s.unary(|a: u32| a & 0x7fff_ffff),
    F32Neg => s.unary(|a: u32| a ^ 0x8000_0000),
    F32Copysign => s.binary(|a: u32, b: u32| (a & 0x7fff_ffff) | (b & 0x8000_0000)),
    F64Abs => s.unary(|a: u64| a & !(1 << 63)),
    F64Neg => s.unary(|a: u64| a ^ (1 << 63)),
    F64Copysign => s.binary(|a: u64, b: u64| (a & !(1 << 63)) | (b & (1 << 63))),
    F32Ceil => s.unary(|a: f32| f32_of(a, a.ceil())),
    F32Floor => s.unary(|a: f32| f32_of(a, a.floor())),
    F32Trunc => s.unary(|a: f32| f32_of(a, a.trunc())),
    F32Nearest => s.unary(|a: f32| f32_of(a, a.round_ties_even())),
    F32Sqrt => s.unary(|a: f32| f32_of(a, a.sqrt())),
    F32Add => s.binary(|a: f32, b: f32| f32_of_two(a, b, a + b)),
    F32Sub => s.binary(|a: f32, b: f32| f32_of_two(a, b, a - b)),
    F32Mul => s.binary(|a: f32, b: f32| f32_of_two(a, b, a * b)),
    F32Div => s.binary(|a: f32, b: f32| f32_of_two(a, b, a / b)),
    F32Min => s.binary(|a: f32, b: f32| f32_of_two(a, b, f32_min(a, b))),
    F32Max => s.binary(|a: f32, b: f32| f32_of_two(a, b, f32_max(a, b))),
    F64Ceil => s.unary(|a: f64| f64_of(a, a.ceil())),
    F64Floor => s.unary(|a: f64| f64_of(a, a.floor())),
    F64Trunc => s.unary(|a: f64| f64_of(a, a.trunc())),
    F64Nearest => s.unary(|a: f64| f64_of(a, a.round_ties_even())),
    F64Sqrt => s.unary(|a: f64| f64_of(a, a.sqrt())),
    F64Add => s.binary(|a: f64, b: f64| f64_of_two(a, b, a + b)),
    F64Sub => s.binary(|a: f64, b: f64| f64_of_two(a, b, a - b)),
    F64Mul => s.binary(|a: f64, b: f64| f64_of_two(a, b, a * b)),
    F64Div => s.binary(|a: f64, b: f64| f64_of_two(a, b, a / b)),
    F64Min => s.binary(|a: f64, b: f64| f64_of_two(a, b, f64_min(a, b))),
    F64Max => s.binary(|a: f64, b: f64| f64_of_two(a, b, f64_max(a, b))),

    I32WrapI64 => s.unary(|a: u64| a as u32),
    I64ExtendI32S => s.unary(|a: i32| i64::from(a)),
    I64ExtendI32U => s.unary(|a: u32| u64::from(a)),
    I32TruncF32S => s.try_unary(|a: f32| i32_trunc_f32(a)),
    I32TruncF32U => s.try_unary(|a: f32| u32_trunc_f32(a)),
    I32TruncF64S => s.try_unary(|a: f64| i32_trunc_f64(a)),
    I32TruncF64U => s.try_unary(|a: f64| u32_trunc_f64(a)),
    I64TruncF32S => s.try_unary(|a: f32| i64_trunc_f32(a)),
    I64TruncF32U => s.try_unary(|a: f32| u64_trunc_f32(a)),
    I64TruncF64S => s.try_unary(|a: f64| i64_trunc_f64(a)),
    I64TruncF64U => s.try_unary(|a: f64| u64_trunc_f64(a)),
    F32ConvertI32S => s.unary(|a: i32| (a as f32).to_bits()),
    F32ConvertI32U => s.unary(|a: u32| (a as f32).to_bits()),
    F32ConvertI64S => s.unary(|a: i64| (a as f32).to_bits()),
    F32ConvertI64U => s.unary(|a: u64| (a as f32).to_bits()),
    F64ConvertI32S => s.unary(|a: i32| f64::from(a).to_bits()),
    F64ConvertI32U => s.unary(|a: u32| f64::from(a).to_bits()),
    F64ConvertI64S => s.unary(|a: i64| (a as f64).to_bits()),
    F64ConvertI64U => s.unary(|a: u64| (a as f64).to_bits()),
    F32DemoteF64 => s.unary(|a: f64| f32_demote(a)),
    F64PromoteF32 => s.unary(|a: f32| f64_promote(a)),
    // The cell is the bits already.
    I32ReinterpretF32
    | I64ReinterpretF64
    | F32ReinterpretI32
    | F64ReinterpretI64 => s.next(),
    I32Extend8S => s.unary(|a: u32| i32::from(a as i8)),
    I32Extend16S => s.unary(|a: u32| i32::from(a as i16)),
    I64Extend8S => s.unary(|a: u64| i64::from(a as i8)),
    I64Extend16S => s.unary(|a: u64| i64::from(a as i16)),
    I64Extend32S => s.unary(|a: u64| i64::from(a as i32)),
    // Rust's `as` saturates and maps NaN to 0, as these do.
    I32TruncSatF32S => s.unary(|a: f32| a as i32),
    I32TruncSatF32U => s.unary(|a: f32| a as u32),
    I32TruncSatF64S => s.unary(|a: f64| a as i32),
    I32TruncSatF64U => s.unary(|a: f64| a as u32),
    I64TruncSatF32S => s.unary(|a: f32| a as i64),
    I64TruncSatF32U => s.unary(|a: f32| a as u64),
    I64TruncSatF64S => s.unary(|a: f64| a as i64),
    I64TruncSatF64U => s.unary(|a: f64| a as u64),
}

/// The address of an access: the sum of an operand of 32 or 64 bits and an
/// offset. No memory reaches where the sum is cut off.
#[inline(always)]
fn effective_address(operand: u64, offset: u32) -> usize {
    operand.saturating_add(u64::from(offset)) as usize
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

/// Reading an operand's bits as a number, and a result as a cell's bits.
trait Bits {
    fn of(cell: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! bits {
    ($($ty:ty: |$cell:ident| $of:expr, |$value:ident| $bits:expr;)*) => {$(
        impl Bits for $ty {
            #[inline(always)]
            fn of($cell: u64) -> Self {
                $of
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                let $value = self;
                $bits
            }
        }
    )*};
}
bits! {
    u32: |cell| cell as u32, |value| u64::from(value);
    i32: |cell| cell as i32, |value| u64::from(value as u32);
    u64: |cell| cell, |value| value;
    i64: |cell| cell as i64, |value| value as u64;
    f32: |cell| f32::from_bits(cell as u32), |value| u64::from(value.to_bits());
    f64: |cell| f64::from_bits(cell), |value| value.to_bits();
    bool: |cell| cell != 0, |value| u64::from(value);
}
