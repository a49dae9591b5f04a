//! `quorum-state`: what a node of the metadata quorum must not forget. One JSON object, replaced as a whole.

use std::io;

use protocol::{Chunks, LeaderEpoch, NodeId, Uuid};
use runtime::Disk;
use serde::{Deserialize, Serialize};

use crate::error::{DiskError, OpenError};
use crate::names::join;

/// The state, in the form of version 0 (static voters) or 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumState {
    /// [`NodeId::NONE`] if unknown.
    pub leader: NodeId,
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// [`NodeId::NONE`] if there was no vote in this epoch.
    pub voted: NodeId,
    /// Of the vote. [`Uuid::ZERO`] if none; version 0 forgets it.
    pub voted_directory: Uuid,
    /// Version 0 lists the voters; `None` is version 1.
    pub voters: Option<Vec<NodeId>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version0 {
    cluster_id: String,
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    applied_offset: i64,
    current_voters: Vec<Voter>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Voter {
    voter_id: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version1 {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    voted_directory_id: String,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Deserialize)]
struct AnyVersion {
    data_version: i16,
}

impl QuorumState {
    /// Reads the JSON form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let any: AnyVersion = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match any.data_version {
            0 => {
                let read: Version0 = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Ok(Self {
                    leader: NodeId(read.leader_id),
                    epoch: LeaderEpoch(read.leader_epoch),
                    voted: NodeId(read.voted_id),
                    voted_directory: Uuid::ZERO,
                    voters: Some(read.current_voters.iter().map(|voter| NodeId(voter.voter_id)).collect()),
                })
            }
            1 => {
                let read: Version1 = serde_json::from_str(text).map_err(|error| error.to_string())?;
                let id = &read.voted_directory_id;
                Ok(Self {
                    leader: NodeId(read.leader_id),
                    epoch: LeaderEpoch(read.leader_epoch),
                    voted: NodeId(read.voted_id),
                    voted_directory: Uuid::parse(id).ok_or_else(|| format!("votedDirectoryId is `{id}`"))?,
                    voters: None,
                })
            }
            other => Err(format!("data_version is {other}, neither 0 nor 1")),
        }
    }

    /// The JSON form, as Kafka prints it.
    pub fn print(&self) -> String {
        let printed = match &self.voters {
            Some(voters) => serde_json::to_string(&Version0 {
                cluster_id: String::new(),
                leader_id: self.leader.0,
                leader_epoch: self.epoch.0,
                voted_id: self.voted.0,
                applied_offset: 0,
                current_voters: voters.iter().map(|voter| Voter { voter_id: voter.0 }).collect(),
                data_version: 0,
            }),
            None => serde_json::to_string(&Version1 {
                leader_id: self.leader.0,
                leader_epoch: self.epoch.0,
                voted_id: self.voted.0,
                voted_directory_id: self.voted_directory.to_string(),
                data_version: 1,
            }),
        };
        printed.expect("plain numbers and text")
    }
}

/// Where a node's state is kept: `quorum-state` in the directory of the metadata log.
#[derive(Clone, Debug)]
pub struct QuorumStateFile {
    disk: Disk,
    path: String,
}

impl QuorumStateFile {
    /// The file in `dir`, which must be there before the first [`Self::write`].
    pub fn new(disk: Disk, dir: &str) -> Self {
        Self { disk, path: join(dir, "quorum-state") }
    }

    /// What was written last; `None` if nothing was.
    pub async fn read(&self) -> Result<Option<QuorumState>, OpenError> {
        let bytes = match self.disk.read_all(&self.path).await {
            Ok(chunks) => chunks.to_vec(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::new("read", self.path.as_str(), None, error).into()),
        };
        let state = std::str::from_utf8(&bytes).map_err(|error| error.to_string()).and_then(QuorumState::parse);
        state.map(Some).map_err(|why| OpenError::Malformed { path: self.path.clone(), why })
    }

    /// Makes `state` durable: temporary file, sync, rename, sync of the directory. One write at a time.
    pub async fn write(&self, state: &QuorumState) -> Result<(), DiskError> {
        let content = Chunks::from(state.print().into_bytes());
        let done = self.disk.replace(&self.path, content).await;
        done.map_err(|error| DiskError::new("write", self.path.as_str(), None, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_files_read_and_print_back() {
        let static_voters = r#"{"clusterId":"","leaderId":1,"leaderEpoch":5,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2},{"voterId":3}],"data_version":0}"#;
        let dynamic = r#"{"leaderId":2,"leaderEpoch":3,"votedId":2,"votedDirectoryId":"3OgYLTKYr4_fuM3qV3Hbqg","data_version":1}"#;
        for text in [static_voters, dynamic] {
            assert_eq!(QuorumState::parse(text).unwrap().print(), text);
        }
        assert_eq!(QuorumState::parse(dynamic).unwrap().voted, NodeId(2));
        assert!(QuorumState::parse(r#"{"data_version":2}"#).unwrap_err().contains("neither 0 nor 1"));
        assert!(QuorumState::parse("").is_err());
    }
}
