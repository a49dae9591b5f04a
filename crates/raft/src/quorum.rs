//! The machine: what is common to all states, the ways between them, and the order of things within a step.
//!
//! A step handles one event, then gives the state its turn until it rests (`drive`): time-outs, requests that are due,
//! answers that can leave.

use protocol::{LeaderEpoch, Monotonic, NodeId, Now, Offset};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::config::Config;
use crate::event::{Effect, Effects, Election, Event, Failure, RequestId};
use crate::log::LogView;
use crate::message::{ErrorCode, Header, Request, Response, VoterKey};
use crate::peers::Peers;
use crate::role::{Role, RoleName};

/// One node's part in the quorum.
#[derive(Debug)]
pub struct Quorum {
    pub(crate) config: Config,
    pub(crate) rng: ChaCha8Rng,
    /// Invariant: its epoch never decreases; the last [`Effect::Persist`] said the same.
    pub(crate) election: Election,
    pub(crate) persisted: Option<Election>,
    /// Invariant: Leader and Resigned if and only if the epoch's leader is this node.
    pub(crate) role: Role,
    pub(crate) log: LogView,
    /// Everything below is committed, as far as this process has heard. Not durable.
    /// Invariant: never decreases; <= the log's end.
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) peers: Peers,
    /// The host has replayed everything below.
    pub(crate) replayed: Offset,
    /// The epoch that the host was told to lead and not yet told to have lost.
    pub(crate) elected: Option<LeaderEpoch>,
    /// Set once the process wants to stop: until when a leader looks for a successor.
    pub(crate) shutdown: Option<Monotonic>,
    /// Nothing is done any more.
    pub(crate) stopped: bool,
    /// How often the state has changed.
    pub(crate) transitions: u64,
}

/// What is worth knowing about a node from outside. Drivers turn its changes into observations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// The state.
    pub role: RoleName,
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The epoch's leader, if known.
    pub leader: Option<NodeId>,
    /// Whom this node voted for in this epoch.
    pub voted: Option<NodeId>,
    /// The high watermark, if known.
    pub high_watermark: Option<Offset>,
    /// The end of the log, appends on their way included.
    pub log_end: Offset,
    /// Everything below is durable.
    pub flushed_end: Offset,
}

impl Quorum {
    /// Handles one event.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Effects) {
        if self.stopped {
            return self.step_stopped(event, out);
        }
        match event {
            Event::Tick => {}
            Event::Request { from, request } => self.on_request(now, from, request, out),
            Event::Response { correlation, result } => self.on_outcome(now, correlation, result, out),
            Event::Appended { generation, end } => {
                if self.log.on_appended(generation, end) {
                    self.on_log_progress(out);
                }
            }
            Event::Flushed { generation, end } => {
                if self.log.on_flushed(generation, end) {
                    self.on_log_progress(out);
                }
            }
            Event::Truncated { end } => self.on_truncated(end, out),
            Event::Replayed { end } => self.replayed = self.replayed.max(end),
            Event::Propose { epoch, ticket, records } => self.on_propose(now, epoch, ticket, records, out),
            Event::Resign { epoch } => {
                if self.role.name() == RoleName::Leader && self.election.epoch == epoch {
                    self.become_resigned(now, out);
                }
            }
            Event::Shutdown => self.on_shutdown(now, out),
        }
        self.drive(now, out);
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        if self.stopped {
            return None;
        }
        [self.role.deadline(now), self.peers.deadline(now), self.shutdown].into_iter().flatten().min()
    }

    /// What is worth knowing from outside.
    pub fn view(&self) -> View {
        View {
            role: self.role.name(),
            epoch: self.election.epoch,
            leader: self.election.leader,
            voted: self.election.voted.map(|voter| voter.id),
            high_watermark: self.high_watermark,
            log_end: self.log.end(),
            flushed_end: self.log.flushed(),
        }
    }

    /// Panics if the node contradicts itself.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        self.peers.check_invariants();
        assert_eq!(self.persisted, Some(self.election), "the election state differs from what is written");
        let leads = matches!(self.role, Role::Leader(_) | Role::Resigned(_));
        assert_eq!(
            leads,
            self.election.leader == Some(self.config.node),
            "{:?}: {:?}",
            self.role.name(),
            self.election
        );
        if let Some(high_watermark) = self.high_watermark {
            assert!(high_watermark <= self.log.end(), "high watermark {high_watermark} > end {}", self.log.end());
        }
        assert!(self.log.latest_epoch() <= self.election.epoch, "the log knows a later epoch than the node");
        if !self.config.is_voter() {
            assert!(matches!(self.role, Role::Unattached(_) | Role::Follower(_)), "an observer is {:?}", self.role);
        }
        match &self.role {
            Role::Follower(_) => assert!(self.election.leader.is_some(), "a follower without a leader"),
            Role::Candidate(_) => {
                assert!(
                    self.election.voted.is_some_and(|voter| voter.id == self.config.node),
                    "a candidate's own vote"
                );
            }
            Role::Leader(leader) => leader.check_invariants(self.log.end()),
            _ => {}
        }
        if let Some(elected) = self.elected {
            assert!(matches!(self.role, Role::Leader(_)) && elected == self.election.epoch, "the host leads {elected}");
        }
    }

    /// Gives the state its turn until it rests.
    pub(crate) fn drive(&mut self, now: Now, out: &mut Effects) {
        while !self.stopped {
            let before = self.transitions;
            match &self.role {
                Role::Unattached(_) => self.drive_unattached(now, out),
                Role::Prospective(_) => self.drive_prospective(now, out),
                Role::Candidate(_) => self.drive_candidate(now, out),
                Role::Leader(_) => self.drive_leader(now, out),
                Role::Follower(_) => self.drive_follower(now, out),
                Role::Resigned(_) => self.drive_resigned(now, out),
            }
            self.drive_shutdown(now.mono, out);
            if self.transitions == before {
                break;
            }
        }
        if self.config.is_voter() {
            self.log.flush(out);
        }
    }

    fn on_request(&mut self, now: Now, from: RequestId, request: Request, out: &mut Effects) {
        match request {
            Request::Vote(request) => self.on_vote(now, from, &request, out),
            Request::Begin(request) => self.on_begin(now, from, &request, out),
            Request::End(request) => self.on_end(now, from, &request, out),
            Request::Fetch(request) => self.on_fetch(now, from, &request, out),
        }
    }

    fn on_outcome(&mut self, now: Now, correlation: u64, result: Result<Response, Failure>, out: &mut Effects) {
        let Some(node) = self.peers.take(correlation) else { return };
        let before = self.transitions;
        let good = match result {
            Ok(response) => self.on_response(now, node, response, out),
            Err(Failure::UnsupportedVersion) if self.role.name() == RoleName::Prospective => {
                self.become_candidate(now, out); // the voter predates KIP-996
                true
            }
            Err(failure) => {
                if failure == Failure::Disconnected {
                    self.on_end_disconnected(node);
                }
                false
            }
        };
        if !good && self.transitions == before {
            self.peers.back_off(node, now.mono, self.config.retry_backoff);
        }
    }

    /// Returns whether the node may be asked again at once.
    fn on_response(&mut self, now: Now, node: NodeId, response: Response, out: &mut Effects) -> bool {
        let header = response.header();
        match header.error {
            Some(ErrorCode::InvalidRequest) => {
                self.fatal(format!("node {node} finds a request of this node invalid"), out);
                return true;
            }
            Some(ErrorCode::UnknownLeaderEpoch) => return false,
            _ if header.epoch < self.election.epoch => return false,
            Some(ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower) => {
                return self.hear_of(now, header.epoch, header.leader, out);
            }
            _ if header.epoch > self.election.epoch => return self.hear_of(now, header.epoch, header.leader, out),
            error => {
                let news = self.hear_of(now, header.epoch, header.leader, out);
                if error.is_some() {
                    return news;
                }
            }
        }
        match response {
            Response::Vote(response) => self.on_vote_response(now, node, response, out),
            Response::Begin(_) => {} // the voter fetches from now on, or is told again
            Response::End(_) => self.on_end_response(node),
            Response::Fetch(response) => return self.on_fetch_response(now, node, response, out),
        }
        true
    }

    /// Somebody names an epoch, perhaps with its leader. Follows if that is news; returns whether it was.
    pub(crate) fn hear_of(&mut self, now: Now, epoch: LeaderEpoch, leader: Option<NodeId>, out: &mut Effects) -> bool {
        if epoch < self.election.epoch {
            return false;
        }
        let newer = epoch > self.election.epoch;
        if leader == Some(self.config.node) {
            if newer || self.election.leader != leader {
                self.fatal(format!("another node believes that this node leads epoch {epoch}"), out);
            }
            return false;
        }
        match (leader, self.election.leader) {
            (None, _) if newer => self.become_unattached(now, epoch, None, out),
            (Some(leader), _) if newer => self.become_follower(now, epoch, leader, out),
            (Some(leader), None) => self.become_follower(now, epoch, leader, out),
            (Some(leader), Some(known)) if leader != known => {
                self.fatal(format!("epoch {epoch} has two leaders, {known} and {leader}"), out);
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Changes the state: the one place where it happens.
    pub(crate) fn enter(&mut self, role: Role, election: Election, out: &mut Effects) {
        assert!(
            election.epoch >= self.election.epoch,
            "the epoch went back: {} -> {}",
            self.election.epoch,
            election.epoch
        );
        let former = std::mem::replace(&mut self.role, role);
        self.election = election;
        self.persist(out);
        self.peers.forget();
        self.transitions += 1;
        if let Role::Leader(leader) = former {
            for to in leader.parked() {
                out.push(Effect::Reply { to, response: self.fetch_refusal(ErrorCode::NotLeaderOrFollower) });
            }
        }
        if let Some(epoch) = self.elected.take() {
            out.push(Effect::Lost { epoch });
        }
    }

    /// Writes the election state if it differs from what is written.
    pub(crate) fn persist(&mut self, out: &mut Effects) {
        if self.persisted != Some(self.election) {
            self.persisted = Some(self.election);
            out.push(Effect::Persist(self.election));
        }
    }

    fn on_truncated(&mut self, end: Offset, out: &mut Effects) {
        if let Some(high_watermark) = self.high_watermark
            && end < high_watermark
        {
            return self.fatal(format!("truncated to {end}, below the high watermark {high_watermark}"), out);
        }
        self.log.on_truncated(end);
    }

    /// The log is longer or more durable than before.
    fn on_log_progress(&mut self, out: &mut Effects) {
        match &self.role {
            Role::Leader(_) => self.update_leader_high_watermark(out),
            Role::Follower(_) => self.update_follower_high_watermark(out),
            _ => {}
        }
    }

    pub(crate) fn raise_high_watermark(&mut self, to: Offset, out: &mut Effects) {
        if let Some(known) = self.high_watermark {
            assert!(to >= known, "high watermark went back: {known} -> {to}");
        }
        assert!(to <= self.log.end(), "high watermark {to} beyond the log's end {}", self.log.end());
        if self.high_watermark != Some(to) {
            self.high_watermark = Some(to);
            out.push(Effect::Committed { offset: to });
        }
    }

    /// The key that others know this node by.
    pub(crate) fn is_me(&self, key: VoterKey) -> bool {
        key.matches(self.config.key())
    }

    pub(crate) fn header(&self, error: Option<ErrorCode>) -> Header {
        Header { error, epoch: self.election.epoch, leader: self.election.leader }
    }

    /// A fresh election time-out.
    pub(crate) fn draw_election_deadline(&mut self, now: Now) -> Monotonic {
        let base = u64::try_from(self.config.election_timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        now.mono + self.config.election_timeout + std::time::Duration::from_nanos(self.rng.random_range(0..base))
    }

    pub(crate) fn fatal(&mut self, why: String, out: &mut Effects) {
        self.stopped = true;
        out.push(Effect::Fatal { why });
    }

    fn on_shutdown(&mut self, now: Now, out: &mut Effects) {
        self.shutdown = Some(now.mono + self.config.shutdown_timeout);
        if self.role.name() == RoleName::Leader && self.config.others().next().is_some() {
            self.become_resigned(now, out);
        }
    }

    /// A leader that shuts down waits for a successor as long as there can be one; everybody else stops at once.
    fn drive_shutdown(&mut self, now: Monotonic, out: &mut Effects) {
        let Some(deadline) = self.shutdown else { return };
        let waits = self.role.name() == RoleName::Resigned && self.config.others().next().is_some();
        if !waits || self.nobody_can_succeed() || deadline <= now {
            if let Some(epoch) = self.elected.take() {
                out.push(Effect::Lost { epoch });
            }
            self.stopped = true;
            out.push(Effect::Stopped);
        }
    }

    fn step_stopped(&self, event: Event, out: &mut Effects) {
        match event {
            Event::Request { from: to, request } => {
                let header = self.header(Some(ErrorCode::BrokerNotAvailable));
                let response = match request {
                    Request::Vote(_) => Response::Vote(crate::VoteResponse { header, granted: false }),
                    Request::Begin(_) => Response::Begin(header),
                    Request::End(_) => Response::End(header),
                    Request::Fetch(_) => self.fetch_refusal(ErrorCode::BrokerNotAvailable),
                };
                out.push(Effect::Reply { to, response });
            }
            Event::Propose { ticket, .. } => out.push(Effect::Refused { ticket }),
            _ => {}
        }
    }
}
