//! Batches of the metadata log: written by a leader, checked on arrival, read for those who live on them.

use bytes::Bytes;
use protocol::batch::{Batch, BatchBuilder, BatchError, Batches, Codec, ControlRecord};
use protocol::messages::LeaderChangeMessage;
use protocol::messages::leader_change_message::Voter;
use protocol::{Chunks, NodeId, Offset, Uuid};
use raft::{BatchHeader, Content, Records};

use super::host::CommittedBatch;

/// A leader's batch in Kafka's format.
pub fn encode(batch: &raft::Batch) -> Batch {
    let (at, epoch, timestamp) = (batch.base, batch.epoch, batch.timestamp);
    match &batch.content {
        Content::LeaderChange { leader, voters, granting } => {
            let voters_of = |nodes: &[NodeId]| {
                let voter =
                    |node: &NodeId| Voter { voter_id: node.0, voter_directory_id: Uuid::ZERO, ..Default::default() };
                nodes.iter().map(voter).collect()
            };
            let message = LeaderChangeMessage {
                version: 0,
                leader_id: leader.0,
                voters: voters_of(voters),
                granting_voters: voters_of(granting),
                ..Default::default()
            };
            ControlRecord::batch(at, epoch, timestamp, &[ControlRecord::LeaderChange(message)])
                .expect("version 0 says all of it")
        }
        Content::Records(values) => {
            let mut builder = BatchBuilder::new(Codec::None).at(at, epoch);
            for value in values {
                builder.append(timestamp, None, Some(value.clone()), &[]);
            }
            builder.build().expect("values fit into a batch")
        }
    }
}

/// What a leader sent, up to the first batch that is not whole or fails its checksum: that one is fetched again.
pub fn arrived(bytes: Chunks) -> Records {
    let mut batches = Vec::new();
    let mut whole = 0;
    for batch in Batches::new(bytes.clone()) {
        let batch = match batch.and_then(|batch| batch.verify_crc().map(|()| batch)) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(%error, "a corrupt batch of the metadata log arrived");
                break;
            }
        };
        let header = &batch.header;
        let size = header.total_size();
        whole += size;
        batches.push(BatchHeader {
            base: header.base_offset,
            last: header.last_offset(),
            epoch: header.leader_epoch,
            bytes: u32::try_from(size).expect("a batch's length is an i32"),
        });
    }
    if batches.is_empty() { Records::None } else { Records::Batches { batches, bytes: bytes.slice(0, whole) } }
}

/// The batches in `bytes` that begin at or after `from`. They come from the disk, which may have spoilt what was whole when
/// the log was opened, so each is checked against its CRC.
pub fn decode(bytes: Chunks, from: Offset) -> Result<Vec<CommittedBatch>, BatchError> {
    let mut out = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.verify_crc()?;
        let header = &batch.header;
        if header.base_offset < from {
            continue;
        }
        let mut records: Vec<(Offset, Bytes)> = Vec::new();
        if !header.is_control() {
            for record in batch.records()? {
                let record = record?;
                records.push((record.offset, record.value.unwrap_or_default()));
            }
        }
        out.push(CommittedBatch {
            base: header.base_offset,
            last: header.last_offset(),
            epoch: header.leader_epoch,
            timestamp: header.max_timestamp,
            records,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{LeaderEpoch, Timestamp};

    fn batch(base: i64, content: Content) -> raft::Batch {
        let last = match &content {
            Content::LeaderChange { .. } => base,
            Content::Records(values) => base + values.len() as i64 - 1,
        };
        raft::Batch {
            base: Offset(base),
            last: Offset(last),
            epoch: LeaderEpoch(3),
            timestamp: Timestamp(1_700_000_000_000),
            content,
        }
    }

    fn log() -> Chunks {
        let change =
            Content::LeaderChange { leader: NodeId(1), voters: vec![NodeId(1), NodeId(2)], granting: vec![NodeId(1)] };
        let values = Content::Records(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        let mut bytes = encode(&batch(10, change)).bytes;
        bytes.append(encode(&batch(11, values)).bytes);
        bytes
    }

    #[test]
    fn what_a_leader_writes_arrives_and_is_read() {
        let Records::Batches { batches, bytes } = arrived(log()) else { panic!("batches arrive") };
        let offsets: Vec<_> = batches.iter().map(|batch| (batch.base.0, batch.last.0, batch.epoch.0)).collect();
        assert_eq!(offsets, [(10, 10, 3), (11, 12, 3)]);
        let read = decode(bytes, Offset(11)).expect("whole batches");
        let expected = vec![(Offset(11), Bytes::from_static(b"one")), (Offset(12), Bytes::from_static(b"two"))];
        assert_eq!(read.len(), 1, "what lies before the offset asked for is left out");
        assert_eq!(read[0].records, expected);
        let all = decode(log(), Offset(0)).expect("whole batches");
        assert!(all[0].records.is_empty(), "a control batch takes its offset and has no records");
    }

    #[test]
    fn what_rots_on_the_disk_is_not_handed_on_whatever_it_turns_into() {
        let whole = log().to_vec();
        // The CRC of the second batch covers everything from its attributes on.
        let second = whole.len() - decode_size(&whole);
        for index in second + 21..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[index] ^= 1 << bit;
                assert!(decode(bytes.into(), Offset(10)).is_err(), "bit {bit} of byte {index}");
            }
        }
    }

    /// The size of the last batch.
    fn decode_size(bytes: &[u8]) -> usize {
        let last = Batches::new(Chunks::from(bytes.to_vec())).last().expect("two batches").expect("whole ones");
        last.header.total_size()
    }

    #[test]
    fn a_corrupt_batch_ends_what_arrives() {
        let mut bytes = log().to_vec();
        let end = bytes.len() - 2;
        bytes[end] ^= 1;
        let Records::Batches { batches, bytes } = arrived(bytes.into()) else { panic!("the first batch is whole") };
        assert_eq!(batches.len(), 1);
        assert_eq!(bytes.len(), batches[0].bytes as usize);
    }
}
