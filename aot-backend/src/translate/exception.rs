//! Exceptions.
//!
//! The subject has no runtime. To throw is to call a thunk, which leaves the
//! arguments in the argument area and asks the kernel; the kernel unwinds and
//! goes on at a handler, with the reference to the exception in the payload
//! register and the exception's arguments in the argument area of the instance
//! that catches. Every call in the scope of a clause is therefore a `try_call`,
//! which names a landing block for each clause that may catch what it throws,
//! the innermost scope's first:
//!
//! ```text
//!   try_call callee, args --> after                       (returned)
//!                \--> landing of clause n(exnref)         (thrown)
//!                       arguments from the argument area
//!                       branch to the clause's label
//! ```
//! A landing has no boundary: to Wasm the branch happens on the way. Those of a
//! `try_table` are translated behind its `end`, when all that lead to them are
//! known. Of the legacy `try`, a landing begins the clause's own body; since
//! clauses follow the body that they protect, they are looked up ahead.

use super::control::{Frame, FrameKind};
use super::{CALL_TAG, CallDraft, Outcome, Translator};
use crate::abi::{POINTER, native_type, trap_code};
use crate::error::CompileError;
use crate::module;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, ExceptionTag, FuncRef,
    InstBuilder, SigRef, Value,
};
use cranelift_frontend::Variable;
use dwarf_map::ThunkKind;
use std::collections::HashMap;
use wasm_view::{HeapType, RefType, TagIdx, Trap, ValType, WasmOffset};
use wasmparser::{BlockType, Catch, FunctionBody, Operator, TryTable};

/// The type of references to exceptions.
const EXNREF: ValType = ValType::Ref(RefType::nullable(HeapType::Exn));

/// A clause in whose scope code is being translated.
#[derive(Clone, Copy)]
pub(super) struct Clause {
    /// What it catches; everything without.
    tag: Option<TagIdx>,
    /// Of a `try_table`: whether the reference follows the arguments.
    with_ref: bool,
    /// Of a `try_table`: its label, counted from outside.
    label: u32,
    /// Where calls in its scope land, once there is one.
    landing: Option<Block>,
}

impl Clause {
    fn legacy(tag: Option<TagIdx>) -> Self {
        Clause { tag, with_ref: false, label: 0, landing: None }
    }
}

/// What becomes of exceptions in the body of an open construct.
pub(super) struct Scope {
    /// The construct, by its position among the open ones.
    frame: usize,
    protection: Protection,
}

enum Protection {
    Clauses(Vec<Clause>),
    /// Only scopes of the construct at this position and around it are asked.
    Delegate(usize),
}

/// The end of a legacy `try`'s body.
pub(super) enum LegacyEnd {
    Catches(Vec<Option<TagIdx>>),
    /// To a label counted from outside.
    Delegate(u32),
}

/// How the bodies of a function's legacy `try`s end, by the position of `try`.
pub(super) type LegacyEnds = HashMap<WasmOffset, LegacyEnd>;

/// A legacy `try`.
pub(super) enum Legacy {
    /// In its body.
    Body,
    /// In a clause.
    Clause {
        /// Landings of the clauses that follow, the next one last.
        landings: Vec<Block>,
        /// The reference to what this one caught.
        exception: Variable,
    },
}

/// A handler of a call, as far as the translator knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandlerDraft {
    /// What it handles; everything without.
    pub tag: Option<TagIdx>,
    /// By which the compiled code names it: unique in the function.
    pub number: u32,
}

/// What a call calls.
#[derive(Clone, Copy)]
pub(super) enum Callee {
    Known(FuncRef),
    Pointer(SigRef, Value),
}

/// Looks ahead for the clauses of every legacy `try` of a function.
pub(super) fn legacy_ends(body: &FunctionBody<'_>) -> Result<LegacyEnds, wasmparser::Error> {
    let mut ends = LegacyEnds::new();
    let mut open: Vec<Option<WasmOffset>> = Vec::new();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        let offset = module::offset(offset);
        let mut clause = |tag: Option<TagIdx>| {
            let end = open.last().copied().flatten().and_then(|at| ends.get_mut(&at));
            if let Some(LegacyEnd::Catches(tags)) = end {
                tags.push(tag);
            }
        };
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => open.push(None),
            Operator::Try { .. } => {
                ends.insert(offset, LegacyEnd::Catches(Vec::new()));
                open.push(Some(offset));
            }
            Operator::Catch { tag_index } => clause(Some(TagIdx::new(tag_index))),
            Operator::CatchAll => clause(None),
            Operator::Delegate { relative_depth } => {
                if let Some(Some(at)) = open.pop() {
                    ends.insert(at, LegacyEnd::Delegate(relative_depth));
                }
            }
            Operator::End => {
                open.pop();
            }
            _ => {}
        }
    }
    Ok(ends)
}

impl Translator<'_, '_> {
    pub(super) fn exception_operator(
        &mut self,
        offset: WasmOffset,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        match operator {
            Operator::TryTable { try_table } => self.try_table(try_table)?,
            Operator::Throw { tag_index } => {
                let tag = TagIdx::new(*tag_index);
                let params = self.tag_params(tag)?;
                let arguments = self.pop_many(params.len())?;
                self.throw(offset, ThunkKind::Throw(tag), &params, &arguments)?;
            }
            Operator::ThrowRef => {
                let exception = self.operand()?;
                self.builder.ins().trapz(exception, trap_code(Trap::NullExceptionReference));
                self.throw(offset, ThunkKind::ThrowRef, &[EXNREF], &[exception])?;
            }
            Operator::Try { blockty } => self.legacy_try(offset, blockty)?,
            Operator::Rethrow { relative_depth } => {
                let position = self.frame_position(*relative_depth)?;
                let Some(Legacy::Clause { exception, .. }) = self.frames[position].legacy() else {
                    return Err(CompileError::bug("rethrow outside of a clause"));
                };
                let exception = self.builder.use_var(*exception);
                self.throw(offset, ThunkKind::ThrowRef, &[EXNREF], &[exception])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn tag_params(&self, tag: TagIdx) -> Result<Vec<ValType>, CompileError> {
        let ty = self.env.module.tags.get(tag.index()).copied();
        let ty = ty.ok_or_else(|| CompileError::bug(format!("no tag {tag}")))?;
        Ok(self.wasm_type(ty.get())?.params)
    }

    fn try_table(&mut self, table: &TryTable) -> Outcome {
        let clauses = table.catches.iter().map(|catch| {
            let (tag, with_ref, label) = match *catch {
                Catch::One { tag, label } => (Some(tag), false, label),
                Catch::OneRef { tag, label } => (Some(tag), true, label),
                Catch::All { label } => (None, false, label),
                Catch::AllRef { label } => (None, true, label),
            };
            Clause { tag: tag.map(TagIdx::new), with_ref, label, landing: None }
        });
        let protection = Protection::Clauses(clauses.collect());
        let after = self.builder.create_block();
        self.open(FrameKind::Try, after, &table.ty)?;
        self.scopes.push(Scope { frame: self.frames.len() - 1, protection });
        Ok(())
    }

    fn legacy_try(&mut self, offset: WasmOffset, ty: &BlockType) -> Outcome {
        let end = self.legacy_ends.get(&offset);
        let end = end.ok_or_else(|| CompileError::bug("a try that was not seen ahead"))?;
        let protection = match end {
            LegacyEnd::Catches(tags) => {
                Protection::Clauses(tags.iter().copied().map(Clause::legacy).collect())
            }
            LegacyEnd::Delegate(depth) => Protection::Delegate(self.frame_position(*depth)?),
        };
        let after = self.builder.create_block();
        self.open(FrameKind::Legacy(Legacy::Body), after, ty)?;
        self.scopes.push(Scope { frame: self.frames.len() - 1, protection });
        Ok(())
    }

    /// Legacy `catch` and `catch_all`: the end of what came before, reached by
    /// falling into it or not at all, and where an exception lands.
    pub(super) fn legacy_catch(&mut self, offset: WasmOffset, tag: Option<u32>) -> Outcome {
        if self.reachable {
            self.boundary(offset, false)?;
        }
        let misplaced = || CompileError::bug("catch outside of try");
        let frame = self.frames.last().ok_or_else(misplaced)?;
        let (target, height) = (frame.target, frame.height);
        if self.reachable {
            self.builder.ins().jump(target, &[]);
        }
        let mut landings = match self.frames.last_mut().and_then(Frame::legacy_mut) {
            Some(Legacy::Clause { landings, .. }) => std::mem::take(landings),
            Some(Legacy::Body) => {
                let mut landings = Vec::new();
                for clause in self.close_scope() {
                    // Without one no call leads there, and Cranelift drops what
                    // follows.
                    landings.push(match clause.landing {
                        Some(landing) => landing,
                        None => self.new_landing(),
                    });
                }
                landings.reverse();
                landings
            }
            None => return Err(misplaced()),
        };
        let landing = landings.pop().ok_or_else(misplaced)?;
        self.state.reset(height, &[]);
        self.enter(landing);
        let value = self.landed(landing)?;
        let exception = self.builder.declare_var(POINTER);
        self.builder.def_var(exception, value);
        if let Some(tag) = tag {
            self.push_exception_arguments(TagIdx::new(tag))?;
        }
        if let Some(legacy) = self.frames.last_mut().and_then(Frame::legacy_mut) {
            *legacy = Legacy::Clause { landings, exception };
        }
        Ok(())
    }

    /// Throws: calls a thunk that does not return.
    fn throw(
        &mut self,
        offset: WasmOffset,
        kind: ThunkKind,
        params: &[ValType],
        arguments: &[Value],
    ) -> Outcome {
        self.thunk_with(offset, kind, params, arguments, &[])?;
        // In a block of its own, for the reason that `unreachable` has one.
        let nowhere = self.builder.create_block();
        self.builder.ins().jump(nowhere, &[]);
        self.enter(nowhere);
        self.builder.ins().trap(trap_code(Trap::Unreachable));
        self.reachable = false;
        Ok(())
    }

    /// Makes a call that may throw, whose arguments have been popped; answers
    /// its results.
    pub(super) fn call_with_handlers(
        &mut self,
        offset: WasmOffset,
        callee: Callee,
        arguments: &[Value],
        results: &[ValType],
    ) -> Result<Vec<Value>, CompileError> {
        let handlers = self.handlers();
        if handlers.is_empty() {
            let call = match callee {
                Callee::Known(callee) => self.builder.ins().call(callee, arguments),
                Callee::Pointer(signature, code) => {
                    self.builder.ins().call_indirect(signature, code, arguments)
                }
            };
            self.call_site(offset, call)?;
            return Ok(self.builder.inst_results(call).to_vec());
        }
        if self.calls.len() >= CALL_TAG as usize {
            return Err(CompileError::too_large("a function has too many calls"));
        }
        let values = self.record_values()?;
        let after = self.builder.create_block();
        let returned: Vec<Value> = results
            .iter()
            .map(|ty| self.builder.append_block_param(after, native_type(*ty)))
            .collect();
        let mut items = Vec::with_capacity(handlers.len());
        let mut drafts = Vec::with_capacity(handlers.len());
        for (tag, landing) in handlers {
            let number = self.next_handler;
            self.next_handler += 1;
            drafts.push(HandlerDraft { tag, number });
            let pool = &mut self.builder.func.dfg.value_lists;
            let target = BlockCall::new(landing, [BlockArg::TryCallExn(0)], pool);
            items.push(ExceptionTableItem::Tag(ExceptionTag::from_u32(number), target));
        }
        let returns = (0..).zip(results).map(|(at, _)| BlockArg::TryCallRet(at));
        let pool = &mut self.builder.func.dfg.value_lists;
        let normal = BlockCall::new(after, returns, pool);
        let signature = match callee {
            Callee::Known(callee) => self.builder.func.dfg.ext_funcs[callee].signature,
            Callee::Pointer(signature, _) => signature,
        };
        let table = ExceptionTableData::new(signature, normal, items);
        let table = self.builder.func.dfg.exception_tables.push(table);
        match callee {
            Callee::Known(callee) => self.builder.ins().try_call(callee, arguments, table),
            Callee::Pointer(_, code) => {
                self.builder.ins().try_call_indirect(code, arguments, table)
            }
        };
        self.calls.push(CallDraft { offset, values, handlers: drafts, live: Vec::new() });
        self.enter(after);
        Ok(returned)
    }

    /// Where a call made here lands when something is thrown, by tag, the first
    /// that matches. Each tag is there once.
    fn handlers(&mut self) -> Vec<(Option<TagIdx>, Block)> {
        let mut handlers: Vec<(Option<TagIdx>, Block)> = Vec::new();
        let mut outermost = usize::MAX;
        for scope in self.scopes.iter_mut().rev() {
            if scope.frame > outermost {
                continue;
            }
            let clauses = match &mut scope.protection {
                Protection::Delegate(frame) => {
                    outermost = *frame;
                    continue;
                }
                Protection::Clauses(clauses) => clauses,
            };
            for clause in clauses {
                if handlers.iter().any(|(tag, _)| *tag == clause.tag) {
                    continue;
                }
                let landing = *clause.landing.get_or_insert_with(|| {
                    let landing = self.builder.create_block();
                    self.builder.append_block_param(landing, POINTER);
                    landing
                });
                handlers.push((clause.tag, landing));
                if clause.tag.is_none() {
                    // Nothing gets past it.
                    return handlers;
                }
            }
        }
        handlers
    }

    fn new_landing(&mut self) -> Block {
        let landing = self.builder.create_block();
        self.builder.append_block_param(landing, POINTER);
        landing
    }

    /// The reference with which a landing is entered.
    fn landed(&self, landing: Block) -> Result<Value, CompileError> {
        let exception = self.builder.block_params(landing).first().copied();
        exception.ok_or_else(|| CompileError::bug("a landing without its exception"))
    }

    fn push_exception_arguments(&mut self, tag: TagIdx) -> Outcome {
        for (cell, ty) in (0..).zip(self.tag_params(tag)?) {
            let at = self.env.layout.argument(cell);
            let value = self.load_field(native_type(ty), at, false)?;
            self.push(ty, value);
        }
        Ok(())
    }

    /// Ends the innermost scope.
    pub(super) fn close_scope(&mut self) -> Vec<Clause> {
        match self.scopes.pop().map(|scope| scope.protection) {
            Some(Protection::Clauses(clauses)) => clauses,
            Some(Protection::Delegate(_)) | None => Vec::new(),
        }
    }

    /// Translates the landings of a `try_table` that was just closed: labels are
    /// counted from where it stands. Nothing falls out of them.
    pub(super) fn landings(&mut self, height: usize) -> Outcome {
        for clause in self.close_scope() {
            let Some(landing) = clause.landing else {
                // No call leads there; to Wasm the clause is a branch all the same.
                self.mark_branched(clause.label)?;
                continue;
            };
            self.state.reset(height, &[]);
            self.enter(landing);
            let exception = self.landed(landing)?;
            if let Some(tag) = clause.tag {
                self.push_exception_arguments(tag)?;
            }
            if clause.with_ref {
                self.push(EXNREF, exception);
            }
            let target = self.branch_arguments(clause.label)?;
            self.builder.ins().jump(target, &[]);
        }
        self.reachable = false;
        Ok(())
    }
}
