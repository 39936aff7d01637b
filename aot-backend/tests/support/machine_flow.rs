//! Control flow between traps, from the final bytes alone.
//!
//! From each trap the machine code is followed, both ways at branches, until
//! the next traps. What is found must be what the Wasm says: every edge
//! between boundaries, and no other. That proves that each trap lies on all
//! paths into its boundary and on no other path. Which arm a condition selects
//! it cannot tell; that takes execution.
#![allow(dead_code)] // each user needs a part of it

use super::wasm_flow::{self, Next};
use aot_backend::Image;
use dwarf_map::{Anchor, FunctionMap};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet};

/// Compares every function at opt none; the number of edges, or a difference.
pub fn check(image: &Image) -> Result<usize, String> {
    let mut edges = 0;
    let wasm = wasm_flow::successors(&image.wasm);
    let optimised = image.map.producer.opt != "none";
    for (function, (first, expected)) in image.map.functions.iter().zip(wasm) {
        let code = Machine::new(image, function);
        let mut reached = BTreeSet::new();
        let mut work = Vec::new();
        let mut compare = |from: Option<u32>, pc: u32, expected: &Next| -> Result<(), String> {
            let found = code.follow(pc, expected.table)?;
            // The optimiser may have decided a branch; it cannot invent one.
            let agrees = if optimised {
                found.boundaries.is_subset(&expected.boundaries)
                    && (expected.returns || !found.returns)
            } else {
                found == *expected
            };
            if !agrees {
                let from = from.map_or("entry".to_owned(), |offset| format!("{offset:#x}"));
                return Err(format!(
                    "{} after {from}: expected {expected:x?}, found {found:x?}",
                    function.func
                ));
            }
            edges += found.boundaries.len();
            work.extend(found.boundaries.iter().copied().filter(|&next| reached.insert(next)));
            Ok(())
        };
        let entry = Next { boundaries: [first].into(), ..Next::default() };
        compare(None, function.code.start.get(), &entry)?;
        // Every boundary with a trap is compared, whether execution gets there
        // or not; reachability is looked at afterwards.
        for (&offset, next) in &expected {
            let Some(&pc) = code.pcs.get(&offset) else {
                continue;
            };
            compare(Some(offset), pc + 1, next)?;
        }
        drop(work);
        let reached = reach(first, |offset| match code.pcs.get(&offset) {
            Some(&pc) => {
                let table = expected.get(&offset).map_or(0, |next| next.table);
                code.follow(pc + 1, table).map(|next| next.boundaries).unwrap_or_default()
            }
            None => BTreeSet::new(),
        });
        let in_wasm = reach(first, |offset| {
            expected.get(&offset).map(|next| next.boundaries.clone()).unwrap_or_default()
        });
        for boundary in &function.boundaries {
            let offset = boundary.offset.get();
            let anchored = matches!(boundary.anchor, Anchor::Trap(_));
            if anchored && !optimised && !reached.contains(&offset) {
                return Err(format!("the trap of {offset:#x} is in dead code"));
            }
            if !anchored && !optimised && in_wasm.contains(&offset) {
                return Err(format!("{offset:#x} has no trap, but execution may get there"));
            }
        }
        let listed: BTreeSet<u32> = function.boundaries.iter().map(|b| b.offset.get()).collect();
        let known: BTreeSet<u32> = expected.keys().copied().collect();
        if listed != known {
            return Err(format!("{}: boundaries {listed:x?}, expected {known:x?}", function.func));
        }
    }
    Ok(edges)
}

fn reach(first: u32, next: impl Fn(u32) -> BTreeSet<u32>) -> BTreeSet<u32> {
    let mut reached = BTreeSet::from([first]);
    let mut work = vec![first];
    while let Some(offset) = work.pop() {
        work.extend(next(offset).into_iter().filter(|&next| reached.insert(next)));
    }
    reached
}

struct Machine<'a> {
    text: &'a [u8],
    start: u32,
    end: u32,
    /// Boundary of each trap, and back.
    boundaries: BTreeMap<u32, u32>,
    pcs: BTreeMap<u32, u32>,
}

impl<'a> Machine<'a> {
    fn new(image: &'a Image, function: &FunctionMap) -> Self {
        let traps = function.boundaries.iter().filter_map(|boundary| match boundary.anchor {
            Anchor::Trap(pc) => Some((pc.get(), boundary.offset.get())),
            _ => None,
        });
        let boundaries: BTreeMap<u32, u32> = traps.collect();
        Machine {
            text: &image.text,
            start: function.code.start.get(),
            end: function.code.end.get(),
            pcs: boundaries.iter().map(|(&pc, &offset)| (offset, pc)).collect(),
            boundaries,
        }
    }

    fn decode(&self, pc: u32) -> Instruction {
        let bytes = &self.text[pc as usize..self.end as usize];
        Decoder::with_ip(64, bytes, u64::from(pc), DecoderOptions::NONE).decode()
    }

    /// What is met after `pc`; a jump table on the way has `entries` entries.
    fn follow(&self, pc: u32, entries: usize) -> Result<Next, String> {
        let mut next = Next { table: entries, ..Next::default() };
        let mut seen = BTreeSet::new();
        let mut work = vec![(pc, None)];
        while let Some((mut pc, mut table)) = work.pop() {
            while seen.insert(pc) {
                if pc < self.start || pc >= self.end {
                    return Err(format!("control leaves the function at {pc:#x}"));
                }
                let instruction = self.decode(pc);
                if instruction.code() == Code::Int3 {
                    let Some(&offset) = self.boundaries.get(&pc) else {
                        return Err(format!("a trap at {pc:#x} that is no boundary's"));
                    };
                    next.boundaries.insert(offset);
                    break;
                }
                let target = instruction.near_branch_target() as u32;
                match instruction.flow_control() {
                    FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                        if instruction.mnemonic() == Mnemonic::Lea
                            && instruction.memory_base() == Register::RIP
                        {
                            table = Some(instruction.memory_displacement64() as u32);
                        }
                        pc = instruction.next_ip() as u32;
                    }
                    FlowControl::ConditionalBranch => {
                        work.push((target, table));
                        pc = instruction.next_ip() as u32;
                    }
                    FlowControl::UnconditionalBranch => pc = target,
                    FlowControl::IndirectBranch if instruction.op0_kind() == OpKind::Register => {
                        let table = table.ok_or_else(|| format!("no table for {pc:#x}"))?;
                        work.extend(self.table(table, entries).into_iter().map(|to| (to, None)));
                        break;
                    }
                    FlowControl::Return => {
                        next.returns = true;
                        break;
                    }
                    // ud2
                    FlowControl::Exception if instruction.mnemonic() == Mnemonic::Ud2 => break,
                    other => return Err(format!("{other:?} at {pc:#x}")),
                }
            }
        }
        Ok(next)
    }

    /// Targets of a jump table: displacements from its start.
    fn table(&self, start: u32, entries: usize) -> Vec<u32> {
        let bytes = &self.text[start as usize..self.end as usize];
        let entries = bytes.chunks_exact(4).take(entries);
        entries
            .map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .map(|entry| start.wrapping_add_signed(entry))
            .collect()
    }
}
