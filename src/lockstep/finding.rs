//! A divergence as the lockstep finds it: facts, no prose.
//!
//! It is taken down where the two sides stand, as long as they stand there: both
//! states, the call stack, how they came by, and what of the store differs. What
//! people read is made from a [`Finding`] afterwards, when there is time to
//! disassemble and to look up source lines (see [`crate::describe`]).

use super::compare::CONSTANT;
use super::follow::{Ending, Lockstep, Next};
use super::plan::BoundaryId;
use crate::error::CommandError;
use dwarf_map::SubjectAddr;
use oracle_interp::Event;
use reports::{DivergenceKind, InconclusiveReason, Slot, SlotName};
use wasm_view::{
    Boundary, FuncIdx, GlobalIdx, InstanceId, MemoryId, TableId, ValType, Value, WasmOffset,
};

/// What of the store differs where a run ended: the boundary at which it began to differ
/// may lie before that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Addresses of differing bytes of one memory.
    pub memory: Option<(MemoryId, Vec<u64>)>,
    /// Elements of tables.
    pub elements: Vec<(TableId, u64)>,
    /// Globals, by the instance that defines them.
    pub globals: Vec<(InstanceId, GlobalIdx, ValType)>,
    /// Words of the instance data that code only reads, by position among them.
    pub kept: Vec<(InstanceId, usize)>,
}

impl Watch {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        *self == Watch::default()
    }
}

/// The first point at which the relation does not hold.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What differs.
    pub kind: DivergenceKind,
    /// The boundary at which both sides stood, or the last common one. Where no
    /// instruction has been executed, the instance; see [`Finding::is_placed`].
    pub at: Boundary,
    /// The instruction executed before it, the first suspect.
    pub after: Option<Boundary>,
    /// Boundaries that were stopped at before `at`.
    pub index: u64,
    /// What happened, in one sentence.
    pub what: String,
    /// The values that differ.
    pub slots: Vec<Slot>,
    /// PC of the subject.
    pub native_pc: Option<SubjectAddr>,
    /// The oracle's view, one value a line.
    pub expected_state: Vec<String>,
    /// The subject's view, likewise.
    pub actual_state: Vec<String>,
    /// The call stack, innermost first, as the oracle has it.
    pub frames: Vec<Boundary>,
    /// The boundaries stopped at last, oldest first.
    pub recent: Vec<Boundary>,
    /// For differences that may have arisen earlier than this.
    pub watch: Watch,
}

impl Finding {
    /// Whether it is at an instruction: not, if the module was being instantiated.
    pub fn is_placed(&self) -> bool {
        // A module begins with other things.
        self.at.offset.get() != 0
    }
}

impl Lockstep<'_> {
    /// Event and stop are of different kinds.
    pub(super) fn unexpected(
        &mut self,
        event: Event,
        actual: String,
    ) -> Result<Next, CommandError> {
        let (kind, expected) = match &event {
            Event::Boundary => {
                let at = self.oracle.top().map(|top| top.boundary);
                let expected = at.map(|at| format!("{} of function {}", at.offset, at.func));
                (
                    DivergenceKind::ControlFlow,
                    format!("the oracle reached {}", expected.unwrap_or_default()),
                )
            }
            Event::HostCall(call) => {
                let name = self.import_name(call.instance, call.func);
                (DivergenceKind::ControlFlow, format!("the oracle calls the host function {name}"))
            }
            Event::Finished(_) => (
                DivergenceKind::ControlFlow,
                "the oracle returned from the function that was called".into(),
            ),
            Event::Trapped(trap) => (DivergenceKind::Trap, format!("the oracle trapped: {trap}")),
            Event::Thrown(exn) => (DivergenceKind::Trap, format!("the oracle threw {exn}")),
            Event::OutOfFuel => {
                return Ok(Next::End(match self.control.request() {
                    Some(request) => self.asked(request),
                    None => Ending::Inconclusive {
                        reason: InconclusiveReason::Limit,
                        detail: "the oracle ran out of fuel".into(),
                    },
                }));
            }
            Event::LimitReached(name) => {
                return Ok(Next::End(Ending::Inconclusive {
                    reason: InconclusiveReason::Limit,
                    detail: format!("the oracle reached its limit of {name}"),
                }));
            }
        };
        let kind = if actual.contains("trapped") { DivergenceKind::Trap } else { kind };
        self.diverged(kind, format!("{expected}, {actual}"), Vec::new())
    }

    pub(super) fn diverged(
        &mut self,
        kind: DivergenceKind,
        what: String,
        slots: Vec<Slot>,
    ) -> Result<Next, CommandError> {
        let finding = self.finding(kind, what, slots)?;
        Ok(Next::End(Ending::Diverged(Box::new(finding))))
    }

    /// Like [`Lockstep::diverged`] where the oracle has already executed the
    /// instruction at fault.
    pub(super) fn diverged_behind(
        &mut self,
        kind: DivergenceKind,
        what: String,
        slots: Vec<Slot>,
    ) -> Result<Next, CommandError> {
        let finding = self.finding_at(false, kind, what, slots)?;
        Ok(Next::End(Ending::Diverged(Box::new(finding))))
    }

    pub(super) fn finding(
        &mut self,
        kind: DivergenceKind,
        what: String,
        slots: Vec<Slot>,
    ) -> Result<Finding, CommandError> {
        let same_place = !matches!(
            kind,
            DivergenceKind::ControlFlow | DivergenceKind::Trap | DivergenceKind::Sandbox
        );
        self.finding_at(same_place, kind, what, slots)
    }

    /// `same_place`: both sides stand at the oracle's present boundary.
    fn finding_at(
        &mut self,
        same_place: bool,
        kind: DivergenceKind,
        what: String,
        slots: Vec<Slot>,
    ) -> Result<Finding, CommandError> {
        let top = self.oracle.top().map(|top| top.boundary);
        let here = self.here.filter(|_| same_place);
        let last = self.last;
        // Where control flow went apart the last common boundary is at fault.
        let at = match (same_place, top, last) {
            (true, Some(top), _) => top,
            (_, _, Some(last)) => last,
            (_, Some(top), None) => top,
            (_, None, None) => Boundary {
                instance: self.called,
                func: FuncIdx::new(0),
                offset: WasmOffset::new(0),
            },
        };
        let mut actual_state = match here {
            Some((at, cfa)) => self.native_state(at, cfa)?,
            None => Vec::new(),
        };
        let mut expected_state = if here.is_some() { self.oracle_state() } else { Vec::new() };
        let in_frame = |slot: &&Slot| {
            matches!(slot.slot, SlotName::Local { frame: 0, .. } | SlotName::Stack { frame: 0, .. })
        };
        for slot in slots.iter().filter(|slot| !in_frame(slot)) {
            let line = |value: &Option<String>| {
                format!("{} {} {}", slot.slot, slot.ty.key(), value.as_deref().unwrap_or("none"))
            };
            expected_state.push(line(&slot.expected));
            actual_state.push(line(&slot.actual));
        }
        let frames = (0..self.oracle.depth())
            .rev()
            .filter_map(|index| self.oracle.frame(index).map(|frame| frame.boundary))
            .collect();
        Ok(Finding {
            kind,
            at,
            after: last.filter(|last| *last != at || same_place),
            index: self.stats.stops.saturating_sub(1 + self.began),
            what,
            slots,
            native_pc: Some(self.pc),
            expected_state,
            actual_state,
            frames,
            recent: self.recent(),
            watch: match self.stats.stops > 1 + self.began {
                true => self.differing_store()?.1,
                false => Watch::default(),
            },
        })
    }

    /// The boundaries stopped at last, oldest first.
    fn recent(&self) -> Vec<Boundary> {
        let boundary = |at: BoundaryId| {
            let function = &self.image.map.functions[at.function as usize];
            let offset = function.boundaries[at.index as usize].offset;
            Boundary { instance: self.plan.owner(at.function), func: function.func, offset }
        };
        self.stats.recent(self.began).map(boundary).collect()
    }

    fn oracle_state(&self) -> Vec<String> {
        let Some(top) = self.oracle.top() else { return Vec::new() };
        let Boundary { instance, func, .. } = top.boundary;
        let Some(at) = self.plan.position(instance, func) else { return Vec::new() };
        let function = &self.image.map.functions[at as usize];
        let Ok(index) =
            function.boundaries.binary_search_by_key(&top.boundary.offset, |b| b.offset)
        else {
            return Vec::new();
        };
        let types = function.locals.iter().chain(&function.boundaries[index].operands);
        let mut rest = top.slots;
        types
            .enumerate()
            .map_while(|(slot, ty)| {
                let (cells, after) = rest.split_at_checked(ty.cells())?;
                rest = after;
                Some((slot, ty, Value::from_cells(*ty, cells)))
            })
            .map(|(slot, ty, value)| {
                format!("{} {ty} {} {value}", slot_name(slot, function.locals.len()), value.hex())
            })
            .collect()
    }

    /// Values that differ where both sides stand.
    pub(super) fn wrong_values(&mut self, wrong: Vec<Slot>) -> Result<Next, CommandError> {
        let first = &wrong[0];
        let kind = match first.slot {
            _ if first.location.as_deref() == Some(CONSTANT) => DivergenceKind::Map,
            SlotName::Local { .. } => DivergenceKind::Local,
            SlotName::Stack { .. } => DivergenceKind::Operand,
            slot => store_kind(slot),
        };
        let what = match wrong.len() {
            1 => format!("{} differs", first.slot),
            more => format!("{more} values differ"),
        };
        self.diverged(kind, what, wrong)
    }

    /// Parts of the store that differ where all of it was compared.
    pub(super) fn whole_difference(
        &mut self,
        when: &str,
        wrong: Vec<Slot>,
        watch: Watch,
    ) -> Result<Next, CommandError> {
        let kind = store_kind(wrong[0].slot);
        let what = format!("{} differs {when}", wrong[0].slot);
        let mut finding = self.finding(kind, what, wrong)?;
        finding.watch = watch;
        Ok(Next::End(Ending::Diverged(Box::new(finding))))
    }
}

/// What differs, for a part of the store.
pub(super) fn store_kind(slot: SlotName) -> DivergenceKind {
    match slot {
        SlotName::Global(_) => DivergenceKind::Global,
        SlotName::Table { .. } | SlotName::TableSize(_) => DivergenceKind::Table,
        SlotName::InstanceData(_) => DivergenceKind::Sandbox,
        _ => DivergenceKind::Memory,
    }
}

/// `local3` or `stack0`.
pub fn slot_name(slot: usize, locals: usize) -> String {
    match slot.checked_sub(locals) {
        None => format!("local{slot}"),
        Some(depth) => format!("stack{depth}"),
    }
}
