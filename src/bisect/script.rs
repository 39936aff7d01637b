//! The reproducer as a script of the specification's kind.
//!
//! Its module is text if what the text assembles to is the very module that was
//! tried, byte by byte: offsets in it must mean the same. Else it is binary.

use super::cut::{Cut, EXPORT};
use super::judge::Answer;
use wasm_view::Value;

/// Writes the script, `remarks` as comments at its head.
pub fn write(cut: &Cut, right: &Answer, remarks: &[String]) -> String {
    let mut text = String::new();
    for remark in remarks {
        for line in remark.lines() {
            text.push_str(&format!(";; {line}\n"));
        }
    }
    text.push_str(&module(&cut.program.wasm));
    let args: Vec<String> = cut.args.iter().map(|value| format!(" {}", argument(*value))).collect();
    let invoke = format!("(invoke \"{EXPORT}\"{})", args.concat());
    let assertion = match right {
        Answer::Returned(values) => {
            let values: Vec<String> =
                values.iter().map(|value| format!(" {}", expected(*value))).collect();
            format!("(assert_return {invoke}{})", values.concat())
        }
        Answer::Trapped(trap) => format!("(assert_trap {invoke} \"{}\")", trap.text()),
        // The oracle has no such answer.
        Answer::Broken(_) => format!("(assert_return {invoke})"),
    };
    text.push_str(&assertion);
    text.push('\n');
    text
}

fn module(wasm: &[u8]) -> String {
    if let Ok(text) = wasmprinter::print_bytes(wasm)
        && wat::parse_str(&text).is_ok_and(|bytes| bytes == wasm)
    {
        return if text.ends_with('\n') { text } else { text + "\n" };
    }
    let bytes: Vec<String> = wasm.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let lines: Vec<String> =
        bytes.chunks(24).map(|line| format!("  \"{}\"\n", line.concat())).collect();
    format!("(module binary\n{})\n", lines.concat())
}

/// A value as the text format has it.
fn argument(value: Value) -> String {
    match value {
        Value::I32(bits) => format!("(i32.const {bits:#x})"),
        Value::I64(bits) => format!("(i64.const {bits:#x})"),
        Value::F32(bits) => format!("(f32.const {})", float32(bits)),
        Value::F64(bits) => format!("(f64.const {})", float64(bits)),
        Value::V128(bits) => {
            format!("(v128.const i64x2 {:#x} {:#x})", bits as u64, (bits >> 64) as u64)
        }
        // No parameter of a cut is a reference.
        _ => "(ref.null func)".to_owned(),
    }
}

/// A result: of NaNs the specification leaves some bits open.
fn expected(value: Value) -> String {
    match value {
        Value::F32(bits) if f32::from_bits(bits).is_nan() => {
            let canonical = bits & 0x7fff_ffff == 0x7fc0_0000;
            format!("(f32.const {})", if canonical { "nan:canonical" } else { "nan:arithmetic" })
        }
        Value::F64(bits) if f64::from_bits(bits).is_nan() => {
            let canonical = bits & !(1 << 63) == 0x7ff8 << 48;
            format!("(f64.const {})", if canonical { "nan:canonical" } else { "nan:arithmetic" })
        }
        value => argument(value),
    }
}

fn float32(bits: u32) -> String {
    let float = f32::from_bits(bits);
    if float.is_nan() {
        let sign = if bits >> 31 == 1 { "-" } else { "" };
        return format!("{sign}nan:{:#x}", bits & 0x007f_ffff);
    }
    format!("{float:?}")
}

fn float64(bits: u64) -> String {
    let float = f64::from_bits(bits);
    if float.is_nan() {
        let sign = if bits >> 63 == 1 { "-" } else { "" };
        return format!("{sign}nan:{:#x}", bits & 0x000f_ffff_ffff_ffff);
    }
    format!("{float:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_assemble_to_their_bits() {
        let floats = [0, 1, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0xffc0_0000];
        for bits in floats.into_iter().chain([0x3f80_0001, 0x0080_0000, 0x7f7f_ffff]) {
            let text = format!("(module (func (drop {})))", argument(Value::F32(bits)));
            let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let wanted = [&[0x43][..], &bits.to_le_bytes()].concat();
            assert!(wasm.windows(5).any(|window| window == wanted), "{text}");
        }
        for bits in [0, 1 << 63, 0x7ff0 << 48, 0x7ff8_0000_0000_0001, 0xfff8 << 48, 1, u64::MAX] {
            let text = format!("(module (func (drop {})))", argument(Value::F64(bits)));
            let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let wanted = [&[0x44][..], &bits.to_le_bytes()].concat();
            assert!(wasm.windows(9).any(|window| window == wanted), "{text}");
        }
        assert_eq!(expected(Value::F32(0xffc0_0000)), "(f32.const nan:canonical)");
        assert_eq!(expected(Value::F64(0x7ff8_0000_0000_0001)), "(f64.const nan:arithmetic)");
    }

    #[test]
    fn a_module_that_text_would_change_stays_binary() {
        // No types, and a size in five bytes that is one: neither is in the text.
        let wasm = b"\0asm\x01\0\0\0\x01\x81\x80\x80\x80\0\0";
        assert!(module(wasm).starts_with("(module binary"));
        let back = wat::parse_str(module(wasm)).expect("a module");
        assert_eq!(back, wasm);
    }
}
