//! A short run of the witness, and proof that it finds what is wrong.

use oracle_witness::smith::{self, Features};
use oracle_witness::{Options, Outcome, Perturbation, compare, engine, programs};

fn quick() -> Options {
    Options { instructions_per_call: 5_000, ..Options::default() }
}

fn compare_text(text: &str, options: &Options) -> Outcome {
    let wasm = wat::parse_str(text).expect("the test's text is valid");
    compare(&engine::engine().expect("this machine has an engine"), &wasm, options)
}

fn assert_agreement(outcome: &Outcome) {
    for difference in &outcome.differences {
        eprintln!("{difference}");
    }
    assert!(outcome.differences.is_empty());
}

#[test]
fn generated_modules_agree() {
    let engine = engine::engine().expect("this machine has an engine");
    let mut total = Outcome::default();
    for seed in 1..=60 {
        let wasm = smith::module(seed, Features::SUPPORTED).expect("these seeds give modules");
        total.add(compare(&engine, &wasm, &Options { seed, ..quick() }));
    }
    assert_agreement(&total);
    assert_eq!(total.modules + total.refused.values().sum::<u64>(), 60);
    assert!(total.modules >= 55, "{:?}", total.refused);
    assert!(total.stops > 100_000, "only {} stops", total.stops);
    assert!(total.executed.len() > 120, "only {} kinds of instructions", total.executed.len());
    assert!(!total.ends.contains_key("not comparable"), "{:?}", total.not_compared);
    let call_ends = ["return", "trap", "budget of instructions"];
    assert!(call_ends.iter().all(|end| total.ends.contains_key(*end)), "{:?}", total.ends);
}

#[test]
fn programs_agree() {
    let engine = engine::engine().expect("this machine has an engine");
    let mut total = Outcome::default();
    for program in corpus::manifest() {
        let chosen = ["control", "float-ops", "tables", "memory-grow", "bulk", "files", "args"];
        if !chosen.contains(&program.name.as_str()) && !program.name.starts_with("traps/") {
            continue;
        }
        let wasm = program.wasm().expect("the corpus is complete");
        for prepared in programs::prepare(&program.wasm_path(), &quick()).expect("it is readable") {
            total.add(compare(&engine, &wasm, &prepared.options));
        }
    }
    assert_agreement(&total);
    assert!(total.refused.is_empty(), "{:?}", total.refused);
    assert!(total.ends["trap"] > 50, "{:?}", total.ends);
    assert!(total.ends["(host calls returned)"] > 0, "{:?}", total.ends);
    assert!(!total.ends.contains_key("not comparable"), "{:?}", total.not_compared);
}

const LOOP: &str = r#"(module
    (memory 1)
    (func (export "run") (param i32) (result i32) (local i64)
        (loop $again
            (local.set 1 (i64.add (local.get 1) (i64.const 3)))
            (i64.store (i32.const 8) (local.get 1))
            (local.set 0 (i32.add (i32.and (local.get 0) (i32.const 15)) (i32.const 1)))
            (br_if $again (i64.lt_u (local.get 1) (i64.const 900))))
        (local.get 0)))"#;

#[test]
fn a_damaged_slot_is_found_where_it_is() {
    for after in [0, 1, 17, 2000] {
        let options = Options { perturbation: Some((Perturbation::Slot, after)), ..quick() };
        let outcome = compare_text(LOOP, &options);
        let [difference] = &outcome.differences[..] else {
            panic!("after {after}: {:?}", outcome.differences);
        };
        assert_eq!(outcome.stops, after, "{difference}");
        let slot = difference.what.split(' ').next();
        assert!(matches!(slot, Some("local" | "operand")), "{difference}");
        assert_ne!(difference.oracle, difference.wasmtime);
        assert!(difference.place.is_some());
    }
    let whole = Options { instructions_per_call: 20_000, ..quick() };
    let outcome = compare_text(LOOP, &whole);
    assert_agreement(&outcome);
    assert_eq!(outcome.ends["return"], 2, "{:?}", outcome.ends);
}

#[test]
fn a_damaged_byte_is_found_although_nothing_wrote_it() {
    let options = Options { perturbation: Some((Perturbation::Memory, 5)), ..quick() };
    let outcome = compare_text(LOOP, &options);
    let [difference] = &outcome.differences[..] else { panic!("{:?}", outcome.differences) };
    assert_eq!(difference.what, "memory 0 at 0xffff");
    assert!(outcome.stops >= options.whole_state_every, "{difference}");
}

#[test]
fn a_damaged_result_is_found_in_generated_modules() {
    let engine = engine::engine().expect("this machine has an engine");
    let mut found = 0;
    for seed in 1..=20 {
        let wasm = smith::module(seed, Features::SUPPORTED).expect("these seeds give modules");
        let perturbation = Some((Perturbation::Slot, 50));
        let outcome = compare(&engine, &wasm, &Options { seed, perturbation, ..quick() });
        // A module with fewer stops is not damaged.
        assert_eq!(outcome.differences.len(), usize::from(outcome.stops >= 50), "seed {seed}");
        found += outcome.differences.len();
    }
    assert!(found >= 5, "only {found} of the modules were damaged");
}

#[test]
fn abandoned_calls_leave_both_sides_alike() {
    let text = r#"(module
        (global (export "g") (mut i64) (i64.const 0))
        (func (export "forever")
            (loop $l (global.set 0 (i64.add (global.get 0) (i64.const 1))) (br $l)))
        (func (export "read") (result i64) (global.get 0)))"#;
    let outcome = compare_text(text, &quick());
    assert_agreement(&outcome);
    assert_eq!(outcome.ends["budget of instructions"], 2);
    assert_eq!(outcome.ends["return"], 2);
    assert!(outcome.instructions >= 10_000);
}

#[test]
fn parameters_of_an_if_are_compared() {
    let text = r#"(module (func (export "f") (param i32) (result i32)
        (i32.const 100) (local.get 0)
        (if (param i32) (result i32) (i32.and (local.get 0) (i32.const 1))
            (then (i32.const 3) (i32.mul)
                (if (param i32) (result i32) (i32.const 1)
                    (then (i32.const 9) (i32.add)) (else)))
            (else (i32.eqz)))
        (i32.add)))"#;
    let outcome = compare_text(text, &Options { draws: 20, ..quick() });
    assert_agreement(&outcome);
    assert_eq!(outcome.ends["return"], 20, "{:?}", outcome.refused);
    let listed = outcome.not_compared.get("parameters of an `if` that Wasmtime lists twice");
    assert!(listed.is_some_and(|n| *n > 10), "{:?}", outcome.not_compared);
}

#[test]
fn what_is_refused_is_named() {
    let outcome = compare_text("(module (import \"m\" \"t\" (tag)))", &quick());
    assert_eq!(outcome.modules, 0);
    assert_eq!(outcome.refused.len(), 1, "{:?}", outcome.refused);
    let engine = engine::engine().expect("this machine has an engine");
    let outcome = compare(&engine, b"no module", &quick());
    assert_eq!(outcome.refused.keys().collect::<Vec<_>>(), ["invalid on both sides"]);
}
