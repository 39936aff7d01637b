//! The file: reproducible, readable again, and harmless when damaged.

mod support;

use aot_backend::{CompileOptions, CpuSpec, Image, ImageError, OptLevel, compile};
use dwarf_map::Isa;
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol};
use support::{CONTROL, KERNELS, Random, image, options, wasm};

#[test]
fn the_same_input_gives_the_same_bytes() {
    for opt in [OptLevel::None, OptLevel::Speed] {
        let mut options = options(opt, CpuSpec::Baseline);
        options.debug_info = true;
        let wasm = wasm(KERNELS);
        let first = compile(&wasm, &options).expect("compiles");
        let second = compile(&wasm, &options).expect("compiles");
        assert!(first.elf == second.elf);
    }
}

/// Map and DWARF are the same, stored compressed or as they are; what the processor
/// and the unwinder read is not compressed.
#[test]
fn compressed_sections_read_the_same() {
    for isa in Isa::ALL {
        let plain = CompileOptions { isa, debug_info: true, ..CompileOptions::default() };
        let stored = CompileOptions { compress: true, ..plain.clone() };
        let wasm = wasm(KERNELS);
        let plain = compile(&wasm, &plain).expect("compiles");
        let stored = compile(&wasm, &stored).expect("compiles");
        assert!(stored.elf.len() < plain.elf.len());
        let sections = |image: &Image| image.sections().expect("sections that read");
        assert_eq!(sections(&plain), sections(&stored), "{isa:?}");
        let read = Image::from_elf(&stored.elf).expect("an image");
        assert_eq!((&read.map, &read.text, &read.frames), (&plain.map, &plain.text, &plain.frames));
        let file = object::File::parse(&*stored.elf).expect("an ELF file");
        let is_compressed = |name: &str| {
            let section = file.section_by_name(name).expect("there");
            section.compressed_data().expect("a header").format != CompressionFormat::None
        };
        for name in [".wasm_map", ".debug_loclists", ".debug_line"] {
            assert!(is_compressed(name), "{name}");
        }
        for name in [".text", ".wasm", ".debug_frame"] {
            assert!(!is_compressed(name), "{name}");
        }
    }
}

/// Whatever is done to a compressed section, it is refused or reads as something.
#[test]
fn damaged_compressed_sections_are_refused() {
    let options = CompileOptions { compress: true, ..options(OptLevel::None, CpuSpec::Baseline) };
    let image = compile(&wasm(KERNELS), &options).expect("compiles");
    let file = object::File::parse(&*image.elf).expect("an ELF file");
    let range = file.section_by_name(".wasm_map").and_then(|section| section.file_range());
    let (start, size) = range.expect("in the file");
    let mut random = Random(11);
    let mut refused = 0;
    for round in 0..400_u64 {
        let mut bytes = image.elf.clone();
        // The header first: how, how large.
        let at = start + if round < 24 { round } else { random.below(size as usize) as u64 };
        bytes[at as usize] ^= 1 << random.below(8);
        match Image::from_elf(&bytes) {
            Err(ImageError::Compressed(_) | ImageError::Map(_) | ImageError::Elf(_)) => {
                refused += 1;
            }
            Err(other) => panic!("{other}"),
            Ok(read) => assert!(read.map == image.map || round >= 24),
        }
    }
    assert!(refused > 380, "{refused}");
}

#[test]
fn the_file_is_laid_out_as_documented() {
    let image = image(CONTROL, OptLevel::None);
    let file = object::File::parse(&*image.elf).expect("an ELF file");
    assert_eq!(file.entry(), 0x40_1000);
    assert_eq!(image.start.get(), 0x40_1000);
    assert_eq!(image.syscall.get(), 0x40_1010);
    assert_eq!(image.text_address.get(), 0x40_2000);
    let segments: Vec<_> = file.segments().collect();
    let [segment] = segments.as_slice() else { panic!("one segment") };
    assert_eq!(segment.address(), 0x40_0000);
    let at = |address: u64, len: u64| segment.data_range(address, len).expect("in file");
    assert_eq!(at(image.start.get(), 1), Some(&[0xcc][..]));
    assert_eq!(at(image.syscall.get(), 3), Some(&[0x0f, 0x05, 0xcc][..]));
    let len = image.text.len() as u64;
    assert_eq!(at(image.text_address.get(), len), Some(&image.text[..]));
    let find = |name: &str| file.symbols().find(|symbol| symbol.name() == Ok(name));
    assert_eq!(find("_start").expect("there").address(), image.start.get());
    let function = &image.map.functions[0];
    let symbol = find("wasm.0.empty").expect("there");
    assert_eq!(symbol.address(), function.code.start.at(image.text_address).get());
    assert_eq!(symbol.size(), u64::from(function.code.end.get() - function.code.start.get()));
}

/// Without SSE4.1 the image brings its own rounding; with it, it has none.
#[test]
fn rounding_is_part_of_the_image_where_needed() {
    let names = |cpu: &str| {
        let options = options(OptLevel::None, cpu.parse().expect("a CPU"));
        let image = compile(&wasm(KERNELS), &options).expect("compiles");
        let file = object::File::parse(&*image.elf).expect("an ELF file");
        let mut names: Vec<String> = file
            .symbols()
            .filter_map(|symbol| symbol.name().ok()?.strip_prefix("library.").map(str::to_owned))
            .collect();
        names.sort();
        names
    };
    let all =
        ["CeilF32", "CeilF64", "FloorF32", "FloorF64", "NearestF32", "NearestF64", "TruncF32"];
    assert_eq!(names("baseline"), all);
    assert_eq!(names("baseline,+sse3,+ssse3,+sse41"), Vec::<String>::new());
}

/// The function that instantiates is found by its symbol, in images that are
/// combined by their parts; one that names nothing is refused.
#[test]
fn what_instantiates_is_found_by_its_symbol() {
    let text = r#"(module (memory 1) (data (i32.const 7) "data") (func) (start 0))"#;
    let image = image(text, OptLevel::None);
    let code = image.instantiate.clone().expect("there is one");
    assert_eq!(Image::from_elf(&image.elf).expect("an image").instantiate, Some(code.clone()));
    let traps = code.clone().start.get()..code.end.get();
    let traps = traps.filter(|at| image.text[*at as usize] == 0xcc).count();
    assert_eq!(traps, 1, "{:x?}", &image.text[code.start.get() as usize..code.end.get() as usize]);
    let (both, parts) = aot_backend::combine(&[&image, &image]).expect("they fit");
    assert_eq!(both.instantiate, None);
    for part in parts {
        let code = part.instantiate.expect("each has its own");
        assert!(part.text.start <= code.start && code.end <= part.text.end);
    }
    // The address, wherever it stands.
    let file = object::File::parse(&*image.elf).expect("an ELF file");
    let symbol = file.symbol_by_name("instantiate").expect("it has a name");
    let entry = symbol.address().to_le_bytes();
    let places = image.elf.windows(8).enumerate().filter(|(_, bytes)| **bytes == entry);
    // Call frame information says the same address.
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let mut elsewhere = image.elf.clone();
    for place in places {
        elsewhere[place..place + 8].copy_from_slice(&1_u64.to_le_bytes());
    }
    let error = Image::from_elf(&elsewhere).map(|_| ()).expect_err("it names no code");
    assert!(error.to_string().contains("`instantiate`"), "{error}");
}

#[test]
fn every_boundary_is_a_line_of_the_listing() {
    for text in [CONTROL, KERNELS] {
        let image = image(text, OptLevel::None);
        for boundary in image.map.functions.iter().flat_map(|function| &function.boundaries) {
            let Some(text) = image.listing.text_at(boundary.offset) else {
                panic!("{} is not in\n{}", boundary.offset, image.listing.text());
            };
            assert!(!text.starts_with(['(', ')']), "{}: {text}", boundary.offset);
            let line = image.listing.line_of(boundary.offset).expect("listed");
            assert!(image.listing.line(line).expect("there").contains(text) || text == "end");
        }
    }
}

#[test]
fn names_come_along() {
    let image = image(KERNELS, OptLevel::None);
    let sieve = &image.map.functions[2];
    assert_eq!(sieve.name.as_deref(), Some("sieve"));
    let names: Vec<Option<&str>> = sieve.local_names.iter().map(Option::as_deref).collect();
    assert_eq!(names, [Some("n"), Some("i"), Some("j"), Some("c")]);
    assert_eq!(sieve.params, 1);
}

#[test]
fn other_files_are_no_images() {
    assert!(matches!(Image::from_elf(b""), Err(ImageError::Elf(_))));
    assert!(matches!(Image::from_elf(b"\x7fELF but no more"), Err(ImageError::Elf(_))));
    let own = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
    assert!(Image::from_elf(&own).is_err());
}

/// Damaged images are read or refused, never more than that.
#[test]
fn damaged_images_do_no_harm() {
    let good = image(
        "(module (memory 1) (func (param i32) (result i32)
        (i32.load (i32.add (local.get 0) (i32.const 4)))))",
        OptLevel::None,
    )
    .elf;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let mut bad = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bad.len());
            bad[at] = random.below(256) as u8;
        }
        if round % 5 == 0 {
            bad.truncate(random.below(bad.len()));
        }
        if let Ok(image) = Image::from_elf(&bad) {
            let _ = image.listing.text();
        }
    }
}

/// Damaged modules are compiled or refused.
#[test]
fn damaged_modules_do_no_harm() {
    let good = wasm(CONTROL);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let options = CompileOptions { cpu: CpuSpec::Baseline, ..CompileOptions::default() };
    let mut compiled = 0;
    // Without optimisation, and with Cranelift's verifier, a tenth as fast.
    let rounds = if cfg!(debug_assertions) { 150 } else { 1500 };
    for round in 0..rounds {
        let mut bad = good.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(bad.len());
            bad[at] = random.below(256) as u8;
        }
        if round % 50 == 0 {
            bad.truncate(random.below(bad.len()));
        }
        compiled += u32::from(compile(&bad, &options).is_ok());
    }
    assert!(compiled > 0);
}
