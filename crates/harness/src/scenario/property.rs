//! Kafka's property names that a scenario may set.

use broker::config::Numbers;

/// Properties of a node that are no numbers, with what they may be.
const WORDS: &[(&str, &[&str])] = &[
    ("auto.create.topics.enable", &["true", "false"]),
    ("unclean.leader.election.enable", &["true", "false"]),
    ("record.validation", &["records", "headers"]),
];

/// Properties of a topic that are numbers.
const TOPIC_NUMBERS: &[&str] = &[
    "min.insync.replicas",
    "flush.messages",
    "flush.ms",
    "segment.bytes",
    "segment.ms",
    "segment.jitter.ms",
    "retention.ms",
    "retention.bytes",
    "file.delete.delay.ms",
    "index.interval.bytes",
    "max.message.bytes",
];

/// Properties of a topic that are words.
const TOPIC_WORDS: &[(&str, &[&str])] = &[("unclean.leader.election.enable", &["true", "false"])];

/// What the harness itself decides.
const OURS: &[&str] = &[
    "node.id",
    "cluster.id",
    "process.roles",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
    "controller.quorum.voters",
    "log.dirs",
];

/// Whose properties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// `[cluster] config`.
    Node,
    /// `[topics.NAME] config`.
    Topic,
}

/// What is wrong with a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    /// The name is not known.
    Name,
    /// The name is one that the harness sets.
    Ours,
    /// The value is not one of these.
    Value(&'static str),
}

/// Every name that may be set.
pub(super) fn names(of: Of) -> Vec<&'static str> {
    let (numbers, words) = tables(of);
    numbers.iter().copied().chain(words.iter().map(|(name, _)| *name)).collect()
}

/// Whether `name = value` may be set.
pub(super) fn check(of: Of, name: &str, value: &str) -> Result<(), Wrong> {
    let (numbers, words) = tables(of);
    if numbers.contains(&name) {
        return match value.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(()),
            _ => Err(Wrong::Value("a whole number from 0 on")),
        };
    }
    if let Some((_, known)) = words.iter().find(|(known, _)| *known == name) {
        return if known.contains(&value) {
            Ok(())
        } else {
            Err(Wrong::Value(if known.contains(&"true") { "true or false" } else { "records or headers" }))
        };
    }
    Err(if OURS.contains(&name) { Wrong::Ours } else { Wrong::Name })
}

type Tables = (&'static [&'static str], &'static [(&'static str, &'static [&'static str])]);

fn tables(of: Of) -> Tables {
    match of {
        Of::Node => (Numbers::NAMES, WORDS),
        Of::Topic => (TOPIC_NUMBERS, TOPIC_WORDS),
    }
}
