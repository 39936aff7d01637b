//! Wasm function bodies to CLIF, with a trap at every boundary.
//!
//! The translation is one instruction at a time: first the boundary (a
//! `sequence_point` carrying the boundary's number as debug tag, then a
//! `debugtrap`, which becomes a one-byte INT3), then what the instruction does.
//! Which SSA values the locals and operands have is written down at each
//! boundary and each call; `locations` finds out later where they ended up.
//!
//! **One trap, one boundary.** Every boundary gets its trap exactly once, in
//! the block that all paths into it pass and no other path does. For that,
//! branches go to the block after an `end`, while the `end` itself belongs to
//! the falling-through path; see `control`.
//!
//! At opt none operands are kept alive up to the instruction that consumes them
//! (`keep`); at opt speed what the specification leaves open is shown (`shown`).
//!
//! **Code as it ships** (`Anchors::Srcloc`) has none of this: no traps, nothing
//! kept alive and nothing shown, only a source location on each instruction. Of
//! locals it is written down what the live ones are.

mod atomic;
mod call;
mod control;
mod exception;
mod instantiate;
mod keep;
mod live;
mod memory;
mod numeric;
mod shown;
mod stable;
mod state;
mod table;
mod vector;
mod vector_memory;

use crate::abi;
use crate::error::CompileError;
use crate::module::{self, Module};
use crate::options::{Anchors, OptLevel};
use crate::thunks::Thunks;
use control::Frame;
use cranelift_codegen::ir::{
    self, Block, DebugTag, Endianness, FuncRef, Function, InstBuilder, MemFlagsData, SigRef,
    SourceLoc, StackSlot, UserFuncName, Value,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::packed_option::PackedOption;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use dwarf_map::{InstanceLayout, StableKind, StablePoints};
pub(crate) use exception::HandlerDraft;
use exception::{LegacyEnds, Scope};
pub(crate) use instantiate::{Instantiation, instantiation};
use keep::{Scratch, keep_undecided};
use live::{Course, Live};
use shown::is_open;
pub(crate) use stable::{Keep, StableDraft, StablePart, polled};
use state::State;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use wasm_view::{FuncIdx, FuncType, TypeIdx, ValType, WasmOffset};
use wasmparser::{FuncValidator, FunctionBody, Operator, ValidatorResources};

/// Set in a debug tag that numbers a call site instead of a boundary.
pub(crate) const CALL_TAG: u32 = 1 << 31;
/// Set in a debug tag that numbers a part of a stable point instead.
pub(crate) const STABLE_TAG: u32 = 1 << 30;

/// A boundary, as far as the translator knows it.
#[derive(Debug)]
pub(crate) struct BoundaryDraft {
    pub offset: WasmOffset,
    pub stable: Option<StableKind>,
    /// Types of the operands, bottom first.
    pub operands: Vec<ValType>,
    /// Position of the first local's value in [`Translated::values`].
    pub first_value: usize,
    /// Whether the topmost operand lies in [`Translated::shown`] too.
    pub top_is_shown: bool,
    /// The block in which it is.
    pub block: Option<Block>,
}

/// A call that may suspend the frame, as far as the translator knows it.
#[derive(Debug)]
pub(crate) struct CallDraft {
    pub offset: WasmOffset,
    /// Values of locals and remaining operands in [`Translated::values`].
    pub values: Range<usize>,
    /// Where it goes on when something is thrown, in order of precedence.
    pub handlers: Vec<HandlerDraft>,
    /// Which of them must be recoverable while it runs; empty if the map may
    /// lose them.
    pub live: Vec<usize>,
}

impl CallDraft {
    /// Where to look for values while the call runs that returns there: where
    /// it ends its block, they may have been moved for the next one by then.
    pub fn standing(&self, return_address: u32) -> u32 {
        return_address - u32::from(!self.handlers.is_empty())
    }
}

/// A function in CLIF, and what was written down on the way.
pub(crate) struct Translated {
    pub function: Function,
    pub locals: Vec<ValType>,
    /// In the order of their tags, which is the order of translation.
    pub boundaries: Vec<BoundaryDraft>,
    pub calls: Vec<CallDraft>,
    /// In the order of their tags.
    pub stable: Vec<StableDraft>,
    /// Values of all boundaries and calls; none of what nobody asks for.
    pub values: Vec<PackedOption<Value>>,
    /// Where values are that [`Keep`] names, by position in its lists.
    pub kept: Vec<StackSlot>,
    /// Where results are stored for the boundary behind their instruction.
    pub shown: Option<StackSlot>,
}

/// What stays the same for all functions of a module.
pub(crate) struct Environment<'m> {
    pub module: &'m Module,
    pub layout: InstanceLayout,
    pub opt: OptLevel,
    pub stable: StablePoints,
    pub restorable: bool,
    /// Whether cold paths store the whole state.
    pub dumps: bool,
    pub anchors: Anchors,
    /// Whether anyone will ask where values are.
    pub maps: bool,
    pub isa: &'m dyn TargetIsa,
}

/// Translates one function, validating it on the way. `keep` names values that
/// would be lost otherwise. `budget` is the number of values that may still be
/// written down for the whole module.
#[allow(clippy::too_many_arguments)] // all of them change from call to call
pub(crate) fn translate(
    env: &Environment<'_>,
    thunks: &mut Thunks,
    context: &mut FunctionBuilderContext,
    func: FuncIdx,
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    keep: &Keep,
    budget: &mut usize,
) -> Result<Translated, BodyError> {
    let missing = || CompileError::bug(format!("function {func} has no type"));
    let ty = env.module.function_type(func).ok_or_else(missing)?.clone();
    let mut function = Function::with_name_signature(function_name(func), abi::signature(&ty));
    let mut builder = FunctionBuilder::new(&mut function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let params = builder.block_params(entry).to_vec();
    let Some((&instance, params)) = params.split_first() else {
        return Err(CompileError::bug("a signature without instance data").into());
    };

    let mut state = State::new();
    let mut locals = ty.params.clone();
    for (&ty, &value) in ty.params.iter().zip(params) {
        state.add_local(&mut builder, ty, value);
    }
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    for local in body.get_locals_reader()? {
        let (count, ty) = local?;
        let ty = module::val_type(ty);
        if count > 0 {
            // One constant serves all of them: it is what they all hold.
            let zero = zero(&mut builder, ty);
            for _ in 0..count {
                state.add_local(&mut builder, ty, zero);
                locals.push(ty);
            }
        }
    }

    let live = match env.stable {
        StablePoints::Off => None,
        _ => Live::compute(body, locals.len()),
    };
    let course = match env.anchors {
        Anchors::Trap => None,
        Anchors::Srcloc if env.maps => Course::compute(body, locals.len()),
        Anchors::Srcloc => None,
    };
    let exit = builder.create_block();
    let restorable = env.restorable && env.stable != StablePoints::Off;
    let traps = env.anchors == Anchors::Trap;
    let keeps = traps && env.opt == OptLevel::None;
    let scratch = keeps.then(|| Scratch::new(&mut builder));
    let frame = Frame::function(exit, &ty);
    let mut translator =
        Translator::new(builder, env, thunks, state, (instance, frame), keep, budget);
    translator.scratch = scratch;
    translator.restorable = restorable;
    translator.live = live;
    translator.course = course;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        validator.op(offset, &operator)?;
        if matches!(operator, Operator::Try { .. }) && translator.legacy_ends.is_empty() {
            translator.legacy_ends = exception::legacy_ends(body)?;
        }
        translator.next_offset = module::offset(operators.original_position());
        translator.operator(module::offset(offset), &operator)?;
    }
    operators.finish()?;
    translator.restore_edges()?;

    let Translator {
        mut builder,
        boundaries,
        calls,
        stable,
        values,
        kept,
        undecided,
        scratch,
        shown,
        ..
    } = translator;
    builder.seal_all_blocks();
    builder.finalize(env.isa.frontend_config());
    if let Some(scratch) = scratch {
        keep_undecided(&mut function, scratch, undecided);
    }
    Ok(Translated { function, locals, boundaries, calls, stable, values, kept, shown })
}

/// A function's name inside Cranelift; shown in its own dumps only.
pub(crate) fn function_name(func: FuncIdx) -> UserFuncName {
    UserFuncName::User(abi::Symbol::Function(func).name())
}

/// Why a body could not be translated: the parser or validator objects, which
/// the caller sorts into invalid and unsupported, or we do.
pub(crate) enum BodyError {
    Wasm(wasmparser::Error),
    Compile(CompileError),
}

impl From<wasmparser::Error> for BodyError {
    fn from(error: wasmparser::Error) -> Self {
        BodyError::Wasm(error)
    }
}

impl From<CompileError> for BodyError {
    fn from(error: CompileError) -> Self {
        BodyError::Compile(error)
    }
}

/// What a local of this type holds at first.
fn zero(builder: &mut FunctionBuilder<'_>, ty: ValType) -> Value {
    match ty {
        ValType::F32 => builder.ins().f32const(0.0),
        ValType::F64 => builder.ins().f64const(0.0),
        ValType::V128 => vector::constant(builder, abi::native_type(ty), [0; 16]),
        other => builder.ins().iconst(abi::native_type(other), 0),
    }
}

/// Translation of one function.
struct Translator<'f, 'm> {
    builder: FunctionBuilder<'f>,
    env: &'f Environment<'m>,
    thunks: &'f mut Thunks,
    state: State,
    /// Address of the instance data: the first native parameter.
    instance: Value,
    /// Where operands are kept alive (see the module's text).
    scratch: Option<Scratch>,
    /// Where results are shown (likewise), once there is one.
    shown: Option<StackSlot>,
    /// Whether the last instruction showed its result.
    top_is_shown: bool,
    /// Open constructs, the function itself first. Those that open within
    /// statically unreachable code are only counted, in `dead_depth`.
    frames: Vec<Frame>,
    reachable: bool,
    dead_depth: u32,
    /// What the next boundary is by virtue of its position.
    next_stable: Option<StableKind>,
    boundaries: Vec<BoundaryDraft>,
    calls: Vec<CallDraft>,
    stable: Vec<StableDraft>,
    /// Where each stable point stands, in the same order, if it can be restored.
    stands: Vec<Block>,
    /// The block that leads to the restore edges, and what it chooses by.
    restore: Option<(Block, Value)>,
    restorable: bool,
    values: Vec<PackedOption<Value>>,
    /// Where the next instruction begins.
    next_offset: WasmOffset,
    /// Live locals; `None` if all are.
    live: Option<Live>,
    /// Locals that are worth asking for; all if `None`.
    course: Option<Course>,
    keep: &'f Keep,
    /// Stack slots of kept values.
    kept: Vec<StackSlot>,
    /// Headers of the loops among `frames`.
    open_loops: HashSet<Block>,
    /// Operands, with the instruction that was last when they were consumed,
    /// of which it is not known yet whether they need keeping alive.
    undecided: Vec<(ir::Inst, Value)>,
    budget: &'f mut usize,
    callees: HashMap<abi::Symbol, FuncRef>,
    signatures: HashMap<FuncType, SigRef>,
    /// What becomes of exceptions here, the innermost last.
    scopes: Vec<Scope>,
    legacy_ends: LegacyEnds,
    /// The number of the next handler.
    next_handler: u32,
}

/// Result of translating an instruction.
type Outcome = Result<(), CompileError>;

impl<'f, 'm> Translator<'f, 'm> {
    /// Begins a function, of which there is nothing yet but the address of its
    /// instance data and the frame around its body.
    fn new(
        builder: FunctionBuilder<'f>,
        env: &'f Environment<'m>,
        thunks: &'f mut Thunks,
        state: State,
        (instance, frame): (Value, Frame),
        keep: &'f Keep,
        budget: &'f mut usize,
    ) -> Self {
        Translator {
            builder,
            env,
            thunks,
            state,
            instance,
            scratch: None,
            shown: None,
            top_is_shown: false,
            frames: vec![frame],
            reachable: true,
            dead_depth: 0,
            next_stable: Some(StableKind::Entry),
            boundaries: Vec::new(),
            calls: Vec::new(),
            stable: Vec::new(),
            stands: Vec::new(),
            restore: None,
            restorable: false,
            values: Vec::new(),
            next_offset: WasmOffset::default(),
            live: None,
            course: None,
            keep,
            kept: Vec::new(),
            open_loops: HashSet::new(),
            undecided: Vec::new(),
            budget,
            callees: HashMap::new(),
            signatures: HashMap::new(),
            scopes: Vec::new(),
            legacy_ends: LegacyEnds::new(),
            next_handler: 0,
        }
    }
}

impl Translator<'_, '_> {
    /// Translates one validated instruction.
    fn operator(&mut self, offset: WasmOffset, operator: &Operator<'_>) -> Outcome {
        if !self.reachable {
            return self.unreachable_operator(offset, operator);
        }
        // Where these stand depends on the construct they close.
        if let Some(done) = self.closing_operator(offset, operator) {
            return done;
        }
        self.boundary(offset, live::is_call(operator))?;
        let done = self.control_operator(offset, operator)?
            || self.parametric_operator(operator)?
            || self.numeric_operator(operator)?
            || self.memory_operator(offset, operator)?
            || self.vector_operator(operator)?
            || self.vector_memory_operator(operator)?
            || self.atomic_operator(offset, operator)?
            || self.table_operator(offset, operator)?
            || self.exception_operator(offset, operator)?
            || self.call_operator(offset, operator)?;
        if done {
            return match (self.env.anchors, self.env.opt) {
                (Anchors::Trap, OptLevel::Speed | OptLevel::SpeedAndSize) if is_open(operator) => {
                    self.show_top()
                }
                _ => Ok(()),
            };
        }
        // The validator's features leave nothing else; should they ever, it
        // is refused like the rest.
        let feature = format!("the instruction {}", operator_name(operator));
        Err(CompileError::Unsupported { offset, feature })
    }

    /// Places the trap of the boundary at `offset` and writes down the state.
    fn boundary(&mut self, offset: WasmOffset, is_call: bool) -> Outcome {
        let tag = u32::try_from(self.boundaries.len()).unwrap_or(STABLE_TAG);
        if tag >= STABLE_TAG {
            return Err(CompileError::too_large("a function has too many instructions"));
        }
        if offset.get() & stable::POLL_LOCATION != 0 {
            return Err(CompileError::too_large("the module has more than 2 GiB"));
        }
        let kinds = [self.next_stable.take(), is_call.then_some(StableKind::Call)];
        let stable = kinds.into_iter().flatten().find(|kind| self.env.stable.has(*kind));
        self.builder.set_srcloc(SourceLoc::new(offset.get()));
        if stable.is_some() && self.restorable {
            self.stand();
        }
        self.keep_for_boundary(tag);
        if self.env.anchors == Anchors::Trap {
            let marker = self.builder.ins().sequence_point();
            self.builder.func.debug_tags.set(marker, [DebugTag::User(tag)]);
            self.builder.ins().debugtrap();
        }
        if let Some(course) = &mut self.course {
            course.go_to(offset);
        }
        let range = self.record_values()?;
        self.boundaries.push(BoundaryDraft {
            offset,
            stable,
            operands: self.state.types().to_vec(),
            first_value: range.start,
            top_is_shown: std::mem::take(&mut self.top_is_shown),
            block: self.builder.current_block(),
        });
        match (stable, self.env.stable) {
            (None, _) | (_, StablePoints::Off) => Ok(()),
            (Some(_), _) => self.poll(offset, tag),
        }
    }

    /// Writes down the values of all locals, or of the live ones, and operands.
    fn record_values(&mut self) -> Result<Range<usize>, CompileError> {
        let start = self.values.len();
        if !self.env.maps {
            return Ok(start..start);
        }
        let course = self.course.as_ref();
        let wanted = |local| course.is_none_or(|course| course.is_live(local));
        self.state.record(&mut self.builder, wanted, &mut self.values);
        let range = start..self.values.len();
        *self.budget = self.budget.checked_sub(range.len()).ok_or_else(|| {
            CompileError::too_large(format!(
                "more than {} slots over all boundaries",
                crate::MAX_SLOTS
            ))
        })?;
        Ok(range)
    }

    /// Tags a call instruction and writes down the state while it runs; its
    /// arguments must have been popped.
    fn call_site(&mut self, offset: WasmOffset, call: ir::Inst) -> Outcome {
        let tag = u32::try_from(self.calls.len()).unwrap_or(CALL_TAG);
        if tag >= CALL_TAG {
            return Err(CompileError::too_large("a function has too many calls"));
        }
        self.builder.func.debug_tags.set(call, [DebugTag::User(CALL_TAG | tag)]);
        let values = self.record_values()?;
        self.calls.push(CallDraft { offset, values, handlers: Vec::new(), live: Vec::new() });
        Ok(())
    }

    fn push(&mut self, ty: ValType, value: Value) {
        self.state.push(&mut self.builder, ty, value);
    }

    /// Pops an operand that stays where it is, whatever happens to it next.
    fn pop_typed(&mut self) -> Result<(ValType, Value), CompileError> {
        self.state
            .pop(&mut self.builder)
            .ok_or_else(|| CompileError::bug("operand stack underflow"))
    }

    /// Pops an operand that moves on as it is (to a local, an argument, ..).
    fn pop(&mut self) -> Result<Value, CompileError> {
        Ok(self.pop_typed()?.1)
    }

    /// Pops several operands, first pushed first.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, CompileError> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.pop()?);
        }
        values.reverse();
        Ok(values)
    }

    /// Loads a field of the instance data.
    fn load_field(
        &mut self,
        ty: ir::Type,
        offset: u32,
        readonly: bool,
    ) -> Result<Value, CompileError> {
        let offset = field(offset)?;
        Ok(self.builder.ins().load(ty, instance_flags(readonly), self.instance, offset))
    }

    /// Locals, constants, `select` and the like.
    fn parametric_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        match *operator {
            Operator::Nop => {}
            Operator::Drop => {
                self.pop()?;
            }
            Operator::LocalGet { local_index } => {
                let value = self
                    .state
                    .local(&mut self.builder, local_index)
                    .ok_or_else(|| no_local(local_index))?;
                let ty = self.local_type(local_index)?;
                self.push(ty, value);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop()?;
                self.set_local(local_index, value)?;
            }
            Operator::LocalTee { local_index } => {
                let (ty, value) = self.pop_typed()?;
                self.set_local(local_index, value)?;
                self.push(ty, value);
            }
            Operator::Select | Operator::TypedSelect { .. } => {
                let condition = self.operand()?;
                let (ty, if_zero) = self.pop_typed()?;
                let if_true = self.pop()?;
                let value = self.builder.ins().select(condition, if_true, if_zero);
                self.push(ty, value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_local(&mut self, index: u32, value: Value) -> Outcome {
        self.state.set_local(&mut self.builder, index, value).ok_or_else(|| no_local(index))
    }

    fn local_type(&self, index: u32) -> Result<ValType, CompileError> {
        self.state.local_type(index).ok_or_else(|| no_local(index))
    }

    /// The reference to a function by which it is called from this one.
    fn callee(&mut self, symbol: abi::Symbol, ty: &FuncType) -> FuncRef {
        if let Some(&known) = self.callees.get(&symbol) {
            return known;
        }
        let signature = self.signature(ty);
        let name = self.builder.func.declare_imported_user_function(symbol.name());
        let callee = self.builder.import_function(ir::ExtFuncData {
            name: ir::ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        self.callees.insert(symbol, callee);
        callee
    }

    fn signature(&mut self, ty: &FuncType) -> SigRef {
        if let Some(&known) = self.signatures.get(ty) {
            return known;
        }
        let signature = self.builder.import_signature(abi::signature(ty));
        self.signatures.insert(ty.clone(), signature);
        signature
    }

    fn wasm_type(&self, index: u32) -> Result<FuncType, CompileError> {
        let ty = self.env.module.types.get(TypeIdx::new(index).index());
        ty.cloned().ok_or_else(|| CompileError::bug(format!("no type {index}")))
    }
}

fn no_local(index: u32) -> CompileError {
    CompileError::bug(format!("no local {index}"))
}

/// An offset into instance data, as an instruction carries it.
pub(crate) fn field(offset: u32) -> Result<i32, CompileError> {
    i32::try_from(offset).map_err(|_| CompileError::too_large("instance data over 2 GiB"))
}

/// Flags of accesses to instance data. `readonly` means that the field never
/// changes while the instance lives.
pub(crate) fn instance_flags(readonly: bool) -> MemFlagsData {
    // The same layout on every instruction set.
    let flags = MemFlagsData::trusted().with_endianness(Endianness::Little);
    if readonly { flags.with_readonly().with_can_move() } else { flags }
}

/// The instruction's name, without its immediates.
fn operator_name(operator: &Operator<'_>) -> String {
    let debug = format!("{operator:?}");
    debug.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
