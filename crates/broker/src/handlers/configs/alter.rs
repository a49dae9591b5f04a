//! IncrementalAlterConfigs and AlterConfigs at a broker: it judges the form of the request and the values of brokers; what
//! passes goes to the controller, and the answers are put together in the request's order.

use std::collections::BTreeMap;

use metadata::broker_configs::{ConfigType, UpdateMode, broker_config};
use metadata::configs::{Operation, is_broker_list};
use protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    alter_configs_request, alter_configs_response, incremental_alter_configs_request,
    incremental_alter_configs_response,
};
use protocol::{ErrorCode, Request, Str};
use transport::server::{Answer, RequestContext};

use super::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, Refusal, TOPIC, own_id};
use crate::config::Config;
use crate::lifecycle;

/// A resource: its type and its name.
type ResourceId = (i8, Str);
/// What became of it: the code and the sentence for people.
type Outcome = (i16, Option<Str>);

/// One change of a key.
struct Change<'a> {
    name: &'a Str,
    operation: Option<Operation>,
    value: Option<&'a Str>,
}

/// What both requests have in common.
pub trait Alter: Request + Clone {
    /// A resource and its changes.
    type Resource;
    /// Whether levels of loggers can be asked for.
    const KNOWS_LOGGERS: bool;
    /// Takes the resources out.
    fn take(&mut self) -> Vec<Self::Resource>;
    /// Puts resources in.
    fn put(&mut self, resources: Vec<Self::Resource>);
    /// Which resource.
    fn id(resource: &Self::Resource) -> ResourceId;
    /// What a broker can say of its changes.
    fn judge(config: &Config, resource: &Self::Resource) -> Result<(), Refusal>;
    /// The answer with an outcome for each.
    fn respond(outcomes: Vec<(ResourceId, Outcome)>) -> Self::Response;
    /// What an answer says.
    fn outcomes(response: Self::Response) -> Vec<(ResourceId, Outcome)>;
}

macro_rules! alter {
    ($request:ident, $module:ident, $response:ident, $results:ident, $loggers:expr, |$config:ident| $operation:expr) => {
        impl Alter for $request {
            type Resource = $module::AlterConfigsResource;
            const KNOWS_LOGGERS: bool = $loggers;

            fn take(&mut self) -> Vec<Self::Resource> {
                std::mem::take(&mut self.resources)
            }

            fn put(&mut self, resources: Vec<Self::Resource>) {
                self.resources = resources;
            }

            fn id(resource: &Self::Resource) -> ResourceId {
                (resource.resource_type, resource.resource_name.clone())
            }

            fn judge(config: &Config, resource: &Self::Resource) -> Result<(), Refusal> {
                let changes = resource.configs.iter().map(|$config| Change {
                    name: &$config.name,
                    operation: $operation,
                    value: $config.value.as_ref(),
                });
                judge(config, resource.resource_type, &resource.resource_name, &changes.collect::<Vec<_>>())
            }

            fn respond(outcomes: Vec<(ResourceId, Outcome)>) -> $response {
                let result = |((resource_type, resource_name), (error_code, error_message))| {
                    $results::AlterConfigsResourceResponse {
                        error_code,
                        error_message,
                        resource_type,
                        resource_name,
                        ..Default::default()
                    }
                };
                $response { responses: outcomes.into_iter().map(result).collect(), ..Default::default() }
            }

            fn outcomes(response: $response) -> Vec<(ResourceId, Outcome)> {
                let outcome = |it: $results::AlterConfigsResourceResponse| {
                    ((it.resource_type, it.resource_name), (it.error_code, it.error_message))
                };
                response.responses.into_iter().map(outcome).collect()
            }
        }
    };
}

alter!(
    IncrementalAlterConfigsRequest,
    incremental_alter_configs_request,
    IncrementalAlterConfigsResponse,
    incremental_alter_configs_response,
    true,
    |config| Operation::from_code(config.config_operation)
);
alter!(AlterConfigsRequest, alter_configs_request, AlterConfigsResponse, alter_configs_response, false, |config| Some(
    Operation::Set
));

/// Starts one of the two requests.
pub fn call<R: Alter>(
    config: &Config,
    lifecycle: &lifecycle::Handle,
    context: &RequestContext,
    mut request: R,
) -> Answer {
    let resources = request.take();
    let ids: Vec<ResourceId> = resources.iter().map(R::id).collect();
    let mut outcomes = twice(&ids);
    let mut rest = Vec::new();
    for (id, resource) in ids.iter().zip(resources) {
        if outcomes.contains_key(id) {
            continue;
        }
        let judged = match id.0 {
            BROKER_LOGGER if !R::KNOWS_LOGGERS => {
                Err((ErrorCode::InvalidRequest, "unknown resource type 8".to_owned()))
            }
            _ => R::judge(config, &resource),
        };
        match judged {
            Ok(()) => rest.push(resource),
            Err(refusal) => drop(outcomes.insert(id.clone(), outcome(refusal))),
        }
    }
    let respond = move |outcomes: BTreeMap<ResourceId, Outcome>| {
        let of = |id: ResourceId| {
            let outcome = outcomes.get(&id).cloned();
            (id, outcome.unwrap_or((ErrorCode::UnknownServerError.code(), None)))
        };
        R::respond(ids.into_iter().map(of).collect())
    };
    if rest.is_empty() {
        return context.answer(&respond(outcomes));
    }
    let sent: Vec<ResourceId> = rest.iter().map(R::id).collect();
    request.put(rest);
    let (context, asked) = (context.clone(), lifecycle.forward_instead(context, &request));
    Answer::later(async move {
        match asked.await {
            Ok(response) => outcomes.extend(R::outcomes(response)),
            Err(code) => outcomes.extend(sent.into_iter().map(|id| (id, (code.code(), None)))),
        }
        context.reply(&respond(outcomes))
    })
}

/// Resources that are named more than once, refused.
fn twice(ids: &[ResourceId]) -> BTreeMap<ResourceId, Outcome> {
    let mut times: BTreeMap<&ResourceId, usize> = BTreeMap::new();
    ids.iter().for_each(|id| *times.entry(id).or_insert(0) += 1);
    let refusal = || outcome((ErrorCode::InvalidRequest, "a resource may be named once".to_owned()));
    times.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| (id.clone(), refusal())).collect()
}

fn outcome((code, why): Refusal) -> Outcome {
    (code.code(), Some(Str::from(why)))
}

/// What a broker can say of a resource's changes.
fn judge(config: &Config, kind: i8, name: &str, changes: &[Change<'_>]) -> Result<(), Refusal> {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    let mut seen: Vec<&Str> = Vec::new();
    for change in changes {
        if seen.contains(&change.name) {
            return invalid(format!("the key {} is named twice", change.name));
        }
        seen.push(change.name);
        if change.value.is_none() && change.operation != Some(Operation::Delete) {
            return invalid(format!("null is no value of {}", change.name));
        }
    }
    match kind {
        TOPIC | CLIENT_METRICS | GROUP => Ok(()),
        BROKER_LOGGER => invalid("levels of loggers are set at the start of this broker".to_owned()),
        BROKER => {
            if !name.is_empty() {
                own_id(name, config)?;
            }
            changes.iter().try_for_each(|change| judge_broker_key(name.is_empty(), change))
        }
        _ => invalid(format!("unknown resource type {kind}")),
    }
}

/// Values of brokers that fail are INVALID_REQUEST, not INVALID_CONFIG (KAFKA-13609); keys that nobody knows pass.
fn judge_broker_key(for_all: bool, change: &Change<'_>) -> Result<(), Refusal> {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    let Some(operation) = change.operation else { return invalid("unknown operation on a key".to_owned()) };
    let name = change.name;
    if matches!(operation, Operation::Append | Operation::Subtract) && !is_broker_list(name) {
        return Err((ErrorCode::InvalidConfig, format!("{name} is not a list: nothing can be added or taken away")));
    }
    let (Some(known), Some(value)) = (broker_config(name), change.value) else { return Ok(()) };
    match known.update {
        _ if operation == Operation::Delete => Ok(()),
        UpdateMode::ReadOnly => invalid(format!("{name} cannot be changed while a broker runs")),
        UpdateMode::PerBroker if for_all => invalid(format!("{name} is a broker's own: its id must be given")),
        _ if known.kind == ConfigType::Password => invalid(format!("{name} is a secret, which is not kept here")),
        _ => known.check(value).or_else(|why| invalid(format!("invalid value {value} for {name}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::from_properties([("node.id", "1"), ("controller.quorum.voters", "1@b1:9093")]).expect("good")
    }

    fn code(kind: i8, name: &str, changes: &[(&str, Operation, Option<&str>)]) -> ErrorCode {
        let owned: Vec<(Str, Operation, Option<Str>)> = changes
            .iter()
            .map(|(name, operation, value)| (Str::from(*name), *operation, value.map(Str::from)))
            .collect();
        let changes: Vec<_> = owned
            .iter()
            .map(|(name, operation, value)| Change { name, operation: Some(*operation), value: value.as_ref() })
            .collect();
        judge(&config(), kind, name, &changes).map_or_else(|(code, _)| code, |()| ErrorCode::None)
    }

    #[test]
    fn a_brokers_values_are_judged_where_it_is() {
        use Operation::{Append, Delete, Set};
        let (invalid, none) = (ErrorCode::InvalidRequest, ErrorCode::None);
        for (expected, name, key, operation, value) in [
            (none, "1", "log.retention.ms", Set, Some("5")),
            (none, "", "log.retention.ms", Set, Some("5")),
            (none, "1", "no.such.key", Set, Some("5")),
            (none, "1", "num.io.threads", Delete, None),
            (none, "1", "node.id", Delete, None),
            (none, "", "log.cleanup.policy", Append, Some("compact")),
            (invalid, "2", "log.retention.ms", Set, Some("5")),
            (invalid, "one", "log.retention.ms", Set, Some("5")),
            (invalid, "1", "log.retention.ms", Set, Some("soon")),
            (invalid, "1", "log.retention.ms", Set, None),
            (invalid, "1", "node.id", Set, Some("2")),
            (ErrorCode::InvalidConfig, "1", "log.retention.ms", Append, Some("5")),
            (ErrorCode::InvalidConfig, "1", "no.such.key", Append, Some("5")),
        ] {
            assert_eq!(
                code(BROKER, name, &[(key, operation, value)]),
                expected,
                "{name} {key} {operation:?} {value:?}"
            );
        }
    }

    #[test]
    fn a_key_named_twice_and_a_type_that_nobody_knows_are_invalid_requests() {
        let twice = [("a", Operation::Set, Some("1")), ("a", Operation::Delete, None)];
        assert_eq!(code(TOPIC, "t", &twice), ErrorCode::InvalidRequest);
        assert_eq!(code(3, "t", &[]), ErrorCode::InvalidRequest);
        assert_eq!(code(BROKER_LOGGER, "1", &[]), ErrorCode::InvalidRequest);
        assert_eq!(code(TOPIC, "t", &[("a", Operation::Set, Some("1"))]), ErrorCode::None);
    }
}
