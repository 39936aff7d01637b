//! Every boundary has a trap that all paths into it execute and no other path.

mod support;

use aot_backend::{CompileOptions, CpuSpec, OptLevel, StablePoints, compile};
use dwarf_map::{Anchor, CodeOffset, Location, StableKind};
use support::{CONTROL, FLOAT_LANES, KERNELS, LANES, VECTOR_MEMORY, VECTORS};
use support::{image, machine_flow, options, problems, wasm, wasm_flow};

#[test]
fn nothing_is_wrong_with_any_image() {
    for text in [CONTROL, KERNELS, VECTORS, LANES, FLOAT_LANES, VECTOR_MEMORY] {
        for opt in [OptLevel::None, OptLevel::Speed] {
            for cpu in [CpuSpec::Baseline, CpuSpec::Native] {
                for (debug_info, stable) in [
                    (false, StablePoints::Off),
                    (true, StablePoints::Off),
                    (false, StablePoints::Calls),
                    (true, StablePoints::Labels),
                ] {
                    let mut options = options(opt, cpu.clone());
                    (options.debug_info, options.stable) = (debug_info, stable);
                    let image = compile(&wasm(text), &options).expect("compiles");
                    assert_eq!(problems::of(&image), Vec::<String>::new(), "{options:?}");
                }
            }
        }
    }
}

/// The comparison of control flow notices when a trap is moved to another
/// path, and when there is one too few.
#[test]
fn a_misplaced_trap_is_noticed() {
    let good = image(CONTROL, OptLevel::None);
    assert!(machine_flow::check(&good).expect("agrees") > 200);
    let mut swapped = good.clone();
    let function = swapped
        .map
        .functions
        .iter_mut()
        .find(|function| function.name.as_deref() == Some("if-empty-both"))
        .expect("there");
    let anchors: Vec<Anchor> = function.boundaries.iter().map(|b| b.anchor).collect();
    // local.get, if, else, end, end: one arm's only boundary and the join.
    function.boundaries[3].anchor = anchors[4];
    function.boundaries[4].anchor = anchors[3];
    assert!(machine_flow::check(&swapped).is_err());

    let mut missing = good;
    let Some(Anchor::Trap(pc)) = missing.map.functions[0].boundaries.first().map(|b| b.anchor)
    else {
        panic!("the first boundary has a trap");
    };
    missing.text[pc.get() as usize] = 0x90;
    assert!(machine_flow::check(&missing).is_err());
}

/// What the validator calls reachable but no path leads to is eliminated; what
/// it calls unreachable has no boundary at all.
#[test]
fn unreachable_code() {
    let image = image(
        "(module
           (func (result i32) loop br 0 end i32.const 1)
           (func (param i32) block br 0 local.get 0 drop block nop end end)
           (func block unreachable end nop))",
        OptLevel::None,
    );
    let shape = |index: usize| -> Vec<bool> {
        let boundaries = image.map.functions[index].boundaries.iter();
        boundaries.map(|b| matches!(b.anchor, Anchor::Trap(_))).collect()
    };
    // loop, br | i32.const, end
    assert_eq!(shape(0), [true, true, false, false]);
    // block, br, final end: nothing of what follows the branch
    assert_eq!(shape(1), [true, true, true]);
    // block, unreachable | nop, end
    assert_eq!(shape(2), [true, true, false, false]);
}

#[test]
fn stable_points() {
    let image = image(
        "(module
           (func $f (param i32)
             block
               loop
                 local.get 0
                 br_if 1
                 call $g
                 br 0
               end
             end
             call $g
             call $g
             block nop end
             nop)
           (func $g))",
        OptLevel::None,
    );
    let function = &image.map.functions[0];
    let stable: Vec<(&str, Option<StableKind>)> = function
        .boundaries
        .iter()
        .map(|b| (image.listing.text_at(b.offset).expect("listed"), b.stable))
        .collect();
    use StableKind::{Call, Entry, Label, LoopHeader};
    let expected = [
        ("block", Some(Entry)),
        ("loop", None),
        ("local.get 0", Some(LoopHeader)),
        ("br_if 1 (;@1;)", None),
        ("call $g", Some(Call)),
        ("br 0 (;@2;)", None),
        // Nothing falls out of the loop, so its `end` and the block's are
        // reachable for the validator only where it says so.
        ("end", None),
        ("call $g", Some(Label)),
        ("call $g", Some(Call)),
        ("block", None),
        ("nop", None),
        ("end", None),
        ("nop", None),
        ("end", None),
    ];
    assert_eq!(stable, expected);
}

/// Everything that the choice has is polled at, everything live is stored, and
/// nothing that is live at a poll or across a call lacks a location.
#[test]
fn stable_points_store_what_is_live() {
    let text = wasm(KERNELS);
    let live = wasm_flow::liveness(&text);
    for opt in [OptLevel::None, OptLevel::Speed] {
        let mut before = 0;
        for stable in StablePoints::ALL {
            let options = CompileOptions { opt, stable, ..CompileOptions::default() };
            let image = compile(&text, &options).expect("compiles");
            let mut points = 0;
            for function in &image.map.functions {
                points += function.stable_points.len();
                for boundary in &function.boundaries {
                    let Some(point) = function.stable_point(boundary.offset) else { continue };
                    assert!(boundary.stable.is_some_and(|kind| stable.has(kind)));
                    for (slot, live) in live[&boundary.offset.get()].iter().enumerate() {
                        let stored = point.slots.iter().any(|(each, _)| each.index() == slot);
                        assert!(stored || !live, "slot {slot} at {}", boundary.offset);
                        let lost = matches!(boundary.locations[slot], Location::Unavailable(_));
                        assert!(!(lost && *live), "slot {slot} at {}", boundary.offset);
                    }
                }
            }
            assert!(points > before || stable == StablePoints::Off, "{stable:?}: {points}");
            before = points;
        }
    }
}

#[test]
fn traps_follow_each_other_in_code_order_within_straight_lines() {
    let image = image("(module (func nop nop nop))", OptLevel::Speed);
    let pcs: Vec<CodeOffset> = image.map.functions[0]
        .boundaries
        .iter()
        .map(|b| match b.anchor {
            Anchor::Trap(pc) => pc,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pcs.len(), 4);
    assert!(pcs.is_sorted());
}
