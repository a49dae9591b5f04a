//! ApiVersions: asks in the newest version, and steps down as the answer says (KIP-511).

use std::time::Duration;

use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, Chunks, Decoder, ErrorCode, Message, Str};
use runtime::Post;

use super::driver::Order;
use super::request::EncodedRequest;
use super::{Reason, RpcError, driver};
use crate::ranges::ApiRanges;

/// What the other end of the connection that `orders` leads to speaks.
pub(super) async fn ask(speaks: &ApiRanges, orders: &Post<Order>, timeout: Duration) -> Result<ApiRanges, RpcError> {
    let (first, mut version) = speaks.get(ApiKey::ApiVersions).unwrap_or((0, 0));
    loop {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("wavetank"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let body = driver::ask(orders, EncodedRequest::new(&request, version)?, timeout).await?;
        match read(body, version)? {
            Answer::Ranges(ranges) => return Ok(ranges),
            Answer::Unsupported(theirs) => {
                // Each round asks for less, so that no answer can keep us asking.
                version = theirs.map_or(0, |(_, last)| last).min(version - 1);
                if version < first {
                    return Err(RpcError::UnsupportedVersion {
                        api: ApiKey::ApiVersions,
                        ours: speaks.get(ApiKey::ApiVersions),
                        theirs,
                    });
                }
            }
            Answer::Refused => return Err(RpcError::Lost(Reason::Negotiation)),
        }
    }
}

enum Answer {
    Ranges(ApiRanges),
    /// The version is unknown there; these are known.
    Unsupported(Option<(i16, i16)>),
    Refused,
}

fn read(body: Chunks, version: i16) -> Result<Answer, RpcError> {
    // Every version begins with the error code, and UNSUPPORTED_VERSION comes in version 0.
    let error = Decoder::new(body.clone()).i16()?;
    let unsupported = error == ErrorCode::UnsupportedVersion as i16;
    let response = ApiVersionsResponse::decode(&mut Decoder::new(body), if unsupported { 0 } else { version })?;
    let mut ranges = ApiRanges::new();
    for api in &response.api_keys {
        ranges.set(api.api_key, (api.min_version, api.max_version));
    }
    Ok(match error {
        0 => Answer::Ranges(ranges),
        _ if unsupported => Answer::Unsupported(ranges.get(ApiKey::ApiVersions)),
        _ => Answer::Refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..60), version in 0_i16..5) {
            let _ = read(body.into(), version);
        }
    }

    #[test]
    fn kafkas_refusal_of_version_5_names_what_it_knows() {
        // wire/franz-go-1.22.jsonl, seq 1: error 35, one entry, ApiVersions 0-4.
        let body = vec![0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert!(matches!(read(body.into(), 5), Ok(Answer::Unsupported(Some((0, 4))))));
    }
}
