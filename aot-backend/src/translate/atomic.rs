//! Atomic accesses (threads proposal).
//!
//! There is one thread, so what could be seen of their order is not; they are
//! compiled as for many. An address that the width does not divide traps
//! before bounds are checked, as in Wasmtime. Waiting and notifying are the
//! kernel's business.

use super::memory::memory_flags;
use super::{Outcome, Translator};
use crate::abi::{POINTER, native_type, trap_code};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Type, Value};
use dwarf_map::ThunkKind;
use wasm_view::{MemoryIdx, Trap, ValType, WasmOffset};
use wasmparser::{MemArg, Operator};

/// How an access is written: what it does, with what width.
enum Atomic {
    Load,
    Store,
    Modify(AtomicRmwOp),
    CompareExchange,
}

impl Translator<'_, '_> {
    pub(super) fn atomic_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        match *operator {
            Operator::AtomicFence => {
                self.builder.ins().fence();
            }
            Operator::MemoryAtomicNotify { memarg } => {
                let kind = ThunkKind::MemoryNotify(MemoryIdx::new(memarg.memory));
                self.waiting(offset, &memarg, kind, &[ValType::I32])?;
            }
            Operator::MemoryAtomicWait32 { memarg } => {
                let kind = ThunkKind::MemoryWait32(MemoryIdx::new(memarg.memory));
                self.waiting(offset, &memarg, kind, &[ValType::I32, ValType::I64])?;
            }
            Operator::MemoryAtomicWait64 { memarg } => {
                let kind = ThunkKind::MemoryWait64(MemoryIdx::new(memarg.memory));
                self.waiting(offset, &memarg, kind, &[ValType::I64; 2])?;
            }
            _ => {
                let Some((atomic, ty, access, memarg)) = access(operator) else {
                    return Ok(false);
                };
                self.atomic(&atomic, ty, access, &memarg)?;
            }
        }
        Ok(true)
    }

    fn atomic(&mut self, atomic: &Atomic, ty: ValType, access: Type, memarg: &MemArg) -> Outcome {
        let replacement = match atomic {
            Atomic::Load => None,
            _ => Some(self.narrow_operand(access)?),
        };
        let expected = match atomic {
            Atomic::CompareExchange => Some(self.narrow_operand(access)?),
            _ => None,
        };
        let index = self.operand()?;
        self.check_alignment(memarg, access, index)?;
        let (base, offset) = self.address(memarg, u64::from(access.bytes()), index)?;
        let address = match offset {
            0 => base,
            offset => self.builder.ins().iadd_imm_s(base, i64::from(offset)),
        };
        let flags = memory_flags();
        let old = match (atomic, replacement, expected) {
            (Atomic::Load, ..) => self.builder.ins().atomic_load(access, flags, address),
            (Atomic::Store, Some(value), _) => {
                self.builder.ins().atomic_store(flags, value, address);
                return Ok(());
            }
            (Atomic::Modify(op), Some(value), _) => {
                self.builder.ins().atomic_rmw(access, flags, *op, address, value)
            }
            (_, Some(value), Some(expected)) => {
                self.builder.ins().atomic_cas(flags, address, expected, value)
            }
            _ => return Err(CompileError::bug("an atomic access without its operands")),
        };
        let native = native_type(ty);
        let old = if access == native { old } else { self.builder.ins().uextend(native, old) };
        self.push(ty, old);
        Ok(())
    }

    fn narrow_operand(&mut self, access: Type) -> Result<Value, CompileError> {
        let value = self.operand()?;
        let wide = self.builder.func.dfg.value_type(value) != access;
        Ok(if wide { self.builder.ins().ireduce(access, value) } else { value })
    }

    /// Traps unless the width divides the effective address. What the sum loses
    /// above 64 bits does not matter to that.
    fn check_alignment(&mut self, memarg: &MemArg, access: Type, index: Value) -> Outcome {
        if access == I8 {
            return Ok(());
        }
        let index = self.extended(index);
        let offset = self.builder.ins().iconst(POINTER, memarg.offset.cast_signed());
        let address = self.builder.ins().iadd(index, offset);
        let low = self.builder.ins().band_imm_u(address, i64::from(access.bytes()) - 1);
        let zero = self.builder.ins().iconst(POINTER, 0);
        let misaligned = self.builder.ins().icmp(IntCC::NotEqual, low, zero);
        self.builder.ins().trapnz(misaligned, trap_code(Trap::UnalignedAtomic));
        Ok(())
    }

    /// Asks the kernel to wait or to notify, at the effective address.
    fn waiting(
        &mut self,
        offset: WasmOffset,
        memarg: &MemArg,
        kind: ThunkKind,
        operands: &[ValType],
    ) -> Outcome {
        let rest = self.pop_many(operands.len())?;
        let index = self.operand()?;
        let access = if matches!(kind, ThunkKind::MemoryWait64(_)) { I64 } else { I32 };
        self.check_alignment(memarg, access, index)?;
        let index = self.extended(index);
        let constant = self.builder.ins().iconst(POINTER, memarg.offset.cast_signed());
        let beyond = trap_code(Trap::MemoryOutOfBounds);
        let address = self.builder.ins().uadd_overflow_trap(index, constant, beyond);
        let params: Vec<ValType> = std::iter::once(ValType::I64).chain(operands.to_vec()).collect();
        let arguments: Vec<Value> = std::iter::once(address).chain(rest).collect();
        self.thunk_with(offset, kind, &params, &arguments, &[ValType::I32])
    }
}

/// What an atomic access is, the type of its values, the width that it
/// accesses.
fn access(operator: &Operator<'_>) -> Option<(Atomic, ValType, Type, MemArg)> {
    use AtomicRmwOp as R;
    use Operator as O;
    macro_rules! table {
        ($($name:ident: $atomic:expr, $ty:ident, $access:ident;)*) => {
            match *operator {
                $(O::$name { memarg } => Some(($atomic, ValType::$ty, $access, memarg)),)*
                _ => None,
            }
        };
    }
    table! {
        I32AtomicLoad: Atomic::Load, I32, I32;
        I64AtomicLoad: Atomic::Load, I64, I64;
        I32AtomicLoad8U: Atomic::Load, I32, I8;
        I32AtomicLoad16U: Atomic::Load, I32, I16;
        I64AtomicLoad8U: Atomic::Load, I64, I8;
        I64AtomicLoad16U: Atomic::Load, I64, I16;
        I64AtomicLoad32U: Atomic::Load, I64, I32;
        I32AtomicStore: Atomic::Store, I32, I32;
        I64AtomicStore: Atomic::Store, I64, I64;
        I32AtomicStore8: Atomic::Store, I32, I8;
        I32AtomicStore16: Atomic::Store, I32, I16;
        I64AtomicStore8: Atomic::Store, I64, I8;
        I64AtomicStore16: Atomic::Store, I64, I16;
        I64AtomicStore32: Atomic::Store, I64, I32;
        I32AtomicRmwAdd: Atomic::Modify(R::Add), I32, I32;
        I64AtomicRmwAdd: Atomic::Modify(R::Add), I64, I64;
        I32AtomicRmw8AddU: Atomic::Modify(R::Add), I32, I8;
        I32AtomicRmw16AddU: Atomic::Modify(R::Add), I32, I16;
        I64AtomicRmw8AddU: Atomic::Modify(R::Add), I64, I8;
        I64AtomicRmw16AddU: Atomic::Modify(R::Add), I64, I16;
        I64AtomicRmw32AddU: Atomic::Modify(R::Add), I64, I32;
        I32AtomicRmwSub: Atomic::Modify(R::Sub), I32, I32;
        I64AtomicRmwSub: Atomic::Modify(R::Sub), I64, I64;
        I32AtomicRmw8SubU: Atomic::Modify(R::Sub), I32, I8;
        I32AtomicRmw16SubU: Atomic::Modify(R::Sub), I32, I16;
        I64AtomicRmw8SubU: Atomic::Modify(R::Sub), I64, I8;
        I64AtomicRmw16SubU: Atomic::Modify(R::Sub), I64, I16;
        I64AtomicRmw32SubU: Atomic::Modify(R::Sub), I64, I32;
        I32AtomicRmwAnd: Atomic::Modify(R::And), I32, I32;
        I64AtomicRmwAnd: Atomic::Modify(R::And), I64, I64;
        I32AtomicRmw8AndU: Atomic::Modify(R::And), I32, I8;
        I32AtomicRmw16AndU: Atomic::Modify(R::And), I32, I16;
        I64AtomicRmw8AndU: Atomic::Modify(R::And), I64, I8;
        I64AtomicRmw16AndU: Atomic::Modify(R::And), I64, I16;
        I64AtomicRmw32AndU: Atomic::Modify(R::And), I64, I32;
        I32AtomicRmwOr: Atomic::Modify(R::Or), I32, I32;
        I64AtomicRmwOr: Atomic::Modify(R::Or), I64, I64;
        I32AtomicRmw8OrU: Atomic::Modify(R::Or), I32, I8;
        I32AtomicRmw16OrU: Atomic::Modify(R::Or), I32, I16;
        I64AtomicRmw8OrU: Atomic::Modify(R::Or), I64, I8;
        I64AtomicRmw16OrU: Atomic::Modify(R::Or), I64, I16;
        I64AtomicRmw32OrU: Atomic::Modify(R::Or), I64, I32;
        I32AtomicRmwXor: Atomic::Modify(R::Xor), I32, I32;
        I64AtomicRmwXor: Atomic::Modify(R::Xor), I64, I64;
        I32AtomicRmw8XorU: Atomic::Modify(R::Xor), I32, I8;
        I32AtomicRmw16XorU: Atomic::Modify(R::Xor), I32, I16;
        I64AtomicRmw8XorU: Atomic::Modify(R::Xor), I64, I8;
        I64AtomicRmw16XorU: Atomic::Modify(R::Xor), I64, I16;
        I64AtomicRmw32XorU: Atomic::Modify(R::Xor), I64, I32;
        I32AtomicRmwXchg: Atomic::Modify(R::Xchg), I32, I32;
        I64AtomicRmwXchg: Atomic::Modify(R::Xchg), I64, I64;
        I32AtomicRmw8XchgU: Atomic::Modify(R::Xchg), I32, I8;
        I32AtomicRmw16XchgU: Atomic::Modify(R::Xchg), I32, I16;
        I64AtomicRmw8XchgU: Atomic::Modify(R::Xchg), I64, I8;
        I64AtomicRmw16XchgU: Atomic::Modify(R::Xchg), I64, I16;
        I64AtomicRmw32XchgU: Atomic::Modify(R::Xchg), I64, I32;
        I32AtomicRmwCmpxchg: Atomic::CompareExchange, I32, I32;
        I64AtomicRmwCmpxchg: Atomic::CompareExchange, I64, I64;
        I32AtomicRmw8CmpxchgU: Atomic::CompareExchange, I32, I8;
        I32AtomicRmw16CmpxchgU: Atomic::CompareExchange, I32, I16;
        I64AtomicRmw8CmpxchgU: Atomic::CompareExchange, I64, I8;
        I64AtomicRmw16CmpxchgU: Atomic::CompareExchange, I64, I16;
        I64AtomicRmw32CmpxchgU: Atomic::CompareExchange, I64, I32;
    }
}
