//! A disk in memory that can lose its process or its power at any point.
//!
//! Operations wait until the test lets one happen; those on one file keep their order, all others are taken in any order.
//! A power loss leaves of each file what was synced and, per page that was not, the old, the new or a torn one, and any
//! length between; of each change of a name that was not synced, whether it happened.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use protocol::Chunks;
use runtime::{Completion, DirEntry, Disk, DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode, RawDisk};

use super::Random;

const PAGE: usize = 256;
const SECTOR: usize = 64;

#[derive(Clone, Default, Debug)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Pages that differ, or may, from what is durable.
    dirty: BTreeSet<usize>,
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.cached.len() < end {
            self.set_len(end);
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.touch(at, end);
    }

    fn set_len(&mut self, len: usize) {
        let before = self.cached.len();
        self.cached.resize(len, 0);
        self.touch(before.min(len), before.max(len));
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / PAGE..to.div_ceil(PAGE));
    }

    fn sync(&mut self) {
        self.durable = self.cached.clone();
        self.dirty.clear();
    }

    fn lose_power(&mut self, random: &mut Random) {
        let (old, new) = (self.durable.len(), self.cached.len());
        let len = match random.below(3) {
            0 => old,
            1 => new,
            _ => old.min(new) + random.below((old.max(new) - old.min(new)) as u64 + 1) as usize,
        };
        let byte = |from: &Vec<u8>, at: usize| from.get(at).copied().unwrap_or(0);
        let mut left = Vec::with_capacity(len);
        let mut kept_new = false;
        for at in 0..len {
            if at % PAGE == 0 {
                kept_new = random.chance(2);
            }
            // One page in four is torn: each of its sectors decides for itself.
            if at % SECTOR == 0 && (at / PAGE).is_multiple_of(4) {
                kept_new = random.chance(2);
            }
            let dirty = self.dirty.contains(&(at / PAGE));
            left.push(if dirty && !kept_new { byte(&self.durable, at) } else { byte(&self.cached, at) });
        }
        *self = Self { cached: left.clone(), durable: left, dirty: BTreeSet::new() };
    }
}

/// A change of names that is not synced yet.
#[derive(Clone, Debug)]
enum Change {
    Make(String, u64),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Make(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn dir(&self) -> &str {
        let (Self::Make(name, _) | Self::Rename(_, name) | Self::Remove(name)) = self;
        name.rsplit_once('/').map_or("", |(dir, _)| dir)
    }
}

struct Waiting {
    /// The file it is on; operations without one are ordered with nothing.
    inode: Option<u64>,
    op: DiskOp,
    done: Completion,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    inodes: u64,
    waiting: VecDeque<Waiting>,
    /// Bytes that appends may still take; `None` is endless.
    space: Option<u64>,
    /// Syncs until one fails; `None` is never.
    sync_fails: Option<u64>,
    /// Every so many writes one takes a part only.
    short: Option<u64>,
    writes: u64,
    ops: u64,
    /// Syncs of files, done.
    syncs: u64,
}

struct Inode(u64);

#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

impl RawDisk for MemDisk {
    fn submit(&self, op: DiskOp, done: Completion) {
        let inode = match &op {
            DiskOp::Append { file, .. }
            | DiskOp::WriteAt { file, .. }
            | DiskOp::ReadAt { file, .. }
            | DiskOp::Sync { file }
            | DiskOp::SetLen { file, .. }
            | DiskOp::Len { file } => Some(inode(file)),
            _ => None,
        };
        self.0.lock().unwrap().waiting.push_back(Waiting { inode, op, done });
    }
}

fn inode(file: &OpenFile) -> u64 {
    file.raw.downcast_ref::<Inode>().expect("a file of this disk").0
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.to_owned())
}

impl MemDisk {
    pub fn disk(&self) -> Disk {
        Disk(Arc::new(self.clone()))
    }

    /// Appends may take so many bytes more.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().space = bytes;
    }

    /// Every so many writes one takes a part only.
    pub fn set_short(&self, every: Option<u64>) {
        self.0.lock().unwrap().short = every;
    }

    /// The sync after `n` others fails with EIO.
    pub fn fail_sync(&self, n: u64) {
        self.0.lock().unwrap().sync_fails = Some(n);
    }

    /// Puts a durable file there.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        state.inodes += 1;
        let inode = state.inodes;
        let mut file = File { cached: bytes.to_vec(), ..File::default() };
        file.sync();
        state.files.insert(inode, file);
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
        if let Some((dir, _)) = path.rsplit_once('/') {
            state.dirs.insert(dir.to_owned());
        }
    }

    /// What a file holds, for those who read it now.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.names.get(path).map(|inode| state.files[inode].cached.clone())
    }

    /// What a power loss would leave of a file at the least: nothing if its name is not durable.
    pub fn durable(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.durable_names.get(path).map(|inode| state.files[inode].durable.clone())
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }

    /// How many files were synced.
    #[allow(dead_code, reason = "each test binary has its own copy")]
    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    pub fn ops(&self) -> u64 {
        self.0.lock().unwrap().ops
    }

    /// Lets one waiting operation happen; says whether there was one.
    pub fn step(&self, random: &mut Random) -> bool {
        let (done, result) = {
            let mut state = self.0.lock().unwrap();
            let mut seen = BTreeSet::new();
            let ready: Vec<usize> = (state.waiting.iter().enumerate())
                .filter(|(_, waiting)| waiting.inode.is_none_or(|inode| seen.insert(inode)))
                .map(|(index, _)| index)
                .collect();
            if ready.is_empty() {
                return false;
            }
            let waiting = state.waiting.remove(*random.pick(&ready)).expect("just listed");
            state.ops += 1;
            (waiting.done, state.run(waiting.op))
        };
        done(result);
        true
    }

    /// The process ends: what was submitted may still happen, nobody hears of it. The cache stays.
    pub fn kill(&self, random: &mut Random) {
        for _ in 0..random.below(4) {
            let mut state = self.0.lock().unwrap();
            if let Some(waiting) = state.waiting.pop_front() {
                let _ = state.run(waiting.op);
            }
        }
        let mut state = self.0.lock().unwrap();
        state.waiting.clear();
        state.space = None;
    }

    /// The power goes.
    pub fn lose_power(&self, random: &mut Random) {
        self.kill(random);
        let mut guard = self.0.lock().unwrap();
        let state = &mut *guard;
        let prefix = random.chance(2).then(|| random.below(state.changes.len() as u64 + 1) as usize);
        let mut names = state.durable_names.clone();
        for (index, change) in state.changes.drain(..).enumerate() {
            if prefix.map_or_else(|| random.chance(2), |prefix| index < prefix) {
                change.apply(&mut names);
            }
        }
        state.files.values_mut().for_each(|file| file.lose_power(random));
        state.durable_names = names.clone();
        state.names = names;
    }

    /// Runs a future that waits for this disk only.
    pub fn block_on<F: Future>(&self, random: &mut Random, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            assert!(self.step(random), "a future waits and nothing is under way");
        }
    }
}

impl State {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn file(&mut self, file: &OpenFile) -> &mut File {
        self.files.get_mut(&inode(file)).expect("files are never forgotten")
    }

    fn write(&mut self, file: &OpenFile, at: usize, mut data: Chunks) -> DiskOutput {
        self.writes += 1;
        let (len, writes) = (data.len(), self.writes);
        if len > 1 && self.short.is_some_and(|every| writes.is_multiple_of(every)) {
            let kept = 1 + (writes as usize * 37) % (len - 1);
            let written = data.split_to(kept);
            self.file(file).write(at, &written.to_vec());
            return DiskOutput::Short { at: at as u64, len: kept as u64, rest: data };
        }
        self.file(file).write(at, &data.to_vec());
        DiskOutput::Written { at: at as u64, len: len as u64 }
    }

    fn run(&mut self, op: DiskOp) -> DiskResult {
        match op {
            DiskOp::Open { path, mode } => self.open(path, mode),
            DiskOp::Append { file, data } => {
                if let Some(space) = &mut self.space {
                    if *space < data.len() as u64 {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    *space -= data.len() as u64;
                }
                let at = self.file(&file).cached.len();
                Ok(self.write(&file, at, data))
            }
            DiskOp::WriteAt { file, at, data } => {
                if self.space.is_some_and(|space| space < data.len() as u64) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Ok(self.write(&file, at as usize, data))
            }
            DiskOp::ReadAt { file, at, len } => {
                let bytes = &self.file(&file).cached;
                let from = (at as usize).min(bytes.len());
                let to = from.saturating_add(len as usize).min(bytes.len());
                Ok(DiskOutput::Read(Chunks::from(bytes[from..to].to_vec())))
            }
            DiskOp::Sync { file } => {
                match &mut self.sync_fails {
                    Some(0) => return Err(io::Error::other("input/output error")),
                    Some(left) => *left -= 1,
                    None => {}
                }
                self.syncs += 1;
                self.file(&file).sync();
                Ok(DiskOutput::Done)
            }
            DiskOp::SetLen { file, len } => {
                self.file(&file).set_len(len as usize);
                Ok(DiskOutput::Done)
            }
            DiskOp::Len { file } => Ok(DiskOutput::Len(self.file(&file).cached.len() as u64)),
            DiskOp::Rename { from, to } => {
                if !self.names.contains_key(&from) {
                    return Err(not_found(&from));
                }
                self.change(Change::Rename(from, to));
                Ok(DiskOutput::Done)
            }
            DiskOp::Remove { path } => {
                if !self.names.contains_key(&path) {
                    return Err(not_found(&path));
                }
                self.change(Change::Remove(path));
                Ok(DiskOutput::Done)
            }
            DiskOp::CreateDir { path } => {
                self.dirs.insert(path);
                Ok(DiskOutput::Done)
            }
            DiskOp::RemoveDir { path } => {
                let prefix = format!("{path}/");
                self.names.retain(|name, _| !name.starts_with(&prefix));
                self.durable_names.retain(|name, _| !name.starts_with(&prefix));
                self.dirs.remove(&path);
                Ok(DiskOutput::Done)
            }
            DiskOp::List { path } => self.list(&path),
            DiskOp::SyncDir { path } => {
                let (synced, left) = self.changes.drain(..).partition(|change| change.dir() == path);
                self.changes = left;
                let synced: Vec<Change> = synced;
                synced.iter().for_each(|change| change.apply(&mut self.durable_names));
                Ok(DiskOutput::Done)
            }
        }
    }

    fn open(&mut self, path: String, mode: OpenMode) -> DiskResult {
        let there = self.names.get(&path).copied();
        let inode = match (there, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, path)),
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(not_found(&path)),
            (Some(inode), mode) => {
                if mode == OpenMode::Truncate {
                    self.files.get_mut(&inode).expect("a name has a file").set_len(0);
                }
                inode
            }
            (None, _) => {
                self.inodes += 1;
                self.files.insert(self.inodes, File::default());
                self.change(Change::Make(path.clone(), self.inodes));
                self.inodes
            }
        };
        let raw: Arc<dyn Any + Send + Sync> = Arc::new(Inode(inode));
        Ok(DiskOutput::Opened(OpenFile { path: path.into(), raw }))
    }

    fn list(&self, path: &str) -> DiskResult {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        if !path.is_empty() && !self.dirs.contains(path) {
            return Err(not_found(path));
        }
        let files = self.names.iter().filter_map(|(name, inode)| {
            let name = name.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
            Some(DirEntry { name: name.to_owned(), is_dir: false, len: self.files[inode].cached.len() as u64 })
        });
        let dirs = self.dirs.iter().filter_map(|dir| {
            let name = dir.strip_prefix(&prefix).filter(|name| !name.is_empty() && !name.contains('/'))?;
            Some(DirEntry { name: name.to_owned(), is_dir: true, len: 0 })
        });
        let mut entries: Vec<DirEntry> = files.chain(dirs).collect();
        entries.sort();
        Ok(DiskOutput::Entries(entries))
    }
}
