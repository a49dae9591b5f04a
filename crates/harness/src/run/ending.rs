//! How a run ends: rotten disks are replaced, the cluster gets the time that it may take, and every send its outcome.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::NodeId;
use world::World;

use crate::checker::Setup;
use crate::report::Bound;
use crate::scenario::{Scenario, Work};

use super::cluster::host_of;
use super::record::Recorder;
use super::watch::Watch;
use super::{SECOND, timeline};

/// Replaces every disk whose bytes cannot be trusted, one after the other, each as soon as the others can do without it. Nobody
/// else would ever find out: what lies at rest is not read again by those who copy it.
pub(super) async fn replace_disks(
    world: &World,
    watch: &Arc<Mutex<Watch>>,
    driver: &mut timeline::Driver<'_>,
    setup: &Setup,
    bound: &Bound,
) {
    let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    let rotten = lock().budget.rotten();
    let due = world.now().0 + (1 + rotten.len() as u64) * bound.total_ns;
    let mut left = rotten;
    let several = setup.voters() > 1;
    let mut since = world.now().0;
    while !left.is_empty() && world.now().0 < due {
        let now = world.now().0;
        let next = left.iter().position(|node| lock().budget.may_replace(now, *node));
        // The others must not believe that a node leads which has forgotten it.
        let leads = |node: NodeId| lock().controller.is_some_and(|(_, leader)| leader == node);
        match next {
            Some(index) if several && leads(left[index]) => {
                driver.take_down(&host_of(left[index]));
                driver.wait_until(now + SECOND / 10).await;
            }
            Some(index) => {
                driver.replace_disk(&host_of(left.remove(index)));
                since = now;
            }
            None => {
                // What the quorum's leader cannot read of its own log nobody can copy, and who needs it is never well: but
                // until he is, that disk may not be replaced. The others elect one who can.
                let unread = left.iter().find(|node| several && leads(**node) && since + bound.total_ns <= now);
                unread.into_iter().for_each(|node| driver.take_down(&host_of(*node)));
                driver.wait_until(now + SECOND / 10).await;
            }
        }
    }
}

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
