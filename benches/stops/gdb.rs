//! gdb on the stand-alone program, timed from inside.
//!
//! Both ways of using it have a breakpoint at every boundary and are timed by
//! gdb's own Python between two stops, so that starting gdb, reading the file
//! and planting the breakpoints count for nothing. Its output goes nowhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A way to use gdb.
#[derive(Clone, Copy)]
pub enum Way {
    /// `info registers` and `continue`, over and over.
    Commands,
    /// A `gdb.Breakpoint` whose `stop()` reads sixteen registers and 64 bytes
    /// of stack and lets the program go on.
    Python,
}

/// The stand-alone program and where to stop it.
pub struct Debugged<'a> {
    /// The executable.
    pub program: &'a Path,
    /// Addresses of the breakpoints.
    pub addresses: &'a [u64],
    /// A directory for scripts and figures.
    pub scratch: &'a Path,
}

const COMMANDS: &str = r#"
run
python import time; begin = time.monotonic()
set $i = 0
while $i < STOPS
  info registers
  continue
  set $i = $i + 1
end
python open("FIGURES", "w").write(str(time.monotonic() - begin))
kill
"#;

const PYTHON: &str = r#"
python
import time
REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]
class Boundary(gdb.Breakpoint):
    count = 0
    def stop(self):
        if Boundary.count == 0:
            Boundary.begin = time.monotonic()
        if Boundary.count == STOPS:
            Boundary.end = time.monotonic()
            return True
        Boundary.count += 1
        frame = gdb.newest_frame()
        values = [int(frame.read_register(name)) for name in REGISTERS]
        gdb.selected_inferior().read_memory(values[7] & (1 << 64) - 1, 64)
        return False
for address in [ADDRESSES]:
    Boundary("*%d" % address)
gdb.execute("run")
open("FIGURES", "w").write(str(Boundary.end - Boundary.begin))
gdb.execute("kill")
end
"#;

/// Whether there is a gdb, and which.
pub fn version() -> Option<String> {
    let output = Command::new("gdb").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next()?.to_string())
}

/// Stops a second that gdb makes, over this many of them.
///
/// # Errors
/// What gdb complained of.
pub fn rate(debugged: &Debugged<'_>, way: Way, stops: u64) -> Result<f64, String> {
    let figures = debugged.scratch.join("figures");
    let _ = std::fs::remove_file(&figures);
    let mut script = String::from("set pagination off\nset confirm off\nset width 0\n");
    script.push_str("set startup-with-shell off\n");
    let body = match way {
        Way::Commands => {
            for address in debugged.addresses {
                let _ = writeln!(script, "break *{address}");
            }
            COMMANDS
        }
        Way::Python => PYTHON,
    };
    let addresses: Vec<String> = debugged.addresses.iter().map(u64::to_string).collect();
    script.push_str(
        &body
            .replace("STOPS", &stops.to_string())
            .replace("FIGURES", &figures.display().to_string())
            .replace("ADDRESSES", &addresses.join(",")),
    );
    let path: PathBuf = debugged.scratch.join("script.gdb");
    std::fs::write(&path, script).map_err(|error| error.to_string())?;
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-x"])
        .arg(&path)
        .arg(debugged.program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let seconds = std::fs::read_to_string(&figures)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(stops as f64 / seconds)
}
