//! The producer's task: sends batches to leaders and keeps the time. What the answers mean is in `answers`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::{Monotonic, NodeId, Str, Uuid};
use rand_chacha::ChaCha8Rng;
use runtime::{Inbox, Post};
use tokio::sync::oneshot;
use transport::client::RpcError;

use super::accumulator::{Accumulator, PendingBatch};
use super::answers::given_up;
use super::outcome::{Delivered, Outcome, SendError};
use super::with;
use crate::cluster::{Cluster, ClusterError};
use crate::config::Acks;
use crate::metadata::Metadata;
use crate::refresh::Refresh;

/// What happens to the sender.
pub(super) enum Event {
    /// There are records, or the handles are gone.
    Wake,
    /// Tell when everything handed over has an outcome.
    Flush(oneshot::Sender<()>),
    /// A request has an outcome. With acks=0 there is no response.
    Produced(u64, Result<Option<ProduceResponse>, RpcError>),
    /// The metadata were asked for.
    Refreshed(Result<Arc<Metadata>, ClusterError>),
}

/// A request without an outcome.
pub(super) struct InFlight {
    pub(super) node: NodeId,
    pub(super) batches: Vec<Sent>,
}

/// A batch of a request.
pub(super) struct Sent {
    pub(super) slot: usize,
    pub(super) topic: Str,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) batch: PendingBatch,
}

/// Batches chosen for one node.
#[derive(Default)]
struct Load {
    batches: Vec<Sent>,
    bytes: usize,
}

pub(super) struct Sender {
    pub(super) cluster: Cluster,
    pub(super) shared: Arc<Mutex<Accumulator>>,
    events: Post<Event>,
    inbox: Inbox<Event>,
    pub(super) sink: Box<dyn FnMut(Delivered) + Send>,
    pub(super) random: ChaCha8Rng,
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    next_request: u64,
    /// Requests in flight, by node.
    pub(super) busy: BTreeMap<NodeId, usize>,
    flushes: Vec<oneshot::Sender<()>>,
    pub(super) refresh: Refresh,
    /// Where the next drain begins, so that no partition starves.
    cursor: usize,
}

impl Sender {
    pub(super) fn new(
        cluster: Cluster,
        shared: Arc<Mutex<Accumulator>>,
        events: Post<Event>,
        inbox: Inbox<Event>,
        sink: Box<dyn FnMut(Delivered) + Send>,
    ) -> Self {
        let random = cluster.env().rng(&format!("producer {}", cluster.config().client_id));
        Self {
            cluster,
            shared,
            events,
            inbox,
            sink,
            random,
            in_flight: BTreeMap::new(),
            next_request: 0,
            busy: BTreeMap::new(),
            flushes: Vec::new(),
            refresh: Refresh::default(),
            cursor: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let env = self.cluster.env().clone();
        let mut wake_at = Monotonic::NEVER;
        loop {
            let first = env.timeout_at(wake_at, self.inbox.recv()).await;
            let mut next = first.ok().flatten();
            while let Some(event) = next {
                self.event(event);
                next = self.inbox.try_recv();
            }
            if !with(&self.shared, |accumulator| accumulator.open) {
                self.close();
                return;
            }
            wake_at = self.drain();
            if with(&self.shared, |accumulator| accumulator.pending) == 0 {
                for flush in self.flushes.drain(..) {
                    // An error: nobody waits any more.
                    let _gone = flush.send(());
                }
            }
        }
    }

    pub(super) fn now(&self) -> Monotonic {
        self.cluster.env().now().mono
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Wake => {}
            Event::Flush(done) => self.flushes.push(done),
            Event::Produced(id, result) => self.produced(id, result),
            Event::Refreshed(result) => self.refreshed(&result),
        }
    }

    /// Sends what is due. Returns when to look again.
    fn drain(&mut self) -> Monotonic {
        let now = self.now();
        let cluster = self.cluster.clone();
        let (config, metadata) = (cluster.config(), cluster.metadata());
        let expires = |since: Monotonic| since + config.delivery_timeout;
        let mut wake_at = Monotonic::NEVER;
        let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
        let mut expired = Vec::new();
        let shared = Arc::clone(&self.shared);
        with(&shared, |accumulator| {
            accumulator.woken = false;
            self.refresh.wanted |= accumulator.topics_wanted();
            for completion in accumulator.expire_waiting(|since| expires(since) <= now) {
                expired.push((completion, Outcome::Failed { error: SendError::TimedOut }, 0, None));
            }
            if let Some(oldest) = accumulator.oldest_waiting() {
                wake_at = wake_at.min(expires(oldest));
            }
            let slots: Vec<usize> = accumulator.active.iter().copied().collect();
            let from = slots.partition_point(|slot| *slot < self.cursor);
            self.cursor = slots.get(from).map_or(0, |slot| slot + 1);
            for slot in slots[from..].iter().chain(&slots[..from]).copied() {
                let queue = &mut accumulator.partitions[slot];
                if queue.open.as_ref().is_some_and(|open| expires(open.since) <= now) {
                    queue.full.extend(queue.open.take());
                }
                let mut gone = (0, 0);
                while queue.full.front().is_some_and(|batch| expires(batch.since) <= now) {
                    let batch = queue.full.pop_front().expect("there is a front");
                    gone = (gone.0 + batch.completions.len(), gone.1 + batch.size - 61);
                    let outcome = given_up(&batch, SendError::TimedOut);
                    let (attempts, first_sent) = (batch.attempts, batch.first_sent);
                    expired.extend(batch.completions.into_iter().map(|to| (to, outcome.clone(), attempts, first_sent)));
                }
                if queue.is_idle() {
                    accumulator.active.remove(&slot);
                }
                let oldest = queue.full.front().or(queue.open.as_ref()).map(|batch| batch.since);
                wake_at = wake_at.min(oldest.map_or(Monotonic::NEVER, expires));
                // One in flight a connection keeps a partition's batches in order, whoever leads it.
                let muted = config.max_in_flight_requests_per_connection == 1 && queue.in_flight > 0;
                let (not_before, full) = (queue.not_before, !queue.full.is_empty());
                let due = match &queue.open {
                    _ if full || !self.flushes.is_empty() => now,
                    Some(open) => open.since + config.linger,
                    None => Monotonic::NEVER,
                };
                let due = due.max(not_before);
                accumulator.release(gone.0, gone.1);
                if muted || oldest.is_none() {
                    continue;
                }
                if due > now {
                    wake_at = wake_at.min(due);
                    continue;
                }
                let queue = &mut accumulator.partitions[slot];
                let Some((leader, _)) = metadata.leader(&queue.topic, queue.partition) else {
                    self.refresh.wanted = true;
                    continue;
                };
                let busy = self.busy.get(&leader).copied().unwrap_or(0);
                if busy >= config.max_in_flight_requests_per_connection {
                    continue;
                }
                let load = loads.entry(leader).or_default();
                let next = queue.full.front().or(queue.open.as_ref()).map_or(0, |batch| batch.size);
                if load.bytes > 0 && load.bytes + next > config.max_request_size {
                    wake_at = wake_at.min(now);
                    continue;
                }
                let Some(batch) = queue.full.pop_front().or_else(|| queue.open.take()) else { continue };
                queue.in_flight += 1;
                load.bytes += batch.size;
                load.batches.push(Sent {
                    slot,
                    topic: queue.topic.clone(),
                    topic_id: metadata.topics.get(queue.topic.as_str()).map_or(Uuid::ZERO, |topic| topic.id),
                    partition: queue.partition,
                    batch,
                });
                if queue.is_idle() {
                    accumulator.active.remove(&slot);
                }
            }
        });
        for (completion, outcome, attempts, first_sent) in expired {
            self.tell(completion, outcome, attempts, first_sent);
        }
        for (node, load) in loads {
            self.send(node, load.batches, now);
        }
        wake_at.min(self.ask(now))
    }

    /// Sends one request.
    fn send(&mut self, node: NodeId, mut batches: Vec<Sent>, now: Monotonic) {
        let cluster = self.cluster.clone();
        let config = cluster.config();
        let mut request = ProduceRequest {
            acks: config.acks.code(),
            timeout_ms: config.request_timeout.as_millis() as i32,
            ..ProduceRequest::default()
        };
        let mut failed = Vec::new();
        let mut kept = Vec::new();
        let (mut bytes, mut again) = (0, 0);
        batches.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        for mut sent in batches {
            if let Some(builder) = sent.batch.builder.take() {
                match builder.build() {
                    Ok(batch) => sent.batch.built = Some(batch.bytes),
                    Err(_) => {
                        failed.push(sent);
                        continue;
                    }
                }
            }
            let records = sent.batch.built.clone().unwrap_or_default();
            bytes += records.len() as u64;
            again += u64::from(sent.batch.attempts > 0);
            sent.batch.attempts += 1;
            sent.batch.first_sent.get_or_insert(now);
            let data = PartitionProduceData {
                index: sent.partition,
                records: Some(records),
                ..PartitionProduceData::default()
            };
            match request.topic_data.last_mut() {
                Some(last) if last.name == sent.topic => last.partition_data.push(data),
                _ => request.topic_data.push(TopicProduceData {
                    name: sent.topic.clone(),
                    topic_id: sent.topic_id,
                    partition_data: vec![data],
                    ..TopicProduceData::default()
                }),
            }
            kept.push(sent);
        }
        for sent in failed {
            self.finish(sent, Outcome::Failed { error: SendError::TooLarge });
        }
        let Some(channel) = self.cluster.channel(node).filter(|_| !kept.is_empty()) else {
            // The address was forgotten since: wait for metadata.
            self.refresh.wanted = true;
            for mut sent in kept {
                sent.batch.attempts -= 1;
                self.again(sent);
            }
            return;
        };
        with(&self.shared, |accumulator| {
            let counters = &mut accumulator.counters;
            counters.requests += 1;
            counters.batches += kept.len() as u64 - again;
            counters.retries += again;
            counters.bytes += bytes;
        });
        let id = self.next_request;
        self.next_request += 1;
        self.in_flight.insert(id, InFlight { node, batches: kept });
        *self.busy.entry(node).or_default() += 1;
        let events = self.events.clone();
        if config.acks == Acks::None {
            channel.submit_unanswered(request, move |result| events.post(Event::Produced(id, result.map(|()| None))));
        } else {
            channel.submit(request, move |result| events.post(Event::Produced(id, result.map(Some))));
        }
    }

    /// Asks for metadata if it is time. Returns when to look again.
    fn ask(&mut self, now: Monotonic) -> Monotonic {
        let due = self.refresh.due(self.cluster.config().metadata_max_age);
        if due > now {
            return due;
        }
        let topics = with(&self.shared, |accumulator| {
            let topics = accumulator.topics();
            accumulator.counters.refreshes += u64::from(!topics.is_empty());
            topics
        });
        if topics.is_empty() {
            return Monotonic::NEVER;
        }
        self.refresh.begin();
        let (cluster, events) = (self.cluster.clone(), self.events.clone());
        self.cluster.env().spawn_detached("producer-metadata", async move {
            let result = cluster.refresh(&topics).await;
            events.post(Event::Refreshed(result));
        });
        Monotonic::NEVER
    }

    fn refreshed(&mut self, result: &Result<Arc<Metadata>, ClusterError>) {
        let now = self.cluster.env().now();
        let (mut failed, mut refused) = (false, Vec::new());
        match result {
            Ok(metadata) => with(&self.shared, |accumulator| {
                for name in accumulator.topics() {
                    let Some(topic) = metadata.topics.get(name.as_str()) else { continue };
                    failed |= !topic.error.is_ok() || topic.partitions.values().any(|it| it.leader.is_none());
                    refused.extend(accumulator.learn(&name, topic, now));
                }
            }),
            Err(_) => {
                failed = true;
                self.refresh.wanted = true;
            }
        }
        self.refresh.done(failed, now.mono, self.cluster.config().backoff(), &mut self.random);
        for (completion, error) in refused {
            self.tell(completion, Outcome::Failed { error }, 0, None);
        }
    }

    /// The handles are gone: nothing keeps its promise any more.
    fn close(&mut self) {
        for (_, request) in std::mem::take(&mut self.in_flight) {
            for mut sent in request.batches {
                sent.batch.maybe_written = true;
                self.give_up(sent);
            }
        }
        let (waiting, batches) = with(&self.shared, |accumulator| {
            let waiting = accumulator.expire_waiting(|_| true);
            let mut batches = Vec::new();
            for queue in &mut accumulator.partitions {
                batches.extend(queue.full.drain(..));
                batches.extend(queue.open.take());
            }
            (waiting, batches)
        });
        for completion in waiting {
            self.tell(completion, Outcome::Failed { error: SendError::Closed }, 0, None);
        }
        for batch in batches {
            let outcome = given_up(&batch, SendError::Closed);
            let (attempts, first_sent) = (batch.attempts, batch.first_sent);
            for completion in batch.completions {
                self.tell(completion, outcome.clone(), attempts, first_sent);
            }
        }
    }
}
