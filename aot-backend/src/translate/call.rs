//! Calls.
//!
//! A function of this module is called directly. An imported one is called
//! through its entry in the instance data, whoever provides it: for a host
//! function the code there is a thunk of this image, for a function of another
//! instance it is that function with that instance's data.

use super::exception::Callee;
use super::{Outcome, Translator};
use crate::abi::{POINTER, Symbol, trap_code};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use dwarf_map::InstanceLayout;
use wasm_view::{FuncIdx, FuncType, Trap, TypeIdx, ValType, WasmOffset};
use wasmparser::Operator;

/// What is called.
struct Target {
    ty: FuncType,
    /// Its code's address; without it the function of this module itself.
    code: Option<Value>,
    func: FuncIdx,
    /// The data of its instance.
    instance: Value,
}

impl Translator<'_, '_> {
    pub(super) fn call_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        match *operator {
            Operator::Call { function_index } => {
                let target = self.direct(FuncIdx::new(function_index))?;
                self.call(offset, target)?;
            }
            Operator::CallIndirect { type_index, table_index } => {
                let target = self.indirect(type_index, table_index)?;
                self.call(offset, target)?;
            }
            Operator::CallRef { type_index } => {
                let target = self.referenced(type_index)?;
                self.call(offset, target)?;
            }
            Operator::ReturnCall { function_index } => {
                let target = self.direct(FuncIdx::new(function_index))?;
                self.return_call(target)?;
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let target = self.indirect(type_index, table_index)?;
                self.return_call(target)?;
            }
            Operator::ReturnCallRef { type_index } => {
                let target = self.referenced(type_index)?;
                self.return_call(target)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn direct(&mut self, func: FuncIdx) -> Result<Target, CompileError> {
        let missing = || CompileError::bug(format!("no function {func}"));
        let ty = self.env.module.function_type(func).ok_or_else(missing)?.clone();
        if !self.env.module.is_import(func) {
            return Ok(Target { ty, code: None, func, instance: self.instance });
        }
        let entry = self.env.layout.import(func);
        let code = self.load_field(POINTER, entry, true)?;
        let instance = self.load_field(POINTER, entry + InstanceLayout::INSTANCE_FIELD, true)?;
        Ok(Target { ty, code: Some(code), func, instance })
    }

    fn indirect(&mut self, ty: u32, table: u32) -> Result<Target, CompileError> {
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
        self.described(ty, descriptor)
    }

    fn referenced(&mut self, ty: u32) -> Result<Target, CompileError> {
        let ty = self.wasm_type(ty)?;
        let descriptor = self.operand()?;
        self.builder.ins().trapz(descriptor, trap_code(Trap::NullFunctionReference));
        self.described(ty, descriptor)
    }

    /// The function of a descriptor.
    fn described(&mut self, ty: FuncType, descriptor: Value) -> Result<Target, CompileError> {
        let code = self.load_through(POINTER, descriptor, 0)?;
        let instance = self.load_through(POINTER, descriptor, InstanceLayout::INSTANCE_FIELD)?;
        Ok(Target { ty, code: Some(code), func: FuncIdx::new(0), instance })
    }

    fn call(&mut self, offset: WasmOffset, target: Target) -> Outcome {
        let arguments = self.arguments(&target.ty, target.instance)?;
        self.keep_for_call();
        let callee = match target.code {
            Some(code) => Callee::Pointer(self.signature(&target.ty), code),
            None => Callee::Known(self.callee(Symbol::Function(target.func), &target.ty)),
        };
        let results = &target.ty.results;
        let values = self.call_with_handlers(offset, callee, &arguments, results)?;
        self.mark_live_behind();
        self.push_all(results, values);
        Ok(())
    }

    /// Calls in place of this function: its frame is gone when the callee
    /// begins.
    fn return_call(&mut self, target: Target) -> Outcome {
        let arguments = self.arguments(&target.ty, target.instance)?;
        match target.code {
            Some(code) => {
                let signature = self.signature(&target.ty);
                self.builder.ins().return_call_indirect(signature, code, &arguments);
            }
            None => {
                let callee = self.callee(Symbol::Function(target.func), &target.ty);
                self.builder.ins().return_call(callee, &arguments);
            }
        }
        self.reachable = false;
        Ok(())
    }

    /// Pops the arguments of a call, behind the callee's instance data.
    fn arguments(&mut self, ty: &FuncType, instance: Value) -> Result<Vec<Value>, CompileError> {
        let mut arguments = vec![instance];
        arguments.extend(self.pop_many(ty.params.len())?);
        Ok(arguments)
    }

    pub(super) fn push_all(&mut self, results: &[ValType], values: Vec<Value>) {
        for (&ty, value) in results.iter().zip(values) {
            self.push(ty, value);
        }
    }
}
