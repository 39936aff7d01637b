//! A subject at work: from stop to stop.
//!
//! Between two stops three system calls are made where nothing was changed:
//! CONT, wait, GETREGS. Everything else is fetched when it is asked for.
//!
//! Signals that somebody else sends the subject (SIGTERM, SIGSTOP, SIGWINCH,
//! a forged SIGSEGV) mean nothing to it and are dropped without a stop: it
//! neither dies nor pauses of them. SIGKILL alone ends it, and is reported.

use crate::displace;
use crate::error::TracerError;
use crate::interrupt::{EMULATOR_SIGNAL, INTERRUPT_SIGNAL, Interrupter};
use crate::pin::Pin;
use crate::region::{RegionId, SharedRegion};
use crate::regs::{Regs, VectorRegs};
use crate::remote::{self, Emulated, Patient, Remote, RemoteStop, signals};
use crate::spawn::{self, Process, Spawned, SubjectConfig};
use crate::sys::{self, Waited};
use crate::text::{INT3, Text};
use dwarf_map::{CodeOffset, Isa, SubjectAddr};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::ptrace::regset::NT_PRFPREG;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A subject that is emulated.
#[derive(Debug)]
struct Engine {
    isa: Isa,
    remote: RefCell<Remote>,
    /// All vector registers, where some were fetched before.
    vectors: OnceCell<VectorRegs>,
    /// Where there are breakpoints.
    breaks: HashSet<u64>,
    _patient: Patient,
}

/// What halted the subject, or ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It executed an `int3`, and its program counter is past it.
    Trap {
        /// The `int3`.
        pc: SubjectAddr,
    },
    /// An instruction faulted; resuming executes it again.
    Fault {
        /// The signal it raised.
        signal: FaultSignal,
        /// The instruction.
        pc: SubjectAddr,
        /// The data address it could not access, where the hardware says one:
        /// not for non-canonical or misaligned addresses.
        address: Option<SubjectAddr>,
        /// The signal's code, sigaction(2): `SEGV_MAPERR` and so on.
        code: i32,
    },
    /// It asked for a system call, which was not executed; resuming goes on
    /// behind it.
    Syscall {
        /// The call's number, in the numbering of the instruction used.
        number: i64,
        /// The instruction.
        pc: SubjectAddr,
    },
    /// An [`Interrupter`] was used.
    Interrupted,
    /// One instruction was executed, by [`Subject::step`].
    Stepped,
    /// It ended by itself, which the sandbox leaves it no way to do.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it: SIGKILL, from outside.
    Killed {
        /// The signal's number.
        signal: i32,
    },
}

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultSignal {
    /// An access where nothing is mapped or that the mapping forbids, a
    /// privileged instruction, a read of the time stamp counter.
    Segv,
    /// An access to a region beyond its length; a misaligned one with
    /// alignment checks on.
    Bus,
    /// No instruction of this CPU, or `ud2`.
    Ill,
    /// Integer division by zero or overflow; unmasked floating-point errors.
    Fpe,
    /// A trap that is no one-byte `int3`: `int1`, `int 3` in two bytes, or a
    /// single step that the subject turned on itself. The program counter is
    /// past the instruction.
    Trap,
}

/// With this in rflags each instruction is a stop.
const TRAP_FLAG: u64 = 1 << 8;

/// Bytes of the longest instruction.
const LONGEST: u64 = 15;

/// How the subject is to move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Motion {
    Run,
    Step,
}

/// A process running AOT code, halted whenever it is not inside
/// [`resume`](Subject::resume) or [`step`](Subject::step).
///
/// It belongs to the thread that made it, and is killed and waited for on drop.
/// Should wdiff or that thread die in any way, the kernel kills it.
#[derive(Debug)]
pub struct Subject {
    // In this order: first the process dies, then its memory goes, then the
    // thread is free to move.
    process: Process,
    /// Where the process is an emulator.
    engine: Option<Engine>,
    regions: Vec<SharedRegion>,
    text: Text,
    regs: Regs,
    /// `regs` differ from what the subject has.
    changed: bool,
    /// The last stop was at a trap.
    halted: bool,
    vectors: OnceCell<VectorRegs>,
    /// A step ended in a system call's stop, so the kernel has yet to report
    /// the step itself, at the next resumption and before any instruction.
    report_due: bool,
    /// Instructions under a trap, with the address of their copy.
    planted: HashMap<u64, u64>,
    /// The other way round.
    copies: BTreeMap<u64, u64>,
    /// The region that an address was found in last.
    recent: Cell<u32>,
    pin: Pin,
}

impl Subject {
    /// Makes a subject and halts it at the image's start, its registers zero
    /// but for rip. Its stack pointer too: there is no stack but in a region.
    ///
    /// Every further call that runs it is to be made by this thread, which
    /// stays on one CPU with it until the last of its subjects is dropped.
    pub fn spawn(config: SubjectConfig<'_>) -> Result<Self, TracerError> {
        let Spawned { process, regions, text, regs, pin } = spawn::spawn(&config)?;
        let (vectors, recent) = (OnceCell::new(), Cell::new(0));
        Ok(Self {
            process,
            engine: None,
            regions,
            text,
            regs,
            changed: false,
            halted: false,
            vectors,
            report_due: false,
            planted: HashMap::new(),
            copies: BTreeMap::new(),
            recent,
            pin,
        })
    }

    /// Makes a subject of another instruction set, which qemu's user mode emulates,
    /// and halts it at the image's start, its registers zero but for the program
    /// counter. The image's traps and its gadget are that instruction set's.
    ///
    /// It has no sandbox: a system call that it makes is executed. It cannot be
    /// stepped, its code not be changed, and of a fault no address is known.
    ///
    /// # Errors
    /// An emulator that is not installed, or does not do as asked.
    pub fn emulate(config: SubjectConfig<'_>, isa: Isa) -> Result<Self, TracerError> {
        let Emulated { process, remote, regions, text, regs, patient, pin } =
            remote::start(&config, isa)?;
        let engine = Engine {
            isa,
            remote: RefCell::new(remote),
            vectors: OnceCell::new(),
            breaks: HashSet::new(),
            _patient: patient,
        };
        Ok(Self {
            process,
            engine: Some(engine),
            regions,
            text,
            regs,
            changed: true,
            halted: false,
            vectors: OnceCell::new(),
            report_due: false,
            planted: HashMap::new(),
            copies: BTreeMap::new(),
            recent: Cell::new(0),
            pin,
        })
    }

    /// Lets it run to its next stop.
    pub fn resume(&mut self) -> Result<Stop, TracerError> {
        self.go(Motion::Run)
    }

    /// Lets it execute one instruction: [`Stop::Stepped`], or what that
    /// instruction led to. An `int3` is [`Stop::Trap`]. A step costs between
    /// one and a half and fifteen times what a stop at an `int3` does, by host.
    ///
    /// While it is stepped, flags that the subject itself pushes may show the
    /// trap flag set.
    pub fn step(&mut self) -> Result<Stop, TracerError> {
        self.go(Motion::Step)
    }

    fn go(&mut self, motion: Motion) -> Result<Stop, TracerError> {
        if self.process.ended() {
            return Err(TracerError::Ended);
        }
        if self.engine.is_some() {
            return self.go_emulated(motion);
        }
        let trap = self.regs.rip().wrapping_sub(1);
        if self.halted
            && let Some(copy) = self.planted.get(&trap)
        {
            self.regs.set_rip(*copy);
            self.changed = true;
        }
        if motion == Motion::Run
            && let Some(stop) = self.trap_ahead(Isa::X86_64)
        {
            return Ok(stop);
        }
        if self.changed {
            self.process.set_regs(&self.regs)?;
            self.changed = false;
        }
        self.vectors = OnceCell::new();
        loop {
            self.set_off(motion)?;
            if let Some(stop) = self.await_stop(motion)? {
                return Ok(stop);
            }
        }
    }

    /// The stop at the trap that is the very next instruction, but for instructions
    /// that do nothing: whoever executes that comes to the stop with all as it is, so
    /// the subject need not. Where a compiler folds instructions into one there are as
    /// many traps side by side, and where it keeps room for a poll there are NOPs.
    fn trap_ahead(&mut self, isa: Isa) -> Option<Stop> {
        if self.regs.rflags() & TRAP_FLAG != 0 {
            return None;
        }
        let (mut pc, trap) = (self.regs.rip(), isa.trap());
        let is_trap = match isa {
            Isa::X86_64 => loop {
                match self.text.loaded_bytes(pc)? {
                    [INT3] => break true,
                    [0x66 | 0x90 | 0x0f] => pc = pc.wrapping_add(self.nothing_at(pc)?),
                    _ => break false,
                }
            },
            _ => self.text.loaded_slice(pc, trap.len()).is_some_and(|bytes| bytes == trap),
        };
        if !is_trap {
            return None;
        }
        self.regs.set_rip(pc.wrapping_add(trap.len() as u64));
        (self.changed, self.halted) = (true, true);
        Some(Stop::Trap { pc: SubjectAddr::new(pc) })
    }

    /// Bytes of the instruction at an address, if it does nothing.
    fn nothing_at(&self, pc: u64) -> Option<u64> {
        let bytes = self.text.loaded_bytes::<{ LONGEST as usize }>(pc)?;
        // Anything else that begins so is decoded in vain.
        if bytes[0] == 0x0f && bytes[1] != 0x1f {
            return None;
        }
        let instruction = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
        (instruction.mnemonic() == Mnemonic::Nop).then_some(instruction.len() as u64)
    }

    fn go_emulated(&mut self, motion: Motion) -> Result<Stop, TracerError> {
        if motion == Motion::Step {
            return Err(TracerError::NotEmulated("stepped"));
        }
        let breaks = |engine: &Engine| engine.breaks.contains(&self.regs.rip());
        let plain = self.engine.as_ref().filter(|engine| !breaks(engine));
        if let Some(isa) = plain.map(|engine| engine.isa)
            && let Some(stop) = self.trap_ahead(isa)
        {
            return Ok(stop);
        }
        let Some(engine) = &mut self.engine else { return Err(TracerError::Ended) };
        let (isa, remote, text) = (engine.isa, engine.remote.get_mut(), &self.text);
        let is_trap = |address| {
            let bytes = text.loaded_slice(address, isa.trap().len());
            bytes.is_some_and(|bytes| bytes == isa.trap())
        };
        engine.vectors = OnceCell::new();
        self.vectors = OnceCell::new();
        if std::mem::take(&mut self.changed) {
            remote.set_registers(&self.regs)?;
        }
        loop {
            let (signal, mut regs) = match remote.resume(self.regs.rip())? {
                RemoteStop::Signal(signal, regs) => (signal, regs),
                RemoteStop::Gone => {
                    remote.failed_assertion()?;
                    self.process.kill();
                    return Ok(Stop::Killed { signal: libc::SIGKILL });
                }
            };
            let reported = regs.rip();
            let trap = reported.wrapping_sub(u64::from(isa.trap_reported_at()));
            let stop = match signal {
                signals::TRAP if engine.breaks.contains(&reported) => {
                    regs.set_rip(reported.wrapping_add(isa.trap().len() as u64));
                    Some(Stop::Trap { pc: SubjectAddr::new(reported) })
                }
                signals::TRAP | signals::ILL if is_trap(trap) => {
                    regs.set_rip(trap.wrapping_add(isa.trap().len() as u64));
                    Some(Stop::Trap { pc: SubjectAddr::new(trap) })
                }
                signals::USR1 => Some(Stop::Interrupted),
                signals::TRAP => Some(fault(FaultSignal::Trap, reported)),
                signals::SEGV => Some(fault(FaultSignal::Segv, reported)),
                signals::BUS => Some(fault(FaultSignal::Bus, reported)),
                // On s390x these are reported behind the instruction.
                signals::ILL | signals::FPE => {
                    let pc = reported.wrapping_sub(u64::from(isa == Isa::S390x));
                    let ill = signal == signals::ILL;
                    Some(fault(if ill { FaultSignal::Ill } else { FaultSignal::Fpe }, pc))
                }
                // Of somebody else's: dropped.
                _ => None,
            };
            if matches!(stop, Some(Stop::Fault { .. })) {
                remote.failed_assertion()?;
            }
            self.regs = regs;
            if let Some(stop) = stop {
                return Ok(stop);
            }
        }
    }

    fn set_off(&self, motion: Motion) -> Result<(), TracerError> {
        match motion {
            Motion::Run => self.process.resume(),
            Motion::Step => match ptrace::step(self.process.pid(), None) {
                // Killed meanwhile: the wait will tell.
                Ok(()) | Err(Errno::ESRCH) => Ok(()),
                Err(errno) => Err(TracerError::Host { call: "PTRACE_SINGLESTEP", errno, hint: "" }),
            },
        }
    }

    /// Waits for the next event; `None` when it concerns nobody.
    fn await_stop(&mut self, motion: Motion) -> Result<Option<Stop>, TracerError> {
        let signal = match self.process.wait()? {
            Waited::Exited(code) => return Ok(Some(Stop::Exited { code })),
            Waited::Killed(signal) => return Ok(Some(Stop::Killed { signal })),
            // The traces of SIGSTOP and SIGCONT.
            Waited::Event(_) => return Ok(None),
            Waited::Signal(signal) => signal,
        };
        let Some(regs) = self.process.regs()? else {
            // Killed while halted: the next wait will tell.
            return Ok(None);
        };
        let pc = SubjectAddr::new(regs.rip());
        let stop = match signal {
            libc::SIGTRAP => {
                let report_due =
                    std::mem::take(&mut self.report_due) && regs.rip() == self.regs.rip();
                let trap = pc.offset(-1);
                let at_trap = self.text.loaded_bytes(trap.get()) == Some([INT3]);
                // Only a step needs the signal's code to tell: what else halts
                // a running subject behind an int3 is that int3.
                if at_trap && motion == Motion::Run {
                    Some(Stop::Trap { pc: trap })
                } else {
                    match self.signal_info()? {
                        Some((libc::SI_KERNEL, _)) if at_trap => Some(Stop::Trap { pc: trap }),
                        Some((libc::TRAP_TRACE, _)) if motion == Motion::Step => {
                            Some(Stop::Stepped)
                        }
                        Some((libc::TRAP_BRKPT, _)) if report_due => None,
                        Some((code, _)) => {
                            Some(Stop::Fault { signal: FaultSignal::Trap, pc, address: None, code })
                        }
                        None => None,
                    }
                }
            }
            INTERRUPT_SIGNAL => Some(Stop::Interrupted),
            libc::SIGSEGV => self.fault(FaultSignal::Segv, pc)?,
            libc::SIGBUS => self.fault(FaultSignal::Bus, pc)?,
            libc::SIGILL => self.fault(FaultSignal::Ill, pc)?,
            libc::SIGFPE => self.fault(FaultSignal::Fpe, pc)?,
            libc::SIGSYS => self.signal_info()?.map(|_| {
                self.report_due = motion == Motion::Step;
                // The program counter is past the instruction, unless that was
                // one that does not come back to where it was.
                let before = pc.offset(-2);
                let bytes = self.text.loaded_bytes(before.get());
                let here = matches!(bytes, Some([0x0f, 0x05 | 0x34] | [0xcd, 0x80]));
                Stop::Syscall { number: regs.system_call(), pc: if here { before } else { pc } }
            }),
            _ => None,
        };
        if stop.is_some() {
            self.halted = matches!(stop, Some(Stop::Trap { .. }));
            self.changed = !regs.outside_system_call();
            self.regs = regs;
        }
        Ok(stop)
    }

    /// What a signal is about; `None` for one that somebody sent, or when the
    /// subject has been killed meanwhile.
    fn signal_info(&self) -> Result<Option<(i32, u64)>, TracerError> {
        match sys::signal_info(self.process.pid()) {
            // The codes of signals that the kernel raises are positive.
            Ok((code, _)) if code <= 0 => Ok(None),
            Ok(info) => Ok(Some(info)),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(TracerError::Host { call: "PTRACE_GETSIGINFO", errno, hint: "" }),
        }
    }

    fn fault(&self, signal: FaultSignal, pc: SubjectAddr) -> Result<Option<Stop>, TracerError> {
        let pc = self.original(pc).unwrap_or(pc);
        Ok(self.signal_info()?.map(|(code, address)| {
            let data = match signal {
                // General protection and stack faults: no address is known.
                FaultSignal::Segv | FaultSignal::Bus if code == libc::SI_KERNEL => false,
                FaultSignal::Bus => code != libc::BUS_ADRALN,
                FaultSignal::Segv => true,
                FaultSignal::Ill | FaultSignal::Fpe | FaultSignal::Trap => false,
            };
            Stop::Fault { signal, pc, address: data.then(|| SubjectAddr::new(address)), code }
        }))
    }

    /// Puts a trap over an instruction. Resumed from there, the subject executes
    /// a copy of the instruction at `place` and goes on as if it had executed the
    /// original. A fault of the copy is reported as the original's.
    ///
    /// # Errors
    /// What is no instruction, or cannot be executed elsewhere; places outside
    /// of the text.
    pub fn plant(&mut self, pc: CodeOffset, place: CodeOffset) -> Result<(), TracerError> {
        if self.engine.is_some() {
            return Err(TracerError::NotEmulated("patched"));
        }
        let start = self.text.address();
        let [original, copy] = [pc, place].map(|offset| offset.at(start).get());
        let rest = self.text.size().saturating_sub(u64::from(pc.get()));
        let bytes = self.text.read_code(pc, rest.min(LONGEST) as usize)?;
        let code = displace::copy(&bytes, original, copy)
            .map_err(|problem| TracerError::Plant { pc: pc.at(start), problem })?;
        self.text.write_code(place, &code)?;
        self.text.write_code(pc, &[INT3])?;
        self.planted.insert(original, copy);
        self.copies.insert(copy, original);
        Ok(())
    }

    /// Puts a trap where the code has what stands for a silent one
    /// ([`Isa::silent_trap`]), or silences it again. In an emulated subject that is a
    /// breakpoint of the emulator's, which code that was translated heeds too.
    ///
    /// # Errors
    /// A place outside of the text; an emulator that is gone.
    pub fn set_trap(&mut self, pc: CodeOffset, halts: bool) -> Result<(), TracerError> {
        let engine = match &mut self.engine {
            Some(engine) if remote::has_breakpoints(engine.isa) => engine,
            other => {
                let isa = other.as_ref().map_or(Isa::X86_64, |engine| engine.isa);
                let code = if halts { isa.trap() } else { isa.silent_trap() };
                return Ok(self.text.write_code(pc, code)?);
            }
        };
        let address = pc.at(self.text.address()).get();
        let known =
            if halts { engine.breaks.insert(address) } else { engine.breaks.remove(&address) };
        if known {
            engine.remote.get_mut().set_breakpoint(address, halts)?;
        }
        Ok(())
    }

    /// The instruction that a copy is of, if the address lies in one.
    fn original(&self, pc: SubjectAddr) -> Option<SubjectAddr> {
        let (copy, original) = self.copies.range(..=pc.get()).next_back()?;
        (pc.get() - copy < displace::COPY_BYTES as u64).then(|| SubjectAddr::new(*original))
    }

    /// The registers, as fetched at the last stop or set since.
    #[inline]
    pub fn regs(&self) -> &Regs {
        &self.regs
    }

    /// Sets the registers; the subject gets them when it is next resumed.
    pub fn set_regs(&mut self, regs: &Regs) {
        self.changed |= self.regs != *regs;
        self.regs = *regs;
    }

    /// Whether it is emulated, so that there is no sandbox around it.
    pub fn is_emulated(&self) -> bool {
        self.engine.is_some()
    }

    /// The vector registers, fetched at the first call after a stop.
    pub fn vectors(&self) -> Result<&VectorRegs, TracerError> {
        self.vectors_among(u64::MAX)
    }

    /// These vector registers, a bit for each, and perhaps others; fetched when
    /// first asked for after a stop.
    pub fn vectors_among(&self, wanted: u64) -> Result<&VectorRegs, TracerError> {
        if let Some(engine) = &self.engine {
            if self.process.ended() {
                return Err(TracerError::Ended);
            }
            let enough = |vectors: &&VectorRegs| vectors.have(wanted);
            let known = engine.vectors.get().or(self.vectors.get()).filter(enough);
            if let Some(vectors) = known {
                return Ok(vectors);
            }
            let first = self.vectors.get().is_none();
            let (place, wanted) =
                if first { (&self.vectors, wanted) } else { (&engine.vectors, u64::MAX) };
            let vectors = engine.remote.borrow_mut().vectors(wanted)?;
            return Ok(place.get_or_init(|| VectorRegs::of_foreign(vectors)));
        }
        if let Some(vectors) = self.vectors.get() {
            return Ok(vectors);
        }
        if self.process.ended() {
            return Err(TracerError::Ended);
        }
        let raw =
            ptrace::getregset::<NT_PRFPREG>(self.process.pid()).map_err(|errno| match errno {
                Errno::ESRCH => TracerError::Ended,
                errno => TracerError::Host { call: "PTRACE_GETREGSET", errno, hint: "" },
            })?;
        Ok(self.vectors.get_or_init(|| VectorRegs::new(raw)))
    }

    /// Its regions, in the order they were asked for.
    pub fn region_ids(&self) -> impl Iterator<Item = RegionId> + use<> {
        (0..self.regions.len() as u32).map(RegionId)
    }

    /// One of its regions.
    ///
    /// # Panics
    /// If the id is another subject's, and this one has fewer regions.
    #[inline]
    pub fn region(&self, id: RegionId) -> &SharedRegion {
        &self.regions[id.index()]
    }

    /// The region whose reservation holds `len` bytes at an address, and the
    /// address's offset in it. They may lie beyond the region's length.
    #[inline]
    pub fn find_region(&self, address: SubjectAddr, len: u64) -> Option<(RegionId, u64)> {
        let recent = self.recent.get();
        if let Some(offset) =
            self.regions.get(recent as usize).and_then(|region| region.offset_of(address, len))
        {
            return Some((RegionId(recent), offset));
        }
        let found =
            self.region_ids().find_map(|id| Some((id, self.region(id).offset_of(address, len)?)));
        if let Some((id, _)) = found {
            self.recent.set(id.0);
        }
        found
    }

    /// Reads eight bytes, little-endian, at an address; `None` where the
    /// subject has no accessible memory.
    #[inline]
    pub fn read_u64(&self, address: SubjectAddr) -> Option<u64> {
        let (id, offset) = self.find_region(address, 8)?;
        self.region(id).read_u64(offset).ok()
    }

    /// Lets the subject access more of a region; the new bytes are zero.
    ///
    /// # Panics
    /// As [`region`](Subject::region).
    pub fn resize(&mut self, id: RegionId, length: u64) -> Result<(), TracerError> {
        let region = &mut self.regions[id.index()];
        region.resize(length)?;
        if let Some(engine) = &mut self.engine {
            engine.remote.get_mut().widen(id.index(), region)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Its code.
    #[inline]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// What halts it from another thread.
    pub fn interrupter(&self) -> Interrupter {
        let signal = if self.engine.is_some() { EMULATOR_SIGNAL } else { INTERRUPT_SIGNAL };
        Interrupter::new(self.process.descriptor().clone(), signal)
    }

    /// Its process's number.
    pub fn pid(&self) -> u32 {
        self.process.pid().as_raw().unsigned_abs()
    }

    /// The CPU it runs on.
    pub fn cpu(&self) -> usize {
        self.pin.cpu()
    }

    /// Ends it. Its registers and memory can still be read.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// A fault of emulated code, of which no address is known.
fn fault(signal: FaultSignal, pc: u64) -> Stop {
    Stop::Fault { signal, pc: SubjectAddr::new(pc), address: None, code: 0 }
}
