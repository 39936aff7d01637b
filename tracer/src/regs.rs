//! A subject's registers, by the numbers DWARF gives them.
//!
//! Of a native subject numbers are those of the System V x86-64 psABI, figure
//! 3.36, of others those of [`dwarf_map::Isa`]. Here 0-15 are rax,
//! rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8-r15; 16 is the return address column,
//! here the program counter; 17-32 are xmm0-15.

use dwarf_map::{DwarfReg, Isa};
use libc::{user_fpregs_struct, user_regs_struct};

/// What `orig_rax` is outside system calls. With anything else there the
/// kernel, on resumption, might take the stop for one in a system call and
/// move rip back to restart it.
const NO_SYSTEM_CALL: u64 = u64::MAX;

/// rflags of a fresh process: interrupts on, and the bit that is always one.
const FRESH_FLAGS: u64 = 0x202;

/// General registers, program counter and flags at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regs {
    raw: user_regs_struct,
    foreign: Option<Foreign>,
}

/// Registers of another instruction set than this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub isa: Isa,
    /// By DWARF number.
    pub general: [u64; Isa::MOST_GENERAL],
    pub pc: u64,
}

impl Regs {
    pub(crate) fn new(raw: user_regs_struct) -> Self {
        Self { raw, foreign: None }
    }

    /// Of an emulated subject.
    pub(crate) fn of_foreign(foreign: Foreign) -> Self {
        Self { foreign: Some(foreign), ..Self::new(NOTHING) }
    }

    /// Those of an emulated subject.
    pub(crate) fn foreign(&self) -> Option<&Foreign> {
        self.foreign.as_ref()
    }

    /// As the kernel wants them set, the stop counting as one outside any
    /// system call.
    pub(crate) fn to_kernel(self) -> user_regs_struct {
        user_regs_struct { orig_rax: NO_SYSTEM_CALL, ..self.raw }
    }

    /// Whether resuming the subject with these as they are is safe.
    #[inline]
    pub(crate) fn outside_system_call(&self) -> bool {
        self.raw.orig_rax == NO_SYSTEM_CALL
    }

    /// The system call that was asked for at a stop that is about one.
    pub(crate) fn system_call(&self) -> i64 {
        self.raw.orig_rax as i64
    }

    /// Segments as they are, everything else as in a fresh process.
    pub(crate) fn cleared(&self, rip: u64) -> Self {
        let mut fresh = *self;
        for register in 0..16 {
            fresh.set_dwarf(register, 0);
        }
        fresh.raw.rip = rip;
        fresh.raw.eflags = FRESH_FLAGS;
        fresh.raw.orig_rax = NO_SYSTEM_CALL;
        fresh
    }

    /// Sets up a system call at a gadget.
    pub(crate) fn calling(&self, gadget: u64, number: i64, arguments: [u64; 6]) -> Self {
        let mut raw = self.raw;
        raw.rip = gadget;
        raw.rax = number as u64;
        raw.orig_rax = NO_SYSTEM_CALL;
        [raw.rdi, raw.rsi, raw.rdx, raw.r10, raw.r8, raw.r9] = arguments;
        Self { raw, ..*self }
    }

    /// The general register with a DWARF number, on x86-64 16 for the program
    /// counter; `None` for others.
    #[inline]
    pub fn dwarf(&self, number: u16) -> Option<u64> {
        if let Some(foreign) = &self.foreign {
            return foreign.general.get(usize::from(number)).copied();
        }
        let raw = &self.raw;
        Some(match number {
            0 => raw.rax,
            1 => raw.rdx,
            2 => raw.rcx,
            3 => raw.rbx,
            4 => raw.rsi,
            5 => raw.rdi,
            6 => raw.rbp,
            7 => raw.rsp,
            8 => raw.r8,
            9 => raw.r9,
            10 => raw.r10,
            11 => raw.r11,
            12 => raw.r12,
            13 => raw.r13,
            14 => raw.r14,
            15 => raw.r15,
            16 => raw.rip,
            _ => return None,
        })
    }

    /// The general registers, by DWARF number; 0 where there is none.
    #[inline]
    pub fn general(&self) -> [u64; Isa::MOST_GENERAL] {
        if let Some(foreign) = &self.foreign {
            return foreign.general;
        }
        let raw = &self.raw;
        [
            raw.rax, raw.rdx, raw.rcx, raw.rbx, raw.rsi, raw.rdi, raw.rbp, raw.rsp, raw.r8, raw.r9,
            raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0,
        ]
    }

    /// Sets the register that [`dwarf`](Regs::dwarf) reads; answers whether there
    /// is one.
    #[inline]
    pub fn set_dwarf(&mut self, number: u16, value: u64) -> bool {
        if let Some(foreign) = &mut self.foreign {
            let exists = foreign.isa.general_registers().contains(&number);
            if let Some(register) = foreign.general.get_mut(usize::from(number)).filter(|_| exists)
            {
                *register = value;
            }
            return exists;
        }
        let raw = &mut self.raw;
        let register = match number {
            0 => &mut raw.rax,
            1 => &mut raw.rdx,
            2 => &mut raw.rcx,
            3 => &mut raw.rbx,
            4 => &mut raw.rsi,
            5 => &mut raw.rdi,
            6 => &mut raw.rbp,
            7 => &mut raw.rsp,
            8 => &mut raw.r8,
            9 => &mut raw.r9,
            10 => &mut raw.r10,
            11 => &mut raw.r11,
            12 => &mut raw.r12,
            13 => &mut raw.r13,
            14 => &mut raw.r14,
            15 => &mut raw.r15,
            16 => &mut raw.rip,
            _ => return false,
        };
        *register = value;
        true
    }

    /// The program counter. After a trap instruction it is already past it.
    #[inline]
    pub fn rip(&self) -> u64 {
        self.foreign.map_or(self.raw.rip, |foreign| foreign.pc)
    }

    /// The stack pointer.
    #[inline]
    pub fn rsp(&self) -> u64 {
        match &self.foreign {
            Some(foreign) => {
                let DwarfReg(number) = foreign.isa.stack_pointer();
                foreign.general[usize::from(number)]
            }
            None => self.raw.rsp,
        }
    }

    /// The flags; 0 of an emulated subject.
    #[inline]
    pub fn rflags(&self) -> u64 {
        self.raw.eflags
    }

    /// Sets the program counter.
    pub fn set_rip(&mut self, value: u64) {
        match &mut self.foreign {
            Some(foreign) => foreign.pc = value,
            None => self.raw.rip = value,
        }
    }

    /// Sets the stack pointer.
    pub fn set_rsp(&mut self, value: u64) {
        match &mut self.foreign {
            Some(foreign) => {
                let DwarfReg(number) = foreign.isa.stack_pointer();
                foreign.general[usize::from(number)] = value;
            }
            None => self.raw.rsp = value,
        }
    }

    /// Sets the flags; the kernel ignores those that are not a program's own.
    pub fn set_rflags(&mut self, value: u64) {
        self.raw.eflags = value;
    }
}

/// Registers that the native subject's form has no use for.
const NOTHING: user_regs_struct = user_regs_struct {
    r15: 0,
    r14: 0,
    r13: 0,
    r12: 0,
    rbp: 0,
    rbx: 0,
    r11: 0,
    r10: 0,
    r9: 0,
    r8: 0,
    rax: 0,
    rcx: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    orig_rax: NO_SYSTEM_CALL,
    rip: 0,
    cs: 0,
    eflags: 0,
    rsp: 0,
    ss: 0,
    fs_base: 0,
    gs_base: 0,
    ds: 0,
    es: 0,
    fs: 0,
    gs: 0,
};

/// The vector registers at a stop: of a native subject as FXSAVE gives them,
/// xmm0-15 whole; of an emulated one those that were asked for.
#[derive(Clone, Copy, Debug)]
pub struct VectorRegs {
    content: VectorContent,
}

#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them, and a box would be made at each stop"
)]
enum VectorContent {
    Native(user_fpregs_struct),
    Foreign(ForeignVectors),
}

/// Vector registers of another instruction set than this machine's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForeignVectors {
    pub isa: Isa,
    /// By [`Isa::vector_register`], zero-extended. On s390x a whole register, whose
    /// leftmost bytes are the float.
    pub registers: [u128; 64],
    /// A bit for each that was fetched.
    pub known: u64,
}

impl VectorRegs {
    pub(crate) fn new(raw: user_fpregs_struct) -> Self {
        Self { content: VectorContent::Native(raw) }
    }

    /// Of an emulated subject.
    pub(crate) fn of_foreign(foreign: ForeignVectors) -> Self {
        Self { content: VectorContent::Foreign(foreign) }
    }

    /// Whether all of these registers are among them, a bit for each.
    pub(crate) fn have(&self, wanted: u64) -> bool {
        match &self.content {
            VectorContent::Native(_) => true,
            VectorContent::Foreign(foreign) => wanted & !foreign.known == 0,
        }
    }

    /// The float of 4 or 8 bytes that a register holds, zero-extended; `None` for
    /// registers that there are not or that were not asked for.
    #[inline]
    pub fn float(&self, number: u8, bytes: u32) -> Option<u64> {
        match &self.content {
            VectorContent::Native(_) if number < 16 => Some(self.low(number)),
            VectorContent::Native(_) => None,
            VectorContent::Foreign(foreign) => {
                let whole = self.xmm(u16::from(number))?;
                Some(match (foreign.isa, bytes) {
                    (Isa::S390x, 4) => (whole >> 96) as u64,
                    (Isa::S390x, _) => (whole >> 64) as u64,
                    _ => whole as u64,
                })
            }
        }
    }

    /// A whole register, xmm0 to xmm15 on x86-64; `None` for other numbers.
    #[inline]
    pub fn xmm(&self, number: u16) -> Option<u128> {
        let raw = match &self.content {
            VectorContent::Native(raw) => raw,
            VectorContent::Foreign(foreign) => {
                let known = number < 64 && foreign.known >> number & 1 == 1;
                return known.then(|| foreign.registers[usize::from(number)]);
            }
        };
        let lanes = raw.xmm_space.as_chunks::<4>().0.get(usize::from(number))?;
        Some(lanes.iter().rev().fold(0, |whole, lane| whole << 32 | u128::from(*lane)))
    }

    /// The low 64 bits of xmm0 to xmm15; 0 for other numbers.
    #[inline]
    pub fn low(&self, number: u8) -> u64 {
        let VectorContent::Native(raw) = &self.content else { return 0 };
        let at = usize::from(number) * 4;
        match raw.xmm_space.get(at..at + 2) {
            Some([low, high]) => u64::from(*high) << 32 | u64::from(*low),
            _ => 0,
        }
    }

    /// The register with a DWARF number from 17 to 32; `None` for others.
    #[inline]
    pub fn dwarf(&self, number: u16) -> Option<u128> {
        self.xmm(number.checked_sub(17)?)
    }

    /// The low 64 bits of a register with a DWARF number from 17 to 32.
    #[inline]
    pub fn dwarf_low(&self, number: u16) -> Option<u64> {
        self.dwarf(number).map(|whole| whole as u64)
    }

    /// The control and status word of x86-64: rounding mode, masks, exception flags.
    pub fn mxcsr(&self) -> u32 {
        match &self.content {
            VectorContent::Native(raw) => raw.mxcsr,
            VectorContent::Foreign(_) => 0,
        }
    }
}
