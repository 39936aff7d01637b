//! Taking over another executor's choice where the specification leaves one.
//!
//! A step says which freedom it used, if any, see [`Oracle::choice`]; the
//! result of that step, and only of that, can then be replaced by another one
//! that is allowed.

use super::Oracle;
use crate::choice::{self, Choice, ChoiceKind, Freedom, GROW_FAILED, GROW_FAILED_64};
use crate::error::AdoptError;
use wasm_view::{Cell, MemoryId, TableId};

/// What the last step's successful `grow` grew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grown {
    Memory(MemoryId),
    Table(TableId),
}

impl Oracle {
    /// The freedom of the instruction at the present boundary, should its
    /// result turn out to use it.
    pub(super) fn freedom(&self) -> Option<Freedom> {
        let frame = self.frames.last()?;
        let op = *self.instance(frame.instance).module.code.ops.get(self.pc.index())?;
        choice::freedom(op, &self.stack[frame.base..self.sp])
    }

    /// Records that the instruction just executed used `freedom`, if it did.
    pub(super) fn record_choice(&mut self, freedom: Freedom) {
        if let Some(frame) = self.frames.last()
            && let Some(kind) = freedom.choice(&self.stack[..self.sp])
        {
            let last = self.sp - 1 - frame.base;
            self.choice = Some(Choice { slot: self.slot_of_cell(last), kind });
        }
    }

    /// The freedom of the specification that the last [`Oracle::step`] used.
    pub fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// Replaces the result of the last step by another one that its choice
    /// allows. A failed `grow` is undone.
    ///
    /// # Errors
    ///
    /// A choice that is not the last step's, and a result that it does not
    /// allow.
    pub fn adopt(&mut self, choice: &Choice, result: Cell) -> Result<(), AdoptError> {
        self.check_choice(choice)?;
        if !choice.allows(result) {
            return Err(AdoptError::NotAllowed(result));
        }
        let (Some((cell, _)), Some(frame)) = (self.cell_of_slot(choice.slot), self.frames.last())
        else {
            return Err(AdoptError::Stale);
        };
        self.stack[frame.base + cell] = result;
        if let Some(grown) = self.grown
            && (result == GROW_FAILED || result == GROW_FAILED_64)
        {
            self.undo_growth(grown, choice.kind);
            self.choice = None;
            self.grown = None;
        }
        Ok(())
    }

    /// [`Oracle::adopt`] of a vector. What a relaxed instruction computes must
    /// be the same all through a run: to have that checked, call this also for
    /// a result that is the oracle's own.
    ///
    /// # Errors
    ///
    /// As [`Oracle::adopt`]; and a result that the specification allows here,
    /// but not together with those adopted before.
    pub fn adopt_vector(&mut self, choice: &Choice, result: u128) -> Result<(), AdoptError> {
        self.check_choice(choice)?;
        let low = Cell(result as u64);
        if !choice.allows_vector(result) {
            return Err(AdoptError::NotAllowed(low));
        }
        if let ChoiceKind::Vector(vector) = choice.kind
            && let Some(functions) = vector.functions(result)
        {
            let parameter = functions.parameter();
            let known = self.relaxed.iter_mut().find(|known| known.parameter() == parameter);
            let met = known.as_ref().map_or(functions, |known| known.meet(functions));
            if met.is_empty() {
                return Err(AdoptError::Inconsistent);
            }
            match known {
                Some(known) => *known = met,
                None => self.relaxed.push(met),
            }
        }
        let (Some((cell, _)), Some(frame)) = (self.cell_of_slot(choice.slot), self.frames.last())
        else {
            return Err(AdoptError::Stale);
        };
        self.stack[frame.base + cell] = low;
        self.stack[frame.base + cell + 1] = Cell((result >> 64) as u64);
        Ok(())
    }

    fn check_choice(&self, choice: &Choice) -> Result<(), AdoptError> {
        match self.choice {
            Some(current) if current == *choice => Ok(()),
            _ => Err(AdoptError::Stale),
        }
    }

    fn undo_growth(&mut self, grown: Grown, kind: ChoiceKind) {
        let previous = match kind {
            ChoiceKind::MemoryGrow { previous } | ChoiceKind::TableGrow { previous } => {
                u64::from(previous)
            }
            ChoiceKind::Grow64 { previous, .. } => previous,
            _ => {
                debug_assert!(false, "a choice of another kind than what grew");
                return;
            }
        };
        match grown {
            Grown::Memory(memory) => {
                let memory = &mut self.store.memories[memory.index()];
                memory.data.truncate((previous << memory.ty.page_log2) as usize);
            }
            Grown::Table(table) => {
                self.store.tables[table.index()].elements.truncate(previous as usize);
            }
        }
    }
}
