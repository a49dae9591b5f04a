//! What the quorum does while its disk is full, or stands still.
//!
//! Out of space passes: what did not fit is written again once there is room, and the machine, which counts it as given to
//! the log, hears of it only then. Until then this node stands still as if it were paused: nothing is stepped, so nothing is
//! promised. A leader resigns first, so that the others need not wait for its silence. It also resigns when an append does
//! not complete for a fetch time-out: Kafka writes in the quorum's own thread, and falls silent with its disk.

use std::time::Duration;

use protocol::batch::Batch;
use protocol::{Chunks, LeaderEpoch, Monotonic, Offset};
use raft::{Event, RoleName};
use storage::{AppendError, Assigned, QuorumState, Ticket};

use super::Driver;
use crate::quorum::{Ended, Message};

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// An append that has not completed.
pub struct Unwritten {
    /// `None` once it has failed.
    pub ticket: Option<Ticket>,
    generation: u64,
    base: Offset,
    lot: Lot,
    since: Monotonic,
}

/// What is appended.
#[derive(Clone)]
pub enum Lot {
    /// This leader's batches.
    Led(LeaderEpoch, Vec<Batch>),
    /// Those that a leader sent, with the largest epoch that they may have.
    Copied(LeaderEpoch, Chunks),
}

impl Driver {
    /// Gives batches to the log.
    pub fn append(&mut self, generation: u64, base: Offset, lot: Lot) {
        let ticket = self.append_lot(&lot, base);
        if let Some(ticket) = ticket {
            self.writing.insert(ticket, generation);
        }
        if self.ended.is_none() {
            let since = self.env.now().mono;
            self.unwritten.push_back(Unwritten { ticket, generation, base, lot, since });
        }
    }

    /// `None` if it has to be done again: there was no room for what comes before it.
    fn append_lot(&mut self, lot: &Lot, base: Offset) -> Option<Ticket> {
        if self.is_starved() {
            return None;
        }
        let now = self.env.now().wall;
        let assigned: Result<Assigned, AppendError> = match lot.clone() {
            Lot::Led(epoch, batches) => {
                if self.log.epochs().latest_epoch() != epoch {
                    let _ = self.log.assign_epoch(epoch); // as it was before the append that failed
                }
                self.log.append_as_leader(epoch, batches, now)
            }
            Lot::Copied(epoch, bytes) => self.log.append_as_follower(bytes, epoch, now),
        };
        match assigned {
            Ok(assigned) => {
                assert_eq!(assigned.base, base, "the log and the quorum disagree about the log's end");
                Some(assigned.ticket.expect("an append of the quorum has batches"))
            }
            Err(error) => {
                self.fail(format!("the metadata log takes no batch: {error}"));
                None
            }
        }
    }

    /// An append has completed.
    pub fn written(&mut self, ticket: Ticket) {
        if self.unwritten.front().is_some_and(|first| first.ticket == Some(ticket)) {
            self.unwritten.pop_front();
        }
    }

    /// There was no room for what `ticket` was for.
    pub fn starve(&mut self, ticket: Ticket, generation: u64) {
        probe::sometimes!("quorum_disk_full");
        match self.unwritten.iter_mut().find(|unwritten| unwritten.ticket == Some(ticket)) {
            Some(unwritten) => unwritten.ticket = None,
            None => self.unflushed = Some(generation),
        }
    }

    /// Whether something waits for room.
    pub fn is_starved(&self) -> bool {
        self.unflushed.is_some() || self.unwritten.iter().any(|unwritten| unwritten.ticket.is_none())
    }

    /// Stands still until there may be room, then gives everything that failed to the log again.
    pub async fn wait_for_room(&mut self) {
        tracing::warn!("the disk of the metadata log is full: this node waits for room");
        let view = self.machine.view();
        if view.role == RoleName::Leader {
            self.step(Event::Resign { epoch: view.epoch }).await;
        }
        while self.ended.is_none() {
            self.rest(RETRY).await;
            if self.log.available().is_ok() {
                break;
            }
            self.take_log_events();
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        let (under_way, failed): (Vec<_>, Vec<_>) = unwritten.into_iter().partition(|lot| lot.ticket.is_some());
        let unflushed = self.unflushed.take();
        self.unwritten.extend(under_way);
        for Unwritten { generation, base, lot, .. } in failed {
            if self.ended.is_none() {
                self.append(generation, base, lot);
            }
        }
        if let Some(generation) = unflushed.filter(|_| self.ended.is_none()) {
            let ticket = self.log.flush();
            self.writing.insert(ticket, generation);
        }
    }

    /// Makes the election state durable, however long there is no room for it.
    pub async fn persist(&mut self, state: &QuorumState) {
        while self.ended.is_none() {
            match self.file.write(state).await {
                Ok(()) => return,
                Err(error) if error.is_full() => {
                    probe::sometimes!("quorum_disk_full");
                    tracing::warn!(%error, "this node waits for room to vote");
                    self.rest(RETRY).await;
                }
                Err(error) => self.fail(format!("quorum-state cannot be written: {error}")),
            }
        }
    }

    /// Lets time pass. What arrives waits, but for the disk's news, and for the end: a process that is to stop does not wait
    /// for room. What had no room was promised to nobody, and is forgotten as if the process had been killed; but its stop is
    /// no failure, and what the log holds is flushed.
    async fn rest(&mut self, time: Duration) {
        let until = self.env.now().mono + time;
        loop {
            match self.env.timeout_at(until, self.inbox.recv()).await {
                Err(_) => return,
                Ok(message) => match message.expect("the peers hold a way to this inbox") {
                    Message::Disk(token, result) => self.log.on_completion(token, result),
                    Message::Shutdown { done } => {
                        probe::sometimes!("quorum_stopped_full");
                        tracing::warn!("stopped while the disk of the metadata log was full");
                        self.stopping.push(done);
                        self.ended = Some(Ended::Stopped);
                        return;
                    }
                    message => self.held.push_back(message),
                },
            }
        }
    }

    /// When a leader has waited too long for its disk.
    pub fn patience_ends(&self) -> Option<Monotonic> {
        let first = self.unwritten.front().filter(|_| self.machine.view().role == RoleName::Leader)?;
        Some(first.since + self.patience)
    }

    /// A leader whose disk stands still leaves its place to another.
    pub fn lose_patience(&mut self) {
        if self.patience_ends().is_some_and(|at| at <= self.env.now().mono) {
            probe::sometimes!("quorum_disk_stalled");
            let epoch = self.machine.view().epoch;
            self.events.push_back(Event::Resign { epoch });
        }
    }
}
