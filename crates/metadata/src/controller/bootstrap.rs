//! The first records of a new cluster.

use protocol::messages::begin_transaction_record::BeginTransactionRecord;
use protocol::messages::end_transaction_record::EndTransactionRecord;
use protocol::messages::feature_level_record::FeatureLevelRecord;
use protocol::{MetadataRecord as Record, Str};

/// The feature that names the version of all metadata records.
pub const METADATA_VERSION: &str = "metadata.version";

/// 4.3-IV0, the only level this build writes.
pub const METADATA_VERSION_LEVEL: i16 = 30;

/// The versions in which records are written at this level; 0 for those not named.
pub fn record_version(record: &Record) -> i16 {
    match record {
        Record::RegisterBroker(_) => 4,
        Record::BrokerRegistrationChange(_) => 3,
        Record::Partition(_) | Record::PartitionChange(_) => 2,
        _ => 0,
    }
}

/// The records that open an empty log: a metadata transaction with the level of `metadata.version`. Levels of other
/// features come with what they switch on; level 0 writes no record.
pub fn records() -> Vec<Record> {
    vec![
        BeginTransactionRecord { name: Some(Str::from_static("Bootstrap records")), ..Default::default() }.into(),
        FeatureLevelRecord {
            name: Str::from_static(METADATA_VERSION),
            feature_level: METADATA_VERSION_LEVEL,
            ..Default::default()
        }
        .into(),
        EndTransactionRecord::default().into(),
    ]
}
