//! Candidate: has begun a new epoch with its own vote, durable before it asks for others.
//!
//! Refused by a majority it waits for its time-out all the same: that is what keeps losers from racing each other.

use protocol::{Monotonic, Now};

use crate::event::{Effects, Election};
use crate::quorum::Quorum;
use crate::role::{Role, Tally};

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) tally: Tally,
    /// When it goes back to asking first.
    pub(crate) deadline: Monotonic,
}

impl Quorum {
    pub(crate) fn become_candidate(&mut self, now: Now, out: &mut Effects) {
        let epoch = self.election.epoch.next();
        self.enter_candidate(now, Election { epoch, leader: None, voted: Some(self.config.key()) }, out);
    }

    /// A node that finds its own vote at start goes on asking in that epoch.
    pub(crate) fn resume_candidate(&mut self, now: Now, out: &mut Effects) {
        probe::sometimes!("quorum_candidate_again");
        self.enter_candidate(now, self.election, out);
    }

    fn enter_candidate(&mut self, now: Now, election: Election, out: &mut Effects) {
        assert!(self.config.is_voter(), "an observer stands for election");
        probe::sometimes!("quorum_candidate");
        let deadline = self.draw_election_deadline(now);
        let tally = Tally::begin(self.config.node);
        self.enter(Role::Candidate(Candidate { tally, deadline }), election, out);
        self.count_votes(now, out);
    }

    pub(crate) fn drive_candidate(&mut self, now: Now, out: &mut Effects) {
        let Role::Candidate(role) = &self.role else { unreachable!("driven as candidate") };
        if role.deadline <= now.mono {
            if role.tally.refused.len() < self.config.majority() {
                probe::sometimes!("quorum_split_vote");
            }
            self.become_prospective(now, out);
        } else if role.tally.refused.len() < self.config.majority() {
            let tally = role.tally.clone();
            self.ask_for_votes(now, &tally, false, out);
        }
    }

    pub(crate) fn count_votes(&mut self, now: Now, out: &mut Effects) {
        let Role::Candidate(role) = &self.role else { return };
        if role.tally.granted.len() >= self.config.majority() {
            let granting = role.tally.granted.iter().copied().collect();
            self.become_leader(now, granting, out);
        }
    }
}
