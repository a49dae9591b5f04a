//! Records on their way into batches. Shared by the callers, who put records in, and the sender, who takes batches out;
//! nothing here waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::batch::BatchBuilder;
use protocol::{Bytes, Monotonic, Now, Str};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use super::outcome::{Delivered, SendError};
use super::{ProducerCounters, ProducerRecord};
use crate::config::{ClientConfig, Partitioner};
use crate::metadata::TopicMetadata;
use crate::murmur2::partition_of_key;

/// Whom to tell.
pub(super) enum Completion {
    Once(oneshot::Sender<Delivered>),
    /// The producer's sink, under this tag.
    Tagged(u64),
}

/// A record of a topic whose partitions are not known yet.
struct Waiting {
    record: ProducerRecord,
    completion: Completion,
    since: Monotonic,
    size: usize,
}

/// Records of one partition that are sent together.
pub(super) struct PendingBatch {
    /// In the order of their making, per producer.
    pub(super) number: u64,
    pub(super) builder: Option<BatchBuilder>,
    /// What the builder made, once it is first sent.
    pub(super) built: Option<protocol::Chunks>,
    pub(super) completions: Vec<Completion>,
    /// Of its first record.
    pub(super) since: Monotonic,
    /// Counted against `buffer.memory`.
    pub(super) size: usize,
    pub(super) attempts: u32,
    pub(super) first_sent: Option<Monotonic>,
    /// Whether some attempt may have written it.
    pub(super) maybe_written: bool,
    /// What the last attempt said.
    pub(super) last_error: Option<SendError>,
}

/// The batches of one partition, in order.
pub(super) struct PartitionQueue {
    pub(super) topic: Str,
    pub(super) partition: i32,
    /// Complete batches, the oldest first.
    pub(super) full: VecDeque<PendingBatch>,
    /// The one that takes records.
    pub(super) open: Option<PendingBatch>,
    pub(super) in_flight: usize,
    /// Not before this, after a failure.
    pub(super) not_before: Monotonic,
}

impl PartitionQueue {
    pub(super) fn is_idle(&self) -> bool {
        self.full.is_empty() && self.open.is_none()
    }
}

#[derive(Default)]
struct TopicQueue {
    /// Index in `Accumulator::partitions`, by partition.
    slots: BTreeMap<i32, usize>,
    /// Partitions of the topic; 0 while unknown.
    count: i32,
    /// Those that have a leader.
    led: Vec<i32>,
    waiting: VecDeque<Waiting>,
    /// Where keyless records go, and for how many more bytes.
    sticky: Option<(i32, usize)>,
    next: usize,
}

pub(super) struct Accumulator {
    config: ClientConfig,
    random: ChaCha8Rng,
    topics: BTreeMap<Str, TopicQueue>,
    pub(super) partitions: Vec<PartitionQueue>,
    /// Invariant: holds the slot of every partition that is not idle.
    pub(super) active: BTreeSet<usize>,
    next_number: u64,
    /// Bytes of records without an outcome.
    buffered: usize,
    /// Records without an outcome.
    pub(super) pending: usize,
    /// Whether a wake is on its way to the sender that it has not seen.
    pub(super) woken: bool,
    /// Whether handles are left.
    pub(super) open: bool,
    pub(super) counters: ProducerCounters,
}

impl Accumulator {
    pub(super) fn new(config: ClientConfig, random: ChaCha8Rng) -> Self {
        Self {
            config,
            random,
            topics: BTreeMap::new(),
            partitions: Vec::new(),
            active: BTreeSet::new(),
            next_number: 0,
            buffered: 0,
            pending: 0,
            woken: false,
            open: true,
            counters: ProducerCounters::default(),
        }
    }

    /// Takes a record. Says whether the sender must be woken.
    pub(super) fn push(
        &mut self,
        record: ProducerRecord,
        completion: Completion,
        now: Now,
    ) -> Result<bool, (SendError, Completion)> {
        let (key, value) = (record.key.as_ref().map(Bytes::len), record.value.as_ref().map(Bytes::len));
        let size = BatchBuilder::record_size_bound(key, value, &record.headers);
        self.counters.records += 1;
        let refused = if !self.open {
            Some(SendError::Closed)
        } else if size + 61 > self.config.max_request_size {
            Some(SendError::TooLarge)
        } else if self.buffered + size > self.config.buffer_memory {
            Some(SendError::BufferFull)
        } else {
            None
        };
        if let Some(error) = refused {
            self.counters.failed += 1;
            return Err((error, completion));
        }
        let topic = match self.topics.get_mut(record.topic.as_str()) {
            Some(topic) => topic,
            None => self.topics.entry(record.topic.detached()).or_default(),
        };
        if topic.count == 0 {
            topic.waiting.push_back(Waiting { record, completion, since: now.mono, size });
            self.buffered += size;
            self.pending += 1;
            return Ok(!std::mem::replace(&mut self.woken, true));
        }
        let Some(partition) = choose(topic, &record, size, &self.config, &mut self.random) else {
            self.counters.failed += 1;
            return Err((SendError::NoSuchPartition, completion));
        };
        self.buffered += size;
        self.pending += 1;
        let news = self.place(record, partition, completion, size, now);
        Ok(news && !std::mem::replace(&mut self.woken, true))
    }

    /// Puts a record into the open batch of its partition. Says whether there is something new for the sender: a batch
    /// begun, or one full.
    fn place(&mut self, record: ProducerRecord, partition: i32, completion: Completion, size: usize, now: Now) -> bool {
        let slot = self.slot(&record.topic, partition);
        let queue = &mut self.partitions[slot];
        let mut news = false;
        if queue.open.as_ref().is_some_and(|open| open.size + size > self.config.batch_size) {
            queue.full.extend(queue.open.take());
            news = true;
        }
        if queue.open.is_none() {
            self.active.insert(slot);
            queue.open = Some(PendingBatch {
                number: self.next_number,
                builder: Some(BatchBuilder::new(self.config.compression)),
                built: None,
                completions: Vec::new(),
                since: now.mono,
                size: 61,
                attempts: 0,
                first_sent: None,
                maybe_written: false,
                last_error: None,
            });
            self.next_number += 1;
            news = true;
        }
        let open = queue.open.as_mut().expect("made above");
        let timestamp = record.timestamp.unwrap_or(now.wall);
        if let Some(builder) = &mut open.builder {
            builder.append(timestamp, record.key, record.value, &record.headers);
        }
        open.completions.push(completion);
        open.size += size;
        if open.size >= self.config.batch_size {
            queue.full.extend(queue.open.take());
            news = true;
        }
        news
    }

    fn slot(&mut self, topic: &str, partition: i32) -> usize {
        let queue = self.topics.get_mut(topic).expect("records are placed in known topics");
        *queue.slots.entry(partition).or_insert_with(|| {
            self.partitions.push(PartitionQueue {
                topic: Str::from(topic),
                partition,
                full: VecDeque::new(),
                open: None,
                in_flight: 0,
                not_before: Monotonic::default(),
            });
            self.partitions.len() - 1
        })
    }

    /// Topics that records were sent to.
    pub(super) fn topics(&self) -> Vec<Str> {
        self.topics.keys().cloned().collect()
    }

    /// Whether records wait for their topic's partitions.
    pub(super) fn topics_wanted(&self) -> bool {
        self.topics.values().any(|topic| !topic.waiting.is_empty())
    }

    /// Takes what the metadata say of a topic; places what waited for it. Returns what has no partition to go to.
    pub(super) fn learn(&mut self, name: &str, known: &TopicMetadata, now: Now) -> Vec<(Completion, SendError)> {
        let mut refused = Vec::new();
        let Some(topic) = self.topics.get_mut(name) else { return refused };
        if known.partitions.is_empty() {
            return refused;
        }
        topic.count = known.partitions.len() as i32;
        topic.led = known.partitions.iter().filter(|(_, it)| !it.leader.is_none()).map(|(index, _)| *index).collect();
        for Waiting { record, completion, since, size } in std::mem::take(&mut topic.waiting) {
            let Some(topic) = self.topics.get_mut(name) else { continue };
            match choose(topic, &record, size, &self.config, &mut self.random) {
                // The batch is as old as its oldest record.
                Some(partition) => {
                    self.place(record, partition, completion, size, Now { mono: since, ..now });
                }
                None => {
                    self.release(1, size);
                    refused.push((completion, SendError::NoSuchPartition));
                }
            }
        }
        refused
    }

    /// Takes out what waited for its topic too long.
    pub(super) fn expire_waiting(&mut self, expired_since: impl Fn(Monotonic) -> bool) -> Vec<Completion> {
        let mut expired = Vec::new();
        let mut bytes = 0;
        for topic in self.topics.values_mut() {
            while topic.waiting.front().is_some_and(|waiting| expired_since(waiting.since)) {
                let waiting = topic.waiting.pop_front().expect("there is a front");
                bytes += waiting.size;
                expired.push(waiting.completion);
            }
        }
        self.release(expired.len(), bytes);
        expired
    }

    /// The oldest record that waits for its topic.
    pub(super) fn oldest_waiting(&self) -> Option<Monotonic> {
        self.topics.values().filter_map(|topic| topic.waiting.front()).map(|waiting| waiting.since).min()
    }

    /// These records have an outcome.
    pub(super) fn release(&mut self, records: usize, bytes: usize) {
        self.pending -= records;
        self.buffered = self.buffered.saturating_sub(bytes);
    }
}

/// The partition of a record; `None` if it names one that there is not.
fn choose(
    topic: &mut TopicQueue,
    record: &ProducerRecord,
    size: usize,
    config: &ClientConfig,
    random: &mut ChaCha8Rng,
) -> Option<i32> {
    if let Some(partition) = record.partition {
        return Some(partition).filter(|partition| (0..topic.count).contains(partition));
    }
    if let Some(key) = &record.key {
        return Some(partition_of_key(key, topic.count));
    }
    let count = if topic.led.is_empty() { topic.count as usize } else { topic.led.len() };
    let at = |index: usize| topic.led.get(index).copied().unwrap_or(index as i32);
    match config.partitioner {
        Partitioner::RoundRobin => {
            let partition = at(topic.next % count);
            topic.next += 1;
            Some(partition)
        }
        Partitioner::Sticky => {
            let (partition, left) = match topic.sticky {
                Some(sticky) => sticky,
                None => (at(random.random_range(0..count)), config.batch_size),
            };
            topic.sticky = left.checked_sub(size).filter(|left| *left > 0).map(|left| (partition, left));
            Some(partition)
        }
    }
}
