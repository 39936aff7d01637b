//! Names for what is valid Wasm but not executed here.
//!
//! A refusal is only useful if it says what to switch off in the producer: the
//! proposal's name, and the instruction or type in the text format's spelling.
//! Instruction names come from wasmparser's own list of operators, so that a
//! newer version's additions are named without a change here.

use wasmparser::{Operator, WasmFeatures};

/// The proposal's usual name, from wasmparser's spelling of it.
fn proposal_name(proposal: &str) -> &str {
    match proposal {
        "simd" => "SIMD",
        "relaxed_simd" => "relaxed SIMD",
        "exceptions" => "exception handling",
        "legacy_exceptions" => "legacy exception handling",
        "gc" => "GC",
        "multi_memory" => "multi-memory",
        "tail_call" => "tail calls",
        "threads" => "threads",
        "shared_everything_threads" => "shared-everything threads",
        "function_references" => "typed function references",
        "stack_switching" => "stack switching",
        "wide_arithmetic" => "wide arithmetic",
        "memory_control" => "memory control",
        "custom_descriptors" => "custom descriptors",
        "mvp" | "reference_types" | "bulk_memory" => "WebAssembly 2.0",
        other => other,
    }
}

/// The text format's mnemonic, from the name of wasmparser's visitor method.
fn mnemonic(visit: &str) -> String {
    const NAMESPACES: &[&str] = &[
        "i32", "i64", "f32", "f64", "v128", "i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2",
        "memory", "table", "local", "global", "data", "elem", "ref", "struct", "array", "any",
        "extern", "i31", "atomic", "cont",
    ];
    let name = visit.strip_prefix("visit_").unwrap_or(visit);
    match name.split_once('_') {
        Some((namespace, rest)) if NAMESPACES.contains(&namespace) => {
            let mut rest = rest.replacen("atomic_", "atomic.", 1);
            for width in ["rmw8_", "rmw16_", "rmw32_", "rmw_"] {
                rest = rest.replacen(width, &width.replace('_', "."), 1);
            }
            format!("{namespace}.{rest}")
        }
        _ => name.to_string(),
    }
}

/// Proposal and visitor method of an instruction, from wasmparser's list.
fn listed(operator: &Operator<'_>) -> (&'static str, &'static str) {
    macro_rules! name {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => (stringify!($proposal), stringify!($visit)),)*
                _ => ("an unknown proposal", "unknown instruction"),
            }
        };
    }
    wasmparser::for_each_operator!(name)
}

/// The instruction's mnemonic in the text format.
pub(crate) fn instruction_name(operator: &Operator<'_>) -> String {
    mnemonic(listed(operator).1)
}

/// Proposal and mnemonic of an instruction.
pub(super) fn instruction(operator: &Operator<'_>) -> String {
    let (proposal, visit) = listed(operator);
    format!("{} ({})", proposal_name(proposal), mnemonic(visit))
}

/// A proposal that the validator was not told to accept, with what it says.
pub(super) fn feature(features: WasmFeatures, message: &str) -> String {
    let name = features
        .iter_names()
        .map(|(name, _)| name.to_ascii_lowercase())
        .next()
        .unwrap_or_else(|| "an unknown proposal".to_string());
    format!("{} ({message})", proposal_name(&name).replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_named_as_in_the_text_format() {
        assert_eq!(mnemonic("visit_v128_load8_lane"), "v128.load8_lane");
        assert_eq!(mnemonic("visit_i64_atomic_rmw8_add_u"), "i64.atomic.rmw8.add_u");
        assert_eq!(mnemonic("visit_memory_atomic_wait32"), "memory.atomic.wait32");
        assert_eq!(mnemonic("visit_return_call"), "return_call");
        assert_eq!(
            instruction(&Operator::ReturnCall { function_index: 0 }),
            "tail calls (return_call)"
        );
    }
}
