//! Which locals the state of a stable point must hold.
//!
//! A local is live where some path reads it before setting it. What is not
//! live need not be stored, and more important, need not be kept: a stable
//! point that kept every local alive would cost every one of them a register.
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

impl Live {
    /// Words of all bit sets together: 256 MiB.
    const MAX_WORDS: usize = 1 << 25;

    /// Analyses a body, which need not be valid. `None` where it is too large
    /// or not understood; then every local counts as live.
    pub fn compute(body: &FunctionBody<'_>, locals: usize) -> Option<Live> {
        let flow = Flow::read(body, locals)?;
        let words = locals.div_ceil(64);
        let rows = flow.blocks.len().checked_add(flow.marks)?.checked_mul(words)?;
        (rows <= Self::MAX_WORDS / 4).then(|| flow.solve(words))
    }

    /// Whether a local is live before the instruction at an offset.
    pub fn is_live(&self, at: WasmOffset, local: usize) -> bool {
        self.rows.get(&at.get()).is_none_or(|row| get(row, local))
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
    Get(usize),
    Set(usize),
    /// Liveness is asked for here.
    Mark(u32),
}

/// A run of instructions that ends where control may go elsewhere.
#[derive(Default)]
struct BasicBlock {
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
            let is_call = is_call(&operator);
            if std::mem::take(&mut mark) || is_call {
                flow.step(Step::Mark(u32::try_from(offset).ok()?));
                flow.marks += 1;
            }
            mark = is_call;
            let target = |open: &[Open], depth: u32| {
                let at = open.len().checked_sub(1 + depth as usize)?;
                open.get(at).map(|open| open.label)
            };
            match operator {
                Operator::LocalGet { local_index } => {
                    flow.step(Step::Get(in_range(local_index, locals)?));
                }
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    flow.step(Step::Set(in_range(local_index, locals)?));
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

    fn solve(&self, words: usize) -> Live {
        // What each block reads before it sets it, and what it sets.
        let (mut reads, mut sets) = (self.rows(words), self.rows(words));
        for (at, block) in self.blocks.iter().enumerate() {
            let range = at * words..(at + 1) * words;
            for step in block.steps.iter().rev() {
                match *step {
                    Step::Get(local) => set(&mut reads[range.clone()], local, true),
                    Step::Set(local) => {
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
                break;
            }
        }
        let mut rows = HashMap::with_capacity(self.marks);
        for (at, block) in self.blocks.iter().enumerate() {
            if !block.steps.iter().any(|step| matches!(step, Step::Mark(_))) {
                continue;
            }
            self.after(block, at, &before, &mut row);
            for step in block.steps.iter().rev() {
                match *step {
                    Step::Get(local) => set(&mut row, local, true),
                    Step::Set(local) => set(&mut row, local, false),
                    Step::Mark(offset) => {
                        rows.insert(offset, row.clone().into_boxed_slice());
                    }
                }
            }
        }
        Live { rows }
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
