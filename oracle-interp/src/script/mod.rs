//! Runs scripts of the specification's test suite (`.wast`) on an oracle.
//!
//! A script is a list of directives: modules to instantiate, functions to
//! call, and what should come of it. How a function is called is left to a
//! [`Driver`], so that the same scripts test the fast path, single steps with
//! the self-check, or an execution beside another engine, which is told of
//! every instance too and may refuse modules.
//!
//! Scripts import from `spectest`, a module whose functions are the host's and
//! do nothing; its other exports are an instance's like any.
//!
//! Three things are kept apart in the [`Tally`]: assertions that ran;
//! assertions about modules that use what the oracle does not support, counted
//! by reason; and assertions about the text format, which test the parser of
//! scripts and nothing of ours.

mod drive;
mod taint;
mod values;

pub use drive::{Reloading, Running, Scrambling, Stepping};

use crate::{DecodeError, ExportKind, Extern, InstantiateError, Limits, Module, Oracle, selfcheck};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taint::Taint;
use values::{argument, matches_result};
use wasm_view::{ExnId, FuncAddr, FuncIdx, InstanceId, Trap, Value};
use wasmparser::{Validator, WasmFeatures};
use wast::lexer::Lexer;
use wast::parser::ParseBuffer;
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned these results.
    Returned(Vec<Value>),
    /// It trapped.
    Trapped(Trap),
    /// It ended with an exception.
    Thrown(ExnId),
    /// It ran into a limit of the oracle's stack.
    Exhausted,
}

/// Executes a call to its end.
pub trait Driver {
    /// Calls `func`; `Err` describes a failure of the oracle itself.
    ///
    /// # Errors
    /// What the interpreter did that it must not do.
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> std::result::Result<Outcome, String>;

    /// Limits of the oracle that scripts run in.
    fn limits(&self) -> Limits {
        Limits {
            max_frames: 20_000,
            max_value_cells: 1 << 20,
            max_memory_pages: 1 << 18,
            max_table_elements: 20_000_000,
            ..Limits::default()
        }
    }

    /// Whether a module of the script can be instantiated; it is not if this
    /// fails.
    ///
    /// # Errors
    /// What it would need, as the reason for which it is counted.
    fn accept(&mut self, _module: &Module) -> std::result::Result<(), String> {
        Ok(())
    }

    /// The oracle has made an instance, its start function not run yet, or has
    /// trapped while making it. The first one is `spectest`.
    ///
    /// # Errors
    /// As [`Driver::call`].
    fn instantiated(
        &mut self,
        _oracle: &mut Oracle,
        _instance: InstanceId,
        _trap: Option<Trap>,
    ) -> std::result::Result<(), String> {
        Ok(())
    }

    /// The directive at a line and column, from 1, comes next. The script ends
    /// before it if the answer is false.
    fn goes_on(&mut self, _line: usize, _column: usize) -> bool {
        true
    }
}

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Assertions that held.
    pub passed: u32,
    /// Of these, those about what code does: calls, instantiations, globals.
    /// The others are about modules that are invalid or do not link.
    pub executed: u32,
    /// Directives that the driver did not go on to.
    pub left: u32,
    /// What failed, with file, line and reason.
    pub failures: Vec<String>,
    /// Assertions and modules that could not be tried, by reason.
    pub unsupported: BTreeMap<String, u32>,
    /// Assertions about the text format.
    pub text_format: u32,
    /// Assertions that a module is invalid which it is in the script's version
    /// of WebAssembly, and no longer is.
    pub superseded: u32,
}

impl Tally {
    /// Adds another script's.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.executed += other.executed;
        self.left += other.left;
        self.text_format += other.text_format;
        self.superseded += other.superseded;
        self.failures.extend(other.failures);
        for (reason, count) in other.unsupported {
            *self.unsupported.entry(reason).or_default() += count;
        }
    }
}

/// Why a directive did not succeed.
enum Problem {
    Failed(String),
    /// Not tried; the reason.
    Unsupported(String),
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Problem::Failed(message)
    }
}

type Result<T, E = Problem> = std::result::Result<T, E>;

/// What a directive that holds was about.
enum Kind {
    /// About what code does.
    Execution,
    /// About a module that is invalid or does not link.
    Assertion,
    Action,
    TextFormat,
    Superseded,
}

/// The outcome of making an instance.
enum Made {
    Instance(InstanceId),
    Trapped(Trap),
    Unlinkable(String),
}

/// The functions of `spectest`, each an import of the host's that is exported
/// again.
const SPECTEST_FUNCTIONS: &str = r#"
    (func (export "print") (import "spectest" "print"))
    (func (export "print_i32") (import "spectest" "print_i32") (param i32))
    (func (export "print_i64") (import "spectest" "print_i64") (param i64))
    (func (export "print_f32") (import "spectest" "print_f32") (param f32))
    (func (export "print_f64") (import "spectest" "print_f64") (param f64))
    (func (export "print_i32_f32") (import "spectest" "print_i32_f32") (param i32 f32))
    (func (export "print_f64_f64") (import "spectest" "print_f64_f64") (param f64 f64))"#;

/// The rest of the module that scripts import as `spectest` (specification,
/// "test/core").
const SPECTEST: &str = r#"
    (global (export "global_i32") i32 (i32.const 666))
    (global (export "global_i64") i64 (i64.const 666))
    (global (export "global_f32") f32 (f32.const 666.6))
    (global (export "global_f64") f64 (f64.const 666.6))
    (table (export "table") 10 20 funcref)
    (table (export "table64") i64 10 20 funcref)
    (memory (export "memory") 1 2)
    (memory (export "shared_memory") 1 2 shared)"#;

/// Executes scripts, each in a store of its own.
struct Runner<'d> {
    driver: &'d mut dyn Driver,
    features: WasmFeatures,
    oracle: Oracle,
    /// Definitions by script name.
    definitions: HashMap<String, Arc<Module>>,
    /// Instances by script name; `Err` is the reason for there being none.
    named: HashMap<String, std::result::Result<InstanceId, String>>,
    /// Instances by the name they are imported under.
    registered: HashMap<String, std::result::Result<InstanceId, String>>,
    /// The instance that actions without a name mean.
    current: Option<std::result::Result<InstanceId, String>>,
    /// What would be otherwise, had everything been run.
    taint: Taint,
}

fn buffer(script: &str) -> std::result::Result<ParseBuffer<'_>, wast::Error> {
    let mut lexer = Lexer::new(script);
    lexer.allow_confusing_unicode(true);
    ParseBuffer::new_with_lexer(lexer)
}

/// Where the lines of a text begin. (`Span::linecol_in` reads the text up to the
/// span each time: in a script of thousands of directives that took longer than
/// running them.)
fn line_starts(script: &str) -> Vec<usize> {
    let ends = script.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

/// Line and column of an offset, from 0.
fn line_and_column(lines: &[usize], offset: usize) -> (usize, usize) {
    let line = lines.partition_point(|start| *start <= offset).saturating_sub(1);
    (line, offset - lines.get(line).copied().unwrap_or_default())
}

/// Checks that a text is a script.
///
/// # Errors
/// `:LINE:COLUMN: what is wrong`.
pub fn parse(script: &str) -> std::result::Result<(), String> {
    buffer(script).and_then(|buffer| wast::parser::parse::<Wast<'_>>(&buffer).map(|_| ())).map_err(
        |error| {
            let (line, column) = error.span().linecol_in(script);
            format!(":{}:{}: {}", line + 1, column + 1, error.message())
        },
    )
}

/// Runs a script that was written for WebAssembly with these features. `file`
/// is its name in messages.
pub fn run(driver: &mut dyn Driver, features: WasmFeatures, file: &str, script: &str) -> Tally {
    let mut tally = Tally::default();
    let parsed = buffer(script);
    let parsed = parsed.as_ref().map_err(ToString::to_string).and_then(|buffer| {
        wast::parser::parse::<Wast<'_>>(buffer).map_err(|error| error.to_string())
    });
    let directives = match parsed {
        Ok(wast) => wast.directives,
        Err(error) => {
            tally.failures.push(format!("{file}: {error}"));
            return tally;
        }
    };
    let limits = driver.limits();
    let mut runner = Runner {
        driver,
        features,
        oracle: Oracle::new(limits),
        definitions: HashMap::new(),
        named: HashMap::new(),
        registered: HashMap::new(),
        current: None,
        taint: Taint::default(),
    };
    if let Err(message) = runner.add_spectest() {
        tally.failures.push(format!("{file}: {message}"));
        return tally;
    }
    let lines = line_starts(script);
    let mut directives = directives.into_iter();
    while let Some(directive) = directives.next() {
        let (line, column) = line_and_column(&lines, directive.span().offset());
        if !runner.driver.goes_on(line + 1, column + 1) {
            tally.left = 1 + directives.len() as u32;
            break;
        }
        match runner.directive(directive) {
            Ok(Kind::Execution) => {
                tally.passed += 1;
                tally.executed += 1;
            }
            Ok(Kind::Assertion) => tally.passed += 1,
            Ok(Kind::Action) => {}
            Ok(Kind::TextFormat) => tally.text_format += 1,
            Ok(Kind::Superseded) => tally.superseded += 1,
            Err(Problem::Unsupported(reason)) => {
                *tally.unsupported.entry(reason).or_default() += 1;
            }
            Err(Problem::Failed(message)) => {
                let at = format!("{file}:{}:{}", line + 1, column + 1);
                tally.failures.push(format!("{at}: {message}"));
            }
        }
    }
    tally
}

impl Runner<'_> {
    fn add_spectest(&mut self) -> Result<(), String> {
        let text = format!("(module {SPECTEST_FUNCTIONS} {SPECTEST})");
        let bytes = wat::parse_str(text).map_err(|error| error.to_string())?;
        let module = Module::decode(&bytes).map_err(|error| error.to_string())?;
        let imports = vec![Extern::HostFunc; module.imports().len()];
        let instance = self
            .oracle
            .instantiate(Arc::new(module), &imports)
            .map_err(|error| error.to_string())?;
        self.driver.instantiated(&mut self.oracle, instance, None)?;
        self.registered.insert("spectest".to_string(), Ok(instance));
        Ok(())
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Result<Kind> {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name();
                self.current = None;
                let made = self.make(&mut module);
                self.define(name, made)?;
                Ok(Kind::Action)
            }
            WastDirective::ModuleDefinition(mut definition) => {
                let name = id_name(definition.name());
                let module = decode(&mut definition)?;
                self.definitions.insert(name, module);
                Ok(Kind::Action)
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let name = id_name(module);
                let module =
                    self.definitions.get(&name).cloned().ok_or_else(|| {
                        Problem::Unsupported(format!("definition `{name}` refused"))
                    })?;
                let made = self.instantiate(module);
                self.define(instance, made)?;
                Ok(Kind::Action)
            }
            WastDirective::Register { name, module, .. } => {
                // An unsupported module is registered as such.
                let instance = self.instance(module)?;
                self.registered.insert(name.to_string(), instance);
                Ok(Kind::Action)
            }
            WastDirective::Invoke(invoke) => {
                match self.invoke(&invoke)? {
                    Outcome::Returned(_) => {}
                    other => return Err(Problem::Failed(format!("invoke: {other:?}"))),
                }
                Ok(Kind::Action)
            }
            WastDirective::AssertReturn { exec, results, .. } => {
                let outcome = self.execute(exec)?;
                expect_return(&self.oracle, &outcome, &results)?;
                Ok(Kind::Execution)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                match self.execute(exec)? {
                    Outcome::Trapped(trap) if same_message(trap.text(), message) => {}
                    other => {
                        let message = format!("expected trap `{message}`, got {other:?}");
                        return Err(Problem::Failed(message));
                    }
                }
                Ok(Kind::Execution)
            }
            WastDirective::AssertExhaustion { call, .. } => match self.invoke(&call)? {
                Outcome::Exhausted => Ok(Kind::Execution),
                other => Err(Problem::Failed(format!("expected exhaustion, got {other:?}"))),
            },
            WastDirective::AssertInvalid { mut module, message, .. } => {
                if module.encode().is_err() {
                    return Ok(Kind::TextFormat);
                }
                self.expect_invalid(&mut module, message)
            }
            WastDirective::AssertMalformed { mut module, message, .. } => match &module {
                QuoteWat::Wat(_) => self.expect_invalid(&mut module, message),
                _ => Ok(Kind::TextFormat),
            },
            WastDirective::AssertUnlinkable { module, message, .. } => match self
                .make_unlinkable(&mut QuoteWat::Wat(module))?
            {
                Made::Unlinkable(actual) if same_message(&actual, message) => Ok(Kind::Assertion),
                Made::Unlinkable(actual) => {
                    Err(Problem::Failed(format!("expected `{message}`, got `{actual}`")))
                }
                _ => Err(Problem::Failed(format!("expected `{message}`, but it linked"))),
            },
            WastDirective::AssertException { exec, .. } => match self.execute(exec)? {
                Outcome::Thrown(_) => Ok(Kind::Execution),
                other => Err(Problem::Failed(format!("expected an exception, got {other:?}"))),
            },
            WastDirective::AssertSuspension { .. } => {
                Err(Problem::Unsupported("stack switching (assert_suspension)".to_string()))
            }
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                Err(Problem::Unsupported("threads (thread)".to_string()))
            }
            WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => Ok(Kind::TextFormat),
        }
    }

    /// Makes what came of a module the current and the named instance.
    fn define(&mut self, name: Option<Id<'_>>, made: Result<Made>) -> Result<()> {
        let (instance, result) = match made {
            Ok(Made::Instance(instance)) => (Ok(instance), Ok(())),
            Ok(Made::Trapped(trap)) => (
                Err("its instantiation failed".to_string()),
                Err(Problem::Failed(format!("instantiation trapped: {trap}"))),
            ),
            Ok(Made::Unlinkable(message)) => {
                (Err("its instantiation failed".to_string()), Err(Problem::Failed(message)))
            }
            Err(Problem::Unsupported(reason)) => {
                (Err(reason.clone()), Err(Problem::Unsupported(reason)))
            }
            Err(failed) => (Err("its instantiation failed".to_string()), Err(failed)),
        };
        if name.is_some() {
            self.named.insert(id_name(name), instance.clone());
        }
        self.current = Some(instance);
        result
    }

    fn make(&mut self, module: &mut QuoteWat<'_>) -> Result<Made> {
        let module = decode(module)?;
        self.instantiate(module)
    }

    /// A module that should not link, and so need not be accepted.
    fn make_unlinkable(&mut self, module: &mut QuoteWat<'_>) -> Result<Made> {
        let module = decode(module)?;
        self.link(module)
    }

    fn instantiate(&mut self, module: Arc<Module>) -> Result<Made> {
        if let Err(reason) = self.driver.accept(&module) {
            let imported = module.imports().iter().filter_map(|import| {
                let instance = *self.registered.get(&import.module)?.as_ref().ok()?;
                self.exported(instance, &import.name)
            });
            let imported: Vec<Extern> = imported.collect();
            self.taint.spread(&self.oracle, &imported, &reason);
            return Err(Problem::Unsupported(reason));
        }
        self.link(module)
    }

    fn link(&mut self, module: Arc<Module>) -> Result<Made> {
        let mut imports = Vec::new();
        for import in module.imports() {
            let name = format!("`{}` `{}`", import.module, import.name);
            let instance = match self.registered.get(&import.module) {
                None => return Ok(Made::Unlinkable(format!("unknown import {name}"))),
                Some(Err(reason)) => return Err(Problem::Unsupported(reason.clone())),
                Some(Ok(instance)) => *instance,
            };
            match self.exported(instance, &import.name) {
                Some(found) => imports.push(found),
                None => return Ok(Made::Unlinkable(format!("unknown import {name}"))),
            }
        }
        if let Some(reason) = self.taint.of_imports(&self.oracle, &imports) {
            self.taint.spread(&self.oracle, &imports, &reason);
            return Err(Problem::Unsupported(reason));
        }
        let start = module.start();
        let instance = match self.oracle.instantiate(module, &imports) {
            Ok(instance) => {
                self.driver.instantiated(&mut self.oracle, instance, None)?;
                instance
            }
            Err(InstantiateError::Trap { instance, trap }) => {
                self.driver.instantiated(&mut self.oracle, instance, Some(trap))?;
                return Ok(Made::Trapped(trap));
            }
            Err(InstantiateError::Import { mismatch, .. }) => {
                return Ok(Made::Unlinkable(mismatch.to_string()));
            }
            Err(InstantiateError::Limit(limit)) => {
                let reason = format!("more than the oracle's limit of {limit}");
                self.taint.spread(&self.oracle, &imports, &reason);
                return Err(Problem::Unsupported(reason));
            }
            Err(other) => return Err(Problem::Failed(other.to_string())),
        };
        let Some(start) = start else {
            return Ok(Made::Instance(instance));
        };
        let func = self.oracle.instance(instance).resolve(start);
        match self.driver.call(&mut self.oracle, func, &[])? {
            Outcome::Returned(_) => Ok(Made::Instance(instance)),
            Outcome::Trapped(trap) => Ok(Made::Trapped(trap)),
            Outcome::Exhausted => Err(Problem::Failed("start exhausted the stack".to_string())),
            Outcome::Thrown(_) => Err(Problem::Failed("start threw an exception".to_string())),
        }
    }

    fn exported(&self, instance: InstanceId, name: &str) -> Option<Extern> {
        let instance = self.oracle.instance(instance);
        let export = instance.module.export(name)?;
        let index = export.index as usize;
        Some(match export.kind {
            ExportKind::Func => Extern::Func(instance.resolve(FuncIdx::new(export.index))),
            ExportKind::Memory => Extern::Memory(instance.memories[index]),
            ExportKind::Table => Extern::Table(instance.tables[index]),
            ExportKind::Global => Extern::Global(instance.globals[index]),
            ExportKind::Tag => Extern::Tag(instance.tags[index]),
        })
    }

    /// The instance of a name, or the current one.
    fn instance(&self, name: Option<Id<'_>>) -> Result<std::result::Result<InstanceId, String>> {
        let found = match name {
            Some(name) => self.named.get(name.name()),
            None => self.current.as_ref(),
        };
        found.cloned().ok_or_else(|| Problem::Failed("there is no such instance".to_string()))
    }

    fn usable_instance(&self, name: Option<Id<'_>>) -> Result<InstanceId> {
        let instance = self.instance(name)?.map_err(Problem::Unsupported)?;
        match self.taint.of(&self.oracle, instance) {
            None => Ok(instance),
            Some(reason) => Err(Problem::Unsupported(reason)),
        }
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Outcome> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => {
                let instance = self.usable_instance(module)?;
                match self.exported(instance, global) {
                    Some(Extern::Global(id)) => {
                        Ok(Outcome::Returned(vec![self.oracle.global_value(id)]))
                    }
                    _ => Err(Problem::Failed(format!("there is no global `{global}`"))),
                }
            }
            WastExecute::Wat(module) => match self.make(&mut QuoteWat::Wat(module))? {
                Made::Instance(_) => Ok(Outcome::Returned(Vec::new())),
                Made::Trapped(trap) => Ok(Outcome::Trapped(trap)),
                Made::Unlinkable(message) => Err(Problem::Failed(message)),
            },
        }
    }

    /// That the binary form of `module` does not decode.
    fn expect_invalid(&self, module: &mut QuoteWat<'_>, message: &str) -> Result<Kind> {
        let bytes = module.encode().map_err(|error| Problem::Failed(error.to_string()))?;
        match Module::decode(&bytes) {
            // What some unfinished proposal would allow is refused all the same.
            Err(_) => Ok(Kind::Assertion),
            // Decoding accepts every finished proposal; was it wrong then?
            Ok(_) if Validator::new_with_features(self.features).validate_all(&bytes).is_err() => {
                Ok(Kind::Superseded)
            }
            Ok(_) => Err(Problem::Failed(format!("expected `{message}`, but it is valid"))),
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Outcome> {
        let instance = self.usable_instance(invoke.module)?;
        let Some(Extern::Func(func)) = self.exported(instance, invoke.name) else {
            return Err(Problem::Failed(format!("there is no function `{}`", invoke.name)));
        };
        let args = invoke.args.iter().map(argument).collect::<std::result::Result<Vec<_>, _>>();
        let args = args.map_err(Problem::Unsupported)?;
        Ok(self.driver.call(&mut self.oracle, func, &args)?)
    }
}

fn id_name(id: Option<Id<'_>>) -> String {
    id.map_or(String::new(), |id| id.name().to_string())
}

fn decode(module: &mut QuoteWat<'_>) -> Result<Arc<Module>> {
    if let QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..) = module {
        return Err(Problem::Unsupported("component model (component)".to_string()));
    }
    let bytes = module.encode().map_err(|error| Problem::Failed(error.to_string()))?;
    match Module::decode(&bytes) {
        Ok(module) => match selfcheck::check_branches(&module) {
            Ok(()) => Ok(Arc::new(module)),
            Err(difference) => Err(Problem::Failed(difference.to_string())),
        },
        Err(DecodeError::Unsupported { feature, .. }) => Err(Problem::Unsupported(feature)),
        Err(other) => Err(Problem::Failed(other.to_string())),
    }
}

fn same_message(actual: &str, expected: &str) -> bool {
    actual.starts_with(expected) || expected.starts_with(actual)
}

fn expect_return(oracle: &Oracle, outcome: &Outcome, expected: &[WastRet<'_>]) -> Result<()> {
    let Outcome::Returned(actual) = outcome else {
        return Err(Problem::Failed(format!("expected results, got {outcome:?}")));
    };
    if actual.len() != expected.len() {
        return Err(Problem::Failed(format!(
            "expected {} results, got {}",
            expected.len(),
            actual.len()
        )));
    }
    for (&actual, expected) in actual.iter().zip(expected) {
        let WastRet::Core(expected) = expected else {
            return Err(Problem::Unsupported("component model (result)".to_string()));
        };
        if !matches_result(oracle, actual, expected) {
            return Err(Problem::Failed(format!(
                "expected {expected:?}, got {actual:?} ({})",
                actual.hex()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wast::token::Span;

    #[test]
    fn places_are_those_of_the_parser() {
        let script = "(module)\n\n  (assert_return (invoke \"ä\"))\n(module";
        let lines = line_starts(script);
        for offset in 0..script.len() {
            let expected = Span::from_offset(offset).linecol_in(script);
            assert_eq!(line_and_column(&lines, offset), expected, "at {offset}");
        }
    }
}
