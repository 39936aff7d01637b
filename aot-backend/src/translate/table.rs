//! Tables, references and globals.
//!
//! A function reference is natively the address of the function's descriptor,
//! null is 0. Table elements are 8 bytes behind a base and a length that the
//! instance data holds; both may change when the table grows.

use super::memory::shorter;
use super::{Translator, instance_flags};
use crate::abi::{POINTER, native_type, trap_code};
use crate::error::CompileError;
use crate::module::heap_type;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use dwarf_map::{InstanceLayout, ThunkKind};
use wasm_view::{ElemIdx, FuncIdx, GlobalIdx, TableIdx, TableType, Trap, ValType, WasmOffset};
use wasmparser::Operator;

/// Log2 of a table element's size.
const ELEMENT_LOG2: i64 = 3;

impl Translator<'_, '_> {
    pub(super) fn table_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        use Operator as O;
        use ValType::I32;
        match *operator {
            O::GlobalGet { global_index } => {
                let (ty, address, field) = self.global(global_index)?;
                let flags = instance_flags(false);
                let value = self.builder.ins().load(native_type(ty), flags, address, field);
                self.push(ty, value);
            }
            O::GlobalSet { global_index } => {
                let value = self.operand()?;
                let (_, address, field) = self.global(global_index)?;
                self.builder.ins().store(instance_flags(false), value, address, field);
            }
            O::RefNull { hty } => {
                let null = self.builder.ins().iconst(POINTER, 0);
                self.push(ValType::Ref(heap_type(hty)), null);
            }
            O::RefIsNull => {
                let reference = self.operand()?;
                let null = self.builder.ins().iconst(POINTER, 0);
                let is_null = self.builder.ins().icmp(IntCC::Equal, reference, null);
                self.push_bool(is_null);
            }
            O::RefFunc { function_index } => {
                let descriptor = self.env.layout.descriptor(FuncIdx::new(function_index));
                let value = self.builder.ins().iadd_imm_s(self.instance, i64::from(descriptor));
                self.push(ValType::FUNCREF, value);
            }
            O::RefAsNonNull => {
                let (ty, reference) = self.reference_operand()?;
                self.builder.ins().trapz(reference, trap_code(Trap::NullReference));
                self.push(ty, reference);
            }
            O::TableGet { table } => {
                let element = self.element_type(table)?;
                let index = self.operand()?;
                let address = self.element(table, index, Trap::TableOutOfBounds)?;
                let value = self.load_through(POINTER, address, 0)?;
                self.push(element, value);
            }
            O::TableSet { table } => {
                let value = self.operand()?;
                let index = self.operand()?;
                let address = self.element(table, index, Trap::TableOutOfBounds)?;
                self.builder.ins().store(instance_flags(false), value, address, 0);
            }
            O::TableSize { table } => {
                let ty = self.table_type(table)?;
                let size = self.table_size(table)?;
                let size = self.as_address(ty.address, size);
                self.push(ty.address.val_type(), size);
            }
            O::TableGrow { table } => {
                let element = self.element_type(table)?;
                let kind = ThunkKind::TableGrow(TableIdx::new(table));
                let size = self.table_type(table)?.address.val_type();
                self.thunk(offset, kind, &[element, size], &[size])?;
            }
            O::TableFill { table } => {
                let element = self.element_type(table)?;
                let kind = ThunkKind::TableFill(TableIdx::new(table));
                let index = self.table_type(table)?.address.val_type();
                self.thunk(offset, kind, &[index, element, index], &[])?;
            }
            O::TableCopy { dst_table, src_table } => {
                let kind = ThunkKind::TableCopy {
                    destination: TableIdx::new(dst_table),
                    source: TableIdx::new(src_table),
                };
                let to = self.table_type(dst_table)?.address.val_type();
                let from = self.table_type(src_table)?.address.val_type();
                self.thunk(offset, kind, &[to, from, shorter(to, from)], &[])?;
            }
            O::TableInit { elem_index, table } => {
                let kind = ThunkKind::TableInit {
                    table: TableIdx::new(table),
                    elem: ElemIdx::new(elem_index),
                };
                let to = self.table_type(table)?.address.val_type();
                self.thunk(offset, kind, &[to, I32, I32], &[])?;
            }
            O::ElemDrop { elem_index } => {
                self.thunk(offset, ThunkKind::ElemDrop(ElemIdx::new(elem_index)), &[], &[])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Pops a reference to compute with.
    pub(super) fn reference_operand(&mut self) -> Result<(ValType, Value), CompileError> {
        let ty = self.state.types().last().copied().unwrap_or(ValType::FUNCREF);
        Ok((ty, self.operand()?))
    }

    /// A global's type, and where it is: an address and a constant to add.
    fn global(&mut self, index: u32) -> Result<(ValType, Value, i32), CompileError> {
        let global = GlobalIdx::new(index);
        let ty = self
            .env
            .module
            .global(global)
            .ok_or_else(|| CompileError::bug(format!("no global {index}")))?;
        let field = self.env.layout.global(global);
        if self.env.layout.is_imported_global(global) {
            let storage = self.load_field(POINTER, field, true)?;
            Ok((ty.content, storage, 0))
        } else {
            Ok((ty.content, self.instance, super::field(field)?))
        }
    }

    fn element_type(&self, table: u32) -> Result<ValType, CompileError> {
        self.table_type(table).map(|ty| ValType::Ref(ty.element))
    }

    fn table_type(&self, table: u32) -> Result<TableType, CompileError> {
        let ty = self.env.module.table(TableIdx::new(table));
        ty.ok_or_else(|| CompileError::bug(format!("no table {table}")))
    }

    fn table_size(&mut self, table: u32) -> Result<Value, CompileError> {
        let entry = self.env.layout.table(TableIdx::new(table));
        self.load_field(POINTER, entry + InstanceLayout::SIZE_FIELD, false)
    }

    /// The address of a table element, or the trap for an index beyond it.
    pub(super) fn element(
        &mut self,
        table: u32,
        index: Value,
        beyond: Trap,
    ) -> Result<Value, CompileError> {
        let index = self.extended(index);
        let size = self.table_size(table)?;
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, size);
        self.builder.ins().trapnz(outside, trap_code(beyond));
        let entry = self.env.layout.table(TableIdx::new(table));
        let base = self.load_field(POINTER, entry, false)?;
        let bytes = self.builder.ins().ishl_imm_u(index, ELEMENT_LOG2);
        let address = self.builder.ins().iadd(base, bytes);
        // As Wasmtime does with its default Spectre mitigations.
        Ok(self.builder.ins().select_spectre_guard(outside, base, address))
    }
}
