//! Calling a function in the subject.

use super::space::Space;
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::erased_func;
use tracer::Subject;
use wasm_view::{FuncIdx, FuncType, Value};

/// DWARF numbers of the registers that an entry takes its operands in.
const RDX: u16 = 1;
const RSI: u16 = 4;
const RDI: u16 = 5;
const RBP: u16 = 6;
const RSP: u16 = 7;

/// Makes the subject, once resumed, call a function through the entry of its
/// type (see [`dwarf_map::EntryMap`]) on an empty stack.
///
/// # Errors
/// An image without code for the function or without an entry for its type.
pub fn enter(
    subject: &mut Subject,
    space: &Space,
    image: &Image,
    func: FuncIdx,
    ty: &FuncType,
    args: &[Value],
) -> Result<(), CommandError> {
    let erased = erased_func(ty);
    let entry = image.map.entries.iter().find(|entry| entry.ty == erased).ok_or_else(|| {
        CommandError::input(format_args!("the image has no entry for functions of type {ty}"))
    })?;
    let code = space
        .code(func)
        .ok_or_else(|| CommandError::input(format_args!("the image has no code for {func}")))?;
    for (index, value) in args.iter().enumerate() {
        space.set_argument(subject, index as u32, *value)?;
    }
    // A return address of 0 ends every walk of the stack.
    let stack = space.stack_top().offset(-8);
    if let Some(offset) = space.stack_offset(stack) {
        subject.region(space.stack).write_u64(offset, 0).map_err(CommandError::bug)?;
    }
    let text = image.text_address;
    let data = space.instance_data().get();
    let mut regs = *subject.regs();
    for (register, value) in
        [(RDI, data), (RSI, code.get()), (RDX, data), (RBP, 0), (RSP, stack.get())]
    {
        regs.set_dwarf(register, value);
    }
    regs.set_rip(entry.code.start.at(text).get());
    subject.set_regs(&regs);
    Ok(())
}
