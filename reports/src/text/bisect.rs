//! What `wdiff bisect` narrowed down, and the reproducer.

use super::page::{Page, TableCell};
use crate::bisect::{Bisection, Reproducer};
use crate::number::counted;
use crate::printable::{clean, shell_word};
use crate::style::Role;

/// Rows of native code that are shown.
const ROWS: usize = 40;

/// Writes the section.
pub(super) fn write(section: &Bisection, page: &mut Page) {
    page.title("Bisected");
    if let Some(title) = &section.title {
        page.row("title", &clean(title));
    }
    for axis in &section.axes {
        page.row(&axis.axis, &clean(&axis.answer));
    }
    if let Some(code) = &section.code {
        for mix in &code.mixes {
            let what =
                format!("function {} at {}: {}, {}", mix.func, mix.how, mix.result, mix.detail);
            page.row("mixed", &clean(&what));
        }
    }
    if !section.settings.is_empty() {
        page.title("Settings");
        let cell = |text: &str| TableCell::left(clean(text));
        let rows: Vec<Vec<TableCell>> = section
            .settings
            .iter()
            .map(|setting| {
                let role = match setting.result.as_str() {
                    "good" => Role::Good,
                    "bad" => Role::Bad,
                    _ => Role::Unsure,
                };
                vec![
                    cell(&setting.result).role(role),
                    cell(&setting.setting),
                    cell(&setting.detail),
                ]
            })
            .collect();
        page.table(2, &rows);
    }
    if !section.history.is_empty() {
        page.title("Where the map has the value");
        for line in &section.history {
            page.line(&format!("  {}", clean(line)));
        }
    }
    native(section, page);
    match (&section.reproducer, &section.no_reproducer) {
        (Some(found), _) => reproducer(found, page),
        (None, Some(why)) => {
            page.title("Reproducer");
            page.row("none", &clean(why));
        }
        (None, None) => {}
    }
}

fn native(section: &Bisection, page: &mut Page) {
    if section.native.is_empty() {
        return;
    }
    page.title("Native code of the reproducer");
    let cell = |text: &Option<String>| TableCell::left(clean(text.as_deref().unwrap_or_default()));
    let mut rows = vec![vec![
        TableCell::left(" "),
        TableCell::left("at fault").role(Role::Label),
        TableCell::left("right").role(Role::Label),
    ]];
    for row in section.native.iter().take(ROWS) {
        let differs = row.bad != row.good;
        let mut cells =
            vec![TableCell::left(if differs { "|" } else { " " }), cell(&row.bad), cell(&row.good)];
        if differs {
            let good = cells.pop().map(|cell| cell.role(Role::Good));
            let bad = cells.pop().map(|cell| cell.role(Role::Bad));
            cells.extend(bad);
            cells.extend(good);
        }
        rows.push(cells);
    }
    page.table(2, &rows);
    if section.native.len() > ROWS {
        let more = counted((section.native.len() - ROWS) as u64, "more row", "more rows");
        page.line(&format!("  {more} in the JSON report"));
    }
}

fn reproducer(found: &Reproducer, page: &mut Page) {
    page.title("Reproducer");
    page.labelled("file", &clean(&found.file));
    let size = format!(
        "{}, {:.3} % of the program's {}; {}, cut out of {}",
        counted(found.wasm_bytes, "byte", "bytes"),
        100.0 * found.wasm_bytes as f64 / found.module_bytes.max(1) as f64,
        counted(found.module_bytes, "byte", "bytes"),
        counted(found.instructions, "instruction", "instructions"),
        counted(found.span, "executed one", "executed ones"),
    );
    page.row("size", &size);
    page.row("right", &clean(&found.expected));
    page.row("wrong", &clean(&found.actual));
    page.row("right with", &clean(found.good.as_deref().unwrap_or("no compiler that was tried")));
    page.row("witness", &clean(&found.witness));
    let tried = counted(found.candidates, "module", "modules");
    page.row("found in", &format!("{:.1} s, {tried} tried", found.wall_s));
    let words: Option<Vec<_>> = found.command.iter().map(|word| shell_word(word)).collect();
    if let Some(words) = words {
        page.labelled("again", &words.join(" "));
    }
}
