//! A [`Snapshot`] to bytes.

use super::{CHUNK, COMPRESSED, HEADER, MAGIC, PAGE, RECORD, Snapshot, VERSION, kind, tag};
use crate::view::{InstanceView, MemoryView, TableView};
use crate::{
    AddressType, Frame, FuncAddr, HeapType, InternalRef, MemoryType, RefType, TableType, ValType,
    Value,
};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Writes a snapshot.
///
/// # Panics
/// If `dead` does not have a flag for each slot of each frame.
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = File { bytes: Vec::new(), records: 0 };
    file.bytes.extend_from_slice(&MAGIC);
    file.bytes.extend_from_slice(&VERSION.to_le_bytes());
    file.bytes.resize(HEADER, 0);
    let store = &snapshot.store;
    file.record(kind::PROGRAM, |payload| {
        payload.string(&snapshot.taken_by);
        payload.list(&snapshot.modules, |payload, hash| payload.bytes.extend_from_slice(hash));
        payload.unsigned(snapshot.host_calls);
    });
    for instance in &store.instances {
        file.record(kind::INSTANCE, |payload| payload.instance(instance));
    }
    for memory in &store.memories {
        file.record(kind::MEMORY, |payload| payload.memory(memory));
        for (index, chunk) in memory.bytes.chunks(CHUNK).enumerate() {
            file.pages(index * CHUNK, chunk);
        }
    }
    for table in &store.tables {
        file.record(kind::TABLE, |payload| payload.table(table));
    }
    file.record(kind::GLOBALS, |payload| {
        payload.list(&store.globals, |payload, (ty, value)| {
            payload.val_type(ty.content);
            payload.byte(u8::from(ty.mutable));
            payload.value(*value);
        });
    });
    file.record(kind::TAGS, |payload| {
        payload.list(&store.tags, |payload, ty| payload.unsigned(u64::from(ty.get())));
    });
    let held = !store.held.is_empty();
    if held || !store.objects.is_empty() || !store.exceptions.is_empty() {
        file.record(kind::HEAP, |payload| {
            payload.list(&store.objects, |payload, (id, object)| {
                payload.unsigned(u64::from(id.get()));
                payload.unsigned(u64::from(object.ty.get()));
                payload.list(&object.fields, |payload, value| payload.value(*value));
            });
            payload.list(&store.exceptions, |payload, (id, exception)| {
                payload.unsigned(u64::from(id.get()));
                payload.unsigned(u64::from(exception.tag.get()));
                payload.list(&exception.args, |payload, value| payload.value(*value));
            });
            payload.list(&store.held, |payload, value| payload.value(*value));
        });
    }
    for (frame, dead) in store.frames.iter().zip(&snapshot.dead) {
        file.record(kind::FRAME, |payload| payload.frame(frame, dead));
    }
    if !store.caught.is_empty() {
        file.record(kind::CAUGHT, |payload| {
            payload.list(&store.caught, |payload, caught| {
                payload.unsigned(u64::from(caught.frame));
                payload.unsigned(u64::from(caught.handler));
                payload.unsigned(u64::from(caught.exn.get()));
            });
        });
    }
    if let Some((func, args)) = &store.host_call {
        file.record(kind::HOST_CALL, |payload| {
            payload.function(*func);
            payload.list(args, |payload, value| payload.value(*value));
        });
    }
    if !snapshot.next.is_empty() {
        file.record(kind::NEXT, |payload| {
            payload.list(&snapshot.next, |payload, (func, args)| {
                payload.function(*func);
                payload.list(args, |payload, value| payload.value(*value));
            });
        });
    }
    if !snapshot.host.is_empty() {
        file.record(kind::HOST, |payload| payload.bytes.extend_from_slice(&snapshot.host));
    }
    let records = file.records;
    file.record(kind::END, |payload| payload.unsigned(records));
    file.bytes
}

struct File {
    bytes: Vec<u8>,
    records: u64,
}

impl File {
    fn record(&mut self, kind: [u8; 4], fill: impl FnOnce(&mut Payload)) {
        let mut payload = Payload { bytes: Vec::new() };
        fill(&mut payload);
        self.add(kind, payload.bytes);
    }

    /// The pages of a chunk of memory that are not all zero, in runs.
    fn pages(&mut self, start: usize, chunk: &[u8]) {
        let mut payload = Payload { bytes: Vec::new() };
        let mut pages = chunk.chunks(PAGE).enumerate().peekable();
        while let Some((first, _)) = pages.next_if(|_| true) {
            let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
            let at = first * PAGE;
            if is_zero(&chunk[at..(at + PAGE).min(chunk.len())]) {
                continue;
            }
            let mut end = (at + PAGE).min(chunk.len());
            while let Some((_, page)) = pages.next_if(|(_, page)| !is_zero(page)) {
                end += page.len();
            }
            payload.unsigned((start + at) as u64);
            payload.unsigned((end - at) as u64);
            payload.bytes.extend_from_slice(&chunk[at..end]);
        }
        if !payload.bytes.is_empty() {
            self.add(kind::PAGES, payload.bytes);
        }
    }

    fn add(&mut self, kind: [u8; 4], payload: Vec<u8>) {
        let length = payload.len() as u32;
        let packed = match payload.len() {
            0..256 => None,
            _ => Some(compress_to_vec(payload.as_slice(), CompressionLevel::Fastest)),
        };
        let (flags, stored) = match packed {
            Some(packed) if packed.len() < payload.len() => (COMPRESSED, packed),
            _ => (0, payload),
        };
        let mut header = Vec::with_capacity(RECORD);
        header.extend_from_slice(&kind);
        header.extend_from_slice(&flags.to_le_bytes());
        header.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        header.extend_from_slice(&length.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.update(&stored);
        header.extend_from_slice(&crc.finalize().to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(&stored);
        self.records += 1;
    }
}

struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn string(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Payload, &T)) {
        self.unsigned(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn limits(&mut self, minimum: u64, maximum: Option<u64>, address: AddressType) {
        self.byte(u8::from(address == AddressType::I64));
        self.unsigned(minimum);
        self.byte(u8::from(maximum.is_some()));
        self.unsigned(maximum.unwrap_or_default());
    }

    fn instance(&mut self, instance: &InstanceView) {
        let InstanceView {
            imported_funcs,
            memories,
            tables,
            globals,
            tags,
            dropped_data,
            dropped_elems,
            elements,
        } = instance;
        self.list(imported_funcs, |payload, func| payload.function(*func));
        self.list(memories, |payload, id| payload.unsigned(u64::from(id.get())));
        self.list(tables, |payload, id| payload.unsigned(u64::from(id.get())));
        self.list(globals, |payload, id| payload.unsigned(u64::from(id.get())));
        self.list(tags, |payload, id| payload.unsigned(u64::from(id.get())));
        self.list(dropped_data, |payload, index| payload.unsigned(u64::from(index.get())));
        self.list(dropped_elems, |payload, index| payload.unsigned(u64::from(index.get())));
        self.list(elements, |payload, segment| {
            payload.list(segment, |payload, value| payload.value(*value));
        });
    }

    fn memory(&mut self, memory: &MemoryView) {
        let MemoryType { minimum, maximum, address, shared, page_log2 } = memory.ty;
        self.limits(minimum, maximum, address);
        self.byte(u8::from(shared));
        self.byte(page_log2);
        self.unsigned(memory.bytes.len() as u64);
    }

    fn table(&mut self, table: &TableView) {
        let TableType { element, minimum, maximum, address } = table.ty;
        self.val_type(ValType::Ref(element));
        self.limits(minimum, maximum, address);
        self.list(&table.elements, |payload, value| payload.value(*value));
    }

    fn frame(&mut self, frame: &Frame, dead: &[bool]) {
        let Frame { boundary, locals, operands } = frame;
        self.unsigned(u64::from(boundary.instance.get()));
        self.unsigned(u64::from(boundary.func.get()));
        self.unsigned(u64::from(boundary.offset.get()));
        let slots: Vec<_> =
            locals.iter().chain(operands).copied().zip(dead.iter().copied()).collect();
        assert_eq!(slots.len(), locals.len() + operands.len(), "a flag for each slot");
        let (locals, operands) = slots.split_at(locals.len());
        for slots in [locals, operands] {
            self.list(slots, |payload, ((ty, value), dead)| {
                payload.val_type(*ty);
                payload.byte(u8::from(*dead));
                // Which hierarchy the null of a dead reference is of, a type of
                // the store's does not say.
                if !*dead || matches!(ty, ValType::Ref(_)) {
                    payload.value(*value);
                }
            });
        }
    }

    fn function(&mut self, func: FuncAddr) {
        self.unsigned(u64::from(func.instance.get()));
        self.unsigned(u64::from(func.func.get()));
    }

    fn val_type(&mut self, ty: ValType) {
        match ty {
            ValType::I32 => self.byte(tag::I32),
            ValType::I64 => self.byte(tag::I64),
            ValType::F32 => self.byte(tag::F32),
            ValType::F64 => self.byte(tag::F64),
            ValType::V128 => self.byte(tag::V128),
            ValType::Ref(RefType { nullable, heap }) => {
                self.byte(if nullable { tag::NULLABLE } else { tag::NON_NULL });
                self.byte(match heap {
                    HeapType::Func => tag::FUNC,
                    HeapType::NoFunc => tag::NO_FUNC,
                    HeapType::Extern => tag::EXTERN,
                    HeapType::NoExtern => tag::NO_EXTERN,
                    HeapType::Any => tag::ANY,
                    HeapType::Eq => tag::EQ,
                    HeapType::I31 => tag::I31,
                    HeapType::Struct => tag::STRUCT,
                    HeapType::Array => tag::ARRAY,
                    HeapType::None => tag::NONE,
                    HeapType::Exn => tag::EXN,
                    HeapType::NoExn => tag::NO_EXN,
                    HeapType::Concrete(_) => tag::CONCRETE,
                });
                if let HeapType::Concrete(index) = heap {
                    self.unsigned(u64::from(index.get()));
                }
            }
        }
    }

    fn value(&mut self, value: Value) {
        match value {
            Value::I32(bits) => self.number(tag::I32, &bits.to_le_bytes()),
            Value::I64(bits) => self.number(tag::I64, &bits.to_le_bytes()),
            Value::F32(bits) => self.number(tag::F32, &bits.to_le_bytes()),
            Value::F64(bits) => self.number(tag::F64, &bits.to_le_bytes()),
            Value::V128(bits) => self.number(tag::V128, &bits.to_le_bytes()),
            Value::FuncRef(target) => {
                self.byte(tag::FUNC);
                match target {
                    None => self.byte(tag::NULL),
                    Some(func) => {
                        self.byte(tag::FUNCTION);
                        self.function(func);
                    }
                }
            }
            Value::ExternRef(target) => self.internal(tag::EXTERN, target),
            Value::AnyRef(target) => self.internal(tag::ANY, target),
            Value::ExnRef(target) => {
                self.byte(tag::EXN);
                match target {
                    None => self.byte(tag::NULL),
                    Some(exn) => {
                        self.byte(tag::EXCEPTION);
                        self.unsigned(u64::from(exn.get()));
                    }
                }
            }
        }
    }

    fn number(&mut self, tag: u8, bits: &[u8]) {
        self.byte(tag);
        self.bytes.extend_from_slice(bits);
    }

    fn internal(&mut self, hierarchy: u8, target: Option<InternalRef>) {
        self.byte(hierarchy);
        let (what, number) = match target {
            None => return self.byte(tag::NULL),
            Some(InternalRef::Host(handle)) => (tag::HOST, handle),
            Some(InternalRef::I31(bits)) => (tag::UNBOXED, bits),
            Some(InternalRef::Object(object)) => (tag::OBJECT, object.get()),
        };
        self.byte(what);
        self.unsigned(u64::from(number));
    }
}
