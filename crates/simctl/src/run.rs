//! `simctl run`: one run in this process, or several, each in a process of its own.

use std::io;
use std::path::Path;

use harness::report::{Verdict, closing, summary};
use harness::run::{Options, TraceOf};
use harness::scenario::Reading;

use crate::check::read_all;
use crate::cli::{RunArguments, Seeds};
use crate::machine::{Meter, build};
use crate::sweep::{self, Line};
use crate::terminal::Terminal;
use crate::{USAGE, folder, interrupt};

/// The command.
pub fn run(arguments: &RunArguments, terminal: &mut Terminal) -> io::Result<u8> {
    if let Some(name) = &arguments.plant
        && let Err(why) = probe::plant(name)
    {
        terminal.error(&format!("error: {why}"));
        return Ok(USAGE);
    }
    let Some(readings) = read_all(&arguments.files, &arguments.sets, terminal) else { return Ok(USAGE) };
    // Better said now than after the run.
    if let Err(error) = std::fs::create_dir_all(&arguments.out) {
        terminal.error(&format!("error: reports cannot go to {}: {error}", arguments.out.display()));
        return Ok(USAGE);
    }
    interrupt::listen();
    let seeds = arguments.seed.unwrap_or_else(|| Seeds::One(random_seed()));
    match (seeds, readings.as_slice(), arguments.files.as_slice()) {
        (Seeds::One(seed), [reading], [file]) => one(arguments, reading, file, seed, terminal),
        (seeds, _, _) => {
            if arguments.expect.is_some() {
                terminal.error("error: `--expect` goes with one file and one seed");
                return Ok(USAGE);
            }
            sweep::sweep(arguments, &readings, seeds, terminal)
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
        record: None,
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
    let mut result = outcome.result;
    if let Some(wanted) = &arguments.expect
        && !result.trace_hash.starts_with(wanted.as_str())
    {
        result.verdict = Verdict::Nondeterminism;
        let have = &result.trace_hash[..wanted.len().min(result.trace_hash.len())];
        result.why = vec![format!("the trace is {have}…, {wanted}… was expected: another build, or not deterministic")];
    }
    let trace = arguments.trace.is_some().then_some(outcome.trace.as_slice());
    let folder = folder::write(&arguments.out, &result, &scenario.derive(seed).resolved(), trace, &cost)?;
    let code = result.verdict.exit_code();
    if arguments.one_of_many {
        terminal.say(&Line::of(&result, &cost).to_json())?;
        return Ok(code);
    }
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
    terminal.say(&closing(&result, Some(&report), Some(&cost), style))?;
    Ok(if interrupt::asked() { interrupt::CODE } else { code })
}
