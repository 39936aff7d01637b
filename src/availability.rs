//! What a map makes available, function by function, for reports.

use crate::lockstep::finding::slot_name;
use crate::lockstep::stats::Stats;
use dwarf_map::{FunctionMap, ImageMap, Location};
use oracle_interp::{Module, liveness::Liveness};
use reports::functions::{Heat, steps};
use reports::{Code, FunctionFigures, Lack};

/// The size of an image's code.
pub fn code(map: &ImageMap) -> Code {
    Code { bytes: map.functions.iter().map(code_bytes).sum() }
}

fn code_bytes(function: &FunctionMap) -> u64 {
    u64::from(function.code.end.get().saturating_sub(function.code.start.get()))
}

/// Every function of a map. `owner` says of a position in the map which instance
/// the function is compiled for, and its module.
pub fn functions<'m>(
    map: &ImageMap,
    stats: &Stats,
    owner: impl Fn(usize) -> (u32, &'m Module),
) -> Vec<FunctionFigures> {
    let functions = map.functions.iter().zip(stats.executed()).enumerate();
    functions
        .map(|(position, (function, executed))| {
            let (instance, module) = owner(position);
            let stable = map.producer.stable != aot_backend::StablePoints::Off.name();
            let liveness = Liveness::compute(module, function.func);
            FunctionFigures { instance, ..figures(function, executed, liveness.as_ref(), stable) }
        })
        .collect()
}

/// Whether anything of a function is unavailable.
pub fn lacks(function: &FunctionFigures) -> bool {
    !function.unavailable.is_empty()
        || !function.unanchored.is_empty()
        || function.dead_unavailable > 0
}

fn figures(
    function: &FunctionMap,
    executed: &[u64],
    liveness: Option<&Liveness>,
    stable_points: bool,
) -> FunctionFigures {
    let mut figures = FunctionFigures {
        func: function.func.get(),
        name: function.name.clone(),
        code_bytes: code_bytes(function),
        boundaries: function.boundaries.len() as u64,
        stops: executed.iter().sum(),
        first: function.boundaries.first().map_or(0, |boundary| boundary.offset.get()),
        steps: steps(function.boundaries.iter().map(|boundary| boundary.offset.get())),
        ..FunctionFigures::default()
    };
    let mut heat = Heat::default();
    for (boundary, &count) in function.boundaries.iter().zip(executed) {
        let offset = boundary.offset.get();
        let (mut available, mut live) = (0, 0);
        let mut lack = Lack { offset, ..Lack::default() };
        let mut is_live = liveness.into_iter().flat_map(|l| l.slots(boundary.offset));
        for (slot, location) in boundary.locations.iter().enumerate() {
            // A slot that liveness says nothing of counts as live.
            let alive = is_live.next().unwrap_or(true);
            live += u64::from(alive);
            match location {
                Location::Unavailable(reason) if alive => {
                    let name = slot_name(slot, function.locals.len());
                    lack.slots.insert(name, reason.key().to_string());
                }
                Location::Unavailable(_) => figures.dead_unavailable += 1,
                _ => available += u64::from(alive),
            }
        }
        if boundary.anchor.pc().is_some() {
            heat.add(available, live, count > 0);
        } else {
            heat.add_unanchored();
            figures.unanchored.push(offset);
        }
        figures.live_compared += available * count;
        figures.live_unavailable += (live - available) * count;
        // Where the code never comes by there is nothing to be had.
        if !lack.slots.is_empty() && boundary.anchor.pc().is_some() {
            lack.stable = stable_points && boundary.stable.is_some();
            figures.unavailable.push(lack);
        }
    }
    figures.heat = heat.finish();
    figures
}
