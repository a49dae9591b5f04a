//! AllocateProducerIds: blocks of producer ids for brokers (KIP-730).
//!
//! A block is given to one registration and never again: what a broker does not use is lost with it.

use protocol::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use protocol::messages::allocate_producer_ids_response::AllocateProducerIdsResponse;
use protocol::messages::producer_ids_record::ProducerIdsRecord;
use protocol::{BrokerEpoch, ErrorCode, NodeId};

use super::Work;
use super::request::Ask;

/// Ids in a block.
pub const PRODUCER_IDS_BLOCK: i32 = 1000;

impl Work<'_> {
    pub(super) fn allocate_producer_ids(
        &mut self,
        request: &AllocateProducerIdsRequest,
    ) -> AllocateProducerIdsResponse {
        let registered = self.state.brokers.get(&NodeId(request.broker_id)).map(|broker| broker.epoch);
        if registered != Some(BrokerEpoch(request.broker_epoch)) {
            return request.refused(ErrorCode::StaleBrokerEpoch);
        }
        let first = *self.state.next_producer_id.get();
        let Some(next) = first.checked_add(i64::from(PRODUCER_IDS_BLOCK)) else {
            return request.refused(ErrorCode::UnknownServerError);
        };
        self.push(
            ProducerIdsRecord {
                broker_id: request.broker_id,
                broker_epoch: request.broker_epoch,
                next_producer_id: next,
                ..Default::default()
            }
            .into(),
        );
        AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: PRODUCER_IDS_BLOCK,
            ..Default::default()
        }
    }
}
