//! Hands what is committed to those who live on it: the hosted machine and the image, each batch once and in order.
//!
//! ```text
//!   0              next            told                high watermark
//!   |─ image has it ─|              |                        |
//!   |─────── the host has applied it ─|                      |
//! ```
//!
//! While the host leads, it has applied its own records when it proposed them and hears `Committed` only; so `told` may be
//! ahead of `next`, never behind.

use std::sync::Arc;

use protocol::{LeaderEpoch, Offset};

use super::host::{Committed, CommittedBatch, CommittedCallback, HostCallback, HostEvent};

pub struct Feed {
    host: Option<HostCallback>,
    committed: CommittedCallback,
    /// The image has everything below.
    next: Offset,
    /// The host has heard of everything below. Invariant: >= next.
    told: Offset,
    high_watermark: Offset,
    /// The host leads.
    leads: Option<LeaderEpoch>,
}

impl Feed {
    pub fn new(host: Option<HostCallback>, committed: CommittedCallback) -> Self {
        Self { host, committed, next: Offset::ZERO, told: Offset::ZERO, high_watermark: Offset::ZERO, leads: None }
    }

    /// Tells the host.
    pub fn tell(&mut self, event: HostEvent) {
        if let Some(host) = &mut self.host {
            host(event);
        }
    }

    /// Everything below `offset` is committed.
    pub fn raise(&mut self, offset: Offset) {
        self.high_watermark = offset;
        if self.leads.is_some() {
            self.told = offset;
            self.tell(HostEvent::Committed { offset });
        }
    }

    pub fn elected(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert_eq!(start, self.told, "the host has not replayed everything below its first record");
        self.leads = Some(epoch);
        self.tell(HostEvent::Elected { epoch, start });
    }

    pub fn lost(&mut self, epoch: LeaderEpoch) {
        assert_eq!(self.leads.take(), Some(epoch), "the host lost an epoch that it did not lead");
        self.tell(HostEvent::Lost { epoch });
    }

    /// What is to be read from the log next, if anything: from, to (exclusive).
    pub fn wants(&self) -> Option<(Offset, Offset)> {
        (self.next < self.high_watermark).then_some((self.next, self.high_watermark))
    }

    /// Where the next batch handed on begins.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Everything below was replayed by the host, or by the image where there is no host.
    pub fn replayed(&self) -> Offset {
        self.told
    }

    /// Hands batches on.
    pub fn hand_on(&mut self, batches: Vec<CommittedBatch>) {
        let Some(last) = batches.last() else { return };
        assert_eq!(batches[0].base, self.next, "a gap in what is committed");
        self.next = last.last.plus(1);
        let batches: Arc<[CommittedBatch]> = batches.into();
        if self.leads.is_none() && self.told < self.next {
            // After a lost epoch the host may have heard of the first ones already.
            let heard = batches.partition_point(|batch| batch.base < self.told);
            let news = if heard == 0 { Arc::clone(&batches) } else { batches[heard..].into() };
            self.told = self.next;
            self.tell(HostEvent::Replay(news));
        }
        (self.committed)(Committed { batches, high_watermark: self.high_watermark });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use protocol::Timestamp;

    fn batch(base: i64, last: i64) -> CommittedBatch {
        CommittedBatch {
            base: Offset(base),
            last: Offset(last),
            epoch: LeaderEpoch(1),
            timestamp: Timestamp(0),
            records: Vec::new(),
        }
    }

    fn feed() -> (Feed, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (host, image) = (Arc::clone(&told), Arc::clone(&told));
        let host: HostCallback = Box::new(move |event| {
            let line = match event {
                HostEvent::Replay(batches) => format!("replay {}..{}", batches[0].base, batches.last().unwrap().last),
                HostEvent::Elected { start, .. } => format!("elected {start}"),
                HostEvent::Committed { offset } => format!("committed {offset}"),
                HostEvent::Lost { .. } => "lost".to_owned(),
                other => format!("{other:?}"),
            };
            host.lock().unwrap().push(line);
        });
        let committed: CommittedCallback = Box::new(move |committed| {
            let last = committed.batches.last().unwrap().last;
            image.lock().unwrap().push(format!("image {}..{last}", committed.batches[0].base));
        });
        (Feed::new(Some(host), committed), told)
    }

    #[test]
    fn a_host_hears_of_its_own_records_once_also_when_it_loses_them_early() {
        let (mut feed, told) = feed();
        feed.raise(Offset(3));
        feed.hand_on(vec![batch(0, 0), batch(1, 2)]);
        feed.elected(LeaderEpoch(1), Offset(3));
        feed.raise(Offset(5));
        feed.lost(LeaderEpoch(1));
        feed.raise(Offset(8));
        feed.hand_on(vec![batch(3, 4), batch(5, 7)]);
        let told = told.lock().unwrap();
        let expected = ["replay 0..2", "image 0..2", "elected 3", "committed 5", "lost", "replay 5..7", "image 3..7"];
        assert_eq!(*told, expected);
    }
}
