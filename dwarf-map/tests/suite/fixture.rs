//! A small image made by hand: machine code that really runs, and its map.
//!
//! An entry calls function 0 (`add`) with (42, 1000), which calls function 1
//! (without a name) with 7. Every boundary has its trap instruction, and each
//! kind of location occurs.

use dwarf_map::Isa;
use dwarf_map::expression::BinaryOp;
use dwarf_map::{
    Anchor, BoundaryMap, CallSite, CodeOffset, DwarfReg, EntryMap, Expression, ExpressionIdx,
    FunctionMap, Handler, ImageMap, Input, InstanceCounts, InstanceLayout, Location, Producer,
    Reason, StableKind, Step, SubjectAddr, ThunkKind, ThunkMap, TrapSite,
};
use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, EndianVec, FrameDescriptionEntry,
    FrameTable,
};
use gimli::{Encoding, Format, LittleEndian, X86_64};
use std::collections::BTreeMap;
use wasm_view::{Cell, FuncIdx, FuncType, TagIdx, Trap, TypeIdx, ValType, WasmOffset};

/// Where the fixture's text is loaded.
pub const TEXT: SubjectAddr = SubjectAddr::new(0x40_1000);
/// Bytes of text.
pub const TEXT_SIZE: u32 = 118;
/// Offset of the entry's first instruction.
pub const ENTRY: u32 = 96;

const RBX: Location = Location::Register(DwarfReg(3));
const RSI: Location = Location::Register(DwarfReg(4));
const XMM0: Location = Location::Register(DwarfReg(17));

/// The code.
#[rustfmt::skip]
pub fn text() -> Vec<u8> {
    let mut text = Vec::new();
    // function 0 at 0
    text.extend([0x55]);                                //  0 push rbp
    text.extend([0x48, 0x89, 0xe5]);                    //  1 mov rbp, rsp
    text.extend([0x48, 0x83, 0xec, 0x10]);              //  4 sub rsp, 16
    text.extend([0x48, 0x89, 0x1c, 0x24]);              //  8 mov [rsp], rbx
    text.extend([0x48, 0x89, 0x54, 0x24, 0x08]);        // 12 mov [rsp + 8], rdx
    text.extend([0x89, 0xf3]);                          // 17 mov ebx, esi
    text.extend([0x66, 0x0f, 0x57, 0xc0]);              // 19 xorpd xmm0, xmm0
    text.extend([0xcc]);                                // 23 boundary 0x40
    text.extend([0xcc]);                                // 24 boundary 0x42
    text.extend([0xbe, 7, 0, 0, 0]);                    // 25 mov esi, 7
    text.extend([0xe8]);                                // 30 call 64
    text.extend((64_i32 - 35).to_le_bytes());
    text.extend([0xcc]);                                // 35 boundary 0x44
    text.extend([0x48, 0x8b, 0x1c, 0x24]);              // 36 mov rbx, [rsp]
    text.extend([0x48, 0x83, 0xc4, 0x10]);              // 40 add rsp, 16
    text.extend([0x5d, 0xc3]);                          // 44 pop rbp; ret
    text.resize(64, 0x90);
    // function 1 at 64
    text.extend([0x55]);                                // 64 push rbp
    text.extend([0x48, 0x89, 0xe5]);                    // 65 mov rbp, rsp
    text.extend([0x90, 0xcc]);                          // 68 nop; 69 boundary 0x50
    text.extend([0xeb, 0x02, 0x0f, 0x0b]);              // 70 jmp 74; 72 ud2
    text.extend([0x5d, 0xc3]);                          // 74 pop rbp; ret
    text.resize(80, 0x90);
    text.extend([0xcc, 0xc3]);                          // 80 thunk: int3; ret
    text.resize(ENTRY as usize, 0x90);
    text.extend([0x55]);                                // 96 push rbp
    text.extend([0x48, 0x89, 0xe5]);                    // 97 mov rbp, rsp
    text.extend([0xbe, 42, 0, 0, 0]);                   // 100 mov esi, 42
    text.extend([0xba, 0xe8, 3, 0, 0]);                 // 105 mov edx, 1000
    text.extend([0xe8]);                                // 110 call 0
    text.extend((-115_i32).to_le_bytes());
    text.extend([0xcc, 0x0f, 0x0b]);                    // 115 finish; 116 ud2
    text
}

fn boundary(offset: u32, anchor: u32, operands: &[ValType], locations: &[Location]) -> BoundaryMap {
    BoundaryMap {
        offset: WasmOffset::new(offset),
        anchor: Anchor::Trap(CodeOffset::new(anchor)),
        stable: None,
        operands: operands.to_vec(),
        locations: locations.to_vec(),
    }
}

/// The map.
pub fn map() -> ImageMap {
    use BinaryOp::{Add, Lt, Sub};
    use ValType::{F64, I32, I64};
    let code = |start, end| CodeOffset::new(start)..CodeOffset::new(end);
    let wasm = |start, end| WasmOffset::new(start)..WasmOffset::new(end);
    let stack = Location::CfaOffset(-24);
    let derived = |index| Location::Derived(ExpressionIdx::new(index));
    let (rbx, word) = (Step::Input(Input::Register(DwarfReg(3))), Step::Input(Input::Frame(-24)));
    let binary = Step::Binary;
    let expression = |steps| Expression::new(steps).expect("balanced");
    let expressions = vec![
        // rbx + local1 - 1000
        expression(vec![rbx, word, binary(Add), Step::Constant(1000), binary(Sub)]),
        // local1 < 5 ? 1 : rbx
        expression(vec![rbx, Step::Constant(1), word, Step::Constant(5), binary(Lt), Step::Select]),
    ];
    let mut caller = FunctionMap {
        func: FuncIdx::new(3),
        ty: TypeIdx::new(0),
        params: 2,
        name: Some("math::add<i32>".to_owned()),
        code: code(0, 46),
        body: wasm(0x3e, 0x45),
        locals: vec![I32, I64, F64],
        local_names: vec![Some("left".to_owned()), Some("local7".to_owned())],
        frame_size: 32,
        stack_arguments: 0,
        argument_area: 16,
        expressions,
        boundaries: vec![
            boundary(0x40, 23, &[], &[RSI, stack, XMM0]),
            boundary(0x42, 24, &[I32], &[RBX, stack, XMM0, Location::Constant(Cell(7))]),
            boundary(
                0x44,
                35,
                &[],
                &[derived(0), stack, Location::Unavailable(Reason::NoLongerLive)],
            ),
        ],
        call_sites: vec![CallSite {
            return_address: CodeOffset::new(35),
            offset: WasmOffset::new(0x42),
            locations: vec![derived(1), stack, Location::Constant(Cell(1.5_f64.to_bits()))],
            handlers: vec![
                Handler { tag: Some(TagIdx::new(1)), pc: CodeOffset::new(36) },
                Handler { tag: None, pc: CodeOffset::new(35) },
            ],
        }],
        traps: vec![],
        stable_points: vec![],
    };
    if let Some(first) = caller.boundaries.first_mut() {
        first.stable = Some(StableKind::Entry);
    }
    let callee = FunctionMap {
        func: FuncIdx::new(4),
        ty: TypeIdx::new(1),
        params: 1,
        name: None,
        code: code(64, 76),
        body: wasm(0x4e, 0x51),
        locals: vec![I32],
        local_names: vec![],
        frame_size: 16,
        stack_arguments: 0,
        argument_area: 0,
        expressions: vec![],
        boundaries: vec![boundary(0x50, 69, &[], &[RSI])],
        call_sites: vec![],
        traps: vec![TrapSite {
            pc: CodeOffset::new(72),
            offset: WasmOffset::new(0x50),
            trap: Trap::Unreachable,
        }],
        stable_points: vec![],
    };
    ImageMap {
        functions: vec![caller, callee],
        thunks: vec![ThunkMap {
            kind: ThunkKind::Import(FuncIdx::new(2)),
            ty: FuncType { params: vec![I32, ValType::EXTERNREF], results: vec![I64] },
            code: code(80, 82),
            trap: CodeOffset::new(80),
        }],
        entries: vec![EntryMap {
            ty: FuncType { params: vec![I32, I64], results: vec![] },
            code: code(ENTRY, TEXT_SIZE),
            finish: CodeOffset::new(115),
        }],
        layout: InstanceLayout::new(InstanceCounts {
            argument_cells: 2,
            functions: 5,
            imported_functions: 3,
            types: 2,
            ..InstanceCounts::default()
        }),
        producer: Producer {
            backend: "hand".to_owned(),
            version: "1".to_owned(),
            opt: "none".to_owned(),
            stable: "off".to_owned(),
            anchors: "trap".to_owned(),
            target: Isa::X86_64,
            cpu_features: vec!["sse4.2".to_owned()],
        },
    }
}

/// Call frame information, with the same entry that Cranelift makes.
pub fn frames() -> FrameTable {
    frames_with(&[
        (1, CallFrameInstruction::CfaOffset(16)),
        (1, CallFrameInstruction::Offset(X86_64::RBP, -16)),
        (4, CallFrameInstruction::CfaRegister(X86_64::RBP)),
        (12, CallFrameInstruction::Offset(X86_64::RBX, -32)),
    ])
}

/// Call frame information in which function 0 has these rules, each from an
/// offset in its code.
pub fn frames_with(rules: &[(u32, CallFrameInstruction)]) -> FrameTable {
    let mut table = FrameTable::default();
    let encoding = Encoding { format: Format::Dwarf32, version: 1, address_size: 8 };
    let mut cie = CommonInformationEntry::new(encoding, 1, -8, X86_64::RA);
    cie.add_instruction(CallFrameInstruction::Cfa(X86_64::RSP, 8));
    cie.add_instruction(CallFrameInstruction::Offset(X86_64::RA, -8));
    let cie = table.add_cie(cie);
    let fde = |start: u32, length| {
        let address = CodeOffset::new(start).at(TEXT).get();
        FrameDescriptionEntry::new(Address::Constant(address), length)
    };
    let framed = |mut fde: FrameDescriptionEntry| {
        fde.add_instruction(1, CallFrameInstruction::CfaOffset(16));
        fde.add_instruction(1, CallFrameInstruction::Offset(X86_64::RBP, -16));
        fde.add_instruction(4, CallFrameInstruction::CfaRegister(X86_64::RBP));
        fde
    };
    let mut caller = fde(0, 46);
    for (from, rule) in rules {
        caller.add_instruction(*from, rule.clone());
    }
    table.add_fde(cie, caller);
    table.add_fde(cie, framed(fde(64, 12)));
    table.add_fde(cie, fde(80, 2));
    table.add_fde(cie, framed(fde(ENTRY, 22)));
    table
}

/// The content of `.debug_frame`.
pub fn debug_frame() -> Vec<u8> {
    section(&frames())
}

/// `.debug_frame` with this content.
pub fn section(frames: &FrameTable) -> Vec<u8> {
    let mut section = gimli::write::DebugFrame(EndianVec::new(LittleEndian));
    frames.write_debug_frame(&mut section).expect("the fixture's frames can be written");
    section.0.into_vec()
}

/// Lines of the listing.
pub fn lines() -> BTreeMap<WasmOffset, u32> {
    [(0x40, 4), (0x42, 5), (0x44, 6), (0x50, 10)]
        .map(|(offset, line)| (WasmOffset::new(offset), line))
        .into()
}
