//! A guest for tests: a world, a vector for its memory, and calls by number.
#![allow(dead_code)]

use wasi_host::dispatch::PREVIEW1;
use wasi_host::{HostReturn, Outcome, Output, Stdin, World, WorldConfig};
use wasm_view::{Cell, Value};

/// Error numbers, by the names of the specification.
pub const SUCCESS: u32 = 0;
pub const AGAIN: u32 = 6;
pub const BADF: u32 = 8;
pub const EXIST: u32 = 20;
pub const FAULT: u32 = 21;
pub const ILSEQ: u32 = 25;
pub const INVAL: u32 = 28;
pub const ISDIR: u32 = 31;
pub const LOOP: u32 = 32;
pub const NAMETOOLONG: u32 = 37;
pub const NOENT: u32 = 44;
pub const NOTDIR: u32 = 54;
pub const NOTEMPTY: u32 = 55;
pub const NOTSUP: u32 = 58;
pub const PERM: u32 = 63;
pub const SPIPE: u32 = 70;
pub const NOTCAPABLE: u32 = 76;

pub const FD_READ: u64 = 1 << 1;
pub const FD_SEEK: u64 = 1 << 2;
pub const FD_TELL: u64 = 1 << 5;
pub const FD_WRITE: u64 = 1 << 6;
/// All thirty rights.
pub const ALL: u64 = (1 << 30) - 1;

pub const CREAT: u64 = 1;
pub const DIRECTORY: u64 = 2;
pub const EXCL: u64 = 4;
pub const TRUNC: u64 = 8;
pub const APPEND: u64 = 1;

/// Where tests put things.
pub const PATH: u32 = 0x100;
pub const PATH2: u32 = 0x200;
pub const IOVEC: u32 = 0x300;
pub const RESULT: u32 = 0x400;
pub const BUFFER: u32 = 0x1000;

pub struct Guest {
    pub world: World,
    pub memory: Vec<u8>,
}

/// A configuration that touches nothing of the test process.
pub fn quiet() -> WorldConfig {
    WorldConfig {
        stdin: Stdin::Empty,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..WorldConfig::default()
    }
}

impl Guest {
    pub fn new(config: WorldConfig) -> Guest {
        Guest::of(World::live(config).expect("the world"))
    }

    pub fn of(world: World) -> Guest {
        Guest { world, memory: vec![0; 0x10000] }
    }

    /// A guest with one directory, descriptor 3.
    pub fn with_dir(path: &std::path::Path) -> Guest {
        Guest::new(WorldConfig { dirs: vec![(path.to_owned(), "/".to_owned())], ..quiet() })
    }

    /// The whole answer of a call; arguments take the types of the signature.
    pub fn full(&mut self, name: &str, args: &[u64]) -> HostReturn {
        let args = values(name, args);
        self.world.call(PREVIEW1, name, &args, &mut self.memory).expect(name)
    }

    /// The error number that a call returns.
    pub fn call(&mut self, name: &str, args: &[u64]) -> u32 {
        match self.full(name, args).outcome {
            Outcome::Return(values) => match values.as_slice() {
                [Value::I32(number)] => *number,
                other => panic!("{name} returned {other:?}"),
            },
            Outcome::Exit(code) => panic!("{name} exited with {code}"),
        }
    }

    pub fn put(&mut self, address: u32, bytes: &[u8]) {
        let start = address as usize;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub fn bytes(&self, address: u32, length: u32) -> &[u8] {
        &self.memory[address as usize..(address + length) as usize]
    }

    pub fn u32(&self, address: u32) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().unwrap())
    }

    pub fn u64(&self, address: u32) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    /// Puts a string at [`PATH`]; its address and length.
    pub fn path(&mut self, path: &str) -> [u64; 2] {
        self.put(PATH, path.as_bytes());
        [u64::from(PATH), path.len() as u64]
    }

    /// As [`Guest::path`], at [`PATH2`].
    pub fn path2(&mut self, path: &str) -> [u64; 2] {
        self.put(PATH2, path.as_bytes());
        [u64::from(PATH2), path.len() as u64]
    }

    /// Calls a function whose arguments are a descriptor and a path.
    pub fn on_path(&mut self, name: &str, fd: u32, path: &str) -> u32 {
        let [address, length] = self.path(path);
        self.call(name, &[u64::from(fd), address, length])
    }

    /// Opens below descriptor `fd` with these flags and rights.
    pub fn open_at(
        &mut self,
        fd: u32,
        path: &str,
        follow: bool,
        how: u64,
        rights: u64,
        flags: u64,
    ) -> Result<u32, u32> {
        let [address, length] = self.path(path);
        let args =
            [fd.into(), follow.into(), address, length, how, rights, rights, flags, RESULT.into()];
        match self.call("path_open", &args) {
            SUCCESS => Ok(self.u32(RESULT)),
            error => Err(error),
        }
    }

    /// Opens below descriptor 3 for reading and writing.
    pub fn open(&mut self, path: &str, how: u64) -> Result<u32, u32> {
        self.open_at(3, path, true, how, ALL, 0)
    }

    /// Builds the vectors at [`IOVEC`].
    pub fn iovecs(&mut self, ranges: &[(u32, u32)]) -> [u64; 2] {
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|(address, length)| [address.to_le_bytes(), length.to_le_bytes()].concat())
            .collect();
        self.put(IOVEC, &bytes);
        [u64::from(IOVEC), ranges.len() as u64]
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, u32> {
        self.put(BUFFER, bytes);
        let [address, count] = self.iovecs(&[(BUFFER, bytes.len() as u32)]);
        match self.call("fd_write", &[fd.into(), address, count, RESULT.into()]) {
            SUCCESS => Ok(self.u32(RESULT)),
            error => Err(error),
        }
    }

    pub fn read(&mut self, fd: u32, most: u32) -> Result<Vec<u8>, u32> {
        let [address, count] = self.iovecs(&[(BUFFER, most)]);
        match self.call("fd_read", &[fd.into(), address, count, RESULT.into()]) {
            SUCCESS => Ok(self.bytes(BUFFER, self.u32(RESULT)).to_vec()),
            error => Err(error),
        }
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u64) -> Result<u64, u32> {
        match self.call("fd_seek", &[fd.into(), offset as u64, whence, RESULT.into()]) {
            SUCCESS => Ok(self.u64(RESULT)),
            error => Err(error),
        }
    }
}

/// Arguments in the types of the function's signature.
pub fn values(name: &str, args: &[u64]) -> Vec<Value> {
    let ty = wasi_host::signature(PREVIEW1, name).expect(name);
    assert_eq!(ty.params.len(), args.len(), "{name}");
    ty.params.iter().zip(args).map(|(&ty, &bits)| Value::from_cell(ty, Cell(bits))).collect()
}
