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
//!
//! Within a session (KIP-227) a Fetch lists only partitions whose position is not what the leader's session has, and those
//! to forget: what does not change costs nothing here. The leader's side is [`SessionCache`](crate::SessionCache).

mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{ErrorCode, LeaderEpoch, Monotonic, Now};

use crate::session::SessionId;

use crate::partition::FetchPosition;
use session::Session;

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
    /// The Fetch was answered. A partition that is not in the answer has nothing new.
    Answered {
        /// The session that the answer names, 0 for none.
        session: SessionId,
        /// What it has, also of partitions that were not asked for.
        answers: Vec<(K, Answer)>,
    },
    /// The Fetch was refused as a whole.
    Refused(ErrorCode),
    /// The Fetch failed: no connection, a time-out.
    Failed,
    /// The range asked for after OFFSET_OUT_OF_RANGE is known and taken, or (`false`) was not to be had.
    Ranged {
        /// Whose.
        partition: K,
        /// Whether it is.
        known: bool,
    },
    /// It cannot be appended to now: it is asked for again after a rest.
    Rest {
        /// Which.
        partition: K,
    },
    /// The answers for it make no sense.
    Mistrusted {
        /// Which.
        partition: K,
    },
    /// The deadline has come, or positions were told.
    Tick,
}

/// A Fetch that is to leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchOrder<K> {
    /// The session; 0 while there is none.
    pub session: SessionId,
    /// Its epoch; 0 for a full Fetch.
    pub epoch: i32,
    /// What it lists, in this order.
    pub parts: Vec<FetchPart<K>>,
    /// What the session is to forget.
    pub forgotten: Vec<K>,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetcherEffect<K> {
    /// Send a Fetch.
    Send(FetchOrder<K>),
    /// Ask the leader for the range of its log (ListOffsets).
    AskRange(FetchPart<K>),
}

/// The fetcher of one source broker. `K` names a partition.
#[derive(Clone, Debug)]
pub struct Fetcher<K> {
    config: FetcherConfig,
    partitions: BTreeMap<K, Followed>,
    next_rank: u64,
    /// What the leader's session has, once it has taken the Fetch in flight.
    session: Session<K>,
    in_flight: bool,
    /// What the next Fetch lists, by rank. Invariant: every partition that is to be asked for in another way than
    /// `session` has it.
    listed: BTreeMap<u64, K>,
    /// What the next Fetch forgets. Invariant: what `session` has and is not to be asked for.
    forgotten: BTreeSet<K>,
    /// Invariant: how many are in [`State::Fetching`] without a position.
    busy: usize,
    /// Invariant: exactly those in [`State::RestingUntil`].
    resting: BTreeSet<(Monotonic, K)>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    leader_epoch: LeaderEpoch,
    position: Option<FetchPosition>,
    state: State,
    /// Its place in the order. Invariant: no two have the same.
    rank: u64,
}

impl Followed {
    fn is_busy(&self) -> bool {
        self.state == State::Fetching && self.position.is_none()
    }

    /// From where it is to be asked for.
    fn wanted(&self) -> Option<FetchPosition> {
        self.position.filter(|_| self.state == State::Fetching)
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
            next_rank: 0,
            session: Session::new(),
            in_flight: false,
            listed: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            busy: 0,
            resting: BTreeSet::new(),
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
                self.change(partition, |followed| followed.state = State::Failed);
                self.partitions.remove(&partition);
            }
            FetcherEvent::Answered { session, answers } => self.answered(now, session, answers, out),
            FetcherEvent::Refused(error) => self.refused(now, error),
            FetcherEvent::Failed => {
                self.in_flight = false;
                // Nobody knows whether the leader has taken it.
                let asked = self.session.reopen();
                self.all_rest(now, asked);
            }
            FetcherEvent::Ranged { partition, known } => {
                let state = if known { State::Fetching } else { State::RestingUntil(now.mono + self.config.backoff) };
                self.change(partition, |followed| {
                    if followed.state == State::OutOfRange {
                        followed.state = state;
                    }
                });
            }
            FetcherEvent::Rest { partition } => {
                let until = now.mono + self.config.backoff;
                self.change(partition, |followed| {
                    if followed.state == State::Fetching {
                        followed.state = State::RestingUntil(until);
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
        if self.in_flight { None } else { self.resting.first().map(|(at, _)| *at) }
    }

    /// From where the Fetch in flight asks for a partition, be it that the leader's session has it from an earlier one.
    pub fn asked(&self, partition: K) -> Option<FetchPosition> {
        if self.in_flight { self.session.position(partition) } else { None }
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
        let mut ranks: Vec<u64> = self.partitions.values().map(|followed| followed.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        assert_eq!(ranks.len(), self.partitions.len(), "two partitions have the same place: {self:?}");
        let busy = self.partitions.values().filter(|followed| followed.is_busy()).count();
        assert_eq!(self.busy, busy, "busy partitions are miscounted: {self:?}");
        let resting = self.partitions.iter().filter_map(|(partition, followed)| match followed.state {
            State::RestingUntil(at) => Some((at, *partition)),
            _ => None,
        });
        assert_eq!(self.resting, resting.collect(), "resting partitions are miscounted");
        let differs = |(partition, followed): (&K, &Followed)| {
            let wanted = followed.wanted()?;
            (self.session.position(*partition) != Some(wanted)).then_some((followed.rank, *partition))
        };
        assert_eq!(self.listed, self.partitions.iter().filter_map(differs).collect(), "what is listed is wrong");
        let unwanted = |partition: &K| self.partitions.get(partition).and_then(Followed::wanted).is_none();
        let forgotten: BTreeSet<K> = self.session.partitions().filter(unwanted).collect();
        assert_eq!(self.forgotten, forgotten, "what is to be forgotten is wrong");
    }

    fn follow(&mut self, partition: K, leader_epoch: LeaderEpoch, position: Option<FetchPosition>) {
        if !self.partitions.contains_key(&partition) {
            let rank = self.rank();
            // Counted by the change that follows.
            self.partitions.insert(partition, Followed { leader_epoch, position: None, state: State::Failed, rank });
            self.change(partition, |followed| followed.state = State::Fetching);
        }
        self.change(partition, |followed| {
            if leader_epoch > followed.leader_epoch {
                *followed = Followed { leader_epoch, position, state: State::Fetching, ..*followed };
            }
            followed.position = position;
        });
    }

    fn answered(&mut self, now: Now, session: SessionId, answers: Vec<(K, Answer)>, out: &mut Vec<FetcherEffect<K>>) {
        if !std::mem::take(&mut self.in_flight) {
            return;
        }
        let mut strange = self.session.is_full() && answers.len() < self.session.len();
        for (partition, answer) in answers {
            let Some(position) = self.session.position(partition) else {
                strange = true;
                continue;
            };
            match answer {
                Answer::Empty | Answer::Diverging => {}
                Answer::Data => {
                    let rank = self.rank();
                    self.change(partition, |followed| followed.rank = rank);
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
        if strange {
            // The leader's session is not what it is taken for.
            probe::sometimes!("fetch_session_mistrusted");
            self.session.reopen();
        } else if self.session.answered(session) {
            return;
        }
        self.list_all();
    }

    /// All of the Fetch was refused: one that the leader's session does not fit begins anew at once.
    fn refused(&mut self, now: Now, error: ErrorCode) {
        if !std::mem::take(&mut self.in_flight) {
            return;
        }
        match error {
            ErrorCode::FetchSessionIdNotFound => {
                self.session.lost();
            }
            ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => {
                self.session.reopen();
            }
            _ => {
                let asked = self.session.reopen();
                return self.all_rest(now, asked);
            }
        }
        probe::sometimes!("full_fetch_after_error");
        self.list_all();
    }

    /// All that was asked for waits: the broker is not well.
    fn all_rest(&mut self, now: Now, asked: BTreeMap<K, FetchPosition>) {
        let until = now.mono + self.config.backoff;
        self.list_all();
        for (partition, position) in asked {
            self.outcome(partition, position, State::RestingUntil(until));
        }
    }

    /// The session has nothing any more.
    fn list_all(&mut self) {
        self.forgotten.clear();
        let wanted = self.partitions.iter().filter(|(_, followed)| followed.wanted().is_some());
        self.listed = wanted.map(|(partition, followed)| (followed.rank, *partition)).collect();
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
        let before = *followed;
        change(followed);
        let after = *followed;
        self.busy = self.busy + usize::from(after.is_busy()) - usize::from(before.is_busy());
        if before.state != after.state {
            if let State::RestingUntil(at) = before.state {
                self.resting.remove(&(at, partition));
            }
            if let State::RestingUntil(at) = after.state {
                self.resting.insert((at, partition));
            }
        }
        if before.rank == after.rank && before.wanted() == after.wanted() {
            return;
        }
        self.listed.remove(&before.rank);
        match (after.wanted(), self.session.position(partition)) {
            (Some(wanted), known) => {
                self.forgotten.remove(&partition);
                if known != Some(wanted) {
                    self.listed.insert(after.rank, partition);
                }
            }
            (None, Some(_)) => {
                self.forgotten.insert(partition);
            }
            (None, None) => {}
        }
    }

    fn rank(&mut self) -> u64 {
        self.next_rank += 1;
        self.next_rank
    }

    fn maybe_send(&mut self, now: Now, out: &mut Vec<FetcherEffect<K>>) {
        if self.in_flight {
            return;
        }
        while let Some((at, partition)) = self.resting.first().copied()
            && at <= now.mono
        {
            self.change(partition, |followed| followed.state = State::Fetching);
        }
        // Every partition that is ready is listed, or the session has it.
        if self.busy > 0 || self.listed.is_empty() && self.session.len() == 0 {
            return;
        }
        let listed = std::mem::take(&mut self.listed);
        let position = |partition: &K| self.partitions[partition].wanted().expect("it is listed");
        let parts = listed.into_values().map(|partition| FetchPart { partition, position: position(&partition) });
        let order = self.session.order(parts.collect(), std::mem::take(&mut self.forgotten));
        self.in_flight = true;
        out.push(FetcherEffect::Send(order));
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
