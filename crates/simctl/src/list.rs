//! `simctl list`: the scenarios there are, the bugs that can be planted, and the branches worth reaching.

use std::io;
use std::path::{Path, PathBuf};

use harness::report::Verdict;

use crate::USAGE;
use crate::cli::ListArguments;
use crate::load::load;
use crate::terminal::Terminal;

/// Every `.toml` file in a folder and the folders in it, in order of their paths.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            list.push(path);
        }
    }
    list.sort();
    Ok(list)
}

/// The command.
pub fn list(arguments: &ListArguments, terminal: &mut Terminal) -> io::Result<u8> {
    if arguments.plants {
        for plant in probe::PLANTS {
            terminal.say(&format!("{:<22} {:<20} {}", plant.name, plant.source, plant.about))?;
        }
        return Ok(0);
    }
    if arguments.probes {
        for probe in probe::PROBES {
            terminal.say(&format!("{:<30} {}", probe.name, probe.about))?;
        }
        return Ok(0);
    }
    let found = match files(&arguments.folder) {
        Ok(found) => found,
        Err(error) => {
            terminal.error(&format!("error: failed to list {}: {error}", arguments.folder.display()));
            return Ok(USAGE);
        }
    };
    let mut shown = 0;
    for path in &found {
        let Ok(reading) = load(path, &[]) else {
            terminal.error(&format!("{}  is not good: simctl check {0}", path.display()));
            continue;
        };
        let scenario = reading.scenario;
        if arguments.tag.as_ref().is_some_and(|tag| !scenario.tags.contains(tag)) {
            continue;
        }
        shown += 1;
        let tags = if scenario.tags.is_empty() { String::new() } else { format!("  [{}]", scenario.tags.join(", ")) };
        terminal.say(&format!("{}{tags}\n    {}", path.display(), scenario.about))?;
    }
    if shown == 0 {
        let what =
            arguments.tag.as_ref().map_or("scenarios".to_owned(), |tag| format!("scenarios with the tag `{tag}`"));
        terminal.error(&format!("no {what} in {}", arguments.folder.display()));
        return Ok(Verdict::Inconclusive.exit_code());
    }
    Ok(0)
}
