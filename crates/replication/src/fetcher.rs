//! The client side of replication: which partitions to ask one source broker for, and when.
//!
//! | a partition is | until |
//! |---|---|
//! | busy | its log has completed what came last: while one is, no Fetch leaves (it would be held at the leader without it) |
//! | ready | asked for, in turn |
//! | resting, `replica.fetch.backoff.ms` | the time is over: after an error, after a failed request |
//! | out of range | the leader's range is known |
//! | failed | a new leader epoch: fenced in the current epoch, storage errors, answers that make no sense |
//!
//! One Fetch is in flight at a time. Partitions that gave data move to the end of the order, so that all get a turn.
//! Deliberately absent: fetch sessions (KIP-227) — every Fetch is a full one; a session would live beside `in_flight`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use protocol::{ErrorCode, LeaderEpoch, Monotonic, Now};

use crate::partition::FetchPosition;

/// What a fetcher is configured with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetcherConfig {
    /// `replica.fetch.backoff.ms`.
    pub backoff: Duration,
}

/// One partition of a Fetch that is to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPart<K> {
    /// Which.
    pub partition: K,
    /// Where it goes on.
    pub position: FetchPosition,
}

/// What a Fetch gave for a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No records.
    Empty,
    /// Records.
    Data,
    /// The place where the logs part.
    Diverging,
    /// Refused.
    Error(ErrorCode),
}

/// Something happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetcherEvent<K> {
    /// A partition is copied from this broker, or its position changed; `None` while its log is busy. Sends nothing yet:
    /// that needs a [`FetcherEvent::Tick`] when all of an instant are told.
    Follow {
        /// Which.
        partition: K,
        /// In which epoch.
        leader_epoch: LeaderEpoch,
        /// Where it goes on.
        position: Option<FetchPosition>,
    },
    /// It is copied from here no more.
    Unfollow {
        /// Which.
        partition: K,
    },
    /// The Fetch was answered; all partitions that were asked for are in it (a missing one counts as empty).
    Answered(Vec<(K, Answer)>),
    /// The Fetch failed: no connection, a time-out, an error for the whole of it.
    Failed,
    /// The range asked for after OFFSET_OUT_OF_RANGE is known and taken, or (`false`) was not to be had.
    Ranged {
        /// Whose.
        partition: K,
        /// Whether it is.
        known: bool,
    },
    /// The answers for it make no sense.
    Mistrusted {
        /// Which.
        partition: K,
    },
    /// The deadline has come, or positions were told.
    Tick,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetcherEffect<K> {
    /// Send a Fetch for these, in this order.
    Send(Vec<FetchPart<K>>),
    /// Ask the leader for the range of its log (ListOffsets).
    AskRange(FetchPart<K>),
}

/// The fetcher of one source broker. `K` names a partition.
#[derive(Clone, Debug)]
pub struct Fetcher<K> {
    config: FetcherConfig,
    partitions: BTreeMap<K, Followed>,
    /// Invariant: each partition once.
    order: VecDeque<K>,
    /// What the Fetch in flight asks for, by partition.
    in_flight: Option<BTreeMap<K, FetchPosition>>,
    /// Invariant: how many are in [`State::Fetching`] without a position.
    busy: usize,
    /// Invariant: exactly those in [`State::RestingUntil`].
    resting: BTreeSet<(Monotonic, K)>,
    /// Whether anything changed since it was last found that there is nothing to send.
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    leader_epoch: LeaderEpoch,
    position: Option<FetchPosition>,
    state: State,
}

impl Followed {
    fn is_busy(&self) -> bool {
        self.state == State::Fetching && self.position.is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Fetching,
    RestingUntil(Monotonic),
    OutOfRange,
    Failed,
}

impl<K: Copy + Ord + std::fmt::Debug> Fetcher<K> {
    /// A fetcher that copies nothing yet.
    pub const fn new(config: FetcherConfig) -> Self {
        Self {
            config,
            partitions: BTreeMap::new(),
            order: VecDeque::new(),
            in_flight: None,
            busy: 0,
            resting: BTreeSet::new(),
            changed: false,
        }
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: FetcherEvent<K>, out: &mut Vec<FetcherEffect<K>>) {
        match event {
            FetcherEvent::Follow { partition, leader_epoch, position } => {
                // Others may follow at the same instant: they should all be in the next Fetch.
                return self.follow(partition, leader_epoch, position);
            }
            FetcherEvent::Unfollow { partition } => {
                if self.partitions.contains_key(&partition) {
                    self.change(partition, |followed| followed.state = State::Failed);
                    self.partitions.remove(&partition);
                    self.order.retain(|known| *known != partition);
                }
            }
            FetcherEvent::Answered(answers) => self.answered(now, answers, out),
            FetcherEvent::Failed => {
                // All of them wait: the broker is not well.
                let until = now.mono + self.config.backoff;
                for (partition, position) in self.in_flight.take().unwrap_or_default() {
                    self.outcome(partition, position, State::RestingUntil(until));
                }
            }
            FetcherEvent::Ranged { partition, known } => {
                let state = if known { State::Fetching } else { State::RestingUntil(now.mono + self.config.backoff) };
                self.change(partition, |followed| {
                    if followed.state == State::OutOfRange {
                        followed.state = state;
                    }
                });
            }
            FetcherEvent::Mistrusted { partition } => self.change(partition, |followed| followed.state = State::Failed),
            FetcherEvent::Tick => {}
        }
        self.maybe_send(now, out);
    }

    /// When [`FetcherEvent::Tick`] is due.
    pub fn deadline(&self) -> Option<Monotonic> {
        if self.in_flight.is_some() { None } else { self.resting.first().map(|(at, _)| *at) }
    }

    /// What was asked for a partition by the Fetch in flight.
    pub fn asked(&self, partition: K) -> Option<FetchPosition> {
        self.in_flight.as_ref()?.get(&partition).copied()
    }

    /// Whether nothing is copied from this broker.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Whether all invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_invariants(&self) {
        assert_eq!(self.order.len(), self.partitions.len(), "the order does not hold each partition once: {self:?}");
        for partition in &self.order {
            assert!(self.partitions.contains_key(partition), "{partition:?} is in the order only");
        }
        let busy = self.partitions.values().filter(|followed| followed.is_busy()).count();
        assert_eq!(self.busy, busy, "busy partitions are miscounted: {self:?}");
        let resting = self.partitions.iter().filter_map(|(partition, followed)| match followed.state {
            State::RestingUntil(at) => Some((at, *partition)),
            _ => None,
        });
        assert_eq!(self.resting, resting.collect(), "resting partitions are miscounted");
    }

    fn follow(&mut self, partition: K, leader_epoch: LeaderEpoch, position: Option<FetchPosition>) {
        if !self.partitions.contains_key(&partition) {
            self.order.push_back(partition);
            // Counted by the change that follows.
            self.partitions.insert(partition, Followed { leader_epoch, position: None, state: State::Failed });
            self.change(partition, |followed| followed.state = State::Fetching);
        }
        self.change(partition, |followed| {
            if leader_epoch > followed.leader_epoch {
                *followed = Followed { leader_epoch, position, state: State::Fetching };
            }
            followed.position = position;
        });
    }

    fn answered(&mut self, now: Now, answers: Vec<(K, Answer)>, out: &mut Vec<FetcherEffect<K>>) {
        let asked = self.in_flight.take().unwrap_or_default();
        self.changed = true;
        let mut moved = BTreeSet::new();
        for (partition, answer) in answers {
            let Some(position) = asked.get(&partition).copied() else { continue };
            match answer {
                Answer::Empty | Answer::Diverging => {}
                Answer::Data => {
                    moved.insert(partition);
                }
                Answer::Error(ErrorCode::OffsetOutOfRange) => {
                    if self.outcome(partition, position, State::OutOfRange) {
                        out.push(FetcherEffect::AskRange(FetchPart { partition, position }));
                    }
                }
                Answer::Error(error) if is_final(error) => {
                    self.outcome(partition, position, State::Failed);
                }
                Answer::Error(_) => {
                    self.outcome(partition, position, State::RestingUntil(now.mono + self.config.backoff));
                }
            }
        }
        if !moved.is_empty() && moved.len() < self.order.len() {
            let (back, front): (VecDeque<K>, VecDeque<K>) =
                self.order.drain(..).partition(|partition| moved.contains(partition));
            self.order = front;
            self.order.extend(back);
        }
    }

    /// Says what became of a partition that was asked for, unless it has a new leader epoch since.
    fn outcome(&mut self, partition: K, asked: FetchPosition, state: State) -> bool {
        let current = self.partitions.get(&partition).is_some_and(|known| known.leader_epoch == asked.leader_epoch);
        if current {
            self.change(partition, |followed| followed.state = state);
        }
        current
    }

    /// Changes a partition, and what is counted of it.
    fn change(&mut self, partition: K, change: impl FnOnce(&mut Followed)) {
        let Some(followed) = self.partitions.get_mut(&partition) else { return };
        if followed.is_busy() {
            self.busy -= 1;
        }
        if let State::RestingUntil(at) = followed.state {
            self.resting.remove(&(at, partition));
        }
        change(followed);
        self.changed = true;
        if followed.is_busy() {
            self.busy += 1;
        }
        if let State::RestingUntil(at) = followed.state {
            self.resting.insert((at, partition));
        }
    }

    fn maybe_send(&mut self, now: Now, out: &mut Vec<FetcherEffect<K>>) {
        if self.in_flight.is_some() {
            return;
        }
        while let Some((at, partition)) = self.resting.first().copied()
            && at <= now.mono
        {
            self.change(partition, |followed| followed.state = State::Fetching);
        }
        if self.busy > 0 || !std::mem::take(&mut self.changed) {
            return;
        }
        let ready = |partition: &K| {
            let followed = &self.partitions[partition];
            let position = followed.position.filter(|_| followed.state == State::Fetching)?;
            Some(FetchPart { partition: *partition, position })
        };
        let parts: Vec<_> = self.order.iter().filter_map(ready).collect();
        if !parts.is_empty() {
            self.in_flight = Some(parts.iter().map(|part| (part.partition, part.position)).collect());
            out.push(FetcherEffect::Send(parts));
        }
    }
}

/// Errors that only a new leader epoch cures.
const fn is_final(error: ErrorCode) -> bool {
    !matches!(
        error,
        ErrorCode::UnknownLeaderEpoch
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::CorruptMessage
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownServerError
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::LeaderNotAvailable
    )
}

#[cfg(test)]
mod tests {
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
                [FetcherEffect::Send(parts)] => Some(parts.iter().map(|part| part.partition).collect()),
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
        source.step(1, FetcherEvent::Answered(vec![]));
        assert_eq!(source.sent(), Some(vec![0, 1, 2, 3]));
    }

    #[test]
    fn partitions_with_data_go_to_the_end_of_the_order() {
        let mut source = Source::new(3);
        source.sent();
        source.step(1, FetcherEvent::Follow { partition: 0, leader_epoch: LeaderEpoch(1), position: None });
        source.step(1, FetcherEvent::Answered(vec![(0, Answer::Data), (1, Answer::Empty), (2, Answer::Empty)]));
        assert_eq!(source.sent(), None, "the log of partition 0 is busy");
        source.follow(0, 1, Some(5));
        assert_eq!(source.sent(), Some(vec![1, 2, 0]));
    }

    #[test]
    fn an_error_rests_one_partition_and_a_failed_request_all_of_its() {
        let mut source = Source::new(2);
        source.sent();
        source.step(
            10,
            FetcherEvent::Answered(vec![(0, Answer::Error(ErrorCode::UnknownLeaderEpoch)), (1, Answer::Empty)]),
        );
        assert_eq!(source.sent(), Some(vec![1]));
        source.step(20, FetcherEvent::Failed);
        assert_eq!(source.sent(), None);
        assert_eq!(source.fetcher.deadline(), Some(at(1010).mono));
        source.step(1010, FetcherEvent::Tick);
        assert_eq!(source.sent(), Some(vec![0]));
        source.step(1020, FetcherEvent::Answered(vec![(0, Answer::Empty)]));
        assert_eq!(source.sent(), Some(vec![0, 1]));
    }

    #[test]
    fn fenced_in_the_current_epoch_waits_for_a_new_one() {
        let mut source = Source::new(1);
        source.sent();
        source.step(10, FetcherEvent::Answered(vec![(0, Answer::Error(ErrorCode::FencedLeaderEpoch))]));
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
        source.step(10, FetcherEvent::Answered(vec![(0, Answer::Error(ErrorCode::FencedLeaderEpoch))]));
        assert_eq!(source.sent(), Some(vec![0]));
    }

    #[test]
    fn out_of_range_asks_for_the_leaders_range_once() {
        let mut source = Source::new(1);
        source.sent();
        source.step(10, FetcherEvent::Answered(vec![(0, Answer::Error(ErrorCode::OffsetOutOfRange))]));
        assert!(matches!(source.out.as_slice(), [FetcherEffect::AskRange(part)] if part.partition == 0));
        source.out.clear();
        source.step(20, FetcherEvent::Ranged { partition: 0, known: false });
        assert_eq!(source.sent(), None, "it rests");
        source.step(1020, FetcherEvent::Tick);
        assert_eq!(source.sent(), Some(vec![0]));
    }
}
