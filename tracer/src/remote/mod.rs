//! Subjects of another instruction set: run by qemu, halted through gdb's remote
//! protocol.
//!
//! ```text
//!         wdiff                          qemu-aarch64 -g SOCKET image
//!   .----------------.   c, g, G, p     .------------------------------.
//!   | Remote         |--- socket ------>| stub                         |
//!   |                |<-- T05, ... -----|  emulated code, stops at its |
//!   | SharedRegion rw|- - region file - | traps                        |
//!   '----------------'                  '------------------------------'
//! ```
//! The image is the same bare executable as elsewhere; qemu opens it through a
//! descriptor, and inherits those of the regions. The code's own system call is
//! made to map them ([`windows`]). From then on memory is shared as with a native
//! subject, and only registers go through the socket.
//!
//! What is not here: qemu executes system calls for the code, so there is no
//! sandbox; the stub does not tell the address of a fault; and code that was
//! translated is not looked at again, so that nothing is patched but before it runs:
//! what is to halt later is a breakpoint of the stub's, but for s390x. Each stop throws away all
//! that was translated, so that few stops are worth a lot. qemu is killed with the
//! thread that made it.

mod packet;
mod registers;
mod windows;

use crate::error::TracerError;
use crate::pin::Pin;
use crate::region::SharedRegion;
use crate::regs::{Foreign, ForeignVectors, Regs};
use crate::spawn::{Process, SubjectConfig};
use crate::sys;
use crate::text::Text;
use dwarf_map::Isa;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;
use packet::Connection;
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Why the stub could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The connection is closed: the emulator has ended.
    #[error("the connection to the emulator: {0}")]
    Gone(std::io::Error),
    /// An answer that is none.
    #[error("the emulator's debugger stub: {0}")]
    Protocol(String),
}

impl RemoteError {
    fn protocol(what: impl Into<String>) -> Self {
        RemoteError::Protocol(what.into())
    }
}

/// What halted an emulated subject.
#[allow(clippy::large_enum_variant, reason = "made once a stop, and taken apart at once")]
pub enum RemoteStop {
    /// A signal, by gdb's number, and the registers.
    Signal(u8, Regs),
    /// The emulator is gone.
    Gone,
}

/// gdb's numbers of signals.
pub mod signals {
    pub const ILL: u8 = 4;
    pub const TRAP: u8 = 5;
    pub const FPE: u8 = 8;
    pub const BUS: u8 = 10;
    pub const SEGV: u8 = 11;
    pub const USR1: u8 = 30;
}

/// The connection to an emulated subject.
#[derive(Debug)]
pub struct Remote {
    isa: Isa,
    connection: Connection,
    /// A system call's instruction in the subject, followed by a trap.
    gadget: u64,
    /// The last answer to `g`.
    block: Vec<u8>,
    /// Bytes of each region that are mapped.
    windows: Vec<u64>,
    /// Numbers of the stub's registers by name.
    numbers: HashMap<String, u32>,
    /// What the emulator writes to standard error.
    errors: std::process::ChildStderr,
}

/// An emulated subject, halted at its first instruction.
pub struct Emulated {
    // In this order: first the process dies, then its memory goes.
    pub process: Process,
    pub remote: Remote,
    pub regions: Vec<SharedRegion>,
    pub text: Text,
    pub regs: Regs,
    pub patient: Patient,
    pub pin: Pin,
}

/// A thread that waits for answers: it does not take the CPU from the emulator as
/// soon as the first byte of one is there, which is never the last. Ends on drop.
#[derive(Debug)]
pub struct Patient {
    before: Option<i32>,
}

impl Patient {
    fn new() -> Self {
        // Slower without, no worse.
        let usual = sys::policy().ok().filter(|policy| *policy == libc::SCHED_OTHER);
        let before = usual.filter(|_| sys::set_policy(libc::SCHED_BATCH).is_ok());
        Patient { before }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if let Some(policy) = self.before {
            let _ = sys::set_policy(policy);
        }
    }
}

/// System calls' numbers, and where their operands go, by DWARF number.
struct Calls {
    mmap: u64,
    number: u16,
    first: u16,
    result: u16,
    /// mmap takes the address of its operands.
    indirect: bool,
}

const fn calls(isa: Isa) -> Calls {
    match isa {
        Isa::X86_64 => Calls { mmap: 9, number: 0, first: 5, result: 0, indirect: false },
        Isa::Aarch64 => Calls { mmap: 222, number: 8, first: 0, result: 0, indirect: false },
        Isa::Riscv64 => Calls { mmap: 222, number: 17, first: 10, result: 10, indirect: false },
        Isa::S390x => Calls { mmap: 90, number: 1, first: 2, result: 2, indirect: true },
    }
}

/// The emulator of an instruction set, and the CPU that it is to be: all that the
/// compiler may make code for, without vectors longer than it knows.
const fn emulator(isa: Isa) -> (&'static str, &'static str) {
    match isa {
        Isa::X86_64 => ("qemu-x86_64", "max"),
        Isa::Aarch64 => ("qemu-aarch64", "max,sve=off,sme=off"),
        Isa::Riscv64 => ("qemu-riscv64", "rv64,v=true,vlen=128,vext_spec=v1.0"),
        Isa::S390x => ("qemu-s390x", "max"),
    }
}

/// Whether the emulator's breakpoints are of use. With one in the page of an `rxsbg`
/// that only tests, qemu 7.2 for s390x ends in a fault there; but as it translates
/// everything again after a stop, code that was written meanwhile is heeded as well.
pub const fn has_breakpoints(isa: Isa) -> bool {
    !matches!(isa, Isa::S390x)
}

/// Time that the emulator has to open its socket.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts an emulator with an image and gives it the regions.
pub fn start(config: &SubjectConfig<'_>, isa: Isa) -> Result<Emulated, TracerError> {
    let before = config.check()?;
    let (text, image) = Text::new(config, before)?;
    let at_start = text.loaded_slice(config.start.get(), isa.trap().len());
    if at_start.as_deref() != Some(isa.trap()) {
        return Err(TracerError::Image(format!(
            "no trap instruction at its start, {}",
            config.start
        )));
    }
    let regions: Vec<SharedRegion> =
        config.regions.iter().map(SharedRegion::new).collect::<Result<_, _>>()?;
    let pin = Pin::new(config.cpu)?;
    let socket = Socket::new()?;
    let (mut process, mut errors) = launch(isa, &image, &regions, &socket.path)?;
    let stream = match connect(&socket.path, &mut process) {
        Ok(stream) => stream,
        Err(problem) => {
            process.kill();
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said);
            return Err(emulator_failed(isa, format!("{problem}; it said: {}", said.trim())));
        }
    };
    drop(socket);
    let patient = Patient::new();
    let mut remote = Remote {
        isa,
        connection: Connection::new(stream),
        gadget: config.syscall_gadget.get(),
        block: Vec::new(),
        windows: Vec::new(),
        numbers: HashMap::new(),
        errors,
    };
    let regs =
        remote.set_up(config, &regions).map_err(|error| emulator_failed(isa, error.to_string()))?;
    drop(image);
    Ok(Emulated { process, remote, regions, text, regs, patient, pin })
}

/// An error of the emulator itself.
fn emulator_failed(isa: Isa, problem: String) -> TracerError {
    TracerError::Emulator { program: emulator(isa).0, problem }
}

/// Runs the emulator. Answers it, and what it writes to standard error.
fn launch(
    isa: Isa,
    image: &OwnedFd,
    regions: &[SharedRegion],
    socket: &Path,
) -> Result<(Process, std::process::ChildStderr), TracerError> {
    let (program, cpu) = emulator(isa);
    let keep: Vec<RawFd> =
        regions.iter().map(|region| region.file().as_raw_fd()).chain([image.as_raw_fd()]).collect();
    let mut command = Command::new(program);
    let space = format!("{:#x}", windows::address_space(regions));
    command
        .args(["-cpu", cpu, "-R", &space, "-g"])
        .arg(socket)
        .arg(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let parent = Pid::this();
    // SAFETY: between fork and exec it makes system calls on integers and on a
    // vector made before the fork, and nothing else: no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            nix::unistd::setsid()?;
            for descriptor in &keep {
                sys::keep_on_exec(*descriptor)?;
            }
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => emulator_failed(
            isa,
            "it is not installed here (on Debian it is in the package qemu-user)".into(),
        ),
        _ => emulator_failed(isa, error.to_string()),
    })?;
    let errors = child.stderr.take();
    let pid = i32::try_from(child.id()).map_err(|error| emulator_failed(isa, error.to_string()))?;
    let process = Process::adopt(Pid::from_raw(pid))?;
    let errors = errors.ok_or_else(|| emulator_failed(isa, "no standard error".into()))?;
    Ok((process, errors))
}

/// A place for a socket that nobody else can reach, gone when dropped.
struct Socket {
    directory: PathBuf,
    path: PathBuf,
}

impl Socket {
    fn new() -> Result<Self, TracerError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut last = std::io::ErrorKind::AlreadyExists.into();
        for _ in 0..1000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("wdiff-{}-{number}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => {
                    let path = directory.join("gdb");
                    return Ok(Socket { directory, path });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(TracerError::Emulator {
            program: "qemu",
            problem: format!("a directory for its socket: {last}"),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

fn connect(path: &Path, process: &mut Process) -> Result<UnixStream, String> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(format!("no socket after {} s: {error}", PATIENCE.as_secs()));
            }
            Err(_) => {}
        }
        if process.has_ended() {
            return Err("it ended at once".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Remote {
    /// Whether a fault is the emulator's own: an assertion of qemu's has failed, and the signal
    /// that ends it went to the subject. (7.2 for riscv64 ends so when it meets a
    /// `vfcvt.rtz` before any other float operation of a block.)
    ///
    /// # Errors
    /// It is, with what the emulator said.
    pub fn failed_assertion(&mut self) -> Result<(), TracerError> {
        fcntl(&self.errors, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| TracerError::Host { call: "fcntl", errno, hint: "" })?;
        let mut said = Vec::new();
        // It ends with `WouldBlock` where the emulator is still there.
        let _ = self.errors.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        match said.lines().find(|line| line.contains("Assertion") || line.contains("assertion")) {
            Some(line) => Err(emulator_failed(self.isa, format!("a defect of its own: {line}"))),
            None => Ok(()),
        }
    }

    /// Gives a fresh subject its memory. Answers its registers, all 0 and at the
    /// start.
    fn set_up(
        &mut self,
        config: &SubjectConfig<'_>,
        regions: &[SharedRegion],
    ) -> Result<Regs, RemoteError> {
        self.connection.exchange(&[b"qSupported:xmlRegisters=i386"], |_| Ok(()))?;
        self.describe()?;
        self.fetch()?;
        self.open_windows(regions)?;
        let fresh =
            Foreign { isa: self.isa, general: [0; Isa::MOST_GENERAL], pc: config.start.get() };
        let regs = Regs::of_foreign(fresh);
        self.set_registers(&regs)?;
        Ok(regs)
    }

    /// Reads which registers there are. Without it the stub gives none but the
    /// general ones.
    fn describe(&mut self) -> Result<(), RemoteError> {
        let target = self.document("target.xml")?;
        let files: Vec<String> = registers::included(&target).map(str::to_owned).collect();
        let mut next = 0;
        for file in files {
            let text = self.document(&file)?;
            registers::number(&text, &mut next, &mut self.numbers);
            // Behind them are hundreds that only a kernel sees.
            let known = |name: String| self.numbers.contains_key(&name);
            if (0..registers::vector_count(self.isa))
                .all(|number| registers::vector_names(self.isa, number).into_iter().all(known))
            {
                break;
            }
        }
        Ok(())
    }

    fn document(&mut self, name: &str) -> Result<String, RemoteError> {
        let mut text = Vec::new();
        loop {
            let body = format!("qXfer:features:read:{name}:{:x},7f0", text.len());
            let mut last = false;
            self.connection.exchange(&[body.as_bytes()], |answer| match answer {
                [b'l', rest @ ..] => {
                    text.extend_from_slice(rest);
                    last = true;
                    Ok(())
                }
                [b'm', rest @ ..] if !rest.is_empty() => {
                    text.extend_from_slice(rest);
                    Ok(())
                }
                _ => Err(RemoteError::protocol(format!("it has no {name}"))),
            })?;
            if last {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
    }

    /// Somewhere on the stack that the emulator made.
    fn spare_place(&self) -> Result<u64, RemoteError> {
        let registers = registers::read(self.isa, &self.block);
        let registers = registers.ok_or_else(|| RemoteError::protocol("too few registers"))?;
        let stack = registers.general[usize::from(self.isa.stack_pointer().0)];
        Ok((stack & !0xf).wrapping_sub(4096))
    }

    /// A word's bytes in the order of the instruction set.
    fn ordered(&self, word: u64) -> [u8; 8] {
        if self.isa.is_big_endian() { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    /// Writes words to the subject's own memory.
    fn store(&mut self, address: u64, words: &[u64]) -> Result<(), RemoteError> {
        let mut body = format!("M{address:x},{:x}:", 8 * words.len()).into_bytes();
        for word in words {
            packet::hex(&self.ordered(*word), &mut body);
        }
        self.expect_ok(&body, "writing memory")
    }

    fn expect_ok(&mut self, body: &[u8], what: &str) -> Result<(), RemoteError> {
        self.connection.exchange(&[body], |answer| match answer {
            b"OK" => Ok(()),
            other => {
                Err(RemoteError::protocol(format!("{what}: {}", String::from_utf8_lossy(other))))
            }
        })
    }

    /// Has the subject make a system call. Answers its result.
    fn call(&mut self, number: u64, operands: &[u64]) -> Result<u64, RemoteError> {
        let (gadget, calls) = (self.gadget, calls(self.isa));
        let mut general = [0; Isa::MOST_GENERAL];
        let operands = operands.iter().zip(usize::from(calls.first)..);
        for (operand, register) in operands {
            if let Some(place) = general.get_mut(register) {
                *place = *operand;
            }
        }
        general[usize::from(calls.number)] = number;
        // What the emulator made is still its stack.
        let stack = usize::from(self.isa.stack_pointer().0);
        let before = registers::read(self.isa, &self.block);
        let before = before.ok_or_else(|| RemoteError::protocol("too few registers"))?;
        general[stack] = before.general[stack];
        self.set_registers(&Regs::of_foreign(Foreign { isa: self.isa, general, pc: gadget }))?;
        match self.resume(gadget)? {
            RemoteStop::Signal(signals::TRAP | signals::ILL, regs) if regs.rip() > gadget => {
                let result = regs.dwarf(calls.result).unwrap_or_default();
                // Its own numbers of errors.
                if result > u64::MAX - 4096 {
                    let error = result.wrapping_neg();
                    return Err(RemoteError::protocol(format!(
                        "system call {number}: error {error}"
                    )));
                }
                Ok(result)
            }
            RemoteStop::Signal(signal, regs) => Err(RemoteError::protocol(format!(
                "system call {number} led to signal {signal} at {:#x}",
                regs.rip()
            ))),
            RemoteStop::Gone => {
                Err(RemoteError::protocol(format!("it ended in system call {number}")))
            }
        }
    }

    /// Lets the subject run from `pc` to its next stop.
    pub fn resume(&mut self, pc: u64) -> Result<RemoteStop, RemoteError> {
        let body = format!("c{}", packet::hex_number(pc));
        let mut signal = None;
        let answered = self.connection.exchange(&[body.as_bytes()], |answer| match answer {
            [b'T' | b'S', high, low, ..] => {
                signal = packet::unhex(&[*high, *low]).map(|[signal]| signal);
                Ok(())
            }
            // It exited, or was killed.
            [b'W' | b'X', ..] => Ok(()),
            other => Err(RemoteError::protocol(format!(
                "a stop of an unknown kind: {}",
                String::from_utf8_lossy(other)
            ))),
        });
        match (answered, signal) {
            (Ok(()), Some(signal)) => {
                self.fetch()?;
                let registers = registers::read(self.isa, &self.block);
                let registers =
                    registers.ok_or_else(|| RemoteError::protocol("too few registers"))?;
                Ok(RemoteStop::Signal(signal, Regs::of_foreign(registers)))
            }
            (Ok(()), None) | (Err(RemoteError::Gone(_)), _) => Ok(RemoteStop::Gone),
            (Err(error), _) => Err(error),
        }
    }

    /// Sets a breakpoint at an instruction, or removes it.
    pub fn set_breakpoint(&mut self, address: u64, set: bool) -> Result<(), RemoteError> {
        let (kind, what) = match set {
            true => ('Z', "setting a breakpoint"),
            false => ('z', "removing a breakpoint"),
        };
        self.expect_ok(format!("{kind}0,{address:x},{}", self.isa.trap().len()).as_bytes(), what)
    }

    /// Fetches the general registers.
    fn fetch(&mut self) -> Result<(), RemoteError> {
        let block = &mut self.block;
        self.connection.exchange(&[b"g"], |answer| {
            packet::unhex_all(answer, block)
                .ok_or_else(|| RemoteError::protocol("registers that are no digits"))
        })
    }

    /// Sets the general registers.
    pub fn set_registers(&mut self, regs: &Regs) -> Result<(), RemoteError> {
        let Some(foreign) = regs.foreign() else {
            return Err(RemoteError::protocol("registers of another instruction set"));
        };
        registers::write(foreign, &mut self.block);
        let mut body = b"G".to_vec();
        packet::hex(&self.block, &mut body);
        self.expect_ok(&body, "setting registers")
    }

    /// Fetches vector registers, a bit for each.
    pub fn vectors(&mut self, wanted: u64) -> Result<ForeignVectors, RemoteError> {
        let isa = self.isa;
        let mut parts = Vec::new();
        for number in (0..registers::vector_count(isa)).filter(|number| wanted >> number & 1 == 1) {
            for name in registers::vector_names(isa, number) {
                let known = self.numbers.get(&name);
                let known =
                    known.ok_or_else(|| RemoteError::protocol(format!("no register {name}")))?;
                parts.push((number, format!("p{known:x}")));
            }
        }
        let bodies: Vec<&[u8]> = parts.iter().map(|(_, body)| body.as_bytes()).collect();
        let mut vectors = ForeignVectors { isa, registers: [0; 64], known: wanted };
        let mut bytes = Vec::new();
        let mut next = parts.iter();
        self.connection.exchange(&bodies, |answer| {
            let place = next.next().map(|(number, _)| usize::from(*number));
            let place = place.and_then(|number| vectors.registers.get_mut(number));
            match (packet::unhex_all(answer, &mut bytes), place) {
                (Some(()), Some(place)) if !bytes.is_empty() => {
                    let shift = (8 * bytes.len() as u32).min(127);
                    let part = registers::vector(isa, &bytes);
                    *place = if bytes.len() < 16 { *place << shift | part } else { part };
                    Ok(())
                }
                _ => Err(RemoteError::protocol("a vector register that it does not give")),
            }
        })?;
        Ok(vectors)
    }
}
