//! A whole function as a module of its own.
//!
//! ```text
//!   (func (export "f")  the arguments, the call, the value that was wrong)
//!   (func  the function at fault, with its loops and branches)
//!   (func  a callee that is executed again) ..
//!   (func  what answers a call as its callee did) ..
//!   (memory) (data  what is read) (global  what is read)
//! ```
//! What a compiler makes of an instruction can depend on all of its function:
//! which registers are free, what is saved at the entry and restored at the
//! end. A straight line of instructions has none of that. So here the function
//! keeps its body, and the state at its entry is baked in ([`super::trace`]).
//! The value is looked at where the divergence was seen: at that instruction,
//! the so-manieth time that it is come to, the value is put into a global and
//! the function left.
//!
//! A call that is answered becomes a call of a function that returns constants,
//! after it has written what the callee wrote and somebody reads. If the answers
//! differ from time to time it counts its calls in a global.

use super::body::Body;
use super::compiler::Moved;
use super::cut::{Cut, EXPORT, Observe};
use super::encode::{self, bytes_of, constant, encoded, runs};
use super::trace::{Answer, Trace};
use super::tree::{self, Code, Func, Node, Numbers, Signature, What, visit};
use crate::program::{self, Program};
use oracle_interp::Module;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, FunctionSection, GlobalSection,
    Instruction, MemArg, MemorySection, TypeSection,
};
use wasm_view::{FuncIdx, MemoryType, ValType, Value, WasmOffset};

/// What answers a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Its type.
    pub ty: Signature,
    /// What it answers, time after time; the last one from then on.
    pub list: Vec<Answer>,
}

/// Where the wrong value is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// At the node that says so, the so-manieth time. The flag says that it is
    /// counted even if that is the first: the compiler then has to keep what is
    /// needed afterwards.
    At(u64, bool),
    /// In what a call is given, the so-manieth time.
    Call(WasmOffset, u64),
    /// When the function has returned.
    End,
}

/// A candidate.
#[derive(Clone)]
pub struct Whole {
    /// The functions, the activation's own first.
    pub funcs: Vec<Func>,
    /// Which of its locals are parameters.
    pub params: Vec<u32>,
    /// Its locals in the beginning.
    pub start: Vec<Value>,
    /// Globals of the program in the beginning.
    pub globals: Vec<Value>,
    /// Bytes of memory in the beginning.
    pub data: BTreeMap<u64, u8>,
    /// Bytes that memory 0 has.
    pub memory: Option<(MemoryType, u64)>,
    /// Calls that are answered.
    pub answers: BTreeMap<WasmOffset, Answers>,
    /// Where the value is looked at.
    pub look: Look,
    /// What is looked at.
    pub observe: Observe,
    /// Types of the operands there.
    pub operands: Vec<ValType>,
    /// Type of the value.
    pub ty: ValType,
    /// The function itself returns the value, there and nowhere else.
    pub direct: bool,
}

/// What a candidate is to be made of.
pub struct Parts<'a> {
    /// The program.
    pub program: &'a Program,
    /// The functions that are there, the activation's own first.
    pub real: &'a [(FuncIdx, Body<'a>)],
    /// What the activation read.
    pub trace: &'a Trace,
}

impl Parts<'_> {
    /// A candidate that looks at a value where `place` is come to (`None`: in the
    /// end); `None` if there cannot be one.
    pub fn candidate(&self, place: Option<WasmOffset>, observe: Observe) -> Option<Whole> {
        let module: &Module = &self.program.module;
        let names: Vec<FuncIdx> = self.real.iter().map(|(func, _)| *func).collect();
        let mut funcs = Vec::new();
        for (func, body) in self.real {
            funcs.push(tree::read(module, *func, body, &names, &self.trace.direct)?);
        }
        let operators = |offset| self.real.iter().find_map(|(_, body)| body.at(offset));
        let mut sites = Vec::new();
        for func in &funcs {
            visit(&func.body, &mut |node| {
                if let What::Answered(site) = node.what {
                    sites.push(site);
                }
            });
        }
        let mut answers = BTreeMap::new();
        for site in sites {
            let ty = tree::answered(module, &operators(site)?.operator)?;
            let known = self.trace.sites.get(&site);
            let list = known.map(|known| known.answers.clone()).unwrap_or_default();
            answers.insert(site, Answers { ty, list });
        }
        let root = funcs.first_mut()?;
        let (mut look, mut operands) = (Look::End, Vec::new());
        if let Some(place) = place {
            operands = module.function(root.func)?.operand_types(place)?;
            look = match observe {
                Observe::Argument(_) => Look::Call(place, self.trace.reached),
                _ => {
                    insert(&mut root.body, root.end, place).then_some(())?;
                    Look::At(self.trace.reached, false)
                }
            };
        }
        let ty = match (observe, place) {
            (Observe::Top(above), Some(_)) => {
                *operands.get(operands.len().checked_sub(above as usize + 1)?)?
            }
            (Observe::Top(_), None) => *root.ty.1.last()?,
            (Observe::Local(index), Some(_)) => *root.locals.get(index as usize)?,
            (Observe::Local(_), None) => return None,
            (Observe::Global(index), _) => module.globals().get(index as usize)?.content,
            (Observe::Memory(address), _) => match address + 8 <= self.trace.memory_len {
                true => ValType::I64,
                false => ValType::I32,
            },
            (Observe::Branch | Observe::Nothing, _) => ValType::I32,
            (Observe::Argument(index), _) => {
                let operator = &operators(place?)?.operator;
                let (params, _) = tree::answered(module, operator)?;
                *params.get(index as usize)?
            }
        };
        encode::is_number(ty).then_some(())?;
        let params = (0..root.ty.0.len() as u32).collect();
        Some(Whole {
            funcs,
            params,
            start: self.trace.locals.clone(),
            globals: self.trace.globals.clone(),
            data: self.trace.reads.clone(),
            memory: module.memories().first().map(|ty| (*ty, self.trace.memory_len)),
            answers,
            look,
            observe,
            operands,
            ty,
            direct: false,
        })
    }
}

/// Puts the look before the node that was at `place`, or before the `end` that
/// was. False if there is none.
fn insert(nodes: &mut Vec<Node>, end: Option<WasmOffset>, place: WasmOffset) -> bool {
    if let Some(at) = nodes.iter().position(|node| node.origin == Some(place)) {
        nodes.insert(at, Node::leaf(What::Observe, None));
        return true;
    }
    if end == Some(place) {
        nodes.push(Node::leaf(What::Observe, None));
        return true;
    }
    nodes.iter_mut().any(|node| {
        let (end, other) = (node.end, node.other.as_mut());
        match other {
            // The first part ends where the `else` is.
            Some((other, middle)) => {
                insert(&mut node.body, *middle, place) || insert(other, end, place)
            }
            None => insert(&mut node.body, end, place),
        }
    })
}

/// What there is of everything in the module, by number.
struct Linker<'a> {
    whole: &'a Whole,
    globals: BTreeMap<u32, u32>,
    /// The global that the value is put into.
    seen: u32,
    /// The global that counts how often it was looked.
    looks: Option<u32>,
    funcs: BTreeMap<FuncIdx, u32>,
    stubs: BTreeMap<WasmOffset, u32>,
    types: Vec<Signature>,
    /// Of the function being encoded.
    locals: BTreeMap<u32, u32>,
    /// Its locals that only the look needs.
    spare: u32,
}

impl Numbers for Linker<'_> {
    fn local(&self, local: u32) -> Option<u32> {
        self.locals.get(&local).copied()
    }

    fn global(&self, global: u32) -> Option<u32> {
        self.globals.get(&global).copied()
    }

    fn answered(&self, site: WasmOffset) -> Option<u32> {
        self.stubs.get(&site).copied()
    }

    fn real(&self, func: FuncIdx) -> Option<u32> {
        self.funcs.get(&func).copied()
    }

    fn ty(&mut self, ty: &Signature) -> Option<u32> {
        let known = self.types.iter().position(|other| other == ty);
        Some(known.unwrap_or_else(|| {
            self.types.push(ty.clone());
            self.types.len() - 1
        }) as u32)
    }

    fn observe(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut code = Vec::new();
        let mut put = |instruction: Instruction<'_>| code.push(bytes_of(&instruction));
        let above = match self.whole.observe {
            Observe::Top(above) => Some(above as usize),
            _ => None,
        };
        // What lies on top is kept beside, to be there again afterwards.
        let kept = above.map_or(0, |above| above + 1).min(self.whole.operands.len());
        if let (Some(counter), Look::At(times, _)) = (self.looks, &self.whole.look) {
            for at in 0..kept {
                put(Instruction::LocalSet(self.spare + at as u32));
            }
            put(Instruction::GlobalGet(counter));
            put(Instruction::I32Const(1));
            put(Instruction::I32Add);
            put(Instruction::GlobalSet(counter));
            put(Instruction::GlobalGet(counter));
            put(Instruction::I32Const(*times as i32));
            put(Instruction::I32Eq);
            put(Instruction::If(BlockType::Empty));
        }
        let counted = self.looks.is_some();
        match self.whole.observe {
            Observe::Top(above) if counted => put(Instruction::LocalGet(self.spare + above)),
            Observe::Top(above) => (0..above).for_each(|_| put(Instruction::Drop)),
            Observe::Local(local) => {
                put(Instruction::LocalGet(self.locals.get(&local).copied()?));
            }
            _ => self.value()?.into_iter().for_each(&mut put),
        }
        if !self.whole.direct {
            put(Instruction::GlobalSet(self.seen));
            for ty in &self.whole.funcs[0].ty.1 {
                put(constant(Value::default_of(*ty))?);
            }
        }
        put(Instruction::Return);
        if counted {
            put(Instruction::End);
            for at in (0..kept).rev() {
                put(Instruction::LocalGet(self.spare + at as u32));
            }
        }
        Some(code)
    }
}

impl Linker<'_> {
    /// A value that is the same wherever it is looked at.
    fn value(&self) -> Option<Vec<Instruction<'static>>> {
        Some(match self.whole.observe {
            Observe::Global(index) => {
                vec![Instruction::GlobalGet(self.globals.get(&index).copied()?)]
            }
            Observe::Memory(address) => {
                let (ty, _) = self.whole.memory?;
                let memarg = MemArg { offset: 0, align: 0, memory_index: 0 };
                let load = match self.whole.ty {
                    ValType::I64 => Instruction::I64Load(memarg),
                    _ => Instruction::I32Load8U(memarg),
                };
                vec![encode::address(ty.address, address), load]
            }
            Observe::Branch | Observe::Nothing => vec![Instruction::I32Const(1)],
            _ => return None,
        })
    }
}

impl Whole {
    /// The module; `None` if there is none, or it is not valid.
    pub fn build(&self) -> Option<Cut> {
        let root = self.funcs.first()?;
        let used = self.used();
        let counted = |site: &WasmOffset| {
            let list = &self.answers.get(site)?.list;
            let differ = list.windows(2).any(|pair| pair[0] != pair[1]);
            let looked = matches!(&self.look, Look::Call(at, times) if at == site && *times > 1);
            Some(differ || looked)
        };
        let globals: BTreeMap<u32, u32> = used.globals.iter().copied().zip(0..).collect();
        let mut next = globals.len() as u32;
        let mut take = || {
            next += 1;
            next - 1
        };
        let looks =
            matches!(self.look, Look::At(times, counted) if times > 1 || counted).then(&mut take);
        let counters: BTreeMap<WasmOffset, u32> = used
            .sites
            .iter()
            .filter(|site| counted(site) == Some(true))
            .map(|site| (*site, take()))
            .collect();
        let by_global = !self.direct && self.look != Look::End;
        let seen = if by_global { take() } else { 0 };
        let real: Vec<&Func> =
            self.funcs.iter().filter(|func| used.funcs.contains(&func.func)).collect();
        let funcs = real.iter().map(|func| func.func).zip(1..).collect();
        let first_stub = 1 + real.len() as u32;
        let stubs = used.sites.iter().copied().zip(first_stub..).collect();
        let mut linker = Linker {
            whole: self,
            globals,
            seen,
            looks,
            funcs,
            stubs,
            types: Vec::new(),
            locals: BTreeMap::new(),
            spare: 0,
        };
        let mut section = FunctionSection::new();
        let mut bodies = CodeSection::new();
        section.function(linker.ty(&(Vec::new(), self.outer_type()))?);
        bodies.function(&self.outer(&linker)?);
        let mut codes: Vec<(FuncIdx, Code)> = Vec::new();
        for func in real {
            let (ty, function, code) = self.inner(func, func.func == root.func, &mut linker)?;
            section.function(ty);
            bodies.function(&function);
            codes.push((func.func, code));
        }
        for site in &used.sites {
            let answers = self.answers.get(site)?;
            section.function(linker.ty(&answers.ty)?);
            bodies.function(&self.stub(*site, answers, counters.get(site).copied(), &linker)?);
        }
        let mut types = TypeSection::new();
        for (params, results) in &linker.types {
            let list =
                |types: &[ValType]| types.iter().map(|ty| encoded(*ty)).collect::<Option<Vec<_>>>();
            types.ty().function(list(params)?, list(results)?);
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&section);
        if let Some((ty, length)) = self.memory.filter(|_| used.memory) {
            let mut memories = MemorySection::new();
            memories.memory(wasm_encoder::MemoryType {
                minimum: length >> ty.page_log2,
                maximum: ty.maximum,
                memory64: ty.address == wasm_view::AddressType::I64,
                shared: ty.shared,
                page_size_log2: (ty.page_log2 != 16).then_some(u32::from(ty.page_log2)),
            });
            module.section(&memories);
        }
        let mut globals = GlobalSection::new();
        let mut global = |value: Value| -> Option<()> {
            let ty = wasm_encoder::GlobalType {
                val_type: encoded(value.ty())?,
                mutable: true,
                shared: false,
            };
            globals.global(ty, &ConstExpr::extended([constant(value)?]));
            Some(())
        };
        for index in &used.globals {
            global(*self.globals.get(*index as usize)?)?;
        }
        for _ in 0..usize::from(looks.is_some()) + counters.len() {
            global(Value::I32(0))?;
        }
        if by_global {
            global(Value::default_of(self.ty))?;
        }
        if !globals.is_empty() {
            module.section(&globals);
        }
        let mut exports = ExportSection::new();
        exports.export(EXPORT, ExportKind::Func, 0);
        module.section(&exports).section(&bodies);
        if let Some((ty, _)) = self.memory.filter(|_| used.memory) {
            let runs = runs(&self.data);
            if !runs.is_empty() {
                module.section(&encode::data_section(ty.address, runs));
            }
        }
        read_back(module.finish(), &codes)
    }

    fn outer_type(&self) -> Vec<ValType> {
        vec![self.ty]
    }

    /// The function that is exported.
    fn outer(&self, linker: &Linker<'_>) -> Option<wasm_encoder::Function> {
        let mut function = wasm_encoder::Function::new([]);
        for local in &self.params {
            function.instruction(&constant(*self.start.get(*local as usize)?)?);
        }
        function.instruction(&Instruction::Call(1));
        let results = &self.funcs[0].ty.1;
        let returned =
            self.direct || self.look == Look::End && matches!(self.observe, Observe::Top(_));
        if returned {
            // Below the last result there may be others.
            if results.len() > 1 {
                function.instruction(&Instruction::Return);
            }
        } else {
            for _ in results {
                function.instruction(&Instruction::Drop);
            }
            match self.look {
                Look::End => {
                    for instruction in linker.value()? {
                        function.instruction(&instruction);
                    }
                }
                _ => {
                    function.instruction(&Instruction::GlobalGet(linker.seen));
                }
            }
        }
        function.instruction(&Instruction::End);
        Some(function)
    }

    /// A function that is there with its body.
    fn inner(
        &self,
        func: &Func,
        is_root: bool,
        linker: &mut Linker<'_>,
    ) -> Option<(u32, wasm_encoder::Function, Code)> {
        let params: Vec<u32> = match is_root {
            true => self.params.clone(),
            false => (0..func.ty.0.len() as u32).collect(),
        };
        let mut used = BTreeSet::new();
        visit(&func.body, &mut |node| match node.what {
            What::Local(_, local) => {
                used.insert(local);
            }
            What::Observe => {
                if let Observe::Local(local) = self.observe {
                    used.insert(local);
                }
            }
            _ => {}
        });
        let declared: Vec<u32> = used.into_iter().filter(|local| !params.contains(local)).collect();
        linker.locals = params.iter().chain(&declared).copied().zip(0..).collect();
        linker.spare = linker.locals.len() as u32;
        let type_of = |local: &u32| func.locals.get(*local as usize).copied();
        let mut locals: Vec<ValType> = declared.iter().map(type_of).collect::<Option<_>>()?;
        if is_root
            && linker.looks.is_some()
            && let Observe::Top(above) = self.observe
        {
            let kept = (above as usize + 1).min(self.operands.len());
            locals.extend(self.operands.iter().rev().take(kept));
        }
        let mut code = Code::new();
        if is_root {
            for local in &declared {
                let value = *self.start.get(*local as usize)?;
                if value != Value::default_of(value.ty()) {
                    let index = *linker.locals.get(local)?;
                    code.push((bytes_of(&constant(value)?), None));
                    code.push((bytes_of(&Instruction::LocalSet(index)), None));
                }
            }
        }
        tree::encode(&func.body, linker, &mut code)?;
        code.push((bytes_of(&Instruction::End), func.end));
        let locals: Option<Vec<_>> = locals.iter().map(|ty| encoded(*ty)).collect();
        let mut function = wasm_encoder::Function::new_with_locals_types(locals?);
        for (bytes, _) in &code {
            function.raw(bytes.iter().copied());
        }
        let params: Option<Vec<ValType>> = params.iter().map(type_of).collect();
        let ty = linker.ty(&(params?, func.ty.1.clone()))?;
        Some((ty, function, code))
    }

    /// What answers a call.
    fn stub(
        &self,
        site: WasmOffset,
        answers: &Answers,
        counter: Option<u32>,
        linker: &Linker<'_>,
    ) -> Option<wasm_encoder::Function> {
        let mut function = wasm_encoder::Function::new([]);
        if let Some(counter) = counter {
            function
                .instruction(&Instruction::GlobalGet(counter))
                .instruction(&Instruction::I32Const(1))
                .instruction(&Instruction::I32Add)
                .instruction(&Instruction::GlobalSet(counter));
        }
        if let (Look::Call(at, times), Observe::Argument(index)) = (&self.look, self.observe)
            && *at == site
        {
            if let Some(counter) = counter {
                function
                    .instruction(&Instruction::GlobalGet(counter))
                    .instruction(&Instruction::I32Const(*times as i32))
                    .instruction(&Instruction::I32Eq)
                    .instruction(&Instruction::If(BlockType::Empty));
            }
            function
                .instruction(&Instruction::LocalGet(index))
                .instruction(&Instruction::GlobalSet(linker.seen));
            if counter.is_some() {
                function.instruction(&Instruction::End);
            }
        }
        let differ = answers.list.windows(2).any(|pair| pair[0] != pair[1]);
        let Some(counter) = counter.filter(|_| differ) else {
            let none = Answer {
                results: answers.ty.1.iter().map(|ty| Value::default_of(*ty)).collect(),
                ..Answer::default()
            };
            for instruction in self.answer(answers.list.first().unwrap_or(&none), linker)? {
                function.instruction(&instruction);
            }
            function.instruction(&Instruction::End);
            return Some(function);
        };
        let count = answers.list.len() as u32;
        for _ in 0..count {
            function.instruction(&Instruction::Block(BlockType::Empty));
        }
        function
            .instruction(&Instruction::GlobalGet(counter))
            .instruction(&Instruction::I32Const(1))
            .instruction(&Instruction::I32Sub)
            .instruction(&Instruction::BrTable((0..count).collect::<Vec<_>>().into(), count - 1));
        for (at, answer) in (1..).zip(&answers.list) {
            function.instruction(&Instruction::End);
            for instruction in self.answer(answer, linker)? {
                function.instruction(&instruction);
            }
            if at < count {
                function.instruction(&Instruction::Return);
            }
        }
        function.instruction(&Instruction::End);
        Some(function)
    }

    fn answer(&self, answer: &Answer, linker: &Linker<'_>) -> Option<Vec<Instruction<'static>>> {
        let mut code = Vec::new();
        let address = self.memory.map(|(ty, _)| ty.address);
        if answer.grown > 0 {
            code.extend([encode::address(address?, answer.grown), Instruction::MemoryGrow(0)]);
            code.push(Instruction::Drop);
        }
        if !answer.wrote.is_empty() {
            code.extend(encode::writes(address?, &answer.wrote));
        }
        for (index, value) in &answer.globals {
            if let Some(global) = linker.globals.get(index) {
                code.extend([constant(*value)?, Instruction::GlobalSet(*global)]);
            }
        }
        for value in &answer.results {
            code.push(constant(*value)?);
        }
        Some(code)
    }

    /// What the functions that can be called need.
    fn used(&self) -> Used {
        let mut used = Used::default();
        let root = self.funcs.first().map(|func| func.func);
        let mut open: Vec<FuncIdx> = root.into_iter().collect();
        while let Some(func) = open.pop() {
            let Some(func) = self.funcs.iter().find(|each| each.func == func) else { continue };
            if !used.funcs.insert(func.func) {
                continue;
            }
            visit(&func.body, &mut |node| match &node.what {
                What::Global(_, global) => {
                    used.globals.insert(*global);
                }
                What::Answered(site) => {
                    used.sites.insert(*site);
                }
                What::Real(func, _) => open.push(*func),
                What::Raw(bytes) => used.memory |= touches_memory(bytes),
                _ => {}
            });
        }
        match self.observe {
            Observe::Global(global) => {
                used.globals.insert(global);
            }
            Observe::Memory(_) => used.memory = true,
            _ => {}
        }
        let answers = used.sites.iter().filter_map(|site| self.answers.get(site));
        used.memory |= answers
            .flat_map(|answers| &answers.list)
            .any(|answer| !answer.wrote.is_empty() || answer.grown > 0);
        used
    }
}

#[derive(Default)]
struct Used {
    funcs: BTreeSet<FuncIdx>,
    globals: BTreeSet<u32>,
    sites: BTreeSet<WasmOffset>,
    memory: bool,
}

fn touches_memory(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(0x28..=0x40) => true,
        Some(0xfc) => matches!(encode::sub_opcode(bytes), Some(8..=11)),
        Some(0xfd) => matches!(encode::sub_opcode(bytes), Some(0..=11 | 84..=93)),
        _ => false,
    }
}

/// Validates the module, and finds out where its instructions came to be.
fn read_back(wasm: Vec<u8>, codes: &[(FuncIdx, Code)]) -> Option<Cut> {
    let program = program::from_wasm(Path::new("cut.wasm"), wasm).ok()?;
    let mut moved = Moved::default();
    let mut instructions = 0;
    for ((from, code), to) in codes.iter().zip(1..) {
        let to = FuncIdx::new(to);
        let body = Body::of(&program.wasm, &program.module, to)?;
        if body.ops().len() != code.len() {
            return None;
        }
        let places = body.ops().iter().zip(code);
        moved.offsets.extend(places.filter_map(|(op, (_, origin))| Some(((*origin)?, op.offset))));
        moved.funcs.insert(*from, to);
        instructions += code.len() as u64;
    }
    Some(Cut { program, moved, args: Vec::new(), instructions })
}
