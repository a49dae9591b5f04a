//! ListOffsets: ends, and offsets by time.

use std::collections::BTreeMap;

use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::{ErrorCode, LeaderEpoch, Str, Timestamp, Uuid};
use replication::{ListOffsets, OffsetAnswer, ReadLimit};
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::lookup::find;
use super::scatter::{Scattered, ShardGone};
use super::{Serving, read};
use crate::shard::{ListOffset, ShardMessage};

/// `ReplicaId` of consumers.
const CONSUMER: i32 = -1;
/// `ReplicaId` of whoever looks for a fault: any replica answers, up to its log's end.
const DEBUGGING: i32 = -2;

/// Starts a ListOffsets request.
pub fn call(serving: &Serving, context: &RequestContext, frame: &RequestFrame) -> Answer {
    let version = context.api_version;
    let Some(request) = read::<ListOffsetsRequest>(context, frame) else { return Answer::CLOSE };
    let image = serving.image.load();
    let limit = if request.replica_id == CONSUMER { ReadLimit::HighWatermark } else { ReadLimit::LogEnd };
    let leader_only = request.replica_id != DEBUGGING;
    let mut parts: Vec<Part> = Vec::new();
    let mut places = BTreeMap::new();
    let mut sorted: Vec<Vec<ListOffset>> = (0..serving.shards.count()).map(|_| Vec::new()).collect();
    for topic in &request.topics {
        for asked in &topic.partitions {
            let place = *places.entry((topic.name.clone(), asked.partition_index)).or_insert(parts.len());
            if place < parts.len() {
                parts[place].found = Some(Err(ErrorCode::InvalidRequest));
                continue;
            }
            let what = what(asked.timestamp, version);
            let found = find(&image, false, &topic.name, Uuid::ZERO, asked.partition_index);
            let mut part = Part { topic: topic.name.clone(), partition: asked.partition_index, found: None };
            match (what, found) {
                (Err(error), _) | (_, Err(error)) => part.found = Some(Err(error)),
                (Ok(what), Ok(named)) => {
                    let shard = serving.shards.owner(&named.name, named.id.partition);
                    sorted[shard].push(ListOffset {
                        part: place,
                        partition: named.id,
                        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
                        limit,
                        leader_only,
                        what,
                    });
                }
            }
            parts.push(part);
        }
    }
    for asked in &mut sorted {
        // A partition that turned out to be named twice is not asked for.
        asked.retain(|ask| parts[ask.part].found.is_none());
    }
    let mut answers =
        Scattered::ask(&serving.shards, sorted, |parts, reply| ShardMessage::ListOffsets { parts, reply });
    let context = context.clone();
    if answers.is_empty() {
        return respond(&context, &parts).into();
    }
    Answer::later(async move {
        loop {
            match answers.next().await {
                Ok(Some((part, found))) => parts[part].found = Some(found),
                Ok(None) => return respond(&context, &parts),
                Err(ShardGone) => return Reply::Close,
            }
        }
    })
}

struct Part {
    topic: Str,
    partition: i32,
    found: Option<Result<OffsetAnswer, ErrorCode>>,
}

/// What a timestamp asks for. The special ones came with versions.
fn what(timestamp: i64, version: i16) -> Result<ListOffsets, ErrorCode> {
    match timestamp {
        0.. => Ok(ListOffsets::AtTimestamp(Timestamp(timestamp))),
        -1 => Ok(ListOffsets::Latest),
        -2 => Ok(ListOffsets::Earliest),
        -3 if version >= 7 => Ok(ListOffsets::MaxTimestamp),
        -4 if version >= 8 => Ok(ListOffsets::Earliest),
        -5 if version >= 9 => Ok(ListOffsets::Tiered),
        -6 if version >= 11 => Ok(ListOffsets::Tiered),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn respond(context: &RequestContext, parts: &[Part]) -> Reply {
    let mut response = ListOffsetsResponse::default();
    for part in parts {
        let (error, found) = match part.found {
            Some(Ok(found)) => (ErrorCode::None, found),
            // Older clients do not know that an offset may not be available yet.
            Some(Err(ErrorCode::OffsetNotAvailable)) if context.api_version <= 4 => {
                (ErrorCode::LeaderNotAvailable, OffsetAnswer::NONE)
            }
            Some(Err(error)) => (error, OffsetAnswer::NONE),
            None => (ErrorCode::UnknownServerError, OffsetAnswer::NONE),
        };
        let answer = ListOffsetsPartitionResponse {
            partition_index: part.partition,
            error_code: error.code(),
            timestamp: found.timestamp.0,
            offset: found.offset.0,
            leader_epoch: if context.api_version >= 4 { found.leader_epoch.0 } else { -1 },
            ..Default::default()
        };
        match response.topics.last_mut().filter(|topic| topic.name == part.topic) {
            Some(topic) => topic.partitions.push(answer),
            None => response.topics.push(ListOffsetsTopicResponse {
                name: part.topic.clone(),
                partitions: vec![answer],
                ..Default::default()
            }),
        }
    }
    context.reply(&response)
}
