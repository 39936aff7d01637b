//! A validated, decoded module.
//!
//! All functions' instructions lie in one array of [`Op`]s, in the order of
//! the file, with parallel arrays for their byte offsets and for the static
//! type of the operand stack before each. A function is a range of that array;
//! offsets rise with positions, so an offset is found by binary search.

use crate::op::{Branch, Op};
use crate::rare::{CatchClause, Handler, Pooled};
use crate::routes::{self, Slot};
use crate::shapes::{Shape, Shapes};
use crate::types::DefinedType;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncIdx, FuncType, GlobalIdx, GlobalType, LocalIdx, MemoryIdx,
    MemoryType, RefType, TableIdx, TableType, TypeIdx, ValType, WasmOffset,
};

/// A position in a module's instruction array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpIdx(pub(crate) u32);

impl OpIdx {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A module that has been validated and can be executed.
#[derive(Debug)]
pub struct Module {
    /// Distinguishes modules, so that a stop set finds its own again.
    pub(crate) identity: u64,
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) types: Vec<DefinedType>,
    /// The recursion groups, ranges of `types`.
    pub(crate) rec_groups: Vec<Range<u32>>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    /// Type of every function, imports first.
    pub(crate) func_types: Vec<TypeIdx>,
    pub(crate) num_imported_funcs: u32,
    pub(crate) num_imported_globals: u32,
    pub(crate) memories: Vec<MemoryType>,
    pub(crate) num_imported_memories: u32,
    pub(crate) tables: Vec<TableType>,
    pub(crate) num_imported_tables: u32,
    /// Initial elements of the tables that the module defines, where it says.
    pub(crate) table_inits: Vec<Option<ConstExpr>>,
    /// Type of every tag, imports first.
    pub(crate) tags: Vec<TypeIdx>,
    pub(crate) num_imported_tags: u32,
    pub(crate) globals: Vec<GlobalType>,
    /// Initialisers of the globals that the module defines.
    pub(crate) global_inits: Vec<ConstExpr>,
    pub(crate) start: Option<FuncIdx>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment>,
    pub(crate) code_section_start: Option<WasmOffset>,
    pub(crate) functions: Vec<FunctionDef>,
    pub(crate) code: Code,
    pub(crate) func_names: Vec<Option<String>>,
    pub(crate) local_names: Vec<(FuncIdx, LocalIdx, String)>,
}

/// The instructions of all functions.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) ops: Vec<Op>,
    /// Made when the module is first executed.
    pub(crate) slots: OnceLock<Vec<Slot>>,
    pub(crate) offsets: Vec<WasmOffset>,
    pub(crate) shapes_at: Vec<Shape>,
    pub(crate) shapes: Shapes,
    pub(crate) branches: Vec<Branch>,
    /// Per `br_table`, its entries in `branches`, the default last.
    pub(crate) branch_tables: Vec<Range<u32>>,
    pub(crate) constants: Vec<Cell>,
    pub(crate) rare: Vec<Pooled>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) catches: Vec<CatchClause>,
    /// Lanes of `i8x16.shuffle`.
    pub(crate) shuffles: Vec<[u8; 16]>,
}

impl Code {
    /// The instructions as they are executed.
    #[inline]
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.get_or_init(|| routes::slots(&self.ops))
    }
}

/// An imported definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// First of the two names.
    pub module: String,
    /// Second of the two names.
    pub name: String,
    /// What it must be.
    pub kind: ImportKind,
}

/// What an import must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// A function of this type.
    Func(TypeIdx),
    /// A memory.
    Memory(MemoryType),
    /// A table.
    Table(TableType),
    /// A global.
    Global(GlobalType),
    /// An exception tag of this type.
    Tag(TypeIdx),
}

impl ImportKind {
    /// What it is, in one word.
    pub const fn name(&self) -> &'static str {
        match self {
            ImportKind::Func(_) => "function",
            ImportKind::Memory(_) => "memory",
            ImportKind::Table(_) => "table",
            ImportKind::Global(_) => "global",
            ImportKind::Tag(_) => "tag",
        }
    }
}

/// An exported definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Which index space `index` belongs to.
    pub kind: ExportKind,
    /// The definition.
    pub index: u32,
}

/// The kinds of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// A function.
    Func,
    /// A memory.
    Memory,
    /// A table.
    Table,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

/// One instruction of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConstOp {
    Value(Cell),
    Vector(u128),
    GlobalGet(GlobalIdx),
    RefFunc(FuncIdx),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
    RefI31,
    StructNew(TypeIdx),
    StructNewDefault(TypeIdx),
    ArrayNew(TypeIdx),
    ArrayNewDefault(TypeIdx),
    ArrayNewFixed(TypeIdx, u32),
}

/// A constant expression, to be evaluated on a stack.
pub(crate) type ConstExpr = Vec<ConstOp>;

#[derive(Debug)]
pub(crate) struct ElementSegment {
    pub(crate) ty: RefType,
    pub(crate) mode: SegmentMode<TableIdx>,
    pub(crate) items: ElementItems,
}

#[derive(Debug)]
pub(crate) enum ElementItems {
    Functions(Vec<FuncIdx>),
    Expressions(Vec<ConstExpr>),
}

#[derive(Debug)]
pub(crate) struct DataSegment {
    pub(crate) mode: SegmentMode<MemoryIdx>,
    /// Its bytes in the module file.
    pub(crate) bytes: Range<usize>,
}

#[derive(Debug)]
pub(crate) enum SegmentMode<Target> {
    Passive,
    Declared,
    Active { target: Target, offset: ConstExpr },
}

impl<Target> SegmentMode<Target> {
    /// Where an active segment goes.
    pub(crate) fn offset(&self) -> Option<&ConstExpr> {
        match self {
            SegmentMode::Active { offset, .. } => Some(offset),
            _ => None,
        }
    }
}

/// A function that a module defines, as decoded.
#[derive(Debug)]
pub(crate) struct FunctionDef {
    pub(crate) body: Range<WasmOffset>,
    pub(crate) locals: Vec<ValType>,
    /// Cells of the parameters, of the results and of all locals.
    pub(crate) param_cells: u32,
    pub(crate) result_cells: u32,
    pub(crate) local_cells: u32,
    /// Cells of the locals and of the highest operand stack.
    pub(crate) cells: u32,
    /// Its range of the handlers.
    pub(crate) handlers: Range<u32>,
    /// Its range of the instruction array.
    pub(crate) ops: Range<u32>,
}

/// A function that a module defines.
#[derive(Clone, Copy, Debug)]
pub struct Function<'m> {
    module: &'m Module,
    def: &'m FunctionDef,
}

impl<'m> Function<'m> {
    /// Types of its locals, parameters first.
    pub fn locals(&self) -> &'m [ValType] {
        &self.def.locals
    }

    /// Its statically reachable instructions, in the order of the file.
    pub fn boundaries(&self) -> impl ExactSizeIterator<Item = WasmOffset> + use<'m> {
        self.offsets().iter().copied()
    }

    /// Whether the instruction at `offset` is one of [`Function::boundaries`].
    pub fn has_boundary(&self, offset: WasmOffset) -> bool {
        self.position(offset).is_some()
    }

    /// Types of the operand stack before the instruction at `offset`, bottom
    /// first; `None` if there is no boundary.
    pub fn operand_types(&self, offset: WasmOffset) -> Option<Vec<ValType>> {
        Some(self.module.operand_types_at(self.position(offset)?))
    }

    /// Types of all slots before the instruction at `offset`: the locals, then
    /// the operands.
    pub fn slot_types(&self, offset: WasmOffset) -> Option<Vec<ValType>> {
        let mut types = self.def.locals.clone();
        types.extend(self.operand_types(offset)?);
        Some(types)
    }

    /// From its locals declaration to past its final `end`.
    pub fn body(&self) -> Range<WasmOffset> {
        self.def.body.clone()
    }

    pub(crate) fn def(&self) -> &'m FunctionDef {
        self.def
    }

    fn offsets(&self) -> &'m [WasmOffset] {
        let ops = &self.def.ops;
        &self.module.code.offsets[ops.start as usize..ops.end as usize]
    }

    pub(crate) fn position(&self, offset: WasmOffset) -> Option<OpIdx> {
        let position = self.offsets().binary_search(&offset).ok()?;
        Some(OpIdx(self.def.ops.start + position as u32))
    }
}

impl Module {
    /// The types of the type section.
    pub fn types(&self) -> &[DefinedType] {
        &self.types
    }

    /// The function type that a type is, if it is one.
    pub fn func_type_of(&self, ty: TypeIdx) -> Option<&FuncType> {
        self.types.get(ty.index())?.as_func()
    }

    /// The type of a function.
    pub fn func_type(&self, func: FuncIdx) -> Option<&FuncType> {
        self.func_type_of(self.func_type_index(func)?)
    }

    /// The type of a function as an index of the type section.
    pub fn func_type_index(&self, func: FuncIdx) -> Option<TypeIdx> {
        self.func_types.get(func.index()).copied()
    }

    /// Imports in the order of the file.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// The import that a function is; `None` for functions of the module's own.
    pub fn function_import(&self, func: FuncIdx) -> Option<&Import> {
        let functions =
            self.imports.iter().filter(|import| matches!(import.kind, ImportKind::Func(_)));
        functions.into_iter().nth(func.index())
    }

    /// Exports in the order of the file.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// The export of this name.
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|export| export.name == name)
    }

    /// Types of the memories, imports first.
    pub fn memories(&self) -> &[MemoryType] {
        &self.memories
    }

    /// Types of the tables, imports first.
    pub fn tables(&self) -> &[TableType] {
        &self.tables
    }

    /// Types of the globals, imports first.
    pub fn globals(&self) -> &[GlobalType] {
        &self.globals
    }

    /// The start function.
    pub fn start(&self) -> Option<FuncIdx> {
        self.start
    }

    /// How many functions are imported: the first ones of the index space.
    pub fn num_imported_funcs(&self) -> u32 {
        self.num_imported_funcs
    }

    /// How many memories are imported: the first ones of the index space.
    pub fn num_imported_memories(&self) -> u32 {
        self.num_imported_memories
    }

    /// How many tables are imported: the first ones of the index space.
    pub fn num_imported_tables(&self) -> u32 {
        self.num_imported_tables
    }

    /// How many globals are imported: the first ones of the index space.
    pub fn num_imported_globals(&self) -> u32 {
        self.num_imported_globals
    }

    /// Types of the exception tags, imports first.
    pub fn tags(&self) -> &[TypeIdx] {
        &self.tags
    }

    /// How many tags are imported: the first ones of the index space.
    pub fn num_imported_tags(&self) -> u32 {
        self.num_imported_tags
    }

    /// How many functions there are, imports included.
    pub fn num_funcs(&self) -> u32 {
        self.func_types.len() as u32
    }

    /// How many data segments there are.
    pub fn num_data_segments(&self) -> u32 {
        self.data.len() as u32
    }

    /// How many element segments there are.
    pub fn num_element_segments(&self) -> u32 {
        self.elements.len() as u32
    }

    /// The bytes of a data segment.
    pub fn data_segment(&self, data: DataIdx) -> Option<&[u8]> {
        self.bytes.get(self.data.get(data.index())?.bytes.clone())
    }

    /// How many elements an element segment has.
    pub fn element_segment_len(&self, elem: ElemIdx) -> Option<usize> {
        Some(match &self.elements.get(elem.index())?.items {
            ElementItems::Functions(items) => items.len(),
            ElementItems::Expressions(items) => items.len(),
        })
    }

    /// The module file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A function's name in the name section, else the first name it is
    /// exported under.
    pub fn func_name(&self, func: FuncIdx) -> Option<&str> {
        self.func_names.get(func.index())?.as_deref()
    }

    /// A local's name in the name section.
    pub fn local_name(&self, func: FuncIdx, local: LocalIdx) -> Option<&str> {
        let found = self
            .local_names
            .binary_search_by_key(&(func, local), |(func, local, _)| (*func, *local))
            .ok()?;
        self.local_names.get(found).map(|(_, _, name)| name.as_str())
    }

    /// Every function of this name: by the name section, or as an export.
    pub fn find_func(&self, name: &str) -> Vec<FuncIdx> {
        let mut found: Vec<FuncIdx> = (0..self.num_funcs())
            .map(FuncIdx::new)
            .filter(|&func| self.func_name(func) == Some(name))
            .chain(
                self.exports
                    .iter()
                    .filter(|export| export.kind == ExportKind::Func && export.name == name)
                    .map(|export| FuncIdx::new(export.index)),
            )
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// A function's body in the file, from its locals declaration to past its
    /// final `end`; `None` for an import.
    pub fn body(&self, func: FuncIdx) -> Option<Range<WasmOffset>> {
        Some(self.function(func)?.body())
    }

    /// Start of the code section's content, which is what DWARF addresses of a
    /// Wasm file are relative to.
    pub fn code_section_start(&self) -> Option<WasmOffset> {
        self.code_section_start
    }

    /// A function that the module defines; `None` for an import.
    pub fn function(&self, func: FuncIdx) -> Option<Function<'_>> {
        let defined = func.get().checked_sub(self.num_imported_funcs)?;
        let def = self.functions.get(defined as usize)?;
        Some(Function { module: self, def })
    }

    /// The function whose body holds `offset`.
    pub fn func_at(&self, offset: WasmOffset) -> Option<FuncIdx> {
        let defined = self.functions.partition_point(|def| def.body.end <= offset);
        let def = self.functions.get(defined)?;
        def.body.contains(&offset).then(|| FuncIdx::new(self.num_imported_funcs + defined as u32))
    }

    /// Bytes that the decoded instructions take up: what the vectors of code
    /// have allocated, without the module file itself and its names.
    pub fn memory_bytes(&self) -> usize {
        let Code { ops, offsets, shapes_at, shapes, branches, branch_tables, .. } = &self.code;
        let Code { constants, rare, handlers, catches, shuffles, .. } = &self.code;
        let slots = size_of_val(self.code.slots());
        let locals: usize = self.functions.iter().map(|def| allocated(&def.locals)).sum();
        allocated(ops)
            + slots
            + allocated(offsets)
            + allocated(shapes_at)
            + shapes.memory_bytes()
            + allocated(branches)
            + allocated(branch_tables)
            + allocated(constants)
            + allocated(rare)
            + allocated(handlers)
            + allocated(catches)
            + allocated(shuffles)
            + allocated(&self.functions)
            + locals
    }

    pub(crate) fn operand_types_at(&self, position: OpIdx) -> Vec<ValType> {
        self.code.shapes.types(self.code.shapes_at[position.index()])
    }

    /// Cells of the operand stack before an instruction.
    pub(crate) fn operand_cells_at(&self, position: OpIdx) -> u32 {
        self.code.shapes.cells(self.code.shapes_at[position.index()])
    }

    pub(crate) fn offset_at(&self, position: OpIdx) -> WasmOffset {
        self.code.offsets[position.index()]
    }
}

/// Bytes that a vector has allocated.
pub(crate) fn allocated<T>(vec: &Vec<T>) -> usize {
    vec.capacity() * size_of::<T>()
}
