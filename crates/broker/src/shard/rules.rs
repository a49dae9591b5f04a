//! What a topic's configuration says to a partition: the topic's own value, else this broker's, else the cluster's, else
//! the node's file.

use std::time::Duration;

use log::Retention;
use metadata::configs::{Inherited, set};
use metadata::{ConfigResource, Configs, Image};
use protocol::batch::{Rules, TimestampType};
use protocol::{Str, Timestamp};
use replication::PartitionConfig;
use storage::LogConfig;

use super::retention::Keeping;
use crate::config::{Config, RecordValidation};

/// What a replica decides by.
pub fn partition_config(image: &Image, config: &Config, topic: &Str) -> PartitionConfig {
    let min = Values::new(image, config, topic).number("min.insync.replicas", config.numbers.min_insync_replicas);
    PartitionConfig {
        min_insync_replicas: usize::try_from(min).unwrap_or(1),
        lag_time_max: Config::ms(config.numbers.replica_lag_time_max_ms),
    }
}

/// How a log is kept.
pub fn log_config(image: &Image, config: &Config, topic: &Str) -> LogConfig {
    let numbers = &config.numbers;
    let values = Values::new(image, config, topic);
    let of = |key, default| values.number(key, default);
    let flush = of("flush.messages", numbers.log_flush_interval_messages);
    let defaults = LogConfig::default();
    LogConfig {
        segment_bytes: of("segment.bytes", numbers.log_segment_bytes).unsigned_abs(),
        index_interval_bytes: clamp(of("index.interval.bytes", numbers.log_index_interval_bytes)),
        segment_index_bytes: clamp(of("segment.index.bytes", numbers.log_index_size_max_bytes)),
        segment_ms: of("segment.ms", defaults.segment_ms),
        segment_jitter_ms: of("segment.jitter.ms", 0),
        retention: Retention {
            delete: values.text("cleanup.policy").is_none_or(|policies| policies.contains("delete")),
            ms: of("retention.ms", defaults.retention.ms),
            bytes: of("retention.bytes", -1),
        },
        flush_messages: (flush != i64::MAX).then_some(flush.unsigned_abs()),
        ..defaults
    }
}

/// What of that is done by whoever owns the log.
pub fn keeping(image: &Image, config: &Config, topic: &Str) -> Keeping {
    let values = Values::new(image, config, topic);
    let flush = values.number("flush.ms", i64::MAX);
    let delay = values.number("file.delete.delay.ms", config.numbers.log_segment_delete_delay_ms);
    Keeping {
        delete_delay: Config::ms(delay),
        flush_interval: (flush != i64::MAX).then(|| Config::ms(flush).max(Duration::from_millis(1))),
    }
}

/// How a producer's batch is judged.
pub fn batch_rules(image: &Image, config: &Config, topic: &Str, now: Timestamp) -> Rules {
    let numbers = &config.numbers;
    let values = Values::new(image, config, topic);
    let of = |key, default| values.number(key, default);
    let text = |key| values.text(key).unwrap_or("");
    Rules {
        timestamp_type: if text("message.timestamp.type") == "LogAppendTime" {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        before_max_ms: of("message.timestamp.before.max.ms", i64::MAX),
        after_max_ms: of("message.timestamp.after.max.ms", numbers.log_message_timestamp_after_max_ms),
        max_message_bytes: i32::try_from(of("max.message.bytes", numbers.message_max_bytes)).unwrap_or(i32::MAX),
        compacted: text("cleanup.policy").contains("compact"),
        walk_records: config.record_validation == RecordValidation::Records,
        ..Rules::new(now)
    }
}

/// Whether the newest record of each key is all that may be taken away.
pub fn is_only_compacted(image: &Image, config: &Config, topic: &Str) -> bool {
    let policies = Values::new(image, config, topic).text("cleanup.policy").unwrap_or("delete");
    policies.contains("compact") && !policies.contains("delete")
}

/// `replica.fetch.backoff.ms`.
pub fn fetch_backoff(config: &Config) -> Duration {
    Config::ms(config.numbers.replica_fetch_backoff_ms)
}

/// All that was set and says something of a topic: looked up once, asked for many keys.
struct Values<'a> {
    own: Option<&'a Configs>,
    inherited: Inherited<'a>,
}

impl<'a> Values<'a> {
    fn new(image: &'a Image, config: &'a Config, topic: &Str) -> Self {
        Self {
            own: image.configs(&ConfigResource::topic(topic.clone())).map(AsRef::as_ref),
            inherited: image.inherited(config.node_id, &config.topic_defaults),
        }
    }

    /// The value of a key, if somebody set one.
    fn text(&self, key: &str) -> Option<&'a str> {
        set(key, self.own, self.inherited).map(|(value, _)| value)
    }

    /// The controller has judged values when they were written; one that is no number here counts as not set.
    fn number(&self, key: &str, default: i64) -> i64 {
        self.text(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    }
}

fn clamp(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
