//! What all tests of the budget are told by: three brokers that are voters too, one partition of them all.

use protocol::{BrokerEpoch, PartitionEpoch};
use runtime::Observation;
use runtime::observation::ProcessEnd;

mod core;
mod model;
mod sequences;

use super::super::cluster::host_of;
use super::*;
use crate::checker::{NodeInfo, TopicInfo};
use crate::event::Stamped;

const SETTLE: u64 = 2_000;

fn setup(keep: Keep, brokers: i32, controllers: bool) -> Setup {
    let node =
        |id: i32| NodeInfo { host: host_of(NodeId(id)).into(), id: NodeId(id), broker: true, controller: controllers };
    Setup {
        nodes: (1..=brokers).map(node).collect(),
        topics: vec![TopicInfo { name: "t".to_owned(), partitions: 1, replicas: 3, min_isr: 2 }],
        keep,
        ..Setup::default()
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn on(node: i32, at_ns: u64, what: Observation) -> Stamped {
    Stamped { id: 1, at_ns, host: host_of(NodeId(node)).into(), node: NodeId(node), cause: 0, what }
}

fn ids(nodes: &[i32]) -> Vec<NodeId> {
    nodes.iter().map(|id| NodeId(*id)).collect()
}

/// A budget with its clock and its epochs.
struct Told {
    budget: Budget,
    now: u64,
    partition_epoch: i32,
    broker_epoch: i64,
    keys: usize,
}

impl Told {
    fn new(keep: Keep) -> Self {
        let budget = Budget::new(&Config { setup: setup(keep, 3, true), settle_ns: SETTLE });
        let mut told = Self { budget, now: 0, partition_epoch: 0, broker_epoch: 0, keys: 0 };
        for node in 1..=3 {
            told.start(node);
        }
        told.controller(1, 1);
        (1..=3).for_each(|node| told.register(node));
        told.isr(1, 1, &[1, 2, 3]);
        told.now += 2 * SETTLE;
        told
    }

    fn tell(&mut self, node: i32, what: Observation) {
        self.now += 1;
        self.budget.observe(&on(node, self.now, what));
    }

    fn start(&mut self, node: i32) {
        self.tell(node, Observation::ProcessStarted);
    }

    fn ended(&mut self, node: i32, how: ProcessEnd) {
        self.tell(node, Observation::ProcessEnded { how, why: String::new() });
    }

    fn register(&mut self, node: i32) {
        self.broker_epoch += 1;
        self.tell(node, Observation::BrokerRunning { epoch: BrokerEpoch(self.broker_epoch) });
    }

    fn isr(&mut self, leader: i32, epoch: i32, isr: &[i32]) {
        self.partition_epoch += 1;
        let what = Observation::PartitionCommitted {
            partition: tp(),
            leader: NodeId(leader),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            isr: ids(isr),
            replicas: ids(&[1, 2, 3]),
            offset: Offset(0),
        };
        self.tell(1, what);
    }

    fn expanding(&mut self, leader: i32, epoch: i32, committed: &[i32], maximal: &[i32]) {
        let what = Observation::Isr {
            partition: tp(),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            committed: ids(committed),
            maximal: ids(maximal),
        };
        self.tell(leader, what);
    }

    /// `leader` leads the quorum, all others follow.
    fn controller(&mut self, leader: i32, epoch: i32) {
        for node in 1..=3 {
            let role = if node == leader { QuorumRole::Leader } else { QuorumRole::Follower };
            let (epoch, leader, voted) = (LeaderEpoch(epoch), NodeId(leader), NodeId::NONE);
            self.tell(node, Observation::QuorumState { role, epoch, leader, voted });
        }
    }

    fn quorum_appends(&mut self, node: i32, end: i64) {
        let (base, last) = (Offset(end - 1), Offset(end - 1));
        self.tell(node, Observation::QuorumAppended { base, last, epoch: LeaderEpoch(1), crc: 0 });
        self.tell(node, Observation::QuorumFlushed { end: Offset(end) });
    }

    fn ask(&mut self, impact: &Impact) -> Result<(), Refusal> {
        self.budget.ask(self.now, impact)
    }

    fn begin(&mut self, impact: &Impact) -> FaultKey {
        self.keys += 1;
        self.budget.begin(self.now, self.keys, impact);
        self.keys
    }

    /// Power fails at a node, whatever the budget says.
    fn lose_power(&mut self, node: i32) -> FaultKey {
        let key = self.begin(&power_off(&[node]));
        self.ended(node, ProcessEnd::PowerLost);
        key
    }

    /// A fault ends, its host starts again.
    fn restart(&mut self, node: i32, key: FaultKey) {
        self.budget.end(self.now, key, true);
        self.start(node);
    }
}

fn power_off(nodes: &[i32]) -> Impact {
    let away: BTreeSet<NodeId> = ids(nodes).into_iter().collect();
    let harm = away.iter().map(|id| (*id, Harm::Unsynced)).collect();
    Impact { harm, ended: away.clone(), away, ..Impact::default() }
}

fn kill(nodes: &[i32]) -> Impact {
    Impact { ended: ids(nodes).into_iter().collect(), ..pause(nodes) }
}

fn pause(nodes: &[i32]) -> Impact {
    Impact { away: ids(nodes).into_iter().collect(), ..Impact::default() }
}

fn harm(node: i32, harm: Harm) -> Impact {
    Impact { harm: BTreeSet::from([(NodeId(node), harm)]), ..Impact::default() }
}

fn refused_for_partition(answer: &Result<(), Refusal>) -> bool {
    matches!(answer, Err(Refusal::Partition { .. }))
}
