//! What this processor makes of NaNs.
//!
//! Intel SDM volume 1, table 4-7: an operation on scalars gives its first
//! operand if that is a NaN, else the second, made quiet; where no operand is
//! one, the default NaN, negative with an empty payload. A compiler may exchange
//! the operands, so that this is a guess where it matters.

use wasm_view::Cell;
use wasmparser::Operator;

const QUIET_32: u32 = 0x0040_0000;
const QUIET_64: u64 = 0x0008_0000_0000_0000;
const DEFAULT_32: u32 = 0xffc0_0000;
const DEFAULT_64: u64 = 0xfff8_0000_0000_0000;

/// The likely NaN of an instruction on these operands, topmost last; `None` for
/// instructions on vectors and those that make none.
pub fn of_processor(operator: &Operator<'_>, [first, second]: [Cell; 2]) -> Option<Cell> {
    use Operator as O;
    let single = |operands: &[Cell]| {
        let nan = operands.iter().map(|cell| cell.0 as u32).find(|x| f32::from_bits(*x).is_nan());
        Cell(u64::from(nan.map_or(DEFAULT_32, |bits| bits | QUIET_32)))
    };
    let double = |operands: &[Cell]| {
        let nan = operands.iter().map(|cell| cell.0).find(|x| f64::from_bits(*x).is_nan());
        Cell(nan.map_or(DEFAULT_64, |bits| bits | QUIET_64))
    };
    Some(match operator {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => {
            single(&[first, second])
        }
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => {
            double(&[first, second])
        }
        O::F32Sqrt | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => single(&[second]),
        O::F64Sqrt | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => double(&[second]),
        O::F32DemoteF64 => {
            let bits = second.0;
            let sign = (bits >> 32) as u32 & 0x8000_0000;
            let payload = (bits >> 29) as u32 & 0x003f_ffff;
            Cell(u64::from(sign | 0x7fc0_0000 | payload))
        }
        O::F64PromoteF32 => {
            let bits = second.0;
            let sign = (bits & 0x8000_0000) << 32;
            Cell(sign | 0x7ff8_0000_0000_0000 | (bits & 0x003f_ffff) << 29)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nan_wins_and_none_is_the_default() {
        let nan = |bits: u64| Cell(0x7ff0_0000_0000_0000 | bits);
        let one = Cell(1_f64.to_bits());
        let infinite = Cell(f64::INFINITY.to_bits());
        let made = |operands| of_processor(&Operator::F64Sub, operands);
        assert_eq!(made([nan(1), nan(2)]), Some(nan(QUIET_64 | 1)));
        assert_eq!(made([one, nan(2)]), Some(nan(QUIET_64 | 2)));
        assert_eq!(made([infinite, infinite]), Some(Cell(DEFAULT_64)));
        let made = of_processor(&Operator::F64PromoteF32, [one, Cell(0xff80_0001)]);
        assert_eq!(made, Some(Cell(0xfff8_0000_2000_0000)));
        let made = of_processor(&Operator::F32DemoteF64, [one, nan(1 << 40)]);
        assert_eq!(made, Some(Cell(0x7fc0_0800)));
        assert_eq!(of_processor(&Operator::I32Add, [one, one]), None);
    }
}
