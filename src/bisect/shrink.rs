//! Makes a whole function that shows a fault small, and sees that it still does.
//!
//! What was never executed goes first, all at once. Then parts are tried one by
//! one: runs of instructions are left out, or stand aside for the value that they
//! came to in the execution; blocks are opened up, branches that were not taken
//! forgotten, answers made equal, bytes and parameters left out. Each attempt is
//! a module that validation has to accept (which rejects nearly all of them, in
//! microseconds), that is smaller, and that the judge finds to show the fault.
//! Until nothing more can go, or the time is over.

use super::cut::Cut;
use super::encode::{constant, runs};
use super::judge::{Answer, Judge, Shown};
use super::trace::Trace;
use super::tree::{Node, What, relabel};
use super::whole::{Look, Whole};
use crate::error::CommandError;
use std::collections::{BTreeSet, HashSet};
use wasm_encoder::Instruction;
use wasm_view::{Value, WasmOffset};

/// Lengths of the runs of instructions that are left out.
const RUNS: [usize; 10] = [128, 64, 32, 16, 8, 5, 4, 3, 2, 1];
/// Longest run that a value stands in for.
const VALUED: usize = 6;
/// The opcode of `br`, of `br_if`, and of `if`.
const BR: u8 = 0x0c;
const BR_IF: u8 = 0x0d;
const IF: u8 = 0x04;

/// A candidate that shows the fault.
pub struct Small {
    /// How it is made.
    pub whole: Whole,
    /// The module.
    pub cut: Cut,
    /// What it shows.
    pub shown: Shown,
}

/// A sequence of a function: the function, then in which node of which sequence
/// it is, and whether behind that one's `else`.
type Path = (usize, Vec<(usize, bool)>);

/// Makes candidates smaller.
pub struct Shrinker<'a> {
    /// Who says whether one shows the fault.
    pub judge: &'a Judge<'a>,
    /// What was executed.
    pub trace: &'a Trace,
    /// Modules that were judged.
    pub known: HashSet<[u8; 32]>,
}

impl Shrinker<'_> {
    /// Tries a candidate as it is.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn first(&mut self, whole: Whole) -> Result<Option<Small>, CommandError> {
        let Some(cut) = whole.build() else { return Ok(None) };
        let shown = self.judge.judge(&cut)?;
        Ok(shown.map(|shown| Small { whole, cut, shown }))
    }

    /// Makes it as small as there is time for. The flag says that there was
    /// enough.
    ///
    /// # Errors
    /// As [`Shrinker::first`].
    pub fn shrink(&mut self, mut small: Small) -> Result<(Small, bool), CommandError> {
        self.unreached(&mut small)?;
        loop {
            let size = small.cut.program.wasm.len();
            self.settle(&mut small)?;
            self.leave_out(&mut small)?;
            self.stand_in(&mut small)?;
            self.open_up(&mut small)?;
            self.answers(&mut small)?;
            self.data(&mut small)?;
            if !self.judge.has_time() {
                return Ok((small, false));
            }
            if small.cut.program.wasm.len() >= size {
                return Ok((small, true));
            }
        }
    }

    /// Takes a change if what comes of it is smaller, valid and shows the fault.
    fn take(
        &mut self,
        small: &mut Small,
        change: impl FnOnce(&mut Whole) -> bool,
    ) -> Result<bool, CommandError> {
        if !self.judge.has_time() {
            return Ok(false);
        }
        let mut whole = small.whole.clone();
        if !change(&mut whole) {
            return Ok(false);
        }
        let Some(cut) = whole.build() else { return Ok(false) };
        let (ours, theirs) = (cut.program.wasm.len(), small.cut.program.wasm.len());
        if ours > theirs || !self.known.insert(cut.program.sha256) {
            return Ok(false);
        }
        let Some(shown) = self.judge.judge(&cut)? else { return Ok(false) };
        // One that does not end says nothing of a value.
        let broken = |shown: &Shown| matches!(shown.wrong, Answer::Broken(_));
        if broken(&shown) && !broken(&small.shown) {
            return Ok(false);
        }
        *small = Small { whole, cut, shown };
        Ok(true)
    }

    /// What was never executed becomes `unreachable`, and so does what is behind.
    fn unreached(&mut self, small: &mut Small) -> Result<(), CommandError> {
        let never = self.never(&small.whole);
        let done = self.take(small, |whole| {
            let all = self_never(whole, &never);
            dead(whole);
            all
        })?;
        if done {
            return Ok(());
        }
        for path in sequences(&small.whole) {
            let never = never.clone();
            self.take(small, |whole| {
                let Some(nodes) = at(whole, &path) else { return false };
                cut_off(nodes, &never)
            })?;
        }
        Ok(())
    }

    /// Origins of the functions' instructions that were not executed.
    fn never(&self, whole: &Whole) -> HashSet<WasmOffset> {
        let mut never = HashSet::new();
        for func in &whole.funcs {
            super::tree::visit(&func.body, &mut |node| {
                let seen = node.origin.and_then(|at| self.trace.seen.get(&at));
                if seen.is_none_or(|seen| seen.count == 0) {
                    never.extend(node.origin);
                }
            });
        }
        never
    }

    /// What is about the function and not in it.
    fn settle(&mut self, small: &mut Small) -> Result<(), CommandError> {
        self.take(small, |whole| {
            dead(whole);
            true
        })?;
        if !small.whole.direct && matches!(small.whole.look, Look::At(..)) {
            self.take(small, |whole| {
                whole.direct = true;
                whole.funcs[0].ty.1 = vec![whole.ty];
                true
            })?;
        }
        if let Look::At(times, counted) = small.whole.look
            && (times > 1 || counted)
        {
            for look in [Look::At(1, false), Look::At(1, true)] {
                self.take(small, |whole| {
                    whole.look = look;
                    true
                })?;
            }
        }
        if let Look::Call(site, times) = small.whole.look
            && times > 1
        {
            self.take(small, |whole| {
                whole.look = Look::Call(site, 1);
                true
            })?;
        }
        for param in small.whole.params.clone() {
            let gone = self.take(small, |whole| {
                whole.params.retain(|other| *other != param);
                whole.start[param as usize] = Value::default_of(whole.start[param as usize].ty());
                true
            })?;
            if !gone {
                self.take(small, |whole| {
                    let value = &mut whole.start[param as usize];
                    *value = Value::default_of(value.ty());
                    true
                })?;
            }
        }
        for local in 0..small.whole.start.len() {
            self.take(small, |whole| {
                let value = &mut whole.start[local];
                let zero = Value::default_of(value.ty());
                std::mem::replace(value, zero) != zero
            })?;
        }
        for global in 0..small.whole.globals.len() {
            self.take(small, |whole| {
                let value = &mut whole.globals[global];
                let zero = Value::default_of(value.ty());
                std::mem::replace(value, zero) != zero
            })?;
        }
        Ok(())
    }

    /// Leaves out runs of instructions.
    fn leave_out(&mut self, small: &mut Small) -> Result<(), CommandError> {
        for length in RUNS {
            let mut paths = sequences(&small.whole);
            // Inner ones first: what is in them goes with them, and they are many.
            paths.reverse();
            for path in paths {
                let mut from = 0;
                loop {
                    let count = at(&mut small.whole, &path).map_or(0, |nodes| nodes.len());
                    if from + length > count || !self.judge.has_time() {
                        break;
                    }
                    let gone = self.take(small, |whole| {
                        let Some(nodes) = at(whole, &path) else { return false };
                        let looks = nodes[from..from + length].iter().any(has_look);
                        nodes.drain(from..from + length);
                        !looks
                    })?;
                    from += usize::from(!gone);
                }
            }
        }
        Ok(())
    }

    /// A value instead of what computes it.
    fn stand_in(&mut self, small: &mut Small) -> Result<(), CommandError> {
        for path in sequences(&small.whole) {
            let mut last = 0;
            while let Some(node) = at(&mut small.whole, &path).and_then(|nodes| nodes.get(last)) {
                let seen = node.origin.and_then(|at| self.trace.seen.get(&at));
                let value = seen.and_then(|seen| seen.value).and_then(constant);
                if let Some(value) = value {
                    for length in (1..=VALUED.min(last + 1)).rev() {
                        let from = last + 1 - length;
                        let gone = self.take(small, |whole| {
                            let Some(nodes) = at(whole, &path) else { return false };
                            let looks = nodes[from..=last].iter().any(has_look);
                            nodes.splice(from..=last, [Node::made(&value)]);
                            !looks
                        })?;
                        if gone {
                            last = from;
                            break;
                        }
                    }
                }
                last += 1;
            }
        }
        Ok(())
    }

    /// Takes blocks away from around what is in them, and branches that were
    /// not taken, or always.
    fn open_up(&mut self, small: &mut Small) -> Result<(), CommandError> {
        let mut paths = sequences(&small.whole);
        paths.reverse();
        for path in paths {
            let mut index = 0;
            while let Some(node) = at(&mut small.whole, &path).and_then(|nodes| nodes.get(index)) {
                let ways: &[Way] = match node.what {
                    What::Block(IF, _) => &[Way::Then, Way::Else],
                    What::Block(..) => &[Way::Then],
                    What::Br(BR_IF, _) => &[Way::Stay, Way::Go],
                    What::BrTable(_) => &[Way::Go],
                    _ => &[],
                };
                for way in ways {
                    if self.take(small, |whole| {
                        at(whole, &path).is_some_and(|nodes| opened(nodes, index, *way))
                    })? {
                        break;
                    }
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// Fewer and simpler answers.
    fn answers(&mut self, small: &mut Small) -> Result<(), CommandError> {
        let sites: Vec<WasmOffset> = small.whole.answers.keys().copied().collect();
        for site in sites {
            let count = small.whole.answers[&site].list.len();
            if count > 1 {
                for keep in [count - 1, 0] {
                    if self.take(small, |whole| {
                        let Some(answers) = whole.answers.get_mut(&site) else { return false };
                        answers.list = vec![answers.list.swap_remove(keep)];
                        true
                    })? {
                        break;
                    }
                }
            }
            let mut at = 0;
            while at < small.whole.answers[&site].list.len() {
                if small.whole.answers[&site].list.len() > 1 {
                    let gone = self.take(small, |whole| {
                        let answers = whole.answers.get_mut(&site);
                        answers.is_some_and(|answers| {
                            answers.list.remove(at);
                            true
                        })
                    })?;
                    if gone {
                        continue;
                    }
                }
                let simpler: [fn(&mut super::trace::Answer); 4] = [
                    |answer| answer.wrote.clear(),
                    |answer| answer.globals.clear(),
                    |answer| answer.grown = 0,
                    |answer| {
                        for value in &mut answer.results {
                            *value = Value::default_of(value.ty());
                        }
                    },
                ];
                for simpler in simpler {
                    self.take(small, |whole| {
                        let answers = whole.answers.get_mut(&site);
                        let answer = answers.and_then(|answers| answers.list.get_mut(at));
                        answer.is_some_and(|answer| {
                            let before = answer.clone();
                            simpler(answer);
                            *answer != before
                        })
                    })?;
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// Fewer bytes in memory.
    fn data(&mut self, small: &mut Small) -> Result<(), CommandError> {
        let list = runs(&small.whole.data);
        let mut chunk = list.len().max(1);
        loop {
            let mut from = 0;
            loop {
                let list = runs(&small.whole.data);
                if from >= list.len() {
                    break;
                }
                let part: BTreeSet<u64> = list
                    .iter()
                    .skip(from)
                    .take(chunk)
                    .flat_map(|(start, bytes)| *start..*start + bytes.len() as u64)
                    .collect();
                let gone = self.take(small, |whole| {
                    whole.data.retain(|address, _| !part.contains(address));
                    true
                })?;
                from += if gone { 0 } else { chunk };
            }
            if chunk == 1 {
                return Ok(());
            }
            chunk = chunk.div_ceil(2);
        }
    }
}

/// What is to become of a branch or a block.
#[derive(Clone, Copy)]
enum Way {
    /// A block's first part is executed as it is.
    Then,
    /// An `if`'s second part is.
    Else,
    /// A branch is not taken.
    Stay,
    /// It is taken.
    Go,
}

/// Opens up a node; false if that cannot be.
fn opened(nodes: &mut Vec<Node>, index: usize, way: Way) -> bool {
    let drop = Node::made(&Instruction::Drop);
    let node = nodes[index].clone();
    let instead = match (way, node.what) {
        (Way::Stay, _) => vec![drop],
        (Way::Go, What::Br(_, label)) => {
            vec![drop, Node::leaf(What::Br(BR, label), node.origin)]
        }
        (Way::Go, What::BrTable(labels)) => {
            let Some(label) = labels.last() else { return false };
            vec![drop, Node::leaf(What::Br(BR, *label), node.origin)]
        }
        (Way::Then | Way::Else, What::Block(opcode, ty)) => {
            let mut body = match (way, node.other) {
                (Way::Else, Some((other, _))) => other,
                (Way::Else, None) => Vec::new(),
                _ => node.body,
            };
            let mut list = if opcode == IF { vec![drop] } else { Vec::new() };
            let plain = body.clone();
            if relabel(&mut body, 0) {
                list.extend(body);
            } else if opcode == IF {
                const BLOCK: u8 = 0x02;
                let what = What::Block(BLOCK, ty);
                let (origin, end) = (node.origin, node.end);
                list.push(Node { what, origin, body: plain, other: None, end });
            } else {
                return false;
            }
            list
        }
        _ => return false,
    };
    nodes.splice(index..=index, instead);
    true
}

fn has_look(node: &Node) -> bool {
    node.what == What::Observe || node.sequences().flatten().any(has_look)
}

/// All sequences of a candidate, outer ones first.
fn sequences(whole: &Whole) -> Vec<Path> {
    fn within(nodes: &[Node], path: &Path, list: &mut Vec<Path>) {
        list.push(path.clone());
        for (index, node) in nodes.iter().enumerate() {
            if !matches!(node.what, What::Block(..)) {
                continue;
            }
            let parts = [(&node.body, false)].into_iter();
            for (part, behind) in parts.chain(node.other.as_ref().map(|other| (&other.0, true))) {
                let mut deeper = path.clone();
                deeper.1.push((index, behind));
                within(part, &deeper, list);
            }
        }
    }
    let mut list = Vec::new();
    for (index, func) in whole.funcs.iter().enumerate() {
        within(&func.body, &(index, Vec::new()), &mut list);
    }
    list
}

/// The sequence at a path, which may be gone by now.
fn at<'a>(whole: &'a mut Whole, path: &Path) -> Option<&'a mut Vec<Node>> {
    let mut nodes = &mut whole.funcs.get_mut(path.0)?.body;
    for (index, behind) in &path.1 {
        let node = nodes.get_mut(*index)?;
        nodes = match (behind, &mut node.other) {
            (true, other) => &mut other.as_mut()?.0,
            (false, _) => &mut node.body,
        };
    }
    Some(nodes)
}

/// Cuts a sequence off where it was never executed any more.
fn cut_off(nodes: &mut Vec<Node>, never: &HashSet<WasmOffset>) -> bool {
    let first = nodes.iter().position(|node| node.origin.is_some_and(|at| never.contains(&at)));
    match first {
        Some(first) if !nodes[first].is_unreachable() => {
            let looks = nodes[first..].iter().any(has_look);
            nodes.truncate(first);
            nodes.push(Node::unreachable());
            !looks
        }
        _ => false,
    }
}

fn self_never(whole: &mut Whole, never: &HashSet<WasmOffset>) -> bool {
    fn within(nodes: &mut Vec<Node>, never: &HashSet<WasmOffset>) {
        let looks = nodes.iter().any(has_look);
        if !looks {
            cut_off(nodes, never);
        }
        for node in nodes {
            within(&mut node.body, never);
            if let Some((other, _)) = &mut node.other {
                within(other, never);
            }
        }
    }
    for func in &mut whole.funcs {
        within(&mut func.body, never);
    }
    true
}

/// Takes away what is behind a branch that is always taken.
fn dead(whole: &mut Whole) {
    const RETURN: u8 = 0x0f;
    fn within(nodes: &mut Vec<Node>) {
        let ends = |node: &Node| match &node.what {
            What::Br(opcode, _) => *opcode == BR,
            What::BrTable(_) => true,
            What::Raw(bytes) => matches!(bytes.as_slice(), [0x00] | [RETURN]),
            _ => false,
        };
        if let Some(at) = nodes.iter().position(ends)
            && !nodes[at + 1..].iter().any(has_look)
        {
            nodes.truncate(at + 1);
        }
        for node in nodes {
            within(&mut node.body);
            if let Some((other, _)) = &mut node.other {
                within(other);
            }
        }
    }
    for func in &mut whole.funcs {
        within(&mut func.body);
    }
}
