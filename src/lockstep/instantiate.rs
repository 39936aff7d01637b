//! Instantiation on the subject's side.
//!
//! The oracle instantiates a module by its own rules. For the subject, wdiff
//! is the kernel that loads it: this module evaluates the initial values of
//! globals and tables and copies the active segments into the subject's
//! regions, in the order of the core specification ("Instantiation"), with
//! checks of its own and from the module's bytes. The two stores are compared
//! before the first instruction, so that an error in either does not pass as
//! the initial state of both.

use super::space::Space;
use crate::error::CommandError;
use tracer::Subject;
use wasm_view::{FuncIdx, GlobalIdx, MemoryIdx, TableIdx, Trap};
use wasmparser::{
    ConstExpr, DataKind, Element, ElementItems, ElementKind, Operator, Parser, Payload, TableInit,
};

/// Loads the module's initial contents into a fresh subject. Answers the trap
/// that ended it, if one did; what was done before stays.
///
/// # Errors
/// A module that the validator should have refused; memory shared with the
/// subject that is not there.
pub fn instantiate(
    wasm: &[u8],
    subject: &Subject,
    space: &Space,
) -> Result<Option<Trap>, CommandError> {
    let loader = Loader { subject, space };
    // Globals come before tables in effect, elements before data: as sections
    // do, but for the table section, whose expressions may use globals.
    let mut tables = Vec::new();
    let mut global = 0;
    let mut elements = Vec::new();
    let mut data = Vec::new();
    let mut imported_tables = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(CommandError::bug)? {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let ty = import.map_err(CommandError::bug)?.ty;
                    imported_tables += u32::from(matches!(ty, wasmparser::TypeRef::Table(_)));
                    global += u32::from(matches!(ty, wasmparser::TypeRef::Global(_)));
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    tables.push(table.map_err(CommandError::bug)?);
                }
            }
            Payload::GlobalSection(reader) => {
                for item in reader {
                    let item = item.map_err(CommandError::bug)?;
                    let value = loader.evaluate_whole(&item.init_expr)?;
                    space.set_global(subject, GlobalIdx::new(global), value)?;
                    global += 1;
                }
            }
            Payload::ElementSection(reader) => {
                for element in reader {
                    elements.push(element.map_err(CommandError::bug)?);
                }
            }
            Payload::DataSection(reader) => {
                for segment in reader {
                    data.push(segment.map_err(CommandError::bug)?);
                }
            }
            _ => {}
        }
    }
    for (index, table) in tables.iter().enumerate() {
        if let TableInit::Expr(init) = &table.init {
            let word = loader.evaluate(init)?;
            // Nobody else has a new table: it is all zero.
            if word == 0 {
                continue;
            }
            let table_idx = TableIdx::new(imported_tables + index as u32);
            let words = vec![word; table.ty.initial as usize];
            loader.store_elements(table_idx, 0, &words)?;
        }
    }
    for element in &elements {
        if !loader.element(element)? {
            return Ok(Some(Trap::TableOutOfBounds));
        }
    }
    for segment in &data {
        let DataKind::Active { memory_index, offset_expr } = &segment.kind else { continue };
        let offset = loader.evaluate(offset_expr)?;
        let memory = MemoryIdx::new(*memory_index);
        let Some(id) = space.memories.get(memory.index()) else {
            return Err(CommandError::bug("a data segment for no memory"));
        };
        let region = subject.region(*id);
        let end = offset.checked_add(segment.data.len() as u64);
        if end.is_none_or(|end| end > region.len()) {
            return Ok(Some(Trap::MemoryOutOfBounds));
        }
        region.write(offset, segment.data).map_err(CommandError::bug)?;
    }
    Ok(None)
}

struct Loader<'a> {
    subject: &'a Subject,
    space: &'a Space,
}

impl Loader<'_> {
    /// Applies an active element segment; `false` when it does not fit.
    fn element(&self, element: &Element<'_>) -> Result<bool, CommandError> {
        let ElementKind::Active { table_index, offset_expr } = &element.kind else {
            return Ok(true);
        };
        let table = TableIdx::new(table_index.unwrap_or(0));
        let offset = self.evaluate(offset_expr)?;
        let mut words = Vec::new();
        match &element.items {
            ElementItems::Functions(functions) => {
                for function in functions.clone() {
                    let func = function.map_err(CommandError::bug)?;
                    words.push(self.function(func));
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions.clone() {
                    words.push(self.evaluate(&expression.map_err(CommandError::bug)?)?);
                }
            }
        }
        let end = offset.checked_add(words.len() as u64);
        let size = self.space.table_size(self.subject, table)?;
        if end.is_none_or(|end| end > size) {
            return Ok(false);
        }
        self.store_elements(table, offset, &words)?;
        Ok(true)
    }

    fn store_elements(
        &self,
        table: TableIdx,
        first: u64,
        words: &[u64],
    ) -> Result<(), CommandError> {
        let Some(id) = self.space.tables.get(table.index()) else {
            return Err(CommandError::bug("an element segment for no table"));
        };
        let region = self.subject.region(*id);
        for (at, word) in words.iter().enumerate() {
            region.write_u64((first + at as u64) * 8, *word).map_err(CommandError::bug)?;
        }
        Ok(())
    }

    /// Address of a function's descriptor.
    fn function(&self, func: u32) -> u64 {
        let descriptor = self.space.layout.descriptor(FuncIdx::new(func));
        self.space.instance_data().get() + u64::from(descriptor)
    }

    /// Evaluates a constant expression, not of a vector, to a native word.
    fn evaluate(&self, expression: &ConstExpr<'_>) -> Result<u64, CommandError> {
        self.evaluate_whole(expression).map(|bits| bits as u64)
    }

    /// Evaluates a constant expression to its native form, zero-extended.
    fn evaluate_whole(&self, expression: &ConstExpr<'_>) -> Result<u128, CommandError> {
        let mut stack: Vec<u128> = Vec::new();
        for operator in expression.get_operators_reader() {
            let operator = operator.map_err(CommandError::bug)?;
            let value = match operator {
                Operator::I32Const { value } => u128::from(value as u32),
                Operator::I64Const { value } => u128::from(value as u64),
                Operator::F32Const { value } => u128::from(value.bits()),
                Operator::F64Const { value } => u128::from(value.bits()),
                Operator::V128Const { value } => u128::from_le_bytes(*value.bytes()),
                Operator::RefNull { .. } => 0,
                Operator::RefFunc { function_index } => u128::from(self.function(function_index)),
                Operator::GlobalGet { global_index } => {
                    self.global(GlobalIdx::new(global_index))?
                }
                Operator::End => continue,
                binary => {
                    let right = stack.pop().unwrap_or(0) as u64;
                    let left = stack.pop().unwrap_or(0) as u64;
                    let (a, b) = (left as u32, right as u32);
                    u128::from(match binary {
                        Operator::I32Add => u64::from(a.wrapping_add(b)),
                        Operator::I32Sub => u64::from(a.wrapping_sub(b)),
                        Operator::I32Mul => u64::from(a.wrapping_mul(b)),
                        Operator::I64Add => left.wrapping_add(right),
                        Operator::I64Sub => left.wrapping_sub(right),
                        Operator::I64Mul => left.wrapping_mul(right),
                        other => {
                            return Err(CommandError::unsupported(format_args!(
                                "a constant expression with {other:?}"
                            )));
                        }
                    })
                }
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(|| CommandError::bug("an empty constant expression"))
    }

    fn global(&self, global: GlobalIdx) -> Result<u128, CommandError> {
        self.space.global_bits(self.subject, global)
    }
}
