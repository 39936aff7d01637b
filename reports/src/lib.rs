//! What a run of wdiff found out, as data and as text.
//!
//! A divergence is a *value*: it is serialised, merged, bisected on and shown
//! to people. So there is one model, and renderers that only read it:
//!
//! ```text
//! comparator --counts, slots--> Report --+--> text   for a terminal
//!                                 ^      '--> json   schema wdiff-report/1
//!                                 '-----------  |
//!                                     from_str <'    bisect, report merge
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`model`] | the report: verdict, what was run, what was counted |
//! | [`divergence`] | the place and the evidence of a divergence |
//! | [`slot`] | names, types and values of what was compared |
//! | [`check`] | the sums and implications that hold in every report |
//! | [`functions`] | what is available, function by function |
//! | [`gate`] | the section of a gate: programs x configurations |
//! | [`explain`] | what kinds of divergence, reasons and failures mean |
//! | [`baseline`] | what a gate is held against |
//! | [`json`] | the JSON form; the schema is described in `docs/report.md` |
//! | [`text`] | the terminal form |
//! | [`junit`], [`sarif`], [`markdown`], [`html`] | forms for other tools, for pull requests, for looking at |
//! | [`style`] | colour and width of the terminal form |
//!
//! Invariant: a renderer never computes a verdict and never drops a count.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod bisect;
mod cases;
pub mod check;
pub mod divergence;
pub mod explain;
pub mod functions;
pub mod gate;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod model;
mod number;
mod printable;
pub mod sarif;
pub mod slot;
pub mod style;
pub mod text;
pub mod wast;
mod xml;

pub use baseline::Baseline;
pub use bisect::{Axis, Bisection, Guilty, Mix, NativeRow, Reproducer, Setting};
pub use divergence::{
    Divergence, DivergenceKind, Executed, Frame, ListingLine, NativePc, Passed, StateDiff, Witness,
    WitnessVerdict,
};
pub use functions::{FunctionFigures, Lack};
pub use gate::{Config, Failure, FailureKind, Gate, GateJob, JobOutcome};
pub use model::{
    Boundaries, Code, Inconclusive, InconclusiveReason, Live, Memory, Migration, Outcome, Program,
    Report, RestoreFaults, Schema, Selftest, SelftestFault, SelftestKind, SelftestOutcome,
    StablePoints, Subject, Time, Tool, ValueClass, Values, Verdict,
};
pub use slot::{Slot, SlotName, SlotType};
pub use style::Style;
pub use wast::Wast;
