//! The decoded instruction.
//!
//! Every statically reachable Wasm instruction becomes exactly one [`Op`] of
//! eight bytes, also those that do nothing at run time (`block`, `nop`, `end`):
//! a position in the op stream *is* a boundary. Immediates that do not fit lie
//! in side pools of the module, and so do rare instructions, see
//! [`crate::rare`]. Locals are named by their first cell. Numeric instructions without immediates, the
//! bulk of the instruction set, come from one table that also says how many
//! operands each takes and what is special about it; the decoder, the NaN rule
//! and the liveness analysis all read that table.

use crate::module::OpIdx;
use crate::simd::{MemOp, SimdOp};

/// What is special about a numeric instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Total and deterministic.
    Exact,
    /// May trap, depending on its operands.
    Traps,
    /// The payload of a NaN result is not determined. Inputs and result f32.
    NanF32,
    /// The same with inputs and result f64.
    NanF64,
    /// f64 input, f32 result.
    Demote,
    /// f32 input, f64 result.
    Promote,
}

macro_rules! simple_ops {
    ($($name:ident $pops:literal $nature:ident;)*) => {
        /// A decoded instruction; see the module's text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Op {
            // Control
            Unreachable,
            Nop,
            Block,
            Loop,
            /// Takes the branch when the condition is *zero*.
            If(OpIdx),
            Else(OpIdx),
            /// `end` of a block, loop or if.
            End,
            /// The function's final `end`.
            FuncEnd,
            /// A branch that leaves the operand stack as it is.
            BrPlain(OpIdx),
            /// A branch that unwinds operands or returns; an index of the side table.
            Br(u32),
            BrIfPlain(OpIdx),
            BrIf(u32),
            /// Index of the module's `br_table` pool.
            BrTable(u32),
            Return,
            /// Call of a function that the module defines, by its position
            /// among those.
            Call(u32),
            /// Call of an imported function.
            CallImport(u32),
            CallIndirect { table: u16, ty: u32 },
            // Parametric, variables
            Drop,
            Select,
            LocalGet(u32),
            LocalSet(u32),
            LocalTee(u32),
            GlobalGet(u32),
            GlobalSet(u32),
            // The same with values of two cells
            Drop2,
            Select2,
            LocalGet2(u32),
            LocalSet2(u32),
            LocalTee2(u32),
            GlobalGet2(u32),
            GlobalSet2(u32),
            // Constants. `ConstI32` is zero-extended, `ConstI64` sign-extended.
            ConstI32(u32),
            ConstI64(i32),
            /// Index of the module's pool of 64-bit constants.
            ConstPool(u32),
            /// Index of the first of two in that pool.
            ConstVector(u32),
            RefNull,
            RefIsNull,
            RefFunc(u32),
            // Memory; the immediate is the static offset
            I32Load(u32),
            I64Load(u32),
            I32Load8S(u32),
            I32Load8U(u32),
            I32Load16S(u32),
            I32Load16U(u32),
            I64Load8S(u32),
            I64Load16S(u32),
            I64Load32S(u32),
            /// Stores by width; the value's type does not matter.
            Store8(u32),
            Store16(u32),
            Store32(u32),
            Store64(u32),
            /// Of the first memory; its pages are of 64 KiB.
            MemorySize,
            // By memory or table; bulk operations as they stand in the text.
            MemoryGrow(u32),
            MemoryCopy { destination: u16, source: u32 },
            MemoryFill(u32),
            MemoryInit { memory: u16, data: u32 },
            DataDrop(u32),
            TableGet(u32),
            TableSet(u32),
            TableSize(u32),
            TableGrow(u32),
            TableFill(u32),
            TableCopy { destination: u16, source: u32 },
            TableInit { table: u16, elem: u32 },
            ElemDrop(u32),
            /// A vector instruction without memory access; the immediate is a
            /// lane, or the index of a shuffle.
            Simd { op: SimdOp, immediate: u32 },
            /// A vector access to the first memory; the immediate is the offset.
            SimdMemory { op: MemOp, lane: u8, offset: u32 },
            /// Index of the pool of rare instructions.
            Rare(u32),
            $($name,)*
        }

        /// An [`Op`] without its immediates; a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Tag {
            Unreachable,
            Nop,
            Block,
            Loop,
            If,
            Else,
            End,
            FuncEnd,
            BrPlain,
            Br,
            BrIfPlain,
            BrIf,
            BrTable,
            Return,
            Call,
            CallImport,
            CallIndirect,
            Drop,
            Select,
            LocalGet,
            LocalSet,
            LocalTee,
            GlobalGet,
            GlobalSet,
            Drop2,
            Select2,
            LocalGet2,
            LocalSet2,
            LocalTee2,
            GlobalGet2,
            GlobalSet2,
            ConstI32,
            ConstI64,
            ConstPool,
            ConstVector,
            RefNull,
            RefIsNull,
            RefFunc,
            I32Load,
            I64Load,
            I32Load8S,
            I32Load8U,
            I32Load16S,
            I32Load16U,
            I64Load8S,
            I64Load16S,
            I64Load32S,
            Store8,
            Store16,
            Store32,
            Store64,
            MemorySize,
            MemoryGrow,
            MemoryCopy,
            MemoryFill,
            MemoryInit,
            DataDrop,
            TableGet,
            TableSet,
            TableSize,
            TableGrow,
            TableFill,
            TableCopy,
            TableInit,
            ElemDrop,
            Simd,
            SimdMemory,
            Rare,
            $($name,)*
        }

        impl Op {
            /// Which op it is. In the order of declaration, so that this is
            /// no table but the number which is there anyway.
            #[inline(always)]
            pub(crate) const fn tag(self) -> Tag {
                match self {
                    Op::Unreachable => Tag::Unreachable,
                    Op::Nop => Tag::Nop,
                    Op::Block => Tag::Block,
                    Op::Loop => Tag::Loop,
                    Op::If { .. } => Tag::If,
                    Op::Else { .. } => Tag::Else,
                    Op::End => Tag::End,
                    Op::FuncEnd => Tag::FuncEnd,
                    Op::BrPlain { .. } => Tag::BrPlain,
                    Op::Br { .. } => Tag::Br,
                    Op::BrIfPlain { .. } => Tag::BrIfPlain,
                    Op::BrIf { .. } => Tag::BrIf,
                    Op::BrTable { .. } => Tag::BrTable,
                    Op::Return => Tag::Return,
                    Op::Call { .. } => Tag::Call,
                    Op::CallImport { .. } => Tag::CallImport,
                    Op::CallIndirect { .. } => Tag::CallIndirect,
                    Op::Drop => Tag::Drop,
                    Op::Select => Tag::Select,
                    Op::LocalGet { .. } => Tag::LocalGet,
                    Op::LocalSet { .. } => Tag::LocalSet,
                    Op::LocalTee { .. } => Tag::LocalTee,
                    Op::GlobalGet { .. } => Tag::GlobalGet,
                    Op::GlobalSet { .. } => Tag::GlobalSet,
                    Op::Drop2 => Tag::Drop2,
                    Op::Select2 => Tag::Select2,
                    Op::LocalGet2 { .. } => Tag::LocalGet2,
                    Op::LocalSet2 { .. } => Tag::LocalSet2,
                    Op::LocalTee2 { .. } => Tag::LocalTee2,
                    Op::GlobalGet2 { .. } => Tag::GlobalGet2,
                    Op::GlobalSet2 { .. } => Tag::GlobalSet2,
                    Op::ConstI32 { .. } => Tag::ConstI32,
                    Op::ConstI64 { .. } => Tag::ConstI64,
                    Op::ConstPool { .. } => Tag::ConstPool,
                    Op::ConstVector { .. } => Tag::ConstVector,
                    Op::RefNull => Tag::RefNull,
                    Op::RefIsNull => Tag::RefIsNull,
                    Op::RefFunc { .. } => Tag::RefFunc,
                    Op::I32Load { .. } => Tag::I32Load,
                    Op::I64Load { .. } => Tag::I64Load,
                    Op::I32Load8S { .. } => Tag::I32Load8S,
                    Op::I32Load8U { .. } => Tag::I32Load8U,
                    Op::I32Load16S { .. } => Tag::I32Load16S,
                    Op::I32Load16U { .. } => Tag::I32Load16U,
                    Op::I64Load8S { .. } => Tag::I64Load8S,
                    Op::I64Load16S { .. } => Tag::I64Load16S,
                    Op::I64Load32S { .. } => Tag::I64Load32S,
                    Op::Store8 { .. } => Tag::Store8,
                    Op::Store16 { .. } => Tag::Store16,
                    Op::Store32 { .. } => Tag::Store32,
                    Op::Store64 { .. } => Tag::Store64,
                    Op::MemorySize => Tag::MemorySize,
                    Op::MemoryGrow { .. } => Tag::MemoryGrow,
                    Op::MemoryCopy { .. } => Tag::MemoryCopy,
                    Op::MemoryFill { .. } => Tag::MemoryFill,
                    Op::MemoryInit { .. } => Tag::MemoryInit,
                    Op::DataDrop { .. } => Tag::DataDrop,
                    Op::TableGet { .. } => Tag::TableGet,
                    Op::TableSet { .. } => Tag::TableSet,
                    Op::TableSize { .. } => Tag::TableSize,
                    Op::TableGrow { .. } => Tag::TableGrow,
                    Op::TableFill { .. } => Tag::TableFill,
                    Op::TableCopy { .. } => Tag::TableCopy,
                    Op::TableInit { .. } => Tag::TableInit,
                    Op::ElemDrop { .. } => Tag::ElemDrop,
                    Op::Simd { .. } => Tag::Simd,
                    Op::SimdMemory { .. } => Tag::SimdMemory,
                    Op::Rare { .. } => Tag::Rare,
                    $(Op::$name => Tag::$name,)*
                }
            }
        }

        impl Op {
            /// Its immediate, if it has just one; otherwise 0.
            pub(crate) const fn immediate(self) -> u32 {
                match self {
                    Op::If(OpIdx(target))
                    | Op::Else(OpIdx(target))
                    | Op::BrPlain(OpIdx(target))
                    | Op::BrIfPlain(OpIdx(target)) => target,
                    Op::Br(immediate)
                    | Op::BrIf(immediate)
                    | Op::BrTable(immediate)
                    | Op::Call(immediate)
                    | Op::CallImport(immediate)
                    | Op::LocalGet(immediate)
                    | Op::LocalSet(immediate)
                    | Op::LocalTee(immediate)
                    | Op::GlobalGet(immediate)
                    | Op::GlobalSet(immediate)
                    | Op::LocalGet2(immediate)
                    | Op::LocalSet2(immediate)
                    | Op::LocalTee2(immediate)
                    | Op::GlobalGet2(immediate)
                    | Op::GlobalSet2(immediate)
                    | Op::ConstI32(immediate)
                    | Op::ConstPool(immediate)
                    | Op::ConstVector(immediate)
                    | Op::RefFunc(immediate)
                    | Op::I32Load(immediate)
                    | Op::I64Load(immediate)
                    | Op::I32Load8S(immediate)
                    | Op::I32Load8U(immediate)
                    | Op::I32Load16S(immediate)
                    | Op::I32Load16U(immediate)
                    | Op::I64Load8S(immediate)
                    | Op::I64Load16S(immediate)
                    | Op::I64Load32S(immediate)
                    | Op::Store8(immediate)
                    | Op::Store16(immediate)
                    | Op::Store32(immediate)
                    | Op::Store64(immediate)
                    | Op::MemoryGrow(immediate)
                    | Op::MemoryFill(immediate)
                    | Op::DataDrop(immediate)
                    | Op::TableGet(immediate)
                    | Op::TableSet(immediate)
                    | Op::TableSize(immediate)
                    | Op::TableGrow(immediate)
                    | Op::TableFill(immediate)
                    | Op::ElemDrop(immediate)
                    | Op::Rare(immediate) => immediate,
                    Op::ConstI64(immediate) => immediate as u32,
                    _ => 0,
                }
            }
        }

        /// The op of an instruction of the table. Inlined where it is known
        /// which instruction it is.
        #[inline(always)]
        pub(crate) fn simple_op(operator: &wasmparser::Operator<'_>) -> Option<Op> {
            Some(match operator {
                $(wasmparser::Operator::$name => Op::$name,)*
                _ => return None,
            })
        }

        impl Op {
            /// Operand count and nature of an instruction of the table. Each
            /// of them has one result.
            #[inline(always)]
            pub(crate) const fn simple(self) -> Option<(u32, Nature)> {
                Some(match self {
                    $(Op::$name => ($pops, Nature::$nature),)*
                    _ => return None,
                })
            }
        }
    };
}

simple_ops! {
    I32Eqz 1 Exact;
    I32Eq 2 Exact;
    I32Ne 2 Exact;
    I32LtS 2 Exact;
    I32LtU 2 Exact;
    I32GtS 2 Exact;
    I32GtU 2 Exact;
    I32LeS 2 Exact;
    I32LeU 2 Exact;
    I32GeS 2 Exact;
    I32GeU 2 Exact;
    I64Eqz 1 Exact;
    I64Eq 2 Exact;
    I64Ne 2 Exact;
    I64LtS 2 Exact;
    I64LtU 2 Exact;
    I64GtS 2 Exact;
    I64GtU 2 Exact;
    I64LeS 2 Exact;
    I64LeU 2 Exact;
    I64GeS 2 Exact;
    I64GeU 2 Exact;
    F32Eq 2 Exact;
    F32Ne 2 Exact;
    F32Lt 2 Exact;
    F32Gt 2 Exact;
    F32Le 2 Exact;
    F32Ge 2 Exact;
    F64Eq 2 Exact;
    F64Ne 2 Exact;
    F64Lt 2 Exact;
    F64Gt 2 Exact;
    F64Le 2 Exact;
    F64Ge 2 Exact;
    I32Clz 1 Exact;
    I32Ctz 1 Exact;
    I32Popcnt 1 Exact;
    I32Add 2 Exact;
    I32Sub 2 Exact;
    I32Mul 2 Exact;
    I32DivS 2 Traps;
    I32DivU 2 Traps;
    I32RemS 2 Traps;
    I32RemU 2 Traps;
    I32And 2 Exact;
    I32Or 2 Exact;
    I32Xor 2 Exact;
    I32Shl 2 Exact;
    I32ShrS 2 Exact;
    I32ShrU 2 Exact;
    I32Rotl 2 Exact;
    I32Rotr 2 Exact;
    I64Clz 1 Exact;
    I64Ctz 1 Exact;
    I64Popcnt 1 Exact;
    I64Add 2 Exact;
    I64Sub 2 Exact;
    I64Mul 2 Exact;
    I64DivS 2 Traps;
    I64DivU 2 Traps;
    I64RemS 2 Traps;
    I64RemU 2 Traps;
    I64And 2 Exact;
    I64Or 2 Exact;
    I64Xor 2 Exact;
    I64Shl 2 Exact;
    I64ShrS 2 Exact;
    I64ShrU 2 Exact;
    I64Rotl 2 Exact;
    I64Rotr 2 Exact;
    F32Abs 1 Exact;
    F32Neg 1 Exact;
    F32Ceil 1 NanF32;
    F32Floor 1 NanF32;
    F32Trunc 1 NanF32;
    F32Nearest 1 NanF32;
    F32Sqrt 1 NanF32;
    F32Add 2 NanF32;
    F32Sub 2 NanF32;
    F32Mul 2 NanF32;
    F32Div 2 NanF32;
    F32Min 2 NanF32;
    F32Max 2 NanF32;
    F32Copysign 2 Exact;
    F64Abs 1 Exact;
    F64Neg 1 Exact;
    F64Ceil 1 NanF64;
    F64Floor 1 NanF64;
    F64Trunc 1 NanF64;
    F64Nearest 1 NanF64;
    F64Sqrt 1 NanF64;
    F64Add 2 NanF64;
    F64Sub 2 NanF64;
    F64Mul 2 NanF64;
    F64Div 2 NanF64;
    F64Min 2 NanF64;
    F64Max 2 NanF64;
    F64Copysign 2 Exact;
    I32WrapI64 1 Exact;
    I32TruncF32S 1 Traps;
    I32TruncF32U 1 Traps;
    I32TruncF64S 1 Traps;
    I32TruncF64U 1 Traps;
    I64ExtendI32S 1 Exact;
    I64ExtendI32U 1 Exact;
    I64TruncF32S 1 Traps;
    I64TruncF32U 1 Traps;
    I64TruncF64S 1 Traps;
    I64TruncF64U 1 Traps;
    F32ConvertI32S 1 Exact;
    F32ConvertI32U 1 Exact;
    F32ConvertI64S 1 Exact;
    F32ConvertI64U 1 Exact;
    F32DemoteF64 1 Demote;
    F64ConvertI32S 1 Exact;
    F64ConvertI32U 1 Exact;
    F64ConvertI64S 1 Exact;
    F64ConvertI64U 1 Exact;
    F64PromoteF32 1 Promote;
    I32ReinterpretF32 1 Exact;
    I64ReinterpretF64 1 Exact;
    F32ReinterpretI32 1 Exact;
    F64ReinterpretI64 1 Exact;
    I32Extend8S 1 Exact;
    I32Extend16S 1 Exact;
    I64Extend8S 1 Exact;
    I64Extend16S 1 Exact;
    I64Extend32S 1 Exact;
    I32TruncSatF32S 1 Exact;
    I32TruncSatF32U 1 Exact;
    I32TruncSatF64S 1 Exact;
    I32TruncSatF64U 1 Exact;
    I64TruncSatF32S 1 Exact;
    I64TruncSatF32U 1 Exact;
    I64TruncSatF64S 1 Exact;
    I64TruncSatF64U 1 Exact;
}

/// A branch that does more than jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Where to; [`Branch::RETURN`] for the function's caller.
    pub(crate) target: OpIdx,
    /// Cells carried along, from the top of the stack.
    pub(crate) keep: u32,
    /// Cells of the function's operands that stay below those.
    pub(crate) height: u32,
}

impl Branch {
    /// The target of a branch to the function's outermost label.
    pub(crate) const RETURN: OpIdx = OpIdx(u32::MAX);
}

const _: () = assert!(size_of::<Op>() == 8);
