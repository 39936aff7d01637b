//! What is not supported is refused by name and place; what is wrong is called
//! wrong.

mod support;

use aot_backend::{CompileError, CompileOptions, compile};
use support::{refusal, wasm};

#[test]
fn unsupported_features_are_named() {
    let cases = [("gc", "(module (type (struct)))"), ("gc", "(module (func (param anyref)))")];
    for (name, text) in cases {
        match refusal(text) {
            CompileError::Unsupported { feature, offset } => {
                assert!(feature.to_lowercase().contains(&name.to_lowercase()), "{name}: {feature}");
                assert!(offset.get() >= 8, "{feature} at {offset}");
            }
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn the_place_is_that_of_the_first_use() {
    let text = "(module (func nop nop i32.const 7 ref.i31 drop))";
    let bytes = wasm(text);
    let at = bytes.windows(2).position(|pair| pair == [0xfb, 0x1c]).expect("ref.i31");
    match refusal(text) {
        CompileError::Unsupported { offset, .. } => assert_eq!(offset.get() as usize, at),
        other => panic!("{other}"),
    }
}

#[test]
fn invalid_is_not_unsupported() {
    let text = "(module (func (result i32) i64.const 1))";
    assert!(matches!(refusal(text), CompileError::Invalid { .. }));
    let error = compile(b"no module at all", &CompileOptions::default());
    assert!(matches!(error, Err(CompileError::Invalid { .. })));
    assert!(matches!(compile(b"", &CompileOptions::default()), Err(CompileError::Invalid { .. })));
}

/// Locals by the ten thousand at every boundary are too much; a function that
/// has them but does little is not.
#[test]
fn sizes_are_limited() {
    let locals = "i64 ".repeat(40_000);
    let short = format!("(module (func (local {locals}) nop))");
    assert!(compile(&wasm(&short), &CompileOptions::default()).is_ok());
    let long = format!("(module (func (local {locals}) {}))", "nop ".repeat(2_000));
    assert!(matches!(refusal(&long), CompileError::TooLarge { .. }));
}

#[test]
fn an_empty_module_compiles() {
    let image = compile(&wasm("(module)"), &CompileOptions::default()).expect("compiles");
    assert!(image.map.functions.is_empty());
    // What instantiates it, and the entry to call that by.
    assert_eq!(image.map.entries.len(), 1);
    assert!(image.instantiate.is_some_and(|code| !code.is_empty()));
}

/// Everything that is supported beyond the first version of Wasm.
#[test]
fn supported_extensions_compile() {
    for text in [
        "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        "(module (func (export \"f\") (param externref) (result externref) local.get 0))",
        "(module (table 1 externref) (table 1 funcref) (elem declare func 0) (func
           (table.set 0 (i32.const 0) (ref.null extern)) (table.set 1 (i32.const 0) (ref.func 0))))",
        "(module (import \"m\" \"g\" (global $g (mut i64))) (func (global.set $g (global.get $g))))",
        "(module (import \"m\" \"t\" (table 1 funcref)) (import \"m\" \"m\" (memory 1)) (func
           (drop (i64.load32_s (i32.const 0))) (call_indirect (i32.const 0))))",
        "(module (func (export \"f\") (param f32 f64 i32 i64) (result i32 i64)
           (i32.add (i32.trunc_sat_f32_s (local.get 0)) (i32.extend8_s (local.get 2)))
           (i64.add (i64.trunc_sat_f64_u (local.get 1)) (i64.extend32_s (local.get 3)))))",
        "(module (func $start) (start $start))",
    ] {
        if let Err(error) = compile(&wasm(text), &CompileOptions::default()) {
            panic!("{text}: {error}");
        }
    }
}
