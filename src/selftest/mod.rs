//! `wdiff selftest`: does the comparator see what is wrong?
//!
//! ```text
//!   seed --> draw --> fault --.-- put into a copy of the image, run in
//!                             |   lockstep ............. what was reported
//!                             |
//!                             '-- judged without comparator and oracle:
//!                                 reached? effective? .. what should be
//!                                 when does state change? .. and by when
//! ```
//!
//! [`prepare`](mod@prepare) makes a program ready, [`draw`] chooses faults, the [`judge`] has
//! them executed by a [`stepper`] over two bare [`machine`]s, [`locate`](mod@locate) finds
//! when they first change state, [`verdict`] holds the two answers against each other and
//! counts. An effective fault that is not reported in time fails the self-test.

pub mod draw;
pub mod judge;
pub mod locate;
pub mod machine;
pub mod prepare;
pub mod stepper;
pub mod verdict;
pub mod watchdog;

use crate::cli::{BackendArgs, SelftestArgs, WorldArgs};
use crate::error::CommandError;
use crate::inject::Fault;
use crate::lockstep::follow::Requests;
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Finding};
use crate::output;
use crate::refuse;
use crate::session::Session;
use crate::watch;
use aot_backend::Image;
use draw::{Draw, Drawn};
use judge::Case;
use prepare::{Candidate, Prepared, prepare};
use reports::{Report, SelftestFault, SelftestOutcome};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use stepper::Effect;
use verdict::{Due, Said, decide, tally};
use wasi_host::World;
use watchdog::Watchdog;

/// One program that only traps is tried for so many others: they are many and
/// tiny.
const OTHERS_PER_TRAP: usize = 6;

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &SelftestArgs) -> Result<u8, CommandError> {
    refuse::selftest(&args.backend)?;
    refuse::selftest_format(args.format)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let report = watch::supervise(&control, None, || run(args, &control))?;
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// How many faults of each sort are to be put into a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quota {
    code: u64,
    map: u64,
}

fn run(args: &SelftestArgs, all: &Arc<Control>) -> Result<Report, CommandError> {
    let began = Instant::now();
    let (used, faults) = match args.fault.as_slice() {
        [] => drawn(args, all)?,
        named => given(args, named, all)?,
    };
    Ok(report(args, began, &used, faults))
}

/// Tries faults that were named, each in each program.
fn given(
    args: &SelftestArgs,
    named: &[String],
    all: &Arc<Control>,
) -> Result<(Vec<Prepared>, Vec<SelftestFault>), CommandError> {
    let (mut used, mut faults) = (Vec::new(), Vec::new());
    for program in &args.programs {
        let prepared = prepare(&candidate(program, &args.world)?, &args.backend, all)?;
        for text in named {
            let fault = Fault::parse(text, &prepared.program.module, &prepared.image)?;
            let drawn = Drawn::given(&prepared, fault)?;
            faults.push(attempt(&prepared, &drawn, &args.backend, all)?);
        }
        used.push(prepared);
    }
    Ok((used, faults))
}

/// Draws as many faults as are asked for and tries them.
fn drawn(
    args: &SelftestArgs,
    all: &Arc<Control>,
) -> Result<(Vec<Prepared>, Vec<SelftestFault>), CommandError> {
    let mut draw = Draw::new(args.seed);
    let candidates = candidates(args, &mut draw)?;
    let mut faults = Vec::new();
    let mut used: Vec<Prepared> = Vec::new();
    // What a program cannot take is passed on to the next one.
    let mut open = Quota::default();
    let (count, turns) = (args.count, candidates.len() as u64);
    let (mut asked, mut barren) = (0, 0);
    while asked < turns || open != Quota::default() && barren < turns {
        let candidate = &candidates[(asked % turns) as usize];
        let share = count / turns + u64::from(asked < count % turns);
        if asked < turns {
            open.code += share;
            open.map += share;
        }
        asked += 1;
        if open == Quota::default() {
            continue;
        }
        let known = used.iter().position(|prepared| prepared.candidate.name == candidate.name);
        let prepared = match known {
            Some(at) => used.swap_remove(at),
            None => match prepare(candidate, &args.backend, all) {
                Ok(prepared) => prepared,
                // Of the corpus, some have nothing to run.
                Err(CommandError::Inconclusive { reason: "unusable", .. })
                    if args.programs.is_empty() =>
                {
                    barren += 1;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        let before = open;
        while open.code > 0
            && let Some(drawn) = draw.code(&prepared)
        {
            open.code -= 1;
            faults.push(attempt(&prepared, &drawn, &args.backend, all)?);
        }
        while open.map > 0
            && let Some(drawn) = draw.map(&prepared)
        {
            open.map -= 1;
            faults.push(attempt(&prepared, &drawn, &args.backend, all)?);
        }
        barren = if open == before { barren + 1 } else { 0 };
        used.push(prepared);
    }
    if open != Quota::default() {
        return Err(CommandError::input(format_args!(
            "the programs have no place for {} more code faults and {} more map faults; ask for fewer with --count",
            open.code, open.map
        )));
    }
    Ok((used, faults))
}

/// The programs, in an order of chance.
fn candidates(args: &SelftestArgs, draw: &mut Draw) -> Result<Vec<Candidate>, CommandError> {
    if !args.programs.is_empty() {
        return args.programs.iter().map(|program| candidate(program, &args.world)).collect();
    }
    if !args.world.is_empty() {
        return Err(CommandError::input(
            "what programs are given is said beside a PROG; the corpus says it of its own",
        ));
    }
    let usable = corpus::quick().into_iter().filter(|program| program.dirs.is_empty());
    let (mut traps, mut others): (Vec<_>, Vec<_>) =
        usable.partition(|program| program.name.starts_with("traps/"));
    draw.shuffle(&mut traps);
    draw.shuffle(&mut others);
    let mut chosen = Vec::new();
    for (at, program) in others.iter().enumerate() {
        chosen.push(Candidate::of_corpus(program)?);
        if (at + 1).is_multiple_of(OTHERS_PER_TRAP)
            && let Some(program) = traps.pop()
        {
            chosen.push(Candidate::of_corpus(&program)?);
        }
    }
    Ok(chosen)
}

/// A file and what it is given, or the name of a program of the corpus.
fn candidate(program: &Path, world: &WorldArgs) -> Result<Candidate, CommandError> {
    match program.to_str().filter(|_| !program.exists()).map(corpus::program) {
        Some(Ok(known)) if world.is_empty() => Candidate::of_corpus(&known),
        Some(Ok(known)) => Err(CommandError::input(format_args!(
            "{}: the corpus says what its programs are given",
            known.name
        ))),
        _ => Ok(Candidate::of_path(program, world)),
    }
}

/// Puts one fault in and finds out what becomes of it.
fn attempt(
    prepared: &Prepared,
    drawn: &Drawn,
    backend: &BackendArgs,
    all: &Arc<Control>,
) -> Result<SelftestFault, CommandError> {
    if let Some(request) = all.request() {
        return Err(CommandError::Inconclusive {
            reason: "interrupted",
            detail: format!("the self-test was asked to end ({request:?})"),
        });
    }
    all.stops.fetch_add(1, Ordering::Relaxed);
    let mut image = prepared.image.clone();
    let injected = drawn.fault.inject(&mut image)?;
    let said = said(prepared, &image, all)?;
    let judged = Case { prepared, image: &image, drawn, injected: &injected, all }.judge(&said);
    let (effect, due, said) = match judged {
        Ok((effect, due)) => (effect, due, said),
        // Nobody knows what should have been reported.
        Err(CommandError::Inconclusive { reason: "timeout", detail })
            if all.request().is_none() =>
        {
            (Effect::Nothing, Due { from: 0, by: None }, Said::Unknown(detail))
        }
        Err(error) => return Err(error),
    };
    let (mut outcome, mut delay) = decide(&effect, due, &said);
    // What changed first may have been one of the bits that the specification leaves
    // open: the comparator saw it, and took it. When the report was due is not known then.
    if outcome == SelftestOutcome::Late
        && let Some(by) = due.by
        && adopted_at(prepared, &image, by, all)? > adopted_at(prepared, &prepared.image, by, all)?
    {
        (outcome, delay) = (SelftestOutcome::Caught, None);
    }
    let fault = drawn.fault.to_string();
    Ok(SelftestFault {
        rerun: prepared.candidate.rerun(&fault, backend),
        fault,
        kind: drawn.kind.clone(),
        program: prepared.candidate.name.clone(),
        instruction: draw::instruction(prepared, drawn.at),
        change: injected.change,
        outcome,
        delay,
        effect: match effect {
            Effect::Changed(change) => {
                Some(format!("at execution {}: {}", change.hit, change.what))
            }
            _ => None,
        },
        report: match said {
            Said::Nothing => None,
            Said::Adopted(count) => Some(format!("{count} more choices of the subject adopted")),
            Said::Divergence { position, what } => Some(format!("at position {position}: {what}")),
            Said::Unknown(why) => Some(why),
        },
    })
}

/// Runs the faulty image in lockstep.
fn said(prepared: &Prepared, image: &Image, all: &Arc<Control>) -> Result<Said, CommandError> {
    let session = Session { program: &prepared.program, image, calls: &prepared.calls };
    let control = Control::new();
    let _watchdog = Watchdog::new(all, &[&control], prepared.patience);
    let mut world = World::replaying(prepared.log.clone(), false);
    // The oracle leads, so no more stops than those of the unchanged program.
    let max_stops = Some(prepared.trace.len() as u64 + 1);
    let requests = Requests { max_stops, ..Requests::default() };
    let executed = session
        .execute(&mut world, requests, &control)
        .and_then(|executed| session.trace_back(executed, false, &prepared.log, &control));
    let executed = match executed {
        Ok(traced) => traced.executed,
        Err(error @ CommandError::Bug { .. }) => return Err(error),
        Err(error) => return Ok(Said::Unknown(error.to_string())),
    };
    let adopted: u64 = executed.stats.adoptions.values().sum();
    Ok(match &executed.ending {
        Ending::Diverged(finding) => {
            Said::Divergence { position: finding.index, what: in_short(finding) }
        }
        Ending::Inconclusive { detail, .. } => Said::Unknown(detail.clone()),
        _ => match adopted.saturating_sub(prepared.adoptions) {
            0 => Said::Nothing,
            more => Said::Adopted(more),
        },
    })
}

/// How many choices of an image's the comparator adopts at one stop.
fn adopted_at(
    prepared: &Prepared,
    image: &Image,
    position: u64,
    all: &Arc<Control>,
) -> Result<u64, CommandError> {
    let session = Session { program: &prepared.program, image, calls: &prepared.calls };
    let control = Control::new();
    let _watchdog = Watchdog::new(all, &[&control], prepared.patience);
    let adopted_in = |stops: u64| {
        let mut world = World::replaying(prepared.log.clone(), false);
        let requests = Requests { max_stops: Some(stops), ..Requests::default() };
        let executed = session.execute(&mut world, requests, &control)?;
        Ok::<u64, CommandError>(executed.stats.adoptions.values().sum())
    };
    Ok(adopted_in(position + 1)?.saturating_sub(adopted_in(position)?))
}

fn in_short(finding: &Finding) -> String {
    let (kind, at) = (finding.kind, finding.at);
    format!("{kind} at {} of function {}: {}", at.offset, at.func, finding.what)
}

/// Builds the report.
fn report(
    args: &SelftestArgs,
    began: Instant,
    used: &[Prepared],
    faults: Vec<SelftestFault>,
) -> Report {
    let producer = used.first().map(|prepared| prepared.image.map.producer.clone());
    let producer = producer.unwrap_or_default();
    let tool = reports::Tool {
        version: env!("CARGO_PKG_VERSION").to_string(),
        cranelift: Some(producer.version.clone()),
        cpu_features: producer.cpu_features.clone(),
    };
    let mut used: Vec<&Prepared> = used.iter().collect();
    used.sort_by(|a, b| a.candidate.name.cmp(&b.candidate.name));
    let digests: Vec<u8> = used.iter().flat_map(|prepared| prepared.program.sha256).collect();
    let names: Vec<&str> = used.iter().map(|prepared| prepared.candidate.name.as_str()).collect();
    let program = reports::Program {
        path: names.join(" "),
        sha256: Sha256::digest(&digests).iter().map(|byte| format!("{byte:02x}")).collect(),
        functions: used.iter().map(|prepared| prepared.program.module.num_funcs()).sum(),
        exit_code: None,
        trap: None,
    };
    let subject = reports::Subject {
        backend: producer.backend,
        opt: producer.opt,
        stable: producer.stable,
        target: producer.target.name().to_owned(),
        engine: "int3".to_string(),
        anchors: producer.anchors,
        sandbox: "seccomp".to_string(),
    };
    let mut report = Report::new(tool, program, subject, reports::Outcome::Match);
    report.time = reports::Time::new(began.elapsed(), 0, 0);
    report.set_selftest(tally(args.fault.is_empty().then_some(args.seed), faults));
    report
}
