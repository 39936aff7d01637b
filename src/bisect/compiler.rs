//! A compiler as bisection sees it: a function from a module to an image.
//!
//! It is our own backend with some options, perhaps with a fault on purpose, or
//! another `wdiff` binary, of which the `compile` is used. A fault on purpose is
//! part of the compiler: *this operator is miscompiled in this way*. Of the
//! program itself the operator is named by its place; in a module that was cut
//! out of the program the place is another one, and the cut says which
//! ([`Moved`]). Where the operator is not in the cut at all, the compiler at
//! fault would not be at fault, so there is no image: such a cut shows nothing.

use crate::cli::Opt;
use crate::error::CommandError;
use crate::inject::Fault;
use crate::lockstep::stops;
use crate::program::Program;
use crate::run;
use aot_backend::{CompileOptions, Image};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wasm_view::{FuncIdx, WasmOffset};

/// Where the instructions of a program are in a module cut out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Functions of the program, and which ones they are in the cut.
    pub funcs: BTreeMap<FuncIdx, FuncIdx>,
    /// Offsets in the program, and in the cut.
    pub offsets: BTreeMap<WasmOffset, WasmOffset>,
}

/// A compiler.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// How it is called in reports.
    pub name: String,
    /// The options.
    pub options: CompileOptions,
    /// These options as a command line has them.
    pub words: Vec<String>,
    /// The fault, as `--inject` takes it.
    pub fault: Option<String>,
    /// A `wdiff` binary instead of our own backend.
    pub binary: Option<PathBuf>,
}

/// How a binary is to compile one function.
pub type Apart = Option<(FuncIdx, Opt)>;

impl Compiler {
    /// The same compiler without its fault.
    pub fn sound(&self) -> Compiler {
        Compiler { fault: None, name: format!("{}, no fault injected", self.name), ..self.clone() }
    }

    /// Compiles a program. A fault in the function that is compiled apart is
    /// not there: it was in the other code.
    ///
    /// # Errors
    /// What the compiler refuses; a fault that fits nowhere.
    pub fn compile(&self, program: &Program, apart: Apart) -> Result<Image, CommandError> {
        let mut image = match &self.binary {
            None => {
                let apart = apart.map(|(func, opt)| (func, opt.level()));
                let options = CompileOptions { apart, ..self.options.clone() };
                run::compile_with(program, &options)?
            }
            Some(binary) => self.call(binary, program, apart)?,
        };
        let Some(text) = &self.fault else { return Ok(image) };
        let fault = Fault::parse(text, &program.module, &image)?;
        if apart.is_some_and(|(func, _)| fault.func() == Some(func)) {
            return Ok(image);
        }
        fault.inject(&mut image)?;
        Ok(image)
    }

    /// Compiles a module cut out of a program. `None` if this compiler does not
    /// take it, or its fault has no place there.
    ///
    /// # Errors
    /// Bugs of ours.
    pub fn compile_cut(&self, cut: &Program, moved: &Moved) -> Result<Option<Image>, CommandError> {
        let compiler = match self.fault_in(moved) {
            Some(fault) => Compiler { fault, ..self.clone() },
            None => return Ok(None),
        };
        match compiler.compile(cut, None) {
            Ok(image) => Ok(Some(image)),
            Err(CommandError::Input { .. } | CommandError::Inconclusive { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The fault as `--inject` takes it for a cut; `None` if it has no place
    /// there. (`Some(None)`: there is no fault.)
    pub fn fault_in(&self, moved: &Moved) -> Option<Option<String>> {
        let Some(text) = &self.fault else { return Some(None) };
        if text.starts_with("every:") {
            return Some(Some(text.clone()));
        }
        let (place, kind) = text.strip_prefix("code:")?.rsplit_once(':')?;
        let (func, offset) = place.rsplit_once(':')?;
        let offset = stops::parse_offset(offset).ok()?;
        // The function by index: `bisect` has resolved names before.
        let func = FuncIdx::new(func.strip_prefix('#')?.parse().ok()?);
        let (func, offset) = (moved.funcs.get(&func)?, moved.offsets.get(&offset)?);
        Some(Some(format!("code:{func}:{offset}:{kind}")))
    }

    fn call(&self, binary: &Path, program: &Program, apart: Apart) -> Result<Image, CommandError> {
        let scratch = tempfile::tempdir().map_err(CommandError::host)?;
        let (wasm, image) = (scratch.path().join("module.wasm"), scratch.path().join("image"));
        std::fs::write(&wasm, program.wasm.as_slice()).map_err(CommandError::host)?;
        let mut command = Command::new(binary);
        command.arg("compile").arg(&wasm).arg("-o").arg(&image).args(&self.words);
        if let Some((func, opt)) = apart {
            command.arg("--opt-of").arg(format!("{func}:{}", opt.as_str()));
        }
        let ran = command.stdin(Stdio::null()).output();
        let ran = ran.map_err(|error| CommandError::file("run", binary, error))?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(CommandError::unsupported(format_args!(
                "{} compile: {}: {}",
                binary.display(),
                ran.status,
                said.lines().next().unwrap_or("it said nothing")
            )));
        }
        let bytes = std::fs::read(&image).map_err(|e| CommandError::file("read", &image, e))?;
        Image::from_elf(&bytes).map_err(|error| {
            CommandError::unsupported(format_args!(
                "{} compile: not an image that this wdiff can use: {error}",
                binary.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_moves_with_its_operator() {
        let offsets = BTreeMap::from([(WasmOffset::new(0x123), WasmOffset::new(0x29))]);
        let funcs = BTreeMap::from([(FuncIdx::new(7), FuncIdx::new(1))]);
        let moved = Moved { funcs, offsets };
        let with = |fault: Option<&str>| Compiler {
            name: "ours".to_owned(),
            options: CompileOptions::default(),
            words: Vec::new(),
            fault: fault.map(str::to_owned),
            binary: None,
        };
        let there = Some(Some("code:#1:0x29:swap".to_owned()));
        assert_eq!(with(Some("code:#7:0x123:swap")).fault_in(&moved), there);
        assert_eq!(with(Some("code:#7:291:swap")).fault_in(&moved), there);
        // Another instruction, another function, no code.
        assert_eq!(with(Some("code:#7:0x124:swap")).fault_in(&moved), None);
        assert_eq!(with(Some("code:#8:0x123:swap")).fault_in(&moved), None);
        assert_eq!(with(Some("map:#7:0x123:0")).fault_in(&moved), None);
        let every = "every:i32.mul:swap";
        assert_eq!(with(Some(every)).fault_in(&moved), Some(Some(every.to_owned())));
        assert_eq!(with(None).fault_in(&moved), Some(None));
    }
}
