//! Wherever a process or the power goes, the recovered log is the longest valid prefix, and holds all that was synced.

mod support;

use support::Random;
use support::model::Model;

/// Ten thousand crash points, a few in the life of each log.
#[test]
fn after_any_crash_the_log_is_the_longest_valid_prefix_with_all_synced_bytes() {
    let (mut crashes, mut failures) = (0, 0);
    for seed in 0..2_000 {
        let outcome = std::panic::catch_unwind(|| life(seed));
        let (crashed, failed) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        crashes += crashed;
        failures += failed;
    }
    assert!(crashes >= 10_000, "{crashes} crashes");
    assert!(failures >= 1_000, "the disk was full {failures} times");
}

fn life(seed: u64) -> (u64, u64) {
    let mut random = Random::new(seed);
    let mut model = Model::new(&mut random);
    for _ in 0..5 {
        for _ in 0..10 + random.below(90) {
            model.act(&mut random);
        }
        model.crash(&mut random);
        if random.chance(8) {
            model.close(&mut random);
        }
    }
    (model.crashes, model.failures)
}
