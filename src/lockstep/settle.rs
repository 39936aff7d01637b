//! Differences in bits that are open ([`super::open`]): which are none, and what
//! the oracle takes over from the subject.

use super::compare::same;
use super::follow::Lockstep;
use super::open::{Open, agree};
use super::plan::{BoundaryId, Check};
use super::stops::Selection;
use crate::error::CommandError;
use dwarf_map::SubjectAddr;
use reports::{Slot, SlotName};
use wasm_view::{Cell, GlobalId, GlobalIdx, InstanceId, SlotIdx, ValType, Value};

/// Under this name differences are counted that were adopted.
const ADOPTED: &str = "nan_payload";

impl Lockstep<'_> {
    /// What is open, in a run of code without traps.
    pub(super) fn open(&self) -> Option<&Open> {
        match &self.selection {
            Selection::Shipped(shipped) => Some(&shipped.open),
            _ => None,
        }
    }

    /// The same if anything is.
    fn any_open(&self) -> Option<&Open> {
        self.open().filter(|open| !open.is_empty())
    }

    /// Settles the slots of the boundary where the two stand: what is located
    /// is known from now on, and what differs in open bits only is adopted.
    /// Answers what is left of the differences.
    pub(super) fn settle_slots(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        wrong: Vec<Slot>,
    ) -> Result<Vec<Slot>, CommandError> {
        if self.any_open().is_none() {
            return Ok(wrong);
        }
        let frame = self.oracle.depth().saturating_sub(1);
        let function = &self.image.map.functions[at.function as usize];
        let locals = function.locals.len();
        let plan = self.plan.function(at.function, &self.image.map, &self.unwinder)?;
        let checks: Vec<Check> = plan.checks(at.index).to_vec();
        let mut left = wrong;
        let mut cell = 0;
        for (index, check) in checks.iter().enumerate() {
            let cells = cell..cell + check.width().cells();
            cell = cells.end;
            let Some(open) = self.open() else { break };
            let bits: Vec<u64> = cells.clone().map(|cell| open.cell(frame, cell)).collect();
            if matches!(check, Check::None(..)) || bits.iter().all(|bits| *bits == 0) {
                continue;
            }
            let slot = SlotIdx::from_index(index);
            let name = match index.checked_sub(locals) {
                None => SlotName::local(slot.get()),
                Some(depth) => SlotName::stack(depth as u32),
            };
            if let Some(position) = left.iter().position(|each| each.slot == name) {
                let (expected, Some(actual)) = self.slot_value(at, cfa, slot)? else { continue };
                if !agree_values(expected, actual, bits) {
                    continue;
                }
                self.oracle.set_slot(slot, actual).map_err(CommandError::bug)?;
                self.stats.adopt(ADOPTED);
                left.remove(position);
            }
            if let Some(shipped) = self.selection.shipped_mut() {
                cells.for_each(|cell| shipped.open.set_cell(frame, cell, 0));
            }
        }
        Ok(left)
    }

    /// Whether cells of a frame of the oracle's, the outermost being 0, differ in
    /// open bits only.
    pub(super) fn is_open(
        &self,
        frame: usize,
        cell: usize,
        expected: &[Cell],
        actual: Value,
    ) -> bool {
        let Some(open) = self.any_open() else { return false };
        let actual: Vec<Cell> = actual.to_cells().collect();
        let bits = (cell..cell + expected.len()).map(|cell| open.cell(frame, cell));
        agree(expected, &actual, bits)
    }

    /// Leaves out the differences of values given away, arguments or results,
    /// that are in open bits only.
    pub(super) fn settle_given(&mut self, expected: &[Value], actual: &[Value], at: usize) -> bool {
        let (Some(open), Some(mine), Some(theirs)) =
            (self.open(), expected.get(at), actual.get(at))
        else {
            return false;
        };
        if open.given.is_empty() {
            return false;
        }
        let first = expected[..at].iter().map(|value| value.ty().cells()).sum();
        let bits = open.given.iter().copied().skip(first);
        let settled = !same(*mine, *theirs) && agree_values(*mine, *theirs, bits);
        if settled {
            self.stats.adopt(ADOPTED);
        }
        settled
    }

    /// Takes over what memory and globals hold where they differ in open bits
    /// only. Whatever is left is compared next, so that nothing in them is open
    /// any longer.
    pub(super) fn settle_store(&mut self) -> Result<(), CommandError> {
        let Some(open) = self.open().filter(|open| !open.is_store_known()) else { return Ok(()) };
        let bytes: Vec<_> = open.bytes().collect();
        let globals: Vec<_> = open.globals().collect();
        let mut last = None;
        for (memory, address, open) in bytes {
            let own = usize::try_from(address).ok();
            let own = own.and_then(|at| self.oracle.memory(memory).get(at).copied());
            let mut actual = [0];
            if self.memory_region(memory).read(address, &mut actual).is_err() {
                continue;
            }
            let Some(own) = own.filter(|own| *own != actual[0] && (own ^ actual[0]) & !open == 0)
            else {
                continue;
            };
            debug_assert_ne!(own, actual[0]);
            self.oracle.host_write(memory, address, &actual).map_err(CommandError::bug)?;
            // The bytes of one number are one difference.
            if last.is_none_or(|(id, at)| (id, at / 8) != (memory, address / 8)) {
                self.stats.adopt(ADOPTED);
            }
            last = Some((memory, address));
        }
        for (id, bits) in globals {
            let Some((instance, index, ty)) = self.owner_of_global(id) else { continue };
            let actual = self.spaces[instance.index()].global(&self.subject, index, ty)?;
            let expected = self.oracle.global_value(id);
            if !same(expected, actual) && agree_values(expected, actual, bits) {
                self.oracle.set_global(id, actual);
                self.stats.adopt(ADOPTED);
            }
        }
        if let Some(shipped) = self.selection.shipped_mut() {
            shipped.open.settle_store();
        }
        Ok(())
    }

    /// An instance that has a global, and its index there.
    fn owner_of_global(&self, id: GlobalId) -> Option<(InstanceId, GlobalIdx, ValType)> {
        let instances = self.oracle.instances().iter();
        let mut found = instances.filter_map(|instance| {
            let index = instance.globals.iter().position(|each| *each == id)?;
            Some((instance.id(), GlobalIdx::from_index(index), self.oracle.global(id).0))
        });
        found.next()
    }
}

fn agree_values(x: Value, y: Value, open: impl IntoIterator<Item = u64>) -> bool {
    let cells = |value: Value| value.to_cells().collect::<Vec<Cell>>();
    agree(&cells(x), &cells(y), open)
}
