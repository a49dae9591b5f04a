//! What is answered of things that this broker does not have, as Kafka does without them: groups, an authorizer.

use protocol::messages::{DescribeAclsResponse, ListGroupsResponse};
use protocol::{ErrorCode, Str};

/// DescribeAcls without an authorizer.
pub fn acls() -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(Str::from_static("this cluster has no authorizer")),
        ..Default::default()
    }
}

/// ListGroups of a broker that coordinates none.
pub fn groups() -> ListGroupsResponse {
    ListGroupsResponse::default()
}
