//! The metadata quorum's promises (checkers.md §6): one leader an epoch and votes that last ([`elect`]), logs that agree
//! ([`agree`]), commits that a majority has on its disks ([`durable`]) and a high watermark that is true
//! ([`high_watermark`]).
//!
//! All fold the stream into shadows of their own ([`shadow`]); [`durable`] also reads the disks at the end, with a reader
//! of its own ([`disk`]).

mod agree;
mod disk;
mod durable;
mod elect;
mod high_watermark;
mod shadow;
#[cfg(test)]
mod tests;

use protocol::NodeId;

use super::{Checker, Setup};

/// The checkers of the quorum.
pub fn checkers(setup: &Setup) -> Vec<Box<dyn Checker>> {
    let voters: Vec<NodeId> = setup.nodes.iter().filter(|node| node.controller).map(|node| node.id).collect();
    vec![
        Box::<elect::OneLeader>::default(),
        Box::new(high_watermark::TrueHighWatermark::new(voters.clone())),
        Box::<agree::LogsEqual>::default(),
        Box::new(durable::Durable::new(voters)),
    ]
}
