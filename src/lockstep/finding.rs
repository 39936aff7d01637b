//! A divergence as the lockstep finds it: facts, no prose.
//!
//! What people read is made from a [`Finding`] afterwards, when there is time
//! to disassemble and to look up source lines (see [`crate::describe`]).

use dwarf_map::SubjectAddr;
use reports::{DivergenceKind, Slot};
use wasm_view::{Boundary, GlobalIdx, InstanceId, MemoryId, TableId, ValType};

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
