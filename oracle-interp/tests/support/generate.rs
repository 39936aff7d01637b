//! Modules by seed: generated ones, and damage to any.

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Bytes for the generator, reproducible by seed (xorshift64).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A module that uses whatever the generator knows, with functions and nothing
/// else as imports, so that most execute. Empty where the generator wanted other
/// bytes.
pub fn generate(seed: u64) -> Vec<u8> {
    let config = Config {
        max_imports: 0,
        min_funcs: 1,
        export_everything: true,
        exceptions_enabled: true,
        gc_enabled: true,
        memory64_enabled: true,
        max_memories: 3,
        relaxed_simd_enabled: true,
        simd_enabled: true,
        tail_call_enabled: true,
        threads_enabled: true,
        wide_arithmetic_enabled: true,
        custom_page_sizes_enabled: true,
        extended_const_enabled: true,
        reference_types_enabled: true,
        ..Config::default()
    };
    let bytes = noise(seed, 4096);
    Module::new(config, &mut Unstructured::new(&bytes))
        .map_or(Vec::new(), |module| module.to_bytes())
}

/// The same bytes with some of them changed, behind the header.
pub fn damage(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let noise = noise(!seed, 20);
    let count = 1 + usize::from(noise[0] % 4);
    let span = damaged.len().saturating_sub(8).max(1);
    for change in noise[1..].chunks_exact(4).take(count) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize % span;
        if let Some(byte) = damaged.get_mut(8 + at) {
            *byte ^= change[3] | 1;
        }
    }
    damaged
}
