//! Which SSA values are equal, so that one's place serves for another.
//!
//! The mid-end replaces values by equal ones; what the translator wrote down
//! may then never be computed, while a twin sits in a register. Two values are
//! equal here if the egraph united them or if they are the same pure operation
//! on equal values, or one that only traps besides. Equal means equal wherever both are defined: in SSA form a
//! value that dominates a point has its latest definition there, and so has
//! every other.
//!
//! A value's low bits may also be those of a wider one, of which it is the
//! reduction or which is its extension. That is as good as equality for a
//! place, of which only so many bits count as the value has.
//!
//! Without a mid-end nothing is replaced, and every value stands for itself.

use cranelift_codegen::entity::EntityRef;
use cranelift_codegen::ir::{Function, InstructionData, Opcode, Type, Value, ValueDef};
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The classes of equal values of a function.
pub(crate) struct Classes {
    /// Members of each class with more than one, at the class's number.
    members: Vec<Vec<Value>>,
    /// By a value's number, one more than that of its class; 0 for none.
    class: Vec<u32>,
    /// By the first of equal values, wider ones with the same low bits.
    wider: HashMap<Value, Vec<Value>, FxBuildHasher>,
}

/// Rounds over all values; a union found in one may reveal more in the next.
const MAX_ROUNDS: usize = 4;

impl Classes {
    /// Every value by itself.
    pub fn identity() -> Self {
        Classes { members: Vec::new(), class: Vec::new(), wider: HashMap::default() }
    }

    /// The classes of a function after the mid-end.
    pub fn of(function: &Function) -> Self {
        let mut sets = Sets::new(function);
        for value in function.dfg.values() {
            let resolved = function.dfg.resolve_aliases(value);
            sets.unite(value, resolved);
            if let ValueDef::Union(x, y) = function.dfg.value_def(resolved) {
                sets.unite(resolved, x);
                sets.unite(resolved, y);
            }
        }
        let operations = function.dfg.values();
        let operations = operations.filter_map(|value| Some((value, operation(function, value)?)));
        let operations: Vec<(Value, Operation)> = operations.collect();
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            let mut first: HashMap<Operation, Value, FxBuildHasher> = HashMap::default();
            first.reserve(operations.len());
            for (value, operation) in &operations {
                match first.entry(operation.on_roots(&mut sets)) {
                    Entry::Occupied(twin) => changed |= sets.unite(*value, *twin.get()),
                    Entry::Vacant(slot) => {
                        slot.insert(*value);
                    }
                }
            }
            if !changed {
                break;
            }
        }
        // A root is the least of its class: all others come after it.
        let mut members: Vec<Vec<Value>> = Vec::new();
        let mut class = vec![0; function.dfg.num_values()];
        for value in function.dfg.values() {
            let root = sets.root(value);
            if root == value {
                continue;
            }
            let known = &mut class[root.as_u32() as usize];
            if *known == 0 {
                members.push(vec![root]);
                *known = members.len() as u32;
            }
            let number = *known;
            members[number as usize - 1].push(value);
            class[value.as_u32() as usize] = number;
        }
        let mut classes = Classes { members, class, wider: HashMap::default() };
        for value in function.dfg.values() {
            let resolved = function.dfg.resolve_aliases(value);
            let ValueDef::Result(inst, 0) = function.dfg.value_def(resolved) else { continue };
            if !function.dfg.value_is_attached(resolved) {
                continue;
            }
            if let InstructionData::Unary { opcode, arg } = function.dfg.insts[inst] {
                let (narrow, wide) = match opcode {
                    Opcode::Uextend | Opcode::Sextend => (arg, resolved),
                    Opcode::Ireduce => (resolved, arg),
                    _ => continue,
                };
                let (narrow, wide) = (classes.first(narrow), classes.first(wide));
                if function.dfg.value_type(wide).bits() <= 64 {
                    classes.wider.entry(narrow).or_default().push(wide);
                }
            }
        }
        for list in classes.wider.values_mut() {
            list.sort();
            list.dedup();
        }
        classes
    }

    /// The first of the values equal to one.
    pub fn first(&self, value: Value) -> Value {
        self.members(&value).first().copied().unwrap_or(value)
    }

    /// One of each class of wider values that have this one in their low bits.
    pub fn wider(&self, value: Value) -> &[Value] {
        self.wider.get(&self.first(value)).map_or(&[], Vec::as_slice)
    }

    /// All values equal to one, itself included.
    pub fn members<'a>(&'a self, value: &'a Value) -> &'a [Value] {
        let class = self.class.get(value.as_u32() as usize).and_then(|number| {
            let position = number.checked_sub(1)?;
            self.members.get(position as usize)
        });
        class.map_or(std::slice::from_ref(value), Vec::as_slice)
    }
}

/// Disjoint sets of values.
struct Sets {
    parent: Vec<Value>,
}

impl Sets {
    fn new(function: &Function) -> Self {
        Sets { parent: (0..function.dfg.num_values()).map(Value::new).collect() }
    }

    fn root(&mut self, mut value: Value) -> Value {
        loop {
            let parent = self.parent[value.as_u32() as usize];
            if parent == value {
                return value;
            }
            // Halve the path on the way.
            let grandparent = self.parent[parent.as_u32() as usize];
            self.parent[value.as_u32() as usize] = grandparent;
            value = grandparent;
        }
    }

    /// Whether that was news.
    fn unite(&mut self, x: Value, y: Value) -> bool {
        let (x, y) = (self.root(x), self.root(y));
        // The smaller number wins, so that the result does not depend on the
        // order of unions.
        let (root, child) = if x < y { (x, y) } else { (y, x) };
        self.parent[child.as_u32() as usize] = root;
        root != child
    }
}

/// An operation whose result its arguments determine, up to their equality. It
/// may trap: where two have a result, neither did.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Operation {
    opcode: Opcode,
    immediate: i64,
    ty: Type,
    arguments: [Option<Value>; 3],
}

impl Operation {
    /// The same on the roots of the arguments' classes: equal to another one if its
    /// result is.
    fn on_roots(mut self, sets: &mut Sets) -> Self {
        for argument in self.arguments.iter_mut().flatten() {
            *argument = sets.root(*argument);
        }
        if matches!(
            self.opcode,
            Opcode::Iadd | Opcode::Imul | Opcode::Band | Opcode::Bor | Opcode::Bxor
        ) {
            self.arguments.sort();
        }
        self
    }
}

/// The operation whose result a value is; `None` if another instruction like it may
/// yield something else.
fn operation(function: &Function, value: Value) -> Option<Operation> {
    let value = function.dfg.resolve_aliases(value);
    let ValueDef::Result(inst, 0) = function.dfg.value_def(value) else {
        return None;
    };
    // Of an instruction that was replaced, what is left may be another.
    if !function.dfg.value_is_attached(value) {
        return None;
    }
    let data = &function.dfg.insts[inst];
    let opcode = data.opcode();
    if opcode.can_load()
        || opcode.can_store()
        || opcode.is_call()
        || opcode.is_branch()
        || opcode.other_side_effects()
    {
        return None;
    }
    let (immediate, arguments): (i64, &[Value]) = match data {
        InstructionData::Unary { arg, .. } => (0, std::slice::from_ref(arg)),
        InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } => {
            (0, std::slice::from_ref(arg))
        }
        InstructionData::Binary { args, .. } => (0, args),
        InstructionData::Ternary { args, .. } => (0, args),
        InstructionData::IntCompare { args, cond, .. } => (*cond as i64, args),
        InstructionData::FloatCompare { args, cond, .. } => (*cond as i64, args),
        InstructionData::UnaryImm { imm, .. } => (imm.bits(), &[]),
        InstructionData::UnaryConst { constant_handle, .. } => {
            (i64::from(constant_handle.as_u32()), &[])
        }
        InstructionData::UnaryIeee32 { imm, .. } => (i64::from(imm.bits()), &[]),
        InstructionData::UnaryIeee64 { imm, .. } => (imm.bits().cast_signed(), &[]),
        _ => return None,
    };
    let mut all = [None; 3];
    for (argument, value) in all.iter_mut().zip(arguments) {
        *argument = Some(*value);
    }
    let ty = function.dfg.value_type(value);
    Some(Operation { opcode, immediate, ty, arguments: all })
}
