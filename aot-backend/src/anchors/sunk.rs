//! Which Wasm instruction a fault belongs to, where a load became an operand.
//!
//! Instruction selection makes a load part of the only instruction that uses
//! it, and the code then has that instruction's source location. But the fault
//! is the load's. A load that may fault and has no entry in the table of traps
//! under its own location is found in the instruction that uses it, perhaps
//! through others that went into the same one.

use cranelift_codegen::ir::{Function, Inst};
use std::collections::{HashMap, HashSet};

/// Gives instructions that the mid-end made, and that have no source location, the
/// one of what they compute with: a load may become part of them.
pub(crate) fn locate(function: &mut Function) {
    let blocks: Vec<_> = function.layout.blocks().collect();
    for block in blocks {
        let insts: Vec<Inst> = function.layout.block_insts(block).collect();
        for inst in insts {
            if !function.srcloc(inst).is_default() {
                continue;
            }
            let arguments = function.dfg.inst_args(inst).iter();
            let definitions = arguments.filter_map(|&value| {
                let value = function.dfg.resolve_aliases(value);
                let from = function.dfg.value_def(value).inst()?;
                (function.layout.inst_block(from) == Some(block)).then_some(from)
            });
            let known = definitions.filter(|from| !function.srcloc(*from).is_default());
            // Of several a load, which can go wrong.
            let known = known.max_by_key(|from| function.dfg.insts[*from].opcode().can_load());
            if let Some(from) = known {
                function.set_srcloc(inst, function.srcloc(from));
            }
        }
    }
}

/// Instructions between a load and the one it became part of.
const MOST_STEPS: usize = 6;

/// Corrects the Wasm instruction of each trap site, given by PC. Answers
/// whether every load was found.
pub(crate) fn attribute(function: &Function, sites: &mut [(u32, u32)]) -> bool {
    let named: HashSet<u32> = sites.iter().map(|(_, offset)| *offset).collect();
    let location = |inst: Inst| function.srcloc(inst).bits();
    let mut users: HashMap<Inst, Vec<Inst>> = HashMap::new();
    let mut lost = Vec::new();
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            for value in function.dfg.inst_values(inst) {
                let value = function.dfg.resolve_aliases(value);
                if let Some(definition) = function.dfg.value_def(value).inst() {
                    users.entry(definition).or_default().push(inst);
                }
            }
            let data = &function.dfg.insts[inst];
            if data.opcode().can_load()
                && data.memflags_trap_code(&function.dfg).is_some()
                && !named.contains(&location(inst))
            {
                lost.push(inst);
            }
        }
    }
    let mut complete = true;
    for load in lost {
        let mut at = load;
        let found = (0..MOST_STEPS).find_map(|_| {
            at = match users.get(&at).map(Vec::as_slice) {
                Some([user]) => *user,
                _ => return None,
            };
            named.contains(&location(at)).then(|| location(at))
        });
        let sites = sites.iter_mut().filter(|(_, offset)| Some(*offset) == found);
        let mut any = false;
        for (_, offset) in sites {
            *offset = location(load);
            any = true;
        }
        complete &= any;
    }
    complete
}
