//! What the budget learns from the run's observations.

use std::collections::BTreeSet;

use protocol::{LeaderEpoch, NodeId, Offset};
use runtime::Observation;
use runtime::observation::QuorumRole;

use super::super::cluster::host_of;
use super::{Budget, Partition};
use crate::event::Stamped;

impl Budget {
    /// Takes an event in. To be called in order of time, for every event of the run.
    pub fn observe(&mut self, event: &Stamped) {
        let node = event.node;
        // A twin says what it likes.
        if !node.is_none() && *event.host != *host_of(node) {
            return;
        }
        match &event.what {
            Observation::ProcessStarted
            | Observation::ProcessEnded { .. }
            | Observation::BrokerRunning { .. }
            | Observation::BrokerFenced { .. }
            | Observation::BrokerCommitted { .. } => self.process(event),
            Observation::PartitionCommitted { .. } => {
                self.settle(event.at_ns);
                self.partition_committed(event);
            }
            Observation::Isr { partition, leader_epoch, committed, maximal, .. } => {
                if let Some(known) = self.partitions.get_mut(partition)
                    && known.leader_epoch.is_none_or(|epoch| *leader_epoch >= epoch)
                {
                    known.joining = maximal.iter().filter(|id| !committed.contains(id)).copied().collect();
                }
            }
            Observation::QuorumState { role, epoch, leader, .. } => {
                self.quorum_state(event.at_ns, node, *role, *epoch, *leader);
            }
            Observation::QuorumOpened { end } => {
                if let Some(voter) = self.voters.get_mut(&node) {
                    (voter.end, voter.flushed) = (*end, Offset::ZERO);
                }
            }
            Observation::QuorumAppended { last, .. } => {
                if let Some(voter) = self.voters.get_mut(&node) {
                    voter.end = last.plus(1);
                }
            }
            Observation::QuorumTruncated { end } => {
                if let Some(voter) = self.voters.get_mut(&node) {
                    voter.end = *end;
                    voter.flushed = voter.flushed.min(*end);
                }
            }
            Observation::QuorumFlushed { end } => self.quorum_flushed(node, *end),
            Observation::QuorumHighWatermark { offset } => {
                self.quorum_high_watermark = self.quorum_high_watermark.max(*offset);
            }
            _ => {}
        }
    }

    fn process(&mut self, event: &Stamped) {
        self.settle(event.at_ns);
        if let Observation::BrokerCommitted { offset, .. } = &event.what {
            // A leader of the quorum that was restarted tells the past again.
            if *offset <= self.brokers_told {
                return;
            }
            self.brokers_told = *offset;
        }
        let id = if let Observation::BrokerCommitted { broker, .. } = &event.what { *broker } else { event.node };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match &event.what {
            Observation::ProcessStarted => {
                (node.running, node.serving, node.before) = (true, false, node.epoch);
                node.starts += 1;
            }
            Observation::ProcessEnded { .. } => (node.running, node.serving) = (false, false),
            Observation::BrokerRunning { epoch } => (node.serving, node.epoch) = (true, Some(epoch.0)),
            Observation::BrokerFenced { .. } => node.serving = false,
            Observation::BrokerCommitted { epoch, fenced, .. } => {
                // Those of an earlier incarnation say nothing of this one.
                if node.before.is_some_and(|before| epoch.0 <= before) {
                    return;
                }
                node.epoch = Some(epoch.0);
                node.serving = node.running && !fenced;
            }
            _ => return,
        }
        self.recalm(event.at_ns);
    }

    fn partition_committed(&mut self, event: &Stamped) {
        let Observation::PartitionCommitted {
            partition: name,
            leader,
            leader_epoch,
            partition_epoch,
            isr,
            replicas,
            ..
        } = &event.what
        else {
            return;
        };
        let known = match self.partitions.get_mut(name) {
            Some(known) if known.partition_epoch >= partition_epoch.0 => return,
            Some(known) => known,
            None => {
                let min_isr = self.min_isr.get(&*name.topic).copied().unwrap_or(1);
                self.partitions.entry(name.clone()).or_insert(Partition { min_isr, ..Partition::default() })
            }
        };
        let newcomers: Vec<NodeId> = isr.iter().filter(|id| !known.isr.contains(id)).copied().collect();
        // Who is elected has the log that counts from now on, whatever it lacks.
        let elected = known.leader_epoch.is_some_and(|epoch| epoch < *leader_epoch) && isr.as_slice() == [*leader];
        known.partition_epoch = partition_epoch.0;
        if known.leader_epoch != Some(*leader_epoch) {
            known.joining = BTreeSet::new();
        }
        known.leader_epoch = Some(*leader_epoch);
        known.leader = (!leader.is_none()).then_some(*leader);
        known.isr = isr.iter().copied().collect();
        known.replicas.clone_from(replicas);
        let isr = &known.isr;
        known.joining.retain(|id| !isr.contains(id));
        for id in newcomers.into_iter().chain(elected.then_some(*leader)) {
            let (Some(damage), Some(node)) = (known.damaged.get(&id), self.nodes.get(&id)) else { continue };
            let again = node.running && node.serving && node.starts > damage.starts;
            if again && node.rot.is_empty() && node.losing.is_empty() {
                known.damaged.remove(&id);
            }
        }
    }

    fn quorum_state(&mut self, at_ns: u64, node: NodeId, role: QuorumRole, epoch: LeaderEpoch, leader: NodeId) {
        if let Some(voter) = self.voters.get_mut(&node) {
            (voter.role, voter.epoch, voter.leader) = (role, epoch, leader);
        }
        let newer = self.controller.is_none_or(|(known, _)| epoch > known);
        let lost = self.controller == Some((epoch, node)) && role != QuorumRole::Leader;
        if (role == QuorumRole::Leader && newer) || lost {
            self.settle(at_ns);
            if !lost {
                self.controller = Some((epoch, node));
            }
            self.led_since = None;
            if !lost {
                self.recalm(at_ns);
            }
        }
    }

    fn quorum_flushed(&mut self, node: NodeId, end: Offset) {
        let Some(voter) = self.voters.get_mut(&node) else { return };
        voter.flushed = end;
        let Some(damage) = self.forgetful.get(&node) else { return };
        let process = &self.nodes[&node];
        let again = process.running && process.starts > damage.starts && end >= damage.owes;
        if again && process.rot.is_empty() && process.losing.is_empty() {
            self.forgetful.remove(&node);
        }
    }
}
