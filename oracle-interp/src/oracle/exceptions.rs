//! Throwing and catching (core spec, "Exceptions").
//!
//! A throw looks for the innermost handler around the position whose clauses
//! match, in this frame and then in the callers, each at its call instruction.
//! Frames passed on the way are gone; in the one that catches, the operands are
//! those at the handler's label, with the exception's arguments on top. When
//! nobody catches, the call ends with the exception.
//!
//! The legacy instructions name a *caught* exception by the handler that caught
//! it. What a handler caught last is remembered per frame; an entry is only
//! ever read inside the handler's clause, which has just written it.

use super::{Event, Limits, Oracle, State, Thrown};
use crate::heap::Exception;
use crate::op::Branch;
use crate::rare::{CatchClause, Rare};
use std::collections::VecDeque;
use wasm_view::{Cell, ExnId, InstanceId, TagId, Trap};

/// An exception that a legacy handler has caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    /// The frame, by its position.
    pub(super) frame: u32,
    /// The handler, by its number in the module.
    pub(super) handler: u32,
    pub(super) exn: ExnId,
}

impl Oracle {
    pub(super) fn throw_instruction(
        &mut self,
        instance: InstanceId,
        rare: Rare,
    ) -> Result<Option<Event>, Trap> {
        let exn = match rare {
            Rare::Throw(tag) => {
                self.collect_garbage_if_due();
                let tag = self.instance(instance).tags[tag.index()];
                match self.new_exception(tag) {
                    Some(exn) => exn,
                    None => return Ok(Some(Event::LimitReached(Limits::HEAP_BYTES))),
                }
            }
            Rare::ThrowRef => {
                let [cell] = self.operands();
                let exn = cell.checked_sub(1).ok_or(Trap::NullExceptionReference)?;
                ExnId::new(exn as u32)
            }
            Rare::Rethrow(handler) => {
                let frame = self.frames.len() as u32 - 1;
                let of = |caught: &&Caught| caught.frame == frame && caught.handler == handler;
                match self.caught.iter().rev().find(of) {
                    Some(caught) => caught.exn,
                    None => {
                        debug_assert!(false, "rethrow outside of a clause");
                        return Ok(None);
                    }
                }
            }
            other => {
                debug_assert!(false, "{other:?} throws nothing");
                return Ok(None);
            }
        };
        Ok(self.throw(exn))
    }

    /// The exception of a tag whose arguments are the topmost operands, which
    /// stay. `None` if a limit forbids it.
    fn new_exception(&mut self, tag: TagId) -> Option<ExnId> {
        let ty = self.store.tags[tag.index()];
        let types: Box<[_]> =
            self.store.types.func(ty).map_or(Box::from([]), |ty| ty.params.clone().into());
        let count: usize = types.iter().map(|ty| ty.cells()).sum();
        if self.store.heap.used() as u64 > self.limits.max_heap_bytes {
            return None;
        }
        let args = self.stack[self.sp - count..self.sp].into();
        Some(self.store.heap.new_exception(Exception { tag, args, types }))
    }

    /// Whether to keep what is thrown, in order, for [`Oracle::take_thrown`].
    pub fn set_throw_log(&mut self, on: bool) {
        self.thrown = on.then(VecDeque::new);
    }

    /// What was thrown first of what has not been asked for yet.
    pub fn take_thrown(&mut self) -> Option<Thrown> {
        self.thrown.as_mut()?.pop_front()
    }

    /// Passes an exception on to whoever catches it.
    pub(super) fn throw(&mut self, exn: ExnId) -> Option<Event> {
        let tag = self.store.heap.exception(exn).map(|exception| exception.tag);
        if self.thrown.is_some()
            && let Some((tag, args)) = self.exception(exn)
            && let Some(thrown) = &mut self.thrown
        {
            thrown.push_back(Thrown { exn, tag, args });
        }
        while let Some(frame) = self.frames.last() {
            let instance = self.instance(frame.instance);
            let code = &instance.module.code;
            let defined = frame.func.get() - instance.module.num_imported_funcs;
            let handlers = instance.module.functions[defined as usize].handlers.clone();
            let at = self.pc.0;
            let inside = |&handler: &u32| {
                let handler = &code.handlers[handler as usize];
                (handler.start..handler.end).contains(&at)
            };
            // Inner ones come later.
            let mut next = handlers.rev().find(inside);
            while let Some(number) = next {
                let handler = code.handlers[number as usize];
                let clauses = handler.first_catch as usize..handler.last_catch as usize;
                let matching = code.catches[clauses].iter().find(|clause| {
                    clause.tag.is_none_or(|own| Some(instance.tags[own.index()]) == tag)
                });
                if let Some(&clause) = matching {
                    return self.catch(exn, number, clause);
                }
                next = handler.parent;
            }
            let base = frame.base;
            self.frames.pop();
            self.lowest = self.frames.len().min(self.lowest);
            self.sp = base;
            if let Some(caller) = self.frames.last() {
                self.pc = caller.pc;
            }
        }
        self.sp = 0;
        self.state = State::Thrown(exn);
        self.store.heap.pin_exception(exn);
        Some(Event::Thrown(exn))
    }

    /// Continues the innermost frame at a clause.
    fn catch(&mut self, exn: ExnId, handler: u32, clause: CatchClause) -> Option<Event> {
        let frame = *self.frames.last()?;
        let module = &self.store.instances[frame.instance.index()].module;
        let Branch { target, keep, height } = module.code.branches[clause.branch as usize];
        if clause.legacy {
            let depth = self.frames.len() as u32 - 1;
            self.caught.retain(|caught| {
                caught.frame < depth || caught.frame == depth && caught.handler != handler
            });
            self.caught.push(Caught { frame: depth, handler, exn });
        }
        self.sp = if target == Branch::RETURN {
            frame.base + frame.locals as usize
        } else {
            frame.base + (frame.locals + height) as usize
        };
        if clause.tag.is_some()
            && let Some(exception) = self.store.heap.exception(exn)
        {
            let to = self.sp + exception.args.len();
            self.stack[self.sp..to].copy_from_slice(&exception.args);
            self.sp = to;
        }
        if clause.with_ref {
            self.stack[self.sp] = Cell(u64::from(exn.get()) + 1);
            self.sp += 1;
        }
        if target == Branch::RETURN {
            return self.return_cells(keep as usize);
        }
        self.pc = target;
        None
    }

    /// Forgets what handlers of frames that are gone have caught.
    pub(super) fn forget_caught(&mut self) {
        let depth = self.frames.len() as u32;
        self.caught.retain(|caught| caught.frame < depth);
    }
}
