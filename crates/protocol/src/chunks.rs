//! Bytes on their way: a short list of shared pieces, never glued together.

use std::collections::VecDeque;

use bytes::Bytes;

/// One piece. (A slice of an open file, for sendfile, will be a second kind; see `contract.md` on `FileSlice`.)
pub type Chunk = Bytes;

/// A list of pieces that are one run of bytes. Cloning shares the pieces; equal is what has the same bytes, however cut.
#[derive(Clone, Default)]
pub struct Chunks {
    list: VecDeque<Chunk>,
    /// Invariant: the sum of the pieces' lengths; no piece is empty.
    len: usize,
}

impl Chunks {
    /// No bytes.
    pub const fn new() -> Self {
        Self { list: VecDeque::new(), len: 0 }
    }

    /// How many bytes in all.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.list.push_back(chunk);
        }
    }

    /// Adds all pieces of `other` at the end.
    pub fn append(&mut self, mut other: Self) {
        if self.list.is_empty() {
            *self = other;
            return;
        }
        self.len += other.len;
        self.list.append(&mut other.list);
    }

    /// Makes room for so many more pieces.
    pub fn reserve(&mut self, pieces: usize) {
        self.list.reserve_exact(pieces);
    }

    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.list.iter()
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.list.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Takes the first `at` bytes, sharing a piece that lies across the cut.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        assert!(at <= self.len, "split at {at} of {} bytes", self.len);
        let mut head = Self::new();
        while head.len < at {
            let missing = at - head.len;
            let first = self.list.front_mut().expect("at <= len");
            if first.len() <= missing {
                head.push(self.pop().expect("there is a first piece"));
            } else {
                head.push(first.split_to(missing));
                self.len -= missing;
            }
        }
        head
    }

    /// Drops the first `n` bytes.
    pub fn advance(&mut self, n: usize) {
        drop(self.split_to(n));
    }

    /// The bytes `from..to`, shared.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.len, "slice {from}..{to} of {} bytes", self.len);
        let mut out = Self::new();
        let mut at = 0;
        for chunk in &self.list {
            let (start, end) = (from.max(at), to.min(at + chunk.len()));
            if start < end {
                out.push(chunk.slice(start - at..end - at));
            }
            at += chunk.len();
            if at >= to {
                break;
            }
        }
        out
    }

    /// The pieces as they are.
    pub fn into_list(self) -> VecDeque<Chunk> {
        self.list
    }

    /// All bytes in one piece: free if they are in one already, else a copy.
    pub fn into_contiguous(mut self) -> Bytes {
        if self.list.len() <= 1 {
            return self.list.pop_front().unwrap_or_default();
        }
        Bytes::from(self.to_vec())
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        for chunk in &self.list {
            out.extend_from_slice(chunk);
        }
        out
    }
}

impl PartialEq for Chunks {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |chunks: &'_ Self| chunks.list.clone().into_iter().flatten();
        self.len == other.len && (self.list == other.list || bytes(self).eq(bytes(other)))
    }
}

impl Eq for Chunks {}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut out = Self::new();
        out.push(bytes);
        out
    }
}

impl From<Vec<u8>> for Chunks {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut out = Self::new();
        pieces.into_iter().for_each(|piece| out.push(piece));
        out
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunks({} bytes in {} pieces)", self.len, self.list.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(parts: &[&'static str]) -> Chunks {
        parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
    }

    #[test]
    fn split_and_slice_cut_across_pieces() {
        let mut all = chunks(&["abc", "", "defg", "h"]);
        assert_eq!(all.len(), 8);
        assert_eq!(all.slice(2, 5).to_vec(), b"cde");
        assert_eq!(all.split_to(4).to_vec(), b"abcd");
        assert_eq!(all.to_vec(), b"efgh");
        assert_eq!(all.len(), 4);
    }
}
