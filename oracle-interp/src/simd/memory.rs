//! Vector loads and stores.
//!
//! Bounds, addresses and the memory itself are the caller's. Here: which bytes
//! an instruction accesses and how they and a vector make each other (core spec,
//! "Memory Instructions"). Memory is little endian, as our `u128` is.

use super::lanes::Lanes;
use wasmparser::{MemArg, Operator};

macro_rules! define {
    (
        whole { $($whole:ident: $bytes:literal;)* }
        lane { $($lane_op:ident: $lane_bytes:literal;)* }
    ) => {
        /// A vector instruction that accesses memory, named as in
        /// `wasmparser::Operator`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(crate) enum MemOp {
            $($whole,)*
            $($lane_op,)*
        }

        /// The vector load or store that this operator is, and its lane index or
        /// zero.
        pub(crate) fn simd_mem_op(operator: &Operator<'_>) -> Option<(MemOp, MemArg, u8)> {
            Some(match operator {
                $(Operator::$whole { memarg } => (MemOp::$whole, *memarg, 0),)*
                $(Operator::$lane_op { memarg, lane } => (MemOp::$lane_op, *memarg, *lane),)*
                _ => return None,
            })
        }

        impl MemOp {
            /// How many bytes of memory are accessed.
            pub(crate) const fn bytes(self) -> usize {
                match self {
                    $(MemOp::$whole => $bytes,)*
                    $(MemOp::$lane_op => $lane_bytes,)*
                }
            }

            /// Whether there is a lane index.
            const fn has_lane(self) -> bool {
                matches!(self, $(MemOp::$lane_op)|*)
            }
        }
    };
}
define! {
    whole {
        V128Load: 16;
        V128Load8x8S: 8;
        V128Load8x8U: 8;
        V128Load16x4S: 8;
        V128Load16x4U: 8;
        V128Load32x2S: 8;
        V128Load32x2U: 8;
        V128Load8Splat: 1;
        V128Load16Splat: 2;
        V128Load32Splat: 4;
        V128Load64Splat: 8;
        V128Load32Zero: 4;
        V128Load64Zero: 8;
        V128Store: 16;
    }
    lane {
        V128Load8Lane: 1;
        V128Load16Lane: 2;
        V128Load32Lane: 4;
        V128Load64Lane: 8;
        V128Store8Lane: 1;
        V128Store16Lane: 2;
        V128Store32Lane: 4;
        V128Store64Lane: 8;
    }
}

impl MemOp {
    /// Whether memory is written: address and vector are taken, nothing results.
    pub(crate) const fn is_store(self) -> bool {
        use MemOp::*;
        matches!(
            self,
            V128Store | V128Store8Lane | V128Store16Lane | V128Store32Lane | V128Store64Lane
        )
    }

    /// Whether a vector lies above the address on the stack: stores, and the
    /// loads that replace one lane.
    pub(crate) const fn has_vector_operand(self) -> bool {
        self.has_lane() || self.is_store()
    }
}

/// The result of a load that found `bytes`, of which there are
/// [`MemOp::bytes`]. `vector` is the operand of the lane loads; the others do
/// not look at it.
pub(crate) fn load(op: MemOp, lane: u8, bytes: &[u8], vector: u128) -> u128 {
    let count = op.bytes();
    let mut buffer = [0; 16];
    buffer[..count].copy_from_slice(&bytes[..count]);
    let raw = u128::from_le_bytes(buffer);
    macro_rules! widened {
        ($narrow:ty, $wide:ty) => {{
            let lanes = <[$narrow; 16 / size_of::<$narrow>()]>::of(raw);
            std::array::from_fn::<_, { 16 / size_of::<$wide>() }, _>(|i| <$wide>::from(lanes[i]))
                .vector()
        }};
    }
    match op {
        MemOp::V128Load | MemOp::V128Load32Zero | MemOp::V128Load64Zero => raw,
        MemOp::V128Load8x8S => widened!(i8, i16),
        MemOp::V128Load8x8U => widened!(u8, u16),
        MemOp::V128Load16x4S => widened!(i16, i32),
        MemOp::V128Load16x4U => widened!(u16, u32),
        MemOp::V128Load32x2S => widened!(i32, i64),
        MemOp::V128Load32x2U => widened!(u32, u64),
        MemOp::V128Load8Splat => [raw as u8; 16].vector(),
        MemOp::V128Load16Splat => [raw as u16; 8].vector(),
        MemOp::V128Load32Splat => [raw as u32; 4].vector(),
        MemOp::V128Load64Splat => [raw as u64; 2].vector(),
        MemOp::V128Load8Lane
        | MemOp::V128Load16Lane
        | MemOp::V128Load32Lane
        | MemOp::V128Load64Lane => {
            let shift = 8 * count * usize::from(lane);
            let mask = lane_mask(count) << shift;
            vector & !mask | raw << shift
        }
        // Nothing results of a store.
        MemOp::V128Store
        | MemOp::V128Store8Lane
        | MemOp::V128Store16Lane
        | MemOp::V128Store32Lane
        | MemOp::V128Store64Lane => vector,
    }
}

/// What a store writes: the bytes, and how many of them count. Of a load, which
/// writes nothing, none do.
pub(crate) fn store(op: MemOp, lane: u8, vector: u128) -> ([u8; 16], usize) {
    if !op.is_store() {
        return ([0; 16], 0);
    }
    let count = op.bytes();
    let shift = 8 * count * usize::from(lane);
    ((vector >> shift).to_le_bytes(), count)
}

/// All ones in as many low bytes.
const fn lane_mask(bytes: usize) -> u128 {
    u128::MAX >> (128 - 8 * bytes)
}
