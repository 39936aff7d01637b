//! `wdiff map`: the map of an image, printed or checked.

use crate::cli::MapArgs;
use crate::error::CommandError;
use crate::lockstep::compare::{describe_expression, describe_register};
use crate::lockstep::stops::parse_function;
use crate::{disasm, program, run};
use aot_backend::Image;
use dwarf_map::check::Violation;
use dwarf_map::unwind::Unwinder;
use dwarf_map::{Anchor, BoundaryMap, FunctionMap, Handler, Isa, Location};
use std::collections::HashMap;
use std::io::{self, Write};
use wasm_view::{ValType, Value};

/// Runs the subcommand.
///
/// # Errors
/// Bad input; what is not supported.
pub fn main(args: &MapArgs) -> Result<u8, CommandError> {
    let mut program = program::load(&args.image)?;
    let image = match program.image.take() {
        Some(image) => image,
        None => run::compile_program(&program, &args.backend, true)?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = if args.check {
        return check(&image);
    } else if let Some(name) = &args.func {
        let func = parse_function(name, &program.module)?;
        let function = image.map.functions.iter().find(|function| function.func == func);
        let function = function.ok_or_else(|| {
            CommandError::input(format_args!("--func {name}: function {func} is imported"))
        })?;
        print_function(&mut out, &image, function)
    } else {
        print_summary(&mut out, &image)
    };
    // A reader that closes the pipe early is nobody's error.
    let _ = result.and_then(|()| out.flush());
    Ok(0)
}

/// The rules that an image's map breaks, and its DWARF if it has some.
///
/// # Errors
/// Call frame information that cannot be read.
pub fn violations(image: &Image, has_dwarf: bool) -> Result<Vec<Violation>, CommandError> {
    let (isa, size) = (image.map.isa(), image.text.len() as u32);
    let unwinder =
        Unwinder::of(isa, &image.frames, image.text_address, size).map_err(CommandError::input)?;
    let mut violations = dwarf_map::check::check(&image.map, &image.text, &unwinder);
    violations.extend(dwarf_map::check::check_module(&image.map, &image.wasm));
    violations.extend(dwarf_map::check::check_instantiation(
        image.instantiate.as_ref(),
        &image.map,
        &image.text,
        &unwinder,
        &image.wasm,
    ));
    if has_dwarf {
        violations.extend(check_dwarf(image)?);
    }
    Ok(violations)
}

fn check(image: &Image) -> Result<u8, CommandError> {
    let violations = violations(image, true)?;
    let mut out = io::stdout().lock();
    for violation in &violations {
        let _ = writeln!(out, "{violation}");
    }
    let boundaries: usize = image.map.functions.iter().map(|f| f.boundaries.len()).sum();
    let _ = writeln!(
        out,
        "{} functions, {boundaries} boundaries, {} violations",
        image.map.functions.len(),
        violations.len()
    );
    for (rule, places) in dwarf_map::check::undecided(&image.map) {
        let isa = image.map.isa().name();
        let _ = writeln!(out, "{rule}: not decided at {places} places, {isa} code is not followed");
    }
    Ok(u8::from(!violations.is_empty()))
}

/// Holds the DWARF of an image against its map.
fn check_dwarf(image: &Image) -> Result<Vec<Violation>, CommandError> {
    let sections = image.sections().map_err(CommandError::input)?;
    let section = |name: &str| sections.get(name).map(Vec::as_slice).unwrap_or_default();
    Ok(dwarf_map::check::check_dwarf(&image.map, image.text_address, &section))
}

fn print_summary(out: &mut impl Write, image: &Image) -> io::Result<()> {
    let producer = &image.map.producer;
    writeln!(
        out,
        "{} {}, opt {}, stable {}, anchors {}, {}",
        producer.backend,
        producer.version,
        producer.opt,
        producer.stable,
        producer.anchors,
        producer.target.name()
    )?;
    writeln!(out, "code {} bytes at {}", image.text.len(), image.text_address)?;
    writeln!(
        out,
        "{:>6} {:>10} {:>8} {:>10} {:>7}  name",
        "func", "native", "bytes", "boundaries", "frame"
    )?;
    for function in &image.map.functions {
        writeln!(
            out,
            "{:>6} {:>10} {:>8} {:>10} {:>7}  {}",
            function.func.to_string(),
            function.code.start.at(image.text_address).to_string(),
            function.code.end.get() - function.code.start.get(),
            function.boundaries.len(),
            function.frame_size,
            function.name.as_deref().unwrap_or("")
        )?;
    }
    Ok(())
}

/// Wasm instruction, locations and native code, in native order.
fn print_function(out: &mut impl Write, image: &Image, function: &FunctionMap) -> io::Result<()> {
    let text = image.text_address;
    writeln!(
        out,
        "function {} {} at {}, frame {} bytes",
        function.func,
        function.name.as_deref().unwrap_or(""),
        function.code.start.at(text),
        function.frame_size
    )?;
    let mut anchors: HashMap<u64, Vec<&BoundaryMap>> = HashMap::new();
    for boundary in &function.boundaries {
        match boundary.anchor {
            Anchor::Trap(pc) | Anchor::Instruction(pc) => {
                anchors.entry(pc.at(text).get()).or_default().push(boundary);
            }
            Anchor::Merged => writeln!(out, "{} merged", boundary.offset)?,
            Anchor::Threaded => writeln!(out, "{} threaded", boundary.offset)?,
            Anchor::Eliminated => writeln!(out, "{} eliminated", boundary.offset)?,
        }
    }
    let mut handlers: HashMap<u64, Vec<String>> = HashMap::new();
    for site in &function.call_sites {
        for Handler { tag, pc } in &site.handlers {
            let what = tag.map_or("all".into(), |tag| format!("tag {}", tag.get()));
            let what = format!("catches {what} from {}", site.offset);
            handlers.entry(pc.at(text).get()).or_default().push(what);
        }
    }
    let isa = image.map.isa();
    for line in disasm::disassemble(image, function.code.clone()) {
        for boundary in anchors.get(&line.address.get()).into_iter().flatten() {
            let stable = boundary.stable.map(|kind| format!("  ; stable: {kind:?}").to_lowercase());
            writeln!(
                out,
                "\n{} {}{}",
                boundary.offset,
                image.listing.text_at(boundary.offset).unwrap_or("?"),
                stable.unwrap_or_default()
            )?;
            let types = function.locals.iter().chain(&boundary.operands);
            for (slot, (ty, location)) in types.zip(&boundary.locations).enumerate() {
                let name = crate::lockstep::finding::slot_name(slot, function.locals.len());
                writeln!(out, "    {name} {ty} {}", show(isa, function, *location, *ty))?;
            }
        }
        for handler in handlers.get(&line.address.get()).into_iter().flatten() {
            writeln!(out, "  ; {handler}")?;
        }
        writeln!(out, "  {} {}", line.address, line.text)?;
    }
    Ok(())
}

fn show(isa: Isa, function: &FunctionMap, location: Location, ty: ValType) -> String {
    match location {
        Location::Register(register) => describe_register(isa, register),
        Location::Derived(index) => {
            describe_expression(isa, function.expressions.get(index.index()))
        }
        Location::CfaOffset(offset) => format!("[CFA{offset:+}]"),
        Location::Constant(cell) => format!("constant {}", Value::from_cell(ty, cell)),
        Location::Unavailable(reason) => format!("unavailable ({})", reason.key()),
    }
}
