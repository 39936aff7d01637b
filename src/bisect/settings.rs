//! Which settings of the compiler bring the fault about.
//!
//! The reproducer is tried with each, which takes milliseconds; where there is
//! none, the program up to the divergence. Of CPU features the smallest set that
//! still shows the fault is found: compilers choose instructions by them, and a
//! fault may need one.

use super::Case;
use super::compiler::Compiler;
use super::judge::{Answer, Judge};
use super::mix::Repeated;
use super::search::Found;
use crate::cli::{BackendArgs, Opt};
use crate::error::CommandError;
use aot_backend::{CpuSpec, StablePoints, cpu_features};
use reports::{Axis, Setting};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

impl Compiler {
    /// Our backend with these options, or a binary called with them.
    ///
    /// # Errors
    /// Options that do not read.
    pub fn of(binary: Option<&Path>, backend: &BackendArgs) -> Result<Compiler, CommandError> {
        let words = words(backend);
        let options = crate::run::options_for(Path::new("module.wasm"), backend, false)?;
        let name = match binary {
            Some(binary) => binary.display().to_string(),
            None => "this wdiff".to_owned(),
        };
        let name = [name].into_iter().chain(words.iter().cloned()).collect::<Vec<_>>().join(" ");
        let binary = binary.map(Path::to_path_buf);
        Ok(Compiler { name, options, words, fault: None, binary })
    }
}

/// Options as a command line has them; defaults are left out.
fn words(backend: &BackendArgs) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = |option: &str, value: &str, default: &str| {
        if value != default {
            words.extend([option.to_owned(), value.to_owned()]);
        }
    };
    word("--opt", backend.opt.as_str(), "none");
    word("--stable", backend.stable.name(), "off");
    word("--cpu", &backend.cpu, "native");
    words
}

/// What the settings say together.
pub fn axis(settings: &[Setting]) -> Axis {
    let of = |result: &str| {
        let list = settings
            .iter()
            .filter(|setting| setting.result == result && setting.setting != NO_FAULT);
        list.map(|setting| setting.setting.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if settings.iter().any(|setting| setting.setting == NO_FAULT && setting.result == "good") {
        parts.push("it is there with the fault injected only".to_owned());
    }
    for (text, list) in [("gone with", of("good")), ("still there with", of("bad"))] {
        if !list.is_empty() {
            parts.push(format!("{text} {list}"));
        }
    }
    if parts.is_empty() {
        parts.push("no setting gave an answer".to_owned());
    }
    super::axis("compiler", !settings.is_empty(), parts.join("; "))
}

/// The setting that leaves the fault out.
const NO_FAULT: &str = "no fault injected";

/// Settings of Cranelift's that change what code it makes, and nothing else,
/// each with the value that it does not have here.
const FLAGS: [(&str, &str); 5] = [
    ("regalloc_algorithm", "single_pass"),
    ("enable_alias_analysis", "false"),
    ("enable_nan_canonicalization", "true"),
    ("enable_heap_access_spectre_mitigation", "false"),
    ("enable_table_access_spectre_mitigation", "false"),
];

impl Case<'_> {
    /// Our own backend with one setting of Cranelift's changed. There is no option
    /// for that: a binary cannot be asked.
    fn flags(&self) -> Vec<(String, Compiler)> {
        let list = if self.bad.binary.is_some() { &[][..] } else { &FLAGS };
        let changed = list.iter().map(|(name, value)| {
            let mut compiler = self.bad.clone();
            compiler.options.flags.push(((*name).to_owned(), (*value).to_owned()));
            (format!("{name}={value}"), compiler)
        });
        changed.collect()
    }

    /// Settings that differ from the one at fault in one thing.
    fn variants(&self) -> Result<Vec<(String, Compiler)>, CommandError> {
        let backend = &self.args.run.backend;
        let mut list: Vec<BackendArgs> = Vec::new();
        for opt in [Opt::None, Opt::Speed, Opt::SpeedAndSize] {
            list.push(BackendArgs { opt, ..backend.clone() });
        }
        for cpu in ["baseline", "native"] {
            list.push(BackendArgs { cpu: cpu.to_owned(), ..backend.clone() });
        }
        for stable in [StablePoints::Off, StablePoints::Calls] {
            list.push(BackendArgs { stable, ..backend.clone() });
        }
        let own = words(backend);
        let differ = list.into_iter().filter(|backend| words(backend) != own);
        let binary = self.args.bad.last().map(std::path::PathBuf::as_path);
        let named = differ.map(|changed| {
            let what = if changed.opt != backend.opt {
                format!("--opt {}", changed.opt.as_str())
            } else if changed.cpu != backend.cpu {
                format!("--cpu {}", changed.cpu)
            } else {
                format!("--stable {}", changed.stable.name())
            };
            let mut compiler = Compiler::of(binary, &changed)?;
            compiler.options.dump_state = self.bad.options.dump_state;
            Ok((what, Compiler { fault: self.bad.fault.clone(), ..compiler }))
        });
        named.collect()
    }

    /// Compilers that may be right where this one is not, the likeliest first.
    ///
    /// # Errors
    /// Options that do not read.
    pub fn likely_good(&self) -> Result<Vec<Compiler>, CommandError> {
        if let Some(good) = &self.args.good {
            return Ok(vec![Compiler::of(Some(good), &self.args.run.backend)?]);
        }
        if self.bad.fault.is_some() {
            return Ok(vec![self.bad.sound()]);
        }
        Ok(self.variants()?.into_iter().map(|(_, compiler)| compiler).collect())
    }

    /// What comes of the reproducer with each setting.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn settings(&self, found: &Found) -> Result<Vec<Setting>, CommandError> {
        let none = [];
        let judge = Judge {
            bad: self.bad,
            good: &none,
            control: self.control,
            deadline: Cell::new(Instant::now()),
            end: Instant::now(),
            tried: Cell::new(0),
            executions: Cell::new(0),
            unconfirmed: RefCell::default(),
        };
        let right = &found.shown.right;
        let mut settings = Vec::new();
        if self.bad.fault.is_some() {
            let sound = self.bad.sound();
            settings.push(setting(NO_FAULT.to_owned(), judge.answer(&sound, &found.cut)?, right));
        }
        let mut needs_features = false;
        for (what, compiler) in self.variants()? {
            let setting = setting(what, judge.answer(&compiler, &found.cut)?, right);
            needs_features |= setting.setting == "--cpu baseline" && setting.result == "good";
            settings.push(setting);
        }
        for (what, compiler) in self.flags() {
            // Some of them our backend may not get along with.
            settings.push(match judge.answer(&compiler, &found.cut) {
                Ok(answer) => setting(what, answer, right),
                Err(CommandError::Bug { what: detail }) => {
                    Setting { setting: what, result: "inconclusive".to_owned(), detail }
                }
                Err(error) => return Err(error),
            });
        }
        if needs_features {
            settings.extend(self.features(&judge, found)?);
        }
        self.executions.set(self.executions.get() + judge.executions.get());
        Ok(settings)
    }

    /// The smallest set of CPU features with which the fault is there: each is
    /// left out if it is there without.
    fn features(&self, judge: &Judge<'_>, found: &Found) -> Result<Option<Setting>, CommandError> {
        let backend = &self.args.run.backend;
        let spec: CpuSpec = backend.cpu.parse().map_err(CommandError::input)?;
        let mut kept = cpu_features(&spec);
        let binary = self.args.bad.last().map(std::path::PathBuf::as_path);
        let with = |features: &[String]| -> Result<Option<Setting>, CommandError> {
            let list: Vec<String> = features.iter().map(|name| format!("+{name}")).collect();
            let cpu = ["baseline".to_owned()].into_iter().chain(list).collect::<Vec<_>>().join(",");
            let changed = BackendArgs { cpu: cpu.clone(), ..backend.clone() };
            let compiler =
                Compiler { fault: self.bad.fault.clone(), ..Compiler::of(binary, &changed)? };
            let answer = judge.answer(&compiler, &found.cut)?;
            let setting = setting(format!("--cpu {cpu}"), answer, &found.shown.right);
            Ok((setting.result == "bad").then_some(setting))
        };
        let Some(mut smallest) = with(&kept)? else { return Ok(None) };
        for feature in kept.clone() {
            let fewer: Vec<String> =
                kept.iter().filter(|name| **name != feature).cloned().collect();
            if let Some(setting) = with(&fewer)? {
                smallest = setting;
                kept = fewer;
            }
        }
        Ok(Some(smallest))
    }

    /// What comes of the program with each setting, up to the divergence.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn settings_of_program(&self) -> Result<Vec<Setting>, CommandError> {
        let mut settings = Vec::new();
        let end = Instant::now() + Duration::from_secs_f64(self.args.budget / 2.0);
        for (what, compiler) in self.variants()? {
            if Instant::now() >= end {
                let detail = "not tried: the time of --budget is over".to_owned();
                settings.push(Setting { setting: what, result: "inconclusive".to_owned(), detail });
                continue;
            }
            let image = match compiler.compile(self.program, None) {
                Ok(image) => image,
                Err(
                    CommandError::Inconclusive { detail, .. }
                    | CommandError::Input { what: detail },
                ) => {
                    settings.push(Setting {
                        setting: what,
                        result: "inconclusive".to_owned(),
                        detail,
                    });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (result, detail) = match self.repeat(&image)? {
                Repeated::Gone => ("good", "the program: equal past there".to_owned()),
                Repeated::Same => ("bad", "the program: the same divergence".to_owned()),
                Repeated::Other(how) => ("bad", format!("the program diverges {how}")),
                Repeated::Unknown(why) => ("inconclusive", why),
            };
            settings.push(Setting { setting: what, result: result.to_owned(), detail });
        }
        Ok(settings)
    }
}

fn setting(what: String, answer: Option<Answer>, right: &Answer) -> Setting {
    let (result, detail) = match answer {
        Some(answer) if answer.is(right) => ("good", answer.to_string()),
        Some(answer) => ("bad", answer.to_string()),
        None => ("inconclusive", "it does not compile the script so".to_owned()),
    };
    Setting { setting: what, result: result.to_owned(), detail }
}
