//! Instantiation, as a function of the module's own.
//!
//! What a module begins with stands in its sections, not in code: initial
//! values of globals and tables, segments, a start function. Somebody has to
//! put it into the store, and if that is whoever looks on, nothing is learnt
//! about the compiler. But the core specification ("Instantiation") says what
//! is to be done in instructions, and those can be compiled like any:
//!
//! ```text
//!   global        expression  global.set x                                 immutable ones too
//!   table         i32.const 0  expression  i32.const n  table.fill x       if it has an expression
//!   element       offset  i32.const 0  i32.const n  table.init t x  elem.drop x
//!     declared    elem.drop x
//!   data          offset  i32.const 0  i32.const n  memory.init m x  data.drop x
//!   start         (trap)  call x
//! ```
//! in this order, segments of either kind by index; passive ones stay as they
//! are. So there is one more native function for each module, of type [] -> [],
//! which the same translator makes of these instructions. What compiled code
//! asks its kernel for, this function asks for by the same thunks, and a segment
//! that does not fit is their trap.
//!
//! It has no boundaries, as it is no function of the module's. The one trap
//! instruction in it stands before the call of the start function: there the
//! store is complete, and can be looked at before anything of the module's own
//! is executed.

use super::control::Frame;
use super::state::State;
use super::{BodyError, CallDraft, Environment, Keep, Translator};
use crate::abi::{self, Symbol};
use crate::error::CompileError;
use crate::module;
use crate::options::Anchors;
use crate::thunks::{Thunks, open, trap_for_kernel};
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_frontend::FunctionBuilderContext;
use dwarf_map::StablePoints;
use wasm_view::{AddressType, FuncType, TableIdx};
use wasmparser::{
    ConstExpr, Data, DataKind, Element, ElementItems, ElementKind, Operator, Parser, Payload,
    TableInit,
};

/// The function in CLIF.
pub(crate) struct Instantiation {
    pub function: Function,
    /// Its calls, in the order of their tags.
    pub calls: Vec<CallDraft>,
    /// Whether it halts before it calls a start function.
    pub halts: bool,
}

/// An instruction and its byte offset in the module, or that of what it is for.
type Step<'a> = (usize, Operator<'a>);

/// What instantiating a module takes.
struct Steps<'a> {
    /// Up to the start function.
    store: Vec<Step<'a>>,
    start: Option<Step<'a>>,
}

/// Translates the instantiation of a module that is valid.
pub(crate) fn instantiation(
    env: &Environment<'_>,
    thunks: &mut Thunks,
    context: &mut FunctionBuilderContext,
    wasm: &[u8],
) -> Result<Instantiation, BodyError> {
    let Steps { store, start } = steps(env, wasm)?;
    // Nobody stops within it or asks where its values are.
    let env = Environment {
        stable: StablePoints::Off,
        restorable: false,
        dumps: false,
        anchors: Anchors::Srcloc,
        maps: false,
        ..*env
    };
    let ty = FuncType::default();
    let name = UserFuncName::User(Symbol::Instantiate.name());
    let mut function = Function::with_name_signature(name, abi::signature(&ty));
    let (mut builder, params) = open(&mut function, context);
    let [instance] = *params else {
        return Err(CompileError::bug("a signature without instance data").into());
    };
    let exit = builder.create_block();
    let frame = Frame::function(exit, &ty);
    let (keep, mut budget) = (Keep::default(), 0);
    let mut translator =
        Translator::new(builder, &env, thunks, State::new(), (instance, frame), &keep, &mut budget);
    for (offset, operator) in &store {
        translator.operator(module::offset(*offset), operator)?;
    }
    if let Some((offset, call)) = &start {
        trap_for_kernel(&mut translator.builder);
        translator.operator(module::offset(*offset), call)?;
    }
    translator.operator(module::offset(wasm.len()), &Operator::End)?;
    let Translator { mut builder, calls, .. } = translator;
    builder.seal_all_blocks();
    builder.finalize(env.isa.frontend_config());
    Ok(Instantiation { function, calls, halts: start.is_some() })
}

/// Reads the sections that say what a module begins with.
fn steps<'a>(env: &Environment<'_>, wasm: &'a [u8]) -> Result<Steps<'a>, BodyError> {
    // In the order of sections tables come before globals and the start function
    // before segments.
    let (mut globals, mut tables) = (Vec::new(), Vec::new());
    let (mut elements, mut data, mut start) = (Vec::new(), Vec::new(), None);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TableSection(section) => {
                let defined = env.module.tables.len() as u32 - section.count();
                for (index, table) in (defined..).zip(section) {
                    if let TableInit::Expr(init) = &table?.init {
                        fill(env, index, init, &mut tables)?;
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in (env.module.imported_globals..).zip(section) {
                    let init = global?.init_expr;
                    let at = expression(&init, &mut globals)?;
                    globals.push((at, Operator::GlobalSet { global_index: index }));
                }
            }
            Payload::StartSection { func, range } => {
                start = Some((range.start, Operator::Call { function_index: func }));
            }
            Payload::ElementSection(section) => {
                for (index, element) in (0..).zip(section) {
                    elements_of(index, &element?, &mut elements)?;
                }
            }
            Payload::DataSection(section) => {
                for (index, segment) in (0..).zip(section) {
                    bytes_of(index, &segment?, &mut data)?;
                }
            }
            _ => {}
        }
    }
    Ok(Steps { store: [globals, tables, elements, data].concat(), start })
}

/// The instructions of a constant expression; answers where it begins.
fn expression<'a>(
    expression: &ConstExpr<'a>,
    into: &mut Vec<Step<'a>>,
) -> Result<usize, BodyError> {
    let mut operators = expression.get_operators_reader();
    let first = operators.original_position();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        if !matches!(operator, Operator::End) {
            into.push((offset, operator));
        }
    }
    Ok(first)
}

/// Every element of a table gets the same value. It fits: a table that is new
/// has all of them.
fn fill<'a>(
    env: &Environment<'_>,
    table: u32,
    init: &ConstExpr<'a>,
    into: &mut Vec<Step<'a>>,
) -> Result<(), BodyError> {
    let missing = || CompileError::bug(format!("no table {table}"));
    let ty = env.module.table(TableIdx::new(table)).ok_or_else(missing)?;
    let at = init.get_operators_reader().original_position();
    into.push((at, address(ty.address, 0)));
    expression(init, into)?;
    into.extend([(at, address(ty.address, ty.minimum)), (at, Operator::TableFill { table })]);
    Ok(())
}

fn elements_of<'a>(
    elem_index: u32,
    element: &Element<'a>,
    into: &mut Vec<Step<'a>>,
) -> Result<(), BodyError> {
    let at = element.range.start;
    match &element.kind {
        ElementKind::Passive => return Ok(()),
        ElementKind::Declared => {}
        ElementKind::Active { table_index, offset_expr } => {
            let table = table_index.unwrap_or(0);
            let count = match &element.items {
                ElementItems::Functions(functions) => functions.count(),
                ElementItems::Expressions(_, expressions) => expressions.count(),
            };
            expression(offset_expr, into)?;
            into.extend([
                (at, Operator::I32Const { value: 0 }),
                (at, Operator::I32Const { value: count.cast_signed() }),
                (at, Operator::TableInit { elem_index, table }),
            ]);
        }
    }
    into.push((at, Operator::ElemDrop { elem_index }));
    Ok(())
}

fn bytes_of<'a>(
    data_index: u32,
    segment: &Data<'a>,
    into: &mut Vec<Step<'a>>,
) -> Result<(), BodyError> {
    let DataKind::Active { memory_index: mem, offset_expr } = &segment.kind else { return Ok(()) };
    let at = segment.range.start;
    let count = u32::try_from(segment.data.len()).map_err(CompileError::bug)?;
    expression(offset_expr, into)?;
    into.extend([
        (at, Operator::I32Const { value: 0 }),
        (at, Operator::I32Const { value: count.cast_signed() }),
        (at, Operator::MemoryInit { data_index, mem: *mem }),
        (at, Operator::DataDrop { data_index }),
    ]);
    Ok(())
}

/// A constant of an address type.
fn address<'a>(ty: AddressType, value: u64) -> Operator<'a> {
    match ty {
        AddressType::I32 => Operator::I32Const { value: (value as u32).cast_signed() },
        AddressType::I64 => Operator::I64Const { value: value.cast_signed() },
    }
}
