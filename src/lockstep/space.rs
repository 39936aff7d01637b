//! The subject's address space: where everything lies, and its first contents.
//!
//! | from | what | access beyond it |
//! |---|---|---|
//! | 0x40_0000 | the image: gadget page and code, read and execute | |
//! | 0x10_0000_0000 | instance data, laid out by [`InstanceLayout`], and behind it the state buffer; one region an instance | |
//! | 0x20_0000_0000 | native stack, growing down to this address | SIGSEGV below: the stack guard |
//! | 0x30_0000_0000 | tables, one reservation each | |
//! | 0x100_0000_0000 | linear memories, 4 GiB + 32 MiB each | SIGBUS: the bounds trap |
//!
//! Every region is a file in memory that wdiff maps too. A sealed subject can
//! map nothing more, so the instances that will exist are known beforehand: a
//! [`Blueprint`]. Sizes, code addresses, function descriptors and what instances
//! share with each other are filled in here for all of them at once; each
//! module's own initial values come when it is instantiated, by code of the image
//! ([`super::instantiate`]).
//!
//! What two instances share by import is one region. Each of them has its base
//! and its size in its own instance data, and whoever changes the size tells
//! them all.

use super::blueprint::{Blueprint, Planned};
use crate::error::CommandError;
use aot_backend::{Image, Part};
use dwarf_map::{InstanceLayout, Isa, SubjectAddr, ThunkKind, erased};
use object::{Object, ObjectSection};
use oracle_interp::Oracle;
use std::collections::HashMap;
use std::sync::Arc;
use tracer::{RegionId, RegionSpec, SharedRegion, Subject, SubjectConfig, TracerError};
use wasm_view::{
    Cell, FuncAddr, FuncIdx, GlobalIdx, InstanceId, MemoryIdx, MemoryType, TableIdx, TableType,
    TypeIdx, ValType, Value,
};

/// Where the first instance's data lies.
pub const INSTANCE_DATA: u64 = 0x10_0000_0000;
const STACK: u64 = 0x20_0000_0000;
/// Bytes of native stack of a program. Wasmtime's default is 512 KiB; code
/// compiled without optimisation takes several times the frames' size.
pub const STACK_SIZE: u64 = 4 << 20;
/// Unmapped bytes below the stack that count as its guard.
pub const STACK_GUARD: u64 = 256 << 20;
const TABLES: u64 = 0x30_0000_0000;
/// Address space of one table: room for [`MAX_TABLE_ELEMENTS`].
const TABLE_RESERVATION: u64 = 128 << 20;
/// Most elements that a table may grow to, on both sides.
pub const MAX_TABLE_ELEMENTS: u64 = 10_000_000;
const MEMORIES: u64 = 0x100_0000_0000;
/// End of the addresses that a process may use, rounded down.
const END: u64 = 0x7fff_0000_0000;
const PAGE: u64 = 4096;
/// Distance between memories.
const MEMORY_STRIDE: u64 = 16 << 30;
/// Address space of one memory: every 32-bit index plus the guard that offsets
/// may reach into (Wasmtime's default `memory_guard_size`).
pub const MEMORY_RESERVATION: u64 = (4 << 30) + (32 << 20);

/// A place in a region.
type Place = (RegionId, u32);

/// Where armed polls lead.
#[derive(Clone, Copy, Debug)]
pub enum Polls {
    /// Into the cold path, which halts at its trap.
    ToColdPath,
    /// Past it; and a cold path that halted at its trap goes on at the restore
    /// edge of this number, 0 where it came from.
    Past(u32),
}

/// Where an instance's parts lie, and their regions.
pub struct Space {
    /// Layout of the instance data.
    pub layout: InstanceLayout,
    /// The instance data.
    pub data: RegionId,
    /// The native stack.
    pub stack: RegionId,
    /// Linear memories by index.
    pub memories: Vec<RegionId>,
    /// Tables by index.
    pub tables: Vec<RegionId>,
    /// Number of the instance that all of it belongs to.
    pub instance: InstanceId,
    /// The type that each memory was defined with: what it may become.
    pub memory_types: Vec<MemoryType>,
    /// The type that each table was defined with.
    pub table_types: Vec<TableType>,
    address: SubjectAddr,
    /// Where the state buffer lies in the region of the instance data.
    state: u64,
    stack_size: u64,
    memory_bases: Vec<u64>,
    table_bases: Vec<u64>,
    /// Where the size of each memory is told, in this and other instances.
    memory_sizes: Vec<Vec<Place>>,
    table_sizes: Vec<Vec<Place>>,
    /// Storage of each global, in this instance or the one that defines it.
    globals: Vec<Place>,
    /// Code address of each function.
    code: Vec<u64>,
    directory: Arc<Directory>,
    /// What code only reads, by offset in the instance data.
    kept: Vec<(u32, Kept)>,
}

/// What is in a word of the instance data that code only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Always the same.
    Constant(u64),
    /// Bytes of a memory.
    MemorySize(MemoryIdx),
    /// Elements of a table.
    TableSize(TableIdx),
}

/// The function descriptors of all instances.
struct Directory {
    /// By instance, and so by ascending address.
    blocks: Vec<Block>,
}

/// The function descriptors of one instance.
struct Block {
    /// Of the instance data that they are in.
    data: u64,
    /// Of the first of them.
    address: u64,
    functions: Vec<FuncAddr>,
}

/// The regions that a subject needs: the stack, then instance data by instance,
/// memories by id, tables by id.
fn regions(
    image: &Image,
    plan: &Blueprint,
    parts: &[Part],
) -> Result<Vec<RegionSpec>, CommandError> {
    let page = |bytes: u64| bytes.max(1).next_multiple_of(PAGE);
    let spec = |name: String, address: u64, reserve: u64, length: u64| RegionSpec {
        name,
        address: SubjectAddr::new(address),
        reserve,
        length,
    };
    let mut regions = vec![spec("native stack".into(), STACK, plan.stack_size, plan.stack_size)];
    let mut data = INSTANCE_DATA;
    for (index, part) in parts.iter().enumerate() {
        let size = page(state_start(part) + state_size(image, part));
        regions.push(spec(format!("instance data {index}"), data, size, size));
        // A page of nothing between two of them.
        data += size + PAGE;
    }
    for (index, memory) in plan.memories().iter().enumerate() {
        let address = MEMORIES + index as u64 * MEMORY_STRIDE;
        let length = memory.minimum.saturating_mul(memory.page_bytes());
        regions.push(spec(format!("memory {index}"), address, MEMORY_RESERVATION, length));
    }
    let tables = plan.tables();
    for (index, table) in tables.iter().enumerate() {
        let address = TABLES + index as u64 * TABLE_RESERVATION;
        let length = page(table.minimum.saturating_mul(8)).min(TABLE_RESERVATION);
        regions.push(spec(format!("table {index}"), address, TABLE_RESERVATION, length));
    }
    let last = |base: u64, count: usize, stride: u64| base + count as u64 * stride;
    if data > STACK - STACK_GUARD
        || last(TABLES, tables.len(), TABLE_RESERVATION) > MEMORIES
        || last(MEMORIES, plan.memories().len(), MEMORY_STRIDE) > END
    {
        return Err(CommandError::Inconclusive {
            reason: "limit",
            detail: format!(
                "{} instances, {} memories and {} tables are more than a subject has room for",
                parts.len(),
                plan.memories().len(),
                tables.len()
            ),
        });
    }
    Ok(regions)
}

/// Where the state buffer lies in an instance's region, behind its data.
fn state_start(part: &Part) -> u64 {
    u64::from(part.layout.size()).next_multiple_of(16)
}

/// Bytes that the cold paths of an instance's code write.
fn state_size(image: &Image, part: &Part) -> u64 {
    let functions = image.map.functions[part.functions.clone()].iter();
    functions.map(|function| u64::from(function.state_size())).max().unwrap_or(0)
}

/// Starts a subject with the sizes and functions of the oracle's only instance.
///
/// # Errors
/// Whatever the host refuses, by name.
pub fn start(
    image: &Image,
    oracle: &Oracle,
    instance: InstanceId,
) -> Result<(Subject, Space), CommandError> {
    let (subject, mut spaces) = start_linked(image, &[Part::whole(image)], &Blueprint::of(oracle))?;
    match spaces.pop() {
        Some(space) if spaces.is_empty() && space.instance == instance => Ok((subject, space)),
        _ => Err(CommandError::bug("a program of more than one instance")),
    }
}

/// Starts a subject for several instances, each with its part of the image.
/// Answers their spaces by instance.
///
/// # Errors
/// Whatever the host refuses, by name.
pub fn start_linked(
    image: &Image,
    parts: &[Part],
    plan: &Blueprint,
) -> Result<(Subject, Vec<Space>), CommandError> {
    if parts.len() != plan.instances.len() {
        return Err(CommandError::bug("an instance without a part of the image"));
    }
    let regions = regions(image, plan, parts)?;
    let addresses: Vec<u64> = regions.iter().map(|region| region.address.get()).collect();
    let config = SubjectConfig {
        image: &image.elf,
        start: image.start,
        syscall_gadget: image.syscall,
        text: image.text_address,
        text_file_offset: text_file_offset(image)?,
        text_size: image.text.len() as u64,
        regions,
        cpu: None,
    };
    let subject = match image.map.isa() {
        Isa::X86_64 => Subject::spawn(config),
        isa => Subject::emulate(config, isa),
    };
    let subject = subject
        .map_err(|error| CommandError::host(format_args!("cannot start the subject: {error}")))?;
    let ids: Vec<RegionId> = subject.region_ids().collect();
    if ids.len() != addresses.len() {
        return Err(CommandError::bug("the subject has other regions than were asked for"));
    }
    let mut spaces = lay_out(image, parts, plan, &ids, &addresses)?;
    for (space, planned) in spaces.iter_mut().zip(&plan.instances) {
        space.kept = space.keep(&subject, planned)?;
        space.fill(&subject, plan, planned)?;
    }
    Ok((subject, spaces))
}

/// Where everything is, given the regions in the order of [`regions`].
fn lay_out(
    image: &Image,
    parts: &[Part],
    plan: &Blueprint,
    ids: &[RegionId],
    addresses: &[u64],
) -> Result<Vec<Space>, CommandError> {
    let (stack, rest) = (ids[0], &ids[1..]);
    let (data, rest) = rest.split_at(parts.len());
    let data_addresses = &addresses[1..=parts.len()];
    let memory_types = plan.memories();
    let (memories, tables) = rest.split_at(memory_types.len());
    let table_types = plan.tables();
    let mut memory_sizes = vec![Vec::new(); memories.len()];
    let mut table_sizes = vec![Vec::new(); tables.len()];
    let mut globals: Vec<Place> = Vec::new();
    let missing = || CommandError::bug("an instance shares what no instance has");
    for ((planned, part), data) in plan.instances.iter().zip(parts).zip(data) {
        let size = InstanceLayout::SIZE_FIELD;
        for (index, id) in planned.memories.iter().enumerate() {
            let place = (*data, part.layout.memory(MemoryIdx::from_index(index)) + size);
            memory_sizes.get_mut(id.index()).ok_or_else(missing)?.push(place);
        }
        for (index, id) in planned.tables.iter().enumerate() {
            let place = (*data, part.layout.table(TableIdx::from_index(index)) + size);
            table_sizes.get_mut(id.index()).ok_or_else(missing)?.push(place);
        }
        let defined = planned.module.num_imported_globals() as usize..planned.globals.len();
        for index in defined {
            if planned.globals[index].index() != globals.len() {
                return Err(CommandError::bug("globals are not numbered in order"));
            }
            globals.push((*data, part.layout.global(GlobalIdx::from_index(index))));
        }
    }
    let code = code_addresses(image, parts);
    let blocks = plan.instances.iter().zip(parts).zip(data_addresses);
    let blocks = blocks.map(|((planned, part), address)| Block {
        data: *address,
        address: address + u64::from(part.layout.descriptor(FuncIdx::new(0))),
        functions: planned.functions.clone(),
    });
    let directory = Arc::new(Directory { blocks: blocks.collect() });
    let mut spaces = Vec::with_capacity(parts.len());
    for (index, (planned, part)) in plan.instances.iter().zip(parts).enumerate() {
        let instance = InstanceId::from_index(index);
        let of_function = |address: &FuncAddr| {
            code.get(address).copied().ok_or_else(|| {
                CommandError::input(format_args!(
                    "the image has no code for function {}",
                    address.func
                ))
            })
        };
        spaces.push(Space {
            layout: part.layout,
            data: data[index],
            stack,
            memories: planned.memories.iter().map(|id| memories[id.index()]).collect(),
            tables: planned.tables.iter().map(|id| tables[id.index()]).collect(),
            instance,
            memory_types: planned.memories.iter().map(|id| memory_types[id.index()]).collect(),
            table_types: planned.tables.iter().map(|id| table_types[id.index()]).collect(),
            address: SubjectAddr::new(data_addresses[index]),
            state: state_start(part),
            stack_size: plan.stack_size,
            memory_bases: planned
                .memories
                .iter()
                .map(|id| MEMORIES + u64::from(id.get()) * MEMORY_STRIDE)
                .collect(),
            table_bases: planned
                .tables
                .iter()
                .map(|id| TABLES + u64::from(id.get()) * TABLE_RESERVATION)
                .collect(),
            memory_sizes: planned
                .memories
                .iter()
                .map(|id| memory_sizes[id.index()].clone())
                .collect(),
            table_sizes: planned.tables.iter().map(|id| table_sizes[id.index()].clone()).collect(),
            globals: planned
                .globals
                .iter()
                .map(|id| globals.get(id.index()).copied().ok_or_else(missing))
                .collect::<Result<_, _>>()?,
            code: planned.functions.iter().map(of_function).collect::<Result<_, _>>()?,
            directory: directory.clone(),
            kept: Vec::new(),
        });
    }
    Ok(spaces)
}

/// Code address of every function: its own code, or its import's thunk.
fn code_addresses(image: &Image, parts: &[Part]) -> HashMap<FuncAddr, u64> {
    let text = image.text_address;
    let mut addresses = HashMap::new();
    for (index, part) in parts.iter().enumerate() {
        let instance = InstanceId::from_index(index);
        for function in &image.map.functions[part.functions.clone()] {
            let address = FuncAddr { instance, func: function.func };
            addresses.insert(address, function.code.start.at(text).get());
        }
        for thunk in &image.map.thunks[part.thunks.clone()] {
            if let ThunkKind::Import(func) = thunk.kind {
                addresses.insert(FuncAddr { instance, func }, thunk.code.start.at(text).get());
            }
        }
    }
    addresses
}

/// Where the code lies in the image's file.
///
/// # Errors
/// An image without code.
pub fn text_file_offset(image: &Image) -> Result<u64, CommandError> {
    let file = object::File::parse(&*image.elf).map_err(CommandError::input)?;
    let range = file.section_by_name(".text").and_then(|section| section.file_range());
    range.map(|(offset, _)| offset).ok_or_else(|| CommandError::input("the image has no code"))
}

/// Sixteen bytes of memory shared with the subject.
pub fn read_u128(region: &SharedRegion, offset: u64) -> Result<u128, tracer::OutOfRegion> {
    let (low, high) = (region.read_u64(offset)?, region.read_u64(offset + 8)?);
    Ok(u128::from(high) << 64 | u128::from(low))
}

impl Space {
    /// Address of the instance data, the first argument of Wasm functions.
    pub fn instance_data(&self) -> SubjectAddr {
        self.address
    }
    /// Where a byte of the state buffer lies in the region of the instance data.
    pub fn state_offset(&self, offset: u32) -> u64 {
        self.state + u64::from(offset)
    }
    /// Overwrites eight bytes of the state buffer with something unlikely.
    ///
    /// # Errors
    /// A map that stores beyond the buffer.
    pub fn spoil_state(&self, subject: &Subject, offset: u32) -> Result<(), CommandError> {
        const SPOILT: u64 = 0xa5d3_96e1_5a2c_691e;
        let data = subject.region(self.data);
        data.write_u64(self.state_offset(offset), SPOILT).map_err(CommandError::input)
    }
    /// Reads eight bytes of the state buffer.
    ///
    /// # Errors
    /// A map that stores beyond the buffer.
    pub fn state_word(&self, subject: &Subject, offset: u32) -> Result<u64, CommandError> {
        let data = subject.region(self.data);
        data.read_u64(self.state_offset(offset)).map_err(CommandError::input)
    }
    /// One past the highest byte of the native stack.
    pub fn stack_top(&self) -> SubjectAddr {
        SubjectAddr::new(STACK + self.stack_size)
    }
    /// Offset in the stack region of an address; `None` outside of it.
    #[inline]
    pub fn stack_offset(&self, address: SubjectAddr) -> Option<u64> {
        address.since(SubjectAddr::new(STACK)).filter(|offset| *offset < self.stack_size)
    }
    /// Whether an address lies in the guard below the native stack.
    pub fn in_stack_guard(&self, address: SubjectAddr) -> bool {
        (STACK - STACK_GUARD..STACK).contains(&address.get())
    }
    /// Address of a memory's first byte.
    pub fn memory_base(&self, memory: MemoryIdx) -> SubjectAddr {
        SubjectAddr::new(self.memory_bases.get(memory.index()).copied().unwrap_or_default())
    }
    /// The memory of the instance in whose reservation an address lies, and the
    /// offset there.
    pub fn memory_at(&self, address: SubjectAddr) -> Option<(MemoryIdx, u64)> {
        self.memory_bases.iter().enumerate().find_map(|(index, base)| {
            let offset = address.since(SubjectAddr::new(*base))?;
            (offset < MEMORY_RESERVATION).then(|| (MemoryIdx::from_index(index), offset))
        })
    }
    /// Code address of a function, by index.
    pub fn code(&self, func: FuncIdx) -> Option<SubjectAddr> {
        self.code.get(func.index()).copied().map(SubjectAddr::new)
    }

    /// The native form of a value: what a register or table element holds.
    pub fn native(&self, ty: ValType, cell: Cell) -> u64 {
        match (erased(ty), FuncAddr::from_cell(cell)) {
            (ValType::FUNCREF, Some(address)) => self.descriptor(address),
            _ => cell.0,
        }
    }

    /// The reference to a function of this instance's, as its own code has it.
    pub fn reference_to(&self, func: FuncIdx) -> u64 {
        self.instance_data().get() + u64::from(self.layout.descriptor(func))
    }

    /// Address of a function's descriptor; of one that does not exist, one that
    /// is no descriptor's.
    fn descriptor(&self, function: FuncAddr) -> u64 {
        let block = self.directory.blocks.get(function.instance.index());
        block.map_or(u64::MAX, |block| {
            block.address
                + u64::from(function.func.get()) * u64::from(InstanceLayout::DESCRIPTOR_SIZE)
        })
    }

    /// The function reference that a native word stands for; `None` when it is
    /// neither null nor the address of a descriptor.
    pub fn funcref(&self, native: u64) -> Option<Cell> {
        if native == 0 {
            return Some(Cell(0));
        }
        let blocks = &self.directory.blocks;
        let at = blocks.partition_point(|block| block.address <= native).checked_sub(1)?;
        let offset = native - blocks[at].address;
        let size = u64::from(InstanceLayout::DESCRIPTOR_SIZE);
        let func = usize::try_from(offset / size).ok()?;
        let function = blocks[at].functions.get(func)?;
        offset.is_multiple_of(size).then(|| function.to_cell())
    }

    /// The cell that a native value of a type stands for. A reference that is
    /// none yields a cell that equals no valid one.
    pub fn cell(&self, ty: ValType, native: u64) -> Cell {
        match erased(ty) {
            ValType::I32 | ValType::F32 => Cell(native & 0xffff_ffff),
            ValType::FUNCREF => self.funcref(native).unwrap_or(Cell(native | 1 << 63)),
            _ => Cell(native),
        }
    }

    /// The value of a type that native bits stand for; see [`Space::cell`].
    pub fn value(&self, ty: ValType, native: u128) -> Value {
        match ty {
            ValType::V128 => Value::V128(native),
            _ => Value::from_cell(ty, self.cell(ty, native as u64)),
        }
    }

    /// Reads argument or result `index` of the argument area.
    pub fn argument(
        &self,
        subject: &Subject,
        index: u32,
        ty: ValType,
    ) -> Result<Value, CommandError> {
        self.read(subject, self.layout.argument(index), ty)
    }

    /// Writes argument or result `index` of the argument area.
    pub fn set_argument(
        &self,
        subject: &Subject,
        index: u32,
        value: Value,
    ) -> Result<(), CommandError> {
        self.write(subject, self.layout.argument(index), value)
    }

    /// Reads a global's content.
    pub fn global(
        &self,
        subject: &Subject,
        global: GlobalIdx,
        ty: ValType,
    ) -> Result<Value, CommandError> {
        let bits = match ty {
            ValType::V128 => self.global_bits(subject, global)?,
            _ => u128::from(self.global_word(subject, global)?),
        };
        Ok(self.value(ty, bits))
    }

    /// A value in the instance data, in native form there.
    #[inline]
    fn read(&self, subject: &Subject, offset: u32, ty: ValType) -> Result<Value, CommandError> {
        let data = subject.region(self.data);
        let native = match ty {
            ValType::V128 => read_u128(data, u64::from(offset)),
            _ => data.read_u64(u64::from(offset)).map(u128::from),
        };
        Ok(self.value(ty, native.map_err(CommandError::bug)?))
    }

    fn write(&self, subject: &Subject, offset: u32, value: Value) -> Result<(), CommandError> {
        if let Value::V128(bits) = value {
            let data = subject.region(self.data);
            return data.write(u64::from(offset), &bits.to_le_bytes()).map_err(CommandError::bug);
        }
        self.put(subject, offset, self.native(value.ty(), value.to_cell()))
    }

    /// Reads a global's content in native form.
    pub fn global_word(&self, subject: &Subject, global: GlobalIdx) -> Result<u64, CommandError> {
        let (region, offset) = self.global_place(global)?;
        subject.region(region).read_u64(u64::from(offset)).map_err(CommandError::bug)
    }

    /// Reads all of a global's content in native form. Whatever its type, a
    /// global has 16 bytes for itself.
    pub fn global_bits(&self, subject: &Subject, global: GlobalIdx) -> Result<u128, CommandError> {
        let (region, offset) = self.global_place(global)?;
        read_u128(subject.region(region), u64::from(offset)).map_err(CommandError::bug)
    }

    /// Sets all of a global's content in native form.
    pub fn set_global(
        &self,
        subject: &Subject,
        global: GlobalIdx,
        bits: u128,
    ) -> Result<(), CommandError> {
        let (region, offset) = self.global_place(global)?;
        let region = subject.region(region);
        region.write(u64::from(offset), &bits.to_le_bytes()).map_err(CommandError::bug)
    }

    fn global_place(&self, global: GlobalIdx) -> Result<Place, CommandError> {
        let place = self.globals.get(global.index()).copied();
        place.ok_or_else(|| CommandError::bug(format_args!("no global {global}")))
    }

    /// Tells all AOT code that has a memory its size, in bytes.
    pub fn set_memory_size(
        &self,
        subject: &Subject,
        memory: MemoryIdx,
        bytes: u64,
    ) -> Result<(), CommandError> {
        tell(subject, &self.memory_sizes[memory.index()], bytes)
    }

    /// Tells all AOT code that has a table its number of elements.
    pub fn set_table_size(
        &self,
        subject: &Subject,
        table: TableIdx,
        elements: u64,
    ) -> Result<(), CommandError> {
        tell(subject, &self.table_sizes[table.index()], elements)
    }

    /// Has a table's region hold so many elements, if there is memory for them.
    ///
    /// # Errors
    /// There is none.
    pub fn make_room(
        &self,
        subject: &mut Subject,
        table: TableIdx,
        elements: u64,
    ) -> Result<(), TracerError> {
        let region = self.tables[table.index()];
        let bytes = elements.saturating_mul(8).next_multiple_of(PAGE);
        if bytes > subject.region(region).len() { subject.resize(region, bytes) } else { Ok(()) }
    }

    /// Reads the number of elements of a table as the AOT code sees it.
    pub fn table_size(&self, subject: &Subject, table: TableIdx) -> Result<u64, CommandError> {
        let offset = self.layout.table(table) + InstanceLayout::SIZE_FIELD;
        subject.region(self.data).read_u64(u64::from(offset)).map_err(CommandError::bug)
    }

    pub(super) fn put(
        &self,
        subject: &Subject,
        offset: u32,
        value: u64,
    ) -> Result<(), CommandError> {
        subject.region(self.data).write_u64(u64::from(offset), value).map_err(CommandError::bug)
    }

    /// Says where the next armed poll leads.
    pub(super) fn send(&self, subject: &Subject, polls: Polls) -> Result<(), CommandError> {
        let (flag, edge) = match polls {
            Polls::ToColdPath => (InstanceLayout::ARMED, 0),
            Polls::Past(edge) => (0, edge),
        };
        self.put(subject, InstanceLayout::RESTORE, u64::from(edge))?;
        let words = (0..InstanceLayout::FLAG_SIZE).step_by(8);
        words.map(|word| InstanceLayout::FLAG + word).try_for_each(|at| self.put(subject, at, flag))
    }

    /// The words of the instance data that code only reads, by offset.
    pub fn kept(&self) -> &[(u32, Kept)] {
        &self.kept
    }

    /// What code only reads, all of it known before instantiation.
    fn keep(&self, subject: &Subject, planned: &Planned) -> Result<Vec<(u32, Kept)>, CommandError> {
        let layout = self.layout;
        let module = &planned.module;
        let state = self.address.get() + self.state;
        let mut kept = vec![
            (0, Kept::Constant(InstanceLayout::MAGIC)),
            (InstanceLayout::STATE_BUFFER, Kept::Constant(state)),
        ];
        let size = InstanceLayout::SIZE_FIELD;
        for index in (0..planned.memories.len()).map(MemoryIdx::from_index) {
            let at = layout.memory(index);
            kept.push((at, Kept::Constant(self.memory_base(index).get())));
            kept.push((at + size, Kept::MemorySize(index)));
        }
        for (index, base) in self.table_bases.iter().enumerate() {
            let index = TableIdx::from_index(index);
            kept.push((layout.table(index), Kept::Constant(*base)));
            kept.push((layout.table(index) + size, Kept::TableSize(index)));
        }
        for index in (0..module.num_imported_globals()).map(GlobalIdx::new) {
            let (region, offset) = self.globals[index.index()];
            let storage = subject.region(region).address().offset(i64::from(offset));
            kept.push((layout.global(index), Kept::Constant(storage.get())));
        }
        // Two to a word, and nothing behind the last.
        for (pair, numbers) in planned.types.chunks(2).enumerate() {
            let word = numbers.iter().rev().fold(0, |word, ty| word << 32 | u64::from(ty.get()));
            let offset = layout.signature(TypeIdx::from_index(2 * pair));
            kept.push((offset, Kept::Constant(word)));
        }
        for (index, function) in planned.functions.iter().enumerate() {
            let func = FuncIdx::from_index(index);
            let block = self.directory.blocks.get(function.instance.index());
            let block = block.ok_or_else(|| CommandError::bug("a function of no instance"))?.data;
            let code = self.code[index];
            let mut constant = |at: u32, word: u64| kept.push((at, Kept::Constant(word)));
            if index < module.num_imported_funcs() as usize {
                constant(layout.import(func), code);
                constant(layout.import(func) + InstanceLayout::INSTANCE_FIELD, block);
            }
            let descriptor = layout.descriptor(func);
            let signature = module
                .func_type_index(func)
                .and_then(|ty| planned.types.get(ty.index()))
                .ok_or_else(|| CommandError::bug(format_args!("function {func} has no type")))?;
            constant(descriptor, code);
            constant(descriptor + InstanceLayout::INSTANCE_FIELD, block);
            let number = u64::from(signature.get());
            constant(descriptor + InstanceLayout::SIGNATURE_FIELD, number);
            constant(descriptor + InstanceLayout::IDENTITY_FIELD, function.to_cell().0);
        }
        Ok(kept)
    }

    /// Fills in all that is known before instantiation.
    fn fill(
        &self,
        subject: &Subject,
        plan: &Blueprint,
        planned: &Planned,
    ) -> Result<(), CommandError> {
        let (memories, tables) = (plan.memories(), plan.tables());
        for &(offset, kept) in &self.kept {
            let word = match kept {
                Kept::Constant(word) => word,
                Kept::MemorySize(index) => {
                    let ty = memories[planned.memories[index.index()].index()];
                    ty.minimum.saturating_mul(ty.page_bytes())
                }
                Kept::TableSize(index) => tables[planned.tables[index.index()].index()].minimum,
            };
            self.put(subject, offset, word)?;
        }
        Ok(())
    }
}

/// Writes a size wherever it is told.
fn tell(subject: &Subject, places: &[Place], size: u64) -> Result<(), CommandError> {
    for (region, offset) in places {
        let region = subject.region(*region);
        region.write_u64(u64::from(*offset), size).map_err(CommandError::bug)?;
    }
    Ok(())
}
