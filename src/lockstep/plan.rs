//! The map, prepared for the inner loop.
//!
//! At a stop two questions are asked hundreds of thousands of times a second:
//! what is at this PC, and where are the slots of this boundary? The first is
//! answered by an array over the code bytes. For the second the map's
//! locations are translated, a function at a time and when it first stops,
//! into 8-byte [`Check`]s that say how to read a slot and nothing else.

use crate::error::CommandError;
use aot_backend::{Image, Part};
use dwarf_map::unwind::{CfaRule, Unwinder};
use dwarf_map::{
    CodeOffset, Expression, FunctionMap, ImageMap, Isa, Location, Reason, SubjectAddr,
};
use std::collections::HashMap;
use std::ops::Range;
use wasm_view::{Boundary, FuncIdx, HeapType, InstanceId, RefType, Trap, ValType, WasmOffset};

/// What the code holds at a trap instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A boundary.
    Boundary(BoundaryId),
    /// The trap instruction of the thunk at this position in the map.
    Thunk(usize),
    /// The end of the entry at this position in the map.
    Finish(usize),
    /// The end of a cold path of the function at this position in the map.
    Cold(u32),
}

/// A boundary among all of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BoundaryId {
    /// Position of the function in the map.
    pub function: u32,
    /// Position of the boundary in its function.
    pub index: u32,
}

/// How many bits of a source count, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    Word,
    /// 64 bits, references to what is not a function included.
    Double,
    /// The address of a function descriptor.
    FuncRef,
    /// 128 bits: a vector.
    Vector,
}

impl Width {
    /// The width of a type.
    pub fn of(ty: ValType) -> Width {
        match ty {
            ValType::I32 | ValType::F32 => Width::Word,
            ValType::Ref(RefType { heap: HeapType::Func | HeapType::NoFunc, .. }) => Width::FuncRef,
            ValType::V128 => Width::Vector,
            // Other references are refused by the backend.
            ValType::I64 | ValType::F64 | ValType::Ref(_) => Width::Double,
        }
    }

    /// Cells of the oracle that hold such a value.
    pub const fn cells(self) -> usize {
        match self {
            Width::Vector => 2,
            _ => 1,
        }
    }
}

/// How to read one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A general register, by DWARF number.
    Gpr(u8, Width),
    /// The low bits of a vector register, or the whole, by its number.
    Xmm(u8, Width),
    /// Memory at an offset from the canonical frame address.
    Cfa(i32, Width),
    /// A constant, by its position in [`FunctionPlan::constants`].
    Constant(u32, Width),
    /// Computed by an expression, by its position in the function's.
    Derived(u32, Width),
    /// Nothing to read.
    None(Reason, Width),
}

impl Check {
    /// The width of the slot.
    #[inline]
    pub const fn width(self) -> Width {
        match self {
            Check::Gpr(_, width)
            | Check::Xmm(_, width)
            | Check::Cfa(_, width)
            | Check::Constant(_, width)
            | Check::Derived(_, width)
            | Check::None(_, width) => width,
        }
    }
}

/// The boundaries of one function, prepared.
#[derive(Debug)]
pub struct FunctionPlan {
    checks: Vec<Check>,
    /// Start in `checks` per boundary, and one past the last.
    starts: Vec<u32>,
    cfa: Vec<CfaRule>,
    vectors: Vec<u64>,
    /// Cells that the oracle has for the slots, per boundary.
    cells: Vec<u32>,
    /// Values of [`Check::Constant`].
    pub constants: Vec<u64>,
    /// What [`Check::Derived`] computes.
    pub expressions: Vec<Expression>,
    /// Whose registers and stack these are.
    pub isa: Isa,
}

impl FunctionPlan {
    /// The checks of a boundary: locals, then operands.
    pub fn checks(&self, index: u32) -> &[Check] {
        let (from, to) = (self.starts[index as usize], self.starts[index as usize + 1]);
        &self.checks[from as usize..to as usize]
    }
    /// How to find the canonical frame address there.
    pub fn cfa(&self, index: u32) -> CfaRule {
        self.cfa[index as usize]
    }
    /// Cells that the oracle has for the slots there: more than slots if there
    /// is a vector among them.
    pub fn cells(&self, index: u32) -> usize {
        self.cells[index as usize] as usize
    }
    /// The vector registers that slots there are in, a bit for each.
    pub fn vectors(&self, index: u32) -> u64 {
        self.vectors[index as usize]
    }
}

/// Everything that is looked up by PC or by boundary.
pub struct Plan {
    /// Per byte of code, 0 or a position in `sites` plus 1.
    at: Vec<u32>,
    sites: Vec<Site>,
    functions: Vec<Option<Box<FunctionPlan>>>,
    by_func: HashMap<(InstanceId, FuncIdx), u32>,
    /// Instances that functions and thunks belong to, by position.
    function_owners: Vec<InstanceId>,
    thunk_owners: Vec<InstanceId>,
    /// By instance, the code that instantiates it.
    instantiations: Vec<Option<Range<CodeOffset>>>,
    traps: HashMap<CodeOffset, (u32, Trap, WasmOffset)>,
    /// Start of the text in the subject.
    text: SubjectAddr,
}

impl Plan {
    /// Indexes the map of an image that is one instance's.
    ///
    /// # Errors
    /// A map that contradicts itself: two things at one PC, a PC outside the
    /// code.
    pub fn new(image: &Image) -> Result<Plan, CommandError> {
        Self::linked(image, &[Part::whole(image)])
    }

    /// Indexes the map of an image with a part for each instance.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn linked(image: &Image, parts: &[Part]) -> Result<Plan, CommandError> {
        let map = &image.map;
        let mut function_owners = vec![InstanceId::new(0); map.functions.len()];
        let mut thunk_owners = vec![InstanceId::new(0); map.thunks.len()];
        for (index, part) in parts.iter().enumerate() {
            let instance = InstanceId::from_index(index);
            function_owners[part.functions.clone()].fill(instance);
            thunk_owners[part.thunks.clone()].fill(instance);
        }
        let mut plan = Plan {
            at: vec![0; image.text.len()],
            sites: Vec::new(),
            functions: map.functions.iter().map(|_| None).collect(),
            by_func: HashMap::new(),
            function_owners,
            thunk_owners,
            instantiations: parts.iter().map(|part| part.instantiate.clone()).collect(),
            traps: HashMap::new(),
            text: image.text_address,
        };
        for (position, function) in map.functions.iter().enumerate() {
            let position = position as u32;
            let owner = plan.function_owners[position as usize];
            plan.by_func.insert((owner, function.func), position);
            for (index, boundary) in function.boundaries.iter().enumerate() {
                if let Some(pc) = boundary.anchor.pc() {
                    let id = BoundaryId { function: position, index: index as u32 };
                    plan.place(pc, Site::Boundary(id))?;
                }
            }
            for point in &function.stable_points {
                plan.place(point.trap, Site::Cold(position))?;
            }
            for site in &function.traps {
                plan.traps.insert(site.pc, (position, site.trap, site.offset));
            }
        }
        for (position, thunk) in map.thunks.iter().enumerate() {
            plan.place(thunk.trap, Site::Thunk(position))?;
        }
        for (position, entry) in map.entries.iter().enumerate() {
            plan.place(entry.finish, Site::Finish(position))?;
        }
        Ok(plan)
    }

    fn place(&mut self, pc: CodeOffset, site: Site) -> Result<(), CommandError> {
        let slot = self.at.get_mut(pc.get() as usize).ok_or_else(|| {
            CommandError::input(format_args!("the image's map names {pc}, outside its code"))
        })?;
        if *slot != 0 {
            return Err(CommandError::input(format_args!(
                "the image's map names {pc} for two different stops"
            )));
        }
        self.sites.push(site);
        *slot = self.sites.len() as u32;
        Ok(())
    }

    /// The offset of a subject address in the code, if it lies there.
    pub fn code_offset(&self, pc: SubjectAddr) -> Option<CodeOffset> {
        let offset = pc.since(self.text)?;
        (offset < self.at.len() as u64).then(|| CodeOffset::new(offset as u32))
    }

    /// What lies at a PC.
    #[inline]
    pub fn site(&self, pc: SubjectAddr) -> Option<Site> {
        let offset = pc.since(self.text)?;
        let index = *self.at.get(usize::try_from(offset).ok()?)?;
        self.sites.get((index as usize).checked_sub(1)?).copied()
    }

    /// The Wasm trap that a fault at a PC may stand for: function position in
    /// the map, trap, instruction.
    pub fn trap(&self, pc: CodeOffset) -> Option<(u32, Trap, WasmOffset)> {
        self.traps.get(&pc).copied()
    }

    /// The boundary at which an instance's function is, in the map.
    #[inline]
    pub fn boundary(&self, at: Boundary, map: &ImageMap) -> Option<BoundaryId> {
        let function = self.position(at.instance, at.func)?;
        let boundaries = &map.functions.get(function as usize)?.boundaries;
        let index = boundaries.binary_search_by_key(&at.offset, |each| each.offset).ok()?;
        Some(BoundaryId { function, index: index as u32 })
    }

    /// The position of an instance's function in the map.
    pub fn position(&self, instance: InstanceId, func: FuncIdx) -> Option<u32> {
        self.by_func.get(&(instance, func)).copied()
    }

    /// The instance that the function at a position in the map belongs to.
    #[inline]
    pub fn owner(&self, position: u32) -> InstanceId {
        self.function_owners[position as usize]
    }

    /// The instance that the thunk at a position in the map belongs to.
    pub fn thunk_owner(&self, position: usize) -> InstanceId {
        self.thunk_owners[position]
    }

    /// The code that instantiates an instance's module.
    pub fn instantiation(&self, instance: InstanceId) -> Option<&Range<CodeOffset>> {
        self.instantiations.get(instance.index())?.as_ref()
    }

    /// Whether code instantiates some module.
    pub fn instantiates(&self, code: CodeOffset) -> bool {
        self.instantiations.iter().flatten().any(|range| range.contains(&code))
    }

    /// The prepared form of a function.
    ///
    /// # Errors
    /// A boundary without CFI.
    #[inline]
    pub fn function(
        &mut self,
        position: u32,
        map: &ImageMap,
        unwinder: &Unwinder,
    ) -> Result<&FunctionPlan, CommandError> {
        let slot = &mut self.functions[position as usize];
        if slot.is_none() {
            *slot = Some(Box::new(prepare(&map.functions[position as usize], unwinder)?));
        }
        match slot {
            Some(plan) => Ok(plan),
            None => Err(CommandError::bug("a function plan vanished")),
        }
    }
}

fn prepare(function: &FunctionMap, unwinder: &Unwinder) -> Result<FunctionPlan, CommandError> {
    let count = function.boundaries.len();
    let mut plan = FunctionPlan {
        checks: Vec::new(),
        starts: Vec::with_capacity(count + 1),
        cfa: Vec::with_capacity(count),
        vectors: Vec::with_capacity(count),
        cells: Vec::with_capacity(count),
        constants: Vec::new(),
        expressions: function.expressions.clone(),
        isa: unwinder.isa(),
    };
    for boundary in &function.boundaries {
        let from = plan.checks.len();
        plan.starts.push(from as u32);
        let rule = match boundary.anchor.pc() {
            Some(pc) => {
                let rule = unwinder.cfa_rule(pc).map_err(|error| {
                    CommandError::input(format_args!(
                        "the image has no frame information for function {} at {pc}: {error}",
                        function.func
                    ))
                })?;
                in_body(plan.isa, rule, function)
            }
            None => CfaRule { reg: plan.isa.stack_pointer(), offset: 0 },
        };
        plan.cfa.push(rule);
        let types = function.locals.iter().chain(&boundary.operands);
        let mut vectors = 0;
        for (location, ty) in boundary.locations.iter().zip(types) {
            let check = check_of(plan.isa, *location, *ty, &mut plan.constants);
            if let Check::Xmm(number, _) = check {
                vectors |= 1 << number;
            }
            plan.checks.push(check);
        }
        plan.vectors.push(vectors);
        let cells: usize = plan.checks[from..].iter().map(|check| check.width().cells()).sum();
        plan.cells.push(cells as u32);
    }
    plan.starts.push(plan.checks.len() as u32);
    Ok(plan)
}

/// The rule for where the frame lies in the function's body, from the one at a
/// PC: a frame that moves down to make room for a tail call's arguments is still
/// where it was entered as long as the frame pointer is not set up.
fn in_body(isa: Isa, rule: CfaRule, function: &FunctionMap) -> CfaRule {
    let moves = i64::from(function.argument_area) - i64::from(function.stack_arguments);
    if rule.reg == isa.stack_pointer() && moves > 0 {
        return CfaRule { offset: rule.offset - moves, ..rule };
    }
    rule
}

/// Translates one location; `constants` collects the constants met.
pub fn check_of(isa: Isa, location: Location, ty: ValType, constants: &mut Vec<u64>) -> Check {
    let width = Width::of(ty);
    match location {
        Location::Register(reg) if isa.general_registers().contains(&reg.0) => {
            Check::Gpr(reg.0 as u8, width)
        }
        Location::Register(reg) => match isa.vector_register(reg) {
            Some(number) => Check::Xmm(number as u8, width),
            None => Check::None(Reason::NotExpressible, width),
        },
        Location::CfaOffset(offset) => Check::Cfa(offset, width),
        Location::Constant(cell) => {
            constants.push(cell.0);
            Check::Constant(constants.len() as u32 - 1, width)
        }
        Location::Derived(index) => Check::Derived(index.get(), width),
        Location::Unavailable(reason) => Check::None(reason, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwarf_map::DwarfReg;

    #[test]
    fn a_check_stays_small() {
        assert_eq!(std::mem::size_of::<Check>(), 8);
    }

    #[test]
    fn registers_become_the_right_bank() {
        let mut constants = Vec::new();
        let mut check = |isa, reg| {
            check_of(isa, Location::Register(DwarfReg(reg)), ValType::F64, &mut constants)
        };
        assert_eq!(check(Isa::X86_64, 3), Check::Gpr(3, Width::Double));
        assert_eq!(check(Isa::X86_64, 17), Check::Xmm(0, Width::Double));
        assert_eq!(check(Isa::X86_64, 32), Check::Xmm(15, Width::Double));
        assert_eq!(check(Isa::X86_64, 16), Check::None(Reason::NotExpressible, Width::Double));
        assert_eq!(check(Isa::Aarch64, 28), Check::Gpr(28, Width::Double));
        assert_eq!(check(Isa::Aarch64, 95), Check::Xmm(31, Width::Double));
    }
}
