//! Generated modules in lockstep: a short run, and that it can fail.

mod common;

use dwarf_map::Location;
use std::time::Duration;
use wdiff::fuzz::{case, run_case};
use wdiff::inject::displaced;
use wdiff::lockstep::stops::Control;

#[test]
fn generated_modules_agree() {
    let scratch = common::scratch();
    let mut command = common::wdiff();
    command.args(["fuzz", "--seed", "1", "--count", "60", "--failures"]).arg(scratch.path());
    let ran = common::within(command, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.code, Some(0), "{said}\n{}", ran.stderr);
    assert!(said.starts_with("60 seeds:"), "{said}");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a directory").count(), 0);
}

/// Whatever location of a map is displaced, with enough modules it shows.
#[test]
fn a_wrong_map_is_found() {
    // All ptrace calls of a subject come from one thread: this one.
    for sort in ["register or frame", "derived"] {
        let mut found = 0;
        for seed in 1..60 {
            let Some(Ok(case)) = case(seed, None, None, None) else { continue };
            let outcome = run_case(
                &case,
                |image| {
                    for function in &mut image.map.functions {
                        for location in
                            function.boundaries.iter_mut().flat_map(|b| &mut b.locations)
                        {
                            let is_derived = matches!(location, Location::Derived(_));
                            let is_constant = matches!(location, Location::Constant(_));
                            if is_derived == (sort == "derived")
                                && !is_constant
                                && let Some(wrong) = displaced(*location, &function.expressions)
                            {
                                *location = wrong;
                            }
                        }
                    }
                },
                &Control::new(),
            );
            found += usize::from(!outcome.expect("the host allows it").wrong.is_empty());
        }
        assert!(found > 10, "{sort}: only {found} wrong maps were found");
    }
}
