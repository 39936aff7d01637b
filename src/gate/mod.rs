//! `wdiff gate`: many programs in many configurations, and one verdict.
//!
//! ```text
//! paths, matrix -> plan -> this shard's jobs -> processes -> journal
//!                                                   |
//!                    baseline -> judge each job <---'-> report, new baseline
//! ```
//! A job is a process of its own (`child`); workers take the heaviest first.
//! Nothing about a job depends on its neighbours, so that shards on other
//! machines give the same results. What is not run, for a budget, a failure or
//! an interrupt, is in the report as not run, with the reason.

mod child;
mod journal;
mod plan;
mod progress;

pub use child::die_with_parent;

use crate::cli::GateArgs;
use crate::error::CommandError;
use crate::output;
use indicatif::HumanCount;
use journal::Journal;
use plan::{Job, Plan};
use progress::Progress;
use reports::baseline::{Baseline, Bounds, CODE_SIZE};
use reports::{Gate, GateJob, Report};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs the subcommand.
///
/// # Errors
/// Whatever keeps all jobs from being run.
pub fn main(args: &GateArgs) -> Result<u8, CommandError> {
    output::probe(args.output.as_deref())?;
    if let Some(text) = &args.inject
        && !text.contains('@')
    {
        return Err(CommandError::input(format_args!(
            "--inject {text}: for a gate it is PROGRAM@FAULT"
        )));
    }
    let began = Instant::now();
    let plan = plan::plan(args)?;
    let known = baseline(args)?;
    let (mut jobs, complete) = run(&plan, args, known.as_ref(), began)?;
    let mut gone = Vec::new();
    if args.update_baseline {
        let updated = update(args, known, &jobs)?;
        judge(Some(&updated), &mut jobs);
    } else {
        judge(known.as_ref(), &mut jobs);
        let keys: BTreeSet<String> = plan.jobs.iter().map(Job::key).collect();
        gone = known.as_ref().map(|known| known.gone(&keys)).unwrap_or_default();
    }
    let shown = |path: &Path| path.display().to_string();
    let gate = Gate {
        plan: plan.digest,
        paths: plan::paths(args).iter().map(|path| shown(path)).collect(),
        programs_sha256: plan.programs_sha256,
        planned: plan.jobs.len() as u64,
        shard: args.shard.map(|shard| format!("{}/{}", shard.number, shard.of)),
        baseline: args.baseline.as_deref().map(shown),
        gone,
        counts: Gate::count(&jobs),
        jobs,
    };
    let report = Report::of_gate(gate, env!("CARGO_PKG_VERSION"), began.elapsed());
    if let Err(broken) = report.check_invariants() {
        return Err(CommandError::bug(format_args!("the gate's figures do not add up: {broken}")));
    }
    output::report(&report, args.format, args.output.as_deref())?;
    if let Some(journal) = complete {
        journal.remove();
    }
    Ok(report.exit_code())
}

/// Reads the baseline, with the bounds of the command line.
fn baseline(args: &GateArgs) -> Result<Option<Baseline>, CommandError> {
    let Some(path) = &args.baseline else { return Ok(None) };
    if args.update_baseline && !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "; --update-baseline makes one";
        CommandError::input(format_args!("cannot read {}: {error}{hint}", path.display()))
    })?;
    let mut known = Baseline::parse(&text)
        .map_err(|error| CommandError::input(format_args!("{}: {error}", path.display())))?;
    known.bounds = bounds(args, Some(known.bounds));
    Ok(Some(known))
}

fn bounds(args: &GateArgs, known: Option<Bounds>) -> Bounds {
    let known = known.unwrap_or(Bounds { code_size: Some(CODE_SIZE), compile_time: None });
    Bounds {
        code_size: args.max_code_growth.or(known.code_size),
        compile_time: args.max_compile_growth.or(known.compile_time),
    }
}

/// Writes the baseline that these jobs are. Of what was not run it keeps what
/// it knew.
fn update(
    args: &GateArgs,
    known: Option<Baseline>,
    jobs: &[GateJob],
) -> Result<Baseline, CommandError> {
    let Some(path) = &args.baseline else {
        return Err(CommandError::bug("no baseline to update"));
    };
    let mut updated = Baseline::of(jobs, bounds(args, known.as_ref().map(|known| known.bounds)));
    for job in jobs.iter().filter(|job| job.outcome == reports::JobOutcome::NotRun) {
        if let Some(entry) = known.as_ref().and_then(|known| known.jobs.get(&job.key())) {
            updated.jobs.insert(job.key(), entry.clone());
        }
    }
    let text = updated.to_text().map_err(CommandError::bug)?;
    // Whole or not at all.
    let mut temporary = path.clone().into_os_string();
    temporary.push(".new");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| CommandError::file("write", path, error))?;
    Ok(updated)
}

fn judge(baseline: Option<&Baseline>, jobs: &mut [GateJob]) {
    for job in jobs {
        Baseline::judge(baseline, job);
    }
}

/// What the workers share.
struct Shared<'a> {
    args: &'a GateArgs,
    queue: Vec<(&'a Job, u64)>,
    next: AtomicUsize,
    /// Set once no more is to be run: the reason.
    stop: Mutex<Option<String>>,
    stopped: AtomicBool,
    deadline: Option<Instant>,
    journal: &'a Journal,
    baseline: Option<&'a Baseline>,
    done: Mutex<Vec<GateJob>>,
    progress: Progress,
    failed: AtomicUsize,
}

impl Shared<'_> {
    fn ask_to_stop(&self, why: String) {
        let mut stop = self.stop.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stop.get_or_insert(why);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Why nothing more is to be run, if so.
    fn why(&self) -> Option<String> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            self.ask_to_stop("interrupted".to_string());
        }
        if self.deadline.is_some_and(|at| Instant::now() >= at) {
            self.ask_to_stop("the time of --time-budget ran out".to_string());
        }
        if !self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        self.stop.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Set by a signal.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs this shard's jobs, those of an earlier gate aside. Answers the journal
/// if everything was run.
fn run(
    plan: &Plan,
    args: &GateArgs,
    baseline: Option<&Baseline>,
    began: Instant,
) -> Result<(Vec<GateJob>, Option<Journal>), CommandError> {
    let (journal, resumed) = Journal::open(plan, args)?;
    let mine: Vec<&Job> = plan
        .jobs
        .iter()
        .filter(|job| args.shard.is_none_or(|shard| job.index % shard.of == shard.number - 1))
        .collect();
    let expected: HashMap<u64, String> = mine.iter().map(|job| (job.index, job.key())).collect();
    let resumed: Vec<GateJob> = resumed
        .into_iter()
        .filter(|job| expected.get(&job.index).is_some_and(|key| *key == job.key()))
        .collect();
    let have: BTreeSet<u64> = resumed.iter().map(|job| job.index).collect();
    if args.resume {
        output::note(&format!("{} of {} jobs were done before", have.len(), mine.len()));
    }
    let weigh = |job: &Job| {
        let entry = baseline.and_then(|baseline| baseline.jobs.get(&job.key()));
        entry.map_or(job.task.size, |entry| entry.stops).max(1000)
    };
    let mut queue: Vec<(&Job, u64)> = mine
        .iter()
        .filter(|job| !have.contains(&job.index))
        .map(|job| (*job, weigh(job)))
        .collect();
    queue.sort_by_key(|(job, weight)| (std::cmp::Reverse(*weight), job.index));
    let cpus = child::cpus();
    let workers = args.jobs.map_or(cpus.len(), usize::from).clamp(1, queue.len().max(1));
    let weight = queue.iter().map(|(_, weight)| weight).sum();
    let _ = ctrlc::try_set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
    let shared = Shared {
        args,
        progress: Progress::new(weight, queue.len()),
        queue,
        next: AtomicUsize::new(0),
        stop: Mutex::new(None),
        stopped: AtomicBool::new(false),
        deadline: args.time_budget.map(|budget| began + Duration::from_secs_f64(budget)),
        journal: &journal,
        baseline: baseline.filter(|_| !args.update_baseline),
        done: Mutex::new(resumed),
        failed: AtomicUsize::new(0),
    };
    let results: Vec<Result<(), CommandError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let cpu = cpus.get(worker % cpus.len().max(1)).copied();
                let shared = &shared;
                scope.spawn(move || {
                    let _pin = child::pin(cpu.filter(|_| workers <= cpus_count()));
                    let result = work(shared);
                    if let Err(error) = &result {
                        shared.ask_to_stop(error.to_string());
                    }
                    result
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle.join().unwrap_or_else(|_| Err(CommandError::bug("a worker panicked")))
            })
            .collect()
    });
    shared.progress.finish();
    results.into_iter().collect::<Result<(), _>>()?;
    let why = shared.why().unwrap_or_default();
    let mut jobs = shared.done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let have: BTreeSet<u64> = jobs.iter().map(|job| job.index).collect();
    jobs.extend(mine.iter().filter(|job| !have.contains(&job.index)).map(|job| job.not_run(&why)));
    jobs.sort_by_key(|job| job.index);
    let complete = jobs.iter().all(|job| job.outcome != reports::JobOutcome::NotRun);
    Ok((jobs, complete.then_some(journal)))
}

fn cpus_count() -> usize {
    child::cpus().len()
}

/// One worker: takes jobs until there are none.
fn work(shared: &Shared<'_>) -> Result<(), CommandError> {
    let total = shared.queue.len();
    loop {
        if shared.why().is_some() {
            return Ok(());
        }
        let position = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some((job, weight)) = shared.queue.get(position) else { return Ok(()) };
        let bar = shared.progress.begin(&job.key());
        let result = child::run(job, shared.args, &|| shared.why())?;
        if result.outcome != reports::JobOutcome::NotRun {
            shared.journal.add(&result)?;
        }
        let mut judged = result.clone();
        Baseline::judge(shared.baseline, &mut judged);
        if !judged.failures.is_empty() {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            if shared.args.fail_fast {
                shared.ask_to_stop(format!("--fail-fast: {} failed", job.key()));
            }
        }
        let mut done = shared.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        done.push(result);
        let failed = match shared.failed.load(Ordering::Relaxed) {
            0 => String::new(),
            failed => format!(", {} failed", HumanCount(failed as u64)),
        };
        let so_far = position.min(total) + 1;
        let message =
            format!("{} of {}{failed}", HumanCount(so_far as u64), HumanCount(total as u64));
        shared.progress.end(&bar, *weight, message);
    }
}
