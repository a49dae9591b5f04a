//! C-DISK finds each breach, and accuses no sound disk.

use std::sync::Arc;

use runtime::Observation;

use super::*;
use crate::checker::HostDisk;
use protocol::{Chunks, LeaderEpoch};

fn batch(base: i64, records: i32, epoch: i32, value: u8) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend((records - 1).to_be_bytes());
    body.resize(40, 0);
    body.push(value);
    let mut out = base.to_be_bytes().to_vec();
    out.extend((body.len() as i32 + 9).to_be_bytes());
    out.extend(epoch.to_be_bytes());
    out.push(2);
    out.extend(crc32c::crc32c(&body).to_be_bytes());
    out.extend(body);
    out
}

fn disk(node: i32, files: &[(&str, Vec<u8>)]) -> HostDisk {
    let files = files.iter().map(|(name, bytes)| (format!("t-0/{name}"), Chunks::from(bytes.clone())));
    HostDisk { host: Arc::from(format!("b{node}")), node: NodeId(node), files: files.collect(), damage: Vec::new() }
}

const SEGMENT: &str = "00000000000000000000.log";

fn tell(checker: &mut RecoverySound, what: Observation) {
    checker.observe(&Stamped { id: 1, at_ns: 1, host: Arc::from("b1"), node: NodeId(1), cause: 0, what });
}

fn t() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A broker says that it is durable below `durable`, cuts to `cut`, and after a restart that its log ends at `end`.
fn restart(bytes: Vec<u8>, durable: i64, cut: Option<i64>, end: i64) -> Option<String> {
    let mut checker = RecoverySound::default();
    tell(&mut checker, Observation::LogFlushed { partition: t(), end: Offset(durable) });
    if let Some(to) = cut {
        tell(&mut checker, Observation::Truncating { partition: t(), to: Offset(to) });
    }
    checker.before_start(&disk(1, &[(SEGMENT, bytes)]));
    tell(&mut checker, Observation::LogOpened { partition: t(), start: Offset(0), end: Offset(end), clean: false });
    claim(checker.finish(&RunEnd::default()))
}

fn claim(judgement: Judgement) -> Option<String> {
    match judgement {
        Judgement::Violated(violation) => Some(violation.claim),
        Judgement::Held { .. } => None,
        Judgement::NothingToJudge { why } => Some(why),
    }
}

#[test]
fn a_recovered_log_is_compared_with_its_disk_and_with_what_was_synced() {
    let two = [batch(0, 3, 1, 7), batch(3, 2, 1, 8)].concat();
    assert_eq!(restart(two.clone(), 5, None, 5), None);
    let claim = "a recovered log is not the longest valid prefix of what its disk held";
    assert_eq!(restart(two.clone(), 0, None, 3).as_deref(), Some(claim));
    assert_eq!(restart(two.clone(), 0, None, 6).as_deref(), Some(claim));
    let torn = two[..two.len() - 1].to_vec();
    assert_eq!(restart(torn.clone(), 3, None, 3), None);
    assert_eq!(restart(torn.clone(), 5, None, 3).as_deref(), Some("a recovered log lacks bytes that were synced"));
    assert_eq!(restart(torn, 5, Some(3), 3), None, "it may have been cut");
}

/// A batch of three records, one of two and one of one, of which bytes `from..` have rotted so that `bytes` is on the disk.
fn damaged(bytes: Vec<u8>, from: u64, end: i64) -> Option<String> {
    let mut checker = RecoverySound::default();
    let mut disk = disk(1, &[(SEGMENT, bytes)]);
    let path = format!("t-0/{SEGMENT}");
    disk.damage.push(Damage { path, from, to: from + 1, word: "bit_rot" });
    checker.before_start(&disk);
    tell(&mut checker, Observation::LogOpened { partition: t(), start: Offset(0), end: Offset(end), clean: false });
    claim(checker.finish(&RunEnd::default()))
}

#[test]
fn a_damaged_log_is_owed_up_to_its_damage() {
    let parts = [batch(0, 3, 1, 7), batch(3, 2, 1, 8), batch(5, 1, 1, 9)];
    let second = parts[0].len() as u64;
    let claim = "a recovered log is not the longest valid prefix of what its disk held";
    // The base offset of the second batch, which no CRC covers: it reads as offsets 259 and 260, and nothing can follow.
    let mut rotten = parts.concat();
    rotten[parts[0].len() + 6] ^= 1;
    let read = reader::logs(&disk(1, &[(SEGMENT, rotten.clone())]).files);
    assert_eq!(read[0].end, Offset(261));
    for end in [3, 6, 261] {
        assert_eq!(damaged(rotten.clone(), second + 6, end), None, "{end}: it is not said what is read again");
    }
    assert_eq!(damaged(rotten, second + 6, 2).as_deref(), Some(claim), "what lies before it is owed");
    // A record.
    let mut rotten = parts.concat();
    rotten[parts[0].len() + 61] ^= 1;
    assert_eq!(damaged(rotten.clone(), second + 61, 3), None);
    assert_eq!(damaged(rotten, second + 61, 0).as_deref(), Some(claim));
}

#[test]
fn nothing_is_known_of_a_log_that_is_spoilt_while_it_is_opened() {
    let story = |path: &str| {
        let mut checker = RecoverySound::default();
        checker.before_start(&disk(1, &[(SEGMENT, [batch(0, 3, 1, 7), batch(3, 2, 1, 8)].concat())]));
        let (fault, path) = ("misdirected_write".to_owned(), path.to_owned());
        tell(&mut checker, Observation::DiskFault { fault, path, error: false });
        tell(&mut checker, Observation::LogOpened { partition: t(), start: Offset(0), end: Offset(3), clean: false });
        claim(checker.finish(&RunEnd::default()))
    };
    assert_eq!(story("t-0/00000000000000000000.log").as_deref(), Some("no disk was read"));
    assert_eq!(story("recovery-point-offset-checkpoint").as_deref(), Some("no disk was read"));
    let claim = "a recovered log is not the longest valid prefix of what its disk held";
    assert_eq!(story("t-1/00000000000000000000.log").as_deref(), Some(claim), "of another log");
}

fn end(disks: Vec<HostDisk>) -> Option<String> {
    claim(RecoverySound::default().finish(&RunEnd { disks, ..RunEnd::default() }))
}

#[test]
fn at_the_end_disks_are_whole_and_replicas_equal() {
    let (a, b, c) = (batch(0, 3, 1, 7), batch(3, 2, 1, 8), batch(5, 1, 2, 9));
    let all = [a.clone(), b.clone(), c.clone()].concat();
    assert_eq!(end(Vec::new()).as_deref(), Some("no disk was read"));
    let behind = [a.clone(), b].concat();
    assert_eq!(end(vec![disk(1, &[(SEGMENT, all.clone())]), disk(2, &[(SEGMENT, behind)])]), None);

    let other = [a.clone(), batch(3, 2, 1, 80), c.clone()].concat();
    let differ = "two replicas differ before a batch that both hold";
    assert_eq!(end(vec![disk(1, &[(SEGMENT, all.clone())]), disk(2, &[(SEGMENT, other)])]).as_deref(), Some(differ));
    let gap = [a.clone(), c].concat();
    assert_eq!(
        end(vec![disk(1, &[(SEGMENT, gap.clone())]), disk(2, &[(SEGMENT, all.clone())])]).as_deref(),
        Some(differ)
    );
    // A tail of another epoch, not yet cut, is no contradiction.
    let tail = [a, batch(3, 9, 0, 1)].concat();
    let stray = "a log holds bytes behind its last valid batch at the end";
    assert_eq!(end(vec![disk(1, &[(SEGMENT, tail)])]).as_deref(), Some(stray), "an epoch below the one before");

    let mut zeros = all;
    zeros.extend([0; 9]);
    assert_eq!(end(vec![disk(1, &[(SEGMENT, zeros)])]).as_deref(), Some(stray));
}

#[test]
fn an_index_entry_that_names_no_batch_is_found() {
    let first = [batch(0, 3, 1, 7), batch(3, 2, 1, 8)].concat();
    let with = |entry: [u8; 8]| {
        let mut index = entry.to_vec();
        index.extend([0; 16]);
        let files = [
            (SEGMENT, first.clone()),
            ("00000000000000000000.index", index),
            ("00000000000000000005.log", batch(5, 1, 1, 9)),
        ];
        end(vec![disk(1, &files)])
    };
    assert_eq!(with([0, 0, 0, 4, 0, 0, 0, 62]), None);
    let wrong = "an index does not answer as a scan of its segment does";
    assert_eq!(with([0, 0, 0, 4, 0, 0, 0, 61]).as_deref(), Some(wrong));
    assert_eq!(with([0, 0, 0, 3, 0, 0, 0, 62]).as_deref(), Some(wrong));
}

#[test]
fn the_reader_finds_batches_across_pieces_and_passes_over_other_directories() {
    let bytes = [batch(0, 3, 1, 7), batch(3, 2, 4, 8)].concat();
    let pieces: Chunks = bytes.chunks(7).map(bytes::Bytes::copy_from_slice).collect();
    let name = |dir: &str| format!("{dir}/{SEGMENT}");
    let files = [(name("d/a-b-3"), pieces), (name("t-0.0123-delete"), Chunks::new())].into();
    let logs = reader::logs(&files);
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].partition, TopicPartition::new("a-b", 3));
    assert_eq!((logs[0].end, logs[0].batches.len()), (Offset(5), 2));
    assert_eq!(logs[0].batches[1].epoch, LeaderEpoch(4));
}

#[test]
fn a_log_begins_with_its_first_segment_or_where_the_checkpoint_says() {
    let opened = |checkpoint: Option<&str>, start: i64| {
        let mut checker = RecoverySound::default();
        let mut disk = disk(1, &[("00000000000000000003.log", batch(3, 2, 1, 8))]);
        if let Some(text) = checkpoint {
            let path = "log-start-offset-checkpoint".to_owned();
            disk.files.insert(path, Chunks::from(text.as_bytes().to_vec()));
        }
        checker.before_start(&disk);
        tell(
            &mut checker,
            Observation::LogOpened { partition: t(), start: Offset(start), end: Offset(5), clean: true },
        );
        claim(checker.finish(&RunEnd::default()))
    };
    let wrong = Some("a log does not begin where its disk says");
    assert_eq!(opened(None, 3), None);
    assert_eq!(opened(None, 4).as_deref(), wrong);
    assert_eq!(opened(Some("0\n2\nother 0 4\nt 0 4\n"), 4), None);
    assert_eq!(opened(Some("0\n1\nt 0 4\n"), 3).as_deref(), wrong);
    assert_eq!(opened(Some("0\n1\nt 0 1\n"), 3), None, "its segments below are gone");
    assert_eq!(opened(Some("0\n1\nt 1 4\n"), 3), None, "another partition's");
}

#[test]
fn a_time_index_names_the_first_batch_that_is_so_new() {
    let timed = |base: i64, newest: i64| {
        let mut bytes = batch(base, 1, 1, 7);
        bytes[35..43].copy_from_slice(&newest.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    let entries = |entries: &[(i64, u32)]| {
        let bytes = |(time, offset): &(i64, u32)| [&time.to_be_bytes()[..], &offset.to_be_bytes()].concat();
        let index: Vec<u8> = entries.iter().flat_map(bytes).collect();
        let first = [timed(0, 50), timed(1, 70), timed(2, 70), timed(3, 60)].concat();
        end(vec![disk(
            1,
            &[(SEGMENT, first), ("00000000000000000000.timeindex", index), ("00000000000000000004.log", timed(4, 1))],
        )])
    };
    let wrong = Some("an index does not answer as a scan of its segment does");
    assert_eq!(entries(&[]), None, "it may be in the writing");
    assert_eq!(entries(&[(50, 0), (70, 1)]), None);
    assert_eq!(entries(&[(70, 2)]).as_deref(), wrong, "not the first");
    assert_eq!(entries(&[(60, 3)]).as_deref(), wrong, "a newer one was before");
    assert_eq!(entries(&[(70, 1), (50, 0)]).as_deref(), wrong, "it does not rise");
    assert_eq!(entries(&[(71, 1)]).as_deref(), wrong);
}
