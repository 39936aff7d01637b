//! What each relaxed instruction may compute.
//!
//! The specification gives such an instruction a short list of functions and a
//! global parameter that says which of them the implementation has chosen, once
//! and for the whole run (core spec, "Relaxed Operations"). Choice `k` here is
//! index `k` there, so choice 0 is the deterministic profile's. Where the
//! proposal's own test scripts admit more than the core specification's list,
//! the additional functions follow with higher numbers; they are marked "tests".
//!
//! | parameter | instructions | 0 | 1 | more |
//! |---|---|---|---|---|
//! | `R_swizzle` | `relaxed_swizzle` | index 16 to 127 gives 0 | **gives lane mod 16** (`pshufb`) | |
//! | `R_trunc_s` | `relaxed_trunc_*_s*` | saturating, NaN 0 | **-2^31** (`cvttps2dq`, `cvttpd2dq`) | |
//! | `R_trunc_u` | `relaxed_trunc_*_u*` | **saturating, NaN 0** | 2^32-1 | 2: 2^32-2, 3: 2^31 |
//! | `R_fmadd` | `relaxed_madd`, `relaxed_nmadd` | rounds twice | **fused** (`vfmadd`) | |
//! | `R_laneselect` | `i8x16.`, `i32x4.`, `i64x2.relaxed_laneselect` | by bits | **by the top bit** (`pblendvb`, `blendvps`, `blendvpd`) | |
//! | `R_laneselect` | `i16x8.relaxed_laneselect` | **by bits** | by the top bit | 2, tests: by the top bit of each byte (`pblendvb`) |
//! | `R_fmin`, `R_fmax` | `relaxed_min`, `relaxed_max` | as `min` | **NaN or two zeroes: the first** (`minps` with operands swapped) | 2: the second, 3: the number, the ordered zero |
//! | `R_iq15mulr` | `relaxed_q15mulr_s` | overflow saturates | **wraps** (`pmulhrsw`) | |
//! | `R_idot` | `relaxed_dot_*` | second operand signed | **unsigned** (`pmaddubsw`) | 2, 3, 4: see [`dot`] |
//!
//! Ours is the bold one: what Wasmtime compiles the instruction to on x86-64
//! with SSE4.1 and FMA, unless told `-W relaxed-simd-deterministic`
//! (`crates/cranelift/src/translate/code_translator.rs` there). It compiles unsigned
//! truncation as the saturating instruction, and x86-64 has no blend by the top
//! bits of 16-bit lanes. Hence one deviation from the letter: the core
//! specification has a single `R_laneselect`, under which an implementation that
//! selects by the top bit for some widths and by bits for others is not allowed.
//! The proposal's tests do not object to it and it is what engines do, so each
//! width has a parameter of its own here.

use super::choices::Parameter;
use super::execute::{bitselect, q15mulr_sat, swizzle};
use super::lanes::{Lanes, map, zip};
use super::op::SimdOp;
use crate::numeric::*;

/// The result that we have chosen. Operands that the instruction does not have
/// are ignored.
pub(super) fn own(op: SimdOp, operands: [u128; 3]) -> u128 {
    let choice = Parameter::of(op).map_or(0, Parameter::own);
    result(op, choice, operands)
}

/// The result of one of the functions. Where that contains a NaN of free choice
/// it is the one that [`numeric`](crate::numeric) prescribes.
pub(super) fn result(op: SimdOp, choice: u8, [a, b, c]: [u128; 3]) -> u128 {
    macro_rules! lanes3 {
        ($lanes:ty, $function:ident) => {{
            let (a, b, c) = (<$lanes>::of(a), <$lanes>::of(b), <$lanes>::of(c));
            map(zip(zip(a, b, |x, y| (x, y)), c, |(x, y), z| (x, y, z)), |(x, y, z)| {
                $function(choice, x, y, z)
            })
            .vector()
        }};
    }
    macro_rules! lanes2 {
        ($lanes:ty, $function:ident) => {
            zip(<$lanes>::of(a), <$lanes>::of(b), |x, y| $function(choice, x, y)).vector()
        };
    }
    match op {
        SimdOp::I8x16RelaxedSwizzle => relaxed_swizzle(choice, a, b),
        SimdOp::I32x4RelaxedTruncF32x4S => {
            map(<[f32; 4]>::of(a), |x| trunc_s(choice, x.into())).vector()
        }
        SimdOp::I32x4RelaxedTruncF32x4U => {
            map(<[f32; 4]>::of(a), |x| trunc_u(choice, x.into())).vector()
        }
        SimdOp::I32x4RelaxedTruncF64x2SZero => {
            let a = <[f64; 2]>::of(a);
            [trunc_s(choice, a[0]), trunc_s(choice, a[1]), 0, 0].vector()
        }
        SimdOp::I32x4RelaxedTruncF64x2UZero => {
            let a = <[f64; 2]>::of(a);
            [trunc_u(choice, a[0]), trunc_u(choice, a[1]), 0, 0].vector()
        }
        SimdOp::F32x4RelaxedMadd => lanes3!([f32; 4], f32_madd),
        SimdOp::F32x4RelaxedNmadd => lanes3!([f32; 4], f32_nmadd),
        SimdOp::F64x2RelaxedMadd => lanes3!([f64; 2], f64_madd),
        SimdOp::F64x2RelaxedNmadd => lanes3!([f64; 2], f64_nmadd),
        SimdOp::I8x16RelaxedLaneselect => bitselect(a, b, select_mask(choice, 8, c)),
        SimdOp::I16x8RelaxedLaneselect => bitselect(a, b, select_mask(choice, 16, c)),
        SimdOp::I32x4RelaxedLaneselect => bitselect(a, b, select_mask(choice, 32, c)),
        SimdOp::I64x2RelaxedLaneselect => bitselect(a, b, select_mask(choice, 64, c)),
        SimdOp::F32x4RelaxedMin => lanes2!([f32; 4], f32_relaxed_min),
        SimdOp::F32x4RelaxedMax => lanes2!([f32; 4], f32_relaxed_max),
        SimdOp::F64x2RelaxedMin => lanes2!([f64; 2], f64_relaxed_min),
        SimdOp::F64x2RelaxedMax => lanes2!([f64; 2], f64_relaxed_max),
        SimdOp::I16x8RelaxedQ15mulrS => lanes2!([i16; 8], q15mulr),
        SimdOp::I16x8RelaxedDotI8x16I7x16S => dot(choice, a, b).vector(),
        SimdOp::I32x4RelaxedDotI8x16I7x16AddS => {
            zip(dot4(choice, a, b), <[i32; 4]>::of(c), i32::wrapping_add).vector()
        }
        // Not relaxed: nobody asks.
        _ => unreachable!("{op:?} is not a relaxed instruction"),
    }
}

/// Core spec, `irelaxed_swizzle_lane`.
fn relaxed_swizzle(choice: u8, a: u128, indices: u128) -> u128 {
    let indices = map(<[u8; 16]>::of(indices), |index| match choice {
        1 if index < 128 => index % 16,
        _ => index,
    });
    swizzle(<[u8; 16]>::of(a), indices).vector()
}

/// Core spec, `relaxed_trunc_s`. An f32 is exactly representable as f64.
fn trunc_s(choice: u8, value: f64) -> i32 {
    let in_range = (-2147483648.0..2147483648.0).contains(&value.trunc());
    if in_range || choice == 0 { value as i32 } else { i32::MIN }
}

/// Core spec, `relaxed_trunc_u`.
fn trunc_u(choice: u8, value: f64) -> u32 {
    let in_range = (0.0..4294967296.0).contains(&value.trunc());
    match choice {
        _ if in_range => value as u32,
        0 => value as u32,
        1 => u32::MAX,
        2 => u32::MAX - 1,
        _ => 1 << 31,
    }
}

/// The mask of core spec, `irelaxed_laneselect`: as it is, or the top bit of
/// each lane, or (i16x8, tests) of each byte in all its bits.
fn select_mask(choice: u8, width: u32, mask: u128) -> u128 {
    match (choice, width) {
        (0, _) => mask,
        (1, 16) => map(<[i16; 8]>::of(mask), |lane| lane >> 15).vector(),
        (1, 32) => map(<[i32; 4]>::of(mask), |lane| lane >> 31).vector(),
        (1, 64) => map(<[i64; 2]>::of(mask), |lane| lane >> 63).vector(),
        _ => map(<[i8; 16]>::of(mask), |lane| lane >> 7).vector(),
    }
}

/// Core spec, `irelaxed_q15mulr_s`.
fn q15mulr(choice: u8, x: i16, y: i16) -> i16 {
    if choice == 1 && x == i16::MIN && y == i16::MIN { i16::MIN } else { q15mulr_sat(x, y) }
}

/// `i16x8.relaxed_dot_i8x16_i7x16_s`: sums of two products.
///
/// Core spec, `irelaxed_dot_mul` and `ivdotsat`: the first operand is signed, the
/// second signed (0) or unsigned (1), the sum saturates. The two readings differ
/// where the second operand has its top bit set. Beyond the letter of the core
/// specification are, all of them with that bit set:
///
/// * 2: signed, and the sum wraps. It leaves the range only when all four are
///   -128. The lowering of engines without `pmaddubsw`, also Wasmtime's
///   deterministic one.
/// * 3 (tests): as 1, but the sum of four is not cut to 16 bits half way:
///   `vpdpbusd`.
/// * 4 (tests, with signed operands): as 2, but likewise: `sdot` of AArch64.
///
/// A product of two unsigned numbers, which a comment of the tests also lists,
/// contradicts their demand that -128 times 127 be negative and is not admitted.
fn dot(choice: u8, a: u128, b: u128) -> [i16; 8] {
    let products = products(choice, a, b);
    std::array::from_fn(|i| {
        let sum = products[2 * i] + products[2 * i + 1];
        match choice {
            0 | 1 | 3 => sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16,
            _ => sum as i16,
        }
    })
}

/// The sums of four products that `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds to
/// its third operand.
fn dot4(choice: u8, a: u128, b: u128) -> [i32; 4] {
    if choice >= 3 {
        let products = products(choice, a, b);
        return std::array::from_fn(|i| products[4 * i..4 * i + 4].iter().sum());
    }
    let pairs = dot(choice, a, b);
    std::array::from_fn(|i| i32::from(pairs[2 * i]) + i32::from(pairs[2 * i + 1]))
}

fn products(choice: u8, a: u128, b: u128) -> [i32; 16] {
    let unsigned = matches!(choice, 1 | 3);
    zip(<[i8; 16]>::of(a), <[u8; 16]>::of(b), |x, y| {
        i32::from(x) * if unsigned { i32::from(y) } else { i32::from(y as i8) }
    })
}

macro_rules! floats {
    (
        $float:ty, $bits:ty, $of_two:ident, $min:ident, $max:ident,
        $madd:ident, $nmadd:ident, $relaxed_min:ident, $relaxed_max:ident
    ) => {
        /// Core spec, `frelaxed_madd`. Of several NaNs the first in the order of
        /// the operands.
        fn $madd(choice: u8, a: $float, b: $float, c: $float) -> $bits {
            if choice == 1 {
                let multiplied = if a.is_nan() { a } else { b };
                return $of_two(multiplied, c, a.mul_add(b, c));
            }
            let product = <$float>::from_bits($of_two(a, b, a * b));
            $of_two(product, c, product + c)
        }
        /// Core spec, `frelaxed_nmadd`. As `vfnmadd` does, a NaN is not negated;
        /// the sign of a NaN result is free.
        fn $nmadd(choice: u8, a: $float, b: $float, c: $float) -> $bits {
            $madd(choice, if a.is_nan() { a } else { -a }, b, c)
        }
        /// Core spec, `frelaxed_min`.
        fn $relaxed_min(choice: u8, a: $float, b: $float) -> $bits {
            match choice {
                0 => $of_two(a, b, $min(a, b)),
                _ if a.is_nan() => if choice == 1 { a } else { b }.to_bits(),
                _ if b.is_nan() => if choice == 2 { b } else { a }.to_bits(),
                // Equal: zeroes, or the same bits.
                1 if a == b => a.to_bits(),
                2 if a == b => b.to_bits(),
                _ => $min(a, b).to_bits(),
            }
        }
        /// Core spec, `frelaxed_max`.
        fn $relaxed_max(choice: u8, a: $float, b: $float) -> $bits {
            match choice {
                0 => $of_two(a, b, $max(a, b)),
                _ if a.is_nan() => if choice == 1 { a } else { b }.to_bits(),
                _ if b.is_nan() => if choice == 2 { b } else { a }.to_bits(),
                1 if a == b => a.to_bits(),
                2 if a == b => b.to_bits(),
                _ => $max(a, b).to_bits(),
            }
        }
    };
}
floats!(
    f32,
    u32,
    f32_of_two,
    f32_min,
    f32_max,
    f32_madd,
    f32_nmadd,
    f32_relaxed_min,
    f32_relaxed_max
);
floats!(
    f64,
    u64,
    f64_of_two,
    f64_min,
    f64_max,
    f64_madd,
    f64_nmadd,
    f64_relaxed_min,
    f64_relaxed_max
);
