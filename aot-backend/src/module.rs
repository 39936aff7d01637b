//! What a function body needs to know about the module around it.
//!
//! Collected from the sections while the validator passes over them, so every
//! index that a validated instruction uses is in range here. The translator
//! still looks them up fallibly: a mistake is then an error, not a panic.

use crate::error::CompileError;
use dwarf_map::{InstanceCounts, InstanceLayout};
use std::collections::{BTreeMap, BTreeSet};
use wasm_view::{
    AddressType, FuncIdx, FuncType, GlobalIdx, GlobalType, HeapType, MemoryIdx, MemoryType,
    RefType, TableIdx, TableType, TypeIdx, ValType, WasmOffset,
};
use wasmparser::{KnownCustom, Name, Payload, TypeRef};

/// Cells that the argument area has in any case: no operation served by a
/// thunk takes more than three arguments.
const MIN_ARGUMENT_CELLS: u32 = 3;

/// Definitions of a module, by index space.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub types: Vec<FuncType>,
    /// Type of each function, imports first.
    pub functions: Vec<TypeIdx>,
    pub imported_functions: u32,
    /// Imports first, as are the next two.
    pub tables: Vec<TableType>,
    pub memories: Vec<MemoryType>,
    /// Types of exception tags, imports first.
    pub tags: Vec<TypeIdx>,
    pub globals: Vec<GlobalType>,
    pub imported_globals: u32,
    pub names: Names,
}

/// Names from the name section and, for functions without one, the exports.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exports: BTreeMap<FuncIdx, String>,
    functions: BTreeMap<FuncIdx, String>,
    locals: BTreeMap<FuncIdx, BTreeMap<u32, String>>,
}

impl Module {
    /// Takes in one section that has passed validation.
    pub fn add(&mut self, payload: &Payload<'_>) -> Result<(), wasmparser::Error> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.clone().into_iter_err_on_gc_types() {
                    self.types.push(func_type(&ty?));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions.push(TypeIdx::new(ty));
                            self.imported_functions += 1;
                        }
                        TypeRef::Table(ty) => self.tables.push(table_type(&ty)),
                        TypeRef::Memory(ty) => self.memories.push(memory_type(&ty)),
                        TypeRef::Global(ty) => {
                            self.globals.push(global_type(ty));
                            self.imported_globals += 1;
                        }
                        TypeRef::Tag(ty) => self.tags.push(TypeIdx::new(ty.func_type_idx)),
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    self.functions.push(TypeIdx::new(ty?));
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.tables.push(table_type(&table?.ty));
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories.push(memory_type(&memory?));
                }
            }
            Payload::TagSection(section) => {
                for tag in section.clone() {
                    self.tags.push(TypeIdx::new(tag?.func_type_idx));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    self.globals.push(global_type(global?.ty));
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == wasmparser::ExternalKind::Func {
                        self.names
                            .exports
                            .entry(FuncIdx::new(export.index))
                            .or_insert_with(|| export.name.to_owned());
                    }
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    // Custom sections are not validated: what does not parse
                    // is ignored, as the specification wants.
                    for name in names {
                        let Ok(name) = name else { break };
                        self.names.add(name);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The type of a function.
    pub fn function_type(&self, func: FuncIdx) -> Option<&FuncType> {
        self.types.get(self.functions.get(func.index())?.index())
    }

    /// Whether the host, or another instance, provides a function.
    pub fn is_import(&self, func: FuncIdx) -> bool {
        func.get() < self.imported_functions
    }

    /// The imported functions.
    pub fn imports(&self) -> impl Iterator<Item = FuncIdx> + use<> {
        (0..self.imported_functions).map(FuncIdx::new)
    }

    /// Distinct function types that the tracer calls functions of, each once:
    /// those that the module has functions of, in the order of the type section,
    /// and that of the function that instantiates it.
    pub fn entry_types(&self) -> Vec<FuncType> {
        let mut seen = std::collections::HashSet::new();
        let used = self.indices_in_use().into_iter();
        used.filter_map(|ty| self.types.get(ty.index()).cloned())
            .chain([FuncType::default()])
            .filter(|ty| seen.insert(ty.clone()))
            .collect()
    }

    fn indices_in_use(&self) -> BTreeSet<TypeIdx> {
        self.functions.iter().copied().collect()
    }

    /// Lays out instance data. Complete once the function section is read.
    pub fn layout(&self) -> Result<InstanceLayout, CompileError> {
        let count = |n: usize, what: &str| {
            u32::try_from(n).map_err(|_| CompileError::too_large(format!("{n} {what}")))
        };
        let cells = self
            .indices_in_use()
            .into_iter()
            .chain(self.tags.iter().copied())
            .filter_map(|ty| self.types.get(ty.index()))
            .map(|ty| ty.params.len().max(ty.results.len()))
            .max()
            .unwrap_or(0);
        let globals = count(self.globals.len(), "globals")?;
        Ok(InstanceLayout::new(InstanceCounts {
            argument_cells: count(cells, "parameters")?.max(MIN_ARGUMENT_CELLS),
            memories: count(self.memories.len(), "memories")?,
            tables: count(self.tables.len(), "tables")?,
            imported_globals: self.imported_globals,
            defined_globals: globals.saturating_sub(self.imported_globals),
            imported_functions: self.imported_functions,
            types: count(self.types.len(), "types")?,
            functions: count(self.functions.len(), "functions")?,
        }))
    }

    /// The type of a table.
    pub fn table(&self, table: TableIdx) -> Option<TableType> {
        self.tables.get(table.index()).copied()
    }

    /// The type of a global.
    pub fn global(&self, global: GlobalIdx) -> Option<GlobalType> {
        self.globals.get(global.index()).copied()
    }

    /// The type of a memory.
    pub fn memory(&self, memory: MemoryIdx) -> Option<MemoryType> {
        self.memories.get(memory.index()).copied()
    }
}

impl Names {
    fn add(&mut self, name: Name<'_>) {
        match name {
            Name::Function(map) => {
                for naming in map {
                    let Ok(naming) = naming else { return };
                    self.functions.insert(FuncIdx::new(naming.index), naming.name.to_owned());
                }
            }
            Name::Local(map) => {
                for function in map {
                    let Ok(function) = function else { return };
                    let locals = self.locals.entry(FuncIdx::new(function.index)).or_default();
                    for naming in function.names {
                        let Ok(naming) = naming else { return };
                        locals.insert(naming.index, naming.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }

    /// A function's name.
    pub fn function(&self, func: FuncIdx) -> Option<&str> {
        self.functions.get(&func).or_else(|| self.exports.get(&func)).map(String::as_str)
    }

    /// Names of a function's first locals; as long as the last one named among
    /// its `locals`.
    pub fn locals(&self, func: FuncIdx, locals: usize) -> Vec<Option<String>> {
        let mut names = Vec::new();
        for (&index, name) in self.locals.get(&func).into_iter().flatten() {
            let index = index as usize;
            if index >= locals {
                break;
            }
            names.resize(index, None);
            names.push(Some(name.clone()));
        }
        names
    }
}

/// A value type.
pub(crate) fn val_type(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::Ref(ty) => ValType::Ref(ref_type(ty)),
        wasmparser::ValType::V128 => ValType::V128,
    }
}

/// A reference type as the map has it: by hierarchy, whatever it may refer to
/// in particular and whether null belongs to it. With the features that are
/// enabled every defined type is a function's.
fn ref_type(ty: wasmparser::RefType) -> RefType {
    heap_type(ty.heap_type())
}

/// Likewise, of what a reference refers to.
pub(crate) fn heap_type(ty: wasmparser::HeapType) -> RefType {
    use wasmparser::AbstractHeapType as Abstract;
    match ty {
        wasmparser::HeapType::Abstract { ty: Abstract::Extern | Abstract::NoExtern, .. } => {
            RefType::EXTERN
        }
        wasmparser::HeapType::Abstract { ty: Abstract::Exn | Abstract::NoExn, .. } => {
            RefType::nullable(HeapType::Exn)
        }
        _ => RefType::FUNC,
    }
}

fn address_type(is_64: bool) -> AddressType {
    if is_64 { AddressType::I64 } else { AddressType::I32 }
}

fn table_type(ty: &wasmparser::TableType) -> TableType {
    TableType {
        element: ref_type(ty.element_type),
        minimum: ty.initial,
        maximum: ty.maximum,
        address: address_type(ty.table64),
    }
}

fn memory_type(ty: &wasmparser::MemoryType) -> MemoryType {
    MemoryType {
        minimum: ty.initial,
        maximum: ty.maximum,
        address: address_type(ty.memory64),
        shared: ty.shared,
        page_log2: ty.page_size_log2.map_or(16, |log2| u8::try_from(log2).unwrap_or(16)),
    }
}

fn func_type(ty: &wasmparser::FuncType) -> FuncType {
    let list = |types: &[wasmparser::ValType]| types.iter().map(|&ty| val_type(ty)).collect();
    FuncType { params: list(ty.params()), results: list(ty.results()) }
}

fn global_type(ty: wasmparser::GlobalType) -> GlobalType {
    GlobalType { content: val_type(ty.content_type), mutable: ty.mutable }
}

/// An offset that the parser reports. Modules of 4 GiB are refused at the door.
pub(crate) fn offset(raw: usize) -> WasmOffset {
    WasmOffset::new(u32::try_from(raw).unwrap_or(u32::MAX))
}
