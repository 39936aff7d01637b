//! The variables that a debugger sees in a function.
//!
//! A local is one variable for the whole function. An operand slot has another
//! type each time something else is pushed, and a DWARF variable has one type,
//! so there is a variable for each pair of depth and type that occurs:
//! `stack0_i32` is the bottom operand where that is an i32.

use super::points::Source;
use crate::{FunctionMap, Location};
use std::collections::{BTreeMap, HashMap, HashSet};
use wasm_view::ValType;

/// Which slot a variable shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A local, by index.
    Local(usize),
    /// An operand, by depth from the bottom, where it has the variable's type.
    Operand(usize),
}

/// A variable of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name, unique in the function.
    pub name: String,
    /// Its type.
    pub ty: ValType,
    /// What it shows.
    pub slot: Slot,
    /// Whether it is a parameter.
    pub parameter: bool,
}

/// The variables of a function: its locals in order, then operands by depth.
pub fn of(function: &FunctionMap) -> Vec<Variable> {
    let names = local_names(function);
    let locals = function.locals.iter().zip(names).enumerate().map(|(index, (&ty, name))| {
        let parameter = index < function.params as usize;
        Variable { name, ty, slot: Slot::Local(index), parameter }
    });
    let mut variables: Vec<Variable> = locals.collect();
    let mut seen: BTreeMap<(usize, String), ValType> = BTreeMap::new();
    let mut last: &[ValType] = &[];
    for boundary in &function.boundaries {
        // Most boundaries share the bottom of their stack with the one before.
        let same = last.iter().zip(&boundary.operands).take_while(|(a, b)| a == b).count();
        for (depth, &ty) in boundary.operands.iter().enumerate().skip(same) {
            seen.entry((depth, ty.to_string())).or_insert(ty);
        }
        last = &boundary.operands;
    }
    variables.extend(seen.into_iter().map(|((depth, text), ty)| Variable {
        name: format!("stack{depth}_{text}"),
        ty,
        slot: Slot::Operand(depth),
        parameter: false,
    }));
    variables
}

/// The name section's name where it names one local only and is not of a form
/// that this module makes up, else `localN`.
fn local_names(function: &FunctionMap) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in function.local_names.iter().take(function.locals.len()).flatten() {
        *uses.entry(name).or_default() += 1;
    }
    let usable = |name: &&str| uses.get(name) == Some(&1) && !is_reserved(name);
    let given = |index: usize| {
        let name = function.local_names.get(index).and_then(|name| name.as_deref());
        name.filter(usable).map(str::to_owned)
    };
    (0..function.locals.len())
        .map(|index| given(index).unwrap_or_else(|| format!("local{index}")))
        .collect()
}

/// Names that would clash with made-up ones, or that DWARF cannot hold.
fn is_reserved(name: &str) -> bool {
    let numbered = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest: &str| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    name.is_empty() || name.contains('\0') || numbered("local") || numbered("stack")
}

/// Types of the operands that each source of a function's locations has, by
/// which an operand variable tells whether it exists there. A call site has
/// the bottom operands of the boundary of its call instruction.
pub struct Stacks<'a> {
    function: &'a FunctionMap,
    by_offset: HashMap<u32, &'a [ValType]>,
}

impl<'a> Stacks<'a> {
    /// Of this function.
    pub fn new(function: &'a FunctionMap) -> Self {
        let calls: HashSet<u32> =
            function.call_sites.iter().map(|site| site.offset.get()).collect();
        let by_offset = function
            .boundaries
            .iter()
            .filter(|boundary| calls.contains(&boundary.offset.get()))
            .map(|boundary| (boundary.offset.get(), boundary.operands.as_slice()))
            .collect();
        Stacks { function, by_offset }
    }

    /// Where a variable is at a source; `None` when it does not exist there.
    pub fn location(&self, variable: &Variable, source: Source) -> Option<Location> {
        let (operands, locations) = match source {
            Source::Boundary(position) => {
                let boundary = self.function.boundaries.get(position)?;
                (boundary.operands.as_slice(), &boundary.locations)
            }
            Source::CallSite(position) => {
                let site = self.function.call_sites.get(position)?;
                let operands = self.by_offset.get(&site.offset.get()).copied().unwrap_or(&[]);
                (operands, &site.locations)
            }
        };
        match variable.slot {
            Slot::Local(index) => locations.get(index).copied(),
            Slot::Operand(depth) => {
                let ty = operands.get(depth)?;
                let location = locations.get(self.function.locals.len().checked_add(depth)?)?;
                (*ty == variable.ty).then_some(*location)
            }
        }
    }
}
