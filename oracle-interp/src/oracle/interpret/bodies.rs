//! What each op does, and the functions that do it: one per op, and one per
//! sequence of ops that has a route of its own.

use super::{Body, Dispatch, Exit, Handler, Machine, Next, Observer, State, Then};
use crate::module::OpIdx;
use crate::numeric::*;
use crate::op::{Op, Tag};
use crate::routes::{ROUTES, Route, for_each_sequence};
use crate::simd;
use std::marker::PhantomData;
use wasm_view::{Cell, FuncIdx, Trap};

/// The functions of the routes.
pub(super) struct Handlers<'m, 'a, O>(PhantomData<&'m mut Machine<'a, O>>);

/// Executes the op `B`, and then `K`.
fn handle<'m, 'a, B: Body, K: Next, O: Observer>(
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
    immediate: u32,
) -> Exit {
    debug_assert_eq!(m.ops[pc].tag(), B::TAG);
    B::run(State::<O, K> { m, cells, sp, pc, immediate, next: PhantomData })
}

/// For ops without a body.
fn slow<'m, 'a, O: Observer>(
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
    _: u32,
) -> Exit {
    State::<O>::at(m, cells, sp, pc).exit(Exit::Slow)
}

/// At a boundary of the stop set.
fn stop<'m, 'a, O: Observer>(
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
    _: u32,
) -> Exit {
    State::<O>::at(m, cells, sp, pc).exit(Exit::Stop)
}

/// Executes a run of ops that do nothing, of this length.
fn skip<'m, 'a, O: Observer>(
    m: &'m mut Machine<'a, O>,
    cells: &'m mut [Cell],
    sp: usize,
    pc: usize,
    length: u32,
) -> Exit {
    // An observer is told of each, and fuel may end at each.
    let behind = pc + length as usize;
    let next = if O::EACH_OP || m.window.len() < behind { pc + 1 } else { behind };
    State::<O>::at(m, cells, sp, next).dispatch()
}

/// The function of a sequence.
macro_rules! handler_of {
    (($first:ident $($middle:ident)*) $last:ident) => {
        handle::<op::$first, handler_of!(@then $($middle)* $last), O>
    };
    (@then) => { Dispatch };
    (@then $op:ident $($rest:ident)*) => { Then<op::$op, handler_of!(@then $($rest)*)> };
}

macro_rules! handlers_of_sequences {
    ($($prefix:tt : $($last:ident)+;)+) => {
        &[$($(handler_of!($prefix $last) as Handler<'m, 'a, O>,)+)+]
    };
}

impl<'m, 'a, O: Observer + 'a> Handlers<'m, 'a, O>
where
    'a: 'm,
{
    const SEQUENCES: &'m [Handler<'m, 'a, O>] = for_each_sequence!(handlers_of_sequences);

    /// By [`Route`].
    pub(super) const TABLE: &'m [Handler<'m, 'a, O>; ROUTES] = &{
        let mut table = Self::OPS;
        table[Route::STOP.index()] = stop::<O>;
        let mut sequence = 0;
        while sequence < Self::SEQUENCES.len() {
            table[Route::sequence(sequence).index()] = Self::SEQUENCES[sequence];
            sequence += 1;
        }
        table[Route::SKIP.index()] = skip::<O>;
        table
    };
}

/// Takes off the topmost operand. (A method that calls back with it would not
/// always be inlined, and cost a stack frame.)
macro_rules! pop {
    ($state:ident) => {
        match $state.pop() {
            Some(value) => value,
            None => return $state.exit(Exit::Broken),
        }
    };
}

/// `op | op(immediate) => what it does with the state`, which is named first.
macro_rules! bodies {
    ($s:ident; $($($op:ident $(($of:ident))? $({ $($field:ident),* })?)|+ => $body:expr,)*) => {
        /// One type per op, of the op's name.
        mod op {
            use super::*;

            $($(
                pub(super) struct $op;

                impl Body for $op {
                    const TAG: Tag = Tag::$op;

                    #[inline(always)]
                    fn run<O: Observer, K: Next>(state: State<'_, '_, O, K>) -> Exit {
                        #[allow(unused_mut)]
                        let mut $s = state;
                        $(let $of = $s.immediate;)?
                        $(let Some(Op::$op { $($field),* }) = $s.op() else {
                            return $s.exit(Exit::Broken);
                        };)?
                        $body
                    }
                }
            )+)*
        }

        impl<'m, 'a, O: Observer + 'a> Handlers<'m, 'a, O>
        where
            'a: 'm,
        {
            /// The functions of single ops, by [`Tag`].
            const OPS: [Handler<'m, 'a, O>; ROUTES] = {
                let mut table: [Handler<'m, 'a, O>; ROUTES] = [slow::<O>; ROUTES];
                $($(table[Tag::$op as usize] = handle::<op::$op, Dispatch, O>;)+)*
                table
            };
        }
    };
}

bodies! { s;
    Unreachable => s.trap(Trap::Unreachable),
    Nop | Block | Loop | End => s.next(),
    If(target) => if pop!(s) == 0 { s.jump(OpIdx(target)) } else { s.next() },
    Else(target) | BrPlain(target) => s.jump(OpIdx(target)),
    BrIfPlain(target) => if pop!(s) != 0 { s.jump(OpIdx(target)) } else { s.next() },
    Br(entry) => s.branch(entry),
    BrIf(entry) => if pop!(s) != 0 { s.branch(entry) } else { s.next() },
    BrTable(table) => match s.m.code.branch_tables.get(table as usize) {
        Some(entries) => {
            let index = (pop!(s) as u32).min(entries.end - entries.start - 1);
            s.branch(entries.start + index)
        }
        None => s.exit(Exit::Broken),
    },
    Return | FuncEnd => s.leave::<false>(),
    Call(defined) => s.call::<false>(defined, 0),
    CallIndirect { table, ty } => s.call_indirect(table, ty),

    Drop => {
        s.sp -= 1;
        s.next()
    },
    Select => {
        let condition = pop!(s);
        s.binary(|a: u64, b: u64| if condition == 0 { b } else { a })
    },
    LocalGet(local) => match s.local(local) {
        Some(&mut Cell(value)) => s.push(Some(value)),
        None => s.exit(Exit::Broken),
    },
    LocalSet(local) => {
        let value = pop!(s);
        s.set_local(local, value)
    },
    LocalTee(local) => match s.top() {
        Some(value) => s.set_local(local, value),
        None => s.exit(Exit::Broken),
    },
    GlobalGet(global) => {
        let value = s.global(global).map(|cell| cell.0);
        s.push(value)
    },
    GlobalSet(global) => {
        let value = pop!(s);
        s.set_global(global, value)
    },

    Drop2 => {
        s.sp -= 2;
        s.next()
    },
    Select2 => {
        if pop!(s) == 0 {
            s.cells.copy_within(s.sp - 2..s.sp, s.sp - 4);
        }
        s.sp -= 2;
        s.next()
    },
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
    ConstI64(value) => s.push(Some(i64::from(value as i32) as u64)),
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
