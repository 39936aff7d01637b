//! Structures, arrays and exceptions.
//!
//! Objects are bytes, fields one after the other in the order of their type
//! (see [`Layout`](crate::types::Layout)); references in them are cells. What
//! nothing refers to any more is found by marking from the roots, which are
//! known exactly: validation gives the type of every slot. Whatever the host
//! was given a reference to stays, as nobody knows how long it keeps it.

use crate::types::{CompositeType, StorageType, Types};
use std::collections::BTreeSet;
use wasm_view::{Cell, ExnId, HeapType, InternalRef, ObjectId, RefType, TagId, TypeIdx, ValType};

/// A structure or array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// In the store's table of types.
    pub(crate) ty: TypeIdx,
    /// Elements of an array; 0 for a structure.
    pub(crate) length: u32,
    pub(crate) bytes: Box<[u8]>,
}

/// An exception: its tag and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) tag: TagId,
    pub(crate) args: Box<[Cell]>,
    /// Types of the arguments, in the store's table of types.
    pub(crate) types: Box<[ValType]>,
}

/// Things with numbers that are used again.
#[derive(Clone, Debug)]
struct Arena<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    fn insert(&mut self, item: T) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.items[at as usize] = Some(item);
                at
            }
            None => {
                self.items.push(Some(item));
                self.items.len() as u32 - 1
            }
        }
    }

    fn get(&self, at: usize) -> Option<&T> {
        self.items.get(at)?.as_ref()
    }

    fn all(&self) -> impl Iterator<Item = (usize, &T)> {
        self.items.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_ref()?)))
    }

    fn restore(&mut self, at: usize, item: T) {
        while self.items.len() <= at {
            self.free.push(self.items.len() as u32);
            self.items.push(None);
        }
        self.free.retain(|&free| free as usize != at);
        self.items[at] = Some(item);
    }

    /// Frees everything that is not marked.
    fn sweep(&mut self, marks: &[bool]) {
        for (at, item) in self.items.iter_mut().enumerate() {
            if item.is_some() && !marks[at] {
                *item = None;
                self.free.push(at as u32);
            }
        }
    }
}

/// Which kind of thing a reference cell leads to, if it is one of the heap's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Object(ObjectId),
    Exception(ExnId),
}

/// What a cell of this type leads to.
pub(crate) fn target(ty: ValType, cell: Cell) -> Option<Target> {
    let ValType::Ref(RefType { heap, .. }) = ty else { return None };
    match heap {
        HeapType::Func | HeapType::NoFunc => None,
        HeapType::Exn | HeapType::NoExn => {
            let exn = u32::try_from(cell.0.checked_sub(1)?).ok()?;
            Some(Target::Exception(ExnId::new(exn)))
        }
        _ => match InternalRef::from_cell(cell) {
            Some(InternalRef::Object(object)) => Some(Target::Object(object)),
            _ => None,
        },
    }
}

/// All objects and exceptions of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap {
    objects: Arena<Object>,
    exceptions: Arena<Exception>,
    /// Bytes in use, roughly.
    used: usize,
    /// Bytes in use after the last collection.
    kept: usize,
    /// What the host has seen.
    pins: BTreeSet<Target>,
}

impl Heap {
    /// Bytes counted for each object besides its own.
    const OVERHEAD: usize = 40;
    /// Bytes allocated between two collections, at least.
    const YOUNG: usize = 1 << 20;

    /// Whether it is time to look for what is no longer used.
    pub(crate) fn is_due(&self) -> bool {
        self.used >= self.kept * 2 + Self::YOUNG
    }

    /// Bytes in use, roughly.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn new_object(&mut self, object: Object) -> ObjectId {
        self.used += object.bytes.len() + Self::OVERHEAD;
        ObjectId::new(self.objects.insert(object))
    }

    pub(crate) fn new_exception(&mut self, exception: Exception) -> ExnId {
        self.used += exception.args.len() * 8 + Self::OVERHEAD;
        ExnId::new(self.exceptions.insert(exception))
    }

    pub(crate) fn object(&self, object: ObjectId) -> Option<&Object> {
        self.objects.get(object.index())
    }

    pub(crate) fn object_mut(&mut self, object: ObjectId) -> Option<&mut Object> {
        self.objects.items.get_mut(object.index())?.as_mut()
    }

    pub(crate) fn exception(&self, exn: ExnId) -> Option<&Exception> {
        self.exceptions.get(exn.index())
    }

    /// All objects with their numbers.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (ObjectId, &Object)> {
        self.objects.all().map(|(at, object)| (ObjectId::from_index(at), object))
    }

    /// All exceptions with their numbers.
    pub(crate) fn exceptions(&self) -> impl Iterator<Item = (ExnId, &Exception)> {
        self.exceptions.all().map(|(at, exception)| (ExnId::from_index(at), exception))
    }

    /// What the host has seen.
    pub(crate) fn pins(&self) -> impl Iterator<Item = Target> + '_ {
        self.pins.iter().copied()
    }

    /// Puts an object where it was in another heap.
    pub(crate) fn restore_object(&mut self, id: ObjectId, object: Object) {
        self.used += object.bytes.len() + Self::OVERHEAD;
        self.objects.restore(id.index(), object);
    }

    /// Puts an exception where it was in another heap.
    pub(crate) fn restore_exception(&mut self, id: ExnId, exception: Exception) {
        self.used += exception.args.len() * 8 + Self::OVERHEAD;
        self.exceptions.restore(id.index(), exception);
    }

    /// Keeps what a cell of this type leads to for good.
    pub(crate) fn pin(&mut self, ty: ValType, cell: Cell) {
        self.pins.extend(target(ty, cell));
    }

    /// Keeps an exception for good.
    pub(crate) fn pin_exception(&mut self, exn: ExnId) {
        self.pins.insert(Target::Exception(exn));
    }

    /// Frees what cannot be reached from `roots`.
    pub(crate) fn collect(&mut self, types: &Types, roots: impl Iterator<Item = Target>) {
        let mut objects = vec![false; self.objects.items.len()];
        let mut exceptions = vec![false; self.exceptions.items.len()];
        let mut pending: Vec<Target> = roots.chain(self.pins.iter().copied()).collect();
        let mut used = 0;
        while let Some(next) = pending.pop() {
            match next {
                Target::Object(id) => {
                    let Some(object) = self.objects.get(id.index()) else { continue };
                    if std::mem::replace(&mut objects[id.index()], true) {
                        continue;
                    }
                    used += object.bytes.len() + Self::OVERHEAD;
                    references(types, object, &mut pending);
                }
                Target::Exception(id) => {
                    let Some(exception) = self.exceptions.get(id.index()) else { continue };
                    if std::mem::replace(&mut exceptions[id.index()], true) {
                        continue;
                    }
                    used += exception.args.len() * 8 + Self::OVERHEAD;
                    let mut cells = &exception.args[..];
                    for ty in &exception.types {
                        pending.extend(target(*ty, cells[0]));
                        cells = &cells[ty.cells()..];
                    }
                }
            }
        }
        self.objects.sweep(&objects);
        self.exceptions.sweep(&exceptions);
        self.used = used;
        self.kept = used;
    }
}

/// Adds what an object's fields lead to.
fn references(types: &Types, object: &Object, found: &mut Vec<Target>) {
    let ty = types.get(object.ty);
    let mut field = |start: usize, storage: StorageType| {
        if let StorageType::Val(ty @ ValType::Ref(_)) = storage {
            found.extend(target(ty, read_field(&object.bytes[start..], storage)[0]));
        }
    };
    match ty.definition.composite {
        CompositeType::Array(element) => {
            if matches!(element.storage, StorageType::Val(ValType::Ref(_))) {
                for at in 0..object.length as usize {
                    field(at * ty.layout.size, element.storage);
                }
            }
        }
        _ => ty.layout.fields.iter().for_each(|&(start, storage)| field(start, storage)),
    }
}

/// The cells of a field at the start of `bytes`, packed ones zero-extended;
/// the second is 0 for all but vectors.
pub(crate) fn read_field(bytes: &[u8], storage: StorageType) -> [Cell; 2] {
    let mut cells = [0; 16];
    let length = storage.bytes();
    cells[..length].copy_from_slice(&bytes[..length]);
    let bits = u128::from_le_bytes(cells);
    [Cell(bits as u64), Cell((bits >> 64) as u64)]
}

/// Sets a field at the start of `bytes`; packed ones are truncated.
pub(crate) fn write_field(bytes: &mut [u8], storage: StorageType, cells: &[Cell]) {
    let low = cells[0].0;
    match storage.bytes() {
        16 => {
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[8..16].copy_from_slice(&cells[1].0.to_le_bytes());
        }
        length => bytes[..length].copy_from_slice(&low.to_le_bytes()[..length]),
    }
}
