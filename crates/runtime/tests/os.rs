//! What is true of the operating system's arm only; what both arms owe is in the conformance suite of `world`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use runtime::{Address, Chunks, DiskOp, Env, OpenMode, os};

fn run<T>(main: impl AsyncFnOnce(Env) -> T) -> T {
    let root = tempfile::tempdir().expect("a temporary directory");
    os::run(root.path(), Some(1), |env| async move { main(env).await })
}

fn chunks(parts: &[&'static str]) -> Chunks {
    parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
}

#[test]
fn streams_of_random_numbers_differ_by_purpose_and_repeat_by_seed() {
    let draw = |seed, purpose: &str| {
        let purpose = purpose.to_owned();
        os::run(std::env::temp_dir(), seed, |env| async move { env.rng(&purpose).next_u64() })
    };
    assert_eq!(draw(Some(7), "election"), draw(Some(7), "election"));
    assert_ne!(draw(Some(7), "election"), draw(Some(7), "fetch"));
    assert_ne!(draw(Some(7), "election"), draw(Some(8), "election"));
    assert_ne!(draw(None, "election"), draw(None, "election"));
}

#[test]
fn a_panic_ends_its_task_and_is_kept_and_told() {
    run(async |env: Env| {
        let Env::Os(process) = &env else { unreachable!("this arm") };
        let told = Arc::new(Mutex::new(Vec::new()));
        process.on_panic({
            let told = Arc::clone(&told);
            move |panic| told.lock().unwrap().push(panic.message.clone())
        });
        assert_eq!(env.spawn("doomed", async { panic!("disk on fire") }).join().await, None::<()>);
        while told.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*told.lock().unwrap(), ["disk on fire"]);
        assert_eq!(process.panics()[0].task, "doomed");
        assert_eq!(env.spawn("other", async { 1 }).join().await, Some(1));
    });
}

#[test]
fn operations_on_one_file_complete_in_order_though_syncs_leave_the_thread() {
    run(async |env: Env| {
        let disk = env.disk("data");
        let file = disk.open("log", OpenMode::Create).await.unwrap();
        let (post, mut inbox) = runtime::inbox(1);
        for index in 0..200 {
            let op = match index % 4 {
                0 | 2 => DiskOp::Append { file: file.clone(), data: chunks(&["ab", "cd"]) },
                1 => DiskOp::Sync { file: file.clone() },
                _ => DiskOp::ReadAt { file: file.clone(), at: 0, len: 1 << 20 },
            };
            let post = post.clone();
            disk.submit(op, move |result| post.post((index, format!("{:?}", result.unwrap()))));
        }
        for index in 0..200_usize {
            let (done, output) = inbox.recv().await.unwrap();
            assert_eq!(done, index);
            if index % 4 == 3 {
                assert!(output.contains(&format!("{} bytes", (index / 4 + 1) * 8)), "{output} at {index}");
            }
        }
    });
}

#[test]
fn operations_on_names_complete_in_order_though_some_leave_the_thread() {
    run(async |env: Env| {
        let disk = env.disk("data");
        for round in 0..20 {
            let (post, mut inbox) = runtime::inbox(1);
            let path = || "topic-0".to_owned();
            let ops = [
                DiskOp::CreateDir { path: path() },
                DiskOp::SyncDir { path: String::new() },
                DiskOp::Open { path: format!("topic-0/{round}"), mode: OpenMode::CreateNew },
                DiskOp::RemoveDir { path: path() },
                DiskOp::CreateDir { path: path() },
                DiskOp::List { path: path() },
            ];
            let count = ops.len();
            for (index, op) in ops.into_iter().enumerate() {
                let post = post.clone();
                disk.submit(op, move |result| post.post((index, format!("{:?}", result.unwrap()))));
            }
            for index in 0..count {
                let (done, output) = inbox.recv().await.unwrap();
                assert_eq!(done, index);
                assert!(index + 1 < count || output == "Entries([])", "{output}");
            }
        }
    });
}

#[test]
fn appends_from_many_threads_never_overlap() {
    run(async |env: Env| {
        let disk = env.disk("data");
        let file = disk.open("log", OpenMode::Create).await.unwrap();
        let tasks: Vec<_> = (0..8_u8)
            .map(|writer| {
                let (disk, file) = (disk.clone(), file.clone());
                env.spawn("writer", async move {
                    let mut places = Vec::new();
                    for _ in 0..200 {
                        places.push(disk.append(&file, vec![writer; 8].into()).await.unwrap());
                    }
                    places
                })
            })
            .collect();
        let bytes = |chunks: Chunks| chunks.to_vec();
        let mut all = Vec::new();
        for (writer, task) in (0_u8..).zip(tasks) {
            for at in task.join().await.unwrap() {
                assert_eq!(bytes(disk.read_at(&file, at, 8).await.unwrap()), [writer; 8]);
                all.push(at);
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..1_600).map(|index| index * 8).collect::<Vec<u64>>());
    });
}

#[test]
fn more_pieces_than_one_write_takes_arrive_whole_on_disk_and_on_the_wire() {
    run(async |env: Env| {
        let pieces: Chunks = (0..1_000_u32).map(|index| Bytes::from(index.to_be_bytes().to_vec())).collect();
        let disk = env.disk("");
        let file = disk.open("pieces", OpenMode::CreateNew).await.unwrap();
        disk.append(&file, pieces.clone()).await.unwrap();
        assert_eq!(disk.read_all("pieces").await.unwrap().to_vec(), pieces.to_vec());

        let mut listener = env.listen(Address::new("127.0.0.1", 0)).await.unwrap();
        let mut client = env.connect(listener.local()).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        client.writer.write_chunks(pieces.clone()).await.unwrap();
        client.writer.shutdown();
        let mut read = VecDeque::new();
        while server.reader.read(&mut read, 1_000).await.unwrap() > 0 {}
        assert_eq!(read.into_iter().collect::<Chunks>().to_vec(), pieces.to_vec());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_as_such() {
    let root = tempfile::tempdir().expect("a temporary directory");
    std::os::unix::fs::symlink("/dev/full", root.path().join("full")).unwrap();
    os::run(root.path(), None, |env| async move {
        let disk = env.disk("");
        let file = disk.open("full", OpenMode::Existing).await.unwrap();
        assert_eq!(disk.append(&file, chunks(&["x"])).await.unwrap_err().kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn no_path_leaves_its_disk() {
    run(async |env: Env| {
        let disk = env.disk("data");
        for path in ["../out", "/etc/passwd", "a/../../b"] {
            assert_eq!(disk.open(path, OpenMode::Create).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_time_that_never_comes_is_waited_for_without_harm() {
    run(async |env: Env| {
        let never = env.sleep_until(protocol::Monotonic::NEVER);
        assert!(env.timeout(Duration::from_millis(1), never).await.is_err());
    });
}
