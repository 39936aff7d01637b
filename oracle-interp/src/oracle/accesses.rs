//! Memory accesses that the fast loop does not know: other memories than the
//! first, large offsets, vectors there, and atomic accesses.
//!
//! There is one thread. Atomic accesses are therefore plain ones that also
//! check alignment, nobody waits to be notified, and a wait that would block
//! ends by its timeout at once (threads proposal, "Wait and Notify operators");
//! without a timeout it could never end, which is said by name.

use super::{Limits, Oracle};
use crate::op::Op;
use crate::rare::{AtomicKind, AtomicOp};
use crate::simd::{self, MemOp};
use wasm_view::{Cell, MemoryId, Trap};

impl Oracle {
    /// The effective address of an access, if its bytes exist.
    fn address(
        &self,
        memory: MemoryId,
        operand: u64,
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Trap> {
        let address = operand.checked_add(offset).ok_or(Trap::MemoryOutOfBounds)?;
        self.store.memories[memory.index()].range(address, bytes as u64).map(|range| range.start)
    }

    fn load_bytes(&self, memory: MemoryId, at: usize, count: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..count].copy_from_slice(&self.memory(memory)[at..at + count]);
        u64::from_le_bytes(bytes)
    }

    fn store_bytes(&mut self, memory: MemoryId, at: usize, bytes: &[u8]) {
        let data = &mut self.store.memories[memory.index()].data;
        data[at..at + bytes.len()].copy_from_slice(bytes);
        self.store.writes.note(memory, at as u64, bytes.len() as u64);
    }

    /// A load or store of the fast loop's kind.
    pub(super) fn access(&mut self, op: Op, memory: MemoryId, offset: u64) -> Result<(), Trap> {
        let (bytes, is_store) = match op {
            Op::Store8(_) => (1, true),
            Op::Store16(_) => (2, true),
            Op::Store32(_) => (4, true),
            Op::Store64(_) => (8, true),
            Op::I32Load8S(_) | Op::I32Load8U(_) | Op::I64Load8S(_) => (1, false),
            Op::I32Load16S(_) | Op::I32Load16U(_) | Op::I64Load16S(_) => (2, false),
            Op::I32Load(_) | Op::I64Load32S(_) => (4, false),
            _ => (8, false),
        };
        if is_store {
            let [operand, value] = self.operands();
            let at = self.address(memory, operand, offset, bytes)?;
            self.store_bytes(memory, at, &value.to_le_bytes()[..bytes]);
            self.sp -= 2;
            return Ok(());
        }
        let [operand] = self.operands();
        let at = self.address(memory, operand, offset, bytes)?;
        let raw = self.load_bytes(memory, at, bytes);
        let value = match op {
            Op::I32Load8S(_) => u64::from(raw as i8 as u32),
            Op::I32Load16S(_) => u64::from(raw as i16 as u32),
            Op::I64Load8S(_) => raw as i8 as u64,
            Op::I64Load16S(_) => raw as i16 as u64,
            Op::I64Load32S(_) => raw as i32 as u64,
            _ => raw,
        };
        self.replace(1, &[Cell(value)]);
        Ok(())
    }

    /// A vector load or store.
    pub(super) fn vector_access(
        &mut self,
        op: MemOp,
        lane: u8,
        memory: MemoryId,
        offset: u64,
    ) -> Result<(), Trap> {
        let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
        let (operand, vector, pops) = if op.has_vector_operand() {
            let [operand, low, high] = self.operands();
            (operand, wide(low, high), 3)
        } else {
            let [operand] = self.operands();
            (operand, 0, 1)
        };
        let bytes = op.bytes();
        let at = self.address(memory, operand, offset, bytes)?;
        if op.is_store() {
            let (data, length) = simd::store(op, lane, vector);
            self.store_bytes(memory, at, &data[..length]);
            self.sp -= pops;
        } else {
            let data = &self.memory(memory)[at..at + bytes];
            let value = simd::load(op, lane, data, vector);
            self.replace(pops, &[Cell(value as u64), Cell((value >> 64) as u64)]);
        }
        Ok(())
    }

    /// The address of an atomic access. Alignment is checked before bounds, as
    /// the reference interpreter and Wasmtime do.
    fn atomic_address(
        &self,
        memory: MemoryId,
        operand: u64,
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Trap> {
        // Where the sum does not fit, its remainder still decides.
        if !operand.wrapping_add(offset).is_multiple_of(bytes as u64) {
            return Err(Trap::UnalignedAtomic);
        }
        self.address(memory, operand, offset, bytes)
    }

    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        memory: MemoryId,
        offset: u64,
    ) -> Result<(), Trap> {
        let pops = op.kind.pops();
        let first = self.sp - pops;
        let operand = self.stack[first].0;
        let value = self.stack[self.sp - 1].0;
        let bytes = usize::from(op.bytes);
        let at = self.atomic_address(memory, operand, offset, bytes)?;
        let old = self.load_bytes(memory, at, bytes);
        let new = match op.kind {
            AtomicKind::Load => None,
            AtomicKind::Store | AtomicKind::Exchange => Some(value),
            AtomicKind::Add => Some(old.wrapping_add(value)),
            AtomicKind::Sub => Some(old.wrapping_sub(value)),
            AtomicKind::And => Some(old & value),
            AtomicKind::Or => Some(old | value),
            AtomicKind::Xor => Some(old ^ value),
            // Narrow ones wrap what is expected before they compare, as the
            // proposal decided (WebAssembly/threads#195).
            AtomicKind::CompareExchange => {
                let expected = self.stack[first + 1].0 & (u64::MAX >> (64 - 8 * bytes));
                (old == expected).then_some(value)
            }
        };
        if let Some(new) = new {
            self.store_bytes(memory, at, &new.to_le_bytes()[..bytes]);
        }
        let result = [Cell(old)];
        let results = if op.kind == AtomicKind::Store { &[][..] } else { &result };
        self.replace(pops, results);
        Ok(())
    }

    pub(super) fn notify(&mut self, memory: MemoryId, offset: u64) -> Result<(), Trap> {
        let [operand, _count] = self.operands();
        self.atomic_address(memory, operand, offset, 4)?;
        self.replace(2, &[Cell(0)]);
        Ok(())
    }

    /// Answers the name of the limit if it would wait for ever.
    pub(super) fn wait(
        &mut self,
        bytes: u8,
        memory: MemoryId,
        offset: u64,
    ) -> Result<Option<&'static str>, Trap> {
        const NOT_EQUAL: u64 = 1;
        const TIMED_OUT: u64 = 2;
        let [operand, expected, timeout] = self.operands();
        let bytes = usize::from(bytes);
        let at = self.atomic_address(memory, operand, offset, bytes)?;
        if !self.store.memories[memory.index()].ty.shared {
            return Err(Trap::ExpectedSharedMemory);
        }
        let result = if self.load_bytes(memory, at, bytes) != expected {
            NOT_EQUAL
        } else if (timeout as i64) < 0 {
            return Ok(Some(Limits::WAITING));
        } else {
            TIMED_OUT
        };
        self.replace(3, &[Cell(result)]);
        Ok(None)
    }
}
