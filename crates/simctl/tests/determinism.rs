//! Runs twice: planted non-determinism on the brokers' real path is caught, and the first event that differs is named.

use std::path::Path;
use std::process::{Command, Output};

fn simctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.env("NO_COLOR", "1").args(arguments).output().expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Three brokers with a shard each and twelve partitions, far enough apart that a Fetch gives several of them at once.
#[expect(clippy::disallowed_methods, reason = "a test writes what it lets the program read")]
fn scenario(folder: &Path) -> String {
    let file = folder.join("small.toml");
    let lines = [
        "schema = 1",
        "name = 'small'",
        "about = 'A small cluster under a small load.'",
        "cluster = { brokers = 3, timers = 'fast', config = { 'min.insync.replicas' = 2, 'wavetank.shards' = 1 } }",
        "hardware = { profile = 'ideal', link = { latency = '2ms' } }",
        "topics.orders = { partitions = 12, replicas = 3 }",
        "load.writers = { produce = 'orders', clients = 8, rate = '2k/s', record = '100B', acks = 'all' }",
        "timeline = { phases = [{ name = 'steady', for = '2s' }] }",
        "expect = { safety = 'all' }",
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Runs one seed twice with a plant; returns what was said.
fn twice(plant: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario(folder.path());
    let out = folder.path().to_str().unwrap();
    let run = simctl(&["run", &file, "--seed", "7", "--twice", "-q", "--plant", plant, "--out", out]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(5), "{said}{}", text(&run.stderr));
    said
}

/// What every such story has: the claim in the first line, events that both runs have, and both sides.
fn assert_names_the_event(said: &str) {
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("FAIL   small  seed 7  two runs part "), "{said}");
    assert!(first.contains("event "), "{said}");
    for label in ["  both    ", "  first   ", "  second  "] {
        assert!(said.lines().any(|line| line.starts_with(label)), "no {label}\n{said}");
    }
    // The events before are the same, and have numbers that rise.
    let numbers: Vec<u64> = said
        .lines()
        .skip_while(|line| !line.starts_with("  both"))
        .take_while(|line| !line.starts_with("  first"))
        .filter_map(|line| line[9..].trim_start().split("  ").next()?.replace(' ', "").parse().ok())
        .collect();
    assert!(!numbers.is_empty() && numbers.is_sorted(), "{numbers:?}\n{said}");
}

#[test]
fn an_order_by_address_is_caught_and_its_first_event_is_named() {
    assert_names_the_event(&twice("order_by_address"));
}

#[test]
fn a_hasher_that_no_seed_decides_is_caught_and_its_first_event_is_named() {
    assert_names_the_event(&twice("default_hasher"));
}

#[test]
fn entropy_from_the_kernel_is_caught_and_its_first_event_is_named() {
    assert_names_the_event(&twice("stray_entropy"));
}

#[test]
fn a_sweep_that_runs_seeds_twice_catches_it_too_and_without_it_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario(folder.path());
    let out = folder.path().to_str().unwrap();
    let sweep = |more: &[&str]| {
        let mut arguments = vec!["sweep", &file, "--seeds", "1..5", "--double-run", "50%", "--out", out];
        arguments.extend(more);
        simctl(&arguments)
    };
    let clean = sweep(&[]);
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stdout));
    assert!(text(&clean.stdout).contains("0 nondeterministic (2 run twice)"), "{}", text(&clean.stdout));
    let planted = sweep(&["--plant", "stray_entropy"]);
    let said = text(&planted.stdout);
    assert_eq!(planted.status.code(), Some(5), "{said}");
    assert!(said.contains("2 nondeterministic (2 run twice)"), "{said}");
    assert!(said.contains("two runs part "), "{said}");
    assert!(said.contains("--seed 2 --plant stray_entropy --twice\n"), "{said}");
}
