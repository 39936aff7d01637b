//! The *Wasm view*: a program's state at one moment, in Wasm terms.
//!
//! A view is what two executions of one program can be compared by, and what
//! one of them could be resumed from: a store (instances; memories, tables and
//! globals with identity, shared by import; dropped segments) and a stack of
//! frames, each standing at a *boundary*, the point just before an instruction.

use crate::{
    DataIdx, ElemIdx, ExnId, FuncAddr, FuncIdx, GlobalId, GlobalType, InstanceId, InternalRef,
    MemoryId, MemoryType, ObjectId, TableId, TableType, TagId, TypeIdx, ValType, Value, WasmOffset,
};
use std::collections::HashSet;

/// The point just before the Wasm instruction at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Boundary {
    /// The instance that executes.
    pub instance: InstanceId,
    /// The function, in that instance's index space.
    pub func: FuncIdx,
    /// The instruction, in the module file.
    pub offset: WasmOffset,
}

/// One activation of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it stands. For all but the innermost frame this is the call
    /// instruction, arguments already popped, results not yet pushed.
    pub boundary: Boundary,
    /// Locals with their types, parameters first.
    pub locals: Vec<(ValType, Value)>,
    /// Operand stack with types, bottom first.
    pub operands: Vec<(ValType, Value)>,
}

/// One instance's part of a store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InstanceView {
    /// What its imported functions are.
    pub imported_funcs: Vec<FuncAddr>,
    /// Its memories, by index.
    pub memories: Vec<MemoryId>,
    /// Its tables, by index.
    pub tables: Vec<TableId>,
    /// Its globals, by index.
    pub globals: Vec<GlobalId>,
    /// Its exception tags, by index.
    pub tags: Vec<TagId>,
    /// Data segments that were dropped.
    pub dropped_data: Vec<DataIdx>,
    /// Element segments that were dropped.
    pub dropped_elems: Vec<ElemIdx>,
    /// Contents of the element segments, by index; dropped ones are empty.
    pub elements: Vec<Vec<Value>>,
}

/// A linear memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryView {
    /// As it was defined.
    pub ty: MemoryType,
    /// Its bytes; their number is a multiple of the page size.
    pub bytes: Vec<u8>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableView {
    /// As it was defined.
    pub ty: TableType,
    /// Its elements.
    pub elements: Vec<Value>,
}

/// A structure or array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// Its type.
    pub ty: TypeIdx,
    /// Its fields, or elements; packed ones zero-extended.
    pub fields: Vec<Value>,
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionView {
    /// Its tag.
    pub tag: TagId,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// An exception that a clause of the legacy kind has caught, for `rethrow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtView {
    /// Position of the frame, 0 is the outermost.
    pub frame: u32,
    /// Which of the module's `try` instructions, counted over all functions.
    pub handler: u32,
    /// The exception.
    pub exn: ExnId,
}

/// A whole store with its stack.
///
/// Type indices in it are those of the store: each recursion group gets the
/// next numbers when a module that has it is first instantiated.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreView {
    /// Instances, by [`InstanceId`].
    pub instances: Vec<InstanceView>,
    /// Memories, by [`MemoryId`].
    pub memories: Vec<MemoryView>,
    /// Tables, by [`TableId`].
    pub tables: Vec<TableView>,
    /// Globals, by [`GlobalId`].
    pub globals: Vec<(GlobalType, Value)>,
    /// Types of the exception tags, by [`TagId`].
    pub tags: Vec<TypeIdx>,
    /// Structures and arrays.
    pub objects: Vec<(ObjectId, ObjectView)>,
    /// Exceptions.
    pub exceptions: Vec<(ExnId, ExceptionView)>,
    /// What the host has references to.
    pub held: Vec<Value>,
    /// Frames, outermost first.
    pub frames: Vec<Frame>,
    /// What clauses of the legacy kind have caught.
    pub caught: Vec<CaughtView>,
    /// The function of the host's that is being called, with its arguments.
    pub host_call: Option<(FuncAddr, Vec<Value>)>,
}

impl StoreView {
    /// Leaves out objects and exceptions that nothing refers to: neither the rest
    /// of the store, nor a frame, nor the host.
    pub fn collect(&mut self) {
        if self.objects.is_empty() && self.exceptions.is_empty() {
            return;
        }
        let (mut objects, mut exceptions) = (HashSet::new(), HashSet::new());
        let mut open: Vec<Value> = self.caught.iter().map(|c| Value::ExnRef(Some(c.exn))).collect();
        open.extend(&self.held);
        open.extend(self.globals.iter().map(|(_, value)| *value));
        open.extend(self.tables.iter().flat_map(|table| &table.elements));
        open.extend(self.instances.iter().flat_map(|instance| instance.elements.iter().flatten()));
        open.extend(self.host_call.iter().flat_map(|(_, args)| args));
        let slots = self.frames.iter().flat_map(|frame| frame.locals.iter().chain(&frame.operands));
        open.extend(slots.map(|(_, value)| *value));
        while let Some(value) = open.pop() {
            let inside = match value {
                Value::ExnRef(Some(exn)) if exceptions.insert(exn) => {
                    let found = self.exceptions.iter().find(|(id, _)| *id == exn);
                    found.map(|(_, exception)| &exception.args)
                }
                Value::AnyRef(Some(InternalRef::Object(object)))
                | Value::ExternRef(Some(InternalRef::Object(object)))
                    if objects.insert(object) =>
                {
                    let found = self.objects.iter().find(|(id, _)| *id == object);
                    found.map(|(_, object)| &object.fields)
                }
                _ => None,
            };
            open.extend(inside.into_iter().flatten());
        }
        self.objects.retain(|(id, _)| objects.contains(id));
        self.exceptions.retain(|(id, _)| exceptions.contains(id));
    }
}
