//! One file: what the page cache shows, and how to get back to what is durable.
//!
//! The content is kept once, as the page cache has it. A [`Layer`] holds what a power loss would need to undo the writes
//! since the sync before it: where they were, and what they covered. Appending covers nothing, so an unsynced log costs no
//! second copy. What a failed sync dropped ([`Lost`]) lies below all layers: the page cache shows it, no later sync writes it.

use std::collections::VecDeque;

use protocol::Chunks;

use crate::disk::content::{Extents, Ranges};

/// What the page cache writes at once, in bytes.
pub(crate) const PAGE: u64 = 4096;

#[derive(Default)]
pub(crate) struct File {
    pub content: Extents,
    pub len: u64,
    /// What is not durable, oldest first. All but the last are sealed: a sync of them is under way.
    pub layers: VecDeque<Layer>,
    /// What a failed sync dropped, if one did and it was not written again.
    pub lost: Option<Lost>,
    /// Bytes that are not what was written and called durable, with the word of the fault that did it.
    pub damage: Vec<(u64, u64, &'static str)>,
    /// Names that mean this file, names that a power loss could bring back, and open handles.
    pub names: u32,
    pub pending: u32,
    pub handles: u32,
    /// When its last operation completes.
    pub last_done: u64,
}

/// Writes between two syncs.
#[derive(Clone)]
pub(crate) struct Layer {
    /// The sync that makes it durable.
    pub ticket: Option<u64>,
    /// A sync said that it is durable, and lied.
    pub claimed: bool,
    pub len_before: u64,
    pub dirty: Ranges,
    /// What lay under the dirty ranges.
    pub covered: Extents,
}

impl Layer {
    /// What lies below `from..to` is `durable`, not what this layer believed.
    fn rest_on(&mut self, from: u64, to: u64, durable: &Extents) {
        self.covered.cut(from, to);
        self.covered.overlay(durable.copy(from, to));
        self.dirty.add(from, to, |_, _| {});
    }
}

/// Pages that the kernel takes for clean, though their sync failed. Once a page is written again, all of it is dirty again.
#[derive(Clone, Default)]
pub(crate) struct Lost {
    pub pages: Ranges,
    /// What is durable there.
    pub covered: Extents,
    /// The length that is durable.
    pub len: u64,
}

impl File {
    pub fn write(&mut self, at: u64, data: Chunks) {
        let end = at + data.len() as u64;
        if data.is_empty() {
            return;
        }
        self.dirty(at, end);
        // Who writes again what he has read keeps what is wrong with it.
        let kept: Vec<_> =
            self.damage.iter().filter(|(from, to, _)| self.repeats(at, &data, *from, *to)).copied().collect();
        let mut place = at;
        for piece in data.into_list() {
            let len = piece.len() as u64;
            self.content.write(place, piece);
            place += len;
        }
        self.len = self.len.max(end);
        self.mended(at, end);
        for (from, to, word) in kept {
            self.damage.push((from.max(at), to.min(end), word));
        }
    }

    /// Whether writing `data` at `at` leaves `from..to` as it is, as far as it covers that at all.
    fn repeats(&self, at: u64, data: &Chunks, from: u64, to: u64) -> bool {
        let (from, to) = (from.max(at), to.min(at + data.len() as u64));
        from < to
            && self.read(from, to - from).to_vec() == data.slice((from - at) as usize, (to - at) as usize).to_vec()
    }

    pub fn set_len(&mut self, len: u64) {
        if len == self.len {
            return;
        }
        self.dirty(len.min(self.len), len.max(self.len));
        if len < self.len {
            self.content.cut(len, u64::MAX);
            self.mended(len, u64::MAX);
        }
        self.len = len;
    }

    pub fn read(&self, at: u64, len: u64) -> Chunks {
        let end = at.saturating_add(len).min(self.len);
        if at >= end { Chunks::new() } else { self.content.read(at, end) }
    }

    /// `from..to` is about to change: keeps what is there.
    fn dirty(&mut self, from: u64, to: u64) {
        if self.layers.back().is_none_or(|layer| layer.ticket.is_some()) {
            self.layers.push_back(Layer {
                ticket: None,
                claimed: false,
                len_before: self.len,
                dirty: Ranges::default(),
                covered: Extents::default(),
            });
        }
        let layer = self.layers.back_mut().expect("just made");
        if let Some(lost) = &mut self.lost {
            for (from, to) in lost.pages.take(from / PAGE * PAGE, to.div_ceil(PAGE) * PAGE) {
                layer.rest_on(from, to, &lost.covered);
            }
        }
        let (content, covered, len) = (&self.content, &mut layer.covered, self.len);
        layer.dirty.add(from, to, |from, to| {
            // Nothing lies beyond the end.
            if from < len {
                covered.overlay(content.copy(from, to));
            }
        });
    }

    /// A sync was submitted: it covers all that is here now.
    pub fn seal(&mut self, ticket: u64) {
        if let Some(layer) = self.layers.back_mut()
            && layer.ticket.is_none()
        {
            layer.ticket = Some(ticket);
        }
    }

    /// A sync has completed.
    pub fn synced(&mut self, ticket: u64) {
        while self.layers.front().and_then(|layer| layer.ticket).is_some_and(|sealed| sealed <= ticket) {
            self.layers.pop_front();
            let len = self.layers.front().map_or(self.len, |layer| layer.len_before);
            if let Some(lost) = &mut self.lost {
                lost.len = len;
            }
        }
        if self
            .lost
            .as_ref()
            .is_some_and(|lost| lost.pages.is_empty() && (self.layers.is_empty() && lost.len == self.len))
        {
            self.lost = None;
        }
    }

    /// A sync has completed and lied: nothing is durable.
    pub fn sync_lied(&mut self, ticket: u64) -> bool {
        let mut claimed = false;
        for layer in self.layers.iter_mut().filter(|layer| layer.ticket.is_some_and(|sealed| sealed <= ticket)) {
            layer.claimed = true;
            claimed = true;
        }
        claimed
    }

    /// A sync has failed. Its pages are clean now, their bytes on no disk: with `evicted` they read as they are there, else as
    /// they were written, until the page cache is gone. Linux does either, by file system (Rebello et al., "Can Applications
    /// Recover from fsync Failures?", ATC 2020). Whether there were any.
    pub fn sync_failed(&mut self, ticket: u64, evicted: bool) -> bool {
        let durable = self.durable_len();
        let mut lost = self.lost.take().unwrap_or(Lost { len: durable, ..Lost::default() });
        let mut any = false;
        while self.layers.front().and_then(|layer| layer.ticket).is_some_and(|sealed| sealed <= ticket) {
            let layer = self.layers.pop_front().expect("looked at above");
            any = true;
            for (from, to) in layer.dirty.iter() {
                let covered = &mut lost.covered;
                lost.pages.add(from, to, |from, to| covered.overlay(layer.covered.copy(from, to)));
            }
        }
        for layer in &mut self.layers {
            let written: Vec<_> = layer.dirty.iter().collect();
            for (from, to) in written {
                // Written since: dirty, by whole pages, unless the page itself is gone.
                let (from, to) = if evicted { (from, to) } else { (from / PAGE * PAGE, to.div_ceil(PAGE) * PAGE) };
                for (from, to) in lost.pages.take(from, to) {
                    layer.rest_on(from, to, &lost.covered);
                }
            }
        }
        if evicted {
            for (from, to) in lost.pages.take(0, u64::MAX) {
                self.content.cut(from, to);
                self.content.overlay(lost.covered.copy(from, to));
                // Those of an earlier sync may have been called durable by one that had nothing to write.
                self.damaged(from, to, "fsync_error");
            }
            self.content.cut(self.len, u64::MAX);
        }
        self.lost = Some(lost);
        any
    }

    /// The length that is durable.
    pub fn durable_len(&self) -> u64 {
        let layers = || self.layers.front().map_or(self.len, |layer| layer.len_before);
        self.lost.as_ref().map_or_else(layers, |lost| lost.len)
    }

    /// Content and length as they are durable.
    pub fn durable(&self) -> (Extents, u64) {
        let (mut content, len) = (self.content.clone(), self.durable_len());
        let lost = self.lost.iter().map(|lost| (&lost.pages, &lost.covered));
        for (dirty, covered) in self.layers.iter().rev().map(|layer| (&layer.dirty, &layer.covered)).chain(lost) {
            for (from, to) in dirty.iter() {
                content.cut(from, to);
                content.overlay(covered.copy(from, to));
            }
        }
        content.cut(len, u64::MAX);
        (content, len)
    }

    /// Whether any of `from..to` is not durable.
    pub fn is_dirty(&self, from: u64, to: u64) -> bool {
        self.layers.iter().any(|layer| layer.dirty.touches(from, to))
            || self.lost.as_ref().is_some_and(|lost| lost.pages.touches(from, to))
    }

    /// Bytes of the medium change behind everybody's back.
    pub fn damaged(&mut self, from: u64, to: u64, word: &'static str) {
        self.mended(from, to);
        self.damage.push((from, to, word));
    }

    /// What is in `from..to` is what was written.
    fn mended(&mut self, from: u64, to: u64) {
        if self.damage.is_empty() {
            return;
        }
        let damage = std::mem::take(&mut self.damage);
        for (start, end, word) in damage {
            for (start, end) in [(start, end.min(from)), (start.max(to), end)] {
                if start < end {
                    self.damage.push((start, end, word));
                }
            }
        }
    }
}
