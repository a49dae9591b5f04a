//! Who a node is: what its log directory says, or what is written into a new one.

use protocol::{NodeId, Uuid};
use rand::Rng;
use runtime::Env;
use storage::{DiskError, LogDir, MetaProperties, Startup};

use crate::config::Config;

/// Why a log directory is not this node's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It belongs to another node.
    #[error("the log directory belongs to node {found}, this is node {own}")]
    OtherNode {
        /// In `meta.properties`.
        found: NodeId,
        /// In the configuration.
        own: NodeId,
    },
    /// It belongs to another cluster.
    #[error("the log directory belongs to cluster {found}, the configuration names {own}")]
    OtherCluster {
        /// In `meta.properties`.
        found: String,
        /// In the configuration.
        own: Uuid,
    },
    /// Its cluster id has not the form of Kafka's.
    #[error("cluster.id `{0}` in meta.properties is not 22 characters of url-safe base64")]
    ClusterId(String),
    /// It could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Who a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// `node.id`.
    pub node_id: NodeId,
    /// `cluster.id`.
    pub cluster_id: Uuid,
    /// The log directory's own id.
    pub directory_id: Uuid,
}

impl Identity {
    /// Reads it from `meta.properties`; a new directory is formatted: cluster id from the configuration, else drawn.
    pub async fn of(env: &Env, config: &Config, dir: &LogDir, startup: &Startup) -> Result<Self, IdentityError> {
        let mut rng = env.rng("identity");
        let mut fresh = || Uuid::from_halves(rng.next_u64(), rng.next_u64());
        let own = config.node_id;
        if let Some(properties) = &startup.properties {
            if properties.node_id != own {
                return Err(IdentityError::OtherNode { found: properties.node_id, own });
            }
            let cluster_id = Uuid::parse(&properties.cluster_id)
                .ok_or_else(|| IdentityError::ClusterId(properties.cluster_id.clone()))?;
            if !config.cluster_id.is_zero() && config.cluster_id != cluster_id {
                return Err(IdentityError::OtherCluster {
                    found: properties.cluster_id.clone(),
                    own: config.cluster_id,
                });
            }
            if let Some(directory_id) = properties.directory_id {
                return Ok(Self { node_id: own, cluster_id, directory_id });
            }
        }
        let cluster_id = if config.cluster_id.is_zero() { fresh() } else { config.cluster_id };
        let identity = Self { node_id: own, cluster_id, directory_id: fresh() };
        let properties = MetaProperties {
            cluster_id: cluster_id.to_string(),
            node_id: own,
            directory_id: Some(identity.directory_id),
        };
        dir.write_properties(&properties).await?;
        Ok(identity)
    }
}
