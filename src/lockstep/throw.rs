//! Exceptions: how they leave a function of the subject and arrive in another.
//!
//! AOT code throws by asking its kernel. The kernel looks for a handler as an
//! unwinder in a runtime would, and by nothing but the image:
//!
//! ```text
//!   thunk -> CFI -> return address -> call site of the map -> handlers: tag?
//!              ^                                                | none fits
//!              '------------------------------------------------'
//! ```
//! Execution goes on at the first handler that fits, with the stack and the frame
//! pointer of its function's body, the reference in the payload register and the
//! arguments in the argument area. A handler finds no other register preserved,
//! so the others are given bits that no code can use unnoticed. When no frame
//! has a handler the call is over.
//!
//! What is thrown must be what the oracle threw: the tag, each argument, and for
//! `throw_ref` the very exception. Who caught it shows at the next boundary, as
//! do the values that the frame still needs. Which number an exception has is
//! nothing that a program can see; the oracle's is taken. Its arguments, though,
//! are kept as the subject stored them.

use super::follow::{Ending, Lockstep, Next};
use super::frames::find_site;
use super::plan::Plan;
use super::space::{Space, read_u128};
use crate::error::CommandError;
use dwarf_map::unwind::{Registers, Unwinder};
use dwarf_map::{CodeOffset, Handler, ImageMap, Isa, SubjectAddr, ThunkKind, ThunkMap};
use oracle_interp::Event;
use reports::DivergenceKind;
use std::collections::HashMap;
use tracer::Subject;
use wasm_view::{InstanceId, TagId, ValType, Value};

/// What a handler finds in a register that is lost: no address at all.
const LOST: u64 = 0xbad0_bad0_bad0_bad0;

/// The exceptions that a subject has thrown, as its code gave them to the
/// kernel, by their native reference.
#[derive(Default)]
pub struct Exceptions {
    thrown: HashMap<u64, Exception>,
}

/// An exception in native form.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Its tag.
    pub tag: TagId,
    /// Its arguments.
    pub args: Vec<u128>,
}

impl Exceptions {
    /// Has an exception that was thrown before the program was handed over.
    pub fn restore(&mut self, reference: u64, exception: Exception) {
        self.thrown.insert(reference, exception);
    }

    /// Keeps what `throw` left in the argument area.
    ///
    /// # Errors
    /// Shared memory that is not where it must be.
    pub fn keep(
        &mut self,
        reference: u64,
        tag: TagId,
        params: &[ValType],
        subject: &Subject,
        space: &Space,
    ) -> Result<Exception, CommandError> {
        let data = subject.region(space.data);
        let mut args = Vec::with_capacity(params.len());
        for (cell, ty) in (0..).zip(params) {
            let at = u64::from(space.layout.argument(cell));
            let bits = match ty {
                ValType::V128 => read_u128(data, at),
                _ => data.read_u64(at).map(u128::from),
            };
            args.push(bits.map_err(CommandError::bug)?);
        }
        let exception = Exception { tag, args };
        self.thrown.insert(reference, exception.clone());
        Ok(exception)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.thrown.len()
    }

    /// The exception of a native reference.
    pub fn get(&self, reference: u64) -> Option<&Exception> {
        self.thrown.get(&reference)
    }
}

/// Where an exception arrives.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// Position in the map of the function that catches it.
    pub function: u32,
    handler: Handler,
    stack_pointer: SubjectAddr,
    frame_pointer: u64,
}

/// What unwinding came to.
#[derive(Clone, Copy, Debug)]
pub enum Unwound {
    /// A handler that fits.
    Caught(Landing),
    /// The entry: nobody catches it.
    Uncaught,
}

/// Looks for a handler, from the thunk that threw outwards. `fits` says whether
/// a handler of the function at a position in the map fits, `visit` objects to a
/// frame of such a function at an address.
///
/// # Errors
/// A stack that cannot be unwound.
pub fn unwind(
    (map, plan, unwinder): (&ImageMap, &Plan, &Unwinder),
    innermost: Registers,
    read: &mut dyn FnMut(SubjectAddr) -> Option<u64>,
    mut fits: impl FnMut(u32, Handler) -> bool,
    mut visit: impl FnMut(u32, SubjectAddr) -> Result<(), String>,
) -> Result<Unwound, String> {
    let broken = |error| format!("unwinding fails: {error}");
    let mut inner = innermost;
    loop {
        let Some(frame) = unwinder.step(&inner, read).map_err(broken)? else {
            return Err("unwinding leaves the code before it comes to the entry".into());
        };
        let code = plan.code_offset(frame.pc).unwrap_or(CodeOffset::new(u32::MAX));
        let call = unwinder.code_of(&frame).unwrap_or(code);
        let Some(position) = function_at(map, call) else {
            if map.entries.iter().any(|entry| entry.code.contains(&call)) {
                return Ok(Unwound::Uncaught);
            }
            // It calls the start function, and catches nothing.
            if plan.instantiates(call) {
                inner = frame;
                continue;
            }
            return Err(format!("unwinding comes to {}, which is in no function", frame.pc));
        };
        let function = &map.functions[position as usize];
        let cfa = unwinder.cfa(&frame).map_err(broken)?;
        let Some(site) = find_site(&function.call_sites, code) else {
            let (pc, func) = (frame.pc, function.func);
            return Err(format!(
                "unwinding comes to {pc}, which no call of function {func} returns to"
            ));
        };
        visit(position, cfa)?;
        if let Some(handler) = site.handlers.iter().find(|handler| fits(position, **handler)) {
            let isa = unwinder.isa();
            let frame_pointer = match isa.frame_pointer() {
                Some(register) => frame.gpr[usize::from(register.0)],
                None => Some(0),
            };
            return Ok(Unwound::Caught(Landing {
                function: position,
                handler: *handler,
                stack_pointer: cfa.offset(-i64::from(function.frame_size)),
                frame_pointer: frame_pointer.ok_or("unwinding loses the frame pointer")?,
            }));
        }
        inner = frame;
    }
}

/// Position in the map of the function whose code holds an offset.
pub fn function_at(map: &ImageMap, code: CodeOffset) -> Option<u32> {
    let at = map.functions.partition_point(|function| function.code.start <= code);
    let at = at.checked_sub(1)?;
    map.functions[at].code.contains(&code).then_some(at as u32)
}

impl Landing {
    /// Makes the subject, once resumed, go on at the handler, whose function's
    /// instance is `space`'s.
    ///
    /// # Errors
    /// Shared memory that is not where it must be.
    pub fn enter(
        &self,
        subject: &mut Subject,
        space: &Space,
        (isa, text): (Isa, SubjectAddr),
        reference: u64,
        exception: &Exception,
    ) -> Result<(), CommandError> {
        // Only who names the tag has room for its arguments.
        if self.handler.tag.is_some() {
            for (cell, bits) in (0..).zip(&exception.args) {
                let at = u64::from(space.layout.argument(cell));
                let data = subject.region(space.data);
                data.write(at, &bits.to_le_bytes()).map_err(CommandError::bug)?;
            }
        }
        let mut regs = *subject.regs();
        for register in isa.general_registers() {
            regs.set_dwarf(register, LOST);
        }
        regs.set_dwarf(isa.payload().0, reference);
        if let Some(register) = isa.frame_pointer() {
            regs.set_dwarf(register.0, self.frame_pointer);
        }
        regs.set_dwarf(isa.stack_pointer().0, self.stack_pointer.get());
        regs.set_rip(self.handler.pc.at(text).get());
        subject.set_regs(&regs);
        Ok(())
    }
}

impl Lockstep<'_> {
    /// The subject throws; the oracle has thrown already.
    pub(super) fn meet_throw(
        &mut self,
        event: Event,
        owner: InstanceId,
        thunk: &ThunkMap,
    ) -> Result<Next, CommandError> {
        let Some(thrown) = self.oracle.take_thrown() else {
            return self.unexpected(event, format!("the subject executes {}", thunk.kind));
        };
        let reference = u64::from(thrown.exn.get()) + 1;
        let (tag, args) = match thunk.kind {
            ThunkKind::Throw(tag) => (self.tag(owner, tag), thrown.args.clone()),
            _ => (Some(thrown.tag), vec![Value::ExnRef(Some(thrown.exn))]),
        };
        if tag != Some(thrown.tag) {
            let what = format!("the oracle threw {}, the subject another tag", thrown.tag);
            return self.diverged_behind(DivergenceKind::ControlFlow, what, Vec::new());
        }
        let wrong = self.argument_differences(owner, &args)?;
        if !wrong.is_empty() {
            let what = format!("the arguments of {} differ", thunk.kind);
            return self.diverged_behind(DivergenceKind::Operand, what, wrong);
        }
        let exception = match thunk.kind {
            ThunkKind::Throw(_) => {
                let space = &self.spaces[owner.index()];
                let (params, subject) = (&thunk.ty.params, &self.subject);
                self.exceptions.keep(reference, thrown.tag, params, subject, space)?
            }
            _ => {
                let kept = self.exceptions.get(reference).cloned();
                kept.ok_or_else(|| CommandError::bug("an exception that was never thrown"))?
            }
        };
        let found = {
            let mut frames = self.frames.iter().rev();
            let sparse = self.sparse();
            let visit = |function: u32, cfa: SubjectAddr| {
                // Between stops nobody knows where frames are.
                let known = if sparse { None } else { Some(frames.next()) };
                match known {
                    Some(Some(known)) if (known.function, known.cfa) != (function, cfa) => {
                        Err(format!(
                            "unwinding finds a frame at {cfa}; the one entered lies at {}",
                            known.cfa
                        ))
                    }
                    Some(None) => Err("unwinding finds more frames than there are".into()),
                    _ => Ok(()),
                }
            };
            let fits = |function: u32, handler: Handler| {
                let owner = self.plan.owner(function);
                handler.tag.is_none_or(|tag| self.tag(owner, tag) == Some(thrown.tag))
            };
            let image = (&self.image.map, &self.plan, &self.unwinder);
            let mut read = |address: SubjectAddr| self.read_stack(address);
            unwind(image, self.innermost(), &mut read, fits, visit)
        };
        match found {
            Err(what) => self.diverged_behind(DivergenceKind::Sandbox, what, Vec::new()),
            Ok(Unwound::Uncaught) => match event {
                Event::Thrown(exn) if exn == thrown.exn => self.finished(Ending::Thrown(exn)),
                event => {
                    self.unexpected(event, format!("nobody in the subject catches {}", thrown.tag))
                }
            },
            Ok(Unwound::Caught(landing)) => {
                let space = &self.spaces[self.plan.owner(landing.function).index()];
                let text = (self.image.map.isa(), self.image.text_address);
                landing.enter(&mut self.subject, space, text, reference, &exception)?;
                let is_shipped = self.selection.shipped_mut().is_some();
                Ok(Next::Go(match event {
                    // Where it arrived need not be a stop.
                    Event::Boundary if is_shipped => self.advance_shipped(true),
                    event => event,
                }))
            }
        }
    }

    /// A tag of an instance, in the store.
    fn tag(&self, instance: InstanceId, tag: wasm_view::TagIdx) -> Option<TagId> {
        self.oracle.instance(instance).tags.get(tag.index()).copied()
    }
}
