//! What of WebAssembly a module may use.
//!
//! A validator that knows which features there are refuses the others, and says by name
//! what it misses. In one place it cannot draw the line where we do. That a constant may
//! be read from a global of the module's own came with garbage collection, but has no
//! need of it. So sections are validated with that proposal, and what else it brings into
//! them is refused here; the bodies of functions are validated without.

use crate::error::CompileError;
use crate::module;
use dwarf_map::Isa;
use wasmparser::{
    AbstractHeapType, CompositeInnerType, ConstExpr, DataKind, Element, ElementItems, ElementKind,
    HeapType, Operator, Payload, RecGroup, RefType, TableInit, TypeRef, ValType, Validator,
    WasmFeatures,
};

/// What a function may use. Whatever else a valid module uses is refused by name, but
/// for constants that are read from its own globals.
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::MEMORY64
        | WasmFeatures::THREADS
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
}

/// What a function may use that is compiled for an instruction set; `vectors` says
/// whether the CPU has any.
pub(crate) fn of_bodies(isa: Isa, vectors: bool) -> WasmFeatures {
    match isa {
        Isa::X86_64 => features(),
        // The translation uses instructions of x86-64.
        _ if vectors => features() - WasmFeatures::RELAXED_SIMD,
        _ => features() - WasmFeatures::RELAXED_SIMD - WasmFeatures::SIMD,
    }
}

/// What sections are validated with; see [`refuse`].
pub(crate) fn of_sections(isa: Isa, vectors: bool) -> WasmFeatures {
    of_bodies(isa, vectors) | WasmFeatures::GC
}

/// What to say of a module that does not pass with our features: whether it is invalid
/// or only ahead of us.
pub(crate) fn classify(wasm: &[u8], isa: Isa, error: &wasmparser::Error) -> CompileError {
    let message = error.message();
    let name = [" support is not enabled", " is not enabled", " not supported"]
        .iter()
        .find_map(|end| message.strip_suffix(end))
        .unwrap_or(message);
    let feature = match isa {
        Isa::X86_64 => name.to_owned(),
        // Vectors are an extension there.
        Isa::Riscv64 if name == "SIMD" => "SIMD on riscv64 without the CPU feature v".to_owned(),
        isa => format!("{name} on {}", isa.name()),
    };
    let ahead = CompileError::Unsupported { offset: module::offset(error.offset()), feature };
    match Validator::new_with_features(WasmFeatures::all()).validate_all(wasm) {
        Ok(_) => ahead,
        Err(_) => CompileError::Invalid {
            offset: module::offset(error.offset()),
            message: message.to_owned(),
        },
    }
}

/// Refuses what a section uses of garbage collection. It has passed with the features
/// of sections; what follows it in the module may still be invalid.
pub(crate) fn refuse(payload: &Payload<'_>, wasm: &[u8]) -> Result<(), CompileError> {
    let Some((at, construct)) = collected(payload) else { return Ok(()) };
    Err(match Validator::new_with_features(WasmFeatures::all()).validate_all(wasm) {
        Ok(_) => {
            let feature = format!("GC ({construct})");
            CompileError::Unsupported { offset: module::offset(at), feature }
        }
        Err(error) => CompileError::Invalid {
            offset: module::offset(error.offset()),
            message: error.message().to_owned(),
        },
    })
}

/// A use of garbage collection: where, and what.
type Use = (usize, String);

/// The first one in a valid section, but for reads of the module's own globals.
fn collected(payload: &Payload<'_>) -> Option<Use> {
    match payload {
        Payload::TypeSection(section) => {
            let mut groups = section.clone().into_iter_with_offsets().flatten();
            groups.find_map(|(at, group)| Some((at, in_types(&group)?)))
        }
        Payload::ImportSection(section) => {
            let at = section.range().start;
            section.clone().into_imports().flatten().find_map(|import| match import.ty {
                TypeRef::Table(table) => Some((at, in_reference(table.element_type)?)),
                TypeRef::Global(global) => Some((at, in_value(global.content_type)?)),
                _ => None,
            })
        }
        Payload::TableSection(section) => {
            section.clone().into_iter_with_offsets().flatten().find_map(|(at, table)| {
                let ty = in_reference(table.ty.element_type).map(|ty| (at, ty));
                ty.or_else(|| match &table.init {
                    TableInit::Expr(init) => in_constant(init),
                    TableInit::RefNull => None,
                })
            })
        }
        Payload::GlobalSection(section) => {
            section.clone().into_iter_with_offsets().flatten().find_map(|(at, global)| {
                let ty = in_value(global.ty.content_type).map(|ty| (at, ty));
                ty.or_else(|| in_constant(&global.init_expr))
            })
        }
        Payload::ElementSection(section) => {
            section.clone().into_iter().flatten().find_map(in_elements)
        }
        Payload::DataSection(section) => {
            section.clone().into_iter().flatten().find_map(|segment| match &segment.kind {
                DataKind::Active { offset_expr, .. } => in_constant(offset_expr),
                DataKind::Passive => None,
            })
        }
        _ => None,
    }
}

fn in_types(group: &RecGroup) -> Option<String> {
    if group.is_explicit_rec_group() {
        return Some("a group of recursive types".into());
    }
    group.types().find_map(|ty| {
        if !ty.is_final || ty.supertype_idx.is_some() {
            return Some("a subtype".into());
        }
        match &ty.composite_type.inner {
            CompositeInnerType::Func(func) => {
                func.params().iter().chain(func.results()).find_map(|ty| in_value(*ty))
            }
            CompositeInnerType::Array(_) => Some("an array type".into()),
            CompositeInnerType::Struct(_) => Some("a struct type".into()),
            CompositeInnerType::Cont(_) => Some("a continuation type".into()),
        }
    })
}

fn in_value(ty: ValType) -> Option<String> {
    if let ValType::Ref(ty) = ty { in_reference(ty) } else { None }
}

fn in_reference(ty: RefType) -> Option<String> {
    is_collected(ty.heap_type()).then(|| ty.to_string())
}

/// Whether it is a heap type of that proposal.
fn is_collected(ty: HeapType) -> bool {
    use AbstractHeapType::{Any, Array, Eq, I31, NoExtern, NoFunc, None, Struct};
    let HeapType::Abstract { ty, .. } = ty else { return false };
    matches!(ty, Any | None | Eq | Struct | Array | I31 | NoExtern | NoFunc)
}

fn in_elements(element: Element<'_>) -> Option<Use> {
    let offset = match &element.kind {
        ElementKind::Active { offset_expr, .. } => in_constant(offset_expr),
        ElementKind::Passive | ElementKind::Declared => None,
    };
    let ElementItems::Expressions(ty, items) = element.items else { return offset };
    offset
        .or_else(|| Some((element.range.start, in_reference(ty)?)))
        .or_else(|| items.into_iter().flatten().find_map(|item| in_constant(&item)))
}

fn in_constant(expression: &ConstExpr<'_>) -> Option<Use> {
    let operators = expression.get_operators_reader().into_iter_with_offsets().flatten();
    operators.into_iter().find_map(|(operator, at)| {
        let construct = match operator {
            Operator::RefNull { hty } if is_collected(hty) => "ref.null",
            Operator::RefI31 => "ref.i31",
            Operator::StructNew { .. } => "struct.new",
            Operator::StructNewDefault { .. } => "struct.new_default",
            Operator::ArrayNew { .. } => "array.new",
            Operator::ArrayNewDefault { .. } => "array.new_default",
            Operator::ArrayNewFixed { .. } => "array.new_fixed",
            Operator::AnyConvertExtern => "any.convert_extern",
            Operator::ExternConvertAny => "extern.convert_any",
            _ => return None,
        };
        Some((at, construct.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use crate::{CompileError, CompileOptions, compile};

    fn compiled(text: &str) -> Result<(), CompileError> {
        let wasm = wat::parse_str(text).expect("a module");
        compile(&wasm, &CompileOptions::default()).map(drop)
    }

    #[test]
    fn constants_may_be_read_from_own_globals() {
        let text = r#"(module
            (global $a i32 (i32.const 3))
            (global $b i32 (i32.add (global.get $a) (i32.const 1)))
            (global $f funcref (ref.func 0))
            (table 8 funcref)
            (memory 1)
            (elem (offset (global.get $b)) funcref (global.get $f))
            (data (offset (global.get $b)) "x")
            (func))"#;
        compiled(text).expect("compiles");
    }

    #[test]
    fn what_else_is_of_that_proposal_is_refused_by_name() {
        let refused = [
            ("(rec (type (func)) (type (func)))", "a group of recursive types"),
            ("(type (sub (func)))", "a subtype"),
            ("(type (struct))", "a struct type"),
            ("(type (array i8))", "an array type"),
            ("(type (func (param eqref)))", "eqref"),
            ("(type (func (result (ref null none))))", "nullref"),
            (r#"(import "m" "t" (table 1 anyref))"#, "anyref"),
            (r#"(import "m" "g" (global i31ref))"#, "i31ref"),
            ("(table 1 structref)", "structref"),
            ("(global arrayref (ref.null array))", "arrayref"),
            ("(global externref (ref.null noextern))", "ref.null"),
            ("(table 1 funcref (ref.null nofunc))", "ref.null"),
            ("(elem anyref)", "anyref"),
            ("(elem funcref (ref.null nofunc))", "ref.null"),
            ("(global externref (extern.convert_any (ref.i31 (i32.const 1))))", "ref.i31"),
        ];
        for (field, construct) in refused {
            let Err(CompileError::Unsupported { feature, .. }) =
                compiled(&format!("(module {field})"))
            else {
                panic!("{field} is not refused");
            };
            assert_eq!(feature, format!("GC ({construct})"), "{field}");
        }
        // Nothing of it is new to bodies.
        for body in ["(local anyref)", "(drop (ref.i31 (i32.const 1)))", "(drop (ref.null any))"] {
            let refused = compiled(&format!("(module (func {body}))"));
            assert!(
                matches!(refused, Err(CompileError::Unsupported { .. })),
                "{body}: {refused:?}"
            );
        }
        // The first thing that is not supported does not hide what is invalid behind it.
        let invalid = compiled("(module (type (struct)) (func (result i32)))");
        assert!(matches!(invalid, Err(CompileError::Invalid { .. })), "{invalid:?}");
    }
}
