//! Copying from one source broker: the fetcher machine, and the way to that broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::batch::Batches;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, fetch_response};
use protocol::{Chunks, ErrorCode, LeaderEpoch, NodeId, Now, Offset, Str, Timestamp, TopicIdPartition};
use replication::{
    Answer, BatchFacts, Diverging, FetchOrder, FetchPart, FetchPosition, Fetched, Fetcher, FetcherConfig,
    FetcherEffect, FetcherEvent,
};
use runtime::{Address, Env, Post, effect};
use transport::client::{Channel, ChannelOptions, ClientOptions, RpcError};

use super::message::ShardMessage;
use super::rules;
use crate::config::Config;

/// One source broker.
pub(super) struct Source {
    node: NodeId,
    pub fetcher: Fetcher<TopicIdPartition>,
    channel: Option<Channel>,
    /// Answers of an earlier way to it do not count.
    generation: u64,
    effects: Vec<FetcherEffect<TopicIdPartition>>,
    /// Ranges that are being asked for: first offset and end, as they come in.
    ranges: BTreeMap<TopicIdPartition, (Option<Offset>, Option<Offset>)>,
}

/// What a source needs to ask.
pub(super) struct Asker<'a> {
    pub env: &'a Env,
    pub config: &'a Config,
    pub node: NodeId,
    pub broker_epoch: protocol::BrokerEpoch,
    /// Where the source is reached, if that is known.
    pub address: Option<Address>,
    pub post: &'a Post<ShardMessage>,
    /// The topics' names, by partition.
    pub name: &'a dyn Fn(TopicIdPartition) -> Option<Str>,
}

/// An answer for one partition, ready for its machine.
pub(super) enum PartAnswer {
    Error(ErrorCode),
    /// The leader's session has what this side's has not.
    NotAsked,
    Fetched {
        fetched: Fetched,
        records: Chunks,
    },
}

impl Source {
    pub(super) fn new(node: NodeId, config: &Config, generation: u64) -> Self {
        Self {
            node,
            fetcher: Fetcher::new(FetcherConfig { backoff: rules::fetch_backoff(config) }),
            channel: None,
            generation,
            effects: Vec::new(),
            ranges: BTreeMap::new(),
        }
    }

    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }

    pub(super) fn step(&mut self, now: Now, event: FetcherEvent<TopicIdPartition>) {
        if let FetcherEvent::Unfollow { partition } = &event {
            self.ranges.remove(partition);
        }
        self.fetcher.step(now, event, &mut self.effects);
    }

    /// Whether there is something to send.
    pub(super) fn wants(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The source is reached elsewhere now.
    pub(super) fn moved(&self, address: Option<Address>) {
        if let (Some(channel), Some(address)) = (&self.channel, address) {
            channel.set_address(address);
        }
    }

    /// Sends what the fetcher wants to have sent.
    pub(super) fn act(&mut self, asker: &Asker<'_>, now: Now) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                let Some(channel) = self.channel(asker) else {
                    // Nobody knows where it is: as if the request had failed.
                    match effect {
                        FetcherEffect::Send(_) => self.step(now, FetcherEvent::Failed),
                        FetcherEffect::AskRange(part) => {
                            self.step(now, FetcherEvent::Ranged { partition: part.partition, known: false });
                        }
                    }
                    continue;
                };
                let point = match &effect {
                    FetcherEffect::Send(_) => effect!("fetcher.send"),
                    FetcherEffect::AskRange(_) => effect!("fetcher.ask_range"),
                };
                asker.env.before(point);
                match effect {
                    FetcherEffect::Send(order) => self.send(asker, &channel, &order),
                    FetcherEffect::AskRange(part) => self.ask_range(asker, &channel, part),
                }
                asker.env.after(point);
            }
        }
    }

    fn channel(&mut self, asker: &Asker<'_>) -> Option<Channel> {
        if self.channel.is_none() {
            let address = asker.address.clone()?;
            let options = ClientOptions {
                request_timeout: Config::ms(asker.config.numbers.replica_socket_timeout_ms),
                ..ClientOptions::new(format!("replica-{}", asker.node))
            };
            self.channel = Some(Channel::new(asker.env, address, ChannelOptions::new(options)));
        }
        self.channel.clone()
    }

    fn send(&self, asker: &Asker<'_>, channel: &Channel, order: &FetchOrder<TopicIdPartition>) {
        let numbers = &asker.config.numbers;
        let mut topics: Vec<FetchTopic> = Vec::new();
        for FetchPart { partition, position } in &order.parts {
            if topics.last().is_none_or(|topic| topic.topic_id != partition.topic_id) {
                topics.push(FetchTopic {
                    topic: (asker.name)(*partition).unwrap_or_default(),
                    topic_id: partition.topic_id,
                    ..Default::default()
                });
            }
            topics.last_mut().expect("just made sure").partitions.push(FetchPartition {
                partition: partition.partition,
                current_leader_epoch: position.leader_epoch.0,
                fetch_offset: position.offset.0,
                last_fetched_epoch: position.last_fetched_epoch.0,
                log_start_offset: position.log_start_offset.0,
                partition_max_bytes: int(numbers.replica_fetch_max_bytes),
                ..Default::default()
            });
        }
        let request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: asker.node.0,
                replica_epoch: asker.broker_epoch.0,
                ..Default::default()
            },
            max_wait_ms: int(numbers.replica_fetch_wait_max_ms),
            min_bytes: int(numbers.replica_fetch_min_bytes),
            max_bytes: int(numbers.replica_fetch_response_max_bytes),
            session_id: order.session,
            session_epoch: order.epoch,
            topics,
            forgotten_topics_data: forgotten(asker, &order.forgotten),
            ..Default::default()
        };
        let (post, source, generation) = (asker.post.clone(), self.node, self.generation);
        channel.submit(request, move |result| post.post(ShardMessage::Fetched { source, generation, result }));
    }

    /// Asks for both ends of the leader's log, as a replica does: the latest is its log's end.
    fn ask_range(&mut self, asker: &Asker<'_>, channel: &Channel, part: FetchPart<TopicIdPartition>) {
        let FetchPart { partition, position } = part;
        self.ranges.insert(partition, (None, None));
        for which in [EARLIEST, LATEST] {
            let request = ListOffsetsRequest {
                replica_id: asker.node.0,
                topics: vec![ListOffsetsTopic {
                    name: (asker.name)(partition).unwrap_or_default(),
                    partitions: vec![ListOffsetsPartition {
                        partition_index: partition.partition,
                        current_leader_epoch: position.leader_epoch.0,
                        timestamp: which.0,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let (post, source, generation) = (asker.post.clone(), self.node, self.generation);
            let leader_epoch = position.leader_epoch;
            channel.submit(request, move |result| {
                post.post(ShardMessage::Ranged { source, generation, partition, leader_epoch, which, result });
            });
        }
    }

    /// Takes one half of a range; returns both once they are there, an error if one was not to be had.
    pub(super) fn ranged(
        &mut self,
        partition: TopicIdPartition,
        which: Timestamp,
        result: Result<ListOffsetsResponse, RpcError>,
    ) -> Option<Result<(Offset, Offset), ()>> {
        let range = self.ranges.get_mut(&partition)?;
        let found = result.ok().and_then(|response| {
            let part = response.topics.first()?.partitions.first()?;
            (part.error_code == 0 && part.offset >= 0).then_some(Offset(part.offset))
        });
        let Some(found) = found else {
            self.ranges.remove(&partition);
            return Some(Err(()));
        };
        match which {
            EARLIEST => range.0 = Some(found),
            _ => range.1 = Some(found),
        }
        let (Some(start), Some(end)) = *range else { return None };
        self.ranges.remove(&partition);
        Some(Ok((start, end)))
    }

    /// The parts of an answer, each for its machine.
    pub(super) fn parts(&self, response: FetchResponse) -> Vec<(TopicIdPartition, PartAnswer)> {
        let mut parts = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                let partition = TopicIdPartition { topic_id: topic.topic_id, partition: data.partition_index };
                let answer = match self.fetcher.asked(partition) {
                    Some(asked) => part(asked, data),
                    None => PartAnswer::NotAsked,
                };
                parts.push((partition, answer));
            }
        }
        parts
    }
}

impl PartAnswer {
    /// What the fetcher must know of it.
    pub(super) fn summary(&self) -> Answer {
        match self {
            Self::Error(error) => Answer::Error(*error),
            Self::NotAsked => Answer::Empty,
            Self::Fetched { fetched, .. } if fetched.diverging.is_some() => Answer::Diverging,
            Self::Fetched { fetched, .. } if fetched.batches.is_empty() => Answer::Empty,
            Self::Fetched { .. } => Answer::Data,
        }
    }
}

fn forgotten(asker: &Asker<'_>, partitions: &[TopicIdPartition]) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    for partition in partitions {
        if topics.last().is_none_or(|topic| topic.topic_id != partition.topic_id) {
            topics.push(ForgottenTopic {
                topic: (asker.name)(*partition).unwrap_or_default(),
                topic_id: partition.topic_id,
                ..Default::default()
            });
        }
        topics.last_mut().expect("just made sure").partitions.push(partition.partition);
    }
    topics
}

fn part(asked: FetchPosition, data: fetch_response::PartitionData) -> PartAnswer {
    if data.error_code != 0 {
        return PartAnswer::Error(ErrorCode::from_code(data.error_code));
    }
    let diverging = (data.diverging_epoch.epoch >= 0).then_some(Diverging {
        epoch: LeaderEpoch(data.diverging_epoch.epoch),
        end: Offset(data.diverging_epoch.end_offset),
    });
    let records = data.records.unwrap_or_default();
    let mut batches = Vec::new();
    for batch in Batches::new(records.clone()) {
        // The headers only; the log checks the CRCs before it takes them.
        let Ok(batch) = batch else { return PartAnswer::Error(ErrorCode::CorruptMessage) };
        let base = batch.header.base_offset;
        batches.push(BatchFacts {
            base,
            last: base.plus(i64::from(batch.header.last_offset_delta)),
            leader_epoch: batch.header.leader_epoch,
        });
    }
    let fetched = Fetched {
        offset: asked.offset,
        leader_epoch: asked.leader_epoch,
        high_watermark: Offset(data.high_watermark),
        log_start_offset: Offset(data.log_start_offset),
        diverging,
        batches,
    };
    PartAnswer::Fetched { fetched, records }
}

/// Where brokers reach `node`, by the listener they use among themselves.
pub(super) fn address(image: &metadata::Image, config: &Config, node: NodeId) -> Option<Address> {
    let listener = config.broker_listener()?.name.as_str();
    let endpoint = image.broker(node)?.endpoints.get(listener)?;
    Some(Address::new(Arc::from(endpoint.host.as_str()), endpoint.port))
}

fn int(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) const EARLIEST: Timestamp = Timestamp(-2);
pub(super) const LATEST: Timestamp = Timestamp(-1);
