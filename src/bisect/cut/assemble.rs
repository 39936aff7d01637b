//! What a draft of a cut becomes: a module, validated.

use super::super::body::Body;
use super::super::compiler::Moved;
use super::super::encode::{bytes_of, constant, data_section, encoded, runs};
use super::{Cut, Draft, EXPORT, Form, OPEN};
use crate::program;
use std::path::Path;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, Encode, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, Instruction, MemorySection, TypeSection,
};
use wasm_view::{AddressType, FuncIdx, ValType, Value, WasmOffset};

impl Draft<'_> {
    pub(super) fn finish(&self, form: Form) -> Option<Cut> {
        let result = self.result_types();
        for results in result {
            if let Some(cut) = self.assemble(form, &results) {
                return Some(cut);
            }
        }
        None
    }

    /// Types that the result can have: validation knows which.
    fn result_types(&self) -> Vec<Vec<ValType>> {
        let one = [ValType::I32, ValType::I64, ValType::F64, ValType::F32, ValType::V128];
        one.into_iter().map(|ty| vec![ty]).chain([Vec::new()]).collect()
    }

    fn assemble(&self, form: Form, results: &[ValType]) -> Option<Cut> {
        let mut given = self.locals.params.clone();
        let round = match form {
            Form::Looped => Some(self.round(results, &mut given)?),
            Form::Plain | Form::Returning => None,
        };
        let params: Vec<ValType> = given.iter().map(|param| param.0).collect();
        let mut code: Vec<(Vec<u8>, Option<WasmOffset>)> = Vec::new();
        if self.exits {
            code.push((bytes_of(&Instruction::Block(BlockType::Empty)), None));
        }
        for _ in 0..self.depth {
            code.push((bytes_of(&Instruction::Block(BlockType::Empty)), None));
        }
        if round.is_some() {
            code.push((bytes_of(&Instruction::Loop(BlockType::Empty)), None));
        }
        for (bytes, origin) in &self.code {
            let bytes = match bytes.as_slice() {
                [OPEN, opcode, index @ ..] => {
                    let index = u32::from_le_bytes(index.try_into().ok()?);
                    let mut bytes = vec![*opcode];
                    (params.len() as u32 + index).encode(&mut bytes);
                    bytes
                }
                bytes => bytes.to_vec(),
            };
            code.push((bytes, *origin));
        }
        if let Some((value, again)) = round {
            for instruction in [
                Instruction::LocalSet(value),
                Instruction::LocalGet(again),
                Instruction::BrIf(0),
                Instruction::End,
                Instruction::LocalGet(value),
            ] {
                code.push((bytes_of(&instruction), None));
            }
        }
        if self.exits || form == Form::Returning {
            code.push((bytes_of(&Instruction::Return), None));
        }
        if self.exits {
            code.push((bytes_of(&Instruction::End), None));
            code.push((bytes_of(&Instruction::Unreachable), None));
        }
        code.push((bytes_of(&Instruction::End), None));

        let mut types = TypeSection::new();
        let mut functions = FunctionSection::new();
        let mut bodies = CodeSection::new();
        let mut listed: Vec<(Vec<ValType>, Vec<ValType>)> = Vec::new();
        let mut type_of = |params: &[ValType], results: &[ValType]| {
            let ty = (params.to_vec(), results.to_vec());
            let known = listed.iter().position(|other| *other == ty);
            Some(match known {
                Some(at) => at as u32,
                None => {
                    let list = |types: &[ValType]| {
                        types.iter().map(|ty| encoded(*ty)).collect::<Option<Vec<_>>>()
                    };
                    types.ty().function(list(params)?, list(results)?);
                    listed.push(ty);
                    listed.len() as u32 - 1
                }
            })
        };
        functions.function(type_of(&params, results)?);
        let locals: Option<Vec<_>> = self.locals.locals.iter().map(|ty| encoded(*ty)).collect();
        let mut function = Function::new_with_locals_types(locals?);
        for (bytes, _) in &code {
            function.raw(bytes.iter().copied());
        }
        bodies.function(&function);
        for stub in &self.stubs {
            functions.function(type_of(&stub.params, &stub.results)?);
            let mut function = Function::new([]);
            function.raw(stub.code.iter().copied()).instruction(&Instruction::End);
            bodies.function(&function);
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&functions);
        if self.uses_memory {
            module.section(&self.memory_section()?);
        }
        if !self.globals.is_empty() {
            let mut globals = GlobalSection::new();
            for (_, ty, value) in &self.globals {
                let ty = wasm_encoder::GlobalType {
                    val_type: encoded(*ty)?,
                    mutable: true,
                    shared: false,
                };
                globals.global(ty, &ConstExpr::extended([constant(*value)?]));
            }
            module.section(&globals);
        }
        let mut exports = ExportSection::new();
        exports.export(EXPORT, ExportKind::Func, 0);
        module.section(&exports).section(&bodies);
        let data = self.data()?;
        if !data.is_empty() {
            module.section(&data);
        }
        let args = given.iter().map(|param| param.1).collect();
        self.read_back(module.finish(), &code, args)
    }

    /// Of a loop: the parameter that takes the value, and the one that says
    /// whether to go round again, which is added.
    fn round(&self, results: &[ValType], given: &mut Vec<(ValType, Value)>) -> Option<(u32, u32)> {
        let [result] = results else { return None };
        let value = given.iter().position(|param| param.0 == *result)?;
        if self.exits || self.depth > 0 {
            return None;
        }
        given.push((ValType::I32, Value::I32(0)));
        Some((value as u32, given.len() as u32 - 1))
    }

    fn memory_section(&self) -> Option<MemorySection> {
        let ty = self.memory_type()?;
        let mut memories = MemorySection::new();
        memories.memory(wasm_encoder::MemoryType {
            minimum: self.cutter.memory_len >> ty.page_log2,
            maximum: ty.maximum,
            memory64: ty.address == AddressType::I64,
            shared: ty.shared,
            page_size_log2: (ty.page_log2 != 16).then_some(u32::from(ty.page_log2)),
        });
        Some(memories)
    }

    /// The bytes read.
    fn data(&self) -> Option<DataSection> {
        let runs = runs(&self.reads);
        Some(match runs.is_empty() {
            true => DataSection::new(),
            false => data_section(self.memory_type()?.address, runs),
        })
    }

    /// Validates the module, and finds out where its instructions came to be.
    fn read_back(
        &self,
        wasm: Vec<u8>,
        code: &[(Vec<u8>, Option<WasmOffset>)],
        args: Vec<Value>,
    ) -> Option<Cut> {
        let program = program::from_wasm(Path::new("cut.wasm"), wasm).ok()?;
        let to = FuncIdx::new(0);
        let body = Body::of(&program.wasm, &program.module, to)?;
        if body.ops().len() != code.len() {
            return None;
        }
        let offsets = body
            .ops()
            .iter()
            .zip(code)
            .filter_map(|(op, (_, origin))| Some(((*origin)?, op.offset)))
            .collect();
        let funcs = [(self.cutter.func, to)].into_iter().collect();
        let moved = Moved { funcs, offsets };
        let instructions = code.len() as u64;
        drop(body);
        Some(Cut { program, moved, args, instructions })
    }
}
