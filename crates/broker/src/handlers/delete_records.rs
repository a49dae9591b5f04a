//! DeleteRecords: all below an offset is to go. Answered when no replica on a live broker has it any more, or when the time
//! is up; then what is gone stays so.

use std::time::Duration;

use protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol::{ErrorCode, Offset, Str, Uuid};
use transport::server::{Answer, Reply, RequestContext};

use super::Serving;
use super::lookup::find;
use super::metadata::INTERNAL;
use super::scatter::{Scattered, ShardGone};
use crate::shard::{Deletion, ShardMessage, rules};

/// The committed records' end.
const HIGH_WATERMARK: i64 = -1;

/// Starts a DeleteRecords.
pub fn call(serving: &Serving, context: &RequestContext, request: DeleteRecordsRequest) -> Answer {
    let image = serving.image.load();
    let mut parts: Vec<Part> = Vec::new();
    let mut sorted: Vec<Vec<Deletion>> = (0..serving.shards.count()).map(|_| Vec::new()).collect();
    for topic in &request.topics {
        for asked in &topic.partitions {
            let mut part = Part { topic: topic.name.clone(), partition: asked.partition_index, outcome: None };
            let before = match asked.offset {
                HIGH_WATERMARK => Ok(None),
                offset if offset < 0 => Err(ErrorCode::OffsetOutOfRange),
                offset => Ok(Some(Offset(offset))),
            };
            let found = find(&image, false, &topic.name, Uuid::ZERO, asked.partition_index);
            let judged = match found {
                _ if INTERNAL.contains(&topic.name.as_str()) => Err(ErrorCode::InvalidTopicException),
                Ok(_) if rules::is_only_compacted(&image, &serving.config, &topic.name) => {
                    Err(ErrorCode::PolicyViolation)
                }
                found => found.and_then(|named| Ok((named, before?))),
            };
            match judged {
                Err(error) => part.outcome = Some(Err((error, Offset::NONE))),
                Ok((named, before)) => {
                    let shard = serving.shards.owner(&named.name, named.id.partition);
                    sorted[shard].push(Deletion { part: parts.len(), partition: named.id, before });
                }
            }
            parts.push(part);
        }
    }
    let id = serving.shards.request_id();
    let asked: Vec<usize> = (0..sorted.len()).filter(|shard| !sorted[*shard].is_empty()).collect();
    let mut answers =
        Scattered::ask(&serving.shards, sorted, |parts, reply| ShardMessage::Delete { request: id, parts, reply });
    let context = context.clone();
    if answers.is_empty() {
        return respond(&context, &parts).into();
    }
    let serving = serving.clone();
    let time_out = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Answer::later(async move {
        let mut until = context.arrival.mono + time_out;
        loop {
            match serving.env.timeout_at(until, answers.next()).await {
                Ok(Ok(Some((part, outcome)))) => parts[part].outcome = Some(outcome),
                Ok(Ok(None)) => return respond(&context, &parts),
                Ok(Err(ShardGone)) => return Reply::Close,
                Err(_) => {
                    // Now every shard says where its parts stand.
                    until = protocol::Monotonic::NEVER;
                    asked.iter().for_each(|shard| serving.shards.post(*shard, ShardMessage::EndDeletions(id)));
                }
            }
        }
    })
}

struct Part {
    topic: Str,
    partition: i32,
    outcome: Option<Result<Offset, (ErrorCode, Offset)>>,
}

fn respond(context: &RequestContext, parts: &[Part]) -> Reply {
    let mut response = DeleteRecordsResponse::default();
    for part in parts {
        let (error, low_watermark) = match part.outcome {
            Some(Ok(low)) => (ErrorCode::None, low),
            Some(Err(failed)) => failed,
            None => (ErrorCode::UnknownServerError, Offset::NONE),
        };
        let answer = DeleteRecordsPartitionResult {
            partition_index: part.partition,
            low_watermark: low_watermark.0,
            error_code: error.code(),
            ..Default::default()
        };
        match response.topics.last_mut().filter(|topic| topic.name == part.topic) {
            Some(topic) => topic.partitions.push(answer),
            None => response.topics.push(DeleteRecordsTopicResult {
                name: part.topic.clone(),
                partitions: vec![answer],
                ..Default::default()
            }),
        }
    }
    context.reply(&response)
}
