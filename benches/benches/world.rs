//! What the bare world costs, in CPU time: timers, round trips of streams, disk operations. One iteration is one whole
//! world, so that its making and its end are counted too; the throughput is in sleeps, round trips or appends.

mod cpu;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use cpu::CpuTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use runtime::{Address, DiskOp, Env, OpenMode};
use world::World;

/// `tasks` tasks sleep until `sleeps` sleeps are over.
fn sleeps(tasks: u64, sleeps: u64) -> u64 {
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
        world.counters().events
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
fn round_trips(connections: u64, rounds: u64) -> u64 {
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
        world.counters().deliveries
    })
}

/// A task appends 1 KiB and waits for the completion, again and again.
fn appends(count: u64) -> u64 {
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
        world.counters().disk_ops
    })
}

fn world(criterion: &mut Criterion<CpuTime>) {
    const N: u64 = 100_000;
    let mut group = criterion.benchmark_group("world");
    group.sample_size(10);
    group.throughput(Throughput::Elements(N));
    for tasks in [1, 100] {
        group.bench_function(format!("sleeps/{tasks} tasks"), |bench| {
            bench.iter_batched(|| (), |()| black_box(sleeps(tasks, N)), BatchSize::PerIteration);
        });
    }
    for connections in [1, 64] {
        group.bench_function(format!("round trips/{connections} connections"), |bench| {
            bench.iter_batched(|| (), |()| black_box(round_trips(connections, N)), BatchSize::PerIteration);
        });
    }
    group.bench_function("disk appends", |bench| {
        bench.iter_batched(|| (), |()| black_box(appends(N)), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = world
}
criterion_main!(benches);
