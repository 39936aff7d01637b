//! What the code between two points leaves alone.
//!
//! A slot that is in the same place at two boundaries is there in between too,
//! if the code that leads from one to the other writes nothing to the place.
//! That is not guessed but read off the instructions. It keeps location lists
//! short: a local that stays in its register for a hundred boundaries has one
//! entry, not a hundred.
//!
//! A *stretch* is code that is executed from its first instruction to its last,
//! or left by a conditional branch; whoever comes in from elsewhere goes on to
//! its end. Code with an unconditional jump is none, since what lies behind the
//! jump may have nothing to do with either point.
//!
//! The frame is what is written through `rsp` and `rbp`; other addresses are
//! those of the program's memory and data.
//!
//! Only the code of x86-64 is read; of another instruction set nothing counts as quiet.

use crate::{DwarfReg, Expression, FunctionMap, Input, Isa, Location, Step};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register,
};
use std::ops::Range;

/// Bytes of the widest value that a location may hold.
const WIDEST: i32 = 16;

/// Registers that a callee hands back unchanged, by DWARF number: rbx, rbp and
/// r12 to r15.
const PRESERVED: u64 = 1 << 3 | 1 << 6 | 0xf << 12;

/// DWARF number of rsp.
const RSP: u16 = 7;

/// What a stretch of code may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Registers, a bit each by DWARF number.
    registers: u64,
    /// Bytes of the frame, from the canonical frame address.
    frame: Vec<Range<i32>>,
    /// Any of the frame's bytes.
    whole_frame: bool,
}

impl Changes {
    /// What the instructions at `code`, offsets from the text's start, may change
    /// in a frame of `function`. `None` if they are no stretch, or not read.
    pub fn of(
        isa: Isa,
        text: &[u8],
        code: Range<u32>,
        function: &FunctionMap,
        info: &mut InstructionInfoFactory,
    ) -> Option<Changes> {
        if isa != Isa::X86_64 {
            return None;
        }
        let bytes = text.get(code.start as usize..code.end as usize)?;
        let start = u64::from(code.start);
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut changes = Changes::default();
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                return None;
            }
            changes.add(&instruction, function, info)?;
        }
        Some(changes)
    }

    fn add(
        &mut self,
        instruction: &Instruction,
        function: &FunctionMap,
        info: &mut InstructionInfoFactory,
    ) -> Option<()> {
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => {}
            FlowControl::Call | FlowControl::IndirectCall => {
                self.registers |= !PRESERVED;
                return Some(());
            }
            _ => return None,
        }
        let info = info.info(instruction);
        for used in info.used_registers().iter().filter(|used| writes(used.access())) {
            let Some(DwarfReg(number)) = dwarf_number(used.register()) else { continue };
            // Where the frame is counted from.
            if number == RSP {
                return None;
            }
            self.registers |= 1 << number;
        }
        for used in info.used_memory().iter().filter(|used| writes(used.access())) {
            let base = match used.base() {
                Register::RSP => i64::from(function.frame_size).checked_neg()?,
                Register::RBP => 16,
                _ => continue,
            };
            let from = base.checked_add(used.displacement().cast_signed());
            let from = from.and_then(|from| i32::try_from(from).ok());
            let size = i32::try_from(used.memory_size().size()).ok().filter(|size| *size > 0);
            let is_known = used.index() == Register::None
                && function.argument_area == function.stack_arguments;
            match from.zip(size).and_then(|(from, size)| Some(from..from.checked_add(size)?)) {
                Some(range) if is_known => self.frame.push(range),
                _ => self.whole_frame = true,
            }
        }
        Some(())
    }

    /// Whether a location means the same before and behind, `expressions` being
    /// those of the function.
    pub fn leave(&self, location: Location, expressions: &[Expression]) -> bool {
        match location {
            Location::Register(register) => self.leave_register(register),
            Location::CfaOffset(offset) => self.leave_frame(offset, WIDEST),
            Location::Constant(_) => true,
            Location::Derived(index) => expressions.get(index.index()).is_some_and(|expression| {
                expression.steps().iter().all(|step| match *step {
                    Step::Input(Input::Register(register)) => self.leave_register(register),
                    Step::Input(Input::Frame(offset)) => self.leave_frame(offset, 8),
                    _ => true,
                })
            }),
            Location::Unavailable(_) => false,
        }
    }

    fn leave_register(&self, register: DwarfReg) -> bool {
        register.0 < 64 && self.registers >> register.0 & 1 == 0
    }

    fn leave_frame(&self, offset: i32, bytes: i32) -> bool {
        let end = offset.saturating_add(bytes);
        !self.whole_frame
            && self.frame.iter().all(|range| end <= range.start || range.end <= offset)
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// The number of the register that a part of it belongs to.
fn dwarf_number(register: Register) -> Option<DwarfReg> {
    const GENERAL: [u16; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
    let number = register.number();
    if register.is_gpr() {
        return GENERAL.get(register.full_register().number()).copied().map(DwarfReg);
    }
    if register.is_vector_register() {
        // Beyond the sixteenth no map names one.
        return u16::try_from(number)
            .ok()
            .filter(|number| *number < 16)
            .map(|at| DwarfReg(17 + at));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CodeOffset, ExpressionIdx};
    use wasm_view::{Cell, FuncIdx, TypeIdx, WasmOffset};

    fn function() -> FunctionMap {
        FunctionMap {
            func: FuncIdx::new(0),
            ty: TypeIdx::new(0),
            params: 0,
            name: None,
            code: CodeOffset::new(0)..CodeOffset::new(100),
            body: WasmOffset::new(0)..WasmOffset::new(9),
            locals: vec![],
            local_names: vec![],
            frame_size: 48,
            stack_arguments: 0,
            argument_area: 0,
            expressions: vec![],
            boundaries: vec![],
            call_sites: vec![],
            traps: vec![],
            stable_points: vec![],
        }
    }

    fn changes(code: &[u8]) -> Option<Changes> {
        let all = 0..code.len() as u32;
        Changes::of(Isa::X86_64, code, all, &function(), &mut InstructionInfoFactory::new())
    }

    const RAX: Location = Location::Register(DwarfReg(0));
    const RBX: Location = Location::Register(DwarfReg(3));
    const XMM1: Location = Location::Register(DwarfReg(18));

    #[test]
    fn registers_and_frame() {
        // mov ah, 1; addsd xmm1, xmm0
        let found = changes(&[0xb4, 1, 0xf2, 0x0f, 0x58, 0xc8]).expect("a stretch");
        assert!(!found.leave(RAX, &[]) && !found.leave(XMM1, &[]) && found.leave(RBX, &[]));
        assert!(found.leave(Location::CfaOffset(-48), &[]));
        assert!(found.leave(Location::Constant(Cell(7)), &[]));
        // mov [rsp + 8], ecx: four bytes from CFA - 40
        let found = changes(&[0x89, 0x4c, 0x24, 8]).expect("a stretch");
        for (offset, is_left) in
            [(-56, true), (-55, false), (-40, false), (-37, false), (-36, true)]
        {
            assert_eq!(found.leave(Location::CfaOffset(offset), &[]), is_left, "{offset}");
        }
        // mov [rbp - 24], rcx: eight bytes from CFA - 8
        let found = changes(&[0x48, 0x89, 0x4d, 0xe8]).expect("a stretch");
        assert!(!found.leave(Location::CfaOffset(-8), &[]));
        assert!(found.leave(Location::CfaOffset(-24), &[]));
        // mov [rsp + rax], cl: anywhere; mov [rdi], cl: not in the frame
        let found = changes(&[0x88, 0x0c, 0x04]).expect("a stretch");
        assert!(!found.leave(Location::CfaOffset(-48), &[]));
        let found = changes(&[0x88, 0x0f]).expect("a stretch");
        assert!(found.leave(Location::CfaOffset(-48), &[]));
    }

    #[test]
    fn calls_and_jumps() {
        // call; je
        let found = changes(&[0xe8, 0, 0, 0, 0, 0x74, 0]).expect("a stretch");
        assert!(!found.leave(RAX, &[]) && found.leave(RBX, &[]) && !found.leave(XMM1, &[]));
        // jmp; ret; ud2; push rax; pop rax; half an instruction
        for code in [&[0xeb, 0][..], &[0xc3], &[0x0f, 0x0b], &[0x50], &[0x58], &[0x48]] {
            assert_eq!(changes(code), None, "{code:x?}");
        }
    }

    #[test]
    fn what_is_derived_needs_all_its_inputs() {
        let steps = vec![
            Step::Input(Input::Register(DwarfReg(3))),
            Step::Input(Input::Frame(-40)),
            Step::Binary(crate::expression::BinaryOp::Add),
        ];
        let expressions = [Expression::new(steps).expect("balanced")];
        let sum = Location::Derived(ExpressionIdx::new(0));
        // mov eax, ebx; mov ebx, eax; mov [rsp + 8], ecx
        assert!(changes(&[0x89, 0xd8]).expect("a stretch").leave(sum, &expressions));
        for code in [&[0x89, 0xc3][..], &[0x89, 0x4c, 0x24, 8]] {
            assert!(!changes(code).expect("a stretch").leave(sum, &expressions));
        }
        assert!(!changes(&[0x90]).expect("a stretch").leave(sum, &[]));
    }
}
