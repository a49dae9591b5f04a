//! The program from outside: what it prints, what it leaves behind, how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn simctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.current_dir(repository()).env("NO_COLOR", "1").args(arguments);
    command.output().expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file of a run but what differs from run to run.
#[expect(clippy::disallowed_methods, reason = "a test of what was written")]
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = Vec::new();
    for name in [
        "result.json",
        "summary.txt",
        "scenario.resolved.toml",
        "timeseries.csv",
        "phases.csv",
        "faults.csv",
        "slo.csv",
        "plots/throughput.svg",
        "plots/latency.svg",
    ] {
        list.push((
            name.to_owned(),
            std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")),
        ));
    }
    list
}

#[test]
fn the_same_seed_gives_the_same_trace_and_files_in_two_processes_traced_or_not() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let run = |out: &Path, more: &[&str]| {
        let mut arguments = vec!["run", "scenarios/echo.toml", "--seed", "7", "--out", out.to_str().unwrap()];
        arguments.extend(more);
        simctl(&arguments)
    };
    let one = run(folders[0].path(), &[]);
    let two = run(folders[1].path(), &["--trace"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    let (one, two) = (text(&one.stdout), text(&two.stdout));
    assert_eq!(one.lines().last(), two.lines().last(), "the command that repeats the run names its hash");
    assert!(one.lines().last().unwrap().starts_with("again  simctl run scenarios/echo.toml --seed 7 --expect trace:"));
    assert_eq!(files(&folders[0].path().join("echo/7")), files(&folders[1].path().join("echo/7")));
    assert!(folders[1].path().join("echo/7/trace.jsonl").exists());
    for line in one.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn another_trace_than_expected_ends_with_5() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    let run = simctl(&["run", "scenarios/echo.toml", "--seed", "7", "--expect", "trace:00000000", "-q", "--out", out]);
    assert_eq!(run.status.code(), Some(5), "{}", text(&run.stdout));
}

#[test]
fn several_seeds_are_several_processes_and_one_summary() {
    let out = tempfile::tempdir().unwrap();
    let run = simctl(&["run", "scenarios/echo.toml", "--seed", "1..4", "--out", out.path().to_str().unwrap()]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{said}{}", text(&run.stderr));
    assert!(said.starts_with("3 runs: 3 passed, 0 failed"), "{said}");
    assert!(said.ends_with("again  simctl run scenarios/echo.toml --seed 1..4\n"), "{said}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of what was written")]
fn a_sweep_counts_verdicts_faults_and_branches_and_keeps_a_row_a_seed() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let run = simctl(&[
        "sweep",
        "scenarios/echo.toml",
        "--seeds",
        "1..5",
        "--double-run",
        "50%",
        "--jobs",
        "2",
        "--out",
        folder,
    ]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{said}{}", text(&run.stderr));
    assert!(
        said.starts_with("sweep echo  seeds 1..5  2 at a time  50% of the seeds twice\n4 runs: 4 passed"),
        "{said}"
    );
    for words in ["(2 run twice)", "kill 4", "never began: ", "seeds per core-minute", "\nPASS\n"] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    assert!(said.ends_with("again  simctl sweep scenarios/echo.toml --seeds 1..5 --double-run 50%\n"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100 || line.starts_with("table")), "{said}");
    let table = std::fs::read_to_string(out.path().join("echo/sweep.csv")).unwrap();
    let seeds: Vec<&str> = table.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(seeds, ["1", "2", "3", "4"], "in order, whatever ended first");
    assert!(table.starts_with("seed,verdict,signature,trace_hash,"), "{table}");
    assert!(!out.path().join("echo/1").exists(), "a run that passes leaves no folder");
}

#[test]
fn a_seed_that_fails_is_told_with_its_command_and_has_its_report() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let run = simctl(&[
        "sweep",
        "scenarios/echo.toml",
        "--seeds",
        "1..9",
        "--max-fail",
        "1",
        "--jobs",
        "1",
        "--out",
        folder,
        "--set",
        "expect.slo=[\"echo.p99 in steady <= 1us\"]",
    ]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(3), "{said}{}", text(&run.stderr));
    assert!(said.contains("\n    repro  simctl run scenarios/echo.toml --seed 1 --set "), "{said}");
    // What runs already when the first has failed comes to its end.
    assert!(said.contains("that did not pass (--max-fail); "), "{said}");
    assert!(!said.contains("8 of 8 done"), "{said}");
    assert!(out.path().join("echo/1/summary.txt").exists(), "{said}");
    let other = tempfile::tempdir().unwrap();
    let mut sweep = vec!["sweep", "scenarios/echo.toml", "--seeds", "1..2", "--double-run", "100%"];
    sweep.extend(["--set", "expect.slo=[\"echo.p99 in steady <= 1us\"]", "--out", other.path().to_str().unwrap()]);
    let twice = simctl(&sweep);
    let said = text(&twice.stdout);
    assert_eq!(twice.status.code(), Some(3), "{said}{}", text(&twice.stderr));
    assert!(said.contains("0 nondeterministic (1 run twice)"), "{said}");
    assert!(other.path().join("echo/1/summary.txt").exists(), "one that ran twice has its report too: {said}");
}

#[test]
fn a_run_that_does_not_end_is_killed_and_told() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let run = simctl(&["sweep", "scenarios/echo.toml", "--seeds", "1..2", "--timeout", "1ns", "--out", folder]);
    let said = text(&run.stdout);
    // A run that ends before anybody looks has not hung: nothing here depends on the machine's speed.
    assert!(matches!(run.status.code(), Some(0 | 70)), "{said}{}", text(&run.stderr));
    if run.status.code() == Some(70) {
        assert!(said.contains("HUNG") && said.contains("killed") && said.contains("repro  simctl run"), "{said}");
    }
}

#[test]
fn a_run_twice_says_that_it_is_the_same() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let run = simctl(&["run", "scenarios/echo.toml", "--seed", "7", "--twice", "-q", "--out", folder]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{said}{}", text(&run.stderr));
    assert!(said.contains("twice  the second run, in another process, has the same trace"), "{said}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test writes what it lets the program read")]
fn what_cannot_be_run_ends_with_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("core.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0, 1]).unwrap();
    let misspelt = folder.path().join("misspelt.toml");
    std::fs::write(&misspelt, "schema = 1\nname = \"x\"\nabuot = \"y\"\n").unwrap();
    let files = ["nosuch.toml", "scenarios", binary.to_str().unwrap(), misspelt.to_str().unwrap()];
    let words = ["there is no such file", "this is a folder", "not UTF-8", "did you mean `about`?"];
    for (file, words) in files.iter().zip(words) {
        let run = simctl(&["run", file]);
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(said.contains("nothing was run"), "{said}");
    }
    for arguments in [&["run"][..], &["run", "x", "--seed", "y"], &["run", "x", "--plant", "y"], &["walk"]] {
        assert_eq!(simctl(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn every_scenario_in_the_repository_is_good() {
    let list = simctl(&["list"]);
    let said = text(&list.stdout);
    assert!(list.stderr.is_empty(), "{}", text(&list.stderr));
    for line in said.lines().filter(|line| line.starts_with("scenarios/")) {
        let file = line.split_whitespace().next().unwrap();
        let check = simctl(&["check", file]);
        assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
        assert!(check.stderr.is_empty(), "{file} has warnings:\n{}", text(&check.stderr));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of what was written")]
fn an_explained_plan_is_a_scenario_and_the_same_run() {
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("plan.toml");
    let (out, plan) = (out.path().to_str().unwrap(), plan.to_str().unwrap());
    // A chaos of echoes: hosts are killed and links cut, and no broker is needed.
    let mut sets = vec!["--set", "chaos.window=\"storm\"", "--set", "chaos.every=\"exp(1s)\""];
    sets.extend(["--set", "chaos.menu={ cut = 1, kill = 1, pause = 1 }", "--set", "chaos.swarm=false"]);
    sets.extend(["--set", "swarm.hardware.link.latency=\"log(100us..5ms)\""]);
    let with = |arguments: &[&'static str], more: &[&str]| {
        let mut all: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        all.extend(sets.iter().map(|text| (*text).to_owned()));
        all.extend(more.iter().map(|text| (*text).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        simctl(&all)
    };
    let shown = with(&["explain", "scenarios/echo.toml", "--seed", "7"], &[]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.starts_with("# The plan of seed 7: what `simctl run scenarios/echo.toml --seed 7 --set"), "{shown}");
    assert!(shown.contains("within_budget = true, label = \"chaos-01-"), "{shown}");
    let written = with(&["explain", "scenarios/echo.toml", "--seed", "7"], &["-o", plan]);
    assert!(text(&written.stdout).ends_with(&format!("simctl run {plan} --seed 7\n")), "{}", text(&written.stdout));
    let resolved = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(resolved(&std::fs::read_to_string(plan).unwrap()), resolved(&shown));

    let hash = |run: &Output| text(&run.stdout).split_once("--expect trace:").expect("a hash").1.trim().to_owned();
    let drawn = with(&["run", "scenarios/echo.toml", "--seed", "7"], &["--out", out]);
    let planned = simctl(&["run", plan, "--seed", "7", "--out", out]);
    assert_eq!(hash(&drawn)[..8], hash(&planned)[..8], "{}{}", text(&drawn.stdout), text(&planned.stdout));
    let over = simctl(&["explain", plan, "-o", plan]);
    assert_eq!(over.status.code(), Some(2));
    assert!(text(&over.stderr).contains("that is the scenario itself"), "{}", text(&over.stderr));
}

#[test]
fn help_teaches_by_examples() {
    for command in ["run", "sweep", "check", "explain", "list", ""] {
        let arguments: &[&str] = if command.is_empty() { &["--help"] } else { &[command, "--help"] };
        let said = text(&simctl(arguments).stdout);
        assert!(said.contains("Examples:\n  simctl "), "{said}");
        for line in said.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "waits for another process")]
fn an_interrupted_sweep_says_how_far_it_came_and_ends_with_130() {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.current_dir(repository()).args(["run", "scenarios/echo.toml", "--seed", "1..100000", "--out"]);
    command.arg(out.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("the program was built");
    while !out.path().join("echo").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("interrupted after ") && stdout.contains(" of 99999 runs"), "{stdout}");
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_the_run_and_no_match_is_no_success() {
    let run = simctl(&["run", "scenarios/echo.toml", "--seed", "1", "--out", "Cargo.toml/runs"]);
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("reports cannot go to"), "{}", text(&run.stderr));
    assert_eq!(simctl(&["list", "--tag", "nosuch"]).status.code(), Some(4));
}
