//! One machine with its clock, told event by event, and short names for what it is told.

use std::time::Duration;

use log::LeaderEpochCache;
use protocol::{Chunks, LeaderEpoch, Monotonic, NodeId, Now, Offset, Timestamp};
use raft::{
    BatchHeader, Config, Effect, Effects, Election, EpochEnd, Event, FetchRequest, FetchResponse, Header, Quorum,
    Records, Request, Response, Restored, RestoredLog, RoleName, VoteRequest, VoteResponse, VoterKey,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Node 1 of the voters 1, 2 and 3, with its clock.
pub struct Node {
    pub quorum: Quorum,
    now: Now,
    pub out: Effects,
    requests: u64,
}

pub fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch(epoch)
}

pub fn offset(offset: i64) -> Offset {
    Offset(offset)
}

/// A log whose epochs begin at these offsets, and which is durable.
pub fn log(epochs: &[(i32, i64)], end: i64) -> RestoredLog {
    let mut cache = LeaderEpochCache::new();
    for (epoch, start) in epochs {
        cache.assign(LeaderEpoch(*epoch), Offset(*start));
    }
    RestoredLog { end: Some(offset(end)), flushed: Some(offset(end)), epochs: cache }
}

pub fn election(epoch: i32, leader: i32, voted: i32) -> Election {
    let known = |id: i32| (id > 0).then_some(NodeId(id));
    Election { epoch: LeaderEpoch(epoch), leader: known(leader), voted: known(voted).map(VoterKey::of) }
}

impl Node {
    pub fn start(voters: std::ops::RangeInclusive<i32>, election: Option<Election>, log: RestoredLog) -> Self {
        Self::start_as(1, voters, election, log)
    }

    pub fn start_as(
        id: i32,
        voters: std::ops::RangeInclusive<i32>,
        election: Option<Election>,
        log: RestoredLog,
    ) -> Self {
        let now = Now { mono: Monotonic(1_000_000_000), wall: Timestamp(1_000) };
        let config = Config::new(NodeId(id), voters.map(NodeId));
        let mut out = Effects::new();
        let random = ChaCha8Rng::seed_from_u64(7);
        let quorum = Quorum::new(config, Restored { election, log }, random, now, &mut out);
        quorum.check_invariants();
        Self { quorum, now, out, requests: 0 }
    }

    /// Of three voters, elected in epoch 1 with an empty log, everything flushed.
    pub fn leader() -> Self {
        let mut node = Self::start(1..=3, None, log(&[], 0));
        node.wait(2_000);
        node.answer_all(|request| vote(request, true));
        node.answer_all(|request| vote(request, true));
        assert_eq!(node.role(), RoleName::Leader);
        node.disk(1);
        node
    }

    /// Of three voters, follows node 2 in epoch 3, has fetched from it.
    pub fn follower(end: i64, high_watermark: i64) -> Self {
        let mut node = Self::start(1..=3, Some(election(3, 2, 0)), log(&[(1, 0), (3, 10)], end));
        node.answer_fetch(fetched(3, 2, Some(high_watermark), None, Records::None));
        assert_eq!(node.role(), RoleName::Follower);
        node
    }

    pub fn role(&self) -> RoleName {
        self.quorum.view().role
    }

    pub fn step(&mut self, event: Event) -> &Effects {
        self.out.clear();
        self.quorum.step(self.now, event, &mut self.out);
        if !self.out.iter().any(|effect| matches!(effect, Effect::Fatal { .. })) {
            self.quorum.check_invariants();
        }
        &self.out
    }

    pub fn wait(&mut self, ms: u64) -> &Effects {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
        self.step(Event::Tick)
    }

    /// Asks; the answer, if it comes at once.
    pub fn ask(&mut self, request: Request) -> Option<Response> {
        self.requests += 1;
        let from = self.requests;
        self.step(Event::Request { from, request });
        self.replies().into_iter().find(|(to, _)| *to == from).map(|(_, response)| response)
    }

    pub fn replies(&self) -> Vec<(u64, Response)> {
        let reply = |effect: &Effect| match effect {
            Effect::Reply { to, response } => Some((*to, response.clone())),
            _ => None,
        };
        self.out.iter().filter_map(reply).collect()
    }

    /// What the last step sent.
    pub fn sent(&self) -> Vec<(NodeId, u64, Request)> {
        let send = |effect: &Effect| match effect {
            Effect::Send { node, correlation, request } => Some((*node, *correlation, request.clone())),
            _ => None,
        };
        self.out.iter().filter_map(send).collect()
    }

    /// Answers everything that the last step sent.
    pub fn answer_all(&mut self, answer: impl Fn(&Request) -> Response) {
        let mut all = Effects::new();
        for (_, correlation, request) in self.sent() {
            let result = Ok(answer(&request));
            self.quorum.step(self.now, Event::Response { correlation, result }, &mut all);
        }
        self.out = all;
    }

    pub fn answer_fetch(&mut self, response: Response) -> &Effects {
        let sent = self.sent();
        let (_, correlation, _) =
            sent.into_iter().find(|(_, _, request)| matches!(request, Request::Fetch(_))).expect("a fetch was sent");
        self.step(Event::Response { correlation, result: Ok(response) })
    }

    /// The disk has everything below `end`, durably.
    pub fn disk(&mut self, end: i64) {
        for event in
            [Event::Appended { generation: 0, end: offset(end) }, Event::Flushed { generation: 0, end: offset(end) }]
        {
            self.step(event);
        }
    }

    pub fn fetch(&mut self, node: i32, at: i64, last_epoch: i32) -> Option<Response> {
        let view = self.quorum.view();
        self.ask(Request::Fetch(FetchRequest {
            replica: VoterKey::of(NodeId(node)),
            epoch: view.epoch,
            offset: offset(at),
            last_epoch: epoch(last_epoch),
            high_watermark: view.high_watermark,
            max_wait_ms: 500,
            max_bytes: 1 << 20,
        }))
    }

    pub fn vote(&mut self, of: i32, in_epoch: i32, last: (i32, i64), pre_vote: bool) -> VoteResponse {
        let request = VoteRequest {
            epoch: epoch(in_epoch),
            candidate: VoterKey::of(NodeId(of)),
            addressee: VoterKey::of(NodeId(1)),
            last_epoch: epoch(last.0),
            last_offset: offset(last.1),
            pre_vote,
        };
        match self.ask(Request::Vote(request)) {
            Some(Response::Vote(response)) => response,
            other => panic!("a vote is answered at once: {other:?}"),
        }
    }
}

pub fn vote(request: &Request, granted: bool) -> Response {
    let Request::Vote(request) = request else { panic!("asked for a vote: {request:?}") };
    Response::Vote(VoteResponse { header: Header { error: None, epoch: request.epoch, leader: None }, granted })
}

pub fn fetched(
    in_epoch: i32,
    leader: i32,
    high_watermark: Option<i64>,
    diverging: Option<(i32, i64)>,
    records: Records,
) -> Response {
    Response::Fetch(FetchResponse {
        header: Header { error: None, epoch: epoch(in_epoch), leader: Some(NodeId(leader)) },
        high_watermark: high_watermark.map(Offset),
        diverging: diverging.map(|(of, end)| EpochEnd { epoch: epoch(of), end: offset(end) }),
        records,
    })
}

pub fn batches(list: &[(i64, i64, i32)]) -> Records {
    let header = |(base, last, of): &(i64, i64, i32)| BatchHeader {
        base: offset(*base),
        last: offset(*last),
        epoch: epoch(*of),
        bytes: 1,
    };
    Records::Batches { batches: list.iter().map(header).collect(), bytes: Chunks::from(vec![0; list.len()]) }
}

pub fn position(effects: &Effects, what: impl Fn(&Effect) -> bool) -> usize {
    effects.iter().position(what).unwrap_or_else(|| panic!("not among {effects:?}"))
}
