//! The one list of what is to happen.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::disk::DiskEvent;
use crate::fault::FaultId;
use crate::inner::HostId;
use crate::net::{AttemptId, ConnId, ConnectOutcome, PipeId};

/// When, and the number of its scheduling: what makes two events of one instant different and ordered.
pub(crate) type Key = (u64, u64);

/// Something to happen.
#[derive(Debug)]
pub(crate) enum Scheduled {
    /// Wakes a sleeper; `mono` is what its host's clock must show.
    Timer { host: Option<HostId>, mono: u64, waker: Waker },
    /// The head of a pipe's flights arrives.
    Deliver(PipeId),
    /// A blocked writer gets room.
    Credit(PipeId),
    /// The network card takes more of a pipe.
    Transmit(PipeId),
    /// The sender of a pipe has waited for an acknowledgement.
    Retransmit(PipeId),
    /// An RST arrives at an end of a connection.
    Reset(ConnId, usize),
    /// A SYN arrives.
    Syn(AttemptId),
    /// The answer to a SYN arrives.
    Answer(AttemptId, ConnectOutcome),
    /// The last part of a handshake arrives at the listener; how often it was lost before.
    Established(ConnId, u32),
    /// A disk operation is done.
    Disk(Box<DiskEvent>),
    /// The next step of a fault that has several.
    Fault(FaultId, u32),
}

/// What is to happen, by time and order of scheduling.
#[derive(Default)]
pub(crate) struct Heap {
    events: BTreeMap<Key, Scheduled>,
    seq: u64,
    /// Where the timers are that were put back under another time, by their number; those that are done are gone.
    moved: BTreeMap<u64, u64>,
}

impl Heap {
    pub fn push(&mut self, at: u64, event: Scheduled) -> Key {
        self.seq += 1;
        let key = (at, self.seq);
        self.events.insert(key, event);
        key
    }

    pub fn cancel(&mut self, key: Key) -> Option<Scheduled> {
        let key = self.find(key);
        self.moved.remove(&key.1);
        self.events.remove(&key)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Scheduled> {
        let key = self.find(key);
        self.events.get_mut(&key)
    }

    /// The time of the next event.
    pub fn next(&self) -> Option<u64> {
        self.events.first_key_value().map(|(key, _)| key.0)
    }

    /// The next event, if its time is `now`.
    pub fn pop_due(&mut self, now: u64) -> Option<Scheduled> {
        let first = self.events.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        if !self.moved.is_empty() {
            self.moved.remove(&first.key().1);
        }
        Some(first.remove())
    }

    /// Takes out the timers of `host`.
    pub fn take_timers(&mut self, host: HostId) -> Vec<(Key, Scheduled)> {
        let is_its = |event: &Scheduled| matches!(event, Scheduled::Timer { host: Some(owner), .. } if *owner == host);
        let keys: Vec<Key> = self.events.iter().filter(|(_, event)| is_its(event)).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| Some((key, self.events.remove(&key)?))).collect()
    }

    /// Puts a timer back under another time, keeping its number.
    pub fn put_back(&mut self, at: u64, key: Key, event: Scheduled) {
        self.events.insert((at, key.1), event);
        self.moved.insert(key.1, at);
    }

    /// Where an event is that may have been put back under another time.
    fn find(&self, key: Key) -> Key {
        if self.moved.is_empty() {
            return key;
        }
        self.moved.get(&key.1).map_or(key, |at| (*at, key.1))
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn clear(&mut self) -> BTreeMap<Key, Scheduled> {
        self.moved.clear();
        std::mem::take(&mut self.events)
    }
}
