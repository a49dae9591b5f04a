//! Resigned: led this epoch and gave it up. Tells the voters (EndQuorumEpoch) until they have heard or the time is up.
//!
//! A leader that restarts comes up like this: it must not write in an epoch whose last records it may have lost
//! (KAFKA-10527).

use std::collections::BTreeSet;

use protocol::{Monotonic, NodeId, Now};

use crate::event::Effects;
use crate::message::{EndRequest, Request};
use crate::quorum::Quorum;
use crate::role::Role;

#[derive(Clone, Debug)]
pub(crate) struct Resigned {
    /// When it begins the next epoch itself; `None` while it shuts down.
    pub(crate) deadline: Option<Monotonic>,
    /// The voters that have heard.
    acknowledged: BTreeSet<NodeId>,
    /// The voters that could not be reached when last tried.
    gone: BTreeSet<NodeId>,
    /// The other voters, longest log first; empty after a restart.
    successors: Vec<NodeId>,
}

impl Quorum {
    pub(crate) fn become_resigned(&mut self, now: Now, out: &mut Effects) {
        probe::sometimes!("quorum_resigned");
        let successors = match &self.role {
            Role::Leader(leader) => leader.successors(),
            _ => Vec::new(),
        };
        let deadline = if self.shutdown.is_some() { None } else { Some(self.draw_election_deadline(now)) };
        let role = Resigned { deadline, acknowledged: BTreeSet::new(), gone: BTreeSet::new(), successors };
        self.enter(Role::Resigned(role), self.election, out);
    }

    pub(crate) fn drive_resigned(&mut self, now: Now, out: &mut Effects) {
        let Role::Resigned(role) = &self.role else { unreachable!("driven as resigned") };
        if role.deadline.is_some_and(|deadline| deadline <= now.mono) {
            // The time that is left goes along, and there is none: Prospective at once.
            return self.become_unattached(now, self.election.epoch.next(), None, out);
        }
        let request = EndRequest {
            epoch: self.election.epoch,
            leader: self.config.node,
            preferred_successors: role.successors.clone(),
        };
        let unheard: Vec<NodeId> =
            self.config.others().map(|voter| voter.id).filter(|node| !role.acknowledged.contains(node)).collect();
        for node in unheard {
            if self.peers.is_ready(node, now.mono) {
                self.peers.send(node, Request::End(request.clone()), out);
            }
        }
    }

    pub(crate) fn on_end_response(&mut self, node: NodeId) {
        if let Role::Resigned(role) = &mut self.role {
            role.acknowledged.insert(node);
            role.gone.remove(&node);
        }
    }

    pub(crate) fn on_end_disconnected(&mut self, node: NodeId) {
        if let Role::Resigned(role) = &mut self.role {
            role.gone.insert(node);
        }
    }

    /// Whether so few voters can be reached that they elect nobody, though this one would still vote: a cluster that is
    /// stopped all at once.
    pub(crate) fn nobody_can_succeed(&self) -> bool {
        let Role::Resigned(role) = &self.role else { return false };
        self.config.others().filter(|voter| !role.gone.contains(&voter.id)).count() + 1 < self.config.majority()
    }
}
