//! DescribeLogDirs: this broker's log directory, and how large its partitions are there.
//!
//! The size of the volume is not told (-1): nothing here asks for it yet.

use std::collections::BTreeMap;

use protocol::Str;
use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use runtime::inbox;
use transport::server::{Answer, Reply, RequestContext};

use super::Serving;
use crate::shard::{LogSize, ShardMessage};

/// Starts a DescribeLogDirs: every shard says what it has.
pub fn call(serving: &Serving, context: &RequestContext, request: DescribeLogDirsRequest) -> Answer {
    // One answer a shard.
    let (reply, mut inbox) = inbox(usize::MAX);
    let shards = serving.shards.count();
    for shard in 0..shards {
        serving.shards.post(shard, ShardMessage::LogSizes(reply.clone()));
    }
    drop(reply);
    let (context, dir) = (context.clone(), Str::from(serving.config.log_dir.as_str()));
    Answer::later(async move {
        let mut sizes = Vec::new();
        for _ in 0..shards {
            match inbox.recv().await {
                Some(more) => sizes.extend(more),
                None => return Reply::Close,
            }
        }
        context.reply(&respond(dir, &request, sizes))
    })
}

fn respond(dir: Str, request: &DescribeLogDirsRequest, sizes: Vec<LogSize>) -> DescribeLogDirsResponse {
    let wanted = |size: &LogSize| {
        request.topics.as_ref().is_none_or(|topics| {
            let asked = |topic: &&protocol::messages::describe_log_dirs_request::DescribableLogDirTopic| {
                topic.topic == size.name.topic && topic.partitions.contains(&size.name.partition)
            };
            topics.iter().any(|topic| asked(&topic))
        })
    };
    let mut topics: BTreeMap<Str, BTreeMap<i32, DescribeLogDirsPartition>> = BTreeMap::new();
    for size in sizes.into_iter().filter(wanted) {
        let partition = DescribeLogDirsPartition {
            partition_index: size.name.partition,
            partition_size: i64::try_from(size.bytes).unwrap_or(i64::MAX),
            offset_lag: size.lag,
            ..Default::default()
        };
        topics.entry(size.name.topic).or_default().insert(size.name.partition, partition);
    }
    let topic = |(name, partitions): (Str, BTreeMap<i32, DescribeLogDirsPartition>)| DescribeLogDirsTopic {
        name,
        partitions: partitions.into_values().collect(),
        ..Default::default()
    };
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            log_dir: dir,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}
