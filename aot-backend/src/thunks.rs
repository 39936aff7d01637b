//! Code between the subject and its kernel: thunks out, entries in.
//!
//! Both meet the tracer in the argument area of the instance data. A thunk has
//! the native signature of what it stands for, so Wasm code calls it like any
//! function: it stores its arguments there, stops at its trap, and returns
//! what it finds there afterwards. An entry is the reverse: the tracer puts
//! arguments there, sets three registers, and lets it run to its trap.

use crate::abi::{self, POINTER, Symbol, trap_code};
use crate::error::CompileError;
use crate::translate::{field, instance_flags};
use cranelift_codegen::ir::{DebugTag, Function, InstBuilder, UserFuncName, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use dwarf_map::{InstanceLayout, ThunkKind};
use std::collections::HashMap;
use wasm_view::{FuncIdx, FuncType, Trap, ValType};

/// The thunks that the module's code turned out to need, in the order of their
/// first use, imports first: each of those has one whether called or not,
/// since it may be exported or stored in a table.
#[derive(Debug, Default)]
pub(crate) struct Thunks {
    list: Vec<(ThunkKind, FuncType)>,
    known: HashMap<ThunkKind, u32>,
}

impl Thunks {
    /// Adds the thunk of an imported function.
    pub fn add_import(&mut self, func: FuncIdx, ty: &FuncType) -> Result<(), CompileError> {
        self.symbol(ThunkKind::Import(func), ty).map(|_| ())
    }

    /// The thunk of an operation, whose type its kind determines.
    pub fn symbol(&mut self, kind: ThunkKind, ty: &FuncType) -> Result<Symbol, CompileError> {
        if let Some(&known) = self.known.get(&kind) {
            return Ok(Symbol::Thunk(known));
        }
        let index = u32::try_from(self.list.len()).map_err(CompileError::bug)?;
        self.list.push((kind, ty.clone()));
        self.known.insert(kind, index);
        Ok(Symbol::Thunk(index))
    }

    /// All of them.
    pub fn into_list(self) -> Vec<(ThunkKind, FuncType)> {
        self.list
    }
}

/// CLIF of a thunk.
pub(crate) fn thunk(
    symbol: Symbol,
    ty: &FuncType,
    layout: InstanceLayout,
    context: &mut FunctionBuilderContext,
    frontend: TargetFrontendConfig,
) -> Result<Function, CompileError> {
    let mut function =
        Function::with_name_signature(UserFuncName::User(symbol.name()), abi::signature(ty));
    let (mut builder, params) = open(&mut function, context);
    let Some((&instance, arguments)) = params.split_first() else {
        return Err(CompileError::bug("a thunk without instance data"));
    };
    store_arguments(&mut builder, layout, instance, arguments)?;
    trap_for_kernel(&mut builder);
    let results = load_arguments(&mut builder, layout, instance, &ty.results)?;
    builder.ins().return_(&results);
    builder.finalize(frontend);
    Ok(function)
}

/// CLIF of the entry for functions of a type.
pub(crate) fn entry(
    symbol: Symbol,
    ty: &FuncType,
    layout: InstanceLayout,
    context: &mut FunctionBuilderContext,
    frontend: TargetFrontendConfig,
) -> Result<Function, CompileError> {
    let mut function =
        Function::with_name_signature(UserFuncName::User(symbol.name()), abi::entry_signature());
    let (mut builder, params) = open(&mut function, context);
    let &[instance, code, callee_instance] = params.as_slice() else {
        return Err(CompileError::bug("an entry takes three parameters"));
    };
    let mut arguments = vec![callee_instance];
    arguments.extend(load_arguments(&mut builder, layout, instance, &ty.params)?);
    let signature = builder.import_signature(abi::signature(ty));
    let call = builder.ins().call_indirect(signature, code, &arguments);
    let results = builder.inst_results(call).to_vec();
    store_arguments(&mut builder, layout, instance, &results)?;
    trap_for_kernel(&mut builder);
    // Nothing to return to: the tracer never resumes from there.
    builder.ins().trap(trap_code(Trap::Unreachable));
    builder.finalize(frontend);
    Ok(function)
}

/// The tag of the only trap in a thunk, an entry or the function that instantiates.
pub(crate) const KERNEL_TAG: u32 = 0;

/// Begins a function: a builder that stands in its only block, and its
/// parameters.
pub(crate) fn open<'a>(
    function: &'a mut Function,
    context: &'a mut FunctionBuilderContext,
) -> (FunctionBuilder<'a>, Vec<Value>) {
    let mut builder = FunctionBuilder::new(function, context);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    let params = builder.block_params(block).to_vec();
    (builder, params)
}

/// Halts for the kernel.
pub(crate) fn trap_for_kernel(builder: &mut FunctionBuilder<'_>) {
    let marker = builder.ins().sequence_point();
    builder.func.debug_tags.set(marker, [DebugTag::User(KERNEL_TAG)]);
    builder.ins().debugtrap();
}

/// Stores values in cells from the first on, 32-bit ones zero-extended.
fn store_arguments(
    builder: &mut FunctionBuilder<'_>,
    layout: InstanceLayout,
    instance: Value,
    values: &[Value],
) -> Result<(), CompileError> {
    for (cell, &value) in (0..).zip(values) {
        let offset = field(layout.argument(cell))?;
        let ty = builder.func.dfg.value_type(value);
        if ty.bytes() < 8 {
            let zero = builder.ins().iconst(POINTER, 0);
            builder.ins().store(instance_flags(false), zero, instance, offset);
        }
        builder.ins().store(instance_flags(false), value, instance, offset);
    }
    Ok(())
}

fn load_arguments(
    builder: &mut FunctionBuilder<'_>,
    layout: InstanceLayout,
    instance: Value,
    types: &[ValType],
) -> Result<Vec<Value>, CompileError> {
    let mut values = Vec::with_capacity(types.len());
    for (cell, &ty) in (0..).zip(types) {
        let offset = field(layout.argument(cell))?;
        let ty = abi::native_type(ty);
        values.push(builder.ins().load(ty, instance_flags(false), instance, offset));
    }
    Ok(values)
}
