//! The same lives with a historical bug: they notice. A binary of its own, since a plant is the process's.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Life};

#[test]
fn a_leader_that_restarts_as_leader_is_caught() {
    probe::plant("restart_as_leader").expect("this build can plant");
    let life = Life {
        voters: 3,
        observers: 0,
        chaos: Duration::from_secs(20),
        lost: 0,
        fault_every: Some(Duration::from_millis(1500)),
        power: true,
    };
    let caught: Vec<String> = (0..50).filter_map(|seed| Cluster::run(seed, life).err()).collect();
    let kinds = caught.iter().map(|why| why.chars().take(160).collect::<String>()).collect::<Vec<_>>().join("\n");
    assert!(caught.len() >= 8, "KAFKA-10527 shows in {} of 50 lives only:\n{kinds}", caught.len());
    let telling = ["where", "truncate", "committed", "two leaders", "durable"];
    assert!(
        caught.iter().any(|why| telling.iter().any(|word| why.contains(word))),
        "caught for another reason: {}",
        caught[0]
    );
}
