//! The command line: what `wdiff` can be asked, as types.
//!
//! Options, spellings and exit codes are a contract with scripts. An option
//! that is part of the contract but not built yet is parsed and then refused
//! by name with exit code 3 (see [`crate::refuse`]); a spelling that is no part
//! of it is a usage error, exit code 2.

use aot_backend::StablePoints;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Checks AOT-compiled WebAssembly against an interpreter, one Wasm
/// instruction at a time.
///
/// (Not GNU wdiff, which compares text word by word.)
#[derive(Debug, Parser)]
#[command(name = "wdiff", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program natively under the tracer and compare every stop with the oracle
    Run(Box<RunArgs>),
    /// Compile a program into an image: native code, DWARF and map in one ELF file
    Compile(CompileArgs),
    /// Print or check the map of an image
    Map(MapArgs),
    /// Run scripts of the specification's test suite
    Wast(WastArgs),
    /// Put faults into programs and see whether they are caught
    Selftest(SelftestArgs),
    /// Run generated modules in lockstep
    Fuzz(FuzzArgs),
    /// Hand a program from one executor to the next and compare at every hand-over
    Migrate(Box<MigrateArgs>),
    /// Look at snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// What the contract names and this version has not built
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Subcommands of the contract that are not built yet.
pub const NOT_BUILT: &[&str] = &["bisect", "gate", "report", "debug", "instrument", "explain"];

/// `wdiff wast`
#[derive(Debug, Args)]
pub struct WastArgs {
    /// Scripts
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Run them on the oracle alone
    #[arg(long, conflicts_with_all = ["backend", "opt", "stable", "anchors", "target", "cpu", "engine",
          "compare", "max_stops", "timeout", "paranoid", "inject", "format", "output"])]
    pub oracle_only: bool,
    /// Version of WebAssembly that the scripts were written for: what later versions allow is
    /// then counted apart where a script calls it invalid
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub standard: Option<u8>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    /// How the subject is halted: int3, probe, rsp
    #[arg(long, value_name = "ENGINE", default_value = "int3")]
    pub engine: String,
    /// Which slots are compared: full, changed
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub compare: String,
    /// End a script, inconclusive, after this many stops
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_stops: Option<u64>,
    /// End, inconclusive, after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Run the cold paths of stable points too, and compare what they store
    #[arg(long)]
    pub paranoid: bool,
    /// Inject a fault into an instance: INSTANCE@ and what `wdiff run --inject` takes
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `--opt`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Opt {
    /// Cranelift `opt_level=none`
    None,
    /// Cranelift `opt_level=speed`
    Speed,
}

impl Opt {
    /// The spelling on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Opt::None => "none",
            Opt::Speed => "speed",
        }
    }
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// Schema wdiff-report/1
    Json,
    /// Not built yet
    Html,
    /// Not built yet
    Junit,
    /// Not built yet
    Sarif,
}

/// Options that decide which native code is made of a program.
#[derive(Clone, Debug, Args)]
pub struct BackendArgs {
    /// Compiler that makes the native code
    #[arg(long, value_name = "NAME", default_value = "cranelift")]
    pub backend: String,
    /// Optimisation level
    #[arg(long, value_enum, default_value = "none")]
    pub opt: Opt,
    /// Stable points compiled in: off, entry, loops, calls, labels
    #[arg(long, value_name = "S", default_value = "off", value_parser = parse_stable)]
    pub stable: StablePoints,
    /// Where stops are anchored: trap, srcloc
    #[arg(long, value_name = "A", default_value = "trap")]
    pub anchors: String,
    /// Instruction set: x86_64, aarch64, riscv64, s390x
    #[arg(long, value_name = "ISA", default_value = "x86_64")]
    pub target: String,
    /// CPU features: baseline, native, or a list of +feature and -feature
    #[arg(long, value_name = "SPEC", default_value = "native", allow_hyphen_values = true)]
    pub cpu: String,
}

/// Options of a run in lockstep.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The program: .wasm, .wat or an image made by `wdiff compile`
    #[arg(value_name = "PROG")]
    pub program: PathBuf,
    /// Stop at every boundary (the default)
    #[arg(long)]
    pub break_every_insn: bool,
    /// Stop only at stable points (`stable`), in a function (`FUNC`) or at an instruction (`FUNC:OFFSET`)
    #[arg(long = "break", value_name = "WHERE")]
    pub breaks: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    /// How the subject is halted: int3, probe, rsp
    #[arg(long, value_name = "ENGINE", default_value = "int3")]
    pub engine: String,
    /// Which slots are compared: full, changed
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub compare: String,
    /// Compare only every Nth boundary
    #[arg(long, value_name = "N")]
    pub sample: Option<u64>,
    /// Begin comparing at the Nth executed boundary
    #[arg(long, value_name = "N")]
    pub from_boundary: Option<u64>,
    /// Call this export instead of `_start`; ARGS are its parameters
    #[arg(long, value_name = "FUNC")]
    pub invoke: Option<String>,
    /// Give the program a host directory under a guest path
    #[arg(long, value_name = "HOST::GUEST")]
    pub dir: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Standard input of the program (default: inherited)
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Write the operation log of all host calls
    #[arg(long, value_name = "LOG", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Answer host calls from an operation log
    #[arg(long, value_name = "LOG")]
    pub replay: Option<PathBuf>,
    /// End, inconclusive, after this many stops
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_stops: Option<u64>,
    /// End, inconclusive, after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Write an ELF core of the subject at the boundary named by --at
    #[arg(long, value_name = "FILE", requires = "at")]
    pub core: Option<PathBuf>,
    /// The boundary for --core, `#N` its Nth execution (default the first)
    #[arg(long, value_name = "FUNC:OFFSET[#N]", requires = "core")]
    pub at: Option<String>,
    /// Run the cold paths of stable points too, and compare what they store
    #[arg(long)]
    pub paranoid: bool,
    /// Inject a fault: code:FUNC:OFFSET:KIND, map:FUNC:OFFSET:SLOT or stable:FUNC:OFFSET:KIND
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// argv[1..] of the program, or the parameters with --invoke
    #[arg(value_name = "ARGS", last = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Options of `wdiff compile`.
#[derive(Clone, Debug, Args)]
pub struct CompileArgs {
    /// The program: .wasm or .wat
    #[arg(value_name = "PROG")]
    pub program: PathBuf,
    /// The image to write; its listing goes beside it as IMAGE.lst
    #[arg(short, long, value_name = "IMAGE")]
    pub output: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
}

/// Options of `wdiff map`.
#[derive(Clone, Debug, Args)]
pub struct MapArgs {
    /// An image made by `wdiff compile`, or a program to compile
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Check the map against the code, the CFI and the DWARF
    #[arg(long)]
    pub check: bool,
    /// Print the map of one function, `#N` or a name
    #[arg(long, value_name = "F")]
    pub func: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
}

/// Options of `wdiff fuzz`.
#[derive(Clone, Debug, Args)]
pub struct FuzzArgs {
    /// The first seed; each module has the next one
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub count: u64,
    /// Optimisation level (default: drawn for each module)
    #[arg(long, value_enum)]
    pub opt: Option<Opt>,
    /// Where stops are anchored: trap, srcloc (default: drawn for each module)
    #[arg(long, value_name = "A")]
    pub anchors: Option<String>,
    /// CPU features as for `run` (default: drawn for each module)
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub cpu: Option<String>,
    /// Stable points as for `run` (default: drawn for each module); where there are some, half of
    /// the modules run with --paranoid
    #[arg(long, value_name = "S", value_parser = parse_stable)]
    pub stable: Option<StablePoints>,
    /// End after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Directory for modules with which something is wrong, made when needed
    #[arg(long, value_name = "DIR", default_value = "wdiff-fuzz")]
    pub failures: PathBuf,
}

/// Options of `wdiff migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// The program: .wasm or .wat
    #[arg(value_name = "PROG")]
    pub program: PathBuf,
    /// Who executes it in turn: oracle, x86_64:none, x86_64:speed
    #[arg(long, value_name = "A,B,..", value_delimiter = ',', required = true)]
    pub relay: Vec<String>,
    /// Hand over at every Nth stable point (default: at every one)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: Option<u64>,
    /// Hand over once, at the Nth stable point
    #[arg(long, value_name = "N", conflicts_with_all = ["every", "random"],
          value_parser = clap::value_parser!(u64).range(1..))]
    pub at: Option<u64>,
    /// Hand over after 1 to 32 stable points, drawn each time
    #[arg(long, value_name = "SEED", conflicts_with = "every")]
    pub random: Option<u64>,
    /// Do something wrong once while restoring: restore:KIND:SEED, KIND one of flip, swap, stale,
    /// order, frame
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Write the snapshot of the last hand-over
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    /// Call this export instead of `_start`; ARGS are its parameters
    #[arg(long, value_name = "FUNC")]
    pub invoke: Option<String>,
    /// Give the program a host directory under a guest path
    #[arg(long, value_name = "HOST::GUEST")]
    pub dir: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Standard input of the program (default: inherited)
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// End, inconclusive, after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// argv[1..] of the program, or the parameters with --invoke
    #[arg(value_name = "ARGS", last = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

impl MigrateArgs {
    /// The options that it shares with `wdiff run`.
    pub fn as_run(&self) -> RunArgs {
        RunArgs {
            program: self.program.clone(),
            break_every_insn: true,
            breaks: Vec::new(),
            backend: self.backend.clone(),
            engine: "int3".to_owned(),
            compare: "full".to_owned(),
            sample: None,
            from_boundary: None,
            invoke: self.invoke.clone(),
            dir: self.dir.clone(),
            env: self.env.clone(),
            stdin: self.stdin.clone(),
            record: None,
            replay: None,
            max_stops: None,
            timeout: self.timeout,
            core: None,
            at: None,
            paranoid: false,
            inject: None,
            format: self.format,
            output: self.output.clone(),
            args: self.args.clone(),
        }
    }
}

/// `wdiff snapshot`
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Print what is in a snapshot
    Show {
        /// The snapshot
        file: PathBuf,
    },
    /// Compare two snapshots; exit code 1 if they differ
    Diff {
        /// One snapshot
        file: PathBuf,
        /// Another one
        other: PathBuf,
    },
    /// Check a snapshot, and whether it fits a program
    Check {
        /// The snapshot
        file: PathBuf,
        /// The program that it should be of: .wasm or .wat
        program: Option<PathBuf>,
    },
    /// Not built yet
    Resume {
        /// The snapshot
        #[arg(required = true)]
        rest: Vec<OsString>,
    },
    /// Not built yet
    Convert {
        /// The snapshot
        #[arg(required = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
}

/// Options of `wdiff selftest`.
#[derive(Clone, Debug, Args)]
pub struct SelftestArgs {
    /// Programs to put faults into: .wasm, .wat, or names of the corpus (default: its quick ones)
    #[arg(value_name = "PROG")]
    pub programs: Vec<PathBuf>,
    /// What the faults are drawn by
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many code faults, and how many map faults
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub count: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

fn parse_stable(text: &str) -> Result<StablePoints, String> {
    StablePoints::from_name(text).ok_or_else(|| {
        let names = StablePoints::ALL.map(StablePoints::name);
        format!("expected one of {}", names.join(", "))
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    if seconds.is_finite() && seconds > 0.0 && seconds <= 1e9 {
        Ok(seconds)
    } else {
        Err("must be above 0 and at most 1e9 seconds".to_string())
    }
}
