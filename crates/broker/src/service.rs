//! Which handler answers which request, on each of the two kinds of listener.

use std::sync::Arc;

use protocol::messages::{
    AlterConfigsRequest, ApiVersionsRequest, DescribeAclsRequest, DescribeClusterRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListGroupsRequest, MetadataRequest,
};
use protocol::{ApiKey, Request, Str, Uuid};
use transport::ApiRanges;
use transport::server::{Answer, RequestContext, RequestFrame, Service};

use crate::controller;
use crate::handlers::{self, Serving};
use crate::image::ImageCell;
use crate::lifecycle;
use crate::quorum;
use crate::release::{Release, ServedApi};

/// What both kinds of listener know.
#[derive(Clone, Debug)]
pub struct Common {
    /// What this build speaks.
    pub release: Arc<Release>,
    /// `cluster.id`.
    pub cluster_id: Uuid,
    /// This node's copy of the metadata.
    pub image: ImageCell,
}

impl Common {
    fn api_versions(&self, apis: &[ServedApi], context: &RequestContext, frame: &RequestFrame) -> Answer {
        decoded(context, frame, |request: ApiVersionsRequest| {
            let image = self.image.load();
            let finalized: Vec<(Str, i16)> =
                image.features().iter().map(|(name, level)| (name.clone(), *level)).collect();
            let (epoch, version) = (image.offset().0, context.api_version);
            let response = handlers::api_versions::handle(&self.release, apis, &finalized, epoch, &request, version);
            context.answer(&response)
        })
    }
}

/// Reads a request and hands it on.
fn decoded<R: Request>(context: &RequestContext, frame: &RequestFrame, then: impl FnOnce(R) -> Answer) -> Answer {
    handlers::read(context, frame).map_or(Answer::CLOSE, then)
}

/// The ranges that the server lets through to its service.
pub fn ranges(apis: &[ServedApi]) -> ApiRanges {
    apis.iter().map(|api| (api.key, (*api.served.start(), *api.served.end()))).collect()
}

/// Answers clients and followers.
#[derive(Debug)]
pub struct BrokerService {
    /// See [`Common`].
    pub common: Common,
    /// For the handlers of records.
    pub serving: Serving,
    /// The way to the controller.
    pub lifecycle: lifecycle::Handle,
}

impl Service for BrokerService {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        let serving = &self.serving;
        if context.api_key != ApiKey::ApiVersions && self.common.image.load().offset().is_none() {
            // Not registered yet: Kafka does not even listen now. Nothing that could be answered would be true.
            return Answer::CLOSE;
        }
        match context.api_key {
            ApiKey::Produce => handlers::produce::call(serving, &context, &frame),
            ApiKey::Fetch => handlers::fetch::call(serving, &context, &frame),
            ApiKey::ListOffsets => handlers::list_offsets::call(serving, &context, &frame),
            ApiKey::OffsetForLeaderEpoch => handlers::offset_for_leader_epoch::call(serving, &context, &frame),
            ApiKey::ApiVersions => self.common.api_versions(&self.common.release.broker_apis, &context, &frame),
            ApiKey::Metadata => decoded(&context, &frame, |request| self.metadata(&context, &request)),
            ApiKey::DescribeCluster => decoded(&context, &frame, |request| self.describe_cluster(&context, &request)),
            ApiKey::FindCoordinator => decoded(&context, &frame, |request| {
                context.answer(&handlers::find_coordinator::handle(&request, context.api_version))
            }),
            ApiKey::DescribeTopicPartitions => decoded(&context, &frame, |request| {
                let limit = serving.config.numbers.max_request_partition_size_limit;
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let image = self.common.image.load();
                let listener = &context.listener;
                context.answer(&handlers::describe_topic_partitions::handle(&image, listener, limit, &request))
            }),
            ApiKey::DescribeConfigs => decoded(&context, &frame, |request| {
                let image = self.common.image.load();
                context.answer(&handlers::configs::describe::handle(&image, &serving.config, &request))
            }),
            ApiKey::ListConfigResources => decoded(&context, &frame, |request| {
                let (image, version) = (self.common.image.load(), context.api_version);
                context.answer(&handlers::configs::describe::list(&image, &context.listener, &request, version))
            }),
            ApiKey::IncrementalAlterConfigs => self.alter::<IncrementalAlterConfigsRequest>(&context, &frame),
            ApiKey::AlterConfigs => self.alter::<AlterConfigsRequest>(&context, &frame),
            ApiKey::DeleteRecords => {
                decoded(&context, &frame, |request| handlers::delete_records::call(serving, &context, request))
            }
            ApiKey::DescribeLogDirs => {
                decoded(&context, &frame, |request| handlers::describe_log_dirs::call(serving, &context, request))
            }
            ApiKey::DescribeAcls => {
                decoded(&context, &frame, |_: DescribeAclsRequest| context.answer(&handlers::absent::acls()))
            }
            ApiKey::ListGroups => {
                decoded(&context, &frame, |_: ListGroupsRequest| context.answer(&handlers::absent::groups()))
            }
            ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::ElectLeaders
            | ApiKey::ListPartitionReassignments
            | ApiKey::DescribeQuorum => self.lifecycle.forward(&context, &frame),
            ApiKey::InitProducerId => decoded(&context, &frame, |request: InitProducerIdRequest| {
                context.answer(&handlers::init_producer_id::handle(&request, || self.lifecycle.take_producer_id()))
            }),
            other => {
                tracing::error!(api = %other, "served by the listener, known to no handler");
                Answer::CLOSE
            }
        }
    }
}

impl BrokerService {
    fn metadata(&self, context: &RequestContext, request: &MetadataRequest) -> Answer {
        let asker = handlers::metadata::Asker {
            listener: &context.listener,
            cluster_id: self.common.cluster_id,
            auto_create: self.serving.config.auto_create_topics_enable,
            draw: context.correlation_id.unsigned_abs(),
            version: context.api_version,
        };
        let outcome = handlers::metadata::handle(&self.common.image.load(), asker, request);
        if !outcome.to_create.is_empty() {
            self.lifecycle.create_topics_in_background(outcome.to_create);
        }
        context.answer(&outcome.response)
    }

    fn alter<R: handlers::configs::alter::Alter>(&self, context: &RequestContext, frame: &RequestFrame) -> Answer {
        decoded(context, frame, |request: R| {
            handlers::configs::alter::call(&self.serving.config, &self.lifecycle, context, request)
        })
    }

    fn describe_cluster(&self, context: &RequestContext, request: &DescribeClusterRequest) -> Answer {
        let response = handlers::describe_cluster::handle(
            &self.common.image.load(),
            &context.listener,
            self.common.cluster_id,
            context.correlation_id.unsigned_abs(),
            request,
            context.api_version,
        );
        context.answer(&response)
    }
}

/// Answers brokers and other controllers.
#[derive(Debug)]
pub struct ControllerService {
    /// See [`Common`].
    pub common: Common,
    /// The controller's requests.
    pub controller: controller::rpc::Rpc,
    /// The quorum's requests.
    pub quorum: quorum::Handle,
}

impl Service for ControllerService {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        if context.api_key == ApiKey::ApiVersions {
            return self.common.api_versions(&self.common.release.controller_apis, &context, &frame);
        }
        match self.controller.call(&context, &frame) {
            Some(answer) => answer,
            None => self.quorum.call(context, frame),
        }
    }
}
