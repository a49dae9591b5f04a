//! A small cluster under a small load, and the numbers that these tests look at.

use harness::report::{Build, RunResult, Verdict};
use harness::run::{Options, run};
use harness::scenario;

/// A run that has ended.
pub struct Run(pub RunResult);

/// Three combined nodes, one partition on all of them, 100 records a second with acks=all: 2 s of warm-up (not measured),
/// `calm` of 2 s, then `storm`, which begins at 4 s and lasts `storm_s`, then 3 s of `after`.
pub fn small(faults: &[&str], reach: &[&str], storm_s: u32, seed: u64) -> Run {
    with_config("", faults, reach, storm_s, seed)
}

/// The same with three controllers of their own, c1 to c3.
pub fn with_controllers(faults: &[&str], reach: &[&str], storm_s: u32, seed: u64) -> Run {
    run_text(&text(&Small { cluster: "controllers = 3", ..Small::default() }, faults, reach, storm_s), seed)
}

/// The same with more configuration of the brokers: `, "name" = value`.
pub fn with_config(config: &str, faults: &[&str], reach: &[&str], storm_s: u32, seed: u64) -> Run {
    run_text(&text(&Small { config, ..Small::default() }, faults, reach, storm_s), seed)
}

/// The same with three controllers of their own, a budget, and logs that are synced every 20 records, so that there is
/// something at rest.
pub fn with_synced_logs(keep: &str, faults: &[&str], reach: &[&str], storm_s: u32, seed: u64) -> Run {
    let keep = format!("keep = \"{keep}\"");
    let topic = "config = { \"flush.messages\" = 20 }";
    let small = Small { cluster: "controllers = 3", topic, expect: &keep, ..Small::default() };
    run_text(&text(&small, faults, reach, storm_s), seed)
}

/// The small cluster at whose end a core is healed first, with more lines of `[cluster]` and `[expect]`; of any verdict.
pub fn core_first(cluster: &str, min_isr: u32, expect: &str, faults: &[&str], seed: u64) -> Run {
    let topic = format!("config = {{ \"min.insync.replicas\" = {min_isr}, \"flush.messages\" = 20 }}");
    let small = Small { cluster, topic: &topic, expect, timeline: "core_first = true", ..Small::default() };
    any_verdict(&text(&small, faults, &[], 4), seed)
}

/// Lines more than every small scenario has.
#[derive(Default)]
struct Small<'a> {
    config: &'a str,
    cluster: &'a str,
    topic: &'a str,
    timeline: &'a str,
    expect: &'a str,
}

fn text(small: &Small<'_>, faults: &[&str], reach: &[&str], storm_s: u32) -> String {
    let Small { config, cluster, topic, timeline, expect } = small;
    let faults: Vec<String> = faults.iter().map(|line| format!("  {{ {line} }},\n")).collect();
    let reach: Vec<String> = reach.iter().map(|line| format!("\"{line}\"")).collect();
    format!(
        r#"schema = 1
name = "small"
about = "One fault on a small cluster."

[cluster]
brokers = 3
{cluster}
timers = "fast"
config = {{ "min.insync.replicas" = 2{config} }}

[hardware]
link = {{ latency = "200us" }}
disk = {{ fsync = "1ms" }}

[topics.orders]
partitions = 1
replicas = 3
{topic}

[load.writers]
produce = "orders"
rate = "100/s"
record = "128B"
acks = "all"

[load.readers]
consume = "orders"

[timeline]
{timeline}
phases = [
  {{ name = "warmup", for = "2s", measure = false }},
  {{ name = "calm", for = "2s" }},
  {{ name = "storm", for = "{storm_s}s" }},
  {{ name = "after", for = "3s" }},
  {{ name = "drain", for = "20s", pause = ["writers"], until = "lag == 0" }},
]
faults = [
{}]

[expect]
safety = "all"
{expect}
reach = [{}]
"#,
        faults.concat(),
        reach.join(", ")
    )
}

/// A run that must not pass, for a reason that is nobody's fault.
pub fn inconclusive(faults: &[&str], storm_s: u32, seed: u64) -> Run {
    let run = any_verdict(&text(&Small::default(), faults, &[], storm_s), seed);
    assert!(run.0.verdict == Verdict::Inconclusive, "{:?} {:?}", run.0.verdict, run.0.why);
    run
}

fn run_text(text: &str, seed: u64) -> Run {
    let run = any_verdict(text, seed);
    assert!(run.0.verdict == Verdict::Pass, "{:?} {:?} {:?}\n{text}", run.0.verdict, run.0.why, run.0.reached);
    run
}

fn any_verdict(text: &str, seed: u64) -> Run {
    let reading = scenario::read("small.toml", text.as_bytes(), &[])
        .unwrap_or_else(|refused| panic!("{}\n{text}", refused.problems.render(&refused.source, false)));
    let options = Options {
        path: "small.toml".to_owned(),
        sets: Vec::new(),
        seed,
        trace: None,
        build: Build { version: String::new(), commit: String::new(), profile: "test".to_owned() },
        record: None,
    };
    let outcome = run(&reading.scenario, &options, &mut |_| ()).unwrap_or_else(|why| panic!("{why}\n{text}"));
    Run(outcome.result)
}

#[allow(dead_code, reason = "each family looks at some of it")]
impl Run {
    /// How often the fault of this label did something.
    pub fn hits(&self, label: &str) -> u64 {
        self.0.measured.faults.iter().filter(|row| row.span.label == label).map(|row| row.span.hits).sum()
    }

    /// The slowest acknowledgement of records that were to be sent in this phase, in ms.
    pub fn slowest_ms(&self, phase: &str) -> u64 {
        self.produce(phase).map(|row| row.latency.max_us / 1_000).max().unwrap_or(0)
    }

    /// The median of the same, in microseconds.
    pub fn median_us(&self, phase: &str) -> u64 {
        self.produce(phase).map(|row| row.latency.p50_us).max().unwrap_or(0)
    }

    /// Records that were refused or have no answer.
    pub fn errors(&self, phase: &str) -> u64 {
        self.produce(phase).map(|row| row.failed + row.unresolved).sum()
    }

    /// For how long the partition acknowledged nothing after the fault of this label began, in ms.
    pub fn unavailable_ms(&self, label: &str) -> u64 {
        let rows = self.0.measured.faults.iter().filter(|row| row.span.label == label);
        rows.map(|row| row.unavailable_ns / 1_000_000).max().unwrap_or(0)
    }

    /// How often this was reached.
    pub fn reached(&self, what: &str) -> u64 {
        self.0.reached.iter().filter(|row| row.what == what).map(|row| row.times).sum()
    }

    fn produce(&self, phase: &str) -> impl Iterator<Item = &harness::measure::PhaseRow> {
        self.0.measured.phases.iter().filter(move |row| row.phase == phase && row.load == "writers")
    }
}
