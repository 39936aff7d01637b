//! A subject on its own: no oracle beside it, nobody who compares.
//!
//! What the self-test says about a fault must not rest on the comparator that
//! is being tested. So the subject is run here by its bare kernel: host calls
//! are answered from the log of the unchanged program, and what happens is
//! told in native terms, a PC, a fault, the words of a call's arguments.

use crate::error::CommandError;
use crate::lockstep::entry::enter;
use crate::lockstep::instantiate::{Instantiation, Reached};
use crate::lockstep::kernel::{Kernel, Served};
use crate::lockstep::plan::{BoundaryId, Plan, Site};
use crate::lockstep::space::{self, Space};
use crate::lockstep::stops::Control;
use crate::lockstep::throw::{self, Exceptions, Unwound};
use crate::session::{Instantiated, Session};
use crate::witness::Called;
use aot_backend::Image;
use dwarf_map::unwind::{Registers, Unwinder};
use dwarf_map::{Anchor, CodeOffset, Handler, SubjectAddr, ThunkKind, ThunkMap};
use oracle_interp::Module;
use std::sync::Arc;
use tracer::{FaultSignal, SharedRegion, Stop, Subject};
use wasi_host::{GuestMemory, OperationLog, OutOfBounds, Outcome, World};
use wasm_view::{FuncIdx, TableIdx, TagId, Trap, Value, WasmOffset};

/// One byte of x86-64 that does nothing.
const NOP: u8 = 0x90;
const INT3: u8 = 0xcc;
/// Bytes of shared memory compared at a time.
const BLOCK: usize = 1 << 16;

/// A subject that runs one image from its first call to its last.
pub struct Machine<'a> {
    image: &'a Image,
    module: &'a Module,
    calls: &'a [Called],
    /// Position in `calls` of the next one to make.
    next: usize,
    /// The start function that the subject is about to call by itself.
    awaits_call: Option<FuncIdx>,
    /// The process.
    pub subject: Subject,
    /// Where everything lies in it.
    pub space: Space,
    kernel: Kernel,
    unwinder: Unwinder,
    /// The store's numbers of the module's tags, by index.
    tags: Vec<TagId>,
    exceptions: Exceptions,
    world: World,
    control: Arc<Control>,
}

/// What a machine came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A trap instruction that is no thunk's: a boundary, or one planted here.
    Trap(CodeOffset),
    /// One instruction was executed.
    Stepped,
    /// The machine stands before a boundary whose trap is a NOP.
    Boundary(BoundaryId),
    /// Something was done for it.
    Served(Service),
    /// It will not go on.
    Over(End),
    /// The steps allowed were used up.
    Spent,
}

/// Native instructions stepped at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What ended it.
    pub seen: Seen,
    /// How many there were.
    pub taken: u64,
    /// How often the instruction asked about was the next one.
    pub passed: u64,
}

/// What was done for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// An operation of the kernel's, with the words of its results. What it was
    /// asked with shows in those and in the store, or not at all.
    Operation(ThunkKind, Vec<u64>),
    /// An exception was thrown, with the words of its arguments, and caught by a
    /// function of the position in the map.
    Threw(ThunkKind, Vec<u64>, u32),
    /// A host function was called with these arguments, and answered.
    HostCall(FuncIdx, Vec<Value>),
    /// A call returned these words, and the next one was begun.
    Returned(Vec<u64>),
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The last call returned these words.
    Returned(Vec<u64>),
    /// The program asked to end with this code.
    Exited(u32),
    /// A thunk's operation trapped.
    Trapped(ThunkKind, Trap),
    /// An exception, with the words of its arguments, that nobody caught.
    Threw(ThunkKind, Vec<u64>),
    /// A throw for which the stack cannot be unwound.
    Lost(String),
    /// An instruction faulted that stands for a trap of Wasm: which, and at
    /// which instruction of the function at which position in the map. A
    /// compiler may have several for one.
    WasmTrap(FaultSignal, Trap, u32, WasmOffset),
    /// Any other instruction faulted.
    Fault(FaultSignal, SubjectAddr),
    /// It called the host otherwise than the unchanged program does.
    HostCall(String),
    /// It asked for a system call.
    Syscall(i64, SubjectAddr),
    /// It ran until it was told to stop.
    Stuck,
}

impl<'a> Machine<'a> {
    /// Starts a subject and prepares its first call.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn new(
        session: &Session<'a>,
        log: &OperationLog,
        control: &Arc<Control>,
    ) -> Result<Machine<'a>, CommandError> {
        let Instantiated { oracle, instance, .. } = session.instantiate()?;
        let (mut subject, space) = space::start(session.image, &oracle, instance)?;
        control.attach(subject.interrupter());
        let module = &session.program.module;
        let image = session.image;
        let mut kernel = Kernel::new(module.clone())?;
        let instantiation = Instantiation {
            subject: &mut subject,
            space: &space,
            image,
            plan: &Plan::new(image)?,
            module,
            kernel: &mut kernel,
        };
        let awaits_call = match instantiation.run(control)?.0 {
            Reached::End => None,
            Reached::Start => module.start(),
            Reached::Killed(_) => {
                return Err(CommandError::host("the subject was killed from outside"));
            }
            Reached::Asked(_) => return Err(CommandError::host("ended while instantiating")),
            Reached::Trapped(_) | Reached::Astray(..) => {
                return Err(CommandError::bug("a self-test of a module that is not instantiated"));
            }
        };
        let unwinder = Unwinder::new(&image.frames, image.text_address, image.text.len() as u32)
            .map_err(CommandError::input)?;
        let mut machine = Machine {
            image: session.image,
            module,
            calls: &session.calls.list,
            next: 0,
            kernel,
            awaits_call,
            unwinder,
            tags: oracle.instance(instance).tags.clone(),
            exceptions: Exceptions::default(),
            subject,
            space,
            world: World::replaying(log.clone(), false),
            control: control.clone(),
        };
        machine.begin_call()?;
        Ok(machine)
    }

    fn begin_call(&mut self) -> Result<bool, CommandError> {
        let Some(call) = self.calls.get(self.next) else { return Ok(false) };
        self.next += 1;
        if self.awaits_call.take() == Some(call.func) {
            return Ok(true);
        }
        let ty = self.module.func_type(call.func);
        let ty = ty.ok_or_else(|| CommandError::bug("call of a function that is not there"))?;
        enter(&mut self.subject, &self.space, self.image, call.func, ty, &call.args)?;
        Ok(true)
    }

    /// Where the code begins.
    pub fn text_address(&self) -> SubjectAddr {
        self.image.text_address
    }

    /// Makes every trap of a boundary a NOP.
    ///
    /// # Errors
    /// A map that names code outside the text.
    pub fn silence(&self) -> Result<(), CommandError> {
        self.traps(NOP)
    }

    /// Makes them traps again.
    ///
    /// # Errors
    /// A map that names code outside the text.
    pub fn sound(&self) -> Result<(), CommandError> {
        self.traps(INT3)
    }

    fn traps(&self, byte: u8) -> Result<(), CommandError> {
        for function in &self.image.map.functions {
            for boundary in &function.boundaries {
                if let Anchor::Trap(pc) = boundary.anchor {
                    self.write(pc, byte)?;
                }
            }
        }
        Ok(())
    }

    /// Halts the machine whenever it comes to `pc`.
    ///
    /// # Errors
    /// A PC outside the text.
    pub fn plant(&self, pc: CodeOffset) -> Result<(), CommandError> {
        self.write(pc, INT3)
    }

    /// Takes back what was planted at `pc`.
    ///
    /// # Errors
    /// A PC outside the text.
    pub fn take_back(&self, pc: CodeOffset) -> Result<(), CommandError> {
        let byte = self.image.text.get(pc.get() as usize).copied();
        self.write(pc, byte.ok_or_else(|| CommandError::bug("a PC outside of the code"))?)
    }

    /// Takes back what was planted where the machine halted, and goes there.
    ///
    /// # Errors
    /// A PC outside the text.
    pub fn back_to(&mut self, pc: CodeOffset) -> Result<(), CommandError> {
        self.take_back(pc)?;
        let mut regs = *self.subject.regs();
        regs.set_rip(pc.at(self.image.text_address).get());
        self.subject.set_regs(&regs);
        Ok(())
    }

    fn write(&self, pc: CodeOffset, byte: u8) -> Result<(), CommandError> {
        self.subject.text().write_code(pc, &[byte]).map_err(CommandError::bug)
    }

    /// Runs to what halts it next, services included.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn run(&mut self, plan: &Plan) -> Result<Seen, CommandError> {
        loop {
            let stop = self.subject.resume().map_err(CommandError::host)?;
            if let Some(seen) = self.meet(stop, plan)? {
                return Ok(seen);
            }
        }
    }

    /// Runs to the next trap that is no service, or to the end.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn run_on(&mut self, plan: &Plan) -> Result<Seen, CommandError> {
        loop {
            match self.run(plan)? {
                Seen::Served(_) => {}
                seen => return Ok(seen),
            }
        }
    }

    /// Executes one instruction.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn step(&mut self, plan: &Plan) -> Result<Seen, CommandError> {
        loop {
            let stop = self.subject.step().map_err(CommandError::host)?;
            if let Some(seen) = self.meet(stop, plan)? {
                return Ok(seen);
            }
        }
    }

    /// Steps to the next boundary or whatever comes before it, in at most
    /// `most` steps, and counts how often it comes past `at`.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn step_to_boundary(
        &mut self,
        plan: &Plan,
        most: u64,
        at: CodeOffset,
    ) -> Result<Span, CommandError> {
        let at = at.at(self.text_address());
        let mut span = Span { seen: Seen::Spent, taken: 0, passed: 0 };
        while span.taken < most {
            span.taken += 1;
            span.seen = self.step(plan)?;
            if span.seen != Seen::Stepped {
                return Ok(span);
            }
            let pc = SubjectAddr::new(self.subject.regs().rip());
            span.passed += u64::from(pc == at);
            if let Some(Site::Boundary(id)) = plan.site(pc) {
                span.seen = Seen::Boundary(id);
                return Ok(span);
            }
        }
        span.seen = Seen::Spent;
        Ok(span)
    }

    /// Makes sense of a stop; `None` when it was nobody's.
    fn meet(&mut self, stop: Stop, plan: &Plan) -> Result<Option<Seen>, CommandError> {
        Ok(Some(match stop {
            Stop::Trap { pc } => match plan.site(pc) {
                Some(Site::Thunk(index)) => self.serve(index, pc, plan)?,
                Some(Site::Finish(index)) => {
                    let count = self.image.map.entries[index].ty.results.len();
                    let words = self.words(count)?;
                    match self.begin_call()? {
                        true => Seen::Served(Service::Returned(words)),
                        false => Seen::Over(End::Returned(words)),
                    }
                }
                _ => match plan.code_offset(pc) {
                    Some(offset) => Seen::Trap(offset),
                    None => Seen::Over(End::Fault(FaultSignal::Trap, pc)),
                },
            },
            Stop::Stepped => Seen::Stepped,
            Stop::Fault { signal, pc, .. } => {
                let site = plan.code_offset(pc).and_then(|offset| plan.trap(offset));
                Seen::Over(match site {
                    Some((function, trap, at)) => End::WasmTrap(signal, trap, function, at),
                    None => End::Fault(signal, pc),
                })
            }
            Stop::Syscall { number, pc } => Seen::Over(End::Syscall(number, pc)),
            Stop::Interrupted if self.control.request().is_some() => Seen::Over(End::Stuck),
            Stop::Interrupted => return Ok(None),
            Stop::Exited { .. } | Stop::Killed { .. } => {
                return Err(CommandError::host("the subject was killed from outside"));
            }
        }))
    }

    /// Throws, as [`throw`] describes it; exceptions are numbered as they come.
    fn throw(
        &mut self,
        thunk: &ThunkMap,
        pc: SubjectAddr,
        plan: &Plan,
    ) -> Result<Seen, CommandError> {
        let words = self.words(thunk.ty.params.len())?;
        let (reference, exception) = match thunk.kind {
            ThunkKind::Throw(tag) => {
                let reference = self.exceptions.count() as u64 + 1;
                let tag = self.tags.get(tag.index()).copied();
                let tag = tag.ok_or_else(|| CommandError::bug("a throw of no tag"))?;
                let (params, space) = (&thunk.ty.params, &self.space);
                let subject = &self.subject;
                (reference, self.exceptions.keep(reference, tag, params, subject, space)?)
            }
            _ => {
                let reference = words.first().copied().unwrap_or_default();
                match self.exceptions.get(reference) {
                    Some(kept) => (reference, kept.clone()),
                    None => {
                        let why = format!("throw_ref of {reference:#x}, which is no exception");
                        return Ok(Seen::Over(End::Lost(why)));
                    }
                }
            }
        };
        let innermost = Registers::innermost(pc, self.subject.regs().general());
        let stack = self.subject.region(self.space.stack);
        let mut read = |address| stack.read_u64(self.space.stack_offset(address)?).ok();
        let fits = |_, handler: Handler| {
            handler.tag.is_none_or(|tag| self.tags.get(tag.index()) == Some(&exception.tag))
        };
        let image = (&self.image.map, plan, &self.unwinder);
        Ok(match throw::unwind(image, innermost, &mut read, fits, |_, _| Ok(())) {
            Err(why) => Seen::Over(End::Lost(why)),
            Ok(Unwound::Uncaught) => Seen::Over(End::Threw(thunk.kind, words)),
            Ok(Unwound::Caught(landing)) => {
                let text = self.image.text_address;
                let text = (dwarf_map::Isa::X86_64, text);
                landing.enter(&mut self.subject, &self.space, text, reference, &exception)?;
                Seen::Served(Service::Threw(thunk.kind, words, landing.function))
            }
        })
    }

    fn serve(&mut self, index: usize, pc: SubjectAddr, plan: &Plan) -> Result<Seen, CommandError> {
        let image = self.image;
        let thunk = &image.map.thunks[index];
        if matches!(thunk.kind, ThunkKind::Throw(_) | ThunkKind::ThrowRef) {
            return self.throw(thunk, pc, plan);
        }
        let ThunkKind::Import(func) = thunk.kind else {
            return Ok(match self.kernel.serve(&mut self.subject, &self.space, thunk.kind)? {
                Served::Done => {
                    let results = self.words(thunk.ty.results.len())?;
                    Seen::Served(Service::Operation(thunk.kind, results))
                }
                Served::Trapped(trap) => Seen::Over(End::Trapped(thunk.kind, trap)),
            });
        };
        let import = self.module.function_import(func);
        let import = import.ok_or_else(|| CommandError::bug("a host call of no import"))?;
        let mut args = Vec::with_capacity(thunk.ty.params.len());
        for (at, ty) in thunk.ty.params.iter().enumerate() {
            args.push(self.space.argument(&self.subject, at as u32, *ty)?);
        }
        let region = self.space.memories.first().map(|id| self.subject.region(*id));
        let mut memory = SubjectMemory(region);
        let returned = self.world.call(&import.module, &import.name, &args, &mut memory);
        Ok(match returned.map(|returned| returned.outcome) {
            Err(error) => Seen::Over(End::HostCall(error.to_string())),
            Ok(Outcome::Exit(code)) => Seen::Over(End::Exited(code)),
            Ok(Outcome::Return(values)) => {
                for (at, value) in values.iter().enumerate() {
                    self.space.set_argument(&self.subject, at as u32, *value)?;
                }
                Seen::Served(Service::HostCall(func, args))
            }
        })
    }

    /// The first words of the argument area.
    fn words(&self, count: usize) -> Result<Vec<u64>, CommandError> {
        let data = self.subject.region(self.space.data);
        (0..count)
            .map(|at| data.read_u64(u64::from(self.space.layout.argument(at as u32))))
            .collect::<Result<_, _>>()
            .map_err(CommandError::bug)
    }
}

impl Machine<'_> {
    /// That another machine came to `theirs` where this one came to `ours`.
    pub fn differs(&self, ours: &Seen, theirs: &Seen) -> String {
        format!("{} instead of {}", self.describe(theirs), self.describe(ours))
    }

    fn describe(&self, seen: &Seen) -> String {
        match seen {
            Seen::Boundary(id) => {
                let function = &self.image.map.functions[id.function as usize];
                let offset = function.boundaries[id.index as usize].offset;
                format!("went to {offset} of function {}", function.func)
            }
            Seen::Trap(pc) => format!("halted at {pc}"),
            Seen::Stepped => "went on".into(),
            Seen::Spent => "went on without reaching a boundary".into(),
            Seen::Served(Service::Operation(kind, results)) => {
                format!("{kind:?} gave {results:x?}")
            }
            Seen::Served(Service::Threw(kind, words, function)) => {
                let func = self.image.map.functions[*function as usize].func;
                format!("{kind} of {words:x?}, caught by function {func}")
            }
            Seen::Over(End::Threw(kind, words)) => format!("{kind} of {words:x?}, not caught"),
            Seen::Over(End::Lost(why)) => why.clone(),
            Seen::Served(Service::HostCall(func, args)) => {
                let import = self.module.function_import(*func);
                let name = import.map_or("a host function", |import| import.name.as_str());
                let args: Vec<String> = args.iter().map(|value| value.hex()).collect();
                format!("called {name}({})", args.join(", "))
            }
            Seen::Served(Service::Returned(words)) | Seen::Over(End::Returned(words)) => {
                format!("returned {words:x?}")
            }
            Seen::Over(End::Exited(code)) => format!("exited with {code}"),
            Seen::Over(End::Trapped(kind, trap)) => format!("{kind:?} trapped: {trap}"),
            Seen::Over(End::WasmTrap(_, trap, function, at)) => {
                let func = self.image.map.functions[*function as usize].func;
                format!("trapped at {at} of function {func}: {trap}")
            }
            Seen::Over(End::Fault(signal, pc)) => format!("faulted ({signal:?}) at {pc}"),
            Seen::Over(End::HostCall(why)) => why.clone(),
            Seen::Over(End::Syscall(number, pc)) => format!("system call {number} at {pc}"),
            Seen::Over(End::Stuck) => "did not end".into(),
        }
    }
}

/// Linear memory of a subject, for host calls; a module may have none.
struct SubjectMemory<'a>(Option<&'a SharedRegion>);

impl GuestMemory for SubjectMemory<'_> {
    fn len(&self) -> u64 {
        self.0.map_or(0, SharedRegion::len)
    }
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let out = OutOfBounds { address, length: into.len() as u64 };
        match self.0 {
            Some(region) => region.read(address, into).map_err(|_| out),
            None if into.is_empty() && address == 0 => Ok(()),
            None => Err(out),
        }
    }
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let out = OutOfBounds { address, length: bytes.len() as u64 };
        match self.0 {
            Some(region) => region.write(address, bytes).map_err(|_| out),
            None if bytes.is_empty() && address == 0 => Ok(()),
            None => Err(out),
        }
    }
}

/// The first difference between the stores of two machines: linear memories,
/// globals, tables, and whatever else their instance data hold.
///
/// # Errors
/// Shared memory that is not where it must be.
pub fn store_difference(a: &Machine<'_>, b: &Machine<'_>) -> Result<Option<String>, CommandError> {
    let layout = a.space.layout;
    // The argument area belongs to nobody between calls.
    let from = u64::from(layout.argument(layout.counts().argument_cells));
    let data = (a.subject.region(a.space.data), b.subject.region(b.space.data));
    if let Some(at) = difference(data.0, data.1, from, u64::from(layout.size()))? {
        return Ok(Some(format!("instance data at {at:#x}")));
    }
    for (index, (ours, theirs)) in a.space.memories.iter().zip(&b.space.memories).enumerate() {
        let (ours, theirs) = (a.subject.region(*ours), b.subject.region(*theirs));
        if ours.len() != theirs.len() {
            return Ok(Some(format!("the size of memory {index}")));
        }
        if let Some(at) = difference(ours, theirs, 0, ours.len())? {
            return Ok(Some(format!("memory {index} at {at:#x}")));
        }
    }
    for index in 0..a.space.tables.len() {
        let size = a.space.table_size(&a.subject, TableIdx::from_index(index))?;
        let ours = a.subject.region(a.space.tables[index]);
        let theirs = b.subject.region(b.space.tables[index]);
        let end = (size * 8).min(ours.len());
        if let Some(at) = difference(ours, theirs, 0, end)? {
            return Ok(Some(format!("table {index} element {}", at / 8)));
        }
    }
    Ok(None)
}

/// The first differing byte of two regions in a range of offsets.
fn difference(
    ours: &SharedRegion,
    theirs: &SharedRegion,
    from: u64,
    to: u64,
) -> Result<Option<u64>, CommandError> {
    let mut block = vec![0; BLOCK.min(to.saturating_sub(from) as usize)];
    let mut at = from;
    while at < to {
        let count = (to - at).min(BLOCK as u64) as usize;
        let block = &mut block[..count];
        ours.read(at, block).map_err(CommandError::bug)?;
        if let Some(found) = theirs.compare(at, block).map_err(CommandError::bug)? {
            return Ok(Some(found));
        }
        at += count as u64;
    }
    Ok(None)
}

/// Flags that instructions set and read: CF, PF, AF, ZF, SF, OF.
const FLAGS: u64 = 0x8d5;

/// Whether two machines are in the same native state, memory of the store
/// apart: registers, flags, vector registers, and the stack in use.
///
/// # Errors
/// What the host refuses.
pub fn same_native_state(a: &Machine<'_>, b: &Machine<'_>) -> Result<bool, CommandError> {
    let (ours, theirs) = (a.subject.regs(), b.subject.regs());
    let registers = (0..=16).all(|number| ours.dwarf(number) == theirs.dwarf(number));
    if !registers || (ours.rflags() ^ theirs.rflags()) & FLAGS != 0 {
        return Ok(false);
    }
    let vectors = (
        a.subject.vectors().map_err(CommandError::host)?,
        b.subject.vectors().map_err(CommandError::host)?,
    );
    if (0..16).any(|number| vectors.0.xmm(number) != vectors.1.xmm(number)) {
        return Ok(false);
    }
    let stack = (a.subject.region(a.space.stack), b.subject.region(b.space.stack));
    match a.space.stack_offset(SubjectAddr::new(ours.rsp())) {
        Some(from) => Ok(difference(stack.0, stack.1, from, stack.0.len())?.is_none()),
        None => Ok(false),
    }
}
