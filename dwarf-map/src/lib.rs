//! The map from Wasm to native code.
#![forbid(unsafe_code)]

pub mod addr;
pub mod dwarf;
pub mod layout;
pub mod model;
pub mod section;

pub use addr::{CodeOffset, SubjectAddr};
pub use layout::{InstanceCounts, InstanceLayout};
pub use model::*;
