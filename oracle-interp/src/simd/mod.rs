//! Vector instructions: fixed-width SIMD and relaxed SIMD.
//!
//! The interpreter's stack consists of 64-bit cells. A v128 takes two of them,
//! the low 64 bits first; inside, everything is a `u128` whose byte 0 is the
//! byte at the lowest address of a stored vector (core spec, "Vectors"). An
//! instruction takes its vectors apart into an array of lanes, computes lane by
//! lane in a form that LLVM turns back into vector instructions, and puts the
//! result together again.
//!
//! What the specification leaves open is answered from the operands alone, by
//! [`freedom()`] and [`implementation`], so that a caller that follows another
//! execution can check its results and adopt them.
//!
//! | module | subject |
//! |---|---|
//! | `table` | one row per instruction |
//! | `op` | [`SimdOp`]: the instruction, its types, its [`Nature`] |
//! | `lanes` | vectors as arrays of lanes |
//! | `execute` | [`execute()`]: what each instruction computes |
//! | `memory` | [`MemOp`]: loads and stores |
//! | `relaxed` | what each relaxed instruction may compute |
//! | `choices` | [`implementation`]: which of these a result betrays |
//! | `freedom` | [`VectorFreedom`]: which results are allowed |

mod choices;
mod execute;
mod freedom;
mod lanes;
mod memory;
mod op;
mod relaxed;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
use choices::Parameter;
pub(crate) use choices::{Choices, implementation};
pub(crate) use execute::execute;
pub(crate) use freedom::{VectorFreedom, freedom};
pub(crate) use memory::{MemOp, load, simd_mem_op, store};
#[cfg(test)]
use op::Ty;
pub(crate) use op::{Nature, SimdOp, simd_op};
