//! Follower: copies the leader's log by fetching, cuts what diverges, and stands for election when the leader is silent.

use std::time::Duration;

use protocol::{LeaderEpoch, Monotonic, NodeId, Now, Offset};

use crate::event::{Effect, Effects, Election, RequestId};
use crate::message::{BeginRequest, EndRequest, EpochEnd, ErrorCode, FetchResponse, Records, Response};
use crate::quorum::Quorum;
use crate::role::Role;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    /// When a voter stands for election; every good answer of the leader moves it. An observer has none.
    pub(crate) deadline: Option<Monotonic>,
    /// A good fetch has been answered by this leader: pre-votes are refused (KIP-996).
    pub(crate) has_fetched: bool,
    /// What the leader said last; taken over once the log has settled.
    pub(crate) leader_high_watermark: Option<Offset>,
}

impl Quorum {
    pub(crate) fn become_follower(&mut self, now: Now, epoch: LeaderEpoch, leader: NodeId, out: &mut Effects) {
        let deadline = self.config.is_voter().then(|| now.mono + self.config.fetch_timeout);
        let voted = if epoch == self.election.epoch { self.election.voted } else { None };
        let role = Follower { deadline, has_fetched: false, leader_high_watermark: None };
        self.enter(Role::Follower(role), Election { epoch, leader: Some(leader), voted }, out);
    }

    pub(crate) fn drive_follower(&mut self, now: Now, out: &mut Effects) {
        let Role::Follower(role) = &self.role else { unreachable!("driven as follower") };
        if role.deadline.is_some_and(|deadline| deadline <= now.mono) {
            probe::sometimes!("quorum_fetch_timeout");
            return self.become_prospective(now, out);
        }
        let leader = self.election.leader.expect("a follower has a leader");
        if self.peers.is_backing_off(leader, now.mono) {
            self.fetch_from_anybody(now, out);
        } else if self.peers.is_ready(leader, now.mono) && !self.peers.fetching() && self.log_is_settled() {
            self.send_fetch(leader, out);
        }
    }

    /// Returns whether to ask again at once.
    pub(crate) fn on_fetch_response(
        &mut self,
        now: Now,
        node: NodeId,
        response: FetchResponse,
        out: &mut Effects,
    ) -> bool {
        let (leader, timeout) = (self.election.leader, self.config.fetch_timeout);
        let votes = self.config.is_voter();
        let Role::Follower(role) = &mut self.role else { return false };
        if leader != Some(node) {
            return false;
        }
        if votes {
            role.deadline = Some(now.mono + timeout);
        }
        role.has_fetched = true;
        if let Some(theirs) = response.diverging {
            self.cut_diverging(theirs, out);
            return true;
        }
        role.leader_high_watermark = response.high_watermark;
        if let Records::Batches { batches, bytes } = response.records {
            self.append_fetched(batches, bytes, out);
        }
        self.update_follower_high_watermark(out);
        true
    }

    fn cut_diverging(&mut self, theirs: EpochEnd, out: &mut Effects) {
        let to = self.log.cut_for(theirs);
        if let Some(high_watermark) = self.high_watermark
            && (to < high_watermark || theirs.end < high_watermark)
        {
            let asked = theirs.end.min(to);
            self.fatal(format!("asked to truncate to {asked}, below the high watermark {high_watermark}"), out);
            return;
        }
        if to < self.log.end() {
            probe::sometimes!("quorum_truncated");
            self.log.truncate(to, out);
        }
    }

    fn append_fetched(&mut self, mut batches: Vec<crate::BatchHeader>, mut bytes: protocol::Chunks, out: &mut Effects) {
        // What the leader got from a later epoch than the one fetched in is not for this fetch (KAFKA-18723).
        let epoch = self.election.epoch;
        let keep = batches.iter().position(|batch| batch.epoch > epoch).unwrap_or(batches.len());
        batches.truncate(keep);
        if batches.is_empty() {
            return;
        }
        if let Err((base, end)) = follows(self.log.end(), &batches) {
            return self.fatal(format!("the leader sent a batch at {base} where the log ends at {end}"), out);
        }
        let length: usize = batches.iter().map(|batch| batch.bytes as usize).sum();
        let bytes = bytes.split_to(length);
        for batch in &batches {
            self.log.append(batch.base, batch.last, batch.epoch);
        }
        out.push(Effect::AppendFetched { generation: self.log.generation(), batches, bytes });
    }

    /// min(leader's, own settled end).
    pub(crate) fn update_follower_high_watermark(&mut self, out: &mut Effects) {
        let Role::Follower(role) = &self.role else { return };
        let Some(theirs) = role.leader_high_watermark else { return };
        if !self.log_is_settled() {
            return;
        }
        let to = theirs.min(self.log.end());
        match self.high_watermark {
            Some(known) if to < known => {
                self.fatal(format!("the leader's high watermark {theirs} is below this node's {known}"), out);
            }
            _ => self.raise_high_watermark(to, out),
        }
    }

    pub(crate) fn on_begin(&mut self, now: Now, from: RequestId, request: &BeginRequest, out: &mut Effects) {
        let error = self.hear_leader(now, request.epoch, request.leader, out);
        let error = error.or_else(|| (!self.is_me(request.addressee)).then_some(ErrorCode::InvalidVoterKey));
        out.push(Effect::Reply { to: from, response: Response::Begin(self.header(error)) });
    }

    pub(crate) fn on_end(&mut self, now: Now, from: RequestId, request: &EndRequest, out: &mut Effects) {
        let error = self.hear_leader(now, request.epoch, request.leader, out);
        if error.is_none() && self.election.leader == Some(request.leader) {
            probe::sometimes!("quorum_successor");
            let wait =
                succession_wait(self.config.node, &request.preferred_successors, self.config.election_backoff_max);
            if let Role::Follower(role) = &mut self.role
                && role.deadline.is_some()
            {
                role.deadline = Some(now.mono + wait);
            }
        }
        out.push(Effect::Reply { to: from, response: Response::End(self.header(error)) });
    }

    fn hear_leader(&mut self, now: Now, epoch: LeaderEpoch, leader: NodeId, out: &mut Effects) -> Option<ErrorCode> {
        if epoch < self.election.epoch {
            probe::sometimes!("quorum_epoch_fenced");
            return Some(ErrorCode::FencedLeaderEpoch);
        }
        if leader.0 < 0 {
            return Some(ErrorCode::InvalidRequest);
        }
        self.hear_of(now, epoch, Some(leader), out);
        None
    }
}

/// Whether batches continue a log that ends at `end`, without gaps; else the first one that does not, and what it should
/// have followed.
fn follows(mut end: Offset, batches: &[crate::BatchHeader]) -> Result<(), (Offset, Offset)> {
    for batch in batches {
        if batch.base != end || batch.last < batch.base {
            return Err((batch.base, end));
        }
        end = batch.last.plus(1);
    }
    Ok(())
}

/// How long a voter waits after EndQuorumEpoch: the first of `successors` not at all, the others longer the further behind,
/// those not listed longest.
fn succession_wait(node: NodeId, successors: &[NodeId], longest: Duration) -> Duration {
    if successors.is_empty() {
        return Duration::ZERO;
    }
    match successors.iter().position(|successor| *successor == node) {
        Some(0) => Duration::ZERO,
        Some(position) => {
            let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
            let shortest_ms = longest_ms.checked_shr(successors.len() as u32 - 1).unwrap_or(0);
            Duration::from_millis(longest_ms.min(shortest_ms.checked_shl(position as u32 - 1).unwrap_or(longest_ms)))
        }
        None => longest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_waits_longer_the_further_behind_it_is() {
        let successors = [NodeId(4), NodeId(2), NodeId(3)];
        let wait = |node| succession_wait(NodeId(node), &successors, Duration::from_millis(1000)).as_millis();
        assert_eq!([wait(4), wait(2), wait(3), wait(9)], [0, 250, 500, 1000]);
        assert_eq!(succession_wait(NodeId(9), &[], Duration::from_millis(1000)), Duration::ZERO);
    }
}
