//! What the fast loop works on: operands, locals, globals, memory.

use super::{Exit, Machine, Next, Observer, State};
use crate::simd;
use wasm_view::{Cell, Trap};

impl<O: Observer, K: Next> State<'_, '_, O, K> {
    /// The operand `below` the topmost one.
    #[inline(always)]
    pub(super) fn operand(&mut self, below: usize) -> Option<&mut Cell> {
        self.cells.get_mut(self.sp.wrapping_sub(1 + below))
    }

    /// The topmost operand.
    #[inline(always)]
    pub(super) fn top(&self) -> Option<u64> {
        self.cells.get(self.sp.wrapping_sub(1)).map(|cell| cell.0)
    }

    /// The topmost operand, taken off.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<u64> {
        let top = self.top()?;
        self.sp -= 1;
        Some(top)
    }

    #[inline(always)]
    pub(super) fn push(mut self, value: Option<u64>) -> Exit {
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

    /// Writes to a local, and goes on.
    #[inline(always)]
    pub(super) fn set_local(mut self, local: u32, value: u64) -> Exit {
        let Some(cell) = self.local(local) else {
            return self.exit(Exit::Broken);
        };
        *cell = Cell(value);
        self.next()
    }

    /// Writes to a global, and goes on.
    #[inline(always)]
    pub(super) fn set_global(mut self, global: u32, value: u64) -> Exit {
        let Some(cell) = self.global(global) else {
            return self.exit(Exit::Broken);
        };
        *cell = Cell(value);
        self.next()
    }

    #[inline(always)]
    pub(super) fn local(&mut self, local: u32) -> Option<&mut Cell> {
        self.cells.get_mut(self.m.base + local as usize)
    }

    #[inline(always)]
    pub(super) fn global(&mut self, global: u32) -> Option<&mut Cell> {
        let global = self.m.instance.globals.get(global as usize)?;
        Some(&mut self.m.globals.get_mut(global.index())?.value)
    }

    #[inline(always)]
    pub(super) fn unary<A: Bits, R: Bits>(self, result: impl FnOnce(A) -> R) -> Exit {
        self.try_unary(|a| Ok(result(a)))
    }

    #[inline(always)]
    pub(super) fn binary<A: Bits, R: Bits>(self, result: impl FnOnce(A, A) -> R) -> Exit {
        self.try_binary(|a, b| Ok(result(a, b)))
    }

    #[inline(always)]
    pub(super) fn try_unary<A: Bits, R: Bits>(
        mut self,
        result: impl FnOnce(A) -> Result<R, Trap>,
    ) -> Exit {
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
    pub(super) fn try_binary<A: Bits, R: Bits>(
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
    pub(super) fn load<const N: usize>(
        mut self,
        offset: u32,
        value: impl FnOnce([u8; N]) -> u64,
    ) -> Exit {
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
    pub(super) fn store<const N: usize>(
        mut self,
        offset: u32,
        bytes: impl FnOnce(u64) -> [u8; N],
    ) -> Exit {
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
            let State { m, cells, sp, pc, .. } = self;
            return log_and_go_on::<N, O>(m, cells, sp, pc);
        }
        self.next()
    }
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
    State::<O>::at(m, cells, sp, pc).next()
}

/// Vectors: values of two cells.
impl<O: Observer, K: Next> State<'_, '_, O, K> {
    #[inline(always)]
    pub(super) fn push2(mut self, [low, high]: [Cell; 2]) -> Exit {
        self.cells[self.sp] = low;
        self.cells[self.sp + 1] = high;
        self.sp += 2;
        self.next()
    }

    #[inline(always)]
    pub(super) fn vector_access(mut self, op: simd::MemOp, lane: u8, offset: u32) -> Exit {
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

/// The address of an access: the sum of an operand of 32 or 64 bits and an
/// offset. No memory reaches where the sum is cut off.
#[inline(always)]
fn effective_address(operand: u64, offset: u32) -> usize {
    operand.saturating_add(u64::from(offset)) as usize
}

/// Reading an operand's bits as a number, and a result as a cell's bits.
pub(super) trait Bits {
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
