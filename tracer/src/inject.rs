//! The subject's last system calls.
//!
//! After exec the subject has what every process gets: a stack, the vdso, the
//! descriptors left open for it. It is made to give that up and to map its
//! regions, by calls that the tracer has it execute at the image's
//! `syscall; int3`; the last one installs a filter that turns each further call
//! into a SIGSYS stop. Then wdiff looks whether it worked.

use crate::error::TracerError;
use crate::maps::{self, MapEntry};
use crate::region::SharedRegion;
use crate::regs::Regs;
use crate::spawn::{GADGET, Process};
use crate::sys::Waited;
use crate::text::Text;
use nix::errno::Errno;
use std::os::fd::AsRawFd;

/// The filter: one instruction, "answer RET_TRAP whatever the call".
const FILTER: libc::sock_filter = libc::sock_filter {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_TRAP,
};

/// Bytes behind the gadget that hold the arguments of calls taking pointers.
const SCRATCH: usize = 24;

/// Waits for the subject to halt at a trap, dropping signals sent to it.
pub fn await_trap(
    process: &mut Process,
    after: u64,
    expected: &'static str,
) -> Result<Regs, TracerError> {
    loop {
        let waited = process.wait()?;
        if let Waited::Exited(_) | Waited::Killed(_) = waited {
            return Err(TracerError::UnexpectedStop { expected, found: describe(waited, None) });
        }
        let Some(regs) = process.regs()? else {
            continue;
        };
        match waited {
            Waited::Signal(libc::SIGTRAP) if regs.rip() == after => return Ok(regs),
            Waited::Signal(signal) if signal == libc::SIGTRAP || is_fault(signal) => {
                return Err(TracerError::UnexpectedStop {
                    expected,
                    found: describe(waited, Some(&regs)),
                });
            }
            // Somebody else's signal, or the trace of one.
            _ => process.resume()?,
        }
    }
}

/// Whether a signal says that the subject's own code went wrong. Dropping it
/// would only raise it again.
pub fn is_fault(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGSYS)
}

/// A wait result in words.
pub fn describe(waited: Waited, regs: Option<&Regs>) -> String {
    let place = regs.map(|regs| format!(" at {:#x}", regs.rip())).unwrap_or_default();
    match waited {
        Waited::Exited(code) => format!("exit with code {code}"),
        Waited::Killed(signal) => format!("death by signal {signal}"),
        Waited::Signal(signal) => format!("signal {signal}{place}"),
        Waited::Event(event) => format!("ptrace event {event}{place}"),
    }
}

/// Has the subject make system calls.
pub struct Injector<'a> {
    process: &'a mut Process,
    text: &'a Text,
    gadget: u64,
    /// The registers that calls start from.
    regs: Regs,
}

impl<'a> Injector<'a> {
    /// For a subject halted outside any system call.
    pub fn new(process: &'a mut Process, text: &'a Text, gadget: u64, regs: Regs) -> Self {
        Self { process, text, gadget, regs }
    }

    /// Has the subject run the gadget.
    fn start(&mut self, number: i64, arguments: [u64; 6]) -> Result<(), TracerError> {
        self.process.set_regs(&self.regs.calling(self.gadget, number, arguments))?;
        self.process.resume()
    }

    /// One system call; its result.
    fn call(
        &mut self,
        number: i64,
        arguments: [u64; 6],
        what: impl FnOnce() -> String,
        hint: &'static str,
    ) -> Result<u64, TracerError> {
        self.start(number, arguments)?;
        let after = self.gadget + GADGET.len() as u64;
        let result = await_trap(self.process, after, "the end of a system call")?
            .dwarf(0)
            .unwrap_or_default();
        // The kernel's convention: the last page of numbers are errors.
        match result as i64 {
            error @ -4095..=-1 => Err(TracerError::Setup {
                call: what(),
                errno: Errno::from_raw(-error as i32),
                hint,
            }),
            _ => Ok(result),
        }
    }

    /// Takes away what exec gave the subject and gives it its regions.
    pub fn furnish(&mut self, regions: &[SharedRegion]) -> Result<(), TracerError> {
        // First away with the rest: some of it may lie where a region goes.
        for MapEntry { range, name, .. } in self.mappings()? {
            if !self.is_code(&range) {
                let arguments = [range.start, range.end - range.start, 0, 0, 0, 0];
                self.call(
                    libc::SYS_munmap,
                    arguments,
                    || format!("munmap of {name} at {:#x}", range.start),
                    "",
                )?;
            }
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
        for region in regions {
            let (address, length) = (region.address().get(), region.reserve());
            let what =
                || format!("mmap of region `{}`, {length:#x} bytes at {address:#x}", region.name());
            let hint = "EEXIST: it overlaps the code or another region; ENOMEM: see `ulimit -v`";
            let file = region.file().as_raw_fd() as u64;
            let arguments = [address, length, protection as u64, flags as u64, file, 0];
            let mapped = self.call(libc::SYS_mmap, arguments, what, hint)?;
            if mapped != address {
                // A kernel that does not know MAP_FIXED_NOREPLACE.
                return Err(TracerError::Setup { call: what(), errno: Errno::EEXIST, hint });
            }
        }
        let close = || "close_range".to_string();
        let hint = "Linux 5.9 or later is needed";
        self.call(libc::SYS_close_range, [0, u64::from(u32::MAX), 0, 0, 0, 0], close, hint)?;
        self.check_mappings(regions)
    }

    /// Takes away its clock and its system calls.
    pub fn seal(&mut self) -> Result<(), TracerError> {
        let mut prctl = |option: libc::c_int, argument: u64, what: &str| {
            let arguments = [option as u64, argument, 0, 0, 0, 0];
            self.call(libc::SYS_prctl, arguments, || format!("prctl({what})"), "").map(drop)
        };
        prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV as u64, "PR_SET_TSC")?;
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")?;

        // The two calls that take a pointer find their data behind the gadget:
        // written through the alias, and taken back afterwards.
        let scratch = (self.gadget + GADGET.len() as u64).next_multiple_of(8);
        let Some(before) = self.text.loaded_bytes::<SCRATCH>(scratch) else {
            return Err(TracerError::Image(format!(
                "no {SCRATCH} bytes at {scratch:#x}, behind its system call"
            )));
        };
        self.text.write_loaded(scratch, b"wdiff-subject\0");
        let arguments = [libc::PR_SET_NAME as u64, scratch, 0, 0, 0, 0];
        self.call(libc::SYS_prctl, arguments, || "prctl(PR_SET_NAME)".into(), "")?;

        self.text.write_loaded(scratch, &program(scratch));
        let arguments = [u64::from(libc::SECCOMP_SET_MODE_FILTER), 0, scratch, 0, 0, 0];
        let hint = "the kernel needs CONFIG_SECCOMP_FILTER";
        let sealed = self.call(libc::SYS_seccomp, arguments, || "seccomp".into(), hint);
        self.text.write_loaded(scratch, &before);
        sealed?;
        self.check_sealed()
    }

    /// Makes sure that a system call is a SIGSYS stop.
    fn check_sealed(&mut self) -> Result<(), TracerError> {
        self.start(libc::SYS_getpid, [0; 6])?;
        loop {
            match self.process.wait()? {
                Waited::Signal(libc::SIGSYS) => return Ok(()),
                Waited::Signal(signal) if signal != libc::SIGTRAP && !is_fault(signal) => {
                    self.process.resume()?
                }
                Waited::Event(_) => self.process.resume()?,
                found => {
                    let found = describe(found, None);
                    return Err(TracerError::NotTight(format!(
                        "a system call did not halt it, but led to {found}"
                    )));
                }
            }
        }
    }

    fn mappings(&self) -> Result<Vec<MapEntry>, TracerError> {
        maps::mappings(self.process.pid()).map_err(|error| TracerError::Host {
            call: "reading the subject's /proc/PID/maps",
            errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
            hint: "/proc must be mounted",
        })
    }

    fn is_code(&self, range: &std::ops::Range<u64>) -> bool {
        let code = self.text.loaded();
        range.start < code.end && code.start < range.end
    }

    /// Makes sure that the subject has its code and its regions, with the
    /// permissions they should have, and nothing else.
    fn check_mappings(&self, regions: &[SharedRegion]) -> Result<(), TracerError> {
        let mut found = 0;
        for MapEntry { range, permissions, name } in self.mappings()? {
            let region = regions.iter().find(|region| region.address().get() == range.start);
            let expected = match region {
                Some(region) if region.reserve() == range.end - range.start => "rw-s",
                None if self.is_code(&range) => "r-xp",
                _ => "nothing",
            };
            if permissions != expected {
                let what = format!(
                    "it has {permissions} {name} at {:#x}, where {expected} belongs",
                    range.start
                );
                return Err(TracerError::NotTight(what));
            }
            found += usize::from(region.is_some());
        }
        if found != regions.len() {
            return Err(TracerError::NotTight(format!(
                "it has {found} of {} regions",
                regions.len()
            )));
        }
        Ok(())
    }
}

/// What seccomp(2) takes, laid out at an address in the subject: a `sock_fprog`
/// (the number of instructions, and where they are), then the instruction.
fn program(address: u64) -> [u8; SCRATCH] {
    let [code0, code1] = FILTER.code.to_le_bytes();
    let k = u64::from(FILTER.k) << 32
        | u64::from(u32::from_le_bytes([code0, code1, FILTER.jt, FILTER.jf]));
    let mut bytes = [0; SCRATCH];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip([1, address + 16, k]) {
        *to = word.to_le_bytes();
    }
    bytes
}
