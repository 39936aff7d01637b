//! Drawing faults by a seed, so that they spread.
//!
//! Drawn blindly, nine faults in ten would hit an `i32.add` or a `local.get`.
//! So a fault is drawn in two steps: first what has been drawn least so far
//! (kind of fault, Wasm instruction, function), then by chance among what is
//! left. Only boundaries that execution comes to are considered, and only
//! faults that can be put there.

use super::prepare::Prepared;
use crate::error::CommandError;
use crate::inject::code::{CodeFault, mutate};
use crate::inject::map::{BoundaryFault, anchored_after, displaced, frame_size};
use crate::inject::stable::StableFault;
use crate::inject::{Fault, instructions_of};
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

/// A fault that leaves the code as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MapFault {
    /// A slot is said to be elsewhere.
    Place(PlaceKind),
    /// An anchor is wrong.
    Boundary(BoundaryFault),
    /// Frames are found in the wrong place.
    Frame,
    /// A stable point is wrong.
    Stable(StableFault),
}

impl MapFault {
    const ALL: [MapFault; 12] = [
        MapFault::Place(PlaceKind::Register),
        MapFault::Place(PlaceKind::Frame),
        MapFault::Place(PlaceKind::Vector),
        MapFault::Place(PlaceKind::Constant),
        MapFault::Place(PlaceKind::Derived),
        MapFault::Boundary(BoundaryFault::Missing),
        MapFault::Boundary(BoundaryFault::Swapped),
        MapFault::Frame,
        MapFault::Stable(StableFault::Dropped),
        MapFault::Stable(StableFault::Unpolled),
        MapFault::Stable(StableFault::Missing),
        MapFault::Stable(StableFault::Poll),
    ];

    /// Its row in the table.
    fn name(self) -> String {
        match self {
            MapFault::Place(place) => place.name().to_owned(),
            MapFault::Boundary(kind) => format!("boundary:{}", kind.name()),
            MapFault::Frame => "frame:cfa".to_owned(),
            MapFault::Stable(kind) => format!("stable:{}", kind.name()),
        }
    }

    fn fault(self, func: FuncIdx, offset: WasmOffset, slot: SlotIdx) -> Fault {
        match self {
            MapFault::Place(_) => Fault::Map { func, offset, slot },
            MapFault::Boundary(kind) => Fault::Boundary { func, offset, kind },
            MapFault::Frame => Fault::Frame { func, offset },
            MapFault::Stable(kind) => Fault::Stable { func, offset, kind },
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

impl Drawn {
    /// A fault that was named, not drawn.
    ///
    /// # Errors
    /// Faults that nobody can judge: a location that is taken away is no wrong one, and a
    /// cold path that nobody takes has no effect.
    pub fn given(prepared: &Prepared, fault: Fault) -> Result<Drawn, CommandError> {
        let unjudged = || {
            CommandError::unsupported(format_args!("{fault}: there is no judge for such faults"))
        };
        let functions = &prepared.image.map.functions;
        let found = fault.place().and_then(|(func, offset)| {
            let function = functions.iter().position(|function| function.func == func)?;
            let boundaries = &functions[function].boundaries;
            let index = boundaries.iter().position(|boundary| boundary.offset == offset)?;
            Some(BoundaryId { function: function as u32, index: index as u32 })
        });
        let at = found.ok_or_else(unjudged)?;
        let function = &functions[at.function as usize];
        let mut wrong = None;
        let kind = match fault {
            Fault::Code { kind, .. } => format!("code:{}", kind.name()),
            Fault::Boundary { kind, .. } => MapFault::Boundary(kind).name(),
            Fault::Frame { .. } => MapFault::Frame.name(),
            Fault::Stable { kind, .. } if MapFault::ALL.contains(&MapFault::Stable(kind)) => {
                MapFault::Stable(kind).name()
            }
            Fault::Map { slot, .. } => {
                let locations = &function.boundaries[at.index as usize].locations;
                let right = locations.get(slot.index()).copied().ok_or_else(unjudged)?;
                wrong = displaced(right, &function.expressions);
                PlaceKind::of(right).ok_or_else(unjudged)?.name().to_owned()
            }
            _ => return Err(unjudged()),
        };
        Ok(Drawn { fault, kind, at, wrong })
    }
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
        for &at in &prepared.executed {
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

    /// Draws a fault that leaves the code as it is; `None` when the program has none left.
    pub fn map(&mut self, prepared: &Prepared) -> Option<Drawn> {
        let mut options = Vec::new();
        let mut frames = BTreeMap::new();
        for &at in &prepared.executed {
            let (func, offset) = place(prepared, at);
            let function = &prepared.image.map.functions[at.function as usize];
            let boundary = &function.boundaries[at.index as usize];
            for (slot, location) in boundary.locations.iter().enumerate() {
                if let (Some(kind), wrong @ Some(_)) =
                    (PlaceKind::of(*location), displaced(*location, &function.expressions))
                {
                    let (kind, slot) = (MapFault::Place(kind), SlotIdx::from_index(slot));
                    options.push(Choice { at, kind, slot, wrong });
                }
            }
            let mut possible = |kind: MapFault, is: bool| {
                let slot = SlotIdx::new(0);
                options.extend(is.then_some(Choice { at, kind, slot, wrong: None }));
            };
            possible(MapFault::Boundary(BoundaryFault::Missing), true);
            let next = anchored_after(&prepared.image, func, offset);
            possible(MapFault::Boundary(BoundaryFault::Swapped), next.is_some());
            let has_frame =
                frames.entry(func).or_insert_with(|| frame_size(&prepared.image, func).is_some());
            possible(MapFault::Frame, *has_frame);
            if let Some(point) = function.stable_point(offset) {
                possible(MapFault::Stable(StableFault::Dropped), true);
                possible(MapFault::Stable(StableFault::Unpolled), true);
                possible(MapFault::Stable(StableFault::Missing), !point.slots.is_empty());
                possible(MapFault::Stable(StableFault::Poll), !point.armed.is_empty());
            }
        }
        let fault =
            |option: &Choice<MapFault>, func, offset| option.kind.fault(func, offset, option.slot);
        self.one_of(prepared, options, &MapFault::ALL, MapFault::name, fault)
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
        // An instruction counts per sort of fault: the draws do not compete.
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
