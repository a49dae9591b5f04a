//! The same quorum with K02 planted: a leader that restarts leads on in its epoch, and a checker says so. A binary of its
//! own, since a plant is the process's.
#![cfg(madsim)]

mod quorum_cluster;

use quorum_cluster::Cluster;
use world::World;

#[test]
fn a_leader_that_restarts_as_leader_is_found_by_the_checkers() {
    probe::plant("restart_as_leader").expect("this build can plant");
    let mut caught = Vec::new();
    for seed in 1..21 {
        let found = World::run(seed, |world| async move {
            let cluster = Cluster::start(&world);
            cluster.lose_leaders_with_slow_disks().await;
            cluster.violations()
        });
        let telling = |why: &String| why.starts_with("C-RAFT-MATCH") || why.starts_with("C-RAFT-DUR");
        caught.extend(found.into_iter().find(telling).map(|why| format!("seed {seed}: {why}")));
    }
    assert!(caught.len() >= 10, "KAFKA-10527 shows in {} of 20 seeds:\n{}", caught.len(), caught.join("\n"));
}
