//! Numeric instructions whose Rust counterpart differs from Wasm's.
//!
//! Rust leaves the bits of a NaN that arithmetic produces unspecified, and the
//! specification leaves some of them open (core spec, "NaN Propagation"). Here
//! such a result is what the SSE instructions of x86-64 give: the first operand
//! that is a NaN, quieted, else the negative canonical NaN. That is always one
//! of the allowed results, and most often the one that a subject on that
//! instruction set has, also where nobody looks. What else is allowed is the
//! business of [`crate::choice`]. `min` and `max` order -0 below +0 and
//! propagate NaN; truncation to an integer traps where Rust saturates.

use wasm_view::Trap;

macro_rules! nan_results {
    ($one:ident, $two:ident, $float:ty, $bits:ty, $quiet:literal, $default:literal) => {
        /// Result bits of an operation on one operand.
        #[inline(always)]
        pub(crate) fn $one(operand: $float, result: $float) -> $bits {
            $two(operand, operand, result)
        }
        /// Result bits of an operation on two operands.
        #[inline(always)]
        pub(crate) fn $two(first: $float, second: $float, result: $float) -> $bits {
            if !result.is_nan() {
                result.to_bits()
            } else if first.is_nan() {
                first.to_bits() | $quiet
            } else if second.is_nan() {
                second.to_bits() | $quiet
            } else {
                $default
            }
        }
    };
}
nan_results!(f32_of, f32_of_two, f32, u32, 0x0040_0000, 0xffc0_0000);
nan_results!(f64_of, f64_of_two, f64, u64, 0x0008_0000_0000_0000, 0xfff8_0000_0000_0000);

/// Result bits of demotion: a NaN keeps its sign and the upper payload bits.
pub(crate) fn f32_demote(value: f64) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        (bits >> 32) as u32 & 0x8000_0000 | 0x7fc0_0000 | (bits >> 29) as u32 & 0x003f_ffff
    } else {
        (value as f32).to_bits()
    }
}

/// Result bits of promotion: a NaN keeps its sign and its payload bits.
pub(crate) fn f64_promote(value: f32) -> u64 {
    let bits = u64::from(value.to_bits());
    if value.is_nan() {
        (bits & 0x8000_0000) << 32 | 0x7ff8_0000_0000_0000 | (bits & 0x003f_ffff) << 29
    } else {
        f64::from(value).to_bits()
    }
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
