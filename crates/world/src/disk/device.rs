//! One disk: names, files, and how long it takes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use protocol::Chunks;
use rand_chacha::ChaCha8Rng;
use runtime::{DiskOutput, OpenMode};

use crate::disk::file::File;
use crate::disk::names::{Names, Node};
use crate::disk::trouble::Troubles;
use crate::disk::{Damage, DiskEvent, DiskProfile, SlowDisk};
use crate::fault::FaultId;
use crate::time::nanos;

/// One disk of a host. It outlives processes.
pub(crate) struct Device {
    pub profile: DiskProfile,
    pub slowed: Vec<(FaultId, SlowDisk)>,
    pub names: Names,
    pub files: BTreeMap<u64, File>,
    pub next_file: u64,
    pub next_ticket: u64,
    /// Handles of older processes mean nothing.
    pub handles: u32,
    /// Syncs from before a power loss mean nothing.
    pub boot: u32,
    /// When the last operation on names completes.
    pub names_done: u64,
    /// Bytes it holds at most.
    pub capacity: Option<u64>,
    pub rng: ChaCha8Rng,
    /// The faults that it has.
    pub troubles: Troubles,
    /// Faults that have had an effect and were not told yet.
    pub hits: Vec<FaultId>,
    /// Files that a sector meant for another has landed in, not told yet.
    pub struck: Vec<u64>,
    /// Operations that do not complete while the disk is stalled, in order.
    pub held: VecDeque<Box<DiskEvent>>,
    /// The process and the fault of the last lack of space that was told.
    pub full_told: Option<(u32, FaultId)>,
    /// Names that are gone though a sync had called them durable, with the word of the fault.
    pub vanished: Vec<(String, &'static str)>,
}

/// What an operation costs.
#[derive(Clone, Copy)]
pub(crate) enum Cost {
    Read,
    Write,
    Sync,
}

impl Device {
    pub fn new(profile: DiskProfile, rng: ChaCha8Rng) -> Self {
        Self {
            profile,
            slowed: Vec::new(),
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 1,
            next_ticket: 1,
            handles: 0,
            boot: 0,
            names_done: 0,
            capacity: None,
            rng,
            troubles: Troubles::default(),
            hits: Vec::new(),
            struck: Vec::new(),
            held: VecDeque::new(),
            full_told: None,
            vanished: Vec::new(),
        }
    }

    pub fn free_if_unused(&mut self, id: u64) {
        if self.files.get(&id).is_some_and(|file| file.handles == 0 && file.names == 0 && file.pending == 0) {
            self.files.remove(&id);
        }
    }

    pub fn new_file(&mut self) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, File::default());
        id
    }

    /// Bytes of all files, those without a name included.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.len).sum()
    }

    /// Whether `more` bytes fit.
    pub fn has_room(&mut self, more: u64) -> io::Result<()> {
        let full = self.troubles.full();
        let capacity = full.map(|(_, capacity)| capacity).into_iter().chain(self.capacity).min();
        let Some(capacity) = capacity.filter(|_| more > 0) else { return Ok(()) };
        if self.used() + more <= capacity {
            return Ok(());
        }
        // Files that are gone but for the journal hold their room until it is committed. That is done before anybody is told
        // that there is none, as ext4 does (`ext4_should_retry_alloc`).
        if self.troubles.lies().is_none() && self.troubles.lost_names().is_none() {
            let kept = self.names.settle();
            self.forget(kept);
            if self.used() + more <= capacity {
                return Ok(());
            }
        }
        self.hits.extend(full.filter(|(_, full)| *full == capacity).map(|(fault, _)| fault));
        Err(io::Error::from_raw_os_error(ENOSPC))
    }

    pub fn file(&mut self, id: u64) -> &mut File {
        self.files.get_mut(&id).expect("an open file exists")
    }

    pub fn open(&mut self, now: u64, path: &str, mode: OpenMode) -> io::Result<u64> {
        let id = match (self.names.get(path)?, mode) {
            (Some(Node::Dir), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(id)), _) => {
                if mode == OpenMode::Truncate {
                    self.file(id).set_len(0);
                }
                id
            }
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate) => {
                self.names.parent_must_be_dir(path)?;
                // A name takes room too, if hardly any.
                self.has_room(1)?;
                let id = self.new_file();
                self.change(now, vec![(path.to_owned(), Some(Node::File(id)))]);
                id
            }
        };
        self.file(id).handles += 1;
        Ok(id)
    }

    /// Changes names in one step, to be made durable by a sync of their directories.
    pub fn change(&mut self, now: u64, changes: Vec<(String, Option<Node>)>) {
        let op = self.names.change(now, changes);
        let (mut gained, mut lost) = (Vec::new(), Vec::new());
        for (before, after) in op {
            gained.extend(after);
            lost.extend(before);
        }
        for id in gained {
            self.file(id).names += 1;
        }
        for id in lost {
            let file = self.file(id);
            file.names -= 1;
            file.pending += 1;
        }
        let old = self.names.take_old(now);
        self.forget(old);
    }

    /// Files that a retired change of names kept.
    pub fn forget(&mut self, files: Vec<u64>) {
        for id in files {
            self.file(id).pending -= 1;
            self.free_if_unused(id);
        }
    }

    pub fn rename(&mut self, now: u64, from: &str, to: &str) -> io::Result<()> {
        let changes = self.names.rename(from, to)?;
        self.change(now, changes);
        Ok(())
    }

    pub fn remove(&mut self, now: u64, path: &str) -> io::Result<()> {
        match self.names.get(path)? {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(_)) => {
                self.change(now, vec![(path.to_owned(), None)]);
                Ok(())
            }
        }
    }

    pub fn create_dir(&mut self, now: u64, path: &str) -> io::Result<()> {
        let changes = self.names.create_dir(path)?;
        if !changes.is_empty() {
            self.change(now, changes);
        }
        Ok(())
    }

    pub fn remove_dir(&mut self, now: u64, path: &str) -> io::Result<()> {
        let changes = self.names.remove_dir(path)?;
        self.change(now, changes);
        Ok(())
    }

    pub fn list(&self, path: &str) -> io::Result<DiskOutput> {
        let len = |id: u64| self.files.get(&id).map_or(0, |file| file.len);
        self.names.list(path, len).map(DiskOutput::Entries)
    }
}

impl Device {
    /// How long an operation takes now, and the fault that made it so.
    pub fn time(&self, cost: Cost) -> (u64, Option<FaultId>) {
        let of = |read: Duration, write: Duration, sync: Duration| match cost {
            Cost::Read => read,
            Cost::Write => write,
            Cost::Sync => sync,
        };
        let profile = self.profile;
        let mut time = nanos(of(profile.read, profile.write, profile.sync));
        for (_, slow) in &self.slowed {
            let absolute = of(
                slow.read.unwrap_or(profile.read),
                slow.write.unwrap_or(profile.write),
                slow.sync.unwrap_or(profile.sync),
            );
            time = time.max(nanos(absolute)).saturating_mul(u64::from(slow.x));
        }
        (time, self.slowed.last().map(|(fault, _)| *fault))
    }

    /// Another drive takes its place: as fast, with the same faults, and empty.
    pub fn wipe(&mut self) {
        self.names = Names::default();
        self.files.clear();
        self.handles += 1;
        self.boot += 1;
        self.vanished.clear();
    }

    /// Puts a file there, durable.
    pub fn put(&mut self, now: u64, path: &str, content: Chunks) {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        self.create_dir(now, dir).expect("the path of a file that is somewhere");
        let id = self.open(now, path, OpenMode::CreateNew).expect("an empty disk has no such file");
        let file = self.file(id);
        file.handles -= 1;
        file.write(0, content);
        file.layers.clear();
        let old = self.names.settle();
        self.forget(old);
    }

    /// Every file, as it would be after a power loss now that loses all that is not durable.
    pub fn durable(&self) -> BTreeMap<String, Chunks> {
        let mut names = self.names.clone();
        drop(names.undo(0, false));
        let read = |id: u64| {
            self.files.get(&id).map(|file| {
                let (content, len) = file.durable();
                content.read(0, len)
            })
        };
        names.files().map(|(path, id)| (path.to_owned(), read(id).unwrap_or_default())).collect()
    }

    /// What faults have spoilt and nobody has written again.
    pub fn damage(&self) -> Vec<Damage> {
        let of =
            |path: &str, &(from, to, word): &(u64, u64, &'static str)| Damage { path: path.to_owned(), from, to, word };
        let spoilt = self.names.files().flat_map(|(path, id)| {
            let damage = self.files.get(&id).map_or(&[][..], |file| &file.damage);
            damage.iter().map(move |damage| of(path, damage))
        });
        let vanished = self.vanished.iter().map(|(path, word)| of(path, &(0, u64::MAX, word)));
        spoilt.chain(vanished).collect()
    }

    /// Every file, as a process would read it.
    pub fn contents(&self) -> BTreeMap<String, Chunks> {
        let read = |id: u64| self.files.get(&id).map(|file| file.read(0, file.len)).unwrap_or_default();
        self.names.files().map(|(path, id)| (path.to_owned(), read(id))).collect()
    }
}

const ENOSPC: i32 = 28;
