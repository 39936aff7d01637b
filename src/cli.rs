//! The command line: what `wdiff` can be asked, as types.
//!
//! Options, spellings and exit codes are a contract with scripts. An option
//! that is part of the contract but not built yet is parsed and then refused
//! by name with exit code 3 (see [`crate::refuse`]); a spelling that is no part
//! of it is a usage error, exit code 2.

use aot_backend::{OptLevel, StablePoints};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    /// Run many programs in many configurations, against a baseline
    Gate(Box<GateArgs>),
    /// Work with reports
    #[command(subcommand)]
    Report(ReportCommand),
    /// Say what a name in a report means: a kind of divergence, a reason, a rule
    Explain(ExplainArgs),
    /// Write man pages and shell completions
    #[command(hide = true)]
    Manual(ManualArgs),
    /// Hand a program from one executor to the next and compare at every hand-over
    Migrate(Box<MigrateArgs>),
    /// Find where a divergence comes from, and make a small script that shows it
    Bisect(Box<BisectArgs>),
    /// Look at snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// What the contract names and this version has not built
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Subcommands of the contract that are not built yet.
pub const NOT_BUILT: &[&str] = &["debug", "instrument"];

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
    /// At each stable point capture the program's state, destroy it, restore it from a snapshot,
    /// and compare (needs --stable); a point executed over 512 times only at every so many
    #[arg(long, conflicts_with_all = ["oracle_only", "paranoid"])]
    pub restore: bool,
    /// Inject a fault into an instance: INSTANCE@ and what `wdiff run --inject` takes
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Add to the report what is available function by function (always in HTML)
    #[arg(long, conflicts_with = "oracle_only")]
    pub functions: bool,
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
    /// Cranelift `opt_level=speed_and_size`
    #[value(name = "speed_and_size")]
    SpeedAndSize,
}

impl Opt {
    /// The spelling on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Opt::None => "none",
            Opt::Speed => "speed",
            Opt::SpeedAndSize => "speed_and_size",
        }
    }

    /// The backend's level.
    pub fn level(self) -> OptLevel {
        match self {
            Opt::None => OptLevel::None,
            Opt::Speed => OptLevel::Speed,
            Opt::SpeedAndSize => OptLevel::SpeedAndSize,
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
    /// One file to look at in a browser
    Html,
    /// JUnit XML, for CI systems
    Junit,
    /// SARIF 2.1.0, for code hosts
    Sarif,
    /// A summary, for a pull request
    Markdown,
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

/// What of a program is called, and what it is given of the world outside.
#[derive(Clone, Debug, Args)]
pub struct WorldArgs {
    /// Call this export instead of `_start`; ARGS are its parameters
    #[arg(long, value_name = "FUNC")]
    pub invoke: Option<String>,
    /// Give the program a host directory under a guest path
    #[arg(long, value_name = "HOST::GUEST")]
    pub dir: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Standard input of the program (default: inherited; in a self-test empty)
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// argv[1..] of the program, or the parameters with --invoke
    #[arg(value_name = "ARGS", last = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

impl WorldArgs {
    /// The command line of a program that is given this.
    pub fn command_line(&self, program: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![program.into()];
        let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
        self.invoke.iter().for_each(|func| option("--invoke", func.into()));
        self.dir.iter().for_each(|dir| option("--dir", dir.into()));
        self.env.iter().for_each(|pair| option("--env", pair.into()));
        self.stdin.iter().for_each(|file| option("--stdin", file.into()));
        if !self.args.is_empty() {
            words.push("--".into());
            words.extend(self.args.iter().map(OsString::from));
        }
        words
    }

    /// Whether nothing of it was given.
    pub fn is_empty(&self) -> bool {
        self.command_line(Path::new("")).len() == 1
    }
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
    #[command(flatten)]
    #[allow(missing_docs)]
    pub world: WorldArgs,
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
    /// Inject a fault: code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT,
    /// label:FUNC:OFFSET:SLOT, boundary:FUNC:OFFSET:KIND, frame:FUNC:OFFSET:cfa,
    /// stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Compile one function at another level: none, speed, speed_and_size
    #[arg(long, value_name = "FUNC:LEVEL")]
    pub opt_of: Option<String>,
    /// Add to the report what is available function by function (always in HTML)
    #[arg(long)]
    pub functions: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `wdiff bisect`: those of a run, and more.
#[derive(Clone, Debug, Args)]
pub struct BisectArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: RunArgs,
    /// The script that shows the divergence
    #[arg(long, value_name = "FILE.wast", default_value = "wdiff-bisect.wast")]
    pub reproducer: PathBuf,
    /// Seconds to look for a smaller script
    #[arg(long, value_name = "S", default_value = "60", value_parser = parse_seconds)]
    pub budget: f64,
    /// Only say what `git bisect run` wants to know: exit code 0 for a match, 1 for a divergence,
    /// 125 for anything else
    #[arg(long, conflicts_with = "good")]
    pub git: bool,
    /// Another wdiff, whose compiler is known to be right
    #[arg(long, value_name = "WDIFF")]
    pub good: Option<PathBuf>,
    /// Another wdiff, whose compiler is at fault; may be given more than once, oldest first
    #[arg(long, value_name = "WDIFF")]
    pub bad: Vec<PathBuf>,
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
    /// Put a fault into the image, as `run --inject` does
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Compile one function at another level: none, speed, speed_and_size
    #[arg(long, value_name = "FUNC:LEVEL")]
    pub opt_of: Option<String>,
    /// How map and debug information are stored in the image
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Stored::Zlib)]
    pub compress_debug_sections: Stored,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
}

/// How unloaded sections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stored {
    /// As they are
    None,
    /// Compressed, as ELF has it for all to read
    Zlib,
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
    /// Where modules come from (default: drawn for each)
    #[arg(long, value_enum)]
    pub source: Option<Source>,
    /// Cranelift's chaos mode, which builds with the cargo feature `chaos` have (default: drawn for
    /// each module where it is there)
    #[arg(long, value_enum)]
    pub chaos: Option<Chaos>,
    /// How many modules are worked on at a time (default: as many as there are CPUs, at most 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// Write down in this file how far it is, and go on from there if it exists
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
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
    /// Who executes it in turn: oracle, or TARGET:LEVEL as in x86_64:speed
    #[arg(long, value_name = "A,B,..", value_delimiter = ',', required = true)]
    pub relay: Vec<String>,
    /// Where a side is compared between two hand-overs: at every stable point, or nowhere; a
    /// hand-over then waits for a stable point that is not executed all the time (default: at
    /// every boundary)
    #[arg(long = "break", value_name = "PLACE", value_parser = ["stable", "hand-over"])]
    pub breaks: Option<String>,
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
    /// Hand over so many times at most; then the program stays where it is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub most: Option<u64>,
    /// Do something wrong once while restoring: restore:KIND:SEED, KIND one of flip, swap, stale,
    /// order, frame, fd
    #[arg(long, value_name = "FAULT")]
    pub inject: Option<String>,
    /// Do something wrong so many times, each in a run of its own up to a stable point that is
    /// drawn, and see whether that hand-over notices
    #[arg(long, value_name = "N", conflicts_with_all = ["inject", "every", "at", "random", "most", "save", "halt"],
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub inject_random: Option<u64>,
    /// What the faults of --inject-random are drawn by
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the snapshot of the last hand-over
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// End there, once it is written; `wdiff snapshot resume` goes on from it
    #[arg(long, requires_all = ["save", "at"])]
    pub halt: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub world: WorldArgs,
    /// End, inconclusive, after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `--source`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Generated by wasm-smith
    Smith,
    /// Generated with many values alive at a time, and loops
    Pressure,
    /// Programs of the corpus with some instructions exchanged
    Corpus,
}

impl Source {
    /// The spelling on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Smith => "smith",
            Source::Pressure => "pressure",
            Source::Corpus => "corpus",
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
    /// Go on from a snapshot, in this process
    Resume(Box<ResumeArgs>),
    /// Make a snapshot of what was recorded of an interpreter: cells without types
    Convert(Box<ConvertArgs>),
}

/// `--from`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// The classic interpreter of WAMR
    Wamr,
    /// WasmEdge's interpreter
    Wasmedge,
    /// wasm3
    Wasm3,
}

impl Runtime {
    /// The spelling on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Wamr => "wamr",
            Runtime::Wasmedge => "wasmedge",
            Runtime::Wasm3 => "wasm3",
        }
    }
}

/// Options of `wdiff snapshot convert`.
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// Whose cells they are
    #[arg(long, value_enum, value_name = "RUNTIME")]
    pub from: Runtime,
    /// What was recorded: JSON, see the documentation of the snapshot format
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The program: .wasm or .wat
    #[arg(long, value_name = "PROG")]
    pub module: PathBuf,
    /// The snapshot to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
}

/// Options of `wdiff snapshot resume`.
#[derive(Clone, Debug, Args)]
pub struct ResumeArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The program that it is of: .wasm or .wat
    #[arg(long, value_name = "PROG")]
    pub module: PathBuf,
    /// Who executes it, as a side of `wdiff migrate --relay`
    #[arg(long, value_name = "SIDE", default_value = "x86_64:speed")]
    pub on: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub backend: BackendArgs,
    /// Give the program a host directory under a guest path; one for each that it had
    #[arg(long, value_name = "HOST::GUEST")]
    pub dir: Vec<String>,
    /// Standard input of the program (default: inherited; in a self-test empty)
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
}

/// `--chaos`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chaos {
    /// As Cranelift is used
    Off,
    /// Choices of chance
    On,
}

/// Options of `wdiff selftest`.
#[derive(Clone, Debug, Args)]
pub struct SelftestArgs {
    /// Programs to put faults into: .wasm, .wat, or names of the corpus (default: its quick ones)
    #[arg(value_name = "PROG")]
    pub programs: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub world: WorldArgs,
    /// What the faults are drawn by
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many faults of the code, and how many of the map
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub count: u64,
    /// Put this one in, as `wdiff run --inject` takes it, instead of any that are drawn
    #[arg(long, value_name = "FAULT", conflicts_with_all = ["seed", "count"],
          requires = "programs")]
    pub fault: Vec<String>,
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

/// Options of `wdiff gate`. The options of a run that make a matrix take lists.
#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// Programs (.wasm, .wat, images), scripts (.wast), directories of these, manifests (.json)
    /// (default: the corpus)
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Fail on whatever is worse than in this file
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write the baseline instead of comparing with it
    #[arg(long, requires = "baseline", conflicts_with = "shard")]
    pub update_baseline: bool,
    /// Run every Nth job only, from the Ith; `wdiff report merge` puts the reports together
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Programs at a time (default: one for each CPU)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Run no more once something has failed
    #[arg(long)]
    pub fail_fast: bool,
    /// Run no more after this many seconds; what is left is reported as not run
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub time_budget: Option<f64>,
    /// Go on where an earlier gate of the same programs and options was ended
    #[arg(long)]
    pub resume: bool,
    /// Per cent by which a program's code may grow (default: that of the baseline; 2 in a new one)
    #[arg(long, value_name = "PERCENT", requires = "baseline", value_parser = parse_percent)]
    pub max_code_growth: Option<f64>,
    /// Per cent by which compiling may take longer (default: that of the baseline; none in a new one)
    #[arg(long, value_name = "PERCENT", requires = "baseline", value_parser = parse_percent)]
    pub max_compile_growth: Option<f64>,
    /// Compilers
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', default_value = "cranelift")]
    pub backend: Vec<String>,
    /// Optimisation levels
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["none", "speed"])]
    pub opt: Vec<Opt>,
    /// Stable points compiled in: off, entry, loops, calls, labels
    #[arg(long, value_name = "S,..", value_delimiter = ',', default_value = "calls", value_parser = parse_stable)]
    pub stable: Vec<StablePoints>,
    /// Where stops are anchored: trap, srcloc
    #[arg(long, value_name = "A,..", value_delimiter = ',', default_value = "trap")]
    pub anchors: Vec<String>,
    /// Instruction sets
    #[arg(long, value_name = "ISA,..", value_delimiter = ',', default_value = "x86_64")]
    pub target: Vec<String>,
    /// How the subject is halted
    #[arg(long, value_name = "ENGINE,..", value_delimiter = ',', default_value = "int3")]
    pub engine: Vec<String>,
    /// CPU features, as for `run`; may be given more than once. The default makes a baseline of
    /// one machine good for another
    #[arg(long, value_name = "SPEC", default_value = "baseline", allow_hyphen_values = true)]
    pub cpu: Vec<String>,
    /// Run the cold paths of stable points too, and compare what they store
    #[arg(long)]
    pub paranoid: bool,
    /// Version of WebAssembly that scripts were written for, where a manifest does not say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub standard: Option<u8>,
    /// End a program, inconclusive, after this many stops
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_stops: Option<u64>,
    /// End a program, inconclusive, after this many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "600")]
    pub timeout: f64,
    /// Inject a fault into one program: its name, @, and what `wdiff run --inject` takes
    #[arg(long, value_name = "PROGRAM@FAULT")]
    pub inject: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `--shard I/N`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

/// `wdiff report`
#[derive(Clone, Debug, Subcommand)]
pub enum ReportCommand {
    /// Put the shards of a gate together, or show a report in another form
    Merge(MergeArgs),
}

/// Options of `wdiff report merge`.
#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// JSON reports: the shards of one gate, or one report of any kind
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the report goes (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `wdiff explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// A name, as in a report (default: all of them, a line each)
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

/// Options of `wdiff manual`.
#[derive(Clone, Debug, Args)]
pub struct ManualArgs {
    /// Where the files go: DIR/man1, DIR/completions
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let parsed = text.split_once('/').and_then(|(number, of)| {
        Some(Shard { number: number.parse().ok()?, of: of.parse().ok()? })
    });
    parsed
        .filter(|shard| shard.number >= 1 && shard.number <= shard.of)
        .ok_or_else(|| "expected I/N with I from 1 to N".to_string())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number of per cent".to_string())?;
    if percent.is_finite() && (0.0..=1e6).contains(&percent) {
        Ok(percent)
    } else {
        Err("must be from 0 to 1e6 per cent".to_string())
    }
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
