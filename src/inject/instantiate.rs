//! Faults of the code that instantiates a module.
//!
//! That code belongs to no Wasm instruction, so a fault in it is named by its
//! number: among the native instructions, in their order, that it can be done to.

use super::code::{CodeFault, mutate};
use super::{Injected, change, decode};
use crate::error::CommandError;
use aot_backend::Image;
use iced_x86::Instruction;

/// Does something to the `number`th instruction to which it can be done, from 0.
///
/// # Errors
/// An image without such code, or with fewer such instructions.
pub fn inject(image: &mut Image, number: u32, kind: CodeFault) -> Result<Injected, CommandError> {
    let code = image.instantiate.clone().filter(|code| code.end.get() as usize <= image.text.len());
    let code =
        code.ok_or_else(|| CommandError::input("the image has no function `instantiate`"))?;
    let length = code.end.get().saturating_sub(code.start.get()) as usize;
    let all = decode(image, code.start, length);
    let fit: Vec<(Instruction, Vec<u8>)> =
        all.filter_map(|at| Some((at, mutate(&at, kind)?))).collect();
    match fit.get(number as usize) {
        Some((old, bytes)) => change(image, old, bytes),
        None => Err(CommandError::input(format_args!(
            "--inject instantiate:{number}:{}: {} instructions can be changed so, counted from 0",
            kind.name(),
            fit.len()
        ))),
    }
}
