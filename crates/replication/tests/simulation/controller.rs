//! The controller as a model: one partition's state, three brokers, elections among the in-sync (kafka.md 2.11, 2.12).

use std::collections::BTreeMap;

use protocol::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};
use replication::{AlterAnswer, AlterPartition, BrokerState, Brokers, PartitionState};

pub struct Controller {
    /// All states ever committed, with the brokers as they were; the nodes see a prefix.
    pub history: Vec<(PartitionState, Brokers)>,
    next_broker_epoch: i64,
}

impl Controller {
    pub fn new() -> Self {
        let replicas: Vec<_> = (1..=3).map(NodeId).collect();
        let state = PartitionState {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            isr: replicas.clone(),
            replicas,
        };
        let broker = |id| {
            let epoch = BrokerEpoch(i64::from(id));
            (NodeId(id), BrokerState { epoch, fenced: false, shutting_down: false })
        };
        let brokers: BTreeMap<_, _> = (1..=3).map(broker).collect();
        Self { history: vec![(state, brokers)], next_broker_epoch: 10 }
    }

    fn current(&self) -> (PartitionState, Brokers) {
        self.history.last().cloned().expect("never empty")
    }

    pub fn broker_epoch(&self, id: NodeId) -> BrokerEpoch {
        self.history.last().expect("never empty").1[&id].epoch
    }

    pub fn fence(&mut self, id: NodeId) {
        let (state, mut brokers) = self.current();
        brokers.get_mut(&id).expect("one of three").fenced = true;
        self.commit(state, brokers, Some(id));
    }

    pub fn unfence(&mut self, id: NodeId) {
        let (state, mut brokers) = self.current();
        if !std::mem::replace(&mut brokers.get_mut(&id).expect("one of three").fenced, false) {
            return;
        }
        self.commit(state, brokers, None);
    }

    /// A new incarnation: fenced, and out of the ISR unless it is the last.
    pub fn register(&mut self, id: NodeId) -> BrokerEpoch {
        let (state, mut brokers) = self.current();
        self.next_broker_epoch += 1;
        let epoch = BrokerEpoch(self.next_broker_epoch);
        brokers.insert(id, BrokerState { epoch, fenced: true, shutting_down: false });
        self.commit(state, brokers, Some(id));
        epoch
    }

    pub fn alter_partition(&mut self, id: NodeId, broker_epoch: BrokerEpoch, request: &AlterPartition) -> AlterAnswer {
        let (mut state, brokers) = self.current();
        if broker_epoch != brokers[&id].epoch {
            return AlterAnswer::Unknown;
        }
        if request.leader_epoch != state.leader_epoch
            || request.partition_epoch != state.partition_epoch
            || state.leader != id
        {
            return AlterAnswer::Superseded;
        }
        for (member, epoch) in &request.isr {
            let broker = &brokers[member];
            if broker.fenced || (!epoch.is_none() && *epoch != broker.epoch) {
                return AlterAnswer::NotDone;
            }
        }
        state.isr = request.isr.iter().map(|(member, _)| *member).collect();
        assert!(state.isr.contains(&id));
        self.commit(state, brokers, None);
        let (state, _) = self.current();
        AlterAnswer::Committed {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.isr,
        }
    }

    /// Writes a new state: `leaving` goes out of the ISR unless it is the last, then the leader is elected.
    fn commit(&mut self, mut state: PartitionState, brokers: Brokers, leaving: Option<NodeId>) {
        if state.isr.len() > 1 {
            state.isr.retain(|member| Some(*member) != leaving);
        }
        let valid = |id: &NodeId| !brokers[id].fenced && state.isr.contains(id);
        let leader = if valid_leader(&state, &valid) && Some(state.leader) != leaving {
            state.leader
        } else {
            state.replicas.iter().copied().find(|id| valid(id)).unwrap_or(NodeId::NONE)
        };
        if leader != state.leader {
            state.leader = leader;
            state.leader_epoch = state.leader_epoch.next();
        }
        state.partition_epoch = state.partition_epoch.next();
        self.history.push((state, brokers));
    }
}

fn valid_leader(state: &PartitionState, valid: &impl Fn(&NodeId) -> bool) -> bool {
    !state.leader.is_none() && valid(&state.leader)
}
