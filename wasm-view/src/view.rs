//! The *Wasm view*: a program's state at one moment, in Wasm terms.
//!
//! A view is what two executions of one program can be compared by, and what
//! one of them could be resumed from: a store (instances; memories, tables and
//! globals with identity, shared by import; dropped segments) and a stack of
//! frames, each standing at a *boundary*, the point just before an instruction.

use crate::{
    Cell, DataIdx, ElemIdx, FuncIdx, GlobalId, InstanceId, MemoryId, TableId, ValType, Value,
    WasmOffset,
};

/// The point just before the Wasm instruction at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Boundary {
    /// The instance that executes.
    pub instance: InstanceId,
    /// The function, in that instance's index space.
    pub func: FuncIdx,
    /// The instruction, in the module file.
    pub offset: WasmOffset,
}

/// One activation of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it stands. For all but the innermost frame this is the call
    /// instruction, arguments already popped, results not yet pushed.
    pub boundary: Boundary,
    /// Locals with their types, parameters first.
    pub locals: Vec<(ValType, Value)>,
    /// Operand stack with types, bottom first.
    pub operands: Vec<(ValType, Value)>,
}

/// One instance's part of a store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InstanceView {
    /// Its memories, by index.
    pub memories: Vec<MemoryId>,
    /// Its tables, by index.
    pub tables: Vec<TableId>,
    /// Its globals, by index.
    pub globals: Vec<GlobalId>,
    /// Data segments that were dropped.
    pub dropped_data: Vec<DataIdx>,
    /// Element segments that were dropped.
    pub dropped_elems: Vec<ElemIdx>,
}

/// A whole store with its stack.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreView {
    /// Instances, by [`InstanceId`].
    pub instances: Vec<InstanceView>,
    /// Memory contents, by [`MemoryId`].
    pub memories: Vec<Vec<u8>>,
    /// Table contents, by [`TableId`].
    pub tables: Vec<Vec<Cell>>,
    /// Globals, by [`GlobalId`].
    pub globals: Vec<(ValType, Value)>,
    /// Frames, outermost first.
    pub frames: Vec<Frame>,
}
