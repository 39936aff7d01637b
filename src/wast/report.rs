//! One report of many scripts.

use super::drive::{Early, Ran, Script};
use crate::availability;
use crate::cli::WastArgs;
use crate::error::CommandError;
use crate::lockstep::Finding;
use crate::lockstep::finding::Watch;
use crate::lockstep::stops::{Control, Phase};
use crate::program::Program;
use crate::{describe, run};
use aot_backend::Image;
use dwarf_map::Producer;
use reports::{
    Divergence, DivergenceKind, Inconclusive, InconclusiveReason, Outcome, Report, Wast, Witness,
    WitnessVerdict,
};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most repetitions of a script to find where a difference in memory began.
const MOST_REPETITIONS: usize = 8;

/// What was found so far.
pub struct Collected<'a> {
    args: &'a WastArgs,
    producer: Producer,
    /// Figures of all scripts; its verdict is decided in the end.
    figures: Report,
    wast: Wast,
    digest: Sha256,
    functions: u32,
    code: u64,
    wall: Duration,
    divergence: Option<Divergence>,
    inconclusive: Option<Inconclusive>,
}

impl<'a> Collected<'a> {
    /// Nothing yet.
    pub fn new(args: &'a WastArgs) -> Self {
        let blank = |outcome| {
            let producer = Producer::default();
            let program = reports::Program::default();
            Report::new(run::tool(&producer), program, run::subject(&producer, ""), outcome)
        };
        Collected {
            args,
            producer: Producer::default(),
            figures: blank(Outcome::Match),
            wast: Wast::default(),
            digest: Sha256::new(),
            functions: 0,
            code: 0,
            wall: Duration::ZERO,
            divergence: None,
            inconclusive: None,
        }
    }

    /// Runs a script. Answers whether the next one is to be run.
    ///
    /// # Errors
    /// What has no verdict.
    pub fn run(
        &mut self,
        path: &Path,
        script: &Script<'_>,
        control: &Arc<Control>,
    ) -> Result<bool, CommandError> {
        let plan = script.plan;
        self.producer = plan.image.map.producer.clone();
        self.digest.update(script.text);
        self.functions += plan.image.map.functions.len() as u32;
        let began = Instant::now();
        let mut ran = script.run(Watch::default(), control)?;
        self.wall += began.elapsed();
        trace_back(&mut ran, script, control)?;
        let mut part = self.figures.clone();
        run::fill(&mut part, &ran.stats, &ran.summary);
        self.figures.add_figures(&part);
        let Ran { mut tally, early, stats, functions, .. } = ran;
        if script.functions {
            self.figures.functions.get_or_insert_default().extend(functions);
        }
        self.code += availability::code(&plan.image.map).bytes;
        if tally.left > 0 {
            let reason = "the script ended early".to_string();
            *tally.unsupported.entry(reason).or_default() += tally.left;
        }
        let wide = |(reason, count)| (reason, u64::from(count));
        self.wast.add(Wast {
            scripts: 1,
            instances: plan.blueprint.instances.len() as u64 - 1,
            lockstep: tally.executed.into(),
            validation: u64::from(tally.passed - tally.executed),
            text_format: tally.text_format.into(),
            superseded: tally.superseded.into(),
            not_run: tally.unsupported.into_iter().map(wide).collect(),
            failures: tally.failures,
            ended_at: early
                .as_ref()
                .map(|(_, (line, column))| format!("{}:{line}:{column}", script.file)),
        });
        match early {
            None => return Ok(true),
            Some((Early::Failed(error), _)) => return Err(error),
            Some((Early::Inconclusive(reason, detail), (line, column))) => {
                let detail = format!("{}:{line}:{column}: {detail}", script.file);
                let asked = control.request().is_some();
                self.inconclusive.get_or_insert(Inconclusive { reason, detail });
                return Ok(!asked);
            }
            Some((Early::Diverged(finding), at)) => {
                let divergence = describe(&finding, path, script, at, !stats.adoptions.is_empty());
                self.divergence = Some(divergence);
            }
        }
        Ok(false)
    }

    /// The report.
    pub fn finish(self) -> Report {
        let Collected { args, producer, figures, wast, .. } = self;
        let files: Vec<String> = args.files.iter().map(|f| f.display().to_string()).collect();
        let program = reports::Program {
            path: files.join(" "),
            sha256: self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            functions: self.functions,
            exit_code: None,
            trap: None,
        };
        let outcome = match (self.divergence, wast.failures.first(), self.inconclusive) {
            (Some(divergence), _, _) => Outcome::Divergence(Box::new(divergence)),
            (None, Some(failure), _) => Outcome::Divergence(Box::new(failed(failure, &wast))),
            (None, None, Some(inconclusive)) => Outcome::Inconclusive(inconclusive),
            (None, None, None) if wast.left_out() > 0 => Outcome::Inconclusive(not_run(&wast)),
            _ => Outcome::Match,
        };
        let subject = run::subject(&producer, &args.engine);
        let mut report = Report::new(run::tool(&producer), program, subject, outcome);
        report.add_figures(&figures);
        report.functions = figures.functions;
        report.code = Some(reports::Code { bytes: self.code });
        report.time =
            reports::Time::new(self.wall, report.boundaries.stops, report.boundaries.stops);
        report.wast = Some(wast);
        run::check(&mut report);
        report
    }
}

/// Finds the boundary at which a difference in memory arose, by running the
/// script again with a look at the bytes that differ.
fn trace_back(
    ran: &mut Ran,
    script: &Script<'_>,
    control: &Arc<Control>,
) -> Result<(), CommandError> {
    for _ in 0..MOST_REPETITIONS {
        let Some((Early::Diverged(finding), _)) = &mut ran.early else { break };
        let (index, watch) = (finding.index, std::mem::take(&mut finding.watch));
        if watch.is_empty() {
            break;
        }
        control.enter(Phase::Concluding);
        let again = script.run(watch, control)?;
        match &again.early {
            Some((Early::Diverged(earlier), _)) => {
                let found = earlier.index < index;
                *ran = again;
                if !found {
                    break;
                }
            }
            _ => {
                if let Some((Early::Diverged(finding), _)) = &mut ran.early {
                    finding
                        .what
                        .push_str("; the replay to its exact boundary did not find it again");
                }
                break;
            }
        }
    }
    Ok(())
}

/// The report's form of a finding.
fn describe(
    finding: &Finding,
    path: &Path,
    script: &Script<'_>,
    (line, column): (usize, usize),
    adopted: bool,
) -> Divergence {
    let plan = script.plan;
    let at = finding.at.instance.index().min(plan.images.len() - 1);
    let module = plan.blueprint.instances[at].module.clone();
    let program = Program {
        path: path.to_owned(),
        wasm: module.bytes().to_vec().into(),
        sha256: Sha256::digest(module.bytes()).into(),
        module,
        image: None,
    };
    // Code of all instances, the listing of this one.
    let image = Image { listing: plan.images[at].listing.clone(), ..plan.image.clone() };
    let why = if adopted {
        "scripts are not run again by a second engine, which would not choose as the oracle adopted"
    } else {
        "scripts are not run again by a second engine"
    };
    let witness = Witness {
        verdict: WitnessVerdict::Cannot,
        engine: "wasmi".to_string(),
        reason: Some(why.to_string()),
    };
    let rerun = run::rerun_command();
    let mut divergence = describe::divergence(finding, &program, &image, Some(witness), rerun);
    let place = format!("{}:{line}:{column}, instance {at}", script.file);
    divergence.summary = format!("{place}: {}", divergence.summary);
    // Names and source lines were looked up in the wrong module.
    for frame in &mut divergence.frames {
        if frame.instance as usize != at {
            let module = plan.blueprint.instances.get(frame.instance as usize);
            let func = wasm_view::FuncIdx::new(frame.func);
            frame.name =
                module.and_then(|planned| planned.module.func_name(func)).map(str::to_string);
            frame.source_line = None;
        }
    }
    if finding.after.is_some_and(|after| after.instance != finding.at.instance) {
        divergence.after = None;
    }
    divergence
}

/// Both sides agree, and the script says otherwise.
fn failed(failure: &str, wast: &Wast) -> Divergence {
    let mut divergence = Divergence::new(DivergenceKind::Exit);
    divergence.summary = match wast.failures.len() {
        1 => format!("both sides agree, and an assertion does not hold: {failure}"),
        more => format!("both sides agree, and {more} assertions do not hold, first {failure}"),
    };
    divergence.rerun = Some(run::rerun_command());
    divergence
}

fn not_run(wast: &Wast) -> Inconclusive {
    let reasons: Vec<String> =
        wast.not_run.iter().map(|(reason, count)| format!("{count} with {reason}")).collect();
    Inconclusive {
        reason: InconclusiveReason::Unsupported,
        detail: format!(
            "{} assertions hold in lockstep; not run: {}",
            wast.lockstep,
            reasons.join(", ")
        ),
    }
}
