//! Several runs: a process each, as many at a time as there are cores, one line for each that did not pass.
//!
//! [`sweep`] is the command, [`several`] the small form (`simctl run` with several seeds or files); both are an [`engine`]
//! that runs [`Job`]s and a [`Totals`] that counts what came of them. Runs tell one line each ([`crate::line`]); only those
//! that did not pass leave a folder. `sweep.csv` ([`table`]) grows while it goes, so that Ctrl-C keeps what is done.

mod engine;
mod figures;
mod table;
mod totals;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use harness::report::{command_options, duration, shell_word};
use harness::scenario::{Reading, units::show_share};

use crate::check::{plant, read_all};
use crate::child::Ask;
use crate::cli::{RunArguments, Seeds, SweepArguments};
use crate::machine::{Stopwatch, children_cpu_s};
use crate::terminal::Terminal;
use crate::{USAGE, interrupt};

use engine::{Done, Engine, Job};
use table::Table;
use totals::{Totals, Word};

/// `simctl sweep`.
pub fn sweep(arguments: &SweepArguments, terminal: &mut Terminal) -> io::Result<u8> {
    if !plant(arguments.plant.as_deref(), terminal) {
        return Ok(USAGE);
    }
    let Some(readings) = read_all(&arguments.files, &arguments.sets, terminal) else { return Ok(USAGE) };
    let mut tables = Vec::new();
    for reading in &readings {
        match Table::create(&arguments.out, &reading.scenario.name) {
            Ok(table) => tables.push(table),
            Err(error) => {
                terminal.error(&format!("error: {error}"));
                return Ok(USAGE);
            }
        }
    }
    let (from, to) = bounds(arguments.seeds);
    let jobs_at_once = arguments.jobs.unwrap_or_else(cores);
    let ask = |file: usize, seed: u64| Ask {
        file: arguments.files[file].clone(),
        seed,
        sets: arguments.sets.clone(),
        plant: arguments.plant.clone(),
        out: arguments.out.clone(),
        keep: arguments.keep,
        trace: None,
        second: false,
        window: None,
        limit: Duration::from_nanos(arguments.timeout),
    };
    let mut again = format!("simctl sweep {} --seeds {from}..{to}", files(&arguments.files));
    again.push_str(&command_options(&arguments.sets, arguments.plant.as_deref()));
    if arguments.double_run > 0 {
        again.push_str(&format!(" --double-run {}", show_share(arguments.double_run)));
    }
    if !arguments.quiet {
        let what = if readings.len() == 1 {
            readings[0].scenario.name.clone()
        } else {
            format!("{} scenarios", readings.len())
        };
        let twice = match arguments.double_run {
            0 => String::new(),
            share => format!("  {} of the seeds twice", show_share(share)),
        };
        terminal.say(&format!("sweep {what}  seeds {from}..{to}  {jobs_at_once} at a time{twice}"))?;
    }
    let plan = Plan {
        names: readings.iter().map(|reading| reading.scenario.name.clone()).collect(),
        seeds: (from, to),
        at_once: jobs_at_once,
        double_run: arguments.double_run,
        max_fail: arguments.max_fail.0,
        show_passing: arguments.verbose,
        commands: true,
        again,
    };
    plan.carry_out(&ask, &mut tables, terminal)
}

/// `simctl run` with several seeds or files.
pub fn several(
    arguments: &RunArguments,
    readings: &[Reading],
    seeds: Seeds,
    terminal: &mut Terminal,
) -> io::Result<u8> {
    let (from, to) = bounds(seeds);
    let mut again = format!("simctl run {} --seed {from}..{to}", files(&arguments.files));
    again.push_str(&command_options(&arguments.sets, arguments.plant.as_deref()));
    let plan = Plan {
        names: readings.iter().map(|reading| reading.scenario.name.clone()).collect(),
        seeds: (from, to),
        at_once: cores(),
        double_run: if arguments.twice { 1_000_000 } else { 0 },
        max_fail: None,
        show_passing: arguments.verbose,
        commands: false,
        again,
    };
    plan.carry_out(&|file, seed| Ask::of_run(arguments, &arguments.files[file], seed), &mut [], terminal)
}

fn files(files: &[PathBuf]) -> String {
    files.iter().map(|file| shell_word(&file.display().to_string())).collect::<Vec<_>>().join(" ")
}

fn bounds(seeds: Seeds) -> (u64, u64) {
    match seeds {
        Seeds::One(seed) => (seed, seed + 1),
        Seeds::Range(from, to) => (from, to),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What is run and what is told of it.
struct Plan {
    /// The scenarios, by their files' order.
    names: Vec<String>,
    /// From the first up to, and without, the second.
    seeds: (u64, u64),
    at_once: usize,
    /// The share that runs twice, in millionths.
    double_run: u32,
    /// After so many that did not pass no more are begun.
    max_fail: Option<usize>,
    show_passing: bool,
    /// Whether each that did not pass is told with the command that repeats it.
    commands: bool,
    again: String,
}

impl Plan {
    fn jobs(&self) -> Vec<Job> {
        let (from, to) = self.seeds;
        let mut jobs = Vec::new();
        // Seed by seed over all files, so that a sweep that is cut short has seen each scenario.
        for seed in from..to {
            for file in 0..self.names.len() {
                // Evenly spread, and the same each time.
                let number = jobs.len() as u64;
                let twice_before = |number: u64| number * u64::from(self.double_run) / 1_000_000;
                let twice = twice_before(number + 1) > twice_before(number);
                jobs.push(Job { file, seed, twice });
            }
        }
        jobs
    }

    fn carry_out(
        &self,
        ask: &(dyn Fn(usize, u64) -> Ask + Sync),
        tables: &mut [Table],
        terminal: &mut Terminal,
    ) -> io::Result<u8> {
        interrupt::listen_for_sweep();
        let jobs = self.jobs();
        let total = jobs.len();
        let watch = Stopwatch::start();
        let cpu_before = children_cpu_s();
        let mut totals = Totals::new(&self.names);
        let mut told_s = 0.0;
        let mut stopped = false;
        let engine = Engine::new(jobs, self.at_once, ask)?;
        engine.run(|step| {
            if let Some(done) = step {
                if done.answer.dropped {
                    return Ok(true);
                }
                if let Some(table) = tables.get_mut(done.job.file) {
                    table.add(&done)?;
                }
                let word = totals.add(&done);
                if word != Word::Pass || self.show_passing {
                    self.tell(&done, word, ask, terminal)?;
                }
                stopped |= self.max_fail.is_some_and(|most| totals.not_passed() >= most) && totals.done() < total;
            }
            let seconds = watch.seconds();
            if terminal.is_live() {
                terminal.progress(&totals.progress(total, seconds));
            } else if seconds - told_s >= 10.0 {
                told_s = seconds;
                terminal.error(&totals.progress(total, seconds));
            }
            Ok(!stopped && !interrupt::asked())
        })?;
        terminal.clear();
        for table in tables.iter_mut() {
            table.finish()?;
        }
        let interrupted = interrupt::asked() && totals.done() < total;
        let cost = totals::SweepCost { wall_s: watch.seconds(), cpu_s: children_cpu_s() - cpu_before };
        let mut text = totals.report(&cost, interrupted, self.commands);
        if stopped {
            text.push_str(&format!(
                "stopped after {} that did not pass (--max-fail); {} of {total} done\n",
                totals.not_passed(),
                totals.done()
            ));
        }
        if interrupted {
            text.push_str(&format!("interrupted after {} of {total} runs; the rest was not run\n", totals.done()));
        }
        for table in tables {
            text.push_str(&format!("table  {}\n", table.path().display()));
        }
        text.push_str(&format!("again  {}\n", self.again));
        terminal.say(&text)?;
        Ok(if interrupted { interrupt::CODE } else { totals.worst() })
    }

    /// One line for a run, and for one that did not pass the command that repeats it.
    fn tell(
        &self,
        done: &Done,
        word: Word,
        ask: &(dyn Fn(usize, u64) -> Ask + Sync),
        terminal: &mut Terminal,
    ) -> io::Result<()> {
        let Job { file, seed, .. } = done.job;
        let name = &self.names[file];
        let line = done.answer.line.as_ref();
        let trace = match line {
            Some(line) if !self.commands => format!("  trace:{}", line.trace.get(..8).unwrap_or_default()),
            _ => String::new(),
        };
        let text = format!("  {:<16} {name}  seed {seed}{trace}  {}", word.shown(), done.why());
        terminal.say(text.trim_end())?;
        if word == Word::Pass {
            return Ok(());
        }
        if let Some(parting) = &done.parting {
            for line in parting.story() {
                terminal.say(&format!("  {line}"))?;
            }
        }
        if self.commands {
            let command = match (line, word) {
                (Some(line), Word::Nondeterministic) => {
                    let command = line.command.split(" --expect ").next().unwrap_or(&line.command);
                    format!("{command} --twice")
                }
                (Some(line), _) => line.command.clone(),
                (None, _) => ask(file, seed).command(),
            };
            terminal.say(&format!("    repro  {command}"))?;
        }
        Ok(())
    }
}

/// How long a hang took until it was ended.
fn patience(seconds: f64) -> String {
    duration((seconds * 1e9) as u64)
}
