//! What a power loss leaves on a disk.
//!
//! What was synced stays. Of the rest, each 4 KiB page is old, new or torn between units that are written whole; a length
//! that was not synced is the old or the new one; names that were not synced are undone from some change on.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::disk::Device;
use crate::disk::content::{Extents, Ranges};
use crate::disk::file::{File, Layer};
use crate::inner::{End, HostId, Inner, Kind};
use crate::streams::below;

const PAGE: u64 = 4096;

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
        self.begin(Some(host), Kind::PowerLoss, pages);
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
        let (files, rng) = (&mut self.files, &mut self.rng);
        let mut losses = Vec::new();
        for (id, file) in files.iter_mut() {
            if let Some(mut of_file) = file.power_loss(lose, torn_write, rng) {
                of_file.device = Arc::clone(name);
                of_file.path = paths.get(id).cloned().unwrap_or_default();
                losses.push((*id, of_file));
            }
        }
        let unsynced = self.names.unsynced();
        let keep = match lose {
            Lose::Nothing => unsynced,
            Lose::Unsynced => 0,
            Lose::Mix => below(&mut self.rng, unsynced as u64 + 1) as usize,
        };
        let undone = self.names.undo(keep);
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
}

impl Pages {
    fn lost(&mut self, at: u64) {
        self.first_lost = Some(self.first_lost.map_or(at, |first| first.min(at)));
    }
}

impl File {
    /// `None` if all was durable.
    fn power_loss(&mut self, lose: Lose, torn_write: Option<u64>, rng: &mut ChaCha8Rng) -> Option<FileLoss> {
        let layers = std::mem::take(&mut self.layers);
        let (durable_len, written_len) = (layers.front()?.len_before, self.len);
        let mut pages = Pages::default();
        let unit = torn_write.unwrap_or(PAGE).clamp(1, PAGE);
        let kept_len = match lose {
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
        self.content.cut(kept_len, u64::MAX);
        self.len = kept_len;
        if kept_len != written_len {
            pages.lost(kept_len.min(written_len));
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
        })
    }

    /// Undoes a layer.
    fn undo(&mut self, layer: Layer, pages: &mut Pages) {
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
