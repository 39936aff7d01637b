//! The image: an ELF executable with code, map and the module it came from.
//!
//! ```text
//!   0x400000  ELF header and program headers
//!   0x401000  gadget page: trap .. system call; trap  one segment,
//!   0x402000  .text                                   readable and executable
//!   (unloaded) .wasm_map  .wasm  .debug_*  .symtab  .strtab
//! ```
//! Map and `.debug_*` may be stored compressed, but for the call frame information.
//! Nothing else is in it: no data, no interpreter, no runtime. The subject is
//! born at `_start`, a trap instruction; everything from there on its kernel,
//! the tracer, makes it do.

use crate::compressed::{compressed, content};
use crate::error::{CompileError, ImageError};
use crate::listing::Listing;
use dwarf_map::{CodeOffset, ImageMap, Isa, SubjectAddr, section};
use object::elf;
use object::read::elf::ElfFile64;
use object::write::StringId;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, SectionIndex, Sym, Writer};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Where the file's first byte is loaded.
const LOAD_ADDRESS: u64 = 0x40_0000;
const PAGE: u64 = 0x1000;
/// The gadget page.
const GADGET_PAGE: u64 = LOAD_ADDRESS + PAGE;
/// Code starts on the page after the gadgets.
const TEXT: u64 = GADGET_PAGE + PAGE;

/// Where the subject starts: a trap instruction.
const START: SubjectAddr = SubjectAddr::new(GADGET_PAGE);
/// A system call and a trap instruction, with which the tracer makes the subject's system calls.
const SYSCALL: SubjectAddr = SubjectAddr::new(GADGET_PAGE + GADGET_OFFSET);
const GADGET_OFFSET: u64 = 16;

/// The instruction that makes a system call.
const fn system_call(isa: Isa) -> &'static [u8] {
    match isa {
        Isa::X86_64 => &[0x0f, 0x05],
        // svc #0
        Isa::Aarch64 => &[0x01, 0x00, 0x00, 0xd4],
        // ecall
        Isa::Riscv64 => &[0x73, 0x00, 0x00, 0x00],
        // svc 0
        Isa::S390x => &[0x0a, 0x00],
    }
}

const fn machine(isa: Isa) -> u16 {
    match isa {
        Isa::X86_64 => elf::EM_X86_64,
        Isa::Aarch64 => elf::EM_AARCH64,
        Isa::Riscv64 => elf::EM_RISCV,
        Isa::S390x => elf::EM_S390,
    }
}

const TEXT_SECTION: &str = ".text";
const MAP_SECTION: &str = ".wasm_map";
const WASM_SECTION: &str = ".wasm";
/// Symbol of the function that instantiates the module.
const INSTANTIATE_SYMBOL: &str = "instantiate";
/// Call frame information, in every image: the unwinder needs it.
pub(crate) const FRAME_SECTION: &str = ".debug_frame";

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Image {
    /// The executable file.
    pub elf: Vec<u8>,
    /// From Wasm to native code.
    pub map: ImageMap,
    /// The code, traps in place.
    pub text: Vec<u8>,
    /// Where the code is loaded.
    pub text_address: SubjectAddr,
    /// Where the subject starts: at a trap instruction.
    pub start: SubjectAddr,
    /// A system call's instruction followed by a trap instruction.
    pub syscall: SubjectAddr,
    /// The program as text; made when first looked at.
    pub listing: Listing,
    /// Call frame information: the content of `.debug_frame`.
    pub frames: Vec<u8>,
    /// The module.
    pub wasm: Arc<[u8]>,
    /// The code that instantiates the module, a function of type [] -> [], by the
    /// symbol `instantiate`; none in a file without that symbol. Where images were
    /// [combined](crate::combine()) each [`Part`](crate::Part) has its own.
    pub instantiate: Option<Range<CodeOffset>>,
}

/// Where text is loaded, known before it exists.
pub(crate) const fn text_address() -> SubjectAddr {
    SubjectAddr::new(TEXT)
}

/// A name for a range of text.
pub(crate) struct Label {
    pub name: String,
    pub start: SubjectAddr,
    pub size: u64,
}

impl Label {
    /// Names some code.
    pub fn of(name: String, code: &Range<CodeOffset>) -> Label {
        let start = code.start.at(text_address());
        // Symbol names end at a NUL.
        let name = name.replace('\0', "\u{fffd}");
        Label { name, start, size: u64::from(code.end.get() - code.start.get()) }
    }
}

impl Image {
    /// Puts the parts together. `sections` are unloaded ones with their ELF
    /// names, the call frame information among them; with `compress` they are stored
    /// compressed but for that, which is small.
    pub(crate) fn build(
        map: ImageMap,
        text: Vec<u8>,
        mut labels: Vec<Label>,
        instantiate: Option<Range<CodeOffset>>,
        sections: &[(&'static str, Vec<u8>)],
        compress: bool,
        wasm: &[u8],
    ) -> Result<Image, CompileError> {
        labels.extend(instantiate.as_ref().map(|code| Label::of(INSTANTIATE_SYMBOL.into(), code)));
        let wasm: Arc<[u8]> = wasm.into();
        let encoded = section::write(&map);
        let mut contents: Vec<Unloaded> =
            vec![Unloaded::new(MAP_SECTION, &encoded), Unloaded::new(WASM_SECTION, &wasm)];
        contents.extend(sections.iter().map(|(name, bytes)| Unloaded::new(name, bytes)));
        if compress {
            let as_they_are = [WASM_SECTION, FRAME_SECTION];
            for section in contents.iter_mut().filter(|each| !as_they_are.contains(&each.name)) {
                section.compress(endian(map.isa()));
            }
        }
        let elf = write_elf(map.isa(), &text, &labels, &contents).map_err(CompileError::bug)?;
        let frames = sections.iter().find(|(name, _)| *name == FRAME_SECTION);
        let frames = frames.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        Ok(Image {
            elf,
            map,
            text,
            text_address: text_address(),
            start: START,
            syscall: SYSCALL,
            listing: Listing::new(Arc::clone(&wasm)),
            frames,
            wasm,
            instantiate,
        })
    }

    /// Reads an image back from its file. The bytes may be anyone's.
    pub fn from_elf(bytes: &[u8]) -> Result<Image, ImageError> {
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let is_for = file.elf_header().e_machine.get(file.endian());
        let isa = Isa::ALL.into_iter().find(|isa| machine(*isa) == is_for);
        let isa = isa.filter(|isa| isa.is_big_endian() == (file.endian() == Endianness::Big));
        let isa = isa.ok_or(ImageError::NotAnImage(
            "it is for none of x86_64, aarch64, riscv64 and s390x",
        ))?;
        if file.elf_header().e_type.get(file.endian()) != elf::ET_EXEC {
            return Err(ImageError::NotAnImage("it is no static executable"));
        }
        if file.entry() != START.get() {
            return Err(ImageError::NotAnImage("it starts elsewhere"));
        }
        let find =
            |name: &'static str| file.section_by_name(name).ok_or(ImageError::MissingSection(name));
        let text = find(TEXT_SECTION)?;
        if text.address() != TEXT {
            return Err(ImageError::NotAnImage("its code lies elsewhere"));
        }
        if gadgets(&file, isa) != Some(()) {
            return Err(ImageError::NotAnImage("its gadget page is not ours"));
        }
        let wasm: Arc<[u8]> = content(&find(WASM_SECTION)?)?.into();
        let map = section::read(&content(&find(MAP_SECTION)?)?)?;
        if map.producer.target != isa {
            return Err(ImageError::NotAnImage("its map is for another instruction set"));
        }
        Ok(Image {
            elf: bytes.to_vec(),
            map,
            text: text.data()?.to_vec(),
            text_address: text_address(),
            start: START,
            syscall: SYSCALL,
            listing: Listing::new(Arc::clone(&wasm)),
            frames: content(&find(FRAME_SECTION)?)?.into_owned(),
            wasm,
            instantiate: instantiate(&file)?,
        })
    }

    /// The content of each section of the file, by name.
    ///
    /// # Errors
    /// A file that is no ELF file; a section that is compressed and not read.
    pub fn sections(&self) -> Result<BTreeMap<String, Vec<u8>>, ImageError> {
        let file = ElfFile64::<Endianness>::parse(&*self.elf)?;
        let mut all = BTreeMap::new();
        for section in file.sections() {
            if let Ok(name) = section.name() {
                all.insert(name.to_owned(), content(&section)?.into_owned());
            }
        }
        Ok(all)
    }
}

/// In which order an instruction set has a number's bytes.
fn endian(isa: Isa) -> Endianness {
    if isa.is_big_endian() { Endianness::Big } else { Endianness::Little }
}

/// A section that is not loaded.
struct Unloaded<'a> {
    name: &'static str,
    stored: Cow<'a, [u8]>,
    is_compressed: bool,
}

impl<'a> Unloaded<'a> {
    fn new(name: &'static str, bytes: &'a [u8]) -> Self {
        Unloaded { name, stored: Cow::Borrowed(bytes), is_compressed: false }
    }

    /// Stores it compressed, if that is shorter.
    fn compress(&mut self, endian: Endianness) {
        if let Some(stored) = compressed(&self.stored, endian) {
            (self.stored, self.is_compressed) = (Cow::Owned(stored), true);
        }
    }
}

/// Where the function is that instantiates the module, by its symbol.
fn instantiate(file: &ElfFile64<'_, Endianness>) -> Result<Option<Range<CodeOffset>>, ImageError> {
    let Some(symbol) = file.symbol_by_name(INSTANTIATE_SYMBOL) else { return Ok(None) };
    let start = SubjectAddr::new(symbol.address()).since(SubjectAddr::new(TEXT));
    let start = start.and_then(|start| u32::try_from(start).ok());
    let end = start.zip(u32::try_from(symbol.size()).ok());
    let end = end.and_then(|(start, size)| start.checked_add(size));
    match (start, end) {
        (Some(start), Some(end)) => Ok(Some(CodeOffset::new(start)..CodeOffset::new(end))),
        _ => Err(ImageError::NotAnImage("its symbol `instantiate` names no code")),
    }
}

/// Whether the gadgets are where they belong.
fn gadgets(file: &ElfFile64<'_, Endianness>, isa: Isa) -> Option<()> {
    let section = file.section_by_name(".gadget")?;
    let code = section.data().ok()?;
    let at = usize::try_from(GADGET_OFFSET).ok()?;
    let as_written = section.address() == GADGET_PAGE
        && code.starts_with(isa.trap())
        && code.get(at..)?.starts_with(&gadget(isa));
    as_written.then_some(())
}

/// The gadget page's code.
fn gadget_code(isa: Isa) -> Vec<u8> {
    let mut code: Vec<u8> = isa.filler(GADGET_OFFSET as usize).collect();
    code.extend(gadget(isa));
    code
}

/// A system call, and the trap that ends it.
fn gadget(isa: Isa) -> Vec<u8> {
    [system_call(isa), isa.trap()].concat()
}

/// One section to write: name, where it is in the file and in memory.
struct Placed<'a> {
    name: StringId,
    file_offset: usize,
    address: u64,
    bytes: &'a [u8],
    flags: u32,
}

fn write_elf(
    isa: Isa,
    text: &[u8],
    labels: &[Label],
    sections: &[Unloaded],
) -> object::write::Result<Vec<u8>> {
    let page = PAGE as usize;
    let size = gadget(isa).len() as u64;
    let gadget = gadget_code(isa);
    let mut buffer = Vec::new();
    let mut writer = Writer::new(endian(isa), true, &mut buffer);

    // Sections: null, gadget, text, the unloaded ones, then the tables.
    writer.reserve_null_section_index();
    let mut names =
        vec![writer.add_section_name(b".gadget"), writer.add_section_name(TEXT_SECTION.as_bytes())];
    names.extend(sections.iter().map(|each| writer.add_section_name(each.name.as_bytes())));
    let indices: Vec<SectionIndex> = names.iter().map(|_| writer.reserve_section_index()).collect();
    let [gadget_index, text_index] = [indices[0], indices[1]];
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();

    let mut symbols = vec![
        (writer.add_string(b"_start"), gadget_index, START.get(), 1),
        (writer.add_string(b"gadget"), gadget_index, SYSCALL.get(), size),
    ];
    for label in labels {
        let name = writer.add_string(label.name.as_bytes());
        symbols.push((name, text_index, label.start.get(), label.size));
    }
    writer.reserve_null_symbol_index();
    for (_, section, ..) in &symbols {
        writer.reserve_symbol_index(Some(*section));
    }

    // Layout of the file; what is loaded has the same layout in memory.
    writer.reserve_file_header();
    writer.reserve_program_headers(1);
    let code = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
    let loaded = [(&gadget[..], GADGET_PAGE, code), (text, TEXT, code)];
    let unloaded = sections
        .iter()
        .map(|each| (&*each.stored, 0, if each.is_compressed { elf::SHF_COMPRESSED } else { 0 }));
    let mut placed = Vec::new();
    for (name, (bytes, address, flags)) in names.into_iter().zip(loaded.into_iter().chain(unloaded))
    {
        let alignment = if address == 0 { 8 } else { page };
        let file_offset = writer.reserve(bytes.len(), alignment);
        placed.push(Placed { name, file_offset, address, bytes, flags });
    }
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: machine(isa),
        e_entry: START.get(),
        // LP64D.
        e_flags: if isa == Isa::Riscv64 { elf::EF_RISCV_FLOAT_ABI_DOUBLE } else { 0 },
    })?;
    writer.write_align_program_headers();
    let loaded_size = TEXT - LOAD_ADDRESS + text.len() as u64;
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R | elf::PF_X,
        p_offset: 0,
        p_vaddr: LOAD_ADDRESS,
        p_paddr: LOAD_ADDRESS,
        p_filesz: loaded_size,
        p_memsz: loaded_size,
        p_align: PAGE,
    });
    for section in &placed {
        writer.pad_until(section.file_offset);
        writer.write(section.bytes);
    }
    writer.write_null_symbol();
    for (name, section, value, size) in symbols {
        writer.write_symbol(&Sym {
            name: Some(name),
            section: Some(section),
            st_info: elf::STB_GLOBAL << 4 | elf::STT_FUNC,
            st_other: elf::STV_DEFAULT,
            st_shndx: 0,
            st_value: value,
            st_size: size,
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    for section in &placed {
        let is_loaded = section.address != 0;
        writer.write_section_header(&SectionHeader {
            name: Some(section.name),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: u64::from(section.flags),
            sh_addr: section.address,
            sh_offset: section.file_offset as u64,
            sh_size: section.bytes.len() as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: if is_loaded { PAGE } else { 8 },
            sh_entsize: 0,
        });
    }
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(buffer)
}
