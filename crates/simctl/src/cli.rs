//! What can be typed, with examples in every `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The program.
#[derive(Parser, Debug)]
#[command(
    name = "simctl",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("WAVETANK_COMMIT"), ")"),
    about = "Runs a Kafka-protocol cluster in a simulated world, hurts it, and judges every promise",
    after_help = "Examples:
  simctl run scenarios/leader-failover.toml --seed 42   the main job
  simctl sweep scenarios/swarm.toml --seeds 1..301      many seeds, and a table of them
  simctl run scenarios/kip-101.toml --plant trunc_to_hw watch a historical bug lose a record
  simctl check scenarios/*.toml                         is every scenario file good?
  simctl explain scenarios/swarm.toml --seed 7          what seed 7 builds, and what strikes it
  simctl list                                           what is there to run?
  simctl serve                                          a real broker at 127.0.0.1:9092

Exit codes:
  0 all judged, all held               1 a promise was broken or a broker crashed
  2 bad usage or scenario, nothing ran 3 safe, but an objective was missed
  4 inconclusive                       5 same seed, other trace
  70 bug of simctl, or a run that did not end   130 interrupted
  Several runs end with the worst of theirs: 70 before 5, 1, 4, 3, 0.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run scenarios: build the cluster, make the weather, judge the promises
    Run(RunArguments),
    /// Run scenarios with many seeds, a process each, and count what came of them
    Sweep(SweepArguments),
    /// Read scenario files and tell everything that is wrong with them; run nothing
    Check(CheckArguments),
    /// Print a scenario with every default spelt out, or the plan that a seed makes of it
    Explain(ExplainArguments),
    /// List the scenarios there are, each with its sentence
    List(ListArguments),
    /// Start a real broker here, or --brokers 3: `wavetank-broker` by another name
    Serve(server::Arguments),
}

/// One seed, or a range of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seeds {
    /// One.
    One(u64),
    /// From the first up to, and without, the second.
    Range(u64, u64),
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no seed: a whole number from 0 on"));
    match text.split_once("..") {
        None => number(text).map(Seeds::One),
        Some((from, to)) => match (number(from)?, number(to)?) {
            (from, to) if from < to => Ok(Seeds::Range(from, to)),
            _ => Err("the range is empty: A..B is from A up to, and without, B".to_owned()),
        },
    }
}

/// A share in millionths: `5%` or `0.05`.
fn share(text: &str) -> Result<u32, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), 10_000.0),
        None => (text.trim(), 1_000_000.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (0.0..=1_000_000.0).contains(&(value * scale)) => Ok((value * scale).round() as u32),
        _ => Err("a share is from 0% to 100%, like 5%".to_owned()),
    }
}

/// At most so many; nothing: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtMost(pub Option<usize>);

fn at_most(text: &str) -> Result<AtMost, String> {
    match (text, text.parse::<usize>()) {
        ("all", _) => Ok(AtMost(None)),
        (_, Ok(number)) if number > 0 => Ok(AtMost(Some(number))),
        _ => Err("a number from 1 on, or `all`".to_owned()),
    }
}

/// A time in ns: `90s`, `2m`.
fn time(text: &str) -> Result<u64, String> {
    match harness::scenario::units::duration(text) {
        Ok(nanos) if nanos > 0 => Ok(nanos),
        Ok(_) => Err("a time longer than 0, like 90s".to_owned()),
        Err(why) => Err(why.title),
    }
}

/// Events by their numbers.
fn window(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("the form is A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(to)?)
}

fn trace_prefix(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("trace:").unwrap_or(text).to_lowercase();
    if digits.len() < 8 || digits.len() > 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the form is trace:HASH, 8 to 32 hexadecimal digits".to_owned());
    }
    Ok(digits)
}

fn set(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("the form is KEY=VALUE, like load.writers.rate=4k/s".to_owned()),
    }
}

/// `simctl run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  simctl run scenarios/leader-failover.toml             a random seed, printed first and last
  simctl run scenarios/leader-failover.toml --seed 42   the same run, each time, to the last bit
  simctl run FILE --seed 1..51                          fifty seeds, a process each
  simctl run FILE --seed 42 --expect trace:9c3f81d2     exit 5 if it is not the same run
  simctl run FILE --seed 42 --twice                     again; if they differ, in which event
  simctl run FILE --set load.writers.rate=4k/s          change one thing
  simctl run FILE --plant trunc_to_hw                   put a historical bug in
  simctl run FILE --seed 7 --trace=b2,world             also write trace.jsonl, of these hosts

A report is in results/runs/SCENARIO/SEED/: summary.txt, result.json, CSVs and plots.")]
pub struct RunArguments {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A seed, or a range A..B (without B); random if not given
    #[arg(long, value_name = "N|A..B", value_parser = seeds)]
    pub seed: Option<Seeds>,
    /// Put a value over the scenario's, by its path
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = set)]
    pub sets: Vec<String>,
    /// Where reports go
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// The trace hash that the run must have, or its beginning
    #[arg(long, value_name = "trace:HASH", value_parser = trace_prefix)]
    pub expect: Option<String>,
    /// Put a historical bug in; `simctl list --plants` names them
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Run each seed twice; if the traces differ, name the first such event
    #[arg(long)]
    pub twice: bool,
    /// Of several: end one after so much CPU time (wall: 5x)
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    pub timeout: u64,
    /// Write events to trace.jsonl: all, or of some hosts: --trace=b2,world
    #[arg(long, value_name = "HOSTS", num_args = 0..=1, require_equals = true, default_missing_value = "", value_delimiter = ',')]
    pub trace: Option<Vec<String>>,
    /// Also show service times and branches reached
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Show the last lines only
    #[arg(short, long)]
    pub quiet: bool,
    /// For `simctl` itself: this is one run of many; the result goes to standard output as one line of JSON
    #[arg(long, hide = true)]
    pub one_of_many: bool,
    /// For `simctl` itself: write the folder of this one of many even if it passes
    #[arg(long, hide = true)]
    pub keep: bool,
    /// For `simctl` itself: begin on a heap of holes, so that addresses come in another order
    #[arg(long, hide = true)]
    pub second: bool,
    /// For `simctl` itself: tell all checkpoints, and the events of these numbers
    #[arg(long, hide = true, value_parser = window)]
    pub window: Option<std::ops::Range<u64>>,
}

/// `simctl sweep`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  simctl sweep scenarios/swarm.toml --seeds 1..3001          three thousand seeds, on all cores
  simctl sweep scenarios/*.toml --seeds 1..51 --max-fail all fifty of each, whatever fails
  simctl sweep FILE --seeds 1..201 --double-run 100%         is it deterministic?
  simctl sweep FILE --seeds 1..51 --plant trunc_to_hw        how many seeds find a historical bug?

Each seed that does not pass is told at once, with the command that repeats it; its report is in
results/runs/SCENARIO/SEED/. All seeds are rows of results/runs/SCENARIO/sweep.csv. At the end:
what failed how often, which faults had an effect, which branches were never reached, what it cost.")]
pub struct SweepArguments {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The seeds: from A up to, and without, B
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Seeds,
    /// How many run at a time; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<usize>,
    /// Where reports and tables go
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Begin no more runs after so many that did not pass
    #[arg(long, value_name = "N|all", value_parser = at_most, default_value = "20")]
    pub max_fail: AtMost,
    /// The share of the seeds that runs twice, to compare traces
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%")]
    pub double_run: u32,
    /// Put a historical bug in; `simctl list --plants` names them
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Put a value over the scenario's, by its path
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = set)]
    pub sets: Vec<String>,
    /// End a run after so much CPU time (wall: 5x); it has hung
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    pub timeout: u64,
    /// Write the folders of runs that pass, too
    #[arg(long)]
    pub keep: bool,
    /// Also a line for each seed that passes
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// No head line
    #[arg(short, long)]
    pub quiet: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

/// `simctl check`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  simctl check scenarios/*.toml       exit 0 if all are good, 2 if not
  simctl check --properties           the Kafka properties that `config` may set")]
pub struct CheckArguments {
    /// Scenario files
    #[arg(required_unless_present = "properties", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Put a value over the scenario's, by its path
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = set)]
    pub sets: Vec<String>,
    /// List the Kafka properties that this version acts on
    #[arg(long)]
    pub properties: bool,
}

/// `simctl explain`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  simctl explain scenarios/swarm.toml --seed 7               what it builds, which faults strike
  simctl explain scenarios/swarm.toml --seed 7 -o plan.toml  the same into a file: change it, run it
  simctl run plan.toml --seed 7                              the same run as of swarm.toml
  simctl explain scenarios/leader-failover.toml              every default spelt out")]
pub struct ExplainArguments {
    /// A scenario file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The seed whose plan is wanted
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Put a value over the scenario's, by its path
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = set)]
    pub sets: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `simctl list`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  simctl list                    every scenario in scenarios/
  simctl list --tag nightly      those with a tag
  simctl list --plants           historical bugs for `simctl run --plant`
  simctl list --probes           branches worth reaching, for a scenario's `reach`")]
pub struct ListArguments {
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The folder to look in
    #[arg(default_value = "scenarios", value_name = "DIR")]
    pub folder: PathBuf,
    /// List the bugs that can be planted instead
    #[arg(long)]
    pub plants: bool,
    /// List the branches worth reaching instead
    #[arg(long, conflicts_with = "plants")]
    pub probes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_are_one_or_a_range() {
        assert_eq!(seeds("42"), Ok(Seeds::One(42)));
        assert_eq!(seeds("1..51"), Ok(Seeds::Range(1, 51)));
        assert!(seeds("5..5").is_err());
        assert!(seeds("x").is_err());
    }

    #[test]
    fn shares_and_limits_are_read_as_people_write_them() {
        assert_eq!(share("5%"), Ok(50_000));
        assert_eq!(share("0.05"), Ok(50_000));
        assert_eq!(share("100 %"), Ok(1_000_000));
        assert!(share("101%").is_err() && share("-1%").is_err() && share("x").is_err());
        assert_eq!(at_most("all"), Ok(AtMost(None)));
        assert_eq!(at_most("20"), Ok(AtMost(Some(20))));
        assert!(at_most("0").is_err());
        assert_eq!(time("90s"), Ok(90_000_000_000));
        assert!(time("0s").is_err() && time("soon").is_err());
    }

    #[test]
    fn a_trace_is_named_by_eight_digits_or_more() {
        assert_eq!(trace_prefix("trace:9C3F81D2"), Ok("9c3f81d2".to_owned()));
        assert!(trace_prefix("trace:9c3f81").is_err());
        assert!(trace_prefix("trace:9c3f81dx").is_err());
    }
}
