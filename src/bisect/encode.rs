//! Bytes of instructions, types and values, for the modules that bisection makes.

use std::collections::BTreeMap;
use wasm_encoder::{ConstExpr, DataSection, Encode, Ieee32, Ieee64, Instruction, MemArg};
use wasm_view::{AddressType, ValType, Value};

/// Zero bytes between two runs of data that are cheaper than a second segment.
const GAP: u64 = 6;

/// An instruction's encoding.
pub fn bytes_of(instruction: &Instruction<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    instruction.encode(&mut bytes);
    bytes
}

/// Whether values of this type can be constants of a script.
pub fn is_number(ty: ValType) -> bool {
    !matches!(ty, ValType::Ref(_))
}

/// The type as it is written; `None` for references.
pub fn encoded(ty: ValType) -> Option<wasm_encoder::ValType> {
    Some(match ty {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::Ref(_) => return None,
    })
}

/// The instruction that makes a value; `None` for references.
pub fn constant(value: Value) -> Option<Instruction<'static>> {
    Some(match value {
        Value::I32(bits) => Instruction::I32Const(bits as i32),
        Value::I64(bits) => Instruction::I64Const(bits as i64),
        Value::F32(bits) => Instruction::F32Const(Ieee32::new(bits)),
        Value::F64(bits) => Instruction::F64Const(Ieee64::new(bits)),
        Value::V128(bits) => Instruction::V128Const(bits as i128),
        _ => return None,
    })
}

/// Bytes that a load reads.
pub fn load_width(opcode: u8) -> Option<u64> {
    Some(match opcode {
        0x29 | 0x2b => 8,
        0x28 | 0x2a | 0x34 | 0x35 => 4,
        0x2e | 0x2f | 0x32 | 0x33 => 2,
        0x2c | 0x2d | 0x30 | 0x31 => 1,
        _ => return None,
    })
}

/// An unsigned number, and what is behind it.
pub fn leb(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// The number behind the prefix of a vector instruction.
pub fn sub_opcode(bytes: &[u8]) -> Option<u64> {
    leb(bytes.get(1..)?).map(|(number, _)| number)
}

/// The offset of a load's or store's immediate, which has no memory index.
pub fn memarg_offset(bytes: &[u8]) -> Option<u64> {
    let rest = match bytes.first()? {
        0xfd => leb(bytes.get(1..)?)?.1,
        _ => bytes.get(1..)?,
    };
    let (_, rest) = leb(rest)?;
    leb(rest).map(|(offset, _)| offset)
}

/// An address as an instruction of a memory of this type.
pub fn address(ty: AddressType, address: u64) -> Instruction<'static> {
    match ty {
        AddressType::I32 => Instruction::I32Const(address as i32),
        AddressType::I64 => Instruction::I64Const(address as i64),
    }
}

/// Bytes in runs that each begin and end with one that is not zero. Bytes
/// between those are zero, or nobody reads them.
pub fn runs(bytes: &BTreeMap<u64, u8>) -> Vec<(u64, Vec<u8>)> {
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for (&address, &byte) in bytes.iter().filter(|(_, byte)| **byte != 0) {
        match runs.last_mut() {
            Some((start, bytes)) if address - *start - bytes.len() as u64 <= GAP => {
                bytes.resize((address - *start) as usize, 0);
                bytes.push(byte);
            }
            _ => runs.push((address, vec![byte])),
        }
    }
    runs
}

/// The data section of such runs.
pub fn data_section(ty: AddressType, runs: Vec<(u64, Vec<u8>)>) -> DataSection {
    let mut data = DataSection::new();
    for (start, bytes) in runs {
        let offset = match ty {
            AddressType::I32 => ConstExpr::i32_const(start as i32),
            AddressType::I64 => ConstExpr::i64_const(start as i64),
        };
        data.active(0, &offset, bytes);
    }
    data
}

/// Stores that leave these bytes in memory 0.
pub fn writes(ty: AddressType, wrote: &BTreeMap<u64, u8>) -> Vec<Instruction<'static>> {
    let mut code = Vec::new();
    let mut next = wrote.first_key_value().map(|(address, _)| *address);
    while let Some(at) = next {
        let memarg = MemArg { offset: 0, align: 0, memory_index: 0 };
        let word = |length: u64| {
            let bytes = (at..at + length).map(|at| wrote.get(&at).copied());
            bytes.rev().try_fold(0, |word: u64, byte| Some(word << 8 | u64::from(byte?)))
        };
        let length = [8, 4, 2, 1].into_iter().find(|length| word(*length).is_some()).unwrap_or(1);
        let value = word(length).unwrap_or_default();
        code.push(address(ty, at));
        code.extend(match length {
            8 => [Instruction::I64Const(value as i64), Instruction::I64Store(memarg)],
            4 => [Instruction::I32Const(value as i32), Instruction::I32Store(memarg)],
            2 => [Instruction::I32Const(value as i32), Instruction::I32Store16(memarg)],
            _ => [Instruction::I32Const(value as i32), Instruction::I32Store8(memarg)],
        });
        next = wrote.range(at + length..).next().map(|(address, _)| *address);
    }
    code
}
