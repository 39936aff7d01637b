//! The fuzz target's logic on a second's worth of generated modules.

use arbitrary::Unstructured;
use oracle_interp::selfcheck;
use wasm_smith::{Config, Module};

/// Bytes for the generator, reproducible by seed (xorshift64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
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

/// A generated module; nothing where the generator wanted other bytes.
fn generate(seed: u64, config: Config) -> Vec<u8> {
    let bytes = noise(seed, 4096);
    Module::new(config, &mut Unstructured::new(&bytes))
        .map_or(Vec::new(), |module| module.to_bytes())
}

/// Features within our scope, functions only as imports, so that most modules
/// execute.
fn supported() -> Config {
    Config {
        max_imports: 0,
        min_funcs: 1,
        export_everything: true,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        gc_enabled: false,
        reference_types_enabled: true,
        exceptions_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        max_memories: 1,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}

#[test]
fn generated_modules_keep_the_invariants() {
    let mut executed = 0;
    for seed in 0..300 {
        executed += selfcheck::exercise(&generate(seed, supported()), 500).unwrap();
    }
    assert!(executed > 1000, "only {executed} instructions were executed");
}

#[test]
fn modules_beyond_our_scope_are_refused_in_order() {
    for seed in 0..100 {
        selfcheck::exercise(&generate(seed, Config::default()), 500).unwrap();
    }
}

#[test]
fn damaged_modules_do_no_harm() {
    for seed in 0..100 {
        let mut bytes = generate(seed, supported());
        for position in noise(!seed, 4).into_iter().map(usize::from) {
            if let Some(byte) = bytes.get_mut(8 + position) {
                *byte ^= 1 << (seed % 8);
            }
        }
        selfcheck::exercise(&bytes, 200).unwrap();
        let half = bytes.len() / 2;
        selfcheck::exercise(&bytes[..half], 200).unwrap();
    }
}
