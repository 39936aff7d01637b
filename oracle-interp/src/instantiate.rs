//! Linking and initialisation (core spec, "Instantiation").
//!
//! Two phases. Linking only looks: a module that does not fit leaves the store
//! as it was. Initialisation may trap at an active segment that does not fit;
//! what was written before stays, as other instances may have seen it.

use crate::error::{ImportMismatch, InstantiateError};
use crate::module::{ConstOp, ElementItems, Import, ImportKind, Module, SegmentMode};
use crate::oracle::{Limits, Oracle};
use crate::store::{Global, Instance, Memory, Store, Table};
use std::sync::Arc;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, GlobalId, InstanceId, MemoryId, MemoryType, TableId,
    TableType,
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
}

impl Extern {
    fn kind(self) -> &'static str {
        match self {
            Extern::Func(_) | Extern::HostFunc => "function",
            Extern::Memory(_) => "memory",
            Extern::Table(_) => "table",
            Extern::Global(_) => "global",
        }
    }
}

impl ImportKind {
    fn kind(self) -> &'static str {
        match self {
            ImportKind::Func(_) => "function",
            ImportKind::Memory(_) => "memory",
            ImportKind::Table(_) => "table",
            ImportKind::Global(_) => "global",
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
        let mut instance = store.link(id, &module, imports)?;
        store.check_limits(&module, &limits)?;
        store.define(&module, &mut instance);
        store.instances.push(instance);
        store
            .apply_segments(id, &module)
            .map_err(|trap| InstantiateError::Trap { instance: id, trap })?;
        Ok(id)
    }
}

impl Store {
    fn link(
        &self,
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
        let mut instance = Instance {
            id,
            module: Arc::clone(module),
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            imported_funcs: Vec::new(),
            dropped_data: Vec::new(),
            elements: Vec::new(),
            dropped_elements: Vec::new(),
        };
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

    fn link_import(
        &self,
        instance: &mut Instance,
        import: &Import,
        given: Extern,
    ) -> Result<(), ImportMismatch> {
        match (import.kind, given) {
            (ImportKind::Func(_), Extern::HostFunc) => {
                let func = FuncIdx::from_index(instance.imported_funcs.len());
                instance.imported_funcs.push(FuncAddr { instance: instance.id, func });
            }
            (ImportKind::Func(ty), Extern::Func(addr)) => {
                let definer = self.instance_of(addr).ok_or(ImportMismatch::Unknown("function"))?;
                let given = definer.module.func_type(addr.func);
                let expected = instance.module.types().get(ty.index());
                if let (Some(expected), Some(given)) = (expected, given)
                    && expected != given
                {
                    return Err(ImportMismatch::FuncType {
                        expected: expected.clone(),
                        given: given.clone(),
                    });
                }
                instance.imported_funcs.push(definer.resolve(addr.func));
            }
            (ImportKind::Memory(expected), Extern::Memory(id)) => {
                let memory =
                    self.memories.get(id.index()).ok_or(ImportMismatch::Unknown("memory"))?;
                let given = MemoryType { minimum: memory.pages(), maximum: memory.ty.maximum };
                let declared = (expected.minimum, expected.maximum);
                if !limits_match((given.minimum, given.maximum), declared) {
                    return Err(ImportMismatch::MemoryType { expected, given });
                }
                instance.memories.push(id);
            }
            (ImportKind::Table(expected), Extern::Table(id)) => {
                let table = self.tables.get(id.index()).ok_or(ImportMismatch::Unknown("table"))?;
                let given = TableType { minimum: table.elements.len() as u64, ..table.ty };
                let declared = (expected.minimum, expected.maximum);
                if given.element != expected.element
                    || !limits_match((given.minimum, given.maximum), declared)
                {
                    return Err(ImportMismatch::TableType { expected, given });
                }
                instance.tables.push(id);
            }
            (ImportKind::Global(expected), Extern::Global(id)) => {
                let global =
                    self.globals.get(id.index()).ok_or(ImportMismatch::Unknown("global"))?;
                if global.ty != expected {
                    return Err(ImportMismatch::GlobalType { expected, given: global.ty });
                }
                instance.globals.push(id);
            }
            (expected, given) => {
                return Err(ImportMismatch::Kind {
                    expected: expected.kind(),
                    given: given.kind(),
                });
            }
        }
        Ok(())
    }

    fn check_limits(&self, module: &Module, limits: &Limits) -> Result<(), InstantiateError> {
        let memories = module.memories.iter().skip(module.num_imported_memories as usize);
        let pages = memories.map(|ty| ty.minimum).fold(self.total_pages(), u64::saturating_add);
        let tables = module.tables.iter().skip(module.num_imported_tables as usize);
        let elements = tables.map(|ty| ty.minimum).fold(self.total_elements(), u64::saturating_add);
        if pages > limits.max_memory_pages {
            Err(InstantiateError::Limit(Limits::MEMORY_PAGES))
        } else if elements > limits.max_table_elements {
            Err(InstantiateError::Limit(Limits::TABLE_ELEMENTS))
        } else {
            Ok(())
        }
    }

    /// Allocates what the module defines and evaluates its globals and element
    /// segments.
    fn define(&mut self, module: &Module, instance: &mut Instance) {
        for ty in module.memories.iter().skip(module.num_imported_memories as usize) {
            instance.memories.push(MemoryId::from_index(self.memories.len()));
            // The limits just checked keep this far below the address space.
            let data = vec![0; (ty.minimum * MemoryType::PAGE) as usize];
            self.memories.push(Memory { ty: *ty, data });
        }
        for ty in module.tables.iter().skip(module.num_imported_tables as usize) {
            instance.tables.push(TableId::from_index(self.tables.len()));
            let elements = vec![Cell(0); ty.minimum as usize];
            self.tables.push(Table { ty: *ty, elements });
        }
        let types = module.globals.iter().skip(module.num_imported_globals as usize);
        for (&ty, init) in types.zip(&module.global_inits) {
            let value = self.evaluate(instance, init);
            instance.globals.push(GlobalId::from_index(self.globals.len()));
            self.globals.push(Global { ty, value });
        }
        instance.elements = module
            .elements
            .iter()
            .map(|segment| match &segment.items {
                ElementItems::Functions(funcs) => {
                    funcs.iter().map(|&func| instance.resolve(func).to_cell()).collect()
                }
                ElementItems::Expressions(exprs) => {
                    exprs.iter().map(|expr| self.evaluate(instance, expr)).collect()
                }
            })
            .collect();
        instance.dropped_elements = vec![false; module.elements.len()];
        instance.dropped_data = vec![false; module.data.len()];
    }

    fn apply_segments(&mut self, id: InstanceId, module: &Module) -> Result<(), wasm_view::Trap> {
        for (index, segment) in module.elements.iter().enumerate() {
            let elem = ElemIdx::from_index(index);
            match &segment.mode {
                SegmentMode::Passive => {}
                SegmentMode::Declared => self.elem_drop(id, elem),
                SegmentMode::Active { target, offset } => {
                    let instance = &self.instances[id.index()];
                    let offset = u64::from(self.evaluate(instance, offset).0 as u32);
                    let length = instance.elements[index].len() as u64;
                    let table = instance.tables[target.index()];
                    self.table_init(id, table, elem, [offset, 0, length])?;
                    self.elem_drop(id, elem);
                }
            }
        }
        for (index, segment) in module.data.iter().enumerate() {
            let data = DataIdx::from_index(index);
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let instance = &self.instances[id.index()];
                let offset = u64::from(self.evaluate(instance, offset).0 as u32);
                let memory = instance.memories[target.index()];
                let length = segment.bytes.len() as u64;
                self.memory_init(id, memory, data, [offset, 0, length])?;
                self.data_drop(id, data);
            }
        }
        Ok(())
    }

    /// The value of a constant expression; those are total.
    fn evaluate(&self, instance: &Instance, expr: &[ConstOp]) -> Cell {
        let mut stack: Vec<u64> = Vec::new();
        let binary = |stack: &mut Vec<u64>, apply: fn(u64, u64) -> u64| {
            let right = stack.pop().unwrap_or(0);
            let left = stack.pop().unwrap_or(0);
            stack.push(apply(left, right));
        };
        for op in expr {
            match *op {
                ConstOp::Value(cell) => stack.push(cell.0),
                ConstOp::GlobalGet(global) => {
                    let id = instance.globals[global.index()];
                    stack.push(self.globals[id.index()].value.0);
                }
                ConstOp::RefFunc(func) => stack.push(instance.resolve(func).to_cell().0),
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
            }
        }
        Cell(stack.pop().unwrap_or(0))
    }
}
