//! With `hw_uses_committed_isr` planted the simulation finds a broken promise; one binary, as a plant is a switch of the process.

mod simulation;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

#[test]
fn the_simulation_finds_hw_uses_committed_isr() {
    probe::plant("hw_uses_committed_isr").expect("the tests are built with the feature `planted`");
    let config = Config { cases: 4_000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&simulation::schedule(200..700), |actions| simulation::run(1, &actions));
    match outcome {
        Err(TestError::Fail(why, _)) => {
            let why = why.message().to_owned();
            assert!(why.starts_with("C-"), "a promise must break, not a machine: {why}");
        }
        other => panic!("no schedule broke a promise: {other:?}"),
    }
}
