//! C-ISR: who is in sync, as the controller commits it and as brokers apply it.
//!
//! What the controller committed, batch by batch of the log: an ISR is a part of the replicas and never empty, its leader is
//! in it, and nobody in it is fenced, leaving, or another registration than the one that came in; but the last member of a
//! partition without leader may be (without eligible leader replicas an empty ISR is never written). Nobody comes in on a
//! wish that was made before his present process began.
//!
//! What brokers make of it: one leader an epoch; epochs that never go back within a process; a leader's maximal ISR holds
//! whoever the controller has in its ISR, in the same epoch; every state applied is one that the controller committed.

use std::collections::BTreeMap;

use protocol::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition};
use runtime::Observation;
use runtime::observation::ReplicaRole;

use super::Committed;
use super::replay::{self, State};
use crate::checker::known::{self, Offset0};
use crate::checker::tally::Tally;
use crate::checker::{Checker, Judgement, RunEnd, Violation};
use crate::event::{Stamped, grouped};

/// What a broker's replica said last, within the life of its process.
#[derive(Debug)]
struct Said {
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    /// Of the last [`Observation::Isr`] in this leader epoch.
    maximal: Vec<NodeId>,
    /// Who was on his way in then, and since when.
    joining: Vec<(NodeId, u64)>,
}

/// What the controller committed last.
#[derive(Debug)]
struct Known {
    leader: NodeId,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    isr: Vec<NodeId>,
}

/// A wish to take somebody in.
#[derive(Debug)]
struct Join {
    leader_epoch: LeaderEpoch,
    /// Of the state that it is to follow.
    partition_epoch: PartitionEpoch,
    node: NodeId,
    since_ns: u64,
}

/// A state that a broker applied.
#[derive(Debug)]
struct Applied {
    leader_epoch: LeaderEpoch,
    /// Leaders name the state and its ISR.
    isr: Option<(PartitionEpoch, Vec<NodeId>)>,
    leads: bool,
    event: Stamped,
}

/// See the module.
#[derive(Default, Debug)]
pub struct IsrSound {
    log: Committed,
    high_watermark: Offset0,
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), NodeId>,
    said: BTreeMap<NodeId, BTreeMap<TopicPartition, Said>>,
    known: BTreeMap<TopicPartition, Known>,
    joins: BTreeMap<TopicPartition, Vec<Join>>,
    applied: BTreeMap<TopicPartition, Vec<Applied>>,
    /// When each node's process began; and of each registration.
    started: BTreeMap<NodeId, u64>,
    registered: BTreeMap<(NodeId, BrokerEpoch), u64>,
    tally: Tally,
}

impl IsrSound {
    pub(super) fn reading(log: Committed) -> Self {
        Self { log, ..Self::default() }
    }

    /// A replica's epochs only rise.
    fn rises(
        &mut self,
        event: &Stamped,
        partition: &TopicPartition,
        leader: LeaderEpoch,
        state: Option<PartitionEpoch>,
    ) {
        self.tally.judged += 1;
        let replicas = self.said.entry(event.node).or_default();
        if !replicas.contains_key(partition) {
            let said = Said {
                leader_epoch: leader,
                partition_epoch: PartitionEpoch(-1),
                maximal: Vec::new(),
                joining: Vec::new(),
            };
            replicas.insert(partition.clone(), said);
        }
        let said = replicas.get_mut(partition).expect("just made");
        let back = leader < said.leader_epoch || state.is_some_and(|state| state < said.partition_epoch);
        if back {
            let before = (said.leader_epoch, said.partition_epoch);
            self.tally.breach(|| {
                Violation::new("a broker went back to an older state of a partition")
                    .with("replica", format!("{partition} on {}", event.host))
                    .with("before", format!("leader epoch {}, partition epoch {}", before.0, before.1))
                    .with(
                        "now",
                        format!("leader epoch {leader}, partition epoch {}", state.map_or(-1, |state| state.0)),
                    )
                    .at(event)
            });
        }
        if leader != said.leader_epoch {
            said.maximal.clear();
            said.joining.clear();
        }
        said.leader_epoch = leader;
        said.partition_epoch = state.unwrap_or(said.partition_epoch);
    }

    fn leads(&mut self, event: &Stamped, partition: &TopicPartition, epoch: LeaderEpoch) {
        let leader = *self.leaders.entry((partition.clone(), epoch)).or_insert(event.node);
        if leader != event.node {
            self.tally.breach(|| {
                Violation::new("two brokers lead a partition in one epoch")
                    .with("partition", format!("{partition}, epoch {epoch}: nodes {leader} and {}", event.node))
                    .at(event)
            });
        }
    }

    fn apply(&mut self, partition: &TopicPartition, applied: Applied) {
        known::of(&mut self.applied, partition).push(applied);
    }

    /// A leader says whom it counts.
    fn counts(&mut self, event: &Stamped, partition: &TopicPartition, committed: &[NodeId], maximal: &[NodeId]) {
        let Some(said) = self.said.get_mut(&event.node).and_then(|replicas| replicas.get_mut(partition)) else {
            return;
        };
        let before = std::mem::take(&mut said.joining);
        let since = |node: NodeId| before.iter().find(|(known, _)| *known == node).map_or(event.at_ns, |(_, at)| *at);
        said.maximal = maximal.to_vec();
        said.joining =
            maximal.iter().filter(|node| !committed.contains(node)).map(|node| (*node, since(*node))).collect();
        let (leader_epoch, partition_epoch) = (said.leader_epoch, said.partition_epoch);
        let joins = said.joining.iter().map(|(node, since_ns)| Join {
            leader_epoch,
            partition_epoch,
            node: *node,
            since_ns: *since_ns,
        });
        let joins: Vec<Join> = joins.collect();
        if !joins.is_empty() {
            self.joins.entry(partition.clone()).or_default().extend(joins);
        }
        self.superset(event, partition, event.node);
    }

    /// Whether the leader's maximal ISR holds the controller's, as far as both are known.
    fn superset(&mut self, event: &Stamped, partition: &TopicPartition, leader: NodeId) {
        let Some(said) = self.said.get(&leader).and_then(|replicas| replicas.get(partition)) else { return };
        let Some(known) = self.known.get(partition) else { return };
        let comparable = known.leader == leader
            && known.leader_epoch == said.leader_epoch
            && known.partition_epoch >= said.partition_epoch
            && !said.maximal.is_empty();
        if !comparable {
            return;
        }
        self.tally.judged += 1;
        if let Some(missing) = known.isr.iter().find(|member| !said.maximal.contains(member)) {
            let lines = (format!("{:?}", known.isr), format!("{:?}", said.maximal), known.leader_epoch);
            self.tally.breach(|| {
                Violation::new("a leader does not count a member of the controller's ISR")
                    .with("partition", format!("{partition}, epoch {}", lines.2))
                    .with("controller's ISR", lines.0)
                    .with("maximal ISR", format!("{} at node {leader}, without {missing}", lines.1))
                    .at(event)
            });
        }
    }
}

impl Checker for IsrSound {
    fn id(&self) -> &'static str {
        "C-ISR"
    }

    fn slug(&self) -> &'static str {
        "isr-sound"
    }

    fn unit(&self) -> &'static str {
        "states of partitions"
    }

    fn observe(&mut self, event: &Stamped) {
        match &event.what {
            Observation::ReplicaRole { partition, role, leader_epoch, .. } => {
                self.rises(event, partition, *leader_epoch, None);
                let leads = *role == ReplicaRole::Leader;
                if leads {
                    self.leads(event, partition, *leader_epoch);
                }
                if *role != ReplicaRole::Offline {
                    let applied = Applied { leader_epoch: *leader_epoch, isr: None, leads, event: event.clone() };
                    self.apply(partition, applied);
                }
            }
            Observation::Isr { partition, leader_epoch, partition_epoch, committed, maximal } => {
                self.rises(event, partition, *leader_epoch, Some(*partition_epoch));
                self.counts(event, partition, committed, maximal);
                let applied = Applied {
                    leader_epoch: *leader_epoch,
                    isr: Some((*partition_epoch, committed.clone())),
                    leads: true,
                    event: event.clone(),
                };
                self.apply(partition, applied);
            }
            // A leader of the quorum that was restarted tells the past again.
            Observation::PartitionCommitted { partition, leader, leader_epoch, partition_epoch, isr, .. }
                if self.known.get(partition).is_none_or(|known| known.partition_epoch < *partition_epoch) =>
            {
                let (leader, leader_epoch, partition_epoch) = (*leader, *leader_epoch, *partition_epoch);
                let known = Known { leader, leader_epoch, partition_epoch, isr: isr.clone() };
                self.known.insert(partition.clone(), known);
                self.superset(event, partition, leader);
            }
            Observation::QuorumHighWatermark { offset } => {
                self.high_watermark = self.high_watermark.max(Offset0(*offset));
            }
            Observation::ProcessStarted => drop(self.started.insert(event.node, event.at_ns)),
            Observation::ProcessEnded { .. } => drop(self.said.remove(&event.node)),
            Observation::BrokerRunning { epoch } => {
                let started = self.started.get(&event.node).copied().unwrap_or(0);
                self.registered.entry((event.node, *epoch)).or_insert(started);
            }
            _ => {}
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        if !run.disks.is_empty()
            && let Ok((batches, all)) = self.log.clone().of(run, self.high_watermark.0)
        {
            // What cannot be read or applied, C-META tells.
            let mut history: BTreeMap<TopicPartition, Vec<replay::Partition>> = BTreeMap::new();
            let mut state = State::default();
            for batch in batches {
                state.begin();
                for (_, record) in &batch.records {
                    if state.apply(record).is_err() {
                        return self.tally.verdict(NOTHING);
                    }
                    self.remember(&state, record, &mut history);
                }
                if !state.in_transaction() {
                    self.sound(&state, batch.last);
                }
            }
            self.stale(&history);
            if *all {
                self.prefixes(&history);
            }
        }
        self.tally.verdict(NOTHING)
    }
}

const NOTHING: &str = "no partition was created";

impl IsrSound {
    /// Keeps every state of every partition, by its partition epoch.
    fn remember(
        &self,
        state: &State,
        record: &protocol::MetadataRecord,
        history: &mut BTreeMap<TopicPartition, Vec<replay::Partition>>,
    ) {
        let (topic, number) = match record {
            protocol::MetadataRecord::Partition(it) => (it.topic_id, it.partition_id),
            protocol::MetadataRecord::PartitionChange(it) => (it.topic_id, it.partition_id),
            _ => return,
        };
        let Some(topic) = state.topics.get(&topic) else { return };
        let Some(partition) = topic.partitions.get(&number) else { return };
        history.entry(TopicPartition::new(topic.name.as_str(), number)).or_default().push(partition.clone());
    }

    /// The state after a batch.
    fn sound(&mut self, state: &State, offset: Offset) {
        for (id, topic) in &state.topics {
            for (number, partition) in &topic.partitions {
                if !state.brokers_changed && !state.touched.contains(&(*id, *number)) {
                    continue;
                }
                self.tally.judged += 1;
                if let Some(why) = unsound(state, partition) {
                    self.tally.breach(|| {
                        let mut violation = Violation::new("the controller committed an ISR that is not sound")
                            .with("partition", format!("{}/{number} at offset {}", topic.name, grouped(offset.0)))
                            .with(
                                "state",
                                format!(
                                    "leader {} epoch {}, isr {:?} of {:?}",
                                    partition.leader,
                                    partition.leader_epoch,
                                    partition.members(),
                                    partition.replicas
                                ),
                            )
                            .with("but", why);
                        violation.partition = Some(TopicPartition::new(topic.name.as_str(), *number));
                        violation
                    });
                }
            }
        }
    }

    /// Who came in must have been asked for as the process that he is.
    fn stale(&mut self, history: &BTreeMap<TopicPartition, Vec<replay::Partition>>) {
        for (partition, states) in history {
            let Some(joins) = self.joins.get(partition) else { continue };
            for pair in states.windows(2) {
                let (before, after) = (&pair[0], &pair[1]);
                if before.leader_epoch != after.leader_epoch {
                    continue;
                }
                for (member, epoch) in after.isr.iter().filter(|(id, _)| before.isr.iter().all(|(old, _)| old != id)) {
                    let join = joins.iter().rfind(|join| {
                        join.node.0 == *member
                            && join.leader_epoch.0 == after.leader_epoch
                            && join.partition_epoch.0 == before.partition_epoch
                    });
                    let since = self.registered.get(&(NodeId(*member), BrokerEpoch(*epoch)));
                    let (Some(join), Some(since)) = (join, since) else { continue };
                    self.tally.judged += 1;
                    if join.since_ns < *since {
                        self.tally.breach(|| {
                            let mut violation =
                                Violation::new("a broker came into an ISR for what its former process had")
                                    .with("partition", format!("{partition}, leader epoch {}", after.leader_epoch))
                                    .with("asked for", format!("at {:.3}s", join.since_ns as f64 / 1e9))
                                    .with(
                                        "member",
                                        format!(
                                            "node {member}, broker epoch {epoch}, whose process began at {:.3}s",
                                            *since as f64 / 1e9
                                        ),
                                    );
                            violation.partition = Some(partition.clone());
                            violation.at_ns = Some(join.since_ns);
                            violation
                        });
                    }
                }
            }
        }
    }

    /// What brokers applied must be what was committed.
    fn prefixes(&mut self, history: &BTreeMap<TopicPartition, Vec<replay::Partition>>) {
        for (partition, list) in &self.applied {
            let Some(states) = history.get(partition) else { continue };
            for applied in list {
                self.tally.judged += 1;
                let same = |state: &&replay::Partition| {
                    state.leader_epoch == applied.leader_epoch.0
                        && (!applied.leads || state.leader == applied.event.node.0)
                        && applied.isr.as_ref().is_none_or(|(epoch, isr)| {
                            state.partition_epoch == epoch.0
                                && state.isr.iter().map(|(id, _)| NodeId(*id)).eq(isr.iter().copied())
                        })
                };
                if states.iter().find(same).is_none() {
                    self.tally.breach(|| {
                        Violation::new("a broker applied a state of a partition that the controller never committed")
                            .with("replica", format!("{partition} on {}", applied.event.host))
                            .at(&applied.event)
                    });
                }
            }
        }
    }
}

/// What is wrong with a committed state.
fn unsound(state: &State, partition: &replay::Partition) -> Option<String> {
    let members = partition.members();
    if members.is_empty() {
        return Some("its ISR is empty".to_owned());
    }
    if let Some(stranger) = members.iter().find(|member| !partition.replicas.contains(member)) {
        return Some(format!("{stranger} has no copy"));
    }
    if (1..members.len()).any(|at| members[..at].contains(&members[at])) {
        return Some("a member is in it twice".to_owned());
    }
    if partition.leader != -1 && !members.contains(&partition.leader) {
        return Some("its leader is not in sync".to_owned());
    }
    let last_of_leaderless = partition.leader == -1 && members.len() == 1;
    partition.isr.iter().filter(|_| !last_of_leaderless).find_map(|(member, since)| {
        let Some(broker) = state.brokers.get(member) else { return Some(format!("broker {member} is not registered")) };
        match () {
            () if broker.fenced => Some(format!("broker {member} is fenced")),
            () if broker.leaving => Some(format!("broker {member} is shutting down")),
            () if broker.epoch != *since => Some(format!(
                "broker {member} came in with epoch {since} and has registered anew, epoch {}",
                broker.epoch
            )),
            () => None,
        }
    })
}
