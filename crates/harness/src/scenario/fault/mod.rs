//! The fault vocabulary: [`Action`] with a file for each family, one table of words, one reader of a line.
//!
//! A family's file has its enum, how its words are read and how they are written again ([`Action::arguments`]).
//! [`WORDS`] repeats the table of the world's specification with the issue that brings each word; a word of a later issue
//! is known and refused. Host terms are resolved when the fault fires, against the leaders observed then.

mod clock;
mod disk;
mod network;
mod process;

use std::ops::Range;
use std::slice;

pub use self::{
    clock::ClockAction,
    disk::{DiskAction, Slower},
    network::NetworkAction,
    process::ProcessAction,
};
use super::diagnostic::{Problems, Source, Spanned, Suggest, code};
use super::document::{Fields, Node, Value, comes_later, read_at, text};
use super::term::{self, LinkTerm, NodeTerm};
use super::units;

/// Words of `faults` that are no fault of the world's vocabulary: one ends faults, one comes later.
const BESIDES: &[&str] = &["heal", "run"];

/// Every word that a line of `faults` may have, in the order of the vocabulary, be it one that comes later.
pub fn words() -> impl Iterator<Item = &'static str> {
    world::VOCABULARY.iter().map(|word| word.word).chain(BESIDES.iter().copied())
}

/// Whether this version acts on a word.
pub fn is_here(word: &str) -> bool {
    [network::WORDS, process::WORDS, disk::WORDS, clock::WORDS, &["heal"]].iter().any(|family| family.contains(&word))
}

/// One line of `faults`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultLine {
    /// When it begins.
    pub at: Spanned<At>,
    /// What happens.
    pub action: Action,
    /// How long it lasts, in ns; nothing means to the end of the run (or for ever, for what has no end).
    pub lasts: Option<u64>,
    /// After how long a host that went down is started again, in ns.
    pub restart_after: Option<u64>,
    /// `within_budget`: it is left out if, when its time comes, the fault budget (`keep`) or `max_concurrent` forbids it, or
    /// if it would hit nobody. Lines that a seed draws are such.
    pub within_budget: bool,
    /// Its name in SLOs and reports: as given, or the word.
    pub label: String,
    /// The whole line.
    pub span: Range<usize>,
}

/// When a fault begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// So long after the start of the first phase, in ns.
    Absolute(u64),
    /// So long after the start of a phase, in ns.
    Phase(String, u64),
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// To links.
    Network(NetworkAction),
    /// To processes and machines.
    Process(ProcessAction),
    /// To disks.
    Disk(DiskAction),
    /// To clocks.
    Clock(ClockAction),
    /// Ends other faults.
    Heal(Heal),
}

impl From<NetworkAction> for Action {
    fn from(action: NetworkAction) -> Self {
        Self::Network(action)
    }
}

impl From<ProcessAction> for Action {
    fn from(action: ProcessAction) -> Self {
        Self::Process(action)
    }
}

impl From<DiskAction> for Action {
    fn from(action: DiskAction) -> Self {
        Self::Disk(action)
    }
}

impl From<ClockAction> for Action {
    fn from(action: ClockAction) -> Self {
        Self::Clock(action)
    }
}

/// Whom an action is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// Hosts.
    Hosts(&'a [Spanned<NodeTerm>]),
    /// A link.
    Link(&'a Spanned<LinkTerm>),
    /// Other faults, or nobody.
    Nobody,
}

/// What `heal` ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heal {
    /// Everything.
    All,
    /// The fault with this label.
    Label(Spanned<String>),
    /// Every cut and slowness of a link.
    Link(Spanned<LinkTerm>),
}

impl Action {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Network(action) => action.word(),
            Self::Process(action) => action.word(),
            Self::Disk(action) => action.word(),
            Self::Clock(action) => action.word(),
            Self::Heal(_) => "heal",
        }
    }

    /// Whom it is about, in terms that are resolved when it happens.
    pub fn target(&self) -> Target<'_> {
        match self {
            Self::Network(action) => action.target(),
            Self::Process(action) => action.target(),
            Self::Disk(action) => action.target(),
            Self::Clock(action) => action.target(),
            Self::Heal(Heal::Link(link)) => Target::Link(link),
            Self::Heal(_) => Target::Nobody,
        }
    }

    /// The hosts that stop serving by it: not those that are only cut off.
    pub fn downs(&self) -> &[Spanned<NodeTerm>] {
        match self {
            Self::Process(action) if action.downs() => match action.target() {
                Target::Hosts(hosts) => hosts,
                Target::Link(_) | Target::Nobody => &[],
            },
            _ => &[],
        }
    }

    /// Whether a process may stop because of it, and be started again with `restart_after`.
    pub const fn may_stop(&self) -> bool {
        matches!(self, Self::Disk(action) if action.may_stop())
    }

    /// Whether it has a length (`for`).
    pub const fn has_length(&self) -> bool {
        match self {
            Self::Network(action) => action.has_length(),
            Self::Process(action) => action.has_length(),
            Self::Disk(action) => action.has_length(),
            Self::Clock(action) => action.has_length(),
            Self::Heal(_) => false,
        }
    }

    /// Its further arguments as a scenario would say them: `latency = "2ms"`.
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Network(action) => action.arguments(),
            Self::Process(action) => action.arguments(),
            Self::Disk(action) => action.arguments(),
            Self::Clock(action) => action.arguments(),
            Self::Heal(_) => Vec::new(),
        }
    }
}

/// One host as a list.
fn one(host: &Spanned<NodeTerm>) -> Target<'_> {
    Target::Hosts(slice::from_ref(host))
}

/// Reads one line of `faults`.
pub fn read(node: &Node, problems: &mut Problems, source: &Source) -> Option<FaultLine> {
    let entries = super::document::table(node, "faults", problems)?;
    let mut fields = Fields::new("a fault", node.span.clone(), entries);
    let at = fields.read("at", problems, source, read_at_term);
    let at = fields.require("at", at, problems);
    let label = fields.text("label", problems).map(|label| label.value.to_owned());

    let within_budget = fields.boolean("within_budget", problems);

    // `pause` is a fault, and how long a `roll` waits between two hosts.
    let rolls = entries.iter().any(|entry| entry.key == "roll");
    let is_word = |key: &str| words().any(|word| word == key) && !(rolls && key == "pause");
    let mut found = entries.iter().filter(|entry| is_word(&entry.key));
    let Some(word) = found.next() else {
        if let Some(entry) = fields.rest(|key| !["for", "restart_after"].contains(&key)).first() {
            problems
                .error(code::UNKNOWN_WORD, entry.key_span.clone(), format!("unknown fault `{}`", entry.key))
                .suggest(&entry.key, "faults", words().filter(|word| is_here(word)));
            return None;
        }
        problems
            .error(code::MISSING_KEY, node.span.clone(), "this fault does nothing")
            .label("one word is needed: kill, cut, pause, …");
        return None;
    };
    if let Some(second) = found.next() {
        problems
            .error(
                code::NOT_TOGETHER,
                second.key_span.clone(),
                format!("`{}` and `{}` in one fault", word.key, second.key),
            )
            .label("one fault, one line");
        return None;
    }
    let name = words().find(|known| *known == word.key)?;
    if !is_here(name) {
        comes_later(problems, word.key_span.clone(), &format!("the fault `{name}`"));
        return None;
    }
    let action = read_action(name, &mut fields, problems, source);
    let lasts = if action.as_ref().is_none_or(Action::has_length) {
        super::document::duration(&mut fields, "for", problems, source)
    } else {
        None
    };
    let restarts = action.as_ref().is_none_or(|action| !action.downs().is_empty() || action.may_stop());
    let restart_after =
        if restarts { super::document::duration(&mut fields, "restart_after", problems, source) } else { None };
    fields.hint("for", "restart_after");
    fields.hint("restart_after", "for");
    fields.title = format!("the fault `{name}`");
    fields.finish(problems);
    Some(FaultLine {
        at: at?,
        action: action?,
        lasts: lasts.map(|lasts| lasts.value),
        restart_after: restart_after.map(|after| after.value),
        within_budget: within_budget.is_some_and(|within| within.value),
        label: label.unwrap_or_else(|| name.to_owned()),
        span: node.span.clone(),
    })
}

fn read_action(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<Action> {
    if network::WORDS.contains(&name) {
        return network::read(name, fields, problems, source).map(Action::Network);
    }
    if process::WORDS.contains(&name) {
        return process::read(name, fields, problems, source).map(Action::Process);
    }
    if disk::WORDS.contains(&name) {
        return disk::read(name, fields, problems, source).map(Action::Disk);
    }
    if clock::WORDS.contains(&name) {
        return clock::read(name, fields, problems, source).map(Action::Clock);
    }
    (name == "heal").then(|| heal(name, fields, problems, source)).flatten().map(Action::Heal)
}

fn heal(name: &'static str, fields: &mut Fields<'_>, problems: &mut Problems, source: &Source) -> Option<Heal> {
    let found = fields.text(name, problems)?;
    Some(if found.value == "all" {
        Heal::All
    } else if term::is_link(found.value) {
        Heal::Link(read_at(found.value, found.span, problems, source, term::link)?)
    } else {
        Heal::Label(Spanned::new(found.value.to_owned(), found.span))
    })
}

/// The key `share`, which must be there.
fn share(fields: &mut Fields<'_>, problems: &mut Problems, source: &Source) -> Option<u32> {
    let share = fields.read("share", problems, source, units::share);
    fields.require("share", share, problems).map(|found| found.value)
}

/// One host term, or a list of them.
fn hosts(
    key: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<Vec<Spanned<NodeTerm>>> {
    let entry = fields.get(key)?;
    let list = match &entry.node.value {
        Value::List(list) => list.as_slice(),
        _ => slice::from_ref(&entry.node),
    };
    let terms: Vec<_> = list
        .iter()
        .filter_map(|node| {
            let found = text(node, key, problems)?;
            read_at(found.value, found.span, problems, source, term::node)
        })
        .collect();
    if list.is_empty() {
        problems.error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("`{key}` of nobody"));
    }
    (terms.len() == list.len() && !terms.is_empty()).then_some(terms)
}

fn read_at_term(text: &str) -> Result<At, units::Refusal> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return units::duration(text).map(At::Absolute);
    }
    let (phase, offset) = match text.split_once('+') {
        Some((phase, rest)) => {
            let offset = units::duration(rest.trim())
                .map_err(|refusal| refusal.shifted(text.len() - rest.trim_start().len()))?;
            (phase.trim_end(), offset)
        }
        None => (text.trim(), 0),
    };
    Ok(At::Phase(phase.to_owned(), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_counts_from_a_phase() {
        assert_eq!(read_at_term("20s"), Ok(At::Absolute(20_000_000_000)));
        assert_eq!(read_at_term("failover"), Ok(At::Phase("failover".into(), 0)));
        assert_eq!(read_at_term("failover + 2s"), Ok(At::Phase("failover".into(), 2_000_000_000)));
        assert_eq!(read_at_term("failover+2x").unwrap_err().at, 10..11);
    }
}
