//! Making a process that runs an image and nothing else.
//!
//! ```text
//!   wdiff                                   new process
//!   fork ---------------------------------> die with the parent; own session; no core file;
//!   |                                       only the regions' files survive exec
//!   PTRACE_SEIZE, EXITKILL                  read(pipe) ...
//!   write(pipe) ------------------------->  execveat(image), no arguments, no environment
//!   wait: exec event; CONT                  |
//!   wait: SIGTRAP  <----------------------  int3 at the image's start
//!   the rest: `inject`
//! ```
//!
//! From the fork on the new process dies with wdiff: until exec by
//! `PR_SET_PDEATHSIG` (which it survives being orphaned before, by looking),
//! from the seize on by `PTRACE_O_EXITKILL` too.
//!
//! Between fork and exec the new process is a copy of one thread of a process
//! that may have many. It makes system calls and nothing else: no allocation,
//! no lock, no formatting. What fails there is reported through a pipe.

use crate::error::TracerError;
use crate::inject;
use crate::pin::Pin;
use crate::region::{ADDRESS_LIMIT, PAGE, RegionSpec, SharedRegion};
use crate::regs::Regs;
use crate::sys::{self, Waited};
use crate::text::{INT3, Text};
use dwarf_map::SubjectAddr;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, Pid};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What a subject is made of.
#[derive(Clone, Debug)]
pub struct SubjectConfig<'a> {
    /// A static ELF executable whose one loaded segment, readable and
    /// executable, holds the gadgets and `.text`.
    pub image: &'a [u8],
    /// The entry point: an `int3`.
    pub start: SubjectAddr,
    /// A `syscall; int3`, followed by 40 bytes of the segment: they serve as
    /// scratch while the subject is set up and are left as they were.
    pub syscall_gadget: SubjectAddr,
    /// Where `.text` is loaded.
    pub text: SubjectAddr,
    /// Where `.text` lies in `image`, in bytes.
    pub text_file_offset: u64,
    /// Bytes of `.text`.
    pub text_size: u64,
    /// Memory to share with it. Nothing else can it read or write.
    pub regions: Vec<RegionSpec>,
    /// The CPU for it and the calling thread; `None`: where the thread is.
    pub cpu: Option<usize>,
}

/// The code at [`SubjectConfig::syscall_gadget`].
pub(crate) const GADGET: [u8; 3] = [0x0f, 0x05, INT3];

impl SubjectConfig<'_> {
    /// Checks the layout against the image. Answers how many bytes of the
    /// loaded segment lie before `.text`.
    pub(crate) fn check(&self) -> Result<u64, TracerError> {
        let wrong = |problem: String| Err(TracerError::Image(problem));
        let (text, size, offset) = (self.text.get(), self.text_size, self.text_file_offset);
        if offset.checked_add(size).is_none_or(|end| end > self.image.len() as u64) {
            return wrong(format!(
                "its {} bytes end before .text does ({offset:#x}+{size:#x})",
                self.image.len()
            ));
        }
        if u32::try_from(size).is_err()
            || text.checked_add(size).is_none_or(|end| end > ADDRESS_LIMIT)
        {
            return wrong(format!(".text of {size:#x} bytes cannot lie at {text:#x}"));
        }
        let first = self.start.get().min(self.syscall_gadget.get());
        let before = text.saturating_sub(first - first % PAGE);
        if before > offset {
            return wrong(format!(
                "{before:#x} bytes before .text are not in the file, where it is at {offset:#x}"
            ));
        }
        Ok(before)
    }

    /// Checks that the two pieces of code needed to set up are there.
    fn check_gadgets(&self, text: &Text) -> Result<(), TracerError> {
        if text.loaded_bytes(self.start.get()) != Some([INT3]) {
            return Err(TracerError::Image(format!("no int3 at its start, {}", self.start)));
        }
        if text.loaded_bytes(self.syscall_gadget.get()) != Some(GADGET) {
            return Err(TracerError::Image(format!(
                "no `syscall; int3` at {}",
                self.syscall_gadget
            )));
        }
        Ok(())
    }
}

/// A process of ours, killed and waited for on drop.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    descriptor: Arc<OwnedFd>,
    /// Its exit status has been taken, so its number may be another's now.
    ended: bool,
    /// Only the thread that made it can trace it.
    here: PhantomData<*const ()>,
}

impl Process {
    /// Takes charge of a child. Kills it if that fails.
    pub fn adopt(pid: Pid) -> Result<Self, TracerError> {
        match sys::pidfd_open(pid) {
            Ok(descriptor) => {
                Ok(Self { pid, descriptor: Arc::new(descriptor), ended: false, here: PhantomData })
            }
            Err(errno) => {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                let _ = sys::wait(pid);
                let hint = "Linux 5.3 or later is needed";
                Err(TracerError::Host { call: "opening a descriptor for the subject", errno, hint })
            }
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// Whether it has been waited for to the end.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether it has ended by itself; does not wait.
    pub fn has_ended(&mut self) -> bool {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        if !self.ended {
            let found = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
            self.ended = matches!(
                found,
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD)
            );
        }
        self.ended
    }

    /// Waits for its next event.
    pub fn wait(&mut self) -> Result<Waited, TracerError> {
        if self.ended {
            return Err(TracerError::Ended);
        }
        match sys::wait(self.pid).map(sys::WaitStatus::decode) {
            Ok(end @ (Waited::Exited(_) | Waited::Killed(_))) => {
                self.ended = true;
                Ok(end)
            }
            Ok(waited) => Ok(waited),
            Err(Errno::ECHILD) => {
                self.ended = true;
                Err(TracerError::Unwaited)
            }
            Err(errno) => {
                Err(TracerError::Host { call: "waiting for the subject", errno, hint: "" })
            }
        }
    }

    /// Resumes it from a stop, whose signal it never sees. That it has been
    /// killed meanwhile is for the next wait to find.
    pub fn resume(&self) -> Result<(), TracerError> {
        gone_is_fine(ptrace::cont(self.pid, None)).map_err(host("PTRACE_CONT"))
    }

    /// Its registers; `None` when it has been killed meanwhile.
    pub fn regs(&self) -> Result<Option<Regs>, TracerError> {
        match ptrace::getregs(self.pid) {
            Ok(raw) => Ok(Some(Regs::new(raw))),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(host("PTRACE_GETREGS")(errno)),
        }
    }

    /// Sets its registers. That it has been killed meanwhile is for the next
    /// wait to find.
    pub fn set_regs(&self, regs: &Regs) -> Result<(), TracerError> {
        gone_is_fine(ptrace::setregs(self.pid, regs.to_kernel())).map_err(host("PTRACE_SETREGS"))
    }

    /// Ends it and waits until it has.
    pub fn kill(&mut self) {
        // ESRCH: it is dead, but still to be waited for.
        let _ = sys::pidfd_send_signal(&self.descriptor, libc::SIGKILL);
        while !self.ended && self.wait().is_ok() {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A failed call of wdiff's own.
fn host(call: &'static str) -> impl FnOnce(Errno) -> TracerError {
    move |errno| TracerError::Host { call, errno, hint: "" }
}

/// ptrace on a halted subject answers ESRCH once somebody has killed it.
fn gone_is_fine(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::ESRCH) => Ok(()),
        done => done,
    }
}

/// A subject ready to run, halted.
#[derive(Debug)]
pub struct Spawned {
    // In this order: first the process dies, then its memory goes, then the
    // thread is free to move.
    pub process: Process,
    pub regions: Vec<SharedRegion>,
    pub text: Text,
    pub regs: Regs,
    pub pin: Pin,
}

/// Makes a subject.
pub fn spawn(config: &SubjectConfig<'_>) -> Result<Spawned, TracerError> {
    let before = config.check()?;
    let (text, image) = Text::new(config, before)?;
    config.check_gadgets(&text)?;
    let regions: Vec<SharedRegion> =
        config.regions.iter().map(SharedRegion::new).collect::<Result<_, _>>()?;
    let pin = Pin::new(config.cpu)?;
    let mut process = execute(&image, &regions)?;
    // From here on the image lives in the subject and in its alias.
    drop(image);
    let start = config.start.get();
    let regs = inject::await_trap(&mut process, start + 1, "the trap at the image's start")?;
    let mut injector =
        inject::Injector::new(&mut process, &text, config.syscall_gadget.get(), regs);
    injector.furnish(&regions)?;
    injector.seal()?;
    let regs = regs.cleared(start + 1);
    process.set_regs(&regs)?;
    Ok(Spawned { process, regions, text, regs, pin })
}

/// Forks, and has the new process execute the image, traced.
fn execute(image: &OwnedFd, regions: &[SharedRegion]) -> Result<Process, TracerError> {
    let pipe = |flags| nix::unistd::pipe2(OFlag::O_CLOEXEC | flags).map_err(host("making a pipe"));
    let (wait_for_go, go) = pipe(OFlag::empty())?;
    let (complaints, complain) = pipe(OFlag::O_NONBLOCK)?;
    let plan = Plan {
        parent: Pid::this(),
        image: image.as_raw_fd(),
        keep: regions.iter().map(|region| region.file().as_raw_fd()).collect(),
        wait_for_go: wait_for_go.as_raw_fd(),
        go: go.as_raw_fd(),
        complain: complain.as_raw_fd(),
        empty_path: c"".as_ptr(),
        arguments: [c"wdiff-subject".as_ptr(), std::ptr::null()],
    };
    // No handler of wdiff's may run in the copy.
    let mask = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .map_err(host("blocking signals"))?;
    // SAFETY: the child calls `become_subject` and nothing else, which makes
    // async-signal-safe calls only and never returns.
    let forked = match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => become_subject(&plan),
        Ok(ForkResult::Parent { child }) => Ok(child),
        Err(errno) => Err(errno),
    };
    let unblocked = mask.thread_set_mask();
    let pid = forked.map_err(|errno| {
        let hint = match errno {
            Errno::EAGAIN => "too many processes: `ulimit -u`, or the container's pids limit",
            Errno::ENOMEM => {
                "too little memory to copy wdiff's page tables; see sysctl vm.overcommit_memory"
            }
            _ => "",
        };
        TracerError::Host { call: "fork", errno, hint }
    })?;
    let mut process = Process::adopt(pid)?;
    unblocked.map_err(host("unblocking signals"))?;

    let options = ptrace::Options::PTRACE_O_EXITKILL | ptrace::Options::PTRACE_O_TRACEEXEC;
    if let Err(errno) = ptrace::seize(pid, options) {
        if let Some(complaint) = read_complaint(&complaints) {
            return Err(complaint);
        }
        let hint = "tracing is forbidden here: sysctl kernel.yama.ptrace_scope must be below 3, or below 2 without \
                    CAP_SYS_PTRACE, and a container's system call filter must allow ptrace";
        return Err(TracerError::Host { call: "PTRACE_SEIZE", errno, hint });
    }
    nix::unistd::write(&go, b"!").map_err(host("releasing the subject"))?;
    loop {
        match process.wait()? {
            Waited::Event(libc::PTRACE_EVENT_EXEC) => break,
            // Nothing is injected here: the kernel still has a result to put
            // into rax.
            Waited::Event(_) => process.resume()?,
            Waited::Signal(signal) if !inject::is_fault(signal) => process.resume()?,
            // It gave up, or exec failed when the old program was gone already.
            found => {
                return Err(read_complaint(&complaints).unwrap_or_else(|| {
                    TracerError::UnexpectedStop {
                        expected: "the image being executed",
                        found: inject::describe(found, None),
                    }
                }));
            }
        }
    }
    process.resume()?;
    Ok(process)
}

/// Everything that the new process needs to know, made before the fork.
struct Plan {
    parent: Pid,
    image: RawFd,
    /// Descriptors to survive exec.
    keep: Vec<RawFd>,
    wait_for_go: RawFd,
    go: RawFd,
    complain: RawFd,
    empty_path: *const libc::c_char,
    arguments: [*const libc::c_char; 2],
}

/// What the new process does before it becomes the subject. The number goes
/// through the pipe.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Step {
    ParentDeath,
    Session,
    CoreLimit,
    CloseOnExec,
    Keep,
    Exec,
}

impl Step {
    const ALL: [Step; 6] = [
        Step::ParentDeath,
        Step::Session,
        Step::CoreLimit,
        Step::CloseOnExec,
        Step::Keep,
        Step::Exec,
    ];

    fn name(self) -> &'static str {
        match self {
            Step::ParentDeath => "prctl(PR_SET_PDEATHSIG)",
            Step::Session => "setsid",
            Step::CoreLimit => "setrlimit(RLIMIT_CORE)",
            Step::CloseOnExec => "close_range(CLOSE_RANGE_CLOEXEC)",
            Step::Keep => "fcntl(F_SETFD)",
            Step::Exec => "execveat of the image",
        }
    }

    fn hint(self, errno: Errno) -> &'static str {
        match (self, errno) {
            (Step::CloseOnExec, Errno::ENOSYS | Errno::EINVAL) => "Linux 5.11 or later is needed",
            (Step::Exec, Errno::EACCES | Errno::EPERM) => {
                "executing a file in memory is forbidden here: see sysctl vm.memfd_noexec, or the security module's log"
            }
            (Step::Exec, Errno::ENOEXEC) => "the image is no ELF executable for this machine",
            (Step::Exec, Errno::ENOMEM) => "see `ulimit -v` and sysctl vm.overcommit_memory",
            (Step::Exec, Errno::EINVAL) => "the image's ELF headers are malformed",
            _ => "",
        }
    }
}

/// The new process's complaint, if it had one.
fn read_complaint(pipe: &OwnedFd) -> Option<TracerError> {
    let mut message = [0; 8];
    match nix::unistd::read(pipe, &mut message) {
        Ok(8) => {}
        _ => return None,
    }
    let ([step, errno], _) = message.as_chunks::<4>() else {
        return None;
    };
    let step = *Step::ALL.get(usize::try_from(u32::from_ne_bytes(*step)).ok()?)?;
    let errno = Errno::from_raw(i32::from_ne_bytes(*errno));
    Some(TracerError::Start { call: step.name(), errno, hint: step.hint(errno) })
}

/// Turns a fresh copy of wdiff into the subject. Async-signal-safe.
fn become_subject(plan: &Plan) -> ! {
    let Err((step, errno)) = try_to_become_subject(plan);
    let (step, errno) = ((step as u32).to_ne_bytes(), (errno as i32).to_ne_bytes());
    let mut message = [0; 8];
    for (to, from) in message.iter_mut().zip(step.iter().chain(&errno)) {
        *to = *from;
    }
    // SAFETY: writes eight bytes of a live array, and ends the process without
    // running anything of wdiff's.
    unsafe {
        libc::write(plan.complain, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// The steps; returns only with the one that failed.
fn try_to_become_subject(plan: &Plan) -> Result<std::convert::Infallible, (Step, Errno)> {
    let check = |step, result: libc::c_int| Errno::result(result).map_err(|errno| (step, errno));
    // SAFETY: every call takes integers, or pointers to live data of `plan` or
    // of this frame, and is a bare system call.
    unsafe {
        check(Step::ParentDeath, libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != plan.parent.as_raw() {
            // wdiff died before the line above; nobody would tell us.
            libc::_exit(127);
        }
        // Out of the terminal's reach: Ctrl-C is for wdiff.
        check(Step::Session, libc::setsid())?;
        // What was sent to wdiff's group since the fork is dropped, what wdiff
        // ignores is not ignored by the subject.
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_IGN);
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(Step::CoreLimit, libc::setrlimit(libc::RLIMIT_CORE, &no_core))?;
        // The raw call: the C library may be older than it.
        let cloexec = libc::CLOSE_RANGE_CLOEXEC;
        let closed = libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, cloexec);
        check(Step::CloseOnExec, closed as libc::c_int)?;
        for descriptor in &plan.keep {
            check(Step::Keep, libc::fcntl(*descriptor, libc::F_SETFD, 0))?;
        }
        // Without its copy of the writing end, the pipe closes with wdiff.
        libc::close(plan.go);
        let mut byte = 0u8;
        loop {
            match Errno::result(libc::read(plan.wait_for_go, (&raw mut byte).cast(), 1)) {
                Ok(1) => break,
                Err(Errno::EINTR) => {}
                _ => libc::_exit(127),
            }
        }
        let environment = [std::ptr::null::<libc::c_char>()];
        libc::syscall(
            libc::SYS_execveat,
            plan.image,
            plan.empty_path,
            plan.arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err((Step::Exec, Errno::last()))
}
