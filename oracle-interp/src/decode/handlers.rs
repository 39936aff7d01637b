//! Regions of a body that catch exceptions.
//!
//! A handler is the range of a `try`'s instructions with the branches that its
//! clauses take. Those of `try_table` lead to labels around it; a legacy
//! `catch` is its own target, and while its `try` is open the next clause is
//! not known, so that they are listed at its `end`.

use super::Result;
use super::function::{Body, Kind, Label, Patch};
use crate::module::OpIdx;
use crate::op::{Branch, Op};
use crate::rare::{CatchClause, Handler};
use wasm_view::{TagIdx, ValType};
use wasmparser::{Catch, TryTable};

impl Body<'_> {
    /// The handler that is asked first for an exception inside the label at
    /// this position.
    pub(super) fn handler_around(&self, index: usize) -> Option<u32> {
        self.scratch.labels[..=index].iter().rev().find_map(|label| match label.kind {
            Kind::Try(handler) => handler,
            _ => None,
        })
    }

    /// Begins a region that catches exceptions, at the next instruction.
    pub(super) fn new_handler(&mut self) -> u32 {
        let parent = self.handler_around(self.scratch.labels.len() - 1);
        let start = self.next().0;
        let handler = Handler { start, end: start, parent, first_catch: 0, last_catch: 0 };
        self.module.code.handlers.push(handler);
        self.module.code.handlers.len() as u32 - 1
    }

    pub(super) fn set_catches(&mut self, handler: u32, clauses: Vec<CatchClause>) {
        let first_catch = self.module.code.catches.len() as u32;
        self.module.code.catches.extend(clauses);
        let last_catch = self.module.code.catches.len() as u32;
        let handler = &mut self.module.code.handlers[handler as usize];
        (handler.first_catch, handler.last_catch) = (first_catch, last_catch);
    }

    pub(super) fn end_handler(&mut self, handler: u32) {
        self.module.code.handlers[handler as usize].end = self.next().0;
    }

    /// `try_table`. Its clauses name labels around it.
    pub(super) fn enter_try_table(&mut self, at: usize, table: &TryTable) -> Result<()> {
        let signature = self.signature(at, table.ty)?;
        let handler = if self.live {
            self.emit(Op::Block);
            let handler = self.new_handler();
            let clauses = table.catches.iter().map(|clause| {
                let (tag, label, with_ref) = match *clause {
                    Catch::One { tag, label } => (Some(tag), label, false),
                    Catch::OneRef { tag, label } => (Some(tag), label, true),
                    Catch::All { label } => (None, label, false),
                    Catch::AllRef { label } => (None, label, true),
                };
                let branch = self.side_table_entry(label);
                CatchClause { tag: tag.map(TagIdx::new), with_ref, legacy: false, branch }
            });
            let clauses = clauses.collect();
            self.set_catches(handler, clauses);
            Some(handler)
        } else {
            None
        };
        self.open(Kind::Try(handler), signature);
        Ok(())
    }

    /// Legacy `catch` and `catch_all`: the end of what came before, and where
    /// an exception arrives.
    pub(super) fn enter_catch(&mut self, tag: Option<u32>) -> Result<()> {
        let Some(mut label) = self.scratch.labels.pop() else {
            return Ok(());
        };
        let handler = match label.kind {
            Kind::Try(handler) | Kind::Catch(handler) => handler,
            _ => None,
        };
        if let (Kind::Try(_), Some(handler)) = (label.kind, handler) {
            self.end_handler(handler);
        }
        if self.live {
            let position = self.emit(Op::Else(OpIdx(0)));
            label.wait(&mut self.scratch.patches, Patch::Op(position));
        }
        label.kind = Kind::Catch(handler);
        self.live = label.entered;
        if self.live {
            let tag = tag.map(TagIdx::new);
            let ty = tag.and_then(|tag| self.module.tags.get(tag.index()).copied());
            let types = ty.map_or(Vec::new(), |ty| self.func_type(ty).0);
            let keep = ValType::cells_of(&types) as u32;
            let height = self.shapes.cells(label.below);
            let branch = self.module.code.branches.len() as u32;
            self.module.code.branches.push(Branch { target: self.next(), keep, height });
            label.clauses.push(CatchClause { tag, with_ref: false, legacy: true, branch });
            self.shape = label.below;
            self.push_all(&types)?;
        }
        self.scratch.labels.push(label);
        Ok(())
    }

    /// Legacy `delegate`: the end of a `try` whose exceptions go to another
    /// handler.
    pub(super) fn delegate(&mut self, depth: u32) -> Result<()> {
        let outside = self.scratch.labels.len().checked_sub(2 + depth as usize);
        if let (Some(Label { kind: Kind::Try(Some(handler)), .. }), Some(outside)) =
            (self.scratch.labels.last(), outside)
        {
            let handler = *handler as usize;
            self.module.code.handlers[handler].parent = self.handler_around(outside);
        }
        self.end()
    }
}
