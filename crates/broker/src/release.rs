//! What a build speaks: the ranges of requests it serves and the feature levels it knows.
//!
//! A value, not a constant of the build, so that a cluster of mixed versions is a scenario and not a second binary.

use std::ops::RangeInclusive;

use protocol::ApiKey;

/// One request API and the versions served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedApi {
    /// Which.
    pub key: ApiKey,
    /// The versions that are answered.
    pub served: RangeInclusive<i16>,
    /// The versions named in ApiVersions. Produce is named from 0 on though 0 to 2 are refused, else librdkafka takes the
    /// broker for one without compression (KAFKA-18659).
    pub advertised: RangeInclusive<i16>,
}

/// A feature and its levels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureRange {
    /// `metadata.version`, …
    pub name: &'static str,
    /// The lowest level this build can work with.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// What a build speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Its name in reports.
    pub name: &'static str,
    /// On brokers' listeners, in order of the keys.
    pub broker_apis: Vec<ServedApi>,
    /// On controllers' listeners, in order of the keys.
    pub controller_apis: Vec<ServedApi>,
    /// Its features.
    pub features: Vec<FeatureRange>,
}

/// The level of `metadata.version` that our bootstrap records write: 4.3-IV0.
pub const METADATA_VERSION: i16 = 30;

impl Release {
    /// The release that this source is.
    pub fn current() -> Self {
        let all = |keys: &[ApiKey]| keys.iter().map(|key| ServedApi::stable(*key)).collect();
        Self {
            name: env!("CARGO_PKG_VERSION"),
            broker_apis: all(&[
                ApiKey::Produce,
                ApiKey::Fetch,
                ApiKey::ListOffsets,
                ApiKey::Metadata,
                ApiKey::FindCoordinator,
                ApiKey::ListGroups,
                ApiKey::ApiVersions,
                ApiKey::CreateTopics,
                ApiKey::DeleteTopics,
                ApiKey::DeleteRecords,
                ApiKey::InitProducerId,
                ApiKey::OffsetForLeaderEpoch,
                ApiKey::DescribeAcls,
                ApiKey::DescribeConfigs,
                ApiKey::AlterConfigs,
                ApiKey::DescribeLogDirs,
                ApiKey::CreatePartitions,
                ApiKey::ElectLeaders,
                ApiKey::IncrementalAlterConfigs,
                ApiKey::ListPartitionReassignments,
                ApiKey::DescribeQuorum,
                ApiKey::DescribeCluster,
                ApiKey::ListConfigResources,
                ApiKey::DescribeTopicPartitions,
            ]),
            controller_apis: all(&[
                ApiKey::Fetch,
                ApiKey::ApiVersions,
                ApiKey::CreateTopics,
                ApiKey::DeleteTopics,
                ApiKey::AlterConfigs,
                ApiKey::CreatePartitions,
                ApiKey::ElectLeaders,
                ApiKey::IncrementalAlterConfigs,
                ApiKey::ListPartitionReassignments,
                ApiKey::Vote,
                ApiKey::BeginQuorumEpoch,
                ApiKey::EndQuorumEpoch,
                ApiKey::DescribeQuorum,
                ApiKey::AlterPartition,
                ApiKey::Envelope,
                ApiKey::DescribeCluster,
                ApiKey::BrokerRegistration,
                ApiKey::BrokerHeartbeat,
                ApiKey::AllocateProducerIds,
            ]),
            features: vec![FeatureRange { name: "metadata.version", min: METADATA_VERSION, max: METADATA_VERSION }],
        }
    }
}

impl ServedApi {
    /// The stable versions of Kafka 4.3.1.
    fn stable(key: ApiKey) -> Self {
        let served = key.versions();
        let advertised = key.advertised_by_brokers().unwrap_or_else(|| served.clone());
        Self { key, served, advertised: *advertised.start()..=*advertised.end() }
    }
}
