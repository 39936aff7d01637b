//! Linear memory: loads, stores, and what thunks do for us.
//!
//! The bounds checks are those of Wasmtime's default configuration
//! (`wasmtime-cranelift`, `bounds_checks.rs`; tunables in `wasmtime-environ`,
//! `tunables.rs`): a 32-bit index into a reservation of 4 GiB followed by a
//! guard can only leave both through the constant offset, so accesses with a
//! small offset need no check, the rest compare in 64 bits first. So do all
//! accesses to memories with 64-bit addresses, which reach anywhere, and with
//! pages of a byte, whose end is not one of the processor's pages.

use super::exception::Callee;
use super::{Outcome, Translator, instance_flags};
use crate::MEMORY_GUARD;
use crate::abi::{POINTER, trap_code};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use dwarf_map::{InstanceLayout, ThunkKind};
use wasm_view::{AddressType, DataIdx, FuncType, MemoryIdx, MemoryType, Trap, ValType, WasmOffset};
use wasmparser::{MemArg, Operator};

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
                let ty = self.memory_type(mem)?;
                let bytes = self.memory_size(at(mem))?;
                let pages = match ty.page_log2 {
                    0 => bytes,
                    log2 => self.builder.ins().ushr_imm_u(bytes, i64::from(log2)),
                };
                let pages = self.as_address(ty.address, pages);
                self.push(ty.address.val_type(), pages);
            }
            O::MemoryGrow { mem } => {
                let pages = self.memory_type(mem)?.address.val_type();
                self.thunk(offset, ThunkKind::MemoryGrow(at(mem)), &[pages], &[pages])?;
            }
            O::MemoryCopy { dst_mem, src_mem } => {
                let kind = ThunkKind::MemoryCopy { destination: at(dst_mem), source: at(src_mem) };
                let to = self.memory_type(dst_mem)?.address.val_type();
                let from = self.memory_type(src_mem)?.address.val_type();
                self.thunk(offset, kind, &[to, from, shorter(to, from)], &[])?;
            }
            O::MemoryFill { mem } => {
                let to = self.memory_type(mem)?.address.val_type();
                self.thunk(offset, ThunkKind::MemoryFill(at(mem)), &[to, I32, to], &[])?;
            }
            O::MemoryInit { data_index, mem } => {
                let kind =
                    ThunkKind::MemoryInit { memory: at(mem), data: DataIdx::new(data_index) };
                let to = self.memory_type(mem)?.address.val_type();
                self.thunk(offset, kind, &[to, I32, I32], &[])?;
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
        let ty = self.memory_type(memarg.memory)?;
        let entry = self.env.layout.memory(memory);
        let index = self.extended(index);
        // A memory's base never changes: it is mapped once over its whole
        // reservation.
        let base = self.load_field(POINTER, entry, true)?;
        let reach = memarg.offset.saturating_add(size);
        let reserved = ty.address == AddressType::I32 && ty.page_log2 == 16;
        if reserved && reach <= MEMORY_GUARD {
            let address = self.builder.ins().iadd(base, index);
            let offset = i32::try_from(memarg.offset).map_err(CompileError::bug)?;
            return Ok((address, offset));
        }
        let bound = self.memory_size(memory)?;
        let reach = self.builder.ins().iconst(POINTER, reach.cast_signed());
        let end = match ty.address {
            // Validation bounds the offset by 2^32, so nothing here wraps.
            AddressType::I32 => self.builder.ins().iadd(index, reach),
            // A reach that does not fit became 2^64 - 1, which is beyond any
            // memory too: none is that large.
            AddressType::I64 => {
                let beyond = trap_code(Trap::MemoryOutOfBounds);
                self.builder.ins().uadd_overflow_trap(index, reach, beyond)
            }
        };
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
        self.memory_type(index).map(|_| memory)
    }

    pub(super) fn memory_type(&self, index: u32) -> Result<MemoryType, CompileError> {
        let ty = self.env.module.memory(MemoryIdx::new(index));
        ty.ok_or_else(|| CompileError::bug(format!("no memory {index}")))
    }

    /// An index as 64 bits.
    pub(super) fn extended(&mut self, index: Value) -> Value {
        match self.builder.func.dfg.value_type(index) {
            types::I64 => index,
            _ => self.builder.ins().uextend(POINTER, index),
        }
    }

    /// A size as wide as addresses are.
    pub(super) fn as_address(&mut self, address: AddressType, size: Value) -> Value {
        match address {
            AddressType::I32 => self.builder.ins().ireduce(types::I32, size),
            AddressType::I64 => size,
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
        let arguments = self.pop_many(params.len())?;
        self.thunk_with(offset, kind, params, &arguments, results)
    }

    /// Calls a thunk with these arguments, for which operands were popped.
    pub(super) fn thunk_with(
        &mut self,
        offset: WasmOffset,
        kind: ThunkKind,
        params: &[ValType],
        arguments: &[Value],
        results: &[ValType],
    ) -> Outcome {
        let ty = FuncType { params: params.to_vec(), results: results.to_vec() };
        let symbol = self.thunks.symbol(kind, &ty)?;
        let callee = self.callee(symbol, &ty);
        let arguments: Vec<Value> =
            std::iter::once(self.instance).chain(arguments.iter().copied()).collect();
        let values = if matches!(kind, ThunkKind::Throw(_) | ThunkKind::ThrowRef) {
            self.call_with_handlers(offset, Callee::Known(callee), &arguments, results)?
        } else {
            let call = self.builder.ins().call(callee, &arguments);
            self.call_site(offset, call)?;
            self.builder.inst_results(call).to_vec()
        };
        self.push_all(results, values);
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

/// The type of a length that both address types can express.
pub(super) fn shorter(a: ValType, b: ValType) -> ValType {
    if a == ValType::I64 && b == ValType::I64 { a } else { ValType::I32 }
}

/// Flags of accesses to linear memory: anywhere, at any alignment, faulting
/// as Wasm's bounds trap. Little-endian like the target.
pub(super) fn memory_flags() -> MemFlagsData {
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    flags.with_trap_code(Some(trap_code(Trap::MemoryOutOfBounds)))
}
