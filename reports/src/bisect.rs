//! What `wdiff bisect` found: where a divergence comes from, and something
//! small that shows it.
//!
//! The divergence itself is in the report beside this section. Here is what was
//! narrowed down along each axis, how it was confirmed, and the reproducer.

use serde::{Deserialize, Serialize};

/// The section `bisect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bisection {
    /// A title to report it under; `None` if nothing diverged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub title: Option<String>,
    /// What was bisected, in the order in which it was.
    pub axes: Vec<Axis>,
    /// The code at fault; `None` if nothing diverged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub code: Option<Guilty>,
    /// Settings of the compiler, and what comes of each.
    pub settings: Vec<Setting>,
    /// The reproducer; `None` if there is none, see `no_reproducer`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub reproducer: Option<Reproducer>,
    /// Why there is no reproducer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_reproducer: Option<String>,
    /// Native code of both sides; empty if there is only one.
    pub native: Vec<NativeRow>,
    /// Where the map has the wrong value at the boundaries up to the divergence.
    pub history: Vec<String>,
    /// Subjects that were executed.
    pub executions: u64,
    /// Seconds that all of it took.
    pub wall_s: f64,
}

/// One axis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// `time`, `code`, `compiler` or `versions`.
    pub axis: String,
    /// Whether there was anything to bisect.
    pub applies: bool,
    /// What was found, or why it does not apply.
    pub answer: String,
}

/// The code at fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guilty {
    /// The function.
    pub func: u32,
    /// Its name, if the module names it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
    /// Byte offset of the basic block's first instruction.
    pub block_start: u32,
    /// Byte offset behind its last one.
    pub block_end: u32,
    /// Byte offset of the instruction.
    pub offset: u32,
    /// The instruction, as text.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instruction: Option<String>,
    /// Instructions executed before it.
    pub executed: u64,
    /// Whether the divergence goes away when this function alone is compiled
    /// otherwise; `None` if that could not be tried.
    #[serde(deserialize_with = "Option::deserialize")]
    pub confirmed: Option<bool>,
    /// What was tried.
    pub mixes: Vec<Mix>,
}

/// An image with one function compiled otherwise than the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// The function.
    pub func: u32,
    /// How it was compiled.
    pub how: String,
    /// `gone`, `same`, `other` (it diverges elsewhere) or `inconclusive`.
    pub result: String,
    /// Where it diverges, or why there is no answer.
    pub detail: String,
}

/// A setting of the compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The options that make it, or the compiler's path.
    pub setting: String,
    /// `good`, `bad` or `inconclusive`.
    pub result: String,
    /// What came of it.
    pub detail: String,
}

/// A script that shows the fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reproducer {
    /// The file that was written.
    pub file: String,
    /// Bytes of its module.
    pub wasm_bytes: u64,
    /// Bytes of the program's module.
    pub module_bytes: u64,
    /// Instructions of its function.
    pub instructions: u64,
    /// Instructions of the program that it is made of, from the first to the
    /// one at fault.
    pub span: u64,
    /// Modules tried until it was this small.
    pub candidates: u64,
    /// Seconds from the divergence to the file.
    pub wall_s: f64,
    /// What is right.
    pub expected: String,
    /// What the compiler's code gives.
    pub actual: String,
    /// What a second interpreter says of the assertion: `agrees` or why not.
    pub witness: String,
    /// The compiler that gives what is right, if one is known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub good: Option<String>,
    /// The command line that shows it.
    pub command: Vec<String>,
    /// The script.
    pub text: String,
}

/// A row of native code side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeRow {
    /// An instruction of the compiler at fault.
    #[serde(deserialize_with = "Option::deserialize")]
    pub bad: Option<String>,
    /// An instruction of the other one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub good: Option<String>,
}
