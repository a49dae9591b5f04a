//! From requests to what must be done, and from what came out to responses: one file a request.

pub mod api_versions;
pub mod describe_cluster;
pub mod metadata;
