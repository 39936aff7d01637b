//! What a comparison found.
//!
//! Agreement is only worth something together with what it covers. So the
//! outcome counts what was compared, and lists under a name everything that
//! was passed over, left out or refused; two outcomes can be added.

use std::collections::BTreeMap;
use std::fmt;
use wasm_view::Boundary;

/// How often something happened, by name.
pub type Counts = BTreeMap<String, u64>;

/// Adds one under a name.
pub(crate) fn count(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(n) => *n += 1,
        None => {
            counts.insert(name.to_string(), 1);
        }
    }
}

/// The first disagreement, after which a module is not run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where the oracle stood; `None` outside of all functions.
    pub place: Option<Place>,
    /// What differs: `local 3`, `operand 0`, `memory 0 at 0x10`, `trap`, ..
    pub what: String,
    /// On the oracle's side.
    pub oracle: String,
    /// On Wasmtime's side.
    pub wasmtime: String,
}

/// An instruction, and which one was executed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The boundary.
    pub boundary: Boundary,
    /// The instruction there.
    pub instruction: String,
    /// The instruction before, which is usually the one at fault.
    pub previous: Option<String>,
    /// How many instructions the oracle had executed.
    pub executed: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: oracle {}, Wasmtime {}", self.what, self.oracle, self.wasmtime)?;
        let Some(place) = &self.place else {
            return f.write_str(", outside of functions");
        };
        let Boundary { func, offset, .. } = place.boundary;
        write!(f, ", function {func} at {offset} before `{}`", place.instruction)?;
        if let Some(previous) = &place.previous {
            write!(f, " after `{previous}`")?;
        }
        write!(f, ", {} instructions executed", place.executed)
    }
}

/// What comparing a module, or several, gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Modules on which both sides were run.
    pub modules: u64,
    /// Calls made: start functions and exports.
    pub calls: u64,
    /// Stops at which both sides stood before the same instruction and all
    /// that is comparable was compared.
    pub stops: u64,
    /// Instructions that the oracle executed.
    pub instructions: u64,
    /// Locals, operands, globals, arguments, results and table elements
    /// compared, each time they were.
    pub values: u64,
    /// Bytes of memory compared.
    pub bytes: u64,
    /// The first difference of each module that has one.
    pub differences: Vec<Difference>,
    /// Instructions that the oracle executed without a stop of Wasmtime's.
    pub passed: Counts,
    /// Results that the specification leaves open, taken from Wasmtime.
    pub adopted: Counts,
    /// What was not compared.
    pub not_compared: Counts,
    /// Modules that were not run, by reason.
    pub refused: Counts,
    /// How calls ended.
    pub ends: Counts,
    /// Mnemonics of the instructions executed, without immediates.
    pub executed: Counts,
}

impl Outcome {
    /// The outcome of a module that was not run.
    pub(crate) fn refused(reason: &str) -> Outcome {
        Outcome { refused: Counts::from([(reason.to_string(), 1)]), ..Outcome::default() }
    }

    /// Adds another outcome to this one.
    pub fn add(&mut self, other: Outcome) {
        self.modules += other.modules;
        self.calls += other.calls;
        self.stops += other.stops;
        self.instructions += other.instructions;
        self.values += other.values;
        self.bytes += other.bytes;
        self.differences.extend(other.differences);
        for (into, from) in [
            (&mut self.passed, other.passed),
            (&mut self.adopted, other.adopted),
            (&mut self.not_compared, other.not_compared),
            (&mut self.refused, other.refused),
            (&mut self.ends, other.ends),
            (&mut self.executed, other.executed),
        ] {
            for (name, n) in from {
                *into.entry(name).or_default() += n;
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in [
            ("modules", self.modules),
            ("calls", self.calls),
            ("stops compared", self.stops),
            ("instructions executed", self.instructions),
            ("values compared", self.values),
            ("bytes of memory compared", self.bytes),
            ("kinds of instructions", self.executed.len() as u64),
            ("differences", self.differences.len() as u64),
        ] {
            writeln!(f, "{name:<28} {n:>14}")?;
        }
        for (title, counts) in [
            ("passed over", &self.passed),
            ("adopted", &self.adopted),
            ("calls ended by", &self.ends),
            ("not compared", &self.not_compared),
            ("refused", &self.refused),
        ] {
            for (index, (name, n)) in counts.iter().enumerate() {
                let title = if index == 0 { title } else { "" };
                writeln!(f, "{title:<14} {name:<60} {n:>10}")?;
            }
        }
        Ok(())
    }
}
