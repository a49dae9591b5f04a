//! Random messages: our codec is its own inverse on all of them, and the crate `kafka-protocol` reads and writes the same
//! bytes. Random bytes: decoding never panics, and a stated size never costs memory.

mod generator;

use bytes::BytesMut;
use generator::{EveryMessage, Generator, Random, with_every_message};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use proptest::prelude::*;
use protocol::batch::{Batch, Batches, Rules, single, validate};
use protocol::messages as ours;
use protocol::{Bytes, Chunks, Decoder, Message, MetadataRecord, Timestamp};

/// Writes, reads and writes again one random message of each type and version.
struct RoundTrip(Generator, usize);

impl EveryMessage for RoundTrip {
    fn visit<M: Message + Random + PartialEq + std::fmt::Debug>(&mut self) {
        for version in M::VERSIONS {
            let message = M::random(&mut self.0, version);
            let bytes = message.to_chunks(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", M::NAME));
            let again = M::decode_exact(bytes.clone(), version).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again, message, "{} v{version}", M::NAME);
            assert_eq!(again.to_chunks(version).expect("encodes"), bytes, "{} v{version}", M::NAME);
            self.1 += 1;
        }
    }
}

/// Decodes the same bytes as every message in every version.
struct Hostile<'a>(&'a [u8]);

impl EveryMessage for Hostile<'_> {
    fn visit<M: Message + Random + PartialEq + std::fmt::Debug>(&mut self) {
        for version in M::VERSIONS {
            let whole = M::decode(&mut Decoder::from(Bytes::copy_from_slice(self.0)), version);
            let pieces: Chunks = self.0.chunks(2).map(Bytes::copy_from_slice).collect();
            let cut = M::decode(&mut Decoder::new(pieces), version);
            // The place of an error may differ by where a piece ends; what was read may not.
            assert_eq!(whole.as_ref().ok(), cut.as_ref().ok(), "{} v{version}", M::NAME);
            if let Ok(message) = whole {
                // What came from the wire can be sent on, unless its tags were out of order or known.
                if let Ok(bytes) = message.to_bytes(version) {
                    assert_eq!(M::decode_exact(bytes, version).as_ref(), Ok(&message), "{} v{version}", M::NAME);
                }
            }
        }
    }
}

/// Our bytes of a random message, read and written by the other crate, and its bytes read by us.
fn same<Ours, Theirs>(seed: u64) -> usize
where
    Ours: Message + Random + PartialEq + std::fmt::Debug,
    Theirs: TheirMessage + Encodable + Decodable,
{
    let mut done = 0;
    let (first, last) = (Theirs::VERSIONS.min, Theirs::VERSIONS.max);
    for version in Ours::VERSIONS.filter(|version| (first..=last).contains(version)) {
        let place = format!("{} v{version}", Ours::NAME);
        let message = Ours::random(&mut Generator::new(seed), version);
        let bytes = message.to_bytes(version).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut rest = bytes.clone();
        let read =
            Theirs::decode(&mut rest, version).unwrap_or_else(|error| panic!("{place}: they cannot read it: {error}"));
        assert!(rest.is_empty(), "{place}: they leave {} bytes", rest.len());
        let mut written = BytesMut::new();
        read.encode(&mut written, version).unwrap_or_else(|error| panic!("{place}: they cannot write it: {error}"));
        let again = Ours::decode_exact(written.freeze(), version).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(again, message, "{place}");
        done += 1;
    }
    assert!(done > 0, "{}: no version in common", Ours::NAME);
    done
}

macro_rules! pairs {
    ($seed:expr; $($name:ident)*) => { 0 $(+ same::<ours::$name, theirs::$name>($seed))* };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_survive_the_wire(seed: u64) {
        let mut trip = RoundTrip(Generator::new(seed), 0);
        with_every_message(&mut trip);
        prop_assert!(trip.1 > 200);
    }

    #[test]
    fn the_other_crate_reads_and_writes_the_same_messages(seed: u64) {
        let done = pairs!(seed;
            ProduceRequest ProduceResponse FetchRequest FetchResponse ListOffsetsRequest ListOffsetsResponse
            MetadataRequest MetadataResponse ApiVersionsRequest ApiVersionsResponse CreateTopicsRequest
            CreateTopicsResponse VoteRequest VoteResponse AlterPartitionRequest AlterPartitionResponse
            FindCoordinatorRequest FindCoordinatorResponse InitProducerIdRequest InitProducerIdResponse
            OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse DescribeConfigsRequest DescribeConfigsResponse
            BeginQuorumEpochRequest BeginQuorumEpochResponse EndQuorumEpochRequest EndQuorumEpochResponse
            DescribeQuorumRequest DescribeQuorumResponse DeleteTopicsRequest DeleteTopicsResponse EnvelopeRequest
            EnvelopeResponse FetchSnapshotRequest FetchSnapshotResponse DescribeClusterRequest DescribeClusterResponse
            BrokerHeartbeatResponse ControllerRegistrationRequest ControllerRegistrationResponse
            UpdateRaftVoterRequest UpdateRaftVoterResponse RequestHeader ResponseHeader
        );
        prop_assert!(done > 100);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_message_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        with_every_message(&mut Hostile(&bytes));
        let _ = ours::RequestHeader::decode_frame(&mut Decoder::from(Bytes::copy_from_slice(&bytes)));
        let _ = MetadataRecord::decode_framed(Bytes::copy_from_slice(&bytes));
    }

    #[test]
    fn small_numbers_and_large_counts_are_no_danger(
        words in proptest::collection::vec(prop_oneof![Just(0u32), Just(1), Just(2), Just(0x7fff_ffff), Just(0xffff_ffff), Just(0xffff_ff0f)], 0..16)
    ) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        with_every_message(&mut Hostile(&bytes));
    }

    #[test]
    fn random_damage_to_a_batch_never_panics(
        codec in 0usize..5,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        fix_crc: bool,
    ) {
        use protocol::batch::{BatchBuilder, Codec};
        let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd][codec];
        let mut builder = BatchBuilder::new(codec);
        for index in 0..5i64 {
            builder.append(Timestamp(index), Some(Bytes::from(vec![7; 30])), None, &[]);
        }
        let mut bytes = builder.build().expect("a batch").bytes.to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if fix_crc {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let pieces: Chunks = bytes.chunks(13).map(Bytes::copy_from_slice).collect();
        for batch in Batches::new(pieces.clone()).flatten() {
            let walked = batch.walk(|_| ());
            let read: Result<Vec<_>, _> = batch.records().and_then(Iterator::collect);
            prop_assert_eq!(walked.is_ok(), read.is_ok(), "{:?} {:?}", walked, read.map(|records| records.len()));
        }
        if let Ok(batch) = single(pieces, 9)
            && let Ok(taken) = validate(&batch, &Rules::new(Timestamp(0)))
        {
            taken.verify_crc().expect("what is appended has its checksum");
            prop_assert_eq!(Batch::parse(taken.bytes.clone()), Ok(taken));
        }
    }
}
