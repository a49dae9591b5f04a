//! OffsetForLeaderEpoch: where an epoch ends, for consumers that check their position after a change of leaders (KIP-320).

use protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol::{ErrorCode, LeaderEpoch, Offset, Str, Uuid};
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::lookup::find;
use super::scatter::{Scattered, ShardGone};
use super::{Serving, read};
use crate::shard::{EpochEnd, ShardMessage};

/// Starts an OffsetForLeaderEpoch request.
pub fn call(serving: &Serving, context: &RequestContext, frame: &RequestFrame) -> Answer {
    let Some(request) = read::<OffsetForLeaderEpochRequest>(context, frame) else { return Answer::CLOSE };
    let image = serving.image.load();
    let mut parts: Vec<Part> = Vec::new();
    let mut sorted: Vec<Vec<EpochEnd>> = (0..serving.shards.count()).map(|_| Vec::new()).collect();
    for topic in &request.topics {
        for asked in &topic.partitions {
            let mut part = Part { topic: topic.topic.clone(), partition: asked.partition, found: None };
            match find(&image, false, &topic.topic, Uuid::ZERO, asked.partition) {
                Err(error) => part.found = Some(Err(error)),
                Ok(named) => {
                    let shard = serving.shards.owner(&named.name, named.id.partition);
                    sorted[shard].push(EpochEnd {
                        part: parts.len(),
                        partition: named.id,
                        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
                        leader_epoch: LeaderEpoch(asked.leader_epoch),
                    });
                }
            }
            parts.push(part);
        }
    }
    let mut answers = Scattered::ask(&serving.shards, sorted, |parts, reply| ShardMessage::EpochEnds { parts, reply });
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
    found: Option<Result<(LeaderEpoch, Offset), ErrorCode>>,
}

fn respond(context: &RequestContext, parts: &[Part]) -> Reply {
    let mut response = OffsetForLeaderEpochResponse::default();
    for part in parts {
        let (error, (epoch, end)) = match part.found {
            Some(Ok(found)) => (ErrorCode::None, found),
            Some(Err(error)) => (error, (LeaderEpoch::NONE, Offset::NONE)),
            None => (ErrorCode::UnknownServerError, (LeaderEpoch::NONE, Offset::NONE)),
        };
        let answer = EpochEndOffset {
            error_code: error.code(),
            partition: part.partition,
            leader_epoch: epoch.0,
            end_offset: end.0,
            ..Default::default()
        };
        match response.topics.last_mut().filter(|topic| topic.topic == part.topic) {
            Some(topic) => topic.partitions.push(answer),
            None => response.topics.push(OffsetForLeaderTopicResult {
                topic: part.topic.clone(),
                partitions: vec![answer],
                ..Default::default()
            }),
        }
    }
    context.reply(&response)
}
