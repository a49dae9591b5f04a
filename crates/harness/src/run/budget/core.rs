//! Which nodes suffice: a controller majority and, for every partition, an eligible leader and min.insync.replicas members.
//!
//! What is drawn is random, so that a sweep tries many; what it may be is not: freezing the rest must leave no partition to
//! damaged replicas, just as a fault must not.

use std::collections::BTreeSet;

use protocol::{NodeId, TopicPartition};
use rand::{Rng, RngExt};

use super::{Budget, Impact};
use crate::checker::Keep;

impl Budget {
    /// Draws a core. With [`Keep::Nothing`] there may be no whole one; then it is as good as there is.
    pub fn draw_core(&mut self, now: u64, rng: &mut impl Rng) -> BTreeSet<NodeId> {
        self.settle(now);
        let mut core = BTreeSet::new();
        let (sound, unsound): (Vec<NodeId>, Vec<NodeId>) =
            self.voters.keys().partition(|id| !self.is_forgetful(**id) && !self.is_rotten(**id));
        let voters = drawn(sound, rng).into_iter().chain(drawn(unsound, rng));
        core.extend(voters.take(self.majority()));
        for (name, partition) in &self.partitions {
            if !partition.isr.iter().any(|id| core.contains(id) && self.is_eligible(name, *id)) {
                core.extend(self.eligible(name, rng));
            }
            let members = |core: &BTreeSet<NodeId>| partition.replicas.iter().filter(|id| core.contains(id)).count();
            let (rotten, sound) = partition.replicas.iter().partition(|id| self.is_rotten(**id));
            for id in drawn(sound, rng).into_iter().chain(drawn(rotten, rng)) {
                if members(&core) < partition.min_isr.min(partition.replicas.len()) {
                    core.insert(id);
                }
            }
        }
        // While the disk of a voter is replaced, every other voter must remember what was committed.
        if core.iter().any(|id| self.is_rotten(*id) && self.voters.contains_key(id)) {
            core.extend(self.voters.keys());
        }
        // Nobody is frozen who is all that a partition with a damaged member can rely on.
        loop {
            let frozen: Vec<NodeId> = self.nodes.keys().filter(|id| !core.contains(id)).copied().collect();
            let impact = Impact { away: frozen.iter().copied().collect(), ..Impact::default() };
            let left_alone = self
                .partitions
                .iter()
                .any(|(name, partition)| self.ask_partition(now, name, partition, &impact).is_err());
            if self.keep == Keep::Nothing || !left_alone || frozen.is_empty() {
                return core;
            }
            core.extend(drawn(frozen, rng).first());
        }
    }

    /// A member of the committed ISR that can be elected without loss; if there is none, and losses are legal, any.
    pub fn eligible(&self, partition: &TopicPartition, rng: &mut impl Rng) -> Option<NodeId> {
        let members = || self.partitions.get(partition).into_iter().flat_map(|known| &known.isr).copied();
        let sound: Vec<NodeId> = members().filter(|id| self.is_eligible(partition, *id)).collect();
        // Who is well now stays in the ISR; who is not may be taken out of it when it returns.
        let steady: Vec<NodeId> = sound.iter().copied().filter(|id| self.nodes[id].steady).collect();
        [steady, sound, members().collect()].into_iter().find_map(|list| drawn(list, rng).first().copied())
    }

    fn is_eligible(&self, partition: &TopicPartition, node: NodeId) -> bool {
        !self.is_damaged(partition, node) && !self.is_rotten(node)
    }

    /// The members of the ISR that the controller committed last.
    pub fn isr(&self, partition: &TopicPartition) -> Vec<NodeId> {
        self.partitions.get(partition).map_or_else(Vec::new, |known| known.isr.iter().copied().collect())
    }
}

/// A list in random order.
fn drawn(mut list: Vec<NodeId>, rng: &mut impl Rng) -> Vec<NodeId> {
    for index in (1..list.len()).rev() {
        list.swap(index, rng.random_range(0..=index));
    }
    list
}
