//! `.wasm_map`: what is written is read back; what is damaged is refused or
//! read as another map, but never more than that.

use crate::arbitrary::{self, Random};
use crate::fixture;
use dwarf_map::section::{SectionError, read, write};
use dwarf_map::{CodeOffset, InstanceCounts, InstanceLayout};

#[test]
fn arbitrary_maps_survive() {
    for seed in 0..2000 {
        let map = arbitrary::map(&mut Random::new(seed));
        // Maps are too long to print: the seed gives this one again.
        match read(&write(&map)) {
            Ok(back) => assert!(back == map, "seed {seed}: another map came back"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

/// Whatever the bytes are, reading ends with a map or an error; a map that is
/// read can be written and read again.
#[test]
fn damaged_bytes_do_no_harm() {
    let mut refused = 0;
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        let mut bytes = write(&arbitrary::map(&mut random));
        for _ in 0..=random.below(4) {
            let at = 12 + (random.next() as usize) % (bytes.len() - 12);
            match random.next() % 4 {
                0 => bytes[at] ^= 1 << (random.next() % 8),
                1 => bytes[at] = random.pick(&[0, 0x7f, 0x80, 0xff]),
                2 => bytes.truncate(at.max(13)),
                _ => drop(bytes.splice(at..at, [0xff; 5])),
            }
        }
        match read(&bytes) {
            Err(_) => refused += 1,
            Ok(map) => assert!(read(&write(&map)).as_ref() == Ok(&map), "seed {seed}"),
        }
    }
    assert!(refused > 1000, "only {refused} damaged maps were refused");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = write(&fixture::map());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "the first {length} bytes were accepted");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(read(&longer), Err(SectionError::Malformed { .. })));
}

#[test]
fn other_formats_are_named() {
    assert_eq!(read(b""), Err(SectionError::NotAMap));
    assert_eq!(read(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0"), Err(SectionError::NotAMap));
    let mut bytes = write(&fixture::map());
    bytes[8] = 99;
    assert_eq!(read(&bytes), Err(SectionError::UnknownVersion { found: 99 }));
    let error = SectionError::UnknownVersion { found: 99 }.to_string();
    assert!(error.contains("version 99"), "{error}");
}

#[test]
fn orders_that_lookups_rely_on_are_enforced() {
    let refused = |damage: &dyn Fn(&mut dwarf_map::ImageMap)| {
        let mut map = fixture::map();
        damage(&mut map);
        assert!(matches!(read(&write(&map)), Err(SectionError::Malformed { .. })));
    };
    refused(&|map| map.functions.swap(0, 1));
    refused(&|map| map.functions[0].boundaries.swap(0, 1));
    refused(&|map| map.functions[0].boundaries[1].offset = map.functions[0].boundaries[0].offset);
    refused(&|map| {
        let site = map.functions[0].call_sites[0].clone();
        map.functions[0].call_sites.push(site);
    });
    refused(&|map| {
        let trap = map.functions[1].traps[0];
        map.functions[1].traps.push(trap);
    });
    refused(&|map| map.functions[1].code.end = CodeOffset::new(0));
    refused(&|map| map.functions[0].params = 4);
    refused(&|map| {
        let counts = InstanceCounts { functions: u32::MAX, ..InstanceCounts::default() };
        map.layout = InstanceLayout::new(counts);
    });
}

/// Thousands of boundaries of three bytes that each repeat 10,000 locals. They
/// are made by repeating the bytes by which a map with three of them differs
/// from a map with two.
#[test]
fn amplification_is_limited() {
    let with_boundaries = |count: u32| {
        let mut map = fixture::map();
        let function = &mut map.functions[0];
        let mut boundary = function.boundaries[0].clone();
        boundary.stable = None;
        boundary.locations = vec![dwarf_map::Location::CfaOffset(-16); 10_000];
        function.locals = vec![wasm_view::ValType::I32; 10_000];
        function.boundaries.clear();
        for _ in 0..count {
            function.boundaries.push(boundary.clone());
            boundary.offset = wasm_view::WasmOffset::new(boundary.offset.get() + 1);
        }
        map
    };
    assert_eq!(read(&write(&with_boundaries(3))).as_ref(), Ok(&with_boundaries(3)));
    let two = write(&with_boundaries(2));
    let three = write(&with_boundaries(3));
    let count_at = two.iter().zip(&three).position(|(a, b)| a != b).expect("counts differ");
    let same = two.iter().rev().zip(three.iter().rev()).take_while(|(a, b)| a == b).count();
    let (at, length) = (two.len() - same, three.len() - two.len());
    assert_eq!(length, 3, "bytes of a boundary where nothing changes");

    let mut many = two.clone();
    many.splice(at..at, three[at..at + length].repeat(4998));
    many.splice(count_at..=count_at, [0x88, 0x27]); // 5000 in LEB128
    let result = read(&many);
    assert!(matches!(result, Err(SectionError::TooLarge { .. })), "{:?}", result.err());
}

#[test]
fn boundaries_are_small() {
    let map = fixture::map();
    let mut larger = map.clone();
    let last = larger.functions[0].boundaries[2].clone();
    for number in 0..100 {
        let mut next = last.clone();
        next.offset = wasm_view::WasmOffset::new(last.offset.get() + 2 * (number + 1));
        next.anchor = dwarf_map::Anchor::Trap(CodeOffset::new(36 + 9 * number));
        larger.functions[0].boundaries.push(next);
    }
    assert_eq!(write(&larger).len() - write(&map).len(), 300);
}
