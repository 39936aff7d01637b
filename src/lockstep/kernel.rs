//! The subject's kernel: what AOT code cannot do itself.
//!
//! Growing a memory, bulk memory and table operations and dropping segments
//! are asked for through thunks. They are carried out here on the *subject's*
//! memories and tables with checks of their own, not copied from the oracle:
//! the two are compared afterwards like anything else.

use super::space::{MAX_TABLE_ELEMENTS, Space};
use crate::error::CommandError;
use dwarf_map::ThunkKind;
use oracle_interp::{Module, Oracle};
use std::sync::Arc;
use tracer::Subject;
use wasm_view::{
    AddressType, Cell, DataIdx, ElemIdx, FuncIdx, GlobalIdx, InstanceId, MemoryIdx, TableIdx, Trap,
    ValType, Value,
};
use wasmparser::{ElementItems, Operator, Parser, Payload};

/// Most bytes that a memory may have: behind them lies the guard.
pub const MEMORY_CAPACITY: u64 = 4 << 30;

/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

/// Segments as the subject's instance has them.
pub struct Kernel {
    module: Arc<Module>,
    elems: Vec<Vec<Item>>,
    dropped_data: Vec<bool>,
}

/// An element of a segment.
#[derive(Clone, Copy)]
enum Item {
    /// A reference that is the same whoever has it: null, or that of a segment
    /// that was handed over.
    Reference(Cell),
    /// A function, by its index.
    Function(FuncIdx),
    /// What a global holds, which does not change.
    Global(GlobalIdx),
}

/// How a thunk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Results are in the argument area.
    Done,
    /// The operation traps.
    Trapped(Trap),
}

impl Kernel {
    /// The segments of an instance whose instantiation begins: all of them,
    /// from the bytes of its module.
    ///
    /// # Errors
    /// Elements given by an expression that is not supported.
    pub fn new(module: Arc<Module>) -> Result<Kernel, CommandError> {
        let mut elems = Vec::new();
        for payload in Parser::new(0).parse_all(module.bytes()) {
            let Payload::ElementSection(section) = payload.map_err(CommandError::bug)? else {
                continue;
            };
            for element in section {
                elems.push(items(&element.map_err(CommandError::bug)?.items)?);
            }
        }
        let dropped_data = vec![false; module.num_data_segments() as usize];
        Ok(Kernel { module, elems, dropped_data })
    }

    /// The segments of an instance that the program has had elsewhere, as the
    /// oracle has them.
    pub fn restored(module: Arc<Module>, oracle: &Oracle, instance: InstanceId) -> Kernel {
        let view = oracle.instance(instance);
        let segment = |index| view.element_segment(ElemIdx::new(index)).iter();
        let elems = (0..module.num_element_segments())
            .map(|index| segment(index).map(|cell| Item::Reference(*cell)).collect())
            .collect();
        let mut dropped_data = vec![false; module.num_data_segments() as usize];
        for data in view.dropped_data() {
            dropped_data[data.index()] = true;
        }
        Kernel { module, elems, dropped_data }
    }

    /// Whether a data segment was dropped.
    pub fn is_data_dropped(&self, index: DataIdx) -> bool {
        self.dropped_data.get(index.index()) == Some(&true)
    }

    /// Whether nothing is left of an element segment.
    pub fn is_element_dropped(&self, index: ElemIdx) -> bool {
        self.element_segment(index).is_empty()
    }

    fn element_segment(&self, index: ElemIdx) -> &[Item] {
        self.elems.get(index.index()).map(Vec::as_slice).unwrap_or_default()
    }

    fn data(&self, index: DataIdx) -> &[u8] {
        match self.dropped_data.get(index.index()) {
            Some(false) => self.module.data_segment(index).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Carries out the operation of a thunk that is not a host call.
    ///
    /// # Errors
    /// A host call, and shared memory that is not where it must be.
    pub fn serve(
        &mut self,
        subject: &mut Subject,
        space: &Space,
        kind: ThunkKind,
    ) -> Result<Served, CommandError> {
        let kernel = self;
        // Numbers: 32-bit ones are zero-extended there.
        let argument = |index: u32| word(subject, space, index);
        match kind {
            ThunkKind::Import(func) => {
                Err(CommandError::bug(format_args!("host function {func} served as an operation")))
            }
            ThunkKind::Throw(_) | ThunkKind::ThrowRef => {
                Err(CommandError::bug(format_args!("{kind} served as an operation")))
            }
            ThunkKind::MemoryGrow(memory) => {
                let result = grow_memory(subject, space, memory, argument(0)?)?;
                answer(subject, space, result)
            }
            ThunkKind::MemoryFill(memory) => {
                let (to, byte, length) = (argument(0)?, argument(1)? as u8, argument(2)?);
                let region = subject.region(space.memories[memory.index()]);
                if !fits(to, length, region.len()) {
                    return Ok(Served::Trapped(Trap::MemoryOutOfBounds));
                }
                let block = vec![byte; CHUNK.min(length as usize)];
                chunks(length, |at, count| region.write(to + at, &block[..count]))
                    .map_err(CommandError::bug)?;
                Ok(Served::Done)
            }
            ThunkKind::MemoryCopy { destination, source } => {
                let (to, from, length) = (argument(0)?, argument(1)?, argument(2)?);
                let target = subject.region(space.memories[destination.index()]);
                let origin = subject.region(space.memories[source.index()]);
                if !fits(from, length, origin.len()) || !fits(to, length, target.len()) {
                    return Ok(Served::Trapped(Trap::MemoryOutOfBounds));
                }
                let mut block = vec![0; CHUNK.min(length as usize)];
                let mut copy = |at: u64, count: usize| {
                    let block = &mut block[..count];
                    origin.read(from + at, block).and_then(|()| target.write(to + at, block))
                };
                // Overlapping upwards: the last bytes must move first.
                if to > from {
                    chunks_backwards(length, &mut copy).map_err(CommandError::bug)?;
                } else {
                    chunks(length, &mut copy).map_err(CommandError::bug)?;
                }
                Ok(Served::Done)
            }
            ThunkKind::MemoryInit { memory, data } => {
                let (to, from, length) = (argument(0)?, argument(1)?, argument(2)?);
                let region = subject.region(space.memories[memory.index()]);
                let bytes = kernel.data(data);
                if !fits(from, length, bytes.len() as u64) || !fits(to, length, region.len()) {
                    return Ok(Served::Trapped(Trap::MemoryOutOfBounds));
                }
                let bytes = bytes.get(from as usize..(from + length) as usize).unwrap_or_default();
                region.write(to, bytes).map_err(CommandError::bug)?;
                Ok(Served::Done)
            }
            ThunkKind::DataDrop(data) => {
                if let Some(dropped) = kernel.dropped_data.get_mut(data.index()) {
                    *dropped = true;
                }
                Ok(Served::Done)
            }
            ThunkKind::TableGrow(table) => {
                let value = word(subject, space, 0)?;
                let delta = argument(1)?;
                let result = grow_table(subject, space, table, value, delta)?;
                answer(subject, space, result)
            }
            ThunkKind::TableFill(table) => {
                let (to, value, length) = (argument(0)?, word(subject, space, 1)?, argument(2)?);
                if !fits(to, length, space.table_size(subject, table)?) {
                    return Ok(Served::Trapped(Trap::TableOutOfBounds));
                }
                store_elements(subject, space, table, to, (0..length).map(|_| value))?;
                Ok(Served::Done)
            }
            ThunkKind::TableCopy { destination, source } => {
                let (to, from, length) = (argument(0)?, argument(1)?, argument(2)?);
                if !fits(from, length, space.table_size(subject, source)?)
                    || !fits(to, length, space.table_size(subject, destination)?)
                {
                    return Ok(Served::Trapped(Trap::TableOutOfBounds));
                }
                let region = subject.region(space.tables[source.index()]);
                let words = (0..length)
                    .map(|at| region.read_u64((from + at) * 8).map_err(CommandError::bug))
                    .collect::<Result<Vec<u64>, _>>()?;
                store_elements(subject, space, destination, to, words.into_iter())?;
                Ok(Served::Done)
            }
            ThunkKind::TableInit { table, elem } => {
                let (to, from, length) = (argument(0)?, argument(1)?, argument(2)?);
                let items = kernel.element_segment(elem);
                if !fits(from, length, items.len() as u64)
                    || !fits(to, length, space.table_size(subject, table)?)
                {
                    return Ok(Served::Trapped(Trap::TableOutOfBounds));
                }
                let ty = ValType::Ref(kernel.module.tables()[table.index()].element);
                let items = items.get(from as usize..(from + length) as usize).unwrap_or_default();
                let words = items.iter().map(|item| item.word(subject, space, ty));
                let words: Vec<u64> = words.collect::<Result<_, _>>()?;
                store_elements(subject, space, table, to, words.into_iter())?;
                Ok(Served::Done)
            }
            ThunkKind::ElemDrop(elem) => {
                if let Some(cells) = kernel.elems.get_mut(elem.index()) {
                    cells.clear();
                }
                Ok(Served::Done)
            }
            ThunkKind::MemoryNotify(memory) => {
                let size = subject.region(space.memories[memory.index()]).len();
                if !fits(argument(0)?, 4, size) {
                    return Ok(Served::Trapped(Trap::MemoryOutOfBounds));
                }
                // Nobody waits.
                answer(subject, space, Value::I32(0))
            }
            ThunkKind::MemoryWait32(memory) => wait(subject, space, &kernel.module, memory, 4),
            ThunkKind::MemoryWait64(memory) => wait(subject, space, &kernel.module, memory, 8),
        }
    }
}

impl Item {
    /// The item in native form.
    fn word(self, subject: &Subject, space: &Space, ty: ValType) -> Result<u64, CommandError> {
        match self {
            Item::Reference(cell) => Ok(space.native(ty, cell)),
            Item::Function(func) => Ok(space.reference_to(func)),
            Item::Global(global) => space.global_word(subject, global),
        }
    }
}

/// The items of a segment, each by its expression.
fn items(items: &ElementItems<'_>) -> Result<Vec<Item>, CommandError> {
    match items {
        ElementItems::Functions(functions) => functions
            .clone()
            .into_iter()
            .map(|func| Ok(Item::Function(FuncIdx::new(func.map_err(CommandError::bug)?))))
            .collect(),
        ElementItems::Expressions(_, expressions) => expressions
            .clone()
            .into_iter()
            .map(|expression| {
                let expression = expression.map_err(CommandError::bug)?;
                let mut operators = expression.get_operators_reader();
                let item = operators.read().map_err(CommandError::bug)?;
                // No instruction computes a reference: there is but one.
                Ok(match item {
                    Operator::RefFunc { function_index } => {
                        Item::Function(FuncIdx::new(function_index))
                    }
                    Operator::RefNull { .. } => Item::Reference(Cell(0)),
                    Operator::GlobalGet { global_index } => {
                        Item::Global(GlobalIdx::new(global_index))
                    }
                    other => {
                        return Err(CommandError::unsupported(format_args!(
                            "an element given by {other:?}"
                        )));
                    }
                })
            })
            .collect(),
    }
}

/// Whether `length` things from `start` lie within `size`.
fn fits(start: u64, length: u64, size: u64) -> bool {
    start.checked_add(length).is_some_and(|end| end <= size)
}

fn chunks<E>(length: u64, mut each: impl FnMut(u64, usize) -> Result<(), E>) -> Result<(), E> {
    let mut at = 0;
    while at < length {
        let count = (length - at).min(CHUNK as u64);
        each(at, count as usize)?;
        at += count;
    }
    Ok(())
}

fn chunks_backwards<E>(
    length: u64,
    mut each: impl FnMut(u64, usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = length;
    while left > 0 {
        let count = left.min(CHUNK as u64);
        left -= count;
        each(left, count as usize)?;
    }
    Ok(())
}

/// A whole native word of the argument area: a reference in native form.
pub(super) fn word(subject: &Subject, space: &Space, index: u32) -> Result<u64, CommandError> {
    let offset = u64::from(space.layout.argument(index));
    subject.region(space.data).read_u64(offset).map_err(CommandError::bug)
}

fn answer(subject: &Subject, space: &Space, result: Value) -> Result<Served, CommandError> {
    space.set_argument(subject, 0, result)?;
    Ok(Served::Done)
}

fn grow_memory(
    subject: &mut Subject,
    space: &Space,
    memory: MemoryIdx,
    delta: u64,
) -> Result<Value, CommandError> {
    let id = space.memories[memory.index()];
    let ty = space.memory_types[memory.index()];
    let old = subject.region(id).len() / ty.page_bytes();
    let new = old.checked_add(delta).filter(|new| *new <= ty.most_pages());
    let bytes = new
        .and_then(|new| new.checked_mul(ty.page_bytes()))
        .filter(|bytes| *bytes <= MEMORY_CAPACITY && subject.resize(id, *bytes).is_ok());
    let Some(bytes) = bytes else { return Ok(size(ty.address, None)) };
    space.set_memory_size(subject, memory, bytes)?;
    Ok(size(ty.address, Some(old)))
}

/// The result of growing: the size before, or -1.
fn size(address: AddressType, previous: Option<u64>) -> Value {
    match address {
        AddressType::I32 => Value::I32(previous.map_or(u32::MAX, |size| size as u32)),
        AddressType::I64 => Value::I64(previous.unwrap_or(u64::MAX)),
    }
}

/// Waits for another thread, of which there is none: a wait that would block
/// has timed out.
fn wait(
    subject: &Subject,
    space: &Space,
    module: &Module,
    memory: MemoryIdx,
    bytes: usize,
) -> Result<Served, CommandError> {
    const NOT_EQUAL: u32 = 1;
    const TIMED_OUT: u32 = 2;
    let (address, expected) = (word(subject, space, 0)?, word(subject, space, 1)?);
    let region = subject.region(space.memories[memory.index()]);
    if !fits(address, bytes as u64, region.len()) {
        return Ok(Served::Trapped(Trap::MemoryOutOfBounds));
    }
    if !module.memories()[memory.index()].shared {
        return Ok(Served::Trapped(Trap::ExpectedSharedMemory));
    }
    let mut value = [0; 8];
    region.read(address, &mut value[..bytes]).map_err(CommandError::bug)?;
    let equal = u64::from_le_bytes(value) == expected;
    answer(subject, space, Value::I32(if equal { TIMED_OUT } else { NOT_EQUAL }))
}

fn grow_table(
    subject: &mut Subject,
    space: &Space,
    table: TableIdx,
    value: u64,
    delta: u64,
) -> Result<Value, CommandError> {
    let ty = space.table_types[table.index()];
    let old = space.table_size(subject, table)?;
    let most = ty.maximum.unwrap_or(u64::MAX).min(MAX_TABLE_ELEMENTS);
    let new = old.checked_add(delta).filter(|new| *new <= most);
    let new = new.filter(|new| space.make_room(subject, table, *new).is_ok());
    let Some(new) = new else { return Ok(size(ty.address, None)) };
    store_elements(subject, space, table, old, (0..delta).map(|_| value))?;
    space.set_table_size(subject, table, new)?;
    Ok(size(ty.address, Some(old)))
}

fn store_elements(
    subject: &Subject,
    space: &Space,
    table: TableIdx,
    first: u64,
    words: impl Iterator<Item = u64>,
) -> Result<(), CommandError> {
    let region = subject.region(space.tables[table.index()]);
    for (at, word) in words.enumerate() {
        region.write_u64((first + at as u64) * 8, word).map_err(CommandError::bug)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_fits_up_to_its_end() {
        assert!(fits(0, 0, 0));
        assert!(fits(10, 0, 10));
        assert!(!fits(11, 0, 10));
        assert!(fits(u64::from(u32::MAX), 1, 1 << 32));
        assert!(!fits(u64::MAX, 2, u64::MAX));
    }

    #[test]
    fn chunks_cover_a_range_once_in_either_direction() {
        let length = 3 * CHUNK as u64 + 5;
        let mut seen = Vec::new();
        let _: Result<(), ()> = chunks(length, |at, count| {
            seen.push((at, count));
            Ok(())
        });
        let mut backwards = Vec::new();
        let _: Result<(), ()> = chunks_backwards(length, |at, count| {
            backwards.push((at, count));
            Ok(())
        });
        for list in [seen, backwards] {
            assert_eq!(list.iter().map(|(_, count)| *count as u64).sum::<u64>(), length);
            assert!(list.iter().all(|(at, count)| at + *count as u64 <= length));
        }
    }
}
