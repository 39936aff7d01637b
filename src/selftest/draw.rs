//! Drawing faults by a seed, so that they spread.
//!
//! Drawn blindly, nine faults in ten would hit an `i32.add` or a `local.get`.
//! So a fault is drawn in two steps: first what has been drawn least so far
//! (kind of fault, Wasm instruction, function), then by chance among what is
//! left. Only boundaries that execution comes to are considered, and only
//! faults that can be put there.

use super::prepare::Prepared;
use crate::inject::{CodeFault, Fault, displaced, instructions_of, mutate};
use crate::lockstep::plan::BoundaryId;
use corpus::SplitMix64;
use dwarf_map::Location;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use wasm_view::{FuncIdx, SlotIdx, WasmOffset};

/// The sort of location that a map fault displaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceKind {
    /// A general register.
    Register,
    /// A vector register.
    Vector,
    /// A place in the frame.
    Frame,
    /// No place but a constant.
    Constant,
    /// No place but an expression.
    Derived,
}

impl PlaceKind {
    const ALL: [PlaceKind; 5] = [
        PlaceKind::Register,
        PlaceKind::Frame,
        PlaceKind::Vector,
        PlaceKind::Constant,
        PlaceKind::Derived,
    ];

    fn of(location: Location) -> Option<PlaceKind> {
        match location {
            Location::Register(reg) if reg.0 < 16 => Some(PlaceKind::Register),
            Location::Register(_) => Some(PlaceKind::Vector),
            Location::CfaOffset(_) => Some(PlaceKind::Frame),
            Location::Constant(_) => Some(PlaceKind::Constant),
            Location::Derived(_) => Some(PlaceKind::Derived),
            Location::Unavailable(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            PlaceKind::Register => "map:register",
            PlaceKind::Vector => "map:vector",
            PlaceKind::Frame => "map:frame",
            PlaceKind::Constant => "map:constant",
            PlaceKind::Derived => "map:derived",
        }
    }
}

/// A fault that was drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The fault, as `--inject` takes it.
    pub fault: Fault,
    /// Its row in the table.
    pub kind: String,
    /// The boundary that it is about.
    pub at: BoundaryId,
    /// For a map fault, the wrong location.
    pub wrong: Option<Location>,
}

/// One fault that could be drawn.
struct Choice<K> {
    at: BoundaryId,
    kind: K,
    slot: SlotIdx,
    wrong: Option<Location>,
}

/// What has been drawn, and the source of chance.
pub struct Draw {
    chance: SplitMix64,
    drawn: BTreeMap<String, u64>,
    done: HashSet<(String, String)>,
}

impl Draw {
    /// A drawer whose choices the seed determines.
    pub fn new(seed: u64) -> Draw {
        Draw { chance: SplitMix64::new(seed), drawn: BTreeMap::new(), done: HashSet::new() }
    }

    /// Puts a list into an order of chance.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.chance.below(last + 1));
        }
    }

    /// Draws a code fault; `None` when the program has none left.
    pub fn code(&mut self, prepared: &Prepared) -> Option<Drawn> {
        let mut options = Vec::new();
        for at in executed(prepared) {
            let (func, offset) = place(prepared, at);
            let Ok(instructions) = instructions_of(&prepared.image, func, offset) else { continue };
            for kind in CodeFault::ALL {
                if instructions.iter().any(|instruction| mutate(instruction, kind).is_some()) {
                    options.push(Choice { at, kind, slot: SlotIdx::new(0), wrong: None });
                }
            }
        }
        let kind_name = |kind: CodeFault| format!("code:{}", kind.name());
        self.one_of(prepared, options, &CodeFault::ALL, kind_name, |option, func, offset| {
            Fault::Code { func, offset, kind: option.kind }
        })
    }

    /// Draws a map fault; `None` when the program has none left.
    pub fn map(&mut self, prepared: &Prepared) -> Option<Drawn> {
        let mut options = Vec::new();
        for at in executed(prepared) {
            let function = &prepared.image.map.functions[at.function as usize];
            let locations = &function.boundaries[at.index as usize].locations;
            for (slot, location) in locations.iter().enumerate() {
                if let (Some(kind), wrong @ Some(_)) =
                    (PlaceKind::of(*location), displaced(*location, &function.expressions))
                {
                    options.push(Choice { at, kind, slot: SlotIdx::from_index(slot), wrong });
                }
            }
        }
        let kind_name = |kind: PlaceKind| kind.name().to_string();
        self.one_of(prepared, options, &PlaceKind::ALL, kind_name, |option, func, offset| {
            Fault::Map { func, offset, slot: option.slot }
        })
    }

    fn one_of<K: Copy + PartialEq>(
        &mut self,
        prepared: &Prepared,
        mut options: Vec<Choice<K>>,
        kinds: &[K],
        kind_name: impl Fn(K) -> String,
        fault: impl Fn(&Choice<K>, FuncIdx, WasmOffset) -> Fault,
    ) -> Option<Drawn> {
        let program = &prepared.candidate.name;
        options.retain(|option| {
            let (func, offset) = place(prepared, option.at);
            let key = (program.clone(), fault(option, func, offset).to_string());
            !self.done.contains(&key)
        });
        let present: Vec<K> =
            kinds.iter().copied().filter(|k| options.iter().any(|o| o.kind == *k)).collect();
        let kind = self.least(present, |kind| kind_name(*kind))?;
        options.retain(|option| option.kind == kind);
        // An instruction counts per sort of fault: the two draws do not compete.
        let sort = kind_name(kind).split(':').next().unwrap_or_default().to_string();
        let instruction =
            |option: &Choice<K>| format!("{sort} {}", instruction(prepared, option.at));
        let names: BTreeSet<String> = options.iter().map(instruction).collect();
        let name = self.least(names.into_iter().collect(), Clone::clone)?;
        options.retain(|option| instruction(option) == name);
        let functions: BTreeSet<u32> = options.iter().map(|option| option.at.function).collect();
        let in_program = |function: &u32| format!("{sort} {program} {function}");
        let function = self.least(functions.into_iter().collect(), in_program)?;
        options.retain(|option| option.at.function == function);
        let option = options.get(self.chance.below(options.len()))?;
        let (func, offset) = place(prepared, option.at);
        let fault = fault(option, func, offset);
        self.done.insert((program.clone(), fault.to_string()));
        Some(Drawn { fault, kind: kind_name(kind), at: option.at, wrong: option.wrong })
    }

    /// One of those that were drawn least, and counts it.
    fn least<T>(&mut self, mut list: Vec<T>, name: impl Fn(&T) -> String) -> Option<T> {
        let count = |drawn: &BTreeMap<String, u64>, item: &T| {
            drawn.get(&name(item)).copied().unwrap_or_default()
        };
        let least = list.iter().map(|item| count(&self.drawn, item)).min()?;
        list.retain(|item| count(&self.drawn, item) == least);
        let one = list.swap_remove(self.chance.below(list.len()));
        *self.drawn.entry(name(&one)).or_default() += 1;
        Some(one)
    }
}

/// The boundaries that were executed, each once.
fn executed(prepared: &Prepared) -> impl Iterator<Item = BoundaryId> {
    let all: BTreeSet<(u32, u32)> =
        prepared.trace.iter().map(|id| (id.function, id.index)).collect();
    all.into_iter().map(|(function, index)| BoundaryId { function, index })
}

fn place(prepared: &Prepared, at: BoundaryId) -> (FuncIdx, WasmOffset) {
    let function = &prepared.image.map.functions[at.function as usize];
    (function.func, function.boundaries[at.index as usize].offset)
}

/// The instruction's name in the text format.
pub fn instruction(prepared: &Prepared, at: BoundaryId) -> String {
    let (_, offset) = place(prepared, at);
    let text = prepared.image.listing.text_at(offset).unwrap_or_default();
    text.split_whitespace().next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_least_comes_next() {
        for seed in 0..20 {
            let mut draw = Draw::new(seed);
            let mut seen: Vec<&str> = (0..6)
                .filter_map(|_| draw.least(vec!["a", "b", "c"], |name| (*name).to_string()))
                .collect();
            seen[..3].sort_unstable();
            seen[3..].sort_unstable();
            assert_eq!(seen, ["a", "b", "c", "a", "b", "c"]);
        }
        assert_eq!(Draw::new(0).least(Vec::<u8>::new(), ToString::to_string), None);
    }

    #[test]
    fn the_seed_determines_the_order() {
        let order = |seed| {
            let mut list: Vec<u32> = (0..50).collect();
            Draw::new(seed).shuffle(&mut list);
            list
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50));
    }
}
