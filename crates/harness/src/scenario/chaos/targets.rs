//! Whom a drawn fault hits: terms that are resolved when it strikes, or hosts by their names.

use crate::checker::Keep;
use crate::scenario::diagnostic::Spanned;
use crate::scenario::model::Scenario;
use crate::scenario::term::{LinkTerm, NodeTerm};

use super::dice::Dice;

/// Whom a seed's faults may hit.
pub(super) struct Targets {
    hosts: Vec<String>,
    brokers: u32,
    /// Topics with their partitions and replicas.
    topics: Vec<(String, u32, u32)>,
    needs_cluster: bool,
    keep: Keep,
}

impl Targets {
    /// Those of a scenario whose topology is drawn already.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            hosts: scenario.cluster.hosts(),
            brokers: scenario.cluster.brokers,
            topics: scenario
                .topics
                .iter()
                .map(|topic| (topic.name.value.clone(), topic.partitions, topic.replicas.value))
                .collect(),
            needs_cluster: scenario.needs_cluster(),
            keep: scenario.expect.keep,
        }
    }

    /// A partition, and whether it has followers.
    fn partition(&self, dice: &mut Dice) -> Option<(String, i32, bool)> {
        if self.topics.is_empty() || !self.needs_cluster {
            return None;
        }
        let (topic, partitions, replicas) = dice.pick(&self.topics);
        let partition = i32::try_from(dice.below(u64::from(*partitions))).unwrap_or(0);
        Some((topic.clone(), partition, *replicas > 1))
    }

    /// One host: any, the leader or a follower of some partition, the active controller, one by its name.
    pub fn one(&self, dice: &mut Dice) -> NodeTerm {
        let kind = dice.below(10);
        let partition = self.partition(dice);
        match (kind, partition) {
            (0..=2, Some((topic, partition, _))) => NodeTerm::Leader(topic, partition),
            (3..=4, Some((topic, partition, true))) => NodeTerm::Follower(topic, partition),
            (5..=6, _) if self.needs_cluster => NodeTerm::Controller,
            (7..=8, _) => NodeTerm::Host(dice.pick(&self.hosts).clone()),
            _ => NodeTerm::Any,
        }
    }

    /// A broker that is no controller: whose disk may be lost without the quorum forgetting a vote. `None` if there is
    /// none; any broker, if nothing need be kept.
    pub fn one_without_a_vote(&self, dice: &mut Dice) -> Option<NodeTerm> {
        let partition = self.partition(dice);
        let kind = dice.below(3);
        if self.brokers_vote() && self.keep != Keep::Nothing {
            return None;
        }
        Some(match (kind, partition) {
            (0, Some((topic, partition, _))) => NodeTerm::Leader(topic, partition),
            (1, Some((topic, partition, true))) => NodeTerm::Follower(topic, partition),
            _ => NodeTerm::Any,
        })
    }

    /// Hosts that are hit together: mostly one, at times as many voters as may fail; if nothing need be kept, all brokers.
    pub fn some(&self, dice: &mut Dice) -> Vec<Spanned<NodeTerm>> {
        let kind = dice.below(8);
        let one = self.one(dice);
        match kind {
            0 if self.hosts.len() > 2 => vec![placeless(NodeTerm::Minority)],
            1 if self.keep == Keep::Nothing => {
                (1..=self.brokers).map(|number| placeless(NodeTerm::Host(format!("b{number}")))).collect()
            }
            _ => vec![placeless(one)],
        }
    }

    /// Two hosts or more, if there are, by their names.
    pub fn several(&self, dice: &mut Dice) -> Vec<Spanned<NodeTerm>> {
        let all = self.hosts.len() as u64;
        let count = usize::try_from(dice.even(all.min(2), all)).unwrap_or(1);
        dice.some(self.hosts.clone(), count).into_iter().map(|host| placeless(NodeTerm::Host(host))).collect()
    }

    /// Whether the brokers are the controllers too.
    pub fn brokers_vote(&self) -> bool {
        self.hosts.len() == self.brokers as usize
    }

    /// One host by its name, so that what follows hits the same: mostly a broker, whose logs are not synced as they grow.
    pub fn storing(&self, dice: &mut Dice) -> Spanned<NodeTerm> {
        let any = dice.one_in(4);
        let hosts = if any { self.hosts.len() } else { self.brokers as usize };
        placeless(NodeTerm::Host(dice.pick(&self.hosts[..hosts]).clone()))
    }

    /// A link, or many: a leader and its follower, a leader and everybody, the controller and the brokers, two hosts, or a
    /// split of all; one way or both. `None` if there is but one host.
    pub fn link(&self, dice: &mut Dice) -> Option<LinkTerm> {
        let kind = dice.below(8);
        let one_way = dice.one_in(3);
        let turned = dice.one_in(2);
        let partition = self.partition(dice);
        // As many on one side as chance has it, at least one on each.
        let size = 1 + dice.below((self.hosts.len() as u64).saturating_sub(1).max(1));
        let side = dice.some(self.hosts.clone(), usize::try_from(size).unwrap_or(1));
        let other: Vec<String> = self.hosts.iter().filter(|host| !side.contains(host)).cloned().collect();
        if other.is_empty() {
            return None;
        }
        let named = |list: Vec<String>| list.into_iter().map(NodeTerm::Host).collect::<Vec<_>>();
        let except = |term: &NodeTerm| vec![NodeTerm::Except(Box::new(term.clone()))];
        let (from, to) = match (kind, partition) {
            (0..=1, Some((topic, partition, true))) => {
                (vec![NodeTerm::Leader(topic.clone(), partition)], vec![NodeTerm::Follower(topic, partition)])
            }
            (2, Some((topic, partition, _))) if self.brokers > 1 => {
                let leader = NodeTerm::Leader(topic, partition);
                (vec![leader.clone()], except(&leader))
            }
            (3, _) if self.needs_cluster && self.brokers > 1 => {
                (vec![NodeTerm::Controller], except(&NodeTerm::Controller))
            }
            (4..=5, _) => {
                let (one, two) = (dice.pick(&side).clone(), dice.pick(&other).clone());
                (vec![NodeTerm::Host(one)], vec![NodeTerm::Host(two)])
            }
            _ => (named(side), named(other)),
        };
        let (from, to) = if turned { (to, from) } else { (from, to) };
        Some(LinkTerm { from, to, one_way })
    }
}

/// A value that stands in no file.
pub(super) const fn placeless<T>(value: T) -> Spanned<T> {
    Spanned::new(value, 0..0)
}
