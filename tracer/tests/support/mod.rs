//! Small images, put together by hand, and subjects running them.

#![allow(dead_code, reason = "each test program uses a part")]

use dwarf_map::{CodeOffset, SubjectAddr};
use std::ops::Deref;
use std::ops::DerefMut;
use std::time::{Duration, Instant};
use tracer::{RegionId, RegionSpec, Stop, Subject, SubjectConfig};

/// Where images are loaded; the gadgets are there.
pub const LOAD: u64 = 0x40_0000;
/// Where `.text` is.
pub const TEXT: u64 = LOAD + 0x1000;
/// A region of two pages.
pub const DATA: u64 = 0x1000_0000;
pub const DATA_LENGTH: u64 = 0x2000;
/// A linear memory: one Wasm page, room for all of them.
pub const MEMORY: u64 = 0x2_0000_0000;
pub const MEMORY_LENGTH: u64 = 0x1_0000;
pub const MEMORY_RESERVE: u64 = (4 << 30) + (32 << 20);

/// Programs, 64 bytes apart in `.text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Program {
    /// `1: int3; add qword [rdi], 1; dec ecx; jnz 1b; int3`
    Loop,
    /// `jmp self`
    Spin,
    /// `mov rax, [rdi]; int3`
    Load,
    /// `mov [rdi], rsi; int3`
    Store,
    /// `xor ecx, ecx; idiv ecx; int3`
    Divide,
    /// `ud2`
    Undefined,
    /// `mov eax, 39; syscall; int3`
    Syscall,
    /// `mov eax, 20; int 0x80; int3`
    Int80,
    /// `mov eax, 20; sysenter; int3`
    Sysenter,
    /// `mov rax, 0xffffffffff600000; call rax; int3`
    Vsyscall,
    /// `rdtsc; int3`
    Clock,
    /// `movq xmm0, rdi; pinsrq xmm0, rsi, 1; movq xmm15, rsi; int3`
    Vectors,
    /// `int 3` in two bytes; `int3`
    LongTrap,
    /// `int1; int3`
    Int1,
    /// `popf; nop; int3`
    PopFlags,
    /// `nop; nop; int3; nop; mov rax, [rdi]; int3`
    Steps,
    /// `xchg rax, rdx; ... ` every register into the memory at rdi, then `int3`
    Registers,
    /// `jmp rax`
    Jump,
    /// What is executed displaced: `add [rdi], rsi; cmp rsi, 5; jl +3; mov rdx, rdi; lea rax, [rip]; call +1; int3;
    /// ret`
    Plain,
    /// `call rax; call [rdi]; push rax; call [rsp]; int3; ret`
    Calls,
    /// `int3; int3; nop (11 bytes); xchg ax, ax; int3; add qword [rdi], 1; int3; nop; ud2`
    Quiet,
    /// Room for copies.
    Copies,
}

/// Bytes of each program, in order.
const CODE: [&[u8]; 22] = [
    b"\xcc\x48\x83\x07\x01\xff\xc9\x75\xf7\xcc",
    b"\xeb\xfe",
    b"\x48\x8b\x07\xcc",
    b"\x48\x89\x37\xcc",
    b"\x31\xc9\xf7\xf9\xcc",
    b"\x0f\x0b",
    b"\xb8\x27\x00\x00\x00\x0f\x05\xcc",
    b"\xb8\x14\x00\x00\x00\xcd\x80\xcc",
    b"\xb8\x14\x00\x00\x00\x0f\x34\xcc",
    b"\x48\xc7\xc0\x00\x00\x60\xff\xff\xd0\xcc",
    b"\x0f\x31\xcc",
    b"\x66\x48\x0f\x6e\xc7\x66\x48\x0f\x3a\x22\xc6\x01\x66\x4c\x0f\x6e\xfe\xcc",
    b"\xcd\x03\xcc",
    b"\xf1\xcc",
    b"\x9d\x90\xcc",
    b"\x90\x90\xcc\x90\x48\x8b\x07\xcc",
    // add each of rax, rdx, rcx, rbx, rsi, rbp, rsp, r8-r15 to [rdi], then int3.
    b"\x48\x01\x07\x48\x01\x17\x48\x01\x0f\x48\x01\x1f\x48\x01\x37\x48\x01\x2f\x48\x01\x27\x4c\x01\x07\x4c\x01\x0f\
      \x4c\x01\x17\x4c\x01\x1f\x4c\x01\x27\x4c\x01\x2f\x4c\x01\x37\x4c\x01\x3f\xcc",
    b"\xff\xe0",
    b"\x48\x01\x37\x48\x83\xfe\x05\x7c\x03\x48\x89\xfa\x48\x8d\x05\x00\x00\x00\x00\xe8\x01\x00\x00\x00\xcc\xc3",
    b"\xff\xd0\xff\x17\x50\xff\x14\x24\xcc\xc3",
    b"\xcc\xcc\x66\x66\x66\x0f\x1f\x84\x00\x00\x00\x00\x00\x66\x90\xcc\x48\x83\x07\x01\xcc\x0f\x1f\x00\x0f\x0b",
    b"",
];

/// Bytes between programs.
const SLOT: u32 = 64;

impl Program {
    pub fn offset(self) -> CodeOffset {
        CodeOffset::new(self as u32 * SLOT)
    }

    /// The address of a byte of it.
    pub fn at(self, byte: u32) -> SubjectAddr {
        CodeOffset::new(self as u32 * SLOT + byte).at(SubjectAddr::new(TEXT))
    }
}

/// Bytes of `.text`: the last program has room for many copies.
pub const TEXT_SIZE: u64 = CODE.len() as u64 * SLOT as u64 + 1024;

/// An executable of one segment, R-X: the gadget page, then the programs.
pub fn image() -> Vec<u8> {
    let mut file = vec![0; 0x2000];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let size = 0x1000 + TEXT_SIZE;
    // ELF-64 header, then one program header.
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes()); // ET_EXEC
    put(18, &62u16.to_le_bytes()); // EM_X86_64
    put(20, &1u32.to_le_bytes());
    put(24, &LOAD.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(58, &64u16.to_le_bytes());
    put(64, &1u32.to_le_bytes()); // PT_LOAD
    put(68, &5u32.to_le_bytes()); // R-X
    for (at, value) in
        [(72, 0x1000), (80, LOAD), (88, LOAD), (96, size), (104, size), (112, 0x1000)]
    {
        put(at, &u64::to_le_bytes(value));
    }
    put(0x1000, b"\xcc");
    put(0x1010, b"\x0f\x05\xcc");
    for code in CODE {
        assert!(code.len() <= SLOT as usize);
        file.extend_from_slice(code);
        file.resize(file.len().next_multiple_of(SLOT as usize), 0xf4);
    }
    file.resize(0x2000 + TEXT_SIZE as usize, 0xcc);
    file
}

pub fn config(image: &[u8]) -> SubjectConfig<'_> {
    let region = |name: &str, address, reserve, length| RegionSpec {
        name: name.into(),
        address: SubjectAddr::new(address),
        reserve,
        length,
    };
    SubjectConfig {
        image,
        start: SubjectAddr::new(LOAD),
        syscall_gadget: SubjectAddr::new(LOAD + 0x10),
        text: SubjectAddr::new(TEXT),
        text_file_offset: 0x2000,
        text_size: TEXT_SIZE,
        regions: vec![
            region("data", DATA, DATA_LENGTH, DATA_LENGTH),
            region("memory", MEMORY, MEMORY_RESERVE, MEMORY_LENGTH),
        ],
        cpu: None,
    }
}

/// A subject running the programs.
pub struct Bare {
    subject: Subject,
    pub data: RegionId,
    pub memory: RegionId,
}

impl Bare {
    pub fn spawn() -> Self {
        let subject = Subject::spawn(config(&image())).unwrap_or_else(|error| panic!("{error}"));
        let mut ids = subject.region_ids();
        let (data, memory) = (ids.next().unwrap(), ids.next().unwrap());
        Self { subject, data, memory }
    }

    /// Points it at a program, with rdi and rsi set.
    pub fn enter(&mut self, program: Program, rdi: u64, rsi: u64) {
        let mut regs = *self.regs();
        regs.set_rip(program.at(0).get());
        regs.set_dwarf(5, rdi);
        regs.set_dwarf(4, rsi);
        self.set_regs(&regs);
    }

    /// Runs a program to its first stop.
    pub fn run(&mut self, program: Program, rdi: u64, rsi: u64) -> Stop {
        self.enter(program, rdi, rsi);
        self.resume().unwrap()
    }
}

impl Deref for Bare {
    type Target = Subject;
    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl DerefMut for Bare {
    fn deref_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }
}

/// Whether a process exists, dead ones not waited for included.
pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits for something to become true.
pub fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
