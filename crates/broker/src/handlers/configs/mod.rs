//! Configurations of topics and brokers: what they are ([`describe`]) and how they change ([`alter`]).
//!
//! A broker's value is looked for in its own dynamic values, those of all brokers, its file, the table of defaults.
//! Deliberately absent: levels of loggers, and configurations of groups and client metrics.

pub mod alter;
pub mod describe;

use metadata::broker_configs::{ConfigType, broker_config};
use metadata::configs::{Source, broker_names};
use metadata::{ConfigResource, Configs, Image};
use protocol::ErrorCode;

use crate::config::Config;

/// Why something is refused: the code and the sentence for people.
type Refusal = (ErrorCode, String);

/// `ConfigResource.Type` of topics.
const TOPIC: i8 = 2;
/// Of brokers.
const BROKER: i8 = 4;
/// Of a broker's loggers.
const BROKER_LOGGER: i8 = 8;
/// Of client metrics.
const CLIENT_METRICS: i8 = 16;
/// Of groups.
const GROUP: i8 = 32;

/// A name under which a value stands somewhere.
struct Synonym {
    name: &'static str,
    value: String,
    source: Source,
}

/// All that says something about a broker's keys.
struct BrokerValues<'a> {
    own: Option<&'a Configs>,
    cluster: Option<&'a Configs>,
    config: &'a Config,
}

impl<'a> BrokerValues<'a> {
    fn new(image: &'a Image, config: &'a Config) -> Self {
        Self {
            own: image.configs(&ConfigResource::broker(config.node_id)).map(AsRef::as_ref),
            cluster: image.configs(&ConfigResource::cluster()).map(AsRef::as_ref),
            config,
        }
    }

    /// What stands in the file.
    fn given(&self, name: &str) -> Option<&str> {
        // Two names of one thing.
        let name = if name == "broker.id" { "node.id" } else { name };
        self.config.given.get(name).map(String::as_str)
    }

    /// The value that counts.
    fn value(&self, name: &str) -> Option<&str> {
        let dynamic = |configs: Option<&'a Configs>| configs?.get(name).map(|value| value.as_str());
        dynamic(self.own)
            .or_else(|| dynamic(self.cluster))
            .or_else(|| self.given(name))
            .or_else(|| broker_config(name)?.default)
    }

    /// Where a key's value stands, under all its names, what counts first. What stands before the first entry of the name
    /// that was asked for does not show, so keys whose default is another key's have no synonyms by default, as in Kafka.
    fn synonyms(&self, name: &'static str) -> Vec<Synonym> {
        let names = broker_names(name);
        let mut all = Vec::new();
        let mut look = |source, find: &dyn Fn(&str) -> Option<String>| {
            for name in &names {
                if let Some(value) = find(name) {
                    all.push(Synonym { name, value, source });
                }
            }
        };
        let dynamic = |configs: Option<&Configs>, name: &str| Some(configs?.get(name)?.to_string());
        look(Source::DynamicBroker, &|name| dynamic(self.own, name));
        look(Source::DynamicCluster, &|name| dynamic(self.cluster, name));
        look(Source::File, &|name| self.given(name).map(str::to_owned));
        look(Source::Default, &|name| broker_config(name)?.default.map(str::to_owned));
        let first = all.iter().position(|synonym| synonym.name == name).unwrap_or(all.len());
        all.split_off(first)
    }
}

/// `ConfigType`, by Kafka's numbers.
const fn type_code(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => 1,
        ConfigType::String => 2,
        ConfigType::Int => 3,
        ConfigType::Short => 4,
        ConfigType::Long => 5,
        ConfigType::Double => 6,
        ConfigType::List => 7,
        ConfigType::Class => 8,
        ConfigType::Password => 9,
    }
}

/// The broker's id that a resource is named by, which must be this one's.
fn own_id(name: &str, config: &Config) -> Result<(), Refusal> {
    let invalid = |why| Err((ErrorCode::InvalidRequest, why));
    match name.parse::<i32>() {
        Err(_) => invalid(format!("'{name}' is no id of a broker")),
        Ok(id) if id != config.node_id.0 => {
            invalid(format!("broker {id} must be asked for itself: this is broker {}", config.node_id))
        }
        Ok(_) => Ok(()),
    }
}
