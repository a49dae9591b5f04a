//! Where a partition is read.

use protocol::{LeaderEpoch, Monotonic, Offset};

use super::Start;

/// Where a partition is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At the first offset, once it is known which one that is.
    Earliest,
    /// At the end, once it is known where that is.
    Latest,
    /// Here; `epoch` is that of the batch before, if it was read.
    At { offset: Offset, epoch: LeaderEpoch },
    /// Not any more.
    Nowhere,
}

/// An assigned partition.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) place: Place,
    pub(super) high_watermark: Offset,
    /// The request that it is in and whose answer has not come.
    pub(super) asked: Option<u64>,
    /// Events that nobody has taken yet.
    pub(super) buffered: usize,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Not before this, after a failure.
    pub(super) not_before: Monotonic,
}

impl Assigned {
    pub(super) fn new(start: Start) -> Self {
        let place = match start {
            Start::Earliest => Place::Earliest,
            Start::Latest => Place::Latest,
            Start::At(offset) => Place::At { offset, epoch: LeaderEpoch::NONE },
        };
        Self {
            place,
            high_watermark: Offset::NONE,
            asked: None,
            buffered: 0,
            failures: 0,
            not_before: Monotonic::default(),
        }
    }

    pub(super) fn offset(&self) -> Option<Offset> {
        match self.place {
            Place::At { offset, .. } => Some(offset),
            _ => None,
        }
    }
}
