//! Bytes to a [`Snapshot`], trusting none of them.

use super::{
    CHUNK, COMPRESSED, HEADER, MAGIC, RECORD, Snapshot, SnapshotError, VERSION, kind, tag,
};
use crate::view::{CaughtView, ExceptionView, InstanceView, MemoryView, ObjectView, TableView};
use crate::{
    AddressType, Boundary, DataIdx, ElemIdx, ExnId, Frame, FuncAddr, FuncIdx, GlobalId, GlobalType,
    HeapType, InstanceId, InternalRef, MemoryId, MemoryType, ObjectId, RefType, TableId, TableType,
    TagId, TypeIdx, ValType, Value, WasmOffset,
};
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;

type Result<T> = std::result::Result<T, SnapshotError>;

/// Most bytes that a record may have when it is unpacked. Tables of ten million
/// elements fit.
const LARGEST_RECORD: usize = 256 << 20;

/// Reads a snapshot whose memories have at most `most_memory` bytes together.
///
/// # Errors
/// Whatever is not as [`super::write()`] writes it, by name and byte offset.
pub fn read(bytes: &[u8], most_memory: u64) -> Result<Snapshot> {
    let header = bytes.get(..HEADER);
    if !bytes.starts_with(&MAGIC) {
        return Err(SnapshotError::NotASnapshot);
    }
    let header = header.ok_or(SnapshotError::Truncated { at: bytes.len(), what: "the header" })?;
    let version = u32_at(header, 8);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let mut reader =
        Reader { snapshot: Snapshot::default(), most_memory, seen_program: false, records: 0 };
    let mut at = HEADER;
    loop {
        let Record { kind, payload, end } = record(bytes, at)?;
        let mut payload = Payload { kind, at, bytes: &payload, position: 0 };
        if kind == kind::END {
            let records = payload.unsigned("the number of records")?;
            payload.finish()?;
            if records != reader.records {
                return Err(payload.malformed("another number of records came before it"));
            }
            if end != bytes.len() {
                return Err(payload.malformed("bytes follow it"));
            }
            if !reader.seen_program {
                return Err(payload.malformed("no program was named"));
            }
            if reader.snapshot.modules.len() != reader.snapshot.store.instances.len() {
                return Err(payload.malformed("another number of instances than of modules"));
            }
            return Ok(reader.snapshot);
        }
        reader.record(&mut payload)?;
        payload.finish()?;
        reader.records += 1;
        at = end;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_le_bytes(four.unwrap_or_default())
}

fn name(kind: [u8; 4]) -> String {
    kind.escape_ascii().to_string()
}

struct Record {
    kind: [u8; 4],
    payload: Vec<u8>,
    /// Where the next one begins.
    end: usize,
}

fn record(bytes: &[u8], at: usize) -> Result<Record> {
    let truncated = |what| SnapshotError::Truncated { at: bytes.len(), what };
    let header = bytes.get(at..at + RECORD).ok_or(truncated("the header of a record"))?;
    let kind = [header[0], header[1], header[2], header[3]];
    let (flags, stored, length) = (u32_at(header, 4), u32_at(header, 8), u32_at(header, 12));
    let start = at + RECORD;
    let end = start.checked_add(stored as usize).filter(|end| *end <= bytes.len());
    let end = end.ok_or(truncated("the rest of a record"))?;
    let packed = &bytes[start..end];
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..RECORD - 4]);
    crc.update(packed);
    if crc.finalize() != u32_at(header, RECORD - 4) {
        return Err(SnapshotError::Damaged { kind: name(kind), at });
    }
    let malformed = |what| SnapshotError::Malformed { kind: name(kind), at, what };
    let length = length as usize;
    if length > LARGEST_RECORD {
        return Err(malformed("it is larger than any record may be"));
    }
    let payload = match flags {
        0 if length == packed.len() => packed.to_vec(),
        COMPRESSED => {
            let mut decoder =
                StreamingDecoder::new(packed).map_err(|_| malformed("it is not compressed"))?;
            let mut payload = Vec::new();
            let most = length as u64 + 1;
            let read = (&mut decoder).take(most).read_to_end(&mut payload);
            read.map_err(|_| malformed("it cannot be decompressed"))?;
            if payload.len() != length {
                return Err(malformed("it has another length than it says"));
            }
            payload
        }
        0 => return Err(malformed("it has another length than it says")),
        _ => return Err(malformed("unknown flags")),
    };
    Ok(Record { kind, payload, end })
}

struct Reader {
    snapshot: Snapshot,
    most_memory: u64,
    seen_program: bool,
    records: u64,
}

impl Reader {
    fn record(&mut self, payload: &mut Payload<'_>) -> Result<()> {
        let store = &mut self.snapshot.store;
        match payload.kind {
            kind::PROGRAM => {
                if std::mem::replace(&mut self.seen_program, true) {
                    return Err(payload.malformed("a second one"));
                }
                self.snapshot.taken_by = payload.string()?;
                self.snapshot.modules = payload.list(|payload| {
                    let hash = payload.take(32, "a hash")?;
                    Ok(hash.try_into().unwrap_or_default())
                })?;
                self.snapshot.host_calls = payload.unsigned("a position")?;
            }
            kind::INSTANCE => store.instances.push(payload.instance()?),
            kind::MEMORY => {
                let (ty, length) = payload.memory()?;
                let so_far: u64 =
                    store.memories.iter().map(|memory| memory.bytes.len() as u64).sum();
                if so_far.checked_add(length).is_none_or(|all| all > self.most_memory) {
                    return Err(SnapshotError::TooLarge(self.most_memory));
                }
                store.memories.push(MemoryView { ty, bytes: vec![0; length as usize] });
            }
            kind::PAGES => {
                let Some(memory) = store.memories.last_mut() else {
                    return Err(payload.malformed("there is no memory before it"));
                };
                while !payload.is_empty() {
                    let start = payload.unsigned("an address")?;
                    let length = payload.unsigned("a length")?;
                    let run = payload.take(length as usize, "memory")?;
                    let end = start.checked_add(length).filter(|_| run.len() <= CHUNK);
                    let range =
                        usize::try_from(start).ok().zip(end.and_then(|e| e.try_into().ok()));
                    let place = range.and_then(|(start, end)| memory.bytes.get_mut(start..end));
                    match place {
                        Some(place) => place.copy_from_slice(run),
                        None => return Err(payload.malformed("it lies outside of its memory")),
                    }
                }
            }
            kind::TABLE => store.tables.push(payload.table()?),
            kind::GLOBALS => {
                store.globals = payload.list(|payload| {
                    let content = payload.val_type()?;
                    let mutable = payload.flag()?;
                    Ok((GlobalType { content, mutable }, payload.value()?))
                })?;
            }
            kind::TAGS => store.tags = payload.list(|payload| payload.index(TypeIdx::new))?,
            kind::HEAP => {
                store.objects = payload.list(|payload| {
                    let id = payload.index(ObjectId::new)?;
                    let ty = payload.index(TypeIdx::new)?;
                    Ok((id, ObjectView { ty, fields: payload.list(Payload::value)? }))
                })?;
                store.exceptions = payload.list(|payload| {
                    let id = payload.index(ExnId::new)?;
                    let tag = payload.index(TagId::new)?;
                    Ok((id, ExceptionView { tag, args: payload.list(Payload::value)? }))
                })?;
                store.held = payload.list(Payload::value)?;
            }
            kind::FRAME => {
                let (frame, dead) = payload.frame()?;
                store.frames.push(frame);
                self.snapshot.dead.push(dead);
            }
            kind::CAUGHT => {
                store.caught = payload.list(|payload| {
                    let (frame, handler) = (payload.u32("a frame")?, payload.u32("a handler")?);
                    Ok(CaughtView { frame, handler, exn: payload.index(ExnId::new)? })
                })?;
            }
            kind::HOST_CALL => {
                store.host_call = Some((payload.function()?, payload.list(Payload::value)?));
            }
            kind::NEXT => {
                self.snapshot.next = payload
                    .list(|payload| Ok((payload.function()?, payload.list(Payload::value)?)))?;
            }
            kind::HOST => self.snapshot.host = payload.rest().to_vec(),
            other => {
                let reserved = kind::RESERVED.iter().find(|(kind, _)| *kind == other);
                return Err(SnapshotError::Unsupported {
                    kind: name(other),
                    at: payload.at,
                    what: reserved.map_or("something unknown", |(_, what)| what),
                });
            }
        }
        Ok(())
    }
}

struct Payload<'a> {
    kind: [u8; 4],
    /// Of the record, in the file.
    at: usize,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Payload<'a> {
    fn malformed(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Malformed { kind: name(self.kind), at: self.at, what }
    }

    fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    fn finish(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed("something is left over")) }
    }

    fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.position..];
        self.position = self.bytes.len();
        rest
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let end = self.position.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(self.malformed(what)) };
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte("a flag is missing")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a flag that is neither 0 nor 1")),
        }
    }

    /// An unsigned LEB128 number.
    fn unsigned(&mut self, what: &'static str) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let low = u64::from(byte & 0x7f);
            if low << shift >> shift != low {
                return Err(self.malformed("a number of more than 64 bits"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32> {
        let value = self.unsigned(what)?;
        u32::try_from(value).map_err(|_| self.malformed("a number of more than 32 bits"))
    }

    fn index<T>(&mut self, new: impl Fn(u32) -> T) -> Result<T> {
        Ok(new(self.u32("an index is missing")?))
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.unsigned("a list is missing")?;
        // Each item takes a byte at least.
        if count > (self.bytes.len() - self.position) as u64 {
            return Err(self.malformed("a list of more items than there are bytes"));
        }
        (0..count).map(|_| each(self)).collect()
    }

    fn string(&mut self) -> Result<String> {
        let length = self.unsigned("a string is missing")?;
        let bytes = self.take(length as usize, "a string is cut short")?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.malformed("a string that is not UTF-8"))
    }

    fn limits(&mut self) -> Result<(u64, Option<u64>, AddressType)> {
        let address = if self.flag()? { AddressType::I64 } else { AddressType::I32 };
        let minimum = self.unsigned("a limit is missing")?;
        let limited = self.flag()?;
        let maximum = self.unsigned("a limit is missing")?;
        Ok((minimum, limited.then_some(maximum), address))
    }

    fn instance(&mut self) -> Result<InstanceView> {
        Ok(InstanceView {
            imported_funcs: self.list(Self::function)?,
            memories: self.list(|payload| payload.index(MemoryId::new))?,
            tables: self.list(|payload| payload.index(TableId::new))?,
            globals: self.list(|payload| payload.index(GlobalId::new))?,
            tags: self.list(|payload| payload.index(TagId::new))?,
            dropped_data: self.list(|payload| payload.index(DataIdx::new))?,
            dropped_elems: self.list(|payload| payload.index(ElemIdx::new))?,
            elements: self.list(|payload| payload.list(Self::value))?,
        })
    }

    fn memory(&mut self) -> Result<(MemoryType, u64)> {
        let (minimum, maximum, address) = self.limits()?;
        let shared = self.flag()?;
        let page_log2 = self.byte("a page size is missing")?;
        if page_log2 > 16 {
            return Err(self.malformed("pages of more than 64 KiB"));
        }
        let length = self.unsigned("a size is missing")?;
        Ok((MemoryType { minimum, maximum, address, shared, page_log2 }, length))
    }

    fn table(&mut self) -> Result<TableView> {
        let ValType::Ref(element) = self.val_type()? else {
            return Err(self.malformed("a table of something other than references"));
        };
        let (minimum, maximum, address) = self.limits()?;
        let ty = TableType { element, minimum, maximum, address };
        Ok(TableView { ty, elements: self.list(Self::value)? })
    }

    fn frame(&mut self) -> Result<(Frame, Vec<bool>)> {
        let boundary = Boundary {
            instance: self.index(InstanceId::new)?,
            func: self.index(FuncIdx::new)?,
            offset: self.index(WasmOffset::new)?,
        };
        let mut dead = Vec::new();
        let mut slots = || {
            self.list(|payload| {
                let ty = payload.val_type()?;
                let is_dead = payload.flag()?;
                dead.push(is_dead);
                let carried = !is_dead || matches!(ty, ValType::Ref(_));
                let value = if carried { payload.value()? } else { Value::default_of(ty) };
                if is_dead && value.to_cells().any(|cell| cell.0 != 0) {
                    Err(payload.malformed("a dead slot that holds something"))
                } else if value.ty().cells() == ty.cells() {
                    Ok((ty, value))
                } else {
                    Err(payload.malformed("a slot's value of another type"))
                }
            })
        };
        let (locals, operands) = (slots()?, slots()?);
        Ok((Frame { boundary, locals, operands }, dead))
    }

    fn function(&mut self) -> Result<FuncAddr> {
        Ok(FuncAddr { instance: self.index(InstanceId::new)?, func: self.index(FuncIdx::new)? })
    }

    fn val_type(&mut self) -> Result<ValType> {
        let nullable = match self.byte("a type is missing")? {
            tag::I32 => return Ok(ValType::I32),
            tag::I64 => return Ok(ValType::I64),
            tag::F32 => return Ok(ValType::F32),
            tag::F64 => return Ok(ValType::F64),
            tag::V128 => return Ok(ValType::V128),
            tag::NULLABLE => true,
            tag::NON_NULL => false,
            _ => return Err(self.malformed("an unknown type")),
        };
        let heap = match self.byte("a type is missing")? {
            tag::FUNC => HeapType::Func,
            tag::NO_FUNC => HeapType::NoFunc,
            tag::EXTERN => HeapType::Extern,
            tag::NO_EXTERN => HeapType::NoExtern,
            tag::ANY => HeapType::Any,
            tag::EQ => HeapType::Eq,
            tag::I31 => HeapType::I31,
            tag::STRUCT => HeapType::Struct,
            tag::ARRAY => HeapType::Array,
            tag::NONE => HeapType::None,
            tag::EXN => HeapType::Exn,
            tag::NO_EXN => HeapType::NoExn,
            tag::CONCRETE => HeapType::Concrete(self.index(TypeIdx::new)?),
            _ => return Err(self.malformed("an unknown type")),
        };
        Ok(ValType::Ref(RefType { nullable, heap }))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N, "a value is cut short")?.try_into().unwrap_or([0; N]))
    }

    fn value(&mut self) -> Result<Value> {
        let hierarchy = match self.byte("a value is missing")? {
            tag::I32 => return Ok(Value::I32(u32::from_le_bytes(self.number()?))),
            tag::I64 => return Ok(Value::I64(u64::from_le_bytes(self.number()?))),
            tag::F32 => return Ok(Value::F32(u32::from_le_bytes(self.number()?))),
            tag::F64 => return Ok(Value::F64(u64::from_le_bytes(self.number()?))),
            tag::V128 => return Ok(Value::V128(u128::from_le_bytes(self.number()?))),
            hierarchy => hierarchy,
        };
        let target = self.byte("a reference is missing")?;
        let internal = |value: Option<InternalRef>| match hierarchy {
            tag::EXTERN => Some(Value::ExternRef(value)),
            tag::ANY => Some(Value::AnyRef(value)),
            _ => None,
        };
        let value = match (hierarchy, target) {
            (tag::FUNC, tag::NULL) => Some(Value::FuncRef(None)),
            (tag::FUNC, tag::FUNCTION) => Some(Value::FuncRef(Some(self.function()?))),
            (tag::EXN, tag::NULL) => Some(Value::ExnRef(None)),
            (tag::EXN, tag::EXCEPTION) => Some(Value::ExnRef(Some(self.index(ExnId::new)?))),
            (_, tag::NULL) => internal(None),
            (_, tag::HOST) => internal(Some(InternalRef::Host(self.u32("a handle")?))),
            (_, tag::UNBOXED) => internal(Some(InternalRef::I31(self.u32("a number")?))),
            (_, tag::OBJECT) => internal(Some(InternalRef::Object(self.index(ObjectId::new)?))),
            _ => None,
        };
        value.ok_or_else(|| self.malformed("an unknown kind of value"))
    }
}
