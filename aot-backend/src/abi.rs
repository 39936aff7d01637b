//! How Wasm values and functions look natively.
//!
//! Wasm functions and thunks have Cranelift's convention `tail`, as Wasmtime
//! gives them: a callee may be called in place of its caller. On x86-64 it is
//! System V with three differences: results are in up to eight registers of
//! each class, arguments on the stack are removed by the callee, which
//! therefore may move its frame to make room for those of a tail call, and an
//! exception handler finds no register preserved. The first parameter is the
//! address of the instance data, the Wasm parameters follow, results are as
//! many as the type has (Cranelift returns what does not fit in registers
//! through a hidden pointer). Entries are System V.

use cranelift_codegen::ir::{AbiParam, Signature, TrapCode, Type, types};
use cranelift_codegen::isa::CallConv;
use dwarf_map::Isa;
use wasm_view::{FuncType, Trap, ValType};

/// Type of addresses and of native references.
pub(crate) const POINTER: Type = types::I64;

/// The native type of a Wasm value.
pub(crate) fn native_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
        ValType::Ref(_) => POINTER,
    }
}

/// The native signature of a Wasm function.
pub(crate) fn signature(ty: &FuncType) -> Signature {
    let param = |&ty: &ValType| AbiParam::new(native_type(ty));
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::new(POINTER));
    signature.params.extend(ty.params.iter().map(param));
    signature.returns.extend(ty.results.iter().map(param));
    signature
}

/// Registers that pass parameters, and those that return results, by class:
/// general ones and vector ones.
const fn registers(isa: Isa) -> ([usize; 2], [usize; 2]) {
    match isa {
        Isa::X86_64 => ([6, 8], [8, 8]),
        Isa::Aarch64 => ([6, 8], [6, 8]),
        Isa::Riscv64 => ([8, 8], [2, 2]),
        // Never asked for: see `stack_arguments_of`.
        Isa::S390x => ([6, 4], [6, 4]),
    }
}
/// Alignment of what is passed on the stack.
const STACK_ALIGNMENT: u32 = 16;

/// Bytes of arguments that a caller of a function of this type has on the
/// stack. This is what Cranelift does, said again: it keeps the figure for
/// itself. The code is held against it where it says so, in its returns.
pub(crate) fn stack_arguments(ty: &FuncType, isa: Isa) -> u32 {
    stack_arguments_of(&signature(ty), isa)
}

/// Likewise, of a function with this native signature.
pub(crate) fn stack_arguments_of(signature: &Signature, isa: Isa) -> u32 {
    // There they lie in the callee's frame, below the frame address.
    if isa == Isa::S390x {
        return 0;
    }
    let (parameter_registers, _) = registers(isa);
    let hidden = has_hidden_pointer(signature, isa);
    // On aarch64 it has a register of its own.
    let hidden = usize::from(hidden && isa != Isa::Aarch64);
    let mut used = [hidden, 0];
    let mut bytes = 0_u32;
    for param in &signature.params {
        let ty = param.value_type;
        if !takes_register(ty, &mut used, parameter_registers) {
            let size = ty.bytes().max(8);
            bytes = bytes.next_multiple_of(size) + size;
        }
    }
    bytes.next_multiple_of(STACK_ALIGNMENT)
}

/// Whether results go through memory, of which the caller passes the address.
fn has_hidden_pointer(signature: &Signature, isa: Isa) -> bool {
    let (_, result_registers) = registers(isa);
    let mut used = [0, 0];
    let in_registers =
        |returned: &AbiParam| takes_register(returned.value_type, &mut used, result_registers);
    !signature.returns.iter().all(in_registers)
}

/// DWARF number of the x86-64 register in which a function of this type is given the
/// address of the instance data: the first one, behind that of the address of
/// its results if it has more of them than registers.
pub fn instance_register(ty: &FuncType) -> u16 {
    const RDI: u16 = 5;
    const RSI: u16 = 4;
    if has_hidden_pointer(&signature(ty), Isa::X86_64) { RSI } else { RDI }
}

fn takes_register(ty: Type, used: &mut [usize; 2], most: [usize; 2]) -> bool {
    let class = usize::from(!ty.is_int());
    let free = used[class] < most[class];
    used[class] += usize::from(free);
    free
}

/// The native signature of an entry: argument instance, code, callee instance.
pub(crate) fn entry_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(POINTER); 3]);
    signature
}

/// Cranelift's number for the trap that is all of a stable point's cold path: none
/// of the program's.
pub(crate) const STABLE_TRAP: TrapCode = TrapCode::unwrap_user(200);

/// Cranelift's number for a trap: ours, which it carries through untouched.
/// Every code is between 1 and 10, far below those that Cranelift reserves.
pub(crate) fn trap_code(trap: Trap) -> TrapCode {
    TrapCode::unwrap_user(trap.code())
}

/// The trap behind a number in a compiled function's trap table.
pub(crate) fn trap_of(code: TrapCode) -> Option<Trap> {
    Some(match code {
        TrapCode::STACK_OVERFLOW => Trap::CallStackExhausted,
        TrapCode::INTEGER_OVERFLOW => Trap::IntegerOverflow,
        TrapCode::HEAP_OUT_OF_BOUNDS => Trap::MemoryOutOfBounds,
        TrapCode::INTEGER_DIVISION_BY_ZERO => Trap::IntegerDivideByZero,
        TrapCode::BAD_CONVERSION_TO_INTEGER => Trap::InvalidConversionToInteger,
        other => return Trap::from_code(other.as_raw().get()),
    })
}

/// What a relocation refers to. Everything in an image is addressed by one of
/// these, carried in Cranelift's two-part user names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Symbol {
    /// A Wasm function defined by the module.
    Function(wasm_view::FuncIdx),
    /// A thunk, by its position among the thunks.
    Thunk(u32),
    /// An entry, by its position among the entries.
    Entry(u32),
    /// The function that instantiates the module.
    Instantiate,
}

impl Symbol {
    /// As Cranelift wants it.
    pub fn name(self) -> cranelift_codegen::ir::UserExternalName {
        let (namespace, index) = match self {
            Symbol::Function(func) => (0, func.get()),
            Symbol::Thunk(index) => (1, index),
            Symbol::Entry(index) => (2, index),
            Symbol::Instantiate => (3, 0),
        };
        cranelift_codegen::ir::UserExternalName::new(namespace, index)
    }

    /// Back from Cranelift.
    pub fn from_name(name: &cranelift_codegen::ir::UserExternalName) -> Option<Self> {
        Some(match name.namespace {
            0 => Symbol::Function(wasm_view::FuncIdx::new(name.index)),
            1 => Symbol::Thunk(name.index),
            2 => Symbol::Entry(name.index),
            3 => Symbol::Instantiate,
            _ => return None,
        })
    }
}
