//! What a log must be: a list of batches, told by the same calls and events.

use std::collections::BTreeMap;

use protocol::{Chunks, LeaderEpoch, Offset, Timestamp};
use runtime::DiskOp;
use storage::{AppendError, LogConfig, LogError, LogEvent, Newest, OpenHow, Ticket};

use super::disk::MemDisk;
use super::driver::Driver;
use super::oracle::{Seen, longest_prefix};
use super::{NOW, Random, batch, producers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Append { base: i64 },
    Flush { end: i64 },
    Truncate { to: i64 },
    Reset { start: i64 },
    Epoch(i32),
    Close,
}

pub struct Model {
    pub driver: Driver,
    config: LogConfig,
    /// Assigned batches; of those below `completed` the log has said that they are written.
    batches: Vec<Seen>,
    /// Batches whose append has failed, until the log says that it was put in order.
    ghosts: Vec<Seen>,
    /// The base of the first segment.
    first: i64,
    /// Segments that were taken away at the start, of which a crash may bring back the last ones.
    trimmed: Vec<Seen>,
    /// All that went at the start, oldest first: its producers are known still.
    forgotten: Vec<Seen>,
    /// A crash struck while segments went. The log may begin with one that has no snapshot (there was no room for it): who wrote
    /// below only, and long ago, is not known then.
    blurred: bool,
    /// Where the log begins.
    start: i64,
    completed: i64,
    /// Durable below, by what the log said.
    synced: i64,
    epoch: i32,
    asked: BTreeMap<Ticket, Asked>,
    /// The recovery point in the checkpoint file; the second while it may be one or the other.
    checkpoint: (i64, Option<i64>),
    pub crashes: u64,
    pub failures: u64,
}

impl Model {
    pub fn new(random: &mut Random) -> Self {
        let config = LogConfig {
            segment_bytes: *random.pick(&[700, 1500, 4000]),
            index_interval_bytes: *random.pick(&[0, 100, 500]),
            segment_index_bytes: *random.pick(&[24, 4096]),
            segment_ms: *random.pick(&[60, 100_000]),
            segment_jitter_ms: *random.pick(&[0, 30]),
            flush_messages: *random.pick(&[None, None, Some(1), Some(7)]),
            tail_bytes: *random.pick(&[0, 300, 1 << 20]),
            ..LogConfig::default()
        };
        let disk = MemDisk::default();
        let driver = Driver::open(&disk, random, &config, OpenHow::UNKNOWN);
        disk.set_short(*random.pick(&[None, None, Some(2), Some(5)]));
        Self {
            driver,
            config,
            batches: Vec::new(),
            ghosts: Vec::new(),
            first: 0,
            trimmed: Vec::new(),
            forgotten: Vec::new(),
            blurred: false,
            start: 0,
            completed: 0,
            synced: 0,
            epoch: -1,
            asked: BTreeMap::new(),
            checkpoint: (0, None),
            crashes: 0,
            failures: 0,
        }
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.first, |last| last.last + 1)
    }

    fn cut_asked(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Truncate { .. } | Asked::Reset { .. }))
    }

    /// One thing that an owner, or the disk, may do.
    pub fn act(&mut self, random: &mut Random) {
        match random.below(100) {
            0..30 => self.append(random),
            30..36 => self.flush(),
            36..39 => self.truncate(random),
            39..40 => self.reset(random),
            40..42 => self.assign_epoch(),
            42..46 => self.checkpoint(random),
            46..48 => self.driver.disk.set_space(random.chance(3).then(|| random.below(500))),
            48..51 => self.read(random),
            51..53 => self.seek(random),
            53..54 => self.trim(random),
            54..55 => self.driver.settle(random),
            55..80 => {
                self.driver.disk.step(random);
            }
            _ => {
                self.driver.deliver();
            }
        }
        self.events();
    }

    fn append(&mut self, random: &mut Random) {
        let batches = 1 + random.below(3);
        let sized = |random: &mut Random| (1 + random.below(4) as usize, random.below(90) as usize, random.next());
        let leader = self.driver.log.epochs().latest_epoch().0 == self.epoch && self.epoch >= 0 && random.chance(2);
        let (mut seen, mut records, mut list) = (Vec::new(), Chunks::new(), Vec::new());
        let mut base = self.end();
        let mut epoch = self.epoch.max(0);
        for _ in 0..batches {
            epoch += i32::from(!leader && random.chance(8));
            let (count, bytes, seed) = sized(random);
            let batch = batch(base, epoch, count, bytes, seed);
            let last = base + count as i64 - 1;
            seen.push(Seen { base, last, epoch, bytes: batch.bytes.to_vec() });
            records.append(batch.bytes.clone());
            // Clients number their batches from 0, in an epoch of their own.
            list.push(batch.assign(Offset(0), LeaderEpoch(-1)));
            base = last + 1;
        }
        let result = if leader {
            self.driver.log.append_as_leader(LeaderEpoch(epoch), list, NOW)
        } else {
            self.driver.log.append_as_follower(records, LeaderEpoch(epoch), NOW)
        };
        match result {
            Ok(assigned) => {
                assert_eq!((assigned.base.0, assigned.end.0), (self.end(), base));
                self.asked.insert(assigned.ticket.expect("batches were given"), Asked::Append { base: self.end() });
                self.batches.extend(seen);
                self.epoch = epoch;
            }
            Err(AppendError::TooLarge { bytes, .. }) => assert!(bytes > self.config.segment_bytes),
            Err(AppendError::Log(LogError::Busy(_))) => assert!(self.cut_asked() || !self.ghosts.is_empty()),
            Err(other) => panic!("append: {other}"),
        }
    }

    fn flush(&mut self) {
        let ticket = self.driver.log.flush();
        self.asked.insert(ticket, Asked::Flush { end: self.end() });
    }

    fn truncate(&mut self, random: &mut Random) {
        let to = (self.end() + 1 - random.below(20) as i64).max(self.start);
        let ticket = self.driver.log.truncate(Offset(to));
        self.asked.insert(ticket, Asked::Truncate { to });
    }

    fn reset(&mut self, random: &mut Random) {
        let start = (self.end() + random.below(20) as i64 - 9).max(0);
        let ticket = self.driver.log.reset(Offset(start));
        self.asked.insert(ticket, Asked::Reset { start });
    }

    /// The log's start goes up, and the segments below go.
    fn trim(&mut self, random: &mut Random) {
        if self.cut_asked() || !self.ghosts.is_empty() {
            return;
        }
        let to = self.start + random.below((self.completed - self.start + 1) as u64) as i64;
        self.driver.log.raise_log_start(Offset(to));
        self.start = self.driver.log.log_start_offset().0;
        assert_eq!(self.start, to);
        self.driver.log.trim(NOW);
        self.first_segment_moved();
    }

    /// Of batches that went at the start a restart remembers no more than a snapshot does: each producer's last.
    fn producers_are_known(&self) {
        let told = producers::told(&self.driver.log);
        if self.forgotten.is_empty() {
            return assert_eq!(told, producers::fold(&self.batches), "{:?}", self.driver.recovery);
        }
        let all: Vec<_> = self.forgotten.iter().chain(&self.batches).cloned().collect();
        let expected = producers::fold(&all);
        let owed = if self.blurred { producers::fold(&self.batches) } else { expected.clone() };
        assert!(owed.keys().all(|id| told.contains_key(id)), "{told:?} instead of {expected:?}");
        assert!(told.keys().all(|id| expected.contains_key(id)), "{told:?} instead of {expected:?}");
        for (id, (epoch, window)) in &told {
            assert_eq!(*epoch, expected[id].0, "{id}");
            assert!(!window.is_empty() && expected[id].1.ends_with(window), "{id}: {window:?} of {:?}", expected[id].1);
        }
    }

    /// Look-ups by time are those of a scan of all batches.
    fn seek(&self, random: &mut Random) {
        if self.cut_asked() || !self.ghosts.is_empty() {
            return;
        }
        let time = NOW.0 - 510 + random.below(1020) as i64;
        let first = self.batches.iter().find(|batch| batch.last >= self.start && batch.newest() >= time);
        match (self.driver.log.seek(Timestamp(time), Offset(self.start)), first) {
            (Some(from), Some(first)) => {
                assert!((self.start..=first.last).contains(&from.0), "{time}: {from}, {first:?}")
            }
            (None, Some(first)) => panic!("{first:?} is not older than {time}"),
            // It may lie below the start, in the same segment.
            (_, None) => {}
        }
        let newest = self.batches.iter().map(Seen::newest).max().filter(|newest| *newest >= 0);
        let expected = newest.and_then(|newest| self.batches.iter().find(|batch| batch.newest() == newest));
        match self.driver.log.newest() {
            Newest::Nowhere => assert_eq!(expected, None),
            Newest::Hidden => assert!(self.start > self.first),
            Newest::At { timestamp, offset } => {
                let expected = expected.expect("a batch with a timestamp");
                assert_eq!((timestamp.0, offset.0), (expected.newest(), expected.last));
            }
        }
    }

    /// Segments that the log has taken away below its start.
    fn first_segment_moved(&mut self) {
        let first = self.driver.log.first_segment().0;
        assert!(first <= self.start.max(self.first), "segments above the start {} went: {first}", self.start);
        if first > self.first {
            let gone = self.batches.partition_point(|batch| batch.base < first);
            let gone: Vec<_> = self.batches.drain(..gone).collect();
            self.forgotten.extend(gone.iter().cloned());
            self.trimmed.extend(gone);
            self.first = first;
        }
    }

    fn assign_epoch(&mut self) {
        if self.cut_asked() || self.driver.log.available().is_err() {
            return;
        }
        self.epoch += 1;
        let ticket = self.driver.log.assign_epoch(LeaderEpoch(self.epoch));
        self.asked.insert(ticket, Asked::Epoch(self.epoch));
    }

    fn checkpoint(&mut self, random: &mut Random) {
        match self.checkpoint.1.take() {
            Some(point) => {
                self.checkpoint.0 = point;
                self.driver.log.recovery_point_checkpointed(Offset(point));
            }
            None => {
                let point = self.driver.log.recovery_point_to_checkpoint().0;
                self.checkpoint.1 = Some(point);
                if random.chance(3) {
                    self.checkpoint(random);
                }
            }
        }
    }

    /// What is read is what was appended.
    fn read(&mut self, random: &mut Random) {
        self.events();
        if self.cut_asked() || !self.ghosts.is_empty() {
            return;
        }
        let log_end = self.driver.log.log_end_offset().0;
        let from = self.start + random.below((log_end - self.start + 2) as u64) as i64;
        let upper = from + random.below(30) as i64;
        let (bytes, min_one) = (random.below(800), random.chance(2));
        let outcome = self.driver.read(random, Offset(from), Offset(upper), bytes, min_one);
        let data = match outcome {
            Err(LogError::OutOfRange { .. }) => return assert!(from > log_end),
            Err(error) => panic!("read: {error}"),
            Ok(data) => data,
        };
        let (mut expected, mut start, mut end) = (Vec::new(), from, from);
        for batch in self.batches.iter().filter(|batch| batch.last >= from && batch.last < upper.min(log_end)) {
            let crosses = end > from && self.driver.log.segment_bases().any(|base| base.0 == batch.base);
            let fits = expected.len() + batch.bytes.len() <= bytes as usize || (expected.is_empty() && min_one);
            if crosses || !fits {
                break;
            }
            if expected.is_empty() {
                start = batch.base;
            }
            end = batch.last + 1;
            expected.extend_from_slice(&batch.bytes);
        }
        assert_eq!(
            (data.start.0, data.end.0),
            (start, end),
            "read {from}..{upper} of {bytes} bytes, min_one {min_one}"
        );
        assert_eq!(data.records.to_vec(), expected);
    }

    fn events(&mut self) {
        if !self.cut_asked() && self.ghosts.is_empty() {
            self.first_segment_moved();
        }
        for event in self.driver.take_events() {
            match event {
                LogEvent::Appended { ticket, base, end, batches } => {
                    assert_eq!(self.asked.remove(&ticket), Some(Asked::Append { base: base.0 }));
                    assert_eq!(base.0, self.completed, "appends complete in order");
                    assert_eq!(batches.last().map(|last| last.end()), Some(end));
                    self.completed = end.0;
                    if self.config.flush_messages == Some(1) {
                        assert!(
                            self.synced >= end.0,
                            "flush.messages=1: {end} completed, durable below {}",
                            self.synced
                        );
                    }
                }
                LogEvent::Flushed { tickets, end } => {
                    for ticket in tickets {
                        let Some(Asked::Flush { end: asked }) = self.asked.remove(&ticket) else {
                            panic!("a flush that nobody asked for")
                        };
                        assert!(end.0 >= asked, "flushed below {end}, asked for {asked}");
                    }
                    self.synced = self.synced.max(end.0);
                }
                LogEvent::Truncated { ticket, end, .. } => self.truncated(ticket, end.0),
                LogEvent::EpochStored { ticket, epoch, .. } => {
                    assert_eq!(self.asked.remove(&ticket), Some(Asked::Epoch(epoch.0)));
                }
                LogEvent::Failed { ticket, error } => self.failed(ticket, &error),
                LogEvent::Closed { ticket } => assert_eq!(self.asked.remove(&ticket), Some(Asked::Close)),
                LogEvent::Read { .. } => panic!("a read that nobody waits for"),
                LogEvent::Trimmed { files } => {
                    for file in files {
                        assert!(file.ends_with(".deleted"), "{file}");
                        self.driver.disk.disk().submit(DiskOp::Remove { path: file }, drop);
                    }
                    self.trimmed.clear();
                }
                LogEvent::Broken { error } => panic!("the log broke: {error}"),
            }
        }
        if self.asked.is_empty() && self.ghosts.is_empty() {
            assert_eq!(self.driver.log.next_offset().0, self.end());
        }
        if !self.cut_asked() {
            // Also while an append that failed is still to be cut off.
            self.producers_are_known();
        }
        self.below_the_recovery_point_all_is_durable();
    }

    /// But for a cut under way, of which the log has said nothing yet.
    fn below_the_recovery_point_all_is_durable(&self) {
        if self.cut_asked() || !self.ghosts.is_empty() {
            return;
        }
        let log = &self.driver.log;
        let point = log.recovery_point().0;
        let mut bases: Vec<i64> = log.segment_bases().map(|base| base.0).collect();
        bases.push(i64::MAX);
        for pair in bases.windows(2).filter(|pair| pair[0] < point) {
            let path = format!("{}/{:020}.log", super::driver::DIR, pair[0]);
            let durable = self.driver.disk.durable(&path).unwrap_or_default();
            let end = pair[1].min(point);
            let expected: Vec<u8> = (self.batches.iter())
                .filter(|batch| batch.base >= pair[0] && batch.last < end)
                .flat_map(|batch| batch.bytes.iter().copied())
                .collect();
            assert!(durable.starts_with(&expected), "{path} is not durable below {end}, the recovery point is {point}");
        }
    }

    fn failed(&mut self, ticket: Ticket, error: &LogError) {
        self.failures += 1;
        let full = matches!(error, LogError::Disk(error) if error.is_full());
        match self.asked.remove(&ticket).expect("a ticket comes once") {
            Asked::Append { base } => {
                assert!(full, "{error}");
                let kept = self.batches.partition_point(|batch| batch.base < base);
                let gone = self.batches.split_off(kept);
                self.ghosts.splice(0..0, gone);
                self.flushes_end_at(base);
            }
            Asked::Flush { .. } | Asked::Epoch(_) | Asked::Close => {
                assert!(full || matches!(error, LogError::Busy(_)), "{error}");
            }
            Asked::Truncate { .. } | Asked::Reset { .. } => panic!("a cut failed: {error}"),
        }
    }

    fn truncated(&mut self, ticket: Option<Ticket>, end: i64) {
        let expected = match ticket.map(|ticket| self.asked.remove(&ticket).expect("a ticket comes once")) {
            None => self.completed,
            Some(Asked::Truncate { to }) if to < self.first => self.begin_at(to),
            Some(Asked::Truncate { to }) => {
                assert!(self.ghosts.is_empty(), "the log is put in order first");
                assert_eq!(self.completed, self.end(), "appends complete before a cut");
                let held = self.batches.iter().find(|batch| (batch.base..=batch.last).contains(&to));
                held.map_or_else(|| to.min(self.end()), |batch| batch.base)
            }
            Some(Asked::Reset { start }) => self.begin_at(start),
            Some(other) => panic!("{other:?} ended with a truncation"),
        };
        assert_eq!(end, expected);
        self.ghosts.clear();
        self.flushes_end_at(end);
        self.batches.truncate(self.batches.partition_point(|batch| batch.base < end));
        self.completed = end;
        self.start = self.driver.log.log_start_offset().0;
        self.synced = self.synced.min(end);
        self.epoch = self.epoch.max(self.driver.log.epochs().latest_epoch().0);
    }

    /// What is gone need not be flushed.
    fn flushes_end_at(&mut self, end: i64) {
        for asked in self.asked.values_mut() {
            if let Asked::Flush { end: asked } = asked {
                *asked = end.min(*asked);
            }
        }
    }

    fn begin_at(&mut self, start: i64) -> i64 {
        self.first = start;
        self.trimmed.clear();
        self.forgotten.clear();
        self.blurred = false;
        self.batches.clear();
        self.synced = start;
        start
    }

    /// The process or the power goes at this very point; then the log is opened again and must be what it may be.
    pub fn crash(&mut self, random: &mut Random) {
        self.crashes += 1;
        let disk = self.driver.disk.clone();
        if random.chance(3) {
            disk.kill(random)
        } else {
            disk.lose_power(random)
        }
        let point = self.checkpoint.1.filter(|_| random.chance(2)).unwrap_or(self.checkpoint.0);
        self.reopen(random, false, point);
    }

    /// Flushed, closed, and opened as clean; now and then the power goes in between.
    pub fn close(&mut self, random: &mut Random) {
        self.driver.disk.set_space(None);
        self.driver.settle(random);
        self.events();
        let ticket = self.driver.log.close();
        self.asked.insert(ticket, Asked::Close);
        self.driver.settle(random);
        self.events();
        assert!(self.asked.is_empty(), "everything is answered: {:?}", self.asked);
        assert_eq!(self.synced, self.end());
        if random.chance(2) {
            self.driver.disk.lose_power(random);
        }
        let point = self.driver.log.recovery_point().0;
        self.reopen(random, true, point);
        assert_eq!(self.driver.recovery.cut, None);
        assert_eq!(self.driver.recovery.indexes_rebuilt, Vec::new(), "close leaves good indexes");
        self.time_indexes_are_right();
    }

    /// Each entry names the first batch that is so new, and the last the newest of all.
    fn time_indexes_are_right(&self) {
        let mut bases: Vec<i64> = self.driver.log.segment_bases().map(|base| base.0).collect();
        bases.push(i64::MAX);
        for pair in bases.windows(2) {
            let path = format!("{}/{:020}.timeindex", super::driver::DIR, pair[0]);
            let entries = self.driver.disk.get(&path).unwrap_or_else(|| panic!("{path} is not there"));
            let batches = || self.batches.iter().filter(|batch| (pair[0]..pair[1]).contains(&batch.base));
            let mut last = -1;
            for entry in entries.chunks(12) {
                let time = i64::from_be_bytes(entry[..8].try_into().unwrap());
                let offset = pair[0] + i64::from(u32::from_be_bytes(entry[8..].try_into().unwrap()));
                let first = batches().find(|batch| batch.newest() >= time).expect("a batch so new");
                assert_eq!((first.newest(), first.last), (time, offset), "{path}");
                assert!(time > last, "{path} rises");
                last = time;
            }
            assert_eq!(batches().map(Seen::newest).max().unwrap_or(-1), last, "{path} ends with the newest");
        }
    }

    fn reopen(&mut self, random: &mut Random, clean: bool, point: i64) {
        let disk = self.driver.disk.clone();
        let found = longest_prefix(&disk);
        let how = OpenHow { clean, recovery_point: Offset(point), log_start: Offset(0) };
        self.driver = Driver::open(&disk, random, &self.config, how);
        self.checkpoint = (point, None);
        let (first, seen) = found.unwrap_or((0, Vec::new()));
        let end = seen.last().map_or(first, |last| last.last + 1);
        let log = &self.driver.log;
        assert_eq!(log.first_segment().0, first);
        assert_eq!(log.log_end_offset().0, end, "the longest valid prefix ends at {end}: {:?}", self.driver.recovery);
        assert_eq!(longest_prefix(&disk), Some((first, seen.clone())), "what was opened is what lies there");

        // What a cut under way may have taken.
        let mut floor = self.synced;
        let mut begun_anew = false;
        for asked in self.asked.values() {
            match asked {
                Asked::Truncate { to } if *to >= self.first => {
                    let held = self.batches.iter().find(|batch| (batch.base..=batch.last).contains(to));
                    floor = floor.min(held.map_or(*to, |batch| batch.base));
                }
                Asked::Truncate { to: start } | Asked::Reset { start } => {
                    floor = 0;
                    begun_anew |= (first, end) == (*start, *start) || (first, end) == (0, 0);
                }
                _ => {}
            }
        }
        if !begun_anew {
            // Of the segments that were on their way out the last ones may be there still.
            let back = self.trimmed.iter().position(|batch| batch.base == first);
            assert!(first >= self.first || back.is_some(), "begins at {first}, not at {}", self.first);
            if first > self.first {
                assert!(first <= self.start, "segments above the start {} went: {first}", self.start);
                let gone = self.batches.partition_point(|batch| batch.base < first);
                self.forgotten.extend(self.batches.drain(..gone));
            }
            self.blurred |= !self.trimmed.is_empty() || first != self.first;
            self.forgotten.retain(|batch| batch.base < first);
            if let Some(back) = back {
                self.batches.splice(0..0, self.trimmed.split_off(back));
            }
            assert!(
                end >= floor,
                "durable below {floor}, recovered below {end}: {:?} {:?}",
                self.driver.recovery,
                self.asked
            );
            let known = self.batches.iter().chain(&self.ghosts);
            assert!(seen.iter().eq(known.take(seen.len())), "what was recovered is what was appended");
        }
        for batch in &seen {
            assert_eq!(log.epochs().epoch_of(Offset(batch.base)), Some(LeaderEpoch(batch.epoch)), "{:?}", log.epochs());
        }
        // A log without batches may keep, at its start, the epoch of those that were there before, as in Kafka.
        assert!(
            log.epochs().latest().is_none_or(|latest| latest.start.0 < end || (first, latest.start.0) == (end, end))
        );
        assert_eq!(log.recovery_point().0, end);
        assert_eq!(log.log_start_offset().0, first, "no checkpoint names another start");
        let bytes = self.driver.read_all(random, Offset(first), 500);
        assert_eq!(bytes, seen.iter().flat_map(|batch| batch.bytes.iter().copied()).collect::<Vec<_>>());

        if begun_anew {
            self.forgotten.clear();
        }
        (self.first, self.start, self.completed, self.synced) = (first, first, end, end);
        self.trimmed.clear();
        self.epoch = self.driver.log.epochs().latest_epoch().0.max(self.epoch);
        self.batches = seen;
        self.ghosts.clear();
        self.asked.clear();
        self.producers_are_known();
    }
}
