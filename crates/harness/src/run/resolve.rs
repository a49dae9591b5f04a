//! Host terms, resolved when a fault fires: against the leaders observed then, and with the fault's own random stream.

use protocol::TopicPartition;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::scenario::{Cluster, LinkTerm, NodeTerm};

use super::cluster::host_of;
use super::watch::Watch;

#[cfg(test)]
mod tests;

/// Resolves terms for one fault.
pub struct Resolver<'a> {
    /// What is built.
    pub cluster: &'a Cluster,
    /// What is known now.
    pub watch: &'a Watch,
    /// The fault's own stream.
    pub rng: ChaCha8Rng,
}

impl Resolver<'_> {
    /// The hosts of a term; nobody if there is no such host now.
    pub fn hosts(&mut self, term: &NodeTerm) -> Vec<String> {
        match term {
            NodeTerm::Host(name) => vec![name.clone()],
            NodeTerm::Leader(topic, partition) => {
                let partition = TopicPartition::new(topic.as_str(), *partition);
                self.watch.leader(&partition).map(host_of).into_iter().collect()
            }
            NodeTerm::Follower(topic, partition) => {
                let partition = TopicPartition::new(topic.as_str(), *partition);
                let Some(state) = self.watch.partitions.get(&partition) else { return Vec::new() };
                let others = |list: &[protocol::NodeId]| -> Vec<String> {
                    list.iter().filter(|node| **node != state.leader).map(|node| host_of(*node)).collect()
                };
                // One in sync if there is one: a follower that is out already would feel little.
                let in_sync = others(&state.isr);
                self.draw(if in_sync.is_empty() { others(&state.replicas) } else { in_sync }, 1)
            }
            NodeTerm::Controller => self.watch.controller.map(|(_, node)| host_of(node)).into_iter().collect(),
            NodeTerm::Any => self.draw(self.cluster.broker_hosts(), 1),
            NodeTerm::Minority => {
                let voters = self.cluster.controller_hosts();
                let count = voters.len().saturating_sub(1) / 2;
                self.draw(voters, count)
            }
            NodeTerm::Majority => {
                let voters = self.cluster.controller_hosts();
                let count = voters.len() / 2 + 1;
                self.draw(voters, count)
            }
            NodeTerm::Except(inner) => {
                let not = self.hosts(inner);
                let mut hosts = self.cluster.broker_hosts();
                hosts.retain(|host| !not.contains(host));
                hosts
            }
        }
    }

    /// The hosts of several terms, each once, in order.
    pub fn all<'t>(&mut self, terms: impl IntoIterator<Item = &'t NodeTerm>) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for term in terms {
            for host in self.hosts(term) {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        }
        hosts
    }

    /// Both sides of a link.
    pub fn link(&mut self, link: &LinkTerm) -> (Vec<String>, Vec<String>) {
        (self.all(&link.from), self.all(&link.to))
    }

    /// `count` of the list, drawn, in the list's order.
    fn draw(&mut self, mut list: Vec<String>, count: usize) -> Vec<String> {
        while list.len() > count {
            let index = self.rng.random_range(0..list.len());
            list.remove(index);
        }
        list
    }
}
