//! Checks of the vector instructions.
//!
//! Three independent sources: formulas written anew over single lanes
//! ([`formulas`]), another interpreter ([`witness`]), and the proposal's examples
//! for what relaxed instructions may give ([`open`]). The inputs mix random bits
//! with the values at which instructions differ from each other.

mod formulas;
mod open;
mod table;
mod witness;

use super::*;
use wasm_view::Cell;

/// A reproducible source of numbers (splitmix64).
pub(super) struct Source(pub(super) u64);

impl Source {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn pick(&mut self, from: &[u64]) -> u64 {
        from[self.next() as usize % from.len()]
    }

    /// A vector of random bits, or of lanes of one width that are mostly
    /// boundaries.
    pub(super) fn vector(&mut self) -> u128 {
        let kind = self.next() % 8;
        let (width, from): (u32, &[u64]) = match kind {
            0 => return u128::from(self.next()) << 64 | u128::from(self.next()),
            1 => (8, &I8S),
            2 => (16, &I16S),
            3 => (32, &I32S),
            4 => (64, &I64S),
            5 | 6 => (32, &F32S),
            _ => (64, &F64S),
        };
        (0..128 / width).fold(0, |vector, lane| {
            let value = match (self.next() % 8, kind) {
                (0, _) => self.next() & (u64::MAX >> (64 - width)),
                // Floats of moderate size, so that arithmetic rounds.
                (1, 5 | 6) => u64::from(((self.next() as i32) as f32 / 65536.0).to_bits()),
                (1, 7) => ((self.next() as i64) as f64 / 4294967296.0).to_bits(),
                _ => self.pick(from),
            };
            vector | u128::from(value) << (width * lane)
        })
    }

    /// A scalar of this type as a cell.
    fn scalar(&mut self, ty: Ty) -> u64 {
        let wide = self.vector() as u64;
        match ty {
            Ty::I32 | Ty::F32 => wide & 0xffff_ffff,
            Ty::I64 | Ty::F64 | Ty::V128 => wide,
        }
    }

    /// Operands for an instruction; a scalar is in the low bits.
    pub(super) fn operands(&mut self, op: SimdOp) -> Vec<u128> {
        let types = op.signature().0;
        types
            .iter()
            .map(|&ty| if ty == Ty::V128 { self.vector() } else { self.scalar(ty).into() })
            .collect()
    }
}

const I8S: [u64; 9] = [0, 1, 2, 15, 16, 0x7f, 0x80, 0x81, 0xff];
const I16S: [u64; 9] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x8001, 0xffff];
const I32S: [u64; 9] =
    [0, 1, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff];
const I64S: [u64; 7] = [0, 1, 0x7fff_ffff, 0x8000_0000, i64::MAX as u64, 1 << 63, u64::MAX];
const F32S: [u64; 25] = [
    0,
    0x8000_0000,
    1,           // least subnormal
    0x807f_ffff, // greatest subnormal, negative
    0x3f80_0000, // 1
    0xbf80_0000, // -1
    0x3f00_0000, // 0.5
    0xbf00_0000, // -0.5
    0x3fc0_0000, // 1.5
    0x4020_0000, // 2.5
    0xbf7f_ffff, // just above -1
    0x4eff_ffff, // below 2^31
    0x4f00_0000, // 2^31
    0xcf00_0000, // -2^31
    0xcf00_0001, // below -2^31
    0x4f7f_ffff, // below 2^32
    0x4f80_0000, // 2^32
    0x7f7f_ffff, // greatest
    0x7f80_0000, // infinities
    0xff80_0000,
    0x7fc0_0000, // canonical NaNs
    0xffc0_0000,
    0x7fc0_1234, // arithmetic
    0xff80_0001, // signalling
    0x7fa0_0000,
];
const F64S: [u64; 25] = [
    0,
    1 << 63,
    1,
    0x800f_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000, // 1
    0xbff0_0000_0000_0000, // -1
    0x3fe0_0000_0000_0000, // 0.5
    0xbfe0_0000_0000_0000, // -0.5
    0x3ff8_0000_0000_0000, // 1.5
    0x4004_0000_0000_0000, // 2.5
    0xbfef_ffff_ffff_ffff, // just above -1
    0x41df_ffff_ffff_ffff, // below 2^31
    0x41e0_0000_0000_0000, // 2^31
    0xc1e0_0000_0000_0000, // -2^31
    0xc1e0_0000_0020_0000, // -2^31 - 1
    0x41ef_ffff_ffff_ffff, // below 2^32
    0x41f0_0000_0000_0000, // 2^32
    0x7fef_ffff_ffff_ffff, // greatest
    0x47ef_ffff_f000_0000, // demotes to infinity
    0x7ff0_0000_0000_0000, // infinities
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000, // canonical NaNs
    0xfff8_0000_0000_0000,
    0x7ff8_1234_5678_9abc, // arithmetic
    0xfff0_0000_0000_0001, // signalling
];

/// The cells of operands, first operand lowest.
pub(super) fn cells(op: SimdOp, operands: &[u128]) -> Vec<Cell> {
    let types = op.signature().0;
    assert_eq!(types.len(), operands.len());
    let mut cells = Vec::new();
    for (ty, operand) in types.iter().zip(operands) {
        cells.push(Cell(*operand as u64));
        if ty.cells() == 2 {
            cells.push(Cell((operand >> 64) as u64));
        }
    }
    cells
}

/// The result of an instruction; a scalar is in the low bits. Whatever lies
/// below the operands must stay.
pub(super) fn call(op: SimdOp, lane: u8, shuffle: Option<&[u8; 16]>, operands: &[u128]) -> u128 {
    const BELOW: [Cell; 2] = [Cell(0x1111_2222_3333_4444), Cell(0x5555_6666_7777_8888)];
    let mut stack = BELOW.to_vec();
    stack.extend(cells(op, operands));
    let sp = stack.len();
    stack.push(Cell(0));
    let sp = execute(op, lane, shuffle, &mut stack, sp);
    assert_eq!(stack[..2], BELOW, "{op:?}");
    match (op.signature().1, &stack[2..sp]) {
        (Ty::V128, [low, high]) => u128::from(low.0) | u128::from(high.0) << 64,
        (Ty::I64 | Ty::F64, [cell]) => cell.0.into(),
        (Ty::I32 | Ty::F32, [cell]) => {
            assert_eq!(cell.0 >> 32, 0, "{op:?} leaves bits above its result");
            cell.0.into()
        }
        (ty, cells) => panic!("{op:?} left {} cells of a {ty:?}", cells.len()),
    }
}

/// One lane of a vector, by shifting.
pub(super) fn lane_of(vector: u128, width: u32, lane: u32) -> u64 {
    (vector >> (width * lane)) as u64 & (u64::MAX >> (64 - width))
}

/// The same as a signed number.
pub(super) fn signed_lane_of(vector: u128, width: u32, lane: u32) -> i64 {
    (lane_of(vector, width, lane) << (64 - width)) as i64 >> (64 - width)
}

/// A vector whose lanes a function gives; bits above the width are dropped.
pub(super) fn build(width: u32, lane: impl Fn(u32) -> i64) -> u128 {
    (0..128 / width).fold(0, |vector, i| {
        vector | u128::from(lane(i) as u64 & (u64::MAX >> (64 - width))) << (width * i)
    })
}
