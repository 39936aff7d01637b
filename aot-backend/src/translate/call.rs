//! Calls.
//!
//! A function of this module is called directly. An imported one is called
//! through its entry in the instance data, whoever provides it: for a host
//! function the code there is a thunk of this image, for a function of another
//! instance it is that function with that instance's data.

use super::{Outcome, Translator};
use crate::abi::{POINTER, Symbol, trap_code};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Inst, InstBuilder, Value, types};
use dwarf_map::InstanceLayout;
use wasm_view::{FuncIdx, FuncType, Trap, TypeIdx, ValType, WasmOffset};
use wasmparser::Operator;

impl Translator<'_, '_> {
    pub(super) fn call_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        match *operator {
            Operator::Call { function_index } => self.call(offset, FuncIdx::new(function_index))?,
            Operator::CallIndirect { type_index, table_index } => {
                self.call_indirect(offset, type_index, table_index)?;
            }
            Operator::CallRef { type_index } => self.call_ref(offset, type_index)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call(&mut self, offset: WasmOffset, func: FuncIdx) -> Outcome {
        let missing = || CompileError::bug(format!("no function {func}"));
        let ty = self.env.module.function_type(func).ok_or_else(missing)?.clone();
        if self.env.module.is_import(func) {
            let entry = self.env.layout.import(func);
            let code = self.load_field(POINTER, entry, true)?;
            let instance =
                self.load_field(POINTER, entry + InstanceLayout::INSTANCE_FIELD, true)?;
            return self.call_pointer(offset, &ty, code, instance);
        }
        let callee = self.callee(Symbol::Function(func), &ty);
        let arguments = self.arguments(&ty, self.instance)?;
        let call = self.builder.ins().call(callee, &arguments);
        self.call_site(offset, call)?;
        self.push_results(call, &ty.results);
        Ok(())
    }

    fn call_indirect(&mut self, offset: WasmOffset, ty: u32, table: u32) -> Outcome {
        let signature = self.env.layout.signature(TypeIdx::new(ty));
        let ty = self.wasm_type(ty)?;
        let index = self.operand()?;
        let element = self.element(table, index, Trap::UndefinedElement)?;
        let descriptor = self.load_through(POINTER, element, 0)?;
        self.builder.ins().trapz(descriptor, trap_code(Trap::UninitializedElement));
        let actual = self.load_through(types::I32, descriptor, InstanceLayout::SIGNATURE_FIELD)?;
        let expected = self.load_field(types::I32, signature, true)?;
        let differs = self.builder.ins().icmp(IntCC::NotEqual, actual, expected);
        self.builder.ins().trapnz(differs, trap_code(Trap::IndirectCallTypeMismatch));
        let code = self.load_through(POINTER, descriptor, 0)?;
        let instance = self.load_through(POINTER, descriptor, InstanceLayout::INSTANCE_FIELD)?;
        self.call_pointer(offset, &ty, code, instance)
    }

    fn call_ref(&mut self, offset: WasmOffset, ty: u32) -> Outcome {
        let ty = self.wasm_type(ty)?;
        let descriptor = self.operand()?;
        self.builder.ins().trapz(descriptor, trap_code(Trap::NullFunctionReference));
        let code = self.load_through(POINTER, descriptor, 0)?;
        let instance = self.load_through(POINTER, descriptor, InstanceLayout::INSTANCE_FIELD)?;
        self.call_pointer(offset, &ty, code, instance)
    }

    fn call_pointer(
        &mut self,
        offset: WasmOffset,
        ty: &FuncType,
        code: Value,
        instance: Value,
    ) -> Outcome {
        let signature = self.signature(ty);
        let arguments = self.arguments(ty, instance)?;
        let call = self.builder.ins().call_indirect(signature, code, &arguments);
        self.call_site(offset, call)?;
        self.push_results(call, &ty.results);
        Ok(())
    }

    /// Pops the arguments of a call, behind the callee's instance data.
    fn arguments(&mut self, ty: &FuncType, instance: Value) -> Result<Vec<Value>, CompileError> {
        let mut arguments = vec![instance];
        arguments.extend(self.pop_many(ty.params.len())?);
        Ok(arguments)
    }

    pub(super) fn push_results(&mut self, call: Inst, results: &[ValType]) {
        let values = self.builder.inst_results(call).to_vec();
        for (&ty, value) in results.iter().zip(values) {
            self.push(ty, value);
        }
    }
}
