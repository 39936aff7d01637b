//! Numeric instructions whose Rust counterpart differs from Wasm's.
//!
//! Rust leaves the bits of a NaN that arithmetic produces unspecified; here
//! every such result is the positive canonical NaN, which the specification
//! always allows (core spec, "NaN Propagation"). What else it allows is the
//! business of [`crate::choice`]. `min` and `max` order -0 below +0 and
//! propagate NaN; truncation to an integer traps where Rust saturates.

use wasm_view::Trap;

/// Positive canonical NaN.
pub(crate) const CANONICAL_F32: u32 = 0x7fc0_0000;
/// Positive canonical NaN.
pub(crate) const CANONICAL_F64: u64 = 0x7ff8_0000_0000_0000;

/// Result bits of an f32 operation.
#[inline(always)]
pub(crate) fn f32_bits(value: f32) -> u32 {
    if value.is_nan() { CANONICAL_F32 } else { value.to_bits() }
}

/// Result bits of an f64 operation.
#[inline(always)]
pub(crate) fn f64_bits(value: f64) -> u64 {
    if value.is_nan() { CANONICAL_F64 } else { value.to_bits() }
}

macro_rules! min_max {
    ($min:ident, $max:ident, $float:ty) => {
        /// `min` of the core specification.
        pub(crate) fn $min(a: $float, b: $float) -> $float {
            if a.is_nan() || b.is_nan() {
                <$float>::NAN
            } else if a == b {
                // Equal, or zeroes of either sign: the negative one wins.
                if a.is_sign_negative() { a } else { b }
            } else if a < b {
                a
            } else {
                b
            }
        }
        /// `max` of the core specification.
        pub(crate) fn $max(a: $float, b: $float) -> $float {
            if a.is_nan() || b.is_nan() {
                <$float>::NAN
            } else if a == b {
                if a.is_sign_negative() { b } else { a }
            } else if a > b {
                a
            } else {
                b
            }
        }
    };
}
min_max!(f32_min, f32_max, f32);
min_max!(f64_min, f64_max, f64);

macro_rules! truncations {
    // The bounds are the nearest floats outside the range, so the test is
    // strict; each is exactly representable.
    ($($name:ident: $float:ty => $int:ty, $low:literal, $high:literal;)*) => {$(
        /// Truncation to an integer, trapping when it does not fit.
        pub(crate) fn $name(value: $float) -> Result<$int, Trap> {
            if value.is_nan() {
                Err(Trap::InvalidConversionToInteger)
            } else if value > $low && value < $high {
                Ok(value as $int)
            } else {
                Err(Trap::IntegerOverflow)
            }
        }
    )*};
}
truncations! {
    i32_trunc_f32: f32 => i32, -2147483904.0, 2147483648.0;
    u32_trunc_f32: f32 => u32, -1.0, 4294967296.0;
    i32_trunc_f64: f64 => i32, -2147483649.0, 2147483648.0;
    u32_trunc_f64: f64 => u32, -1.0, 4294967296.0;
    i64_trunc_f32: f32 => i64, -9223373136366403584.0, 9223372036854775808.0;
    u64_trunc_f32: f32 => u64, -1.0, 18446744073709551616.0;
    i64_trunc_f64: f64 => i64, -9223372036854777856.0, 9223372036854775808.0;
    u64_trunc_f64: f64 => u64, -1.0, 18446744073709551616.0;
}

/// Quotient of signed 32-bit division.
pub(crate) fn i32_div_s(a: i32, b: i32) -> Result<i32, Trap> {
    if b == 0 {
        Err(Trap::IntegerDivideByZero)
    } else {
        a.checked_div(b).ok_or(Trap::IntegerOverflow)
    }
}

/// Quotient of signed 64-bit division.
pub(crate) fn i64_div_s(a: i64, b: i64) -> Result<i64, Trap> {
    if b == 0 {
        Err(Trap::IntegerDivideByZero)
    } else {
        a.checked_div(b).ok_or(Trap::IntegerOverflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_ordered() {
        assert!(f32_min(0.0, -0.0).is_sign_negative());
        assert!(f32_min(-0.0, 0.0).is_sign_negative());
        assert!(f64_max(0.0, -0.0).is_sign_positive());
        assert!(f64_max(-0.0, 0.0).is_sign_positive());
        assert!(f64_max(f64::NAN, 1.0).is_nan());
    }

    #[test]
    fn bounds_of_truncation() {
        assert_eq!(i32_trunc_f32(-2147483648.0), Ok(i32::MIN));
        assert_eq!(i32_trunc_f32(-2147483904.0), Err(Trap::IntegerOverflow));
        assert_eq!(i32_trunc_f64(-2147483648.9), Ok(i32::MIN));
        assert_eq!(u32_trunc_f64(-0.9), Ok(0));
        assert_eq!(u64_trunc_f64(f64::NAN), Err(Trap::InvalidConversionToInteger));
    }
}
