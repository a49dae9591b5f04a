//! What a saturated run needs in memory: 200,000 records of 1 KiB on three replicas, which must be held once.
//!
//! Not a criterion bench: one run, then the process's peak. Fails above [`MIB_MAX`].

mod load;

/// The goal: 256 MiB for 195 MiB of records.
const MIB_MAX: u64 = 256;

#[expect(clippy::disallowed_methods, reason = "a bench may ask the system what it cost")]
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it there");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is there");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

#[expect(clippy::disallowed_macros, reason = "a bench says its result on its output")]
fn main() {
    let before = peak_mib();
    let events = load::produce(64, 1, 200_000);
    let peak = peak_mib();
    println!("200,000 records of 1 KiB, three replicas: peak {peak} MiB (before: {before} MiB), {events} events");
    assert!(peak <= MIB_MAX, "peak memory {peak} MiB is above {MIB_MAX} MiB");
}
