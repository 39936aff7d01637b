//! Static checker: what must be true of a map before anybody runs the code.
//!
//! It never asks how the map was made. It takes the map as read back from the
//! image, the image's code bytes and call frame information, and holds them
//! against rules. Each rule has a name, is stated once, in [`Rule::statement`],
//! and has a test that damages a good map and expects exactly that name.
//!
//! Three groups:
//!
//! 1. *Shape*: lists are in the order that lookups rely on, and have the
//!    lengths that the slots demand.
//! 2. *Map against code*: anchors are trap instructions, return addresses
//!    follow call instructions, frames are described by CFI, and the CFI is
//!    what the code does (`frames.rs`).
//! 3. *Locations*: a value of this type can be at that place at all, or be
//!    computed from what can.
//!
//! What it cannot see is whether a value really is where the map says. That
//! takes execution. [`check_module`] compares the map with the module,
//! [`check_instantiation`] looks at what begins it, and
//! [`check_dwarf`] compares the map with the DWARF of the same image, which debuggers and second
//! witnesses read.

mod dwarf;
mod frames;
mod function;
mod instantiation;
mod module;
mod stable;

pub use dwarf::check_dwarf;
pub use instantiation::check_instantiation;
pub use module::{StableKinds, check_module, stable_kinds};

use crate::unwind::Unwinder;
use crate::{CodeOffset, ImageMap, Isa};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use wasm_view::{FuncIdx, FuncType, WasmOffset};

macro_rules! rules {
    ($($variant:ident, $name:literal, $statement:literal;)*) => {
        /// The rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $(#[doc = $statement] $variant,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];
            /// Its name in reports.
            pub const fn name(self) -> &'static str { match self { $(Rule::$variant => $name,)* } }
            /// What it demands.
            pub const fn statement(self) -> &'static str {
                match self { $(Rule::$variant => $statement,)* }
            }
        }
    };
}

rules! {
    FunctionOrder, "function-order", "Functions are in ascending order of index.";
    CodeInText, "code-in-text", "The code of functions, thunks and entries is not empty and lies in the text.";
    CodeOverlap, "code-overlap", "No byte of code belongs to two functions, thunks or entries.";
    Params, "params", "A function has at least as many locals as parameters, and no more names than locals.";
    FrameSize, "frame-size", "A frame has room for its return address and is a multiple of 8 bytes; where CFI counts from the stack pointer at an anchor it gives the same size.";
    BoundaryOrder, "boundary-order", "Boundaries are in ascending order of offset.";
    BoundaryInBody, "boundary-in-body", "Boundaries lie in the function's body.";
    AnchorInCode, "anchor-in-code", "Anchors lie in the function's code.";
    AnchorDistinct, "anchor-distinct", "No two boundaries share an anchor.";
    AnchorIsTrap, "anchor-is-trap", "At an anchor there is a trap instruction (0xcc on x86-64).";
    AnchorIsInstruction, "anchor-is-instruction", "Where the code has no trap at an anchor there is an instruction to put one over.";
    CopyRoom, "copy-room", "Behind the code of a function there is room, filled with traps, for a copy of each instruction that is an anchor.";
    StableEntry, "stable-entry", "Where a function has stable points, its first boundary is one of kind entry, and no other is.";
    StablePresent, "stable-present", "Where stable points are compiled in, each boundary with code that is one is anchored and has its poll, and no other boundary has one; each live slot of it has a location.";
    StablePoll, "stable-poll", "A poll lies behind its boundary's trap, or, in code without traps, the anchor is in the poll; armed, it ends with a conditional branch one way of which is the cold path, and in the code it is not armed (elsewhere than on x86-64 it is).";
    StableDetour, "stable-detour", "What a branch may be led past is NOPs that the silent poll begins with, and each way to it is the 32-bit displacement of a branch in the function's code that leads there (on x86-64; elsewhere there is none).";
    StableTrap, "stable-trap", "A cold path lies in the function's code and ends with a trap instruction (0xcc on x86-64; 0x0f 0x0b where it is that alone) of its own.";
    StableLayout, "stable-layout", "The live slots of a stable point are slots of its boundary; in the state buffer they lie behind the header, aligned, and do not overlap.";
    LocationCount, "location-count", "A boundary has a location for each local and operand; a call site for each local and for some of the operands, from the bottom.";
    RegisterClass, "register-class", "Integers and references are in general registers other than the stack pointer, floats and vectors in vector registers.";
    ConstantWidth, "constant-width", "A constant fits the width of its type, a vector's its low half; a constant reference is null.";
    ExpressionKnown, "expression-known", "A derived location refers to an expression of its function.";
    ExpressionInput, "expression-input", "An expression reads general registers other than the stack pointer, and eight bytes where a value can be in the frame.";
    DerivedType, "derived-type", "Values of at most 64 bits are derived, vectors never.";
    FrameOffset, "frame-offset", "A stack location lies in the frame but not on the return address (on other instruction sets nor on the frame pointer or the register save area), or among the caller's stack arguments.";
    CallOrder, "call-order", "Call sites are in ascending order of return address.";
    CallInCode, "call-in-code", "Return addresses lie in the function's code, its end included and its start not.";
    CallInstruction, "call-instruction", "A return address follows a call instruction, direct ones calling into the text.";
    CallBoundary, "call-boundary", "A call site belongs to an instruction that has a boundary.";
    CalleeSaved, "callee-saved", "While suspended in a call, values are only in registers that the callee preserves, or computed from such.";
    HandlerInCode, "handler-in-code", "Handlers lie in the function's code.";
    HandlerUnique, "handler-unique", "A call site has one handler for a tag at most, and what handles everything is its last.";
    HandlerFrame, "handler-frame", "CFI finds the frame address at a handler as it does at the handler's call.";
    TrapOrder, "trap-order", "Trap sites are in ascending order of PC.";
    TrapInCode, "trap-in-code", "Trap sites lie in the function's code and belong to an instruction of its body.";
    ThunkTrap, "thunk-trap", "The trap of a thunk lies in its code and is a trap instruction (0xcc on x86-64).";
    EntryTrap, "entry-trap", "The trap that an entry ends with lies in its code and is a trap instruction (0xcc on x86-64).";
    Duplicate, "duplicate", "There is one thunk for a thing asked for and one entry for a function type.";
    ArgumentArea, "argument-area", "The argument area holds the parameters and the results of each thunk and entry.";
    CfiCoverage, "cfi-coverage", "Call frame information describes every byte of every function and thunk, and of the code that instantiates the module.";
    CfiFrame, "cfi-frame", "Where the code decides how far the frame address is from a register, call frame information says the same.";
    CfiSaved, "cfi-saved", "A register of the caller's is where call frame information says: in its place from when the code has put it there, in the register until the code changes it.";
    Instantiation, "instantiation", "The image names the code that instantiates its module, by the symbol `instantiate`: it is not empty, lies in the text and belongs to no function, thunk or entry; there is an entry for functions without parameters and results.";
    InstantiationCalls, "instantiation-calls", "The code that instantiates the module calls, in the order of the core specification, the thunks that fill tables with their initial value, apply active segments and drop these and declared ones, then the start function if the module defines it.";
    ModuleReadable, "module-readable", "The module can be parsed and is valid.";
    FunctionKnown, "function-known", "The functions are those that the module defines, with its types, parameters, locals and bodies.";
    BoundaryComplete, "boundary-complete", "Every instruction that validation finds reachable has a boundary, and there are no others.";
    OperandTypes, "operand-types", "The operands of a boundary have the types that validation gives.";
    StableComplete, "stable-complete", "The stable points of the map are all that the Wasm has, of the kinds that the image was compiled with (with none: of all kinds, or nowhere in the function); each of the first kind that applies.";
    CallComplete, "call-complete", "A call that has an anchor has a call site; call sites belong to what may suspend a frame, with locations of the operands that it leaves on the stack.";
    DwarfReadable, "dwarf-readable", "The DWARF sections can be parsed, and every location is of a kind that the map has.";
    DwarfFunction, "dwarf-function", "Each function has a subprogram with the same code, and each such subprogram a function.";
    DwarfVariable, "dwarf-variable", "A subprogram has the variables of its function's slots, with their types.";
    DwarfLocation, "dwarf-location", "At every boundary and call site a variable is where the map says; elsewhere only from one of them to the next, if it is in the same place at both and the code in between leaves that alone.";
    DwarfLine, "dwarf-line", "Each anchor is the address of a line, if the function has lines at all.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that a map breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The function, unless it is about the image as a whole.
    pub func: Option<FuncIdx>,
    /// The Wasm instruction, where it is about one.
    pub offset: Option<WasmOffset>,
    /// What was found.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        if let Some(func) = self.func {
            write!(f, "function {func}")?;
            if let Some(offset) = self.offset {
                write!(f, " at {offset}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Violations that are listed at most: a map that is wrong throughout would
/// otherwise give one for every slot.
pub const MOST_VIOLATIONS: usize = 1000;

/// Checks a map against the code and call frame information of its image.
///
/// `text` is the content of `.text`. The answer is empty for a map that
/// breaks no rule, and cut at [`MOST_VIOLATIONS`].
pub fn check(map: &ImageMap, text: &[u8], unwinder: &Unwinder) -> Vec<Violation> {
    let mut findings = Findings::default();
    code_ranges(map, text, &mut findings);
    for pair in map.functions.windows(2) {
        if let [before, after] = pair
            && before.func >= after.func
        {
            findings.image(
                Rule::FunctionOrder,
                format!("function {} follows function {}", after.func, before.func),
            );
        }
    }
    for function in &map.functions {
        function::check(function, map.isa(), text, unwinder, &mut findings);
        let compiled = map.producer.stable != "off";
        stable::check(function, map.isa(), compiled, text, &mut findings);
    }
    thunks_and_entries(map, text, unwinder, &mut findings);
    findings.list
}

/// Rules that [`check`] does not decide for an image, each with the number of
/// places at which it would have to: the code of x86-64 alone is followed.
pub fn undecided(map: &ImageMap) -> Vec<(Rule, usize)> {
    if map.isa() == Isa::X86_64 {
        return Vec::new();
    }
    let places = map.functions.iter().map(|function| {
        let anchors = function.boundaries.iter().filter(|each| each.anchor.pc().is_some()).count();
        anchors + function.traps.len() + function.call_sites.len()
    });
    let places = places.sum();
    vec![(Rule::CfiFrame, places), (Rule::CfiSaved, places)]
}

/// Violations in the making.
#[derive(Default)]
struct Findings {
    list: Vec<Violation>,
}

impl Findings {
    fn add(
        &mut self,
        rule: Rule,
        func: Option<FuncIdx>,
        offset: Option<WasmOffset>,
        message: String,
    ) {
        if self.list.len() < MOST_VIOLATIONS {
            self.list.push(Violation { rule, func, offset, message });
        }
    }

    fn image(&mut self, rule: Rule, message: String) {
        self.add(rule, None, None, message);
    }
}

/// The byte of text at an offset.
fn byte_at(text: &[u8], at: CodeOffset) -> Option<u8> {
    text.get(usize::try_from(at.get()).ok()?).copied()
}

fn code_ranges(map: &ImageMap, text: &[u8], findings: &mut Findings) {
    let functions = map
        .functions
        .iter()
        .map(|function| (format!("function {}", function.func), function.code.clone()));
    let thunks =
        map.thunks.iter().map(|thunk| (format!("{:?} thunk", thunk.kind), thunk.code.clone()));
    let entries =
        map.entries.iter().map(|entry| (format!("entry for {}", entry.ty), entry.code.clone()));
    let mut all: Vec<(String, Range<CodeOffset>)> =
        functions.chain(thunks).chain(entries).collect();
    for (what, code) in &all {
        if code.is_empty() || code.end.get() as usize > text.len() {
            findings.image(
                Rule::CodeInText,
                format!(
                    "{what} has code {}..{}, text has {:#x} bytes",
                    code.start,
                    code.end,
                    text.len()
                ),
            );
        }
    }
    all.sort_by_key(|(_, code)| (code.start, code.end));
    for pair in all.windows(2) {
        if let [(before, earlier), (after, later)] = pair
            && later.start < earlier.end
        {
            findings.image(
                Rule::CodeOverlap,
                format!(
                    "{after} begins at {}, before {before} ends at {}",
                    later.start, earlier.end
                ),
            );
        }
    }
}

fn thunks_and_entries(map: &ImageMap, text: &[u8], unwinder: &Unwinder, findings: &mut Findings) {
    let cells = map.layout.counts().argument_cells as usize;
    let area = |ty: &FuncType| ty.params.len().max(ty.results.len());
    let mut kinds = HashSet::new();
    for thunk in &map.thunks {
        let what = format!("{:?} thunk", thunk.kind);
        if !thunk.code.contains(&thunk.trap) || !map.isa().is_trap(text, thunk.trap) {
            findings.image(Rule::ThunkTrap, format!("{what} has no trap at {}", thunk.trap));
        }
        if !kinds.insert(thunk.kind) {
            findings.image(Rule::Duplicate, format!("a second {what}"));
        }
        if area(&thunk.ty) > cells {
            let message = format!("{what} has type {}, the area {cells} cells", thunk.ty);
            findings.image(Rule::ArgumentArea, message);
        }
        if let Some(gap) = unwinder.first_gap(thunk.code.clone()) {
            findings.image(Rule::CfiCoverage, format!("{what} has none at {gap}"));
        }
    }
    let mut types = HashSet::new();
    for entry in &map.entries {
        let what = format!("entry for {}", entry.ty);
        if !entry.code.contains(&entry.finish) || !map.isa().is_trap(text, entry.finish) {
            findings.image(Rule::EntryTrap, format!("{what} has no trap at {}", entry.finish));
        }
        if !types.insert(&entry.ty) {
            findings.image(Rule::Duplicate, format!("a second {what}"));
        }
        if area(&entry.ty) > cells {
            findings.image(Rule::ArgumentArea, format!("{what}, the area has {cells} cells"));
        }
    }
}
