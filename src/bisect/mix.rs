//! One function compiled otherwise than the rest.
//!
//! All levels of optimisation call, keep frames and lay out an instance alike, so
//! code of two of them can be in one image. If a divergence goes away when one
//! function alone is compiled at another level, the fault is in that function's
//! code, or at least not without it. The function of the instruction executed
//! last is tried first, then those around it.

use super::Case;
use super::compiler::Compiler;
use crate::cli::Opt;
use crate::error::CommandError;
use crate::lockstep::Ending;
use crate::lockstep::follow::Requests;
use crate::lockstep::stops::Where;
use crate::session::Session;
use aot_backend::Image;
use reports::{Axis, Mix, Setting};
use wasi_host::World;
use wasm_view::{Boundary, FuncIdx};

/// Instructions past the divergence until it counts as gone.
const MARGIN: u64 = 2_000;
/// Most functions tried.
const SUSPECTS: usize = 4;

/// What a repetition with other code came to.
pub enum Repeated {
    /// It diverges at the same place.
    Same,
    /// It diverges elsewhere.
    Other(String),
    /// It was equal well past the divergence, or to the end.
    Gone,
    /// There is no answer.
    Unknown(String),
}

impl Case<'_> {
    /// How to come to the divergence again, over the log.
    pub fn requests(&self) -> Requests {
        self.requests_from(self.entries)
    }

    /// Likewise, with a stop at every boundary from so many entries of functions on.
    fn requests_from(&self, entries: Option<u64>) -> Requests {
        // An entry is one at all levels: as the divergence was found, so is it
        // looked for. A difference in memory may have begun before its entry.
        let known = entries.filter(|_| self.finding.watch.is_empty());
        Requests {
            places: known.map(|_| Where::Entries).into_iter().collect(),
            every: known.is_none(),
            every_from: known.map(|entries| entries.saturating_sub(1).max(1)),
            paranoid: self.args.run.paranoid,
            ..Requests::default()
        }
    }

    /// Runs the program with another image, over the log, to beyond the
    /// divergence.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn repeat(&self, image: &Image) -> Result<Repeated, CommandError> {
        let session = Session { program: self.program, image, calls: self.calls };
        let mut world = World::replaying(self.log.clone(), false);
        // Entries alone tell whether it is there: they did before.
        let coarse = self.coarse.filter(|_| !self.args.run.paranoid);
        let requests = match coarse {
            Some((_, executed)) => Requests {
                places: vec![Where::Entries],
                max_boundaries: Some(executed + MARGIN),
                ..Requests::default()
            },
            None => Requests {
                max_boundaries: Some(self.executed + MARGIN),
                ..self.requests_from(self.entries.or(self.passed))
            },
        };
        let (place, executed) = coarse.unwrap_or((self.finding.at, self.executed));
        self.executions.set(self.executions.get() + 1);
        let ran = match session.execute(&mut world, requests, self.control) {
            Ok(ran) => ran,
            Err(CommandError::Inconclusive { detail, .. }) => {
                return Ok(Repeated::Unknown(detail));
            }
            Err(error) => return Err(error),
        };
        Ok(match ran.ending {
            Ending::Diverged(found) if found.at == place => Repeated::Same,
            Ending::Diverged(found) => Repeated::Other(format!(
                "at {} of function {}: {}",
                found.at.offset, found.at.func, found.what
            )),
            // The log ends where the divergence was.
            Ending::Inconclusive { .. } if ran.stats.boundaries > executed => Repeated::Gone,
            Ending::Inconclusive { detail, .. } => Repeated::Unknown(detail),
            _ => Repeated::Gone,
        })
    }

    /// Tries functions apart until the divergence goes away.
    ///
    /// # Errors
    /// As [`Case::repeat`].
    pub fn mixes(&self, guilty: Boundary) -> Result<(Option<bool>, Vec<Mix>), CommandError> {
        let imported = self.program.module.num_imported_funcs();
        let near = [guilty, self.finding.at].into_iter();
        let around = self.finding.frames.iter().chain(self.finding.recent.iter().rev());
        let mut suspects: Vec<FuncIdx> = Vec::new();
        for at in near.chain(around.copied()) {
            if at.func.get() >= imported && !suspects.contains(&at.func) {
                suspects.push(at.func);
            }
        }
        suspects.truncate(SUSPECTS);
        let mut mixes = Vec::new();
        let mut answered = false;
        for func in suspects {
            let level = self.args.run.backend.opt;
            let other = if level == Opt::None { Opt::Speed } else { Opt::None };
            let image = match self.bad.compile(self.program, Some((func, other))) {
                Ok(image) => image,
                Err(
                    CommandError::Inconclusive { detail, .. }
                    | CommandError::Input { what: detail },
                ) => {
                    mixes.push(mix(func, other, "inconclusive", detail));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let repeated = self.repeat(&image)?;
            let (result, detail) = match repeated {
                Repeated::Gone => {
                    mixes.push(mix(func, other, "gone", "the two are equal past there".to_owned()));
                    return Ok((Some(func == guilty.func), mixes));
                }
                Repeated::Same => ("same", "it diverges at the same place".to_owned()),
                Repeated::Other(how) => ("other", how),
                Repeated::Unknown(why) => ("inconclusive", why),
            };
            answered |= result != "inconclusive";
            mixes.push(mix(func, other, result, detail));
        }
        Ok((answered.then_some(false), mixes))
    }

    /// Which of several versions of the compiler is the first one at fault.
    ///
    /// # Errors
    /// As [`Case::repeat`].
    pub fn versions(&self) -> Result<(Axis, Vec<Setting>), CommandError> {
        let name = |path: &std::path::PathBuf| path.display().to_string();
        let (good, bad) = (&self.args.good, &self.args.bad);
        let mut tried = Vec::new();
        if bad.len() <= 1 && good.is_none() {
            let answer = "one version; --good and --bad give it others".to_owned();
            return Ok((super::axis("versions", false, answer), tried));
        }
        if let Some(path) = good {
            let (result, detail) = self.version(path)?;
            tried.push(Setting { setting: name(path), result: result.to_owned(), detail });
        }
        // The last one is where the divergence was found.
        let (mut from, mut to) = (0, bad.len().saturating_sub(1));
        while from < to {
            let middle = from.midpoint(to);
            let (result, detail) = self.version(&bad[middle])?;
            tried.push(Setting { setting: name(&bad[middle]), result: result.to_owned(), detail });
            match result {
                "bad" => to = middle,
                "good" => from = middle + 1,
                _ => {
                    let answer = format!("{} gives no answer", name(&bad[middle]));
                    return Ok((super::axis("versions", true, answer), tried));
                }
            }
        }
        let first = bad.get(to).map_or_else(|| self.bad.name.clone(), name);
        let before = match to.checked_sub(1).map(|at| &bad[at]).or(good.as_ref()) {
            Some(path) => format!("; {} is the last one without", name(path)),
            None => String::new(),
        };
        let answer = format!("{first} is the first one at fault{before}");
        Ok((super::axis("versions", true, answer), tried))
    }

    fn version(&self, path: &std::path::Path) -> Result<(&'static str, String), CommandError> {
        let compiler = Compiler::of(Some(path), &self.args.run.backend)?;
        let image = match compiler.compile(self.program, None) {
            Ok(image) => image,
            Err(
                CommandError::Inconclusive { detail, .. } | CommandError::Input { what: detail },
            ) => {
                return Ok(("inconclusive", detail));
            }
            Err(error) => return Err(error),
        };
        Ok(match self.repeat(&image)? {
            Repeated::Gone => ("good", "the two are equal past there".to_owned()),
            Repeated::Same => ("bad", "it diverges at the same place".to_owned()),
            Repeated::Other(how) => ("bad", how),
            Repeated::Unknown(why) => ("inconclusive", why),
        })
    }
}

fn mix(func: FuncIdx, opt: Opt, result: &str, detail: String) -> Mix {
    let how = format!("--opt {}", opt.as_str());
    Mix { func: func.get(), how, result: result.to_owned(), detail }
}
