//! The plan of a seed, run as a scenario of its own, is the same run.

use harness::report::Build;
use harness::run::{Options, run};
use harness::scenario::{Scenario, read};

/// Small, so that twenty seeds twice take seconds, and with every family that needs no luck.
const STORM: &str = r#"
schema = 1
name   = "small-storm"
about  = "A few seconds of random faults."

[cluster]
brokers = 3

[topics.orders]
partitions = 2
replicas   = 3

[load.writers]
produce = "orders"
rate    = "20/s"
record  = "64B"

[load.readers]
consume = "orders"

[timeline]
phases = [
  { name = "storm", for = "6s" },
  { name = "drain", for = "30s", pause = ["writers"], until = "lag == 0" },
]

[chaos]
window = "storm"
every  = "exp(700ms)"
swarm  = true
keep   = "nothing"
menu   = { cut = 2, isolate = 1, slow_link = 1, kill = 2, stop = 1, pause = 1, power_off = 1, slow_disk = 1 }

[swarm]
cluster.brokers     = [3, 3, 5]
cluster.controllers = [0, 3]
cluster.config."wavetank.shards"   = [1, 2]
cluster.config."log.segment.bytes" = "log(4KiB..64KiB)"
topics.orders.partitions = "1..4"
load.writers.record      = "log(16B..1KiB)"
hardware.link.latency    = "log(100us..2ms)"
hardware.disk.fsync      = "log(100us..5ms)"

[expect]
allow = [{ what = "quorum-loss", why = "keep = nothing" }]
"#;

fn scenario(text: &str) -> Scenario {
    match read("storm.toml", text.as_bytes(), &[]) {
        Ok(reading) => reading.scenario,
        Err(rejection) => panic!("{}\n{text}", rejection.problems.render(&rejection.source, false)),
    }
}

fn trace_hash(scenario: &Scenario, seed: u64) -> (String, u64) {
    let build = Build { version: "test".to_owned(), commit: "test".to_owned(), profile: "test".to_owned() };
    let options = Options { path: "storm.toml".to_owned(), sets: Vec::new(), seed, trace: None, build, record: None };
    let outcome = run(scenario, &options, &mut |_| {}).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    (outcome.result.trace_hash, outcome.result.events)
}

#[test]
fn twenty_plans_give_the_traces_of_their_seeds() {
    let storm = scenario(STORM);
    let mut struck = 0;
    for seed in 1..21 {
        let plan = scenario(&storm.derive(seed).resolved());
        struck += plan.faults.len();
        assert_eq!(trace_hash(&storm, seed), trace_hash(&plan, seed), "seed {seed}");
    }
    assert!(struck > 60, "twenty seeds drew {struck} faults only");
}
