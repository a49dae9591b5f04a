//! What each word of the vocabulary means to the budget: whom it takes away, whom it disturbs, whose data it damages.
//!
//! One match over every action, without a wildcard: a new word is decided here or does not compile. In doubt the worse is
//! assumed; a fault that in the end had no effect is forgiven when it ends ([`Budget::end`](super::Budget::end)).

use std::collections::BTreeSet;

use protocol::NodeId;
use world::Lose;

use crate::scenario::{Action, ClockAction, Cluster, DiskAction, NetworkAction, ProcessAction};

use super::super::cluster::node_id;

/// What happens to the data of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Harm {
    /// What was not synced is gone; if the disk has lied, what it called synced as well.
    Unsynced,
    /// Unsynced pages may be dropped at any moment while it lasts: a sync or a write that fails.
    DropsPages,
    /// Syncs lie while it lasts: nothing is gone, but the next power loss takes more.
    Lies,
    /// Bytes at rest change, of whatever age. Only a wiped disk is clean again.
    Rot,
    /// All is gone, the quorum's vote included.
    Wiped,
    /// Somebody else speaks in the node's name while it lasts, with other data.
    Twin,
}

/// What a fault does, hosts resolved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Impact {
    /// Nodes that nobody can count on reaching while it lasts: down, cut off, standing still.
    pub away: BTreeSet<NodeId>,
    /// Those of them whose process ends: who leads the quorum next begins all sessions anew.
    pub ended: BTreeSet<NodeId>,
    /// Nodes that may be late, or lose a session or their place in an ISR, while it lasts.
    pub disturbed: BTreeSet<NodeId>,
    /// Nodes that go on speaking to the controllers but may not serve their followers: as leaders they may put the others
    /// out of their ISRs.
    pub grey: BTreeSet<NodeId>,
    /// Nodes whose data suffers.
    pub harm: BTreeSet<(NodeId, Harm)>,
}

impl Impact {
    /// What `action` does to these hosts, or to the link between these sides.
    pub fn of(
        action: &Action,
        hosts: &[String],
        sides: Option<&(Vec<String>, Vec<String>)>,
        cluster: &Cluster,
    ) -> Self {
        let mut impact = Self::default();
        let nodes: BTreeSet<NodeId> = hosts.iter().map(|host| node_id(host)).collect();
        let on = |impact: &mut Self, harm| impact.harm.extend(nodes.iter().map(|node| (*node, harm)));
        let away = |impact: &mut Self| impact.away.extend(&nodes);
        let ended = |impact: &mut Self| {
            impact.away.extend(&nodes);
            impact.ended.extend(&nodes);
        };
        let disturbed = |impact: &mut Self| impact.disturbed.extend(&nodes);
        let grey = |impact: &mut Self| {
            impact.disturbed.extend(&nodes);
            impact.grey.extend(&nodes);
        };
        match action {
            Action::Network(action) => match action {
                NetworkAction::Cut(link) => impact.cut(sides, link.value.one_way, cluster),
                // Half of the time it is a cut, and then it is none.
                NetworkAction::Flap { link, .. } => {
                    impact.cut(sides, link.value.one_way, cluster);
                    impact.worse_link(sides);
                }
                NetworkAction::SlowLink { .. }
                | NetworkAction::Loss { .. }
                | NetworkAction::DelayMessages { .. }
                | NetworkAction::ResetLink(_) => impact.worse_link(sides),
                NetworkAction::ResetHosts(_) => disturbed(&mut impact),
                // What it has opened itself goes on.
                NetworkAction::RefuseConnections(_) => grey(&mut impact),
                NetworkAction::Hang(_) => {
                    grey(&mut impact);
                    away(&mut impact);
                }
                NetworkAction::Isolate(_) | NetworkAction::Swizzle(_) => away(&mut impact),
            },
            Action::Process(action) => match action {
                ProcessAction::Kill(_)
                | ProcessAction::Stop(_)
                // One at a time, but which one when nobody knows.
                | ProcessAction::Roll { .. }
                | ProcessAction::CrashAt { .. } => ended(&mut impact),
                ProcessAction::Pause(_) => away(&mut impact),
                ProcessAction::Wipe(_) => {
                    ended(&mut impact);
                    on(&mut impact, Harm::Wiped);
                }
                ProcessAction::Twin(_) => {
                    away(&mut impact);
                    on(&mut impact, Harm::Twin);
                }
                ProcessAction::PowerOff { lose, .. } => {
                    ended(&mut impact);
                    match lose {
                        Lose::Unsynced | Lose::Mix => on(&mut impact, Harm::Unsynced),
                        Lose::Nothing => {}
                    }
                }
            },
            Action::Disk(action) => match action {
                DiskAction::Slow { .. } | DiskAction::ShortWrite(..) => disturbed(&mut impact),
                // Its process goes on speaking, and what needs the disk waits, or is refused. At an error of a read of the
                // metadata log it stops, as at one of a write or a sync.
                DiskAction::Stall(_) | DiskAction::Full(..) | DiskAction::ReadError(..) => {
                    grey(&mut impact);
                    away(&mut impact);
                }
                DiskAction::WriteError(..) | DiskAction::SyncError(..) => {
                    away(&mut impact);
                    on(&mut impact, Harm::DropsPages);
                }
                DiskAction::SyncLie(_) => on(&mut impact, Harm::Lies),
                // They take what was not synced at a power loss, also at one that would take nothing.
                DiskAction::LostRename(_) | DiskAction::ZeroTail(_) => on(&mut impact, Harm::DropsPages),
                DiskAction::BitRot { .. } | DiskAction::MisdirectedWrite(..) => {
                    grey(&mut impact);
                    away(&mut impact);
                    on(&mut impact, Harm::Rot);
                }
            },
            Action::Clock(action) => match action {
                // Sessions and time-outs run on the monotonic clock, which none of these moves but a drift, a little.
                ClockAction::Offset { .. } | ClockAction::Jump { .. } | ClockAction::Freeze(_) => {}
                ClockAction::Drift { .. } => disturbed(&mut impact),
            },
            Action::Heal(_) => {}
        }
        // Clients are nobody's replica.
        impact.away.remove(&NodeId::NONE);
        impact.disturbed.remove(&NodeId::NONE);
        impact.grey.remove(&NodeId::NONE);
        impact
    }

    /// Nodes whose copies of partitions may lack something from now on.
    pub fn harms_data(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.harm.iter().filter(|(_, harm)| *harm != Harm::Lies).map(|(id, _)| *id)
    }

    /// Everybody at either end is disturbed.
    fn worse_link(&mut self, sides: Option<&(Vec<String>, Vec<String>)>) {
        let Some((from, to)) = sides else { return };
        self.disturbed.extend(from.iter().chain(to).map(|host| node_id(host)));
    }

    /// The smaller side is away. If the cut divides the whole cluster, both ways, then the side with a majority of voters
    /// goes on as if nothing had happened; else anybody at either end may lose its session or its place in an ISR.
    fn cut(&mut self, sides: Option<&(Vec<String>, Vec<String>)>, one_way: bool, cluster: &Cluster) {
        let Some((from, to)) = sides else { return };
        let ids = |side: &[String]| side.iter().map(|host| node_id(host)).collect::<BTreeSet<_>>();
        let (from, to) = (ids(from), ids(to));
        let voters: BTreeSet<NodeId> = cluster.controller_hosts().iter().map(|host| node_id(host)).collect();
        let rules = |side: &BTreeSet<NodeId>| 2 * side.intersection(&voters).count() > voters.len();
        let divides = !one_way && from.is_disjoint(&to) && from.len() + to.len() == cluster.hosts().len();
        if divides && (rules(&from) || rules(&to)) {
            self.away.extend(if rules(&from) { to } else { from });
            return;
        }
        self.disturbed.extend(from.union(&to));
        self.away.extend(if to.len() < from.len() { to } else { from });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(from: &[&str], to: &[&str]) -> (Vec<String>, Vec<String>) {
        let names = |side: &[&str]| side.iter().map(|host| (*host).to_owned()).collect();
        (names(from), names(to))
    }

    fn cut(from: &[&str], to: &[&str], one_way: bool, controllers: u32) -> Impact {
        let cluster = Cluster { brokers: 3, controllers, ..Cluster::default() };
        let mut impact = Impact::default();
        impact.cut(Some(&sides(from, to)), one_way, &cluster);
        impact
    }

    #[test]
    fn a_cut_that_divides_the_cluster_leaves_the_majority_alone() {
        let impact = cut(&["b1"], &["b2", "b3"], false, 0);
        assert_eq!(impact.away, BTreeSet::from([NodeId(1)]));
        assert!(impact.disturbed.is_empty());
    }

    #[test]
    fn a_cut_between_two_of_three_disturbs_both_and_takes_one_away() {
        let impact = cut(&["b1"], &["b2"], false, 0);
        assert_eq!(impact.away, BTreeSet::from([NodeId(1)]));
        assert_eq!(impact.disturbed, BTreeSet::from([NodeId(1), NodeId(2)]));
    }

    #[test]
    fn who_is_deaf_can_still_speak_so_a_one_way_cut_disturbs_everybody() {
        let impact = cut(&["b2", "b3"], &["b1"], true, 0);
        assert_eq!(impact.away, BTreeSet::from([NodeId(1)]));
        assert_eq!(impact.disturbed.len(), 3);
    }

    #[test]
    fn brokers_cut_from_each_other_but_not_from_the_controllers_are_disturbed() {
        let impact = cut(&["b1"], &["b2", "b3"], false, 3);
        assert_eq!(impact.away, BTreeSet::from([NodeId(1)]));
        assert_eq!(impact.disturbed.len(), 3);
    }
}
