//! Vector instructions that compute each lane of its own.
//!
//! They are told by their names, of which the first part is the lanes' and the
//! rest says what is computed. A lane of the result is open if that lane of an
//! operand is; if all that is open there are NaNs of floats that are computed
//! with, it is a NaN.

use super::rules::{ARITHMETIC_32, ARITHMETIC_64, Bits, is_nan};

/// How the lanes of an instruction's result depend on those of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Bits of a lane; 1 for what is computed bit by bit.
    bits: u32,
    /// Whether a NaN in a lane makes the result's lane a NaN.
    is_float: bool,
}

const LANEWISE: [&str; 10] =
    ["Add", "Sub", "Mul", "Neg", "Abs", "Eq", "Ne", "MinS", "MinU", "MaxS"];
const ORDERS: [&str; 10] =
    ["MaxU", "LtS", "LtU", "GtS", "GtU", "LeS", "LeU", "GeS", "GeU", "AvgrU"];
const FLOAT: [&str; 10] =
    ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sqrt", "Ceil", "Floor", "Nearest"];
const OTHER_FLOAT: [&str; 10] =
    ["Trunc", "Abs", "Neg", "PMin", "PMax", "Eq", "Ne", "Lt", "Gt", "Le"];
const BITWISE: [&str; 6] = ["And", "AndNot", "Or", "Xor", "Not", "Bitselect"];

/// Whether a name is that of a vector instruction.
pub fn is_vector(name: &str) -> bool {
    prefix(name).is_some()
}

fn prefix(name: &str) -> Option<(u32, bool, &str)> {
    let prefixes = [
        ("I8x16", 8, false),
        ("I16x8", 16, false),
        ("I32x4", 32, false),
        ("I64x2", 64, false),
        ("F32x4", 32, true),
        ("F64x2", 64, true),
        ("V128", 1, false),
    ];
    let mut found = prefixes.iter().filter_map(|&(prefix, bits, is_float)| {
        name.strip_prefix(prefix).map(|rest| (bits, is_float, rest))
    });
    found.next()
}

impl Lanes {
    /// Those of an instruction; `None` if other lanes matter.
    pub fn of(name: &str) -> Option<Lanes> {
        let (bits, is_float, rest) = prefix(name)?;
        let is = |words: &[&str]| words.contains(&rest);
        let lanewise = match (bits, is_float) {
            (1, _) => is(&BITWISE),
            (_, false) => is(&LANEWISE) || is(&ORDERS),
            (_, true) => is(&FLOAT) || is(&OTHER_FLOAT) || rest == "Ge",
        };
        let is_float = is_float && (is(&FLOAT) || rest == "Trunc");
        lanewise.then_some(Lanes { bits, is_float })
    }

    /// Open bits of half a result, given the same half of each operand.
    pub fn open(self, operands: &[Bits], result: u64) -> u64 {
        if self.bits == 1 {
            return operands.iter().fold(0, |open, x| open | x.open);
        }
        let lane = u64::MAX >> (64 - self.bits);
        let mut open = 0;
        for at in (0..64).step_by(self.bits as usize) {
            let part = |x: &Bits| Bits { value: x.value >> at & lane, open: x.open >> at & lane };
            let parts = operands.iter().map(part).filter(|x| x.open != 0);
            let mut any = false;
            let stays = parts.fold(true, |stays, x| {
                any = true;
                stays && self.is_float && is_nan(x, self.bits)
            });
            let own = Bits { value: result >> at & lane, open: 0 };
            let bits = match (stays && is_nan(own, self.bits), self.bits) {
                (true, 32) => ARITHMETIC_32,
                (true, 64) => ARITHMETIC_64,
                _ => lane,
            };
            if any {
                open |= bits << at;
            }
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_computed() {
        let lanes = |bits, is_float| Some(Lanes { bits, is_float });
        assert_eq!(Lanes::of("F32x4Add"), lanes(32, true));
        assert_eq!(Lanes::of("F64x2Lt"), lanes(64, false));
        assert_eq!(Lanes::of("I8x16MinU"), lanes(8, false));
        assert_eq!(Lanes::of("V128Bitselect"), lanes(1, false));
        for other in ["I8x16Swizzle", "I32x4ExtractLane { lane: 1 }", "V128AnyTrue", "I8x16Shl"] {
            assert_eq!(Lanes::of(other), None, "{other}");
            assert!(is_vector(other));
        }
        assert!(!is_vector("I32Add"));
    }

    #[test]
    fn a_lane_opens_a_lane() {
        let open = |name, operands: &[Bits], result| {
            Lanes::of(name).expect("lanewise").open(operands, result)
        };
        let nan = Bits { value: 0x3f80_0000_7fc0_0000, open: 0x8000_0000 };
        let one = Bits { value: 0x3f80_0000_3f80_0000, open: 0 };
        assert_eq!(open("F32x4Add", &[nan, one], 0x4000_0000_7fc0_0000), ARITHMETIC_32);
        assert_eq!(open("F32x4Lt", &[nan, one], 0), 0xffff_ffff);
        assert_eq!(open("I8x16Add", &[nan, one], 0), 0xff00_0000);
        assert_eq!(open("V128Xor", &[nan, one], 0), 0x8000_0000);
        assert_eq!(open("I64x2Add", &[nan, one], 0), u64::MAX);
    }
}
