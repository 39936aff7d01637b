//! The whole Wasm view, out of an oracle and into another one.
//!
//! [`Oracle::view`] copies everything that execution depends on; from that and
//! the modules [`Oracle::load`] makes an oracle that goes on as the first one
//! would have, at any boundary. A view may come from anywhere, another engine
//! or a file, so nothing in it is trusted: what does not fit the modules is
//! named.

use super::exceptions::Caught;
use super::{FrameRecord, HostCall, Limits, Oracle, State};
use crate::heap::{Exception, Object, Target, write_field};
use crate::instantiate::Extern;
use crate::module::{ImportKind, Module, OpIdx};
use crate::op::Op;
use crate::rare::Rare;
use crate::store::{Global, Instance, Memory, Store, Table};
use crate::types::{CompositeType, map_ref, map_val};
use std::collections::BTreeSet;
use std::sync::Arc;
use wasm_view::view::{CaughtView, ExceptionView, InstanceView, MemoryView, ObjectView, TableView};
use wasm_view::{
    Cell, Frame, FuncAddr, FuncIdx, FuncType, GlobalType, InternalRef, MemoryType, StoreView,
    TableType, TypeIdx, ValType, Value,
};

/// Why a view is none of these modules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Other instances than modules were given.
    #[error("the view has {instances} instances, {modules} modules were given")]
    Modules {
        /// Instances of the view.
        instances: usize,
        /// Modules given.
        modules: usize,
    },
    /// Something does not fit.
    #[error("{place}: {what}")]
    Mismatch {
        /// The part of the view.
        place: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It would exceed a limit of the oracle.
    #[error("limit reached: {0}")]
    Limit(&'static str),
}

/// See [`Store::check_definitions`].
const OTHER_DEFINITION: &str = "a definition of another type than its module's, or of two modules";

fn mismatch(place: impl std::fmt::Display, what: &'static str) -> LoadError {
    LoadError::Mismatch { place: place.to_string(), what }
}

/// Nothing if it holds.
fn ensure(holds: bool, place: impl std::fmt::Display, what: &'static str) -> Result<(), LoadError> {
    if holds { Ok(()) } else { Err(mismatch(place, what)) }
}

impl Oracle {
    /// A copy of everything. Whatever cannot be reached any more is left out.
    pub fn view(&mut self) -> StoreView {
        self.collect_garbage();
        let store = &self.store;
        StoreView {
            instances: store
                .instances
                .iter()
                .map(|instance| store.view_instance(instance))
                .collect(),
            memories: store
                .memories
                .iter()
                .map(|memory| MemoryView { ty: memory.ty, bytes: memory.data.clone() })
                .collect(),
            tables: store
                .tables
                .iter()
                .map(|table| TableView {
                    ty: table.ty,
                    elements: store
                        .view_references(ValType::Ref(table.ty.element), &table.elements),
                })
                .collect(),
            globals: store
                .globals
                .iter()
                .map(|global| {
                    (global.ty, store.value(global.ty.content, &[global.value, global.high]))
                })
                .collect(),
            tags: store.tags.clone(),
            objects: store
                .heap
                .objects()
                .map(|(id, object)| {
                    let fields = self.object(id).unwrap_or_default();
                    (id, ObjectView { ty: object.ty, fields })
                })
                .collect(),
            exceptions: store
                .heap
                .exceptions()
                .map(|(id, exception)| {
                    let args = store.values(&exception.types, &exception.args);
                    (id, ExceptionView { tag: exception.tag, args })
                })
                .collect(),
            held: store.heap.pins().map(held_value).collect(),
            frames: self.frames(),
            caught: self
                .caught
                .iter()
                .map(|caught| CaughtView {
                    frame: caught.frame,
                    handler: caught.handler,
                    exn: caught.exn,
                })
                .collect(),
            host_call: match &self.state {
                State::HostCall(call) => {
                    Some((FuncAddr { instance: call.instance, func: call.func }, call.args.clone()))
                }
                _ => None,
            },
        }
    }

    /// An oracle that stands where `view` was taken. `modules` are those of its
    /// instances, in order.
    ///
    /// # Errors
    ///
    /// A view that is not one of these modules, and limits.
    pub fn load(
        limits: Limits,
        modules: &[Arc<Module>],
        view: &StoreView,
    ) -> Result<Oracle, LoadError> {
        if modules.len() != view.instances.len() {
            return Err(LoadError::Modules {
                instances: view.instances.len(),
                modules: modules.len(),
            });
        }
        let mut oracle = Oracle::new(limits);
        let store = &mut oracle.store;
        for (index, (module, instance)) in modules.iter().zip(&view.instances).enumerate() {
            store.load_instance(index, module, instance, view)?;
        }
        store.load_definitions(view, &limits)?;
        store.load_heap(view, &limits)?;
        store.check_definitions(view)?;
        store.check_values(view)?;
        for (depth, frame) in view.frames.iter().enumerate() {
            oracle.load_frame(depth, frame, view)?;
        }
        for caught in &view.caught {
            ensure(
                oracle.store.heap.exception(caught.exn).is_some()
                    && (caught.frame as usize) < view.frames.len(),
                "caught",
                "no such exception or frame",
            )?;
            oracle.caught.push(Caught {
                frame: caught.frame,
                handler: caught.handler,
                exn: caught.exn,
            });
        }
        oracle.lowest = oracle.frames.len();
        if let Some((func, args)) = &view.host_call {
            let ty = oracle.store.func_type(*func);
            let ty = ty.ok_or_else(|| mismatch("host call", "no such function"))?;
            ensure(
                oracle.is_host_function(*func) && oracle.check_values(&ty.params, args).is_ok(),
                "host call",
                "not a function of the host's, or other arguments",
            )?;
            let call = HostCall { instance: func.instance, func: func.func, args: args.clone() };
            oracle.state = State::HostCall(call);
        } else if !view.frames.is_empty() {
            oracle.state = State::Running;
        }
        Ok(oracle)
    }

    /// Adds a frame on top of those loaded before.
    fn load_frame(
        &mut self,
        depth: usize,
        frame: &Frame,
        view: &StoreView,
    ) -> Result<(), LoadError> {
        let at = frame.boundary;
        let place = || format!("frame {depth}");
        let instance = self.store.instances.get(at.instance.index());
        let instance = instance.ok_or_else(|| mismatch(place(), "no such instance"))?;
        let module = Arc::clone(&instance.module);
        let function = module.function(at.func);
        let function = function.ok_or_else(|| mismatch(place(), "no such function"))?;
        let position = function.position(at.offset);
        let position = position.ok_or_else(|| mismatch(place(), "no instruction begins there"))?;
        let def = function.def();
        let mut operands = module.operand_types_at(position);
        let innermost = depth + 1 == view.frames.len() && view.host_call.is_none();
        if !innermost {
            let ty = self.callee_type(&module, instance, position);
            let (ty, index) = ty.ok_or_else(|| mismatch(place(), "not at a call"))?;
            let callee = match view.frames.get(depth + 1) {
                Some(next) => {
                    FuncAddr { instance: next.boundary.instance, func: next.boundary.func }
                }
                None => view
                    .host_call
                    .as_ref()
                    .map_or(FuncAddr { instance: at.instance, func: at.func }, |(func, _)| *func),
            };
            // A tail call may have put another callee there; its results fit
            // all the same.
            let results = self.store.func_type(callee).map_or(&[][..], |ty| &ty.results);
            let fit = results.len() == ty.results.len()
                && results
                    .iter()
                    .zip(&ty.results)
                    .all(|(own, wanted)| self.store.types.is_sub_val(*own, *wanted));
            ensure(fit, place(), "its callee has other results")?;
            operands.truncate(operands.len().saturating_sub(ty.params.len() + index));
        }
        let types: Vec<ValType> = def.locals.iter().copied().chain(operands).collect();
        let given: Vec<Value> =
            frame.locals.iter().chain(&frame.operands).map(|(_, value)| *value).collect();
        ensure(
            frame.locals.len() == def.locals.len() && given.len() == types.len(),
            place(),
            "other slots than validation gives it",
        )?;
        for (slot, (&ty, &value)) in types.iter().zip(&given).enumerate() {
            let local = self.store.localise(at.instance, ty);
            // A local that may not be null is unset before its first use.
            let unset = slot < def.locals.len() && value.is_null();
            let is_null = value.is_null() && matches!(ty, ValType::Ref(ty) if ty.nullable);
            ensure(
                unset || is_null || self.store.is_of(value, local),
                place(),
                "a slot of another type",
            )?;
        }
        if self.frames.len() >= self.limits.max_frames {
            return Err(LoadError::Limit(Limits::FRAMES));
        }
        let base = self.sp;
        self.reserve_cells(base + def.cells as usize).map_err(LoadError::Limit)?;
        self.push_values(&given);
        self.frames.push(FrameRecord {
            instance: at.instance,
            func: at.func,
            base,
            pc: position,
            locals: def.local_cells,
            results: def.result_cells,
        });
        self.pc = position;
        Ok(())
    }

    /// What the call at a position calls, in the store's types, and how many
    /// operands it takes besides the arguments.
    fn callee_type(
        &self,
        module: &Module,
        instance: &Instance,
        position: OpIdx,
    ) -> Option<(&FuncType, usize)> {
        let of_func = |func: u32| module.func_types.get(func as usize).copied();
        let (ty, index) = match module.code.ops[position.index()] {
            Op::Call(defined) => (of_func(module.num_imported_funcs + defined)?, 0),
            Op::CallImport(func) => (of_func(func)?, 0),
            Op::CallIndirect { ty, .. } => (TypeIdx::new(ty), 1),
            Op::Rare(index) => match module.code.rare[index as usize].rare {
                Rare::CallRef(ty) => (ty, 1),
                _ => return None,
            },
            _ => return None,
        };
        let ty = instance.type_ids.get(ty.index())?;
        Some((self.store.types.func(*ty)?, index))
    }
}

/// What the host holds, as a value.
fn held_value(target: Target) -> Value {
    match target {
        Target::Object(object) => Value::AnyRef(Some(InternalRef::Object(object))),
        Target::Exception(exn) => Value::ExnRef(Some(exn)),
    }
}

impl Store {
    fn view_references(&self, ty: ValType, cells: &[Cell]) -> Vec<Value> {
        cells.iter().map(|cell| self.value(ty, &[*cell])).collect()
    }

    fn view_instance(&self, instance: &Instance) -> InstanceView {
        let segments = instance.module.elements.iter().zip(&instance.elements);
        InstanceView {
            imported_funcs: instance.imported_funcs.clone(),
            memories: instance.memories.clone(),
            tables: instance.tables.clone(),
            globals: instance.globals.clone(),
            tags: instance.tags.clone(),
            dropped_data: instance.dropped_data().collect(),
            dropped_elems: instance.dropped_elements().collect(),
            elements: segments
                .map(|(segment, cells)| {
                    let ty = self.localise(instance.id, ValType::Ref(segment.ty));
                    self.view_references(ty, cells)
                })
                .collect(),
        }
    }

    fn load_instance(
        &mut self,
        index: usize,
        module: &Arc<Module>,
        view: &InstanceView,
        whole: &StoreView,
    ) -> Result<(), LoadError> {
        let place = || format!("instance {index}");
        let counts = view.imported_funcs.len() == module.num_imported_funcs as usize
            && view.memories.len() == module.memories.len()
            && view.tables.len() == module.tables.len()
            && view.globals.len() == module.globals.len()
            && view.tags.len() == module.tags.len()
            && view.elements.len() == module.elements.len();
        ensure(counts, place(), "another number of definitions than its module has")?;
        let exist = view.memories.iter().all(|id| id.index() < whole.memories.len())
            && view.tables.iter().all(|id| id.index() < whole.tables.len())
            && view.globals.iter().all(|id| id.index() < whole.globals.len())
            && view.tags.iter().all(|id| id.index() < whole.tags.len())
            && view.dropped_data.iter().all(|data| data.index() < module.data.len())
            && view.dropped_elems.iter().all(|elem| elem.index() < module.elements.len());
        ensure(exist, place(), "a definition that the view does not have")?;
        let flags = |count: usize, set: &mut dyn Iterator<Item = usize>| {
            let mut flags = vec![false; count];
            set.for_each(|at| flags[at] = true);
            flags
        };
        let type_ids = self.types.add(&module.types, &module.rec_groups);
        self.instances.push(Instance {
            id: wasm_view::InstanceId::from_index(index),
            module: Arc::clone(module),
            memories: view.memories.clone(),
            tables: view.tables.clone(),
            globals: view.globals.clone(),
            tags: view.tags.clone(),
            type_ids,
            imported_funcs: view.imported_funcs.clone(),
            dropped_data: flags(
                module.data.len(),
                &mut view.dropped_data.iter().map(|data| data.index()),
            ),
            elements: view
                .elements
                .iter()
                .map(|values| values.iter().map(|value| value.to_cell()).collect())
                .collect(),
            dropped_elements: flags(
                module.elements.len(),
                &mut view.dropped_elems.iter().map(|elem| elem.index()),
            ),
        });
        Ok(())
    }

    fn load_definitions(&mut self, view: &StoreView, limits: &Limits) -> Result<(), LoadError> {
        let bytes: u64 = view.memories.iter().map(|memory| memory.bytes.len() as u64).sum();
        if bytes > limits.max_memory_pages.saturating_mul(MemoryType::PAGE) {
            return Err(LoadError::Limit(Limits::MEMORY_PAGES));
        }
        for (index, memory) in view.memories.iter().enumerate() {
            let pages = memory.bytes.len() as u64 >> memory.ty.page_log2.min(63);
            let whole = (memory.bytes.len() as u64).is_multiple_of(memory.ty.page_bytes());
            ensure(
                whole && pages <= memory.ty.most_pages(),
                format!("memory {index}"),
                "its size is none of its type",
            )?;
            self.memories.push(Memory { ty: memory.ty, data: memory.bytes.clone() });
        }
        for table in &view.tables {
            let elements = table.elements.iter().map(|value| value.to_cell()).collect();
            self.tables.push(Table { ty: table.ty, elements });
        }
        if self.total_elements() > limits.max_table_elements {
            return Err(LoadError::Limit(Limits::TABLE_ELEMENTS));
        }
        for &(ty, value) in &view.globals {
            let mut cells = value.to_cells();
            let (value, high) = (cells.next(), cells.next());
            self.globals.push(Global {
                ty,
                value: value.unwrap_or_default(),
                high: high.unwrap_or_default(),
            });
        }
        self.tags = view.tags.clone();
        for (index, tag) in view.tags.iter().enumerate() {
            ensure(self.types.func(*tag).is_some(), format!("tag {index}"), "no function type")?;
        }
        Ok(())
    }

    fn load_heap(&mut self, view: &StoreView, limits: &Limits) -> Result<(), LoadError> {
        for (id, object) in &view.objects {
            ensure(object.ty.index() < self.types.len(), id, "no such type")?;
            let ty = self.types.get(object.ty);
            let (layout, count) = (&ty.layout, object.fields.len());
            let (size, length) = match ty.definition.composite {
                CompositeType::Struct(_) => (layout.size, 0),
                _ => (layout.size * count, count as u32),
            };
            let is_struct = length == 0 && layout.fields.len() == count;
            let is_array = matches!(ty.definition.composite, CompositeType::Array(_));
            ensure(is_struct || is_array, id, "other fields than its type has")?;
            let mut bytes = vec![0; size].into_boxed_slice();
            for (at, value) in object.fields.iter().enumerate() {
                let (start, storage) = if is_array { layout.fields[0] } else { layout.fields[at] };
                let start = start + if is_array { at * layout.size } else { 0 };
                ensure(value.ty().cells() == storage.unpacked().cells(), id, "a field's type")?;
                let cells: Vec<Cell> = value.to_cells().collect();
                write_field(&mut bytes[start..], storage, &cells);
            }
            self.heap.restore_object(*id, Object { ty: object.ty, length, bytes });
        }
        for (id, exception) in &view.exceptions {
            let ty = self.tags.get(exception.tag.index()).and_then(|ty| self.types.func(*ty));
            let types = ty.ok_or_else(|| mismatch(id, "no such tag"))?.params.clone();
            let args: Box<[Cell]> = exception.args.iter().flat_map(|arg| arg.to_cells()).collect();
            ensure(args.len() == ValType::cells_of(&types), id, "other arguments than its tag's")?;
            let exception = Exception { tag: exception.tag, args, types: types.into() };
            self.heap.restore_exception(*id, exception);
        }
        for value in &view.held {
            self.heap.pin(value.ty(), value.to_cell());
        }
        if self.heap.used() as u64 > limits.max_heap_bytes {
            return Err(LoadError::Limit(Limits::HEAP_BYTES));
        }
        Ok(())
    }

    /// That what an instance names is what its module declares, and that nobody
    /// else defines it.
    fn check_definitions(&self, view: &StoreView) -> Result<(), LoadError> {
        let mut defined = BTreeSet::new();
        for (index, given) in view.instances.iter().enumerate() {
            let place = || format!("instance {index}");
            let Instance { id, module, type_ids, .. } = &self.instances[index];
            let mut linked = Instance::without_definitions(*id, module, type_ids.clone());
            for import in module.imports() {
                let at = match import.kind {
                    ImportKind::Func(_) => {
                        let func = linked.imported_funcs.len();
                        let own = FuncAddr { instance: *id, func: FuncIdx::from_index(func) };
                        match given.imported_funcs[func] {
                            host if host == own => Extern::HostFunc,
                            other => Extern::Func(other),
                        }
                    }
                    ImportKind::Memory(_) => Extern::Memory(given.memories[linked.memories.len()]),
                    ImportKind::Table(_) => Extern::Table(given.tables[linked.tables.len()]),
                    ImportKind::Global(_) => Extern::Global(given.globals[linked.globals.len()]),
                    ImportKind::Tag(_) => Extern::Tag(given.tags[linked.tags.len()]),
                };
                let fits = self.link_import(&mut linked, import, at).is_ok();
                ensure(fits, place(), "an import of another type than its module declares")?;
            }
            let ids = type_ids.clone();
            let local = |index: TypeIdx| ids[index.index()];
            let memories = given.memories.iter().zip(&module.memories).skip(linked.memories.len());
            for (id, ty) in memories {
                let memory = &self.memories[id.index()];
                let fits = memory.ty == *ty && memory.pages() >= ty.minimum;
                ensure(fits && defined.insert((0, id.index())), place(), OTHER_DEFINITION)?;
            }
            let tables = given.tables.iter().zip(&module.tables).skip(linked.tables.len());
            for (id, ty) in tables {
                let Table { ty: actual, elements } = &self.tables[id.index()];
                let ty = TableType { element: map_ref(ty.element, &local), ..*ty };
                let size = elements.len() as u64;
                let fits = *actual == ty
                    && size >= ty.minimum
                    && ty.maximum.is_none_or(|maximum| size <= maximum);
                ensure(fits && defined.insert((1, id.index())), place(), OTHER_DEFINITION)?;
            }
            let globals = given.globals.iter().zip(&module.globals).skip(linked.globals.len());
            for (id, ty) in globals {
                let ty = GlobalType { content: map_val(ty.content, &local), ..*ty };
                let fits = self.globals[id.index()].ty == ty;
                ensure(fits && defined.insert((2, id.index())), place(), OTHER_DEFINITION)?;
            }
            let tags = given.tags.iter().zip(&module.tags).skip(linked.tags.len());
            for (id, ty) in tags {
                let fits = self.tags[id.index()] == local(*ty);
                ensure(fits && defined.insert((3, id.index())), place(), OTHER_DEFINITION)?;
            }
        }
        Ok(())
    }

    /// That everything in the store is of its type, once all of it is there.
    fn check_values(&self, view: &StoreView) -> Result<(), LoadError> {
        for (index, instance) in view.instances.iter().enumerate() {
            let known = instance.imported_funcs.iter().all(|func| self.func_type(*func).is_some());
            ensure(known, format!("instance {index}"), "an import that does not exist")?;
            let segments = self.instances[index].module.elements.iter();
            for (segment, values) in segments.zip(&instance.elements) {
                let id = self.instances[index].id;
                let ty = self.localise(id, ValType::Ref(segment.ty));
                let fit = values.iter().all(|value| self.is_of(*value, ty));
                ensure(fit, format!("instance {index}"), "an element segment of another type")?;
            }
        }
        for (index, table) in view.tables.iter().enumerate() {
            let ty = ValType::Ref(table.ty.element);
            let fit = table.elements.iter().all(|value| self.is_of(*value, ty));
            ensure(fit, format!("table {index}"), "an element of another type")?;
        }
        for (index, (ty, value)) in view.globals.iter().enumerate() {
            ensure(
                self.is_of(*value, ty.content),
                format!("global {index}"),
                "a value of another type",
            )?;
        }
        for (id, object) in &view.objects {
            let layout = &self.types.get(object.ty).layout;
            for (at, value) in object.fields.iter().enumerate() {
                let (_, storage) = layout.fields.get(at).unwrap_or(&layout.fields[0]);
                ensure(self.is_of(*value, storage.unpacked()), id, "a field of another type")?;
            }
        }
        for (id, exception) in &view.exceptions {
            let types = self.heap.exception(*id).map_or(&[][..], |exception| &exception.types);
            let fit = exception.args.iter().zip(types).all(|(value, ty)| self.is_of(*value, *ty));
            ensure(fit, id, "an argument of another type")?;
        }
        Ok(())
    }
}
