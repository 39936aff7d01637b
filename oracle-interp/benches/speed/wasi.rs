//! The least of WASI preview 1 that a filter program needs, the same for every
//! engine: arguments, standard input from memory, output into memory, clocks
//! and chance that stand still. Whatever else is asked for does not exist.

/// An engine's memory.
pub trait GuestMemory {
    fn read(&self, address: u32, into: &mut [u8]);
    fn write(&mut self, address: u32, bytes: &[u8]);

    fn read_u32(&self, address: u32) -> u32 {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write_u32(&mut self, address: u32, value: u32) {
        self.write(address, &value.to_le_bytes());
    }
}

impl GuestMemory for &mut [u8] {
    fn read(&self, address: u32, into: &mut [u8]) {
        into.copy_from_slice(&self[address as usize..][..into.len()]);
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const NOENT: u32 = 44;
const NOSYS: u32 = 52;
const SPIPE: u32 = 70;

/// One run's world.
#[derive(Clone, Debug, Default)]
pub struct Wasi {
    pub args: Vec<&'static str>,
    pub stdin: Vec<u8>,
    read: usize,
    /// What was written to any descriptor.
    pub output: Vec<u8>,
}

/// The program ended itself.
#[derive(Clone, Copy, Debug)]
pub struct Exit(pub u32);

impl Wasi {
    pub fn new(args: &[&'static str], stdin: &[u8]) -> Wasi {
        Wasi { args: args.to_vec(), stdin: stdin.to_vec(), ..Wasi::default() }
    }

    /// Serves the function `name`; the answer is its error number. `proc_exit`
    /// with code 0 is an `Exit` too.
    pub fn call(
        &mut self,
        name: &str,
        args: &[u64],
        memory: &mut dyn GuestMemory,
    ) -> Result<u32, Exit> {
        let arg = |index: usize| args[index] as u32;
        Ok(match name {
            "args_sizes_get" => {
                memory.write_u32(arg(0), self.args.len() as u32);
                let bytes: usize = self.args.iter().map(|arg| arg.len() + 1).sum();
                memory.write_u32(arg(1), bytes as u32);
                SUCCESS
            }
            "args_get" => {
                let (mut pointer, mut to) = (arg(0), arg(1));
                for arg in &self.args {
                    memory.write_u32(pointer, to);
                    memory.write(to, arg.as_bytes());
                    memory.write(to + arg.len() as u32, &[0]);
                    pointer += 4;
                    to += arg.len() as u32 + 1;
                }
                SUCCESS
            }
            "environ_sizes_get" => {
                memory.write_u32(arg(0), 0);
                memory.write_u32(arg(1), 0);
                SUCCESS
            }
            "environ_get" | "fd_close" | "fd_fdstat_set_flags" => SUCCESS,
            "clock_time_get" => {
                memory.write(arg(2), &1_000_000_000_u64.to_le_bytes());
                SUCCESS
            }
            "random_get" => {
                memory.write(arg(0), &vec![4; arg(1) as usize]);
                SUCCESS
            }
            "fd_fdstat_get" if arg(0) <= 2 => {
                // A regular file, every right.
                let mut stat = [0; 24];
                stat[0] = 4;
                stat[8..].fill(0xff);
                memory.write(arg(1), &stat);
                SUCCESS
            }
            "fd_fdstat_get" | "fd_prestat_get" | "fd_prestat_dir_name" => BADF,
            "fd_read" if arg(0) == 0 => {
                let before = self.read;
                for vector in 0..arg(2) {
                    let (to, length) = vector_at(memory, arg(1) + 8 * vector);
                    let rest = &self.stdin[self.read..];
                    let taken = &rest[..rest.len().min(length)];
                    memory.write(to, taken);
                    self.read += taken.len();
                }
                memory.write_u32(arg(3), (self.read - before) as u32);
                SUCCESS
            }
            "fd_read" => BADF,
            "fd_write" => {
                let before = self.output.len();
                for vector in 0..arg(2) {
                    let (from, length) = vector_at(memory, arg(1) + 8 * vector);
                    let start = self.output.len();
                    self.output.resize(start + length, 0);
                    memory.read(from, &mut self.output[start..]);
                }
                memory.write_u32(arg(3), (self.output.len() - before) as u32);
                SUCCESS
            }
            "fd_seek" => SPIPE,
            "path_open" | "path_filestat_get" => NOENT,
            "proc_exit" => return Err(Exit(arg(0))),
            _ => NOSYS,
        })
    }
}

fn vector_at(memory: &dyn GuestMemory, address: u32) -> (u32, usize) {
    (memory.read_u32(address), memory.read_u32(address + 4) as usize)
}
