//! Finding a position: ListOffsets to the leaders.

use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition};
use transport::client::RpcError;

use super::position::Place;
use super::{Consumer, ConsumerEvent, Event};
use crate::metadata::Metadata;

/// The timestamps that stand for the ends of a log.
pub(crate) const LATEST: i64 = -1;
/// The first offset.
pub(crate) const EARLIEST: i64 = -2;

impl Consumer {
    pub(super) fn list(&mut self, node: NodeId, partitions: Vec<TopicPartition>, metadata: &Metadata) {
        let Some(channel) = self.cluster.channel(node) else {
            self.refresh.wanted = true;
            return;
        };
        let mut request = ListOffsetsRequest {
            replica_id: NodeId::NONE.0,
            timeout_ms: self.cluster.config().request_timeout.as_millis() as i32,
            ..ListOffsetsRequest::default()
        };
        for partition in &partitions {
            let epoch =
                metadata.leader(&partition.topic, partition.partition).map_or(LeaderEpoch::NONE, |(_, epoch)| epoch);
            let latest = self.partitions.get(partition).is_some_and(|assigned| assigned.place == Place::Latest);
            let asked = ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: epoch.0,
                timestamp: if latest { LATEST } else { EARLIEST },
                ..ListOffsetsPartition::default()
            };
            match request.topics.last_mut() {
                Some(last) if last.name == partition.topic => last.partitions.push(asked),
                _ => request.topics.push(ListOffsetsTopic {
                    name: partition.topic.clone(),
                    partitions: vec![asked],
                    ..ListOffsetsTopic::default()
                }),
            }
        }
        let asked = self.began(node, partitions);
        let events = self.events.clone();
        channel.submit(request, move |result| events.post(Event::Listed(asked, result)));
    }

    pub(super) fn listed(&mut self, asked: Vec<TopicPartition>, result: Result<ListOffsetsResponse, RpcError>) {
        let Ok(response) = result else { return self.all_failed(&asked) };
        for partition in asked {
            let answer = response
                .topics
                .iter()
                .filter(|topic| topic.name == partition.topic)
                .flat_map(|topic| &topic.partitions)
                .find(|answer| answer.partition_index == partition.partition);
            let Some(answer) = answer else {
                self.rest(&partition);
                continue;
            };
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => {
                    let offset = Offset(answer.offset);
                    if let Some(assigned) = self.partitions.get_mut(&partition) {
                        assigned.place = Place::At { offset, epoch: LeaderEpoch::NONE };
                        assigned.failures = 0;
                    }
                    self.tell(ConsumerEvent::Positioned { partition, offset });
                }
                error => self.refused(partition, error, Offset::NONE),
            }
        }
    }
}
