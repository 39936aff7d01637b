//! Execution of the rare pool: what is not in a file of its own.
//!
//! Like all of the slow path an instruction changes nothing before it is
//! certain not to trap and not to run into a limit; the position moves on only
//! on success.

use super::{Event, Oracle};
use crate::module::OpIdx;
use crate::op::Branch;
use crate::rare::{Extend, Rare};
use crate::types::map_ref;
use wasm_view::{Cell, FuncAddr, HeapType, InstanceId, InternalRef, RefType, Trap};

impl Oracle {
    /// Executes a rare instruction at the position. Like
    /// [`slow_instruction`](Oracle::slow_instruction).
    pub(super) fn rare_instruction(
        &mut self,
        instance: InstanceId,
        rare: Rare,
    ) -> Result<Option<Event>, Trap> {
        match rare {
            Rare::ReturnCall(_)
            | Rare::ReturnCallImport(_)
            | Rare::ReturnCallIndirect { .. }
            | Rare::CallRef(_)
            | Rare::ReturnCallRef(_) => return self.rare_call(instance, rare),
            Rare::BrOnNull(branch) => {
                if self.top_cell() == Cell(0) {
                    self.sp -= 1;
                    return Ok(self.take_branch(branch));
                }
            }
            Rare::BrOnNonNull(branch) => {
                if self.top_cell() != Cell(0) {
                    return Ok(self.take_branch(branch));
                }
                self.sp -= 1;
            }
            Rare::BrOnCast { branch, to } => {
                if self.has_type(instance, self.top_cell(), to) {
                    return Ok(self.take_branch(branch));
                }
            }
            Rare::BrOnCastFail { branch, to } => {
                if !self.has_type(instance, self.top_cell(), to) {
                    return Ok(self.take_branch(branch));
                }
            }
            Rare::Throw(_) | Rare::ThrowRef | Rare::Rethrow(_) => {
                return self.throw_instruction(instance, rare);
            }
            Rare::RefEq => {
                let [a, b] = self.operands();
                self.replace(2, &[Cell(u64::from(a == b))]);
            }
            Rare::RefAsNonNull => {
                if self.top_cell() == Cell(0) {
                    return Err(Trap::NullReference);
                }
            }
            Rare::RefTest(ty) => {
                let is = self.has_type(instance, self.top_cell(), ty);
                self.replace(1, &[Cell(u64::from(is))]);
            }
            Rare::RefCast(ty) => {
                if !self.has_type(instance, self.top_cell(), ty) {
                    return Err(Trap::CastFailure);
                }
            }
            Rare::RefI31 => {
                let [value] = self.operands();
                let bits = value as u32 & 0x7fff_ffff;
                self.replace(1, &[InternalRef::I31(bits).to_cell()]);
            }
            Rare::I31Get(extend) => {
                let Some(InternalRef::I31(bits)) = InternalRef::from_cell(self.top_cell()) else {
                    return Err(Trap::NullI31Reference);
                };
                let value = match extend {
                    Extend::Signed => (bits << 1) as i32 >> 1,
                    Extend::Unsigned => bits as i32,
                };
                self.replace(1, &[Cell(u64::from(value as u32))]);
            }
            Rare::StructNew(_)
            | Rare::StructNewDefault(_)
            | Rare::StructGet { .. }
            | Rare::StructSet { .. }
            | Rare::ArrayNew(_)
            | Rare::ArrayNewDefault(_)
            | Rare::ArrayNewFixed { .. }
            | Rare::ArrayNewData { .. }
            | Rare::ArrayNewElem { .. }
            | Rare::ArrayGet { .. }
            | Rare::ArraySet(_)
            | Rare::ArrayLen
            | Rare::ArrayFill(_)
            | Rare::ArrayCopy { .. }
            | Rare::ArrayInitData { .. }
            | Rare::ArrayInitElem { .. } => {
                if let Some(limit) = self.object_instruction(instance, rare)? {
                    return Ok(Some(Event::LimitReached(limit)));
                }
            }
            Rare::MemorySize(memory) => {
                let memory = self.memory_of(instance, memory.get());
                let pages = self.store.memories[memory.index()].pages();
                self.replace(0, &[Cell(pages)]);
            }
            Rare::Access { op, memory, offset } => {
                let memory = self.memory_of(instance, memory.get());
                self.access(op, memory, offset)?;
            }
            Rare::VectorAccess { op, lane, memory, offset } => {
                let memory = self.memory_of(instance, memory.get());
                self.vector_access(op, lane, memory, offset)?;
            }
            Rare::Atomic { op, memory, offset } => {
                let memory = self.memory_of(instance, memory.get());
                self.atomic(op, memory, offset)?;
            }
            Rare::Notify { memory, offset } => {
                let memory = self.memory_of(instance, memory.get());
                self.notify(memory, offset)?;
            }
            Rare::Wait { bytes, memory, offset } => {
                let memory = self.memory_of(instance, memory.get());
                if let Some(limit) = self.wait(bytes, memory, offset)? {
                    return Ok(Some(Event::LimitReached(limit)));
                }
            }
            Rare::I64Add128 => self.wide_sum(u128::wrapping_add),
            Rare::I64Sub128 => self.wide_sum(u128::wrapping_sub),
            Rare::I64MulWideS => {
                let [a, b] = self.operands();
                let product = i128::from(a as i64).wrapping_mul(i128::from(b as i64));
                self.replace(2, &halves(product as u128));
            }
            Rare::I64MulWideU => {
                let [a, b] = self.operands();
                self.replace(2, &halves(u128::from(a).wrapping_mul(u128::from(b))));
            }
        }
        self.pc = OpIdx(self.pc.0 + 1);
        Ok(None)
    }

    /// The topmost operand's (last) cell.
    pub(super) fn top_cell(&self) -> Cell {
        self.stack[self.sp - 1]
    }

    /// Replaces the `pops` topmost cells.
    pub(super) fn replace(&mut self, pops: usize, results: &[Cell]) {
        let from = self.sp - pops;
        self.sp = from + results.len();
        self.stack[from..self.sp].copy_from_slice(results);
    }

    fn wide_sum(&mut self, sum: fn(u128, u128) -> u128) {
        let [a, b, c, d] = self.operands();
        let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
        self.replace(4, &halves(sum(wide(a, b), wide(c, d))));
    }

    /// Whether a reference is of a type of the instance's module.
    fn has_type(&self, instance: InstanceId, cell: Cell, ty: RefType) -> bool {
        let ids = &self.instance(instance).type_ids;
        let ty = map_ref(ty, &|index| ids[index.index()]);
        if cell == Cell(0) {
            return ty.nullable;
        }
        let of_func = match ty.heap {
            HeapType::Func => return true,
            HeapType::Concrete(index) => self.store.types.func(index).is_some(),
            HeapType::Extern | HeapType::Exn => return true,
            HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn => return false,
            _ => false,
        };
        let heap = if of_func {
            let id = FuncAddr::from_cell(cell).and_then(|addr| self.store.func_type_id(addr));
            id.map(HeapType::Concrete)
        } else {
            InternalRef::from_cell(cell).and_then(|target| self.store.heap_type(target))
        };
        heap.is_some_and(|heap| self.store.types.is_sub_heap(heap, ty.heap))
    }

    /// Takes a branch of the side table.
    pub(super) fn take_branch(&mut self, entry: u32) -> Option<Event> {
        let frame = self.frames.last()?;
        let module = &self.store.instances[frame.instance.index()].module;
        let Branch { target, keep, height } = module.code.branches[entry as usize];
        if target == Branch::RETURN {
            return self.return_cells(keep as usize);
        }
        let from = self.sp - keep as usize;
        let to = frame.base + (frame.locals + height) as usize;
        self.stack.copy_within(from..self.sp, to);
        self.sp = to + keep as usize;
        self.pc = target;
        None
    }

    /// Returns from the innermost frame with the `count` topmost cells.
    pub(super) fn return_cells(&mut self, count: usize) -> Option<Event> {
        let caller = match self.frames.len() {
            0 | 1 => return Some(self.finish()),
            depth => self.frames[depth - 2],
        };
        let base = self.frames.pop().map_or(0, |frame| frame.base);
        self.lowest = self.frames.len().min(self.lowest);
        self.stack.copy_within(self.sp - count..self.sp, base);
        self.sp = base + count;
        self.pc = OpIdx(caller.pc.0 + 1);
        None
    }
}

fn halves(bits: u128) -> [Cell; 2] {
    [Cell(bits as u64), Cell((bits >> 64) as u64)]
}
