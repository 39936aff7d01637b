//! Generated modules: wasm-smith's, from a seed.
//!
//! [`Features`] is the one list of what is generated. It grows with the
//! oracle: a feature is switched on when the oracle decodes it. (Switched on
//! too early it does no harm but to coverage: modules are refused by name.)

use arbitrary::Unstructured;
use corpus::SplitMix64;
use wasm_smith::{Config, Module};

/// What generated modules may use, beyond Wasm 2.0 without SIMD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// 128-bit vectors.
    pub simd: bool,
    /// Vector instructions with implementation-defined results.
    pub relaxed_simd: bool,
    /// `return_call` and `return_call_indirect`.
    pub tail_calls: bool,
    /// Tags, `throw`, `try_table`.
    pub exceptions: bool,
    /// Memories and tables with 64-bit addresses.
    pub memory64: bool,
    /// More than one memory.
    pub multi_memory: bool,
    /// Structs, arrays, i31; with them typed function references.
    pub gc: bool,
    /// Shared memories and atomic instructions.
    pub threads: bool,
    /// 128-bit integer arithmetic on pairs of i64.
    pub wide_arithmetic: bool,
}

impl Features {
    /// What both sides support today.
    pub const SUPPORTED: Features = Features {
        simd: true,
        relaxed_simd: true,
        tail_calls: true,
        exceptions: true,
        memory64: true,
        multi_memory: true,
        gc: true,
        threads: true,
        wide_arithmetic: true,
    };

    /// Everything that Wasmtime supports.
    pub const ALL: Features = Features {
        simd: true,
        relaxed_simd: true,
        tail_calls: true,
        exceptions: true,
        memory64: true,
        multi_memory: true,
        gc: true,
        threads: true,
        wide_arithmetic: true,
    };
}

/// What generated modules may import. Functions return zeros; the rest comes
/// from a module made for it.
const IMPORTS: &str = r#"(module
    (import "h" "none" (func))
    (import "h" "one" (func (param i32) (result i32)))
    (import "h" "mixed" (func (param i64 f32 f64 i32) (result f64)))
    (import "h" "two" (func (param f32) (result i64 i32)))
    (import "h" "refs" (func (param funcref externref) (result externref)))
    (import "h" "memory" (memory 1 4))
    (import "h" "functions" (table 3 20 funcref))
    (import "h" "externals" (table 2 9 externref))
    (import "h" "constant" (global i32))
    (import "h" "double" (global (mut f64)))
    (import "h" "reference" (global (mut funcref))))"#;

/// The module of a seed; `None` where the generator wants other bytes.
///
/// Every third module is generated so that it rarely traps, and runs longer;
/// the sizes vary with the seed. NaNs are never canonicalised.
pub fn module(seed: u64, features: Features) -> Option<Vec<u8>> {
    let mut rng = SplitMix64::new(seed);
    let length = 1024 << rng.below(5);
    let mut config = config(seed, features);
    config.max_instructions = [60, 150, 400][rng.below(3)];
    if rng.below(3) == 0 {
        config.available_imports = wat::parse_str(IMPORTS).ok();
        config.max_imports = 8;
    }
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.next_u64().to_le_bytes())
        .take(length / 8)
        .flatten()
        .collect();
    let module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    Some(module.to_bytes())
}

fn config(seed: u64, features: Features) -> Config {
    Config {
        max_imports: 0,
        min_funcs: 1,
        max_funcs: 12,
        export_everything: true,
        allow_start_export: true,
        canonicalize_nans: false,
        disallow_traps: seed.is_multiple_of(3),
        memory_max_size_required: true,
        table_max_size_required: true,
        max_memory32_bytes: 8 * 65_536,
        max_memory64_bytes: 8 * 65_536,
        max_table_elements: 1000,
        max_memories: if features.multi_memory { 3 } else { 1 },
        max_tables: 3,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        extended_const_enabled: true,
        simd_enabled: features.simd,
        relaxed_simd_enabled: features.relaxed_simd,
        tail_call_enabled: features.tail_calls,
        exceptions_enabled: features.exceptions,
        memory64_enabled: features.memory64,
        gc_enabled: features.gc,
        threads_enabled: features.threads,
        wide_arithmetic_enabled: features.wide_arithmetic,
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        custom_descriptors_enabled: false,
        ..Config::default()
    }
}
