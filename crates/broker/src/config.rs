//! What a node is told at its start, under Kafka's property names.
//!
//! [`Config::from_properties`] reads `name = value` pairs and reports every problem at once. Times are `_ms`, sizes
//! `_bytes`, as in Kafka. What nobody here acts on is an error, never silently dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use metadata::broker_configs::broker_config;
use metadata::configs::inherited_from_file;
use protocol::{NodeId, Str, Uuid};
use runtime::Address;

/// Why a property was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody knows it.
    #[error("unknown property `{0}`")]
    Unknown(String),
    /// Its value has the wrong form.
    #[error("property `{name}` = `{value}`: {problem}")]
    Invalid {
        /// The property.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// It is needed.
    #[error("property `{0}` is missing")]
    Missing(&'static str),
}

/// A voter of the metadata quorum: `id@host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// The controller's `node.id`.
    pub id: NodeId,
    /// Its controller listener.
    pub address: Address,
}

/// A listener: its name and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerConfig {
    /// `PLAINTEXT`, `CONTROLLER`, …
    pub name: String,
    /// Where.
    pub address: Address,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $field:ident = $name:literal, $default:expr;)*) => {
        /// The properties that are one number, with Kafka's defaults.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Numbers {
            $($(#[$doc])* #[doc = concat!("`", $name, "`, default ", stringify!($default), ".")] pub $field: i64,)*
        }

        impl Default for Numbers {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Numbers {
            /// The names of all of them.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            fn field(&mut self, name: &str) -> Option<&mut i64> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// The value of a property by its name.
            pub fn get(&self, name: &str) -> Option<i64> {
                match name {
                    $($name => Some(self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// Partitions of a topic made without a count.
    num_partitions = "num.partitions", 1;
    /// Replicas of a topic made without a count.
    default_replication_factor = "default.replication.factor", 1;
    /// How many in-sync replicas an acks=all append needs, and the high watermark's progress.
    min_insync_replicas = "min.insync.replicas", 1;

    /// A segment's size at which the next is begun.
    log_segment_bytes = "log.segment.bytes", 1 << 30;
    /// Bytes between two entries of an offset index.
    log_index_interval_bytes = "log.index.interval.bytes", 4096;
    /// An index's largest size.
    log_index_size_max_bytes = "log.index.size.max.bytes", 10 << 20;
    /// Records after which an append flushes before it completes.
    log_flush_interval_messages = "log.flush.interval.messages", i64::MAX;
    /// How often logs are looked through for what retention lets go.
    log_retention_check_interval_ms = "log.retention.check.interval.ms", 300_000;
    /// After what time they are for the first time.
    log_initial_task_delay_ms = "log.initial.task.delay.ms", 30_000;
    /// How long files that are out of use stay.
    log_segment_delete_delay_ms = "log.segment.delete.delay.ms", 60_000;
    /// The largest batch, header included.
    message_max_bytes = "message.max.bytes", 1_048_588;
    /// After how long without a batch a producer is forgotten.
    producer_id_expiration_ms = "producer.id.expiration.ms", 86_400_000;
    /// How often producers are looked through for that.
    producer_id_expiration_check_interval_ms = "producer.id.expiration.check.interval.ms", 600_000;
    /// How far ahead of the broker's clock a record's timestamp may be.
    log_message_timestamp_after_max_ms = "log.message.timestamp.after.max.ms", 3_600_000;
    /// How often recovery points and log starts are written.
    log_flush_offset_checkpoint_interval_ms = "log.flush.offset.checkpoint.interval.ms", 60_000;
    /// How often high watermarks are written.
    replica_high_watermark_checkpoint_interval_ms = "replica.high.watermark.checkpoint.interval.ms", 5_000;

    /// How long a follower may lag before it leaves the ISR.
    replica_lag_time_max_ms = "replica.lag.time.max.ms", 30_000;
    /// How long a leader may hold a follower's fetch.
    replica_fetch_wait_max_ms = "replica.fetch.wait.max.ms", 500;
    /// The least a follower waits for.
    replica_fetch_min_bytes = "replica.fetch.min.bytes", 1;
    /// The most of one partition in one answer.
    replica_fetch_max_bytes = "replica.fetch.max.bytes", 1 << 20;
    /// The most in one answer.
    replica_fetch_response_max_bytes = "replica.fetch.response.max.bytes", 10 << 20;
    /// How long a partition rests after an error.
    replica_fetch_backoff_ms = "replica.fetch.backoff.ms", 1_000;
    /// After how long a silent leader's connection is given up.
    replica_socket_timeout_ms = "replica.socket.timeout.ms", 30_000;

    /// Between two heartbeats to the controller.
    broker_heartbeat_interval_ms = "broker.heartbeat.interval.ms", 2_000;
    /// After how long without heartbeat a broker is fenced.
    broker_session_timeout_ms = "broker.session.timeout.ms", 9_000;
    /// How long a broker tries to register.
    initial_broker_registration_timeout_ms = "initial.broker.registration.timeout.ms", 60_000;
    /// After how long a silent controller's connection is given up.
    controller_socket_timeout_ms = "controller.socket.timeout.ms", 30_000;
    /// After how long a silent broker's connection is given up.
    request_timeout_ms = "request.timeout.ms", 30_000;

    /// Election time-out, to which a random part of the same length is added.
    controller_quorum_election_timeout_ms = "controller.quorum.election.timeout.ms", 1_000;
    /// After how long without a good fetch a follower stands for election.
    controller_quorum_fetch_timeout_ms = "controller.quorum.fetch.timeout.ms", 2_000;
    /// The longest wait of a successor after a leader resigned.
    controller_quorum_election_backoff_max_ms = "controller.quorum.election.backoff.max.ms", 1_000;
    /// After how long a silent node of the quorum is given up.
    controller_quorum_request_timeout_ms = "controller.quorum.request.timeout.ms", 2_000;
    /// Rest after a failed request to a node of the quorum.
    controller_quorum_retry_backoff_ms = "controller.quorum.retry.backoff.ms", 20;
    /// How long records wait for company before the quorum's leader appends them.
    controller_quorum_append_linger_ms = "controller.quorum.append.linger.ms", 25;
    /// The most in one answer to a quorum fetch.
    controller_quorum_fetch_max_bytes = "controller.quorum.fetch.max.bytes", 1 << 20;
    /// A segment's size of the metadata log.
    metadata_log_segment_bytes = "metadata.log.segment.bytes", 1 << 30;
    /// How often the active controller writes a NoOp record; 0 never.
    metadata_max_idle_interval_ms = "metadata.max.idle.interval.ms", 500;
    /// How often leadership is handed back to preferred leaders.
    leader_imbalance_check_interval_seconds = "leader.imbalance.check.interval.seconds", 300;

    /// The largest request.
    socket_request_max_bytes = "socket.request.max.bytes", 104_857_600;
    /// After how long an idle connection is closed.
    connections_max_idle_ms = "connections.max.idle.ms", 600_000;
    /// Requests of one connection in work at once (ours; Kafka has one).
    connection_requests_max = "wavetank.connection.requests.max", 100;
    /// The most in one answer to a fetch.
    fetch_max_bytes = "fetch.max.bytes", 57_671_680;
    /// The most partitions in one answer to DescribeTopicPartitions.
    max_request_partition_size_limit = "max.request.partition.size.limit", 2_000;
    /// Fetch sessions that are remembered (KIP-227).
    max_incremental_fetch_session_cache_slots = "max.incremental.fetch.session.cache.slots", 1_000;
    /// How many shards own the partitions (ours).
    shards = "wavetank.shards", 1;
}

/// How far a produced batch is checked (`record.validation`, ours).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordValidation {
    /// Every record is walked in place, as Kafka does.
    #[default]
    Records,
    /// The header and the CRC only: for those who trust their producers.
    Headers,
}

/// All that a node is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `node.id`.
    pub node_id: NodeId,
    /// `cluster.id` (in Kafka it comes from `meta.properties`; here it may be given, else the directory's is used).
    pub cluster_id: Uuid,
    /// `process.roles` has `broker`.
    pub is_broker: bool,
    /// `process.roles` has `controller`.
    pub is_controller: bool,
    /// `listeners`.
    pub listeners: Vec<ListenerConfig>,
    /// `advertised.listeners`; those of `listeners` where not given.
    pub advertised_listeners: Vec<ListenerConfig>,
    /// `controller.listener.names`.
    pub controller_listener_name: String,
    /// `controller.quorum.voters`.
    pub voters: Vec<Voter>,
    /// `log.dirs`: one directory, relative to the environment's disk of the same name.
    pub log_dir: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `auto.create.topics.enable`, default true.
    pub auto_create_topics_enable: bool,
    /// `unclean.leader.election.enable`, default false.
    pub unclean_leader_election_enable: bool,
    /// `delete.topic.enable`, default true.
    pub delete_topic_enable: bool,
    /// `replica.selector.class` is Kafka's `RackAwareReplicaSelector`: consumers are sent to a replica of their rack.
    pub rack_aware_reads: bool,
    /// `record.validation`, default `records`.
    pub record_validation: RecordValidation,
    /// What topics inherit from the file, by the broker's names.
    pub topic_defaults: BTreeMap<Str, Str>,
    /// All that was given, by name: DescribeConfigs tells it. What the reader of a file lets pass though nobody here acts on
    /// it belongs here too.
    pub given: BTreeMap<String, String>,
    /// The rest.
    pub numbers: Numbers,
}

impl Config {
    /// The properties that are not in [`Numbers`].
    pub const OTHER_NAMES: &'static [&'static str] = &[
        "node.id",
        "cluster.id",
        "process.roles",
        "listeners",
        "advertised.listeners",
        "controller.listener.names",
        "controller.quorum.voters",
        "log.dirs",
        "broker.rack",
        "auto.create.topics.enable",
        "unclean.leader.election.enable",
        "delete.topic.enable",
        "replica.selector.class",
        "log.cleanup.policy",
        "log.message.timestamp.type",
        "log.message.timestamp.before.max.ms",
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
        "log.retention.bytes",
        "log.roll.ms",
        "log.roll.hours",
        "log.roll.jitter.ms",
        "log.roll.jitter.hours",
        "log.flush.interval.ms",
        "log.flush.scheduler.interval.ms",
        "record.validation",
    ];

    /// Whether a node acts on the property of this name.
    pub fn acts_on(name: &str) -> bool {
        Numbers::NAMES.contains(&name) || Self::OTHER_NAMES.contains(&name)
    }

    /// Reads `name = value` pairs; all problems at once.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut numbers = Numbers::default();
        let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
        let mut given = BTreeMap::new();
        for (name, value) in properties {
            given.insert(name.to_owned(), value.trim().to_owned());
            if let Some(field) = numbers.field(name) {
                match value.trim().parse::<i64>() {
                    Ok(number) if number >= 0 => *field = number,
                    Ok(_) => errors.push(invalid(name, value, "must not be negative")),
                    Err(_) => errors.push(invalid(name, value, "not a whole number")),
                }
            } else if Self::OTHER_NAMES.contains(&name) {
                texts.insert(name, value);
            } else {
                errors.push(ConfigError::Unknown(name.to_owned()));
            }
        }
        if numbers.shards == 0 {
            errors.push(invalid("wavetank.shards", "0", "at least one shard must own the partitions"));
        }
        for name in Self::OTHER_NAMES.iter().filter(|name| name.starts_with("log.")) {
            if let (Some(value), Some(config)) = (texts.get(name), broker_config(name))
                && let Err(problem) = config.check(value)
            {
                errors.push(invalid(name, value, &problem));
            }
        }
        let mut read = Texts { texts, errors };
        let node_id = read.number("node.id").map(NodeId);
        let (is_broker, is_controller) = read.roles();
        let listeners = read.listeners("listeners");
        let advertised = read.listeners("advertised.listeners");
        let config = Self {
            node_id: node_id.unwrap_or(NodeId::NONE),
            cluster_id: read.uuid("cluster.id"),
            is_broker,
            is_controller,
            advertised_listeners: if advertised.is_empty() { listeners.clone() } else { advertised },
            listeners,
            controller_listener_name: read.text("controller.listener.names").unwrap_or("CONTROLLER").to_owned(),
            voters: read.voters(),
            log_dir: read.text("log.dirs").unwrap_or("data").to_owned(),
            rack: read.text("broker.rack").map(str::to_owned),
            auto_create_topics_enable: read.boolean("auto.create.topics.enable", true),
            unclean_leader_election_enable: read.boolean("unclean.leader.election.enable", false),
            delete_topic_enable: read.boolean("delete.topic.enable", true),
            rack_aware_reads: read.selector(),
            record_validation: read.validation(),
            topic_defaults: inherited_from_file(|name| given.get(name).map(String::as_str)),
            given,
            numbers,
        };
        if node_id.is_none()
            && !read.errors.iter().any(|error| matches!(error, ConfigError::Invalid { name, .. } if name == "node.id"))
        {
            read.errors.push(ConfigError::Missing("node.id"));
        }
        if config.voters.is_empty() {
            read.errors.push(ConfigError::Missing("controller.quorum.voters"));
        }
        if read.errors.is_empty() { Ok(config) } else { Err(read.errors) }
    }

    /// A number of milliseconds as a duration.
    pub fn ms(milliseconds: i64) -> Duration {
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
    }

    /// The listener brokers use among themselves and clients use too: the first that is not the controllers'.
    pub fn broker_listener(&self) -> Option<&ListenerConfig> {
        self.listeners.iter().find(|listener| listener.name != self.controller_listener_name)
    }

    /// The controllers' listener, if this node is one.
    pub fn controller_listener(&self) -> Option<&ListenerConfig> {
        self.listeners.iter().find(|listener| listener.name == self.controller_listener_name)
    }
}

fn invalid(name: &str, value: &str, problem: &str) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), problem: problem.to_owned() }
}

struct Texts<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    errors: Vec<ConfigError>,
}

impl<'a> Texts<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.texts.get(name).map(|text| text.trim())
    }

    fn reject(&mut self, name: &str, value: &str, problem: &str) {
        self.errors.push(invalid(name, value, problem));
    }

    fn number(&mut self, name: &str) -> Option<i32> {
        let text = self.text(name)?;
        let number = text.parse::<i32>().ok().filter(|number| *number >= 0);
        if number.is_none() {
            self.reject(name, text, "not a whole number from 0 on");
        }
        number
    }

    fn boolean(&mut self, name: &str, default: bool) -> bool {
        match self.text(name) {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                self.reject(name, other, "neither true nor false");
                default
            }
        }
    }

    fn uuid(&mut self, name: &str) -> Uuid {
        let Some(text) = self.text(name) else { return Uuid::ZERO };
        Uuid::parse(text).unwrap_or_else(|| {
            self.reject(name, text, "not 22 characters of url-safe base64");
            Uuid::ZERO
        })
    }

    fn roles(&mut self) -> (bool, bool) {
        let text = self.text("process.roles").unwrap_or("broker,controller");
        let (mut broker, mut controller) = (false, false);
        for role in text.split(',').map(str::trim) {
            match role {
                "broker" => broker = true,
                "controller" => controller = true,
                _ => self.reject("process.roles", text, "roles are `broker` and `controller`"),
            }
        }
        (broker, controller)
    }

    fn selector(&mut self) -> bool {
        const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
        match self.text("replica.selector.class") {
            None | Some("" | "org.apache.kafka.common.replica.LeaderSelector") => false,
            Some(RACK_AWARE) => true,
            Some(other) => {
                self.reject(
                    "replica.selector.class",
                    other,
                    &format!("Java classes do not run here: {RACK_AWARE} or nothing"),
                );
                false
            }
        }
    }

    fn validation(&mut self) -> RecordValidation {
        match self.text("record.validation") {
            None | Some("records") => RecordValidation::Records,
            Some("headers") => RecordValidation::Headers,
            Some(other) => {
                self.reject("record.validation", other, "`records` or `headers`");
                RecordValidation::Records
            }
        }
    }

    fn listeners(&mut self, name: &str) -> Vec<ListenerConfig> {
        let Some(text) = self.text(name) else { return Vec::new() };
        let mut listeners = Vec::new();
        for part in text.split(',').map(str::trim) {
            match part.split_once("://").and_then(|(name, rest)| Some((name, address(rest)?))) {
                Some((name, address)) => listeners.push(ListenerConfig { name: name.to_owned(), address }),
                None => self.reject(name, part, "the form is NAME://host:port"),
            }
        }
        listeners
    }

    fn voters(&mut self) -> Vec<Voter> {
        let Some(text) = self.text("controller.quorum.voters") else { return Vec::new() };
        let mut voters = Vec::new();
        for part in text.split(',').map(str::trim) {
            let voter = part
                .split_once('@')
                .and_then(|(id, rest)| Some(Voter { id: NodeId(id.parse().ok()?), address: address(rest)? }));
            match voter {
                Some(voter) => voters.push(voter),
                None => self.reject("controller.quorum.voters", part, "the form is id@host:port"),
            }
        }
        voters
    }
}

fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Address::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combined_node_is_read_from_kafkas_names() {
        let config = Config::from_properties([
            ("node.id", "2"),
            ("listeners", "PLAINTEXT://b2:9092,CONTROLLER://b2:9093"),
            ("controller.quorum.voters", "1@b1:9093,2@b2:9093"),
            ("min.insync.replicas", "2"),
        ])
        .expect("a good configuration");
        assert_eq!(config.node_id, NodeId(2));
        assert!(config.is_broker && config.is_controller);
        assert_eq!(config.broker_listener().expect("a broker listener").address.port, 9092);
        assert_eq!(config.voters[0].address, Address::new("b1", 9093));
        assert_eq!(config.numbers.min_insync_replicas, 2);
        assert_eq!(config.numbers.get("broker.session.timeout.ms"), Some(9_000));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let errors = Config::from_properties([
            ("node.id", "two"),
            ("min.insync.replica", "2"),
            ("broker.session.timeout.ms", "-1"),
            ("listeners", "b2:9092"),
        ])
        .expect_err("four mistakes and a missing voter list");
        assert_eq!(errors.len(), 5, "{errors:?}");
    }
}
