//! DescribeCluster: the cluster's id, its brokers, and who to take for its controller.

use ::metadata::Image;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::{ErrorCode, Uuid};

use super::metadata::CLUSTER_OPERATIONS;

/// `EndpointType` of brokers.
const BROKERS: i8 = 1;
/// `EndpointType` of controllers.
const CONTROLLERS: i8 = 2;

/// Answers a broker's client. `listener` is the one the request came in on; `draw` picks the broker that is told as
/// controller.
pub fn handle(
    image: &Image,
    listener: &str,
    cluster_id: Uuid,
    draw: u32,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let refused = |error: ErrorCode, text: &'static str| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(text.into()),
        ..Default::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        _ if version == 0 => return refused(ErrorCode::InvalidRequest, "unknown endpoint type"),
        CONTROLLERS => return refused(ErrorCode::MismatchedEndpointType, "this is a broker's listener"),
        _ => return refused(ErrorCode::UnsupportedEndpointType, "unknown endpoint type"),
    }
    let brokers: Vec<DescribeClusterBroker> = image
        .brokers()
        .filter(|broker| !broker.fenced || (version >= 2 && request.include_fenced_brokers))
        .filter_map(|broker| {
            let endpoint = broker.endpoints.get(listener)?;
            Some(DescribeClusterBroker {
                broker_id: broker.id.0,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                is_fenced: broker.fenced,
                ..Default::default()
            })
        })
        .collect();
    let live: Vec<i32> = brokers.iter().filter(|broker| !broker.is_fenced).map(|broker| broker.broker_id).collect();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: cluster_id.to_string().into(),
        controller_id: if live.is_empty() { -1 } else { live[draw as usize % live.len()] },
        brokers,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}
