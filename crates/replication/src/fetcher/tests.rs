//! The fetcher by itself.

use protocol::{NodeId, Offset, Timestamp};

use super::*;

const BACKOFF: Duration = Duration::from_millis(1000);

fn at(ms: u64) -> Now {
    Now { mono: Monotonic(ms * 1_000_000), wall: Timestamp(0) }
}

fn position(epoch: i32, offset: i64) -> FetchPosition {
    FetchPosition {
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(epoch),
        offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: Offset::ZERO,
    }
}

/// An answer of a leader that has no room for sessions.
fn answered(answers: Vec<(u32, Answer)>) -> FetcherEvent<u32> {
    FetcherEvent::Answered { session: 0, answers }
}

struct Source {
    fetcher: Fetcher<u32>,
    out: Vec<FetcherEffect<u32>>,
}

impl Source {
    fn new(partitions: u32) -> Self {
        let mut source = Self { fetcher: Fetcher::new(FetcherConfig { backoff: BACKOFF }), out: Vec::new() };
        for partition in 0..partitions {
            source.follow(partition, 1, None);
        }
        for partition in 0..partitions {
            let (leader_epoch, position) = (LeaderEpoch(1), Some(position(1, 0)));
            source.step(0, FetcherEvent::Follow { partition, leader_epoch, position });
        }
        source.step(0, FetcherEvent::Tick);
        source
    }

    fn follow(&mut self, partition: u32, epoch: i32, offset: Option<i64>) {
        let position = offset.map(|offset| position(epoch, offset));
        self.step(0, FetcherEvent::Follow { partition, leader_epoch: LeaderEpoch(epoch), position });
        self.step(0, FetcherEvent::Tick);
    }

    fn step(&mut self, ms: u64, event: FetcherEvent<u32>) {
        self.fetcher.step(at(ms), event, &mut self.out);
        self.fetcher.check_invariants();
    }

    /// The partitions of the only Fetch sent since the last call.
    fn sent(&mut self) -> Option<Vec<u32>> {
        match std::mem::take(&mut self.out).as_slice() {
            [] => None,
            [FetcherEffect::Send(order)] => Some(order.parts.iter().map(|part| part.partition).collect()),
            other => panic!("more than one Fetch: {other:?}"),
        }
    }
}

#[test]
fn one_fetch_is_in_flight_and_asks_for_every_ready_partition() {
    let mut source = Source::new(3);
    assert_eq!(source.sent(), Some(vec![0, 1, 2]));
    source.follow(3, 1, Some(0));
    assert_eq!(source.sent(), None, "a second one while the first is out");
    source.step(1, answered(vec![]));
    assert_eq!(source.sent(), Some(vec![0, 1, 2, 3]));
}

#[test]
fn partitions_with_data_go_to_the_end_of_the_order() {
    let mut source = Source::new(3);
    source.sent();
    source.step(1, FetcherEvent::Follow { partition: 0, leader_epoch: LeaderEpoch(1), position: None });
    source.step(1, answered(vec![(0, Answer::Data), (1, Answer::Empty), (2, Answer::Empty)]));
    assert_eq!(source.sent(), None, "the log of partition 0 is busy");
    source.follow(0, 1, Some(5));
    assert_eq!(source.sent(), Some(vec![1, 2, 0]));
}

#[test]
fn an_error_rests_one_partition_and_a_failed_request_all_of_its() {
    let mut source = Source::new(2);
    source.sent();
    source.step(10, answered(vec![(0, Answer::Error(ErrorCode::UnknownLeaderEpoch)), (1, Answer::Empty)]));
    assert_eq!(source.sent(), Some(vec![1]));
    source.step(20, FetcherEvent::Failed);
    assert_eq!(source.sent(), None);
    assert_eq!(source.fetcher.deadline(), Some(at(1010).mono));
    source.step(1010, FetcherEvent::Tick);
    assert_eq!(source.sent(), Some(vec![0]));
    source.step(1020, answered(vec![(0, Answer::Empty)]));
    assert_eq!(source.sent(), Some(vec![0, 1]));
}

#[test]
fn a_partition_that_cannot_be_appended_to_rests() {
    let mut source = Source::new(1);
    source.sent();
    source.step(10, FetcherEvent::Rest { partition: 0 });
    source.step(10, answered(vec![(0, Answer::Data)]));
    source.follow(0, 1, Some(0));
    assert_eq!(source.sent(), None, "it would be asked for the same again");
    assert_eq!(source.fetcher.deadline(), Some(at(1010).mono));
    source.step(1010, FetcherEvent::Tick);
    assert_eq!(source.sent(), Some(vec![0]));
}

#[test]
fn fenced_in_the_current_epoch_waits_for_a_new_one() {
    let mut source = Source::new(1);
    source.sent();
    source.step(10, answered(vec![(0, Answer::Error(ErrorCode::FencedLeaderEpoch))]));
    assert_eq!(source.fetcher.deadline(), None);
    source.step(99_999, FetcherEvent::Tick);
    assert_eq!(source.sent(), None);
    source.follow(0, 2, Some(0));
    assert_eq!(source.sent(), Some(vec![0]));
}

#[test]
fn an_answer_of_an_older_epoch_does_not_rest_the_new_one() {
    let mut source = Source::new(1);
    source.sent();
    source.follow(0, 2, Some(0));
    source.step(10, answered(vec![(0, Answer::Error(ErrorCode::FencedLeaderEpoch))]));
    assert_eq!(source.sent(), Some(vec![0]));
}

#[test]
fn out_of_range_asks_for_the_leaders_range_once() {
    let mut source = Source::new(1);
    source.sent();
    source.step(10, answered(vec![(0, Answer::Error(ErrorCode::OffsetOutOfRange))]));
    assert!(matches!(source.out.as_slice(), [FetcherEffect::AskRange(part)] if part.partition == 0));
    source.out.clear();
    source.step(20, FetcherEvent::Ranged { partition: 0, known: false });
    assert_eq!(source.sent(), None, "it rests");
    source.step(1020, FetcherEvent::Tick);
    assert_eq!(source.sent(), Some(vec![0]));
}

/// What the only Fetch sent since the last call lists: session, epoch, partitions, forgotten ones.
fn order(source: &mut Source) -> (i32, i32, Vec<u32>, Vec<u32>) {
    match std::mem::take(&mut source.out).as_slice() {
        [FetcherEffect::Send(order)] => {
            let parts = order.parts.iter().map(|part| part.partition).collect();
            (order.session, order.epoch, parts, order.forgotten.clone())
        }
        other => panic!("not one Fetch: {other:?}"),
    }
}

fn with_session(partitions: u32) -> Source {
    let mut source = Source::new(partitions);
    assert_eq!(order(&mut source), (0, 0, (0..partitions).collect(), vec![]));
    let answers = (0..partitions).map(|partition| (partition, Answer::Empty)).collect();
    source.step(1, FetcherEvent::Answered { session: 9, answers });
    source
}

#[test]
fn within_a_session_only_what_changed_is_listed() {
    let mut source = with_session(3);
    assert_eq!(order(&mut source), (9, 1, vec![], vec![]));
    source.follow(1, 1, Some(5));
    source.step(2, FetcherEvent::Answered { session: 9, answers: vec![(1, Answer::Data)] });
    assert_eq!(order(&mut source), (9, 2, vec![1], vec![]));
    source.step(3, FetcherEvent::Answered { session: 9, answers: vec![] });
    assert_eq!(order(&mut source), (9, 3, vec![], vec![]));
}

#[test]
fn a_partition_that_rests_is_forgotten_and_listed_again() {
    let mut source = with_session(2);
    order(&mut source);
    let refused = Answer::Error(ErrorCode::UnknownLeaderEpoch);
    source.step(2, FetcherEvent::Answered { session: 9, answers: vec![(0, refused)] });
    assert_eq!(order(&mut source), (9, 2, vec![], vec![0]));
    source.step(1010, FetcherEvent::Answered { session: 9, answers: vec![] });
    assert_eq!(order(&mut source), (9, 3, vec![0], vec![]));
}

#[test]
fn the_last_partition_is_forgotten_too_and_ends_the_session() {
    let mut source = with_session(1);
    order(&mut source);
    source.step(2, FetcherEvent::Unfollow { partition: 0 });
    source.step(3, FetcherEvent::Answered { session: 9, answers: vec![] });
    assert_eq!(order(&mut source), (9, 2, vec![], vec![0]));
    source.step(4, FetcherEvent::Answered { session: 0, answers: vec![] });
    assert_eq!(source.sent(), None);
    source.follow(0, 1, Some(0));
    assert_eq!(order(&mut source), (0, 0, vec![0], vec![]));
}

#[test]
fn a_refused_session_begins_anew_at_once_and_names_the_old_one_unless_it_is_unknown() {
    let mut source = with_session(2);
    order(&mut source);
    source.step(2, FetcherEvent::Refused(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(order(&mut source), (9, 0, vec![0, 1], vec![]));
    source.step(3, FetcherEvent::Refused(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(order(&mut source), (0, 0, vec![0, 1], vec![]));
    source.step(4, FetcherEvent::Refused(ErrorCode::UnknownServerError));
    assert_eq!(source.sent(), None, "any other error rests");
}

#[test]
fn a_failed_fetch_rests_all_of_the_session_and_begins_anew() {
    let mut source = with_session(2);
    order(&mut source);
    source.step(2, FetcherEvent::Failed);
    assert_eq!(source.sent(), None);
    source.step(1002, FetcherEvent::Tick);
    assert_eq!(order(&mut source), (9, 0, vec![0, 1], vec![]));
}

#[test]
fn an_answer_for_a_partition_that_the_session_has_not_begins_anew() {
    let mut source = with_session(1);
    order(&mut source);
    source.step(2, FetcherEvent::Answered { session: 9, answers: vec![(7, Answer::Empty)] });
    assert_eq!(order(&mut source), (9, 0, vec![0], vec![]));
}
