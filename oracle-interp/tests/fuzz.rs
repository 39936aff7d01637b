//! The fuzz target's logic on a second's worth of generated modules.

#[path = "support/generate.rs"]
mod generate;

use generate::{damage, generate};
use oracle_interp::exercise::{Exercised, exercise};

#[test]
fn generated_modules_keep_the_invariants() {
    let mut all = Exercised::default();
    for seed in 0..300 {
        all.add(exercise(&generate(seed), 500).unwrap());
    }
    assert!(all.instructions > 1000, "{all:?}");
    for outcome in ["module: executed", "call: returned", "call trapped: unreachable"] {
        assert!(all.outcomes.contains_key(outcome), "{outcome}: {all:?}");
    }
}

#[test]
fn damaged_modules_do_no_harm() {
    let mut all = Exercised::default();
    for seed in 0..100 {
        let bytes = generate(seed);
        all.add(exercise(&damage(&bytes, seed), 200).unwrap());
        all.add(exercise(&bytes[..bytes.len() / 2], 200).unwrap());
    }
    assert!(all.outcomes.contains_key("module: invalid"), "{all:?}");
}
