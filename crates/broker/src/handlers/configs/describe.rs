//! DescribeConfigs and ListConfigResources: what is set, what counts, and where it comes from.

use metadata::broker_configs::{BrokerConfig, ConfigType, UpdateMode, broker_config, broker_configs};
use metadata::configs::{Inherited, Source, TOPIC_CONFIGS, TopicConfig, effective, topic_doc};
use metadata::{ConfigResource, Configs, Image};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::list_config_resources_response;
use protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use protocol::{ErrorCode, Str};

use super::{BROKER, BROKER_LOGGER, BrokerValues, CLIENT_METRICS, GROUP, Refusal, Synonym, TOPIC, own_id, type_code};
use crate::config::Config;
use crate::handlers::metadata::is_topic_name;

/// What a group's or a client metrics' configuration would be.
const NOT_HERE: &str = "configurations of groups and client metrics are not served here";

/// Answers from this broker's image and file.
pub fn handle(image: &Image, config: &Config, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let describe = Describe { image, config, request };
    let known = |asked: &DescribeConfigsResource| {
        matches!(asked.resource_type, TOPIC | BROKER | BROKER_LOGGER | CLIENT_METRICS | GROUP)
    };
    // One resource of an unknown type spoils the request.
    let spoilt = !request.resources.iter().all(known);
    let result = |asked: &DescribeConfigsResource| {
        let (code, why, configs) = match describe.resource(asked) {
            _ if spoilt => (ErrorCode::InvalidRequest, Some("a resource has an unknown type".to_owned()), Vec::new()),
            Ok(configs) => (ErrorCode::None, None, configs),
            Err((code, why)) => (code, Some(why), Vec::new()),
        };
        DescribeConfigsResult {
            error_code: code.code(),
            error_message: why.map(Str::from),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
            configs,
            ..Default::default()
        }
    };
    DescribeConfigsResponse { results: request.resources.iter().map(result).collect(), ..Default::default() }
}

struct Describe<'a> {
    image: &'a Image,
    config: &'a Config,
    request: &'a DescribeConfigsRequest,
}

impl Describe<'_> {
    fn resource(&self, asked: &DescribeConfigsResource) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let keys = asked.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| *key == *name));
        let name = &asked.resource_name;
        match asked.resource_type {
            TOPIC => self.topic(name, &wanted),
            BROKER if name.is_empty() => Ok(self.cluster(&wanted)),
            BROKER => own_id(name, self.config).map(|()| self.broker(&wanted)),
            BROKER_LOGGER if name.is_empty() => {
                Err((ErrorCode::InvalidRequest, "loggers belong to a broker: its id is needed".to_owned()))
            }
            // Levels are set at a start, not by request.
            BROKER_LOGGER => own_id(name, self.config).map(|()| Vec::new()),
            _ => Err((ErrorCode::InvalidRequest, NOT_HERE.to_owned())),
        }
    }

    fn topic(&self, name: &Str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        if !is_topic_name(name) {
            return Err((ErrorCode::InvalidTopicException, format!("'{name}' is no name of a topic")));
        }
        if self.image.topic_named(name).is_none() {
            return Err((ErrorCode::UnknownTopicOrPartition, format!("no topic has the name '{name}'")));
        }
        let none = Configs::new();
        let own = self.image.configs(&ConfigResource::topic(name.clone())).map_or(&none, AsRef::as_ref);
        let shown = |config: &&TopicConfig| !config.is_internal() || own.contains_key(config.name);
        let values = BrokerValues::new(self.image, self.config);
        let shown = TOPIC_CONFIGS.iter().filter(shown).filter(|config| wanted(config.name));
        Ok(shown.map(|config| self.topic_key(config, own, &values)).collect())
    }

    fn topic_key(
        &self,
        config: &'static TopicConfig,
        own: &Configs,
        values: &BrokerValues<'_>,
    ) -> DescribeConfigsResourceResult {
        let mut synonyms = config.broker_name.map(|name| values.synonyms(name)).unwrap_or_default();
        if let Some(value) = own.get(config.name) {
            synonyms.insert(0, Synonym { name: config.name, value: value.to_string(), source: Source::Topic });
        }
        let inherited = Inherited { broker: values.own, cluster: values.cluster, file: &self.config.topic_defaults };
        let value = effective(config.name, own, inherited).map(|(value, _)| value.to_owned());
        self.result(config.name, value, &synonyms, config.kind_of_value(), topic_doc(config.name), false)
    }

    fn broker(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let values = BrokerValues::new(self.image, self.config);
        let shown = broker_configs().iter().filter(|config| !config.internal && wanted(config.name));
        shown
            .map(|config| {
                let value = values.value(config.name).map(str::to_owned);
                self.broker_key(config, value, &values.synonyms(config.name))
            })
            .collect()
    }

    /// The dynamic values of all brokers, nothing else.
    fn cluster(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let values = BrokerValues::new(self.image, self.config);
        let set = values.cluster.into_iter().flatten().filter(|(name, _)| wanted(name));
        set.map(|(name, value)| match broker_config(name) {
            Some(config) => {
                let mut synonyms = values.synonyms(config.name);
                synonyms.retain(|synonym| synonym.source == Source::DynamicCluster);
                self.broker_key(config, Some(value.to_string()), &synonyms)
            }
            // Nobody knows its type, so it may be a secret.
            None => DescribeConfigsResourceResult {
                name: name.clone(),
                value: None,
                config_source: Source::DynamicCluster as i8,
                is_sensitive: true,
                read_only: true,
                ..Default::default()
            },
        })
        .collect()
    }

    fn broker_key(
        &self,
        config: &BrokerConfig,
        value: Option<String>,
        synonyms: &[Synonym],
    ) -> DescribeConfigsResourceResult {
        let topic = TOPIC_CONFIGS.iter().find(|topic| topic.broker_name == Some(config.name));
        let doc = topic.and_then(|topic| topic_doc(topic.name));
        self.result(config.name, value, synonyms, config.kind, doc, config.update == UpdateMode::ReadOnly)
    }

    fn result(
        &self,
        name: &'static str,
        value: Option<String>,
        synonyms: &[Synonym],
        kind: ConfigType,
        doc: Option<&'static str>,
        read_only: bool,
    ) -> DescribeConfigsResourceResult {
        let is_sensitive = kind == ConfigType::Password;
        let shown = |value: Option<&String>| value.filter(|_| !is_sensitive).map(|value| Str::from(value.as_str()));
        let synonym = |it: &Synonym| DescribeConfigsSynonym {
            name: Str::from_static(it.name),
            value: shown(Some(&it.value)),
            source: it.source as i8,
            ..Default::default()
        };
        DescribeConfigsResourceResult {
            name: Str::from_static(name),
            value: shown(value.as_ref()),
            read_only,
            config_source: synonyms.first().map_or(Source::Default, |it| it.source) as i8,
            is_sensitive,
            synonyms: if self.request.include_synonyms { synonyms.iter().map(synonym).collect() } else { Vec::new() },
            config_type: type_code(kind),
            documentation: doc.filter(|_| self.request.include_documentation).map(Str::from_static),
            ..Default::default()
        }
    }
}

/// Answers ListConfigResources: what has a configuration, of the types asked for. Version 0 asks for client metrics.
pub fn list(
    image: &Image,
    listener: &str,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    const ALL: &[i8] = &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let offered = if version == 0 { &[CLIENT_METRICS][..] } else { ALL };
    let asked = if request.resource_types.is_empty() { offered } else { &request.resource_types };
    if !asked.iter().all(|kind| offered.contains(kind)) {
        return ListConfigResourcesResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..Default::default() };
    }
    let mut config_resources = Vec::new();
    let mut add = |kind: i8, names: &mut dyn Iterator<Item = Str>| {
        if asked.contains(&kind) {
            config_resources.extend(names.map(|resource_name| list_config_resources_response::ConfigResource {
                resource_name,
                resource_type: kind,
                ..Default::default()
            }));
        }
    };
    let brokers = || {
        let live = image.brokers().filter(|broker| !broker.fenced && broker.endpoints.contains_key(listener));
        live.map(|broker| Str::from(broker.id.0.to_string())).collect::<Vec<_>>().into_iter()
    };
    let set = |kind: i8| {
        let set = image.all_configs().keys().filter(move |resource| resource.kind as i8 == kind);
        set.map(|resource| resource.name.clone())
    };
    add(GROUP, &mut set(GROUP));
    add(CLIENT_METRICS, &mut set(CLIENT_METRICS));
    add(BROKER_LOGGER, &mut brokers());
    add(BROKER, &mut brokers());
    add(TOPIC, &mut image.topics().map(|topic| topic.name.clone()));
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}
