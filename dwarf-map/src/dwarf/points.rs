//! The stretches of code in which a function's slots have known locations.
//!
//! A debugger asks for a variable at an address. Two addresses matter at a
//! boundary: that of its trap instruction (a breakpoint there) and the PC that the
//! processor reports when the trap itself was executed: on x86-64 and s390x the one
//! behind it. So a boundary's locations hold up to there, on x86-64 for
//! `[pc, pc + 2)`, cut short where the next trap begins. Where the anchor is an instruction of the code as
//! it ships, they hold at its first byte only. In an outer frame debuggers look one byte
//! before the return address, so as to find the call instruction: there, and
//! only there, a call site's locations hold.
//!
//! Between two points what both say holds, if the code between them does not
//! change it ([`gaps`]).

use super::quiet::Changes;
use crate::{Anchor, FunctionMap, Isa};
use iced_x86::InstructionInfoFactory;

/// Where the locations of a [`Point`] come from, as a position in the
/// function's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `FunctionMap::boundaries`.
    Boundary(usize),
    /// `FunctionMap::call_sites`.
    CallSite(usize),
}

/// Code `begin..end`, offsets in bytes from the start of the text, in which
/// the locations of one boundary or call site hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// First byte.
    pub begin: u32,
    /// The byte after the last; more than `begin`.
    pub end: u32,
    /// Whose locations hold.
    pub source: Source,
}

/// The points of a function in order of address. They do not overlap and lie
/// in the function's code; anchors elsewhere are left out.
pub fn of(function: &FunctionMap, isa: Isa) -> Vec<Point> {
    let code = function.code.start.get()..function.code.end.get();
    let mut anchors: Vec<(u32, usize, u32)> = Vec::new();
    for (position, boundary) in function.boundaries.iter().enumerate() {
        let reach = match boundary.anchor {
            Anchor::Trap(_) => isa.trap_reported_at() + 1,
            // Reported as what they are, whoever stops there.
            _ => 1,
        };
        if let Some(pc) = boundary.anchor.pc()
            && code.contains(&pc.get())
        {
            anchors.push((pc.get(), position, reach));
        }
    }
    anchors.sort_unstable();
    anchors.dedup_by_key(|(pc, ..)| *pc);
    let mut points = Vec::with_capacity(anchors.len() + function.call_sites.len());
    for (nth, &(begin, position, reach)) in anchors.iter().enumerate() {
        let next = anchors.get(nth + 1).map_or(code.end, |(pc, ..)| *pc);
        let end = begin.saturating_add(reach).min(next);
        points.push(Point { begin, end, source: Source::Boundary(position) });
    }
    let boundaries = points.len();
    for (position, site) in function.call_sites.iter().enumerate() {
        let end = site.return_address.get();
        let Some(begin) = end.checked_sub(1).filter(|begin| code.contains(begin)) else {
            continue;
        };
        let after = points[..boundaries].partition_point(|point| point.begin <= begin);
        let covered = after.checked_sub(1).and_then(|at| points.get(at));
        if covered.is_none_or(|point| point.end <= begin) {
            points.push(Point { begin, end, source: Source::CallSite(position) });
        }
    }
    points.sort_by_key(|point| point.begin);
    points.dedup_by_key(|point| point.begin);
    points
}

/// What the code between each point and the next one changes; `None` where it
/// does not lead from one to the other.
pub fn gaps(
    function: &FunctionMap,
    isa: Isa,
    points: &[Point],
    text: &[u8],
) -> Vec<Option<Changes>> {
    let mut info = InstructionInfoFactory::new();
    let pairs = points.iter().zip(points.iter().skip(1));
    let gap = |(from, to): (&Point, &Point)| {
        let start = match from.source {
            // Behind the trap, which changes nothing.
            Source::Boundary(at) => match function.boundaries.get(at)?.anchor {
                Anchor::Trap(pc) => pc.get().checked_add(1)?,
                _ => from.begin,
            },
            Source::CallSite(_) => from.end,
        };
        let end = match to.source {
            Source::Boundary(_) => to.begin,
            Source::CallSite(_) => to.end,
        };
        Changes::of(isa, text, start..end, function, &mut info)
    };
    pairs.map(gap).collect()
}
