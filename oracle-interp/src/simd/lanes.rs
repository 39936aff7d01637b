//! Vectors as arrays of lanes.
//!
//! A vector is a `u128`; lane 0 is its least significant part (core spec,
//! `lanes_t×N`, little endian). Arrays of lanes are what LLVM vectorises, and
//! both directions of the conversion are plain moves to it.

use wasm_view::Cell;

/// An array of lanes that together are 128 bits.
pub(super) trait Lanes: Sized {
    /// Takes a vector apart.
    fn of(vector: u128) -> Self;
    /// Puts a vector together.
    fn vector(self) -> u128;
}

macro_rules! lanes {
    ($($ty:ty, $bytes:literal, $count:literal;)*) => {$(
        impl Lanes for [$ty; $count] {
            #[inline(always)]
            fn of(vector: u128) -> Self {
                let bytes = vector.to_le_bytes();
                std::array::from_fn(|lane| {
                    <$ty>::from_le_bytes(std::array::from_fn(|byte| bytes[lane * $bytes + byte]))
                })
            }
            #[inline(always)]
            fn vector(self) -> u128 {
                let mut bytes = [0; 16];
                for (to, lane) in bytes.chunks_exact_mut($bytes).zip(self) {
                    to.copy_from_slice(&lane.to_le_bytes());
                }
                u128::from_le_bytes(bytes)
            }
        }
    )*};
}
lanes! {
    u8, 1, 16;
    i8, 1, 16;
    u16, 2, 8;
    i16, 2, 8;
    u32, 4, 4;
    i32, 4, 4;
    u64, 8, 2;
    i64, 8, 2;
    f32, 4, 4;
    f64, 8, 2;
}

/// The v128 whose low half is at `at`.
#[inline(always)]
pub(super) fn read(stack: &[Cell], at: usize) -> u128 {
    let cells = &stack[at..at + 2];
    u128::from(cells[0].0) | u128::from(cells[1].0) << 64
}

/// Puts a v128 at `at` and the cell above.
#[inline(always)]
pub(super) fn write(stack: &mut [Cell], at: usize, vector: u128) {
    let cells = &mut stack[at..at + 2];
    cells[0] = Cell(vector as u64);
    cells[1] = Cell((vector >> 64) as u64);
}

/// Applies a function to every lane.
#[inline(always)]
pub(super) fn map<A: Copy, B, const N: usize>(a: [A; N], f: impl Fn(A) -> B) -> [B; N] {
    std::array::from_fn(|i| f(a[i]))
}

/// Applies a function to every pair of lanes.
#[inline(always)]
pub(super) fn zip<A: Copy, B: Copy, C, const N: usize>(
    a: [A; N],
    b: [B; N],
    f: impl Fn(A, B) -> C,
) -> [C; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}
