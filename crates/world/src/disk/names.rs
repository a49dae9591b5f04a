//! The names on a disk: which of them are durable.
//!
//! Each change is one step, as on a journaling file system: a rename is there or it is not. A sync of a directory makes
//! durable the changes that touched it, with those that they build on. Others become durable by themselves after
//! [`WRITE_BACK`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use runtime::DirEntry;

/// A journal is written back after so long without being asked, in ns.
pub(crate) const WRITE_BACK: u64 = 30_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    Dir,
    File(u64),
}

#[derive(Clone, Default)]
pub(crate) struct Names {
    /// By path; the root is not in it.
    now: BTreeMap<String, Node>,
    /// Changes that are not durable, by their numbers: oldest first.
    pending: BTreeMap<u64, Change>,
    next_change: u64,
    /// Which of them no sync covers yet, by the directories that they touched.
    unsealed: BTreeMap<String, BTreeSet<u64>>,
    /// Which of them are covered, by their sync.
    sealed: BTreeMap<u64, Vec<u64>>,
}

#[derive(Clone)]
struct Change {
    at: u64,
    paths: Vec<Renamed>,
    /// The sync that makes it durable.
    ticket: Option<u64>,
    /// A sync said that it is durable, and lied.
    claimed: bool,
}

/// What became of a path.
#[derive(Clone)]
struct Renamed {
    path: String,
    /// What it meant.
    before: Option<Node>,
    /// Whether it means something now.
    added: bool,
}

impl Change {
    fn dirs(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|renamed| parent(&renamed.path))
    }

    fn files(&self) -> impl Iterator<Item = u64> {
        self.paths.iter().filter_map(|renamed| file_of(renamed.before))
    }
}

fn file_of(node: Option<Node>) -> Option<u64> {
    if let Some(Node::File(id)) = node { Some(id) } else { None }
}

/// The directory that a path lies in.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A path must be a list of plain names.
fn check(path: &str) -> io::Result<()> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("path `{path}` leaves its disk")));
    }
    Ok(())
}

impl Names {
    pub fn get(&self, path: &str) -> io::Result<Option<Node>> {
        if path.is_empty() {
            return Ok(Some(Node::Dir));
        }
        check(path)?;
        Ok(self.now.get(path).copied())
    }

    pub fn parent_must_be_dir(&self, path: &str) -> io::Result<()> {
        match self.get(parent(path))? {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Carries out a change; for each path the file it meant before and the one it means now.
    pub fn change(&mut self, now: u64, changes: Vec<(String, Option<Node>)>) -> Vec<(Option<u64>, Option<u64>)> {
        let mut files = Vec::with_capacity(changes.len());
        let mut paths = Vec::with_capacity(changes.len());
        for (path, after) in changes {
            let old = match after {
                Some(node) => self.now.insert(path.clone(), node),
                None => self.now.remove(&path),
            };
            files.push((file_of(old), file_of(after)));
            paths.push(Renamed { path, before: old, added: after.is_some() });
        }
        let change = Change { at: now, paths, ticket: None, claimed: false };
        for dir in change.dirs() {
            match self.unsealed.get_mut(dir) {
                Some(known) => known.insert(self.next_change),
                None => self.unsealed.insert(dir.to_owned(), BTreeSet::from([self.next_change])).is_none(),
            };
        }
        self.pending.insert(self.next_change, change);
        self.next_change += 1;
        files
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<Vec<(String, Option<Node>)>> {
        let node = self.get(from)?.ok_or(io::ErrorKind::NotFound)?;
        self.parent_must_be_dir(to)?;
        let target = self.get(to)?;
        if from == to {
            return Ok(Vec::new());
        }
        match (node, target) {
            (Node::File(_), Some(Node::Dir)) => return Err(io::ErrorKind::IsADirectory.into()),
            (Node::Dir, Some(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::Dir, Some(Node::Dir)) if self.below(to).next().is_some() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        if node == Node::Dir && to.starts_with(&format!("{from}/")) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut changes = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
        for (path, node) in self.below(from) {
            changes.push((path.to_owned(), None));
            changes.push((format!("{to}{}", &path[from.len()..]), Some(node)));
        }
        Ok(changes)
    }

    /// The directories that are missing on the way to `path`.
    pub fn create_dir(&self, path: &str) -> io::Result<Vec<(String, Option<Node>)>> {
        let mut changes = Vec::new();
        if path.is_empty() {
            return Ok(changes);
        }
        check(path)?;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            match self.now.get(&path[..end]) {
                Some(Node::Dir) => {}
                Some(Node::File(_)) if end == path.len() => return Err(io::ErrorKind::AlreadyExists.into()),
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => changes.push((path[..end].to_owned(), Some(Node::Dir))),
            }
        }
        Ok(changes)
    }

    pub fn remove_dir(&self, path: &str) -> io::Result<Vec<(String, Option<Node>)>> {
        match self.get(path)? {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir) => {
                let itself = (!path.is_empty()).then(|| path.to_owned());
                let inside = self.below(path).map(|(path, _)| path.to_owned());
                Ok(inside.chain(itself).map(|path| (path, None)).collect())
            }
        }
    }

    pub fn list(&self, path: &str, len: impl Fn(u64) -> u64) -> io::Result<Vec<DirEntry>> {
        match self.get(path)? {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir) => {}
        }
        let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
        let mut entries: Vec<DirEntry> = self
            .below(path)
            .filter(|(below, _)| !below[prefix..].contains('/'))
            .map(|(below, node)| match node {
                Node::Dir => DirEntry { name: below[prefix..].to_owned(), is_dir: true, len: 0 },
                Node::File(id) => DirEntry { name: below[prefix..].to_owned(), is_dir: false, len: len(id) },
            })
            .collect();
        entries.sort();
        Ok(entries)
    }

    /// Every file with its path.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.now.iter().filter_map(|(path, node)| match node {
            Node::File(id) => Some((path.as_str(), *id)),
            Node::Dir => None,
        })
    }

    /// All that lies below a directory.
    fn below(&self, dir: &str) -> impl Iterator<Item = (&str, Node)> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let range = self.now.range(prefix.clone()..);
        range.take_while(move |(path, _)| path.starts_with(&prefix)).map(|(path, node)| (path.as_str(), *node))
    }

    /// A sync of the directory `path` was submitted: it covers the changes that touched it, with what they build on.
    pub fn seal(&mut self, path: &str, ticket: u64) -> io::Result<()> {
        match self.get(path)? {
            Some(Node::Dir) => {}
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        // Newest first: what a directory's changes build on is older than they are. What an earlier sync covers already, it
        // covers with all that it builds on.
        let mut reached = self.unsealed.get(path).cloned().unwrap_or_default();
        // A directory that was met at a newer change has given all that it has.
        let mut met = BTreeSet::from([path.to_owned()]);
        while let Some(number) = reached.pop_last() {
            let dirs: Vec<String> = self.pending[&number].dirs().map(str::to_owned).collect();
            for dir in dirs {
                if !met.contains(&dir) {
                    reached.extend(self.unsealed.get(&dir).into_iter().flat_map(|changes| changes.range(..number)));
                    met.insert(dir.clone());
                }
                self.no_longer_unsealed(&dir, number);
            }
            self.pending.get_mut(&number).expect("it is not durable").ticket = Some(ticket);
            self.sealed.entry(ticket).or_default().push(number);
        }
        Ok(())
    }

    /// A sync has completed; the files that its changes had kept.
    pub fn synced(&mut self, ticket: u64) -> Vec<u64> {
        let later = self.sealed.split_off(&(ticket + 1));
        let mut numbers: Vec<u64> = std::mem::replace(&mut self.sealed, later).into_values().flatten().collect();
        numbers.sort_unstable();
        let mut files = Vec::new();
        for change in numbers.into_iter().filter_map(|number| self.pending.remove(&number)) {
            files.extend(change.files());
        }
        files
    }

    /// All of it is durable now; the files that its changes had kept.
    pub fn settle(&mut self) -> Vec<u64> {
        let files = self.pending.values().flat_map(Change::files).collect();
        self.forget_pending();
        files
    }

    /// What has been written back by itself; the files that its changes had kept.
    pub fn take_old(&mut self, now: u64) -> Vec<u64> {
        let mut files = Vec::new();
        while let Some(first) = self.pending.first_entry()
            && first.get().at + WRITE_BACK <= now
        {
            let (number, change) = first.remove_entry();
            files.extend(change.files());
            match change.ticket {
                Some(ticket) => {
                    if let Some(numbers) = self.sealed.get_mut(&ticket) {
                        numbers.retain(|sealed| *sealed != number);
                    }
                }
                None => change.dirs().for_each(|dir| self.no_longer_unsealed(dir, number)),
            }
        }
        files
    }

    fn no_longer_unsealed(&mut self, dir: &str, number: u64) {
        if let Some(changes) = self.unsealed.get_mut(dir) {
            changes.remove(&number);
            if changes.is_empty() {
                self.unsealed.remove(dir);
            }
        }
    }

    fn forget_pending(&mut self) -> BTreeMap<u64, Change> {
        self.unsealed.clear();
        self.sealed.clear();
        std::mem::take(&mut self.pending)
    }

    /// How many changes are not durable.
    pub fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// A sync has completed and lied: nothing is durable.
    pub fn sync_lied(&mut self, ticket: u64) -> bool {
        let mut claimed = false;
        for number in self.sealed.range(..=ticket).flat_map(|(_, numbers)| numbers) {
            if let Some(change) = self.pending.get_mut(number) {
                change.claimed = true;
                claimed = true;
            }
        }
        claimed
    }

    /// A power loss: keeps the oldest `keep` changes and undoes the others. With `parted` a change is no one step: names that
    /// it took away stay away, those that it gave are gone.
    pub fn undo(&mut self, keep: usize, parted: bool) -> Undone {
        let mut undone = Undone::default();
        let pending: Vec<Change> = self.forget_pending().into_values().collect();
        let keep = keep.min(pending.len());
        for change in pending[keep..].iter().rev() {
            for renamed in change.paths.iter().rev() {
                if parted && !renamed.added {
                    undone.kept.extend(file_of(renamed.before));
                    continue;
                }
                let lost = match renamed.before {
                    Some(node) => self.now.insert(renamed.path.clone(), node),
                    None => self.now.remove(&renamed.path),
                };
                undone.files.push((file_of(lost), file_of(renamed.before)));
                undone.paths.push(renamed.path.clone());
                if change.claimed {
                    undone.claimed.push(renamed.path.clone());
                }
            }
        }
        // What lies in a directory that is gone is gone.
        let paths: Vec<String> = self.now.keys().cloned().collect();
        for path in paths {
            if !matches!(self.get(parent(&path)), Ok(Some(Node::Dir))) {
                undone.files.push((file_of(self.now.remove(&path)), None));
                undone.paths.push(path);
            }
        }
        undone.kept.extend(pending[..keep].iter().flat_map(Change::files));
        undone
    }
}

/// What [`Names::undo`] did.
#[derive(Default)]
pub(crate) struct Undone {
    /// For each path that was set back the file it meant and the one it means again.
    pub files: Vec<(Option<u64>, Option<u64>)>,
    /// Files that a power loss cannot bring back any more.
    pub kept: Vec<u64>,
    /// The paths that were set back.
    pub paths: Vec<String>,
    /// Those of them that a sync had called durable.
    pub claimed: Vec<String>,
}
