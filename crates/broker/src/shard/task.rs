//! The task of a shard: takes messages in batches, hands them to partitions, and looks after what was touched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metadata::Image;
use protocol::{Monotonic, NodeId, Offset, TopicIdPartition, TopicPartition};
use rand_chacha::ChaCha8Rng;
use replication::{Brokers, Event, FetcherEvent, Token};
use runtime::{Env, Inbox, Observation, Post};
use tokio::sync::oneshot;

use super::checkpoint::{Ends, Report};
use super::hosted::{Context, Hosted};
use super::message::{Fetch, ListOffset, OffsetReply, ProducePart, ProduceReply, RequestId, ShardMessage};
use super::opening::Storage;
use super::source::Source;
use super::{FatalCallback, Lifecycle};
use crate::config::Config;
use crate::sessions::Sessions;
use crate::vitals::Traffic;

/// Messages taken before touched partitions are looked after.
const BATCH: usize = 256;

/// What a shard is started with.
pub(super) struct Start {
    pub index: usize,
    pub count: usize,
    pub env: Env,
    pub node: NodeId,
    pub config: Arc<Config>,
    pub storage: Storage,
    pub lifecycle: Arc<dyn Lifecycle>,
    pub fatal: FatalCallback,
    pub post: Post<ShardMessage>,
    pub checkpoints: Post<Report>,
    /// How many shards are not ready yet.
    pub unready: Arc<AtomicUsize>,
    pub sessions: Sessions,
}

/// A shard.
pub(super) struct Shard {
    pub(super) ctx: Context,
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) storage: Storage,
    pub(super) fatal: FatalCallback,
    pub(super) checkpoints: Post<Report>,
    pub(super) random: ChaCha8Rng,
    /// `None` until the first one came.
    pub(super) image: Option<Arc<Image>>,
    pub(super) brokers: Arc<Brokers>,
    pub(super) slots: BTreeMap<TopicIdPartition, Slot>,
    /// Directories that are being taken out of service, with who waits for the name.
    pub(super) leaving: BTreeMap<TopicPartition, Option<TopicIdPartition>>,
    /// Logs that are being opened though nobody wants them any more.
    pub(super) doomed: BTreeMap<TopicIdPartition, TopicPartition>,
    /// Names that were taken out of service: the checkpoints of the process before do not speak of what comes after.
    pub(super) spent: BTreeSet<TopicPartition>,
    pub(super) openings: u64,
    pub(super) timers: BTreeSet<(Monotonic, TopicIdPartition)>,
    /// The watches of each fetch that waits.
    pub(super) watching: BTreeMap<RequestId, Vec<(TopicIdPartition, Token)>>,
    pub(super) sources: BTreeMap<NodeId, Source>,
    pub(super) generations: u64,
    pub(super) next_high_watermarks: Monotonic,
    pub(super) next_recovery_points: Monotonic,
    pub(super) next_expiry: Monotonic,
    pub(super) next_retention: Monotonic,
    /// `None` once this shard is ready.
    pub(super) unready: Option<Arc<AtomicUsize>>,
    /// What passed through partitions that are no longer here.
    pub(super) gone: Traffic,
    pub(super) stopping: Option<oneshot::Sender<()>>,
    pub(super) stopped: bool,
}

/// One partition that is assigned here.
pub(super) enum Slot {
    /// Its log is not open yet.
    Opening {
        opening: u64,
        name: TopicPartition,
        waiting: Vec<Waiting>,
    },
    Open(Box<Hosted>, Vec<Waiting>),
    /// Its log could not be opened.
    Failed,
}

/// A part of a request that waits a moment, until the partition serves.
pub(super) enum Waiting {
    Produce { acks: i16, part: ProducePart, reply: Post<ProduceReply> },
    Fetch(Fetch),
    ListOffset(ListOffset, Post<OffsetReply>),
}

impl Shard {
    pub(super) fn new(start: Start) -> Self {
        let now = start.env.now();
        Self {
            random: start.env.rng(&format!("shard-{}", start.index)),
            ctx: Context {
                env: start.env,
                node: start.node,
                config: start.config,
                lifecycle: start.lifecycle,
                post: start.post,
                disk: start.storage.dir.disk().clone(),
                now,
                next_token: 0,
                effects: Vec::new(),
                touched: Vec::new(),
                watches: Vec::new(),
                fatal: None,
                sessions: start.sessions,
                isr_shrinks: 0,
                isr_expands: 0,
            },
            index: start.index,
            count: start.count,
            storage: start.storage,
            fatal: start.fatal,
            checkpoints: start.checkpoints,
            image: None,
            brokers: Arc::default(),
            slots: BTreeMap::new(),
            leaving: BTreeMap::new(),
            doomed: BTreeMap::new(),
            spent: BTreeSet::new(),
            openings: 0,
            timers: BTreeSet::new(),
            watching: BTreeMap::new(),
            sources: BTreeMap::new(),
            generations: 0,
            next_high_watermarks: Monotonic::NEVER,
            next_recovery_points: Monotonic::NEVER,
            next_expiry: Monotonic::NEVER,
            next_retention: Monotonic::NEVER,
            unready: Some(start.unready),
            gone: Traffic::default(),
            stopping: None,
            stopped: false,
        }
    }

    pub(super) async fn run(mut self, mut inbox: Inbox<ShardMessage>) {
        self.next_high_watermarks = self.ctx.now.mono + self.high_watermark_interval();
        self.next_recovery_points = self.ctx.now.mono + self.recovery_point_interval();
        self.next_expiry = self.ctx.now.mono + self.expiry_interval();
        self.next_retention = self.ctx.now.mono + self.first_retention();
        loop {
            let deadline = self.deadline();
            let first = self.ctx.env.timeout_at(deadline, inbox.recv()).await;
            self.ctx.now = self.ctx.env.now();
            match first {
                Ok(None) => return,
                Ok(Some(message)) => {
                    self.take(message);
                    for _ in 1..BATCH {
                        let Some(message) = inbox.try_recv() else { break };
                        self.take(message);
                    }
                }
                Err(_) => {}
            }
            self.tick();
            self.look_after();
        }
    }

    fn deadline(&self) -> Monotonic {
        let partitions = self.timers.first().map_or(Monotonic::NEVER, |(at, _)| *at);
        let sources = self.sources.values().filter_map(|source| source.fetcher.deadline()).min();
        partitions
            .min(sources.unwrap_or(Monotonic::NEVER))
            .min(self.next_high_watermarks)
            .min(self.next_recovery_points)
            .min(self.next_expiry)
            .min(self.next_retention)
    }

    fn take(&mut self, message: ShardMessage) {
        match message {
            ShardMessage::Produce(produce) => self.produce(produce),
            ShardMessage::Fetch(fetch) => self.fetch(fetch),
            ShardMessage::Unwatch(request) => self.unwatch(request),
            ShardMessage::ListOffsets { parts, reply } => {
                parts.iter().for_each(|part| self.list_offset(*part, &reply));
            }
            ShardMessage::EpochEnds { parts, reply } => parts.iter().for_each(|part| self.epoch_end(part, &reply)),
            ShardMessage::Delete { request, parts, reply } => {
                parts.iter().for_each(|part| self.delete_records(request, part, &reply));
            }
            ShardMessage::EndDeletions(request) => self.end_deletions(request),
            ShardMessage::LogSizes(reply) => reply.post(self.log_sizes()),
            ShardMessage::Image(changed) => self.image_changed(&changed),
            ShardMessage::Opened(opened) => self.opened(*opened),
            ShardMessage::Removed { name, error } => self.removed(&name, error),
            ShardMessage::Disk { partition, opening, token, result } => {
                if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&partition)
                    && hosted.opening == opening
                {
                    hosted.log.on_completion(token, result);
                    hosted.settle(&mut self.ctx);
                }
            }
            ShardMessage::Altered { partition, leader_epoch, partition_epoch, answer } => {
                self.tell(partition, Event::Altered { leader_epoch, partition_epoch, answer });
            }
            ShardMessage::Fetched { source, generation, result } => self.fetched(source, generation, result),
            ShardMessage::Ranged { source, generation, partition, leader_epoch, which, result } => {
                let Some(from) = self.sources.get_mut(&source).filter(|known| known.is_current(generation)) else {
                    return;
                };
                let Some(range) = from.ranged(partition, which, result) else { return };
                if let Ok((start, end)) = range {
                    self.tell(partition, Event::LeaderRange { leader_epoch, start, end });
                    self.follow(partition);
                }
                if let Some(from) = self.sources.get_mut(&source) {
                    from.step(self.ctx.now, FetcherEvent::Ranged { partition, known: range.is_ok() });
                }
            }
            ShardMessage::Checkpointed(points) => {
                for (partition, point) in points {
                    if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&partition) {
                        hosted.log.recovery_point_checkpointed(point);
                        hosted.settle(&mut self.ctx);
                    }
                }
            }
            ShardMessage::Vitals(reply) => drop(reply.send(self.vitals())),
            ShardMessage::Stop(done) => self.stop(done),
        }
    }

    pub(super) fn tell(&mut self, partition: TopicIdPartition, event: Event) {
        if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&partition) {
            hosted.run(&mut self.ctx, event);
        }
    }

    fn tick(&mut self) {
        let now = self.ctx.now;
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now.mono
        {
            self.timers.pop_first();
            if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&id) {
                hosted.timer = None;
                hosted.flush_if_due(now.mono);
                hosted.run(&mut self.ctx, Event::Tick);
            }
        }
        self.expire_producers();
        self.retain();
        let recovery_points = self.next_recovery_points <= now.mono;
        if recovery_points {
            self.next_recovery_points = now.mono + self.recovery_point_interval();
        }
        if self.next_high_watermarks <= now.mono || recovery_points {
            self.next_high_watermarks = now.mono + self.high_watermark_interval();
            self.report(recovery_points);
            for slot in self.slots.values_mut() {
                if let Slot::Open(hosted, _) = slot {
                    hosted.assign_again();
                    hosted.log.retry();
                    hosted.settle(&mut self.ctx);
                }
            }
        }
    }

    /// Forgets producers that wrote nothing for `producer.id.expiration.ms`.
    fn expire_producers(&mut self) {
        let now = self.ctx.now;
        if now.mono < self.next_expiry {
            return;
        }
        self.next_expiry = now.mono + self.expiry_interval();
        let age = Config::ms(self.ctx.config.numbers.producer_id_expiration_ms);
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                hosted.log.expire_producers(now.wall, age);
            }
        }
    }

    fn expiry_interval(&self) -> Duration {
        let interval = self.ctx.config.numbers.producer_id_expiration_check_interval_ms;
        Config::ms(interval).max(Duration::from_millis(1))
    }

    fn high_watermark_interval(&self) -> Duration {
        Config::ms(self.ctx.config.numbers.replica_high_watermark_checkpoint_interval_ms).max(Duration::from_millis(1))
    }

    fn recovery_point_interval(&self) -> Duration {
        Config::ms(self.ctx.config.numbers.log_flush_offset_checkpoint_interval_ms).max(Duration::from_millis(1))
    }

    /// Tells the checkpoints where the logs stand.
    fn report(&mut self, recovery_points: bool) {
        let ends: Vec<_> = self
            .slots
            .values_mut()
            .filter_map(|slot| match slot {
                Slot::Open(hosted, _) => Some(hosted),
                _ => None,
            })
            .map(|hosted| Ends {
                partition: hosted.id,
                name: hosted.name.clone(),
                high_watermark: hosted.view.high_watermark,
                recovery_point: recovery_points.then(|| {
                    let start = hosted.log.log_start_offset();
                    let implied = start <= hosted.log.first_segment();
                    (hosted.log.recovery_point_to_checkpoint(), if implied { Offset::NONE } else { start })
                }),
            })
            .collect();
        if !ends.is_empty() {
            self.checkpoints.post(Report::Ends { ends, shard: self.ctx.post.clone() });
        }
    }

    /// After a batch of messages: timers, positions, requests that waited, what is to be sent.
    fn look_after(&mut self) {
        loop {
            let mut again = VecDeque::new();
            self.follow_touched();
            for id in std::mem::take(&mut self.ctx.touched) {
                let Some(Slot::Open(hosted, waiting)) = self.slots.get_mut(&id) else { continue };
                hosted.touched = false;
                let timer = hosted.machine.deadline().into_iter().chain(hosted.flush_at).min();
                if timer != hosted.timer {
                    if let Some(at) = hosted.timer {
                        self.timers.remove(&(at, id));
                    }
                    if let Some(at) = timer {
                        self.timers.insert((at, id));
                    }
                    hosted.timer = timer;
                }
                if !waiting.is_empty() && !hosted.is_about_to_lead() {
                    again.extend(std::mem::take(waiting));
                }
            }
            self.list_watches();
            if again.is_empty() {
                break;
            }
            self.again(again.into());
        }
        self.act();
        self.maybe_ready();
        if let Some(why) = self.ctx.fatal.take() {
            self.ctx.env.observe(Observation::Fatal { why: why.clone() });
            (self.fatal)(why);
        }
        self.maybe_stopped();
    }

    /// Ready once the logs that the first image assigns are open.
    fn maybe_ready(&mut self) {
        let opening = |slot: &Slot| matches!(slot, Slot::Opening { .. });
        if self.unready.is_none() || self.image.is_none() || self.slots.values().any(opening) {
            return;
        }
        if let Some(unready) = self.unready.take()
            && unready.fetch_sub(1, Ordering::Relaxed) == 1
        {
            tracing::info!(clean = self.storage.startup.clean.is_some(), "all logs are open");
            self.ctx.lifecycle.ready();
        }
    }

    fn stop(&mut self, done: oneshot::Sender<()>) {
        self.stopping = Some(done);
        self.sources.clear();
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                hosted.following = None;
                hosted.close(&mut self.ctx);
            }
        }
        let mut waiting = Vec::new();
        for slot in self.slots.values_mut() {
            match slot {
                Slot::Opening { waiting: parts, .. } | Slot::Open(_, parts) => waiting.append(parts),
                Slot::Failed => {}
            }
        }
        self.again(waiting);
    }

    fn maybe_stopped(&mut self) {
        if self.stopping.is_none() || self.stopped {
            return;
        }
        let closed = |slot: &Slot| match slot {
            Slot::Open(hosted, _) => hosted.closed,
            Slot::Opening { .. } => false,
            Slot::Failed => true,
        };
        if self.slots.values().all(closed) {
            self.stopped = true;
            self.report(true);
            if let Some(done) = &mut self.stopping {
                let (sender, _) = oneshot::channel();
                let _ = std::mem::replace(done, sender).send(());
            }
        }
    }
}
