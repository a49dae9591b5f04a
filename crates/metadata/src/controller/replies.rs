//! [`Replies`]: answers that wait until what they tell of is committed.

use std::collections::VecDeque;

use protocol::Offset;

/// Answers in the order of the offsets they wait for: the host's side of a machine's deferred replies.
///
/// An answer leaves when everything up to its offset is committed. When leadership is lost, those that still wait are
/// handed back: whether their records survive is unknown, so they must not be sent as they are.
#[derive(Debug)]
pub struct Replies<R> {
    /// Invariant: offsets never decrease.
    waiting: VecDeque<(Offset, R)>,
}

impl<R> Default for Replies<R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<R> Replies<R> {
    /// Keeps `reply` until everything up to `after` is committed.
    ///
    /// # Panics
    /// If an earlier answer waits for a later offset: the machine numbers its records in order.
    pub fn push(&mut self, after: Offset, reply: R) {
        if let Some((last, _)) = self.waiting.back() {
            assert!(after >= *last, "an answer for offset {after} behind one for {last}");
        }
        self.waiting.push_back((after, reply));
    }

    /// The answers whose records are below `high_watermark`, in order.
    pub fn committed(&mut self, high_watermark: Offset) -> Vec<R> {
        let ready = self.waiting.partition_point(|(after, _)| *after < high_watermark);
        self.waiting.drain(..ready).map(|(_, reply)| reply).collect()
    }

    /// All that wait: leadership was lost.
    pub fn lost(&mut self) -> Vec<R> {
        self.waiting.drain(..).map(|(_, reply)| reply).collect()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leaves_when_its_last_record_is_below_the_high_watermark_and_not_before() {
        let mut replies = Replies::default();
        replies.push(Offset(4), "a");
        replies.push(Offset(4), "b");
        replies.push(Offset(5), "c");
        assert_eq!(replies.committed(Offset(4)), Vec::<&str>::new());
        assert_eq!(replies.committed(Offset(5)), ["a", "b"]);
        assert_eq!(replies.lost(), ["c"]);
        assert!(replies.is_empty());
    }
}
