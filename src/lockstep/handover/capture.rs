//! Capturing: the program's state, read from a subject that stands at a stable
//! point together with the oracle.
//!
//! Slots are read through the map, callers' registers by CFI; what is dead is
//! left out. What was captured must be the oracle's view of itself, and
//! captured again right after restoring it must be what was restored.

use super::{clear_dead, nothing};
use crate::error::CommandError;
use crate::lockstep::compare::SlotReader;
use crate::lockstep::follow::{Ending, Lockstep};
use crate::lockstep::frames::{NativeFrame, find_site};
use dwarf_map::erased;
use wasm_view::snapshot::Snapshot;
use wasm_view::{Boundary, Frame, StoreView, ValType, Value};

/// A program's state as the subject has it.
pub struct Captured {
    /// Store and frames; dead slots hold the default of their type.
    pub view: StoreView,
    /// Of each frame, which slots are dead.
    pub dead: Vec<Vec<bool>>,
}

impl Lockstep<'_> {
    /// Takes the state out of the subject, which stands at a stable point
    /// together with the oracle.
    ///
    /// # Errors
    /// A run that does not stand anywhere.
    pub fn capture(&mut self) -> Result<Result<Captured, Ending>, CommandError> {
        let (frames, dead) = self.capture_frames()?;
        let mut view = self.oracle.view();
        for (frame, dead) in view.frames.iter_mut().zip(&dead) {
            clear_dead(frame, dead);
        }
        let mut differences = Vec::new();
        for (index, (own, theirs)) in frames.iter().zip(&view.frames).enumerate() {
            if own != theirs {
                differences.push(format!("frame {index} at {}", theirs.boundary.offset));
            }
        }
        view.frames = frames;
        for (id, memory) in view.memories.iter_mut().enumerate() {
            let (owner, index) = self.owners.memories[id];
            let region = self.subject.region(self.spaces[owner.index()].memories[index.index()]);
            // Where all bytes are equal, either copy of them is the subject's.
            let bytes = &mut memory.bytes;
            if region.len() != bytes.len() as u64 || !matches!(region.compare(0, bytes), Ok(None)) {
                bytes.resize(region.len() as usize, 0);
                region.read(0, bytes).map_err(CommandError::bug)?;
                differences.push(format!("memory {id}"));
            }
        }
        for (id, table) in view.tables.iter_mut().enumerate() {
            let (owner, index) = self.owners.tables[id];
            let space = &self.spaces[owner.index()];
            let count = space.table_size(&self.subject, index)?;
            let region = self.subject.region(space.tables[index.index()]);
            let ty = erased(ValType::Ref(table.ty.element));
            let mut elements = Vec::with_capacity(table.elements.len());
            for element in 0..count {
                let word = region.read_u64(element * 8).map_err(CommandError::bug)?;
                elements.push(space.value(ty, u128::from(word)));
            }
            let expected = std::mem::replace(&mut table.elements, elements);
            if table.elements != expected {
                let at = expected.iter().zip(&table.elements).position(|(a, b)| a != b);
                differences.push(match at {
                    Some(at) => format!(
                        "table {id} element {at}: {:?}, expected {:?}",
                        table.elements[at], expected[at]
                    ),
                    None => format!(
                        "table {id}: {} elements, expected {}",
                        table.elements.len(),
                        expected.len()
                    ),
                });
            }
        }
        for (number, (owner, index)) in self.defined_globals().enumerate() {
            let (ty, value) = &mut view.globals[number];
            let actual =
                self.spaces[owner.index()].global(&self.subject, index, erased(ty.content))?;
            if actual != *value {
                differences.push(format!("global {number}"));
            }
            *value = actual;
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
        let mut expected = restored.store.frames.clone();
        for (frame, dead) in expected.iter_mut().zip(&captured.dead) {
            clear_dead(frame, dead);
        }
        let mut frames = std::mem::take(&mut captured.view.frames);
        for (frame, dead) in frames.iter_mut().zip(&restored.dead) {
            clear_dead(frame, dead);
        }
        if frames == expected && same_store(&captured.view, &restored.store) {
            return Ok(None);
        }
        let what = "captured again right after restoring, the view is another";
        self.refused(what.to_owned(), Vec::new()).map(Some)
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
}

/// Whether two views are equal in everything but their frames.
fn same_store(a: &StoreView, b: &StoreView) -> bool {
    let StoreView {
        instances,
        memories,
        tables,
        globals,
        tags,
        objects,
        exceptions,
        held,
        frames: _,
        caught,
        host_call,
    } = a;
    *instances == b.instances
        && *memories == b.memories
        && *tables == b.tables
        && *globals == b.globals
        && *tags == b.tags
        && *objects == b.objects
        && *exceptions == b.exceptions
        && *held == b.held
        && *caught == b.caught
        && *host_call == b.host_call
}
