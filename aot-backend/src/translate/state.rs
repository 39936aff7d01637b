//! The abstract frame: which SSA value each local and operand has right now.
//!
//! Locals and operand-stack slots are Cranelift frontend variables, operands
//! keyed by depth and type, so that SSA construction merges them at joins by
//! itself. Looking a variable up costs a walk over predecessors the first time
//! in a block, and every boundary looks at every slot; so the answers are kept
//! until the block changes.

use crate::abi::native_type;
use cranelift_codegen::ir::{Block, Type, Value, types};
use cranelift_codegen::packed_option::PackedOption;
use cranelift_frontend::{FunctionBuilder, Variable};
use wasm_view::ValType;

/// A variable with what it is known to hold in the current block.
#[derive(Clone, Copy)]
struct Slot {
    variable: Variable,
    /// The block in which `value` was looked up or set.
    known: Option<(Block, Value)>,
}

impl Slot {
    fn new(builder: &mut FunctionBuilder<'_>, ty: Type) -> Self {
        Slot { variable: builder.declare_var(ty), known: None }
    }

    fn get(&mut self, builder: &mut FunctionBuilder<'_>) -> Value {
        let block = builder.current_block();
        if let (Some((known_in, value)), Some(block)) = (self.known, block)
            && known_in == block
        {
            return value;
        }
        let value = builder.use_var(self.variable);
        self.known = block.map(|block| (block, value));
        value
    }

    fn set(&mut self, builder: &mut FunctionBuilder<'_>, value: Value) {
        builder.def_var(self.variable, value);
        self.known = builder.current_block().map(|block| (block, value));
    }
}

/// Locals and operand stack of the function being translated.
pub(super) struct State {
    locals: Vec<(ValType, Slot)>,
    /// Types of the operands, bottom first.
    stack: Vec<ValType>,
    /// Per depth, a slot for each native type that was ever there, in the
    /// order of [`class`].
    operands: Vec<[Option<Slot>; CLASSES]>,
}

/// How many native types there are.
const CLASSES: usize = 5;

/// The position of a native type among the slots of one depth.
fn class(ty: ValType) -> (usize, Type) {
    match native_type(ty) {
        types::I32 => (0, types::I32),
        types::F32 => (1, types::F32),
        types::F64 => (2, types::F64),
        types::I8X16 => (4, types::I8X16),
        _ => (3, types::I64),
    }
}

impl State {
    pub fn new() -> Self {
        State { locals: Vec::new(), stack: Vec::new(), operands: Vec::new() }
    }

    /// Adds a local that holds `value`.
    pub fn add_local(&mut self, builder: &mut FunctionBuilder<'_>, ty: ValType, value: Value) {
        let mut slot = Slot::new(builder, native_type(ty));
        slot.set(builder, value);
        self.locals.push((ty, slot));
    }

    /// The value of a local; `None` if there is no such local.
    pub fn local(&mut self, builder: &mut FunctionBuilder<'_>, index: u32) -> Option<Value> {
        Some(self.locals.get_mut(index as usize)?.1.get(builder))
    }

    /// Types of the locals.
    pub fn local_types(&self) -> impl Iterator<Item = ValType> + '_ {
        self.locals.iter().map(|(ty, _)| *ty)
    }

    /// The type of a local; `None` if there is no such local.
    pub fn local_type(&self, index: u32) -> Option<ValType> {
        self.locals.get(index as usize).map(|&(ty, _)| ty)
    }

    /// Sets a local; `None` if there is no such local.
    pub fn set_local(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        index: u32,
        value: Value,
    ) -> Option<()> {
        self.locals.get_mut(index as usize)?.1.set(builder, value);
        Some(())
    }

    fn slot(&mut self, builder: &mut FunctionBuilder<'_>, depth: usize, ty: ValType) -> &mut Slot {
        if self.operands.len() <= depth {
            self.operands.resize(depth + 1, [None; CLASSES]);
        }
        let (class, native) = class(ty);
        self.operands[depth][class].get_or_insert_with(|| Slot::new(builder, native))
    }

    /// Number of operands.
    pub fn height(&self) -> usize {
        self.stack.len()
    }

    /// Types of the operands, bottom first.
    pub fn types(&self) -> &[ValType] {
        &self.stack
    }

    /// Pushes an operand.
    pub fn push(&mut self, builder: &mut FunctionBuilder<'_>, ty: ValType, value: Value) {
        let depth = self.stack.len();
        self.slot(builder, depth, ty).set(builder, value);
        self.stack.push(ty);
    }

    /// Pops an operand; `None` if there is none.
    pub fn pop(&mut self, builder: &mut FunctionBuilder<'_>) -> Option<(ValType, Value)> {
        let ty = self.stack.pop()?;
        let depth = self.stack.len();
        Some((ty, self.slot(builder, depth, ty).get(builder)))
    }

    /// Forgets the operands above `height` and puts operands of these types
    /// there, whose values the current block inherits.
    pub fn reset(&mut self, height: usize, types: &[ValType]) {
        self.stack.truncate(height);
        self.stack.extend_from_slice(types);
    }

    /// Copies the topmost operands, one per type, to where a branch target
    /// expects them. The stack stays as it is: the values are visible to the
    /// successors of the current block, which must end with the branch.
    pub fn move_top(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        height: usize,
        types: &[ValType],
    ) {
        let Some(base) = self.stack.len().checked_sub(types.len()) else {
            return;
        };
        if base == height {
            return;
        }
        // Read all before writing any: the ranges may overlap.
        let values: Vec<Value> = (base..)
            .zip(types)
            .map(|(depth, &ty)| self.slot(builder, depth, ty).get(builder))
            .collect();
        for ((depth, &ty), value) in (height..).zip(types).zip(values) {
            self.slot(builder, depth, ty).set(builder, value);
        }
    }

    /// Makes the current block one in which the operands are of these types and
    /// the locals and operands have these values.
    pub fn assume(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        operands: &[ValType],
        values: &[Value],
    ) {
        self.reset(0, operands);
        for ((_, local), value) in self.locals.iter_mut().zip(values) {
            local.set(builder, *value);
        }
        let rest = values.get(self.locals.len()..).unwrap_or_default();
        for (depth, (&ty, &value)) in operands.iter().zip(rest).enumerate() {
            self.slot(builder, depth, ty).set(builder, value);
        }
    }

    /// How many slots there are: locals and operands.
    pub fn slots(&self) -> usize {
        self.locals.len() + self.stack.len()
    }

    /// The value of a slot, by its number: locals first, then operands. Asking for that
    /// of a local that is dead has it carried here through every loop on the way.
    pub fn value(&mut self, builder: &mut FunctionBuilder<'_>, slot: usize) -> Option<Value> {
        match slot.checked_sub(self.locals.len()) {
            None => Some(self.locals[slot].1.get(builder)),
            Some(depth) => {
                let ty = *self.stack.get(depth)?;
                Some(self.slot(builder, depth, ty).get(builder))
            }
        }
    }

    /// Appends the values of all locals, then of all operands: none for locals
    /// that are not wanted.
    pub fn record(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        wanted: impl Fn(usize) -> bool,
        into: &mut Vec<PackedOption<Value>>,
    ) {
        into.reserve(self.locals.len() + self.stack.len());
        for (index, (_, local)) in self.locals.iter_mut().enumerate() {
            into.push(wanted(index).then(|| local.get(builder)).into());
        }
        for depth in 0..self.stack.len() {
            let ty = self.stack[depth];
            into.push(self.slot(builder, depth, ty).get(builder).into());
        }
    }
}
