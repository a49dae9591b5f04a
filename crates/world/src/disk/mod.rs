//! Disks of simulated hosts: a page cache over what is durable.
//!
//! A [`Device`] has [`names`] and files. An operation takes effect in the page cache when it is submitted and completes
//! later, in order of submission for each file; a sync makes durable what was submitted before it, at its completion. The
//! end of a process loses nothing; what a power loss does is in [`power`].
//!
//! What faults do to an operation is in [`trouble`].
//!
//! Deliberately absent: a queue that operations of different files share.

mod content;
mod device;
mod file;
mod names;
mod power;
mod trouble;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use runtime::{Completion, DiskOp, DiskOutput, DiskResult, Observation, OpenFile, OpenMode, RawDisk, cause::Cause};

use crate::fault::FaultId;
use crate::heap::Scheduled;
use crate::inner::{Garbage, HostId, Inner, Kind};
use crate::process::Process;
use crate::world::World;

use device::Cost;
pub(crate) use device::Device;
pub use power::{FileLoss, Lose, PowerLoss};
pub(crate) use trouble::Harm;
pub use trouble::{Glob, Which};

/// Bytes of a file that are not what was written and called durable, and were not written again since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file. It may be gone: then all of it counts.
    pub path: String,
    /// The first byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// The word of the fault that did it.
    pub word: &'static str,
}

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
    /// What a sync covers, and what becomes of it.
    syncs: Option<(Synced, Fate)>,
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

/// What a sync covers, by file and number of the sync.
#[derive(Clone, Copy)]
enum Synced {
    File(u64, u64),
    Names(u64),
}

/// What becomes of what a sync covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Durable,
    /// `fsync_lie`: nothing happens.
    Lied(FaultId),
    /// `fsync_error`: pages are dropped, and read as before if they are evicted.
    Failed {
        evicted: bool,
    },
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
            self.faults.of_disk(host, device, streams, &mut made);
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
                let at = device.file(id).len;
                (2, Cost::Write, writable(&sim).and_then(|()| device.write(id, at, data)))
            }
            DiskOp::WriteAt { file: open, at, data } => {
                let (id, sim) = open_file(&mut file, open);
                bytes = data.len() as u64;
                (3, Cost::Write, writable(&sim).and_then(|()| device.write(id, at, data)))
            }
            DiskOp::ReadAt { file: open, at, len } => {
                let (id, _) = open_file(&mut file, open);
                let result = device.works(Cost::Read).map(|()| {
                    let chunks = device.file(id).read(at, len);
                    bytes = chunks.len() as u64;
                    DiskOutput::Read(chunks)
                });
                (4, Cost::Read, result)
            }
            DiskOp::Sync { file: open } => {
                let (id, _) = open_file(&mut file, open);
                let ticket = device.next_ticket;
                device.next_ticket += 1;
                device.file(id).seal(ticket);
                let (fate, result) = device.sync();
                syncs = Some((Synced::File(id, ticket), fate));
                (5, Cost::Sync, result)
            }
            DiskOp::SetLen { file: open, len } => {
                let (id, sim) = open_file(&mut file, open);
                let growth = len.saturating_sub(device.file(id).len);
                let result = writable(&sim).and_then(|()| device.works(Cost::Write)).and_then(|()| {
                    device.has_room(growth)?;
                    device.file(id).set_len(len);
                    Ok(DiskOutput::Done)
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
                let result = device.names.seal(&path, ticket).and_then(|()| {
                    let (fate, result) = device.sync();
                    syncs = Some((Synced::Names(ticket), fate));
                    result
                });
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
        let hit = !device.hits.is_empty();
        if let Some(fault) = fault {
            self.faults.hit(fault);
        }
        match cost {
            Cost::Read => self.counters.bytes_read += bytes,
            Cost::Write => self.counters.bytes_written += bytes,
            Cost::Sync => self.counters.syncs += 1,
        }
        if hit {
            let path = file.as_ref().map_or_else(|| Arc::from("the directory"), |(open, _)| Arc::clone(&open.path));
            self.tell_hits(disk, &path, result.as_ref().err());
        }
        let (host, start, device) = (disk.host, disk.start, Arc::clone(&disk.device));
        let event = DiskEvent { host, start, device, boot, syncs, code, bytes, done, result };
        self.heap.push(at, Scheduled::Disk(Box::new(event)));
        file
    }

    /// Counts what faults did to an operation; what it fails by, and what it spoils, the world says itself.
    fn tell_hits(&mut self, disk: &SimDisk, path: &str, error: Option<&io::Error>) {
        for fault in self.count_hits(disk.host) {
            let word = self.faults.word(fault);
            let device = self.device_mut(disk.host, &disk.device);
            // A full disk is told once to each process: it fails whatever is tried.
            let told =
                word == "disk_full" && device.full_told.replace((disk.start, fault)) == Some((disk.start, fault));
            if (error.is_some() && !told) || word == "misdirected_write" {
                let error = error.is_some();
                // Of a sector that went astray two files are spoilt: the one without it, and the one where it landed.
                let struck = std::mem::take(&mut device.struck);
                let named = device.names.files().filter(|(_, id)| struck.contains(id));
                let victims = named.map(|(victim, _)| victim.to_owned()).filter(|victim| victim != path);
                for path in std::iter::once(path.to_owned()).chain(victims.collect::<Vec<_>>()) {
                    let fault = word.to_owned();
                    self.observe(Some(disk.host), Cause(self.current), Observation::DiskFault { fault, path, error });
                }
            }
        }
    }

    /// Counts what faults did to the disks of a host.
    pub fn count_hits(&mut self, host: HostId) -> Vec<FaultId> {
        let mut hits = Vec::new();
        for device in self.hosts[host.index()].devices.values_mut() {
            hits.append(&mut device.hits);
        }
        hits.iter().for_each(|fault| self.faults.hit(*fault));
        hits
    }

    pub fn disk_done(&mut self, event: Box<DiskEvent>) {
        let state = &mut self.hosts[event.host.index()];
        if let Some(device) = state.devices.get_mut(&event.device)
            && let Some(fault) = device.troubles.stalls()
        {
            device.held.push_back(event);
            self.faults.hit(fault);
            return;
        }
        let DiskEvent { host, start, device, boot, syncs, code, bytes, done, result } = *event;
        self.begin(Some(host), Kind::Disk, (u64::from(code) << 32) | (bytes & 0xffff_ffff));
        let current = self.current;
        let state = &mut self.hosts[host.index()];
        if let Some(device) = state.devices.get_mut(&device)
            && device.boot == boot
            && let Some((what, fate)) = syncs
        {
            device.synced(what, fate);
        }
        if !state.devices.get(&device).is_none_or(|device| device.hits.is_empty()) {
            self.count_hits(host);
        }
        let state = &mut self.hosts[host.index()];
        if state.process.as_ref().is_none_or(|process| process.start != start) {
            self.out.garbage.push(Garbage::Completion(done, Some(result)));
        } else if state.paused > 0 {
            state.parked.push((current, done, result));
        } else {
            self.out.completions.push((current, host, start, done, result));
        }
    }

    /// A disk that was stalled goes on.
    pub fn release_held(&mut self, host: HostId) {
        let now = self.now;
        let state = &mut self.hosts[host.index()];
        for device in state.devices.values_mut().filter(|device| device.troubles.stalls().is_none()) {
            for event in device.held.drain(..) {
                self.heap.push(now, Scheduled::Disk(event));
            }
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

impl Device {
    /// A sync is submitted: what it answers, and what it will have done.
    fn sync(&mut self) -> (Fate, DiskResult) {
        if let Err(error) = self.works(Cost::Sync) {
            let evicted = crate::streams::below(&mut self.rng, 2) == 0;
            return (Fate::Failed { evicted }, Err(error));
        }
        let fate = self.troubles.lies().map_or(Fate::Durable, Fate::Lied);
        (fate, Ok(DiskOutput::Done))
    }

    /// A sync has completed.
    fn synced(&mut self, what: Synced, fate: Fate) {
        match (what, fate) {
            (Synced::File(id, ticket), fate) => {
                let Some(file) = self.files.get_mut(&id) else { return };
                match fate {
                    Fate::Durable => file.synced(ticket),
                    Fate::Lied(fault) => self.hits.extend(file.sync_lied(ticket).then_some(fault)),
                    Fate::Failed { evicted } => drop(file.sync_failed(ticket, evicted)),
                }
            }
            (Synced::Names(ticket), Fate::Durable) => {
                let old = self.names.synced(ticket);
                self.forget(old);
            }
            (Synced::Names(ticket), Fate::Lied(fault)) => {
                self.hits.extend(self.names.sync_lied(ticket).then_some(fault))
            }
            // The journal is written with the next sync.
            (Synced::Names(_), Fate::Failed { .. }) => {}
        }
    }
}
