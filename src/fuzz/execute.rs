//! One case: compiled, checked, executed in lockstep.

use super::draw::Case;
use crate::error::CommandError;
use crate::invoke::Calls;
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, follow::Requests, stats::Seen};
use crate::map;
use crate::run::compile_with;
use crate::session::Session;
use aot_backend::{CompileOptions, Image};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasi_host::{Output, Stdin, World, WorldConfig};

/// Most stops of one execution.
const STOPS: u64 = 2000;
/// Most executions of one module: a trap ends one, the next begins anew with
/// the calls that are left.
const EXECUTIONS: usize = 4;

/// What came of a case.
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
    /// The image, if something is wrong that only it shows again.
    pub image: Option<Vec<u8>>,
}

impl Outcome {
    fn end(&mut self, how: &'static str) {
        *self.endings.entry(how).or_default() += 1;
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
        chaos: case.chaos,
        dump_state: case.paranoid,
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
    let wants_image = case.chaos.is_some();
    let mut left = case.calls.as_slice();
    for _ in 0..EXECUTIONS {
        let calls = Calls { list: left.to_vec(), shows_results: true };
        let session = Session { program: &case.program, image: &image, calls: &calls };
        let config = WorldConfig {
            args: vec!["generated".to_owned()],
            stdin: Stdin::Empty,
            cancel: control.cancel.clone(),
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
    if wants_image && !outcome.wrong.is_empty() {
        outcome.image = Some(image.elf);
    }
    Ok(outcome)
}
