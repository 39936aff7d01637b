//! Every part of a snapshot survives, and no damage does harm.

use super::*;
use crate::view::{CaughtView, ExceptionView, InstanceView, MemoryView, ObjectView, TableView};
use crate::{
    Boundary, DataIdx, ElemIdx, ExnId, Frame, FuncAddr, FuncIdx, GlobalId, GlobalType, HeapType,
    InstanceId, InternalRef, MemoryId, MemoryType, ObjectId, RefType, TableId, TableType, TagId,
    TypeIdx, ValType, Value, WasmOffset,
};

const MOST: u64 = 1 << 24;

fn full() -> Snapshot {
    let func = FuncAddr { instance: InstanceId::new(0), func: FuncIdx::new(70_000) };
    let mut bytes = vec![0; 3 << 20];
    bytes[5] = 1;
    bytes[(1 << 20) - 1] = 2;
    bytes[1 << 20] = 3;
    for (index, byte) in bytes[2 << 20..].iter_mut().enumerate() {
        *byte = (index * 7 / 3) as u8;
    }
    let any = |heap| ValType::Ref(RefType { nullable: false, heap });
    let slots = vec![
        (ValType::I32, Value::I32(u32::MAX)),
        (ValType::I64, Value::I64(1 << 63)),
        (ValType::F32, Value::F32(0x7fa0_0001)),
        (ValType::F64, Value::F64(0x7ff4_0000_0000_0001)),
        (ValType::V128, Value::V128(u128::MAX - 9)),
        (ValType::FUNCREF, Value::FuncRef(Some(func))),
        (ValType::EXTERNREF, Value::host(9)),
        (any(HeapType::Concrete(TypeIdx::new(300))), Value::AnyRef(Some(InternalRef::I31(5)))),
        (any(HeapType::Exn), Value::ExnRef(Some(ExnId::new(2)))),
        (any(HeapType::None), Value::AnyRef(None)),
    ];
    let boundary = Boundary {
        instance: InstanceId::new(0),
        func: FuncIdx::new(3),
        offset: WasmOffset::new(0x1234),
    };
    Snapshot {
        taken_by: "x86_64:speed".into(),
        modules: vec![[7; 32]],
        store: StoreView {
            instances: vec![InstanceView {
                imported_funcs: vec![func],
                memories: vec![MemoryId::new(0)],
                tables: vec![TableId::new(1)],
                globals: vec![GlobalId::new(2)],
                tags: vec![TagId::new(3)],
                dropped_data: vec![DataIdx::new(4)],
                dropped_elems: vec![ElemIdx::new(5)],
                elements: vec![vec![], vec![Value::FuncRef(None)]],
            }],
            memories: vec![MemoryView { ty: MemoryType::plain(1, Some(99)), bytes }],
            tables: vec![TableView {
                ty: TableType {
                    element: RefType::FUNC,
                    minimum: 2,
                    maximum: None,
                    address: crate::AddressType::I64,
                },
                elements: vec![Value::FuncRef(None), Value::FuncRef(Some(func))],
            }],
            globals: vec![(GlobalType { content: ValType::V128, mutable: true }, Value::V128(1))],
            tags: vec![TypeIdx::new(1)],
            objects: vec![(
                ObjectId::new(4),
                ObjectView { ty: TypeIdx::new(2), fields: vec![Value::I32(3)] },
            )],
            exceptions: vec![(
                ExnId::new(2),
                ExceptionView { tag: TagId::new(0), args: vec![Value::F32(1)] },
            )],
            held: vec![Value::AnyRef(Some(InternalRef::Object(ObjectId::new(4))))],
            frames: vec![Frame { boundary, locals: slots.clone(), operands: slots }],
            caught: vec![CaughtView { frame: 0, handler: 1, exn: ExnId::new(2) }],
            host_call: Some((func, vec![Value::I32(0)])),
        },
        dead: vec![vec![false; 20]],
        next: vec![(func, vec![Value::I64(3)])],
        host_calls: 1 << 40,
        host: vec![1, 2, 3],
    }
}

#[test]
fn what_is_written_is_read() {
    let mut snapshot = full();
    assert_eq!(read(&write(&snapshot), MOST).as_ref(), Ok(&snapshot));
    // A dead slot is not carried.
    snapshot.dead[0][0] = true;
    snapshot.dead[0][7] = true;
    snapshot.store.frames[0].locals[7].1 = Value::FuncRef(None);
    let again = read(&write(&snapshot), MOST).expect("reads");
    assert_eq!(again.store.frames[0].locals[0], (ValType::I32, Value::I32(0)));
    assert_eq!(again.store.frames[0].locals[7].1, Value::FuncRef(None));
    assert!(again.dead[0][0] && !again.dead[0][1]);
    assert_eq!(read(&write(&Snapshot::default()), MOST), Ok(Snapshot::default()));
}

#[test]
fn memory_that_is_zero_takes_no_room() {
    let memory = MemoryView { ty: MemoryType::plain(256, None), bytes: vec![0; 1 << 24] };
    let store = StoreView { memories: vec![memory], ..StoreView::default() };
    let bytes = write(&Snapshot { store, ..Snapshot::default() });
    assert!(bytes.len() < 256, "{}", bytes.len());
    assert_eq!(read(&bytes, MOST - 1), Err(SnapshotError::TooLarge(MOST - 1)));
}

#[test]
fn what_is_not_whole_is_refused() {
    let bytes = write(&full());
    for end in (0..bytes.len()).step_by(97).chain(bytes.len() - 30..bytes.len()) {
        assert!(read(&bytes[..end], MOST).is_err(), "{end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(read(&longer, MOST), Err(SnapshotError::Malformed { .. })));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(read(&newer, MOST), Err(SnapshotError::Version(2)));
    assert_eq!(read(b"\0asm\x01\0\0\0", MOST), Err(SnapshotError::NotASnapshot));
}

/// Each bit counts: no flipped one is overlooked.
#[test]
fn a_flipped_bit_is_noticed() {
    let bytes = write(&full());
    for at in (0..bytes.len()).filter(|at| !(12..HEADER).contains(at)).step_by(13) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged, MOST).is_err(), "byte {at}");
    }
}

/// Contents that pass their checksum are looked at all the same: bytes are
/// changed and the checksum made right again.
#[test]
fn damage_under_a_good_checksum_does_no_harm() {
    let mut snapshot = full();
    snapshot.store.memories[0].bytes.truncate(65_536);
    let bytes = write(&snapshot);
    let mut random: u64 = 1;
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        let mut at = HEADER;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize
        };
        let victim = next() % 12;
        for number in 0.. {
            let Some(stored) = damaged.get(at + 8..at + 12) else { break };
            let stored = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]) as usize;
            let end = at + RECORD + stored;
            if number == victim && stored > 0 {
                for _ in 0..=next() % 3 {
                    damaged[at + RECORD + next() % stored] ^= 1 << (next() % 8);
                }
                let mut crc = crc32fast::Hasher::new();
                crc.update(&damaged[at..at + RECORD - 4]);
                crc.update(&damaged[at + RECORD..end]);
                let crc = crc.finalize().to_le_bytes();
                damaged[at + RECORD - 4..at + RECORD].copy_from_slice(&crc);
            }
            at = end;
        }
        let _ = read(&damaged, MOST);
    }
}

#[test]
fn what_is_set_aside_is_named() {
    let bytes = write(&Snapshot::default());
    let mut crc = crc32fast::Hasher::new();
    let mut record = b"THRD".to_vec();
    record.extend([0; 12]);
    crc.update(&record);
    record.extend(crc.finalize().to_le_bytes());
    let mut with = bytes[..HEADER].to_vec();
    with.extend(record);
    with.extend(&bytes[HEADER..]);
    let error = read(&with, MOST).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "record THRD at byte 16 holds threads, which this version cannot restore"
    );
}
