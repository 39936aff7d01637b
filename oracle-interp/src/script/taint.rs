//! What can no longer be relied on because a module was not run.
//!
//! A module that is refused might have written to what it imports: a memory, a
//! table, a global, or by calling a function anything that function's instance
//! can reach. Whatever is asserted of those afterwards may fail for no other
//! reason, so it is not run either. This errs on the side of not running.

use crate::{Extern, Oracle};
use std::collections::{BTreeMap, BTreeSet};
use wasm_view::{FuncAddr, FuncIdx, GlobalId, InstanceId, MemoryId, TableId};

/// Parts of a store that would be otherwise, had everything been run.
#[derive(Default)]
pub(super) struct Taint {
    /// With what was refused.
    instances: BTreeMap<InstanceId, String>,
    memories: BTreeSet<MemoryId>,
    tables: BTreeSet<TableId>,
    globals: BTreeSet<GlobalId>,
}

impl Taint {
    /// A module that imports these was not run, for a reason.
    pub fn spread(&mut self, oracle: &Oracle, imported: &[Extern], reason: &str) {
        for import in imported {
            match *import {
                Extern::Func(func) => self.reach(oracle, func.instance, reason),
                Extern::Memory(id) => {
                    self.memories.insert(id);
                }
                Extern::Table(id) => {
                    self.tables.insert(id);
                    // It could have called whatever is in there.
                    for cell in oracle.table(id) {
                        if let Some(func) = FuncAddr::from_cell(*cell) {
                            self.reach(oracle, func.instance, reason);
                        }
                    }
                }
                Extern::Global(id) => {
                    self.globals.insert(id);
                }
                Extern::HostFunc | Extern::Tag(_) => {}
            }
        }
        // Everything that has one of them, for later to be found at once.
        let having: Vec<InstanceId> =
            oracle.instances().iter().map(|instance| instance.id()).collect();
        for id in having {
            if !self.instances.contains_key(&id) && self.has_part(oracle, id) {
                self.instances.insert(id, reason.to_string());
            }
        }
    }

    /// A function of an instance could have been called. `spectest` has none
    /// that do anything.
    fn reach(&mut self, oracle: &Oracle, instance: InstanceId, reason: &str) {
        if instance.index() == 0 || self.instances.contains_key(&instance) {
            return;
        }
        self.instances.insert(instance, reason.to_string());
        let view = oracle.instance(instance);
        self.memories.extend(&view.memories);
        self.globals.extend(&view.globals);
        let mut callees = BTreeSet::new();
        for func in 0..view.module.num_imported_funcs() {
            callees.insert(view.resolve(FuncIdx::new(func)).instance);
        }
        for table in &view.tables {
            self.tables.insert(*table);
            let funcs = oracle.table(*table).iter().filter_map(|cell| FuncAddr::from_cell(*cell));
            callees.extend(funcs.map(|func| func.instance));
        }
        for callee in callees {
            self.reach(oracle, callee, reason);
        }
    }

    fn has_part(&self, oracle: &Oracle, instance: InstanceId) -> bool {
        let view = oracle.instance(instance);
        instance.index() > 0
            && (view.memories.iter().any(|id| self.memories.contains(id))
                || view.tables.iter().any(|id| self.tables.contains(id))
                || view.globals.iter().any(|id| self.globals.contains(id)))
    }

    /// Why what an instance does cannot be relied on.
    pub fn of(&self, oracle: &Oracle, instance: InstanceId) -> Option<String> {
        if self.instances.is_empty() {
            return None;
        }
        let view = oracle.instance(instance);
        let callees = (0..view.module.num_imported_funcs())
            .map(|func| view.resolve(FuncIdx::new(func)).instance);
        let reason = std::iter::once(instance)
            .chain(callees)
            .find_map(|instance| self.instances.get(&instance))?;
        Some(reason.clone())
    }

    /// Why a module with these imports cannot be relied on.
    pub fn of_imports(&self, oracle: &Oracle, imported: &[Extern]) -> Option<String> {
        let reason = |tainted: bool| tainted.then(|| self.instances.values().next().cloned());
        imported.iter().find_map(|import| match *import {
            Extern::Func(func) => self.of(oracle, func.instance),
            Extern::Memory(id) => reason(self.memories.contains(&id))?,
            Extern::Table(id) => reason(self.tables.contains(&id))?,
            Extern::Global(id) => reason(self.globals.contains(&id))?,
            Extern::HostFunc | Extern::Tag(_) => None,
        })
    }
}
