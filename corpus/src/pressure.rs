//! Modules with more live values than the machine has registers.
//!
//! Register allocators go wrong where values are spilled, split and moved, and
//! ordinary generated code hardly makes them: it has few locals and forgets
//! them soon. A function made here has up to some eighty locals of all number
//! types that stay alive around nested loops, expressions that leave a dozen
//! operands waiting, calls in between, and arguments beyond the registers. It
//! terminates: loops count down, and calls go to earlier functions only.

use crate::rng::SplitMix64;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction as I, MemArg, MemorySection, MemoryType, Module,
    TypeSection, ValType,
};

/// Most levels of loops, blocks and conditions.
const DEPTH: usize = 3;

/// Plain operators by their opcodes: no immediates, no traps.
struct Operators {
    unary: &'static [u8],
    binary: &'static [u8],
    /// Binary ones that give an i32.
    compare: &'static [u8],
}

const I32: Operators = Operators {
    unary: &[0x45, 0x67, 0x68, 0x69, 0xc0, 0xc1],
    binary: &[0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78],
    compare: &[0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f],
};
const I64: Operators = Operators {
    unary: &[0x79, 0x7a, 0x7b, 0xc2, 0xc3, 0xc4],
    binary: &[0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a],
    compare: &[0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a],
};
const F32: Operators = Operators {
    unary: &[0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91],
    binary: &[0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98],
    compare: &[0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60],
};
const F64: Operators = Operators {
    unary: &[0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f],
    binary: &[0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6],
    compare: &[0x61, 0x62, 0x63, 0x64, 0x65, 0x66],
};
/// Vector operators, behind the prefix 0xfd: bitwise, integer and float lanes.
const V_UNARY: &[u32] = &[0x4d, 0x60, 0x61, 0xa0, 0xa1, 0xe0, 0xe1, 0xec, 0xed];
const V_BINARY: &[u32] = &[
    0x0e, 0x23, 0x37, 0x39, 0x41, 0x47, 0x4e, 0x4f, 0x50, 0x51, 0x6e, 0x71, 0x8e, 0x91, 0x95, 0xae,
    0xb1, 0xb5, 0xce, 0xd1, 0xd5, 0xe4, 0xe5, 0xe6, 0xe8, 0xf0, 0xf1, 0xf2, 0xf4,
];

/// Conversions to a type: opcode bytes and the type they start from.
fn conversions(to: ValType) -> &'static [(&'static [u8], ValType)] {
    use ValType as T;
    match to {
        T::I32 => &[
            (&[0xa7], T::I64),
            (&[0xbc], T::F32),
            (&[0xfc, 0], T::F32),
            (&[0xfc, 3], T::F64),
            (&[0xfd, 0x1b, 2], T::V128),
            (&[0xfd, 0x16, 9], T::V128),
            (&[0xfd, 0xa4, 0x01], T::V128),
        ],
        T::I64 => &[
            (&[0xac], T::I32),
            (&[0xad], T::I32),
            (&[0xbd], T::F64),
            (&[0xfc, 5], T::F32),
            (&[0xfc, 6], T::F64),
            (&[0xfd, 0x1d, 1], T::V128),
        ],
        T::F32 => &[
            (&[0xb2], T::I32),
            (&[0xb3], T::I32),
            (&[0xb5], T::I64),
            (&[0xb6], T::F64),
            (&[0xbe], T::I32),
            (&[0xfd, 0x1f, 3], T::V128),
        ],
        T::F64 => &[
            (&[0xb7], T::I32),
            (&[0xb8], T::I32),
            (&[0xba], T::I64),
            (&[0xbb], T::F32),
            (&[0xbf], T::I64),
            (&[0xfd, 0x21, 0], T::V128),
        ],
        _ => &[
            (&[0xfd, 0x0f], T::I32),
            (&[0xfd, 0x11], T::I32),
            (&[0xfd, 0x12], T::I64),
            (&[0xfd, 0x13], T::F32),
            (&[0xfd, 0x14], T::F64),
        ],
    }
}

const fn operators(ty: ValType) -> &'static Operators {
    match ty {
        ValType::I32 => &I32,
        ValType::I64 => &I64,
        ValType::F32 => &F32,
        _ => &F64,
    }
}

/// A module of this kind; `vectors` allows 128-bit SIMD. It imports nothing
/// and exports its functions as `f0`, `f1` and so on.
pub fn pressure(seed: u64, vectors: bool) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    let all = [ValType::I32, ValType::I64, ValType::F64, ValType::F32, ValType::V128];
    let kinds = &all[..if vectors { 5 } else { 4 }];
    // Some functions have one type only, which fills one kind of register.
    let kinds = match random.below(3) {
        0 => &all[..2],
        _ => kinds,
    };
    let (mut types, mut functions, mut exports, mut code) =
        <(TypeSection, FunctionSection, ExportSection, CodeSection)>::default();
    let mut globals = GlobalSection::new();
    for ty in kinds {
        globals.global(GlobalType { val_type: *ty, mutable: true, shared: false }, &zero(*ty));
    }
    let mut callees: Vec<(Vec<ValType>, ValType)> = Vec::new();
    for index in 0..1 + random.below(3) as u32 {
        let kind = |random: &mut SplitMix64| kinds[random.below(kinds.len())];
        let count = [2, 6, 12, 20][random.below(4)];
        let params: Vec<ValType> = (0..count).map(|_| kind(&mut random)).collect();
        let result = kind(&mut random);
        types.ty().function(params.iter().copied(), [result]);
        functions.function(index);
        exports.export(&format!("f{index}"), ExportKind::Func, index);
        let mut locals = params.clone();
        locals.extend((0..[4, 16, 40, 64][random.below(4)]).map(|_| kind(&mut random)));
        let counters = locals.len() as u32;
        let declared = locals[params.len()..].iter().copied().chain([ValType::I32; DEPTH]);
        let function = Function::new_with_locals_types(declared);
        let budget = 8 + random.below(40);
        let mut body = Body {
            random: &mut random,
            function,
            kinds,
            locals,
            counters,
            callees: &callees,
            budget,
        };
        body.start();
        body.statements(0, 0);
        body.expression(result, 3);
        body.function.instruction(&I::End);
        code.function(&body.function);
        callees.push((params, result));
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&globals);
    module.section(&exports).section(&code);
    module.finish()
}

fn zero(ty: ValType) -> ConstExpr {
    match ty {
        ValType::I32 => ConstExpr::i32_const(0),
        ValType::I64 => ConstExpr::i64_const(0),
        ValType::F32 => ConstExpr::f32_const(0.0_f32.into()),
        ValType::F64 => ConstExpr::f64_const(0.0_f64.into()),
        _ => ConstExpr::v128_const(0),
    }
}

struct Body<'a> {
    random: &'a mut SplitMix64,
    function: Function,
    kinds: &'a [ValType],
    /// Without the counters of the loops.
    locals: Vec<ValType>,
    /// The first of those.
    counters: u32,
    callees: &'a [(Vec<ValType>, ValType)],
    /// Statements that may still be made.
    budget: usize,
}

impl Body<'_> {
    fn kind(&mut self) -> ValType {
        self.kinds[self.random.below(self.kinds.len())]
    }

    /// Gives every local a value of its own, so that a wrong one shows.
    fn start(&mut self) {
        for local in 0..self.locals.len() {
            if self.random.below(3) > 0 {
                let ty = self.locals[local];
                self.constant(ty);
                self.function.instruction(&I::LocalSet(local as u32));
            }
        }
    }

    /// `depth` counts all levels, `loops` those of loops.
    fn statements(&mut self, depth: usize, loops: usize) {
        for _ in 0..2 + self.random.below(6) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            self.statement(depth, loops);
        }
    }

    fn statement(&mut self, depth: usize, loops: usize) {
        match self.random.below(if depth < DEPTH { 12 } else { 8 }) {
            0 => self.store(),
            1 => {
                let global = self.random.below(self.kinds.len());
                self.expression(self.kinds[global], 2);
                self.function.instruction(&I::GlobalSet(global as u32));
            }
            2 | 3 => self.pile(),
            8 => {
                self.expression(ValType::I32, 2);
                self.function.instruction(&I::If(BlockType::Empty));
                self.statements(depth + 1, loops);
                if self.random.below(2) == 0 {
                    self.function.instruction(&I::Else);
                    self.statements(depth + 1, loops);
                }
                self.function.instruction(&I::End);
            }
            9 => {
                self.function.instruction(&I::Block(BlockType::Empty));
                self.statements(depth + 1, loops);
                self.expression(ValType::I32, 2);
                self.function.instruction(&I::BrIf(0));
                self.statements(depth + 1, loops);
                self.function.instruction(&I::End);
            }
            10 | 11 => {
                let counter = self.counters + loops as u32;
                let times = 1 + self.random.below(5) as i32;
                self.function.instruction(&I::I32Const(times));
                self.function.instruction(&I::LocalSet(counter));
                self.function.instruction(&I::Loop(BlockType::Empty));
                self.statements(depth + 1, loops + 1);
                for instruction in [
                    I::LocalGet(counter),
                    I::I32Const(1),
                    I::I32Sub,
                    I::LocalTee(counter),
                    I::BrIf(0),
                ] {
                    self.function.instruction(&instruction);
                }
                self.function.instruction(&I::End);
            }
            _ => {
                let local = self.random.below(self.locals.len());
                let depth = 1 + self.random.below(4);
                self.expression(self.locals[local], depth);
                self.function.instruction(&I::LocalSet(local as u32));
            }
        }
    }

    /// Many operands that wait for each other.
    fn pile(&mut self) {
        let local = self.random.below(self.locals.len());
        let ty = self.locals[local];
        let height = 4 + self.random.below(20);
        for _ in 0..height {
            let depth = self.random.below(3);
            self.expression(ty, depth);
        }
        for _ in 1..height {
            self.binary(ty);
        }
        self.function.instruction(&I::LocalSet(local as u32));
    }

    fn address(&mut self) -> MemArg {
        self.expression(ValType::I32, 2);
        self.function.instruction(&I::I32Const(0xfff0));
        self.function.instruction(&I::I32And);
        MemArg { offset: self.random.below(16) as u64, align: 0, memory_index: 0 }
    }

    fn store(&mut self) {
        let (ty, at) = (self.kind(), self.address());
        self.expression(ty, 2);
        self.function.instruction(&match ty {
            ValType::I32 => I::I32Store16(at),
            ValType::I64 => I::I64Store(at),
            ValType::F32 => I::F32Store(at),
            ValType::F64 => I::F64Store(at),
            // Sixteen bytes fit behind the highest address only without offset.
            _ => I::V128Store(MemArg { offset: 0, ..at }),
        });
    }

    fn expression(&mut self, ty: ValType, depth: usize) {
        if depth == 0 {
            return self.leaf(ty);
        }
        match self.random.below(14) {
            0 | 1 => self.unary(ty, depth),
            2 => {
                let from = conversions(ty);
                let from: Vec<_> =
                    from.iter().filter(|(_, from)| self.kinds.contains(from)).collect();
                match self.random.pick(&from) {
                    Some((opcode, from)) => {
                        self.expression(*from, depth - 1);
                        self.function.raw(opcode.iter().copied());
                    }
                    None => self.leaf(ty),
                }
            }
            3 => {
                let at = self.address();
                self.function.instruction(&match ty {
                    ValType::I32 => I::I32Load8S(at),
                    ValType::I64 => I::I64Load32U(at),
                    ValType::F32 => I::F32Load(at),
                    ValType::F64 => I::F64Load(at),
                    _ => I::V128Load(MemArg { offset: 0, ..at }),
                });
            }
            4 => {
                self.expression(ty, depth - 1);
                self.expression(ty, depth - 1);
                self.expression(ValType::I32, depth - 1);
                self.function.instruction(&I::Select);
            }
            5 => {
                self.expression(ValType::I32, depth - 1);
                self.function.instruction(&I::If(BlockType::Result(ty)));
                self.expression(ty, depth - 1);
                self.function.instruction(&I::Else);
                self.expression(ty, depth - 1);
                self.function.instruction(&I::End);
            }
            6 => self.call(ty, depth),
            7 => {
                let local = self.random.below(self.locals.len());
                if self.locals[local] == ty {
                    self.expression(ty, depth - 1);
                    self.function.instruction(&I::LocalTee(local as u32));
                } else {
                    self.leaf(ty);
                }
            }
            8 if ty == ValType::I32 => {
                let of = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];
                let of = of[self.random.below(4)];
                self.expression(of, depth - 1);
                self.expression(of, depth - 1);
                let opcode = self.random.pick(operators(of).compare).copied();
                self.function.raw(opcode);
            }
            _ => {
                self.expression(ty, depth - 1);
                self.expression(ty, depth - 1);
                self.binary(ty);
            }
        }
    }

    /// Rarely: what it calls may itself run for a while.
    fn call(&mut self, ty: ValType, depth: usize) {
        let callees = self.callees;
        let fitting = callees.iter().zip(0_u32..).filter(|((_, result), _)| *result == ty);
        let fitting: Vec<_> = fitting.collect();
        match self.random.pick(&fitting).filter(|_| self.budget > 4).copied() {
            Some(((params, _), index)) => {
                self.budget -= 4;
                for param in params {
                    self.expression(*param, depth.min(2) - 1);
                }
                self.function.instruction(&I::Call(index));
            }
            None => self.leaf(ty),
        }
    }

    fn unary(&mut self, ty: ValType, depth: usize) {
        self.expression(ty, depth - 1);
        if ty == ValType::V128 {
            self.vector(V_UNARY);
        } else {
            let opcode = self.random.pick(operators(ty).unary).copied();
            self.function.raw(opcode);
        }
    }

    fn binary(&mut self, ty: ValType) {
        if ty == ValType::V128 {
            self.vector(V_BINARY);
        } else {
            let opcode = self.random.pick(operators(ty).binary).copied();
            self.function.raw(opcode);
        }
    }

    fn vector(&mut self, opcodes: &[u32]) {
        let opcode = self.random.pick(opcodes).copied().unwrap_or_default();
        self.function.raw([0xfd]);
        self.function.raw(crate::sections::write_leb(u64::from(opcode), 1));
    }

    fn leaf(&mut self, ty: ValType) {
        let locals = self.locals.iter().zip(0_u32..).filter(|(local, _)| **local == ty);
        let locals: Vec<u32> = locals.map(|(_, index)| index).collect();
        let global = self.kinds.iter().position(|kind| *kind == ty);
        match (self.random.below(8), self.random.pick(&locals), global) {
            (1.., Some(local), _) => {
                self.function.instruction(&I::LocalGet(*local));
            }
            (_, None, Some(global)) => {
                self.function.instruction(&I::GlobalGet(global as u32));
            }
            _ => self.constant(ty),
        }
    }

    fn constant(&mut self, ty: ValType) {
        let bits = match self.random.below(4) {
            0 => self.random.below(100) as u64,
            1 => (self.random.below(100) as u64).wrapping_neg(),
            _ => self.random.next_u64(),
        };
        // As floats, small numbers and noise alike: NaNs are among the noise.
        let float = match self.random.below(4) {
            0 => bits,
            _ => (bits as i32 as f64).to_bits(),
        };
        self.function.instruction(&match ty {
            ValType::I32 => I::I32Const(bits as i32),
            ValType::I64 => I::I64Const(bits as i64),
            ValType::F32 => I::F32Const((f64::from_bits(float) as f32).into()),
            ValType::F64 => I::F64Const(f64::from_bits(float).into()),
            _ => {
                let high = self.random.next_u64();
                I::V128Const((u128::from(high) << 64 | u128::from(bits)) as i128)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::pressure;

    #[test]
    fn modules_are_valid_and_always_the_same() {
        for seed in 0..300 {
            let module = pressure(seed, seed % 2 == 0);
            if let Err(error) = wasmparser::validate(&module) {
                panic!("seed {seed}: {error}");
            }
            assert_eq!(module, pressure(seed, seed % 2 == 0));
        }
    }
}
