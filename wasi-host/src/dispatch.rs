//! The host functions: one table, from which everything else is derived.
//!
//! A row holds a function's name, type, handler, and whether its older form in
//! `wasi_unstable` is the same. The module's import check, the calls, and the
//! reading of a log all go through this table, so a function cannot be known
//! to one and unknown to another.

use std::fmt;

use wasm_view::{FuncType, ValType};

use crate::call::{Call, Done};
use crate::errno::Errno;
use crate::system::System;
use crate::{attributes, clock, file, path, poll, process, readdir};

/// The module name of preview 1.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";
/// The module name of the snapshot before it. Its functions are served where
/// their binary interface is the same, and refused by name where it is not.
pub const PREVIEW0: &str = "wasi_unstable";

pub(crate) type Handler = fn(&mut System, &mut Call<'_>) -> Result<Done, Errno>;

/// Who answers a function.
pub(crate) enum Serve {
    By(Handler),
    /// Nobody, for this reason.
    Refused(&'static str),
}

/// How a function's form in `wasi_unstable` relates to preview 1.
enum Older {
    Same,
    /// What is different.
    Differs(&'static str),
    Absent,
}

/// A row of the table.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [ValType],
    pub(crate) results: &'static [ValType],
    pub(crate) serve: Serve,
    older: Older,
}

impl Function {
    pub(crate) fn ty(&self) -> FuncType {
        FuncType { params: self.params.to_vec(), results: self.results.to_vec() }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const I: ValType = ValType::I32;
const L: ValType = ValType::I64;

/// A function that returns an error number.
const fn row(name: &'static str, params: &'static [ValType], handler: Handler) -> Function {
    Function { name, params, results: &[I], serve: Serve::By(handler), older: Older::Same }
}

impl Function {
    const fn older(mut self, older: Older) -> Function {
        self.older = older;
        self
    }
}

const FILESTAT: Older = Older::Differs("its filestat is 56 bytes, with a 32-bit link count");
const WHENCE: Older = Older::Differs("it numbers the origins of a seek differently");
const POLL: Older = Older::Differs("its subscription is 56 bytes");

/// All functions of preview 1, by name.
pub(crate) static FUNCTIONS: [Function; 46] = [
    row("args_get", &[I, I], process::args_get),
    row("args_sizes_get", &[I, I], process::args_sizes_get),
    row("clock_res_get", &[I, I], clock::clock_res_get),
    row("clock_time_get", &[I, L, I], clock::clock_time_get),
    row("environ_get", &[I, I], process::environ_get),
    row("environ_sizes_get", &[I, I], process::environ_sizes_get),
    row("fd_advise", &[I, L, L, I], file::fd_advise),
    row("fd_allocate", &[I, L, L], file::fd_allocate),
    row("fd_close", &[I], file::fd_close),
    row("fd_datasync", &[I], file::fd_datasync),
    row("fd_fdstat_get", &[I, I], attributes::fd_fdstat_get),
    row("fd_fdstat_set_flags", &[I, I], attributes::fd_fdstat_set_flags),
    row("fd_fdstat_set_rights", &[I, L, L], attributes::fd_fdstat_set_rights),
    row("fd_filestat_get", &[I, I], attributes::fd_filestat_get).older(FILESTAT),
    row("fd_filestat_set_size", &[I, L], attributes::fd_filestat_set_size),
    row("fd_filestat_set_times", &[I, L, L, I], attributes::fd_filestat_set_times),
    row("fd_pread", &[I, I, I, L, I], file::fd_pread),
    row("fd_prestat_dir_name", &[I, I, I], attributes::fd_prestat_dir_name),
    row("fd_prestat_get", &[I, I], attributes::fd_prestat_get),
    row("fd_pwrite", &[I, I, I, L, I], file::fd_pwrite),
    row("fd_read", &[I, I, I, I], file::fd_read),
    row("fd_readdir", &[I, I, I, L, I], readdir::fd_readdir),
    row("fd_renumber", &[I, I], file::fd_renumber),
    row("fd_seek", &[I, L, I, I], file::fd_seek).older(WHENCE),
    row("fd_sync", &[I], file::fd_sync),
    row("fd_tell", &[I, I], file::fd_tell),
    row("fd_write", &[I, I, I, I], file::fd_write),
    row("path_create_directory", &[I, I, I], path::path_create_directory),
    row("path_filestat_get", &[I, I, I, I, I], path::path_filestat_get).older(FILESTAT),
    row("path_filestat_set_times", &[I, I, I, I, L, L, I], path::path_filestat_set_times),
    row("path_link", &[I, I, I, I, I, I, I], path::path_link),
    row("path_open", &[I, I, I, I, I, L, L, I, I], path::path_open),
    row("path_readlink", &[I, I, I, I, I, I], path::path_readlink),
    row("path_remove_directory", &[I, I, I], path::path_remove_directory),
    row("path_rename", &[I, I, I, I, I, I], path::path_rename),
    row("path_symlink", &[I, I, I, I, I], path::path_symlink),
    row("path_unlink_file", &[I, I, I], path::path_unlink_file),
    row("poll_oneoff", &[I, I, I, I], poll::poll_oneoff).older(POLL),
    Function {
        name: "proc_exit",
        params: &[I],
        results: &[],
        serve: Serve::By(process::proc_exit),
        older: Older::Same,
    },
    Function {
        name: "proc_raise",
        params: &[I],
        results: &[I],
        serve: Serve::Refused("a program here has no signals to raise"),
        older: Older::Same,
    },
    row("random_get", &[I, I], process::random_get),
    row("sched_yield", &[], process::sched_yield),
    row("sock_accept", &[I, I, I], process::no_socket).older(Older::Absent),
    row("sock_recv", &[I, I, I, I, I, I], process::no_socket),
    row("sock_send", &[I, I, I, I, I], process::no_socket),
    row("sock_shutdown", &[I, I], process::no_socket),
];

/// The row of an imported function and its module's name, or why there is none.
pub(crate) fn find(module: &str, name: &str) -> Result<(&'static str, &'static Function), String> {
    let known = || FUNCTIONS.iter().find(|function| function.name == name);
    match module {
        PREVIEW1 => known()
            .map(|function| (PREVIEW1, function))
            .ok_or_else(|| "preview 1 of WASI has no function of this name".to_owned()),
        PREVIEW0 => match known().map(|function| (function, &function.older)) {
            Some((function, Older::Same)) => Ok((PREVIEW0, function)),
            Some((_, Older::Differs(what))) => {
                Err(format!("it differs from the one in {PREVIEW1}: {what}"))
            }
            Some((_, Older::Absent)) | None => {
                Err(format!("{PREVIEW0} has no function of this name"))
            }
        },
        _ => Err(format!("only {PREVIEW1} and {PREVIEW0} are served")),
    }
}

/// The type of a host function, or `None` if it cannot be imported;
/// [`refusal`] says why.
pub fn signature(module: &str, name: &str) -> Option<FuncType> {
    find(module, name).ok().map(|(_, function)| function.ty())
}

/// Why a function cannot be imported, or `None` if it can.
pub fn refusal(module: &str, name: &str) -> Option<String> {
    find(module, name).err()
}

/// The names of all functions of preview 1, sorted.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_name_twice() {
        assert!(FUNCTIONS.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn the_older_module_is_served_only_where_it_is_the_same() {
        assert_eq!(signature(PREVIEW0, "fd_write"), signature(PREVIEW1, "fd_write"));
        for name in ["fd_seek", "fd_filestat_get", "path_filestat_get", "poll_oneoff"] {
            assert!(refusal(PREVIEW0, name).is_some_and(|why| why.contains("differs")), "{name}");
        }
        assert!(signature(PREVIEW0, "sock_accept").is_none());
        assert!(signature(PREVIEW1, "sock_accept").is_some());
        assert!(refusal("env", "fd_write").is_some_and(|why| why.contains("only")));
        assert!(refusal(PREVIEW1, "fd_dup").is_some());
    }

    #[test]
    fn types_are_those_of_the_specification() {
        let text = |name| signature(PREVIEW1, name).map(|ty| ty.to_string()).unwrap_or_default();
        assert_eq!(text("proc_exit"), "[i32] -> []");
        assert_eq!(text("sched_yield"), "[] -> [i32]");
        assert_eq!(text("path_open"), "[i32 i32 i32 i32 i32 i64 i64 i32 i32] -> [i32]");
    }
}
