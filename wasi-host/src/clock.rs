//! The four clocks.

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::abi::clock_id;
use crate::call::{Call, Done};
use crate::errno::Errno;
use crate::system::System;

const SECOND: u64 = 1_000_000_000;

/// The host's clock for a guest's number. The monotonic clock is the host's
/// own, whose zero is arbitrary, as the specification allows; to a program that
/// came from elsewhere it is moved on, so that it never goes back.
fn host_clock(id: u32) -> Result<ClockId, Errno> {
    Ok(match id {
        clock_id::REALTIME => ClockId::Realtime,
        clock_id::MONOTONIC => ClockId::Monotonic,
        clock_id::PROCESS_CPUTIME => ClockId::ProcessCPUTime,
        clock_id::THREAD_CPUTIME => ClockId::ThreadCPUTime,
        _ => return Err(Errno::INVAL),
    })
}

/// Nanoseconds of a time that is not before the clock's zero.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: u64) -> Result<u64, Errno> {
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(SECOND)?.checked_add(nanoseconds))
        .ok_or(Errno::OVERFLOW)
}

/// The host's form of a duration.
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    // Both halves of a 64-bit count of nanoseconds fit their fields.
    Timespec {
        tv_sec: i64::try_from(nanoseconds / SECOND).unwrap_or(i64::MAX),
        tv_nsec: (nanoseconds % SECOND) as _,
    }
}

/// What the clock shows.
pub(crate) fn now(id: u32) -> Result<u64, Errno> {
    let time = clock_gettime(host_clock(id)?);
    nanoseconds(time.tv_sec, u64::try_from(time.tv_nsec).unwrap_or(0))
}

pub(crate) fn clock_res_get(_: &mut System, call: &mut Call<'_>) -> Result<Done, Errno> {
    let resolution = clock_getres(host_clock(call.u32(0))?);
    let value = nanoseconds(resolution.tv_sec, u64::try_from(resolution.tv_nsec).unwrap_or(0))?;
    call.write_u64(call.u32(1), value)?;
    Ok(Done::Success)
}

pub(crate) fn clock_time_get(system: &mut System, call: &mut Call<'_>) -> Result<Done, Errno> {
    // The second argument, how much imprecision the guest accepts, asks for
    // nothing.
    let time = system.now(call.u32(0))?;
    call.write_u64(call.u32(2), time)?;
    Ok(Done::Success)
}
