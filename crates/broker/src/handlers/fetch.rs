//! Fetch, of consumers and of followers.
//!
//! Every fetch is a full one: a client that asks for a session gets none (session id 0), which Kafka does too when it has
//! no room. Absent until they come: sessions (KIP-227), reading from the nearest replica (KIP-392), aborted transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::{BrokerEpoch, Chunks, ErrorCode, LeaderEpoch, NodeId, Offset, Str, TopicIdPartition, Uuid};
use replication::{FetchFrom, FetchGather, FetchGatherEffect, FetchGatherEvent, share_out};
use runtime::{Inbox, Post, inbox};
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::Serving;
use super::lookup::{current_leader, find};
use crate::shard::{Fetch, FetchPart, FetchReply, PartData, RequestId, ShardMessage};

/// Starts a fetch request.
pub fn call(serving: &Serving, context: &RequestContext, frame: &RequestFrame) -> Answer {
    let version = context.api_version;
    let Ok(request) = frame.decode::<FetchRequest>(version) else { return Answer::CLOSE };
    if request.session_epoch > 0 {
        // There are no sessions: whatever the id, it is not known.
        let response =
            FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound.code(), ..FetchResponse::default() };
        return context.answer(&response);
    }
    let mut fetching = Fetching::new(serving.clone(), context.clone(), &request);
    fetching.take(&request);
    if fetching.sent.is_empty() {
        return fetching.reply().into();
    }
    let deadline = context.arrival.mono + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let gather = FetchGather::new(fetching.sent.len(), fetching.min_bytes, deadline);
    let (reply, inbox) = inbox(usize::MAX);
    fetching.post(&reply, true);
    Answer::later(async move {
        if fetching.gather(gather, inbox, reply).await.is_none() {
            return Reply::Close;
        }
        fetching.reply()
    })
}

/// A fetch request on its way.
struct Fetching {
    serving: Serving,
    context: RequestContext,
    parts: Vec<Part>,
    /// The places in `parts` of what was sent to shards, in the order of the gather.
    sent: Vec<usize>,
    /// By shard.
    sorted: Vec<Vec<FetchPart>>,
    max_bytes: usize,
    min_bytes: usize,
    may_wait: bool,
    read_committed: bool,
    replica: NodeId,
    broker_epoch: BrokerEpoch,
    watches: Watches,
}

struct Part {
    /// As the request names it.
    topic: Str,
    topic_id: Uuid,
    partition: i32,
    /// As the metadata know it.
    id: Option<TopicIdPartition>,
    error: ErrorCode,
    max_bytes: usize,
    /// Which shard reads it.
    shard: usize,
    read: Option<PartData>,
}

/// The shards where this request has watches. They end with the request, however it ends.
struct Watches {
    serving: Serving,
    request: RequestId,
    shards: BTreeSet<usize>,
    /// First reads that have not come back: who was asked for them may place a watch yet.
    unread: usize,
    asked: BTreeSet<usize>,
}

impl Drop for Watches {
    fn drop(&mut self) {
        if self.unread > 0 {
            self.shards.append(&mut self.asked);
        }
        for shard in &self.shards {
            self.serving.shards.post(*shard, ShardMessage::Unwatch(self.request));
        }
    }
}

impl Fetching {
    fn new(serving: Serving, context: RequestContext, request: &FetchRequest) -> Self {
        let (replica, broker_epoch) = if context.api_version >= 15 {
            (request.replica_state.replica_id, BrokerEpoch(request.replica_state.replica_epoch))
        } else {
            (request.replica_id, BrokerEpoch::NONE)
        };
        // -2 is for debugging, and reads like a consumer.
        let replica = if replica >= 0 { NodeId(replica) } else { NodeId::NONE };
        let limit = if replica.is_none() { serving.config.numbers.fetch_max_bytes } else { i64::MAX };
        let max_bytes = size(i64::from(request.max_bytes).min(limit));
        Self {
            watches: Watches {
                serving: serving.clone(),
                request: serving.shards.request_id(),
                shards: BTreeSet::new(),
                unread: 0,
                asked: BTreeSet::new(),
            },
            sorted: (0..serving.shards.count()).map(|_| Vec::new()).collect(),
            serving,
            context,
            parts: Vec::new(),
            sent: Vec::new(),
            max_bytes,
            min_bytes: size(i64::from(request.min_bytes)).min(max_bytes),
            may_wait: request.max_wait_ms > 0 && request.min_bytes > 0,
            read_committed: request.isolation_level == 1,
            replica,
            broker_epoch,
        }
    }

    fn take(&mut self, request: &FetchRequest) {
        let image = self.serving.image.load();
        let version = self.context.api_version;
        for topic in &request.topics {
            for asked in &topic.partitions {
                let found = find(&image, version >= 13, &topic.topic, topic.topic_id, asked.partition);
                let mut part = Part {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    partition: asked.partition,
                    id: found.as_ref().ok().map(|named| named.id),
                    error: ErrorCode::None,
                    max_bytes: size(i64::from(asked.partition_max_bytes)),
                    shard: 0,
                    read: None,
                };
                match found {
                    Err(error) => part.error = error,
                    Ok(_) if asked.partition_max_bytes < 0 => part.error = ErrorCode::UnknownServerError,
                    Ok(named) => {
                        let shard = self.serving.shards.owner(&named.name, named.id.partition);
                        part.shard = shard;
                        self.sorted[shard].push(FetchPart {
                            part: self.sent.len(),
                            partition: named.id,
                            from: FetchFrom {
                                replica: self.replica,
                                broker_epoch: self.broker_epoch,
                                current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
                                last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch),
                                offset: Offset(asked.fetch_offset),
                                leader_only: !self.replica.is_none() || version <= 10,
                            },
                            log_start_offset: Offset(asked.log_start_offset),
                            max_bytes: part.max_bytes,
                        });
                        self.sent.push(self.parts.len());
                    }
                }
                self.parts.push(part);
            }
        }
    }

    /// Sends the parts to their shards: the first time, or to be read anew.
    fn post(&mut self, reply: &Post<FetchReply>, arrives: bool) {
        for (shard, parts) in self.sorted.iter().enumerate() {
            if !parts.is_empty() {
                let fetch = Fetch {
                    request: self.watches.request,
                    parts: parts.clone(),
                    max_bytes: self.max_bytes,
                    min_bytes: self.min_bytes,
                    arrives,
                    may_wait: self.may_wait,
                    reply: reply.clone(),
                };
                self.serving.shards.post(shard, ShardMessage::Fetch(fetch));
                if arrives && self.may_wait {
                    self.watches.asked.insert(shard);
                    self.watches.unread += parts.len();
                }
            }
        }
        if !arrives {
            // Reading anew ends them.
            self.watches.shards.clear();
        }
    }

    /// Waits until the answer is due; `None` if the shards are gone.
    async fn gather(
        &mut self,
        mut gather: FetchGather,
        mut inbox: Inbox<FetchReply>,
        reply: Post<FetchReply>,
    ) -> Option<()> {
        let env = self.serving.env.clone();
        loop {
            let next = match gather.deadline() {
                None => Ok(inbox.recv().await),
                Some(at) => env.timeout_at(at, inbox.recv()).await,
            };
            let event = match next {
                Ok(None) => return None,
                Ok(Some(FetchReply::Read(data))) => {
                    let (part, read) = (data.part, data.read);
                    self.keep(data);
                    FetchGatherEvent::Read { part, read }
                }
                Ok(Some(FetchReply::Moved { part, readable })) => FetchGatherEvent::Moved { part, readable },
                Ok(Some(FetchReply::Changed)) => FetchGatherEvent::Changed,
                Err(_) => FetchGatherEvent::Tick,
            };
            match gather.step(env.now(), event) {
                None => {}
                Some(FetchGatherEffect::ReadAnew) => self.post(&reply, false),
                Some(FetchGatherEffect::Answer) => return Some(()),
            }
        }
    }

    fn keep(&mut self, data: PartData) {
        let place = self.sent[data.part];
        self.watches.unread = self.watches.unread.saturating_sub(1);
        if data.watched {
            self.watches.shards.insert(self.parts[place].shard);
        }
        self.parts[place].read = Some(data);
    }

    fn reply(&mut self) -> Reply {
        let sizes = self.parts.iter().map(|part| match &part.read {
            Some(read) => (read.records.len(), first_batch_size(&read.records), part.max_bytes),
            None => (0, 0, 0),
        });
        let given = share_out(self.max_bytes, sizes);
        let image = self.serving.image.load();
        let version = self.context.api_version;
        let mut response = FetchResponse::default();
        let mut endpoints = BTreeMap::new();
        let parts = std::mem::take(&mut self.parts);
        for (part, given) in parts.into_iter().zip(given) {
            let (topic, topic_id, id) = (part.topic.clone(), part.topic_id, part.id);
            let mut answer = part.answer(given, self.read_committed, version);
            let code = ErrorCode::from_code(answer.error_code);
            if version >= 16
                && matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
                && let Some(leader) = id.and_then(|id| current_leader(&image, &self.context, id))
            {
                answer.current_leader =
                    LeaderIdAndEpoch { leader_id: leader.id.0, leader_epoch: leader.epoch.0, ..Default::default() };
                if let Some((endpoint, rack)) = leader.endpoint {
                    let endpoint = NodeEndpoint {
                        node_id: leader.id.0,
                        host: endpoint.host.clone(),
                        port: i32::from(endpoint.port),
                        rack,
                        ..Default::default()
                    };
                    endpoints.insert(leader.id, endpoint);
                }
            }
            let same = |known: &&mut FetchableTopicResponse| known.topic == topic && known.topic_id == topic_id;
            match response.responses.last_mut().filter(same) {
                Some(known) => known.partitions.push(answer),
                None => response.responses.push(FetchableTopicResponse {
                    topic,
                    topic_id,
                    partitions: vec![answer],
                    ..Default::default()
                }),
            }
        }
        response.node_endpoints = endpoints.into_values().collect();
        self.context.reply(&response)
    }
}

impl Part {
    fn answer(self, given: usize, read_committed: bool, version: i16) -> PartitionData {
        let error = self.read.as_ref().map_or(self.error, |read| read.error);
        let error = match error {
            ErrorCode::KafkaStorageError if version <= 5 => ErrorCode::NotLeaderOrFollower,
            error => error,
        };
        let mut answer = PartitionData {
            partition_index: self.partition,
            error_code: error.code(),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            records: Some(Chunks::new()),
            ..Default::default()
        };
        if let Some(mut read) = self.read
            && error == ErrorCode::None
        {
            answer.high_watermark = read.high_watermark.0;
            answer.last_stable_offset = read.high_watermark.0;
            answer.log_start_offset = read.log_start_offset.0;
            answer.aborted_transactions = read_committed.then(Vec::new);
            if let Some(diverging) = read.diverging {
                answer.diverging_epoch =
                    EpochEndOffset { epoch: diverging.epoch.0, end_offset: diverging.end.0, ..Default::default() };
            }
            answer.records = Some(if given < read.records.len() { read.records.split_to(given) } else { read.records });
        }
        answer
    }
}

/// The size of the batch that `records` begin with; all of them if they are too short to tell.
fn first_batch_size(records: &Chunks) -> usize {
    let mut head = [0; 12];
    if records.len() < head.len() {
        return records.len();
    }
    let bytes = records.iter().flat_map(|piece| piece.iter());
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    (12 + usize::try_from(length).unwrap_or(0)).min(records.len())
}

fn size(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}
