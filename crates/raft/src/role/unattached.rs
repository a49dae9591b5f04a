//! Unattached: knows the epoch, not whom to follow; asks around by fetching from any voter.
//!
//! A voter stands for election when its time is up. The time runs on through moves into this state, so that news of ever
//! higher epochs cannot hold a node back for ever.

use protocol::{LeaderEpoch, Monotonic, NodeId, Now};

use crate::event::{Effects, Election};
use crate::quorum::Quorum;
use crate::role::Role;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Unattached {
    /// When a voter stands for election; an observer never does.
    pub(crate) deadline: Option<Monotonic>,
}

impl Quorum {
    /// The vote of the same epoch is kept, that of a former one is void.
    pub(crate) fn become_unattached(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
        out: &mut Effects,
    ) {
        let deadline = self.unattached_deadline(now);
        let voted = if epoch == self.election.epoch { self.election.voted } else { None };
        self.enter(Role::Unattached(Unattached { deadline }), Election { epoch, leader, voted }, out);
    }

    /// What is left of the former state's time; fresh after a lost pre-vote, and for those that had no such time.
    fn unattached_deadline(&mut self, now: Now) -> Option<Monotonic> {
        if !self.config.is_voter() {
            return None;
        }
        let left = match &self.role {
            Role::Unattached(role) => role.deadline,
            Role::Candidate(role) => Some(role.deadline),
            Role::Resigned(role) => role.deadline,
            Role::Prospective(role) if role.tally.refused.len() < self.config.majority() => Some(role.deadline),
            Role::Prospective(_) | Role::Leader(_) | Role::Follower(_) => None,
        };
        Some(left.unwrap_or_else(|| self.draw_election_deadline(now)))
    }

    pub(crate) fn drive_unattached(&mut self, now: Now, out: &mut Effects) {
        let Role::Unattached(role) = &self.role else { unreachable!("driven as unattached") };
        if role.deadline.is_some_and(|deadline| deadline <= now.mono) {
            self.become_prospective(now, out);
        } else {
            self.fetch_from_anybody(now, out);
        }
    }
}
