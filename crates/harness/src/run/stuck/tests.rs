//! Every class on the smallest facts that are it, and `bug` where nothing explains it.

use protocol::{LeaderEpoch, Offset, PartitionEpoch};
use runtime::Observation;

use super::super::budget::{Budget, Config, Harm, Impact};
use super::super::cluster;
use super::super::watch::PartitionState;
use super::*;
use crate::event::Stamped;

fn scenario(controllers: u32, keep: &str, allow: &str) -> Scenario {
    let text = format!(
        r#"schema = 1
name  = "stuck"
about = "Who is up, and what they hold."

[cluster]
brokers     = 3
controllers = {controllers}
config      = {{ "min.insync.replicas" = 2 }}

[topics.orders]
replicas = 3

[load.writers]
produce = "orders"
rate    = "10/s"

[timeline]
phases = [{{ name = "steady", for = "1s" }}]

[expect]
safety = "all"
keep   = "{keep}"
{allow}
"#
    );
    crate::scenario::good(&text)
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

struct Facts {
    scenario: Scenario,
    setup: Setup,
    watch: Watch,
    within: BTreeSet<String>,
    up: BTreeSet<String>,
}

impl Facts {
    /// Everybody is up and sound, and nobody leads the partition.
    fn new(scenario: Scenario, leader: i32, isr: &[i32]) -> Self {
        let setup = cluster::setup(&scenario);
        let budget = Budget::new(&Config { setup: setup.clone(), settle_ns: 1 });
        let mut watch = Watch::new(Vec::new(), budget, &[], None);
        let ids = |nodes: &[i32]| nodes.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let state = PartitionState {
            leader: NodeId(leader),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: 1,
            isr: ids(isr),
            replicas: ids(&[1, 2, 3]),
        };
        let what = Observation::PartitionCommitted {
            partition: orders(),
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: PartitionEpoch(1),
            isr: state.isr.clone(),
            replicas: state.replicas.clone(),
            offset: Offset(0),
        };
        let told = Stamped { id: 1, at_ns: 1, host: "b1".into(), node: NodeId(1), cause: 0, what };
        watch.budget.observe(&told);
        watch.partitions.insert(orders(), state);
        let hosts: BTreeSet<String> = setup.nodes.iter().map(|node| node.host.to_string()).collect();
        Self { scenario, setup, watch, within: hosts.clone(), up: hosts }
    }

    fn frozen(mut self, hosts: &[&str]) -> Self {
        self.within.retain(|host| !hosts.contains(&host.as_str()));
        self
    }

    fn down(mut self, hosts: &[&str]) -> Self {
        self.up.retain(|host| !hosts.contains(&host.as_str()));
        self
    }

    fn harmed(mut self, nodes: &[i32], harm: Harm) -> Self {
        for node in nodes {
            let impact = Impact { harm: [(NodeId(*node), harm)].into(), ..Impact::default() };
            self.watch.budget.begin(2, usize::try_from(*node).unwrap(), &impact);
        }
        self
    }

    fn counted_in(mut self, nodes: &[i32]) -> Self {
        self.watch.unfenced.extend(nodes.iter().map(|node| (NodeId(*node), true)));
        self
    }

    fn scene(&self) -> Scene<'_> {
        let Self { scenario, setup, watch, within, up } = self;
        Scene { scenario, setup, watch, within, up }
    }

    fn partition(&self) -> (StuckClass, bool, String) {
        let Stuck { class, allowed, why, .. } = self.scene().classify(Place::Core, &orders());
        (class, allowed, why)
    }

    fn cluster(&self) -> (StuckClass, bool, String) {
        let Stuck { class, allowed, why, .. } = self.scene().not_counted_in(Place::Core);
        (class, allowed, why)
    }
}

fn is(stuck: &(StuckClass, bool, String), class: StuckClass, allowed: bool, word: &str) {
    assert_eq!((stuck.0, stuck.1), (class, allowed), "{}", stuck.2);
    assert!(stuck.2.contains(word), "{}", stuck.2);
}

#[test]
fn a_partition_that_has_all_it_needs_and_does_not_get_on_is_a_bug_whatever_may_be_lost() {
    for keep in ["committed", "nothing"] {
        let facts = Facts::new(scenario(0, keep, ""), 1, &[1, 2, 3]);
        is(&facts.partition(), StuckClass::Bug, false, "are there");
    }
}

#[test]
fn no_quorum_is_half_of_the_controllers_or_fewer_and_is_no_excuse_unless_the_scenario_says_so() {
    let frozen = |keep: &str, allow: &str, hosts: &[&str]| {
        Facts::new(scenario(3, keep, allow), 1, &[1, 2, 3]).frozen(hosts).partition()
    };
    is(&frozen("committed", "", &["c1"]), StuckClass::Bug, false, "are there");
    is(&frozen("committed", "", &["c1", "c2"]), StuckClass::NoQuorum, false, "1 of 3 controllers act: c1 is frozen");
    let allow = r#"allow = [{ what = "quorum-loss", why = "two controllers stay away" }]"#;
    is(&frozen("committed", allow, &["c1", "c2"]), StuckClass::NoQuorum, true, "c2 is frozen");
    is(&frozen("nothing", "", &["c1", "c2"]), StuckClass::NoQuorum, true, "c2 is frozen");
}

#[test]
fn a_quorum_whose_missing_controllers_are_all_rotten_is_a_matter_of_rotten_data() {
    let two = Facts::new(scenario(0, "committed", ""), 1, &[1, 2, 3]).down(&["b1", "b2"]);
    is(&two.harmed(&[1, 2], Harm::Rot).partition(), StuckClass::RottenData, false, "b1 holds rotten bytes");
}

#[test]
fn a_majority_that_forgot_cannot_elect_anybody() {
    let facts = Facts::new(scenario(0, "nothing", ""), 1, &[1, 2, 3]).harmed(&[1, 2], Harm::Wiped);
    is(&facts.partition(), StuckClass::NoQuorum, true, "have forgotten");
}

#[test]
fn no_eligible_leader_is_that_every_member_of_the_last_isr_is_away() {
    let facts = |keep: &str, hosts: &[&str]| Facts::new(scenario(1, keep, ""), -1, &[2, 3]).frozen(hosts).partition();
    is(&facts("committed", &["b2", "b3"]), StuckClass::NoEligibleLeader, false, "b2 is frozen, b3 is frozen");
    is(&facts("nothing", &["b2", "b3"]), StuckClass::NoEligibleLeader, true, "last in-sync replica");
    is(&facts("nothing", &["b3"]), StuckClass::Bug, false, "are there");
}

#[test]
fn a_member_of_the_isr_that_is_up_can_be_elected_though_its_stop_was_unclean() {
    let facts = Facts::new(scenario(1, "nothing", ""), -1, &[3]).harmed(&[3], Harm::Unsynced);
    is(&facts.partition(), StuckClass::Bug, false, "are there");
}

#[test]
fn rotten_is_a_leader_or_a_replica_that_cannot_come_back() {
    let facts = |rotten: i32, isr: &[i32]| Facts::new(scenario(1, "nothing", ""), 1, isr).harmed(&[rotten], Harm::Rot);
    is(&facts(1, &[1, 2, 3]).partition(), StuckClass::RottenData, true, "the leader b1");
    is(&facts(3, &[1, 2]).partition(), StuckClass::RottenData, true, "of its replicas b3");
    is(&facts(3, &[1, 2, 3]).partition(), StuckClass::Bug, false, "are there");
    is(&facts(3, &[1, 2, 3]).down(&["b3"]).partition(), StuckClass::RottenData, true, "of its replicas b3");
}

#[test]
fn who_is_not_counted_in_is_a_bug_if_it_is_up_and_rotten_data_if_that_keeps_it_down() {
    let facts = || Facts::new(scenario(1, "committed", ""), 1, &[1, 2, 3]);
    is(&facts().counted_in(&[1, 2]).cluster(), StuckClass::Bug, false, "does not count b3 in");
    let down = || facts().counted_in(&[1, 2]).down(&["b3"]);
    is(&down().cluster(), StuckClass::Bug, false, "b3 does not stay up");
    is(&down().harmed(&[3], Harm::Rot).cluster(), StuckClass::RottenData, false, "b3 does not stay up");
}
