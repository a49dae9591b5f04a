//! How many events the bare world carries out in a CPU second.
//!
//! Not a criterion bench, so that `scripts/figures` can read it: one line for each load, the median of some runs.

mod bare;
mod cpu;

use cpu::CpuTime;
use world::Counters;

const RUNS: usize = 5;
const N: u64 = 200_000;

/// Events in a CPU second, the median of [`RUNS`] runs.
fn rate(load: impl Fn() -> Counters) -> f64 {
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let before = CpuTime::now();
            let events = load().events;
            events as f64 * 1e9 / (CpuTime::now() - before) as f64
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

#[expect(clippy::disallowed_macros, reason = "a bench says its result on its output")]
fn main() {
    println!("{:>9.0} events/CPU-s  sleeps of 100 tasks", rate(|| bare::sleeps(100, N)));
    println!("{:>9.0} events/CPU-s  round trips of 1 KiB on 64 connections", rate(|| bare::round_trips(64, N)));
    println!("{:>9.0} events/CPU-s  appends of 1 KiB, one after the other", rate(|| bare::appends(N)));
}
