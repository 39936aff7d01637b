//! Instructions of the rare pool.

use super::function::Body;
use super::types::{heap_type, ref_type};
use super::{Problem, Result, unsupported};
use crate::op::Op;
use crate::rare::{AtomicKind, AtomicOp, Extend, Rare};
use crate::types::CompositeType;
use wasm_view::{
    DataIdx, ElemIdx, FuncIdx, HeapType, MemoryIdx, RefType, TableIdx, TagIdx, TypeIdx, ValType,
};
use wasmparser::Operator;

/// `i32.atomic.rmw8.add_u` and the like: kind, bytes, type of the values.
fn atomic_op<'o>(
    operator: &'o Operator<'_>,
) -> Option<(AtomicOp, &'o wasmparser::MemArg, ValType)> {
    macro_rules! table {
        ($($name:ident $kind:ident $bytes:literal $ty:ident;)*) => {
            match operator {
                $(Operator::$name { memarg } => Some((
                    AtomicOp { kind: AtomicKind::$kind, bytes: $bytes },
                    memarg,
                    ValType::$ty,
                )),)*
                _ => None,
            }
        };
    }
    table! {
        I32AtomicLoad Load 4 I32;
        I64AtomicLoad Load 8 I64;
        I32AtomicLoad8U Load 1 I32;
        I32AtomicLoad16U Load 2 I32;
        I64AtomicLoad8U Load 1 I64;
        I64AtomicLoad16U Load 2 I64;
        I64AtomicLoad32U Load 4 I64;
        I32AtomicStore Store 4 I32;
        I64AtomicStore Store 8 I64;
        I32AtomicStore8 Store 1 I32;
        I32AtomicStore16 Store 2 I32;
        I64AtomicStore8 Store 1 I64;
        I64AtomicStore16 Store 2 I64;
        I64AtomicStore32 Store 4 I64;
        I32AtomicRmwAdd Add 4 I32;
        I64AtomicRmwAdd Add 8 I64;
        I32AtomicRmw8AddU Add 1 I32;
        I32AtomicRmw16AddU Add 2 I32;
        I64AtomicRmw8AddU Add 1 I64;
        I64AtomicRmw16AddU Add 2 I64;
        I64AtomicRmw32AddU Add 4 I64;
        I32AtomicRmwSub Sub 4 I32;
        I64AtomicRmwSub Sub 8 I64;
        I32AtomicRmw8SubU Sub 1 I32;
        I32AtomicRmw16SubU Sub 2 I32;
        I64AtomicRmw8SubU Sub 1 I64;
        I64AtomicRmw16SubU Sub 2 I64;
        I64AtomicRmw32SubU Sub 4 I64;
        I32AtomicRmwAnd And 4 I32;
        I64AtomicRmwAnd And 8 I64;
        I32AtomicRmw8AndU And 1 I32;
        I32AtomicRmw16AndU And 2 I32;
        I64AtomicRmw8AndU And 1 I64;
        I64AtomicRmw16AndU And 2 I64;
        I64AtomicRmw32AndU And 4 I64;
        I32AtomicRmwOr Or 4 I32;
        I64AtomicRmwOr Or 8 I64;
        I32AtomicRmw8OrU Or 1 I32;
        I32AtomicRmw16OrU Or 2 I32;
        I64AtomicRmw8OrU Or 1 I64;
        I64AtomicRmw16OrU Or 2 I64;
        I64AtomicRmw32OrU Or 4 I64;
        I32AtomicRmwXor Xor 4 I32;
        I64AtomicRmwXor Xor 8 I64;
        I32AtomicRmw8XorU Xor 1 I32;
        I32AtomicRmw16XorU Xor 2 I32;
        I64AtomicRmw8XorU Xor 1 I64;
        I64AtomicRmw16XorU Xor 2 I64;
        I64AtomicRmw32XorU Xor 4 I64;
        I32AtomicRmwXchg Exchange 4 I32;
        I64AtomicRmwXchg Exchange 8 I64;
        I32AtomicRmw8XchgU Exchange 1 I32;
        I32AtomicRmw16XchgU Exchange 2 I32;
        I64AtomicRmw8XchgU Exchange 1 I64;
        I64AtomicRmw16XchgU Exchange 2 I64;
        I64AtomicRmw32XchgU Exchange 4 I64;
        I32AtomicRmwCmpxchg CompareExchange 4 I32;
        I64AtomicRmwCmpxchg CompareExchange 8 I64;
        I32AtomicRmw8CmpxchgU CompareExchange 1 I32;
        I32AtomicRmw16CmpxchgU CompareExchange 2 I32;
        I64AtomicRmw8CmpxchgU CompareExchange 1 I64;
        I64AtomicRmw16CmpxchgU CompareExchange 2 I64;
        I64AtomicRmw32CmpxchgU CompareExchange 4 I64;
    }
}

impl Body<'_> {
    /// Type of the values of a structure's field.
    fn field(&self, ty: TypeIdx, field: u32) -> ValType {
        match self.module.types.get(ty.index()).map(|ty| &ty.composite) {
            Some(CompositeType::Struct(fields)) => fields.get(field as usize),
            Some(CompositeType::Array(element)) => Some(element),
            _ => None,
        }
        .map_or(ValType::I32, |field| field.storage.unpacked())
    }

    fn field_count(&self, ty: TypeIdx) -> usize {
        match self.module.types.get(ty.index()).map(|ty| &ty.composite) {
            Some(CompositeType::Struct(fields)) => fields.len(),
            _ => 0,
        }
    }

    /// The topmost operand's reference type.
    fn top_ref(&self) -> RefType {
        match self.shapes.top(self.shape) {
            Some(ValType::Ref(ty)) => ty,
            _ => RefType::nullable(HeapType::Any),
        }
    }

    /// A branch that is taken depending on the topmost operand, which is gone
    /// (`left` is `None`) or has this type if it is not taken.
    fn br_on(
        &mut self,
        depth: u32,
        rare: impl FnOnce(u32) -> Rare,
        carried: usize,
        left: Option<ValType>,
    ) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        let branch = self.side_table_entry(depth);
        let op = self.pooled(rare(branch), 1, left.as_slice());
        self.emit(op);
        self.pop(1);
        let mut types = self.label_types(depth);
        types.truncate(types.len().saturating_sub(carried));
        self.retype(&types)?;
        self.push_all(left.as_slice())
    }

    /// The reference that conversion between the hierarchies yields: the cell
    /// stays as it is.
    fn convert(&mut self, heap: HeapType) -> Result<()> {
        let ty = RefType { heap, ..self.top_ref() };
        self.plain(Op::Nop, 1, &[ValType::Ref(ty)])
    }

    fn cast(&mut self, at: usize, hty: wasmparser::HeapType, nullable: bool) -> Result<RefType> {
        Ok(RefType { nullable, heap: heap_type(at, hty)? })
    }

    /// The callee's index among the functions that the module defines.
    fn defined(&self, func: u32) -> Option<u32> {
        func.checked_sub(self.module.num_imported_funcs)
    }

    pub(super) fn rare_instruction(&mut self, operator: &Operator<'_>, at: usize) -> Result<()> {
        use ValType::{I32, I64};
        match operator {
            // Calls
            Operator::ReturnCall { function_index } => {
                let ty = self.module.func_type_index(FuncIdx::new(*function_index));
                let pops = self.func_type(ty.unwrap_or_default()).0.len();
                let rare = match self.defined(*function_index) {
                    Some(defined) => Rare::ReturnCall(defined),
                    None => Rare::ReturnCallImport(*function_index),
                };
                self.rare_end(rare, pops);
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let (table, ty) = (TableIdx::new(*table_index), TypeIdx::new(*type_index));
                let pops = self.func_type(ty).0.len() + 1;
                self.rare_end(Rare::ReturnCallIndirect { table, ty }, pops);
            }
            Operator::CallRef { type_index } => {
                let ty = TypeIdx::new(*type_index);
                let (params, results) = self.func_type(ty);
                self.rare(Rare::CallRef(ty), params.len() + 1, &results)?;
            }
            Operator::ReturnCallRef { type_index } => {
                let ty = TypeIdx::new(*type_index);
                let pops = self.func_type(ty).0.len() + 1;
                self.rare_end(Rare::ReturnCallRef(ty), pops);
            }
            // Branches
            Operator::BrOnNull { relative_depth } => {
                let left = RefType { nullable: false, ..self.top_ref() };
                self.br_on(*relative_depth, Rare::BrOnNull, 0, Some(ValType::Ref(left)))?;
            }
            Operator::BrOnNonNull { relative_depth } => {
                self.br_on(*relative_depth, Rare::BrOnNonNull, 1, None)?;
            }
            Operator::BrOnCast { relative_depth, from_ref_type, to_ref_type } => {
                let (from, to) = (ref_type(at, *from_ref_type)?, ref_type(at, *to_ref_type)?);
                let left = RefType { nullable: from.nullable && !to.nullable, heap: from.heap };
                let rare = |branch| Rare::BrOnCast { branch, to };
                self.br_on(*relative_depth, rare, 1, Some(ValType::Ref(left)))?;
            }
            Operator::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                let to = ref_type(at, *to_ref_type)?;
                let rare = |branch| Rare::BrOnCastFail { branch, to };
                self.br_on(*relative_depth, rare, 1, Some(ValType::Ref(to)))?;
            }
            // Exceptions
            Operator::Throw { tag_index } => {
                let tag = TagIdx::new(*tag_index);
                let ty = self.module.tags.get(tag.index()).copied().unwrap_or_default();
                self.rare_end(Rare::Throw(tag), self.func_type(ty).0.len());
            }
            Operator::ThrowRef => self.rare_end(Rare::ThrowRef, 1),
            // References
            Operator::RefEq => self.rare(Rare::RefEq, 2, &[I32])?,
            Operator::RefAsNonNull => {
                let ty = RefType { nullable: false, ..self.top_ref() };
                self.rare(Rare::RefAsNonNull, 1, &[ValType::Ref(ty)])?;
            }
            Operator::RefTestNonNull { hty } => {
                let ty = self.cast(at, *hty, false)?;
                self.rare(Rare::RefTest(ty), 1, &[I32])?;
            }
            Operator::RefTestNullable { hty } => {
                let ty = self.cast(at, *hty, true)?;
                self.rare(Rare::RefTest(ty), 1, &[I32])?;
            }
            Operator::RefCastNonNull { hty } => {
                let ty = self.cast(at, *hty, false)?;
                self.rare(Rare::RefCast(ty), 1, &[ValType::Ref(ty)])?;
            }
            Operator::RefCastNullable { hty } => {
                let ty = self.cast(at, *hty, true)?;
                self.rare(Rare::RefCast(ty), 1, &[ValType::Ref(ty)])?;
            }
            Operator::AnyConvertExtern => self.convert(HeapType::Any)?,
            Operator::ExternConvertAny => self.convert(HeapType::Extern)?,
            Operator::RefI31 => {
                let ty = ValType::Ref(RefType::non_null(HeapType::I31));
                self.rare(Rare::RefI31, 1, &[ty])?;
            }
            Operator::I31GetS => self.rare(Rare::I31Get(Extend::Signed), 1, &[I32])?,
            Operator::I31GetU => self.rare(Rare::I31Get(Extend::Unsigned), 1, &[I32])?,
            // Wide arithmetic
            Operator::I64Add128 => self.rare(Rare::I64Add128, 4, &[I64, I64])?,
            Operator::I64Sub128 => self.rare(Rare::I64Sub128, 4, &[I64, I64])?,
            Operator::I64MulWideS => self.rare(Rare::I64MulWideS, 2, &[I64, I64])?,
            Operator::I64MulWideU => self.rare(Rare::I64MulWideU, 2, &[I64, I64])?,
            // Atomic accesses
            Operator::AtomicFence => self.plain(Op::Nop, 0, &[])?,
            Operator::MemoryAtomicNotify { memarg } => {
                let (memory, offset) = (MemoryIdx::new(memarg.memory), memarg.offset);
                self.rare(Rare::Notify { memory, offset }, 2, &[I32])?;
            }
            Operator::MemoryAtomicWait32 { memarg } => {
                let (memory, offset) = (MemoryIdx::new(memarg.memory), memarg.offset);
                self.rare(Rare::Wait { bytes: 4, memory, offset }, 3, &[I32])?;
            }
            Operator::MemoryAtomicWait64 { memarg } => {
                let (memory, offset) = (MemoryIdx::new(memarg.memory), memarg.offset);
                self.rare(Rare::Wait { bytes: 8, memory, offset }, 3, &[I32])?;
            }
            other => match atomic_op(other) {
                Some((op, memarg, ty)) => {
                    let (memory, offset) = (MemoryIdx::new(memarg.memory), memarg.offset);
                    let results = if op.kind == AtomicKind::Store { &[][..] } else { &[ty] };
                    self.rare(Rare::Atomic { op, memory, offset }, op.kind.pops(), results)?;
                }
                None => return self.object_instruction(other, at),
            },
        }
        Ok(())
    }

    /// Structures and arrays.
    fn object_instruction(&mut self, operator: &Operator<'_>, at: usize) -> Result<()> {
        use ValType::I32;
        let ty = TypeIdx::new;
        let new = |ty| Self::reference(ty, false);
        match *operator {
            Operator::StructNew { struct_type_index } => {
                let ty = ty(struct_type_index);
                self.rare(Rare::StructNew(ty), self.field_count(ty), &[new(ty)])
            }
            Operator::StructNewDefault { struct_type_index } => {
                let ty = ty(struct_type_index);
                self.rare(Rare::StructNewDefault(ty), 0, &[new(ty)])
            }
            Operator::StructGet { struct_type_index, field_index: field }
            | Operator::StructGetU { struct_type_index, field_index: field } => {
                let ty = ty(struct_type_index);
                let rare = Rare::StructGet { ty, field, extend: Extend::Unsigned };
                self.rare(rare, 1, &[self.field(ty, field)])
            }
            Operator::StructGetS { struct_type_index, field_index: field } => {
                let ty = ty(struct_type_index);
                let rare = Rare::StructGet { ty, field, extend: Extend::Signed };
                self.rare(rare, 1, &[self.field(ty, field)])
            }
            Operator::StructSet { struct_type_index, field_index: field } => {
                self.rare(Rare::StructSet { ty: ty(struct_type_index), field }, 2, &[])
            }
            Operator::ArrayNew { array_type_index } => {
                let ty = ty(array_type_index);
                self.rare(Rare::ArrayNew(ty), 2, &[new(ty)])
            }
            Operator::ArrayNewDefault { array_type_index } => {
                let ty = ty(array_type_index);
                self.rare(Rare::ArrayNewDefault(ty), 1, &[new(ty)])
            }
            Operator::ArrayNewFixed { array_type_index, array_size: count } => {
                let ty = ty(array_type_index);
                self.rare(Rare::ArrayNewFixed { ty, count }, count as usize, &[new(ty)])
            }
            Operator::ArrayNewData { array_type_index, array_data_index } => {
                let ty = ty(array_type_index);
                let data = DataIdx::new(array_data_index);
                self.rare(Rare::ArrayNewData { ty, data }, 2, &[new(ty)])
            }
            Operator::ArrayNewElem { array_type_index, array_elem_index } => {
                let ty = ty(array_type_index);
                let elem = ElemIdx::new(array_elem_index);
                self.rare(Rare::ArrayNewElem { ty, elem }, 2, &[new(ty)])
            }
            Operator::ArrayGet { array_type_index } | Operator::ArrayGetU { array_type_index } => {
                let ty = ty(array_type_index);
                let rare = Rare::ArrayGet { ty, extend: Extend::Unsigned };
                self.rare(rare, 2, &[self.field(ty, 0)])
            }
            Operator::ArrayGetS { array_type_index } => {
                let ty = ty(array_type_index);
                let rare = Rare::ArrayGet { ty, extend: Extend::Signed };
                self.rare(rare, 2, &[self.field(ty, 0)])
            }
            Operator::ArraySet { array_type_index } => {
                self.rare(Rare::ArraySet(ty(array_type_index)), 3, &[])
            }
            Operator::ArrayLen => self.rare(Rare::ArrayLen, 1, &[I32]),
            Operator::ArrayFill { array_type_index } => {
                self.rare(Rare::ArrayFill(ty(array_type_index)), 4, &[])
            }
            Operator::ArrayCopy { array_type_index_dst, array_type_index_src } => {
                let (destination, source) = (ty(array_type_index_dst), ty(array_type_index_src));
                self.rare(Rare::ArrayCopy { destination, source }, 5, &[])
            }
            Operator::ArrayInitData { array_type_index, array_data_index } => {
                let data = DataIdx::new(array_data_index);
                self.rare(Rare::ArrayInitData { ty: ty(array_type_index), data }, 4, &[])
            }
            Operator::ArrayInitElem { array_type_index, array_elem_index } => {
                let elem = ElemIdx::new(array_elem_index);
                self.rare(Rare::ArrayInitElem { ty: ty(array_type_index), elem }, 4, &[])
            }
            ref other => Err(Problem::Unsupported(at, unsupported::instruction(other))),
        }
    }
}
