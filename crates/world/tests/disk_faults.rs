//! What faults do to a disk, operation by operation, and how they count.
#![cfg(madsim)]

mod support;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use runtime::{Chunks, Disk, DiskOp, DiskOutput, Observation, OpenFile, OpenMode};
use world::{DiskFault, Drive, FaultId, Glob, HostId, Lose, ProcessFault, Which, World};

fn chunks(bytes: &[u8]) -> Chunks {
    Bytes::copy_from_slice(bytes).into()
}

fn on_a_disk<F: Future>(seed: u64, body: impl FnOnce(World, HostId, Disk) -> F) -> F::Output {
    World::run(seed, |world| async move {
        let host = world.add_host("a");
        let disk = world.start(host).disk("data");
        body(world, host, disk).await
    })
}

fn on(host: HostId) -> Drive {
    Drive::all_of(host)
}

/// A file called `log` whose name is durable.
async fn log(disk: &Disk) -> OpenFile {
    let file = disk.open("log", OpenMode::Create).await.expect("a file");
    disk.sync_dir("").await.expect("a sync");
    file
}

fn hits(world: &World, fault: FaultId) -> u64 {
    world.fault(fault).hits
}

fn power_off(world: &World, host: HostId, lose: Lose) -> Disk {
    world.apply(ProcessFault::PowerOff { hosts: vec![host], lose, torn_write: None });
    world.start(host).disk("data")
}

fn eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(5)
}

async fn content(disk: &Disk, path: &str) -> Vec<u8> {
    disk.read_all(path).await.expect("the file").to_vec()
}

#[test]
fn a_stalled_disk_completes_nothing_and_then_everything_in_order() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        let (sender, done) = std::sync::mpsc::channel();
        let submit = |name: &'static str, op: DiskOp| {
            let (sender, world) = (sender.clone(), world.clone());
            disk.submit(op, move |_| sender.send((name, world.now())).expect("the test waits"));
        };
        submit("under way", DiskOp::Append { file: file.clone(), data: chunks(b"abc") });
        submit("sync", DiskOp::Sync { file: file.clone() });
        let stall = world.apply(DiskFault::Stall { disk: on(host) });
        submit("read", DiskOp::ReadAt { file: file.clone(), at: 0, len: 3 });
        world.sleep(Duration::from_secs(20)).await;
        assert_eq!(done.try_iter().count(), 0);
        assert_eq!(
            world.durable_files(host, "data")["log"].len(),
            0,
            "a sync that does not complete makes nothing durable"
        );
        world.heal(stall);
        let healed = world.now();
        world.sleep(Duration::from_millis(1)).await;
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [("under way", healed), ("sync", healed), ("read", healed)]);
        assert_eq!(hits(&world, stall), 3);
        assert_eq!(world.durable_files(host, "data")["log"].to_vec(), b"abc");
    });
}

#[test]
fn a_read_error_is_eio_for_the_reads_it_names() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        let fault = world.apply(DiskFault::ReadError { disk: on(host), which: Which::Nth(2) });
        assert_eq!(disk.read_at(&file, 0, 3).await.expect("the first").to_vec(), b"abc");
        assert!(eio(&disk.read_at(&file, 0, 3).await.expect_err("the second")));
        assert_eq!(disk.read_at(&file, 0, 3).await.expect("the third").to_vec(), b"abc");
        assert_eq!(hits(&world, fault), 1);
        let share = world.apply(DiskFault::ReadError { disk: on(host), which: Which::Share(500_000) });
        let mut failed = 0;
        for _ in 0..200 {
            failed += u64::from(disk.read_at(&file, 0, 3).await.is_err());
        }
        assert_eq!(hits(&world, share), failed);
        assert!((60..140).contains(&failed), "{failed} of 200");
        world.heal(share);
        disk.read_at(&file, 0, 3).await.expect("over");
    });
}

#[test]
fn a_write_error_changes_nothing_and_the_world_says_so() {
    on_a_disk(1, |world, host, disk| async move {
        let said = Arc::new(Mutex::new(Vec::new()));
        world.on_event(Box::new({
            let said = Arc::clone(&said);
            move |event| {
                if let Observation::DiskFault { fault, path, error } = &event.what {
                    said.lock().expect("one thread").push((event.host, fault.clone(), path.clone(), *error));
                }
            }
        }));
        let file = log(&disk).await;
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        let fault = world.apply(DiskFault::WriteError { disk: on(host), which: Which::Share(1_000_000) });
        assert!(eio(&disk.append(&file, chunks(b"def")).await.expect_err("an append")));
        assert!(eio(&disk.write_at(&file, 0, chunks(b"x")).await.expect_err("a write")));
        assert!(eio(&disk.set_len(&file, 1).await.expect_err("a cut")));
        assert_eq!(content(&disk, "log").await, b"abc");
        assert_eq!(hits(&world, fault), 3);
        let one = (Some(host), "write_error".to_owned(), "log".to_owned(), true);
        assert_eq!(*said.lock().expect("one thread"), [one.clone(), one.clone(), one]);
    });
}

/// What a failed sync leaves: in the page cache, and after a power loss.
fn after_a_failed_sync(seed: u64, then: &'static [u8]) -> (Vec<u8>, Vec<u8>) {
    on_a_disk(seed, move |world, host, disk| async move {
        let file = log(&disk).await;
        disk.append(&file, chunks(b"old ")).await.expect("an append");
        disk.sync(&file).await.expect("a sync");
        disk.append(&file, chunks(b"new ")).await.expect("an append");
        let fault = world.apply(DiskFault::SyncError { disk: on(host), which: Which::Nth(1) });
        assert!(eio(&disk.sync(&file).await.expect_err("EIO")));
        assert_eq!(hits(&world, fault), 1);
        if !then.is_empty() {
            disk.append(&file, chunks(then)).await.expect("an append");
        }
        disk.sync(&file).await.expect("the error was returned once");
        let cached = content(&disk, "log").await;
        let disk = power_off(&world, host, Lose::Unsynced);
        (cached, content(&disk, "log").await)
    })
}

#[test]
fn a_failed_sync_is_told_once_and_its_pages_are_on_no_disk() {
    let (mut kept, mut evicted) = (0, 0);
    for seed in 1..40 {
        let (cached, after) = after_a_failed_sync(seed, b"");
        assert_eq!(after, b"old ", "the next sync wrote nothing");
        match &cached[..] {
            b"old new " => kept += 1,
            b"old \0\0\0\0" => evicted += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(kept > 5 && evicted > 5, "{kept} {evicted}");
}

#[test]
fn a_page_that_is_written_again_after_a_failed_sync_is_written_whole() {
    for seed in 1..20 {
        let (cached, after) = after_a_failed_sync(seed, b"more");
        assert_eq!(after, cached);
        assert!(cached.ends_with(b"more"), "{cached:?}");
    }
}

#[test]
fn what_is_written_again_after_a_failed_sync_becomes_durable() {
    for seed in 1..20 {
        on_a_disk(seed, |world, host, disk| async move {
            let file = log(&disk).await;
            disk.append(&file, chunks(&[7; 20_000])).await.expect("an append");
            world.apply(DiskFault::SyncError { disk: on(host), which: Which::Nth(1) });
            disk.sync(&file).await.expect_err("EIO");
            let cached = disk.read_at(&file, 0, 20_000).await.expect("a read");
            disk.write_at(&file, 0, cached.clone()).await.expect("a write");
            disk.sync(&file).await.expect("a sync");
            let disk = power_off(&world, host, Lose::Unsynced);
            assert_eq!(content(&disk, "log").await, cached.to_vec());
        });
    }
}

#[test]
fn a_lying_sync_makes_nothing_durable_until_one_does_not_lie() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        let fault = world.apply(DiskFault::SyncLie { disk: on(host) });
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        disk.sync(&file).await.expect("so it says");
        disk.open("other", OpenMode::Create).await.expect("a file");
        disk.sync_dir("").await.expect("so it says");
        assert_eq!(hits(&world, fault), 2);
        assert_eq!(world.durable_files(host, "data").into_keys().collect::<Vec<_>>(), ["log"]);
        let disk = power_off(&world, host, Lose::Unsynced);
        assert_eq!(content(&disk, "log").await, b"");
        let lost: Vec<_> = world.damage(host, "data").into_iter().map(|damage| (damage.path, damage.from)).collect();
        assert_eq!(lost, [("log".to_owned(), 0), ("other".to_owned(), 0)], "what was called durable, and was not");
        let file = disk.open("log", OpenMode::Existing).await.expect("the file");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        disk.sync(&file).await.expect("so it says");
        world.heal(fault);
        disk.sync(&file).await.expect("a sync");
        let disk = power_off(&world, host, Lose::Unsynced);
        assert_eq!(content(&disk, "log").await, b"abc");
        assert_eq!(world.damage(host, "data").len(), 1, "what was written again is sound");
    });
}

#[test]
fn a_disk_that_fills_up_leaves_files_as_they_were_and_has_room_when_something_goes() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        disk.append(&file, chunks(b"12345")).await.expect("an append");
        let full = world.apply(DiskFault::Full { disk: on(host), after: 4 });
        disk.append(&file, chunks(b"678")).await.expect("it fits");
        for _ in 0..2 {
            let error = disk.append(&file, chunks(b"ab")).await.expect_err("it does not fit");
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::StorageFull, Some(28)));
        }
        assert_eq!(content(&disk, "log").await, b"12345678");
        disk.write_at(&file, 0, chunks(b"x")).await.expect("no more bytes than before");
        disk.append(&file, chunks(b"9")).await.expect("the last one");
        assert_eq!(disk.open("other", OpenMode::Create).await.expect_err("no room").kind(), ErrorKind::StorageFull);
        assert_eq!(hits(&world, full), 3);
        disk.set_len(&file, 2).await.expect("a cut makes room");
        disk.append(&file, chunks(b"ab")).await.expect("it fits");
        world.heal(full);
        disk.append(&file, chunks(&[7; 100])).await.expect("it fits");
    });
}

#[test]
fn a_short_write_takes_a_beginning_and_gives_the_rest_back() {
    on_a_disk(3, |world, host, disk| async move {
        let file = log(&disk).await;
        let fault = world.apply(DiskFault::ShortWrite { disk: on(host), which: Which::Nth(1) });
        let output =
            disk.run(DiskOp::Append { file: file.clone(), data: chunks(b"0123456789") }).await.expect("a write");
        let DiskOutput::Short { at: 0, len, rest } = output else { panic!("{output:?}") };
        assert!((1..10).contains(&len), "{len}");
        assert_eq!(rest.to_vec(), b"0123456789"[len as usize..]);
        assert_eq!(content(&disk, "log").await, b"0123456789"[..len as usize]);
        assert_eq!(hits(&world, fault), 1);
        world.apply(DiskFault::ShortWrite { disk: on(host), which: Which::Share(1_000_000) });
        disk.write_at(&file, len, rest).await.expect("goes on until all is written");
        assert_eq!(content(&disk, "log").await, b"0123456789");
        assert_eq!(disk.append(&file, chunks(b"ab")).await.expect("so does this"), 10);
        assert_eq!(content(&disk, "log").await, b"0123456789ab");
    });
}

#[test]
fn a_name_that_was_not_synced_is_lost_with_the_name_before() {
    on_a_disk(1, |world, host, disk| async move {
        for name in ["moved", "target", "source", "gone"] {
            let file = disk.open(name, OpenMode::Create).await.expect("a file");
            disk.append(&file, chunks(name.as_bytes())).await.expect("an append");
            disk.sync(&file).await.expect("a sync");
        }
        disk.sync_dir("").await.expect("a sync");
        let fault = world.apply(DiskFault::LostRename { disk: on(host) });
        disk.rename("moved", "elsewhere").await.expect("a rename");
        disk.rename("source", "target").await.expect("a rename");
        disk.remove("gone").await.expect("a removal");
        disk.create_dir("t").await.expect("a directory");
        disk.open("t/new", OpenMode::Create).await.expect("a file");
        disk.sync_dir("t").await.expect("the directory itself has no durable name");
        let disk = power_off(&world, host, Lose::Nothing);
        let left: Vec<_> = disk.list("").await.expect("names").into_iter().map(|entry| entry.name).collect();
        assert_eq!(left, ["target"]);
        assert_eq!(content(&disk, "target").await, b"target", "a name that was replaced means the old file");
        assert!(hits(&world, fault) >= 3);
        world.heal(fault);
    });
}

#[test]
fn rot_changes_one_bit_of_sectors_at_rest_in_the_files_named() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        disk.append(&file, chunks(&[0; 51_200])).await.expect("an append");
        disk.sync(&file).await.expect("a sync");
        disk.append(&file, chunks(&[0; 51_200])).await.expect("not at rest");
        let other = disk.open("other", OpenMode::Create).await.expect("a file");
        disk.append(&other, chunks(&[0; 5_120])).await.expect("an append");
        disk.sync(&other).await.expect("a sync");
        let fault = world.apply(DiskFault::BitRot { disk: on(host), files: Glob::new("lo?"), share: 200_000 });
        let rotten = content(&disk, "log").await;
        let changed: Vec<usize> = (0..rotten.len()).filter(|at| rotten[*at] != 0).collect();
        assert_eq!(changed.len() as u64, hits(&world, fault));
        assert!((8..40).contains(&changed.len()), "{} of 100 sectors", changed.len());
        assert!(changed.iter().all(|at| *at < 51_200 && rotten[*at].count_ones() == 1), "{changed:?}");
        assert!(content(&disk, "other").await.iter().all(|byte| *byte == 0));
        let told: Vec<_> = world.damage(host, "data").into_iter().map(|damage| damage.from as usize).collect();
        assert_eq!(told, changed);
        disk.write_at(&file, 0, rotten[..51_200].to_vec().into()).await.expect("a write");
        assert_eq!(world.damage(host, "data").len(), told.len(), "what is read and written again is as it was");
        disk.write_at(&file, 0, chunks(&[0; 51_200])).await.expect("a write");
        assert_eq!(world.damage(host, "data"), [], "what is written again is sound");
    });
}

#[test]
fn a_sector_of_a_misdirected_write_is_somewhere_else() {
    on_a_disk(1, |world, host, disk| async move {
        let victim = disk.open("victim", OpenMode::Create).await.expect("a file");
        disk.append(&victim, chunks(&[1; 20_480])).await.expect("an append");
        disk.sync(&victim).await.expect("a sync");
        let file = log(&disk).await;
        let fault = world.apply(DiskFault::MisdirectedWrite { disk: on(host), which: Which::Nth(1) });
        disk.append(&file, chunks(&[2; 2_048])).await.expect("nobody notices");
        let (log, victim) = (content(&disk, "log").await, content(&disk, "victim").await);
        assert_eq!(hits(&world, fault), 1);
        assert_eq!((log.len(), victim.len()), (2_048, 20_480));
        assert_eq!(log.iter().filter(|byte| **byte == 0).count(), 512, "where it should be is what was");
        let astray = victim.iter().filter(|byte| **byte == 2).count();
        assert!(astray == 512 || log.iter().filter(|byte| **byte == 2).count() == 1_536, "{astray}");
        assert_eq!(world.damage(host, "data").len(), 2);
    });
}

#[test]
fn a_zero_tail_keeps_the_length_and_not_the_bytes() {
    on_a_disk(1, |world, host, disk| async move {
        let file = log(&disk).await;
        disk.append(&file, chunks(b"synced ")).await.expect("an append");
        disk.sync(&file).await.expect("a sync");
        disk.append(&file, chunks(b"not")).await.expect("an append");
        disk.write_at(&file, 0, chunks(b"S")).await.expect("a write");
        let fault = world.apply(DiskFault::ZeroTail { disk: on(host) });
        let disk = power_off(&world, host, Lose::Unsynced);
        assert_eq!(content(&disk, "log").await, b"synced \0\0\0");
        assert_eq!(hits(&world, fault), 1);
    });
}

#[test]
fn one_fault_more_moves_no_other_faults_draws() {
    let run = |another: bool| {
        on_a_disk(9, move |world, host, disk| async move {
            let file = log(&disk).await;
            disk.append(&file, chunks(b"abc")).await.expect("an append");
            let share = Which::Share(300_000);
            if another {
                world.apply(DiskFault::ShortWrite { disk: on(host), which: share });
            }
            world.apply_as("reads".to_owned(), DiskFault::ReadError { disk: on(host), which: share }.into());
            let mut failed = Vec::new();
            for _ in 0..30 {
                failed.push(disk.read_at(&file, 0, 3).await.is_err());
                disk.append(&file, chunks(b"defgh")).await.expect("an append");
            }
            failed
        })
    };
    assert!(run(false).contains(&true));
    assert_eq!(run(false), run(true));
}
