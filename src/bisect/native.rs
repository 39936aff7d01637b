//! Native code of both sides, and where the map has the wrong value.

use super::Case;
use super::compiler::Compiler;
use super::cut::Cut;
use crate::disasm::disassemble;
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{DwarfReg, Location};
use reports::{NativeRow, SlotName};
use similar::{Algorithm, DiffOp, capture_diff_slices};
use wasm_view::{Boundary, FuncIdx};

/// Boundaries of the history.
const HISTORY: usize = 10;

/// The code of a program's function in a cut by both compilers, side by side.
///
/// # Errors
/// Bugs of ours.
pub fn rows(
    bad: &Compiler,
    good: Option<&Compiler>,
    cut: &Cut,
    func: FuncIdx,
) -> Result<Vec<NativeRow>, CommandError> {
    let func = cut.moved.funcs.get(&func).copied().unwrap_or_default();
    let code = |compiler: &Compiler| -> Result<Vec<String>, CommandError> {
        let image = compiler.compile_cut(&cut.program, &cut.moved)?;
        Ok(image.as_ref().map(|image| lines(image, func)).unwrap_or_default())
    };
    let bad = code(bad)?;
    let good = good.map(code).transpose()?.unwrap_or_default();
    Ok(side_by_side(&bad, &good))
}

/// The instructions of a function.
fn lines(image: &Image, func: FuncIdx) -> Vec<String> {
    let function = image.map.functions.iter().find(|function| function.func == func);
    let code = function.map(|function| disassemble(image, function.code.clone()));
    code.into_iter().flatten().map(|line| line.text).collect()
}

fn side_by_side(bad: &[String], good: &[String]) -> Vec<NativeRow> {
    let mut rows = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, bad, good) {
        let (old, new) = (op.old_range(), op.new_range());
        let count = old.len().max(new.len());
        let equal = matches!(op, DiffOp::Equal { .. });
        for at in 0..count {
            let bad = old.clone().nth(at).and_then(|at| bad.get(at)).cloned();
            let good = match equal {
                true => bad.clone(),
                false => new.clone().nth(at).and_then(|at| good.get(at)).cloned(),
            };
            rows.push(NativeRow { bad, good });
        }
    }
    rows
}

/// Where the map has the first wrong value, at the boundaries stopped at last
/// in that function.
pub fn history(case: &Case<'_>, guilty: Boundary) -> Vec<String> {
    let at = case.finding.at;
    let Some(slot) = case.finding.slots.first() else { return Vec::new() };
    let map = case.image.map.functions.iter().find(|function| function.func == at.func);
    let Some(map) = map else { return Vec::new() };
    let index = match slot.slot {
        SlotName::Local { frame: 0, index } => index as usize,
        SlotName::Stack { frame: 0, index } => map.locals.len() + index as usize,
        _ => return Vec::new(),
    };
    let recent = case.finding.recent.iter().filter(|each| each.func == at.func);
    let recent: Vec<&Boundary> = recent.collect();
    let recent = &recent[recent.len().saturating_sub(HISTORY)..];
    recent
        .iter()
        .filter_map(|each| {
            let boundary = map.boundaries.iter().find(|b| b.offset == each.offset)?;
            let location = boundary.locations.get(index)?;
            let text = case.image.listing.text_at(each.offset).unwrap_or_default();
            let mark = match () {
                () if **each == at => " <- wrong here",
                () if **each == guilty => " <- at fault",
                () => "",
            };
            Some(format!("{} {text}: {} {}{mark}", each.offset, slot.slot, place(*location)))
        })
        .collect()
}

fn place(location: Location) -> String {
    match location {
        Location::Register(DwarfReg(number)) => {
            const NAMES: [&str; 16] = [
                "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
                "r12", "r13", "r14", "r15",
            ];
            match NAMES.get(usize::from(number)) {
                Some(name) => format!("in {name}"),
                None => format!("in xmm{}", number - 17),
            }
        }
        Location::CfaOffset(offset) => format!("at CFA{offset:+}"),
        Location::Constant(cell) => format!("is constant {:#x}", cell.0),
        Location::Derived(_) => "is computed from others".to_owned(),
        Location::Unavailable(reason) => format!("is unavailable ({})", reason.key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_equal_where_the_code_is() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let rows = side_by_side(&list("a b c d"), &list("a x c"));
        let text: Vec<String> = rows
            .iter()
            .map(|row| {
                let side = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
                format!("{}{}", side(&row.bad), side(&row.good))
            })
            .collect();
        assert_eq!(text, ["aa", "bx", "cc", "d-"]);
    }
}
