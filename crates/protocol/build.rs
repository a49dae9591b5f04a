//! Turns `schemas/` into Rust: `messages.rs` (structs and codecs), `api_keys.rs`, `error_codes.rs`, `metadata_record.rs`,
//! and `json.rs` and `random.rs`, which only the tests include. See `build/parse.rs` for the grammar and `build/emit.rs` for the form.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script reads its inputs and speaks to cargo over standard output"
)]

#[path = "build/emit.rs"]
mod emit;
#[path = "build/json.rs"]
mod json;
#[path = "build/parse.rs"]
mod parse;
#[path = "build/random.rs"]
mod random;
#[path = "build/tables.rs"]
mod tables;

use std::path::{Path, PathBuf};

/// APIs whose requests and responses are generated: all but share groups, streams groups and telemetry. Every crate compiles
/// behind this one, so what nobody needs yet is left out.
const APIS: &[&str] = &[
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "SaslHandshake",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "WriteTxnMarkers",
    "TxnOffsetCommit",
    "DescribeAcls",
    "CreateAcls",
    "DeleteAcls",
    "DescribeConfigs",
    "AlterConfigs",
    "AlterReplicaLogDirs",
    "DescribeLogDirs",
    "SaslAuthenticate",
    "CreatePartitions",
    "CreateDelegationToken",
    "RenewDelegationToken",
    "ExpireDelegationToken",
    "DescribeDelegationToken",
    "DeleteGroups",
    "ElectLeaders",
    "IncrementalAlterConfigs",
    "AlterPartitionReassignments",
    "ListPartitionReassignments",
    "OffsetDelete",
    "DescribeClientQuotas",
    "AlterClientQuotas",
    "DescribeUserScramCredentials",
    "AlterUserScramCredentials",
    "Vote",
    "BeginQuorumEpoch",
    "EndQuorumEpoch",
    "DescribeQuorum",
    "AlterPartition",
    "UpdateFeatures",
    "Envelope",
    "FetchSnapshot",
    "DescribeCluster",
    "DescribeProducers",
    "BrokerRegistration",
    "BrokerHeartbeat",
    "UnregisterBroker",
    "DescribeTransactions",
    "ListTransactions",
    "AllocateProducerIds",
    "ConsumerGroupHeartbeat",
    "ConsumerGroupDescribe",
    "ControllerRegistration",
    "AssignReplicasToDirs",
    "ListConfigResources",
    "DescribeTopicPartitions",
    "AddRaftVoter",
    "RemoveRaftVoter",
    "UpdateRaftVoter",
];

/// Families of messages that are generated whole.
const FAMILIES: &[&str] = &["header", "metadata", "raft", "control", "storage", "principal"];

fn main() {
    if let Err(error) = generate() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    println!("cargo::rerun-if-changed=schemas");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?).join("schemas");
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(|error| error.to_string())?);

    let mut messages = Vec::new();
    for family in FAMILIES {
        messages.extend(parse::file(&root.join(format!("{family}.schema")))?);
    }
    let mut missing: Vec<&str> = APIS.to_vec();
    for path in listed(&root.join("rpc"))? {
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.split_once('-'));
        let Some((_, api)) = name else {
            return Err(format!("{}: a file of an API is named NNN-Name.schema", path.display()));
        };
        if let Some(at) = missing.iter().position(|wanted| *wanted == api) {
            missing.swap_remove(at);
            messages.extend(parse::file(&path)?);
        }
    }
    if !missing.is_empty() {
        return Err(format!("no schema for {}", missing.join(", ")));
    }

    let api_versions = tables::Csv::read(&root.join("api_versions.csv"))?;
    let errors = tables::Csv::read(&root.join("errors.csv"))?;
    write(&out.join("messages.rs"), &emit::messages(&messages)?)?;
    write(&out.join("metadata_record.rs"), &emit::metadata_record(&messages))?;
    write(&out.join("json.rs"), &json::converters(&messages))?;
    write(&out.join("random.rs"), &random::generators(&messages))?;
    write(&out.join("api_keys.rs"), &tables::api_keys(&api_versions)?)?;
    write(&out.join("error_codes.rs"), &tables::error_codes(&errors)?)
}

/// The files of a folder by name.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
