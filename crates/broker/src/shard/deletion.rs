//! DeleteRecords at a partition: who waits for its records to be gone from every live replica.

use protocol::{ErrorCode, Offset};
use replication::{Event, Token};
use runtime::Post;

use super::hosted::{Context, Hosted, Waiter};
use super::message::{Deletion, DeletionReply, RequestId};

/// A part of a DeleteRecords that waits.
pub(super) struct DeletionWait {
    request: RequestId,
    part: usize,
    reply: Post<DeletionReply>,
}

impl DeletionWait {
    pub(super) fn answer(self, outcome: Result<Offset, (ErrorCode, Offset)>) {
        self.reply.post((self.part, outcome));
    }
}

impl Hosted {
    pub(super) fn delete_records(
        &mut self,
        ctx: &mut Context,
        request: RequestId,
        part: &Deletion,
        reply: &Post<DeletionReply>,
    ) {
        let token = ctx.token();
        let wait = DeletionWait { request, part: part.part, reply: reply.clone() };
        self.waiters.insert(token, Waiter::Deletion(wait));
        self.run(ctx, Event::DeleteRecords { token, before: part.before });
    }

    /// The request's time is up. What was deleted here stays so.
    pub(super) fn end_deletions(&mut self, ctx: &mut Context, request: RequestId) {
        let of = |waiter: &Waiter| matches!(waiter, Waiter::Deletion(wait) if wait.request == request);
        let tokens: Vec<Token> = self.waiters.iter().filter(|(_, it)| of(it)).map(|(token, _)| *token).collect();
        for token in tokens {
            if let Some(Waiter::Deletion(wait)) = self.waiters.remove(&token) {
                wait.answer(Err((ErrorCode::RequestTimedOut, self.machine.low_watermark())));
            }
            self.run(ctx, Event::Unwatch { token });
        }
    }
}
