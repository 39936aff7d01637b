//! The process and its surroundings: arguments, environment, exit, yield,
//! random bytes, and the sockets that are not there.

use crate::call::{Call, Done, MAX_TRANSFER};
use crate::errno::Errno;
use crate::system::System;

type Answer = Result<Done, Errno>;

pub(crate) fn args_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    strings(call, &system.args)
}

pub(crate) fn args_sizes_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    sizes(call, &system.args)
}

pub(crate) fn environ_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    strings(call, &system.env)
}

pub(crate) fn environ_sizes_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    sizes(call, &system.env)
}

/// Writes the strings one after the other, and a table of their addresses.
fn strings(call: &mut Call<'_>, strings: &[Vec<u8>]) -> Answer {
    let (table, mut address) = (call.u32(0), call.u32(1));
    let mut pointers = Vec::with_capacity(strings.len() * 4);
    let mut bytes = Vec::new();
    let start = address;
    for string in strings {
        pointers.extend_from_slice(&address.to_le_bytes());
        bytes.extend_from_slice(string);
        let length = u32::try_from(string.len()).map_err(|_| Errno::FAULT)?;
        address = address.checked_add(length).ok_or(Errno::FAULT)?;
    }
    call.write(table, pointers)?;
    call.write(start, bytes)?;
    Ok(Done::Success)
}

/// Writes how many strings there are, and how many bytes they take.
fn sizes(call: &mut Call<'_>, strings: &[Vec<u8>]) -> Answer {
    let bytes: usize = strings.iter().map(Vec::len).sum();
    let as_size = |size: usize| u32::try_from(size).map_err(|_| Errno::OVERFLOW);
    call.write_u32(call.u32(0), as_size(strings.len())?)?;
    call.write_u32(call.u32(1), as_size(bytes)?)?;
    Ok(Done::Success)
}

pub(crate) fn proc_exit(_: &mut System, call: &mut Call<'_>) -> Answer {
    Ok(Done::Exit(call.u32(0)))
}

pub(crate) fn sched_yield(_: &mut System, _: &mut Call<'_>) -> Answer {
    std::thread::yield_now();
    Ok(Done::Success)
}

pub(crate) fn random_get(_: &mut System, call: &mut Call<'_>) -> Answer {
    let range = call.check(call.u32(0), call.u32(1))?;
    // There is no such thing as a short result here.
    if range.length > MAX_TRANSFER {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; range.length as usize];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    call.write(range.address, bytes)?;
    Ok(Done::Success)
}

/// The four socket functions: no descriptor is ever a socket.
pub(crate) fn no_socket(system: &mut System, call: &mut Call<'_>) -> Answer {
    system.table.get(call.u32(0))?;
    Err(Errno::NOTSUP)
}
