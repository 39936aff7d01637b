//! What the names in a report mean: `wdiff explain CODE`.
//!
//! Every kind of divergence, every reason for an unavailable value and for an
//! inconclusive run, every kind of a gate's failure, every adoption and every
//! rule of the static checker has an entry: what it says, what usually is
//! behind it, what to look at next. A name may be in more than one family.

use crate::divergence::DivergenceKind;
use crate::gate::FailureKind;
use crate::model::InconclusiveReason;

/// What one name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The name, as in reports.
    pub code: &'static str,
    /// What it is a name of.
    pub family: &'static str,
    /// What it says, in one sentence.
    pub title: &'static str,
    /// What is usually behind it, and what to do.
    pub text: &'static str,
}

/// The table of the rules of the static checker.
const RULES: &str = include_str!("../../docs/map-rules.md");

/// Every entry, family by family.
pub fn all() -> Vec<Explanation> {
    let mut list: Vec<Explanation> = DivergenceKind::ALL.map(divergence).into();
    list.extend(UNAVAILABLE.iter().map(|(code, title, text)| Explanation {
        code,
        family: "reason for an unavailable value",
        title,
        text,
    }));
    list.extend(INCONCLUSIVE.map(inconclusive));
    list.extend(FailureKind::ALL.map(failure));
    list.extend(ADOPTIONS.iter().map(|(code, title, text)| Explanation {
        code,
        family: "adoption: a freedom of the specification that was used",
        title,
        text,
    }));
    list.extend(rules());
    list
}

/// The entries for a name; dashes and underscores are the same.
pub fn find(code: &str) -> Vec<Explanation> {
    let same = |known: &str| known.replace('-', "_") == code.replace('-', "_").to_lowercase();
    all().into_iter().filter(|entry| same(entry.code)).collect()
}

/// The rules of the static checker, from their documentation.
fn rules() -> impl Iterator<Item = Explanation> {
    RULES.lines().filter_map(|line| {
        let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let title = rest.strip_suffix(" |")?;
        Some(Explanation {
            code,
            family: "rule of the static checker",
            title,
            text: "`wdiff map IMAGE --check` checks it, from the image alone: map, code, call frame information, DWARF and module must agree. \
                   An image that breaks it was made by a faulty backend or damaged since; nothing needs to be run to see it. \
                   `wdiff map IMAGE --func F` prints the function's map.",
        })
    })
}

/// The entry of a kind of divergence.
pub fn divergence(kind: DivergenceKind) -> Explanation {
    use DivergenceKind as Kind;
    let (title, text) = match kind {
        Kind::ControlFlow => (
            "The two sides are at different boundaries.",
            "A branch was taken on one side only, a jump table has a wrong target, or a call went elsewhere. The boundary named is the last common one. \
             Look at the condition before it: it was compared and equal, so the branch itself, its condition code or its target is suspect. \
             A boundary that the oracle executes and that the report counts as eliminated is one that the compiler took for unreachable.",
        ),
        Kind::Local => (
            "A local has another value than in the oracle.",
            "Either the code computed or kept it wrongly, or the map names the wrong place: then the value read is often one that another slot has. \
             The instruction executed last is the first suspect. If the value is right in the register next to it, look for a move that is missing on one way into the block. \
             `wdiff map PROG --func F` shows where the map has the local before and after.",
        ),
        Kind::Operand => (
            "A value on the operand stack is another one than in the oracle.",
            "The instruction executed last computed it, unless it was equal at the boundary before. Its native code is shown: compare condition codes, widths and extensions with the Wasm. \
             Where registers hold the right value and the location is another, the map is at fault.",
        ),
        Kind::Memory => (
            "A memory has other contents or another size than in the oracle.",
            "What the oracle wrote is compared at the next stop, all else at host calls and at the end; a difference found late was replayed to its boundary. Suspects are the address (offset added twice, 32 bits not extended), \
             the width of the store, and stores that were moved or dropped.",
        ),
        Kind::Global => (
            "A global has another value than in the oracle.",
            "Every mutable global is compared at each stop. A wrong one right after `global.set` is the store; one that changes elsewhere was overwritten, by a store to instance data that it does not own.",
        ),
        Kind::Table => (
            "A table has other elements or another size than in the oracle.",
            "Compared like memory. Suspects are `table.set`, the representation of references (null, the index of the function), and bulk operations with overlapping ranges.",
        ),
        Kind::HostCall => (
            "Another host function is called, or with other arguments.",
            "The call has not been made yet: the world outside is as the oracle left it. Arguments come from registers of the calling convention; a wrong one that was right as an operand was moved wrongly for the call.",
        ),
        Kind::Trap => (
            "One side traps and the other does not, or for another reason.",
            "Missing bounds or divisor checks, a check with the wrong signedness, or a trap table that names another reason for the instruction. A trap of the subject alone may also be an access that the Wasm does not make.",
        ),
        Kind::Exit => (
            "The program ends otherwise: another exit code or other results.",
            "Everything up to here was equal, so the epilogue or the return convention is suspect: results in wrong registers, or not extended. In scripts: an assertion does not hold although both sides agree.",
        ),
        Kind::Map => (
            "The map contradicts the oracle or itself; the code may be right.",
            "Most often a constant that the map gives and the oracle does not have, or an expression with wrong inputs. What runs is not affected, but whoever reads the state by this map gets a wrong one. `wdiff map PROG --check` may say more.",
        ),
        Kind::StablePoint => (
            "At a stable point the state cannot be recovered as promised.",
            "A live value of the frame or of a suspended one has no location, a stable point is missing or too many, its cold path stores another state, or it is taken without being armed. \
             A checkpoint taken here would lose or change the program.",
        ),
        Kind::Sandbox => (
            "The subject did what no Wasm code can do.",
            "A system call, an access outside its memories, a jump outside its code, a return to a wrong address. The PC and the fault address are in the report. Usually a wild pointer from a missing check, or a stack that is out of balance.",
        ),
        Kind::Snapshot => (
            "A snapshot does not restore to what was captured.",
            "The view right after restoring differs from the view that was stored: the restore edge of the target, or the conversion of a value, is at fault.",
        ),
    };
    Explanation { code: kind.key(), family: "kind of divergence", title, text }
}

const UNAVAILABLE: [(&str, &str, &str); 4] = [
    (
        "no_longer_live",
        "The register allocator had no further use for the value.",
        "Its register or slot was given to another value before this boundary. If the Wasm reads the value again, the compiler computes it anew or has moved the reader to before this boundary. \
         `--stable` keeps live values at stable points; elsewhere an expression over other values may recover it (`derived`).",
    ),
    (
        "folded",
        "Instruction selection merged the value's computation into a later instruction.",
        "An address, a comparison or a load became a part of the instruction that uses it, so that the value itself is never in a register. Derived locations compute it from its inputs where these are still there.",
    ),
    (
        "clobbered",
        "In a suspended frame: its register belongs to the callee now.",
        "The value is in a register that the called function need not preserve, and is not read after the call.",
    ),
    (
        "not_expressible",
        "The value is in a place that the map cannot express yet.",
        "For example one half of a vector, or an expression of an operation that the map has no word for.",
    ),
];

const INCONCLUSIVE: [InconclusiveReason; 6] = [
    InconclusiveReason::Limit,
    InconclusiveReason::Timeout,
    InconclusiveReason::Unsupported,
    InconclusiveReason::Interrupted,
    InconclusiveReason::Environment,
    InconclusiveReason::Replay,
];

fn inconclusive(reason: InconclusiveReason) -> Explanation {
    let (title, text) = match reason {
        InconclusiveReason::Limit => (
            "A limit on work was reached.",
            "`--max-stops`, a gate's `--time-budget`, or a limit of the oracle. What was compared up to there was equal; the rest was not looked at.",
        ),
        InconclusiveReason::Timeout => (
            "The time of `--timeout` ran out.",
            "What was compared up to there was equal. Give more time, or stop less often: `--break stable`.",
        ),
        InconclusiveReason::Unsupported => (
            "The program, the subject or an option needs what wdiff does not support.",
            "It is named, with its byte offset where it is in the module. Nothing is skipped silently; the README lists what is supported.",
        ),
        InconclusiveReason::Interrupted => {
            ("The user ended the run.", "What was compared up to there was equal.")
        }
        InconclusiveReason::Environment => (
            "The machine does not allow what the run needs.",
            "For example ptrace, seccomp or memfd in a container. The message says which.",
        ),
        InconclusiveReason::Replay => (
            "The program calls the host otherwise than the operation log says.",
            "The log is of another program, other arguments, or the program is not deterministic beyond its host calls.",
        ),
    };
    Explanation { code: reason.key(), family: "reason for having no answer", title, text }
}

fn failure(kind: FailureKind) -> Explanation {
    let text = match kind {
        FailureKind::Divergence => {
            "No baseline can accept one. The report shows it in full; `wdiff explain` with its kind says more."
        }
        FailureKind::Unavailable => {
            "The backend, its labels or the translator got worse for this value. The slot and the reason are named, with function and boundary; for dead values only their number per function is compared. \
             If that is wanted, `wdiff gate --update-baseline` and commit the file."
        }
        FailureKind::Anchors => {
            "The compiler proved the boundary unreachable, or its trap got lost. The first is an optimisation, the second a bug: if the oracle executes it, the run diverges as well."
        }
        FailureKind::StablePoint => {
            "Where stable points are compiled in, each must have every live value, also those that no run reached; and there must be as many as in the baseline."
        }
        FailureKind::CodeSize => {
            "The bound is `code_size` in the baseline, in per cent, or `--max-code-growth`."
        }
        FailureKind::CompileTime => {
            "The bound is `compile_time` in the baseline, in per cent of processor time, or `--max-compile-growth`; differences below 20 ms do not count."
        }
        FailureKind::Verdict => {
            "It had an answer, or none for another reason. The first is a regression; the second is to be looked at and, if it is wanted, accepted by `--update-baseline`."
        }
        FailureKind::Expectation => {
            "Subject and oracle agree with each other, but not with the results that the manifest has from other engines: both are wrong, or the manifest is."
        }
        FailureKind::Error => {
            "wdiff could not read the program, or has a bug. The message is the command's."
        }
        FailureKind::Baseline => {
            "The file changed, or code is compiled for `--cpu native` and this is another machine. `--cpu baseline` makes gates independent of the machine; `--update-baseline` makes a new baseline."
        }
    };
    Explanation { code: kind.key(), family: "failure of a gate", title: kind.meaning(), text }
}

const ADOPTIONS: [(&str, &str, &str); 6] = [
    (
        "nan_payload",
        "A NaN with bits that the specification leaves open.",
        "The subject's bits were checked against the allowed set and given to the oracle, so that both go on with the same value.",
    ),
    (
        "memory_grow",
        "`memory.grow` failed, as it always may.",
        "The oracle fails alike from there.",
    ),
    ("table_grow", "`table.grow` failed, as it always may.", "The oracle fails alike from there."),
    (
        "relaxed_simd",
        "A relaxed vector instruction chose one of the results that are allowed.",
        "It must choose alike all through a run.",
    ),
    (
        "stack_exhaustion",
        "The subject ran out of stack.",
        "Allowed only where the fault is in the stack's guard and the oracle's depth accounts for the stack pointer.",
    ),
    (
        "nan_unseen",
        "A NaN with open bits was made where nobody could look.",
        "With code as it ships there is no stop behind every instruction. A difference behind one makes the run inconclusive.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_entry() {
        for kind in DivergenceKind::ALL {
            assert!(find(kind.key()).iter().any(|e| e.family == "kind of divergence"), "{kind}");
        }
        for kind in FailureKind::ALL {
            assert!(find(kind.key()).iter().any(|e| e.family == "failure of a gate"));
        }
        for (code, ..) in UNAVAILABLE {
            assert_eq!(find(code).len(), 1, "{code}");
        }
        // As many rules as the table has rows.
        let rows = RULES.lines().filter(|line| line.starts_with("| `")).count();
        assert!(rows > 40 && rules().count() == rows, "{rows}");
        assert_eq!(find("anchor_is_trap"), find("anchor-is-trap"));
        assert_eq!(find("stable-point").len(), 2);
        assert!(find("no such thing").is_empty());
        for entry in all() {
            assert!(entry.title.ends_with('.') && !entry.text.is_empty(), "{}", entry.code);
        }
    }
}
