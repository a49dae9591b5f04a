//! Faults of clocks: [`ClockFault`].

use super::FaultId;
use crate::inner::Inner;

/// What clocks do wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClockFault {}

impl ClockFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match *self {}
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, _inner: &Inner) -> String {
        match *self {}
    }
}

impl Inner {
    pub(super) fn apply_clock(&mut self, _id: FaultId, fault: ClockFault) {
        match fault {}
    }

    pub(super) fn heal_clock(&mut self, _id: FaultId, fault: ClockFault) {
        match fault {}
    }
}
