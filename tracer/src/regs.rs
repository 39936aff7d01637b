//! A subject's registers, by the numbers DWARF gives them.
//!
//! Numbers are those of the System V x86-64 psABI, figure 3.36: 0-15 are rax,
//! rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8-r15; 16 is the return address column,
//! here the program counter; 17-32 are xmm0-15.

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
}

impl Regs {
    pub(crate) fn new(raw: user_regs_struct) -> Self {
        Self { raw }
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
        Self { raw }
    }

    /// The register with a DWARF number from 0 to 16; `None` for others.
    #[inline]
    pub fn dwarf(&self, number: u16) -> Option<u64> {
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

    /// The sixteen general registers, by DWARF number.
    #[inline]
    pub fn general(&self) -> [u64; 16] {
        let raw = &self.raw;
        [
            raw.rax, raw.rdx, raw.rcx, raw.rbx, raw.rsi, raw.rdi, raw.rbp, raw.rsp, raw.r8, raw.r9,
            raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15,
        ]
    }

    /// Sets the register with a DWARF number from 0 to 16; answers whether
    /// there is one.
    #[inline]
    pub fn set_dwarf(&mut self, number: u16, value: u64) -> bool {
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

    /// The program counter. After an `int3` it is already past it.
    #[inline]
    pub fn rip(&self) -> u64 {
        self.raw.rip
    }

    /// The stack pointer.
    #[inline]
    pub fn rsp(&self) -> u64 {
        self.raw.rsp
    }

    /// The flags.
    #[inline]
    pub fn rflags(&self) -> u64 {
        self.raw.eflags
    }

    /// Sets the program counter.
    pub fn set_rip(&mut self, value: u64) {
        self.raw.rip = value;
    }

    /// Sets the stack pointer.
    pub fn set_rsp(&mut self, value: u64) {
        self.raw.rsp = value;
    }

    /// Sets the flags; the kernel ignores those that are not a program's own.
    pub fn set_rflags(&mut self, value: u64) {
        self.raw.eflags = value;
    }
}

/// The vector registers at a stop, as FXSAVE gives them: xmm0-15 whole.
#[derive(Clone, Copy, Debug)]
pub struct VectorRegs {
    raw: user_fpregs_struct,
}

impl VectorRegs {
    pub(crate) fn new(raw: user_fpregs_struct) -> Self {
        Self { raw }
    }

    /// xmm0 to xmm15; `None` for other numbers.
    #[inline]
    pub fn xmm(&self, number: u16) -> Option<u128> {
        let lanes = self.raw.xmm_space.as_chunks::<4>().0.get(usize::from(number))?;
        Some(lanes.iter().rev().fold(0, |whole, lane| whole << 32 | u128::from(*lane)))
    }

    /// The low 64 bits of xmm0 to xmm15; 0 for other numbers.
    #[inline]
    pub fn low(&self, number: u8) -> u64 {
        let at = usize::from(number) * 4;
        match self.raw.xmm_space.get(at..at + 2) {
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

    /// The control and status word: rounding mode, masks, exception flags.
    pub fn mxcsr(&self) -> u32 {
        self.raw.mxcsr
    }
}
