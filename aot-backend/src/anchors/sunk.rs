//! Which Wasm instruction a fault belongs to, where a load became an operand.
//!
//! Instruction selection makes a load part of the only instruction that uses
//! it, and the code then has that instruction's source location. But the fault
//! is the load's. A load for which no entry of the table of traps is left under its
//! own location is found in the instruction that uses it, perhaps through others that
//! went into the same one.

use crate::abi::trap_of;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Function, Inst};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use wasm_view::Trap;

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

/// An access that may fault, and the instruction for which it is emitted: itself, or
/// one that it became part of.
#[derive(Clone, Copy)]
struct Claim {
    access: Inst,
    part_of: Inst,
    /// Instructions between the two, and this one.
    steps: usize,
}

/// Corrects the Wasm instruction of each site of an access out of bounds, given by PC
/// in ascending order. Answers whether every access was found.
///
/// Each access claims a site of its own location. Where there are more of them than
/// sites, one is a load that went into what uses it. That may be part of an access
/// itself, as where `i64.load` extends an address that was loaded: then there are sites
/// of one location for both, told apart by their order, as code is emitted in the order
/// of what it is emitted for.
pub(crate) fn attribute(function: &Function, sites: &mut [(u32, u32)]) -> bool {
    let accesses = Accesses::of(function);
    let mut located: FxHashMap<u32, SmallVec<[usize; 2]>> = FxHashMap::default();
    for (number, (_, offset)) in sites.iter().enumerate() {
        located.entry(*offset).or_default().push(number);
    }
    let mut claims: BTreeMap<u32, SmallVec<[Claim; 1]>> = BTreeMap::new();
    for &access in &accesses.all {
        let claim = Claim { access, part_of: access, steps: 0 };
        claims.entry(accesses.location(access)).or_default().push(claim);
    }
    let mut crowded: Vec<u32> = claims.keys().copied().collect();
    while let Some(offset) = crowded.pop() {
        let room = located.get(&offset).map_or(0, SmallVec::len);
        let Some(here) = claims.get_mut(&offset).filter(|here| here.len() > room) else { continue };
        // Rather what has not moved yet, the last of it.
        let movable = here.iter().enumerate().filter_map(|(at, claim)| {
            let next = accesses.next(*claim, |offset| located.contains_key(&offset))?;
            Some(((claim.steps, std::cmp::Reverse(accesses.places[claim.part_of])), at, next))
        });
        let Some((_, at, next)) = movable.min_by_key(|(order, ..)| *order) else { continue };
        here.remove(at);
        let there = accesses.location(next.part_of);
        claims.entry(there).or_default().push(next);
        crowded.extend([offset, there]);
    }
    let mut complete = true;
    for (offset, mut claims) in claims {
        if claims.len() > 1 {
            // An access whose operand was read from the same place is one with that.
            let taken_up: FxHashSet<Inst> =
                claims.iter().filter(|claim| claim.steps > 0).map(|claim| claim.part_of).collect();
            claims.retain(|claim| claim.steps > 0 || !taken_up.contains(&claim.access));
            claims.sort_by_key(|claim| accesses.order(claim));
        }
        let own = located.get(&offset).map_or(&[][..], SmallVec::as_slice);
        match claims.as_slice() {
            [] => {}
            [claim] => {
                complete &= !own.is_empty();
                own.iter().for_each(|&site| sites[site].1 = accesses.location(claim.access));
            }
            // Nobody knows which is whose.
            _ if own.len() != claims.len() => complete = false,
            _ => {
                for (&site, claim) in own.iter().zip(&claims) {
                    sites[site].1 = accesses.location(claim.access);
                }
            }
        }
    }
    complete
}

/// The accesses of a function that may fault, and what uses them.
struct Accesses<'a> {
    function: &'a Function,
    all: Vec<Inst>,
    places: SecondaryMap<Inst, usize>,
    users: SecondaryMap<Inst, Users>,
}

/// How often what an instruction computes is used.
#[derive(Clone, Copy, Default)]
enum Users {
    #[default]
    None,
    /// Once, by this one.
    One(Inst),
    More,
}

impl<'a> Accesses<'a> {
    fn of(function: &'a Function) -> Accesses<'a> {
        let insts = function.dfg.num_insts();
        let mut found = Accesses {
            function,
            all: Vec::new(),
            places: SecondaryMap::with_capacity(insts),
            users: SecondaryMap::with_capacity(insts),
        };
        let blocks = function.layout.blocks();
        for (place, inst) in blocks.flat_map(|block| function.layout.block_insts(block)).enumerate()
        {
            found.places[inst] = place;
            for value in function.dfg.inst_values(inst) {
                let value = function.dfg.resolve_aliases(value);
                if let Some(definition) = function.dfg.value_def(value).inst() {
                    let users = &mut found.users[definition];
                    *users = match users {
                        Users::None => Users::One(inst),
                        Users::One(_) | Users::More => Users::More,
                    };
                }
            }
            let code = match found.is_access(inst) {
                true => function.dfg.insts[inst].memflags_trap_code(&function.dfg),
                false => function.dfg.insts[inst].trap_code(),
            };
            if code.and_then(trap_of) == Some(Trap::MemoryOutOfBounds) {
                found.all.push(inst);
            }
        }
        found
    }

    fn location(&self, inst: Inst) -> u32 {
        self.function.srcloc(inst).bits()
    }

    /// Whether it reads or writes; a check for it only branches.
    fn is_access(&self, inst: Inst) -> bool {
        let opcode = self.function.dfg.insts[inst].opcode();
        opcode.can_load() || opcode.can_store()
    }

    /// The order of the sites: those of checks lie behind the function's code.
    fn order(&self, claim: &Claim) -> (bool, usize) {
        (!self.is_access(claim.access), self.places[claim.part_of])
    }

    /// A load as part of the next instruction that uses it and has another location,
    /// one that has sites.
    fn next(&self, claim: Claim, has_sites: impl Fn(u32) -> bool) -> Option<Claim> {
        if !self.is_access(claim.access)
            || !self.function.dfg.insts[claim.access].opcode().can_load()
        {
            return None;
        }
        let from = self.location(claim.part_of);
        let Claim { access, mut part_of, mut steps } = claim;
        while steps < MOST_STEPS {
            // What was read by another access cannot have been part of it.
            if part_of != access && self.is_access(part_of) {
                return None;
            }
            let Users::One(user) = self.users[part_of] else { return None };
            part_of = user;
            steps += 1;
            let location = self.location(part_of);
            if location != from && has_sites(location) {
                return Some(Claim { access, part_of, steps });
            }
        }
        None
    }
}
