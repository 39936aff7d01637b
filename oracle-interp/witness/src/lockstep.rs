//! The two sides and how they advance together.
//!
//! Wasmtime leads: it runs, and before each instruction calls
//! [`Stepper::handle`] with its frames on the stack. The oracle is then stepped
//! until it stands before the same instruction, which takes one step but for
//! [`PASSABLE`] instructions, and the states are compared. When the call
//! returns, traps, or calls the host, the oracle must do so with its next step.
//!
//! Wasmtime cannot be told to stop for good by a debug handler, but its future
//! can be dropped: the handler then waits for ever and whoever polls drops it.

use crate::copies::Copies;
use crate::outcome::{Difference, Outcome, Place, count};
use crate::run::{Options, Perturbation};
use crate::state::Native;
use crate::value::{self, Functions};
use oracle_interp::{Event, Module, Oracle};
use std::collections::HashMap;
use std::sync::Arc;
use wasi_host::World;
use wasm_view::{FuncIdx, InstanceId, Trap, Value, WasmOffset};
use wasmtime::{
    AsContextMut, DebugEvent, DebugHandler, FrameHandle, ResourceLimiter, RootScope,
    StoreContextMut, Val,
};

/// Instructions that the oracle may execute although Wasmtime does not stop
/// before them. They have no effect on any state.
///
/// An `if` without `else` whose condition is false continues behind its `end`
/// for Wasmtime, at it for the oracle. The `end` of a function is not passed.
pub const PASSABLE: &[&str] = &["end"];

/// Pages that all of Wasmtime's memories may have, each. Lower than what the
/// oracle allows, so that it is Wasmtime whose failure is adopted.
const MAX_MEMORY_BYTES: usize = 64 << 20;
/// Elements that each of Wasmtime's tables may have.
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// What Wasmtime's store holds.
#[derive(Default)]
pub(crate) struct Host {
    /// Taken out while it works on the store.
    pub(crate) session: Option<Box<Session>>,
    /// Whether polling is to end.
    pub(crate) halted: bool,
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_MEMORY_BYTES)
    }
    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// Why a call is not run to its end.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The difference was recorded.
    Difference,
    /// The options' number of instructions was executed.
    Budget,
    /// The oracle ran into one of its limits.
    Limit(&'static str),
    /// The program asked to.
    Exit,
    /// What the witness cannot do.
    Cannot(String),
}

/// The debug handler: all state is in the store.
#[derive(Clone, Copy)]
pub(crate) struct Stepper;

impl DebugHandler for Stepper {
    type Data = Host;

    async fn handle(&self, mut store: StoreContextMut<'_, Host>, event: DebugEvent<'_>) {
        // Traps and errors come back as the call's result.
        if matches!(event, DebugEvent::Breakpoint) && on_breakpoint(&mut store) {
            std::future::pending::<()>().await;
        }
    }
}

/// Answers whether to halt.
fn on_breakpoint(store: &mut StoreContextMut<'_, Host>) -> bool {
    if store.data().halted {
        return true;
    }
    let Some(mut session) = store.data_mut().session.take() else {
        return false;
    };
    let stopped = {
        let mut scope = RootScope::new(&mut *store);
        session.stop(&mut scope.as_context_mut())
    };
    if let Err(halt) = stopped {
        session.halt = Some(halt);
        store.data_mut().halted = true;
    }
    store.data_mut().session = Some(session);
    store.data().halted
}

/// Both sides of a module while it is being compared.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) module: Arc<Module>,
    pub(crate) oracle: Oracle,
    pub(crate) instance: InstanceId,
    pub(crate) functions: Functions,
    pub(crate) copies: Copies,
    /// Wasmtime's instance, once one was seen.
    pub(crate) native: Option<Native>,
    pub(crate) world: Option<World>,
    pub(crate) outcome: Outcome,
    pub(crate) halt: Option<Halt>,
    /// Where the oracle stands.
    pub(crate) event: Event,
    /// Whether it stands there since before Wasmtime's last stop: nothing is
    /// to be executed before it is compared.
    pub(crate) fresh: bool,
    /// The oracle's instructions before this call.
    pub(crate) begun_at: u64,
    /// Frames at the last stop.
    pub(crate) depth: usize,
    pub(crate) stops: u64,
    pub(crate) perturbed: bool,
    /// Whether the start function is running.
    pub(crate) starting: bool,
    /// Whether a segment did not fit, so that the instance was not made and
    /// nobody can see what it defines. Wasmtime fills memories before it looks
    /// at element segments.
    pub(crate) unmade: bool,
    previous: Option<WasmOffset>,
    mnemonics: HashMap<WasmOffset, usize>,
    executed: Vec<(String, u64)>,
}

impl Session {
    pub(crate) fn new(
        options: Options,
        module: Arc<Module>,
        oracle: Oracle,
        instance: InstanceId,
        world: Option<World>,
        copies: Copies,
    ) -> Session {
        Session {
            copies,
            options,
            module,
            oracle,
            instance,
            functions: Functions::default(),
            native: None,
            world,
            outcome: Outcome { modules: 1, ..Outcome::default() },
            halt: None,
            event: Event::Finished(Vec::new()),
            fresh: false,
            begun_at: 0,
            depth: 0,
            stops: 0,
            perturbed: false,
            starting: false,
            unmade: false,
            previous: None,
            mnemonics: HashMap::new(),
            executed: Vec::new(),
        }
    }

    /// Begins a call on the oracle's side.
    pub(crate) fn begin(&mut self, func: FuncIdx, args: &[Value]) -> Result<(), Halt> {
        let addr = self.oracle.instance(self.instance).resolve(func);
        self.begun_at = self.oracle.instructions_executed();
        self.previous = None;
        self.depth = 0;
        self.event = self
            .oracle
            .begin_call(addr, args)
            .map_err(|error| Halt::Cannot(format!("the oracle cannot be called: {error}")))?;
        self.fresh = true;
        self.outcome.calls += 1;
        match self.event {
            Event::LimitReached(name) => Err(Halt::Limit(name)),
            _ => Ok(()),
        }
    }

    /// Wasmtime stands before an instruction.
    fn stop(&mut self, store: &mut StoreContextMut<'_, Host>) -> Result<(), Halt> {
        let frame = store.debug_exit_frames().next();
        let Some(frame) = frame else {
            return Err(Halt::Cannot("a stop without a frame".to_string()));
        };
        if self.native.is_none() {
            let instance = frame.instance(store.as_context_mut()).map_err(cannot)?;
            self.know_instance(instance, store);
        }
        let at = frame.wasm_function_index_and_pc(store.as_context_mut()).map_err(cannot)?;
        let Some((func, pc)) = at else {
            return Err(Halt::Cannot("a stop in no function of the module".to_string()));
        };
        let func = FuncIdx::new(func.as_u32() + self.module.num_imported_funcs());
        let target = (func, WasmOffset::new(pc.raw()));
        self.advance(Some((target, &frame)), store)?;
        self.perturb();
        self.compare_frame(&frame, store)?;
        self.compare_parents(&frame, store)?;
        self.compare_changes(store)?;
        self.stops += 1;
        self.outcome.stops += 1;
        if self.stops.is_multiple_of(self.options.whole_state_every) {
            self.compare_everything(store)?;
        }
        let executed = self.oracle.instructions_executed() - self.begun_at;
        if executed >= self.options.instructions_per_call {
            return Err(Halt::Budget);
        }
        Ok(())
    }

    /// Executes the oracle until it stands where Wasmtime stopped; without
    /// such a place, until it is no longer before an instruction.
    pub(crate) fn advance(
        &mut self,
        stopped: Option<((FuncIdx, WasmOffset), &FrameHandle)>,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let mut stay = std::mem::take(&mut self.fresh);
        loop {
            if !std::mem::take(&mut stay) {
                self.step();
                self.settle(stopped.map(|(_, frame)| frame), store)?;
            }
            match (&self.event, stopped) {
                (Event::LimitReached(name), _) => return Err(Halt::Limit(name)),
                (Event::Boundary, Some((target, _))) if self.position() == Some(target) => {
                    return Ok(());
                }
                (Event::Boundary, _) => {}
                (_, None) => return Ok(()),
                (event, Some(((func, offset), _))) => {
                    let oracle = format!("{event:?}");
                    return self.differ("next event", oracle, format!("{func} at {offset}"));
                }
            }
            // Not where Wasmtime is.
            let Some(name) = self.mnemonic_here() else {
                return Err(Halt::Cannot("a boundary without an instruction".to_string()));
            };
            if !PASSABLE.contains(&name.as_str()) || self.is_at_function_end() {
                let theirs = match stopped {
                    Some(((func, offset), _)) => format!("{func} at {offset}"),
                    None => "the call's end".to_string(),
                };
                let ours = self
                    .position()
                    .map_or(String::new(), |(func, offset)| format!("{func} at {offset}"));
                return self.differ("position", ours, theirs);
            }
            count(&mut self.outcome.passed, &name);
        }
    }

    /// Executes one instruction of the oracle's.
    fn step(&mut self) {
        if let Some((_, offset)) = self.position() {
            self.previous = Some(offset);
            let slot = self.mnemonic_slot();
            if let Some((_, n)) = slot.and_then(|slot| self.executed.get_mut(slot)) {
                *n += 1;
            }
        }
        self.event = self.oracle.step();
    }

    /// Takes Wasmtime's result where the specification leaves it open.
    fn settle(
        &mut self,
        frame: Option<&FrameHandle>,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let Some(choice) = self.oracle.choice() else { return Ok(()) };
        let name = choice.kind.name();
        let locals = self.oracle.top().map_or(0, |top| top.local_types().len());
        let operand = choice.slot.index().checked_sub(locals);
        let (Some(frame), Some(operand)) = (frame, operand) else {
            count(&mut self.outcome.not_compared, "an open result that no stop follows");
            return Ok(());
        };
        // The result was pushed last, so what lies below does not matter.
        let operands = self.oracle.top().map(|top| top.to_frame().operands).unwrap_or_default();
        let height = operands.len();
        let theirs = frame.num_stacks(store.as_context_mut()).map_err(cannot)? as usize;
        let Some(position) = (theirs + operand).checked_sub(height) else {
            return self.differ("an open result", name.to_string(), "no operand".to_string());
        };
        let position = position as u32;
        let theirs = frame.stack(store.as_context_mut(), position).map_err(cannot)?;
        let ours = operands.get(operand).map(|(_, value)| *value);
        let Some(value) = value::number(&theirs) else {
            return self.differ("an open result", name.to_string(), value::show_wasmtime(&theirs));
        };
        let adopted = match value {
            // Also where it is the same: what a relaxed instruction computes
            // must not change.
            Value::V128(bits) => self.oracle.adopt_vector(&choice, bits),
            _ if ours == Some(value) => return Ok(()),
            _ => self.oracle.adopt(&choice, value.to_cell()),
        };
        if let Err(error) = adopted {
            let ours = format!("{:?}: {error}", choice.kind);
            return self.differ("an open result", ours, value::show_wasmtime(&theirs));
        }
        if ours != Some(value) {
            count(&mut self.outcome.adopted, name);
        }
        Ok(())
    }

    /// The call ended with an exception on Wasmtime's side.
    pub(crate) fn threw(&mut self, store: &mut StoreContextMut<'_, Host>) -> Result<(), Halt> {
        let _ = store.take_pending_exception();
        self.advance(None, store)?;
        if !matches!(self.event, Event::Thrown(_)) {
            let event = format!("{:?}", self.event);
            return self.differ("the call's end", event, "throws".to_string());
        }
        count(&mut self.outcome.ends, "exception");
        self.compare_everything(store)
    }

    /// The call returned on Wasmtime's side.
    pub(crate) fn returned(
        &mut self,
        results: &[Val],
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        self.advance(None, store)?;
        let Event::Finished(ours) = self.event.clone() else {
            let event = format!("{:?}", self.event);
            return self.differ("the call's end", event, "returns".to_string());
        };
        self.compare_values("result", &ours, results, store)?;
        count(&mut self.outcome.ends, "return");
        self.compare_everything(store)
    }

    /// The call trapped on Wasmtime's side.
    pub(crate) fn trapped(
        &mut self,
        theirs: wasmtime::Trap,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        if theirs == wasmtime::Trap::AllocationTooLarge {
            return Err(Halt::Limit("Wasmtime's heap"));
        }
        let exhausted = theirs == wasmtime::Trap::StackOverflow;
        // How deep a stack goes is the implementation's affair. Its check is at
        // a function's entry, so the oracle stands before the call.
        if exhausted && (self.fresh || self.oracle.is_at_call()) {
            self.event = self.oracle.trap_now(Trap::CallStackExhausted);
            self.fresh = false;
            count(&mut self.outcome.adopted, "call stack exhausted");
        } else {
            self.advance(None, store)?;
        }
        match self.event {
            Event::Trapped(ours) if same_trap(ours, theirs) => {}
            _ => {
                let event = format!("{:?}", self.event);
                return self.differ("the call's end", event, theirs.to_string());
            }
        }
        count(&mut self.outcome.ends, "trap");
        self.compare_everything(store)
    }

    /// Where the oracle stands.
    fn position(&self) -> Option<(FuncIdx, WasmOffset)> {
        self.oracle.top().map(|top| (top.boundary.func, top.boundary.offset))
    }

    /// Whether the oracle stands at a function's last instruction. Wasmtime stops
    /// there if it is not past the function already.
    fn is_at_function_end(&self) -> bool {
        self.position().is_some_and(|(func, offset)| {
            let end = self.module.body(func).map(|body| body.end.get());
            end == Some(offset.get() + 1)
        })
    }

    fn mnemonic_slot(&mut self) -> Option<usize> {
        let (func, offset) = self.position()?;
        if let Some(&slot) = self.mnemonics.get(&offset) {
            return Some(slot);
        }
        let text = self.module.mnemonic(func, offset)?;
        let name = text.split(' ').next().unwrap_or_default();
        let slot = match self.executed.iter().position(|(known, _)| known == name) {
            Some(slot) => slot,
            None => {
                self.executed.push((name.to_string(), 0));
                self.executed.len() - 1
            }
        };
        self.mnemonics.insert(offset, slot);
        Some(slot)
    }

    fn mnemonic_here(&mut self) -> Option<String> {
        let slot = self.mnemonic_slot()?;
        self.executed.get(slot).map(|(name, _)| name.clone())
    }

    /// Records a difference at the oracle's position.
    pub(crate) fn differ<T>(
        &mut self,
        what: impl Into<String>,
        oracle: String,
        wasmtime: String,
    ) -> Result<T, Halt> {
        let place = self.oracle.top().map(|top| {
            let func = top.boundary.func;
            let text = |offset| self.module.mnemonic(func, offset);
            Place {
                boundary: top.boundary,
                instruction: text(top.boundary.offset).unwrap_or_default(),
                previous: self.previous.and_then(|offset| {
                    let func = self.module.func_at(offset)?;
                    self.module.mnemonic(func, offset)
                }),
                executed: self.oracle.instructions_executed(),
            }
        });
        self.outcome.differences.push(Difference { place, what: what.into(), oracle, wasmtime });
        Err(Halt::Difference)
    }

    /// Damages the oracle once, if the options say so.
    fn perturb(&mut self) {
        let Some((perturbation, after)) = self.options.perturbation else { return };
        if self.perturbed || self.stops < after {
            return;
        }
        self.perturbed = match perturbation {
            Perturbation::Slot => {
                let Some(top) = self.oracle.top() else { return };
                let types = || top.local_types().iter().copied().chain(top.operand_types());
                let slot = types().rposition_of_number();
                let damaged = slot.and_then(|slot| {
                    let (ty, cell) = (types().nth(slot)?, *top.slots.get(slot)?);
                    Some((slot, Value::from_cell(ty, wasm_view::Cell(cell.0 ^ 1))))
                });
                damaged.is_some_and(|(slot, value)| {
                    let slot = wasm_view::SlotIdx::from_index(slot);
                    self.oracle.set_slot(slot, value).is_ok()
                })
            }
            Perturbation::Memory => {
                let memory = self.oracle.instance(self.instance).memories.first().copied();
                let byte = memory.and_then(|memory| self.oracle.memory(memory).last().copied());
                memory.zip(byte).is_some_and(|(memory, byte)| {
                    let address = self.oracle.memory(memory).len() as u64 - 1;
                    let written = self.oracle.host_write(memory, address, &[byte ^ 1]);
                    // As if nothing had been written.
                    self.oracle.clear_writes();
                    written.is_ok()
                })
            }
        };
    }

    /// The outcome, when the module is done with.
    pub(crate) fn into_outcome(mut self) -> Outcome {
        self.outcome.instructions = self.oracle.instructions_executed();
        self.outcome.executed = self.executed.into_iter().filter(|(_, n)| *n > 0).collect();
        self.outcome
    }
}

/// The last slot that is a number, which is the most recent result.
trait LastNumber {
    fn rposition_of_number(self) -> Option<usize>;
}

impl<I: Iterator<Item = wasm_view::ValType>> LastNumber for I {
    fn rposition_of_number(self) -> Option<usize> {
        self.enumerate()
            .filter(|(_, ty)| !matches!(ty, wasm_view::ValType::Ref(_)))
            .map(|(slot, _)| slot)
            .last()
    }
}

/// An error of Wasmtime's debugging interface, which is none of the program's.
pub(crate) fn cannot(error: wasmtime::Error) -> Halt {
    Halt::Cannot(format!("Wasmtime: {error}"))
}

/// Whether a trap of Wasmtime's is the one that the oracle met. The oracle's
/// texts are those of the specification's suite; Wasmtime's are, but for some.
pub(crate) fn same_trap(ours: Trap, theirs: wasmtime::Trap) -> bool {
    use wasmtime::Trap as T;
    let texts: &[&str] = match theirs {
        T::StackOverflow => &["call stack exhausted"],
        T::MemoryOutOfBounds => &["out of bounds memory access"],
        T::HeapMisaligned => &["unaligned atomic"],
        // One code for `call_indirect` and for table instructions.
        T::TableOutOfBounds => &["undefined element", "out of bounds table access"],
        T::IndirectCallToNull => &["uninitialized element"],
        T::BadSignature => &["indirect call type mismatch"],
        T::IntegerOverflow => &["integer overflow"],
        T::IntegerDivisionByZero => &["integer divide by zero"],
        T::BadConversionToInteger => &["invalid conversion to integer"],
        T::UnreachableCodeReached => &["unreachable"],
        T::AtomicWaitNonSharedMemory => &["expected shared memory"],
        // The specification words it by the kind of reference.
        T::NullReference => &[
            "null reference",
            "null function reference",
            "null structure reference",
            "null array reference",
            "null i31 reference",
            "null exception reference",
        ],
        T::ArrayOutOfBounds => &["out of bounds array access"],
        T::CastFailure => &["cast failure"],
        _ => &[],
    };
    texts.contains(&ours.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trap_of_the_oracle_is_one_of_wasmtimes() {
        let theirs = || (0..=u8::MAX).filter_map(wasmtime::Trap::from_u8);
        for ours in Trap::ALL {
            assert_eq!(theirs().filter(|theirs| same_trap(*ours, *theirs)).count(), 1, "{ours}");
        }
    }
}
