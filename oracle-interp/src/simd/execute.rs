//! What each vector instruction computes.
//!
//! One `match`; an arm says how the operands are taken apart into lanes and what
//! happens to them. The macros below do the rest: where the operands lie, where
//! the result goes, how far the stack shrinks or grows. Formulas: core spec,
//! "Vector Instructions" and "Numerics".
//!
//! A NaN that an operation on float lanes produces is chosen lane by lane as
//! [`numeric`](crate::numeric) says; `abs`, `neg`, `pmin` and `pmax` work on
//! bits and leave nothing open.

use super::lanes::{Lanes, map, read, write, zip};
use super::op::SimdOp;
use super::relaxed;
use crate::numeric::*;
use wasm_view::Cell;

/// Replaces the operands at the top of `stack[..sp]` by the result. Returns the
/// new number of used cells. `lane` is the lane immediate, `shuffle` that of
/// `i8x16.shuffle`; the others do not look at them. The stack must have a cell
/// above `sp` for the splats, whose result is larger than their operand.
#[inline(never)]
pub(crate) fn execute(
    op: SimdOp,
    lane: u8,
    shuffle: Option<&[u8; 16]>,
    stack: &mut [Cell],
    sp: usize,
) -> usize {
    let at_lane = usize::from(lane);
    macro_rules! bits {
        (|$a:ident| $result:expr) => {{
            let $a = read(stack, sp - 2);
            write(stack, sp - 2, $result);
            sp
        }};
        (|$a:ident, $b:ident| $result:expr) => {{
            let ($a, $b) = (read(stack, sp - 4), read(stack, sp - 2));
            write(stack, sp - 4, $result);
            sp - 2
        }};
        (|$a:ident, $b:ident, $c:ident| $result:expr) => {{
            let ($a, $b, $c) = (read(stack, sp - 6), read(stack, sp - 4), read(stack, sp - 2));
            write(stack, sp - 6, $result);
            sp - 4
        }};
    }
    macro_rules! unary {
        ($lanes:ty, |$a:ident| $result:expr) => {
            bits!(|a| {
                let $a = <$lanes>::of(a);
                $result.vector()
            })
        };
    }
    macro_rules! binary {
        ($lanes:ty, |$a:ident, $b:ident| $result:expr) => {
            bits!(|a, b| {
                let ($a, $b) = (<$lanes>::of(a), <$lanes>::of(b));
                $result.vector()
            })
        };
    }
    macro_rules! lanewise {
        ($lanes:ty, |$x:ident| $result:expr) => {
            unary!($lanes, |a| map(a, |$x| $result))
        };
        ($lanes:ty, |$x:ident, $y:ident| $result:expr) => {
            binary!($lanes, |a, b| zip(a, b, |$x, $y| $result))
        };
    }
    macro_rules! compare {
        ($mask:ty, $lanes:ty, $operator:tt) => {
            lanewise!($lanes, |x, y| if x $operator y { <$mask>::MAX } else { 0 })
        };
    }
    // The count is taken modulo the lane's width, which `wrapping_` does.
    macro_rules! shift {
        ($lanes:ty, |$x:ident, $by:ident| $result:expr) => {
            with_scalar!($lanes, |a, count| {
                let $by = count as u32;
                map(a, |$x| $result)
            })
        };
    }
    macro_rules! with_scalar {
        ($lanes:ty, |$a:ident, $x:ident| $result:expr) => {{
            let ($a, $x) = (<$lanes>::of(read(stack, sp - 3)), stack[sp - 1].0);
            write(stack, sp - 3, $result.vector());
            sp - 1
        }};
    }
    macro_rules! splat {
        (|$x:ident| $result:expr) => {{
            let $x = stack[sp - 1].0;
            write(stack, sp - 1, $result.vector());
            sp + 1
        }};
    }
    macro_rules! scalar {
        ($lanes:ty, |$a:ident| $result:expr) => {{
            let $a = <$lanes>::of(read(stack, sp - 2));
            stack[sp - 2] = Cell(u64::from($result));
            sp - 1
        }};
    }
    // Half of the lanes from `$from` on, twice as wide.
    macro_rules! widen {
        ($a:ident, $from:literal, $wide:ty) => {
            std::array::from_fn::<_, { 16 / size_of::<$wide>() }, _>(|i| {
                <$wide>::from($a[$from + i])
            })
        };
    }
    macro_rules! extmul {
        ($lanes:ty, $from:literal, $wide:ty) => {
            binary!($lanes, |a, b| zip(widen!(a, $from, $wide), widen!(b, $from, $wide), |x, y| x
                .wrapping_mul(y)))
        };
    }
    macro_rules! pairwise {
        ($a:ident, $wide:ty) => {
            std::array::from_fn::<_, { 16 / size_of::<$wide>() }, _>(|i| {
                <$wide>::from($a[2 * i]) + <$wide>::from($a[2 * i + 1])
            })
        };
    }
    macro_rules! narrow {
        ($lanes:ty, $narrow:ty, $count:literal) => {
            binary!($lanes, |a, b| {
                let mut lanes = [0; $count];
                for i in 0..$count / 2 {
                    let clamped = |x: i32| x.clamp(<$narrow>::MIN.into(), <$narrow>::MAX.into());
                    lanes[i] = clamped(a[i].into()) as $narrow;
                    lanes[$count / 2 + i] = clamped(b[i].into()) as $narrow;
                }
                lanes
            })
        };
    }
    // An operation whose NaN results are chosen. Where there is none, which is the
    // rule, the lanes stay together.
    macro_rules! float {
        ($lanes:ty, $choose:ident, |$x:ident| $result:expr) => {
            bits!(|a| {
                let a = <$lanes>::of(a);
                let results = map(a, |$x| $result);
                if has_nan!(results) { zip(a, results, $choose).vector() } else { results.vector() }
            })
        };
        ($lanes:ty, $choose:ident, |$x:ident, $y:ident| $result:expr) => {
            bits!(|a, b| {
                let (a, b) = (<$lanes>::of(a), <$lanes>::of(b));
                let results = zip(a, b, |$x, $y| $result);
                if has_nan!(results) {
                    zip(zip(a, b, |x, y| (x, y)), results, |(x, y), z| $choose(x, y, z)).vector()
                } else {
                    results.vector()
                }
            })
        };
    }
    macro_rules! has_nan {
        ($lanes:ident) => {
            $lanes.iter().fold(false, |any, lane| any | lane.is_nan())
        };
    }

    match op {
        // Lanes and scalars.
        SimdOp::I8x16Splat => splat!(|x| [x as u8; 16]),
        SimdOp::I16x8Splat => splat!(|x| [x as u16; 8]),
        SimdOp::I32x4Splat => splat!(|x| [x as u32; 4]),
        SimdOp::I64x2Splat => splat!(|x| [x as u64; 2]),
        SimdOp::F32x4Splat => splat!(|x| [x as u32; 4]),
        SimdOp::F64x2Splat => splat!(|x| [x; 2]),
        SimdOp::I8x16ExtractLaneS => scalar!([i8; 16], |a| a[at_lane] as u32),
        SimdOp::I8x16ExtractLaneU => scalar!([u8; 16], |a| a[at_lane]),
        SimdOp::I8x16ReplaceLane => with_scalar!([u8; 16], |a, x| replace(a, at_lane, x as u8)),
        SimdOp::I16x8ExtractLaneS => scalar!([i16; 8], |a| a[at_lane] as u32),
        SimdOp::I16x8ExtractLaneU => scalar!([u16; 8], |a| a[at_lane]),
        SimdOp::I16x8ReplaceLane => with_scalar!([u16; 8], |a, x| replace(a, at_lane, x as u16)),
        SimdOp::I32x4ExtractLane => scalar!([u32; 4], |a| a[at_lane]),
        SimdOp::I32x4ReplaceLane => with_scalar!([u32; 4], |a, x| replace(a, at_lane, x as u32)),
        SimdOp::I64x2ExtractLane => scalar!([u64; 2], |a| a[at_lane]),
        SimdOp::I64x2ReplaceLane => with_scalar!([u64; 2], |a, x| replace(a, at_lane, x as u64)),
        SimdOp::F32x4ExtractLane => scalar!([u32; 4], |a| a[at_lane]),
        SimdOp::F32x4ReplaceLane => with_scalar!([u32; 4], |a, x| replace(a, at_lane, x as u32)),
        SimdOp::F64x2ExtractLane => scalar!([u64; 2], |a| a[at_lane]),
        SimdOp::F64x2ReplaceLane => with_scalar!([u64; 2], |a, x| replace(a, at_lane, x as u64)),

        // Bits.
        SimdOp::V128Not => bits!(|a| !a),
        SimdOp::V128And => bits!(|a, b| a & b),
        SimdOp::V128AndNot => bits!(|a, b| a & !b),
        SimdOp::V128Or => bits!(|a, b| a | b),
        SimdOp::V128Xor => bits!(|a, b| a ^ b),
        SimdOp::V128Bitselect => bits!(|a, b, mask| bitselect(a, b, mask)),
        SimdOp::V128AnyTrue => {
            let any = read(stack, sp - 2) != 0;
            stack[sp - 2] = Cell(u64::from(any));
            sp - 1
        }

        // Bytes by index.
        SimdOp::I8x16Swizzle => binary!([u8; 16], |a, b| swizzle(a, b)),
        SimdOp::I8x16Shuffle => binary!([u8; 16], |a, b| std::array::from_fn(|i| {
            // Validation bounds the indices; a missing immediate is not valid code.
            let index = usize::from(shuffle.map_or(0, |indices| indices[i]));
            if index < 16 { a[index] } else { b[index - 16] }
        })),

        // Comparisons: all ones or all zeroes.
        SimdOp::I8x16Eq => compare!(u8, [u8; 16], ==),
        SimdOp::I8x16Ne => compare!(u8, [u8; 16], !=),
        SimdOp::I8x16LtS => compare!(u8, [i8; 16], <),
        SimdOp::I8x16LtU => compare!(u8, [u8; 16], <),
        SimdOp::I8x16GtS => compare!(u8, [i8; 16], >),
        SimdOp::I8x16GtU => compare!(u8, [u8; 16], >),
        SimdOp::I8x16LeS => compare!(u8, [i8; 16], <=),
        SimdOp::I8x16LeU => compare!(u8, [u8; 16], <=),
        SimdOp::I8x16GeS => compare!(u8, [i8; 16], >=),
        SimdOp::I8x16GeU => compare!(u8, [u8; 16], >=),
        SimdOp::I16x8Eq => compare!(u16, [u16; 8], ==),
        SimdOp::I16x8Ne => compare!(u16, [u16; 8], !=),
        SimdOp::I16x8LtS => compare!(u16, [i16; 8], <),
        SimdOp::I16x8LtU => compare!(u16, [u16; 8], <),
        SimdOp::I16x8GtS => compare!(u16, [i16; 8], >),
        SimdOp::I16x8GtU => compare!(u16, [u16; 8], >),
        SimdOp::I16x8LeS => compare!(u16, [i16; 8], <=),
        SimdOp::I16x8LeU => compare!(u16, [u16; 8], <=),
        SimdOp::I16x8GeS => compare!(u16, [i16; 8], >=),
        SimdOp::I16x8GeU => compare!(u16, [u16; 8], >=),
        SimdOp::I32x4Eq => compare!(u32, [u32; 4], ==),
        SimdOp::I32x4Ne => compare!(u32, [u32; 4], !=),
        SimdOp::I32x4LtS => compare!(u32, [i32; 4], <),
        SimdOp::I32x4LtU => compare!(u32, [u32; 4], <),
        SimdOp::I32x4GtS => compare!(u32, [i32; 4], >),
        SimdOp::I32x4GtU => compare!(u32, [u32; 4], >),
        SimdOp::I32x4LeS => compare!(u32, [i32; 4], <=),
        SimdOp::I32x4LeU => compare!(u32, [u32; 4], <=),
        SimdOp::I32x4GeS => compare!(u32, [i32; 4], >=),
        SimdOp::I32x4GeU => compare!(u32, [u32; 4], >=),
        SimdOp::I64x2Eq => compare!(u64, [u64; 2], ==),
        SimdOp::I64x2Ne => compare!(u64, [u64; 2], !=),
        SimdOp::I64x2LtS => compare!(u64, [i64; 2], <),
        SimdOp::I64x2GtS => compare!(u64, [i64; 2], >),
        SimdOp::I64x2LeS => compare!(u64, [i64; 2], <=),
        SimdOp::I64x2GeS => compare!(u64, [i64; 2], >=),
        SimdOp::F32x4Eq => compare!(u32, [f32; 4], ==),
        SimdOp::F32x4Ne => compare!(u32, [f32; 4], !=),
        SimdOp::F32x4Lt => compare!(u32, [f32; 4], <),
        SimdOp::F32x4Gt => compare!(u32, [f32; 4], >),
        SimdOp::F32x4Le => compare!(u32, [f32; 4], <=),
        SimdOp::F32x4Ge => compare!(u32, [f32; 4], >=),
        SimdOp::F64x2Eq => compare!(u64, [f64; 2], ==),
        SimdOp::F64x2Ne => compare!(u64, [f64; 2], !=),
        SimdOp::F64x2Lt => compare!(u64, [f64; 2], <),
        SimdOp::F64x2Gt => compare!(u64, [f64; 2], >),
        SimdOp::F64x2Le => compare!(u64, [f64; 2], <=),
        SimdOp::F64x2Ge => compare!(u64, [f64; 2], >=),

        // Integer lanes.
        SimdOp::I8x16Abs => lanewise!([i8; 16], |x| x.wrapping_abs()),
        SimdOp::I8x16Neg => lanewise!([i8; 16], |x| x.wrapping_neg()),
        SimdOp::I8x16Popcnt => lanewise!([u8; 16], |x| x.count_ones() as u8),
        SimdOp::I8x16AllTrue => {
            scalar!([u8; 16], |a| a.iter().fold(1, |all, &x| all & u32::from(x != 0)))
        }
        SimdOp::I8x16Bitmask => {
            scalar!([i8; 16], |a| (0..16).fold(0, |mask, i| mask | u32::from(a[i] < 0) << i))
        }
        SimdOp::I8x16Shl => shift!([u8; 16], |x, by| x.wrapping_shl(by)),
        SimdOp::I8x16ShrS => shift!([i8; 16], |x, by| x.wrapping_shr(by)),
        SimdOp::I8x16ShrU => shift!([u8; 16], |x, by| x.wrapping_shr(by)),
        SimdOp::I8x16Add => lanewise!([u8; 16], |x, y| x.wrapping_add(y)),
        SimdOp::I8x16Sub => lanewise!([u8; 16], |x, y| x.wrapping_sub(y)),
        SimdOp::I8x16AddSatS => lanewise!([i8; 16], |x, y| x.saturating_add(y)),
        SimdOp::I8x16AddSatU => lanewise!([u8; 16], |x, y| x.saturating_add(y)),
        SimdOp::I8x16SubSatS => lanewise!([i8; 16], |x, y| x.saturating_sub(y)),
        SimdOp::I8x16SubSatU => lanewise!([u8; 16], |x, y| x.saturating_sub(y)),
        SimdOp::I8x16AvgrU => {
            lanewise!([u8; 16], |x, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8)
        }
        SimdOp::I8x16MinS => lanewise!([i8; 16], |x, y| x.min(y)),
        SimdOp::I8x16MinU => lanewise!([u8; 16], |x, y| x.min(y)),
        SimdOp::I8x16MaxS => lanewise!([i8; 16], |x, y| x.max(y)),
        SimdOp::I8x16MaxU => lanewise!([u8; 16], |x, y| x.max(y)),
        SimdOp::I16x8Abs => lanewise!([i16; 8], |x| x.wrapping_abs()),
        SimdOp::I16x8Neg => lanewise!([i16; 8], |x| x.wrapping_neg()),
        SimdOp::I16x8AllTrue => {
            scalar!([u16; 8], |a| a.iter().fold(1, |all, &x| all & u32::from(x != 0)))
        }
        SimdOp::I16x8Bitmask => {
            scalar!([i16; 8], |a| (0..8).fold(0, |mask, i| mask | u32::from(a[i] < 0) << i))
        }
        SimdOp::I16x8Shl => shift!([u16; 8], |x, by| x.wrapping_shl(by)),
        SimdOp::I16x8ShrS => shift!([i16; 8], |x, by| x.wrapping_shr(by)),
        SimdOp::I16x8ShrU => shift!([u16; 8], |x, by| x.wrapping_shr(by)),
        SimdOp::I16x8Add => lanewise!([u16; 8], |x, y| x.wrapping_add(y)),
        SimdOp::I16x8Sub => lanewise!([u16; 8], |x, y| x.wrapping_sub(y)),
        SimdOp::I16x8Mul => lanewise!([u16; 8], |x, y| x.wrapping_mul(y)),
        SimdOp::I16x8AddSatS => lanewise!([i16; 8], |x, y| x.saturating_add(y)),
        SimdOp::I16x8AddSatU => lanewise!([u16; 8], |x, y| x.saturating_add(y)),
        SimdOp::I16x8SubSatS => lanewise!([i16; 8], |x, y| x.saturating_sub(y)),
        SimdOp::I16x8SubSatU => lanewise!([u16; 8], |x, y| x.saturating_sub(y)),
        SimdOp::I16x8AvgrU => {
            lanewise!([u16; 8], |x, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16)
        }
        SimdOp::I16x8MinS => lanewise!([i16; 8], |x, y| x.min(y)),
        SimdOp::I16x8MinU => lanewise!([u16; 8], |x, y| x.min(y)),
        SimdOp::I16x8MaxS => lanewise!([i16; 8], |x, y| x.max(y)),
        SimdOp::I16x8MaxU => lanewise!([u16; 8], |x, y| x.max(y)),
        SimdOp::I32x4Abs => lanewise!([i32; 4], |x| x.wrapping_abs()),
        SimdOp::I32x4Neg => lanewise!([i32; 4], |x| x.wrapping_neg()),
        SimdOp::I32x4AllTrue => {
            scalar!([u32; 4], |a| a.iter().fold(1, |all, &x| all & u32::from(x != 0)))
        }
        SimdOp::I32x4Bitmask => {
            scalar!([i32; 4], |a| (0..4).fold(0, |mask, i| mask | u32::from(a[i] < 0) << i))
        }
        SimdOp::I32x4Shl => shift!([u32; 4], |x, by| x.wrapping_shl(by)),
        SimdOp::I32x4ShrS => shift!([i32; 4], |x, by| x.wrapping_shr(by)),
        SimdOp::I32x4ShrU => shift!([u32; 4], |x, by| x.wrapping_shr(by)),
        SimdOp::I32x4Add => lanewise!([u32; 4], |x, y| x.wrapping_add(y)),
        SimdOp::I32x4Sub => lanewise!([u32; 4], |x, y| x.wrapping_sub(y)),
        SimdOp::I32x4Mul => lanewise!([u32; 4], |x, y| x.wrapping_mul(y)),
        SimdOp::I32x4MinS => lanewise!([i32; 4], |x, y| x.min(y)),
        SimdOp::I32x4MinU => lanewise!([u32; 4], |x, y| x.min(y)),
        SimdOp::I32x4MaxS => lanewise!([i32; 4], |x, y| x.max(y)),
        SimdOp::I32x4MaxU => lanewise!([u32; 4], |x, y| x.max(y)),
        SimdOp::I64x2Abs => lanewise!([i64; 2], |x| x.wrapping_abs()),
        SimdOp::I64x2Neg => lanewise!([i64; 2], |x| x.wrapping_neg()),
        SimdOp::I64x2AllTrue => {
            scalar!([u64; 2], |a| a.iter().fold(1, |all, &x| all & u32::from(x != 0)))
        }
        SimdOp::I64x2Bitmask => {
            scalar!([i64; 2], |a| (0..2).fold(0, |mask, i| mask | u32::from(a[i] < 0) << i))
        }
        SimdOp::I64x2Shl => shift!([u64; 2], |x, by| x.wrapping_shl(by)),
        SimdOp::I64x2ShrS => shift!([i64; 2], |x, by| x.wrapping_shr(by)),
        SimdOp::I64x2ShrU => shift!([u64; 2], |x, by| x.wrapping_shr(by)),
        SimdOp::I64x2Add => lanewise!([u64; 2], |x, y| x.wrapping_add(y)),
        SimdOp::I64x2Sub => lanewise!([u64; 2], |x, y| x.wrapping_sub(y)),
        SimdOp::I64x2Mul => lanewise!([u64; 2], |x, y| x.wrapping_mul(y)),
        SimdOp::I16x8Q15MulrSatS => lanewise!([i16; 8], |x, y| q15mulr_sat(x, y)),

        // Integer lanes of another width.
        SimdOp::I16x8ExtendLowI8x16S => unary!([i8; 16], |a| widen!(a, 0, i16)),
        SimdOp::I16x8ExtendHighI8x16S => unary!([i8; 16], |a| widen!(a, 8, i16)),
        SimdOp::I16x8ExtendLowI8x16U => unary!([u8; 16], |a| widen!(a, 0, u16)),
        SimdOp::I16x8ExtendHighI8x16U => unary!([u8; 16], |a| widen!(a, 8, u16)),
        SimdOp::I16x8ExtMulLowI8x16S => extmul!([i8; 16], 0, i16),
        SimdOp::I16x8ExtMulHighI8x16S => extmul!([i8; 16], 8, i16),
        SimdOp::I16x8ExtMulLowI8x16U => extmul!([u8; 16], 0, u16),
        SimdOp::I16x8ExtMulHighI8x16U => extmul!([u8; 16], 8, u16),
        SimdOp::I16x8ExtAddPairwiseI8x16S => unary!([i8; 16], |a| pairwise!(a, i16)),
        SimdOp::I16x8ExtAddPairwiseI8x16U => unary!([u8; 16], |a| pairwise!(a, u16)),
        SimdOp::I32x4ExtendLowI16x8S => unary!([i16; 8], |a| widen!(a, 0, i32)),
        SimdOp::I32x4ExtendHighI16x8S => unary!([i16; 8], |a| widen!(a, 4, i32)),
        SimdOp::I32x4ExtendLowI16x8U => unary!([u16; 8], |a| widen!(a, 0, u32)),
        SimdOp::I32x4ExtendHighI16x8U => unary!([u16; 8], |a| widen!(a, 4, u32)),
        SimdOp::I32x4ExtMulLowI16x8S => extmul!([i16; 8], 0, i32),
        SimdOp::I32x4ExtMulHighI16x8S => extmul!([i16; 8], 4, i32),
        SimdOp::I32x4ExtMulLowI16x8U => extmul!([u16; 8], 0, u32),
        SimdOp::I32x4ExtMulHighI16x8U => extmul!([u16; 8], 4, u32),
        SimdOp::I32x4ExtAddPairwiseI16x8S => unary!([i16; 8], |a| pairwise!(a, i32)),
        SimdOp::I32x4ExtAddPairwiseI16x8U => unary!([u16; 8], |a| pairwise!(a, u32)),
        SimdOp::I64x2ExtendLowI32x4S => unary!([i32; 4], |a| widen!(a, 0, i64)),
        SimdOp::I64x2ExtendHighI32x4S => unary!([i32; 4], |a| widen!(a, 2, i64)),
        SimdOp::I64x2ExtendLowI32x4U => unary!([u32; 4], |a| widen!(a, 0, u64)),
        SimdOp::I64x2ExtendHighI32x4U => unary!([u32; 4], |a| widen!(a, 2, u64)),
        SimdOp::I64x2ExtMulLowI32x4S => extmul!([i32; 4], 0, i64),
        SimdOp::I64x2ExtMulHighI32x4S => extmul!([i32; 4], 2, i64),
        SimdOp::I64x2ExtMulLowI32x4U => extmul!([u32; 4], 0, u64),
        SimdOp::I64x2ExtMulHighI32x4U => extmul!([u32; 4], 2, u64),
        SimdOp::I32x4DotI16x8S => binary!([i16; 8], |a, b| dot(a, b)),
        SimdOp::I8x16NarrowI16x8S => narrow!([i16; 8], i8, 16),
        SimdOp::I8x16NarrowI16x8U => narrow!([i16; 8], u8, 16),
        SimdOp::I16x8NarrowI32x4S => narrow!([i32; 4], i16, 8),
        SimdOp::I16x8NarrowI32x4U => narrow!([i32; 4], u16, 8),

        // Float lanes.
        SimdOp::F32x4Abs => lanewise!([u32; 4], |x| x & !(1 << 31)),
        SimdOp::F32x4Neg => lanewise!([u32; 4], |x| x ^ 1 << 31),
        SimdOp::F32x4Ceil => float!([f32; 4], f32_of, |x| x.ceil()),
        SimdOp::F32x4Floor => float!([f32; 4], f32_of, |x| x.floor()),
        SimdOp::F32x4Trunc => float!([f32; 4], f32_of, |x| x.trunc()),
        SimdOp::F32x4Nearest => float!([f32; 4], f32_of, |x| x.round_ties_even()),
        SimdOp::F32x4Sqrt => float!([f32; 4], f32_of, |x| x.sqrt()),
        SimdOp::F32x4Add => float!([f32; 4], f32_of_two, |x, y| x + y),
        SimdOp::F32x4Sub => float!([f32; 4], f32_of_two, |x, y| x - y),
        SimdOp::F32x4Mul => float!([f32; 4], f32_of_two, |x, y| x * y),
        SimdOp::F32x4Div => float!([f32; 4], f32_of_two, |x, y| x / y),
        SimdOp::F32x4Min => float!([f32; 4], f32_of_two, |x, y| f32_min(x, y)),
        SimdOp::F32x4Max => float!([f32; 4], f32_of_two, |x, y| f32_max(x, y)),
        SimdOp::F32x4PMin => {
            lanewise!([f32; 4], |x, y| if y < x { y.to_bits() } else { x.to_bits() })
        }
        SimdOp::F32x4PMax => {
            lanewise!([f32; 4], |x, y| if x < y { y.to_bits() } else { x.to_bits() })
        }
        SimdOp::F64x2Abs => lanewise!([u64; 2], |x| x & !(1 << 63)),
        SimdOp::F64x2Neg => lanewise!([u64; 2], |x| x ^ 1 << 63),
        SimdOp::F64x2Ceil => float!([f64; 2], f64_of, |x| x.ceil()),
        SimdOp::F64x2Floor => float!([f64; 2], f64_of, |x| x.floor()),
        SimdOp::F64x2Trunc => float!([f64; 2], f64_of, |x| x.trunc()),
        SimdOp::F64x2Nearest => float!([f64; 2], f64_of, |x| x.round_ties_even()),
        SimdOp::F64x2Sqrt => float!([f64; 2], f64_of, |x| x.sqrt()),
        SimdOp::F64x2Add => float!([f64; 2], f64_of_two, |x, y| x + y),
        SimdOp::F64x2Sub => float!([f64; 2], f64_of_two, |x, y| x - y),
        SimdOp::F64x2Mul => float!([f64; 2], f64_of_two, |x, y| x * y),
        SimdOp::F64x2Div => float!([f64; 2], f64_of_two, |x, y| x / y),
        SimdOp::F64x2Min => float!([f64; 2], f64_of_two, |x, y| f64_min(x, y)),
        SimdOp::F64x2Max => float!([f64; 2], f64_of_two, |x, y| f64_max(x, y)),
        SimdOp::F64x2PMin => {
            lanewise!([f64; 2], |x, y| if y < x { y.to_bits() } else { x.to_bits() })
        }
        SimdOp::F64x2PMax => {
            lanewise!([f64; 2], |x, y| if x < y { y.to_bits() } else { x.to_bits() })
        }

        // Between integers and floats. `as` saturates and takes NaN to zero.
        SimdOp::I32x4TruncSatF32x4S => lanewise!([f32; 4], |x| x as i32),
        SimdOp::I32x4TruncSatF64x2SZero => unary!([f64; 2], |a| [a[0] as i32, a[1] as i32, 0, 0]),
        SimdOp::F32x4ConvertI32x4S => lanewise!([i32; 4], |x| x as f32),
        SimdOp::F64x2ConvertLowI32x4S => unary!([i32; 4], |a| [f64::from(a[0]), f64::from(a[1])]),
        SimdOp::I32x4TruncSatF32x4U => lanewise!([f32; 4], |x| x as u32),
        SimdOp::I32x4TruncSatF64x2UZero => unary!([f64; 2], |a| [a[0] as u32, a[1] as u32, 0, 0]),
        SimdOp::F32x4ConvertI32x4U => lanewise!([u32; 4], |x| x as f32),
        SimdOp::F64x2ConvertLowI32x4U => unary!([u32; 4], |a| [f64::from(a[0]), f64::from(a[1])]),
        SimdOp::F32x4DemoteF64x2Zero => {
            unary!([f64; 2], |a| [f32_demote(a[0]), f32_demote(a[1]), 0, 0])
        }
        SimdOp::F64x2PromoteLowF32x4 => {
            unary!([f32; 4], |a| [f64_promote(a[0]), f64_promote(a[1])])
        }

        // Relaxed: the function that is ours, see `relaxed`.
        SimdOp::I32x4RelaxedTruncF32x4S
        | SimdOp::I32x4RelaxedTruncF32x4U
        | SimdOp::I32x4RelaxedTruncF64x2SZero
        | SimdOp::I32x4RelaxedTruncF64x2UZero => {
            bits!(|a| relaxed::own(op, [a, 0, 0]))
        }
        SimdOp::I8x16RelaxedSwizzle
        | SimdOp::F32x4RelaxedMin
        | SimdOp::F32x4RelaxedMax
        | SimdOp::F64x2RelaxedMin
        | SimdOp::F64x2RelaxedMax
        | SimdOp::I16x8RelaxedQ15mulrS
        | SimdOp::I16x8RelaxedDotI8x16I7x16S => {
            bits!(|a, b| relaxed::own(op, [a, b, 0]))
        }
        SimdOp::F32x4RelaxedMadd
        | SimdOp::F32x4RelaxedNmadd
        | SimdOp::F64x2RelaxedMadd
        | SimdOp::F64x2RelaxedNmadd
        | SimdOp::I8x16RelaxedLaneselect
        | SimdOp::I16x8RelaxedLaneselect
        | SimdOp::I32x4RelaxedLaneselect
        | SimdOp::I64x2RelaxedLaneselect
        | SimdOp::I32x4RelaxedDotI8x16I7x16AddS => {
            bits!(|a, b, c| relaxed::own(op, [a, b, c]))
        }
    }
}

/// The bits of `a` where the mask is one, else those of `b`.
#[inline(always)]
pub(super) fn bitselect(a: u128, b: u128, mask: u128) -> u128 {
    a & mask | b & !mask
}

#[inline(always)]
fn replace<T, const N: usize>(mut lanes: [T; N], at: usize, lane: T) -> [T; N] {
    lanes[at] = lane;
    lanes
}

#[inline(always)]
pub(super) fn swizzle(a: [u8; 16], indices: [u8; 16]) -> [u8; 16] {
    map(indices, |index| if index < 16 { a[usize::from(index % 16)] } else { 0 })
}

/// The product of two numbers with 15 fractional bits, rounded half up. Only
/// -1 times -1 leaves the range.
#[inline(always)]
pub(super) fn q15mulr_sat(x: i16, y: i16) -> i16 {
    let product = (i32::from(x) * i32::from(y) + 0x4000) >> 15;
    product.min(i16::MAX.into()) as i16
}

/// Sums of pairs of products. Twice -32768² wraps, as `iadd` does.
#[inline(always)]
fn dot(a: [i16; 8], b: [i16; 8]) -> [i32; 4] {
    let products = zip(a, b, |x, y| i32::from(x) * i32::from(y));
    std::array::from_fn(|i| products[2 * i].wrapping_add(products[2 * i + 1]))
}
