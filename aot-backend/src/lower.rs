//! CLIF to machine code, with a label for every value the map asks about.
//!
//! This is `Context::compile` taken apart, because two things must happen in
//! its middle. The values that the translator wrote down must be followed
//! through aliases before the aliases are deleted; and labels must be put on
//! what the mid-end left. One label stands for one SSA value, never for a Wasm
//! local: a label's range ends only at its next definition in code order, so a
//! label with several definitions names a stale place on some paths.

use crate::abi::{STABLE_TRAP, Symbol, stack_arguments_of, trap_of};
use crate::equal::Classes;
use crate::error::CompileError;
use cranelift_codegen::Context;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{
    Block, ExternalName, Function, InstructionData, LibCall, Opcode, RelSourceLoc, StackSlot,
    Value, ValueDef, ValueLabel, ValueLabelAssignments, ValueLabelStart,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::UnwindInfo;
use cranelift_codegen::isa::unwind::systemv;
use cranelift_codegen::packed_option::PackedOption;
use cranelift_codegen::settings::OptLevel;
use cranelift_codegen::{CodegenError, CompiledCode, FinalizedRelocTarget};
use dwarf_map::Isa;
use std::collections::HashSet;
use std::ops::Range;
use wasm_view::{Trap, WasmOffset};

/// Reusable storage for compiling one function after the other.
pub(crate) struct Lowerer<'a> {
    pub isa: &'a dyn TargetIsa,
    /// The same, as maps name it.
    pub kind: Isa,
    /// Whether anyone will ask where values are.
    maps: bool,
    /// Whether the source locations must name every instruction that may fault.
    locate: bool,
    /// What choices of chance are drawn from.
    chaos: Option<u64>,
    context: Context,
    control: ControlPlane,
    registers: regalloc2::Ctx,
}

/// A compiled function and what is needed to explain it.
pub(crate) struct Lowered {
    pub code: CompiledCode,
    /// The function as it was lowered.
    pub function: Function,
    /// Which of its values are equal.
    pub classes: Classes,
    /// What it was compiled for.
    pub isa: Isa,
    /// Whether the mid-end worked on it.
    pub optimised: bool,
}

impl<'a> Lowerer<'a> {
    pub fn new(
        isa: &'a dyn TargetIsa,
        kind: Isa,
        maps: bool,
        locate: bool,
        chaos: Option<u64>,
    ) -> Self {
        Lowerer {
            isa,
            kind,
            maps,
            locate,
            chaos,
            context: Context::new(),
            control: ControlPlane::default(),
            registers: regalloc2::Ctx::default(),
        }
    }

    /// Compiles a function. `values` come in as the translator knew them and
    /// go out as the compiled function knows them.
    pub fn lower(
        &mut self,
        function: Function,
        values: &mut [PackedOption<Value>],
    ) -> Result<Lowered, CompileError> {
        self.context.clear();
        // Each function draws anew: what one does not use is no other's.
        self.control = self.chaos.map_or_else(ControlPlane::default, control);
        self.context.func = function;
        let code = self.run(values).map_err(codegen_error)?;
        let function = std::mem::replace(&mut self.context.func, Function::new());
        let optimised = self.isa.flags().opt_level() != OptLevel::None;
        Ok(Lowered { code: code.0, function, classes: code.1, isa: self.kind, optimised })
    }

    fn run(
        &mut self,
        values: &mut [PackedOption<Value>],
    ) -> Result<(CompiledCode, Classes), CodegenError> {
        let (isa, context) = (self.isa, &mut self.context);
        context.verify_if(isa)?;
        context.compute_cfg();
        context.compute_domtree();
        context.eliminate_unreachable_code(isa)?;
        context.remove_constant_phis(isa)?;
        for value in values.iter_mut() {
            let resolved = value.map(|value| context.func.dfg.resolve_aliases(value));
            *value = resolved.into();
        }
        context.func.dfg.resolve_all_aliases();
        let classes = if isa.flags().opt_level() == OptLevel::None {
            Classes::identity()
        } else {
            context.egraph_pass(isa, &mut self.control)?;
            match self.maps {
                true => {
                    if self.locate {
                        crate::anchors::locate(&mut context.func);
                    }
                    Classes::of(&context.func)
                }
                false => Classes::identity(),
            }
        };
        if !self.maps {
            // Without labels the compiler keeps no account of them.
        } else if isa.flags().opt_level() == OptLevel::None {
            label(&mut context.func, values.iter().filter_map(|value| value.expand()));
        } else {
            // What is not asked for itself may serve to derive what is.
            let all: Vec<Value> = context.func.dfg.values().collect();
            label(&mut context.func, all);
        }
        let stencil = isa.compile_function(
            &context.func,
            &context.domtree,
            &mut self.registers,
            false,
            &mut self.control,
        )?;
        Ok((stencil.apply_params(&context.func.params), classes))
    }
}

/// A control plane that decides by these numbers until they are used up.
#[cfg(feature = "chaos")]
fn control(seed: u64) -> ControlPlane {
    use arbitrary::{Arbitrary, Unstructured};
    // Sebastiano Vigna's xorshift64*: this crate has no use for a generator else.
    let mut state = seed | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(1 << 14).collect();
    ControlPlane::arbitrary(&mut Unstructured::new(&bytes)).unwrap_or_default()
}

/// No choices of chance in this build: [`crate::compile()`] has refused.
#[cfg(not(feature = "chaos"))]
fn control(_seed: u64) -> ControlPlane {
    ControlPlane::default()
}

/// Labels values with their own numbers.
fn label(function: &mut Function, values: impl IntoIterator<Item = Value>) {
    // Most slots hold what they held at the boundary before.
    let mut seen = EntitySet::with_capacity(function.dfg.num_values());
    let new = values.into_iter().filter(|value| seen.insert(*value));
    let mut values: Vec<Value> = new.filter(|value| is_placed(function, *value)).collect();
    values.sort_unstable();
    let labels = values.into_iter().map(|value| {
        let label = ValueLabel::from_u32(value.as_u32());
        let start = ValueLabelStart { from: RelSourceLoc::default(), label };
        (value, ValueLabelAssignments::Starts(vec![start]))
    });
    function.dfg.values_labels = Some(labels.collect());
}

/// Whether a value is defined by the code that will be lowered.
fn is_placed(function: &Function, value: Value) -> bool {
    if !function.dfg.value_is_real(value) {
        return false;
    }
    match function.dfg.value_def(value) {
        ValueDef::Result(inst, _) => function.layout.inst_block(inst).is_some(),
        ValueDef::Param(block, _) => function.layout.is_block_inserted(block),
        ValueDef::Union(..) => false,
    }
}

fn codegen_error(error: CodegenError) -> CompileError {
    match error {
        CodegenError::ImplLimitExceeded => {
            CompileError::too_large("a function has too many values")
        }
        CodegenError::CodeTooLarge => CompileError::too_large("the code of a function"),
        // An instruction that these CPU features do not have; the caller knows
        // which function it is in.
        CodegenError::Unsupported(feature) => {
            CompileError::Unsupported { offset: WasmOffset::default(), feature }
        }
        other => CompileError::bug(format!("{other:?}")),
    }
}

/// Something that code refers to by a 32-bit displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Symbol(Symbol),
    /// By position in [`crate::libcalls::PROVIDED`].
    Library(usize),
}

/// A displacement to fill in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixup {
    /// Where, in the function's code.
    pub at: u32,
    pub target: Target,
    pub addend: i64,
    pub form: FixupForm,
}

/// How a displacement is written into the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixupForm {
    /// x86-64: 32 bits of bytes.
    Bytes,
    /// aarch64: the low 26 bits of an instruction, of words.
    Words26,
    /// riscv64: the upper 20 bits of an `auipc`, the lower 12 of the `jalr` behind.
    Pair,
    /// s390x: 32 bits of halfwords, big-endian.
    Halfwords,
}

/// A piece of text: machine code ready to be placed.
pub(crate) struct Piece {
    pub code: Vec<u8>,
    /// Of its constants, in bytes.
    pub alignment: u32,
    pub fixups: Vec<Fixup>,
    pub unwind: systemv::UnwindInfo,
    /// Bytes by which the frame lies lower than it was entered, to make room for
    /// arguments of tail calls.
    pub moved: u32,
}

impl Lowered {
    /// What the linker needs of it. `offset` names the function in refusals.
    pub fn piece(&self, isa: &dyn TargetIsa, offset: WasmOffset) -> Result<Piece, CompileError> {
        let mut fixups = Vec::new();
        for reloc in self.code.buffer.relocs() {
            let form = match reloc.kind {
                Reloc::X86CallPCRel4 | Reloc::X86PCRel4 => FixupForm::Bytes,
                Reloc::Arm64Call => FixupForm::Words26,
                Reloc::RiscvCallPlt => FixupForm::Pair,
                Reloc::S390xPCRel32Dbl | Reloc::S390xPLTRel32Dbl => FixupForm::Halfwords,
                other => return Err(CompileError::bug(format!("relocation {other:?}"))),
            };
            let target = self.target(&reloc.target, offset)?;
            fixups.push(Fixup { at: reloc.offset, target, addend: reloc.addend, form });
        }
        let unwind = self.code.create_unwind_info(isa).map_err(codegen_error)?;
        let Some(UnwindInfo::SystemV(unwind)) = unwind else {
            return Err(CompileError::bug("no call frame information"));
        };
        let alignment = self.code.buffer.alignment;
        Ok(Piece { code: self.code.buffer.data().to_vec(), alignment, fixups, unwind, moved: 0 })
    }

    fn target(
        &self,
        target: &FinalizedRelocTarget,
        offset: WasmOffset,
    ) -> Result<Target, CompileError> {
        let unknown = || CompileError::bug(format!("relocation to {target:?}"));
        match target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                let name =
                    self.function.params.user_named_funcs().get(*name).ok_or_else(unknown)?;
                Symbol::from_name(name).map(Target::Symbol).ok_or_else(unknown)
            }
            FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => library(*call)
                .ok_or_else(|| CompileError::Unsupported {
                    offset,
                    feature: format!("the library call {call}"),
                }),
            _ => Err(unknown()),
        }
    }

    /// The pieces of the code that have a source location. Each begins with an
    /// instruction.
    pub fn sources(&self) -> Vec<Range<u32>> {
        let ranges = self.code.buffer.get_srclocs_sorted().iter();
        ranges.map(|range| range.start..range.end).filter(|range| !range.is_empty()).collect()
    }

    /// The trap table: PC, trap, Wasm instruction if known, in PC order.
    pub fn traps(&self) -> Result<Vec<(u32, Trap, Option<WasmOffset>)>, CompileError> {
        let locations = self.code.buffer.get_srclocs_sorted();
        let mut traps = Vec::with_capacity(self.code.buffer.traps().len());
        let sites = self.code.buffer.traps().iter();
        for site in sites.filter(|site| site.code != STABLE_TRAP) {
            let trap = trap_of(site.code)
                .ok_or_else(|| CompileError::bug(format!("trap code {}", site.code)))?;
            let next = locations.partition_point(|range| range.start <= site.offset);
            let offset = next
                .checked_sub(1)
                .and_then(|at| locations.get(at))
                .filter(|range| site.offset < range.end && !range.loc.is_default())
                .map(|range| WasmOffset::new(range.loc.bits()));
            traps.push((site.offset, trap, offset));
        }
        traps.sort_by_key(|&(pc, ..)| pc);
        Ok(traps)
    }

    /// Bytes of arguments on the stack that the tail calls need which are left
    /// in the code.
    pub fn tail_call_arguments(&self) -> u32 {
        let function = &self.function;
        let flow = ControlFlowGraph::with_function(function);
        let mut seen = HashSet::new();
        let mut work: Vec<Block> = function.layout.entry_block().into_iter().collect();
        let mut most = 0;
        while let Some(block) = work.pop() {
            if !seen.insert(block) {
                continue;
            }
            work.extend(flow.succ_iter(block));
            let last = function.layout.last_inst(block).map(|inst| function.dfg.insts[inst]);
            let signature = match last {
                Some(InstructionData::Call { opcode: Opcode::ReturnCall, func_ref, .. }) => {
                    function.dfg.ext_funcs[func_ref].signature
                }
                Some(InstructionData::CallIndirect {
                    opcode: Opcode::ReturnCallIndirect,
                    sig_ref,
                    ..
                }) => sig_ref,
                _ => continue,
            };
            most = most.max(stack_arguments_of(&function.dfg.signatures[signature], self.isa));
        }
        most
    }

    /// Holds the bytes of arguments that the function removes from the stack,
    /// as `abi` has them, against its return instructions. Elsewhere than on
    /// x86-64 and aarch64 only running the code tells.
    pub fn check_argument_area(&self, expected: u32) -> Result<(), CompileError> {
        match self.isa {
            Isa::X86_64 => {}
            Isa::Aarch64 => return self.check_argument_area_aarch64(expected),
            Isa::Riscv64 | Isa::S390x => return Ok(()),
        }
        // mov rsp, rbp; pop rbp; and then one of two returns.
        const EPILOGUE: [u8; 4] = [0x48, 0x89, 0xec, 0x5d];
        let code = self.code.buffer.data();
        let after = |at: usize| code.get(at + EPILOGUE.len()..).unwrap_or_default();
        for (at, _) in code.windows(4).enumerate().filter(|(_, bytes)| *bytes == EPILOGUE) {
            let removed = match *after(at) {
                [0xc3, ..] => 0,
                [0xc2, low, high, ..] => u32::from(u16::from_le_bytes([low, high])),
                // A tail call.
                _ => continue,
            };
            if removed != expected {
                let what = format!("{removed} bytes of arguments removed, {expected} expected");
                return Err(CompileError::bug(what));
            }
        }
        Ok(())
    }

    fn check_argument_area_aarch64(&self, expected: u32) -> Result<(), CompileError> {
        // ldp x29, x30, [sp], #16
        const EPILOGUE: u32 = 0xa8c1_7bfd;
        const RET: u32 = 0xd65f_03c0;
        // add sp, sp, #imm12
        const ADD: u32 = 0x9100_03ff;
        let (words, _) = self.code.buffer.data().as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        for at in
            words.iter().enumerate().filter_map(|(at, word)| (*word == EPILOGUE).then_some(at))
        {
            let removed = match words.get(at + 1..).unwrap_or_default() {
                [RET, ..] => 0,
                [add, RET, ..] if add & !0x003f_fc00 == ADD => add >> 10 & 0xfff,
                // A tail call, or more than one instruction can add.
                _ => continue,
            };
            if removed != expected {
                let what = format!("{removed} bytes of arguments removed, {expected} expected");
                return Err(CompileError::bug(what));
            }
        }
        Ok(())
    }

    /// Where an explicit stack slot lies, from the canonical frame address.
    pub fn slot_offset(&self, slot: StackSlot) -> Result<i32, CompileError> {
        let layout = self.code.buffer.frame_layout();
        let layout = layout.ok_or_else(|| CompileError::bug("no frame layout"))?;
        let known = layout.stackslots.get(slot);
        let from_bottom = known.ok_or_else(|| CompileError::bug("a stack slot is gone"))?.offset;
        let offset = i64::from(from_bottom) - i64::from(self.frame_size()?);
        i32::try_from(offset).map_err(CompileError::bug)
    }

    /// Bytes from the stack pointer in the body to the canonical frame
    /// address, which lies above the saved frame pointer and return address, on
    /// s390x above the caller's register save area.
    pub fn frame_size(&self) -> Result<u32, CompileError> {
        let saved = match self.isa {
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => 16,
            Isa::S390x => 160,
        };
        let layout = self.code.buffer.frame_layout();
        let layout = layout.ok_or_else(|| CompileError::bug("no frame layout"))?;
        Ok(layout.frame_to_fp_offset + saved)
    }
}

fn library(call: LibCall) -> Option<Target> {
    crate::libcalls::PROVIDED.iter().position(|&known| known == call).map(Target::Library)
}
