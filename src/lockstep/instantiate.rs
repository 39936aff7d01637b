//! Instantiation on the subject's side.
//!
//! The oracle instantiates a module by its own rules, the subject by code of its
//! own: the function `instantiate` of its image, which the compiler under
//! verification has made (`aot_backend`, `translate/instantiate.rs`). It is called
//! here, and served like any other code:
//!
//! ```text
//!   entry -> instantiate: globals, tables -> thunk -> .. -> thunk -> trap -> (start function) -> end
//!                                              |                      |                           |
//!                         is it what the module says, with            the two stores
//!                         these arguments? then kernel                are compared
//! ```
//! What it asks for is worked out beside it, from the module's bytes: a segment
//! that is applied twice, or of which nothing can be seen afterwards, differs
//! there. What it stores without asking shows in the store, which is compared
//! before the first instruction of the module's own.
//!
//! Where there is a start function, the subject halts before it calls it, and
//! waits there: calling that function in lockstep ([`Lockstep::call`]) is to let
//! the subject go on. Whoever calls another function first has left it out.

use super::entry::enter_code;
use super::finding::store_kind;
use super::follow::{Ending, Lockstep};
use super::kernel::{Kernel, Served, word};
use super::plan::{Plan, Site};
use super::space::Space;
use super::stops::{Control, Request};
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{SubjectAddr, ThunkKind};
use oracle_interp::Module;
use reports::{DivergenceKind, InconclusiveReason, Slot, SlotName, SlotType};
use std::collections::VecDeque;
use tracer::{Stop, Subject};
use wasm_view::{
    DataIdx, ElemIdx, FuncIdx, FuncType, GlobalIdx, InstanceId, MemoryIdx, TableIdx, Trap, ValType,
};
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, Operator, Parser, Payload, TableInit,
};

/// A subject in which a module is to be instantiated.
pub struct Instantiation<'a> {
    /// The process.
    pub subject: &'a mut Subject,
    /// Where the instance's parts lie in it.
    pub space: &'a Space,
    /// Its code.
    pub image: &'a Image,
    /// What lies where in the code.
    pub plan: &'a Plan,
    /// The module.
    pub module: &'a Module,
    /// Who answers its thunks.
    pub kernel: &'a mut Kernel,
}

/// How far the subject has come.
pub enum Reached {
    /// To the end: there is no start function.
    End,
    /// Right before its call of the start function.
    Start,
    /// Not further than to a segment that does not fit.
    Trapped(Trap),
    /// To something that the module does not ask for.
    Astray(DivergenceKind, String, Vec<Slot>),
    /// It was asked to end.
    Asked(Request),
    /// It was ended from outside, so.
    Killed(String),
}

impl Instantiation<'_> {
    /// Instantiates the module, up to its start function; answers where the
    /// subject halted last, too.
    ///
    /// # Errors
    /// An image without code for it; what the host refuses.
    pub fn run(self, control: &Control) -> Result<(Reached, SubjectAddr), CommandError> {
        let instance = self.space.instance;
        let code = self.plan.instantiation(instance).ok_or_else(|| {
            CommandError::input("the image has no function `instantiate`; compile the module again")
        })?;
        let start = code.start.at(self.image.text_address);
        enter_code(self.subject, self.space, self.image, start, &FuncType::default(), &[])?;
        let mut awaited = steps(self.module)?;
        let mut last = start;
        loop {
            let pc = match self.subject.resume().map_err(CommandError::host)? {
                Stop::Trap { pc } => pc,
                Stop::Interrupted => match control.request() {
                    Some(request) => return Ok((Reached::Asked(request), last)),
                    None => continue,
                },
                Stop::Fault { signal, pc, address, .. } => {
                    let at = address.map(|at| format!(" accessing {at}")).unwrap_or_default();
                    let what = format!("the subject faulted ({signal:?}) at {pc}{at}");
                    return Ok((sandbox(&what), pc));
                }
                Stop::Syscall { number, pc } => {
                    let what = format!("the subject tried system call {number} at {pc}");
                    return Ok((sandbox(&what), pc));
                }
                Stop::Killed { signal } => {
                    return Ok((Reached::Killed(format!("by signal {signal}")), last));
                }
                Stop::Exited { code } => {
                    return Ok((Reached::Killed(format!("with code {code}")), last));
                }
                Stop::Stepped => {
                    return Err(CommandError::bug("a stop that the engine does not produce"));
                }
            };
            last = pc;
            let is_own = self.plan.code_offset(pc).is_some_and(|offset| code.contains(&offset));
            let reached = match self.plan.site(pc) {
                Some(Site::Thunk(index)) if self.plan.thunk_owner(index) == instance => {
                    let kind = self.image.map.thunks[index].kind;
                    match self.asked(kind, awaited.pop_front())? {
                        Some(wrong) => wrong,
                        None => match self.kernel.serve(self.subject, self.space, kind)? {
                            Served::Done => continue,
                            Served::Trapped(trap) => Reached::Trapped(trap),
                        },
                    }
                }
                Some(Site::Finish(_)) if self.module.start().is_none() => {
                    left_out(awaited).unwrap_or(Reached::End)
                }
                None if is_own && self.module.start().is_some() => {
                    left_out(awaited).unwrap_or(Reached::Start)
                }
                site => sandbox(&format!("the subject came to {pc} ({site:?})")),
            };
            return Ok((reached, pc));
        }
    }

    /// Compares what the subject asks for with what it must.
    fn asked(
        &self,
        kind: ThunkKind,
        awaited: Option<Step<'_>>,
    ) -> Result<Option<Reached>, CommandError> {
        let Some(step) = awaited.as_ref().filter(|step| step.kind == kind) else {
            let expected = awaited.map_or("nothing".to_owned(), |step| step.kind.to_string());
            let what = format!("instantiation asks for {kind} where {expected} is due");
            return Ok(Some(Reached::Astray(DivergenceKind::ControlFlow, what, Vec::new())));
        };
        let mut wrong = Vec::new();
        for (index, expected) in (0..).zip(&step.arguments) {
            let expected = match expected {
                Argument::Number(number) => *number,
                Argument::Expression(expression) => self.evaluate(expression)?,
            };
            let actual = word(self.subject, self.space, index)?;
            if actual != expected {
                let name = SlotName::Argument(index);
                wrong.push(Slot::number(name, SlotType::U64, Some(expected), Some(actual)));
            }
        }
        if wrong.is_empty() {
            return Ok(None);
        }
        let what = format!("the arguments of {kind} differ in instantiation");
        Ok(Some(Reached::Astray(DivergenceKind::Operand, what, wrong)))
    }

    /// Evaluates a constant expression, not of a vector, to a native word.
    fn evaluate(&self, expression: &ConstExpr<'_>) -> Result<u64, CommandError> {
        let mut stack: Vec<u64> = Vec::new();
        for operator in expression.get_operators_reader() {
            let value = match operator.map_err(CommandError::bug)? {
                Operator::I32Const { value } => u64::from(value as u32),
                Operator::I64Const { value } => value as u64,
                Operator::RefNull { .. } => 0,
                Operator::RefFunc { function_index } => {
                    self.space.reference_to(FuncIdx::new(function_index))
                }
                Operator::GlobalGet { global_index } => {
                    let global = GlobalIdx::new(global_index);
                    let bits = self.space.global_word(self.subject, global)?;
                    match self.module.globals().get(global.index()).map(|ty| ty.content) {
                        Some(ValType::I32) => bits & u64::from(u32::MAX),
                        _ => bits,
                    }
                }
                Operator::End => continue,
                binary => {
                    let right = stack.pop().unwrap_or(0);
                    let left = stack.pop().unwrap_or(0);
                    let (a, b) = (left as u32, right as u32);
                    match binary {
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
                    }
                }
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(|| CommandError::bug("an empty constant expression"))
    }
}

fn sandbox(what: &str) -> Reached {
    Reached::Astray(DivergenceKind::Sandbox, format!("{what} while instantiating"), Vec::new())
}

/// Steps that are still due where there are no more.
fn left_out(mut awaited: VecDeque<Step<'_>>) -> Option<Reached> {
    let what = format!("instantiation ends where {} is due", awaited.pop_front()?.kind);
    Some(Reached::Astray(DivergenceKind::ControlFlow, what, Vec::new()))
}

/// Something that instantiation asks its kernel for.
struct Step<'a> {
    kind: ThunkKind,
    arguments: Vec<Argument<'a>>,
}

enum Argument<'a> {
    Number(u64),
    Expression(ConstExpr<'a>),
}

/// What instantiating a module asks the kernel for, in the order of the core
/// specification: tables before element segments before data segments.
fn steps(module: &Module) -> Result<VecDeque<Step<'_>>, CommandError> {
    use Argument::{Expression, Number};
    let mut steps = VecDeque::new();
    let mut step = |kind, arguments| steps.push_back(Step { kind, arguments });
    for payload in Parser::new(0).parse_all(module.bytes()) {
        match payload.map_err(CommandError::bug)? {
            Payload::TableSection(section) => {
                for (index, table) in (module.num_imported_tables()..).zip(section) {
                    let table = table.map_err(CommandError::bug)?;
                    if let TableInit::Expr(init) = table.init {
                        let kind = ThunkKind::TableFill(TableIdx::new(index));
                        step(kind, vec![Number(0), Expression(init), Number(table.ty.initial)]);
                    }
                }
            }
            Payload::ElementSection(section) => {
                for (index, element) in (0..).zip(section) {
                    let element = element.map_err(CommandError::bug)?;
                    let elem = ElemIdx::new(index);
                    let count = match &element.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    match element.kind {
                        ElementKind::Passive => continue,
                        ElementKind::Declared => {}
                        ElementKind::Active { table_index, offset_expr } => {
                            let table = TableIdx::new(table_index.unwrap_or(0));
                            let length = Number(u64::from(count));
                            let arguments = vec![Expression(offset_expr), Number(0), length];
                            step(ThunkKind::TableInit { table, elem }, arguments);
                        }
                    }
                    step(ThunkKind::ElemDrop(elem), Vec::new());
                }
            }
            Payload::DataSection(section) => {
                for (index, segment) in (0..).zip(section) {
                    let segment = segment.map_err(CommandError::bug)?;
                    let data = DataIdx::new(index);
                    let DataKind::Active { memory_index, offset_expr } = segment.kind else {
                        continue;
                    };
                    let memory = MemoryIdx::new(memory_index);
                    let length = Number(segment.data.len() as u64);
                    let arguments = vec![Expression(offset_expr), Number(0), length];
                    step(ThunkKind::MemoryInit { memory, data }, arguments);
                    step(ThunkKind::DataDrop(data), Vec::new());
                }
            }
            _ => {}
        }
    }
    Ok(steps)
}

impl Lockstep<'_> {
    /// Has the subject instantiate a module after the oracle has, up to its start
    /// function, and compares the two stores, and the trap that ended it in the
    /// oracle, if one did. Answers an ending when there is nothing to call.
    ///
    /// # Errors
    /// Only what is no verdict.
    pub fn instantiate(
        &mut self,
        instance: InstanceId,
        expected: Option<Trap>,
    ) -> Result<Option<Ending>, CommandError> {
        self.forget_place(instance);
        let linked = self.oracle.instance(instance);
        let planned = self.blueprint.instances.get(instance.index());
        if !planned.is_some_and(|planned| planned.is(linked)) {
            return Err(CommandError::Inconclusive {
                reason: "limit",
                detail: format!(
                    "instance {instance} is linked otherwise than when the script ran on the oracle alone; what it imports depends on limits"
                ),
            });
        }
        let module = linked.module.clone();
        let start = module.start().map(|start| linked.resolve(start));
        let mut kernel = Kernel::new(module.clone())?;
        let instantiation = Instantiation {
            subject: &mut self.subject,
            space: &self.spaces[instance.index()],
            image: self.image,
            plan: &self.plan,
            module: &module,
            kernel: &mut kernel,
        };
        let (reached, pc) = instantiation.run(&self.control)?;
        self.pc = pc;
        self.kernels[instance.index()] = Some(kernel);
        self.awaits_call = None;
        let actual = match reached {
            Reached::End => None,
            Reached::Start => {
                self.awaits_call = start;
                None
            }
            Reached::Trapped(trap) => Some(trap),
            Reached::Astray(kind, what, slots) => {
                let finding = self.finding(kind, what, slots)?;
                return Ok(Some(Ending::Diverged(Box::new(finding))));
            }
            Reached::Asked(request) => return Ok(Some(self.asked(request))),
            Reached::Killed(how) => {
                return Ok(Some(Ending::Inconclusive {
                    reason: InconclusiveReason::Environment,
                    detail: format!("the subject was ended from outside {how}; run again"),
                }));
            }
        };
        if actual != expected {
            let text = |trap: Option<Trap>| trap.map(|trap| trap.to_string());
            let slot = Slot::text(SlotName::Trap, text(expected), text(actual));
            let what = "instantiation ends otherwise".to_string();
            let finding = self.finding(DivergenceKind::Trap, what, vec![slot])?;
            return Ok(Some(Ending::Diverged(Box::new(finding))));
        }
        self.oracle.clear_writes();
        let (wrong, _) = self.compare_whole()?;
        if !wrong.is_empty() {
            let kind = store_kind(wrong[0].slot);
            let what = format!("{} differs after instantiation", wrong[0].slot);
            let finding = self.finding(kind, what, wrong)?;
            return Ok(Some(Ending::Diverged(Box::new(finding))));
        }
        Ok(actual.map(|trap| Ending::Trapped(trap, None)))
    }
}
