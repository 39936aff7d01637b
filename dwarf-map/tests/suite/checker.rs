//! The checker: silent about a good map, and each kind of damage found by the
//! rule made for it.

use crate::fixture::{self, TEXT, TEXT_SIZE};
use dwarf_map::check::{Rule, Violation, check, check_dwarf};
use dwarf_map::dwarf::{self, DwarfInput, SourceLines};
use dwarf_map::unwind::Unwinder;
use dwarf_map::{
    Anchor, CodeOffset, Detour, DwarfReg, Expression, ExpressionIdx, FunctionMap, ImageMap, Input,
    InstanceCounts, InstanceLayout, Location, Reason, StableKind, StablePoint, Step,
};
use wasm_view::{Cell, FuncIdx, SlotIdx, ValType, WasmOffset};

/// What a test may damage.
struct Image {
    map: ImageMap,
    text: Vec<u8>,
}

impl Image {
    fn good() -> Image {
        Image { map: fixture::map(), text: fixture::text() }
    }
    fn check(&self) -> Vec<Violation> {
        let frames = fixture::debug_frame();
        let unwinder = Unwinder::new(&frames, TEXT, TEXT_SIZE).expect("the fixture's CFI is good");
        check(&self.map, &self.text, &unwinder)
    }
    fn add(&mut self) -> &mut FunctionMap {
        &mut self.map.functions[0]
    }
    fn slot(&mut self, boundary: usize, slot: usize) -> &mut Location {
        &mut self.add().boundaries[boundary].locations[slot]
    }
    fn call_slot(&mut self, slot: usize) -> &mut Location {
        &mut self.add().call_sites[0].locations[slot]
    }
}

#[test]
fn a_good_map_passes() {
    assert_eq!(Image::good().check(), []);
}

#[test]
fn every_damage_is_found_by_its_rule() {
    let code = CodeOffset::new;
    let wasm = WasmOffset::new;
    let register = |number| Location::Register(DwarfReg(number));
    let input = |input| Expression::new(vec![Step::Input(input)]).expect("balanced");
    let no_area = InstanceLayout::new(InstanceCounts::default());
    type Damage<'a> = (Rule, &'static str, &'a dyn Fn(&mut Image));
    let damages: &[Damage<'_>] = &[
        (Rule::FunctionOrder, "two functions with one index", &|image| {
            image.map.functions[1].func = FuncIdx::new(3);
        }),
        (Rule::CodeInText, "a function beyond the text", &|image| {
            image.map.functions[1].code.end = code(1000);
        }),
        (Rule::CodeInText, "a thunk without code", &|image| {
            image.map.thunks[0].code.end = code(80);
        }),
        (Rule::CodeOverlap, "a function into the next one", &|image| {
            image.add().code.end = code(70);
        }),
        (Rule::Params, "more parameters than locals", &|image| image.add().params = 4),
        (Rule::FrameSize, "a frame without a return address", &|image| {
            image.map.functions[1].frame_size = 0;
        }),
        (Rule::FrameSize, "an unaligned frame", &|image| {
            image.map.functions[1].frame_size = 12;
        }),
        (Rule::BoundaryOrder, "boundaries swapped", &|image| image.add().boundaries.swap(1, 2)),
        (Rule::BoundaryInBody, "a boundary past the final end", &|image| {
            image.add().boundaries[2].offset = wasm(0x45);
        }),
        (Rule::AnchorInCode, "an anchor in another function", &|image| {
            image.add().boundaries[2].anchor = Anchor::Trap(code(69));
        }),
        (Rule::AnchorDistinct, "one anchor for two boundaries", &|image| {
            image.add().boundaries[1].anchor = Anchor::Trap(code(23));
        }),
        (Rule::AnchorIsTrap, "an anchor on another instruction", &|image| {
            image.add().boundaries[1].anchor = Anchor::Trap(code(25));
        }),
        (Rule::AnchorIsTrap, "a trap instruction overwritten", &|image| image.text[35] = 0x90),
        (Rule::AnchorIsInstruction, "a trap instruction as an instruction", &|image| {
            image.add().boundaries[1].anchor = Anchor::Instruction(code(24));
        }),
        (Rule::CopyRoom, "no room behind the code", &|image| {
            image.add().boundaries[1].anchor = Anchor::Instruction(code(25));
        }),
        (Rule::StableEntry, "no entry", &|image| {
            image.add().boundaries[0].stable = None;
            image.add().boundaries[1].stable = Some(StableKind::Call);
        }),
        (Rule::StableEntry, "two entries", &|image| {
            image.add().boundaries[1].stable = Some(StableKind::Entry);
        }),
        (Rule::LocationCount, "an operand without location", &|image| {
            image.add().boundaries[1].locations.pop();
        }),
        (Rule::LocationCount, "an operand without type", &|image| {
            image.add().boundaries[1].operands.clear();
        }),
        (Rule::LocationCount, "a local forgotten at a call", &|image| {
            image.add().call_sites[0].locations.pop();
        }),
        (Rule::RegisterClass, "an integer in xmm3", &|image| *image.slot(0, 0) = register(20)),
        (Rule::RegisterClass, "a float in rax", &|image| *image.slot(0, 2) = register(0)),
        (Rule::RegisterClass, "an integer in rsp", &|image| *image.slot(0, 0) = register(7)),
        (Rule::RegisterClass, "a float in no register", &|image| *image.slot(0, 2) = register(33)),
        (Rule::ConstantWidth, "an i32 of 33 bits", &|image| {
            *image.slot(1, 3) = Location::Constant(Cell(1 << 32));
        }),
        (Rule::ConstantWidth, "a reference that is a constant", &|image| {
            image.add().locals[1] = ValType::FUNCREF;
            *image.slot(0, 1) = Location::Constant(Cell(1));
        }),
        (Rule::ExpressionKnown, "an expression that is not there", &|image| {
            *image.slot(0, 0) = Location::Derived(ExpressionIdx::new(2));
        }),
        (Rule::ExpressionInput, "an expression of rsp", &|image| {
            image.add().expressions[0] = input(Input::Register(DwarfReg(7)));
        }),
        (Rule::ExpressionInput, "an expression of xmm0", &|image| {
            image.add().expressions[0] = input(Input::Register(DwarfReg(17)));
        }),
        (Rule::ExpressionInput, "an expression of the return address", &|image| {
            image.add().expressions[0] = input(Input::Frame(-12));
        }),
        (Rule::DerivedType, "a derived vector", &|image| {
            image.add().locals[0] = ValType::V128;
        }),
        (Rule::CalleeSaved, "an expression of what a callee may change", &|image| {
            image.add().expressions[1] = input(Input::Register(DwarfReg(0)));
        }),
        (Rule::FrameOffset, "below the stack pointer", &|image| {
            *image.slot(0, 1) = Location::CfaOffset(-40);
        }),
        (Rule::FrameOffset, "on the return address", &|image| {
            *image.slot(0, 0) = Location::CfaOffset(-8);
        }),
        (Rule::FrameOffset, "across the return address", &|image| {
            *image.slot(0, 1) = Location::CfaOffset(-12);
        }),
        (Rule::FrameOffset, "beyond the stack arguments", &|image| {
            *image.slot(0, 1) = Location::CfaOffset(32);
        }),
        (Rule::FrameOffset, "at the end of the address range", &|image| {
            *image.slot(0, 1) = Location::CfaOffset(i32::MAX);
        }),
        (Rule::CallOrder, "a call site twice", &|image| {
            let again = image.add().call_sites[0].clone();
            image.add().call_sites.push(again);
        }),
        (Rule::CallInCode, "a return address in another function", &|image| {
            image.add().call_sites[0].return_address = code(70);
        }),
        (Rule::CallInstruction, "a return address one too early", &|image| {
            image.add().call_sites[0].return_address = code(34);
        }),
        (Rule::CallInstruction, "a call out of the text", &|image| image.text[34] = 0x10),
        (Rule::CallBoundary, "a call by no instruction", &|image| {
            image.add().call_sites[0].offset = wasm(0x43);
        }),
        (Rule::CalleeSaved, "a value in rsi across a call", &|image| {
            *image.call_slot(0) = register(4);
        }),
        (Rule::CalleeSaved, "a value in xmm0 across a call", &|image| {
            *image.call_slot(2) = register(17);
        }),
        (Rule::HandlerInCode, "a handler in another function", &|image| {
            image.add().call_sites[0].handlers[0].pc = code(70);
        }),
        (Rule::HandlerUnique, "a handler behind one for everything", &|image| {
            image.add().call_sites[0].handlers.swap(0, 1);
        }),
        (Rule::HandlerUnique, "two handlers for a tag", &|image| {
            let handlers = &mut image.add().call_sites[0].handlers;
            handlers[1] = handlers[0];
        }),
        (Rule::HandlerFrame, "a handler in the prologue", &|image| {
            image.add().call_sites[0].handlers[0].pc = code(0);
        }),
        (Rule::TrapOrder, "a trap site twice", &|image| {
            let again = image.map.functions[1].traps[0];
            image.map.functions[1].traps.push(again);
        }),
        (Rule::TrapInCode, "a trap site in another function", &|image| {
            image.map.functions[1].traps[0].pc = code(40);
        }),
        (Rule::TrapInCode, "a trap of another function's", &|image| {
            image.map.functions[1].traps[0].offset = wasm(0x40);
        }),
        (Rule::ThunkTrap, "a thunk's trap on its return", &|image| {
            image.map.thunks[0].trap = code(81);
        }),
        (Rule::EntryTrap, "an entry's trap overwritten", &|image| image.text[115] = 0xc3),
        (Rule::Duplicate, "two thunks for an import", &|image| {
            let mut again = image.map.thunks[0].clone();
            again.code = code(82)..code(84);
            again.trap = code(82);
            image.map.thunks.push(again);
        }),
        (Rule::Duplicate, "two entries for a type", &|image| {
            let again = image.map.entries[0].clone();
            image.map.entries.push(again);
        }),
        (Rule::ArgumentArea, "no argument area", &|image| image.map.layout = no_area),
        (Rule::CfiCoverage, "a function longer than its CFI", &|image| {
            image.add().code.end = code(50);
        }),
        (Rule::CfiCoverage, "a thunk longer than its CFI", &|image| {
            image.map.thunks[0].code.end = code(84);
        }),
    ];
    for (rule, what, damage) in damages {
        let mut image = Image::good();
        damage(&mut image);
        let found = image.check();
        assert!(
            found.iter().any(|violation| violation.rule == *rule),
            "{what}: expected {rule}, found {found:#?}",
        );
    }
    let tested: Vec<Rule> = damages.iter().map(|(rule, _, _)| *rule).collect();
    // The others have tables of their own, below, in `module.rs` and in `instantiation.rs`.
    let elsewhere = |rule: &Rule| {
        use Rule::{BoundaryComplete, CallComplete, CfiFrame, CfiSaved, FunctionKnown};
        use Rule::{ModuleReadable, OperandTypes, StableComplete};
        let module = [FunctionKnown, BoundaryComplete, OperandTypes, StableComplete, CallComplete];
        rule.name().starts_with("dwarf-")
            || rule.name().starts_with("instantiation")
            || module.contains(rule)
            || [CfiFrame, CfiSaved, ModuleReadable].contains(rule)
            || ABOUT_POINTS.contains(rule)
    };
    for rule in Rule::ALL.iter().filter(|rule| !elsewhere(rule)) {
        assert!(tested.contains(rule), "no damage is made for {rule}");
    }
}

/// Call frame information that is complete and in order, but wrong.
#[test]
fn wrong_frames_are_found() {
    use gimli::X86_64 as R;
    use gimli::write::CallFrameInstruction as Cfi;
    let pushed = [(1, Cfi::CfaOffset(16)), (1, Cfi::Offset(R::RBP, -16))];
    let good = [(4, Cfi::CfaRegister(R::RBP)), (12, Cfi::Offset(R::RBX, -32))];
    type Damage = (Rule, &'static str, Vec<(u32, Cfi)>);
    let damages: [Damage; 9] = [
        (
            Rule::CfiFrame,
            "a frame address a word too high",
            [&pushed[1..], &good, &[(1, Cfi::CfaOffset(24))]].concat(),
        ),
        (Rule::CfiFrame, "a frame counted from rsp all along", [&pushed[..], &good[1..]].concat()),
        (
            Rule::CfiFrame,
            "a frame counted from rbx",
            [&pushed[..], &[(4, Cfi::CfaRegister(R::RBX))], &good[1..]].concat(),
        ),
        (
            Rule::CfiFrame,
            "a return address that is the saved rbp",
            [&pushed[..], &good, &[(12, Cfi::Offset(R::RA, -16))]].concat(),
        ),
        (Rule::CfiSaved, "rbx not said to be saved", [&pushed[..], &good[..1]].concat()),
        (
            Rule::CfiSaved,
            "rbx in the place of a local",
            [&pushed[..], &good[..1], &[(12, Cfi::Offset(R::RBX, -24))]].concat(),
        ),
        (
            Rule::CfiSaved,
            "rbx saved, but restored too early",
            [&pushed[..], &good, &[(19, Cfi::SameValue(R::RBX))]].concat(),
        ),
        (Rule::CfiSaved, "rbp not said to be saved", [&pushed[..1], &good].concat()),
        (
            Rule::CfiSaved,
            "r12 said to be saved",
            [&pushed[..], &good, &[(12, Cfi::Offset(R::R12, -24))]].concat(),
        ),
    ];
    for (rule, what, mut rules) in damages {
        rules.sort_by_key(|(from, _)| *from);
        let section = fixture::section(&fixture::frames_with(&rules));
        let unwinder = Unwinder::new(&section, TEXT, TEXT_SIZE).expect("it can be read");
        let found = check(&fixture::map(), &fixture::text(), &unwinder);
        assert!(
            found.iter().any(|violation| violation.rule == rule),
            "{what}: expected {rule}, found {found:#?}",
        );
    }
}

/// Code that no longer does what its call frame information says.
#[test]
fn changed_prologues_are_found() {
    type Damage = (Rule, &'static str, usize, &'static [u8]);
    let damages: [Damage; 5] = [
        (Rule::CfiSaved, "rbx never saved", 8, &[0x90; 4]),
        (Rule::CfiSaved, "r12 in the place of rbx", 8, &[0x4c, 0x89, 0x24, 0x24]),
        (
            Rule::CfiSaved,
            "rbx saved four bytes off",
            8,
            &[0x48, 0x89, 0x5c, 0x24, 0x04, 0x90, 0x90, 0x90, 0x90],
        ),
        (Rule::CfiFrame, "rbp not set", 1, &[0x90; 3]),
        (Rule::CfiSaved, "another register pushed", 0, &[0x53]),
    ];
    for (rule, what, at, code) in damages {
        let mut image = Image::good();
        image.text[at..at + code.len()].copy_from_slice(code);
        let found = image.check();
        assert!(
            found.iter().any(|violation| violation.rule == rule),
            "{what}: expected {rule}, found {found:#?}",
        );
    }
}

const ABOUT_POINTS: [Rule; 5] = [
    Rule::StablePresent,
    Rule::StablePoll,
    Rule::StableDetour,
    Rule::StableTrap,
    Rule::StableLayout,
];

/// The fixture with a poll behind the trap of its function's entry.
fn with_stable_point() -> Image {
    let mut image = Image::good();
    image.map.producer.stable = "entry".to_owned();
    let function = image.add();
    function.boundaries.truncate(1);
    function.call_sites.clear();
    function.stable_points = vec![StablePoint {
        offset: WasmOffset::new(0x40),
        poll: CodeOffset::new(24),
        // cmp dword ptr [rdi + 8], 0; jne 32
        armed: vec![0x83, 0x7f, 8, 0, 0x75, 2],
        detour: Detour { idle: 3, ways: vec![CodeOffset::new(42)] },
        cold: CodeOffset::new(32),
        trap: CodeOffset::new(40),
        restore: None,
        stores: true,
        slots: vec![(SlotIdx::new(0), 16), (SlotIdx::new(2), 24)],
    }];
    image.text[24..46].fill(0x90);
    image.text[40] = 0xcc;
    // jmp to the poll
    image.text[41] = 0xe9;
    image.text[42..46].copy_from_slice(&(24_i32 - 46).to_le_bytes());
    image
}

#[test]
fn what_is_compiled_in_at_stable_points_is_checked() {
    assert_eq!(with_stable_point().check(), []);
    fn point(image: &mut Image) -> &mut StablePoint {
        &mut image.add().stable_points[0]
    }
    type Damage<'a> = (Rule, &'static str, &'a dyn Fn(&mut Image));
    let damages: &[Damage<'_>] = &[
        (Rule::StablePresent, "none", &|image| image.add().stable_points.clear()),
        (Rule::StablePresent, "one where none is", &|image| {
            image.map.producer.stable = "off".to_owned();
        }),
        (Rule::StablePresent, "one at no boundary", &|image| {
            point(image).offset = WasmOffset::new(0x41);
        }),
        (Rule::StablePresent, "a live slot without location", &|image| {
            *image.slot(0, 2) = Location::Unavailable(Reason::Folded);
        }),
        (Rule::StablePoll, "before its anchor", &|image| point(image).poll = CodeOffset::new(20)),
        (Rule::StablePoll, "no branch", &|image| point(image).armed[4] = 0xeb),
        (Rule::StablePoll, "a branch elsewhere", &|image| point(image).armed[5] = 3),
        (Rule::StablePoll, "armed", &|image| {
            let armed = point(image).armed.clone();
            image.text[24..30].copy_from_slice(&armed);
        }),
        (Rule::StableDetour, "past more than NOPs", &|image| image.text[26] = 0xcc),
        (Rule::StableDetour, "into a NOP", &|image| image.text[26] = 0x66),
        (Rule::StableDetour, "out of the poll", &|image| point(image).detour.idle = 7),
        (Rule::StableDetour, "past nothing", &|image| point(image).detour.idle = 0),
        (Rule::StableDetour, "from nowhere", &|image| point(image).detour.ways.clear()),
        (Rule::StableDetour, "by no branch", &|image| image.text[41] = 0xe8),
        (Rule::StableDetour, "from elsewhere", &|image| image.text[42] -= 1),
        (Rule::StableDetour, "twice", &|image| {
            point(image).detour.ways.push(CodeOffset::new(42));
        }),
        (Rule::StableDetour, "beyond the code", &|image| {
            point(image).detour.ways[0] = CodeOffset::new(69);
        }),
        (Rule::StableTrap, "no trap", &|image| image.text[40] = 0x90),
        (Rule::StableTrap, "a boundary's trap", &|image| point(image).trap = CodeOffset::new(23)),
        (Rule::StableTrap, "nothing before it", &|image| {
            point(image).cold = CodeOffset::new(40);
            point(image).armed[5] = 10;
        }),
        (Rule::StableTrap, "elsewhere", &|image| point(image).cold = CodeOffset::new(69)),
        (Rule::StableLayout, "no such slot", &|image| {
            point(image).slots.push((SlotIdx::new(3), 32));
        }),
        (Rule::StableLayout, "over the header", &|image| point(image).slots[0].1 = 4),
        (Rule::StableLayout, "over each other", &|image| point(image).slots[1].1 = 16),
        (Rule::StableLayout, "unaligned", &|image| point(image).slots[1].1 = 26),
        (Rule::StableLayout, "twice", &|image| point(image).slots[1].0 = SlotIdx::new(0)),
    ];
    for (rule, what, damage) in damages {
        let mut image = with_stable_point();
        damage(&mut image);
        let found = image.check();
        assert!(
            found.iter().any(|violation| violation.rule == *rule),
            "{what}: expected {rule}, found {found:#?}",
        );
    }
}

/// A frame whose CFI counts from rsp must agree about its size.
#[test]
fn frame_sizes_agree_with_cfi() {
    let mut image = Image::good();
    // The thunk's code as a function: its CFI says that the frame is 8 bytes.
    let function = &mut image.map.functions[1];
    function.code = CodeOffset::new(80)..CodeOffset::new(82);
    function.boundaries[0].anchor = Anchor::Trap(CodeOffset::new(80));
    image.map.thunks.clear();
    let found = image.check();
    assert!(found.iter().any(|violation| violation.rule == Rule::FrameSize), "{found:#?}");
}

type Sections = Vec<(&'static str, Vec<u8>)>;

fn sections(map: &ImageMap) -> Sections {
    sections_of(map, &fixture::text())
}

fn sections_of(map: &ImageMap, text: &[u8]) -> Sections {
    let lines = fixture::lines();
    let input = DwarfInput {
        map,
        text: TEXT,
        text_size: TEXT_SIZE,
        code: text,
        program: "add.wasm",
        listing_dir: "/tmp",
        listing_file: "add.lst",
        lines: &lines,
        source: &SourceLines::default(),
        frames: fixture::frames(),
    };
    dwarf::write(input).expect("the fixture can be described")
}

fn compare(map: &ImageMap, sections: &Sections) -> Vec<Violation> {
    compare_with(map, sections, &fixture::text())
}

fn compare_with(map: &ImageMap, sections: &Sections, text: &[u8]) -> Vec<Violation> {
    check_dwarf(map, TEXT, &|name| {
        if name == ".text" {
            return text;
        }
        sections.iter().find(|(each, _)| *each == name).map_or(&[], |(_, bytes)| bytes.as_slice())
    })
}

#[test]
fn dwarf_says_what_the_map_says() {
    let map = fixture::map();
    assert_eq!(compare(&map, &sections(&map)), []);
}

/// local1 is in the same place of the frame from the first boundary to the last.
/// Code between two of them that writes there ends what may be said of it.
#[test]
fn what_the_code_changes_is_not_claimed() {
    let map = fixture::map();
    let claimed = sections(&map);
    let mut text = fixture::text();
    // mov [rsp + 8], edx; nop for mov esi, 7
    text[25..30].copy_from_slice(&[0x89, 0x54, 0x24, 0x08, 0x90]);
    let found = compare_with(&map, &claimed, &text);
    assert!(matches!(found.as_slice(), [one] if one.rule == Rule::DwarfLocation), "{found:#?}");
    let short = sections_of(&map, &text);
    assert_ne!(short, claimed);
    assert_eq!(compare_with(&map, &short, &text), []);
    assert_eq!(compare(&map, &short).len(), 0, "less may be said than could be");
}

#[test]
fn dwarf_of_another_map_is_found() {
    let code = CodeOffset::new;
    type Damage<'a> = (Rule, &'a dyn Fn(&mut ImageMap));
    let damages: &[Damage<'_>] = &[
        (Rule::DwarfFunction, &|map| map.functions[0].code.end = code(47)),
        (Rule::DwarfFunction, &|map| map.functions[1].code.start = code(65)),
        (Rule::DwarfFunction, &|map| drop(map.thunks.pop())),
        (Rule::DwarfVariable, &|map| map.functions[0].locals[0] = ValType::F32),
        (Rule::DwarfVariable, &|map| map.functions[0].local_names[0] = None),
        (Rule::DwarfVariable, &|map| map.functions[0].locals.truncate(2)),
        (Rule::DwarfVariable, &|map| map.functions[0].params = 1),
        (Rule::DwarfLocation, &|map| {
            map.functions[0].boundaries[1].locations[0] = Location::CfaOffset(-24);
        }),
        (Rule::DwarfLocation, &|map| {
            map.functions[0].boundaries[1].locations[3] = Location::Constant(Cell(8));
        }),
        (Rule::DwarfLocation, &|map| {
            map.functions[0].boundaries[2].locations[0] = Location::Derived(ExpressionIdx::new(1));
        }),
        (Rule::DwarfReadable, &|map| drop(map.functions[0].expressions.pop())),
        (Rule::DwarfLocation, &|map| drop(map.functions[0].call_sites.pop())),
        (Rule::DwarfLocation, &|map| drop(map.functions[0].boundaries.pop())),
        (Rule::DwarfLine, &|map| {
            map.functions[0].boundaries[2].anchor = Anchor::Trap(code(36));
        }),
    ];
    let good = sections(&fixture::map());
    for (number, (rule, damage)) in damages.iter().enumerate() {
        let mut map = fixture::map();
        damage(&mut map);
        let found = compare(&map, &good);
        assert!(
            found.iter().any(|violation| violation.rule == *rule),
            "damage {number}: expected {rule}, found {found:#?}",
        );
    }
}

#[test]
fn damaged_dwarf_does_no_harm() {
    let map = fixture::map();
    let good = sections(&map);
    let mut unreadable = 0;
    for seed in 0..5000 {
        let mut random = crate::arbitrary::Random::new(seed);
        let mut bad = good.clone();
        for _ in 0..=random.below(3) {
            let (_, bytes) = &mut bad[(random.next() as usize) % good.len()];
            let at = (random.next() as usize) % bytes.len();
            bytes[at] = random.next() as u8;
        }
        let found = compare(&map, &bad);
        unreadable += usize::from(found.iter().any(|each| each.rule == Rule::DwarfReadable));
    }
    assert!(unreadable > 100, "only {unreadable} could not be read");
}

#[test]
fn arbitrary_maps_are_checked_without_harm() {
    let frames = fixture::debug_frame();
    let unwinder = Unwinder::new(&frames, TEXT, TEXT_SIZE).expect("the fixture's CFI is good");
    for seed in 0..300 {
        let mut random = crate::arbitrary::Random::new(seed);
        let map = crate::arbitrary::map(&mut random);
        let _ = check(&map, &fixture::text(), &unwinder);
        let lines = fixture::lines();
        let written = dwarf::write(DwarfInput {
            map: &map,
            text: TEXT,
            text_size: u32::MAX,
            code: &fixture::text(),
            program: "p",
            listing_dir: "d",
            listing_file: "l",
            lines: &lines,
            source: &SourceLines::default(),
            frames: fixture::frames(),
        });
        let sections = written.expect("names and places are no obstacle");
        let _ = compare(&map, &sections);
    }
}
