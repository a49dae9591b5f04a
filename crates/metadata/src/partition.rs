//! What the cluster knows of a partition.

use protocol::messages::partition_change_record::PartitionChangeRecord;
use protocol::messages::partition_record::PartitionRecord;
use protocol::{LeaderEpoch, NodeId, PartitionEpoch, Uuid};

/// Whether the leader was elected outside the ISR and has not yet made up for it (KIP-704).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum LeaderRecovery {
    /// Elected from the ISR, or recovered since.
    #[default]
    Recovered,
    /// Elected outside the ISR.
    Recovering,
}

impl LeaderRecovery {
    /// Kafka's number; `None` where it has no meaning.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Recovered),
            1 => Some(Self::Recovering),
            _ => None,
        }
    }

    /// Kafka's number.
    pub const fn code(self) -> i8 {
        match self {
            Self::Recovered => 0,
            Self::Recovering => 1,
        }
    }
}

/// The state of a partition that the controller keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionRegistration {
    /// Who has a copy; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// The log directory of each replica, in the order of `replicas`; all zero while unassigned.
    pub directories: Vec<Uuid>,
    /// Who is in sync. Invariant: a subset of `replicas`, without repetition; never empty once written, since eligible
    /// leader replicas are off: the last member stays though it is fenced.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment takes away.
    pub removing: Vec<NodeId>,
    /// Replicas that a reassignment brings.
    pub adding: Vec<NodeId>,
    /// Who leads, or [`NodeId::NONE`]. Invariant: a member of `isr`.
    pub leader: NodeId,
    /// Rises whenever a record sets the leader, even to the same one.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every record.
    pub partition_epoch: PartitionEpoch,
    /// See [`LeaderRecovery`].
    pub recovery: LeaderRecovery,
}

/// `PartitionChangeRecord.Leader`: the leader stays and its epoch does not rise.
pub(crate) const NO_LEADER_CHANGE: i32 = -2;

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub(crate) fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

impl PartitionRegistration {
    /// The state that a record makes.
    pub fn created(record: &PartitionRecord) -> Self {
        let replicas = nodes(&record.replicas);
        let mut directories = record.directories.clone();
        directories.resize(replicas.len(), Uuid::ZERO);
        Self {
            directories,
            isr: nodes(&record.isr),
            removing: nodes(&record.removing_replicas),
            adding: nodes(&record.adding_replicas),
            leader: NodeId(record.leader),
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: PartitionEpoch(record.partition_epoch),
            recovery: LeaderRecovery::from_code(record.leader_recovery_state).unwrap_or_default(),
            replicas,
        }
    }

    /// This state after a change: every record raises the partition epoch, one that names a leader also the leader epoch.
    #[must_use]
    pub fn changed(&self, change: &PartitionChangeRecord) -> Self {
        let mut next = self.clone();
        if let Some(replicas) = &change.replicas {
            next.replicas = nodes(replicas);
            next.directories.resize(next.replicas.len(), Uuid::ZERO);
        }
        if let Some(directories) = &change.directories {
            next.directories.clone_from(directories);
        }
        if let Some(isr) = &change.isr {
            next.isr = nodes(isr);
        }
        if let Some(removing) = &change.removing_replicas {
            next.removing = nodes(removing);
        }
        if let Some(adding) = &change.adding_replicas {
            next.adding = nodes(adding);
        }
        if change.leader != NO_LEADER_CHANGE {
            next.leader = NodeId(change.leader);
            next.leader_epoch = next.leader_epoch.next();
        }
        if let Some(recovery) = LeaderRecovery::from_code(change.leader_recovery_state) {
            next.recovery = recovery;
        }
        next.partition_epoch = next.partition_epoch.next();
        next
    }

    /// The replica that should lead if it can.
    pub fn preferred_leader(&self) -> NodeId {
        self.replicas.first().copied().unwrap_or(NodeId::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_names_the_same_leader_raises_both_epochs_and_an_isr_change_only_one() {
        let created = PartitionRegistration::created(&PartitionRecord {
            replicas: vec![1, 2],
            isr: vec![1, 2],
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        });
        let same = created.changed(&PartitionChangeRecord { leader: 1, ..Default::default() });
        assert_eq!((same.leader_epoch, same.partition_epoch), (LeaderEpoch(1), PartitionEpoch(1)));
        let shrunk = same.changed(&PartitionChangeRecord { isr: Some(vec![1]), ..Default::default() });
        assert_eq!((shrunk.leader_epoch, shrunk.partition_epoch), (LeaderEpoch(1), PartitionEpoch(2)));
        assert_eq!((shrunk.leader, &shrunk.isr[..]), (NodeId(1), &[NodeId(1)][..]));
    }
}
