//! Scenario files: strict TOML, read whole, with every problem told at once.
//!
//! [`read`] gives a [`Scenario`] and its warnings, or everything that is wrong with the file, each with line, column and
//! what was probably meant. No key is ignored: a key of a later version is refused as such, an unknown one with a
//! suggestion. [`Scenario::resolved`] writes the scenario back with every default spelt out.
//!
//! Deliberately absent: files. The caller reads them.

mod chaos;
mod diagnostic;
mod document;
mod fault;
mod lint;
mod model;
mod property;
mod reader;
mod resolved;
mod slo;
mod term;
pub mod units;

#[cfg(test)]
mod tests;

pub use chaos::{Chaos, ChaosWord, Plan, SwarmLine};
pub use diagnostic::{Problem, Problems, Severity, Source, Spanned, code};
pub use fault::{
    Action, At, ClockAction, DiskAction, FaultLine, Heal, NetworkAction, ProcessAction, Slower, Target,
    is_here as fault_is_here, words as fault_words,
};
pub use model::{
    Allow, Arrivals, Cluster, DiskSpec, Expect, Hardware, Keys, LinkSpec, Load, Pace, Phase, Produce, Reach, ReachKind,
    Scenario, Timers, Topic, Work, client_host,
};
pub use slo::{Limit, Metric, Op, Placed, Slo, Statistic, When};
pub use term::{LinkTerm, NodeTerm};

/// A good scenario, with what should be said about it nevertheless.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The scenario.
    pub scenario: Scenario,
    /// Warnings only.
    pub problems: Problems,
    /// What was read, to render the warnings.
    pub source: Source,
}

/// A scenario that cannot be run, and why.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// At least one error.
    pub problems: Problems,
    /// What was read.
    pub source: Source,
}

impl Rejection {
    /// A rejection of a file that could not even be read: it is missing, a folder, or no text.
    pub fn unreadable(path: &str, why: impl Into<String>, what_to_do: Option<String>) -> Box<Self> {
        let mut problems = Problems::default();
        let problem = problems.whole(code::UNREADABLE, why);
        problem.label = what_to_do;
        Box::new(Self { problems, source: Source { path: path.to_owned(), text: String::new(), sets_from: 0 } })
    }
}

/// Reads a scenario from the bytes of a file. `sets` are `key.path=value` of the command line, put over the file.
pub fn read(path: &str, bytes: &[u8], sets: &[String]) -> Result<Reading, Box<Rejection>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        Ok(_) => {
            return Err(Rejection::unreadable(
                path,
                "this is no text: it has a byte 0",
                Some("a scenario is a TOML file".to_owned()),
            ));
        }
        Err(error) => {
            let why = format!("this is no text: byte {} is not UTF-8", error.valid_up_to());
            return Err(Rejection::unreadable(path, why, Some("a scenario is a TOML file".to_owned())));
        }
    };
    let mut source = Source { path: path.to_owned(), text: text.to_owned(), sets_from: 0 };
    let mut problems = Problems::default();
    if !sets.is_empty() {
        if !source.text.ends_with('\n') {
            source.text.push('\n');
        }
        source.sets_from = source.text.len();
        for set in sets {
            source.text.push_str(&set_line(set));
            source.text.push('\n');
        }
    } else {
        source.sets_from = source.text.len();
    }
    let root = document::parse(&source, &mut problems);
    // What the parser recovered from broken TOML would only raise problems that are not there.
    let scenario = if problems.has_errors() { None } else { reader::read(&root, &mut problems, &source) };
    if let Some(scenario) = &scenario {
        lint::lint(scenario, &mut problems, &source);
    }
    problems.sort();
    match scenario {
        Some(scenario) if !problems.has_errors() => Ok(Reading { scenario, problems, source }),
        _ => Err(Box::new(Rejection { problems, source })),
    }
}

/// A scenario of a test, which must be good.
#[cfg(test)]
pub(crate) fn good(text: &str) -> Scenario {
    match read("test.toml", text.as_bytes(), &[]) {
        Ok(reading) => reading.scenario,
        Err(rejection) => panic!("{}\n{text}", rejection.problems.render(&rejection.source, false)),
    }
}

/// The names of Kafka's properties that `config` may set: of topics, or of nodes.
pub fn property_names(of_topics: bool) -> Vec<&'static str> {
    let mut names = property::names(if of_topics { property::Of::Topic } else { property::Of::Node });
    names.sort_unstable();
    names
}

/// `load.writers.rate=4k/s` as a line of TOML: a value that is none by itself is taken as text.
fn set_line(set: &str) -> String {
    let set = set.replace('\n', " ");
    let Some((key, value)) = set.split_once('=') else { return set };
    let value = value.trim();
    let is_toml = toml::de::DeTable::parse(&format!("x = {value}")).is_ok();
    if is_toml { format!("{} = {value}", key.trim()) } else { format!("{} = {value:?}", key.trim()) }
}
