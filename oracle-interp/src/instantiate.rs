//! Linking and initialisation (core spec, "Instantiation").
//!
//! Two phases. Linking only looks: a module that does not fit leaves the store
//! as it was. Initialisation may trap at an active segment that does not fit;
//! what was written before stays, as other instances may have seen it.

use crate::error::{ImportMismatch, InstantiateError};
use crate::module::{ConstExpr, ConstOp, ElementItems, Import, ImportKind, Module, SegmentMode};
use crate::oracle::{Limits, Oracle};
use crate::store::{Global, Instance, Memory, Store, Table};
use crate::types::{map_ref, map_val};
use std::sync::Arc;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, GlobalId, GlobalType, InstanceId, InternalRef,
    MemoryId, MemoryType, TableId, TableType, TagId, TypeIdx, ValType,
};

/// Something to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extern {
    /// A function of the store: another instance's, or one that another
    /// instance has from the host.
    Func(FuncAddr),
    /// A function that the host provides, of whatever type the module declares.
    HostFunc,
    /// A memory of the store.
    Memory(MemoryId),
    /// A table of the store.
    Table(TableId),
    /// A global of the store.
    Global(GlobalId),
    /// An exception tag of the store.
    Tag(TagId),
}

impl Extern {
    fn kind(self) -> &'static str {
        match self {
            Extern::Func(_) | Extern::HostFunc => "function",
            Extern::Memory(_) => "memory",
            Extern::Table(_) => "table",
            Extern::Global(_) => "global",
            Extern::Tag(_) => "tag",
        }
    }
}

/// Whether limits that hold `given` at least satisfy those `declared`.
fn limits_match(given: (u64, Option<u64>), declared: (u64, Option<u64>)) -> bool {
    given.0 >= declared.0
        && match (given.1, declared.1) {
            (_, None) => true,
            (Some(given), Some(declared)) => given <= declared,
            (None, Some(_)) => false,
        }
}

/// Where active segments go; 0 for others.
struct Offsets {
    elements: Vec<u64>,
    data: Vec<u64>,
}

impl Oracle {
    /// Makes an instance of `module`: links its imports, given in the order of
    /// the file, initialises its globals and tables, and applies its active
    /// segments. Does not run the start function.
    ///
    /// # Errors
    ///
    /// After [`InstantiateError::Trap`] the instance exists and the effects of
    /// its earlier segments stay; after any other error nothing has changed.
    pub fn instantiate(
        &mut self,
        module: Arc<Module>,
        imports: &[Extern],
    ) -> Result<InstanceId, InstantiateError> {
        let limits = *self.limits();
        let store = self.store_mut();
        let id = InstanceId::from_index(store.instances.len());
        let types = store.types.len();
        let linked = store
            .link(id, &module, imports)
            .and_then(|instance| store.check_limits(&module, &limits).map(|()| instance));
        let mut instance = linked.inspect_err(|_| store.types.truncate(types))?;
        // Objects made until then are nobody's.
        let before = (store.memories.len(), store.tables.len(), store.globals.len());
        let offsets = store.define(&module, &mut instance, &limits).map_err(|limit| {
            store.memories.truncate(before.0);
            store.tables.truncate(before.1);
            store.globals.truncate(before.2);
            store.types.truncate(types);
            InstantiateError::Limit(limit)
        })?;
        store.instances.push(instance);
        store
            .apply_segments(id, &module, &offsets)
            .map_err(|trap| InstantiateError::Trap { instance: id, trap })?;
        Ok(id)
    }
}

impl Store {
    fn link(
        &mut self,
        id: InstanceId,
        module: &Arc<Module>,
        imports: &[Extern],
    ) -> Result<Instance, InstantiateError> {
        let declared = module.imports();
        if declared.len() != imports.len() {
            return Err(InstantiateError::ImportCount {
                expected: declared.len(),
                given: imports.len(),
            });
        }
        let types = self.types.add(&module.types, &module.rec_groups);
        let mut instance = Instance::without_definitions(id, module, types);
        for (import, &given) in declared.iter().zip(imports) {
            self.link_import(&mut instance, import, given).map_err(|mismatch| {
                InstantiateError::Import {
                    module: import.module.clone(),
                    name: import.name.clone(),
                    mismatch: Box::new(mismatch),
                }
            })?;
        }
        Ok(instance)
    }

    /// Adds an import to an instance, if what is given for it is of its type.
    pub(crate) fn link_import(
        &self,
        instance: &mut Instance,
        import: &Import,
        given: Extern,
    ) -> Result<(), ImportMismatch> {
        let ids = instance.type_ids.clone();
        let local = |index: TypeIdx| ids[index.index()];
        match (import.kind, given) {
            (ImportKind::Func(_), Extern::HostFunc) => {
                let func = FuncIdx::from_index(instance.imported_funcs.len());
                instance.imported_funcs.push(FuncAddr { instance: instance.id, func });
            }
            (ImportKind::Func(ty), Extern::Func(addr)) => {
                let given = self.func_type_id(addr);
                let given = given.ok_or(ImportMismatch::Unknown("function"))?;
                let expected = local(ty);
                if !self.types.is_sub(given, expected) {
                    let text = |ty| self.types.func(ty).cloned().unwrap_or_default();
                    return Err(ImportMismatch::FuncType {
                        expected: text(expected),
                        given: text(given),
                    });
                }
                let definer = self.instance_of(addr).ok_or(ImportMismatch::Unknown("function"))?;
                instance.imported_funcs.push(definer.resolve(addr.func));
            }
            (ImportKind::Memory(expected), Extern::Memory(id)) => {
                let memory =
                    self.memories.get(id.index()).ok_or(ImportMismatch::Unknown("memory"))?;
                let given = MemoryType { minimum: memory.pages(), ..memory.ty };
                let declared = (expected.minimum, expected.maximum);
                if (given.address, given.shared, given.page_log2)
                    != (expected.address, expected.shared, expected.page_log2)
                    || !limits_match((given.minimum, given.maximum), declared)
                {
                    return Err(ImportMismatch::MemoryType { expected, given });
                }
                instance.memories.push(id);
            }
            (ImportKind::Table(expected), Extern::Table(id)) => {
                let table = self.tables.get(id.index()).ok_or(ImportMismatch::Unknown("table"))?;
                let given = TableType { minimum: table.elements.len() as u64, ..table.ty };
                let expected = TableType { element: map_ref(expected.element, &local), ..expected };
                let declared = (expected.minimum, expected.maximum);
                if (given.element, given.address) != (expected.element, expected.address)
                    || !limits_match((given.minimum, given.maximum), declared)
                {
                    return Err(ImportMismatch::TableType { expected, given });
                }
                instance.tables.push(id);
            }
            (ImportKind::Global(expected), Extern::Global(id)) => {
                let global =
                    self.globals.get(id.index()).ok_or(ImportMismatch::Unknown("global"))?;
                let expected =
                    GlobalType { content: map_val(expected.content, &local), ..expected };
                let fits = if expected.mutable {
                    global.ty == expected
                } else {
                    !global.ty.mutable && self.types.is_sub_val(global.ty.content, expected.content)
                };
                if !fits {
                    return Err(ImportMismatch::GlobalType { expected, given: global.ty });
                }
                instance.globals.push(id);
            }
            (ImportKind::Tag(ty), Extern::Tag(id)) => {
                let given = self.tags.get(id.index()).ok_or(ImportMismatch::Unknown("tag"))?;
                let expected = local(ty);
                if *given != expected {
                    let text = |ty| self.types.func(ty).cloned().unwrap_or_default();
                    return Err(ImportMismatch::TagType {
                        expected: text(expected),
                        given: text(*given),
                    });
                }
                instance.tags.push(id);
            }
            (expected, given) => {
                return Err(ImportMismatch::Kind {
                    expected: expected.name(),
                    given: given.kind(),
                });
            }
        }
        Ok(())
    }

    fn check_limits(&self, module: &Module, limits: &Limits) -> Result<(), InstantiateError> {
        let memories = module.memories.iter().skip(module.num_imported_memories as usize);
        let bytes = memories
            .map(|ty| ty.minimum.saturating_mul(ty.page_bytes()))
            .fold(self.total_bytes(), u64::saturating_add);
        let tables = module.tables.iter().skip(module.num_imported_tables as usize);
        let elements = tables.map(|ty| ty.minimum).fold(self.total_elements(), u64::saturating_add);
        if bytes > limits.max_memory_pages.saturating_mul(MemoryType::PAGE) {
            Err(InstantiateError::Limit(Limits::MEMORY_PAGES))
        } else if elements > limits.max_table_elements {
            Err(InstantiateError::Limit(Limits::TABLE_ELEMENTS))
        } else {
            Ok(())
        }
    }

    /// Allocates what the module defines and evaluates its globals, tables and
    /// element segments. Answers where its active segments go.
    fn define(
        &mut self,
        module: &Module,
        instance: &mut Instance,
        limits: &Limits,
    ) -> Result<Offsets, &'static str> {
        let ids = instance.type_ids.clone();
        let local = |index: TypeIdx| ids[index.index()];
        for ty in module.memories.iter().skip(module.num_imported_memories as usize) {
            instance.memories.push(MemoryId::from_index(self.memories.len()));
            // The limits just checked keep this far below the address space.
            let data = vec![0; (ty.minimum * ty.page_bytes()) as usize];
            self.memories.push(Memory { ty: *ty, data });
        }
        for ty in module.tags.iter().skip(module.num_imported_tags as usize) {
            instance.tags.push(TagId::from_index(self.tags.len()));
            self.tags.push(local(*ty));
        }
        let types = module.globals.iter().skip(module.num_imported_globals as usize);
        for (&ty, init) in types.zip(&module.global_inits) {
            let [value, high] = self.evaluate(instance, init, limits)?;
            let ty = GlobalType { content: map_val(ty.content, &local), ..ty };
            instance.globals.push(GlobalId::from_index(self.globals.len()));
            self.globals.push(Global { ty, value, high });
        }
        let types = module.tables.iter().skip(module.num_imported_tables as usize);
        for (&ty, init) in types.zip(&module.table_inits) {
            let element = match init {
                Some(init) => self.evaluate(instance, init, limits)?[0],
                None => Cell(0),
            };
            instance.tables.push(TableId::from_index(self.tables.len()));
            let elements = vec![element; ty.minimum as usize];
            let ty = TableType { element: map_ref(ty.element, &local), ..ty };
            self.tables.push(Table { ty, elements });
        }
        for segment in &module.elements {
            let cells = match &segment.items {
                ElementItems::Functions(funcs) => {
                    funcs.iter().map(|&func| instance.resolve(func).to_cell()).collect()
                }
                ElementItems::Expressions(exprs) => exprs
                    .iter()
                    .map(|expr| Ok(self.evaluate(instance, expr, limits)?[0]))
                    .collect::<Result<_, &'static str>>()?,
            };
            instance.elements.push(cells);
        }
        instance.dropped_elements = vec![false; module.elements.len()];
        instance.dropped_data = vec![false; module.data.len()];
        let mut offset = |mode: Option<&ConstExpr>| match mode {
            Some(offset) => Ok(self.evaluate(instance, offset, limits)?[0].0),
            None => Ok(0),
        };
        Ok(Offsets {
            elements: module
                .elements
                .iter()
                .map(|segment| offset(segment.mode.offset()))
                .collect::<Result<_, _>>()?,
            data: module
                .data
                .iter()
                .map(|segment| offset(segment.mode.offset()))
                .collect::<Result<_, _>>()?,
        })
    }

    fn apply_segments(
        &mut self,
        id: InstanceId,
        module: &Module,
        offsets: &Offsets,
    ) -> Result<(), wasm_view::Trap> {
        for (index, segment) in module.elements.iter().enumerate() {
            let elem = ElemIdx::from_index(index);
            match &segment.mode {
                SegmentMode::Passive => {}
                SegmentMode::Declared => self.elem_drop(id, elem),
                SegmentMode::Active { target, .. } => {
                    let offset = offsets.elements[index];
                    let instance = &self.instances[id.index()];
                    let length = instance.elements[index].len() as u64;
                    let table = instance.tables[target.index()];
                    self.table_init(id, table, elem, [offset, 0, length])?;
                    self.elem_drop(id, elem);
                }
            }
        }
        for (index, segment) in module.data.iter().enumerate() {
            let data = DataIdx::from_index(index);
            if let SegmentMode::Active { target, .. } = &segment.mode {
                let offset = offsets.data[index];
                let instance = &self.instances[id.index()];
                let memory = instance.memories[target.index()];
                let length = segment.bytes.len() as u64;
                self.memory_init(id, memory, data, [offset, 0, length])?;
                self.data_drop(id, data);
            }
        }
        Ok(())
    }

    /// The value of a constant expression, with the second cell of a vector;
    /// the name of a limit if it would exceed that. They do not trap.
    fn evaluate(
        &mut self,
        instance: &Instance,
        expr: &[ConstOp],
        limits: &Limits,
    ) -> Result<[Cell; 2], &'static str> {
        let mut stack: Vec<Cell> = Vec::new();
        let pop = |stack: &mut Vec<Cell>| stack.pop().unwrap_or_default();
        let binary = |stack: &mut Vec<Cell>, apply: fn(u64, u64) -> u64| {
            let right = pop(stack).0;
            let left = pop(stack).0;
            stack.push(Cell(apply(left, right)));
        };
        let id = |ty: TypeIdx| instance.type_ids[ty.index()];
        for op in expr {
            match *op {
                ConstOp::Value(cell) => stack.push(cell),
                ConstOp::Vector(bits) => {
                    stack.extend([Cell(bits as u64), Cell((bits >> 64) as u64)]);
                }
                ConstOp::GlobalGet(global) => {
                    let global = &self.globals[instance.globals[global.index()].index()];
                    stack.push(global.value);
                    if global.ty.content == ValType::V128 {
                        stack.push(global.high);
                    }
                }
                ConstOp::RefFunc(func) => stack.push(instance.resolve(func).to_cell()),
                ConstOp::I32Add => {
                    binary(&mut stack, |a, b| u64::from((a as u32).wrapping_add(b as u32)));
                }
                ConstOp::I32Sub => {
                    binary(&mut stack, |a, b| u64::from((a as u32).wrapping_sub(b as u32)));
                }
                ConstOp::I32Mul => {
                    binary(&mut stack, |a, b| u64::from((a as u32).wrapping_mul(b as u32)));
                }
                ConstOp::I64Add => binary(&mut stack, u64::wrapping_add),
                ConstOp::I64Sub => binary(&mut stack, u64::wrapping_sub),
                ConstOp::I64Mul => binary(&mut stack, u64::wrapping_mul),
                ConstOp::RefI31 => {
                    let value = pop(&mut stack);
                    stack.push(InternalRef::I31(value.0 as u32 & 0x7fff_ffff).to_cell());
                }
                ConstOp::StructNew(ty) => {
                    let from = stack.len() - self.struct_cells(id(ty));
                    let object = self.new_struct(id(ty), Some(&stack[from..]), limits)?;
                    stack.truncate(from);
                    stack.push(object);
                }
                ConstOp::StructNewDefault(ty) => {
                    stack.push(self.new_struct(id(ty), None, limits)?);
                }
                ConstOp::ArrayNew(ty) => {
                    let length = pop(&mut stack).0 as u32;
                    let from = stack.len() - self.element_cells(id(ty));
                    let array = self.new_array(id(ty), length, limits)?;
                    self.fill_array(array, 0..length, &stack[from..]);
                    stack.truncate(from);
                    stack.push(array);
                }
                ConstOp::ArrayNewDefault(ty) => {
                    let length = pop(&mut stack).0 as u32;
                    stack.push(self.new_array(id(ty), length, limits)?);
                }
                ConstOp::ArrayNewFixed(ty, length) => {
                    let from = stack.len() - self.element_cells(id(ty)) * length as usize;
                    let array = self.new_array(id(ty), length, limits)?;
                    self.set_elements(array, 0, &stack[from..]);
                    stack.truncate(from);
                    stack.push(array);
                }
            }
        }
        let second = if stack.len() > 1 { pop(&mut stack) } else { Cell(0) };
        Ok([pop(&mut stack), second])
    }
}
