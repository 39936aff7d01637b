//! The ways in which something can be wrong with what the interpreter is given.
//!
//! A trap is none of them: it is an outcome of execution. So is running into
//! one of the caller's limits, see [`Event::LimitReached`](crate::Event).

use wasm_view::{
    Cell, FuncAddr, FuncType, GlobalType, InstanceId, MemoryId, MemoryType, SlotIdx, TableType,
    Trap, ValType, WasmOffset,
};

/// Why a module cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is malformed, or does not validate with every finished proposal
    /// enabled.
    #[error("invalid module: {message} (at offset {offset})")]
    Invalid {
        /// Where validation failed.
        offset: WasmOffset,
        /// What the validator says.
        message: String,
    },
    /// It is valid, perhaps only with an unfinished proposal, but uses
    /// something this interpreter does not execute.
    #[error("unsupported: {feature} (at offset {offset})")]
    Unsupported {
        /// The first use.
        offset: WasmOffset,
        /// The proposal and, in parentheses, the construct, for example
        /// `SIMD (v128.load)`.
        feature: String,
    },
    /// It is larger than this implementation, or the limits that engines have
    /// agreed on, allow.
    #[error("limit reached: {message} (at offset {offset})")]
    Limit {
        /// Where.
        offset: WasmOffset,
        /// Which.
        message: String,
    },
}

/// Why an instance was not made, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstantiateError {
    /// The number of imports given is not the number of imports declared.
    #[error("the module has {expected} imports, {given} were given")]
    ImportCount {
        /// Declared by the module.
        expected: usize,
        /// Given.
        given: usize,
    },
    /// An import does not match its declaration.
    #[error("import `{module}` `{name}`: {mismatch}")]
    Import {
        /// Module name of the import.
        module: String,
        /// Field name of the import.
        name: String,
        /// In which way.
        mismatch: Box<ImportMismatch>,
    },
    /// A limit of the store does not allow another instance of this module.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// An active segment did not fit. The instance exists, with everything
    /// that was written before (core spec, "Instantiation").
    #[error("instantiation of {instance} trapped: {trap}")]
    Trap {
        /// The incomplete instance.
        instance: InstanceId,
        /// The trap.
        trap: Trap,
    },
}

/// How an import differs from what the module declares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportMismatch {
    /// Another kind of definition was given.
    #[error("incompatible import type: a {expected} is declared, a {given} was given")]
    Kind {
        /// Declared kind.
        expected: &'static str,
        /// Given kind.
        given: &'static str,
    },
    /// A function of another type.
    #[error("incompatible import type: function type {expected} is declared, {given} was given")]
    FuncType {
        /// Declared.
        expected: FuncType,
        /// Given.
        given: FuncType,
    },
    /// A memory whose limits do not fit; the given minimum is its present size.
    #[error("incompatible import type: memory {expected:?} is declared, {given:?} was given")]
    MemoryType {
        /// Declared.
        expected: MemoryType,
        /// Given.
        given: MemoryType,
    },
    /// A table whose limits or elements do not fit; the given minimum is its
    /// present size.
    #[error("incompatible import type: table {expected:?} is declared, {given:?} was given")]
    TableType {
        /// Declared.
        expected: TableType,
        /// Given.
        given: TableType,
    },
    /// A global of another type or mutability.
    #[error("incompatible import type: global {expected:?} is declared, {given:?} was given")]
    GlobalType {
        /// Declared.
        expected: GlobalType,
        /// Given.
        given: GlobalType,
    },
    /// A tag of another type.
    #[error("incompatible import type: tag type {expected} is declared, {given} was given")]
    TagType {
        /// Declared.
        expected: FuncType,
        /// Given.
        given: FuncType,
    },
    /// The store has no such definition.
    #[error("the store has no such {0}")]
    Unknown(&'static str),
}

/// Why a call could not be started, a host call not be finished, or a slot not
/// be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The store has no such function.
    #[error("there is no function {0}")]
    NoSuchFunction(FuncAddr),
    /// A call is still in progress.
    #[error("a call is in progress")]
    Busy,
    /// No host call is waiting for its results.
    #[error("no host call is pending")]
    NoHostCall,
    /// Arguments or results of other types than the function's.
    #[error("values of types {expected:?} are wanted, {given:?} were given")]
    Types {
        /// Wanted.
        expected: Vec<ValType>,
        /// Given.
        given: Vec<ValType>,
    },
    /// The innermost frame has no such slot.
    #[error("there is no {0}")]
    NoSuchSlot(SlotIdx),
}

/// Why a value was not adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The last step took no choice, or another one.
    #[error("the last step did not take this choice")]
    Stale,
    /// The specification does not allow this result (the low half of a vector).
    #[error("the specification does not allow {0:?} here")]
    NotAllowed(Cell),
    /// A relaxed instruction that computes another function than before.
    #[error("a relaxed instruction computes another function than before")]
    Inconsistent,
}

/// A host access beyond a memory's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at {address:#x} lie beyond the end of {memory}")]
pub struct HostAccessError {
    /// The memory.
    pub memory: MemoryId,
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}
