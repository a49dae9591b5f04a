//! Disks of simulated hosts: a page cache over what is durable.
//!
//! A [`Device`] has [`names`] and files. An operation takes effect in the page cache when it is submitted and completes
//! later, in order of submission for each file; a sync makes durable what was submitted before it, at its completion. The
//! end of a process loses nothing; what a power loss does is in [`power`].
//!
//! Deliberately absent: sectors of synced data that go bad, and a queue that operations of different files share.

mod content;
mod device;
mod file;
mod names;
mod power;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use runtime::{Completion, DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode, RawDisk};

use crate::heap::Scheduled;
use crate::inner::{Garbage, HostId, Inner, Kind};
use crate::process::Process;
use crate::world::World;

use device::Cost;
pub(crate) use device::Device;
pub use power::{FileLoss, Lose, PowerLoss};

/// How long a disk takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskProfile {
    /// A read.
    pub read: Duration,
    /// A write to the page cache, or a change of names.
    pub write: Duration,
    /// A sync of a file or directory.
    pub sync: Duration,
}

impl Default for DiskProfile {
    /// The profile `ideal`: as fast as a page cache; a sync as fast as a drive whose cache survives a power loss.
    fn default() -> Self {
        Self { read: Duration::from_micros(5), write: Duration::from_micros(5), sync: Duration::from_micros(100) }
    }
}

/// A fault that slows a disk: absolute times where given, then a factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlowDisk {
    pub read: Option<Duration>,
    pub write: Option<Duration>,
    pub sync: Option<Duration>,
    pub x: u32,
}

/// The completion of an operation.
pub(crate) struct DiskEvent {
    host: HostId,
    start: u32,
    device: Arc<str>,
    boot: u32,
    /// What becomes durable.
    syncs: Option<Synced>,
    /// For the trace.
    code: u8,
    bytes: u64,
    done: Completion,
    result: DiskResult,
}

impl std::fmt::Debug for DiskEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskEvent({})", self.code)
    }
}

#[derive(Clone, Copy)]
enum Synced {
    File(u64, u64),
    Names(u64),
}

/// What [`OpenFile::raw`] holds.
struct SimFile {
    world: World,
    host: HostId,
    device: Arc<str>,
    handles: u32,
    file: u64,
    writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.world.with(|inner| {
            if let Some(device) = inner.host_mut(self.host).devices.get_mut(&self.device)
                && device.handles == self.handles
                && let Some(file) = device.files.get_mut(&self.file)
            {
                file.handles -= 1;
                device.free_if_unused(self.file);
            }
        });
    }
}

/// A device as a process sees it.
pub(crate) struct SimDisk {
    world: World,
    host: HostId,
    start: u32,
    alive: Arc<AtomicBool>,
    device: Arc<str>,
}

impl SimDisk {
    pub fn of(process: &Process, device: &str) -> Arc<dyn RawDisk> {
        Arc::new(Self {
            world: process.world.clone(),
            host: process.host,
            start: process.start,
            alive: Arc::clone(&process.alive),
            device: device.into(),
        })
    }
}

impl RawDisk for SimDisk {
    fn submit(&self, op: DiskOp, done: Completion) {
        if self.alive.load(Relaxed) {
            // The last handle of a file may go here: it is dropped with the lock free.
            drop(self.world.with(|inner| inner.submit(&self.world, self, op, done)));
        }
    }
}

/// A write that has been checked.
fn writable(file: &SimFile) -> io::Result<()> {
    if file.writable { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened read only")) }
}

impl Inner {
    pub fn device_mut(&mut self, host: HostId, device: &str) -> &mut Device {
        let (profile, streams) = (self.disk_profile, self.streams);
        let state = &mut self.hosts[host.index()];
        if !state.devices.contains_key(device) {
            let rng = streams.get(&format!("disk/{}/{device}", state.name));
            let mut made = Device::new(profile, rng);
            made.slowed = self.faults.of_disk(host, device);
            state.devices.insert(device.into(), made);
        }
        state.devices.get_mut(device).expect("just made")
    }

    fn submit(
        &mut self,
        world: &World,
        disk: &SimDisk,
        op: DiskOp,
        done: Completion,
    ) -> Option<(OpenFile, Arc<SimFile>)> {
        let now = self.now;
        self.counters.disk_ops += 1;
        let device = self.device_mut(disk.host, &disk.device);
        let (mut file, mut syncs, mut bytes) = (None, None, 0);
        let open_file = |file: &mut Option<(OpenFile, Arc<SimFile>)>, open: OpenFile| {
            let sim = Arc::clone(&open.raw).downcast::<SimFile>().expect("a file that this world opened");
            let parts = (sim.file, Arc::clone(&sim));
            *file = Some((open, sim));
            parts
        };
        let (code, cost, result) = match op {
            DiskOp::Open { path, mode } => {
                let result = device.open(now, &path, mode).map(|id| {
                    let raw = SimFile {
                        world: world.clone(),
                        host: disk.host,
                        device: Arc::clone(&disk.device),
                        handles: device.handles,
                        file: id,
                        writable: mode != OpenMode::ReadOnly,
                    };
                    DiskOutput::Opened(OpenFile { path: path.into(), raw: Arc::new(raw) })
                });
                (1, Cost::Write, result)
            }
            DiskOp::Append { file: open, data } => {
                let (id, sim) = open_file(&mut file, open);
                bytes = data.len() as u64;
                let result = writable(&sim).and_then(|()| device.has_room(bytes)).map(|()| {
                    let at = device.file(id).append(data);
                    DiskOutput::Written { at, len: bytes }
                });
                (2, Cost::Write, result)
            }
            DiskOp::WriteAt { file: open, at, data } => {
                let (id, sim) = open_file(&mut file, open);
                bytes = data.len() as u64;
                let growth = (at + bytes).saturating_sub(device.file(id).len);
                let result = writable(&sim).and_then(|()| device.has_room(growth)).map(|()| {
                    device.file(id).write(at, data);
                    DiskOutput::Written { at, len: bytes }
                });
                (3, Cost::Write, result)
            }
            DiskOp::ReadAt { file: open, at, len } => {
                let (id, _) = open_file(&mut file, open);
                let chunks = device.file(id).read(at, len);
                bytes = chunks.len() as u64;
                (4, Cost::Read, Ok(DiskOutput::Read(chunks)))
            }
            DiskOp::Sync { file: open } => {
                let (id, _) = open_file(&mut file, open);
                let ticket = device.next_ticket;
                device.next_ticket += 1;
                device.file(id).seal(ticket);
                syncs = Some(Synced::File(id, ticket));
                (5, Cost::Sync, Ok(DiskOutput::Done))
            }
            DiskOp::SetLen { file: open, len } => {
                let (id, sim) = open_file(&mut file, open);
                let growth = len.saturating_sub(device.file(id).len);
                let result = writable(&sim).and_then(|()| device.has_room(growth)).map(|()| {
                    device.file(id).set_len(len);
                    DiskOutput::Done
                });
                (6, Cost::Write, result)
            }
            DiskOp::Len { file: open } => {
                let (id, _) = open_file(&mut file, open);
                (7, Cost::Read, Ok(DiskOutput::Len(device.file(id).len)))
            }
            DiskOp::Rename { from, to } => (8, Cost::Write, device.rename(now, &from, &to).map(|()| DiskOutput::Done)),
            DiskOp::Remove { path } => (9, Cost::Write, device.remove(now, &path).map(|()| DiskOutput::Done)),
            DiskOp::CreateDir { path } => (10, Cost::Write, device.create_dir(now, &path).map(|()| DiskOutput::Done)),
            DiskOp::RemoveDir { path } => (11, Cost::Write, device.remove_dir(now, &path).map(|()| DiskOutput::Done)),
            DiskOp::List { path } => (12, Cost::Read, device.list(&path)),
            DiskOp::SyncDir { path } => {
                let ticket = device.next_ticket;
                device.next_ticket += 1;
                let result = device.names.seal(&path, ticket).map(|()| DiskOutput::Done);
                syncs = Some(Synced::Names(ticket));
                (13, Cost::Sync, result)
            }
        };
        let (time, fault) = device.time(cost);
        let last = match &file {
            Some((_, sim)) => &mut device.file(sim.file).last_done,
            None => &mut device.names_done,
        };
        let at = (now + time).max(*last);
        *last = at;
        let boot = device.boot;
        if let Some(fault) = fault {
            self.faults.hit(fault);
        }
        match cost {
            Cost::Read => self.counters.bytes_read += bytes,
            Cost::Write => self.counters.bytes_written += bytes,
            Cost::Sync => self.counters.syncs += 1,
        }
        let (host, start, device) = (disk.host, disk.start, Arc::clone(&disk.device));
        let event = DiskEvent { host, start, device, boot, syncs, code, bytes, done, result };
        self.heap.push(at, Scheduled::Disk(Box::new(event)));
        file
    }

    pub fn disk_done(&mut self, event: DiskEvent) {
        let DiskEvent { host, start, device, boot, syncs, code, bytes, done, result } = event;
        self.begin(Some(host), Kind::Disk, (u64::from(code) << 32) | (bytes & 0xffff_ffff));
        let current = self.current;
        let state = &mut self.hosts[host.index()];
        if let Some(device) = state.devices.get_mut(&device)
            && device.boot == boot
        {
            match syncs {
                Some(Synced::File(id, ticket)) => {
                    if let Some(file) = device.files.get_mut(&id) {
                        file.synced(ticket);
                    }
                }
                Some(Synced::Names(ticket)) => {
                    let old = device.names.synced(ticket);
                    device.forget(old);
                }
                None => {}
            }
        }
        if state.process.as_ref().is_none_or(|process| process.start != start) {
            self.out.garbage.push(Garbage::Completion(done, Some(result)));
        } else if state.paused > 0 {
            state.parked.push((current, done, result));
        } else {
            self.out.completions.push((current, host, start, done, result));
        }
    }

    /// A process ends: its handles mean nothing any more.
    pub fn close_files(&mut self, host: HostId) {
        for device in self.host_mut(host).devices.values_mut() {
            device.handles += 1;
            let ids: Vec<u64> = device.files.keys().copied().collect();
            for id in ids {
                device.file(id).handles = 0;
                device.free_if_unused(id);
            }
        }
    }
}
