//! Where Wasmtime's operand stack holds more than the program's.
//!
//! Wasmtime's translator keeps the parameters of an `if` twice while it
//! translates the consequent: the originals wait for the `else` below the
//! consequent's own copies (`FuncTranslationStacks::push_if`). Copies share
//! their place in the frame, and do not show, until the lowest of them is
//! popped; from then on the debugger lists the originals too:
//!
//! ```text
//!   program    a  p q     x        if (param p q) .. then .. HERE
//!   Wasmtime   a  p q  n  x        the first pair is not the program's
//! ```
//!
//! So in a consequent every enclosing `if` with parameters may or may not
//! contribute them. Which do follows from the height, nearly always; where it
//! does not, an arrangement in which all values agree is looked for. The
//! originals are left out of the comparison, and those stops counted.

use std::collections::HashMap;
use wasm_view::WasmOffset;
use wasmparser::{
    BlockType, FuncValidatorAllocations, Operator, OperatorsReader, Parser, ValidPayload,
    Validator, WasmFeatures, WasmModuleResources,
};

/// The parameters of one `if`: where the first of them is on the program's
/// stack, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Params {
    base: usize,
    count: usize,
}

/// Per offset of an instruction in consequents with parameters, those of the
/// enclosing `if`s, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    at: HashMap<WasmOffset, Vec<Params>>,
}

impl Copies {
    /// Finds them in a valid module.
    pub(crate) fn of(wasm: &[u8]) -> Result<Copies, wasmparser::BinaryReaderError> {
        let mut copies = Copies::default();
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut allocations = FuncValidatorAllocations::default();
        for payload in Parser::new(0).parse_all(wasm) {
            let ValidPayload::Func(func, body) = validator.payload(&payload?)? else { continue };
            let mut func = func.into_validator(std::mem::take(&mut allocations));
            let mut reader = body.get_binary_reader();
            func.read_locals(&mut reader)?;
            let mut reader = OperatorsReader::new(reader);
            let mut open: Vec<Option<Params>> = vec![None];
            while !reader.eof() {
                let (operator, offset) = reader.read_with_offset()?;
                let params: Vec<Params> = open.iter().flatten().copied().collect();
                if !params.is_empty() {
                    copies.at.insert(WasmOffset::new(offset as u32), params);
                }
                func.op(offset, &operator)?;
                match operator {
                    Operator::If { blockty } => {
                        let count = match blockty {
                            BlockType::FuncType(index) => func
                                .resources()
                                .sub_type_at(index)
                                .map_or(0, |ty| ty.composite_type.unwrap_func().params().len()),
                            BlockType::Empty | BlockType::Type(_) => 0,
                        };
                        let height = func.operand_stack_height() as usize;
                        let params = Params { base: height.saturating_sub(count), count };
                        open.push((count > 0).then_some(params));
                    }
                    Operator::Else => {
                        if let Some(innermost) = open.last_mut() {
                            *innermost = None;
                        }
                    }
                    Operator::End => {
                        open.pop();
                    }
                    Operator::Block { .. } | Operator::Loop { .. } | Operator::TryTable { .. } => {
                        open.push(None)
                    }
                    _ => {}
                }
            }
            allocations = func.into_allocations();
        }
        Ok(copies)
    }

    /// The ways in which `ours` operands of the program's can be among
    /// `theirs` of Wasmtime's before the instruction at `offset`: for each, the
    /// parameters that Wasmtime lists in addition.
    pub(crate) fn arrangements(
        &self,
        offset: WasmOffset,
        ours: usize,
        theirs: usize,
    ) -> Vec<Arrangement> {
        let Some(params) = self.at.get(&offset) else {
            let none = (ours == theirs).then(Arrangement::default);
            return none.into_iter().collect();
        };
        // Deeper nesting than this is not arranged, and shows as a difference.
        let params = &params[..params.len().min(12)];
        let subsets = (0..1u32 << params.len()).map(|chosen| {
            let chosen = |(index, _): &(usize, &Params)| chosen & 1 << index != 0;
            Arrangement(params.iter().enumerate().filter(chosen).map(|(_, p)| *p).collect())
        });
        subsets.filter(|arrangement| ours + arrangement.extra() == theirs).collect()
    }
}

/// Parameters that Wasmtime lists in addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrangement(Vec<Params>);

impl Arrangement {
    /// How many there are.
    pub(crate) fn extra(&self) -> usize {
        self.0.iter().map(|params| params.count).sum()
    }

    /// The position of the program's operand on Wasmtime's stack.
    pub(crate) fn position(&self, operand: usize) -> usize {
        let below = self.0.iter().filter(|params| params.base <= operand);
        operand + below.map(|params| params.count).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lie_below_the_parameters_in_the_consequent_only() {
        let wasm = wat::parse_str(
            "(module (func (param i32) (result i32)
                i32.const 5 i32.const 7
                (if (param i32) (result i32) (local.get 0)
                    (then i32.const 1 i32.add) (else nop))
                i32.add))",
        )
        .unwrap();
        let module = oracle_interp::Module::decode(&wasm).unwrap();
        let func = wasm_view::FuncIdx::new(0);
        let copies = Copies::of(&wasm).unwrap();
        let at = |index| module.function(func).unwrap().boundaries().nth(index).unwrap();
        let add = at(5);
        assert_eq!(module.mnemonic(func, add).as_deref(), Some("i32.add"));
        let hidden = copies.arrangements(add, 3, 3);
        assert_eq!(hidden, [Arrangement::default()]);
        let shown = copies.arrangements(add, 3, 4);
        let positions = |arrangement: &Arrangement| [0, 1, 2].map(|n| arrangement.position(n));
        assert_eq!(shown.iter().map(positions).collect::<Vec<_>>(), [[0, 2, 3]]);
        assert_eq!(copies.arrangements(add, 3, 5), []);
        // After `else`.
        assert_eq!(module.mnemonic(func, at(7)).as_deref(), Some("nop"));
        assert_eq!(copies.arrangements(at(7), 2, 3), []);
    }
}
