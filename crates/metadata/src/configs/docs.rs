//! What each key of a topic is for, in one or two sentences: DescribeConfigs tells it to whoever asks for documentation.

/// What a key is for.
pub fn topic_doc(name: &str) -> Option<&'static str> {
    Some(match name {
        "cleanup.policy" => {
            "What becomes of old segments: delete drops them by age and size, compact keeps the newest record of each key, \
             both do both, nothing keeps all."
        }
        "compression.gzip.level" => {
            "How hard gzip works where the broker compresses: 1 to 9, -1 for gzip's own choice."
        }
        "compression.lz4.level" => "How hard lz4 works where the broker compresses.",
        "compression.type" => {
            "The codec in which batches are kept. With producer they stay as they were sent, with another they are \
             compressed anew where they differ."
        }
        "compression.zstd.level" => "How hard zstd works where the broker compresses.",
        "delete.retention.ms" => {
            "How long, in milliseconds, tombstones stay in a compacted log, so that slow readers see them."
        }
        "file.delete.delay.ms" => "How long, in milliseconds, files that are out of service stay on disk.",
        "flush.messages" => {
            "After how many unflushed records an append is made durable before it is acknowledged; 1 flushes each."
        }
        "flush.ms" => "After how many milliseconds records are made durable at the latest.",
        "follower.replication.throttled.replicas" => {
            "Replicas whose copying is throttled at followers: partition:broker pairs, or * for all."
        }
        "index.interval.bytes" => "How many bytes go into a segment between two entries of its offset index.",
        "internal.segment.bytes" => "The size of a segment without its lower bound; for tests.",
        "leader.replication.throttled.replicas" => {
            "Replicas whose copying is throttled at leaders: partition:broker pairs, or * for all."
        }
        "local.retention.bytes" => "With tiered storage, how many bytes stay on local disks; -2 for retention.bytes.",
        "local.retention.ms" => "With tiered storage, how long records stay on local disks; -2 for retention.ms.",
        "max.compaction.lag.ms" => "After how many milliseconds a record may be compacted at the latest.",
        "max.message.bytes" => "The largest batch, header included, that is taken. Larger ones are MESSAGE_TOO_LARGE.",
        "message.timestamp.after.max.ms" => {
            "How far ahead of the broker's clock a record's timestamp may be, in milliseconds. Ignored with LogAppendTime."
        }
        "message.timestamp.before.max.ms" => {
            "How far behind the broker's clock a record's timestamp may be, in milliseconds. Ignored with LogAppendTime."
        }
        "message.timestamp.type" => {
            "Whether a record keeps its producer's time (CreateTime) or gets the broker's (LogAppendTime)."
        }
        "min.cleanable.dirty.ratio" => "Which share of a log must be uncompacted before it is worth compacting.",
        "min.compaction.lag.ms" => "For how many milliseconds a record is not compacted.",
        "min.insync.replicas" => {
            "How many replicas must be in sync for a record to be acknowledged with acks=all, and for the high watermark to \
             move. More than there are replicas means all of them."
        }
        "preallocate" => "Whether a new segment takes its full size on disk at once.",
        "remote.log.copy.disable" => "Whether nothing more is copied to tiered storage.",
        "remote.log.delete.on.disable" => "Whether what lies in tiered storage is deleted when it is switched off.",
        "remote.storage.enable" => "Whether the topic uses tiered storage.",
        "retention.bytes" => "How many bytes of a partition are kept where old segments are deleted; -1 for no limit.",
        "retention.ms" => "How long records are kept where old segments are deleted, in milliseconds; -1 for ever.",
        "segment.bytes" => "The size at which a segment is closed and the next begun.",
        "segment.index.bytes" => "The size of an offset index at which its segment is closed.",
        "segment.jitter.ms" => {
            "A random time up to this is taken off segment.ms, so that not all segments close at once."
        }
        "segment.ms" => "After which time, by its records' timestamps, a segment is closed though it is not full.",
        "unclean.leader.election.enable" => {
            "Whether a replica that is not in sync may lead when no other can. Records that were acknowledged may be lost."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_sentence() {
        for config in super::super::TOPIC_CONFIGS {
            assert!(topic_doc(config.name).is_some_and(|doc| doc.ends_with('.')), "{}", config.name);
        }
    }
}
