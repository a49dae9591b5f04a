//! What a power loss may take, and what it may not.
#![cfg(madsim)]

mod support;

use std::future::Future;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Chunks, Disk, DiskOp, Env, OpenMode};
use world::{DiskFault, DiskProfile, Drive, HostId, Lose, PowerLoss, ProcessFault, Stop, World};

fn chunks(bytes: &[u8]) -> Chunks {
    Bytes::copy_from_slice(bytes).into()
}

/// A disk, then a power loss, then the disk again.
async fn lose(world: &World, host: HostId, lose: Lose, torn_write: Option<u64>) -> (Env, Disk, PowerLoss) {
    let fault = world.apply(ProcessFault::PowerOff { hosts: vec![host], lose, torn_write });
    let env = world.start(host);
    let disk = env.disk("data");
    let (of, loss) = world.fault(fault).losses.pop().expect("one host");
    assert_eq!(of, host);
    (env, disk, loss)
}

fn on_a_disk<F: Future>(seed: u64, body: impl FnOnce(World, HostId, Disk) -> F) -> F::Output {
    World::run(seed, |world| async move {
        let host = world.add_host("a");
        let disk = world.start(host).disk("data");
        body(world, host, disk).await
    })
}

#[test]
fn synced_data_survives_and_unsynced_data_is_lost_and_counted() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.append(&file, chunks(b"synced ")).await.expect("an append");
        disk.sync(&file).await.expect("a sync");
        disk.sync_dir("").await.expect("a sync");
        disk.append(&file, chunks(b"not")).await.expect("an append");
        let (_env, disk, loss) = lose(&world, host, Lose::Unsynced, None).await;
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"synced ");
        let [file] = &loss.files[..] else { panic!("one file lost: {loss:?}") };
        assert_eq!((&*file.device, &*file.path), ("data", "log"));
        assert_eq!((file.durable_len, file.written_len, file.kept_len), (7, 10, Some(7)));
        assert_eq!((file.first_lost, file.pages, file.pages_old), (Some(7), 1, 1));
    });
}

#[test]
fn a_kill_keeps_the_page_cache_even_of_names_that_were_never_synced() {
    on_a_disk(1, |world, host, disk| async move {
        disk.create_dir("logs/orders-0").await.expect("a directory");
        let file = disk.open("logs/orders-0/log", OpenMode::Create).await.expect("a file");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        world.apply(ProcessFault::Kill(host));
        let disk = world.start(host).disk("data");
        assert_eq!(disk.read_all("logs/orders-0/log").await.expect("the file").to_vec(), b"abc");
    });
}

#[test]
fn a_name_that_was_not_synced_is_gone_with_its_file() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        disk.sync(&file).await.expect("a sync of the file says nothing about its name");
        let (_env, disk, loss) = lose(&world, host, Lose::Unsynced, None).await;
        assert_eq!(disk.read_all("log").await.expect_err("gone").kind(), ErrorKind::NotFound);
        assert_eq!(loss.names, ["log"]);
    });
}

#[test]
fn a_removal_and_a_rename_that_were_not_synced_are_undone() {
    on_a_disk(1, |world, host, disk| async move {
        for name in ["old", "target", "moved"] {
            let file = disk.open(name, OpenMode::Create).await.expect("a file");
            disk.append(&file, chunks(name.as_bytes())).await.expect("an append");
            disk.sync(&file).await.expect("a sync");
        }
        disk.sync_dir("").await.expect("a sync");
        disk.remove("old").await.expect("it is there");
        disk.rename("moved", "target").await.expect("a rename");
        assert_eq!(disk.list("").await.expect("names").len(), 1);
        let (_env, disk, _) = lose(&world, host, Lose::Unsynced, None).await;
        for name in ["old", "target", "moved"] {
            assert_eq!(disk.read_all(name).await.expect("back again").to_vec(), name.as_bytes());
        }
    });
}

#[test]
fn a_truncation_that_was_not_synced_is_undone() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.append(&file, chunks(b"0123456789")).await.expect("an append");
        disk.sync(&file).await.expect("a sync");
        disk.sync_dir("").await.expect("a sync");
        disk.set_len(&file, 4).await.expect("a cut");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"0123abc");
        let (_env, disk, loss) = lose(&world, host, Lose::Unsynced, None).await;
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"0123456789");
        assert_eq!(loss.files[0].first_lost, Some(4));
    });
}

#[test]
fn a_sync_covers_what_was_submitted_before_it_and_nothing_after() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.sync_dir("").await.expect("a sync");
        disk.submit(DiskOp::Append { file: file.clone(), data: chunks(b"before ") }, drop);
        let (sender, synced) = tokio::sync::oneshot::channel();
        disk.submit(DiskOp::Sync { file: file.clone() }, |result| drop(sender.send(result)));
        disk.submit(DiskOp::Append { file: file.clone(), data: chunks(b"after") }, drop);
        synced.await.expect("told").expect("a sync");
        let (_env, disk, _) = lose(&world, host, Lose::Unsynced, None).await;
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"before ");
    });
}

#[test]
fn a_sync_that_had_not_completed_makes_nothing_durable() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.sync_dir("").await.expect("a sync");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        disk.submit(DiskOp::Sync { file: file.clone() }, |_| panic!("its process has ended"));
        world.sleep(Duration::from_micros(99)).await;
        let (_env, disk, _) = lose(&world, host, Lose::Unsynced, None).await;
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"");
        world.sleep(Duration::from_secs(1)).await;
    });
}

#[test]
fn with_nothing_to_lose_everything_stays() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        let (_env, disk, loss) = lose(&world, host, Lose::Nothing, None).await;
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"abc");
        assert!(loss.is_empty(), "{loss:?}");
    });
}

#[test]
fn a_torn_append_keeps_a_beginning_in_whole_units() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..60 {
        kept.insert(on_a_disk(seed, |world, host, disk| async move {
            let file = disk.open("log", OpenMode::Create).await.expect("a file");
            disk.append(&file, chunks(&[b'a'; 700])).await.expect("an append");
            disk.sync(&file).await.expect("a sync");
            disk.sync_dir("").await.expect("a sync");
            disk.append(&file, chunks(&[b'b'; 1000])).await.expect("an append");
            let (_env, disk, loss) = lose(&world, host, Lose::Unsynced, Some(512)).await;
            let read = disk.read_all("log").await.expect("the file").to_vec();
            assert!(read.starts_with(&[b'a'; 700]), "what was synced stays");
            assert!(read[700..].iter().all(|byte| *byte == b'b'));
            assert_eq!(loss.files[0].kept_len, Some(read.len() as u64));
            assert_eq!(loss.files[0].first_lost, (read.len() < 1700).then_some(read.len() as u64));
            read.len()
        }));
    }
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [700, 1024, 1536, 1700]);
}

/// Overwrites and appends, then a power loss: every byte is one of those that were ever at its place since the sync.
#[test]
fn after_a_mixed_loss_each_page_is_old_new_or_torn_and_synced_pages_are_whole() {
    let (mut old, mut torn, mut new, mut shorter) = (0, 0, 0, 0);
    for seed in 0..40 {
        let loss = on_a_disk(seed, |world, host, disk| async move {
            let file = disk.open("data", OpenMode::Create).await.expect("a file");
            disk.append(&file, chunks(&[1; 6 * 4096])).await.expect("an append");
            disk.sync(&file).await.expect("a sync");
            disk.sync_dir("").await.expect("a sync");
            disk.write_at(&file, 4096, chunks(&[2; 2 * 4096])).await.expect("a write");
            disk.append(&file, chunks(&[3; 3 * 4096])).await.expect("an append");
            let (_env, disk, loss) = lose(&world, host, Lose::Mix, Some(512)).await;
            let read = disk.read_all("data").await.expect("the file").to_vec();
            for (at, byte) in read.iter().enumerate() {
                let possible: &[u8] = match at / 4096 {
                    1 | 2 => &[1, 2],
                    6.. => &[0, 3],
                    _ => &[1],
                };
                assert!(possible.contains(byte), "seed {seed}: {byte} at {at}");
            }
            assert!(read.len() >= 6 * 4096);
            for sector in read.chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
            loss
        });
        let file = &loss.files[0];
        old += file.pages_old;
        torn += file.pages_torn;
        new += file.pages - file.pages_old - file.pages_torn;
        shorter += u64::from(file.kept_len < Some(file.written_len));
    }
    assert!(old > 20 && torn > 20 && new > 20 && shorter > 5, "{old} {torn} {new} {shorter}");
}

/// The pattern of every small file that must not be lost: temporary file, sync, rename, sync of the directory.
#[test]
fn a_file_replaced_in_good_order_is_old_or_new_wherever_the_power_goes() {
    let (mut olds, mut news) = (0, 0);
    for seed in 0..120 {
        let content = on_a_disk(seed, |world, host, disk| async move {
            disk.replace("state", chunks(b"old")).await.expect("a file");
            let replacing = disk.replace("state", chunks(b"new"));
            let _ = world.timeout(Duration::from_micros(2 * seed), replacing).await;
            let (_env, disk, _) =
                lose(&world, host, if seed % 2 == 0 { Lose::Mix } else { Lose::Unsynced }, Some(512)).await;
            disk.read_all("state").await.expect("it is always there").to_vec()
        });
        match &content[..] {
            b"old" => olds += 1,
            b"new" => news += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(olds > 10 && news > 5, "{olds} {news}");
}

#[test]
fn the_same_seed_loses_the_same() {
    let run = |seed| {
        on_a_disk(seed, |world, host, disk| async move {
            let file = disk.open("data", OpenMode::Create).await.expect("a file");
            disk.append(&file, chunks(&[1; 50_000])).await.expect("an append");
            disk.sync_dir("").await.expect("a sync");
            lose(&world, host, Lose::Mix, Some(512)).await.2
        })
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn disk_operations_take_as_long_as_the_disk_says_and_end_in_order() {
    on_a_disk(1, |world, host, disk| async move {
        let profile = DiskProfile {
            read: Duration::from_micros(70),
            write: Duration::from_micros(20),
            sync: Duration::from_millis(3),
        };
        world.set_disk(host, "data", profile);
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        let start = world.now();
        disk.append(&file, chunks(b"abc")).await.expect("an append");
        assert_eq!(world.now().since(start), profile.write);
        let (sender, order) = std::sync::mpsc::channel();
        for (name, op) in [
            ("sync", DiskOp::Sync { file: file.clone() }),
            ("append", DiskOp::Append { file: file.clone(), data: chunks(b"d") }),
            ("len", DiskOp::Len { file: file.clone() }),
        ] {
            let (sender, world) = (sender.clone(), world.clone());
            disk.submit(op, move |_| sender.send((name, world.now())).expect("the test waits"));
        }
        let start = world.now();
        world.sleep(Duration::from_millis(10)).await;
        let at = start + profile.sync;
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [("sync", at), ("append", at), ("len", at)]);

        let slow = world.apply(DiskFault::Slow {
            disk: Drive { host, device: Some("data".into()) },
            read: None,
            write: None,
            fsync: Some(Duration::from_millis(5)),
            x: 40,
        });
        let start = world.now();
        disk.sync(&file).await.expect("a sync");
        assert_eq!(world.now().since(start), Duration::from_millis(200));
        assert_eq!(world.fault(slow).hits, 1);
        world.heal(slow);
        let start = world.now();
        disk.sync(&file).await.expect("a sync");
        assert_eq!(world.now().since(start), profile.sync);
    });
}

#[test]
fn a_disk_that_is_first_used_during_a_fault_is_slow_too() {
    on_a_disk(1, |world, host, _| async move {
        world.apply(DiskFault::Slow { disk: Drive::all_of(host), read: None, write: None, fsync: None, x: 10 });
        world.stop(host, Stop::Exit);
        let disk = world.start(host).disk("another");
        let start = world.now();
        disk.open("log", OpenMode::Create).await.expect("a file");
        assert_eq!(world.now().since(start), Duration::from_micros(50));
    });
}

#[test]
fn a_full_disk_refuses_the_append_and_leaves_the_file_as_it_was() {
    on_a_disk(1, |world, host, disk| async move {
        let file = disk.open("log", OpenMode::Create).await.expect("a file");
        world.set_capacity(host, "data", Some(10));
        disk.append(&file, chunks(b"12345678")).await.expect("it fits");
        let error = disk.append(&file, chunks(b"abc")).await.expect_err("it does not fit");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(disk.read_all("log").await.expect("the file").to_vec(), b"12345678");
        disk.set_len(&file, 2).await.expect("a cut makes room");
        disk.append(&file, chunks(b"abc")).await.expect("it fits");
    });
}

#[test]
fn files_are_seen_from_outside_as_a_process_would_read_them() {
    on_a_disk(1, |world, host, disk| async move {
        disk.create_dir("orders-0").await.expect("a directory");
        let file = disk.open("orders-0/log", OpenMode::Create).await.expect("a file");
        disk.write_at(&file, 2, chunks(b"abc")).await.expect("a write");
        let files = world.files(host, "data");
        assert_eq!(files["orders-0/log"].to_vec(), b"\0\0abc");
        assert_eq!(world.devices(host).iter().map(|name| &**name).collect::<Vec<_>>(), ["data"]);
    });
}
