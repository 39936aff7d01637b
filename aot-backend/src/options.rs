//! What the caller can choose, and the Cranelift target made from it.
//!
//! The settings follow Wasmtime's where Wasmtime has an opinion, so that a
//! finding here says something about code that people run.

use crate::error::CompileError;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use dwarf_map::{Isa, StablePoints};
use std::collections::BTreeSet;
use std::str::FromStr;
use wasm_view::{FuncIdx, WasmOffset};

/// Version of the compiler that makes the code.
pub const CRANELIFT_VERSION: &str = cranelift_codegen::VERSION;

/// Whether this build has Cranelift's chaos mode. It is another build of
/// Cranelift, in which each choice asks first, so it is a cargo feature.
pub const HAS_CHAOS: bool = cfg!(feature = "chaos");

/// Log2 of the stack guard's size that the code relies on: a frame larger than
/// this touches each 4,096-byte page on its way down (`probestack_size_log2`,
/// Wasmtime's default), so one unmapped page below the stack catches every
/// overflow.
pub const STACK_GUARD_LOG2: u8 = 12;

/// How hard the compiler tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OptLevel {
    /// No mid-end; values are kept alive for the map.
    #[default]
    None,
    /// Cranelift's `speed`.
    Speed,
    /// Cranelift's `speed_and_size`.
    SpeedAndSize,
}

impl OptLevel {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
            OptLevel::SpeedAndSize => "speed_and_size",
        }
    }
}

/// Where execution can be halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Anchors {
    /// At a trap instruction for every boundary.
    #[default]
    Trap,
    /// At instructions of the code as it ships, for which it is proven that
    /// they are executed when the Wasm execution is at their boundary.
    Srcloc,
}

impl Anchors {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Anchors::Trap => "trap",
            Anchors::Srcloc => "srcloc",
        }
    }
}

/// Which instructions the code may use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum CpuSpec {
    /// What every CPU of the instruction set has that Cranelift makes code for: on
    /// x86-64 SSE2 and nothing more.
    Baseline,
    /// Whatever this machine has; of another instruction set's CPUs, which this
    /// machine is not, the baseline.
    #[default]
    Native,
    /// One of those, with single features switched.
    Edited {
        /// Whether the edits start from this machine's features.
        native: bool,
        /// Features without Cranelift's `has_`, such as `sse41`, in order.
        edits: Vec<CpuEdit>,
    },
}

/// One feature switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuEdit {
    /// The feature, such as `bmi1`.
    pub feature: String,
    /// On or off.
    pub enable: bool,
}

/// A CPU description that does not read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `baseline`, `native`, `+FEATURE` nor `-FEATURE`")]
pub struct CpuSpecError(String);

impl FromStr for CpuSpec {
    type Err = CpuSpecError;

    /// `baseline` or `native` (understood when missing), then any number of
    /// `+FEATURE` and `-FEATURE`, separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut native = true;
        let mut edits = Vec::new();
        for (position, part) in text.split(',').enumerate() {
            match (position, part) {
                (0, "baseline") => native = false,
                (0, "native") => {}
                _ => {
                    let edit = match part.split_at_checked(1) {
                        Some(("+", feature)) if !feature.is_empty() => (feature, true),
                        Some(("-", feature)) if !feature.is_empty() => (feature, false),
                        _ => return Err(CpuSpecError(part.to_owned())),
                    };
                    edits.push(CpuEdit { feature: edit.0.to_owned(), enable: edit.1 });
                }
            }
        }
        Ok(match (native, edits.is_empty()) {
            (true, true) => CpuSpec::Native,
            (false, true) => CpuSpec::Baseline,
            (native, false) => CpuSpec::Edited { native, edits },
        })
    }
}

/// Functions that can be entered in the middle. What is live at a stable point of one
/// must be where the way in puts it, which costs it something all the time; a program
/// that is handed over needs it of the functions that have frames, and of no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Restorable {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Some.
    Only(BTreeSet<FuncIdx>),
}

impl Restorable {
    /// Whether a function is one of them.
    pub fn has(&self, func: FuncIdx) -> bool {
        match self {
            Restorable::None => false,
            Restorable::All => true,
            Restorable::Only(some) => some.contains(&func),
        }
    }
}

/// How to compile a module.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Which instruction set to compile for.
    pub isa: Isa,
    /// How hard the compiler tries.
    pub opt: OptLevel,
    /// Where execution can be halted.
    pub anchors: Anchors,
    /// One function that is compiled at another level than the rest.
    pub apart: Option<(FuncIdx, OptLevel)>,
    /// Which instructions it may use.
    pub cpu: CpuSpec,
    /// Settings of Cranelift's, by name, to be otherwise than they are here: for
    /// finding out which of them a fault needs.
    pub flags: Vec<(String, String)>,
    /// Which stable points to compile in.
    pub stable: StablePoints,
    /// What Cranelift's chaos mode draws from: it then makes choices of chance
    /// wherever any choice gives correct code. Without the cargo feature `chaos`
    /// refused by name.
    pub chaos: Option<u64>,
    /// Which functions can be entered at each of them with a state that was stored
    /// elsewhere.
    pub restorable: Restorable,
    /// Whether the cold paths of stable points store the whole state, as another
    /// witness of it, though the map has it all. Code that is restorable or that
    /// traps at its boundaries does in any case.
    pub dump_state: bool,
    /// Bytes by which all functions lie behind where they would, as far as the
    /// alignment of their constants allows. What a place costs by itself (some
    /// processors are slow where a branch meets a 32-byte line) can be told from
    /// what code costs by measuring in several.
    pub shift: u32,
    /// Whether to write DWARF for debuggers (and for it, the listing).
    pub debug_info: bool,
    /// Whether map and DWARF are stored compressed in the file.
    pub compress: bool,
    /// The program's name, for DWARF.
    pub program: String,
    /// Directory in which a debugger will find the listing.
    pub listing_dir: String,
    /// File name of the listing.
    pub listing_file: String,
}

impl CompileOptions {
    /// Whether the cold paths of a function store the whole state.
    pub(crate) fn dumps(&self, func: FuncIdx) -> bool {
        self.dump_state || self.restorable.has(func) || self.anchors == Anchors::Trap
    }
}

/// The features that x86-64 code for this CPU may use, by Cranelift's names without
/// `has_`, in alphabetical order. Empty when the description is not valid;
/// [`crate::compile()`] says why.
pub fn cpu_features(cpu: &CpuSpec) -> Vec<String> {
    target(Isa::X86_64, OptLevel::None, cpu, &[])
        .map(|isa| enabled_features(&*isa))
        .unwrap_or_default()
}

/// The enabled features of a target.
pub(crate) fn enabled_features(isa: &dyn isa::TargetIsa) -> Vec<String> {
    let mut features: Vec<String> = isa
        .isa_flags()
        .into_iter()
        .filter(|flag| flag.as_bool() == Some(true))
        .filter_map(|flag| flag.name.strip_prefix("has_").map(str::to_owned))
        .collect();
    features.sort();
    features
}

/// Whether there are registers for 128-bit vectors; on riscv64 they are an extension.
pub(crate) fn has_vectors(isa: Isa, target: &dyn isa::TargetIsa) -> bool {
    isa != Isa::Riscv64 || enabled_features(target).iter().any(|name| name == "v")
}

/// The Cranelift target for these options.
pub(crate) fn target(
    isa: Isa,
    opt: OptLevel,
    cpu: &CpuSpec,
    flags: &[(String, String)],
) -> Result<OwnedTargetIsa, CompileError> {
    let (native, edits) = match cpu {
        CpuSpec::Baseline => (false, &[][..]),
        CpuSpec::Native => (true, &[][..]),
        CpuSpec::Edited { native, edits } => (*native, &edits[..]),
    };
    let triple = match isa {
        Isa::X86_64 => "x86_64-unknown-linux-gnu",
        Isa::Aarch64 => "aarch64-unknown-linux-gnu",
        Isa::Riscv64 => "riscv64gc-unknown-linux-gnu",
        Isa::S390x => "s390x-unknown-linux-gnu",
    };
    let mut builder = isa::lookup_by_name(triple).map_err(CompileError::bug)?;
    if native && isa == Isa::X86_64 {
        cranelift_native::infer_native_flags(&mut builder).map_err(CompileError::bug)?;
    }
    // What its emulator has, as far as code depends on it.
    if native && isa == Isa::Riscv64 {
        builder.set("has_v", "true").map_err(CompileError::bug)?;
    }
    for CpuEdit { feature, enable } in edits {
        let known = || {
            builder
                .iter()
                .filter_map(|setting| setting.name.strip_prefix("has_"))
                .collect::<Vec<_>>()
        };
        if !known().contains(&feature.as_str()) {
            return Err(CompileError::UnknownCpuFeature {
                name: feature.clone(),
                known: known().join(" "),
            });
        }
        builder
            .set(&format!("has_{feature}"), if *enable { "true" } else { "false" })
            .map_err(CompileError::bug)?;
    }
    let finished = builder.finish(settings_of(opt, flags)?).map_err(CompileError::bug)?;
    // Traps of two bytes, and instructions at odd halves of words.
    if isa == Isa::Riscv64 && enabled_features(&*finished).iter().any(|name| name == "zca") {
        let feature = "compressed instructions (zca) on riscv64".to_owned();
        return Err(CompileError::Unsupported { offset: WasmOffset::default(), feature });
    }
    Ok(finished)
}

/// Target-independent settings.
fn settings_of(opt: OptLevel, flags: &[(String, String)]) -> Result<settings::Flags, CompileError> {
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    let guard = STACK_GUARD_LOG2.to_string();
    let mut builder = settings::builder();
    for (name, value) in [
        ("opt_level", opt.name()),
        ("is_pic", "false"),
        // The image calls its own rounding functions (`libcalls`).
        ("use_colocated_libcalls", "true"),
        ("unwind_info", "true"),
        // The unwinder and people with a debugger both want rbp chains.
        ("preserve_frame_pointers", "true"),
        ("enable_multi_ret_implicit_sret", "true"),
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("probestack_size_log2", guard.as_str()),
        // Wasmtime's defaults (`Config::new`).
        ("enable_heap_access_spectre_mitigation", "true"),
        ("enable_table_access_spectre_mitigation", "true"),
        ("enable_nan_canonicalization", "false"),
        ("enable_verifier", verify),
        // Says where blocks begin; the code is the same.
        ("machine_code_cfg_info", "true"),
    ] {
        builder.set(name, value).map_err(CompileError::bug)?;
    }
    for (name, value) in flags {
        builder.set(name, value).map_err(CompileError::bug)?;
    }
    Ok(settings::Flags::new(builder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_descriptions_read_back() {
        assert_eq!("native".parse(), Ok(CpuSpec::Native));
        assert_eq!("baseline".parse(), Ok(CpuSpec::Baseline));
        let edited = "baseline,+sse41,-avx".parse::<CpuSpec>();
        let edit = |feature: &str, enable| CpuEdit { feature: feature.into(), enable };
        let edits = vec![edit("sse41", true), edit("avx", false)];
        assert_eq!(edited, Ok(CpuSpec::Edited { native: false, edits }));
        for bad in ["", "fast", "+", "native,baseline", "+a,,+b"] {
            assert!(bad.parse::<CpuSpec>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn edits_change_the_features() {
        assert_eq!(cpu_features(&CpuSpec::Baseline), Vec::<String>::new());
        let spec = "baseline,+sse41,+bmi1,-sse41".parse().expect("well formed");
        assert_eq!(cpu_features(&spec), ["bmi1"]);
        let unknown = "baseline,+sse5".parse().expect("well formed");
        assert!(matches!(
            target(Isa::X86_64, OptLevel::None, &unknown, &[]),
            Err(CompileError::UnknownCpuFeature { name, .. }) if name == "sse5"
        ));
    }
}
