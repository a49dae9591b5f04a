//! Machines of a *request*: they wait for the partitions it names, so that no partition waits for a request.

mod fetch;
mod produce;

pub use fetch::{FetchEnd, FetchGather, FetchGatherEffect, FetchGatherEvent, PartRead, share_out};
pub use produce::{ProduceGather, ProduceOutcome};
