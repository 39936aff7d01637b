//! Validating an instruction and taking it over, in one go.
//!
//! The reader hands every instruction to a method of its own, and so does the
//! validator take it. Between the two nothing needs to be built that would have
//! to be taken apart again: in each of these methods it is known which
//! instruction it is, and of what is done for instructions in general the
//! compiler leaves what concerns this one. With hundreds of instructions that
//! is worth it for those which programs consist of; the others share a path.

use super::function::{Body, Validator};
use super::{Problem, wasm_offset};
use wasmparser::{BinaryReader, FrameKind, FrameStack, Operator, VisitOperator, VisitSimdOperator};

/// Validates a body's instructions and decodes them.
pub(super) struct Taker<'v, 'm> {
    validator: &'v mut Validator,
    body: Body<'m>,
    /// Position of the instruction.
    at: usize,
    /// What came in the way of decoding; from then on there is validation only.
    problem: Option<Problem>,
}

impl<'v, 'm> Taker<'v, 'm> {
    pub(super) fn new(validator: &'v mut Validator, body: Body<'m>) -> Self {
        Taker { validator, body, at: 0, problem: None }
    }

    /// Reads all instructions of the body.
    pub(super) fn read(&mut self, mut reader: BinaryReader<'_>) -> wasmparser::Result<()> {
        while !reader.eof() {
            self.at = reader.original_position();
            reader.visit_operator(self)??;
        }
        reader.finish_expression(self)
    }

    /// The decoded body, and what came in the way of it.
    pub(super) fn finish(self) -> (Body<'m>, Option<Problem>) {
        (self.body, self.problem)
    }

    /// Takes over an instruction that has been validated.
    #[inline(always)]
    fn take(&mut self, operator: &Operator<'_>) {
        if self.problem.is_some() {
            return;
        }
        self.body.offset = wasm_offset(self.at);
        let validator = &*self.validator;
        let top = || validator.get_operand_type(0).flatten();
        if let Err(problem) = self.body.instruction(operator, self.at, top) {
            self.problem = Some(problem);
        }
    }

    /// The same for instructions that are less frequent.
    #[inline(never)]
    fn take_other(&mut self, operator: &Operator<'_>) {
        self.take(operator);
    }
}

impl FrameStack for Taker<'_, '_> {
    #[inline]
    fn current_frame(&self) -> Option<FrameKind> {
        self.validator.get_control_frame(0).map(|frame| frame.kind)
    }
}

macro_rules! take_each {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(
            fn $visit(&mut self $($(, $arg: $argty)*)?) -> wasmparser::Result<()> {
                self.validator.visitor(self.at).$visit($($($arg.clone()),*)?)?;
                take_each!(@take $proposal self, Operator::$op $({ $($arg),* })?);
                Ok(())
            }
        )*
    };
    (@take mvp $self:ident, $operator:expr) => { $self.take(&$operator) };
    (@take sign_extension $self:ident, $operator:expr) => { $self.take(&$operator) };
    (@take $other:ident $self:ident, $operator:expr) => { $self.take_other(&$operator) };
}

macro_rules! take_each_vector_instruction {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(
            fn $visit(&mut self $($(, $arg: $argty)*)?) -> wasmparser::Result<()> {
                self.validator.simd_visitor(self.at).$visit($($($arg),*)?)?;
                self.take_other(&Operator::$op $({ $($arg),* })?);
                Ok(())
            }
        )*
    };
}

// `br_table` and `try_table` have immediates that are not `Copy`.
#[allow(clippy::clone_on_copy)]
impl<'a> VisitOperator<'a> for Taker<'_, '_> {
    type Output = wasmparser::Result<()>;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Self::Output>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(take_each);
}

impl<'a> VisitSimdOperator<'a> for Taker<'_, '_> {
    wasmparser::for_each_visit_simd_operator!(take_each_vector_instruction);
}
