//! From requests to what must be done, and from what came out to responses: one file a request.
//!
//! A handler's `call` starts the work before it returns, so that requests of one connection take effect in their order;
//! the future in its answer only waits. Those that need nothing but the image answer at once.

pub mod absent;
pub mod api_versions;
pub mod configs;
pub mod delete_records;
pub mod describe_cluster;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod init_producer_id;
pub mod list_offsets;
mod lookup;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
mod scatter;

use std::sync::Arc;

use protocol::Request;
use runtime::Env;
use transport::server::{RequestContext, RequestFrame};

use crate::config::Config;
use crate::image::ImageCell;
use crate::shard::Shards;

/// A request's message. One that cannot be read closes its connection, with a line in the log; nobody else notices.
pub(crate) fn read<R: Request>(context: &RequestContext, frame: &RequestFrame) -> Option<R> {
    let read = frame.decode::<R>(context.api_version);
    if let Err(error) = &read {
        tracing::warn!(api = %context.api_key, version = context.api_version, peer = %context.peer, %error, "request cannot be read");
    }
    read.ok()
}

/// What the handlers of records work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The process.
    pub env: Env,
    /// This broker's configuration.
    pub config: Arc<Config>,
    /// Its copy of the metadata.
    pub image: ImageCell,
    /// The owners of its partitions.
    pub shards: Shards,
}
