//! Restoring: a subject is given a program's state, frame by frame through the
//! entries of their functions.

use super::fault::{RestoreFault, RestoreFaultKind};
use super::{Progress, native};
use crate::error::CommandError;
use crate::lockstep::entry::enter;
use crate::lockstep::follow::{Ending, Lockstep};
use crate::lockstep::frames::NativeFrame;
use crate::lockstep::kernel::Kernel;
use crate::lockstep::plan::{BoundaryId, Site};
use crate::lockstep::space::Polls;
use crate::lockstep::throw::{Exception, Exceptions};
use aot_backend::instance_register;
use dwarf_map::{FunctionMap, Isa, StablePoint, SubjectAddr, buffer_bytes, erased};
use oracle_interp::Event;
use tracer::{RegionId, Stop};
use wasm_view::{
    Boundary, Frame, FuncAddr, FuncIdx, InstanceId, MemoryIdx, TableIdx, TypeIdx, ValType, Value,
};
use wasmparser::Operator;

/// DWARF number of the stack pointer.
const RSP: u16 = 7;
/// The trap instruction.
const INT3: u8 = 0xcc;

/// How the call that a restored caller makes is led to the frame below it.
#[derive(Default)]
struct Lead {
    /// The last operand, if the call takes one that says whom to call.
    operand: Option<u128>,
    /// The first element of the table that it goes through is another one for a
    /// moment: where, and what was there.
    element: Option<(RegionId, u64)>,
    /// The function that it calls, if a tail call had put another one in its
    /// place: position in the map.
    stand_in: Option<u32>,
}

impl Lockstep<'_> {
    /// Gives the subject the oracle's state, whatever it did before. Both then
    /// stand where the oracle stood, and everything has been compared there.
    ///
    /// # Errors
    /// An image without restore edges; what the host refuses.
    pub fn restore(&mut self) -> Result<Progress, CommandError> {
        if self.oracle.depth() == 0 {
            return Err(CommandError::input("there is no frame to restore"));
        }
        self.begin_turn();
        if let Some(shipped) = self.selection.shipped_mut() {
            shipped.restore();
        }
        if let Some(ending) = self.restore_store()? {
            return Ok(Progress::Ended(ending));
        }
        self.oracle.set_throw_log(true);
        let depth = self.oracle.depth();
        let mut lead = Lead::default();
        let leaves_out = self.fault.is_some_and(|fault| fault.kind == RestoreFaultKind::Frame);
        let leaves_out = leaves_out && depth > 1 && !self.innermost_is_as_called();
        let restored = depth - usize::from(leaves_out);
        if restored < depth {
            self.fault = None;
            self.spoilt = Some("the innermost frame left out".to_owned());
        }
        for index in 0..restored {
            let frame = self.oracle.frame(index).map(|frame| frame.to_frame());
            let frame = frame.ok_or_else(|| CommandError::bug("a frame vanished"))?;
            let reached = self.restore_frame(index, &frame, &mut lead)?;
            if let Some(ending) = reached {
                return Ok(Progress::Ended(ending));
            }
        }
        // The next stop is the innermost frame's boundary: as at any other one,
        // everything is compared there, and this time all frames.
        self.force_walk();
        self.pause = Some(1);
        self.follow(Event::Boundary)
    }

    /// Memories, tables, globals and segments.
    fn restore_store(&mut self) -> Result<Option<Ending>, CommandError> {
        let (memories, tables) = (self.oracle.num_memories(), self.oracle.num_tables());
        for (id, (owner, index)) in self.owners.memories.iter().enumerate().take(memories) {
            let bytes = self.oracle.memory(wasm_view::MemoryId::from_index(id));
            let space = &self.spaces[owner.index()];
            let region = space.memories[index.index()];
            if self.subject.region(region).len() != bytes.len() as u64 {
                self.subject.resize(region, bytes.len() as u64).map_err(CommandError::host)?;
                space.set_memory_size(
                    &self.subject,
                    MemoryIdx::new(index.get()),
                    bytes.len() as u64,
                )?;
            }
            // Of a subject that had the program before, most of it is there.
            self.subject.region(region).update(0, bytes).map_err(CommandError::bug)?;
        }
        for (id, (owner, index)) in self.owners.tables.iter().enumerate().take(tables) {
            let id = wasm_view::TableId::from_index(id);
            let space = &self.spaces[owner.index()];
            let ty = ValType::Ref(space.table_types[index.index()].element);
            let cells = self.oracle.table(id);
            let table = TableIdx::new(index.get());
            space
                .make_room(&mut self.subject, table, cells.len() as u64)
                .map_err(CommandError::host)?;
            let region = self.subject.region(space.tables[index.index()]);
            for (at, cell) in (0..).zip(cells) {
                let word = space.native(ty, *cell);
                if region.read_u64(at * 8).map_err(CommandError::bug)? != word {
                    region.write_u64(at * 8, word).map_err(CommandError::bug)?;
                }
            }
            space.set_table_size(&self.subject, table, cells.len() as u64)?;
        }
        let globals: Vec<_> = self.defined_globals().collect();
        for (number, (owner, index)) in globals.into_iter().enumerate() {
            let value = self.oracle.global_value(wasm_view::GlobalId::from_index(number));
            let space = &self.spaces[owner.index()];
            space.set_global(&self.subject, index, native(space, value))?;
        }
        self.exceptions = Exceptions::default();
        for (exn, tag, args) in self.oracle.exceptions() {
            let args = args.iter().map(|value| native(&self.spaces[0], *value)).collect();
            self.exceptions.restore(u64::from(exn.get()) + 1, Exception { tag, args });
        }
        for instance in 0..self.oracle.instances().len() {
            let id = InstanceId::from_index(instance);
            let module = self.oracle.instance(id).module.clone();
            self.kernels[instance] = Some(Kernel::restored(module, &self.oracle, id));
        }
        self.oracle.clear_writes();
        let (wrong, _) = self.compare_whole()?;
        if wrong.is_empty() {
            return Ok(None);
        }
        let what = format!("{} differs after restoring the store", wrong[0].slot);
        self.refused(what, wrong).map(Some)
    }

    /// Enters a frame's function, the caller's call being about to be executed,
    /// and sends it to where the frame stands. The subject is then about to
    /// reach that boundary; all but the innermost frame reach it here.
    fn restore_frame(
        &mut self,
        index: usize,
        frame: &Frame,
        lead: &mut Lead,
    ) -> Result<Option<Ending>, CommandError> {
        let image = self.image;
        let Boundary { instance, func, offset } = frame.boundary;
        let place = self.plan.boundary(frame.boundary, &image.map);
        let place = place.ok_or_else(|| CommandError::bug("a frame without code"))?;
        let function = &image.map.functions[place.function as usize];
        if index == 0 {
            let ty = self.oracle.instance(instance).module.func_type(func).cloned();
            let ty = ty.ok_or_else(|| CommandError::bug("a frame without a type"))?;
            let arguments: Vec<Value> =
                ty.params.iter().map(|ty| Value::default_of(erased(*ty))).collect();
            self.set_called(instance);
            let space = &self.spaces[instance.index()];
            enter(&mut self.subject, space, image, func, &ty, &arguments)?;
        }
        let [Some(entry), Some(point)] =
            [function.boundaries.first().map(|first| first.offset), Some(offset)]
                .map(|offset| offset.and_then(|offset| function.stable_point(offset)))
        else {
            return Err(CommandError::unsupported(format_args!(
                "restoring a frame at {offset} of function {func}: no stable point is compiled in there, see --stable"
            )));
        };
        let Some(restore) = point.restore else {
            return Err(CommandError::unsupported(
                "the image's stable points have no restore edges",
            ));
        };
        let Lead { element, stand_in, .. } = std::mem::take(lead);
        if let Some(stand_in) = stand_in
            && let Some(ending) = self.replace(stand_in, place.function)?
        {
            return Ok(Some(ending));
        }
        let expected = BoundaryId { function: place.function, index: 0 };
        self.meet_at(expected)?;
        if let Some(ending) = self.reach(expected, "the entry of a function to restore")? {
            return Ok(Some(ending));
        }
        if let Some((region, word)) = element {
            self.subject.region(region).write_u64(0, word).map_err(CommandError::bug)?;
        }
        // Through the poll into the cold path, up to its trap.
        self.write_poll(entry, true)?;
        self.execute_poll(entry);
        self.spaces[instance.index()].send(&self.subject, Polls::ToColdPath)?;
        match self.next_stop()? {
            Ok(Stop::Trap { pc }) if pc == entry.trap.at(image.text_address) => self.pc = pc,
            Ok(stop) => {
                let what = format!("the cold path of an entry does not reach its trap: {stop:x?}");
                return self.refused(what, Vec::new()).map(Some);
            }
            Err(ending) => return Ok(Some(ending)),
        }
        self.write_poll(entry, false)?;
        if self.selection.shipped_mut().is_some()
            && let Some(anchor) = function.boundaries.first().and_then(|first| first.anchor.pc())
        {
            // The stop there, over which the poll was written.
            self.subject.text().write_code(anchor, &[INT3]).map_err(CommandError::input)?;
        }
        let innermost = index + 1 == self.oracle.depth();
        let wanted = self.oracle.depth();
        let wanted = self.fault.is_some_and(|fault| fault.draw(0, wanted) == index);
        let fault = if wanted { self.fault } else { None };
        self.fill_buffer(function, point, frame, index, lead, fault)?;
        self.spaces[instance.index()].send(&self.subject, Polls::Past(restore.get()))?;
        self.meet_at(place)?;
        if !innermost
            && let Some(ending) = self.reach(place, "the call at which a frame is suspended")?
        {
            return Ok(Some(ending));
        }
        // Where the caller's stack ends behind its call depends on whom it calls,
        // where the frame lies on whose it is.
        let frame = match self.frames.last() {
            Some(caller) => {
                let called = stand_in.unwrap_or(place.function);
                let arguments = image.map.functions[called as usize].stack_arguments;
                let size = image.map.functions[caller.function as usize].frame_size;
                let end = caller.cfa.offset(i64::from(arguments) - i64::from(size));
                NativeFrame {
                    cfa: self.frame_below(end, place.function),
                    function: place.function,
                    end,
                }
            }
            None if innermost => return Ok(None),
            None => {
                let cfa = self.cfa(place)?;
                let above = image.map.isa().cfa_above_stack();
                let end = cfa.offset(i64::from(function.argument_area) - above);
                NativeFrame { cfa, function: place.function, end }
            }
        };
        self.frames.push(frame);
        Ok(None)
    }

    /// Writes what a frame holds at its stable point into the state buffer. Of a
    /// suspended frame the operands of its call are gone: whatever serves to
    /// make the call again is put there.
    fn fill_buffer(
        &mut self,
        function: &FunctionMap,
        point: &StablePoint,
        frame: &Frame,
        index: usize,
        lead: &mut Lead,
        fault: Option<RestoreFault>,
    ) -> Result<(), CommandError> {
        let innermost = index + 1 == self.oracle.depth();
        let instance = frame.boundary.instance;
        let space = &self.spaces[instance.index()];
        let operands = function.boundaries.iter().find(|each| each.offset == point.offset);
        let operands = operands.map(|boundary| boundary.operands.as_slice()).unwrap_or_default();
        let slots = function.locals.len() + operands.len();
        let mut values: Vec<u128> = frame
            .locals
            .iter()
            .chain(&frame.operands)
            .map(|(_, value)| native(space, *value))
            .collect();
        if values.len() > slots || innermost && values.len() < slots {
            return Err(CommandError::bug("a frame with other slots than the map has"));
        }
        values.resize(slots, 0);
        if !innermost {
            let callee = self.oracle.frame(index + 1).map(|frame| frame.boundary);
            let callee = callee.ok_or_else(|| CommandError::bug("a call of nothing"))?;
            let callee = FuncAddr { instance: callee.instance, func: callee.func };
            *lead = self.lead_to(frame.boundary, callee)?;
            if let (Some(word), Some(last)) = (lead.operand, values.last_mut()) {
                *last = word;
            }
        }
        if let Some(fault) = fault {
            self.spoil(fault, frame, point, &mut values)?;
        }
        let space = &self.spaces[instance.index()];
        let data = self.subject.region(space.data);
        for &(slot, offset) in &point.slots {
            let bits = values.get(slot.index()).copied().unwrap_or_default();
            let ty = function.locals.iter().chain(operands).nth(slot.index());
            let width = ty.map_or(8, |ty| buffer_bytes(*ty)) as usize;
            data.write(space.state_offset(offset), &bits.to_le_bytes()[..width])
                .map_err(CommandError::bug)?;
        }
        Ok(())
    }

    /// How to have the call at a boundary lead to a function.
    fn lead_to(&mut self, call: Boundary, callee: FuncAddr) -> Result<Lead, CommandError> {
        let instance = self.oracle.instance(call.instance);
        let module = instance.module.clone();
        let store_type = |ty: u32| instance.type_id(TypeIdx::new(ty));
        let type_of = |at: FuncAddr| {
            let instance = self.oracle.instance(at.instance);
            instance.type_id(instance.module.func_type_index(at.func)?)
        };
        let called = |func: FuncAddr| (func != callee).then_some(func);
        // By type: the callee itself, or any function that fits.
        let by_type = |ty: u32| {
            let ty = store_type(ty);
            if ty == type_of(callee) {
                return Ok(None);
            }
            let functions = &self.image.map.functions;
            let fitting = (0_u32..).zip(functions).find_map(|(position, function)| {
                let at = FuncAddr { instance: self.plan.owner(position), func: function.func };
                (type_of(at) == ty).then_some(at)
            });
            fitting.map(Some).ok_or_else(|| {
                CommandError::unsupported(format_args!(
                    "restoring the caller at {} of function {}: a tail call has put a function in the place of the imported one that it called",
                    call.offset, call.func
                ))
            })
        };
        let space = &self.spaces[call.instance.index()];
        let word = |func: FuncAddr| space.native(ValType::FUNCREF, func.to_cell());
        let position = |func: Option<FuncAddr>| match func {
            None => Ok(None),
            Some(func) => match self.plan.position(func.instance, func.func) {
                Some(position) => Ok(Some(position)),
                None => Err(CommandError::unsupported(format_args!(
                    "restoring the caller at {} of function {}: what it called is not of this image",
                    call.offset, call.func
                ))),
            },
        };
        match module.operator(call.func, call.offset) {
            Some(Operator::Call { function_index }) => {
                let stand_in = position(called(instance.resolve(FuncIdx::new(function_index))))?;
                Ok(Lead { stand_in, ..Lead::default() })
            }
            Some(Operator::CallIndirect { table_index, type_index }) => {
                let other = by_type(type_index)?;
                // Its first element: a table that was called through has one.
                let id = space.tables[TableIdx::new(table_index).index()];
                let region = self.subject.region(id);
                let old = region.read_u64(0).map_err(CommandError::bug)?;
                region.write_u64(0, word(other.unwrap_or(callee))).map_err(CommandError::bug)?;
                let stand_in = position(other)?;
                Ok(Lead { operand: Some(0), element: Some((id, old)), stand_in })
            }
            Some(Operator::CallRef { type_index }) => {
                let other = by_type(type_index)?;
                let operand = Some(u128::from(word(other.unwrap_or(callee))));
                Ok(Lead { operand, element: None, stand_in: position(other)? })
            }
            _ => Err(CommandError::bug("a frame suspended at no call")),
        }
    }

    /// Does what the tail call did that put `function` in the place of
    /// `stand_in`: halts the call of that one at its first byte, moves the
    /// return address to where the other's arguments end, and goes on there.
    fn replace(&mut self, stand_in: u32, function: u32) -> Result<Option<Ending>, CommandError> {
        let image = self.image;
        // Emulated code cannot be written over.
        if image.map.isa() != Isa::X86_64 {
            return Err(CommandError::unsupported(format_args!(
                "restoring a caller on {} where a tail call has put function {} in the place of the one that it called",
                image.map.isa().name(),
                image.map.functions[function as usize].func
            )));
        }
        let [called, wanted] = [stand_in, function].map(|at| &image.map.functions[at as usize]);
        let first = called.code.start;
        let saved = image.text.get(first.get() as usize).copied();
        let saved = saved.ok_or_else(|| CommandError::input("a function outside of the code"))?;
        self.subject.text().write_code(first, &[INT3]).map_err(CommandError::input)?;
        let stop = self.next_stop()?;
        self.subject.text().write_code(first, &[saved]).map_err(CommandError::input)?;
        match stop {
            Ok(Stop::Trap { pc }) if pc == first.at(image.text_address) => {}
            Ok(stop) => {
                let what = format!("the function that was called first was not reached: {stop:x?}");
                return self.refused(what, Vec::new()).map(Some);
            }
            Err(ending) => return Ok(Some(ending)),
        }
        let mut regs = *self.subject.regs();
        let stack = SubjectAddr::new(regs.dwarf(RSP).unwrap_or_default());
        let returns_to = self.read_stack(stack);
        let difference = i64::from(called.stack_arguments) - i64::from(wanted.stack_arguments);
        let moved = stack.offset(difference);
        let place = self.space().stack_offset(moved);
        let (Some(address), Some(place)) = (returns_to, place) else {
            return Err(CommandError::input("a call that leaves no return address"));
        };
        let region = self.subject.region(self.space().stack);
        region.write_u64(place, address).map_err(CommandError::bug)?;
        let owner = self.plan.owner(function);
        let data = self.spaces[owner.index()].instance_data();
        let ty = self.oracle.instance(owner).module.func_type(wanted.func);
        let ty = ty.ok_or_else(|| CommandError::bug("a function without a type"))?;
        regs.set_rsp(moved.get());
        regs.set_dwarf(instance_register(ty), data.get());
        regs.set_rip(wanted.code.start.at(image.text_address).get());
        self.subject.set_regs(&regs);
        Ok(None)
    }

    /// Arms a poll, or silences it again.
    fn write_poll(&self, point: &StablePoint, armed: bool) -> Result<(), CommandError> {
        let start = point.poll.get() as usize;
        let silent = self.image.text.get(start..start + point.armed.len());
        let silent = silent.ok_or_else(|| CommandError::input("a poll outside of the code"))?;
        let bytes = if armed { point.armed.as_slice() } else { silent };
        self.subject.text().write_code(point.poll, bytes).map_err(CommandError::input)
    }

    /// Has a subject that is halted over a poll, as code without traps is, go through
    /// the poll as it is now.
    fn execute_poll(&mut self, point: &StablePoint) {
        if self.selection.shipped_mut().is_some() {
            let mut regs = *self.subject.regs();
            regs.set_rip(point.poll.at(self.image.text_address).get());
            self.subject.set_regs(&regs);
        }
    }

    /// Resumes the subject, which must come to a boundary.
    fn reach(&mut self, at: BoundaryId, what: &str) -> Result<Option<Ending>, CommandError> {
        match self.next_stop()? {
            Ok(Stop::Trap { pc }) => {
                self.pc = pc;
                self.met()?;
                match self.plan.site(pc) {
                    Some(Site::Boundary(there)) if there == at => Ok(None),
                    Some(Site::Boundary(there)) => {
                        let what = format!("instead of {what} it came to {}", self.name(there));
                        self.refused(what, Vec::new()).map(Some)
                    }
                    _ => self.refused(format!("{what} was not reached"), Vec::new()).map(Some),
                }
            }
            Ok(stop) => {
                self.refused(format!("{what} was not reached: {stop:x?}"), Vec::new()).map(Some)
            }
            Err(ending) => Ok(Some(ending)),
        }
    }
}
