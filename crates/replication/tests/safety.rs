//! Under any order of events no promise breaks.

mod simulation;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_breaks_a_promise(min_isr in 1..=2usize, actions in simulation::schedule(1..700)) {
        simulation::run(min_isr, &actions)?;
    }
}

/// A simulation that never gets there proves nothing.
#[test]
fn schedules_reach_elections_divergence_and_changes_of_the_isr() {
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner.run(&simulation::schedule(200..700), |actions| simulation::run(2, &actions)).expect("no promise breaks");
    let reached = probe::reached();
    for name in
        ["diverging_epoch_answered", "follower_truncated", "isr_changed", "isr_expansion_asked", "isr_shrink_asked"]
    {
        assert!(reached.contains_key(name), "{name} was never reached: {reached:?}");
    }
}
