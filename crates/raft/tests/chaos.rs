//! Thousands of lives of small quorums: nothing that was promised breaks, and after healing there is a leader.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Life};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A life drawn from a seed.
fn draw(seed: u64) -> Life {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x11fe);
    Life {
        voters: [1, 2, 3, 3, 3, 4, 5, 5][rng.random_range(0..8)],
        observers: rng.random_range(0..3),
        chaos: Duration::from_secs(rng.random_range(5..20)),
        lost: [0, 0, 10, 100][rng.random_range(0..4)],
        fault_every: Some(Duration::from_millis([200, 500, 1500][rng.random_range(0..3)])),
        power: rng.random_bool(0.7),
    }
}

fn all_hold(seeds: std::ops::Range<u64>, life: impl Fn(u64) -> Life) {
    let failures: Vec<String> = seeds.clone().filter_map(|seed| Cluster::run(seed, life(seed)).err()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} seeds fail:\n{}",
        failures.len(),
        seeds.count(),
        failures[..failures.len().min(5)].join("\n")
    );
}

#[test]
fn a_quorum_without_faults_elects_once_and_commits() {
    let calm =
        |voters| Life { voters, observers: 2, chaos: Duration::from_secs(3), lost: 0, fault_every: None, power: false };
    all_hold(0..50, |seed| calm(1 + (seed % 5) as i32));
}

#[test]
fn promises_hold_through_crashes_cuts_and_power_failures() {
    all_hold(0..1000, draw);
}

#[test]
fn three_voters_survive_ever_failing_leaders() {
    let life = |_| Life {
        voters: 3,
        observers: 1,
        chaos: Duration::from_secs(20),
        lost: 10,
        fault_every: Some(Duration::from_millis(400)),
        power: true,
    };
    all_hold(5000..5200, life);
}
