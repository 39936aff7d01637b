//! All sections but the code section's bodies.
//!
//! The validator has accepted a section before it comes here, so what remains
//! is to take it over, and to refuse by name the types and constructs that are
//! beyond WebAssembly 2.0 without SIMD.

use super::{Decoder, Problem, Result, unsupported, wasm_offset};
use crate::module::{
    Code, ConstExpr, ConstOp, DataSegment, ElementItems, ElementSegment, Export, ExportKind,
    Import, ImportKind, Module, SegmentMode,
};
use crate::shapes::ShapeBuilder;
use std::collections::HashMap;
use std::sync::Arc;
use wasm_view::{
    Cell, FuncIdx, FuncType, GlobalIdx, GlobalType, LocalIdx, MemoryIdx, MemoryType, RefType,
    TableIdx, TableType, TypeIdx, ValType,
};
use wasmparser::{
    AbstractHeapType, CompositeInnerType, DataKind, ElementKind, ExternalKind, HeapType,
    KnownCustom, Name, Operator, Payload, TableInit, TypeRef,
};

/// A module with nothing in it.
pub(super) fn empty_module(identity: u64) -> Module {
    Module {
        identity,
        bytes: Arc::from([]),
        types: Vec::new(),
        canonical_types: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        func_types: Vec::new(),
        num_imported_funcs: 0,
        num_imported_globals: 0,
        memories: Vec::new(),
        num_imported_memories: 0,
        tables: Vec::new(),
        num_imported_tables: 0,
        globals: Vec::new(),
        global_inits: Vec::new(),
        start: None,
        elements: Vec::new(),
        data: Vec::new(),
        code_section_start: None,
        functions: Vec::new(),
        code: Code {
            ops: Vec::new(),
            offsets: Vec::new(),
            shapes_at: Vec::new(),
            shapes: ShapeBuilder::new().finish(),
            branches: Vec::new(),
            branch_tables: Vec::new(),
            constants: Vec::new(),
        },
        func_names: Vec::new(),
        local_names: Vec::new(),
    }
}

impl Decoder {
    /// Takes a validated section over.
    pub(super) fn section(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader.into_iter_with_offsets() {
                    let (at, group) = group?;
                    let single = group.types().len() == 1 && !group.is_explicit_rec_group();
                    for ty in group.into_types() {
                        let func_type = match func_type(at, &ty) {
                            Ok(_) if !single => {
                                Err(unsupported_at(at, "GC (recursive type group)"))
                            }
                            other => other,
                        };
                        let func_type = self.note(func_type)?;
                        self.module.types.push(func_type);
                    }
                }
                self.module.canonical_types = canonical_types(&self.module.types);
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports_with_offsets() {
                    let (at, import) = import?;
                    let kind = self.import(at, import.ty);
                    if let Some(kind) = self.note(kind.map(Some))? {
                        self.module.imports.push(Import {
                            module: import.module.to_string(),
                            name: import.name.to_string(),
                            kind,
                        });
                    }
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    self.module.func_types.push(TypeIdx::new(ty?));
                }
            }
            Payload::TableSection(reader) => {
                for table in reader.into_iter_with_offsets() {
                    let (at, table) = table?;
                    if let TableInit::Expr(_) = table.init {
                        self.note::<()>(Err(unsupported_at(
                            at,
                            "typed function references (table with an initializer)",
                        )))?;
                    }
                    let ty = table_type(at, table.ty).map(Some);
                    let ty = self.note(ty)?;
                    self.module.tables.extend(ty);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader.into_iter_with_offsets() {
                    let (at, memory) = memory?;
                    let ty = memory_type(at, memory).map(Some);
                    let ty = self.note(ty)?;
                    self.memory(at, ty);
                }
            }
            Payload::TagSection(reader) => {
                let at = reader.range().start;
                if reader.count() > 0 {
                    self.note::<()>(Err(unsupported_at(at, "exception handling (tag)")))?;
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader.into_iter_with_offsets() {
                    let (at, global) = global?;
                    let ty = global_type(at, global.ty).map(Some);
                    let ty = self.note(ty)?;
                    let init = const_expr(&global.init_expr);
                    let init = self.note(init)?;
                    self.module.globals.extend(ty);
                    self.module.global_inits.push(init);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader.into_iter_with_offsets() {
                    let (at, export) = export?;
                    let kind = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => Some(ExportKind::Func),
                        ExternalKind::Memory => Some(ExportKind::Memory),
                        ExternalKind::Table => Some(ExportKind::Table),
                        ExternalKind::Global => Some(ExportKind::Global),
                        ExternalKind::Tag => {
                            self.note::<()>(Err(unsupported_at(at, "exception handling (tag)")))?;
                            None
                        }
                    };
                    let name = export.name.to_string();
                    let index = export.index;
                    self.module.exports.extend(kind.map(|kind| Export { name, kind, index }));
                }
            }
            Payload::StartSection { func, .. } => self.module.start = Some(FuncIdx::new(func)),
            Payload::ElementSection(reader) => {
                for element in reader.into_iter_with_offsets() {
                    let (at, element) = element?;
                    let segment = element_segment(at, element).map(Some);
                    let segment = self.note(segment)?;
                    self.module.elements.extend(segment);
                }
            }
            Payload::DataSection(reader) => {
                for data in reader {
                    let data = data?;
                    let mode = match data.kind {
                        DataKind::Passive => SegmentMode::Passive,
                        DataKind::Active { memory_index, offset_expr } => {
                            let offset = const_expr(&offset_expr);
                            SegmentMode::Active {
                                target: MemoryIdx::new(memory_index),
                                offset: self.note(offset)?,
                            }
                        }
                    };
                    let end = data.range.end;
                    let bytes = end.saturating_sub(data.data.len())..end;
                    self.module.data.push(DataSegment { mode, bytes });
                }
            }
            Payload::CodeSectionStart { range, .. } => {
                self.module.code_section_start = Some(wasm_offset(range.start));
            }
            Payload::CustomSection(reader) => {
                if let KnownCustom::Name(names) = reader.as_known() {
                    // Custom sections have no influence on validity: what
                    // cannot be read is left out.
                    for name in names {
                        let Ok(name) = name else { break };
                        self.names(name);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, at: usize, ty: TypeRef) -> Result<ImportKind> {
        Ok(match ty {
            TypeRef::Func(ty) => {
                let ty = TypeIdx::new(ty);
                self.module.func_types.push(ty);
                self.module.num_imported_funcs += 1;
                ImportKind::Func(ty)
            }
            TypeRef::Memory(ty) => {
                let ty = memory_type(at, ty)?;
                self.memory(at, Some(ty));
                self.module.num_imported_memories += 1;
                ImportKind::Memory(ty)
            }
            TypeRef::Table(ty) => {
                let ty = table_type(at, ty)?;
                self.module.tables.push(ty);
                self.module.num_imported_tables += 1;
                ImportKind::Table(ty)
            }
            TypeRef::Global(ty) => {
                let ty = global_type(at, ty)?;
                self.module.globals.push(ty);
                self.module.num_imported_globals += 1;
                ImportKind::Global(ty)
            }
            TypeRef::Tag(_) => return Err(unsupported_at(at, "exception handling (tag)")),
            TypeRef::FuncExact(_) => {
                return Err(unsupported_at(at, "custom descriptors (exact function import)"));
            }
        })
    }

    fn memory(&mut self, at: usize, ty: Option<MemoryType>) {
        self.module.memories.extend(ty);
        if self.module.memories.len() > 1 {
            self.unsupported.get_or_insert(unsupported_at(at, "multi-memory (second memory)"));
        }
    }

    fn names(&mut self, name: Name<'_>) {
        match name {
            Name::Function(map) => {
                for naming in map {
                    let Ok(naming) = naming else { break };
                    let index = naming.index as usize;
                    if index < self.module.func_types.len() {
                        if self.module.func_names.len() <= index {
                            self.module.func_names.resize(index + 1, None);
                        }
                        self.module.func_names[index] = Some(naming.name.to_string());
                    }
                }
            }
            Name::Local(map) => {
                for function in map {
                    let Ok(function) = function else { break };
                    for naming in function.names {
                        let Ok(naming) = naming else { break };
                        self.module.local_names.push((
                            FuncIdx::new(function.index),
                            LocalIdx::new(naming.index),
                            naming.name.to_string(),
                        ));
                    }
                }
            }
            _ => {}
        }
    }
}

impl Module {
    /// Completes the name tables: export names where the name section has
    /// none, local names sorted for searching.
    pub(super) fn finish_names(&mut self) {
        self.func_names.resize(self.func_types.len(), None);
        for export in &self.exports {
            if export.kind == ExportKind::Func
                && let Some(name @ None) = self.func_names.get_mut(export.index as usize)
            {
                *name = Some(export.name.clone());
            }
        }
        self.local_names.sort_by_key(|(func, local, _)| (*func, *local));
        self.local_names.dedup_by_key(|(func, local, _)| (*func, *local));
    }
}

pub(super) fn unsupported_at(at: usize, what: &str) -> Problem {
    Problem::Unsupported(at, what.to_string())
}

fn canonical_types(types: &[FuncType]) -> Vec<u32> {
    let mut first = HashMap::new();
    (0u32..).zip(types).map(|(index, ty)| *first.entry(ty).or_insert(index)).collect()
}

fn func_type(at: usize, ty: &wasmparser::SubType) -> Result<FuncType> {
    if !ty.is_final || ty.supertype_idx.is_some() {
        return Err(unsupported_at(at, "GC (subtype declaration)"));
    }
    if ty.composite_type.shared {
        return Err(unsupported_at(at, "shared-everything threads (shared type)"));
    }
    match &ty.composite_type.inner {
        CompositeInnerType::Func(func) => Ok(FuncType {
            params: val_types(at, func.params())?,
            results: val_types(at, func.results())?,
        }),
        CompositeInnerType::Array(_) => Err(unsupported_at(at, "GC (array type)")),
        CompositeInnerType::Struct(_) => Err(unsupported_at(at, "GC (struct type)")),
        CompositeInnerType::Cont(_) => {
            Err(unsupported_at(at, "stack switching (continuation type)"))
        }
    }
}

fn val_types(at: usize, types: &[wasmparser::ValType]) -> Result<Vec<ValType>> {
    types.iter().map(|&ty| val_type(at, ty)).collect()
}

/// A declared value type.
pub(super) fn val_type(at: usize, ty: wasmparser::ValType) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => return Err(unsupported_at(at, "SIMD (v128)")),
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(at, ty)?),
    })
}

fn ref_type(at: usize, ty: wasmparser::RefType) -> Result<RefType> {
    if ty == wasmparser::RefType::FUNCREF {
        return Ok(RefType::Func);
    }
    if ty == wasmparser::RefType::EXTERNREF {
        return Ok(RefType::Extern);
    }
    let proposal = match ty.heap_type() {
        HeapType::Abstract { shared: true, .. } => "shared-everything threads",
        HeapType::Abstract { ty: AbstractHeapType::Exn | AbstractHeapType::NoExn, .. } => {
            "exception handling"
        }
        HeapType::Abstract { ty: AbstractHeapType::Cont | AbstractHeapType::NoCont, .. } => {
            "stack switching"
        }
        HeapType::Abstract { ty: AbstractHeapType::Func | AbstractHeapType::Extern, .. }
        | HeapType::Concrete(_) => "typed function references",
        HeapType::Abstract { .. } => "GC",
        HeapType::Exact(_) => "custom descriptors",
    };
    Err(Problem::Unsupported(at, format!("{proposal} ({ty})")))
}

/// The heap type of `ref.null`.
pub(super) fn heap_type(at: usize, ty: HeapType) -> Result<RefType> {
    match wasmparser::RefType::new(true, ty) {
        Some(ty) => ref_type(at, ty),
        None => Err(unsupported_at(at, "typed function references (heap type)")),
    }
}

fn memory_type(at: usize, ty: wasmparser::MemoryType) -> Result<MemoryType> {
    if ty.memory64 {
        Err(unsupported_at(at, "memory64 (64-bit memory)"))
    } else if ty.shared {
        Err(unsupported_at(at, "threads (shared memory)"))
    } else if ty.page_size_log2.is_some_and(|log2| log2 != 16) {
        Err(unsupported_at(at, "custom page sizes (memory)"))
    } else {
        Ok(MemoryType { minimum: ty.initial, maximum: ty.maximum })
    }
}

fn table_type(at: usize, ty: wasmparser::TableType) -> Result<TableType> {
    if ty.table64 {
        Err(unsupported_at(at, "memory64 (64-bit table)"))
    } else if ty.shared {
        Err(unsupported_at(at, "shared-everything threads (shared table)"))
    } else {
        Ok(TableType {
            element: ref_type(at, ty.element_type)?,
            minimum: ty.initial,
            maximum: ty.maximum,
        })
    }
}

fn global_type(at: usize, ty: wasmparser::GlobalType) -> Result<GlobalType> {
    if ty.shared {
        return Err(unsupported_at(at, "shared-everything threads (shared global)"));
    }
    Ok(GlobalType { content: val_type(at, ty.content_type)?, mutable: ty.mutable })
}

fn element_segment(at: usize, element: wasmparser::Element<'_>) -> Result<ElementSegment> {
    let mode = match element.kind {
        ElementKind::Passive => SegmentMode::Passive,
        ElementKind::Declared => SegmentMode::Declared,
        ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
            target: TableIdx::new(table_index.unwrap_or(0)),
            offset: const_expr(&offset_expr)?,
        },
    };
    let items = match element.items {
        wasmparser::ElementItems::Functions(reader) => {
            let items = reader
                .into_iter()
                .map(|func| Ok(FuncIdx::new(func?)))
                .collect::<Result<Vec<_>>>()?;
            ElementItems::Functions(items)
        }
        wasmparser::ElementItems::Expressions(ty, reader) => {
            ref_type(at, ty)?;
            let items =
                reader.into_iter().map(|expr| const_expr(&expr?)).collect::<Result<Vec<_>>>()?;
            ElementItems::Expressions(items)
        }
    };
    Ok(ElementSegment { mode, items })
}

fn const_expr(expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr> {
    let mut ops = Vec::new();
    let mut reader = expr.get_operators_reader();
    while !reader.eof() {
        let (operator, at) = reader.read_with_offset()?;
        ops.push(match operator {
            Operator::I32Const { value } => ConstOp::Value(Cell(u64::from(value as u32))),
            Operator::I64Const { value } => ConstOp::Value(Cell(value as u64)),
            Operator::F32Const { value } => ConstOp::Value(Cell(u64::from(value.bits()))),
            Operator::F64Const { value } => ConstOp::Value(Cell(value.bits())),
            Operator::RefNull { hty } => {
                heap_type(at, hty)?;
                ConstOp::Value(Cell(0))
            }
            Operator::RefFunc { function_index } => ConstOp::RefFunc(FuncIdx::new(function_index)),
            Operator::GlobalGet { global_index } => {
                ConstOp::GlobalGet(GlobalIdx::new(global_index))
            }
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::End => continue,
            other => return Err(Problem::Unsupported(at, unsupported::instruction(&other))),
        });
    }
    Ok(ops)
}
