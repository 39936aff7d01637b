//! `poll_oneoff`: waiting for clocks and descriptors.
//!
//! Everything that cannot block, files and streams without a host descriptor,
//! is ready at once, and so is every subscription in error. Then the host waits
//! for the others no longer than until the earliest clock, or not at all if
//! something is ready already. All deadlines are kept on the monotonic clock.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};

use crate::abi::{Awaited, EVENT, Event, EventType, Rights, SUBSCRIPTION, Subscription, clock_id};
use crate::call::{Call, Done};
use crate::cancel::{Cancel, SLICE};
use crate::clock::{now, timespec};
use crate::errno::Errno;
use crate::fd::{Node, Table};
use crate::system::System;

/// Most subscriptions in one call: as many as there can be descriptors.
const MOST: u32 = Table::MOST as u32;

/// What is to be done about one subscription.
enum Wait<'a> {
    /// It has an event already.
    Ready(Event),
    /// Until the monotonic clock shows this.
    Until(u64),
    /// Until the host's descriptor is ready.
    For(BorrowedFd<'a>, PollFlags),
}

pub(crate) fn poll_oneoff(system: &mut System, call: &mut Call<'_>) -> Result<Done, Errno> {
    let (input, output, count) = (call.u32(0), call.u32(1), call.u32(2));
    if count == 0 || count > MOST {
        // Nothing to wait for would be waiting for ever.
        return Err(Errno::INVAL);
    }
    let bytes = call.read(input, count.checked_mul(SUBSCRIPTION).ok_or(Errno::FAULT)?)?;
    call.check(output, count.checked_mul(EVENT).ok_or(Errno::FAULT)?)?;
    call.check(call.u32(3), 4)?;
    let subscriptions = bytes
        .chunks_exact(SUBSCRIPTION as usize)
        .map(Subscription::decode)
        .collect::<Result<Vec<_>, _>>()?;

    let start = now(clock_id::MONOTONIC)?;
    let waits = subscriptions
        .iter()
        .map(|one| Ok((one, wait_for(system, one, start)?)))
        .collect::<Result<Vec<_>, Errno>>()?;
    let events = wait(&waits, &system.cancel)?;

    let found = u32::try_from(events.len()).map_err(|_| Errno::OVERFLOW)?;
    call.write(output, events.iter().flat_map(Event::encode).collect::<Vec<u8>>())?;
    call.write_u32(call.u32(3), found)?;
    Ok(Done::Success)
}

fn event(one: &Subscription, error: Errno, available: u64, hangup: bool) -> Event {
    let kind = match one.what {
        Awaited::Clock { .. } => EventType::Clock,
        Awaited::Read { .. } => EventType::Read,
        Awaited::Write { .. } => EventType::Write,
    };
    Event { user_data: one.user_data, error, kind, available, hangup }
}

/// How to wait for one subscription. Its own errors become events.
fn wait_for<'a>(system: &'a System, one: &Subscription, start: u64) -> Result<Wait<'a>, Errno> {
    let answer = match one.what {
        Awaited::Clock { id, timeout, absolute } => {
            deadline(id, timeout, absolute, (start, system.clock_shift))
        }
        Awaited::Read { fd } => readable(system, one, fd),
        Awaited::Write { fd } => writable(system, one, fd),
    };
    Ok(answer.unwrap_or_else(|error| Wait::Ready(event(one, error, 0, false))))
}

/// `shift` is what the guest's monotonic clock is ahead.
fn deadline<'a>(
    id: u32,
    timeout: u64,
    absolute: bool,
    (start, shift): (u64, u64),
) -> Result<Wait<'a>, Errno> {
    let left = match id {
        clock_id::REALTIME | clock_id::MONOTONIC if !absolute => timeout,
        clock_id::MONOTONIC => timeout.saturating_sub(start.saturating_add(shift)),
        clock_id::REALTIME => timeout.saturating_sub(now(clock_id::REALTIME)?),
        // Waiting for processor time would need processor time to be spent.
        clock_id::PROCESS_CPUTIME | clock_id::THREAD_CPUTIME => return Err(Errno::NOTSUP),
        _ => return Err(Errno::INVAL),
    };
    Ok(Wait::Until(start.saturating_add(left)))
}

fn readable<'a>(system: &'a System, one: &Subscription, fd: u32) -> Result<Wait<'a>, Errno> {
    let descriptor = system.table.get(fd)?;
    match &descriptor.node {
        Node::Output(_) | Node::Directory { .. } => return Err(Errno::BADF),
        Node::Input(_) | Node::File(_) => {
            descriptor.need(Rights::POLL_FD_READWRITE | Rights::FD_READ)?;
        }
    }
    let host = match &descriptor.node {
        Node::Input(input) => match (input.left(), input.host()) {
            (None, Some(host)) => host,
            (left, _) => {
                let left = left.unwrap_or(0);
                return Ok(Wait::Ready(event(one, Errno::SUCCESS, left, left == 0)));
            }
        },
        node => node.host().ok_or(Errno::BADF)?,
    };
    Ok(Wait::For(host, PollFlags::IN))
}

fn writable<'a>(system: &'a System, one: &Subscription, fd: u32) -> Result<Wait<'a>, Errno> {
    let descriptor = system.table.get(fd)?;
    match &descriptor.node {
        Node::Input(_) | Node::Directory { .. } => return Err(Errno::BADF),
        Node::Output(_) | Node::File(_) => {
            descriptor.need(Rights::POLL_FD_READWRITE | Rights::FD_WRITE)?;
        }
    }
    let host = match &descriptor.node {
        Node::Output(stream) => match system.outputs.host(*stream) {
            Some(host) => host,
            None => return Ok(Wait::Ready(event(one, Errno::SUCCESS, 1, false))),
        },
        node => node.host().ok_or(Errno::BADF)?,
    };
    Ok(Wait::For(host, PollFlags::OUT))
}

/// Waits until at least one event has happened, and returns all that have, in
/// the order of their subscriptions; `intr` if cancelled before.
fn wait(waits: &[(&Subscription, Wait<'_>)], cancel: &Cancel) -> Result<Vec<Event>, Errno> {
    let mut fds: Vec<PollFd<'_>> = waits
        .iter()
        .filter_map(|(_, wait)| match wait {
            Wait::For(host, flags) => Some(PollFd::from_borrowed_fd(*host, *flags)),
            _ => None,
        })
        .collect();
    let any_ready = waits.iter().any(|(_, wait)| matches!(wait, Wait::Ready(_)));
    let earliest = waits
        .iter()
        .filter_map(|(_, wait)| match wait {
            Wait::Until(deadline) => Some(*deadline),
            _ => None,
        })
        .min();
    loop {
        let time = now(clock_id::MONOTONIC)?;
        let timeout = match (any_ready, earliest) {
            (true, _) => 0,
            (false, Some(deadline)) => deadline.saturating_sub(time).min(SLICE),
            (false, None) => SLICE,
        };
        if cancel.is_cancelled() {
            return Err(Errno::INTR);
        }
        match poll(&mut fds, Some(&timespec(timeout))) {
            Ok(_) => {}
            // A signal is not the guest's business: wait for what is left.
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let time = now(clock_id::MONOTONIC)?;
        let mut polled = fds.iter();
        let mut events = Vec::new();
        for (one, wait) in waits {
            match wait {
                Wait::Ready(event) => events.push(*event),
                Wait::Until(deadline) if *deadline <= time => {
                    events.push(event(one, Errno::SUCCESS, 0, false));
                }
                Wait::Until(_) => {}
                Wait::For(host, flags) => {
                    let seen = polled.next().map_or(PollFlags::empty(), PollFd::revents);
                    if !seen.is_empty() {
                        events.push(ready(one, *host, *flags, seen));
                    }
                }
            }
        }
        if !events.is_empty() {
            return Ok(events);
        }
    }
}

/// The event of a descriptor that the host reports.
fn ready(one: &Subscription, host: BorrowedFd<'_>, flags: PollFlags, seen: PollFlags) -> Event {
    if seen.contains(PollFlags::NVAL) {
        return event(one, Errno::BADF, 0, false);
    }
    let hangup = seen.contains(PollFlags::HUP);
    if flags != PollFlags::IN {
        return event(one, Errno::SUCCESS, 1, hangup);
    }
    let left_in_file = rustix::fs::fstat(host)
        .ok()
        .filter(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
        .map(|stat| {
            let position = rustix::fs::tell(host).unwrap_or(0);
            u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(position)
        });
    let available = left_in_file.unwrap_or_else(|| rustix::io::ioctl_fionread(host).unwrap_or(0));
    event(one, Errno::SUCCESS, available, hangup || left_in_file == Some(0))
}
