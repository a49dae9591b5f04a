//! One partition of a shard: its machine, its log, and who waits for what.
//!
//! [`Hosted::run`] takes an event through the machine and carries out its effects in order; what the log has to say about
//! them goes back into the machine at once. After each step the difference of the machine's view is told to the world, so
//! that nothing is left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use protocol::batch::Batch;
use protocol::{
    Chunks, ErrorCode, LeaderEpoch, Monotonic, NodeId, Now, Offset, Timestamp, TopicIdPartition, TopicPartition,
};
use replication::{AlterPartition, Effect, Effects, Event, Fired, LogFacts, Partition, Role, Token, View, WatchKind};
use runtime::{Disk, EffectPoint, Env, Observation, Post, effect, observation};
use storage::{AppendError, Log, LogError, LogEvent, Ticket};

use super::Lifecycle;
use super::deletion::DeletionWait;
use super::message::{FetchReply, PartData, ProduceReply, RequestId, ShardMessage};
use super::offsets::Scan;
use super::retention::{Keeping, remove_files};
use super::standing::Standing;
use crate::config::Config;
use crate::lifecycle;
use crate::sessions::Sessions;
use crate::vitals::Traffic;

/// What a shard lends to its partitions.
pub(super) struct Context {
    pub env: Env,
    pub node: NodeId,
    pub config: Arc<Config>,
    pub lifecycle: Arc<dyn Lifecycle>,
    pub post: Post<ShardMessage>,
    /// The log directory's.
    pub disk: Disk,
    pub now: Now,
    pub next_token: u64,
    /// Scratch, empty between steps.
    pub effects: Effects,
    /// Partitions that were stepped since the shard last looked after them.
    pub touched: Vec<TopicIdPartition>,
    /// Watches that were renewed, for the shard's list of what each request watches.
    pub watches: Vec<(RequestId, TopicIdPartition, Token)>,
    /// Why the broker must stop.
    pub fatal: Option<String>,
    /// Who fetches again and again.
    pub sessions: Sessions,
    /// How often a leader of this shard lost a member of its ISR.
    pub isr_shrinks: u64,
    /// How often one gained a member.
    pub isr_expands: u64,
}

impl Context {
    pub(super) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}

/// Who waits for a token.
pub(super) enum Waiter {
    Produce(ProduceWait),
    Fetch(FetchWait),
    Deletion(DeletionWait),
}

pub(super) struct ProduceWait {
    pub part: usize,
    pub acks: i16,
    pub base: Offset,
    pub end: Offset,
    pub leader_epoch: LeaderEpoch,
    /// See [`ProduceReply::repeated`].
    pub repeated: Option<Timestamp>,
    pub reply: Post<ProduceReply>,
}

#[derive(Clone)]
pub(super) struct FetchWait {
    pub request: RequestId,
    pub part: usize,
    /// From where the request reads.
    pub offset: Offset,
    pub max_bytes: usize,
    pub min_bytes: usize,
    pub kind: WatchKind,
    pub reply: Post<FetchReply>,
}

/// A read from disk on its way to a fetch.
pub(super) struct ReadWait {
    pub data: PartData,
    /// Whether a consumer asked.
    pub consumer: bool,
    pub limit: Offset,
    pub max_bytes: usize,
    pub reply: Post<FetchReply>,
}

/// Batches on their way into the log.
pub(super) enum Incoming {
    /// Of a producer.
    Produced(Batch),
    /// Of the leader, perhaps with a part of one at the end.
    Copied(Chunks),
}

/// What a ticket of the log is for.
pub(super) enum Purpose {
    /// From this offset on.
    Append(Offset),
    Epoch(LeaderEpoch),
    Cut,
    Read(Box<ReadWait>),
    Scan(Box<Scan>),
    Close,
}

/// One partition.
pub(super) struct Hosted {
    pub id: TopicIdPartition,
    pub name: TopicPartition,
    /// Which opening of the partition: completions of an earlier one are not this log's.
    pub opening: u64,
    pub machine: Partition,
    pub log: Log,
    /// Invariant: `machine.view()` after the last step.
    pub view: View,
    pub keeping: Keeping,
    /// When `flush.ms` is over for what is not flushed.
    pub flush_at: Option<Monotonic>,
    pub waiters: BTreeMap<Token, Waiter>,
    pub tickets: BTreeMap<Ticket, Purpose>,
    /// Fetch sessions that wait here: they are told of changes.
    pub standing: Vec<Standing>,
    /// What the append that the machine is about to order appends.
    pub incoming: Option<Incoming>,
    /// Whether an append of the current step was refused by the log, and with what.
    pub append_error: Option<ErrorCode>,
    /// Effects that wait for a cut to be done.
    behind_cut: VecDeque<(Effect, Option<Incoming>)>,
    /// An epoch that the log could not take yet.
    unassigned: Option<LeaderEpoch>,
    events: VecDeque<Event>,
    /// When the shard's timer queue has this partition.
    pub timer: Option<Monotonic>,
    /// From whom it copies, as the fetchers know.
    pub following: Option<NodeId>,
    pub touched: bool,
    /// The answers of the leader make no sense in this epoch.
    pub mistrusted: bool,
    /// An append has failed, and the fetchers were not told yet.
    pub starved: bool,
    pub closed: bool,
    /// What passed through it.
    pub traffic: Traffic,
}

impl Hosted {
    pub(super) fn new(
        id: TopicIdPartition,
        name: TopicPartition,
        opening: u64,
        log: Log,
        keeping: Keeping,
        make: impl FnOnce(LogFacts) -> Partition,
        high_watermark: Offset,
    ) -> Self {
        let machine = make(LogFacts {
            log_start_offset: log.log_start_offset(),
            log_end_offset: log.log_end_offset(),
            high_watermark,
            epochs: log.epochs().clone(),
        });
        Self {
            id,
            name,
            opening,
            view: machine.view(),
            machine,
            log,
            keeping,
            flush_at: None,
            waiters: BTreeMap::new(),
            tickets: BTreeMap::new(),
            standing: Vec::new(),
            incoming: None,
            append_error: None,
            behind_cut: VecDeque::new(),
            unassigned: None,
            events: VecDeque::new(),
            timer: None,
            following: None,
            touched: false,
            mistrusted: false,
            starved: false,
            closed: false,
            traffic: Traffic::default(),
        }
    }

    /// Takes an event, and all that follows from it.
    pub(super) fn run(&mut self, ctx: &mut Context, event: Event) {
        self.events.push_back(event);
        self.settle(ctx);
    }

    /// Takes an event when what is under way is done.
    pub(super) fn later(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Takes what the log has to say.
    pub(super) fn settle(&mut self, ctx: &mut Context) {
        if !self.touched {
            self.touched = true;
            ctx.touched.push(self.id);
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                self.step(ctx, event);
            } else if let Some(event) = self.log.next_event() {
                self.log_event(ctx, event);
            } else {
                return;
            }
        }
    }

    fn step(&mut self, ctx: &mut Context, event: Event) {
        let mut effects = std::mem::take(&mut ctx.effects);
        if matches!(event, Event::Appended { .. }) {
            self.recall_fetches(ctx, &mut effects);
        }
        let of_brokers = matches!(event, Event::Brokers(_));
        self.machine.step(ctx.now, event, &mut effects);
        if ctx.env.observed() {
            self.machine.check_invariants();
        }
        let view = self.machine.view();
        if effects.iter().any(|effect| matches!(effect, Effect::Restart { .. })) {
            // All of it goes, whatever was durable. Told before the new ends are, which nothing in the old log explains.
            ctx.env.observe(Observation::Truncating { partition: self.name.clone(), to: Offset::ZERO });
        }
        if view != self.view {
            let before = std::mem::replace(&mut self.view, view);
            if before.leader_epoch != self.view.leader_epoch {
                self.mistrusted = false;
            } else if before.partition_epoch != self.view.partition_epoch && self.view.role == Role::Leader {
                ctx.isr_shrinks += u64::from(self.view.isr.len() < before.isr.len());
                ctx.isr_expands += u64::from(self.view.isr.len() > before.isr.len());
                if before.isr != self.view.isr {
                    let (partition, from, to) = (&self.name, Ids(&before.isr), Ids(&self.view.isr));
                    tracing::info!(%partition, %from, %to, "in-sync replicas changed");
                }
            }
            self.observe(ctx, &before);
            self.tell_sessions(ctx, &before);
        }
        if of_brokers {
            // Who was let in by an older registration must be judged again.
            self.standing.iter().for_each(|standing| ctx.sessions.changed(standing.place, false));
        }
        for effect in effects.drain(..) {
            let incoming = if matches!(effect, Effect::Append { .. }) { self.incoming.take() } else { None };
            self.carry_out(ctx, effect, incoming);
        }
        ctx.effects = effects;
    }

    fn carry_out(&mut self, ctx: &mut Context, effect: Effect, incoming: Option<Incoming>) {
        if matches!(effect, Effect::Append { .. }) && self.is_cutting() {
            self.behind_cut.push_back((effect, incoming));
            return;
        }
        let point = point(&effect);
        ctx.env.before(point);
        self.carry_out_now(ctx, effect, incoming);
        ctx.env.after(point);
    }

    fn carry_out_now(&mut self, ctx: &mut Context, effect: Effect, incoming: Option<Incoming>) {
        match effect {
            Effect::Append { base, next, stamp, .. } => {
                let assigned = match (incoming, stamp) {
                    (Some(Incoming::Produced(batch)), Some(epoch)) => {
                        self.log.append_as_leader(epoch, vec![batch], ctx.now.wall)
                    }
                    (Some(Incoming::Copied(bytes)), None) => {
                        self.log.append_as_follower(bytes, self.view.leader_epoch, ctx.now.wall)
                    }
                    _ => unreachable!("an append is ordered in the step that brought its batches"),
                };
                match assigned {
                    Ok(assigned) => {
                        assert_eq!(
                            (assigned.base, assigned.end),
                            (base, next),
                            "{}: log and machine disagree",
                            self.name
                        );
                        let ticket = assigned.ticket.expect("there was something to append");
                        self.tickets.insert(ticket, Purpose::Append(base));
                    }
                    Err(error) => {
                        tracing::warn!(partition = %self.name, %error, "append refused");
                        self.append_error = Some(append_error(&error));
                        self.events.push_back(Event::AppendFailed { from: base });
                    }
                }
            }
            Effect::Refuse { token, error } => self.answer_produce(token, error),
            Effect::AssignEpoch { epoch, .. } => {
                let ticket = self.log.assign_epoch(epoch);
                self.tickets.insert(ticket, Purpose::Epoch(epoch));
            }
            Effect::Truncate { to } => {
                ctx.env.observe(Observation::Truncating { partition: self.name.clone(), to });
                let ticket = self.log.truncate(to);
                self.tickets.insert(ticket, Purpose::Cut);
            }
            Effect::Restart { at } => {
                let ticket = self.log.reset(at);
                self.tickets.insert(ticket, Purpose::Cut);
            }
            Effect::RaiseLogStart { to } => self.log.raise_log_start(to),
            Effect::AlterPartition(change) => self.alter_partition(ctx, change),
            Effect::Fire { token, why } => self.fire(ctx, token, why),
            Effect::Mistrust { why } => {
                tracing::error!(partition = %self.name, why, "the leader's answer makes no sense");
                self.mistrusted = true;
            }
        }
    }

    pub(super) fn is_cutting(&self) -> bool {
        self.tickets.values().any(|purpose| matches!(purpose, Purpose::Cut))
    }

    fn alter_partition(&self, ctx: &Context, change: AlterPartition) {
        let (partition, post) = (self.id, ctx.post.clone());
        let (leader_epoch, partition_epoch) = (change.leader_epoch, change.partition_epoch);
        ctx.lifecycle.alter_partition(lifecycle::Alter {
            partition,
            change,
            recovery: metadata::LeaderRecovery::Recovered,
            done: Box::new(move |answer| {
                post.post(ShardMessage::Altered { partition, leader_epoch, partition_epoch, answer });
            }),
        });
    }

    fn log_event(&mut self, ctx: &mut Context, event: LogEvent) {
        match event {
            LogEvent::Appended { ticket, end, batches, .. } => {
                self.tickets.remove(&ticket);
                if ctx.env.observed() {
                    for span in &batches {
                        ctx.env.observe(Observation::Appended {
                            partition: self.name.clone(),
                            base: span.base,
                            last: span.last,
                            leader_epoch: span.epoch,
                            crc: span.crc,
                            producer: span.producer.map(|producer| observation::ProducerBatch {
                                id: producer.id,
                                epoch: producer.epoch,
                                base_sequence: producer.base_sequence,
                            }),
                        });
                    }
                }
                self.unflushed(ctx.now.mono);
                self.events.push_back(Event::Appended { end });
            }
            LogEvent::Trimmed { files } => {
                remove_files(&ctx.env, &ctx.disk, files, self.keeping.delete_delay);
            }
            LogEvent::Flushed { end, .. } => {
                if end >= self.log.log_end_offset() {
                    self.flush_at = None;
                }
                ctx.env.observe(Observation::LogFlushed { partition: self.name.clone(), end });
            }
            LogEvent::Read { ticket, data } => match self.tickets.remove(&ticket) {
                Some(Purpose::Read(read)) => {
                    self.served(ctx, &data, read.consumer);
                    read.done(data);
                }
                Some(Purpose::Scan(scan)) => self.scan_goes_on(*scan, data),
                _ => unreachable!("a read that nobody asked for"),
            },
            LogEvent::Truncated { ticket, from, end } => {
                ctx.env.observe(Observation::Truncated {
                    partition: self.name.clone(),
                    from,
                    to: end,
                    leader_epoch: self.view.leader_epoch,
                });
                if ticket.and_then(|ticket| self.tickets.remove(&ticket)).is_some() {
                    self.events.push_back(Event::Truncated { end });
                }
                if !self.is_cutting() {
                    for (effect, incoming) in std::mem::take(&mut self.behind_cut) {
                        self.carry_out(ctx, effect, incoming);
                    }
                }
                self.assign_again();
            }
            LogEvent::EpochStored { ticket, epoch, .. } => {
                self.tickets.remove(&ticket);
                self.events.push_back(Event::EpochAssigned { epoch });
            }
            LogEvent::Closed { ticket } => {
                self.tickets.remove(&ticket);
                self.closed = true;
            }
            LogEvent::Failed { ticket, error } => self.log_failed(ticket, &error),
            LogEvent::Broken { error } => {
                let why = format!("log of {}: {error}", self.name);
                tracing::error!(%why, "the log directory has failed");
                ctx.fatal.get_or_insert(why);
                self.closed = true;
                self.events.push_back(Event::LogFailed);
            }
        }
    }

    fn log_failed(&mut self, ticket: Ticket, error: &LogError) {
        match self.tickets.remove(&ticket) {
            Some(Purpose::Append(from)) => {
                self.starved = true;
                self.events.push_back(Event::AppendFailed { from });
            }
            Some(Purpose::Epoch(epoch)) => self.unassigned = Some(epoch),
            Some(Purpose::Read(read)) => read.failed(match error {
                LogError::Disk(_) | LogError::Busy(_) => ErrorCode::KafkaStorageError,
                LogError::Truncated => ErrorCode::NotLeaderOrFollower,
                LogError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            }),
            Some(Purpose::Scan(scan)) => scan.answer(Err(ErrorCode::KafkaStorageError)),
            Some(Purpose::Close) => self.closed = true,
            Some(Purpose::Cut) | None => {}
        }
    }

    /// Tries again to give the log the epoch that it could not take.
    pub(super) fn assign_again(&mut self) {
        if let Some(epoch) = self.unassigned.take()
            && self.view.role == Role::Leader
            && epoch == self.view.leader_epoch
        {
            let ticket = self.log.assign_epoch(epoch);
            self.tickets.insert(ticket, Purpose::Epoch(epoch));
        }
    }

    fn answer_produce(&mut self, token: Token, error: ErrorCode) {
        let wait = match self.waiters.remove(&token) {
            Some(Waiter::Produce(wait)) => wait,
            Some(Waiter::Deletion(wait)) => return wait.answer(Err((error, Offset::NONE))),
            _ => return,
        };
        let known = !matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError);
        wait.reply.post(ProduceReply {
            part: wait.part,
            error: Some(error),
            base: Offset::NONE,
            end: Offset::NONE,
            log_start_offset: if known { self.view.log_start_offset } else { Offset::NONE },
            leader_epoch: self.view.leader_epoch,
            repeated: None,
        });
    }

    fn fire(&mut self, ctx: &mut Context, token: Token, why: Fired) {
        match self.waiters.remove(&token) {
            Some(Waiter::Produce(wait)) => {
                let (error, base, end) = match why {
                    Fired::Reached => (ErrorCode::None, wait.base, wait.end),
                    Fired::NotEnoughReplicas => (ErrorCode::NotEnoughReplicasAfterAppend, wait.base, wait.end),
                    Fired::NotLeader | Fired::Changed => (ErrorCode::NotLeaderOrFollower, Offset::NONE, Offset::NONE),
                    Fired::Deleted => (ErrorCode::UnknownTopicOrPartition, Offset::NONE, Offset::NONE),
                    Fired::Storage => (ErrorCode::KafkaStorageError, Offset::NONE, Offset::NONE),
                };
                wait.reply.post(ProduceReply {
                    part: wait.part,
                    error: Some(error),
                    base,
                    end,
                    log_start_offset: if base.is_none() { Offset::NONE } else { self.view.log_start_offset },
                    leader_epoch: wait.leader_epoch,
                    repeated: wait.repeated,
                });
            }
            Some(Waiter::Fetch(wait)) if why == Fired::Reached => self.moved(ctx, wait),
            Some(Waiter::Fetch(wait)) => wait.reply.post(FetchReply::Changed),
            Some(Waiter::Deletion(wait)) => wait.answer(match why {
                Fired::Reached => Ok(self.machine.low_watermark()),
                Fired::NotLeader | Fired::Changed | Fired::NotEnoughReplicas => {
                    Err((ErrorCode::NotLeaderOrFollower, Offset::NONE))
                }
                Fired::Deleted => Err((ErrorCode::UnknownTopicOrPartition, Offset::NONE)),
                Fired::Storage => Err((ErrorCode::KafkaStorageError, Offset::NONE)),
            }),
            None => {}
        }
    }

    /// Names the change of the view.
    fn observe(&self, ctx: &Context, before: &View) {
        if !ctx.env.observed() {
            return;
        }
        let now = &self.view;
        let took_role = match now.role {
            Role::Leader => now.serving && (!before.serving || before.leader_epoch != now.leader_epoch),
            _ => before.role != now.role || before.leader_epoch != now.leader_epoch,
        };
        if took_role {
            ctx.env.observe(Observation::ReplicaRole {
                partition: self.name.clone(),
                role: role(now.role),
                leader_epoch: now.leader_epoch,
                log_end_offset: now.log_end_offset,
                high_watermark: before.high_watermark,
                epoch_start: now.epoch_start,
            });
        }
        let leads = now.role == Role::Leader;
        if leads && (before.isr != now.isr || before.maximal_isr != now.maximal_isr || !before.serving && now.serving) {
            ctx.env.observe(Observation::Isr {
                partition: self.name.clone(),
                leader_epoch: now.leader_epoch,
                partition_epoch: now.partition_epoch,
                committed: now.isr.to_vec(),
                maximal: now.maximal_isr.to_vec(),
            });
        }
        if before.high_watermark != now.high_watermark {
            let members = |isr: &[NodeId]| if leads { isr.to_vec() } else { Vec::new() };
            ctx.env.observe(Observation::HighWatermark {
                partition: self.name.clone(),
                role: role(now.role),
                leader_epoch: now.leader_epoch,
                from: before.high_watermark,
                to: now.high_watermark,
                maximal_isr: members(&now.maximal_isr),
                committed_isr: members(&now.isr),
                min_isr: now.min_isr as u32,
            });
        }
        // After the high watermark, which a log that begins anew moves too.
        if before.log_start_offset != now.log_start_offset {
            ctx.env.observe(Observation::LogStart {
                partition: self.name.clone(),
                from: before.log_start_offset,
                to: now.log_start_offset,
            });
        }
    }

    /// Begins to close the log: flushed and trimmed. `closed` says when it is done.
    pub(super) fn close(&mut self, ctx: &mut Context) {
        let ticket = self.log.close();
        self.tickets.insert(ticket, Purpose::Close);
        self.settle(ctx);
    }
}

/// Nodes in a log line: `1,2,3`.
struct Ids<'a>(&'a [NodeId]);

impl std::fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// What `crash_at` calls an effect.
fn point(effect: &Effect) -> EffectPoint {
    match effect {
        Effect::Append { .. } => effect!("partition.append"),
        Effect::Refuse { .. } => effect!("partition.refuse"),
        Effect::AssignEpoch { .. } => effect!("partition.assign_epoch"),
        Effect::Truncate { .. } => effect!("partition.truncate"),
        Effect::Restart { .. } => effect!("partition.restart"),
        Effect::RaiseLogStart { .. } => effect!("partition.raise_log_start"),
        Effect::AlterPartition(_) => effect!("partition.alter_partition"),
        Effect::Fire { .. } => effect!("partition.fire"),
        Effect::Mistrust { .. } => effect!("partition.mistrust"),
    }
}

fn role(role: Role) -> observation::ReplicaRole {
    match role {
        Role::Leader => observation::ReplicaRole::Leader,
        Role::Follower => observation::ReplicaRole::Follower,
        Role::Offline => observation::ReplicaRole::Offline,
    }
}

fn append_error(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Log(_) => ErrorCode::KafkaStorageError,
        AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendError::Bad { .. } => ErrorCode::CorruptMessage,
        AppendError::Epoch { .. } => ErrorCode::UnknownServerError,
    }
}
