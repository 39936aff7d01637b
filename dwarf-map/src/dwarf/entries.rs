//! `.debug_info`: the unit, its types, subprograms and variables.

use super::loclists::LocLists;
use super::points::{self, Point};
use super::quiet::Changes;
use super::variables::{self, Stacks, Variable};
use super::{DwarfError, DwarfInput};
use crate::{CodeOffset, FunctionMap, Location, SubjectAddr, ThunkKind};
use gimli::write::{
    Address, AttributeValue, DebuggingInformationEntry, DwarfUnit, Expression, FileId, UnitEntryId,
};
use gimli::{
    DW_AT_byte_size, DW_AT_comp_dir, DW_AT_decl_file, DW_AT_decl_line, DW_AT_encoding,
    DW_AT_external, DW_AT_frame_base, DW_AT_high_pc, DW_AT_language, DW_AT_location, DW_AT_low_pc,
    DW_AT_name, DW_AT_producer, DW_AT_prototyped, DW_AT_type, DW_ATE_float, DW_ATE_signed,
    DW_ATE_unsigned, DW_LANG_C99, DW_OP_call_frame_cfa, DW_TAG_base_type, DW_TAG_formal_parameter,
    DW_TAG_subprogram, DW_TAG_variable, DebugMacroOffset, DwAte,
};
use std::ops::Range;
use wasm_view::{HeapType, RefType, ValType};

/// The base types: what a debugger shows a value of the type as. A reference
/// is shown as the word that native code holds, a vector as one number.
const BASE_TYPES: [(ValType, DwAte); 8] = [
    (ValType::I32, DW_ATE_signed),
    (ValType::I64, DW_ATE_signed),
    (ValType::F32, DW_ATE_float),
    (ValType::F64, DW_ATE_float),
    (ValType::V128, DW_ATE_unsigned),
    (ValType::FUNCREF, DW_ATE_unsigned),
    (ValType::EXTERNREF, DW_ATE_unsigned),
    (ValType::Ref(RefType::nullable(HeapType::Exn)), DW_ATE_unsigned),
];

/// Fills the unit. Returns the content of `.debug_loclists`.
pub(super) fn write(
    unit: &mut DwarfUnit,
    input: &DwarfInput<'_>,
    listing: FileId,
) -> Result<Option<Vec<u8>>, DwarfError> {
    let producer = &input.map.producer;
    let features = producer.cpu_features.join(",");
    let command = format!(
        "wdiff {} {} opt={} stable={} anchors={} target={} features={features}",
        producer.backend,
        producer.version,
        producer.opt,
        producer.stable,
        producer.anchors,
        producer.target.name(),
    );
    let root = unit.unit.root();
    let producer = string(unit, &command);
    let program = string(unit, input.program);
    let directory = string(unit, input.listing_dir);
    let entry = unit.unit.get_mut(root);
    entry.set(DW_AT_producer, producer);
    // Expressions and values read like C; nothing else is claimed by it.
    entry.set(DW_AT_language, AttributeValue::Language(DW_LANG_C99));
    entry.set(DW_AT_name, program);
    entry.set(DW_AT_comp_dir, directory);
    set_code(entry, input.text, &(CodeOffset::new(0)..CodeOffset::new(input.text_size)));

    let types = BASE_TYPES.map(|(ty, encoding)| (ty, base_type(unit, ty, encoding)));
    let mut loclists = LocLists::new(input.text, input.map.isa());
    for function in &input.map.functions {
        subprogram(unit, input, function, listing, &types, &mut loclists)?;
    }
    for thunk in &input.map.thunks {
        plain_subprogram(unit, input.text, &thunk_name(thunk.kind), &thunk.code);
    }
    for (number, each) in input.map.entries.iter().enumerate() {
        plain_subprogram(unit, input.text, &format!("entry_{number}"), &each.code);
    }
    Ok(loclists.finish())
}

/// A reference to a string; a zero byte, which would end it, becomes U+FFFD.
fn string(unit: &mut DwarfUnit, text: &str) -> AttributeValue {
    AttributeValue::StringRef(unit.strings.add(text.replace('\0', "\u{fffd}")))
}

fn set_code(entry: &mut DebuggingInformationEntry, text: SubjectAddr, code: &Range<CodeOffset>) {
    let length = code.end.get().saturating_sub(code.start.get());
    entry.set(DW_AT_low_pc, AttributeValue::Address(Address::Constant(code.start.at(text).get())));
    entry.set(DW_AT_high_pc, AttributeValue::Udata(u64::from(length)));
}

fn base_type(unit: &mut DwarfUnit, ty: ValType, encoding: DwAte) -> UnitEntryId {
    let name = string(unit, &ty.to_string());
    let root = unit.unit.root();
    let id = unit.unit.add(root, DW_TAG_base_type);
    let entry = unit.unit.get_mut(id);
    entry.set(DW_AT_name, name);
    entry.set(DW_AT_encoding, AttributeValue::Encoding(encoding));
    entry.set(DW_AT_byte_size, AttributeValue::Data1(ty.bytes() as u8));
    id
}

fn subprogram(
    unit: &mut DwarfUnit,
    input: &DwarfInput<'_>,
    function: &FunctionMap,
    listing: FileId,
    types: &[(ValType, UnitEntryId)],
    loclists: &mut LocLists,
) -> Result<(), DwarfError> {
    // No linkage name: gdb would show it in place of the name.
    let name = match &function.name {
        Some(name) if !name.is_empty() => name.clone(),
        _ => format!("wasm_func_{}", function.func.get()),
    };
    let id = plain_subprogram(unit, input.text, &name, &function.code);
    let entry = unit.unit.get_mut(id);
    entry.set(DW_AT_external, AttributeValue::FlagPresent);
    let first = function.boundaries.first().map(|boundary| boundary.offset);
    if let Some(line) = first.and_then(|offset| input.lines.get(&offset)) {
        entry.set(DW_AT_decl_file, AttributeValue::FileIndex(Some(listing)));
        entry.set(DW_AT_decl_line, AttributeValue::Udata(u64::from(*line)));
    }
    let points = points::of(function, input.map.isa());
    let gaps = points::gaps(function, input.map.isa(), &points, input.code);
    let stacks = Stacks::new(function);
    let mut places = Vec::new();
    for variable in variables::of(function) {
        collect(&stacks, &variable, function, &points, &gaps, &mut places);
        let list = loclists.add(variable.ty, function, &places)?;
        let name = string(unit, &variable.name);
        let tag = if variable.parameter { DW_TAG_formal_parameter } else { DW_TAG_variable };
        let child = unit.unit.add(id, tag);
        let entry = unit.unit.get_mut(child);
        entry.set(DW_AT_name, name);
        if let Some((_, ty)) = types.iter().find(|(ty, _)| *ty == variable.ty) {
            entry.set(DW_AT_type, AttributeValue::UnitRef(*ty));
        }
        if let Some(offset) = list {
            // The library cannot name a list that it did not write itself.
            // This value is written as what is needed, a `DW_FORM_sec_offset`
            // with the number given; which section it is in follows from the
            // attribute.
            let offset = AttributeValue::DebugMacroRef(DebugMacroOffset(offset));
            entry.set(DW_AT_location, offset);
        }
    }
    Ok(())
}

/// The points where a variable has a location, neighbours made one where it has
/// the same and nothing in between changes it.
fn collect(
    stacks: &Stacks<'_>,
    variable: &Variable,
    function: &FunctionMap,
    points: &[Point],
    gaps: &[Option<Changes>],
    places: &mut Vec<(Point, Location)>,
) {
    places.clear();
    // The point that the last of the places ends with.
    let mut last_point = 0;
    for (number, point) in points.iter().enumerate() {
        let Some(location) = stacks.location(variable, point.source) else {
            continue;
        };
        if let Location::Unavailable(_) = location {
            continue;
        }
        let stays = || {
            let gap = number.checked_sub(1).filter(|before| *before == last_point)?;
            Some(gaps.get(gap)?.as_ref()?.leave(location, &function.expressions))
        };
        match places.last_mut() {
            Some((last, there))
                if *there == location && (last.end == point.begin || stays() == Some(true)) =>
            {
                last.end = point.end;
            }
            _ => places.push((*point, location)),
        }
        last_point = number;
    }
}

fn plain_subprogram(
    unit: &mut DwarfUnit,
    text: SubjectAddr,
    name: &str,
    code: &Range<CodeOffset>,
) -> UnitEntryId {
    let name = string(unit, name);
    let root = unit.unit.root();
    let id = unit.unit.add(root, DW_TAG_subprogram);
    let mut frame_base = Expression::new();
    frame_base.op(DW_OP_call_frame_cfa);
    let entry = unit.unit.get_mut(id);
    entry.set(DW_AT_name, name);
    entry.set(DW_AT_prototyped, AttributeValue::FlagPresent);
    entry.set(DW_AT_frame_base, AttributeValue::Exprloc(frame_base));
    set_code(entry, text, code);
    id
}

/// `thunk_`, what it asks for, and the indices of what it asks about.
pub(super) fn thunk_name(kind: ThunkKind) -> String {
    match kind {
        ThunkKind::Import(func) => format!("thunk_import_{}", func.get()),
        operation => format!("thunk_{operation}").replace(['.', ' '], "_"),
    }
}
