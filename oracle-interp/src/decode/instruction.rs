//! Instructions that are neither control nor in the table of numeric ones.
//!
//! Each becomes one op and changes the static stack as its type says (core
//! spec, "Instructions" under "Validation"). Where an op has no room, the
//! first memory and offsets of 32 bits are the usual case and the rest goes to
//! the pool of rare instructions.

use super::function::Body;
use super::types::{heap_type, val_type};
use super::{Problem, Result};
use crate::op::Op;
use crate::rare::Rare;
use crate::simd::{simd_mem_op, simd_op};
use wasm_view::{AddressType, Cell, FuncIdx, HeapType, MemoryIdx, RefType, TypeIdx, ValType};
use wasmparser::Operator;

impl Body<'_> {
    /// Type of addresses and sizes of a memory.
    pub(super) fn memory_address(&self, memory: u32) -> ValType {
        let ty = self.module.memories.get(memory as usize);
        ty.map_or(AddressType::I32, |ty| ty.address).val_type()
    }

    /// Type of indices and sizes, and of the elements, of a table.
    fn table_types(&self, table: u32) -> (ValType, ValType) {
        let ty = self.module.tables.get(table as usize);
        ty.map_or((ValType::I32, ValType::FUNCREF), |ty| {
            (ty.address.val_type(), ValType::Ref(ty.element))
        })
    }

    /// A reference to a defined type.
    pub(super) fn reference(ty: TypeIdx, nullable: bool) -> ValType {
        ValType::Ref(RefType { nullable, heap: HeapType::Concrete(ty) })
    }

    /// An op by whether the topmost operand takes one cell or two.
    fn by_cells(&self, ty: ValType, one: Op, two: Op) -> Op {
        if ty.cells() == 1 { one } else { two }
    }

    /// First cell and type of a local.
    fn local(&self, index: u32) -> (u32, ValType) {
        let index = index as usize;
        self.scratch
            .local_cells
            .get(index)
            .copied()
            .zip(self.locals.get(index).copied())
            .unwrap_or((0, ValType::I32))
    }

    fn select(&mut self, ty: ValType) -> Result<()> {
        self.plain(self.by_cells(ty, Op::Select, Op::Select2), 3, &[ty])
    }

    fn vector(&mut self, operator: &Operator<'_>) -> Option<Result<()>> {
        if let Some((op, lane)) = simd_op(operator) {
            let immediate = match operator {
                Operator::I8x16Shuffle { lanes } if self.live => {
                    self.module.code.shuffles.push(*lanes);
                    self.module.code.shuffles.len() as u32 - 1
                }
                _ => u32::from(lane),
            };
            let (params, result) = op.signature();
            return Some(self.plain(Op::Simd { op, immediate }, params.len(), &[result.into()]));
        }
        let (op, memarg, lane) = simd_mem_op(operator)?;
        let pops = if op.has_vector_operand() { 2 } else { 1 };
        let results: &[ValType] = if op.is_store() { &[] } else { &[ValType::V128] };
        Some(match u32::try_from(memarg.offset) {
            Ok(offset) if memarg.memory == 0 => {
                self.plain(Op::SimdMemory { op, lane, offset }, pops, results)
            }
            _ => {
                let memory = MemoryIdx::new(memarg.memory);
                let rare = Rare::VectorAccess { op, lane, memory, offset: memarg.offset };
                self.rare(rare, pops, results)
            }
        })
    }

    /// Op, operand count and result of the instructions that programs consist
    /// of, apart from numeric ones and control.
    #[inline(always)]
    pub(super) fn common(&self, operator: &Operator<'_>) -> Option<(Op, u32, Option<ValType>)> {
        use ValType::{F32, I32};
        match operator {
            Operator::LocalGet { local_index } => {
                let (cell, ty) = self.local(*local_index);
                Some((self.by_cells(ty, Op::LocalGet(cell), Op::LocalGet2(cell)), 0, Some(ty)))
            }
            Operator::LocalSet { local_index } => {
                let (cell, ty) = self.local(*local_index);
                Some((self.by_cells(ty, Op::LocalSet(cell), Op::LocalSet2(cell)), 1, None))
            }
            Operator::LocalTee { local_index } => {
                let (cell, ty) = self.local(*local_index);
                Some((self.by_cells(ty, Op::LocalTee(cell), Op::LocalTee2(cell)), 1, Some(ty)))
            }
            Operator::GlobalGet { global_index } => {
                let ty = self.global(*global_index);
                let (one, two) = (Op::GlobalGet(*global_index), Op::GlobalGet2(*global_index));
                Some((self.by_cells(ty, one, two), 0, Some(ty)))
            }
            Operator::GlobalSet { global_index } => {
                let ty = self.global(*global_index);
                let (one, two) = (Op::GlobalSet(*global_index), Op::GlobalSet2(*global_index));
                Some((self.by_cells(ty, one, two), 1, None))
            }
            Operator::I32Const { value } => Some((Op::ConstI32(*value as u32), 0, Some(I32))),
            Operator::F32Const { value } => Some((Op::ConstI32(value.bits()), 0, Some(F32))),
            _ => {
                let Access { op, memarg, result } = access(operator)?;
                let pops = if result.is_some() { 1 } else { 2 };
                Some((op(usual_offset(memarg)?), pops, result))
            }
        }
    }

    fn global(&self, index: u32) -> ValType {
        self.module.globals.get(index as usize).map_or(ValType::I32, |ty| ty.content)
    }

    pub(super) fn call_function(&mut self, func: u32) -> Result<()> {
        let ty = self.module.func_type_index(FuncIdx::new(func)).unwrap_or_default();
        let op = match func.checked_sub(self.module.num_imported_funcs) {
            Some(defined) => Op::Call(defined),
            None => Op::CallImport(func),
        };
        self.call(op, ty, 0)
    }

    /// Everything else with an immediate that is not control.
    pub(super) fn other(&mut self, operator: &Operator<'_>, at: usize) -> Result<()> {
        use ValType::{F64, I32, I64};
        match operator {
            Operator::Nop => self.plain(Op::Nop, 0, &[]),
            Operator::Drop => {
                let ty = self.shapes.top(self.shape).unwrap_or(I32);
                self.plain(self.by_cells(ty, Op::Drop, Op::Drop2), 1, &[])
            }
            Operator::Select => {
                let ty = self.shapes.top(self.shapes.pop(self.shape, 1)).unwrap_or(I32);
                self.select(ty)
            }
            Operator::TypedSelect { ty } => {
                let ty = val_type(at, *ty)?;
                self.select(ty)
            }
            Operator::CallIndirect { type_index, table_index } => {
                let table = small(at, *table_index)?;
                let op = Op::CallIndirect { table, ty: *type_index };
                self.call(op, TypeIdx::new(*type_index), 1)
            }
            Operator::V128Const { value } => {
                if !self.live {
                    return Ok(());
                }
                let bits = u128::from_le_bytes(*value.bytes());
                let first = self.module.code.constants.len() as u32;
                let cells = [Cell(bits as u64), Cell((bits >> 64) as u64)];
                self.module.code.constants.extend(cells);
                self.plain(Op::ConstVector(first), 0, &[ValType::V128])
            }
            Operator::I64Const { value } => self.constant(*value as u64, I64),
            Operator::F64Const { value } => self.constant(value.bits(), F64),
            Operator::RefNull { hty } => {
                let ty = ValType::Ref(RefType::nullable(heap_type(at, *hty)?));
                self.plain(Op::RefNull, 0, &[ty])
            }
            Operator::RefIsNull => self.plain(Op::RefIsNull, 1, &[I32]),
            Operator::RefFunc { function_index } => {
                let ty = self.module.func_type_index(FuncIdx::new(*function_index));
                let ty = Self::reference(ty.unwrap_or_default(), false);
                self.plain(Op::RefFunc(*function_index), 0, &[ty])
            }
            Operator::MemorySize { mem } => {
                let ty = self.memory_address(*mem);
                let usual = self.module.memories.first().is_some_and(|ty| ty.page_log2 == 16);
                if *mem == 0 && usual {
                    self.plain(Op::MemorySize, 0, &[ty])
                } else {
                    self.rare(Rare::MemorySize(MemoryIdx::new(*mem)), 0, &[ty])
                }
            }
            Operator::MemoryGrow { mem } => {
                self.plain(Op::MemoryGrow(*mem), 1, &[self.memory_address(*mem)])
            }
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let destination = small(at, *dst_mem)?;
                self.plain(Op::MemoryCopy { destination, source: *src_mem }, 3, &[])
            }
            Operator::MemoryFill { mem } => self.plain(Op::MemoryFill(*mem), 3, &[]),
            Operator::MemoryInit { data_index, mem } => {
                let memory = small(at, *mem)?;
                self.plain(Op::MemoryInit { memory, data: *data_index }, 3, &[])
            }
            Operator::DataDrop { data_index } => self.plain(Op::DataDrop(*data_index), 0, &[]),
            Operator::TableGet { table } => {
                self.plain(Op::TableGet(*table), 1, &[self.table_types(*table).1])
            }
            Operator::TableSet { table } => self.plain(Op::TableSet(*table), 2, &[]),
            Operator::TableSize { table } => {
                self.plain(Op::TableSize(*table), 0, &[self.table_types(*table).0])
            }
            Operator::TableGrow { table } => {
                self.plain(Op::TableGrow(*table), 2, &[self.table_types(*table).0])
            }
            Operator::TableFill { table } => self.plain(Op::TableFill(*table), 3, &[]),
            Operator::TableCopy { dst_table, src_table } => {
                let destination = small(at, *dst_table)?;
                self.plain(Op::TableCopy { destination, source: *src_table }, 3, &[])
            }
            Operator::TableInit { elem_index, table } => {
                let table = small(at, *table)?;
                self.plain(Op::TableInit { table, elem: *elem_index }, 3, &[])
            }
            Operator::ElemDrop { elem_index } => self.plain(Op::ElemDrop(*elem_index), 0, &[]),
            other => {
                if let Some(Access { op, memarg, result }) = access(other) {
                    let (memory, offset) = (MemoryIdx::new(memarg.memory), memarg.offset);
                    let pops = if result.is_some() { 1 } else { 2 };
                    let rare = Rare::Access { op: op(0), memory, offset };
                    return self.rare(rare, pops, result.as_slice());
                }
                match self.vector(other) {
                    Some(done) => done,
                    None => self.rare_instruction(other, at),
                }
            }
        }
    }
}

/// An index where an op has 16 bits for it.
fn small(at: usize, index: u32) -> Result<u16> {
    u16::try_from(index).map_err(|_| Problem::Limit(at, "more than 65,536 memories or tables"))
}

/// The offset of an access that an op has room for: below 2^32, of the first
/// memory.
#[inline(always)]
fn usual_offset(memarg: &wasmparser::MemArg) -> Option<u32> {
    if memarg.memory == 0 { u32::try_from(memarg.offset).ok() } else { None }
}

/// A load or store of a number.
struct Access<'o> {
    /// By its offset.
    op: fn(u32) -> Op,
    memarg: &'o wasmparser::MemArg,
    /// Of a load.
    result: Option<ValType>,
}

#[inline(always)]
fn access<'o>(operator: &'o Operator<'_>) -> Option<Access<'o>> {
    use ValType::{F32, F64, I32, I64};
    let load = |op, memarg, ty| Some(Access { op, memarg, result: Some(ty) });
    let store = |op, memarg| Some(Access { op, memarg, result: None });
    match operator {
        Operator::I32Load { memarg } => load(Op::I32Load, memarg, I32),
        Operator::I64Load { memarg } => load(Op::I64Load, memarg, I64),
        Operator::F32Load { memarg } => load(Op::I32Load, memarg, F32),
        Operator::F64Load { memarg } => load(Op::I64Load, memarg, F64),
        Operator::I32Load8S { memarg } => load(Op::I32Load8S, memarg, I32),
        Operator::I32Load8U { memarg } => load(Op::I32Load8U, memarg, I32),
        Operator::I32Load16S { memarg } => load(Op::I32Load16S, memarg, I32),
        Operator::I32Load16U { memarg } => load(Op::I32Load16U, memarg, I32),
        Operator::I64Load8S { memarg } => load(Op::I64Load8S, memarg, I64),
        // Zero-extending loads are the same cell for either type.
        Operator::I64Load8U { memarg } => load(Op::I32Load8U, memarg, I64),
        Operator::I64Load16S { memarg } => load(Op::I64Load16S, memarg, I64),
        Operator::I64Load16U { memarg } => load(Op::I32Load16U, memarg, I64),
        Operator::I64Load32S { memarg } => load(Op::I64Load32S, memarg, I64),
        Operator::I64Load32U { memarg } => load(Op::I32Load, memarg, I64),
        Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => {
            store(Op::Store8, memarg)
        }
        Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => {
            store(Op::Store16, memarg)
        }
        Operator::I32Store { memarg }
        | Operator::F32Store { memarg }
        | Operator::I64Store32 { memarg } => store(Op::Store32, memarg),
        Operator::I64Store { memarg } | Operator::F64Store { memarg } => store(Op::Store64, memarg),
        _ => None,
    }
}
