//! What a power loss leaves on a disk.
//!
//! What was synced stays. Of the rest, each 4 KiB page is old, new or torn between units that are written whole; a length
//! that was not synced is the old or the new one; names that were not synced are undone from some change on.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use runtime::{Observation, cause::Cause};

use crate::disk::Device;
use crate::disk::content::{Extents, Ranges};
use crate::disk::file::{File, Layer, PAGE};
use crate::inner::{End, HostId, Inner, Kind};
use crate::streams::below;

/// What becomes of unsynced data when the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lose {
    /// Nothing: the drive's cache and the kernel's made it.
    Nothing,
    /// All of it; with `torn_write`, each file keeps a beginning of it, in units of that size.
    #[default]
    Unsynced,
    /// Each page as chance has it: old, new or torn.
    Mix,
}

/// What one file lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileLoss {
    /// The disk.
    pub device: Arc<str>,
    /// Where the file was; empty if it had no name any more.
    pub path: String,
    /// Its length that was durable.
    pub durable_len: u64,
    /// Its length in the page cache.
    pub written_len: u64,
    /// Its length now; `None` if the file itself is gone, its name never having been synced.
    pub kept_len: Option<u64>,
    /// The lowest position that does not hold what was written last; `None` if nothing was lost.
    pub first_lost: Option<u64>,
    /// Unsynced pages, and how many of them are old or torn.
    pub pages: u64,
    /// Pages that are as they were before.
    pub pages_old: u64,
    /// Pages that are partly as before.
    pub pages_torn: u64,
    /// The lowest position lost that a sync had called durable, and lied (`fsync_lie`).
    pub first_claimed: Option<u64>,
    /// Bytes of its end that are zeros (`zero_tail`).
    pub zeros: u64,
}

/// What one host lost.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PowerLoss {
    /// Every file that had unsynced data.
    pub files: Vec<FileLoss>,
    /// Names that mean again what they meant before.
    pub names: Vec<String>,
}

impl PowerLoss {
    /// Whether anything was lost.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.files.iter().all(|file| file.first_lost.is_none())
    }
}

impl Inner {
    /// The hosts lose their power: silence, and what their disks lose.
    pub fn power_off(&mut self, host: HostId, lose: Lose, torn_write: Option<u64>) -> PowerLoss {
        self.end(host, End::Lost, false);
        let now = self.now;
        let mut loss = PowerLoss::default();
        let state = self.host_mut(host);
        for (name, device) in &mut state.devices {
            device.power_loss(now, name, lose, torn_write, &mut loss);
        }
        let pages: u64 = loss.files.iter().map(|file| file.pages_old + file.pages_torn).sum();
        let cause = Cause(self.begin(Some(host), Kind::PowerLoss, pages));
        self.count_hits(host);
        let lies = loss.files.iter().filter(|file| file.first_claimed.is_some()).map(|file| file.path.clone());
        for path in lies.collect::<Vec<_>>() {
            let fault = "fsync_lie".to_owned();
            self.observe(Some(host), cause, Observation::DiskFault { fault, path, error: false });
        }
        loss
    }
}

impl Device {
    fn power_loss(&mut self, now: u64, name: &Arc<str>, lose: Lose, torn_write: Option<u64>, loss: &mut PowerLoss) {
        self.boot += 1;
        let old = self.names.take_old(now);
        self.forget(old);
        let paths: std::collections::BTreeMap<u64, String> =
            self.names.files().map(|(path, id)| (id, path.to_owned())).collect();
        let zero_tail = self.troubles.zero_tail();
        let (files, rng) = (&mut self.files, &mut self.rng);
        let mut losses = Vec::new();
        for (id, file) in files.iter_mut() {
            if let Some(mut of_file) = file.power_loss(lose, torn_write, zero_tail.is_some(), rng) {
                of_file.device = Arc::clone(name);
                of_file.path = paths.get(id).cloned().unwrap_or_default();
                self.hits.extend(zero_tail.filter(|_| of_file.zeros > 0));
                losses.push((*id, of_file));
            }
        }
        let unsynced = self.names.unsynced();
        let parted = self.troubles.lost_names();
        let keep = match lose {
            _ if parted.is_some() => 0,
            Lose::Nothing => unsynced,
            Lose::Unsynced => 0,
            Lose::Mix => below(&mut self.rng, unsynced as u64 + 1) as usize,
        };
        let undone = self.names.undo(keep, parted.is_some());
        self.hits.extend(parted.into_iter().flat_map(|fault| undone.paths.iter().map(move |_| fault)));
        for (lost, back) in undone.files {
            if let Some(id) = back {
                let file = self.file(id);
                file.names += 1;
                file.pending -= 1;
            }
            if let Some(id) = lost {
                self.file(id).names -= 1;
            }
        }
        self.forget(undone.kept);
        loss.names.extend(undone.paths);
        self.vanished.extend(undone.claimed.into_iter().map(|path| (path, "fsync_lie")));
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            self.free_if_unused(id);
        }
        for (id, mut of_file) in losses {
            if !self.files.contains_key(&id) {
                of_file.kept_len = None;
                of_file.first_lost = Some(0);
            }
            loss.files.push(of_file);
        }
    }
}

/// Counts of pages.
#[derive(Default)]
struct Pages {
    all: u64,
    old: u64,
    torn: u64,
    first_lost: Option<u64>,
    /// A sync had called durable what is being undone.
    claimed: bool,
    first_claimed: Option<u64>,
}

impl Pages {
    fn lost(&mut self, at: u64) {
        self.first_lost = Some(self.first_lost.map_or(at, |first| first.min(at)));
        if self.claimed {
            self.first_claimed = Some(self.first_claimed.map_or(at, |first| first.min(at)));
        }
    }
}

impl File {
    /// `None` if all was durable.
    fn power_loss(
        &mut self,
        lose: Lose,
        torn_write: Option<u64>,
        zero_tail: bool,
        rng: &mut ChaCha8Rng,
    ) -> Option<FileLoss> {
        if self.layers.is_empty() && self.lost.is_none() {
            return None;
        }
        let (durable_len, written_len) = (self.durable_len(), self.len);
        let layers = std::mem::take(&mut self.layers);
        let claimed = layers.iter().rposition(|layer| layer.claimed);
        let claimed_len = claimed.map(|last| layers.get(last + 1).map_or(written_len, |next| next.len_before));
        let mut pages = Pages::default();
        let unit = torn_write.unwrap_or(PAGE).clamp(1, PAGE);
        let kept_len = match lose {
            _ if zero_tail => {
                for layer in layers.into_iter().rev() {
                    self.undo(layer, &mut pages);
                }
                self.content.cut(durable_len, u64::MAX);
                written_len.max(durable_len)
            }
            Lose::Nothing if layers.is_empty() => durable_len,
            Lose::Nothing => written_len,
            Lose::Unsynced if torn_write.is_some() => {
                self.keep_beginning(layers.into(), durable_len, unit, rng, &mut pages)
            }
            Lose::Unsynced => {
                for layer in layers.into_iter().rev() {
                    self.undo(layer, &mut pages);
                }
                durable_len
            }
            Lose::Mix => {
                let kept_len = match below(rng, 3) {
                    0 => durable_len,
                    1 if written_len > durable_len => durable_len + below(rng, written_len - durable_len + 1),
                    _ => written_len,
                };
                for layer in layers.into_iter().rev() {
                    self.undo_some(layer, written_len, unit, rng, &mut pages);
                }
                kept_len
            }
        };
        if let Some(lost) = self.lost.take() {
            // No page of it was ever going to be written.
            for (from, to) in lost.pages.iter() {
                self.content.cut(from, to);
                pages.lost(from);
                self.damaged(from, to, "fsync_error");
            }
            self.content.overlay(lost.covered);
        }
        self.content.cut(kept_len, u64::MAX);
        self.len = kept_len;
        if kept_len != written_len {
            pages.claimed = claimed_len.is_some_and(|claimed| kept_len < claimed);
            pages.lost(kept_len.min(written_len));
        }
        if let (Some(from), Some(to)) = (pages.first_claimed, claimed_len) {
            self.damaged(from, to.max(from + 1), "fsync_lie");
        }
        Some(FileLoss {
            device: Arc::from(""),
            path: String::new(),
            durable_len,
            written_len,
            kept_len: Some(kept_len),
            first_lost: pages.first_lost,
            pages: pages.all,
            pages_old: pages.old,
            pages_torn: pages.torn,
            first_claimed: pages.first_claimed,
            zeros: if zero_tail { kept_len.saturating_sub(durable_len) } else { 0 },
        })
    }

    /// Undoes a layer.
    fn undo(&mut self, layer: Layer, pages: &mut Pages) {
        pages.claimed = layer.claimed;
        for (from, to) in layer.dirty.iter() {
            self.content.cut(from, to);
            pages.lost(from);
            let count = (to - 1) / PAGE - from / PAGE + 1;
            pages.all += count;
            pages.old += count;
        }
        self.content.overlay(layer.covered);
    }

    /// Undoes a layer page by page, as chance has it. Beyond `written_len` there is only the old state.
    fn undo_some(&mut self, layer: Layer, written_len: u64, unit: u64, rng: &mut ChaCha8Rng, pages: &mut Pages) {
        pages.claimed = layer.claimed;
        for (from, to) in in_pages(&layer.dirty) {
            pages.all += 1;
            if from >= written_len {
                self.restore(&layer.covered, from, to);
                continue;
            }
            match below(rng, if unit < PAGE { 3 } else { 2 }) {
                0 => {}
                1 => {
                    pages.old += 1;
                    pages.lost(from);
                    self.restore(&layer.covered, from, to);
                }
                _ => {
                    let mut torn = false;
                    let mut at = from;
                    while at < to {
                        let end = ((at / unit + 1) * unit).min(to);
                        if below(rng, 2) == 0 {
                            torn = true;
                            pages.lost(at);
                            self.restore(&layer.covered, at, end);
                        }
                        at = end;
                    }
                    pages.torn += u64::from(torn);
                }
            }
        }
    }

    /// Keeps a beginning of what is unsynced, in units; returns the length.
    fn keep_beginning(
        &mut self,
        layers: Vec<Layer>,
        durable_len: u64,
        unit: u64,
        rng: &mut ChaCha8Rng,
        pages: &mut Pages,
    ) -> u64 {
        let units: u64 = layers
            .iter()
            .flat_map(|layer| layer.dirty.iter())
            .map(|(from, to)| (to - 1) / unit - from / unit + 1)
            .sum();
        let mut keep = below(rng, units + 1);
        let mut kept_end = durable_len;
        let mut undo = Vec::new();
        for layer in &layers {
            let mut gone = Vec::new();
            for (from, to) in layer.dirty.iter() {
                let mut at = from;
                while at < to {
                    let end = ((at / unit + 1) * unit).min(to);
                    if keep > 0 {
                        keep -= 1;
                        kept_end = kept_end.max(end.min(self.len));
                    } else {
                        gone.push((at, to));
                        break;
                    }
                    at = end;
                }
            }
            undo.push(gone);
        }
        let shrunk = self.len < durable_len;
        for (layer, gone) in layers.iter().zip(undo).rev() {
            pages.claimed = layer.claimed;
            for (from, to) in gone {
                let count = (to - 1) / PAGE - from / PAGE + 1;
                pages.all += count;
                pages.old += count;
                pages.lost(from);
                self.restore(&layer.covered, from, to);
            }
        }
        if shrunk && pages.old == 0 { self.len } else { kept_end }
    }

    fn restore(&mut self, covered: &Extents, from: u64, to: u64) {
        self.content.cut(from, to);
        self.content.overlay(covered.copy(from, to));
    }
}

/// Ranges, split at page boundaries.
fn in_pages(ranges: &Ranges) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    for (from, to) in ranges.iter() {
        let mut at = from;
        while at < to {
            let end = ((at / PAGE + 1) * PAGE).min(to);
            out.push((at, end));
            at = end;
        }
    }
    out
}
