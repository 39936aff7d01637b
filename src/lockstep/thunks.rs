//! What AOT code asks of its kernel and its host, and with which arguments.
//!
//! Thunks are where the subject's code leaves itself: host calls, and the
//! operations that [`super::kernel`] carries out. Both sides must ask for the
//! same thing with the same arguments. For a host call the oracle says so with
//! an event; an operation is one instruction to the oracle, so it is read off
//! the module at the boundary where both stood last, and its arguments are the
//! operands that the oracle had there. A wrong argument is found even if it
//! changes nothing that anyone could see later.

use super::compare::{difference, same};
use super::follow::{Ending, Host, Lockstep, Next};
use super::kernel::{Kernel, Served};
use super::stops::{Phase, Selection};
use crate::error::CommandError;
use crate::world::OracleMemory;
use dwarf_map::ThunkKind;
use oracle_interp::{Event, HostCall, Instance, Module};
use reports::{DivergenceKind, InconclusiveReason, Slot, SlotName, SlotType};
use std::sync::atomic::Ordering;
use wasi_host::{HostError, HostReturn, Outcome};
use wasm_view::{
    Boundary, DataIdx, ElemIdx, InstanceId, MemoryIdx, TableIdx, TagIdx, ValType, Value,
};
use wasmparser::Operator;

/// Most operands that an operation takes.
const MOST_OPERANDS: usize = 3;

impl Lockstep<'_> {
    /// Keeps the operands of the boundary at which both sides stand.
    #[inline]
    pub(super) fn keep_operands(&mut self) {
        if let Some(top) = self.oracle.top() {
            let from = top.operands.len().saturating_sub(MOST_OPERANDS);
            self.operands.clear();
            self.operands.extend_from_slice(&top.operands[from..]);
        }
    }

    /// The subject halted at a thunk.
    pub(super) fn meet_thunk(&mut self, event: Event, index: usize) -> Result<Next, CommandError> {
        let image = self.image;
        let thunk = &image.map.thunks[index];
        let owner = self.plan.thunk_owner(index);
        if let ThunkKind::Import(func) = thunk.kind {
            return match event {
                Event::HostCall(call) if (call.instance, call.func) == (owner, func) => {
                    self.host_call(call)
                }
                event => {
                    let name = self.import_name(owner, func);
                    self.unexpected(event, format!("the subject calls the host function {name}"))
                }
            };
        }
        // Where stops are skipped the oracle may be many instructions further.
        if !matches!(self.selection, Selection::Some(_)) {
            let last = self.last.filter(|last| last.instance == owner);
            let asked = last.and_then(|last| operation(self.module(owner), last));
            let asked = asked.filter(|_| self.takes_awaited());
            if asked != Some(thunk.kind) {
                let what = match asked {
                    Some(asked) => format!("it is {}, the subject asks for {}", asked, thunk.kind),
                    None => format!("it needs none, the subject asks for {}", thunk.kind),
                };
                let what = format!("the operation differs: {what}");
                return self.diverged_behind(DivergenceKind::ControlFlow, what, Vec::new());
            }
            if matches!(thunk.kind, ThunkKind::Throw(_) | ThunkKind::ThrowRef) {
                return self.meet_throw(event, owner, thunk);
            }
            let types = &thunk.ty.params;
            let from = self.operands.len().saturating_sub(types.len());
            let cells = self.operands[from..].iter();
            let mut args: Vec<Value> =
                types.iter().zip(cells).map(|(ty, cell)| Value::from_cell(*ty, *cell)).collect();
            if let (Some(offset), Some(Value::I64(address))) = (
                self.last.and_then(|last| constant_offset(self.module(owner), last)),
                args.first_mut(),
            ) {
                *address = address.wrapping_add(offset);
            }
            let wrong = self.argument_differences(owner, &args)?;
            if !wrong.is_empty() {
                let what = format!("the arguments of {} differ", thunk.kind);
                return self.diverged_behind(DivergenceKind::Operand, what, wrong);
            }
        }
        if matches!(thunk.kind, ThunkKind::Throw(_) | ThunkKind::ThrowRef) {
            return self.meet_throw(event, owner, thunk);
        }
        let Some(kernel) = &mut self.kernels[owner.index()] else {
            return Err(CommandError::bug("an operation of an instance that does not exist"));
        };
        match kernel.serve(&mut self.subject, &self.spaces[owner.index()], thunk.kind)? {
            Served::Done => {
                let Selection::Shipped(_) = self.selection else { return Ok(Next::Go(event)) };
                if !matches!(event, Event::Boundary) {
                    return Ok(Next::Go(event));
                }
                self.adopt_growth(owner, &thunk.ty.results)?;
                Ok(Next::Go(self.advance_shipped(true)))
            }
            Served::Trapped(trap) => match event {
                Event::Trapped(expected) if expected == trap => self.trapped(trap),
                event => {
                    self.unexpected(event, format!("the subject's {} trapped: {trap}", thunk.kind))
                }
            },
        }
    }

    /// Whether the oracle has executed the operation that the subject now asks
    /// for; once for each.
    fn takes_awaited(&mut self) -> bool {
        self.selection.shipped_mut().is_none_or(|shipped| std::mem::take(&mut shipped.awaiting))
    }

    /// Lets the oracle take over whether something could grow: the result is in
    /// the subject's argument area.
    fn adopt_growth(&mut self, owner: InstanceId, results: &[ValType]) -> Result<(), CommandError> {
        let (Some(choice), [ty]) = (self.oracle.choice(), results) else { return Ok(()) };
        let actual = self.spaces[owner.index()].argument(&self.subject, 0, *ty)?.to_cell();
        let own = self.oracle.top().and_then(|top| top.operands.last().copied());
        if own != Some(actual) && choice.allows(actual) {
            self.oracle.adopt(&choice, actual).map_err(CommandError::bug)?;
            self.stats.adopt(choice.kind.name());
        }
        Ok(())
    }

    fn module(&self, instance: InstanceId) -> &Module {
        &self.oracle.instance(instance).module
    }

    /// What differs from `expected` in an instance's argument area.
    pub(super) fn argument_differences(
        &self,
        instance: InstanceId,
        expected: &[Value],
    ) -> Result<Vec<Slot>, CommandError> {
        let space = &self.spaces[instance.index()];
        let mut wrong = Vec::new();
        for (index, value) in expected.iter().enumerate() {
            let actual = space.argument(&self.subject, index as u32, value.ty())?;
            if !same(actual, *value) {
                let name = SlotName::Argument(index as u32);
                wrong.push(difference(name, *value, Some(actual), "argument area".into()));
            }
        }
        Ok(wrong)
    }

    /// Segments that one side has dropped and the other has not.
    pub(super) fn dropped_differences(&self) -> Vec<Slot> {
        let kernels = self.oracle.instances().iter().zip(&self.kernels);
        let both = kernels.filter_map(|(instance, kernel)| Some((instance, kernel.as_ref()?)));
        both.flat_map(|(instance, kernel)| dropped_differences(instance, kernel)).collect()
    }

    fn host_call(&mut self, call: HostCall) -> Result<Next, CommandError> {
        let owner = call.instance;
        let mut wrong = self.argument_differences(owner, &call.args)?;
        if !wrong.is_empty() {
            let arguments = (0..).zip(&call.args);
            let space = &self.spaces[owner.index()];
            let actual = arguments.map(|(at, arg)| space.argument(&self.subject, at, arg.ty()));
            let actual: Vec<Value> = actual.collect::<Result<_, _>>()?;
            wrong.retain(|slot| match slot.slot {
                SlotName::Argument(at) => !self.settle_given(&call.args, &actual, at as usize),
                _ => true,
            });
        }
        let name = self.import_name(owner, call.func);
        if !wrong.is_empty() {
            let what = format!("the arguments of the host call {name} differ");
            return self.diverged(DivergenceKind::HostCall, what, wrong);
        }
        self.oracle.clear_writes();
        let (wrong, watch) = self.compare_whole()?;
        if !wrong.is_empty() {
            return self.whole_difference(&format!("at the host call {name}"), wrong, watch);
        }
        self.stats.host_calls += 1;
        let module = self.oracle.instance(owner).module.clone();
        let Some(import) = module.function_import(call.func) else {
            return Err(CommandError::bug("a host call of no import"));
        };
        let memory = self.oracle.instance(owner).memories.first().copied();
        let mut guest = OracleMemory::new(&mut self.oracle, memory);
        self.control.enter(Phase::HostCall);
        let returned = match &mut self.host {
            Host::Wasi(world) => world.call(&import.module, &import.name, &call.args, &mut guest),
            Host::Shared(world) => {
                let mut world = world.borrow_mut();
                world.call(&import.module, &import.name, &call.args, &mut guest)
            }
            Host::Spectest => Ok(spectest_returns()),
        };
        self.control.stops.store(self.stats.stops, Ordering::Relaxed);
        self.control.enter(Phase::Comparing);
        if let (Err(HostError::Cancelled), Some(request)) = (&returned, self.control.request()) {
            return Ok(Next::End(self.asked(request)));
        }
        let returned = match returned {
            Ok(returned) => returned,
            Err(error) => return Ok(Next::End(host_error(&name, error))),
        };
        let space = &self.spaces[owner.index()];
        for write in &returned.writes {
            let Some(id) = space.memories.first() else { break };
            self.subject
                .region(*id)
                .write(write.address, &write.bytes)
                .map_err(CommandError::bug)?;
        }
        self.oracle.clear_writes();
        match returned.outcome {
            Outcome::Exit(code) => Ok(Next::End(Ending::Exited(code))),
            Outcome::Return(values) => {
                for (index, value) in values.iter().enumerate() {
                    space.set_argument(&self.subject, index as u32, *value)?;
                }
                let event = self.oracle.finish_host_call(&values).map_err(CommandError::bug)?;
                // Skipped boundaries are executed by both sides up to the next stop.
                let event = match (&event, &self.selection) {
                    (Event::Boundary, Selection::Some(_)) => self.advance_sparse(true),
                    (Event::Boundary, Selection::Shipped(_)) => self.advance_shipped(true),
                    _ => event,
                };
                Ok(Next::Go(event))
            }
        }
    }
}

/// Segments of an instance that one side has dropped and the other has not.
fn dropped_differences(instance: &Instance, kernel: &Kernel) -> Vec<Slot> {
    let module = &instance.module;
    let data = (0..module.num_data_segments()).map(|index| {
        let expected = instance.is_data_dropped(DataIdx::new(index));
        let actual = kernel.is_data_dropped(DataIdx::new(index));
        (SlotName::DroppedData(index), expected, actual)
    });
    let elements = (0..module.num_element_segments()).map(|index| {
        let expected = instance.element_segment(ElemIdx::new(index)).is_empty();
        let actual = kernel.is_element_dropped(ElemIdx::new(index));
        (SlotName::DroppedElement(index), expected, actual)
    });
    data.chain(elements)
        .filter(|(_, expected, actual)| expected != actual)
        .map(|(name, expected, actual)| {
            let number = |dropped| Some(u64::from(dropped));
            Slot::number(name, SlotType::U64, number(expected), number(actual))
        })
        .collect()
}

/// What every function of `spectest` does: nothing.
fn spectest_returns() -> HostReturn {
    HostReturn { outcome: Outcome::Return(Vec::new()), writes: Vec::new() }
}

/// The operation that the instruction at a boundary asks its kernel for.
pub(super) fn operation(module: &Module, at: Boundary) -> Option<ThunkKind> {
    let (memory, table) = (MemoryIdx::new, TableIdx::new);
    Some(match module.operator(at.func, at.offset)? {
        Operator::MemoryGrow { mem } => ThunkKind::MemoryGrow(memory(mem)),
        Operator::MemoryFill { mem } => ThunkKind::MemoryFill(memory(mem)),
        Operator::MemoryCopy { dst_mem, src_mem } => {
            ThunkKind::MemoryCopy { destination: memory(dst_mem), source: memory(src_mem) }
        }
        Operator::MemoryInit { data_index, mem } => {
            ThunkKind::MemoryInit { memory: memory(mem), data: DataIdx::new(data_index) }
        }
        Operator::DataDrop { data_index } => ThunkKind::DataDrop(DataIdx::new(data_index)),
        Operator::TableGrow { table: index } => ThunkKind::TableGrow(table(index)),
        Operator::TableFill { table: index } => ThunkKind::TableFill(table(index)),
        Operator::TableCopy { dst_table, src_table } => {
            ThunkKind::TableCopy { destination: table(dst_table), source: table(src_table) }
        }
        Operator::TableInit { elem_index, table: index } => {
            ThunkKind::TableInit { table: table(index), elem: ElemIdx::new(elem_index) }
        }
        Operator::ElemDrop { elem_index } => ThunkKind::ElemDrop(ElemIdx::new(elem_index)),
        Operator::MemoryAtomicNotify { memarg } => ThunkKind::MemoryNotify(memory(memarg.memory)),
        Operator::MemoryAtomicWait32 { memarg } => ThunkKind::MemoryWait32(memory(memarg.memory)),
        Operator::MemoryAtomicWait64 { memarg } => ThunkKind::MemoryWait64(memory(memarg.memory)),
        Operator::Throw { tag_index } => ThunkKind::Throw(TagIdx::new(tag_index)),
        Operator::ThrowRef | Operator::Rethrow { .. } => ThunkKind::ThrowRef,
        _ => return None,
    })
}

/// What is added to the first operand of the instruction at a boundary to get
/// the address that it asks its kernel about.
fn constant_offset(module: &Module, at: Boundary) -> Option<u64> {
    match module.operator(at.func, at.offset)? {
        Operator::MemoryAtomicNotify { memarg }
        | Operator::MemoryAtomicWait32 { memarg }
        | Operator::MemoryAtomicWait64 { memarg } => Some(memarg.offset),
        _ => None,
    }
}

fn host_error(name: &str, error: HostError) -> Ending {
    let reason = match &error {
        HostError::Diverged { .. } | HostError::LogExhausted { .. } => InconclusiveReason::Replay,
        HostError::Unsupported { .. } => InconclusiveReason::Unsupported,
        _ => InconclusiveReason::Environment,
    };
    Ending::Inconclusive { reason, detail: format!("host call {name}: {error}") }
}
