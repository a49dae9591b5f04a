//! Faults of disks: [`DiskFault`].

use std::time::Duration;

use super::{Fault, FaultId, Faults};
use crate::disk::SlowDisk;
use crate::inner::{HostId, Inner};

/// What disks do wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// `slow_disk`.
    Slow {
        /// Where.
        disk: Drive,
        /// What a read takes instead.
        read: Option<Duration>,
        /// What a write takes instead.
        write: Option<Duration>,
        /// What a sync takes instead.
        fsync: Option<Duration>,
        /// What all this takes times more.
        x: u32,
    },
}

/// A disk of a host, or all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drive {
    /// Whose.
    pub host: HostId,
    /// Which of its disks; all if none is named.
    pub device: Option<String>,
}

impl Drive {
    /// All disks of a host.
    pub const fn all_of(host: HostId) -> Self {
        Self { host, device: None }
    }

    /// Whether it is this one.
    pub fn is(&self, host: HostId, name: &str) -> bool {
        self.host == host && self.device.as_deref().is_none_or(|device| device == name)
    }

    fn describe(&self, inner: &Inner) -> String {
        let host = inner.names(&[self.host]);
        self.device.as_ref().map_or_else(|| host.clone(), |device| format!("{host}:{device}"))
    }
}

impl DiskFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow_disk",
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        let Self::Slow { disk, .. } = self;
        disk.describe(inner)
    }
}

impl Faults {
    /// What slows a disk.
    pub fn of_disk(&self, host: HostId, name: &str) -> Vec<(FaultId, SlowDisk)> {
        let mut slowed = Vec::new();
        for report in self.all.iter().filter(|report| report.ended.is_none()) {
            if let Fault::Disk(DiskFault::Slow { disk, read, write, fsync, x }) = &report.fault
                && disk.is(host, name)
            {
                let slow = SlowDisk { read: *read, write: *write, sync: *fsync, x: (*x).max(1) };
                slowed.push((report.id, slow));
            }
        }
        slowed
    }
}

impl Inner {
    pub(super) fn apply_disk(&mut self, id: FaultId, fault: DiskFault) {
        match fault {
            DiskFault::Slow { disk, read, write, fsync, x } => {
                let slow = SlowDisk { read, write, sync: fsync, x: x.max(1) };
                // A disk that is first used later finds its faults itself.
                for (name, of_host) in &mut self.host_mut(disk.host).devices {
                    if disk.is(disk.host, name) {
                        of_host.slowed.push((id, slow));
                    }
                }
            }
        }
    }

    pub(super) fn heal_disk(&mut self, id: FaultId, fault: DiskFault) {
        match fault {
            DiskFault::Slow { disk, .. } => {
                for device in self.host_mut(disk.host).devices.values_mut() {
                    device.slowed.retain(|(fault, _)| *fault != id);
                }
            }
        }
    }
}
