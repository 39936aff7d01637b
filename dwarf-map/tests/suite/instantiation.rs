//! The rules about the code that instantiates a module: silent about what is
//! good, and each kind of damage found by the rule made for it.

use crate::fixture::{self, TEXT};
use dwarf_map::check::{Rule, Violation, check_instantiation};
use dwarf_map::unwind::Unwinder;
use dwarf_map::{CodeOffset, EntryMap, ImageMap, ThunkKind, ThunkMap};
use gimli::X86_64;
use gimli::write::{Address, CallFrameInstruction, CommonInformationEntry, FrameDescriptionEntry};
use std::ops::Range;
use wasm_view::{DataIdx, ElemIdx, FuncIdx, FuncType, MemoryIdx, TableIdx};

/// Function 0 is `add` of the fixture, which has the index 3.
const MODULE: &str = r#"(module
  (import "e" "a" (func)) (import "e" "b" (func)) (import "e" "c" (func))
  (import "e" "t" (table 1 funcref))
  (table 2 funcref (ref.func $start))
  (memory 1)
  (func $start) (func)
  (start $start)
  (elem (table 1) (i32.const 0) func $start)
  (elem declare func $start)
  (elem func $start)
  (data "passive")
  (data (i32.const 0) "a"))"#;

struct Image {
    code: Option<Range<CodeOffset>>,
    map: ImageMap,
    text: Vec<u8>,
    frames: Vec<u8>,
    wasm: Vec<u8>,
}

fn range(start: u32, end: u32) -> Range<CodeOffset> {
    CodeOffset::new(start)..CodeOffset::new(end)
}

/// The fixture's image with thunks of a byte each behind it, and behind those
/// the code that calls them.
fn good() -> Image {
    let (mut map, mut text) = (fixture::map(), fixture::text());
    let table = TableIdx::new(1);
    let kinds = [
        ThunkKind::TableFill(table),
        ThunkKind::TableInit { table, elem: ElemIdx::new(0) },
        ThunkKind::ElemDrop(ElemIdx::new(0)),
        ThunkKind::ElemDrop(ElemIdx::new(1)),
        ThunkKind::MemoryInit { memory: MemoryIdx::new(0), data: DataIdx::new(1) },
        ThunkKind::DataDrop(DataIdx::new(1)),
    ];
    let mut called = Vec::new();
    for kind in kinds {
        let at = text.len() as u32;
        text.push(0xcc);
        let trap = CodeOffset::new(at);
        map.thunks.push(ThunkMap { kind, ty: FuncType::default(), code: range(at, at + 1), trap });
        called.push(at);
    }
    map.entries.push(EntryMap { ty: FuncType::default(), ..map.entries[0].clone() });
    called.push(map.functions[0].code.start.get());
    let start = text.len() as u32;
    for target in called {
        let next = text.len() as u32 + 5;
        text.push(0xe8);
        text.extend((target.cast_signed() - next.cast_signed()).to_le_bytes());
    }
    text.push(0xc3);
    let end = text.len() as u32;
    let mut frames = fixture::frames();
    let encoding = gimli::Encoding { format: gimli::Format::Dwarf32, version: 1, address_size: 8 };
    let mut common = CommonInformationEntry::new(encoding, 1, -8, X86_64::RA);
    common.add_instruction(CallFrameInstruction::Cfa(X86_64::RSP, 8));
    common.add_instruction(CallFrameInstruction::Offset(X86_64::RA, -8));
    let common = frames.add_cie(common);
    let address = Address::Constant(CodeOffset::new(start).at(TEXT).get());
    frames.add_fde(common, FrameDescriptionEntry::new(address, end - start));
    let frames = fixture::section(&frames);
    let wasm = wat::parse_str(MODULE).expect("a module");
    Image { code: Some(range(start, end)), map, text, frames, wasm }
}

impl Image {
    fn check(&self) -> Vec<Violation> {
        let size = self.text.len() as u32;
        let unwinder = Unwinder::new(&self.frames, TEXT, size).expect("the fixture's CFI is good");
        check_instantiation(self.code.as_ref(), &self.map, &self.text, &unwinder, &self.wasm)
    }
    fn code(&mut self) -> &mut Range<CodeOffset> {
        self.code.as_mut().expect("it has one")
    }
    fn call(&mut self, number: u32) -> &mut [u8] {
        let at = (self.code().start.get() + 5 * number) as usize;
        &mut self.text[at..at + 5]
    }
}

#[test]
fn good_code_passes() {
    assert_eq!(good().check(), []);
    // An imported start function is called otherwise.
    let mut image = good();
    image.map.functions[0].func = FuncIdx::new(9);
    image.call(6).fill(0x90);
    assert_eq!(image.check(), []);
}

#[test]
fn every_damage_is_found_by_its_rule() {
    type Damage = (Rule, &'static str, fn(&mut Image));
    let damages: &[Damage] = &[
        (Rule::Instantiation, "no such code", |image| image.code = None),
        (Rule::Instantiation, "empty code", |image| image.code().end = image.code().start),
        (Rule::Instantiation, "code that ends before it begins", |image| {
            image.code().end = CodeOffset::new(1);
        }),
        (Rule::Instantiation, "code beyond the text", |image| {
            image.code().end = CodeOffset::new(1000);
        }),
        (Rule::Instantiation, "code that is a thunk's", |image| {
            image.code().start = CodeOffset::new(image.code().start.get() - 1);
        }),
        (Rule::Instantiation, "no entry of its type", |image| drop(image.map.entries.pop())),
        (Rule::CfiCoverage, "code longer than its CFI", |image| {
            image.text.push(0x90);
            image.code().end = CodeOffset::new(image.code().end.get() + 1);
        }),
        (Rule::InstantiationCalls, "no thunk to fill a table", |image| {
            drop(image.map.thunks.remove(1));
        }),
        (Rule::InstantiationCalls, "a segment not applied", |image| image.call(1).fill(0x90)),
        (Rule::InstantiationCalls, "a segment not dropped", |image| image.call(2).fill(0x90)),
        (Rule::InstantiationCalls, "a declared one not dropped", |image| {
            image.call(3).fill(0x90);
        }),
        (Rule::InstantiationCalls, "bytes not applied", |image| image.call(4).fill(0x90)),
        (Rule::InstantiationCalls, "another order", |image| {
            // Calls of thunks of a byte each, five bytes apart.
            image.call(4)[1] += 1;
            image.call(5)[1] -= 1;
        }),
        (Rule::InstantiationCalls, "no start function", |image| image.call(6).fill(0x90)),
        (Rule::ModuleReadable, "half a module", |image| {
            image.wasm.truncate(image.wasm.len() - 3);
        }),
    ];
    for (expected, what, damage) in damages {
        let mut image = good();
        damage(&mut image);
        let found = image.check();
        assert!(
            found.iter().any(|violation| violation.rule == *expected),
            "{what}: expected {expected}, found {found:#?}"
        );
    }
}
