//! From a frame to its caller's, by call frame information.
//!
//! Locations are relative to the canonical frame address, and outer frames are
//! only to be found through it. The rules that give it lie in `.debug_frame`
//! as little programs, one per function. They are run once, when an
//! [`Unwinder`] is made, into one sorted table of rows for the whole image;
//! after that a lookup is a binary search and a step a few additions, so that
//! a stack of 100,000 frames is walked in milliseconds.
//!
//! The information comes from a file and the stack from the subject: neither
//! is trusted. Rules that the table cannot hold (expressions, registers kept
//! in registers) are refused by name when it is made, and a walk cannot go
//! round in circles, because each step must raise the stack pointer.
//!
//! Which registers are the caller's unless the rules say otherwise, and which one
//! a call leaves the return address in, is the instruction set's to say
//! ([`Isa`]).

use crate::{CodeOffset, DwarfReg, Isa, SubjectAddr};
use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, Register, RegisterRule, RunTimeEndian, UnwindContext,
    UnwindSection,
};
use std::ops::Range;

/// Why call frame information cannot be read, or a stack not be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwindError {
    /// The bytes of `.debug_frame` are malformed.
    #[error(".debug_frame: {0}")]
    Malformed(gimli::Error),
    /// A rule of a kind that is not supported.
    #[error("{pc}: call frame information has {what}, which is not supported")]
    Unsupported {
        /// First code that the rule is for.
        pc: CodeOffset,
        /// The rule.
        what: &'static str,
    },
    /// An entry describes code that is not in the text.
    #[error(".debug_frame describes {start}..{end}, which is not in the text")]
    OutsideText {
        /// First address described.
        start: SubjectAddr,
        /// The address after the last.
        end: SubjectAddr,
    },
    /// Two entries describe the same code.
    #[error("{pc}: described twice in .debug_frame")]
    Overlap {
        /// Code described twice.
        pc: CodeOffset,
    },
    /// No entry describes this code.
    #[error("{pc}: no call frame information")]
    NoRule {
        /// The code.
        pc: CodeOffset,
    },
    /// A register that a rule needs has no known value.
    #[error("{pc}: DWARF register {} is needed to find the caller and unknown", register.0)]
    UnknownRegister {
        /// Where.
        pc: CodeOffset,
        /// The register.
        register: DwarfReg,
    },
    /// The stack cannot be read where a rule points.
    #[error("{pc}: no stack at {address}")]
    NoStack {
        /// Where in the code.
        pc: CodeOffset,
        /// Where the rule points.
        address: SubjectAddr,
    },
    /// The caller's stack pointer would not be above this frame's.
    #[error("{pc}: the caller's stack pointer {to:#x} would not be above {from:#x}")]
    NoProgress {
        /// Where.
        pc: CodeOffset,
        /// This frame's stack pointer.
        from: u64,
        /// The caller's.
        to: u64,
    },
}

/// How to find the canonical frame address: a register plus bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CfaRule {
    /// The register.
    pub reg: DwarfReg,
    /// What to add to its value, in bytes.
    pub offset: i64,
}

/// The general registers in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Where the frame executes; in outer frames the return address.
    pub pc: SubjectAddr,
    /// Whether `pc` is a return address: the frame then stands at the call
    /// before it, and rules are looked up one byte lower.
    pub is_return_address: bool,
    /// Registers by DWARF number, `None` where the value is lost.
    pub gpr: [Option<u64>; Isa::MOST_GENERAL],
}

impl Registers {
    /// Those of a stopped process: everything is known and `pc` is where it
    /// will go on.
    pub fn innermost<const N: usize>(pc: SubjectAddr, gpr: [u64; N]) -> Self {
        let mut known = [None; Isa::MOST_GENERAL];
        for (place, value) in known.iter_mut().zip(gpr) {
            *place = Some(value);
        }
        Registers { pc, is_return_address: false, gpr: known }
    }
}

/// What happened to a general register since the function was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// In memory at the frame address plus this.
    At(i64),
    /// Lost.
    Lost,
    /// Untouched.
    Same,
}

/// Where a return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnAddress {
    /// In memory at the frame address plus this.
    At(i64),
    /// In the register that the call left it in.
    InRegister,
    /// Nowhere: there is no caller.
    None,
}

/// Rules for `start..end`, offsets in the text.
#[derive(Clone, Copy, Debug)]
struct Row {
    start: u32,
    end: u32,
    cfa: CfaRule,
    return_address: ReturnAddress,
    /// Rules for registers, in `Unwinder::saved`.
    saved: (usize, usize),
}

/// Call frame information of an image, ready for use.
#[derive(Clone, Debug)]
pub struct Unwinder {
    isa: Isa,
    text: SubjectAddr,
    text_size: u32,
    rows: Vec<Row>,
    saved: Vec<(u16, Saved)>,
}

impl Unwinder {
    /// Reads the content of `.debug_frame` for an x86-64 text of `text_size`
    /// bytes loaded at `text`.
    ///
    /// # Errors
    /// Bytes that are malformed; rules that are not supported.
    pub fn new(
        debug_frame: &[u8],
        text: SubjectAddr,
        text_size: u32,
    ) -> Result<Unwinder, UnwindError> {
        Self::of(Isa::X86_64, debug_frame, text, text_size)
    }

    /// Likewise, for a text of any instruction set.
    ///
    /// # Errors
    /// As [`Unwinder::new`].
    pub fn of(
        isa: Isa,
        debug_frame: &[u8],
        text: SubjectAddr,
        text_size: u32,
    ) -> Result<Unwinder, UnwindError> {
        let mut section = DebugFrame::new(debug_frame, endian(isa));
        section.set_address_size(8);
        let bases = BaseAddresses::default();
        let mut unwinder = Unwinder { isa, text, text_size, rows: Vec::new(), saved: Vec::new() };
        let mut context = UnwindContext::new();
        let mut entries = section.entries(&bases);
        while let Some(entry) = entries.next().map_err(UnwindError::Malformed)? {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            let fde = partial.parse(DebugFrame::cie_from_offset).map_err(UnwindError::Malformed)?;
            unwinder.text_range(fde.initial_address(), fde.end_address())?;
            let mut table =
                fde.rows(&section, &bases, &mut context).map_err(UnwindError::Malformed)?;
            while let Some(row) = table.next_row().map_err(UnwindError::Malformed)? {
                unwinder.add(row)?;
            }
        }
        unwinder.rows.sort_by_key(|row| row.start);
        for pair in unwinder.rows.windows(2) {
            if let [before, after] = pair
                && before.end > after.start
            {
                return Err(UnwindError::Overlap { pc: CodeOffset::new(after.start) });
            }
        }
        Ok(unwinder)
    }

    /// The instruction set that it unwinds.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    fn text_range(&self, start: u64, end: u64) -> Result<Range<u32>, UnwindError> {
        let (start, end) = (SubjectAddr::new(start), SubjectAddr::new(end));
        let offset = |address: SubjectAddr| {
            let bytes = u32::try_from(address.since(self.text)?).ok()?;
            (bytes <= self.text_size).then_some(bytes)
        };
        match (offset(start), offset(end)) {
            (Some(from), Some(to)) if from <= to => Ok(from..to),
            _ => Err(UnwindError::OutsideText { start, end }),
        }
    }

    fn add(&mut self, row: &gimli::UnwindTableRow<usize>) -> Result<(), UnwindError> {
        let range = self.text_range(row.start_address(), row.end_address())?;
        if range.is_empty() {
            return Ok(());
        }
        let pc = CodeOffset::new(range.start);
        let unsupported = |what| UnwindError::Unsupported { pc, what };
        let gimli::CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else {
            return Err(unsupported("a frame address given by an expression"));
        };
        if !self.isa.general_registers().contains(&register.0) {
            return Err(unsupported("a frame address by a register that is not general"));
        }
        let first = self.saved.len();
        // Without a rule the return address would be nowhere.
        let mut return_address = match self.isa {
            Isa::X86_64 => Err(unsupported("no rule for the return address")),
            _ => Ok(ReturnAddress::InRegister),
        };
        let column = self.isa.return_column();
        for &(register, ref rule) in row.registers() {
            let saved = match *rule {
                RegisterRule::Offset(offset) => Saved::At(offset),
                RegisterRule::Undefined => Saved::Lost,
                RegisterRule::SameValue => Saved::Same,
                // What is so by definition of the frame address.
                RegisterRule::ValOffset(offset)
                    if register == Register(self.isa.stack_pointer().0)
                        && offset == -self.isa.cfa_above_stack() =>
                {
                    continue;
                }
                RegisterRule::ValOffset(_) => return Err(unsupported("a register's value offset")),
                RegisterRule::Register(_) => return Err(unsupported("a register in a register")),
                RegisterRule::Expression(_) | RegisterRule::ValExpression(_) => {
                    return Err(unsupported("a register given by an expression"));
                }
                _ => return Err(unsupported("a rule of an unknown kind")),
            };
            match (register.0, saved) {
                (number, Saved::At(offset)) if number == column => {
                    return_address = Ok(ReturnAddress::At(offset));
                }
                (number, Saved::Lost) if number == column => {
                    return_address = Ok(ReturnAddress::None);
                }
                (number, Saved::Same) if number == column => {}
                (number, saved) if self.isa.general_registers().contains(&number) => {
                    self.saved.push((number, saved));
                }
                // Vector registers: nobody keeps values there across a call.
                _ => {}
            }
        }
        self.rows.push(Row {
            start: range.start,
            end: range.end,
            cfa: CfaRule { reg: DwarfReg(register.0), offset },
            return_address: return_address?,
            saved: (first, self.saved.len()),
        });
        Ok(())
    }

    fn row(&self, pc: CodeOffset) -> Result<&Row, UnwindError> {
        let after = self.rows.partition_point(|row| row.start <= pc.get());
        let row = after.checked_sub(1).and_then(|at| self.rows.get(at));
        row.filter(|row| pc.get() < row.end).ok_or(UnwindError::NoRule { pc })
    }

    /// The rule at a PC that is not a return address. The answer can be kept:
    /// it depends on the image alone.
    pub fn cfa_rule(&self, pc: CodeOffset) -> Result<CfaRule, UnwindError> {
        self.row(pc).map(|row| row.cfa)
    }

    /// Where the return address is.
    ///
    /// # Errors
    /// No rule is for this PC.
    pub fn return_address(&self, pc: CodeOffset) -> Result<ReturnAddress, UnwindError> {
        self.row(pc).map(|row| row.return_address)
    }

    /// Where the caller's value of a general register is. Of registers that
    /// functions need not preserve only rules tell.
    ///
    /// # Errors
    /// No rule is for this PC.
    pub fn saved(&self, pc: CodeOffset, register: DwarfReg) -> Result<Saved, UnwindError> {
        let (first, end) = self.row(pc)?.saved;
        let rules = self.saved.get(first..end).unwrap_or_default();
        let rule = rules.iter().rev().find(|(number, _)| *number == register.0);
        Ok(match rule {
            Some((_, saved)) => *saved,
            None if self.isa.is_callee_saved(register) => Saved::Same,
            None => Saved::Lost,
        })
    }

    /// The first byte of `code` that no rule is for.
    pub fn first_gap(&self, code: Range<CodeOffset>) -> Option<CodeOffset> {
        let mut at = code.start;
        while at < code.end {
            match self.row(at) {
                Ok(row) => at = CodeOffset::new(row.end),
                Err(_) => return Some(at),
            }
        }
        None
    }

    /// Where in the code a frame stands, for looking up rules: a byte inside
    /// the call instruction for outer frames. `None` outside the text.
    pub fn code_of(&self, registers: &Registers) -> Option<CodeOffset> {
        let back = u64::from(registers.is_return_address);
        let offset = registers.pc.since(self.text)?.checked_sub(back)?;
        let offset = u32::try_from(offset).ok()?;
        (offset < self.text_size).then_some(CodeOffset::new(offset))
    }

    /// The canonical frame address of a frame in the text.
    pub fn cfa(&self, registers: &Registers) -> Result<SubjectAddr, UnwindError> {
        let pc = self.code_of(registers).unwrap_or(CodeOffset::new(u32::MAX));
        let row = self.row(pc)?;
        frame_address(pc, row, registers)
    }

    /// The registers of a frame's caller: its PC (a return address) and stack
    /// pointer, the registers that functions preserve, and nothing else.
    ///
    /// `None` when the frame is the outermost one in the image's code: it is
    /// not in the text, or its return address is 0 or not in the text.
    pub fn step(
        &self,
        registers: &Registers,
        read_u64: &mut dyn FnMut(SubjectAddr) -> Option<u64>,
    ) -> Result<Option<Registers>, UnwindError> {
        let Some(pc) = self.code_of(registers) else {
            return Ok(None);
        };
        let row = self.row(pc)?;
        let cfa = frame_address(pc, row, registers)?;
        let stack_pointer = self.isa.stack_pointer().0;
        // What a function leaves behind lies above what it has itself.
        let behind = cfa.offset(-self.isa.cfa_above_stack());
        if let Some(from) = register(registers, stack_pointer)
            && behind.get() <= from
        {
            return Err(UnwindError::NoProgress { pc, from, to: behind.get() });
        }
        let mut load = |offset: i64| {
            let address = cfa.offset(offset);
            read_u64(address).ok_or(UnwindError::NoStack { pc, address })
        };
        let return_address = match row.return_address {
            ReturnAddress::None => return Ok(None),
            ReturnAddress::At(offset) => load(offset)?,
            ReturnAddress::InRegister => {
                let column = self.isa.return_column();
                let unknown = UnwindError::UnknownRegister { pc, register: DwarfReg(column) };
                register(registers, column).ok_or(unknown)?
            }
        };
        let mut caller = Registers {
            pc: SubjectAddr::new(return_address),
            is_return_address: true,
            gpr: [None; Isa::MOST_GENERAL],
        };
        if self.code_of(&caller).is_none() {
            return Ok(None);
        }
        for &number in self.isa.callee_saved() {
            set(&mut caller, number, register(registers, number));
        }
        // By definition of the canonical frame address.
        set(&mut caller, stack_pointer, Some(behind.get()));
        let (first, end) = row.saved;
        for &(number, saved) in self.saved.get(first..end).unwrap_or(&[]) {
            let value = match saved {
                Saved::At(offset) => Some(load(offset)?),
                Saved::Lost => None,
                Saved::Same => register(registers, number),
            };
            set(&mut caller, number, value);
        }
        // A rule may say otherwise, but never that the stack shrinks.
        match register(&caller, stack_pointer) {
            Some(to) if to < behind.get() => {
                Err(UnwindError::NoProgress { pc, from: behind.get(), to })
            }
            _ => Ok(Some(caller)),
        }
    }
}

/// The order of bytes in DWARF for an instruction set.
pub const fn endian(isa: Isa) -> RunTimeEndian {
    if isa.is_big_endian() { RunTimeEndian::Big } else { RunTimeEndian::Little }
}

fn register(registers: &Registers, number: u16) -> Option<u64> {
    registers.gpr.get(usize::from(number)).copied().flatten()
}

fn set(registers: &mut Registers, number: u16, value: Option<u64>) {
    if let Some(place) = registers.gpr.get_mut(usize::from(number)) {
        *place = value;
    }
}

fn frame_address(
    pc: CodeOffset,
    row: &Row,
    registers: &Registers,
) -> Result<SubjectAddr, UnwindError> {
    let CfaRule { reg, offset } = row.cfa;
    let base =
        register(registers, reg.0).ok_or(UnwindError::UnknownRegister { pc, register: reg })?;
    Ok(SubjectAddr::new(base).offset(offset))
}
