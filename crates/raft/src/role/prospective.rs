//! Prospective: asks the voters whether they would elect it, in the current epoch, before it disturbs anybody (KIP-996).
//!
//! Nothing is written, and leader, vote and high watermark are kept: who loses returns to where it was.

use protocol::{Monotonic, Now};

use crate::event::Effects;
use crate::quorum::Quorum;
use crate::role::{Role, Tally};

#[derive(Clone, Debug)]
pub(crate) struct Prospective {
    pub(crate) tally: Tally,
    /// When it gives up.
    pub(crate) deadline: Monotonic,
}

impl Quorum {
    pub(crate) fn become_prospective(&mut self, now: Now, out: &mut Effects) {
        assert!(self.config.is_voter(), "an observer stands for election");
        let deadline = self.draw_election_deadline(now);
        let tally = Tally::begin(self.config.node);
        self.enter(Role::Prospective(Prospective { tally, deadline }), self.election, out);
        self.count_pre_votes(now, out);
    }

    pub(crate) fn drive_prospective(&mut self, now: Now, out: &mut Effects) {
        let Role::Prospective(role) = &self.role else { unreachable!("driven as prospective") };
        if role.deadline <= now.mono {
            self.lose_pre_vote(now, out);
        } else {
            let tally = role.tally.clone();
            self.ask_for_votes(now, &tally, true, out);
        }
    }

    pub(crate) fn count_pre_votes(&mut self, now: Now, out: &mut Effects) {
        let Role::Prospective(role) = &self.role else { return };
        if role.tally.granted.len() >= self.config.majority() {
            self.become_candidate(now, out);
        } else if role.tally.refused.len() >= self.config.majority() {
            probe::sometimes!("quorum_pre_vote_lost");
            self.lose_pre_vote(now, out);
        }
    }

    /// Back to the known leader, else on with waiting, in the same epoch.
    fn lose_pre_vote(&mut self, now: Now, out: &mut Effects) {
        let epoch = self.election.epoch;
        match self.election.leader {
            Some(leader) => self.become_follower(now, epoch, leader, out),
            None => self.become_unattached(now, epoch, None, out),
        }
    }
}
