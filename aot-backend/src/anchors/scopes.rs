//! Which clauses an exception meets that comes out of an instruction.
//!
//! The rules are those by which calls get their handlers (see
//! `translate/exception.rs`): the innermost scope is asked first, of clauses for
//! the same tag the first counts, nothing gets past one for all, and `delegate`
//! sends what its `try` does not keep to a construct further out.

use super::wasm::Parts;
use wasmparser::{Catch, Operator};

/// What is protected by an open construct.
struct Scope {
    /// The construct, by its position among the open ones.
    position: usize,
    protection: Protection,
}

enum Protection {
    /// Tag, none for all, and where the clause goes, none being out of the
    /// function.
    Clauses(Vec<(Option<u32>, Option<usize>)>),
    /// Only the construct at this position and those around it are asked.
    Delegate(usize),
}

/// The open scopes, the innermost last.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

/// Whether an exception may come out of an instruction.
pub(super) fn may_throw(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. }
    )
}

impl Scopes {
    /// Where an exception may arrive that is thrown here.
    pub fn landings(&self) -> Vec<Option<usize>> {
        let mut tags: Vec<Option<u32>> = Vec::new();
        let mut landings = Vec::new();
        let mut outermost = usize::MAX;
        for scope in self.0.iter().rev() {
            if scope.position > outermost {
                continue;
            }
            let clauses = match &scope.protection {
                Protection::Delegate(position) => {
                    outermost = *position;
                    continue;
                }
                Protection::Clauses(clauses) => clauses,
            };
            for &(tag, landing) in clauses {
                if tags.contains(&tag) {
                    continue;
                }
                tags.push(tag);
                landings.push(landing);
                if tag.is_none() {
                    return landings;
                }
            }
        }
        landings
    }

    /// Opens and closes scopes. `open` is how many constructs are, the
    /// function's own among them; `target` says where a label leads, which is
    /// nowhere if out of the function.
    pub fn meet(
        &mut self,
        operator: &Operator<'_>,
        at: usize,
        open: usize,
        parts: &[Parts],
        target: impl Fn(u32) -> Option<usize>,
    ) {
        let protection = match operator {
            Operator::TryTable { try_table } => {
                let clause = |catch: &Catch| match *catch {
                    Catch::One { tag, label } | Catch::OneRef { tag, label } => {
                        (Some(tag), target(label))
                    }
                    Catch::All { label } | Catch::AllRef { label } => (None, target(label)),
                };
                Protection::Clauses(try_table.catches.iter().map(clause).collect())
            }
            // Its clauses begin right behind what names them.
            Operator::Try { .. } => match parts[at].delegate {
                Some(depth) => Protection::Delegate(open.saturating_sub(1 + depth as usize)),
                None => {
                    let clauses = parts[at].clauses.iter();
                    Protection::Clauses(clauses.map(|(tag, at)| (*tag, Some(at + 1))).collect())
                }
            },
            // The body ends; what the clauses throw is not theirs.
            Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::End
            | Operator::Delegate { .. } => {
                self.0.retain(|scope| scope.position + 1 < open);
                return;
            }
            _ => return,
        };
        self.0.push(Scope { position: open, protection });
    }
}
