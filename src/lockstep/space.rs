//! The subject's address space: where everything lies, and its first contents.
//!
//! | from | what | access beyond it |
//! |---|---|---|
//! | 0x40_0000 | the image: gadget page and code, read and execute | |
//! | 0x10_0000_0000 | instance data, laid out by [`InstanceLayout`] | |
//! | 0x20_0000_0000 | native stack, growing down to this address | SIGSEGV below: the stack guard |
//! | 0x30_0000_0000 | tables, one reservation each | |
//! | 0x100_0000_0000 | linear memories, 4 GiB + 32 MiB each | SIGBUS: the bounds trap |
//!
//! Every region is a file in memory that wdiff maps too. Sizes, code
//! addresses and function descriptors are filled in here; the module's own
//! initial values by [`super::instantiate`].

use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{InstanceLayout, SubjectAddr, ThunkKind, erased};
use object::{Object, ObjectSection};
use oracle_interp::{Instance, Module, Oracle};
use std::collections::HashMap;
use tracer::{RegionId, RegionSpec, SharedRegion, Subject, SubjectConfig};
use wasm_view::{
    Cell, FuncAddr, FuncIdx, GlobalIdx, InstanceId, MemoryIdx, TableIdx, TypeIdx, ValType, Value,
};

/// Where the instance data lies.
pub const INSTANCE_DATA: u64 = 0x10_0000_0000;
const STACK: u64 = 0x20_0000_0000;
/// Bytes of native stack. Wasmtime's default is 512 KiB; code compiled without
/// optimisation takes several times the frames' size.
pub const STACK_SIZE: u64 = 4 << 20;
/// Unmapped bytes below the stack that count as its guard.
pub const STACK_GUARD: u64 = 256 << 20;
const TABLES: u64 = 0x30_0000_0000;
/// Address space of one table: room for [`MAX_TABLE_ELEMENTS`].
const TABLE_RESERVATION: u64 = 128 << 20;
/// Most elements that a table may grow to, on both sides.
pub const MAX_TABLE_ELEMENTS: u64 = 10_000_000;
const MEMORIES: u64 = 0x100_0000_0000;
/// Distance between memories.
const MEMORY_STRIDE: u64 = 16 << 30;
/// Address space of one memory: every 32-bit index plus the guard that offsets
/// may reach into (Wasmtime's default `memory_guard_size`).
pub const MEMORY_RESERVATION: u64 = (4 << 30) + (32 << 20);

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
    functions: u32,
    descriptors: u64,
}

/// The regions that a subject for this module needs.
fn regions(module: &Module, layout: &InstanceLayout) -> Vec<RegionSpec> {
    let page = |bytes: u64| bytes.max(1).next_multiple_of(4096);
    let spec = |name: String, address: u64, reserve: u64, length: u64| RegionSpec {
        name,
        address: SubjectAddr::new(address),
        reserve,
        length,
    };
    let data = page(u64::from(layout.size()));
    let mut regions = vec![
        spec("instance data".into(), INSTANCE_DATA, data, data),
        spec("native stack".into(), STACK, STACK_SIZE, STACK_SIZE),
    ];
    for (index, memory) in module.memories().iter().enumerate() {
        let address = MEMORIES + index as u64 * MEMORY_STRIDE;
        let length = memory.minimum.saturating_mul(memory.page_bytes());
        regions.push(spec(format!("memory {index}"), address, MEMORY_RESERVATION, length));
    }
    for index in 0..module.tables().len() {
        let address = TABLES + index as u64 * TABLE_RESERVATION;
        regions.push(spec(format!("table {index}"), address, TABLE_RESERVATION, TABLE_RESERVATION));
    }
    regions
}

/// Starts a subject with the sizes and functions of the oracle's instance.
///
/// # Errors
/// Whatever the host refuses, by name.
pub fn start(
    image: &Image,
    oracle: &Oracle,
    instance: InstanceId,
) -> Result<(Subject, Space), CommandError> {
    let view = oracle.instance(instance);
    let module = &view.module;
    let layout = image.map.layout;
    let subject = Subject::spawn(SubjectConfig {
        image: &image.elf,
        start: image.start,
        syscall_gadget: image.syscall,
        text: image.text_address,
        text_file_offset: text_file_offset(image)?,
        text_size: image.text.len() as u64,
        regions: regions(module, &layout),
        cpu: None,
    })
    .map_err(|error| CommandError::host(format_args!("cannot start the subject: {error}")))?;
    let ids: Vec<RegionId> = subject.region_ids().collect();
    let memories = module.memories().len();
    let tables = module.tables().len();
    if ids.len() != 2 + memories + tables {
        return Err(CommandError::bug("the subject has other regions than were asked for"));
    }
    let mut space = Space {
        layout,
        data: ids[0],
        stack: ids[1],
        memories: ids[2..2 + memories].to_vec(),
        tables: ids[2 + memories..].to_vec(),
        instance,
        functions: module.num_funcs(),
        descriptors: INSTANCE_DATA + u64::from(layout.descriptor(FuncIdx::new(0))),
    };
    space.fill(&subject, image, oracle, view)?;
    Ok((subject, space))
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
        SubjectAddr::new(INSTANCE_DATA)
    }
    /// One past the highest byte of the native stack.
    pub fn stack_top(&self) -> SubjectAddr {
        SubjectAddr::new(STACK + STACK_SIZE)
    }
    /// Offset in the stack region of an address; `None` outside of it.
    #[inline]
    pub fn stack_offset(&self, address: SubjectAddr) -> Option<u64> {
        address.since(SubjectAddr::new(STACK)).filter(|offset| *offset < STACK_SIZE)
    }
    /// Whether an address lies in the guard below the native stack.
    pub fn in_stack_guard(&self, address: SubjectAddr) -> bool {
        (STACK - STACK_GUARD..STACK).contains(&address.get())
    }
    /// Address of a memory's first byte.
    pub fn memory_base(&self, memory: MemoryIdx) -> SubjectAddr {
        SubjectAddr::new(MEMORIES + u64::from(memory.get()) * MEMORY_STRIDE)
    }
    /// The memory in whose reservation an address lies, and the offset there.
    pub fn memory_at(&self, address: SubjectAddr) -> Option<(MemoryIdx, u64)> {
        let offset = address.since(SubjectAddr::new(MEMORIES))?;
        let (index, within) = (offset / MEMORY_STRIDE, offset % MEMORY_STRIDE);
        (index < self.memories.len() as u64 && within < MEMORY_RESERVATION)
            .then(|| (MemoryIdx::new(index as u32), within))
    }
    fn table_base(&self, table: TableIdx) -> u64 {
        TABLES + u64::from(table.get()) * TABLE_RESERVATION
    }

    /// The native form of a value: what a register or table element holds.
    pub fn native(&self, ty: ValType, cell: Cell) -> u64 {
        match (erased(ty), FuncAddr::from_cell(cell)) {
            (ValType::FUNCREF, Some(address)) => {
                self.descriptors
                    + u64::from(address.func.get()) * u64::from(InstanceLayout::DESCRIPTOR_SIZE)
            }
            _ => cell.0,
        }
    }

    /// The function reference that a native word stands for; `None` when it is
    /// neither null nor the address of a descriptor.
    pub fn funcref(&self, native: u64) -> Option<Cell> {
        if native == 0 {
            return Some(Cell(0));
        }
        let offset = native.checked_sub(self.descriptors)?;
        let size = u64::from(InstanceLayout::DESCRIPTOR_SIZE);
        let func = u32::try_from(offset / size).ok()?;
        (offset % size == 0 && func < self.functions)
            .then(|| FuncAddr { instance: self.instance, func: FuncIdx::new(func) }.to_cell())
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
        self.read(subject, self.layout.global(global), ty)
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

    /// Tells the AOT code the size of a memory, in bytes.
    pub fn set_memory_size(
        &self,
        subject: &Subject,
        memory: MemoryIdx,
        bytes: u64,
    ) -> Result<(), CommandError> {
        self.put(subject, self.layout.memory(memory) + InstanceLayout::SIZE_FIELD, bytes)
    }

    /// Tells the AOT code the number of elements of a table.
    pub fn set_table_size(
        &self,
        subject: &Subject,
        table: TableIdx,
        elements: u64,
    ) -> Result<(), CommandError> {
        self.put(subject, self.layout.table(table) + InstanceLayout::SIZE_FIELD, elements)
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

    fn fill(
        &mut self,
        subject: &Subject,
        image: &Image,
        oracle: &Oracle,
        view: &Instance,
    ) -> Result<(), CommandError> {
        let layout = self.layout;
        let module = &view.module;
        self.put(subject, 0, InstanceLayout::MAGIC)?;
        for (index, memory) in view.memories.iter().enumerate() {
            let index = MemoryIdx::from_index(index);
            let bytes = oracle.memory(*memory);
            self.put(subject, layout.memory(index), self.memory_base(index).get())?;
            self.set_memory_size(subject, index, bytes.len() as u64)?;
        }
        for (index, table) in view.tables.iter().enumerate() {
            let index = TableIdx::from_index(index);
            let elements = oracle.table(*table);
            self.put(subject, layout.table(index), self.table_base(index))?;
            self.set_table_size(subject, index, elements.len() as u64)?;
        }
        for index in 0..module.types().len() {
            let ty = TypeIdx::from_index(index);
            let number = view.type_id(ty).map_or(u32::MAX, TypeIdx::get);
            subject
                .region(self.data)
                .write(u64::from(layout.signature(ty)), &number.to_le_bytes())
                .map_err(CommandError::bug)?;
        }
        let code = self.code_addresses(image);
        for index in 0..self.functions {
            let func = FuncIdx::new(index);
            let address = code.get(&func).copied().ok_or_else(|| {
                CommandError::input(format_args!("the image has no code for function {func}"))
            })?;
            if index < module.num_imported_funcs() {
                self.put(subject, layout.import(func), address)?;
                self.put(
                    subject,
                    layout.import(func) + InstanceLayout::INSTANCE_FIELD,
                    INSTANCE_DATA,
                )?;
            }
            let descriptor = layout.descriptor(func);
            let signature = module
                .func_type_index(func)
                .and_then(|ty| view.type_id(ty))
                .ok_or_else(|| CommandError::bug(format_args!("function {func} has no type")))?;
            let identity = FuncAddr { instance: self.instance, func }.to_cell();
            self.put(subject, descriptor, address)?;
            self.put(subject, descriptor + InstanceLayout::INSTANCE_FIELD, INSTANCE_DATA)?;
            let number = u64::from(signature.get());
            self.put(subject, descriptor + InstanceLayout::SIGNATURE_FIELD, number)?;
            self.put(subject, descriptor + InstanceLayout::IDENTITY_FIELD, identity.0)?;
        }
        Ok(())
    }

    /// Code address of every function: its own code, or its import's thunk.
    fn code_addresses(&self, image: &Image) -> HashMap<FuncIdx, u64> {
        let text = image.text_address;
        let own = image.map.functions.iter().map(|f| (f.func, f.code.start.at(text).get()));
        let thunks = image.map.thunks.iter().filter_map(|thunk| match thunk.kind {
            ThunkKind::Import(func) => Some((func, thunk.code.start.at(text).get())),
            _ => None,
        });
        own.chain(thunks).collect()
    }
}
