//! The report of one run: verdict, what was run, what was counted.
//!
//! The structs are the JSON objects of schema `wdiff-report/1`, field by field
//! in the documented order (`docs/report.md` says what each means). A `None`
//! is written as `null`, and a key that is missing is an error when a report is
//! read: "was not looked at" and "is not there" must not look alike.
//!
//! Counting goes through methods ([`Values::add`], [`Values::add_unavailable`])
//! so that the sums of [`crate::check`] hold by construction.

use crate::bisect::Bisection;
use crate::divergence::{Divergence, WitnessVerdict};
use crate::functions::FunctionFigures;
use crate::gate::Gate;
use crate::wast::Wast;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::time::Duration;

/// The report of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name and version of the format.
    pub schema: Schema,
    /// What came of the run.
    pub verdict: Verdict,
    /// Why there is no answer; `Some` exactly if inconclusive.
    #[serde(deserialize_with = "Option::deserialize")]
    pub inconclusive: Option<Inconclusive>,
    /// What verified.
    pub tool: Tool,
    /// What was executed.
    pub program: Program,
    /// What was verified.
    pub subject: Subject,
    /// Places where a comparison is possible, and how many were met.
    pub boundaries: Boundaries,
    /// Locals and operands, counted per executed boundary.
    pub values: Values,
    /// Freedom of the specification that the subject used, counted by the name
    /// of the predicate.
    pub adoptions: BTreeMap<String, u64>,
    /// Places where the whole state must be recoverable.
    pub stable_points: StablePoints,
    /// Linear memories.
    pub memory: Memory,
    /// Calls of host functions, compared and made once.
    pub host_calls: u64,
    /// How long it took.
    pub time: Time,
    /// The difference found; `Some` exactly if the verdict is divergence.
    #[serde(deserialize_with = "Option::deserialize")]
    pub divergence: Option<Divergence>,
    /// The native code; only where one image was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Function by function; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<FunctionFigures>>,
    /// Only in reports of `wdiff wast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wast: Option<Wast>,
    /// Only in reports of `wdiff selftest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selftest: Option<Selftest>,
    /// Only in reports of `wdiff gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Only in reports of `wdiff migrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// Only in reports of `wdiff bisect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bisect: Option<Bisection>,
}

/// How a program was handed from one executor to the next. Times are totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// The sides, in order.
    pub relay: Vec<String>,
    /// The stable points that they have.
    pub stable: String,
    /// How often the program was handed over, its view being equal on both
    /// sides before and after.
    pub hand_overs: u64,
    /// Frames handed over, and the most at once.
    pub frames: u64,
    /// Likewise.
    pub deepest: u64,
    /// Bytes of all snapshots.
    pub snapshot_bytes: u64,
    /// Bytes of the largest one.
    pub largest_snapshot: u64,
    /// Seconds to read the state of a side.
    pub capture_s: f64,
    /// Seconds to write and read the snapshot.
    pub transfer_s: f64,
    /// Seconds to start a side with it, every frame compared.
    pub restore_s: f64,
    /// What was done wrong on purpose, if something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What the oracle chose where the specification leaves a choice, while it
    /// executed alone, by predicate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, u64>,
    /// What came of faults that were drawn, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<RestoreFaults>,
    /// Whether the program, run again without hand-overs, made the same host
    /// calls with the same bytes and ended the same way; `None` if it was not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub unmigrated: Option<bool>,
}

/// Faults of one kind, each done once while a program was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFaults {
    /// The kind, as `--inject` has it.
    pub kind: String,
    /// How many were drawn.
    pub drawn: u64,
    /// How many made a difference.
    pub effective: u64,
    /// How many of those were noticed at that hand-over.
    pub caught: u64,
}

/// How a run ended, with what that verdict carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Everything compared was equal.
    Match,
    /// The two executions differ.
    Divergence(Box<Divergence>),
    /// There is no answer.
    Inconclusive(Inconclusive),
}

impl Report {
    /// A report with that outcome and nothing counted yet.
    pub fn new(tool: Tool, program: Program, subject: Subject, outcome: Outcome) -> Report {
        let mut report = Report {
            schema: Schema,
            verdict: Verdict::Match,
            inconclusive: None,
            tool,
            program,
            subject,
            boundaries: Boundaries::default(),
            values: Values::default(),
            adoptions: BTreeMap::new(),
            stable_points: StablePoints::default(),
            memory: Memory::default(),
            host_calls: 0,
            time: Time::default(),
            divergence: None,
            code: None,
            functions: None,
            migration: None,
            bisect: None,
            wast: None,
            selftest: None,
            gate: None,
        };
        report.set_outcome(outcome);
        report
    }

    /// Replaces the verdict and the parts that belong to it.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        (self.verdict, self.inconclusive, self.divergence) = match outcome {
            Outcome::Match => (Verdict::Match, None, None),
            Outcome::Divergence(divergence) => (Verdict::Divergence, None, Some(*divergence)),
            Outcome::Inconclusive(why) => (Verdict::Inconclusive, Some(why), None),
        };
    }

    /// Adds the figures of another run to this report's: what was looked at,
    /// adopted and called, not how long it took nor what came of it.
    pub fn add_figures(&mut self, other: &Report) {
        let sum = |total: &mut u64, part: u64| *total = total.saturating_add(part);
        let (b, o) = (&mut self.boundaries, &other.boundaries);
        sum(&mut b.r#static, o.r#static);
        sum(&mut b.anchored, o.anchored);
        sum(&mut b.merged, o.merged);
        sum(&mut b.threaded, o.threaded);
        sum(&mut b.eliminated, o.eliminated);
        sum(&mut b.executed, o.executed);
        sum(&mut b.stops, o.stops);
        b.longest_merged_run = b.longest_merged_run.max(o.longest_merged_run);
        let (v, o) = (&mut self.values, &other.values);
        sum(&mut v.compared, o.compared);
        sum(&mut v.equal, o.equal);
        sum(&mut v.wrong, o.wrong);
        sum(&mut v.located, o.located);
        sum(&mut v.derived, o.derived);
        sum(&mut v.constant, o.constant);
        sum(&mut v.unavailable, o.unavailable);
        sum(&mut v.live.located, o.live.located);
        sum(&mut v.live.derived, o.live.derived);
        sum(&mut v.live.constant, o.live.constant);
        sum(&mut v.live.unavailable, o.live.unavailable);
        for (reason, count) in &o.reasons {
            sum(v.reasons.entry(reason.clone()).or_default(), *count);
        }
        for (predicate, count) in &other.adoptions {
            sum(self.adoptions.entry(predicate.clone()).or_default(), *count);
        }
        let (s, o) = (&mut self.stable_points, &other.stable_points);
        sum(&mut s.r#static, o.r#static);
        sum(&mut s.executed, o.executed);
        sum(&mut s.full, o.full);
        sum(&mut s.unavailable_live, o.unavailable_live);
        sum(&mut s.walks, o.walks);
        sum(&mut s.walked, o.walked);
        sum(&mut s.witnessed, o.witnessed);
        sum(&mut s.restored, o.restored);
        sum(&mut self.memory.bytes_compared, other.memory.bytes_compared);
        sum(&mut self.memory.deferred, other.memory.deferred);
        sum(&mut self.host_calls, other.host_calls);
    }

    /// Makes this the report of a self-test, with the verdict that goes with it.
    pub fn set_selftest(&mut self, section: Selftest) {
        (self.verdict, self.inconclusive) = match section.exit_code() {
            0 => (Verdict::Match, None),
            1 => (Verdict::Divergence, None),
            _ => {
                let detail = "of some faults nobody can say what became of them".to_owned();
                let reason = InconclusiveReason::Environment;
                (Verdict::Inconclusive, Some(Inconclusive { reason, detail }))
            }
        };
        self.divergence = None;
        self.selftest = Some(section);
    }

    /// The exit code of the command that made this report: 0 match,
    /// 1 divergence, 3 inconclusive, 4 if the witness contradicts the oracle,
    /// which is a bug in wdiff. (2, bad usage or input, has no report.)
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Match => 0,
            Verdict::Divergence if self.contradicted() => 4,
            Verdict::Divergence => 1,
            Verdict::Inconclusive => 3,
        }
    }

    /// Whether the witness contradicts the oracle.
    pub fn contradicted(&self) -> bool {
        let witness = self.divergence.as_ref().and_then(|divergence| divergence.witness.as_ref());
        let jobs = self.gate.iter().flat_map(|gate| &gate.jobs);
        witness.is_some_and(|witness| witness.verdict == WitnessVerdict::Contradicts)
            || jobs.flat_map(|job| &job.report).any(|report| report.contradicted())
    }
}

/// The native code that was made of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Code {
    /// Bytes of the functions' code: no entries, thunks, data.
    pub bytes: u64,
}

/// The format's name and version, [`Schema::NAME`] in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Schema;

impl Schema {
    /// What the key `schema` holds.
    pub const NAME: &'static str = "wdiff-report/1";
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Schema::NAME)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Schema, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == Schema::NAME {
            return Ok(Schema);
        }
        let name: String = name.chars().take(60).collect();
        Err(de::Error::custom(format_args!(
            "schema {name:?}, this version reads {:?}",
            Schema::NAME
        )))
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything compared was equal.
    Match,
    /// The two executions differ.
    Divergence,
    /// There is no answer.
    Inconclusive,
}

impl Verdict {
    /// The verdict's name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Verdict::Match => "match",
            Verdict::Divergence => "divergence",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inconclusive {
    /// The kind of reason.
    pub reason: InconclusiveReason,
    /// A sentence that names what was in the way.
    pub detail: String,
}

/// Kinds of reasons for having no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InconclusiveReason {
    /// A limit that the user set on work, such as stops, was reached.
    Limit,
    /// The time limit was reached.
    Timeout,
    /// The program, the subject or an option needs what wdiff does not support.
    Unsupported,
    /// The user ended the run.
    Interrupted,
    /// The machine does not allow what the run needs.
    Environment,
    /// Replay: the program calls the host otherwise than the log says.
    Replay,
}

impl InconclusiveReason {
    /// The reason's name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            InconclusiveReason::Limit => "limit",
            InconclusiveReason::Timeout => "timeout",
            InconclusiveReason::Unsupported => "unsupported",
            InconclusiveReason::Interrupted => "interrupted",
            InconclusiveReason::Environment => "environment",
            InconclusiveReason::Replay => "replay",
        }
    }
}

/// What verified.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tool {
    /// Version of wdiff.
    pub version: String,
    /// Version of the Cranelift that compiled; `None` if none did.
    #[serde(deserialize_with = "Option::deserialize")]
    pub cranelift: Option<String>,
    /// CPU features that the compiled code may use, by the compiler's names.
    pub cpu_features: Vec<String>,
}

/// What was executed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Program {
    /// The file, as it was named on the command line.
    pub path: String,
    /// SHA-256 of the Wasm binary, 64 lower-case digits.
    pub sha256: String,
    /// Functions with a body.
    pub functions: u32,
    /// What the program passed to `proc_exit`, or 0 if its entry function
    /// returned; `None` if it did neither.
    #[serde(deserialize_with = "Option::deserialize")]
    pub exit_code: Option<u32>,
    /// The trap that ended it on both sides, in the specification's wording.
    #[serde(deserialize_with = "Option::deserialize")]
    pub trap: Option<String>,
}

/// What was verified, by the names of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The compiler.
    pub backend: String,
    /// Its optimisation level.
    pub opt: String,
    /// Which stable points it compiled in.
    pub stable: String,
    /// Instruction set.
    pub target: String,
    /// How it is halted.
    pub engine: String,
    /// Where it can be halted.
    pub anchors: String,
    /// What keeps it from making system calls: `seccomp` or `none`.
    pub sandbox: String,
}

/// Places where a comparison is possible. `r#static` = `anchored` + `merged` +
/// `threaded` + `eliminated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Boundaries {
    /// Boundaries in the module's reachable code.
    pub r#static: u64,
    /// Of these, those with a PC of their own.
    pub anchored: u64,
    /// Of these, those that share the PC of the next one.
    pub merged: u64,
    /// Of these, those that machine code can pass without a PC for them.
    pub threaded: u64,
    /// Of these, those that the compiler proved unreachable.
    pub eliminated: u64,
    /// Boundaries that the oracle executed, each as often as it did.
    pub executed: u64,
    /// Stops of the subject at a boundary, or records of one in its ring.
    pub stops: u64,
    /// Most merged boundaries executed in a row.
    pub longest_merged_run: u64,
}

/// Locals and operands, counted at every executed boundary. `compared` =
/// `located` + `derived` + `constant` = `equal` + `wrong`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Values {
    /// Values that both sides had.
    pub compared: u64,
    /// Of these, those with the same bits, or allowed bits (see adoptions).
    pub equal: u64,
    /// Of these, the others.
    pub wrong: u64,
    /// Of the compared, those read directly from the subject.
    pub located: u64,
    /// Of the compared, those computed from values read from the subject.
    pub derived: u64,
    /// Of the compared, those that the map says are constant.
    pub constant: u64,
    /// Values that the map cannot give.
    pub unavailable: u64,
    /// Of the unavailable, how many for which reason.
    pub reasons: BTreeMap<String, u64>,
    /// The same classes, counting only values that are read again.
    pub live: Live,
}

/// The part of the values that is read again before being set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Live {
    /// Live values read directly from the subject.
    pub located: u64,
    /// Live values computed from values read from the subject.
    pub derived: u64,
    /// Live values that the map says are constant.
    pub constant: u64,
    /// Live values that the map cannot give.
    pub unavailable: u64,
}

/// How a compared value was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueClass {
    /// Read directly from the subject.
    Located,
    /// Computed from values read from the subject.
    Derived,
    /// Said by the map.
    Constant,
}

impl Values {
    /// Counts `equal` values that were right and `wrong` ones that were not,
    /// `live` of all of them being live.
    pub fn add(&mut self, class: ValueClass, equal: u64, wrong: u64, live: u64) {
        let count = equal.saturating_add(wrong);
        let (total, alive) = match class {
            ValueClass::Located => (&mut self.located, &mut self.live.located),
            ValueClass::Derived => (&mut self.derived, &mut self.live.derived),
            ValueClass::Constant => (&mut self.constant, &mut self.live.constant),
        };
        *total = total.saturating_add(count);
        *alive = alive.saturating_add(live);
        self.compared = self.compared.saturating_add(count);
        self.equal = self.equal.saturating_add(equal);
        self.wrong = self.wrong.saturating_add(wrong);
    }

    /// Counts `count` values that the map cannot give for `reason`, `live` of
    /// them being live. Zero leaves no trace.
    pub fn add_unavailable(&mut self, reason: &str, count: u64, live: u64) {
        if count == 0 {
            return;
        }
        self.unavailable = self.unavailable.saturating_add(count);
        self.live.unavailable = self.live.unavailable.saturating_add(live);
        let entry = self.reasons.entry(reason.to_owned()).or_default();
        *entry = entry.saturating_add(count);
    }
}

/// Places where the whole state must be recoverable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StablePoints {
    /// Stable points in the module's reachable code.
    pub r#static: u64,
    /// Stable points that the subject met, each as often as it did.
    pub executed: u64,
    /// Of the executed, those with every live value recovered.
    pub full: u64,
    /// Live values that could not be recovered at the others.
    pub unavailable_live: u64,
    /// Of the executed, those at which all frames were found by unwinding.
    #[serde(default)]
    pub walks: u64,
    /// Suspended frames that were compared in doing so.
    #[serde(default)]
    pub walked: u64,
    /// Of the executed, those whose own record of the state was compared too.
    #[serde(default)]
    pub witnessed: u64,
    /// Of the executed, those at which the whole state was captured, destroyed
    /// and restored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restored: u64,
}

/// Whether a count is not worth a key.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Linear memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes compared, each as often as it was.
    pub bytes_compared: u64,
    /// Bytes that the oracle wrote at a boundary and that were compared only at
    /// a later one, because the subject need not have published them yet.
    pub deferred: u64,
}

/// How long it took. The numbers are finite and not negative.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawTime")]
pub struct Time {
    wall_s: f64,
    stops_per_s: f64,
    boundaries_per_s: f64,
    compile_s: Option<f64>,
}

/// [`Time`] as somebody else wrote it.
#[derive(Deserialize)]
struct RawTime {
    wall_s: f64,
    stops_per_s: f64,
    boundaries_per_s: f64,
    #[serde(default)]
    compile_s: Option<f64>,
}

impl TryFrom<RawTime> for Time {
    type Error = &'static str;

    fn try_from(raw: RawTime) -> Result<Time, Self::Error> {
        let sane = |number: f64| number.is_finite() && number >= 0.0;
        let compiled = raw.compile_s.is_none_or(sane);
        if sane(raw.wall_s) && sane(raw.stops_per_s) && sane(raw.boundaries_per_s) && compiled {
            let RawTime { wall_s, stops_per_s, boundaries_per_s, compile_s } = raw;
            return Ok(Time { wall_s, stops_per_s, boundaries_per_s, compile_s });
        }
        Err("a time or rate is negative or not finite")
    }
}

impl Time {
    /// The times of a run that took `wall`, stopped the subject `stops` times
    /// and had a stop or a ring record from it for `boundaries` boundaries.
    /// Seconds are kept to the microsecond, rates to a tenth; both rates are 0
    /// if no time passed.
    pub fn new(wall: Duration, stops: u64, boundaries: u64) -> Time {
        let seconds = wall.as_secs_f64();
        let rate = |count: u64| {
            if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
        };
        Time {
            wall_s: (seconds * 1e6).round() / 1e6,
            stops_per_s: rate(stops),
            boundaries_per_s: rate(boundaries),
            compile_s: None,
        }
    }

    /// The same times with the seconds of processor time that compiling took.
    #[must_use]
    pub fn compiled_in(self, compile: Duration) -> Time {
        Time { compile_s: Some((compile.as_secs_f64() * 1e6).round() / 1e6), ..self }
    }

    /// Seconds of processor time that compiling took; `None` if nothing was
    /// compiled, or many things.
    pub fn compile_s(&self) -> Option<f64> {
        self.compile_s
    }

    /// Seconds of wall clock that the lockstep run took, compilation excluded.
    pub fn wall_s(&self) -> f64 {
        self.wall_s
    }

    /// Stops of the subject a second.
    pub fn stops_per_s(&self) -> f64 {
        self.stops_per_s
    }

    /// Boundaries a second for which the subject produced a stop or a ring
    /// record; merged ones are apart.
    pub fn boundaries_per_s(&self) -> f64 {
        self.boundaries_per_s
    }
}

/// What became of the faults that were put in on purpose. `injected` >=
/// `reached` >= `effective` >= `caught`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selftest {
    /// Faults put into the subject or the map.
    pub injected: u64,
    /// Of these, those that execution came to.
    pub reached: u64,
    /// Of these, those that changed what the program does or leaves.
    pub effective: u64,
    /// Of these, those reported no later than where they first change state.
    pub caught: u64,
    /// Of those reached and not effective, those that were reported all the
    /// same: a value was wrong and nobody read it.
    pub masked: u64,
    /// Most boundaries between a first change of state and its report.
    pub delay: u64,
    /// What the faults were drawn by; `None` if they were named.
    pub seed: Option<u64>,
    /// The same counts, per kind of fault; the kinds sum up to the totals.
    pub kinds: Vec<SelftestKind>,
    /// The faults, in the order in which they were tried.
    pub faults: Vec<SelftestFault>,
}

impl Selftest {
    /// Whether a fault was missed, reported late, or reported where there was
    /// none.
    pub fn failed(&self) -> bool {
        self.faults.iter().any(|fault| fault.outcome.is_failure())
    }

    /// The exit code of the self-test: 1 if it failed, 3 if of some fault
    /// nobody can say what became of it, else 0.
    pub fn exit_code(&self) -> u8 {
        let unknown = |fault: &SelftestFault| fault.outcome == SelftestOutcome::Unknown;
        if self.failed() {
            1
        } else if self.faults.iter().any(unknown) {
            3
        } else {
            0
        }
    }
}

/// [`Selftest`] for one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelftestKind {
    /// `code:` and the kind as `--inject` takes it, or `map:` and where the
    /// slot is in truth: `register`, `vector`, `frame`, `constant`.
    pub kind: String,
    /// Faults put in.
    pub injected: u64,
    /// Of these, those that execution came to.
    pub reached: u64,
    /// Of these, those that changed what the program does or leaves.
    pub effective: u64,
    /// Of these, those reported in time.
    pub caught: u64,
    /// Those not effective and reported all the same.
    pub masked: u64,
    /// Most boundaries between a first change of state and its report.
    pub delay: u64,
}

/// One fault of a self-test.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelftestFault {
    /// The fault, as `--inject` takes it.
    pub fault: String,
    /// Its kind, one of those counted.
    pub kind: String,
    /// The program it was put into.
    pub program: String,
    /// The Wasm instruction.
    pub instruction: String,
    /// What was there and what was put there.
    pub change: String,
    /// What became of it.
    pub outcome: SelftestOutcome,
    /// Boundaries between its first change of state and its report; `None` if
    /// either is not known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub delay: Option<u64>,
    /// The effect, as the single-stepper saw it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub effect: Option<String>,
    /// What the comparator reported, or why it had no answer.
    #[serde(deserialize_with = "Option::deserialize")]
    pub report: Option<String>,
    /// The command line that runs the program with this fault.
    pub rerun: Vec<String>,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelftestOutcome {
    /// Execution never came to it.
    #[default]
    NotReached,
    /// It was executed and changed nothing.
    NoEffect,
    /// It had no effect, but a value was wrong for a while and was reported.
    Masked,
    /// It had an effect, one that the specification leaves open.
    Allowed,
    /// It had an effect and was reported no later than that.
    Caught,
    /// It had an effect and was reported after it.
    Late,
    /// It had an effect and was not reported.
    Missed,
    /// It was reported where it had done nothing yet.
    FalseAlarm,
    /// Nobody can say.
    Unknown,
}

impl SelftestOutcome {
    /// The outcome's name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            SelftestOutcome::NotReached => "not_reached",
            SelftestOutcome::NoEffect => "no_effect",
            SelftestOutcome::Masked => "masked",
            SelftestOutcome::Allowed => "allowed",
            SelftestOutcome::Caught => "caught",
            SelftestOutcome::Late => "late",
            SelftestOutcome::Missed => "missed",
            SelftestOutcome::FalseAlarm => "false_alarm",
            SelftestOutcome::Unknown => "unknown",
        }
    }

    /// Whether execution came to the fault.
    pub const fn reached(self) -> bool {
        !matches!(self, SelftestOutcome::NotReached | SelftestOutcome::Unknown)
    }

    /// Whether the fault had an effect that must be reported.
    pub const fn effective(self) -> bool {
        matches!(self, SelftestOutcome::Caught | SelftestOutcome::Late | SelftestOutcome::Missed)
    }

    /// Whether the comparator failed.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            SelftestOutcome::Late | SelftestOutcome::Missed | SelftestOutcome::FalseAlarm
        )
    }
}
