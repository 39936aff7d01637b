//! Instance data: what AOT code finds behind its instance pointer.
//!
//! Every Wasm function takes the address of its instance's data as its first
//! native argument. The block is laid out by this module alone: the backend
//! compiles accesses to it, the tracer's side fills and reads it, and both use
//! the offsets computed here. All fields are little-endian. Field groups lie in
//! the order of the accessors below, each entry of a group `*_SIZE` bytes:
//!
//! | group | entry |
//! |---|---|
//! | header | magic (8 bytes), flag of the polls u32, number of the stable point to restore u32, address of the state buffer u64, unused u64 |
//! | argument area | one 16-byte cell per argument or result of a thunk or entry |
//! | memories | base address u64, size in bytes u64 |
//! | tables | address of the elements u64, number of elements u64 |
//! | imported globals | address of the 16-byte storage u64 |
//! | defined globals | 16-byte storage |
//! | imported functions | code address u64, instance data address u64 |
//! | signatures | u32 per type of the type section: equal exactly for equal types, store-wide |
//! | function descriptors | code address u64, instance data address u64, signature u32, unused u32, identity u64 |
//!
//! A function reference in native code is the address of its descriptor, null
//! is 0; the identity in a descriptor is the function's [`wasm_view::Cell`].
//! A table element is such a reference, or an external reference's cell, in
//! 8 bytes. Imported memories and tables have their base and size here like
//! defined ones: whoever grows one updates every instance that shares it.

use wasm_view::{FuncIdx, GlobalIdx, MemoryIdx, TableIdx, TypeIdx};

/// How many of each definition an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InstanceCounts {
    /// 16-byte cells of the argument area.
    pub argument_cells: u32,
    /// Memories, imports included.
    pub memories: u32,
    /// Tables, imports included.
    pub tables: u32,
    /// Imported globals.
    pub imported_globals: u32,
    /// Globals defined by the module.
    pub defined_globals: u32,
    /// Imported functions.
    pub imported_functions: u32,
    /// Types of the type section.
    pub types: u32,
    /// Functions, imports included: each has a descriptor.
    pub functions: u32,
}

/// Offsets of the fields of an instance's data, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InstanceLayout {
    counts: InstanceCounts,
}

impl InstanceLayout {
    /// First eight bytes of instance data.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"wdiffvm3");
    /// Offset of the flag that armed polls look at. It lies in one cache line, and
    /// a poll looks at any eight bytes of it, so that no compiler takes two polls for one.
    /// [`Self::ARMED`] all over sends execution into the cold path of the next stable
    /// point, 0 does not.
    pub const FLAG: u32 = 24;
    /// Bytes of the flag.
    pub const FLAG_SIZE: u32 = 40;
    /// What each eight bytes of the flag are to send execution into cold paths: all
    /// ones, because a poll asks whether they have a bit in common with the address
    /// of the instance data. That is in a register anyway.
    pub const ARMED: u64 = u64::MAX;
    /// Offset of the address of the state buffer, which cold paths write.
    pub const STATE_BUFFER: u32 = 8;
    /// Offset of the number of the stable point at which to go on, four bytes,
    /// which the cold path of a function's entry looks at behind its trap: 0
    /// goes on at the entry, any other one
    /// [restores](crate::StablePoint::restore).
    pub const RESTORE: u32 = 16;
    /// Bytes before the argument area.
    const HEADER: u32 = Self::FLAG + Self::FLAG_SIZE;
    /// Bytes of an argument or result in the argument area.
    pub const ARGUMENT_SIZE: u32 = 16;
    /// Bytes of a memory or table entry.
    pub const MEMORY_SIZE: u32 = 16;
    /// Bytes of a global's storage.
    pub const GLOBAL_SIZE: u32 = 16;
    /// Bytes of an imported function's entry.
    pub const IMPORT_SIZE: u32 = 16;
    /// Bytes of a function descriptor.
    pub const DESCRIPTOR_SIZE: u32 = 32;
    /// Offset of the size within a memory or table entry.
    pub const SIZE_FIELD: u32 = 8;
    /// Offset of the instance data address within an import or descriptor.
    pub const INSTANCE_FIELD: u32 = 8;
    /// Offset of the signature within a descriptor.
    pub const SIGNATURE_FIELD: u32 = 16;
    /// Offset of the identity within a descriptor.
    pub const IDENTITY_FIELD: u32 = 24;

    /// Lays out an instance with these counts.
    pub const fn new(counts: InstanceCounts) -> Self {
        Self { counts }
    }
    /// The counts it was made from.
    pub const fn counts(&self) -> InstanceCounts {
        self.counts
    }
    /// The argument area's cell `n`.
    pub const fn argument(&self, n: u32) -> u32 {
        Self::HEADER + n * Self::ARGUMENT_SIZE
    }
    /// The entry of a memory.
    pub const fn memory(&self, memory: MemoryIdx) -> u32 {
        self.argument(self.counts.argument_cells) + memory.get() * Self::MEMORY_SIZE
    }
    /// The entry of a table.
    pub const fn table(&self, table: TableIdx) -> u32 {
        self.memory(MemoryIdx::new(self.counts.memories)) + table.get() * Self::MEMORY_SIZE
    }
    const fn imported_globals(&self) -> u32 {
        self.table(TableIdx::new(self.counts.tables))
    }
    const fn defined_globals(&self) -> u32 {
        (self.imported_globals() + self.counts.imported_globals * 8).next_multiple_of(16)
    }
    /// Whether a global is imported, so that its entry holds an address.
    pub const fn is_imported_global(&self, global: GlobalIdx) -> bool {
        global.get() < self.counts.imported_globals
    }
    /// The storage of a defined global, or the pointer to an imported one's.
    pub const fn global(&self, global: GlobalIdx) -> u32 {
        if self.is_imported_global(global) {
            self.imported_globals() + global.get() * 8
        } else {
            self.defined_globals()
                + (global.get() - self.counts.imported_globals) * Self::GLOBAL_SIZE
        }
    }
    /// The entry of an imported function.
    pub const fn import(&self, func: FuncIdx) -> u32 {
        self.defined_globals()
            + self.counts.defined_globals * Self::GLOBAL_SIZE
            + func.get() * Self::IMPORT_SIZE
    }
    /// The signature number of a type.
    pub const fn signature(&self, ty: TypeIdx) -> u32 {
        self.import(FuncIdx::new(self.counts.imported_functions)) + ty.get() * 4
    }
    /// The descriptor of a function.
    pub const fn descriptor(&self, func: FuncIdx) -> u32 {
        self.signature(TypeIdx::new(self.counts.types)).next_multiple_of(16)
            + func.get() * Self::DESCRIPTOR_SIZE
    }
    /// Bytes of the whole block.
    pub const fn size(&self) -> u32 {
        self.descriptor(FuncIdx::new(self.counts.functions))
    }
}
