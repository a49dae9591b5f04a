//! The cluster's state over time: how many partitions have no leader, or fewer in-sync replicas than replicas.
//!
//! Kept up by what changes, since many partitions change one by one.

use std::collections::BTreeMap;

use crate::measure::Gauge;

use super::watch::PartitionState;

/// Follows the partitions.
#[derive(Debug, Default)]
pub struct Gauges {
    /// One for each instant at which something changed.
    over_time: Vec<Gauge>,
    leaderless: u32,
    under_replicated: u32,
    /// How many partitions have an ISR of each size. Invariant: none is 0.
    isr_sizes: BTreeMap<usize, u32>,
}

impl Gauges {
    /// One for each instant at which something changed.
    pub fn over_time(&self) -> &[Gauge] {
        &self.over_time
    }

    /// A partition was in one state, or is new, and is in another now.
    pub fn change(&mut self, at_ns: u64, before: Option<&PartitionState>, now: &PartitionState) {
        if let Some(before) = before {
            self.leaderless -= u32::from(before.leader.is_none());
            self.under_replicated -= u32::from(is_under_replicated(before));
            let count = self.isr_sizes.get_mut(&before.isr.len()).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                self.isr_sizes.remove(&before.isr.len());
            }
        }
        self.leaderless += u32::from(now.leader.is_none());
        self.under_replicated += u32::from(is_under_replicated(now));
        *self.isr_sizes.entry(now.isr.len()).or_default() += 1;
        let smallest = self.isr_sizes.first_key_value().map_or(usize::MAX, |(size, _)| *size);
        let gauge = Gauge {
            at_ns,
            leaderless: self.leaderless,
            under_replicated: self.under_replicated,
            isr_min: u32::try_from(smallest).unwrap_or(u32::MAX),
        };
        match self.over_time.last_mut() {
            Some(last) if last.at_ns == at_ns => *last = gauge,
            _ => self.over_time.push(gauge),
        }
    }
}

fn is_under_replicated(state: &PartitionState) -> bool {
    state.isr.len() < state.replicas.len()
}
