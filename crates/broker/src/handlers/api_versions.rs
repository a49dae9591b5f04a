//! ApiVersions: what this node speaks, answered before anything else and to anybody.

use protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ErrorCode, Str};

use crate::release::{Release, ServedApi};

/// Answers in `version`. `finalized` are the levels in force, `finalized_epoch` the metadata offset they come from.
pub fn handle(
    release: &Release,
    apis: &[ServedApi],
    finalized: &[(Str, i16)],
    finalized_epoch: i64,
    request: &ApiVersionsRequest,
    version: i16,
) -> ApiVersionsResponse {
    if version >= 3 && !(is_name(&request.client_software_name) && is_name(&request.client_software_version)) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() };
    }
    ApiVersionsResponse {
        api_keys: apis
            .iter()
            .map(|api| ApiVersion {
                api_key: api.key.code(),
                min_version: *api.advertised.start(),
                max_version: *api.advertised.end(),
                ..Default::default()
            })
            .collect(),
        // Before v4 features whose lowest level is 0 are left out: older clients choke on them.
        supported_features: release
            .features
            .iter()
            .filter(|feature| version >= 4 || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: Str::from_static(feature.name),
                min_version: feature.min,
                max_version: feature.max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: finalized_epoch,
        finalized_features: finalized
            .iter()
            .filter(|(_, level)| *level > 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.clone(),
                max_version_level: *level,
                min_version_level: *level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(|byte| inner(*byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, version: i16) -> ApiVersionsResponse {
        let release = Release::current();
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: "1.0".into(),
            ..Default::default()
        };
        handle(&release, &release.broker_apis, &[("metadata.version".into(), 30)], 7, &request, version)
    }

    #[test]
    fn produce_is_named_from_version_0_on() {
        let response = ask("kcat", 3);
        assert_eq!(response.error_code, 0);
        assert_eq!((response.api_keys[0].api_key, response.api_keys[0].min_version), (0, 0));
        let keys: Vec<i16> = response.api_keys.iter().map(|api| api.api_key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn a_software_name_with_odd_characters_is_an_invalid_request() {
        for name in ["", "-x", "x-", "a b", "a_b"] {
            assert_eq!(ask(name, 3).error_code, ErrorCode::InvalidRequest.code(), "{name:?}");
        }
        assert_eq!(ask("", 0).error_code, 0);
    }
}
