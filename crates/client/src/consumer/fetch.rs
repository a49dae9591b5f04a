//! Fetching: one request a leader, and what its answer means for each partition.

use std::collections::BTreeMap;

use protocol::batch::{BatchError, Batches, Record};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition, Uuid};
use runtime::Address;
use transport::client::RpcError;

use super::position::Place;
use super::{Consumer, ConsumerEvent, Event};
use crate::config::AutoOffsetReset;
use crate::metadata::{Metadata, address};

/// "No session" (KIP-227): a full fetch each time.
const NO_SESSION: i32 = -1;

/// What whole batches of an answer hold for a reader.
struct Read {
    records: Vec<Record>,
    place: Place,
    next: Offset,
    problem: Option<String>,
}

impl Consumer {
    pub(super) fn fetch(&mut self, node: NodeId, partitions: Vec<TopicPartition>, metadata: &Metadata) {
        let Some(channel) = self.cluster.channel(node) else {
            self.refresh.wanted = true;
            return;
        };
        let config = self.cluster.config();
        let mut request = FetchRequest {
            max_wait_ms: config.fetch_max_wait.as_millis() as i32,
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            session_epoch: NO_SESSION,
            rack_id: config.client_rack.clone(),
            ..FetchRequest::default()
        };
        let partition_max_bytes = config.max_partition_fetch_bytes;
        for partition in &partitions {
            let Some(Place::At { offset, epoch }) = self.partitions.get(partition).map(|assigned| assigned.place)
            else {
                continue;
            };
            let leader_epoch =
                metadata.leader(&partition.topic, partition.partition).map_or(LeaderEpoch::NONE, |(_, epoch)| epoch);
            let asked = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: leader_epoch.0,
                fetch_offset: offset.0,
                last_fetched_epoch: epoch.0,
                partition_max_bytes,
                ..FetchPartition::default()
            };
            match request.topics.last_mut() {
                Some(last) if last.topic == partition.topic => last.partitions.push(asked),
                _ => request.topics.push(FetchTopic {
                    topic: partition.topic.clone(),
                    topic_id: metadata.topics.get(partition.topic.as_str()).map_or(Uuid::ZERO, |topic| topic.id),
                    partitions: vec![asked],
                    ..FetchTopic::default()
                }),
            }
        }
        let asked = self.began(node, partitions);
        self.counters.fetches += 1;
        let events = self.events.clone();
        channel.submit(request, move |result| events.post(Event::Fetched(asked, result)));
    }

    pub(super) fn fetched(&mut self, asked: Vec<TopicPartition>, result: Result<FetchResponse, RpcError>) {
        let response = match result {
            Ok(response) if response.error_code == 0 => response,
            _ => return self.all_failed(&asked),
        };
        let endpoints: BTreeMap<NodeId, Address> =
            response.node_endpoints.iter().map(|node| (NodeId(node.node_id), address(&node.host, node.port))).collect();
        let metadata = self.cluster.metadata();
        let mut answers = BTreeMap::new();
        for topic in response.responses.iter().rev() {
            let id = if topic.topic.is_empty() { topic.topic_id } else { Uuid::ZERO };
            answers.extend(
                topic.partitions.iter().rev().map(|part| ((topic.topic.as_str(), id, part.partition_index), part)),
            );
        }
        for partition in asked {
            let id = metadata.topics.get(partition.topic.as_str()).map_or(Uuid::ZERO, |topic| topic.id);
            // Since v13 topics have ids there and no names.
            let by_id = answers.get(&("", id, partition.partition));
            let answer = by_id.or_else(|| answers.get(&(partition.topic.as_str(), Uuid::ZERO, partition.partition)));
            match answer.copied() {
                Some(answer) => self.judge(partition, answer, &endpoints),
                None => {
                    self.refresh.wanted = true;
                    self.rest(&partition);
                }
            }
        }
    }

    /// What an answer means for a partition.
    fn judge(&mut self, partition: TopicPartition, answer: &PartitionData, endpoints: &BTreeMap<NodeId, Address>) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let Place::At { offset: from, epoch } = assigned.place else { return };
        let error = ErrorCode::from_code(answer.error_code);
        if !error.is_ok() {
            let leader = NodeId(answer.current_leader.leader_id);
            let leader_epoch = LeaderEpoch(answer.current_leader.leader_epoch);
            let endpoint = endpoints.get(&leader).cloned();
            if self.cluster.learn_leader(&partition.topic, partition.partition, leader, leader_epoch, endpoint) {
                return;
            }
            return self.refused(partition, error, from);
        }
        assigned.failures = 0;
        assigned.high_watermark = Offset(answer.high_watermark);
        let diverging = &answer.diverging_epoch;
        if diverging.end_offset >= 0 {
            let (to, epoch) = (Offset(diverging.end_offset).min(from), LeaderEpoch(diverging.epoch));
            assigned.place = Place::At { offset: to, epoch };
            return self.tell(ConsumerEvent::Truncated { partition, from, to, epoch });
        }
        let Some(bytes) = answer.records.clone() else { return };
        self.counters.bytes += bytes.len() as u64;
        let read = read(bytes, from, epoch, self.cluster.config().check_crcs);
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.place = read.place;
        }
        if !read.records.is_empty() {
            self.counters.records += read.records.len() as u64;
            let high_watermark = Offset(answer.high_watermark);
            let (partition, records, next) = (partition.clone(), read.records, read.next);
            self.tell(ConsumerEvent::Records { partition, records, next, high_watermark });
        }
        if let Some(problem) = read.problem {
            self.rest(&partition);
            self.tell(ConsumerEvent::Corrupt { partition, position: read.next, problem });
        }
    }

    /// A leader, or who was taken for one, refused.
    pub(super) fn refused(&mut self, partition: TopicPartition, error: ErrorCode, position: Offset) {
        use ErrorCode as E;
        probe::sometimes!("consumer_refused");
        self.rest(&partition);
        match error {
            E::OffsetOutOfRange => {
                probe::sometimes!("consumer_out_of_range");
                let place = match self.cluster.config().auto_offset_reset {
                    AutoOffsetReset::Earliest => Place::Earliest,
                    AutoOffsetReset::Latest => Place::Latest,
                    AutoOffsetReset::None => Place::Nowhere,
                };
                if let Some(assigned) = self.partitions.get_mut(&partition) {
                    assigned.place = place;
                }
                self.tell(ConsumerEvent::OutOfRange { partition, position });
            }
            E::NotLeaderOrFollower
            | E::UnknownTopicOrPartition
            | E::LeaderNotAvailable
            | E::ReplicaNotAvailable
            | E::FencedLeaderEpoch
            | E::KafkaStorageError
            | E::UnknownTopicId
            | E::InconsistentTopicId
            | E::OffsetNotAvailable => self.refresh.wanted = true,
            // The broker has not heard of the epoch yet: only time helps.
            E::UnknownLeaderEpoch => {}
            error => {
                self.refresh.wanted |= error.is_invalid_metadata();
                self.tell(ConsumerEvent::Failed { partition, error });
            }
        }
    }
}

/// Reads the whole batches of an answer from `from` on; a cut tail is left.
fn read(bytes: protocol::Chunks, from: Offset, epoch: LeaderEpoch, check_crcs: bool) -> Read {
    let given = bytes.len();
    let mut out = Read { records: Vec::new(), place: Place::At { offset: from, epoch }, next: from, problem: None };
    let mut batches = Batches::new(bytes);
    for batch in &mut batches {
        if let Err(error) = batch.and_then(|batch| one(&batch, check_crcs, &mut out)) {
            out.problem = Some(error.to_string());
            return out;
        }
    }
    if given > 0 && batches.position() == 0 {
        out.problem = Some("not one whole batch".into());
    }
    out
}

fn one(batch: &protocol::batch::Batch, check_crcs: bool, out: &mut Read) -> Result<(), BatchError> {
    let header = &batch.header;
    if header.next_offset() <= out.next {
        return Ok(());
    }
    if check_crcs {
        batch.verify_crc()?;
    }
    if !header.is_control() {
        let before = out.records.len();
        for record in batch.records()? {
            match record {
                Ok(record) if record.offset >= out.next => out.records.push(record),
                Ok(_) => {}
                Err(error) => {
                    // All of a batch or nothing.
                    out.records.truncate(before);
                    return Err(error);
                }
            }
        }
    }
    out.next = header.next_offset();
    out.place = Place::At { offset: out.next, epoch: header.leader_epoch };
    Ok(())
}
