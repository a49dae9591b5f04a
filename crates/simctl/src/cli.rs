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
  simctl run scenarios/kip-101.toml --plant trunc_to_hw watch a historical bug lose a record
  simctl check scenarios/*.toml                         is every scenario file good?
  simctl explain scenarios/swarm.toml --seed 7          what does this seed build, and which faults strike?
  simctl list                                           what is there to run?

Exit codes:
  0 all judged, all held   1 a promise was broken or a broker crashed   2 bad usage or scenario, nothing ran
  3 safe, but an objective was missed   4 inconclusive   5 same seed, other trace   70 bug of simctl",
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
    /// Read scenario files and tell everything that is wrong with them; run nothing
    Check(CheckArguments),
    /// Print a scenario with every default spelt out, or the plan that a seed makes of it
    Explain(ExplainArguments),
    /// List the scenarios there are, each with its sentence
    List(ListArguments),
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
  simctl run scenarios/leader-failover.toml                    a random seed, printed first and last
  simctl run scenarios/leader-failover.toml --seed 42          the same run, each time, to the last bit
  simctl run scenarios/leader-failover.toml --seed 1..51       fifty seeds, one process each; ends with the worst
  simctl run FILE --seed 42 --expect trace:9c3f81d2            exit 5 if it is not the same run
  simctl run FILE --set load.writers.rate=4k/s                 change one thing
  simctl run FILE --plant trunc_to_hw                          put a historical bug in
  simctl run FILE --seed 7 --trace=b2,world                    also write trace.jsonl, of these hosts

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
    /// Write every event to trace.jsonl, or those of some hosts: --trace=b2,world
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
  simctl explain scenarios/swarm.toml --seed 7               what seed 7 builds and which faults strike when
  simctl explain scenarios/swarm.toml --seed 7 -o plan.toml  the same into a file: change it, run it
  simctl run plan.toml --seed 7                              the same run as of swarm.toml, to the last bit
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
    fn a_trace_is_named_by_eight_digits_or_more() {
        assert_eq!(trace_prefix("trace:9C3F81D2"), Ok("9c3f81d2".to_owned()));
        assert!(trace_prefix("trace:9c3f81").is_err());
        assert!(trace_prefix("trace:9c3f81dx").is_err());
    }
}
