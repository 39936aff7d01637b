//! An ELF core of the subject at a boundary, for a debugger beside the image.
//!
//! The program counter in the core is that of the boundary's own trap
//! instruction: there the map's location lists hold and the line is that of
//! the Wasm instruction about to execute. Memory is what the process has
//! mapped besides the image: instance data, the live part of the native stack,
//! the linear memories and the tables, whole. Pages of zeroes are holes in the
//! file, so that a debugger reads them as the zeroes they are and the disk does
//! not hold them.
//!
//! Format: ELF gABI, program headers PT_NOTE and PT_LOAD; notes NT_PRSTATUS
//! and NT_FPREGSET as the Linux kernel writes them on x86-64
//! (`struct elf_prstatus`, `struct user_i387_struct`).

use crate::compile::listing_path;
use crate::error::CommandError;
use crate::lockstep::space::Space;
use crate::lockstep::stops::parse_boundary;
use aot_backend::Image;
use dwarf_map::SubjectAddr;
use oracle_interp::Module;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tracer::{SharedRegion, Subject};
use wasm_view::{FuncIdx, TableIdx, WasmOffset};

/// A core to be written.
#[derive(Clone, Debug)]
pub struct CoreRequest {
    /// The boundary.
    pub at: (FuncIdx, WasmOffset),
    /// Which of its executions, from 1.
    pub occurrence: u64,
    path: PathBuf,
}

/// Bytes of a page, and of the pieces that memory is written in.
const PAGE: u64 = 4096;

/// Part of a region that goes into the core.
struct Segment<'a> {
    region: &'a SharedRegion,
    from: u64,
    size: u64,
}

impl CoreRequest {
    /// A core at the `occurrence`th execution, from 1, of a boundary.
    pub fn new(path: PathBuf, at: (FuncIdx, WasmOffset), occurrence: u64) -> Self {
        CoreRequest { at, occurrence, path }
    }

    /// Reads `--core` and `--at`.
    ///
    /// # Errors
    /// A boundary that is not there.
    pub fn parse(
        path: &Path,
        at: &str,
        module: &Module,
        image: &Image,
    ) -> Result<Self, CommandError> {
        let (boundary, occurrence) = match at.rsplit_once('#') {
            // A leading `#` is a function's index.
            Some((boundary, number)) if !boundary.is_empty() && !number.contains(':') => {
                let number: u64 = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    CommandError::input(format_args!("--at {at}: `#` wants a count from 1"))
                })?;
                (boundary, number)
            }
            _ => (at, 1),
        };
        let at = parse_boundary(boundary, module, &image.map)?;
        Ok(CoreRequest::new(path.to_owned(), at, occurrence))
    }

    /// Writes the image and its listing beside the core, for the debugger.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write_image(&self, image: &Image) -> Result<(), CommandError> {
        let path = image_path(&self.path);
        write(&path, &image.elf)?;
        write(&listing_path(&path), image.listing.text().as_bytes())
    }

    /// Where the listing will be, for the image's line table.
    pub fn listing_path(core: &Path) -> PathBuf {
        listing_path(&image_path(core))
    }

    /// Writes the core of a subject that is halted at `pc`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(
        &self,
        subject: &mut Subject,
        space: &Space,
        pc: SubjectAddr,
    ) -> Result<(), CommandError> {
        let notes = notes(subject, pc)?;
        let top = space.stack_offset(SubjectAddr::new(subject.regs().rsp())).unwrap_or(0);
        let mut segments = vec![
            Segment::of(subject.region(space.data), 0, u64::MAX),
            Segment::of(subject.region(space.stack), top & !(PAGE - 1), u64::MAX),
        ];
        for id in &space.memories {
            segments.push(Segment::of(subject.region(*id), 0, u64::MAX));
        }
        for (index, id) in space.tables.iter().enumerate() {
            let elements = space.table_size(subject, TableIdx::from_index(index))?;
            segments.push(Segment::of(subject.region(*id), 0, elements.saturating_mul(8)));
        }
        segments.retain(|segment| segment.size > 0);
        write_core(&self.path, &notes, &segments)
            .map_err(|e| CommandError::file("write", &self.path, e))
    }
}

impl<'a> Segment<'a> {
    /// From an offset in a region up to another, or to the region's end.
    fn of(region: &'a SharedRegion, from: u64, to: u64) -> Self {
        Segment { region, from, size: region.len().min(to).saturating_sub(from) }
    }
    fn address(&self) -> u64 {
        self.region.address().get() + self.from
    }
}

/// Where the image goes that a core belongs to.
fn image_path(core: &Path) -> PathBuf {
    let mut name = core.as_os_str().to_owned();
    name.push(".image");
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, bytes).map_err(|e| CommandError::file("write", path, e))
}

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
/// `pr_reg` in `struct elf_prstatus`.
const REGISTERS_AT: usize = 112;
const PRSTATUS_SIZE: usize = 336;
/// The user code segment of x86-64 Linux, and the stack segment.
const CS: u64 = 0x33;
const SS: u64 = 0x2b;
/// DWARF numbers in the order of `struct user_regs_struct`, up to rdi.
const ORDER: [u16; 15] = [15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5];
const SIGTRAP: u16 = 5;
/// The x87 control word of a new process.
const X87_CONTROL: u16 = 0x37f;

fn notes(subject: &mut Subject, pc: SubjectAddr) -> Result<Vec<u8>, CommandError> {
    let regs = *subject.regs();
    let mut status = vec![0; PRSTATUS_SIZE];
    status[12..14].copy_from_slice(&SIGTRAP.to_le_bytes());
    status[32..36].copy_from_slice(&subject.pid().to_le_bytes());
    let mut words: Vec<u64> = ORDER.iter().map(|n| regs.dwarf(*n).unwrap_or_default()).collect();
    words.extend([u64::MAX, pc.get(), CS, regs.rflags(), regs.rsp(), SS, 0, 0, 0, 0, 0, 0]);
    for (index, word) in words.iter().enumerate() {
        let at = REGISTERS_AT + index * 8;
        status[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let vectors = subject.vectors().map_err(CommandError::host)?;
    let mut floats = vec![0; 512];
    // The AOT code never touches the x87 unit: its control word is as exec left it.
    floats[..2].copy_from_slice(&X87_CONTROL.to_le_bytes());
    floats[24..28].copy_from_slice(&vectors.mxcsr().to_le_bytes());
    for number in 0..16 {
        let at = 160 + usize::from(number) * 16;
        let xmm = vectors.xmm(number).unwrap_or_default();
        floats[at..at + 16].copy_from_slice(&xmm.to_le_bytes());
    }
    let mut notes = Vec::new();
    for (kind, payload) in [(NT_PRSTATUS, &status), (NT_FPREGSET, &floats)] {
        for word in [5, payload.len() as u32, kind] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(b"CORE\0\0\0\0");
        notes.extend(payload);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
    Ok(notes)
}

const EHDR: u64 = 64;
const PHDR: u64 = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const READ_WRITE: u32 = 6;

fn write_core(path: &Path, notes: &[u8], segments: &[Segment<'_>]) -> io::Result<()> {
    let (head, mut at) = head(notes, segments);
    let mut file = File::create(path)?;
    file.write_all(&head)?;
    let mut page = Vec::new();
    for segment in segments {
        for begin in (0..segment.size).step_by(PAGE as usize) {
            page.resize(PAGE.min(segment.size - begin) as usize, 0);
            segment.region.read(segment.from + begin, &mut page).map_err(io::Error::other)?;
            if page.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(at + begin))?;
                file.write_all(&page)?;
            }
        }
        at = (at + segment.size).next_multiple_of(PAGE);
    }
    file.set_len(at)
}

/// Everything before the first segment, and where that begins.
fn head(notes: &[u8], segments: &[Segment<'_>]) -> (Vec<u8>, u64) {
    let headers = 1 + segments.len() as u64;
    let notes_at = EHDR + headers * PHDR;
    let mut out = Vec::new();
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [4u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for word in [0, EHDR, 0u64] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [EHDR as u16, PHDR as u16, headers as u16, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let mut header = |kind: u32, flags: u32, offset: u64, address: u64, size: u64, align: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        let mapped = if kind == PT_LOAD { size } else { 0 };
        for word in [offset, address, 0, size, mapped, align] {
            out.extend(word.to_le_bytes());
        }
    };
    header(PT_NOTE, 4, notes_at, 0, notes.len() as u64, 4);
    let first = (notes_at + notes.len() as u64).next_multiple_of(PAGE);
    let mut at = first;
    for segment in segments {
        header(PT_LOAD, READ_WRITE, at, segment.address(), segment.size, PAGE);
        at = (at + segment.size).next_multiple_of(PAGE);
    }
    out.extend(notes);
    (out, first)
}
