//! What a scenario's fault budget (`keep`) still allows: a pure machine that knows, for every node, whether its data is
//! damaged and whether it can be reached.
//!
//! [`Budget`] is fed with the run's observations and with every fault that begins or ends. Before a fault of a random plan
//! fires, [`Budget::ask`] says whether it may. Its rules, and the sequences that break simpler ones:
//!
//! - *A damaged member of an ISR is a danger until the controller has taken it out*, which happens when its session ends or
//!   its next incarnation registers. Meanwhile a partition needs an **anchor**: a member of the committed ISR that is
//!   undamaged and steady. While there is a damaged member, nothing may happen to the last anchor either, not even a kill:
//!   who restarts is taken out of the ISR as well, and whoever is left last is elected.
//! - *Steady* means: running, registered since its start, touched by no fault, all that for as long as a fencing or a shrink
//!   that is on its way already can take ([`Config::settle_ns`]). Time without an active controller does not count: nothing is
//!   committed meanwhile, and so nothing overtaken.
//! - *A controller that runs and hears nobody* (paused, cut) finds every session over when it hears again, fences all in some
//!   order, and whoever is last stays in the ISR, damaged or not. So while it is deaf, and shortly after, nobody is an anchor.
//!   One that ends is harmless: its successor, or itself when restarted, begins all sessions anew.
//! - *A replica is whole again* once it has **newly** joined the ISR in an incarnation that registered after the damage. An
//!   ISR that still lists it proves nothing, nor does an expansion that was under way.
//! - *Rot is for ever*: a sector that changed at rest is not copied again by rejoining. Only a wiped disk is clean.
//! - *A voter that forgot* may give its vote twice and let a log win that lacks what was committed. Therefore a voter is
//!   harmed only while all others are unharmed as a majority, have everything durable that it may have acknowledged, and
//!   follow the leader of one epoch. It is whole again once it has durably caught up with the high watermark of that moment.
//!   A power loss harms no voter, whose log and vote are synced before anything is promised, unless its disk has lied.
//!
//! Deliberately absent: which faults do what ([`impact`]), when faults fire (the driver), clocks and draws.

mod core;
mod fold;
pub mod impact;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::observation::QuorumRole;

use crate::checker::{Keep, Setup};

use super::cluster::host_of;

pub use impact::{Harm, Impact};

/// What the budget is measured by.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is built, and what must be kept.
    pub setup: Setup,
    /// How long a fencing or a shrink that has begun may take to be committed, in ns.
    pub settle_ns: u64,
}

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

/// A fault, by the number that its driver gives it.
pub type FaultKey = usize;

/// One node.
#[derive(Clone, Debug, Default)]
struct Node {
    broker: bool,
    running: bool,
    /// How many processes have started.
    starts: u64,
    /// The controller knows this incarnation and counts it in.
    serving: bool,
    /// Its last registration.
    epoch: Option<i64>,
    /// The last one of an earlier process.
    before: Option<i64>,
    away: BTreeSet<FaultKey>,
    disturbed: BTreeSet<FaultKey>,
    /// As a leader it may put others out of its ISRs.
    grey: BTreeSet<FaultKey>,
    /// Until when it was grey last, ns.
    grey_until: Option<u64>,
    /// Faults that may damage its data again and again.
    losing: BTreeSet<FaultKey>,
    /// Since when nothing is wrong with it, ns.
    calm_since: Option<u64>,
    /// It has been calm for long enough. Invariant: never without `calm_since`.
    steady: bool,
    /// Faults that changed bytes at rest.
    rot: BTreeSet<FaultKey>,
    /// Faults by which its disk said "synced" when it was not.
    lies: BTreeSet<FaultKey>,
}

impl Node {
    fn reachable(&self) -> bool {
        self.running && (self.serving || !self.broker) && self.away.is_empty()
    }
}

/// Data that may lack what others rely on.
#[derive(Clone, Debug)]
struct Damage {
    by: BTreeSet<FaultKey>,
    /// How many processes had started when it was damaged last: only a later one can make up for it.
    starts: u64,
    /// For voters: the end that it must have durably again.
    owes: Offset,
}

/// One voter of the quorum.
#[derive(Clone, Copy, Debug)]
struct Voter {
    end: Offset,
    flushed: Offset,
    role: QuorumRole,
    epoch: LeaderEpoch,
    leader: NodeId,
}

impl Default for Voter {
    fn default() -> Self {
        Self {
            end: Offset::ZERO,
            flushed: Offset::ZERO,
            role: QuorumRole::Unattached,
            epoch: LeaderEpoch::NONE,
            leader: NodeId::NONE,
        }
    }
}

/// One partition.
#[derive(Clone, Debug, Default)]
struct Partition {
    min_isr: usize,
    partition_epoch: i32,
    leader_epoch: Option<LeaderEpoch>,
    leader: Option<NodeId>,
    replicas: Vec<NodeId>,
    /// As the controller committed last.
    isr: BTreeSet<NodeId>,
    /// Those on their way in, as the leader of this epoch told.
    joining: BTreeSet<NodeId>,
    damaged: BTreeMap<NodeId, Damage>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Budget {
    keep: Keep,
    settle_ns: u64,
    min_isr: BTreeMap<String, usize>,
    nodes: BTreeMap<NodeId, Node>,
    voters: BTreeMap<NodeId, Voter>,
    forgetful: BTreeMap<NodeId, Damage>,
    /// The highest high watermark of the quorum that anybody told.
    quorum_high_watermark: Offset,
    /// The leader of the quorum with the highest epoch.
    controller: Option<(LeaderEpoch, NodeId)>,
    /// Since when it leads undisturbed, ns.
    led_since: Option<u64>,
    /// It runs and may hear nobody: when it hears again, it may find every session over, and fence all in some order.
    deaf: bool,
    /// Until when it was so last, ns.
    deaf_until: Option<u64>,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Offset of the last record of a broker that was told.
    brokers_told: Offset,
}

impl Budget {
    /// Everything whole, nothing started.
    pub fn new(config: &Config) -> Self {
        let setup = &config.setup;
        let mut nodes = BTreeMap::new();
        let mut voters = BTreeMap::new();
        for node in &setup.nodes {
            nodes.insert(node.id, Node { broker: node.broker, ..Node::default() });
            if node.controller {
                voters.insert(node.id, Voter::default());
            }
        }
        let min_isr =
            setup.topics.iter().map(|topic| (topic.name.clone(), usize::try_from(topic.min_isr).unwrap_or(1)));
        Self {
            keep: setup.keep,
            settle_ns: config.settle_ns,
            min_isr: min_isr.collect(),
            nodes,
            voters,
            forgetful: BTreeMap::new(),
            quorum_high_watermark: Offset::ZERO,
            controller: None,
            led_since: None,
            deaf: false,
            deaf_until: None,
            partitions: BTreeMap::new(),
            brokers_told: Offset::NONE,
        }
    }

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

    fn ask_partition(
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
    fn would_forget<'a>(&'a self, impact: &'a Impact) -> impl Iterator<Item = NodeId> + 'a {
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

    /// A fault has begun. `key` is new.
    pub fn begin(&mut self, now: u64, key: FaultKey, impact: &Impact) {
        self.settle(now);
        let forgetful: Vec<NodeId> = self.would_forget(impact).collect();
        let owes =
            self.voters.values().map(|voter| voter.end).max().unwrap_or(Offset::ZERO).max(self.quorum_high_watermark);
        for id in forgetful {
            let starts = self.nodes[&id].starts;
            let damage = self.forgetful.entry(id).or_insert(Damage { by: BTreeSet::new(), starts, owes });
            damage.by.insert(key);
            (damage.starts, damage.owes) = (starts, owes);
        }
        for (id, harm) in &impact.harm {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            match harm {
                // What was called synced is gone in places, and nobody can tell where.
                Harm::Unsynced if !node.lies.is_empty() => _ = node.rot.insert(key),
                Harm::Unsynced => {}
                Harm::DropsPages | Harm::Twin => _ = node.losing.insert(key),
                Harm::Lies => _ = node.lies.insert(key),
                Harm::Rot => _ = node.rot.insert(key),
                Harm::Wiped => {
                    node.rot.clear();
                    node.lies.clear();
                }
            }
        }
        for id in impact.harms_data() {
            let Some(starts) = self.nodes.get(&id).map(|node| node.starts) else { continue };
            for partition in self.partitions.values_mut().filter(|it| it.replicas.contains(&id)) {
                let damage =
                    partition.damaged.entry(id).or_insert(Damage { by: BTreeSet::new(), starts, owes: Offset::ZERO });
                damage.by.insert(key);
                damage.starts = starts;
            }
        }
        for (id, node) in &mut self.nodes {
            for (hit, by) in [
                (&impact.away, &mut node.away),
                (&impact.disturbed, &mut node.disturbed),
                (&impact.grey, &mut node.grey),
            ] {
                if hit.contains(id) {
                    by.insert(key);
                }
            }
        }
        self.recalm(now);
    }

    /// A fault is over. `mattered` is whether it had any effect: if not, it has harmed nothing.
    pub fn end(&mut self, now: u64, key: FaultKey, mattered: bool) {
        self.settle(now);
        for node in self.nodes.values_mut() {
            node.away.remove(&key);
            node.disturbed.remove(&key);
            if node.grey.remove(&key) {
                node.grey_until = Some(now);
            }
            node.losing.remove(&key);
            if !mattered {
                node.rot.remove(&key);
                node.lies.remove(&key);
            }
        }
        if !mattered {
            let forgive = |_: &NodeId, damage: &mut Damage| {
                damage.by.remove(&key);
                !damage.by.is_empty()
            };
            self.forgetful.retain(forgive);
            self.partitions.values_mut().for_each(|partition| partition.damaged.retain(forgive));
        }
        self.recalm(now);
    }

    /// How many voters are a majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether this copy of a partition may lack committed records.
    pub fn is_damaged(&self, partition: &TopicPartition, node: NodeId) -> bool {
        self.partitions.get(partition).is_some_and(|known| known.damaged.contains_key(&node))
    }

    /// Whether this voter may have forgotten what it promised.
    pub fn is_forgetful(&self, node: NodeId) -> bool {
        self.forgetful.contains_key(&node)
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

    /// Nodes whose disk must be replaced.
    pub fn rotten(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.rot.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Whether bytes at rest have changed on this node.
    pub fn is_rotten(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| !node.rot.is_empty())
    }

    /// Since when nothing is wrong with anybody any more, as far as the processes tell.
    fn recalm(&mut self, now: u64) {
        for node in self.nodes.values_mut() {
            let calm = node.reachable() && node.disturbed.is_empty();
            if !calm {
                (node.calm_since, node.steady) = (None, false);
            } else if node.calm_since.is_none() {
                node.calm_since = Some(now);
            }
        }
        let controller = self.controller.and_then(|(_, leader)| self.nodes.get(&leader));
        let controller = controller.filter(|node| node.running);
        let undisturbed = |node: &Node| node.away.is_empty() && node.disturbed.is_empty();
        let (leads, deaf) = (controller.is_some_and(undisturbed), controller.is_some_and(|node| !undisturbed(node)));
        self.led_since = leads.then(|| self.led_since.unwrap_or(now));
        if self.deaf && !deaf {
            self.deaf_until = Some(now);
        }
        self.deaf = deaf;
    }

    /// Whether the controller hears nobody, or may not have come to terms with what it missed.
    fn is_deaf(&self, now: u64) -> bool {
        self.deaf || self.deaf_until.is_some_and(|until| until.saturating_add(self.settle_ns) > now)
    }

    /// Who has been calm for long enough is steady. To be called before anything changes.
    fn settle(&mut self, now: u64) {
        let Some(led_since) = self.led_since else { return };
        for node in self.nodes.values_mut() {
            if let Some(calm_since) = node.calm_since
                && calm_since.max(led_since).saturating_add(self.settle_ns) <= now
            {
                node.steady = true;
            }
        }
    }
}
