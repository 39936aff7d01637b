//! Values that are nowhere but follow from values that are somewhere.
//!
//! Optimised code computes an address within the instruction that uses it and
//! keeps `i + 1` where the program still has `i`. Such a value has no place,
//! but what it is made of has. An [`Expression`] says how: a program for a
//! stack of 64-bit words, whose steps push a register, eight bytes of the
//! frame or a constant, and combine what was pushed. Every step is one DWARF
//! operation on the generic type, or a fixed handful of them, so debuggers
//! evaluate the same program; there are no others for that reason.
//!
//! A word is all there is. What an i32 needs of signs and masks is spelled out
//! by whoever makes the expression, and of the result only as many low bits
//! count as the slot's type has.
//!
//! An expression proves less than a place does: the code may never compute
//! this value, so it is evidence about the map, and is counted apart.

use crate::DwarfReg;

/// Most steps of an expression.
pub const MAX_STEPS: usize = 48;
/// Most words that an expression may have on its stack.
pub const MAX_STACK: usize = 12;

/// Position of an expression among those of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpressionIdx(u32);

impl ExpressionIdx {
    /// The expression at this position.
    pub const fn new(index: u32) -> Self {
        ExpressionIdx(index)
    }
    /// The position.
    pub const fn get(self) -> u32 {
        self.0
    }
    /// The position, for use with lists.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Replaces one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnaryOp {
    /// All bits inverted (`DW_OP_not`).
    Not,
    /// Two's complement (`DW_OP_neg`).
    Neg,
}

impl UnaryOp {
    /// Every one, in the order of its code in `.wasm_map`.
    pub const ALL: &'static [UnaryOp] = &[UnaryOp::Not, UnaryOp::Neg];

    /// What becomes of a word.
    pub const fn apply(self, x: u64) -> u64 {
        match self {
            UnaryOp::Not => !x,
            UnaryOp::Neg => x.wrapping_neg(),
        }
    }
}

/// Replaces two words, of which the second was pushed last. Comparisons are
/// signed and give 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BinaryOp {
    /// `DW_OP_plus`.
    Add,
    /// First minus second (`DW_OP_minus`).
    Sub,
    /// `DW_OP_mul`.
    Mul,
    /// `DW_OP_and`.
    And,
    /// `DW_OP_or`.
    Or,
    /// `DW_OP_xor`.
    Xor,
    /// First shifted left by second; nothing is left from 64 on (`DW_OP_shl`).
    Shl,
    /// First shifted right by second, zeros enter (`DW_OP_shr`).
    ShrU,
    /// First shifted right by second, signs enter (`DW_OP_shra`).
    ShrS,
    /// `DW_OP_eq`.
    Eq,
    /// `DW_OP_ne`.
    Ne,
    /// First less than second (`DW_OP_lt`).
    Lt,
    /// First at most second (`DW_OP_le`).
    Le,
}

impl BinaryOp {
    /// Every one, in the order of its code in `.wasm_map`.
    pub const ALL: &'static [BinaryOp] = &[
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Xor,
        BinaryOp::Shl,
        BinaryOp::ShrU,
        BinaryOp::ShrS,
        BinaryOp::Eq,
        BinaryOp::Ne,
        BinaryOp::Lt,
        BinaryOp::Le,
    ];

    /// What becomes of two words.
    pub const fn apply(self, x: u64, y: u64) -> u64 {
        let (a, b) = (x.cast_signed(), y.cast_signed());
        match self {
            BinaryOp::Add => x.wrapping_add(y),
            BinaryOp::Sub => x.wrapping_sub(y),
            BinaryOp::Mul => x.wrapping_mul(y),
            BinaryOp::And => x & y,
            BinaryOp::Or => x | y,
            BinaryOp::Xor => x ^ y,
            BinaryOp::Shl => {
                if y < 64 {
                    x << y
                } else {
                    0
                }
            }
            BinaryOp::ShrU => {
                if y < 64 {
                    x >> y
                } else {
                    0
                }
            }
            BinaryOp::ShrS => (a >> if y < 64 { y } else { 63 }).cast_unsigned(),
            BinaryOp::Eq => (x == y) as u64,
            BinaryOp::Ne => (x != y) as u64,
            BinaryOp::Lt => (a < b) as u64,
            BinaryOp::Le => (a <= b) as u64,
        }
    }

    /// How people write it.
    const fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::And => "&",
            BinaryOp::Or => "|",
            BinaryOp::Xor => "^",
            BinaryOp::Shl => "<<",
            BinaryOp::ShrU => ">>>",
            BinaryOp::ShrS => ">>",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
        }
    }
}

/// What an expression starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The eight bytes of a general register.
    Register(DwarfReg),
    /// Eight bytes at the canonical frame address plus this many bytes.
    Frame(i32),
}

/// One step of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Pushes something of the subject's.
    Input(Input),
    /// Pushes a constant.
    Constant(u64),
    /// Replaces the topmost word.
    Unary(UnaryOp),
    /// Replaces the two topmost words.
    Binary(BinaryOp),
    /// Replaces three words: the third pushed is a condition; if it is not 0
    /// the second stays, else the first.
    Select,
}

impl Step {
    /// Words that it takes and words that it leaves.
    const fn arity(self) -> (usize, usize) {
        match self {
            Step::Input(_) | Step::Constant(_) => (0, 1),
            Step::Unary(_) => (1, 1),
            Step::Binary(_) => (2, 1),
            Step::Select => (3, 1),
        }
    }
}

/// Why steps are no expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// There are more than [`MAX_STEPS`].
    #[error("an expression has {0} steps, at most {MAX_STEPS} are allowed")]
    TooLong(usize),
    /// The stack grows beyond [`MAX_STACK`].
    #[error("an expression has more than {MAX_STACK} words on its stack")]
    TooDeep,
    /// A step takes more words than there are, or not exactly one is left.
    #[error("the stack of an expression is not balanced")]
    Unbalanced,
    /// It computes with nothing of the subject's.
    #[error("an expression without input is a constant")]
    NoInput,
}

/// A program that computes a value from the subject's registers and frame.
/// Those that exist are balanced, bounded, and have an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    steps: Box<[Step]>,
}

impl Expression {
    /// An expression of these steps.
    ///
    /// # Errors
    /// Steps that do not leave exactly one word, or are too many.
    pub fn new(steps: Vec<Step>) -> Result<Expression, ExpressionError> {
        if steps.len() > MAX_STEPS {
            return Err(ExpressionError::TooLong(steps.len()));
        }
        let mut height = 0_usize;
        for step in &steps {
            let (takes, leaves) = step.arity();
            height = height.checked_sub(takes).ok_or(ExpressionError::Unbalanced)? + leaves;
            if height > MAX_STACK {
                return Err(ExpressionError::TooDeep);
            }
        }
        if height != 1 {
            return Err(ExpressionError::Unbalanced);
        }
        if !steps.iter().any(|step| matches!(step, Step::Input(_))) {
            return Err(ExpressionError::NoInput);
        }
        Ok(Expression { steps: steps.into() })
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What it reads.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        self.steps.iter().filter_map(|step| match step {
            Step::Input(input) => Some(*input),
            _ => None,
        })
    }

    /// Computes it; `read` gives the inputs.
    ///
    /// # Errors
    /// The first one of `read`.
    #[inline]
    pub fn evaluate<E>(&self, read: impl FnMut(Input) -> Result<u64, E>) -> Result<u64, E> {
        evaluate(&self.steps, read)
    }
}

/// Computes steps; of those that are balanced, what they leave.
///
/// # Errors
/// The first one of `read`.
pub fn evaluate<E>(
    steps: &[Step],
    mut read: impl FnMut(Input) -> Result<u64, E>,
) -> Result<u64, E> {
    let mut stack = [0_u64; MAX_STACK];
    let mut height = 0;
    for step in steps {
        let (takes, _) = step.arity();
        // Of an expression, never out of bounds.
        let first = usize::min(height - usize::min(takes, height), MAX_STACK - 1);
        let word = |at: usize| stack.get(first + at).copied().unwrap_or_default();
        stack[first] = match *step {
            Step::Input(input) => read(input)?,
            Step::Constant(word) => word,
            Step::Unary(op) => op.apply(word(0)),
            Step::Binary(op) => op.apply(word(0), word(1)),
            Step::Select if word(2) != 0 => word(1),
            Step::Select => word(0),
        };
        height = first + 1;
    }
    Ok(stack[0])
}

/// As people write formulas, with the names that `input` gives.
pub fn formula(expression: &Expression, input: impl Fn(Input) -> String) -> String {
    let mut stack: Vec<String> = Vec::new();
    for step in expression.steps() {
        let mut pop = || stack.pop().unwrap_or_default();
        let text = match *step {
            Step::Input(from) => input(from),
            Step::Constant(word) if word < 10 => word.to_string(),
            Step::Constant(word) if word.wrapping_neg() < 1 << 31 => word.cast_signed().to_string(),
            Step::Constant(word) => format!("{word:#x}"),
            Step::Unary(UnaryOp::Not) => format!("~{}", pop()),
            Step::Unary(UnaryOp::Neg) => format!("-{}", pop()),
            Step::Binary(op) => {
                let (second, first) = (pop(), pop());
                format!("({first} {} {second})", op.symbol())
            }
            Step::Select => {
                let (condition, second, first) = (pop(), pop(), pop());
                format!("({condition} ? {second} : {first})")
            }
        };
        stack.push(text);
    }
    stack.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAX: Step = Step::Input(Input::Register(DwarfReg(0)));

    fn value(steps: &[Step]) -> u64 {
        let expression = Expression::new(steps.to_vec()).expect("well formed");
        let read = |input| match input {
            Input::Register(register) => Ok::<_, ()>(0x8000_0000_0000_0005 + u64::from(register.0)),
            Input::Frame(offset) => Ok(i64::from(offset).cast_unsigned()),
        };
        expression.evaluate(read).expect("all inputs are there")
    }

    #[test]
    fn steps_compute() {
        use BinaryOp as B;
        let binary = |x, y, op| {
            value(&[
                RAX,
                RAX,
                Step::Binary(B::Sub),
                Step::Constant(x),
                Step::Binary(B::Add),
                Step::Constant(y),
                Step::Binary(op),
            ])
        };
        let minus = |x: u64| x.wrapping_neg();
        assert_eq!(binary(7, 9, B::Sub), minus(2));
        assert_eq!(binary(7, 9, B::Mul), 63);
        assert_eq!(binary(0b1100, 0b1010, B::And), 0b1000);
        assert_eq!(binary(0b1100, 0b1010, B::Or), 0b1110);
        assert_eq!(binary(0b1100, 0b1010, B::Xor), 0b0110);
        assert_eq!((binary(1, 63, B::Shl), binary(1, 64, B::Shl)), (1 << 63, 0));
        assert_eq!((binary(minus(1), 63, B::ShrU), binary(9, 64, B::ShrU)), (1, 0));
        assert_eq!(
            (binary(minus(8), 2, B::ShrS), binary(minus(8), 64, B::ShrS)),
            (minus(2), minus(1))
        );
        assert_eq!((binary(3, 3, B::Eq), binary(3, 4, B::Eq)), (1, 0));
        assert_eq!((binary(3, 3, B::Ne), binary(3, 4, B::Ne)), (0, 1));
        assert_eq!((binary(minus(1), 0, B::Lt), binary(0, 0, B::Lt)), (1, 0));
        assert_eq!((binary(0, 0, B::Le), binary(1, 0, B::Le)), (1, 0));
        assert_eq!(value(&[RAX, Step::Unary(UnaryOp::Not)]), 0x7fff_ffff_ffff_fffa);
        assert_eq!(value(&[RAX, Step::Unary(UnaryOp::Neg)]), 0x7fff_ffff_ffff_fffb);
        let select =
            |condition| value(&[RAX, Step::Constant(2), Step::Constant(condition), Step::Select]);
        assert_eq!((select(9), select(0)), (2, 0x8000_0000_0000_0005));
        assert_eq!(value(&[Step::Input(Input::Frame(-8))]), minus(8));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let refused = |steps: &[Step]| Expression::new(steps.to_vec()).err();
        assert_eq!(refused(&[]), Some(ExpressionError::Unbalanced));
        assert_eq!(refused(&[RAX, RAX]), Some(ExpressionError::Unbalanced));
        assert_eq!(refused(&[RAX, Step::Binary(BinaryOp::Add)]), Some(ExpressionError::Unbalanced));
        assert_eq!(refused(&[RAX, RAX, Step::Select]), Some(ExpressionError::Unbalanced));
        assert_eq!(refused(&[Step::Constant(1)]), Some(ExpressionError::NoInput));
        let not = [RAX].into_iter().chain([Step::Unary(UnaryOp::Not); MAX_STEPS]);
        assert_eq!(
            refused(&not.collect::<Vec<_>>()),
            Some(ExpressionError::TooLong(MAX_STEPS + 1))
        );
        let deep = [RAX; MAX_STACK + 1].into_iter().chain([Step::Binary(BinaryOp::Add); MAX_STACK]);
        assert_eq!(refused(&deep.collect::<Vec<_>>()), Some(ExpressionError::TooDeep));
    }

    #[test]
    fn formulas_read_well() {
        let steps = vec![
            RAX,
            Step::Constant(4),
            Step::Binary(BinaryOp::Add),
            Step::Input(Input::Frame(-24)),
            Step::Constant(u64::MAX),
            Step::Binary(BinaryOp::Lt),
            Step::Constant(0x1234),
            Step::Select,
        ];
        let expression = Expression::new(steps).expect("well formed");
        let text = formula(&expression, |input| match input {
            Input::Register(_) => "rax".to_owned(),
            Input::Frame(offset) => format!("[CFA{offset:+}]"),
        });
        assert_eq!(text, "(0x1234 ? ([CFA-24] < -1) : (rax + 4))");
    }
}
