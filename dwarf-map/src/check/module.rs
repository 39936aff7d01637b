//! The rules that hold a map against the module that was compiled.
//!
//! Nothing of the compiler's is used: the module's bytes are validated anew,
//! and validation says which instructions execution can reach, of which types
//! the operands are there, where branches lead, and what a call takes off the
//! stack. A map that leaves out a boundary, forgets an operand or calls the
//! wrong place a stable point would otherwise be consistent with itself.

use super::{Findings, Rule, Violation};
use crate::{Anchor, FunctionMap, ImageMap, StableKind, StablePoints, erased};
use std::collections::BTreeMap;
use wasm_view::{FuncIdx, HeapType, RefType, TypeIdx, ValType, WasmOffset};
use wasmparser::{
    AbstractHeapType, BinaryReaderError, CompositeInnerType, FuncToValidate, FuncValidator,
    FuncValidatorAllocations, FunctionBody, Operator, Parser, ValidPayload, Validator,
    ValidatorResources, WasmFeatures, WasmModuleResources,
};

/// Checks a map against the module that it is about.
///
/// The answer is empty for a map that breaks no rule, and cut at
/// [`MOST_VIOLATIONS`](super::MOST_VIOLATIONS).
pub fn check_module(map: &ImageMap, wasm: &[u8]) -> Vec<Violation> {
    let mut findings = Findings::default();
    if StablePoints::from_name(&map.producer.stable).is_none() {
        let message = format!("{:?} is no choice of stable points", map.producer.stable);
        findings.image(Rule::StableComplete, message);
    }
    if let Err(error) = functions(map, wasm, &mut findings) {
        findings.image(Rule::ModuleReadable, error.to_string());
    }
    findings.list
}

/// Stable points by function and offset.
pub type StableKinds = BTreeMap<(FuncIdx, WasmOffset), StableKind>;

/// The stable points that a module has, of the kinds that a choice has.
///
/// # Errors
/// A module that is not valid.
pub fn stable_kinds(wasm: &[u8], choice: StablePoints) -> Result<StableKinds, BinaryReaderError> {
    let mut found = StableKinds::new();
    each_body(wasm, |function, body, allocations| {
        let func = FuncIdx::new(function.index);
        let mut validator = function.into_validator(allocations);
        validator.read_locals(&mut body.get_binary_reader())?;
        for (at, instruction) in instructions(&mut validator, body)? {
            if let Some(kind) = instruction.stable(choice) {
                found.insert((func, at), kind);
            }
        }
        Ok(validator.into_allocations())
    })?;
    Ok(found)
}

/// Validates a module, and hands over each of its functions' bodies on the way.
fn each_body(
    wasm: &[u8],
    mut visit: impl FnMut(
        FuncToValidate<ValidatorResources>,
        &FunctionBody<'_>,
        FuncValidatorAllocations,
    ) -> Result<FuncValidatorAllocations, BinaryReaderError>,
) -> Result<(), BinaryReaderError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut allocations = FuncValidatorAllocations::default();
    for payload in Parser::new(0).parse_all(wasm) {
        if let ValidPayload::Func(function, body) = validator.payload(&payload?)? {
            allocations = visit(function, &body, allocations)?;
        }
    }
    Ok(())
}

fn functions(
    map: &ImageMap,
    wasm: &[u8],
    findings: &mut Findings,
) -> Result<(), BinaryReaderError> {
    let choice = StablePoints::from_name(&map.producer.stable).unwrap_or_default();
    let mut by_index: BTreeMap<FuncIdx, &FunctionMap> =
        map.functions.iter().map(|function| (function.func, function)).collect();
    each_body(wasm, |function, body, allocations| {
        let func = FuncIdx::new(function.index);
        let Some(map) = by_index.remove(&func) else {
            findings.add(Rule::FunctionKnown, Some(func), None, "it is not in the map".into());
            return Ok(allocations);
        };
        function_rules(map, choice, function, body, allocations, findings)
    })?;
    for func in by_index.keys() {
        let message = "the module defines no such function".to_owned();
        findings.add(Rule::FunctionKnown, Some(*func), None, message);
    }
    Ok(())
}

fn function_rules(
    map: &FunctionMap,
    choice: StablePoints,
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
    findings: &mut Findings,
) -> Result<FuncValidatorAllocations, BinaryReaderError> {
    let ty = TypeIdx::new(function.ty);
    let mut validator = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let mut broken = |rule, message| findings.add(rule, Some(map.func), None, message);
    if map.ty != ty {
        broken(Rule::FunctionKnown, format!("it has type {ty}, in the map {}", map.ty));
    }
    let range = offset(body.range().start)..offset(body.range().end);
    if map.body != range {
        let (of, said) = (range, &map.body);
        let message = format!(
            "its body is {}..{}, in the map {}..{}",
            of.start, of.end, said.start, said.end
        );
        broken(Rule::FunctionKnown, message);
    }
    let locals = 0..validator.len_locals();
    let locals =
        locals.filter_map(|at| Some(view(validator.resources(), validator.get_local_type(at)?)));
    let locals: Vec<ValType> = locals.collect();
    if map.locals != locals {
        let message = format!("its locals are {}, in the map {}", list(&locals), list(&map.locals));
        broken(Rule::FunctionKnown, message);
    }
    let params =
        validator.resources().sub_type_at(ty.get()).map(|ty| match &ty.composite_type.inner {
            CompositeInnerType::Func(ty) => ty.params().len(),
            _ => 0,
        });
    if params != Some(map.params as usize) {
        broken(Rule::FunctionKnown, format!("it has not {} parameters", map.params));
    }
    let instructions = instructions(&mut validator, body)?;
    compare(map, choice, &instructions, findings);
    Ok(validator.into_allocations())
}

/// What validation says of an instruction that can be reached.
#[derive(Default)]
struct Instruction {
    operands: Vec<ValType>,
    /// Operands that it takes, if it is a call or may ask the tracer for
    /// something, and so suspend the frame.
    suspends: Option<usize>,
    /// Whether nothing else can be done by it: it is a call.
    calls: bool,
    /// What it is a stable point by: its position, and being a call.
    stable: [Option<StableKind>; 2],
}

impl Instruction {
    /// The stable point that it is where these are compiled in.
    fn stable(&self, choice: StablePoints) -> Option<StableKind> {
        self.stable.into_iter().flatten().find(|kind| choice.has(*kind))
    }
}

/// A construct whose end has not been met.
struct Construct {
    /// Whether the instruction that opened it can be reached.
    reached: bool,
    is_loop: bool,
    /// An `if` whose `else` has not been met: its `end` is another way in.
    is_then: bool,
    /// Whether a branch leads behind its end.
    branched: bool,
}

/// The instructions of a body that execution can reach, by offset.
fn instructions(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
) -> Result<BTreeMap<WasmOffset, Instruction>, BinaryReaderError> {
    let mut found = BTreeMap::new();
    let mut next_stable = Some(StableKind::Entry);
    let mut constructs =
        vec![Construct { reached: true, is_loop: false, is_then: false, branched: false }];
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let falls = validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable);
        let within = constructs.last().is_some_and(|construct| construct.reached);
        let otherwise = constructs.last().is_some_and(|construct| construct.is_then)
            && matches!(operator, Operator::End);
        let reached = within && (falls || otherwise);
        let mut instruction = Instruction::default();
        if reached {
            instruction.operands = operands(validator);
            let takes = operator.operator_arity(&*validator).map(|(takes, _)| takes as usize);
            instruction.suspends = takes.filter(|_| may_suspend(&operator));
            instruction.calls = is_call(&operator);
            let calls = instruction.calls || is_tail_call(&operator);
            instruction.stable = [next_stable.take(), calls.then_some(StableKind::Call)];
            for depth in targets(&operator)? {
                let construct = constructs.len().checked_sub(1 + depth as usize);
                if let Some(construct) = construct.and_then(|at| constructs.get_mut(at)) {
                    construct.branched = true;
                }
            }
        }
        validator.op(at, &operator)?;
        let opened = |is_loop, is_then| Construct { reached, is_loop, is_then, branched: false };
        match operator {
            Operator::Block { .. } | Operator::TryTable { .. } | Operator::Try { .. } => {
                constructs.push(opened(false, false));
            }
            Operator::Loop { .. } => {
                constructs.push(opened(true, false));
                next_stable = next_stable.or(reached.then_some(StableKind::LoopHeader));
            }
            Operator::If { .. } => constructs.push(opened(false, true)),
            Operator::Else => {
                if let Some(construct) = constructs.last_mut() {
                    construct.is_then = false;
                }
            }
            Operator::End | Operator::Delegate { .. } => {
                let construct = constructs.pop();
                let label = construct.is_some_and(|it| {
                    it.reached && it.branched && !it.is_loop && !constructs.is_empty()
                });
                next_stable = next_stable.or(label.then_some(StableKind::Label));
            }
            _ => {}
        }
        // The then arm is not left, but the `if` is: with its parameters on the
        // stack, which are its results then.
        if otherwise && !falls {
            instruction.operands = operands(validator);
        }
        if reached {
            found.insert(offset(at), instruction);
        }
    }
    Ok(found)
}

/// Types of the operand stack, bottom first.
fn operands(validator: &FuncValidator<ValidatorResources>) -> Vec<ValType> {
    let height = validator.operand_stack_height() as usize;
    let types = (0..height).rev().filter_map(|depth| validator.get_operand_type(depth)?);
    types.map(|ty| view(validator.resources(), ty)).collect()
}

/// Compares the boundaries and call sites of a function with its instructions.
fn compare(
    map: &FunctionMap,
    choice: StablePoints,
    instructions: &BTreeMap<WasmOffset, Instruction>,
    findings: &mut Findings,
) {
    let mut broken = |rule, at, message| findings.add(rule, Some(map.func), Some(at), message);
    let has_stable = choice != StablePoints::Off
        || map.boundaries.iter().any(|boundary| boundary.stable.is_some());
    let boundaries: BTreeMap<WasmOffset, _> =
        map.boundaries.iter().map(|boundary| (boundary.offset, boundary)).collect();
    for (&at, instruction) in instructions {
        let Some(boundary) = boundaries.get(&at) else {
            broken(Rule::BoundaryComplete, at, "an instruction without boundary".to_owned());
            continue;
        };
        if boundary.operands != instruction.operands {
            let (found, said) = (list(&instruction.operands), list(&boundary.operands));
            broken(Rule::OperandTypes, at, format!("the operands are {found}, in the map {said}"));
        }
        if has_stable && boundary.stable != instruction.stable(choice) {
            let (found, said) = (instruction.stable(choice), boundary.stable);
            let message = format!("the stable point is {found:?}, in the map {said:?}");
            broken(Rule::StableComplete, at, message);
        }
        let calls = map.call_sites.iter().filter(|site| site.offset == at).count();
        if instruction.calls && boundary.anchor != Anchor::Eliminated && calls == 0 {
            broken(Rule::CallComplete, at, "a call without call site".to_owned());
        }
    }
    for at in boundaries.keys().filter(|at| !instructions.contains_key(at)) {
        let message = "a boundary where no reachable instruction begins".to_owned();
        broken(Rule::BoundaryComplete, *at, message);
    }
    for site in &map.call_sites {
        let instruction = instructions.get(&site.offset);
        let Some((instruction, takes)) = instruction.and_then(|it| Some((it, it.suspends?))) else {
            let message = format!("the call at {} is by no call", site.return_address);
            broken(Rule::CallComplete, site.offset, message);
            continue;
        };
        let remain = instruction.operands.len().saturating_sub(takes);
        if site.locations.len() != map.locals.len() + remain {
            let (found, locals) = (site.locations.len(), map.locals.len());
            let message = format!("{found} locations for {locals} locals and {remain} operands");
            broken(Rule::CallComplete, site.offset, message);
        }
    }
}

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. }
    )
}

fn is_tail_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
    )
}

/// Whether native code may call something by which its frame is seen: a
/// function, or a thunk.
fn may_suspend(operator: &Operator<'_>) -> bool {
    is_call(operator)
        || matches!(
            operator,
            Operator::MemoryGrow { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. }
                | Operator::MemoryAtomicNotify { .. }
                | Operator::MemoryAtomicWait32 { .. }
                | Operator::MemoryAtomicWait64 { .. }
                | Operator::Throw { .. }
                | Operator::ThrowRef
                | Operator::Rethrow { .. }
        )
}

/// Labels that an instruction may branch to, by depth.
fn targets(operator: &Operator<'_>) -> Result<Vec<u32>, BinaryReaderError> {
    use wasmparser::Catch;
    Ok(match operator {
        Operator::Br { relative_depth }
        | Operator::BrIf { relative_depth }
        | Operator::BrOnNull { relative_depth }
        | Operator::BrOnNonNull { relative_depth }
        | Operator::BrOnCast { relative_depth, .. }
        | Operator::BrOnCastFail { relative_depth, .. } => vec![*relative_depth],
        Operator::BrTable { targets } => {
            targets.targets().chain([Ok(targets.default())]).collect::<Result<_, _>>()?
        }
        Operator::TryTable { try_table } => try_table
            .catches
            .iter()
            .map(|catch| match *catch {
                Catch::One { label, .. }
                | Catch::OneRef { label, .. }
                | Catch::All { label }
                | Catch::AllRef { label } => label,
            })
            .collect(),
        _ => Vec::new(),
    })
}

/// A type as the map has it.
fn view(resources: &ValidatorResources, ty: wasmparser::ValType) -> ValType {
    let ty = match ty {
        wasmparser::ValType::I32 => return ValType::I32,
        wasmparser::ValType::I64 => return ValType::I64,
        wasmparser::ValType::F32 => return ValType::F32,
        wasmparser::ValType::F64 => return ValType::F64,
        wasmparser::ValType::V128 => return ValType::V128,
        wasmparser::ValType::Ref(ty) => ty,
    };
    let defined = |index: wasmparser::UnpackedIndex| {
        let ty = match index {
            wasmparser::UnpackedIndex::Id(id) => Some(resources.sub_type_at_id(id)),
            other => other.as_module_index().and_then(|index| resources.sub_type_at(index)),
        };
        match ty.map(|ty| &ty.composite_type.inner) {
            Some(CompositeInnerType::Func(_)) => HeapType::Func,
            Some(CompositeInnerType::Array(_)) => HeapType::Array,
            _ => HeapType::Struct,
        }
    };
    let heap = match ty.heap_type() {
        wasmparser::HeapType::Concrete(index) | wasmparser::HeapType::Exact(index) => {
            defined(index)
        }
        wasmparser::HeapType::Abstract { ty, .. } => match ty {
            AbstractHeapType::Func => HeapType::Func,
            AbstractHeapType::NoFunc => HeapType::NoFunc,
            AbstractHeapType::Extern => HeapType::Extern,
            AbstractHeapType::NoExtern => HeapType::NoExtern,
            AbstractHeapType::Exn => HeapType::Exn,
            AbstractHeapType::NoExn => HeapType::NoExn,
            AbstractHeapType::Eq => HeapType::Eq,
            AbstractHeapType::I31 => HeapType::I31,
            AbstractHeapType::Struct => HeapType::Struct,
            AbstractHeapType::Array => HeapType::Array,
            AbstractHeapType::None => HeapType::None,
            // Continuations, which no map has.
            _ => HeapType::Any,
        },
    };
    erased(ValType::Ref(RefType { nullable: ty.is_nullable(), heap }))
}

fn list(types: &[ValType]) -> String {
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(" "))
}

/// An offset that the parser reports; of modules beyond 4 GiB there is no map.
fn offset(raw: usize) -> WasmOffset {
    WasmOffset::new(u32::try_from(raw).unwrap_or(u32::MAX))
}
