//! The configuration of topics: which keys there are, what a value may be, and which value counts.
//!
//! The table holds the 34 keys of Kafka 4.3.1 (`topic_configs.csv` of its facts). A value is looked for at the topic, then
//! at the broker's own dynamic values, those of all brokers and in the node's file, these under the key's *broker* name,
//! then in the table.

mod docs;
mod operation;

use std::collections::BTreeMap;

use protocol::Str;

use crate::broker_configs::{ConfigType, broker_config};
use crate::image::{Configs, ResourceKind};

pub use docs::topic_doc;
pub use operation::Operation;

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number of 32 bits within the bounds.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// A whole number of 64 bits within the bounds.
    Long {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// A number within the bounds.
    Double {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// 1 to 9, or -1 for the codec's default.
    GzipLevel,
    /// `compact`, `delete`, both or neither, each once.
    Policies,
    /// `*`, nothing, or a list of `partition:broker`.
    Throttled,
}

/// A key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TopicConfig {
    /// Its name at a topic.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its value where nobody set one.
    pub default: Option<&'static str>,
    /// Its name at a broker, where topics inherit it from.
    pub broker_name: Option<&'static str>,
}

impl TopicConfig {
    /// Shown only where it was set.
    pub fn is_internal(&self) -> bool {
        self.name == "internal.segment.bytes"
    }

    /// The type of its value.
    pub const fn kind_of_value(&self) -> ConfigType {
        match self.kind {
            Kind::Boolean => ConfigType::Boolean,
            Kind::Int { .. } | Kind::GzipLevel => ConfigType::Int,
            Kind::Long { .. } => ConfigType::Long,
            Kind::Double { .. } => ConfigType::Double,
            Kind::Choice(_) => ConfigType::String,
            Kind::Policies | Kind::Throttled => ConfigType::List,
        }
    }

    /// Whether its value is a list of words.
    pub fn is_list(&self) -> bool {
        self.kind_of_value() == ConfigType::List
    }
}

const fn entry(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    broker_name: Option<&'static str>,
) -> TopicConfig {
    TopicConfig { name, kind, default, broker_name }
}

/// Every key of a topic, by name.
pub const TOPIC_CONFIGS: &[TopicConfig] = &[
    entry("cleanup.policy", Kind::Policies, Some("delete"), Some("log.cleanup.policy")),
    entry("compression.gzip.level", Kind::GzipLevel, Some("-1"), Some("compression.gzip.level")),
    entry("compression.lz4.level", Kind::Int { min: 1, max: 17 }, Some("9"), Some("compression.lz4.level")),
    entry(
        "compression.type",
        Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Some("producer"),
        Some("compression.type"),
    ),
    entry("compression.zstd.level", Kind::Int { min: -131072, max: 22 }, Some("3"), Some("compression.zstd.level")),
    entry(
        "delete.retention.ms",
        Kind::Long { min: 0, max: i64::MAX },
        Some("86400000"),
        Some("log.cleaner.delete.retention.ms"),
    ),
    entry(
        "file.delete.delay.ms",
        Kind::Long { min: 0, max: i64::MAX },
        Some("60000"),
        Some("log.segment.delete.delay.ms"),
    ),
    entry(
        "flush.messages",
        Kind::Long { min: 1, max: i64::MAX },
        Some("9223372036854775807"),
        Some("log.flush.interval.messages"),
    ),
    entry("flush.ms", Kind::Long { min: 0, max: i64::MAX }, Some("9223372036854775807"), Some("log.flush.interval.ms")),
    entry("follower.replication.throttled.replicas", Kind::Throttled, Some(""), None),
    entry(
        "index.interval.bytes",
        Kind::Int { min: 0, max: i32::MAX as i64 },
        Some("4096"),
        Some("log.index.interval.bytes"),
    ),
    entry("internal.segment.bytes", Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64 }, None, None),
    entry("leader.replication.throttled.replicas", Kind::Throttled, Some(""), None),
    entry(
        "local.retention.bytes",
        Kind::Long { min: -2, max: i64::MAX },
        Some("-2"),
        Some("log.local.retention.bytes"),
    ),
    entry("local.retention.ms", Kind::Long { min: -2, max: i64::MAX }, Some("-2"), Some("log.local.retention.ms")),
    entry(
        "max.compaction.lag.ms",
        Kind::Long { min: 1, max: i64::MAX },
        Some("9223372036854775807"),
        Some("log.cleaner.max.compaction.lag.ms"),
    ),
    entry("max.message.bytes", Kind::Int { min: 0, max: i32::MAX as i64 }, Some("1048588"), Some("message.max.bytes")),
    entry(
        "message.timestamp.after.max.ms",
        Kind::Long { min: 0, max: i64::MAX },
        Some("3600000"),
        Some("log.message.timestamp.after.max.ms"),
    ),
    entry(
        "message.timestamp.before.max.ms",
        Kind::Long { min: 0, max: i64::MAX },
        Some("9223372036854775807"),
        Some("log.message.timestamp.before.max.ms"),
    ),
    entry(
        "message.timestamp.type",
        Kind::Choice(&["CreateTime", "LogAppendTime"]),
        Some("CreateTime"),
        Some("log.message.timestamp.type"),
    ),
    entry(
        "min.cleanable.dirty.ratio",
        Kind::Double { min: 0.0, max: 1.0 },
        Some("0.5"),
        Some("log.cleaner.min.cleanable.ratio"),
    ),
    entry(
        "min.compaction.lag.ms",
        Kind::Long { min: 0, max: i64::MAX },
        Some("0"),
        Some("log.cleaner.min.compaction.lag.ms"),
    ),
    entry("min.insync.replicas", Kind::Int { min: 1, max: i32::MAX as i64 }, Some("1"), Some("min.insync.replicas")),
    entry("preallocate", Kind::Boolean, Some("false"), Some("log.preallocate")),
    entry("remote.log.copy.disable", Kind::Boolean, Some("false"), None),
    entry("remote.log.delete.on.disable", Kind::Boolean, Some("false"), None),
    entry("remote.storage.enable", Kind::Boolean, Some("false"), None),
    entry("retention.bytes", Kind::Long { min: i64::MIN, max: i64::MAX }, Some("-1"), Some("log.retention.bytes")),
    entry("retention.ms", Kind::Long { min: -1, max: i64::MAX }, Some("604800000"), Some("log.retention.ms")),
    entry(
        "segment.bytes",
        Kind::Int { min: 1048576, max: i32::MAX as i64 },
        Some("1073741824"),
        Some("log.segment.bytes"),
    ),
    entry(
        "segment.index.bytes",
        Kind::Int { min: 4, max: i32::MAX as i64 },
        Some("10485760"),
        Some("log.index.size.max.bytes"),
    ),
    entry("segment.jitter.ms", Kind::Long { min: 0, max: i64::MAX }, Some("0"), Some("log.roll.jitter.ms")),
    entry("segment.ms", Kind::Long { min: 1, max: i64::MAX }, Some("604800000"), Some("log.roll.ms")),
    entry("unclean.leader.election.enable", Kind::Boolean, Some("false"), Some("unclean.leader.election.enable")),
];

/// The key of this name.
pub fn topic_config(name: &str) -> Option<&'static TopicConfig> {
    TOPIC_CONFIGS.binary_search_by(|config| config.name.cmp(name)).ok().map(|index| &TOPIC_CONFIGS[index])
}

/// The names under which a broker's key may stand, the one that counts first: times may be given in larger units.
pub fn broker_names(name: &'static str) -> Vec<&'static str> {
    match FAMILIES.iter().find(|family| family.iter().any(|(member, _)| *member == name)) {
        // The scheduler's interval stands in for the other one, not the other way round.
        Some(family) if name != "log.flush.scheduler.interval.ms" => family.iter().map(|(member, _)| *member).collect(),
        _ => vec![name],
    }
}

/// Keys that are one value in several units, with what makes milliseconds of each.
const FAMILIES: &[&[(&str, i64)]] = &[
    &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
    &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
];

/// The values of a node's file that topics inherit, by the first broker name of each key. `given` knows the file.
pub fn inherited_from_file<'a>(given: impl Fn(&str) -> Option<&'a str>) -> BTreeMap<Str, Str> {
    let mut inherited = BTreeMap::new();
    for name in TOPIC_CONFIGS.iter().filter_map(|config| config.broker_name) {
        let family = FAMILIES.iter().find(|family| family[0].0 == name).copied().unwrap_or_default();
        let value = given(name).map(Str::from).or_else(|| {
            let (unit, value) = family.iter().find_map(|(member, unit)| Some((*unit, given(member)?)))?;
            let number = value.trim().parse::<i64>().ok()?;
            Some(Str::from(if number < 0 { -1 } else { number.saturating_mul(unit) }.to_string()))
        });
        if let Some(value) = value {
            inherited.insert(Str::from_static(name), value);
        }
    }
    inherited
}

/// Whether the value of a broker's key is a list of words.
pub fn is_broker_list(name: &str) -> bool {
    broker_config(name).is_some_and(|config| config.kind == ConfigType::List)
}

/// The default of a key that is a list.
pub fn list_default(kind: ResourceKind, name: &str) -> Option<&'static str> {
    match kind {
        ResourceKind::Topic => topic_config(name)?.default,
        _ => broker_config(name)?.default,
    }
}

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// Nobody knows the key.
    #[error("unknown topic config name: {0}")]
    Unknown(Str),
    /// A key without a value.
    #[error("null value not supported for topic config: {0}")]
    Null(Str),
    /// The value is not one of this key's.
    #[error("invalid value {value} for configuration {name}: {problem}")]
    Invalid {
        /// The key.
        name: Str,
        /// The value.
        value: Str,
        /// What is wrong with it.
        problem: String,
    },
    /// Two values contradict each other.
    #[error("conflict in {first} and {second}: {first} must not exceed {second}")]
    Conflict {
        /// The smaller one.
        first: &'static str,
        /// The larger one.
        second: &'static str,
    },
}

/// Judges the configuration of a topic: every key and value, and then the whole that would count.
pub fn check(set: &[(Str, Option<Str>)], inherited: Inherited<'_>) -> Result<Configs, ConfigProblem> {
    let mut configs = Configs::new();
    for (name, value) in set {
        let value = value.as_ref().ok_or_else(|| ConfigProblem::Null(name.clone()))?;
        let config = topic_config(name).ok_or_else(|| ConfigProblem::Unknown(name.clone()))?;
        check_value(config, value).map_err(|problem| ConfigProblem::Invalid {
            name: name.clone(),
            value: value.clone(),
            problem,
        })?;
        configs.insert(name.detached(), value.detached());
    }
    let number =
        |key: &str| effective(key, &configs, inherited).and_then(|(value, _)| value.trim().parse::<i64>().ok());
    if number("min.compaction.lag.ms") > number("max.compaction.lag.ms") {
        return Err(ConfigProblem::Conflict { first: "min.compaction.lag.ms", second: "max.compaction.lag.ms" });
    }
    Ok(configs)
}

fn check_value(config: &TopicConfig, value: &str) -> Result<(), String> {
    let text = value.trim();
    let within = |number: i64, min: i64, max: i64| {
        if number < min {
            Err(format!("value must be at least {min}"))
        } else if number > max {
            Err(format!("value must be no more than {max}"))
        } else {
            Ok(())
        }
    };
    match config.kind {
        Kind::Boolean if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => Ok(()),
        Kind::Boolean => Err("expected value to be either true or false".to_owned()),
        Kind::Int { min, max } => {
            let number = text.parse::<i32>().map_err(|_| "not a number of type INT".to_owned())?;
            within(i64::from(number), min, max)
        }
        Kind::Long { min, max } => {
            within(text.parse::<i64>().map_err(|_| "not a number of type LONG".to_owned())?, min, max)
        }
        Kind::GzipLevel => match text.parse::<i32>() {
            Ok(-1 | 1..=9) => Ok(()),
            _ => Err("value must be between 1 and 9 or equal to -1".to_owned()),
        },
        Kind::Double { min, max } => match text.parse::<f64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            _ => Err(format!("not a number between {min} and {max}")),
        },
        Kind::Choice(words) if words.contains(&text) => Ok(()),
        Kind::Choice(words) => Err(format!("string must be one of: {}", words.join(", "))),
        Kind::Policies => {
            let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
            let known = words.iter().all(|word| ["compact", "delete"].contains(word));
            let once = words.len() < 2 || words[0] != words[1] && words.len() == 2;
            if known && once { Ok(()) } else { Err("valid are compact and delete, each once".to_owned()) }
        }
        Kind::Throttled => {
            let pair = |part: &str| {
                part.split_once(':')
                    .is_some_and(|(a, b)| a.trim().parse::<u32>().is_ok() && b.trim().parse::<u32>().is_ok())
            };
            if text.is_empty() || text == "*" || text.split(',').all(pair) {
                Ok(())
            } else {
                Err("must be the literal '*' or a list of replicas in the form partition:broker".to_owned())
            }
        }
    }
}

/// Where a value comes from, by Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for one broker.
    DynamicBroker = 2,
    /// Set for all brokers.
    DynamicCluster = 3,
    /// In the node's file.
    File = 4,
    /// In the table.
    Default = 5,
}

/// What topics inherit, by broker name; what counts first stands first.
#[derive(Clone, Copy, Debug)]
pub struct Inherited<'a> {
    /// What is set for the broker that asks. A controller asks for none.
    pub broker: Option<&'a Configs>,
    /// What is set for all brokers.
    pub cluster: Option<&'a Configs>,
    /// What stands in the node's file.
    pub file: &'a Configs,
}

/// The value that somebody set and that counts for a topic with `own` values, and where it stands.
pub fn set<'a>(key: &str, own: Option<&'a Configs>, inherited: Inherited<'a>) -> Option<(&'a str, Source)> {
    if let Some(value) = own.and_then(|own| own.get(key)) {
        return Some((value, Source::Topic));
    }
    let name = topic_config(key)?.broker_name?;
    let levels = [
        (inherited.broker, Source::DynamicBroker),
        (inherited.cluster, Source::DynamicCluster),
        (Some(inherited.file), Source::File),
    ];
    levels.into_iter().find_map(|(values, source)| Some((values?.get(name)?.as_str(), source)))
}

/// The value that counts for a topic with `own` values, and where it comes from.
pub fn effective<'a>(key: &str, own: &'a Configs, inherited: Inherited<'a>) -> Option<(&'a str, Source)> {
    set(key, Some(own), inherited).or_else(|| Some((topic_config(key)?.default?, Source::Default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str, value: &str) -> Result<Configs, ConfigProblem> {
        let inherited = Inherited { broker: None, cluster: None, file: &BTreeMap::new() };
        check(&[(Str::from(name), Some(Str::from(value)))], inherited)
    }

    #[test]
    fn the_table_is_sorted_and_every_default_passes_its_own_check() {
        assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(TOPIC_CONFIGS.iter().filter(|config| !config.is_internal()).count(), 33);
        for config in TOPIC_CONFIGS {
            if let Some(default) = config.default {
                assert_eq!(check_value(config, default), Ok(()), "{}", config.name);
            }
        }
    }

    #[test]
    fn values_of_the_wrong_type_or_range_are_refused() {
        for (name, value) in [
            ("min.insync.replicas", "0"),
            ("min.insync.replicas", "two"),
            ("min.insync.replicas", "4294967297"),
            ("cleanup.policy", "remove"),
            ("cleanup.policy", "delete,delete"),
            ("compression.gzip.level", "0"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("segment.bytes", "1048575"),
            ("leader.replication.throttled.replicas", "0-1"),
        ] {
            assert!(matches!(judge(name, value), Err(ConfigProblem::Invalid { .. })), "{name}={value}");
        }
        for (name, value) in [
            ("min.insync.replicas", " 2 "),
            ("cleanup.policy", "compact,delete"),
            ("cleanup.policy", ""),
            ("preallocate", "TRUE"),
            ("retention.ms", "-1"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
        ] {
            assert!(judge(name, value).is_ok(), "{name}={value}");
        }
        assert_eq!(judge("retention", "1"), Err(ConfigProblem::Unknown(Str::from("retention"))));
    }

    #[test]
    fn times_in_a_file_may_be_in_larger_units_and_the_smallest_counts() {
        let file = BTreeMap::from([
            ("log.retention.hours", "2"),
            ("log.roll.ms", "5"),
            ("log.roll.hours", "9"),
            ("log.roll.jitter.hours", "-1"),
            ("message.max.bytes", "7"),
        ]);
        let inherited = inherited_from_file(|name| file.get(name).copied());
        let expected = [
            ("log.retention.ms", "7200000"),
            ("log.roll.jitter.ms", "-1"),
            ("log.roll.ms", "5"),
            ("message.max.bytes", "7"),
        ];
        assert_eq!(inherited, expected.map(|(name, value)| (Str::from(name), Str::from(value))).into());
        assert_eq!(broker_names("log.roll.ms"), ["log.roll.ms", "log.roll.hours"]);
        assert_eq!(broker_names("message.max.bytes"), ["message.max.bytes"]);
    }

    #[test]
    fn the_effective_whole_is_judged_not_only_what_was_set() {
        let lag = BTreeMap::from([(Str::from("log.cleaner.min.compaction.lag.ms"), Str::from("500"))]);
        let set = [(Str::from("max.compaction.lag.ms"), Some(Str::from("100")))];
        let nothing = BTreeMap::new();
        let none = Inherited { broker: None, cluster: None, file: &nothing };
        for inherited in [Inherited { file: &lag, ..none }, Inherited { cluster: Some(&lag), ..none }] {
            assert!(matches!(check(&set, inherited), Err(ConfigProblem::Conflict { .. })));
        }
        assert!(check(&set, none).is_ok());
    }
}
