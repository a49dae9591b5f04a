//! Log directories that Kafka 4.3.1 wrote, opened on the operating system's disk.
//!
//! `tests/golden/disk` at the root of the repository has them; `WAVETANK_GOLDEN` names another directory of the form of
//! `tests/golden`. Every case is copied first: opening a log changes it.

use std::path::{Path, PathBuf};

use protocol::batch::{Batches, ControlRecord};
use protocol::{Offset, TopicPartition};
use runtime::{Env, Inbox, inbox, os};
use serde_json::{Value, json};
use storage::{Checkpoint, Log, LogConfig, LogDir, LogEvent, OpenError, OpenHow, Reading, Recovery, Startup, Token};

type Completion = (Token, runtime::DiskResult);

struct Opened {
    log: Log,
    recovery: Recovery,
    inbox: Inbox<Completion>,
}

impl Opened {
    async fn log(dir: &LogDir, name: &str, how: OpenHow) -> Result<Self, OpenError> {
        let (post, inbox) = inbox(1000);
        let completions = move |token, result| post.post((token, result));
        // The topics of the golden files have small segments, and small intervals between index entries.
        let config = LogConfig { index_interval_bytes: 400, ..LogConfig::default() };
        let (log, recovery) = Log::open(dir.disk().clone(), name, config, how, completions).await?;
        Ok(Self { log, recovery, inbox })
    }

    async fn event(&mut self) -> LogEvent {
        loop {
            if let Some(event) = self.log.next_event() {
                return event;
            }
            let (token, result) = self.inbox.recv().await.expect("the log holds the other end");
            self.log.on_completion(token, result);
        }
    }

    async fn read(&mut self, from: Offset, bytes: u64) -> storage::ReadData {
        match self.log.read(from, Offset(i64::MAX), bytes, true).expect("inside the log") {
            Reading::Ready(data) => data,
            Reading::Pending(_) => match self.event().await {
                LogEvent::Read { data, .. } => data,
                other => panic!("{other:?} instead of a read"),
            },
        }
    }

    /// All batches, in reads of at most `bytes`, each read beginning with the batch that holds the offset asked for.
    async fn batches(&mut self, bytes: u64) -> Vec<protocol::batch::Batch> {
        let mut all = Vec::new();
        let mut at = self.log.log_start_offset();
        while at < self.log.log_end_offset() {
            let data = self.read(at, bytes).await;
            assert!(data.end > at, "nothing at {at}");
            for batch in Batches::new(data.records) {
                let batch = batch.expect("a whole batch");
                batch.verify_crc().expect("as it was written");
                all.push(batch);
            }
            at = data.end;
        }
        all
    }
}

#[expect(clippy::disallowed_methods, reason = "tests find their inputs by the environment")]
fn golden() -> PathBuf {
    match std::env::var("WAVETANK_GOLDEN") {
        Ok(path) => path.into(),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "tests write files")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("inside a directory")).expect("a directory for a test's input");
    std::fs::write(path, bytes).expect("a test's input");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = String::from_utf8(read(path)).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to)
        } else {
            write(&to, &read(&entry.path()))
        }
    }
}

/// Unpacks `tar` (plain files and folders) under `to`, leaving away its first path component.
fn unpack(tar: &[u8], to: &Path) {
    let mut at = 0;
    while tar[at] != 0 {
        let header = &tar[at..at + 512];
        let text = |from: usize, len: usize| {
            let bytes = &header[from..from + len];
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
            std::str::from_utf8(&bytes[..end]).expect("plain names").trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124, 12), 8).expect("an octal size");
        let name = text(0, 100);
        let kind = header[156];
        assert!(matches!(kind, b'0' | b'5' | b'x') && text(345, 155).is_empty(), "{name} is of kind {kind}");
        at += 512;
        if kind == b'x' {
            // Extended headers hold times here, no names and no sizes.
            let more = String::from_utf8_lossy(&tar[at..at + size]);
            assert!(!more.contains(" path=") && !more.contains(" size="), "{more}");
        }
        if kind == b'0' {
            let (_, name) = name.split_once('/').expect("under data/");
            write(&to.join(name), &tar[at..at + size]);
        }
        at += size.next_multiple_of(512);
    }
}

fn on_disk<T>(fill: impl FnOnce(&Path), test: impl AsyncFnOnce(LogDir, Startup) -> T) -> T {
    let root = tempfile::tempdir().expect("a temporary directory");
    fill(&root.path().join("data"));
    os::run(root.path(), Some(1), |env: Env| async move {
        let (dir, startup) = LogDir::open(env.disk("data")).await.expect("a log directory of Kafka's");
        test(dir, startup).await
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The records of a batch in the form of the `expected` files.
fn records(batch: &protocol::batch::Batch) -> Vec<Value> {
    let header = &batch.header;
    let part = |part: &Option<bytes::Bytes>| part.as_ref().map(|bytes| hex(bytes));
    let kind = if header.timestamp_type() == protocol::batch::TimestampType::CreateTime {
        "CreateTime"
    } else {
        "LogAppendTime"
    };
    let records = batch.records().expect("records that can be decompressed");
    records.map(|record| {
        let record = record.expect("a record");
        let control = header.is_control().then(|| ControlRecord::kind_of(&record).expect("a known type").name());
        let headers: Vec<_> = record.headers.iter().map(|header| json!([hex(&header.key), part(&header.value)])).collect();
        json!({
            "offset": record.offset.0, "timestamp": record.timestamp.0, "key": part(&record.key), "value": part(&record.value),
            "headers": headers, "producerId": header.producer_id, "producerEpoch": header.producer_epoch,
            "sequence": record.sequence, "transactional": header.is_transactional(), "control": control,
            "leaderEpoch": header.leader_epoch.0, "codec": header.codec().expect("a known codec").name(),
            "timestampType": kind, "batch": header.base_offset.0,
        })
    })
    .collect()
}

fn assert_records(batches: &[protocol::batch::Batch], expected: &Path) {
    let found: Vec<Value> = batches.iter().flat_map(records).collect();
    let expected_records = lines(expected);
    for (found, expected) in found.iter().zip(&expected_records) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected_records.len(), "{}", expected.display());
}

#[test]
fn every_partition_of_plain_opens_and_gives_exactly_the_records_that_kafka_reads() {
    let case = golden().join("disk/plain");
    let fill = |to: &Path| copy(&case.join("data"), to);
    on_disk(fill, async |dir, startup: Startup| {
        assert_eq!(startup.clean.map(|epoch| epoch.0), Some(148));
        assert_eq!(startup.properties.as_ref().map(|read| read.node_id.0), Some(1));
        assert_eq!(startup.notes, Vec::<String>::new());
        assert!(startup.partitions.len() >= 31, "{} partitions", startup.partitions.len());
        for found in &startup.partitions {
            assert!(found.topic_id.is_some(), "{} has an id", found.dir);
            let metadata = &*found.partition.topic == "__cluster_metadata";
            let how = if metadata { OpenHow::UNKNOWN } else { startup.how(&found.partition) };
            let mut opened = Opened::log(&dir, &found.dir, how).await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((opened.recovery.cut, &opened.recovery.indexes_rebuilt), (None, &Vec::new()), "{}", found.dir);
            assert!(!opened.recovery.epochs_rebuilt, "{}", found.dir);
            if !metadata {
                assert_eq!(opened.log.log_end_offset(), how.recovery_point, "{}", found.dir);
                assert_eq!(opened.log.log_end_offset(), startup.high_watermark(&found.partition));
            }
            let batches = opened.batches(1 << 20).await;
            assert_records(&batches, &case.join(format!("expected/{}.jsonl", found.dir)));
            // Small reads find their way through the offset indexes.
            assert_eq!(opened.batches(1).await, batches);
            for batch in &batches {
                for offset in [batch.header.base_offset, batch.header.last_offset()] {
                    assert_eq!(opened.read(offset, 1).await.start, batch.header.base_offset);
                }
            }
            let epochs = batches.iter().map(|batch| (batch.header.base_offset, batch.header.leader_epoch));
            for (offset, epoch) in epochs {
                assert_eq!(opened.log.epochs().epoch_of(offset), Some(epoch), "{} {offset}", found.dir);
            }
        }
    });
}

#[test]
fn batches_lie_where_kafka_says() {
    let case = golden().join("disk/plain");
    let fill = |to: &Path| copy(&case.join("data"), to);
    on_disk(fill, async |dir, startup: Startup| {
        for found in &startup.partitions {
            let mut opened = Opened::log(&dir, &found.dir, startup.how(&found.partition)).await.expect("it opens");
            let (mut file, mut position) = (String::new(), 0);
            let mut expected = lines(&case.join(format!("expected/{}.batches.jsonl", found.dir))).into_iter();
            for batch in opened.batches(1 << 20).await {
                let expected = expected.next().expect("as many batches");
                if expected["file"] != file.as_str() {
                    file = expected["file"].as_str().expect("a name").to_owned();
                    position = 0;
                    assert!(opened.log.segment_bases().any(|base| format!("{base:020}.log", base = base.0) == file));
                }
                let header = &batch.header;
                assert_eq!(expected["baseOffset"], header.base_offset.0);
                assert_eq!(expected["lastOffset"], header.last_offset().0);
                assert_eq!(expected["position"], position);
                assert_eq!(expected["size"], header.total_size());
                assert_eq!(expected["crc"], header.crc);
                assert_eq!(expected["maxTimestamp"], header.max_timestamp.0);
                position += header.total_size();
            }
            assert_eq!(expected.next(), None);
        }
    });
}

fn unclean(name: &str) -> impl FnOnce(&Path) {
    let packed = read(&golden().join(format!("disk/unclean/{name}.tar.gz")));
    move |to| {
        let mut tar = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut tar).expect("a gzip file");
        unpack(&tar, to);
    }
}

const CRASH: &str = "crash-0";

/// Opens the damaged log of a case; its end, its files' sizes and its recovery are judged by `judge`.
fn damaged(name: &str, judge: impl AsyncFnOnce(Opened, LogDir)) {
    on_disk(unclean(name), async |dir, startup: Startup| {
        assert_eq!(startup.clean.is_some(), name.starts_with("clean-"), "{name}");
        let how = startup.how(&TopicPartition::new("crash", 0));
        judge(Opened::log(&dir, CRASH, how).await.unwrap_or_else(|error| panic!("{name}: {error}")), dir).await;
    });
}

async fn len(dir: &LogDir, file: &str) -> u64 {
    let names = dir.disk().list(CRASH).await.expect("a directory");
    names.iter().find(|name| name.name == file).unwrap_or_else(|| panic!("{file} is gone")).len
}

#[test]
fn what_damage_leaves_whole_is_kept() {
    let whole = [
        "kill",
        "no-index",
        "no-snapshot",
        "no-epoch-file",
        "zero-tail",
        "leftovers",
        "swap-only",
        "flip-old",
        "clean-flip",
        "clean-no-index",
        "clean-bad-index",
        "clean-bad-index-size",
        "clean-bad-snapshot",
        "clean-zero-tail",
    ];
    for name in whole {
        damaged(name, async |mut opened: Opened, dir| {
            assert_eq!(opened.log.log_end_offset(), Offset(335), "{name}");
            assert_eq!(opened.log.segment_bases().map(|base| base.0).collect::<Vec<_>>(), [0, 101, 211, 319], "{name}");
            assert_eq!(opened.log.epochs().print(), "0\n1\n0 0\n", "{name}");
            assert_eq!(len(&dir, "00000000000000000319.log").await, 1850, "{name}: cut to its batches");
            if !name.contains("flip") {
                let batches = opened.batches(3000).await;
                assert_records(&batches, &golden().join("disk/unclean/kill.text/expected/crash-0.jsonl"));
            }
            let left = dir.disk().list(CRASH).await.expect("a directory");
            let marks = [".swap", ".cleaned", ".deleted", "7777.index"];
            for name in left {
                assert!(!marks.iter().any(|mark| name.name.ends_with(mark)), "{} is left", name.name);
            }
        });
    }
}

#[test]
fn a_torn_tail_is_cut_whether_the_shutdown_was_clean_or_not() {
    for name in ["torn", "clean-torn"] {
        damaged(name, async |opened: Opened, dir| {
            assert_eq!(opened.log.log_end_offset(), Offset(334), "{name}");
            assert_eq!(len(&dir, "00000000000000000319.log").await, 1772, "{name}");
            assert_eq!(opened.recovery.cut.map(|cut| cut.bytes), Some(39), "{name}");
        });
    }
}

#[test]
fn a_damaged_batch_above_the_recovery_point_ends_the_log() {
    for name in ["flip-active", "length", "base-offset"] {
        damaged(name, async |opened: Opened, dir| {
            assert_eq!(opened.log.log_end_offset(), Offset(328), "{name}");
            assert_eq!(len(&dir, "00000000000000000319.log").await, 1069, "{name}");
        });
    }
}

#[test]
fn without_a_recovery_point_all_is_checked_and_later_segments_go() {
    damaged("flip-old-no-recovery-point", async |opened: Opened, dir: LogDir| {
        assert_eq!(opened.log.log_end_offset(), Offset(152));
        assert_eq!(opened.recovery.dropped, [Offset(211), Offset(319)]);
        let left = dir.disk().list(CRASH).await.expect("a directory");
        assert!(!left.iter().any(|name| name.name.contains("211") || name.name.contains("319")), "{left:?}");
    });
}

#[test]
fn a_hole_is_refused_and_nothing_is_touched() {
    on_disk(unclean("hole"), async |dir, startup: Startup| {
        let before = dir.disk().list(CRASH).await.expect("a directory");
        let how = startup.how(&TopicPartition::new("crash", 0));
        let error = Opened::log(&dir, CRASH, how).await.err().expect("a hole");
        assert_eq!(error.to_string(), "crash-0: offsets 101 to 211 are missing before segment 211");
        assert_eq!(dir.disk().list(CRASH).await.expect("a directory"), before);
    });
}

#[test]
fn a_malformed_high_watermark_checkpoint_fails_the_directory() {
    let root = tempfile::tempdir().expect("a temporary directory");
    unclean("bad-hw-checkpoint")(&root.path().join("data"));
    os::run(root.path(), Some(1), |env: Env| async move {
        let error = LogDir::open(env.disk("data")).await.expect_err("malformed");
        assert_eq!(error.to_string(), "replication-offset-checkpoint: 3 entries stated, 1 found");
    });
}

#[test]
fn a_partition_without_metadata_has_no_topic_id() {
    on_disk(unclean("clean-no-partition-metadata"), async |_, startup: Startup| {
        let found = startup.partitions.iter().find(|found| found.dir == CRASH).expect("its directory");
        assert_eq!(found.topic_id, None);
    });
}

/// The marker is gone as soon as it is read, so a second start is unclean; checkpoints written are read back.
#[test]
fn a_clean_shutdown_counts_once() {
    on_disk(unclean("clean-flip"), async |dir, startup: Startup| {
        assert!(startup.clean.is_some());
        let (dir, again) = LogDir::open(dir.disk().clone()).await.expect("it opens again");
        assert_eq!(again.clean, None);
        let mut points = again.recovery_points.clone();
        points.offsets.insert(TopicPartition::new("crash", 0), Offset(7));
        dir.write_checkpoint(Checkpoint::RecoveryPoint, &points).await.expect("written");
        dir.mark_clean(protocol::BrokerEpoch(9)).await.expect("written");
        let (_, third) = LogDir::open(dir.disk().clone()).await.expect("it opens again");
        assert_eq!((third.clean, third.recovery_points), (Some(protocol::BrokerEpoch(9)), points));
    });
}
