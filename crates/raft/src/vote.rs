//! Asking for votes and giving them (kafka.md §2.3).

use protocol::{NodeId, Now};

use crate::event::{Effect, Effects, RequestId};
use crate::message::{ErrorCode, Request, Response, VoteRequest, VoteResponse};
use crate::quorum::Quorum;
use crate::role::prospective::Prospective;
use crate::role::unattached::Unattached;
use crate::role::{Role, Tally};

impl Quorum {
    /// Asks every voter that has not answered and is ready.
    pub(crate) fn ask_for_votes(&mut self, now: Now, tally: &Tally, pre_vote: bool, out: &mut Effects) {
        let others: Vec<_> = self.config.others().filter(|voter| !tally.answered(voter.id)).collect();
        for addressee in others {
            if self.peers.is_ready(addressee.id, now.mono) {
                let request = VoteRequest {
                    epoch: self.election.epoch,
                    candidate: self.config.key(),
                    addressee,
                    last_epoch: self.log.last_epoch(),
                    last_offset: self.log.end(),
                    pre_vote,
                };
                self.peers.send(addressee.id, Request::Vote(request), out);
            }
        }
    }

    pub(crate) fn on_vote_response(&mut self, now: Now, node: NodeId, response: VoteResponse, out: &mut Effects) {
        match &mut self.role {
            Role::Prospective(role) => {
                role.tally.record(node, response.granted);
                self.count_pre_votes(now, out);
            }
            Role::Candidate(role) => {
                role.tally.record(node, response.granted);
                self.count_votes(now, out);
            }
            _ => {}
        }
    }

    pub(crate) fn on_vote(&mut self, now: Now, from: RequestId, request: &VoteRequest, out: &mut Effects) {
        let verdict = self.judge_vote(now, request, out);
        match (verdict, request.pre_vote) {
            (Err(ErrorCode::FencedLeaderEpoch), _) => probe::sometimes!("quorum_epoch_fenced"),
            (Ok(false), true) => probe::sometimes!("quorum_pre_vote_refused"),
            (Ok(false), false) => probe::sometimes!("quorum_vote_refused"),
            _ => {}
        }
        if verdict == Ok(true) && !request.pre_vote {
            self.give_vote(now, request, out);
        }
        let header = self.header(verdict.err());
        let response = VoteResponse { header, granted: verdict == Ok(true) };
        out.push(Effect::Reply { to: from, response: Response::Vote(response) });
    }

    fn judge_vote(&mut self, now: Now, request: &VoteRequest, out: &mut Effects) -> Result<bool, ErrorCode> {
        let VoteRequest { epoch, last_epoch, last_offset, pre_vote, .. } = *request;
        let too_late = if pre_vote { last_epoch > epoch } else { last_epoch >= epoch };
        if too_late || epoch.0 < 0 || last_epoch.0 < 0 || last_offset.0 < 0 {
            return Err(ErrorCode::InvalidRequest);
        }
        if epoch < self.election.epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if epoch > self.election.epoch {
            self.become_unattached(now, epoch, None, out);
        }
        if !self.is_me(request.addressee) {
            return Err(ErrorCode::InvalidVoterKey);
        }
        let up_to_date = (last_epoch, last_offset) >= (self.log.last_epoch(), self.log.end());
        Ok(match &self.role {
            Role::Leader(_) => false,
            Role::Follower(role) => pre_vote && up_to_date && !role.has_fetched,
            Role::Candidate(_) | Role::Resigned(_) => pre_vote && up_to_date,
            Role::Unattached(_) | Role::Prospective(_) if pre_vote => up_to_date,
            Role::Unattached(_) | Role::Prospective(_) => match (self.election.voted, self.election.leader) {
                (Some(voted), _) => voted.matches(request.candidate),
                (None, Some(_)) => false,
                (None, None) => up_to_date,
            },
        })
    }

    /// Durable before the answer leaves; the candidate gets a whole election time-out before this node stands itself.
    fn give_vote(&mut self, now: Now, request: &VoteRequest, out: &mut Effects) {
        if self.election.voted.is_some() {
            return; // said yes again
        }
        self.election.voted = Some(request.candidate);
        // KIP-595: durable before it is told; else a restart forgets it, and the node votes for another in the same epoch.
        if probe::planted!(vote_not_persisted) {
            self.persisted = Some(self.election);
        } else {
            self.persist(out);
        }
        let deadline = self.draw_election_deadline(now);
        match &mut self.role {
            Role::Unattached(Unattached { deadline: known }) => *known = known.map(|_| deadline),
            Role::Prospective(Prospective { tally, deadline: known }) => {
                *known = deadline;
                *tally = Tally::begin(self.config.node);
            }
            role => unreachable!("a vote of {:?}", role.name()),
        }
    }
}
