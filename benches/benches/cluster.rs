//! What a simulated cluster costs, in CPU time: three nodes, each broker and controller, and producers that wait for
//! acks=all before they send the next record of 1 KiB. One iteration is a whole run, the cluster's start included; the
//! throughput is in acknowledged requests.

mod cpu;
mod load;

use cpu::CpuTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use load::produce;

fn cluster(criterion: &mut Criterion<CpuTime>) {
    const N: u64 = 20_000;
    let mut group = criterion.benchmark_group("cluster");
    group.sample_size(10);
    group.throughput(Throughput::Elements(N));
    for (producers, partitions) in [(1, 1), (16, 1), (64, 1), (64, 100)] {
        group.bench_function(format!("acks=all/{producers} producers, {partitions} partitions"), |bench| {
            bench.iter_batched(|| (), |()| produce(producers, partitions, N), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = cluster
}
criterion_main!(benches);
