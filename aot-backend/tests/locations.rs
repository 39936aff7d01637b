//! Where values are: how many have a place, and that the places make sense.

mod support;

use aot_backend::OptLevel;
use dwarf_map::{Anchor, Location, ThunkKind};
use support::{CONTROL, FLOAT_LANES, KERNELS, LANES, VECTOR_MEMORY, VECTORS};
use support::{image, wasm_flow};
use wasm_view::{Cell, Trap, ValType};

/// At opt none, what is live on the Wasm has a location. A figure below 99 %
/// says that instruction selection folds something new. At opt speed most of
/// it has, and nearly all of the rest follows from what has; but a vector that
/// is computed later than the Wasm says follows from nothing, since expressions
/// are of words, nor does a number from a vector.
#[test]
fn live_slots_have_locations() {
    for (name, text) in [
        ("control", CONTROL),
        ("kernels", KERNELS),
        ("vectors", VECTORS),
        ("lanes", LANES),
        ("float lanes", FLOAT_LANES),
        ("vector memory", VECTOR_MEMORY),
    ] {
        for opt in [OptLevel::None, OptLevel::Speed] {
            let image = image(text, opt);
            let live = wasm_flow::liveness(&image.wasm);
            let (mut located, mut derived, mut constant, mut unavailable) =
                (0u32, 0u32, 0u32, 0u32);
            for function in &image.map.functions {
                for boundary in &function.boundaries {
                    let Anchor::Trap(_) = boundary.anchor else {
                        continue;
                    };
                    let live = &live[&boundary.offset.get()];
                    assert_eq!(live.len(), boundary.locations.len(), "at {}", boundary.offset);
                    for (location, _) in boundary.locations.iter().zip(live).filter(|(_, l)| **l) {
                        match location {
                            Location::Register(_) | Location::CfaOffset(_) => located += 1,
                            Location::Derived(_) => derived += 1,
                            Location::Constant(_) => constant += 1,
                            Location::Unavailable(_) => unavailable += 1,
                        }
                    }
                }
            }
            let all = located + derived + constant + unavailable;
            println!(
                "{name} {opt:?}: {all} live slots, {located} located, {derived} derived, \
                 {constant} constant, {unavailable} unavailable"
            );
            if opt == OptLevel::None {
                assert!(unavailable * 100 <= all, "{unavailable} of {all} unavailable");
                assert_eq!(derived, 0);
            } else if ["control", "kernels"].contains(&name) {
                assert!(unavailable * 20 <= all, "{unavailable} of {all} unavailable");
                assert!((located + constant) * 10 >= all * 6, "{derived} of {all} derived");
            }
        }
    }
}

#[test]
fn constants_are_bits() {
    let image = image(
        "(module (func
           i32.const -1 i64.const -2 f32.const -0 f64.const nan:0x4000000000001
           ref.null func nop drop drop drop drop drop))",
        OptLevel::None,
    );
    let nop = &image.map.functions[0].boundaries[5];
    assert_eq!(image.listing.text_at(nop.offset), Some("nop"));
    let constants = [0xffff_ffff, u64::MAX - 1, 0x8000_0000, 0x7ff4_0000_0000_0001, 0];
    let constants = constants.map(|bits| Location::Constant(Cell(bits)));
    assert_eq!(nop.locations, constants);
}

/// A vector constant has a location: its bits, as far as they fit a cell.
#[test]
fn vector_constants_are_their_low_half() {
    let image = image(
        "(module (func (local v128) v128.const i64x2 -2 0 v128.const i64x2 0 1 nop drop drop))",
        OptLevel::None,
    );
    let nop = &image.map.functions[0].boundaries[2];
    assert_eq!(image.listing.text_at(nop.offset), Some("nop"));
    assert_eq!(nop.operands, [ValType::V128; 2]);
    let constant = |bits| Location::Constant(Cell(bits));
    assert_eq!(nop.locations[..2], [constant(0), constant(u64::MAX - 1)]);
    assert!(matches!(nop.locations[2], Location::Unavailable(_)), "{:?}", nop.locations[2]);
}

/// A comparison consumed by a branch has a place at the branch's boundary, in
/// a loop too, where its name is settled only at the loop's end.
#[test]
fn fused_operands_are_kept_alive() {
    let image = image(
        "(module (func (param i32 i32) (local i32)
           (local.set 2 (i32.lt_u (local.get 0) (local.get 1)))
           block
             loop
               local.get 2
               br_if 1
               (br_if 0 (i32.eqz (local.tee 0 (i32.add (local.get 0) (i32.const 1)))))
             end
           end))",
        OptLevel::None,
    );
    for boundary in &image.map.functions[0].boundaries {
        let text = image.listing.text_at(boundary.offset).expect("listed");
        if text.starts_with("br_if") {
            let condition = boundary.locations.last().expect("an operand");
            assert!(
                matches!(condition, Location::Register(_) | Location::CfaOffset(_)),
                "{text} at {}: {condition:?}",
                boundary.offset
            );
        }
    }
}

/// While a callee runs, values are in its caller's frame or in registers that
/// it preserves; arguments are gone from the stack.
#[test]
fn suspended_frames() {
    let image = image(KERNELS, OptLevel::None);
    let pressure = image
        .map
        .functions
        .iter()
        .find(|function| function.name.as_deref() == Some("pressure"))
        .expect("there");
    let [site] = pressure.call_sites.as_slice() else { panic!("one call") };
    assert_eq!(site.locations.len(), pressure.locals.len());
    for location in &site.locations {
        if let Location::Register(register) = location {
            assert!([3, 6, 12, 13, 14, 15].contains(&register.0), "{register:?}");
        }
    }
    let kernel = image.map.functions.iter().find(|f| f.name.as_deref() == Some("kernel"));
    assert_eq!(kernel.expect("there").call_sites.len(), 8);
}

#[test]
fn traps_are_where_wasm_can_trap() {
    let image = image(KERNELS, OptLevel::None);
    let function = image.map.functions.iter().find(|f| f.name.as_deref() == Some("traps"));
    let mut found: Vec<(String, Trap)> = function
        .expect("there")
        .traps
        .iter()
        .map(|site| {
            let text = image.listing.text_at(site.offset).expect("listed");
            (text.split(' ').next().expect("a word").to_owned(), site.trap)
        })
        .collect();
    found.sort_by(|x, y| (&x.0, x.1.code()).cmp(&(&y.0, y.1.code())));
    found.dedup();
    let found: Vec<(&str, Trap)> =
        found.iter().map(|(text, trap)| (text.as_str(), *trap)).collect();
    let expected = [
        ("call_indirect", Trap::UndefinedElement),
        ("call_indirect", Trap::UninitializedElement),
        ("call_indirect", Trap::IndirectCallTypeMismatch),
        ("i32.div_s", Trap::IntegerDivideByZero),
        ("i32.div_s", Trap::IntegerOverflow),
        ("i32.rem_u", Trap::IntegerDivideByZero),
        ("i32.store", Trap::MemoryOutOfBounds),
        ("i32.trunc_f64_s", Trap::IntegerOverflow),
        ("i32.trunc_f64_s", Trap::InvalidConversionToInteger),
        ("i64.div_s", Trap::IntegerDivideByZero),
        ("i64.div_s", Trap::IntegerOverflow),
        ("i64.load", Trap::MemoryOutOfBounds),
        ("i64.trunc_f32_u", Trap::IntegerOverflow),
        ("i64.trunc_f32_u", Trap::InvalidConversionToInteger),
        ("table.get", Trap::TableOutOfBounds),
    ];
    assert_eq!(found, expected);
}

#[test]
fn thunks_and_entries() {
    let image = image(KERNELS, OptLevel::None);
    let kinds: Vec<ThunkKind> = image.map.thunks.iter().map(|thunk| thunk.kind).collect();
    assert!(matches!(kinds[0], ThunkKind::Import(_)));
    // Two of them are asked for by what instantiates the module.
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    for (code, trap) in image
        .map
        .thunks
        .iter()
        .map(|thunk| (&thunk.code, thunk.trap))
        .chain(image.map.entries.iter().map(|entry| (&entry.code, entry.finish)))
    {
        assert!(code.contains(&trap));
        assert_eq!(image.text[trap.get() as usize], 0xcc);
    }
    // One entry per distinct type: (i32 f64) -> i32 of the import included, and
    // that of what instantiates the module.
    assert_eq!(image.map.entries.len(), 9);
    assert!(image.map.layout.counts().argument_cells >= 10);
}
