//! Faults of disks: [`DiskFault`].

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use runtime::{Observation, cause::Cause};

use super::{Fault, FaultId, FaultReport, Faults};
use crate::disk::{Device, Glob, Harm, SlowDisk, Which};
use crate::inner::{HostId, Inner};
use crate::streams::Streams;

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
    /// `stall_disk`: nothing completes, neither what is under way. What completes after is what has been submitted.
    Stall {
        /// Where.
        disk: Drive,
    },
    /// `read_error`: reads of files fail with EIO.
    ReadError {
        /// Where.
        disk: Drive,
        /// Which reads.
        which: Which,
    },
    /// `write_error`: writes and cuts of files fail with EIO, and change nothing.
    WriteError {
        /// Where.
        disk: Drive,
        /// Which of them.
        which: Which,
    },
    /// `fsync_error`: syncs fail with EIO. What they covered is on no disk, and the next sync does not say so: the pages are
    /// clean. They read as they were written until the page cache is gone, or as they were before, as chance has it.
    SyncError {
        /// Where.
        disk: Drive,
        /// Which syncs, of files and directories.
        which: Which,
    },
    /// `fsync_lie`: syncs succeed, and nothing is durable. A later sync that does not lie covers all of it.
    SyncLie {
        /// Where.
        disk: Drive,
    },
    /// `disk_full`: ENOSPC for what goes beyond.
    Full {
        /// Where.
        disk: Drive,
        /// So many bytes fit from now on.
        after: u64,
    },
    /// `short_write`: a write takes a part only.
    ShortWrite {
        /// Where.
        disk: Drive,
        /// Which writes.
        which: Which,
    },
    /// `lost_rename`: at a power loss every name that was not synced is gone, whatever else is kept; the name that it had
    /// before does not come back. A name that was replaced means the old file.
    LostRename {
        /// Where.
        disk: Drive,
    },
    /// `bit_rot`: one bit in sectors at rest changes. Happens at once; nothing to heal.
    BitRot {
        /// Where.
        disk: Drive,
        /// Of which files.
        files: Glob,
        /// The chance of each sector, in parts per million.
        share: u32,
    },
    /// `misdirected_write`: a sector of a write lands in another place of some file; where it should be stays what was.
    MisdirectedWrite {
        /// Where.
        disk: Drive,
        /// Which writes.
        which: Which,
    },
    /// `zero_tail`: at a power loss files keep their lengths; what had grown and was not synced is zeros.
    ZeroTail {
        /// Where.
        disk: Drive,
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
            Self::Stall { .. } => "stall_disk",
            Self::ReadError { .. } => "read_error",
            Self::WriteError { .. } => "write_error",
            Self::SyncError { .. } => "fsync_error",
            Self::SyncLie { .. } => "fsync_lie",
            Self::Full { .. } => "disk_full",
            Self::ShortWrite { .. } => "short_write",
            Self::LostRename { .. } => "lost_rename",
            Self::BitRot { .. } => "bit_rot",
            Self::MisdirectedWrite { .. } => "misdirected_write",
            Self::ZeroTail { .. } => "zero_tail",
        }
    }

    /// Where.
    pub const fn disk(&self) -> &Drive {
        match self {
            Self::Slow { disk, .. }
            | Self::Stall { disk }
            | Self::ReadError { disk, .. }
            | Self::WriteError { disk, .. }
            | Self::SyncError { disk, .. }
            | Self::SyncLie { disk }
            | Self::Full { disk, .. }
            | Self::ShortWrite { disk, .. }
            | Self::LostRename { disk }
            | Self::BitRot { disk, .. }
            | Self::MisdirectedWrite { disk, .. }
            | Self::ZeroTail { disk } => disk,
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        self.disk().describe(inner)
    }

    /// What it does while it lasts to a disk that holds `used` bytes; nothing for what is no harm or happens at once.
    const fn harm(&self, used: u64) -> Option<Harm> {
        Some(match self {
            Self::Slow { .. } | Self::BitRot { .. } => return None,
            Self::Stall { .. } => Harm::Stall,
            Self::ReadError { which, .. } => Harm::ReadError(*which),
            Self::WriteError { which, .. } => Harm::WriteError(*which),
            Self::SyncError { which, .. } => Harm::SyncError(*which),
            Self::SyncLie { .. } => Harm::SyncLie,
            Self::Full { after, .. } => Harm::Full(used.saturating_add(*after)),
            Self::ShortWrite { which, .. } => Harm::ShortWrite(*which),
            Self::LostRename { .. } => Harm::LostNames,
            Self::MisdirectedWrite { which, .. } => Harm::Misdirect(*which),
            Self::ZeroTail { .. } => Harm::ZeroTail,
        })
    }
}

impl Device {
    fn begin(&mut self, id: FaultId, fault: &DiskFault, rng: ChaCha8Rng) {
        if let DiskFault::Slow { read, write, fsync, x, .. } = fault {
            self.slowed.push((id, SlowDisk { read: *read, write: *write, sync: *fsync, x: (*x).max(1) }));
        }
        if let Some(harm) = fault.harm(self.used()) {
            self.troubles.begin(id, harm, rng);
        }
    }
}

impl Faults {
    /// Gives a disk that is first used now its faults.
    pub fn of_disk(&self, host: HostId, name: &str, streams: Streams, device: &mut Device) {
        for report in self.all.iter().filter(|report| report.ended.is_none()) {
            if let Fault::Disk(fault) = &report.fault
                && fault.disk().is(host, name)
            {
                device.begin(report.id, fault, streams.get(&self.stream(report.id, name)));
            }
        }
    }

    /// The stream of a fault on a disk, by what the fault is called: those of other names may come and go.
    fn stream(&self, id: FaultId, device: &str) -> String {
        let report = &self.all[id.0 as usize];
        let of = |report: &FaultReport| match &report.fault {
            Fault::Disk(fault) => (fault.word(), fault.disk().host),
            _ => ("", HostId(u32::MAX)),
        };
        let same = |other: &&FaultReport| other.label == report.label && of(other) == of(report);
        let before = self.all[..id.0 as usize].iter().filter(same).count();
        let (word, host) = of(report);
        format!("{word}/{}/{before}/{}/{device}", report.label, host.0)
    }
}

impl Inner {
    pub(super) fn apply_disk(&mut self, id: FaultId, fault: DiskFault) {
        let (host, streams) = (fault.disk().host, self.streams);
        let mut rotten = Vec::new();
        let devices = self.host(host).devices.keys();
        let names: BTreeMap<String, String> =
            devices.map(|name| (name.to_string(), self.faults.stream(id, name))).collect();
        // A disk that is first used later finds its faults itself.
        for (name, device) in &mut self.host_mut(host).devices {
            if !fault.disk().is(host, name) {
                continue;
            }
            let mut rng = streams.get(&names[&**name]);
            if let DiskFault::BitRot { files, share, .. } = &fault {
                rotten.extend(device.rot(files, *share, &mut rng));
            }
            device.begin(id, &fault, rng);
        }
        let cause = Cause(self.current);
        rotten.iter().for_each(|_| self.faults.hit(id));
        rotten.dedup();
        for path in rotten {
            let fault = fault.word().to_owned();
            self.observe(Some(host), cause, Observation::DiskFault { fault, path, error: false });
        }
    }

    pub(super) fn heal_disk(&mut self, id: FaultId, fault: DiskFault) {
        let host = fault.disk().host;
        for device in self.host_mut(host).devices.values_mut() {
            device.slowed.retain(|(fault, _)| *fault != id);
            device.troubles.end(id);
        }
        self.release_held(host);
    }
}
