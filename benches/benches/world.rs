//! What the bare world costs, in CPU time: timers, round trips of streams, disk operations. One iteration is one whole
//! world, so that its making and its end are counted too; the throughput is in sleeps, round trips or appends.

mod bare;
mod cpu;

use std::hint::black_box;

use bare::{appends, round_trips, sleeps};
use cpu::CpuTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

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
