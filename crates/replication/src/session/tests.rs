//! The cache by itself, and both sides of a session in step.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, Monotonic, NodeId, Now, Offset, Timestamp};

use super::*;
use crate::{Answer, FetchOrder, FetchPosition, Fetcher, FetcherConfig, FetcherEffect, FetcherEvent};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Monotonic {
    Monotonic(0) + SECOND * u32::try_from(seconds).expect("a short test")
}

fn asked(offset: i64) -> Asked {
    Asked {
        offset: Offset(offset),
        log_start_offset: Offset::ZERO,
        current_leader_epoch: LeaderEpoch(1),
        last_fetched_epoch: LeaderEpoch::NONE,
        max_bytes: 100,
    }
}

fn request(id: i32, epoch: i32, listed: &[u32]) -> SessionRequest<u32> {
    SessionRequest {
        id,
        epoch,
        uses_topic_ids: true,
        is_follower: false,
        broker_epoch: BrokerEpoch::NONE,
        listed: listed.iter().map(|key| (*key, asked(0))).collect(),
        forgotten: Vec::new(),
    }
}

struct Leader {
    cache: SessionCache<u32>,
    drawn: u32,
}

impl Leader {
    fn new(slots: usize) -> Self {
        Self { cache: SessionCache::new(slots), drawn: 0 }
    }

    fn begin(&mut self, now: Monotonic, mut request: SessionRequest<u32>) -> Begun {
        let begun = self.cache.begin(now, &mut request, || {
            self.drawn += 7;
            self.drawn
        });
        self.cache.check_invariants();
        begun
    }

    fn open(&mut self, now: Monotonic, listed: &[u32]) -> i32 {
        match self.begin(now, request(0, 0, listed)) {
            Begun::Full(held) => held.id,
            other => panic!("no session: {other:?}"),
        }
    }
}

fn told(high_watermark: i64) -> Told {
    Told { is_error: false, has_data: false, high_watermark: Offset(high_watermark), log_start_offset: Offset::ZERO }
}

#[test]
fn an_unknown_session_and_a_wrong_epoch_are_refused_and_an_epoch_counts_when_it_arrives() {
    let mut leader = Leader::new(1000);
    assert_eq!(leader.begin(at(0), request(5, 1, &[])), Begun::Refused(ErrorCode::FetchSessionIdNotFound));
    let id = leader.open(at(0), &[1, 2]);
    assert_eq!(leader.begin(at(0), request(id, 2, &[])), Begun::Refused(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(leader.begin(at(0), request(id, 1, &[])), Begun::Incremental(Held { id, next_epoch: 2 }));
    assert_eq!(leader.begin(at(0), request(id, 1, &[])), Begun::Refused(ErrorCode::InvalidFetchSessionEpoch));
    let mut by_name = request(id, 2, &[]);
    by_name.uses_topic_ids = false;
    assert_eq!(leader.begin(at(0), by_name), Begun::Refused(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn the_epoch_after_the_largest_is_one() {
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn epoch_minus_one_and_zero_end_the_session_they_name() {
    let mut leader = Leader::new(1000);
    let id = leader.open(at(0), &[1]);
    assert_eq!(leader.begin(at(0), request(id, -1, &[1])), Begun::Sessionless);
    assert_eq!(leader.cache.sessions(), 0);
    let id = leader.open(at(0), &[1]);
    assert!(matches!(leader.begin(at(0), request(id, 0, &[1])), Begun::Full(held) if held.id != id));
    assert_eq!(leader.cache.sessions(), 1);
}

#[test]
fn a_session_without_partitions_ends() {
    let mut leader = Leader::new(1000);
    let id = leader.open(at(0), &[1]);
    let forgets = SessionRequest { forgotten: vec![1], ..request(id, 1, &[]) };
    assert_eq!(leader.begin(at(0), forgets), Begun::Sessionless);
    assert_eq!(leader.begin(at(0), request(id, 2, &[])), Begun::Refused(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn an_answer_is_void_once_the_next_fetch_has_come() {
    let mut leader = Leader::new(1000);
    let id = leader.open(at(0), &[1]);
    let held = Held { id, next_epoch: 1 };
    assert_eq!(leader.cache.check(held), Ok(()));
    leader.begin(at(0), request(id, 1, &[]));
    assert_eq!(leader.cache.check(held), Err(ErrorCode::InvalidFetchSessionEpoch));
}

#[test]
fn an_answer_has_what_changed_and_errors_and_what_comes_after_an_error() {
    let mut leader = Leader::new(1000);
    let id = leader.open(at(0), &[1]);
    let place = Place { session: id, rank: 0 };
    let error = Told { is_error: true, high_watermark: Offset::NONE, log_start_offset: Offset::NONE, ..told(0) };
    let data = Told { has_data: true, ..told(6) };
    for (told, must) in [
        (told(5), true),
        (told(5), false),
        (error, true),
        (error, true),
        (told(5), true),
        (told(6), true),
        (data, true),
    ] {
        assert_eq!(leader.cache.tell(place, told), must, "{told:?}");
    }
}

#[test]
fn a_quiet_partition_is_not_due_until_it_is_marked_or_listed() {
    let mut leader = Leader::new(1000);
    let id = leader.open(at(0), &[1, 2]);
    let place = Place { session: id, rank: 0 };
    let due = |leader: &Leader| leader.cache.due(id).iter().map(|due| due.key).collect::<Vec<_>>();
    leader.cache.watched(place, Offset(5), Offset::ZERO, true);
    assert_eq!(due(&leader), [1, 2], "the client has not been told");
    leader.cache.tell(place, told(5));
    assert_eq!(due(&leader), [2]);
    leader.cache.mark(place);
    assert_eq!(due(&leader), [1, 2]);
    leader.cache.watched(place, Offset(5), Offset::ZERO, true);
    assert_eq!(due(&leader), [2]);
    leader.begin(at(1), request(id, 1, &[1]));
    assert_eq!(due(&leader), [2, 1], "listed anew it comes last");
    leader.cache.watched(place, Offset(5), Offset::ZERO, true);
    assert_eq!(due(&leader), [2, 1], "a promise about an older request");
    leader.cache.check_invariants();
}

#[test]
fn a_full_cache_gives_way_to_followers_to_larger_and_to_what_is_not_used() {
    // One slot a shard; eight sessions fill it.
    let mut leader = Leader::new(8);
    for _ in 0..8 {
        leader.open(at(0), &[1, 2]);
    }
    let follower = |listed: &[u32]| SessionRequest { is_follower: true, ..request(0, 0, listed) };
    assert_eq!(leader.begin(at(1), request(0, 0, &[1, 2, 3])), Begun::Sessionless, "too young to be evicted");
    assert!(matches!(leader.begin(at(1), follower(&[1])), Begun::Full(_)), "a follower evicts any consumer");
    assert_eq!(leader.cache.sessions(), 8);
    // The next in turn is shard 2: its session is used, old, and as large as the newcomer.
    let third = leader.cache.all_sessions()[2];
    assert!(matches!(leader.begin(at(121), request(third, 1, &[])), Begun::Incremental(_)));
    assert_eq!(leader.begin(at(122), request(0, 0, &[1, 2])), Begun::Sessionless);
    // Shard 3: not used for more than two minutes.
    assert!(matches!(leader.begin(at(122), request(0, 0, &[1])), Begun::Full(_)));
    // Shard 3 again, after a round: its session is young, a larger one has to wait.
    for _ in 4..8 {
        leader.begin(at(122), request(0, -1, &[]));
        leader.cache.skip_turn();
    }
    leader.cache.skip_turn();
    leader.cache.skip_turn();
    assert!(matches!(leader.begin(at(123), request(0, 0, &[1, 2, 3])), Begun::Full(_)), "shard 2: larger and old");
}

/// What happens to a Fetch.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append(usize),
    Commit(usize),
    Exchange(Fate),
    LeaderRestarts,
    SessionEvicted,
    Unfollow(usize),
    NewEpoch(usize),
    TimePasses(u64),
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..PARTITIONS).prop_map(Op::Append),
        6 => (0..PARTITIONS).prop_map(Op::Commit),
        12 => Just(Op::Exchange(Fate::Answered)),
        2 => prop_oneof![Just(Op::Exchange(Fate::RequestLost)), Just(Op::Exchange(Fate::AnswerLost))],
        1 => Just(Op::LeaderRestarts),
        1 => Just(Op::SessionEvicted),
        1 => (0..PARTITIONS).prop_map(Op::Unfollow),
        2 => (0..PARTITIONS).prop_map(Op::NewEpoch),
        2 => (1..100u64).prop_map(Op::TimePasses),
    ]
}

const PARTITIONS: usize = 4;

#[derive(Default)]
struct Truth {
    end: i64,
    high_watermark: i64,
    epoch: i32,
    /// Who is told of changes.
    watched: Vec<Place>,
}

/// What the follower has.
#[derive(Clone, Copy, Default)]
struct Copy {
    end: i64,
    high_watermark: i64,
    /// `None` while it is not copied.
    epoch: Option<i32>,
}

struct Both {
    now: u64,
    leader: Leader,
    slots: usize,
    truth: [Truth; PARTITIONS],
    copies: [Copy; PARTITIONS],
    fetcher: Fetcher<u32>,
    waiting: Option<FetchOrder<u32>>,
    session: i32,
    /// Partitions that the leader read for the last Fetch.
    read: usize,
}

impl Both {
    fn new(slots: usize) -> Self {
        let mut both = Self {
            now: 0,
            leader: Leader::new(slots),
            slots,
            truth: Default::default(),
            copies: [Copy { epoch: Some(0), ..Copy::default() }; PARTITIONS],
            fetcher: Fetcher::new(FetcherConfig { backoff: SECOND }),
            waiting: None,
            session: 0,
            read: 0,
        };
        (0..PARTITIONS).for_each(|partition| both.follow(partition));
        both.step(FetcherEvent::Tick);
        both
    }

    fn step(&mut self, event: FetcherEvent<u32>) {
        let mut out = Vec::new();
        let now = Now { mono: at(self.now), wall: Timestamp(0) };
        self.fetcher.step(now, event, &mut out);
        self.fetcher.check_invariants();
        for effect in out {
            match effect {
                FetcherEffect::Send(order) => assert!(self.waiting.replace(order).is_none(), "two Fetches in flight"),
                FetcherEffect::AskRange(part) => panic!("no offset is out of range here: {part:?}"),
            }
        }
    }

    fn position(&self, partition: usize) -> Option<FetchPosition> {
        let copy = self.copies[partition];
        Some(FetchPosition {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(copy.epoch?),
            offset: Offset(copy.end),
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start_offset: Offset::ZERO,
        })
    }

    fn follow(&mut self, partition: usize) {
        let Some(position) = self.position(partition) else { return };
        let (partition, leader_epoch) = (partition as u32, position.leader_epoch);
        self.step(FetcherEvent::Follow { partition, leader_epoch, position: Some(position) });
    }

    fn changed(&mut self, partition: usize) {
        for place in std::mem::take(&mut self.truth[partition].watched) {
            self.leader.cache.mark(place);
        }
    }

    fn op(&mut self, op: Op) {
        match op {
            Op::Append(partition) => {
                self.truth[partition].end += 1;
                self.changed(partition);
            }
            Op::Commit(partition) => {
                let truth = &mut self.truth[partition];
                truth.high_watermark = truth.end;
                self.changed(partition);
            }
            Op::Exchange(fate) => self.exchange(fate),
            Op::LeaderRestarts => {
                self.leader = Leader { drawn: self.leader.drawn, ..Leader::new(self.slots) };
                self.truth.iter_mut().for_each(|truth| truth.watched.clear());
            }
            Op::SessionEvicted => self.leader.cache.close(self.session),
            Op::Unfollow(partition) => {
                self.copies[partition].epoch = None;
                self.step(FetcherEvent::Unfollow { partition: partition as u32 });
            }
            Op::NewEpoch(partition) => {
                self.truth[partition].epoch += 1;
                self.changed(partition);
                self.copies[partition].epoch = Some(self.truth[partition].epoch);
                self.follow(partition);
            }
            Op::TimePasses(seconds) => {
                self.now += seconds;
                self.step(FetcherEvent::Tick);
            }
        }
        self.leader.cache.check_invariants();
    }

    fn exchange(&mut self, fate: Fate) {
        let Some(order) = self.waiting.take() else { return };
        if let Fate::RequestLost = fate {
            return self.step(FetcherEvent::Failed);
        }
        let (event, learnt) = self.serve(&order);
        if let Fate::AnswerLost = fate {
            return self.step(FetcherEvent::Failed);
        }
        for (partition, high_watermark) in learnt {
            self.copies[partition as usize].high_watermark = high_watermark;
        }
        if let FetcherEvent::Answered { answers, session } = &event {
            self.session = *session;
            // Positions first, as a shard does.
            for (partition, answer) in answers.clone() {
                let index = partition as usize;
                if answer == Answer::Data && self.position(index) == self.fetcher.asked(partition) {
                    self.copies[index].end += 1;
                    self.follow(index);
                }
            }
        }
        self.step(event);
    }

    /// The leader takes a Fetch; gives the answer, and the high watermarks in it.
    fn serve(&mut self, order: &FetchOrder<u32>) -> (FetcherEvent<u32>, Vec<(u32, i64)>) {
        let of =
            |position: FetchPosition| Asked { current_leader_epoch: position.leader_epoch, ..asked(position.offset.0) };
        let mut request = SessionRequest {
            id: order.session,
            epoch: order.epoch,
            uses_topic_ids: true,
            is_follower: true,
            broker_epoch: BrokerEpoch(1),
            listed: order.parts.iter().map(|part| (part.partition, of(part.position))).collect(),
            forgotten: order.forgotten.clone(),
        };
        let listed = request.listed.clone();
        let drawn = &mut self.leader.drawn;
        let begun = self.leader.cache.begin(at(self.now), &mut request, || {
            *drawn += 7;
            *drawn
        });
        let (due, held) = match begun {
            Begun::Refused(error) => return (FetcherEvent::Refused(error), Vec::new()),
            Begun::Sessionless => {
                let due = listed.into_iter().map(|(key, asked)| Due { key, rank: 0, asked });
                (due.collect(), None)
            }
            Begun::Full(held) | Begun::Incremental(held) => (self.leader.cache.due(held.id), Some(held)),
        };
        if let Some(held) = held {
            // Both sides mean the same session.
            let has: BTreeMap<_, _> =
                self.leader.cache.all(held.id).into_iter().map(|due| (due.key, due.asked)).collect();
            for (key, asked) in &has {
                let position = self.fetcher.asked(*key).expect("the follower knows of it");
                assert_eq!((asked.offset, asked.current_leader_epoch), (position.offset, position.leader_epoch));
            }
            let wanted = (0..PARTITIONS as u32).filter(|key| self.fetcher.asked(*key).is_some()).count();
            assert_eq!(has.len(), wanted);
        }
        self.read = due.len();
        let (mut answers, mut learnt) = (Vec::new(), Vec::new());
        for Due { key, rank, asked } in due {
            let truth = &mut self.truth[key as usize];
            let current = asked.current_leader_epoch == LeaderEpoch(truth.epoch);
            let has_data = current && asked.offset < Offset(truth.end);
            let answer = match (current, has_data) {
                (false, _) => Answer::Error(ErrorCode::UnknownLeaderEpoch),
                (true, true) => Answer::Data,
                (true, false) => Answer::Empty,
            };
            let high_watermark = Offset(truth.high_watermark);
            let Some(held) = held else {
                answers.push((key, answer));
                learnt.push((key, high_watermark.0));
                continue;
            };
            let place = Place { session: held.id, rank };
            if answer == Answer::Empty {
                self.leader.cache.watched(place, high_watermark, Offset::ZERO, true);
                truth.watched.push(place);
            }
            let told = Told { is_error: !current, has_data, high_watermark, log_start_offset: Offset::ZERO };
            if self.leader.cache.tell(place, told) || matches!(begun, Begun::Full(_)) {
                answers.push((key, answer));
                if current {
                    learnt.push((key, high_watermark.0));
                }
            }
        }
        (FetcherEvent::Answered { session: held.map_or(0, |held| held.id), answers }, learnt)
    }
}

proptest! {
    #[test]
    fn both_sides_agree_under_losses_restarts_and_evictions_and_in_the_end_all_is_copied(
        slots in prop_oneof![Just(8_usize), Just(0)],
        ops in prop::collection::vec(ops(), 1..120),
    ) {
        let mut both = Both::new(slots);
        for op in ops {
            both.op(op);
        }
        for partition in 0..PARTITIONS {
            if both.copies[partition].epoch.is_none() {
                both.op(Op::NewEpoch(partition));
            }
        }
        let behind = both.truth.iter().map(|truth| truth.end).max().unwrap_or(0);
        for _ in 0..behind + 10 {
            both.op(Op::TimePasses(2));
            both.op(Op::Exchange(Fate::Answered));
        }
        for (truth, copy) in both.truth.iter().zip(&both.copies) {
            prop_assert_eq!((truth.end, truth.high_watermark), (copy.end, copy.high_watermark));
        }
        if slots > 0 {
            prop_assert_eq!(both.read, 0, "quiet partitions are not read");
            prop_assert!(both.waiting.is_some_and(|order| order.parts.is_empty() && order.epoch > 0));
        }
    }
}
