//! Which locals the state of a stable point must hold, and which ones the map of
//! code as it ships asks about.
//!
//! A local is live where some path reads it before setting it. What is not
//! live need not be stored, and more important, need not be kept: a stable
//! point that kept every local alive would cost every one of them a register.
//! Nor is it asked where it is in code as it ships: looking a dead local up at a
//! join makes a block parameter of it, which no compiler would have there.
//!
//! This is the plain analysis, on basic blocks of the Wasm and to the least
//! fixpoint. It may call a local live that the oracle, which follows values
//! further, calls dead; never the other way round. Operands are not looked at:
//! all of them count as live.

use std::collections::HashMap;
use wasm_view::WasmOffset;
use wasmparser::{FunctionBody, Operator};

/// Live locals where it matters: at stable points and behind calls.
pub(super) struct Live {
    rows: HashMap<u32, Box<[u64]>>,
}

/// Words of all bit sets together: 256 MiB.
const MAX_WORDS: usize = 1 << 25;

impl Live {
    /// Analyses a body, which need not be valid. `None` where it is too large
    /// or not understood; then every local counts as live.
    pub fn compute(body: &FunctionBody<'_>, locals: usize) -> Option<Live> {
        let flow = Flow::read(body, locals)?;
        let words = locals.div_ceil(64);
        let rows = flow.blocks.len().checked_add(flow.marks)?.checked_mul(words)?;
        (rows <= MAX_WORDS / 4).then(|| flow.marked(words))
    }

    /// Whether a local is live before the instruction at an offset.
    pub fn is_live(&self, at: WasmOffset, local: usize) -> bool {
        self.rows.get(&at.get()).is_none_or(|row| get(row, local))
    }
}

/// Live locals before each instruction, met in the order of the body.
pub(super) struct Course {
    words: usize,
    /// First instruction and number of each block that has one.
    starts: Vec<(u32, usize)>,
    /// Live locals before each block.
    before: Vec<u64>,
    /// What touches a local: the instruction, the local, whether it is live behind.
    steps: Vec<(u32, usize, bool)>,
    /// The block that the course is in, by position in `starts`, one higher.
    block: usize,
    /// The next one of `steps`.
    step: usize,
    row: Vec<u64>,
}

impl Course {
    /// Analyses a body, which need not be valid. `None` where it is too large
    /// or not understood; then every local counts as live.
    pub fn compute(body: &FunctionBody<'_>, locals: usize) -> Option<Course> {
        let flow = Flow::read(body, locals)?;
        let words = locals.div_ceil(64);
        let rows = flow.blocks.len().checked_mul(words)?;
        (rows <= MAX_WORDS / 4).then(|| flow.course(words))
    }

    /// Goes on to an instruction, not before the last one asked about.
    pub fn go_to(&mut self, at: WasmOffset) {
        let behind = self.starts[self.block..].partition_point(|(start, _)| *start <= at.get());
        if behind > 0 {
            self.block += behind;
            let (start, block) = self.starts[self.block - 1];
            self.row.copy_from_slice(&self.before[block * self.words..][..self.words]);
            self.step += self.steps[self.step..].partition_point(|(offset, ..)| *offset < start);
        }
        while let Some(&(_, local, live)) =
            self.steps.get(self.step).filter(|(offset, ..)| *offset < at.get())
        {
            set(&mut self.row, local, live);
            self.step += 1;
        }
    }

    /// Whether a local is live before the instruction.
    pub fn is_live(&self, local: usize) -> bool {
        get(&self.row, local)
    }
}

fn get(row: &[u64], local: usize) -> bool {
    row.get(local / 64).is_some_and(|word| word >> (local % 64) & 1 != 0)
}

fn set(row: &mut [u64], local: usize, live: bool) {
    if let Some(word) = row.get_mut(local / 64) {
        let bit = 1 << (local % 64);
        *word = if live { *word | bit } else { *word & !bit };
    }
}

/// What happens to locals, in order.
enum Step {
    /// The local, and the instruction.
    Get(usize, u32),
    Set(usize, u32),
    /// Liveness is asked for here.
    Mark(u32),
}

/// A run of instructions that ends where control may go elsewhere.
#[derive(Default)]
struct BasicBlock {
    /// Its first instruction.
    start: Option<u32>,
    steps: Vec<Step>,
    /// Labels that it may branch to.
    labels: Vec<usize>,
    /// Whether it may go on with the next block.
    falls: bool,
}

/// An open construct.
struct Open {
    label: usize,
    is_loop: bool,
    /// Where a false `if` goes, until its `else` is met.
    otherwise: Option<usize>,
}

struct Flow {
    blocks: Vec<BasicBlock>,
    /// The block that each label is the start of.
    labels: Vec<usize>,
    marks: usize,
}

impl Flow {
    fn read(body: &FunctionBody<'_>, locals: usize) -> Option<Flow> {
        let mut flow = Flow { blocks: vec![BasicBlock::default()], labels: vec![0], marks: 0 };
        let mut open = vec![Open { label: 0, is_loop: false, otherwise: None }];
        let mut mark = true;
        let mut operators = body.get_operators_reader().ok()?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().ok()?;
            let offset = u32::try_from(offset).ok()?;
            if let Some(block) = flow.blocks.last_mut() {
                block.start.get_or_insert(offset);
            }
            let is_call = is_call(&operator);
            if std::mem::take(&mut mark) || is_call {
                flow.step(Step::Mark(offset));
                flow.marks += 1;
            }
            mark = is_call;
            let target = |open: &[Open], depth: u32| {
                let at = open.len().checked_sub(1 + depth as usize)?;
                open.get(at).map(|open| open.label)
            };
            match operator {
                Operator::LocalGet { local_index } => {
                    flow.step(Step::Get(in_range(local_index, locals)?, offset));
                }
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    flow.step(Step::Set(in_range(local_index, locals)?, offset));
                }
                Operator::Block { .. } => {
                    let label = flow.label();
                    open.push(Open { label, is_loop: false, otherwise: None });
                }
                Operator::Loop { .. } => {
                    let label = flow.label();
                    flow.end_block(&[], true);
                    flow.place(label);
                    open.push(Open { label, is_loop: true, otherwise: None });
                    mark = true;
                }
                Operator::If { .. } => {
                    let (label, otherwise) = (flow.label(), flow.label());
                    flow.end_block(&[otherwise], true);
                    open.push(Open { label, is_loop: false, otherwise: Some(otherwise) });
                }
                Operator::Else => {
                    let innermost = open.last_mut()?;
                    let otherwise = innermost.otherwise.take()?;
                    flow.end_block(&[innermost.label], false);
                    flow.place(otherwise);
                }
                Operator::End => {
                    let closed = open.pop()?;
                    // The function's own end leads nowhere.
                    flow.end_block(&[], !open.is_empty());
                    if let Some(otherwise) = closed.otherwise {
                        flow.place(otherwise);
                    }
                    if !closed.is_loop {
                        flow.place(closed.label);
                    }
                    mark = true;
                }
                Operator::Br { relative_depth } => {
                    flow.end_block(&[target(&open, relative_depth)?], false);
                }
                Operator::BrIf { relative_depth }
                | Operator::BrOnNull { relative_depth }
                | Operator::BrOnNonNull { relative_depth }
                | Operator::BrOnCast { relative_depth, .. }
                | Operator::BrOnCastFail { relative_depth, .. } => {
                    flow.end_block(&[target(&open, relative_depth)?], true);
                }
                Operator::BrTable { targets } => {
                    let mut labels = vec![target(&open, targets.default())?];
                    for depth in targets.targets() {
                        labels.push(target(&open, depth.ok()?)?);
                    }
                    labels.sort_unstable();
                    labels.dedup();
                    flow.end_block(&labels, false);
                }
                Operator::Return
                | Operator::Unreachable
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. }
                | Operator::Throw { .. }
                | Operator::ThrowRef => flow.end_block(&[], false),
                // A handler may be entered from anywhere within.
                Operator::TryTable { .. }
                | Operator::Try { .. }
                | Operator::Catch { .. }
                | Operator::CatchAll
                | Operator::Delegate { .. }
                | Operator::Rethrow { .. } => return None,
                _ => {}
            }
        }
        open.is_empty().then_some(flow)
    }

    fn step(&mut self, step: Step) {
        if let Some(block) = self.blocks.last_mut() {
            block.steps.push(step);
        }
    }

    fn label(&mut self) -> usize {
        self.labels.push(0);
        self.labels.len() - 1
    }

    /// Ends the present block and begins the next one.
    fn end_block(&mut self, labels: &[usize], falls: bool) {
        if let Some(block) = self.blocks.last_mut() {
            block.labels.extend_from_slice(labels);
            block.falls = falls;
        }
        self.blocks.push(BasicBlock::default());
    }

    /// Makes the present block, which must be empty, a label's.
    fn place(&mut self, label: usize) {
        self.labels[label] = self.blocks.len() - 1;
    }

    /// What is live before each block.
    fn solve(&self, words: usize) -> Vec<u64> {
        // What each block reads before it sets it, and what it sets.
        let (mut reads, mut sets) = (self.rows(words), self.rows(words));
        for (at, block) in self.blocks.iter().enumerate() {
            let range = at * words..(at + 1) * words;
            for step in block.steps.iter().rev() {
                match *step {
                    Step::Get(local, _) => set(&mut reads[range.clone()], local, true),
                    Step::Set(local, _) => {
                        set(&mut reads[range.clone()], local, false);
                        set(&mut sets[range.clone()], local, true);
                    }
                    Step::Mark(_) => {}
                }
            }
        }
        let mut before = reads.clone();
        let mut row = vec![0; words];
        loop {
            let mut changed = false;
            for (at, block) in self.blocks.iter().enumerate().rev() {
                self.after(block, at, &before, &mut row);
                for (word, live) in row.iter().enumerate() {
                    let index = at * words + word;
                    let now = reads[index] | live & !sets[index];
                    changed |= now != before[index];
                    before[index] = now;
                }
            }
            if !changed {
                return before;
            }
        }
    }

    fn marked(&self, words: usize) -> Live {
        let before = self.solve(words);
        let mut row = vec![0; words];
        let mut rows = HashMap::with_capacity(self.marks);
        for (at, block) in self.blocks.iter().enumerate() {
            if !block.steps.iter().any(|step| matches!(step, Step::Mark(_))) {
                continue;
            }
            self.after(block, at, &before, &mut row);
            for step in block.steps.iter().rev() {
                match *step {
                    Step::Get(local, _) => set(&mut row, local, true),
                    Step::Set(local, _) => set(&mut row, local, false),
                    Step::Mark(offset) => {
                        rows.insert(offset, row.clone().into_boxed_slice());
                    }
                }
            }
        }
        Live { rows }
    }

    fn course(&self, words: usize) -> Course {
        let before = self.solve(words);
        let mut row = vec![0; words];
        let (mut starts, mut steps) = (Vec::new(), Vec::new());
        for (at, block) in self.blocks.iter().enumerate() {
            starts.extend(block.start.map(|start| (start, at)));
            self.after(block, at, &before, &mut row);
            let first = steps.len();
            for step in block.steps.iter().rev() {
                if let Step::Get(local, offset) | Step::Set(local, offset) = *step {
                    steps.push((offset, local, get(&row, local)));
                    set(&mut row, local, matches!(step, Step::Get(..)));
                }
            }
            steps[first..].reverse();
        }
        Course { words, starts, before, steps, block: 0, step: 0, row: vec![0; words] }
    }

    fn rows(&self, words: usize) -> Vec<u64> {
        vec![0; self.blocks.len() * words]
    }

    /// What is live behind a block.
    fn after(&self, block: &BasicBlock, at: usize, before: &[u64], row: &mut [u64]) {
        row.fill(0);
        let words = row.len();
        let next = block.falls.then_some(at + 1);
        for target in block.labels.iter().map(|&label| self.labels[label]).chain(next) {
            for (word, live) in row.iter_mut().zip(&before[target * words..]) {
                *word |= live;
            }
        }
    }
}

fn in_range(local: u32, locals: usize) -> Option<usize> {
    usize::try_from(local).ok().filter(|local| *local < locals)
}

/// Whether an instruction is a call, of a function in place of its own or not.
pub(super) fn is_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
    )
}
