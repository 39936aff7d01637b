//! Tests of the map's forms against each other and against gdb.

mod arbitrary;
mod checker;
mod debugger;
mod fixture;
mod instantiation;
mod module;
mod rules;
mod section;
mod unwinding;
