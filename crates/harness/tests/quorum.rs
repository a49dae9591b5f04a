//! The metadata quorum on real storage and transport, in the world: it elects, replicates, and survives kills, cuts and
//! power failures; the quorum's checkers hold.
#![cfg(madsim)]

mod quorum_cluster;

use std::time::Duration;

use protocol::NodeId;
use quorum_cluster::Cluster;
use world::World;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn three_controllers_elect_one_and_every_image_gets_what_it_writes() {
    World::run(1, |world| async move {
        let cluster = Cluster::start(&world);
        cluster.wait_for_leader().await;
        world.sleep(seconds(3)).await;
        let epoch = cluster.epoch();
        world.sleep(seconds(3)).await;
        assert_eq!(cluster.epoch(), epoch, "an undisturbed quorum elects again");
        assert!(cluster.acknowledged() > 100, "{} acknowledged", cluster.acknowledged());
        let sizes: Vec<usize> = cluster.seen.lock().unwrap().images.values().map(|image| image.len()).collect();
        assert_eq!(sizes.len(), 4);
        assert!(sizes.iter().all(|size| *size > 100), "an image lags: {sizes:?}");
        assert_eq!(cluster.images_agree(), Ok(()));
        assert_eq!(cluster.violations(), Vec::<String>::new());
    });
}

#[test]
fn a_killed_leader_is_replaced_within_two_rounds_and_comes_back_as_follower() {
    World::run(2, |world| async move {
        let cluster = Cluster::start(&world);
        let first = cluster.wait_for_leader().await;
        world.sleep(seconds(1)).await;
        let before = cluster.acknowledged();
        cluster.down(first, false);
        // Fetch time-out 600 ms and two rounds of 2 x 600 + 600 ms.
        world.sleep(Duration::from_millis(600 + 2 * 1800)).await;
        let second = cluster.leader().expect("a new leader");
        assert_ne!(second, first);
        cluster.up(first);
        world.sleep(seconds(3)).await;
        assert_eq!(cluster.leader(), Some(second), "the old leader disturbs nobody");
        assert!(cluster.acknowledged() > before + 50);
        assert_eq!(cluster.images_agree(), Ok(()));
        assert_eq!(cluster.violations(), Vec::<String>::new());
    });
}

#[test]
fn a_power_failure_of_all_loses_nothing_that_was_committed() {
    World::run(3, |world| async move {
        let cluster = Cluster::start(&world);
        cluster.wait_for_leader().await;
        world.sleep(seconds(2)).await;
        let ids: Vec<NodeId> = cluster.hosts.iter().map(|(id, _)| *id).collect();
        for id in &ids {
            cluster.down(*id, true);
        }
        let before = cluster.acknowledged();
        world.sleep(seconds(1)).await;
        for id in &ids {
            cluster.up(*id);
        }
        cluster.wait_for_leader().await;
        world.sleep(seconds(2)).await;
        assert!(cluster.acknowledged() > before);
        assert_eq!(cluster.images_agree(), Ok(()));
        assert_eq!(cluster.violations(), Vec::<String>::new());
    });
}

#[test]
fn promises_hold_through_random_faults_and_a_leader_follows() {
    let mut failures = Vec::new();
    for seed in 100..125 {
        World::run(seed, |world| async move {
            let cluster = Cluster::start(&world);
            cluster.chaos(seconds(15), true).await;
            let before = cluster.acknowledged();
            world.sleep(seconds(15)).await;
            let mut found = cluster.violations();
            found.extend(cluster.images_agree().err());
            if cluster.leader().is_none() || cluster.acknowledged() <= before {
                found.push("no progress after healing".to_owned());
            }
            (!found.is_empty()).then(|| format!("seed {seed}: {found:?}"))
        })
        .into_iter()
        .for_each(|failure| failures.push(failure));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn leaders_that_lose_power_with_unsynced_records_and_restart_at_once_break_nothing() {
    for seed in 1..11 {
        World::run(seed, |world| async move {
            let cluster = Cluster::start(&world);
            cluster.lose_leaders_with_slow_disks().await;
            world.sleep(seconds(3)).await;
            assert_eq!(cluster.violations(), Vec::<String>::new(), "seed {seed}");
            assert_eq!(cluster.images_agree(), Ok(()), "seed {seed}");
        });
    }
}
