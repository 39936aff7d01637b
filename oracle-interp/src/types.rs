//! Defined types: functions, structures, arrays, and when one is another.
//!
//! Types are compared by structure, one recursion group at a time (core spec,
//! "Type Equivalence"). Each module numbers its types for itself, so a store
//! keeps a table of its own in which equal groups exist once; what is in the
//! store (objects, functions, tables, globals, tags) has types of that table,
//! and comparing two of them is comparing two numbers. An instance knows which
//! number each of its module's types has.

use std::collections::HashMap;
use std::ops::Range;
use wasm_view::{FuncType, HeapType, RefType, TypeIdx, ValType};

/// A type of the type section.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DefinedType {
    /// What it is.
    pub composite: CompositeType,
    /// What it declares itself a subtype of.
    pub supertype: Option<TypeIdx>,
    /// Whether nothing may be a subtype of it.
    pub is_final: bool,
}

/// The kinds of defined types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompositeType {
    /// A function.
    Func(FuncType),
    /// A structure with these fields.
    Struct(Vec<FieldType>),
    /// An array of these.
    Array(FieldType),
}

/// A field of a structure, or the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldType {
    /// What it holds.
    pub storage: StorageType,
    /// Whether it may be set.
    pub mutable: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// 8 bits of an i32.
    I8,
    /// 16 bits of an i32.
    I16,
    /// A value.
    Val(ValType),
}

impl StorageType {
    /// Bytes that it takes in an object.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            StorageType::I8 => 1,
            StorageType::I16 => 2,
            StorageType::Val(ty) => ty.bytes(),
        }
    }

    /// The type of the value that an access to it has.
    pub const fn unpacked(self) -> ValType {
        match self {
            StorageType::I8 | StorageType::I16 => ValType::I32,
            StorageType::Val(ty) => ty,
        }
    }

    fn map(self, map: &impl Fn(TypeIdx) -> TypeIdx) -> StorageType {
        match self {
            StorageType::Val(ty) => StorageType::Val(map_val(ty, map)),
            packed => packed,
        }
    }
}

impl DefinedType {
    /// A function type that is final and has no supertype.
    pub fn function(ty: FuncType) -> DefinedType {
        DefinedType { composite: CompositeType::Func(ty), supertype: None, is_final: true }
    }

    /// The function type, if it is one.
    pub fn as_func(&self) -> Option<&FuncType> {
        match &self.composite {
            CompositeType::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The same type with all indices renamed.
    fn map(&self, map: &impl Fn(TypeIdx) -> TypeIdx) -> DefinedType {
        let field = |field: &FieldType| FieldType { storage: field.storage.map(map), ..*field };
        let composite = match &self.composite {
            CompositeType::Func(ty) => CompositeType::Func(map_func(ty, map)),
            CompositeType::Struct(fields) => {
                CompositeType::Struct(fields.iter().map(field).collect())
            }
            CompositeType::Array(element) => CompositeType::Array(field(element)),
        };
        DefinedType { composite, supertype: self.supertype.map(map), is_final: self.is_final }
    }
}

/// A reference type with its index renamed, if it has one.
pub(crate) fn map_ref(ty: RefType, map: &impl Fn(TypeIdx) -> TypeIdx) -> RefType {
    match ty.heap {
        HeapType::Concrete(index) => RefType { heap: HeapType::Concrete(map(index)), ..ty },
        _ => ty,
    }
}

/// A value type with its index renamed, if it has one.
pub(crate) fn map_val(ty: ValType, map: &impl Fn(TypeIdx) -> TypeIdx) -> ValType {
    match ty {
        ValType::Ref(ty) => ValType::Ref(map_ref(ty, map)),
        ty => ty,
    }
}

/// A function type with all indices renamed.
pub(crate) fn map_func(ty: &FuncType, map: &impl Fn(TypeIdx) -> TypeIdx) -> FuncType {
    FuncType {
        params: ty.params.iter().map(|ty| map_val(*ty, map)).collect(),
        results: ty.results.iter().map(|ty| map_val(*ty, map)).collect(),
    }
}

/// Where the fields of a structure lie in an object, in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Start and type of each field; one for an array's elements.
    pub(crate) fields: Vec<(usize, StorageType)>,
    /// Bytes of a structure, or of one element.
    pub(crate) size: usize,
}

impl Layout {
    fn new(composite: &CompositeType) -> Layout {
        let fields = match composite {
            CompositeType::Func(_) => &[][..],
            CompositeType::Struct(fields) => fields,
            CompositeType::Array(element) => std::slice::from_ref(element),
        };
        let mut layout = Layout::default();
        for field in fields {
            layout.fields.push((layout.size, field.storage));
            layout.size += field.storage.bytes();
        }
        layout
    }
}

/// A type of a store.
#[derive(Clone, Debug)]
pub(crate) struct StoreType {
    pub(crate) definition: DefinedType,
    pub(crate) layout: Layout,
}

/// The types of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types {
    types: Vec<StoreType>,
    /// First type of each recursion group, by the group's structure.
    groups: HashMap<Vec<DefinedType>, u32>,
}

/// In a group's key, marks an index as counted from the group's start.
const IN_GROUP: u32 = 1 << 31;

impl Types {
    /// Numbers a module's types. `groups` are its recursion groups in order.
    pub(crate) fn add(&mut self, types: &[DefinedType], groups: &[Range<u32>]) -> Vec<TypeIdx> {
        let mut ids: Vec<TypeIdx> = Vec::with_capacity(types.len());
        for group in groups {
            let rename = |index: TypeIdx| match index.get().checked_sub(group.start) {
                Some(within) => TypeIdx::new(within | IN_GROUP),
                None => ids[index.index()],
            };
            let members = &types[group.start as usize..group.end as usize];
            let key: Vec<DefinedType> = members.iter().map(|ty| ty.map(&rename)).collect();
            let next = self.types.len() as u32;
            let first = *self.groups.entry(key).or_insert_with_key(|key| {
                for ty in key {
                    let definition = ty.map(&|index| match index.get() & IN_GROUP {
                        0 => index,
                        _ => TypeIdx::new(next + (index.get() & !IN_GROUP)),
                    });
                    let layout = Layout::new(&definition.composite);
                    self.types.push(StoreType { definition, layout });
                }
                next
            });
            ids.extend((0..group.end - group.start).map(|within| TypeIdx::new(first + within)));
        }
        ids
    }

    /// How many types there are.
    pub(crate) fn len(&self) -> usize {
        self.types.len()
    }

    /// Forgets all types from the `len`-th on, which must be a group's first.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.types.truncate(len);
        self.groups.retain(|_, first| (*first as usize) < len);
    }

    pub(crate) fn get(&self, ty: TypeIdx) -> &StoreType {
        &self.types[ty.index()]
    }

    pub(crate) fn func(&self, ty: TypeIdx) -> Option<&FuncType> {
        self.types.get(ty.index())?.definition.as_func()
    }

    /// Whether `ty` is `of` or declares itself, perhaps through others, a
    /// subtype of it.
    pub(crate) fn is_sub(&self, ty: TypeIdx, of: TypeIdx) -> bool {
        let mut at = Some(ty);
        while let Some(ty) = at {
            if ty == of {
                return true;
            }
            at = self.get(ty).definition.supertype;
        }
        false
    }

    /// Core spec, "Heap Types" under "Matching".
    pub(crate) fn is_sub_heap(&self, heap: HeapType, of: HeapType) -> bool {
        use HeapType as H;
        if heap == of {
            return true;
        }
        match (heap, of) {
            (H::Concrete(ty), H::Concrete(of)) => self.is_sub(ty, of),
            (H::Concrete(ty), of) => match self.get(ty).definition.composite {
                CompositeType::Func(_) => of == H::Func,
                CompositeType::Struct(_) => matches!(of, H::Struct | H::Eq | H::Any),
                CompositeType::Array(_) => matches!(of, H::Array | H::Eq | H::Any),
            },
            (H::None, H::Concrete(of)) => self.func(of).is_none(),
            (H::NoFunc, H::Concrete(of)) => self.func(of).is_some(),
            (H::None, H::Any | H::Eq | H::I31 | H::Struct | H::Array)
            | (H::I31 | H::Struct | H::Array, H::Eq | H::Any)
            | (H::Eq, H::Any)
            | (H::NoFunc, H::Func)
            | (H::NoExtern, H::Extern)
            | (H::NoExn, H::Exn) => true,
            _ => false,
        }
    }

    /// Core spec, "Reference Types" under "Matching".
    pub(crate) fn is_sub_ref(&self, ty: RefType, of: RefType) -> bool {
        (of.nullable || !ty.nullable) && self.is_sub_heap(ty.heap, of.heap)
    }

    /// Core spec, "Value Types" under "Matching".
    pub(crate) fn is_sub_val(&self, ty: ValType, of: ValType) -> bool {
        match (ty, of) {
            (ValType::Ref(ty), ValType::Ref(of)) => self.is_sub_ref(ty, of),
            (ty, of) => ty == of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(params: Vec<ValType>) -> DefinedType {
        DefinedType::function(FuncType { params, results: Vec::new() })
    }

    #[test]
    fn equal_groups_have_equal_numbers() {
        let to = |index| ValType::Ref(RefType::nullable(HeapType::Concrete(TypeIdx::new(index))));
        let mut types = Types::default();
        let first = types.add(&[function(vec![to(0)]), function(vec![to(0)])], &[0..1, 1..2]);
        assert_ne!(first[0], first[1]);
        // The same recursive type behind another one.
        let second = types.add(&[function(vec![]), function(vec![to(1)])], &[0..1, 1..2]);
        assert_eq!(second[1], first[0]);
        // In a group of two it is another type.
        let group = std::iter::once(0..2).collect::<Vec<_>>();
        let third = types.add(&[function(vec![to(0)]), function(vec![])], &group);
        assert_ne!(third[0], first[0]);
    }

    #[test]
    fn matching_follows_the_hierarchies() {
        let mut types = Types::default();
        let array = CompositeType::Array(FieldType { storage: StorageType::I8, mutable: true });
        let base = DefinedType { composite: array, supertype: None, is_final: false };
        let derived = DefinedType { supertype: Some(TypeIdx::new(0)), ..base.clone() };
        let ids = types.add(&[base, derived, function(vec![])], &[0..1, 1..2, 2..3]);
        let heap = |index: usize| HeapType::Concrete(ids[index]);
        assert!(types.is_sub_heap(heap(1), heap(0)));
        assert!(!types.is_sub_heap(heap(0), heap(1)));
        assert!(types.is_sub_heap(heap(1), HeapType::Array));
        assert!(types.is_sub_heap(heap(1), HeapType::Any));
        assert!(!types.is_sub_heap(heap(2), HeapType::Any));
        assert!(types.is_sub_heap(HeapType::NoFunc, heap(2)));
        assert!(!types.is_sub_heap(HeapType::None, heap(2)));
        assert!(
            types.is_sub_ref(RefType::non_null(HeapType::I31), RefType::nullable(HeapType::Eq))
        );
        assert!(
            !types.is_sub_ref(RefType::nullable(HeapType::I31), RefType::non_null(HeapType::Eq))
        );
    }
}
