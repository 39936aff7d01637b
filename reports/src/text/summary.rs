//! What a verdict rests on: program, subject, boundaries, values, memory, time.

use super::page::{Page, TableCell};
use super::{migration, selftest, wast};
use crate::model::{Report, Values};
use crate::number::{counted, duration, grouped, percent, rate};
use crate::printable::clean;
use crate::style::Role;

/// Writes the summary of any report.
pub(super) fn write(report: &Report, page: &mut Page) {
    page.title("What was looked at");
    program(report, page);
    subject(report, page);
    if let Some(section) = &report.selftest {
        // The figures of the many runs are not added up.
        page.row("time", &duration(report.time.wall_s()));
        selftest::write(section, page);
        return;
    }
    if let Some(section) = &report.wast {
        wast::write(section, page);
    }
    if let Some(section) = &report.migration {
        migration::write(section, page);
    }
    boundaries(report, page);
    values(&report.values, page);
    state(report, page);
    if let Some(section) = &report.migration {
        migration::faults(section, page);
    }
}

fn program(report: &Report, page: &mut Page) {
    let program = &report.program;
    // The whole digest is in the other formats; here it tells two builds apart.
    let digest: String = program.sha256.chars().take(12).collect();
    page.row(
        "program",
        &format!(
            "{}, {}, sha256 {}...",
            clean(&program.path),
            counted(program.functions.into(), "function", "functions"),
            clean(&digest)
        ),
    );
    let ended = match (&program.trap, program.exit_code) {
        (Some(trap), _) => format!("trap on both sides: {}", clean(trap)),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => String::new(),
    };
    page.row("ended with", &ended);
}

fn subject(report: &Report, page: &mut Page) {
    let (subject, tool) = (&report.subject, &report.tool);
    let compiler = match &tool.cranelift {
        // The version is Cranelift's, whoever calls it.
        Some(version) if subject.backend == "cranelift" => format!("cranelift {version}"),
        Some(version) => format!("{} (cranelift {version})", subject.backend),
        None => subject.backend.clone(),
    };
    page.row(
        "subject",
        &clean(&format!(
            "{compiler} for {}, opt {}, stable {}, anchors {}, engine {}, sandbox {}",
            subject.target,
            subject.opt,
            subject.stable,
            subject.anchors,
            subject.engine,
            subject.sandbox
        )),
    );
    page.row("cpu features", &clean(&tool.cpu_features.join(" ")));
    page.row("wdiff", &clean(&tool.version));
}

fn boundaries(report: &Report, page: &mut Page) {
    let b = &report.boundaries;
    let mut kinds = vec![format!("{} anchored", share(b.anchored, b.r#static))];
    for (count, kind) in
        [(b.merged, "merged"), (b.threaded, "threaded"), (b.eliminated, "eliminated")]
    {
        if count > 0 {
            kinds.push(format!("{} {kind}", grouped(count)));
        }
    }
    page.row("boundaries", &format!("{} static: {}", grouped(b.r#static), kinds.join(", ")));
    let mut executed =
        format!("{} executed, {}", grouped(b.executed), counted(b.stops, "stop", "stops"));
    if b.longest_merged_run > 0 {
        executed.push_str(&format!(", longest merged run {}", grouped(b.longest_merged_run)));
    }
    page.row("", &executed);
}

/// A count and how much of the whole it is.
fn share(part: u64, whole: u64) -> String {
    match percent(part, whole) {
        Some(percent) => format!("{} ({percent})", grouped(part)),
        None => grouped(part),
    }
}

fn values(v: &Values, page: &mut Page) {
    let wrong = match v.wrong {
        0 => "0 wrong".to_owned(),
        n => page.paint(Role::Bad, &format!("{} wrong", grouped(n))),
    };
    page.labelled(
        "values",
        &format!("{} compared: {} equal, {wrong}", grouped(v.compared), grouped(v.equal)),
    );
    let live = v.live;
    let all = v.compared.saturating_add(v.unavailable);
    let all_live = [live.located, live.derived, live.constant, live.unavailable]
        .into_iter()
        .fold(0, u64::saturating_add);
    let mut rows = vec![
        ["", "all", "", "live", ""]
            .map(|title| TableCell::right(title).role(Role::Faint))
            .into_iter()
            .collect::<Vec<_>>(),
    ];
    for (name, count, live) in [
        ("located", v.located, live.located),
        ("derived", v.derived, live.derived),
        ("constant", v.constant, live.constant),
        ("unavailable", v.unavailable, live.unavailable),
    ] {
        rows.push(vec![
            TableCell::left(name),
            TableCell::right(grouped(count)),
            TableCell::right(percent(count, all).unwrap_or_default()),
            TableCell::right(grouped(live)),
            TableCell::right(percent(live, all_live).unwrap_or_default()),
        ]);
    }
    page.table(16, &rows);
    let reasons: Vec<String> =
        v.reasons.iter().map(|(why, n)| format!("{} {}", clean(why), grouped(*n))).collect();
    page.row("unavailable", &reasons.join(", "));
}

fn state(report: &Report, page: &mut Page) {
    let s = &report.stable_points;
    if s.r#static > 0 || s.executed > 0 {
        let mut text = format!("{} static, {} executed", grouped(s.r#static), grouped(s.executed));
        if s.executed > 0 {
            text.push_str(&format!(", {} with every live value", share(s.full, s.executed)));
        }
        if s.unavailable_live > 0 {
            let lacking = counted(s.unavailable_live, "live value", "live values");
            text.push_str(&format!(", {lacking} unavailable"));
        }
        page.row("stable points", &text);
        if s.walks > 0 {
            let frames = counted(s.walked, "suspended frame", "suspended frames");
            let mut text = format!("all frames at {}, {frames}", grouped(s.walks));
            if s.witnessed > 0 {
                text.push_str(&format!("; cold path run at {}", grouped(s.witnessed)));
            }
            if s.restored > 0 {
                text.push_str(&format!("; destroyed and restored at {}", grouped(s.restored)));
            }
            page.row("", &text);
        }
    }
    let m = &report.memory;
    let mut text = format!("{} compared", counted(m.bytes_compared, "byte", "bytes"));
    if m.deferred > 0 {
        text.push_str(&format!(", {} of them deferred", grouped(m.deferred)));
    }
    page.row("memory", &text);
    page.row("host calls", &grouped(report.host_calls));
    let adopted: Vec<String> = report
        .adoptions
        .iter()
        .map(|(name, n)| format!("{} {}", clean(name), grouped(*n)))
        .collect();
    page.row("adoptions", &adopted.join(", "));
    let time = &report.time;
    page.row(
        "time",
        &format!(
            "{}, {} stops/s, {} boundaries/s",
            duration(time.wall_s()),
            rate(time.stops_per_s()),
            rate(time.boundaries_per_s())
        ),
    );
}
