//! Leader: appends what the host proposes, answers fetches, and knows from them what is committed.
//!
//! It opens its epoch with a LeaderChange record; nothing is committed before that record is (KAFKA-12619). It resigns when
//! a majority has not fetched for 1.5 fetch time-outs (check-quorum).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use protocol::{LeaderEpoch, Monotonic, NodeId, Now, Offset, Timestamp};

use crate::event::{Batch, Content, Effect, Effects, Election, RequestId, Ticket};
use crate::message::{
    BeginRequest, EpochEnd, ErrorCode, FetchRequest, FetchResponse, Records, Request, Response, VoterKey,
};
use crate::quorum::Quorum;
use crate::role::Role;

#[derive(Debug)]
pub(crate) struct Leader {
    /// The offset of the LeaderChange record.
    epoch_start: Offset,
    /// What this leader knows to be committed. Invariant: unknown, or > epoch_start; never decreases.
    high_watermark: Option<Offset>,
    /// The other voters.
    voters: BTreeMap<NodeId, Replica>,
    /// Who else fetches.
    observers: BTreeMap<VoterKey, Replica>,
    /// Voters that have fetched since the check-quorum timer began.
    fetched: BTreeSet<NodeId>,
    /// When to resign; `None` for a lone voter.
    check_quorum_at: Option<Monotonic>,
    /// Fetches that wait.
    parked: BTreeMap<RequestId, Parked>,
    /// Batches with offsets, not yet in the log.
    pending: Vec<Batch>,
    pending_bytes: usize,
    /// When `pending` goes to the log.
    drain_at: Option<Monotonic>,
    /// The offset of the next proposal. Invariant: the log's end and what is pending.
    next_offset: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Replica {
    /// The end of its log as of its last valid fetch: flushed, if it votes.
    end: Option<Offset>,
    last_fetch: Option<Now>,
    /// The leader's end at that fetch.
    leader_end: Offset,
    last_caught_up: Option<Timestamp>,
    /// A voter is told of this epoch when it has not fetched by then.
    begin_at: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    request: FetchRequest,
    until: Monotonic,
}

/// The leader's picture of the quorum (DescribeQuorum).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Its high watermark, once known.
    pub high_watermark: Option<Offset>,
    /// The voters, this node included, in the order of their ids.
    pub voters: Vec<ReplicaDescription>,
    /// Who else fetched within the last five minutes.
    pub observers: Vec<ReplicaDescription>,
}

/// One replica in a [`Description`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaDescription {
    /// Who.
    pub key: VoterKey,
    /// The end of its log, if it has fetched.
    pub log_end: Option<Offset>,
    /// When it fetched last, on this node's wall clock.
    pub last_fetch: Timestamp,
    /// When it last had everything, on this node's wall clock.
    pub last_caught_up: Timestamp,
}

impl Replica {
    fn new(begin_at: Monotonic) -> Self {
        Self { end: None, last_fetch: None, leader_end: Offset::ZERO, last_caught_up: None, begin_at }
    }
}

impl Leader {
    /// Voters that are to be told but busy are left out: their answer, or the end of their rest, wakes the machine.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let parked = self.parked.values().map(|parked| parked.until).min();
        let begin = self.voters.values().map(|replica| replica.begin_at).filter(|at| *at > now).min();
        [self.check_quorum_at, self.drain_at, parked, begin].into_iter().flatten().min()
    }

    /// The other voters, the longest log first.
    pub(crate) fn successors(&self) -> Vec<NodeId> {
        let mut voters: Vec<_> = self.voters.iter().map(|(node, replica)| (replica.end, *node)).collect();
        voters.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        voters.into_iter().map(|(_, node)| node).collect()
    }

    /// The requests that wait.
    pub(crate) fn parked(&self) -> impl Iterator<Item = RequestId> {
        self.parked.keys().copied().collect::<Vec<_>>().into_iter()
    }

    pub(crate) fn check_invariants(&self, end: Offset) {
        let pending: i64 = self.pending.iter().map(|batch| batch.last.0 - batch.base.0 + 1).sum();
        assert_eq!(self.next_offset, end.plus(pending), "next offset of a leader");
        assert_eq!(self.drain_at.is_some(), !self.pending.is_empty(), "linger");
        if let Some(high_watermark) = self.high_watermark {
            let may = high_watermark > self.epoch_start || probe::planted!(hw_at_epoch_start);
            assert!(may, "committed before its LeaderChange (KAFKA-12619)");
        }
    }
}

impl Quorum {
    pub(crate) fn become_leader(&mut self, now: Now, granting: Vec<NodeId>, out: &mut Effects) {
        probe::sometimes!("quorum_leader");
        let epoch = self.election.epoch;
        let epoch_start = self.log.end();
        let voters: BTreeMap<_, _> = self.config.others().map(|voter| (voter.id, Replica::new(now.mono))).collect();
        let leader = Leader {
            epoch_start,
            high_watermark: None,
            check_quorum_at: (!voters.is_empty()).then(|| now.mono + self.config.check_quorum_timeout()),
            voters,
            observers: BTreeMap::new(),
            fetched: BTreeSet::new(),
            parked: BTreeMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            drain_at: None,
            next_offset: epoch_start,
        };
        let election = Election { epoch, leader: Some(self.config.node), voted: None };
        self.enter(Role::Leader(Box::new(leader)), election, out);
        if self.log.latest_epoch() < epoch {
            self.log.assign_epoch(epoch);
            out.push(Effect::AssignEpoch { epoch, start: epoch_start });
        }
        let content = Content::LeaderChange {
            leader: self.config.node,
            voters: self.config.voters.iter().map(|voter| voter.id).collect(),
            granting,
        };
        let batch = Batch { base: epoch_start, last: epoch_start, epoch, timestamp: now.wall, content };
        self.append(vec![batch], out);
        self.leader().next_offset = epoch_start.plus(1);
    }

    pub(crate) fn drive_leader(&mut self, now: Now, out: &mut Effects) {
        if self.leader().check_quorum_at.is_some_and(|at| at <= now.mono) {
            probe::sometimes!("quorum_check_quorum");
            return self.become_resigned(now, out);
        }
        self.drain(now, out);
        self.tell_voters(now, out);
        self.answer_parked(now, out);
        self.tell_host(out);
        self.leader().observers.retain(|_, replica| {
            replica.last_fetch.is_some_and(|fetch| now.mono.since(fetch.mono) < OBSERVER_REMEMBERED)
        });
    }

    /// BeginQuorumEpoch to voters that have not fetched for half a fetch time-out.
    fn tell_voters(&mut self, now: Now, out: &mut Effects) {
        let again = now.mono + self.config.fetch_timeout / 2;
        let (epoch, leader) = (self.election.epoch, self.config.node);
        let others: Vec<_> = self.config.others().collect();
        for addressee in others {
            let ready = self.peers.is_ready(addressee.id, now.mono);
            let replica = self.leader().voters.get_mut(&addressee.id).expect("every other voter is known");
            if replica.begin_at <= now.mono && ready {
                replica.begin_at = again;
                self.peers.send(addressee.id, Request::Begin(BeginRequest { epoch, leader, addressee }), out);
            }
        }
    }

    /// The host may write once it has replayed everything before this epoch's first record, and that record.
    fn tell_host(&mut self, out: &mut Effects) {
        let (epoch, replayed) = (self.election.epoch, self.replayed);
        let (epoch_start, start) = (self.leader().epoch_start, self.leader().next_offset);
        if self.elected.is_none() && replayed > epoch_start {
            assert_eq!(start, replayed, "somebody wrote before the host was elected");
            self.elected = Some(epoch);
            out.push(Effect::Elected { epoch, start });
        }
    }

    pub(crate) fn on_propose(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        ticket: Ticket,
        records: Vec<Bytes>,
        out: &mut Effects,
    ) {
        if self.elected != Some(epoch) || self.shutdown.is_some() {
            out.push(Effect::Refused { ticket });
            return;
        }
        assert!(!records.is_empty(), "a proposal without records");
        let linger = now.mono + self.config.append_linger;
        let leader = self.leader();
        let base = leader.next_offset;
        let last = base.plus(i64::try_from(records.len()).expect("records fit into memory") - 1);
        leader.next_offset = last.plus(1);
        leader.pending_bytes += records.iter().map(Bytes::len).sum::<usize>();
        leader.drain_at.get_or_insert(linger);
        leader.pending.push(Batch { base, last, epoch, timestamp: now.wall, content: Content::Records(records) });
        out.push(Effect::Proposed { ticket, last });
    }

    /// Moves what has lingered, or is much, to the log.
    fn drain(&mut self, now: Now, out: &mut Effects) {
        let (bytes_max, batches_max) = (self.config.pending_bytes_max, self.config.pending_batches_max);
        let leader = self.leader();
        let due = leader.drain_at.is_some_and(|at| at <= now.mono);
        if due || leader.pending_bytes >= bytes_max || leader.pending.len() >= batches_max {
            leader.drain_at = None;
            leader.pending_bytes = 0;
            let batches = std::mem::take(&mut leader.pending);
            self.append(batches, out);
        }
    }

    fn append(&mut self, batches: Vec<Batch>, out: &mut Effects) {
        for batch in &batches {
            self.log.append(batch.base, batch.last, batch.epoch);
        }
        out.push(Effect::Append { generation: self.log.generation(), batches });
    }

    pub(crate) fn on_fetch(&mut self, now: Now, from: RequestId, request: &FetchRequest, out: &mut Effects) {
        if let Err(error) = self.judge_fetch(request) {
            out.push(Effect::Reply { to: from, response: self.fetch_refusal(error) });
            return;
        }
        if let Some(diverging) = self.diverging(request) {
            probe::sometimes!("quorum_diverging_answered");
            out.push(Effect::Reply { to: from, response: self.fetch_answer(None, Some(diverging)) });
            return;
        }
        self.note_fetch(now, request);
        self.update_leader_high_watermark(out);
        let until = now.mono + Duration::from_millis(request.max_wait_ms.into());
        self.leader().parked.insert(from, Parked { request: *request, until });
        self.answer_parked(now, out);
    }

    fn judge_fetch(&self, request: &FetchRequest) -> Result<(), ErrorCode> {
        let FetchRequest { replica, epoch, offset, last_epoch, .. } = *request;
        if self.shutdown.is_some() {
            return Err(ErrorCode::BrokerNotAvailable);
        }
        if epoch.0 < 0 || offset.0 < 0 || last_epoch.0 < 0 || last_epoch > epoch || replica.id == self.config.node {
            return Err(ErrorCode::InvalidRequest);
        }
        if epoch < self.election.epoch {
            probe::sometimes!("quorum_epoch_fenced");
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if epoch > self.election.epoch {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if !matches!(self.role, Role::Leader(_)) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(())
    }

    /// Where a replica's log leaves this one, if it does (KIP-595).
    fn diverging(&self, request: &FetchRequest) -> Option<EpochEnd> {
        if request.offset == Offset::ZERO {
            return None;
        }
        let ours = self.log.end_of(request.last_epoch);
        (ours.epoch != request.last_epoch || ours.end < request.offset).then_some(ours)
    }

    /// A valid fetch: what the replica says it has, and that it is alive.
    fn note_fetch(&mut self, now: Now, request: &FetchRequest) {
        let end = self.log.end();
        let begin_at = now.mono + self.config.fetch_timeout / 2;
        let needed = self.config.majority() - 1;
        let check_quorum_at = now.mono + self.config.check_quorum_timeout();
        let voter = self.config.voter(request.replica.id).filter(|voter| voter.matches(request.replica));
        let leader = self.leader();
        let replica = match voter {
            Some(voter) => leader.voters.get_mut(&voter.id).expect("every other voter is known"),
            None => leader.observers.entry(request.replica).or_insert_with(|| Replica::new(begin_at)),
        };
        if request.offset >= end {
            replica.last_caught_up = Some(now.wall);
        } else if let Some(last) = replica.last_fetch
            && request.offset >= replica.leader_end
        {
            replica.last_caught_up = Some(last.wall);
        }
        replica.end = Some(request.offset);
        replica.last_fetch = Some(now);
        replica.leader_end = end;
        replica.begin_at = begin_at;
        if let Some(voter) = voter {
            leader.fetched.insert(voter.id);
            if leader.fetched.len() >= needed && leader.check_quorum_at.is_some() {
                leader.fetched.clear();
                leader.check_quorum_at = Some(check_quorum_at);
            }
        }
    }

    /// The offset that a majority of the voters has, this node with what it has flushed.
    pub(crate) fn update_leader_high_watermark(&mut self, out: &mut Effects) {
        let Role::Leader(leader) = &self.role else { return };
        let mut ends: Vec<Offset> = leader.voters.values().map(|replica| replica.end.unwrap_or(Offset::NONE)).collect();
        ends.push(self.log.flushed());
        ends.sort_by(|a, b| b.cmp(a));
        let majority_has = ends[self.config.majority() - 1];
        // KAFKA-12619: reaching the epoch's start proves nothing of what older epochs left; its first record does.
        let own = majority_has > leader.epoch_start
            || probe::planted!(hw_at_epoch_start) && majority_has == leader.epoch_start;
        if own && leader.high_watermark.is_none_or(|known| majority_has > known) {
            self.leader().high_watermark = Some(majority_has);
            self.raise_high_watermark(majority_has, out);
        }
    }

    /// Answers the fetches that need not wait any longer: there is something to read or to say, or their time is up.
    fn answer_parked(&mut self, now: Now, out: &mut Effects) {
        let appended = self.log.appended();
        let leader = self.leader();
        let high_watermark = leader.high_watermark;
        let is_ready = |parked: &Parked| {
            let request = &parked.request;
            request.offset < appended
                || high_watermark.is_some_and(|ours| request.high_watermark.is_none_or(|theirs| theirs < ours))
                || parked.until <= now.mono
        };
        let ready: Vec<_> =
            leader.parked.iter().filter(|(_, parked)| is_ready(parked)).map(|(to, parked)| (*to, *parked)).collect();
        for (to, parked) in ready {
            self.leader().parked.remove(&to);
            let response = self.fetch_answer(Some(&parked.request), None);
            out.push(Effect::Reply { to, response });
        }
    }

    fn fetch_answer(&self, request: Option<&FetchRequest>, diverging: Option<EpochEnd>) -> Response {
        let high_watermark = match &self.role {
            Role::Leader(leader) => leader.high_watermark,
            _ => None,
        };
        let end = self.log.appended();
        let records = match request {
            Some(FetchRequest { offset, max_bytes, .. }) if *offset < end => {
                Records::From { offset: *offset, end, max_bytes: *max_bytes }
            }
            _ => Records::None,
        };
        Response::Fetch(FetchResponse { header: self.header(None), high_watermark, diverging, records })
    }

    pub(crate) fn fetch_refusal(&self, error: ErrorCode) -> Response {
        let header = self.header(Some(error));
        Response::Fetch(FetchResponse { header, high_watermark: None, diverging: None, records: Records::None })
    }

    /// The quorum as this node, its leader, sees it.
    pub fn describe(&self, now: Now) -> Option<Description> {
        let Role::Leader(leader) = &self.role else { return None };
        let describe = |key: VoterKey, replica: &Replica| ReplicaDescription {
            key,
            log_end: replica.end,
            last_fetch: replica.last_fetch.map_or(Timestamp::NONE, |fetch| fetch.wall),
            last_caught_up: replica.last_caught_up.unwrap_or(Timestamp::NONE),
        };
        let me = ReplicaDescription {
            key: self.config.key(),
            log_end: Some(self.log.end()),
            last_fetch: now.wall,
            last_caught_up: now.wall,
        };
        let voters = self.config.voters.iter().map(|voter| match leader.voters.get(&voter.id) {
            Some(replica) => describe(*voter, replica),
            None => me,
        });
        Some(Description {
            epoch: self.election.epoch,
            high_watermark: leader.high_watermark,
            voters: voters.collect(),
            observers: leader.observers.iter().map(|(key, replica)| describe(*key, replica)).collect(),
        })
    }

    fn leader(&mut self) -> &mut Leader {
        match &mut self.role {
            Role::Leader(leader) => leader,
            role => panic!("asked as leader, is {:?}", role.name()),
        }
    }
}

/// How long a silent observer is described.
const OBSERVER_REMEMBERED: Duration = Duration::from_secs(300);
