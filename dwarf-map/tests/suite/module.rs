//! The rules that hold a map against its module: silent about a good map, and
//! each kind of damage found by the rule made for it.

use crate::fixture;
use dwarf_map::check::{Rule, Violation, check_module};
use dwarf_map::{
    Anchor, BoundaryMap, CallSite, CodeOffset, FunctionMap, ImageMap, Location, Reason, StableKind,
};
use wasm_view::{FuncIdx, TypeIdx, ValType, WasmOffset};

const MODULE: &str = "(module
  (func $f (param i32 externref) (result i32) (local f64)
    block
      local.get 0
      br_if 0
      unreachable
      i32.const 9
      drop
    end
    loop
      i64.const 5
      local.get 0
      local.get 0
      call $g
      br_if 0
      drop
      drop
    end
    ref.func $g
    drop
    local.get 0
    if (result i32)
      i32.const 1
      return
    else
      i32.const 2
    end)
  (func $g (param i32) (result i32)
    local.get 0
    (if (then (return (i32.const 3))))
    memory.size
    memory.grow)
  (memory 1)
  (elem declare func $g))";

/// A boundary: the instruction and its length in the module, what makes it
/// stable, its operands.
type Line = (u32, Option<StableKind>, &'static [ValType]);

fn function(
    func: u32,
    ty: u32,
    start: u32,
    locals: &[ValType],
    params: u32,
    lines: &[Line],
) -> FunctionMap {
    let nowhere = Location::Unavailable(Reason::NoLongerLive);
    let mut at = start;
    let boundaries = lines.iter().enumerate().map(|(number, (length, stable, operands))| {
        let offset = at;
        at += length;
        BoundaryMap {
            offset: WasmOffset::new(offset),
            anchor: Anchor::Trap(CodeOffset::new(100 * func + number as u32)),
            stable: *stable,
            operands: operands.to_vec(),
            locations: vec![nowhere; locals.len() + operands.len()],
        }
    });
    let boundaries: Vec<BoundaryMap> = boundaries.collect();
    FunctionMap {
        func: FuncIdx::new(func),
        ty: TypeIdx::new(ty),
        params,
        body: WasmOffset::new(0)..WasmOffset::new(at),
        locals: locals.to_vec(),
        boundaries,
        call_sites: vec![],
        traps: vec![],
        ..fixture::map().functions[0].clone()
    }
}

fn site(at: &BoundaryMap, slots: usize) -> CallSite {
    CallSite {
        return_address: CodeOffset::new(50),
        offset: at.offset,
        locations: vec![Location::Unavailable(Reason::NoLongerLive); slots],
        handlers: vec![],
    }
}

fn good() -> (ImageMap, Vec<u8>) {
    use StableKind::{Call, Entry, Label, LoopHeader};
    use ValType::{F64, I32, I64};
    let wasm = wat::parse_str(MODULE).expect("a module");
    let bodies: Vec<_> = wasmparser::Parser::new(0)
        .parse_all(&wasm)
        .filter_map(|payload| match payload.expect("well formed") {
            wasmparser::Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        })
        .collect();
    let range = |at: usize| {
        let range = bodies[at].range();
        WasmOffset::new(range.start as u32)..WasmOffset::new(range.end as u32)
    };
    let first = |at: usize| {
        let reader = bodies[at].get_operators_reader().expect("operators");
        reader.original_position() as u32
    };
    let f = function(
        0,
        0,
        first(0),
        &[I32, ValType::EXTERNREF, F64],
        2,
        &[
            (2, Some(Entry), &[]),             // block
            (2, None, &[]),                    // local.get
            (2, None, &[I32]),                 // br_if
            (5, None, &[]),                    // unreachable; 3 dead; end
            (2, Some(Label), &[]),             // loop
            (2, Some(LoopHeader), &[]),        // i64.const
            (2, None, &[I64]),                 // local.get
            (2, None, &[I64, I32]),            // local.get
            (2, Some(Call), &[I64, I32, I32]), // call
            (2, None, &[I64, I32, I32]),       // br_if
            (1, None, &[I64, I32]),            // drop
            (1, None, &[I64]),                 // drop
            (1, None, &[]),                    // end
            (2, None, &[]),                    // ref.func
            (1, None, &[ValType::FUNCREF]),    // drop
            (2, None, &[]),                    // local.get
            (2, None, &[I32]),                 // if
            (2, None, &[]),                    // i32.const
            (2, None, &[I32]),                 // return; else
            (2, None, &[]),                    // i32.const
            (1, None, &[I32]),                 // end
            (1, None, &[I32]),                 // end
        ],
    );
    let g = function(
        1,
        1,
        first(1),
        &[I32],
        1,
        &[
            (2, Some(Entry), &[]), // local.get
            (2, None, &[I32]),     // if
            (2, None, &[]),        // i32.const
            (1, None, &[I32]),     // return
            (1, None, &[]),        // end, not past the then arm
            (2, None, &[]),        // memory.size
            (2, None, &[I32]),     // memory.grow
            (1, None, &[I32]),     // end
        ],
    );
    let mut map = ImageMap { functions: vec![f, g], ..fixture::map() };
    for (at, function) in map.functions.iter_mut().enumerate() {
        function.body = range(at);
    }
    let call = site(&map.functions[0].boundaries[8], 5);
    let grow = site(&map.functions[1].boundaries[6], 1);
    map.functions[0].call_sites.push(call);
    map.functions[1].call_sites.push(grow);
    (map, wasm)
}

#[test]
fn a_good_map_passes() {
    let (map, wasm) = good();
    assert_eq!(check_module(&map, &wasm), []);
    // Calls that the compiler proved unreachable have no site.
    let mut without = map;
    let f = &mut without.functions[0];
    f.boundaries[8].anchor = Anchor::Eliminated;
    f.call_sites.clear();
    assert_eq!(check_module(&without, &wasm), []);
}

#[test]
fn every_damage_is_found_by_its_rule() {
    type Damage = (Rule, &'static str, fn(&mut FunctionMap));
    let damages: &[Damage] = &[
        (Rule::FunctionKnown, "an index of no function", |f| f.func = FuncIdx::new(7)),
        (Rule::FunctionKnown, "another type", |f| f.ty = TypeIdx::new(1)),
        (Rule::FunctionKnown, "a parameter more", |f| f.params = 3),
        (Rule::FunctionKnown, "a local of another type", |f| f.locals[2] = ValType::I64),
        (Rule::FunctionKnown, "a reference of another kind", |f| f.locals[1] = ValType::FUNCREF),
        (Rule::FunctionKnown, "a local less", |f| f.locals.truncate(2)),
        (Rule::FunctionKnown, "a body that ends early", |f| {
            f.body.end = f.boundaries[20].offset;
        }),
        (Rule::BoundaryComplete, "a boundary left out", |f| drop(f.boundaries.remove(6))),
        (Rule::BoundaryComplete, "an end left out", |f| drop(f.boundaries.pop())),
        (Rule::BoundaryComplete, "a boundary in dead code", |f| {
            let mut dead = f.boundaries[3].clone();
            dead.offset = WasmOffset::new(dead.offset.get() + 1);
            f.boundaries.insert(4, dead);
        }),
        (Rule::BoundaryComplete, "a boundary within an instruction", |f| {
            let offset = &mut f.boundaries[6].offset;
            *offset = WasmOffset::new(offset.get() + 1);
        }),
        (Rule::OperandTypes, "an operand forgotten", |f| f.boundaries[9].operands.truncate(2)),
        (Rule::OperandTypes, "an operand too many", |f| {
            f.boundaries[0].operands.push(ValType::I32);
        }),
        (Rule::OperandTypes, "two operands swapped", |f| f.boundaries[10].operands.swap(0, 1)),
        (Rule::OperandTypes, "a reference of another hierarchy", |f| {
            f.boundaries[14].operands[0] = ValType::EXTERNREF;
        }),
        (Rule::StableComplete, "no loop header", |f| f.boundaries[5].stable = None),
        (Rule::StableComplete, "no label", |f| f.boundaries[4].stable = None),
        (Rule::StableComplete, "a call that is none", |f| f.boundaries[8].stable = None),
        (Rule::StableComplete, "an end nobody branches to", |f| {
            f.boundaries[21].stable = Some(StableKind::Label);
        }),
        (Rule::StableComplete, "a label called a loop header", |f| {
            f.boundaries[4].stable = Some(StableKind::LoopHeader);
        }),
        (Rule::CallComplete, "a call without site", |f| f.call_sites.clear()),
        (Rule::CallComplete, "a call by `drop`", |f| {
            f.call_sites[0].offset = f.boundaries[10].offset
        }),
        (Rule::CallComplete, "an argument among what remains", |f| {
            f.call_sites[0].locations.push(Location::Unavailable(Reason::Folded));
        }),
        (Rule::CallComplete, "an operand forgotten at a call", |f| {
            f.call_sites[0].locations.truncate(4);
        }),
    ];
    let rule = |violation: &Violation| violation.rule;
    for (expected, what, damage) in damages {
        let (mut map, wasm) = good();
        damage(&mut map.functions[0]);
        let found = check_module(&map, &wasm);
        assert!(
            found.iter().any(|it| rule(it) == *expected),
            "{what}: expected {expected}, found {found:#?}"
        );
    }
    let (mut map, wasm) = good();
    map.functions.pop();
    assert_eq!(
        check_module(&map, &wasm).iter().map(rule).collect::<Vec<_>>(),
        [Rule::FunctionKnown]
    );
    let (map, mut wasm) = good();
    wasm.truncate(wasm.len() - 3);
    assert!(check_module(&map, &wasm).iter().any(|it| rule(it) == Rule::ModuleReadable));
}
