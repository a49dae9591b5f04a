//! Each planted bug is found by the checker of the promise that it breaks, in the scenario that is directed at it; and the
//! same seed passes without it. A process has one plant, so the program is run.

use std::path::Path;
use std::process::{Command, Output};

fn run(scenario: &str, seed: &str, plant: Option<&str>) -> Output {
    let out = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).env("NO_COLOR", "1");
    command.args(["run", &format!("scenarios/{scenario}.toml"), "--seed", seed, "--out"]).arg(out.path());
    command.args(plant.iter().flat_map(|plant| ["--plant", *plant]));
    command.output().expect("the program was built")
}

/// The checks that the run says are broken.
fn broken(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| line.trim_start().strip_prefix("broken").map(|rest| rest.trim().to_owned());
    text.lines().filter_map(line).collect()
}

fn finds(plant: &str, scenario: &str, seed: &str, check: &str) {
    let wrong = run(scenario, seed, Some(plant));
    let found = broken(&wrong);
    assert_eq!(wrong.status.code(), Some(1), "{scenario} with {plant}: {}", String::from_utf8_lossy(&wrong.stdout));
    assert!(found.iter().any(|line| line.starts_with(check)), "{scenario} with {plant} breaks {found:?}, not {check}");
    let right = run(scenario, seed, None);
    assert_eq!(right.status.code(), Some(0), "{scenario}: {}", String::from_utf8_lossy(&right.stdout));
}

#[test]
fn an_end_that_goes_back_is_found() {
    finds("latest_goes_back", "latest-never-back", "1", "latest-never-back");
}

#[test]
fn a_fenced_broker_in_the_isr_is_found() {
    finds("fenced_joins_isr", "fenced-fetcher", "1", "isr-sound");
}

#[test]
fn a_vote_that_is_forgotten_is_found() {
    finds("vote_not_persisted", "votes", "1", "one-quorum-leader");
}

#[test]
fn a_commit_below_the_own_epoch_is_found() {
    finds("hw_at_epoch_start", "votes", "2", "quorum-high-watermark");
}

#[test]
fn a_commit_that_is_not_durable_is_found() {
    finds("no_flush_before_fetch", "restart-as-leader", "1", "quorum-durable");
}

#[test]
fn a_recovery_that_believes_torn_pages_is_found() {
    finds("recovery_skips_crc", "power-loss", "1", "recovery-sound");
}
