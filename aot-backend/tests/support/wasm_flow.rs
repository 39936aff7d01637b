//! Control flow between boundaries, from the Wasm alone, and what is live.
//!
//! Written against the rules that boundaries follow, not against the
//! translator: each construct is resolved to the instructions that execution
//! meets next. On top, strong liveness: a slot is live if its value may still
//! reach something that can be observed (memory, a global, a call, a branch, a
//! trap, a result).
#![allow(dead_code)] // each user needs a part of it

use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasmparser::{FuncValidatorAllocations, Operator, Parser, ValidPayload, Validator};

/// Live slots (locals, then operands) per instruction offset.
pub type Live = HashMap<u32, Vec<bool>>;

struct Step {
    offset: u32,
    /// Operands below and including those it pops.
    height: usize,
    kind: Kind,
}

enum Kind {
    Get(usize),
    Set(usize),
    Tee(usize),
    /// Pops, pushes; whether the operands are live whatever becomes of the results.
    Plain(usize, usize, bool),
    Fall,
    /// Branches elsewhere with `args` operands; may fall through; pops a condition.
    Branch {
        targets: Vec<Edge>,
        falls: bool,
        condition: bool,
    },
    Return(usize),
    Stop,
}

#[derive(Clone, Copy)]
struct Edge {
    /// Label number; resolved to an instruction when the label is placed.
    label: usize,
    height: usize,
    args: usize,
}

/// Liveness of every reachable instruction of a module.
pub fn liveness(wasm: &[u8]) -> Live {
    let mut live = Live::new();
    for function in functions(wasm) {
        function.solve(&mut live);
    }
    live
}

/// What execution meets next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// Offsets of boundaries.
    pub boundaries: BTreeSet<u32>,
    /// Whether the function may return.
    pub returns: bool,
    /// Labels of a `br_table`, the default among them: Cranelift clamps the
    /// index and jumps through the table in any case.
    pub table: usize,
}

/// For each function: its first boundary, and what follows each boundary.
pub fn successors(wasm: &[u8]) -> Vec<(u32, BTreeMap<u32, Next>)> {
    functions(wasm).iter().map(Function::successors).collect()
}

fn functions(wasm: &[u8]) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut validator = Validator::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("a valid module");
        if let ValidPayload::Func(function, body) = validator.payload(&payload).expect("valid") {
            let mut validator = function.into_validator(FuncValidatorAllocations::default());
            let mut reader = body.get_binary_reader();
            validator.read_locals(&mut reader).expect("valid locals");
            functions.push(Function::read(&mut validator, &body));
        }
    }
    functions
}

struct Function {
    locals: usize,
    steps: Vec<Step>,
    /// Where each label continues: a position in `steps`.
    labels: Vec<usize>,
}

struct Frame {
    label: usize,
    /// Where a false `if` goes, until `else` or `end` is met.
    otherwise: Option<usize>,
    height: usize,
    branch_args: usize,
    results: usize,
    is_loop: bool,
}

impl Function {
    fn read(
        validator: &mut wasmparser::FuncValidator<wasmparser::ValidatorResources>,
        body: &wasmparser::FunctionBody<'_>,
    ) -> Function {
        let mut this = Function {
            locals: validator.len_locals() as usize,
            steps: vec![],
            labels: vec![usize::MAX],
        };
        let results = {
            use wasmparser::WasmModuleResources;
            let resources = validator.resources();
            let ty = resources.type_index_of_function(validator.index()).expect("a type");
            resources.sub_type_at(ty).expect("a type").unwrap_func().results().len()
        };
        let mut frames = vec![Frame {
            label: 0,
            otherwise: None,
            height: 0,
            branch_args: results,
            results,
            is_loop: false,
        }];
        let mut operators = body.get_operators_reader().expect("operators");
        let mut dead = 0;
        while !operators.eof() {
            let (op, offset) = operators.read_with_offset().expect("an operator");
            let unreachable =
                dead > 0 || validator.get_control_frame(0).is_some_and(|frame| frame.unreachable);
            let height = validator.operand_stack_height() as usize;
            let arity = op.operator_arity(&*validator).expect("arity");
            validator.op(offset, &op).expect("valid");
            let mut step = |kind| this.steps.push(Step { offset: offset as u32, height, kind });
            if unreachable {
                match op {
                    Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                        dead += 1;
                        continue;
                    }
                    Operator::End if dead > 1 => {
                        dead -= 1;
                        continue;
                    }
                    Operator::Else if dead > 1 => continue,
                    Operator::Else | Operator::End => {}
                    _ => {
                        dead = dead.max(1);
                        continue;
                    }
                }
            }
            let reachable = !unreachable;
            dead = 0;
            match op {
                Operator::LocalGet { local_index } => step(Kind::Get(local_index as usize)),
                Operator::LocalSet { local_index } => step(Kind::Set(local_index as usize)),
                Operator::LocalTee { local_index } => step(Kind::Tee(local_index as usize)),
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    let is_if = matches!(op, Operator::If { .. });
                    let is_loop = matches!(op, Operator::Loop { .. });
                    let inner = validator.get_control_frame(0).expect("a frame");
                    let base = inner.height;
                    let params = height - usize::from(is_if) - base;
                    let results = match inner.block_type {
                        wasmparser::BlockType::Empty => 0,
                        wasmparser::BlockType::Type(_) => 1,
                        wasmparser::BlockType::FuncType(ty) => {
                            use wasmparser::WasmModuleResources;
                            let ty = validator.resources().sub_type_at(ty).expect("a type");
                            ty.unwrap_func().results().len()
                        }
                    };
                    let label = this.labels.len();
                    this.labels.push(usize::MAX);
                    let mut otherwise = None;
                    if is_if {
                        otherwise = Some(this.labels.len());
                        this.labels.push(usize::MAX);
                        let edge =
                            Edge { label: this.labels.len() - 1, height: base, args: params };
                        step(Kind::Branch { targets: vec![edge], falls: true, condition: true });
                    } else {
                        step(Kind::Fall);
                    }
                    if is_loop {
                        this.labels[label] = this.steps.len();
                    }
                    let branch_args = if is_loop { params } else { results };
                    frames.push(Frame {
                        label,
                        otherwise,
                        height: base,
                        branch_args,
                        results,
                        is_loop,
                    });
                }
                Operator::Else => {
                    let frame = frames.last_mut().expect("a frame");
                    if reachable {
                        let edge =
                            Edge { label: frame.label, height: frame.height, args: frame.results };
                        step(Kind::Branch { targets: vec![edge], falls: false, condition: false });
                    }
                    if let Some(otherwise) = frame.otherwise.take() {
                        this.labels[otherwise] = this.steps.len();
                    }
                }
                Operator::End => {
                    let frame = frames.pop().expect("a frame");
                    let implicit = frame.otherwise.is_some();
                    if let Some(otherwise) = frame.otherwise {
                        this.labels[otherwise] = this.steps.len();
                    }
                    if reachable || implicit {
                        let height = frame.height + frame.results;
                        let kind = if frames.is_empty() {
                            Kind::Return(frame.results)
                        } else {
                            Kind::Fall
                        };
                        this.steps.push(Step { offset: offset as u32, height, kind });
                    }
                    if !frame.is_loop {
                        this.labels[frame.label] = this.steps.len();
                    }
                    if frames.is_empty() {
                        break;
                    }
                }
                Operator::Br { relative_depth } => {
                    let edge = edge(&frames, relative_depth);
                    step(Kind::Branch { targets: vec![edge], falls: false, condition: false });
                    dead = 1;
                }
                Operator::BrIf { relative_depth } => {
                    let edge = edge(&frames, relative_depth);
                    step(Kind::Branch { targets: vec![edge], falls: true, condition: true });
                }
                Operator::BrTable { targets } => {
                    let depths =
                        targets.targets().map(|d| d.expect("valid")).chain([targets.default()]);
                    let targets = depths.map(|depth| edge(&frames, depth)).collect();
                    step(Kind::Branch { targets, falls: false, condition: true });
                    dead = 1;
                }
                Operator::Return => {
                    step(Kind::Return(frames[0].results));
                    dead = 1;
                }
                Operator::Unreachable => {
                    step(Kind::Stop);
                    dead = 1;
                }
                _ => step(Kind::Plain(arity.0 as usize, arity.1 as usize, has_effect(&op))),
            }
        }
        this
    }

    fn successors(&self) -> (u32, BTreeMap<u32, Next>) {
        let mut all = BTreeMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            let mut next = Next::default();
            let falls = match &step.kind {
                Kind::Return(_) => {
                    next.returns = true;
                    false
                }
                Kind::Stop => false,
                Kind::Branch { targets, falls, condition } => {
                    if *condition && !falls {
                        next.table = targets.len();
                    }
                    for edge in targets {
                        match edge.label {
                            0 => next.returns = true,
                            label => {
                                next.boundaries.insert(self.steps[self.labels[label]].offset);
                            }
                        }
                    }
                    *falls
                }
                _ => true,
            };
            if falls {
                next.boundaries.insert(self.steps[at + 1].offset);
            }
            all.insert(step.offset, next);
        }
        (self.steps[0].offset, all)
    }

    fn solve(&self, live: &mut Live) {
        let widest = self.steps.iter().map(|step| step.height).max().unwrap_or(0) + 64;
        let mut states = vec![vec![false; self.locals + widest]; self.steps.len() + 1];
        loop {
            let mut changed = false;
            for at in (0..self.steps.len()).rev() {
                let state = self.before(&states, at);
                if state != states[at] {
                    states[at] = state;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        for (step, mut state) in self.steps.iter().zip(states) {
            state.truncate(self.locals + step.height);
            live.insert(step.offset, state);
        }
    }

    fn before(&self, states: &[Vec<bool>], at: usize) -> Vec<bool> {
        let step = &self.steps[at];
        let top = self.locals + step.height;
        let next = &states[at + 1];
        let mut state = next.clone();
        match &step.kind {
            Kind::Fall => {}
            Kind::Get(local) => {
                state[*local] |= next[top];
                state[top] = false;
            }
            Kind::Set(local) => {
                state[top - 1] = next[*local];
                state[*local] = false;
            }
            Kind::Tee(local) => {
                state[top - 1] |= next[*local];
                state[*local] = false;
            }
            Kind::Plain(pops, pushes, effect) => {
                let bottom = top - pops;
                let needed = *effect || next[bottom..bottom + pushes].contains(&true);
                state[bottom..].fill(false);
                state[bottom..top].fill(needed);
            }
            Kind::Return(results) => {
                state.fill(false);
                state[top - results..top].fill(true);
            }
            Kind::Stop => state.fill(false),
            Kind::Branch { targets, falls, condition } => {
                if !falls {
                    state.fill(false);
                }
                let top = top - usize::from(*condition);
                for edge in targets {
                    let place = self.labels[edge.label];
                    if place == usize::MAX {
                        continue;
                    }
                    let target = if edge.label == 0 { None } else { Some(&states[place]) };
                    for local in 0..self.locals {
                        state[local] |= target.is_some_and(|target| target[local]);
                    }
                    for operand in 0..edge.height {
                        let slot = self.locals + operand;
                        state[slot] |= target.is_some_and(|target| target[slot]);
                    }
                    for arg in 0..edge.args {
                        let from = top - edge.args + arg;
                        let to = self.locals + edge.height + arg;
                        state[from] |= target.is_none_or(|target| target[to]);
                    }
                }
                if *condition {
                    state[top] = true;
                }
            }
        }
        state
    }
}

fn edge(frames: &[Frame], depth: u32) -> Edge {
    let frame = &frames[frames.len() - 1 - depth as usize];
    Edge { label: frame.label, height: frame.height, args: frame.branch_args }
}

/// Whether an instruction may do something besides computing its results.
fn has_effect(op: &Operator<'_>) -> bool {
    let name = format!("{op:?}");
    let name = name.split([' ', '{']).next().unwrap_or_default();
    let pure_trunc =
        name.contains("TruncSat") || matches!(op, Operator::F32Trunc | Operator::F64Trunc);
    [
        "Load",
        "Store",
        "Div",
        "Rem",
        "Call",
        "Grow",
        "Copy",
        "Fill",
        "Init",
        "GlobalSet",
        "TableGet",
        "TableSet",
    ]
    .iter()
    .any(|part| name.contains(part))
        && !name.contains("Copysign")
        && !name.contains("F32Div")
        && !name.contains("F64Div")
        || name.contains("Trunc") && !pure_trunc
}
