//! Drives one log as its owner would: submissions, completions, events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use protocol::Offset;
use runtime::DiskResult;
use storage::{Log, LogConfig, LogError, LogEvent, OpenError, OpenHow, ReadData, Reading, Recovery, Ticket, Token};

use super::Random;
use super::disk::MemDisk;

type Inbox = Arc<Mutex<VecDeque<(Token, DiskResult)>>>;

pub const DIR: &str = "t-0";

pub struct Driver {
    pub disk: MemDisk,
    pub log: Log,
    pub recovery: Recovery,
    pub events: Vec<LogEvent>,
    inbox: Inbox,
}

impl Driver {
    pub fn try_open(disk: &MemDisk, random: &mut Random, config: &LogConfig, how: OpenHow) -> Result<Self, OpenError> {
        let inbox = Inbox::default();
        let sender = Arc::clone(&inbox);
        let post = move |token, result| sender.lock().unwrap().push_back((token, result));
        let (log, recovery) = disk.block_on(random, Log::open(disk.disk(), DIR, config.clone(), how, post))?;
        Ok(Self { disk: disk.clone(), log, recovery, events: Vec::new(), inbox })
    }

    pub fn open(disk: &MemDisk, random: &mut Random, config: &LogConfig, how: OpenHow) -> Self {
        Self::try_open(disk, random, config, how).unwrap_or_else(|error| panic!("the log does not open: {error}"))
    }

    /// Hands one completion to the log; says whether there was one.
    pub fn deliver(&mut self) -> bool {
        let Some((token, result)) = self.inbox.lock().unwrap().pop_front() else { return false };
        self.log.on_completion(token, result);
        self.drain();
        true
    }

    pub fn drain(&mut self) {
        while let Some(event) = self.log.next_event() {
            self.events.push(event);
        }
        self.log.check_invariants();
    }

    /// Lets everything happen that is under way.
    pub fn settle(&mut self, random: &mut Random) {
        self.drain();
        while self.deliver() || self.disk.step(random) {}
        assert!(self.log.is_idle());
    }

    pub fn take_events(&mut self) -> Vec<LogEvent> {
        self.drain();
        std::mem::take(&mut self.events)
    }

    /// Reads and waits for it.
    pub fn read(
        &mut self,
        random: &mut Random,
        from: Offset,
        upper: Offset,
        bytes: u64,
        min_one: bool,
    ) -> Result<ReadData, LogError> {
        let ticket = match self.log.read(from, upper, bytes, min_one)? {
            Reading::Ready(data) => return Ok(data),
            Reading::Pending(ticket) => ticket,
        };
        loop {
            self.drain();
            if let Some(index) = self.events.iter().position(|event| matches!(event, LogEvent::Read { ticket: done, .. } | LogEvent::Failed { ticket: done, .. } if *done == ticket)) {
                return match self.events.remove(index) {
                    LogEvent::Read { data, .. } => Ok(data),
                    LogEvent::Failed { error, .. } => Err(error),
                    _ => unreachable!(),
                };
            }
            assert!(self.deliver() || self.disk.step(random), "a read waits and nothing is under way");
        }
    }

    /// All bytes from `from` to the log's end, in reads of at most `bytes`.
    pub fn read_all(&mut self, random: &mut Random, from: Offset, bytes: u64) -> Vec<u8> {
        let mut all = Vec::new();
        let mut at = from;
        while at < self.log.log_end_offset() {
            let data = self.read(random, at, Offset(i64::MAX), bytes, true).unwrap();
            assert!(data.end > at, "a read at {at} below the end {} gave {data:?}", self.log.log_end_offset());
            all.extend_from_slice(&data.records.to_vec());
            at = data.end;
        }
        all
    }

    /// Lets things happen until the event of `ticket` comes.
    pub fn wait(&mut self, random: &mut Random, ticket: Ticket) -> LogEvent {
        self.settle(random);
        let index = self
            .events
            .iter()
            .position(|event| ticket_of(event).contains(&ticket))
            .unwrap_or_else(|| panic!("no event for {ticket:?}: {:?}", self.events));
        self.events.remove(index)
    }
}

pub fn ticket_of(event: &LogEvent) -> Vec<Ticket> {
    match event {
        LogEvent::Appended { ticket, .. }
        | LogEvent::Read { ticket, .. }
        | LogEvent::EpochStored { ticket, .. }
        | LogEvent::Closed { ticket }
        | LogEvent::Failed { ticket, .. } => vec![*ticket],
        LogEvent::Flushed { tickets, .. } => tickets.clone(),
        LogEvent::Truncated { ticket, .. } => ticket.iter().copied().collect(),
        LogEvent::Broken { .. } | LogEvent::Trimmed { .. } => Vec::new(),
    }
}
