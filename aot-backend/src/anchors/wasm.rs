//! Control flow between boundaries, read off the operators of one body.
//!
//! A node is an instruction; an edge leads to what execution meets next, by the
//! rules that boundaries follow (see `translate/control.rs`): a branch to a
//! block goes on behind its `end`, one to a loop at the first instruction of
//! its body, and the then arm's `else` behind the `end`.
//!
//! A call in the scope of clauses also leads to where each of them goes, and so
//! does what throws.
//!
//! Instructions that nothing reaches from the first one are not *live*.
//! Constructs whose control flow is not known here make the whole graph
//! unknown: then nothing is claimed about the function.

use super::scopes::{Scopes, may_throw};
use smallvec::SmallVec;
use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// What of an instruction marks its place in native code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing, unless it may fault.
    Plain,
    /// A conditional branch.
    Branch,
    /// A jump through a table with so many entries, the default among them.
    Table(usize),
    /// A write outside of the frame.
    Writes,
    /// `unreachable`.
    Unreachable,
    /// A call that takes the place of its function.
    TailCall,
    /// The `end` of the function.
    End,
}

/// Where control goes from an instruction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Next {
    /// Positions of instructions, each once.
    pub nodes: SmallVec<[usize; 2]>,
    /// Whether the function may return.
    pub returns: bool,
}

/// The graph of a body.
pub(crate) struct Graph {
    /// Byte offset of each instruction.
    pub offsets: Vec<u32>,
    pub classes: Vec<Class>,
    pub next: Vec<Next>,
    /// Whether an exception may come out of the instruction and be caught here.
    pub caught: Vec<bool>,
    /// Whether any path leads there.
    pub live: Vec<bool>,
    /// Whether the only way out of the function is its `end`.
    pub returns_at_end_only: bool,
    /// Chain of each live instruction and its place there: a chain is a longest
    /// sequence in which each instruction is always followed by the next one
    /// and never reached otherwise.
    pub chains: Vec<(usize, usize)>,
    /// Members of each chain.
    members: Vec<Vec<usize>>,
    /// By the offset from the first instruction's, one more than the instruction's
    /// position; 0 for none.
    positions: Vec<u32>,
}

/// An open construct.
struct Open {
    start: usize,
    is_loop: bool,
    is_if: bool,
    is_try: bool,
    parts: Parts,
}

/// Where each construct's parts are.
#[derive(Default, Clone)]
pub(super) struct Parts {
    otherwise: Option<usize>,
    /// Each `catch` of a legacy `try`, with its tag.
    pub clauses: Vec<(Option<u32>, usize)>,
    /// The label of its `delegate`, counted from outside.
    pub delegate: Option<u32>,
    /// Its `end` or `delegate`.
    pub end: usize,
}

impl Graph {
    /// The graph of a valid body; `None` if something in it is not known here.
    pub fn of(body: &FunctionBody<'_>) -> Result<Option<Graph>, BinaryReaderError> {
        let mut reader = body.get_operators_reader()?;
        let mut operators = Vec::new();
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            operators.push((operator, crate::module::offset(offset).get()));
        }
        Ok(Self::build(&operators))
    }

    fn build(operators: &[(Operator<'_>, u32)]) -> Option<Graph> {
        let parts = parts(operators)?;
        let mut graph = Graph {
            offsets: operators.iter().map(|(_, offset)| *offset).collect(),
            classes: Vec::with_capacity(operators.len()),
            next: Vec::with_capacity(operators.len()),
            caught: Vec::with_capacity(operators.len()),
            live: vec![false; operators.len()],
            returns_at_end_only: false,
            chains: vec![(0, 0); operators.len()],
            members: Vec::new(),
            positions: positions(operators),
        };
        // Headers of the open constructs; `None` is the function.
        let mut open: Vec<Option<usize>> = vec![None];
        let mut scopes = Scopes::default();
        for (at, (operator, _)) in operators.iter().enumerate() {
            let mut next = Next::default();
            let target = |depth: u32| {
                let position = open.len().checked_sub(1 + depth as usize);
                let header = position.and_then(|position| open[position])?;
                Some(match operators[header].0 {
                    Operator::Loop { .. } => header + 1,
                    _ => parts[header].end + 1,
                })
            };
            let branch = |next: &mut Next, depth: u32| match target(depth) {
                None => next.returns = true,
                Some(node) => next.nodes.push(node),
            };
            let mut falls = true;
            let mut class = class(operator);
            match operator {
                Operator::Br { relative_depth } => {
                    branch(&mut next, *relative_depth);
                    falls = false;
                }
                Operator::BrIf { relative_depth }
                | Operator::BrOnNull { relative_depth }
                | Operator::BrOnNonNull { relative_depth } => branch(&mut next, *relative_depth),
                Operator::BrTable { targets } => {
                    for depth in targets.targets() {
                        branch(&mut next, depth.ok()?);
                    }
                    branch(&mut next, targets.default());
                    class = Class::Table(targets.len() as usize + 1);
                    falls = false;
                }
                Operator::Return
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    next.returns = true;
                    falls = false;
                }
                Operator::Unreachable
                | Operator::Throw { .. }
                | Operator::ThrowRef
                | Operator::Rethrow { .. } => falls = false,
                Operator::If { .. } => {
                    next.nodes.push(parts[at].otherwise.map_or(parts[at].end, |at| at + 1));
                }
                Operator::Else | Operator::Catch { .. } | Operator::CatchAll => {
                    let header = (*open.last()?)?;
                    next.nodes.push(parts[header].end + 1);
                    falls = false;
                }
                _ => {}
            }
            let mut caught = false;
            if may_throw(operator) {
                for landing in scopes.landings() {
                    caught = true;
                    match landing {
                        None => next.returns = true,
                        Some(node) => next.nodes.push(node),
                    }
                }
            }
            if at + 1 == operators.len() {
                class = Class::End;
                next.returns = true;
                falls = false;
            }
            if falls {
                next.nodes.push(at + 1);
            }
            next.nodes.sort_unstable();
            next.nodes.dedup();
            scopes.meet(operator, at, open.len(), &parts, target);
            match operator {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::TryTable { .. }
                | Operator::Try { .. } => open.push(Some(at)),
                Operator::End | Operator::Delegate { .. } => {
                    open.pop();
                }
                _ => {}
            }
            graph.classes.push(class);
            graph.next.push(next);
            graph.caught.push(caught);
        }
        graph.find_live();
        graph.find_chains();
        let last = graph.next.len() - 1;
        graph.returns_at_end_only = (0..last).all(|at| !graph.live[at] || !graph.next[at].returns);
        Some(graph)
    }

    fn find_live(&mut self) {
        let mut work = vec![0];
        while let Some(at) = work.pop() {
            match self.live.get_mut(at) {
                Some(live) if !*live => *live = true,
                _ => continue,
            }
            work.extend_from_slice(&self.next[at].nodes);
        }
    }

    fn find_chains(&mut self) {
        let mut reached = vec![0_u32; self.next.len()];
        // The function is entered at its first instruction.
        reached[0] += 1;
        for (at, next) in self.next.iter().enumerate().filter(|(at, _)| self.live[*at]) {
            for &node in &next.nodes {
                // A way to itself is not the only way either.
                reached[node] += if node == at { 2 } else { 1 };
            }
        }
        let follows = |at: usize| match self.next[at].nodes.as_slice() {
            [one] if !self.next[at].returns && reached[*one] == 1 => Some(*one),
            _ => None,
        };
        let mut heads = vec![true; self.next.len()];
        for at in (0..self.next.len()).filter(|at| self.live[*at]) {
            if let Some(after) = follows(at) {
                heads[after] = false;
            }
        }
        heads[0] = true;
        for head in (0..self.next.len()).filter(|at| self.live[*at] && heads[*at]) {
            let mut at = head;
            let mut members = Vec::new();
            loop {
                self.chains[at] = (self.members.len(), members.len());
                members.push(at);
                match follows(at) {
                    Some(after) if !heads[after] => at = after,
                    _ => break,
                }
            }
            self.members.push(members);
        }
    }

    /// The instructions of a chain.
    pub fn members(&self, chain: usize) -> &[usize] {
        self.members.get(chain).map(Vec::as_slice).unwrap_or_default()
    }

    /// The instruction at an offset.
    pub fn at(&self, offset: u32) -> Option<usize> {
        let place = offset.checked_sub(*self.offsets.first()?)?;
        self.positions.get(place as usize)?.checked_sub(1).map(|at| at as usize)
    }

    /// Whether one instruction is always followed by the other, later one, and
    /// that never reached otherwise.
    pub fn precedes(&self, before: usize, after: usize) -> bool {
        let ((x, from), (y, to)) = (self.chains[before], self.chains[after]);
        x == y && from < to
    }
}

fn class(operator: &Operator<'_>) -> Class {
    use Operator as O;
    match operator {
        O::If { .. } | O::BrIf { .. } | O::BrOnNull { .. } | O::BrOnNonNull { .. } => Class::Branch,
        O::GlobalSet { .. } | O::TableSet { .. } => Class::Writes,
        O::Unreachable => Class::Unreachable,
        O::ReturnCall { .. } | O::ReturnCallIndirect { .. } | O::ReturnCallRef { .. } => {
            Class::TailCall
        }
        _ => Class::Plain,
    }
}

/// Positions by offset, as [`Graph`] has them.
fn positions(operators: &[(Operator<'_>, u32)]) -> Vec<u32> {
    let [(_, first), .., (_, last)] = operators else { return vec![1; operators.len()] };
    let mut positions = vec![0; (last - first) as usize + 1];
    for (position, (_, offset)) in (1..).zip(operators) {
        positions[(offset - first) as usize] = position;
    }
    positions
}

/// Matches each construct with its other parts.
fn parts(operators: &[(Operator<'_>, u32)]) -> Option<Vec<Parts>> {
    let mut parts = vec![Parts::default(); operators.len()];
    let mut open: Vec<Open> = Vec::new();
    for (at, (operator, _)) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. }
            | Operator::Try { .. } => {
                let is_loop = matches!(operator, Operator::Loop { .. });
                let is_if = matches!(operator, Operator::If { .. });
                let is_try = matches!(operator, Operator::Try { .. });
                open.push(Open { start: at, is_loop, is_if, is_try, parts: Parts::default() });
            }
            Operator::Else => {
                let frame = open.last_mut().filter(|frame| frame.is_if && !frame.is_loop)?;
                frame.parts.otherwise = Some(at);
            }
            Operator::Catch { tag_index } => {
                let frame = open.last_mut().filter(|frame| frame.is_try)?;
                frame.parts.clauses.push((Some(*tag_index), at));
            }
            Operator::CatchAll => {
                let frame = open.last_mut().filter(|frame| frame.is_try)?;
                frame.parts.clauses.push((None, at));
            }
            Operator::End | Operator::Delegate { .. } => match open.pop() {
                Some(frame) => {
                    let delegate = match operator {
                        Operator::Delegate { relative_depth } => Some(*relative_depth),
                        _ => None,
                    };
                    parts[frame.start] = Parts { end: at, delegate, ..frame.parts };
                }
                None if at + 1 == operators.len() => {}
                None => return None,
            },
            Operator::BrOnCast { .. } | Operator::BrOnCastFail { .. } => return None,
            _ => {}
        }
    }
    open.is_empty().then_some(parts)
}
