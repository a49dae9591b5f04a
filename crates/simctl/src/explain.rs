//! `simctl explain`: what a scenario really says, or the plan that a seed makes of it. Nothing is run.

use std::io;
use std::path::Path;

use harness::report::{command_options, words_of, wrap};
use harness::scenario::{Plan, Scenario};

use crate::USAGE;
use crate::check::read_all;
use crate::cli::ExplainArguments;
use crate::terminal::Terminal;

/// The command.
pub fn explain(arguments: &ExplainArguments, terminal: &mut Terminal) -> io::Result<u8> {
    let file = arguments.file.as_path();
    let readings = read_all(std::slice::from_ref(&arguments.file), &arguments.sets, terminal);
    let Some(reading) = readings.and_then(|list| list.into_iter().next()) else { return Ok(USAGE) };
    let scenario = &reading.scenario;
    let text = match arguments.seed {
        Some(seed) => {
            let plan = scenario.plan(seed);
            head(scenario, &plan, seed, arguments) + "\n" + &plan.scenario.resolved()
        }
        None => {
            if scenario.is_drawn() {
                terminal.error(&format!(
                    "note: {} leaves much to the seed; `simctl explain {} --seed 7` shows the plan of one",
                    scenario.name,
                    file.display()
                ));
            }
            format!("# {} with every default spelt out.\n\n{}", file.display(), scenario.resolved())
        }
    };
    let Some(out) = &arguments.out else {
        terminal.say(text.trim_end())?;
        return Ok(0);
    };
    if let Err(why) = write(out, file, &text) {
        terminal.error(&format!("error: the plan cannot go to {}: {why}", out.display()));
        return Ok(USAGE);
    }
    let run = match arguments.seed {
        Some(seed) => format!("simctl run {} --seed {seed}", out.display()),
        None => format!("simctl run {}", out.display()),
    };
    terminal.say(&format!("{} is written; to run it: {run}", out.display()))?;
    Ok(0)
}

/// What a plan is, in comments above it.
fn head(scenario: &Scenario, plan: &Plan, seed: u64, arguments: &ExplainArguments) -> String {
    let file = arguments.file.display();
    let own = arguments.out.as_ref().map_or("PLAN.toml".to_owned(), |out| out.display().to_string());
    let sets = command_options(&arguments.sets, None);
    let mut text = format!("# The plan of seed {seed}: what `simctl run {file} --seed {seed}{sets}` carries out.\n");
    text.push_str(&format!("# Run it with the same seed and the trace is the same: simctl run {own} --seed {seed}\n"));
    if !scenario.is_drawn() {
        text.push_str("# The scenario leaves nothing to the seed: only the run itself draws.\n");
        return text;
    }
    if let Some(chaos) = &scenario.chaos {
        let names = |words: &[harness::scenario::ChaosWord]| {
            let list: Vec<&str> = words.iter().map(|word| word.word()).collect();
            if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
        };
        text.push_str("#\n");
        text.push_str(&wrapped("strikes", &names(&plan.taken)));
        text.push_str(&wrapped("left out", &names(&plan.left_out)));
        let pace = format!("{}, stretched by {}.{:03}", chaos.every, plan.pace / 1_000, plan.pace % 1_000);
        text.push_str(&wrapped("every", &pace));
    }
    if !plan.drawn.is_empty() {
        text.push_str("#\n");
        let width = plan.drawn.iter().map(|(place, _)| place.len()).max().unwrap_or(0);
        for (place, value) in &plan.drawn {
            text.push_str(&format!("#   {place:<width$} = {value}\n"));
        }
    }
    if scenario.chaos.is_some() {
        text.push_str(&format!(
            "#\n# A line `within_budget` is left out if, when its time comes, `keep = \"{}\"` or `max_concurrent` forbids it\n\
             # or it would hit nobody. Host terms are resolved then, too.\n",
            plan.scenario.expect.keep
        ));
    }
    text
}

/// A list behind its name, in lines of at most 100 columns.
fn wrapped(name: &str, list: &str) -> String {
    let lines = wrap(&format!("   {name:<9} "), &words_of(list), " ", 99);
    lines.into_iter().map(|line| format!("#{line}\n")).collect()
}

/// Writes a plan, but not over the scenario that it is of.
#[expect(clippy::disallowed_methods, reason = "the command line writes files, so that nobody else has to")]
fn write(out: &Path, file: &Path, text: &str) -> Result<(), String> {
    if let (Ok(out), Ok(file)) = (out.canonicalize(), file.canonicalize())
        && out == file
    {
        return Err("that is the scenario itself".to_owned());
    }
    std::fs::write(out, text).map_err(|error| error.to_string())
}
