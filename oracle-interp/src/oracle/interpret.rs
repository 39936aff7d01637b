//! The fast loop.
//!
//! One `match` on eight-byte ops, with everything it touches borrowed once:
//! the current instance's code and memory, the stack, the frames. It executes
//! what stays inside that set, including calls within the instance. What does
//! not (growing, bulk operations, calls elsewhere, a stack that must be
//! extended) it leaves to [`slow`](super::slow) by returning [`Exit::Slow`] with
//! the position still at the instruction.
//!
//! An instruction changes nothing before it is certain not to trap.
//!
//! What is kept out of the way of every instruction:
//!
//! - *Fuel* is not counted down. It is the end of the window of instructions
//!   that may still be executed if nothing jumps, so that the bounds check of
//!   the fetch is the check for fuel too; a jump moves that end.
//! - *The topmost operand* is also in a variable, `top`. It is in the stack as
//!   well, at any time: an arm may read and write the stack as it likes, for
//!   what falls out of the `match` reads `top` anew. Arms that know it use
//!   `next!`. Without operands `top` means nothing.
//! - *Observers* are a type parameter: for `()` nothing is left of the hooks.

use super::observer::{At, Observer};
use super::{FrameRecord, Oracle};
use crate::module::OpIdx;
use crate::numeric::*;
use crate::op::{Branch, Op};
use crate::stops::StopSet;
use crate::store::Store;
use wasm_view::{Cell, FuncAddr, FuncIdx, MemoryId, Trap};

/// Fuel that one entry takes at most, so that a position and it can be added.
const AMPLE: u64 = 1 << 62;

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
        let Some(frame) = frames.last() else {
            return Exit::Finished;
        };
        let Store { instances, memories, tables, globals, writes } = store;
        let instance_id = frame.instance;
        let instance = &instances[instance_id.index()];
        let module = &*instance.module;
        let code = &module.code;
        let ops = stops.map_or(&code.ops[..], |stops| stops.ops_for(module));
        let memory_id = instance.memories.first().copied().unwrap_or(MemoryId::new(0));
        let memory: &mut [u8] = match instance.memories.first() {
            Some(id) => &mut memories[id.index()].data,
            None => &mut [],
        };
        let max_frames = limits.max_frames;
        let log_writes = writes.is_on();

        // The frame's slots and what is free above them. `sp` counts from there.
        let mut bottom = frame.base;
        let cells = &mut stack[..];
        let mut stack = &mut cells[bottom..];
        let mut sp = self.sp - bottom;
        let mut func = frame.func;
        let mut pc = self.pc.index();
        // Fuel is used up when `pc` gets there without a jump.
        let mut end = pc + (*fuel).min(AMPLE) as usize;
        let set_aside = *fuel - (*fuel).min(AMPLE);
        let mut window = &ops[..ops.len().min(end)];
        let mut top = top_of(stack, sp);

        // An arm that falls out of the `match` continues at the next
        // instruction, with `top` read from the stack.
        macro_rules! next {
            ($effect:expr) => {{
                $effect;
                pc += 1;
                continue;
            }};
        }
        macro_rules! top {
            () => {
                top
            };
        }
        macro_rules! push {
            ($value:expr) => {{
                top = $value;
                stack[sp] = Cell(top);
                sp += 1;
            }};
        }
        macro_rules! unary {
            (|$a:ident: $in:ty| $result:expr) => {{
                let $a = <$in as Bits>::of(top);
                let result = Bits::bits($result);
                stack[sp - 1] = Cell(result);
                next!(top = result)
            }};
        }
        macro_rules! binary {
            (|$a:ident, $b:ident: $in:ty| $result:expr) => {{
                let $b = <$in as Bits>::of(top);
                let $a = <$in as Bits>::of(stack[sp - 2].0);
                let result = Bits::bits($result);
                stack[sp - 2] = Cell(result);
                sp -= 1;
                next!(top = result)
            }};
        }
        macro_rules! attempt {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(trap) => break Exit::Trap(trap),
                }
            };
        }
        macro_rules! load {
            ($offset:expr, $ty:ty, $as:ty) => {{
                let address = effective_address(top!(), $offset);
                let Some(bytes) = memory.get(address..).and_then(|m| m.first_chunk()) else {
                    break Exit::Trap(Trap::MemoryOutOfBounds);
                };
                let result = <$ty>::from_le_bytes(*bytes) as $as as u64;
                stack[sp - 1] = Cell(result);
                next!(top = result)
            }};
        }
        macro_rules! store {
            ($offset:expr, $ty:ty) => {{
                let address = effective_address(stack[sp - 2].0, $offset);
                let value = top as $ty;
                let Some(bytes) = memory.get_mut(address..).and_then(|m| m.first_chunk_mut())
                else {
                    break Exit::Trap(Trap::MemoryOutOfBounds);
                };
                *bytes = value.to_le_bytes();
                if log_writes {
                    writes.memory(memory_id, address as u64, size_of::<$ty>() as u64);
                }
                observer.memory_write(memory_id, address as u64, size_of::<$ty>() as u64);
                sp -= 2;
            }};
        }
        // Continues at `$target` after the instruction at `pc`.
        macro_rules! continue_at {
            ($target:expr) => {{
                let target = $target;
                // What is left stays the same: the end moves with the position.
                end = end + target - (pc + 1);
                pc = target;
                window = &ops[..ops.len().min(end)];
            }};
        }
        // Returns the topmost operands to the caller.
        macro_rules! leave {
            () => {{
                let caller = match frames.len() {
                    0 | 1 => break Exit::Finished,
                    depth => frames[depth - 2],
                };
                let results = frames.pop().map_or(0, |frame| frame.results) as usize;
                *lowest = frames.len().min(*lowest);
                move_down(stack, sp - results, 0, results);
                sp = bottom + results - caller.base;
                bottom = caller.base;
                stack = &mut cells[bottom..];
                func = caller.func;
                continue_at!(caller.pc.index() + 1);
                if caller.instance != instance_id {
                    break Exit::OtherInstance;
                }
                top = top_of(stack, sp);
                continue;
            }};
        }
        macro_rules! jump {
            ($target:expr) => {{
                top = top_of(stack, sp);
                continue_at!($target.index());
                continue;
            }};
        }
        macro_rules! branch {
            ($entry:expr) => {{
                let Branch { target, keep, height } = code.branches[$entry as usize];
                if target == Branch::RETURN {
                    leave!()
                } else {
                    let locals = frames.last().map_or(0, |frame| frame.locals);
                    let to = (locals + height) as usize;
                    move_down(stack, sp - keep as usize, to, keep as usize);
                    sp = to + keep as usize;
                    jump!(target)
                }
            }};
        }
        macro_rules! call {
            ($defined:expr) => {{
                let defined = $defined;
                let def = &module.functions[defined as usize];
                let callee = sp - def.params as usize;
                let locals = def.locals.len();
                if frames.len() >= max_frames || callee + def.cells as usize > stack.len() {
                    break Exit::Slow;
                }
                if sp < callee + locals {
                    stack[sp..callee + locals].fill(Cell(0));
                }
                if let Some(frame) = frames.last_mut() {
                    frame.pc = OpIdx(pc as u32);
                }
                let first = OpIdx(def.ops.start);
                bottom += callee;
                stack = &mut cells[bottom..];
                func = FuncIdx::new(module.num_imported_funcs + defined);
                observer.call(FuncAddr { instance: instance_id, func });
                frames.push(FrameRecord {
                    instance: instance_id,
                    func,
                    base: bottom,
                    pc: first,
                    locals: locals as u32,
                    results: def.results,
                });
                sp = locals;
                jump!(first)
            }};
        }

        let exit = loop {
            let Some(&op) = window.get(pc) else {
                debug_assert_eq!(pc, end, "a function ends with a jump");
                break Exit::Fuel;
            };
            if O::EACH_OP && op != Op::Stop {
                let position = OpIdx(pc as u32);
                let at = At { module, instance: instance_id, func, position };
                observer.before(&at, &stack[..sp]);
            }
            match op {
                Op::Unreachable => break Exit::Trap(Trap::Unreachable),
                Op::Nop | Op::Block | Op::Loop | Op::End => next!(()),
                Op::If(target) => {
                    sp -= 1;
                    if top == 0 {
                        jump!(target);
                    }
                }
                Op::Else(target) | Op::BrPlain(target) => jump!(target),
                Op::BrIfPlain(target) => {
                    sp -= 1;
                    if top != 0 {
                        jump!(target);
                    }
                }
                Op::Br(entry) => branch!(entry),
                Op::BrIf(entry) => {
                    sp -= 1;
                    if top != 0 {
                        branch!(entry);
                    }
                }
                Op::BrTable(table) => {
                    sp -= 1;
                    let entries = &code.branch_tables[table as usize];
                    let index = (top as u32).min(entries.end - entries.start - 1);
                    branch!(entries.start + index);
                }
                Op::Return | Op::FuncEnd => leave!(),
                Op::Call(defined) => call!(defined),
                Op::CallIndirect { table, ty } => {
                    let table = &tables[instance.tables[table as usize].index()].elements;
                    let Some(&element) = table.get(top!() as usize) else {
                        break Exit::Trap(Trap::UndefinedElement);
                    };
                    let Some(FuncAddr { instance: callee, func }) = FuncAddr::from_cell(element)
                    else {
                        break Exit::Trap(Trap::UninitializedElement);
                    };
                    let defined = func.get().wrapping_sub(module.num_imported_funcs);
                    if callee != instance_id || (defined as usize) >= module.functions.len() {
                        break Exit::Slow;
                    }
                    let actual = module.func_types[func.index()];
                    if module.canonical_types[actual.index()] != module.canonical_types[ty as usize]
                    {
                        break Exit::Trap(Trap::IndirectCallTypeMismatch);
                    }
                    // The index is an operand until the call is certain.
                    let def = &module.functions[defined as usize];
                    if frames.len() >= max_frames || sp + def.cells as usize > stack.len() {
                        break Exit::Slow;
                    }
                    sp -= 1;
                    call!(defined);
                }

                Op::Drop => sp -= 1,
                Op::Select => {
                    let [first, second] = [stack[sp - 3].0, stack[sp - 2].0];
                    top = if top == 0 { second } else { first };
                    stack[sp - 3] = Cell(top);
                    next!(sp -= 2)
                }
                Op::LocalGet(local) => next!(push!(stack[local as usize].0)),
                Op::LocalSet(local) => {
                    sp -= 1;
                    stack[local as usize] = Cell(top);
                }
                Op::LocalTee(local) => next!(stack[local as usize] = Cell(top)),
                Op::GlobalGet(global) => {
                    next!(push!(globals[instance.globals[global as usize].index()].value.0))
                }
                Op::GlobalSet(global) => {
                    sp -= 1;
                    globals[instance.globals[global as usize].index()].value = Cell(top);
                }

                Op::ConstI32(value) => next!(push!(u64::from(value))),
                Op::ConstI64(value) => next!(push!(i64::from(value) as u64)),
                Op::ConstPool(index) => next!(push!(code.constants[index as usize].0)),
                Op::RefNull => push!(0),
                Op::RefIsNull => unary!(|a: u64| a == 0),
                Op::RefFunc(func) => push!(instance.resolve(FuncIdx::new(func)).to_cell().0),

                // `as u32` sign-extends a smaller signed number to 32 bits, the
                // cell then zero-extends it.
                Op::I32Load(offset) => load!(offset, u32, u32),
                Op::I64Load(offset) => load!(offset, u64, u64),
                Op::I32Load8S(offset) => load!(offset, i8, u32),
                Op::I32Load8U(offset) => load!(offset, u8, u32),
                Op::I32Load16S(offset) => load!(offset, i16, u32),
                Op::I32Load16U(offset) => load!(offset, u16, u32),
                Op::I64Load8S(offset) => load!(offset, i8, i64),
                Op::I64Load16S(offset) => load!(offset, i16, i64),
                Op::I64Load32S(offset) => load!(offset, i32, i64),
                Op::Store8(offset) => store!(offset, u8),
                Op::Store16(offset) => store!(offset, u16),
                Op::Store32(offset) => store!(offset, u32),
                Op::Store64(offset) => store!(offset, u64),
                Op::MemorySize => push!(memory.len() as u64 / wasm_view::MemoryType::PAGE),
                Op::TableGet(table) => {
                    let table = &tables[instance.tables[table as usize].index()].elements;
                    let Some(&element) = table.get(top!() as usize) else {
                        break Exit::Trap(Trap::TableOutOfBounds);
                    };
                    stack[sp - 1] = element;
                }
                Op::TableSize(table) => {
                    let table = &tables[instance.tables[table as usize].index()].elements;
                    push!(table.len() as u64);
                }

                Op::CallImport(_)
                | Op::MemoryGrow
                | Op::MemoryCopy
                | Op::MemoryFill
                | Op::MemoryInit(_)
                | Op::DataDrop(_)
                | Op::TableSet(_)
                | Op::TableGrow(_)
                | Op::TableFill(_)
                | Op::TableCopy { .. }
                | Op::TableInit { .. }
                | Op::ElemDrop(_) => break Exit::Slow,
                Op::Stop => break Exit::Stop,

                Op::I32Eqz => unary!(|a: u32| a == 0),
                Op::I32Eq => binary!(|a, b: u32| a == b),
                Op::I32Ne => binary!(|a, b: u32| a != b),
                Op::I32LtS => binary!(|a, b: i32| a < b),
                Op::I32LtU => binary!(|a, b: u32| a < b),
                Op::I32GtS => binary!(|a, b: i32| a > b),
                Op::I32GtU => binary!(|a, b: u32| a > b),
                Op::I32LeS => binary!(|a, b: i32| a <= b),
                Op::I32LeU => binary!(|a, b: u32| a <= b),
                Op::I32GeS => binary!(|a, b: i32| a >= b),
                Op::I32GeU => binary!(|a, b: u32| a >= b),
                Op::I64Eqz => unary!(|a: u64| a == 0),
                Op::I64Eq => binary!(|a, b: u64| a == b),
                Op::I64Ne => binary!(|a, b: u64| a != b),
                Op::I64LtS => binary!(|a, b: i64| a < b),
                Op::I64LtU => binary!(|a, b: u64| a < b),
                Op::I64GtS => binary!(|a, b: i64| a > b),
                Op::I64GtU => binary!(|a, b: u64| a > b),
                Op::I64LeS => binary!(|a, b: i64| a <= b),
                Op::I64LeU => binary!(|a, b: u64| a <= b),
                Op::I64GeS => binary!(|a, b: i64| a >= b),
                Op::I64GeU => binary!(|a, b: u64| a >= b),
                Op::F32Eq => binary!(|a, b: f32| a == b),
                Op::F32Ne => binary!(|a, b: f32| a != b),
                Op::F32Lt => binary!(|a, b: f32| a < b),
                Op::F32Gt => binary!(|a, b: f32| a > b),
                Op::F32Le => binary!(|a, b: f32| a <= b),
                Op::F32Ge => binary!(|a, b: f32| a >= b),
                Op::F64Eq => binary!(|a, b: f64| a == b),
                Op::F64Ne => binary!(|a, b: f64| a != b),
                Op::F64Lt => binary!(|a, b: f64| a < b),
                Op::F64Gt => binary!(|a, b: f64| a > b),
                Op::F64Le => binary!(|a, b: f64| a <= b),
                Op::F64Ge => binary!(|a, b: f64| a >= b),

                Op::I32Clz => unary!(|a: u32| a.leading_zeros()),
                Op::I32Ctz => unary!(|a: u32| a.trailing_zeros()),
                Op::I32Popcnt => unary!(|a: u32| a.count_ones()),
                Op::I32Add => binary!(|a, b: u32| a.wrapping_add(b)),
                Op::I32Sub => binary!(|a, b: u32| a.wrapping_sub(b)),
                Op::I32Mul => binary!(|a, b: u32| a.wrapping_mul(b)),
                Op::I32DivS => binary!(|a, b: i32| attempt!(i32_div_s(a, b))),
                Op::I32DivU => binary!(|a, b: u32| {
                    attempt!(a.checked_div(b).ok_or(Trap::IntegerDivideByZero))
                }),
                Op::I32RemS => binary!(|a, b: i32| {
                    if b == 0 {
                        break Exit::Trap(Trap::IntegerDivideByZero);
                    }
                    a.wrapping_rem(b)
                }),
                Op::I32RemU => binary!(|a, b: u32| {
                    attempt!(a.checked_rem(b).ok_or(Trap::IntegerDivideByZero))
                }),
                Op::I32And => binary!(|a, b: u32| a & b),
                Op::I32Or => binary!(|a, b: u32| a | b),
                Op::I32Xor => binary!(|a, b: u32| a ^ b),
                Op::I32Shl => binary!(|a, b: u32| a.wrapping_shl(b)),
                Op::I32ShrS => binary!(|a, b: i32| a.wrapping_shr(b as u32)),
                Op::I32ShrU => binary!(|a, b: u32| a.wrapping_shr(b)),
                Op::I32Rotl => binary!(|a, b: u32| a.rotate_left(b % 32)),
                Op::I32Rotr => binary!(|a, b: u32| a.rotate_right(b % 32)),
                Op::I64Clz => unary!(|a: u64| u64::from(a.leading_zeros())),
                Op::I64Ctz => unary!(|a: u64| u64::from(a.trailing_zeros())),
                Op::I64Popcnt => unary!(|a: u64| u64::from(a.count_ones())),
                Op::I64Add => binary!(|a, b: u64| a.wrapping_add(b)),
                Op::I64Sub => binary!(|a, b: u64| a.wrapping_sub(b)),
                Op::I64Mul => binary!(|a, b: u64| a.wrapping_mul(b)),
                Op::I64DivS => binary!(|a, b: i64| attempt!(i64_div_s(a, b))),
                Op::I64DivU => binary!(|a, b: u64| {
                    attempt!(a.checked_div(b).ok_or(Trap::IntegerDivideByZero))
                }),
                Op::I64RemS => binary!(|a, b: i64| {
                    if b == 0 {
                        break Exit::Trap(Trap::IntegerDivideByZero);
                    }
                    a.wrapping_rem(b)
                }),
                Op::I64RemU => binary!(|a, b: u64| {
                    attempt!(a.checked_rem(b).ok_or(Trap::IntegerDivideByZero))
                }),
                Op::I64And => binary!(|a, b: u64| a & b),
                Op::I64Or => binary!(|a, b: u64| a | b),
                Op::I64Xor => binary!(|a, b: u64| a ^ b),
                Op::I64Shl => binary!(|a, b: u64| a.wrapping_shl(b as u32)),
                Op::I64ShrS => binary!(|a, b: i64| a.wrapping_shr(b as u32)),
                Op::I64ShrU => binary!(|a, b: u64| a.wrapping_shr(b as u32)),
                Op::I64Rotl => binary!(|a, b: u64| a.rotate_left((b % 64) as u32)),
                Op::I64Rotr => binary!(|a, b: u64| a.rotate_right((b % 64) as u32)),

                // Sign operations are on the bits: a NaN keeps its payload.
                Op::F32Abs => unary!(|a: u32| a & 0x7fff_ffff),
                Op::F32Neg => unary!(|a: u32| a ^ 0x8000_0000),
                Op::F32Copysign => {
                    binary!(|a, b: u32| (a & 0x7fff_ffff) | (b & 0x8000_0000));
                }
                Op::F64Abs => unary!(|a: u64| a & !(1 << 63)),
                Op::F64Neg => unary!(|a: u64| a ^ (1 << 63)),
                Op::F64Copysign => binary!(|a, b: u64| (a & !(1 << 63)) | (b & (1 << 63))),
                Op::F32Ceil => unary!(|a: f32| f32_of(a, a.ceil())),
                Op::F32Floor => unary!(|a: f32| f32_of(a, a.floor())),
                Op::F32Trunc => unary!(|a: f32| f32_of(a, a.trunc())),
                Op::F32Nearest => unary!(|a: f32| f32_of(a, a.round_ties_even())),
                Op::F32Sqrt => unary!(|a: f32| f32_of(a, a.sqrt())),
                Op::F32Add => binary!(|a, b: f32| f32_of_two(a, b, a + b)),
                Op::F32Sub => binary!(|a, b: f32| f32_of_two(a, b, a - b)),
                Op::F32Mul => binary!(|a, b: f32| f32_of_two(a, b, a * b)),
                Op::F32Div => binary!(|a, b: f32| f32_of_two(a, b, a / b)),
                Op::F32Min => binary!(|a, b: f32| f32_of_two(a, b, f32_min(a, b))),
                Op::F32Max => binary!(|a, b: f32| f32_of_two(a, b, f32_max(a, b))),
                Op::F64Ceil => unary!(|a: f64| f64_of(a, a.ceil())),
                Op::F64Floor => unary!(|a: f64| f64_of(a, a.floor())),
                Op::F64Trunc => unary!(|a: f64| f64_of(a, a.trunc())),
                Op::F64Nearest => unary!(|a: f64| f64_of(a, a.round_ties_even())),
                Op::F64Sqrt => unary!(|a: f64| f64_of(a, a.sqrt())),
                Op::F64Add => binary!(|a, b: f64| f64_of_two(a, b, a + b)),
                Op::F64Sub => binary!(|a, b: f64| f64_of_two(a, b, a - b)),
                Op::F64Mul => binary!(|a, b: f64| f64_of_two(a, b, a * b)),
                Op::F64Div => binary!(|a, b: f64| f64_of_two(a, b, a / b)),
                Op::F64Min => binary!(|a, b: f64| f64_of_two(a, b, f64_min(a, b))),
                Op::F64Max => binary!(|a, b: f64| f64_of_two(a, b, f64_max(a, b))),

                Op::I32WrapI64 => unary!(|a: u64| a as u32),
                Op::I64ExtendI32S => unary!(|a: i32| i64::from(a)),
                Op::I64ExtendI32U => unary!(|a: u32| u64::from(a)),
                Op::I32TruncF32S => unary!(|a: f32| attempt!(i32_trunc_f32(a))),
                Op::I32TruncF32U => unary!(|a: f32| attempt!(u32_trunc_f32(a))),
                Op::I32TruncF64S => unary!(|a: f64| attempt!(i32_trunc_f64(a))),
                Op::I32TruncF64U => unary!(|a: f64| attempt!(u32_trunc_f64(a))),
                Op::I64TruncF32S => unary!(|a: f32| attempt!(i64_trunc_f32(a))),
                Op::I64TruncF32U => unary!(|a: f32| attempt!(u64_trunc_f32(a))),
                Op::I64TruncF64S => unary!(|a: f64| attempt!(i64_trunc_f64(a))),
                Op::I64TruncF64U => unary!(|a: f64| attempt!(u64_trunc_f64(a))),
                Op::F32ConvertI32S => unary!(|a: i32| (a as f32).to_bits()),
                Op::F32ConvertI32U => unary!(|a: u32| (a as f32).to_bits()),
                Op::F32ConvertI64S => unary!(|a: i64| (a as f32).to_bits()),
                Op::F32ConvertI64U => unary!(|a: u64| (a as f32).to_bits()),
                Op::F64ConvertI32S => unary!(|a: i32| f64::from(a).to_bits()),
                Op::F64ConvertI32U => unary!(|a: u32| f64::from(a).to_bits()),
                Op::F64ConvertI64S => unary!(|a: i64| (a as f64).to_bits()),
                Op::F64ConvertI64U => unary!(|a: u64| (a as f64).to_bits()),
                Op::F32DemoteF64 => unary!(|a: f64| f32_demote(a)),
                Op::F64PromoteF32 => unary!(|a: f32| f64_promote(a)),
                // The cell is the bits already.
                Op::I32ReinterpretF32
                | Op::I64ReinterpretF64
                | Op::F32ReinterpretI32
                | Op::F64ReinterpretI64 => next!(()),
                Op::I32Extend8S => unary!(|a: u32| i32::from(a as i8)),
                Op::I32Extend16S => unary!(|a: u32| i32::from(a as i16)),
                Op::I64Extend8S => unary!(|a: u64| i64::from(a as i8)),
                Op::I64Extend16S => unary!(|a: u64| i64::from(a as i16)),
                Op::I64Extend32S => unary!(|a: u64| i64::from(a as i32)),
                // Rust's `as` saturates and maps NaN to 0, as these do.
                Op::I32TruncSatF32S => unary!(|a: f32| a as i32),
                Op::I32TruncSatF32U => unary!(|a: f32| a as u32),
                Op::I32TruncSatF64S => unary!(|a: f64| a as i32),
                Op::I32TruncSatF64U => unary!(|a: f64| a as u32),
                Op::I64TruncSatF32S => unary!(|a: f32| a as i64),
                Op::I64TruncSatF32U => unary!(|a: f32| a as u64),
                Op::I64TruncSatF64S => unary!(|a: f64| a as i64),
                Op::I64TruncSatF64U => unary!(|a: f64| a as u64),
            }
            top = top_of(stack, sp);
            pc += 1;
        };
        // What stopped it, other than these, was executed.
        let executed = !matches!(exit, Exit::Fuel | Exit::OtherInstance | Exit::Stop | Exit::Slow);
        *fuel = set_aside + (end - pc - usize::from(executed)) as u64;
        self.pc = OpIdx(pc as u32);
        self.sp = bottom + sp;
        exit
    }
}

/// The topmost of `sp` cells.
#[inline(always)]
fn top_of(stack: &[Cell], sp: usize) -> u64 {
    stack.get(sp.wrapping_sub(1)).map_or(0, |cell| cell.0)
}

/// The address of an access: the sum of a 32-bit operand and a 32-bit offset.
#[inline(always)]
fn effective_address(operand: u64, offset: u32) -> usize {
    (operand + u64::from(offset)) as usize
}

/// Moves `count` cells at `from` down to `to`.
#[inline(always)]
fn move_down(stack: &mut [Cell], from: usize, to: usize, count: usize) {
    match count {
        0 => {}
        1 => stack[to] = stack[from],
        _ => stack.copy_within(from..from + count, to),
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
