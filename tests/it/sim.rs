//! A simulated world: workers that die at any await, a store whose writes fail before or after their
//! commit, services in a storm, tools that are slow, people who interfere; on a clock that jumps.
//! One seed is one history: the same seed gives the same journals.

mod chance;
mod code;
pub(crate) mod invariants;
pub(crate) mod people;
mod regressions;
mod tools;
pub(crate) mod world;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use self::{
    regressions::REGRESSIONS,
    world::{Defect, simulate},
};

/// Seeds of one run of the tests; `AGENT_RUNNER_SIM_SEEDS` says how many.
const SEEDS: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn check(seed: u64) {
    let run = AssertUnwindSafe(|| simulate(seed, None));
    if catch_unwind(run).is_err() {
        panic!("seed {seed} breaks a rule; again: AGENT_RUNNER_SIM_SEED={seed} make sim");
    }
}

fn check_share(of: u64) {
    if let Some(seed) = number("AGENT_RUNNER_SIM_SEED") {
        if of == 0 {
            check(seed);
        }
        return;
    }
    let seeds = number("AGENT_RUNNER_SIM_SEEDS").unwrap_or(SEEDS);
    (0..seeds).filter(|seed| seed % 2 == of).for_each(check);
}

/// Half of the seeds, so that two cores share them.
#[test]
fn no_seed_breaks_a_rule_even() {
    check_share(0);
}

#[test]
fn no_seed_breaks_a_rule_odd() {
    check_share(1);
}

#[test]
fn seeds_that_found_a_defect_find_none() {
    for (seed, what) in REGRESSIONS {
        println!("seed {seed}: {what}");
        check(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [1, 2, 3, 5] {
        let (one, two) = (simulate(seed, None), simulate(seed, None));
        assert!(one.len() > 2_000 && one == two, "seed {seed}");
    }
    assert_ne!(simulate(1, None), simulate(2, None));
}

/// Seeds within which each planted defect has to be found.
const SEARCH: u64 = 100;

/// Rules that could not be broken would show nothing.
#[test]
fn every_planted_defect_is_found() {
    for defect in Defect::ALL {
        let finds = |seed: &u64| {
            let run = AssertUnwindSafe(|| simulate(*seed, Some(defect)));
            catch_unwind(run).is_err()
        };
        let found = (0..SEARCH).find(finds);
        println!("{defect:?}: found by seed {found:?}");
        assert!(found.is_some(), "no rule finds {defect:?}");
    }
}

/// A simulation in which nothing happens would show nothing.
#[test]
fn the_histories_have_what_may_happen() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let history = simulate(seed, None);
        seen.extend(history.lines().map(|line| line.split(' ').nth(3).unwrap().to_owned()));
    }
    let wanted = [
        "run.completed run.failed run.canceled run.claimed run.released run.parked run.paused run.resumed",
        "run.forked step.retrying step.failed step.indeterminate step.canceled step.resolved",
        "llm.attempt_restarted llm.charged llm.heartbeat signal.received directive.received timer.set timer.fired",
        "child.started child.finished code.called code.recorded code.returned code.finished",
    ];
    let missing: Vec<_> = wanted
        .iter()
        .flat_map(|line| line.split(' '))
        .filter(|kind| !seen.contains(*kind))
        .collect();
    assert!(missing.is_empty(), "{missing:?} never came; these did: {seen:?}");
}
