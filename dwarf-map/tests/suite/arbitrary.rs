//! A small generator of maps, from a seed.

use dwarf_map::Isa;
use dwarf_map::{
    Anchor, BoundaryMap, CallSite, CodeOffset, Detour, DwarfReg, EntryMap, Expression,
    ExpressionIdx, FunctionMap, Handler, ImageMap, Input, InstanceCounts, InstanceLayout, Location,
    Producer, Reason, StableKind, StablePoint, Step, ThunkKind, ThunkMap, TrapSite,
    expression::{BinaryOp, UnaryOp},
};
use std::num::NonZeroU32;
use std::ops::Range;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncIdx, FuncType, MemoryIdx, SlotIdx, TableIdx, TagIdx, Trap, TypeIdx,
    ValType, WasmOffset,
};

/// Xorshift64*: good enough to vary tests.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, small ones more often.
    pub fn below(&mut self, limit: u64) -> u64 {
        let limit = if self.next().is_multiple_of(4) { limit } else { limit.min(8) };
        self.next() % limit.max(1)
    }

    fn u32(&mut self, limit: u32) -> u32 {
        self.below(u64::from(limit)) as u32
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }

    fn list<T>(&mut self, most: u64, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most)).map(|_| item(self)).collect()
    }
}

const TYPES: [ValType; 6] =
    [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::FUNCREF, ValType::EXTERNREF];

fn text(random: &mut Random) -> String {
    let parts = ["", "a", "local0", "stack1_i32", "wörter", "\0", "x y"];
    (0..random.below(3)).map(|_| random.pick(&parts)).collect()
}

/// Steps that leave one word and read something, of every kind.
fn expression(random: &mut Random) -> Expression {
    let mut steps = Vec::new();
    let mut height = 0;
    for _ in 0..random.below(20) {
        let arity = random.next() % 4;
        steps.push(match (arity, height) {
            (3, 3..) => {
                height -= 2;
                Step::Select
            }
            (2, 2..) => {
                height -= 1;
                Step::Binary(random.pick(BinaryOp::ALL))
            }
            (1, 1..) => Step::Unary(random.pick(UnaryOp::ALL)),
            (_, 10..) => continue,
            _ => {
                height += 1;
                Step::Constant(random.next() >> (random.next() % 64))
            }
        });
    }
    steps.push(match random.next() % 2 {
        0 => Step::Input(Input::Register(DwarfReg(random.pick(&[0, 15, 31, 32, u16::MAX])))),
        _ => Step::Input(Input::Frame(random.pick(&[i32::MIN, i32::MAX, -8, 0, 16]))),
    });
    steps.extend((0..height).map(|_| Step::Binary(random.pick(BinaryOp::ALL))));
    Expression::new(steps).expect("balanced")
}

fn location(random: &mut Random, expressions: usize) -> Location {
    if expressions > 0 && random.next().is_multiple_of(6) {
        return Location::Derived(ExpressionIdx::new(random.u32(expressions as u32)));
    }
    match random.next() % 5 {
        0 => Location::Register(DwarfReg(random.pick(&[0, 3, 15, 17, 32, 33, u16::MAX]))),
        1 => Location::CfaOffset(-8 * random.u32(1000) as i32),
        2 => Location::CfaOffset(random.pick(&[i32::MIN, i32::MAX, -1, 3, 16])),
        3 => Location::Constant(Cell(random.next() >> (random.next() % 64))),
        _ => Location::Unavailable(random.pick(Reason::ALL)),
    }
}

/// A list that shares most places with `before`, as real ones do.
fn locations(
    random: &mut Random,
    before: &[Location],
    expressions: usize,
    count: usize,
) -> Vec<Location> {
    (0..count)
        .map(|slot| match before.get(slot) {
            Some(same) if !random.next().is_multiple_of(4) => *same,
            _ => location(random, expressions),
        })
        .collect()
}

fn func_type(random: &mut Random) -> FuncType {
    let mut types = || random.list(20, |random| random.pick(&TYPES));
    FuncType { params: types(), results: types() }
}

fn code(random: &mut Random) -> Range<CodeOffset> {
    let start = random.u32(1 << 30);
    CodeOffset::new(start)..CodeOffset::new(start + random.u32(1 << 20))
}

fn detour(random: &mut Random, code: CodeOffset) -> Detour {
    let mut way = code.get();
    let ways = random.list(4, |random| {
        way += random.u32(1 << 16);
        let found = CodeOffset::new(way);
        way += 1;
        found
    });
    Detour { idle: if ways.is_empty() { 0 } else { random.u32(u32::MAX) }, ways }
}

fn function(random: &mut Random, func: u32) -> FunctionMap {
    let code = code(random);
    let body_start = random.u32(1 << 30);
    let locals = random.list(40, |random| random.pick(&TYPES));
    let expressions = random.list(9, expression);
    let mut at = body_start;
    let mut operands: Vec<ValType> = Vec::new();
    let mut before = Vec::new();
    let boundaries = random.list(60, |random| {
        at += random.u32(300);
        let popped = random.below(20).min(operands.len() as u64) as usize;
        operands.truncate(operands.len() - popped);
        operands.extend(random.list(20, |random| random.pick(&TYPES)));
        // Now and then a wrong number, which must survive too.
        let odd = if random.next().is_multiple_of(16) { random.below(5) as usize } else { 0 };
        let count = match random.next().is_multiple_of(2) {
            true => locals.len() + operands.len() + odd,
            false => (locals.len() + operands.len()).saturating_sub(odd),
        };
        before = locations(random, &before, expressions.len(), count);
        let anchor = match random.next() % 8 {
            0 => Anchor::Eliminated,
            1 => Anchor::Merged,
            2 => Anchor::Threaded,
            3 => Anchor::Instruction(CodeOffset::new(code.start.get() + random.u32(1 << 16))),
            _ => Anchor::Trap(CodeOffset::new(code.start.get() + random.u32(1 << 16))),
        };
        let stable = [
            None,
            Some(StableKind::Entry),
            Some(StableKind::LoopHeader),
            Some(StableKind::Label),
            Some(StableKind::Call),
        ];
        let stable = random.pick(&stable);
        let offset = WasmOffset::new(at);
        at += 1;
        let operands = operands.clone();
        BoundaryMap { offset, anchor, stable, operands, locations: before.clone() }
    });
    let mut pc = code.start.get();
    let mut before = Vec::new();
    let call_sites = random.list(20, |random| {
        pc += random.u32(100);
        let count = random.below(30) as usize;
        before = locations(random, &before, expressions.len(), count);
        let return_address = CodeOffset::new(pc);
        pc += 1;
        let offset = WasmOffset::new(random.u32(u32::MAX));
        let handlers = random.list(4, |random| {
            let tag = random.next().is_multiple_of(2).then(|| TagIdx::new(random.u32(1 << 20)));
            Handler { tag, pc: CodeOffset::new(random.u32(u32::MAX)) }
        });
        CallSite { return_address, offset, locations: before.clone(), handlers }
    });
    let mut pc = code.start.get();
    let traps = random.list(20, |random| {
        pc += random.u32(100);
        let site = TrapSite {
            pc: CodeOffset::new(pc),
            offset: WasmOffset::new(random.u32(u32::MAX)),
            trap: random.pick(Trap::ALL),
        };
        pc += 1;
        site
    });
    let mut at = body_start;
    let stable_points = random.list(20, |random| {
        at += random.u32(300);
        let offset = WasmOffset::new(at);
        at += 1;
        let poll = code.start.get() + random.u32(1 << 16);
        let cold = random.u32(1 << 30);
        let (mut slot, mut place) = (0, StablePoint::HEADER);
        let slots = random.list(20, |random| {
            slot += random.u32(5);
            place += random.u32(20);
            let stored = (SlotIdx::new(slot), place);
            slot += 1;
            place += 4;
            stored
        });
        StablePoint {
            offset,
            poll: CodeOffset::new(poll),
            armed: random.list(15, |random| random.next() as u8),
            detour: detour(random, code.start),
            cold: CodeOffset::new(cold),
            trap: CodeOffset::new(cold + random.u32(1 << 16)),
            restore: NonZeroU32::new(random.u32(3)),
            stores: random.below(2) == 0,
            slots,
        }
    });
    FunctionMap {
        func: FuncIdx::new(func),
        ty: TypeIdx::new(random.u32(u32::MAX)),
        params: random.below(locals.len() as u64 + 1) as u32,
        name: random.next().is_multiple_of(2).then(|| text(random)),
        code,
        body: WasmOffset::new(body_start)..WasmOffset::new(at + random.u32(9)),
        local_names: random
            .list(50, |random| random.next().is_multiple_of(2).then(|| text(random))),
        locals,
        frame_size: random.u32(u32::MAX),
        stack_arguments: random.u32(1 << 16),
        argument_area: (1 << 16) + random.u32(1 << 16),
        expressions,
        boundaries,
        call_sites,
        traps,
        stable_points,
    }
}

fn thunk_kind(random: &mut Random) -> ThunkKind {
    let mut index = || random.u32(u32::MAX);
    let (a, b) = (index(), index());
    let kinds = [
        ThunkKind::Import(FuncIdx::new(a)),
        ThunkKind::MemoryGrow(MemoryIdx::new(a)),
        ThunkKind::MemoryCopy { destination: MemoryIdx::new(a), source: MemoryIdx::new(b) },
        ThunkKind::MemoryFill(MemoryIdx::new(a)),
        ThunkKind::MemoryInit { memory: MemoryIdx::new(a), data: DataIdx::new(b) },
        ThunkKind::DataDrop(DataIdx::new(a)),
        ThunkKind::TableGrow(TableIdx::new(a)),
        ThunkKind::TableFill(TableIdx::new(a)),
        ThunkKind::TableCopy { destination: TableIdx::new(a), source: TableIdx::new(b) },
        ThunkKind::TableInit { table: TableIdx::new(a), elem: ElemIdx::new(b) },
        ThunkKind::ElemDrop(ElemIdx::new(a)),
        ThunkKind::MemoryNotify(MemoryIdx::new(a)),
        ThunkKind::MemoryWait32(MemoryIdx::new(a)),
        ThunkKind::MemoryWait64(MemoryIdx::new(a)),
        ThunkKind::Throw(TagIdx::new(a)),
        ThunkKind::ThrowRef,
    ];
    random.pick(&kinds)
}

/// A map that the format can hold, otherwise as odd as they come.
pub fn map(random: &mut Random) -> ImageMap {
    let mut func = 0;
    ImageMap {
        functions: random.list(12, |random| {
            func += 1 + random.u32(1000);
            function(random, func)
        }),
        thunks: random.list(12, |random| ThunkMap {
            kind: thunk_kind(random),
            ty: func_type(random),
            code: code(random),
            trap: CodeOffset::new(random.u32(u32::MAX)),
        }),
        entries: random.list(12, |random| EntryMap {
            ty: func_type(random),
            code: code(random),
            finish: CodeOffset::new(random.u32(u32::MAX)),
        }),
        layout: InstanceLayout::new(InstanceCounts {
            argument_cells: random.u32(1 << 20),
            memories: random.u32(100),
            tables: random.u32(100),
            imported_globals: random.u32(100),
            defined_globals: random.u32(1 << 20),
            imported_functions: random.u32(1 << 20),
            types: random.u32(1 << 20),
            functions: random.u32(1 << 20),
        }),
        producer: Producer {
            backend: text(random),
            version: text(random),
            opt: text(random),
            stable: text(random),
            anchors: text(random),
            target: Isa::ALL[random.u32(4) as usize],
            cpu_features: random.list(5, text),
        },
    }
}
