//! `wdiff bisect`: where does a divergence come from, and what shows it?
//!
//! The problem: a divergence in a program of thousands of functions is no bug
//! report. Reducing such a program by trial takes minutes to hours, because a
//! reducer knows nothing but whether the bug is still there. Here the exact state
//! before the first wrong instruction is known. So nothing is reduced: the
//! instruction is cut out with what it reads, and tried.
//!
//! ```text
//!   time      run in lockstep: the first boundary where the two differ .. time
//!   code      function, basic block, instruction; confirmed by mixing: ... mix
//!             that function alone compiled otherwise, and it goes away
//!   cut       the oracle again up to there ......................... replay
//!             the last n instructions as a module of their own ..... cut
//!             n = 1, 2, 3 .. until it still shows the fault ........ search, judge
//!             else the whole function, made small .. function, trace, shrink
//!             -> a script with one assertion ........................ script
//!   compiler  which settings and versions are right on that script  settings
//! ```
//!
//! **What a compiler at fault is.** A function from a module to an image
//! ([`compiler`]): our backend with some options, or another `wdiff` binary. With
//! `--inject code:FUNC:OFFSET:KIND` it is our backend *that miscompiles this
//! operator in this way*. The cut is another module, compiled to other code; so
//! the fault goes with the operator: the cut says where its instructions came
//! from, the fault is injected at the operator's new place, and the command that
//! reproduces it says so too. If the operator is not in the cut, the compiler has
//! nothing to be wrong about. The native instruction that the fault changes in
//! the cut need not be the one that it changed in the program: registers are
//! others, and neighbours that were folded together may be gone. Whether the cut
//! shows the fault is therefore never concluded, always tried; and a cut that
//! does not is widened by what was executed before. `--inject every:INSTRUCTION:KIND`
//! needs no places: it is a whole compiler with a bug.
//!
//! **What right is.** The oracle executes the cut; what it computes is asserted.
//! wasmi, which shares no code with it, is asked too. The compiler at fault must
//! give something else, with its code run bare, and one that is not at fault the
//! same; and the script, run as the report says, must fail and pass. So a script
//! never rests on how it was made.

pub mod body;
pub mod compiler;
pub mod confirm;
pub mod cut;
pub mod encode;
pub mod function;
pub mod judge;
pub mod mix;
pub mod native;
pub mod registers;
pub mod replay;
pub mod script;
pub mod search;
pub mod settings;
pub mod shrink;
pub mod time;
pub mod trace;
pub mod tree;
pub mod whole;

use crate::cli::{BisectArgs, Cli, Command};
use crate::error::CommandError;
use crate::inject::Fault;
use crate::invoke::{self, Calls};
use crate::lockstep::stops::{self, Control};
use crate::lockstep::{Ending, Finding};
use crate::output;
use crate::program::{self, Program};
use crate::refuse;
use crate::run;
use crate::session::Session;
use crate::watch;
use aot_backend::Image;
use body::Body;
use clap::Parser;
use compiler::Compiler;
use cut::{Cutter, Observe};
use judge::Judge;
use replay::{Replay, Step};
use reports::{
    Axis, Bisection, DivergenceKind, Guilty, Report, Reproducer, SlotName, WitnessVerdict,
};
use search::{Found, Search};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::{Culprit, First};
use wasi_host::OperationLog;
use wasm_view::{Boundary, Value};
use wasmparser::Operator;

/// Part of the time that is for straight lines, if none is found.
const LINE: f64 = 0.3;
/// What `git bisect run` takes for "cannot be tested".
const SKIP: u8 = 125;

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &BisectArgs) -> Result<u8, CommandError> {
    let git = args.git;
    match bisect(args) {
        Ok(code @ (0 | 1)) => Ok(code),
        Ok(_) if git => Ok(SKIP),
        Err(error) if git => {
            output::complain(&error);
            Ok(SKIP)
        }
        other => other,
    }
}

fn bisect(args: &BisectArgs) -> Result<u8, CommandError> {
    let args = &resolve(args)?;
    refuse::bisect(args)?;
    output::probe(args.run.output.as_deref())?;
    let control = Control::new();
    let work = || execute(args, &control);
    let (report, results) = watch::supervise(&control, args.run.timeout, work)?;
    let mut out = std::io::stdout().lock();
    for value in results {
        let _ = writeln!(out, "{value}");
    }
    output::report(&report, args.run.format, args.run.output.as_deref())?;
    Ok(report.exit_code())
}

/// Where PROG is a report of a divergence: the run that it reports.
fn resolve(args: &BisectArgs) -> Result<BisectArgs, CommandError> {
    let path = &args.run.program;
    let bytes = match std::fs::read(path) {
        Ok(bytes) if bytes.trim_ascii_start().starts_with(b"{") => bytes,
        // Whatever else it is, it is looked at as a program.
        _ => return Ok(args.clone()),
    };
    let bad = |what: &dyn std::fmt::Display| {
        CommandError::input(format_args!("{}: {what}", path.display()))
    };
    let text = String::from_utf8(bytes).map_err(|error| bad(&error))?;
    let report = reports::json::from_str(&text).map_err(|error| bad(&error))?;
    let words = report.divergence.and_then(|divergence| divergence.rerun).ok_or_else(|| {
        bad(&"a report, but not of a divergence that `wdiff run` found: there is nothing to bisect")
    })?;
    let cli = Cli::try_parse_from(&words).map_err(|error| bad(&error.kind()))?;
    let run = match cli.command {
        Command::Run(run) => *run,
        Command::Bisect(args) => args.run,
        _ => return Err(bad(&"a report, but not one of `wdiff run`")),
    };
    let mut resolved = args.clone();
    let ours = std::mem::replace(&mut resolved.run, run);
    resolved.run.format = ours.format;
    resolved.run.output = ours.output;
    resolved.run.timeout = ours.timeout.or(resolved.run.timeout);
    resolved.run.max_stops = ours.max_stops.or(resolved.run.max_stops);
    Ok(resolved)
}

/// A divergence, and what is needed to look into it.
pub struct Case<'a> {
    /// The options.
    pub args: &'a BisectArgs,
    /// Who may want all of it to end.
    pub control: &'a Arc<Control>,
    /// The program.
    pub program: &'a Program,
    /// Its calls.
    pub calls: &'a Calls,
    /// The compiler at fault.
    pub bad: &'a Compiler,
    /// What it made of the program.
    pub image: &'a Image,
    /// The host's answers up to the divergence.
    pub log: OperationLog,
    /// The divergence.
    pub finding: Finding,
    /// What is at fault, if what was executed last before the divergence is not.
    pub culprit: Option<Culprit>,
    /// Instructions executed until then.
    pub executed: u64,
    /// Stops at entries of functions before it, if they led to it.
    pub entries: Option<u64>,
    /// Entries of functions before it, of a long run that was followed everywhere.
    pub passed: Option<u64>,
    /// Where two differ at a function's entry, if only those are looked at, and
    /// instructions executed until then.
    pub coarse: Option<(Boundary, u64)>,
    /// Subjects executed.
    pub executions: Cell<u64>,
}

fn execute(
    args: &BisectArgs,
    control: &Arc<Control>,
) -> Result<(Report, Vec<Value>), CommandError> {
    let began = Instant::now();
    let program = program::load(&args.run.program)?;
    if program.image.is_some() {
        return Err(CommandError::input(
            "bisect compiles by itself: it takes a .wasm, a .wat or a report, not an image",
        ));
    }
    let mut bad =
        Compiler::of(args.bad.last().map(std::path::PathBuf::as_path), &args.run.backend)?;
    bad.options.dump_state = args.run.paranoid;
    let mut image = bad.compile(&program, None)?;
    if let Some(text) = &args.run.inject {
        let fault = Fault::parse(text, &program.module, &image)?;
        let injected = fault.inject(&mut image)?;
        output::note(&format!("injected {fault}: {}", injected.change));
        // By index from here on: names may be anything.
        bad.fault = Some(fault.to_string());
    }
    refuse::paranoid(args.run.paranoid, &image.map.producer.stable)?;
    refuse::paranoid_image(args.run.paranoid, &image.map)?;
    let calls = invoke::calls(&args.run.world, &program)?;
    let places = stops::parse_breaks(&args.run.breaks, &program, &image.map)?;
    let session = Session { program: &program, image: &image, calls: &calls };
    let mut world = run::open_world(&args.run, &program, control)?;
    let first = time::first(&session, &args.run, &mut world, places, control)?;
    let ran = &first.ran;
    let mut report = run::report(&args.run, &session, ran);
    let results = match &ran.executed.ending {
        Ending::Returned(values) if calls.shows_results => values.clone(),
        _ => Vec::new(),
    };
    let Some(finding) = ran.finding.clone() else {
        let stops = report.boundaries.stops;
        let answer = format!("nothing diverged in {stops} stops");
        report.bisect = Some(Bisection {
            axes: vec![Axis { axis: "time".to_owned(), applies: false, answer }],
            executions: first.executions,
            wall_s: began.elapsed().as_secs_f64(),
            ..Bisection::default()
        });
        return Ok((report, results));
    };
    if args.git {
        return Ok((report, results));
    }
    if !finding.is_placed() {
        let time = "the two differ before the first instruction is executed".to_owned();
        let code = "no function is at fault: the module is instantiated otherwise".to_owned();
        report.bisect = Some(Bisection {
            axes: vec![axis("time", true, time), axis("code", false, code)],
            executions: first.executions,
            wall_s: began.elapsed().as_secs_f64(),
            ..Bisection::default()
        });
        return Ok((report, results));
    }
    let mut case = Case {
        args,
        control,
        program: &program,
        calls: &calls,
        bad: &bad,
        image: &image,
        log: world.log().clone(),
        finding,
        culprit: None,
        executed: ran.executed.stats.boundaries,
        entries: first.entries,
        passed: None,
        coarse: first.coarse,
        executions: Cell::new(first.executions),
    };
    let replay = Replay { session: &session, log: &case.log };
    if first.narrowable && case.executed > time::LONG {
        case.passed = replay.entries(case.executed)?;
    }
    case.culprit = match case.spoiler(&replay)? {
        None => case.culprit()?,
        found => found,
    };
    let mut section = case.section(&first)?;
    section.executions = case.executions.get();
    section.wall_s = began.elapsed().as_secs_f64();
    report.bisect = Some(section);
    Ok((report, results))
}

impl Case<'_> {
    /// Everything about the divergence.
    fn section(&self, first: &First) -> Result<Bisection, CommandError> {
        let mut section = Bisection::default();
        let stops = first.ran.executed.stats.stops;
        let time = format!(
            "{} instructions were executed before the two differed; {}, {stops} stops",
            self.executed, first.how
        );
        section.axes.push(axis("time", true, time));
        let last = self.finding.after.unwrap_or(self.finding.at);
        let guilty = self.culprit.as_ref().map_or(last, |culprit| culprit.at);
        let body = Body::of(&self.program.wasm, &self.program.module, guilty.func);
        let code = self.guilty(guilty, body.as_ref())?;
        section.axes.push(axis("code", true, answer(&code)));
        section.code = Some(code);
        section.history = native::history(self, guilty);
        let session = Session { program: self.program, image: self.image, calls: self.calls };
        let replay = Replay { session: &session, log: &self.log };
        let last_body = Body::of(&self.program.wasm, &self.program.module, last.func);
        let (found, compilers) = self.reproduce(&replay, last, last_body.as_ref())?;
        match found {
            Err(why) => {
                section.no_reproducer = Some(why);
                section.settings = self.settings_of_program()?;
            }
            Ok((found, mut reproducer)) => {
                let good = found.shown.good.and_then(|at| compilers.get(at));
                section.title = Some(self.title(guilty, Some(&found)));
                section.native = native::rows(self.bad, good, &found.cut, guilty.func)?;
                section.settings = self.settings(&found)?;
                self.write(&found, &mut reproducer, section.title.as_deref(), guilty)?;
                section.reproducer = Some(reproducer);
            }
        }
        if section.title.is_none() {
            section.title = Some(self.title(guilty, None));
        }
        section.axes.push(settings::axis(&section.settings));
        let (versions, tried) = self.versions()?;
        section.axes.push(versions);
        section.settings.extend(tried);
        Ok(section)
    }

    fn guilty(&self, at: Boundary, body: Option<&Body<'_>>) -> Result<Guilty, CommandError> {
        let block = body.and_then(|body| body.block(at.offset));
        let (start, end) = block.map_or((at.offset, at.offset), |block| (block.start, block.end));
        let (confirmed, mixes) = self.mixes(at)?;
        Ok(Guilty {
            func: at.func.get(),
            name: self.program.module.func_name(at.func).map(str::to_owned),
            block_start: start.get(),
            block_end: end.get(),
            offset: at.offset.get(),
            instruction: self.image.listing.text_at(at.offset).map(str::to_owned),
            executed: self.executed.saturating_sub(1),
            confirmed,
            mixes,
        })
    }

    /// A cut that shows the fault, and the compilers that it was judged by.
    #[allow(clippy::type_complexity)]
    fn reproduce(
        &self,
        replay: &Replay<'_>,
        guilty: Boundary,
        body: Option<&Body<'_>>,
    ) -> Result<(Result<(Found, Reproducer), String>, Vec<Compiler>), CommandError> {
        let began = Instant::now();
        let good = self.likely_good()?;
        let none = |why: &str| Ok((Err(why.to_owned()), Vec::new()));
        match self.finding.kind {
            DivergenceKind::Map => {
                return none(
                    "the map is wrong and the code is not: no assertion of a script fails",
                );
            }
            DivergenceKind::StablePoint | DivergenceKind::Snapshot => {
                return none("what stable points promise is nothing that a script can assert");
            }
            DivergenceKind::HostCall | DivergenceKind::Exit => {
                return none("what is asked of the host is nothing that a script can assert");
            }
            _ => {}
        }
        if self
            .bad
            .fault
            .as_deref()
            .is_some_and(|fault| !fault.starts_with("code:") && !fault.starts_with("every:"))
        {
            return none("the fault injected is in the map or at a stable point, not in the code");
        }
        let Some(body) = body else {
            return none("the instruction at fault is in no function");
        };
        let Some(steps) = self.steps(replay, guilty)? else {
            return none("the oracle, executing the program again, came by otherwise");
        };
        let memory_len = self.memory_len(replay, &steps)?;
        let cutter =
            Cutter { program: self.program, body, func: guilty.func, steps: &steps, memory_len };
        let budget = Duration::from_secs_f64(self.args.budget);
        let judge = Judge {
            bad: self.bad,
            good: &good,
            control: self.control,
            deadline: Cell::new(began + budget.mul_f64(LINE)),
            end: began + budget,
            tried: Cell::new(0),
            executions: Cell::new(0),
            unconfirmed: RefCell::default(),
        };
        let observes = self.observes(guilty, body);
        let search = Search { cutter: &cutter, judge: &judge, observes: &observes, replay };
        let mut found = search.run()?;
        if let Err(why) = &found {
            judge.deadline.set(judge.end);
            let function = self.function(replay, guilty, &steps, &observes, &judge)?;
            found = function.map_err(|more| format!("{why}; {more}"));
        }
        self.executions.set(self.executions.get() + judge.executions.get());
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                let bare = judge.unconfirmed.take().map(|script| {
                    format!("; one of them shows the fault bare, where an address may decide, but {script}")
                });
                return Ok((Err(why + &bare.unwrap_or_default()), good));
            }
        };
        if !found.finished {
            output::note("the time of --budget ended before the script was as small as it can be");
        }
        let (verdict, said) = judge::witness(&found.cut)?;
        if verdict == WitnessVerdict::Contradicts {
            let why = format!("the oracle and wasmi do not agree on the cut: {said}");
            return Ok((Err(why), good));
        }
        let reproducer = Reproducer {
            wasm_bytes: found.cut.program.wasm.len() as u64,
            module_bytes: self.program.wasm.len() as u64,
            instructions: found.cut.instructions,
            span: found.span,
            candidates: judge.tried.get(),
            wall_s: began.elapsed().as_secs_f64(),
            expected: found.shown.right.to_string(),
            actual: found.shown.wrong.to_string(),
            witness: said,
            good: found.shown.good.and_then(|at| good.get(at)).map(|good| good.name.clone()),
            ..Reproducer::default()
        };
        Ok((Ok((found, reproducer)), good))
    }

    /// What led to the instruction at fault, which is the last one.
    fn steps(
        &self,
        replay: &Replay<'_>,
        guilty: Boundary,
    ) -> Result<Option<Vec<Step>>, CommandError> {
        // Where the two met other than at a boundary the count is one off.
        for before in [1, 2, 0, 3] {
            let Some(last) = self.executed.checked_sub(before) else { continue };
            let steps = replay.steps(last)?;
            if steps.last().is_some_and(|step| step.at == guilty) {
                return Ok(Some(steps));
            }
        }
        Ok(None)
    }

    fn memory_len(&self, replay: &Replay<'_>, steps: &[Step]) -> Result<u64, CommandError> {
        let last = steps.last().map_or(0, |step| step.executed);
        let Some(standing) = replay.to(last)? else { return Ok(0) };
        let memories = &standing.oracle.instance(standing.instance).memories;
        Ok(memories.first().map_or(0, |id| standing.oracle.memory(*id).len() as u64))
    }

    /// What a cut could return, the likeliest first.
    fn observes(&self, guilty: Boundary, body: &Body<'_>) -> Vec<Observe> {
        let at = self.finding.at;
        let mut list = Vec::new();
        let operator = body.at(guilty.offset).map(|op| &op.operator);
        let branch = matches!(
            operator,
            Some(Operator::If { .. } | Operator::BrIf { .. } | Operator::BrTable { .. })
        );
        let call = matches!(operator, Some(Operator::Call { .. } | Operator::CallIndirect { .. }));
        if branch {
            list.push(Observe::Branch);
        }
        let height = self
            .program
            .module
            .function(at.func)
            .and_then(|function| Some(function.operand_types(at.offset)?.len() as u32));
        let height = height.unwrap_or(0);
        let inside = at.func == guilty.func && !(call && at.offset < guilty.offset);
        for slot in &self.finding.slots {
            let found = match slot.slot {
                SlotName::Local { frame: 0, index } if call && !inside => Observe::Argument(index),
                SlotName::Local { frame: 0, index } if inside => Observe::Local(index),
                SlotName::Local { frame: 1, index } if call => Observe::Local(index),
                SlotName::Stack { frame: 0, index } if height > index => {
                    Observe::Top(height - 1 - index)
                }
                SlotName::Global(index) => Observe::Global(index),
                SlotName::Memory { memory: 0, address } => Observe::Memory(address),
                SlotName::Result(_) => Observe::Top(0),
                _ => continue,
            };
            list.push(found);
        }
        if !branch {
            list.push(Observe::Top(0));
            list.push(Observe::Nothing);
        }
        let mut seen = Vec::new();
        list.retain(|observe| {
            let new = !seen.contains(observe);
            seen.push(*observe);
            new
        });
        list.truncate(8);
        list
    }

    fn title(&self, guilty: Boundary, found: Option<&Found>) -> String {
        let producer = &self.image.map.producer;
        let instruction = self.image.listing.text_at(guilty.offset).unwrap_or("code");
        let instruction = instruction.split_whitespace().next().unwrap_or("code");
        let what = match found {
            Some(found) => {
                format!("gives {} instead of {}", found.shown.wrong, found.shown.right)
            }
            None => self.finding.what.clone(),
        };
        format!(
            "{} {} ({}, opt_level={}): {instruction} {what}",
            producer.backend,
            producer.version,
            producer.target.name(),
            producer.opt
        )
    }

    /// Writes the script, and completes what is said of it.
    fn write(
        &self,
        found: &Found,
        reproducer: &mut Reproducer,
        title: Option<&str>,
        guilty: Boundary,
    ) -> Result<(), CommandError> {
        let path: &Path = &self.args.reproducer;
        let command = confirm::command(self.bad, &found.cut, path)
            .ok_or_else(|| CommandError::bug("a script without the fault that it shows"))?;
        let remarks = [
            title.unwrap_or_default().to_owned(),
            format!(
                "Cut out of {} (SHA-256 {}),",
                self.program.path.display(),
                self.program.sha256_hex()
            ),
            format!("function {}, up to the instruction at {}.", guilty.func, guilty.offset),
            format!("Right: {}. Wrong: {}.", reproducer.expected, reproducer.actual),
            format!("Shown by: {}", command.join(" ")),
        ];
        reproducer.text = script::write(&found.cut, &found.shown.right, &remarks);
        reproducer.file = path.display().to_string();
        reproducer.command = command;
        std::fs::write(path, &reproducer.text)
            .map_err(|error| CommandError::file("write", path, error))
    }
}

fn axis(name: &str, applies: bool, answer: String) -> Axis {
    Axis { axis: name.to_owned(), applies, answer }
}

fn answer(code: &Guilty) -> String {
    let name = code.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let instruction = code.instruction.as_deref().unwrap_or("the instruction");
    let confirmed = match code.confirmed {
        Some(true) => "; compiled otherwise, alone, it is right",
        Some(false) => "; not confirmed: with it compiled otherwise, alone, it still diverges",
        None => "; not confirmed, see below",
    };
    format!(
        "function #{}{name}, basic block {:#x} to {:#x}, {instruction} at {:#x}{confirmed}",
        code.func, code.block_start, code.block_end, code.offset
    )
}
