//! `[swarm]`: what each seed draws beside its faults: the size of the cluster, time-outs, sizes, rates, hardware.
//!
//! A line names a value of the scenario by its path and says what a seed may put there: `cluster.brokers = [3, 4, 5]` (one of
//! these, each as likely; twice in the list is twice as likely), `topics.orders.partitions = "1..8"` (evenly, ends
//! included), `load.writers.rate = "log(5/s..50/s)"` (log-uniformly). Every line draws from a stream of its own, so that
//! a new line moves no other. [`PLACES`] is all that can be drawn.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use super::super::diagnostic::{Problems, Source, Suggest, code};
use super::super::document::{Entry, Node, Value, read_at};
use super::super::model::{Arrivals, Load, Pace, Scenario, Timers, Work};
use super::super::property::{self, Of, Wrong};
use super::super::units::{self, Refusal, show_duration, show_rate, show_size};
use super::dice::Dice;

/// One line of `[swarm]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmLine {
    /// Where the value goes, key by key.
    path: Vec<String>,
    /// What is there.
    key: Key,
    /// What may be put there.
    choice: Choice,
    /// The whole value.
    span: Range<usize>,
}

/// What a seed may draw.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Choice {
    /// One of these; never empty.
    OneOf(Vec<Drawn>),
    /// Evenly, both ends included. Invariant: the first is at most the second.
    Even(u64, u64),
    /// Log-uniformly, both ends included. Invariant: 0 < the first <= the second.
    Log(u64, u64),
}

/// A value that was drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Drawn {
    /// In the unit of its key.
    Number(u64),
    /// One of its words.
    Word(String),
}

/// What can be drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Brokers,
    Controllers,
    Timers,
    NodeProperty,
    LinkLatency,
    LinkJitter,
    LinkMbit,
    DiskRead,
    DiskWrite,
    DiskFsync,
    Partitions,
    Replicas,
    TopicProperty,
    Clients,
    Rate,
    Record,
    Arrivals,
    Acks,
    Batch,
    Linger,
    Timeout,
    InFlight,
}

/// Every path that can be drawn; `*` stands for a name.
const PLACES: &[(&[&str], Key)] = &[
    (&["cluster", "brokers"], Key::Brokers),
    (&["cluster", "controllers"], Key::Controllers),
    (&["cluster", "timers"], Key::Timers),
    (&["cluster", "config", "*"], Key::NodeProperty),
    (&["hardware", "link", "latency"], Key::LinkLatency),
    (&["hardware", "link", "jitter"], Key::LinkJitter),
    (&["hardware", "link", "mbit_s"], Key::LinkMbit),
    (&["hardware", "disk", "read"], Key::DiskRead),
    (&["hardware", "disk", "write"], Key::DiskWrite),
    (&["hardware", "disk", "fsync"], Key::DiskFsync),
    (&["topics", "*", "partitions"], Key::Partitions),
    (&["topics", "*", "replicas"], Key::Replicas),
    (&["topics", "*", "config", "*"], Key::TopicProperty),
    (&["load", "*", "clients"], Key::Clients),
    (&["load", "*", "rate"], Key::Rate),
    (&["load", "*", "record"], Key::Record),
    (&["load", "*", "arrivals"], Key::Arrivals),
    (&["load", "*", "acks"], Key::Acks),
    (&["load", "*", "batch"], Key::Batch),
    (&["load", "*", "linger"], Key::Linger),
    (&["load", "*", "timeout"], Key::Timeout),
    (&["load", "*", "in_flight"], Key::InFlight),
];

/// How a key's values are written.
enum Kind {
    /// A whole number.
    Count(RangeInclusive<u64>),
    /// ns.
    Duration,
    /// Thousandths a second.
    Rate,
    /// Bytes.
    Size(RangeInclusive<u64>),
    /// One of these.
    Word(&'static [&'static str]),
    /// As the property wants it.
    Property(Of),
}

impl Key {
    fn kind(self) -> Kind {
        match self {
            Self::Brokers | Self::Replicas => Kind::Count(1..=99),
            Self::Controllers => Kind::Count(0..=9),
            Self::Timers => Kind::Word(&["fast", "kafka"]),
            Self::NodeProperty => Kind::Property(Of::Node),
            Self::TopicProperty => Kind::Property(Of::Topic),
            Self::LinkMbit => Kind::Count(1..=1_000_000),
            Self::LinkLatency
            | Self::LinkJitter
            | Self::DiskRead
            | Self::DiskWrite
            | Self::DiskFsync
            | Self::Linger
            | Self::Timeout => Kind::Duration,
            Self::Partitions => Kind::Count(1..=10_000),
            Self::Clients => Kind::Count(1..=1_000),
            Self::Rate => Kind::Rate,
            Self::Record => Kind::Size(16..=1 << 20),
            Self::Batch => Kind::Size(0..=1 << 30),
            Self::Arrivals => Kind::Word(&["uniform", "poisson"]),
            Self::Acks => Kind::Word(&["all", "1", "0"]),
            Self::InFlight => Kind::Count(1..=100),
        }
    }
}

impl SwarmLine {
    /// The path as in the file: `cluster.config."log.segment.bytes"`.
    pub fn place(&self) -> String {
        self.path.iter().map(|key| super::super::resolved::key(key)).collect::<Vec<_>>().join(".")
    }

    /// What this seed draws.
    fn draw(&self, seed: u64) -> Drawn {
        let mut dice = Dice::new(seed, &format!("swarm/{}", self.place()));
        match &self.choice {
            Choice::OneOf(list) => dice.pick(list).clone(),
            Choice::Even(from, to) => Drawn::Number(dice.even(*from, *to)),
            Choice::Log(from, to) if self.is_size() => Drawn::Number(dice.log_binary(*from, *to)),
            Choice::Log(from, to) => Drawn::Number(dice.log(*from, *to)),
        }
    }

    /// The smallest that can be drawn.
    fn least(&self) -> Drawn {
        match &self.choice {
            Choice::OneOf(list) => list
                .iter()
                .min_by_key(|drawn| match drawn {
                    Drawn::Number(number) => *number,
                    Drawn::Word(_) => 0,
                })
                .expect("never empty")
                .clone(),
            Choice::Even(from, _) | Choice::Log(from, _) => Drawn::Number(*from),
        }
    }

    fn is_size(&self) -> bool {
        match self.key.kind() {
            Kind::Size(_) => true,
            Kind::Property(_) => self.path.last().is_some_and(|name| name.ends_with(".bytes")),
            _ => false,
        }
    }

    /// A value as one writes it.
    fn show(&self, drawn: &Drawn) -> String {
        match drawn {
            Drawn::Word(word) => word.clone(),
            Drawn::Number(number) => match self.key.kind() {
                Kind::Duration => show_duration(*number),
                Kind::Rate => show_rate(*number),
                Kind::Size(_) => show_size(*number),
                Kind::Property(_) if self.is_size() => show_size(*number),
                Kind::Count(_) | Kind::Word(_) | Kind::Property(_) => number.to_string(),
            },
        }
    }

    /// The topic or load that it is about.
    fn owner(&self) -> &str {
        self.path.get(1).map_or("", String::as_str)
    }
}

impl fmt::Display for SwarmLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        let ends =
            |from: &u64, to: &u64| format!("{}..{}", self.show(&Drawn::Number(*from)), self.show(&Drawn::Number(*to)));
        match &self.choice {
            Choice::OneOf(list) => {
                let list: Vec<String> = list
                    .iter()
                    .map(|drawn| match drawn {
                        Drawn::Number(number) if matches!(self.key.kind(), Kind::Count(_)) => number.to_string(),
                        drawn => super::super::resolved::quoted(&self.show(drawn)),
                    })
                    .collect();
                write!(f, "{place} = [{}]", list.join(", "))
            }
            Choice::Even(from, to) => write!(f, "{place} = \"{}\"", ends(from, to)),
            Choice::Log(from, to) => write!(f, "{place} = \"log({})\"", ends(from, to)),
        }
    }
}

/// Puts what `seed` draws into the scenario; says what it was, line by line.
pub(super) fn draw(scenario: &mut Scenario, seed: u64) -> Vec<(String, String)> {
    let lines = std::mem::take(&mut scenario.swarm);
    let drawn = lines
        .iter()
        .map(|line| {
            let drawn = line.draw(seed);
            put(scenario, line, &drawn);
            (line.place(), line.show(&drawn))
        })
        .collect();
    if !lines.is_empty() {
        fit(scenario);
    }
    drawn
}

/// The scenario with the smallest of everything, to see whether what it names is there for every seed.
pub(in crate::scenario) fn least(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    for line in std::mem::take(&mut scenario.swarm) {
        put(&mut scenario, &line, &line.least());
    }
    fit(&mut scenario);
    scenario
}

/// Values that were drawn apart are made to go together: no more replicas than brokers, no more in sync than there are.
fn fit(scenario: &mut Scenario) {
    let of_nodes = scenario.cluster.config.get("min.insync.replicas").and_then(|text| text.parse::<u32>().ok());
    for topic in &mut scenario.topics {
        topic.replicas.value = topic.replicas.value.min(scenario.cluster.brokers);
        let replicas = topic.replicas.value;
        let own = topic.config.get("min.insync.replicas").and_then(|text| text.parse::<u32>().ok());
        if own.or(of_nodes).is_some_and(|least| least > replicas) {
            topic.config.insert("min.insync.replicas".to_owned(), replicas.to_string());
        }
    }
}

/// Puts one value; `None` if there is no such place.
fn put(scenario: &mut Scenario, line: &SwarmLine, drawn: &Drawn) -> Option<()> {
    let (number, word) = match drawn {
        Drawn::Number(number) => (*number, ""),
        Drawn::Word(word) => (0, word.as_str()),
    };
    let small = u32::try_from(number).unwrap_or(u32::MAX);
    let property = || match drawn {
        Drawn::Number(number) => number.to_string(),
        Drawn::Word(word) => word.clone(),
    };
    let last = line.path.last().cloned().unwrap_or_default();
    let cluster = &mut scenario.cluster;
    let hardware = &mut scenario.hardware;
    let topic = scenario.topics.iter_mut().find(|topic| topic.name.value == line.owner());
    let load = scenario.loads.iter_mut().find(|load| load.name.value == line.owner());
    match line.key {
        Key::Brokers => cluster.brokers = small,
        Key::Controllers => cluster.controllers = small,
        Key::Timers => cluster.timers = if word == "kafka" { Timers::Kafka } else { Timers::Fast },
        Key::NodeProperty => {
            cluster.config.insert(last, property());
        }
        Key::LinkLatency => hardware.link.latency = Some(number),
        Key::LinkJitter => hardware.link.jitter = Some(number),
        Key::LinkMbit => hardware.link.mbit_s = Some(number),
        Key::DiskRead => hardware.disk.read = Some(number),
        Key::DiskWrite => hardware.disk.write = Some(number),
        Key::DiskFsync => hardware.disk.fsync = Some(number),
        Key::Partitions => topic?.partitions = small,
        Key::Replicas => topic?.replicas.value = small,
        Key::TopicProperty => {
            topic?.config.insert(last, property());
        }
        Key::Clients => load?.clients = small,
        Key::Rate => pace(load?)?.rate = number,
        Key::Record => pace(load?)?.record = number,
        Key::Arrivals => {
            pace(load?)?.arrivals = if word == "poisson" { Arrivals::Poisson } else { Arrivals::Uniform };
        }
        Key::Timeout => match &mut load?.work {
            Work::Produce(produce) => produce.timeout = number,
            Work::Echo { timeout, .. } => *timeout = number,
            Work::Consume { .. } => return None,
        },
        Key::Acks | Key::Batch | Key::Linger | Key::InFlight => {
            let Work::Produce(produce) = &mut load?.work else { return None };
            match line.key {
                Key::Acks => produce.acks = word.parse().unwrap_or(-1),
                Key::Batch => produce.batch = number,
                Key::Linger => produce.linger = number,
                _ => produce.in_flight = small,
            }
        }
    }
    Some(())
}

fn pace(load: &mut Load) -> Option<&mut Pace> {
    match &mut load.work {
        Work::Produce(produce) => Some(&mut produce.pace),
        Work::Echo { pace, .. } => Some(pace),
        Work::Consume { .. } => None,
    }
}

/// Tells which lines are about something that is not there.
pub(in crate::scenario) fn lint(scenario: &Scenario, problems: &mut Problems) {
    for line in &scenario.swarm {
        let mut copy = scenario.clone();
        if put(&mut copy, line, &line.least()).is_some() {
            continue;
        }
        let (what, owner, key) = (line.path[0].as_str(), line.owner(), line.path[2].as_str());
        let topics: Vec<&str> = scenario.topics.iter().map(|topic| topic.name.value.as_str()).collect();
        let loads: Vec<&str> = scenario.loads.iter().map(|load| load.name.value.as_str()).collect();
        if what == "topics" {
            problems
                .error(code::NO_SUCH_TOPIC, line.span.clone(), format!("there is no topic `{owner}` to draw for"))
                .suggest(owner, "topics", topics);
        } else if !loads.contains(&owner) {
            problems
                .error(code::NO_SUCH_LOAD, line.span.clone(), format!("there is no load `{owner}` to draw for"))
                .suggest(owner, "loads", loads);
        } else {
            problems
                .error(code::UNKNOWN_KEY, line.span.clone(), format!("the load `{owner}` has no `{key}` to draw"))
                .label("it does not produce");
        }
    }
}

/// Reads `[swarm]`.
pub(in crate::scenario) fn read(entries: &[Entry], problems: &mut Problems, source: &Source) -> Vec<SwarmLine> {
    let mut lines = Vec::new();
    walk(entries, &mut Vec::new(), &mut lines, problems, source);
    lines
}

fn walk(
    entries: &[Entry],
    path: &mut Vec<String>,
    lines: &mut Vec<SwarmLine>,
    problems: &mut Problems,
    source: &Source,
) {
    for entry in entries {
        path.push(entry.key.clone());
        let found = PLACES.iter().find(|(pattern, _)| pattern.len() == path.len() && begins(pattern, path));
        match (&entry.node.value, found) {
            (_, Some((_, key))) => {
                let choice = Reader { key: *key, name: &entry.key, problems, source }.choice(&entry.node);
                lines.extend(choice.map(|choice| SwarmLine {
                    path: path.clone(),
                    key: *key,
                    choice,
                    span: entry.node.span.clone(),
                }));
            }
            (Value::Table(inner), None) if PLACES.iter().any(|(pattern, _)| begins(pattern, path)) => {
                walk(inner, path, lines, problems, source);
            }
            _ => {
                let depth = path.len() - 1;
                let near = PLACES.iter().filter(|(pattern, _)| begins(pattern, &path[..depth]));
                let mut known: Vec<&str> = near.filter_map(|(pattern, _)| pattern.get(depth).copied()).collect();
                known.dedup();
                known.retain(|word| *word != "*");
                let what = path.join(".");
                problems
                    .error(code::UNKNOWN_KEY, entry.key_span.clone(), format!("`{what}` cannot be drawn by a seed"))
                    .suggest(&entry.key, "what can be drawn here", known);
            }
        }
        path.pop();
    }
}

/// Whether a pattern of [`PLACES`] begins with these keys.
fn begins(pattern: &[&str], keys: &[String]) -> bool {
    keys.len() <= pattern.len() && keys.iter().zip(pattern).all(|(key, want)| *want == "*" || key == want)
}

struct Reader<'a> {
    key: Key,
    /// The last key of the path: the property's name, if it is one.
    name: &'a str,
    problems: &'a mut Problems,
    source: &'a Source,
}

impl Reader<'_> {
    fn choice(&mut self, node: &Node) -> Option<Choice> {
        match &node.value {
            Value::List(list) if !list.is_empty() => {
                let values: Vec<Drawn> = list.iter().filter_map(|item| self.one(item)).collect();
                (values.len() == list.len()).then_some(Choice::OneOf(values))
            }
            Value::Text(text) if text.contains("..") => {
                let (key, name) = (self.key, self.name);
                read_at(text, node.span.clone(), self.problems, self.source, |text| range(text, key, name))
                    .map(|found| found.value)
            }
            Value::Table(_) if matches!(self.key.kind(), Kind::Property(_)) => {
                self.problems
                    .error(code::WRONG_TYPE, node.span.clone(), format!("`{}` is a table here", self.name))
                    .label("a property's name has dots: write it in quotes");
                None
            }
            other => {
                let example = match self.key.kind() {
                    Kind::Duration => "[\"1ms\", \"5ms\"], \"1ms..5ms\" or \"log(100us..10ms)\"",
                    Kind::Rate => "[\"10/s\", \"50/s\"], \"10/s..50/s\" or \"log(10/s..1k/s)\"",
                    Kind::Size(_) => "[\"1KiB\", \"4KiB\"], \"1KiB..4KiB\" or \"log(64B..64KiB)\"",
                    Kind::Word(_) => "a list of words",
                    Kind::Count(_) | Kind::Property(_) => "[1, 3, 5], \"1..5\" or \"log(1..100)\"",
                };
                let kind = if matches!(other, Value::List(_)) { "an empty list" } else { other.kind() };
                self.problems
                    .error(
                        code::WRONG_TYPE,
                        node.span.clone(),
                        format!("`{}` leaves a seed no choice: this is {kind}", self.name),
                    )
                    .label(format!("what to draw from: {example}"));
                None
            }
        }
    }

    /// One value of a list.
    fn one(&mut self, node: &Node) -> Option<Drawn> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            other => {
                let kind = other.kind();
                self.problems.error(code::WRONG_TYPE, node.span.clone(), format!("{kind} is nothing to draw"));
                return None;
            }
        };
        let (key, name) = (self.key, self.name);
        read_at(&text, node.span.clone(), self.problems, self.source, |text| value(text, key, name))
            .map(|found| found.value)
    }
}

/// `1..5`, `log(1KiB..1MiB)`.
fn range(text: &str, key: Key, name: &str) -> Result<Choice, Refusal> {
    let whole = || 0..text.len();
    let (inner, at, log) = match text.strip_prefix("log(") {
        Some(rest) => match rest.strip_suffix(')') {
            Some(inner) => (inner, 4, true),
            None => return Err(Refusal::new(code::OUT_OF_RANGE, whole(), format!("`{text}` lacks a `)`"))),
        },
        None => (text, 0, false),
    };
    let (from, to) = inner.split_once("..").unwrap_or((inner, ""));
    let to_at = at + from.len() + 2;
    let end = |text: &str, at: usize| -> Result<u64, Refusal> {
        let trimmed = text.trim();
        match value(trimmed, key, name) {
            Ok(Drawn::Number(number)) => Ok(number),
            Ok(Drawn::Word(word)) => {
                Err(Refusal::new(code::OUT_OF_RANGE, at..at + text.len(), format!("`{word}` is no end of a range"))
                    .label("words stand in a list: [\"one\", \"two\"]"))
            }
            Err(refusal) => Err(refusal.shifted(at + (text.len() - text.trim_start().len()))),
        }
    };
    let (from, to) = (end(from, at)?, end(to, to_at)?);
    if from > to {
        return Err(Refusal::new(code::OUT_OF_RANGE, whole(), "the range ends before it begins"));
    }
    if log && from == 0 {
        return Err(Refusal::new(code::OUT_OF_RANGE, whole(), "a logarithmic range cannot begin at 0")
            .label("begin at the smallest that makes a difference, or take the log away"));
    }
    Ok(if log { Choice::Log(from, to) } else { Choice::Even(from, to) })
}

/// One value of a key.
fn value(text: &str, key: Key, name: &str) -> Result<Drawn, Refusal> {
    let whole = || 0..text.len();
    let within = |number: u64, range: &RangeInclusive<u64>| {
        if range.contains(&number) {
            return Ok(Drawn::Number(number));
        }
        Err(Refusal::new(code::OUT_OF_RANGE, whole(), format!("`{name}` = {text} is out of range")).label(format!(
            "from {} to {}",
            range.start(),
            range.end()
        )))
    };
    match key.kind() {
        Kind::Count(range) => match text.parse() {
            Ok(number) => within(number, &range),
            Err(_) => Err(Refusal::new(code::WRONG_TYPE, whole(), format!("`{text}` is no whole number"))),
        },
        Kind::Duration => units::duration(text).map(Drawn::Number),
        Kind::Rate => units::rate(text).map(Drawn::Number),
        Kind::Size(range) => within(units::size(text)?, &range),
        Kind::Word(words) if words.contains(&text) => Ok(Drawn::Word(text.to_owned())),
        Kind::Word(words) => Err(Refusal::new(code::UNKNOWN_WORD, whole(), format!("`{name}` cannot be `{text}`"))
            .suggest(text, "words here", words)),
        Kind::Property(of) => {
            let number = if text.parse::<i64>().is_err() && name.ends_with(".bytes") {
                Some(units::size(text)?)
            } else if text.parse::<i64>().is_err() && name.ends_with(".ms") {
                Some(units::duration(text)? / 1_000_000)
            } else {
                text.parse::<u64>().ok()
            };
            let drawn = number.map_or_else(|| Drawn::Word(text.to_owned()), Drawn::Number);
            let plain = number.map_or_else(|| text.to_owned(), |number| number.to_string());
            match property::check(of, name, &plain) {
                Ok(()) => Ok(drawn),
                Err(Wrong::Name) => {
                    let known = property::names(of);
                    let mut refusal = Refusal::new(
                        code::UNKNOWN_PROPERTY,
                        whole(),
                        format!("`{name}` is no property that this version acts on"),
                    );
                    if let Some(best) = super::super::diagnostic::closest(name, &known) {
                        refusal = refusal.label(format!("did you mean `{best}`?"));
                    } else {
                        refusal.notes.push("`simctl check --properties` lists those it acts on".to_owned());
                    }
                    Err(refusal)
                }
                Err(Wrong::Ours) => {
                    Err(Refusal::new(code::UNKNOWN_PROPERTY, whole(), format!("`{name}` follows from the scenario"))
                        .label("take this line out"))
                }
                Err(Wrong::Value(wanted)) => {
                    Err(Refusal::new(code::OUT_OF_RANGE, whole(), format!("`{name}` cannot be `{text}`")).label(wanted))
                }
            }
        }
    }
}
