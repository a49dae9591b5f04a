//! Why something did not get well: a class that the budget or the scenario may allow, or a bug.
//!
//! A class is a fact about who is up and what they hold, never a guess: `no quorum` = fewer voters than a majority can act;
//! `no eligible leader` = every member of the last in-sync replicas is frozen, down, or lost its data; `rotten data` = bytes at
//! rest changed where they are needed. What is none of these is a bug.

use std::collections::BTreeSet;

use protocol::{NodeId, TopicPartition};

use crate::checker::{Keep, Setup, Stuck, StuckClass};
use crate::history::ReadBack;
use crate::scenario::Scenario;

use super::cluster::host_of;
use super::watch::Watch;

#[cfg(test)]
mod tests;

/// In which phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Only the core was healed.
    Core,
    /// Everything was.
    End,
}

/// What is known when somebody is stuck.
pub struct Scene<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// What was built.
    pub setup: &'a Setup,
    /// Who leads, what is damaged.
    pub watch: &'a Watch,
    /// Hosts that are not frozen.
    pub within: &'a BTreeSet<String>,
    /// Hosts whose process runs.
    pub up: &'a BTreeSet<String>,
}

impl Scene<'_> {
    /// Why this partition does not get on.
    pub fn classify(&self, place: Place, partition: &TopicPartition) -> Stuck {
        let (class, why) = self.no_quorum().or_else(|| self.of_partition(partition)).unwrap_or_else(|| {
            (StuckClass::Bug, "the controllers, an eligible leader and enough replicas are there".to_owned())
        });
        self.stuck(place, Some(partition.clone()), class, why)
    }

    /// Every partition gets on, but the controller does not count a broker in.
    pub fn not_counted_in(&self, place: Place) -> Stuck {
        let (class, why) = self.no_quorum().unwrap_or_else(|| {
            let out = self.setup.nodes.iter().filter(|node| node.broker && self.acts(node.id));
            let out = out.filter(|node| !self.watch.unfenced.get(&node.id).copied().unwrap_or(false));
            let out: Vec<String> = out.map(|node| node.host.to_string()).collect();
            let dead: Vec<&str> =
                self.within.iter().filter(|host| !self.up.contains(*host)).map(String::as_str).collect();
            if out.is_empty() && !dead.is_empty() {
                let rotten = dead.iter().all(|host| self.is_rotten(super::cluster::node_id(host)));
                let class = if rotten { StuckClass::RottenData } else { StuckClass::Bug };
                (class, format!("{} does not stay up", dead.join(", ")))
            } else {
                (StuckClass::Bug, format!("the controller does not count {} in", out.join(", ")))
            }
        });
        self.stuck(place, None, class, why)
    }

    fn stuck(&self, place: Place, partition: Option<TopicPartition>, class: StuckClass, why: String) -> Stuck {
        Stuck { in_core: place == Place::Core, partition, class, allowed: self.allows(class), why }
    }

    /// A core always exists unless losses are legal, or the scenario says so.
    fn allows(&self, class: StuckClass) -> bool {
        match class {
            StuckClass::Bug => false,
            StuckClass::NoQuorum => self.setup.keep == Keep::Nothing || self.scenario.allows("quorum-loss"),
            StuckClass::NoEligibleLeader | StuckClass::RottenData => self.setup.keep == Keep::Nothing,
        }
    }

    fn acts(&self, node: NodeId) -> bool {
        let host = host_of(node);
        self.within.contains(&host) && self.up.contains(&host)
    }

    fn is_rotten(&self, node: NodeId) -> bool {
        self.watch.budget.is_rotten(node)
    }

    fn no_quorum(&self) -> Option<(StuckClass, String)> {
        let voters = self.setup.nodes.iter().filter(|node| node.controller);
        let (acting, not): (Vec<_>, Vec<_>) = voters.partition(|node| self.acts(node.id));
        let names = |nodes: &[&crate::checker::NodeInfo]| {
            nodes.iter().map(|node| self.state(node.id)).collect::<Vec<_>>().join(", ")
        };
        if 2 * acting.len() <= self.setup.voters() {
            let class = if not.iter().any(|node| self.is_rotten(node.id)) {
                StuckClass::RottenData
            } else {
                StuckClass::NoQuorum
            };
            return Some((
                class,
                format!("{} of {} controllers act: {}", acting.len(), self.setup.voters(), names(&not)),
            ));
        }
        let sound = acting.iter().filter(|node| !self.watch.budget.is_forgetful(node.id)).count();
        if sound < self.watch.budget.majority() && self.watch.controller.is_none_or(|(_, leader)| !self.acts(leader)) {
            return Some((StuckClass::NoQuorum, "too many controllers have forgotten what was committed".to_owned()));
        }
        None
    }

    /// A node in a few words: `b2 is frozen`.
    fn state(&self, node: NodeId) -> String {
        let host = host_of(node);
        let what = if !self.within.contains(&host) {
            "is frozen"
        } else if self.is_rotten(node) {
            "holds rotten bytes"
        } else if !self.up.contains(&host) {
            "does not stay up"
        } else {
            "is up"
        };
        format!("{host} {what}")
    }

    fn of_partition(&self, partition: &TopicPartition) -> Option<(StuckClass, String)> {
        let budget = &self.watch.budget;
        let isr = budget.isr(partition);
        let leader = self.watch.leader(partition).filter(|leader| self.acts(*leader));
        if let Some(leader) = leader {
            // Followers that die of rot cannot come back to the ISR either.
            let state = self.watch.partitions.get(partition)?;
            let rotten: Vec<String> = state
                .replicas
                .iter()
                .filter(|id| (**id == leader || !isr.contains(id) || !self.acts(**id)) && self.is_rotten(**id))
                .map(|id| host_of(*id))
                .collect();
            return (!rotten.is_empty()).then(|| {
                let who = if rotten == [host_of(leader)] { "the leader" } else { "of its replicas" };
                (StuckClass::RottenData, format!("{who} {} holds rotten bytes", rotten.join(", ")))
            });
        }
        let lost = |id: &NodeId| !self.acts(*id) || self.is_rotten(*id) || budget.is_damaged(partition, *id);
        if isr.is_empty() || !isr.iter().all(lost) {
            return None;
        }
        if isr.iter().any(|id| self.acts(*id) && !self.is_rotten(*id)) {
            // It is up, and an unclean start does not keep the last member from being elected.
            return None;
        }
        let class = if isr.iter().any(|id| self.is_rotten(*id)) {
            StuckClass::RottenData
        } else {
            StuckClass::NoEligibleLeader
        };
        let states: Vec<String> = isr.iter().map(|id| self.state(*id)).collect();
        Some((class, format!("last in-sync replica: {}", states.join(", "))))
    }
}

/// Every partition that is not well now, when the cluster had all the time that it may take.
pub(super) fn at_the_end(
    scenario: &Scenario,
    setup: &Setup,
    watch: &Watch,
    up: &BTreeSet<String>,
    read_back: &ReadBack,
) -> Vec<Stuck> {
    let spoilt = &watch.given_up_by_disk;
    let all: BTreeSet<String> = setup.nodes.iter().map(|node| node.host.to_string()).collect();
    let scene = Scene { scenario, setup, watch, within: &all, up };
    let is_well = |partition: &TopicPartition| {
        let whole = watch.partitions.get(partition).is_some_and(|state| {
            let back = |id: &NodeId| state.isr.contains(id) || spoilt.contains(id);
            !state.leader.is_none() && state.replicas.iter().all(back)
        });
        whole && read_back.partitions.get(partition).is_some_and(|read| read.incomplete.is_none())
    };
    setup.partitions().filter(|it| !is_well(it)).map(|it| scene.classify(Place::End, &it)).collect()
}
