//! Instructions that are rare, or whose immediates do not fit into an op.
//!
//! The interpreter's loop stays small if it does not know them: an
//! [`Op::Rare`](crate::op::Op) holds an index of the module's pool of these,
//! and they are executed outside of the loop, which costs some nanoseconds
//! each. That suits tail calls, exceptions, garbage-collected objects, atomic
//! accesses, and accesses to other memories than the first.

use crate::op::Op;
use crate::simd::MemOp;
use wasm_view::{DataIdx, ElemIdx, MemoryIdx, RefType, TableIdx, TagIdx, TypeIdx};

/// Sign extension of a packed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extend {
    Signed,
    Unsigned,
}

/// An instruction of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rare {
    // Calls
    /// By position among the functions that the module defines.
    ReturnCall(u32),
    ReturnCallImport(u32),
    ReturnCallIndirect {
        table: TableIdx,
        ty: TypeIdx,
    },
    CallRef(TypeIdx),
    ReturnCallRef(TypeIdx),
    // Branches, by their entry in the side table
    BrOnNull(u32),
    BrOnNonNull(u32),
    BrOnCast {
        branch: u32,
        to: RefType,
    },
    BrOnCastFail {
        branch: u32,
        to: RefType,
    },
    // Exceptions
    Throw(TagIdx),
    ThrowRef,
    /// Throws what the handler with this number has caught last.
    Rethrow(u32),
    // References
    RefEq,
    RefAsNonNull,
    RefTest(RefType),
    RefCast(RefType),
    RefI31,
    I31Get(Extend),
    // Structures and arrays
    StructNew(TypeIdx),
    StructNewDefault(TypeIdx),
    StructGet {
        ty: TypeIdx,
        field: u32,
        extend: Extend,
    },
    StructSet {
        ty: TypeIdx,
        field: u32,
    },
    ArrayNew(TypeIdx),
    ArrayNewDefault(TypeIdx),
    ArrayNewFixed {
        ty: TypeIdx,
        count: u32,
    },
    ArrayNewData {
        ty: TypeIdx,
        data: DataIdx,
    },
    ArrayNewElem {
        ty: TypeIdx,
        elem: ElemIdx,
    },
    ArrayGet {
        ty: TypeIdx,
        extend: Extend,
    },
    ArraySet(TypeIdx),
    ArrayLen,
    ArrayFill(TypeIdx),
    ArrayCopy {
        destination: TypeIdx,
        source: TypeIdx,
    },
    ArrayInitData {
        ty: TypeIdx,
        data: DataIdx,
    },
    ArrayInitElem {
        ty: TypeIdx,
        elem: ElemIdx,
    },
    // Memory
    MemorySize(MemoryIdx),
    /// A load or store of the fast loop's kind, to any memory and with any
    /// offset. The op's own offset is not used.
    Access {
        op: Op,
        memory: MemoryIdx,
        offset: u64,
    },
    VectorAccess {
        op: MemOp,
        lane: u8,
        memory: MemoryIdx,
        offset: u64,
    },
    Atomic {
        op: AtomicOp,
        memory: MemoryIdx,
        offset: u64,
    },
    Notify {
        memory: MemoryIdx,
        offset: u64,
    },
    /// With the width of the expected value in bytes.
    Wait {
        bytes: u8,
        memory: MemoryIdx,
        offset: u64,
    },
    // Wide arithmetic
    I64Add128,
    I64Sub128,
    I64MulWideS,
    I64MulWideU,
}

/// An instruction of the pool with what it does to the operand stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooled {
    pub(crate) rare: Rare,
    /// Cells that it takes.
    pub(crate) pops: u32,
    /// Cells that it leaves, where it continues behind itself.
    pub(crate) pushes: u32,
}

/// An atomic access. All results are zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtomicOp {
    pub(crate) kind: AtomicKind,
    /// Bytes accessed: 1, 2, 4 or 8.
    pub(crate) bytes: u8,
}

/// What an atomic access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicKind {
    Load,
    Store,
    Add,
    Sub,
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
}

impl AtomicKind {
    /// Operands, the address included.
    pub(crate) const fn pops(self) -> usize {
        match self {
            AtomicKind::Load => 1,
            AtomicKind::CompareExchange => 3,
            _ => 2,
        }
    }
}

/// A region of a function that catches exceptions: the body of a `try_table`,
/// or of the legacy `try`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    /// Positions of the body's instructions, in the instruction array.
    pub(crate) start: u32,
    /// Past the last of them.
    pub(crate) end: u32,
    /// The next handler to ask, by its number in the module: the innermost one
    /// around this construct, or where `delegate` says.
    pub(crate) parent: Option<u32>,
    /// Clauses, a range of the module's catches.
    pub(crate) first_catch: u32,
    /// Past the last of them.
    pub(crate) last_catch: u32,
}

/// A clause of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatchClause {
    /// Catches exceptions with this tag; all of them if it is `None`.
    pub(crate) tag: Option<TagIdx>,
    /// Whether a reference to the exception follows its arguments.
    pub(crate) with_ref: bool,
    /// Whether the exception is remembered for `rethrow`.
    pub(crate) legacy: bool,
    /// The branch taken, by its entry in the side table: what it keeps are the
    /// exception's arguments and the reference.
    pub(crate) branch: u32,
}
