//! One file: what the page cache shows, and how to get back to what is durable.
//!
//! The content is kept once, as the page cache has it. A [`Layer`] holds what a power loss would need to undo the writes
//! since the sync before it: where they were, and what they covered. Appending covers nothing, so an unsynced log costs no
//! second copy.

use std::collections::VecDeque;

use protocol::Chunks;

use crate::disk::content::{Extents, Ranges};

#[derive(Default)]
pub(crate) struct File {
    pub content: Extents,
    pub len: u64,
    /// What is not durable, oldest first. All but the last are sealed: a sync of them is under way.
    pub layers: VecDeque<Layer>,
    /// Names that mean this file, names that a power loss could bring back, and open handles.
    pub names: u32,
    pub pending: u32,
    pub handles: u32,
    /// When its last operation completes.
    pub last_done: u64,
}

/// Writes between two syncs.
pub(crate) struct Layer {
    /// The sync that makes it durable.
    pub ticket: Option<u64>,
    pub len_before: u64,
    pub dirty: Ranges,
    /// What lay under the dirty ranges.
    pub covered: Extents,
}

impl File {
    pub fn append(&mut self, data: Chunks) -> u64 {
        let at = self.len;
        self.write(at, data);
        at
    }

    pub fn write(&mut self, at: u64, data: Chunks) {
        let end = at + data.len() as u64;
        if data.is_empty() {
            return;
        }
        self.dirty(at, end);
        let mut place = at;
        for piece in data.into_list() {
            let len = piece.len() as u64;
            self.content.write(place, piece);
            place += len;
        }
        self.len = self.len.max(end);
    }

    pub fn set_len(&mut self, len: u64) {
        if len == self.len {
            return;
        }
        self.dirty(len.min(self.len), len.max(self.len));
        if len < self.len {
            self.content.cut(len, u64::MAX);
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
                len_before: self.len,
                dirty: Ranges::default(),
                covered: Extents::default(),
            });
        }
        let layer = self.layers.back_mut().expect("just made");
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
        }
    }
}
