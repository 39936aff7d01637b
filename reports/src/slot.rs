//! Names, types and values of the things that are compared.
//!
//! A report must name a local, a byte of memory, an argument of a host call and
//! a missing trap in one list, so that every reader needs one loop. A slot is
//! therefore three pieces of text with a grammar: a name such as `local3` or
//! `memory0+0x1234` ([`SlotName`]), a type ([`SlotType`]), and per side a value
//! whose form follows from the type ([`SlotType::check`]). Values are
//! hexadecimal digits of the type's full width: a report must not lose the
//! payload of a NaN, and JSON numbers cannot hold 64 bits everywhere.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use wasm_view::{Cell, HeapType, RefType, ValType, Value};

/// One compared thing and the two values it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// What it is.
    pub slot: SlotName,
    /// The form of `expected` and `actual`.
    #[serde(rename = "type")]
    pub ty: SlotType,
    /// The oracle's value; `None` if it has none there (it did not trap, made
    /// no such call).
    #[serde(deserialize_with = "Option::deserialize")]
    pub expected: Option<String>,
    /// The subject's value; `None` if it has none there, or if it could not be
    /// read.
    #[serde(deserialize_with = "Option::deserialize")]
    pub actual: Option<String>,
    /// Where the subject's value was read: a register (`rax`), a CFA offset
    /// (`CFA-24`), `constant`, an address. `None` if it was not read.
    #[serde(deserialize_with = "Option::deserialize")]
    pub location: Option<String>,
    /// The name that the module gives it, where it gives one.
    #[serde(default)]
    pub name: Option<String>,
}

impl Slot {
    /// A Wasm value that differs. The type shown is that of `expected`.
    pub fn value(
        slot: SlotName,
        expected: Value,
        actual: Value,
        location: impl Into<String>,
    ) -> Slot {
        Slot {
            slot,
            ty: expected.ty().into(),
            expected: Some(expected.hex()),
            actual: Some(actual.hex()),
            location: Some(location.into()),
            name: None,
        }
    }

    /// Bytes of a linear memory that differ, both in address order.
    pub fn bytes(memory: u32, address: u64, expected: &[u8], actual: &[u8]) -> Slot {
        let mut slot = Slot::text(
            SlotName::Memory { memory, address },
            Some(bytes_hex(expected)),
            Some(bytes_hex(actual)),
        );
        slot.ty = SlotType::Bytes;
        slot
    }

    /// Two numbers that are not Wasm values: sizes, depths, offsets, addresses.
    /// A type that is not a number's gets the numbers as text.
    pub fn number(
        slot: SlotName,
        ty: SlotType,
        expected: Option<u64>,
        actual: Option<u64>,
    ) -> Slot {
        let show = |number: u64| match ty.digits() {
            Some(width) => format!("0x{number:0width$x}"),
            None => number.to_string(),
        };
        Slot { ty, ..Slot::text(slot, expected.map(show), actual.map(show)) }
    }

    /// Two texts: names of traps, of host functions, of signals.
    pub fn text(slot: SlotName, expected: Option<String>, actual: Option<String>) -> Slot {
        Slot { slot, ty: SlotType::Text, expected, actual, location: None, name: None }
    }

    /// The same slot with where the subject's value was read.
    #[must_use]
    pub fn read_from(mut self, location: impl Into<String>) -> Slot {
        self.location = Some(location.into());
        self
    }

    /// The same slot with the name that the module gives it.
    #[must_use]
    pub fn named(mut self, name: Option<String>) -> Slot {
        self.name = name;
        self
    }
}

/// The type of a slot, and with it the form of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotType {
    /// 32-bit integer: 8 digits.
    I32,
    /// 64-bit integer: 16 digits.
    I64,
    /// Bits of a 32-bit float: 8 digits.
    F32,
    /// Bits of a 64-bit float: 16 digits.
    F64,
    /// A vector as one number, lane 0 in the lowest bits: 32 digits.
    V128,
    /// Function reference as its cell (see [`wasm_view::value`]): 16 digits.
    Funcref,
    /// External reference as its cell: 16 digits.
    Externref,
    /// Reference of the `any` hierarchy as its cell: 16 digits.
    Anyref,
    /// Exception reference as its cell: 16 digits.
    Exnref,
    /// Bytes in address order: two digits each.
    Bytes,
    /// A count or a code that is no Wasm value: 16 digits.
    U64,
    /// A byte offset in the module file: 8 digits.
    Offset,
    /// An address in the subject's process: 16 digits.
    Address,
    /// Plain text.
    Text,
}

impl SlotType {
    /// Hexadecimal digits of a value; `None` where that is not fixed.
    pub const fn digits(self) -> Option<usize> {
        match self {
            SlotType::I32 | SlotType::F32 | SlotType::Offset => Some(8),
            SlotType::V128 => Some(32),
            SlotType::Bytes | SlotType::Text => None,
            _ => Some(16),
        }
    }

    /// The type's name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            SlotType::I32 => "i32",
            SlotType::I64 => "i64",
            SlotType::F32 => "f32",
            SlotType::F64 => "f64",
            SlotType::V128 => "v128",
            SlotType::Funcref => "funcref",
            SlotType::Externref => "externref",
            SlotType::Anyref => "anyref",
            SlotType::Exnref => "exnref",
            SlotType::Bytes => "bytes",
            SlotType::U64 => "u64",
            SlotType::Offset => "offset",
            SlotType::Address => "address",
            SlotType::Text => "text",
        }
    }

    /// Checks that `value` has the form of this type. The error is a sentence
    /// about what is wrong.
    pub fn check(self, value: &str) -> Result<(), String> {
        if self == SlotType::Text {
            return Ok(());
        }
        let key = self.key();
        let digits = value
            .strip_prefix("0x")
            .ok_or_else(|| format!("a value of type {key} does not begin with 0x"))?;
        if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("a value of type {key} has something but digits 0-9 a-f"));
        }
        match self.digits() {
            Some(width) if digits.len() != width => {
                Err(format!("a value of type {key} has {} digits, not {width}", digits.len()))
            }
            None if digits.is_empty() || digits.len() % 2 != 0 => {
                Err(format!("a value of type {key} is not whole bytes"))
            }
            _ => Ok(()),
        }
    }

    /// How a person would write the value: decimal for numbers, `extern@1` for
    /// references. `None` where the digits (or the text) say it all, or are
    /// malformed.
    pub(crate) fn decimal(self, value: &str) -> Option<String> {
        let ty = match self {
            SlotType::I32 => ValType::I32,
            SlotType::I64 => ValType::I64,
            SlotType::F32 => ValType::F32,
            SlotType::F64 => ValType::F64,
            SlotType::Funcref => ValType::FUNCREF,
            SlotType::Externref => ValType::EXTERNREF,
            SlotType::Anyref => ValType::Ref(RefType::nullable(HeapType::Any)),
            SlotType::Exnref => ValType::Ref(RefType::nullable(HeapType::Exn)),
            SlotType::U64 => return Some(parse_hex(value)?.to_string()),
            // One byte is a number; more are a sequence.
            SlotType::Bytes if value.len() == 4 => return Some(parse_hex(value)?.to_string()),
            _ => return None,
        };
        Some(Value::from_cell(ty, Cell(parse_hex(value)?)).to_string())
    }

    /// The shortest form that says the value in running text: as
    /// [`SlotType::decimal`], but offsets and addresses in hexadecimal.
    pub(crate) fn brief(self, value: &str) -> Option<String> {
        match self {
            SlotType::Offset | SlotType::Address => Some(format!("{:#x}", parse_hex(value)?)),
            _ => self.decimal(value),
        }
    }
}

impl From<ValType> for SlotType {
    fn from(ty: ValType) -> SlotType {
        match ty {
            ValType::I32 => SlotType::I32,
            ValType::I64 => SlotType::I64,
            ValType::F32 => SlotType::F32,
            ValType::F64 => SlotType::F64,
            ValType::V128 => SlotType::V128,
            ValType::Ref(RefType { heap: HeapType::Func | HeapType::NoFunc, .. }) => {
                SlotType::Funcref
            }
            ValType::Ref(RefType { heap: HeapType::Extern | HeapType::NoExtern, .. }) => {
                SlotType::Externref
            }
            ValType::Ref(RefType { heap: HeapType::Exn | HeapType::NoExn, .. }) => SlotType::Exnref,
            ValType::Ref(_) => SlotType::Anyref,
        }
    }
}

/// What a slot is. Indices are those of the instance that the divergence names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotName {
    /// `local3`; `frame2.local3` in the second caller. Frame 0 is the innermost.
    Local {
        /// Frames between it and the innermost.
        frame: u32,
        /// Index of the local, parameters first.
        index: u32,
    },
    /// `stack0`, an operand, 0 is the bottom; `frame2.stack0` in a caller.
    Stack {
        /// Frames between it and the innermost.
        frame: u32,
        /// Position from the bottom of that frame's operand stack.
        index: u32,
    },
    /// `global2`.
    Global(u32),
    /// `memory0+0x1234`, from that byte on.
    Memory {
        /// Index of the memory.
        memory: u32,
        /// Byte address in it.
        address: u64,
    },
    /// `memory0.size`, in pages.
    MemorySize(u32),
    /// `table0[5]`.
    Table {
        /// Index of the table.
        table: u32,
        /// Index of the element.
        element: u64,
    },
    /// `table0.size`, in elements.
    TableSize(u32),
    /// `data3.dropped`: 1 if that data segment was dropped.
    DroppedData(u32),
    /// `elem3.dropped`: 1 if that element segment was dropped, or is empty.
    DroppedElement(u32),
    /// `instance+0x98`: eight bytes of the instance data that code only reads, as the
    /// address of a memory or the entry of a function, from that byte on.
    InstanceData(u32),
    /// `argument0` of a host call or of an operation like `memory.copy`.
    Argument(u32),
    /// `result0` of a function or a host call.
    Result(u32),
    /// `boundary`, where execution is.
    Boundary,
    /// `trap`, by the specification's wording.
    Trap,
    /// `host_call`, by module and name.
    HostCall,
    /// `exit_code`.
    ExitCode,
    /// `frame_count`, depth of the call stack.
    FrameCount,
    /// `pc`, in the subject.
    Pc,
    /// `sp`, in the subject.
    Sp,
    /// `signal`, by name.
    Signal,
    /// `fault_address`, in the subject.
    FaultAddress,
    /// `syscall`, its number.
    Syscall,
}

impl SlotName {
    /// The names that have no number in them.
    const PLAIN: [(SlotName, &'static str); 10] = [
        (SlotName::Boundary, "boundary"),
        (SlotName::Trap, "trap"),
        (SlotName::HostCall, "host_call"),
        (SlotName::ExitCode, "exit_code"),
        (SlotName::FrameCount, "frame_count"),
        (SlotName::Pc, "pc"),
        (SlotName::Sp, "sp"),
        (SlotName::Signal, "signal"),
        (SlotName::FaultAddress, "fault_address"),
        (SlotName::Syscall, "syscall"),
    ];

    /// A local of the innermost frame.
    pub const fn local(index: u32) -> SlotName {
        SlotName::Local { frame: 0, index }
    }

    /// An operand of the innermost frame, 0 is the bottom.
    pub const fn stack(index: u32) -> SlotName {
        SlotName::Stack { frame: 0, index }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SlotName::Local { frame: 0, index } => write!(f, "local{index}"),
            SlotName::Local { frame, index } => write!(f, "frame{frame}.local{index}"),
            SlotName::Stack { frame: 0, index } => write!(f, "stack{index}"),
            SlotName::Stack { frame, index } => write!(f, "frame{frame}.stack{index}"),
            SlotName::Global(index) => write!(f, "global{index}"),
            SlotName::Memory { memory, address } => write!(f, "memory{memory}+{address:#x}"),
            SlotName::MemorySize(index) => write!(f, "memory{index}.size"),
            SlotName::Table { table, element } => write!(f, "table{table}[{element}]"),
            SlotName::TableSize(index) => write!(f, "table{index}.size"),
            SlotName::InstanceData(offset) => write!(f, "instance+{offset:#x}"),
            SlotName::DroppedData(index) => write!(f, "data{index}.dropped"),
            SlotName::DroppedElement(index) => write!(f, "elem{index}.dropped"),
            SlotName::Argument(index) => write!(f, "argument{index}"),
            SlotName::Result(index) => write!(f, "result{index}"),
            plain => {
                let name = Self::PLAIN.iter().find(|(slot, _)| *slot == plain);
                f.write_str(name.map_or("", |(_, name)| name))
            }
        }
    }
}

/// A text that names no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a slot")]
pub struct NotASlot(pub String);

impl FromStr for SlotName {
    type Err = NotASlot;

    /// The inverse of [`SlotName`]'s `Display`; no other spelling is accepted.
    fn from_str(text: &str) -> Result<SlotName, NotASlot> {
        parse(text)
            .filter(|slot| slot.to_string() == text)
            .ok_or_else(|| NotASlot(text.chars().take(60).collect()))
    }
}

/// Reads a name leniently; the caller compares its canonical spelling.
fn parse(text: &str) -> Option<SlotName> {
    if let Some((slot, _)) = SlotName::PLAIN.iter().find(|(_, name)| *name == text) {
        return Some(*slot);
    }
    let (frame, rest) = match text.strip_prefix("frame").and_then(|rest| rest.split_once('.')) {
        Some((frame, rest)) => (frame.parse().ok()?, rest),
        None => (0, text),
    };
    if let Some(index) = rest.strip_prefix("local") {
        return Some(SlotName::Local { frame, index: index.parse().ok()? });
    }
    if let Some(index) = rest.strip_prefix("stack") {
        return Some(SlotName::Stack { frame, index: index.parse().ok()? });
    }
    if let Some(rest) = text.strip_prefix("memory") {
        return match rest.split_once("+0x") {
            Some((memory, address)) => Some(SlotName::Memory {
                memory: memory.parse().ok()?,
                address: u64::from_str_radix(address, 16).ok()?,
            }),
            None => Some(SlotName::MemorySize(rest.strip_suffix(".size")?.parse().ok()?)),
        };
    }
    if let Some(rest) = text.strip_prefix("table") {
        return match rest.split_once('[') {
            Some((table, element)) => Some(SlotName::Table {
                table: table.parse().ok()?,
                element: element.strip_suffix(']')?.parse().ok()?,
            }),
            None => Some(SlotName::TableSize(rest.strip_suffix(".size")?.parse().ok()?)),
        };
    }
    if let Some(offset) = text.strip_prefix("instance+0x") {
        return Some(SlotName::InstanceData(u32::from_str_radix(offset, 16).ok()?));
    }
    if let Some(rest) = text.strip_prefix("data") {
        return Some(SlotName::DroppedData(rest.strip_suffix(".dropped")?.parse().ok()?));
    }
    if let Some(rest) = text.strip_prefix("elem") {
        return Some(SlotName::DroppedElement(rest.strip_suffix(".dropped")?.parse().ok()?));
    }
    if let Some(index) = text.strip_prefix("global") {
        return Some(SlotName::Global(index.parse().ok()?));
    }
    if let Some(index) = text.strip_prefix("argument") {
        return Some(SlotName::Argument(index.parse().ok()?));
    }
    Some(SlotName::Result(text.strip_prefix("result")?.parse().ok()?))
}

impl Serialize for SlotName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SlotName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SlotName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn bytes_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The number that `0x` and up to 16 digits stand for.
pub(crate) fn parse_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let mut names: Vec<SlotName> = SlotName::PLAIN.iter().map(|(slot, _)| *slot).collect();
        names.extend([
            SlotName::local(3),
            SlotName::Local { frame: 2, index: 3 },
            SlotName::stack(0),
            SlotName::Stack { frame: 1, index: u32::MAX },
            SlotName::Global(2),
            SlotName::Memory { memory: 0, address: 0x1234 },
            SlotName::Memory { memory: 1, address: u64::MAX },
            SlotName::MemorySize(0),
            SlotName::Table { table: 0, element: 5 },
            SlotName::TableSize(7),
            SlotName::InstanceData(0x98),
            SlotName::DroppedData(3),
            SlotName::DroppedElement(0),
            SlotName::Argument(0),
            SlotName::Result(0),
        ]);
        for name in names {
            let text = name.to_string();
            assert!(!text.is_empty(), "{name:?}");
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        for text in [
            "",
            "local",
            "local-1",
            "local03",
            "local+3",
            "frame0.local1",
            "frame1.global0",
            "memory0",
            "memory0+1234",
            "memory0+0x0012",
            "memory0+0xFF",
            "table0[5",
            "table0[]",
            "local4294967296",
            "slot1",
            "Trap",
            "memory0+0x+1",
        ] {
            assert!(text.parse::<SlotName>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_have_the_form_of_their_type() {
        for (ty, good, bad) in [
            (SlotType::I32, "0x00000001", "0x1"),
            (SlotType::I64, "0x0000000000000001", "0x00000001"),
            (SlotType::V128, "0x00000000000000000000000000000001", "1"),
            (SlotType::Bytes, "0x0a0b0c", "0x0a0b0"),
            (SlotType::Bytes, "0x0a", "0x"),
            (SlotType::F32, "0x7fa00001", "0x7FA00001"),
            (SlotType::Offset, "0x000001a4", "0x00000-a4"),
        ] {
            assert_eq!(ty.check(good), Ok(()));
            assert!(ty.check(bad).is_err(), "{ty:?} {bad}");
        }
    }

    #[test]
    fn decimals_follow_the_type() {
        assert_eq!(SlotType::I32.decimal("0xffffffff").as_deref(), Some("-1"));
        assert_eq!(SlotType::F32.decimal("0x3f800000").as_deref(), Some("1.0"));
        assert_eq!(SlotType::F32.decimal("0x7fa00001").as_deref(), Some("NaN"));
        assert_eq!(
            SlotType::Funcref.decimal("0x0000000100000007").as_deref(),
            Some("instance#0#7")
        );
        assert_eq!(SlotType::Bytes.decimal("0x0a").as_deref(), Some("10"));
        assert_eq!(SlotType::Bytes.decimal("0x0a0b"), None);
        assert_eq!(SlotType::I32.decimal("junk"), None);
        assert_eq!(SlotType::I64.decimal("0x11111111111111111"), None);
    }
}
