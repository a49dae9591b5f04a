//! The world's own promises, apart from what the conformance suite shares with the operating system.
#![cfg(madsim)]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Address, Chunks, Env, OpenMode};
use world::{End, Stop, Time, World};

const MS: u64 = 1_000_000;

async fn read_all(connection: &mut runtime::Connection, len: usize) -> Vec<u8> {
    let (mut list, mut got) = (VecDeque::new(), 0);
    while got < len {
        let n = connection.reader.read(&mut list, len - got).await.expect("a read");
        if n == 0 {
            break;
        }
        got += n;
    }
    list.into_iter().collect::<Chunks>().to_vec()
}

async fn echo(env: Env, port: u16) {
    let mut listener = env.listen(Address::new("", port)).await.expect("a free port");
    loop {
        let mut connection = listener.accept().await.expect("a connection");
        env.spawn_detached("echo", async move {
            let mut list = VecDeque::new();
            while let Ok(n) = connection.reader.read(&mut list, 1 << 20).await {
                if n == 0 || connection.writer.write(&mut list).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn a_round_trip_takes_twice_the_latency_and_connecting_as_long() {
    World::run(1, |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (client, server) = (world.start(a), world.start(b));
        server.spawn_detached("server", echo(server.clone(), 9092));
        world.sleep(Duration::from_millis(1)).await;
        let task = client.spawn("client", {
            let (client, world) = (client.clone(), world.clone());
            async move {
                let mut connection = client.connect(Address::new("b", 9092)).await.expect("a connection");
                assert_eq!(world.now(), Time(MS + 200_000));
                for round in 1..=3 {
                    let list = Bytes::from_static(b"hello");
                    connection.writer.write_chunks(list.into()).await.expect("room");
                    assert_eq!(read_all(&mut connection, 5).await, b"hello");
                    assert_eq!(world.now(), Time(MS + 200_000 + round * 200_000));
                }
            }
        });
        task.join().await.expect("the client ends");
    });
}

#[test]
fn a_file_keeps_what_was_written_when_its_process_is_killed() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let task = env.spawn("writer", {
            let env = env.clone();
            async move {
                let disk = env.disk("data");
                let file = disk.open("log", OpenMode::Create).await.expect("a file");
                disk.append(&file, Bytes::from_static(b"abc").into()).await.expect("an append");
            }
        });
        task.join().await.expect("the writer ends");
        world.stop(host, Stop::Kill);
        assert_eq!(world.ended(host).await, End::Killed);
        let env = world.start(host);
        let read = env.disk("data").read_all("log").await.expect("the file");
        assert_eq!(read.to_vec(), b"abc");
    });
}

#[test]
fn a_panic_is_the_end_of_its_process_and_not_of_the_run() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        env.spawn_detached("bad", {
            let env = env.clone();
            async move {
                env.sleep(Duration::from_millis(5)).await;
                panic!("disk on fire");
            }
        });
        let End::Panicked { task, message } = world.ended(host).await else { unreachable!("it panics") };
        assert_eq!((task, world.now()), ("bad", Time(5 * MS)));
        assert!(message.starts_with("disk on fire at "), "{message}");
    });
}

#[test]
fn nothing_left_to_happen_is_a_verdict() {
    let stalled = World::run_with(1, world::Config::default(), |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        env.sleep(Duration::from_secs(3)).await;
        std::future::pending::<()>().await;
    });
    assert_eq!(stalled.unwrap_err().at, Time(3_000 * MS));
}
