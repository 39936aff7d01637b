//! Instructions as text.
//!
//! For people who look at a boundary: reports, listings, a debugger. Read from
//! the module's bytes on demand, in the text format's spelling.

use crate::decode::instruction_name;
use crate::module::Module;
use wasm_view::{FuncIdx, WasmOffset};
use wasmparser::{
    BinaryReader, BlockType, FrameKind, FrameStack, HeapType, MemArg, Operator, RefType,
};

/// Lets `else` and `end` be read out of their context.
struct AnyContext;

impl FrameStack for AnyContext {
    fn current_frame(&self) -> Option<FrameKind> {
        Some(FrameKind::If)
    }
}

impl Module {
    /// The instruction at an offset of a function's body. `None` if there is no
    /// boundary.
    pub fn operator(&self, func: FuncIdx, offset: WasmOffset) -> Option<Operator<'_>> {
        let function = self.function(func)?;
        function.position(offset)?;
        let (start, end) = (offset.get() as usize, function.body().end.get() as usize);
        let bytes = self.bytes().get(start..end)?;
        let reader = BinaryReader::new_features(bytes, start, Module::FEATURES);
        reader.peek_operator(&AnyContext).ok()
    }

    /// [`Module::operator`] as text, for example `i32.load offset=8 align=4`.
    pub fn mnemonic(&self, func: FuncIdx, offset: WasmOffset) -> Option<String> {
        let operator = self.operator(func, offset)?;
        let immediates = self.immediates(&operator);
        let name = instruction_name(&operator);
        Some(if immediates.is_empty() { name } else { format!("{name} {immediates}") })
    }

    fn immediates(&self, operator: &Operator<'_>) -> String {
        use Operator as O;
        match operator {
            O::Block { blockty } | O::Loop { blockty } | O::If { blockty } => block_type(blockty),
            O::Br { relative_depth } | O::BrIf { relative_depth } => relative_depth.to_string(),
            O::BrTable { targets } => targets
                .targets()
                .map_while(Result::ok)
                .chain([targets.default()])
                .map(|depth| depth.to_string())
                .collect::<Vec<_>>()
                .join(" "),
            O::Call { function_index } | O::RefFunc { function_index } => {
                let func = FuncIdx::new(*function_index);
                match self.func_name(func) {
                    Some(name) => format!("{function_index} (;{name};)"),
                    None => function_index.to_string(),
                }
            }
            O::CallIndirect { type_index, table_index } => {
                format!("{table_index} (type {type_index})")
            }
            O::TypedSelect { ty } => format!("(result {ty})"),
            O::LocalGet { local_index }
            | O::LocalSet { local_index }
            | O::LocalTee { local_index } => local_index.to_string(),
            O::GlobalGet { global_index } | O::GlobalSet { global_index } => {
                global_index.to_string()
            }
            O::I32Const { value } => value.to_string(),
            O::I64Const { value } => value.to_string(),
            O::F32Const { value } => float(f32::from_bits(value.bits()), value.bits().into()),
            O::F64Const { value } => float(f64::from_bits(value.bits()), value.bits()),
            O::RefNull { hty } => heap_type(*hty),
            O::MemoryInit { data_index, .. } | O::DataDrop { data_index } => data_index.to_string(),
            O::TableInit { elem_index, table } => format!("{table} {elem_index}"),
            O::ElemDrop { elem_index } => elem_index.to_string(),
            O::TableCopy { dst_table, src_table } => format!("{dst_table} {src_table}"),
            O::TableGet { table }
            | O::TableSet { table }
            | O::TableSize { table }
            | O::TableGrow { table }
            | O::TableFill { table } => table.to_string(),
            O::I32Load { memarg }
            | O::I64Load { memarg }
            | O::F32Load { memarg }
            | O::F64Load { memarg }
            | O::I32Load8S { memarg }
            | O::I32Load8U { memarg }
            | O::I32Load16S { memarg }
            | O::I32Load16U { memarg }
            | O::I64Load8S { memarg }
            | O::I64Load8U { memarg }
            | O::I64Load16S { memarg }
            | O::I64Load16U { memarg }
            | O::I64Load32S { memarg }
            | O::I64Load32U { memarg }
            | O::I32Store { memarg }
            | O::I64Store { memarg }
            | O::F32Store { memarg }
            | O::F64Store { memarg }
            | O::I32Store8 { memarg }
            | O::I32Store16 { memarg }
            | O::I64Store8 { memarg }
            | O::I64Store16 { memarg }
            | O::I64Store32 { memarg } => memory_argument(memarg),
            _ => String::new(),
        }
    }
}

fn block_type(ty: &BlockType) -> String {
    match ty {
        BlockType::Empty => String::new(),
        BlockType::Type(ty) => format!("(result {ty})"),
        BlockType::FuncType(index) => format!("(type {index})"),
    }
}

fn heap_type(ty: HeapType) -> String {
    match RefType::new(true, ty) {
        Some(RefType::FUNCREF) => "func".to_string(),
        Some(RefType::EXTERNREF) => "extern".to_string(),
        other => other.map_or(String::new(), |ty| ty.to_string()),
    }
}

/// A NaN as its bits, other numbers so that they read back the same.
fn float(value: impl Into<f64> + std::fmt::Debug + Copy, bits: u64) -> String {
    if value.into().is_nan() { format!("nan ({bits:#x})") } else { format!("{value:?}") }
}

fn memory_argument(memarg: &MemArg) -> String {
    let offset = match memarg.offset {
        0 => String::new(),
        offset => format!("offset={offset} "),
    };
    format!("{offset}align={}", 1u32 << memarg.align.min(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_read_as_in_the_text_format() {
        let wat = "(module (memory 1) (func $f (param i32)
            (if (local.get 0) (then nop) (else (drop (i32.load offset=8 (local.get 0)))))
            f32.const -0x1p-1 drop f64.const nan:0x4000000000001 drop
            (block (result i32) (i32.const -1) (br_if 0 (local.get 0))) drop
            local.get 0 call $f))";
        let module = Module::decode(&wat::parse_str(wat).unwrap()).unwrap();
        let func = FuncIdx::new(0);
        let text: Vec<String> = module
            .function(func)
            .unwrap()
            .boundaries()
            .map(|offset| module.mnemonic(func, offset).unwrap())
            .collect();
        assert_eq!(
            text,
            [
                "local.get 0",
                "if",
                "nop",
                "else",
                "local.get 0",
                "i32.load offset=8 align=4",
                "drop",
                "end",
                "f32.const -0.5",
                "drop",
                "f64.const nan (0x7ff4000000000001)",
                "drop",
                "block (result i32)",
                "i32.const -1",
                "local.get 0",
                "br_if 0",
                "end",
                "drop",
                "local.get 0",
                "call 0 (;f;)",
                "end",
            ]
        );
        assert_eq!(module.mnemonic(func, WasmOffset::new(0)), None);
    }
}
