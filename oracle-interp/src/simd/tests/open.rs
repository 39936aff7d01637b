//! What is open: NaN lanes and relaxed instructions.
//!
//! The examples of relaxed instructions are those of the proposal's scripts
//! (`test/core/relaxed-simd/*.wast`), each with everything that `either` lists
//! there, and some results that it does not.

use super::*;

fn bytes(lanes: [i16; 16]) -> u128 {
    build(8, |i| lanes[i as usize].into())
}

fn shorts(lanes: [i32; 8]) -> u128 {
    build(16, |i| lanes[i as usize].into())
}

fn words(lanes: [i64; 4]) -> u128 {
    build(32, |i| lanes[i as usize])
}

fn singles(lanes: [f32; 4]) -> u128 {
    build(32, |i| lanes[i as usize].to_bits().into())
}

fn doubles(lanes: [f64; 2]) -> u128 {
    build(64, |i| lanes[i as usize].to_bits() as i64)
}

/// Checks that exactly these functions give this result, by number; none means
/// that the specification does not allow it.
fn expect(op: SimdOp, operands: &[u128], result: u128, choices: &[u8]) {
    let cells = cells(op, operands);
    let found = implementation(op, &cells, result).expect("a relaxed instruction");
    assert_eq!(Some(found.parameter()), Parameter::of(op));
    let numbers: Vec<u8> = (0..8).filter(|&choice| found.contains(choice)).collect();
    assert_eq!(numbers, choices, "{op:?} {operands:#x?} {result:#034x}");
    let freedom = freedom(op, 0, &cells).expect("a relaxed instruction");
    let own = call(op, 0, None, operands);
    assert_eq!(freedom.allows(own, result), !choices.is_empty());
    assert!(freedom.allows(own, own), "{op:?}");
    // One of several functions, or a NaN.
    if !choices.is_empty() && choices.len() < found.parameter().functions().len() {
        assert!(freedom.is_used(result), "{op:?}");
    }
}

#[test]
fn names_and_numbers() {
    for (i, parameter) in Parameter::ALL.into_iter().enumerate() {
        assert_eq!(parameter as usize, i);
        let all = Choices::all(parameter);
        assert_eq!(all.names().count(), parameter.functions().len());
        assert!(all.contains(parameter.own()) && !all.is_empty());
    }
    // Wasmtime's on x86-64: saturating unsigned truncation and bitwise selection
    // of 16-bit lanes, else what the processor's instruction does.
    let own = [1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1];
    assert_eq!(Parameter::ALL.map(Parameter::own), own);
    for &op in super::table::ALL {
        assert_eq!(Parameter::of(op).is_some(), op.nature() == Nature::Relaxed, "{op:?}");
    }
}

#[test]
fn swizzle() {
    let op = SimdOp::I8x16RelaxedSwizzle;
    let counting = |from: i16| bytes(std::array::from_fn(|i| from + i as i16));
    let a = counting(0);
    expect(op, &[a, counting(0)], a, &[0, 1]);
    expect(op, &[a, counting(16)], 0, &[0]);
    expect(op, &[a, counting(16)], a, &[1]);
    expect(op, &[a, counting(112)], a, &[1]);
    expect(op, &[a, counting(128)], 0, &[0, 1]);
    // The scripts list this, the specification does not.
    expect(op, &[a, counting(128)], a, &[]);
    assert_eq!(call(op, 0, None, &[a, counting(16)]), a);
    let free = freedom(op, 0, &cells(op, &[a, counting(0)])).expect("relaxed");
    assert!(!free.is_used(a));
}

#[test]
fn truncation() {
    let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let a = singles([2147483648.0, -2147483904.0, f32::NAN, -2147483648.0]);
    let op = SimdOp::I32x4RelaxedTruncF32x4S;
    expect(op, &[a], words([most, least, 0, least]), &[0]);
    expect(op, &[a], words([least, least, least, least]), &[1]);
    // Lane by lane another function.
    expect(op, &[a], words([least, least, 0, least]), &[]);
    expect(op, &[singles([1.9, -1.9, 0.5, -0.0])], words([1, -1, 0, 0]), &[0, 1]);
    let op = SimdOp::I32x4RelaxedTruncF32x4U;
    let a = singles([4294967296.0, -1.0, f32::NAN, -0.9]);
    expect(op, &[a], words([0xffff_ffff, 0, 0, 0]), &[0]);
    expect(op, &[a], words([0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0]), &[1]);
    expect(op, &[a], words([0xffff_fffe, 0xffff_fffe, 0xffff_fffe, 0]), &[2]);
    expect(op, &[a], words([0x8000_0000, 0x8000_0000, 0x8000_0000, 0]), &[3]);
    expect(op, &[a], words([0, 0, 0, 0]), &[]);
    let op = SimdOp::I32x4RelaxedTruncF64x2SZero;
    let a = doubles([-2147483649.0, 2147483648.0]);
    expect(op, &[a], words([least, most, 0, 0]), &[0]);
    expect(op, &[a], words([least, least, 0, 0]), &[1]);
    expect(op, &[a], words([least, least, least, 0]), &[]);
    expect(op, &[doubles([-2147483648.9, 2147483647.9])], words([least, most, 0, 0]), &[0, 1]);
    let op = SimdOp::I32x4RelaxedTruncF64x2UZero;
    let a = doubles([f64::INFINITY, -1.0]);
    expect(op, &[a], words([0xffff_ffff, 0, 0, 0]), &[0]);
    expect(op, &[a], words([0x8000_0000, 0x8000_0000, 0, 0]), &[3]);
}

#[test]
fn multiplication_and_addition() {
    let huge = singles([f32::MAX; 4]);
    let (two, minus) = (singles([2.0; 4]), singles([-f32::MAX; 4]));
    let op = SimdOp::F32x4RelaxedMadd;
    expect(op, &[huge, two, minus], singles([f32::INFINITY; 4]), &[0]);
    expect(op, &[huge, two, minus], huge, &[1]);
    expect(op, &[huge, two, minus], 0, &[]);
    expect(SimdOp::F32x4RelaxedNmadd, &[minus, two, minus], huge, &[1]);
    // From the scripts: exact, the product needs one bit more than there are.
    let (x, y) = (f64::from_bits(0x3ff0_0000_0040_0000), f64::from_bits(0x3ff0_0000_2000_0000));
    let z = f64::from_bits(0xbff0_0000_2040_0000);
    let operands = [doubles([x; 2]), doubles([y; 2]), doubles([z; 2])];
    expect(SimdOp::F64x2RelaxedMadd, &operands, doubles([x * y + z; 2]), &[0]);
    expect(SimdOp::F64x2RelaxedMadd, &operands, doubles([x.mul_add(y, z); 2]), &[1]);
    let negated = [doubles([-x; 2]), operands[1], operands[2]];
    expect(SimdOp::F64x2RelaxedNmadd, &negated, doubles([x.mul_add(y, z); 2]), &[1]);
    // An infinity of only one of the functions, hence a NaN of only one.
    let operands = [huge, two, singles([f32::NEG_INFINITY; 4])];
    expect(op, &operands, singles([f32::NAN; 4]), &[0]);
    expect(op, &operands, operands[2], &[1]);
    // NaN: canonical of either sign, arithmetic only after such an operand.
    let nan = |bits: i64| words([bits, 0x3f80_0000, 0x3f80_0000, 0x3f80_0000]);
    let result = |bits: i64| words([bits, 0x4000_0000, 0x4000_0000, 0x4000_0000]);
    let one = singles([1.0; 4]);
    expect(op, &[nan(0x7fc0_0000), one, one], result(0xffc0_0000), &[0, 1]);
    expect(op, &[nan(0x7fc0_0000), one, one], result(0xffc0_0001), &[]);
    expect(op, &[one, one, nan(0x7f80_0001)], result(0xffc1_0001), &[0, 1]);
    expect(op, &[one, one, nan(0x7f80_0001)], result(0x7f80_0001), &[]);
    let free = freedom(op, 0, &cells(op, &[one, one, nan(0x7fc0_0000)])).expect("relaxed");
    assert!(free.is_used(result(0x7fc0_0000)));
    let free = freedom(op, 0, &cells(op, &[one, one, one])).expect("relaxed");
    assert!(!free.is_used(two));
}

#[test]
fn selection() {
    let a = bytes([0, 1, 0x12, 0x12, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let b = bytes([16, 17, 0x34, 0x34, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
    let mask = bytes([0xff, 0, 0xf0, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let with = |x, y| bytes([0, 17, x, y, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
    let op = SimdOp::I8x16RelaxedLaneselect;
    expect(op, &[a, b, mask], with(0x14, 0x32), &[0]);
    expect(op, &[a, b, mask], with(0x12, 0x34), &[1]);
    expect(op, &[a, b, mask], with(0x14, 0x34), &[]);
    let a = shorts([0, 1, 0x1234, 0x1234, 4, 5, 6, 7]);
    let b = shorts([8, 9, 0x5678, 0x5678, 12, 13, 14, 15]);
    let mask = shorts([0xffff, 0, 0xff00, 0x0080, 0, 0, 0, 0]);
    let with = |x, y| shorts([0, 9, x, y, 12, 13, 14, 15]);
    let op = SimdOp::I16x8RelaxedLaneselect;
    expect(op, &[a, b, mask], with(0x1278, 0x5678), &[0]);
    expect(op, &[a, b, mask], with(0x1234, 0x5678), &[1]);
    expect(op, &[a, b, mask], with(0x1278, 0x5634), &[2]);
    expect(op, &[a, b, mask], with(0x1234, 0x5634), &[]);
    let (a, b) = (words([0, 1, 0x12341234, 0x12341234]), words([4, 5, 0x56785678, 0x56785678]));
    let mask = words([0xffff_ffff, 0, 0xffff_0000, 0x0000_ffff]);
    let op = SimdOp::I32x4RelaxedLaneselect;
    expect(op, &[a, b, mask], words([0, 5, 0x12345678, 0x56781234]), &[0]);
    expect(op, &[a, b, mask], words([0, 5, 0x12341234, 0x56785678]), &[1]);
    let op = SimdOp::I64x2RelaxedLaneselect;
    let longs = |x: i64, y: i64| build(64, |i| [x, y][i as usize]);
    let (a, b) = (longs(0x1234123412341234, 0x1234123412341234), longs(0x5678567856785678, 5));
    let mask = longs(-0x1_0000_0000, 0xffff_ffff);
    expect(op, &[a, b, mask], longs(0x1234123456785678, 0x12341234), &[0]);
    expect(op, &[a, b, mask], longs(0x1234123412341234, 5), &[1]);
    expect(op, &[a, b, longs(-1, 0)], longs(0x1234123412341234, 5), &[0, 1]);
}

#[test]
fn minima_and_maxima() {
    let (nan, minus_nan) = (f64::from_bits(0x7ff8 << 48), f64::from_bits(0xfff8 << 48));
    let zeroes = [doubles([0.0, -0.0]), doubles([-0.0, 0.0])];
    for (op, strict) in [(SimdOp::F64x2RelaxedMin, -0.0), (SimdOp::F64x2RelaxedMax, 0.0)] {
        expect(op, &zeroes, doubles([strict; 2]), &[0, 3]);
        expect(op, &zeroes, zeroes[0], &[1]);
        expect(op, &zeroes, zeroes[1], &[2]);
        expect(op, &zeroes, doubles([-strict; 2]), &[]);
        let operands = [doubles([minus_nan, 0.0]), doubles([0.0, nan])];
        expect(op, &operands, doubles([nan, nan]), &[0]);
        expect(op, &operands, doubles([minus_nan, 0.0]), &[1]);
        expect(op, &operands, doubles([0.0, minus_nan]), &[2]);
        expect(op, &operands, doubles([0.0, 0.0]), &[3]);
        expect(op, &operands, doubles([1.0, 0.0]), &[]);
        assert_eq!(call(op, 0, None, &operands), operands[0]);
        let both = [doubles([nan; 2]), doubles([nan; 2])];
        expect(op, &both, both[0], &[0, 1, 2, 3]);
        // No choice of the function, but of the sign.
        let free = freedom(op, 0, &cells(op, &both)).expect("relaxed");
        assert!(free.is_used(both[0]));
        let plain = [doubles([1.0, 2.0]), doubles([1.0, 2.0])];
        expect(op, &plain, plain[0], &[0, 1, 2, 3]);
        assert!(!freedom(op, 0, &cells(op, &plain)).expect("relaxed").is_used(plain[0]));
    }
    // A signalling NaN is passed on as it is, or made quiet by the strict one.
    let operands = [words([0x7f80_0001, 0, 0, 0]), words([0, 0, 0, 0x7f80_0002])];
    for op in [SimdOp::F32x4RelaxedMin, SimdOp::F32x4RelaxedMax] {
        expect(op, &operands, words([0x7f80_0001, 0, 0, 0]), &[1]);
        expect(op, &operands, words([0xffc0_0001, 0, 0, 0x7fc0_0002]), &[0]);
        expect(op, &operands, words([0, 0, 0, 0x7f80_0002]), &[2]);
        expect(op, &operands, words([0x7f80_0001, 0, 0, 0x7f80_0002]), &[]);
    }
}

#[test]
fn fixed_point_products() {
    let op = SimdOp::I16x8RelaxedQ15mulrS;
    let a = shorts([-32768, -32767, 32767, 0, 0, 0, 0, 0]);
    let b = shorts([-32768, -32768, 32767, 0, 0, 0, 0, 0]);
    expect(op, &[a, b], shorts([32767, 32767, 32766, 0, 0, 0, 0, 0]), &[0]);
    expect(op, &[a, b], shorts([-32768, 32767, 32766, 0, 0, 0, 0, 0]), &[1]);
    expect(op, &[a, b], shorts([-32768, 32766, 32766, 0, 0, 0, 0, 0]), &[]);
}

#[test]
fn dot_products() {
    let op = SimdOp::I16x8RelaxedDotI8x16I7x16S;
    let counting = bytes(std::array::from_fn(|i| i as i16));
    let sums = shorts([1, 13, 41, 85, 145, 221, 313, 421]);
    expect(op, &[counting, counting], sums, &[0, 1, 2, 3, 4]);
    let least = |count: usize| bytes(std::array::from_fn(|i| if i < count { -128 } else { 0 }));
    let near = |count: usize| bytes(std::array::from_fn(|i| if i < count { -127 } else { 0 }));
    let first = |sum| shorts([sum, 0, 0, 0, 0, 0, 0, 0]);
    expect(op, &[least(2), near(2)], first(-32768), &[1, 3]);
    expect(op, &[least(2), near(2)], first(32512), &[0, 2, 4]);
    // The script's third alternative, which nothing can compute.
    expect(op, &[least(2), near(2)], first(33024), &[]);
    expect(op, &[least(2), least(2)], first(32767), &[0]);
    assert_eq!(call(op, 0, None, &[least(2), near(2)]), first(-32768));

    let op = SimdOp::I32x4RelaxedDotI8x16I7x16AddS;
    let c = words([1, 2, 3, 4]);
    let sums = words([14, 127, 368, 737]);
    expect(op, &[counting, counting, words([0, 1, 2, 3])], sums, &[0, 1, 2, 3, 4]);
    let operands = [least(4), near(4), c];
    expect(op, &operands, words([-66047, 2, 3, 4]), &[3]);
    expect(op, &operands, words([-65535, 2, 3, 4]), &[1]);
    expect(op, &operands, words([65025, 2, 3, 4]), &[0, 2, 4]);
    expect(op, &operands, words([66049, 2, 3, 4]), &[]);
    let operands = [least(4), least(4), c];
    expect(op, &operands, words([2 * 32767 + 1, 2, 3, 4]), &[0]);
    expect(op, &operands, words([-65535, 2, 3, 4]), &[1, 2, 3]);
    expect(op, &operands, words([4 * 16384 + 1, 2, 3, 4]), &[4]);
    assert_eq!(call(op, 0, None, &operands), words([-65535, 2, 3, 4]));
    // The accumulation wraps.
    let most = words([i64::from(i32::MAX); 4]);
    let ones = bytes([1; 16]);
    assert_eq!(call(op, 0, None, &[ones, ones, most]), words([i64::from(i32::MIN) + 3; 4]));
}

/// An implementation that computes once this function and once that one.
#[test]
fn a_run_keeps_its_choice() {
    let op = SimdOp::I16x8RelaxedQ15mulrS;
    let overflow = cells(op, &[shorts([-32768; 8]), shorts([-32768; 8])]);
    let harmless = cells(op, &[0, 0]);
    let known = Choices::all(Parameter::Q15);
    let known = known.meet(implementation(op, &harmless, 0).expect("relaxed"));
    assert_eq!(known, Choices::all(Parameter::Q15));
    let wrapped = implementation(op, &overflow, shorts([-32768; 8])).expect("relaxed");
    let known = known.meet(wrapped);
    assert_eq!(known.names().collect::<Vec<_>>(), ["wrapping"]);
    assert_eq!(format!("{known:?}"), "Q15{\"wrapping\"}");
    let saturated = implementation(op, &overflow, shorts([32767; 8])).expect("relaxed");
    assert!(!saturated.is_empty() && known.meet(saturated).is_empty());
    assert!(known.meet(Choices::all(Parameter::Dot)).is_empty());
}

#[test]
fn nan_lanes() {
    let operands = |op, operands: &[u128]| freedom(op, 0, &cells(op, operands));
    assert_eq!(operands(SimdOp::F32x4PMin, &[0, 0]), None);
    assert_eq!(operands(SimdOp::F32x4Neg, &[0]), None);
    assert_eq!(operands(SimdOp::I8x16Add, &[0, 0]), None);
    assert_eq!(operands(SimdOp::F32x4ExtractLane, &[0]), None);
    // Lane 0 canonical, lane 1 not, lane 2 a number, lane 3 by its operation.
    let a = words([0x7fc0_0000, 0x7fc0_0001, 0x3f80_0000, 0x7f80_0000]);
    let b = words([0, 0, 0x3f80_0000, 0xff80_0000]);
    let free = operands(SimdOp::F32x4Add, &[a, b]).expect("may be NaN");
    let canonical_only = [true, false, true, true];
    assert_eq!(free, VectorFreedom::NanF32 { canonical_only });
    let own = call(SimdOp::F32x4Add, 0, None, &[a, b]);
    assert_eq!(own, words([0x7fc0_0000, 0x7fc0_0001, 0x4000_0000, 0xffc0_0000]));
    assert!(free.is_used(own) && !free.is_used(b & !(0xffff_ffff << 96)));
    let with = |lane0, lane1, lane2, lane3| free.allows(own, words([lane0, lane1, lane2, lane3]));
    assert!(with(0xffc0_0000, 0xffff_ffff, 0x4000_0000, 0x7fc0_0000));
    assert!(!with(0x7fc0_0001, 0x7fc0_0001, 0x4000_0000, 0x7fc0_0000));
    assert!(!with(0x7fc0_0000, 0x7f80_0001, 0x4000_0000, 0x7fc0_0000));
    assert!(!with(0x7fc0_0000, 0x7fc0_0001, 0x4000_0001, 0x7fc0_0000));
    assert!(!with(0x7fc0_0000, 0x7fc0_0001, 0x7fc0_0000, 0x7fc0_0000));
    assert!(!with(0x7fc0_0000, 0x7fc0_0001, 0x4000_0000, 0x7fc0_0001));
    // Cells below the operands do not matter.
    let mut deeper = vec![Cell(u64::MAX); 3];
    deeper.extend(cells(SimdOp::F32x4Add, &[a, b]));
    assert_eq!(freedom(SimdOp::F32x4Add, 0, &deeper), Some(free));

    let a = doubles([f64::from_bits(0x7ff8 << 48), f64::from_bits(0xfff0_0000_0000_0001)]);
    let free = operands(SimdOp::F32x4DemoteF64x2Zero, &[a]).expect("may be NaN");
    let canonical_only = [true, false, true, true];
    assert_eq!(free, VectorFreedom::NanF32 { canonical_only });
    let own = call(SimdOp::F32x4DemoteF64x2Zero, 0, None, &[a]);
    assert!(free.allows(own, words([0xffc0_0000, 0x7fc0_1234, 0, 0])));
    assert!(!free.allows(own, words([0xffc0_0000, 0x7fc0_1234, 0x7fc0_0000, 0])));

    let a = words([0x7fc0_0000, 0xffc0_0001, 0x7fc0_0001, 0x7fc0_0001]);
    let free = operands(SimdOp::F64x2PromoteLowF32x4, &[a]).expect("may be NaN");
    assert_eq!(free, VectorFreedom::NanF64 { canonical_only: [true, false] });
    let own = call(SimdOp::F64x2PromoteLowF32x4, 0, None, &[a]);
    let nans = |x: u64, y: u64| doubles([f64::from_bits(x), f64::from_bits(y)]);
    assert!(free.allows(own, nans(0xfff8 << 48, 0x7ff8_0000_0000_0007)));
    assert!(!free.allows(own, nans(0xfff8_0000_0000_0001, 0x7ff8_0000_0000_0007)));
    assert!(!free.allows(own, nans(0xfff8 << 48, 0x7ff0_0000_0000_0007)));
}
