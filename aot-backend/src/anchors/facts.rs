//! What the compiler says of a function, put together for the choice.

use super::choose::{CodeFacts, Found, choose};
use super::sunk::attribute;
use super::tags::Tags;
use super::wasm::Graph;
use crate::lower::Lowered;
use crate::polls::Poll;
use crate::translate::{BoundaryDraft, CallDraft, StableDraft, polled};
use rustc_hash::FxHashMap;
use wasm_view::{Trap, WasmOffset};

/// A trap site: PC, trap and Wasm instruction, if known.
type Site = (u32, Trap, Option<WasmOffset>);

/// Finds the anchors of a compiled function without traps, and corrects the
/// Wasm instructions of its trap sites.
pub(crate) fn find(
    lowered: &Lowered,
    graph: Option<&Graph>,
    tags: &Tags,
    boundaries: &[BoundaryDraft],
    calls: &[CallDraft],
    stable: (&[StableDraft], &[Option<Poll>]),
    traps: &mut [Site],
) -> Vec<Found> {
    let is_access = |(_, trap, offset): &Site| *trap == Trap::MemoryOutOfBounds && offset.is_some();
    let mut accesses: Vec<(u32, u32)> = traps
        .iter()
        .filter(|site| is_access(site))
        .filter_map(|(pc, _, offset)| Some((*pc, (*offset)?.get())))
        .collect();
    let complete = attribute(&lowered.function, &mut accesses);
    let known = traps.iter_mut().filter(|site| is_access(site));
    for ((.., offset), (_, corrected)) in known.zip(&accesses) {
        *offset = Some(WasmOffset::new(*corrected));
    }
    let sites: Vec<(u32, u32)> =
        traps.iter().filter_map(|(pc, _, offset)| Some((*pc, (*offset)?.get()))).collect();
    let placed = |draft: &BoundaryDraft| {
        draft.block.is_none_or(|block| lowered.function.layout.is_block_inserted(block))
    };
    let offsets: Vec<u32> = boundaries.iter().map(|draft| draft.offset.get()).collect();
    let mut found = match graph.filter(|_| complete) {
        Some(graph) => {
            let polled_at = stable.0.iter().map(|draft| offsets.get(draft.boundary as usize));
            let polled_at: Vec<u32> = polled_at.map(|at| at.copied().unwrap_or(u32::MAX)).collect();
            let mut facts = facts(lowered, tags, calls, (sites, &polled_at), graph);
            for (draft, poll) in stable.0.iter().zip(stable.1) {
                let (Some(poll), Some(&offset)) = (poll, offsets.get(draft.boundary as usize))
                else {
                    continue;
                };
                facts.polls.push((poll.looks, offset));
                facts.poll_branches.insert(poll.branch, poll.next);
                // One place of it is enough, and its bytes change when it is armed.
                let within = poll.start as usize..=poll.branch as usize;
                facts.starts.get_mut(within).unwrap_or_default().fill(false);
            }
            choose(graph, &facts, &offsets)
        }
        None => vec![Found::Threaded; offsets.len()],
    };
    // Needed in any case, and what they stand for is known without the rest.
    for (draft, poll) in stable.0.iter().zip(stable.1) {
        if let (Some(poll), Some(found)) = (poll, found.get_mut(draft.boundary as usize)) {
            *found = Found::At(poll.looks);
        }
    }
    for (found, draft) in found.iter_mut().zip(boundaries) {
        if !placed(draft) {
            *found = Found::Eliminated;
        }
    }
    found
}

fn facts<'a>(
    lowered: &'a Lowered,
    tags: &Tags,
    calls: &[CallDraft],
    (sites, polled_at): (Vec<(u32, u32)>, &[u32]),
    graph: &Graph,
) -> CodeFacts<'a> {
    let buffer = &lowered.code.buffer;
    let mut locations: Vec<(u32, u32, u32)> = buffer
        .get_srclocs_sorted()
        .iter()
        .filter(|range| range.start < range.end)
        .map(|range| {
            let polled = polled(range.loc).and_then(|point| polled_at.get(point).copied());
            (range.start, range.end, polled.unwrap_or(range.loc.bits()))
        })
        .collect();
    locations.sort_unstable();
    let returns: FxHashMap<u32, u32> = calls
        .iter()
        .zip(&tags.calls)
        .filter_map(|(draft, address)| Some(((*address)?, draft.offset.get())))
        .collect();
    let may_be_caught =
        |draft: &CallDraft| graph.at(draft.offset.get()).is_some_and(|at| graph.caught[at]);
    let handlers = calls
        .iter()
        .zip(&tags.calls)
        .filter(|(draft, _)| may_be_caught(draft))
        .filter_map(|(draft, address)| {
            let numbers = draft.handlers.iter().map(|handler| handler.number);
            let handlers = numbers.filter_map(|number| tags.handlers.get(&number).copied());
            Some(((*address)?, handlers.collect()))
        })
        .collect();
    let ranges = lowered.code.value_labels_ranges.values().flatten();
    // Some lie behind the last instruction.
    let mut starts = vec![false; buffer.data().len() + 1];
    let mut start = |pc: u32, is_one: bool| {
        if let Some(place) = starts.get_mut(pc as usize) {
            *place = is_one;
        }
    };
    let mut parameters: Option<u32> = None;
    for range in ranges {
        start(range.start, true);
        start(range.end, true);
        parameters = Some(parameters.map_or(range.start, |least| least.min(range.start)));
    }
    // A jump to the next instruction is left out, but the moves in front of it
    // are not.
    for begin in &lowered.code.bb_starts {
        start(*begin, false);
    }
    for (begin, ..) in &locations {
        start(*begin, true);
    }
    CodeFacts {
        code: buffer.data(),
        relocated: buffer.relocs().iter().map(|reloc| reloc.offset).collect(),
        locations,
        traps: sites.into_iter().collect(),
        calls: returns,
        handlers,
        polls: Vec::new(),
        poll_branches: FxHashMap::default(),
        parameters,
        starts,
    }
}
