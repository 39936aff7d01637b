//! The code of an image as a program that runs by itself, for a debugger.
//!
//! A debugger can only be timed on the same code if that code needs no tracer.
//! So: the same `.text` at the same addresses, every boundary's trap a NOP, and
//! a `_start` that does what wdiff's kernel does otherwise. It maps the regions
//! where the subject has them, copies their first contents there, calls the
//! function, compares the result and exits, with 0 if it is the expected one.
//!
//! ```text
//!   0x401000  _start            one segment, readable and executable;
//!   0x402000  .text             no symbols, no debugging information: what is
//!   behind    first contents    not there costs a debugger no time
//! ```

use aot_backend::Image;
use dwarf_map::{Anchor, FunctionMap};
use tracer::{SharedRegion, Subject};

const PAGE: u64 = 4096;
/// Where `_start` lies: the page below the code.
const START: u64 = 0x40_1000;
const NOP: u8 = 0x90;

const PROT_READ_WRITE: u32 = 3;
/// MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE
const MAP: u32 = 0x4032;
const SYS_MMAP: u32 = 9;
const SYS_EXIT: u32 = 60;

/// General registers by their number in instructions.
#[derive(Clone, Copy)]
enum Reg {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rsp = 4,
    Rsi = 6,
    Rdi = 7,
}

/// The machine code of `_start`, in the making.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    /// `mov reg, value`
    fn set(&mut self, reg: Reg, value: u64) -> &mut Self {
        self.0.extend([0x48, 0xb8 + reg as u8]);
        self.bytes(&value.to_le_bytes())
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
    /// `syscall`
    fn system_call(&mut self, number: u32) -> &mut Self {
        self.set(Reg::Rax, number.into()).bytes(&[0x0f, 0x05])
    }
    /// A private mapping at a fixed address.
    fn map(&mut self, address: u64, length: u64) -> &mut Self {
        self.set(Reg::Rdi, address).set(Reg::Rsi, length).set(Reg::Rdx, PROT_READ_WRITE.into());
        // mov r10d, MAP; mov r8, -1; xor r9d, r9d
        self.bytes(&[0x41, 0xba]).bytes(&MAP.to_le_bytes());
        self.bytes(&[0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9]);
        self.system_call(SYS_MMAP)
    }
    /// `rep movsb`
    fn copy(&mut self, from: u64, to: u64, length: u64) -> &mut Self {
        self.set(Reg::Rsi, from).set(Reg::Rdi, to).set(Reg::Rcx, length).bytes(&[0xf3, 0xa4])
    }
}

/// What to call, and what must come of it.
pub struct Call<'a> {
    /// The function, of type i32 -> f64.
    pub function: &'a FunctionMap,
    /// Its argument.
    pub argument: u32,
    /// Bits of the f64 that it returns.
    pub expected: u64,
    /// The instance data's address.
    pub instance: u64,
    /// One past the native stack.
    pub stack_top: u64,
}

/// Makes the executable from an image and a subject that has just been born.
pub fn elf(image: &Image, subject: &Subject, call: &Call<'_>) -> Vec<u8> {
    let mut text = image.text.clone();
    for function in &image.map.functions {
        for boundary in &function.boundaries {
            if let Anchor::Trap(pc) = boundary.anchor {
                text[pc.get() as usize] = NOP;
            }
        }
    }
    let text_address = image.text_address.get();
    let mut contents = Vec::new();
    let behind = (text_address + text.len() as u64).next_multiple_of(PAGE);
    let mut code = Code::default();
    for id in subject.region_ids() {
        let region = subject.region(id);
        let address = region.address().get();
        code.map(address, region.len().max(1).next_multiple_of(PAGE));
        for (offset, bytes) in pages(region) {
            let from = behind + contents.len() as u64;
            code.copy(from, address + offset, bytes.len() as u64);
            contents.extend(bytes);
        }
    }
    code.set(Reg::Rsp, call.stack_top - 16)
        .set(Reg::Rdi, call.instance)
        .set(Reg::Rsi, call.argument.into())
        .set(Reg::Rax, call.function.code.start.at(image.text_address).get())
        // call rax; movq rax, xmm0
        .bytes(&[0xff, 0xd0, 0x66, 0x48, 0x0f, 0x7e, 0xc0])
        .set(Reg::Rcx, call.expected)
        // xor edi, edi; cmp rax, rcx; setne dil
        .bytes(&[0x31, 0xff, 0x48, 0x39, 0xc8, 0x40, 0x0f, 0x95, 0xc7])
        .system_call(SYS_EXIT);
    assert!(code.0.len() as u64 <= text_address - START, "_start outgrew its room");

    let mut file = header(behind + contents.len() as u64 - START);
    file.resize(PAGE as usize, 0);
    file.extend(code.0);
    file.resize((PAGE + text_address - START) as usize, 0);
    file.extend(text);
    file.resize((PAGE + behind - START) as usize, 0);
    file.extend(contents);
    file
}

/// The pages of a region that hold anything.
fn pages(region: &SharedRegion) -> Vec<(u64, Vec<u8>)> {
    (0..region.len())
        .step_by(PAGE as usize)
        .filter_map(|offset| {
            let mut page = vec![0; PAGE.min(region.len() - offset) as usize];
            region.read(offset, &mut page).expect("a page of the region");
            page.iter().any(|byte| *byte != 0).then_some((offset, page))
        })
        .collect()
}

/// ELF header and the header of the one segment.
fn header(size: u64) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_X86_64, EV_CURRENT
    out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [START, 64, 0u64] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    // PT_LOAD, PF_R | PF_X
    out.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [PAGE, START, START, size, size, PAGE] {
        out.extend(word.to_le_bytes());
    }
    out
}
