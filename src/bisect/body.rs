//! A function's instructions with their bytes, and the basic blocks of them.

use oracle_interp::Module;
use std::collections::HashMap;
use std::ops::Range;
use wasm_view::{FuncIdx, WasmOffset};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// One instruction.
pub struct Op<'a> {
    /// Where it begins.
    pub offset: WasmOffset,
    /// Its encoding.
    pub bytes: &'a [u8],
    /// What it is.
    pub operator: Operator<'a>,
}

/// The instructions of a function.
pub struct Body<'a> {
    ops: Vec<Op<'a>>,
    index: HashMap<WasmOffset, usize>,
}

impl<'a> Body<'a> {
    /// Those of a function of a valid module; `None` if it has no body.
    pub fn of(wasm: &'a [u8], module: &Module, func: FuncIdx) -> Option<Body<'a>> {
        let range = module.body(func)?;
        let (start, end) = (range.start.get() as usize, range.end.get() as usize);
        let body = FunctionBody::new(BinaryReader::new(wasm.get(start..end)?, start));
        let items = body.get_operators_reader().ok()?.into_iter_with_offsets();
        let found: Vec<(Operator<'a>, usize)> = items.collect::<Result<_, _>>().ok()?;
        let ends: Vec<usize> = found.iter().skip(1).map(|item| item.1).chain([end]).collect();
        let ops: Vec<Op<'a>> = found
            .into_iter()
            .zip(ends)
            .map(|((operator, from), to)| {
                let offset = WasmOffset::new(from as u32);
                Some(Op { offset, bytes: wasm.get(from..to)?, operator })
            })
            .collect::<Option<_>>()?;
        let index = ops.iter().enumerate().map(|(at, op)| (op.offset, at)).collect();
        Some(Body { ops, index })
    }

    /// The instruction at an offset.
    pub fn at(&self, offset: WasmOffset) -> Option<&Op<'a>> {
        self.ops.get(*self.index.get(&offset)?)
    }

    /// The instructions, in the order of the file.
    pub fn ops(&self) -> &[Op<'a>] {
        &self.ops
    }

    /// The basic block that an instruction is in: from behind the last
    /// instruction before it that is a label or may go elsewhere, to the first
    /// from it on. Calls do not end one.
    pub fn block(&self, offset: WasmOffset) -> Option<Range<WasmOffset>> {
        let at = *self.index.get(&offset)?;
        let ends = |op: &Op<'_>| ends_block(&op.operator);
        let first = self.ops[..at].iter().rposition(ends).map_or(0, |before| before + 1);
        let last = at + self.ops[at..].iter().position(ends)?;
        let last = &self.ops[last];
        let end = WasmOffset::new(last.offset.get() + last.bytes.len() as u32);
        Some(self.ops[first].offset..end)
    }
}

/// Whether control can come from elsewhere right behind this instruction, or go
/// elsewhere from it.
fn ends_block(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Loop { .. }
            | O::If { .. }
            | O::Else
            | O::End
            | O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::BrOnNull { .. }
            | O::BrOnNonNull { .. }
            | O::Return
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. }
            | O::ReturnCallRef { .. }
            | O::Unreachable
            | O::Throw { .. }
            | O::ThrowRef
            | O::Rethrow { .. }
            | O::TryTable { .. }
            | O::Try { .. }
            | O::Catch { .. }
            | O::CatchAll
            | O::Delegate { .. }
    )
}
