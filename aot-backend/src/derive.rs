//! Expressions for values that have no place.
//!
//! Optimised code keeps a value only as long as it needs it, and in the form in
//! which it needs it. Two ways lead back to one that is gone: *forward*, from
//! the arguments of the pure operation that defines it, and *backward*, from
//! something that was computed from it and can be undone (`i` from `i + 1`).
//! Both are sound wherever a register or stack place is: in SSA form, of
//! values that dominate a point each has its latest definition there, so an
//! equation between them that holds at one definition holds at the point.
//!
//! The search is limited in depth and in length, and content with the first way
//! that is short. It remembers what it found, with the code for which that holds:
//! as long as nothing that it looked at moves.

use crate::locations::{Places, Registers, Span};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Type, Value, ValueDef};
use cranelift_codegen::packed_option::PackedOption;
use dwarf_map::expression::{BinaryOp, MAX_STEPS, UnaryOp};
use dwarf_map::{Expression, ExpressionIdx, Input, Location, Step};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use std::collections::HashMap;
use wasm_view::Cell;

/// Operations from a value to what it is computed from.
const DEPTH: u32 = 5;
/// Ways back that are tried from one value.
const MOST_USERS: usize = 8;
/// Steps with which a way is short enough not to look for another.
const SHORT: usize = 8;

/// Makes expressions within one compiled function.
#[derive(Default)]
pub(crate) struct Deriver {
    /// The instruction whose only result each value is, by its number.
    definitions: Vec<PackedOption<Inst>>,
    /// By the first of equal values: what can be undone to give them.
    users: HashMap<Value, Users, FxBuildHasher>,
    expressions: Vec<Expression>,
    known: HashMap<Expression, ExpressionIdx, FxBuildHasher>,
    found: HashMap<Sought, Found, FxBuildHasher>,
    /// Where values are, by the first of equal ones and whether registers must be
    /// preserved: what was found last.
    places: HashMap<(Value, bool), (Span, Location), FxBuildHasher>,
}

type Users = SmallVec<[Value; 4]>;
type Steps = SmallVec<[Step; 6]>;

/// What was searched: the first of equal values, the depth that was allowed, and
/// the registers.
type Sought = (Value, u32, Registers);

/// What a search came to, and where.
type Found = (Span, Option<Word>);

/// Most results of searches that are remembered at a time.
const MOST_FOUND: usize = 1 << 18;

/// How to compute a value.
#[derive(Clone)]
struct Word {
    steps: Steps,
    /// Whether the bits above the value's type are 0; else they are anything.
    clean: bool,
}

impl Deriver {
    /// For a function whose values are at these places.
    pub fn new(places: &Places<'_>) -> Self {
        let mut users: HashMap<Value, Users, FxBuildHasher> = HashMap::default();
        let dfg = &places.lowered.function.dfg;
        let mut definitions = vec![PackedOption::default(); dfg.num_values()];
        for value in dfg.values() {
            let Some(inst) = definition(places, value) else { continue };
            definitions[value.as_u32() as usize] = inst.into();
            if matches!(
                dfg.insts[inst].opcode(),
                Opcode::Iadd | Opcode::Isub | Opcode::Bxor | Opcode::Ineg | Opcode::Bnot
            ) {
                for argument in dfg.inst_args(inst) {
                    let list = users.entry(places.first(*argument)).or_default();
                    if list.len() < MOST_USERS {
                        list.push(value);
                    }
                }
            }
        }
        Deriver { definitions, users, ..Deriver::default() }
    }

    /// The expressions made.
    pub fn into_expressions(self) -> Vec<Expression> {
        self.expressions
    }

    /// How a value without place follows at `pc` from those that have one.
    pub fn derive(
        &mut self,
        places: &Places<'_>,
        value: Value,
        pc: u32,
        registers: Registers,
        span: &mut Span,
    ) -> Option<Location> {
        if self.found.len() > MOST_FOUND {
            self.found.clear();
            self.places.clear();
        }
        let bits = width(places.lowered.function.dfg.value_type(value))?;
        let mut search = Search { deriver: self, places, pc, registers, span: Span::ALL };
        let word = search.word(value, DEPTH);
        span.cut(search.span);
        let word = word?;
        if let Some(constant) = word.constant() {
            return Some(Location::Constant(Cell(constant & mask(bits))));
        }
        // Too long or too deep is as good as not found.
        let expression = Expression::new(word.steps.into_vec()).ok()?;
        if let Some(&index) = self.known.get(&expression) {
            return Some(Location::Derived(index));
        }
        let index = ExpressionIdx::new(u32::try_from(self.expressions.len()).ok()?);
        self.expressions.push(expression.clone());
        self.known.insert(expression, index);
        Some(Location::Derived(index))
    }
}

/// The instruction whose only result a value is.
fn definition(places: &Places<'_>, value: Value) -> Option<Inst> {
    let dfg = &places.lowered.function.dfg;
    let ValueDef::Result(inst, 0) = dfg.value_def(dfg.resolve_aliases(value)) else {
        return None;
    };
    // Of an instruction that was replaced, what is left may be another.
    (dfg.inst_results(inst) == [dfg.resolve_aliases(value)]).then_some(inst)
}

/// Bits of a scalar that fits a word.
fn width(ty: Type) -> Option<u32> {
    ((ty.is_int() || ty.is_float()) && ty.bits() <= 64).then(|| ty.bits())
}

const fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

struct Search<'s, 'p> {
    deriver: &'s mut Deriver,
    places: &'p Places<'p>,
    pc: u32,
    registers: Registers,
    /// Where everything is so that the search comes to the same.
    span: Span,
}

impl Search<'_, '_> {
    fn word(&mut self, value: Value, depth: u32) -> Option<Word> {
        let key = (self.places.first(value), depth, self.registers);
        if let Some((span, known)) = self.deriver.found.get(&key)
            && span.contains(self.pc)
        {
            self.span.cut(*span);
            return known.clone();
        }
        let whole = std::mem::replace(&mut self.span, Span::ALL);
        let found = self.search(value, depth);
        self.deriver.found.insert(key, (self.span, found.clone()));
        self.span.cut(whole);
        found
    }

    /// Where a value is, if it is somewhere.
    fn place(&mut self, value: Value) -> Location {
        let key = (self.places.first(value), self.registers.preserved_only);
        if let Some((span, place)) = self.deriver.places.get(&key)
            && span.contains(self.pc)
        {
            self.span.cut(*span);
            return *place;
        }
        let general = Registers { general_only: true, ..self.registers };
        let mut span = Span::ALL;
        let place = self.places.find(value, self.pc, general, &mut span);
        self.deriver.places.insert(key, (span, place));
        self.span.cut(span);
        place
    }

    fn definition(&self, value: Value) -> Option<Inst> {
        self.deriver.definitions.get(value.as_u32() as usize)?.expand()
    }

    fn search(&mut self, value: Value, depth: u32) -> Option<Word> {
        let bits = width(self.places.lowered.function.dfg.value_type(value))?;
        match self.place(value) {
            Location::Register(register) => {
                return Some(Word::of(Step::Input(Input::Register(register))));
            }
            // With the high byte first, four bytes of a float are not the low ones.
            Location::CfaOffset(offset)
                if !self.places.lowered.isa.is_big_endian()
                    || self.places.lowered.function.dfg.value_type(value)
                        != cranelift_codegen::ir::types::F32 =>
            {
                return Some(Word::of(Step::Input(Input::Frame(offset))));
            }
            Location::Constant(cell) => return Some(Word::number(cell.0 & mask(bits))),
            Location::CfaOffset(_) | Location::Derived(_) | Location::Unavailable(_) => {}
        }
        let depth = depth.checked_sub(1)?;
        let places = self.places;
        let mut best: Option<Word> = None;
        // Whether that will do.
        let mut offer = |word: Option<Word>| {
            if let Some(word) = word.filter(|word| word.steps.len() <= MAX_STEPS)
                && best.as_ref().is_none_or(|best| word.steps.len() < best.steps.len())
            {
                best = Some(word);
            }
            best.as_ref().is_some_and(|best| best.steps.len() <= SHORT)
        };
        for &member in places.lowered.classes.members(&value) {
            if let Some(inst) = self.definition(member)
                && offer(self.forward(inst, member, depth))
            {
                return best;
            }
        }
        for &wide in places.lowered.classes.wider(value) {
            if offer(self.word(wide, depth).map(Word::unclean)) {
                return best;
            }
        }
        let first = places.first(value);
        let users = self.deriver.users.get(&first).cloned().unwrap_or_default();
        for user in users {
            if offer(self.backward(first, user, depth)) {
                return best;
            }
        }
        best
    }

    /// From the arguments of a pure operation.
    fn forward(&mut self, inst: Inst, value: Value, depth: u32) -> Option<Word> {
        let dfg = &self.places.lowered.function.dfg;
        let data = dfg.insts[inst];
        let bits = width(dfg.value_type(value))?;
        let arguments = dfg.inst_args(inst);
        let of = |at: usize| arguments.get(at).map(|&argument| dfg.value_type(argument));
        // Of the first argument, which decides for those that have one type.
        let from = width(of(0)?)?;
        let mut argument = |at: usize| self.word(*arguments.get(at)?, depth);
        let count_mask = Word::number(u64::from(bits - 1));
        Some(match data.opcode() {
            Opcode::Iadd => Word::binary(BinaryOp::Add, argument(0)?, argument(1)?),
            Opcode::Isub => Word::binary(BinaryOp::Sub, argument(0)?, argument(1)?),
            Opcode::Imul => Word::binary(BinaryOp::Mul, argument(0)?, argument(1)?),
            Opcode::Band => Word::binary(BinaryOp::And, argument(0)?, argument(1)?),
            Opcode::Bor => Word::binary(BinaryOp::Or, argument(0)?, argument(1)?),
            Opcode::Bxor => Word::binary(BinaryOp::Xor, argument(0)?, argument(1)?),
            Opcode::Ineg => argument(0)?.unary(UnaryOp::Neg),
            Opcode::Bnot => argument(0)?.unary(UnaryOp::Not),
            // The count may be of another type, whose upper bits fall off.
            Opcode::Ishl | Opcode::Ushr | Opcode::Sshr => {
                let count = Word::binary(BinaryOp::And, argument(1)?, count_mask);
                let x = argument(0)?;
                match data.opcode() {
                    Opcode::Ishl => Word::binary(BinaryOp::Shl, x, count),
                    Opcode::Ushr => {
                        let mut word = Word::binary(BinaryOp::ShrU, x.zero_extended(bits), count);
                        word.clean = true;
                        word
                    }
                    _ => Word::binary(BinaryOp::ShrS, x.sign_extended(bits), count),
                }
            }
            Opcode::Rotl | Opcode::Rotr => {
                let (x, count) = (argument(0)?, argument(1)?);
                let back = Word::binary(BinaryOp::Sub, Word::number(bits.into()), count.clone());
                let (left, right) = match data.opcode() {
                    Opcode::Rotl => (count, back),
                    _ => (back, count),
                };
                let left = Word::binary(BinaryOp::And, left, count_mask.clone());
                let right = Word::binary(BinaryOp::And, right, count_mask);
                let up = Word::binary(BinaryOp::Shl, x.clone(), left);
                let down = Word::binary(BinaryOp::ShrU, x.zero_extended(bits), right);
                Word::binary(BinaryOp::Or, up, down)
            }
            Opcode::Icmp => {
                let InstructionData::IntCompare { cond, .. } = data else { return None };
                Word::compare(cond, argument(0)?, argument(1)?, from)
            }
            Opcode::Smin | Opcode::Smax | Opcode::Umin | Opcode::Umax => {
                let less = match data.opcode() {
                    Opcode::Smin => IntCC::SignedLessThan,
                    Opcode::Smax => IntCC::SignedGreaterThan,
                    Opcode::Umin => IntCC::UnsignedLessThan,
                    _ => IntCC::UnsignedGreaterThan,
                };
                let (x, y) = (argument(0)?, argument(1)?);
                let condition = Word::compare(less, x.clone(), y.clone(), from);
                Word::select(condition, x, y)
            }
            Opcode::Select | Opcode::SelectSpectreGuard => {
                let condition = argument(0)?.zero_extended(from);
                Word::select(condition, argument(1)?, argument(2)?)
            }
            Opcode::Uextend => argument(0)?.zero_extended(from),
            Opcode::Sextend => argument(0)?.sign_extended(from),
            Opcode::Ireduce => argument(0)?.unclean(),
            Opcode::Bitcast if from == bits => argument(0)?,
            Opcode::Fneg => {
                Word::binary(BinaryOp::Xor, argument(0)?, Word::number(1 << (bits - 1)))
            }
            Opcode::Fabs => Word::binary(BinaryOp::And, argument(0)?, Word::number(mask(bits - 1))),
            Opcode::Fcopysign => {
                let sign = 1 << (bits - 1);
                let magnitude = Word::binary(BinaryOp::And, argument(0)?, Word::number(sign - 1));
                let sign = Word::binary(BinaryOp::And, argument(1)?, Word::number(sign));
                Word::binary(BinaryOp::Or, magnitude, sign)
            }
            _ => return None,
        })
    }

    /// From `user`, one of whose arguments is the value.
    fn backward(&mut self, first: Value, user: Value, depth: u32) -> Option<Word> {
        let dfg = &self.places.lowered.function.dfg;
        let inst = self.definition(user)?;
        let arguments = dfg.inst_args(inst);
        let is_value = |at: usize| {
            arguments.get(at).is_some_and(|&argument| self.places.first(argument) == first)
        };
        let opcode = dfg.insts[inst].opcode();
        let (other, value_first) = match (arguments, is_value(0), is_value(1)) {
            ([_], true, _) => (None, true),
            (&[_, other], true, false) => (Some(other), true),
            (&[other, _], false, true) => (Some(other), false),
            // Both: twice the value, or nothing of it.
            _ => return None,
        };
        let result = self.word(user, depth)?;
        let mut other = || self.word(other?, depth);
        let word = match opcode {
            Opcode::Ineg => result.unary(UnaryOp::Neg),
            Opcode::Bnot => result.unary(UnaryOp::Not),
            Opcode::Bxor => Word::binary(BinaryOp::Xor, result, other()?),
            Opcode::Iadd => Word::binary(BinaryOp::Sub, result, other()?),
            Opcode::Isub if value_first => Word::binary(BinaryOp::Add, result, other()?),
            Opcode::Isub => Word::binary(BinaryOp::Sub, other()?, result),
            _ => return None,
        };
        Some(word)
    }
}

impl Word {
    fn of(step: Step) -> Word {
        Word { steps: Steps::from_elem(step, 1), clean: false }
    }

    fn number(word: u64) -> Word {
        Word { steps: Steps::from_elem(Step::Constant(word), 1), clean: true }
    }

    fn constant(&self) -> Option<u64> {
        match self.steps.as_slice() {
            [Step::Constant(word)] => Some(*word),
            _ => None,
        }
    }

    fn unclean(mut self) -> Word {
        self.clean = false;
        self
    }

    fn unary(mut self, op: UnaryOp) -> Word {
        match self.constant() {
            Some(word) => Word::number(op.apply(word)).unclean(),
            None => {
                self.steps.push(Step::Unary(op));
                self.unclean()
            }
        }
    }

    /// With all bits of the words; the result is clean where that is plain.
    fn binary(op: BinaryOp, x: Word, y: Word) -> Word {
        let clean = match op {
            BinaryOp::And => x.clean || y.clean,
            BinaryOp::Or | BinaryOp::Xor => x.clean && y.clean,
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le => true,
            _ => false,
        };
        if let (Some(x), Some(y)) = (x.constant(), y.constant()) {
            return Word { clean, ..Word::number(op.apply(x, y)) };
        }
        let nothing = match op {
            BinaryOp::Mul => Some(1),
            BinaryOp::And => Some(u64::MAX),
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le => None,
            _ => Some(0),
        };
        if nothing.is_some() && y.constant() == nothing {
            return Word { clean: x.clean && clean, ..x };
        }
        let mut steps = x.steps;
        steps.extend(y.steps);
        steps.push(Step::Binary(op));
        Word { steps, clean }
    }

    fn zero_extended(self, bits: u32) -> Word {
        if self.clean || bits == 64 {
            return self;
        }
        let mut word = Word::binary(BinaryOp::And, self, Word::number(mask(bits)));
        word.clean = true;
        word
    }

    fn sign_extended(self, bits: u32) -> Word {
        if bits == 64 {
            return self;
        }
        let count = Word::number(u64::from(64 - bits));
        let up = Word::binary(BinaryOp::Shl, self, count.clone());
        Word::binary(BinaryOp::ShrS, up, count).unclean()
    }

    /// Of two values of so many bits.
    fn compare(condition: IntCC, x: Word, y: Word, bits: u32) -> Word {
        let both = |to: fn(Word, u32) -> Word| (to(x.clone(), bits), to(y.clone(), bits));
        // Unsigned numbers of less than a word are never negative; whole words
        // are moved to where their order is that of signed ones.
        let shifted: fn(Word, u32) -> Word = |word, bits| match bits {
            64 => Word::binary(BinaryOp::Xor, word, Word::number(1 << 63)).unclean(),
            _ => word.zero_extended(bits),
        };
        let (op, (x, y)) = match condition {
            IntCC::Equal => (BinaryOp::Eq, both(Word::zero_extended)),
            IntCC::NotEqual => (BinaryOp::Ne, both(Word::zero_extended)),
            IntCC::SignedLessThan | IntCC::SignedGreaterThan => {
                (BinaryOp::Lt, both(Word::sign_extended))
            }
            IntCC::SignedLessThanOrEqual | IntCC::SignedGreaterThanOrEqual => {
                (BinaryOp::Le, both(Word::sign_extended))
            }
            IntCC::UnsignedLessThan | IntCC::UnsignedGreaterThan => (BinaryOp::Lt, both(shifted)),
            IntCC::UnsignedLessThanOrEqual | IntCC::UnsignedGreaterThanOrEqual => {
                (BinaryOp::Le, both(shifted))
            }
        };
        match condition {
            IntCC::SignedGreaterThan
            | IntCC::SignedGreaterThanOrEqual
            | IntCC::UnsignedGreaterThan
            | IntCC::UnsignedGreaterThanOrEqual => Word::binary(op, y, x),
            _ => Word::binary(op, x, y),
        }
    }

    /// `condition` with all its bits.
    fn select(condition: Word, if_true: Word, if_false: Word) -> Word {
        match condition.constant() {
            Some(0) => return if_false,
            Some(_) => return if_true,
            None => {}
        }
        let clean = if_true.clean && if_false.clean;
        let mut steps = if_false.steps;
        steps.extend(if_true.steps);
        steps.extend(condition.steps);
        steps.push(Step::Select);
        Word { steps, clean }
    }
}
