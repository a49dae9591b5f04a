//! Random plans: what a scenario leaves to the seed, and the plan that a seed makes of it.
//!
//! `[chaos]` ([`Chaos`]) says which faults may strike when; `[swarm]` ([`SwarmLine`]) what else a seed draws.
//! [`Scenario::plan`] is the whole of it: an ordinary scenario with explicit fault lines and plain numbers, which run with
//! the same seed is the same run. [`word`] has the rule of each fault word: which hosts, how long, how bad.
//!
//! Deliberately absent: the fault budget. A drawn line is marked [`within_budget`](super::FaultLine::within_budget); whether
//! it strikes is decided when its time comes, by what the cluster looks like then.

mod dice;
mod plan;
mod swarm;
mod targets;
mod word;

#[cfg(test)]
mod tests;

use crate::checker::Keep;

use super::diagnostic::{Problems, Source, Spanned, Suggest, code};
use super::document::{Entry, Fields, Value};
use super::model::Scenario;
use super::units::{self, Distribution};
use super::{fault, reader};

pub use plan::Plan;
pub use swarm::SwarmLine;
pub(super) use swarm::{least, lint as lint_swarm, read as read_swarm};
pub use word::ChaosWord;

/// `[chaos]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chaos {
    /// `window`: the phase in which faults strike.
    pub window: Spanned<String>,
    /// `every`: from one fault to the next.
    pub every: Distribution,
    /// `menu`: the words with their weights, in order of the file. Invariant: weights are not 0.
    pub menu: Vec<(ChaosWord, u32)>,
    /// `swarm`: each seed leaves out each word with probability one half, and draws the interval's mean and the weights anew.
    pub swarm: bool,
    /// `max_concurrent`: how many drawn faults may act at a time, default 2.
    pub max_concurrent: u32,
    /// `heal_at_end`: whether all is healed when the window ends, default true.
    pub heal_at_end: bool,
}

/// Words that stand in `faults` and are no random faults.
const NOT_RANDOM: &[(&str, &str)] = &[("heal", "`for`, `restart_after` and `heal_at_end` say when a fault ends")];

/// Reads `[chaos]`, and its `keep`, which is the scenario's.
pub(super) fn read(
    entry: &Entry,
    entries: &[Entry],
    problems: &mut Problems,
    source: &Source,
) -> (Option<Chaos>, Option<Spanned<Keep>>) {
    let mut fields = Fields::new("[chaos]", entry.key_span.clone(), entries);
    fields.hint("faults", "menu");
    fields.hint("mean", "every");
    fields.hint("phase", "window");
    let window = fields.text("window", problems);
    let window = fields.require("window", window, problems);
    let every = fields.read("every", problems, source, units::distribution);
    let every = fields.require("every", every, problems);
    let menu = fields.get("menu").map(|entry| menu(entry, problems));
    let menu = fields.require("menu", menu, problems).unwrap_or_default();
    let swarm = fields.boolean("swarm", problems);
    let max_concurrent = fields.integer("max_concurrent", 1..=99, problems);
    let keep = fields.word("keep", reader::KEEP_WORDS, &[], problems);
    let heal_at_end = fields.boolean("heal_at_end", problems);
    fields.finish(problems);
    let chaos = match (window, every) {
        (Some(window), Some(every)) => Some(Chaos {
            window: Spanned::new(window.value.to_owned(), window.span),
            every: every.value,
            menu,
            swarm: swarm.is_some_and(|swarm| swarm.value),
            max_concurrent: max_concurrent.and_then(|found| u32::try_from(found.value).ok()).unwrap_or(2),
            heal_at_end: heal_at_end.is_none_or(|heal| heal.value),
        }),
        _ => None,
    };
    (chaos, keep)
}

/// `{ kill = 4, cut = 5 }`: words with weights.
fn menu(entry: &Entry, problems: &mut Problems) -> Vec<(ChaosWord, u32)> {
    let form = "a table of words and weights: menu = { kill = 4, cut = 5 }: of nine faults, four are kills";
    let Value::Table(entries) = &entry.node.value else {
        problems
            .error(
                code::WRONG_TYPE,
                entry.node.span.clone(),
                format!("`menu` is {}, so no word has a weight", entry.node.value.kind()),
            )
            .label(form);
        return Vec::new();
    };
    if entries.is_empty() {
        problems.error(code::OUT_OF_RANGE, entry.node.span.clone(), "an empty menu: no fault could strike").label(form);
    }
    entries.iter().filter_map(|entry| menu_line(entry, problems)).collect()
}

fn menu_line(entry: &Entry, problems: &mut Problems) -> Option<(ChaosWord, u32)> {
    let key = entry.key.as_str();
    let Some(word) = ChaosWord::named(key) else {
        let span = entry.key_span.clone();
        if let Some((_, why)) = NOT_RANDOM.iter().find(|(word, _)| *word == key) {
            problems.error(code::UNKNOWN_WORD, span, format!("`{key}` is no random fault")).label(*why);
        } else if fault::words().any(|word| word == key && !fault::is_here(word)) {
            super::document::comes_later(problems, span, &format!("the fault `{key}`"));
        } else {
            problems.error(code::UNKNOWN_WORD, span, format!("no fault is called `{key}`")).suggest(
                key,
                "what may strike",
                ChaosWord::ALL.iter().map(|word| word.word()),
            );
        }
        return None;
    };
    let problem = match entry.node.value {
        Value::Integer(weight @ 1..=1_000) => return Some((word, u32::try_from(weight).expect("at most 1,000"))),
        Value::Integer(0) => problems
            .error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("`{key}` of weight 0 never strikes"))
            .label("take the word out"),
        Value::Integer(_) => {
            problems.error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("the weight of `{key}`"))
        }
        ref other => problems.error(
            code::WRONG_TYPE,
            entry.node.span.clone(),
            format!("the weight of `{key}` must be a whole number, this is {}", other.kind()),
        ),
    };
    if problem.label.is_none() {
        problem.label("from 1 to 1000: how often this word, next to the others");
    }
    None
}

/// What is wrong with the sense of `[chaos]`.
pub(super) fn lint(scenario: &Scenario, problems: &mut Problems) {
    let Some(chaos) = &scenario.chaos else { return };
    let name = chaos.window.value.as_str();
    match scenario.phases.iter().find(|phase| phase.name.value == name) {
        None => {
            let known: Vec<&str> = scenario.phases.iter().map(|phase| phase.name.value.as_str()).collect();
            problems
                .error(
                    code::NO_SUCH_PHASE,
                    chaos.window.span.clone(),
                    format!("chaos refers to phase `{name}`, which does not exist"),
                )
                .suggest(name, "phases", known);
        }
        Some(phase) if phase.until_no_lag => {
            problems
                .error(
                    code::NOT_TOGETHER,
                    chaos.window.span.clone(),
                    format!("phase `{name}` has an `until`: nobody knows before how long chaos has"),
                )
                .label("take a phase of a fixed length");
        }
        Some(_) => {}
    }
    for fault in scenario.faults.iter().filter(|fault| fault.label.starts_with("chaos-")) {
        problems
            .error(code::NAMED_TWICE, fault.span.clone(), format!("`{}` may be the name of a drawn fault", fault.label))
            .label("labels that begin with `chaos-` are those of [chaos]");
    }
}
