//! Where and how the two executions differ: the evidence.
//!
//! A compiler engineer who gets one of these should not have to run anything
//! to see the problem: the instruction and its neighbours, the machine code
//! around the PC, the wrong values, the call stack and both states are in it.
//! All of it is data; nothing here refers to a file or a process that is gone
//! by the time somebody reads it.

use crate::slot::{Slot, parse_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use wasm_view::Boundary;

/// A difference between the subject and the oracle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// What differs.
    pub kind: DivergenceKind,
    /// The instance that was executing; `None` outside any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instance: Option<u32>,
    /// The function, in that instance's index space; `None` outside any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub func: Option<u32>,
    /// The function's name, where the module gives one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
    /// The instruction, as byte offset in the module file.
    #[serde(deserialize_with = "Option::deserialize")]
    pub offset: Option<u32>,
    /// The instruction in the text format.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instruction: Option<String>,
    /// Boundaries that the oracle had executed before this one.
    pub boundary_index: u64,
    /// What is wrong, most telling first.
    pub slots: Vec<Slot>,
    /// The subject's PC.
    #[serde(deserialize_with = "Option::deserialize")]
    pub native_pc: Option<NativePc>,
    /// Machine code around the PC, one instruction a line, each as
    /// [`Divergence::native_line`] makes it.
    pub native_disassembly: Vec<String>,
    /// The original source, `file:line` or `file:line:column`, where the Wasm
    /// has DWARF.
    #[serde(deserialize_with = "Option::deserialize")]
    pub source_line: Option<String>,
    /// The oracle's call stack, innermost first.
    pub frames: Vec<Frame>,
    /// What a second engine said; `None` if none was asked.
    #[serde(deserialize_with = "Option::deserialize")]
    pub witness: Option<Witness>,
    /// The instruction's neighbours in offset order, itself included.
    #[serde(default)]
    pub listing: Vec<ListingLine>,
    /// Both states as text.
    #[serde(default)]
    pub state_diff: Option<StateDiff>,
    /// The command line that runs up to here again, one argument each, the
    /// command itself first. Quoting for a shell is the renderer's business.
    #[serde(default)]
    pub rerun: Option<Vec<String>>,
    /// What happened, in one sentence. Empty if `slots` say it all.
    #[serde(default)]
    pub summary: String,
    /// The instruction executed just before the boundary: the first suspect.
    /// `None` at the first boundary.
    #[serde(default)]
    pub after: Option<Executed>,
    /// The boundaries stopped at last, the latest at the end.
    #[serde(default)]
    pub timeline: Vec<Passed>,
}

impl Divergence {
    /// A divergence outside any function, with nothing known but its kind.
    pub fn new(kind: DivergenceKind) -> Divergence {
        Divergence {
            kind,
            instance: None,
            func: None,
            name: None,
            offset: None,
            instruction: None,
            boundary_index: 0,
            slots: Vec::new(),
            native_pc: None,
            native_disassembly: Vec::new(),
            source_line: None,
            frames: Vec::new(),
            witness: None,
            listing: Vec::new(),
            state_diff: None,
            rerun: None,
            summary: String::new(),
            after: None,
            timeline: Vec::new(),
        }
    }

    /// The same divergence at a boundary; `index` is the number of boundaries
    /// executed before it.
    #[must_use]
    pub fn at(mut self, boundary: Boundary, index: u64) -> Divergence {
        self.instance = Some(boundary.instance.get());
        self.func = Some(boundary.func.get());
        self.offset = Some(boundary.offset.get());
        self.boundary_index = index;
        self
    }

    /// One line of [`Divergence::native_disassembly`]: the address in
    /// hexadecimal, a colon, a space, the instruction. Renderers find the PC's
    /// line by that address.
    pub fn native_line(pc: u64, instruction: &str) -> String {
        format!("{pc:#x}: {instruction}")
    }

    /// Whether a line of [`Divergence::native_disassembly`] is the PC's.
    pub fn is_native_pc(&self, line: &str) -> bool {
        let address = line.split_once(':').and_then(|(address, _)| parse_hex(address.trim()));
        address.is_some() && address == self.native_pc.map(NativePc::get)
    }
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergenceKind {
    /// The two are at different boundaries.
    ControlFlow,
    /// A local's value.
    Local,
    /// A value on the operand stack.
    Operand,
    /// Contents or size of a memory.
    Memory,
    /// A global's value.
    Global,
    /// Contents or size of a table.
    Table,
    /// Which host function is called, or an argument.
    HostCall,
    /// One traps and the other does not, or for another reason.
    Trap,
    /// How the program ends, or what it returns.
    Exit,
    /// The map contradicts the oracle or itself; the code may be right.
    Map,
    /// A live value cannot be recovered at a stable point.
    StablePoint,
    /// The subject did what Wasm code cannot do.
    Sandbox,
    /// A snapshot does not restore to what was captured.
    Snapshot,
}

impl DivergenceKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [DivergenceKind; 13] = [
        DivergenceKind::ControlFlow,
        DivergenceKind::Local,
        DivergenceKind::Operand,
        DivergenceKind::Memory,
        DivergenceKind::Global,
        DivergenceKind::Table,
        DivergenceKind::HostCall,
        DivergenceKind::Trap,
        DivergenceKind::Exit,
        DivergenceKind::Map,
        DivergenceKind::StablePoint,
        DivergenceKind::Sandbox,
        DivergenceKind::Snapshot,
    ];

    /// The kind's name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            DivergenceKind::ControlFlow => "control_flow",
            DivergenceKind::Local => "local",
            DivergenceKind::Operand => "operand",
            DivergenceKind::Memory => "memory",
            DivergenceKind::Global => "global",
            DivergenceKind::Table => "table",
            DivergenceKind::HostCall => "host_call",
            DivergenceKind::Trap => "trap",
            DivergenceKind::Exit => "exit",
            DivergenceKind::Map => "map",
            DivergenceKind::StablePoint => "stable_point",
            DivergenceKind::Sandbox => "sandbox",
            DivergenceKind::Snapshot => "snapshot",
        }
    }
}

impl fmt::Display for DivergenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// An address of code in the subject; in JSON `0x` and 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NativePc(u64);

impl NativePc {
    /// Wraps an address in the subject's address space.
    pub const fn new(raw: u64) -> NativePc {
        NativePc(raw)
    }

    /// The address in the subject's address space.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NativePc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for NativePc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for NativePc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NativePc, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::SlotType::Address.check(&text).map_err(de::Error::custom)?;
        parse_hex(&text).map(NativePc).ok_or_else(|| de::Error::custom("not an address"))
    }
}

/// An instruction that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Its function.
    pub func: u32,
    /// Its byte offset in the module file.
    pub offset: u32,
    /// Its text.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instruction: Option<String>,
    /// Its line in the original source.
    #[serde(deserialize_with = "Option::deserialize")]
    pub source_line: Option<String>,
}

/// A boundary that was passed on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The instance that executed it.
    pub instance: u32,
    /// The function, in that instance's index space.
    pub func: u32,
    /// The instruction, as byte offset in the module file.
    pub offset: u32,
    /// Its text.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instruction: Option<String>,
}

/// One activation in a call stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The instance that executes it.
    pub instance: u32,
    /// The function, in that instance's index space.
    pub func: u32,
    /// Its name, where the module gives one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
    /// Where it stands, as byte offset in the module file; for all but the
    /// innermost frame the call instruction.
    pub offset: u32,
    /// The original source, where the Wasm has DWARF.
    #[serde(deserialize_with = "Option::deserialize")]
    pub source_line: Option<String>,
}

/// One instruction of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingLine {
    /// Byte offset in the module file.
    pub offset: u32,
    /// The instruction in the text format, indented as one likes.
    pub text: String,
}

/// The two states at the divergence as lines of text, so that their
/// difference reads as a difference of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDiff {
    /// The oracle's state.
    pub expected: Vec<String>,
    /// The subject's state.
    pub actual: Vec<String>,
}

/// What a second engine, running the whole module on its own, said about the
/// oracle's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its verdict.
    pub verdict: WitnessVerdict,
    /// Its name: `wasmi`.
    pub engine: String,
    /// Why it cannot, or what it contradicts; `None` if it agrees.
    #[serde(deserialize_with = "Option::deserialize")]
    pub reason: Option<String>,
}

/// Whether the witness supports the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WitnessVerdict {
    /// It saw what the oracle saw: the subject is wrong.
    Agrees,
    /// It saw something else than the oracle: a bug in wdiff.
    Contradicts,
    /// It cannot tell.
    Cannot,
}
