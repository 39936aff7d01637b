//! One module, from bytes to image.

use crate::abi::{self, Symbol};
use crate::anchors::{self, Found, Graph, Tags};
use crate::error::CompileError;
use crate::features;
use crate::image::{self, FRAME_SECTION, Image, Label};
use crate::libcalls;
use crate::link::Text;
use crate::listing::Listing;
use crate::locations::Locator;
use crate::lower::{Lowered, Lowerer, Target};
use crate::module::{self, Module};
use crate::options::{self, Anchors, CRANELIFT_VERSION, CompileOptions, OptLevel};
use crate::polls::{Poll, find_ways};
use crate::thunks::{self, Thunks};
use crate::translate::{
    self, BodyError, CallDraft, Environment, HandlerDraft, Instantiation, Keep, Translated,
};
use cranelift_codegen::ir::{Function, Value};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::packed_option::PackedOption;
use cranelift_frontend::FunctionBuilderContext;
use dwarf_map::dwarf::{self, DwarfInput};
use dwarf_map::{
    Anchor, BoundaryMap, COPY_BYTES, CallSite, CodeOffset, Detour, EntryMap, FunctionMap, Handler,
    ImageMap, InstanceLayout, Isa, Location, Producer, Reason, StablePoint, ThunkMap, TrapSite,
};
use gimli::write::{DebugFrame, EndianVec, FrameTable};
use std::num::NonZeroU32;
use std::ops::Range;
use wasm_view::{FuncIdx, WasmOffset};
use wasmparser::{
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, ValidPayload, Validator,
    ValidatorResources,
};

/// Compiles a module.
///
/// The same bytes with the same options (and, for a native CPU, on the same
/// machine) give the same image. Any input is answered with an image or an
/// error.
pub fn compile(wasm: &[u8], options: &CompileOptions) -> Result<Image, CompileError> {
    let (isa, apart) = targets(options)?;
    Compiler::of(wasm, options, (&*isa, apart.as_deref()), true)?.finish(wasm)
}

/// Compiles a module's functions and keeps nothing but their code: what
/// [`compile`] is measured against.
pub fn code(wasm: &[u8], options: &CompileOptions) -> Result<Vec<u8>, CompileError> {
    let (isa, apart) = targets(options)?;
    let mut compiler = Compiler::of(wasm, options, (&*isa, apart.as_deref()), false)?;
    compiler.helpers(wasm)?;
    compiler.text.finish()
}

/// The target, and that of the function that is compiled apart.
fn targets(
    options: &CompileOptions,
) -> Result<(OwnedTargetIsa, Option<OwnedTargetIsa>), CompileError> {
    let target = |opt| options::target(options.isa, opt, &options.cpu, &options.flags);
    Ok((target(options.opt)?, options.apart.map(|(_, opt)| target(opt)).transpose()?))
}

fn check(wasm: &[u8], options: &CompileOptions) -> Result<(), CompileError> {
    if u32::try_from(wasm.len()).is_err() {
        return Err(CompileError::too_large("modules end at 4 GiB"));
    }
    if options.chaos.is_some() && !options::HAS_CHAOS {
        let feature =
            "Cranelift's chaos mode, which this build is without (cargo's `--features chaos`)"
                .to_owned();
        return Err(CompileError::Unsupported { offset: WasmOffset::default(), feature });
    }
    let refused =
        |feature: String| Err(CompileError::Unsupported { offset: WasmOffset::default(), feature });
    if options.isa != Isa::X86_64 {
        let name = options.isa.name();
        if options.anchors == Anchors::Srcloc {
            return refused(format!("code as it ships on {name}"));
        }
    }
    Ok(())
}

/// Times that a function is compiled at most, each keeping what the one before
/// lost.
const MOST_ROUNDS: usize = 8;

/// Where a value is that nobody asked for.
const GONE: Location = Location::Unavailable(Reason::NoLongerLive);

/// A compiled function in its place, and what is known of it.
struct Built<'a> {
    code: Range<CodeOffset>,
    lowered: &'a Lowered,
    /// Bytes of arguments on the stack that it removes when it returns.
    argument_area: u32,
    tags: Tags,
    /// In the order of the stable points.
    polls: Vec<Option<Poll>>,
    keep: &'a Keep,
}

struct Compiler<'a> {
    module: Module,
    lowerer: Lowerer<'a>,
    /// For the function that is compiled at another level. Calls, frames and
    /// relocations are the same at all levels.
    apart: Option<Lowerer<'a>>,
    context: FunctionBuilderContext,
    options: &'a CompileOptions,
    /// Whether there will be maps.
    maps: bool,
    layout: InstanceLayout,
    thunks: Thunks,
    text: Text,
    functions: Vec<FunctionMap>,
    /// Slots that may still be mapped.
    budget: usize,
}

/// Where the helpers of a module lie, in the order in which they are known.
struct Helpers {
    thunks: Vec<ThunkMap>,
    entries: Vec<EntryMap>,
    instantiate: Range<CodeOffset>,
    labels: Vec<Label>,
}

/// What functions are translated in.
fn environment<'m>(
    (module, layout): (&'m Module, InstanceLayout),
    options: &CompileOptions,
    maps: bool,
    (opt, isa): (OptLevel, &'m dyn TargetIsa),
    func: Option<FuncIdx>,
) -> Environment<'m> {
    Environment {
        module,
        layout,
        opt,
        stable: options.stable,
        restorable: func.is_some_and(|func| options.restorable.has(func)),
        dumps: func.is_some_and(|func| options.dumps(func)),
        anchors: options.anchors,
        maps,
        isa,
    }
}

impl<'a> Compiler<'a> {
    /// Compiles the functions of a module.
    fn of(
        wasm: &[u8],
        options: &'a CompileOptions,
        (isa, apart): (&'a dyn TargetIsa, Option<&'a dyn TargetIsa>),
        maps: bool,
    ) -> Result<Self, CompileError> {
        check(wasm, options)?;
        let lowerer = |isa| {
            let srcloc = options.anchors == Anchors::Srcloc;
            Lowerer::new(isa, options.isa, maps, srcloc, options.chaos)
        };
        let mut compiler = Compiler {
            module: Module::default(),
            lowerer: lowerer(isa),
            apart: apart.map(lowerer),
            context: FunctionBuilderContext::new(),
            options,
            maps,
            layout: InstanceLayout::default(),
            thunks: Thunks::default(),
            text: Text::new(options.isa, options.shift),
            functions: Vec::new(),
            budget: crate::MAX_SLOTS,
        };
        compiler.functions(wasm).map_err(|error| match error {
            BodyError::Compile(error) => error,
            BodyError::Wasm(error) => features::classify(wasm, options.isa, &error),
        })?;
        Ok(compiler)
    }

    /// Validates the module and compiles its functions as they pass.
    fn functions(&mut self, wasm: &[u8]) -> Result<(), BodyError> {
        let isa = self.options.isa;
        let vectors = options::has_vectors(isa, self.lowerer.isa);
        let mut validator = Validator::new_with_features(features::of_sections(isa, vectors));
        let mut allocations = FuncValidatorAllocations::default();
        let mut prepared = false;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => {
                    if !std::mem::replace(&mut prepared, true) {
                        self.prepare()?;
                    }
                    let function =
                        FuncToValidate { features: features::of_bodies(isa, vectors), ..function };
                    allocations = self.function(function, &body, allocations)?;
                }
                ValidPayload::Ok | ValidPayload::End(_) => {
                    features::refuse(&payload, wasm)?;
                    self.module.add(&payload)?;
                }
                // A component, which these features do not admit.
                ValidPayload::Parser(_) => {
                    return Err(CompileError::bug("a module within the module").into());
                }
            }
        }
        if !prepared {
            self.prepare()?;
        }
        Ok(())
    }

    /// Once all sections before the code are known.
    fn prepare(&mut self) -> Result<(), CompileError> {
        self.layout = self.module.layout()?;
        for func in self.module.imports() {
            let missing = || CompileError::bug(format!("import {func} has no type"));
            let ty = self.module.function_type(func).ok_or_else(missing)?;
            self.thunks.add_import(func, ty)?;
        }
        Ok(())
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        allocations: FuncValidatorAllocations,
    ) -> Result<FuncValidatorAllocations, BodyError> {
        let mut keep = Keep::default();
        let mut allocations = allocations;
        // What one round keeps may take the place of something else; that this
        // goes on for long is not to be expected.
        for _ in 0..MOST_ROUNDS {
            let again = FuncToValidate {
                resources: function.resources.clone(),
                index: function.index,
                ty: function.ty,
                features: function.features,
            };
            let (back, lost) = self.function_keeping(again, body, allocations, &keep)?;
            allocations = back;
            match lost {
                None => return Ok(allocations),
                Some(lost) => keep.extend(lost),
            }
        }
        let what =
            format!("function {} loses live values however often it is compiled", function.index);
        Err(CompileError::bug(what).into())
    }

    /// Compiles a function that keeps these values, and answers which others
    /// are lost at stable points. If there are any, the function has to be
    /// compiled again; else it is part of the image now.
    fn function_keeping(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        allocations: FuncValidatorAllocations,
        keep: &Keep,
    ) -> Result<(FuncValidatorAllocations, Option<Keep>), BodyError> {
        let func = FuncIdx::new(function.index);
        let mut validator = function.into_validator(allocations);
        let budget = self.budget;
        let (opt, lowerer) = match (self.options.apart, &mut self.apart) {
            (Some((apart, opt)), Some(lowerer)) if apart == func => (opt, lowerer),
            _ => (self.options.opt, &mut self.lowerer),
        };
        let module = (&self.module, self.layout);
        let environment =
            environment(module, self.options, self.maps, (opt, lowerer.isa), Some(func));
        let mut translated = translate::translate(
            &environment,
            &mut self.thunks,
            &mut self.context,
            func,
            body,
            &mut validator,
            keep,
            &mut self.budget,
        )?;
        let clif = std::mem::replace(&mut translated.function, Function::new());
        let graph = match self.options.anchors {
            Anchors::Srcloc if self.maps => Graph::of(body)?,
            _ => None,
        };
        #[cfg(test)]
        let stock = stock_code(lowerer.isa, &clif);
        let body = module::offset(body.range().start)..module::offset(body.range().end);
        let lowered = lowerer.lower(clif, &mut translated.values);
        let lowered = lowered.map_err(|error| match error {
            // Cranelift does not say which instruction.
            CompileError::Unsupported { feature, .. } => {
                CompileError::Unsupported { offset: body.start, feature }
            }
            error => error,
        })?;
        #[cfg(test)]
        assert!(
            self.options.anchors == Anchors::Trap || lowered.code.buffer.data() == stock,
            "{func}: not the code that Cranelift makes by itself"
        );
        if !self.maps {
            let piece = lowered.piece(self.lowerer.isa, body.start)?;
            self.text.add(Target::Symbol(Symbol::Function(func)), piece)?;
            return Ok((validator.into_allocations(), None));
        }
        let code = &lowered.code;
        let (boundaries, points) = (translated.boundaries.len(), translated.stable.len());
        let tags = Tags::of(self.options.isa, code, boundaries, &translated.calls, points)?;
        let find = |marks: &_| Poll::find(self.options.isa, code.buffer.data(), *marks);
        let polls: Result<Vec<Option<Poll>>, _> = tags.stable.iter().map(find).collect();
        let (polls, lost) = match polls {
            Ok(mut polls) => {
                if polls.iter().any(Option::is_some) && self.options.isa == Isa::X86_64 {
                    let relocated = code.buffer.relocs().iter().map(|reloc| reloc.offset);
                    let (bytes, sources) = (code.buffer.data(), lowered.sources());
                    find_ways(bytes, &sources, &relocated.collect(), &mut polls);
                }
                let lost = self.lost(func, &lowered, &translated, (&tags, &polls), keep);
                (polls, lost)
            }
            // One looks at what another one has loaded.
            Err(_) if !keep.fenced => (Vec::new(), Keep { fenced: true, ..Keep::default() }),
            Err(error) => return Err(error.into()),
        };
        if lost != Keep::default() {
            self.budget = budget;
            return Ok((validator.into_allocations(), Some(lost)));
        }
        let mut piece = lowered.piece(self.lowerer.isa, body.start)?;
        for poll in polls.iter().flatten() {
            poll.silence(&mut piece.code)?;
        }
        let own = self
            .module
            .function_type(func)
            .map_or(0, |ty| abi::stack_arguments(ty, self.options.isa));
        let argument_area = lowered.tail_call_arguments().max(own);
        piece.moved = argument_area - own;
        let code = self.text.add(Target::Symbol(Symbol::Function(func)), piece)?;
        let built = Built { code, lowered: &lowered, argument_area, tags, polls, keep };
        let map = self.function_map(func, body, built, translated, graph.as_ref())?;
        if let Some((_, last)) = map.copies().last() {
            self.text.reserve(last.get() + COPY_BYTES)?;
        }
        self.functions.push(map);
        Ok((validator.into_allocations(), None))
    }

    /// Live values that have no location at a stable point or in a suspended
    /// frame, and are not among those kept.
    fn lost(
        &self,
        func: FuncIdx,
        lowered: &Lowered,
        translated: &Translated,
        (tags, polls): (&Tags, &[Option<Poll>]),
        keep: &Keep,
    ) -> Keep {
        let mut lost = Keep::default();
        if translated.stable.is_empty() {
            return lost;
        }
        // Whether there is a location does not depend on where the frame lies.
        let mut locator = Locator::new(lowered, self.lowerer.isa, 0, self.options.anchors);
        let mut unavailable = |value: PackedOption<Value>, at, suspended| {
            let Some(value) = value.expand() else { return true };
            let location = match suspended {
                false => locator.at(value, at),
                true => locator.suspended(value, at),
            };
            matches!(location, Location::Unavailable(_))
        };
        for (draft, poll) in translated.stable.iter().zip(polls) {
            let number = draft.boundary;
            let boundary = &translated.boundaries[number as usize];
            let pc = match self.options.anchors {
                Anchors::Trap => tags.traps[number as usize],
                Anchors::Srcloc => poll.as_ref().map(|poll| poll.looks),
            };
            let Some(pc) = pc else { continue };
            let kept = keep.boundaries.get(&number).map_or(&[][..], Vec::as_slice);
            let slots = translated.locals.len() + boundary.operands.len();
            let values = &translated.values[boundary.first_value..boundary.first_value + slots];
            let shown = boundary.top_is_shown.then(|| slots.saturating_sub(1));
            let slots = draft.slots.iter().map(|(slot, _)| slot.index());
            let slots = slots.filter(|slot| !kept.contains(slot) && Some(*slot) != shown);
            let slots: Vec<usize> =
                slots.filter(|slot| unavailable(values[*slot], pc, false)).collect();
            // Storing on the cold path costs nobody who does not go there.
            let (again, first) = match keep.cold.get(&number) {
                _ if self.options.dumps(func) => (slots, Vec::new()),
                None => (Vec::new(), slots),
                Some(cold) => slots.into_iter().partition(|slot| cold.contains(slot)),
            };
            for (lost, slots) in [(&mut lost.boundaries, again), (&mut lost.cold, first)] {
                if !slots.is_empty() {
                    lost.insert(number, slots);
                }
            }
        }
        for (number, draft) in (0_u32..).zip(&translated.calls) {
            let Some(address) = tags.calls[number as usize] else { continue };
            let pc = draft.standing(address);
            let kept = keep.calls.get(&number).map_or(&[][..], Vec::as_slice);
            let values = &translated.values[draft.values.clone()];
            let slots = draft.live.iter().copied().filter(|slot| !kept.contains(slot));
            let slots: Vec<usize> =
                slots.filter(|slot| unavailable(values[*slot], pc, true)).collect();
            if !slots.is_empty() {
                lost.calls.insert(number, slots);
            }
        }
        lost
    }

    fn function_map(
        &self,
        func: FuncIdx,
        body: Range<WasmOffset>,
        built: Built<'_>,
        translated: Translated,
        graph: Option<&Graph>,
    ) -> Result<FunctionMap, CompileError> {
        let Built { code, lowered, argument_area, tags, polls, keep } = built;
        let missing = || CompileError::bug(format!("function {func} has no type"));
        let ty = *self.module.functions.get(func.index()).ok_or_else(missing)?;
        let params = self.module.function_type(func).ok_or_else(missing)?.params.len();
        let at = |pc: u32| CodeOffset::new(code.start.get() + pc);
        let Translated { locals, boundaries, calls, stable, values, kept, .. } = translated;
        lowered.check_argument_area(argument_area)?;
        let stack_arguments =
            self.module.function_type(func).map(|ty| abi::stack_arguments(ty, self.options.isa));
        let stack_arguments = stack_arguments.ok_or_else(missing)?;
        let kept: Vec<i32> =
            kept.into_iter().map(|slot| lowered.slot_offset(slot)).collect::<Result<_, _>>()?;
        // Those without another location are where they were stored.
        let show_kept = |slots: Option<&Vec<usize>>, locations: &mut [Location]| {
            for (slot, offset) in slots.into_iter().flatten().zip(&kept) {
                if let Some(location @ Location::Unavailable(_)) = locations.get_mut(*slot) {
                    *location = Location::CfaOffset(*offset);
                }
            }
        };
        let mut traps = lowered.traps()?;
        let found: Vec<Found> = match self.options.anchors {
            Anchors::Trap => {
                let traps = tags.traps.iter();
                traps.map(|trap| trap.map_or(Found::Eliminated, Found::At)).collect()
            }
            Anchors::Srcloc => {
                let stable = (stable.as_slice(), polls.as_slice());
                anchors::find(lowered, graph, &tags, &boundaries, &calls, stable, &mut traps)
            }
        };
        let stable_points = stable
            .into_iter()
            .zip(polls)
            .zip(1_u32..)
            .filter_map(|((draft, poll), number)| {
                let poll = poll?;
                let restore = self.options.restorable.has(func).then_some(number);
                Some(StablePoint {
                    offset: boundaries.get(draft.boundary as usize)?.offset,
                    poll: at(poll.start),
                    armed: poll.armed,
                    detour: Detour {
                        idle: poll.detour.idle,
                        ways: poll.detour.ways.iter().map(|way| at(way.get())).collect(),
                    },
                    cold: at(poll.cold),
                    trap: at(poll.trap),
                    restore: restore.and_then(NonZeroU32::new),
                    stores: self.options.dumps(func),
                    slots: draft.slots,
                })
            })
            .collect();
        let mut locator = Locator::new(
            lowered,
            self.lowerer.isa,
            argument_area - stack_arguments,
            self.options.anchors,
        );
        let shown = translated.shown;
        let shown = shown.map(|slot| lowered.slot_offset(slot)).transpose()?;

        let boundaries = (0_u32..)
            .zip(boundaries.into_iter().zip(found))
            .map(|(number, (draft, found))| {
                let trap = if let Found::At(pc) = found { Some(pc) } else { None };
                let slots = locals.len() + draft.operands.len();
                let values = &values[draft.first_value..draft.first_value + slots];
                let locations = values.iter().map(|value| match trap.zip(value.expand()) {
                    Some((pc, value)) => locator.at(value, pc),
                    None => GONE,
                });
                let mut locations: Vec<Location> = locations.collect();
                if let (true, Some(offset), Some(_), Some(top)) =
                    (draft.top_is_shown, shown, trap, locations.last_mut())
                    && !matches!(top, Location::Register(_) | Location::CfaOffset(_))
                {
                    *top = Location::CfaOffset(offset);
                }
                if trap.is_some() {
                    show_kept(keep.boundaries.get(&number), &mut locations);
                }
                BoundaryMap {
                    offset: draft.offset,
                    anchor: match (found, self.options.anchors) {
                        (Found::At(pc), Anchors::Trap) => Anchor::Trap(at(pc)),
                        (Found::At(pc), Anchors::Srcloc) => Anchor::Instruction(at(pc)),
                        (Found::Merged, _) => Anchor::Merged,
                        (Found::Threaded, _) => Anchor::Threaded,
                        (Found::Eliminated, _) => Anchor::Eliminated,
                    },
                    stable: draft.stable,
                    operands: draft.operands,
                    locations,
                }
            })
            .collect();
        let mut call_sites: Vec<CallSite> = (0_u32..)
            .zip(calls.into_iter().zip(tags.calls))
            .filter_map(|(number, (draft, address))| {
                let address = address?;
                let values = &values[draft.values.clone()];
                // Where a call ends its block, values may have been moved for
                // the next one as soon as it has returned.
                let standing = draft.standing(address);
                let handler = |handler: HandlerDraft| {
                    let pc = at(*tags.handlers.get(&handler.number)?);
                    Some(Handler { tag: handler.tag, pc })
                };
                let locations = values.iter().map(|value| match value.expand() {
                    Some(value) => locator.suspended(value, standing),
                    None => GONE,
                });
                let mut locations: Vec<Location> = locations.collect();
                show_kept(keep.calls.get(&number), &mut locations);
                Some(CallSite {
                    return_address: at(address),
                    offset: draft.offset,
                    locations,
                    handlers: draft.handlers.into_iter().filter_map(handler).collect(),
                })
            })
            .collect();
        call_sites.sort_by_key(|site| site.return_address);
        let traps = traps
            .into_iter()
            // A trap without a Wasm instruction is one of Cranelift's own
            // making that no execution reaches.
            .filter_map(|(pc, trap, offset)| Some(TrapSite { pc: at(pc), offset: offset?, trap }))
            .collect();
        let expressions = locator.into_expressions();
        Ok(FunctionMap {
            func,
            ty,
            params: u32::try_from(params).map_err(CompileError::bug)?,
            name: None,
            code: code.clone(),
            body,
            locals,
            local_names: Vec::new(),
            frame_size: lowered.frame_size()?,
            stack_arguments,
            argument_area,
            expressions,
            boundaries,
            call_sites,
            traps,
            stable_points,
        })
    }

    /// Compiles something small that holds at most one trap for the kernel.
    fn helper(
        &mut self,
        target: Target,
        function: Function,
        calls: &[CallDraft],
    ) -> Result<(Range<CodeOffset>, Option<CodeOffset>), CompileError> {
        let lowered = self.lowerer.lower(function, &mut [])?;
        let isa = self.options.isa;
        let tags = Tags::of(isa, &lowered.code, thunks::KERNEL_TAG as usize + 1, calls, 0)?;
        let piece = lowered.piece(self.lowerer.isa, WasmOffset::default())?;
        let code = self.text.add(target, piece)?;
        let trap = tags.traps.first().copied().flatten();
        Ok((code.clone(), trap.map(|pc| CodeOffset::new(code.start.get() + pc))))
    }

    /// Adds what functions need besides each other.
    fn helpers(&mut self, wasm: &[u8]) -> Result<Helpers, CompileError> {
        let frontend = self.lowerer.isa.frontend_config();
        // It needs thunks of its own.
        let Instantiation { function: instantiate, calls, halts } = self.instantiation(wasm)?;
        let no_trap = || CompileError::bug("a thunk or entry lost its trap");
        let mut thunks = Vec::new();
        for (index, (kind, ty)) in (0..).zip(std::mem::take(&mut self.thunks).into_list()) {
            let symbol = Symbol::Thunk(index);
            let clif = thunks::thunk(symbol, &ty, self.layout, &mut self.context, frontend)?;
            let (code, trap) = self.helper(Target::Symbol(symbol), clif, &[])?;
            thunks.push(ThunkMap { kind, ty, code, trap: trap.ok_or_else(no_trap)? });
        }
        let mut entries = Vec::new();
        for (index, ty) in (0..).zip(self.module.entry_types()) {
            let symbol = Symbol::Entry(index);
            let clif = thunks::entry(symbol, &ty, self.layout, &mut self.context, frontend)?;
            let (code, trap) = self.helper(Target::Symbol(symbol), clif, &[])?;
            entries.push(EntryMap { ty, code, finish: trap.ok_or_else(no_trap)? });
        }
        let target = Target::Symbol(Symbol::Instantiate);
        let (instantiate, trap) = self.helper(target, instantiate, &calls)?;
        if trap.is_some() != halts {
            return Err(CompileError::bug("instantiation does not halt where it should"));
        }
        let mut labels = Vec::new();
        for index in self.text.libraries() {
            let Some(&call) = libcalls::PROVIDED.get(index) else {
                continue;
            };
            let clif = libcalls::function(call, &mut self.context, frontend)?;
            let (code, _) = self.helper(Target::Library(index), clif, &[])?;
            labels.push(Label::of(format!("library.{call}"), &code));
        }
        Ok(Helpers { thunks, entries, instantiate, labels })
    }

    /// Translates the function that instantiates the module.
    fn instantiation(&mut self, wasm: &[u8]) -> Result<Instantiation, CompileError> {
        let (module, target) = ((&self.module, self.layout), (self.options.opt, self.lowerer.isa));
        let environment = environment(module, self.options, self.maps, target, None);
        translate::instantiation(&environment, &mut self.thunks, &mut self.context, wasm).map_err(
            |error| match error {
                BodyError::Compile(error) => error,
                // The validator has seen it.
                BodyError::Wasm(error) => CompileError::bug(error),
            },
        )
    }

    fn finish(mut self, wasm: &[u8]) -> Result<Image, CompileError> {
        let Helpers { thunks, entries, instantiate, mut labels } = self.helpers(wasm)?;
        for map in &mut self.functions {
            map.name = self.module.names.function(map.func).map(str::to_owned);
            map.local_names = self.module.names.locals(map.func, map.locals.len());
        }
        let map = ImageMap {
            functions: self.functions,
            thunks,
            entries,
            layout: self.layout,
            producer: producer(self.options, self.lowerer.isa),
        };
        labels.extend(map_labels(&map));
        let frames = self.text.frames(image::text_address(), self.lowerer.isa)?;
        let text = self.text.finish()?;
        let sections = if self.options.debug_info {
            debug_sections(&map, &text, frames, self.options, wasm)?
        } else {
            vec![(FRAME_SECTION, frame_section(&frames, self.options.isa)?)]
        };
        let compress = self.options.compress;
        Image::build(map, text, labels, Some(instantiate), &sections, compress, wasm)
    }
}

/// What the released compiler makes of a function when nobody looks.
#[cfg(test)]
fn stock_code(isa: &dyn TargetIsa, function: &Function) -> Vec<u8> {
    let mut context = cranelift_codegen::Context::for_function(function.clone());
    context.func.debug_tags.clear();
    let code = context.compile(isa, &mut Default::default()).expect("compiles");
    code.buffer.data().to_vec()
}

/// Symbols of everything in the map. Wasm functions carry their index, since
/// names need not be unique.
fn map_labels(map: &ImageMap) -> impl Iterator<Item = Label> {
    let functions = map.functions.iter().map(|function| {
        let index = function.func.get();
        let name = match &function.name {
            Some(name) => format!("wasm.{index}.{name}"),
            None => format!("wasm.{index}"),
        };
        Label::of(name, &function.code)
    });
    let thunks = (0..)
        .zip(&map.thunks)
        .map(|(index, thunk): (u32, _)| Label::of(format!("thunk.{index}"), &thunk.code));
    let entries = (0..)
        .zip(&map.entries)
        .map(|(index, entry): (u32, _)| Label::of(format!("entry.{index}"), &entry.code));
    functions.chain(thunks).chain(entries)
}

fn producer(options: &CompileOptions, isa: &dyn TargetIsa) -> Producer {
    Producer {
        backend: "cranelift".to_owned(),
        version: CRANELIFT_VERSION.to_owned(),
        opt: options.opt.name().to_owned(),
        stable: options.stable.name().to_owned(),
        anchors: options.anchors.name().to_owned(),
        target: options.isa,
        cpu_features: options::enabled_features(isa),
    }
}

fn frame_section(frames: &FrameTable, isa: Isa) -> Result<Vec<u8>, CompileError> {
    let mut section = DebugFrame::from(EndianVec::new(dwarf_map::unwind::endian(isa)));
    frames.write_debug_frame(&mut section).map_err(CompileError::bug)?;
    Ok(section.0.into_vec())
}

/// What debuggers read, call frame information included.
fn debug_sections(
    map: &ImageMap,
    text: &[u8],
    frames: FrameTable,
    options: &CompileOptions,
    wasm: &[u8],
) -> Result<Vec<(&'static str, Vec<u8>)>, CompileError> {
    // DWARF wants names; these stand in for what the caller did not say.
    fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
        if text.is_empty() { default } else { text }
    }
    let listing = Listing::new(wasm.into());
    let source = crate::source::lines(wasm);
    let input = DwarfInput {
        map,
        text: image::text_address(),
        text_size: u32::try_from(text.len()).map_err(CompileError::bug)?,
        code: text,
        program: or(&options.program, "module.wasm"),
        listing_dir: or(&options.listing_dir, "."),
        listing_file: or(&options.listing_file, "module.wat"),
        lines: listing.lines(),
        source: &source,
        frames,
    };
    dwarf::write(input).map_err(CompileError::bug)
}
