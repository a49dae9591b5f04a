//! Who leads a partition, and who stays in its ISR, when brokers come and go (kafka.md's `PartitionChangeBuilder`, with
//! eligible leader replicas off).
//!
//! A replica is *acceptable* when its broker is unfenced and not shutting down, *valid* when it also is in the target ISR.
//! An empty target ISR is never written: the last member stays, though it is fenced, and may be elected when it returns.

use protocol::messages::partition_change_record::PartitionChangeRecord;
use protocol::{NodeId, TopicIdPartition};

use super::Work;
use crate::configs;
use crate::image::ConfigResource;
use crate::partition::{LeaderRecovery, PartitionRegistration, ids};

/// How to look for a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Election {
    /// Keep the leader, else the first valid replica.
    Online,
    /// As `Online`, else any acceptable replica: committed records may be lost (`unclean.leader.election.enable`).
    Unclean,
    /// The first replica if it is valid, else as `Online`.
    Preferred,
}

/// A change of one partition in the making.
pub(super) struct PartitionChange<'a> {
    pub(super) id: TopicIdPartition,
    pub(super) partition: &'a PartitionRegistration,
    pub(super) target_isr: Vec<NodeId>,
    pub(super) target_recovery: LeaderRecovery,
    pub(super) election: Election,
    pub(super) acceptable: &'a dyn Fn(NodeId) -> bool,
}

impl PartitionChange<'_> {
    /// The leader to be, and whether it is elected outside the ISR.
    fn elect(&self) -> (NodeId, bool) {
        let valid = |id: NodeId| self.target_isr.contains(&id) && (self.acceptable)(id);
        let preferred = self.partition.preferred_leader();
        if self.election == Election::Preferred && valid(preferred) {
            return (preferred, false);
        }
        if valid(self.partition.leader) {
            return (self.partition.leader, false);
        }
        let replicas = &self.partition.replicas;
        if let Some(leader) = replicas.iter().copied().find(|id| valid(*id)) {
            return (leader, false);
        }
        if self.election == Election::Unclean
            && let Some(leader) = replicas.iter().copied().find(|id| (self.acceptable)(*id))
        {
            return (leader, true);
        }
        (NodeId::NONE, false)
    }

    /// The record, if anything changes. A leader is named, and so its epoch raised, only when it changes.
    pub(super) fn build(self) -> Option<PartitionChangeRecord> {
        let unchanged =
            PartitionChangeRecord { partition_id: self.id.partition, topic_id: self.id.topic_id, ..Default::default() };
        let mut record = unchanged.clone();
        let (mut isr, mut recovery) = (self.target_isr.clone(), self.target_recovery);
        let (leader, unclean) = self.elect();
        if leader != self.partition.leader {
            record.leader = leader.0;
            if leader.is_none() {
                probe::sometimes!("partition_leaderless");
            }
            if unclean {
                probe::sometimes!("unclean_leader_elected");
                isr = vec![leader];
                recovery = LeaderRecovery::Recovering;
            }
        }
        if isr.is_empty() {
            probe::sometimes!("last_isr_member_kept");
        } else if isr != self.partition.isr {
            record.isr = Some(ids(&isr));
        }
        if recovery != self.partition.recovery {
            record.leader_recovery_state = recovery.code();
        }
        (record != unchanged).then_some(record)
    }
}

impl Work<'_> {
    /// Rewrites the partitions that `concerned` picks, as if `removed` ([`NodeId::NONE`]: nobody) were in no ISR and not
    /// acceptable.
    pub(super) fn update_leaders_and_isrs(
        &mut self,
        removed: NodeId,
        concerned: impl Fn(&PartitionRegistration) -> bool,
    ) {
        let picked: Vec<_> = self.state.partitions.iter().filter(|(_, it)| concerned(it)).map(|(id, _)| *id).collect();
        for id in picked {
            let partition = &self.state.partitions.get(&id).expect("picked just now");
            let acceptable = |node: NodeId| node != removed && self.state.is_active(node);
            let change = PartitionChange {
                id,
                partition,
                target_isr: partition.isr.iter().copied().filter(|member| *member != removed).collect(),
                target_recovery: partition.recovery,
                election: self.election_for(id),
                acceptable: &acceptable,
            };
            if let Some(record) = change.build() {
                self.push(record.into());
            }
        }
    }

    /// `Unclean` where the topic allows it.
    pub(super) fn election_for(&self, id: TopicIdPartition) -> Election {
        const KEY: &str = "unclean.leader.election.enable";
        let name = self.state.topics.get(&id.topic_id);
        let own = name.and_then(|name| self.state.configs.get(&ConfigResource::topic(name.clone())));
        let inherited = self.state.inherited(&self.config.topic_defaults);
        match configs::set(KEY, own.map(AsRef::as_ref), inherited) {
            Some((value, _)) if value.trim().eq_ignore_ascii_case("true") => Election::Unclean,
            _ => Election::Online,
        }
    }

    /// Hands partitions back to their first replica, at most 1,000 at a time; whether some are left.
    pub(super) fn elect_preferred_leaders(&mut self) -> bool {
        const RECORDS_MAX: usize = 1_000;
        let astray = |it: &PartitionRegistration| it.leader != it.preferred_leader();
        let picked: Vec<_> = self.state.partitions.iter().filter(|(_, it)| astray(it)).map(|(id, _)| *id).collect();
        for id in picked {
            let partition = &self.state.partitions.get(&id).expect("picked just now");
            let change = PartitionChange {
                id,
                partition,
                target_isr: partition.isr.clone(),
                target_recovery: partition.recovery,
                election: Election::Preferred,
                acceptable: &|node| self.state.is_active(node),
            };
            if let Some(record) = change.build() {
                if self.active.batch.len() == RECORDS_MAX {
                    return true;
                }
                self.push(record.into());
            }
        }
        false
    }

    /// Elects a leader outside the ISR for leaderless partitions that allow it.
    pub(super) fn elect_unclean_leaders(&mut self) {
        self.update_leaders_and_isrs(NodeId::NONE, |partition| partition.leader.is_none());
    }
}
