//! What a fetch or a ListOffsets may read here: questions that change nothing.

use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset, Timestamp};

use super::{Diverging, Partition, Replica, RoleState};

/// Up to where a reader reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLimit {
    /// Followers: to the end of the log.
    LogEnd,
    /// Consumers: below the high watermark. (Below the last stable offset, once there are transactions.)
    HighWatermark,
}

/// One partition of a Fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchFrom {
    /// The follower that asks, [`NodeId::NONE`] for a consumer.
    pub replica: NodeId,
    /// Its registration, [`BrokerEpoch::NONE`] if it did not say.
    pub broker_epoch: BrokerEpoch,
    /// The leader epoch it believes in, [`LeaderEpoch::NONE`] if it did not say.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record it has, [`LeaderEpoch::NONE`] if it did not say.
    pub last_fetched_epoch: LeaderEpoch,
    /// From where.
    pub offset: Offset,
    /// Only a leader may answer: followers, and consumers before v11.
    pub leader_only: bool,
}

/// How to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchPlan {
    /// Read from the batch that holds the offset, to below `limit`; nothing if the offset is at or above it.
    Read {
        /// The reader's end.
        limit: Offset,
        /// Which end that is.
        kind: ReadLimit,
        /// What to tell him.
        high_watermark: Offset,
        /// What to tell him.
        log_start_offset: Offset,
    },
    /// The logs part: tell him where, at once, and give no records.
    Diverging {
        /// Where.
        diverging: Diverging,
        /// What to tell him.
        high_watermark: Offset,
        /// What to tell him.
        log_start_offset: Offset,
    },
}

/// What a ListOffsets asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListOffsets {
    /// -1: the reader's end.
    Latest,
    /// -2 and -4: the log start.
    Earliest,
    /// -3: the first record with the largest timestamp.
    MaxTimestamp,
    /// The first record with at least this timestamp.
    AtTimestamp(Timestamp),
    /// -5 and -6: there is no tiered storage.
    Tiered,
}

/// An answer to ListOffsets. [`OffsetAnswer::NONE`]: there is no such record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// Which offset.
    pub offset: Offset,
    /// The record's timestamp, [`Timestamp::NONE`] for ends.
    pub timestamp: Timestamp,
    /// The epoch of the record, of an end the current one.
    pub leader_epoch: LeaderEpoch,
}

impl OffsetAnswer {
    /// No such record.
    pub const NONE: Self = Self { offset: Offset::NONE, timestamp: Timestamp::NONE, leader_epoch: LeaderEpoch::NONE };
}

/// How to answer a ListOffsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListOffsetsPlan {
    /// With this.
    Answer(OffsetAnswer),
    /// Look it up in the log, then ask [`ListOffsetsPlan::found`].
    LookUp {
        /// Records at or above do not exist for the reader.
        limit: Offset,
        /// The high watermark has not reached the start of the leader's epoch: what is not found below `limit` may
        /// be there all the same (KIP-207).
        uncertain: bool,
    },
}

impl ListOffsetsPlan {
    /// The answer for what the log's look-up found.
    ///
    /// # Errors
    /// OFFSET_NOT_AVAILABLE.
    pub fn found(self, found: Option<OffsetAnswer>) -> Result<OffsetAnswer, ErrorCode> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::LookUp { limit, uncertain } => match found {
                Some(found) if found.offset < limit => Ok(found),
                Some(_) if uncertain => Err(ErrorCode::OffsetNotAvailable),
                _ => Ok(OffsetAnswer::NONE),
            },
        }
    }
}

impl Partition {
    /// How to answer a fetch. `arrives`: this is the request's first read, so a follower's registration is judged too.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, OFFSET_OUT_OF_RANGE.
    pub fn plan_fetch(&self, from: &FetchFrom, arrives: bool) -> Result<FetchPlan, ErrorCode> {
        let replica = &self.replica;
        self.check_epoch(from.current_leader_epoch).inspect_err(|error| match error {
            ErrorCode::FencedLeaderEpoch => probe::sometimes!("fetch_fenced_leader_epoch"),
            _ => probe::sometimes!("fetch_unknown_leader_epoch"),
        })?;
        match &self.role {
            RoleState::Leader(leader) if leader.is_serving() => {}
            RoleState::Follower(_) if !from.leader_only => {}
            _ => return Err(ErrorCode::NotLeaderOrFollower),
        }
        let is_follower = !from.replica.is_none();
        if is_follower {
            if !replica.replicas.contains(&from.replica) || from.replica == replica.id {
                return Err(if from.current_leader_epoch.is_none() {
                    ErrorCode::NotLeaderOrFollower
                } else {
                    ErrorCode::UnknownLeaderEpoch
                });
            }
            if arrives && replica.is_stale(from.replica, from.broker_epoch) {
                probe::sometimes!("fetch_stale_broker_epoch");
                return Err(ErrorCode::NotLeaderOrFollower);
            }
        }
        if !from.last_fetched_epoch.is_none() {
            let Some((epoch, end)) = replica.epochs.end_offset_for(from.last_fetched_epoch, replica.log_end_offset)
            else {
                return Err(ErrorCode::OffsetOutOfRange);
            };
            if from.offset < replica.log_start_offset {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            if epoch < from.last_fetched_epoch || end < from.offset {
                probe::sometimes!("diverging_epoch_answered");
                return Ok(FetchPlan::Diverging {
                    diverging: Diverging { epoch, end },
                    high_watermark: replica.high_watermark,
                    log_start_offset: replica.log_start_offset,
                });
            }
        }
        if from.offset < replica.log_start_offset || from.offset > replica.log_end_offset {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let (limit, kind) = if is_follower {
            (replica.log_end_offset, ReadLimit::LogEnd)
        } else {
            (replica.high_watermark, ReadLimit::HighWatermark)
        };
        Ok(FetchPlan::Read {
            limit,
            kind,
            high_watermark: replica.high_watermark,
            log_start_offset: replica.log_start_offset,
        })
    }

    /// How to answer a ListOffsets. `limit` is the end that the asker sees; `leader_only` unless any replica will do
    /// (replica id -2, for debugging).
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, OFFSET_NOT_AVAILABLE.
    pub fn plan_list_offsets(
        &self,
        current_leader_epoch: LeaderEpoch,
        limit: ReadLimit,
        leader_only: bool,
        what: ListOffsets,
    ) -> Result<ListOffsetsPlan, ErrorCode> {
        let replica = &self.replica;
        self.check_epoch(current_leader_epoch)?;
        let epoch_start = match &self.role {
            RoleState::Leader(leader) if leader.is_serving() => leader.epoch_start(),
            RoleState::Follower(_) if !leader_only => Offset::NONE,
            _ => return Err(ErrorCode::NotLeaderOrFollower),
        };
        let (end, is_consumer) = match limit {
            ReadLimit::LogEnd => (replica.log_end_offset, false),
            ReadLimit::HighWatermark => (replica.high_watermark, true),
        };
        let uncertain = is_consumer && epoch_start > replica.high_watermark;
        let end_answer = |offset, leader_epoch| {
            ListOffsetsPlan::Answer(OffsetAnswer { offset, timestamp: Timestamp::NONE, leader_epoch })
        };
        Ok(match what {
            // KIP-207; without this a new leader tells its own high watermark, which may lag behind what clients have seen.
            ListOffsets::Latest if uncertain && !probe::planted!(latest_goes_back) => {
                return Err(ErrorCode::OffsetNotAvailable);
            }
            ListOffsets::Latest => end_answer(end, replica.leader_epoch),
            ListOffsets::Earliest => end_answer(replica.log_start_offset, replica.earliest_epoch()),
            ListOffsets::Tiered => ListOffsetsPlan::Answer(OffsetAnswer::NONE),
            ListOffsets::MaxTimestamp | ListOffsets::AtTimestamp(_) => {
                ListOffsetsPlan::LookUp { limit: end, uncertain }
            }
        })
    }

    /// Where an epoch ends in this leader's log (OffsetForLeaderEpoch): the epoch it is answered for, and its end; both
    /// none if the epoch is above all known.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER.
    pub fn end_of_epoch(
        &self,
        current_leader_epoch: LeaderEpoch,
        epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), ErrorCode> {
        self.check_epoch(current_leader_epoch)?;
        match &self.role {
            RoleState::Leader(leader) if leader.is_serving() => Ok(self
                .replica
                .epochs
                .end_offset_for(epoch, self.replica.log_end_offset)
                .unwrap_or((LeaderEpoch::NONE, Offset::NONE))),
            _ => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn check_epoch(&self, asked: LeaderEpoch) -> Result<(), ErrorCode> {
        let known = self.replica.leader_epoch;
        if asked.is_none() || asked == known {
            Ok(())
        } else if asked < known {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }
}

impl Replica {
    /// A fetch of an incarnation that has been replaced (KIP-903).
    fn is_stale(&self, id: NodeId, epoch: BrokerEpoch) -> bool {
        !epoch.is_none() && self.brokers.get(&id).is_some_and(|broker| epoch < broker.epoch)
    }

    fn earliest_epoch(&self) -> LeaderEpoch {
        match self.epochs.earliest() {
            Some(first) if first.start <= self.log_start_offset => first.epoch,
            _ => LeaderEpoch::NONE,
        }
    }
}
