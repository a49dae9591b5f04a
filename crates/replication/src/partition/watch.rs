//! Who waits for an offset. Nothing polls: a watch fires once, and is gone.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Offset;

use super::event::{Token, WatchKind};

/// The watches of a partition.
#[derive(Clone, Default, Debug)]
pub(super) struct Watches {
    /// Invariant: holds (kind, offset, token) exactly if `by_token` maps token to (kind, offset).
    ordered: BTreeSet<(WatchKind, Offset, Token)>,
    by_token: BTreeMap<Token, (WatchKind, Offset)>,
}

impl Watches {
    pub(super) fn add(&mut self, token: Token, kind: WatchKind, offset: Offset) {
        self.remove(token);
        self.by_token.insert(token, (kind, offset));
        self.ordered.insert((kind, offset, token));
    }

    pub(super) fn remove(&mut self, token: Token) {
        if let Some((kind, offset)) = self.by_token.remove(&token) {
            self.ordered.remove(&(kind, offset, token));
        }
    }

    /// Takes out who waits for `kind` to reach an offset of at most `reached`, lowest offset first.
    pub(super) fn take_reached(&mut self, kind: WatchKind, reached: Offset) -> Vec<Token> {
        self.take_range(kind, Offset(i64::MIN), reached)
    }

    /// Takes out who waits for `kind` to reach an offset above `offset`.
    pub(super) fn take_above(&mut self, kind: WatchKind, offset: Offset) -> Vec<Token> {
        self.take_range(kind, offset.plus(1), Offset(i64::MAX))
    }

    /// Takes out everybody who waits for `kind`.
    pub(super) fn take_kind(&mut self, kind: WatchKind) -> Vec<Token> {
        self.take_range(kind, Offset(i64::MIN), Offset(i64::MAX))
    }

    /// Whether anybody waits for `kind`.
    pub(super) fn has_kind(&self, kind: WatchKind) -> bool {
        let first = (kind, Offset(i64::MIN), Token(0));
        self.ordered.range(first..).next().is_some_and(|(found, ..)| *found == kind)
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.ordered.len(), self.by_token.len(), "watches are not the same by offset and by token");
        for (kind, offset, token) in &self.ordered {
            assert_eq!(self.by_token.get(token), Some(&(*kind, *offset)), "watch {token:?} is lost");
        }
    }

    fn take_range(&mut self, kind: WatchKind, from: Offset, to: Offset) -> Vec<Token> {
        if self.ordered.is_empty() {
            return Vec::new();
        }
        let range = (kind, from, Token(0))..=(kind, to, Token(u64::MAX));
        let found: Vec<_> = self.ordered.range(range).copied().collect();
        for entry in &found {
            self.ordered.remove(entry);
            self.by_token.remove(&entry.2);
        }
        found.into_iter().map(|(_, _, token)| token).collect()
    }
}
