//! gdb reads what is written: without complaints, and with the right answers
//! for a process that runs.

use crate::fixture::{self, ENTRY, TEXT, TEXT_SIZE};
use dwarf_map::CodeOffset;
use dwarf_map::dwarf::{self, DwarfInput, SourceLines};
use object::elf;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Writer};
use std::path::{Path, PathBuf};
use std::process::Command;

const LISTING: &str = "\
;; add.wasm
(func $add
  ;; locals
  i32.const 7
  call 4
  end)


(func 4
  end)
";

/// A static executable of the fixture's code and these sections.
fn executable(sections: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let text = fixture::text();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(object::Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_program_headers(1);
    let text_at = writer.reserve(text.len(), 0x1000);
    let places: Vec<usize> =
        sections.iter().map(|(_, content)| writer.reserve(content.len(), 1)).collect();
    writer.reserve_null_section_index();
    let names: Vec<_> = std::iter::once(".text")
        .chain(sections.iter().map(|(name, _)| *name))
        .map(|name| {
            writer.reserve_section_index();
            writer.add_section_name(name.as_bytes())
        })
        .collect();
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_X86_64,
        e_entry: CodeOffset::new(ENTRY).at(TEXT).get(),
        e_flags: 0,
    };
    writer.write_file_header(&header).expect("a header");
    writer.write_align_program_headers();
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R | elf::PF_X,
        p_offset: text_at as u64,
        p_vaddr: TEXT.get(),
        p_paddr: TEXT.get(),
        p_filesz: text.len() as u64,
        p_memsz: text.len() as u64,
        p_align: 0x1000,
    });
    writer.write_align(0x1000);
    writer.write(&text);
    for (_, content) in sections {
        writer.write(content);
    }
    writer.write_shstrtab();
    writer.write_null_section_header();
    let mut names = names.into_iter();
    writer.write_section_header(&SectionHeader {
        name: names.next(),
        sh_type: elf::SHT_PROGBITS,
        sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR),
        sh_addr: TEXT.get(),
        sh_offset: text_at as u64,
        sh_size: text.len() as u64,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 16,
        sh_entsize: 0,
    });
    for (((_, content), place), name) in sections.iter().zip(places).zip(names) {
        writer.write_section_header(&SectionHeader {
            name: Some(name),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: 0,
            sh_addr: 0,
            sh_offset: place as u64,
            sh_size: content.len() as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 1,
            sh_entsize: 0,
        });
    }
    writer.write_shstrtab_section_header();
    bytes
}

/// Writes the executable and its listing into a directory of their own.
fn build(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    let map = fixture::map();
    let lines = fixture::lines();
    let sections = dwarf::write(DwarfInput {
        map: &map,
        text: TEXT,
        text_size: TEXT_SIZE,
        code: &fixture::text(),
        program: "add.wasm",
        listing_dir: directory.to_str().expect("a path in UTF-8"),
        listing_file: "add.lst",
        lines: &lines,
        source: &SourceLines::default(),
        frames: fixture::frames(),
    })
    .expect("the fixture can be described");
    std::fs::write(directory.join("add.lst"), LISTING).expect("a listing");
    let path = directory.join("add.elf");
    std::fs::write(&path, executable(&sections)).expect("an executable");
    let mut permissions = std::fs::metadata(&path).expect("the file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&path, permissions).expect("permissions");
    path
}

/// Runs gdb with these commands. Panics when it is missing or has anything to
/// complain about.
fn gdb(image: &Path, commands: &[&str]) -> String {
    let mut command = Command::new("gdb");
    command.args(["-q", "-nx", "-batch", "-iex", "set complaints 100"]);
    command.args(["-iex", "set debuginfod enabled off", "-iex", "set confirm off"]);
    command.args(["-iex", "set startup-with-shell off", "-iex", "set width 0"]);
    command.arg(image);
    for each in commands {
        command.args(["-ex", each]);
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("THIS TEST NEEDS gdb, which could not be started: {error}. Install gdb.")
    });
    // gdb says this of every program whose compiler leaves the registers that
    // a call may change to the ABI, which is all of them.
    let without_noise = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter(|line| !line.contains("incomplete CFI data"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (text, errors) = (without_noise(&output.stdout), without_noise(&output.stderr));
    for bad in ["During symbol reading", "DWARF Error", "Dwarf Error", "warning: Section"] {
        assert!(!errors.contains(bad) && !text.contains(bad), "gdb complains:\n{errors}\n{text}");
    }
    format!("{text}\n--- stderr ---\n{errors}")
}

#[track_caller]
fn expect(text: &str, wanted: &[&str]) {
    for each in wanted {
        assert!(text.contains(each), "gdb does not say {each:?}:\n{text}");
    }
}

#[test]
fn gdb_reads_the_sections() {
    let image = build("static");
    let text = gdb(
        &image,
        &[
            "maint expand-symtabs",
            "info functions",
            "info line *0x401017",
            "info line *0x401018",
            "info line *0x401045",
            "info scope *0x401017",
            "info scope *0x401045",
            "info address thunk_import_2",
            "info symbol 0x401045",
            "info types .",
            "list 'math::add<i32>'",
        ],
    );
    println!("{text}");
    expect(
        &text,
        &[
            "math::add<i32>",
            "wasm_func_4",
            "entry_0",
            "static/add.lst\" starts at address 0x401017",
            "Line 5 of ",
            "Line 10 of ",
            "Symbol left is multi-location",
            "Symbol local1 is multi-location",
            "Symbol local2 is multi-location",
            "Symbol stack0_i32 is multi-location",
            "Symbol local0 is multi-location",
            "Symbol \"thunk_import_2\" is a function at address 0x401050",
            "externref",
            "i32.const 7",
        ],
    );
}

#[test]
fn gdb_finds_values_in_a_process() {
    let image = build("process");
    let text = gdb(
        &image,
        &[
            "run",
            "info args",
            "info locals",
            "echo == second\\n",
            "continue",
            "info locals",
            "echo == callee\\n",
            "continue",
            "info args",
            "backtrace",
            "up",
            "info args",
            "info locals",
            "echo == back\\n",
            "continue",
            "info args",
            "info locals",
            "echo == finish\\n",
            "continue",
            "backtrace",
            "kill",
        ],
    );
    println!("{text}");
    let part = |name: &str| {
        let rest = text.split(&format!("== {name}\n")).nth(1).unwrap_or_default();
        rest.split("\n== ").next().unwrap_or_default().to_owned()
    };
    // The first trap is reported at the second boundary's address, which is
    // where its locations are meant for.
    expect(&text, &["left = 42", "local1 = 1000"]);
    expect(&part("second"), &["local2 = 0", "stack0_i32 = 7"]);
    let callee = part("callee");
    expect(&callee, &["local0 = 7", "#1 ", "math::add<i32>", "left=42", "entry_0 ()"]);
    expect(&callee, &["left = 42", "local1 = 1000", "local2 = 1.5"]);
    expect(&part("back"), &["left = 42", "local1 = 1000", "local2 = <optimized out>"]);
    expect(&part("finish"), &["entry_0 ()"]);
}
