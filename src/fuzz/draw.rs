//! What a seed stands for.
//!
//! Three kinds of modules: wasm-smith's, which have a little of everything and
//! mean nothing; those of [`corpus::pressure`], which keep many values alive;
//! programs of the corpus in which some instructions were exchanged. How a
//! module is compiled is drawn beside it and can be asked for instead: whatever
//! is asked for, all else that the seed determines stays as it was, so that a
//! finding is shown again by its seed with everything that was drawn spelled out.

use crate::cli::Source;
use crate::error::CommandError;
use crate::program::{self, Program};
use crate::witness::Called;
use aot_backend::{Anchors, CpuSpec, HAS_CHAOS, OptLevel, StablePoints};
use arbitrary::Unstructured;
use corpus::SplitMix64;
use oracle_interp::{ExportKind, ImportKind};
use std::path::Path;
use std::sync::OnceLock;
use wasm_smith::{Config, Module};
use wasm_view::{FuncIdx, Value};
use wasmparser::WasmFeatures;

/// Most instructions that are exchanged in a program of the corpus.
const MOST_EXCHANGED: usize = 12;
/// Bytes from which on a program counts as large.
const LARGE: usize = 20_000;
/// CPU features that change the code most.
const CPU_FEATURES: &[&str] =
    &["ssse3", "sse41", "sse42", "avx", "avx2", "fma", "bmi1", "bmi2", "lzcnt", "popcnt"];

/// What a seed stands for.
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// Where the module comes from.
    pub source: Source,
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
    /// What Cranelift's choices of chance are drawn from, if it makes any.
    pub chaos: Option<u64>,
    /// What is called.
    pub calls: Vec<Called>,
}

/// What is asked for instead of drawn.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Where modules come from.
    pub source: Option<Source>,
    /// How hard the compiler tries.
    pub opt: Option<OptLevel>,
    /// Where the code can be halted.
    pub anchors: Option<Anchors>,
    /// CPU features.
    pub cpu: Option<String>,
    /// Stable points.
    pub stable: Option<StablePoints>,
    /// Whether Cranelift makes choices of chance.
    pub chaos: Option<bool>,
}

/// The case of a seed; `None` where the generator makes no module of it.
///
/// # Errors
/// A generated module that the oracle does not take; a corpus that is not there.
pub fn case(seed: u64, wishes: &Wishes) -> Option<Result<Case, CommandError>> {
    let ways = Ways::draw(seed, wishes);
    let mut random = SplitMix64::new(seed);
    let (wasm, first) = match ways.source {
        Source::Smith => (smith(&mut random)?, None),
        Source::Pressure => (corpus::pressure(random.next_u64(), random.below(3) == 0), None),
        Source::Corpus => match altered(&mut random)? {
            Ok(altered) => altered,
            Err(error) => return Some(Err(error)),
        },
    };
    Some(ways.case(wasm, first, random))
}

/// The case of bytes that somebody else chose: the first eight are the seed of all
/// but the module, the others are what wasm-smith makes it of. `None` where it
/// makes none.
///
/// # Errors
/// As [`case`].
pub fn case_of_bytes(bytes: &[u8]) -> Option<Result<Case, CommandError>> {
    let (seed, bytes) = bytes.split_first_chunk::<8>()?;
    let seed = u64::from_le_bytes(*seed);
    let wishes = Wishes { source: Some(Source::Smith), ..Wishes::default() };
    let mut random = SplitMix64::new(seed);
    let module = Module::new(smith_config(&mut random), &mut Unstructured::new(bytes)).ok()?;
    let wasm = ended(module, &mut random)?;
    Some(Ways::draw(seed, &wishes).case(wasm, None, random))
}

/// All that is drawn but the module and its calls.
struct Ways {
    seed: u64,
    source: Source,
    opt: OptLevel,
    anchors: Anchors,
    cpu: String,
    stable: StablePoints,
    paranoid: bool,
    chaos: Option<u64>,
}

impl Ways {
    fn draw(seed: u64, wishes: &Wishes) -> Ways {
        // The module draws from another sequence, so that it stays the same when
        // more ways to compile it are thought of.
        let mut random = SplitMix64::new(seed ^ 0x6f70_7469_6f6e_7321);
        let opt = match random.below(5) {
            0 => OptLevel::None,
            1 | 2 => OptLevel::Speed,
            3 => OptLevel::SpeedAndSize,
            _ => [OptLevel::None, OptLevel::Speed][random.below(2)],
        };
        let cpu = draw_cpu(&mut random);
        let stable = match random.below(2) {
            0 => StablePoints::Off,
            _ => StablePoints::ALL[1 + random.below(4)],
        };
        let paranoid = random.below(2) == 0;
        let chaos = random.next_u64();
        let chaotic = HAS_CHAOS && random.below(2) == 0;
        let source = match random.below(8) {
            0 => Source::Corpus,
            1 | 2 => Source::Pressure,
            _ => Source::Smith,
        };
        let anchors = [Anchors::Trap, Anchors::Srcloc][random.below(2)];
        let stable = wishes.stable.unwrap_or(stable);
        Ways {
            seed,
            source: wishes.source.unwrap_or(source),
            opt: wishes.opt.unwrap_or(opt),
            anchors: wishes.anchors.unwrap_or(anchors),
            cpu: wishes.cpu.clone().unwrap_or(cpu),
            stable,
            paranoid: paranoid && stable != StablePoints::Off,
            chaos: wishes.chaos.unwrap_or(chaotic).then_some(chaos),
        }
    }

    /// These, and a module whose calls are drawn from `random`.
    fn case(
        self,
        wasm: Vec<u8>,
        first: Option<Called>,
        mut random: SplitMix64,
    ) -> Result<Case, CommandError> {
        let path = Path::new("generated").join(format!("{}.wasm", self.seed));
        let program = program::from_wasm(&path, wasm)?;
        let calls = draw_calls(&program, first, &mut random);
        Ok(Case {
            seed: self.seed,
            source: self.source,
            program,
            opt: self.opt,
            anchors: self.anchors,
            cpu: self.cpu,
            stable: self.stable,
            paranoid: self.paranoid,
            chaos: self.chaos,
            calls,
        })
    }
}

/// All, nothing, all but some, nothing but some.
fn draw_cpu(random: &mut SplitMix64) -> String {
    let (base, sign) = match random.below(6) {
        0 => return "native".to_owned(),
        1 => return "baseline".to_owned(),
        2 | 3 => ("native", '-'),
        _ => ("baseline", '+'),
    };
    static NATIVE: OnceLock<Vec<String>> = OnceLock::new();
    let native = NATIVE.get_or_init(|| aot_backend::cpu_features(&CpuSpec::Native));
    let mut text = base.to_owned();
    for feature in CPU_FEATURES.iter().filter(|_| random.below(3) == 0) {
        // What this machine cannot execute shows nothing.
        if sign == '-' || native.iter().any(|has| has == feature) {
            text.push_str(&format!(",{sign}{feature}"));
        }
    }
    text
}

/// A module of wasm-smith's.
fn smith(random: &mut SplitMix64) -> Option<Vec<u8>> {
    let config = smith_config(random);
    let length = 1024 << random.below(4);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.next_u64().to_le_bytes())
        .take(length / 8)
        .flatten()
        .collect();
    ended(Module::new(config, &mut Unstructured::new(&bytes)).ok()?, random)
}

/// Half of the modules count their loops and calls and end in time.
fn ended(mut module: Module, random: &mut SplitMix64) -> Option<Vec<u8>> {
    if random.below(2) == 0 {
        module.ensure_termination(50).ok()?;
    }
    Some(module.to_bytes())
}

/// Modules without imports, of what the backend has.
fn smith_config(random: &mut SplitMix64) -> Config {
    let has = |features| aot_backend::features().contains(features);
    let vectors = random.below(3) == 0;
    Config {
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
    }
}

/// A program of the corpus, decoded to see whether it is fit for this.
struct Original {
    wasm: Vec<u8>,
    /// Compiling it takes a hundred times as long as compiling most generated
    /// modules: a whole C library is linked in.
    is_large: bool,
    /// What the manifest has it called with.
    first: Option<Called>,
}

/// Programs of the corpus that the world outside cannot hold up.
fn originals() -> Result<&'static [Original], CommandError> {
    static ORIGINALS: OnceLock<Result<Vec<Original>, String>> = OnceLock::new();
    let read = || {
        let mut originals = Vec::new();
        for entry in corpus::manifest() {
            let wasm = entry.wasm().map_err(|error| error.to_string())?;
            let path = entry.wasm_path();
            let Ok(program) = program::from_wasm(&path, wasm) else { continue };
            let waits = program.module.imports().iter().any(|import| {
                !matches!(import.kind, ImportKind::Func(_)) || import.name == "poll_oneoff"
            });
            if waits || originals.iter().any(|other: &Original| other.wasm == *program.wasm) {
                continue;
            }
            let first = entry.invoke.and_then(|invoke| {
                let exports = program.module.exports().iter();
                let mut exports = exports.filter(|export| export.kind == ExportKind::Func);
                let export = exports.find(|export| export.name == invoke.function)?;
                Some(Called { func: FuncIdx::new(export.index), args: invoke.params })
            });
            if corpus::altered(0, &program.wasm, 1).is_none() {
                continue;
            }
            let is_large = program.wasm.len() > LARGE;
            originals.push(Original { wasm: program.wasm.to_vec(), is_large, first });
        }
        Ok(originals)
    };
    match ORIGINALS.get_or_init(read) {
        Ok(originals) => Ok(originals),
        Err(error) => Err(CommandError::input(error)),
    }
}

/// A module, and what the manifest has it called with.
type Altered = (Vec<u8>, Option<Called>);

/// A program of the corpus with some instructions exchanged.
fn altered(random: &mut SplitMix64) -> Option<Result<Altered, CommandError>> {
    let originals = match originals() {
        Ok(originals) => originals,
        Err(error) => return Some(Err(error)),
    };
    let large = random.below(32) == 0;
    let fit: Vec<&Original> = originals.iter().filter(|each| large || !each.is_large).collect();
    let original = random.pick(&fit)?;
    let count = 1 + random.below(MOST_EXCHANGED);
    let wasm = corpus::altered(random.next_u64(), &original.wasm, count)?;
    Some(Ok((wasm, original.first.clone())))
}

/// The start function, `first` or `_start`, and every other exported function
/// with arguments of chance.
fn draw_calls(program: &Program, first: Option<Called>, random: &mut SplitMix64) -> Vec<Called> {
    let module = &program.module;
    let mut calls: Vec<Called> =
        module.start().map(|func| Called { func, args: Vec::new() }).into_iter().collect();
    calls.extend(first);
    let exports = module.exports().iter().filter(|export| export.kind == ExportKind::Func);
    let mut exports: Vec<_> = exports.collect();
    exports.sort_by_key(|export| export.name != "_start");
    for export in exports {
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
