//! Does a cut show the fault?
//!
//! What is right is what the oracle computes of the cut itself, so a cut is
//! never wrong about what it asserts, however it was made. The compiler's code
//! is run bare, with all traps silenced and nobody comparing on the way: only
//! the results count, as they will for whoever runs the script. A cut is one
//! that shows the fault if the compiler at fault gives something else than the
//! oracle and a compiler that is not at fault gives the same; what passes so far
//! is run as its script will be ([`confirm`]).

use super::compiler::Compiler;
use super::confirm::confirm;
use super::cut::Cut;
use crate::error::CommandError;
use crate::invoke::Calls;
use crate::lockstep::plan::Plan;
use crate::lockstep::stops::Control;
use crate::selftest::machine::{End, Machine, Seen};
use crate::selftest::watchdog::Watchdog;
use crate::session::{Instantiated, Session};
use crate::witness::{self, Called};
use aot_backend::Image;
use oracle_interp::{Event, StopSet};
use reports::WitnessVerdict;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasi_host::OperationLog;
use wasm_view::{FuncAddr, FuncIdx, Trap, Value};

/// What the code of a cut may take: it has no loops.
const PATIENCE: Duration = Duration::from_secs(2);
/// Instructions of a cut that the oracle executes at most.
const FUEL: u64 = 1_000_000;

/// How a call of a cut ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// With these results.
    Returned(Vec<Value>),
    /// With this trap.
    Trapped(Trap),
    /// Otherwise, as no Wasm does.
    Broken(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Returned(values) if values.is_empty() => f.write_str("returns"),
            Answer::Returned(values) => {
                let values: Vec<String> =
                    values.iter().map(|value| format!("{} {}", value.ty(), value.hex())).collect();
                f.write_str(&values.join(", "))
            }
            Answer::Trapped(trap) => write!(f, "trap: {trap}"),
            Answer::Broken(what) => f.write_str(what),
        }
    }
}

impl Answer {
    /// Whether this is allowed where the oracle answers `right`.
    pub fn is(&self, right: &Answer) -> bool {
        match (self, right) {
            (Answer::Returned(ours), Answer::Returned(right)) => {
                ours.len() == right.len() && ours.iter().zip(right).all(|(a, b)| allowed(*a, *b))
            }
            _ => self == right,
        }
    }
}

/// Whether a value is one that the specification allows where the oracle has
/// `right`. Of a NaN it leaves the sign open, and more if its payload is not the
/// canonical one.
fn allowed(value: Value, right: Value) -> bool {
    match (value, right) {
        (Value::F32(a), Value::F32(b)) if f32::from_bits(b).is_nan() => {
            let (a, b) = (a & 0x7fff_ffff, b & 0x7fff_ffff);
            if b == 0x7fc0_0000 { a == b } else { a & 0x7fc0_0000 == 0x7fc0_0000 }
        }
        (Value::F64(a), Value::F64(b)) if f64::from_bits(b).is_nan() => {
            const CANONICAL: u64 = 0x7ff8 << 48;
            let (a, b) = (a & !(1 << 63), b & !(1 << 63));
            if b == CANONICAL { a == b } else { a & CANONICAL == CANONICAL }
        }
        _ => value == right,
    }
}

/// A cut that shows the fault.
pub struct Shown {
    /// What is right.
    pub right: Answer,
    /// What the compiler at fault gives.
    pub wrong: Answer,
    /// The compiler that gives what is right, by its place in the list.
    pub good: Option<usize>,
}

/// Who judges.
pub struct Judge<'a> {
    /// The compiler at fault.
    pub bad: &'a Compiler,
    /// Compilers that may not be at fault, the likeliest first.
    pub good: &'a [Compiler],
    /// Who may want all of it to end.
    pub control: &'a Arc<Control>,
    /// When there is no more time for another cut.
    pub deadline: Cell<Instant>,
    /// When there is none for making smaller what was found.
    pub end: Instant,
    /// Cuts tried.
    pub tried: Cell<u64>,
    /// Subjects executed.
    pub executions: Cell<u64>,
    /// What the script of the last cut did that shows the fault bare only.
    pub unconfirmed: RefCell<Option<String>>,
}

impl Judge<'_> {
    /// Whether there is time for another cut.
    pub fn has_time(&self) -> bool {
        Instant::now() < self.deadline.get() && self.control.request().is_none()
    }

    /// Whether a cut shows the fault.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn judge(&self, cut: &Cut) -> Result<Option<Shown>, CommandError> {
        self.tried.set(self.tried.get() + 1);
        let Some(right) = right(cut)? else { return Ok(None) };
        let Some(wrong) = self.answer(self.bad, cut)? else { return Ok(None) };
        if wrong.is(&right) {
            return Ok(None);
        }
        let mut good = None;
        for (at, compiler) in self.good.iter().enumerate() {
            if self.answer(compiler, cut)?.is_some_and(|answer| answer.is(&right)) {
                good = Some(at);
                break;
            }
        }
        // A compiler that is right everywhere else has to be right here.
        if good.is_none()
            && self.good.iter().any(|compiler| compiler.fault.is_none() && self.bad.fault.is_some())
        {
            return Ok(None);
        }
        let sound = good.and_then(|at| self.good.get(at));
        if let Err(why) = confirm(cut, &right, self.bad, sound)? {
            self.unconfirmed.replace(Some(why));
            return Ok(None);
        }
        Ok(Some(Shown { right, wrong, good }))
    }

    /// What a compiler's code answers; `None` if it does not take the cut.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn answer(&self, compiler: &Compiler, cut: &Cut) -> Result<Option<Answer>, CommandError> {
        let Some(image) = compiler.compile_cut(&cut.program, &cut.moved)? else {
            return Ok(None);
        };
        self.executions.set(self.executions.get() + 1);
        execute(cut, &image, self.control).map(Some)
    }
}

fn calls(cut: &Cut) -> Calls {
    let call = Called { func: FuncIdx::new(0), args: cut.args.clone() };
    Calls { list: vec![call], shows_results: true }
}

/// What the oracle answers; `None` if it is not done in time.
fn right(cut: &Cut) -> Result<Option<Answer>, CommandError> {
    Ok(match oracle(cut)?.1 {
        Event::Finished(values) => Some(Answer::Returned(values)),
        Event::Trapped(trap) => Some(Answer::Trapped(trap)),
        _ => None,
    })
}

fn oracle(cut: &Cut) -> Result<(Instantiated, Event), CommandError> {
    // The oracle needs no code.
    let calls = calls(cut);
    let mut made = Session::oracle_of(&cut.program)?;
    let call = &calls.list[0];
    let func = FuncAddr { instance: made.instance, func: call.func };
    made.oracle.begin_call(func, &call.args).map_err(CommandError::bug)?;
    let event = made.oracle.run(&StopSet::new(&cut.program.module), FUEL);
    Ok((made, event))
}

/// What a second interpreter says of the cut's result.
///
/// # Errors
/// Bugs of ours.
pub fn witness(cut: &Cut) -> Result<(WitnessVerdict, String), CommandError> {
    let (mut made, event) = oracle(cut)?;
    let calls = calls(cut);
    let log = OperationLog::default();
    let (oracle, instance) = (&mut made.oracle, made.instance);
    let found = witness::ask(&cut.program, &log, &calls.list, oracle, instance, event);
    let said = found.reason.unwrap_or_else(|| format!("{} agrees with the oracle", found.engine));
    Ok((found.verdict, said))
}

/// Runs a cut's native code, with nobody watching.
fn execute(cut: &Cut, image: &Image, all: &Arc<Control>) -> Result<Answer, CommandError> {
    let calls = calls(cut);
    let session = Session { program: &cut.program, image, calls: &calls };
    let control = Control::new();
    let log = OperationLog::default();
    let mut machine = Machine::new(&session, &log, &control)?;
    machine.silence()?;
    let plan = Plan::new(image)?;
    let _watchdog = Watchdog::new(all, &[&control], PATIENCE);
    let seen = machine.run_on(&plan)?;
    let Seen::Over(end) = seen else {
        return Ok(Answer::Broken("halts where the map has no trap".to_owned()));
    };
    Ok(match end {
        End::Returned(_) => {
            let ty = cut.program.module.func_type(FuncIdx::new(0)).cloned().unwrap_or_default();
            let results = (0..).zip(&ty.results);
            let results = results.map(|(at, ty)| machine.space.argument(&machine.subject, at, *ty));
            Answer::Returned(results.collect::<Result<_, _>>()?)
        }
        End::WasmTrap(_, trap, ..) | End::Trapped(_, trap) => Answer::Trapped(trap),
        End::Fault(signal, _) => Answer::Broken(format!("faults ({signal:?}) where no Wasm traps")),
        End::Syscall(number, _) => Answer::Broken(format!("tries system call {number}")),
        End::Stuck => Answer::Broken("does not end".to_owned()),
        End::Exited(_) | End::HostCall(_) | End::Threw(..) | End::Lost(_) => {
            Answer::Broken("asks for what the module does not ask for".to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nans_are_compared_as_the_specification_allows() {
        let canonical = Value::F32(0x7fc0_0000);
        assert!(allowed(Value::F32(0xffc0_0000), canonical));
        assert!(!allowed(Value::F32(0x7fc0_0001), canonical));
        assert!(!allowed(Value::F32(0x7f80_0000), canonical));
        let other = Value::F64(0x7ff8_0000_0000_0007);
        assert!(allowed(Value::F64(0xfff8_0000_0000_0000), other));
        assert!(!allowed(Value::F64(0x7ff0_0000_0000_0007), other));
        assert!(!allowed(Value::I32(1), Value::I32(2)));
        assert!(!allowed(Value::F64(0), Value::F64(1 << 63)));
    }
}
