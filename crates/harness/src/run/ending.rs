//! How a run ends: the cluster gets the time that it may take, and every send its outcome.

use std::time::Duration;

use world::World;

use crate::report::Bound;
use crate::scenario::{Scenario, Work};

use super::record::Recorder;
use super::{SECOND, timeline};

/// Waits until the cluster had the time that it may take, and every send has its outcome or had the time for one.
pub(super) async fn settle(
    world: &World,
    scenario: &Scenario,
    driver: &mut timeline::Driver<'_>,
    recorder: &Recorder,
    healed_ns: u64,
    bound: &Bound,
) {
    if scenario.needs_cluster() {
        driver.wait_until(healed_ns + bound.total_ns).await;
    }
    let patience = scenario
        .loads
        .iter()
        .map(|load| match &load.work {
            Work::Produce(produce) => produce.timeout,
            Work::Echo { timeout, .. } => *timeout,
            Work::Consume { .. } => 0,
        })
        .max()
        .unwrap_or(0);
    // A send in flight when its delivery time-out comes is waited for until its request ends.
    let due = healed_ns + patience + 2 * SECOND;
    while recorder.pending() > 0 && world.now().0 < due {
        world.sleep(Duration::from_millis(100)).await;
    }
}
