//! `wdiff fuzz`: generated modules in lockstep.
//!
//! A case is all that a seed determines: a module of wasm-smith's, how it is
//! compiled (optimised or not, with traps or as it ships, for which CPU features) and what is called with
//! which arguments. Its image goes through the static checker, then every
//! exported function runs in lockstep up to a number of stops. Generated
//! programs mean nothing and terminate or trap by chance; what they are good
//! for is that nobody chose what they do.
//!
//! What goes wrong is written to a directory: the module, and beside it what
//! was found and the commands that show it again. [`run_case`] does the work
//! for the command and for the tests, which let it run into damaged images.

use crate::cli::{FuzzArgs, Opt};
use crate::error::CommandError;
use crate::invoke::Calls;
use crate::lockstep::stops::{Control, Phase};
use crate::lockstep::{Ending, follow::Requests, stats::Seen};
use crate::program::{self, Program};
use crate::run::{self, compile_with};
use crate::session::Session;
use crate::witness::Called;
use crate::{map, output, watch};
use aot_backend::{Anchors, CompileOptions, Image, OptLevel, StablePoints};
use arbitrary::Unstructured;
use corpus::SplitMix64;
use oracle_interp::ExportKind;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use wasi_host::{Output, Stdin, World, WorldConfig};
use wasm_smith::{Config, Module};
use wasm_view::{FuncIdx, Value};
use wasmparser::WasmFeatures;

/// Most stops of one execution.
const STOPS: u64 = 2000;
/// Most executions of one module: a trap ends one, the next begins anew with
/// the calls that are left.
const EXECUTIONS: usize = 4;
/// Failures after which there is no use in more.
const MOST_FAILURES: usize = 100;
/// CPU features that change the code most.
const CPU_FEATURES: &[&str] =
    &["ssse3", "sse41", "sse42", "avx", "avx2", "fma", "bmi1", "bmi2", "lzcnt", "popcnt"];

/// What a seed stands for.
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// The module, decoded.
    pub program: Program,
    /// How hard the compiler tries.
    pub opt: OptLevel,
    /// Where the code can be halted.
    pub anchors: Anchors,
    /// CPU features, as `--cpu` takes them.
    pub cpu: String,
    /// Stable points compiled in.
    pub stable: StablePoints,
    /// Whether their cold paths are run.
    pub paranoid: bool,
    /// What is called.
    pub calls: Vec<Called>,
}

/// What came of a case, or of many.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Executions by how they ended.
    pub endings: BTreeMap<&'static str, u64>,
    /// Stops at boundaries.
    pub stops: u64,
    /// All slots at these, by how they were seen.
    pub all: Seen,
    /// Live slots likewise.
    pub live: Seen,
    /// Choices of the subject that the oracle adopted.
    pub adopted: u64,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Why nothing could be run: what is not supported.
    pub unsupported: Option<String>,
}

impl Outcome {
    fn end(&mut self, how: &'static str) {
        *self.endings.entry(how).or_default() += 1;
    }

    fn add(&mut self, other: Outcome) {
        for (how, count) in other.endings {
            *self.endings.entry(how).or_default() += count;
        }
        self.stops += other.stops;
        self.all.add(other.all, 1);
        self.live.add(other.live, 1);
        self.adopted += other.adopted;
        self.wrong.extend(other.wrong);
    }
}

/// The case of a seed; `None` where the generator makes no module of it.
///
/// # Errors
/// A generated module that the oracle does not take.
pub fn case(
    seed: u64,
    opt: Option<OptLevel>,
    cpu: Option<&str>,
    stable: Option<StablePoints>,
) -> Option<Result<Case, CommandError>> {
    let mut random = SplitMix64::new(seed);
    let drawn = if random.below(4) == 0 { OptLevel::None } else { OptLevel::Speed };
    let drawn_cpu = draw_cpu(&mut random);
    let wasm = module(&mut random)?;
    let path = Path::new("generated").join(format!("{seed}.wasm"));
    let program = match program::from_wasm(&path, wasm) {
        Ok(program) => program,
        Err(error) => return Some(Err(error)),
    };
    let calls = draw_calls(&program, &mut random);
    let opt = opt.unwrap_or(drawn);
    let cpu = cpu.map_or(drawn_cpu, str::to_owned);
    let drawn = match random.below(2) {
        0 => StablePoints::Off,
        _ => StablePoints::ALL[1 + random.below(4)],
    };
    let stable = stable.unwrap_or(drawn);
    let paranoid = random.below(2) == 0 && stable != StablePoints::Off;
    let shipped = random.below(2) == 0;
    let anchors = if shipped { Anchors::Srcloc } else { Anchors::Trap };
    Some(Ok(Case { seed, program, opt, anchors, cpu, stable, paranoid, calls }))
}

fn draw_cpu(random: &mut SplitMix64) -> String {
    match random.below(3) {
        0 => "native".to_owned(),
        1 => "baseline".to_owned(),
        _ => {
            let mut text = "native".to_owned();
            for feature in CPU_FEATURES.iter().filter(|_| random.below(3) == 0) {
                text.push_str(",-");
                text.push_str(feature);
            }
            text
        }
    }
}

/// A module without imports of what the backend has.
fn module(random: &mut SplitMix64) -> Option<Vec<u8>> {
    let has = |features| aot_backend::features().contains(features);
    let vectors = random.below(3) == 0;
    let config = Config {
        max_imports: 0,
        min_funcs: 1,
        max_funcs: 6,
        max_instructions: [80, 200, 500][random.below(3)],
        export_everything: true,
        allow_start_export: true,
        canonicalize_nans: false,
        disallow_traps: random.below(2) == 0,
        memory_max_size_required: true,
        table_max_size_required: true,
        max_memory32_bytes: 4 * 65_536,
        max_memory64_bytes: 4 * 65_536,
        max_table_elements: 100,
        max_memories: if has(WasmFeatures::MULTI_MEMORY) { 2 } else { 1 },
        max_tables: 2,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        extended_const_enabled: true,
        simd_enabled: vectors && has(WasmFeatures::SIMD),
        relaxed_simd_enabled: vectors && has(WasmFeatures::RELAXED_SIMD),
        tail_call_enabled: has(WasmFeatures::TAIL_CALL),
        memory64_enabled: has(WasmFeatures::MEMORY64) && random.below(4) == 0,
        wide_arithmetic_enabled: has(WasmFeatures::WIDE_ARITHMETIC) && random.below(4) == 0,
        exceptions_enabled: has(WasmFeatures::EXCEPTIONS),
        gc_enabled: false,
        threads_enabled: false,
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        custom_descriptors_enabled: false,
        ..Config::default()
    };
    let length = 1024 << random.below(4);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.next_u64().to_le_bytes())
        .take(length / 8)
        .flatten()
        .collect();
    let mut module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    // Half of the modules count their loops and calls and end in time.
    if random.below(2) == 0 {
        module.ensure_termination(50).ok()?;
    }
    Some(module.to_bytes())
}

/// Every exported function, with arguments of chance.
fn draw_calls(program: &Program, random: &mut SplitMix64) -> Vec<Called> {
    let module = &program.module;
    let mut calls = Vec::new();
    for export in module.exports().iter().filter(|export| export.kind == ExportKind::Func) {
        let func = FuncIdx::new(export.index);
        let Some(ty) = module.func_type(func) else { continue };
        let args = ty.params.iter().map(|ty| draw_value(Value::default_of(*ty), random)).collect();
        calls.push(Called { func, args });
    }
    calls
}

/// A value of a value's type: small numbers, edges, NaNs with payloads, noise.
fn draw_value(like: Value, random: &mut SplitMix64) -> Value {
    let word = |random: &mut SplitMix64| match random.below(5) {
        0 => random.below(10) as u64,
        1 => (random.below(10) as u64).wrapping_neg(),
        2 => 1_u64 << random.below(64),
        3 => {
            let edges = [
                0x7ff8_0000_0000_0000,
                0xfff8_dead_0000_0001,
                0x7ff0_0000_0000_0001,
                0x3ff0_0000_0000_0000,
                0x7fc0_0000,
                0xffc1_2345,
                0x7f80_0001,
                0x3f80_0000,
            ];
            edges[random.below(edges.len())]
        }
        _ => random.next_u64(),
    };
    match like {
        Value::I32(_) => Value::I32(word(random) as u32),
        Value::I64(_) => Value::I64(word(random)),
        Value::F32(_) => Value::F32(word(random) as u32),
        Value::F64(_) => Value::F64(word(random)),
        Value::V128(_) => Value::V128(u128::from(word(random)) << 64 | u128::from(word(random))),
        null => null,
    }
}

/// Compiles a case, lets `tamper` at the image, checks it and runs it.
///
/// # Errors
/// What ends all work: a request to end, a host that refuses.
pub fn run_case(
    case: &Case,
    tamper: impl FnOnce(&mut Image),
    control: &Arc<Control>,
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    let options = CompileOptions {
        opt: case.opt,
        anchors: case.anchors,
        cpu: case.cpu.parse().map_err(CommandError::input)?,
        stable: case.stable,
        // DWARF takes longer than the rest.
        debug_info: case.seed.is_multiple_of(8),
        ..CompileOptions::default()
    };
    let mut image = match compile_with(&case.program, &options) {
        Ok(image) => image,
        Err(CommandError::Inconclusive { detail, .. }) => {
            outcome.unsupported = Some(detail);
            return Ok(outcome);
        }
        Err(error) => {
            outcome.wrong.push(error.to_string());
            return Ok(outcome);
        }
    };
    tamper(&mut image);
    let violations = map::violations(&image, options.debug_info)?;
    outcome.wrong.extend(violations.iter().map(ToString::to_string));
    let mut left = case.calls.as_slice();
    for _ in 0..EXECUTIONS {
        let calls = Calls { list: left.to_vec(), shows_results: true };
        let session = Session { program: &case.program, image: &image, calls: &calls };
        let config = WorldConfig {
            stdin: Stdin::Empty,
            stdout: Output::Discard,
            stderr: Output::Discard,
            ..WorldConfig::default()
        };
        let mut world = World::live(config).map_err(CommandError::input)?;
        let requests = Requests {
            max_stops: Some(STOPS),
            max_boundaries: Some(10 * STOPS),
            every: true,
            paranoid: case.paranoid,
            ..Requests::default()
        };
        let executed = match session.execute(&mut world, requests, control) {
            Ok(executed) => executed,
            Err(error @ CommandError::Inconclusive { reason: "host", .. }) => return Err(error),
            Err(CommandError::Inconclusive { detail, .. }) => {
                outcome.unsupported = Some(detail);
                break;
            }
            Err(error) => {
                outcome.wrong.push(error.to_string());
                break;
            }
        };
        outcome.stops += executed.stats.stops;
        outcome.all.add(executed.summary.all, 1);
        outcome.live.add(executed.summary.live, 1);
        outcome.adopted += executed.stats.adoptions.values().sum::<u64>();
        match &executed.ending {
            Ending::Returned(_) => outcome.end("returned"),
            Ending::Exited(_) => outcome.end("exited"),
            Ending::Trapped(..) => outcome.end("trapped"),
            Ending::Thrown(_) => outcome.end("thrown"),
            Ending::Inconclusive { reason, .. } => outcome.end(reason.key()),
            Ending::Diverged(finding) => {
                outcome.end("diverged");
                let slots: Vec<String> = finding
                    .slots
                    .iter()
                    .map(|slot| {
                        let text = |value: &Option<String>| value.clone().unwrap_or_default();
                        format!(
                            "; {} {} instead of {}, {}",
                            slot.slot,
                            text(&slot.actual),
                            text(&slot.expected),
                            text(&slot.location)
                        )
                    })
                    .collect();
                let place = format!("{} at {}", finding.at.func, finding.at.offset);
                let kind = finding.kind.key();
                let what = format!("{kind}, function {place}: {}{}", finding.what, slots.concat());
                outcome.wrong.push(what);
                break;
            }
        }
        left = left.get(executed.calls.len().max(1)..).unwrap_or_default();
        if left.is_empty() || control.request().is_some() {
            break;
        }
    }
    Ok(outcome)
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a result.
pub fn main(args: &FuzzArgs) -> Result<u8, CommandError> {
    let control = Control::new();
    let failed = watch::supervise(&control, args.timeout, || run(args, &control))?;
    Ok(u8::from(failed > 0))
}

/// Tries all seeds; answers how many modules something was wrong with.
fn run(args: &FuzzArgs, control: &Arc<Control>) -> Result<usize, CommandError> {
    control.enter(Phase::Comparing);
    let opt = args.opt.map(|opt| match opt {
        Opt::None => OptLevel::None,
        Opt::Speed => OptLevel::Speed,
    });
    let anchors = args.anchors.as_deref().map(run::anchors).transpose()?;
    let mut sum = Outcome::default();
    let (mut modules, mut unsupported, mut failed, mut tried) = (0_u64, 0_u64, 0, 0_u64);
    for seed in (args.seed..).take(usize::try_from(args.count).unwrap_or(usize::MAX)) {
        if control.request().is_some() || failed == MOST_FAILURES {
            break;
        }
        tried += 1;
        let Some(case) = case(seed, opt, args.cpu.as_deref(), args.stable) else { continue };
        let case = match case {
            Ok(case) => match anchors {
                Some(anchors) => Case { anchors, ..case },
                None => case,
            },
            Err(CommandError::Inconclusive { .. }) => {
                unsupported += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        modules += 1;
        let outcome = run_case(&case, |_| {}, control)?;
        unsupported += u64::from(outcome.unsupported.is_some());
        if !outcome.wrong.is_empty() {
            failed += 1;
            keep(&case, &outcome, &args.failures)?;
        }
        sum.add(outcome);
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", summary(&sum, tried, modules, unsupported, failed));
    Ok(failed)
}

fn summary(sum: &Outcome, tried: u64, modules: u64, unsupported: u64, failed: usize) -> String {
    let seen = |seen: &Seen| {
        format!(
            "{} located, {} derived, {} constant, {} unavailable",
            seen.located, seen.derived, seen.constant, seen.unavailable
        )
    };
    let endings: Vec<String> =
        sum.endings.iter().map(|(how, count)| format!("{count} {how}")).collect();
    format!(
        "{tried} seeds: {modules} modules, {unsupported} with something unsupported, {failed} wrong\n\
         executions: {}\n{} stops, {} choices adopted\nslots: {}\nlive:  {}",
        endings.join(", "),
        sum.stops,
        sum.adopted,
        seen(&sum.all),
        seen(&sum.live)
    )
}

/// Writes down what is wrong and how to see it again.
fn keep(case: &Case, outcome: &Outcome, directory: &Path) -> Result<(), CommandError> {
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|error| CommandError::file("write", path, error))
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| CommandError::file("create", directory, error))?;
    let wasm = directory.join(format!("{}.wasm", case.seed));
    write(&wasm, &case.program.wasm)?;
    let (opt, cpu, stable) = (case.opt.name(), &case.cpu, case.stable.name());
    let anchors = case.anchors.name();
    let paranoid = if case.paranoid { " --paranoid" } else { "" };
    let mut text = outcome.wrong.join("\n");
    text.push_str(&format!(
        "\n\nwdiff fuzz --seed {} --count 1 --opt {opt} --anchors {anchors} --cpu {cpu} --stable {stable}\n",
        case.seed
    ));
    for call in &case.calls {
        let exports = case.program.module.exports().iter();
        let name = exports
            .filter(|export| export.kind == ExportKind::Func && export.index == call.func.get())
            .map(|export| export.name.clone())
            .next();
        let args: Vec<String> = call.args.iter().map(|value| value.hex()).collect();
        text.push_str(&format!(
            "wdiff run {} --opt {opt} --anchors {anchors} --cpu {cpu} --stable {stable}{paranoid} --invoke {:?} -- {}\n",
            wasm.display(),
            name.unwrap_or_default(),
            args.join(" ")
        ));
    }
    write(&directory.join(format!("{}.txt", case.seed)), text.as_bytes())?;
    let first = outcome.wrong.first().map(String::as_str).unwrap_or_default();
    output::note(&format!(
        "seed {}, opt {opt}, anchors {anchors}, cpu {cpu}, stable {stable}: {first}",
        case.seed
    ));
    Ok(())
}
