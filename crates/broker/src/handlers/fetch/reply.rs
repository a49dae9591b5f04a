//! The answer to a fetch: which partitions are in it, and what each gives.

use std::collections::BTreeMap;

use protocol::messages::FetchResponse;
use protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use protocol::{Chunks, ErrorCode, NodeId, Offset};
use replication::{SessionId, Told, share_out};
use transport::server::Reply;

use super::{Fetching, Part};
use crate::handlers::lookup::current_leader;

/// The answer to a Fetch that is refused as a whole.
pub(super) fn refused(error: ErrorCode, session_id: SessionId) -> FetchResponse {
    FetchResponse { error_code: error.code(), session_id, ..FetchResponse::default() }
}

impl Fetching {
    pub(super) fn reply(&mut self) -> Reply {
        if let Some(hold) = &self.session
            && let Err(error) = hold.sessions.cache(|cache| cache.check(hold.held))
        {
            return self.context.reply(&refused(error, hold.held.id));
        }
        let sizes = self.parts.iter().map(|part| match &part.read {
            Some(read) => (read.records.len(), first_batch_size(&read.records), part.max_bytes),
            None => (0, 0, 0),
        });
        let given = share_out(self.max_bytes, sizes);
        let version = self.context.api_version;
        let parts = std::mem::take(&mut self.parts).into_iter().zip(given);
        let mut answers: Vec<_> = parts.map(|(part, given)| part.answer(given, self.read_committed, version)).collect();
        let mut response = FetchResponse::default();
        if let Some(hold) = &mut self.session {
            hold.answered = true;
            response.session_id = hold.held.id;
            // All are told; only an incremental answer leaves out what the client knows.
            let is_full = hold.is_new;
            hold.sessions.cache(|cache| {
                answers.retain(|(part, answer)| {
                    let must = part.place.is_none_or(|place| cache.tell(place, told(answer)));
                    must || is_full
                });
            });
        }
        let mut endpoints = BTreeMap::new();
        for (part, mut answer) in answers {
            if version >= 16 {
                self.say_leader(&part, &mut answer, &mut endpoints);
            }
            let key = part.key;
            let same = |known: &&mut FetchableTopicResponse| known.topic == key.topic && known.topic_id == key.topic_id;
            match response.responses.last_mut().filter(same) {
                Some(known) => known.partitions.push(answer),
                None => response.responses.push(FetchableTopicResponse {
                    topic: key.topic,
                    topic_id: key.topic_id,
                    partitions: vec![answer],
                    ..Default::default()
                }),
            }
        }
        response.node_endpoints = endpoints.into_values().collect();
        self.context.reply(&response)
    }

    /// Who asked the wrong broker is told the right one (KIP-951).
    fn say_leader(&self, part: &Part, answer: &mut PartitionData, endpoints: &mut BTreeMap<NodeId, NodeEndpoint>) {
        let code = ErrorCode::from_code(answer.error_code);
        if !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return;
        }
        let image = self.serving.image.load();
        let Some(leader) = part.id.and_then(|id| current_leader(&image, &self.context, id)) else { return };
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
}

impl Part {
    fn answer(mut self, given: usize, read_committed: bool, version: i16) -> (Self, PartitionData) {
        let error = self.read.as_ref().map_or(self.error, |read| read.error);
        let error = match error {
            ErrorCode::KafkaStorageError if version <= 5 => ErrorCode::NotLeaderOrFollower,
            error => error,
        };
        let mut answer = PartitionData {
            partition_index: self.key.partition,
            error_code: error.code(),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            records: Some(Chunks::new()),
            ..Default::default()
        };
        if let Some(mut read) = self.read.take()
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
            answer.preferred_read_replica = read.preferred.0;
            answer.records = Some(if given < read.records.len() { read.records.split_to(given) } else { read.records });
        }
        (self, answer)
    }
}

fn told(answer: &PartitionData) -> Told {
    Told {
        is_error: answer.error_code != 0,
        has_data: answer.records.as_ref().is_some_and(|records| !records.is_empty())
            || answer.diverging_epoch.epoch >= 0
            || answer.preferred_read_replica >= 0,
        high_watermark: Offset(answer.high_watermark),
        log_start_offset: Offset(answer.log_start_offset),
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
