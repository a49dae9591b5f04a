//! What the budget allows: whether a fault may fire now, and whether a disk may be replaced; and why not.

use std::collections::BTreeSet;
use std::fmt;

use protocol::{NodeId, Offset, TopicPartition};
use runtime::observation::QuorumRole;

use crate::checker::Keep;

use super::super::cluster::host_of;
use super::{Budget, Harm, Impact, Partition, Voter};

/// Why a fault may not fire now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// As many faults as allowed are going on.
    Concurrent {
        /// How many.
        active: usize,
    },
    /// A partition would be left to damaged replicas.
    Partition {
        /// The first such.
        partition: TopicPartition,
        /// Members of its ISR whose data would be damaged.
        damaged: Vec<NodeId>,
    },
    /// The quorum could forget what it committed.
    Quorum {
        /// Why.
        why: &'static str,
    },
    /// A partition would have too few members that can be reached.
    Unavailable {
        /// The first such.
        partition: TopicPartition,
        /// Who would be left.
        left: Vec<NodeId>,
    },
    /// No controller majority could be reached.
    NoMajority,
}

impl Refusal {
    /// `concurrent` or `budget`, as reports count.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Concurrent { .. } => "concurrent",
            _ => "budget",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &[NodeId]| nodes.iter().map(|node| host_of(*node)).collect::<Vec<_>>().join(", ");
        match self {
            Self::Concurrent { active } => write!(f, "{active} faults are going on"),
            Self::Partition { partition, damaged } => {
                write!(f, "{partition} would have no sound and steady in-sync replica besides {}", names(damaged))
            }
            Self::Quorum { why } => write!(f, "the quorum: {why}"),
            Self::Unavailable { partition, left } if left.is_empty() => {
                write!(f, "{partition} would have no in-sync replica that can be reached")
            }
            Self::Unavailable { partition, left } => write!(f, "{partition} would be left to {}", names(left)),
            Self::NoMajority => f.write_str("no controller majority could be reached"),
        }
    }
}

impl Budget {
    /// Whether a fault may fire now.
    pub fn ask(&mut self, now: u64, impact: &Impact) -> Result<(), Refusal> {
        self.settle(now);
        // A quorum that forgets breaks rules that hold whatever may be lost, and nothing could be predicted any more.
        self.ask_quorum(impact)?;
        if self.keep == Keep::Nothing {
            return Ok(());
        }
        for (name, partition) in &self.partitions {
            self.ask_partition(now, name, partition, impact)?;
        }
        if self.keep == Keep::Service {
            let reached = |id: &NodeId| !impact.away.contains(id) && self.nodes[id].reachable();
            let voters = self.voters.keys().filter(|id| reached(id) && !self.forgetful.contains_key(id)).count();
            if voters < self.majority() {
                return Err(Refusal::NoMajority);
            }
            for (name, partition) in &self.partitions {
                let sound = |id: &&NodeId| {
                    reached(id)
                        && !partition.damaged.contains_key(id)
                        && !impact.harms_data().any(|harmed| harmed == **id)
                };
                let left: Vec<NodeId> = partition.isr.iter().filter(sound).copied().collect();
                if left.len() < partition.min_isr {
                    return Err(Refusal::Unavailable { partition: name.clone(), left });
                }
            }
        }
        Ok(())
    }

    pub(super) fn ask_partition(
        &self,
        now: u64,
        name: &TopicPartition,
        partition: &Partition,
        impact: &Impact,
    ) -> Result<(), Refusal> {
        let harmed: BTreeSet<NodeId> = impact.harms_data().collect();
        let is_damaged = |id: &NodeId| partition.damaged.contains_key(id) || harmed.contains(id);
        let members = || partition.isr.union(&partition.joining);
        let damaged: Vec<NodeId> = members().filter(|id| is_damaged(id)).copied().collect();
        if damaged.is_empty() {
            return Ok(());
        }
        let disturbs = |id: &NodeId| impact.away.contains(id) || impact.disturbed.contains(id);
        // A leader that does not serve its followers puts them out of the ISR, however well they are.
        let settling = |until: u64| until.saturating_add(self.settle_ns) > now;
        let grey = partition.leader.filter(|leader| {
            impact.grey.contains(leader)
                || self
                    .nodes
                    .get(leader)
                    .is_some_and(|node| !node.grey.is_empty() || node.grey_until.is_some_and(settling))
        });
        // What is bad already and does not get worse by this fault is no reason to refuse it.
        let deafens = self.controller.is_some_and(|(_, leader)| disturbs(&leader) && !impact.ended.contains(&leader));
        let worse = deafens
            || members().any(|id| {
                let newly = harmed.contains(id) && !partition.damaged.contains_key(id);
                newly
                    || (!is_damaged(id)
                        && ((disturbs(id) && self.nodes[id].calm_since.is_some())
                            || grey.is_some_and(|leader| impact.grey.contains(&leader))))
            });
        let anchored = !deafens
            && !self.is_deaf(now)
            && partition.isr.iter().any(|id| {
                !is_damaged(id) && !disturbs(id) && self.nodes[id].steady && grey.is_none_or(|leader| leader == *id)
            });
        if worse && !anchored { Err(Refusal::Partition { partition: name.clone(), damaged }) } else { Ok(()) }
    }

    /// The voters that a fault would make forget something synced.
    pub(super) fn would_forget<'a>(&'a self, impact: &'a Impact) -> impl Iterator<Item = NodeId> + 'a {
        let harmed = impact.harm.iter().filter(|(id, harm)| match harm {
            Harm::Unsynced => self.nodes.get(id).is_some_and(|node| !node.lies.is_empty()),
            Harm::DropsPages | Harm::Lies => false,
            Harm::Rot | Harm::Wiped | Harm::Twin => true,
        });
        // A rotten log is cut at its next opening, wherever the rot is.
        let rotten = impact.away.iter().filter(|id| self.nodes.get(id).is_some_and(|node| !node.rot.is_empty()));
        let ids: BTreeSet<NodeId> = harmed.map(|(id, _)| *id).chain(rotten.copied()).collect();
        ids.into_iter().filter(|id| self.voters.contains_key(id))
    }

    fn ask_quorum(&self, impact: &Impact) -> Result<(), Refusal> {
        let harmed: BTreeSet<NodeId> = self.would_forget(impact).collect();
        if harmed.is_empty() {
            return Ok(());
        }
        let refuse = |why| Err(Refusal::Quorum { why });
        let sound = || self.voters.iter().filter(|(id, _)| !harmed.contains(id) && !self.forgetful.contains_key(id));
        if sound().count() < self.majority() {
            return refuse("no majority would remember everything");
        }
        // What a harmed voter has acknowledged, the others must have: it may have been committed with its help alone.
        let acknowledged = harmed.iter().map(|id| self.voters[id].end).max().unwrap_or(Offset::ZERO);
        let owed = acknowledged.max(self.quorum_high_watermark);
        if sound().any(|(_, voter)| voter.flushed < owed) {
            return refuse("another voter has not caught up");
        }
        // A vote that is forgotten may be given again, if somebody in that epoch still asks for it.
        let Some((epoch, leader)) = self.controller else { return refuse("nobody leads it") };
        let follows = |voter: &Voter| {
            voter.epoch == epoch
                && match voter.role {
                    QuorumRole::Leader => true,
                    QuorumRole::Follower => voter.leader == leader,
                    _ => false,
                }
        };
        if sound().any(|(_, voter)| !follows(voter)) || harmed.iter().any(|id| self.voters[id].epoch > epoch) {
            return refuse("an election is going on");
        }
        Ok(())
    }

    /// Whether a node's disk may be replaced by an empty one now: every partition of it has somebody else to rely on.
    pub fn may_replace(&mut self, now: u64, node: NodeId) -> bool {
        self.settle(now);
        let wiped = Impact { away: [node].into(), harm: [(node, Harm::Wiped)].into(), ..Impact::default() };
        let sound = |partition: &Partition, id: &NodeId| {
            *id != node && !partition.damaged.contains_key(id) && self.nodes[id].steady
        };
        self.ask_quorum(&wiped).is_ok()
            && !self.is_deaf(now)
            && self
                .partitions
                .values()
                .filter(|partition| partition.replicas.contains(&node))
                .all(|partition| partition.isr.iter().any(|id| sound(partition, id)))
    }

    /// Whether the controller hears nobody, or may not have come to terms with what it missed.
    fn is_deaf(&self, now: u64) -> bool {
        self.deaf || self.deaf_until.is_some_and(|until| until.saturating_add(self.settle_ns) > now)
    }
}
