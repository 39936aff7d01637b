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

use super::compare::SlotReader;
use super::entry::enter;
use super::follow::{Ending, Lockstep, Next};
use super::frames::{NativeFrame, find_site};
use super::kernel::Kernel;
use super::plan::{BoundaryId, Site};
use super::space::Space;
use super::throw::Exception;
use crate::error::CommandError;
use dwarf_map::{FunctionMap, InstanceLayout, Isa, StablePoint, SubjectAddr, buffer_bytes, erased};
use oracle_interp::Event;
use reports::{DivergenceKind, InconclusiveReason, Slot};
use tracer::{RegionId, Stop};
use wasm_view::snapshot::Snapshot;
use wasm_view::{
    Boundary, Frame, FuncAddr, FuncIdx, GlobalIdx, InstanceId, MemoryIdx, StoreView, TableIdx,
    TypeIdx, ValType, Value,
};
use wasmparser::Operator;

/// DWARF numbers of the stack pointer, and of the register that holds the first
/// argument, the instance data.
const RSP: u16 = 7;
const RDI: u16 = 5;
/// The trap instruction.
const INT3: u8 = 0xcc;

/// How far a run has come.
pub enum Progress {
    /// Both sides stand at a stable point, equal in everything.
    Paused,
    /// There is nothing to go on with.
    Ended(Ending),
}

/// A program's state as the subject has it.
pub struct Captured {
    /// Store and frames; dead slots hold the default of their type.
    pub view: StoreView,
    /// Of each frame, which slots are dead.
    pub dead: Vec<Vec<bool>>,
}

/// Something done wrong on purpose while a frame is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreFault {
    /// What.
    pub kind: RestoreFaultKind,
    /// Which frame, slot and bit is drawn by.
    pub seed: u64,
}

/// See [`RestoreFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreFaultKind {
    /// A bit of a slot is flipped.
    Flip,
    /// Two slots of one type change places.
    Swap,
    /// A slot is not written: it holds what lay in the buffer before.
    Stale,
    /// The bytes of a slot are in the other order.
    Order,
    /// The innermost frame is left out.
    Frame,
}

impl RestoreFault {
    /// Reads `restore:KIND:SEED`.
    pub fn parse(text: &str) -> Option<RestoreFault> {
        let (kind, seed) = text.strip_prefix("restore:")?.split_once(':')?;
        let kind = match kind {
            "flip" => RestoreFaultKind::Flip,
            "swap" => RestoreFaultKind::Swap,
            "stale" => RestoreFaultKind::Stale,
            "order" => RestoreFaultKind::Order,
            "frame" => RestoreFaultKind::Frame,
            _ => return None,
        };
        Some(RestoreFault { kind, seed: seed.parse().ok()? })
    }

    /// Which of so many.
    fn draw(self, salt: u64, count: usize) -> usize {
        let mixed = (self.seed ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 20) % count.max(1) as u64) as usize
    }

    /// Changes the values of a frame, each with its bits; answers what was done,
    /// if that makes a difference.
    fn spoil(self, values: &mut [(u128, u32)], before: impl Fn(usize) -> u128) -> Option<String> {
        let count = values.len();
        let slot = self.draw(1, count);
        let (old, bits) = *values.get(slot)?;
        let mask = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
        let what = match self.kind {
            RestoreFaultKind::Frame => return None,
            RestoreFaultKind::Flip => {
                let bit = self.draw(2, bits as usize);
                values[slot].0 ^= 1 << bit;
                format!("bit {bit} of slot {slot} flipped")
            }
            RestoreFaultKind::Swap => {
                let other = (1..count).map(|step| (slot + step) % count);
                let mut other = other.filter(|other| values[*other].1 == bits);
                let other = other.find(|other| values[*other].0 & mask != old & mask)?;
                values[slot].0 = values[other].0;
                values[other].0 = old;
                format!("slots {slot} and {other} swapped")
            }
            RestoreFaultKind::Stale => {
                values[slot].0 = before(slot);
                format!("slot {slot} not written")
            }
            RestoreFaultKind::Order => {
                values[slot].0 = (old & mask).swap_bytes() >> (128 - bits);
                format!("the bytes of slot {slot} in the other order")
            }
        };
        (values[slot].0 & mask != old & mask).then_some(what)
    }
}

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
        *left = left.saturating_sub(1);
        *left == 0
    }

    /// Takes the state out of the subject, which stands at a stable point
    /// together with the oracle.
    ///
    /// # Errors
    /// A run that does not stand anywhere.
    pub fn capture(&mut self) -> Result<Result<Captured, Ending>, CommandError> {
        let (frames, dead) = self.capture_frames()?;
        let mut expected = self.oracle.view();
        for (frame, dead) in expected.frames.iter_mut().zip(&dead) {
            clear_dead(frame, dead);
        }
        let mut differences = Vec::new();
        for (index, (own, theirs)) in frames.iter().zip(&expected.frames).enumerate() {
            if own != theirs {
                differences.push(format!("frame {index} at {}", theirs.boundary.offset));
            }
        }
        let mut view = StoreView { frames, ..expected.clone() };
        for memory in 0..view.memories.len() {
            let (owner, index) = self.owners.memories[memory];
            let region = self.subject.region(self.spaces[owner.index()].memories[index.index()]);
            let bytes = &mut view.memories[memory].bytes;
            bytes.resize(region.len() as usize, 0);
            region.read(0, bytes).map_err(CommandError::bug)?;
            if *bytes != expected.memories[memory].bytes {
                differences.push(format!("memory {memory}"));
            }
        }
        for table in 0..view.tables.len() {
            let (owner, index) = self.owners.tables[table];
            let space = &self.spaces[owner.index()];
            let count = space.table_size(&self.subject, index)?;
            let region = self.subject.region(space.tables[index.index()]);
            let ty = erased(ValType::Ref(view.tables[table].ty.element));
            let mut elements = Vec::new();
            for element in 0..count {
                let word = region.read_u64(element * 8).map_err(CommandError::bug)?;
                elements.push(space.value(ty, u128::from(word)));
            }
            view.tables[table].elements = elements;
            if view.tables[table] != expected.tables[table] {
                differences.push(format!("table {table}"));
            }
        }
        let globals: Vec<_> = self.defined_globals().collect();
        for (number, (owner, index)) in globals.into_iter().enumerate() {
            let (ty, value) = &mut view.globals[number];
            let space = &self.spaces[owner.index()];
            *value = space.global(&self.subject, index, erased(ty.content))?;
            if *value != expected.globals[number].1 {
                differences.push(format!("global {number}"));
            }
        }
        if !self.dropped_differences().is_empty() {
            differences.push("dropped segments".to_owned());
        }
        if differences.is_empty() {
            return Ok(Ok(Captured { view, dead }));
        }
        let what = format!("the captured view differs: {}", differences.join(", "));
        Ok(Err(self.refused(what, Vec::new())?))
    }

    /// Captures once more, right after restoring: that must give what was
    /// restored.
    ///
    /// # Errors
    /// As [`Lockstep::capture`].
    pub fn recapture(&mut self, restored: &Snapshot) -> Result<Option<Ending>, CommandError> {
        let mut captured = match self.capture()? {
            Err(ending) => return Ok(Some(ending)),
            Ok(captured) => captured,
        };
        // How much is known to be dead may depend on who looks.
        let mut expected = restored.store.clone();
        for (frame, dead) in expected.frames.iter_mut().zip(&captured.dead) {
            clear_dead(frame, dead);
        }
        for (frame, dead) in captured.view.frames.iter_mut().zip(&restored.dead) {
            clear_dead(frame, dead);
        }
        if captured.view == expected {
            return Ok(None);
        }
        let what = "captured again right after restoring, the view is another";
        self.refused(what.to_owned(), Vec::new()).map(Some)
    }

    /// Globals by their number in the store: who defines them.
    fn defined_globals(&self) -> impl Iterator<Item = (InstanceId, GlobalIdx)> + '_ {
        self.oracle.instances().iter().flat_map(|instance| {
            let defined = instance.module.num_imported_globals()..instance.globals.len() as u32;
            defined.map(|index| (instance.id(), GlobalIdx::new(index)))
        })
    }

    /// All frames, outermost first, with flags for what is dead.
    fn capture_frames(&mut self) -> Result<(Vec<Frame>, Vec<Vec<bool>>), CommandError> {
        let (at, cfa) = self.here.ok_or_else(|| CommandError::bug("nowhere to capture"))?;
        let depth = self.oracle.depth();
        let mut frames = Vec::with_capacity(depth);
        let mut flags = Vec::with_capacity(depth);

        let plan = self.plan.function(at.function, &self.image.map, &self.unwinder)?;
        let reader = SlotReader::new(&self.subject, &self.spaces[0], plan, at.index, cfa);
        let natives = plan.checks(at.index).iter();
        let natives: Vec<Option<u128>> =
            natives.map(|check| reader.read_whole(*check).ok().flatten()).collect();
        let function = &self.image.map.functions[at.function as usize];
        let offset = function.boundaries[at.index as usize].offset;
        let here = Boundary { instance: self.plan.owner(at.function), func: function.func, offset };
        let live = self.live_flags(at.function, offset, natives.len())?;
        let (frame, dead) = self.captured_frame(depth - 1, here, &natives, &live)?;
        frames.push(frame);
        flags.push(dead);

        let mut inner = self.innermost();
        for index in (0..depth - 1).rev() {
            let outer = self.step_out(&inner).map_err(CommandError::input)?;
            let outer = outer.ok_or_else(|| CommandError::bug("the stack ends too early"))?;
            let broken = || CommandError::bug("a suspended frame without a call site");
            let position = self.function_at(outer.pc).ok_or_else(broken)?;
            let function = &self.image.map.functions[position as usize];
            let code = self.plan.code_offset(outer.pc).ok_or_else(broken)?;
            let site = find_site(&function.call_sites, code).ok_or_else(broken)?.clone();
            let cfa = self.unwinder.cfa(&outer).map_err(CommandError::input)?;
            let caller = NativeFrame { cfa, function: position, end: cfa };
            let natives = self.suspended_values(&site, caller, &outer)?;
            let call = Boundary {
                instance: self.plan.owner(position),
                func: function.func,
                offset: site.offset,
            };
            // A local that is live before the call is so behind it, or where
            // something that is thrown lands.
            let live = self.live_flags(position, site.offset, natives.len())?;
            let (frame, dead) = self.captured_frame(index, call, &natives, &live)?;
            frames.push(frame);
            flags.push(dead);
            inner = outer;
        }
        frames.reverse();
        flags.reverse();
        Ok((frames, flags))
    }

    /// A frame of native values; its types are those of the oracle's frame.
    fn captured_frame(
        &self,
        index: usize,
        boundary: Boundary,
        natives: &[Option<u128>],
        live: &[bool],
    ) -> Result<(Frame, Vec<bool>), CommandError> {
        let Some(oracle) = self.oracle.frame(index).map(|frame| frame.to_frame()) else {
            return Err(CommandError::bug("the oracle has fewer frames"));
        };
        let space = &self.spaces[boundary.instance.index()];
        let mut values = natives.iter().zip(live);
        let mut dead = Vec::with_capacity(natives.len());
        let mut take = |slots: &[(ValType, Value)]| {
            slots
                .iter()
                .map(|(ty, own)| {
                    let (native, live) = values.next().map_or((None, true), |(n, l)| (*n, *l));
                    dead.push(!live);
                    match (live, native) {
                        (false, _) => Ok((*ty, nothing(*own))),
                        (true, Some(bits)) => Ok((*ty, space.value(erased(*ty), bits))),
                        (true, None) => Err(CommandError::bug(format_args!(
                            "a live slot of the frame at {} has no location",
                            boundary.offset
                        ))),
                    }
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let locals = take(&oracle.locals)?;
        let operands = take(&oracle.operands)?;
        Ok((Frame { boundary, locals, operands }, dead))
    }

    /// Gives a fresh subject the oracle's state. Both then stand where the
    /// oracle stood, and everything has been compared there.
    ///
    /// # Errors
    /// An image without restore edges; what the host refuses.
    pub fn restore(&mut self) -> Result<Progress, CommandError> {
        if let Some(ending) = self.restore_store()? {
            return Ok(Progress::Ended(ending));
        }
        self.oracle.set_throw_log(true);
        let depth = self.oracle.depth();
        let mut lead = Lead::default();
        let leaves_out = self.fault.is_some_and(|fault| fault.kind == RestoreFaultKind::Frame);
        let restored = depth - usize::from(leaves_out && depth > 1);
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
        for (id, (owner, index)) in self.owners.memories.iter().enumerate() {
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
            let region = self.subject.region(region);
            // A fresh memory is all zero.
            for (page, bytes) in bytes.chunks(4096).enumerate() {
                if bytes.iter().any(|byte| *byte != 0) {
                    region.write(page as u64 * 4096, bytes).map_err(CommandError::bug)?;
                }
            }
        }
        for (id, (owner, index)) in self.owners.tables.iter().enumerate() {
            let id = wasm_view::TableId::from_index(id);
            let space = &self.spaces[owner.index()];
            let ty = ValType::Ref(space.table_types[index.index()].element);
            let cells = self.oracle.table(id);
            let region = self.subject.region(space.tables[index.index()]);
            for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.0 != 0) {
                let word = space.native(ty, *cell);
                region.write_u64(at as u64 * 8, word).map_err(CommandError::bug)?;
            }
            space.set_table_size(&self.subject, TableIdx::new(index.get()), cells.len() as u64)?;
        }
        let globals: Vec<_> = self.defined_globals().collect();
        for (number, (owner, index)) in globals.into_iter().enumerate() {
            let value = self.oracle.global_value(wasm_view::GlobalId::from_index(number));
            let space = &self.spaces[owner.index()];
            space.set_global(&self.subject, index, native(space, value))?;
        }
        for (exn, exception) in self.oracle.view().exceptions {
            let args = exception.args.iter().map(|value| native(&self.spaces[0], *value)).collect();
            let exception = Exception { tag: exception.tag, args };
            self.exceptions.restore(u64::from(exn.get()) + 1, exception);
        }
        for instance in 0..self.kernels.len() {
            let id = InstanceId::from_index(instance);
            let module = self.oracle.instance(id).module.clone();
            self.kernels[instance] = Some(Kernel::new(module, &self.oracle, id));
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
        if let Some(ending) = self.reach(expected, "the entry of a function to restore")? {
            return Ok(Some(ending));
        }
        if let Some((region, word)) = element {
            self.subject.region(region).write_u64(0, word).map_err(CommandError::bug)?;
        }
        // Through the poll into the cold path, up to its trap.
        self.write_poll(entry, true)?;
        self.spaces[instance.index()].put(&self.subject, InstanceLayout::FLAG, 1)?;
        match self.next_stop()? {
            Ok(Stop::Trap { pc }) if pc == entry.trap.at(image.text_address) => self.pc = pc,
            Ok(stop) => {
                let what = format!("the cold path of an entry does not reach its trap: {stop:x?}");
                return self.refused(what, Vec::new()).map(Some);
            }
            Err(ending) => return Ok(Some(ending)),
        }
        self.write_poll(entry, false)?;
        let innermost = index + 1 == self.oracle.depth();
        let wanted = self.oracle.depth();
        let wanted = self.fault.is_some_and(|fault| fault.draw(0, wanted) == index);
        let fault = if wanted { self.fault } else { None };
        self.fill_buffer(function, point, frame, index, lead, fault)?;
        let number = u64::from(restore.get()) << 32;
        self.spaces[instance.index()].put(&self.subject, InstanceLayout::FLAG, number)?;
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

    /// Spoils what a frame holds and its stable point loads.
    fn spoil(
        &mut self,
        fault: RestoreFault,
        frame: &Frame,
        point: &StablePoint,
        values: &mut [u128],
    ) -> Result<(), CommandError> {
        let types: Vec<ValType> =
            frame.locals.iter().chain(&frame.operands).map(|(ty, _)| *ty).collect();
        let carried: Vec<(usize, u32)> = point
            .slots
            .iter()
            .filter(|(slot, _)| slot.index() < types.len())
            .map(|(slot, offset)| (slot.index(), *offset))
            .collect();
        let width = |slot: usize| 8 * types[slot].bytes() as u32;
        let mut chosen: Vec<(u128, u32)> =
            carried.iter().map(|(slot, _)| (values[*slot], width(*slot))).collect();
        let space = &self.spaces[frame.boundary.instance.index()];
        let before: Vec<u128> = carried
            .iter()
            .map(|(slot, offset)| {
                let word = space.state_word(&self.subject, *offset)?;
                Ok(u128::from(word) & u128::MAX >> (128 - width(*slot)))
            })
            .collect::<Result<_, _>>()?;
        let what = fault.spoil(&mut chosen, |slot| before.get(slot).copied().unwrap_or_default());
        if let Some(what) = what {
            for ((slot, _), (value, _)) in carried.iter().zip(chosen) {
                values[*slot] = value;
            }
            self.fault = None;
            self.spoilt = Some(format!("at {}: {what}", frame.boundary.offset));
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
        let data = self.spaces[self.plan.owner(function).index()].instance_data();
        regs.set_rsp(moved.get());
        regs.set_dwarf(RDI, data.get());
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

    /// Resumes the subject, which must come to a boundary.
    fn reach(&mut self, at: BoundaryId, what: &str) -> Result<Option<Ending>, CommandError> {
        match self.next_stop()? {
            Ok(Stop::Trap { pc }) => {
                self.pc = pc;
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
