//! System calls that `nix` lacks, or gives in a form that loses something.
//!
//! Thin wrappers: arguments in, errno out, no decisions.

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A raw wait status, whatever the signal: `nix` refuses real-time ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WaitStatus(libc::c_int);

/// A wait status taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It called exit.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It is about to be given this signal and waits for the tracer.
    Signal(i32),
    /// A ptrace event stop, with the event's number.
    Event(i32),
}

impl WaitStatus {
    /// Takes the status apart.
    pub fn decode(self) -> Waited {
        let status = self.0;
        if libc::WIFEXITED(status) {
            Waited::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Waited::Killed(libc::WTERMSIG(status))
        } else if status >> 16 != 0 {
            Waited::Event(status >> 16)
        } else {
            Waited::Signal(libc::WSTOPSIG(status))
        }
    }
}

/// Waits for the next event of one child, however it was made.
pub fn wait(pid: Pid) -> Result<WaitStatus, Errno> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the one integer written.
        let got = unsafe { libc::waitpid(pid.as_raw(), &mut status, libc::__WALL) };
        match Errno::result(got) {
            Ok(_) => return Ok(WaitStatus(status)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A descriptor for the process itself, not for its number.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two integers and touches no memory of ours.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process; fails with `ESRCH` once it is dead.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: libc::c_int) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means "as kill(2)"; everything else is integers.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0)
    };
    Errno::result(done).map(drop)
}

/// A file in memory, closed on exec. `executable` asks for one that may be
/// executed even where `vm.memfd_noexec` makes that the exception.
pub fn memory_file(name: &str, executable: bool) -> Result<OwnedFd, Errno> {
    let plain = MFdFlags::MFD_CLOEXEC;
    if executable {
        match memfd_create(name, plain | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
            // Kernels before 6.3 do not know the flag, nor the restriction.
            Err(Errno::EINVAL) => {}
            made => return made,
        }
    }
    memfd_create(name, plain)
}

/// Lets a descriptor survive exec. Async-signal-safe.
pub fn keep_on_exec(descriptor: i32) -> Result<(), Errno> {
    // SAFETY: takes integers and touches no memory of ours.
    Errno::result(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }).map(drop)
}

/// The calling thread's scheduling policy.
pub fn policy() -> Result<i32, Errno> {
    // SAFETY: takes an integer and touches no memory of ours.
    Errno::result(unsafe { libc::sched_getscheduler(0) })
}

/// Sets the calling thread's scheduling policy, one without priorities.
pub fn set_policy(policy: i32) -> Result<(), Errno> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives through the call.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &parameter) }).map(drop)
}

/// What a signal's `siginfo_t` says: its code, and the address it is about.
pub fn signal_info(pid: Pid) -> Result<(i32, u64), Errno> {
    let info = nix::sys::ptrace::getsiginfo(pid)?;
    // SAFETY: the union is plain integers, so reading the address of a signal
    // that carries none gives some number, not undefined behaviour; the kernel
    // filled in the whole structure.
    let address = unsafe { info.si_addr() };
    Ok((info.si_code, address as u64))
}
