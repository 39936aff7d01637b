//! Linear memory: loads, stores, and what thunks do for us.
//!
//! The bounds checks are those of Wasmtime's default configuration
//! (`wasmtime-cranelift`, `bounds_checks.rs`; tunables in `wasmtime-environ`,
//! `tunables.rs`): a 32-bit index into a reservation of 4 GiB followed by a
//! guard can only leave both through the constant offset, so accesses with a
//! small offset need no check, the rest compare in 64 bits first.

use super::{Outcome, Translator, instance_flags};
use crate::abi::{POINTER, trap_code};
use crate::error::CompileError;
use crate::{MEMORY_GUARD, MEMORY_RESERVATION};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use dwarf_map::{InstanceLayout, ThunkKind};
use wasm_view::{DataIdx, FuncType, MemoryIdx, MemoryType, Trap, ValType, WasmOffset};
use wasmparser::{MemArg, Operator};

/// The size a memory's bytes are shifted by to count pages.
const PAGE_LOG2: i64 = MemoryType::PAGE.trailing_zeros() as i64;

impl Translator<'_, '_> {
    pub(super) fn memory_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        use Operator as O;
        use ValType::{F32, F64, I32, I64};
        let at = |raw| MemoryIdx::new(raw);
        match *operator {
            O::I32Load { memarg } => {
                self.load(&memarg, 4, I32, |b, f, p, o| b.load(types::I32, f, p, o))?
            }
            O::I64Load { memarg } => {
                self.load(&memarg, 8, I64, |b, f, p, o| b.load(types::I64, f, p, o))?
            }
            O::F32Load { memarg } => {
                self.load(&memarg, 4, F32, |b, f, p, o| b.load(types::F32, f, p, o))?
            }
            O::F64Load { memarg } => {
                self.load(&memarg, 8, F64, |b, f, p, o| b.load(types::F64, f, p, o))?
            }
            O::I32Load8S { memarg } => {
                self.load(&memarg, 1, I32, |b, f, p, o| b.sload8(types::I32, f, p, o))?
            }
            O::I32Load8U { memarg } => {
                self.load(&memarg, 1, I32, |b, f, p, o| b.uload8(types::I32, f, p, o))?
            }
            O::I32Load16S { memarg } => {
                self.load(&memarg, 2, I32, |b, f, p, o| b.sload16(types::I32, f, p, o))?
            }
            O::I32Load16U { memarg } => {
                self.load(&memarg, 2, I32, |b, f, p, o| b.uload16(types::I32, f, p, o))?
            }
            O::I64Load8S { memarg } => {
                self.load(&memarg, 1, I64, |b, f, p, o| b.sload8(types::I64, f, p, o))?
            }
            O::I64Load8U { memarg } => {
                self.load(&memarg, 1, I64, |b, f, p, o| b.uload8(types::I64, f, p, o))?
            }
            O::I64Load16S { memarg } => {
                self.load(&memarg, 2, I64, |b, f, p, o| b.sload16(types::I64, f, p, o))?
            }
            O::I64Load16U { memarg } => {
                self.load(&memarg, 2, I64, |b, f, p, o| b.uload16(types::I64, f, p, o))?
            }
            O::I64Load32S { memarg } => {
                self.load(&memarg, 4, I64, |b, f, p, o| b.sload32(f, p, o))?
            }
            O::I64Load32U { memarg } => {
                self.load(&memarg, 4, I64, |b, f, p, o| b.uload32(f, p, o))?
            }
            O::I32Store { memarg } | O::F32Store { memarg } => {
                self.store(&memarg, 4, |b, f, v, p, o| {
                    b.store(f, v, p, o);
                })?;
            }
            O::I64Store { memarg } | O::F64Store { memarg } => {
                self.store(&memarg, 8, |b, f, v, p, o| {
                    b.store(f, v, p, o);
                })?;
            }
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => {
                self.store(&memarg, 1, |b, f, v, p, o| {
                    b.istore8(f, v, p, o);
                })?;
            }
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => {
                self.store(&memarg, 2, |b, f, v, p, o| {
                    b.istore16(f, v, p, o);
                })?;
            }
            O::I64Store32 { memarg } => {
                self.store(&memarg, 4, |b, f, v, p, o| {
                    b.istore32(f, v, p, o);
                })?;
            }
            O::MemorySize { mem } => {
                let bytes = self.memory_size(at(mem))?;
                let pages = self.builder.ins().ushr_imm_u(bytes, PAGE_LOG2);
                let pages = self.builder.ins().ireduce(types::I32, pages);
                self.push(I32, pages);
            }
            O::MemoryGrow { mem } => {
                self.thunk(offset, ThunkKind::MemoryGrow(at(mem)), &[I32], &[I32])?;
            }
            O::MemoryCopy { dst_mem, src_mem } => {
                let kind = ThunkKind::MemoryCopy { destination: at(dst_mem), source: at(src_mem) };
                self.thunk(offset, kind, &[I32; 3], &[])?;
            }
            O::MemoryFill { mem } => {
                self.thunk(offset, ThunkKind::MemoryFill(at(mem)), &[I32; 3], &[])?;
            }
            O::MemoryInit { data_index, mem } => {
                let kind =
                    ThunkKind::MemoryInit { memory: at(mem), data: DataIdx::new(data_index) };
                self.thunk(offset, kind, &[I32; 3], &[])?;
            }
            O::DataDrop { data_index } => {
                self.thunk(offset, ThunkKind::DataDrop(DataIdx::new(data_index)), &[], &[])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load(
        &mut self,
        memarg: &MemArg,
        size: u64,
        ty: ValType,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, MemFlagsData, Value, i32) -> Value,
    ) -> Outcome {
        let index = self.operand()?;
        let (address, offset) = self.address(memarg, size, index)?;
        let value = make(self.builder.ins(), memory_flags(), address, offset);
        self.push(ty, value);
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        memarg: &MemArg,
        size: u64,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, MemFlagsData, Value, Value, i32),
    ) -> Outcome {
        let value = self.operand()?;
        let index = self.operand()?;
        let (address, offset) = self.address(memarg, size, index)?;
        make(self.builder.ins(), memory_flags(), value, address, offset);
        Ok(())
    }

    /// The native address of an access, as a value and a constant to add.
    pub(super) fn address(
        &mut self,
        memarg: &MemArg,
        size: u64,
        index: Value,
    ) -> Result<(Value, i32), CompileError> {
        let memory = self.memory(memarg.memory)?;
        let entry = self.env.layout.memory(memory);
        let index = self.builder.ins().uextend(POINTER, index);
        // A memory's base never changes: it is mapped once over its whole
        // reservation.
        let base = self.load_field(POINTER, entry, true)?;
        let reach = memarg.offset.saturating_add(size);
        if reach <= MEMORY_GUARD {
            let address = self.builder.ins().iadd(base, index);
            let offset = i32::try_from(memarg.offset).map_err(CompileError::bug)?;
            return Ok((address, offset));
        }
        // Validation bounds the offset by 2^32, so nothing here wraps.
        debug_assert!(reach <= MEMORY_RESERVATION + 16);
        let bound = self.memory_size(memory)?;
        let reach = self.builder.ins().iconst(POINTER, reach.cast_signed());
        let end = self.builder.ins().iadd(index, reach);
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, end, bound);
        self.builder.ins().trapnz(outside, trap_code(Trap::MemoryOutOfBounds));
        let offset = self.builder.ins().iconst(POINTER, memarg.offset.cast_signed());
        let address = self.builder.ins().iadd(base, index);
        let address = self.builder.ins().iadd(address, offset);
        // Should the branch of the trap be mispredicted: no address of others.
        let null = self.builder.ins().iconst(POINTER, 0);
        Ok((self.builder.ins().select_spectre_guard(outside, null, address), 0))
    }

    /// A memory's size in bytes, which changes when it grows.
    fn memory_size(&mut self, memory: MemoryIdx) -> Result<Value, CompileError> {
        let memory = self.memory(memory.get())?;
        let size = self.env.layout.memory(memory) + InstanceLayout::SIZE_FIELD;
        self.load_field(POINTER, size, false)
    }

    fn memory(&self, index: u32) -> Result<MemoryIdx, CompileError> {
        let memory = MemoryIdx::new(index);
        if self.env.module.has_memory(memory) {
            Ok(memory)
        } else {
            Err(CompileError::bug(format!("no memory {index}")))
        }
    }

    /// Calls the thunk of an operation with the operands that it takes.
    pub(super) fn thunk(
        &mut self,
        offset: WasmOffset,
        kind: ThunkKind,
        params: &[ValType],
        results: &[ValType],
    ) -> Outcome {
        let ty = FuncType { params: params.to_vec(), results: results.to_vec() };
        let symbol = self.thunks.symbol(kind, &ty)?;
        let callee = self.callee(symbol, &ty);
        let arguments = self.pop_many(params.len())?;
        let arguments: Vec<Value> = std::iter::once(self.instance).chain(arguments).collect();
        let call = self.builder.ins().call(callee, &arguments);
        self.call_site(offset, call)?;
        self.push_results(call, results);
        Ok(())
    }

    /// Loads from memory that holds an address read from the instance data.
    pub(super) fn load_through(
        &mut self,
        ty: Type,
        address: Value,
        offset: u32,
    ) -> Result<Value, CompileError> {
        let offset = super::field(offset)?;
        Ok(self.builder.ins().load(ty, instance_flags(false), address, offset))
    }
}

/// Flags of accesses to linear memory: anywhere, at any alignment, faulting
/// as Wasm's bounds trap. Little-endian like the target.
pub(super) fn memory_flags() -> MemFlagsData {
    MemFlagsData::new().with_trap_code(Some(trap_code(Trap::MemoryOutOfBounds)))
}
