//! Being told what is executed, without stopping.
//!
//! A stop costs a return from the interpreter; whoever wants to look at every
//! instruction of a long run pays too much for it. An [`Observer`] is called
//! from within the loop instead. The loop is compiled for each type of
//! observer, so that hooks which it leaves empty cost nothing.

use crate::module::{Module, OpIdx};
use wasm_view::{Boundary, Cell, FuncAddr, FuncIdx, InstanceId, MemoryId, Trap, WasmOffset};

/// A boundary, as cheap as it can be had; the byte offset is looked up on
/// demand.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub(super) module: &'a Module,
    pub(super) instance: InstanceId,
    pub(super) func: FuncIdx,
    pub(super) position: OpIdx,
}

impl<'a> At<'a> {
    /// The module of the instance that executes.
    #[inline]
    pub fn module(&self) -> &'a Module {
        self.module
    }

    /// The function.
    #[inline]
    pub fn func(&self) -> FuncAddr {
        FuncAddr { instance: self.instance, func: self.func }
    }

    /// The instruction's place in the module file, in bytes.
    #[inline]
    pub fn offset(&self) -> WasmOffset {
        self.module.offset_at(self.position)
    }

    /// Instance, function and offset.
    #[inline]
    pub fn boundary(&self) -> Boundary {
        Boundary { instance: self.instance, func: self.func, offset: self.offset() }
    }

    /// Number of the instruction among all reachable ones of its module, in
    /// the order of the file: a dense index for counts per instruction.
    #[inline]
    pub fn index(&self) -> usize {
        self.position.index()
    }
}

/// Sees what [`Oracle::run_observed`](crate::Oracle::run_observed) executes.
pub trait Observer {
    /// Whether [`Observer::before`] is called at all.
    const EACH_OP: bool;

    /// The instruction at this boundary is next; the slots are the frame's
    /// locals and operands. One that then runs into a limit of the oracle's is
    /// announced although it is not executed.
    #[inline]
    fn before(&mut self, at: &At<'_>, slots: &[Cell]) {
        let _ = (at, slots);
    }

    /// The instruction has written `length > 0` bytes at `address`.
    #[inline]
    fn memory_write(&mut self, memory: MemoryId, address: u64, length: u64) {
        let _ = (memory, address, length);
    }

    /// The instruction has called this function, the host's included.
    #[inline]
    fn call(&mut self, callee: FuncAddr) {
        let _ = callee;
    }

    /// The instruction has trapped.
    #[inline]
    fn trap(&mut self, trap: Trap) {
        let _ = trap;
    }
}

/// Sees nothing.
impl Observer for () {
    const EACH_OP: bool = false;
}
