//! Lane by lane against formulas that are written differently: by shifting the
//! whole vector instead of arrays, in wide integers, bit by bit.

use super::*;

const ROUNDS: usize = 400;

/// Runs a binary instruction on mixed vectors and compares every lane with
/// `expected(a, b, lane)`.
fn check(op: SimdOp, width: u32, expected: impl Fn(u128, u128, u32) -> i64) {
    let mut source = Source(op as u64);
    for _ in 0..ROUNDS {
        let (a, b) = (source.vector(), source.vector());
        let operands = if op.signature().0.len() == 1 { vec![a] } else { vec![a, b] };
        let result = call(op, 0, None, &operands);
        let expected = build(width, |lane| expected(a, b, lane));
        assert_eq!(result, expected, "{op:?} {a:#034x} {b:#034x}: {result:#034x}");
    }
}

/// All pairs of bytes.
fn check_bytes(op: SimdOp, expected: impl Fn(u8, u8) -> i64) {
    for first in 0..=255u8 {
        for start in (0..256).step_by(16) {
            let a = build(8, |_| first.into());
            let b = build(8, |lane| i64::from(start + lane));
            let result = call(op, 0, None, &[a, b]);
            for lane in 0..16 {
                let second = (start + lane) as u8;
                let expected = expected(first, second) as u8;
                assert_eq!(lane_of(result, 8, lane) as u8, expected, "{op:?} {first} {second}");
            }
        }
    }
}

fn saturate(value: i64, low: i64, high: i64) -> i64 {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

#[test]
fn saturating_sums() {
    let signed = |byte: u8| i64::from(byte) - if byte > 127 { 256 } else { 0 };
    let unsigned = |byte: u8| i64::from(byte);
    check_bytes(SimdOp::I8x16AddSatS, |x, y| saturate(signed(x) + signed(y), -128, 127));
    check_bytes(SimdOp::I8x16SubSatS, |x, y| saturate(signed(x) - signed(y), -128, 127));
    check_bytes(SimdOp::I8x16AddSatU, |x, y| saturate(unsigned(x) + unsigned(y), 0, 255));
    check_bytes(SimdOp::I8x16SubSatU, |x, y| saturate(unsigned(x) - unsigned(y), 0, 255));
    let s = |v, lane| signed_lane_of(v, 16, lane);
    let u = |v, lane| lane_of(v, 16, lane) as i64;
    check(SimdOp::I16x8AddSatS, 16, |a, b, i| saturate(s(a, i) + s(b, i), -32768, 32767));
    check(SimdOp::I16x8SubSatS, 16, |a, b, i| saturate(s(a, i) - s(b, i), -32768, 32767));
    check(SimdOp::I16x8AddSatU, 16, |a, b, i| saturate(u(a, i) + u(b, i), 0, 65535));
    check(SimdOp::I16x8SubSatU, 16, |a, b, i| saturate(u(a, i) - u(b, i), 0, 65535));
}

#[test]
fn averages_round_up() {
    check_bytes(SimdOp::I8x16AvgrU, |x, y| i64::from((x | y) - ((x ^ y) >> 1)));
    check(SimdOp::I16x8AvgrU, 16, |a, b, i| {
        let (x, y) = (lane_of(a, 16, i), lane_of(b, 16, i));
        ((x | y) - ((x ^ y) >> 1)) as i64
    });
}

#[test]
fn fixed_point_products() {
    check(SimdOp::I16x8Q15MulrSatS, 16, |a, b, i| {
        let product = 2 * signed_lane_of(a, 16, i) * signed_lane_of(b, 16, i);
        saturate((product + 0x8000).div_euclid(0x1_0000), -32768, 32767)
    });
}

#[test]
fn narrowing_saturates_a_signed_number() {
    for (op, width, low, high) in [
        (SimdOp::I8x16NarrowI16x8S, 8, -128, 127),
        (SimdOp::I8x16NarrowI16x8U, 8, 0, 255),
        (SimdOp::I16x8NarrowI32x4S, 16, -32768, 32767),
        (SimdOp::I16x8NarrowI32x4U, 16, 0, 65535),
    ] {
        let half = 64 / width;
        check(op, width, |a, b, i| {
            let (from, lane) = if i < half { (a, i) } else { (b, i - half) };
            saturate(signed_lane_of(from, 2 * width, lane), low, high)
        });
    }
}

/// The widening instructions: operation, narrow width, whether signed.
#[test]
fn widening() {
    use SimdOp::*;
    let value = |signed: bool, v, width, lane| {
        if signed { signed_lane_of(v, width, lane) } else { lane_of(v, width, lane) as i64 }
    };
    for (low, high, width, signed) in [
        (I16x8ExtendLowI8x16S, I16x8ExtendHighI8x16S, 8, true),
        (I16x8ExtendLowI8x16U, I16x8ExtendHighI8x16U, 8, false),
        (I32x4ExtendLowI16x8S, I32x4ExtendHighI16x8S, 16, true),
        (I32x4ExtendLowI16x8U, I32x4ExtendHighI16x8U, 16, false),
        (I64x2ExtendLowI32x4S, I64x2ExtendHighI32x4S, 32, true),
        (I64x2ExtendLowI32x4U, I64x2ExtendHighI32x4U, 32, false),
    ] {
        check(low, 2 * width, |a, _, i| value(signed, a, width, i));
        check(high, 2 * width, |a, _, i| value(signed, a, width, i + 64 / width));
    }
    for (low, high, width, signed) in [
        (I16x8ExtMulLowI8x16S, I16x8ExtMulHighI8x16S, 8, true),
        (I16x8ExtMulLowI8x16U, I16x8ExtMulHighI8x16U, 8, false),
        (I32x4ExtMulLowI16x8S, I32x4ExtMulHighI16x8S, 16, true),
        (I32x4ExtMulLowI16x8U, I32x4ExtMulHighI16x8U, 16, false),
        (I64x2ExtMulLowI32x4S, I64x2ExtMulHighI32x4S, 32, true),
        (I64x2ExtMulLowI32x4U, I64x2ExtMulHighI32x4U, 32, false),
    ] {
        let product = |a, b, i| {
            (i128::from(value(signed, a, width, i)) * i128::from(value(signed, b, width, i))) as i64
        };
        check(low, 2 * width, product);
        check(high, 2 * width, |a, b, i| product(a, b, i + 64 / width));
    }
    for (op, width, signed) in [
        (I16x8ExtAddPairwiseI8x16S, 8, true),
        (I16x8ExtAddPairwiseI8x16U, 8, false),
        (I32x4ExtAddPairwiseI16x8S, 16, true),
        (I32x4ExtAddPairwiseI16x8U, 16, false),
    ] {
        check(op, 2 * width, |a, _, i| {
            value(signed, a, width, 2 * i) + value(signed, a, width, 2 * i + 1)
        });
    }
    check(I32x4DotI16x8S, 32, |a, b, i| {
        let product = |i| signed_lane_of(a, 16, i) * signed_lane_of(b, 16, i);
        product(2 * i) + product(2 * i + 1)
    });
    // The one sum that wraps.
    let least = build(16, |_| -32768);
    assert_eq!(call(I32x4DotI16x8S, 0, None, &[least, least]), build(32, |_| i32::MIN.into()));
}

#[test]
fn bits_are_counted_and_collected() {
    check(SimdOp::I8x16Popcnt, 8, |a, _, i| {
        (0..8).map(|bit| (a >> (8 * i + bit) & 1) as i64).sum()
    });
    let mut source = Source(1);
    for _ in 0..ROUNDS {
        let a = source.vector();
        for (bitmask, all_true, width) in [
            (SimdOp::I8x16Bitmask, SimdOp::I8x16AllTrue, 8),
            (SimdOp::I16x8Bitmask, SimdOp::I16x8AllTrue, 16),
            (SimdOp::I32x4Bitmask, SimdOp::I32x4AllTrue, 32),
            (SimdOp::I64x2Bitmask, SimdOp::I64x2AllTrue, 64),
        ] {
            let (mut mask, mut all) = (0, 1);
            for lane in (0..128 / width).rev() {
                mask = 2 * mask + (a >> (width * lane + width - 1) & 1);
                all &= u128::from(lane_of(a, width, lane) != 0);
            }
            assert_eq!(call(bitmask, 0, None, &[a]), mask, "{bitmask:?} {a:#034x}");
            assert_eq!(call(all_true, 0, None, &[a]), all, "{all_true:?} {a:#034x}");
        }
        assert_eq!(call(SimdOp::V128AnyTrue, 0, None, &[a]), u128::from(a != 0));
    }
    assert_eq!(call(SimdOp::V128AnyTrue, 0, None, &[0]), 0);
    assert_eq!(call(SimdOp::V128AnyTrue, 0, None, &[1 << 127]), 1);
    assert_eq!(call(SimdOp::I8x16AllTrue, 0, None, &[build(8, |_| 0x80)]), 1);
}

#[test]
fn shift_counts_are_taken_modulo_the_width() {
    use SimdOp::*;
    let mut source = Source(2);
    for (left, right_signed, right, width) in [
        (I8x16Shl, I8x16ShrS, I8x16ShrU, 8),
        (I16x8Shl, I16x8ShrS, I16x8ShrU, 16),
        (I32x4Shl, I32x4ShrS, I32x4ShrU, 32),
        (I64x2Shl, I64x2ShrS, I64x2ShrU, 64),
    ] {
        let counts = (0..=130).chain([255, 256, 0x8000_0000, 0xffff_ffff, 0xffff_fff9]);
        for count in counts {
            let a = source.vector();
            let by = (count % u64::from(width)) as u32;
            let shifted = |op, lane: &dyn Fn(u32) -> i64| {
                let result = call(op, 0, None, &[a, count.into()]);
                assert_eq!(result, build(width, lane), "{op:?} {a:#034x} by {count}");
            };
            shifted(left, &|i| (lane_of(a, width, i) << by) as i64);
            shifted(right, &|i| (lane_of(a, width, i) >> by) as i64);
            shifted(right_signed, &|i| signed_lane_of(a, width, i) >> by);
        }
    }
}

#[test]
fn bytes_by_index() {
    let byte = |v, index: u64| if index < 16 { lane_of(v, 8, index as u32) as i64 } else { 0 };
    check(SimdOp::I8x16Swizzle, 8, |a, s, i| byte(a, lane_of(s, 8, i)));
    // Every index at every position.
    let a = build(8, |lane| i64::from(lane) + 100);
    for index in 0..256 {
        let indices = build(8, |lane| i64::from(index) + i64::from(lane));
        let result = call(SimdOp::I8x16Swizzle, 0, None, &[a, indices]);
        assert_eq!(result, build(8, |lane| byte(a, u64::from((index + lane) % 256))));
    }
    let mut source = Source(3);
    for _ in 0..ROUNDS {
        let (a, b) = (source.vector(), source.vector());
        let indices: [u8; 16] = std::array::from_fn(|_| (source.next() % 32) as u8);
        let result = call(SimdOp::I8x16Shuffle, 0, Some(&indices), &[a, b]);
        let both = |index: u32| {
            if index < 16 { byte(a, index.into()) } else { byte(b, u64::from(index) - 16) }
        };
        assert_eq!(result, build(8, |lane| both(indices[lane as usize].into())));
    }
}

/// Truncation by comparing, without a saturating cast.
fn truncated(value: f64, low: f64, high: f64) -> i64 {
    if value.is_nan() {
        0
    } else if value <= low {
        low as i64
    } else if value >= high {
        high as i64
    } else if value < 0.0 {
        value.ceil() as i64
    } else {
        value.floor() as i64
    }
}

#[test]
fn conversions() {
    use SimdOp::*;
    let (s, u) = ((-2147483648.0, 2147483647.0), (0.0, 4294967295.0));
    let f32_at = |v, i| f64::from(f32::from_bits(lane_of(v, 32, i) as u32));
    let f64_at = |v, i| f64::from_bits(lane_of(v, 64, i));
    for (op, (low, high)) in [(I32x4TruncSatF32x4S, s), (I32x4TruncSatF32x4U, u)] {
        check(op, 32, |a, _, i| truncated(f32_at(a, i), low, high));
    }
    for (op, (low, high)) in [(I32x4TruncSatF64x2SZero, s), (I32x4TruncSatF64x2UZero, u)] {
        check(op, 32, |a, _, i| if i < 2 { truncated(f64_at(a, i), low, high) } else { 0 });
    }
    // By way of f64, which holds every 32-bit integer.
    let single = |value: i64| i64::from((value as f64 as f32).to_bits());
    let double = |value: i64| (value as f64).to_bits() as i64;
    check(F32x4ConvertI32x4S, 32, |a, _, i| single(signed_lane_of(a, 32, i)));
    check(F32x4ConvertI32x4U, 32, |a, _, i| single(lane_of(a, 32, i) as i64));
    check(F64x2ConvertLowI32x4S, 64, |a, _, i| double(signed_lane_of(a, 32, i)));
    check(F64x2ConvertLowI32x4U, 64, |a, _, i| double(lane_of(a, 32, i) as i64));
}

#[test]
fn signs_and_pseudo_minima_work_on_bits() {
    check(SimdOp::F32x4Neg, 32, |a, _, i| (lane_of(a, 32, i) ^ 0x8000_0000) as i64);
    check(SimdOp::F32x4Abs, 32, |a, _, i| (lane_of(a, 32, i) & 0x7fff_ffff) as i64);
    check(SimdOp::F64x2Neg, 64, |a, _, i| lane_of(a, 64, i) as i64 ^ i64::MIN);
    check(SimdOp::F64x2Abs, 64, |a, _, i| lane_of(a, 64, i) as i64 & i64::MAX);
    let f32_at = |v, i| f32::from_bits(lane_of(v, 32, i) as u32);
    let f64_at = |v, i| f64::from_bits(lane_of(v, 64, i));
    let choose = |second, a, b, width, i| lane_of(if second { b } else { a }, width, i) as i64;
    check(SimdOp::F32x4PMin, 32, |a, b, i| choose(f32_at(b, i) < f32_at(a, i), a, b, 32, i));
    check(SimdOp::F32x4PMax, 32, |a, b, i| choose(f32_at(a, i) < f32_at(b, i), a, b, 32, i));
    check(SimdOp::F64x2PMin, 64, |a, b, i| choose(f64_at(b, i) < f64_at(a, i), a, b, 64, i));
    check(SimdOp::F64x2PMax, 64, |a, b, i| choose(f64_at(a, i) < f64_at(b, i), a, b, 64, i));
}

/// Which NaN: the first that is one, made quiet, else the negative canonical.
#[test]
fn nan_results_follow_the_rule_of_scalars() {
    let lanes = |a: [u32; 4]| build(32, |i| a[i as usize].into());
    let inf = 0x7f80_0000;
    let a = lanes([0x7f80_0001, 0x3f80_0000, inf, 0xffc1_2345]);
    let b = lanes([0xffc0_0000, 0xff80_0002, inf, 0x7f80_0003]);
    let expected = lanes([0x7fc0_0001, 0xffc0_0002, 0xffc0_0000, 0xffc1_2345]);
    assert_eq!(call(SimdOp::F32x4Sub, 0, None, &[a, b]), expected);
    for op in [SimdOp::F32x4Min, SimdOp::F32x4Max] {
        let expected = lanes([0x7fc0_0001, 0xffc0_0002, inf, 0xffc1_2345]);
        assert_eq!(call(op, 0, None, &[a, b]), expected);
    }
    for op in [SimdOp::F32x4Ceil, SimdOp::F32x4Nearest, SimdOp::F32x4Sqrt] {
        let expected = lanes([0x7fc0_0001, 0x3f80_0000, inf, 0xffc1_2345]);
        assert_eq!(call(op, 0, None, &[a]), expected);
    }
    let root = call(SimdOp::F64x2Sqrt, 0, None, &[u128::from((-1f64).to_bits())]);
    assert_eq!(root, 0xfff8_0000_0000_0000);
    let zeroes = (u128::from((-0f64).to_bits()), 0);
    assert_eq!(call(SimdOp::F64x2Min, 0, None, &[zeroes.1, zeroes.0]), zeroes.0);
    assert_eq!(call(SimdOp::F64x2Max, 0, None, &[zeroes.0, zeroes.1]), zeroes.1);
}
