//! Whatever a disk holds, a log opens or says why it does not; what it then reads is whole batches or an error.

mod support;

use protocol::{LeaderEpoch, Offset};
use storage::{LogConfig, OpenHow};
use support::Random;
use support::batch;
use support::disk::MemDisk;
use support::driver::{DIR, Driver};

/// A log of a few segments, closed.
fn log(disk: &MemDisk, random: &mut Random, config: &LogConfig) {
    let mut driver = Driver::open(disk, random, config, OpenHow::UNKNOWN);
    for epoch in 0..3 {
        driver.log.assign_epoch(LeaderEpoch(epoch));
        for _ in 0..8 {
            let base = driver.log.next_offset().0;
            let appended = batch(base, epoch, 1 + random.below(3) as usize, random.below(90) as usize, random.next());
            driver.log.append_as_leader(LeaderEpoch(epoch), vec![appended], support::NOW).expect("an open log");
            driver.settle(random);
        }
    }
    driver.log.close();
    driver.settle(random);
}

/// Changes bits, zeroes or cuts some files.
fn spoil(disk: &MemDisk, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let names = disk.names();
        let name = random.pick(&names).clone();
        let mut bytes = disk.get(&name).expect("it was just listed");
        if bytes.is_empty() {
            continue;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                let end = (at + random.below(64) as usize).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => bytes.truncate(at),
        }
        disk.put(&name, &bytes);
    }
}

/// A log was cut, began a new segment, and died before the index of the one below was written: its last entry pointed behind
/// the end, where no batch contradicts it, and the log did not open any more. Found by the crash property.
#[test]
fn an_index_entry_behind_the_end_of_its_segment_is_not_trusted() {
    let (disk, mut random) = (MemDisk::default(), Random::new(1));
    let first = [batch(0, 0, 2, 10, 1), batch(2, 0, 2, 10, 2)].map(|batch| batch.bytes.to_vec()).concat();
    let mut index = [0, 0, 0, 3].to_vec();
    index.extend((first.len() as u32 + 40).to_be_bytes());
    disk.put(&format!("{DIR}/00000000000000000000.log"), &first);
    disk.put(&format!("{DIR}/00000000000000000000.index"), &index);
    disk.put(&format!("{DIR}/00000000000000000004.log"), &[]);
    for clean in [false, true] {
        let how = OpenHow { clean, recovery_point: Offset(4), log_start: Offset(0) };
        let driver = Driver::open(&disk, &mut random, &LogConfig::default(), how);
        assert_eq!((driver.log.first_segment(), driver.log.log_end_offset()), (Offset(0), Offset(4)));
        disk.put(&format!("{DIR}/00000000000000000000.index"), &index);
    }
}

/// A voter whose metadata log had such a batch said that its log ends at 16,777,217, and cut it to where its leader's ended.
/// Found by `swarm.toml` seed 1747.
#[test]
fn a_log_that_has_every_offset_ends_before_a_leap() {
    let mut bytes = [batch(0, 0, 2, 10, 1), batch(2, 0, 2, 10, 2)].map(|batch| batch.bytes.to_vec());
    for (spoilt, end) in [(0, 0), (1, 2)] {
        bytes[spoilt][4] ^= 1;
        for contiguous in [true, false] {
            let (disk, mut random) = (MemDisk::default(), Random::new(1));
            disk.put(&format!("{DIR}/00000000000000000000.log"), &bytes.concat());
            let config = LogConfig { contiguous, ..LogConfig::default() };
            let driver = Driver::open(&disk, &mut random, &config, OpenHow::UNKNOWN);
            let leapt = Offset((1 << 24) + 2 * (1 + spoilt as i64));
            assert_eq!(driver.log.log_end_offset(), if contiguous { Offset(end) } else { leapt }, "batch {spoilt}");
        }
        bytes[spoilt][4] ^= 1;
    }
}

#[test]
fn no_content_of_a_disk_makes_a_log_panic() {
    let (mut opened, mut refused, mut unreadable) = (0, 0, 0);
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let config = LogConfig {
            segment_bytes: *random.pick(&[400, 900]),
            index_interval_bytes: *random.pick(&[0, 100]),
            segment_index_bytes: 4096,
            flush_messages: None,
            tail_bytes: 0,
            contiguous: random.chance(2),
            ..LogConfig::default()
        };
        let disk = MemDisk::default();
        log(&disk, &mut random, &config);
        spoil(&disk, &mut random);
        let how = OpenHow {
            clean: random.chance(2),
            recovery_point: Offset(*random.pick(&[0, 10, 30, 1_000])),
            log_start: Offset(*random.pick(&[0, 0, 7, 1_000])),
        };
        let mut driver = match Driver::try_open(&disk, &mut random, &config, how) {
            Ok(driver) => driver,
            Err(error) => {
                assert!(error.to_string().contains(DIR), "{error}");
                refused += 1;
                continue;
            }
        };
        opened += 1;
        let mut at = driver.log.log_start_offset();
        while at < driver.log.log_end_offset() {
            match driver.read(&mut random, at, Offset(i64::MAX), 300, true) {
                Ok(data) if data.end > at => at = data.end,
                Ok(_) => break,
                Err(_) => {
                    unreadable += 1;
                    break;
                }
            }
        }
        if random.chance(2) {
            let to = driver.log.log_end_offset().0 - random.below(20) as i64;
            driver.log.truncate(Offset(to.max(0)));
            driver.settle(&mut random);
        }
        if driver.log.available().is_ok() {
            let (base, epoch) = (driver.log.next_offset().0, LeaderEpoch(9));
            driver.log.assign_epoch(epoch);
            driver.log.append_as_leader(epoch, vec![batch(base, 9, 1, 20, seed)], support::NOW).expect("an open log");
            driver.settle(&mut random);
        }
    }
    assert!(
        opened > 500 && refused > 20 && unreadable > 5,
        "{opened} opened, {refused} refused, {unreadable} unreadable"
    );
}
