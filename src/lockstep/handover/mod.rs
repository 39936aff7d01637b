//! Handing a program over: its state out of a subject, and into another one.
//!
//! **Capture.** Where both sides stand at a stable point, everything that the
//! program's future depends on is read from the subject alone: the slots of all
//! frames through the map, callers' registers by CFI, memories, tables and
//! globals from their regions. What is dead is left out. The result must be the
//! oracle's view of itself.
//!
//! **Restore.** A native frame cannot be written down: only its code knows where
//! it wants its values. So each frame is entered through its function's entry,
//! whose cold path then takes the state buffer and goes on where the frame was
//! ([restore edge](dwarf_map::StablePoint::restore)), outermost first:
//!
//! ```text
//!   oracle's frames          the subject
//!   0: at call c0            entry of f0 -> cold path, trap; buffer := locals, operands of 0
//!                            edge to c0: its trap; goes on: calls f1 with any arguments
//!   1: at call c1            entry of f1 -> cold path, trap; buffer := ... of 1
//!                            edge to c1: ..
//!   n: at a stable point     edge to it: its trap. Here both sides stand again.
//! ```
//! A caller that is suspended in an indirect call is given an operand that leads
//! to the function that it had called. What it calls with does not matter: the
//! callee's own record replaces it. Where a tail call has put another function
//! in the place of the one called, the same is done to the call on its way.
//!
//! After that every frame is held against the oracle's before anything goes on.
//!
//! [`capture`] is the one, [`restore`] the other, [`fault`] what can be done wrong
//! on purpose while restoring; [`cycle`] does both in one process.

pub mod capture;
pub mod cycle;
pub mod fault;
pub mod restore;

pub use capture::Captured;
pub use fault::{RestoreFault, RestoreFaultKind};

use super::follow::{Ending, Lockstep, Next};
use super::plan::BoundaryId;
use super::space::Space;
use super::stops::Selection;
use crate::error::CommandError;
use reports::{DivergenceKind, InconclusiveReason, Slot};
use tracer::Stop;
use wasm_view::{Frame, FuncAddr, GlobalIdx, InstanceId, Value};

/// How far a run has come.
pub enum Progress {
    /// Both sides stand at a stable point, equal in everything.
    Paused,
    /// There is nothing to go on with.
    Ended(Ending),
}

impl Lockstep<'_> {
    /// Calls a function on both sides and follows it up to the `pause`th stable
    /// point that is executed, or to its end.
    ///
    /// # Errors
    /// As [`Lockstep::call`].
    pub fn call_until(
        &mut self,
        func: FuncAddr,
        args: &[Value],
        pause: u64,
    ) -> Result<Progress, CommandError> {
        self.pause = Some(pause);
        let event = self.begin(func, args)?;
        self.follow(event)
    }

    /// Goes on from where the run paused.
    ///
    /// # Errors
    /// As [`Lockstep::call`].
    pub fn proceed(&mut self, pause: u64) -> Result<Progress, CommandError> {
        self.pause = Some(pause);
        let event = self.depart();
        self.follow(event)
    }

    /// Whether the boundary at which both sides stand is where to pause.
    #[inline]
    pub(super) fn pauses_at(&mut self, at: BoundaryId) -> bool {
        let Some(left) = &mut self.pause else { return false };
        let function = &self.image.map.functions[at.function as usize];
        if function.boundaries[at.index as usize].stable.is_none() {
            return false;
        }
        // Bits that nobody has seen can be carried to no other side: a later point will do.
        let known = match &self.selection {
            Selection::Shipped(shipped) => shipped.open.is_empty(),
            Selection::Every | Selection::Some(_) => true,
        };
        *left = left.saturating_sub(1).max(u64::from(!known));
        *left == 0
    }

    /// Globals by their number in the store: who defines them.
    fn defined_globals(&self) -> impl Iterator<Item = (InstanceId, GlobalIdx)> + '_ {
        self.oracle.instances().iter().flat_map(|instance| {
            let defined = instance.module.num_imported_globals()..instance.globals.len() as u32;
            defined.map(|index| (instance.id(), GlobalIdx::new(index)))
        })
    }

    /// The next stop that is not of our own asking.
    fn next_stop(&mut self) -> Result<Result<Stop, Ending>, CommandError> {
        loop {
            match self.subject.resume().map_err(CommandError::host)? {
                Stop::Interrupted => {
                    if let Some(request) = self.control.request() {
                        return Ok(Err(self.asked(request)));
                    }
                }
                stop @ (Stop::Killed { .. } | Stop::Exited { .. }) => {
                    return Ok(Err(Ending::Inconclusive {
                        reason: InconclusiveReason::Environment,
                        detail: format!("the subject was ended from outside: {stop:?}"),
                    }));
                }
                stop => return Ok(Ok(stop)),
            }
        }
    }

    /// A restore that did not lead where it must.
    fn refused(&mut self, what: String, slots: Vec<Slot>) -> Result<Ending, CommandError> {
        match self.diverged(DivergenceKind::Snapshot, what, slots)? {
            Next::End(ending) => Ok(ending),
            _ => Err(CommandError::bug("a divergence that is none")),
        }
    }
}

/// A value in native form, zero-extended.
fn native(space: &Space, value: Value) -> u128 {
    match value {
        Value::V128(bits) => bits,
        value => u128::from(space.native(value.ty(), value.to_cell())),
    }
}

/// Makes dead slots what a snapshot has for them.
pub fn clear_dead(frame: &mut Frame, dead: &[bool]) {
    let slots = frame.locals.iter_mut().chain(&mut frame.operands);
    for ((_, value), _) in slots.zip(dead).filter(|(_, dead)| **dead) {
        *value = nothing(*value);
    }
}

/// What a slot holds before it is set, given something that it can hold: which
/// hierarchy a defined type belongs to, the type does not say.
fn nothing(value: Value) -> Value {
    match value {
        Value::FuncRef(_) => Value::FuncRef(None),
        Value::ExternRef(_) => Value::ExternRef(None),
        Value::AnyRef(_) => Value::AnyRef(None),
        Value::ExnRef(_) => Value::ExnRef(None),
        number => Value::default_of(number.ty()),
    }
}
