//! Valid modules that differ a little from real ones.
//!
//! A [mutant](crate::mutants) is mostly invalid; these are not. An instruction
//! is replaced by another of the same type and length, a constant by another,
//! a local by another of its type: the program keeps its shape, its memory
//! layout and its calls, and computes something that nobody meant. No byte
//! moves, so places in the original are places in the altered module.

use crate::rng::SplitMix64;
use std::ops::RangeInclusive;
use wasmparser::{BinaryReaderError, Operator, Parser, Payload, Validator, WasmFeatures};

/// Opcodes of one byte that can stand for each other: same operands, same
/// results, same immediates with the same bounds.
const ALIKE: &[&[RangeInclusive<u8>]] = &[
    &[0x6a..=0x78],
    &[0x46..=0x4f],
    &[0x51..=0x5a],
    &[0x5b..=0x60],
    &[0x61..=0x66],
    &[0x45..=0x45, 0x67..=0x69, 0xc0..=0xc1],
    &[0x79..=0x7b, 0xc2..=0xc4],
    &[0x7c..=0x8a],
    &[0x8b..=0x91],
    &[0x92..=0x98],
    &[0x99..=0x9f],
    &[0xa0..=0xa6],
    &[0x2c..=0x2d],
    &[0x2e..=0x2f],
    &[0x30..=0x31],
    &[0x32..=0x33],
    &[0x34..=0x35],
    &[0xac..=0xad],
    &[0xb2..=0xb3],
    &[0xb4..=0xb5],
    &[0xb7..=0xb8],
    &[0xb9..=0xba],
];

/// A byte that can be replaced.
#[derive(Clone, Copy)]
enum Place {
    /// By an opcode like it: position in [`ALIKE`].
    Opcode(usize, usize),
    /// By any LEB128 byte that ends a number.
    Constant(usize),
    /// By the index of a local of the same type.
    Local(usize),
}

/// Alters a module at up to `count` places; `None` if it cannot be read or has
/// none. What comes out is valid whenever `module` is.
pub fn altered(seed: u64, module: &[u8], count: usize) -> Option<Vec<u8>> {
    let places = places(module).ok().filter(|places| !places.is_empty())?;
    let mut random = SplitMix64::new(seed);
    let mut bytes = module.to_vec();
    for _ in 0..count {
        match *random.pick(&places)? {
            Place::Opcode(at, class) => {
                let class: Vec<u8> = ALIKE[class].iter().cloned().flatten().collect();
                bytes[at] = *random.pick(&class)?;
            }
            Place::Constant(at) => bytes[at] = random.below(0x80) as u8,
            Place::Local(at) => {
                let before = std::mem::replace(&mut bytes[at], random.below(0x20) as u8);
                // A local of another type, or none.
                if Validator::new_with_features(WasmFeatures::all()).validate_all(&bytes).is_err() {
                    bytes[at] = before;
                }
            }
        }
    }
    Some(bytes)
}

/// All places in the bodies of functions.
fn places(module: &[u8]) -> Result<Vec<Place>, BinaryReaderError> {
    let mut places = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, at) = operator?;
            let Some(&opcode) = module.get(at) else { continue };
            let class =
                ALIKE.iter().position(|class| class.iter().any(|one| one.contains(&opcode)));
            let is_short = |at: usize| module.get(at).is_some_and(|byte| byte & 0x80 == 0);
            match operator {
                Operator::I32Const { .. } | Operator::I64Const { .. } if is_short(at + 1) => {
                    places.push(Place::Constant(at + 1));
                }
                Operator::LocalGet { .. }
                | Operator::LocalSet { .. }
                | Operator::LocalTee { .. }
                    if is_short(at + 1) =>
                {
                    places.push(Place::Local(at + 1));
                }
                _ => places.extend(class.map(|class| Place::Opcode(at, class))),
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::altered;

    #[test]
    fn altered_modules_are_valid_and_differ() {
        for program in crate::quick().iter().take(12) {
            let original = program.wasm().expect("in the corpus");
            if wasmparser::validate(&original).is_err() {
                continue;
            }
            let mut changed = 0;
            for seed in 0..8 {
                let Some(bytes) = altered(seed, &original, 10) else { continue };
                wasmparser::validate(&bytes).expect("valid");
                assert_eq!(bytes.len(), original.len());
                changed += usize::from(bytes != original);
            }
            assert!(changed > 0, "{}", program.name);
        }
    }
}
