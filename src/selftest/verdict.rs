//! What became of a fault: the judge's word against the comparator's.
//!
//! | the judge says | the comparator reports | |
//! |---|---|---|
//! | not reached | nothing | not reached |
//! | no effect | nothing | no effect |
//! | no effect | anything | masked: a wrong value that nobody read |
//! | an effect, state changes at boundary N | at N or before | caught |
//! | | after N | late |
//! | | nothing | missed |
//! | not reached | anything | false alarm |
//! | anything | before the fault was executed | false alarm |
//!
//! Late does not count what changed first at a stop at which the comparator adopted
//! a choice that the specification leaves open: then nobody knows when what was not
//! left open changed.
//!
//! A map fault must be reported at the very execution at which it first gives
//! another value. A self-test with a fault that is late, missed or a false
//! alarm has failed.

use super::stepper::Effect;
use reports::{Selftest, SelftestFault, SelftestKind, SelftestOutcome};
use std::collections::BTreeMap;

/// What the comparator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Both sides agree to the end.
    Nothing,
    /// They do, by what the specification leaves open: so many choices were
    /// adopted beyond those of the unchanged program.
    Adopted(u64),
    /// A divergence.
    Divergence {
        /// Position of its boundary in the order of execution, from 0.
        position: u64,
        /// Kind, place and what differs, for people.
        what: String,
    },
    /// Neither, and why.
    Unknown(String),
}

/// When a report is due, in positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Not before this one: nothing was wrong yet.
    pub from: u64,
    /// Not after this one; `None` when the first change of state was not found.
    pub by: Option<u64>,
}

/// Decides what became of a fault, and by how many boundaries a report came
/// after the first change of state.
pub fn decide(effect: &Effect, due: Due, said: &Said) -> (SelftestOutcome, Option<u64>) {
    use SelftestOutcome as Is;
    let outcome = match (effect, said) {
        (_, Said::Unknown(_)) => Is::Unknown,
        (Effect::NotReached, Said::Divergence { .. }) => Is::FalseAlarm,
        (Effect::NotReached, _) => Is::NotReached,
        (_, Said::Divergence { position, .. }) if *position < due.from => Is::FalseAlarm,
        (Effect::Nothing, Said::Divergence { .. }) => Is::Masked,
        (Effect::Nothing, _) => Is::NoEffect,
        (Effect::Changed(_), Said::Adopted(_)) => Is::Allowed,
        (Effect::Changed(_), Said::Nothing) => Is::Missed,
        (Effect::Changed(_), Said::Divergence { position, .. }) => {
            return match due.by.map(|by| position.saturating_sub(by)) {
                late @ (None | Some(0)) => (Is::Caught, late),
                late => (Is::Late, late),
            };
        }
    };
    (outcome, None)
}

/// Counts faults by kind.
pub fn tally(seed: Option<u64>, faults: Vec<SelftestFault>) -> Selftest {
    let mut kinds: BTreeMap<String, SelftestKind> = BTreeMap::new();
    for fault in &faults {
        let kind = kinds.entry(fault.kind.clone()).or_insert_with(|| SelftestKind {
            kind: fault.kind.clone(),
            ..SelftestKind::default()
        });
        kind.injected += 1;
        kind.reached += u64::from(fault.outcome.reached());
        kind.effective += u64::from(fault.outcome.effective());
        kind.caught += u64::from(fault.outcome == SelftestOutcome::Caught);
        kind.masked += u64::from(fault.outcome == SelftestOutcome::Masked);
        kind.delay = kind.delay.max(fault.delay.unwrap_or(0));
    }
    let kinds: Vec<SelftestKind> = kinds.into_values().collect();
    let sum = |count: fn(&SelftestKind) -> u64| kinds.iter().map(count).sum();
    Selftest {
        injected: sum(|kind| kind.injected),
        reached: sum(|kind| kind.reached),
        effective: sum(|kind| kind.effective),
        caught: sum(|kind| kind.caught),
        masked: sum(|kind| kind.masked),
        delay: kinds.iter().map(|kind| kind.delay).max().unwrap_or(0),
        seed,
        kinds,
        faults,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stepper::Change;
    use super::*;
    use SelftestOutcome as Is;

    const BY_5: Due = Due { from: 3, by: Some(5) };
    const AT_5: Due = Due { from: 5, by: Some(5) };
    const SOMETIME: Due = Due { from: 0, by: None };

    fn effective() -> Effect {
        Effect::Changed(Change { hit: 1, boundaries: Some(1), what: "memory 0 at 0x10".into() })
    }

    fn at(position: u64) -> Said {
        Said::Divergence { position, what: String::new() }
    }

    #[test]
    fn an_effect_without_a_report_is_missed_whatever_else_holds() {
        for due in [BY_5, AT_5, SOMETIME] {
            assert_eq!(decide(&effective(), due, &Said::Nothing).0, Is::Missed);
        }
    }

    #[test]
    fn a_report_is_due_by_the_first_change() {
        assert_eq!(decide(&effective(), BY_5, &at(4)), (Is::Caught, Some(0)));
        assert_eq!(decide(&effective(), BY_5, &at(5)), (Is::Caught, Some(0)));
        assert_eq!(decide(&effective(), BY_5, &at(6)), (Is::Late, Some(1)));
        assert_eq!(decide(&effective(), AT_5, &at(5)), (Is::Caught, Some(0)));
        assert_eq!(decide(&effective(), AT_5, &at(7)), (Is::Late, Some(2)));
        assert_eq!(decide(&effective(), AT_5, &at(4)), (Is::FalseAlarm, None));
        assert_eq!(decide(&effective(), BY_5, &at(2)), (Is::FalseAlarm, None));
        assert_eq!(decide(&Effect::Nothing, BY_5, &at(2)), (Is::FalseAlarm, None));
        assert_eq!(decide(&effective(), SOMETIME, &at(70)), (Is::Caught, None));
    }

    #[test]
    fn what_has_no_effect_may_be_reported_but_not_what_was_not_reached() {
        assert_eq!(decide(&Effect::Nothing, SOMETIME, &at(3)).0, Is::Masked);
        assert_eq!(decide(&Effect::Nothing, SOMETIME, &Said::Nothing).0, Is::NoEffect);
        assert_eq!(decide(&Effect::NotReached, SOMETIME, &at(3)).0, Is::FalseAlarm);
        assert_eq!(decide(&Effect::NotReached, SOMETIME, &Said::Nothing).0, Is::NotReached);
    }

    #[test]
    fn no_answer_is_no_catch() {
        let unknown = Said::Unknown("the time ran out".into());
        assert_eq!(decide(&effective(), BY_5, &unknown).0, Is::Unknown);
        assert_eq!(decide(&effective(), BY_5, &Said::Adopted(1)).0, Is::Allowed);
    }

    /// A comparator that does not see everything must make the self-test fail.
    #[test]
    fn a_weakened_comparator_fails_the_self_test() {
        let fault = |outcome| SelftestFault {
            kind: "code:operand".into(),
            outcome,
            ..SelftestFault::default()
        };
        let caught = decide(&effective(), BY_5, &at(5)).0;
        let blind = decide(&effective(), BY_5, &Said::Nothing).0;
        let slow = decide(&effective(), BY_5, &at(9)).0;
        assert_eq!(tally(Some(1), vec![fault(caught); 3]).exit_code(), 0);
        for weak in [blind, slow] {
            let counted = tally(Some(1), vec![fault(caught), fault(weak), fault(caught)]);
            assert_eq!((counted.effective, counted.caught), (3, 2));
            assert_eq!(counted.exit_code(), 1);
        }
        let open = tally(Some(1), vec![fault(caught), fault(Is::Unknown)]);
        assert_eq!(open.exit_code(), 3);
        let both = tally(Some(1), vec![fault(Is::Unknown), fault(blind)]);
        assert_eq!(both.exit_code(), 1);
    }
}
