//! Liveness on small functions, slot by slot.

use oracle_interp::{Liveness, Module};
use wasm_view::FuncIdx;

/// Liveness of function 0 of a module, one string per boundary: `1` for a live
/// slot, `.` for a dead one, locals and operands separated by `|`.
fn liveness(wat: &str) -> Vec<String> {
    let bytes = wat::parse_str(wat).expect("the test's text is valid");
    let module = Module::decode(&bytes).expect("the test's module is supported");
    let func = FuncIdx::new(module.num_imported_funcs());
    let function = module.function(func).expect("function 0 is defined");
    let liveness = Liveness::compute(&module, func).expect("it is small");
    let locals = function.locals().len();
    function
        .boundaries()
        .map(|offset| {
            let bits: String =
                liveness.slots(offset).map(|live| if live { '1' } else { '.' }).collect();
            let (locals, operands) = bits.split_at(locals);
            format!("{locals}|{operands}")
        })
        .collect()
}

#[test]
fn straight_line() {
    let rows = liveness(
        "(module (func (param i32 i32) (result i32)
            local.get 0
            local.get 1
            i32.add))",
    );
    assert_eq!(rows, ["11|", ".1|1", "..|11", "..|1"]);
}

#[test]
fn dropped_values_and_copies_to_dead_locals_are_dead() {
    let rows = liveness(
        "(module (func (param i32 i32) (local i32)
            local.get 0
            drop
            local.get 1
            i32.const 1
            i32.add
            local.set 2))",
    );
    let operands: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(operands, ["...|", "...|.", "...|", "...|.", "...|..", "...|.", "...|"]);
}

#[test]
fn what_may_trap_is_used() {
    let rows = liveness(
        "(module (memory 1) (func (param i32 i32)
            local.get 0
            local.get 1
            i32.div_u
            drop
            local.get 0
            i32.load
            drop))",
    );
    assert_eq!(rows, ["11|", "11|1", "1.|11", "1.|.", "1.|", "..|1", "..|.", "..|"]);
}

#[test]
fn a_loop_keeps_its_counter_alive() {
    // Local 1 is only ever added to itself: dead throughout (faint). Local 0
    // decides the branch.
    let rows = liveness(
        "(module (func (param i32) (local i32)
            loop
              local.get 1
              local.get 0
              i32.add
              local.set 1
              local.get 0
              i32.const 1
              i32.sub
              local.tee 0
              br_if 0
            end))",
    );
    assert_eq!(
        rows,
        [
            "1.|", "1.|", "1.|.", "1.|..", "1.|.", "1.|", "..|1", "..|11", "..|1", "1.|1", "..|",
            "..|",
        ]
    );
}

#[test]
fn a_value_carried_around_a_loop_is_live_at_its_start() {
    // Local 1 is summed up and returned after the loop.
    let rows = liveness(
        "(module (func (param i32) (result i32) (local i32)
            loop
              local.get 1
              local.get 0
              i32.add
              local.set 1
              local.get 0
              br_if 0
            end
            local.get 1))",
    );
    assert_eq!(rows[0], "11|");
    assert_eq!(rows[1], "11|");
    assert_eq!(rows[4], "1.|1");
    assert_eq!(rows[8], ".1|");
}

#[test]
fn br_table_needs_what_any_target_needs() {
    let rows = liveness(
        "(module (func (param i32 i32 i32) (result i32)
            block
              block
                local.get 0
                br_table 0 1
              end
              local.get 1
              return
            end
            local.get 2))",
    );
    // At the br_table both results are still possible, the index is used.
    assert_eq!(rows[3], ".11|1");
    // Boundaries: block block get br_table | get return | get end.
    assert_eq!(rows[4], ".1.|");
    assert_eq!(rows[6], "..1|");
}

#[test]
fn operands_unwound_by_a_branch_are_dead() {
    let rows = liveness(
        "(module (func (param i32 i32) (result i32)
            block (result i32)
              local.get 0
              local.get 1
              br 0
            end))",
    );
    // At `br` the lower operand is unwound, so parameter 0 never mattered.
    assert_eq!(rows[1], ".1|");
    assert_eq!(rows[3], "..|.1");
}

#[test]
fn conditional_branches_merge_both_ways() {
    let rows = liveness(
        "(module (func (param i32 i32 i32) (result i32)
            local.get 1
            local.get 2
            local.get 0
            select))",
    );
    assert_eq!(rows[3], "...|111");
    let rows = liveness(
        "(module (func (param i32 i32) (result i32)
            local.get 0
            if (result i32)
              local.get 1
            else
              i32.const 7
            end))",
    );
    assert_eq!(rows[0], "11|");
    assert_eq!(rows[1], ".1|1");
    assert_eq!(rows[4], "..|"); // i32.const in the else arm
}

#[test]
fn nothing_is_live_before_unreachable() {
    let rows = liveness("(module (func (param i32) local.get 0 unreachable))");
    assert_eq!(rows, [".|", ".|."]);
}

#[test]
fn a_long_chain_of_copies_in_a_loop_reaches_the_fixpoint() {
    // Each round moves the value one local on; only the last is returned.
    let rows = liveness(
        "(module (func (param i32 i32 i32 i32) (result i32)
            loop
              local.get 2 local.set 3
              local.get 1 local.set 2
              local.get 0 local.set 1
              local.get 3
              br_if 0
            end
            local.get 3))",
    );
    assert_eq!(rows[0], "111.|");
}
