//! Reports as runs would make them, one per kind of ending that matters.

use reports::baseline::{Baseline, Bounds};
use reports::functions::{Heat, steps};
use reports::{
    Axis, Bisection, Boundaries, Code, Config, Divergence, DivergenceKind, Failure, FailureKind,
    Frame, FunctionFigures, Gate, GateJob, Guilty, Inconclusive, InconclusiveReason, JobOutcome,
    Lack, ListingLine, Memory, Migration, Mix, NativePc, NativeRow, Outcome, Passed, Program,
    Report, Reproducer, RestoreFaults, Selftest, SelftestFault, SelftestKind, SelftestOutcome,
    Setting, Slot, SlotName, SlotType, StablePoints, StateDiff, Subject, Time, Tool, ValueClass,
    Wast, Witness, WitnessVerdict,
};
use std::time::Duration;
use wasm_view::{Boundary, FuncIdx, InstanceId, Value, WasmOffset};

/// Every sample with the name of its expectation.
pub fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("match", matching()),
        ("functions", with_functions()),
        ("inconclusive", inconclusive()),
        ("operand", operand()),
        ("control_flow", control_flow()),
        ("memory", memory()),
        ("trap", trap()),
        ("host_call", host_call()),
        ("map", wrong_constant()),
        ("sandbox", sandbox()),
        ("deep", deep()),
        ("contradicted", contradicted()),
        ("hostile", hostile()),
        ("wast", wast()),
        ("selftest", selftest()),
        ("gate", gate()),
        ("gate_passed", gate_passed()),
        ("migrated", migrated()),
        ("bisected", bisected()),
        ("bisected_in_vain", bisected_in_vain()),
    ]
}

fn report(outcome: Outcome) -> Report {
    let tool = Tool {
        version: "0.1.0".to_owned(),
        cranelift: Some("0.135.8".to_owned()),
        cpu_features: ["has_sse41", "has_avx", "has_bmi1"].map(str::to_owned).into(),
    };
    let program = Program {
        path: "fib.wasm".to_owned(),
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        functions: 14,
        exit_code: None,
        trap: None,
    };
    let subject = Subject {
        backend: "cranelift".to_owned(),
        opt: "speed".to_owned(),
        stable: "off".to_owned(),
        target: "x86_64".to_owned(),
        engine: "int3".to_owned(),
        anchors: "trap".to_owned(),
        sandbox: "seccomp".to_owned(),
    };
    let mut report = Report::new(tool, program, subject, outcome);
    report.boundaries = Boundaries {
        r#static: 1204,
        anchored: 1200,
        merged: 0,
        threaded: 0,
        eliminated: 4,
        executed: 18_421,
        stops: 18_421,
        longest_merged_run: 0,
    };
    report.values.add(ValueClass::Located, 98_000, 0, 80_000);
    report.values.add(ValueClass::Derived, 1200, 0, 200);
    report.values.add(ValueClass::Constant, 3145, 0, 3000);
    report.values.add_unavailable("no_longer_live", 20, 0);
    report.values.add_unavailable("folded", 10, 1);
    report.memory = Memory { bytes_compared: 1_234_567, deferred: 0 };
    report.host_calls = 12;
    report.time = Time::new(Duration::from_micros(530_123), 18_421, 18_421);
    report
}

fn diverging(divergence: Divergence) -> Report {
    report(Outcome::Divergence(Box::new(divergence)))
}

fn divergence(kind: DivergenceKind) -> Divergence {
    let boundary = Boundary {
        instance: InstanceId::new(0),
        func: FuncIdx::new(12),
        offset: WasmOffset::new(0x1a4),
    };
    let line = |offset, text: &str| ListingLine { offset, text: text.to_owned() };
    Divergence {
        name: Some("fib".to_owned()),
        instruction: Some("i32.add".to_owned()),
        source_line: Some("fib.c:12:5".to_owned()),
        listing: vec![
            line(0x19e, "  call 12"),
            line(0x1a0, "  local.get 0"),
            line(0x1a2, "  local.get 1"),
            line(0x1a4, "  i32.add"),
            line(0x1a5, "end"),
        ],
        native_pc: Some(NativePc::new(0x40_10a3)),
        native_disassembly: vec![
            Divergence::native_line(0x40_10a0, "mov ecx, eax"),
            Divergence::native_line(0x40_10a2, "nop"),
            Divergence::native_line(0x40_10a3, "int3"),
            Divergence::native_line(0x40_10a4, "add eax, ebx"),
        ],
        frames: vec![
            Frame {
                instance: 0,
                func: 12,
                name: Some("fib".to_owned()),
                offset: 0x1a4,
                source_line: Some("fib.c:12:5".to_owned()),
            },
            Frame { instance: 0, func: 3, name: None, offset: 0xf0, source_line: None },
        ],
        witness: Some(Witness {
            verdict: WitnessVerdict::Agrees,
            engine: "wasmi".to_owned(),
            reason: None,
        }),
        timeline: [(3, 0xf0, "call 12"), (12, 0x1a0, "local.get 0"), (12, 0x1a2, "local.get 1")]
            .into_iter()
            .chain([(12, 0x1a4, "i32.add")])
            .map(|(func, offset, text)| Passed {
                instance: 0,
                func,
                offset,
                instruction: Some(text.to_owned()),
            })
            .collect(),
        ..Divergence::new(kind).at(boundary, 18_420)
    }
}

/// Two functions, one of which lacks a value.
fn functions() -> Vec<FunctionFigures> {
    let mut heat = Heat::default();
    for at in 0..6 {
        heat.add(if at == 4 { 1 } else { 2 }, 2, at < 5);
    }
    heat.add_unanchored();
    let fib = FunctionFigures {
        instance: 0,
        func: 12,
        name: Some("fib".to_owned()),
        code_bytes: 143,
        boundaries: 7,
        stops: 18_000,
        live_compared: 70_000,
        live_unavailable: 1,
        first: 0x19e,
        steps: steps([0x19e, 0x1a0, 0x1a2, 0x1a4, 0x1a5, 0x1f0, 0x1f1]),
        heat: heat.finish(),
        unanchored: vec![0x1f1],
        unavailable: vec![Lack {
            offset: 0x1a5,
            stable: false,
            slots: [("stack0".to_owned(), "folded".to_owned())].into(),
        }],
        dead_unavailable: 2,
    };
    let mut heat = Heat::default();
    heat.add(0, 0, true);
    heat.add(0, 0, true);
    let main = FunctionFigures {
        func: 3,
        code_bytes: 20,
        boundaries: 2,
        stops: 2,
        first: 0xf0,
        steps: steps([0xf0, 0xf2]),
        heat: heat.finish(),
        ..FunctionFigures::default()
    };
    vec![main, fib]
}

/// Functions as of a program of some size: their boundaries are the program's,
/// their heat changes with the configuration, in runs.
#[allow(dead_code)]
pub fn many_functions(program: u32, config: u64, count: u32) -> Vec<FunctionFigures> {
    let generator = |seed: u64| {
        let mut state = seed * 2 + 1;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        }
    };
    let mut place = generator(program.into());
    let mut value = generator(u64::from(program) * 1000 + config);
    let mut one = |func: u32| {
        let (mut heat, mut offsets, mut offset) = (Heat::default(), Vec::new(), func * 1000);
        let (mut available, mut executed) = (8, true);
        for _ in 0..120 {
            if value().is_multiple_of(8) {
                (available, executed) = (8 - value() % 2, value().is_multiple_of(2));
            }
            heat.add(available, 8, executed);
            offset += 1 + (place() % 5) as u32;
            offsets.push(offset);
        }
        FunctionFigures {
            func,
            name: Some(format!("function_{program}_{func}")),
            code_bytes: 900,
            boundaries: 120,
            stops: value() % 1000,
            live_compared: 400,
            live_unavailable: value() % 9,
            first: offsets[0],
            steps: steps(offsets),
            heat: heat.finish(),
            ..FunctionFigures::default()
        }
    };
    (0..count).map(&mut one).collect()
}

fn config(opt: &str) -> Config {
    Config {
        backend: "cranelift".to_owned(),
        opt: opt.to_owned(),
        stable: "calls".to_owned(),
        anchors: "trap".to_owned(),
        target: "x86_64".to_owned(),
        engine: "int3".to_owned(),
        cpu: "baseline".to_owned(),
    }
}

fn job(index: u64, program: &str, opt: &str, report: Option<Report>) -> GateJob {
    GateJob {
        index,
        program: program.to_owned(),
        config: config(opt),
        outcome: report.as_ref().map_or(JobOutcome::NotRun, |report| report.verdict.into()),
        detail: report.as_ref().map_or(Some("the time budget".to_owned()), |report| {
            report.inconclusive.as_ref().map(|why| why.detail.clone())
        }),
        accepted: false,
        new: false,
        failures: Vec::new(),
        report: report.map(Box::new),
    }
}

/// The jobs of a gate in which nothing is wrong.
pub fn jobs() -> Vec<GateJob> {
    let full = |path: &str| {
        let mut report = with_functions();
        report.program.path = path.to_owned();
        report
    };
    vec![
        job(0, "fib.wasm", "none", Some(full("fib.wasm"))),
        job(1, "fib.wasm", "speed", Some(full("fib.wasm"))),
        job(2, "gc.wat", "none", Some(inconclusive())),
        job(3, "gc.wat", "speed", Some(inconclusive())),
    ]
}

pub fn gate_of(jobs: Vec<GateJob>, baseline: Option<&Baseline>) -> Report {
    let mut jobs = jobs;
    for job in &mut jobs {
        Baseline::judge(baseline, job);
    }
    let plan: std::collections::BTreeSet<String> = jobs.iter().map(GateJob::key).collect();
    let gate = Gate {
        plan: "aa".repeat(32),
        paths: vec!["fib.wasm".to_owned(), "gc.wat".to_owned()],
        programs_sha256: "bb".repeat(32),
        planned: jobs.len() as u64,
        shard: None,
        baseline: baseline.map(|_| "baseline.json".to_owned()),
        gone: baseline.map(|baseline| baseline.gone(&plan)).unwrap_or_default(),
        counts: Gate::count(&jobs),
        jobs,
    };
    Report::of_gate(gate, "0.1.0", Duration::from_secs(83))
}

fn gate_passed() -> Report {
    let jobs = jobs();
    let baseline = Baseline::of(&jobs, Bounds { code_size: Some(2.0), compile_time: None });
    gate_of(jobs, Some(&baseline))
}

/// A divergence, a value newly unavailable, code that grew, something gone,
/// something not run.
pub fn gate() -> Report {
    let mut jobs = jobs();
    let bounds = Bounds { code_size: Some(2.0), compile_time: Some(50.0) };
    let mut baseline = Baseline::of(&jobs, bounds);
    let gone = baseline.jobs.get(&jobs[0].key()).unwrap().clone();
    baseline.jobs.insert("gone.wasm [cranelift none]".to_owned(), gone);
    let mut worse = jobs[1].report.take().unwrap();
    worse.code = Some(Code { bytes: 200 });
    let fib = &mut worse.functions.as_mut().unwrap()[1];
    fib.unavailable[0].slots.insert("local3".to_owned(), "no_longer_live".to_owned());
    fib.dead_unavailable += 1;
    jobs[1].report = Some(worse);
    let mut diverged = operand();
    diverged.functions = Some(functions());
    jobs[0].report = Some(Box::new(diverged));
    jobs[0].outcome = JobOutcome::Divergence;
    jobs.push(job(4, "late.wasm", "none", None));
    let failure = Failure::new(FailureKind::Expectation, "exit code 1, the manifest expects 0");
    jobs[1].failures.push(failure);
    gate_of(jobs, Some(&baseline))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

pub fn matching() -> Report {
    let mut report = report(Outcome::Match);
    report.program.exit_code = Some(0);
    report.adoptions.insert("nan_payload".to_owned(), 3);
    report.adoptions.insert("memory_grow".to_owned(), 1);
    report
}

/// What `wdiff migrate` reports.
pub fn migrated() -> Report {
    let mut report = matching();
    report.stable_points = StablePoints {
        r#static: 9,
        executed: 60,
        full: 60,
        unavailable_live: 0,
        walks: 60,
        walked: 32,
        witnessed: 0,
        restored: 30,
    };
    report.migration = Some(Migration {
        relay: vec!["oracle".to_owned(), "x86_64:speed".to_owned()],
        stable: "calls".to_owned(),
        hand_overs: 12,
        frames: 60,
        deepest: 7,
        snapshot_bytes: 48_000,
        largest_snapshot: 4_100,
        capture_s: 0.25,
        transfer_s: 0.5,
        restore_s: 1.5,
        fault: Some("at 0x40: bit 3 of slot 1 flipped".to_owned()),
        choices: [("nan_payload".to_owned(), 2)].into(),
        faults: vec![RestoreFaults { kind: "flip".to_owned(), drawn: 10, effective: 8, caught: 8 }],
        unmigrated: Some(true),
    });
    report
}

/// What `wdiff bisect` reports.
pub fn bisected() -> Report {
    let mut report = operand();
    let axis = |axis: &str, applies: bool, answer: &str| Axis {
        axis: axis.to_owned(),
        applies,
        answer: answer.to_owned(),
    };
    let setting = |setting: &str, result: &str, detail: &str| Setting {
        setting: setting.to_owned(),
        result: result.to_owned(),
        detail: detail.to_owned(),
    };
    let row = |bad: Option<&str>, good: Option<&str>| NativeRow {
        bad: bad.map(str::to_owned),
        good: good.map(str::to_owned),
    };
    report.bisect = Some(Bisection {
        title: Some("cranelift 0.135.8: i32.mul gives i32 0x00000007".to_owned()),
        axes: vec![
            axis("time", true, "812 instructions were executed before the two differed"),
            axis("code", true, "function #1 (\u{1b}fib), i32.mul at 0x4a"),
            axis("compiler", true, "not with --opt none"),
            axis("versions", false, "one version"),
        ],
        code: Some(Guilty {
            func: 1,
            name: Some("fib".to_owned()),
            block_start: 0x40,
            block_end: 0x52,
            offset: 0x4a,
            instruction: Some("i32.mul".to_owned()),
            executed: 811,
            confirmed: Some(true),
            mixes: vec![Mix {
                func: 1,
                how: "--opt none".to_owned(),
                result: "gone".to_owned(),
                detail: "the two are equal past there".to_owned(),
            }],
        }),
        settings: vec![
            setting("--opt none", "good", "i32 0x0000000c"),
            setting("--cpu baseline", "bad", "i32 0x00000007"),
            setting("--stable calls", "inconclusive", "it does not compile the script so"),
        ],
        reproducer: Some(Reproducer {
            file: "wdiff-bisect.wast".to_owned(),
            wasm_bytes: 41,
            module_bytes: 123_456,
            instructions: 4,
            span: 1,
            candidates: 9,
            wall_s: 0.25,
            expected: "i32 0x0000000c".to_owned(),
            actual: "i32 0x00000007".to_owned(),
            witness: "wasmi agrees with the oracle".to_owned(),
            good: Some("this wdiff".to_owned()),
            command: lines("wdiff\nwast\nwdiff-bisect.wast\n--opt\nspeed"),
            text: "(module)\n".to_owned(),
        }),
        no_reproducer: None,
        native: vec![
            row(Some("add eax, ecx"), Some("imul eax, ecx")),
            row(Some("ret"), Some("ret")),
            row(None, Some("nop")),
        ],
        history: vec!["0x48 local.get 0: stack0 in rax <- wrong here".to_owned()],
        executions: 14,
        wall_s: 1.5,
    });
    report
}

/// The same without a script.
pub fn bisected_in_vain() -> Report {
    let mut report = bisected();
    if let Some(section) = &mut report.bisect {
        section.reproducer = None;
        section.native.clear();
        section.no_reproducer = Some("the map is wrong and the code is not".to_owned());
    }
    report
}

/// What `wdiff run --functions` reports.
pub fn with_functions() -> Report {
    let mut report = matching();
    report.code = Some(Code { bytes: 163 });
    report.functions = Some(functions());
    report.time = report.time.compiled_in(Duration::from_micros(2_500));
    report
}

pub fn inconclusive() -> Report {
    let mut report = report(Outcome::Inconclusive(Inconclusive {
        reason: InconclusiveReason::Timeout,
        detail: "the time limit of 60 s was reached after 18,421 boundaries, in function #12 fib \
                 at 0x1a4"
            .to_owned(),
    }));
    report.subject.stable = "calls".to_owned();
    report.subject.anchors = "srcloc".to_owned();
    report.boundaries.anchored = 1000;
    report.boundaries.merged = 150;
    report.boundaries.threaded = 50;
    report.boundaries.longest_merged_run = 3;
    report.stable_points = StablePoints {
        r#static: 40,
        executed: 3000,
        full: 2999,
        unavailable_live: 1,
        walks: 2900,
        walked: 8000,
        witnessed: 1500,
        restored: 0,
    };
    report.memory.deferred = 512;
    report.time = Time::new(Duration::from_secs(60), 15_000, 15_000);
    report
}

/// Two wrong values, one read through the map at its place, one computed.
pub fn operand() -> Report {
    let mut divergence = divergence(DivergenceKind::Operand);
    divergence.slots = vec![
        Slot::value(SlotName::stack(1), Value::I32(7), Value::I32(-8i32 as u32), "rbx"),
        Slot::value(
            SlotName::local(3),
            Value::F64(1.5f64.to_bits()),
            Value::F64(0x7ff8_0000_0000_0001),
            "CFA-24",
        )
        .named(Some("scale".to_owned())),
    ];
    divergence.state_diff = Some(StateDiff {
        expected: lines(
            "local0  i32  30\nlocal1  i32  7\nlocal3  f64  1.5\nstack0  i32  5\nstack1  i32  7",
        ),
        actual: lines(
            "local0  i32  30\nlocal1  i32  7\nlocal3  f64  NaN\nstack0  i32  5\nstack1  i32  -8",
        ),
    });
    let mut report = diverging(divergence);
    report.values.add(ValueClass::Located, 0, 1, 1);
    report.values.add(ValueClass::Derived, 0, 1, 0);
    report
}

fn control_flow() -> Report {
    let mut divergence = divergence(DivergenceKind::ControlFlow);
    divergence.slots =
        vec![Slot::number(SlotName::Boundary, SlotType::Offset, Some(0x1a4), Some(0x1b0))];
    let rerun = "wdiff run fib.wasm --opt speed --env A=$B --from-boundary 18420 -- 30";
    divergence.rerun = Some(rerun.split(' ').map(str::to_owned).collect());
    diverging(divergence)
}

fn memory() -> Report {
    let mut divergence = divergence(DivergenceKind::Memory);
    divergence.slots = vec![
        Slot::bytes(0, 0x1234, &[0x0a], &[0x0b]),
        Slot::bytes(0, 0x2000, &[0; 64], &[0xff; 64]),
        Slot::number(SlotName::MemorySize(0), SlotType::U64, Some(2), Some(1)),
    ];
    divergence.source_line = None;
    diverging(divergence)
}

fn trap() -> Report {
    let mut divergence = divergence(DivergenceKind::Trap);
    let text = "integer divide by zero".to_owned();
    divergence.slots = vec![Slot::text(SlotName::Trap, Some(text), None)];
    divergence.witness = Some(Witness {
        verdict: WitnessVerdict::Cannot,
        engine: "wasmi".to_owned(),
        reason: Some("the program imports env.callback, which the log does not hold".to_owned()),
    });
    diverging(divergence)
}

fn host_call() -> Report {
    let mut divergence = divergence(DivergenceKind::HostCall);
    divergence.slots = vec![
        Slot::text(
            SlotName::HostCall,
            Some("wasi_snapshot_preview1.fd_write".to_owned()),
            Some("wasi_snapshot_preview1.fd_read".to_owned()),
        ),
        Slot::value(SlotName::Argument(0), Value::I32(1), Value::I32(0), "argument area"),
    ];
    diverging(divergence)
}

fn wrong_constant() -> Report {
    let mut divergence = divergence(DivergenceKind::Map);
    divergence.slots =
        vec![Slot::value(SlotName::local(0), Value::I64(3), Value::I64(4), "constant")];
    let mut report = diverging(divergence);
    report.values.add(ValueClass::Constant, 0, 1, 1);
    report.program.path = "it's here/fib.elf".to_owned();
    report
}

/// Outside any function, nothing known but the fault.
fn sandbox() -> Report {
    let mut divergence = Divergence::new(DivergenceKind::Sandbox);
    divergence.native_pc = Some(NativePc::new(0xdead_beef));
    divergence.boundary_index = 18_421;
    divergence.slots = vec![
        Slot::number(SlotName::Pc, SlotType::Address, None, Some(0xdead_beef)),
        Slot::text(SlotName::Signal, None, Some("SIGSEGV".to_owned())),
    ];
    diverging(divergence)
}

/// A runaway recursion: more frames, slots and state than fit a screen.
fn deep() -> Report {
    let mut divergence = divergence(DivergenceKind::Local);
    divergence.frames = (0..5000)
        .map(|n| Frame {
            instance: 0,
            func: 12,
            name: Some("fib".to_owned()),
            offset: if n == 0 { 0x1a4 } else { 0x19e },
            source_line: None,
        })
        .collect();
    divergence.slots = (0..30)
        .map(|n| {
            let slot = SlotName::Local { frame: n, index: 0 };
            Slot::value(slot, Value::I32(n), Value::I32(n + 1), "CFA-16")
        })
        .collect();
    let state =
        |from: u32| (0..4100).map(|n| format!("frame{n}.local0  i32  {}", n + from)).collect();
    divergence.state_diff = Some(StateDiff { expected: state(0), actual: state(1) });
    let mut report = diverging(divergence);
    report.values.add(ValueClass::Located, 0, 30, 30);
    report
}

pub fn contradicted() -> Report {
    let mut divergence = divergence(DivergenceKind::Global);
    divergence.slots =
        vec![Slot::value(SlotName::Global(2), Value::FuncRef(None), Value::I64(1 << 32), "0x7000")];
    divergence.witness = Some(Witness {
        verdict: WitnessVerdict::Contradicts,
        engine: "wasmi".to_owned(),
        reason: Some("it ends with exit code 0, the oracle with 1".to_owned()),
    });
    diverging(divergence)
}

/// Names that would command a terminal or a shell.
fn hostile() -> Report {
    let evil = "\u{1b}[2J\u{9b}31m\r\n\u{202e}x'; rm -rf $HOME".to_owned();
    let mut divergence = divergence(DivergenceKind::Local);
    divergence.name = Some(evil.clone());
    divergence.source_line = Some(evil.clone());
    divergence.rerun = Some(vec!["wdiff".to_owned(), evil.clone()]);
    divergence.native_disassembly = vec![evil.clone()];
    divergence.listing = vec![ListingLine { offset: 0x1a4, text: evil.clone() }];
    divergence.frames[0].name = Some(evil.clone());
    divergence.state_diff =
        Some(StateDiff { expected: vec![evil.clone()], actual: vec![evil.repeat(2)] });
    divergence.slots = vec![
        Slot::text(SlotName::local(0), Some(evil.clone()), None)
            .named(Some(evil.clone()))
            .read_from(evil.clone()),
    ];
    if let Some(witness) = &mut divergence.witness {
        witness.engine = evil.clone();
        witness.reason = Some(evil.clone());
    }
    let mut report = diverging(divergence);
    report.program.path = evil.clone();
    report.program.trap = Some(evil.clone());
    report.subject.backend = evil.clone();
    report.subject.opt = evil.clone();
    report.tool.version = evil.clone();
    report.tool.cpu_features = vec![evil.clone()];
    report.values.add_unavailable(&evil, 1, 1);
    report.adoptions.insert(evil, 1);
    report
}

fn wast() -> Report {
    let mut report = matching();
    let reason = InconclusiveReason::Unsupported;
    let detail = "86 assertions hold in lockstep; not run: 3 with SIMD".to_owned();
    report.set_outcome(Outcome::Inconclusive(Inconclusive { reason, detail }));
    let not_run = [("SIMD".to_owned(), 3)].into();
    report.wast = Some(Wast {
        scripts: 2,
        instances: 23,
        lockstep: 86,
        validation: 6,
        text_format: 1,
        superseded: 0,
        not_run,
        failures: Vec::new(),
        ended_at: None,
    });
    report
}

fn selftest() -> Report {
    use SelftestOutcome as Is;
    let mut report = matching();
    let mut section = Selftest { seed: Some(1), ..Selftest::default() };
    for (kind, outcomes) in [
        ("code:operand", &[Is::Caught, Is::Caught, Is::NotReached, Is::NoEffect, Is::Masked][..]),
        ("map:frame", &[Is::Caught, Is::Late, Is::Missed, Is::Caught]),
    ] {
        let faults = outcomes.iter().zip(0..).map(|(outcome, at)| SelftestFault {
            fault: format!("{kind}:#3:0x{:x}", 0x40 + at),
            kind: kind.to_owned(),
            program: "fib".to_owned(),
            instruction: "i32.add".to_owned(),
            change: "add eax,ecx -> add eax,edx".to_owned(),
            outcome: *outcome,
            delay: match outcome {
                Is::Caught => Some(0),
                Is::Late => Some(3),
                _ => None,
            },
            effect: outcome.effective().then(|| "memory 0 at 0x40".to_owned()),
            report: (*outcome == Is::Late).then(|| "operand at 0x47".to_owned()),
            rerun: ["wdiff", "run", "--inject", kind, "fib.wasm"].map(str::to_owned).to_vec(),
        });
        let faults: Vec<SelftestFault> = faults.collect();
        let count = |which: fn(&Is) -> bool| {
            outcomes.iter().filter(|outcome| which(outcome)).count() as u64
        };
        section.kinds.push(SelftestKind {
            kind: kind.to_owned(),
            injected: count(|_| true),
            reached: count(|outcome| outcome.reached()),
            effective: count(|outcome| outcome.effective()),
            caught: count(|outcome| *outcome == Is::Caught),
            masked: count(|outcome| *outcome == Is::Masked),
            delay: faults.iter().filter_map(|fault| fault.delay).max().unwrap_or(0),
        });
        section.faults.extend(faults);
    }
    let sum = |of: fn(&SelftestKind) -> u64| section.kinds.iter().map(of).sum();
    let [injected, reached, effective, caught, masked] = [
        sum(|kind| kind.injected),
        sum(|kind| kind.reached),
        sum(|kind| kind.effective),
        sum(|kind| kind.caught),
        sum(|kind| kind.masked),
    ];
    let delay = 3;
    section = Selftest { injected, reached, effective, caught, masked, delay, ..section };
    report.set_selftest(section);
    report
}
