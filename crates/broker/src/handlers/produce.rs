//! Produce: batches are judged here, in the connection's task, appended by the shards, and acknowledged together.
//!
//! Sequence numbers of idempotent producers are judged by the shards, whose logs know them. Absent until they come:
//! transactions (refused).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::batch::{Batch, Invalid, TimestampType, single, validate};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::{Chunks, ErrorCode, NodeId, Offset, Str, Timestamp, TopicIdPartition, TopicPartition, Uuid};
use replication::{ProduceGather, ProduceOutcome};
use runtime::{Inbox, Observation, inbox};
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::lookup::{current_leader, find};
use super::metadata::INTERNAL;
use super::{Serving, read};
use crate::shard::{Produce, ProducePart, ProduceReply, ShardMessage, rules};

/// Starts a produce request.
pub fn call(serving: &Serving, context: &RequestContext, frame: &RequestFrame) -> Answer {
    let Some(request) = read::<ProduceRequest>(context, frame) else { return Answer::CLOSE };
    let acks = request.acks;
    let time_out = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut producing = Producing::new(serving.clone(), context.clone(), acks);
    let mut sorted: Vec<Vec<ProducePart>> = (0..serving.shards.count()).map(|_| Vec::new()).collect();
    producing.take(request, &mut sorted);

    let sent: usize = sorted.iter().map(Vec::len).sum();
    let (reply, inbox) = inbox(usize::MAX);
    for (shard, parts) in sorted.into_iter().enumerate() {
        if !parts.is_empty() {
            serving.shards.post(shard, ShardMessage::Produce(Produce { acks, parts, reply: reply.clone() }));
        }
    }
    drop(reply);
    if sent == 0 {
        return producing.reply().into();
    }
    let gather = ProduceGather::new(sent, time_out);
    Answer::later(async move {
        producing.gather(gather, inbox).await;
        producing.reply()
    })
}

/// A produce request on its way.
struct Producing {
    serving: Serving,
    context: RequestContext,
    acks: i16,
    parts: Vec<Part>,
    /// The places in `parts` of what was sent to shards, in the order of the gather.
    sent: Vec<usize>,
}

struct Part {
    /// As the request names it.
    topic: Str,
    topic_id: Uuid,
    partition: i32,
    /// As the metadata know it.
    id: Option<(Str, TopicIdPartition)>,
    outcome: ProduceOutcome,
    reply: Option<ProduceReply>,
    /// With LogAppendTime, the time.
    appended_at: Timestamp,
    invalid: Option<Invalid>,
}

impl Producing {
    fn new(serving: Serving, context: RequestContext, acks: i16) -> Self {
        Self { serving, context, acks, parts: Vec::new(), sent: Vec::new() }
    }

    /// Judges all parts; what is good goes into `sorted`, by shard.
    fn take(&mut self, request: ProduceRequest, sorted: &mut [Vec<ProducePart>]) {
        let image = self.serving.image.load();
        let by_id = self.context.api_version >= 13;
        let mut places = BTreeMap::new();
        let mut transactional = false;
        let mut batches = Vec::new();
        for topic in request.topic_data {
            for data in topic.partition_data {
                let found = find(&image, by_id, &topic.name, topic.topic_id, data.index);
                let part = Part {
                    topic: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition: data.index,
                    id: found.as_ref().ok().map(|named| (named.name.clone(), named.id)),
                    outcome: failed(ErrorCode::None),
                    reply: None,
                    appended_at: Timestamp::NONE,
                    invalid: None,
                };
                let batch = self.batch(found.map(|_| ()), data.records);
                if let Ok(batch) = &batch {
                    transactional |= batch.header.attributes.is_transactional();
                }
                // A partition named twice: the last one counts.
                let place = *places.entry((topic.topic_id, topic.name.clone(), data.index)).or_insert(self.parts.len());
                if place == self.parts.len() {
                    self.parts.push(part);
                    batches.push(batch);
                } else {
                    batches[place] = batch;
                }
            }
        }
        let now = self.serving.env.now().wall;
        for (place, batch) in batches.into_iter().enumerate() {
            let judged = if transactional {
                // Nobody has added the partition to a transaction: there are none yet.
                Err(Refused::At(ErrorCode::TransactionalIdAuthorizationFailed))
            } else {
                batch.map_err(Refused::Step2).and_then(|batch| self.judge(&image, place, batch, now))
            };
            let part = &mut self.parts[place];
            let batch = match judged {
                Ok(batch) => Ok(batch),
                Err(Refused::At(error)) => {
                    part.outcome = failed(error);
                    continue;
                }
                Err(Refused::Step2(invalid)) => {
                    part.outcome = failed(invalid.error);
                    continue;
                }
                Err(Refused::Log(invalid)) => {
                    let error = invalid.error;
                    part.invalid = Some(invalid);
                    Err(error)
                }
            };
            let (name, id) = part.id.clone().expect("unknown partitions were refused");
            if let Ok(batch) = &batch
                && batch.header.timestamp_type() == TimestampType::LogAppendTime
            {
                part.appended_at = batch.header.max_timestamp;
            }
            let shard = self.serving.shards.owner(&name, id.partition);
            sorted[shard].push(ProducePart { part: self.sent.len(), partition: id, batch });
            self.sent.push(place);
        }
    }

    /// What can be said of a part before its topic is looked at.
    fn batch(&self, known: Result<(), ErrorCode>, records: Option<Chunks>) -> Result<Batch, Invalid> {
        let refuse = |error, message: &str| Invalid { error, message: message.to_owned(), records: Vec::new() };
        known.map_err(|error| refuse(error, "unknown"))?;
        let records = records.ok_or_else(|| refuse(ErrorCode::InvalidRecord, "no records"))?;
        let batch = single(records, self.context.api_version)?;
        if !matches!(self.acks, -1..=1) {
            return Err(refuse(ErrorCode::InvalidRequiredAcks, "acks are -1, 0 or 1"));
        }
        Ok(batch)
    }

    fn judge(&self, image: &::metadata::Image, place: usize, batch: Batch, now: Timestamp) -> Result<Batch, Refused> {
        let (name, id) = self.parts[place].id.as_ref().expect("unknown partitions were refused");
        if INTERNAL.contains(&name.as_str()) && self.context.client_id != "__admin_client" {
            return Err(Refused::At(ErrorCode::InvalidTopicException));
        }
        if image.partition(*id).is_none_or(|registration| registration.leader != self.serving.config.node_id) {
            return Err(Refused::At(ErrorCode::NotLeaderOrFollower));
        }
        let rules = rules::batch_rules(image, &self.serving.config, name, now);
        validate(&batch, &rules).map_err(|invalid| match invalid.error {
            ErrorCode::CorruptMessage | ErrorCode::MessageTooLarge => Refused::At(invalid.error),
            _ => Refused::Log(invalid),
        })
    }

    async fn gather(&mut self, mut gather: ProduceGather, mut inbox: Inbox<ProduceReply>) {
        let env = self.serving.env.clone();
        while !gather.is_done() {
            let next = match gather.deadline() {
                None => Ok(inbox.recv().await),
                Some(at) => env.timeout_at(at, inbox.recv()).await,
            };
            let now = env.now();
            match next {
                Ok(Some(reply)) => {
                    let place = self.sent[reply.part];
                    match reply.error {
                        None => gather.appended(now, reply.part, reply.base, reply.log_start_offset),
                        Some(error) => {
                            let outcome =
                                ProduceOutcome { error, base: reply.base, log_start_offset: reply.log_start_offset };
                            gather.finished(now, reply.part, outcome);
                        }
                    }
                    self.parts[place].reply = Some(reply);
                }
                // The shards are gone: the broker stops.
                Ok(None) => {
                    for part in 0..self.sent.len() {
                        gather.finished(now, part, failed(ErrorCode::NotLeaderOrFollower));
                    }
                }
                Err(_) => gather.tick(now),
            }
        }
        for (place, outcome) in self.sent.iter().zip(gather.outcomes()) {
            self.parts[*place].outcome = outcome;
        }
    }

    fn reply(&self) -> Reply {
        if self.acks == 0 {
            let failed = self.parts.iter().any(|part| part.outcome.error != ErrorCode::None);
            return if failed { Reply::Close } else { Reply::NoResponse };
        }
        self.observe();
        let image = self.serving.image.load();
        let version = self.context.api_version;
        let mut response = ProduceResponse::default();
        let mut endpoints = BTreeMap::new();
        for part in &self.parts {
            let mut answer = part.answer();
            if part.outcome.error == ErrorCode::NotLeaderOrFollower
                && version >= 10
                && let Some((_, id)) = &part.id
                && let Some(leader) = current_leader(&image, &self.context, *id)
            {
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: leader.id.0, leader_epoch: leader.epoch.0, ..Default::default() };
                if let Some((endpoint, rack)) = leader.endpoint {
                    endpoints.insert(leader.id, node_endpoint(leader.id, &endpoint, rack));
                }
            }
            let same = |topic: &&mut TopicProduceResponse| topic.name == part.topic && topic.topic_id == part.topic_id;
            match response.responses.last_mut().filter(same) {
                Some(topic) => topic.partition_responses.push(answer),
                None => response.responses.push(TopicProduceResponse {
                    name: part.topic.clone(),
                    topic_id: part.topic_id,
                    partition_responses: vec![answer],
                    ..Default::default()
                }),
            }
        }
        response.node_endpoints = endpoints.into_values().collect();
        self.context.reply(&response)
    }

    fn observe(&self) {
        if !self.serving.env.observed() {
            return;
        }
        for part in &self.parts {
            if let (ErrorCode::None, Some(reply), Some((name, id))) = (part.outcome.error, &part.reply, &part.id) {
                self.serving.env.observe(Observation::Acknowledged {
                    partition: TopicPartition::new(name.clone(), id.partition),
                    base: reply.base,
                    last: reply.end.plus(-1),
                    acks: self.acks,
                    leader_epoch: reply.leader_epoch,
                });
            }
        }
    }
}

impl Part {
    fn answer(&self) -> PartitionProduceResponse {
        let ProduceOutcome { error, base, log_start_offset } = self.outcome;
        // Of a repeat Kafka tells the largest timestamp of the batch that is there, whatever timestamps the topic has.
        let repeated = self.reply.as_ref().and_then(|reply| reply.repeated);
        let appended_at = repeated.unwrap_or(self.appended_at);
        let mut answer = PartitionProduceResponse {
            index: self.partition,
            error_code: error.code(),
            base_offset: base.0,
            log_append_time_ms: if error == ErrorCode::None { appended_at.0 } else { -1 },
            log_start_offset: log_start_offset.0,
            ..Default::default()
        };
        if let Some(invalid) = &self.invalid
            && invalid.error == error
            && !invalid.records.is_empty()
        {
            answer.error_message = Some(invalid.message.as_str().into());
            answer.record_errors = invalid
                .records
                .iter()
                .map(|(index, text)| BatchIndexAndErrorMessage {
                    batch_index: *index,
                    batch_index_error_message: Some(text.as_str().into()),
                    ..Default::default()
                })
                .collect();
        }
        answer
    }
}

/// Why a part is refused, by who does it.
enum Refused {
    /// Before the log, without its start.
    At(ErrorCode),
    /// What the request's own form forbids.
    Step2(Invalid),
    /// By the log's rules: the answer names its start, and comes from the shard.
    Log(Invalid),
}

fn failed(error: ErrorCode) -> ProduceOutcome {
    ProduceOutcome { error, base: Offset::NONE, log_start_offset: Offset::NONE }
}

fn node_endpoint(id: NodeId, endpoint: &::metadata::Endpoint, rack: Option<Str>) -> NodeEndpoint {
    NodeEndpoint {
        node_id: id.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        rack,
        ..Default::default()
    }
}
