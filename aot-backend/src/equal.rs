//! Which SSA values are equal, so that one's place serves for another.
//!
//! The mid-end replaces values by equal ones; what the translator wrote down
//! may then never be computed, while a twin sits in a register. Two values are
//! equal here if the egraph united them or if they are the same pure operation
//! on equal values. Equal means equal wherever both are defined: in SSA form a
//! value that dominates a point has its latest definition there, and so has
//! every other.
//!
//! Without a mid-end nothing is replaced, and every value stands for itself.

use cranelift_codegen::entity::EntityRef;
use cranelift_codegen::ir::{Function, InstructionData, Type, Value, ValueDef};
use std::collections::HashMap;

/// The classes of equal values of a function.
pub(crate) struct Classes {
    /// Members of each class with more than one, at the class's number.
    members: Vec<Vec<Value>>,
    class: HashMap<Value, usize>,
}

/// Rounds over all values; a union found in one may reveal more in the next.
const MAX_ROUNDS: usize = 4;

impl Classes {
    /// Every value by itself.
    pub fn identity() -> Self {
        Classes { members: Vec::new(), class: HashMap::new() }
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
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            let mut first: HashMap<Key, Value> = HashMap::new();
            for value in function.dfg.values() {
                if let Some(key) = key(function, &mut sets, value) {
                    match first.entry(key) {
                        std::collections::hash_map::Entry::Occupied(twin) => {
                            changed |= sets.unite(value, *twin.get());
                        }
                        std::collections::hash_map::Entry::Vacant(slot) => {
                            slot.insert(value);
                        }
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let mut by_root: HashMap<Value, Vec<Value>> = HashMap::new();
        for value in function.dfg.values() {
            by_root.entry(sets.root(value)).or_default().push(value);
        }
        let mut members: Vec<Vec<Value>> =
            by_root.into_values().filter(|class| class.len() > 1).collect();
        members.sort();
        let class = members
            .iter()
            .enumerate()
            .flat_map(|(number, values)| values.iter().map(move |&value| (value, number)))
            .collect();
        Classes { members, class }
    }

    /// All values equal to one, itself included.
    pub fn members<'a>(&'a self, value: &'a Value) -> &'a [Value] {
        let class = self.class.get(value).and_then(|&number| self.members.get(number));
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

/// A pure operation up to equality of its arguments.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    opcode: cranelift_codegen::ir::Opcode,
    immediate: i64,
    ty: Type,
    /// The roots of the arguments' classes.
    arguments: [Option<Value>; 3],
}

/// The key of a value; `None` if another instruction like it may yield
/// something else.
fn key(function: &Function, sets: &mut Sets, value: Value) -> Option<Key> {
    let ValueDef::Result(inst, 0) = function.dfg.value_def(function.dfg.resolve_aliases(value))
    else {
        return None;
    };
    let data = &function.dfg.insts[inst];
    let opcode = data.opcode();
    if opcode.can_load()
        || opcode.can_store()
        || opcode.can_trap()
        || opcode.is_call()
        || opcode.is_branch()
        || opcode.other_side_effects()
    {
        return None;
    }
    let (immediate, arguments): (i64, &[Value]) = match data {
        InstructionData::Unary { arg, .. } => (0, std::slice::from_ref(arg)),
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
    let mut roots = [None; 3];
    for (root, &argument) in roots.iter_mut().zip(arguments) {
        *root = Some(sets.root(argument));
    }
    let ty = function.dfg.value_type(value);
    Some(Key { opcode, immediate, ty, arguments: roots })
}
