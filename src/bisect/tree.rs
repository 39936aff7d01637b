//! A function's body as a tree that parts can be taken out of.
//!
//! The instructions of a body are kept as they are encoded. Only what names
//! something whose number may change has a form of its own: locals, globals,
//! labels, calls and blocks. What a candidate cannot have (tables, references,
//! exceptions, a second memory) becomes `unreachable`: if it is never executed,
//! that is right, and if it is, the candidate shows nothing and is rejected.

use super::body::{Body, Op};
use super::encode::{bytes_of, encoded, is_number, leb, sub_opcode};
use oracle_interp::Module;
use std::collections::BTreeMap;
use wasm_encoder::{Encode, Instruction};
use wasm_view::{FuncIdx, TypeIdx, ValType, WasmOffset};
use wasmparser::{BlockType, Operator};

/// The opcode of `unreachable`.
const UNREACHABLE: u8 = 0x00;

/// Parameters and results.
pub type Signature = (Vec<ValType>, Vec<ValType>);

/// What an instruction is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// One that names nothing.
    Raw(Vec<u8>),
    /// An access to a local: its opcode and the local.
    Local(u8, u32),
    /// An access to a global of the program.
    Global(u8, u32),
    /// `br` or `br_if` to a label.
    Br(u8, u32),
    /// `br_table`, the default last.
    BrTable(Vec<u32>),
    /// A call that is answered: by the place of the call in the program.
    Answered(WasmOffset),
    /// A call of a function that is there, by its number in the program. The
    /// flag says that an index is to be dropped first.
    Real(FuncIdx, bool),
    /// `block`, `loop` or `if`, by its opcode.
    Block(u8, Signature),
    /// Where the wrong value is looked at.
    Observe,
}

/// An instruction with what it encloses.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The instruction.
    pub what: What,
    /// Where it was in the program.
    pub origin: Option<WasmOffset>,
    /// Of a block: what is in it.
    pub body: Vec<Node>,
    /// Of an `if` with `else`: what is behind that, and where the `else` was.
    pub other: Option<(Vec<Node>, Option<WasmOffset>)>,
    /// Where the block's `end` was.
    pub end: Option<WasmOffset>,
}

impl Node {
    /// An instruction that encloses nothing.
    pub fn leaf(what: What, origin: Option<WasmOffset>) -> Node {
        Node { what, origin, body: Vec::new(), other: None, end: None }
    }

    /// An instruction that names nothing and was nowhere.
    pub fn made(instruction: &Instruction<'_>) -> Node {
        Node::leaf(What::Raw(bytes_of(instruction)), None)
    }

    /// `unreachable`.
    pub fn unreachable() -> Node {
        Node::made(&Instruction::Unreachable)
    }

    /// Whether it is `unreachable`.
    pub fn is_unreachable(&self) -> bool {
        self.what == What::Raw(vec![UNREACHABLE])
    }

    /// The sequences that it encloses.
    pub fn sequences(&self) -> impl Iterator<Item = &Vec<Node>> {
        [&self.body].into_iter().chain(self.other.as_ref().map(|other| &other.0))
    }

    /// Instructions in it, itself included.
    pub fn size(&self) -> usize {
        1 + self.sequences().flatten().map(Node::size).sum::<usize>()
    }
}

/// Calls `each` with every node of a sequence, outer ones first.
pub fn visit<'a>(nodes: &'a [Node], each: &mut impl FnMut(&'a Node)) {
    for node in nodes {
        each(node);
        for sequence in node.sequences() {
            visit(sequence, each);
        }
    }
}

/// Adds `by` to every label that leads out of `nodes`, `depth` labels deep.
/// False if one leads to the innermost label outside, which is to go away.
pub fn relabel(nodes: &mut [Node], depth: u32) -> bool {
    let lower = |label: &mut u32| {
        let gone = *label == depth;
        if *label > depth {
            *label -= 1;
        }
        !gone
    };
    nodes.iter_mut().all(|node| {
        let own = match &mut node.what {
            What::Br(_, label) => lower(label),
            What::BrTable(labels) => labels.iter_mut().all(lower),
            _ => true,
        };
        own && relabel(&mut node.body, depth + 1)
            && node.other.as_mut().is_none_or(|other| relabel(&mut other.0, depth + 1))
    })
}

/// A function of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Func {
    /// Its number in the program.
    pub func: FuncIdx,
    /// Its type.
    pub ty: Signature,
    /// Its locals, parameters first.
    pub locals: Vec<ValType>,
    /// Its body.
    pub body: Vec<Node>,
    /// Where its `end` was.
    pub end: Option<WasmOffset>,
}

/// Reads a function. `direct` are the indirect calls that are of one function
/// of the candidate, `real` the functions of the candidate.
pub fn read(
    module: &Module,
    func: FuncIdx,
    body: &Body<'_>,
    real: &[FuncIdx],
    direct: &BTreeMap<WasmOffset, FuncIdx>,
) -> Option<Func> {
    let ty = module.func_type(func)?;
    let locals = module.function(func)?.locals().to_vec();
    if locals.iter().chain(&ty.results).any(|ty| !is_number(*ty)) {
        return None;
    }
    let mut reader = Reader { module, real, direct, ops: body.ops(), at: 0 };
    let (nodes, stop) = reader.sequence()?;
    let end = matches!(stop.operator, Operator::End).then_some(stop.offset);
    Some(Func {
        func,
        ty: (ty.params.clone(), ty.results.clone()),
        locals,
        body: nodes,
        end: Some(end?),
    })
}

struct Reader<'a, 'b> {
    module: &'a Module,
    real: &'a [FuncIdx],
    direct: &'a BTreeMap<WasmOffset, FuncIdx>,
    ops: &'a [Op<'b>],
    at: usize,
}

impl<'a, 'b> Reader<'a, 'b> {
    /// Up to an `end` or `else`, which is answered too.
    fn sequence(&mut self) -> Option<(Vec<Node>, &'a Op<'b>)> {
        let mut nodes = Vec::new();
        loop {
            let op = self.ops.get(self.at)?;
            self.at += 1;
            match op.operator {
                Operator::End | Operator::Else => return Some((nodes, op)),
                _ => nodes.push(self.node(op)?),
            }
        }
    }

    fn node(&mut self, op: &Op<'_>) -> Option<Node> {
        let origin = Some(op.offset);
        let opcode = *op.bytes.first()?;
        let ty = match &op.operator {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                Some(self.signature(*blockty))
            }
            Operator::TryTable { .. } | Operator::Try { .. } => Some(None),
            _ => None,
        };
        if let Some(ty) = ty {
            let (body, stop) = self.sequence()?;
            let mut node = Node {
                what: What::Raw(vec![UNREACHABLE]),
                origin,
                body,
                other: None,
                end: Some(stop.offset),
            };
            if matches!(stop.operator, Operator::Else) {
                let (other, end) = self.sequence()?;
                node.other = Some((other, Some(stop.offset)));
                node.end = Some(end.offset);
            }
            let Some(ty) = ty else { return Some(Node::unreachable()) };
            node.what = What::Block(opcode, ty);
            return Some(node);
        }
        let what = match &op.operator {
            Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } => What::Local(opcode, *local_index),
            Operator::GlobalGet { global_index } | Operator::GlobalSet { global_index } => {
                let ty = self.module.globals().get(*global_index as usize)?;
                match is_number(ty.content) {
                    true => What::Global(opcode, *global_index),
                    false => return Some(Node::unreachable()),
                }
            }
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                What::Br(opcode, *relative_depth)
            }
            Operator::BrTable { targets } => {
                let labels: Result<Vec<u32>, _> = targets.targets().collect();
                let mut labels = labels.ok()?;
                labels.push(targets.default());
                What::BrTable(labels)
            }
            Operator::Call { function_index } => {
                let func = FuncIdx::new(*function_index);
                match self.real.contains(&func) {
                    true => What::Real(func, false),
                    false => What::Answered(op.offset),
                }
            }
            Operator::CallIndirect { .. } => match self.direct.get(&op.offset) {
                Some(func) => What::Real(*func, true),
                None => What::Answered(op.offset),
            },
            _ if self.can_be(op) => What::Raw(op.bytes.to_vec()),
            _ => return Some(Node::unreachable()),
        };
        if let What::Answered(_) = what
            && answered(self.module, &op.operator).is_none()
        {
            return Some(Node::unreachable());
        }
        Some(Node::leaf(what, origin))
    }

    fn signature(&self, ty: BlockType) -> Option<Signature> {
        let ty = match ty {
            BlockType::Empty => (Vec::new(), Vec::new()),
            BlockType::Type(ty) => (Vec::new(), vec![number(ty)?]),
            BlockType::FuncType(index) => {
                let ty = self.module.func_type_of(TypeIdx::new(index))?;
                (ty.params.clone(), ty.results.clone())
            }
        };
        ty.0.iter().chain(&ty.1).all(|ty| is_number(*ty)).then_some(ty)
    }

    /// Whether a candidate can have an instruction that names nothing.
    fn can_be(&self, op: &Op<'_>) -> bool {
        let memory = self.module.memories().len() == 1;
        match (op.bytes.first(), &op.operator) {
            (Some(0x00 | 0x01 | 0x0f | 0x1a | 0x1b | 0x41..=0xc4), _) => true,
            // A `select` that names its type.
            (Some(0x1c), _) => op.bytes[1..].iter().skip(1).all(|ty| (0x7b..=0x7f).contains(ty)),
            (Some(0x28..=0x40), _) => memory,
            (Some(0xfc), Operator::MemoryCopy { .. } | Operator::MemoryFill { .. }) => memory,
            // Saturating truncation and wide arithmetic.
            (Some(0xfc), _) => {
                matches!(leb(&op.bytes[1..]).map(|number| number.0), Some(0..=7 | 19..=22))
            }
            (Some(0xfd), _) => match sub_opcode(op.bytes) {
                Some(0..=11 | 84..=93) => memory,
                Some(_) => true,
                None => false,
            },
            _ => false,
        }
    }
}

/// The type of what answers a call: an indirect one passes its index on.
pub fn answered(module: &Module, operator: &Operator<'_>) -> Option<Signature> {
    let (ty, index) = match *operator {
        Operator::Call { function_index } => {
            (module.func_type(FuncIdx::new(function_index))?, None)
        }
        Operator::CallIndirect { type_index, table_index } => {
            let table = module.tables().get(table_index as usize)?;
            let index = match table.address {
                wasm_view::AddressType::I32 => ValType::I32,
                wasm_view::AddressType::I64 => ValType::I64,
            };
            (module.func_type_of(TypeIdx::new(type_index))?, Some(index))
        }
        _ => return None,
    };
    let params: Vec<ValType> = ty.params.iter().copied().chain(index).collect();
    let all = params.iter().chain(&ty.results);
    all.into_iter().all(|ty| is_number(*ty)).then(|| (params, ty.results.clone()))
}

fn number(ty: wasmparser::ValType) -> Option<ValType> {
    Some(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => return None,
    })
}

/// What numbers are in the module that is made.
pub trait Numbers {
    /// Of a function's local.
    fn local(&self, local: u32) -> Option<u32>;
    /// Of a global of the program.
    fn global(&self, global: u32) -> Option<u32>;
    /// Of what answers a call.
    fn answered(&self, site: WasmOffset) -> Option<u32>;
    /// Of a function of the program.
    fn real(&self, func: FuncIdx) -> Option<u32>;
    /// Of a type.
    fn ty(&mut self, ty: &Signature) -> Option<u32>;
    /// What is done where the wrong value is looked at.
    fn observe(&mut self) -> Option<Vec<Vec<u8>>>;
}

/// Encoded instructions and where each was.
pub type Code = Vec<(Vec<u8>, Option<WasmOffset>)>;

/// Encodes a sequence.
pub fn encode(nodes: &[Node], numbers: &mut impl Numbers, code: &mut Code) -> Option<()> {
    for node in nodes {
        let with = |opcode: u8, index: u32| {
            let mut bytes = vec![opcode];
            index.encode(&mut bytes);
            bytes
        };
        const CALL: u8 = 0x10;
        let bytes = match &node.what {
            What::Raw(bytes) => bytes.clone(),
            What::Local(opcode, local) => with(*opcode, numbers.local(*local)?),
            What::Global(opcode, global) => with(*opcode, numbers.global(*global)?),
            What::Br(opcode, label) => with(*opcode, *label),
            What::BrTable(labels) => {
                let (default, labels) = labels.split_last()?;
                bytes_of(&Instruction::BrTable(labels.to_vec().into(), *default))
            }
            What::Answered(site) => with(CALL, numbers.answered(*site)?),
            What::Real(func, drops) => {
                if *drops {
                    code.push((bytes_of(&Instruction::Drop), None));
                }
                with(CALL, numbers.real(*func)?)
            }
            What::Block(opcode, ty) => {
                let mut bytes = vec![*opcode];
                block_type(ty, numbers)?.encode(&mut bytes);
                bytes
            }
            What::Observe => {
                code.extend(numbers.observe()?.into_iter().map(|bytes| (bytes, None)));
                continue;
            }
        };
        code.push((bytes, node.origin));
        if let What::Block(..) = node.what {
            encode(&node.body, numbers, code)?;
            if let Some((other, origin)) = &node.other {
                code.push((bytes_of(&Instruction::Else), *origin));
                encode(other, numbers, code)?;
            }
            code.push((bytes_of(&Instruction::End), node.end));
        }
    }
    Some(())
}

fn block_type(ty: &Signature, numbers: &mut impl Numbers) -> Option<wasm_encoder::BlockType> {
    Some(match (ty.0.as_slice(), ty.1.as_slice()) {
        ([], []) => wasm_encoder::BlockType::Empty,
        ([], [one]) => wasm_encoder::BlockType::Result(encoded(*one)?),
        _ => wasm_encoder::BlockType::FunctionType(numbers.ty(ty)?),
    })
}
