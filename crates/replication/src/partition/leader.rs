//! The role that serves: it assigns offsets, knows how far every follower is, and with the controller decides who is in
//! sync (KIP-497).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, Monotonic, NodeId, Now, Offset, PartitionEpoch};

use super::event::{AlterAnswer, FollowerFetch, Token, WatchKind};
use super::{AlterPartition, Effect, Effects, Fired, PendingAppend, Replica};

/// How long a change of the ISR rests after an answer that said nothing.
const ALTER_RETRY: Duration = Duration::from_millis(50);

/// The role of a leader, in one leader epoch.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    start: Start,
    /// Every replica but this one.
    pub(super) followers: BTreeMap<NodeId, FollowerState>,
    /// The change of the ISR that was asked for. Invariant: its outcome is never assumed.
    pending: Option<PendingIsr>,
    /// The committed ISR and who is on his way in. Invariant: a superset of the committed ISR.
    maximal_isr: Arc<[NodeId]>,
    next_isr_check: Monotonic,
}

/// How far the epoch's beginning is. Served is only in the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// Appends or a truncation of the role before must complete.
    AwaitLog,
    /// (epoch, start) must become durable.
    AwaitEpoch(Offset),
    Serving(Offset),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FollowerState {
    /// `None` until it has fetched from this leadership; that holds the high watermark back.
    pub(super) log_end_offset: Option<Offset>,
    /// `None` until it has fetched; that holds the low watermark back.
    pub(super) log_start_offset: Option<Offset>,
    broker_epoch: Option<BrokerEpoch>,
    /// The last time it had all that the leader had; `None` is never.
    pub(super) caught_up: Option<Monotonic>,
    /// Its last fetch, and the leader's end then.
    last_fetch: Option<(Monotonic, Offset)>,
}

#[derive(Clone, Debug)]
struct PendingIsr {
    /// Who is to come in; `None` if members are to leave.
    joining: Option<NodeId>,
    request: AlterPartition,
    /// When to ask again, after an answer that said nothing.
    retry_at: Option<Monotonic>,
}

impl Leader {
    /// Begins to lead in a new epoch; `before` is the same node's leadership of an older one.
    pub(super) fn new(replica: &mut Replica, now: Now, before: Option<Self>, out: &mut Effects) -> Self {
        let mut followers = before.map(|leader| leader.followers).unwrap_or_default();
        follow_assignment(replica, &mut followers);
        for (id, follower) in &mut followers {
            follower.caught_up = replica.isr.contains(id).then_some(now.mono);
        }
        let mut leader = Self {
            start: Start::AwaitLog,
            followers,
            pending: None,
            maximal_isr: Arc::clone(&replica.isr),
            next_isr_check: now.mono + replica.config.lag_time_max / 2,
        };
        leader.log_moved(replica, now, out);
        leader
    }

    pub(super) const fn is_serving(&self) -> bool {
        matches!(self.start, Start::Serving(_))
    }

    /// Where the epoch begins; [`Offset::NONE`] while that is not known.
    pub(super) const fn epoch_start(&self) -> Offset {
        match self.start {
            Start::AwaitLog => Offset::NONE,
            Start::AwaitEpoch(start) | Start::Serving(start) => start,
        }
    }

    pub(super) fn maximal_isr(&self) -> Arc<[NodeId]> {
        Arc::clone(&self.maximal_isr)
    }

    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let check = (!self.followers.is_empty()).then_some(self.next_isr_check);
        let retry = self.pending.as_ref().and_then(|pending| pending.retry_at);
        match (check, retry) {
            (Some(check), Some(retry)) => Some(check.min(retry)),
            (check, retry) => check.or(retry),
        }
    }

    pub(super) fn tick(&mut self, replica: &mut Replica, now: Now, out: &mut Effects) {
        if let Some(pending) = &mut self.pending
            && pending.retry_at.is_some_and(|at| at <= now.mono)
        {
            pending.retry_at = None;
            out.push(Effect::AlterPartition(pending.request.clone()));
        }
        if self.next_isr_check <= now.mono {
            self.next_isr_check = now.mono + replica.config.lag_time_max / 2;
            self.maybe_shrink(replica, now, out);
        }
    }

    /// New state of the same leader epoch. `newer` unless it is the one known.
    pub(super) fn same_epoch(&mut self, replica: &mut Replica, now: Now, newer: bool, out: &mut Effects) {
        follow_assignment(replica, &mut self.followers);
        self.low_watermark_moved(replica, out);
        if newer {
            self.pending = None;
        }
        // The state known, once more (the answer to AlterPartition came first): a change asked for since then may still
        // be committed, so it stays in flight. Kafka forgets it here.
        self.isr_changed(replica);
        self.maybe_increment_high_watermark(replica, now, out);
    }

    /// Why a producer's batch is not taken now.
    fn refusal(&self, replica: &Replica, acks: i16) -> Option<ErrorCode> {
        if !self.is_serving() {
            return Some(ErrorCode::NotLeaderOrFollower);
        }
        (acks == -1 && replica.isr.len() < replica.min_isr()).then_some(ErrorCode::NotEnoughReplicas)
    }

    pub(super) fn produce(&mut self, replica: &mut Replica, token: Token, acks: i16, records: u32, out: &mut Effects) {
        assert!(records > 0, "a batch without records was validated");
        if let Some(error) = self.refusal(replica, acks) {
            out.push(Effect::Refuse { token, error });
            return;
        }
        let base = replica.next_offset;
        let next = base.plus(i64::from(records));
        replica.next_offset = next;
        replica.appends.push_back(PendingAppend { token, acks, next });
        out.push(Effect::Append { token, base, next, stamp: Some(replica.leader_epoch), batches: 1 });
    }

    pub(super) fn repeat(&mut self, replica: &mut Replica, append: PendingAppend, out: &mut Effects) {
        assert!(append.next <= replica.next_offset, "a repeat of what was never appended: {append:?}");
        let PendingAppend { token, acks, next } = append;
        if let Some(error) = self.refusal(replica, acks) {
            out.push(Effect::Refuse { token, error });
        } else if next > replica.log_end_offset {
            probe::sometimes!("produce_repeats_in_flight");
            replica.repeats.push(append);
        } else if acks == -1 && next <= replica.high_watermark {
            probe::sometimes!("produce_repeats_committed");
            out.push(Effect::Fire { token, why: Fired::Reached });
        } else {
            replica.acknowledge(append, out);
        }
    }

    /// An append or a truncation completed.
    pub(super) fn log_moved(&mut self, replica: &mut Replica, now: Now, out: &mut Effects) {
        match self.start {
            Start::AwaitLog if replica.is_idle() => {
                let start = replica.log_end_offset;
                self.start = Start::AwaitEpoch(start);
                replica.epochs.assign(replica.leader_epoch, start);
                out.push(Effect::AssignEpoch { epoch: replica.leader_epoch, start });
            }
            Start::AwaitLog | Start::AwaitEpoch(_) => {}
            Start::Serving(_) => self.maybe_increment_high_watermark(replica, now, out),
        }
    }

    pub(super) fn epoch_assigned(&mut self, replica: &mut Replica, now: Now, epoch: LeaderEpoch, out: &mut Effects) {
        if let Start::AwaitEpoch(start) = self.start
            && epoch == replica.leader_epoch
        {
            self.start = Start::Serving(start);
            self.maybe_increment_high_watermark(replica, now, out);
        }
    }

    pub(super) fn follower_fetch(&mut self, replica: &mut Replica, now: Now, fetch: FollowerFetch, out: &mut Effects) {
        if !self.is_serving() {
            return;
        }
        let leader_end = replica.log_end_offset;
        let Some(follower) = self.followers.get_mut(&fetch.replica) else { return };
        if fetch.offset >= leader_end {
            follower.caught_up = follower.caught_up.max(Some(now.mono));
        } else if let Some((at, end_then)) = follower.last_fetch
            && fetch.offset >= end_then
        {
            follower.caught_up = follower.caught_up.max(Some(at));
        }
        follower.last_fetch = Some((now.mono, leader_end));
        follower.broker_epoch = Some(fetch.broker_epoch);
        follower.log_start_offset = Some(fetch.log_start_offset);
        let moved = follower.log_end_offset.replace(fetch.offset) != Some(fetch.offset);
        self.maybe_expand(replica, fetch.replica, out);
        if moved {
            self.maybe_increment_high_watermark(replica, now, out);
        }
        self.low_watermark_moved(replica, out);
    }

    /// A fetch that changed nothing, told only now that something is about to change.
    pub(super) fn still_fetched(&mut self, replica: &Replica, id: NodeId, epoch: BrokerEpoch, at: Monotonic) {
        let end = replica.log_end_offset;
        if let Some(follower) = self.followers.get_mut(&id)
            && follower.log_end_offset == Some(end)
            && follower.broker_epoch == Some(epoch)
        {
            follower.caught_up = follower.caught_up.max(Some(at));
            follower.last_fetch = follower.last_fetch.max(Some((at, end)));
        }
    }

    pub(super) fn altered(
        &mut self,
        replica: &mut Replica,
        now: Now,
        asked: (LeaderEpoch, PartitionEpoch),
        answer: AlterAnswer,
        out: &mut Effects,
    ) {
        let Some(pending) = &mut self.pending else { return };
        if asked != (pending.request.leader_epoch, pending.request.partition_epoch) {
            return;
        }
        match answer {
            AlterAnswer::Committed { leader, leader_epoch, partition_epoch, isr } => {
                if leader != replica.id
                    || leader_epoch != replica.leader_epoch
                    || partition_epoch < replica.partition_epoch
                {
                    return;
                }
                probe::sometimes!("isr_changed");
                replica.partition_epoch = partition_epoch;
                replica.isr = isr.into();
                self.pending = None;
                self.isr_changed(replica);
                self.maybe_increment_high_watermark(replica, now, out);
            }
            AlterAnswer::NotDone => {
                probe::sometimes!("isr_change_refused");
                self.pending = None;
                self.isr_changed(replica);
                self.maybe_increment_high_watermark(replica, now, out);
            }
            AlterAnswer::Superseded => probe::sometimes!("isr_change_superseded"),
            AlterAnswer::Unknown => {
                probe::sometimes!("isr_change_unknown");
                pending.retry_at = Some(now.mono + ALTER_RETRY);
            }
        }
    }

    pub(super) fn check_invariants(&self, replica: &Replica) {
        for member in replica.isr.iter() {
            assert!(self.maximal_isr.contains(member), "{member} is in the ISR, not in the maximal one: {self:?}");
        }
        assert!(!self.followers.contains_key(&replica.id), "a leader follows itself: {self:?}");
        if let Some(pending) = &self.pending {
            assert_eq!(pending.request.leader_epoch, replica.leader_epoch, "a change asked for in an older epoch");
            assert!(pending.request.partition_epoch <= replica.partition_epoch);
        }
        if self.is_serving() {
            assert_eq!(
                replica.epochs.latest_epoch(),
                replica.leader_epoch,
                "a leader serves in an epoch that its log does not know"
            );
        }
    }

    /// In sync (KIP-16): it has all that the leader has, or had it less than `replica.lag.time.max.ms` ago.
    fn is_in_sync(follower: &FollowerState, replica: &Replica, now: Now) -> bool {
        follower.log_end_offset == Some(replica.log_end_offset)
            || follower.caught_up.is_some_and(|at| now.mono.since(at) <= replica.config.lag_time_max)
    }

    /// May be in the ISR (KIP-841, KIP-903): registered, unfenced, not shutting down, and the registration is the one
    /// that fetched.
    fn is_eligible(&self, replica: &Replica, id: NodeId) -> bool {
        let Some(broker) = replica.brokers.get(&id) else { return false };
        let seen = self.followers.get(&id).and_then(|follower| follower.broker_epoch);
        // A fenced broker may go on fetching, and must not come in.
        let may_lead = !broker.fenced && !broker.shutting_down || probe::planted!(fenced_joins_isr);
        may_lead && seen.is_some_and(|seen| seen.is_none() || seen == broker.epoch)
    }

    fn maybe_expand(&mut self, replica: &mut Replica, id: NodeId, out: &mut Effects) {
        if self.pending.is_some() || replica.isr.contains(&id) || !self.is_eligible(replica, id) {
            return;
        }
        // Not below the epoch's start: what is committed may lie above this leader's high watermark (KAFKA-7128).
        let has = self.followers[&id].log_end_offset;
        if has.is_none_or(|end| end < replica.high_watermark || end < self.epoch_start()) {
            return;
        }
        probe::sometimes!("isr_expansion_asked");
        let isr = replica.isr.iter().copied().chain([id]).collect();
        self.ask(replica, Some(id), isr, out);
    }

    fn maybe_shrink(&mut self, replica: &mut Replica, now: Now, out: &mut Effects) {
        if self.pending.is_some() || !self.is_serving() {
            return;
        }
        let stays = |id: &NodeId| {
            *id == replica.id || self.followers.get(id).is_some_and(|follower| Self::is_in_sync(follower, replica, now))
        };
        let isr: Vec<NodeId> = replica.isr.iter().copied().filter(|id| stays(id)).collect();
        if isr.len() < replica.isr.len() {
            probe::sometimes!("isr_shrink_asked");
            self.ask(replica, None, isr, out);
        }
    }

    fn ask(&mut self, replica: &mut Replica, joining: Option<NodeId>, isr: Vec<NodeId>, out: &mut Effects) {
        let with_epoch = |id: NodeId| {
            let seen = self.followers.get(&id).and_then(|follower| follower.broker_epoch);
            (id, seen.unwrap_or(BrokerEpoch::NONE))
        };
        let request = AlterPartition {
            leader_epoch: replica.leader_epoch,
            partition_epoch: replica.partition_epoch,
            isr: isr.into_iter().map(with_epoch).collect(),
        };
        self.pending = Some(PendingIsr { joining, request: request.clone(), retry_at: None });
        self.isr_changed(replica);
        out.push(Effect::AlterPartition(request));
    }

    /// Computes the maximal ISR anew.
    fn isr_changed(&mut self, replica: &Replica) {
        let joining = self.pending.as_ref().and_then(|pending| pending.joining);
        self.maximal_isr = match joining {
            Some(id) if !replica.isr.contains(&id) => replica.isr.iter().copied().chain([id]).collect(),
            _ => Arc::clone(&replica.isr),
        };
    }

    /// Raises the high watermark to what every replica has that may be elected: the maximal ISR (KIP-497), and those
    /// about to join it. Frozen while the committed ISR is too small.
    fn maybe_increment_high_watermark(&mut self, replica: &mut Replica, now: Now, out: &mut Effects) {
        if !self.is_serving() || replica.isr.len() < replica.min_isr() {
            return;
        }
        let mut offset = replica.log_end_offset;
        for (id, follower) in &self.followers {
            let counts = if probe::planted!(hw_uses_committed_isr) {
                // KIP-497: the controller may have committed the expansion already, and may elect the new member.
                replica.isr.contains(id)
            } else {
                self.maximal_isr.contains(id)
                    || (Self::is_in_sync(follower, replica, now) && self.is_eligible(replica, *id))
            };
            if counts {
                // Not heard of since this leadership began: nothing is known.
                let Some(end) = follower.log_end_offset else { return };
                offset = offset.min(end);
            }
        }
        if offset <= replica.high_watermark {
            return;
        }
        replica.high_watermark = offset;
        let enough = self.counted_isr(replica) >= replica.min_isr();
        if !enough {
            probe::sometimes!("produce_too_few_after_append");
        }
        for token in replica.watches.take_reached(WatchKind::Replicated, offset) {
            out.push(Effect::Fire { token, why: if enough { Fired::Reached } else { Fired::NotEnoughReplicas } });
        }
        replica.fire_reached(WatchKind::HighWatermark, offset, out);
    }

    /// The size of the ISR that acknowledgements are judged by.
    fn counted_isr(&self, replica: &Replica) -> usize {
        if probe::planted!(hw_uses_committed_isr) { replica.isr.len() } else { self.maximal_isr.len() }
    }
}

/// One state for each assigned replica but the own.
fn follow_assignment(replica: &Replica, followers: &mut BTreeMap<NodeId, FollowerState>) {
    followers.retain(|id, _| replica.replicas.contains(id));
    for id in &replica.replicas {
        if *id != replica.id {
            followers.entry(*id).or_default();
        }
    }
}
