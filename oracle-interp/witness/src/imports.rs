//! Imported memories, tables and globals, from a module made for them.
//!
//! Neither side lets a host create definitions in a way that suits both. But a
//! module that defines and exports exactly what another one imports can be
//! instantiated on both, and then both are linked in the same way.

use crate::host;
use crate::lockstep::Host;
use oracle_interp::{Extern, ImportKind, Module, Oracle};
use std::sync::Arc;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    ConstExpr, ExportKind, ExportSection, GlobalSection, MemorySection, TableSection,
};
use wasm_view::FuncIdx;
use wasmparser::{Parser, Payload, TypeRef};
use wasmtime::{Engine, ExternType, Instance, Store};

/// What to link with, in the order of the imports.
pub(crate) struct Given {
    pub(crate) oracle: Vec<Extern>,
    pub(crate) wasmtime: Vec<wasmtime::Extern>,
}

/// Makes everything that a module imports.
pub(crate) fn provide(
    engine: &Engine,
    module: &Module,
    theirs: &wasmtime::Module,
    oracle: &mut Oracle,
    store: &mut Store<Host>,
) -> Result<Given, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let mut provider = None;
    if !module.imports().iter().all(|import| matches!(import.kind, ImportKind::Func(_))) {
        let wasm = provider_module(module.bytes())?;
        let ours = Module::decode(&wasm).map_err(|error| text(&error))?;
        let id = oracle.instantiate(Arc::new(ours), &[]).map_err(|error| text(&error))?;
        let compiled = wasmtime::Module::new(engine, &wasm).map_err(|e| e.to_string())?;
        let instance = crate::run::drive(Instance::new_async(&mut *store, &compiled, &[]));
        let instance = instance.ok_or("Wasmtime waits")?.map_err(|error| error.to_string())?;
        provider = Some((id, instance));
    }
    let mut given = Given { oracle: Vec::new(), wasmtime: Vec::new() };
    let (mut funcs, mut memories, mut tables, mut globals) = (0, 0, 0, 0);
    let next = |n: &mut usize| std::mem::replace(n, *n + 1);
    for (index, (import, declared)) in module.imports().iter().zip(theirs.imports()).enumerate() {
        let ours = match (import.kind, provider) {
            (ImportKind::Func(_), _) => {
                let ExternType::Func(ty) = declared.ty() else {
                    return Err("Wasmtime lists the imports in another order".to_string());
                };
                let func = host::function(store, ty, FuncIdx::from_index(next(&mut funcs)));
                given.oracle.push(Extern::HostFunc);
                given.wasmtime.push(func.into());
                continue;
            }
            (_, None) => return Err("no provider".to_string()),
            (ImportKind::Memory(_), Some((id, _))) => {
                Extern::Memory(oracle.instance(id).memories[next(&mut memories)])
            }
            (ImportKind::Table(_), Some((id, _))) => {
                Extern::Table(oracle.instance(id).tables[next(&mut tables)])
            }
            (ImportKind::Tag(_), _) => return Err("a tag".to_string()),
            (ImportKind::Global(_), Some((id, _))) => {
                Extern::Global(oracle.instance(id).globals[next(&mut globals)])
            }
        };
        let theirs =
            provider.and_then(|(_, instance)| instance.get_export(&mut *store, &index.to_string()));
        given.oracle.push(ours);
        given.wasmtime.push(theirs.ok_or("Wasmtime's provider lacks an export")?);
    }
    Ok(given)
}

/// A module that defines what `wasm` imports, functions excepted, and exports
/// each definition under the number of the import.
fn provider_module(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let mut memories = MemorySection::new();
    let mut tables = TableSection::new();
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    let mut reencoder = RoundtripReencoder;
    let mut index = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ImportSection(section) = payload.map_err(|error| error.to_string())? else {
            continue;
        };
        for import in section.into_imports() {
            let import = import.map_err(|error| error.to_string())?;
            let name = index.to_string();
            index += 1;
            match import.ty {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => {}
                TypeRef::Memory(ty) => {
                    exports.export(&name, ExportKind::Memory, memories.len());
                    memories.memory(reencoder.memory_type(ty).map_err(|e| e.to_string())?);
                }
                TypeRef::Table(ty) => {
                    if matches!(ty.element_type.heap_type(), wasmparser::HeapType::Concrete(_))
                        || !ty.element_type.is_nullable()
                    {
                        return Err("a table of other than simple references".to_string());
                    }
                    exports.export(&name, ExportKind::Table, tables.len());
                    tables.table(reencoder.table_type(ty).map_err(|e| e.to_string())?);
                }
                TypeRef::Global(ty) => {
                    exports.export(&name, ExportKind::Global, globals.len());
                    let value = initial(ty.content_type)?;
                    let ty = reencoder.global_type(ty).map_err(|e| e.to_string())?;
                    globals.global(ty, &value);
                }
                TypeRef::Tag(_) => return Err("a tag".to_string()),
            }
        }
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&tables).section(&memories).section(&globals).section(&exports);
    Ok(module.finish())
}

/// What an imported global holds at first.
fn initial(ty: wasmparser::ValType) -> Result<ConstExpr, String> {
    use wasmparser::ValType;
    Ok(match ty {
        ValType::I32 => ConstExpr::i32_const(3),
        ValType::I64 => ConstExpr::i64_const(-5),
        ValType::F32 => ConstExpr::f32_const(0.5f32.into()),
        ValType::F64 => ConstExpr::f64_const((-0.25f64).into()),
        ValType::V128 => ConstExpr::v128_const(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        ValType::Ref(ty) if ty.is_nullable() => match ty.heap_type() {
            heap @ wasmparser::HeapType::Abstract { .. } => {
                let heap = RoundtripReencoder.heap_type(heap).map_err(|e| e.to_string())?;
                ConstExpr::ref_null(heap)
            }
            _ => return Err("a global of a defined reference type".to_string()),
        },
        ValType::Ref(_) => return Err("a global that is never null".to_string()),
    })
}
