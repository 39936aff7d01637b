//! Calling a function in the subject.

use super::space::Space;
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{Isa, SubjectAddr, erased_func};
use tracer::Subject;
use wasm_view::{FuncIdx, FuncType, Value};

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
    let code = space
        .code(func)
        .ok_or_else(|| CommandError::input(format_args!("the image has no code for {func}")))?;
    enter_code(subject, space, image, code, ty, args)
}

/// Likewise, for code that is a function of this type.
///
/// # Errors
/// An image without an entry for the type.
pub fn enter_code(
    subject: &mut Subject,
    space: &Space,
    image: &Image,
    code: SubjectAddr,
    ty: &FuncType,
    args: &[Value],
) -> Result<(), CommandError> {
    let erased = erased_func(ty);
    let entry = image.map.entries.iter().find(|entry| entry.ty == erased).ok_or_else(|| {
        CommandError::input(format_args!("the image has no entry for functions of type {ty}"))
    })?;
    for (index, value) in args.iter().enumerate() {
        space.set_argument(subject, index as u32, *value)?;
    }
    // A return address of 0 ends every walk of the stack; where it is in a register
    // that is the rest of the registers, too.
    let isa = image.map.isa();
    let stack = match isa {
        Isa::X86_64 => space.stack_top().offset(-8),
        Isa::Aarch64 | Isa::Riscv64 | Isa::S390x => {
            space.stack_top().offset(-isa.cfa_above_stack())
        }
    };
    if let Some(offset) = space.stack_offset(stack).filter(|_| isa == Isa::X86_64) {
        subject.region(space.stack).write_u64(offset, 0).map_err(CommandError::bug)?;
    }
    let text = image.text_address;
    let data = space.instance_data().get();
    let mut regs = *subject.regs();
    if isa != Isa::X86_64 {
        regs.set_dwarf(isa.return_column(), 0);
    }
    if let Some(register) = isa.frame_pointer() {
        regs.set_dwarf(register.0, 0);
    }
    regs.set_dwarf(isa.stack_pointer().0, stack.get());
    for (register, value) in isa.parameters().into_iter().zip([data, code.get(), data]) {
        regs.set_dwarf(register.0, value);
    }
    regs.set_rip(entry.code.start.at(text).get());
    subject.set_regs(&regs);
    Ok(())
}
