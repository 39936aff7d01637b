//! Which bits of a result are open if bits of the operands are.
//!
//! An open bit is one that may differ between two executions that are both
//! right. The rules are those by which memory checkers follow bits that were never
//! written (Seward and Nethercote, "Using Valgrind to detect undefined value
//! errors with bit-precision", 2005), with one addition: a NaN of which only sign
//! and payload are open is a NaN in every execution, so that comparisons with it
//! are decided and what is computed from it is a NaN again. No rule forgets a bit
//! that can differ; some name more.

use wasmparser::Operator;

/// A number: what the oracle has, and which of its bits are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    /// The oracle's.
    pub value: u64,
    /// A bit that is set here may be another one.
    pub open: u64,
}

/// Sign and payload of an f32, without the payload's topmost bit.
pub const ARITHMETIC_32: u64 = 0x803f_ffff;
/// The same of an f64.
pub const ARITHMETIC_64: u64 = 0x8007_ffff_ffff_ffff;
const SIGN_32: u64 = 0x8000_0000;
const SIGN_64: u64 = 1 << 63;
const QUIET_32: u64 = 0x7fc0_0000;
const QUIET_64: u64 = 0x7ff8_0000_0000_0000;
const WORD: u64 = 0xffff_ffff;

/// A width of numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    W32,
    W64,
}
use Width::{W32, W64};

impl Width {
    const fn all(self) -> u64 {
        match self {
            W32 => WORD,
            W64 => u64::MAX,
        }
    }
    const fn bits(self) -> u64 {
        match self {
            W32 => 32,
            W64 => 64,
        }
    }
    const fn sign(self) -> u64 {
        match self {
            W32 => SIGN_32,
            W64 => SIGN_64,
        }
    }
    /// A NaN in every execution.
    fn is_nan(self, x: Bits) -> bool {
        let quiet = match self {
            W32 => QUIET_32,
            W64 => QUIET_64,
        };
        if x.open == 0 {
            return match self {
                W32 => f32::from_bits(x.value as u32).is_nan(),
                W64 => f64::from_bits(x.value).is_nan(),
            };
        }
        x.value & quiet == quiet && x.open & quiet == 0
    }
    /// A canonical NaN, of either sign, in every execution.
    fn is_canonical(self, x: Bits) -> bool {
        let quiet = match self {
            W32 => QUIET_32,
            W64 => QUIET_64,
        };
        x.value & !self.sign() & self.all() == quiet && x.open & !self.sign() == 0
    }
    const fn arithmetic(self) -> u64 {
        match self {
            W32 => ARITHMETIC_32,
            W64 => ARITHMETIC_64,
        }
    }
}

/// Open bits of what a float instruction computes of these operands, some of
/// which have some; `from` is their width.
fn arithmetic(from: Width, to: Width, operands: &[Bits]) -> u64 {
    if operands.iter().any(|x| x.open != 0 && !from.is_nan(*x)) {
        return to.all();
    }
    let canonical = operands.iter().all(|x| !from.is_nan(*x) || from.is_canonical(*x));
    if canonical { to.sign() } else { to.arithmetic() }
}

/// Of a comparison of floats, of which a NaN decides the result.
fn compared(width: Width, operands: &[Bits]) -> u64 {
    u64::from(!operands.iter().any(|x| width.is_nan(*x)))
}

fn and(x: Bits, y: Bits) -> u64 {
    x.open & y.open | x.open & y.value | y.open & x.value
}

fn or(x: Bits, y: Bits) -> u64 {
    x.open & y.open | x.open & !y.value | y.open & !x.value
}

/// A carry goes from the lowest open bit upwards.
fn carried(width: Width, x: Bits, y: Bits) -> u64 {
    let open = x.open | y.open;
    (open | open.wrapping_neg()) & width.all()
}

fn equality(x: Bits, y: Bits) -> u64 {
    let open = x.open | y.open;
    u64::from(open != 0 && (x.value ^ y.value) & !open == 0)
}

/// Of an order: open if the ranges of the two overlap.
fn order(width: Width, signed: bool, x: Bits, y: Bits) -> u64 {
    let flip = if signed { width.sign() } else { 0 };
    let range = |x: Bits| {
        let value = x.value ^ flip;
        (value & !x.open & width.all(), (value | x.open) & width.all())
    };
    let ((least_x, most_x), (least_y, most_y)) = (range(x), range(y));
    u64::from(!(most_x < least_y || most_y < least_x))
}

fn shift(width: Width, x: Bits, by: Bits, shifted: impl Fn(u64, u32) -> u64) -> u64 {
    let count = width.bits() - 1;
    if by.open & count != 0 {
        return width.all();
    }
    shifted(x.open, (by.value & count) as u32) & width.all()
}

fn sign_extend(open: u64, bits: u32, width: Width) -> u64 {
    let left = 64 - bits;
    (((open << left) as i64) >> left) as u64 & width.all()
}

/// The open bits of a numeric instruction's result, given its operands, first
/// pushed first; one that takes a single operand takes the second. `None` for
/// instructions that are none of these.
pub fn numeric(operator: &Operator<'_>, operands: [Bits; 2]) -> Option<u64> {
    use Operator as O;
    let [x, y] = operands;
    let unary = [y];
    let open = match operator {
        O::I32And | O::I64And => and(x, y),
        O::I32Or | O::I64Or => or(x, y),
        O::I32Xor | O::I64Xor => x.open | y.open,
        O::I32Add | O::I32Sub | O::I32Mul => carried(W32, x, y),
        O::I64Add | O::I64Sub | O::I64Mul => carried(W64, x, y),
        O::I32Shl => shift(W32, x, y, |open, by| open << by),
        O::I64Shl => shift(W64, x, y, |open, by| open << by),
        O::I32ShrU => shift(W32, x, y, |open, by| open >> by),
        O::I64ShrU => shift(W64, x, y, |open, by| open >> by),
        O::I32ShrS => shift(W32, x, y, |open, by| (open as u32 as i32 >> by) as u64),
        O::I64ShrS => shift(W64, x, y, |open, by| (open as i64 >> by) as u64),
        O::I32Rotl => shift(W32, x, y, |open, by| u64::from((open as u32).rotate_left(by))),
        O::I64Rotl => shift(W64, x, y, u64::rotate_left),
        O::I32Rotr => shift(W32, x, y, |open, by| u64::from((open as u32).rotate_right(by))),
        O::I64Rotr => shift(W64, x, y, u64::rotate_right),
        O::I32Eqz | O::I64Eqz => equality(y, Bits::default()),
        O::I32Eq | O::I32Ne | O::I64Eq | O::I64Ne => equality(x, y),
        O::I32LtU | O::I32LeU | O::I32GtU | O::I32GeU => order(W32, false, x, y),
        O::I64LtU | O::I64LeU | O::I64GtU | O::I64GeU => order(W64, false, x, y),
        O::I32LtS | O::I32LeS | O::I32GtS | O::I32GeS => order(W32, true, x, y),
        O::I64LtS | O::I64LeS | O::I64GtS | O::I64GeS => order(W64, true, x, y),
        O::I32Clz | O::I32Ctz | O::I32Popcnt => 0x3f,
        O::I64Clz | O::I64Ctz | O::I64Popcnt => 0x7f,
        O::I32WrapI64 => y.open & WORD,
        O::I64ExtendI32U
        | O::I32ReinterpretF32
        | O::F32ReinterpretI32
        | O::I64ReinterpretF64
        | O::F64ReinterpretI64 => y.open,
        O::I64ExtendI32S | O::I64Extend32S => sign_extend(y.open, 32, W64),
        O::I32Extend8S => sign_extend(y.open, 8, W32),
        O::I32Extend16S => sign_extend(y.open, 16, W32),
        O::I64Extend8S => sign_extend(y.open, 8, W64),
        O::I64Extend16S => sign_extend(y.open, 16, W64),
        O::F32Neg | O::F64Neg => y.open,
        O::F32Abs => y.open & !SIGN_32,
        O::F64Abs => y.open & !SIGN_64,
        O::F32Copysign => x.open & !SIGN_32 | y.open & SIGN_32,
        O::F64Copysign => x.open & !SIGN_64 | y.open & SIGN_64,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => {
            arithmetic(W32, W32, &operands)
        }
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => {
            arithmetic(W64, W64, &operands)
        }
        O::F32Sqrt | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => {
            arithmetic(W32, W32, &unary)
        }
        O::F64Sqrt | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => {
            arithmetic(W64, W64, &unary)
        }
        O::F32DemoteF64 => arithmetic(W64, W32, &unary),
        O::F64PromoteF32 => arithmetic(W32, W64, &unary),
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => compared(W32, &operands),
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => compared(W64, &operands),
        O::I32TruncSatF32S | O::I32TruncSatF32U => compared(W32, &unary) * WORD,
        O::I64TruncSatF32S | O::I64TruncSatF32U => compared(W32, &unary) * u64::MAX,
        O::I32TruncSatF64S | O::I32TruncSatF64U => compared(W64, &unary) * WORD,
        O::I64TruncSatF64S | O::I64TruncSatF64U => compared(W64, &unary) * u64::MAX,
        O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U => WORD,
        O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U => u64::MAX,
        _ => return None,
    };
    Some(if x.open | y.open == 0 { 0 } else { open })
}

/// Operands that a numeric instruction takes, of those that [`numeric`] knows.
pub fn takes_two(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::I32And
            | O::I32Or
            | O::I32Xor
            | O::I32Add
            | O::I32Sub
            | O::I32Mul
            | O::I32Shl
            | O::I32ShrU
            | O::I32ShrS
            | O::I32Rotl
            | O::I32Rotr
            | O::I32Eq
            | O::I32Ne
            | O::I32LtU
            | O::I32LeU
            | O::I32GtU
            | O::I32GeU
            | O::I32LtS
            | O::I32LeS
            | O::I32GtS
            | O::I32GeS
            | O::I64And
            | O::I64Or
            | O::I64Xor
            | O::I64Add
            | O::I64Sub
            | O::I64Mul
            | O::I64Shl
            | O::I64ShrU
            | O::I64ShrS
            | O::I64Rotl
            | O::I64Rotr
            | O::I64Eq
            | O::I64Ne
            | O::I64LtU
            | O::I64LeU
            | O::I64GtU
            | O::I64GeU
            | O::I64LtS
            | O::I64LeS
            | O::I64GtS
            | O::I64GeS
            | O::F32Copysign
            | O::F64Copysign
            | O::F32Add
            | O::F32Sub
            | O::F32Mul
            | O::F32Div
            | O::F32Min
            | O::F32Max
            | O::F64Add
            | O::F64Sub
            | O::F64Mul
            | O::F64Div
            | O::F64Min
            | O::F64Max
            | O::F32Eq
            | O::F32Ne
            | O::F32Lt
            | O::F32Gt
            | O::F32Le
            | O::F32Ge
            | O::F64Eq
            | O::F64Ne
            | O::F64Lt
            | O::F64Gt
            | O::F64Le
            | O::F64Ge
    )
}

/// Whether a number of this many bits, 32 or 64, is a NaN in every execution.
pub fn is_nan(x: Bits, bits: u32) -> bool {
    match bits {
        32 => W32.is_nan(x),
        64 => W64.is_nan(x),
        _ => false,
    }
}

/// The open bits of what `select` chooses.
pub fn selected(x: Bits, y: Bits, condition: Bits) -> u64 {
    match (condition.open, condition.value) {
        (0, 0) => y.open,
        (0, _) => x.open,
        _ => x.value ^ y.value | x.open | y.open,
    }
}

/// The open bits of a load from bytes with these.
pub fn loaded(open: u64, bytes: u32, signed: bool, wide: bool) -> u64 {
    let width = if wide { W64 } else { W32 };
    if signed { sign_extend(open, 8 * bytes, width) } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: Bits = Bits { value: 0x7fc0_0000, open: SIGN_32 };
    const ANY: Bits = Bits { value: 0xffc1_2345, open: ARITHMETIC_32 };
    const ONE: Bits = Bits { value: 0x3f80_0000, open: 0 };

    fn known(value: u64) -> Bits {
        Bits { value, open: 0 }
    }

    /// Every way to set the open bits gives a result that the rule allows, and
    /// no bit is named that none of them changes where the rule is exact.
    #[test]
    fn the_rules_hold_whatever_the_open_bits_are() {
        use Operator as O;
        type Compute = fn(u32, u32) -> u32;
        let cases: [(O<'_>, Compute, bool); 17] = [
            (O::I32And, |x, y| x & y, true),
            (O::I32Or, |x, y| x | y, true),
            (O::I32Xor, |x, y| x ^ y, true),
            (O::I32Add, u32::wrapping_add, false),
            (O::I32Sub, u32::wrapping_sub, false),
            (O::I32Mul, u32::wrapping_mul, false),
            (O::I32Shl, |x, y| x << (y & 31), false),
            (O::I32ShrU, |x, y| x >> (y & 31), false),
            (O::I32ShrS, |x, y| (x as i32 >> (y & 31)) as u32, false),
            (O::I32Rotl, |x, y| x.rotate_left(y & 31), false),
            (O::I32Eq, |x, y| u32::from(x == y), true),
            (O::I32LtU, |x, y| u32::from(x < y), false),
            (O::I32GeU, |x, y| u32::from(x >= y), false),
            (O::I32LtS, |x, y| u32::from((x as i32) < y as i32), false),
            (O::I32GtS, |x, y| u32::from(x as i32 > y as i32), false),
            (O::I32Extend8S, |_, y| y as u8 as i8 as u32, true),
            (O::I32Eqz, |_, y| u32::from(y == 0), true),
        ];
        let patterns = [0, 1, 5, 0x80, 0x8000_0000, 0x7fff_ffff, 0xffff_fff0, 0x1234_5678];
        let opens = [0_u32, 1, 0x81, 0x8000_0003, 0x0001_0000];
        for (operator, compute, exact) in &cases {
            for (&x, &y) in patterns.iter().flat_map(|x| patterns.iter().map(move |y| (x, y))) {
                for (&open_x, &open_y) in
                    opens.iter().flat_map(|x| opens.iter().map(move |y| (x, y)))
                {
                    let bits =
                        |value: u32, open: u32| Bits { value: value.into(), open: open.into() };
                    let open = numeric(operator, [bits(x, open_x), bits(y, open_y)]);
                    let open = open.expect("a number") as u32;
                    let own = compute(x, y);
                    let mut seen = 0;
                    // All subsets of the open bits.
                    let subsets = |open: u32| {
                        let mut subset = Some(open);
                        std::iter::from_fn(move || {
                            let now = subset?;
                            subset = (now != 0).then(|| (now - 1) & open);
                            Some(now)
                        })
                    };
                    for flip_x in subsets(open_x) {
                        for flip_y in subsets(open_y) {
                            seen |= own ^ compute(x ^ flip_x, y ^ flip_y);
                        }
                    }
                    assert_eq!(seen & !open, 0, "{operator:?} {x:#x} {y:#x}");
                    if *exact {
                        assert_eq!(
                            seen, open,
                            "{operator:?} {x:#x}/{open_x:#x} {y:#x}/{open_y:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_nan_stays_one() {
        use Operator as O;
        assert_eq!(numeric(&O::F32Add, [NAN, ONE]), Some(SIGN_32));
        assert_eq!(numeric(&O::F32Add, [ANY, ONE]), Some(ARITHMETIC_32));
        assert_eq!(numeric(&O::F32Mul, [NAN, known(0x7fc0_0001)]), Some(ARITHMETIC_32));
        assert_eq!(numeric(&O::F32Lt, [NAN, ONE]), Some(0));
        assert_eq!(numeric(&O::F32Abs, [ONE, NAN]), Some(0));
        assert_eq!(numeric(&O::F32Neg, [ONE, NAN]), Some(SIGN_32));
        assert_eq!(numeric(&O::F32Copysign, [ANY, ONE]), Some(0x003f_ffff));
        assert_eq!(numeric(&O::F64PromoteF32, [ONE, NAN]), Some(SIGN_64));
        assert_eq!(numeric(&O::F64PromoteF32, [ONE, ANY]), Some(ARITHMETIC_64));
        assert_eq!(numeric(&O::I32TruncSatF32S, [ONE, ANY]), Some(0));
        // What may be no NaN at all may become anything.
        let odd = Bits { value: 0x3f80_0000, open: 1 };
        assert_eq!(numeric(&O::F32Add, [odd, ONE]), Some(WORD));
        assert_eq!(numeric(&O::F32Lt, [odd, ONE]), Some(1));
        // A signalling NaN whose payload is open may be an infinity.
        let infinite = Bits { value: 0x7f80_0001, open: 1 };
        assert_eq!(numeric(&O::F32Eq, [infinite, ONE]), Some(1));
    }

    /// What is none of these is none of these whatever is open: of a vector, of which
    /// only the upper half is looked at here, the lower one may be.
    #[test]
    fn nothing_open_says_nothing_about_other_instructions() {
        assert_eq!(numeric(&Operator::I8x16Neg, [ONE, ONE]), None);
        assert_eq!(numeric(&Operator::I32Eq, [ONE, ONE]), Some(0));
    }

    /// How C libraries look for NaNs: the bits are compared, not the number.
    #[test]
    fn bits_of_a_nan_are_compared() {
        use Operator as O;
        let low = numeric(&O::I32And, [ANY, known(0x7fff_ffff)]).expect("a number");
        let bits = Bits { value: ANY.value & 0x7fff_ffff, open: low };
        assert_eq!(numeric(&O::I32GtU, [bits, known(0x7f80_0000)]), Some(0));
        assert_eq!(numeric(&O::I32LtS, [ANY, known(0)]), Some(1));
    }

    #[test]
    fn select_and_loads() {
        assert_eq!(selected(ANY, ONE, known(1)), ARITHMETIC_32);
        assert_eq!(selected(ANY, ONE, known(0)), 0);
        assert_eq!(selected(known(5), known(6), Bits { value: 1, open: 1 }), 3);
        assert_eq!(loaded(0x80, 1, true, false), 0xffff_ff80);
        assert_eq!(loaded(0x80, 1, true, true), 0xffff_ffff_ffff_ff80);
        assert_eq!(loaded(0x80, 1, false, true), 0x80);
    }
}
