//! wasmparser's types as ours.
//!
//! What the proposals that are not executed here would add (shared objects,
//! continuations, custom descriptors) is refused by name.

use super::{Problem, Result};
use crate::types::{CompositeType, DefinedType, FieldType, StorageType};
use wasm_view::{
    AddressType, FuncType, GlobalType, HeapType, MemoryType, RefType, TableType, TypeIdx, ValType,
};
use wasmparser::{AbstractHeapType, CompositeInnerType, UnpackedIndex};

pub(super) fn unsupported_at(at: usize, what: &str) -> Problem {
    Problem::Unsupported(at, what.to_string())
}

/// A type of the type section.
pub(super) fn defined_type(at: usize, ty: &wasmparser::SubType) -> Result<DefinedType> {
    if ty.composite_type.shared {
        return Err(unsupported_at(at, "shared-everything threads (shared type)"));
    }
    if ty.composite_type.descriptor_idx.is_some() || ty.composite_type.describes_idx.is_some() {
        return Err(unsupported_at(at, "custom descriptors (descriptor type)"));
    }
    let composite = match &ty.composite_type.inner {
        CompositeInnerType::Func(func) => CompositeType::Func(FuncType {
            params: val_types(at, func.params())?,
            results: val_types(at, func.results())?,
        }),
        CompositeInnerType::Array(array) => CompositeType::Array(field_type(at, &array.0)?),
        CompositeInnerType::Struct(fields) => CompositeType::Struct(
            fields.fields.iter().map(|field| field_type(at, field)).collect::<Result<_>>()?,
        ),
        CompositeInnerType::Cont(_) => {
            return Err(unsupported_at(at, "stack switching (continuation type)"));
        }
    };
    let supertype = match ty.supertype_idx {
        Some(index) => Some(type_idx(at, index.unpack())?),
        None => None,
    };
    Ok(DefinedType { composite, supertype, is_final: ty.is_final })
}

fn field_type(at: usize, field: &wasmparser::FieldType) -> Result<FieldType> {
    let storage = match field.element_type {
        wasmparser::StorageType::I8 => StorageType::I8,
        wasmparser::StorageType::I16 => StorageType::I16,
        wasmparser::StorageType::Val(ty) => StorageType::Val(val_type(at, ty)?),
    };
    Ok(FieldType { storage, mutable: field.mutable })
}

fn type_idx(at: usize, index: UnpackedIndex) -> Result<TypeIdx> {
    match index {
        UnpackedIndex::Module(index) => Ok(TypeIdx::new(index)),
        _ => Err(Problem::Limit(at, "a type that the validator numbers for itself")),
    }
}

pub(super) fn val_types(at: usize, types: &[wasmparser::ValType]) -> Result<Vec<ValType>> {
    types.iter().map(|&ty| val_type(at, ty)).collect()
}

/// A declared value type.
pub(super) fn val_type(at: usize, ty: wasmparser::ValType) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(at, ty)?),
    })
}

/// A declared reference type.
pub(super) fn ref_type(at: usize, ty: wasmparser::RefType) -> Result<RefType> {
    Ok(RefType { nullable: ty.is_nullable(), heap: heap_type(at, ty.heap_type())? })
}

/// A heap type.
pub(super) fn heap_type(at: usize, ty: wasmparser::HeapType) -> Result<HeapType> {
    use AbstractHeapType as A;
    Ok(match ty {
        wasmparser::HeapType::Concrete(index) => HeapType::Concrete(type_idx(at, index)?),
        wasmparser::HeapType::Exact(_) => {
            return Err(unsupported_at(at, "custom descriptors (exact reference)"));
        }
        wasmparser::HeapType::Abstract { shared: true, .. } => {
            return Err(unsupported_at(at, "shared-everything threads (shared reference)"));
        }
        wasmparser::HeapType::Abstract { ty, .. } => match ty {
            A::Func => HeapType::Func,
            A::NoFunc => HeapType::NoFunc,
            A::Extern => HeapType::Extern,
            A::NoExtern => HeapType::NoExtern,
            A::Any => HeapType::Any,
            A::None => HeapType::None,
            A::Eq => HeapType::Eq,
            A::Struct => HeapType::Struct,
            A::Array => HeapType::Array,
            A::I31 => HeapType::I31,
            A::Exn => HeapType::Exn,
            A::NoExn => HeapType::NoExn,
            A::Cont | A::NoCont => {
                return Err(unsupported_at(at, "stack switching (continuation reference)"));
            }
        },
    })
}

fn address_type(is_64: bool) -> AddressType {
    if is_64 { AddressType::I64 } else { AddressType::I32 }
}

pub(super) fn memory_type(ty: wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        minimum: ty.initial,
        maximum: ty.maximum,
        address: address_type(ty.memory64),
        shared: ty.shared,
        // The validator allows 0 and 16.
        page_log2: ty.page_size_log2.unwrap_or(16) as u8,
    }
}

pub(super) fn table_type(at: usize, ty: wasmparser::TableType) -> Result<TableType> {
    if ty.shared {
        return Err(unsupported_at(at, "shared-everything threads (shared table)"));
    }
    Ok(TableType {
        element: ref_type(at, ty.element_type)?,
        minimum: ty.initial,
        maximum: ty.maximum,
        address: address_type(ty.table64),
    })
}

pub(super) fn global_type(at: usize, ty: wasmparser::GlobalType) -> Result<GlobalType> {
    if ty.shared {
        return Err(unsupported_at(at, "shared-everything threads (shared global)"));
    }
    Ok(GlobalType { content: val_type(at, ty.content_type)?, mutable: ty.mutable })
}
