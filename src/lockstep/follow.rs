//! The loop: the oracle's events against the subject's stops.

use super::blueprint::{Blueprint, Planned};
use super::entry::enter;
use super::finding::{Finding, Watch};
use super::frames::{CallPlan, NativeFrame};
use super::handover::cycle::Cycles;
use super::handover::{Progress, RestoreFault};
use super::kernel::Kernel;
use super::plan::{BoundaryId, Plan, Site};
use super::shipped::{SRCLOC, Shipped};
use super::space::{self, Space};
use super::stable::Points;
use super::stats::Stats;
use super::stops::{self, Control, Request, Selection, Where};
use super::throw::Exceptions;
use crate::core_file::CoreRequest;
use crate::error::CommandError;
use aot_backend::{Image, Part};
use dwarf_map::unwind::Unwinder;
use dwarf_map::{CodeOffset, SubjectAddr};
use oracle_interp::{Event, Oracle};
use reports::{DivergenceKind, InconclusiveReason, SlotName};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracer::{Stop, Subject};
use wasi_host::World;
use wasm_view::{
    Boundary, Cell, ExnId, FuncAddr, FuncIdx, GlobalIdx, InstanceId, MemoryId, MemoryIdx, TableIdx,
    Trap, ValType, Value, WasmOffset,
};

/// How a call ended.
#[derive(Debug)]
pub enum Ending {
    /// Both sides returned these results.
    Returned(Vec<Value>),
    /// Both sides ended the program with this code.
    Exited(u32),
    /// Both sides trapped alike, at this instruction or while instantiating.
    Trapped(Trap, Option<Boundary>),
    /// Both sides threw an exception that nobody caught; the oracle has it.
    Thrown(ExnId),
    /// They differ.
    Diverged(Box<Finding>),
    /// Ended early or not supported.
    Inconclusive {
        /// Why.
        reason: InconclusiveReason,
        /// For people.
        detail: String,
    },
}

/// What a run is asked to do besides comparing.
#[derive(Default)]
pub struct Requests {
    /// Places to stop at; empty is every boundary.
    pub places: Vec<Where>,
    /// Stop at every boundary whatever `places` says.
    pub every: bool,
    /// After so many stops at `places`, stop at every boundary.
    pub every_from: Option<u64>,
    /// Most stops.
    pub max_stops: Option<u64>,
    /// Most boundaries for the oracle to execute; kept to where code without traps
    /// may run on without a stop.
    pub max_boundaries: Option<u64>,
    /// Bytes to compare at each stop.
    pub watch: Watch,
    /// Cores to write.
    pub cores: Vec<CoreRequest>,
    /// Whether the cold paths of stable points are run and compared.
    pub paranoid: bool,
    /// After so many stops, compare all suspended frames at each one.
    pub walk_from: Option<u64>,
}

/// Who answers calls of host functions.
pub enum Host<'a> {
    /// WASI.
    Wasi(&'a mut World),
    /// WASI, for several executors of one program, who take turns.
    Shared(&'a RefCell<World>),
    /// The module `spectest` of the specification's scripts: all of its
    /// functions do nothing and return nothing.
    Spectest,
}

/// The instance that defines each memory and table of the store, and the index
/// that it has there; by id.
#[derive(Default)]
pub(super) struct Owners {
    pub memories: Vec<(InstanceId, MemoryIdx)>,
    pub tables: Vec<(InstanceId, TableIdx)>,
}

impl Owners {
    fn of(plan: &Blueprint) -> Owners {
        let mut owners = Owners::default();
        for (at, planned) in plan.instances.iter().enumerate() {
            let (instance, module) = (InstanceId::from_index(at), &planned.module);
            let memories = module.num_imported_memories()..module.memories().len() as u32;
            owners.memories.extend(memories.map(|index| (instance, MemoryIdx::new(index))));
            let tables = module.num_imported_tables()..module.tables().len() as u32;
            owners.tables.extend(tables.map(|index| (instance, TableIdx::new(index))));
        }
        owners
    }
}

/// One subject beside one oracle.
pub struct Lockstep<'a> {
    pub(super) image: &'a Image,
    pub(super) oracle: Oracle,
    pub(super) subject: Subject,
    pub(super) host: Host<'a>,
    /// By instance.
    pub(super) spaces: Vec<Space>,
    pub(super) owners: Owners,
    pub(super) blueprint: Blueprint,
    pub(super) plan: Plan,
    pub(super) unwinder: Unwinder,
    /// By instance; `None` before it is instantiated.
    pub(super) kernels: Vec<Option<Kernel>>,
    /// The instance whose function was called last.
    pub(super) called: InstanceId,
    /// The start function that the subject is about to call by itself.
    pub(super) awaits_call: Option<FuncAddr>,
    pub(super) frames: Vec<NativeFrame>,
    pub(super) exceptions: Exceptions,
    pub(super) calls: HashMap<CodeOffset, CallPlan>,
    /// By instance.
    pub(super) mutable_globals: Vec<Vec<(GlobalIdx, ValType)>>,
    pub(super) watch: Watch,
    /// What was looked at so far.
    pub stats: Stats,
    pub(super) selection: Selection,
    pub(super) control: Arc<Control>,
    max_stops: Option<u64>,
    every_from: Option<u64>,
    pub(super) max_boundaries: Option<u64>,
    walk_from: Option<u64>,
    cores: Vec<CoreRequest>,
    pub(super) points: Points,
    /// Stops before the program was handed to this subject last.
    pub(super) began: u64,
    /// Stable points to go before the run pauses.
    pub pause: Option<u64>,
    pub(super) cycles: Cycles,
    /// What to do wrong when a frame is restored, and what was done.
    pub fault: Option<RestoreFault>,
    /// Likewise.
    pub spoilt: Option<String>,
    pub(super) last: Option<Boundary>,
    /// The topmost operands there: what an operation that it asks for is given.
    pub(super) operands: Vec<Cell>,
    pub(super) here: Option<(BoundaryId, SubjectAddr)>,
    pending: Event,
    /// Where the subject halted last.
    pub(super) pc: SubjectAddr,
}

/// What to do after an event and a stop have met.
pub(super) enum Next {
    Go(Event),
    Pause,
    End(Ending),
}

impl<'a> Lockstep<'a> {
    /// Starts a subject for the oracle's only instance.
    ///
    /// # Errors
    /// An image that contradicts itself; what the host refuses.
    pub fn new(
        image: &'a Image,
        oracle: Oracle,
        instance: InstanceId,
        host: Host<'a>,
        requests: Requests,
        control: Arc<Control>,
    ) -> Result<Lockstep<'a>, CommandError> {
        let module = oracle.instance(instance).module.clone();
        let (parts, plan) = ([Part::whole(image)], Blueprint::of(&oracle));
        let places = (requests.places.clone(), requests.every);
        let mut lockstep = Self::linked(image, &parts, plan, oracle, host, requests, control)?;
        let (places, every) = places;
        if !matches!(lockstep.selection, Selection::Shipped(_)) {
            lockstep.selection =
                stops::plant(&places, every, &module, &image.map, &lockstep.subject)?;
        }
        Ok(lockstep)
    }

    /// Starts a subject for several instances, each with its part of the image,
    /// that halts at every boundary. Those that the oracle does not have yet
    /// are instantiated later.
    ///
    /// # Errors
    /// As [`Lockstep::new`].
    pub fn linked(
        image: &'a Image,
        parts: &[Part],
        blueprint: Blueprint,
        oracle: Oracle,
        host: Host<'a>,
        requests: Requests,
        control: Arc<Control>,
    ) -> Result<Lockstep<'a>, CommandError> {
        let plan = Plan::linked(image, parts)?;
        let (isa, size) = (image.map.isa(), image.text.len() as u32);
        let unwinder = Unwinder::of(isa, &image.frames, image.text_address, size)
            .map_err(CommandError::input)?;
        let (mut subject, spaces) = space::start_linked(image, parts, &blueprint)?;
        // Polls that are armed may be where traps go.
        let points = Points::new(image, requests.paranoid, &subject)?;
        let selection = if image.map.producer.anchors == SRCLOC {
            let places = if requests.every { &[] } else { requests.places.as_slice() };
            let shipped = Shipped::plant(&image.map, &plan, &blueprint, places, &mut subject)?;
            Selection::Shipped(Box::new(shipped))
        } else {
            Selection::Every
        };
        control.attach(subject.interrupter());
        let mutable = |planned: &Planned| {
            let globals = planned.module.globals().iter().enumerate();
            globals
                .filter(|(_, ty)| ty.mutable)
                .map(|(index, ty)| (GlobalIdx::from_index(index), ty.content))
                .collect()
        };
        Ok(Lockstep {
            image,
            oracle,
            subject,
            host,
            kernels: spaces.iter().map(|_| None).collect(),
            spaces,
            owners: Owners::of(&blueprint),
            plan,
            unwinder,
            called: InstanceId::new(0),
            awaits_call: None,
            frames: Vec::new(),
            exceptions: Exceptions::default(),
            calls: HashMap::new(),
            mutable_globals: blueprint.instances.iter().map(mutable).collect(),
            blueprint,
            watch: requests.watch,
            stats: Stats::new(&image.map),
            selection,
            control,
            max_stops: requests.max_stops,
            every_from: requests.every_from,
            max_boundaries: requests.max_boundaries,
            walk_from: requests.walk_from,
            cores: requests.cores,
            points,
            began: 0,
            pause: None,
            cycles: Cycles::default(),
            fault: None,
            spoilt: None,
            last: None,
            operands: Vec::with_capacity(4),
            here: None,
            pending: Event::Boundary,
            pc: SubjectAddr::new(0),
        })
    }

    /// Exchanges the oracle for another one, which is to have the same store as
    /// the subject.
    pub fn exchange_oracle(&mut self, oracle: &mut Oracle) {
        std::mem::swap(&mut self.oracle, oracle);
    }

    /// The program is handed to this subject, which may have had it before.
    pub(super) fn begin_turn(&mut self) {
        self.control.attach(self.subject.interrupter());
        self.began = self.stats.stops;
        self.forget_place(self.called);
        self.awaits_call = None;
        self.pending = Event::Boundary;
    }

    /// Ends the run, inconclusive, after so many boundaries.
    pub fn limit_boundaries(&mut self, most: u64) {
        self.max_boundaries = Some(most);
    }

    /// Whether the subject executes this image.
    pub fn runs(&self, image: &Image) -> bool {
        std::ptr::eq(self.image, image)
    }

    /// Whether the subject can be given an oracle's state: no memory of its own
    /// can shrink.
    pub fn has_room_for(&self, oracle: &Oracle) -> bool {
        oracle.num_memories() == self.owners.memories.len()
            && oracle.num_tables() == self.owners.tables.len()
            && (0..oracle.num_memories()).map(MemoryId::from_index).all(|memory| {
                self.memory_region(memory).len() <= oracle.memory(memory).len() as u64
            })
    }

    /// What is the same in every instance's space: the stack and the functions.
    #[inline]
    pub(super) fn space(&self) -> &Space {
        &self.spaces[0]
    }

    /// The oracle, for looking at its final state.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Whether a core was asked for and its boundary not met.
    pub fn core_missing(&self) -> bool {
        !self.cores.is_empty()
    }

    /// The counters, the oracle and what it was about to do.
    pub fn into_parts(self) -> (Stats, Oracle, Event) {
        (self.stats, self.oracle, self.pending)
    }

    /// Whether some boundaries do not halt the subject.
    pub(super) fn sparse(&self) -> bool {
        !matches!(self.selection, Selection::Every)
    }

    /// Nothing has been executed yet, in this instance.
    pub(super) fn forget_place(&mut self, instance: InstanceId) {
        self.called = instance;
        self.frames.clear();
        self.operands.clear();
        self.last = None;
        self.here = None;
    }

    /// Calls a function on both sides and follows it to its end.
    ///
    /// # Errors
    /// Only what is no verdict: a bug, a broken image, a host that refuses.
    pub fn call(&mut self, func: FuncAddr, args: &[Value]) -> Result<Ending, CommandError> {
        let event = self.begin(func, args)?;
        match self.follow(event)? {
            Progress::Ended(ending) => Ok(ending),
            Progress::Paused => Err(CommandError::bug("a run that paused unasked")),
        }
    }

    /// Has both sides begin a call.
    pub(super) fn begin(&mut self, func: FuncAddr, args: &[Value]) -> Result<Event, CommandError> {
        let func = self.oracle.instance(func.instance).resolve(func.func);
        self.forget_place(func.instance);
        self.oracle.clear_writes();
        self.oracle.set_throw_log(true);
        if let Some(shipped) = self.selection.shipped_mut() {
            shipped.open.begin();
        }
        let event = self.oracle.begin_call(func, args).map_err(CommandError::input)?;
        if self.awaits_call.take() != Some(func) {
            let ty = self.oracle.instance(func.instance).module.func_type(func.func).cloned();
            let ty = ty.ok_or_else(|| CommandError::bug("call of a function that is not there"))?;
            let space = &self.spaces[func.instance.index()];
            enter(&mut self.subject, space, self.image, func.func, &ty, args)?;
        }
        Ok(match (event, &self.selection) {
            (Event::Boundary, Selection::Some(_)) => self.advance_sparse(true),
            (Event::Boundary, Selection::Shipped(_)) => self.advance_shipped(true),
            (event, _) => event,
        })
    }

    /// Follows both sides from the oracle's event on.
    pub(super) fn follow(&mut self, mut event: Event) -> Result<Progress, CommandError> {
        loop {
            if let Some(ending) = self.limits() {
                return Ok(Progress::Ended(ending));
            }
            if !matches!((&event, &self.pending), (Event::Boundary, Event::Boundary)) {
                self.pending = event.clone();
            }
            match self.meet(event)? {
                Next::Go(next) => event = next,
                Next::Pause => return Ok(Progress::Paused),
                Next::End(ending) => return Ok(Progress::Ended(self.judged(ending))),
            }
        }
    }

    /// Ends the run when it was asked to or a limit is met.
    #[inline]
    fn limits(&self) -> Option<Ending> {
        if let Some(request) = self.control.request() {
            return Some(self.asked(request));
        }
        if let Some(most) = self.max_boundaries.filter(|most| self.stats.boundaries >= *most) {
            return Some(Ending::Inconclusive {
                reason: InconclusiveReason::Limit,
                detail: format!("ended after {most} boundaries"),
            });
        }
        let most = self.max_stops?;
        (self.stats.stops >= most).then(|| Ending::Inconclusive {
            reason: InconclusiveReason::Limit,
            detail: format!("ended after {most} stops, as --max-stops asks"),
        })
    }

    pub(super) fn asked(&self, request: Request) -> Ending {
        let at = self.oracle.top().map(|top| top.boundary);
        let place = at.map(|at| format!(" at {} of function {}", at.offset, at.func));
        let place = place.unwrap_or_default();
        match request {
            Request::Timeout => Ending::Inconclusive {
                reason: InconclusiveReason::Timeout,
                detail: format!("the time of --timeout ran out{place}"),
            },
            Request::Interrupted => Ending::Inconclusive {
                reason: InconclusiveReason::Interrupted,
                detail: format!("interrupted{place}"),
            },
        }
    }

    /// The oracle's next event.
    #[inline]
    fn advance(&mut self) -> Event {
        match &self.selection {
            Selection::Every => {
                self.stats.boundaries += 1;
                self.oracle.step()
            }
            Selection::Some(_) => self.advance_sparse(false),
            Selection::Shipped(_) => self.advance_shipped(false),
        }
    }

    /// Resumes the subject and holds its stop against the oracle's event.
    #[inline]
    fn meet(&mut self, event: Event) -> Result<Next, CommandError> {
        let stop = self.subject.resume().map_err(CommandError::host)?;
        if let Stop::Trap { pc } = stop {
            self.pc = pc;
            return match self.plan.site(pc) {
                Some(Site::Boundary(at)) => self.meet_boundary(event, at),
                Some(Site::Thunk(index)) => self.meet_thunk(event, index),
                Some(Site::Finish(index)) => self.meet_finish(event, index),
                Some(Site::Cold(function)) => self.cold_path_unasked(function),
                None => self.diverged(
                    DivergenceKind::Sandbox,
                    format!(
                        "the subject executed a trap instruction at {pc}, where the map has none"
                    ),
                    Vec::new(),
                ),
            };
        }
        self.meet_otherwise(event, stop)
    }

    #[inline]
    fn meet_boundary(&mut self, event: Event, at: BoundaryId) -> Result<Next, CommandError> {
        if self.passes_by(at)? {
            return Ok(Next::Go(event));
        }
        if self.selection.shipped_mut().is_some_and(|shipped| shipped.awaiting) {
            let what = format!(
                "the oracle has executed an operation that the subject did not ask for; it reached {}",
                self.name(at)
            );
            return self.diverged_behind(DivergenceKind::ControlFlow, what, Vec::new());
        }
        if !matches!(event, Event::Boundary) {
            return self.unexpected(event, format!("the subject reached {}", self.name(at)));
        }
        let top = self.oracle.top().map(|top| top.boundary);
        let function = &self.image.map.functions[at.function as usize];
        let offset = function.boundaries[at.index as usize].offset;
        match top {
            Some(top)
                if top.func == function.func
                    && top.offset == offset
                    && top.instance == self.plan.owner(at.function) => {}
            _ => {
                return self.unexpected(event, format!("the subject reached {}", self.name(at)));
            }
        }
        let cfa = self.cfa(at)?;
        self.here = Some((at, cfa));
        let frame = self.follow_frames(at, cfa)?;
        self.stats.stop(at);
        if self.stats.stops & 0xfff == 0 {
            self.control.stops.store(self.stats.stops, Ordering::Relaxed);
        }
        let mut wrong = self.compare_slots(at, cfa)?;
        self.stats.wrong += wrong.len() as u64;
        let published = self.is_published(at);
        if published {
            wrong.extend(self.compare_writes()?);
        }
        if published && !self.watch.is_empty() {
            wrong.extend(self.compare_watched()?);
        }
        if (frame.is_some() || !wrong.is_empty()) && self.subject.vectors().is_err() {
            // Killed while it was halted: what could not be read is no difference.
            return self.ended_outside("");
        }
        if let Some(mut found) = frame {
            found.slots.extend(wrong);
            return self.diverged(found.kind, found.what, found.slots);
        }
        if !wrong.is_empty() {
            return self.wrong_values(wrong);
        }
        if self.walk_from.is_some_and(|from| self.stats.stops > from) {
            self.force_walk();
            if let Some(found) = self.walk()? {
                return self.diverged(found.kind, found.what, found.slots);
            }
        }
        if !self.cores.is_empty() {
            self.write_cores(at, (function.func, offset))?;
        }
        if self.points.any()
            && let Some(next) = self.stable_point(at, cfa)?
        {
            return Ok(next);
        }
        if self.pauses_at(at) {
            return Ok(Next::Pause);
        }
        if self.every_from.is_some_and(|from| self.stats.stops >= from) {
            self.every_from = None;
            self.stop_everywhere()?;
        }
        Ok(Next::Go(self.depart()))
    }

    /// Leaves the boundary at which both sides stand: the oracle's next event.
    #[inline]
    pub(super) fn depart(&mut self) -> Event {
        self.last = self.oracle.top().map(|top| top.boundary);
        self.keep_operands();
        self.advance()
    }

    /// Which instance's function was called.
    pub(super) fn set_called(&mut self, instance: InstanceId) {
        self.forget_place(instance);
    }

    fn meet_finish(&mut self, event: Event, index: usize) -> Result<Next, CommandError> {
        let Event::Finished(expected) = event else {
            return self.unexpected(
                event,
                "the subject returned from the function that was called".into(),
            );
        };
        let image = self.image;
        let mut wrong = Vec::new();
        let types = &image.map.entries[index].ty.results;
        let space = &self.spaces[self.called.index()];
        let results = (0..).zip(types).map(|(at, ty)| space.argument(&self.subject, at, *ty));
        let results: Vec<Value> = results.collect::<Result<_, _>>()?;
        for (at, (actual, value)) in results.iter().copied().zip(&expected).enumerate() {
            if !super::compare::same(actual, *value) && !self.settle_given(&expected, &results, at)
            {
                wrong.push(super::compare::difference(
                    SlotName::Result(at as u32),
                    *value,
                    Some(actual),
                    "argument area".into(),
                ));
            }
        }
        if !wrong.is_empty() {
            return self.diverged(DivergenceKind::Operand, "the results differ".into(), wrong);
        }
        self.finished(Ending::Returned(expected))
    }

    /// Compares everything once more at the end of a call.
    pub(super) fn finished(&mut self, ending: Ending) -> Result<Next, CommandError> {
        self.oracle.clear_writes();
        let (wrong, watch) = self.compare_whole()?;
        if wrong.is_empty() {
            return Ok(Next::End(ending));
        }
        self.whole_difference("at the end", wrong, watch)
    }

    fn cold_path_unasked(&mut self, function: u32) -> Result<Next, CommandError> {
        let func = self.image.map.functions[function as usize].func;
        let what = format!("the subject took a cold path of function {func} unasked");
        self.diverged(DivergenceKind::StablePoint, what, Vec::new())
    }

    /// Stops that are neither boundaries nor thunks.
    pub(super) fn meet_otherwise(
        &mut self,
        event: Event,
        stop: Stop,
    ) -> Result<Next, CommandError> {
        if let Stop::Fault { pc, .. } | Stop::Syscall { pc, .. } = stop {
            self.pc = pc;
        }
        match stop {
            Stop::Interrupted => match self.control.request() {
                Some(request) => Ok(Next::End(self.asked(request))),
                None => Ok(Next::Go(event)),
            },
            Stop::Fault { signal, pc, address, .. } => match self.plan.site(pc) {
                // A cold path that is a trap alone.
                Some(Site::Cold(function)) => self.cold_path_unasked(function),
                _ => self.fault(event, signal, pc, address),
            },
            Stop::Syscall { number, pc } => self.diverged(
                DivergenceKind::Sandbox,
                format!("the subject tried system call {number} at {pc}; it was not executed"),
                Vec::new(),
            ),
            Stop::Killed { signal } => self.ended_outside(&format!(" by signal {signal}")),
            Stop::Exited { code } => Ok(Next::End(Ending::Inconclusive {
                reason: InconclusiveReason::Environment,
                detail: format!("the subject's process ended with code {code}"),
            })),
            Stop::Trap { .. } | Stop::Stepped => {
                Err(CommandError::bug("a stop that the engine does not produce"))
            }
        }
    }

    fn ended_outside(&self, how: &str) -> Result<Next, CommandError> {
        Ok(Next::End(Ending::Inconclusive {
            reason: InconclusiveReason::Environment,
            detail: format!("the subject was killed from outside{how}; run again"),
        }))
    }

    pub(super) fn name(&self, at: BoundaryId) -> String {
        let function = &self.image.map.functions[at.function as usize];
        let offset = function.boundaries[at.index as usize].offset;
        format!("{offset} of function {}", function.func)
    }

    pub(super) fn import_name(&self, instance: InstanceId, func: FuncIdx) -> String {
        let module = &self.oracle.instance(instance).module;
        match module.function_import(func) {
            Some(import) => format!("{}.{}", import.module, import.name),
            None => func.to_string(),
        }
    }

    /// Writes the cores that are due at this execution of a boundary.
    fn write_cores(
        &mut self,
        at: BoundaryId,
        boundary: (FuncIdx, WasmOffset),
    ) -> Result<(), CommandError> {
        let occurrence = self.stats.executions(at);
        let due = |core: &mut CoreRequest| core.at == boundary && core.occurrence == occurrence;
        for core in self.cores.extract_if(.., due) {
            core.write(&mut self.subject, &self.spaces[0], self.pc)?;
        }
        Ok(())
    }
}
