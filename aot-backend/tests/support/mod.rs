//! What the tests share.
#![allow(dead_code)] // each test needs a part of it

pub mod machine_flow;
pub mod problems;
pub mod wasm_flow;

use aot_backend::{CompileError, CompileOptions, CpuSpec, Image, OptLevel, compile};

/// Programs with every shape of control flow.
pub const CONTROL: &str = include_str!("../wat/control.wat");
/// Programs with every group of operations.
pub const KERNELS: &str = include_str!("../wat/kernels.wat");

/// Vectors wherever a value can be.
pub const VECTORS: &str = include_str!("../../../corpus/programs/vectors/vectors.wat");
/// Every instruction on integer lanes.
pub const LANES: &str = include_str!("../../../corpus/programs/simd-ops/simd-ops.wat");
/// Every instruction on float lanes.
pub const FLOAT_LANES: &str = include_str!("../../../corpus/programs/simd-floats/simd-floats.wat");
/// Loads and stores of vectors and lanes.
pub const VECTOR_MEMORY: &str =
    include_str!("../../../corpus/programs/simd-memory/simd-memory.wat");

pub fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid text")
}

pub fn options(opt: OptLevel, cpu: CpuSpec) -> CompileOptions {
    CompileOptions { opt, cpu, ..CompileOptions::default() }
}

/// Compiles text for the baseline CPU, so that results do not depend on where
/// the tests run.
pub fn image(text: &str, opt: OptLevel) -> Image {
    compile(&wasm(text), &options(opt, CpuSpec::Baseline)).expect("compiles")
}

pub fn refusal(text: &str) -> CompileError {
    compile(&wasm(text), &CompileOptions::default()).expect_err("refused")
}

/// A small deterministic generator (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
