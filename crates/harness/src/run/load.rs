//! Open-loop loads over the client library: producers that send by a schedule fixed in advance, consumers of assigned
//! partitions, and the fresh consumer that reads everything back at the end.
//!
//! A producer's record goes to the partition that the load chooses (its key's, or the next in turn), so that every send has
//! its partition even if nothing becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{
    Acks, Admin, AutoOffsetReset, ClientConfig, Consumer, ConsumerEvent, NewTopic, OffsetSpec, Producer,
    ProducerRecord, SendError, Start, partition_of_key,
};
use protocol::{Monotonic, Offset, TopicPartition};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use runtime::{Address, Env};

use crate::history::{PartitionRead, ReadBack, Send, SendOutcome};
use crate::scenario::{Keys, Produce, Scenario, Timers};

use super::record::Recorder;
use super::schedule::Schedule;
use super::value;

/// How a client of a scenario behaves.
pub fn config(scenario: &Scenario, name: &str, bootstrap: Vec<Address>) -> ClientConfig {
    let mut config = match scenario.cluster.timers {
        Timers::Fast => ClientConfig::fast(name, bootstrap),
        Timers::Kafka => ClientConfig::new(name, bootstrap),
    };
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    config
}

/// One producing client.
pub struct Producing {
    /// Index of the load.
    pub load: u16,
    /// Its number.
    pub client: u16,
    /// What it does.
    pub produce: Produce,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// How it behaves.
    pub config: ClientConfig,
    /// Draws keys.
    pub rng: ChaCha8Rng,
}

/// Producers of a run, to ask for their counts at the end.
pub type Producers = Arc<Mutex<Vec<Producer>>>;

impl Producing {
    /// Sends by the schedule until the loads end; outcomes go to the recorder.
    pub async fn run(mut self, env: Env, recorder: Recorder, mut schedule: Schedule, producers: Producers) {
        let produce = &self.produce;
        self.config.acks = match produce.acks {
            0 => Acks::None,
            1 => Acks::Leader,
            _ => Acks::All,
        };
        self.config.linger = Duration::from_nanos(produce.linger);
        self.config.batch_size = usize::try_from(produce.batch).unwrap_or(usize::MAX);
        self.config.delivery_timeout = Duration::from_nanos(produce.timeout);
        self.config.max_in_flight_requests_per_connection = usize::try_from(produce.in_flight).unwrap_or(1);
        let producer = Producer::with_sink(&env, self.config.clone(), {
            let recorder = recorder.clone();
            move |delivered| {
                let outcome = match &delivered.outcome {
                    client::Outcome::Ok { offset, .. } => SendOutcome::Ok(*offset),
                    client::Outcome::Failed { error } => SendOutcome::Failed(code(error)),
                    client::Outcome::Unknown { error } => SendOutcome::Unknown(code(error)),
                };
                if let Some(first) = delivered.first_sent {
                    recorder.sent(delivered.tag, first.0);
                }
                recorder.done(delivered.tag, delivered.done.0, outcome);
            }
        });
        producers.lock().unwrap_or_else(PoisonError::into_inner).push(producer.clone());
        // Clients begin at different partitions, so that they do not march in step.
        let mut turn = u32::from(self.client);
        let mut keys = 0u64;
        while let Some(intended) = schedule.due(&env, &recorder, usize::from(self.load)).await {
            let key = match self.produce.keys {
                Keys::None => None,
                Keys::Seq => Some(keys * 1_000 + u64::from(self.client)),
                Keys::Uniform(n) => Some(self.rng.random_range(0..n)),
            };
            keys += 1;
            let key = key.map(|number| Bytes::from(format!("k-{number}")));
            let partition = match &key {
                Some(key) => partition_of_key(key, self.partitions.cast_signed()),
                None => (turn % self.partitions).cast_signed(),
            };
            turn = turn.wrapping_add(1);
            let now = env.now().mono.0;
            let size = usize::try_from(self.produce.pace.record).unwrap_or(value::SIZE_MIN);
            let topic = &self.produce.topic.value;
            let id = recorder.intend(Send {
                id: 0,
                load: self.load,
                client: self.client,
                partition: TopicPartition::new(topic.as_str(), partition),
                intended_ns: intended,
                sent_ns: now,
                done_ns: u64::MAX,
                acks: self.produce.acks,
                size: u32::try_from(size).unwrap_or(u32::MAX),
                outcome: SendOutcome::Unresolved,
            });
            let mut record = ProducerRecord::new(topic.as_str(), value::make(id, size)).to(partition);
            if let Some(key) = key {
                record = record.keyed(key);
            }
            if let Err(error) = producer.submit(record, id) {
                recorder.done(id, now, SendOutcome::Failed(code(&error)));
            }
        }
        // What is on its way is waited for; the process stays until the run ends it.
        producer.flush().await;
    }
}

/// Kafka's code of an error, or -1.
pub(super) fn code(error: &SendError) -> i16 {
    match error {
        SendError::Code(code) => code.code(),
        _ => -1,
    }
}

/// One consuming client.
pub struct Consuming {
    /// Index of the load.
    pub load: u16,
    /// Its number.
    pub client: u16,
    /// How many clients the load has.
    pub clients: u16,
    /// Its partitions, with their indexes in the history.
    pub partitions: Vec<(TopicPartition, u32)>,
    /// How it behaves.
    pub config: ClientConfig,
}

impl Consuming {
    /// Reads until the process ends. A consumer that was put back (its offset is gone, or the log behind it was cut) is from
    /// there on a new client in the history: what it reads again is no step back.
    pub async fn run(self, env: Env, recorder: Recorder) {
        let start = self.partitions.iter().map(|(partition, _)| (partition.clone(), Start::Earliest));
        let mut consumer = Consumer::new(&env, self.config.clone(), start);
        let mut client = self.client;
        loop {
            if recorder.is_paused(usize::from(self.load)) {
                env.sleep(Duration::from_millis(10)).await;
                continue;
            }
            match consumer.next().await {
                ConsumerEvent::Records { partition, records, .. } => {
                    let Some((_, index)) = self.partitions.iter().find(|(known, _)| *known == partition) else {
                        continue;
                    };
                    let now = env.now().mono.0;
                    for record in records {
                        let value = record.value.unwrap_or_default();
                        recorder.read(self.load, client, *index, record.offset, &value, now);
                    }
                }
                ConsumerEvent::OutOfRange { .. } | ConsumerEvent::Truncated { .. } => {
                    client = client.saturating_add(self.clients);
                }
                ConsumerEvent::Positioned { .. } | ConsumerEvent::Failed { .. } | ConsumerEvent::Corrupt { .. } => {}
            }
        }
    }
}

/// Makes the scenario's topics. `Err` says which could not be made, and why.
pub async fn create_topics(scenario: &Scenario, env: &Env, bootstrap: Vec<Address>) -> Result<(), String> {
    let admin = Admin::new(env, config(scenario, "admin", bootstrap));
    let topics: Vec<NewTopic> = scenario
        .topics
        .iter()
        .map(|topic| {
            let replicas = i16::try_from(topic.replicas.value).unwrap_or(i16::MAX);
            let new = NewTopic::new(topic.name.value.as_str(), topic.partitions.cast_signed(), replicas);
            topic.config.iter().fold(new, |new, (name, value)| new.with_config(name, value))
        })
        .collect();
    // A controller refuses a request that needs more than 10,000 records: a few for each topic, one for each partition.
    let mut rest = &topics[..];
    while !rest.is_empty() {
        let mut room = ASKED_AT_ONCE;
        let fitting = |topic: &&NewTopic| {
            room -= topic.partitions;
            room >= 0
        };
        let (some, others) = rest.split_at(rest.iter().take_while(fitting).count().max(1));
        for (name, result) in admin.create_topics(some).await {
            result.map_err(|error| format!("topic {name} cannot be made: {error}"))?;
        }
        rest = others;
    }
    Ok(())
}

/// So many partitions are made by one request.
const ASKED_AT_ONCE: i32 = 5_000;

/// So many partitions are asked for one by one, so that one without a leader hides no other.
const ASKED_APART: usize = 64;

/// First offsets and ends of partitions, in two questions about all of them; of one that has no answer there is neither.
async fn ends(
    admin: &Admin,
    partitions: &[TopicPartition],
    deadline: Monotonic,
) -> BTreeMap<TopicPartition, (Offset, Offset)> {
    let ask = async |spec: OffsetSpec| {
        let all: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
        let answers = admin.cluster().env().timeout_at(deadline, admin.list_offsets(&all)).await;
        answers.ok().and_then(Result::ok).unwrap_or_default()
    };
    let (starts, ends) = (ask(OffsetSpec::Earliest).await, ask(OffsetSpec::Latest).await);
    let both = |(partition, start): (TopicPartition, client::OffsetAnswer)| {
        let end = ends.get(&partition)?.offset;
        Some((partition, (start.offset, end)))
    };
    starts.into_iter().filter_map(both).collect()
}

/// Reads every partition from its start to its end with a fresh consumer, for at most `patience`.
pub async fn read_back(
    scenario: &Scenario,
    env: &Env,
    bootstrap: Vec<Address>,
    recorder: &Recorder,
    partitions: &[TopicPartition],
    patience: Duration,
) -> ReadBack {
    let mut back = ReadBack::default();
    let deadline = env.now().mono + patience;
    let admin = Admin::new(env, config(scenario, "read-back", bootstrap.clone()));
    let mut known = BTreeMap::new();
    if partitions.len() > ASKED_APART {
        known = ends(&admin, partitions, deadline).await;
    }
    if known.is_empty() {
        for partition in partitions {
            known.extend(ends(&admin, std::slice::from_ref(partition), deadline).await);
        }
    }
    for (partition, (start, end)) in known {
        let incomplete = (start < end).then(|| "was not read".to_owned());
        back.partitions.insert(partition, PartitionRead { start, end, records: Vec::new(), incomplete });
    }
    let wanted: Vec<(TopicPartition, Start)> = back
        .partitions
        .iter()
        .filter(|(_, read)| read.incomplete.is_some())
        .map(|(partition, read)| (partition.clone(), Start::At(read.start)))
        .collect();
    let mut consumer = Consumer::new(env, config(scenario, "read-back", bootstrap), wanted);
    while back.partitions.values().any(|read| read.incomplete.is_some()) {
        let Ok(event) = env.timeout_at(deadline, consumer.next()).await else { break };
        let Some(read) = back.partitions.get_mut(event.partition()) else { continue };
        match event {
            ConsumerEvent::Records { records, next, .. } => {
                for record in records {
                    let value = recorder.value_of(&record.value.unwrap_or_default());
                    if record.offset < read.end {
                        read.records.push((record.offset, value));
                    }
                }
                read.incomplete = (next < read.end).then(|| format!("reading stopped at offset {next}"));
            }
            ConsumerEvent::Positioned { .. } => {}
            ConsumerEvent::Truncated { to, .. } => read.incomplete = Some(format!("was truncated to {to} while read")),
            ConsumerEvent::OutOfRange { position, .. } => {
                read.incomplete = Some(format!("offset {position} was out of range while read"));
            }
            ConsumerEvent::Corrupt { position, problem, .. } => {
                read.incomplete = Some(format!("bytes at offset {position}: {problem}"));
            }
            ConsumerEvent::Failed { error, .. } => read.incomplete = Some(format!("reading failed: {error}")),
        }
    }
    back
}
