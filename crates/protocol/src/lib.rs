//! Kafka bytes and typed values.
//!
//! [`ids`] and [`time`] hold the newtypes that every crate speaks; [`messages`] (generated from `schemas/`) the requests,
//! responses and records; [`ApiKey`] and [`ErrorCode`] the tables; [`batch`] the views of record batches. Nothing here does
//! IO, and nothing allocates what the bytes at hand cannot fill.

mod api;
pub mod batch;
mod chunks;
pub mod codec;
mod error_code;
pub mod ids;
mod message;
mod metadata_record;
mod str;
pub mod time;

/// The generated messages, one module each; the message itself is also here by its name.
///
/// Field names are the schema's in snake case, a field that is nullable in any version is an `Option`, records are
/// `Option<Chunks>`. Defaults are the schema's: build a message with `..Default::default()`.
#[allow(clippy::all, unused, reason = "generated")]
pub mod messages {
    pub use super::message::{Message, Request};

    mod support {
        pub use bytes::Bytes;

        pub use crate::codec::{DecodeError, Decoder, EncodeError, Encoder, RawTaggedField};
        pub use crate::message::{Message, Request};
        pub use crate::{ApiKey, Chunks, Str, Uuid};
    }

    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use api::ApiKey;
pub use bytes::Bytes;
pub use chunks::{Chunk, Chunks};
pub use codec::{DecodeError, Decoder, EncodeError, Encoder};
pub use error_code::ErrorCode;
pub use ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicIdPartition, TopicPartition, Uuid};
pub use messages::{Message, Request};
pub use metadata_record::MetadataRecord;
pub use str::Str;
pub use time::{Monotonic, Now, Timestamp};
