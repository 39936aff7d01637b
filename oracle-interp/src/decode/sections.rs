//! All sections but the code section's bodies.
//!
//! The validator has accepted a section before it comes here, so what remains
//! is to take it over, and to refuse by name what is of proposals that are not
//! executed here.

use super::types::{defined_type, global_type, memory_type, ref_type, table_type, unsupported_at};
use super::{Decoder, Problem, Result, unsupported, wasm_offset};
use crate::module::{
    Code, ConstExpr, ConstOp, DataSegment, ElementItems, ElementSegment, Export, ExportKind,
    Import, ImportKind, Module, SegmentMode,
};
use crate::shapes::ShapeBuilder;
use crate::types::DefinedType;
use std::sync::Arc;
use wasm_view::{
    Cell, FuncIdx, FuncType, GlobalIdx, LocalIdx, MemoryIdx, RefType, TableIdx, TypeIdx,
};
use wasmparser::{
    DataKind, ElementKind, ExternalKind, KnownCustom, Name, Operator, Payload, TableInit, TypeRef,
};

/// A module with nothing in it.
pub(super) fn empty_module(identity: u64) -> Module {
    Module {
        identity,
        bytes: Arc::default(),
        types: Vec::new(),
        rec_groups: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        func_types: Vec::new(),
        num_imported_funcs: 0,
        num_imported_globals: 0,
        memories: Vec::new(),
        num_imported_memories: 0,
        tables: Vec::new(),
        num_imported_tables: 0,
        table_inits: Vec::new(),
        tags: Vec::new(),
        num_imported_tags: 0,
        globals: Vec::new(),
        global_inits: Vec::new(),
        start: None,
        elements: Vec::new(),
        data: Vec::new(),
        code_section_start: None,
        functions: Vec::new(),
        code: Code { shapes: ShapeBuilder::new().finish(), ..Code::default() },
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
                    let first = self.module.types.len() as u32;
                    for ty in group.into_types() {
                        let ty = defined_type(at, &ty).map(Some);
                        let ty = self.note(ty)?;
                        // Types behind a refused one keep their numbers.
                        let none = DefinedType::function(FuncType::default());
                        self.module.types.push(ty.unwrap_or(none));
                    }
                    self.module.rec_groups.push(first..self.module.types.len() as u32);
                }
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
                    let ty = table_type(at, table.ty).map(Some);
                    let ty = self.note(ty)?;
                    self.module.tables.extend(ty);
                    let init = match &table.init {
                        TableInit::RefNull => None,
                        TableInit::Expr(expr) => {
                            let init = const_expr(expr);
                            Some(self.note(init)?)
                        }
                    };
                    self.module.table_inits.push(init);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.module.memories.push(memory_type(memory?));
                }
            }
            Payload::TagSection(reader) => {
                for tag in reader {
                    self.module.tags.push(TypeIdx::new(tag?.func_type_idx));
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
                for export in reader {
                    let export = export?;
                    let kind = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                        ExternalKind::Memory => ExportKind::Memory,
                        ExternalKind::Table => ExportKind::Table,
                        ExternalKind::Global => ExportKind::Global,
                        ExternalKind::Tag => ExportKind::Tag,
                    };
                    let name = export.name.to_string();
                    let index = export.index;
                    self.module.exports.push(Export { name, kind, index });
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
                let ty = memory_type(ty);
                self.module.memories.push(ty);
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
            TypeRef::Tag(ty) => {
                let ty = TypeIdx::new(ty.func_type_idx);
                self.module.tags.push(ty);
                self.module.num_imported_tags += 1;
                ImportKind::Tag(ty)
            }
            TypeRef::FuncExact(_) => {
                return Err(unsupported_at(at, "custom descriptors (exact function import)"));
            }
        })
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

fn element_segment(at: usize, element: wasmparser::Element<'_>) -> Result<ElementSegment> {
    let mode = match element.kind {
        ElementKind::Passive => SegmentMode::Passive,
        ElementKind::Declared => SegmentMode::Declared,
        ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
            target: TableIdx::new(table_index.unwrap_or(0)),
            offset: const_expr(&offset_expr)?,
        },
    };
    let (ty, items) = match element.items {
        wasmparser::ElementItems::Functions(reader) => {
            let items = reader
                .into_iter()
                .map(|func| Ok(FuncIdx::new(func?)))
                .collect::<Result<Vec<_>>>()?;
            (RefType::FUNC, ElementItems::Functions(items))
        }
        wasmparser::ElementItems::Expressions(ty, reader) => {
            let ty = ref_type(at, ty)?;
            let items =
                reader.into_iter().map(|expr| const_expr(&expr?)).collect::<Result<Vec<_>>>()?;
            (ty, ElementItems::Expressions(items))
        }
    };
    Ok(ElementSegment { ty, mode, items })
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
            Operator::RefNull { .. } => ConstOp::Value(Cell(0)),
            Operator::V128Const { value } => ConstOp::Vector(u128::from_le_bytes(*value.bytes())),
            Operator::RefI31 => ConstOp::RefI31,
            Operator::StructNew { struct_type_index } => {
                ConstOp::StructNew(TypeIdx::new(struct_type_index))
            }
            Operator::StructNewDefault { struct_type_index } => {
                ConstOp::StructNewDefault(TypeIdx::new(struct_type_index))
            }
            Operator::ArrayNew { array_type_index } => {
                ConstOp::ArrayNew(TypeIdx::new(array_type_index))
            }
            Operator::ArrayNewDefault { array_type_index } => {
                ConstOp::ArrayNewDefault(TypeIdx::new(array_type_index))
            }
            Operator::ArrayNewFixed { array_type_index, array_size } => {
                ConstOp::ArrayNewFixed(TypeIdx::new(array_type_index), array_size)
            }
            // The cell stays the same.
            Operator::AnyConvertExtern | Operator::ExternConvertAny => continue,
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
