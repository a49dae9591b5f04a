//! InitProducerId without a transactional id: a producer id that nobody has, in epoch 0.
//!
//! An idempotent producer that names the id and epoch it had gets a new id all the same: it raises its epoch itself
//! (KIP-360). Transactional ids belong to coordinators, of which there are none yet.

use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::{ErrorCode, Str};

/// Answers; `take` gives an id, if one is at hand.
pub fn handle(request: &InitProducerIdRequest, take: impl FnOnce() -> Option<i64>) -> InitProducerIdResponse {
    let half_known = (request.producer_id == -1) != (request.producer_epoch == -1);
    let id = match &request.transactional_id {
        _ if half_known => Err(ErrorCode::InvalidRequest),
        Some(id) if *id == Str::EMPTY => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::NotCoordinator),
        None => take().ok_or(ErrorCode::CoordinatorLoadInProgress),
    };
    match id {
        Ok(id) => InitProducerIdResponse { producer_id: id, producer_epoch: 0, ..Default::default() },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_idempotent_producer_gets_a_new_id_in_epoch_0_whatever_it_had() {
        let ask = |id, epoch, transactional: Option<&str>, at_hand| {
            let request = InitProducerIdRequest {
                transactional_id: transactional.map(Str::from),
                producer_id: id,
                producer_epoch: epoch,
                ..Default::default()
            };
            let response = handle(&request, || at_hand);
            (response.error_code, response.producer_id, response.producer_epoch)
        };
        assert_eq!(ask(-1, -1, None, Some(7)), (0, 7, 0));
        assert_eq!(ask(3, 5, None, Some(7)), (0, 7, 0));
        assert_eq!(ask(-1, -1, None, None), (14, -1, -1));
        assert_eq!(ask(3, -1, None, Some(7)), (42, -1, -1));
        assert_eq!(ask(-1, 3, None, Some(7)), (42, -1, -1));
        assert_eq!(ask(-1, -1, Some(""), Some(7)), (42, -1, -1));
        assert_eq!(ask(-1, -1, Some("t"), Some(7)), (16, -1, -1));
    }
}
