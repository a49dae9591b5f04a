//! One replica of one partition: who leads it, who is in sync, what is committed.
//!
//! [`Partition`] receives an [`Event`], decides, and lists [`Effect`]s, which a driver carries out in order. The roles:
//!
//! | from | event | to |
//! |---|---|---|
//! | any | metadata names this node leader | `Leader`; serves once its log is idle and the epoch's start is durable |
//! | any | metadata names another leader, or none | `Follower`; copies once its log is idle |
//! | any | deleted, or the log failed | `Offline`, for good |
//!
//! *Two ends*: `next_offset` moves when an append is assigned, `log_end_offset` when it has completed. Only the latter is
//! ever shown to anybody. A log is *idle* when both are equal and no truncation is under way.
//!
//! Deliberately absent: the last stable offset (it is the high watermark until there are transactions), eligible leader
//! replicas (KIP-966).

mod effect;
mod event;
mod follower;
mod leader;
mod low_watermark;
mod offline;
mod read;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;

use log::LeaderEpochCache;
use protocol::{ErrorCode, LeaderEpoch, Monotonic, NodeId, Now, Offset, PartitionEpoch};

pub use effect::{AlterPartition, Effect, Effects, FetchPosition, Fired, Role, View};
pub use event::{
    AlterAnswer, BatchFacts, BrokerState, Brokers, Diverging, Event, Fetched, FollowerFetch, LogFacts, PartitionConfig,
    PartitionState, Token, WatchKind,
};
pub use read::{FetchFrom, FetchPlan, ListOffsets, ListOffsetsPlan, OffsetAnswer, ReadLimit};

use follower::Follower;
use leader::Leader;
use watch::Watches;

/// One replica of one partition.
#[derive(Clone, Debug)]
pub struct Partition {
    replica: Replica,
    role: RoleState,
}

/// What a replica is in every role.
#[derive(Clone, Debug)]
struct Replica {
    id: NodeId,
    config: PartitionConfig,
    brokers: Arc<Brokers>,

    /// Invariant: `log_start_offset <= high_watermark <= log_end_offset <= next_offset`.
    log_start_offset: Offset,
    /// The end of what the log has completed.
    log_end_offset: Offset,
    /// Where the next append goes.
    next_offset: Offset,
    /// A truncation was issued and has not completed.
    truncating: bool,
    /// First offset not known to be committed. A leader's never goes down within its epoch; a follower takes its
    /// leader's, bounded by its own log, and may step back.
    high_watermark: Offset,
    /// The leader epochs of the assigned log. Its copy in the log is made durable by the log.
    epochs: LeaderEpochCache,

    /// What the controller committed last.
    leader: NodeId,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    replicas: Vec<NodeId>,
    isr: Arc<[NodeId]>,

    /// Appends that were issued and have not completed, in order.
    appends: VecDeque<PendingAppend>,
    /// Repeats of them. Invariant: each waits for an offset above `log_end_offset`.
    repeats: Vec<PendingAppend>,
    watches: Watches,
}

#[derive(Clone, Debug)]
enum RoleState {
    Leader(Leader),
    Follower(Follower),
    Offline,
}

#[derive(Clone, Copy, Debug)]
struct PendingAppend {
    token: Token,
    acks: i16,
    /// The offset after its last record.
    next: Offset,
}

impl Partition {
    /// A replica of the node `id` with an opened log. It does nothing until metadata gives it a role.
    pub fn new(id: NodeId, config: PartitionConfig, brokers: Arc<Brokers>, log: LogFacts) -> Self {
        assert!(log.log_start_offset <= log.log_end_offset, "a log ends before its start: {log:?}");
        Self {
            replica: Replica {
                id,
                config,
                brokers,
                log_start_offset: log.log_start_offset,
                log_end_offset: log.log_end_offset,
                next_offset: log.log_end_offset,
                truncating: false,
                high_watermark: log.high_watermark.clamp(log.log_start_offset, log.log_end_offset),
                epochs: log.epochs,
                leader: NodeId::NONE,
                leader_epoch: LeaderEpoch::NONE,
                partition_epoch: PartitionEpoch::NONE,
                replicas: Vec::new(),
                isr: Arc::new([]),
                appends: VecDeque::new(),
                repeats: Vec::new(),
                watches: Watches::default(),
            },
            role: RoleState::Offline,
        }
    }

    /// Takes one event. Total; the effects are to be carried out in order.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Effects) {
        let replica = &mut self.replica;
        match event {
            Event::Metadata(state) => self.metadata(now, state, out),
            Event::Brokers(brokers) => {
                replica.brokers = brokers;
                if let RoleState::Leader(leader) = &self.role {
                    leader.low_watermark_moved(replica, out);
                }
            }
            Event::Configured(config) => replica.config = config,
            Event::Produce { token, acks, records } => match &mut self.role {
                RoleState::Leader(leader) => leader.produce(replica, token, acks, records, out),
                _ => out.push(Effect::Refuse { token, error: ErrorCode::NotLeaderOrFollower }),
            },
            Event::DeleteRecords { token, before } => match &self.role {
                RoleState::Leader(leader) => leader.delete_records(replica, token, before, out),
                _ => out.push(Effect::Refuse { token, error: ErrorCode::NotLeaderOrFollower }),
            },
            Event::Repeat { token, acks, next } => match &mut self.role {
                RoleState::Leader(leader) => leader.repeat(replica, PendingAppend { token, acks, next }, out),
                _ => out.push(Effect::Refuse { token, error: ErrorCode::NotLeaderOrFollower }),
            },
            Event::Appended { end } => self.appended(now, end, out),
            Event::AppendFailed { from } => self.append_failed(now, from, out),
            Event::EpochAssigned { epoch } => {
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.epoch_assigned(replica, now, epoch, out);
                }
            }
            Event::Truncated { end } => self.truncated(now, end, out),
            Event::LogStart { offset } => {
                replica.raise_log_start(offset);
                if let RoleState::Leader(leader) = &self.role {
                    leader.low_watermark_moved(replica, out);
                }
            }
            Event::LogFailed => self.go_offline(Fired::Storage, out),
            Event::Deleted => self.go_offline(Fired::Deleted, out),
            Event::FollowerFetch(fetch) => {
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.follower_fetch(replica, now, fetch, out);
                }
            }
            Event::StillFetched { replica: id, broker_epoch, at } => {
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.still_fetched(replica, id, broker_epoch, at);
                }
            }
            Event::Altered { leader_epoch, partition_epoch, answer } => {
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.altered(replica, now, (leader_epoch, partition_epoch), answer, out);
                }
            }
            Event::Fetched(fetched) => {
                if let RoleState::Follower(follower) = &mut self.role {
                    follower.fetched(replica, fetched, out);
                }
            }
            Event::LeaderRange { leader_epoch, start, end } => {
                if let RoleState::Follower(follower) = &mut self.role {
                    follower.leader_range(replica, leader_epoch, start, end, out);
                }
            }
            Event::Watch { token, kind, offset } => self.watch(token, kind, offset, out),
            Event::Unwatch { token } => replica.watches.remove(token),
            Event::Tick => {
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.tick(replica, now, out);
                }
            }
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Monotonic> {
        match &self.role {
            RoleState::Leader(leader) => leader.deadline(),
            _ => None,
        }
    }

    /// What it shows.
    pub fn view(&self) -> View {
        let replica = &self.replica;
        let mut view = View {
            role: Role::Offline,
            serving: false,
            leader: replica.leader,
            leader_epoch: replica.leader_epoch,
            partition_epoch: replica.partition_epoch,
            log_start_offset: replica.log_start_offset,
            log_end_offset: replica.log_end_offset,
            next_offset: replica.next_offset,
            high_watermark: replica.high_watermark,
            epoch_start: Offset::NONE,
            isr: Arc::clone(&replica.isr),
            maximal_isr: Arc::clone(&replica.isr),
            min_isr: replica.min_isr(),
            fetch: None,
        };
        match &self.role {
            RoleState::Leader(leader) => {
                view.role = Role::Leader;
                view.serving = leader.is_serving();
                view.epoch_start = leader.epoch_start();
                view.maximal_isr = leader.maximal_isr();
            }
            RoleState::Follower(follower) => {
                view.role = Role::Follower;
                view.fetch = follower.position(replica);
            }
            RoleState::Offline => {}
        }
        view
    }

    /// Whether all invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_invariants(&self) {
        let replica = &self.replica;
        assert!(replica.log_start_offset <= replica.high_watermark, "high watermark below the log start: {replica:?}");
        assert!(replica.high_watermark <= replica.log_end_offset, "high watermark above the log end: {replica:?}");
        assert!(replica.log_end_offset <= replica.next_offset, "completed more than was assigned: {replica:?}");
        let mut end = replica.log_end_offset;
        for append in &replica.appends {
            assert!(end < append.next, "appends out of order: {replica:?}");
            end = append.next;
        }
        assert_eq!(end, replica.next_offset, "pending appends do not lead from the end to the next offset");
        for repeat in &replica.repeats {
            assert!(repeat.next > replica.log_end_offset, "a repeat waits for what is there: {replica:?}");
        }
        replica.watches.check_invariants();
        if let RoleState::Leader(leader) = &self.role {
            leader.check_invariants(replica);
        }
    }

    fn metadata(&mut self, now: Now, state: PartitionState, out: &mut Effects) {
        if state.partition_epoch < self.replica.partition_epoch || state.leader_epoch < self.replica.leader_epoch {
            return;
        }
        if offline::is_for_good(&self.role, &self.replica) {
            return;
        }
        let new_epoch = state.leader_epoch > self.replica.leader_epoch;
        let newer_state = state.partition_epoch > self.replica.partition_epoch;
        let replica = &mut self.replica;
        replica.leader = state.leader;
        replica.leader_epoch = state.leader_epoch;
        replica.partition_epoch = state.partition_epoch;
        replica.replicas = state.replicas;
        replica.isr = state.isr.into();
        if replica.leader == replica.id {
            match &mut self.role {
                RoleState::Leader(leader) if !new_epoch => leader.same_epoch(replica, now, newer_state, out),
                role => {
                    replica.fire_readers(Fired::Changed, out);
                    let before = match std::mem::replace(role, RoleState::Offline) {
                        RoleState::Leader(leader) => Some(leader),
                        _ => None,
                    };
                    *role = RoleState::Leader(Leader::new(replica, now, before, out));
                }
            }
        } else {
            match &self.role {
                RoleState::Follower(_) if !new_epoch => {}
                _ => {
                    replica.fire_producers(Fired::NotLeader, out);
                    replica.fire_readers(Fired::Changed, out);
                    self.role = RoleState::Follower(Follower::new(replica, out));
                }
            }
        }
    }

    fn appended(&mut self, now: Now, end: Offset, out: &mut Effects) {
        let replica = &mut self.replica;
        if end <= replica.log_end_offset {
            return;
        }
        assert!(end <= replica.next_offset, "the log completed {end}, assigned was {}", replica.next_offset);
        replica.log_end_offset = end;
        while replica.appends.front().is_some_and(|append| append.next <= end) {
            let append = replica.appends.pop_front().expect("there is a first one");
            replica.acknowledge(append, out);
        }
        for repeat in replica.repeats.extract_if(.., |repeat| repeat.next <= end).collect::<Vec<_>>() {
            replica.acknowledge(repeat, out);
        }
        replica.fire_reached(WatchKind::LogEnd, end, out);
        self.log_moved(now, out);
    }

    fn append_failed(&mut self, now: Now, from: Offset, out: &mut Effects) {
        let replica = &mut self.replica;
        let kept = replica.appends.partition_point(|append| append.next <= from);
        let gone = replica.appends.split_off(kept);
        let repeats: Vec<_> = replica.repeats.extract_if(.., |repeat| repeat.next > from).collect();
        for append in gone.into_iter().chain(repeats) {
            if append.token != Token::NONE {
                out.push(Effect::Fire { token: append.token, why: Fired::Storage });
            }
        }
        replica.next_offset = replica.next_offset.min(from);
        assert!(
            replica.next_offset >= replica.log_end_offset,
            "an append at {from} failed, but the log ends at {}",
            replica.log_end_offset
        );
        if let RoleState::Follower(_) = &self.role {
            replica.epochs.truncate_from_end(replica.next_offset);
        }
        self.log_moved(now, out);
    }

    fn truncated(&mut self, now: Now, end: Offset, out: &mut Effects) {
        let replica = &mut self.replica;
        assert!(replica.truncating, "a truncation to {end} that was not asked for");
        assert!(end <= replica.log_end_offset, "cut to {}, ends at {end}", replica.log_end_offset);
        replica.truncating = false;
        if end < replica.log_end_offset {
            replica.set_end(end);
        }
        self.log_moved(now, out);
    }

    /// The log completed something: whoever waited for it to be idle, or for its end, goes on.
    fn log_moved(&mut self, now: Now, out: &mut Effects) {
        match &mut self.role {
            RoleState::Leader(leader) => leader.log_moved(&mut self.replica, now, out),
            RoleState::Follower(follower) => follower.log_moved(&mut self.replica, out),
            RoleState::Offline => {}
        }
    }

    fn watch(&mut self, token: Token, kind: WatchKind, offset: Offset, out: &mut Effects) {
        let replica = &mut self.replica;
        let reached = match kind {
            WatchKind::LogEnd => replica.log_end_offset,
            WatchKind::HighWatermark | WatchKind::Replicated => replica.high_watermark,
            // Placed by the event that deletes, nowhere else.
            WatchKind::LowWatermark => return out.push(Effect::Fire { token, why: Fired::Changed }),
        };
        match &self.role {
            RoleState::Offline => out.push(Effect::Fire { token, why: Fired::Changed }),
            _ if offset <= reached => out.push(Effect::Fire { token, why: Fired::Reached }),
            _ => replica.watches.add(token, kind, offset),
        }
    }

    fn go_offline(&mut self, why: Fired, out: &mut Effects) {
        self.role = RoleState::Offline;
        self.replica.fire_producers(why, out);
        self.replica.fire_readers(why, out);
    }
}

impl Replica {
    fn is_idle(&self) -> bool {
        self.next_offset == self.log_end_offset && !self.truncating
    }

    /// min(`min.insync.replicas`, replicas).
    fn min_isr(&self) -> usize {
        self.config.min_insync_replicas.min(self.replicas.len())
    }

    /// Fires fetches and deletions that wait for `kind` to reach an offset of at most `reached`.
    fn fire_reached(&mut self, kind: WatchKind, reached: Offset, out: &mut Effects) {
        for token in self.watches.take_reached(kind, reached) {
            out.push(Effect::Fire { token, why: Fired::Reached });
        }
    }

    /// What a producer sent is in the log: he hears it now, or when it is replicated.
    fn acknowledge(&mut self, append: PendingAppend, out: &mut Effects) {
        if append.token == Token::NONE {
            return;
        }
        if append.acks == -1 {
            self.watches.add(append.token, WatchKind::Replicated, append.next);
        } else {
            out.push(Effect::Fire { token: append.token, why: Fired::Reached });
        }
    }

    /// Ends all produces: those whose append has not completed, and those that wait for replication. Deletions too.
    fn fire_producers(&mut self, why: Fired, out: &mut Effects) {
        for append in &mut self.appends {
            let token = std::mem::replace(&mut append.token, Token::NONE);
            if token != Token::NONE {
                out.push(Effect::Fire { token, why });
            }
        }
        for repeat in self.repeats.drain(..) {
            out.push(Effect::Fire { token: repeat.token, why });
        }
        for token in self.watches.take_kind(WatchKind::Replicated) {
            if why == Fired::NotLeader {
                probe::sometimes!("produce_lost_leadership");
            }
            out.push(Effect::Fire { token, why });
        }
        for token in self.watches.take_kind(WatchKind::LowWatermark) {
            out.push(Effect::Fire { token, why });
        }
    }

    /// Ends the waits of all fetches.
    fn fire_readers(&mut self, why: Fired, out: &mut Effects) {
        for kind in [WatchKind::HighWatermark, WatchKind::LogEnd] {
            for token in self.watches.take_kind(kind) {
                out.push(Effect::Fire { token, why });
            }
        }
    }

    /// Cuts the log so that it ends at `to`; below its start it begins anew there.
    fn truncate(&mut self, to: Offset, out: &mut Effects) {
        assert!(self.is_idle(), "truncation to {to} of a busy log");
        assert!(to <= self.log_end_offset, "truncation to {to} of a log that ends at {}", self.log_end_offset);
        if to < self.log_start_offset {
            self.restart(to, out);
            return;
        }
        probe::sometimes!("follower_truncated");
        let from = self.log_end_offset;
        self.truncating = true;
        self.set_end(to);
        out.push(Effect::Truncate { to });
        if to < from {
            // Who reads beyond the new end must read anew (OFFSET_OUT_OF_RANGE).
            for kind in [WatchKind::HighWatermark, WatchKind::LogEnd] {
                for token in self.watches.take_above(kind, to) {
                    out.push(Effect::Fire { token, why: Fired::Changed });
                }
            }
        }
    }

    /// Drops everything; the log is empty at `at`.
    fn restart(&mut self, at: Offset, out: &mut Effects) {
        assert!(self.is_idle(), "a new start of a busy log at {at}");
        probe::sometimes!("follower_restarted");
        self.truncating = true;
        self.log_start_offset = at;
        self.log_end_offset = at;
        self.next_offset = at;
        self.high_watermark = at;
        self.epochs.clear();
        out.push(Effect::Restart { at });
        self.fire_readers(Fired::Changed, out);
    }

    /// The log ends at `end`, lower than it did.
    fn set_end(&mut self, end: Offset) {
        self.log_end_offset = end;
        self.next_offset = end;
        self.high_watermark = self.high_watermark.min(end);
        self.log_start_offset = self.log_start_offset.min(end);
        self.epochs.truncate_from_end(end);
    }

    fn raise_log_start(&mut self, offset: Offset) {
        if offset > self.log_start_offset {
            assert!(offset <= self.high_watermark, "log start {offset} above {}", self.high_watermark);
            self.log_start_offset = offset;
            self.epochs.truncate_from_start(offset);
        }
    }
}
