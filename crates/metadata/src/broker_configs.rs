//! The properties of a broker that Kafka 4.3.1 knows: name, type, default, range, how it may be changed.
//!
//! The table is `broker_configs.csv` beside this file, one property a line, as Kafka's own `KafkaConfig` prints it.
//! [`broker_config`] finds one, [`BrokerConfig::check`] judges a value's form. What ours acts on is not said here.

use std::sync::LazyLock;

/// The type of a value, by Kafka's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number of 16 bits.
    Short,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Any text.
    String,
    /// Words, separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is shown to nobody.
    Password,
}

/// How a property may be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateMode {
    /// At a start only.
    ReadOnly,
    /// Dynamically, a broker at a time.
    PerBroker,
    /// Dynamically, at all brokers or at one.
    ClusterWide,
    /// As [`UpdateMode::ClusterWide`], and not in a file.
    DynamicOnly,
}

/// A property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerConfig {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// Its value where nobody set one.
    pub default: Option<&'static str>,
    /// What a value may be, in Kafka's words; empty if anything of the type.
    pub valid: &'static str,
    /// Not shown to users.
    pub internal: bool,
    /// How it may be changed.
    pub update: UpdateMode,
}

/// All of them, by name.
pub fn broker_configs() -> &'static [BrokerConfig] {
    static TABLE: LazyLock<Vec<BrokerConfig>> = LazyLock::new(|| {
        let mut table: Vec<_> = include_str!("broker_configs.csv").lines().skip(1).map(row).collect();
        table.sort_by_key(|config| config.name);
        table
    });
    &TABLE
}

/// The property of this name.
pub fn broker_config(name: &str) -> Option<&'static BrokerConfig> {
    let table = broker_configs();
    table.binary_search_by(|config| config.name.cmp(name)).ok().map(|index| &table[index])
}

impl BrokerConfig {
    /// Whether a value has the form of this property; if not, what is wrong with it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let text = value.trim();
        let whole = |min: i64, max: i64| {
            let number = text.parse::<i64>().ok().filter(|number| (min..=max).contains(number));
            number.map(|number| number as f64).ok_or_else(|| match text.parse::<i128>() {
                Ok(_) => format!("does not fit: the greatest is {max}"),
                Err(_) => "not a whole number".to_owned(),
            })
        };
        let number = match self.kind {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => None,
            ConfigType::Boolean => return Err("neither true nor false".to_owned()),
            ConfigType::Short => Some(whole(i64::from(i16::MIN), i64::from(i16::MAX))?),
            ConfigType::Int => Some(whole(i64::from(i32::MIN), i64::from(i32::MAX))?),
            ConfigType::Long => Some(whole(i64::MIN, i64::MAX)?),
            ConfigType::Double => Some(text.parse::<f64>().map_err(|_| "not a number".to_owned())?),
            ConfigType::String | ConfigType::List | ConfigType::Class | ConfigType::Password => None,
        };
        match number {
            Some(number) => self.within(number),
            None => self.one_of(text),
        }
    }

    /// Numbers: `[least,...]` or `[least,...,greatest]`, the latter maybe with ` or -1` behind.
    fn within(&self, number: f64) -> Result<(), String> {
        let (range, or) = self.valid.split_once(" or ").unwrap_or((self.valid, ""));
        let Some((least, greatest)) = range.trim_matches(['[', ']']).split_once(",...") else { return Ok(()) };
        let bound = |text: &str| text.trim_start_matches(',').parse::<f64>().ok();
        let above = bound(least).is_none_or(|least| number >= least);
        let below = bound(greatest).is_none_or(|greatest| number <= greatest);
        match (above && below) || bound(or) == Some(number) {
            true => Ok(()),
            false if !above => Err(format!("must be at least {least}")),
            false => Err(format!("must be no more than {}", greatest.trim_start_matches(','))),
        }
    }

    /// Texts: `[word, word]`, or that there must be one.
    fn one_of(&self, text: &str) -> Result<(), String> {
        if self.valid.starts_with("non-empty") && text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let (any_case, words) = match self.valid.strip_prefix("(case insensitive) ") {
            Some(words) => (true, words),
            None => (false, self.valid),
        };
        let Some(words) = words.strip_prefix('[').and_then(|words| words.strip_suffix(']')) else { return Ok(()) };
        let known = |word: &str| words.split(", ").any(|it| it == word || any_case && it.eq_ignore_ascii_case(word));
        let good = match self.kind {
            ConfigType::List => text.split(',').map(str::trim).all(|word| word.is_empty() || known(word)),
            _ => known(text),
        };
        if good { Ok(()) } else { Err(format!("must be one of {words}")) }
    }
}

/// `name,type,default,valid,importance,internal,update_mode,synonyms`; a field with commas stands in quotes.
fn row(line: &'static str) -> BrokerConfig {
    let mut fields = [""; 8];
    let mut rest = line;
    for field in &mut fields {
        (*field, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, behind) = quoted.split_once('"').expect("the table closes its quotes");
                (field, behind.strip_prefix(',').unwrap_or(behind))
            }
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
    }
    let [name, kind, default, valid, _, internal, update, _] = fields;
    BrokerConfig {
        name,
        kind: match kind {
            "boolean" => ConfigType::Boolean,
            "short" => ConfigType::Short,
            "int" => ConfigType::Int,
            "long" => ConfigType::Long,
            "double" => ConfigType::Double,
            "string" => ConfigType::String,
            "list" => ConfigType::List,
            "class" => ConfigType::Class,
            "password" => ConfigType::Password,
            other => panic!("the table has no type {other}"),
        },
        default: Some(default).filter(|default| !matches!(*default, "<null>" | "<required>")),
        valid,
        internal: internal == "true",
        update: match update {
            "read-only" => UpdateMode::ReadOnly,
            "per-broker" => UpdateMode::PerBroker,
            "cluster-wide" => UpdateMode::ClusterWide,
            "cluster-wide:dynamic-only" => UpdateMode::DynamicOnly,
            other => panic!("the table has no update mode {other}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_reads_and_every_default_passes_its_own_check() {
        assert_eq!(broker_configs().len(), 363);
        for config in broker_configs() {
            if let Some(default) = config.default
                && !default.is_empty()
            {
                assert_eq!(config.check(default), Ok(()), "{config:?}");
            }
        }
    }

    #[test]
    fn values_of_the_wrong_type_or_range_are_refused() {
        for (name, value, problem) in [
            ("num.partitions", "two", "not a whole number"),
            ("num.partitions", "0", "must be at least 1"),
            ("message.max.bytes", "4294967296", "does not fit: the greatest is 2147483647"),
            ("auto.create.topics.enable", "yes", "neither true nor false"),
            ("compression.type", "lzma", "must be one of uncompressed, zstd, lz4, snappy, gzip, producer"),
            ("compression.gzip.level", "10", "must be no more than 9"),
            ("process.roles", "broker,observer", "must be one of broker, controller"),
            ("log.cleaner.min.cleanable.ratio", "1.5", "must be no more than 1"),
            ("controller.quorum.voters", "", "must not be empty"),
        ] {
            let config = broker_config(name).expect(name);
            assert_eq!(config.check(value), Err(problem.to_owned()), "{name}={value}");
        }
        for (name, value) in [
            ("num.partitions", " 12 "),
            ("compression.gzip.level", "-1"),
            ("auto.create.topics.enable", "TRUE"),
            ("process.roles", "broker, controller"),
            ("group.consumer.migration.policy", "upgrade"),
        ] {
            assert_eq!(broker_config(name).expect(name).check(value), Ok(()), "{name}={value}");
        }
        assert_eq!(broker_config("zookeeper.connect"), None);
    }
}
