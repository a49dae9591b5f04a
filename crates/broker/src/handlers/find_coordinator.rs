//! FindCoordinator: who coordinates a group or a transactional id.
//!
//! There are no coordinators yet, so every key's answer is the one Kafka gives while a coordinator's partition has no
//! leader: COORDINATOR_NOT_AVAILABLE, which clients retry. The API is served because librdkafka takes a broker without it
//! for one that cannot lz4 (kafka.md, traps).

use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::{ErrorCode, Str};

/// Groups and transactions.
const LAST_CLASSIC_TYPE: i8 = 1;
/// Share groups.
const SHARE: i8 = 2;
/// Share groups may be asked for from this version on.
const SHARE_FROM: i16 = 6;
/// From this version on a request has many keys.
const MANY_FROM: i16 = 4;

/// Answers for each key.
pub fn handle(request: &FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
    let known =
        (0..=LAST_CLASSIC_TYPE).contains(&request.key_type) || (request.key_type == SHARE && version >= SHARE_FROM);
    let error = if known { ErrorCode::CoordinatorNotAvailable } else { ErrorCode::InvalidRequest };
    if version < MANY_FROM {
        let text = if known { "The coordinator is not available." } else { "unknown key type" };
        return FindCoordinatorResponse {
            error_code: error.code(),
            error_message: Some(Str::from_static(text)),
            node_id: -1,
            port: -1,
            ..Default::default()
        };
    }
    let answer = |key: &Str| Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code: error.code(),
        error_message: Some(Str::EMPTY),
        ..Default::default()
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(answer).collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Encoder, Message};

    #[test]
    fn a_key_without_coordinator_is_answered_as_kafka_answers_it() {
        // wire/java-4.3.1.jsonl, seq 53, without the header.
        let golden = "0000000002066a772d7478ffffffff01ffffffff000f010000";
        let request =
            FindCoordinatorRequest { key_type: 1, coordinator_keys: vec!["jw-tx".into()], ..Default::default() };
        let mut encoder = Encoder::new();
        handle(&request, 6).encode(&mut encoder, 6).unwrap();
        let hex: String = encoder.finish().to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn an_unknown_kind_of_key_is_an_invalid_request_at_each_key() {
        let request = |key_type| FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec!["a".into(), "".into()],
            ..Default::default()
        };
        let codes = |key_type, version| -> Vec<i16> {
            handle(&request(key_type), version).coordinators.iter().map(|answer| answer.error_code).collect()
        };
        assert_eq!(codes(3, 6), [42, 42]);
        assert_eq!(codes(2, 5), [42, 42]);
        assert_eq!(codes(2, 6), [15, 15]);
        assert_eq!(handle(&request(7), 3).error_code, 42);
        assert_eq!(handle(&request(0), 0).node_id, -1);
    }
}
