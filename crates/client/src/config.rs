//! How clients behave, under Kafka's property names.

use std::time::Duration;

use protocol::Str;
use protocol::batch::Codec;
use runtime::Address;
use transport::client::{ChannelOptions, ClientOptions};

use crate::backoff::Backoff;

/// When a send counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// When it is handed to the connection. Nothing is known after that.
    None,
    /// When the leader has it.
    Leader,
    /// When all in-sync replicas have it.
    All,
}

impl Acks {
    /// As on the wire.
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Where a consumer goes whose offset the leader does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoOffsetReset {
    /// To the first offset.
    Earliest,
    /// To the end.
    Latest,
    /// Nowhere: it stops reading that partition.
    None,
}

/// Where records without a key go. Keyed ones follow their key always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partitioner {
    /// To one random partition until a batch is full, then to another.
    Sticky,
    /// To one partition after the other.
    RoundRobin,
}

/// A property that cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No property of this name is known here.
    #[error("unknown property {0}")]
    Unknown(String),
    /// The value does not fit.
    #[error("{name} cannot be {value:?}: {why}")]
    Value {
        /// The property.
        name: String,
        /// What it was to be.
        value: String,
        /// What it may be.
        why: &'static str,
    },
}

/// How clients behave. [`ClientConfig::new`] has Kafka's defaults, [`ClientConfig::fast`] the time-outs of `timers =
/// "fast"`, where a failover takes seconds.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `bootstrap.servers`.
    pub bootstrap_servers: Vec<Address>,
    /// `client.id`.
    pub client_id: Str,
    /// `request.timeout.ms`: a request not answered for so long ends its connection.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`.
    pub connection_setup_timeout: Duration,
    /// `reconnect.backoff.ms`.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`.
    pub reconnect_backoff_max: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// `default.api.timeout.ms`: how long an admin call goes on trying.
    pub default_api_timeout: Duration,

    /// `acks`.
    pub acks: Acks,
    /// `linger.ms`.
    pub linger: Duration,
    /// `batch.size`, in bytes before compression. 0: a batch a record.
    pub batch_size: usize,
    /// `buffer.memory`: bytes of records that may wait or be in flight; a send beyond fails at once.
    pub buffer_memory: usize,
    /// `max.request.size`, in bytes; also the largest record.
    pub max_request_size: usize,
    /// `max.in.flight.requests.per.connection`. With 1 a partition's records never overtake each other.
    pub max_in_flight_requests_per_connection: usize,
    /// `delivery.timeout.ms`: from the send to its outcome; what is in flight then is waited for.
    pub delivery_timeout: Duration,
    /// `compression.type`.
    pub compression: Codec,
    /// Where records without a key go.
    pub partitioner: Partitioner,

    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub max_partition_fetch_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait: Duration,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `auto.offset.reset`.
    pub auto_offset_reset: AutoOffsetReset,
    /// `client.rack`.
    pub client_rack: Str,
}

const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl ClientConfig {
    /// Kafka's defaults.
    pub fn new(client_id: impl Into<Str>, bootstrap_servers: Vec<Address>) -> Self {
        Self {
            bootstrap_servers,
            client_id: client_id.into(),
            request_timeout: millis(30_000),
            connection_setup_timeout: millis(10_000),
            reconnect_backoff: millis(50),
            reconnect_backoff_max: millis(1_000),
            retry_backoff: millis(100),
            retry_backoff_max: millis(1_000),
            metadata_max_age: millis(300_000),
            default_api_timeout: millis(60_000),
            acks: Acks::All,
            linger: millis(5),
            batch_size: 16_384,
            buffer_memory: 33_554_432,
            max_request_size: 1_048_576,
            max_in_flight_requests_per_connection: 5,
            delivery_timeout: millis(120_000),
            compression: Codec::None,
            partitioner: Partitioner::Sticky,
            fetch_min_bytes: 1,
            fetch_max_bytes: 52_428_800,
            max_partition_fetch_bytes: 1_048_576,
            fetch_max_wait: millis(500),
            check_crcs: true,
            auto_offset_reset: AutoOffsetReset::Latest,
            client_rack: Str::EMPTY,
        }
    }

    /// The time-outs of `timers = "fast"`, one request in flight.
    pub fn fast(client_id: impl Into<Str>, bootstrap_servers: Vec<Address>) -> Self {
        Self {
            request_timeout: millis(1_000),
            connection_setup_timeout: millis(500),
            reconnect_backoff_max: millis(500),
            retry_backoff: millis(50),
            retry_backoff_max: millis(500),
            metadata_max_age: millis(10_000),
            default_api_timeout: millis(20_000),
            max_in_flight_requests_per_connection: 1,
            delivery_timeout: millis(20_000),
            fetch_max_wait: millis(100),
            ..Self::new(client_id, bootstrap_servers)
        }
    }

    /// Sets a property by Kafka's name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let wrong = |why| ConfigError::Value { name: name.into(), value: value.into(), why };
        let number = || value.parse::<u64>().map_err(|_| wrong("a whole number, 0 or more"));
        let time = || number().map(millis);
        let size = || number().map(|number| number as usize);
        let narrow = || value.parse::<i32>().map_err(|_| wrong("a whole number of 32 bits"));
        match name {
            "bootstrap.servers" => {
                let server = |text: &str| {
                    let (host, port) = text.trim().rsplit_once(':')?;
                    Some(Address::new(host, port.parse().ok()?))
                };
                let servers: Option<Vec<Address>> = value.split(',').map(server).collect();
                self.bootstrap_servers = servers.ok_or_else(|| wrong("host:port, separated by commas"))?;
            }
            "client.id" => self.client_id = value.into(),
            "request.timeout.ms" => self.request_timeout = time()?,
            "socket.connection.setup.timeout.ms" => self.connection_setup_timeout = time()?,
            "reconnect.backoff.ms" => self.reconnect_backoff = time()?,
            "reconnect.backoff.max.ms" => self.reconnect_backoff_max = time()?,
            "retry.backoff.ms" => self.retry_backoff = time()?,
            "retry.backoff.max.ms" => self.retry_backoff_max = time()?,
            "metadata.max.age.ms" => self.metadata_max_age = time()?,
            "default.api.timeout.ms" => self.default_api_timeout = time()?,
            "acks" => {
                self.acks = match value {
                    "0" => Acks::None,
                    "1" => Acks::Leader,
                    "all" | "-1" => Acks::All,
                    _ => return Err(wrong("0, 1 or all")),
                }
            }
            "linger.ms" => self.linger = time()?,
            "batch.size" => self.batch_size = size()?,
            "buffer.memory" => self.buffer_memory = size()?,
            "max.request.size" => self.max_request_size = size()?,
            "max.in.flight.requests.per.connection" => {
                self.max_in_flight_requests_per_connection = match size()? {
                    0 => return Err(wrong("at least 1")),
                    most => most,
                }
            }
            "delivery.timeout.ms" => self.delivery_timeout = time()?,
            "compression.type" => {
                let codec = Codec::from_name(value);
                self.compression = codec.ok_or_else(|| wrong("none, gzip, snappy, lz4 or zstd"))?;
            }
            "fetch.min.bytes" => self.fetch_min_bytes = narrow()?,
            "fetch.max.bytes" => self.fetch_max_bytes = narrow()?,
            "max.partition.fetch.bytes" => self.max_partition_fetch_bytes = narrow()?,
            "fetch.max.wait.ms" => self.fetch_max_wait = time()?,
            "check.crcs" => self.check_crcs = value.parse().map_err(|_| wrong("true or false"))?,
            "auto.offset.reset" => {
                self.auto_offset_reset = match value {
                    "earliest" => AutoOffsetReset::Earliest,
                    "latest" => AutoOffsetReset::Latest,
                    "none" => AutoOffsetReset::None,
                    _ => return Err(wrong("earliest, latest or none")),
                }
            }
            "client.rack" => self.client_rack = value.into(),
            _ => return Err(ConfigError::Unknown(name.into())),
        }
        Ok(())
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { first: self.retry_backoff, most: self.retry_backoff_max.max(self.retry_backoff) }
    }

    pub(crate) fn channel_options(&self) -> ChannelOptions {
        let mut connection = ClientOptions::new(self.client_id.clone());
        connection.connect_timeout = self.connection_setup_timeout;
        connection.request_timeout = self.request_timeout;
        ChannelOptions {
            backoff: self.reconnect_backoff,
            backoff_max: self.reconnect_backoff_max,
            ..ChannelOptions::new(connection)
        }
    }
}
