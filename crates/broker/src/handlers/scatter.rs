//! One question to many partitions: a message to each shard that owns some of them, and the wait for every answer.

use runtime::{Inbox, Post, inbox};

use crate::shard::{ShardMessage, Shards};

/// Answers on their way, each with the place of its question.
pub(super) struct Scattered<A> {
    inbox: Inbox<(usize, A)>,
    outstanding: usize,
}

impl<A> Scattered<A> {
    /// Posts what each shard is asked, in order of the shards; nothing to those that are asked nothing.
    pub(super) fn ask<Q>(
        shards: &Shards,
        asked: Vec<Vec<Q>>,
        message: impl Fn(Vec<Q>, Post<(usize, A)>) -> ShardMessage,
    ) -> Self {
        // Unbounded: one answer a question.
        let (reply, inbox) = inbox(usize::MAX);
        let mut outstanding = 0;
        for (shard, parts) in asked.into_iter().enumerate().filter(|(_, parts)| !parts.is_empty()) {
            outstanding += parts.len();
            shards.post(shard, message(parts, reply.clone()));
        }
        Self { inbox, outstanding }
    }

    /// Whether nobody was asked anything.
    pub(super) const fn is_empty(&self) -> bool {
        self.outstanding == 0
    }

    /// The next answer; `None` when all are there. An error says that a shard is gone, and the process with it.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, A)>, ShardGone> {
        if self.outstanding == 0 {
            return Ok(None);
        }
        let answer = self.inbox.recv().await.ok_or(ShardGone)?;
        self.outstanding -= 1;
        Ok(Some(answer))
    }
}

/// A shard ended before it answered.
pub(super) struct ShardGone;
