//! Faults of clocks: [`ClockFault`].
//!
//! A host's clocks run as [`World::set_clock`](crate::World::set_clock) said, with every fault on top: offsets and drifts
//! add up, one freeze is enough.

use std::sync::Arc;

use super::{Fault, FaultId};
use crate::clock::ClockSetting;
use crate::heap::Scheduled;
use crate::inner::{HostId, Inner};

/// What clocks do wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClockFault {
    /// `clock_offset`: the wall clock is wrong until it is healed.
    Offset {
        /// Whose.
        host: HostId,
        /// What it is ahead by, in nanoseconds.
        by: i64,
    },
    /// `clock_drift`: both clocks run fast or slow, and timers with them. Healed, they run right again; neither jumps.
    Drift {
        /// Whose.
        host: HostId,
        /// How much faster, in parts per million; above -1,000,000, where a clock stands still.
        ppm: i64,
    },
    /// `clock_jump`: somebody sets the wall clock. Nothing to heal.
    Jump {
        /// Whose.
        host: HostId,
        /// How far forward, in nanoseconds.
        by: i64,
    },
    /// `clock_freeze`: the wall clock stands. Healed, it shows the time again.
    Freeze(HostId),
}

impl ClockFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Offset { .. } => "clock_offset",
            Self::Drift { .. } => "clock_drift",
            Self::Jump { .. } => "clock_jump",
            Self::Freeze(_) => "clock_freeze",
        }
    }

    const fn host(&self) -> HostId {
        match self {
            Self::Offset { host, .. } | Self::Drift { host, .. } | Self::Jump { host, .. } | Self::Freeze(host) => {
                *host
            }
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        inner.names(&[self.host()])
    }
}

/// A clock that is wrong: each reading of it counts.
pub(crate) struct WrongClock {
    id: FaultId,
    host: HostId,
    /// Readings before it went wrong.
    before: u64,
}

impl Inner {
    pub(super) fn apply_clock(&mut self, id: FaultId, fault: ClockFault) {
        let host = fault.host();
        if let ClockFault::Jump { by, .. } = fault {
            let setting = &mut self.host_mut(host).clock_setting;
            setting.offset = setting.offset.saturating_add(by);
            if self.host(host).process.is_some() {
                self.faults.hit(id);
            }
        } else {
            let before = self.host(host).clock.reads();
            self.faults.wrong_clocks.push(WrongClock { id, host, before });
        }
        self.adjust_clock(host);
    }

    pub(super) fn heal_clock(&mut self, id: FaultId, fault: ClockFault) {
        self.count_readings();
        self.faults.wrong_clocks.retain(|wrong| wrong.id != id);
        self.adjust_clock(fault.host());
    }

    /// Brings the counters of clock faults up to date: a clock is read without asking the world.
    pub(super) fn count_readings(&mut self) {
        for index in 0..self.faults.wrong_clocks.len() {
            let WrongClock { id, host, before } = self.faults.wrong_clocks[index];
            let reads = self.host(host).clock.reads();
            self.faults.all[id.0 as usize].hits = reads - before;
        }
    }

    /// Makes the clocks of `host` run as they are set and as faults have it.
    pub fn adjust_clock(&mut self, host: HostId) {
        let ClockSetting { mut offset, mut drift_ppm, mut frozen } = self.host(host).clock_setting;
        for wrong in self.faults.wrong_clocks.iter().filter(|wrong| wrong.host == host) {
            match self.faults.all[wrong.id.0 as usize].fault {
                Fault::Clock(ClockFault::Offset { by, .. }) => offset = offset.saturating_add(by),
                Fault::Clock(ClockFault::Drift { ppm, .. }) => drift_ppm = drift_ppm.saturating_add(ppm),
                Fault::Clock(ClockFault::Freeze(_)) => frozen = true,
                _ => {}
            }
        }
        let clock = Arc::clone(&self.host(host).clock);
        clock.count_reads(self.faults.wrong_clocks.iter().any(|wrong| wrong.host == host));
        clock.set(self.now, ClockSetting { offset, drift_ppm, frozen });
        for (key, event) in self.heap.take_timers(host) {
            let Scheduled::Timer { mono, .. } = &event else { continue };
            let at = clock.true_time(*mono).max(self.now);
            self.heap.put_back(at, key, event);
        }
    }
}
