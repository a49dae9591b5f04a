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

mod ask;
mod core;
mod fold;
pub mod impact;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::observation::QuorumRole;

use crate::checker::{Keep, Setup};

pub use ask::Refusal;
pub use impact::{Harm, Impact};

/// What the budget is measured by.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is built, and what must be kept.
    pub setup: Setup,
    /// How long a fencing or a shrink that has begun may take to be committed, in ns.
    pub settle_ns: u64,
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
