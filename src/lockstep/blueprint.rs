//! The instances that a subject will have, before it is there.
//!
//! A sealed subject can map nothing more, and nobody allocates in it: which
//! modules become instances, and what they share with each other, has to be known
//! when it is started. The oracle links the instances (of a script beforehand,
//! see `wast::plan`), and what it made of them is the plan.

use super::space::STACK_SIZE;
use oracle_interp::{Instance, Module, Oracle};
use std::sync::Arc;
use wasm_view::{FuncAddr, FuncIdx, GlobalId, MemoryId, MemoryType, TableId, TableType, TypeIdx};

/// One instance of a [`Blueprint`].
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its module.
    pub module: Arc<Module>,
    /// Its memories, by index.
    pub memories: Vec<MemoryId>,
    /// Its tables, by index.
    pub tables: Vec<TableId>,
    /// Its globals, by index.
    pub globals: Vec<GlobalId>,
    /// What its functions are, by index.
    pub functions: Vec<FuncAddr>,
    /// The store's numbers of its types, by index.
    pub types: Vec<TypeIdx>,
}

impl Planned {
    /// An instance as the oracle has linked it.
    pub fn of(instance: &Instance) -> Planned {
        let functions = (0..instance.module.num_funcs()).map(FuncIdx::new);
        let types = (0..instance.module.types().len()).map(TypeIdx::from_index);
        Planned {
            module: instance.module.clone(),
            memories: instance.memories.clone(),
            tables: instance.tables.clone(),
            globals: instance.globals.clone(),
            functions: functions.map(|func| instance.resolve(func)).collect(),
            types: types.filter_map(|ty| instance.type_id(ty)).collect(),
        }
    }

    /// Whether an instance is linked as it was planned.
    pub fn is(&self, instance: &Instance) -> bool {
        let other = Planned::of(instance);
        self.module.bytes() == other.module.bytes()
            && self.memories == other.memories
            && self.tables == other.tables
            && self.globals == other.globals
            && self.functions == other.functions
            && self.types == other.types
    }
}

/// The instances that a subject will have, by [`InstanceId`](wasm_view::InstanceId).
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Each of them.
    pub instances: Vec<Planned>,
    /// Bytes of native stack.
    pub stack_size: u64,
}

impl Blueprint {
    /// The instances that an oracle has.
    pub fn of(oracle: &Oracle) -> Blueprint {
        let instances = oracle.instances().iter().map(Planned::of).collect();
        Blueprint { instances, stack_size: STACK_SIZE }
    }

    /// Memories by id: the type that each was defined with.
    pub(super) fn memories(&self) -> Vec<MemoryType> {
        let defined = |plan: &Planned| {
            let from = plan.module.num_imported_memories() as usize;
            plan.module.memories()[from..].to_vec()
        };
        self.instances.iter().flat_map(defined).collect()
    }

    /// Tables by id: the type that each was defined with.
    pub(super) fn tables(&self) -> Vec<TableType> {
        let defined = |plan: &Planned| {
            let from = plan.module.num_imported_tables() as usize;
            plan.module.tables()[from..].to_vec()
        };
        self.instances.iter().flat_map(defined).collect()
    }
}
