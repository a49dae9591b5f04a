//! `simctl check`: everything that is wrong with scenario files, and nothing is run.

use std::io;
use std::path::PathBuf;

use harness::scenario::{Reading, Severity, property_names, units::show_duration};

use crate::USAGE;
use crate::cli::CheckArguments;
use crate::load::load;
use crate::terminal::Terminal;

/// Chooses the planted bug, if there is to be one; `false` if this build has none of that name, which is told.
pub fn plant(name: Option<&str>, terminal: &mut Terminal) -> bool {
    match name.map_or(Ok(()), probe::plant) {
        Ok(()) => true,
        Err(why) => {
            terminal.error(&format!("error: {why}"));
            false
        }
    }
}

/// Reads every file; tells all problems of all of them. `None` if one is bad.
pub fn read_all(files: &[PathBuf], sets: &[String], terminal: &mut Terminal) -> Option<Vec<Reading>> {
    let mut readings = Vec::new();
    let (mut errors, mut warnings) = (0, 0);
    for file in files {
        let (problems, source) = match load(file, sets) {
            Ok(reading) => {
                let told = (reading.problems.clone(), reading.source.clone());
                readings.push(reading);
                told
            }
            Err(rejection) => (rejection.problems, rejection.source),
        };
        let count = |severity| problems.list.iter().filter(|problem| problem.severity == severity).count();
        errors += count(Severity::Error);
        warnings += count(Severity::Warning);
        if !problems.list.is_empty() {
            let text = problems.render(&source, terminal.colour_err());
            terminal.error(&text);
        }
    }
    if errors == 0 {
        return Some(readings);
    }
    let many = if errors == 1 { "problem" } else { "problems" };
    let more = if warnings > 0 { format!(" and {warnings} warnings") } else { String::new() };
    terminal.error(&format!("{errors} {many}{more}, nothing was run          exit {USAGE}"));
    None
}

/// The command.
pub fn check(arguments: &CheckArguments, terminal: &mut Terminal) -> io::Result<u8> {
    if arguments.properties {
        for (title, names) in [("of a node", property_names(false)), ("of a topic", property_names(true))] {
            terminal.say(&format!("properties {title}"))?;
            for name in names {
                terminal.say(&format!("  {name}"))?;
            }
        }
        return Ok(0);
    }
    let Some(readings) = read_all(&arguments.files, &arguments.sets, terminal) else { return Ok(USAGE) };
    for (file, reading) in arguments.files.iter().zip(&readings) {
        let scenario = &reading.scenario;
        let length = scenario.phase_starts().last().copied().unwrap_or(0);
        let drawn = if scenario.is_drawn() { ", the rest as the seed draws it" } else { "" };
        let line = format!(
            "ok  {}  {} hosts, {} loads, {} faults, {} at most{drawn}",
            file.display(),
            scenario.cluster.hosts().len(),
            scenario.loads.len(),
            scenario.faults.len(),
            show_duration(length)
        );
        terminal.say(&line)?;
    }
    Ok(0)
}
