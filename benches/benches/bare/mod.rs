//! Loads of a world without a cluster: timers, round trips of streams, disk operations. Each gives what the world did.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Address, DiskOp, Env, OpenMode};
use world::{Counters, World};

/// `tasks` tasks sleep until `sleeps` sleeps are over.
pub fn sleeps(tasks: u64, sleeps: u64) -> Counters {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let mut all = Vec::new();
        for index in 0..tasks {
            let sleeper = env.clone();
            all.push(env.spawn("sleeper", async move {
                for round in 0..sleeps / tasks {
                    sleeper.sleep(Duration::from_nanos(1_000 + 7 * index + round % 3)).await;
                }
            }));
        }
        for task in all {
            task.join().await;
        }
        world.counters()
    })
}

async fn echo(env: Env) {
    let mut listener = env.listen(Address::new("", 9092)).await.expect("a free port");
    while let Ok(mut connection) = listener.accept().await {
        env.spawn_detached("echo", async move {
            let mut list = VecDeque::new();
            while let Ok(1..) = connection.reader.read(&mut list, 1 << 20).await {
                if connection.writer.write(&mut list).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// `connections` connections make `rounds` round trips of 1 KiB between them.
pub fn round_trips(connections: u64, rounds: u64) -> Counters {
    World::run(1, |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (client, server) = (world.start(a), world.start(b));
        server.spawn_detached("server", echo(server.clone()));
        world.sleep(Duration::from_millis(1)).await;
        let mut all = Vec::new();
        for _ in 0..connections {
            let env = client.clone();
            all.push(client.spawn("client", async move {
                let mut connection = env.connect(Address::new("b", 9092)).await.expect("it listens");
                let bytes = Bytes::from(vec![0; 1024]);
                let (mut list, mut into) = (VecDeque::new(), VecDeque::new());
                for _ in 0..rounds / connections {
                    list.push_back(bytes.clone());
                    connection.writer.write(&mut list).await.expect("room");
                    connection.reader.read(&mut into, 1024).await.expect("an answer");
                    into.clear();
                }
            }));
        }
        for task in all {
            task.join().await;
        }
        world.counters()
    })
}

/// A task appends 1 KiB and waits for the completion, again and again.
pub fn appends(count: u64) -> Counters {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let task = env.spawn("appender", {
            let env = env.clone();
            async move {
                let disk = env.disk("data");
                let file = disk.open("log", OpenMode::Create).await.expect("a file");
                let bytes = Bytes::from(vec![0; 1024]);
                for _ in 0..count {
                    let op = DiskOp::Append { file: file.clone(), data: bytes.clone().into() };
                    disk.run(op).await.expect("an append");
                }
            }
        });
        task.join().await;
        world.counters()
    })
}
