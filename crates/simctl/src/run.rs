//! `simctl run`: one run in this process, or several, each in a process of its own.

use std::io;
use std::path::{Path, PathBuf};

use harness::report::{Cost, RunResult, Verdict, closing, summary};
use harness::run::{Options, Outcome, TraceOf};
use harness::scenario::{Reading, Scenario};

use crate::check::{plant, read_all};
use crate::child::{self, Ask};
use crate::cli::{RunArguments, Seeds};
use crate::divergence::{self, Parting};
use crate::line::Line;
use crate::machine::{Meter, build};
use crate::terminal::Terminal;
use crate::{USAGE, folder, interrupt, sweep};

/// The command.
pub fn run(arguments: &RunArguments, terminal: &mut Terminal) -> io::Result<u8> {
    if !plant(arguments.plant.as_deref(), terminal) {
        return Ok(USAGE);
    }
    let Some(readings) = read_all(&arguments.files, &arguments.sets, terminal) else { return Ok(USAGE) };
    if arguments.second {
        child::stir();
    }
    // Better said now than after the run.
    if let Err(error) = std::fs::create_dir_all(&arguments.out) {
        terminal.error(&format!("error: reports cannot go to {}: {error}", arguments.out.display()));
        return Ok(USAGE);
    }
    if !arguments.one_of_many {
        interrupt::listen();
    }
    let seeds = arguments.seed.unwrap_or_else(|| Seeds::One(random_seed()));
    match (seeds, readings.as_slice(), arguments.files.as_slice()) {
        (Seeds::One(seed), [reading], [file]) => one(arguments, reading, file, seed, terminal),
        (seeds, _, _) => {
            if arguments.expect.is_some() {
                terminal.error("error: `--expect` goes with one file and one seed");
                return Ok(USAGE);
            }
            sweep::several(arguments, &readings, seeds, terminal)
        }
    }
}

/// A seed that nobody chose; small enough to type.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's own source of randomness: no other is needed for this.
    let word = std::collections::hash_map::RandomState::new().build_hasher().finish();
    word % 1_000_000_000
}

fn one(arguments: &RunArguments, reading: &Reading, file: &Path, seed: u64, terminal: &mut Terminal) -> io::Result<u8> {
    let scenario = &reading.scenario;
    let loud = !arguments.quiet && !arguments.one_of_many;
    if arguments.seed.is_none() && loud {
        terminal.say(&format!("seed {seed} (drawn; repeat with --seed {seed})"))?;
    }
    let trace = arguments.trace.as_ref().map(|hosts| {
        let hosts: Vec<String> = hosts.iter().filter(|host| !host.is_empty()).cloned().collect();
        if hosts.is_empty() { TraceOf::All } else { TraceOf::Hosts(hosts) }
    });
    let options = Options {
        path: file.display().to_string(),
        sets: arguments.sets.clone(),
        seed,
        trace,
        build: build(),
        record: arguments.window.clone(),
    };
    let total = scenario.phase_starts().last().copied().unwrap_or(0) as f64 / 1e9;
    let meter = Meter::start();
    let show = loud && terminal.is_live();
    let outcome = {
        let terminal = &mut *terminal;
        let mut last = 0;
        let mut progress = move |at_ns: u64| {
            let second = at_ns / 1_000_000_000;
            if show && second != last {
                last = second;
                terminal
                    .progress(&format!("  {}  seed {seed}  {second}s of about {total:.0}s simulated", scenario.name));
            }
        };
        harness::run::run(scenario, &options, &mut progress)
    };
    terminal.clear();
    let cost = meter.cost();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => {
            terminal.error(&format!("error: the run of {} with seed {seed} came to no end: {why}", scenario.name));
            return Ok(Verdict::Bug.exit_code());
        }
    };
    if arguments.one_of_many {
        let line = Line::of(&outcome.result, &cost);
        let line = if arguments.window.is_some() { line.with_trace_of(&outcome) } else { line };
        let code = outcome.result.verdict.exit_code();
        // The first of two that are compared has an empty window; those that look for where two parted have been run before.
        let first = !arguments.second && arguments.window.as_ref().is_none_or(std::ops::Range::is_empty);
        if arguments.keep || code != 0 && first {
            write_folder(arguments, scenario, &outcome.result, &outcome.trace, &cost)?;
        }
        terminal.say(&line.to_json())?;
        return Ok(code);
    }
    let twice = if arguments.twice { Some(run_again(arguments, file, seed, &outcome, &cost)?) } else { None };
    let mut result = outcome.result;
    if let Some(wanted) = &arguments.expect
        && !result.trace_hash.starts_with(wanted.as_str())
    {
        result.verdict = Verdict::Nondeterminism;
        let have = &result.trace_hash[..wanted.len().min(result.trace_hash.len())];
        result.why = vec![format!("the trace is {have}…, {wanted}… was expected: another build, or not deterministic")];
    }
    if let Some(Some(parting)) = &twice {
        result.verdict = Verdict::Nondeterminism;
        result.why = vec![parting.short()];
    }
    let folder = write_folder(arguments, scenario, &result, &outcome.trace, &cost)?;
    let code = result.verdict.exit_code();
    let style = terminal.style(arguments.verbose);
    let report = folder.join("summary.txt").display().to_string();
    if !arguments.quiet {
        terminal.say(&summary(&result, style))?;
    } else {
        terminal.say(&format!(
            "{}   {}  seed {seed}  {}",
            result.verdict.word(),
            result.scenario,
            result.why.join(" ")
        ))?;
    }
    match &twice {
        Some(Some(parting)) => terminal.say(&parting.story().join("\n"))?,
        Some(None) => terminal.say("twice  the second run, in another process, has the same trace")?,
        None => {}
    }
    terminal.say(&closing(&result, Some(&report), Some(&cost), style))?;
    Ok(if interrupt::asked() { interrupt::CODE } else { code })
}

/// Runs it once more in another process; says where that run went another way, if it did.
fn run_again(
    arguments: &RunArguments,
    file: &Path,
    seed: u64,
    outcome: &Outcome,
    cost: &Cost,
) -> io::Result<Option<Parting>> {
    let program = std::env::current_exe()?;
    let ask = Ask::of_run(arguments, file, seed);
    let other = ask.again().telling(0..0).run(&program)?;
    match other.line {
        Some(other) if other.trace == outcome.result.trace_hash => Ok(None),
        Some(other) => {
            let line = Line::of(&outcome.result, cost).with_trace_of(outcome);
            divergence::find(&ask, &program, &line, &other).map(Some)
        }
        None => Ok(Some(Parting::Ended { last_words: other.last_words })),
    }
}

/// The folder of a run; its scenario is the plan that the seed made of it.
fn write_folder(
    arguments: &RunArguments,
    scenario: &Scenario,
    result: &RunResult,
    trace: &[String],
    cost: &Cost,
) -> io::Result<PathBuf> {
    let trace = arguments.trace.is_some().then_some(trace);
    folder::write(&arguments.out, result, &scenario.derive(result.seed).resolved(), trace, cost)
}
