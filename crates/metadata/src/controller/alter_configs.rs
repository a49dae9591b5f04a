//! IncrementalAlterConfigs (KIP-339) and AlterConfigs: one resource is all or nothing, one's failure leaves others alone.
//!
//! Values of topics are judged here, those of brokers by the broker that was asked (`broker::handlers::alter_configs`).
//! Deliberately absent: configurations of groups and of client metrics.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::config_record::ConfigRecord;
use protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    alter_configs_response, incremental_alter_configs_response,
};
use protocol::{ErrorCode, NodeId, Str};

use super::topics::{Refusal, topic_name_problem};
use super::{BATCH_RECORDS_MAX, Work};
use crate::configs::{self, Operation};
use crate::image::{ConfigResource, Configs, ResourceKind};

/// A longer value is refused.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// What becomes of a key: its value, or `None`.
type Changes = BTreeMap<Str, Option<Str>>;

impl Work<'_> {
    pub(super) fn incremental_alter_configs(
        &mut self,
        request: &IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let twice = twice(request.resources.iter().map(|it| (it.resource_type, &it.resource_name)));
        let mut response = IncrementalAlterConfigsResponse::default();
        for asked in &request.resources {
            let result = self.resource(asked.resource_type, &asked.resource_name, &twice).and_then(|resource| {
                let mut changes = Changes::new();
                for config in &asked.configs {
                    let value =
                        self.operate(&resource, &config.name, config.config_operation, config.value.as_ref())?;
                    changes.insert(config.name.clone(), value);
                }
                self.alter(&resource, changes, request.validate_only)
            });
            let (code, why) = outcome(result);
            response.responses.push(incremental_alter_configs_response::AlterConfigsResourceResponse {
                error_code: code,
                error_message: why,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        response
    }

    pub(super) fn alter_configs(&mut self, request: &AlterConfigsRequest) -> AlterConfigsResponse {
        let twice = twice(request.resources.iter().map(|it| (it.resource_type, &it.resource_name)));
        let mut response = AlterConfigsResponse::default();
        for asked in &request.resources {
            let result = self.resource(asked.resource_type, &asked.resource_name, &twice).and_then(|resource| {
                let present = self.state.configs.get(&resource);
                // What is not named is gone.
                let mut changes: Changes =
                    present.iter().flat_map(|configs| configs.keys()).map(|name| (name.clone(), None)).collect();
                for config in &asked.configs {
                    let null = || (ErrorCode::InvalidConfig, format!("null is no value of {}", config.name));
                    changes.insert(config.name.clone(), Some(config.value.clone().ok_or_else(null)?));
                }
                self.alter(&resource, changes, request.validate_only)
            });
            let (code, why) = outcome(result);
            response.responses.push(alter_configs_response::AlterConfigsResourceResponse {
                error_code: code,
                error_message: why,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        response
    }

    fn resource(&self, kind: i8, name: &Str, twice: &BTreeSet<(i8, Str)>) -> Result<ConfigResource, Refusal> {
        if twice.contains(&(kind, name.clone())) {
            return Err((ErrorCode::InvalidRequest, "the resource is named twice".to_owned()));
        }
        match ResourceKind::from_code(kind) {
            Some(kind @ (ResourceKind::Topic | ResourceKind::Broker)) => {
                Ok(ConfigResource { kind, name: name.clone() })
            }
            Some(_) => Err((ErrorCode::InvalidRequest, format!("resources of type {kind} are not served here"))),
            None => Err((ErrorCode::UnsupportedVersion, format!("unknown resource type {kind}"))),
        }
    }

    /// The value of a key after one operation.
    fn operate(
        &self,
        resource: &ConfigResource,
        key: &Str,
        operation: i8,
        value: Option<&Str>,
    ) -> Result<Option<Str>, Refusal> {
        let invalid = |why: String| (ErrorCode::InvalidRequest, why);
        let operation =
            Operation::from_code(operation).ok_or_else(|| invalid(format!("unknown operation {operation}")))?;
        if operation == Operation::Delete {
            return Ok(None);
        }
        let value = value.ok_or_else(|| invalid(format!("null is no value of {key}")))?;
        if operation == Operation::Set {
            return Ok(Some(value.clone()));
        }
        let is_list = match resource.kind {
            ResourceKind::Topic => configs::topic_config(key).is_some_and(|config| config.is_list()),
            _ => configs::is_broker_list(key),
        };
        if !is_list {
            return Err((ErrorCode::InvalidConfig, format!("{key} is not a list: nothing can be added or taken away")));
        }
        let own = self.state.configs.get(resource).and_then(|configs| configs.get(key)).map(Str::as_str);
        let inherited = self.config.topic_defaults.get(key).map(Str::as_str);
        let present = own.or(inherited).or_else(|| configs::list_default(resource.kind, key)).unwrap_or("");
        Ok(Some(operation.on_list(present, value)))
    }

    /// Judges a change and writes its records.
    fn alter(&mut self, resource: &ConfigResource, changes: Changes, validate_only: bool) -> Result<(), Refusal> {
        let present = self.state.configs.get(resource).map(|configs| configs.as_ref().clone()).unwrap_or_default();
        let is_broker = resource.kind == ResourceKind::Broker;
        // Records of brokers are written though nothing changes: brokers then read their values anew (KAFKA-14136).
        let changes: Changes =
            changes.into_iter().filter(|(name, value)| is_broker || present.get(name) != value.as_ref()).collect();
        let mut whole = present;
        for (name, value) in &changes {
            match value {
                Some(value) if value.len() > VALUE_BYTES_MAX => {
                    let why = format!("the value of {name} has more than {VALUE_BYTES_MAX} bytes");
                    return Err((ErrorCode::InvalidConfig, why));
                }
                Some(value) => drop(whole.insert(name.clone(), value.clone())),
                None => drop(whole.remove(name)),
            }
        }
        // Values first, existence then: an unknown topic with a bad value is told of the value.
        match resource.kind {
            ResourceKind::Topic => self.judge_topic(resource, &whole)?,
            _ => self.judge_broker(resource)?,
        }
        if validate_only {
            return Ok(());
        }
        if self.active.batch.len() + changes.len() > BATCH_RECORDS_MAX {
            return Err((ErrorCode::PolicyViolation, "the request changes too much at once".to_owned()));
        }
        for (name, value) in changes {
            let record = ConfigRecord {
                resource_type: resource.kind as i8,
                resource_name: resource.name.clone(),
                name,
                value,
                ..Default::default()
            };
            self.push(record.into());
        }
        Ok(())
    }

    fn judge_topic(&self, resource: &ConfigResource, whole: &Configs) -> Result<(), Refusal> {
        if resource.name.is_empty() {
            return Err((ErrorCode::InvalidRequest, "there is no configuration of all topics".to_owned()));
        }
        topic_name_problem(&resource.name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
        let set: Vec<_> = whole.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        configs::check(&set, self.state.inherited(&self.config.topic_defaults))
            .map_err(|problem| (ErrorCode::InvalidConfig, problem.to_string()))?;
        if !self.state.ids.contains_key(&resource.name) {
            let why = format!("no topic has the name '{}'", resource.name);
            return Err((ErrorCode::UnknownTopicOrPartition, why));
        }
        Ok(())
    }

    fn judge_broker(&self, resource: &ConfigResource) -> Result<(), Refusal> {
        if resource.name.is_empty() {
            return Ok(());
        }
        match resource.name.parse::<i32>() {
            Ok(id) if id >= 0 => match self.state.brokers.contains_key(&NodeId(id)) {
                true => Ok(()),
                false => Err((ErrorCode::BrokerIdNotRegistered, format!("broker {id} is not registered"))),
            },
            _ => Err((ErrorCode::InvalidRequest, format!("'{}' is no id of a broker", resource.name))),
        }
    }
}

/// What is named more than once.
fn twice<'a>(resources: impl Iterator<Item = (i8, &'a Str)>) -> BTreeSet<(i8, Str)> {
    let mut seen = BTreeSet::new();
    resources.map(|(kind, name)| (kind, name.clone())).filter(|it| !seen.insert(it.clone())).collect()
}

fn outcome(result: Result<(), Refusal>) -> (i16, Option<Str>) {
    match result {
        Ok(()) => (0, None),
        Err((code, why)) => (code.code(), Some(Str::from(why))),
    }
}
