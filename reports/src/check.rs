//! What holds in every report.
//!
//! A reader trusts a report's sums: an availability figure means nothing if
//! the comparisons behind it do not add up. So the rules stand in one place,
//! checked on every report that is read, by the tests, and by the command on
//! what it is about to write:
//!
//! - `values`: compared = located + derived + constant = equal + wrong;
//!   unavailable = sum of reasons; no class has more live values than values.
//! - `boundaries`: static = anchored + merged + threaded + eliminated.
//! - `stable_points`: full <= executed; each that is not full lacks at least
//!   one live value, and only those do.
//! - `verdict` and the sections `inconclusive` and `divergence` go together;
//!   wrong values are a divergence. Only a self-test that failed is one without
//!   that section.
//! - `divergence`: the kinds that are about a value name it; every slot's
//!   values have the form of its type and differ; an offset lies in a
//!   function, a function in an instance.
//! - `selftest`: injected >= reached >= effective >= caught, the kinds sum up to
//!   the totals, the faults are those counted, and the verdict is theirs.
//! - `functions`: the heat of a function is about its boundaries.
//! - `gate`: the counts are those of the jobs; a job's verdict is that of its
//!   report, which keeps all these rules too; a divergence is a failure, and the
//!   verdict is that of the jobs.
//! - `wast`: an assertion that fails is a divergence, and what was not run keeps
//!   the verdict from being a match.

use crate::divergence::{Divergence, DivergenceKind, WitnessVerdict};
use crate::functions::Heat;
use crate::gate::{Gate, JobOutcome};
use crate::model::{
    Boundaries, Report, Selftest, SelftestKind, SelftestOutcome, StablePoints, Values, Verdict,
};

impl Report {
    /// Checks the rules of [`crate::check`]. The error is a sentence about the
    /// first one that does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        report(self)
    }
}

pub(crate) fn report(report: &Report) -> Result<(), String> {
    verdict(report)?;
    let digits = report.program.sha256.as_bytes();
    require(
        digits.len() == 64 && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        || "program.sha256 is not 64 digits 0-9 a-f".to_owned(),
    )?;
    boundaries(&report.boundaries)?;
    values(&report.values)?;
    stable_points(&report.stable_points)?;
    if let Some(found) = &report.divergence {
        divergence(found)?;
    }
    if let Some(section) = &report.selftest {
        selftest(section)?;
    }
    for function in report.functions.iter().flatten() {
        require(Heat::length(&function.heat) == Some(function.boundaries), || {
            format!(
                "function #{} has {} boundaries, its heat is of others",
                function.func, function.boundaries
            )
        })?;
    }
    if let Some(section) = &report.gate {
        gate(section)?;
    }
    if let Some(section) = &report.wast {
        require(section.failures.is_empty() || report.verdict == Verdict::Divergence, || {
            "assertions that fail and no divergence".to_owned()
        })?;
        require(section.left_out() == 0 || report.verdict != Verdict::Match, || {
            "assertions that were not run and a match".to_owned()
        })?;
    }
    Ok(())
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Checks that `parts` sum up to `total`; a sum beyond 64 bits does not.
fn sums_up(total: (&str, u64), parts: &[(&str, u64)]) -> Result<(), String> {
    let sum = parts.iter().try_fold(0u64, |sum, (_, part)| sum.checked_add(*part));
    require(sum == Some(total.1), || {
        let list: Vec<String> = parts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        format!("{} is {}, but its parts are {}", total.0, total.1, list.join(" + "))
    })
}

fn verdict(report: &Report) -> Result<(), String> {
    let key = report.verdict.key();
    let inconclusive = report.verdict == Verdict::Inconclusive;
    require(report.inconclusive.is_some() == inconclusive, || {
        format!("verdict {key} does not go with the section inconclusive")
    })?;
    let diverged = report.verdict == Verdict::Divergence;
    if let Some(section) = &report.gate {
        require(report.divergence.is_none() && section.failed() == diverged, || {
            format!("verdict {key} does not go with the section gate")
        })?;
        let open = section.open().next().is_some();
        require(report.verdict != Verdict::Match || !open, || {
            "jobs without an answer and a match".to_owned()
        })?;
    } else if let Some(section) = &report.selftest {
        let code = section.exit_code();
        require(report.exit_code() == code && report.divergence.is_none(), || {
            format!("verdict {key} does not go with the section selftest")
        })?;
    } else {
        require(report.divergence.is_some() == diverged, || {
            format!("verdict {key} does not go with the section divergence")
        })?;
    }
    require(diverged || report.values.wrong == 0, || {
        format!("verdict {key} with {} wrong values", report.values.wrong)
    })
}

fn boundaries(b: &Boundaries) -> Result<(), String> {
    sums_up(
        ("boundaries.static", b.r#static),
        &[
            ("anchored", b.anchored),
            ("merged", b.merged),
            ("threaded", b.threaded),
            ("eliminated", b.eliminated),
        ],
    )
}

fn values(v: &Values) -> Result<(), String> {
    let compared = ("values.compared", v.compared);
    let classes = [("located", v.located), ("derived", v.derived), ("constant", v.constant)];
    sums_up(compared, &classes)?;
    sums_up(compared, &[("equal", v.equal), ("wrong", v.wrong)])?;
    let reasons: Vec<(&str, u64)> = v.reasons.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    sums_up(("values.unavailable", v.unavailable), &reasons)?;
    for (name, live, all) in [
        ("located", v.live.located, v.located),
        ("derived", v.live.derived, v.derived),
        ("constant", v.live.constant, v.constant),
        ("unavailable", v.live.unavailable, v.unavailable),
    ] {
        require(live <= all, || {
            format!("values.live.{name} is {live}, more than values.{name}, {all}")
        })?;
    }
    Ok(())
}

fn stable_points(s: &StablePoints) -> Result<(), String> {
    let lacking = s.executed.checked_sub(s.full).ok_or_else(|| {
        format!("stable_points.full is {}, more than executed, {}", s.full, s.executed)
    })?;
    for (name, part) in [("walks", s.walks), ("witnessed", s.witnessed), ("restored", s.restored)] {
        require(part <= s.executed, || {
            format!("stable_points.{name} is {part}, more than executed, {}", s.executed)
        })?;
    }
    require(s.walks > 0 || s.walked == 0, || {
        format!("{} frames were walked at no stable point", s.walked)
    })?;
    require(s.unavailable_live >= lacking && (lacking > 0 || s.unavailable_live == 0), || {
        format!(
            "{lacking} stable points are not full, but {} live values are unavailable",
            s.unavailable_live
        )
    })
}

fn divergence(d: &Divergence) -> Result<(), String> {
    for (inner, outer, text) in [
        (d.func.is_some(), d.instance.is_some(), "func without an instance"),
        (d.name.is_some(), d.func.is_some(), "name without a func"),
        (d.offset.is_some(), d.func.is_some(), "offset without a func"),
        (d.instruction.is_some(), d.offset.is_some(), "instruction without an offset"),
    ] {
        require(!inner || outer, || format!("the divergence has a {text}"))?;
    }
    let about_a_value = matches!(
        d.kind,
        DivergenceKind::Local
            | DivergenceKind::Operand
            | DivergenceKind::Memory
            | DivergenceKind::Global
            | DivergenceKind::Table
    );
    require(!about_a_value || !d.slots.is_empty(), || {
        format!("a divergence of kind {} names no slot", d.kind)
    })?;
    for slot in &d.slots {
        for value in [&slot.expected, &slot.actual].into_iter().flatten() {
            slot.ty.check(value).map_err(|why| format!("slot {}: {why}", slot.slot))?;
        }
        require(slot.expected != slot.actual, || {
            format!("slot {} has the same value on both sides", slot.slot)
        })?;
    }
    match &d.witness {
        Some(witness) if witness.verdict != WitnessVerdict::Agrees => {
            require(witness.reason.is_some(), || {
                "a witness that does not agree gives no reason".to_owned()
            })
        }
        _ => Ok(()),
    }
}

fn gate(gate: &Gate) -> Result<(), String> {
    require(gate.counts == Gate::count(&gate.jobs), || {
        "gate.counts are not those of the jobs".to_owned()
    })?;
    require(gate.jobs.len() as u64 <= gate.planned, || {
        format!("{} jobs of {} that are planned", gate.jobs.len(), gate.planned)
    })?;
    for job in &gate.jobs {
        let key = || job.key();
        match &job.report {
            Some(inner) => {
                require(inner.gate.is_none() && inner.selftest.is_none(), || {
                    format!("{}: the report is not that of one run", key())
                })?;
                require(job.outcome == inner.verdict.into(), || {
                    format!("{}: {} is not the report's verdict", key(), job.outcome.key())
                })?;
                report(inner).map_err(|why| format!("{}: {why}", key()))?;
            }
            None => {
                let unreported = matches!(
                    job.outcome,
                    JobOutcome::Error | JobOutcome::NotRun | JobOutcome::Inconclusive
                );
                require(unreported && job.detail.is_some(), || {
                    format!("{}: neither a report nor a reason", key())
                })?;
            }
        }
        require(job.outcome != JobOutcome::Divergence || !job.failures.is_empty(), || {
            format!("{}: a divergence that is no failure", key())
        })?;
    }
    Ok(())
}

/// One count of a kind of fault.
type Column = fn(&SelftestKind) -> u64;

fn selftest(s: &Selftest) -> Result<(), String> {
    let counts = |name: &str, [injected, reached, effective, caught]: [u64; 4]| {
        require(injected >= reached && reached >= effective && effective >= caught, || {
            format!("{name}: injected >= reached >= effective >= caught does not hold")
        })
    };
    counts("selftest", [s.injected, s.reached, s.effective, s.caught])?;
    for kind in &s.kinds {
        counts(&kind.kind, [kind.injected, kind.reached, kind.effective, kind.caught])?;
    }
    let columns: [(&str, u64, Column); 5] = [
        ("selftest.injected", s.injected, |kind| kind.injected),
        ("selftest.reached", s.reached, |kind| kind.reached),
        ("selftest.effective", s.effective, |kind| kind.effective),
        ("selftest.caught", s.caught, |kind| kind.caught),
        ("selftest.masked", s.masked, |kind| kind.masked),
    ];
    for (name, total, column) in columns {
        let parts: Vec<(&str, u64)> =
            s.kinds.iter().map(|kind| (kind.kind.as_str(), column(kind))).collect();
        sums_up((name, total), &parts)?;
    }
    for kind in &s.kinds {
        let count = |which: fn(SelftestOutcome) -> bool| {
            let of_kind = s.faults.iter().filter(|fault| fault.kind == kind.kind);
            of_kind.filter(|fault| which(fault.outcome)).count() as u64
        };
        let counted = [
            count(|_| true),
            count(SelftestOutcome::reached),
            count(SelftestOutcome::effective),
            count(|outcome| outcome == SelftestOutcome::Caught),
        ];
        let said = [kind.injected, kind.reached, kind.effective, kind.caught];
        require(said == counted, || format!("{}: the faults are not those counted", kind.kind))?;
    }
    require(s.faults.len() as u64 == s.injected, || {
        "selftest.faults has faults of no kind".to_owned()
    })
}
