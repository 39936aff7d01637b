//! Which functions a run calls, and with what.
//!
//! A WASI command is called by its `_start`. With `--invoke` any export can be
//! called; its parameters come from the command line, written in decimal, in
//! `0x` hexadecimal, for vectors also by lanes, or as `null` for references. A reactor's `_initialize` is
//! called first, and before everything the module's start function.

use crate::cli::WorldArgs;
use crate::error::CommandError;
use crate::program::Program;
use crate::witness::Called;
use dwarf_map::erased;
use oracle_interp::{ExportKind, Module};
use wasm_view::{FuncIdx, FuncType, HeapType, ValType, Value};

/// The calls of a run, in order.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Functions and arguments.
    pub list: Vec<Called>,
    /// Whether the last one's results are the program's output (`--invoke`).
    pub shows_results: bool,
}

/// Decides the calls.
///
/// # Errors
/// A module with nothing to call; an unknown export; parameters that do not
/// fit.
pub fn calls(args: &WorldArgs, program: &Program) -> Result<Calls, CommandError> {
    let module = &program.module;
    let mut list = Vec::new();
    if let Some(start) = module.start() {
        list.push(Called { func: start, args: Vec::new() });
    }
    let plain = |name: &str| {
        exported(module, name).filter(|func| module.func_type(*func) == Some(&FuncType::default()))
    };
    let Some(name) = &args.invoke else {
        let start = plain("_start").ok_or_else(|| {
            CommandError::input(format_args!(
                "{}: no function `_start` to run; use --invoke with one of its exports: {}",
                program.path.display(),
                exports(module)
            ))
        })?;
        list.push(Called { func: start, args: Vec::new() });
        return Ok(Calls { list, shows_results: false });
    };
    if let Some(initialize) = plain("_initialize").filter(|_| name != "_initialize") {
        list.push(Called { func: initialize, args: Vec::new() });
    }
    let func = exported(module, name).ok_or_else(|| {
        CommandError::input(format_args!(
            "--invoke {name}: no such exported function; there are: {}",
            exports(module)
        ))
    })?;
    let ty = module.func_type(func).cloned().unwrap_or_default();
    if ty.params.len() != args.args.len() {
        return Err(CommandError::input(format_args!(
            "--invoke {name}: the function has type {ty}; {} parameters given, {} needed after `--`",
            args.args.len(),
            ty.params.len()
        )));
    }
    let values = ty
        .params
        .iter()
        .zip(&args.args)
        .map(|(ty, text)| {
            parse(*ty, text).ok_or_else(|| {
                CommandError::input(format_args!("--invoke {name}: {text} is no {ty}"))
            })
        })
        .collect::<Result<Vec<Value>, _>>()?;
    list.push(Called { func, args: values });
    Ok(Calls { list, shows_results: true })
}

fn exported(module: &Module, name: &str) -> Option<FuncIdx> {
    module
        .exports()
        .iter()
        .find(|export| export.kind == ExportKind::Func && export.name == name)
        .map(|export| FuncIdx::new(export.index))
}

fn exports(module: &Module) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = module
        .exports()
        .iter()
        .filter(|export| export.kind == ExportKind::Func)
        .map(|export| export.name.as_str())
        .collect();
    match names.len() {
        0 => "(none)".to_string(),
        count if count > SHOWN => format!("{}, ... ({count} in all)", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

/// Reads a value of a type; `None` when the text is none.
pub fn parse(ty: ValType, text: &str) -> Option<Value> {
    let hex = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Some(match ty {
        ValType::I32 => Value::I32(match hex {
            Some(bits) => u32::try_from(bits).ok()?,
            None => text.parse::<i32>().map(|n| n as u32).or_else(|_| text.parse()).ok()?,
        }),
        ValType::I64 => Value::I64(match hex {
            Some(bits) => bits,
            None => text.parse::<i64>().map(|n| n as u64).or_else(|_| text.parse()).ok()?,
        }),
        ValType::F32 => Value::F32(match hex {
            Some(bits) => u32::try_from(bits).ok()?,
            None => text.parse::<f32>().ok()?.to_bits(),
        }),
        ValType::F64 => Value::F64(match hex {
            Some(bits) => bits,
            None => text.parse::<f64>().ok()?.to_bits(),
        }),
        ValType::Ref(ty) if text == "null" => match erased(ValType::Ref(ty)) {
            ValType::FUNCREF if ty.nullable => Value::FuncRef(None),
            ValType::EXTERNREF if ty.nullable => Value::ExternRef(None),
            _ => return None,
        },
        ValType::Ref(ty) if ty.heap == HeapType::Extern => Value::host(text.parse().ok()?),
        ValType::V128 => Value::V128(parse_vector(text)?),
        // A function has no name that would do for a value.
        ValType::Ref(_) => return None,
    })
}

/// Shapes of vectors, with the type and bits of a lane.
const SHAPES: [(&str, ValType, u32); 6] = [
    ("i8x16:", ValType::I32, 8),
    ("i16x8:", ValType::I32, 16),
    ("i32x4:", ValType::I32, 32),
    ("i64x2:", ValType::I64, 64),
    ("f32x4:", ValType::F32, 32),
    ("f64x2:", ValType::F64, 64),
];

/// Reads a vector: all its bits in hexadecimal, or its lanes, the first one in
/// front, `i32x4:1,2,3,4`.
fn parse_vector(text: &str) -> Option<u128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u128::from_str_radix(digits, 16).ok();
    }
    let (lanes, ty, bits) = SHAPES
        .iter()
        .find_map(|(shape, ty, bits)| text.strip_prefix(shape).map(|lanes| (lanes, *ty, *bits)))?;
    let mut whole = 0;
    let mut count = 0;
    for lane in lanes.split(',') {
        let value = parse(ty, lane.trim())?.to_cell().0;
        // A negative number fills the bits above a narrow lane.
        let kept = value & (u64::MAX >> (64 - bits));
        let narrow =
            bits < 32 && (value as u32 as i32) << (32 - bits) >> (32 - bits) == value as u32 as i32;
        if kept != value && !narrow {
            return None;
        }
        whole |= u128::from(kept).checked_shl(count * bits)?;
        count += 1;
    }
    (count * bits == 128).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_signed_unsigned_and_as_bits() {
        assert_eq!(parse(ValType::I32, "-1"), Some(Value::I32(u32::MAX)));
        assert_eq!(parse(ValType::I32, "4294967295"), Some(Value::I32(u32::MAX)));
        assert_eq!(parse(ValType::I32, "4294967296"), None);
        assert_eq!(parse(ValType::I32, "0x1_0"), None);
        assert_eq!(
            parse(ValType::F64, "0x7ff8000000000001"),
            Some(Value::F64(0x7ff8_0000_0000_0001))
        );
        assert_eq!(parse(ValType::F32, "1.5"), Some(Value::F32(1.5f32.to_bits())));
        assert_eq!(parse(ValType::EXTERNREF, "null"), Some(Value::ExternRef(None)));
    }

    #[test]
    fn vectors_are_read_whole_or_by_lanes() {
        let vector = |text| match parse(ValType::V128, text) {
            Some(Value::V128(bits)) => Some(bits),
            _ => None,
        };
        assert_eq!(vector("0x10"), Some(16));
        assert_eq!(vector("i32x4:1,-1,0x10,4"), Some(0x4_00000010_ffffffff_00000001));
        assert_eq!(vector("i64x2:-1, 2"), Some(2 << 64 | u128::from(u64::MAX)));
        assert_eq!(vector("f64x2:1.5,0"), Some(u128::from(1.5f64.to_bits())));
        assert_eq!(vector("i16x8:-1,65535,-32768,0,0,0,0,0"), Some(0x8000_ffff_ffff));
        for wrong in [
            "1",
            "i32x4:1,2,3",
            "i32x4:1,2,3,4,5",
            "i16x8:65536,0,0,0,0,0,0,0",
            "i8x16:",
            "i16x8:-32769,0,0,0,0,0,0,0",
        ] {
            assert_eq!(vector(wrong), None, "{wrong}");
        }
    }
}
