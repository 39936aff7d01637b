//! The map: from Wasm boundaries to native PCs and from slots to locations.
//!
//! One model, three users. A backend fills it while it compiles; the section
//! writers turn it into DWARF (for debuggers) and `.wasm_map` (for what DWARF
//! cannot say); the tracer's side reads it back and evaluates it at each stop.
//!
//! A location says where a value *is*, so that a value read through it is
//! evidence about the machine code. The exception, a value that is *derived*
//! from others, is told apart everywhere.

use crate::Isa;
use crate::addr::CodeOffset;
use crate::detour::Detour;
use crate::expression::{Expression, ExpressionIdx};
use std::num::NonZeroU32;
use std::ops::Range;
use wasm_view::{
    Cell, FuncIdx, FuncType, HeapType, MemoryIdx, RefType, SlotIdx, TableIdx, TagIdx, Trap,
    TypeIdx, ValType, WasmOffset,
};

/// A register by the DWARF number that the psABI of the image's instruction set
/// gives it ([`crate::Isa`]). On x86-64 (System V psABI, figure 3.36) 0-15 are
/// rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8-r15; 17-32 are xmm0-15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DwarfReg(pub u16);

/// A type as maps have it: of references only the hierarchy, since that is what
/// their native form depends on. Defined types are functions': a backend that
/// compiles objects needs more than this.
pub const fn erased(ty: ValType) -> ValType {
    match ty {
        ValType::Ref(RefType {
            heap: HeapType::Func | HeapType::NoFunc | HeapType::Concrete(_),
            ..
        }) => ValType::FUNCREF,
        ValType::Ref(RefType { heap: HeapType::Extern | HeapType::NoExtern, .. }) => {
            ValType::EXTERNREF
        }
        ValType::Ref(RefType { heap: HeapType::Exn | HeapType::NoExn, .. }) => {
            ValType::Ref(RefType::nullable(HeapType::Exn))
        }
        other => other,
    }
}

/// A function type as maps have it, see [`erased`].
pub fn erased_func(ty: &FuncType) -> FuncType {
    let list = |types: &[ValType]| types.iter().map(|ty| erased(*ty)).collect();
    FuncType { params: list(&ty.params), results: list(&ty.results) }
}

/// Where the value of a slot is at a boundary's PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// In a register, in its low bytes.
    Register(DwarfReg),
    /// In memory at the canonical frame address plus this many bytes.
    CfaOffset(i32),
    /// Not stored: the compiler knows it to be this (`DW_OP_implicit_value`). Of
    /// a vector it is the low half, and the other half is 0.
    Constant(Cell),
    /// Not stored: it follows from values that are, by this expression of the
    /// function's ([`FunctionMap::expressions`]).
    Derived(ExpressionIdx),
    /// Nowhere, and why.
    Unavailable(Reason),
}

/// Why a value has no location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The register allocator had no further use for it.
    NoLongerLive,
    /// Instruction selection merged its computation into a later instruction.
    Folded,
    /// In an outer frame: its register belongs to the callee now.
    Clobbered,
    /// It lies in a kind of place that the map cannot express yet.
    NotExpressible,
}

impl Reason {
    /// Every reason, in the order of its code in `.wasm_map`.
    pub const ALL: &'static [Reason] =
        &[Reason::NoLongerLive, Reason::Folded, Reason::Clobbered, Reason::NotExpressible];

    /// The key used in reports.
    pub const fn key(self) -> &'static str {
        match self {
            Reason::NoLongerLive => "no_longer_live",
            Reason::Folded => "folded",
            Reason::Clobbered => "clobbered",
            Reason::NotExpressible => "not_expressible",
        }
    }
}

/// Where execution can be halted for a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// At a trap instruction of its own that the compiler placed there; the
    /// offset is that of the trap instruction's first byte.
    Trap(CodeOffset),
    /// At an instruction of the code as it ships, which is executed exactly when
    /// the Wasm execution is at this boundary, or traps in the Wasm instruction
    /// before it gets there. Whoever wants to stop there writes a trap over its
    /// first byte, and later has a copy executed in its stead
    /// ([`FunctionMap::copies`]).
    Instruction(CodeOffset),
    /// Nowhere of its own: whoever passes it meets the next boundary that has an
    /// anchor next, and nobody else does.
    Merged,
    /// Nowhere: the code can reach the next anchor without passing it, or no
    /// instruction is known to be its own.
    Threaded,
    /// Nowhere: the compiler proved that it is never reached.
    Eliminated,
}

impl Anchor {
    /// Its PC.
    #[inline]
    pub const fn pc(self) -> Option<CodeOffset> {
        match self {
            Anchor::Trap(pc) | Anchor::Instruction(pc) => Some(pc),
            Anchor::Merged | Anchor::Threaded | Anchor::Eliminated => None,
        }
    }
}

/// Bytes behind a function's code for the copy of one instruction: the longest
/// one, in whatever form it has elsewhere, and a jump back.
pub const COPY_BYTES: u32 = 32;
/// Where the first copy begins: at a multiple of this.
const COPY_ALIGNMENT: u32 = 16;

/// What makes a boundary a stable point, a place where every live value must
/// be recoverable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StableKind {
    /// First instruction of a function.
    Entry,
    /// First instruction in a loop's body.
    LoopHeader,
    /// Continuation of a branch to a block: the instruction after its `end`.
    Label,
    /// A call instruction.
    Call,
}

/// Which boundaries are stable points: places where the code can hand over its
/// whole state. Each choice has the points of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum StablePoints {
    /// None.
    #[default]
    Off,
    /// Entries of functions.
    Entry,
    /// First instructions of loops' bodies.
    Loops,
    /// Calls; what a frame needs behind its call is recoverable as well.
    Calls,
    /// Where branches to blocks continue.
    Labels,
}

impl StablePoints {
    /// Every choice.
    pub const ALL: [StablePoints; 5] = [
        StablePoints::Off,
        StablePoints::Entry,
        StablePoints::Loops,
        StablePoints::Calls,
        StablePoints::Labels,
    ];

    /// The name on the command line, in reports and in maps.
    pub const fn name(self) -> &'static str {
        match self {
            StablePoints::Off => "off",
            StablePoints::Entry => "entry",
            StablePoints::Loops => "loops",
            StablePoints::Calls => "calls",
            StablePoints::Labels => "labels",
        }
    }

    /// The choice with a name.
    pub fn from_name(name: &str) -> Option<StablePoints> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// Whether points of a kind are among them. Without any, all kinds are
    /// still told apart: the map then says what would be a stable point.
    pub fn has(self, kind: StableKind) -> bool {
        self == StablePoints::Off
            || self
                >= match kind {
                    StableKind::Entry => StablePoints::Entry,
                    StableKind::LoopHeader => StablePoints::Loops,
                    StableKind::Call => StablePoints::Calls,
                    StableKind::Label => StablePoints::Labels,
                }
    }
}

/// One boundary of a function. Boundaries are listed in offset order, those in
/// statically unreachable code not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryMap {
    /// The Wasm instruction.
    pub offset: WasmOffset,
    /// Its native PC.
    pub anchor: Anchor,
    /// Whether it is a stable point; the first kind that applies of those that
    /// the image has, or of all if it was compiled with none.
    pub stable: Option<StableKind>,
    /// Types of the operand stack, bottom first.
    pub operands: Vec<ValType>,
    /// A location per slot: the function's locals, then the operands.
    pub locations: Vec<Location>,
}

/// What was compiled in at a stable point: a poll right behind its trap, and
/// a *cold path* that stores the state or keeps it alive, executes a trap instruction and goes on
/// where the poll would have.
///
/// ```text
///   int3                      the boundary's anchor
///   poll: is the flag set? ------> cold:  buffer := live slots
///   the Wasm instruction  <------         int3
/// ```
/// In the code as it is loaded the poll is silent: its bytes are NOPs. Writing
/// [`StablePoint::armed`] over them makes it look at the flag. Elsewhere than on x86-64
/// it always does: that code is emulated, and what has been translated cannot be
/// written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StablePoint {
    /// The boundary.
    pub offset: WasmOffset,
    /// First byte of the poll.
    pub poll: CodeOffset,
    /// The poll's bytes when it is armed; they end with the branch. Elsewhere than on
    /// x86-64 they are those of the code.
    pub armed: Vec<u8>,
    /// How code that nobody watches gets by without it.
    pub detour: Detour,
    /// First byte of the cold path.
    pub cold: CodeOffset,
    /// The trap instruction that the cold path ends with.
    pub trap: CodeOffset,
    /// Where the code can be entered with a state that was stored elsewhere:
    /// the number by which the cold path of the function's entry is told to
    /// load the state buffer and go on here ([`InstanceLayout::RESTORE`]).
    ///
    /// [`InstanceLayout::RESTORE`]: crate::InstanceLayout::RESTORE
    pub restore: Option<NonZeroU32>,
    /// Whether the cold path stores all of `slots` before its trap: another
    /// witness of the state, beside the boundary's locations. Otherwise it stores
    /// what those could not tell without, if anything, and no header.
    pub stores: bool,
    /// Slots of the boundary that are live, ascending, each with its offset in the
    /// state buffer. What is not among them is dead.
    pub slots: Vec<(SlotIdx, u32)>,
}

impl StablePoint {
    /// Bytes at the start of the state buffer that say what is in it: the
    /// boundary's offset in four bytes, then four that are 0.
    pub const HEADER: u32 = 8;

    /// Bytes of the state buffer that it needs, in words of eight, `types` being
    /// those of the boundary's slots.
    pub fn buffer_size(&self, types: impl Fn(SlotIdx) -> Option<ValType>) -> u32 {
        let end = |&(slot, offset): &(SlotIdx, u32)| {
            offset.saturating_add(types(slot).map_or(8, buffer_bytes))
        };
        self.slots.iter().map(end).max().unwrap_or(0).max(Self::HEADER).next_multiple_of(8)
    }
}

/// Bytes that a value of a type has for itself in the state buffer, and is
/// aligned to there.
pub const fn buffer_bytes(ty: ValType) -> u32 {
    match ty {
        ValType::I32 | ValType::F32 => 4,
        ValType::V128 => 16,
        _ => 8,
    }
}

/// A call instruction in native code that may suspend its function's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The return address it pushes.
    pub return_address: CodeOffset,
    /// The Wasm instruction it belongs to.
    pub offset: WasmOffset,
    /// Locations while suspended: the locals, then the operands that remain
    /// below the arguments.
    pub locations: Vec<Location>,
    /// Where the function goes on when the callee throws, first match first.
    pub handlers: Vec<Handler>,
}

/// A place at which a function goes on when a call ends with an exception. The
/// frame is as its body has it, registers other than the stack and the frame
/// pointer are lost. `rax` ([`crate::Isa::payload`]) holds the reference to the exception (in the form of
/// [`wasm_view::ExnId`]'s cell), the argument area its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// The tag that it handles; everything without.
    pub tag: Option<TagIdx>,
    /// Its PC.
    pub pc: CodeOffset,
}

/// A native instruction that may fault as a Wasm trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapSite {
    /// Its PC.
    pub pc: CodeOffset,
    /// The Wasm instruction it belongs to.
    pub offset: WasmOffset,
    /// The trap that a fault there stands for.
    pub trap: Trap,
}

/// The map of one compiled Wasm function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionMap {
    /// The function.
    pub func: FuncIdx,
    /// Its type, in the module's type section.
    pub ty: TypeIdx,
    /// How many of its locals are parameters.
    pub params: u32,
    /// Its name in the module's name section, else its export name.
    pub name: Option<String>,
    /// Its code.
    pub code: Range<CodeOffset>,
    /// Its body in the module file, from its locals declaration to past its
    /// final `end`.
    pub body: Range<WasmOffset>,
    /// Types of its locals, parameters first.
    pub locals: Vec<ValType>,
    /// Names of its locals from the name section; shorter than `locals` or
    /// holding `None` where there is no name.
    pub local_names: Vec<Option<String>>,
    /// Bytes between the canonical frame address and the stack pointer in the
    /// function's body, return address included.
    pub frame_size: u32,
    /// Bytes of arguments that its caller has on the stack, above the return
    /// address.
    pub stack_arguments: u32,
    /// Bytes that it removes from there when it returns, at least
    /// `stack_arguments`: more if arguments of a tail call need more room, and
    /// then the frame lies lower by the difference.
    pub argument_area: u32,
    /// What its derived locations refer to, each once.
    pub expressions: Vec<Expression>,
    /// Boundaries by offset.
    pub boundaries: Vec<BoundaryMap>,
    /// Call sites by return address.
    pub call_sites: Vec<CallSite>,
    /// Trapping instructions by PC.
    pub traps: Vec<TrapSite>,
    /// What was compiled in for stable points, by offset; empty if nothing was.
    pub stable_points: Vec<StablePoint>,
}

impl FunctionMap {
    /// What was compiled in at the stable point at `offset`.
    pub fn stable_point(&self, offset: WasmOffset) -> Option<&StablePoint> {
        let at = self.stable_points.binary_search_by_key(&offset, |point| point.offset).ok()?;
        self.stable_points.get(at)
    }

    /// Bytes of the state buffer that its stable points need.
    pub fn state_size(&self) -> u32 {
        let size = |point: &StablePoint| {
            let at = self.boundaries.binary_search_by_key(&point.offset, |each| each.offset);
            let operands = at.ok().and_then(|at| self.boundaries.get(at));
            let operands = operands.map(|boundary| boundary.operands.as_slice());
            point.buffer_size(|slot| match slot.index().checked_sub(self.locals.len()) {
                None => self.locals.get(slot.index()).copied(),
                Some(depth) => operands.and_then(|types| types.get(depth)).copied(),
            })
        };
        self.stable_points.iter().map(size).max().unwrap_or(0)
    }
}

impl FunctionMap {
    /// The instructions at which this function can be halted, in the order of
    /// their boundaries, each with the place for its copy: behind the code, where
    /// nothing else is. An offset that does not exist is left out.
    pub fn copies(&self) -> impl Iterator<Item = (CodeOffset, CodeOffset)> + '_ {
        let first = self.code.end.get().checked_next_multiple_of(COPY_ALIGNMENT);
        let patched = self.boundaries.iter().filter_map(|boundary| match boundary.anchor {
            Anchor::Instruction(pc) => Some(pc),
            _ => None,
        });
        patched.zip(0_u32..).filter_map(move |(pc, number)| {
            let place = first?.checked_add(number.checked_mul(COPY_BYTES)?)?;
            place.checked_add(COPY_BYTES)?;
            Some((pc, CodeOffset::new(place)))
        })
    }
}

/// Something that AOT code cannot do itself and asks its kernel, the tracer,
/// for: it stores the arguments in the instance's argument area, executes a
/// trap instruction, and reads the results from the same area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThunkKind {
    /// Call of a function that the host provides.
    Import(FuncIdx),
    /// `memory.grow`: delta -> old size in pages or -1.
    MemoryGrow(MemoryIdx),
    /// `memory.copy`: destination, source, length.
    MemoryCopy {
        /// Memory written.
        destination: MemoryIdx,
        /// Memory read.
        source: MemoryIdx,
    },
    /// `memory.fill`: destination, value, length.
    MemoryFill(MemoryIdx),
    /// `memory.init`: destination, source, length.
    MemoryInit {
        /// Memory written.
        memory: MemoryIdx,
        /// Segment read.
        data: wasm_view::DataIdx,
    },
    /// `data.drop`.
    DataDrop(wasm_view::DataIdx),
    /// `table.grow`: value, delta -> old size or -1.
    TableGrow(TableIdx),
    /// `table.fill`: destination, value, length.
    TableFill(TableIdx),
    /// `table.copy`: destination, source, length.
    TableCopy {
        /// Table written.
        destination: TableIdx,
        /// Table read.
        source: TableIdx,
    },
    /// `table.init`: destination, source, length.
    TableInit {
        /// Table written.
        table: TableIdx,
        /// Segment read.
        elem: wasm_view::ElemIdx,
    },
    /// `elem.drop`.
    ElemDrop(wasm_view::ElemIdx),
    /// `memory.atomic.notify`: effective address (i64), count -> woken.
    MemoryNotify(MemoryIdx),
    /// `memory.atomic.wait32`: effective address (i64), expected, timeout ->
    /// 0 woken, 1 not equal, 2 timed out.
    MemoryWait32(MemoryIdx),
    /// `memory.atomic.wait64`, likewise.
    MemoryWait64(MemoryIdx),
    /// `throw`: the tag's arguments. Does not return.
    Throw(TagIdx),
    /// `throw_ref`: an exception, not null. Does not return.
    ThrowRef,
}

/// The instruction with its indices, `memory.copy 0 1`.
impl std::fmt::Display for ThunkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            ThunkKind::Import(func) => write!(f, "call {}", func.get()),
            ThunkKind::MemoryGrow(memory) => write!(f, "memory.grow {}", memory.get()),
            ThunkKind::MemoryCopy { destination, source } => {
                write!(f, "memory.copy {} {}", destination.get(), source.get())
            }
            ThunkKind::MemoryFill(memory) => write!(f, "memory.fill {}", memory.get()),
            ThunkKind::MemoryInit { memory, data } => {
                write!(f, "memory.init {} {}", memory.get(), data.get())
            }
            ThunkKind::DataDrop(data) => write!(f, "data.drop {}", data.get()),
            ThunkKind::TableGrow(table) => write!(f, "table.grow {}", table.get()),
            ThunkKind::TableFill(table) => write!(f, "table.fill {}", table.get()),
            ThunkKind::TableCopy { destination, source } => {
                write!(f, "table.copy {} {}", destination.get(), source.get())
            }
            ThunkKind::TableInit { table, elem } => {
                write!(f, "table.init {} {}", table.get(), elem.get())
            }
            ThunkKind::ElemDrop(elem) => write!(f, "elem.drop {}", elem.get()),
            ThunkKind::MemoryNotify(memory) => write!(f, "memory.atomic.notify {}", memory.get()),
            ThunkKind::MemoryWait32(memory) => write!(f, "memory.atomic.wait32 {}", memory.get()),
            ThunkKind::MemoryWait64(memory) => write!(f, "memory.atomic.wait64 {}", memory.get()),
            ThunkKind::Throw(tag) => write!(f, "throw {}", tag.get()),
            ThunkKind::ThrowRef => f.write_str("throw_ref"),
        }
    }
}

/// The code of a thunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThunkMap {
    /// What it asks for.
    pub kind: ThunkKind,
    /// Parameters and results, in the argument area one 16-byte cell each,
    /// from its start.
    pub ty: FuncType,
    /// Its code; the start is what an import's code pointer holds.
    pub code: Range<CodeOffset>,
    /// PC of its trap instruction.
    pub trap: CodeOffset,
}

/// The code through which the tracer calls functions of one type. Entered with
/// the instance data's address in `rdi`, the callee's code address in `rsi`
/// and the callee's instance data in `rdx` (elsewhere [`crate::Isa::parameters`]), the parameters in the argument
/// area of the instance in `rdi`; ends at a trap instruction with the results
/// in that same area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryMap {
    /// The type of function it calls.
    pub ty: FuncType,
    /// Its code.
    pub code: Range<CodeOffset>,
    /// PC of the trap instruction that it ends with.
    pub finish: CodeOffset,
}

/// The map of a whole image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageMap {
    /// Compiled functions, by index; imports are not among them.
    pub functions: Vec<FunctionMap>,
    /// Thunks.
    pub thunks: Vec<ThunkMap>,
    /// Entries, one per function type that the module has functions of.
    pub entries: Vec<EntryMap>,
    /// Where the instance data lies.
    pub layout: crate::layout::InstanceLayout,
    /// How the image was made, for reports.
    pub producer: Producer,
}

/// How an image was made.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Producer {
    /// `cranelift`.
    pub backend: String,
    /// Its version.
    pub version: String,
    /// `none` or `speed`.
    pub opt: String,
    /// Which stable points were compiled in: `off`, `entry`, `loops`, `calls`
    /// or `labels`.
    pub stable: String,
    /// `trap` or `srcloc`.
    pub anchors: String,
    /// The instruction set.
    pub target: Isa,
    /// CPU features that the code may use.
    pub cpu_features: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_of_stable_points_has_more() {
        let kinds =
            [StableKind::Entry, StableKind::LoopHeader, StableKind::Call, StableKind::Label];
        for (more, choice) in StablePoints::ALL.into_iter().skip(1).enumerate() {
            let has: Vec<bool> = kinds.iter().map(|kind| choice.has(*kind)).collect();
            assert_eq!(has.iter().filter(|has| **has).count(), more + 1, "{choice:?}");
            assert!(has.is_sorted_by(|a, b| a >= b), "{choice:?}");
            assert_eq!(StablePoints::from_name(choice.name()), Some(choice));
        }
    }
}
