//! What a log promises, one claim a test.

mod support;

use std::io::ErrorKind;

use log::{Expiry, Retention};
use protocol::{Chunks, LeaderEpoch, Offset, Timestamp};
use storage::{AppendError, LogConfig, LogError, LogEvent, Newest, OpenHow, Reading};
use support::disk::MemDisk;
use support::driver::{DIR, Driver};
use support::{NOW, Random, batch, batch_at};

const EPOCH: LeaderEpoch = LeaderEpoch(1);
const ALL: Offset = Offset(i64::MAX);

struct Bench {
    random: Random,
    driver: Driver,
}

impl Bench {
    /// A log that leads in epoch 1, on a new disk.
    fn new(config: LogConfig) -> Self {
        let mut random = Random::new(1);
        let driver = Driver::open(&MemDisk::default(), &mut random, &config, OpenHow::UNKNOWN);
        let mut bench = Self { random, driver };
        let ticket = bench.driver.log.assign_epoch(EPOCH);
        let stored = bench.driver.wait(&mut bench.random, ticket);
        assert!(matches!(stored, LogEvent::EpochStored { epoch: EPOCH, start: Offset(0), .. }), "{stored:?}");
        bench
    }

    /// Appends a batch of `records` records of 100 bytes.
    fn submit(&mut self, records: usize) -> storage::Ticket {
        let seed = self.random.next();
        let assigned = self.driver.log.append_as_leader(EPOCH, vec![batch(0, -1, records, 100, seed)], NOW);
        assigned.expect("the log takes appends").ticket.expect("a batch was given")
    }

    fn append(&mut self, records: usize) -> LogEvent {
        let ticket = self.submit(records);
        self.driver.wait(&mut self.random, ticket)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        self.driver
            .disk
            .get(&format!("{DIR}/{name}"))
            .unwrap_or_else(|| panic!("{name}: {:?}", self.driver.disk.names()))
    }

    fn reopen(&mut self, config: &LogConfig, how: OpenHow) {
        self.driver = Driver::open(&self.driver.disk.clone(), &mut self.random, config, how);
    }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..LogConfig::default() }
}

#[test]
fn flushes_asked_for_while_one_runs_share_the_next_one() {
    let mut bench = Bench::new(LogConfig::default());
    bench.submit(1);
    let first = bench.driver.log.flush();
    bench.submit(1);
    let others = [bench.driver.log.flush(), bench.driver.log.flush(), bench.driver.log.flush()];
    bench.driver.settle(&mut bench.random);
    let flushed: Vec<_> = (bench.driver.take_events().into_iter())
        .filter_map(|event| if let LogEvent::Flushed { tickets, end } = event { Some((tickets, end.0)) } else { None })
        .collect();
    assert_eq!(flushed, [(vec![first], 1), (others.to_vec(), 2)]);
}

#[test]
fn a_log_is_closed_even_if_it_is_asked_to_while_a_flush_of_all_it_has_runs() {
    let mut bench = Bench::new(LogConfig::default());
    bench.submit(1);
    let flush = bench.driver.log.flush();
    assert!(bench.driver.disk.step(&mut bench.random), "the flush is under way");
    let close = bench.driver.log.close();
    let closed = bench.driver.wait(&mut bench.random, close);
    assert!(matches!(closed, LogEvent::Closed { .. }), "{closed:?}");
    bench.driver.wait(&mut bench.random, flush);
    let clean = OpenHow { clean: true, recovery_point: Offset(1), log_start: Offset(0) };
    bench.reopen(&LogConfig::default(), clean);
    assert_eq!(bench.driver.recovery.indexes_rebuilt, Vec::new(), "closing left good indexes");
}

#[test]
fn a_failed_sync_breaks_the_log_and_nothing_is_called_durable() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(1);
    bench.driver.disk.fail_sync(0);
    let flush = bench.driver.log.flush();
    let event = bench.driver.wait(&mut bench.random, flush);
    let LogEvent::Failed { error: LogError::Disk(error), .. } = event else { panic!("{event:?}") };
    assert_eq!(error.to_string(), "failed to sync t-0/00000000000000000000.log: input/output error");
    assert!(matches!(bench.driver.take_events()[..], [LogEvent::Broken { .. }]));
    assert_eq!(bench.driver.log.recovery_point(), Offset(0));
    assert!(bench.driver.log.append_as_leader(EPOCH, vec![batch(0, 0, 1, 1, 1)], NOW).is_err());
    assert!(bench.driver.log.read(Offset(0), ALL, 100, true).is_err());
    let again = bench.driver.log.flush();
    assert!(matches!(bench.driver.wait(&mut bench.random, again), LogEvent::Failed { .. }));
}

#[test]
fn the_newest_batches_are_read_without_the_disk_and_share_their_bytes() {
    let mut bench = Bench::new(LogConfig::default());
    let sent = batch(0, 0, 1, 100, 9);
    let ticket = bench.driver.log.append_as_leader(EPOCH, vec![sent.clone()], NOW).unwrap().ticket.unwrap();
    bench.driver.wait(&mut bench.random, ticket);
    let before = bench.driver.disk.ops();
    let Ok(Reading::Ready(data)) = bench.driver.log.read(Offset(0), ALL, 1 << 20, true) else {
        panic!("not in memory")
    };
    assert_eq!(bench.driver.disk.ops(), before);
    let last = |chunks: &Chunks| chunks.iter().last().map(|piece| piece.as_ptr_range().end);
    assert_eq!(last(&data.records), last(&sent.bytes), "records are shared, not copied");
}

#[test]
fn with_flush_messages_1_an_append_completes_only_once_it_is_durable() {
    let mut bench = Bench::new(LogConfig { flush_messages: Some(1), ..LogConfig::default() });
    let ticket = bench.submit(2);
    while !bench.driver.events.iter().any(|event| matches!(event, LogEvent::Appended { .. })) {
        assert!(bench.driver.deliver() || bench.driver.disk.step(&mut bench.random));
    }
    assert!(matches!(bench.driver.wait(&mut bench.random, ticket), LogEvent::Appended { end: Offset(2), .. }));
    bench.driver.disk.lose_power(&mut bench.random);
    bench.reopen(&LogConfig::default(), OpenHow::UNKNOWN);
    assert_eq!(bench.driver.log.log_end_offset(), Offset(2));
}

#[test]
fn an_epoch_is_on_disk_when_it_is_said_to_be_and_goes_with_its_records() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(3);
    let ticket = bench.driver.log.assign_epoch(LeaderEpoch(4));
    bench.driver.wait(&mut bench.random, ticket);
    bench.driver.disk.lose_power(&mut bench.random);
    assert_eq!(bench.file("leader-epoch-checkpoint"), b"0\n2\n1 0\n4 3\n");
}

#[test]
fn truncation_drops_an_epoch_without_records_even_if_the_log_is_not_cut() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(3);
    bench.driver.log.assign_epoch(LeaderEpoch(4));
    let ticket = bench.driver.log.truncate(Offset(3));
    let event = bench.driver.wait(&mut bench.random, ticket);
    assert!(matches!(event, LogEvent::Truncated { from: Offset(3), end: Offset(3), .. }), "{event:?}");
    assert_eq!(bench.driver.log.epochs().latest_epoch(), EPOCH, "KAFKA-10706");
    assert_eq!(bench.file("leader-epoch-checkpoint"), b"0\n1\n1 0\n");
}

#[test]
fn a_cut_inside_a_batch_takes_the_whole_batch() {
    let mut bench = Bench::new(small_segments());
    for _ in 0..6 {
        bench.append(3);
    }
    assert_eq!(bench.driver.log.segment_bases().count(), 3);
    let ticket = bench.driver.log.truncate(Offset(4));
    let event = bench.driver.wait(&mut bench.random, ticket);
    assert!(matches!(event, LogEvent::Truncated { from: Offset(18), end: Offset(3), .. }), "{event:?}");
    assert_eq!(bench.driver.log.segment_bases().collect::<Vec<_>>(), [Offset(0)]);
    assert!(bench.driver.disk.names().iter().all(|name| !name.contains("0006.") && !name.ends_with(".deleted")));
    bench.append(1);
    assert_eq!(bench.driver.log.log_end_offset(), Offset(4));
}

#[test]
fn what_a_reader_holds_stays_what_it_was() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(3);
    let held = bench.driver.read(&mut bench.random, Offset(0), ALL, 1 << 20, true).unwrap();
    let before = held.records.to_vec();
    bench.driver.log.truncate(Offset(0));
    bench.driver.settle(&mut bench.random);
    bench.driver.log.assign_epoch(LeaderEpoch(2));
    let other = bench.driver.log.append_as_leader(LeaderEpoch(2), vec![batch(0, 0, 3, 100, 77)], NOW);
    bench.driver.wait(&mut bench.random, other.unwrap().ticket.unwrap());
    assert_eq!(held.records.to_vec(), before);
    assert_ne!(bench.driver.read_all(&mut bench.random, Offset(0), 1 << 20), before);
}

#[test]
fn a_read_under_way_above_a_cut_fails_and_one_below_goes_on() {
    let mut bench = Bench::new(LogConfig { tail_bytes: 0, ..LogConfig::default() });
    for _ in 0..4 {
        bench.append(1);
    }
    let mut pending = |from: i64, upper: i64| match bench.driver.log.read(Offset(from), Offset(upper), 1 << 20, true) {
        Ok(Reading::Pending(ticket)) => ticket,
        other => panic!("{other:?}"),
    };
    let (below, above) = (pending(0, 2), pending(0, 4));
    bench.driver.log.truncate(Offset(2));
    let event = bench.driver.wait(&mut bench.random, above);
    assert!(matches!(event, LogEvent::Failed { error: LogError::Truncated, .. }), "{event:?}");
    let index = bench.driver.events.iter().position(|event| matches!(event, LogEvent::Read { .. })).expect("one read");
    let LogEvent::Read { ticket, data } = &bench.driver.events[index] else { unreachable!() };
    assert_eq!((*ticket, data.end), (below, Offset(2)));
}

#[test]
fn a_finished_segments_index_is_kafkas() {
    let mut bench = Bench::new(small_segments());
    for _ in 0..12 {
        bench.append(1);
    }
    // Each batch has 61 + 108 bytes: an entry at every third, once more than 200 went by.
    let bytes = bench.file("00000000000000000000.index");
    let entries: Vec<(u8, u16)> =
        bytes.chunks(8).map(|entry| (entry[3], u16::from_be_bytes([entry[6], entry[7]]))).collect();
    let size = (bench.file("00000000000000000000.log").len() / 5) as u16;
    assert_eq!(entries, [(2, 2 * size), (4, 4 * size)]);
}

#[test]
fn ten_mebibytes_of_zeros_behind_an_index_are_normal_and_are_not_read() {
    let mut bench = Bench::new(small_segments());
    for _ in 0..12 {
        bench.append(1);
    }
    let mut index = bench.file("00000000000000000000.index");
    index.resize(10 << 20, 0);
    bench.driver.disk.put(&format!("{DIR}/00000000000000000000.index"), &index);
    let before = bench.driver.disk.ops();
    let how = OpenHow { clean: true, recovery_point: Offset(12), log_start: Offset(0) };
    bench.reopen(&small_segments(), how);
    assert!(bench.driver.disk.ops() - before < 40, "{} operations", bench.driver.disk.ops() - before);
    assert!(!bench.driver.recovery.indexes_rebuilt.contains(&Offset(0)), "{:?}", bench.driver.recovery);
    assert_eq!(bench.driver.log.log_end_offset(), Offset(12));
}

#[test]
fn an_index_that_lies_between_its_ends_misleads_no_reader() {
    let config = LogConfig { index_interval_bytes: 100, tail_bytes: 0, ..LogConfig::default() };
    let mut bench = Bench::new(LogConfig { segment_bytes: 4000, ..config.clone() });
    for _ in 0..40 {
        bench.append(1);
    }
    let name = format!("{DIR}/00000000000000000000.index");
    let good = bench.driver.disk.get(&name).expect("the first segment is finished");
    let size = bench.file("00000000000000000000.log").len() / 23;
    let how = OpenHow { clean: true, recovery_point: Offset(40), log_start: Offset(0) };
    // The third entry points into the middle of a batch, or two batches too far.
    for shift in [30, 2 * size as u32 - 1, size as u32] {
        let mut bad = good.clone();
        let position = u32::from_be_bytes(bad[20..24].try_into().unwrap()) + shift;
        bad[20..24].copy_from_slice(&position.to_be_bytes());
        bench.driver.disk.put(&name, &bad);
        bench.reopen(&config, how);
        for offset in 0..20 {
            let data = bench.driver.read(&mut bench.random, Offset(offset), ALL, 1, true).unwrap();
            assert_eq!(data.start, Offset(offset), "entry shifted by {shift}");
        }
    }
}

#[test]
fn a_follower_appends_what_the_leader_wrote_and_refuses_what_cannot_follow() {
    let mut bench = Bench::new(LogConfig::default());
    let log = &mut bench.driver.log;
    let good = batch(0, 1, 2, 50, 1).bytes;
    let mut records = good.clone();
    records.append(batch(2, 3, 1, 50, 2).bytes);
    let mut torn = batch(3, 3, 1, 50, 3).bytes;
    records.append(torn.split_to(70));
    let late = log.append_as_follower(records.clone(), LeaderEpoch(2), NOW).expect("the first batch is of epoch 1");
    assert_eq!(
        (late.base, late.end),
        (Offset(0), Offset(2)),
        "KAFKA-18723: epoch 3 was not there when this was asked for"
    );
    let rest = log.append_as_follower(records.slice(good.len(), records.len()), LeaderEpoch(3), NOW).unwrap();
    assert_eq!((rest.base, rest.end), (Offset(2), Offset(3)), "the torn batch is left away");

    let error = log.append_as_follower(good, LeaderEpoch(3), NOW).unwrap_err();
    assert_eq!(error.to_string(), "batch 0: offsets 0 to 1 where 3 or more is due");
    let mut flipped = batch(3, 3, 1, 50, 4).bytes.to_vec();
    flipped[100] ^= 1;
    let error = log.append_as_follower(Chunks::from(flipped), LeaderEpoch(3), NOW).unwrap_err();
    assert!(error.to_string().starts_with("batch 0: crc is 0x"), "{error}");
    assert_eq!(log.next_offset(), Offset(3));
    bench.driver.settle(&mut bench.random);
    assert_eq!(bench.driver.log.epochs().print(), "0\n2\n1 0\n3 2\n");
}

#[test]
fn a_leader_appends_only_in_the_epoch_it_was_given() {
    let mut bench = Bench::new(LogConfig::default());
    let error = bench.driver.log.append_as_leader(LeaderEpoch(2), vec![batch(0, 0, 1, 1, 1)], NOW).unwrap_err();
    assert!(matches!(error, AppendError::Epoch { epoch: LeaderEpoch(2), latest: EPOCH }), "{error}");
}

#[test]
fn when_the_disk_is_full_reads_go_on_and_appends_resume_with_space() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(1);
    let whole = bench.file("00000000000000000000.log");
    bench.driver.disk.set_space(Some(50));
    let (first, second) = (bench.submit(1), bench.submit(1));
    for ticket in [first, second] {
        let event = bench.driver.wait(&mut bench.random, ticket);
        let LogEvent::Failed { error: LogError::Disk(error), .. } = event else { panic!("{event:?}") };
        assert_eq!((error.source.kind(), error.at), (ErrorKind::StorageFull, Some(whole.len() as u64)));
    }
    assert_eq!(bench.file("00000000000000000000.log"), whole);
    assert_eq!(bench.driver.read_all(&mut bench.random, Offset(0), 1 << 20), whole);
    bench.driver.disk.set_space(None);
    assert!(matches!(bench.append(1), LogEvent::Appended { base: Offset(1), end: Offset(2), .. }));
}

#[test]
fn a_log_that_ends_below_its_start_begins_there_anew() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(3);
    bench.driver.settle(&mut bench.random);
    let how = OpenHow { clean: false, recovery_point: Offset(0), log_start: Offset(9) };
    bench.reopen(&LogConfig::default(), how);
    assert!(bench.driver.recovery.emptied);
    assert_eq!((bench.driver.log.log_start_offset(), bench.driver.log.log_end_offset()), (Offset(9), Offset(9)));
    assert!(bench.driver.disk.names().contains(&format!("{DIR}/00000000000000000009.log")));
}

#[test]
fn a_raised_start_hides_what_lies_below_and_moves_the_epochs() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(5);
    bench.driver.log.raise_log_start(Offset(3));
    bench.driver.log.raise_log_start(Offset(2));
    let below = bench.driver.log.read(Offset(2), ALL, 100, true);
    assert!(
        matches!(below, Err(LogError::OutOfRange { asked: Offset(2), start: Offset(3), end: Offset(5) })),
        "{below:?}"
    );
    bench.driver.settle(&mut bench.random);
    assert_eq!(bench.file("leader-epoch-checkpoint"), b"0\n1\n1 3\n");
}

#[test]
fn how_long_an_unclean_start_takes_depends_on_what_lies_above_the_recovery_point_only() {
    let syncs = |batches: usize| {
        let mut bench = Bench::new(small_segments());
        (0..batches).for_each(|_| drop(bench.append(1)));
        let ticket = bench.driver.log.flush();
        bench.driver.wait(&mut bench.random, ticket);
        bench.driver.settle(&mut bench.random);
        let recovery_point = bench.driver.log.recovery_point();
        bench.driver.disk.kill(&mut bench.random);
        let before = bench.driver.disk.syncs();
        bench.reopen(&small_segments(), OpenHow { clean: false, recovery_point, log_start: Offset(0) });
        assert_eq!(bench.driver.log.log_end_offset(), Offset(batches as i64));
        bench.driver.disk.syncs() - before
    };
    let (few, many) = (syncs(20), syncs(200));
    assert!(many <= few + 1, "{few} syncs for 20 batches, {many} for 200");
}

fn names(bench: &Bench) -> Vec<String> {
    let names = bench.driver.disk.names().into_iter();
    names.filter_map(|name| name.strip_prefix("t-0/00000000000000000").map(str::to_owned)).collect()
}

/// Appends one record of 100 bytes with this timestamp.
fn append_at(bench: &mut Bench, time: i64) {
    let batch = batch_at(time, 0, -1, 1, 100, 3);
    let assigned = bench.driver.log.append_as_leader(EPOCH, vec![batch], NOW).expect("the log takes appends");
    bench.driver.wait(&mut bench.random, assigned.ticket.expect("a batch was given"));
}

#[test]
fn a_segment_does_not_span_more_of_the_records_time_than_segment_ms() {
    let mut bench = Bench::new(LogConfig { segment_ms: 100, ..LogConfig::default() });
    for time in [500, 600, 550, 601, 602, 502] {
        append_at(&mut bench, time);
    }
    let bases: Vec<_> = bench.driver.log.segment_bases().map(|base| base.0).collect();
    assert_eq!(bases, [0, 3], "the clock is not asked, and an older record does not roll");
}

#[test]
fn without_timestamps_segments_roll_by_the_hosts_time() {
    let mut bench = Bench::new(LogConfig { segment_ms: 100, ..LogConfig::default() });
    for now in [0, 100, 101, 150] {
        let batch = batch_at(-1, 0, -1, 1, 100, 3);
        bench.driver.log.append_as_leader(EPOCH, vec![batch], Timestamp(NOW.0 + now)).expect("the log takes appends");
    }
    assert_eq!(bench.driver.log.segment_bases().map(|base| base.0).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn another_segment_size_counts_at_the_next_append() {
    let mut bench = Bench::new(LogConfig::default());
    bench.append(9);
    bench.append(9);
    assert_eq!(bench.driver.log.segment_bases().count(), 1);
    bench.driver.log.configure(small_segments());
    bench.append(1);
    assert_eq!(bench.driver.log.segment_bases().count(), 2);
}

#[test]
fn what_is_too_old_goes_when_it_is_durable_and_its_files_are_left_to_the_owner() {
    let retention = Retention { ms: 1000, ..Retention::default() };
    let mut bench = Bench::new(LogConfig { retention, segment_ms: 100, ..LogConfig::default() });
    for time in [0, 200, 400, 2000] {
        append_at(&mut bench, time);
    }
    let log = &mut bench.driver.log;
    assert_eq!(log.expired(Offset(4), Timestamp(1000)), None);
    assert_eq!(log.expired(Offset(1), Timestamp(1300)), Some((Offset(1), Expiry::Time)), "not what is not committed");
    let (start, _) = log.expired(Offset(4), Timestamp(1300)).expect("two are too old");
    assert_eq!(start, Offset(2));
    log.raise_log_start(start);
    log.trim(NOW);
    assert!(matches!(log.read(Offset(1), ALL, 100, true), Err(LogError::OutOfRange { .. })));
    bench.driver.settle(&mut bench.random);
    let trimmed = bench.driver.take_events().into_iter().find_map(|event| match event {
        LogEvent::Trimmed { files } => Some(files),
        _ => None,
    });
    assert_eq!(trimmed.map(|files| files.len()), Some(10));
    assert_eq!(bench.driver.log.first_segment(), Offset(2));
    let gone = ["000.index.deleted", "000.log.deleted", "000.timeindex.deleted"];
    assert_eq!(names(&bench)[..3], gone, "renamed, not removed");
    bench.reopen(&LogConfig::default(), OpenHow::UNKNOWN);
    assert_eq!(bench.driver.log.log_start_offset(), Offset(2), "the first segment says where the log begins");
    assert!(!names(&bench).iter().any(|name| name.ends_with(".deleted")));
}

#[test]
fn the_last_segment_goes_too_and_the_log_goes_on_behind_it() {
    let retention = Retention { bytes: 0, ..Retention::default() };
    let mut bench = Bench::new(LogConfig { retention, ..LogConfig::default() });
    bench.append(3);
    bench.append(4);
    let (start, why) = bench.driver.log.expired(Offset(7), NOW).expect("nothing may stay");
    assert_eq!((start, why), (Offset(7), Expiry::Size));
    bench.driver.log.raise_log_start(start);
    bench.driver.log.trim(NOW);
    let ticket = bench.submit(1);
    assert!(matches!(bench.driver.wait(&mut bench.random, ticket), LogEvent::Appended { end: Offset(8), .. }));
    assert_eq!((bench.driver.log.first_segment(), bench.driver.log.log_start_offset()), (Offset(7), Offset(7)));
    bench.driver.disk.lose_power(&mut bench.random);
    bench.reopen(&LogConfig::default(), OpenHow::UNKNOWN);
    assert_eq!(bench.driver.log.log_start_offset(), Offset(7));
}

/// Without it a power loss could leave torn bytes below durable ones, and recovery would drop those.
#[test]
fn a_segment_that_is_not_durable_stays_until_it_is() {
    let mut bench = Bench::new(LogConfig { segment_bytes: 400, ..LogConfig::default() });
    for _ in 0..3 {
        bench.submit(1);
    }
    while bench.driver.log.log_end_offset() < Offset(3) {
        assert!(bench.driver.deliver() || bench.driver.disk.step(&mut bench.random));
    }
    bench.driver.log.raise_log_start(Offset(2));
    bench.driver.log.trim(NOW);
    loop {
        let log = &bench.driver.log;
        assert!(log.first_segment() <= log.recovery_point(), "{} goes", log.first_segment());
        if log.first_segment() == Offset(2) {
            break;
        }
        assert!(bench.driver.deliver() || bench.driver.disk.step(&mut bench.random), "nothing more happens");
    }
}

#[test]
fn an_index_that_is_read_in_pieces_is_read_whole() {
    let clean = OpenHow { clean: true, recovery_point: Offset(9000), log_start: Offset(0) };
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let mut bench = Bench::new(config.clone());
    let log: Vec<u8> = (0..9000).flat_map(|at| batch_at(at, at, 1, 1, 0, 3).bytes.to_vec()).collect();
    bench.driver.disk.put("t-0/00000000000000000000.log", &log);
    bench.reopen(&config, OpenHow::UNKNOWN);
    let files = |bench: &mut Bench| {
        let close = bench.driver.log.close();
        bench.driver.wait(&mut bench.random, close);
        [bench.file("00000000000000000000.index"), bench.file("00000000000000000000.timeindex")]
    };
    let before = files(&mut bench);
    assert!(before[0].len() > 64 << 10, "one piece");
    bench.reopen(&config, clean);
    assert_eq!(bench.driver.recovery.indexes_rebuilt, []);
    assert_eq!(files(&mut bench), before);
}

#[test]
fn a_time_index_that_cannot_be_right_is_made_anew() {
    let clean = OpenHow { clean: true, recovery_point: Offset(8), log_start: Offset(0) };
    let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let behind = [0, 0, 0, 0, 0, 0, 9, 9, 0, 0, 9, 9];
    for damage in [&[][..], &[0; 240], &behind, &[9; 12], &[1; 7]] {
        let mut bench = Bench::new(config.clone());
        for time in [10, 30, 20, 30, 5, 40, 40, 1] {
            append_at(&mut bench, time);
        }
        let close = bench.driver.log.close();
        bench.driver.wait(&mut bench.random, close);
        let path = "t-0/00000000000000000000.timeindex";
        let before = bench.driver.disk.get(path).expect("written when the log is closed");
        bench.driver.disk.put(path, damage);
        bench.reopen(&config, clean);
        assert_eq!(bench.driver.recovery.indexes_rebuilt, [Offset(0)], "{damage:?}");
        assert_eq!(bench.driver.log.newest(), Newest::At { timestamp: Timestamp(40), offset: Offset(5) });
        let close = bench.driver.log.close();
        bench.driver.wait(&mut bench.random, close);
        assert_eq!(bench.driver.disk.get(path), Some(before), "{damage:?}");
    }
}
